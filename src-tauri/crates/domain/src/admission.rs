//! May this call go now, wait, or not at all?
//!
//! One decision over everything a call draws on: it gets all of it or none. The state machine
//! takes the time as an argument; whoever owns it wakes it at `next_wake`.

mod estimate;
mod last_minute;
mod queue;
mod resource;
mod token_bucket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::estimate::Estimates;
use self::queue::{Place, Queue};
use self::resource::{ResourceId, Resources, Wait};
use crate::call::Class;
use crate::catalog;
use crate::config::{Pacing, WrittenLimits};
use crate::tier::{GroupLimits, MinuteLimits, OutputCounting};
use crate::time::Instant;
use crate::usage::{Tokens, Usage};

/// One credential at one upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(usize);

impl AccountId {
    /// Its place in the order in which accounts were added, from 0.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Names a waiting call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(u64);

/// The proof that a call may go. Given back exactly once, by `settle`.
#[must_use = "a ticket holds capacity until it is settled"]
#[derive(PartialEq, Eq, Debug)]
pub struct Ticket {
    lane: LaneId,
    class: Class,
    body_bytes: u64,
    need: Need,
    /// What was taken, and where.
    taken: Vec<ResourceId>,
}

impl Ticket {
    /// The most this call was granted: estimated input, reserved output.
    pub fn reserved(&self) -> Usage {
        let tokens = Tokens { input: self.need.input, output: self.need.output, ..Tokens::default() };
        Usage { tokens, ..Usage::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct LaneId(usize);

/// How much of each measure a call wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Need {
    input: u64,
    output: u64,
}

impl Need {
    fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests | Measure::Concurrency => 1,
            Measure::InputTokens => self.input,
            Measure::OutputTokens => self.output,
        }
    }
}

/// What admission must know of a call.
#[derive(Clone, Debug)]
pub struct Demand {
    pub account: AccountId,
    pub model: Arc<str>,
    pub class: Class,
    pub client: Arc<str>,
    pub weight: u32,
    pub tenant: Option<Arc<str>>,
    pub body_bytes: u64,
    pub max_tokens: Option<u64>,
    /// When the caller came: one who comes back keeps the place that this gives.
    pub since: Instant,
    /// When the caller gives up.
    pub deadline: Instant,
}

/// What a call has taken of its limits, told when it ends.
#[derive(Clone, Copy, Debug)]
pub enum Spent<'a> {
    /// It never reached the upstream.
    Nothing,
    /// The upstream said so.
    Told(&'a Usage),
    /// Nobody said; it stands in for the truth and teaches nothing about later calls.
    Presumed(&'a Usage),
}

#[derive(PartialEq, Eq, Debug)]
pub enum Verdict {
    Go(Ticket),
    /// `decide` will tell, at the deadline at the latest.
    Wait(WaiterId),
}

/// What limits: a minute's requests or tokens, or calls at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Measure {
    Requests,
    InputTokens,
    OutputTokens,
    Concurrency,
}

/// Where a limit's figure comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitSource {
    Settings,
    /// The tier table of a scheme.
    Tier,
    Headers,
}

/// The limit that binds, for the sentence a person reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    pub source: LimitSource,
}

/// Not now, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    QueueFull {
        waiting: usize,
    },
    /// It can't go before its deadline; `not_before` is the earliest it could, where anybody knows.
    Deadline {
        binding: Option<Binding>,
        not_before: Option<Instant>,
    },
    /// Its class is paused, and stayed so until its deadline.
    Paused {
        class: Class,
    },
}

/// One limit as a response's headers tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    pub measure: Measure,
    pub limit: u64,
    pub remaining: Option<u64>,
    /// How long until the bucket is full again.
    pub full_in: Option<Duration>,
}

/// What one response tells about the limits of its model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readings {
    pub limits: Vec<Reading>,
    /// Of a 429: no call of this group before this has passed.
    pub retry_after: Option<Duration>,
}

/// A limit and how full it is, for the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    pub account: AccountId,
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    /// What we allow ourselves of it.
    pub guarded: u64,
    /// What is left of `guarded` now; negative is a debt.
    pub level: i64,
    pub source: LimitSource,
    pub observed: Option<Instant>,
}

/// A class in the queue, for the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassQueue {
    pub waiting: usize,
    pub running: usize,
    pub oldest: Option<Duration>,
    /// When the last of them is expected to leave.
    pub eta: Option<Duration>,
    pub paused: bool,
}

