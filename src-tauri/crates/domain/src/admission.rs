//! May this call go now, wait, or not at all?
//!
//! One decision over everything a call draws on: minutes, calls at once, windows and budgets. It gets all of it or
//! none. The state machine takes the time as an argument; whoever owns it wakes it at `next_wake`.

mod cached;
mod decayed;
mod demand;
mod estimate;
mod gate;
mod guard;
mod last_minute;
mod memory;
mod minute;
mod outside;
mod queue;
mod quota;
mod reading;
mod refusal;
mod remembering;
mod reservation;
mod reserving;
mod token_bucket;
mod view;
mod waiter;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use self::demand::{Caching, Demand, Flow, Measure, ReservationId, Spent, Ticket, Verdict, WaiterId};
pub use self::estimate::{Estimate, EstimateError, Estimates, LearnedEstimate, LearnedTemplate, Modes, Shape};
pub use self::memory::{ClosedGroup, KnownWindow, LearnedLimit, Memory, Past};
pub use self::quota::{QuotaKey, QuotaLevel, Unit};
pub use self::reading::{Limited, Reading, Readings, TaughtLimits, WindowReading};
pub use self::refusal::{Binding, LimitSource, QuotaSpent, Refusal};
pub use self::reservation::{NotReserved, Reservation, ReservationAsk, TTL_MAX, TTL_MIN};
pub use self::view::{ClassQueue, Level, Outlook, Outside, WaitingCall};

use self::cached::Conversations;
use self::demand::Need;
use self::gate::Gate;
use self::minute::{ResourceId, Resources, Wait};
use self::queue::{Head, Load, Place, Queue, Row, Seat};
use self::quota::{QuotaId, Quotas, Shut, window_tokens};
use self::reserving::Held;
use self::waiter::{Asked, Terms, Waiter};
use crate::call::Class;
use crate::catalog;
use crate::config::{Budget, Pacing, Rules, WrittenLimits};
use crate::money::Usd;
use crate::tier::{GroupLimits, MinuteLimits, OutputCounting};
use crate::time::{Instant, Now};
use crate::usage::{Tokens, Usage};

/// One credential at one upstream. The default is the first that is added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AccountId(usize);

impl AccountId {
    /// Its place in the order in which accounts were added, from 0.
    pub const fn index(self) -> usize {
        self.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct LaneId(usize);

/// The models of one account that share the upstream's limits.
#[derive(Debug)]
struct Group {
    account: AccountId,
    name: Arc<str>,
    /// By measure: presumed from a tier, or told by headers.
    limits: BTreeMap<Measure, ResourceId>,
    output: OutputCounting,
    cache_reads_count: bool,
    gate: Gate,
}

/// Usage grew too fast: for a while less is allowed than the limits do.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    permille: u32,
    next: Instant,
}

/// The models of one group that share the settings' lines too, and who waits for them.
#[derive(Debug)]
struct Lane {
    group: usize,
    written: Vec<ResourceId>,
    queue: Queue,
    /// What its head comes to, and how much had been learned when that was found.
    head: Option<(WaiterId, u64, Terms)>,
}

#[derive(Debug)]
struct Account {
    name: Arc<str>,
    pacing: Pacing,
    groups: BTreeMap<Arc<str>, usize>,
    /// As the Rate Limits API tells which models share a group.
    told_groups: BTreeMap<Arc<str>, Arc<str>>,
    /// By group and the lines of the settings that match.
    lanes: BTreeMap<(usize, Vec<usize>), LaneId>,
    by_model: BTreeMap<Arc<str>, [Option<LaneId>; 2]>,
    /// By line of the settings: one resource for each measure it names.
    written: BTreeMap<usize, Vec<ResourceId>>,
    estimates: Estimates,
    conversations: Conversations,
    /// Calls that have taught something.
    lessons: u64,
}

/// Model names are what clients write. Those beyond this many share one group.
const MODELS_MAX: usize = 512;
/// A ramp that was too steep starts again at half, and grows by a quarter each step.
const RAMP_START_PERMILLE: u32 = 500;
const RAMP_LEAST_PERMILLE: u32 = 50;
const RAMP_STEP: Duration = Duration::from_secs(30);
const FOLLOW_EVERY: Duration = Duration::from_secs(5);
/// A cut connection is known at its other end by then.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
/// An expected wait is no certainty: only a call whose patience is well below it is refused at once.
const HOPE_PERCENT: u32 = 80;

impl Account {
    /// What a call came to teaches what the next will.
    fn learn(&mut self, ticket: &Ticket, usage: &Usage, now: Instant) {
        let Ticket { model, client, shape, caching, guessed, cached, .. } = ticket;
        self.lessons += 1;
        self.estimates.learn(model, client, shape, *guessed, usage.tokens.prompt(), usage.tokens.output);
        self.conversations.learn(client, shape, *caching, *cached, &usage.tokens, now);
    }
}

/// The state of all limits, and everyone who waits for them.
#[derive(Debug)]
pub struct Admission {
    queue_max: usize,
    accounts: Vec<Account>,
    groups: Vec<Group>,
    /// Groups whose usage grew too fast.
    ramps: BTreeMap<usize, Ramp>,
    lanes: Vec<Lane>,
    /// Lanes in which someone waits.
    busy: BTreeSet<LaneId>,
    resources: Resources,
    quotas: Quotas,
    /// Lines that wait for a budget, by the budget.
    parked: BTreeMap<QuotaId, BTreeSet<(LaneId, Class, Seat)>>,
    reservations: BTreeMap<ReservationId, Held>,
    waiters: BTreeMap<WaiterId, Box<Waiter>>,
    deadlines: BTreeSet<(Instant, WaiterId)>,
    next_waiter: u64,
    /// Refusals that came to be outside of `decide`, which tells them.
    refused: Vec<(WaiterId, Refusal)>,
    /// When paces last followed what others draw.
    followed: Instant,
    /// What ended calls left over, until the upstream surely knows that they ended. In the order of time.
    leftovers: VecDeque<Leftover>,
    running: [usize; 3],
    paused: [bool; 3],
}

/// What a call that broke off had taken and not used.
#[derive(Debug)]
struct Leftover {
    at: Instant,
    taken: Vec<ResourceId>,
    reserved: Need,
    less: Need,
    covered_by: Option<ReservationId>,
}

type Decision = (WaiterId, Result<Ticket, Refusal>);

impl Admission {
    pub fn new(rules: &Rules) -> Admission {
        Admission {
            queue_max: rules.queue_max,
            accounts: Vec::new(),
            groups: Vec::new(),
            ramps: BTreeMap::new(),
            lanes: Vec::new(),
            busy: BTreeSet::new(),
            resources: Resources::default(),
            quotas: Quotas::new(rules),
            parked: BTreeMap::new(),
            reservations: BTreeMap::new(),
            waiters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_waiter: 0,
            refused: Vec::new(),
            followed: Instant::default(),
            leftovers: VecDeque::new(),
            running: [0; 3],
            paused: [false; 3],
        }
    }

