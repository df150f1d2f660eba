//! What a unit costs, and what a usage comes to. Exact until the last step.

use std::fmt;
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

    /// A part of it, rounded half up to the pico-dollar.
    pub fn times(self, part: u32, of: u32) -> Rate {
        let (part, of) = (u128::from(part), u128::from(of.max(1)));
        Rate(u64::try_from((u128::from(self.0) * part + of / 2) / of).unwrap_or(u64::MAX))
    }
}

/// In USD per million tokens: `0.0625`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / PICOS_PER_MTOK_DOLLAR, self.0 % PICOS_PER_MTOK_DOLLAR);
        if part == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{part:06}").trim_end_matches('0'))
    }
}

/// A dollar per million tokens is a million pico-dollars a token.
const PICOS_PER_MTOK_DOLLAR: u64 = 1_000_000;

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
    pub(crate) fn map(self, change: impl Fn(Rate) -> Rate) -> Rates {
        Rates {
            input: change(self.input),
            cache_write_5m: change(self.cache_write_5m),
            cache_write_1h: change(self.cache_write_1h),
            cache_read: change(self.cache_read),
            output: change(self.output),
        }
    }

    fn picos(&self, tokens: &Tokens) -> u128 {
        let term = |count: u64, rate: Rate| u128::from(count) * u128::from(rate.0);
        let terms = [
            term(tokens.input, self.input),
            term(tokens.cache_write_5m, self.cache_write_5m),
            term(tokens.cache_write_1h, self.cache_write_1h),
            term(tokens.cache_read, self.cache_read),
            term(tokens.output, self.output),
        ];
        terms.into_iter().fold(0, u128::saturating_add)
    }
}

/// Rates of a whole call whose prompt is longer than `above` tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongPrompt {
    pub above: u64,
    pub rates: Rates,
}

/// Where a model is bought, as far as that changes what it costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Platform {
    #[default]
    Anthropic,
    Bedrock,
    Vertex,
}

impl Platform {
    pub const ALL: [Platform; 3] = [Platform::Anthropic, Platform::Bedrock, Platform::Vertex];

    pub const fn name(self) -> &'static str {
        match self {
            Platform::Anthropic => "anthropic",
            Platform::Bedrock => "bedrock",
            Platform::Vertex => "vertex",
        }
    }

    pub fn named(name: &str) -> Option<Platform> {
        Platform::ALL.into_iter().find(|platform| platform.name() == name)
    }
}

/// How far a call may travel: an endpoint that keeps it in a region costs more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Reach {
    #[default]
    Global,
    Regional,
    /// Of a government's own region.
    Government,
}

/// What a whole price is multiplied by, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Factors {
    /// Inference in the US only, at Anthropic itself.
    pub us_only: u32,
    pub fast: u32,
    pub batch: u32,
    pub regional: u32,
    pub government: u32,
}

impl Default for Factors {
    fn default() -> Factors {
        Factors { us_only: 1_000, fast: 1_000, batch: 500, regional: 1_000, government: 1_000 }
    }
}

/// A price of one model from one day on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    /// Names the row for ever: `claude-sonnet-5-5@2026-10-07`.
    pub id: Arc<str>,
    pub model: Arc<str>,
    /// `None`: everywhere where no row says otherwise.
    pub platform: Option<Platform>,
    /// `None`: from the model's first day.
    pub valid_from: Option<Timestamp>,
    pub rates: Rates,
    pub long_prompt: Option<LongPrompt>,
    /// Of batches, where they have rates of their own.
    pub batch: Option<Rates>,
    pub factors: Factors,
    pub web_search: Usd,
    /// Where the figures were read.
    pub source: Arc<str>,
}

const PICOS_PER_NANO: u128 = 1_000;

