//! What must hold after every event, whatever the seed.

use std::collections::{BTreeMap, BTreeSet};

use domain::admission::{Outlook, QuotaKey, Refusal, Ticket, Unit};
use domain::call::Class;
use domain::config::Pacing;
use domain::money::Usd;
use domain::tier::OutputCounting;
use domain::time::Timestamp;
use domain::usage::Usage;

use crate::upstream::{Limits, MINUTE, No};
use crate::world::{Call, Fault, World};

/// A guard that learns goes no lower.
const GUARD_LEAST: f64 = 0.8;
/// Whole-queue figures cost their length, so they are looked at only now and then.
const NOW_AND_THEN: u64 = 499;

/// Which promises hold in this run beside those that always do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// Nobody else draws and no limit falls: the upstream refuses nothing.
    pub(crate) no_refusals: bool,
    /// Only the minute's limits keep calls: nothing that fits waits longer than this.
    pub(crate) idle_at_most: Option<u64>,
    /// Nothing but urgency decides who goes first.
    pub(crate) class_order: bool,
    /// Those of one class who all wait are served alike.
    pub(crate) fair: bool,
    /// The wall clock goes evenly: quotas are what the ledger sums up.
    pub(crate) exact_quotas: bool,
}

pub(crate) struct Watch {
    pub(crate) promises: Promises,
    /// Of the upstream, in which minute.
    pub(crate) refused_at: Vec<(u64, No)>,
    pub(crate) most_waiting: usize,
    output_reserved: bool,
    queue_max: usize,
    events: u64,
    running: [usize; 3],
    in_flight: BTreeMap<usize, Class>,
    waiting: BTreeMap<usize, Need>,
    waiting_of: [usize; 3],
    deadlines: BTreeSet<(u64, usize)>,
    inputs: BTreeMap<u64, usize>,
    outputs: BTreeMap<u64, usize>,
    shadow: Option<Shadow>,
    idle_since: Option<u64>,
    slept_until: u64,
    most_cost: Usd,
    most_tokens: u64,
    lines: BTreeMap<usize, Line>,
    served_of: [u64; 3],
    /// When lines were compared last, and what had been served of each class by then.
    compared_at: u64,
    served_before: [u64; 3],
    most_in_a_minute: u64,
}

#[derive(Clone, Copy, Debug)]
struct Need {
    input: u64,
    output: u64,
    class: Class,
    client: usize,
    deadline: u64,
}

/// A client's waiting calls.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    waiting: usize,
    /// Since when without a pause, and what its class had been served by then.
    since: u64,
    began: u64,
    served: u64,
    largest: u64,
}

/// The least that a careful program would let through, kept apart from what admission thinks.
#[derive(Clone, Debug)]
struct Shadow {
    interval: u64,
    next_request: u64,
    input: Level,
    output: Level,
}

#[derive(Clone, Debug)]
struct Level {
    limit: f64,
    level: f64,
    at: u64,
}

impl Level {
    fn full(limit: u64) -> Level {
        let limit = limit as f64 * GUARD_LEAST;
        Level { limit, level: limit, at: 0 }
    }

    fn take(&mut self, amount: f64, now: u64) {
        let refilled = self.limit * (now - self.at) as f64 / MINUTE as f64;
        self.level = (self.level + refilled).min(self.limit) - amount;
        self.level = self.level.min(self.limit);
        self.at = now;
    }

    fn holds(&mut self, amount: u64, now: u64) -> bool {
        self.take(0.0, now);
        self.level >= (amount as f64).min(self.limit)
    }
}

impl Watch {
    pub(crate) fn new(pacing: &Pacing, queue_max: usize) -> Watch {
        let scheme = pacing.presumed.as_ref();
        Watch {
            promises: Promises {
                no_refusals: false,
                idle_at_most: None,
                class_order: false,
                fair: false,
                exact_quotas: false,
            },
            refused_at: vec![],
            most_waiting: 0,
            output_reserved: scheme.is_some_and(|(scheme, _)| scheme.output == OutputCounting::Reserved),
            queue_max,
            events: 0,
            running: [0; 3],
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_of: [0; 3],
            deadlines: BTreeSet::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            shadow: None,
            idle_since: None,
            slept_until: 0,
            most_cost: Usd::ZERO,
            most_tokens: 0,
            lines: BTreeMap::new(),
            served_of: [0; 3],
            compared_at: 0,
            served_before: [0; 3],
            most_in_a_minute: 0,
        }
    }

