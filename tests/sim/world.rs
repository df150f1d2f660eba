//! Clients, the machine, the network and the upstream in virtual time. One seed is one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{
    AccountId, Admission, Caching, Demand, Memory, Past, QuotaKey, Refusal, Reservation, ReservationAsk, ReservationId,
    Spent, Ticket, Unit, Verdict, WaiterId,
};
use domain::call::{CallId, Class};
use domain::config::{Budget, Pacing, Rules};
use domain::money::Usd;
use domain::time::{Instant, Now, Timestamp};
use domain::usage::{Tokens, Usage};
use fastrand::Rng;

use crate::clients::{Client, Made};
use crate::headers::{self, HeaderFaults};
use crate::upstream::{Asked, Head, Limits, MINUTE, Manner, SECOND, Upstream};
use crate::watch::Watch;

/// A Wednesday, 14:13 in UTC.
pub(crate) const WALL_START: i64 = 1_790_000_000_000;
/// After so many answers 429 the client gets the last.
const LIMITED_MAX: u32 = 3;
const REMEMBERED_EVERY: u64 = 10 * SECOND;
const REPLAYED: u64 = 3 * MINUTE;
/// By the upstream, from a prompt's last use on.
const CACHED_FOR: u64 = 5 * MINUTE;

/// Everything that makes a run.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) limits: Limits,
    pub(crate) manner: Manner,
    pub(crate) pacing: Pacing,
    pub(crate) rules: Rules,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) clients: Vec<Client>,
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) headers: HeaderFaults,
    pub(crate) others: Option<Others>,
    /// Between the decision and the socket.
    pub(crate) stall: u64,
    /// Milliseconds since 1970 at the start.
    pub(crate) wall: i64,
    /// What the pacing clock shows at the start.
    pub(crate) booted: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Limits(Limits),
    /// The upstream refuses everything for a while.
    Storm(u64),
    /// The wall clock jumps, in milliseconds.
    Clock(i64),
    Suspend(u64),
    /// All that is not remembered is lost.
    Crash {
        down: u64,
        reboot: bool,
    },
    Pause(Class),
    Resume(Class),
    Reserve {
        client: usize,
        id: ReservationId,
        calls: u64,
        input: u64,
        output: u64,
        ttl: u64,
    },
    Release {
        client: usize,
        id: ReservationId,
    },
}

/// Another program on the same key.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Calls that come together, so often.
    pub(crate) burst: u64,
    pub(crate) every: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Arrives(usize),
    HangsUp(usize),
    Departs(usize, u32),
    Reaches(usize, u32),
    Answers(usize, u32),
    Refuses(usize, u32),
    Finishes(usize, u32),
    Ends(usize, u32),
    Wakes(u64),
    Fault(usize),
    Others,
    Remembers,
    Starts,
}

impl Event {
    /// Happens on our machine: not while it sleeps.
    fn is_ours(self) -> bool {
        !matches!(self, Event::Reaches(..) | Event::Finishes(..) | Event::Fault(_) | Event::Others | Event::Starts)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Served,
    Deadline,
    Quota,
    Held,
    QueueFull,
    Paused,
    HungUp,
    /// The client got the upstream's 429.
    Limited,
    /// With the process, or before it was there.
    Lost,
}

pub(crate) struct Call {
    pub(crate) client: usize,
    pub(crate) made: Made,
    pub(crate) since: u64,
    pub(crate) deadline: u64,
    pub(crate) attempts: u32,
    pub(crate) went: Option<u64>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) waits: Option<WaiterId>,
    pub(crate) end: Option<End>,
    pub(crate) ended_at: u64,
    head: Option<Head>,
    opened_at: Timestamp,
    reached: Option<u64>,
    refused_as: Option<crate::upstream::No>,
}

