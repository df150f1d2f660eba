//! One limit of a minute, or of calls at once: what it allows, what is taken, and where its figure comes from.
//!
//! Beside the bucket that calls take from stands a mirror: what the upstream has left by our own count. A reading that
//! is below everything the mirror showed since the call left means that somebody else draws on the limit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::demand::{AMOUNT_MAX, Measure, Need, ReservationId};
use super::guard::Guard;
use super::last_minute::LastMinute;
use super::outside::Outside;
use super::reading::Reading;
use super::refusal::{Binding, LimitSource};
use super::token_bucket::TokenBucket;
use super::view::{self, Level};
use super::{AccountId, KNOWN_AFTER};
use crate::config::Pacing;
use crate::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ResourceId(u32);

impl ResourceId {
    /// Its place among all levels.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    fn at(place: usize) -> ResourceId {
        ResourceId(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

/// What a call meets at its limits. The greatest of several is the one that binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wait {
    None,
    Until(Instant),
    /// Nobody knows when: a running call must end first.
    UntilOneEnds,
}

#[derive(Debug)]
struct Resource {
    account: AccountId,
    group: Arc<str>,
    measure: Measure,
    limit: u64,
    source: LimitSource,
    observed: Option<Instant>,
    /// When the latest call left whose answer told of it.
    told_by: Option<Instant>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Minute(Box<Minute>),
    Slots {
        used: u64,
    },
    /// Never keeps a call back.
    Shown {
        remaining: u64,
    },
}

#[derive(Debug)]
struct Minute {
    guard: Guard,
    /// Less than 1,000 while the upstream finds that usage grows too fast.
    ramp_permille: u32,
    outside: Outside,
    /// What the upstream has left, as far as our own calls go.
    mirror: TokenBucket,
    extremes: Extremes,
    /// What calls without a reservation take from.
    common: TokenBucket,
    shares: BTreeMap<ReservationId, Share>,
    /// Taken by calls that have not ended.
    in_flight: u64,
    /// Of requests, for the screen.
    recent: Option<LastMinute>,
}

/// Levels in whole tokens.
#[derive(Clone, Copy)]
struct Before {
    mirror: i64,
    drawn: i64,
    common: i64,
}

/// A reservation's own part.
#[derive(Debug)]
struct Share {
    bucket: TokenBucket,
    /// Thousandths a minute, and thousandths at once.
    pace: i128,
    burst: i128,
}

impl Store {
    fn minute(&self) -> Option<&Minute> {
        match self {
            Store::Minute(minute) => Some(minute),
            Store::Slots { .. } | Store::Shown { .. } => None,
        }
    }
}

impl Share {
    /// Whether it ever holds as much.
    fn pays(&self, amount: u64) -> bool {
        i128::from(amount) * ONE <= self.burst
    }
}

/// All limits there are. Only ever grows, so an id stays good.
#[derive(Debug, Default)]
pub(super) struct Resources {
    all: Vec<Resource>,
    /// Somebody else draws on one of them.
    are_shared: bool,
}

/// One request.
const ONE: i128 = 1_000;
/// Requests a hair apart may meet on the way, and an estimate may be short by a little: never quite the limit.
const REQUESTS_GUARD_MOST: u32 = 990;
const TOKENS_GUARD_MOST: u32 = 995;
/// Headers round tokens to the nearest thousand.
const ROUNDING: i64 = 500;
/// News of more than this part of a limit is a surprise.
const SURPRISE: u64 = 20;
/// What others draw leaves us this part of a limit at least, and reservations leave as much to calls without. In thousandths.
const LEFT_TO_US: i128 = 100;

impl Resources {
    /// A limit that starts with nothing taken.
    pub(super) fn add(
        &mut self,
        (account, group): (AccountId, &Arc<str>),
        measure: Measure,
        limit: u64,
        source: LimitSource,
        pacing: &Pacing,
        now: Instant,
    ) -> ResourceId {
        let (group, limit) = (group.clone(), limit.min(AMOUNT_MAX));
        let store = match measure {
            Measure::Requests | Measure::InputTokens | Measure::OutputTokens | Measure::Tokens => {
                Store::Minute(Box::new(Minute::full(measure, limit, pacing, now)))
            }
            Measure::Concurrency => Store::Slots { used: 0 },
            Measure::PriorityInputTokens | Measure::PriorityOutputTokens => Store::Shown { remaining: limit },
        };
        self.all.push(Resource { account, group, measure, limit, source, observed: None, told_by: None, store });
        ResourceId::at(self.all.len() - 1)
    }

