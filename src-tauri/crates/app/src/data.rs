//! The price and tier tables that come with the program, parsed into the domain's types.
//!
//! The files are part of the binary, so a fault in them is a fault of the build; a test parses both.

use std::sync::Arc;

use domain::catalog::Catalog;
use domain::money::Usd;
use domain::tier::{GroupLimits, MinuteLimits, OutputCounting, Scheme, Tier};
use serde::Deserialize;
use thiserror::Error;

use crate::prices::{BadFile, Table, first_moment};

pub(crate) const PRICES: &str = include_str!("../data/prices.json");
const TIERS: &str = include_str!("../data/tiers.json");

#[derive(Debug, Error)]
pub enum DataError {
    #[error("the price table that comes with the program: {0}")]
    Prices(#[from] BadFile),
    #[error("the {table} table is no such JSON: {reason}")]
    Json { table: &'static str, reason: serde_json::Error },
    #[error("the {table} table's row {row} has a wrong {field}")]
    Field { table: &'static str, row: String, field: &'static str },
}

/// Prices of all Claude models by date, with their aliases and the known misprints.
pub fn catalog() -> Result<Catalog, DataError> {
    Ok(Table::parse(PRICES.as_bytes())?.catalog())
}

/// The tier schemes, from the oldest.
pub fn schemes() -> Result<Vec<Arc<Scheme>>, DataError> {
    let file: TierFile = serde_json::from_str(TIERS).map_err(|reason| DataError::Json { table: "tier", reason })?;
    file.schemes.into_iter().map(|scheme| scheme.scheme().map(Arc::new)).collect()
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
        let wrong = || DataError::Field { table: "tier", row: self.name.clone(), field: "valid_from" };
        let valid_from = first_moment(&self.valid_from).flatten().ok_or_else(wrong)?;
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
    use domain::time::Timestamp;
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
        let charge = catalog.charge("", "claude-3-5-haiku", &usage, at("2025-09-01T00:00:00Z"));
        assert_eq!(charge.cost, Some(Usd::from_nanos(800_000_000)));
        let [misprint, ..] = catalog.misprints() else { panic!("one misprint") };
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
