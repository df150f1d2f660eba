//! Which failure an attempt shows, and what follows from it.
//!
//! Codes are stable, then come status and type; wordings change without notice and decide only where nothing else does.

use std::time::Duration;

use crate::admission::Measure;
use crate::time::{Calendar, Timestamp};

/// How far an attempt came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// There was no connection.
    Unreachable,
    /// It left, and the connection ended without a byte of an answer.
    Lost,
    /// It left, and no head came in time.
    Silent,
    /// A whole answer came.
    Answered,
    /// A stream began and then showed an error event, was cut or fell silent.
    Streaming {
        /// The first content byte had come before.
        content: bool,
    },
}

/// What an attempt showed.
#[derive(Clone, Copy, Debug)]
pub struct Signs<'a> {
    pub phase: Phase,
    pub status: Option<u16>,
    /// `error.type`, also of an error event.
    pub kind: Option<&'a str>,
    /// `error.details.error_code`
    pub code: Option<&'a str>,
    /// `error.message`
    pub message: Option<&'a str>,
    pub should_retry: Option<bool>,
    pub retry_after: Option<Duration>,
    /// Its content type is one that the API answers with.
    pub is_api_answer: bool,
    /// A subscription's window refuses (`anthropic-ratelimit-unified-status: rejected`).
    pub window_rejected: bool,
    /// The limit of which headers show nothing left.
    pub emptied: Option<Measure>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A limit of a minute, or of calls at once; `None`: the answer doesn't say which.
    Pace {
        measure: Option<Measure>,
    },
    /// Usage grew too fast.
    Acceleration,
    /// The tier's monthly cap is reached.
    TierCap {
        until: Timestamp,
    },
    /// A cap is reached that the account's owner or its contract sets.
    OwnCap,
    /// Credit bought ahead is used up, or a payment fails.
    CreditGone,
    /// A window of a subscription is used up.
    SubscriptionWindow,
    /// The upstream has too much to do for a moment, and says so with a 429.
    Throttled,
    Overloaded,
    ServerError,
    /// No answer in time: the upstream may be working on it still.
    Timeout,
    /// The connection ended without an answer.
    Lost,
    Unreachable,
    /// The answer had begun, and didn't end.
    Cut,
    /// Any upstream would say the same.
    BadRequest,
    Authentication,
    /// Something answers that is not the API: a captive portal, a wrong address.
    NotAnApiAnswer,
    /// It says that it failed, and nothing that we understand.
    Unknown,
}

/// What follows from a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Course {
    /// At the same upstream. An answer that says `x-should-retry: false` overrules it.
    pub retry: Retry,
    /// Where that doesn't help, another upstream may take the call.
    pub fallback: bool,
    /// It counts for the breaker.
    pub breaks: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    Never,
    /// Back into the queue, which waits out the pace.
    Queue,
    /// After a short backoff, as often as `[retry] overloaded` says.
    Overloaded,
    /// Once, and only where not a byte of an answer came: a pooled connection had died.
    Once,
    /// After a short backoff, inside the budget.
    Backoff,
}

/// `None`: it is a good answer.
pub fn classify(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    match signs.phase {
        Phase::Unreachable => Some(Failure::Unreachable),
        Phase::Lost => Some(Failure::Lost),
        Phase::Silent => Some(Failure::Timeout),
        Phase::Answered => answered(signs, now),
        Phase::Streaming { content: false } => Some(told(signs, now).unwrap_or(Failure::Lost)),
        Phase::Streaming { content: true } => Some(told(signs, now).map_or(Failure::Cut, mid_answer)),
    }
}

