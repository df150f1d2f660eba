//! Why a call cost what it did: the row, the terms, what they are multiplied by, how sure that is, and how it came to it.

use std::sync::Arc;

use domain::call::Entry;
use domain::catalog::{AND, Catalog, FAMILY, FREE, PRIORITY, UNPRICED};
use domain::money::Usd;
use domain::price::{Price, Rate};
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use ledger::PriceChange;

use super::former::Former;
use super::shown::permille;
use crate::view::{BandView, FigureElsewhereView, MultiplierView, PriceView, PricingView, RepricedView, TermView};

/// What `why` says of money.
pub(crate) struct Explained {
    pub(crate) price: Option<PriceView>,
    pub(crate) terms: Vec<TermView>,
    pub(crate) pricing: PricingView,
}

pub(crate) fn explained(entry: &Entry, changes: &[PriceChange], catalog: &Catalog, former: &[Former]) -> Explained {
    let id = entry.price_id.as_deref().unwrap_or_default();
    let model = model(entry, id, catalog);
    let at = entry.call.started_at;
    let certainty = certainty(id, entry);
    let mut pricing = PricingView {
        certainty: certainty.to_owned(),
        says: says(certainty, id, &model),
        changes: changes.iter().map(|change| repriced(entry, change, catalog, former)).collect(),
        ..PricingView::default()
    };
    if certainty == "family" {
        let band = catalog.band(upstream(entry), &model, &entry.usage, at);
        pricing.band = band.map(|(least, most)| BandView { least_usd: least.to_string(), most_usd: most.to_string() });
    }
    if id.starts_with(PRIORITY) {
        pricing.burndown_tokens = Some(burndown(&entry.usage));
    }
    pricing.elsewhere = elsewhere(catalog, &model, &entry.usage);
    let say = |says: &mut String, more: &str| *says = [&**says, more].join(if says.is_empty() { "" } else { "; " });
    let Some(Row { price, held }) = row(entry, id, entry.cost, catalog, former) else {
        if !id.is_empty() && !id.contains(AND) && !id.starts_with(FREE) {
            say(&mut pricing.says, &format!("it was entered by the price {id}, which is in no list any more"));
        }
        return Explained { price: None, terms: vec![], pricing };
    };
    let mut view = PriceView {
        price_id: id.to_owned(),
        valid_from: price.valid_from.map(|from| from.to_string()),
        source: price.source.to_string(),
        held_until: None,
    };
    match held {
        HeldThen::AsToday => {}
        HeldThen::Until(until) => {
            view.held_until = Some(until.to_string());
            say(
                &mut pricing.says,
                &format!("the price had these figures until {until}; {}", today(entry, id, catalog)),
            );
        }
        HeldThen::Unknown => {
            say(
                &mut pricing.says,
                &format!("the figures that it was entered by are not known any more; {}", today(entry, id, catalog)),
            );
            return Explained { price: Some(view), terms: vec![], pricing };
        }
    }
    let used = price.multipliers(&entry.usage).into_iter().filter(|(_, factor)| *factor != 1_000);
    let multiplier = |(name, factor): (&str, u32)| MultiplierView { name: name.to_owned(), factor: permille(factor) };
    pricing.multipliers = used.map(multiplier).collect();
    if entry.usage.web_searches > 0 {
        pricing.web_searches = entry.usage.web_searches;
        let searches = Usage { web_searches: entry.usage.web_searches, ..Usage::default() };
        pricing.web_search_usd = Some(price.cost(&searches).to_string());
    }
    Explained { terms: terms(&price, &entry.usage), price: Some(view), pricing }
}

/// The row by which a call was entered.
struct Row {
    price: Arc<Price>,
    held: HeldThen,
}

/// Whether a row still has the figures that gave a cost.
enum HeldThen {
    AsToday,
    Until(Timestamp),
    Unknown,
}

