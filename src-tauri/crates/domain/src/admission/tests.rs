//! The rules of admission, each as a sentence.

mod aside;
mod health;

use super::*;
use crate::call::CallId;
use crate::config::{Amount, BackgroundGuard, Period, Scope, Span, Window, WrittenLimits};
use crate::price::{Factors, Price, Rate, Rates};
use crate::tier::{GroupLimits, Scheme, Tier};
use crate::time::{BusinessHours, Cycle, Every, Timestamp, Tz, Weekday};

mod emergency;

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

/// A dollar per million tokens out, nothing for those in.
fn dollar() -> Arc<Price> {
    Arc::new(Price {
        id: "p".into(),
        model: SONNET.into(),
        platform: None,
        valid_from: None,
        rates: Rates { output: Rate::per_mtok("1").expect("a rate"), ..Rates::default() },
        long_prompt: None,
        batch: None,
        factors: Factors::default(),
        web_search: Usd::ZERO,
        source: "test".into(),
    })
}

fn usd(dollars: i64) -> Usd {
    Usd::from_nanos(dollars * 1_000_000_000)
}

fn week_of(dollars: i64) -> Window {
    let monday = Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC);
    Window { name: "week".into(), limit: Amount::Usd(usd(dollars)), span: Span::Until(monday) }
}

fn budget(scope: Scope, dollars: i64, hard: bool) -> Budget {
    Budget { scope, period: Period::Day, limit: usd(dollars), hard }
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
        World::by(&Rules::default(), pacing)
    }

    fn by(rules: &Rules, pacing: Pacing) -> World {
        let mut admission = Admission::new(rules);
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
            session: None,
            shape: Shape::of_words(1_000),
            max_tokens: Some(100),
            caching: Caching::None,
            price: None,
            reservation: None,
            since: self.now,
            deadline: self.now.after(Duration::from_secs(600)),
            has_fallback: false,
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

    /// The wall clock shows it; the other one has gone as far.
    fn go_to(&mut self, moment: &str) {
        let moment = Timestamp::parse(moment).expect("a time");
        self.run_until(self.now.after(moment.since(self.now().timestamp)));
    }

    /// A call of a million output tokens at one dollar a million, whole.
    fn spend(&mut self, name: &str, class: Class, dollars: u64) {
        let demand = Demand { price: Some(dollar()), ..self.demand(SONNET, class, name) };
        self.offer(name, demand);
        if self.log.last().is_some_and(|line| line.starts_with(&format!("{name}@"))) {
            let tokens = Tokens { output: dollars * 1_000_000, ..Tokens::default() };
            let usage = Usage { tokens, ..Usage::default() };
            let cost = Some(dollar().cost(&usage));
            let ticket = self.tickets.pop().expect("it just went");
            self.admission.settle(ticket, Spent::Told { usage: &usage, cost }, self.now());
            self.decide();
        }
    }

    fn quota(&mut self, index: usize) -> QuotaLevel {
        let now = self.now();
        self.admission.quotas(now)[index].clone()
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
    let level = world.level(Measure::InputTokens);
    assert!((input..=input + 27_900 / 120).contains(&level), "only the refill: {input}, {level}");
    world.run_until(secs(2));
    assert_eq!(world.log, ["a@0"]);
    world.settle(200, 10);
    assert_eq!(world.log, ["a@0", "b@2"], "what was not used came back");
}

#[test]
fn a_debt_from_settling_delays_the_next_call() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let tokens = Tokens { input: 27_900 + 2 * 27_900 / 60, output: 10, ..Tokens::default() };
    let usage = Usage { tokens, ..Usage::default() };
    let ticket = world.tickets.remove(0);
    world.admission.settle(ticket, Spent::Presumed { usage: &usage, cost: None }, world.now());
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
        ClassQueue { eta: Some(Duration::ZERO), ..ClassQueue::default() }
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
fn a_limit_that_is_raised_fills_no_bucket_at_once() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let told = |limit, left| Readings {
        limits: vec![Reading { measure: Measure::InputTokens, limit, remaining: Some(left), full_in: None }],
        ..Readings::default()
    };
    world.observe(&told(30_000, 5_000));
    world.observe(&told(300_000, 5_000));
    let levels = world.admission.levels(world.now());
    let input = levels.iter().find(|level| level.measure == Measure::InputTokens).expect("a limit");
    assert!(input.limit == 300_000 && input.level <= 5_000, "{input:?}");
}

#[test]
fn an_answer_of_a_call_that_left_before_a_limit_changed_does_not_change_it_back() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let told = |limit| Readings {
        limits: vec![Reading { measure: Measure::InputTokens, limit, remaining: Some(5_000), full_in: None }],
        ..Readings::default()
    };
    world.call("a");
    world.observe(&told(30_000));
    world.now = secs(10);
    world.call("b");
    world.observe(&told(300_000));
    let late = world.tickets.remove(0);
    world.admission.observe(&late, &told(30_000), world.now());
    let levels = world.admission.levels(world.now());
    assert!(levels.iter().any(|level| level.limit == 300_000), "{levels:?}");
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
    assert!((0.62..=0.625).contains(&world.went_at("b")), "one of a hundred a minute: {:?}", world.log);
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

#[test]
fn a_spent_week_gives_one_form_of_refusal_until_monday_and_critical_calls_keep_their_reserve() {
    let mut world = World::new(Pacing { windows: vec![week_of(100)], ..unlimited() });
    world.spend("a", Class::Normal, 96);
    for (name, class) in [("b", Class::Normal), ("c", Class::Background), ("d", Class::Critical)] {
        world.spend(name, class, 1);
    }
    let refused = |line: &str| line.contains("! Quota") && line.contains("critical_only: true");
    assert!(refused(&world.log[1]) && refused(&world.log[2]), "{:?}", world.log);
    assert_eq!(world.log[3], "d@0");
    world.spend("e", Class::Critical, 3);
    world.spend("f", Class::Critical, 1);
    assert!(world.log[5].contains("critical_only: false"), "{:?}", world.log);
    let monday = Timestamp::parse("2026-11-30T00:00:00Z").expect("a time");
    assert!(world.log[5].contains(&format!("resets_at: {monday:?}")));
    world.go_to("2026-11-30T00:00:01Z");
    world.spend("g", Class::Background, 1);
    assert!(world.log[6].starts_with("g@"), "{:?}", world.log);
}

