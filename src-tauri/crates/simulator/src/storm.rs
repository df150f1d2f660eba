//! A storm of 429: for a time every message call is turned away.

use std::time::Duration;

use domain::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Storm {
    until: Instant,
    retry_after: Option<Duration>,
}

impl Storm {
    pub(crate) fn new(lasts: Duration, retry_after: Option<Duration>, now: Instant) -> Storm {
        Storm { until: now.after(lasts), retry_after }
    }

    /// While it lasts: what its refusals tell to wait, if anything.
    pub(crate) fn at(&self, now: Instant) -> Option<Option<Duration>> {
        (now < self.until).then_some(self.retry_after)
    }
}
