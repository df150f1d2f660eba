//! Two minutes of nothing but 429, another program on the same key, a limit that is halved: how soon all is well again.

use domain::admission::Measure;

use crate::goodput::{load, plain, taken_after};
use crate::upstream::{Counting, Limits, MINUTE, Meter, SECOND};
use crate::world::{Fault, Others, Setup, World};

const FROM: u64 = 20 * MINUTE;
/// Two hours, so that a thousandth of the calls of a small tier is more than one.
const TO: u64 = 140 * MINUTE;

struct Recovery {
    first_success: u64,
    good: u64,
    refused_later: u64,
    calls_later: u64,
}

/// Runs through, and tells how long from `over` on the first success and 95 % of `capacity` a minute took.
fn recovery(world: &mut World, from: u64, over: u64, meter: Meter, capacity: impl Fn(&World) -> f64) -> Recovery {
    world.run_until(from);
    let mut first_success = None;
    let mut good = None;
    let mut before = taken_after(world, over);
    let mut steps = std::collections::VecDeque::new();
    let mut now = over;
    while now < TO {
        now += SECOND;
        let taken = taken_after(world, now);
        let step = taken.since(before);
        before = taken;
        first_success = first_success.or_else(|| (step.requests > 0.0).then_some(now - over));
        steps.push_back(step.of(meter));
        if steps.len() > 60 {
            steps.pop_front();
        }
        let minute: f64 = steps.iter().sum();
        if good.is_none() && steps.len() == 60 && minute >= 0.95 * capacity(world) {
            // The minute began a minute ago.
            good = Some(now - over - MINUTE);
        }
    }
    let later = from + MINUTE;
    let refused_later = world.watch.refused_at.iter().filter(|(at, _)| *at > later).count() as u64;
    let calls_later = world.calls.iter().filter(|call| call.went.is_some_and(|went| went > later)).count() as u64;
    Recovery {
        first_success: first_success.unwrap_or(u64::MAX),
        good: good.unwrap_or(u64::MAX),
        refused_later,
        calls_later,
    }
}

fn told(what: &str, limits: Limits, recovery: &Recovery) {
    let Recovery { first_success, good, refused_later, calls_later } = recovery;
    eprintln!(
        "{what}, {limits:?}: first success after {:.1} s, 95 % after {:.0} s, {refused_later} refusals by the upstream in {calls_later} calls after the first minute",
        *first_success as f64 / 1e9,
        *good as f64 / 1e9,
    );
    assert!(*first_success < 5 * MINUTE && *good < 5 * MINUTE);
    assert!(refused_later * 1_000 <= *calls_later, "more than one in a thousand");
}

fn busy(limits: Limits, counting: Counting, meter: Meter) -> Setup {
    plain(limits, counting, load(limits, meter, 3.0, TO, 1), 1)
}

const BEDS: [(Limits, Counting); 2] = [(Limits::TIER_1, Counting::Reserved), (Limits::START, Counting::AsProduced)];

#[test]
fn trouble_of_two_minutes_of_nothing_but_429() {
    for (limits, counting) in BEDS {
        let mut setup = busy(limits, counting, Meter::Requests);
        setup.faults.push((FROM, Fault::Storm(2 * MINUTE)));
        let mut world = World::new(setup);
        let capacity = limits.requests as f64;
        let recovery = recovery(&mut world, FROM, FROM + 2 * MINUTE, Meter::Requests, |_| capacity);
        told("a storm of two minutes", limits, &recovery);
    }
}

#[test]
fn trouble_of_a_limit_that_is_halved() {
    for (limits, counting) in BEDS {
        for meter in [Meter::Requests, Meter::Input] {
            let mut setup = busy(limits, counting, meter);
            let half = limits.times(0.5);
            setup.faults.push((FROM, Fault::Limits(half)));
            let mut world = World::new(setup);
            let recovery = recovery(&mut world, FROM, FROM, meter, |_| half.of(meter) as f64);
            told(&format!("halved, {meter:?} bind"), limits, &recovery);
        }
    }
}

/// Where requests are smoothed, each of theirs shuts the gate for a moment that nobody else can know of.
#[test]
fn trouble_of_another_program_that_takes_forty_percent() {
    for (limits, counting) in BEDS {
        let mut setup = busy(limits, counting, Meter::Input);
        setup.manner.burst = limits.requests / 2;
        let per_minute = limits.requests / 5;
        setup.others = Some(Others {
            from: FROM,
            to: TO,
            burst: 1,
            every: MINUTE / per_minute,
            input: limits.input * 2 / 5 / per_minute,
            output: 1,
        });
        let mut world = World::new(setup);
        let before = taken_after(&mut world, FROM);
        let theirs = limits.input as f64 * 0.4;
        let recovery = recovery(&mut world, FROM, FROM, Meter::Input, |_| limits.input as f64 - theirs);
        let (ours, others) = (world.upstream.taken_at(TO).since(before).input, world.upstream.outside.input);
        let truth = others / (ours + others);
        let outside = world.admission.outside(world.clock());
        let seen = outside.iter().find(|outside| outside.measure == Measure::InputTokens);
        let seen = seen.map_or(0.0, |outside| f64::from(outside.share_permille) / 1_000.0);
        told(&format!("others take {:.1} %, {:.1} % are seen", truth * 100.0, seen * 100.0), limits, &recovery);
        assert!((seen - truth).abs() <= 0.1 * truth, "{seen} seen, {truth} true");
    }
}
