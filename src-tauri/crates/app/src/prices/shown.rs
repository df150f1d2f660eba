//! Prices as views.

use std::sync::Arc;

use domain::catalog::{Catalog, Misprint, Quote};
use domain::money::Usd;
use domain::price::{Price, Rates};
use domain::time::Timestamp;

use super::view::{ElsewhereView, OwnPriceView, PriceRowView, RatesView};

/// The rows of the models that `wanted` wants, each with its end, then the present prices that are made by hand.
pub(super) fn rows(catalog: &Catalog, wanted: &dyn Fn(&str) -> bool, now: Timestamp) -> Vec<PriceRowView> {
    let all: Vec<&Arc<Price>> = catalog.prices().filter(|price| wanted(&price.model)).collect();
    let listed = all.iter().map(|price| {
        let later = all.iter().filter(|other| {
            other.model == price.model && other.platform == price.platform && other.valid_from > price.valid_from
        });
        let until = later.filter_map(|other| other.valid_from).min();
        let from = price.valid_from.is_none_or(|from| from <= now);
        row(price, until, from && until.is_none_or(|until| until > now))
    });
    let mut models: Vec<&str> = all.iter().map(|price| &*price.model).collect();
    models.extend(catalog.own().iter().map(|own| &*own.pattern).filter(|model| !model.contains('*') && wanted(model)));
    models.sort_unstable();
    models.dedup();
    let quotes = models.into_iter().filter_map(|model| catalog.quote("", model, now));
    let own =
        quotes.filter(|Quote { price, .. }| price.id.starts_with("own:")).map(|quote| row(&quote.price, None, true));
    listed.chain(own).collect()
}

fn row(price: &Price, until: Option<Timestamp>, holds_now: bool) -> PriceRowView {
    let factors = price.factors;
    PriceRowView {
        model: price.model.to_string(),
        price_id: price.id.to_string(),
        platform: price.platform.map(|platform| platform.name().to_owned()),
        valid_from: price.valid_from.map(|from| from.to_string()),
        valid_to: until.map(|until| until.to_string()),
        holds_now,
        usd_per_mtok: rates(price.rates),
        batch_usd_per_mtok: price.batch.map(rates),
        long_prompt_above: price.long_prompt.map(|band| band.above),
        long_prompt_usd_per_mtok: price.long_prompt.map(|band| rates(band.rates)),
        us_only_multiplier: permille(factors.us_only),
        fast_multiplier: permille(factors.fast),
        batch_multiplier: permille(factors.batch),
        regional_multiplier: permille(factors.regional),
        government_multiplier: permille(factors.government),
        usd_per_1000_web_searches: per_thousand(price.web_search),
        source: price.source.to_string(),
    }
}

fn rates(rates: Rates) -> RatesView {
    RatesView {
        input: rates.input.to_string(),
        cache_write_5m: rates.cache_write_5m.to_string(),
        cache_write_1h: rates.cache_write_1h.to_string(),
        cache_read: rates.cache_read.to_string(),
        output: rates.output.to_string(),
    }
}

/// `1.1` of 1,100.
pub(crate) fn permille(permille: u32) -> String {
    plain(&Usd::from_nanos(i64::from(permille) * 1_000_000).to_string())
}

fn per_thousand(each: Usd) -> String {
    plain(&Usd::from_nanos(each.as_nanos().saturating_mul(1_000)).to_string())
}

/// Without zeros that say nothing.
fn plain(number: &str) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn elsewhere(misprint: &Misprint) -> ElsewhereView {
    ElsewhereView {
        model: misprint.price.model.to_string(),
        input: misprint.price.rates.input.to_string(),
        output: misprint.price.rates.output.to_string(),
        label: misprint.label.to_string(),
        source: misprint.price.source.to_string(),
    }
}

pub(super) fn own(row: &super::own::OwnRow, holds_now: bool) -> OwnPriceView {
    OwnPriceView {
        model: row.model.clone(),
        class: row.class.clone(),
        value: row.value.clone(),
        from: row.from.clone(),
        day: row.day.clone(),
        holds_now,
    }
}