#[test]
fn a_call_that_is_patient_enough_waits_for_the_windows_reset() {
    let mut world = World::new(Pacing { windows: vec![week_of(1)], ..unlimited() });
    world.spend("a", Class::Critical, 2);
    let patient = Demand { deadline: secs(10 * 86_400), ..world.demand(SONNET, Class::Normal, "p") };
    world.offer("patient", Demand { price: Some(dollar()), ..patient });
    world.go_to("2026-12-01T00:00:00Z");
    assert_eq!(world.went_at("patient"), 4.5 * 86_400.0);
}

#[test]
fn what_running_calls_may_cost_is_held_and_only_one_call_crosses_the_cap() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 10, false)], world.now());
    let large = |world: &World| Demand {
        price: Some(dollar()),
        max_tokens: Some(6_000_000),
        ..world.demand(SONNET, Class::Normal, "c")
    };
    for name in ["a", "b", "c"] {
        let demand = large(&world);
        world.offer(name, demand);
    }
    assert_eq!(world.log, ["a@0", "b@0"], "six and six are more than ten, so the third waits");
    assert_eq!(world.quota(0).reserved, 12_000_000_000);
    world.run_until(secs(1));
    world.settle(0, 1_000_000);
    assert_eq!(world.log, ["a@0", "b@0", "c@1"]);
    let key = world.quota(0).key;
    let third = world.tickets.last().expect("it went");
    assert_eq!(third.kept(), Some(&Kept { by: KeptBy::Quota(key, Left::Held), ahead: 0 }));
}

#[test]
fn a_budget_of_one_client_keeps_nobody_else_waiting() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Client("poor".into()), 1, false)], world.now());
    let demand = |world: &World, client: &str| Demand {
        price: Some(dollar()),
        max_tokens: Some(2_000_000),
        ..world.demand(SONNET, Class::Normal, client)
    };
    for (name, client) in [("p1", "poor"), ("p2", "poor"), ("r", "rich")] {
        let demand = demand(&world, client);
        world.offer(name, demand);
    }
    assert_eq!(world.log, ["p1@0", "r@0"]);
    world.settle(0, 500_000);
    assert_eq!(world.log, ["p1@0", "r@0", "p2@0"]);
    world.settle(0, 0);
    world.settle(0, 1_000_000);
    let demand = demand(&world, "poor");
    world.offer("p3", demand);
    assert!(world.log[3].starts_with("p3! Quota"), "{:?}", world.log);
}

#[test]
fn who_gives_up_waiting_for_a_budget_keeps_nobody_behind_it_waiting() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Project("poor".into()), 1, false)], world.now());
    let of = |world: &World, project: &str| Demand {
        price: Some(dollar()),
        project: Some(project.into()),
        max_tokens: Some(2_000_000),
        deadline: world.now.after(Duration::from_secs(86_400)),
        ..world.demand(SONNET, Class::Normal, "c")
    };
    for (name, project) in [("p1", "poor"), ("p2", "poor"), ("r", "rich")] {
        let demand = of(&world, project);
        world.offer(name, demand);
    }
    assert_eq!(world.log, ["p1@0"]);
    let p2 = *world.names.first_key_value().expect("it waits").0;
    world.admission.cancel(p2);
    world.decide();
    assert_eq!(world.log, ["p1@0", "r@0"]);
}

#[test]
fn a_budget_that_is_no_more_keeps_nobody_back_and_cuts_nothing() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 1, true)], world.now());
    for name in ["runs", "waits"] {
        let large = world.demand(SONNET, Class::Normal, "c");
        world.offer(name, Demand { price: Some(dollar()), max_tokens: Some(2_000_000), ..large });
    }
    assert_eq!(world.log, ["runs@0"]);
    world.admission.set_budgets(&[], world.now());
    world.decide();
    assert_eq!(world.log, ["runs@0", "waits@0"]);
    let usage = Usage { tokens: Tokens { output: 1_500_000, ..Tokens::default() }, ..Usage::default() };
    assert_eq!(world.admission.progress(&mut world.tickets[0], &usage), Flow::GoOn);
}

#[test]
fn a_budget_of_which_less_is_spent_than_was_thought_lets_go_who_waits() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 1, false)], world.now());
    let key = world.quota(0).key;
    world.admission.count(&key, usd(2).as_nanos());
    let deadline = world.now.after(Duration::from_secs(86_400));
    world.offer("a", Demand { price: Some(dollar()), deadline, ..world.demand(SONNET, Class::Normal, "c") });
    assert!(world.log.is_empty());
    world.admission.count(&key, 0);
    world.decide();
    assert_eq!(world.log, ["a@0"]);
}

#[test]
fn an_attempt_that_another_follows_counts_in_the_minute_and_in_no_budget() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.admission.set_budgets(&[budget(Scope::Machine, 10, false)], world.now());
    world.offer("a", Demand { price: Some(dollar()), ..world.demand(SONNET, Class::Normal, "a") });
    let left = world.level(Measure::InputTokens);
    let ticket = world.tickets.pop().expect("it went");
    let usage = Usage { tokens: Tokens { input: 100, output: 100, ..Tokens::default() }, ..Usage::default() };
    world.admission.settle(ticket, Spent::Lost { usage: &usage }, world.now());
    assert_eq!((world.quota(0).used, world.level(Measure::InputTokens)), (0, left), "nothing came back");
    world.run_until(secs(9));
    world.spend("b", Class::Normal, 1);
    assert_eq!(world.quota(0).used, usd(1).as_nanos());
}

#[test]
fn a_call_that_is_sent_once_more_by_the_same_proof_takes_twice() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let once = 27_900 - world.level(Measure::InputTokens);
    world.admission.takes_again(&world.tickets[0], world.now());
    assert_eq!(world.level(Measure::InputTokens), 27_900 - 2 * once);
    world.settle(once, 0);
    assert_eq!(world.level(Measure::InputTokens), 27_900 - 2 * once, "what was sent first stays taken");
}

#[test]
fn a_hard_budget_cuts_a_stream_at_the_cap_and_a_soft_one_lets_it_end() {
    for hard in [true, false] {
        let mut world = World::new(unlimited());
        world.admission.set_budgets(&[budget(Scope::Machine, 1, hard)], world.now());
        world.offer("a", Demand { price: Some(dollar()), ..world.demand(SONNET, Class::Normal, "c") });
        let mut ticket = world.tickets.pop().expect("it went");
        let mut used = |output| {
            let usage = Usage { tokens: Tokens { output, ..Tokens::default() }, ..Usage::default() };
            world.admission.progress(&mut ticket, &usage) == Flow::GoOn
        };
        assert_eq!((used(900_000), used(999_999), used(1_000_000)), (true, true, !hard));
        world.admission.settle(ticket, Spent::Nothing, world.now());
    }
}

