//! A reconciliation as shells show it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// `tidegate reconcile --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReconcileView {
    pub at: String,
    /// The first and the last day, UTC.
    pub from: String,
    pub to: String,
    pub accounts: Vec<ReconciledAccountView>,
}

/// What one organisation's reports say of the upstreams that stand on it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReconciledAccountView {
    pub upstreams: Vec<String>,
    pub host: String,
    pub reported_usd: String,
    pub ledger_usd: String,
    /// Reported more than the ledger has; what `causes` add up to.
    pub difference_usd: String,
    /// The last day up to which nothing is left to explain; null where the first day has something.
    pub reconciled_to: Option<String>,
    pub causes: Vec<DifferenceView>,
    pub lines: Vec<ReconciledLineView>,
    pub people: Vec<ReconciledPersonView>,
    /// What could not be told apart or asked for.
    pub notes: Vec<String>,
    /// Commands that would settle a difference.
    pub suggestions: Vec<String>,
}

/// A day, a model and a class of tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReconciledLineView {
    pub day: String,
    pub model: String,
    /// `input`, `cache_write_5m`, `cache_write_1h`, `cache_read`, `output`, `web_searches`, `other`.
    pub class: String,
    pub reported: u64,
    pub ledger: u64,
    /// Null where the cost report has nothing of it.
    pub reported_usd: Option<String>,
    /// Null where the price of none of it is known.
    pub ledger_usd: Option<String>,
    pub differences: Vec<DifferenceView>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct DifferenceView {
    /// `other_key`, `other_machine`, `estimate`, `midnight`, `delay`, `unreported`, `logs`, `priority_tier`, `no_cost`,
    /// `long_prompts`, `unpriced`, `price`, `rounding`, `other_service`.
    pub cause: String,
    /// In words.
    pub says: String,
    /// Nothing has to be done about it.
    pub explained: bool,
    /// Negative where the report has less than the ledger.
    pub tokens: i64,
    pub web_searches: i64,
    /// Of what has a price; null where nothing of it has one.
    pub usd: Option<String>,
    /// Of another key.
    pub api_key: Option<String>,
    pub workspace: Option<String>,
}

/// A person as Claude Code's report knows them, against the calls of that person in the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReconciledPersonView {
    pub person: String,
    /// `api` or `subscription`.
    pub customer_type: Option<String>,
    pub reported_tokens: u64,
    pub ledger_tokens: u64,
    /// An estimate of the report's.
    pub reported_usd: String,
    pub ledger_usd: String,
    /// `agree`, `elsewhere` (more is reported: other machines), `ledger_only` (less is).
    pub verdict: String,
}