impl Price {
    /// The terms are exact; the sum is rounded half up to the nano-dollar, once.
    pub fn cost(&self, usage: &Usage) -> Usd {
        let scale =
            self.multipliers(usage).iter().fold(1_u128, |product, (_, permille)| product * u128::from(*permille));
        let divisor = PICOS_PER_NANO * 1_000_u128.pow(MULTIPLIERS);
        let Some(scaled) = self.rates_of(usage).picos(&usage.tokens).checked_mul(scale) else {
            return Usd::from_nanos(i64::MAX);
        };
        let nanos = (scaled + divisor / 2) / divisor;
        let searches = i64::try_from(usage.web_searches).unwrap_or(i64::MAX).saturating_mul(self.web_search.as_nanos());
        Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)) + Usd::from_nanos(searches)
    }

    /// The rates of a call, before any multiplier.
    pub fn rates_of(&self, usage: &Usage) -> Rates {
        self.rates_where(usage, self.has_long_prompt(usage))
    }

    /// As `rates_of`, for calls that are summed: whether each of them has a long prompt is said.
    pub fn rates_where(&self, usage: &Usage, has_long_prompt: bool) -> Rates {
        match (self.long_prompt, self.batch) {
            (Some(band), _) if has_long_prompt => band.rates,
            (_, Some(batch)) if usage.batch => batch,
            (_, _) => self.rates,
        }
    }

    fn has_long_prompt(&self, usage: &Usage) -> bool {
        self.long_prompt.is_some_and(|band| usage.tokens.prompt() > band.above)
    }

    /// By name, in thousandths; 1,000 where it changes nothing.
    pub fn multipliers(&self, usage: &Usage) -> [(&'static str, u32); MULTIPLIERS as usize] {
        self.multipliers_where(usage, self.has_long_prompt(usage))
    }

    /// As `multipliers`, for calls that are summed.
    pub fn multipliers_where(
        &self,
        usage: &Usage,
        has_long_prompt: bool,
    ) -> [(&'static str, u32); MULTIPLIERS as usize] {
        let Factors { us_only, fast, batch, .. } = self.factors;
        let has_batch_rates = self.batch.is_some() && !(has_long_prompt && self.long_prompt.is_some());
        let unless = |is: bool, permille| if is { permille } else { 1_000 };
        [
            ("inference in the US only", unless(usage.us_only, us_only)),
            ("fast mode", unless(usage.fast, fast)),
            ("batch", unless(usage.batch && !has_batch_rates, batch)),
        ]
    }

    /// The same price at an endpoint of that reach, where inference in the US costs no more on top.
    pub(crate) fn reaching(&self, reach: Reach) -> Price {
        let (permille, name) = match reach {
            Reach::Global => return self.clone(),
            Reach::Regional => (self.factors.regional, "regional"),
            Reach::Government => (self.factors.government, "government"),
        };
        let scaled = |rates: Rates| rates.map(|rate| rate.times(permille, 1_000));
        Price {
            id: format!("{}:{name}", self.id).into(),
            rates: scaled(self.rates),
            long_prompt: self.long_prompt.map(|band| LongPrompt { rates: scaled(band.rates), ..band }),
            batch: self.batch.map(scaled),
            factors: Factors { us_only: 1_000, ..self.factors },
            ..self.clone()
        }
    }
}

const MULTIPLIERS: u32 = 3;

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
            platform: None,
            valid_from: None,
            rates: rates("0.1", "0.125", "0.2", "0.01", "0.5"),
            long_prompt: Some(LongPrompt { above: 100_000, rates: rates("0.5", "0.625", "1", "0.05", "2.5") }),
            batch: None,
            factors: Factors { us_only: 1_100, regional: 1_100, ..Factors::default() },
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

    #[test]
    fn a_rate_prints_as_it_is_written() {
        for text in ["0.0625", "15", "0.000001", "1000"] {
            assert_eq!(rate(text).to_string(), text);
        }
    }

    #[test]
    fn a_regional_endpoint_costs_a_tenth_more_and_the_us_nothing_on_top() {
        let regional = haiku_5_5().reaching(Reach::Regional);
        assert_eq!(&*regional.id, "claude-haiku-5-5:regional");
        let usage = Usage { us_only: true, ..used(1_000_000, 0) };
        assert_eq!(regional.cost(&Usage { us_only: true, ..used(100_000, 0) }), Usd::from_nanos(11_000_000));
        assert_eq!(regional.cost(&usage), Usd::from_nanos(550_000_000));
    }

    #[test]
    fn batches_with_rates_of_their_own_are_not_halved_again() {
        let own = Rates { input: rate("0.07"), ..haiku_5_5().rates };
        let price = Price { batch: Some(own), ..haiku_5_5() };
        assert_eq!(price.cost(&Usage { batch: true, ..used(1_000, 0) }), Usd::from_nanos(70_000));
        // A long prompt has the band's rates, halved.
        assert_eq!(price.cost(&Usage { batch: true, ..used(200_000, 0) }), Usd::from_nanos(50_000_000));
    }
}