#[test]
fn a_call_that_is_cut_is_told_what_it_has_come_to() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 1, true)], world.now());
    world.offer("a", Demand { price: Some(dollar()), ..world.demand(SONNET, Class::Normal, "c") });
    let mut ticket = world.tickets.pop().expect("it went");
    let usage = Usage { tokens: Tokens { output: 1_200_000, ..Tokens::default() }, ..Usage::default() };
    let Flow::Cut(spent) = world.admission.progress(&mut ticket, &usage) else { panic!("it goes on") };
    assert_eq!((spent.used, spent.limit), (1_200_000_000, 1_000_000_000));
}

#[test]
fn background_work_leaves_its_share_of_the_day_to_business_hours() {
    let hours = BusinessHours { days: [true; 7], from: 9 * 60, to: 17 * 60, zone: Tz::UTC };
    let background = Some(BackgroundGuard { hours, share_permille: 300 });
    let day = Window {
        name: "day".into(),
        limit: Amount::Usd(usd(10)),
        span: Span::Until(Cycle::new(Every::Day, 0, Tz::UTC)),
    };
    let mut world = World::by(&Rules { background, ..Rules::default() }, Pacing { windows: vec![day], ..unlimited() });
    world.go_to("2026-11-26T02:00:00Z");
    for _ in 0..30 {
        world.spend("night", Class::Background, 1);
    }
    assert_eq!(world.quota(0).used, 7_000_000_000);
    assert!(world.log[7].starts_with("night! Held"), "{:?}", world.log);
    world.spend("day", Class::Normal, 1);
    let patient = Demand { deadline: secs(20 * 86_400), ..world.demand(SONNET, Class::Background, "p") };
    world.offer("patient", Demand { price: Some(dollar()), ..patient });
    world.go_to("2026-11-26T09:30:00Z");
    assert_eq!(world.went_at("patient"), 21.0 * 3_600.0, "at nine");
    world.go_to("2026-11-26T20:00:00Z");
    world.spend("evening", Class::Background, 1);
    assert!(world.log.last().is_some_and(|line| line.starts_with("evening@")), "no business hours are left today");
}

#[test]
fn background_work_that_a_budget_keeps_for_business_hours_goes_when_they_begin() {
    let hours = BusinessHours { days: [true; 7], from: 9 * 60, to: 17 * 60, zone: Tz::UTC };
    let background = Some(BackgroundGuard { hours, share_permille: 300 });
    let mut world = World::by(&Rules { background, ..Rules::default() }, unlimited());
    let week = Budget { period: Period::Week, ..budget(Scope::Machine, 10, false) };
    world.admission.set_budgets(&[week], world.now());
    world.go_to("2026-11-26T02:00:00Z");
    world.spend("day", Class::Normal, 8);
    let patient = Demand { deadline: secs(20 * 86_400), ..world.demand(SONNET, Class::Background, "p") };
    world.offer("patient", Demand { price: Some(dollar()), ..patient });
    world.go_to("2026-11-26T09:30:00Z");
    assert_eq!(world.went_at("patient"), 21.0 * 3_600.0, "at nine");
}

#[test]
fn a_clock_that_jumps_reopens_no_window_that_has_closed() {
    let mut quotas = Quotas::new(&Rules::default());
    quotas.add_window(AccountId(0), &week_of(10));
    let at = |moment| Timestamp::parse(moment).expect("a time");
    let id = quotas.windows_of(AccountId(0))[0];
    quotas.turn(at("2026-11-25T12:00:00Z"));
    quotas.spend(id, usd(9), 0, at("2026-11-25T12:00:00Z"));
    quotas.turn(at("2026-11-30T12:00:00Z"));
    quotas.spend(id, usd(4), 0, at("2026-11-30T12:00:00Z"));
    quotas.turn(at("2026-11-25T13:00:00Z"));
    let level = &quotas.levels()[0];
    assert_eq!((level.used, level.resets_at), (4_000_000_000, at("2026-11-30T00:00:00Z")));
}

/// A window of five hours and ten dollars, and when it is looked at.
fn five_hours(moment: &str) -> (Quotas, QuotaId, Timestamp) {
    let mut quotas = Quotas::new(&Rules::default());
    let length = Duration::from_secs(5 * 3_600);
    let window = Window { name: "5h".into(), limit: Amount::Usd(usd(10)), span: Span::Rolling(length) };
    quotas.add_window(AccountId(0), &window);
    let now = Timestamp::parse(moment).expect("a time");
    quotas.turn(now);
    let id = quotas.windows_of(AccountId(0))[0];
    (quotas, id, now)
}

/// Whether it is shut after that many hours.
fn is_shut_after(quotas: &mut Quotas, id: QuotaId, begin: Timestamp, hours: u64) -> bool {
    let now = begin.after(Duration::from_secs(hours * 3_600));
    quotas.turn(now);
    quotas.shut(id, Class::Normal, now).is_some()
}

#[test]
fn a_window_that_a_call_spends_which_began_before_it_ends_too() {
    let (mut quotas, id, now) = five_hours("2026-11-25T12:00:00Z");
    quotas.spend(id, usd(11), 0, now);
    assert!(is_shut_after(&mut quotas, id, now, 4));
    assert!(!is_shut_after(&mut quotas, id, now, 5));
}

#[test]
fn a_window_that_was_spent_before_a_restart_ends_when_it_would_have_ended() {
    let (mut quotas, id, now) = five_hours("2026-11-25T12:00:00Z");
    let key = QuotaKey::Window { account: AccountId(0), name: "5h".into() };
    let (since, resets_at) = (now.before(Duration::from_secs(3_600)), now.after(Duration::from_secs(4 * 3_600)));
    quotas.resume(&key, usd(11).as_nanos(), since, resets_at, now);
    assert!(is_shut_after(&mut quotas, id, now, 3));
    assert!(!is_shut_after(&mut quotas, id, now, 4));
}

#[test]
fn a_spent_window_ends_by_its_length_after_a_clock_that_goes_back_and_where_its_reset_cannot_be() {
    let (mut quotas, id, now) = five_hours("2026-11-25T12:00:00Z");
    quotas.spend(id, usd(11), 0, now);
    let earlier = now.before(Duration::from_secs(2 * 3_600));
    assert!(is_shut_after(&mut quotas, id, earlier, 0));
    assert!(is_shut_after(&mut quotas, id, earlier, 4));
    assert!(!is_shut_after(&mut quotas, id, earlier, 5));

    let resets_at = now.before(Duration::from_secs(1));
    let reading = WindowReading { name: "7d".into(), used: 10_000, resets_at, rejected: true };
    quotas.observe(AccountId(0), &reading, now);
    let week = quotas.windows_of(AccountId(0))[1];
    assert!(is_shut_after(&mut quotas, week, now, 167));
    assert!(!is_shut_after(&mut quotas, week, now, 168));
}