/// An id is used again for other figures: the row is the one that gives the cost, of today or the latest before.
fn row(entry: &Entry, id: &str, cost: Option<Usd>, catalog: &Catalog, former: &[Former]) -> Option<Row> {
    let today = named(entry, id, catalog);
    let is_any = id.starts_with(FREE) || entry.usage == Usage::default() || cost.is_none();
    let gives = |price: &Arc<Price>| is_any || Some(price.cost(&entry.usage)) == cost;
    if let Some(price) = today.clone().filter(gives) {
        return Some(Row { price, held: HeldThen::AsToday });
    }
    let before = former.iter().find_map(|former| {
        let price = named(entry, id, &former.catalog).filter(gives)?;
        Some(Row { price, held: HeldThen::Until(former.until) })
    });
    before.or_else(|| Some(Row { price: today?, held: HeldThen::Unknown }))
}

fn named(entry: &Entry, id: &str, catalog: &Catalog) -> Option<Arc<Price>> {
    let (model, at) = (model(entry, id, catalog), entry.call.started_at);
    // The id that was asked for may say where the model runs, which a price's id does not.
    let models = [&*entry.call.model, &*model].into_iter();
    let quotes = models.filter_map(|model| catalog.quote(upstream(entry), model, at));
    quotes.map(|quote| quote.price).find(|price| *price.id == *id).or_else(|| catalog.row(id, at))
}

fn model(entry: &Entry, id: &str, catalog: &Catalog) -> Arc<str> {
    catalog.model_of(id).unwrap_or_else(|| entry.call.model.clone())
}

fn upstream(entry: &Entry) -> &str {
    entry.attempts.last().map_or("", |last| &last.upstream)
}

fn today(entry: &Entry, id: &str, catalog: &Catalog) -> String {
    match named(entry, id, catalog) {
        Some(price) => format!("by those of today it would be ${}", price.cost(&entry.usage)),
        None => "it is in no list any more".to_owned(),
    }
}

fn certainty(id: &str, entry: &Entry) -> &'static str {
    match id {
        _ if id.contains(AND) && entry.cost.is_none() => "unpriced",
        _ if id.contains(AND) => "several",
        _ if id.starts_with(FREE) => "free",
        _ if entry.cost.is_none() => "unpriced",
        _ if id.starts_with(PRIORITY) => "priority",
        _ if id.starts_with(FAMILY) => "family",
        _ => "exact",
    }
}

fn says(certainty: &str, id: &str, model: &str) -> String {
    match certainty {
        "several" => format!("several models worked on this call, each at its own price: {}", id.replace(AND, ", ")),
        "free" => "the model declined before its first word: the tokens it reports are not billed".to_owned(),
        "unpriced" if id.contains(AND) => unpriced_part(id),
        "unpriced" => format!(
            "no price of {model} is known; it counts in budgets at the dearest Claude price. `tidegate price set {model} …` names one, `tidegate price apply` gives it to calls that were made"
        ),
        "priority" => {
            "Priority Tier served it: the commitment is what is paid, and this is what it would have cost without"
                .to_owned()
        }
        "family" => format!("{model} is in no price list: this is the price of the latest model of its family"),
        _ => String::new(),
    }
}

/// The parts of a call have no sums of their own in the ledger: a price that comes later doesn't reach them.
fn unpriced_part(id: &str) -> String {
    let parts = || id.strip_prefix(PRIORITY).unwrap_or(id).split(AND);
    let unknown: Vec<&str> = parts().filter_map(|part| part.strip_prefix(UNPRICED)).collect();
    let known: Vec<&str> = parts().filter(|part| !part.starts_with(UNPRICED)).collect();
    let known = if known.is_empty() { String::new() } else { format!("; {} did the rest", known.join(", ")) };
    format!(
        "several models worked on this call, and no price of {} is known{known}: what the whole call cost is unknown, and it counts in budgets at the dearest Claude price. `tidegate price set` names the price for calls to come",
        unknown.join(", ")
    )
}

/// What Priority Tier takes from a commitment: tokens, weighted, rounded half up.
fn burndown(usage: &Usage) -> u64 {
    let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = usage.tokens;
    let weighted = [(input, 100), (cache_write_5m, 125), (cache_write_1h, 200), (cache_read, 10), (output, 100)];
    let hundredths = weighted.into_iter().map(|(count, weight)| u128::from(count) * weight).sum::<u128>();
    let thousandths = hundredths * if usage.us_only { 11 } else { 10 };
    u64::try_from((thousandths + 500) / 1_000).unwrap_or(u64::MAX)
}