    pub(super) fn measure(&self, id: ResourceId) -> Measure {
        self.all[id.index()].measure
    }

    /// What a call without a reservation meets.
    pub(super) fn wait(&self, id: ResourceId, need: Need, now: Instant) -> Wait {
        let resource = &self.all[id.index()];
        match &resource.store {
            Store::Minute(minute) => until(minute.common.ready_at(need.of(resource.measure), now), now),
            Store::Slots { used } if *used >= resource.limit => Wait::UntilOneEnds,
            Store::Slots { .. } | Store::Shown { .. } => Wait::None,
        }
    }

    /// What a call of a reservation meets: its own tokens, and the requests that all share.
    pub(super) fn wait_reserved(&self, id: ResourceId, need: Need, by: ReservationId, now: Instant) -> Wait {
        let resource = &self.all[id.index()];
        match &resource.store {
            Store::Minute(minute) => match minute.shares.get(&by) {
                Some(share) if share.pays(need.of(resource.measure)) => {
                    until(share.bucket.ready_at(need.of(resource.measure), now), now)
                }
                Some(_) | None => self.wait(id, need, now),
            },
            Store::Slots { .. } | Store::Shown { .. } => self.wait(id, need, now),
        }
    }

    pub(super) fn take(&mut self, id: ResourceId, need: Need, by: Option<ReservationId>, now: Instant) {
        let resource = &mut self.all[id.index()];
        let (amount, loose) = (need.of(resource.measure), need.loose().of(resource.measure));
        match &mut resource.store {
            Store::Minute(minute) => minute.take(resource.measure, amount, loose, by, now),
            Store::Slots { used } => *used += 1,
            Store::Shown { .. } => {}
        }
    }

    /// The same for a call that holds its slot, and is not exchanged for anything.
    pub(super) fn take_again(&mut self, id: ResourceId, need: Need, by: Option<ReservationId>, now: Instant) {
        let resource = &mut self.all[id.index()];
        if let Store::Minute(minute) = &mut resource.store {
            minute.take(resource.measure, need.of(resource.measure), 0, by, now);
        }
    }

    /// What was taken left only now: a smoothed bucket counts its interval from here.
    pub(super) fn left(&mut self, id: ResourceId, now: Instant) {
        let resource = &mut self.all[id.index()];
        if let (Store::Minute(minute), Measure::Requests) = (&mut resource.store, resource.measure) {
            minute.common.empty(now);
        }
    }

    /// Exchanges what was reserved for what was used; `None` gives it all back.
    pub(super) fn settle(
        &mut self,
        id: ResourceId,
        reserved: Need,
        used: Option<Need>,
        by: Option<ReservationId>,
        sent: Instant,
        now: Instant,
    ) {
        let resource = &mut self.all[id.index()];
        let measure = resource.measure;
        match &mut resource.store {
            Store::Minute(minute) => {
                if let (Some(recent), None) = (&mut minute.recent, used) {
                    recent.came_back();
                }
                let loose = if measure == Measure::Requests { 0 } else { reserved.loose().of(measure) };
                minute.mirror.arrived(reserved.of(measure), sent);
                minute.bucket_of(by, reserved.of(measure)).arrived(reserved.of(measure), sent);
                minute.settle(reserved.of(measure), loose, used.map_or(0, |used| used.of(measure)), by, now);
            }
            Store::Slots { used } => *used = used.saturating_sub(1),
            Store::Shown { .. } => {}
        }
    }

    /// What a call that ended left over, once the upstream knows that it ended.
    pub(super) fn come_back(
        &mut self,
        id: ResourceId,
        reserved: Need,
        less: Need,
        by: Option<ReservationId>,
        now: Instant,
    ) {
        let resource = &mut self.all[id.index()];
        if let (Store::Minute(minute), true) = (&mut resource.store, resource.measure != Measure::Requests) {
            minute.come_back(reserved.of(resource.measure), less.of(resource.measure), by, now);
        }
    }

