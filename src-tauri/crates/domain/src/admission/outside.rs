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
/// Without a reading for so long, what was known begins to fade.
const NEWS_EVERY: Duration = Duration::from_secs(15);
const MINUTE_MICROS: i128 = 60_000_000;
/// Less is the rounding of headers and the error of estimates. In thousandths.
const SHARE_MIN: u32 = 20;

impl Outside {
    pub(super) fn unknown() -> Outside {
        let (recent, time, burst) = (Decayed::over(FAST), Decayed::over(FAST), Decayed::over(FAST));
        Outside { recent, time, theirs: Decayed::over(SLOW), ours: Decayed::over(SLOW), burst, since: None }
    }

    /// As it was before a restart.
    pub(super) fn resumed(per_minute: u64, now: Instant) -> Outside {
        let mut outside = Outside::unknown();
        let per_minute = i128::from(per_minute);
        outside.since = Some(now);
        outside.time.add(MINUTE_MICROS, now);
        outside.recent.add(per_minute, now);
        outside.theirs.add(per_minute * 5, now);
        outside
    }

    /// We drew so much; negative where it came back.
    pub(super) fn we_drew(&mut self, amount: i128, now: Instant) {
        self.ours.add(amount, now);
    }

    /// A reading showed so much less than we expected, or so much more where it is negative; zero where it showed what we did.
    /// Where the bucket was full meanwhile, what they drew may have been refilled before it: only what is missing is sure.
    pub(super) fn differs(&mut self, less: i64, was_full: bool, now: Instant) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.since(since));
        let micros = i128::try_from(passed.as_micros()).unwrap_or(0);
        let expected = i128::from(self.per_minute(now)) * micros / MINUTE_MICROS;
        let drawn = if was_full { i128::from(less).max(0) } else { expected + i128::from(less) };
        self.since = Some(now);
        self.time.add(micros, now);
        self.recent.add(drawn, now);
        self.theirs.add(drawn, now);
        let more = i128::from(less) - self.burst.now(now);
        self.burst.add(more.max(0), now);
    }

    /// Their pace, a minute.
    pub(super) fn per_minute(&self, now: Instant) -> u64 {
        // Ten seconds at least, so that a single reading is no trend; and where none comes any more, it fades.
        let unseen = self.since.map_or(Duration::ZERO, |since| now.since(since).saturating_sub(NEWS_EVERY));
        let observed = self.time.now(now).max(10_000_000) + i128::try_from(unseen.as_micros()).unwrap_or(i128::MAX / 2);
        if self.share_permille(now) == 0 {
            return 0;
        }
        u64::try_from(self.recent.now(now).max(0).saturating_mul(MINUTE_MICROS) / observed).unwrap_or(0)
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
        let second_of = |outside: &mut Outside, second: u64, ours: i128, theirs: i64| {
            let expected = i64::try_from(outside.per_minute(at(second)) / 60).expect("small");
            outside.we_drew(ours, at(second));
            outside.differs(theirs - expected, false, at(second));
        };
        for second in 1..=300 {
            second_of(&mut outside, second, 300, 200);
        }
        let (share, pace) = (outside.share_permille(at(300)), outside.per_minute(at(300)));
        assert!((380..=420).contains(&share) && (11_000..=13_000).contains(&pace), "{share} {pace}");
        for second in 301..=600 {
            second_of(&mut outside, second, 500, 0);
        }
        assert!(outside.per_minute(at(600)) < 1_200, "{}", outside.per_minute(at(600)));
    }
}
