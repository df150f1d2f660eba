//! Published tiers: dated tables of what an account of a tier may do. A presumption until headers speak.

use std::sync::Arc;

use crate::catalog;
use crate::money::Usd;
use crate::time::Timestamp;

pub mod course;

/// How an upstream counts output tokens against the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputCounting {
    /// `max_tokens` is taken at the start and the unused part given back at the end (documented until early 2026).
    Reserved,
    /// Tokens count as they are produced; `max_tokens` plays no part (documented since 2026-04).
    AsProduced,
}

/// What an account may do in a minute. `None`: nobody names a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MinuteLimits {
    pub requests: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

/// The limits of the models that share them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupLimits {
    /// The names that `catalog::group` gives.
    pub groups: Vec<Arc<str>>,
    pub limits: MinuteLimits,
    pub cache_reads_count: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tier {
    /// `1` to `4`, or `evaluation`, `start`, `build`, `scale`, `custom`.
    pub name: Arc<str>,
    /// Credit to be bought to get here, where the scheme knows deposits.
    pub deposit: Option<Usd>,
    pub monthly_cap: Option<Usd>,
    pub rows: Vec<GroupLimits>,
}

impl Tier {
    pub fn limits(&self, model: &str) -> Option<&GroupLimits> {
        let group = catalog::group(model);
        self.rows.iter().find(|row| row.groups.iter().any(|name| **name == *group))
    }
}

/// The tiers as published from a day on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scheme {
    /// `2025-09`, `2026-03`, `2026-06`.
    pub name: Arc<str>,
    pub valid_from: Timestamp,
    pub output: OutputCounting,
    pub tiers: Vec<Tier>,
    pub source: Arc<str>,
}

impl Scheme {
    pub fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| *tier.name == *name)
    }
}