    /// Its buckets start full, its windows unused.
    pub fn add_account(&mut self, name: Arc<str>, pacing: Pacing) -> AccountId {
        let id = AccountId(self.accounts.len());
        for window in &pacing.windows {
            self.quotas.add_window(id, window);
        }
        self.accounts.push(Account {
            name,
            pacing,
            groups: BTreeMap::new(),
            told_groups: BTreeMap::new(),
            lanes: BTreeMap::new(),
            by_model: BTreeMap::new(),
            written: BTreeMap::new(),
            estimates: Estimates::fresh(),
            conversations: Conversations::default(),
            lessons: 0,
        });
        id
    }

    /// Replaces all budgets; one that stays keeps what is spent of it.
    pub fn set_budgets(&mut self, budgets: &[Budget], now: Now) {
        self.quotas.set_budgets(budgets);
        self.quotas.turn(now.timestamp);
        self.unpark_all();
    }

    /// Goes at once, waits, or learns why not and until when.
    pub fn offer(&mut self, demand: Demand, now: Now) -> Result<Verdict, Refusal> {
        self.refresh(now);
        let (waiter, terms) = self.waiter(demand, now);
        if let Some(refusal) = self.spent_beyond(&waiter, now) {
            return Err(refusal);
        }
        let (wait, by, covered) = self.wait(&waiter, terms.need, now.instant);
        if wait == Wait::None && self.busy.is_empty() && !self.is_shut(&waiter, now) {
            return Ok(Verdict::Go(self.grant(waiter, terms, covered, now)));
        }
        if let Some(refusal) = self.too_late(&waiter, wait, by, now) {
            return Err(refusal);
        }
        if self.waiters.len() >= self.queue_max && !self.make_room(&waiter) {
            return Err(Refusal::QueueFull { waiting: self.waiters.len() });
        }
        Ok(Verdict::Wait(self.enqueue(waiter)))
    }

    /// The calls whose wait has ended at `now`, in the order in which they may go.
    /// Call it at `next_wake` and after any other verb.
    pub fn decide(&mut self, now: Now) -> Vec<Decision> {
        self.refresh(now);
        let mut decided: Vec<Decision> = self.refused.drain(..).map(|(waiter, why)| (waiter, Err(why))).collect();
        decided.extend(self.admit(now));
        decided.extend(self.expire(now));
        decided
    }

    /// When `decide` will have something to say, if nothing else happens.
    pub fn next_wake(&self, now: Now) -> Option<Instant> {
        if self.waiters.is_empty() {
            return None;
        }
        let heads = self.busy.iter().filter_map(|id| match self.wait_of_head(*id, now)? {
            Wait::Until(ready) => Some(ready),
            // It waits for another lane's head or for a call to end: both wake us by themselves.
            Wait::None | Wait::UntilOneEnds => None,
        });
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let ramps = self.ramps.values().map(|ramp| ramp.next);
        let outside = self.resources.are_shared().then(|| self.followed.after(FOLLOW_EVERY).max(soon(now)));
        let leftover = self.leftovers.front().map(|leftover| leftover.at);
        let given_back = leftover.into_iter().chain(self.next_expiry());
        heads.chain(deadline).chain(given_back).chain(outside).chain(ramps).chain(self.next_turn(now)).min()
    }

    /// A waiting caller has gone.
    pub fn cancel(&mut self, waiter: WaiterId) {
        if let Some(gone) = self.waiters.remove(&waiter) {
            self.leave_queue(&gone, waiter, None, Instant::default());
        }
    }

    /// Someone takes a waiting call out by hand: `decide` tells it. `false` where it no longer waits.
    pub fn drop_waiting(&mut self, waiter: WaiterId) -> bool {
        let waits = self.waiters.contains_key(&waiter);
        self.cancel(waiter);
        if waits {
            self.refused.push((waiter, Refusal::Dropped));
        }
        waits
    }

    /// Someone puts a waiting call before all others by hand. `false` where it no longer waits.
    pub fn raise(&mut self, waiter: WaiterId) -> bool {
        self.seat_anew(waiter, |raised| {
            raised.raised = true;
            raised.asked.class = Class::Critical;
            raised.row = if raised.row == Row::Reserved { Row::Reserved } else { Row::Of(Class::Critical) };
        })
    }

    /// The call leaves only now: a stall between the decision and the socket must not bring it close to the next one.
    pub fn departs(&mut self, ticket: &Ticket, now: Instant) {
        for id in &ticket.taken {
            self.resources.left(*id, now);
        }
    }