fn elsewhere(catalog: &Catalog, model: &str, usage: &Usage) -> Option<FigureElsewhereView> {
    let known = catalog.known_name(model).unwrap_or(model);
    let misprint = catalog.misprints().iter().find(|misprint| *misprint.price.model == *known)?;
    let named = Usage {
        tokens: Tokens { input: usage.tokens.input, output: usage.tokens.output, ..Tokens::default() },
        ..Usage::default()
    };
    Some(FigureElsewhereView {
        input_usd_per_mtok: misprint.price.rates.input.to_string(),
        output_usd_per_mtok: misprint.price.rates.output.to_string(),
        would_be_usd: misprint.price.cost(&named).to_string(),
        label: misprint.label.to_string(),
        source: misprint.price.source.to_string(),
    })
}

fn repriced(entry: &Entry, change: &PriceChange, catalog: &Catalog, former: &[Former]) -> RepricedView {
    let id = |id: &str| (!id.is_empty()).then(|| id.to_owned());
    let figures = |id: &str, cost| match row(entry, id, cost, catalog, former)? {
        Row { held: HeldThen::Unknown, .. } => None,
        Row { price, .. } => Some(figures(&price, &entry.usage)),
    };
    RepricedView {
        at: change.at.to_string(),
        old_price_id: id(&change.old_price_id),
        old_cost_usd: change.old_cost.map(|usd| usd.to_string()),
        price_id: id(&change.price_id),
        cost_usd: change.cost.to_string(),
        reason: change.reason.clone(),
        old_figures: change.old_cost.and_then(|cost| figures(&change.old_price_id, Some(cost))),
        figures: figures(&change.price_id, Some(change.cost)),
    }
}

/// Of the classes that were used.
fn figures(price: &Price, usage: &Usage) -> String {
    let named = |term: TermView| format!("{} ${}", term.class.replace('_', " "), term.usd_per_mtok);
    terms(price, usage).into_iter().map(named).collect::<Vec<_>>().join(", ")
}

fn terms(price: &Price, usage: &Usage) -> Vec<TermView> {
    let (tokens, rates) = (&usage.tokens, price.rates_of(usage));
    let terms = [
        ("input", tokens.input, rates.input),
        ("cache_write_5m", tokens.cache_write_5m, rates.cache_write_5m),
        ("cache_write_1h", tokens.cache_write_1h, rates.cache_write_1h),
        ("cache_read", tokens.cache_read, rates.cache_read),
        ("output", tokens.output, rates.output),
    ];
    let used = terms.into_iter().filter(|(_, tokens, _)| *tokens > 0);
    used.map(|(class, tokens, rate)| term(class, tokens, rate)).collect()
}

fn term(class: &str, tokens: u64, rate: Rate) -> TermView {
    let picos = u128::from(tokens) * u128::from(rate.picos_per_token());
    TermView { class: class.to_owned(), tokens, usd_per_mtok: rate.to_string(), cost_usd: trimmed(picos, 12) }
}

/// A whole number of 10^-`decimals` as a decimal number without needless zeros.
fn trimmed(number: u128, decimals: u32) -> String {
    let scale = 10_u128.pow(decimals);
    let text = format!("{}.{:0width$}", number / scale, number % scale, width = decimals as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_terms_are_exact_and_short() {
        for (number, decimals, expected) in
            [(3_000_000, 6, "3"), (62_500, 6, "0.0625"), (9_360_000_000, 12, "0.00936"), (0, 6, "0")]
        {
            assert_eq!(trimmed(number, decimals), expected);
        }
    }

    #[test]
    fn the_part_of_a_call_that_has_no_price_is_named() {
        for (id, names) in [
            ("claude-opus-5+unpriced:gpt", "no price of gpt is known; claude-opus-5 did the rest"),
            ("priority:unpriced:a+unpriced:b", "no price of a, b is known: what"),
        ] {
            assert!(unpriced_part(id).contains(names), "{}", unpriced_part(id));
        }
    }
}