pub(crate) struct World {
    rng: Rng,
    pub(crate) admission: Admission,
    pub(crate) account: AccountId,
    pub(crate) upstream: Upstream,
    pub(crate) clients: Vec<Client>,
    pub(crate) calls: Vec<Call>,
    pub(crate) now: u64,
    pub(crate) waiting: BTreeMap<WaiterId, usize>,
    pub(crate) watch: Watch,
    pub(crate) reservations: Vec<Result<Reservation, String>>,
    pub(crate) spent: Spending,
    /// How often which was given, for a client; the text tells all but the moment.
    pub(crate) refusals: BTreeMap<(usize, String), u64>,
    pub(crate) pacing: Pacing,
    rules: Rules,
    budgets: Vec<Budget>,
    agenda: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    armed: Option<u64>,
    faults: Vec<Fault>,
    headers: HeaderFaults,
    others: Option<Others>,
    stall: u64,
    wall: i64,
    wall_off: i64,
    /// What the pacing clock shows beside `now`.
    booted: i64,
    asleep_until: u64,
    /// By client and conversation: when it came last, and how much was written.
    cache: BTreeMap<(usize, u32), (u64, u64)>,
    down: bool,
    remembered: Option<Memory>,
    /// Of the last minutes, as the ledger has them.
    ledger: VecDeque<Past>,
    pub(crate) trace: u64,
    pub(crate) loud: bool,
}

/// What the ledger has summed up, for the quotas after a restart.
#[derive(Default)]
pub(crate) struct Spending {
    pub(crate) entries: Vec<(Timestamp, usize, Usd, u64)>,
    keep: bool,
}

impl World {
    pub(crate) fn new(setup: Setup) -> World {
        let mut admission = Admission::new(&setup.rules);
        let account = admission.add_account("upstream".into(), setup.pacing.clone());
        let keep = !setup.budgets.is_empty() || !setup.pacing.windows.is_empty();
        let mut world = World {
            rng: Rng::with_seed(setup.seed),
            admission,
            account,
            upstream: Upstream::new(setup.limits, setup.manner),
            clients: setup.clients,
            calls: vec![],
            now: 0,
            waiting: BTreeMap::new(),
            watch: Watch::new(&setup.pacing, setup.rules.queue_max),
            reservations: vec![],
            refusals: BTreeMap::new(),
            spent: Spending { keep, ..Spending::default() },
            pacing: setup.pacing,
            rules: setup.rules,
            budgets: setup.budgets,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            armed: None,
            faults: vec![],
            headers: setup.headers,
            others: setup.others,
            stall: setup.stall,
            wall: setup.wall,
            wall_off: 0,
            booted: i64::try_from(setup.booted).expect("a short uptime"),
            asleep_until: 0,
            cache: BTreeMap::new(),
            down: false,
            remembered: None,
            ledger: VecDeque::new(),
            trace: setup.seed,
            loud: false,
        };
        let now = world.clock();
        world.admission.set_budgets(&world.budgets, now);
        world.plan(setup.faults);
        world
    }

    fn plan(&mut self, faults: Vec<(u64, Fault)>) {
        for client in 0..self.clients.len() {
            for at in self.clients[client].starts() {
                self.schedule(at, Event::Arrives(client));
            }
        }
        for (at, fault) in faults {
            self.schedule(at, Event::Fault(self.faults.len()));
            self.faults.push(fault);
        }
        if self.faults.iter().any(|fault| matches!(fault, Fault::Crash { .. })) {
            self.schedule(REMEMBERED_EVERY, Event::Remembers);
        }
        if let Some(others) = &self.others {
            self.schedule(others.from, Event::Others);
        }
    }

