//! Who goes next: the heads of all lanes, those who are past their deadline, and who gives way where too many wait.

use std::collections::{BTreeMap, BTreeSet};

use super::demand::WaiterId;
use super::minute::Wait;
use super::queue::{Head, Place, Row};
use super::quota::QuotaId;
use super::refusal::Refusal;
use super::waiter::{Terms, Waiter};
use super::{Admission, Decision, LaneId};
use crate::call::Class;
use crate::time::{Instant, Now};

impl Admission {
    /// Lets every head go whose turn it is, the most urgent and oldest first.
    pub(super) fn admit(&mut self, now: Now) -> Vec<Decision> {
        let mut admitted = Vec::new();
        let mut turns: BTreeMap<(Row, Instant, LaneId), WaiterId> =
            self.busy.iter().filter_map(|id| self.turn(*id, now)).collect();
        // What an earlier head waits for, a later one must not take.
        let mut held = BTreeSet::new();
        while let Some(((row, _, id), next)) = turns.pop_first() {
            if self.is_broken(id, now.instant) {
                // What it waits for is no limit: it holds none back from others.
                continue;
            }
            let Some(terms) = self.terms_of_head(id, next, now.instant) else { continue };
            let Some(waiter) = self.waiters.get(&next) else { continue };
            let (wait, by, covered) = self.wait(waiter, terms.need, now.instant);
            if wait != Wait::None {
                held.extend(by);
            } else if self.draws_on(id).any(|resource| held.contains(&resource)) {
                // Its turn comes after the one that it would get ahead of.
            } else if let Some(quota) = self.quota_shut(waiter, now) {
                match row {
                    Row::Reserved => self.seat_unpaid(next),
                    Row::Of(class) => self.park(id, class, next, quota),
                }
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
            self.is_held(class) || windows.iter().any(|id| self.quotas.shut(*id, class, now.timestamp).is_some())
        };
        let shut = [shut(Class::Critical), shut(Class::Normal), shut(Class::Background)];
        self.lanes[id.0].queue.head(shut, now.instant)
    }

    pub(super) fn wait_of_head(&self, id: LaneId, now: Now) -> Option<Wait> {
        let Head { place, .. } = self.head(id, now)?;
        if self.is_broken(id, now.instant) {
            return Some(self.closed(id, now.instant));
        }
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
    pub(super) fn next_turn(&self, now: Now) -> Option<Instant> {
        let reset = self.quotas.next_reset(now.timestamp);
        let opening = self.quotas.next_opening(now.timestamp);
        reset.into_iter().chain(opening).min().map(|at| now.instant_of(at))
    }

    /// A budget of the call that can't be had now, or where it is of a reservation a window too: the account's windows have
    /// shut the whole class of others before.
    fn quota_shut(&self, waiter: &Waiter, now: Now) -> Option<QuotaId> {
        let by = waiter.asked.reservation.filter(|_| waiter.row == Row::Reserved);
        self.unpaid(by, &waiter.quotas, waiter.asked.class, now.timestamp).map(|(id, _)| id)
    }

    fn park(&mut self, lane: LaneId, class: Class, waiter: WaiterId, quota: QuotaId) {
        let Some(waiter) = self.waiters.get(&waiter) else { return };
        let seat = waiter.seat;
        self.lanes[lane.0].queue.park(class, seat, true);
        self.parked.entry(quota).or_default().insert((lane, class, seat));
    }

    pub(super) fn unpark(&mut self, quota: QuotaId) {
        for (lane, class, seat) in self.parked.remove(&quota).into_iter().flatten() {
            self.lanes[lane.0].queue.park(class, seat, false);
        }
    }

    pub(super) fn unpark_all(&mut self) {
        while let Some(quota) = self.parked.keys().next().copied() {
            self.unpark(quota);
        }
    }

    fn release(&mut self, id: WaiterId, terms: Terms, covered: bool, now: Now) -> Option<Decision> {
        let waiter = self.waiters.remove(&id)?;
        self.leave_queue(&waiter, id, Some(terms.need.size()), now.instant);
        Some((id, Ok(self.grant(*waiter, terms, covered, now))))
    }

    pub(super) fn expire(&mut self, now: Now) -> Vec<Decision> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now.instant) {
            let refusal = self.waiters.get(&id).map(|late| self.why_late(late, id, now));
            self.cancel(id);
            expired.extend(refusal.map(|refusal| (id, Err(refusal))));
        }
        expired
    }

    fn why_late(&self, late: &Waiter, id: WaiterId, now: Now) -> Refusal {
        if late.aside {
            return Refusal::ScopePaused { scope: self.pausing(&late.asked).unwrap_or_default() };
        }
        if let Some(broken) = self.broken(late, now) {
            return broken;
        }
        let class = late.asked.class;
        let quotas = || late.quotas.iter().find_map(|id| Some((*id, self.quotas.shut(*id, class, now.timestamp)?)));
        if late.row != Row::Reserved {
            if self.paused[class as usize] {
                return Refusal::Paused { class };
            }
            if let Some(crisis) = self.crisis.as_ref().filter(|_| self.is_held(class)) {
                return Refusal::Emergency { class, since: crisis.since };
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
    pub(super) fn make_room(&mut self, newcomer: &Waiter) -> bool {
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

    pub(super) fn enqueue(&mut self, waiter: Waiter) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.count_held(&waiter);
        self.join_queue(Box::new(waiter), id);
        id
    }

    fn join_queue(&mut self, mut waiter: Box<Waiter>, id: WaiterId) {
        self.deadlines.insert((waiter.asked.deadline, id));
        if waiter.aside {
            self.waiters.insert(id, waiter);
            return;
        }
        let queue = &mut self.lanes[waiter.lane.0].queue;
        waiter.seat = queue.push(waiter.row, &waiter.path(), waiter.place(id), waiter.load());
        self.busy.insert(waiter.lane);
        self.waiters.insert(id, waiter);
    }

    /// Puts a waiting call where it belongs after a change. `false` where it no longer waits.
    pub(super) fn seat_anew(&mut self, id: WaiterId, change: impl FnOnce(&mut Waiter)) -> bool {
        let Some(mut waiter) = self.waiters.remove(&id) else { return false };
        self.leave_queue(&waiter, id, None, Instant::default());
        change(&mut waiter);
        self.join_queue(waiter, id);
        true
    }

    pub(super) fn leave_queue(&mut self, waiter: &Waiter, id: WaiterId, served: Option<u64>, now: Instant) {
        self.deadlines.remove(&(waiter.asked.deadline, id));
        if waiter.aside {
            return;
        }
        let queue = &mut self.lanes[waiter.lane.0].queue;
        queue.remove(waiter.row, waiter.seat, waiter.place(id), waiter.load(), served, now);
        if queue.is_empty() {
            self.busy.remove(&waiter.lane);
        }
    }
}
