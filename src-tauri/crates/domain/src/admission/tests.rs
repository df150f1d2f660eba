//! The rules of admission, each as a sentence.

use super::*;
use crate::call::CallId;
use crate::tier::{Scheme, Tier};
use crate::time::Timestamp;

const SONNET: &str = "claude-sonnet-4-5";

fn secs(secs: u64) -> Instant {
    Instant::from_nanos(secs * 1_000_000_000)
}

fn wednesday() -> Timestamp {
    Timestamp::parse("2026-11-25T12:00:00Z").expect("a time")
}

fn limits(requests: u64, input: u64, output: u64) -> MinuteLimits {
    MinuteLimits { requests: Some(requests), input_tokens: Some(input), output_tokens: Some(output) }
}

fn unlimited() -> Pacing {
    Pacing {
        presumed: None,
        written: vec![],
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::from_secs(30),
        windows: vec![],
    }
}

fn tier_1(output: OutputCounting) -> Pacing {
    let row = GroupLimits {
        groups: vec!["sonnet-4".into(), "opus-4".into()],
        limits: limits(50, 30_000, 8_000),
        cache_reads_count: false,
    };
    let tier = Tier { name: "1".into(), deposit: None, monthly_cap: None, rows: vec![row] };
    let scheme = Scheme {
        name: "2025-09".into(),
        valid_from: Timestamp::default(),
        output,
        tiers: vec![tier],
        source: "test".into(),
    };
    Pacing { presumed: Some((Arc::new(scheme), 0)), ..unlimited() }
}

fn written(models: &str, per_minute: MinuteLimits, concurrency: Option<u32>) -> WrittenLimits {
    WrittenLimits { models: vec![models.into()], per_minute, concurrency }
}

/// Admission with a clock of its own and everyone who waits, by name.
struct World {
    admission: Admission,
    account: AccountId,
    now: Instant,
    names: BTreeMap<WaiterId, String>,
    /// `name@seconds`, in the order in which they went; a refusal has a `!`.
    log: Vec<String>,
    tickets: Vec<Ticket>,
}

impl World {
    fn new(pacing: Pacing) -> World {
        let mut admission = Admission::new(&Rules::default());
        let account = admission.add_account("upstream".into(), pacing);
        let (names, log, tickets) = (BTreeMap::new(), vec![], vec![]);
        World { admission, account, now: secs(0), names, log, tickets }
    }

    /// The wall clock goes with the other one.
    fn now(&self) -> Now {
        Now { instant: self.now, timestamp: wednesday().after(self.now.since(secs(0))) }
    }

    /// An answer to the latest call tells of limits.
    fn observe(&mut self, readings: &Readings) {
        let ticket = self.tickets.last().expect("a call that runs");
        self.admission.observe(ticket, readings, self.now());
        self.decide();
    }

    fn demand(&self, model: &str, class: Class, client: &str) -> Demand {
        Demand {
            call: CallId::new(Timestamp::default(), 0),
            account: self.account,
            model: model.into(),
            fast: false,
            class,
            client: client.into(),
            weight: 1,
            max_share: None,
            tenant: None,
            person: None,
            project: None,
            shape: Shape { bytes: 1_000 },
            max_tokens: Some(100),
            caching: Caching::None,
            price: None,
            reservation: None,
            since: self.now,
            deadline: self.now.after(Duration::from_secs(600)),
        }
    }

    fn offer(&mut self, name: &str, demand: Demand) {
        match self.admission.offer(demand, self.now()) {
            Ok(Verdict::Go(ticket)) => self.went(name, ticket),
            Ok(Verdict::Wait(id)) => drop(self.names.insert(id, name.to_owned())),
            Err(refusal) => self.log.push(format!("{name}! {refusal:?}")),
        }
        self.decide();
    }

    fn call(&mut self, name: &str) {
        self.offer(name, self.demand(SONNET, Class::Normal, name));
    }

    fn went(&mut self, name: &str, ticket: Ticket) {
        self.log.push(format!("{name}@{}", self.now.as_nanos() as f64 / 1e9));
        self.tickets.push(ticket);
    }

