//! Windows that are used up early, again and again: the limit doesn't fit the work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Figure, Turn};
use crate::time::Timestamp;

/// Of each window, how many in a row were used up early. It outlives a restart as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Streaks {
    pub by_window: BTreeMap<Arc<str>, Streak>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Streak {
    pub turn: Turn,
    /// Windows in a row before this one.
    pub before: u64,
    /// This one too.
    pub early: bool,
}

/// Early is before so much of its time has passed, in hundredths.
const EARLY: u32 = 80;
const WINDOWS_MAX: usize = 200;
const JITTER: Duration = Duration::from_secs(60);

impl Streaks {
    /// Gives how many windows in a row were used up before four fifths of their time, this one included.
    pub fn observe(&mut self, window: &Arc<str>, used: Figure, turn: Turn, now: Timestamp) -> Figure {
        if !self.by_window.contains_key(window) && self.by_window.len() >= WINDOWS_MAX {
            return Figure::ZERO;
        }
        let streak = self.by_window.entry(window.clone()).or_insert(Streak { turn, ..Streak::default() });
        if turn.since > streak.turn.since.after(JITTER) {
            let follows = turn.since <= streak.turn.resets_at.after(streak.turn.length());
            let before = if streak.early && follows { streak.before + 1 } else { 0 };
            *streak = Streak { turn, before, early: false };
        }
        let is_this = turn.since.after(JITTER) >= streak.turn.since;
        let is_early = now < turn.since.after(turn.length() * EARLY / 100);
        streak.early |= is_this && is_early && used >= Figure::ONE;
        Figure::count(streak.before + u64::from(streak.early))
    }
}