    /// Until nothing is left to happen.
    pub(crate) fn run(&mut self) {
        self.run_until(u64::MAX);
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, event))) = self.agenda.peek().copied().filter(|Reverse((at, ..))| *at <= end) {
            self.agenda.pop();
            self.now = at;
            if event.is_ours() && at < self.asleep_until {
                self.schedule(self.asleep_until, event);
            } else {
                self.happens(event);
            }
        }
        if end != u64::MAX {
            self.now = end;
        }
    }

    /// Both clocks of the machine.
    pub(crate) fn clock(&self) -> Now {
        self.clock_at(self.now)
    }

    pub(crate) fn clock_at(&self, now: u64) -> Now {
        let millis = i64::try_from(now / 1_000_000).expect("a short run");
        Now { instant: self.instant(now), timestamp: Timestamp::from_millis(self.wall + self.wall_off + millis) }
    }

    pub(crate) fn instant(&self, now: u64) -> Instant {
        Instant::from_nanos(now.saturating_add_signed(self.booted))
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at, self.scheduled, event)));
    }

    fn happens(&mut self, event: Event) {
        self.note(event);
        match event {
            Event::Arrives(client) => self.arrives(client),
            Event::HangsUp(call) => self.hangs_up(call),
            Event::Departs(call, attempt) => self.departs(call, attempt),
            Event::Reaches(call, attempt) => return self.reaches(call, attempt),
            Event::Answers(call, attempt) => self.answers(call, attempt),
            Event::Refuses(call, attempt) => self.refuses(call, attempt),
            Event::Finishes(call, attempt) => return self.finishes(call, attempt),
            Event::Ends(call, attempt) => self.ends(call, attempt),
            Event::Wakes(at) if self.armed == Some(at) => self.armed = None,
            Event::Wakes(_) => return,
            Event::Fault(index) => self.strikes(index),
            Event::Others => return self.others_call(),
            Event::Remembers => self.remembers(),
            Event::Starts => self.starts(),
        }
        self.turn();
    }

    fn arrives(&mut self, client: usize) {
        let now = self.now;
        let made = self.clients[client].make();
        if let Some(next) = self.clients[client].next(now) {
            // What should have come while the machine slept comes now.
            self.schedule(next.max(now), Event::Arrives(client));
        }
        let id = self.calls.len();
        self.calls.push(Call {
            client,
            made,
            since: now,
            deadline: now.saturating_add(self.clients[client].patience),
            attempts: 0,
            went: None,
            ticket: None,
            waits: None,
            end: None,
            ended_at: 0,
            head: None,
            opened_at: Timestamp::default(),
            reached: None,
            refused_as: None,
        });
        if self.down {
            return self.end(id, End::Lost);
        }
        if let Some(after) = made.hangs_up {
            self.schedule(now + after, Event::HangsUp(id));
        }
        self.offer(id);
    }

    fn demand(&self, id: usize) -> Demand {
        let Call { client, made, since, deadline, .. } = &self.calls[id];
        let client = &self.clients[*client];
        Demand {
            call: CallId::new(Timestamp::default(), id as u128),
            account: self.account,
            model: client.model.clone(),
            fast: false,
            class: client.class,
            client: client.name.clone(),
            weight: client.weight,
            max_share: client.max_share,
            tenant: made.tenant.map(|tenant| format!("tenant-{tenant}").into()),
            person: None,
            project: None,
            session: None,
            shape: made.shape,
            max_tokens: Some(made.max_tokens),
            caching: if made.talk.is_some() { Caching::FiveMinutes } else { Caching::None },
            price: client.price.clone(),
            reservation: client.reservation,
            since: self.instant(*since),
            deadline: self.instant(*deadline),
            has_fallback: false,
        }
    }

    fn offer(&mut self, id: usize) {
        let now = self.clock();
        match self.admission.offer(self.demand(id), now) {
            Ok(Verdict::Go(ticket)) => self.goes(id, ticket),
            Ok(Verdict::Wait(waiter)) => {
                self.waiting.insert(waiter, id);
                self.calls[id].waits = Some(waiter);
                let need = if self.watch.wants_needs() { self.need(id) } else { (0, 0) };
                let class = self.clients[self.calls[id].client].class;
                self.watch.waits(id, &self.calls[id], class, need);
            }
            Err(refusal) => self.refused(id, &refusal),
        }
    }

    /// What a call would take, as it is estimated now.
    pub(crate) fn need(&mut self, id: usize) -> (u64, u64) {
        let outlook = self.admission.outlook(self.demand(id), self.clock());
        self.watch.need_of(&self.calls[id], &outlook)
    }

    /// Output that the upstream has left beyond all that running calls were granted: nobody tells how much of an answer is
    /// produced already.
    pub(crate) fn output_nobody_holds(&mut self) -> u64 {
        let granted =
            self.calls.iter().filter_map(|call| call.ticket.as_ref()).map(|ticket| ticket.reserved().tokens.output);
        let granted: u64 = granted.sum();
        self.upstream.output_left(self.now).saturating_sub(granted)
    }

    /// What admission has to say now, and when it wants to be asked again.
    fn turn(&mut self) {
        if self.down {
            return;
        }
        let now = self.clock();
        let mut went = vec![];
        for (waiter, decision) in self.admission.decide(now) {
            let id = self.waiting.remove(&waiter).expect("only those who wait are decided on, and once");
            self.calls[id].waits = None;
            self.watch.waits_no_more(id);
            match decision {
                Ok(ticket) => {
                    went.push(id);
                    self.goes(id, ticket);
                }
                Err(refusal) => self.refused(id, &refusal),
            }
        }
        self.arm(now);
        Watch::after_every_event(self, &went);
    }

    fn arm(&mut self, now: Now) {
        let Some(wake) = self.admission.next_wake(now) else {
            self.armed = None;
            return;
        };
        assert!(wake > now.instant, "admission must have decided what it could, and has not at {}", self.now);
        let at = self.now.saturating_add(u64::try_from(wake.since(now.instant).as_nanos()).unwrap_or(u64::MAX));
        // Wall clocks jump: who sleeps longer than a second looks again.
        let at = at.min(self.now + SECOND * 60);
        if self.armed != Some(at) {
            self.armed = Some(at);
            self.schedule(at, Event::Wakes(at));
        }
    }

    fn goes(&mut self, id: usize, ticket: Ticket) {
        let class = self.clients[self.calls[id].client].class;
        self.watch.goes(id, &self.calls[id], class, &ticket, self.now, self.asleep_until);
        self.watch.runs(id, class);
        let opened_at = self.clock().timestamp;
        if self.loud {
            let (reserved, made) = (ticket.reserved().tokens, self.calls[id].made);
            eprintln!("            goes with {} + {} reserved: {made:?}", reserved.input, reserved.output);
        }
        let call = &mut self.calls[id];
        call.went.get_or_insert(self.now);
        call.attempts += 1;
        (call.ticket, call.opened_at, call.head, call.reached) = (Some(ticket), opened_at, None, None);
        let (attempt, way) = (call.attempts, call.made.delay.0);
        if self.stall > 0 {
            let stall = self.rng.u64(..self.stall);
            self.schedule(self.now + stall, Event::Departs(id, attempt));
            self.schedule(self.now + stall + way, Event::Reaches(id, attempt));
        } else {
            self.departs(id, attempt);
            self.schedule(self.now + way, Event::Reaches(id, attempt));
        }
    }

    fn departs(&mut self, id: usize, attempt: u32) {
        let now = self.clock().instant;
        if let Some(ticket) = self.calls[id].ticket.as_ref().filter(|_| self.calls[id].attempts == attempt) {
            self.admission.departs(ticket, now);
        }
    }

    fn reaches(&mut self, id: usize, attempt: u32) {
        let now = self.now;
        self.find_in_cache(id);
        let Made { input, output, max_tokens, lasts, delay, stream, .. } = self.calls[id].made;
        let answer = self.upstream.receive(key(id, attempt), Asked { input, max_tokens, output, lasts }, now);
        let is_current = self.calls[id].attempts == attempt && self.calls[id].ticket.is_some();
        match answer {
            Ok(()) if !is_current => self.schedule(now + delay.1, Event::Finishes(id, attempt)),
            Ok(()) => {
                self.calls[id].reached = Some(now);
                self.calls[id].head = Some(self.upstream.head(now));
                if stream {
                    let late = headers::lateness(&self.headers, &mut self.rng);
                    self.schedule(now + delay.1 + late.min(lasts), Event::Answers(id, attempt));
                }
                self.schedule(now + lasts, Event::Finishes(id, attempt));
            }
            Err(no) => {
                if self.loud {
                    let theirs = self.upstream.head(now).limits;
                    let ours = self.admission.levels(self.clock());
                    eprintln!("            the upstream refuses call {id}: {no:?}\n{theirs:?}\n{ours:?}");
                }
                self.watch.upstream_refused(no, now);
                self.calls[id].head = Some(self.upstream.head(now));
                self.calls[id].refused_as = Some(no);
                self.schedule(now + delay.1, Event::Refuses(id, attempt));
            }
        }
    }

    /// What of a conversation's prompt the cache has now, if it came this far within five minutes.
    fn find_in_cache(&mut self, id: usize) {
        let Call { client, made, .. } = &mut self.calls[id];
        let Some(talk) = made.talk else { return };
        let prompt = made.input + made.cached;
        let kept = self.cache.entry((*client, talk)).or_default();
        let found = if self.now < kept.0 + CACHED_FOR { kept.1.min(made.cached) } else { 0 };
        (made.input, made.cached) = (prompt - found, found);
        *kept = (self.now, if self.now < kept.0 + CACHED_FOR { kept.1.max(prompt) } else { prompt });
    }

    fn answers(&mut self, id: usize, attempt: u32) {
        if self.is_running(id, attempt) {
            self.observe(id);
        }
    }

    fn observe(&mut self, id: usize) {
        let now = self.clock();
        let Some(head) = &self.calls[id].head else { return };
        let start = self.wall;
        let true_end = |ends: u64| true_time(start, ends);
        let readings = headers::readings(head, &self.headers, &mut self.rng, true_end);
        if let Some(ticket) = &self.calls[id].ticket {
            self.admission.observe(ticket, &readings, now);
        }
    }

    fn refuses(&mut self, id: usize, attempt: u32) {
        if !self.is_running(id, attempt) {
            return;
        }
        let now = self.clock();
        let call = &self.calls[id];
        let (Some(head), Some(no)) = (&call.head, call.refused_as) else { return };
        let start = self.wall;
        let true_end = |ends: u64| true_time(start, ends);
        let readings = headers::refusal(head, no, &self.headers, &mut self.rng, true_end);
        let Some(ticket) = self.calls[id].ticket.take() else { return };
        self.admission.observe(&ticket, &readings, now);
        self.watch.settled(id);
        self.admission.settle(ticket, Spent::Nothing, now);
        if attempt >= LIMITED_MAX || readings.limited.is_none() {
            self.end(id, End::Limited);
        } else {
            self.offer(id);
        }
    }

    fn finishes(&mut self, id: usize, attempt: u32) {
        self.upstream.finish(key(id, attempt), self.now);
        if self.is_running(id, attempt) {
            if !self.calls[id].made.stream && self.headers.tell_the_end {
                self.calls[id].head = Some(self.upstream.head(self.now));
            }
            self.schedule(self.now + self.calls[id].made.delay.1, Event::Ends(id, attempt));
        }
    }

    fn ends(&mut self, id: usize, attempt: u32) {
        if !self.is_running(id, attempt) {
            return;
        }
        if !self.calls[id].made.stream {
            self.observe(id);
        }
        let made = &self.calls[id].made;
        let usage = usage(made, made.output);
        self.settle(id, &usage, true);
        self.end(id, End::Served);
    }

    fn settle(&mut self, id: usize, usage: &Usage, told: bool) {
        let now = self.clock();
        let Some(ticket) = self.calls[id].ticket.take() else { return };
        let client = self.calls[id].client;
        let cost = self.clients[client].price.as_ref().map(|price| price.cost(usage));
        let past = self.past(id, &ticket, *usage, false);
        self.ledger.push_back(past);
        while self
            .ledger
            .front()
            .is_some_and(|past| now.timestamp.since(past.opened_at).as_nanos() > u128::from(2 * REPLAYED))
        {
            self.ledger.pop_front();
        }
        if self.spent.keep {
            let tokens = usage.tokens.prompt() - usage.tokens.cache_read + usage.tokens.output;
            self.spent.entries.push((now.timestamp, client, cost.unwrap_or_default(), tokens));
            self.watch.cost(cost.unwrap_or_default(), tokens);
        }
        self.watch.settled_with(id, usage, &ticket, self.now);
        let spent = if told { Spent::Told { usage, cost } } else { Spent::Presumed { usage, cost } };
        self.admission.settle(ticket, spent, now);
    }

    fn past(&self, id: usize, ticket: &Ticket, usage: Usage, interrupted: bool) -> Past {
        Past {
            account: "upstream".into(),
            model: self.clients[self.calls[id].client].model.clone(),
            fast: false,
            opened_at: self.calls[id].opened_at,
            usage,
            reserved: ticket.reserved(),
            interrupted,
        }
    }

    /// One who waits leaves without a trace; one who runs is settled on what was seen of its answer.
    fn hangs_up(&mut self, id: usize) {
        if self.calls[id].end.is_some() {
            return;
        }
        if let Some(waiter) = self.calls[id].waits.take() {
            self.waiting.remove(&waiter);
            self.watch.waits_no_more(id);
            self.admission.cancel(waiter);
        } else {
            let usage = self.seen(id);
            let (attempt, way) = (self.calls[id].attempts, self.calls[id].made.delay.0);
            if self.calls[id].reached.is_some() {
                self.schedule(self.now + way, Event::Finishes(id, attempt));
            }
            self.settle(id, &usage, false);
        }
        self.end(id, End::HungUp);
    }

    /// What the machine knows of a running call.
    fn seen(&self, id: usize) -> Usage {
        let call = &self.calls[id];
        let reserved = call.ticket.as_ref().map(Ticket::reserved).unwrap_or_default();
        let Some(reached) = call.reached.filter(|_| call.made.stream) else { return reserved };
        let share = (self.now - reached) as f64 / call.made.lasts as f64;
        usage(&call.made, (call.made.output as f64 * share.min(1.0)) as u64)
    }

    fn is_running(&self, id: usize, attempt: u32) -> bool {
        self.calls[id].ticket.is_some() && self.calls[id].attempts == attempt && !self.down
    }

    fn refused(&mut self, id: usize, refusal: &Refusal) {
        Watch::judge(self, id, refusal);
        if let Some(form) = form(refusal) {
            *self.refusals.entry((self.calls[id].client, form)).or_default() += 1;
        }
        let end = match refusal {
            Refusal::Deadline { .. } => End::Deadline,
            Refusal::Quota(_) => End::Quota,
            Refusal::Held { .. } => End::Held,
            Refusal::QueueFull { .. } => End::QueueFull,
            Refusal::Paused { .. } => End::Paused,
            Refusal::ScopePaused { .. } => panic!("nobody pauses a client here"),
            Refusal::BreakerOpen { .. } => panic!("nobody tells here how calls fared"),
            Refusal::Emergency { .. } => panic!("there is no emergency here"),
            Refusal::Dropped => panic!("nobody drops calls here"),
        };
        // Its client gets the last 429 where it had one.
        self.end(id, if self.calls[id].attempts > 0 { End::Limited } else { end });
    }

    fn end(&mut self, id: usize, end: End) {
        let call = &mut self.calls[id];
        assert_eq!(call.end, None, "call {id} ends once");
        assert!(call.ticket.is_none() && call.waits.is_none(), "call {id} ends with nothing in its hands");
        (call.end, call.ended_at) = (Some(end), self.now);
        let client = call.client;
        if let Some(at) = self.clients[client].after_an_end(self.now) {
            self.schedule(at, Event::Arrives(client));
        }
    }

    fn strikes(&mut self, index: usize) {
        let now = self.clock();
        let fault = self.faults[index].clone();
        if self.loud {
            eprintln!("            {fault:?}");
        }
        self.watch.fault(&fault, self.now);
        match fault {
            Fault::Limits(limits) => self.upstream.set_limits(limits, self.now),
            Fault::Storm(length) => self.upstream.storm(self.now + length),
            Fault::Clock(millis) => self.wall_off += millis,
            Fault::Suspend(length) => self.asleep_until = self.asleep_until.max(self.now + length),
            Fault::Crash { down, reboot } => self.crashes(down, reboot),
            Fault::Pause(class) if !self.down => self.admission.pause(class),
            Fault::Resume(class) if !self.down => self.admission.resume(class),
            Fault::Pause(_) | Fault::Resume(_) => {}
            Fault::Reserve { client, id, calls, input, output, ttl } => {
                let ask = ReservationAsk {
                    id,
                    client: self.clients[client].name.clone(),
                    account: self.account,
                    model: self.clients[client].model.clone(),
                    calls,
                    input_tokens: input,
                    output_tokens: output,
                    ttl: Duration::from_nanos(ttl),
                    price: self.clients[client].price.clone(),
                };
                let held = self.admission.reserve(ask, now).map_err(|why| format!("{why:?}"));
                if held.is_ok() {
                    self.clients[client].reservation = Some(id);
                }
                self.reservations.push(held);
            }
            Fault::Release { client, id } => {
                let name = self.clients[client].name.clone();
                self.admission.release_reservation(id, &name, now);
            }
        }
    }

    fn crashes(&mut self, down: u64, reboot: bool) {
        if self.down {
            return;
        }
        self.down = true;
        for id in std::mem::take(&mut self.waiting).into_values() {
            self.calls[id].waits = None;
            self.watch.waits_no_more(id);
            self.end(id, End::Lost);
        }
        let running: Vec<usize> = (0..self.calls.len()).filter(|id| self.calls[*id].ticket.is_some()).collect();
        for id in running {
            let usage = self.seen(id);
            let Some(ticket) = self.calls[id].ticket.take() else { continue };
            let past = self.past(id, &ticket, usage, true);
            self.ledger.push_back(past);
            let (attempt, way) = (self.calls[id].attempts, self.calls[id].made.delay.0);
            if self.calls[id].reached.is_some() {
                self.schedule(self.now + way, Event::Finishes(id, attempt));
            }
            self.end(id, End::Lost);
        }
        self.watch.crashed();
        self.armed = None;
        if reboot {
            // The pacing clock begins anew.
            self.booted = -i64::try_from(self.now).expect("a short run");
        }
        self.schedule(self.now + down, Event::Starts);
    }

    /// A new process, with what the old one wrote down.
    fn starts(&mut self) {
        self.down = false;
        let now = self.clock();
        let mut admission = Admission::new(&self.rules);
        self.account = admission.add_account("upstream".into(), self.pacing.clone());
        admission.set_budgets(&self.budgets, now);
        if let Some(memory) = self.remembered.clone() {
            admission.recall(memory, now);
        }
        admission.replay(self.ledger.iter().cloned().collect(), now);
        self.admission = admission;
        for level in self.admission.quotas(now) {
            if level.unit != Unit::Percent && level.resets_at > Timestamp::default() {
                let used = self.spent_of(&level.key, level.unit, level.since);
                self.admission.count(&level.key, used);
            }
        }
    }

    /// As the ledger sums it up.
    pub(crate) fn spent_of(&self, key: &QuotaKey, unit: Unit, since: Timestamp) -> i64 {
        let counts = |client: usize| match key {
            QuotaKey::Window { .. } => true,
            QuotaKey::Budget { scope, .. } => match scope {
                domain::config::Scope::Machine => true,
                domain::config::Scope::Client(name) => *name == self.clients[client].name,
                domain::config::Scope::Person(_)
                | domain::config::Scope::Project(_)
                | domain::config::Scope::Tenant(_) => false,
            },
        };
        let entries = self.spent.entries.iter().filter(|(at, client, ..)| *at >= since && counts(*client));
        entries
            .map(|(_, _, cost, tokens)| match unit {
                Unit::Usd => cost.as_nanos(),
                Unit::Tokens | Unit::Percent => i64::try_from(*tokens).expect("few tokens"),
            })
            .sum()
    }

    fn remembers(&mut self) {
        if !self.down {
            let now = self.clock();
            self.remembered = Some(self.admission.remember(now));
        }
        if !self.agenda.is_empty() {
            self.schedule(self.now + REMEMBERED_EVERY, Event::Remembers);
        }
    }

    fn others_call(&mut self) {
        let Some(Others { to, burst, every, input, output, .. }) = self.others.clone() else { return };
        for _ in 0..burst {
            self.upstream.receive_from_others(input, output, self.now);
        }
        let next = self.now + every / 2 + self.rng.u64(..=every);
        if next < to {
            self.schedule(next, Event::Others);
        }
    }

    fn note(&mut self, event: Event) {
        let (kind, id) = match event {
            Event::Arrives(id) => (1, id),
            Event::HangsUp(id) => (2, id),
            Event::Departs(id, _) => (3, id),
            Event::Reaches(id, _) => (4, id),
            Event::Answers(id, _) => (5, id),
            Event::Refuses(id, _) => (6, id),
            Event::Finishes(id, _) => (7, id),
            Event::Ends(id, _) => (8, id),
            Event::Wakes(_) => (9, 0),
            Event::Fault(id) => (10, id),
            Event::Others => (11, 0),
            Event::Remembers => (12, 0),
            Event::Starts => (13, 0),
        };
        for word in [self.now, kind, id as u64] {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
        }
        if self.loud {
            let theirs: Vec<u64> = self.upstream.head(self.now).limits.iter().map(|told| told.remaining).collect();
            let ours: Vec<u64> = self.admission.levels(self.clock()).iter().map(|level| level.level).collect();
            eprintln!("{:>10.3} s  {event:?}: {theirs:?} left of theirs, {ours:?} of ours", self.now as f64 / 1e9);
        }
    }
}

