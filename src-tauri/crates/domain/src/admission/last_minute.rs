//! How many went in the last minute, for the eye: a smoothed bucket holds one token and tells nothing of the minute.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Those of one step are counted together.
const STEP_NANOS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct LastMinute {
    /// The start of each step and how many went in it, in order.
    steps: VecDeque<(Instant, u64)>,
}

impl LastMinute {
    pub(super) fn count(&self, now: Instant) -> u64 {
        self.steps.iter().filter(|(at, _)| now.since(*at) < MINUTE).map(|(_, went)| went).sum()
    }

    pub(super) fn went(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|(at, _)| now.since(*at) >= MINUTE) {
            self.steps.pop_front();
        }
        let step = Instant::from_nanos(now.as_nanos() / STEP_NANOS * STEP_NANOS);
        match self.steps.back_mut() {
            Some((at, went)) if *at >= step => *went += 1,
            Some(_) | None => self.steps.push_back((step, 1)),
        }
    }

    /// The latest did not go after all.
    pub(super) fn came_back(&mut self) {
        if let Some((_, went)) = self.steps.back_mut() {
            *went = went.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_counts_for_a_minute_and_what_came_back_does_not() {
        let at = |seconds: u64| Instant::from_nanos(seconds * STEP_NANOS);
        let mut minute = LastMinute::default();
        for second in [0, 0, 30, 59] {
            minute.went(at(second));
        }
        minute.came_back();
        assert_eq!([59, 60, 89, 90].map(|second| minute.count(at(second))), [3, 1, 1, 0]);
        minute.went(at(1_000));
        assert!(minute.steps.len() <= 60, "old steps are forgotten");
    }
}
