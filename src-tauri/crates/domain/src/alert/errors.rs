//! What part of an upstream's attempts has failed lately.

use std::collections::VecDeque;
use std::time::Duration;

use super::Figure;
use crate::time::Timestamp;

/// Attempts of the last ten minutes.
#[derive(Clone, Debug, Default)]
pub struct ErrorRatio {
    /// By minute: attempts, and those that failed.
    minutes: VecDeque<(i64, u64, u64)>,
}

const MINUTES: i64 = 10;
const MINUTE_MS: i64 = 60_000;
/// Of fewer no part says anything: with one failure in fifty, ten of forty fail once in two hundred million.
const ATTEMPTS_MIN: u64 = 40;

impl ErrorRatio {
    pub const LOOK_BACK: Duration = Duration::from_secs(600);

    /// In the order in which attempts end.
    pub fn count(&mut self, at: Timestamp, failed: bool) {
        let minute = at.as_millis().div_euclid(MINUTE_MS);
        let place = self.minutes.iter().rposition(|(known, _, _)| *known <= minute);
        match place.and_then(|place| self.minutes.get_mut(place)).filter(|(known, _, _)| *known == minute) {
            Some((_, attempts, failures)) => {
                *attempts += 1;
                *failures += u64::from(failed);
            }
            None => self.minutes.insert(place.map_or(0, |place| place + 1), (minute, 1, failed.into())),
        }
        let last = self.minutes.back().map_or(minute, |(last, _, _)| *last);
        self.minutes.retain(|(known, _, _)| *known > last - MINUTES);
    }

    /// Failed / all; `None` where there were fewer than 40.
    pub fn ratio(&self, now: Timestamp) -> Option<Figure> {
        let this = now.as_millis().div_euclid(MINUTE_MS);
        let lately = self.minutes.iter().filter(|(minute, _, _)| (this - MINUTES + 1..=this).contains(minute));
        let (attempts, failures) = lately.fold((0, 0), |(all, bad), (_, more, worse)| (all + more, bad + worse));
        let of = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        (attempts >= ATTEMPTS_MIN).then(|| Figure::ratio(of(failures), of(attempts)))
    }
}