    fn decide(&mut self) {
        for (id, decision) in self.admission.decide(self.now()) {
            let name = self.names.remove(&id).expect("someone who waited");
            match decision {
                Ok(ticket) => self.went(&name, ticket),
                Err(refusal) => self.log.push(format!("{name}! {refusal:?}")),
            }
        }
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(wake) = self.admission.next_wake(self.now()).filter(|wake| *wake <= end) {
            assert!(wake > self.now, "it must not spin");
            self.now = wake;
            self.decide();
        }
        self.now = end;
    }

    fn settle(&mut self, input: u64, output: u64) {
        let tokens = Tokens { input, output, ..Tokens::default() };
        let usage = Usage { tokens, ..Usage::default() };
        self.admission.settle(self.tickets.remove(0), Spent::Told { usage: &usage, cost: None }, self.now());
        self.decide();
    }

    fn went_at(&self, name: &str) -> f64 {
        let at = self.log.iter().find_map(|line| line.strip_prefix(&format!("{name}@")));
        at.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("{name} did not go: {:?}", self.log))
    }

    fn level(&self, measure: Measure) -> u64 {
        let levels = self.admission.levels(self.now());
        levels.iter().find(|level| level.measure == measure).expect("a level").level
    }
}

#[test]
fn without_a_limit_everything_goes_at_once() {
    let mut world = World::new(unlimited());
    for name in ["a", "b", "c"] {
        world.call(name);
    }
    assert_eq!(world.log, ["a@0", "b@0", "c@0"]);
    assert_eq!(world.admission.next_wake(world.now()), None);
}

#[test]
fn requests_go_one_every_interval_of_the_guarded_limit() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["a", "b", "c", "d"] {
        world.call(name);
    }
    world.run_until(secs(60));
    assert_eq!(world.log, ["a@0", "b@1.25", "c@2.5", "d@3.75"]);
    assert_eq!(world.level(Measure::Requests), 48 - 3, "a's minute is over, that of the others is not");
}

#[test]
fn a_call_that_stalled_on_its_way_out_keeps_its_distance_to_the_next() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.call("b");
    world.now = secs(1);
    world.admission.departs(&world.tickets[0], world.now);
    world.run_until(secs(60));
    assert_eq!(world.log, ["a@0", "b@2.25"]);
}

#[test]
fn calls_that_end_without_a_word_leave_the_estimate_as_it_was() {
    let mut world = World::new(unlimited());
    let mut granted = Vec::new();
    for _ in 0..30 {
        world.call("a");
        let ticket = world.tickets.remove(0);
        let reserved = ticket.reserved();
        world.admission.settle(ticket, Spent::Presumed { usage: &reserved, cost: None }, world.now());
        granted.push(reserved.tokens.input);
    }
    assert_eq!(granted, [granted[0]; 30]);
}

#[test]
fn an_absurd_retry_after_ends_within_the_hour() {
    let mut world = World::new(unlimited());
    let year = Duration::from_secs(366 * 86_400);
    let readings =
        Readings { limited: Some(Limited { retry_after: Some(year), ..Limited::default() }), ..Readings::default() };
    world.call("first");
    world.observe(&readings);
    let patient = Demand { deadline: secs(86_400), ..world.demand(SONNET, Class::Normal, "a") };
    world.offer("a", patient);
    world.run_until(secs(86_400));
    assert!((3_600.0..3_601.1).contains(&world.went_at("a")), "{:?}", world.log);
}

#[test]
fn who_comes_back_after_a_refusal_keeps_its_place() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let refused = world.demand(SONNET, Class::Normal, "a");
    world.offer("refused", refused.clone());
    for name in ["next", "last"] {
        world.offer(name, Demand { since: world.now.after(Duration::from_millis(1)), ..refused.clone() });
    }
    world.settle(0, 0);
    world.now = Instant::from_nanos(200_000_000);
    world.offer("again", refused);
    world.run_until(secs(4));
    assert_eq!(world.log, ["refused@0", "again@1.25", "next@2.5", "last@3.75"]);
}

#[test]
fn models_of_one_group_share_and_another_group_is_not_held_up() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.offer("same", world.demand("claude-sonnet-4-20250514", Class::Normal, "a"));
    world.offer("other", world.demand("claude-opus-4-8", Class::Normal, "a"));
    world.run_until(secs(2));
    assert_eq!(world.log, ["a@0", "other@0", "same@1.25"]);
}

