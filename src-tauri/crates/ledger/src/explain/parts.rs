//! What a call's cost was paid for, in parts that add up to it to the nano-dollar.

use domain::money::Usd;
use domain::price::Price;
use domain::usage::{Tokens, Usage};

/// What money was paid for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    Input,
    Output,
    CacheReads,
    CacheWrites5m,
    CacheWrites1h,
    /// Writing what a cache held already, above what reading it would have cost.
    BrokenPrefixes,
    WebSearches,
    /// What fast mode adds.
    FastMode,
    /// What the dearer rates of prompts beyond a length add.
    LongPrompts,
    /// What inference in the US only adds.
    UsInference,
    /// What a batch takes off.
    BatchDiscount,
    /// What no price row of ours explains: another model helped, or the row is not known any more.
    Other,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Input => "input",
            Reason::Output => "output",
            Reason::CacheReads => "cache_reads",
            Reason::CacheWrites5m => "cache_writes_5m",
            Reason::CacheWrites1h => "cache_writes_1h",
            Reason::BrokenPrefixes => "broken_cache_prefixes",
            Reason::WebSearches => "web_searches",
            Reason::FastMode => "fast_mode",
            Reason::LongPrompts => "long_prompts",
            Reason::UsInference => "us_inference",
            Reason::BatchDiscount => "batch_discount",
            Reason::Other => "other",
        }
    }
}

/// Takes one thing after the other away from a usage until nothing is left: each difference in cost is a part.
/// `rewritten` tokens were written into a cache although it held them.
pub(super) fn parts(price: Option<&Price>, usage: &Usage, rewritten: u64, cost: Usd) -> Vec<(Reason, Usd)> {
    let Some(price) = price else { return told(vec![(Reason::Other, cost)]) };
    let mut steps = Steps { price, usage: *usage, cost: price.cost(usage), parts: Vec::with_capacity(8) };
    steps.parts.push((Reason::Other, cost - steps.cost));
    steps.then(Reason::WebSearches, |usage| usage.web_searches = 0);
    steps.then(Reason::BatchDiscount, |usage| usage.batch = false);
    steps.then(Reason::FastMode, |usage| usage.fast = false);
    steps.then(Reason::UsInference, |usage| usage.us_only = false);
    let short;
    if price.long_prompt.is_some() {
        short = Price { long_prompt: None, ..price.clone() };
        steps.price = &short;
        steps.then(Reason::LongPrompts, |_| {});
    }
    steps.then(Reason::BrokenPrefixes, |usage| read_instead(&mut usage.tokens, rewritten));
    steps.then(Reason::Output, |usage| usage.tokens.output = 0);
    steps.then(Reason::CacheWrites1h, |usage| usage.tokens.cache_write_1h = 0);
    steps.then(Reason::CacheWrites5m, |usage| usage.tokens.cache_write_5m = 0);
    steps.then(Reason::CacheReads, |usage| usage.tokens.cache_read = 0);
    steps.then(Reason::Input, |usage| usage.tokens.input = 0);
    told(steps.parts)
}

fn told(parts: Vec<(Reason, Usd)>) -> Vec<(Reason, Usd)> {
    parts.into_iter().filter(|(_, part)| *part != Usd::ZERO).collect()
}

struct Steps<'a> {
    price: &'a Price,
    usage: Usage,
    cost: Usd,
    parts: Vec<(Reason, Usd)>,
}

impl Steps<'_> {
    fn then(&mut self, reason: Reason, without: impl FnOnce(&mut Usage)) {
        without(&mut self.usage);
        let left = self.price.cost(&self.usage);
        self.parts.push((reason, self.cost - left));
        self.cost = left;
    }
}