/// The models of one account that share the upstream's limits.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    /// By measure: presumed from a tier, or told by headers.
    limits: BTreeMap<Measure, ResourceId>,
    output: OutputCounting,
    cache_reads_count: bool,
    /// After a 429, nothing goes before.
    closed_until: Instant,
}

/// The models of one group that share the settings' lines too, and who waits for them.
#[derive(Debug)]
struct Lane {
    group: usize,
    written: Vec<ResourceId>,
    estimates: Estimates,
    queue: Queue,
}

#[derive(Debug)]
struct Account {
    pacing: Pacing,
    groups: BTreeMap<Arc<str>, usize>,
    /// By group and the lines of the settings that match.
    lanes: BTreeMap<(usize, Vec<usize>), LaneId>,
    by_model: BTreeMap<Arc<str>, LaneId>,
    /// By line of the settings: one resource for each measure it names.
    written: BTreeMap<usize, Vec<ResourceId>>,
}

/// A wrong `retry-after` must not shut a model out for good: after this one call asks again.
const CLOSED_MAX: Duration = Duration::from_secs(3_600);

/// Model names are what clients write. Those beyond this many share one group.
const MODELS_MAX: usize = 512;

#[derive(Debug)]
struct Waiter {
    lane: LaneId,
    need: Need,
    demand: Demand,
}

/// The state of all limits, and everyone who waits for them.
#[derive(Debug)]
pub struct Admission {
    queue_max: usize,
    accounts: Vec<Account>,
    groups: Vec<Group>,
    lanes: Vec<Lane>,
    resources: Resources,
    waiters: BTreeMap<WaiterId, Waiter>,
    deadlines: BTreeSet<(Instant, WaiterId)>,
    next_waiter: u64,
    running: [usize; 3],
    paused: [bool; 3],
}

impl Admission {
    /// At most `queue_max` calls wait; more are refused at once.
    pub fn new(queue_max: usize) -> Admission {
        Admission {
            queue_max,
            accounts: Vec::new(),
            groups: Vec::new(),
            lanes: Vec::new(),
            resources: Resources::default(),
            waiters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_waiter: 0,
            running: [0; 3],
            paused: [false; 3],
        }
    }

    /// Its buckets start full.
    pub fn add_account(&mut self, pacing: Pacing) -> AccountId {
        self.accounts.push(Account {
            pacing,
            groups: BTreeMap::new(),
            lanes: BTreeMap::new(),
            by_model: BTreeMap::new(),
            written: BTreeMap::new(),
        });
        AccountId(self.accounts.len() - 1)
    }

    /// Goes at once, waits, or learns why not and until when.
    pub fn offer(&mut self, demand: Demand, now: Instant) -> Result<Verdict, Refusal> {
        let lane = self.lane(demand.account, &demand.model, now);
        let need = self.need(lane, &demand);
        let (wait, by) = self.wait(lane, need, now);
        let paused = self.paused[demand.class as usize];
        if wait == Wait::None && self.waiters.is_empty() && !paused {
            return Ok(Verdict::Go(self.grant(lane, demand.class, demand.body_bytes, need, now)));
        }
        if self.waiters.len() >= self.queue_max {
            return Err(Refusal::QueueFull { waiting: self.waiters.len() });
        }
        if matches!(wait, Wait::Until(ready) if ready > demand.deadline) {
            return Err(self.too_late(wait, by));
        }
        Ok(Verdict::Wait(self.enqueue(Waiter { lane, need, demand })))
    }

    /// The calls whose wait has ended at `now`, in the order in which they may go.
    /// Call it at `next_wake` and after any other verb.
    pub fn decide(&mut self, now: Instant) -> Vec<(WaiterId, Result<Ticket, Refusal>)> {
        let mut decided = self.admit(now);
        decided.extend(self.expire(now));
        decided
    }

