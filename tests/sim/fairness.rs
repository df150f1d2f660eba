//! One who floods and those who don't; equals who all flood; tenants behind one token.

use domain::call::Class;

use crate::clients::{Arrivals, Client, Size};
use crate::figures::{jain, quantile, waits};
use crate::goodput::plain;
use crate::upstream::{Counting, HOUR, Limits, MINUTE};
use crate::world::{End, World};

const LIMITS: Limits = Limits { requests: 300, input: 600_000, output: 120_000 };
const FLOODER: usize = 0;
/// The nine ask for so much of their share.
const ASKED: f64 = 0.9;

fn size() -> Size {
    Size::varied((200, 600), (20, 60), 64)
}

/// A client each, or tenants of one client.
fn all(flooder: Arrivals, tenants: bool) -> Vec<Client> {
    let share = LIMITS.requests as f64 / 10.0;
    let other = Arrivals::Poisson { per_minute: share * ASKED, from: 0, to: HOUR };
    let client = |n: u64| {
        let arrivals = if n == 0 { flooder.clone() } else { other.clone() };
        let client = Client::new(&format!("client-{n}"), Class::Normal, arrivals, size(), 7).patient(1_000 * HOUR);
        if tenants { client.with(|client| (client.name, client.tenant) = ("app".into(), Some(n))) } else { client }
    };
    (0..10).map(client).collect()
}

fn waits_of_the_nine(flooder: Arrivals, tenants: bool) -> Vec<u64> {
    let mut setup = plain(LIMITS, Counting::AsProduced, all(flooder, tenants), 7);
    setup.rules.queue_max = 1_000_000;
    let mut world = World::new(setup);
    world.run_until(HOUR);
    assert_eq!(world.upstream.refusals(), 0);
    waits(&world, |client| client != FLOODER, 5 * MINUTE, HOUR - 5 * MINUTE)
}

#[test]
fn fairness_to_nine_when_one_floods() {
    for tenants in [false, true] {
        let share = LIMITS.requests as f64 / 10.0;
        let calm = waits_of_the_nine(Arrivals::Poisson { per_minute: share, from: 0, to: HOUR }, tenants);
        let flooded = waits_of_the_nine(Arrivals::Poisson { per_minute: share * 30.0, from: 0, to: HOUR }, tenants);
        let seconds = |of: &[u64], share: f64| quantile(of.to_vec(), share) as f64 / 1e9;
        eprintln!(
            "nine {} at {:.0} % of their share: wait p50 {:.2} s, p99 {:.2} s beside a flood; {:.2} s, {:.2} s beside one who asks for its share",
            if tenants { "tenants" } else { "clients" },
            ASKED * 100.0,
            seconds(&flooded, 0.5),
            seconds(&flooded, 0.99),
            seconds(&calm, 0.5),
            seconds(&calm, 0.99),
        );
        assert!(seconds(&flooded, 0.99) <= 1.1 * seconds(&calm, 0.99));
    }
}

#[test]
fn fairness_among_equals_who_all_flood() {
    for tenants in [false, true] {
        let flood = Arrivals::AtOnce { at: 0, count: 5_000 };
        let mut clients = all(flood.clone(), tenants);
        clients.iter_mut().for_each(|client| client.arrivals = flood.clone());
        let mut setup = plain(LIMITS, Counting::AsProduced, clients, 3);
        setup.rules.queue_max = 1_000_000;
        let mut world = World::new(setup);
        world.run_until(30 * MINUTE);
        let mut tokens = vec![0.0; 10];
        for call in world.calls.iter().filter(|call| call.end == Some(End::Served)) {
            tokens[call.client] += (call.made.input + call.made.output) as f64;
        }
        let index = jain(&tokens);
        eprintln!("ten equal {} in half an hour: Jain {index:.5}", if tenants { "tenants" } else { "clients" });
        assert!(index >= 0.99, "{tokens:?}");
    }
}
