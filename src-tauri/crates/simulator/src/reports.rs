//! What administrators read of an organisation: usage and cost by day, Claude Code's people, the API keys.
//!
//! Its books are kept apart from those of the calls: each day, key, model and way of being served has its sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::catalog::Catalog;
use domain::reconcile::costs;
use domain::time::Timestamp;
use domain::usage::Usage;

use crate::chance;

mod answers;
mod asked;

pub(crate) use answers::answer;

const DAY_MS: i64 = 86_400_000;
/// From here on a prompt stands in the other context window.
const LONG_CONTEXT: u64 = 200_000;

/// An API key as administrators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    name: String,
    /// `None`: of the default workspace.
    workspace: Option<String>,
    /// Its first and last characters.
    hint: String,
}

/// What the sums of a day are kept apart by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Kind {
    day: i64,
    key_id: Arc<str>,
    model: Arc<str>,
    batch: bool,
    us_only: bool,
    priority: bool,
    long_context: bool,
    /// Of Claude Code, and whose.
    actor: Option<Arc<str>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sums {
    usage: Usage,
    /// In pico-dollars, in the order of `reconcile::Item`.
    picos: [u128; 6],
}

impl Sums {
    fn add(&mut self, more: &Sums) {
        self.usage.tokens += more.usage.tokens;
        self.usage.web_searches = self.usage.web_searches.saturating_add(more.usage.web_searches);
        for (sum, more) in self.picos.iter_mut().zip(more.picos) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A call that has ended, or what another key is said to have used.
pub(crate) struct Used<'a> {
    pub(crate) key_id: Arc<str>,
    pub(crate) model: &'a str,
    pub(crate) usage: Usage,
    pub(crate) priority: bool,
    pub(crate) at: Timestamp,
    pub(crate) actor: Option<Arc<str>>,
}

pub(crate) struct Reports {
    catalog: Arc<Catalog>,
    seed: u64,
    keys: BTreeMap<Arc<str>, Key>,
    days: BTreeMap<Kind, Sums>,
}

impl Reports {
    pub(crate) fn new(catalog: Arc<Catalog>, seed: u64) -> Reports {
        Reports { catalog, seed, keys: BTreeMap::new(), days: BTreeMap::new() }
    }

    /// The id of a key that calls.
    pub(crate) fn of_secret(&mut self, secret: &str) -> Arc<str> {
        let end = |n: usize| secret.chars().skip(secret.chars().count().saturating_sub(n)).collect::<String>();
        let start: String = secret.chars().take(12).collect();
        let key = Key { name: format!("key {}", end(4)), workspace: None, hint: format!("{start}...{}", end(4)) };
        self.key(secret, key)
    }

    /// The id of a key that only reports know.
    pub(crate) fn of_name(&mut self, name: &str, workspace: Option<String>) -> Arc<str> {
        let key = Key { name: name.to_owned(), workspace, hint: "sk-ant-api03...none".to_owned() };
        self.key(name, key)
    }

    fn key(&mut self, of: &str, key: Key) -> Arc<str> {
        let id: Arc<str> = chance::id("apikey", chance::hash(self.seed, of.as_bytes())).into();
        self.keys.insert(id.clone(), key);
        id
    }

    pub(crate) fn add(&mut self, used: Used<'_>) {
        let prompt = used.usage.tokens.prompt();
        let priced = self.catalog.price(used.model, used.at).filter(|_| !used.priority);
        let picos = priced.map(|price| {
            let is_long = price.long_prompt.is_some_and(|band| prompt > band.above);
            costs(price, &used.usage, is_long)
        });
        let kind = Kind {
            day: used.at.as_millis().div_euclid(DAY_MS),
            key_id: used.key_id,
            model: used.model.into(),
            batch: used.usage.batch,
            us_only: used.usage.us_only,
            priority: used.priority,
            long_context: prompt > LONG_CONTEXT,
            actor: used.actor,
        };
        let sums = Sums { usage: used.usage, picos: picos.unwrap_or_default() };
        self.days.entry(kind).or_default().add(&sums);
    }

    fn of_day(&self, day: i64) -> impl Iterator<Item = (&Kind, &Sums)> {
        self.days.iter().filter(move |(kind, _)| kind.day == day)
    }

    fn workspace(&self, key_id: &str) -> Option<&str> {
        self.keys.get(key_id)?.workspace.as_deref()
    }
}

impl Kind {
    const fn service_tier(&self) -> &'static str {
        match (self.batch, self.priority) {
            (true, _) => "batch",
            (false, true) => "priority",
            (false, false) => "standard",
        }
    }

    const fn context_window(&self) -> &'static str {
        if self.long_context { "200k-1M" } else { "0-200k" }
    }

    const fn geo(&self) -> &'static str {
        if self.us_only { "us" } else { "global" }
    }
}
