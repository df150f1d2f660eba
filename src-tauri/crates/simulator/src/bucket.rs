//! A token bucket without rounding: it refills continuously, `limit` a minute.
//!
//! Levels are kept in 1 / 60,000,000,000 of a token, so that a nanosecond refills exactly `limit` of them.

use std::time::Duration;

use domain::time::Instant;

/// Units of one token: the nanoseconds of a minute.
const TOKEN: i128 = 60_000_000_000;

/// A smoothed bucket forgives a call that comes this early.
const JITTER: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    limit: u64,
    capacity: i128,
    level: i128,
    filled_at: Instant,
    first_at: Instant,
}

impl Bucket {
    /// Holds a full minute, and is full at first.
    pub(crate) fn of_a_minute(limit: u64, now: Instant) -> Bucket {
        Bucket::new(limit, i128::from(limit) * TOKEN, now)
    }

    /// Holds one, and what 50 ms refill: calls must come evenly.
    pub(crate) fn smooth(limit: u64, now: Instant) -> Bucket {
        let early = i128::from(limit) * JITTER.as_nanos() as i128;
        Bucket::new(limit, (TOKEN + early).min(i128::from(limit).max(1) * TOKEN), now)
    }

    fn new(limit: u64, capacity: i128, now: Instant) -> Bucket {
        Bucket { limit, capacity, level: capacity, filled_at: now, first_at: now }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn refill(&mut self, now: Instant) {
        let gained = i128::from(self.limit) * now.since(self.filled_at).as_nanos() as i128;
        self.level = (self.level + gained).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
    }

    /// How long until `tokens` are there; zero where they are. More than it can ever hold: until it is full.
    pub(crate) fn wait_for(&mut self, tokens: u64, now: Instant) -> Duration {
        self.refill(now);
        let missing = i128::from(tokens) * TOKEN - self.level;
        self.time_to_gain(missing.min(self.capacity - self.level))
    }

    pub(crate) fn holds(&mut self, tokens: u64, now: Instant) -> bool {
        self.refill(now);
        i128::from(tokens) * TOKEN <= self.level
    }

    /// Takes without asking; the level may become a debt.
    pub(crate) fn take(&mut self, tokens: u64, now: Instant) {
        self.refill(now);
        self.level -= i128::from(tokens) * TOKEN;
    }

    pub(crate) fn give_back(&mut self, tokens: u64, now: Instant) {
        self.refill(now);
        self.level = (self.level + i128::from(tokens) * TOKEN).min(self.capacity);
    }

    /// Whole tokens; a debt shows as none.
    pub(crate) fn remaining(&mut self, now: Instant) -> u64 {
        self.refill(now);
        whole(self.level)
    }

    pub(crate) fn full_in(&mut self, now: Instant) -> Duration {
        self.refill(now);
        self.time_to_gain(self.capacity - self.level)
    }

    /// What it would have let through from its first moment to now.
    pub(crate) fn offered(&self, now: Instant) -> u64 {
        let refilled = i128::from(self.limit) * now.since(self.first_at).as_nanos() as i128;
        whole(self.capacity + refilled)
    }

    fn time_to_gain(&self, units: i128) -> Duration {
        let nanos = units.max(0).unsigned_abs().div_ceil(u128::from(self.limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn whole(units: i128) -> u64 {
    u64::try_from(units.max(0) / TOKEN).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_refills_by_exact_fractions() {
        let mut bucket = Bucket::of_a_minute(7, at(0));
        bucket.take(7, at(0));
        // A seventh of a minute is 8,571,428,571 3/7 ns: one token needs the nanosecond after.
        assert_eq!(bucket.wait_for(1, at(0)), Duration::from_nanos(8_571_428_572));
        assert!(!bucket.holds(1, at(8_571_428_571)));
        assert!(bucket.holds(1, at(8_571_428_572)));
    }

    #[test]
    fn no_refill_is_lost_however_often_it_is_asked() {
        let mut asked = Bucket::of_a_minute(7, at(0));
        asked.take(7, at(0));
        for i in 0..60_000 {
            asked.remaining(at(i * 1_000_000));
        }
        assert_eq!(asked.remaining(at(60 * SECOND)), 7);
        assert_eq!(asked.full_in(at(60 * SECOND)), Duration::ZERO);
    }

    #[test]
    fn a_smoothed_bucket_lets_calls_pass_one_by_one_and_forgives_50_ms() {
        let mut bucket = Bucket::smooth(50, at(0));
        bucket.take(1, at(0));
        let early = 1_200_000_000 - 50_000_000;
        assert!(!bucket.holds(1, at(early - 1)));
        assert!(bucket.holds(1, at(early)));
        bucket.take(1, at(early));
        assert!(!bucket.holds(1, at(2 * early)), "it forgives once, not every time");
        assert!(bucket.holds(1, at(early + 1_200_000_000)));
    }

    #[test]
    fn over_any_span_no_more_passes_than_burst_and_rate_allow() {
        let mut rng = fastrand::Rng::with_seed(3);
        for limit in [1, 50, 999, 4_000] {
            let mut bucket = Bucket::smooth(limit, at(0));
            let (mut now, mut passed) = (0, 0_u64);
            while now < 30 * SECOND {
                now += rng.u64(0..20_000_000);
                if bucket.holds(1, at(now)) {
                    bucket.take(1, at(now));
                    passed += 1;
                }
            }
            assert!(passed <= bucket.offered(at(now)), "{limit}: {passed}");
            assert!(passed * 100 >= bucket.offered(at(now)) * 50, "{limit}: {passed}");
        }
    }

    #[test]
    fn a_debt_shows_as_nothing_left_and_is_paid_by_time() {
        let mut bucket = Bucket::of_a_minute(60, at(0));
        bucket.take(90, at(0));
        assert_eq!(bucket.remaining(at(0)), 0);
        assert_eq!(bucket.wait_for(1, at(0)), Duration::from_secs(31));
        bucket.give_back(1_000, at(0));
        assert_eq!(bucket.remaining(at(0)), 60, "it never holds more than a minute");
    }
}
