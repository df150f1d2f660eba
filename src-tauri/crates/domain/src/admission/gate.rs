//! After a 429: closed until the upstream's time, then one call goes ahead and the others see how it fares.

use std::time::Duration;

use super::reading::Limited;
use crate::time::Instant;

/// Of one group of models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    Open,
    Closed {
        until: Instant,
        strikes: u32,
    },
    /// One call has gone ahead. A refusal comes at once, so silence is as good as an answer.
    Probing {
        until: Instant,
        strikes: u32,
    },
}

/// A wrong `retry-after` must not shut a model out for good: after this one call asks again.
const CLOSED_MAX: Duration = Duration::from_secs(3_600);
const PROBE: Duration = Duration::from_secs(2);
/// Where a 429 names no time: doubled with each one in a row.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const JITTER_MAX: Duration = Duration::from_secs(1);

impl Gate {
    /// When it may be tried; `None`: now.
    pub(super) fn opens(self, now: Instant) -> Option<Instant> {
        match self {
            Gate::Open => None,
            Gate::Closed { until, .. } | Gate::Probing { until, .. } => (until > now).then_some(until),
        }
    }

    pub(super) fn passed(&mut self, now: Instant) {
        *self = match *self {
            Gate::Closed { strikes, .. } => Gate::Probing { until: now.after(PROBE), strikes },
            Gate::Open | Gate::Probing { .. } => Gate::Open,
        };
    }

    /// A call came back with another answer than 429. Those that had left before it closed prove nothing.
    pub(super) fn answered(&mut self) {
        if let Gate::Probing { .. } = self {
            *self = Gate::Open;
        }
    }

    /// A call came back with 429. `buffer` is added where the refill is not told.
    pub(super) fn limited(&mut self, limited: Limited, buffer: Duration, now: Instant) {
        let (closed_until, strikes) = match *self {
            Gate::Open => (Instant::default(), 0),
            Gate::Closed { until, strikes } => (until, strikes),
            Gate::Probing { strikes, .. } => (Instant::default(), strikes + 1),
        };
        let wait = match limited.retry_after {
            Some(told) => told.saturating_add(buffer),
            None => BACKOFF.saturating_mul(1 << strikes.min(6)).min(BACKOFF_MAX),
        };
        let wait = wait.min(CLOSED_MAX);
        let until = now.after(wait).after(jitter(wait, now)).max(closed_until);
        *self = Gate::Closed { until, strikes };
    }
}

/// Up to a twentieth more, so that programs on one key don't come back together. The clock's last digits are chance enough.
fn jitter(wait: Duration, now: Instant) -> Duration {
    let most = u64::try_from((wait / 20).min(JITTER_MAX).as_nanos()).unwrap_or(0);
    let chance = now.as_nanos().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    Duration::from_nanos(u64::try_from((u128::from(most) * u128::from(chance)) >> 31).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn told(seconds: u64) -> Limited {
        Limited { retry_after: Some(Duration::from_secs(seconds)), ..Limited::default() }
    }

    #[test]
    fn it_opens_after_the_time_named_for_one_call_and_then_for_all() {
        let mut gate = Gate::Open;
        gate.limited(told(7), Duration::ZERO, at(0));
        let opens = gate.opens(at(0)).expect("closed");
        assert!((7_000..=7_350).contains(&opens.since(at(0)).as_millis()), "{opens:?}");
        gate.answered();
        assert!(gate.opens(at(1)).is_some(), "an answer that was on its way proves nothing");
        assert_eq!(gate.opens(at(8)), None);
        gate.passed(at(8));
        assert_eq!(gate.opens(at(8)), Some(at(10)), "the next waits how the first fares");
        gate.answered();
        assert_eq!(gate.opens(at(8)), None);
    }

    #[test]
    fn without_a_time_it_backs_off_twice_as_long_each_time_a_probe_fails() {
        let mut gate = Gate::Open;
        let mut now = at(0);
        let mut waits = vec![];
        for _ in 0..9 {
            gate.limited(Limited::default(), Duration::ZERO, now);
            gate.limited(Limited::default(), Duration::ZERO, now);
            let opens = gate.opens(now).expect("closed");
            waits.push(opens.since(now).as_secs());
            now = opens;
            gate.passed(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn an_absurd_time_ends_within_the_hour() {
        let mut gate = Gate::Open;
        gate.limited(told(99_999_999), Duration::from_secs(30), at(0));
        assert!(gate.opens(at(0)).expect("closed") <= at(3_601));
    }
}
