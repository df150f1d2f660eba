//! May this call go now, wait, or not at all?
//!
//! One decision over everything a call draws on: minutes, calls at once, windows and budgets. It gets all of it or
//! none. The state machine takes the time as an argument; whoever owns it wakes it at `next_wake`.

mod aside;
mod cached;
mod crisis;
mod decayed;
mod deciding;
mod demand;
mod estimate;
mod expecting;
mod gate;
mod guard;
mod health;
mod lanes;
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
mod showing;
mod token_bucket;
mod view;
mod waiter;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use self::demand::{Caching, Demand, Flow, Measure, ReservationId, Spent, Ticket, Verdict, WaiterId};
pub use self::estimate::{Estimate, EstimateError, Estimates, LearnedEstimate, LearnedTemplate, Modes, Shape};
pub use self::memory::{ClosedGroup, KnownWindow, LearnedLimit, Memory, Past};
pub use self::quota::{Left, QuotaKey, QuotaLevel, Unit, window_tokens};
pub use self::reading::{Limited, Reading, Readings, TaughtLimits, WindowReading};
pub use self::refusal::{Binding, Kept, KeptBy, LimitSource, QuotaSpent, Refusal};
pub use self::reservation::{NotReserved, Reservation, ReservationAsk, TTL_MAX, TTL_MIN};
pub use self::view::{BreakerView, ClassQueue, FreeProbe, Level, Outlook, Outside, PausedScope, WaitingCall};

