//! An hour at three times what the upstream takes: how much of it is used.

use domain::call::Class;
use domain::config::Rules;

use crate::clients::{Arrivals, Client, Size};
use crate::headers::HeaderFaults;
use crate::upstream::{Counting, HOUR, Limits, MINUTE, Manner, Meter, Taken};
use crate::watch::Watch;
use crate::world::{End, Setup, WALL_START, World, presuming};

pub(crate) fn plain(limits: Limits, counting: Counting, clients: Vec<Client>, seed: u64) -> Setup {
    Setup {
        seed,
        limits,
        manner: Manner::smoothed(counting),
        pacing: presuming(limits, counting),
        rules: Rules::default(),
        budgets: vec![],
        clients,
        faults: vec![],
        headers: HeaderFaults::default(),
        others: None,
        stall: 0,
        wall: WALL_START,
        booted: HOUR,
    }
}

/// A hundred clients' worth of calls, so many times what `meter` takes.
pub(crate) fn load(limits: Limits, meter: Meter, times: f64, to: u64, seed: u64) -> Vec<Client> {
    // As a share of what one call could have of each limit.
    let per_call = |meter: Meter| limits.of(meter) as f64 / limits.requests as f64;
    let scale = |own: Meter| if own == meter { 2.0 } else { 0.4 };
    let (input, output) = match meter {
        Meter::Requests => (per_call(Meter::Input) * 0.4, per_call(Meter::Output) * 0.3),
        Meter::Input | Meter::Output => {
            (per_call(Meter::Input) * scale(Meter::Input), per_call(Meter::Output) * scale(Meter::Output))
        }
    };
    let calls = match meter {
        Meter::Requests => limits.requests as f64,
        Meter::Input => limits.input as f64 / input,
        Meter::Output => limits.output as f64 / output,
    };
    let about = |n: f64| ((n * 0.5) as u64 + 1, (n * 1.5) as u64 + 1);
    let size = Size::varied(about(input), about(output), (output * 1.5) as u64 + 1);
    let client = |n: u64| {
        let arrivals = Arrivals::Poisson { per_minute: calls * times / 10.0, from: 0, to };
        Client::new(&format!("client-{n}"), Class::Normal, arrivals, size, seed)
    };
    (0..10).map(client).collect()
}

pub(crate) fn taken_after(world: &mut World, at: u64) -> Taken {
    world.run_until(at);
    world.upstream.taken_at(at)
}

struct Figures {
    cold: f64,
    learned: f64,
    refusals: u64,
}

fn hour(limits: Limits, counting: Counting, meter: Meter) -> Figures {
    let mut world = World::new(plain(limits, counting, load(limits, meter, 3.0, HOUR, 1), 1));
    let early = taken_after(&mut world, 15 * MINUTE);
    let all = taken_after(&mut world, HOUR);
    // What is there at the start counts too, where it may be taken at once.
    let at_once = if meter == Meter::Requests { 0.0 } else { 1.0 };
    let capacity = |minutes: f64| limits.of(meter) as f64 * minutes;
    let cold = all.of(meter) / capacity(60.0 + at_once);
    let learned = all.since(early).of(meter) / capacity(45.0);
    world.run();
    Watch::at_the_end(&mut world);
    let served = world.calls.iter().filter(|call| call.end == Some(End::Served)).count();
    let refusals = world.upstream.refusals();
    eprintln!(
        "{limits:?} {counting:?}, {meter:?} binds: {:.1} % from cold, {:.1} % learned, {refusals} refusals by the upstream, {served} of {} calls served",
        cold * 100.0,
        learned * 100.0,
        world.calls.len(),
    );
    Figures { cold, learned, refusals }
}

fn check(limits: Limits, counting: Counting, meter: Meter) {
    let Figures { cold, learned, refusals } = hour(limits, counting, meter);
    assert_eq!(refusals, 0, "{meter:?}");
    assert!(cold >= 0.93, "{meter:?} from cold: {cold}");
    assert!(learned >= 0.98, "{meter:?} learned: {learned}");
}

#[test]
fn goodput_of_an_hour_at_three_times_tier_1_of_2025() {
    for meter in Meter::ALL {
        check(Limits::TIER_1, Counting::Reserved, meter);
    }
}

#[test]
fn goodput_of_an_hour_at_three_times_the_start_tier_of_2026() {
    for meter in Meter::ALL {
        check(Limits::START, Counting::AsProduced, meter);
    }
}
