//! What calls could have cost less, by client and kind, computed from prices. Nothing is ever sent elsewhere by it.

use std::sync::Arc;

use domain::catalog::Catalog;
use domain::money::Usd;
use domain::price::Price;
use domain::time::Timestamp;
use domain::usage::Usage;
use ledger::{Cheaper, CouldCostLess};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::range;

/// `tidegate savings --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SavingsView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    /// To which short calls would go.
    pub to_model: String,
    /// The most first.
    pub rows: Vec<SavingView>,
    pub saves_usd: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SavingView {
    pub client: String,
    pub model: String,
    /// `short`: too small a prompt for tools and a short answer, which a smaller model could take; `background`: nobody waits,
    /// so that a batch would do.
    pub kind: String,
    pub calls: u64,
    pub cost_usd: String,
    pub would_cost_usd: String,
    pub saves_usd: String,
}

const SMALL_MODEL: &str = "claude-haiku-4-5";

impl App {
    /// Of this month so far where no days are named.
    ///
    /// # Errors
    /// Days that are none, a model without a price.
    pub(crate) async fn savings(
        &self,
        (from, to): (Option<&str>, Option<&str>),
        to_model: Option<&str>,
    ) -> Result<SavingsView, ApiError> {
        let now = self.now();
        let month = self.calendar.start_of_month(now).to_string();
        let from = from.or(to.is_none().then_some(month.as_str()));
        let range = range::range(from, to, self.calendar, now).map_err(ApiError::asker)?;
        let catalog = self.prices.in_force().get();
        let to_model = to_model.unwrap_or(SMALL_MODEL);
        let small = price(&catalog, to_model, now).ok_or_else(|| {
            ApiError::asker(format!("{to_model:?} has no price: `tidegate price list` shows the models that have one"))
        })?;
        let found = self.ledger.could_cost_less(range.from, range.to).await.map_err(ApiError::machine)?;
        let mut rows: Vec<(Usd, SavingView)> =
            found.iter().filter_map(|calls| saving(calls, &small, &catalog, now)).collect();
        rows.sort_by_key(|(saves, _)| std::cmp::Reverse(*saves));
        Ok(SavingsView {
            from: range.from.to_string(),
            to: range.to.to_string(),
            timezone: self.calendar.zone_name().to_owned(),
            to_model: to_model.to_owned(),
            saves_usd: rows.iter().map(|(saves, _)| *saves).sum::<Usd>().to_string(),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
        })
    }
}

/// The sum of many calls is no long prompt.
fn price(catalog: &Catalog, model: &str, now: Timestamp) -> Option<Price> {
    let quote = catalog.quote("", model, now)?;
    Some(Price { long_prompt: None, ..Price::clone(&Arc::clone(&quote.price)) })
}

/// Nothing where it would cost as much.
fn saving(calls: &CouldCostLess, small: &Price, catalog: &Catalog, now: Timestamp) -> Option<(Usd, SavingView)> {
    let usage = Usage { tokens: calls.tokens, ..Usage::default() };
    let (kind, would_cost) = match calls.why {
        Cheaper::Short => ("short", small.cost(&usage)),
        Cheaper::Background => ("background", price(catalog, &calls.model, now)?.cost(&Usage { batch: true, ..usage })),
    };
    let saves = calls.cost - would_cost;
    (saves > Usd::ZERO).then(|| {
        let view = SavingView {
            client: calls.client.to_string(),
            model: calls.model.to_string(),
            kind: kind.to_owned(),
            calls: calls.calls,
            cost_usd: calls.cost.to_string(),
            would_cost_usd: would_cost.to_string(),
            saves_usd: saves.to_string(),
        };
        (saves, view)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::usage::Tokens;

    fn calls(why: Cheaper, model: &str, cost: &str) -> CouldCostLess {
        let tokens = Tokens { input: 200_000, output: 100_000, ..Tokens::default() };
        CouldCostLess {
            client: "ci".into(),
            model: model.into(),
            why,
            calls: 1_000,
            tokens,
            cost: cost.parse().expect("money"),
        }
    }

    #[test]
    fn short_calls_save_what_a_smaller_model_costs_less_and_background_calls_half() {
        let catalog = crate::data::catalog().expect("prices");
        let now = Timestamp::parse("2026-11-27T00:00:00Z").expect("a time");
        let haiku = price(&catalog, SMALL_MODEL, now).expect("a price");
        let saves = |calls: &CouldCostLess| saving(calls, &haiku, &catalog, now).map(|(saves, _)| saves.to_string());
        // $3 and $15 a million against $1 and $5: $2.10 against $0.70.
        let short = calls(Cheaper::Short, "claude-sonnet-4-5", "2.1");
        assert_eq!(saves(&short).as_deref(), Some("1.400000000"));
        let batch = calls(Cheaper::Background, "claude-sonnet-4-5", "2.1");
        assert_eq!(saves(&batch).as_deref(), Some("1.050000000"));
        assert_eq!(saves(&calls(Cheaper::Short, SMALL_MODEL, "0.7")), None, "it is there already");
        assert_eq!(saves(&calls(Cheaper::Background, "unknown", "0.7")), None, "nobody knows its price");
    }
}
