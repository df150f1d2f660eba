//! How long the model thinks before its first word, and how fast it speaks.

use std::time::Duration;

use fastrand::Rng;

/// Ranges, inclusive; each call draws its own from its seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Milliseconds.
    pub first_byte_ms: (u64, u64),
    /// 0: at once.
    pub tokens_per_second: (u64, u64),
}

impl Latency {
    /// For measuring and for tests.
    pub const INSTANT: Latency = Latency { first_byte_ms: (0, 0), tokens_per_second: (0, 0) };
    /// For people who look at it.
    pub const REALISTIC: Latency = Latency { first_byte_ms: (300, 800), tokens_per_second: (60, 120) };

    pub(crate) fn draw(&self, seed: u64) -> Pace {
        if *self == Latency::INSTANT {
            return Pace { first_byte: Duration::ZERO, per_token: Duration::ZERO };
        }
        let mut rng = Rng::with_seed(seed);
        let mut between = |(low, high): (u64, u64)| rng.u64(low..=high.max(low));
        let first_byte = Duration::from_millis(between(self.first_byte_ms));
        let per_token = match between(self.tokens_per_second) {
            0 => Duration::ZERO,
            tokens => Duration::from_secs(1) / u32::try_from(tokens).unwrap_or(u32::MAX),
        };
        Pace { first_byte, per_token }
    }
}

/// The pace of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    pub(crate) first_byte: Duration,
    pub(crate) per_token: Duration,
}

impl Pace {
    pub(crate) fn of_tokens(self, tokens: u64) -> Duration {
        self.per_token.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX))
    }
}