    /// Corrects the limits of a call's group by what a response told. Every response counts, one without a word too.
    pub fn observe(&mut self, ticket: &Ticket, readings: &Readings, now: Now) {
        let group = self.lanes[ticket.lane.0].group;
        let account = self.groups[group].account;
        for reading in readings.limits.iter().chain(&readings.priority).filter(|reading| reading.limit > 0) {
            let is_new = !self.groups[group].limits.contains_key(&reading.measure);
            let id = self.told(group, reading.measure, reading.limit, now.instant);
            if is_new {
                // The call that told of it was the first to draw on it.
                self.resources.left(id, ticket.sent);
            }
            self.resources.observe(id, *reading, ticket.sent, now.instant);
        }
        for reading in &readings.windows {
            self.quotas.observe(account, reading, now.timestamp);
        }
        match readings.limited {
            Some(limited) => self.limited(group, limited, readings, now.instant),
            None => self.accepted(ticket, group, now.instant),
        }
    }

    /// A running call has used so much. Tells whether it may go on.
    pub fn progress(&mut self, ticket: &mut Ticket, usage: &Usage) -> Flow {
        let Some(price) = &ticket.price else { return Flow::GoOn };
        let cost = price.cost(usage).max(ticket.live_cost);
        let more = cost - ticket.live_cost;
        ticket.live_cost = cost;
        let passed: Vec<QuotaId> = ticket.quotas.iter().copied().filter(|id| self.quotas.runs_up(*id, more)).collect();
        passed.first().map_or(Flow::GoOn, |id| Flow::Cut(self.quotas.run_up(*id)))
    }

    /// A call has ended.
    pub fn settle(&mut self, ticket: Ticket, spent: Spent<'_>, now: Now) {
        self.quotas.turn(now.timestamp);
        let running = &mut self.running[ticket.class as usize];
        *running = running.saturating_sub(1);
        let group = &self.groups[self.lanes[ticket.lane.0].group];
        let (usage, cost) = match spent {
            Spent::Nothing => (None, None),
            Spent::Told { usage, cost } => {
                self.accounts[group.account.0].learn(&ticket, usage, now.instant);
                (Some(usage), cost)
            }
            Spent::Presumed { usage, cost } => (Some(usage), cost),
        };
        let cache_reads_count = group.cache_reads_count;
        let used = usage.map(|usage| counted(&usage.tokens, cache_reads_count));
        let now_used = match spent {
            // It broke off, and the upstream may learn of that later than we.
            Spent::Presumed { .. } => used.map(|used| used.or_more(ticket.need)),
            Spent::Told { .. } | Spent::Nothing => used,
        };
        for id in &ticket.taken {
            self.resources.settle(*id, ticket.need, now_used, ticket.covered_by, now.instant);
        }
        if let (Some(used), Some(held)) = (used, now_used.filter(|held| Some(*held) != used)) {
            let (less, taken) = (held.beyond(used), ticket.taken.clone());
            let at = now.instant.after(KNOWN_AFTER);
            self.leftovers.push_back(Leftover {
                at,
                taken,
                reserved: ticket.need,
                less,
                covered_by: ticket.covered_by,
            });
        }
        self.settle_quotas(&ticket, usage, cost, now);
    }

    /// Calls of the class wait until `resume`, or their deadline.
    pub fn pause(&mut self, class: Class) {
        self.paused[class as usize] = true;
    }

    pub fn resume(&mut self, class: Class) {
        self.paused[class as usize] = false;
    }

    /// What the Rate Limits API says. Models that it names together share a group from now on, where none had one yet.
    pub fn learn_limits(&mut self, account: AccountId, told: &[TaughtLimits], now: Now) {
        for TaughtLimits { models, limits } in told {
            let Some(first) = models.first() else { continue };
            let name: Arc<str> = catalog::group(first).into();
            for model in models.iter().take(MODELS_MAX) {
                self.accounts[account.0].told_groups.insert(model.clone(), name.clone());
            }
            let group = self.group(account, name, first, now.instant);
            for (measure, limit) in measures(*limits) {
                let id = self.told(group, measure, limit, now.instant);
                self.resources.teach(id, limit, LimitSource::Api, now.instant);
            }
        }
    }

    /// Sets what was spent of a window or budget since its period began, as the ledger tells it.
    pub fn count(&mut self, key: &QuotaKey, used: i64) {
        self.quotas.count(key, used);
        self.unpark_all();
    }

    /// What would become of a call that came now.
    pub fn outlook(&mut self, demand: Demand, now: Now) -> Outlook {
        self.refresh(now);
        let (waiter, Terms { need, prompt, answer, worst_cost, .. }) = self.waiter(demand, now);
        let (wait, by, _) = self.wait(&waiter, need, now.instant);
        let is_priced = waiter.asked.price.is_some();
        let before = self.before(&waiter, WaiterId(self.next_waiter));
        Outlook {
            input: prompt,
            output: answer,
            cost_likely: is_priced.then(|| waiter.asked.cost(prompt.likely, answer.likely)),
            cost_worst: is_priced.then_some(worst_cost),
            wait: self.eta(&waiter, wait, before, now),
            binding: by.map(|id| self.resources.binding(id)),
        }
    }

    pub fn levels(&self, now: Now) -> Vec<Level> {
        self.resources.levels(now.instant)
    }

    /// Windows and budgets.
    pub fn quotas(&mut self, now: Now) -> Vec<QuotaLevel> {
        self.quotas.turn(now.timestamp);
        self.quotas.levels()
    }

    pub fn outside(&self, now: Now) -> Vec<Outside> {
        self.resources.outside(now.instant)
    }

    /// How far estimates were off, per account.
    pub fn estimates(&self) -> Vec<(AccountId, EstimateError)> {
        let errors = self.accounts.iter().enumerate().map(|(index, account)| (index, account.estimates.errors()));
        errors.flat_map(|(index, errors)| errors.into_iter().map(move |error| (AccountId(index), error))).collect()
    }

    pub fn queue(&self, class: Class, now: Now) -> ClassQueue {
        let of_class = || self.waiters.values().filter(|waiter| waiter.asked.class == class);
        let paused = self.paused[class as usize];
        let waits = |id: &&LaneId| !paused && self.lanes[id.0].queue.waiting(class) > 0;
        let etas = self.busy.iter().filter(waits);
        ClassQueue {
            waiting: of_class().count(),
            running: self.running[class as usize],
            oldest: of_class().map(|waiter| now.instant.since(waiter.asked.since)).max(),
            eta: etas.filter_map(|id| self.eta_of_class(*id, class, now)).max(),
            paused,
        }
    }

