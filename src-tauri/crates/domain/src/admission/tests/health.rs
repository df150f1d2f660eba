//! An upstream that fails calls gets none for a while, and nobody waits in vain or is told a wrong reason.

use super::*;
use crate::routing::{BreakerState, Fared};

const OPUS: &str = "claude-opus-4-8";
const OPEN: Duration = Duration::from_secs(300);

impl World {
    /// The call that has run longest ends like this.
    fn ends(&mut self, fared: Fared) {
        let ticket = self.tickets.remove(0);
        self.admission.fared(&ticket, fared, self.now());
        self.admission.settle(ticket, Spent::Nothing, self.now());
        self.decide();
    }

    fn fail_five_times(&mut self) {
        for _ in 0..5 {
            self.call("failing");
            self.ends(Fared::Badly);
        }
        self.log.clear();
    }

    /// At 0, until 300.
    fn opened() -> World {
        let mut world = World::new(unlimited());
        world.fail_five_times();
        world
    }

    fn patient(&self, name: &str, deadline: u64) -> Demand {
        Demand { deadline: secs(deadline), ..self.demand(SONNET, Class::Normal, name) }
    }

    fn able_elsewhere(&self, name: &str) -> Demand {
        Demand { has_fallback: true, ..self.patient(name, 600) }
    }

    fn state(&self) -> Option<BreakerState> {
        self.admission.breakers(self.now()).first().map(|view| view.state)
    }

    fn ask_free_probes(&mut self, well: bool) -> usize {
        let due = self.admission.due_free_probes(self.now());
        for probe in &due {
            self.admission.probed(probe, well, self.now());
        }
        self.decide();
        due.len()
    }
}

fn broken(until: u64) -> String {
    let refusal = Refusal::BreakerOpen { account: AccountId::default(), group: "sonnet-4".into(), until: secs(until) };
    format!("! {refusal:?}")
}

#[test]
fn after_five_failures_in_a_row_no_call_of_the_group_starts_for_five_minutes() {
    let mut world = World::opened();
    world.offer("a", world.patient("a", 300));
    world.offer("critical", Demand { class: Class::Critical, ..world.patient("critical", 300) });
    assert!(world.log.is_empty(), "they wait");
    world.run_until(Instant::from_nanos(299_999_999_999));
    assert!(world.log.is_empty(), "{:?}", world.log);
    world.run_until(secs(300));
    assert_eq!(world.log, ["critical@300".to_owned(), format!("a{}", broken(305))]);
}

#[test]
fn failures_that_a_good_answer_interrupts_open_nothing() {
    let mut world = World::new(unlimited());
    for fared in [Fared::Badly, Fared::Badly, Fared::Badly, Fared::Badly, Fared::Well, Fared::Badly, Fared::Unknown] {
        world.call("a");
        world.ends(fared);
    }
    assert_eq!(world.state(), Some(BreakerState::Closed), "with a failure");
    world.call("a");
    world.ends(Fared::Well);
    assert_eq!(world.admission.breakers(world.now()), []);
}

#[test]
fn who_has_no_time_until_the_next_try_or_somewhere_else_to_go_is_told_at_once() {
    let mut world = World::opened();
    world.offer("hasty", world.patient("hasty", 299));
    world.offer("able", world.able_elsewhere("able"));
    let critical = Demand { class: Class::Critical, ..world.patient("critical", 10) };
    world.offer("critical", critical);
    let expected = ["hasty", "able", "critical"].map(|name| format!("{name}{}", broken(300)));
    assert_eq!(world.log, expected);
}

#[test]
fn those_who_wait_when_it_opens_are_judged_anew() {
    let one = Pacing { written: vec![written("*", MinuteLimits::default(), Some(5))], ..unlimited() };
    let mut world = World::new(one);
    for _ in 0..5 {
        world.call("failing");
    }
    world.offer("hasty", world.patient("hasty", 299));
    world.offer("able", world.able_elsewhere("able"));
    world.offer("patient", world.patient("patient", 600));
    world.offer("opus", Demand { model: OPUS.into(), has_fallback: true, ..world.patient("opus", 10) });
    world.log.clear();
    for ticket in &world.tickets {
        world.admission.fared(ticket, Fared::Badly, Now { instant: secs(0), timestamp: wednesday() });
    }
    world.decide();
    assert_eq!(world.log, ["hasty", "able"].map(|name| format!("{name}{}", broken(300))));
    for _ in 0..2 {
        world.ends(Fared::Unknown);
    }
    world.run_until(secs(300));
    assert_eq!(world.log[2..], ["opus@0", "patient@300"]);
}

