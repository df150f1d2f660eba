//! The price and tier tables that come with the program, parsed into the domain's types.
//!
//! The files are part of the binary, so a fault in them is a fault of the build; a test parses both.

use std::sync::Arc;

use domain::catalog::{Catalog, Misprint};
use domain::money::Usd;
use domain::price::{LongPrompt, Price, Rate, Rates};
use domain::tier::{GroupLimits, MinuteLimits, OutputCounting, Scheme, Tier};
use domain::time::Timestamp;
use serde::Deserialize;
use thiserror::Error;

const PRICES: &str = include_str!("../data/prices.json");
const TIERS: &str = include_str!("../data/tiers.json");

#[derive(Debug, Error)]
pub enum DataError {
    #[error("the {table} table is no such JSON: {reason}")]
    Json { table: &'static str, reason: serde_json::Error },
    #[error("the {table} table's row {row} has a wrong {field}")]
    Field { table: &'static str, row: String, field: &'static str },
}

/// Prices of all Claude models by date, with their aliases and the known misprints.
pub fn catalog() -> Result<Catalog, DataError> {
    let file: PriceFile = serde_json::from_str(PRICES).map_err(|reason| DataError::Json { table: "price", reason })?;
    let prices = file.rows.iter().map(PriceRow::price).collect::<Result<_, _>>()?;
    let misprints = file.misprints.iter().map(MisprintRow::misprint).collect::<Result<_, _>>()?;
    let aliases = file.aliases.into_iter().map(|(alias, model)| (alias.into(), model.into())).collect();
    Ok(Catalog::new(prices, aliases, misprints))
}

/// The tier schemes, from the oldest.
pub fn schemes() -> Result<Vec<Arc<Scheme>>, DataError> {
    let file: TierFile = serde_json::from_str(TIERS).map_err(|reason| DataError::Json { table: "tier", reason })?;
    file.schemes.into_iter().map(|scheme| scheme.scheme().map(Arc::new)).collect()
}

#[derive(Deserialize)]
struct PriceFile {
    rows: Vec<PriceRow>,
    aliases: std::collections::BTreeMap<String, String>,
    misprints: Vec<MisprintRow>,
}

#[derive(Deserialize)]
struct PriceRow {
    id: String,
    model: String,
    valid_from: String,
    per_mtok: RatesRow,
    long_prompt: Option<LongPromptRow>,
    us_only_multiplier: Option<String>,
    fast_multiplier: Option<String>,
    web_search_usd: String,
    source: String,
}

#[derive(Deserialize)]
struct RatesRow {
    input: String,
    cache_write_5m: Option<String>,
    cache_write_1h: Option<String>,
    cache_read: Option<String>,
    output: String,
}

#[derive(Deserialize)]
struct LongPromptRow {
    above_prompt_tokens: u64,
    per_mtok: RatesRow,
}

#[derive(Deserialize)]
struct MisprintRow {
    id: String,
    model: String,
    per_mtok: RatesRow,
    label: String,
    source: String,
}

fn wrong(row: &str, field: &'static str) -> DataError {
    DataError::Field { table: "price", row: row.to_owned(), field }
}

impl RatesRow {
    fn rates(&self, row: &str) -> Result<Rates, DataError> {
        let rate = |text: &str, field| Rate::per_mtok(text).map_err(|_| wrong(row, field));
        let optional =
            |text: &Option<String>, field| text.as_deref().map_or(Ok(Rate::default()), |text| rate(text, field));
        Ok(Rates {
            input: rate(&self.input, "input")?,
            cache_write_5m: optional(&self.cache_write_5m, "cache_write_5m")?,
            cache_write_1h: optional(&self.cache_write_1h, "cache_write_1h")?,
            cache_read: optional(&self.cache_read, "cache_read")?,
            output: rate(&self.output, "output")?,
        })
    }
}

impl PriceRow {
    fn price(&self) -> Result<Price, DataError> {
        let permille = |factor: &Option<String>, field| match factor {
            // A factor is read like money, in thousandths: "1.1" is 1,100.
            Some(text) => {
                let nanos = text.parse::<Usd>().map_err(|_| wrong(&self.id, field))?.as_nanos();
                u32::try_from(nanos / 1_000_000).map_err(|_| wrong(&self.id, field))
            }
            None => Ok(1_000),
        };
        let band = |band: &LongPromptRow| {
            band.per_mtok.rates(&self.id).map(|rates| LongPrompt { above: band.above_prompt_tokens, rates })
        };
        Ok(Price {
            id: self.id.as_str().into(),
            model: self.model.as_str().into(),
            valid_from: first_moment(&self.valid_from, &self.id)?,
            rates: self.per_mtok.rates(&self.id)?,
            long_prompt: self.long_prompt.as_ref().map(band).transpose()?,
            us_only_permille: permille(&self.us_only_multiplier, "us_only_multiplier")?,
            fast_permille: permille(&self.fast_multiplier, "fast_multiplier")?,
            web_search: self.web_search_usd.parse().map_err(|_| wrong(&self.id, "web_search_usd"))?,
            source: self.source.as_str().into(),
        })
    }
}

impl MisprintRow {
    fn misprint(&self) -> Result<Misprint, DataError> {
        let price = Price {
            id: self.id.as_str().into(),
            model: self.model.as_str().into(),
            valid_from: None,
            rates: self.per_mtok.rates(&self.id)?,
            long_prompt: None,
            us_only_permille: 1_000,
            fast_permille: 1_000,
            web_search: Usd::ZERO,
            source: self.source.as_str().into(),
        };
        Ok(Misprint { price, label: self.label.as_str().into() })
    }
}

/// A date is its first moment in UTC; `first day` is the model's own.
fn first_moment(valid_from: &str, row: &str) -> Result<Option<Timestamp>, DataError> {
    if valid_from == "first day" {
        return Ok(None);
    }
    Timestamp::parse(&format!("{valid_from}T00:00:00Z")).map(Some).ok_or_else(|| wrong(row, "valid_from"))
}

#[derive(Deserialize)]
struct TierFile {
    schemes: Vec<SchemeRow>,
}

#[derive(Deserialize)]
struct SchemeRow {
    name: String,
    valid_from: String,
    output_counting: CountingRow,
    source: String,
    tiers: Vec<TierRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CountingRow {
    Reserved,
    AsProduced,
}

#[derive(Deserialize)]
struct TierRow {
    name: String,
    deposit_usd: Option<String>,
    monthly_cap_usd: Option<String>,
    limits: Vec<LimitsRow>,
}

#[derive(Deserialize)]
struct LimitsRow {
    groups: Vec<String>,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    #[serde(default)]
    cache_reads_count: bool,
}

impl SchemeRow {
    fn scheme(self) -> Result<Scheme, DataError> {
        let valid_from = first_moment(&self.valid_from, &self.name)?.ok_or_else(|| wrong(&self.name, "valid_from"))?;
        let tiers = self.tiers.into_iter().map(|tier| tier.tier(&self.name)).collect::<Result<_, _>>()?;
        Ok(Scheme {
            name: self.name.into(),
            valid_from,
            output: match self.output_counting {
                CountingRow::Reserved => OutputCounting::Reserved,
                CountingRow::AsProduced => OutputCounting::AsProduced,
            },
            tiers,
            source: self.source.into(),
        })
    }
}

impl TierRow {
    fn tier(self, scheme: &str) -> Result<Tier, DataError> {
        let money = |text: Option<String>, field| {
            let wrong = || DataError::Field { table: "tier", row: format!("{scheme} {}", self.name), field };
            text.map(|text| text.parse::<Usd>().map_err(|_| wrong())).transpose()
        };
        Ok(Tier {
            deposit: money(self.deposit_usd, "deposit_usd")?,
            monthly_cap: money(self.monthly_cap_usd, "monthly_cap_usd")?,
            rows: self.limits.into_iter().map(LimitsRow::limits).collect(),
            name: self.name.into(),
        })
    }
}

impl LimitsRow {
    fn limits(self) -> GroupLimits {
        GroupLimits {
            groups: self.groups.into_iter().map(Arc::from).collect(),
            limits: MinuteLimits {
                requests: Some(self.requests),
                input_tokens: Some(self.input_tokens),
                output_tokens: Some(self.output_tokens),
            },
            cache_reads_count: self.cache_reads_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::usage::{Tokens, Usage};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn every_current_model_and_those_of_the_field_guide_have_a_price() {
        let catalog = catalog().expect("the shipped table");
        for model in [
            "claude-fable-5-2",
            "claude-mythos-5-2",
            "claude-opus-5-5",
            "claude-opus-4-8",
            "claude-sonnet-5-5",
            "claude-sonnet-4-5-20250929",
            "claude-haiku-5-5",
            "claude-haiku-4-5",
            "claude-3-5-sonnet",
            "claude-3-5-haiku",
            "claude-3-opus",
        ] {
            assert!(catalog.price(model, at("2026-11-24T00:00:00Z")).is_some(), "{model}");
        }
        assert!(catalog.price("claude-sonnet-9", at("2026-11-24T00:00:00Z")).is_none());
    }

    #[test]
    fn the_field_guides_misprint_is_shown_and_never_used() {
        let catalog = catalog().expect("the shipped table");
        let usage = Usage { tokens: Tokens { input: 1_000_000, ..Tokens::default() }, ..Usage::default() };
        let charge = catalog.charge("claude-3-5-haiku", &usage, at("2025-09-01T00:00:00Z"));
        assert_eq!(charge.cost, Some(Usd::from_nanos(800_000_000)));
        let [misprint] = catalog.misprints() else { panic!("one misprint") };
        assert_eq!(misprint.price.cost(&usage), Usd::from_nanos(250_000_000));
    }

    #[test]
    fn sonnet_5_5_reads_its_cache_cheaper_from_its_day_on() {
        let catalog = catalog().expect("the shipped table");
        let id = |day: &str| catalog.price("claude-sonnet-5-5", at(day)).map(|price| price.id.to_string());
        assert_eq!(id("2026-10-06T23:59:59.999Z").as_deref(), Some("claude-sonnet-5-5"));
        assert_eq!(id("2026-10-07T00:00:00Z").as_deref(), Some("claude-sonnet-5-5@2026-10-07"));
    }

    #[test]
    fn tier_1_of_the_field_guide_is_50_requests_and_30_000_tokens() {
        let schemes = schemes().expect("the shipped table");
        let names: Vec<&str> = schemes.iter().map(|scheme| &*scheme.name).collect();
        assert_eq!(names, ["2025-09", "2026-03", "2026-06"]);
        let tier = schemes[0].tier("1").expect("tier 1");
        let row = tier.limits("claude-sonnet-4-5").expect("a row");
        assert_eq!(
            (row.limits.requests, row.limits.input_tokens, row.limits.output_tokens),
            (Some(50), Some(30_000), Some(8_000))
        );
        assert_eq!(tier.monthly_cap, Some(Usd::from_nanos(100_000_000_000)));
    }
}
