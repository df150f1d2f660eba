//! How soon a failed call may be sent again, and how many of all calls may.

use std::time::Duration;

/// Twice as long after each attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

/// As the SDKs have it.
impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { base: Duration::from_millis(500), max: Duration::from_secs(8) }
    }
}

impl Backoff {
    /// Any wait from none to the longest is as likely, so that callers who failed together don't come back together.
    /// `attempt`: how many have been retried before, from 0. `chance`: all its bits count.
    pub fn delay(&self, attempt: u32, chance: u64) -> Duration {
        let doubled = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let longest = self.base.saturating_mul(doubled).min(self.max);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(nanos) + 1).saturating_mul(chance.into()) >> 64;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(nanos))
    }
}

/// Retries are a share of all calls: an upstream in trouble must not get many times its load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryBudget {
    /// What each call adds, in thousandths of a retry.
    permille: u32,
    /// In thousandths of a retry.
    left: u32,
}

const RETRY: u32 = 1_000;
const RETRIES_MAX: u32 = 10 * RETRY;

impl RetryBudget {
    /// Full: 10 retries.
    pub fn new(budget_permille: u32) -> RetryBudget {
        RetryBudget { permille: budget_permille, left: RETRIES_MAX }
    }

    /// A call came, be it retried or not. A retry is no call of its own.
    pub fn call(&mut self) {
        self.left = self.left.saturating_add(self.permille).min(RETRIES_MAX);
    }

    /// Whether a failed call may be sent again; where it may, that is taken.
    pub fn retry(&mut self) -> bool {
        let left = self.left.checked_sub(RETRY);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn longest(attempt: u32) -> Duration {
        Backoff::default().delay(attempt, u64::MAX)
    }

    #[test]
    fn the_longest_wait_doubles_from_half_a_second_to_eight() {
        let waits: Vec<u128> = (0..7).map(|attempt| longest(attempt).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!((longest(31), longest(32), longest(u32::MAX)), (longest(4), longest(4), longest(4)));
    }

    #[test]
    fn a_base_above_the_longest_wait_is_that() {
        let backoff = Backoff { base: Duration::MAX, max: Duration::from_secs(3) };
        assert_eq!(backoff.delay(7, u64::MAX), Duration::from_secs(3));
        let endless = Backoff { base: Duration::MAX, max: Duration::MAX };
        assert_eq!(endless.delay(7, u64::MAX).as_nanos(), u64::MAX.into());
    }

    #[test]
    fn every_wait_up_to_the_longest_is_as_likely() {
        let mut tenths = [0_u32; 10];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let wait = Backoff::default().delay(2, random.u64(..)).as_nanos();
            tenths[usize::try_from(wait * 10 / 2_000_000_001).expect("below ten")] += 1;
        }
        assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
        let backoff = Backoff::default();
        assert_eq!([0, 1 << 63].map(|chance| backoff.delay(0, chance).as_millis()), [0, 250]);
    }

    #[test]
    fn ten_retries_may_go_before_any_call_has_and_then_one_of_ten() {
        let mut budget = RetryBudget::new(100);
        let mut retried = |calls: u32| (0..calls).filter(|_| (budget.call(), budget.retry()).1).count();
        // The first call finds the bucket full; the tenth retry leaves nine tenths of one.
        assert_eq!([retried(10), retried(1), retried(10), retried(1_000)], [10, 1, 1, 100]);
    }

    #[test]
    fn calls_that_need_no_retry_save_up_ten_for_the_others() {
        let mut budget = RetryBudget::new(100);
        (0..10).for_each(|_| assert!(budget.retry()));
        assert!(!budget.retry());
        (0..1_000).for_each(|_| budget.call());
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 10);
    }

    #[test]
    fn a_budget_of_nothing_is_ten_retries_for_good() {
        let mut budget = RetryBudget::new(0);
        let retried = (0..1_000).filter(|_| (budget.call(), budget.retry()).1).count();
        assert_eq!(retried, 10);
    }

    proptest! {
        #[test]
        fn at_no_time_are_retries_more_than_the_share_and_ten(
            permille in 0_u32..=1_000,
            events in proptest::collection::vec(any::<bool>(), 0..2_000),
        ) {
            let mut budget = RetryBudget::new(permille);
            // Retries beyond the share so far, and the least that was ever: from there on at most ten may follow.
            let (mut beyond, mut least) = (0_i64, 0_i64);
            for is_call in events {
                if is_call {
                    budget.call();
                    beyond -= i64::from(permille);
                } else if budget.retry() {
                    beyond += 1_000;
                }
                least = least.min(beyond);
                prop_assert!(beyond - least <= 10_000);
            }
        }
    }
}
