//! Our own answers to calls that get none from the upstream: each knows its status, its code and when to come again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::routing::Capabilities;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use thiserror::Error as ThisError;

#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
pub(crate) enum Error {
    #[error("the body is no JSON object; send one, as the Messages API describes")]
    NoObject,
    #[error("the body names no model; set \"model\" to a string such as \"claude-sonnet-5-5\"")]
    NoModel,
    #[error("{what}")]
    BadRequest { what: &'static str },
    #[error("the body stopped coming for 30 s; send the call again")]
    BodyStopped,
    #[error("the body is larger than {max} bytes, the most this path takes; send less")]
    TooLarge { max: u64 },
    #[error("{what}; use a token that `tidegate client add NAME` printed, as x-api-key or Authorization: Bearer")]
    Token { what: &'static str },
    #[error(
        "the Host header names another host than this gateway; use its own address as base URL or add the name to host_names"
    )]
    Host,
    #[error("a web page may not call this gateway; add its exact origin to allowed_origins if it should")]
    Origin,
    #[error("nothing is here; the Messages API is at /v1/messages")]
    NotFound,
    #[error("{sentence}")]
    Paced { code: &'static str, sentence: String, wait: Option<Duration> },
    #[error("{sentence}")]
    Budget { sentence: String, wait: Option<Duration> },
    #[error("{sentence}")]
    BreakerOpen { upstream: Arc<str>, sentence: String, wait: Duration },
    #[error("{sentence}")]
    Emergency { sentence: String },
    #[error(
        "no upstream of this call takes all that it uses ({uses}): name one in a [[fallback]] of the settings, or correct its lacks"
    )]
    Incapable { uses: Capabilities },
    #[error("{scope} is paused: its calls go on when a person says `tidegate resume {scope}`")]
    ScopePaused { scope: Arc<str> },
    #[error("the call was taken out of the queue by hand; send it again if it is still wanted")]
    Dropped,
    #[error("the same call was sent again and has taken this one's place in the queue")]
    SentAgain,
    #[error("{sentence}")]
    TooMuchToReserve { sentence: String, shortest: Option<Duration> },
    #[error("this client holds no such reservation; it may have ended")]
    NoReservation,
    #[error("Tidegate is shutting down and takes no new calls; send the call again when it runs")]
    Draining,
    #[error("the ledger can't be written, so no call may leave: {reason}")]
    Ledger { reason: String },
    #[error("{reason}")]
    Key { reason: String },
    #[error("no upstream is set up; add an [[upstream]] to the settings")]
    NoUpstream,
    #[error("upstream \"{upstream}\" can't be reached: {reason}; check the network and its base_url")]
    Unreachable { upstream: String, reason: String },
    #[error("upstream \"{upstream}\" closed the connection before it answered; the call may have been billed")]
    Lost { upstream: String },
    #[error("upstream \"{upstream}\" sent nothing for {} s; the call may have been billed", .after.as_secs())]
    Silent { upstream: String, after: Duration },
    #[error("too many connections are open; close some or send calls over fewer")]
    Connections,
}

/// A longer wait is not worth a client's automatic retry.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
/// When an emergency ends nobody knows; none is shorter.
const EMERGENCY_WAIT: Duration = Duration::from_secs(60);

