//! Attempt after attempt and upstream after upstream, until one has an answer worth giving.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::admission::{AccountId, Demand};
use domain::config::Client;
use domain::routing::{Backoff, Cap, Failure, Fared, Retry, RetryBudget};
use domain::time::{Instant, Now};
use http::{HeaderMap, Method, StatusCode};

use crate::departing::{Departing, Departure};
use crate::entry::OpenEntry;
use crate::error::Error;
use crate::heeding::Failed;
use crate::holding::Begun;
use crate::pipeline::{Phase, Pipeline, Sent};
use crate::route::Route;
use crate::stand_in;
use crate::upstream::Upstream;

/// What `[retry]` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryRules {
    /// Retries in a thousand calls, beyond the first ten; 0 makes none.
    pub budget_permille: u32,
    /// Short retries of a call that the upstream is too busy for.
    pub overloaded: u32,
    pub backoff: Backoff,
}

impl Default for RetryRules {
    fn default() -> RetryRules {
        RetryRules { budget_permille: 100, overloaded: 1, backoff: Backoff::default() }
    }
}

/// What all calls may retry together.
pub(crate) struct Retries {
    rules: RetryRules,
    budget: Mutex<RetryBudget>,
}

/// After so many answers 429 the client gets the last.
const LIMITED_MAX: u32 = 3;
/// Where another upstream may answer at once, nobody rests longer for this one.
const FALLBACK_WAITS_MAX: Duration = Duration::from_secs(1);
/// So often a call is sent again after a failure that may pass.
const FAILED_MAX: u32 = 2;

impl Retries {
    pub(crate) fn new(rules: RetryRules) -> Retries {
        Retries { rules, budget: Mutex::new(RetryBudget::new(rules.budget_permille)) }
    }

    fn call(&self) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).call();
    }

    fn retry(&self) -> bool {
        self.rules.budget_permille > 0 && self.budget.lock().unwrap_or_else(PoisonError::into_inner).retry()
    }
}

/// Accounts whose money or window is gone, and until when that is believed without asking.
#[derive(Default)]
pub(crate) struct SpentAccounts(Mutex<BTreeMap<AccountId, Instant>>);

/// Where nobody says when there is more.
const SPENT_FOR: Duration = Duration::from_secs(60);

impl SpentAccounts {
    fn note(&self, account: AccountId, cap: Cap, now: Now) {
        let until = match cap {
            Cap::Tier { until } => now.instant_of(until),
            Cap::Own | Cap::Credit | Cap::Window => now.instant.after(SPENT_FOR),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(account, until);
    }

    fn has(&self, account: AccountId, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&account).is_some_and(|until| *until > now)
    }
}

/// What one upstream made of a call, all attempts together.
pub(crate) enum Asked {
    Answered(Begun),
    /// What the client gets where no other upstream does better.
    Failed {
        answer: Result<Begun, Error>,
        falls_back: bool,
        /// As the books call it.
        why: Arc<str>,
        maybe_billed: bool,
    },
}

/// The upstream that a call leaves for the next, and why.
struct Left {
    from: Arc<str>,
    why: Arc<str>,
    maybe_billed: bool,
    /// It was sent there.
    was_tried: bool,
}

/// Why an account is not even asked.
const SPENT: &str = "spent";

impl Asked {
    fn refused(error: Error) -> Asked {
        let (falls_back, why) = (error.is_of_one_upstream(), error.code().into());
        Asked::Failed { answer: Err(error), falls_back, why, maybe_billed: false }
    }
}

/// How often a call was sent again, by the reason.
#[derive(Default)]
struct Tries {
    limited: u32,
    overloaded: u32,
    lost: u32,
    failed: u32,
}