    /// When `decide` will have something to say, if nothing else happens.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let heads = self.lane_ids().filter_map(|id| {
            let (_, place) = self.lanes[id.0].queue.head(self.paused)?;
            match self.wait(id, self.waiters.get(&place.waiter)?.need, now).0 {
                Wait::Until(ready) => Some(ready),
                // It waits for another lane's head or for a call to end: both wake us by themselves.
                Wait::None | Wait::UntilOneEnds => None,
            }
        });
        heads.chain(self.deadlines.first().map(|(deadline, _)| *deadline)).min()
    }

    /// A waiting caller has gone.
    pub fn cancel(&mut self, waiter: WaiterId) {
        let Some(Waiter { lane, demand, .. }) = self.waiters.remove(&waiter) else { return };
        self.deadlines.remove(&(demand.deadline, waiter));
        self.lanes[lane.0].queue.remove(demand.class, &demand.client, waiter);
    }

    /// The call leaves only now: a stall between the decision and the socket must not bring it close to the next one.
    pub fn departs(&mut self, ticket: &Ticket, now: Instant) {
        for id in &ticket.taken {
            self.resources.left(*id, now);
        }
    }

    /// A call has ended.
    pub fn settle(&mut self, ticket: Ticket, spent: Spent<'_>, now: Instant) {
        let running = &mut self.running[ticket.class as usize];
        *running = running.saturating_sub(1);
        let lane = &mut self.lanes[ticket.lane.0];
        let cache_reads_count = self.groups[lane.group].cache_reads_count;
        let used = match spent {
            Spent::Nothing => None,
            Spent::Told(usage) => {
                lane.estimates.learn(ticket.body_bytes, usage.tokens.prompt(), usage.tokens.output);
                Some(usage)
            }
            Spent::Presumed(usage) => Some(usage),
        };
        let used = used.map(|Usage { tokens, .. }| Need {
            input: counted_input(tokens, cache_reads_count),
            output: tokens.output,
        });
        for id in ticket.taken {
            self.resources.settle(id, ticket.need, used, now);
        }
    }

    /// Corrects the limits of a model's group by what a response told.
    pub fn observe(&mut self, account: AccountId, model: &str, readings: &Readings, now: Instant) {
        let lane = self.lane(account, &Arc::from(model), now);
        let pacing = &self.accounts[account.0].pacing;
        let group = &mut self.groups[self.lanes[lane.0].group];
        for reading in &readings.limits {
            let known = group.limits.entry(reading.measure).or_insert_with(|| {
                let owner = (account, &group.name);
                self.resources.add(owner, reading.measure, reading.limit, LimitSource::Headers, pacing, now)
            });
            self.resources.observe(*known, *reading, now);
        }
        if let Some(wait) = readings.retry_after {
            let refill_is_told = readings.limits.iter().any(|reading| reading.full_in.is_some());
            let buffer = if refill_is_told { Duration::ZERO } else { pacing.retry_after_buffer };
            let end = now.after(wait.saturating_add(buffer).min(CLOSED_MAX));
            group.closed_until = group.closed_until.max(end);
        }
    }

    /// Calls of the class wait until `resume`, or their deadline.
    pub fn pause(&mut self, class: Class) {
        self.paused[class as usize] = true;
    }

    pub fn resume(&mut self, class: Class) {
        self.paused[class as usize] = false;
    }

    pub fn levels(&self, now: Instant) -> Vec<Level> {
        self.resources.levels(now)
    }

    pub fn queue(&self, class: Class, now: Instant) -> ClassQueue {
        let waiting = || self.waiters.values().filter(|waiter| waiter.demand.class == class);
        ClassQueue {
            waiting: waiting().count(),
            running: self.running[class as usize],
            oldest: waiting().map(|waiter| now.since(waiter.demand.since)).max(),
            eta: self.lane_ids().filter_map(|lane| self.eta(lane, class)).max(),
            paused: self.paused[class as usize],
        }
    }

    /// Lets every head go whose turn it is, the most urgent and oldest first.
    fn admit(&mut self, now: Instant) -> Vec<(WaiterId, Result<Ticket, Refusal>)> {
        let mut admitted = Vec::new();
        let mut turns: BTreeSet<(Class, Instant, LaneId)> = self.lane_ids().filter_map(|id| self.turn(id)).collect();
        // What an earlier head waits for, a later one must not take.
        let mut held = BTreeSet::new();
        while let Some((class, _, id)) = turns.pop_first() {
            let Some((waiter, need)) = self.head(id) else { continue };
            let (wait, by) = self.wait(id, need, now);
            if wait != Wait::None {
                held.extend(by);
            } else if !self.draws_on(id).any(|resource| held.contains(&resource)) {
                admitted.extend(self.leave_queue(id, class, waiter, now));
                turns.extend(self.turn(id));
            }
        }
        admitted
    }

    fn leave_queue(
        &mut self,
        id: LaneId,
        class: Class,
        waiter: WaiterId,
        now: Instant,
    ) -> Option<(WaiterId, Result<Ticket, Refusal>)> {
        let Waiter { need, demand, .. } = self.waiters.remove(&waiter)?;
        self.deadlines.remove(&(demand.deadline, waiter));
        self.lanes[id.0].queue.pop(class, need.input.saturating_add(need.output), demand.weight);
        Some((waiter, Ok(self.grant(id, class, demand.body_bytes, need, now))))
    }

    fn expire(&mut self, now: Instant) -> Vec<(WaiterId, Result<Ticket, Refusal>)> {
        let mut expired = Vec::new();
        while let Some((_, waiter)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            let refusal = self.waiters.get(&waiter).map(|late| {
                let (wait, by) = self.wait(late.lane, late.need, now);
                let paused = self.paused[late.demand.class as usize];
                if paused { Refusal::Paused { class: late.demand.class } } else { self.too_late(wait, by) }
            });
            self.cancel(waiter);
            expired.extend(refusal.map(|refusal| (waiter, Err(refusal))));
        }
        expired
    }

    fn too_late(&self, wait: Wait, by: Option<ResourceId>) -> Refusal {
        let not_before = match wait {
            Wait::Until(ready) => Some(ready),
            Wait::None | Wait::UntilOneEnds => None,
        };
        Refusal::Deadline { binding: by.map(|id| self.resources.binding(id)), not_before }
    }

    fn enqueue(&mut self, waiter: Waiter) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        let Demand { class, client, since, deadline, .. } = &waiter.demand;
        self.deadlines.insert((*deadline, id));
        self.lanes[waiter.lane.0].queue.push(*class, client, Place { waiter: id, since: *since });
        self.waiters.insert(id, waiter);
        id
    }

    fn grant(&mut self, lane: LaneId, class: Class, body_bytes: u64, need: Need, now: Instant) -> Ticket {
        let taken: Vec<ResourceId> = self.draws_on(lane).collect();
        for id in &taken {
            self.resources.take(*id, need, now);
        }
        self.running[class as usize] += 1;
        Ticket { lane, class, body_bytes, need, taken }
    }

    /// What keeps a call of this lane, and which limit binds.
    fn wait(&self, lane: LaneId, need: Need, now: Instant) -> (Wait, Option<ResourceId>) {
        let closed_until = self.groups[self.lanes[lane.0].group].closed_until;
        let closed = if closed_until > now { Wait::Until(closed_until) } else { Wait::None };
        let limits = self.draws_on(lane).map(|id| (self.resources.wait(id, need, now), Some(id)));
        limits.filter(|(wait, _)| *wait != Wait::None).fold((closed, None), std::cmp::Ord::max)
    }

    fn draws_on(&self, lane: LaneId) -> impl Iterator<Item = ResourceId> {
        let lane = &self.lanes[lane.0];
        self.groups[lane.group].limits.values().chain(&lane.written).copied()
    }

    fn lane_ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..self.lanes.len()).map(LaneId)
    }

    fn turn(&self, id: LaneId) -> Option<(Class, Instant, LaneId)> {
        let (class, place) = self.lanes[id.0].queue.head(self.paused)?;
        Some((class, place.since, id))
    }

    fn head(&self, id: LaneId) -> Option<(WaiterId, Need)> {
        let (_, place) = self.lanes[id.0].queue.head(self.paused)?;
        self.waiters.get(&place.waiter).map(|waiter| (place.waiter, waiter.need))
    }

    /// How long until the last waiting call of the class leaves this lane, if nobody else comes.
    fn eta(&self, id: LaneId, class: Class) -> Option<Duration> {
        let before = |waiter: &&Waiter| waiter.lane == id && waiter.demand.class <= class;
        let mut waiting = self.waiters.values().filter(before).peekable();
        waiting.peek()?;
        let (calls, sum) = waiting.fold((0_u64, Need { input: 0, output: 0 }), |(calls, sum), waiter| {
            let input = sum.input.saturating_add(waiter.need.input);
            (calls + 1, Need { input, output: sum.output.saturating_add(waiter.need.output) })
        });
        self.draws_on(id).map(|resource| self.resources.time_for(resource, sum, calls)).max()
    }

    fn need(&self, lane: LaneId, demand: &Demand) -> Need {
        let lane = &self.lanes[lane.0];
        let likely = lane.estimates.output(demand.max_tokens);
        let output = match self.groups[lane.group].output {
            OutputCounting::Reserved => demand.max_tokens.unwrap_or(likely),
            OutputCounting::AsProduced => likely,
        };
        Need { input: lane.estimates.input(demand.body_bytes), output }
    }

    /// The lane of a model; made, with its limits, when the model is first seen.
    fn lane(&mut self, account: AccountId, model: &Arc<str>, now: Instant) -> LaneId {
        let known = &self.accounts[account.0].by_model;
        if let Some(id) = known.get(model) {
            return *id;
        }
        let beyond = known.len() >= MODELS_MAX;
        let name: Arc<str> = if beyond { "others".into() } else { catalog::group(model).into() };
        let group = self.group(account, name, model, now);
        let matching = self.matching_lines(account, model);
        let written = matching.iter().flat_map(|line| self.written(account, *line, now)).collect();
        let next = LaneId(self.lanes.len());
        let id = *self.accounts[account.0].lanes.entry((group, matching)).or_insert(next);
        if id == next {
            self.lanes.push(Lane { group, written, estimates: Estimates::fresh(), queue: Queue::default() });
        }
        if !beyond {
            self.accounts[account.0].by_model.insert(model.clone(), id);
        }
        id
    }

    fn group(&mut self, account: AccountId, name: Arc<str>, model: &str, now: Instant) -> usize {
        let Account { pacing, groups, .. } = &mut self.accounts[account.0];
        if let Some(known) = groups.get(&name) {
            return *known;
        }
        let presumed = pacing.presumed.as_ref().and_then(|(scheme, tier)| scheme.tiers.get(*tier)?.limits(model));
        let limits = presumed.into_iter().flat_map(|row| measures(&row.limits)).map(|(measure, limit)| {
            (measure, self.resources.add((account, &name), measure, limit, LimitSource::Tier, pacing, now))
        });
        self.groups.push(Group {
            limits: limits.collect(),
            output: pacing.presumed.as_ref().map_or(OutputCounting::AsProduced, |(scheme, _)| scheme.output),
            cache_reads_count: presumed.is_some_and(|row: &GroupLimits| row.cache_reads_count),
            closed_until: Instant::default(),
            name: name.clone(),
        });
        groups.insert(name, self.groups.len() - 1);
        self.groups.len() - 1
    }

    fn matching_lines(&self, account: AccountId, model: &str) -> Vec<usize> {
        let matches = |line: &WrittenLimits| line.models.iter().any(|pattern| catalog::matches(pattern, model));
        let lines = self.accounts[account.0].pacing.written.iter().enumerate();
        lines.filter(|(_, line)| matches(line)).map(|(i, _)| i).collect()
    }

    fn written(&mut self, account: AccountId, line: usize, now: Instant) -> Vec<ResourceId> {
        let Account { pacing, written, .. } = &mut self.accounts[account.0];
        let made = written.entry(line).or_insert_with(|| {
            let limits = &pacing.written[line];
            let name: Arc<str> = limits.models.join(", ").into();
            let concurrency = limits.concurrency.map(|most| (Measure::Concurrency, u64::from(most)));
            let all = measures(&limits.per_minute).chain(concurrency);
            all.map(|(measure, limit)| {
                self.resources.add((account, &name), measure, limit, LimitSource::Settings, pacing, now)
            })
            .collect()
        });
        made.clone()
    }
}