    /// What calls took in the `span` before a restart, each so long after its begin. Nobody knows what was left then, so
    /// nothing was: a longer span than a bucket takes to fill makes that good.
    pub(super) fn replay(&mut self, id: ResourceId, past: &[(Duration, Need)], span: Duration, now: Instant) {
        let resource = &mut self.all[id.index()];
        let Store::Minute(minute) = &mut resource.store else { return };
        let takes = || past.iter().map(|(passed, need)| (*passed, need.of(resource.measure)));
        for (passed, amount) in takes() {
            let at = now.before(span.saturating_sub(passed));
            if let Some(recent) = &mut minute.recent {
                recent.went(at);
            }
            minute.outside.we_drew(amount.into(), at);
        }
        let set_aside: i64 = minute.shares.values().map(|share| share.bucket.tokens(now).max(0)).sum();
        let left = minute.common.left_after(takes(), span).saturating_sub(set_aside);
        minute.common.lower_to(left.into(), now);
        minute.mirror.lower_to(minute.mirror.left_after(takes(), span).into(), now);
        minute.extremes.see(minute.mirror.tokens(now), now);
    }

    /// What a response told of it, of a call that left at `sent`.
    pub(super) fn observe(&mut self, id: ResourceId, reading: Reading, sent: Instant, now: Instant) {
        let Resource { limit, told_by, .. } = self.all[id.index()];
        let changed = limit != reading.limit.min(AMOUNT_MAX);
        if changed && told_by.is_some_and(|told_by| sent < told_by) {
            // An old answer on its way tells the limit that was.
            return;
        }
        let before = self.all[id.index()].store.minute().map(|minute| minute.levels(sent, now));
        self.teach(id, reading.limit, LimitSource::Headers, now);
        let resource = &mut self.all[id.index()];
        resource.told_by = told_by.max(Some(sent));
        // More than all of it tells nothing.
        let remaining = reading.remaining.filter(|left| *left <= reading.limit);
        let remaining = remaining.map(|left| i64::try_from(left.min(AMOUNT_MAX)).unwrap_or(0));
        match (&mut resource.store, remaining) {
            (Store::Minute(minute), Some(remaining)) if resource.measure != Measure::Tokens => {
                match before.filter(|_| changed) {
                    _ if told_by.is_none() => minute.align(remaining, now),
                    Some(before) => minute.rescale(before, remaining, resource.limit, now),
                    None => minute.compare(resource.measure, resource.limit, remaining, sent, now),
                }
                minute.tune(resource.measure, resource.limit, now);
                minute.stay_below_the_mirror(resource.measure, resource.limit, now);
                self.are_shared |= resource.is_shared(now);
            }
            (Store::Minute(minute), None) if changed => minute.keep(before, now),
            (Store::Shown { remaining: shown }, Some(remaining)) => *shown = remaining.unsigned_abs(),
            (Store::Minute(_) | Store::Slots { .. } | Store::Shown { .. }, _) => {}
        }
    }

    /// A limit's figure from someone who knows.
    pub(super) fn teach(&mut self, id: ResourceId, limit: u64, source: LimitSource, now: Instant) {
        let resource = &mut self.all[id.index()];
        (resource.observed, resource.source) = (Some(now), source);
        let limit = limit.min(AMOUNT_MAX);
        if resource.limit != limit {
            resource.limit = limit;
            resource.tune(now);
        }
    }

    /// A 429 named this limit.
    pub(super) fn refused(&mut self, id: ResourceId, now: Instant) {
        let resource = &mut self.all[id.index()];
        if let Store::Minute(minute) = &mut resource.store {
            minute.guard.refused();
            minute.common.empty(now);
            if resource.measure != Measure::Requests {
                let unexplained = i64::try_from(minute.mirror.draw(AMOUNT_MAX, now)).unwrap_or(0);
                minute.outside.differs(unexplained, false, now);
                self.are_shared = true;
            }
        }
        resource.tune(now);
    }

    /// An answer other than 429 came: of requests, which come too close together or don't, that is all there is to learn.
    pub(super) fn accepted(&mut self, id: ResourceId, now: Instant) {
        let resource = &mut self.all[id.index()];
        if let (Store::Minute(minute), Measure::Requests) = (&mut resource.store, resource.measure) {
            minute.guard.confirmed();
            minute.tune(resource.measure, resource.limit, now);
        }
    }

    /// What others draw is forgotten where no answer tells of it: the paces follow.
    pub(super) fn follow_outside(&mut self, now: Instant) {
        if self.are_shared {
            self.are_shared = false;
            for resource in &mut self.all {
                self.are_shared |= resource.is_shared(now);
                resource.tune(now);
            }
        }
    }

