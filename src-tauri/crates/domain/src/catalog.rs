//! The models we know: their prices by date, and which of them share limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::money::Usd;
use crate::price::Price;
use crate::time::Timestamp;
use crate::usage::Usage;

/// What a usage came to. Unknown stays unknown; it is never zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Charge {
    pub cost: Option<Usd>,
    pub price_id: Option<Arc<str>>,
}

/// A figure that was published and is wrong: shown beside ours, never computed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misprint {
    pub price: Price,
    /// Who said so, and what is right.
    pub label: Arc<str>,
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By model; the rows of a model from the latest to the earliest.
    prices: BTreeMap<Arc<str>, Vec<Arc<Price>>>,
    aliases: BTreeMap<Arc<str>, Arc<str>>,
    misprints: Vec<Misprint>,
}

impl Catalog {
    pub fn new(prices: Vec<Price>, aliases: Vec<(Arc<str>, Arc<str>)>, misprints: Vec<Misprint>) -> Catalog {
        let mut by_model: BTreeMap<Arc<str>, Vec<Arc<Price>>> = BTreeMap::new();
        for price in prices {
            by_model.entry(price.model.clone()).or_default().push(Arc::new(price));
        }
        for rows in by_model.values_mut() {
            rows.sort_by_key(|row| std::cmp::Reverse(row.valid_from));
        }
        Catalog { prices: by_model, aliases: aliases.into_iter().collect(), misprints }
    }

    /// The price of a model, by id or alias, at a moment.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<&Arc<Price>> {
        let rows = self.prices.get(model).or_else(|| self.prices.get(self.aliases.get(model)?))?;
        rows.iter().find(|row| row.valid_from.is_none_or(|from| from <= at))
    }

    /// What stands in for a price that nobody knows: the highest of a Claude model at that moment.
    pub fn dearest(&self, at: Timestamp) -> Option<&Arc<Price>> {
        let claude = self.prices.keys().filter(|model| model.starts_with("claude-"));
        let prices = claude.filter_map(|model| self.price(model, at));
        prices.max_by_key(|price| (price.rates.output, price.rates.input))
    }

    pub fn charge(&self, model: &str, usage: &Usage, at: Timestamp) -> Charge {
        match self.price(model, at) {
            Some(price) => Charge { cost: Some(price.cost(usage)), price_id: Some(price.id.clone()) },
            None => Charge::default(),
        }
    }

    /// Every row, by model and from the latest.
    pub fn prices(&self) -> impl Iterator<Item = &Arc<Price>> {
        self.prices.values().flatten()
    }

    pub fn misprints(&self) -> &[Misprint] {
        &self.misprints
    }
}

/// The rate-limit group of a Claude model: models of one family and major version share limits from 4 on
/// (`claude-sonnet-4-5-20250929` → `sonnet-4`), `.5` generations from 5 on stand alone, and what is no Claude model is its own group.
///
/// Source: platform.claude.com, API, rate limits, 2026-08-22; third-party reading of 2026-10-17 for 5.5.
pub fn group(model: &str) -> String {
    let Some(rest) = model.strip_prefix("claude-") else { return model.to_owned() };
    let parts: Vec<&str> = rest.split('-').collect();
    let small = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let word = |part: &&&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic());
    let Some(family) = parts.iter().find(word) else { return model.to_owned() };
    let version: Vec<&str> = parts.iter().copied().filter(|part| small(part)).collect();
    match (*family, version.as_slice()) {
        (family, []) => family.to_owned(),
        ("opus" | "sonnet", ["4", ..]) => format!("{family}-4"),
        ("fable" | "mythos", [major, ..]) => format!("{family}-{major}"),
        (family, [major, minor, ..]) if *minor != "0" => format!("{family}-{major}.{minor}"),
        (family, [major, ..]) => format!("{family}-{major}"),
    }
}

