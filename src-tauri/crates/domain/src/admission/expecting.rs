//! How long a call will wait, what for, and whether that is longer than it can.

use std::time::Duration;

use super::demand::{Need, WaiterId};
use super::minute::{ResourceId, Wait};
use super::queue::{Load, Row};
use super::quota::{QuotaId, Shut};
use super::refusal::{Binding, Kept, KeptBy, Refusal};
use super::waiter::{Met, MetBy, Waiter};
use super::{Admission, LaneId};
use crate::call::Class;
use crate::time::{Instant, Now};

/// An expected wait is no certainty: only a call whose patience is well below it is refused at once.
const HOPE_PERCENT: u32 = 80;

impl Admission {
    /// A window or budget that is spent beyond the call's patience.
    pub(super) fn spent_beyond(&self, waiter: &Waiter, now: Now) -> Option<Refusal> {
        if waiter.row == Row::Reserved {
            return None;
        }
        waiter.quotas.iter().find_map(|id| {
            let shut = self.quotas.shut(*id, waiter.asked.class, now.timestamp)?;
            let reopens = self.reopens(*id, shut, now)?;
            let is_beyond = reopens > waiter.asked.deadline && !self.waits_for_emergency(waiter.asked.class, shut);
            is_beyond.then(|| self.shut_refusal(*id, shut))
        })
    }

    /// What an emergency holds waits for its end, also where the week's reserve is its cause.
    fn waits_for_emergency(&self, class: Class, shut: Shut) -> bool {
        class == Class::Background && self.crisis.is_some() && shut == Shut::Spent { critical_only: true }
    }

    /// When a quota can be had again; `None` where that depends on others.
    fn reopens(&self, id: QuotaId, shut: Shut, now: Now) -> Option<Instant> {
        match shut {
            Shut::Held => None,
            Shut::Spent { .. } => Some(now.instant_of(self.quotas.resets_at(id))),
            Shut::BusinessHours { opens } => Some(now.instant_of(opens)),
        }
    }

    pub(super) fn shut_refusal(&self, id: QuotaId, shut: Shut) -> Refusal {
        match shut {
            Shut::Held => Refusal::Quota(self.quotas.spent(id, false)),
            Shut::Spent { critical_only } => Refusal::Quota(self.quotas.spent(id, critical_only)),
            Shut::BusinessHours { opens } => Refusal::Held { window: self.quotas.name(id), opens },
        }
    }

    /// Something other than the minute's limits keeps it.
    pub(super) fn is_shut(&self, waiter: &Waiter, now: Now) -> bool {
        let (class, by) = (waiter.asked.class, waiter.asked.reservation.filter(|_| waiter.row == Row::Reserved));
        let is_spent = || self.unpaid(by, &waiter.quotas, class, now.timestamp).is_some();
        (by.is_none() && self.is_held(class)) || is_spent()
    }

    /// What keeps it, or that it can't meet its deadline, by its own limits or by those who go before it.
    pub(super) fn meets(&self, waiter: &Waiter, wait: Wait, by: Option<ResourceId>, now: Now) -> Result<Met, Refusal> {
        // One that comes back sits where it sat.
        let before = self.before(waiter, WaiterId(self.next_waiter));
        let limit = self.binding_limit(waiter, (wait, by), before, now.instant);
        let late = self.too_late(waiter, wait, before, now);
        late.map_or(Ok(()), |not_before| {
            let binding = limit.map(|id| self.resources.binding(id));
            Err(Refusal::Deadline { binding, not_before: Some(not_before) })
        })?;
        let ahead = self.lanes[waiter.lane.0].queue.ahead(waiter.row, &waiter.path(), before).calls;
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        Ok(Met { at: now.instant, by: self.keeps(waiter, limit, now), ahead })
    }

    fn keeps(&self, waiter: &Waiter, limit: Option<ResourceId>, now: Now) -> MetBy {
        let class = waiter.asked.class;
        if waiter.row != Row::Reserved {
            if self.paused[class as usize] {
                return MetBy::Pause;
            }
            if self.is_held(class) {
                return MetBy::Emergency;
            }
            if let Some((id, shut)) = self.unpaid(None, &waiter.quotas, class, now.timestamp) {
                return MetBy::Quota(id, shut.left());
            }
        }
        if self.is_broken(waiter.lane, now.instant) {
            MetBy::Upstream
        } else {
            limit.map_or(MetBy::Upstream, MetBy::Limit)
        }
    }