    pub(super) const fn are_shared(&self) -> bool {
        self.are_shared
    }

    pub(super) fn set_ramp(&mut self, id: ResourceId, permille: u32, now: Instant) {
        if let Store::Minute(minute) = &mut self.all[id.index()].store {
            minute.ramp_permille = permille;
        }
        self.all[id.index()].tune(now);
    }

    /// Thousandths a minute that a new reservation could have: of tokens something is left to everybody else.
    pub(super) fn free_pace(&self, id: ResourceId, now: Instant) -> Option<i128> {
        let resource = &self.all[id.index()];
        match &resource.store {
            Store::Minute(minute) => {
                let pace = minute.pace(resource.limit, now);
                // Requests are nobody's own: a reservation only goes first.
                let others = if resource.measure == Measure::Requests { 0 } else { pace * LEFT_TO_US / 1_000 };
                Some(pace - others - minute.shared_pace())
            }
            Store::Slots { .. } | Store::Shown { .. } => None,
        }
    }

    /// Sets `pace` thousandths a minute aside, `burst` at once; tells what it holds at first.
    pub(super) fn set_aside(&mut self, id: ResourceId, by: ReservationId, pace: i128, burst: i128, now: Instant) {
        let resource = &mut self.all[id.index()];
        let Store::Minute(minute) = &mut resource.store else { return };
        let mut bucket = TokenBucket::new(pace, burst, now);
        bucket.empty(now);
        let there = u64::try_from(burst / ONE).unwrap_or(0);
        let moved = minute.common.draw(there, now);
        bucket.give_back(moved, now);
        minute.shares.insert(by, Share { bucket, pace, burst });
        minute.tune(resource.measure, resource.limit, now);
    }

    /// When a reservation's part first holds `amount`.
    pub(super) fn aside_ready(&self, id: ResourceId, by: ReservationId, amount: u64, now: Instant) -> Instant {
        match &self.all[id.index()].store {
            Store::Minute(minute) => {
                minute.shares.get(&by).and_then(|share| share.bucket.ready_at(amount, now)).unwrap_or(now)
            }
            Store::Slots { .. } | Store::Shown { .. } => now,
        }
    }

    /// What a reservation did not use is everyone's again.
    pub(super) fn give_up(&mut self, id: ResourceId, by: ReservationId, now: Instant) {
        let resource = &mut self.all[id.index()];
        let Store::Minute(minute) = &mut resource.store else { return };
        let Some(mut share) = minute.shares.remove(&by) else { return };
        minute.tune(resource.measure, resource.limit, now);
        minute.common.give_back(share.bucket.draw(AMOUNT_MAX, now), now);
    }

    /// How long until so many calls and tokens have gone, if nobody else comes.
    pub(super) fn time_for(&self, id: ResourceId, need: Need, calls: u64, now: Instant) -> Duration {
        let resource = &self.all[id.index()];
        let amount = if resource.measure == Measure::Requests { calls } else { need.of(resource.measure) };
        match &resource.store {
            Store::Minute(minute) => minute.common.time_for(amount, now),
            Store::Slots { .. } | Store::Shown { .. } => Duration::ZERO,
        }
    }

    /// How long refilling what a call takes needs.
    pub(super) fn refill_time(&self, id: ResourceId, need: Need) -> Duration {
        let resource = &self.all[id.index()];
        match &resource.store {
            Store::Minute(minute) => minute.common.refill_time(need.of(resource.measure)),
            Store::Slots { .. } | Store::Shown { .. } => Duration::ZERO,
        }
    }

    pub(super) fn binding(&self, id: ResourceId) -> Binding {
        let Resource { group, measure, limit, source, .. } = &self.all[id.index()];
        Binding { group: group.clone(), measure: *measure, limit: *limit, source: *source }
    }

    pub(super) fn levels(&self, now: Instant) -> Vec<Level> {
        self.all.iter().map(|resource| resource.level(now)).collect()
    }

    pub(super) fn outside(&self, now: Instant) -> Vec<view::Outside> {
        self.all.iter().filter_map(|resource| resource.outside(now)).collect()
    }

    /// For a restart: guard and what others draw a minute.
    pub(super) fn learned(&self, id: ResourceId, now: Instant) -> (u32, u64) {
        match &self.all[id.index()].store {
            Store::Minute(minute) => (minute.guard.permille(), minute.outside.per_minute(now)),
            Store::Slots { .. } | Store::Shown { .. } => (1_000, 0),
        }
    }

