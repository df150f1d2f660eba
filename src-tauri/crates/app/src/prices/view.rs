//! What `tidegate price` shows, as JSON. Money is a decimal string.

use serde::{Deserialize, Serialize};

/// `tidegate price list --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PriceListView {
    pub at: String,
    pub table: TableView,
    /// Every row that is or was in force, then what is made of it by own prices.
    pub prices: Vec<PriceRowView>,
    pub own: Vec<OwnPriceView>,
    /// Why the own prices are not in force, where they are not.
    pub own_fault: Option<String>,
    /// Figures that were published elsewhere: shown, never computed with.
    pub elsewhere: Vec<ElsewhereView>,
}

/// The price file in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableView {
    /// `built in`, or the path of an installed one.
    pub file: String,
    /// The day its figures were read.
    pub read: String,
    pub source: String,
    pub rows: usize,
    /// Why an installed file is not in force, where there is one.
    pub fault: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRowView {
    pub model: String,
    pub price_id: String,
    /// `anthropic`, `bedrock`, `vertex`; null for a row that holds everywhere.
    pub platform: Option<String>,
    /// Null: from the model's first day.
    pub valid_from: Option<String>,
    /// When the next row takes its place.
    pub valid_to: Option<String>,
    pub holds_now: bool,
    pub usd_per_mtok: RatesView,
    pub batch_usd_per_mtok: Option<RatesView>,
    pub long_prompt_above: Option<u64>,
    pub long_prompt_usd_per_mtok: Option<RatesView>,
    pub us_only_multiplier: String,
    pub fast_multiplier: String,
    pub batch_multiplier: String,
    pub regional_multiplier: String,
    pub government_multiplier: String,
    pub usd_per_1000_web_searches: String,
    pub source: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatesView {
    pub input: String,
    pub cache_write_5m: String,
    pub cache_write_1h: String,
    pub cache_read: String,
    pub output: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnPriceView {
    pub model: String,
    pub class: String,
    /// Dollars per million tokens or per 1,000 web searches, `15%`, or `list`.
    pub value: String,
    pub from: String,
    pub day: String,
    pub holds_now: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ElsewhereView {
    pub model: String,
    pub input: String,
    pub output: String,
    pub label: String,
    pub source: String,
}

/// What setting or taking away a price did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PriceSetView {
    pub set: Vec<OwnPriceView>,
    pub removed: Vec<OwnPriceView>,
    /// The listed models that it speaks of.
    pub models: Vec<String>,
    /// Calls in the ledger from its day on that keep the price they were entered with.
    pub earlier_calls: u64,
}

/// What a price file would change, or has changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PriceUpdateView {
    pub file: String,
    pub read: String,
    pub source: String,
    pub rows: usize,
    pub before: TableView,
    pub changes: Vec<PriceChangeView>,
    pub skipped: Vec<String>,
    /// Names the file's text: what is installed is what was shown.
    pub digest: String,
    pub installed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceChangeView {
    /// `added`, `changed`, `ended`.
    pub kind: String,
    pub price_id: String,
    pub model: String,
    pub valid_from: Option<String>,
    pub figures: Vec<FigureView>,
    pub source: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FigureView {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// What `tidegate price apply` did or would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AppliedView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    pub dry_run: bool,
    /// Calls that were looked at, and those that get another price.
    pub calls: u64,
    pub repriced: u64,
    /// Of those: calls that had no price before.
    pub were_unpriced: u64,
    /// Calls of several models, or free ones: they stay as they are.
    pub kept: u64,
    pub still_unpriced: u64,
    pub before_usd: String,
    pub after_usd: String,
    pub changes: Vec<AppliedRowView>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AppliedRowView {
    pub model: String,
    pub old_price_id: Option<String>,
    pub new_price_id: Option<String>,
    pub calls: u64,
    /// Null where the calls had none.
    pub old_usd: Option<String>,
    pub new_usd: Option<String>,
}
