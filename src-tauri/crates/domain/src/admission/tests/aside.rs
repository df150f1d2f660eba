//! Sessions and clients that a person pauses, in virtual time.

use super::*;
use crate::admission::PausedScope;

fn of_session(world: &World, client: &str, session: &str) -> Demand {
    Demand { session: Some(session.into()), ..world.demand(SONNET, Class::Normal, client) }
}

fn call(world: &mut World, name: &str, session: &str) {
    let demand = of_session(world, "c", session);
    world.offer(name, demand);
}

#[test]
fn calls_of_a_paused_session_wait_until_it_goes_on_and_nobody_waits_behind_them() {
    let mut world = World::new(unlimited());
    world.admission.pause_scope("session:s1", world.now().timestamp);
    call(&mut world, "held", "s1");
    call(&mut world, "other", "s2");
    world.call("without");
    let paused = world.admission.paused_scopes();
    let expected = PausedScope { scope: "session:s1".into(), since: wednesday(), waiting: 1 };
    assert_eq!(paused, [expected]);
    let waiting = world.admission.waiting(world.now());
    assert_eq!(waiting.iter().map(|call| call.eta).collect::<Vec<_>>(), [None], "a person knows");
    world.run_until(secs(5));
    assert!(world.admission.resume_scope("session:s1"));
    world.decide();
    assert_eq!(world.log, ["other@0", "without@0", "held@5"]);
    assert!(!world.admission.resume_scope("session:s1") && world.admission.paused_scopes().is_empty());
}

#[test]
fn a_call_that_waits_already_stands_aside_and_one_that_runs_goes_on() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["a1", "a2", "a3"] {
        call(&mut world, name, "s1");
    }
    call(&mut world, "b1", "s2");
    assert_eq!(world.log, ["a1@0"]);
    world.admission.pause_scope("session:s1", world.now().timestamp);
    world.run_until(secs(20));
    assert_eq!(world.log.len(), 2, "{:?}", world.log);
    assert!(world.went_at("b1") < 3.0, "it has the next turn: {:?}", world.log);
    world.admission.resume_scope("session:s1");
    world.decide();
    world.run_until(secs(40));
    assert!((20.0..30.0).contains(&world.went_at("a2")) && world.went_at("a2") < world.went_at("a3"));
}

#[test]
fn who_can_not_wait_so_long_learns_why() {
    let mut world = World::new(unlimited());
    world.admission.pause_scope("session:s1", world.now().timestamp);
    let demand = Demand { deadline: secs(7), ..of_session(&world, "c", "s1") };
    world.offer("held", demand);
    let at_once = Demand { deadline: world.now, ..of_session(&world, "c", "s1") };
    world.offer("hasty", at_once);
    world.run_until(secs(10));
    let expected = "! ScopePaused { scope: \"session:s1\" }";
    assert_eq!(world.log, [format!("hasty{expected}"), format!("held{expected}")]);
    assert_eq!(world.admission.queue(Class::Normal, world.now()).waiting, 0);
}

#[test]
fn a_paused_session_fills_no_queue_and_names_without_end_are_forgotten() {
    let mut world = World::new(unlimited());
    world.admission.pause_scope("session:s1", world.now().timestamp);
    for number in 0..20 {
        call(&mut world, &format!("{number}"), "s1");
    }
    assert_eq!(world.admission.paused_scopes()[0].waiting, 16);
    assert_eq!(world.log.len(), 4, "{:?}", world.log);
    for number in 0..300_u64 {
        let later = wednesday().after(Duration::from_secs(number + 1));
        world.admission.pause_scope(&format!("session:x{number}"), later);
    }
    world.decide();
    assert_eq!(world.admission.paused_scopes().len(), 256);
    assert_eq!(world.log.len(), 20, "the one that was paused first goes on");
}

#[test]
fn a_restart_forgets_no_paused_session() {
    let mut world = World::new(unlimited());
    world.admission.pause_scope("session:s1", world.now().timestamp);
    let memory = world.admission.remember(world.now());
    let mut again = World::new(unlimited());
    again.admission.recall(memory, again.now());
    call(&mut again, "held", "s1");
    assert_eq!((again.log.len(), again.admission.paused_scopes().len()), (0, 1));
}

#[test]
fn a_client_is_paused_with_all_its_sessions_and_what_two_scopes_hold_goes_on_with_the_last() {
    let mut world = World::new(unlimited());
    world.admission.pause_scope("client:c", world.now().timestamp);
    world.admission.pause_scope("session:s1", world.now().timestamp);
    call(&mut world, "both", "s1");
    call(&mut world, "one", "s2");
    let other = of_session(&world, "d", "s2");
    world.offer("other", other);
    assert_eq!(world.log, ["other@0"]);
    assert!(world.admission.resume_scope("client:c"));
    world.decide();
    assert_eq!(world.log, ["other@0", "one@0"]);
    assert!(world.admission.resume_scope("session:s1"));
    world.decide();
    assert_eq!(world.log, ["other@0", "one@0", "both@0"]);
}
