//! What a call used: tokens in the five classes that have a price of their own.

use std::ops::{Add, AddAssign};

/// Token counts. The prompt is `input` + both cache writes + `cache_read`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Tokens {
    /// Neither written to nor read from the cache.
    pub input: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    pub cache_read: u64,
    /// Thinking included.
    pub output: u64,
}

impl Tokens {
    pub const fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.cache_read)
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        Tokens {
            input: self.input.saturating_add(other.input),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            output: self.output.saturating_add(other.output),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        *self = *self + other;
    }
}

/// What one call used and how it ran, as far as that changes the price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Usage {
    pub tokens: Tokens,
    pub web_searches: u64,
    pub batch: bool,
    /// `speed: "fast"` as the answer reports it.
    pub fast: bool,
    /// `inference_geo: "us"` as the answer reports it.
    pub us_only: bool,
}
