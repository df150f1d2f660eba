//! Windows of days and weeks: the night job, and the week that is spent on Tuesday.

use std::time::Duration;

use domain::admission::QuotaLevel;
use domain::call::Class;
use domain::config::{Amount, BackgroundGuard, Span, Window};
use domain::time::{BusinessHours, Cycle, Every, Timestamp, Tz, Weekday};

use crate::clients::{Arrivals, Client, Size};
use crate::figures::ended;
use crate::goodput::plain;
use crate::upstream::{Counting, HOUR, Limits, MINUTE};
use crate::world::{End, World};

const LIMITS: Limits = Limits { requests: 200, input: 200_000, output: 40_000 };
const DAY_TOKENS: u64 = 2_000_000;
const DAY: u64 = 24 * HOUR;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn of(start: Timestamp, moment: Timestamp) -> u64 {
    u64::try_from(moment.since(start).as_nanos()).expect("a short run")
}

fn level(world: &mut World, name: &str) -> QuotaLevel {
    let now = world.clock();
    let named = |level: &QuotaLevel| matches!(&level.key, domain::admission::QuotaKey::Window { name: own, .. } if **own == *name);
    world.admission.quotas(now).into_iter().find(named).expect("the window")
}

/// A job that asks for three times the day's window every night at two, and people who come at nine.
fn night_job(monday: &str, span: Span, tokens: u64, share_permille: u32) {
    let (zone, start) = (Tz::Europe__Berlin, at(monday));
    let size = Size::varied((2_000, 6_000), (100, 300), 300);
    let per_call = 4_200;
    let mut clients = vec![];
    for night in 0..7 {
        let two = start.after(Duration::from_secs(night * 86_400 + 2 * 3_600));
        let job = Client::new(
            &format!("night-job-{night}"),
            Class::Background,
            Arrivals::AtOnce { at: of(start, two), count: 3 * tokens / per_call },
            size,
            11,
        );
        clients.push(job.patient(2 * HOUR));
    }
    let nights = clients.len();
    let hours = BusinessHours { days: [true, true, true, true, true, false, false], from: 9 * 60, to: 17 * 60, zone };
    let mut setup = plain(LIMITS, Counting::AsProduced, clients, 11);
    setup.wall = start.as_millis();
    setup.rules.background = Some(BackgroundGuard { hours, share_permille });
    setup.pacing.windows = vec![Window { name: "quota".into(), limit: Amount::Tokens(tokens), span }];
    let mut world = World::new(setup);
    let nine = Cycle::new(Every::Day, 9 * 60, zone);
    let mut opening = start;
    for day in 0..5 {
        opening = nine.end(opening);
        world.run_until(of(start, opening) - 1);
        let quota = level(&mut world, "quota");
        let left = 1_000 - quota.used * 1_000 / quota.limit;
        eprintln!(
            "day {day}, {opening}: {:.1} % of the window left to people, {:.1} % asked for",
            left as f64 / 10.0,
            f64::from(share_permille) / 10.0
        );
        let one_call = 6_300;
        let kept = quota.limit * i64::from(share_permille) / 1_000;
        assert!(quota.limit - quota.used >= kept - one_call, "{quota:?}");
        if quota.since >= opening.before(Duration::from_secs(86_400)) {
            assert!(quota.used >= quota.limit - kept - 2 * one_call, "and no more is kept than asked: {quota:?}");
        }
    }
    let held: usize = (0..nights).map(|client| ended(&world, client, End::Held)).sum();
    assert!(held > 0, "who asks for too much is told when the office opens");
}

#[test]
fn the_night_job_leaves_the_day_to_people() {
    let zone = Tz::Europe__Berlin;
    let day = Span::Until(Cycle::new(Every::Day, 0, zone));
    let week = Span::Until(Cycle::new(Every::Week(Weekday::Mon), 0, zone));
    // An ordinary week, and those after which clocks have changed on Sunday.
    for monday in [
        "2026-11-23T00:00:00+01:00",
        "2026-03-23T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-10-19T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
    ] {
        night_job(monday, day, DAY_TOKENS, 500);
    }
    night_job("2026-10-19T00:00:00+02:00", week, 3 * DAY_TOKENS, 400);
}

#[test]
fn the_week_spent_on_tuesday_is_refused_in_one_form_until_monday() {
    let (start, monday) = (at("2026-11-23T00:00:00Z"), at("2026-11-30T00:00:00Z"));
    let size = Size::varied((2_000, 6_000), (100, 300), 300);
    let work = Client::new("work", Class::Normal, Arrivals::Poisson { per_minute: 2.0, from: 0, to: 9 * DAY }, size, 3);
    let urgent = Client::new(
        "urgent",
        Class::Critical,
        Arrivals::Every { gap: HOUR, from: 0, to: 9 * DAY },
        Size::fixed(1_000, 50, 64),
        3,
    );
    let limit = 12_000_000;
    let mut setup = plain(LIMITS, Counting::AsProduced, vec![work, urgent], 3);
    setup.wall = start.as_millis();
    setup.rules.week_reserve_permille = 950;
    let span = Span::Until(Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC));
    setup.pacing.windows = vec![Window { name: "week".into(), limit: Amount::Tokens(limit), span }];
    let mut world = World::new(setup);
    world.run_until(2 * DAY);
    let tuesday = level(&mut world, "week");
    world.run_until(of(start, monday) - 1);
    let sunday = level(&mut world, "week");
    let forms: Vec<_> = world.refusals.clone().into_iter().collect();
    let urgent_refused = ended(&world, 1, End::Quota);
    world.run_until(of(start, monday) + 4 * HOUR);
    let after = world.calls.iter().filter(|call| call.since >= of(start, monday));
    let (came, refused) =
        after.fold((0, 0), |(all, refused), call| (all + 1, refused + usize::from(call.end == Some(End::Quota))));
    eprintln!(
        "spent by the end of Tuesday: {:.1} %, by Sunday night {:.1} %; forms of refusal: {forms:?}; critical calls refused: {urgent_refused}; after Monday 00:00: {refused} of {came} refused",
        tuesday.used as f64 * 100.0 / limit as f64,
        sunday.used as f64 * 100.0 / limit as f64,
    );
    assert!(tuesday.used >= i64::try_from(limit).expect("small") * 949 / 1_000, "{tuesday:?}");
    assert_eq!(forms.len(), 1, "one form of refusal");
    assert!(forms[0].0.1.ends_with("until 2026-11-30T00:00:00.000Z"));
    assert_eq!((urgent_refused, refused), (0, 0));
    assert!(sunday.used > tuesday.used, "critical calls went on");
    assert!(came > 400);
    let minute = world.calls.iter().find(|call| call.client == 0 && call.since >= of(start, monday)).expect("a call");
    assert!(minute.went.is_some_and(|went| went < minute.since + MINUTE));
}