    /// Everyone who waits, the longest first.
    pub fn waiting(&self, now: Now) -> Vec<WaitingCall> {
        let mut in_order: Vec<(Place, &Waiter)> =
            self.waiters.iter().map(|(id, waiter)| (waiter.place(*id), &**waiter)).collect();
        in_order.sort_unstable_by_key(|(place, _)| *place);
        let mut lines: BTreeMap<(LaneId, Row, Seat), usize> = BTreeMap::new();
        let mut waiting: Vec<WaitingCall> = Vec::with_capacity(in_order.len());
        for (place, waiter) in in_order {
            let before = lines.entry((waiter.lane, waiter.row, waiter.seat)).or_default();
            waiting.push(self.waiting_call(place.waiter, waiter, *before, now));
            *before += 1;
        }
        waiting.sort_by_key(|call| std::cmp::Reverse(call.waited));
        waiting
    }

    fn waiting_call(&self, id: WaiterId, waiter: &Waiter, before: usize, now: Now) -> WaitingCall {
        let Asked { call, account, class, client, tenant, model, since, .. } = &waiter.asked;
        let (wait, ..) = self.wait(waiter, self.terms(waiter, now.instant).need, now.instant);
        WaitingCall {
            waiter: id,
            call: *call,
            account: *account,
            class: *class,
            client: client.clone(),
            tenant: tenant.clone(),
            model: model.clone(),
            waited: now.instant.since(*since),
            eta: self.eta(waiter, wait, before, now),
        }
    }

    /// Periods that have ended, ramps that have gone on, reservations that are over.
    fn refresh(&mut self, now: Now) {
        if self.quotas.turn(now.timestamp) {
            self.unpark_all();
        }
        self.end_reservations(now);
        self.climb(now.instant);
        self.clear_leftovers(now.instant);
        if now.instant.since(self.followed) >= FOLLOW_EVERY {
            self.followed = now.instant;
            self.resources.follow_outside(now.instant);
        }
    }

    fn clear_leftovers(&mut self, now: Instant) {
        while let Some(Leftover { taken, reserved, less, covered_by, .. }) =
            self.leftovers.pop_front_if(|leftover| leftover.at <= now)
        {
            for id in taken {
                self.resources.come_back(id, reserved, less, covered_by, now);
            }
        }
    }

    fn climb(&mut self, now: Instant) {
        let due = |(group, ramp): (&usize, &Ramp)| (now >= ramp.next).then_some((*group, ramp.permille));
        let due: Vec<(usize, u32)> = self.ramps.iter().filter_map(due).collect();
        for (group, permille) in due {
            self.set_ramp(group, permille + permille / 4, now);
        }
    }

    fn set_ramp(&mut self, group: usize, permille: u32, now: Instant) {
        let permille = permille.min(1_000);
        if permille < 1_000 {
            self.ramps.insert(group, Ramp { permille, next: now.after(RAMP_STEP) });
        } else {
            self.ramps.remove(&group);
        }
        for id in self.groups[group].limits.values() {
            self.resources.set_ramp(*id, permille, now);
        }
    }

    /// A 429 closes the group, and the limit that it names is empty.
    fn limited(&mut self, group: usize, limited: Limited, readings: &Readings, now: Instant) {
        let refill_is_told = readings.limits.iter().any(|reading| reading.full_in.is_some());
        let Group { account, limits, gate, .. } = &mut self.groups[group];
        let buffer = self.accounts[account.0].pacing.retry_after_buffer;
        gate.limited(limited, if refill_is_told { Duration::ZERO } else { buffer }, now);
        if limited.ramp {
            let slower = |ramp: &Ramp| (ramp.permille / 2).max(RAMP_LEAST_PERMILLE);
            let permille = self.ramps.get(&group).map_or(RAMP_START_PERMILLE, slower);
            self.set_ramp(group, permille, now);
        } else if let Some(id) = limited.measure.and_then(|measure| limits.get(&measure)) {
            self.resources.refused(*id, now);
        }
    }

    fn accepted(&mut self, ticket: &Ticket, group: usize, now: Instant) {
        self.groups[group].gate.answered();
        for id in &ticket.taken {
            self.resources.accepted(*id, now);
        }
    }

    /// The resource of a limit that somebody told of.
    fn told(&mut self, group: usize, measure: Measure, limit: u64, now: Instant) -> ResourceId {
        let Group { account, name, limits, .. } = &mut self.groups[group];
        let pacing = &self.accounts[account.0].pacing;
        *limits
            .entry(measure)
            .or_insert_with(|| self.resources.add((*account, name), measure, limit, LimitSource::Headers, pacing, now))
    }

    /// A window or budget that is spent beyond the call's patience.
    fn spent_beyond(&self, waiter: &Waiter, now: Now) -> Option<Refusal> {
        if waiter.row == Row::Reserved {
            return None;
        }
        waiter.quotas.iter().find_map(|id| {
            let shut = self.quotas.shut(*id, waiter.asked.class, now.timestamp)?;
            let reopens = self.reopens(*id, shut, now)?;
            (reopens > waiter.asked.deadline).then(|| self.shut_refusal(*id, shut))
        })
    }

    /// When a quota can be had again; `None` where that depends on others.
    fn reopens(&self, id: QuotaId, shut: Shut, now: Now) -> Option<Instant> {
        match shut {
            Shut::Held => None,
            Shut::Spent { .. } => Some(now.instant_of(self.quotas.resets_at(id))),
            Shut::BusinessHours { opens } => Some(now.instant_of(opens)),
        }
    }

    fn shut_refusal(&self, id: QuotaId, shut: Shut) -> Refusal {
        match shut {
            Shut::Held => Refusal::Quota(self.quotas.spent(id, false)),
            Shut::Spent { critical_only } => Refusal::Quota(self.quotas.spent(id, critical_only)),
            Shut::BusinessHours { opens } => Refusal::Held { window: self.quotas.name(id), opens },
        }
    }

