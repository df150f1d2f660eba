//! How the calls of each group fare: while its upstream fails them, none starts but one now and then.

use std::sync::Arc;
use std::time::Duration;

use super::demand::{Ticket, WaiterId};
use super::minute::Wait;
use super::refusal::Refusal;
use super::view::{BreakerView, FreeProbe};
use super::waiter::{Asked, Waiter};
use super::{AccountId, Admission, Group, LaneId};
use crate::routing::{Breaker, Fared, Passage, ProbeId};
use crate::time::{Instant, Now};

/// When the call that went ahead has fared nobody knows; by then it is worth asking again.
const PROBE_ENDS: Duration = Duration::from_secs(5);

impl Admission {
    /// What became of a call, as soon as that is known.
    pub fn fared(&mut self, ticket: &Ticket, fared: Fared, now: Now) {
        let group = self.lanes[ticket.lane.0].group;
        let breaker = &mut self.groups[group].breaker;
        let opened = breaker.fared(ticket.sent, ticket.probe, fared, &self.breaker_rules, now.instant);
        if let Some(until) = opened {
            self.refuse_waiting(group, until, |asked| asked.has_fallback || asked.deadline < until);
        }
    }

    /// The questions that are to be asked now. They count as asked.
    pub fn due_free_probes(&mut self, now: Now) -> Vec<FreeProbe> {
        let due = self.groups.iter_mut().filter_map(|Group { account, name, breaker, .. }| {
            let is_due = breaker.asks_free_probe(now.instant);
            is_due.then(|| FreeProbe { account: *account, group: name.clone() })
        });
        due.collect()
    }

    /// When the next is due.
    pub fn next_free_probe(&self) -> Option<Instant> {
        self.groups.iter().filter_map(|group| group.breaker.next_free_probe()).min()
    }

    /// What the upstream answered. Where it is there again, a call may go ahead.
    pub fn probed(&mut self, probe: &FreeProbe, well: bool, now: Now) {
        let groups = self.accounts.get(probe.account.index()).map(|account| &account.groups);
        if let Some(group) = groups.and_then(|groups| groups.get(&probe.group)) {
            self.groups[*group].breaker.probed(well, now.instant);
        }
    }

    /// Every group about which there is something to tell.
    pub fn breakers(&self, now: Now) -> Vec<BreakerView> {
        let view = |Group { account, name, breaker, .. }: &Group| {
            let (state, until, since) = breaker.told(now.instant)?;
            Some(BreakerView { account: *account, group: name.clone(), state, until, since })
        };
        self.groups.iter().filter_map(view).collect()
    }

    /// What keeps all calls of a lane back, whatever is left of its limits: a refusal, or a breaker.
    pub(super) fn closed(&self, lane: LaneId, now: Instant) -> Wait {
        let Group { gate, breaker, .. } = &self.groups[self.lanes[lane.0].group];
        let broken = match breaker.passage(now) {
            Passage::Free => Wait::None,
            Passage::From(until) => Wait::Until(until),
            Passage::AfterProbe => Wait::UntilOneEnds,
        };
        gate.opens(now).map_or(Wait::None, Wait::Until).max(broken)
    }

    pub(super) fn is_broken(&self, lane: LaneId, now: Instant) -> bool {
        self.breaker(lane).passage(now) != Passage::Free
    }

    /// A breaker that this call won't wait for.
    pub(super) fn broken_beyond(&self, waiter: &Waiter, now: Now) -> Option<Refusal> {
        let Asked { has_fallback, deadline, .. } = waiter.asked;
        let is_beyond = match self.breaker(waiter.lane).passage(now.instant) {
            Passage::Free => false,
            Passage::From(until) => has_fallback || deadline < until,
            Passage::AfterProbe => has_fallback,
        };
        if is_beyond { self.broken(waiter, now) } else { None }
    }

    /// The breaker behind which a call waits, be it open or half-open.
    pub(super) fn broken(&self, waiter: &Waiter, now: Now) -> Option<Refusal> {
        let Group { account, name, breaker, .. } = &self.groups[self.lanes[waiter.lane.0].group];
        let until = match breaker.passage(now.instant) {
            Passage::From(until) => until,
            Passage::AfterProbe | Passage::Free => now.instant.after(PROBE_ENDS),
        };
        let refusal = || Refusal::BreakerOpen { account: *account, group: name.clone(), until };
        (!breaker.is_closed()).then(refusal)
    }

    /// A call goes: where it is the one that goes ahead, those who can go elsewhere don't wait for it.
    pub(super) fn pass_breaker(&mut self, lane: LaneId, now: Now) -> Option<ProbeId> {
        let group = self.lanes[lane.0].group;
        let probe = self.groups[group].breaker.passed()?;
        self.refuse_waiting(group, now.instant.after(PROBE_ENDS), |asked| asked.has_fallback);
        Some(probe)
    }

    /// A ticket comes back of which nobody told how its call fared.
    pub(super) fn probe_ended(&mut self, ticket: &Ticket) {
        if let Some(probe) = ticket.probe {
            self.groups[self.lanes[ticket.lane.0].group].breaker.ended(probe);
        }
    }

    fn breaker(&self, lane: LaneId) -> &Breaker {
        &self.groups[self.lanes[lane.0].group].breaker
    }

    fn refuse_waiting(&mut self, group: usize, until: Instant, is_meant: impl Fn(&Asked) -> bool) {
        let (account, name): (AccountId, Arc<str>) = (self.groups[group].account, self.groups[group].name.clone());
        let is_here = |waiter: &Waiter| !waiter.aside && self.lanes[waiter.lane.0].group == group;
        let meant = |waiter: &Waiter| is_here(waiter) && is_meant(&waiter.asked);
        let refused: Vec<WaiterId> =
            self.waiters.iter().filter(|(_, waiter)| meant(waiter)).map(|(id, _)| *id).collect();
        for id in refused {
            self.cancel(id);
            self.refused.push((id, Refusal::BreakerOpen { account, group: name.clone(), until }));
        }
    }
}
