//! A token bucket without rounding: it refills continuously, `limit` a minute.
//!
//! Levels are kept in 1 / 60,000,000,000 of a token, so that a nanosecond refills exactly `limit` of them.

use std::time::Duration;

use domain::time::Instant;

/// Units of one token: the nanoseconds of a minute.
const TOKEN: i128 = 60_000_000_000;

/// A smoothed bucket forgives a call that comes this early.
const JITTER: Duration = Duration::from_millis(50);

/// How much may pass at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Burst {
    /// A full minute.
    Minute,
    /// One, and what the jitter forgives: calls must come evenly.
    One,
}

impl Burst {
    fn capacity(self, limit: u64) -> i128 {
        let minute = i128::from(limit) * TOKEN;
        match self {
            Burst::Minute => minute,
            Burst::One => (TOKEN + units_refilled(limit, JITTER)).min(minute.max(TOKEN)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    limit: u64,
    burst: Burst,
    capacity: i128,
    level: i128,
    filled_at: Instant,
    /// What would have passed from its first moment until `offered_until`.
    offered: i128,
    offered_until: Instant,
}

impl Bucket {
    /// Holds a full minute, and is full at first.
    pub(crate) fn of_a_minute(limit: u64, now: Instant) -> Bucket {
        Bucket::new(limit, Burst::Minute, now)
    }

    /// Lets calls pass one by one.
    pub(crate) fn smooth(limit: u64, now: Instant) -> Bucket {
        Bucket::new(limit, Burst::One, now)
    }

    fn new(limit: u64, burst: Burst, now: Instant) -> Bucket {
        let capacity = burst.capacity(limit);
        Bucket { limit, burst, capacity, level: capacity, filled_at: now, offered: capacity, offered_until: now }
    }

    /// From now on another limit. What was spent stays spent; a limit below that leaves nothing, but makes no debt.
    pub(crate) fn set_limit(&mut self, limit: u64, now: Instant) {
        self.refill(now);
        self.offered = self.offered_units(now);
        self.offered_until = now;
        let more = self.burst.capacity(limit) - self.capacity;
        self.offered += more.max(0);
        self.level = (self.level + more).max(self.level.min(0));
        self.capacity += more;
        self.limit = limit;
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn refill(&mut self, now: Instant) {
        let gained = units_refilled(self.limit, now.since(self.filled_at));
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
        whole(self.offered_units(now))
    }

    fn offered_units(&self, now: Instant) -> i128 {
        self.offered + units_refilled(self.limit, now.since(self.offered_until))
    }

    fn time_to_gain(&self, units: i128) -> Duration {
        let nanos = units.max(0).unsigned_abs().div_ceil(u128::from(self.limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn units_refilled(limit: u64, time: Duration) -> i128 {
    i128::from(limit).saturating_mul(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX))
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

    #[test]
    fn another_limit_keeps_what_was_spent() {
        for (spent, limit, remaining) in [
            (20_000, 60_000, 40_000),
            (20_000, 25_000, 5_000),
            (20_000, 15_000, 0),
            (40_000, 60_000, 20_000),
            (0, 10, 10),
        ] {
            let mut bucket = Bucket::of_a_minute(30_000, at(0));
            bucket.take(spent, at(0));
            bucket.set_limit(limit, at(0));
            assert_eq!((bucket.remaining(at(0)), bucket.limit()), (remaining, limit), "{spent} spent, then {limit}");
        }
    }

    #[test]
    fn a_lowered_limit_makes_no_debt_and_forgives_none() {
        let mut bucket = Bucket::of_a_minute(60, at(0));
        bucket.take(60, at(0));
        bucket.set_limit(30, at(0));
        assert_eq!(bucket.wait_for(1, at(0)), Duration::from_secs(2));
        bucket.take(10, at(0));
        bucket.set_limit(15, at(0));
        assert_eq!(bucket.wait_for(1, at(0)), Duration::from_secs(44));
    }

    #[test]
    fn what_it_offered_follows_its_limits() {
        let mut bucket = Bucket::of_a_minute(60, at(0));
        bucket.set_limit(30, at(60 * SECOND));
        assert_eq!(bucket.offered(at(60 * SECOND)), 120, "lowering takes back nothing that could have passed");
        bucket.set_limit(90, at(120 * SECOND));
        assert_eq!(bucket.offered(at(120 * SECOND)), 210, "raising gives room for 60 more at once");
        assert_eq!(bucket.offered(at(180 * SECOND)), 300);
    }
}