fn measures(limits: &MinuteLimits) -> impl Iterator<Item = (Measure, u64)> + use<> {
    [
        (Measure::Requests, limits.requests),
        (Measure::InputTokens, limits.input_tokens),
        (Measure::OutputTokens, limits.output_tokens),
    ]
    .into_iter()
    .filter_map(|(measure, limit)| Some((measure, limit?)))
}

/// Cache reads are free of the input limit, but on models that say otherwise.
fn counted_input(tokens: &Tokens, cache_reads_count: bool) -> u64 {
    if cache_reads_count { tokens.prompt() } else { tokens.prompt().saturating_sub(tokens.cache_read) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::{Scheme, Tier};
    use crate::time::Timestamp;

    const SONNET: &str = "claude-sonnet-4-5";

    fn secs(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
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
            let mut admission = Admission::new(10_000);
            let account = admission.add_account(pacing);
            let (names, log, tickets) = (BTreeMap::new(), vec![], vec![]);
            World { admission, account, now: secs(0), names, log, tickets }
        }

        fn demand(&self, model: &str, class: Class, client: &str) -> Demand {
            Demand {
                account: self.account,
                model: model.into(),
                class,
                client: client.into(),
                weight: 1,
                tenant: None,
                body_bytes: 1_000,
                max_tokens: Some(100),
                since: self.now,
                deadline: self.now.after(Duration::from_secs(600)),
            }
        }

        fn offer(&mut self, name: &str, demand: Demand) {
            match self.admission.offer(demand, self.now) {
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
            for (id, decision) in self.admission.decide(self.now) {
                let name = self.names.remove(&id).expect("someone who waited");
                match decision {
                    Ok(ticket) => self.went(&name, ticket),
                    Err(refusal) => self.log.push(format!("{name}! {refusal:?}")),
                }
            }
        }

        fn run_until(&mut self, end: Instant) {
            while let Some(wake) = self.admission.next_wake(self.now).filter(|wake| *wake <= end) {
                assert!(wake > self.now, "it must not spin");
                self.now = wake;
                self.decide();
            }
            self.now = end;
        }

        fn settle(&mut self, input: u64, output: u64) {
            let tokens = Tokens { input, output, ..Tokens::default() };
            let usage = Usage { tokens, ..Usage::default() };
            self.admission.settle(self.tickets.remove(0), Spent::Told(&usage), self.now);
            self.decide();
        }

        fn level(&self, measure: Measure) -> i64 {
            let levels = self.admission.levels(self.now);
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
        assert_eq!(world.admission.next_wake(world.now), None);
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
            world.admission.settle(ticket, Spent::Presumed(&reserved), world.now);
            granted.push(reserved.tokens.input);
        }
        assert_eq!(granted, [granted[0]; 30]);
    }

    #[test]
    fn an_absurd_retry_after_ends_within_the_hour() {
        let mut world = World::new(unlimited());
        let year = Duration::from_secs(366 * 86_400);
        let readings = Readings { retry_after: Some(year), ..Readings::default() };
        world.admission.observe(world.account, SONNET, &readings, world.now);
        let patient = Demand { deadline: secs(86_400), ..world.demand(SONNET, Class::Normal, "a") };
        world.offer("a", patient);
        world.run_until(secs(86_400));
        assert_eq!(world.log, ["a@3600"]);
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
            world.admission.queue(Class::Background, world.now),
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
        assert_eq!(world.admission.next_wake(world.now), Some(secs(600)));
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
            retry_after: None,
        };
        world.admission.observe(world.account, SONNET, &limit(1_000), world.now);
        world.call("b");
        world.run_until(secs(60));
        assert_eq!(world.log, ["a@0", "b@0.625"]);
    }

    #[test]
    fn what_headers_say_is_left_lowers_the_level_and_keeps_the_guards_distance() {
        let mut world = World::new(tier_1(OutputCounting::AsProduced));
        world.call("a");
        let reading = Reading { measure: Measure::InputTokens, limit: 30_000, remaining: Some(12_000), full_in: None };
        let readings = Readings { limits: vec![reading], retry_after: None };
        world.admission.observe(world.account, SONNET, &readings, world.now);
        assert_eq!(world.level(Measure::InputTokens), 12_000 - (30_000 - 27_900));
    }

    #[test]
    fn headers_teach_a_limit_that_nobody_had_named() {
        let mut world = World::new(unlimited());
        world.call("a");
        let reading = Reading { measure: Measure::Requests, limit: 60, remaining: Some(0), full_in: None };
        world.admission.observe(
            world.account,
            SONNET,
            &Readings { limits: vec![reading], retry_after: None },
            world.now,
        );
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
            retry_after: Some(Duration::from_secs(7)),
        };
        world.admission.observe(world.account, SONNET, &told(Some(Duration::from_secs(9))), world.now);
        world.call("a");
        world.offer("opus", world.demand("claude-opus-5", Class::Normal, "o"));
        world.run_until(secs(7));
        assert_eq!(world.log, ["opus@0", "a@7"]);
        world.admission.observe(world.account, SONNET, &told(None), world.now);
        world.call("b");
        world.run_until(secs(60));
        assert_eq!(world.log[2], "b@44", "7 s and the buffer of 30 s, as nothing tells when the bucket refills");
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
        let queue = world.admission.queue(Class::Normal, world.now);
        assert_eq!((queue.waiting, queue.running, queue.eta), (8, 1, Some(Duration::from_secs(10))));
    }
}