#[test]
fn those_who_wait_go_as_soon_as_it_closes() {
    let mut world = World::opened();
    for name in ["a", "b", "c"] {
        world.offer(name, world.patient(name, 600));
    }
    world.run_until(secs(310));
    assert_eq!(world.log, ["a@300"]);
    assert_eq!(world.state(), Some(BreakerState::HalfOpen));
    world.ends(Fared::Well);
    assert_eq!(world.log, ["a@300", "b@310", "c@310"]);
    assert_eq!(world.admission.breakers(world.now()), []);
}

#[test]
fn a_failed_try_refuses_those_who_cannot_wait_for_the_next() {
    let mut world = World::opened();
    for (name, deadline) in [("a", 1_000), ("hasty", 609), ("patient", 610)] {
        world.offer(name, world.patient(name, deadline));
    }
    world.run_until(secs(310));
    world.ends(Fared::Badly);
    assert_eq!(world.log, ["a@300".to_owned(), format!("hasty{}", broken(610))]);
    world.run_until(secs(610));
    assert_eq!(world.log[2..], ["patient@610"]);
}

#[test]
fn a_deadline_that_passes_behind_it_is_called_so_whatever_else_is_in_the_way() {
    let mut world = World::opened();
    for (name, class) in [("a", Class::Critical), ("b", Class::Normal), ("c", Class::Background)] {
        world.offer(name, Demand { class, ..world.patient(name, 400) });
    }
    world.admission.pause(Class::Background);
    world.run_until(secs(400));
    let told = |name: &str| format!("{name}{}", broken(405));
    assert_eq!(world.log, ["a@300".to_owned(), told("b"), told("c")]);
}

#[test]
fn a_wait_that_pace_makes_too_long_is_called_so_behind_it_too() {
    let slow = MinuteLimits { requests: Some(1), ..MinuteLimits::default() };
    let mut world = World::new(Pacing { written: vec![written("*", slow, None)], ..unlimited() });
    world.call("failing");
    for _ in 0..5 {
        world.admission.fared(&world.tickets[0], Fared::Badly, world.now());
    }
    world.offer("a", world.patient("a", 310));
    world.log.clear();
    for n in 0..20 {
        world.offer(&format!("{n}"), world.patient("a", 310));
    }
    assert!(world.log.len() >= 10, "only a few fit into that time: {:?}", world.log);
    assert!(world.log.iter().all(|line| line.ends_with(&broken(300))), "{:?}", world.log);
}

#[test]
fn a_call_that_went_ahead_and_vanished_leaves_its_place_to_the_next() {
    let mut world = World::opened();
    for name in ["a", "b", "c"] {
        world.offer(name, world.patient(name, 600));
    }
    world.run_until(secs(320));
    let ticket = world.tickets.remove(0);
    world.admission.settle(ticket, Spent::Nothing, world.now());
    world.decide();
    assert_eq!(world.log, ["a@300", "b@320"]);
    world.ends(Fared::Unknown);
    assert_eq!(world.log, ["a@300", "b@320", "c@320"]);
}

#[test]
fn while_one_call_tries_another_with_somewhere_else_to_go_does_not_wait() {
    let mut world = World::opened();
    world.run_until(secs(300));
    world.offer("first", world.able_elsewhere("first"));
    world.offer("second", world.able_elsewhere("second"));
    world.offer("third", world.patient("third", 600));
    assert_eq!(world.log, ["first@300".to_owned(), format!("second{}", broken(305))]);
    world.ends(Fared::Well);
    assert_eq!(world.log[2..], ["third@300"]);
}

#[test]
fn who_waits_for_pace_with_somewhere_else_to_go_leaves_when_another_goes_ahead() {
    let slots = Pacing { written: vec![written(OPUS, MinuteLimits::default(), Some(1))], ..unlimited() };
    let mut world = World::new(slots);
    let opus = |world: &World, name: &str| Demand { model: OPUS.into(), ..world.patient(name, 900) };
    world.offer("running", opus(&world, "running"));
    for _ in 0..5 {
        world.admission.fared(&world.tickets[0], Fared::Badly, world.now());
    }
    world.run_until(secs(300));
    // The model is of the same group, and no line keeps it.
    world.offer("able", Demand { has_fallback: true, ..opus(&world, "able") });
    world.offer("sibling", Demand { model: "claude-opus-4-5".into(), ..world.patient("sibling", 900) });
    assert_eq!(world.log[..2], ["running@0", "sibling@300"]);
    assert!(world.log[2].starts_with("able! BreakerOpen"), "{:?}", world.log);
}

