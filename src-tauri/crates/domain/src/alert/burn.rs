//! How much faster than it would last something is being used.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Figure, Turn};
use crate::time::Timestamp;

/// The pace of one window, over a long look back and a short one: the short one ends the alert soon after the burst.
#[derive(Clone, Debug, Default)]
pub struct Burn {
    turn: Turn,
    /// Used part of the window at a moment, the earliest first.
    samples: VecDeque<(Timestamp, Figure)>,
}

/// The long look back is so much of the window: an hour of a week.
const PART_OF_WINDOW: u32 = 168;
const LONG_MIN: Duration = Duration::from_secs(300);
/// The short one is so much of the long one.
const PART_OF_LONG: u32 = 12;
/// More than both looks need.
const SAMPLES_MAX: usize = 2 * 12 * PART_OF_LONG as usize;

impl Burn {
    /// Used so far, as a part of the limit. Gives the burn rate: (used in the look back / its length as a part of the
    /// window's), the smaller of the two looks; zero as long as the window has not been watched for the long one.
    pub fn observe(&mut self, used: Figure, turn: Turn, now: Timestamp) -> Figure {
        let last = self.samples.back().copied();
        let is_other = turn.since != self.turn.since || last.is_some_and(|(at, before)| at > now || before > used);
        if is_other {
            (self.turn, self.samples) = (turn, VecDeque::new());
        }
        let long = (turn.length() / PART_OF_WINDOW).max(LONG_MIN);
        let short = long / PART_OF_LONG;
        let is_due = |(at, _): (Timestamp, Figure)| now.since(at) >= short / 12;
        if self.samples.back().copied().is_none_or(is_due) {
            self.samples.push_back((now, used));
        }
        // One sample beyond the look back stays: it is where the look begins.
        while self.samples.get(1).is_some_and(|(at, _)| now.since(*at) >= long) || self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
        let rates = [long, short].map(|look| self.rate(used, look, now));
        rates.into_iter().map(Option::unwrap_or_default).min().unwrap_or_default()
    }

    fn rate(&self, used: Figure, look: Duration, now: Timestamp) -> Option<Figure> {
        let begins = self.samples.iter().rev().find(|(at, _)| now.since(*at) >= look)?;
        let spent = i128::from(used.as_millionths()) - i128::from(begins.1.as_millionths());
        let (length, passed) = (self.turn.length().as_millis(), now.since(begins.0).as_millis());
        let rate = spent * i128::try_from(length).ok()? / i128::try_from(passed).ok().filter(|passed| *passed > 0)?;
        Some(Figure::from_millionths(i64::try_from(rate).unwrap_or(i64::MAX)))
    }
}