#[test]
fn what_an_absurd_call_gives_back_is_its_own() {
    let (mut quotas, id, now) = five_hours("2026-11-25T12:00:00Z");
    let absurd = Usd::from_nanos(i64::MAX);
    quotas.reserve(id, usd(3), 0, now);
    quotas.reserve(id, absurd, 0, now);
    quotas.release(id, absurd, 0);
    assert_eq!(quotas.levels()[0].reserved, usd(3).as_nanos());
}

#[test]
fn a_subscriptions_window_is_the_upstreams_word() {
    let mut world = World::new(unlimited());
    world.call("a");
    let resets_at = world.now().timestamp.after(Duration::from_secs(1_000));
    let window = |used, rejected| Readings {
        windows: vec![WindowReading { name: "5h".into(), used, resets_at, rejected }],
        ..Readings::default()
    };
    world.observe(&window(9_900, false));
    world.call("b");
    world.observe(&window(10_000, false));
    world.call("c");
    assert_eq!(world.log[..2], ["a@0", "b@0"]);
    assert!(world.log[2].contains("! Quota"), "{:?}", world.log);
    world.run_until(secs(1_001));
    world.call("d");
    assert_eq!(world.log[3], "d@1001");
}

#[test]
fn a_limit_in_percent_is_a_ceiling_over_the_upstreams_window_of_its_length() {
    let week = Window { limit: Amount::Percent(80), ..week_of(1) };
    let mut world = World::new(Pacing { windows: vec![week], ..unlimited() });
    world.call("a");
    let resets_at = world.now().timestamp.after(Duration::from_secs(1_000));
    let window = WindowReading { name: "7d".into(), used: 8_100, resets_at, rejected: false };
    world.observe(&Readings { windows: vec![window], ..Readings::default() });
    world.call("b");
    assert!(world.log[1].starts_with("b! Quota"), "{:?}", world.log);
    let now = world.now();
    assert_eq!(world.admission.quotas(now).len(), 1);
}

#[test]
fn a_call_that_waited_tells_what_kept_it_when_it_came() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.admission.pause(Class::Background);
    world.offer("paused", world.demand(SONNET, Class::Background, "p"));
    for name in ["first", "second", "third"] {
        world.call(name);
    }
    world.run_until(secs(5));
    world.admission.resume(Class::Background);
    world.decide();
    let kept = |name: &str| {
        let place = world.log.iter().position(|line| line.starts_with(&format!("{name}@")));
        let place = place.unwrap_or_else(|| panic!("{name} did not go: {:?}", world.log));
        world.tickets[place].kept().cloned()
    };
    let by_requests = |ahead| {
        let binding =
            Binding { group: "sonnet-4".into(), measure: Measure::Requests, limit: 50, source: LimitSource::Tier };
        Some(Kept { by: KeptBy::Limit(binding), ahead })
    };
    assert_eq!(kept("first"), None);
    assert_eq!([kept("second"), kept("third")], [by_requests(0), by_requests(1)]);
    assert_eq!(kept("paused"), Some(Kept { by: KeptBy::Pause, ahead: 0 }));
}

#[test]
fn a_reservation_lets_its_calls_through_a_flood_at_its_pace() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for _ in 0..200 {
        world.offer("flood", world.demand(SONNET, Class::Critical, "flood"));
    }
    let ask = reservation_of(&world, 20, Duration::from_secs(60));
    let reserved = world.admission.reserve(ask, world.now()).expect("it fits");
    let starts = world.now.after(reserved.starts_at.since(world.now().timestamp));
    world.run_until(starts);
    for n in 0..20 {
        let began = world.now;
        let reservation = Some(reserved.id);
        let name = format!("r{n}");
        world.offer(&name, Demand { reservation, ..world.demand(SONNET, Class::Background, "migration") });
        world.run_until(began.after(Duration::from_secs(3)));
        let waited = world.went_at(&name) - began.as_nanos() as f64 / 1e9;
        assert!(waited <= 1.25, "{name} waited {waited} s");
    }
}

#[test]
fn a_call_that_broke_off_gives_back_what_it_had_reserved_once_the_upstream_knows() {
    let mut world = World::new(tier_1(OutputCounting::Reserved));
    let large = Demand { max_tokens: Some(7_000), ..world.demand(SONNET, Class::Normal, "a") };
    world.offer("a", large.clone());
    world.offer("b", large);
    let ticket = world.tickets.remove(0);
    world.now = secs(2);
    world.admission.settle(ticket, Spent::Presumed { usage: &Usage::default(), cost: None }, world.now());
    world.decide();
    world.run_until(secs(10));
    assert_eq!(world.went_at("b"), 3.0, "{:?}", world.log);
}

#[test]
fn a_call_beyond_those_that_were_reserved_is_like_any_other() {
    let mut world = World::new(unlimited());
    let ask = reservation_of(&world, 1, Duration::from_secs(60));
    let reserved = world.admission.reserve(ask, world.now()).expect("it fits");
    world.admission.pause(Class::Background);
    for n in 0..9 {
        let reservation = Some(reserved.id);
        let demand = Demand { reservation, ..world.demand(SONNET, Class::Background, "migration") };
        world.offer(&format!("r{n}"), demand);
    }
    assert_eq!(world.log.len(), 6, "one, and five to spare: {:?}", world.log);
}

#[test]
fn a_reservation_that_does_not_fit_names_the_shortest_time_in_which_it_would() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let ask = reservation_of(&world, 96, Duration::from_secs(60));
    let Err(NotReserved::TooFast { binding, shortest }) = world.admission.reserve(ask.clone(), world.now()) else {
        panic!("96 a minute don't fit into 48")
    };
    assert_eq!((binding.measure, shortest), (Measure::Requests, Some(Duration::from_secs(120))));
    let fitting = ReservationAsk { ttl: Duration::from_secs(120), ..ask.clone() };
    let reserved = world.admission.reserve(fitting.clone(), world.now()).expect("it fits");
    let second = ReservationAsk { id: ReservationId(CallId::new(wednesday(), 9)), ..fitting };
    assert!(world.admission.reserve(second.clone(), world.now()).is_err(), "the rate is taken");
    assert!(!world.admission.release_reservation(reserved.id, "stranger", world.now()));
    assert!(world.admission.release_reservation(reserved.id, "migration", world.now()));
    assert!(world.admission.reserve(second, world.now()).is_ok());
    let wrong = [(0, 60, NotReserved::NoCalls), (1, 0, NotReserved::Ttl), (1, 99_999_999, NotReserved::Ttl)];
    for (calls, ttl, why) in wrong {
        let ask = ReservationAsk { calls, ttl: Duration::from_secs(ttl), ..ask.clone() };
        assert_eq!(world.admission.reserve(ask, world.now()), Err(why));
    }
}

