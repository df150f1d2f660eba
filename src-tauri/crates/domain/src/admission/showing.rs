//! What people see of admission.

use std::collections::BTreeMap;
use std::time::Duration;

use super::demand::{Demand, WaiterId};
use super::estimate::EstimateError;
use super::queue::{Place, Row, Seat};
use super::quota::QuotaLevel;
use super::view::{ClassQueue, Level, Outlook, Outside, WaitingCall};
use super::waiter::{Asked, Terms, Waiter};
use super::{AccountId, Admission, LaneId};
use crate::call::Class;
use crate::time::Now;

impl Admission {
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
        let waits = |id: &&LaneId| self.lanes[id.0].queue.waiting(class) > 0;
        let mut etas = self.busy.iter().filter(waits).map(|id| self.eta_of_class(*id, class, now));
        ClassQueue {
            waiting: of_class().count(),
            running: self.running[class as usize],
            oldest: of_class().map(|waiter| now.instant.since(waiter.asked.since)).max(),
            eta: etas.try_fold(Duration::ZERO, |last, eta| Some(last.max(eta?))),
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
            if waiter.aside {
                waiting.push(self.waiting_call(place.waiter, waiter, 0, now));
                continue;
            }
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
            input: waiter.input,
            waited: now.instant.since(*since),
            eta: if waiter.aside { None } else { self.eta(waiter, wait, before, now) },
        }
    }
}