impl Error {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Error::NoObject | Error::NoModel | Error::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Error::BodyStopped => StatusCode::REQUEST_TIMEOUT,
            Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Token { .. } => StatusCode::UNAUTHORIZED,
            Error::Host | Error::Origin => StatusCode::FORBIDDEN,
            Error::NotFound | Error::NoReservation => StatusCode::NOT_FOUND,
            Error::SentAgain | Error::TooMuchToReserve { .. } => StatusCode::CONFLICT,
            Error::Paced { .. } | Error::Budget { .. } | Error::ScopePaused { .. } | Error::Dropped => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Error::Draining
            | Error::Ledger { .. }
            | Error::Key { .. }
            | Error::NoUpstream
            | Error::Incapable { .. }
            | Error::Unreachable { .. }
            | Error::Emergency { .. }
            | Error::Connections => StatusCode::SERVICE_UNAVAILABLE,
            Error::Lost { .. } => StatusCode::BAD_GATEWAY,
            Error::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
            Error::BreakerOpen { .. } => overloaded(),
        }
    }

    /// The `error.type` that SDKs map to their exceptions.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Error::NoObject | Error::NoModel | Error::BadRequest { .. } | Error::BodyStopped => "invalid_request_error",
            Error::TooLarge { .. } => "request_too_large",
            Error::Token { .. } => "authentication_error",
            Error::Host | Error::Origin => "permission_error",
            Error::NotFound | Error::NoReservation => "not_found_error",
            Error::SentAgain | Error::TooMuchToReserve { .. } => "conflict_error",
            Error::Paced { .. } | Error::ScopePaused { .. } | Error::Dropped => "rate_limit_error",
            Error::Budget { .. } => "billing_error",
            Error::Silent { .. } => "timeout_error",
            Error::BreakerOpen { .. } => "overloaded_error",
            Error::Draining
            | Error::Ledger { .. }
            | Error::Key { .. }
            | Error::NoUpstream
            | Error::Incapable { .. }
            | Error::Unreachable { .. }
            | Error::Lost { .. }
            | Error::Emergency { .. }
            | Error::Connections => "api_error",
        }
    }

    /// `error.details.error_code`, which says which one exactly.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Error::NoObject => "tidegate_no_json_object",
            Error::NoModel => "tidegate_no_model",
            Error::BadRequest { .. } => "tidegate_bad_request",
            Error::BodyStopped => "tidegate_body_stopped",
            Error::TooLarge { .. } => "tidegate_body_too_large",
            Error::Token { .. } => "tidegate_token",
            Error::Host => "tidegate_host",
            Error::Origin => "tidegate_origin",
            Error::NotFound => "tidegate_not_found",
            Error::Paced { code, .. } => code,
            Error::ScopePaused { .. } => "tidegate_held",
            Error::Budget { .. } => "tidegate_budget_reached",
            Error::BreakerOpen { .. } => "tidegate_breaker_open",
            Error::Emergency { .. } => "tidegate_emergency",
            Error::Dropped => "tidegate_dropped",
            Error::SentAgain => "tidegate_sent_again",
            Error::TooMuchToReserve { .. } => "tidegate_reservation_too_large",
            Error::NoReservation => "tidegate_no_reservation",
            Error::Draining => "tidegate_draining",
            Error::Ledger { .. } => "tidegate_ledger",
            Error::Key { .. } => "tidegate_keychain",
            Error::NoUpstream | Error::Incapable { .. } | Error::Unreachable { .. } => "tidegate_no_upstream",
            Error::Lost { .. } => "tidegate_upstream_lost",
            Error::Silent { .. } => "tidegate_upstream_silent",
            Error::Connections => "tidegate_connections",
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Paced { wait, .. } | Error::Budget { wait, .. } => *wait,
            Error::BreakerOpen { wait, .. } => Some(*wait),
            Error::Emergency { .. } => Some(EMERGENCY_WAIT),
            Error::SentAgain => Some(Duration::from_secs(1)),
            Error::Draining | Error::Connections | Error::Unreachable { .. } => Some(Duration::from_secs(5)),
            Error::NoObject
            | Error::NoModel
            | Error::BadRequest { .. }
            | Error::BodyStopped
            | Error::TooLarge { .. }
            | Error::Token { .. }
            | Error::Host
            | Error::Origin
            | Error::NotFound
            | Error::ScopePaused { .. }
            | Error::Incapable { .. }
            | Error::Dropped
            | Error::TooMuchToReserve { .. }
            | Error::NoReservation
            | Error::Ledger { .. }
            | Error::Key { .. }
            | Error::NoUpstream
            | Error::Lost { .. }
            | Error::Silent { .. } => None,
        }
    }

    /// Another upstream may be free, whole or known; in an emergency none is, but a configured text may be.
    pub(crate) fn is_of_one_upstream(&self) -> bool {
        let code = self.code();
        matches!(self, Error::Key { .. } | Error::Unreachable { .. } | Error::Lost { .. } | Error::Silent { .. })
            || ["tidegate_deadline", "tidegate_window_exhausted", "tidegate_breaker_open", "tidegate_emergency"]
                .contains(&code)
    }

    /// Whose breaker is open.
    pub(crate) fn upstream(&self) -> Option<&str> {
        if let Error::BreakerOpen { upstream, .. } = self { Some(upstream) } else { None }
    }

    fn never_retry(&self) -> bool {
        matches!(
            self,
            Error::Token { .. }
                | Error::ScopePaused { .. }
                | Error::Incapable { .. }
                | Error::Dropped
                | Error::TooMuchToReserve { .. }
        ) || self.retry_after().is_some_and(|wait| wait > RETRY_WAIT_MAX)
    }

    /// What the SDKs understand. `id` names it in their exceptions.
    pub(crate) fn envelope(&self, id: &str) -> String {
        let mut details = serde_json::json!({ "error_code": self.code() });
        if let Error::TooMuchToReserve { shortest, .. } = self {
            details["shortest_ttl"] = shortest.map(whole_seconds).into();
        }
        let error = serde_json::json!({ "type": self.kind(), "message": self.to_string(), "details": details });
        serde_json::json!({ "type": "error", "error": error, "request_id": id }).to_string()
    }

    /// The same as an event of a stream that has begun.
    pub(crate) fn event(&self, id: &str) -> Bytes {
        format!("event: error\ndata: {}\n\n", self.envelope(id)).into()
    }

    pub(crate) fn response(&self, id: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.envelope(id)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert("request-id", id);
        }
        if let Some(wait) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.never_retry() {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if matches!(self, Error::TooLarge { .. } | Error::BodyStopped | Error::Connections) {
            // The rest of the body is not read.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The bodies of waiting calls fill the memory that they may.
    pub(crate) fn no_room(budget: u64) -> Error {
        Error::Paced {
            code: "tidegate_queue_full",
            sentence: format!(
                "the bodies of waiting calls fill the body_budget of {budget} bytes; send the call again later or raise it"
            ),
            wait: Some(Duration::from_secs(10)),
        }
    }
}

/// The API's own status for an upstream that has too much to do.
fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Rounded up, and at least 1: a client that comes a moment too early has waited for nothing.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_nanos().div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Words;
    use domain::admission::{AccountId, Binding, LimitSource, Measure, Refusal};
    use domain::config::Rules;
    use domain::time::{Instant, Now, Timestamp};

    fn told(error: &Error) -> (u16, String, String, Option<String>, bool) {
        let response = error.response("01ID");
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().expect("ascii").to_owned());
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("json");
        assert_eq!((&body["type"], &body["request_id"]), (&"error".into(), &"01ID".into()));
        assert!(!body["error"]["message"].as_str().expect("a sentence").ends_with('.'));
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let error = &body["error"];
        let never = header("x-should-retry").as_deref() == Some("false");
        (
            response.status().as_u16(),
            text(&error["type"]),
            text(&error["details"]["error_code"]),
            header("retry-after"),
            never,
        )
    }

    #[test]
    fn every_error_answers_as_the_contract_says() {
        let reason = || "no disk".to_owned();
        let upstream = || "a".to_owned();
        let words = Words::of(&Rules::default(), &[]);
        let paced = |refusal| words.refused(&refusal, "claude-x", None, Now::default());
        let broken = |secs: u64| {
            let until = Instant::from_nanos(secs * 1_000_000_000);
            paced(Refusal::BreakerOpen { account: AccountId::default(), group: "sonnet-4".into(), until })
        };
        let deadline = |secs: u64| {
            paced(Refusal::Deadline { binding: None, not_before: Some(Instant::from_nanos(secs * 1_000_000_000 + 1)) })
        };
        for (error, status, kind, code, retry_after, never) in [
            (Error::NoObject, 400, "invalid_request_error", "tidegate_no_json_object", None, false),
            (Error::NoModel, 400, "invalid_request_error", "tidegate_no_model", None, false),
            (Error::BadRequest { what: "x" }, 400, "invalid_request_error", "tidegate_bad_request", None, false),
            (Error::BodyStopped, 408, "invalid_request_error", "tidegate_body_stopped", None, false),
            (Error::TooLarge { max: 1 }, 413, "request_too_large", "tidegate_body_too_large", None, false),
            (Error::Token { what: "x" }, 401, "authentication_error", "tidegate_token", None, true),
            (Error::Host, 403, "permission_error", "tidegate_host", None, false),
            (Error::Origin, 403, "permission_error", "tidegate_origin", None, false),
            (Error::NotFound, 404, "not_found_error", "tidegate_not_found", None, false),
            (
                paced(Refusal::QueueFull { waiting: 9 }),
                429,
                "rate_limit_error",
                "tidegate_queue_full",
                Some("10"),
                false,
            ),
            (deadline(41), 429, "rate_limit_error", "tidegate_deadline", Some("42"), false),
            (deadline(60), 429, "rate_limit_error", "tidegate_deadline", Some("61"), true),
            (
                paced(Refusal::Deadline { binding: None, not_before: None }),
                429,
                "rate_limit_error",
                "tidegate_deadline",
                Some("5"),
                false,
            ),
            (
                paced(Refusal::Paused { class: domain::call::Class::Background }),
                429,
                "rate_limit_error",
                "tidegate_held",
                None,
                false,
            ),
            (
                paced(Refusal::ScopePaused { scope: "session:s-1".into() }),
                429,
                "rate_limit_error",
                "tidegate_held",
                None,
                true,
            ),
            (
                Error::Budget { sentence: reason(), wait: Some(RETRY_WAIT_MAX * 60) },
                429,
                "billing_error",
                "tidegate_budget_reached",
                Some("3600"),
                true,
            ),
            (broken(42), 529, "overloaded_error", "tidegate_breaker_open", Some("42"), false),
            (broken(61), 529, "overloaded_error", "tidegate_breaker_open", Some("61"), true),
            (
                paced(Refusal::Emergency { class: domain::call::Class::Background, since: Timestamp::default() }),
                503,
                "api_error",
                "tidegate_emergency",
                Some("60"),
                false,
            ),
            (paced(Refusal::Dropped), 429, "rate_limit_error", "tidegate_dropped", None, true),
            (Error::Incapable { uses: Capabilities::NONE }, 503, "api_error", "tidegate_no_upstream", None, true),
            (Error::SentAgain, 409, "conflict_error", "tidegate_sent_again", Some("1"), false),
            (
                Error::TooMuchToReserve { sentence: reason(), shortest: None },
                409,
                "conflict_error",
                "tidegate_reservation_too_large",
                None,
                true,
            ),
            (Error::NoReservation, 404, "not_found_error", "tidegate_no_reservation", None, false),
            (Error::Draining, 503, "api_error", "tidegate_draining", Some("5"), false),
            (Error::Ledger { reason: reason() }, 503, "api_error", "tidegate_ledger", None, false),
            (Error::Key { reason: reason() }, 503, "api_error", "tidegate_keychain", None, false),
            (Error::NoUpstream, 503, "api_error", "tidegate_no_upstream", None, false),
            (
                Error::Unreachable { upstream: upstream(), reason: reason() },
                503,
                "api_error",
                "tidegate_no_upstream",
                Some("5"),
                false,
            ),
            (Error::Connections, 503, "api_error", "tidegate_connections", Some("5"), false),
            (Error::Lost { upstream: upstream() }, 502, "api_error", "tidegate_upstream_lost", None, false),
            (
                Error::Silent { upstream: upstream(), after: RETRY_WAIT_MAX },
                504,
                "timeout_error",
                "tidegate_upstream_silent",
                None,
                false,
            ),
        ] {
            let expected = (status, kind.to_owned(), code.to_owned(), retry_after.map(str::to_owned), never);
            assert_eq!(told(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn a_refused_wait_names_the_limit_its_value_its_source_and_its_end() {
        let binding =
            Binding { group: "sonnet-4".into(), measure: Measure::Requests, limit: 50, source: LimitSource::Tier };
        let refusal =
            Refusal::Deadline { binding: Some(binding), not_before: Some(Instant::from_nanos(42_000_000_000)) };
        let error = Words::of(&Rules::default(), &[]).refused(&refusal, "claude-x", None, Now::default());
        assert_eq!(
            error.to_string(),
            "the limit of 50 requests per minute for sonnet-4 (presumed from the tier) is used up: \
             it could go in 42 s, which is longer than this call may wait"
        );
    }

    #[test]
    fn a_wait_that_the_upstream_asked_for_is_called_so() {
        let refusal = Refusal::Deadline { binding: None, not_before: Some(Instant::from_nanos(37_000_000_000)) };
        let error = Words::of(&Rules::default(), &[]).refused(&refusal, "claude-x", None, Now::default());
        assert_eq!(
            error.to_string(),
            "the upstream refused calls of claude-x's limit and said when to come again: \
             it could go in 37 s, which is longer than this call may wait"
        );
    }
}