#[test]
fn a_call_that_cannot_have_one_resource_takes_none() {
    let mut world = World::new(tier_1(OutputCounting::Reserved));
    let large = Demand { max_tokens: Some(7_000), ..world.demand(SONNET, Class::Normal, "a") };
    world.offer("a", large.clone());
    world.offer("b", large);
    let input = world.level(Measure::InputTokens);
    world.run_until(Instant::from_nanos(500_000_000));
    assert_eq!(world.level(Measure::InputTokens), input + 27_900 / 120, "only the refill");
    world.run_until(secs(2));
    assert_eq!(world.log, ["a@0"]);
    world.settle(200, 10);
    assert_eq!(world.log, ["a@0", "b@2"], "what was not used came back");
}

#[test]
fn a_debt_from_settling_delays_the_next_call() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.settle(27_900 + 2 * 27_900 / 60, 10);
    world.call("b");
    world.run_until(secs(60));
    let [_, b] = world.log.as_slice() else { panic!("{:?}", world.log) };
    let at: f64 = b.strip_prefix("b@").and_then(|at| at.parse().ok()).expect("it went");
    assert!(at > 2.0, "{b}");
}

#[test]
fn critical_goes_before_all_that_wait_and_background_after() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("first");
    for class in [Class::Background, Class::Normal, Class::Critical] {
        world.offer(class.name(), world.demand(SONNET, class, "c"));
    }
    world.run_until(secs(60));
    assert_eq!(world.log, ["first@0", "critical@1.25", "normal@2.5", "background@3.75"]);
}

#[test]
fn a_flood_of_one_client_does_not_lock_out_another() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for _ in 0..20 {
        world.offer("flood", world.demand(SONNET, Class::Normal, "flood"));
    }
    world.offer("other", world.demand(SONNET, Class::Normal, "other"));
    world.run_until(secs(3));
    assert!(
        world.log.contains(&"other@2.5".to_owned()) || world.log.contains(&"other@1.25".to_owned()),
        "{:?}",
        world.log
    );
}

#[test]
fn a_wait_that_cannot_succeed_is_refused_at_once_and_names_the_limit() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let patience = Duration::from_millis(1_000);
    world.offer("b", Demand { deadline: world.now.after(patience), ..world.demand(SONNET, Class::Normal, "b") });
    let binding =
        Binding { group: "sonnet-4".into(), measure: Measure::Requests, limit: 50, source: LimitSource::Tier };
    let not_before = Some(Instant::from_nanos(1_250_000_000));
    assert_eq!(world.log[1], format!("b! {:?}", Refusal::Deadline { binding: Some(binding), not_before }));
}

#[test]
fn a_call_whose_turn_does_not_come_in_time_is_refused_at_its_deadline() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.call("b");
    world.offer("c", Demand { deadline: secs(2), ..world.demand(SONNET, Class::Background, "c") });
    world.run_until(secs(60));
    assert_eq!(world.log[..2], ["a@0", "b@1.25"]);
    assert!(world.log[2].starts_with("c! Deadline"), "{:?}", world.log);
    assert_eq!(
        world.admission.queue(Class::Background, world.now()),
        ClassQueue { running: 0, ..ClassQueue::default() }
    );
}

#[test]
fn no_more_wait_than_the_queue_may_hold() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.admission.queue_max = 1;
    for name in ["a", "b", "c"] {
        world.call(name);
    }
    assert_eq!(world.log, ["a@0", "c! QueueFull { waiting: 1 }"]);
}

#[test]
fn whoever_hangs_up_holds_nobody_up() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["a", "b", "c"] {
        world.call(name);
    }
    let b = *world.names.iter().find(|(_, name)| *name == "b").expect("b waits").0;
    world.admission.cancel(b);
    world.admission.cancel(b);
    world.run_until(secs(60));
    assert_eq!(world.log, ["a@0", "c@1.25"]);
}

#[test]
fn concurrency_frees_a_place_when_a_call_ends() {
    let line = written("claude-*", MinuteLimits::default(), Some(1));
    let mut world = World::new(Pacing { written: vec![line], ..unlimited() });
    world.call("a");
    world.call("b");
    assert_eq!(world.admission.next_wake(world.now()), Some(secs(600)));
    world.now = secs(5);
    world.settle(10, 10);
    assert_eq!(world.log, ["a@0", "b@5"]);
}