impl Failure {
    pub const fn name(self) -> &'static str {
        match self {
            Failure::Pace { .. } => "pace",
            Failure::Acceleration => "acceleration",
            Failure::TierCap { .. } => "tier_cap",
            Failure::OwnCap => "own_cap",
            Failure::CreditGone => "credit_gone",
            Failure::SubscriptionWindow => "subscription_window",
            Failure::Throttled => "throttled",
            Failure::Overloaded => "overloaded",
            Failure::ServerError => "server_error",
            Failure::Timeout => "timeout",
            Failure::Lost => "lost",
            Failure::Unreachable => "unreachable",
            Failure::Cut => "cut",
            Failure::BadRequest => "bad_request",
            Failure::Authentication => "authentication",
            Failure::NotAnApiAnswer => "not_an_api_answer",
            Failure::Unknown => "unknown",
        }
    }

    pub const fn course(self) -> Course {
        let (retry, fallback, breaks) = match self {
            Failure::Pace { .. } | Failure::Acceleration | Failure::Throttled => (Retry::Queue, true, false),
            Failure::TierCap { .. } | Failure::OwnCap | Failure::CreditGone | Failure::SubscriptionWindow => {
                (Retry::Never, true, false)
            }
            Failure::Overloaded => (Retry::Overloaded, true, true),
            Failure::ServerError | Failure::Unreachable | Failure::Timeout => (Retry::Backoff, true, true),
            Failure::Lost => (Retry::Once, true, true),
            Failure::NotAnApiAnswer => (Retry::Never, true, true),
            Failure::Cut => (Retry::Never, false, true),
            Failure::BadRequest | Failure::Authentication | Failure::Unknown => (Retry::Never, false, false),
        };
        Course { retry, fallback, breaks }
    }
}

/// The limit that a message names, in any wording there was.
pub fn measure_named(message: &str) -> Option<Measure> {
    let message = message.to_ascii_lowercase();
    WORDINGS.iter().find(|(words, _)| message.contains(words)).map(|(_, measure)| *measure)
}

/// As messages have named limits since 2024.
const WORDINGS: [(&str, Measure); 8] = [
    ("input tokens per minute", Measure::InputTokens),
    ("output tokens per minute", Measure::OutputTokens),
    ("requests per minute", Measure::Requests),
    ("tokens per minute", Measure::Tokens),
    ("number of request tokens has exceeded", Measure::InputTokens),
    ("number of requests has exceeded", Measure::Requests),
    ("output token limit exceeded", Measure::OutputTokens),
    ("concurrent_requests_per_base_model", Measure::Concurrency),
];

/// A cap's message, from its beginning.
const TIER_CAP: &str = "You have reached your API usage limits";
const OWN_CAPS: [&str; 2] =
    ["You have reached your specified API usage limits", "You have reached your specified workspace API usage limits"];
const CREDIT_GONE: &str = "Your credit balance is too low";
/// Before the date in a tier cap's message: `2026-09-01 at 00:00 UTC`.
const ACCESS_FROM: &str = "regain access on ";
const CAP_LASTS_MAX: Duration = Duration::from_secs(62 * 86_400);

fn answered(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    let is_success = signs.status.is_some_and(|status| (200..300).contains(&status));
    match told(signs, now) {
        Some(failure) => Some(failure),
        None if is_success && signs.is_api_answer => None,
        None => Some(Failure::NotAnApiAnswer),
    }
}

/// What has begun is not sent again, here or elsewhere. A limit that is met in mid-answer says nothing of health.
fn mid_answer(failure: Failure) -> Failure {
    let Course { retry, fallback, breaks } = failure.course();
    match (breaks, retry == Retry::Never && !fallback) {
        (true, _) => Failure::Cut,
        (false, true) => failure,
        (false, false) => Failure::Unknown,
    }
}

/// What the answer says of itself; `None`: not that it failed.
fn told(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    by_code(signs, now).or_else(|| by_status_and_kind(signs, now))
}

fn by_code(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    match signs.code? {
        "ramp_limit_exceeded" => Some(Failure::Acceleration),
        "enforced_spend_limit_reached" => Some(tier_cap(signs, now)),
        "linked_organization_billing_unavailable" => Some(Failure::CreditGone),
        code if code.ends_with("spend_limit_reached") => Some(Failure::OwnCap),
        _ => None,
    }
}

