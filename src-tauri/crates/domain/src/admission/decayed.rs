//! A sum of what happened lately: what is older counts less.

use std::time::Duration;

use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Decayed {
    sum: i128,
    at: Instant,
    memory: Duration,
}

impl Decayed {
    /// After `memory` half of it is forgotten.
    pub(super) const fn over(memory: Duration) -> Decayed {
        Decayed { sum: 0, at: Instant::from_nanos(0), memory }
    }

    pub(super) fn add(&mut self, amount: i128, now: Instant) {
        self.sum = self.now(now).saturating_add(amount);
        self.at = self.at.max(now);
    }

    pub(super) fn now(&self, now: Instant) -> i128 {
        let passed = i128::try_from(now.since(self.at).as_micros()).unwrap_or(i128::MAX);
        let memory = i128::try_from(self.memory.as_micros()).unwrap_or(i128::MAX).max(1);
        self.sum.saturating_mul(memory) / memory.saturating_add(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_counts_less() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut sum = Decayed::over(Duration::from_secs(60));
        sum.add(100, at(10));
        assert_eq!([10, 70, 130].map(|second| sum.now(at(second))), [100, 50, 33]);
        sum.add(-100, at(10));
        assert_eq!(sum.now(at(70)), 0);
    }
}
