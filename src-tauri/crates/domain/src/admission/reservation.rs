//! Capacity set aside for a piece of work that must not stop half-way.

use std::sync::Arc;
use std::time::Duration;

use super::AccountId;
use super::demand::ReservationId;
use super::refusal::{Binding, QuotaSpent};
use crate::money::Usd;
use crate::price::Price;
use crate::time::Timestamp;

/// What a client asks to have set aside.
#[derive(Clone, Debug)]
pub struct ReservationAsk {
    pub id: ReservationId,
    pub client: Arc<str>,
    pub account: AccountId,
    pub model: Arc<str>,
    /// At least 1.
    pub calls: u64,
    /// Of all calls together.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// At least a second, at most a day.
    pub ttl: Duration,
    pub price: Option<Arc<Price>>,
}

/// What is set aside: `calls / ttl` of the rate, tokens alike, from `starts_at` to `expires_at`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    pub id: ReservationId,
    pub client: Arc<str>,
    pub account: AccountId,
    pub model: Arc<str>,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub ttl: Duration,
    pub starts_at: Timestamp,
    pub expires_at: Timestamp,
    /// Calls that have gone so far.
    pub used: u64,
    /// What all of it costs at its price; nothing where that is unknown.
    pub cost: Usd,
    /// Of that and of the tokens, what its windows and budgets still hold back; below zero where its calls came to more.
    pub cost_left: Usd,
    pub tokens_left: i64,
}

pub const TTL_MIN: Duration = Duration::from_secs(1);
pub const TTL_MAX: Duration = Duration::from_secs(86_400);

/// Why nothing was set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotReserved {
    /// A reservation is of at least one call.
    NoCalls,
    /// Not between `TTL_MIN` and `TTL_MAX`.
    Ttl,
    /// It doesn't fit into the rate that is free; over `shortest` it would.
    TooFast { binding: Binding, shortest: Option<Duration> },
    /// A window or a budget can't pay for it.
    Quota(QuotaSpent),
    /// Too many are held already.
    TooMany,
    /// No reservation of this client has this name; it may have ended.
    Unknown,
}
