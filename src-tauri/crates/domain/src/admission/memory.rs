//! What admission has learned, as plain data: the application keeps it over a restart.

use std::sync::Arc;

use super::demand::Measure;
use super::estimate::LearnedEstimate;
use super::refusal::LimitSource;
use super::reservation::Reservation;
use crate::call::Class;
use crate::time::Timestamp;
use crate::usage::Usage;

/// All of it. Accounts are named, as their order may change with the settings.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Memory {
    pub limits: Vec<LearnedLimit>,
    pub closed: Vec<ClosedGroup>,
    pub windows: Vec<KnownWindow>,
    pub estimates: Vec<(Arc<str>, LearnedEstimate)>,
    /// The account stands beside it by name.
    pub reservations: Vec<(Arc<str>, Reservation)>,
    pub paused: Vec<Class>,
    /// And since when.
    pub paused_scopes: Vec<(Arc<str>, Timestamp)>,
}

/// A limit that headers or the API told, and how closely it may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LearnedLimit {
    pub account: Arc<str>,
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    pub source: LimitSource,
    pub guard_permille: u32,
    /// What others draw a minute.
    pub outside_per_minute: u64,
    pub observed_at: Option<Timestamp>,
}

/// Nothing of it goes before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClosedGroup {
    pub account: Arc<str>,
    pub group: Arc<str>,
    pub until: Timestamp,
}

/// A window whose beginning no calendar tells: one that rolls, or one that the upstream told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownWindow {
    pub account: Arc<str>,
    pub name: Arc<str>,
    pub used: i64,
    pub since: Timestamp,
    pub resets_at: Timestamp,
    /// Its figures are the upstream's percent.
    pub observed: bool,
}

/// A call of the last minutes, as the ledger has it: what it took of the buckets is taken again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    pub account: Arc<str>,
    pub model: Arc<str>,
    pub fast: bool,
    pub opened_at: Timestamp,
    pub usage: Usage,
    /// What it had reserved: counts where more, for a call that was interrupted.
    pub reserved: Usage,
    pub interrupted: bool,
}