    /// Something other than the minute's limits keeps it.
    fn is_shut(&self, waiter: &Waiter, now: Now) -> bool {
        let class = waiter.asked.class;
        let spent = || waiter.quotas.iter().any(|id| self.quotas.shut(*id, class, now.timestamp).is_some());
        waiter.row != Row::Reserved && (self.paused[class as usize] || spent())
    }

    /// A deadline that it can't meet, by its own limits or by those who go before it.
    fn too_late(&self, waiter: &Waiter, wait: Wait, by: Option<ResourceId>, now: Now) -> Option<Refusal> {
        // One that comes back sits where it sat.
        let before = self.before(waiter, WaiterId(self.next_waiter));
        let eta = self.eta(waiter, wait, before, now)?;
        let surely = match wait {
            Wait::Until(ready) => ready.since(now.instant),
            Wait::None | Wait::UntilOneEnds => Duration::ZERO,
        };
        let hoped = surely.max(eta / 100 * HOPE_PERCENT);
        let late = now.instant.after(hoped) > waiter.asked.deadline;
        let binding = self.binding(waiter, (wait, by), before, now.instant);
        late.then(|| Refusal::Deadline { binding, not_before: Some(now.instant.after(eta)) })
    }

    /// How long until a call goes, if nobody more urgent comes. `None`: that depends on calls that run, or on a person.
    /// `before`: how many of its own line go before it.
    fn eta(&self, waiter: &Waiter, wait: Wait, before: usize, now: Now) -> Option<Duration> {
        let own = match wait {
            Wait::Until(ready) => ready.since(now.instant),
            Wait::None => Duration::ZERO,
            Wait::UntilOneEnds => return None,
        };
        let class = waiter.asked.class;
        if waiter.row == Row::Reserved {
            return Some(own);
        }
        if self.paused[class as usize] {
            return None;
        }
        let reopens = self.quotas_reopen(&waiter.quotas, class, now)?;
        let ahead = self.lanes[waiter.lane.0].queue.ahead(waiter.row, &waiter.path(), before);
        Some(own.max(reopens).max(self.time_for(waiter.lane, ahead.plus(waiter.load()), now.instant)))
    }

    fn before(&self, waiter: &Waiter, id: WaiterId) -> usize {
        self.lanes[waiter.lane.0].queue.before(waiter.row, &waiter.path(), waiter.place(id))
    }

    fn eta_of_class(&self, lane: LaneId, class: Class, now: Now) -> Option<Duration> {
        let account = self.groups[self.lanes[lane.0].group].account;
        let reopens = self.quotas_reopen(self.quotas.windows_of(account), class, now)?;
        Some(reopens.max(self.time_for(lane, self.lanes[lane.0].queue.up_to(class), now.instant)))
    }

    /// How long until none of them is shut for the class; `None` where running calls hold the rest of one.
    fn quotas_reopen(&self, quotas: &[QuotaId], class: Class, now: Now) -> Option<Duration> {
        let shut = quotas.iter().filter_map(|id| Some((*id, self.quotas.shut(*id, class, now.timestamp)?)));
        let mut waits = shut.map(|(id, shut)| Some(self.reopens(id, shut, now)?.since(now.instant)));
        waits.try_fold(Duration::ZERO, |longest, wait| Some(longest.max(wait?)))
    }

    fn time_for(&self, lane: LaneId, load: Load, now: Instant) -> Duration {
        let need = Need::exactly(load.input, load.output);
        let opens = self.groups[self.lanes[lane.0].group].gate.opens(now).map_or(Duration::ZERO, |at| at.since(now));
        let limits = self.draws_on(lane).map(|id| self.resources.time_for(id, need, load.calls, now));
        limits.max().unwrap_or_default().max(opens)
    }

    /// What it waits for longest: a limit of its own, or one that those before it draw on too. `None`: the upstream's word.
    fn binding(
        &self,
        waiter: &Waiter,
        (wait, by): (Wait, Option<ResourceId>),
        before: usize,
        now: Instant,
    ) -> Option<Binding> {
        let (slowest, time) = self.slowest(waiter, before, now)?;
        let own = match wait {
            Wait::Until(ready) => ready.since(now),
            Wait::None => Duration::ZERO,
            Wait::UntilOneEnds => Duration::MAX,
        };
        let is_closed = self.groups[self.lanes[waiter.lane.0].group].gate.opens(now).is_some();
        let id = match by {
            _ if time > own => slowest,
            Some(by) => by,
            None if is_closed => return None,
            None => slowest,
        };
        Some(self.resources.binding(id))
    }

    /// The limit that those before it and it itself wait for longest, and how long.
    fn slowest(&self, waiter: &Waiter, before: usize, now: Instant) -> Option<(ResourceId, Duration)> {
        let ahead = self.lanes[waiter.lane.0].queue.ahead(waiter.row, &waiter.path(), before).plus(waiter.load());
        let need = Need::exactly(ahead.input, ahead.output);
        let timed = self.draws_on(waiter.lane).map(|id| (id, self.resources.time_for(id, need, ahead.calls, now)));
        timed.max_by_key(|(_, time)| *time)
    }

    /// Lets every head go whose turn it is, the most urgent and oldest first.
    fn admit(&mut self, now: Now) -> Vec<Decision> {
        let mut admitted = Vec::new();
        let mut turns: BTreeMap<(Row, Instant, LaneId), WaiterId> =
            self.busy.iter().filter_map(|id| self.turn(*id, now)).collect();
        // What an earlier head waits for, a later one must not take.
        let mut held = BTreeSet::new();
        while let Some(((row, _, id), next)) = turns.pop_first() {
            let Some(terms) = self.terms_of_head(id, next, now.instant) else { continue };
            let Some(waiter) = self.waiters.get(&next) else { continue };
            let (wait, by, covered) = self.wait(waiter, terms.need, now.instant);
            if wait != Wait::None {
                held.extend(by);
            } else if self.draws_on(id).any(|resource| held.contains(&resource)) {
                // Its turn comes after the one that it would get ahead of.
            } else if let Some(quota) = self.budget_shut(waiter, now) {
                self.park(id, row, next, quota);
                turns.extend(self.turn(id, now));
            } else {
                admitted.extend(self.release(next, terms, covered, now));
                turns.extend(self.turn(id, now));
            }
        }
        admitted
    }

