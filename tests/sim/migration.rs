//! A piece of work that must not stop half-way.

use domain::admission::ReservationId;
use domain::call::{CallId, Class};
use domain::time::Timestamp;

use crate::clients::{Arrivals, Client, Size};
use crate::figures::{ended, waits};
use crate::goodput::plain;
use crate::upstream::{Counting, HOUR, Limits, MINUTE, SECOND};
use crate::world::{End, Fault, World};

const MIGRATION: usize = 0;
const CALLS: u64 = 200;

fn migrate(limits: Limits, counting: Counting, arrivals: Arrivals, ttl: u64, crash: bool) {
    let size = Size::fixed(limits.input / limits.requests / 2, 40, 64);
    let flood = |name: &str, at: u64| {
        let per_call = limits.input / limits.requests;
        let size = Size::varied((per_call / 2, per_call * 2), (20, 60), 64);
        Client::new(name, Class::Critical, Arrivals::AtOnce { at, count: 9_000 }, size, 5).patient(1_000 * HOUR)
    };
    // The second comes as soon as the new process is there.
    let floods = [flood("flood", 0), flood("flood-2", 2 * MINUTE + ttl / 2 + 3 * SECOND)];
    let migration = Client::new("migration", Class::Background, arrivals, size, 5).patient(10 * MINUTE);
    let mut setup = plain(limits, counting, std::iter::once(migration).chain(floods).collect(), 5);
    let id = ReservationId(CallId::new(Timestamp::default(), 1));
    let (input, output) = (CALLS * size.input.1 * 11 / 10, CALLS * size.max_tokens);
    setup.faults.push((2 * MINUTE, Fault::Reserve { client: MIGRATION, id, calls: CALLS, input, output, ttl }));
    if crash {
        setup.faults.push((2 * MINUTE + ttl / 2, Fault::Crash { down: 2 * SECOND, reboot: false }));
    }
    let mut world = World::new(setup);
    world.run_until(2 * MINUTE + ttl + 5 * MINUTE);
    let held = world.reservations[0].as_ref().expect("it fits");
    assert!(held.starts_at.since(world.clock_at(2 * MINUTE).timestamp).as_secs() <= 60, "{held:?}");
    let mut waits = waits(&world, |client| client == MIGRATION, 0, u64::MAX);
    waits.sort_unstable();
    let interval = MINUTE / limits.requests;
    let late = waits.iter().filter(|wait| **wait > interval * 102 / 100).count();
    let lost = ended(&world, MIGRATION, End::Lost);
    eprintln!(
        "{limits:?} {counting:?}: {} calls of a reservation went, {lost} lost with the process, {late} waited longer than an interval, at most {:.2} s; {} refusals by the upstream",
        waits.len(),
        waits.last().copied().unwrap_or(0) as f64 / 1e9,
        world.upstream.refusals(),
    );
    assert!(waits.len() as u64 + lost as u64 >= CALLS, "{}", waits.len());
    assert_eq!(late, 0);
    assert_eq!(
        ended(&world, MIGRATION, End::Served) + lost,
        waits.len().max(ended(&world, MIGRATION, End::Served) + lost)
    );
    for end in [End::Deadline, End::QueueFull, End::Quota, End::Limited, End::Held] {
        assert_eq!(ended(&world, MIGRATION, end), 0, "{end:?}");
    }
    assert_eq!(world.upstream.refusals(), 0);
}

/// As evenly as it was reserved.
fn evenly(ttl: u64) -> Arrivals {
    Arrivals::Every { gap: ttl / CALLS, from: 2 * MINUTE + 10 * SECOND, to: 2 * MINUTE + 10 * SECOND + ttl }
}

#[test]
fn migration_of_200_calls_under_a_flood_with_a_restart_in_the_middle() {
    for crash in [false, true] {
        migrate(Limits::TIER_1, Counting::Reserved, evenly(20 * MINUTE), 21 * MINUTE, crash);
        migrate(Limits::START, Counting::AsProduced, evenly(4 * MINUTE), 5 * MINUTE, crash);
    }
}
