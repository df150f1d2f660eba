//! The simulator's own books: every call, what it used and what it cost. A test compares them with the ledger's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use domain::catalog::Catalog;
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use serde::Serialize;

use crate::gauge::Measure;
use crate::outside::Drawn;

/// The latest calls that `GET /simulator/calls` tells of.
const CALLS_KEPT_MAX: usize = 100_000;

/// How a call ended, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    /// By a fault in the middle of the answer.
    Cut,
    /// The caller hung up.
    Cancelled,
    /// By a true limit.
    Refused,
    /// By a fault or a wrong request, before the model began.
    Failed,
}

impl Outcome {
    const fn reached_the_model(self) -> bool {
        match self {
            Outcome::Completed | Outcome::Cut | Outcome::Cancelled => true,
            Outcome::Refused | Outcome::Failed => false,
        }
    }
}

/// A call that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Record {
    pub request_id: String,
    pub model: String,
    pub status: u16,
    pub outcome: Outcome,
    /// RFC 3339.
    pub ended_at: String,
    #[serde(flatten)]
    pub tokens: TokenCounts,
    /// Exact, nine decimals; `null` where the model has no price.
    pub cost_usd: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TokenCounts {
    pub input_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
}

impl From<Tokens> for TokenCounts {
    fn from(tokens: Tokens) -> TokenCounts {
        TokenCounts {
            input_tokens: tokens.input,
            cache_write_5m_tokens: tokens.cache_write_5m,
            cache_write_1h_tokens: tokens.cache_write_1h,
            cache_read_tokens: tokens.cache_read,
            output_tokens: tokens.output,
        }
    }
}

/// One figure for each limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PerLimit<T> {
    pub requests: T,
    pub input_tokens: T,
    pub output_tokens: T,
}

/// Which true limit refused a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Minute(Measure),
    Ramp,
    Windows,
}

/// Calls refused, by which limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Refused {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Usage that grew too fast.
    pub ramp: u64,
    /// A subscription's windows.
    pub windows: u64,
}

impl Refused {
    fn by(&mut self, cause: Cause) -> &mut u64 {
        match cause {
            Cause::Minute(Measure::Requests) => &mut self.requests,
            Cause::Minute(Measure::InputTokens) => &mut self.input_tokens,
            Cause::Minute(Measure::OutputTokens) => &mut self.output_tokens,
            Cause::Ramp => &mut self.ramp,
            Cause::Windows => &mut self.windows,
        }
    }
}

/// What `GET /simulator/stats` tells. Sums are over calls that have ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stats {
    /// `POST /v1/messages` that came with a key, whatever became of them.
    pub calls: u64,
    /// By the true limits, by which of them.
    pub refused: Refused,
    /// What the true limits let through, as they count it.
    pub admitted: PerLimit<u64>,
    /// What the buckets would have let through since each was first asked; `null` without a limit.
    pub capacity: PerLimit<Option<u64>>,
    /// What other programs drew on the same buckets; it stands outside all other figures.
    pub outside: Drawn,
    #[serde(flatten)]
    pub tokens: TokenCounts,
    pub cost_usd: String,
    pub completed: u64,
    pub cut: u64,
    pub cancelled: u64,
    pub failed: u64,
    pub running: u64,
    /// Calls of models without a price.
    pub unpriced: u64,
    pub count_tokens: u64,
    /// Results of batches are no calls: they stand outside all figures above.
    pub batch_results: u64,
    /// Calls that reached the model.
    pub models: BTreeMap<String, ModelStats>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ModelStats {
    pub calls: u64,
    #[serde(flatten)]
    pub tokens: TokenCounts,
    pub cost_usd: String,
}

#[derive(Default)]
struct ModelSums {
    calls: u64,
    tokens: Tokens,
    cost: Usd,
}

/// A call as it is kept; texts are made when someone asks.
struct Kept {
    request_id: String,
    model: Arc<str>,
    status: u16,
    outcome: Outcome,
    ended_at: Timestamp,
    tokens: Tokens,
    cost: Option<Usd>,
}

