//! Real errors of the API, one line each: what they are taken for, what follows, and what the client gets.
//! Texts are those of recorded exchanges and of the API's own documentation.

use domain::routing::{Failure, Retry};
use http::{HeaderMap, HeaderName};

use crate::failures::{answer_each_with, hasty, with_second};
use crate::support::World;
use crate::{ASK, MESSAGE};

/// Headers as in HTTP, the body, and what it is: `failure · retry · falls back? · breaks?`.
type Row = (u16, &'static str, &'static str, &'static str);

const PLAIN: &str = "content-type: application/json\r\n";
const SAYS_NO: &str = "content-type: application/json\r\nx-should-retry: false\r\n";
const SAYS_YES: &str = "content-type: application/json\r\nx-should-retry: true\r\n";
const WAIT: &str = "content-type: application/json\r\nretry-after: 7\r\n";
const WAIT_LONG: &str = "content-type: application/json\r\nretry-after: 12600\r\nanthropic-ratelimit-unified-status: rejected\r\nanthropic-ratelimit-unified-representative-claim: five_hour\r\n";
const HTML: &str = "content-type: text/html\r\n";

const CALLS_OWN: &str = "bad_request · never · stays · keeps";
const KEYS: &str = "authentication · never · stays · keeps";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // 400: the call's own fault, in the words of recorded answers.
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"temperature: range: 0..1"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Schemas contains too many parameters with union types (17 parameters with type arrays or anyOf). This causes exponential compilation cost."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Schema is too complex for compilation. Try reducing the number of tools or simplifying tool schemas."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Schemas contains too many optional parameters (25), which would make grammar compilation inefficient."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Too many strict tools (21). The maximum number of strict tools supported is 20."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom.input_schema: Input does not match the expected shape."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom: For 'object' type, property 'properties' is not supported"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom.input_schema.type: Field required"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom: Invalid schema: Circular reference detected in schema definitions: Node -> Node."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"tools.0.custom.input_schema.type: Input should be 'object'"}}"#, CALLS_OWN),
    (400, SAYS_NO, r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.0: all messages must have non-empty content except for the optional final assistant message"},"request_id":"req_1"}"#, CALLS_OWN),
    (400, SAYS_NO, r#"{"type":"error","error":{"type":"invalid_request_error","message":"This model does not support assistant message prefill. The conversation must end with a user message."}}"#, CALLS_OWN),
    (400, SAYS_NO, r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.0.content.1: unexpected `tool_use_id` found in `tool_result` blocks: toolu_01GHndag5wQmbzNihYmV2UBj."}}"#, CALLS_OWN),
    (400, SAYS_NO, r#"{"type":"error","error":{"type":"invalid_request_error","message":"output_format.schema: Field required"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium."}}"#, CALLS_OWN),
    // 400: what Claude Code reads to recover, and must get untouched.
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 201113 tokens > 200000 maximum"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length or `max_tokens` and try again"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 300000 > 64000, which is the maximum allowed number of output tokens for this model"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Input is too long."}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Input is too long for requested model"}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"image exceeds the maximum","details":{"error_code":"image_dimensions_too_large","max_side_length_pixels":8000}}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"x","details":{"error_code":"a_code_of_next_year"}}}"#, CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"policy_blocked","message":"blocked"}}"#, CALLS_OWN),
    // 400 and 402: money.
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#, "credit_gone · never · falls · keeps"),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#, "own_cap · never · falls · keeps"),
    (400, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#, "own_cap · never · falls · keeps"),
    (402, PLAIN, r#"{"type":"error","error":{"type":"billing_error","message":"There is a problem with your payment"}}"#, "credit_gone · never · falls · keeps"),
    (403, PLAIN, r#"{"type":"error","error":{"type":"billing_error","message":"There is a problem with your payment"}}"#, "credit_gone · never · falls · keeps"),
    // 401 and 403: the key.
    (401, PLAIN, r#"{"type":"error","error":{"type":"authentication_error","message":"API key is invalid."}}"#, KEYS),
    (401, SAYS_NO, r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_2"}"#, KEYS),
    (403, PLAIN, r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#, KEYS),
    (403, PLAIN, r#"{"type":"error","error":{"type":"permission_error","message":"x","details":{"error_code":"organization_on_hold"}}}"#, KEYS),
    // 404 to 422: not there, or not so.
    (404, PLAIN, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-nonexistent-rig-test"}}"#, CALLS_OWN),
    (404, SAYS_NO, r#"{"type":"error","error":{"type":"not_found_error","message":"model: this-model-does-not-exist-12345"}}"#, CALLS_OWN),
    (404, PLAIN, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-sonet-4-5"}}"#, CALLS_OWN),
    (409, PLAIN, r#"{"type":"error","error":{"type":"conflict_error","message":"thread","details":{"error_code":"thread_continue_in_flight"}}}"#, CALLS_OWN),
    (412, PLAIN, r#"{"type":"error","error":{"type":"memory_precondition_failed_error","message":"x"}}"#, CALLS_OWN),
    (413, PLAIN, r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#, CALLS_OWN),
    (413, HTML, "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body><center><h1>413</h1></center><hr><center>cloudflare</center></body></html>", CALLS_OWN),
    (422, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"unprocessable"}}"#, CALLS_OWN),
    (405, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Method Not Allowed"}}"#, CALLS_OWN),
    (501, SAYS_NO, r#"{"type":"error","error":{"type":"not_supported","message":"x"}}"#, CALLS_OWN),
    // 429: the limit of a minute, in each wording there was.
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Number of request tokens has exceeded your per-minute rate limit (https://docs.anthropic.com/en/api/rate-limits); see the response headers for current usage."}}"#, "pace input_tokens · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Number of requests has exceeded your per-minute rate limit"}}"#, "pace requests · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization (0-0) of 30,000 input tokens per minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits."}}"#, "pace input_tokens · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 8,000 output tokens per minute (org: 0-0, model: claude-sonnet-4-6)."}}"#, "pace output_tokens · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50 requests per minute (org: 0-0, model: claude-sonnet-4-6)."}}"#, "pace requests · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#, "pace · queue · falls · keeps"),
    (429, "content-type: application/json\r\nretry-after: 7\r\nanthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 0\r\n", r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#, "pace requests · queue · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Too many requests","details":{"error_code":"ramp_limit_exceeded"}}}"#, "acceleration · queue · falls · keeps"),
    // 429: money and windows, which no wait of minutes cures.
    (429, PLAIN, r#"{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your API usage limits: your organization has crossed its monthly API usage threshold, set based on your organization's API tier. You will regain access on 2026-12-01 at 00:00 UTC.","details":{"error_code":"enforced_spend_limit_reached"}}}"#, "tier_cap · never · falls · keeps"),
    (429, PLAIN, r#"{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your API usage limits: your organization has crossed its monthly API usage threshold. You will regain access on 2026-12-01 at 00:00 UTC."}}"#, "tier_cap · never · falls · keeps"),
    (429, PLAIN, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"contract_spend_limit_reached"}}}"#, "own_cap · never · falls · keeps"),
    (429, PLAIN, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"linked_organization_spend_limit_reached"}}}"#, "own_cap · never · falls · keeps"),
    (429, WAIT, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"linked_organization_billing_unavailable"}}}"#, "credit_gone · never · falls · keeps"),
    (429, WAIT_LONG, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account's rate limit. Please try again later."}}"#, "subscription_window · never · falls · keeps"),
    (429, SAYS_NO, r#"{"type":"error","error":{"type":"billing_error","message":"spend limit reached · resets Aug 8"}}"#, "own_cap · never · falls · keeps"),
    // 429: a server that is busy for a moment.
    (429, SAYS_YES, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Rate limited"}}"#, "throttled · queue · falls · keeps"),
    (429, SAYS_YES, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Error"}}"#, "throttled · queue · falls · keeps"),
    (429, PLAIN, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account's rate limit. Please try again later."}}"#, "throttled · queue · falls · keeps"),
    (429, SAYS_YES, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 20,000,000 prompt bytes per hour (org: 0-0, model: claude-sonnet-4-5-20250929)."}}"#, "throttled · queue · falls · keeps"),
    (429, HTML, "Too Many Requests", "throttled · queue · falls · keeps"),
    // 5xx: the upstream's trouble.
    (529, PLAIN, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "overloaded · overloaded · falls · breaks"),
    (529, PLAIN, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded. https://docs.claude.com/en/api/errors"},"request_id":"req_3"}"#, "overloaded · overloaded · falls · breaks"),
    (529, HTML, "", "overloaded · overloaded · falls · breaks"),
    (500, PLAIN, r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#, "server_error · backoff · falls · breaks"),
    (500, PLAIN, r#"{"type":"error","error":{"type":"api_error","message":"Overloaded"}}"#, "server_error · backoff · falls · breaks"),
    (500, PLAIN, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "overloaded · overloaded · falls · breaks"),
    (502, HTML, "<html><body><h1>502 Bad Gateway</h1></body></html>", "server_error · backoff · falls · breaks"),
    (503, HTML, "upstream connect error or disconnect/reset before headers. reset reason: overflow", "server_error · backoff · falls · breaks"),
    (504, PLAIN, r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out"}}"#, "timeout · backoff · falls · breaks"),
    (408, PLAIN, r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out"}}"#, "timeout · backoff · falls · breaks"),
    (520, HTML, "error code: 520", "server_error · backoff · falls · breaks"),
    // Bodies that are no envelope, or half of one, or contradict their status.
    (500, PLAIN, r#"{"type":"error","error":{"type":"api_er"#, "server_error · backoff · falls · breaks"),
    (500, PLAIN, "", "server_error · backoff · falls · breaks"),
    (400, PLAIN, "\u{feff}{}", CALLS_OWN),
    (400, PLAIN, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, CALLS_OWN),
    (529, PLAIN, r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#, "overloaded · overloaded · falls · breaks"),
    (200, HTML, "<html>log in to the network</html>", "not_an_api_answer · never · falls · breaks"),
    (200, "", "", "not_an_api_answer · never · falls · breaks"),
    (302, "location: https://elsewhere/\r\n", "", "not_an_api_answer · never · falls · breaks"),
    // 429 with a `retry-after` of every kind.
    (429, "content-type: application/json\r\nretry-after: Wed, 25 Nov 2026 00:00:00 GMT\r\n", r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, "pace · queue · falls · keeps"),
    (429, "content-type: application/json\r\nretry-after: -5\r\n", r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, "throttled · queue · falls · keeps"),
    (429, "content-type: application/json\r\nretry-after: 99999999999999999999\r\n", r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, "pace · queue · falls · keeps"),
];

fn told(failure: Option<Failure>) -> String {
    let Some(failure) = failure else { return "an answer".to_owned() };
    let course = failure.course();
    let measure = if let Failure::Pace { measure: Some(measure) } = failure {
        format!(" {}", measure.name())
    } else {
        String::new()
    };
    let retry = match course.retry {
        Retry::Never => "never",
        Retry::Queue => "queue",
        Retry::Overloaded => "overloaded",
        Retry::Once => "once",
        Retry::Backoff => "backoff",
    };
    let (falls, breaks) =
        (if course.fallback { "falls" } else { "stays" }, if course.breaks { "breaks" } else { "keeps" });
    format!("{}{measure} · {retry} · {falls} · {breaks}", failure.name())
}

fn header_map(text: &str) -> HeaderMap {
    let lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))).collect()
}

#[test]
fn every_real_error_is_taken_for_what_it_is() {
    assert!(ROWS.len() >= 60);
    for (status, headers, body, expected) in ROWS {
        let failure = gateway::fuzz::failure_of(*status, &header_map(headers), body.as_bytes());
        assert_eq!(told(failure), *expected, "{status} {headers} {body}");
    }
}

/// Alone, the client gets the upstream's last answer to the byte, after as many attempts as the line says.
#[tokio::test]
async fn every_real_error_reaches_a_client_that_has_no_fallback_unchanged() {
    for (status, headers, body, expected) in ROWS {
        let world = World::with(hasty).await;
        let mut peer = world.call("x-tidegate-max-wait: 1\r\n", ASK).await;
        let mut attempts = 0;
        let answer = loop {
            tokio::select! {
                mut asked = world.upstream.asked() => {
                    attempts += 1;
                    asked.answer(*status, &format!("{headers}connection: close\r\n"), body).await;
                }
                answer = peer.answer() => break answer,
            }
        };
        assert_eq!((answer.status, answer.text().as_str()), (*status, *body), "{status} {body}");
        let says_no = headers.contains("x-should-retry: false");
        let most = match expected.split(" · ").nth(1) {
            Some("overloaded") if !says_no => 2,
            Some("backoff" | "queue") if !says_no => 3,
            _ => 1,
        };
        assert!((1..=most).contains(&attempts), "{attempts} attempts: {status} {body}");
        if !expected.contains("queue") {
            assert_eq!(attempts, most, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn every_real_error_that_another_upstream_can_mend_is_mended_there() {
    for (status, headers, body, expected) in ROWS {
        let (world, second) = with_second(|config| config.retry.budget_permille = 0).await;
        let mut peer = world.call("x-tidegate-max-wait: 1\r\n", ASK).await;
        let falls = expected.contains(" · falls · ");
        let answer = loop {
            tokio::select! {
                mut asked = world.upstream.asked() => {
                    asked.answer(*status, &format!("{headers}connection: close\r\n"), body).await;
                }
                asked = second.asked() => answer_each_with(asked, MESSAGE).await,
                answer = peer.answer() => break answer,
            }
        };
        let (wanted, from) = if falls { ((200, MESSAGE), "second") } else { ((*status, *body), "fake") };
        assert_eq!((answer.status, answer.text().as_str()), wanted, "{status} {body}");
        assert_eq!(answer.header("x-tidegate-upstream"), Some(from), "{status} {body}");
    }
}