impl Pipeline {
    pub(crate) async fn ask(
        &self,
        entry: &mut OpenEntry,
        client: &Client,
        request: &HeaderMap,
        sent: &Sent,
    ) -> Result<Begun, Error> {
        self.retries.call();
        let uses = entry.prompt().uses;
        let Route { upstreams, text } = self.route(&client.name, entry.call().class, &entry.call().model, uses);
        if upstreams.is_empty() && text.is_none() && !self.upstreams.is_empty() {
            return Err(Error::Incapable { uses });
        }
        let mut best = None;
        let mut left: Option<Left> = None;
        for (place, upstream) in upstreams.iter().enumerate() {
            let has_fallback = place + 1 < upstreams.len() || text.is_some();
            if has_fallback && self.spent.has(upstream.account, self.now().instant) {
                entry.passes_over();
                let (from, why) = (upstream.name.clone(), SPENT.into());
                left.get_or_insert(Left { from, why, maybe_billed: false, was_tried: false });
                continue;
            }
            if let Some(left) = left.take() {
                self.falls_back(entry, &left, &upstream.name);
            }
            let tries = entry.attempts().len();
            let demand = Demand { has_fallback, ..self.demand(entry, client, upstream, request) };
            let (answer, falls_back) = match self.ask_one(entry, upstream, &demand, request, sent).await {
                Asked::Answered(begun) => return Ok(begun),
                Asked::Failed { answer, falls_back, why, maybe_billed } => {
                    let was_tried = entry.attempts().len() > tries;
                    if !was_tried {
                        entry.passes_over();
                    }
                    left = Some(Left { from: upstream.name.clone(), why, maybe_billed, was_tried });
                    (answer, falls_back)
                }
            };
            let is_only = best.is_none();
            best = Some(better(best, answer, falls_back));
            if !falls_back && is_only {
                return best.unwrap_or(Err(Error::NoUpstream));
            }
        }
        match text {
            Some(text) => {
                if let Some(left) = left {
                    self.falls_back(entry, &left, stand_in::NAME);
                }
                self.stand_in(entry, text)
            }
            None => best.unwrap_or(Err(Error::NoUpstream)),
        }
    }

    /// Whoever watches hears of it before the client does.
    fn falls_back(&self, entry: &mut OpenEntry, left: &Left, to: &str) {
        if left.was_tried {
            entry.again(&left.why, left.maybe_billed);
        }
        self.watch.falls_back(&left.from, to, &left.why);
    }

    /// One upstream, until it answers or there is no point in asking it again.
    async fn ask_one(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        demand: &Demand,
        request: &HeaderMap,
        sent: &Sent,
    ) -> Asked {
        let headers = match self.outgoing(upstream, request.clone()).await {
            Ok(headers) => headers,
            Err(error) => return Asked::refused(error),
        };
        let mut tries = Tries::default();
        // What the client gets where the next attempt doesn't fit its wait.
        let mut last: Option<Box<Failed>> = None;
        loop {
            // One that goes ahead to an upstream that failed keeps its place: others wait for how it ends, retries and all.
            if !entry.holds_a_place() {
                match self.enter(entry, demand, sent).await {
                    Ok(pass) => entry.admitted(pass),
                    Err(refusal) => return last.map_or_else(|| Asked::refused(refusal), |last| last.asked()),
                }
            }
            let failed = match self.attempt(entry, upstream, &headers, sent).await {
                Ok(Ok(begun)) => {
                    self.watch.answers(&upstream.name);
                    return Asked::Answered(begun);
                }
                Ok(Err(failed)) => failed,
                Err(closed) => return Asked::refused(closed),
            };
            if let Some(cap) = failed.failure.cap() {
                self.spent.note(upstream.account, cap, self.now());
                self.watch.is_capped(&upstream.name, cap);
            }
            let status = entry.attempts().last().and_then(|attempt| attempt.status);
            if let (Failure::Authentication, Some(status)) = (failed.failure, status) {
                self.watch.refuses_key(&upstream.name, status);
            }
            let is_undecided = entry.is_probe() && failed.failure.course().breaks;
            let Some(delay) = self.next_try(&mut tries, &failed, demand) else {
                if is_undecided {
                    entry.fared(Fared::Badly);
                }
                if failed.failure == Failure::Unreachable {
                    entry.never_left();
                }
                // It keeps its ticket where it is the last: what it used is settled with the entry.
                return failed.asked();
            };
            if is_undecided {
                entry.once_more(&failed.name, failed.maybe_billed);
            } else {
                entry.again(&failed.name, failed.maybe_billed);
            }
            if let Err(draining) = self.rest(delay).await {
                return Asked::refused(draining);
            }
            last = Some(failed);
        }
    }

