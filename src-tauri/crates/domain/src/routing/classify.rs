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

/// Money, or a subscription's window, of which nothing is left: every call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    /// What the tier allows in a month.
    Tier {
        until: Timestamp,
    },
    /// What its owner allows.
    Own,
    Credit,
    Window,
}

impl Cap {
    pub const fn name(self) -> &'static str {
        match self {
            Cap::Tier { .. } => "tier_cap",
            Cap::Own => "own_cap",
            Cap::Credit => "credit_gone",
            Cap::Window => "subscription_window",
        }
    }
}

impl Failure {
    /// `None`: another call may be let through all the same.
    pub const fn cap(self) -> Option<Cap> {
        match self {
            Failure::TierCap { until } => Some(Cap::Tier { until }),
            Failure::OwnCap => Some(Cap::Own),
            Failure::CreditGone => Some(Cap::Credit),
            Failure::SubscriptionWindow => Some(Cap::Window),
            Failure::Pace { .. }
            | Failure::Acceleration
            | Failure::Throttled
            | Failure::Overloaded
            | Failure::ServerError
            | Failure::Timeout
            | Failure::Lost
            | Failure::Unreachable
            | Failure::Cut
            | Failure::BadRequest
            | Failure::Authentication
            | Failure::NotAnApiAnswer
            | Failure::Unknown => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Failure::Pace { .. } => "pace",
            Failure::Acceleration => "acceleration",
            Failure::TierCap { until } => Cap::Tier { until }.name(),
            Failure::OwnCap => Cap::Own.name(),
            Failure::CreditGone => Cap::Credit.name(),
            Failure::SubscriptionWindow => Cap::Window.name(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response \
                        headers for current usage. Please reduce the prompt length or the maximum tokens requested, \
                        or try again later. You may also contact sales to discuss your options.";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn now() -> Timestamp {
        at("2026-08-14T12:00:00Z")
    }

    /// A whole answer of the API without a word.
    fn answer(status: u16) -> Signs<'static> {
        Signs {
            phase: Phase::Answered,
            status: Some(status),
            kind: None,
            code: None,
            message: None,
            should_retry: None,
            retry_after: None,
            is_api_answer: true,
            window_rejected: false,
            emptied: None,
        }
    }

    fn error<'a>(status: u16, kind: &'a str, message: &'a str) -> Signs<'a> {
        Signs { kind: Some(kind), message: Some(message), ..answer(status) }
    }

    fn limited(message: &str) -> Signs<'_> {
        Signs { retry_after: Some(Duration::from_secs(7)), ..error(429, "rate_limit_error", message) }
    }

