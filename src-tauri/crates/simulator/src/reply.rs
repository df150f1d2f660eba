//! Answers with the headers that the API sends.

use domain::time::Timestamp;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::body::Body;
use crate::error::ApiError;
use crate::gauge::{Family, Gauge, Measure};
use crate::world::World;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// An answer of the API: `request-id` and whose it is.
pub(crate) fn with(world: &World, request_id: &str, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    insert(headers, HeaderName::from_static("request-id"), request_id);
    headers.insert("anthropic-organization-id", world.org_header.clone());
    headers.insert("anthropic-workspace-id", world.workspace_header.clone());
    response
}

pub(crate) fn json(world: &World, request_id: &str, value: &impl Serialize) -> Response<Body> {
    with(world, request_id, JSON, Body::whole(serde_json::to_vec(value).unwrap_or_default()))
}

pub(crate) fn error(world: &World, request_id: &str, error: &ApiError) -> Response<Body> {
    let mut response = with(world, request_id, JSON, Body::whole(error.body(Some(request_id))));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(retry) = error.should_retry {
        headers.insert("x-should-retry", HeaderValue::from_static(if retry { "true" } else { "false" }));
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The three headers of one limit.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

macro_rules! names {
    ($kind:literal) => {
        Names {
            limit: HeaderName::from_static(concat!("anthropic-", $kind, "-limit")),
            remaining: HeaderName::from_static(concat!("anthropic-", $kind, "-remaining")),
            reset: HeaderName::from_static(concat!("anthropic-", $kind, "-reset")),
        }
    };
}

/// Each limit, and `tokens`: the standard input and output together.
pub(crate) fn limits(headers: &mut HeaderMap, gauges: &[Gauge], now: Timestamp) {
    for gauge in gauges {
        let names = match (gauge.family, gauge.measure) {
            (_, Measure::Requests) => names!("ratelimit-requests"),
            (Family::Standard, Measure::InputTokens) => names!("ratelimit-input-tokens"),
            (Family::Standard, Measure::OutputTokens) => names!("ratelimit-output-tokens"),
            (Family::Fast, Measure::InputTokens) => names!("fast-input-tokens"),
            (Family::Fast, Measure::OutputTokens) => names!("fast-output-tokens"),
            (Family::Priority, Measure::InputTokens) => names!("priority-input-tokens"),
            (Family::Priority, Measure::OutputTokens) => names!("priority-output-tokens"),
        };
        let remaining = match gauge.measure {
            Measure::Requests => gauge.remaining,
            Measure::InputTokens | Measure::OutputTokens => nearest_thousand(gauge.remaining).min(gauge.limit),
        };
        limit(headers, names, gauge.limit, remaining, now.after(gauge.full_in));
    }
    let standard = gauges.iter().filter(|gauge| gauge.family == Family::Standard);
    let tokens = standard.filter(|gauge| gauge.measure != Measure::Requests);
    let sum = tokens.copied().reduce(|a, b| Gauge {
        limit: a.limit + b.limit,
        remaining: a.remaining + b.remaining,
        full_in: a.full_in.max(b.full_in),
        ..a
    });
    if let Some(sum) = sum {
        let remaining = nearest_thousand(sum.remaining).min(sum.limit);
        limit(headers, names!("ratelimit-tokens"), sum.limit, remaining, now.after(sum.full_in));
    }
}

fn limit(headers: &mut HeaderMap, names: Names, limit: u64, remaining: u64, reset: Timestamp) {
    headers.insert(names.limit, HeaderValue::from(limit));
    headers.insert(names.remaining, HeaderValue::from(remaining));
    insert(headers, names.reset, &to_the_second(reset));
}

const fn nearest_thousand(tokens: u64) -> u64 {
    (tokens + 500) / 1_000 * 1_000
}

/// `2026-11-24T22:40:08Z`; what is less than a second is cut off, as the recordings show.
pub(crate) fn to_the_second(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn headers_round_as_the_real_ones() {
        let gauge = |measure, limit, remaining, millis| Gauge {
            family: Family::Standard,
            measure,
            limit,
            remaining,
            full_in: Duration::from_millis(millis),
        };
        let gauges = [
            gauge(Measure::Requests, 50, 49, 1_200),
            gauge(Measure::InputTokens, 30_000, 29_499, 1_001),
            gauge(Measure::OutputTokens, 8_000, 6_500, 2_900),
        ];
        let now = Timestamp::parse("2026-11-24T22:40:08.000Z").expect("a time");
        let mut headers = HeaderMap::new();
        limits(&mut headers, &gauges, now);
        for (name, expected) in [
            ("requests-limit", "50"),
            ("requests-remaining", "49"),
            ("requests-reset", "2026-11-24T22:40:09Z"),
            ("input-tokens-remaining", "29000"),
            ("input-tokens-reset", "2026-11-24T22:40:09Z"),
            ("output-tokens-remaining", "7000"),
            ("output-tokens-reset", "2026-11-24T22:40:10Z"),
            ("tokens-limit", "38000"),
            ("tokens-remaining", "36000"),
            ("tokens-reset", "2026-11-24T22:40:10Z"),
        ] {
            assert_eq!(headers[format!("anthropic-ratelimit-{name}")], expected, "{name}");
        }
        assert_eq!(headers.len(), 12);
    }

    #[test]
    fn rounding_never_leaves_more_than_the_limit() {
        let gauge = |measure, limit| Gauge {
            family: Family::Standard,
            measure,
            limit,
            remaining: limit,
            full_in: Duration::ZERO,
        };
        let gauges = [gauge(Measure::InputTokens, 12_500), gauge(Measure::OutputTokens, 700)];
        let mut headers = HeaderMap::new();
        limits(&mut headers, &gauges, Timestamp::from_millis(0));
        for (name, expected) in [("input-tokens", "12500"), ("output-tokens", "700"), ("tokens", "13000")] {
            assert_eq!(headers[format!("anthropic-ratelimit-{name}-remaining")], expected, "{name}");
        }
    }
}