#[test]
fn what_a_reservation_holds_comes_back_at_its_end() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("first");
    let before = world.level(Measure::InputTokens);
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let reserved = world.admission.reserve(ask, world.now()).expect("it fits");
    assert!(world.level(Measure::InputTokens) < before);
    world.admission.release_reservation(reserved.id, "migration", world.now());
    assert_eq!(world.level(Measure::InputTokens), before);
}

#[test]
fn calls_that_wait_when_their_reservation_ends_wait_on_like_others() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let reserved = world.admission.reserve(ask, world.now()).expect("it fits");
    world.call("first");
    for name in ["own1", "own2"] {
        let demand = world.demand(SONNET, Class::Background, "migration");
        world.offer(name, Demand { reservation: Some(reserved.id), ..demand });
    }
    world.call("normal");
    world.run_until(secs(2));
    world.admission.release_reservation(reserved.id, "migration", world.now());
    world.admission.pause(Class::Background);
    world.run_until(secs(10));
    assert_eq!(world.log, ["first@0", "own1@1.25", "normal@2.5"], "own2 is paused as its class is");
    world.admission.resume(Class::Background);
    world.decide();
    assert_eq!(world.log[3], "own2@10");
}

#[test]
fn what_a_reservation_holds_of_a_budget_lets_others_go_when_it_expires() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 1, false)], world.now());
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let all = ReservationAsk { output_tokens: 1_000_000, price: Some(dollar()), ..ask };
    world.admission.reserve(all, world.now()).expect("it fits");
    world.offer("waits", Demand { price: Some(dollar()), ..world.demand(SONNET, Class::Normal, "c") });
    world.run_until(secs(100));
    assert_eq!(world.log, ["waits@60"]);
}

#[test]
fn what_a_reservation_did_not_ask_for_its_calls_pay_like_others() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 2, false)], world.now());
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let half = ReservationAsk { input_tokens: 0, output_tokens: 1_000_000, price: Some(dollar()), ..ask };
    let reserved = world.admission.reserve(half, world.now()).expect("it fits").id;
    let own = |world: &World| Demand {
        price: Some(dollar()),
        reservation: Some(reserved),
        ..world.demand(SONNET, Class::Background, "migration")
    };
    let spend = |world: &mut World, cost: i64| {
        let ticket = world.tickets.remove(0);
        let usage = Usage::default();
        world.admission.settle(ticket, Spent::Told { usage: &usage, cost: Some(usd(cost)) }, world.now());
    };
    world.offer("one", own(&world));
    spend(&mut world, 0);
    world.offer("two", own(&world));
    spend(&mut world, 2);
    // The budget is spent, and nothing of what was set aside: that is paid first.
    world.offer("others", Demand { price: Some(dollar()), ..world.demand(SONNET, Class::Critical, "c") });
    world.offer("three", own(&world));
    let refused = |name: &str| world.log.iter().any(|line| line.starts_with(&format!("{name}! Quota")));
    assert!(world.log[..2] == ["one@0", "two@0"] && refused("others") && refused("three"), "{:?}", world.log);
}

#[test]
fn a_call_that_came_to_less_leaves_the_rest_to_its_reservation() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 2, false)], world.now());
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let all = ReservationAsk { output_tokens: 2_000_000, price: Some(dollar()), ..ask };
    let reserved = world.admission.reserve(all, world.now()).expect("it fits").id;
    for n in 0..5 {
        let large = Demand {
            price: Some(dollar()),
            max_tokens: Some(1_500_000),
            reservation: Some(reserved),
            ..world.demand(SONNET, Class::Background, "migration")
        };
        world.offer(&format!("r{n}"), large);
        let (ticket, usage) = (world.tickets.remove(0), Usage::default());
        world.admission.settle(ticket, Spent::Told { usage: &usage, cost: Some(usd(0)) }, world.now());
    }
    assert_eq!((world.log.len(), world.quota(0).reserved), (5, usd(2).as_nanos()), "{:?}", world.log);
    world.admission.release_reservation(reserved, "migration", world.now());
    assert_eq!(world.quota(0).reserved, 0);
}

#[test]
fn calls_of_a_reservation_that_go_together_wait_for_what_the_others_did_not_use() {
    let mut world = World::new(unlimited());
    world.admission.set_budgets(&[budget(Scope::Machine, 2, false)], world.now());
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let all = ReservationAsk { input_tokens: 0, output_tokens: 2_000_000, price: Some(dollar()), ..ask };
    let reservation = Some(world.admission.reserve(all, world.now()).expect("it fits").id);
    for name in ["one", "two", "three"] {
        let large = Demand {
            price: Some(dollar()),
            max_tokens: Some(1_500_000),
            reservation,
            ..world.demand(SONNET, Class::Background, "migration")
        };
        world.offer(name, large);
    }
    assert_eq!(world.log, ["one@0", "two@0"], "the budget is held by those that run");
    let (ticket, usage) = (world.tickets.remove(0), Usage::default());
    world.admission.settle(ticket, Spent::Told { usage: &usage, cost: Some(usd(0)) }, world.now());
    world.decide();
    assert_eq!(world.log, ["one@0", "two@0", "three@0"]);
}

fn reservation_of(world: &World, calls: u64, ttl: Duration) -> ReservationAsk {
    ReservationAsk {
        id: ReservationId(CallId::new(wednesday(), 7)),
        client: "migration".into(),
        account: world.account,
        model: SONNET.into(),
        calls,
        input_tokens: calls.saturating_mul(400),
        output_tokens: calls.saturating_mul(100),
        ttl,
        price: None,
    }
}