    fn event(content: bool, kind: Option<&str>) -> Signs<'_> {
        Signs { phase: Phase::Streaming { content }, kind, message: Some("Overloaded"), ..answer(200) }
    }

    fn of(signs: Signs<'_>) -> Option<Failure> {
        classify(&signs, now())
    }

    fn pace(measure: Measure) -> Option<Failure> {
        Some(Failure::Pace { measure: Some(measure) })
    }

    fn next_month() -> Failure {
        Failure::TierCap { until: at("2026-09-01T00:00:00Z") }
    }

    #[test]
    fn a_good_answer_is_no_failure() {
        assert_eq!([200, 201, 204].map(|status| of(answer(status))), [None; 3]);
    }

    #[test]
    fn what_comes_in_the_place_of_an_answer_is_none() {
        for status in [200, 204, 301, 302, 304, 407, 511] {
            let page = Signs { is_api_answer: false, ..answer(status) };
            assert_eq!(of(page), Some(Failure::NotAnApiAnswer), "{status}");
        }
        assert_eq!(of(Signs { status: None, ..answer(0) }), Some(Failure::NotAnApiAnswer));
    }

    #[test]
    fn an_attempt_without_an_answer_tells_how_far_it_came() {
        for (phase, expected) in [
            (Phase::Unreachable, Failure::Unreachable),
            (Phase::Lost, Failure::Lost),
            (Phase::Silent, Failure::Timeout),
        ] {
            let signs = Signs { phase, status: None, is_api_answer: false, ..answer(0) };
            assert_eq!(of(signs), Some(expected), "{phase:?}");
        }
    }

    #[test]
    fn a_limit_of_a_minute_is_named_in_every_wording_there_was() {
        let since_2025 = |what: &str| {
            format!("This request would exceed the rate limit for your organization (0f-9) of 30,000 {what}. {TAIL}")
        };
        let since_2026 = |what: &str| {
            format!(
                "This request would exceed your organization's rate limit of 8,000 {what} (org: 0f-9, model: m). {TAIL}"
            )
        };
        for (what, measure) in [
            ("input tokens per minute", Measure::InputTokens),
            ("output tokens per minute", Measure::OutputTokens),
            ("requests per minute", Measure::Requests),
            ("tokens per minute", Measure::Tokens),
        ] {
            assert_eq!(of(limited(&since_2025(what))), pace(measure), "{what}");
            assert_eq!(of(limited(&since_2026(what))), pace(measure), "{what}");
        }
        for (message, measure) in [
            (
                "Number of request tokens has exceeded your per-minute rate limit (https://docs.anthropic.com/en/api/rate-limits); see the response headers for current usage.",
                Measure::InputTokens,
            ),
            ("Number of request tokens has exceeded your per-minute rate limit (Tier: 1)", Measure::InputTokens),
            ("Number of requests has exceeded your per-minute rate limit", Measure::Requests),
            ("Output token limit exceeded", Measure::OutputTokens),
            ("quota exceeded for concurrent_requests_per_base_model", Measure::Concurrency),
        ] {
            assert_eq!(of(limited(message)), pace(measure), "{message}");
            assert_eq!(of(Signs { retry_after: None, ..limited(message) }), pace(measure), "{message}");
        }
    }

    #[test]
    fn a_limit_that_no_words_name_is_the_one_that_is_empty() {
        let empty = Signs { emptied: Some(Measure::OutputTokens), ..limited("x") };
        assert_eq!(of(empty), pace(Measure::OutputTokens));
        let named = Signs { message: Some("of 50 requests per minute"), ..empty };
        assert_eq!(of(named), pace(Measure::Requests), "words come first");
        assert_eq!(of(limited("x")), Some(Failure::Pace { measure: None }), "a workspace's limit, say");
    }

    #[test]
    fn a_throttle_of_a_moment_names_no_limit() {
        for message in [
            "Rate limited",
            "Error",
            "This request would exceed your account's rate limit. Please try again later.",
            "Too many requests, please wait before trying again.",
        ] {
            let throttle = error(429, "rate_limit_error", message);
            assert_eq!(of(throttle), Some(Failure::Throttled), "{message}");
            let soon = Signs { should_retry: Some(true), retry_after: Some(Duration::from_secs(1)), ..throttle };
            assert_eq!(of(soon), Some(Failure::Throttled), "{message}");
        }
        assert_eq!(of(error(429, "ThrottlingException", "Too many requests")), Some(Failure::Throttled));
        assert_eq!(of(Signs { is_api_answer: false, ..answer(429) }), Some(Failure::Throttled));
    }

    #[test]
    fn codes_decide_before_words() {
        for (status, code, expected) in [
            (429, "ramp_limit_exceeded", Failure::Acceleration),
            (429, "enforced_spend_limit_reached", next_month()),
            (429, "contract_spend_limit_reached", Failure::OwnCap),
            (403, "linked_organization_spend_limit_reached", Failure::OwnCap),
            (403, "linked_organization_billing_unavailable", Failure::CreditGone),
            (429, "something_new", Failure::Pace { measure: Some(Measure::Requests) }),
            (400, "request_body_encoding_invalid", Failure::BadRequest),
            (400, "image_dimensions_too_large", Failure::BadRequest),
            (403, "organization_on_hold", Failure::Authentication),
            (408, "request_body_timeout", Failure::Timeout),
        ] {
            let signs = Signs { code: Some(code), ..limited("of 50 requests per minute") };
            assert_eq!(of(Signs { status: Some(status), ..signs }), Some(expected), "{code}");
        }
    }

    #[test]
    fn a_tier_cap_ends_when_its_words_say_or_with_the_month() {
        let words = |moment: &str| {
            format!(
                "You have reached your API usage limits: your organization has crossed its monthly API usage \
                 threshold, set based on your organization's API tier. You will regain access on {moment}."
            )
        };
        for (moment, until) in [
            ("2026-09-01 at 00:00 UTC", "2026-09-01T00:00:00Z"),
            ("2026-08-20 at 06:30 UTC", "2026-08-20T06:30:00Z"),
            ("2026-08-01 at 00:00 UTC", "2026-09-01T00:00:00Z"),
            ("2036-09-01 at 00:00 UTC", "2026-09-01T00:00:00Z"),
            ("2026-02-31 at 00:00 UTC", "2026-09-01T00:00:00Z"),
            ("September", "2026-09-01T00:00:00Z"),
            ("2026-09-é", "2026-09-01T00:00:00Z"),
            ("", "2026-09-01T00:00:00Z"),
        ] {
            let words = words(moment);
            let by_words = error(429, "rate_limit_error", &words);
            let expected = Some(Failure::TierCap { until: at(until) });
            assert_eq!(of(by_words), expected, "{moment}");
            assert_eq!(of(Signs { code: Some("enforced_spend_limit_reached"), ..by_words }), expected, "{moment}");
        }
        let code = Signs { code: Some("enforced_spend_limit_reached"), message: None, ..limited("") };
        let new_year = Failure::TierCap { until: at("2027-01-01T00:00:00Z") };
        assert_eq!(classify(&code, at("2026-12-31T23:59:59Z")), Some(new_year));
    }

    #[test]
    fn money_that_is_used_up_is_no_bad_request() {
        for (status, kind, message, expected) in [
            (
                400,
                "invalid_request_error",
                "You have reached your specified API usage limits. You will regain access on 2026-09-01 at 00:00 UTC.",
                Failure::OwnCap,
            ),
            (
                400,
                "invalid_request_error",
                "You have reached your specified workspace API usage limits. You will regain access on 2026-09-01.",
                Failure::OwnCap,
            ),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
                Failure::CreditGone,
            ),
            (402, "billing_error", "Your payment failed", Failure::CreditGone),
            (403, "billing_error", "Your payment failed", Failure::CreditGone),
            (429, "billing_error", "spend limit reached · resets Aug 8", Failure::OwnCap),
        ] {
            assert_eq!(of(error(status, kind, message)), Some(expected), "{message}");
        }
    }

    #[test]
    fn a_bad_request_stays_one_whatever_it_quotes() {
        for message in [
            "prompt is too long: 200001 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, decrease one",
            "max_tokens: 999999 > 128000, which is the maximum allowed number of output tokens for this model",
            "Input is too long.",
            "The request size (30037042 bytes) exceeds 30.000MB limit.",
            "messages.0: \"Your credit balance is too low\" is no block",
        ] {
            assert_eq!(of(error(400, "invalid_request_error", message)), Some(Failure::BadRequest), "{message}");
        }
    }

    #[test]
    fn a_window_of_a_subscription_is_told_by_its_headers() {
        let rejected =
            Signs { window_rejected: true, ..limited("This request would exceed your account's rate limit.") };
        assert_eq!(of(rejected), Some(Failure::SubscriptionWindow));
        assert_eq!(of(Signs { window_rejected: true, ..answer(200) }), None, "the call went through");
    }

    #[test]
    fn every_status_has_its_class_with_and_without_an_envelope() {
        for (status, kind, expected) in [
            (400, "invalid_request_error", Failure::BadRequest),
            (401, "authentication_error", Failure::Authentication),
            (402, "billing_error", Failure::CreditGone),
            (403, "permission_error", Failure::Authentication),
            (404, "not_found_error", Failure::BadRequest),
            (405, "invalid_request_error", Failure::BadRequest),
            (408, "timeout_error", Failure::Timeout),
            (409, "conflict_error", Failure::BadRequest),
            (412, "memory_precondition_failed_error", Failure::BadRequest),
            (413, "request_too_large", Failure::BadRequest),
            (422, "invalid_request_error", Failure::BadRequest),
            (429, "rate_limit_error", Failure::Throttled),
            (431, "invalid_request_error", Failure::BadRequest),
            (499, "api_error", Failure::BadRequest),
            (500, "api_error", Failure::ServerError),
            (501, "not_supported", Failure::BadRequest),
            (502, "api_error", Failure::ServerError),
            (503, "api_error", Failure::ServerError),
            (504, "timeout_error", Failure::Timeout),
            (520, "api_error", Failure::ServerError),
            (529, "overloaded_error", Failure::Overloaded),
            (600, "api_error", Failure::Unknown),
            (100, "api_error", Failure::Unknown),
        ] {
            assert_eq!(of(error(status, kind, "x")), Some(expected), "{status}");
            let page = Signs { is_api_answer: false, ..answer(status) };
            assert_eq!(of(page), Some(expected), "{status} of a proxy in between");
        }
    }

    #[test]
    fn what_hides_behind_another_status_is_told_by_its_type() {
        let overloaded = "529 - overloaded_error: Anthropic's API is temporarily overloaded";
        for (status, kind, message, expected) in [
            (529, "overloaded_error", overloaded, Failure::Overloaded),
            (529, "api_error", "Overloaded", Failure::Overloaded),
            (500, "overloaded_error", "Overloaded", Failure::Overloaded),
            (503, "overloaded_error", "Overloaded", Failure::Overloaded),
            (429, "overloaded_error", "Overloaded", Failure::Overloaded),
            (500, "rate_limit_error", "Too many tokens", Failure::Throttled),
            (500, "timeout_error", "x", Failure::Timeout),
            (500, "invalid_request_error", "x", Failure::ServerError),
            (200, "overloaded_error", "Overloaded", Failure::Overloaded),
        ] {
            assert_eq!(of(error(status, kind, message)), Some(expected), "{status} {kind}");
        }
    }

    #[test]
    fn an_error_event_before_content_is_told_like_an_answer() {
        for (kind, expected) in [
            ("overloaded_error", Failure::Overloaded),
            ("api_error", Failure::ServerError),
            ("timeout_error", Failure::Timeout),
            ("rate_limit_error", Failure::Throttled),
            ("invalid_request_error", Failure::BadRequest),
            ("not_found_error", Failure::BadRequest),
            ("request_too_large", Failure::BadRequest),
            ("authentication_error", Failure::Authentication),
            ("permission_error", Failure::Authentication),
            ("billing_error", Failure::CreditGone),
            ("something_new", Failure::Unknown),
        ] {
            assert_eq!(of(event(false, Some(kind))), Some(expected), "{kind}");
        }
        assert_eq!(of(event(false, None)), Some(Failure::Lost), "a cut before content");
        let named =
            Signs { message: Some("of 8,000 output tokens per minute"), ..event(false, Some("rate_limit_error")) };
        assert_eq!(of(named), pace(Measure::OutputTokens));
    }

    #[test]
    fn after_content_nothing_is_sent_again_and_no_limit_breaks() {
        for (kind, expected) in [
            (Some("overloaded_error"), Failure::Cut),
            (Some("api_error"), Failure::Cut),
            (Some("timeout_error"), Failure::Cut),
            (None, Failure::Cut),
            (Some("rate_limit_error"), Failure::Unknown),
            (Some("billing_error"), Failure::Unknown),
            (Some("invalid_request_error"), Failure::BadRequest),
            (Some("authentication_error"), Failure::Authentication),
            (Some("something_new"), Failure::Unknown),
        ] {
            let failure = of(event(true, kind)).expect("a failure");
            assert_eq!(failure, expected, "{kind:?}");
            let Course { retry, fallback, .. } = failure.course();
            assert_eq!((retry, fallback), (Retry::Never, false), "{kind:?}");
        }
    }

    #[test]
    fn each_failure_has_its_name_and_its_course() {
        let course = |retry, fallback, breaks| Course { retry, fallback, breaks };
        for (failure, name, expected) in [
            (Failure::Pace { measure: None }, "pace", course(Retry::Queue, true, false)),
            (Failure::Acceleration, "acceleration", course(Retry::Queue, true, false)),
            (Failure::Throttled, "throttled", course(Retry::Queue, true, false)),
            (next_month(), "tier_cap", course(Retry::Never, true, false)),
            (Failure::OwnCap, "own_cap", course(Retry::Never, true, false)),
            (Failure::CreditGone, "credit_gone", course(Retry::Never, true, false)),
            (Failure::SubscriptionWindow, "subscription_window", course(Retry::Never, true, false)),
            (Failure::Overloaded, "overloaded", course(Retry::Overloaded, true, true)),
            (Failure::ServerError, "server_error", course(Retry::Backoff, true, true)),
            (Failure::Timeout, "timeout", course(Retry::Backoff, true, true)),
            (Failure::Lost, "lost", course(Retry::Once, true, true)),
            (Failure::Unreachable, "unreachable", course(Retry::Backoff, true, true)),
            (Failure::Cut, "cut", course(Retry::Never, false, true)),
            (Failure::BadRequest, "bad_request", course(Retry::Never, false, false)),
            (Failure::Authentication, "authentication", course(Retry::Never, false, false)),
            (Failure::NotAnApiAnswer, "not_an_api_answer", course(Retry::Never, true, true)),
            (Failure::Unknown, "unknown", course(Retry::Never, false, false)),
        ] {
            assert_eq!((failure.name(), failure.course()), (name, expected));
        }
    }
}