/// Does a model id match a pattern with `*` for any run of characters?
pub fn matches(pattern: &str, model: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == model,
        Some((head, rest)) => model
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|i| tail.get(i..).is_some_and(|tail| matches(rest, tail)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Rate, Rates};
    use crate::usage::Tokens;

    #[test]
    fn models_of_one_group_share_limits() {
        for (model, expected) in [
            ("claude-sonnet-4-5-20250929", "sonnet-4"),
            ("claude-sonnet-4-20250514", "sonnet-4"),
            ("claude-opus-4-8", "opus-4"),
            ("claude-opus-5", "opus-5"),
            ("claude-opus-5-5", "opus-5.5"),
            ("claude-haiku-4-5", "haiku-4.5"),
            ("claude-fable-5-2", "fable-5"),
            ("claude-3-5-haiku-20241022", "haiku-3.5"),
            ("claude-3-7-sonnet-20250219", "sonnet-3.7"),
            ("claude-3-opus-20240229", "opus-3"),
            ("gpt-5", "gpt-5"),
            ("claude-", "claude-"),
        ] {
            assert_eq!(group(model), expected, "{model}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, model, expected) in [
            ("claude-sonnet-*", "claude-sonnet-4-5", true),
            ("*", "", true),
            ("claude-*-4*", "claude-opus-4", true),
            ("claude-*-4*", "claude-opus-5", false),
            ("claude-opus-4", "claude-opus-4-1", false),
        ] {
            assert_eq!(matches(pattern, model), expected, "{pattern} {model}");
        }
    }

    #[test]
    fn a_call_is_charged_at_the_row_of_its_day_and_an_unknown_model_at_none() {
        let row = |id: &str, from: Option<i64>, read: &str| Price {
            id: id.into(),
            model: "m".into(),
            valid_from: from.map(Timestamp::from_millis),
            rates: Rates { cache_read: Rate::per_mtok(read).expect("a rate"), ..Rates::default() },
            long_prompt: None,
            us_only_permille: 1_000,
            fast_permille: 1_000,
            web_search: Usd::ZERO,
            source: "test".into(),
        };
        let catalog = Catalog::new(
            vec![row("old", None, "0.2"), row("new", Some(1_000), "0.1")],
            vec![("alias".into(), "m".into())],
            vec![],
        );
        let usage = Usage { tokens: Tokens { cache_read: 10, ..Tokens::default() }, ..Usage::default() };
        let charged = |model, at| catalog.charge(model, &usage, Timestamp::from_millis(at));
        assert_eq!(charged("m", 999), Charge { cost: Some(Usd::from_nanos(2_000)), price_id: Some("old".into()) });
        assert_eq!(
            charged("alias", 1_000),
            Charge { cost: Some(Usd::from_nanos(1_000)), price_id: Some("new".into()) }
        );
        assert_eq!(charged("x", 0), Charge::default());
    }

    #[test]
    fn the_dearest_price_is_that_of_a_claude_model_on_the_day() {
        let row = |model: &str, from: Option<i64>, output: &str| Price {
            id: model.into(),
            model: model.into(),
            valid_from: from.map(Timestamp::from_millis),
            rates: Rates { output: Rate::per_mtok(output).expect("a rate"), ..Rates::default() },
            long_prompt: None,
            us_only_permille: 1_000,
            fast_permille: 1_000,
            web_search: Usd::ZERO,
            source: "test".into(),
        };
        let prices = [("gpt-5", None, "900"), ("claude-a", None, "75"), ("claude-b", Some(1_000), "90")];
        let catalog = Catalog::new(prices.map(|(model, from, output)| row(model, from, output)).into(), vec![], vec![]);
        let dearest = |at| catalog.dearest(Timestamp::from_millis(at)).map(|price| price.id.to_string());
        assert_eq!((dearest(999), dearest(1_000)), (Some("claude-a".into()), Some("claude-b".into())));
        assert_eq!(Catalog::default().dearest(Timestamp::default()), None);
    }
}