    pub(super) fn recall(&mut self, id: ResourceId, guard_permille: u32, theirs_per_minute: u64, now: Instant) {
        let resource = &mut self.all[id.index()];
        if let Store::Minute(minute) = &mut resource.store {
            minute.guard = Guard::new(guard_permille.clamp(800, most(resource.measure)), most(resource.measure));
            minute.outside = Outside::resumed(theirs_per_minute.min(resource.limit), now);
            self.are_shared |= theirs_per_minute > 0;
        }
        resource.tune(now);
    }
}

fn until(ready: Option<Instant>, now: Instant) -> Wait {
    match ready {
        Some(ready) if ready <= now => Wait::None,
        Some(ready) => Wait::Until(ready),
        None => Wait::UntilOneEnds,
    }
}

const fn most(measure: Measure) -> u32 {
    if matches!(measure, Measure::Requests) { REQUESTS_GUARD_MOST } else { TOKENS_GUARD_MOST }
}

fn guard(measure: Measure, pacing: &Pacing) -> Guard {
    let start =
        if measure == Measure::Requests { pacing.guard_requests_permille } else { pacing.guard_tokens_permille };
    Guard::new(start, most(measure).max(start))
}

impl Minute {
    fn full(measure: Measure, limit: u64, pacing: &Pacing, now: Instant) -> Minute {
        let whole = i128::from(limit) * ONE;
        let mut minute = Minute {
            guard: guard(measure, pacing),
            ramp_permille: 1_000,
            outside: Outside::unknown(),
            mirror: TokenBucket::new(whole, whole, now),
            extremes: Extremes::default(),
            common: TokenBucket::new(0, 0, now),
            shares: BTreeMap::new(),
            in_flight: 0,
            recent: (measure == Measure::Requests).then(LastMinute::default),
        };
        minute.tune(measure, limit, now);
        minute
    }

    /// Thousandths a minute that we allow ourselves.
    fn pace(&self, limit: u64, now: Instant) -> i128 {
        let guarded = self.guard.of(limit) * i128::from(self.ramp_permille) / 1_000;
        let theirs = i128::from(self.outside.per_minute(now)) * ONE;
        (guarded - theirs).max(guarded * LEFT_TO_US / 1_000).max(1)
    }

    fn shared_pace(&self) -> i128 {
        self.shares.values().map(|share| share.pace).sum()
    }

    /// Sets the buckets' pace by all that is known.
    fn tune(&mut self, measure: Measure, limit: u64, now: Instant) {
        let whole = i128::from(limit) * ONE;
        let theirs = i128::from(self.outside.per_minute(now)) * ONE;
        self.mirror.set_pace((whole - theirs).max(0), whole, now);
        let pace = self.pace(limit, now);
        if measure == Measure::Requests {
            self.common.set_pace(pace, ONE, now);
            return;
        }
        let least = pace * LEFT_TO_US / 1_000;
        let kept_back = i128::from(self.outside.burst(now)) * ONE;
        let shared: i128 = self.shares.values().map(|share| share.burst).sum();
        let burst = (self.guard.of(limit) - kept_back - shared).max(least);
        self.common.set_pace((pace - self.shared_pace()).max(least), burst, now);
    }

    fn take(&mut self, measure: Measure, amount: u64, loose: u64, by: Option<ReservationId>, now: Instant) {
        if let Some(recent) = &mut self.recent {
            recent.went(now);
        }
        self.extremes.see(self.mirror.tokens(now), now);
        if measure == Measure::Requests {
            self.mirror.take(amount, now);
            self.bucket_of(by, amount).take(amount, now);
        } else {
            self.mirror.send(amount, loose, now);
            self.bucket_of(by, amount).send(amount, loose, now);
        }
        self.extremes.see(self.mirror.tokens(now), now);
        self.outside.we_drew(amount.into(), now);
        self.in_flight = self.in_flight.saturating_add(amount);
    }

    fn settle(&mut self, reserved: u64, loose: u64, used: u64, by: Option<ReservationId>, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(reserved);
        let (more, less) = (used.saturating_sub(reserved), reserved.saturating_sub(used));
        self.outside.we_drew(i128::from(more) - i128::from(less), now);
        self.mirror.settle(loose, less, now);
        self.bucket_of(by, reserved).settle(loose, less, now);
        self.mirror.take(more, now);
        // What a reservation did not foresee everyone pays.
        self.common.take(more, now);
        self.extremes.see(self.mirror.tokens(now), now);
    }