#[test]
fn a_queue_full_of_critical_calls_makes_room_for_what_is_reserved() {
    let rules = Rules { queue_max: 2, ..Rules::default() };
    let mut world = World::by(&rules, tier_1(OutputCounting::AsProduced));
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let reserved = world.admission.reserve(ask, world.now()).expect("it fits");
    for name in ["a", "b", "c"] {
        world.offer(name, world.demand(SONNET, Class::Critical, name));
    }
    let own = Demand { reservation: Some(reserved.id), ..world.demand(SONNET, Class::Background, "migration") };
    world.offer("migration", own);
    world.run_until(secs(5));
    assert!(!world.log.iter().any(|line| line.starts_with("migration!")), "{:?}", world.log);
}

#[test]
fn a_full_queue_makes_room_for_the_more_urgent_and_for_shorter_lines() {
    let rules = Rules { queue_max: 5, ..Rules::default() };
    let mut world = World::by(&rules, tier_1(OutputCounting::AsProduced));
    world.admission.pause(Class::Background);
    world.call("first");
    for n in 0..5 {
        world.offer(&format!("b{n}"), world.demand(SONNET, Class::Background, "b"));
    }
    for name in ["n0", "n1", "n2"] {
        world.offer(name, world.demand(SONNET, Class::Normal, "flood"));
    }
    let full = |name| format!("{name}! QueueFull {{ waiting: 5 }}");
    assert_eq!(world.log, ["first@0".to_owned(), full("b4"), full("b3"), full("b2")]);
    world.log.clear();
    for name in ["n3", "n4", "n5"] {
        world.offer(name, world.demand(SONNET, Class::Normal, "flood"));
    }
    assert_eq!(world.log, [full("b1"), full("b0"), full("n5")], "the flood does not displace itself");
    world.offer("other", world.demand(SONNET, Class::Normal, "other"));
    assert_eq!(world.log.last(), Some(&full("n4")));
}

#[test]
fn a_full_queue_makes_room_for_calls_of_a_reservation_whoever_waits() {
    let rules = Rules { queue_max: 1, ..Rules::default() };
    let mut world = World::by(&rules, tier_1(OutputCounting::AsProduced));
    let ask = reservation_of(&world, 10, Duration::from_secs(60));
    let reservation = Some(world.admission.reserve(ask, world.now()).expect("it fits").id);
    world.call("first");
    world.offer("c", world.demand(SONNET, Class::Critical, "c"));
    world.offer("own", Demand { reservation, ..world.demand(SONNET, Class::Normal, "migration") });
    world.run_until(secs(10));
    assert_eq!(world.log, ["first@0", "c! QueueFull { waiting: 1 }", "own@1.25"]);
}

#[test]
fn a_waiting_call_can_be_dropped_and_raised_by_hand() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["first", "a", "b", "c"] {
        world.call(name);
    }
    let id = |world: &World, name: &str| *world.names.iter().find(|(_, other)| *other == name).expect("it waits").0;
    let (a, c) = (id(&world, "a"), id(&world, "c"));
    assert!(world.admission.raise(c) && world.admission.drop_waiting(a));
    world.run_until(secs(10));
    assert_eq!(world.log, ["first@0", "a! Dropped", "c@1.25", "b@2.5"]);
    assert!(!world.admission.raise(c) && !world.admission.drop_waiting(a), "they wait no more");
}

#[test]
fn who_waits_is_told_its_own_turn() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    for name in ["first", "a", "b", "c"] {
        let demand = world.demand(SONNET, Class::Normal, "one");
        world.offer(name, demand);
    }
    let told = |world: &World| -> Vec<(String, Option<f64>)> {
        let waiting = world.admission.waiting(world.now());
        let shown = |call: &WaitingCall| (world.names[&call.waiter].clone(), call.eta.map(|eta| eta.as_secs_f64()));
        waiting.iter().map(shown).collect()
    };
    let of = |name: &str, eta: f64| (name.to_owned(), Some(eta));
    assert_eq!(told(&world), [of("a", 1.25), of("b", 2.5), of("c", 3.75)]);
    let c = *world.names.iter().find(|(_, name)| *name == "c").expect("it waits").0;
    assert!(world.admission.raise(c));
    assert_eq!(told(&world), [of("a", 2.5), of("b", 3.75), of("c", 1.25)]);
}

#[test]
fn a_refusal_names_what_the_call_really_waits_for() {
    let limits = limits(50, 30_000, 8_000);
    let mut world = World::new(Pacing { written: vec![written("*", limits, None)], ..unlimited() });
    world.call("first");
    let deadline = world.now.after(Duration::from_secs(2));
    let named = |world: &World| match world.log.last() {
        Some(refused) if refused.contains("binding: None") => "the upstream",
        Some(refused) if refused.contains("InputTokens") => "input tokens",
        _ => "something else",
    };
    let of = |words| Shape::of_words(words);
    for _ in 0..2 {
        world.offer("big", Demand { shape: of(80_000), ..world.demand(SONNET, Class::Normal, "c") });
    }
    world.offer("behind", Demand { deadline, shape: of(80_000), ..world.demand(SONNET, Class::Normal, "c") });
    assert_eq!(named(&world), "input tokens", "{:?}", world.log);
    let limited = Limited { retry_after: Some(Duration::from_secs(99_999_999)), ..Limited::default() };
    world.observe(&Readings { limited: Some(limited), ..Readings::default() });
    world.offer("refused", Demand { deadline, ..world.demand(SONNET, Class::Normal, "d") });
    assert_eq!(named(&world), "the upstream", "{:?}", world.log);
}

#[test]
fn a_call_that_comes_back_is_judged_by_its_old_place() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.now = secs(100);
    for name in 0..200 {
        let demand = world.demand(SONNET, Class::Normal, "one");
        world.offer(&name.to_string(), demand);
    }
    let deadline = world.now.after(Duration::from_secs(10));
    world.offer("new", Demand { deadline, ..world.demand(SONNET, Class::Normal, "one") });
    assert!(world.log[1].starts_with("new! Deadline"), "{:?}", world.log);
    world.offer("back", Demand { deadline, since: secs(1), ..world.demand(SONNET, Class::Normal, "one") });
    world.run_until(secs(102));
    assert_eq!(world.log[2..], ["back@101.25"]);
}

#[test]
fn what_falls_faster_than_we_draw_is_outside_usage_and_slows_us_down() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let mut theirs = 0_u64;
    for second in 0..200 {
        world.now = secs(second);
        world.decide();
        // Half of what refills goes to somebody else, and more than half to us.
        theirs += 250;
        if second % 4 == 0 {
            world.call("a");
        }
        let ours = 1_250 * (second / 4 + 1);
        let remaining = (30_000 + 500 * second).saturating_sub(theirs + ours).min(30_000);
        let reading =
            Reading { measure: Measure::InputTokens, limit: 30_000, remaining: Some(remaining), full_in: None };
        if !world.tickets.is_empty() {
            world.observe(&Readings { limits: vec![reading], ..Readings::default() });
            world.settle(1_250, 10);
        }
    }
    let outside = world.admission.outside(world.now());
    let [Outside { measure: Measure::InputTokens, share_permille, .. }] = outside.as_slice() else {
        panic!("{outside:?}")
    };
    assert!((400..=490).contains(share_permille), "4 of 9 are theirs: {share_permille}");
}