/// A refusal without what differs from call to call.
fn form(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Quota(spent) => Some(format!(
            "{:?} of {} {}{}, until {}",
            spent.key,
            spent.limit,
            spent.unit.name(),
            if spent.critical_only { ", the rest is for critical calls" } else { "" },
            spent.resets_at,
        )),
        Refusal::Held { window, opens } => Some(format!("{window} is held until {opens}")),
        Refusal::Deadline { .. }
        | Refusal::QueueFull { .. }
        | Refusal::Paused { .. }
        | Refusal::ScopePaused { .. }
        | Refusal::BreakerOpen { .. }
        | Refusal::Emergency { .. }
        | Refusal::Dropped => None,
    }
}

/// Names an attempt to the upstream.
fn key(id: usize, attempt: u32) -> usize {
    id * 8 + attempt as usize
}

/// The wall clock as the rest of the world has it.
fn true_time(start: i64, now: u64) -> Timestamp {
    Timestamp::from_millis(start + i64::try_from(now / 1_000_000).expect("a short run"))
}

/// What an answer of so much output says was used.
fn usage(made: &Made, output: u64) -> Usage {
    // The first turn of a conversation is written into the cache too.
    let (input, written) = if made.talk.is_some() { (0, made.input) } else { (made.input, 0) };
    let tokens = Tokens { input, cache_write_5m: written, cache_read: made.cached, output, ..Tokens::default() };
    Usage { tokens, ..Usage::default() }
}

/// What paces us where all that is known is a tier's row.
pub(crate) fn presuming(limits: Limits, counting: crate::upstream::Counting) -> Pacing {
    use domain::tier::{GroupLimits, MinuteLimits, OutputCounting, Scheme, Tier};
    let limits = MinuteLimits {
        requests: Some(limits.requests),
        input_tokens: Some(limits.input),
        output_tokens: Some(limits.output),
    };
    let row = GroupLimits { groups: vec!["sonnet-4".into()], limits, cache_reads_count: false };
    let tier = Tier { name: "1".into(), deposit: None, monthly_cap: None, rows: vec![row] };
    let output = match counting {
        crate::upstream::Counting::Reserved => OutputCounting::Reserved,
        crate::upstream::Counting::AsProduced => OutputCounting::AsProduced,
    };
    let scheme = Scheme {
        name: "made up".into(),
        valid_from: Timestamp::default(),
        output,
        tiers: vec![tier],
        source: "tests/sim".into(),
    };
    Pacing {
        presumed: Some((Arc::new(scheme), 0)),
        written: vec![],
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::from_secs(30),
        windows: vec![],
    }
}
