//! The real clocks. The one that paces goes on while the machine sleeps.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::time::{Instant, Now, Timestamp};

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl gateway::Clock for SystemClock {
    fn now(&self) -> Now {
        now()
    }
}

/// Both clocks, read together.
pub fn now() -> Now {
    Now { instant: instant(), timestamp: timestamp() }
}

/// How long until the wall clock shows an RFC 3339 moment; nothing where it already does.
pub fn until(moment: &str) -> std::time::Duration {
    Timestamp::parse(moment).map_or_else(std::time::Duration::default, |moment| moment.since(timestamp()))
}

#[cfg(unix)]
fn instant() -> Instant {
    use rustix::time::{ClockId, clock_gettime};
    // Only Linux stops its monotonic clock during sleep; elsewhere that one is continuous.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CONTINUOUS: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CONTINUOUS: ClockId = ClockId::Monotonic;

    let read = clock_gettime(CONTINUOUS);
    let seconds = u64::try_from(read.tv_sec).unwrap_or(0);
    Instant::from_nanos(seconds * 1_000_000_000 + u64::try_from(read.tv_nsec).unwrap_or(0))
}

#[cfg(not(unix))]
fn instant() -> Instant {
    use std::sync::LazyLock;
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    Instant::from_nanos(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn timestamp() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pacing_clock_never_goes_back_and_the_wall_clock_knows_this_century() {
        let (first, second) = (now(), now());
        assert!(second.instant >= first.instant);
        assert!(first.timestamp > Timestamp::from_millis(1_700_000_000_000));
    }
}
