//! What a unit costs, and what a usage comes to. Exact until the last step.

use std::sync::Arc;

use crate::money::{NotMoney, Usd, scaled};
use crate::time::Timestamp;
use crate::usage::{Tokens, Usage};

/// Pico-dollars a token: a price of 0.0625 USD per million tokens is 62,500.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Rate(u64);

impl Rate {
    /// From a decimal string in USD per million tokens with at most six decimals.
    pub fn per_mtok(text: &str) -> Result<Rate, NotMoney> {
        scaled(text, 6).map(Rate).ok_or(NotMoney)
    }

    pub const fn picos_per_token(self) -> u64 {
        self.0
    }
}

/// One rate for each class of tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    pub input: Rate,
    pub cache_write_5m: Rate,
    pub cache_write_1h: Rate,
    pub cache_read: Rate,
    pub output: Rate,
}

impl Rates {
    fn picos(&self, tokens: &Tokens) -> u128 {
        let term = |count: u64, rate: Rate| u128::from(count) * u128::from(rate.0);
        term(tokens.input, self.input)
            + term(tokens.cache_write_5m, self.cache_write_5m)
            + term(tokens.cache_write_1h, self.cache_write_1h)
            + term(tokens.cache_read, self.cache_read)
            + term(tokens.output, self.output)
    }
}

/// Rates of a whole call whose prompt is longer than `above` tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongPrompt {
    pub above: u64,
    pub rates: Rates,
}

/// A price of one model from one day on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    /// Names the row for ever: `claude-sonnet-5-5@2026-10-07`.
    pub id: Arc<str>,
    pub model: Arc<str>,
    /// `None`: from the model's first day.
    pub valid_from: Option<Timestamp>,
    pub rates: Rates,
    pub long_prompt: Option<LongPrompt>,
    /// In thousandths; 1,000 where the place of inference changes nothing.
    pub us_only_permille: u32,
    pub fast_permille: u32,
    pub web_search: Usd,
    /// Where the figures were read.
    pub source: Arc<str>,
}

const BATCH_PERMILLE: u32 = 500;
const PICOS_PER_NANO: u128 = 1_000;

impl Price {
    /// The terms are exact; the sum is rounded half up to the nano-dollar, once.
    pub fn cost(&self, usage: &Usage) -> Usd {
        let rates = match self.long_prompt {
            Some(band) if usage.tokens.prompt() > band.above => band.rates,
            Some(_) | None => self.rates,
        };
        let factors = [
            if usage.us_only { self.us_only_permille } else { 1_000 },
            if usage.fast { self.fast_permille } else { 1_000 },
            if usage.batch { BATCH_PERMILLE } else { 1_000 },
        ];
        let scale = factors.iter().fold(1_u128, |product, permille| product * u128::from(*permille));
        let divisor = PICOS_PER_NANO * 1_000_000_000;
        let Some(scaled) = rates.picos(&usage.tokens).checked_mul(scale) else { return Usd::from_nanos(i64::MAX) };
        let nanos = (scaled + divisor / 2) / divisor;
        let searches = i64::try_from(usage.web_searches).unwrap_or(i64::MAX).saturating_mul(self.web_search.as_nanos());
        Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)) + Usd::from_nanos(searches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::per_mtok(text).expect("a rate")
    }

    fn haiku_5_5() -> Price {
        let rates = |i, w5, w1, r, o| Rates {
            input: rate(i),
            cache_write_5m: rate(w5),
            cache_write_1h: rate(w1),
            cache_read: rate(r),
            output: rate(o),
        };
        Price {
            id: "claude-haiku-5-5".into(),
            model: "claude-haiku-5-5".into(),
            valid_from: None,
            rates: rates("0.1", "0.125", "0.2", "0.01", "0.5"),
            long_prompt: Some(LongPrompt { above: 100_000, rates: rates("0.5", "0.625", "1", "0.05", "2.5") }),
            us_only_permille: 1_100,
            fast_permille: 1_000,
            web_search: Usd::from_nanos(10_000_000),
            source: "test".into(),
        }
    }

    fn used(input: u64, output: u64) -> Usage {
        Usage { tokens: Tokens { input, output, ..Tokens::default() }, ..Usage::default() }
    }

    #[test]
    fn each_class_has_its_rate() {
        let tokens = Tokens { input: 3, cache_write_5m: 8, cache_write_1h: 5, cache_read: 100, output: 7 };
        // 300 + 1,000 + 1,000 + 1,000 + 3,500 nano-dollars
        assert_eq!(haiku_5_5().cost(&Usage { tokens, ..Usage::default() }), Usd::from_nanos(6_800));
    }

    #[test]
    fn the_long_band_takes_the_whole_call_and_starts_strictly_above() {
        assert_eq!(haiku_5_5().cost(&used(100_000, 10)), Usd::from_nanos(10_005_000));
        assert_eq!(haiku_5_5().cost(&used(100_001, 10)), Usd::from_nanos(50_025_500));
    }

    #[test]
    fn multipliers_stack_and_round_half_up_once() {
        // 1 cache read = 10 nano; batch: 5; us: 5.5, rounded up
        let tokens = Tokens { cache_read: 1, ..Tokens::default() };
        let usage = Usage { tokens, batch: true, us_only: true, ..Usage::default() };
        assert_eq!(haiku_5_5().cost(&usage), Usd::from_nanos(6));
    }

    #[test]
    fn web_searches_cost_a_cent() {
        assert_eq!(haiku_5_5().cost(&Usage { web_searches: 3, ..Usage::default() }), Usd::from_nanos(30_000_000));
    }

    #[test]
    fn no_count_overflows() {
        assert_eq!(haiku_5_5().cost(&used(u64::MAX, u64::MAX)), Usd::from_nanos(i64::MAX));
    }
}