#[test]
fn a_good_free_probe_lets_a_call_go_ahead_before_the_time_is_over() {
    let mut world = World::opened();
    world.offer("a", world.patient("a", 600));
    assert_eq!((world.admission.next_free_probe(), world.ask_free_probes(true)), (Some(secs(15)), 0));
    world.run_until(secs(15));
    assert_eq!((world.ask_free_probes(false), world.ask_free_probes(true)), (1, 0));
    world.run_until(secs(30));
    assert_eq!((world.ask_free_probes(true), world.log.as_slice()), (1, ["a@30".to_owned()].as_slice()));
    assert_eq!(world.admission.next_free_probe(), None);
    world.ends(Fared::Well);
    assert_eq!(world.admission.breakers(world.now()), []);
}

#[test]
fn a_call_that_fails_after_a_good_free_probe_ends_free_probes() {
    let mut world = World::opened();
    world.offer("a", world.patient("a", 900));
    world.offer("b", world.patient("b", 900));
    world.run_until(secs(15));
    world.ask_free_probes(true);
    world.run_until(secs(16));
    world.ends(Fared::Badly);
    assert_eq!(world.admission.next_free_probe(), None);
    world.run_until(secs(899));
    assert_eq!(world.log, ["a@15", "b@316"]);
}

#[test]
fn a_reservation_does_not_get_ahead_of_an_open_breaker() {
    let mut world = World::opened();
    let ask = ReservationAsk {
        id: ReservationId(CallId::new(Timestamp::default(), 7)),
        client: "a".into(),
        account: world.account,
        model: SONNET.into(),
        calls: 5,
        input_tokens: 10_000,
        output_tokens: 1_000,
        ttl: Duration::from_secs(3_600),
        price: None,
    };
    let held = world.admission.reserve(ask, world.now()).expect("room").id;
    let reserved = |world: &World, deadline| Demand { reservation: Some(held), ..world.patient("a", deadline) };
    world.offer("hasty", reserved(&world, 299));
    world.offer("patient", reserved(&world, 600));
    world.run_until(secs(300));
    assert_eq!(world.log, [format!("hasty{}", broken(300)), "patient@300".to_owned()]);
}

#[test]
fn rate_limits_never_open_it() {
    let mut world = World::new(unlimited());
    let limited = Limited { retry_after: Some(Duration::from_secs(1)), ..Limited::default() };
    for _ in 0..20 {
        world.call("a");
        world.run_until(world.now.after(Duration::from_secs(60)));
        world.observe(&Readings { limited: Some(limited), ..Readings::default() });
    }
    assert_eq!(world.log.len(), 20);
    assert_eq!(world.admission.breakers(world.now()), []);
}

#[test]
fn another_group_and_another_upstream_are_not_held_up() {
    let shared = Pacing { written: vec![written("*", MinuteLimits::default(), Some(2))], ..unlimited() };
    let mut world = World::new(shared);
    let other = world.admission.add_account("second".into(), unlimited());
    world.fail_five_times();
    world.offer("sonnet", world.patient("sonnet", 900));
    world.offer("second", Demand { account: other, ..world.patient("second", 900) });
    for name in ["a", "b", "c"] {
        world.offer(name, world.demand(OPUS, Class::Background, name));
    }
    world.settle(0, 0);
    world.settle(0, 0);
    assert_eq!(world.log, ["second@0", "a@0", "b@0", "c@0"], "all but the one behind the breaker");
    let views = world.admission.breakers(world.now());
    let [view] = views.as_slice() else { panic!("one is open: {views:?}") };
    let BreakerView { account, group, state, until, since } = view;
    assert_eq!((*account, &**group, state.name()), (world.account, "sonnet-4", "open"));
    assert_eq!((*until, *since), (Some(secs(300)), Some(secs(0))));
}

