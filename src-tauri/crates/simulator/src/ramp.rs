//! The acceleration limit: usage may not grow too sharply from one minute to the next.

use std::collections::VecDeque;
use std::time::Duration;

use domain::time::Instant;

const MINUTE: u64 = 60;

/// Tokens used in the last two minutes, second by second.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    seconds: VecDeque<(u64, u64)>,
}

impl Recent {
    pub(crate) fn note(&mut self, tokens: u64, now: Instant) {
        let second = second_of(now);
        match self.seconds.back_mut() {
            Some((last, sum)) if *last >= second => *sum = sum.saturating_add(tokens),
            Some(_) | None => self.seconds.push_back((second, tokens)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + 2 * MINUTE <= second) {
            self.seconds.pop_front();
        }
    }

    /// In the minute that ends with this second.
    fn in_the_minute_to(&self, second: u64) -> u64 {
        let within = |at: u64| at <= second && at + MINUTE > second;
        self.seconds.iter().filter(|(at, _)| within(*at)).fold(0, |sum, (_, tokens)| sum.saturating_add(*tokens))
    }
}

fn second_of(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000
}

/// How much more a minute may use than the one before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Growth {
    pub(crate) per_minute: f64,
    /// So much is free to every minute.
    pub(crate) floor_tokens: u64,
}

impl Growth {
    /// Else how long to wait, if nobody else uses anything.
    pub(crate) fn check(&self, recent: &Recent, tokens: u64, now: Instant) -> Result<(), Duration> {
        let fits = |wait: &u64| self.fits(recent, tokens, second_of(now) + wait);
        match (0..MINUTE).find(fits).unwrap_or(MINUTE) {
            0 => Ok(()),
            seconds => Err(Duration::from_secs(seconds)),
        }
    }

    /// A call larger than any minute may be goes where none was before it; else it could never go.
    fn fits(&self, recent: &Recent, tokens: u64, second: u64) -> bool {
        let used = recent.in_the_minute_to(second);
        let before = second.checked_sub(MINUTE).map_or(0, |earlier| recent.in_the_minute_to(earlier));
        let grown = (before as f64 * self.per_minute) as u64;
        used == 0 || used.saturating_add(tokens) <= grown.max(self.floor_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE: Growth = Growth { per_minute: 2.0, floor_tokens: 1_000 };

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    fn used(seconds: &[(u64, u64)]) -> Recent {
        let mut recent = Recent::default();
        for (second, tokens) in seconds {
            recent.note(*tokens, at(*second));
        }
        recent
    }

    #[test]
    fn a_minute_may_use_twice_what_the_one_before_used_or_the_floor() {
        for (history, second, tokens, wait) in [
            (&[(0, 900)][..], 30, 100, 0),
            (&[(0, 900)], 30, 101, 30),
            (&[(0, 900), (20, 100)], 30, 1, 30),
            (&[(0, 900), (61, 1_700)], 90, 100, 0),
            (&[(0, 900), (61, 1_700)], 90, 101, 31),
            (&[(0, 900), (50, 900)], 50, 1_000, 60),
            (&[], 50, 5_000, 0),
            (&[(0, 10)], 59, 5_000, 1),
        ] {
            let waited = DOUBLE.check(&used(history), tokens, at(second)).err().unwrap_or_default();
            assert_eq!(waited, Duration::from_secs(wait), "{history:?}, then {tokens} at {second}");
        }
    }

    #[test]
    fn usage_older_than_two_minutes_is_forgotten() {
        let recent = used(&[(0, 5), (1, 5), (119, 5), (120, 5), (121, 5)]);
        assert_eq!(recent.seconds.len(), 3);
        assert_eq!(recent.in_the_minute_to(121), 15);
    }

    #[test]
    fn a_load_that_doubles_every_minute_is_never_refused() {
        let mut recent = Recent::default();
        for second in 0..600 {
            // Two even minutes, then twice as much in each.
            let tokens = 10 << (second / 60_u64).saturating_sub(1);
            assert_eq!(DOUBLE.check(&recent, tokens, at(second)), Ok(()), "second {second}");
            recent.note(tokens, at(second));
        }
    }
}
