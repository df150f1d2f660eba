//! What the headers tell of the buckets.

use std::collections::VecDeque;
use std::time::Duration;

use domain::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    Requests,
    InputTokens,
    OutputTokens,
}

impl Measure {
    /// As the message of a 429 names it.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Measure::Requests => "requests",
            Measure::InputTokens => "input tokens",
            Measure::OutputTokens => "output tokens",
        }
    }
}

/// Whose limits a header speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    Standard,
    Fast,
    Priority,
}

/// Which limits a call is shown beside the standard ones: fast mode's where it is fast, priority's where it may have any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct View {
    pub(crate) fast: bool,
    pub(crate) priority: bool,
}

impl View {
    pub(crate) fn filter(self, mut all: Vec<Gauge>) -> Vec<Gauge> {
        all.retain(|gauge| match gauge.family {
            Family::Standard => true,
            Family::Fast => self.fast,
            Family::Priority => self.priority,
        });
        all
    }
}

/// One limit as the headers show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gauge {
    pub(crate) family: Family,
    pub(crate) measure: Measure,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) full_in: Duration,
}

/// What calls have seen of the buckets in the last minute: headers may come late.
#[derive(Default)]
pub(crate) struct Seen {
    kept: VecDeque<(Instant, Vec<Gauge>)>,
}

impl Seen {
    const EVERY: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);

    pub(crate) fn keep(&mut self, gauges: &[Gauge], now: Instant) {
        if self.kept.back().is_some_and(|(at, _)| now.since(*at) < Seen::EVERY) {
            return;
        }
        self.kept.push_back((now, gauges.to_vec()));
        while self.kept.front().is_some_and(|(at, _)| now.since(*at) > Seen::LONGEST) {
            self.kept.pop_front();
        }
    }

    /// The latest that are so old, or the oldest there are; and their age.
    pub(crate) fn ago(&self, ago: Duration, now: Instant) -> (Vec<Gauge>, Duration) {
        let old_enough = self.kept.iter().rev().find(|(at, _)| now.since(*at) >= ago);
        let found = old_enough.or_else(|| self.kept.front());
        found.map_or((Vec::new(), Duration::ZERO), |(at, gauges)| (gauges.clone(), now.since(*at)))
    }
}