    /// One attempt: written down before it leaves, and judged by the beginning of its answer.
    async fn attempt(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        headers: &HeaderMap,
        sent: &Sent,
    ) -> Result<Result<Begun, Box<Failed>>, Error> {
        entry.leaves(&upstream.name).map_err(|closed| self.unwritten(closed))?;
        let (body, departure) = Departing::with(sent.bytes());
        let answer = upstream.send(Method::POST, &sent.target, headers.clone(), body);
        let heard = match watched(entry, answer, departure).await {
            Ok(answer) => self.heed(entry, upstream, answer).await,
            Err(why) => Err(Failed::unanswered(upstream, why)),
        };
        match (&heard, entry.is_probe()) {
            // Others wait for what a probe finds out; how any other answer went, its end tells.
            (Ok(_), true) => entry.fared(Fared::Well),
            (Ok(_), false) => {}
            (Err(failed), true) if failed.failure.course().breaks => {}
            (Err(failed), _) => entry.fared(failed.fared()),
        }
        Ok(heard)
    }

    /// How long to rest before the call is sent there again; `None` where it isn't.
    fn next_try(&self, tries: &mut Tries, failed: &Failed, demand: &Demand) -> Option<Duration> {
        let retry = if failed.should_retry == Some(false) { Retry::Never } else { failed.failure.course().retry };
        let rules = &self.retries.rules;
        let (count, max) = match retry {
            Retry::Never => return None,
            Retry::Queue => {
                tries.limited += 1;
                return (tries.limited < LIMITED_MAX).then_some(Duration::ZERO);
            }
            Retry::Overloaded => (&mut tries.overloaded, rules.overloaded),
            Retry::Once => (&mut tries.lost, 1),
            Retry::Backoff => (&mut tries.failed, FAILED_MAX),
        };
        let rest = if retry == Retry::Once {
            Duration::ZERO
        } else {
            let chance = u64::try_from(self.chance() & u128::from(u64::MAX)).unwrap_or_default();
            rules.backoff.delay(*count, chance).max(failed.retry_after.unwrap_or_default())
        };
        let is_soon = !demand.has_fallback || rest <= FALLBACK_WAITS_MAX;
        let fits = is_soon && self.now().instant.after(rest) < demand.deadline;
        if *count >= max || !fits || !self.retries.retry() {
            return None;
        }
        *count += 1;
        Some(rest)
    }

    /// Between two attempts, unless the gateway drains.
    async fn rest(&self, delay: Duration) -> Result<(), Error> {
        if delay.is_zero() {
            return Ok(());
        }
        let mut phase = self.phase.subscribe();
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Open) => Err(Error::Draining),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// The configured text, as an attempt of its own: nobody is asked and nothing is used.
    fn stand_in(&self, entry: &mut OpenEntry, text: &str) -> Result<Begun, Error> {
        let name = Arc::from(stand_in::NAME);
        entry.waits_no_more();
        entry.leaves(&name).map_err(|closed| self.unwritten(closed))?;
        entry.answered(StatusCode::OK, None, None);
        Ok(stand_in::answer(entry.call(), text))
    }
}

/// The first upstream's answer, or where it gave none, what the next says of itself; not that it can't take this call.
fn better(best: Option<Result<Begun, Error>>, next: Result<Begun, Error>, is_of_itself: bool) -> Result<Begun, Error> {
    match best {
        Some(Err(_)) if next.is_ok() && is_of_itself => next,
        Some(best) => best,
        None => next,
    }
}

/// Waits for the answer, and meanwhile for the moment at which the request really leaves: a new connection takes its time.
async fn watched<A>(entry: &OpenEntry, answer: impl Future<Output = A>, departure: Departure) -> A {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        Ok(()) = departure => entry.departs(),
        answer = &mut answer => return answer,
    }
    answer.await
}