use self::cached::Conversations;
use self::crisis::Crisis;
use self::demand::Need;
use self::gate::Gate;
use self::minute::{ResourceId, Resources, Wait};
use self::queue::{Queue, Row, Seat};
use self::quota::{QuotaId, Quotas};
use self::reserving::Held;
use self::waiter::{Asked, Terms, Waiter};
use crate::call::Class;
use crate::catalog;
use crate::config::{Budget, Pacing, Rules};
use crate::money::Usd;
use crate::routing::{Breaker, BreakerRules};
use crate::tier::{MinuteLimits, OutputCounting};
use crate::time::{Instant, Now, Timestamp};
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
    breaker: Breaker,
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
/// Who waits less went at once, as far as people can tell.
const KEPT_LEAST: Duration = Duration::from_millis(1);
/// A cut connection is known at its other end by then.
const KNOWN_AFTER: Duration = Duration::from_secs(1);

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
    breaker_rules: BreakerRules,
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
    /// Since when.
    paused_scopes: BTreeMap<Arc<str>, Timestamp>,
    crisis: Option<Crisis>,
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
            breaker_rules: rules.breaker,
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
            paused_scopes: BTreeMap::new(),
            crisis: None,
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

    /// From so much of a week's window on only critical calls spend it. In thousandths.
    pub fn set_week_reserve(&mut self, permille: u32) {
        self.quotas.set_week_reserve(permille);
        self.unpark_all();
    }

    /// Goes at once, waits, or learns why not and until when.
    pub fn offer(&mut self, demand: Demand, now: Now) -> Result<Verdict, Refusal> {
        self.refresh(now);
        let (mut waiter, terms) = self.waiter(demand, now);
        if self.is_paused(&waiter) {
            return self.stand_aside(waiter, now);
        }
        if let Some(refusal) = self.spent_beyond(&waiter, now).or_else(|| self.broken_beyond(&waiter, now)) {
            return Err(refusal);
        }
        let (wait, by, covered) = self.wait(&waiter, terms.need, now.instant);
        if wait == Wait::None && self.busy.is_empty() && !self.is_shut(&waiter, now) {
            return Ok(Verdict::Go(self.grant(waiter, terms, covered, now)));
        }
        let met = self.meets(&waiter, wait, by, now);
        waiter.met = Some(met.map_err(|refusal| self.broken(&waiter, now).unwrap_or(refusal))?);
        if self.waiters.len() >= self.queue_max && !self.make_room(&waiter) {
            return Err(Refusal::QueueFull { waiting: self.waiters.len() });
        }
        Ok(Verdict::Wait(self.enqueue(waiter)))
    }

    /// The calls whose wait has ended at `now`, in the order in which they may go.
    /// Call it at `next_wake` and after any other verb.
    pub fn decide(&mut self, now: Now) -> Vec<Decision> {
        self.refresh(now);
        let mut decided = self.told_refused();
        decided.extend(self.admit(now));
        decided.extend(self.expire(now));
        // One that goes ahead leaves others behind that can go elsewhere.
        decided.extend(self.told_refused());
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
        self.probe_ended(&ticket);
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
            Spent::Lost { usage } => (Some(usage), None),
        };
        let cache_reads_count = group.cache_reads_count;
        let used = usage.map(|usage| counted(&usage.tokens, cache_reads_count));
        let now_used = match spent {
            // It broke off, and the upstream may learn of that later than we.
            Spent::Presumed { .. } | Spent::Lost { .. } => used.map(|used| used.or_more(ticket.need)),
            Spent::Told { .. } | Spent::Nothing => used,
        };
        for id in &ticket.taken {
            self.resources.settle(*id, ticket.need, now_used, ticket.covered_by, ticket.sent, now.instant);
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
        let booked = usage.filter(|_| !matches!(spent, Spent::Lost { .. }));
        self.settle_quotas(&ticket, booked, cost, now);
    }

    /// A running call is sent once more, and what it was sent before may be counted too.
    pub fn takes_again(&mut self, ticket: &Ticket, now: Now) {
        for id in &ticket.taken {
            self.resources.take_again(*id, ticket.need, ticket.covered_by, now.instant);
        }
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

    fn told_refused(&mut self) -> Vec<Decision> {
        self.refused.drain(..).map(|(waiter, why)| (waiter, Err(why))).collect()
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
        // A limit on growth tells its own time.
        let is_told = refill_is_told || limited.ramp;
        gate.limited(limited, if is_told { Duration::ZERO } else { buffer }, now);
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

    fn grant(&mut self, waiter: Waiter, terms: Terms, covered: bool, now: Now) -> Ticket {
        let Waiter { asked, lane, row, quotas, met, .. } = waiter;
        let Terms { need, prompt, cached, worst_cost, .. } = terms;
        let covered_by = if covered { asked.reservation } else { None };
        let taken: Vec<ResourceId> = self.draws_on(lane).collect();
        for id in &taken {
            self.resources.take(*id, need, covered_by, now.instant);
        }
        self.groups[self.lanes[lane.0].group].gate.passed(now.instant);
        let probe = self.pass_breaker(lane, now);
        self.running[asked.class as usize] += 1;
        self.slow_down(lane, row, need, now.instant);
        let reservation = asked.reservation.filter(|_| row == Row::Reserved);
        let paid = reservation.and_then(|id| self.use_reservation(id, worst_cost, need.size(), now.timestamp));
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
            kept: met.filter(|met| now.instant.since(met.at) >= KEPT_LEAST).map(|met| self.kept(met)),
            paid,
            probe,
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
        }
        if let Some(paid) = ticket.paid {
            self.pay_up(paid, cost, tokens, now.timestamp);
        }
        for id in ticket.quotas.iter() {
            self.unpark(*id);
        }
    }

    /// What keeps a call, which limit binds, and whether its reservation pays.
    fn wait(&self, waiter: &Waiter, need: Need, now: Instant) -> (Wait, Option<ResourceId>, bool) {
        let closed = self.closed(waiter.lane, now);
        let worst = |waits: &mut dyn Iterator<Item = (Wait, Option<ResourceId>)>| {
            waits.filter(|(wait, _)| *wait != Wait::None).fold((closed, None), std::cmp::Ord::max)
        };
        let limits = self.draws_on(waiter.lane).map(|id| (self.resources.wait(id, need, now), Some(id)));
        let common = worst(&mut limits.chain([self.slowdown(waiter, now)]));
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
        let quotas = self.quotas.of(&demand);
        let own = demand.reservation.filter(|id| self.holds_reservation(*id, &demand, lane));
        let is_paid = |id: &ReservationId| {
            self.has_running(*id) || self.unpaid(Some(*id), &quotas, demand.class, now.timestamp).is_none()
        };
        let row = match own.filter(is_paid) {
            Some(_) => Row::Reserved,
            None => Row::Of(demand.class),
        };
        let (asked, seat, raised, aside) = (Asked::of(demand), Seat::default(), false, false);
        let mut waiter = Waiter { asked, lane, row, seat, raised, aside, quotas, met: None, input: 0, output: 0 };
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
