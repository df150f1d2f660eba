//! What may happen a thousand times a minute is said once in it.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::time::Instant;

pub(crate) struct Seldom(AtomicU64);

impl Seldom {
    pub(crate) fn new() -> Seldom {
        Seldom(AtomicU64::new(u64::MAX))
    }

    /// May it be said again?
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let minute = now.as_nanos() / 60_000_000_000;
        self.0.swap(minute, Ordering::Relaxed) != minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_minute() {
        let seldom = Seldom::new();
        let due: Vec<bool> =
            [0, 1, 59, 60, 61, 200].map(|s| seldom.is_due(Instant::from_nanos(s * 1_000_000_000))).into();
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