    pub(crate) fn promise(&mut self, promises: Promises, limits: Limits) {
        self.promises = promises;
        self.shadow = promises.idle_at_most.map(|_| Shadow {
            interval: (MINUTE as f64 / (limits.requests as f64 * GUARD_LEAST)) as u64 + 1,
            next_request: 0,
            input: Level::full(limits.input),
            output: Level::full(limits.output),
        });
    }

    pub(crate) fn wants_needs(&self) -> bool {
        self.shadow.is_some()
    }

    /// What a call takes of the minute's tokens.
    pub(crate) fn need_of(&self, call: &Call, outlook: &Outlook) -> (u64, u64) {
        let output = if self.output_reserved { call.made.max_tokens } else { outlook.output.high };
        (outlook.input.high, output)
    }

    pub(crate) fn waits(&mut self, id: usize, call: &Call, class: Class, (input, output): (u64, u64)) {
        let need = Need { input, output, class, client: call.client, deadline: call.deadline };
        self.waiting.insert(id, need);
        self.most_waiting = self.most_waiting.max(self.waiting.len());
        self.waiting_of[class as usize] += 1;
        self.deadlines.insert((need.deadline, id));
        *self.inputs.entry(input).or_default() += 1;
        *self.outputs.entry(output).or_default() += 1;
        let began = self.served_of[class as usize];
        let line = self.lines.entry(call.client).or_default();
        if line.waiting == 0 {
            *line = Line { since: call.since, began, largest: line.largest, ..Line::default() };
        }
        line.waiting += 1;
    }

    pub(crate) fn waits_no_more(&mut self, id: usize) {
        let Some(need) = self.waiting.remove(&id) else { return };
        self.waiting_of[need.class as usize] -= 1;
        self.deadlines.remove(&(need.deadline, id));
        for (needs, amount) in [(&mut self.inputs, need.input), (&mut self.outputs, need.output)] {
            if let Some(count) = needs.get_mut(&amount) {
                *count -= 1;
                if *count == 0 {
                    needs.remove(&amount);
                }
            }
        }
        if let Some(line) = self.lines.get_mut(&need.client) {
            line.waiting -= 1;
        }
    }

    pub(crate) fn goes(&mut self, id: usize, call: &Call, class: Class, ticket: &Ticket, now: u64, asleep_until: u64) {
        self.slept_until = asleep_until;
        assert!(now <= call.deadline || asleep_until > call.deadline, "call {id} goes {} ns late", now - call.deadline);
        let reserved = ticket.reserved().tokens;
        if let Some(shadow) = &mut self.shadow {
            shadow.next_request = now + shadow.interval;
            shadow.input.take(reserved.input as f64, now);
            shadow.output.take(reserved.output as f64, now);
        }
        let line = self.lines.entry(call.client).or_default();
        let size = reserved.input + reserved.output;
        line.served += size;
        line.largest = line.largest.max(size);
        self.served_of[class as usize] += size;
    }

    pub(crate) fn runs(&mut self, id: usize, class: Class) {
        assert_eq!(self.in_flight.insert(id, class), None, "call {id} runs once at a time");
        self.running[class as usize] += 1;
    }

    pub(crate) fn settled(&mut self, id: usize) {
        let class = self.in_flight.remove(&id).expect("a ticket is settled once");
        self.running[class as usize] -= 1;
    }

    pub(crate) fn settled_with(&mut self, id: usize, usage: &Usage, ticket: &Ticket, now: u64) {
        self.settled(id);
        let reserved = ticket.reserved().tokens;
        if let Some(shadow) = &mut self.shadow {
            let input = usage.tokens.prompt() - usage.tokens.cache_read;
            shadow.input.take(input as f64 - reserved.input as f64, now);
            shadow.output.take(usage.tokens.output as f64 - reserved.output as f64, now);
        }
    }