    fn turn(&self, id: LaneId, now: Now) -> Option<((Row, Instant, LaneId), WaiterId)> {
        let Head { row, place, .. } = self.head(id, now)?;
        Some(((row, place.since, id), place.waiter))
    }

    fn head(&self, id: LaneId, now: Now) -> Option<Head> {
        let account = self.groups[self.lanes[id.0].group].account;
        let shut = |class: Class| {
            let windows = self.quotas.windows_of(account);
            self.paused[class as usize]
                || windows.iter().any(|id| self.quotas.shut(*id, class, now.timestamp).is_some())
        };
        let shut = [shut(Class::Critical), shut(Class::Normal), shut(Class::Background)];
        self.lanes[id.0].queue.head(shut, now.instant)
    }

    fn wait_of_head(&self, id: LaneId, now: Now) -> Option<Wait> {
        let Head { place, .. } = self.head(id, now)?;
        let waiter = self.waiters.get(&place.waiter)?;
        let known = self.lanes[id.0].head.filter(|(head, ..)| *head == place.waiter);
        let terms = known.map_or_else(|| self.terms(waiter, now.instant), |(_, _, terms)| terms);
        Some(self.wait(waiter, terms.need, now.instant).0)
    }

    /// What the head of a lane comes to by what is known now: others may have taught something while it waited.
    fn terms_of_head(&mut self, lane: LaneId, head: WaiterId, now: Instant) -> Option<Terms> {
        let waiter = self.waiters.get(&head)?;
        let lessons = self.accounts[waiter.asked.account.0].lessons;
        if let Some((known, then, terms)) = self.lanes[lane.0].head
            && (known, then) == (head, lessons)
        {
            return Some(terms);
        }
        let terms = self.terms(waiter, now);
        self.lanes[lane.0].head = Some((head, lessons, terms));
        Some(terms)
    }

    /// When a window, a budget or business hours change what may go.
    fn next_turn(&self, now: Now) -> Option<Instant> {
        let reset = self.quotas.next_reset(now.timestamp);
        let opening = self.quotas.next_opening(now.timestamp);
        reset.into_iter().chain(opening).min().map(|at| now.instant_of(at))
    }

    /// A budget of the call that can't be had now. The account's windows have shut its whole class before.
    fn budget_shut(&self, waiter: &Waiter, now: Now) -> Option<QuotaId> {
        if waiter.row == Row::Reserved {
            return None;
        }
        let shut = |id: &&QuotaId| self.quotas.shut(**id, waiter.asked.class, now.timestamp).is_some();
        waiter.quotas.iter().find(shut).copied()
    }

    fn park(&mut self, lane: LaneId, row: Row, waiter: WaiterId, quota: QuotaId) {
        let (Row::Of(class), Some(waiter)) = (row, self.waiters.get(&waiter)) else { return };
        let seat = waiter.seat;
        self.lanes[lane.0].queue.park(class, seat, true);
        self.parked.entry(quota).or_default().insert((lane, class, seat));
    }

    fn unpark(&mut self, quota: QuotaId) {
        for (lane, class, seat) in self.parked.remove(&quota).into_iter().flatten() {
            self.lanes[lane.0].queue.park(class, seat, false);
        }
    }

    fn unpark_all(&mut self) {
        while let Some(quota) = self.parked.keys().next().copied() {
            self.unpark(quota);
        }
    }

    fn release(&mut self, id: WaiterId, terms: Terms, covered: bool, now: Now) -> Option<Decision> {
        let waiter = self.waiters.remove(&id)?;
        self.leave_queue(&waiter, id, Some(terms.need.size()), now.instant);
        Some((id, Ok(self.grant(*waiter, terms, covered, now))))
    }

