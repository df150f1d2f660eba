//! In an emergency background calls wait, and normal calls leave half of each limit's pace to critical ones.

use std::collections::BTreeMap;

use super::demand::Need;
use super::minute::{ResourceId, Wait};
use super::queue::Row;
use super::waiter::Waiter;
use super::{Admission, LaneId};
use crate::call::Class;
use crate::time::{Instant, Timestamp};

/// An emergency as calls meet it. A pause by hand is another thing, and neither ends the other.
#[derive(Debug)]
pub(super) struct Crisis {
    pub(super) since: Timestamp,
    /// Background calls that have waited because of it.
    held: u64,
    /// When the next normal call may draw on a limit.
    normal_from: BTreeMap<ResourceId, Instant>,
}

impl Admission {
    /// Since when there is an emergency. Leaving it restores everything.
    pub fn set_emergency(&mut self, since: Option<Timestamp>) {
        let waiting = self.waiters.values().filter(|waiter| waiter.row == Row::Of(Class::Background)).count();
        self.crisis = match (since, self.crisis.take()) {
            (Some(since), Some(known)) => Some(Crisis { since, ..known }),
            (Some(since), None) => Some(Crisis { since, held: waiting as u64, normal_from: BTreeMap::new() }),
            (None, _) => None,
        };
    }

    /// Background calls that have waited because of the emergency that is on.
    pub fn held_by_emergency(&self) -> u64 {
        self.crisis.as_ref().map_or(0, |crisis| crisis.held)
    }

    /// Nobody of the class goes before somebody ends that.
    pub(super) fn is_held(&self, class: Class) -> bool {
        self.paused[class as usize] || (class == Class::Background && self.crisis.is_some())
    }

    pub(super) fn is_slowed(&self, row: Row) -> bool {
        row == Row::Of(Class::Normal) && self.crisis.is_some()
    }

    /// How long a normal call lets critical ones draw on the limits that it has drawn on.
    pub(super) fn slowdown(&self, waiter: &Waiter, now: Instant) -> (Wait, Option<ResourceId>) {
        let Some(crisis) = self.crisis.as_ref().filter(|_| self.is_slowed(waiter.row)) else {
            return (Wait::None, None);
        };
        let later = |id: ResourceId| Some((*crisis.normal_from.get(&id)?, id));
        let last = self.draws_on(waiter.lane).filter_map(later).max().filter(|(at, _)| *at > now);
        last.map_or((Wait::None, None), |(at, id)| (Wait::Until(at), Some(id)))
    }

    /// A normal call goes. The next draws on each limit after twice the time that refilling what this one takes needs:
    /// together they have half of the pace, and a burst of one call.
    pub(super) fn slow_down(&mut self, lane: LaneId, row: Row, need: Need, now: Instant) {
        if !self.is_slowed(row) {
            return;
        }
        let drawn: Vec<ResourceId> = self.draws_on(lane).collect();
        let Some(crisis) = &mut self.crisis else { return };
        for id in drawn {
            let next = now.after(self.resources.refill_time(id, need).saturating_mul(2));
            crisis.normal_from.insert(id, next);
        }
    }

    pub(super) fn count_held(&mut self, waiter: &Waiter) {
        if let (Some(crisis), Row::Of(Class::Background)) = (&mut self.crisis, waiter.row) {
            crisis.held += 1;
        }
    }
}
