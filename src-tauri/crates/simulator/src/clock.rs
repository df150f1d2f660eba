//! The one place that reads a clock: tokio's, so that a paused runtime gives virtual time.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::time::{Instant, Now, Timestamp};

pub(crate) struct Clock {
    origin: tokio::time::Instant,
    wall_at_origin: Timestamp,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { origin: tokio::time::Instant::now(), wall_at_origin: Timestamp::from_millis(0).after(since_1970) }
    }

    /// The instant counts from the start of the simulator.
    pub(crate) fn now(&self) -> Now {
        let elapsed = self.origin.elapsed();
        Now { instant: Instant::default().after(elapsed), timestamp: self.wall_at_origin.after(elapsed) }
    }
}
