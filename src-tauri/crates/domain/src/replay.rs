//! Shadow mode: calls of the past let through once more, under other limits, budgets or priorities, in no time.
//!
//! What an upstream would have done beyond the limits that are presumed nobody knows: it is taken to answer as it did.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{
    AccountId, Admission, Caching, Demand, LearnedLimit, Memory, Refusal, Shape, Spent, Ticket, Verdict, WaiterId,
};
use crate::call::{CallId, Class, Entry, Outcome};
use crate::catalog::Catalog;
use crate::config::{Budget, Pacing, Rules};
use crate::money::Usd;
use crate::price::Price;
use crate::time::{Instant, Now, Timestamp};
use crate::usage::Usage;

/// A call as it came, and what it came to.
#[derive(Clone, Debug)]
pub struct PastCall {
    pub at: Timestamp,
    pub class: Class,
    pub client: Arc<str>,
    pub tenant: Option<Arc<str>>,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub model: Arc<str>,
    pub max_tokens: Option<u64>,
    pub usage: Usage,
    /// From the upstream's first attempt to its end.
    pub lasts: Duration,
    pub price: Option<Arc<Price>>,
}

/// What the calls are let through under.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub rules: &'a Rules,
    pub pacing: Pacing,
    /// What the upstream told of its limits, whatever account it was told of.
    pub learned: &'a [LearnedLimit],
    pub budgets: &'a [Budget],
    pub max_wait: Duration,
    /// Of clients whose priority or weight is another than they had.
    pub changed: &'a BTreeMap<Arc<str>, Standing>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub class: Option<Class>,
    pub weight: u32,
    pub max_share: Option<u8>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing { class: None, weight: 1, max_share: None }
    }
}

/// How it would have gone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    pub calls: u64,
    /// Of all calls together, in the queue; a refused one's until it was refused.
    pub waited: Duration,
    pub longest: Duration,
    /// The same by class, in its order.
    pub waited_by_class: [Duration; 3],
    /// Let through, and their cost.
    pub served: u64,
    pub cost: Usd,
    pub refused: u64,
    /// Of those: by a window or a budget.
    pub over_quota: u64,
}

impl PastCall {
    /// `None` for a call that asked nothing of an upstream: another source's, a hit of the response cache, a refusal that
    /// says nothing of what it would have been.
    pub fn of(entry: &Entry, catalog: &Catalog) -> Option<PastCall> {
        if entry.outcome == Outcome::Refused || entry.attempts.is_empty() {
            return None;
        }
        let upstream = &*entry.attempts.last()?.upstream;
        let who = &entry.call.who;
        Some(PastCall {
            at: entry.call.started_at,
            class: entry.call.class,
            client: who.client.clone(),
            tenant: who.tenant.clone(),
            person: who.person.clone(),
            project: who.project.clone(),
            model: entry.call.model.clone(),
            max_tokens: entry.call.max_tokens,
            usage: entry.usage,
            lasts: Duration::from_millis(entry.total_ms.saturating_sub(entry.waited_ms)),
            price: catalog.quote(upstream, &entry.call.model, entry.call.started_at).map(|quote| quote.price),
        })
    }
}

/// Lets the calls through as they came, in order of `at`.
pub fn replay(calls: &[PastCall], terms: &Terms<'_>) -> Replayed {
    let Some(first) = calls.first() else { return Replayed::default() };
    let mut admission = Admission::new(terms.rules);
    let name: Arc<str> = "upstream".into();
    let account = admission.add_account(name.clone(), terms.pacing.clone());
    let told = |limit: &LearnedLimit| LearnedLimit { account: name.clone(), ..limit.clone() };
    let memory = Memory { limits: terms.learned.iter().map(told).collect(), ..Memory::default() };
    let mut run = Run {
        calls,
        terms,
        account,
        admission,
        begin: first.at,
        agenda: BinaryHeap::new(),
        running: BTreeMap::new(),
        waiting: BTreeMap::new(),
        found: Replayed::default(),
    };
    let now = run.now(first.at);
    run.admission.recall(memory, now);
    run.admission.set_budgets(terms.budgets, now);
    for (n, call) in calls.iter().enumerate() {
        run.agenda.push(Reverse((call.at, Event::Comes(n))));
    }
    while let Some(Reverse((at, event))) = run.agenda.pop() {
        run.happens(event, at);
    }
    run.found
}

/// In the order in which they count where they come at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Ends(usize),
    Comes(usize),
    Wakes,
}

struct Run<'a> {
    calls: &'a [PastCall],
    terms: &'a Terms<'a>,
    account: AccountId,
    admission: Admission,
    begin: Timestamp,
    agenda: BinaryHeap<Reverse<(Timestamp, Event)>>,
    running: BTreeMap<usize, Ticket>,
    waiting: BTreeMap<WaiterId, usize>,
    found: Replayed,
}

/// A machine that has run for a while: nothing is before its start.
const BOOTED: Duration = Duration::from_secs(86_400);