    /// `less` of what a call took of `reserved`.
    fn come_back(&mut self, reserved: u64, less: u64, by: Option<ReservationId>, now: Instant) {
        self.outside.we_drew(-i128::from(less), now);
        self.mirror.come_back(less, KNOWN_AFTER, now);
        self.bucket_of(by, reserved).come_back(less, KNOWN_AFTER, now);
        self.extremes.see(self.mirror.tokens(now), now);
    }

    /// Who pays for a call: its reservation, where that ever holds as much.
    fn bucket_of(&mut self, by: Option<ReservationId>, amount: u64) -> &mut TokenBucket {
        match by.and_then(|by| self.shares.get_mut(&by)).filter(|share| share.pays(amount)) {
            Some(share) => &mut share.bucket,
            None => &mut self.common,
        }
    }

    /// The first word of an upstream: what was drawn before we looked is nobody's.
    fn align(&mut self, remaining: i64, now: Instant) {
        self.mirror.lower_to(remaining.into(), now);
        self.extremes = Extremes::default();
        self.extremes.see(self.mirror.tokens(now), now);
    }

    /// What was there before a limit changed: the mirror, how far that had fallen since a call left, and what was common.
    fn levels(&self, sent: Instant, now: Instant) -> Before {
        let mirror = self.mirror.tokens(now);
        let (_, highest) = self.extremes.since(sent, mirror);
        Before { mirror, drawn: highest.saturating_sub(mirror), common: self.common.tokens(now) }
    }

    /// A limit has changed. A higher one fills no bucket at once, a lower one makes no debt where the upstream has none.
    fn rescale(&mut self, before: Before, remaining: i64, limit: u64, now: Instant) {
        // The reading may not know what went since.
        let known = remaining.saturating_sub(before.drawn);
        // What may come back is in it already: only the mirror of before knows how much of that is ours.
        let sure = known.saturating_sub(self.mirror.held()).max(before.mirror).min(known);
        self.mirror.lower_to(sure.into(), now);
        self.mirror.raise_to(known.min(before.mirror), now);
        self.extremes.shift(self.mirror.tokens(now).saturating_sub(before.mirror));
        let kept_back = i64::try_from(i128::from(limit) - self.guard.of(limit) / ONE).unwrap_or(0);
        self.common.raise_to(known.saturating_sub(kept_back).min(before.common), now);
    }

    /// A limit has changed, and nobody tells what is left of it: neither more nor less than there was.
    fn keep(&mut self, before: Option<Before>, now: Instant) {
        let Some(before) = before else { return };
        for (bucket, level) in [(&mut self.mirror, before.mirror), (&mut self.common, before.common)] {
            bucket.lower_to(level.into(), now);
            bucket.raise_to(level, now);
        }
    }

    /// Compares what the upstream has left with all that the mirror showed since the call left: its answer may be that old.
    /// The mirror counts with what others drew lately, so only what differs from that is news.
    fn compare(&mut self, measure: Measure, limit: u64, remaining: i64, sent: Instant, now: Instant) {
        let (lowest, highest) = self.extremes.since(sent, self.mirror.tokens(now));
        let (over, under) = self.uncertainty(measure);
        let missing = lowest.saturating_sub(remaining).saturating_sub(over).max(0);
        let surplus = remaining.saturating_sub(highest).saturating_sub(under).max(0);
        let was_full = highest >= i64::try_from(limit).unwrap_or(i64::MAX);
        self.outside.differs(missing - surplus, was_full, now);
        self.mirror.take(missing.unsigned_abs(), now);
        self.mirror.give_back(surplus.unsigned_abs(), now);
        self.extremes.shift(surplus - missing);
        if missing.unsigned_abs() > limit / SURPRISE {
            self.guard.surprised();
        } else if measure != Measure::Requests {
            self.guard.confirmed();
        }
    }

