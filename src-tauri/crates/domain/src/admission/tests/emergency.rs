//! What an emergency does to each class, and that leaving it restores everything.

use super::*;

fn in_emergency(pacing: Pacing) -> World {
    let mut world = World::new(pacing);
    world.admission.set_emergency(Some(wednesday()));
    world
}

fn offer(world: &mut World, name: &str, class: Class) {
    world.offer(name, world.demand(SONNET, class, name));
}

#[test]
fn background_waits_and_normal_and_critical_go() {
    let mut world = in_emergency(unlimited());
    for (name, class) in [("b", Class::Background), ("n", Class::Normal), ("c", Class::Critical)] {
        offer(&mut world, name, class);
    }
    world.run_until(secs(9));
    assert_eq!(world.log, ["n@0", "c@0"]);
    assert_eq!(world.admission.held_by_emergency(), 1);
    let background = world.admission.queue(Class::Background, world.now());
    assert_eq!((background.waiting, background.eta, background.paused), (1, None, false), "nobody paused it by hand");
    world.admission.set_emergency(None);
    world.decide();
    assert_eq!(world.log, ["n@0", "c@0", "b@9"]);
    assert_eq!(world.admission.held_by_emergency(), 0);
}

#[test]
fn nobody_knows_when_a_class_leaves_that_a_person_holds() {
    let mut world = World::new(unlimited());
    let eta = |world: &World| world.admission.queue(Class::Normal, world.now()).eta;
    assert_eq!(eta(&world), Some(Duration::ZERO), "none waits");
    world.admission.pause(Class::Normal);
    offer(&mut world, "n", Class::Normal);
    assert_eq!(eta(&world), None);
    world.admission.resume(Class::Normal);
    world.decide();
    assert_eq!(eta(&world), Some(Duration::ZERO));
}

#[test]
fn those_who_wait_already_when_it_begins_are_held_too() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["b1", "b2", "b3"] {
        offer(&mut world, name, Class::Background);
    }
    world.admission.set_emergency(Some(wednesday()));
    world.run_until(secs(60));
    assert_eq!(world.log, ["b1@0"]);
    assert_eq!(world.admission.held_by_emergency(), 2);
}

#[test]
fn a_background_call_whose_time_is_up_learns_of_the_emergency_and_since_when() {
    let mut world = in_emergency(unlimited());
    let demand = Demand { deadline: secs(5), ..world.demand(SONNET, Class::Background, "b") };
    world.offer("b", demand);
    world.run_until(secs(9));
    let refusal = Refusal::Emergency { class: Class::Background, since: wednesday() };
    assert_eq!(world.log, [format!("b! {refusal:?}")]);
}

#[test]
fn a_pause_by_hand_and_an_emergency_end_each_for_itself() {
    let mut world = in_emergency(unlimited());
    world.admission.pause(Class::Background);
    offer(&mut world, "b", Class::Background);
    world.admission.resume(Class::Background);
    world.run_until(secs(1));
    assert!(world.log.is_empty(), "the emergency goes on");
    world.admission.pause(Class::Background);
    world.admission.set_emergency(None);
    world.run_until(secs(2));
    assert!(world.log.is_empty(), "the pause goes on");
    world.admission.resume(Class::Background);
    world.decide();
    assert_eq!(world.log, ["b@2"]);
}

#[test]
fn normal_calls_have_half_of_the_pace_and_critical_ones_all_of_it() {
    let mut world = in_emergency(tier_1(OutputCounting::AsProduced));
    for name in ["n1", "n2", "n3", "n4"] {
        offer(&mut world, name, Class::Normal);
    }
    world.run_until(secs(20));
    assert_eq!(world.log, ["n1@0", "n2@2.5", "n3@5", "n4@7.5"]);
    world.log.clear();
    for name in ["c1", "c2", "c3", "c4"] {
        offer(&mut world, name, Class::Critical);
    }
    world.run_until(secs(40));
    assert_eq!(world.log, ["c1@20", "c2@21.25", "c3@22.5", "c4@23.75"]);
}

#[test]
fn half_of_the_pace_is_half_of_the_tokens_too() {
    let mut world = in_emergency(tier_1(OutputCounting::AsProduced));
    for _ in 0..60 {
        let demand = Demand { shape: Shape::of_words(40_000), ..world.demand(SONNET, Class::Normal, "n") };
        world.offer("n", demand);
    }
    world.run_until(secs(600));
    let input: u64 = world.tickets.iter().map(|ticket| ticket.reserved().tokens.input).sum();
    let half = 27_900 * 10 / 2;
    assert!((half - 30_000..=half + 30_000).contains(&input), "{input} of {half}");
}

#[test]
fn critical_calls_find_room_beside_a_flood_of_normal_ones() {
    let mut world = in_emergency(tier_1(OutputCounting::AsProduced));
    for n in 0..30 {
        offer(&mut world, &format!("n{n}"), Class::Normal);
    }
    for second in [2, 4, 6, 8] {
        world.run_until(secs(second));
        offer(&mut world, &format!("c{second}"), Class::Critical);
        world.run_until(secs(second + 1));
        let waited = world.went_at(&format!("c{second}")) - second as f64;
        assert!(waited <= 1.25, "{waited}");
    }
}

#[test]
fn leaving_gives_normal_calls_their_pace_back_at_once() {
    let mut world = in_emergency(tier_1(OutputCounting::AsProduced));
    for name in ["n1", "n2", "n3"] {
        offer(&mut world, name, Class::Normal);
    }
    world.run_until(secs(1));
    world.admission.set_emergency(None);
    world.decide();
    world.run_until(secs(9));
    assert_eq!(world.log, ["n1@0", "n2@1.25", "n3@2.5"]);
}

#[test]
fn a_call_that_somebody_puts_first_and_one_with_a_reservation_are_not_held() {
    let mut world = in_emergency(unlimited());
    let reserved = world.admission.reserve(reservation_of(&world, 5, Duration::from_secs(60)), world.now());
    let reservation = Some(reserved.expect("there is room").id);
    world.offer("r", Demand { reservation, ..world.demand(SONNET, Class::Background, "migration") });
    offer(&mut world, "b", Class::Background);
    let waiter = *world.names.keys().next().expect("b waits");
    assert!(world.admission.raise(waiter));
    world.decide();
    assert_eq!(world.log, ["r@0", "b@0"]);
}

#[test]
fn a_week_tells_how_much_of_it_is_used() {
    let mut world = World::new(Pacing { windows: vec![week_of(100)], ..unlimited() });
    world.spend("a", Class::Normal, 95);
    let quota = world.quota(0);
    assert!(quota.is_week_window());
    assert_eq!(quota.used_permille(), 950);
}

#[test]
fn with_95_percent_of_the_week_gone_critical_calls_go_and_background_waits_for_the_emergencys_end() {
    let mut world = World::new(Pacing { windows: vec![week_of(100)], ..unlimited() });
    world.spend("a", Class::Normal, 95);
    world.spend("early", Class::Background, 1);
    assert!(world.log.last().expect("a line").starts_with("early! Quota"), "{:?}", world.log);
    world.admission.set_emergency(Some(wednesday()));
    world.spend("c", Class::Critical, 1);
    world.spend("n", Class::Normal, 1);
    world.spend("b", Class::Background, 1);
    assert_eq!(world.log[2], "c@0");
    assert!(world.log[3].starts_with("n! Quota"), "{:?}", world.log);
    assert_eq!((world.admission.queue(Class::Background, world.now()).waiting, world.log.len()), (1, 4));
    world.run_until(secs(700));
    assert!(world.log[4].starts_with("b! Emergency"), "{:?}", world.log);
}