fn by_status_and_kind(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    match signs.status.unwrap_or(200) {
        200..300 => signs.kind.map(|kind| by_kind(kind, signs, now)),
        300..400 | 407 | 511 => Some(Failure::NotAnApiAnswer),
        400 => Some(cap(signs, now).unwrap_or(Failure::BadRequest)),
        401 => Some(Failure::Authentication),
        402 => Some(Failure::CreditGone),
        403 if signs.kind == Some("billing_error") => Some(Failure::CreditGone),
        403 => Some(Failure::Authentication),
        408 | 504 => Some(Failure::Timeout),
        429 if signs.kind == Some("overloaded_error") => Some(Failure::Overloaded),
        429 => Some(limit(signs, now)),
        404..500 | 501 => Some(Failure::BadRequest),
        529 => Some(Failure::Overloaded),
        500..600 => Some(server_error(signs, now)),
        _ => Some(Failure::Unknown),
    }
}

/// Of an error event, which has no status of its own.
fn by_kind(kind: &str, signs: &Signs<'_>, now: Timestamp) -> Failure {
    match kind {
        "rate_limit_error" => limit(signs, now),
        "overloaded_error" => Failure::Overloaded,
        "api_error" => Failure::ServerError,
        "timeout_error" => Failure::Timeout,
        "authentication_error" | "permission_error" => Failure::Authentication,
        "billing_error" => Failure::CreditGone,
        "invalid_request_error" => cap(signs, now).unwrap_or(Failure::BadRequest),
        "not_found_error" | "request_too_large" | "conflict_error" => Failure::BadRequest,
        _ => Failure::Unknown,
    }
}

/// Some hide what it is behind a 500.
fn server_error(signs: &Signs<'_>, now: Timestamp) -> Failure {
    match signs.kind {
        Some("rate_limit_error") => limit(signs, now),
        Some("overloaded_error") => Failure::Overloaded,
        Some("timeout_error") => Failure::Timeout,
        _ => Failure::ServerError,
    }
}

fn limit(signs: &Signs<'_>, now: Timestamp) -> Failure {
    if let Some(cap) = cap(signs, now) {
        return cap;
    }
    if signs.kind == Some("billing_error") {
        return Failure::OwnCap;
    }
    if signs.window_rejected {
        return Failure::SubscriptionWindow;
    }
    let measure = signs.message.and_then(measure_named).or(signs.emptied);
    let is_told = signs.retry_after.is_some() && signs.should_retry != Some(true);
    if measure.is_some() || is_told { Failure::Pace { measure } } else { Failure::Throttled }
}

/// Money that is used up, which some answers tell by their wording alone.
fn cap(signs: &Signs<'_>, now: Timestamp) -> Option<Failure> {
    let message = signs.message?;
    if OWN_CAPS.iter().any(|words| message.starts_with(words)) {
        return Some(Failure::OwnCap);
    }
    if message.starts_with(TIER_CAP) {
        return Some(tier_cap(signs, now));
    }
    message.starts_with(CREDIT_GONE).then_some(Failure::CreditGone)
}

/// Until the moment that the message names, or the next month.
fn tier_cap(signs: &Signs<'_>, now: Timestamp) -> Failure {
    let named = signs.message.and_then(access_from);
    let until = named.filter(|until| *until > now && until.since(now) <= CAP_LASTS_MAX);
    Failure::TierCap { until: until.unwrap_or_else(|| Calendar::UTC.end_of_month(now)) }
}

fn access_from(message: &str) -> Option<Timestamp> {
    let (_, moment) = message.split_once(ACCESS_FROM)?;
    let (date, time) = (moment.get(..10)?, moment.get(10..)?.strip_prefix(" at ")?.get(..5)?);
    Timestamp::parse(&format!("{date}T{time}:00Z"))
}
