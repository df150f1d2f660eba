//! Small catalogues and schemes for the tests of this crate.

use std::sync::Arc;

use domain::catalog::Catalog;
use domain::money::Usd;
use domain::price::{Factors, Price, Rate, Rates};
use domain::tier::{GroupLimits, MinuteLimits, OutputCounting, Scheme, Tier};
use domain::time::Timestamp;

pub(crate) fn catalog() -> Arc<Catalog> {
    let models = [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-1",
        "claude-3-5-haiku-20241022",
        "claude-opus-5",
    ];
    let later = Price { valid_from: Some(Timestamp::from_millis(1)), ..price("claude-opus-5") };
    let prices = models.into_iter().map(price).chain([later]).collect();
    Arc::new(Catalog::new(prices, Vec::new(), Vec::new()))
}

fn price(model: &str) -> Price {
    let rate = |text| Rate::per_mtok(text).expect("a rate");
    Price {
        id: model.into(),
        model: model.into(),
        platform: None,
        valid_from: None,
        rates: Rates {
            input: rate("3"),
            cache_write_5m: rate("3.75"),
            cache_write_1h: rate("6"),
            cache_read: rate("0.30"),
            output: rate("15"),
        },
        long_prompt: None,
        batch: None,
        factors: Factors { us_only: 1_100, fast: 2_000, ..Factors::default() },
        web_search: Usd::from_nanos(10_000_000),
        source: "test".into(),
    }
}

pub(crate) fn scheme(name: &str) -> Arc<Scheme> {
    let old = name.starts_with("2025");
    let tiers = if old { vec![tier("1", 50, 30_000, 8_000)] } else { vec![tier("start", 1_000, 2_000_000, 400_000)] };
    let output = if old { OutputCounting::Reserved } else { OutputCounting::AsProduced };
    Arc::new(Scheme { name: name.into(), valid_from: Timestamp::default(), output, tiers, source: "test".into() })
}

fn tier(name: &str, requests: u64, input: u64, output: u64) -> Tier {
    let limits = MinuteLimits { requests: Some(requests), input_tokens: Some(input), output_tokens: Some(output) };
    let row = |groups: &[&str], cache_reads_count| GroupLimits {
        groups: groups.iter().map(|group| (*group).into()).collect(),
        limits,
        cache_reads_count,
    };
    let rows = vec![row(&["sonnet-4", "opus-4"], false), row(&["haiku-3.5"], true)];
    Tier { name: name.into(), deposit: None, monthly_cap: None, rows }
}