    pub(crate) fn cost(&mut self, cost: Usd, tokens: u64) {
        self.most_cost = self.most_cost.max(cost);
        self.most_tokens = self.most_tokens.max(tokens);
    }

    pub(crate) fn upstream_refused(&mut self, no: No, now: u64) {
        self.refused_at.push((now, no));
        assert!(!self.promises.no_refusals, "the upstream refused a call that was ours to keep: {no:?}");
    }

    pub(crate) fn fault(&mut self, fault: &Fault, now: u64) {
        if let Fault::Suspend(length) = fault {
            self.slept_until = self.slept_until.max(now + length);
        }
        self.idle_since = None;
    }

    pub(crate) fn crashed(&mut self) {
        self.running = [0; 3];
        self.in_flight.clear();
        self.lines.clear();
        if let Some(shadow) = &mut self.shadow {
            // A new process takes again all that may have been taken: nobody promises more than the pace.
            shadow.input.level = -shadow.input.limit;
            shadow.output.level = -shadow.output.limit;
        }
    }

    pub(crate) fn after_every_event(world: &mut World, went: &[usize]) {
        world.watch.events += 1;
        let now = world.now;
        let watch = &world.watch;
        assert!(watch.waiting.len() <= watch.queue_max, "the queue is bounded");
        if let Some((deadline, id)) = watch.deadlines.first() {
            assert!(*deadline > now, "call {id} waits beyond its deadline");
        }
        watch.check_order(world, went);
        if world.watch.seems_idle(now) && Watch::all_fit(world) {
            panic!("{} calls wait while all of them would fit: {:?}", world.waiting.len(), world.watch.shadow);
        }
        world.watch.compare_lines(now, &world.clients);
        if world.watch.events.is_multiple_of(NOW_AND_THEN) {
            Watch::check_figures(world);
        }
    }

    fn check_order(&self, world: &World, went: &[usize]) {
        if !self.promises.class_order || self.waiting_of[Class::Critical as usize] == 0 {
            return;
        }
        for id in went {
            let class = world.clients[world.calls[*id].client].class;
            assert_eq!(class, Class::Critical, "call {id} overtook a critical one");
        }
    }

    /// Everyone who waits would have fitted for a while, as they were estimated when they came.
    fn seems_idle(&mut self, now: u64) -> bool {
        let (Some(shadow), Some(most)) = (&mut self.shadow, self.promises.idle_at_most) else { return false };
        let (Some((input, _)), Some((output, _))) = (self.inputs.last_key_value(), self.outputs.last_key_value())
        else {
            self.idle_since = None;
            return false;
        };
        let fits = now >= shadow.next_request && shadow.input.holds(*input, now) && shadow.output.holds(*output, now);
        if !fits {
            self.idle_since = None;
        }
        fits && now - *self.idle_since.get_or_insert(now) > most
    }

    /// And they would as they are estimated now, so whoever is first should have gone.
    fn all_fit(world: &mut World) -> bool {
        let (now, ids): (u64, Vec<usize>) = (world.now, world.waiting.values().copied().collect());
        // What refilled here while the upstream was full is not there: what running calls may produce must be.
        let free = if world.watch.output_reserved { u64::MAX } else { world.output_nobody_holds() };
        let fits = ids.into_iter().all(|id| {
            let (input, output) = world.need(id);
            let shadow = world.watch.shadow.as_mut().expect("it was asked");
            shadow.input.holds(input, now) && shadow.output.holds(output, now) && output <= free
        });
        if !fits {
            world.watch.idle_since = None;
        }
        fits
    }