pub(crate) struct Books {
    catalog: Arc<Catalog>,
    calls: u64,
    refused: Refused,
    admitted: PerLimit<u64>,
    ended: [u64; 5],
    running: u64,
    unpriced: u64,
    pub(crate) count_tokens: u64,
    pub(crate) batch_results: u64,
    models: BTreeMap<Arc<str>, ModelSums>,
    kept: VecDeque<Kept>,
}

/// A call that ends now.
pub(crate) struct Ending<'a> {
    pub(crate) request_id: String,
    pub(crate) model: &'a str,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    pub(crate) at: Timestamp,
}

impl Books {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Books {
        Books {
            catalog,
            calls: 0,
            refused: Refused::default(),
            admitted: PerLimit::default(),
            ended: [0; 5],
            running: 0,
            unpriced: 0,
            count_tokens: 0,
            batch_results: 0,
            models: BTreeMap::new(),
            kept: VecDeque::new(),
        }
    }

    /// The number of this call, from 1.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(crate) fn admit(&mut self, counted_input: u64) {
        self.running += 1;
        self.admitted.requests += 1;
        self.admitted.input_tokens += counted_input;
    }

    pub(crate) fn produce(&mut self, tokens: u64) {
        self.admitted.output_tokens += tokens;
    }

    pub(crate) fn refuse(&mut self, cause: Cause) {
        *self.refused.by(cause) += 1;
    }

    pub(crate) fn leave(&mut self) {
        self.running -= 1;
    }

    /// Gives back what it cost; nothing where its model has no price.
    pub(crate) fn end(&mut self, ending: Ending<'_>) -> Usd {
        let cost = self.catalog.charge("", ending.model, &ending.usage, ending.at).cost;
        self.ended[ending.outcome as usize] += 1;
        let model = if ending.outcome.reached_the_model() { self.sum(&ending, cost) } else { ending.model.into() };
        if self.kept.len() == CALLS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            request_id: ending.request_id,
            model,
            status: ending.status,
            outcome: ending.outcome,
            ended_at: ending.at,
            tokens: ending.usage.tokens,
            cost,
        });
        cost.unwrap_or_default()
    }

    /// Gives back the name of the model, shared.
    fn sum(&mut self, ending: &Ending<'_>, cost: Option<Usd>) -> Arc<str> {
        self.unpriced += u64::from(cost.is_none());
        let known = self.models.get_key_value(ending.model).map(|(model, _)| model.clone());
        let model = known.unwrap_or_else(|| ending.model.into());
        let sums = self.models.entry(model.clone()).or_default();
        sums.calls += 1;
        sums.tokens += ending.usage.tokens;
        sums.cost += cost.unwrap_or_default();
        model
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.kept.iter().map(Kept::record)
    }

    pub(crate) fn stats(&self, offered: [Option<u64>; 3], outside: Drawn) -> Stats {
        let tokens = self.models.values().fold(Tokens::default(), |sum, model| sum + model.tokens);
        let cost: Usd = self.models.values().map(|model| model.cost).sum();
        let [requests, input_tokens, output_tokens] = offered;
        let ended = |outcome: Outcome| self.ended[outcome as usize];
        Stats {
            calls: self.calls,
            refused: self.refused,
            admitted: self.admitted,
            capacity: PerLimit { requests, input_tokens, output_tokens },
            outside,
            tokens: tokens.into(),
            cost_usd: cost.to_string(),
            completed: ended(Outcome::Completed),
            cut: ended(Outcome::Cut),
            cancelled: ended(Outcome::Cancelled),
            failed: ended(Outcome::Failed),
            running: self.running,
            unpriced: self.unpriced,
            count_tokens: self.count_tokens,
            batch_results: self.batch_results,
            models: self.models.iter().map(|(name, sums)| (name.to_string(), sums.stats())).collect(),
        }
    }
}

impl Kept {
    fn record(&self) -> Record {
        Record {
            request_id: self.request_id.clone(),
            model: self.model.to_string(),
            status: self.status,
            outcome: self.outcome,
            ended_at: self.ended_at.to_string(),
            tokens: self.tokens.into(),
            cost_usd: self.cost.map(|cost| cost.to_string()),
        }
    }
}

impl ModelSums {
    fn stats(&self) -> ModelStats {
        ModelStats { calls: self.calls, tokens: self.tokens.into(), cost_usd: self.cost.to_string() }
    }
}
