//! What one price table says and another doesn't.

use std::collections::BTreeMap;

use domain::price::{LongPrompt, Price, Rates};

use super::file::Table;
use super::shown::permille;
use super::view::{FigureView, PriceChangeView};

/// By id, in its order; then what is said of aliases.
pub(super) fn diff(old: &Table, new: &Table) -> Vec<PriceChangeView> {
    let (before, after) = (by_id(old), by_id(new));
    let mut changes: Vec<PriceChangeView> = vec![];
    for (id, price) in &after {
        match before.get(id) {
            None => changes.push(change("added", price, figures(None, Some(price)))),
            Some(was) if figures(Some(was), Some(price)).is_empty() => {}
            Some(was) => changes.push(change("changed", price, figures(Some(was), Some(price)))),
        }
    }
    let ended = before.iter().filter(|(id, _)| !after.contains_key(*id));
    changes.extend(ended.map(|(_, price)| change("ended", price, figures(Some(price), None))));
    changes.sort_by(|a, b| (&a.model, &a.price_id).cmp(&(&b.model, &b.price_id)));
    changes.extend(aliases(old, new));
    changes
}

fn by_id(table: &Table) -> BTreeMap<&str, &Price> {
    table.prices.iter().map(|price| (&*price.id, price)).collect()
}

fn change(kind: &str, price: &Price, figures: Vec<FigureView>) -> PriceChangeView {
    PriceChangeView {
        kind: kind.to_owned(),
        price_id: price.id.to_string(),
        model: price.model.to_string(),
        valid_from: price.valid_from.map(|from| from.to_string()),
        figures,
        source: price.source.to_string(),
    }
}

/// Those that differ.
fn figures(old: Option<&Price>, new: Option<&Price>) -> Vec<FigureView> {
    let (old, new) = (old.map(said).unwrap_or_default(), new.map(said).unwrap_or_default());
    let names = old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| FigureView { name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() })
        .collect()
}

/// Everything that a row says of money and time.
fn said(price: &Price) -> BTreeMap<String, String> {
    let mut said = BTreeMap::from([
        ("model".to_owned(), price.model.to_string()),
        ("valid_from".to_owned(), price.valid_from.map_or_else(|| "first day".to_owned(), |from| from.to_string())),
        ("us_only_multiplier".to_owned(), permille(price.factors.us_only)),
        ("fast_multiplier".to_owned(), permille(price.factors.fast)),
        ("batch_multiplier".to_owned(), permille(price.factors.batch)),
        ("regional_multiplier".to_owned(), permille(price.factors.regional)),
        ("government_multiplier".to_owned(), permille(price.factors.government)),
        ("web_search_usd".to_owned(), price.web_search.to_string()),
    ]);
    if let Some(platform) = price.platform {
        said.insert("platform".to_owned(), platform.name().to_owned());
    }
    rates("", price.rates, &mut said);
    if let Some(batch) = price.batch {
        rates("batch ", batch, &mut said);
    }
    if let Some(LongPrompt { above, rates: band }) = price.long_prompt {
        said.insert("long prompt above".to_owned(), above.to_string());
        rates("long prompt ", band, &mut said);
    }
    said
}

fn rates(of: &str, rates: Rates, said: &mut BTreeMap<String, String>) {
    let classes = [
        ("input", rates.input),
        ("cache_write_5m", rates.cache_write_5m),
        ("cache_write_1h", rates.cache_write_1h),
        ("cache_read", rates.cache_read),
        ("output", rates.output),
    ];
    said.extend(classes.map(|(class, rate)| (format!("{of}{class}"), rate.to_string())));
}

fn aliases(old: &Table, new: &Table) -> Vec<PriceChangeView> {
    let of = |table: &Table| -> BTreeMap<String, String> {
        table.aliases.iter().map(|(alias, model)| (alias.to_string(), model.to_string())).collect()
    };
    let (before, after) = (of(old), of(new));
    let names = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differing
        .map(|alias| {
            let kind = match (before.contains_key(alias), after.contains_key(alias)) {
                (false, _) => "added",
                (true, false) => "ended",
                (true, true) => "changed",
            };
            let (old, new) = (before.get(alias).cloned(), after.get(alias).cloned());
            let figures = vec![FigureView { name: "stands for".to_owned(), old, new }];
            PriceChangeView { kind: kind.to_owned(), model: alias.clone(), figures, ..PriceChangeView::default() }
        })
        .collect()
}
