//! Setting capacity aside: what a reservation takes from the others, and gives back at its end.

use std::sync::Arc;
use std::time::Duration;

use super::demand::{Measure, WaiterId};
use super::minute::ResourceId;
use super::queue::Row;
use super::quota::{QuotaId, Shut};
use super::reservation::{NotReserved, Reservation, ReservationAsk, TTL_MAX, TTL_MIN};
use super::waiter::cost;
use super::{Admission, Caching, Demand, LaneId, ReservationId, Shape};
use crate::call::{CallId, Class};
use crate::money::Usd;
use crate::time::{Instant, Now, Timestamp};

/// A reservation that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) reservation: Reservation,
    lane: LaneId,
    expires: Instant,
    quotas: Arc<[QuotaId]>,
    /// Its calls that run.
    running: u64,
    /// Its calls that wait as others do, since nothing was left to pay for them.
    unpaid: Vec<WaiterId>,
}

/// What a call took over of what its reservation held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Paid {
    by: ReservationId,
    cost: Usd,
    tokens: u64,
}

const CALLS_SPARE: u64 = 5;
/// More than this at once are a mistake.
const RESERVATIONS_MAX: usize = 256;
/// A thousandth of a token a minute is the smallest pace there is.
const MILLI: u128 = 1_000;
const MINUTE_NANOS: u128 = 60_000_000_000;

/// What a reservation wants of one limit.
struct Part {
    resource: ResourceId,
    amount: u64,
    pace: i128,
}

impl Held {
    /// A piece of work may take a few calls more than it thought; further ones are like any other.
    fn has_calls_left(&self) -> bool {
        let Reservation { calls, used, .. } = self.reservation;
        used < calls.saturating_add(calls / 4).saturating_add(CALLS_SPARE)
    }

    /// What its quotas hold back for it.
    fn left(&self) -> (Usd, u64) {
        let Reservation { cost_left, tokens_left, .. } = self.reservation;
        (cost_left.max(Usd::ZERO), u64::try_from(tokens_left).unwrap_or(0))
    }

    fn tokens(&self) -> u64 {
        self.reservation.input_tokens.saturating_add(self.reservation.output_tokens)
    }
}

impl Admission {
    /// Sets capacity aside, or tells over which time it would fit.
    pub fn reserve(&mut self, ask: ReservationAsk, now: Now) -> Result<Reservation, NotReserved> {
        self.refresh(now);
        if ask.calls == 0 {
            return Err(NotReserved::NoCalls);
        }
        if !(TTL_MIN..=TTL_MAX).contains(&ask.ttl) {
            return Err(NotReserved::Ttl);
        }
        if self.reservations.len() >= RESERVATIONS_MAX {
            return Err(NotReserved::TooMany);
        }
        let lane = self.lane(ask.account, &ask.model, false, now.instant);
        let parts = self.parts(lane, &ask);
        self.check_pace(&parts, now.instant)?;
        let (quotas, cost, tokens) = self.payers(&ask)?;
        let starts = self.set_aside(&ask, &parts, now.instant);
        let wait = starts.since(now.instant);
        let starts_at = now.timestamp.after(wait);
        let reservation = Reservation {
            id: ask.id,
            client: ask.client,
            account: ask.account,
            model: ask.model,
            calls: ask.calls,
            input_tokens: ask.input_tokens,
            output_tokens: ask.output_tokens,
            ttl: ask.ttl,
            starts_at,
            expires_at: starts_at.after(ask.ttl),
            used: 0,
            cost,
            cost_left: cost,
            tokens_left: i64::try_from(tokens).unwrap_or(i64::MAX),
        };
        self.hold(reservation.clone(), lane, starts.after(ask.ttl), quotas, now.timestamp);
        Ok(reservation)
    }