/// A prompt's parts for an hour stand before those for five minutes: what broke first is the former.
fn read_instead(tokens: &mut Tokens, rewritten: u64) {
    let of_1h = rewritten.min(tokens.cache_write_1h);
    let of_5m = (rewritten - of_1h).min(tokens.cache_write_5m);
    tokens.cache_write_1h -= of_1h;
    tokens.cache_write_5m -= of_5m;
    tokens.cache_read = tokens.cache_read.saturating_add(of_1h + of_5m);
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::price::{Factors, LongPrompt, Rate, Rates};
    use proptest::prelude::*;

    fn rate(text: &str) -> Rate {
        Rate::per_mtok(text).expect("a rate")
    }

    fn price() -> Price {
        let rates = |i, w5, w1, r, o| Rates {
            input: rate(i),
            cache_write_5m: rate(w5),
            cache_write_1h: rate(w1),
            cache_read: rate(r),
            output: rate(o),
        };
        Price {
            id: "p".into(),
            model: "m".into(),
            platform: None,
            valid_from: None,
            rates: rates("3", "3.75", "6", "0.3", "15"),
            long_prompt: Some(LongPrompt { above: 200_000, rates: rates("6", "7.5", "12", "0.6", "22.5") }),
            batch: None,
            factors: Factors { us_only: 1_100, fast: 2_000, ..Factors::default() },
            web_search: Usd::from_nanos(10_000_000),
            source: "test".into(),
        }
    }

    fn said(usage: Usage, rewritten: u64) -> Vec<(&'static str, i64)> {
        let price = price();
        let parts = parts(Some(&price), &usage, rewritten, price.cost(&usage));
        parts.into_iter().map(|(reason, part)| (reason.name(), part.as_nanos())).collect()
    }

    fn tokens(input: u64, cache_write_5m: u64, cache_write_1h: u64, cache_read: u64, output: u64) -> Tokens {
        Tokens { input, cache_write_5m, cache_write_1h, cache_read, output }
    }

    #[test]
    fn what_was_written_once_more_costs_its_write_less_a_read() {
        let usage = Usage { tokens: tokens(0, 1_000, 1_000, 0, 0), ..Usage::default() };
        // A thousand at 6 − 0.3, five hundred at 3.75 − 0.3, the rest as it is.
        let expected = [
            ("broken_cache_prefixes", 5_700_000 + 1_725_000),
            ("cache_writes_5m", 1_875_000),
            ("cache_reads", 450_000),
        ];
        assert_eq!(said(usage, 1_500), expected);
    }

    #[test]
    fn surcharges_and_discounts_stand_apart_from_what_they_are_on() {
        let usage =
            Usage { tokens: tokens(1_000, 0, 0, 0, 0), fast: true, us_only: true, web_searches: 2, ..Usage::default() };
        let expected =
            [("web_searches", 20_000_000), ("fast_mode", 3_300_000), ("us_inference", 300_000), ("input", 3_000_000)];
        assert_eq!(said(usage, 0), expected);
        let usage = Usage { tokens: tokens(1_000, 0, 0, 0, 0), batch: true, ..Usage::default() };
        assert_eq!(said(usage, 0), [("batch_discount", -1_500_000), ("input", 3_000_000)]);
        let usage = Usage { tokens: tokens(300_000, 0, 0, 0, 0), ..Usage::default() };
        assert_eq!(said(usage, 0), [("long_prompts", 900_000_000), ("input", 900_000_000)]);
    }

    #[test]
    fn what_no_row_explains_is_named_so() {
        assert_eq!(parts(None, &Usage::default(), 0, Usd::from_nanos(7)), [(Reason::Other, Usd::from_nanos(7))]);
        let usage = Usage { tokens: tokens(1, 0, 0, 0, 0), ..Usage::default() };
        let paid = parts(Some(&price()), &usage, 0, Usd::from_nanos(3_500));
        assert_eq!(paid, [(Reason::Other, Usd::from_nanos(500)), (Reason::Input, Usd::from_nanos(3_000))]);
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_cost_to_the_nano_dollar(
            counts in proptest::array::uniform6(0..400_000_u64), rewritten in 0..900_000_u64,
            [batch, fast, us_only] in any::<[bool; 3]>(), beside in 0..1_000_i64,
        ) {
            let [input, write_5m, write_1h, read, output, web_searches] = counts;
            let usage = Usage { tokens: tokens(input, write_5m, write_1h, read, output), web_searches, batch, fast, us_only };
            let cost = price().cost(&usage) + Usd::from_nanos(beside);
            let sum: Usd = parts(Some(&price()), &usage, rewritten, cost).into_iter().map(|(_, part)| part).sum();
            prop_assert_eq!(sum, cost);
        }
    }
}