    /// Over a minute in which several had calls waiting all the time, none got more than a call or two beyond the others.
    fn compare_lines(&mut self, now: u64, clients: &[crate::clients::Client]) {
        if !self.promises.fair || now < self.compared_at + MINUTE {
            return;
        }
        for class in Class::ALL {
            let before = self.served_before[*class as usize];
            self.most_in_a_minute = self.most_in_a_minute.max(self.served_of[*class as usize] - before);
            let all_along = self.lines.iter().filter(|(client, line)| {
                // Who comes back may have something to catch up with, as soon as its class is served.
                let caught_up = before.saturating_sub(line.began) >= self.most_in_a_minute;
                let long = line.since + 2 * MINUTE <= self.compared_at && caught_up;
                clients[**client].class == *class && line.waiting > 0 && long
            });
            let lines: Vec<Line> = all_along.map(|(_, line)| *line).collect();
            let served = || lines.iter().map(|line| line.served);
            let (Some(least), Some(most)) = (served().min(), served().max()) else { continue };
            let call = lines.iter().map(|line| line.largest).max().unwrap_or(0);
            assert!(most - least <= 3 * call, "unfair in a minute: {lines:?}");
        }
        self.compared_at = now;
        self.served_before = self.served_of;
        for line in self.lines.values_mut() {
            line.served = 0;
        }
    }

    fn check_figures(world: &mut World) {
        let now = world.clock();
        for class in Class::ALL {
            let queue = world.admission.queue(*class, now);
            let expected = (world.watch.waiting_of[*class as usize], world.watch.running[*class as usize]);
            assert_eq!((queue.waiting, queue.running), expected, "the figures of class {class}");
        }
        for level in world.admission.levels(now) {
            assert!(level.level <= level.guarded.max(level.limit), "{level:?}");
        }
        Watch::check_quotas(world);
    }

    fn check_quotas(world: &mut World) {
        let now = world.clock();
        for level in world.admission.quotas(now) {
            assert!(level.used >= 0 && level.reserved >= 0, "{level:?}");
            let one = match level.unit {
                Unit::Usd => world.watch.most_cost.as_nanos(),
                Unit::Tokens => i64::try_from(world.watch.most_tokens).expect("few tokens"),
                Unit::Percent => continue,
            };
            if world.watch.promises.exact_quotas {
                assert!(level.used <= level.limit + one, "beyond the limit and one call: {level:?}");
                let is_open = level.resets_at > now.timestamp && level.since > Timestamp::default();
                let booked = world.spent_of(&level.key, level.unit, level.since);
                assert!(!is_open || level.used == booked, "{level:?}, but the ledger has {booked}");
            }
        }
    }

    /// Is it a refusal that may be?
    pub(crate) fn judge(world: &World, id: usize, refusal: &Refusal) {
        let call = &world.calls[id];
        let slept = world.watch.slept_until > call.deadline;
        match refusal {
            Refusal::Deadline { not_before, .. } if world.now < call.deadline => {
                let hopeless = not_before.is_some_and(|at| at > world.instant(call.deadline));
                assert!(hopeless, "call {id} is refused before its deadline: {refusal:?}");
            }
            Refusal::Deadline { .. } | Refusal::Paused { .. } | Refusal::ScopePaused { .. } => {
                // One that a 429 sent back may have run until after it.
                let was_refused = call.attempts > 0;
                assert!(
                    world.now == call.deadline || slept || was_refused,
                    "call {id} is refused after its deadline: {refusal:?}"
                );
            }
            Refusal::Quota(spent) => {
                let is_over = spent.resets_at > world.clock().timestamp;
                assert!(is_over || matches!(spent.key, QuotaKey::Window { .. }), "{refusal:?}");
            }
            Refusal::QueueFull { waiting } => assert!(*waiting >= world.watch.queue_max, "{refusal:?}"),
            Refusal::Held { opens, .. } => assert!(*opens > world.clock().timestamp, "{refusal:?}"),
            Refusal::BreakerOpen { .. } | Refusal::Emergency { .. } | Refusal::Dropped => {}
        }
    }

    /// When everything has come to rest.
    pub(crate) fn at_the_end(world: &mut World) {
        let open = world.calls.iter().filter(|call| call.end.is_none()).count();
        assert_eq!((open, world.waiting.len(), world.watch.in_flight.len()), (0, 0, 0), "every call ends");
        Watch::check_figures(world);
    }
}
