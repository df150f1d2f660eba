//! Critical calls behind a flood of others.

use domain::call::Class;

use crate::clients::{Arrivals, Client, Size};
use crate::figures::{quantile, waits};
use crate::goodput::plain;
use crate::upstream::{Counting, HOUR, Limits, MINUTE, SECOND};
use crate::world::World;

const CRITICAL: usize = 0;

fn critical(gap: u64, from: u64, size: Size) -> Client {
    let arrivals = Arrivals::Every { gap, from, to: 2 * HOUR };
    Client::new("critical", Class::Critical, arrivals, size, 1).patient(HOUR)
}

/// How long one call waits alone at buckets that are empty on arrival.
fn wait_alone(limits: Limits, size: Size) -> u64 {
    MINUTE * size.input.1 / limits.input
}

#[test]
fn priority_of_critical_calls_over_ten_thousand_background_calls() {
    for (limits, input) in [(Limits::TIER_1, 2_000), (Limits::TIER_1, 200), (Limits::START, 60_000)] {
        let size = Size::fixed(input, 40, 64);
        let alone = wait_alone(limits, size);
        let flood = Client::new(
            "flood",
            Class::Background,
            Arrivals::AtOnce { at: 0, count: 10_000 },
            Size::varied((input / 2, input * 2), (20, 60), 64),
            1,
        );
        let clients = vec![critical(97 * SECOND, 5 * MINUTE, size), flood.patient(1_000 * HOUR)];
        let mut world = World::new(plain(limits, Counting::AsProduced, clients, 1));
        world.run_until(2 * HOUR);
        let waits = waits(&world, |client| client == CRITICAL, 0, 2 * HOUR - 10 * MINUTE);
        let (count, p50, p99) = (waits.len(), quantile(waits.clone(), 0.5), quantile(waits, 0.99));
        let interval = MINUTE / limits.requests;
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        eprintln!(
            "{limits:?}, {count} critical calls of {input} tokens: wait p50 {:.2} s, p99 {:.2} s; alone at empty buckets {:.2} s",
            seconds(p50),
            seconds(p99),
            seconds(alone),
        );
        assert!(count > 60);
        assert!(p99 <= alone * 11 / 10 + interval, "{} > {}", seconds(p99), seconds(alone * 11 / 10 + interval));
        assert_eq!(world.upstream.refusals(), 0);
    }
}