fn input_left(limit: u64, remaining: u64) -> Readings {
    let reading = Reading { measure: Measure::InputTokens, limit, remaining: Some(remaining), full_in: None };
    Readings { limits: vec![reading], ..Readings::default() }
}

#[test]
fn a_limit_that_is_lowered_makes_no_debt_where_the_upstream_has_none() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.observe(&input_left(30_000, 2_500));
    world.observe(&input_left(15_000, 1_000));
    world.call("b");
    world.run_until(secs(60));
    assert!(world.went_at("b") < 5.0, "{:?}", world.log);
}

#[test]
fn a_limit_that_was_misread_for_one_answer_lends_nothing_that_comes_back_later() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let large = Demand { shape: Shape::of_words(9_000), ..world.demand(SONNET, Class::Normal, "a") };
    world.offer("a", large);
    // It came to less than was reserved for it, and the upstream has the rest already.
    let left = world.level(Measure::InputTokens) + 3_000;
    world.observe(&input_left(30_000, left));
    let before = world.level(Measure::InputTokens);
    world.observe(&input_left(15_000, left));
    world.observe(&input_left(30_000, left));
    let after = world.level(Measure::InputTokens);
    assert!(after <= before, "{after} of {before}, while {left} are left");
}

#[test]
fn a_limit_told_without_what_is_left_of_it_neither_lends_nor_takes() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    world.observe(&input_left(30_000, 12_000));
    let told = |limit, remaining| Readings {
        limits: vec![Reading { measure: Measure::InputTokens, limit, remaining, full_in: None }],
        ..Readings::default()
    };
    let before = world.level(Measure::InputTokens);
    for nonsense in [None, Some(u64::MAX)] {
        for limit in [15_000, 30_000] {
            world.observe(&told(limit, nonsense));
            assert_eq!(world.level(Measure::InputTokens), before, "of {limit}, {nonsense:?} left");
        }
    }
}

#[test]
fn what_others_drew_is_forgotten_where_nothing_tells_of_them_any_more() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    for second in 1..60 {
        world.now = secs(second);
        world.observe(&input_left(30_000, 30_000 - 500 * second));
    }
    let pace = |world: &World| {
        let group = &world.admission.groups[0];
        world.admission.resources.free_pace(group.limits[&Measure::InputTokens], world.now).expect("a pace")
    };
    let (busy, full) = (pace(&world), 27_900_000);
    assert!(busy < full / 2, "{busy}");
    world.run_until(secs(600));
    assert!(pace(&world) > full * 8 / 10, "{}", pace(&world));
}

#[test]
fn the_call_that_first_tells_of_a_limit_has_drawn_on_it() {
    let mut world = World::new(unlimited());
    world.call("a");
    let told = Reading { measure: Measure::Requests, limit: 60, remaining: Some(59), full_in: None };
    world.observe(&Readings { limits: vec![told], ..Readings::default() });
    world.call("b");
    world.run_until(secs(60));
    assert!((1.0..1.1).contains(&world.went_at("b")), "{:?}", world.log);
}

#[test]
fn a_late_reading_is_no_sign_of_others() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    let reading = |remaining| Readings {
        limits: vec![Reading {
            measure: Measure::InputTokens,
            limit: 30_000,
            remaining: Some(remaining),
            full_in: None,
        }],
        ..Readings::default()
    };
    world.offer("large", Demand { shape: Shape::of_words(60_000), ..world.demand(SONNET, Class::Normal, "a") });
    world.observe(&reading(9_000));
    world.run_until(secs(30));
    let level = world.level(Measure::InputTokens);
    world.observe(&reading(9_000));
    assert!(world.level(Measure::InputTokens) >= level, "it tells of the moment at which the call left");
    assert_eq!(world.admission.outside(world.now()), []);
}

#[test]
fn a_ramp_limit_slows_the_ramp_and_lets_it_grow_again() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("a");
    let limited = Limited { retry_after: Some(Duration::from_secs(1)), measure: None, ramp: true };
    world.observe(&Readings { limited: Some(limited), ..Readings::default() });
    // A reservation could have nine tenths of the pace.
    let pace = |world: &World| {
        world.admission.resources.free_pace(world.admission.groups[0].limits[&Measure::InputTokens], world.now)
    };
    assert_eq!(pace(&world), Some(13_950_000 * 9 / 10));
    world.run_until(secs(31));
    world.call("b");
    assert_eq!(pace(&world), Some(13_950_000 * 5 / 4 * 9 / 10));
    world.run_until(secs(200));
    for name in ["c", "d", "e", "f"] {
        world.run_until(world.now.after(Duration::from_secs(31)));
        world.call(name);
    }
    assert_eq!(pace(&world), Some(27_900_000 * 9 / 10));
}

#[test]
fn after_a_restart_what_the_last_minutes_took_is_taken_and_what_was_learned_is_known() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.now = secs(1_000);
    world.call("a");
    let told = Reading { measure: Measure::Requests, limit: 1_000, remaining: Some(999), full_in: None };
    world.observe(&Readings { limits: vec![told], ..Readings::default() });
    world.admission.pause(Class::Background);
    let now = world.now();
    let memory = world.admission.remember(now);
    let mut again = World::new(tier_1(OutputCounting::AsProduced));
    again.now = secs(1_010);
    again.admission.recall(memory, again.now());
    let tokens = Tokens { input: 27_000, output: 5, ..Tokens::default() };
    let past = Past {
        account: "upstream".into(),
        model: SONNET.into(),
        fast: false,
        opened_at: again.now().timestamp.before(Duration::from_secs(6)),
        usage: Usage { tokens, ..Usage::default() },
        reserved: Usage::default(),
        interrupted: false,
    };
    again.admission.replay(vec![past], again.now());
    let levels = again.admission.levels(again.now());
    let of = |measure| levels.iter().find(|level| level.measure == measure).expect("a level").clone();
    assert_eq!((of(Measure::Requests).limit, of(Measure::Requests).source), (1_000, LimitSource::Headers));
    assert_eq!(of(Measure::InputTokens).level, 900 + 27_900 / 10);
    assert!(again.admission.queue(Class::Background, again.now()).paused);
}

