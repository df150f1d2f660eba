//! Settings after they were checked: every value here is legal.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Class;
use crate::money::Usd;
use crate::tier::{MinuteLimits, Scheme};

/// A program that calls us, as its token names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    pub name: Arc<str>,
    pub class: Class,
    /// Share of capacity against other clients of its class; at least 1.
    pub weight: u32,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub daily: Option<Usd>,
    pub weekly: Option<Usd>,
    pub monthly: Option<Usd>,
    /// Percent of the capacity, while others wait.
    pub max_share: Option<u8>,
}

/// Limits written in the settings: a ceiling, shared by the models that match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenLimits {
    pub models: Vec<Arc<str>>,
    pub per_minute: MinuteLimits,
    /// Calls at once; `None` is unlimited.
    pub concurrency: Option<u32>,
}

/// What paces the calls of one account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pacing {
    /// A scheme and the index of a tier in it: presumed until headers speak.
    pub presumed: Option<(Arc<Scheme>, usize)>,
    pub written: Vec<WrittenLimits>,
    /// In thousandths of the limit. The field guide's 48 of 50 requests is 960.
    pub guard_requests_permille: u32,
    /// The field guide's 28,000 of 30,000 tokens, rounded down: 930.
    pub guard_tokens_permille: u32,
    /// Waited beside a `retry-after` where the 429's headers don't say when the bucket refills.
    pub retry_after_buffer: Duration,
}