#[test]
fn the_smaller_of_settings_and_tier_binds_and_a_line_is_shared() {
    let line = written("claude-*", MinuteLimits { requests: Some(10), ..MinuteLimits::default() }, None);
    let mut world = World::new(Pacing { written: vec![line], ..tier_1(OutputCounting::AsProduced) });
    world.call("a");
    world.offer("opus", world.demand("claude-opus-4-8", Class::Normal, "a"));
    world.run_until(secs(60));
    assert_eq!(world.log, ["a@0", "opus@6.25"]);
}

#[test]
fn headers_correct_a_presumed_limit_both_ways_and_a_written_one_stays_a_ceiling() {
    let line = written("claude-*", MinuteLimits { requests: Some(100), ..MinuteLimits::default() }, None);
    let mut world = World::new(Pacing { written: vec![line], ..tier_1(OutputCounting::AsProduced) });
    world.call("a");
    let limit = |limit| Readings {
        limits: vec![Reading { measure: Measure::Requests, limit, remaining: None, full_in: None }],
        ..Readings::default()
    };
    world.observe(&limit(1_000));
    world.call("b");
    world.run_until(secs(60));
    assert_eq!(world.log, ["a@0", "b@0.625"]);
}

#[test]
fn what_headers_say_is_left_lowers_the_level_and_keeps_the_guards_distance() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let reading = Reading { measure: Measure::InputTokens, limit: 30_000, remaining: Some(12_000), full_in: None };
    let readings = Readings { limits: vec![reading], ..Readings::default() };
    world.observe(&readings);
    assert_eq!(world.level(Measure::InputTokens), 12_000 - (30_000 - 27_900));
}

#[test]
fn headers_teach_a_limit_that_nobody_had_named() {
    let mut world = World::new(unlimited());
    world.call("a");
    let reading = Reading { measure: Measure::Requests, limit: 60, remaining: Some(0), full_in: None };
    world.observe(&Readings { limits: vec![reading], ..Readings::default() });
    world.call("b");
    world.run_until(secs(60));
    assert_eq!(world.log.len(), 2);
    assert_ne!(world.log[1], "b@0");
}

#[test]
fn after_a_429_nothing_of_its_group_goes_before_the_time_it_names() {
    let mut world = World::new(unlimited());
    let told = |full_in| Readings {
        limits: vec![Reading { measure: Measure::InputTokens, limit: 30_000, remaining: None, full_in }],
        limited: Some(Limited { retry_after: Some(Duration::from_secs(7)), ..Limited::default() }),
        ..Readings::default()
    };
    world.call("first");
    world.observe(&told(Some(Duration::from_secs(9))));
    world.call("a");
    world.offer("opus", world.demand("claude-opus-5", Class::Normal, "o"));
    world.run_until(secs(9));
    assert_eq!(world.log[..2], ["first@0", "opus@0"]);
    assert!((7.0..7.5).contains(&world.went_at("a")), "{:?}", world.log);
    world.offer("sonnet", world.demand(SONNET, Class::Normal, "s"));
    world.observe(&told(None));
    world.call("b");
    world.run_until(secs(60));
    let b = world.went_at("b");
    assert!((46.0..47.1).contains(&b), "7 s and the buffer of 30 s, as nothing tells when the bucket refills: {b}");
}

#[test]
fn a_paused_class_waits_and_the_others_go_on() {
    let mut world = World::new(unlimited());
    world.admission.pause(Class::Background);
    world.offer("b", world.demand(SONNET, Class::Background, "b"));
    world.call("n");
    world.run_until(secs(5));
    world.admission.resume(Class::Background);
    world.decide();
    assert_eq!(world.log, ["n@0", "b@5"]);
}

#[test]
fn made_up_model_names_do_not_grow_it_without_bound() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for i in 0..5_000 {
        let demand = Demand { deadline: world.now, ..world.demand(&format!("claude-m{i}"), Class::Normal, "a") };
        world.offer("x", demand);
    }
    assert!(world.admission.lanes.len() <= MODELS_MAX + 1);
}

#[test]
fn the_expected_wait_of_a_class_counts_all_before_it() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for _ in 0..9 {
        world.offer("n", world.demand(SONNET, Class::Normal, "n"));
    }
    let queue = world.admission.queue(Class::Normal, world.now());
    assert_eq!((queue.waiting, queue.running, queue.eta), (8, 1, Some(Duration::from_secs(10))));
}