    /// How far a reading may be below our count, and above it, without meaning anything.
    fn uncertainty(&self, measure: Measure) -> (i64, i64) {
        let in_flight = i64::try_from(self.in_flight).unwrap_or(i64::MAX);
        let of_estimates = (in_flight / 10).saturating_add(ROUNDING);
        match measure {
            // Theirs is cut to a whole number.
            Measure::Requests => (1, 1),
            // It may count only what has been produced.
            Measure::OutputTokens => (of_estimates, in_flight.saturating_add(ROUNDING)),
            Measure::InputTokens
            | Measure::Tokens
            | Measure::Concurrency
            | Measure::PriorityInputTokens
            | Measure::PriorityOutputTokens => (of_estimates, of_estimates),
        }
    }

    /// As far as what we allow ourselves is below the limit, and what others may draw at once.
    fn stay_below_the_mirror(&mut self, measure: Measure, limit: u64, now: Instant) {
        if measure == Measure::Requests {
            // Theirs counts a minute, ours one at a time.
            if self.mirror.tokens(now) <= 0 {
                self.common.empty(now);
            }
            return;
        }
        let kept_back = i128::from(limit) - self.guard.of(limit) / ONE + i128::from(self.outside.burst(now));
        let shared: i128 = self.shares.values().map(|share| i128::from(share.bucket.tokens(now).max(0))).sum();
        self.common.lower_to(i128::from(self.mirror.tokens(now)) - kept_back - shared, now);
    }
}

impl Resource {
    fn tune(&mut self, now: Instant) {
        if let Store::Minute(minute) = &mut self.store {
            minute.tune(self.measure, self.limit, now);
        }
    }

    fn is_shared(&self, now: Instant) -> bool {
        self.store.minute().is_some_and(|minute| minute.outside.per_minute(now) > 0)
    }

    fn level(&self, now: Instant) -> Level {
        let (guard_permille, guarded, level) = self.allowed(now);
        Level {
            account: self.account,
            group: self.group.clone(),
            measure: self.measure,
            limit: self.limit,
            guard_permille,
            guarded,
            level,
            source: self.source,
            observed: self.observed,
        }
    }

    /// The guard, what it allows of the limit, and what is left of that.
    fn allowed(&self, now: Instant) -> (u32, u64, u64) {
        match &self.store {
            Store::Minute(minute) => {
                let guarded = u64::try_from(minute.guard.of(self.limit) / ONE).unwrap_or(u64::MAX);
                (minute.guard.permille(), guarded, minute.level(guarded, now))
            }
            Store::Slots { used } => (1_000, self.limit, self.limit.saturating_sub(*used)),
            Store::Shown { remaining } => (1_000, self.limit, self.limit.min(*remaining)),
        }
    }

    fn outside(&self, now: Instant) -> Option<view::Outside> {
        let Store::Minute(minute) = &self.store else { return None };
        let share_permille = minute.outside.share_permille(now);
        let (account, group, measure) = (self.account, self.group.clone(), self.measure);
        (share_permille > 0).then_some(view::Outside { account, group, measure, share_permille })
    }
}

impl Minute {
    /// A debt shows as nothing left.
    fn level(&self, guarded: u64, now: Instant) -> u64 {
        match &self.recent {
            Some(recent) => guarded.saturating_sub(recent.count(now)),
            None => u64::try_from(self.common.tokens(now)).unwrap_or(0),
        }
    }
}

/// The lowest and highest level of each of the last seconds.
#[derive(Debug, Default)]
struct Extremes(VecDeque<(u64, i64, i64)>);

const SECOND_NANOS: u64 = 1_000_000_000;
const SECONDS_KEPT: usize = 64;

impl Extremes {
    fn see(&mut self, level: i64, now: Instant) {
        let second = now.as_nanos() / SECOND_NANOS;
        match self.0.back_mut() {
            Some((last, low, high)) if *last >= second => (*low, *high) = ((*low).min(level), (*high).max(level)),
            Some(_) | None => self.0.push_back((second, level, level)),
        }
        if self.0.len() > SECONDS_KEPT {
            self.0.pop_front();
        }
    }

    fn since(&self, sent: Instant, present: i64) -> (i64, i64) {
        let from = sent.as_nanos() / SECOND_NANOS;
        let seen = self.0.iter().rev().take_while(|(second, ..)| *second >= from);
        seen.fold((present, present), |(low, high), (_, lower, higher)| (low.min(*lower), high.max(*higher)))
    }

    /// The count was wrong all the while.
    fn shift(&mut self, by: i64) {
        for (_, low, high) in &mut self.0 {
            (*low, *high) = (low.saturating_add(by), high.saturating_add(by));
        }
    }
}