    /// Holds it `ttl` longer than it would have been held.
    pub fn extend(
        &mut self,
        id: ReservationId,
        client: &str,
        ttl: Duration,
        now: Now,
    ) -> Result<Reservation, NotReserved> {
        self.refresh(now);
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(NotReserved::Ttl);
        }
        let held = self.reservations.get_mut(&id).filter(|held| *held.reservation.client == *client);
        let held = held.ok_or(NotReserved::Unknown)?;
        let most = now.instant.after(TTL_MAX);
        held.expires = held.expires.after(ttl).min(most);
        held.reservation.expires_at = now.timestamp.after(held.expires.since(now.instant));
        Ok(held.reservation.clone())
    }

    /// Ends it. `false` where this client holds none of that name.
    pub fn release_reservation(&mut self, id: ReservationId, client: &str, now: Now) -> bool {
        let own = self.reservations.get(&id).is_some_and(|held| *held.reservation.client == *client);
        if own {
            self.end_reservation(id, now.instant);
        }
        own
    }

    pub fn reservations(&self) -> Vec<Reservation> {
        self.reservations.values().map(|held| held.reservation.clone()).collect()
    }

    /// When the next one gives back what it holds.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.reservations.values().map(|held| held.expires).min()
    }

    pub(super) fn end_reservations(&mut self, now: Now) {
        let over = |(id, held): (&ReservationId, &Held)| (held.expires <= now.instant).then_some(*id);
        let over: Vec<ReservationId> = self.reservations.iter().filter_map(over).collect();
        for id in over {
            self.end_reservation(id, now.instant);
        }
    }

    /// Takes a reservation up again after a restart: its part is empty and fills at its pace.
    pub(super) fn resume_reservation(&mut self, reservation: Reservation, now: Now) {
        let left = reservation.expires_at.since(now.timestamp);
        if left < TTL_MIN || self.reservations.len() >= RESERVATIONS_MAX {
            return;
        }
        let ask = ReservationAsk {
            id: reservation.id,
            client: reservation.client.clone(),
            account: reservation.account,
            model: reservation.model.clone(),
            calls: reservation.calls.max(1),
            input_tokens: reservation.input_tokens,
            output_tokens: reservation.output_tokens,
            ttl: reservation.ttl.clamp(TTL_MIN, TTL_MAX),
            price: None,
        };
        let lane = self.lane(ask.account, &ask.model, false, now.instant);
        let parts = self.parts(lane, &ask);
        let Ok(()) = self.check_pace(&parts, now.instant) else { return };
        self.set_aside(&ask, &parts, now.instant);
        let quotas = self.quotas.of(&as_demand(&ask));
        self.hold(reservation, lane, now.instant.after(left.min(TTL_MAX)), quotas, now.timestamp);
    }

    fn hold(
        &mut self,
        reservation: Reservation,
        lane: LaneId,
        expires: Instant,
        quotas: Arc<[QuotaId]>,
        now: Timestamp,
    ) {
        let held = Held { reservation, lane, expires, quotas, running: 0, unpaid: vec![] };
        let (cost, tokens) = held.left();
        for quota in held.quotas.iter() {
            self.quotas.reserve(*quota, cost, tokens, now);
        }
        self.reservations.insert(held.reservation.id, held);
    }

    /// Whether a call may draw on a reservation: its own client's, and of its lane.
    pub(super) fn holds_reservation(&self, id: ReservationId, demand: &Demand, lane: LaneId) -> bool {
        let is_theirs = |held: &Held| held.reservation.client == demand.client && held.lane == lane;
        self.reservations.get(&id).is_some_and(|held| is_theirs(held) && held.has_calls_left())
    }

    /// A call of it goes: what it holds of the quotas is the call's from now on. Tells how much that is.
    pub(super) fn use_reservation(
        &mut self,
        id: ReservationId,
        cost: Usd,
        tokens: u64,
        now: Timestamp,
    ) -> Option<Paid> {
        self.reservations.get(&id)?;
        self.change_left(id, now, |held| {
            held.reservation.used = held.reservation.used.saturating_add(1);
            held.running += 1;
            let left = held.left();
            let paid = Paid { by: id, cost: cost.min(left.0), tokens: tokens.min(left.1) };
            held.reservation.cost_left = held.reservation.cost_left - paid.cost;
            held.reservation.tokens_left = held.reservation.tokens_left.saturating_sub_unsigned(paid.tokens);
            paid
        })
    }

    /// What a call did not come to is held for the next ones; what it came to beyond that they lack.
    pub(super) fn pay_up(&mut self, paid: Paid, cost: Usd, tokens: u64, now: Timestamp) {
        let unpaid = self.change_left(paid.by, now, |held| {
            held.running = held.running.saturating_sub(1);
            held.reservation.cost_left = held.reservation.cost_left + paid.cost - cost;
            let left = held.reservation.tokens_left.saturating_add_unsigned(paid.tokens);
            held.reservation.tokens_left = left.saturating_sub_unsigned(tokens);
            std::mem::take(&mut held.unpaid)
        });
        for waiter in unpaid.into_iter().flatten() {
            self.seat_anew(waiter, |own| own.row = Row::Reserved);
        }
    }

    /// Its quotas hold what is left of it then.
    fn change_left<T>(&mut self, id: ReservationId, now: Timestamp, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let held = self.reservations.get_mut(&id)?;
        let before = held.left();
        let told = change(held);
        let after = held.left();
        for quota in held.quotas.iter() {
            self.quotas.release(*quota, before.0, before.1);
            self.quotas.reserve(*quota, after.0, after.1, now);
        }
        Some(told)
    }

    /// Whether a reservation has something left of what it holds of a quota: its next call goes, whatever is spent. Where it
    /// could hold nothing, since it said no tokens or nobody knows a price, it is bounded by its calls alone.
    fn pays(&self, by: Option<ReservationId>, quota: QuotaId) -> bool {
        let Some(held) = by.and_then(|by| self.reservations.get(&by)) else { return false };
        let asked_for =
            held.quotas.contains(&quota) && self.quotas.wants_any(quota, held.reservation.cost, held.tokens());
        let (cost, tokens) = held.left();
        !asked_for || self.quotas.wants_any(quota, cost, tokens)
    }

    /// Nothing is left to pay for this one: it waits as others do, until a call of its reservation has come to less.
    pub(super) fn seat_unpaid(&mut self, id: WaiterId) {
        let by = self.waiters.get(&id).and_then(|waiter| waiter.asked.reservation);
        if let Some(held) = by.and_then(|by| self.reservations.get_mut(&by)) {
            held.unpaid.push(id);
        }
        self.seat_as_its_class(id);
    }

    /// Whether a call of it may yet come to less than it took.
    pub(super) fn has_running(&self, by: ReservationId) -> bool {
        self.reservations.get(&by).is_some_and(|held| held.running > 0)
    }

    /// A quota that can't be had now, and that its reservation does not pay.
    pub(super) fn unpaid(
        &self,
        by: Option<ReservationId>,
        quotas: &[QuotaId],
        class: Class,
        now: Timestamp,
    ) -> Option<(QuotaId, Shut)> {
        let unpaid = quotas.iter().filter(|id| !self.pays(by, **id));
        unpaid.copied().find_map(|id| Some((id, self.quotas.shut(id, class, now)?)))
    }

    fn parts(&self, lane: LaneId, ask: &ReservationAsk) -> Vec<Part> {
        let part = |resource| {
            let amount = match self.resources.measure(resource) {
                Measure::Requests => ask.calls,
                Measure::InputTokens => ask.input_tokens,
                Measure::OutputTokens => ask.output_tokens,
                Measure::Tokens => ask.input_tokens.saturating_add(ask.output_tokens),
                Measure::Concurrency | Measure::PriorityInputTokens | Measure::PriorityOutputTokens => return None,
            };
            Some(Part { resource, amount, pace: pace(amount, ask.ttl) })
        };
        self.draws_on(lane).filter_map(part).collect()
    }

    fn check_pace(&self, parts: &[Part], now: Instant) -> Result<(), NotReserved> {
        let free = |part: &Part| self.resources.free_pace(part.resource, now);
        let tight = parts.iter().filter(|part| free(part).is_some_and(|free| free < part.pace));
        let longest =
            tight.map(|part| (time_at(part.amount, free(part).unwrap_or(0)), part)).max_by_key(|(time, _)| *time);
        longest.map_or(Ok(()), |(time, part)| {
            let shortest = (time <= TTL_MAX).then_some(time);
            Err(NotReserved::TooFast { binding: self.resources.binding(part.resource), shortest })
        })
    }

    /// The quotas of its calls, which can pay for all of them, and what they hold for it.
    fn payers(&self, ask: &ReservationAsk) -> Result<(Arc<[QuotaId]>, Usd, u64), NotReserved> {
        let (quotas, cost, tokens) = self.price_of(ask);
        match quotas.iter().find(|id| !self.quotas.holds(**id, cost, tokens)) {
            Some(short) => Err(NotReserved::Quota(self.quotas.spent(*short, false))),
            None => Ok((quotas, cost, tokens)),
        }
    }

    fn price_of(&self, ask: &ReservationAsk) -> (Arc<[QuotaId]>, Usd, u64) {
        let price = ask.price.as_ref();
        let cost =
            price.map_or(Usd::ZERO, |price| cost(price, Caching::None, false, ask.input_tokens, ask.output_tokens));
        (self.quotas.of(&as_demand(ask)), cost, ask.input_tokens.saturating_add(ask.output_tokens))
    }

    /// When its first call can go.
    fn set_aside(&mut self, ask: &ReservationAsk, parts: &[Part], now: Instant) -> Instant {
        let mut starts = now;
        for Part { resource, amount, pace } in parts {
            if self.resources.measure(*resource) == Measure::Requests {
                // All requests keep their distance, whosever they are: only who goes first differs.
                continue;
            }
            let one = amount.div_ceil(ask.calls);
            let minute = u64::try_from(pace / 1_000).unwrap_or(u64::MAX);
            let burst = i128::from(one.saturating_mul(2).max(minute).min(*amount)) * 1_000;
            self.resources.set_aside(*resource, ask.id, *pace, burst, now);
            starts = starts.max(self.resources.aside_ready(*resource, ask.id, one, now));
        }
        starts
    }

    fn end_reservation(&mut self, id: ReservationId, now: Instant) {
        let Some(held) = self.reservations.remove(&id) else { return };
        let resources: Vec<ResourceId> = self.draws_on(held.lane).collect();
        for resource in resources {
            self.resources.give_up(resource, id, now);
        }
        let (cost, tokens) = held.left();
        for quota in held.quotas.iter() {
            self.quotas.release(*quota, cost, tokens);
            self.unpark(*quota);
        }
        self.dismiss(id, held.lane);
    }

    /// Calls of a reservation that is over wait on like all others of their class.
    fn dismiss(&mut self, id: ReservationId, lane: LaneId) {
        for waiter in self.lanes[lane.0].queue.reserved() {
            let is_own = self.waiters.get(&waiter).is_some_and(|waiter| waiter.asked.reservation == Some(id));
            if is_own {
                self.seat_as_its_class(waiter);
            }
        }
    }

    fn seat_as_its_class(&mut self, waiter: WaiterId) {
        self.seat_anew(waiter, |dismissed| dismissed.row = Row::Of(dismissed.asked.class));
    }
}