#[test]
fn a_bucket_that_was_empty_before_a_restart_is_empty_after_it() {
    for booted in [2, 10_000] {
        let mut again = World::new(tier_1(OutputCounting::AsProduced));
        // A machine that has just started has a young clock.
        again.now = secs(booted);
        let past = |second: u64| Past {
            account: "upstream".into(),
            model: SONNET.into(),
            fast: false,
            opened_at: again.now().timestamp.before(Duration::from_secs(second)),
            usage: Usage { tokens: Tokens { input: 3_000, output: 5, ..Tokens::default() }, ..Usage::default() },
            reserved: Usage::default(),
            interrupted: false,
        };
        // Ten calls a minute take all of 30,000.
        let past = (1..30).map(|call| past(call * 6)).collect();
        again.admission.replay(past, again.now());
        let levels = again.admission.levels(again.now());
        let input = levels.iter().find(|level| level.measure == Measure::InputTokens).expect("a level");
        assert!(input.level < 3_000, "{input:?}");
    }
}

#[test]
fn fast_mode_has_limits_of_its_own() {
    let mut world = World::new(tier_1(OutputCounting::AsProduced));
    world.call("slow");
    world.offer("fast", Demand { fast: true, ..world.demand(SONNET, Class::Normal, "a") });
    assert_eq!(world.log, ["slow@0", "fast@0"]);
    let reading = Reading { measure: Measure::InputTokens, limit: 100, remaining: Some(0), full_in: None };
    world.observe(&Readings { limits: vec![reading], ..Readings::default() });
    let groups: Vec<String> = world.admission.levels(world.now()).iter().map(|level| level.group.to_string()).collect();
    assert_eq!(groups, ["sonnet-4", "sonnet-4", "sonnet-4", "sonnet-4 fast"]);
}

#[test]
fn limits_that_the_api_tells_group_the_models_it_names() {
    let mut world = World::new(unlimited());
    let models = vec![SONNET.into(), "claude-new-9".into()];
    let told = TaughtLimits { models, limits: limits(60, 1_000, 1_000) };
    world.admission.learn_limits(world.account, &[told], world.now());
    world.call("a");
    world.offer("b", world.demand("claude-new-9", Class::Normal, "b"));
    world.run_until(secs(5));
    assert_eq!(world.log[0], "a@0");
    assert!(world.went_at("b") > 1.0, "they share a request a second: {:?}", world.log);
}

mod any_input {
    use proptest::prelude::*;

    use super::*;

    fn measure() -> impl Strategy<Value = Measure> {
        (0..Measure::ALL.len()).prop_map(|index| Measure::ALL[index])
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), 0u64..1_000, 0u64..3_000_000]
    }

    fn duration() -> impl Strategy<Value = Option<Duration>> {
        prop::option::of(number().prop_map(Duration::from_secs))
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let parts = (measure(), number(), prop::option::of(number()), duration());
        parts.prop_map(|(measure, limit, remaining, full_in)| Reading { measure, limit, remaining, full_in })
    }

    fn window() -> impl Strategy<Value = WindowReading> {
        (0usize..3, any::<u32>(), any::<i64>(), any::<bool>()).prop_map(|(name, used, at, rejected)| WindowReading {
            name: ["5h", "7d", "x"][name].into(),
            used,
            resets_at: Timestamp::from_millis(at),
            rejected,
        })
    }

    fn limited() -> impl Strategy<Value = Limited> {
        let parts = (duration(), prop::option::of(measure()), any::<bool>());
        parts.prop_map(|(retry_after, measure, ramp)| Limited { retry_after, measure, ramp })
    }

    fn readings() -> impl Strategy<Value = Readings> {
        let some = prop::collection::vec(reading(), 0..4);
        let few = prop::collection::vec(reading(), 0..2);
        let parts = (some, prop::collection::vec(window(), 0..2), few, prop::option::weighted(0.2, limited()));
        parts.prop_map(|(limits, windows, priority, limited)| Readings { limits, windows, priority, limited })
    }

    fn step(world: &mut World, (kind, size, wait, readings): (u8, u64, u64, Readings)) {
        world.now = world.now.after(Duration::from_millis(wait));
        let class = Class::ALL[usize::from(kind) % 3];
        let demand = Demand {
            shape: Shape::of_words(size),
            max_tokens: Some(size),
            price: Some(dollar()),
            reservation: Some(ReservationId(CallId::new(wednesday(), 7))),
            ..world.demand(SONNET, class, ["a", "b", "migration"][usize::from(kind) % 3])
        };
        let usage = Usage { tokens: Tokens { input: size, output: size, ..Tokens::default() }, ..Usage::default() };
        match kind {
            0..=4 => world.offer("c", demand),
            5 if !world.tickets.is_empty() => world.observe(&readings),
            6 if !world.tickets.is_empty() => {
                let mut ticket = world.tickets.remove(0);
                let _ = world.admission.progress(&mut ticket, &usage);
                let spent = Spent::Told { usage: &usage, cost: Some(Usd::from_nanos(i64::MAX)) };
                world.admission.settle(ticket, spent, world.now());
            }
            7 => {
                let ask =
                    ReservationAsk { input_tokens: size, ..reservation_of(world, size, Duration::from_secs(wait)) };
                let _ = world.admission.reserve(ask, world.now());
            }
            8 => {
                let now = world.now();
                let memory = world.admission.remember(now);
                world.admission.recall(memory, now);
            }
            _ => drop(world.admission.outlook(demand, world.now())),
        }
        world.decide();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Whatever an upstream says and callers ask: no panic, no level above what is allowed, and every wait ends.
        #[test]
        fn nothing_said_from_outside_breaks_it(
            steps in prop::collection::vec((0u8..10, number(), 0u64..100_000, readings()), 1..60),
        ) {
            let week = Window { limit: Amount::Tokens(1_000_000), ..week_of(1) };
            let mut world = World::new(Pacing { windows: vec![week, week_of(50)], ..tier_1(OutputCounting::Reserved) });
            world.admission.set_budgets(&[budget(Scope::Machine, 10, true)], world.now());
            for one in steps {
                step(&mut world, one);
                for level in world.admission.levels(world.now()) {
                    prop_assert!(level.level <= level.guarded.max(level.limit), "{level:?}");
                }
            }
            let patience = Duration::from_secs(601);
            world.run_until(world.now.after(patience));
            prop_assert_eq!(world.names.len(), 0, "somebody still waits after its deadline");
        }
    }
}
