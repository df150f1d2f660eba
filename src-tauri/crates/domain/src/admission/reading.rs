//! What an upstream tells of its limits: by headers, by a refusal, by its Rate Limits API.

use std::sync::Arc;
use std::time::Duration;

use super::demand::Measure;
use crate::tier::MinuteLimits;
use crate::time::Timestamp;

/// One limit as a response's headers tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    pub measure: Measure,
    /// A minute's worth; a reading of 0 is not believed.
    pub limit: u64,
    pub remaining: Option<u64>,
    /// How long until the bucket is full again.
    pub full_in: Option<Duration>,
}

/// What one response tells about the limits of its model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readings {
    pub limits: Vec<Reading>,
    /// Windows of a subscription, by the name that the upstream gives them (`5h`, `7d`).
    pub windows: Vec<WindowReading>,
    /// Capacity bought ahead, which never keeps a call back: shown only.
    pub priority: Vec<Reading>,
    /// Of a 429 that waiting helps against.
    pub limited: Option<Limited>,
}

/// How much of a subscription's window is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowReading {
    pub name: Arc<str>,
    /// In hundredths of a percent: 10,000 is all of it.
    pub used: u32,
    pub resets_at: Timestamp,
    /// The upstream refuses calls of this window.
    pub rejected: bool,
}

/// What a 429 tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limited {
    /// No call of this group before this has passed.
    pub retry_after: Option<Duration>,
    /// Which limit, where the answer says so.
    pub measure: Option<Measure>,
    /// `ramp_limit_exceeded`: usage grew too fast, whatever the limits are.
    pub ramp: bool,
}

/// A group of models and its limits, as the Rate Limits API tells them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaughtLimits {
    pub models: Vec<Arc<str>>,
    pub limits: MinuteLimits,
}
