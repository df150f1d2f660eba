//! The answers of the API that say no, in its own words.

use std::time::Duration;

use serde::Serialize;

use crate::pool::Limited;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) code: Option<&'static str>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) should_retry: Option<bool>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Inner<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    error_code: &'static str,
}

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into(), code: None, retry_after: None, should_retry: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid_request_error", message)
    }

    pub(crate) fn unauthorized(message: &str) -> ApiError {
        ApiError { should_retry: Some(false), ..ApiError::new(401, "authentication_error", message) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(404, "not_found_error", message)
    }

    pub(crate) fn too_large() -> ApiError {
        ApiError::new(413, "request_too_large", "Request exceeds the maximum size")
    }

    pub(crate) fn overloaded() -> ApiError {
        ApiError { should_retry: Some(true), ..ApiError::new(529, "overloaded_error", "Overloaded") }
    }

    pub(crate) fn rate_limited(message: impl Into<String>, wait: Option<Duration>) -> ApiError {
        let retry_after = wait.map(whole_seconds);
        ApiError { retry_after, should_retry: Some(true), ..ApiError::new(429, "rate_limit_error", message) }
    }

    /// Usage has grown too fast.
    pub(crate) fn ramp(wait: Duration) -> ApiError {
        ApiError {
            code: Some("ramp_limit_exceeded"),
            ..ApiError::rate_limited("Your usage has grown faster than it may. Slow down.", Some(wait))
        }
    }

    /// The server is busy; no limit of the account's is meant.
    pub(crate) fn busy(wait: Option<Duration>) -> ApiError {
        ApiError::rate_limited("Rate limited", wait)
    }

    /// A window of the plan is used up: it may last for hours.
    pub(crate) fn plan_limit(wait: Duration) -> ApiError {
        let message = "This request would exceed your account's rate limit. Please try again later.";
        ApiError { should_retry: None, ..ApiError::rate_limited(message, Some(wait)) }
    }

    pub(crate) fn forbidden(message: &str) -> ApiError {
        ApiError::new(403, "permission_error", message)
    }

    /// `event: error` carries no request id.
    pub(crate) fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        let details = self.code.map(|error_code| Details { error_code });
        let error = Inner { r#type: self.kind, message: &self.message, details };
        serde_json::to_vec(&Envelope { r#type: "error", error, request_id }).unwrap_or_default()
    }
}

/// As `retry-after` tells it: whole seconds, rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

const TAIL: &str = "You can see the response headers for current usage. Please reduce the prompt length or the maximum \
    tokens requested, or try again later. You may also contact sales at https://www.anthropic.com/contact-sales to \
    discuss your options for a rate limit increase.";

/// The sentence of a 429 as the API wrote it in 2025, and since 2026.
pub(crate) fn limit_sentence(limited: &Limited, org: &str, model: &str, of_2025: bool) -> String {
    let limit = grouped(limited.limit);
    let what = limited.measure.phrase();
    if of_2025 {
        return format!(
            "This request would exceed the rate limit for your organization ({org}) of {limit} {what} per minute. \
             For details, refer to: https://docs.anthropic.com/en/api/rate-limits. {TAIL}"
        );
    }
    format!(
        "This request would exceed your organization's rate limit of {limit} {what} per minute (org: {org}, model: \
         {model}). For details, refer to: https://docs.claude.com/en/api/rate-limits. {TAIL}"
    )
}

/// `30,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauge::Measure;

    #[test]
    fn limits_are_told_in_the_words_of_their_year() {
        let limited = Limited { measure: Measure::InputTokens, limit: 30_000, wait: Duration::ZERO };
        let old = limit_sentence(&limited, "ORG", "claude-sonnet-4-5", true);
        assert!(old.starts_with(
            "This request would exceed the rate limit for your organization (ORG) of 30,000 input tokens per minute. \
             For details, refer to: https://docs.anthropic.com/en/api/rate-limits. You can see"
        ));
        let new = limit_sentence(&limited, "ORG", "claude-sonnet-4-5", false);
        assert!(new.starts_with(
            "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: ORG, \
             model: claude-sonnet-4-5). For details, refer to: https://docs.claude.com/en/api/rate-limits."
        ));
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            let error = ApiError::rate_limited("", Some(Duration::from_millis(millis)));
            assert_eq!(error.retry_after, Some(seconds), "{millis} ms");
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (50, "50"), (999, "999"), (8_000, "8,000"), (2_000_000, "2,000,000")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_envelope_has_the_real_shape() {
        let error = ApiError { code: Some("ramp_limit_exceeded"), ..ApiError::new(429, "rate_limit_error", "Slow") };
        assert_eq!(
            String::from_utf8_lossy(&error.body(Some("req_1"))),
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow","details":{"error_code":"ramp_limit_exceeded"}},"request_id":"req_1"}"#
        );
    }
}