impl Run<'_> {
    fn now(&self, at: Timestamp) -> Now {
        Now { instant: self.instant(at), timestamp: at }
    }

    fn instant(&self, at: Timestamp) -> Instant {
        Instant::default().after(BOOTED).after(at.since(self.begin))
    }

    fn happens(&mut self, event: Event, at: Timestamp) {
        let now = self.now(at);
        match event {
            Event::Ends(n) => self.ends(n, now),
            Event::Comes(n) => self.comes(n, now),
            Event::Wakes => {}
        }
        for (waiter, decision) in self.admission.decide(now) {
            self.decided(waiter, decision, at);
        }
        if let Some(wake) = self.admission.next_wake(now) {
            // Up to the next whole millisecond, which is as fine as the past is known.
            let wait = wake.since(now.instant).max(Duration::from_millis(1)) + Duration::from_micros(999);
            self.agenda.push(Reverse((at.after(wait), Event::Wakes)));
        }
    }

    fn comes(&mut self, n: usize, now: Now) {
        self.found.calls += 1;
        match self.admission.offer(self.demand(n, now.instant), now) {
            Ok(Verdict::Go(ticket)) => self.goes(n, ticket, now.timestamp),
            Ok(Verdict::Wait(waiter)) => {
                self.waiting.insert(waiter, n);
            }
            Err(refusal) => self.is_refused(n, &refusal, now.timestamp),
        }
    }

    fn demand(&self, n: usize, now: Instant) -> Demand {
        let call = &self.calls[n];
        let Standing { class, weight, max_share } = self.terms.changed.get(&call.client).copied().unwrap_or_default();
        let tokens = call.usage.tokens;
        let caching = match (tokens.cache_write_5m, tokens.cache_write_1h) {
            (_, 1..) => Caching::OneHour,
            (1.., 0) => Caching::FiveMinutes,
            (0, 0) => Caching::None,
        };
        Demand {
            call: CallId::new(call.at, n as u128),
            account: self.account,
            model: call.model.clone(),
            fast: call.usage.fast,
            class: class.unwrap_or(call.class),
            client: call.client.clone(),
            weight: weight.max(1),
            max_share,
            tenant: call.tenant.clone(),
            person: call.person.clone(),
            project: call.project.clone(),
            session: None,
            // What is read from the cache costs no quota: the body is taken to be the rest.
            shape: Shape::of_words(tokens.prompt().saturating_sub(tokens.cache_read).saturating_mul(BYTES_OF_TOKEN)),
            max_tokens: call.max_tokens,
            caching,
            price: call.price.clone(),
            reservation: None,
            since: now,
            deadline: now.after(self.terms.max_wait),
            has_fallback: false,
        }
    }

    fn decided(&mut self, waiter: WaiterId, decision: Result<Ticket, Refusal>, at: Timestamp) {
        let Some(n) = self.waiting.remove(&waiter) else { return };
        match decision {
            Ok(ticket) => self.goes(n, ticket, at),
            Err(refusal) => self.is_refused(n, &refusal, at),
        }
    }

    fn goes(&mut self, n: usize, ticket: Ticket, at: Timestamp) {
        self.admission.departs(&ticket, self.instant(at));
        self.has_waited(n, at);
        self.running.insert(n, ticket);
        self.agenda.push(Reverse((at.after(self.calls[n].lasts), Event::Ends(n))));
    }

    fn ends(&mut self, n: usize, now: Now) {
        let Some(ticket) = self.running.remove(&n) else { return };
        let call = &self.calls[n];
        let cost = call.price.as_ref().map(|price| price.cost(&call.usage));
        self.admission.settle(ticket, Spent::Told { usage: &call.usage, cost }, now);
        self.found.served += 1;
        self.found.cost += cost.unwrap_or_default();
    }

    fn is_refused(&mut self, n: usize, refusal: &Refusal, at: Timestamp) {
        self.has_waited(n, at);
        self.found.refused += 1;
        self.found.over_quota += u64::from(matches!(refusal, Refusal::Quota(_)));
    }

    fn has_waited(&mut self, n: usize, at: Timestamp) {
        let call = &self.calls[n];
        let waited = at.since(call.at);
        let class = self.terms.changed.get(&call.client).and_then(|standing| standing.class).unwrap_or(call.class);
        self.found.waited += waited;
        self.found.longest = self.found.longest.max(waited);
        self.found.waited_by_class[class as usize] += waited;
    }
}

