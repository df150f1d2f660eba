//! Sessions and clients that somebody has paused: their calls stand aside until a person lets them go on, and nobody waits
//! behind them.

use std::sync::Arc;

use super::Admission;
use super::demand::{Verdict, WaiterId};
use super::refusal::Refusal;
use super::view::PausedScope;
use super::waiter::{Asked, Met, MetBy, Waiter};
use crate::time::{Now, Timestamp};

/// Names of sessions are what clients write. Beyond this many scopes the one that was paused first goes on.
const SCOPES_MAX: usize = 256;
/// Calls of one scope that stand aside; what is beyond is refused at once.
const ASIDE_MAX: usize = 16;

impl Admission {
    /// From now on calls of `session:ID` or `client:NAME` wait, those that wait already too. Those that run go on.
    pub fn pause_scope(&mut self, scope: &str, now: Timestamp) {
        if self.paused_scopes.len() >= SCOPES_MAX && !self.paused_scopes.contains_key(scope) {
            let first = self.paused_scopes.iter().min_by_key(|(_, since)| **since).map(|(name, _)| name.clone());
            if let Some(first) = first {
                self.resume_scope(&first);
            }
        }
        self.paused_scopes.entry(scope.into()).or_insert(now);
        self.seat_scope(scope);
    }

    /// `false` where it wasn't paused.
    pub fn resume_scope(&mut self, scope: &str) -> bool {
        let was_paused = self.paused_scopes.remove(scope).is_some();
        self.seat_scope(scope);
        was_paused
    }

    /// By name.
    pub fn paused_scopes(&self) -> Vec<PausedScope> {
        let paused = |(scope, since): (&Arc<str>, &Timestamp)| PausedScope {
            scope: scope.clone(),
            since: *since,
            waiting: self.of_scope(scope).count(),
        };
        self.paused_scopes.iter().map(paused).collect()
    }

    pub(super) fn recall_paused(&mut self, scopes: Vec<(Arc<str>, Timestamp)>) {
        for (scope, since) in scopes {
            self.pause_scope(&scope, since);
        }
    }

    pub(super) fn is_paused(&self, waiter: &Waiter) -> bool {
        self.pausing(&waiter.asked).is_some()
    }

    /// The scope by which a call stands aside.
    pub(super) fn pausing(&self, asked: &Asked) -> Option<Arc<str>> {
        self.paused_scopes.keys().find(|scope| asked.is_of(scope)).cloned()
    }

    /// Nobody knows when a person will let it go on: it waits as long as it can.
    pub(super) fn stand_aside(&mut self, mut waiter: Waiter, now: Now) -> Result<Verdict, Refusal> {
        let scope = self.pausing(&waiter.asked).unwrap_or_default();
        let is_full = self.of_scope(&scope).count() >= ASIDE_MAX || self.waiters.len() >= self.queue_max;
        if is_full || waiter.asked.deadline <= now.instant {
            return Err(Refusal::ScopePaused { scope });
        }
        (waiter.aside, waiter.met) = (true, Some(Met { at: now.instant, by: MetBy::Pause, ahead: 0 }));
        Ok(Verdict::Wait(self.enqueue(waiter)))
    }

    /// One that another scope holds still stays aside.
    fn seat_scope(&mut self, scope: &str) {
        let waiting: Vec<(WaiterId, bool)> =
            self.of_scope(scope).map(|(id, waiter)| (id, self.is_paused(waiter))).collect();
        for (id, aside) in waiting {
            self.seat_anew(id, |waiter| waiter.aside = aside);
        }
    }

    fn of_scope(&self, scope: &str) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        let waiters = self.waiters.iter().map(|(id, waiter)| (*id, &**waiter));
        waiters.filter(move |(_, waiter)| waiter.asked.is_of(scope))
    }
}

impl Asked {
    fn is_of(&self, scope: &str) -> bool {
        match scope.split_once(':') {
            Some(("session", session)) => self.session.as_deref() == Some(session),
            Some(("client", client)) => *self.client == *client,
            Some(_) | None => false,
        }
    }
}