#[test]
fn a_large_call_behind_it_keeps_no_tokens_from_another_group() {
    let tokens = MinuteLimits { input_tokens: Some(30_000), ..MinuteLimits::default() };
    let mut world = World::new(Pacing { written: vec![written("*", tokens, None)], ..unlimited() });
    world.call("failing");
    for _ in 0..5 {
        world.admission.fared(&world.tickets[0], Fared::Badly, world.now());
    }
    world.log.clear();
    // It would take longer than the breaker is open until there is enough for it.
    world.offer("large", Demand { shape: Shape::of_words(150_000), ..world.patient("large", 90_000) });
    world.offer("small", world.demand(OPUS, Class::Normal, "small"));
    assert_eq!(world.log, ["small@0"]);
}

#[test]
fn what_nobody_knows_of_is_no_free_probe() {
    let mut world = World::opened();
    let unknown = FreeProbe { account: AccountId(7), group: "sonnet-4".into() };
    world.admission.probed(&unknown, true, world.now());
    world.admission.probed(&FreeProbe { account: world.account, group: "x".into() }, true, world.now());
    assert_eq!(world.state(), Some(BreakerState::Open));
}

/// An hour at an upstream that fails every call. Tells when calls started after it had opened, oldest first.
fn an_hour_of_trouble(seed: u64, free_probe: impl Fn(Instant) -> bool) -> Vec<Instant> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(unlimited());
    let (mut ends, mut starts): (BTreeMap<(Instant, usize), Ticket>, _) = (BTreeMap::new(), vec![]);
    let mut arrives = world.now;
    for n in 0.. {
        let next_wake = world.admission.next_wake(world.now());
        let first_end = ends.keys().next().map(|(at, _)| *at);
        let moments = [Some(arrives), next_wake, first_end, world.admission.next_free_probe()];
        world.now = moments.into_iter().flatten().min().expect("someone always comes").max(world.now);
        if world.now > secs(3_600) {
            break;
        }
        let was_open = !matches!(world.state(), None | Some(BreakerState::Closed));
        for probe in world.admission.due_free_probes(world.now()) {
            world.admission.probed(&probe, free_probe(world.now), world.now());
        }
        while let Some(over) = ends.first_entry().filter(|over| over.key().0 <= world.now) {
            let ticket = over.remove();
            world.admission.fared(&ticket, Fared::Badly, world.now());
            world.admission.settle(ticket, Spent::Nothing, world.now());
        }
        world.decide();
        if arrives <= world.now {
            arrives = world.now.after(Duration::from_millis(random.u64(1..20_000)));
            let deadline = world.now.after(Duration::from_secs(random.u64(1..900)));
            let class = Class::ALL[random.usize(0..3)];
            let has_fallback = random.u8(0..4) == 0;
            let demand = Demand { has_fallback, deadline, ..world.demand(SONNET, class, "a") };
            world.offer(&format!("{n}"), demand);
        }
        let took = Duration::from_millis(random.u64(1..20_000));
        for ticket in world.tickets.drain(..) {
            if was_open {
                starts.push(world.now);
            }
            ends.insert((world.now.after(took), n), ticket);
        }
        let late = world.admission.waiting(world.now()).into_iter().any(|call| call.waited > Duration::from_secs(900));
        assert!(!late, "nobody waits beyond a deadline");
    }
    let refused: Vec<&String> = world.log.iter().filter(|line| line.contains('!')).collect();
    assert!(refused.len() > 50, "most calls are refused: {}", refused.len());
    assert!(refused.iter().all(|line| line.contains("! BreakerOpen")), "{refused:?}");
    starts
}

/// How many started within five minutes of the one before.
fn too_soon(starts: &[Instant]) -> usize {
    starts.windows(2).filter(|pair| pair[1].since(pair[0]) < OPEN).count()
}

#[test]
fn a_dead_upstream_gets_at_most_one_call_in_five_minutes() {
    for seed in 0..20 {
        for lies in [false, true] {
            let starts = an_hour_of_trouble(seed, |_| lies);
            assert!((6..=12).contains(&starts.len()), "seed {seed}: {starts:?}");
            assert_eq!(too_soon(&starts), 0, "seed {seed}, free probes come good: {lies}: {starts:?}");
        }
    }
}

#[test]
fn free_probes_that_come_good_later_cost_one_call_more_an_outage() {
    for seed in 0..20 {
        let from = secs(seed * 150);
        let starts = an_hour_of_trouble(seed, |now| now >= from);
        assert!(too_soon(&starts) <= 1, "seed {seed}: {starts:?}");
    }
}