/// Thousandths a minute.
fn pace(amount: u64, ttl: Duration) -> i128 {
    let milli = u128::from(amount).saturating_mul(MILLI * MINUTE_NANOS).div_ceil(ttl.as_nanos().max(1));
    i128::try_from(milli).unwrap_or(i128::MAX)
}

/// How long `amount` takes at a pace, in whole seconds.
fn time_at(amount: u64, pace: i128) -> Duration {
    let Some(pace) = u128::try_from(pace).ok().filter(|pace| *pace > 0) else { return Duration::MAX };
    let nanos = u128::from(amount).saturating_mul(MILLI * MINUTE_NANOS).div_ceil(pace);
    Duration::from_secs(u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX))
}

/// Its calls together, as far as quotas go.
fn as_demand(ask: &ReservationAsk) -> Demand {
    Demand {
        call: CallId::new(Timestamp::default(), 0),
        account: ask.account,
        model: ask.model.clone(),
        fast: false,
        class: Class::Critical,
        client: ask.client.clone(),
        weight: 1,
        max_share: None,
        tenant: None,
        person: None,
        project: None,
        session: None,
        shape: Shape::default(),
        max_tokens: None,
        caching: Caching::None,
        price: ask.price.clone(),
        reservation: None,
        since: Instant::default(),
        deadline: Instant::default(),
        has_fallback: false,
    }
}