/// Of English text, near enough: the ratio is learned as the calls pass.
const BYTES_OF_TOKEN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Period, Scope, WrittenLimits};
    use crate::tier::MinuteLimits;
    use crate::usage::Tokens;

    const START: i64 = 1_790_000_000_000;

    fn call(second: u64, client: &str, class: Class, input: u64) -> PastCall {
        PastCall {
            at: Timestamp::from_millis(START).after(Duration::from_secs(second)),
            class,
            client: client.into(),
            tenant: None,
            person: None,
            project: None,
            model: "claude-sonnet-4-5".into(),
            max_tokens: Some(100),
            usage: Usage { tokens: Tokens { input, output: 50, ..Tokens::default() }, ..Usage::default() },
            lasts: Duration::from_secs(2),
            price: None,
        }
    }

    fn pacing(requests: u64, input_tokens: u64) -> Pacing {
        let per_minute =
            MinuteLimits { requests: Some(requests), input_tokens: Some(input_tokens), output_tokens: None };
        let written = vec![WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None }];
        Pacing {
            presumed: None,
            written,
            guard_requests_permille: 960,
            guard_tokens_permille: 930,
            retry_after_buffer: Duration::ZERO,
            windows: vec![],
        }
    }

    fn under(calls: &[PastCall], pacing: Pacing, budgets: &[Budget], changed: &[(&str, Standing)]) -> Replayed {
        let changed = changed.iter().map(|(name, standing)| ((*name).into(), *standing)).collect();
        let rules = Rules::default();
        replay(
            calls,
            &Terms {
                rules: &rules,
                pacing,
                learned: &[],
                budgets,
                max_wait: Duration::from_secs(600),
                changed: &changed,
            },
        )
    }

    #[test]
    fn a_higher_limit_would_have_saved_the_wait() {
        // One call a second at 30 requests a minute: each waits a second longer than the one before.
        let calls: Vec<PastCall> = (0..60).map(|n| call(n, "a", Class::Normal, 100)).collect();
        let low = under(&calls, pacing(30, 1_000_000), &[], &[]);
        let high = under(&calls, pacing(600, 1_000_000), &[], &[]);
        assert_eq!((low.calls, low.served, low.refused), (60, 60, 0));
        assert!((1_700..=2_100).contains(&low.waited.as_secs()), "{low:?}");
        assert!((59..=70).contains(&low.longest.as_secs()), "{low:?}");
        assert!(high.waited < Duration::from_secs(1), "{high:?}");
    }

    #[test]
    fn tokens_hold_calls_up_where_they_are_the_limit() {
        let calls: Vec<PastCall> = (0..40).map(|n| call(n, "a", Class::Normal, 5_000)).collect();
        let held = under(&calls, pacing(1_000, 30_000), &[], &[]);
        assert!(held.waited > Duration::from_secs(1_000), "{held:?}");
        assert_eq!(under(&calls, pacing(1_000, 3_000_000), &[], &[]).waited, Duration::ZERO);
    }

    #[test]
    fn another_priority_changes_who_waits() {
        let mut calls: Vec<PastCall> = (0..60).map(|n| call(n / 2, "a", Class::Normal, 100)).collect();
        calls.extend((0..60).map(|n| call(n / 2, "b", Class::Normal, 100)));
        calls.sort_by_key(|call| call.at);
        let pacing = || pacing(60, 1_000_000);
        let even = under(&calls, pacing(), &[], &[]);
        let urgent = Standing { class: Some(Class::Critical), ..Standing::default() };
        let changed = under(&calls, pacing(), &[], &[("a", urgent)]);
        let [critical, normal, _] = changed.waited_by_class;
        assert!(critical * 2 < normal, "{changed:?}");
        let difference = even.waited.abs_diff(changed.waited);
        assert!(difference * 10 < even.waited, "the same capacity: {even:?}, {changed:?}");
    }

    #[test]
    fn a_budget_would_have_refused_what_is_beyond_it() {
        let rate = |text| crate::price::Rate::per_mtok(text).expect("a rate");
        let zero = rate("0");
        let rates = crate::price::Rates {
            input: rate("1000000"),
            cache_write_5m: zero,
            cache_write_1h: zero,
            cache_read: zero,
            output: zero,
        };
        let price = Arc::new(Price {
            id: "p".into(),
            model: "m".into(),
            platform: None,
            valid_from: None,
            rates,
            long_prompt: None,
            batch: None,
            factors: crate::price::Factors::default(),
            web_search: Usd::ZERO,
            source: "by hand".into(),
        });
        // A dollar each, and well apart.
        let calls: Vec<PastCall> =
            (0..10).map(|n| PastCall { price: Some(price.clone()), ..call(n * 60, "a", Class::Normal, 1) }).collect();
        let limit = "4.5".parse().expect("money");
        let budget = Budget { scope: Scope::Client("a".into()), period: Period::Day, limit, hard: false };
        let found = under(&calls, pacing(1_000, 1_000_000), &[budget], &[]);
        assert_eq!(found.served + found.refused, 10);
        assert!((3..=5).contains(&found.served) && found.over_quota == found.refused, "{found:?}");
        assert_eq!(found.cost.as_nanos(), i64::try_from(found.served).expect("few") * 1_000_000_000);
    }

    #[test]
    fn no_calls_and_a_limit_that_lets_none_through_come_to_an_end() {
        assert_eq!(under(&[], pacing(1, 1), &[], &[]), Replayed::default());
        let calls: Vec<PastCall> = (0..500).map(|_| call(0, "a", Class::Background, 1_000_000)).collect();
        let found = under(&calls, pacing(1, 10), &[], &[]);
        assert_eq!((found.calls, found.served + found.refused), (500, 500));
    }
}