    fn expire(&mut self, now: Now) -> Vec<Decision> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now.instant) {
            let refusal = self.waiters.get(&id).map(|late| self.why_late(late, id, now));
            self.cancel(id);
            expired.extend(refusal.map(|refusal| (id, Err(refusal))));
        }
        expired
    }

    fn why_late(&self, late: &Waiter, id: WaiterId, now: Now) -> Refusal {
        let class = late.asked.class;
        let quotas = || late.quotas.iter().find_map(|id| Some((*id, self.quotas.shut(*id, class, now.timestamp)?)));
        if late.row != Row::Reserved {
            if self.paused[class as usize] {
                return Refusal::Paused { class };
            }
            if let Some((id, shut)) = quotas() {
                return self.shut_refusal(id, shut);
            }
        }
        let (wait, by, _) = self.wait(late, self.terms(late, now.instant).need, now.instant);
        let before = self.before(late, id);
        let not_before = self.eta(late, wait, before, now).map(|eta| now.instant.after(eta));
        Refusal::Deadline { binding: self.binding(late, (wait, by), before, now.instant), not_before }
    }

    /// The queue is full: the youngest call of the longest line gives way to one that is more urgent, or of a shorter line.
    fn make_room(&mut self, newcomer: &Waiter) -> bool {
        let less_urgent = Class::ALL.iter().rev().filter(|other| Row::Of(**other) > newcomer.row);
        if less_urgent.copied().any(|other| self.evict(other, 0)) {
            return true;
        }
        let Row::Of(class) = newcomer.row else { return false };
        let own = self.lanes[newcomer.lane.0].queue.line_len(class, &newcomer.path());
        self.evict(class, own + 1)
    }

    fn evict(&mut self, class: Class, longer_than: usize) -> bool {
        let longest = self.busy.iter().filter_map(|id| self.lanes[id.0].queue.longest(class)).max();
        let Some((_, Place { waiter, .. })) = longest.filter(|(len, _)| *len > longer_than) else { return false };
        let waiting = self.waiters.len();
        self.cancel(waiter);
        self.refused.push((waiter, Refusal::QueueFull { waiting }));
        true
    }

    fn enqueue(&mut self, waiter: Waiter) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.join_queue(Box::new(waiter), id);
        id
    }

    fn join_queue(&mut self, mut waiter: Box<Waiter>, id: WaiterId) {
        self.deadlines.insert((waiter.asked.deadline, id));
        let queue = &mut self.lanes[waiter.lane.0].queue;
        waiter.seat = queue.push(waiter.row, &waiter.path(), waiter.place(id), waiter.load());
        self.busy.insert(waiter.lane);
        self.waiters.insert(id, waiter);
    }

    /// Puts a waiting call where it belongs after a change. `false` where it no longer waits.
    fn seat_anew(&mut self, id: WaiterId, change: impl FnOnce(&mut Waiter)) -> bool {
        let Some(mut waiter) = self.waiters.remove(&id) else { return false };
        self.leave_queue(&waiter, id, None, Instant::default());
        change(&mut waiter);
        self.join_queue(waiter, id);
        true
    }

    fn leave_queue(&mut self, waiter: &Waiter, id: WaiterId, served: Option<u64>, now: Instant) {
        self.deadlines.remove(&(waiter.asked.deadline, id));
        let queue = &mut self.lanes[waiter.lane.0].queue;
        queue.remove(waiter.row, waiter.seat, waiter.place(id), waiter.load(), served, now);
        if queue.is_empty() {
            self.busy.remove(&waiter.lane);
        }
    }

    fn grant(&mut self, waiter: Waiter, terms: Terms, covered: bool, now: Now) -> Ticket {
        let Waiter { asked, lane, row, quotas, .. } = waiter;
        let Terms { need, prompt, cached, worst_cost, .. } = terms;
        let covered_by = if covered { asked.reservation } else { None };
        let taken: Vec<ResourceId> = self.draws_on(lane).collect();
        for id in &taken {
            self.resources.take(*id, need, covered_by, now.instant);
        }
        self.groups[self.lanes[lane.0].group].gate.passed(now.instant);
        self.running[asked.class as usize] += 1;
        if let (Row::Reserved, Some(id)) = (row, asked.reservation) {
            self.use_reservation(id, worst_cost, need.size());
        }
        for id in quotas.iter() {
            self.quotas.reserve(*id, worst_cost, need.size(), now.timestamp);
        }
        Ticket {
            lane,
            class: asked.class,
            model: asked.model,
            client: asked.client,
            shape: asked.shape,
            caching: asked.caching,
            price: asked.price,
            guessed: prompt,
            cached,
            need,
            sent: now.instant,
            taken,
            quotas,
            worst_cost,
            live_cost: Usd::ZERO,
            covered_by,
        }
    }

    fn settle_quotas(&mut self, ticket: &Ticket, usage: Option<&Usage>, cost: Option<Usd>, now: Now) {
        // A model without a price counts at the one that stood in for it.
        let presumed = || Some(ticket.price.as_ref()?.cost(usage?));
        let cost = cost.filter(|_| usage.is_some()).or_else(presumed).unwrap_or(Usd::ZERO);
        let tokens = usage.map_or(0, |usage| window_tokens(&usage.tokens));
        for id in ticket.quotas.iter() {
            self.quotas.release(*id, ticket.worst_cost, ticket.need.size());
            self.quotas.stops(*id, ticket.live_cost);
            self.quotas.spend(*id, cost, tokens, now.timestamp);
            self.unpark(*id);
        }
    }

    /// What keeps a call, which limit binds, and whether its reservation pays.
    fn wait(&self, waiter: &Waiter, need: Need, now: Instant) -> (Wait, Option<ResourceId>, bool) {
        let closed = self.groups[self.lanes[waiter.lane.0].group].gate.opens(now).map_or(Wait::None, Wait::Until);
        let worst = |waits: &mut dyn Iterator<Item = (Wait, Option<ResourceId>)>| {
            waits.filter(|(wait, _)| *wait != Wait::None).fold((closed, None), std::cmp::Ord::max)
        };
        let common = worst(&mut self.draws_on(waiter.lane).map(|id| (self.resources.wait(id, need, now), Some(id))));
        let Some(by) = waiter.asked.reservation.filter(|_| waiter.row == Row::Reserved) else {
            return (common.0, common.1, false);
        };
        let own = worst(
            &mut self.draws_on(waiter.lane).map(|id| (self.resources.wait_reserved(id, need, by, now), Some(id))),
        );
        if own.0 <= common.0 { (own.0, own.1, true) } else { (common.0, common.1, false) }
    }

    fn draws_on(&self, lane: LaneId) -> impl Iterator<Item = ResourceId> {
        let lane = &self.lanes[lane.0];
        self.groups[lane.group].limits.values().chain(&lane.written).copied()
    }

    fn waiter(&mut self, demand: Demand, now: Now) -> (Waiter, Terms) {
        let lane = self.lane(demand.account, &demand.model, demand.fast, now.instant);
        let row = match demand.reservation.filter(|id| self.holds_reservation(*id, &demand, lane)) {
            Some(_) => Row::Reserved,
            None => Row::Of(demand.class),
        };
        let quotas = self.quotas.of(&demand);
        let (asked, seat, raised) = (Asked::of(demand), Seat::default(), false);
        let mut waiter = Waiter { asked, lane, row, seat, raised, quotas, input: 0, output: 0 };
        let terms = self.terms(&waiter, now.instant);
        (waiter.input, waiter.output) = (terms.need.input, terms.answer.likely);
        (waiter, terms)
    }

    fn terms(&self, Waiter { asked, lane, .. }: &Waiter, now: Instant) -> Terms {
        let Group { output, cache_reads_count, .. } = &self.groups[self.lanes[lane.0].group];
        let account = &self.accounts[asked.account.0];
        let prompt = account.estimates.input(&asked.model, &asked.client, &asked.shape);
        let answer = account.estimates.output(&asked.model, &asked.client, &asked.shape, asked.max_tokens);
        let reads = if *cache_reads_count { Caching::None } else { asked.caching };
        let cached = account.conversations.read(&asked.client, &asked.shape, reads, now);
        let counted =
            Estimate { likely: prompt.likely.saturating_sub(cached), high: prompt.high.saturating_sub(cached) };
        let loose_input = match reads {
            Caching::None => counted.high.saturating_sub(counted.likely - counted.likely / 20),
            // It may all be read from the cache.
            Caching::FiveMinutes | Caching::OneHour => counted.high,
        };
        let (output, loose_output) = match output {
            // The upstream takes as much itself.
            OutputCounting::Reserved => (asked.max_tokens.unwrap_or(answer.high), 0),
            OutputCounting::AsProduced => (answer.high, answer.high),
        };
        let need = Need { input: counted.high, output, loose_input, loose_output };
        let worst_cost = asked.cost(prompt.high, asked.max_tokens.unwrap_or(answer.high));
        Terms { need, prompt, cached, answer, worst_cost }
    }

    /// The lane of a model; made, with its limits, when the model is first seen.
    fn lane(&mut self, account: AccountId, model: &Arc<str>, fast: bool, now: Instant) -> LaneId {
        let known = &self.accounts[account.0].by_model;
        if let Some(id) = known.get(model).and_then(|lanes| lanes[usize::from(fast)]) {
            return id;
        }
        let beyond = known.len() >= MODELS_MAX && !known.contains_key(model);
        let name = if beyond { "others".into() } else { self.group_name(account, model, fast) };
        let group = self.group(account, name, model, now);
        self.accounts[account.0].estimates.meet(model);
        let matching = self.matching_lines(account, model);
        let written = matching.iter().flat_map(|line| self.written(account, *line, now)).collect();
        let next = LaneId(self.lanes.len());
        let id = *self.accounts[account.0].lanes.entry((group, matching)).or_insert(next);
        if id == next {
            self.lanes.push(Lane { group, written, queue: Queue::default(), head: None });
        }
        if !beyond {
            self.accounts[account.0].by_model.entry(model.clone()).or_default()[usize::from(fast)] = Some(id);
        }
        id
    }

    fn group_name(&self, account: AccountId, model: &Arc<str>, fast: bool) -> Arc<str> {
        let told = self.accounts[account.0].told_groups.get(model);
        let name = told.map_or_else(|| catalog::group(model), |told| told.to_string());
        if fast { format!("{name} fast").into() } else { name.into() }
    }

    fn group(&mut self, account: AccountId, name: Arc<str>, model: &str, now: Instant) -> usize {
        let Account { pacing, groups, .. } = &mut self.accounts[account.0];
        if let Some(known) = groups.get(&name) {
            return *known;
        }
        let tier = pacing.presumed.as_ref().and_then(|(scheme, tier)| Some((scheme, scheme.tiers.get(*tier)?)));
        // What fast mode may do no table tells.
        let row = tier.and_then(|(_, tier)| tier.limits(model)).filter(|_| !name.ends_with(" fast"));
        let presumed = row.map_or(MinuteLimits::default(), |row| row.limits);
        let mut add = |(measure, limit)| {
            let owner = (account, &name);
            (measure, self.resources.add(owner, measure, limit, LimitSource::Tier, pacing, now))
        };
        let limits = measures(presumed).map(&mut add).collect();
        let output = tier.map_or(OutputCounting::AsProduced, |(scheme, _)| scheme.output);
        let cache_reads_count = row.is_some_and(|row: &GroupLimits| row.cache_reads_count);
        groups.insert(name.clone(), self.groups.len());
        self.groups.push(Group { account, name, limits, output, cache_reads_count, gate: Gate::Open });
        self.groups.len() - 1
    }

    fn matching_lines(&self, account: AccountId, model: &str) -> Vec<usize> {
        let lines = self.accounts[account.0].pacing.written.iter().enumerate();
        let matching = |line: &WrittenLimits| line.models.iter().any(|pattern| catalog::matches(pattern, model));
        lines.filter(|(_, line)| matching(line)).map(|(index, _)| index).collect()
    }

    /// The resources of one line of the settings, shared by all models that match it.
    fn written(&mut self, account: AccountId, line: usize, now: Instant) -> Vec<ResourceId> {
        let Account { pacing, written, .. } = &mut self.accounts[account.0];
        let resources = &mut self.resources;
        written.entry(line).or_insert_with(|| {
            let WrittenLimits { models, per_minute, concurrency } = &pacing.written[line];
            let name: Arc<str> = models.join(", ").into();
            let slots = concurrency.map(|limit| (Measure::Concurrency, u64::from(limit)));
            let mut add =
                |(measure, limit)| resources.add((account, &name), measure, limit, LimitSource::Settings, pacing, now);
            measures(*per_minute).chain(slots).map(&mut add).collect()
        });
        written.get(&line).cloned().unwrap_or_default()
    }
}

/// A moment later.
fn soon(now: Now) -> Instant {
    now.instant.after(Duration::from_nanos(1))
}

fn measures(limits: MinuteLimits) -> impl Iterator<Item = (Measure, u64)> {
    let all = [
        (Measure::Requests, limits.requests),
        (Measure::InputTokens, limits.input_tokens),
        (Measure::OutputTokens, limits.output_tokens),
    ];
    all.into_iter().filter_map(|(measure, limit)| Some((measure, limit.filter(|limit| *limit > 0)?)))
}

/// What counts against a minute's limits.
fn counted(tokens: &Tokens, cache_reads_count: bool) -> Need {
    let read = if cache_reads_count { 0 } else { tokens.cache_read };
    Need::exactly(tokens.prompt().saturating_sub(read), tokens.output)
}

#[cfg(test)]
mod tests;