    /// When it probably could go, where that is too late for it.
    fn too_late(&self, waiter: &Waiter, wait: Wait, before: usize, now: Now) -> Option<Instant> {
        let eta = self.eta(waiter, wait, before, now)?;
        let surely = match wait {
            Wait::Until(ready) => ready.since(now.instant),
            Wait::None | Wait::UntilOneEnds => Duration::ZERO,
        };
        let hoped = surely.max(eta / 100 * HOPE_PERCENT);
        (now.instant.after(hoped) > waiter.asked.deadline).then(|| now.instant.after(eta))
    }

    /// How long until a call goes, if nobody more urgent comes. `None`: that depends on calls that run, or on a person.
    /// `before`: how many of its own line go before it.
    pub(super) fn eta(&self, waiter: &Waiter, wait: Wait, before: usize, now: Now) -> Option<Duration> {
        let own = match wait {
            Wait::Until(ready) => ready.since(now.instant),
            Wait::None => Duration::ZERO,
            Wait::UntilOneEnds => return None,
        };
        let class = waiter.asked.class;
        if waiter.row == Row::Reserved {
            return Some(own);
        }
        if self.is_held(class) {
            return None;
        }
        let reopens = self.quotas_reopen(&waiter.quotas, class, now)?;
        let ahead = self.lanes[waiter.lane.0].queue.ahead(waiter.row, &waiter.path(), before);
        let time = self.time_for(waiter.lane, ahead.plus(waiter.load()), now.instant);
        let time = if self.is_slowed(waiter.row) { time.saturating_mul(2) } else { time };
        Some(own.max(reopens).max(time))
    }

    /// The same of the last of a class.
    pub(super) fn eta_of_class(&self, lane: LaneId, class: Class, now: Now) -> Option<Duration> {
        if self.is_held(class) {
            return None;
        }
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
        let opens = match self.closed(lane, now) {
            Wait::Until(at) => at.since(now),
            Wait::None | Wait::UntilOneEnds => Duration::ZERO,
        };
        let limits = self.draws_on(lane).map(|id| self.resources.time_for(id, need, load.calls, now));
        limits.max().unwrap_or_default().max(opens)
    }

    /// The limit that those before it and it itself wait for longest, and how long.
    pub(super) fn slowest(&self, waiter: &Waiter, before: usize, now: Instant) -> Option<(ResourceId, Duration)> {
        let ahead = self.lanes[waiter.lane.0].queue.ahead(waiter.row, &waiter.path(), before).plus(waiter.load());
        let need = Need::exactly(ahead.input, ahead.output);
        let timed = self.draws_on(waiter.lane).map(|id| (id, self.resources.time_for(id, need, ahead.calls, now)));
        timed.max_by_key(|(_, time)| *time)
    }

    pub(super) fn before(&self, waiter: &Waiter, id: WaiterId) -> usize {
        self.lanes[waiter.lane.0].queue.before(waiter.row, &waiter.path(), waiter.place(id))
    }

    pub(super) fn binding(
        &self,
        waiter: &Waiter,
        wait: (Wait, Option<ResourceId>),
        before: usize,
        now: Instant,
    ) -> Option<Binding> {
        Some(self.resources.binding(self.binding_limit(waiter, wait, before, now)?))
    }

    /// What it waits for longest: a limit of its own, or one that those before it draw on too. `None`: the upstream's word.
    fn binding_limit(
        &self,
        waiter: &Waiter,
        (wait, by): (Wait, Option<ResourceId>),
        before: usize,
        now: Instant,
    ) -> Option<ResourceId> {
        let (slowest, time) = self.slowest(waiter, before, now)?;
        let own = match wait {
            Wait::Until(ready) => ready.since(now),
            Wait::None => Duration::ZERO,
            Wait::UntilOneEnds => Duration::MAX,
        };
        let is_closed = self.closed(waiter.lane, now) != Wait::None;
        match by {
            _ if time > own => Some(slowest),
            Some(by) => Some(by),
            None if is_closed => None,
            None => Some(slowest),
        }
    }

    /// As others may know it.
    pub(super) fn kept(&self, Met { by, ahead, .. }: Met) -> Kept {
        let by = match by {
            MetBy::Limit(id) => KeptBy::Limit(self.resources.binding(id)),
            MetBy::Quota(id, left) => KeptBy::Quota(self.quotas.spent(id, false).key, left),
            MetBy::Pause => KeptBy::Pause,
            MetBy::Emergency => KeptBy::Emergency,
            MetBy::Upstream => KeptBy::Upstream,
        };
        Kept { by, ahead: ahead.into() }
    }
}
