//! What others draw on the same limit, as far as our own count can't explain what the upstream has left.

use std::time::Duration;

use super::decayed::Decayed;
use crate::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// For pacing: follows within a minute.
    recent: Decayed,
    time: Decayed,
    /// For the eye: steady over minutes.
    theirs: Decayed,
    ours: Decayed,
    /// The most that came at once lately.
    burst: Decayed,
    since: Option<Instant>,
}

const FAST: Duration = Duration::from_secs(60);
const SLOW: Duration = Duration::from_secs(300);
/// Less is the rounding of headers and the error of estimates. In thousandths.
const SHARE_MIN: u32 = 20;

impl Outside {
    pub(super) fn unknown() -> Outside {
        let (recent, time, burst) = (Decayed::over(FAST), Decayed::over(FAST), Decayed::over(FAST));
        Outside { recent, time, theirs: Decayed::over(SLOW), ours: Decayed::over(SLOW), burst, since: None }
    }

    /// We drew so much; negative where it came back.
    pub(super) fn we_drew(&mut self, amount: i128, now: Instant) {
        self.ours.add(amount, now);
    }

    /// A reading showed so much that we did not draw; zero where it showed none.
    pub(super) fn they_drew(&mut self, amount: u64, now: Instant) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.since(since));
        self.since = Some(now);
        self.time.add(i128::try_from(passed.as_micros()).unwrap_or(0), now);
        self.recent.add(amount.into(), now);
        self.theirs.add(amount.into(), now);
        let more = i128::from(amount) - self.burst.now(now);
        self.burst.add(more.max(0), now);
    }

    /// Their pace, a minute.
    pub(super) fn per_minute(&self, now: Instant) -> u64 {
        let minute = 60_000_000;
        // Ten seconds at least, so that a single reading is no trend.
        let observed = self.time.now(now).max(10_000_000);
        if self.share_permille(now) == 0 {
            return 0;
        }
        u64::try_from(self.recent.now(now).saturating_mul(minute) / observed).unwrap_or(0)
    }

    pub(super) fn burst(&self, now: Instant) -> u64 {
        if self.share_permille(now) == 0 { 0 } else { u64::try_from(self.burst.now(now)).unwrap_or(0) }
    }

    /// Of all that was drawn lately.
    pub(super) fn share_permille(&self, now: Instant) -> u32 {
        let (theirs, ours) = (self.theirs.now(now).max(0), self.ours.now(now).max(0));
        let share = u32::try_from(theirs.saturating_mul(1_000) / (theirs + ours).max(1)).unwrap_or(0);
        if share < SHARE_MIN { 0 } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_pace_beside_ours_is_told_within_a_minute_and_forgotten_after_it_ends() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut outside = Outside::unknown();
        for second in 0..120 {
            outside.we_drew(300, at(second));
            outside.they_drew(200, at(second));
        }
        assert!((398..=402).contains(&outside.share_permille(at(120))));
        assert!((11_500..=12_500).contains(&outside.per_minute(at(120))), "{}", outside.per_minute(at(120)));
        for second in 120..1_500 {
            outside.we_drew(500, at(second));
            outside.they_drew(0, at(second));
        }
        assert!(outside.per_minute(at(1_500)) < 500, "{}", outside.per_minute(at(1_500)));
    }
}
