//! Why not now, and until when.

use std::sync::Arc;

use super::AccountId;
use super::demand::Measure;
use super::quota::{Left, QuotaKey, Unit};
use crate::call::Class;
use crate::time::{Instant, Timestamp};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    QueueFull {
        waiting: usize,
    },
    /// It can't go before its deadline; `not_before` is the earliest it probably could, where anybody knows.
    Deadline {
        binding: Option<Binding>,
        not_before: Option<Instant>,
    },
    /// Its class is paused, and stayed so until its deadline.
    Paused {
        class: Class,
    },
    /// Its session or client is paused, and nobody let it go on until its deadline; or too many calls of it wait already.
    ScopePaused {
        scope: Arc<str>,
    },
    /// There is an emergency, and stayed one until its deadline.
    Emergency {
        class: Class,
        since: Timestamp,
    },
    /// A window or a budget is spent.
    Quota(QuotaSpent),
    /// Background work may take no more of the window before business hours.
    Held {
        window: Arc<str>,
        opens: Timestamp,
    },
    /// The upstream fails calls of this group; `until`: when the next of them tries.
    BreakerOpen {
        account: AccountId,
        group: Arc<str>,
        until: Instant,
    },
    /// Someone took it out of the queue by hand.
    Dropped,
}

/// Why a call that went had to wait, by what it met when it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub by: KeptBy,
    /// Calls that were to go before it.
    pub ahead: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeptBy {
    /// The minute's limit that it waited for longest.
    Limit(Binding),
    /// A window or a budget had nothing for its class.
    Quota(QuotaKey, Left),
    /// Somebody had paused its class, client or session.
    Pause,
    Emergency,
    /// The upstream had said when to come again, or had failed.
    Upstream,
}

/// A window or a budget that is spent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaSpent {
    pub key: QuotaKey,
    pub unit: Unit,
    /// In the unit's smallest part.
    pub limit: i64,
    pub used: i64,
    /// What is left is kept for critical calls.
    pub critical_only: bool,
    pub resets_at: Timestamp,
}

/// The minute's limit that binds, for the sentence a person reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    pub source: LimitSource,
}

/// Where a limit's figure comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitSource {
    Settings,
    /// The tier table of a scheme.
    Tier,
    Headers,
    /// The Rate Limits API, asked with an admin key.
    Api,
}

impl LimitSource {
    pub const ALL: [LimitSource; 4] =
        [LimitSource::Settings, LimitSource::Tier, LimitSource::Headers, LimitSource::Api];

    pub const fn name(self) -> &'static str {
        match self {
            LimitSource::Settings => "settings",
            LimitSource::Tier => "tier",
            LimitSource::Headers => "headers",
            LimitSource::Api => "api",
        }
    }

    pub fn named(name: &str) -> Option<LimitSource> {
        LimitSource::ALL.into_iter().find(|source| source.name() == name)
    }
}
