//! The whole of it, over a socket and in virtual time.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use domain::money::Usd;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Faults, Latency, Options, Outcome, Record, Simulator, fixture};

/// What came back, byte by byte.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The body ended as its framing said.
    whole: bool,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Option<Reply> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let rest = &bytes[end + 4..];
        let told = field(&head, "content-length").map(|text| text.parse::<usize>().expect("a length"));
        let (body, whole) = match told {
            Some(length) => (rest.to_vec(), rest.len() == length),
            None => dechunked(rest),
        };
        Some(Reply { status, head, body, whole })
    }

    fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("a chunk's size");
        if size == 0 {
            return (body, true);
        }
        let data = &rest[end + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        rest = data.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

const KEY: &str = "x-api-key: sk-ant-test\r\nanthropic-version: 2023-06-01\r\n";

async fn open(simulator: &Simulator, line: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(simulator.address()).await.expect("it listens");
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.expect("it reads");
    stream
}

/// `None` where the connection closed without a byte.
async fn send(simulator: &Simulator, line: &str, headers: &str, body: &str) -> Option<Reply> {
    let mut bytes = Vec::new();
    let mut stream = open(simulator, line, headers, body).await;
    // A connection that is reset has said what it said.
    let _ = stream.read_to_end(&mut bytes).await;
    Reply::parse(&bytes)
}

async fn get(simulator: &Simulator, path: &str) -> Reply {
    send(simulator, &format!("GET {path}"), KEY, "").await.expect("an answer")
}

async fn post(simulator: &Simulator, body: &Value) -> Reply {
    send(simulator, "POST /v1/messages", KEY, &body.to_string()).await.expect("an answer")
}

fn says(text: &str) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 1_000, "messages": [{"role": "user", "content": text}]})
}

fn streamed(text: &str) -> Value {
    let mut body = says(text);
    body["stream"] = json!(true);
    body
}

fn priced() -> Options {
    Options { catalog: fixture::catalog(), ..Options::default() }
}

fn of_tier_1() -> Options {
    Options { scheme: Some((fixture::scheme("2025-09"), "1".into())), ..priced() }
}

async fn start(options: Options) -> Simulator {
    Simulator::start(options).await.expect("a free port")
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_what_it_used_and_the_books_agree() {
    let simulator = start(priced()).await;
    let reply = post(&simulator, &says("hello [[output 100]]")).await;
    let answer = reply.json();
    assert_eq!((reply.status, &answer["stop_reason"]), (200, &json!("end_turn")));
    assert_eq!(answer["usage"]["input_tokens"], 3 + 4 + 5);
    assert_eq!(answer["usage"]["output_tokens"], 100);
    assert!(reply.header("request-id").is_some_and(|id| id.starts_with("req_01")));
    assert!(!reply.head.contains("ratelimit"), "nothing limits: no headers say so");
    let stats = simulator.stats();
    assert_eq!((stats.calls, stats.completed, stats.running), (1, 1, 0));
    // 12 × 3 and 100 × 15 micro-dollars
    assert_eq!(stats.cost_usd, "0.001536000");
    assert_eq!(serde_json::to_value(&stats).expect("JSON"), get(&simulator, "/simulator/stats").await.json());
    let line: Value = get(&simulator, "/simulator/calls").await.json();
    assert_eq!(line["request_id"], reply.header("request-id").expect("an id"));
    assert_eq!((&line["cost_usd"], &line["output_tokens"]), (&json!("0.001536000"), &json!(100)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_booked_before_its_last_byte() {
    let simulator = start(priced()).await;
    let reply = post(&simulator, &streamed("hello [[output 100]]")).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(reply.whole && reply.text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    let stats = simulator.stats();
    assert_eq!((stats.completed, stats.tokens.output_tokens, stats.running), (1, 100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_refuses_in_the_real_words_and_with_the_real_headers() {
    let simulator = start(of_tier_1()).await;
    assert_eq!(post(&simulator, &says("one")).await.status, 200);
    let refused = post(&simulator, &says("two")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    assert_eq!(refused.header("anthropic-ratelimit-requests-remaining"), Some("49"));
    assert_eq!(refused.header("anthropic-ratelimit-tokens-limit"), Some("38000"));
    let message = refused.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("the rate limit for your organization (") && message.contains("50 requests per minute"));
    assert_eq!(refused.json()["request_id"], refused.header("request-id").expect("an id"));
    tokio::time::sleep(Duration::from_millis(1_150)).await;
    assert_eq!(post(&simulator, &says("three")).await.status, 200);
    let stats = simulator.stats();
    assert_eq!((stats.calls, stats.completed), (3, 2));
    assert_eq!((stats.refused.requests, stats.refused.input_tokens, stats.admitted.requests), (1, 0, 2));
    assert_eq!(stats.capacity.input_tokens, Some(30_575));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_calls_paced_by_the_limit_are_never_refused() {
    let simulator = start(of_tier_1()).await;
    for _ in 0..100 {
        assert_eq!(post(&simulator, &says("hello [[output 20]]")).await.status, 200);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    let stats = simulator.stats();
    assert_eq!((stats.completed, stats.refused.requests, stats.capacity.requests), (100, 0, Some(101)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_pays_for_what_was_produced() {
    let simulator = start(Options { latency: Latency::REALISTIC, ..priced() }).await;
    let mut stream = open(&simulator, "POST /v1/messages", KEY, &streamed("[[output 900]]").to_string()).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("text_delta") {
        let mut piece = [0; 4_096];
        let read = stream.read(&mut piece).await.expect("it streams");
        seen.extend_from_slice(&piece[..read]);
    }
    drop(stream);
    while simulator.stats().running > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = simulator.stats();
    assert_eq!((stats.cancelled, stats.completed, stats.cut), (1, 0, 0));
    assert!((5..900).contains(&stats.tokens.output_tokens), "{stats:?}");
    assert_eq!(stats.admitted.output_tokens, stats.tokens.output_tokens);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_noticed_while_nothing_is_sent() {
    for body in
        [says("[[output 900]]"), says("[[fault stall]]"), streamed("[[fault stall]]"), says("[[fault stall_headers]]")]
    {
        let simulator = start(Options { latency: Latency::REALISTIC, ..priced() }).await;
        let stream = open(&simulator, "POST /v1/messages", KEY, &body.to_string()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((simulator.stats().calls, simulator.stats().completed), (1, 0), "{body}");
        drop(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = simulator.stats();
        assert_eq!((stats.running, stats.completed, stats.cut), (0, 0, 0), "{body}");
        assert_eq!(stats.cancelled, 1, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_their_time() {
    let latency = Latency { first_byte_ms: (400, 400), tokens_per_second: (100, 100) };
    let simulator = start(Options { latency, ..priced() }).await;
    for body in [says("[[output 100]]"), streamed("[[output 100]]")] {
        let before = tokio::time::Instant::now();
        assert_eq!(post(&simulator, &body).await.status, 200);
        let took = before.elapsed().as_millis();
        assert!((1_400..1_500).contains(&took), "{took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn each_error_has_its_status_its_type_and_its_headers() {
    let simulator = start(of_tier_1()).await;
    for (fault, status, kind, retry_after, should_retry) in [
        ("invalid_request", 400, "invalid_request_error", None, None),
        ("credit_too_low", 400, "invalid_request_error", None, None),
        ("spend_limit", 400, "invalid_request_error", None, None),
        ("authentication", 401, "authentication_error", None, Some("false")),
        ("permission", 403, "permission_error", None, None),
        ("not_found", 404, "not_found_error", None, None),
        ("request_too_large", 413, "request_too_large", None, None),
        ("rate_requests", 429, "rate_limit_error", Some("7"), Some("true")),
        ("rate_input; retry_after=60", 429, "rate_limit_error", Some("60"), Some("true")),
        ("rate_output", 429, "rate_limit_error", Some("7"), Some("true")),
        ("ramp", 429, "rate_limit_error", Some("7"), Some("true")),
        ("spend_cap", 429, "rate_limit_error", None, None),
        ("transient", 429, "rate_limit_error", None, Some("true")),
        ("internal", 500, "api_error", None, Some("true")),
        ("timeout", 504, "timeout_error", None, None),
        ("overloaded", 529, "overloaded_error", None, Some("true")),
    ] {
        let headers = format!("{KEY}x-simulator-fault: {fault}\r\n");
        let reply = send(&simulator, "POST /v1/messages", &headers, &says("x").to_string()).await.expect("an answer");
        assert_eq!((reply.status, reply.json()["error"]["type"].as_str()), (status, Some(kind)), "{fault}");
        assert_eq!(reply.header("retry-after"), retry_after, "{fault}");
        assert_eq!(reply.header("x-should-retry"), should_retry, "{fault}");
        assert_eq!(reply.head.contains("anthropic-ratelimit"), fault.starts_with("rate_"), "{fault}");
    }
    let stats = simulator.stats();
    assert_eq!((stats.calls, stats.failed), (16, 16));
    assert_eq!((stats.refused.requests, stats.admitted.requests, stats.tokens.output_tokens), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn connections_break_where_a_fault_says() {
    let simulator = start(priced()).await;
    let hangup = send(&simulator, "POST /v1/messages", KEY, &says("[[fault hangup]]").to_string()).await;
    assert!(hangup.is_none());
    let cut = post(&simulator, &streamed("[[output 50]] [[fault cut; after_events=5]]")).await;
    assert_eq!((cut.status, cut.whole, cut.text().matches("event: ").count()), (200, false, 5));
    let cut = post(&simulator, &streamed("[[output 50]] [[fault cut; after_bytes=1000]]")).await;
    assert_eq!((cut.whole, cut.body.len()), (false, 1_000));
    let cut = post(&simulator, &says("[[output 50]] [[fault cut]]")).await;
    assert!(!cut.whole && cut.json().is_null());
    let short = post(&simulator, &says("[[output 50]] [[fault wrong_length]]")).await;
    assert!(!short.whole && short.json()["usage"]["output_tokens"] == 50);
    let stats = simulator.stats();
    assert_eq!((stats.calls, stats.cut, stats.failed, stats.completed), (5, 4, 1, 0));
    let outcomes: Vec<_> = simulator.calls().iter().map(|call| (call.outcome, call.tokens.output_tokens)).collect();
    let cut = |tokens| (Outcome::Cut, tokens);
    assert_eq!(outcomes, [(Outcome::Failed, 0), cut(10), cut(10), cut(50), cut(50)]);
}

#[tokio::test(start_paused = true)]
async fn streams_go_wrong_where_a_fault_says() {
    let simulator = start(priced()).await;
    let error = post(&simulator, &streamed("[[output 50]] [[fault error_in_stream; after_events=1]]")).await;
    assert!(error.whole && error.text().ends_with("\"message\":\"Overloaded\"}}\n\n"));
    let malformed = post(&simulator, &streamed("[[output 50]] [[fault malformed]]")).await;
    assert!(malformed.text().contains("this line has no colon\n\n") && malformed.text().contains("message_stop"));
    assert!(std::str::from_utf8(&malformed.body).is_err());
    let huge = post(&simulator, &streamed("[[output 50]] [[fault huge; bytes=3000000]]")).await;
    let longest = huge.body.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(huge.whole && longest > Some(3_000_000));
    let before = tokio::time::Instant::now();
    let stalled = post(&simulator, &streamed("[[output 50]] [[fault stall; seconds=90]]")).await;
    assert!(stalled.whole && before.elapsed() >= Duration::from_secs(90));
    let drip = post(&simulator, &says("[[output 50]] [[fault drip; bytes=7; ms=1]]")).await;
    assert_eq!(drip.json()["usage"]["output_tokens"], 50);
    let stats = simulator.stats();
    assert_eq!(
        (stats.completed, stats.cut, stats.tokens.output_tokens),
        (4, 1, 201),
        "one of the stream that failed at once"
    );
}

#[tokio::test(start_paused = true)]
async fn something_in_between_may_answer() {
    let simulator = start(priced()).await;
    let html = post(&simulator, &says("[[fault html]]")).await;
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html")));
    let empty = post(&simulator, &says("[[fault empty]]")).await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!((simulator.stats().failed, simulator.stats().tokens.output_tokens), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_are_compressed_where_the_client_allows_it_or_when_forced() {
    let simulator = start(priced()).await;
    let accepts = format!("{KEY}accept-encoding: gzip, deflate\r\n");
    let plain = post(&simulator, &streamed("hello [[fault gzip]]")).await;
    assert_eq!(plain.header("content-encoding"), None);
    for (headers, body) in [
        (accepts.as_str(), streamed("hello [[fault gzip]]")),
        (KEY, streamed("hello [[fault gzip_forced]]")),
        (accepts.as_str(), says("hello [[fault gzip]]")),
    ] {
        let reply = send(&simulator, "POST /v1/messages", headers, &body.to_string()).await.expect("an answer");
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&reply.body[..]).read_to_string(&mut text).expect("gzip");
        assert!(text.contains("\"stop_reason\":\"end_turn\""), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_strikes_the_call_it_names() {
    let faults = Faults::from_toml("[[rule]]\nfault = \"overloaded\"\nnth = 2\n").expect("a script");
    let simulator = start(Options { faults, ..priced() }).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(post(&simulator, &says("x")).await.status);
    }
    assert_eq!(statuses, [200, 529, 200]);
    let unknown = post(&simulator, &says("[[fault cute]]")).await;
    assert_eq!((unknown.status, unknown.text().contains("cute")), (400, true));
}

#[tokio::test(start_paused = true)]
async fn the_books_add_up_whatever_goes_wrong() {
    let names = ["cut", "hangup", "overloaded", "rate_input", "error_in_stream", "malformed", "drip", "html", "gzip"];
    let rule = |name: &&str| format!("[[rule]]\nfault = \"{name}\"\nprobability = 0.05\n");
    let faults = Faults::from_toml(&names.iter().map(rule).collect::<String>()).expect("a script");
    let simulator = start(Options { faults, ..of_tier_1() }).await;
    for nth in 0..300_u64 {
        let text = format!("call {nth} {}", "x".repeat(40 * usize::try_from(nth % 50).expect("small")));
        let body = if nth % 2 == 0 { says(&text) } else { streamed(&text) };
        send(&simulator, "POST /v1/messages", KEY, &body.to_string()).await;
        tokio::time::sleep(Duration::from_millis(900 + nth % 400)).await;
    }
    let stats = simulator.stats();
    let refused = stats.refused.requests + stats.refused.input_tokens + stats.refused.output_tokens;
    assert!(refused > 20 && stats.cut > 5 && stats.failed > 20, "{stats:?}");
    assert_eq!(stats.calls, stats.completed + stats.cut + stats.cancelled + stats.failed + refused);
    assert_eq!(stats.admitted.requests, stats.completed + stats.cut);
    assert!(Some(stats.admitted.requests) <= stats.capacity.requests);
    assert!(Some(stats.admitted.input_tokens) <= stats.capacity.input_tokens);
    let calls = simulator.calls();
    assert_eq!(calls.iter().map(|call| &call.request_id).collect::<BTreeSet<_>>().len() as u64, stats.calls);
    assert_eq!(calls.iter().map(|call| call.tokens.output_tokens).sum::<u64>(), stats.admitted.output_tokens);
    let cost = |call: &Record| call.cost_usd.as_deref().and_then(|cost| cost.parse::<Usd>().ok());
    assert_eq!(calls.iter().filter_map(cost).sum::<Usd>().to_string(), stats.cost_usd);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_bytes() {
    let one = start(priced()).await;
    let same = start(priced()).await;
    let other = start(Options { seed: 9, ..priced() }).await;
    for body in [says("hello"), streamed("hello")] {
        let first = post(&one, &body).await.body;
        assert_eq!(first, post(&same, &body).await.body);
        assert_eq!(first, post(&one, &body).await.body, "a second time too");
        assert_ne!(first, post(&other, &body).await.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_same_prefix_is_read_from_the_cache_and_costs_less() {
    let simulator = start(priced()).await;
    let mut body = says("hello [[output 20]]");
    body["system"] =
        json!([{"type": "text", "text": "s".repeat(8_000), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let usage = |reply: Reply| reply.json()["usage"].clone();
    let first = usage(post(&simulator, &body).await);
    assert_eq!(first["cache_creation"], json!({"ephemeral_1h_input_tokens": 2_003, "ephemeral_5m_input_tokens": 0}));
    let second = usage(post(&simulator, &body).await);
    assert_eq!(
        (&second["cache_read_input_tokens"], &second["cache_creation_input_tokens"]),
        (&json!(2_003), &json!(0))
    );
    let calls = simulator.calls();
    // 9 × 3 + 2,003 × 6 + 20 × 15 micro-dollars, then 9 × 3 + 2,003 × 0.3 + 20 × 15
    assert_eq!(calls[0].cost_usd.as_deref(), Some("0.012345000"));
    assert_eq!(calls[1].cost_usd.as_deref(), Some("0.000927900"));
    assert_eq!(simulator.stats().cost_usd, "0.013272900");
}

#[tokio::test(start_paused = true)]
async fn without_a_catalogue_every_model_is_known_and_none_has_a_price() {
    let simulator = start(Options::default()).await;
    assert_eq!(post(&simulator, &says("hello")).await.status, 200);
    assert_eq!((simulator.stats().unpriced, simulator.stats().completed), (1, 1));
    assert_eq!(simulator.calls()[0].cost_usd, None);
}

#[tokio::test(start_paused = true)]
async fn speed_and_place_are_echoed_and_priced() {
    let simulator = start(priced()).await;
    let mut body = says("hello [[output 100]]");
    (body["speed"], body["inference_geo"]) = (json!("fast"), json!("us"));
    let usage = post(&simulator, &body).await.json()["usage"].clone();
    assert_eq!((&usage["speed"], &usage["inference_geo"]), (&json!("fast"), &json!("us")));
    assert_eq!(simulator.stats().cost_usd, "0.003379200", "1.536 m$ × 2 × 1.1");
}

#[tokio::test(start_paused = true)]
async fn count_tokens_counts_as_a_message_would_and_has_its_own_pool() {
    let simulator = start(of_tier_1()).await;
    let body = says("hello there").to_string();
    let count = send(&simulator, "POST /v1/messages/count_tokens?beta=true", KEY, &body).await.expect("an answer");
    assert_eq!(count.json(), json!({"input_tokens": 3 + 4 + 3}));
    assert_eq!(post(&simulator, &says("hello there")).await.json()["usage"]["input_tokens"], 10);
    for _ in 0..99 {
        send(&simulator, "POST /v1/messages/count_tokens", KEY, &body).await;
    }
    let refused = send(&simulator, "POST /v1/messages/count_tokens", KEY, &body).await.expect("an answer");
    assert_eq!(refused.status, 429);
    assert_eq!((simulator.stats().calls, simulator.stats().count_tokens), (1, 101));
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_get_the_envelope() {
    let simulator = start(priced()).await;
    let unknown = says("x").to_string().replace("sonnet-4-5", "nonsense-9");
    let broken = format!("{KEY}x-simulator-fault: internal\r\n");
    let large = format!("{KEY}content-length: 33554433\r\n");
    for (line, headers, body, status, message) in [
        ("POST /v1/messages", KEY, "{", 400, "The request body is not valid JSON"),
        ("POST /v1/messages", KEY, &*unknown, 404, "model: claude-nonsense-9"),
        ("POST /v1/messages", "", "{}", 401, "x-api-key header is required"),
        ("GET /v1/models/claude-nonsense-9", KEY, "", 404, "model: claude-nonsense-9"),
        ("GET /v1/nothing", KEY, "", 404, "Not found"),
        ("GET /v1/models", &*broken, "", 500, "Internal server error"),
        ("GET /api/hello", "", "", 404, "Not found"),
    ] {
        let reply = send(&simulator, line, headers, body).await.expect("an answer");
        assert_eq!(reply.status, status, "{line}");
        assert!(reply.json()["error"]["message"].as_str().is_some_and(|text| text.starts_with(message)), "{line}");
    }
    let mut stream = TcpStream::connect(simulator.address()).await.expect("it listens");
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{large}\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an answer");
    assert_eq!(Reply::parse(&bytes).map(|reply| reply.status), Some(413));
}

#[tokio::test(start_paused = true)]
async fn models_come_by_pages() {
    let simulator = start(priced()).await;
    let mut seen = Vec::new();
    let mut path = "/v1/models?limit=2".to_owned();
    loop {
        let page = get(&simulator, &path).await.json();
        seen.extend(page["data"].as_array().expect("a list").iter().map(|model| model["id"].clone()));
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/models?limit=2&after_id={}", page["last_id"].as_str().expect("an id"));
    }
    assert_eq!(seen.len(), 5);
    let one = get(&simulator, "/v1/models/claude-sonnet-4-5").await.json();
    assert_eq!((&one["type"], &one["display_name"]), (&json!("model"), &json!("Claude Sonnet 4.5")));
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_and_its_results_lie_at_an_absolute_address() {
    let simulator = start(priced()).await;
    let request = |id: &str, params: Value| json!({"custom_id": id, "params": params});
    let body = json!({"requests": [request("a", says("hello [[output 30]]")), request("b", json!({"model": "x"}))]});
    let made = send(&simulator, "POST /v1/messages/batches", KEY, &body.to_string()).await.expect("an answer").json();
    assert_eq!((&made["processing_status"], &made["results_url"]), (&json!("in_progress"), &Value::Null));
    let path = format!("/v1/messages/batches/{}", made["id"].as_str().expect("an id"));
    let early = get(&simulator, &format!("{path}/results")).await;
    assert_eq!((early.status, early.header("x-should-retry")), (404, Some("false")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = get(&simulator, &path).await.json();
    let results_path = format!("{path}/results");
    assert_eq!(ended["results_url"], json!(format!("{}{results_path}", simulator.base_url())));
    let results = get(&simulator, &results_path).await.text();
    let lines: Vec<Value> = results.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["result"]["message"]["usage"]["service_tier"], "batch");
    assert_eq!(lines[1]["result"]["error"]["error"]["message"], "max_tokens: Field required");
    assert_eq!(get(&simulator, "/v1/messages/batches").await.json()["data"][0]["id"], made["id"]);
    let again = send(&simulator, "POST /v1/messages/batches", KEY, &body.to_string()).await.expect("an answer").json();
    send(&simulator, &format!("DELETE {path}"), KEY, "").await.expect("an answer");
    let third = send(&simulator, "POST /v1/messages/batches", KEY, &body.to_string()).await.expect("an answer").json();
    assert_ne!(again["id"], third["id"], "no id comes twice, whatever was deleted");
    assert_eq!((simulator.stats().calls, simulator.stats().batch_results), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_stored_listed_and_deleted() {
    let simulator = start(priced()).await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n";
    let headers = format!("{KEY}content-type: multipart/form-data; boundary=b\r\n");
    let file = send(&simulator, "POST /v1/files", &headers, form).await.expect("an answer").json();
    assert_eq!((&file["filename"], &file["mime_type"]), (&json!("a.pdf"), &json!("application/pdf")));
    assert_eq!(get(&simulator, "/v1/files").await.json()["data"][0]["id"], file["id"]);
    let path = format!("/v1/files/{}", file["id"].as_str().expect("an id"));
    let again = send(&simulator, "POST /v1/files", &headers, form).await.expect("an answer").json();
    let gone = send(&simulator, &format!("DELETE {path}"), KEY, "").await.expect("an answer").json();
    let third = send(&simulator, "POST /v1/files", &headers, form).await.expect("an answer").json();
    assert_ne!(again["id"], third["id"], "no id comes twice, whatever was deleted");
    assert_eq!(gone["type"], "file_deleted");
    assert_eq!(get(&simulator, &path).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_simulator_is_gone_and_its_calls_are_booked() {
    let simulator = start(Options { latency: Latency::REALISTIC, ..priced() }).await;
    let world = simulator.world.clone();
    let address = simulator.address();
    let stream = open(&simulator, "POST /v1/messages", KEY, &streamed("[[output 900]]").to_string()).await;
    while world.stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    simulator.stop().await;
    assert_eq!((world.stats().running, world.stats().cancelled), (0, 1));
    assert!(TcpStream::connect(address).await.is_err());
    drop(stream);
}

/// Turns a switch, which says nothing where it turns.
async fn turn(simulator: &Simulator, switch: &str, body: Value) {
    let reply = send(simulator, &format!("POST /simulator/{switch}"), "", &body.to_string()).await.expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{switch} {body}");
}

#[tokio::test(start_paused = true)]
async fn every_switch_in_the_documentation_turns() {
    let simulator = start(of_tier_1()).await;
    let rows = include_str!("../../../../docs/simulator.md").lines();
    let switches: Vec<_> =
        rows.filter_map(|row| row.strip_prefix("| `POST /simulator/")?.split_once("` | `")).collect();
    assert_eq!(switches.len(), 7);
    for (switch, row) in switches {
        let (body, _) = row.split_once("` |").expect("a body");
        turn(&simulator, switch, serde_json::from_str(body).expect("JSON")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_it_runs_and_the_headers_follow() {
    let simulator = start(of_tier_1()).await;
    assert_eq!(post(&simulator, &says(&"x".repeat(40_000))).await.status, 200);
    let new = json!({"requests_per_minute": 100, "input_tokens_per_minute": 15_000, "group": "sonnet-4"});
    turn(&simulator, "limits", new).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let reply = post(&simulator, &says("two")).await;
    let header = |name: &str| reply.header(&format!("anthropic-ratelimit-{name}")).map(str::to_owned);
    assert_eq!((reply.status, header("requests-limit").as_deref()), (200, Some("100")));
    assert_eq!(header("input-tokens-limit").as_deref(), Some("15000"));
    assert_eq!(header("input-tokens-remaining").as_deref(), Some("5000"), "10,007 are spent, 300 came back");
    assert_eq!(header("tokens-limit").as_deref(), Some("23000"));
    let refused = post(&simulator, &says(&"x".repeat(40_000))).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let message = post(&simulator, &says(&"x".repeat(40_000))).await.json()["error"]["message"].to_string();
    assert_eq!(refused.status, 429);
    assert!(message.contains("15,000 input tokens per minute"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn another_program_on_the_key_is_seen_in_headers_and_stats_only() {
    let simulator = start(of_tier_1()).await;
    post(&simulator, &says("one")).await;
    turn(&simulator, "outside", json!({"share": 0.4})).await;
    let before = tokio::time::Instant::now();
    while before.elapsed() < Duration::from_secs(600) {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(post(&simulator, &says("hello [[output 20]]")).await.status, 200);
    }
    let stats = simulator.stats();
    assert!(stats.outside.input_tokens.abs_diff(120_000) < 2_100, "{stats:?}");
    assert!(stats.outside.output_tokens.abs_diff(32_000) < 700, "{stats:?}");
    assert_eq!(stats.admitted.input_tokens, stats.tokens.input_tokens);
    assert_eq!(get(&simulator, "/simulator/stats").await.json()["outside"], json!(stats.outside));
    turn(&simulator, "outside", json!({"share": 0})).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(simulator.stats().outside, stats.outside);
}

#[tokio::test(start_paused = true)]
async fn a_storm_turns_every_message_away_until_it_is_over() {
    let simulator = start(of_tier_1()).await;
    for (storm, retry_after) in [(json!({"seconds": 120}), None), (json!({"seconds": 60, "retry_after": 9}), Some("9"))]
    {
        turn(&simulator, "storm", storm).await;
        let refused = post(&simulator, &says("x")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, retry_after));
        assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
        assert!(!refused.head.contains("anthropic-ratelimit"), "{}", refused.head);
    }
    tokio::time::sleep(Duration::from_millis(59_900)).await;
    assert_eq!(post(&simulator, &says("x")).await.status, 429);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(post(&simulator, &says("x")).await.status, 200);
    turn(&simulator, "storm", json!({"seconds": 60})).await;
    turn(&simulator, "storm", json!({"seconds": 0})).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(post(&simulator, &says("x")).await.status, 200);
    let stats = simulator.stats();
    assert_eq!((stats.failed, stats.completed, stats.refused.requests), (3, 2, 0), "no true limit said so");
}

#[tokio::test(start_paused = true)]
async fn sharp_growth_is_refused_with_its_own_code() {
    let simulator = start(of_tier_1()).await;
    turn(&simulator, "ramp", json!({"per_minute_growth": 2.0, "floor_tokens": 1_000})).await;
    assert_eq!(post(&simulator, &says(&"x".repeat(3_600))).await.status, 200);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = post(&simulator, &says(&"x".repeat(3_600))).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("50")));
    assert_eq!(refused.json()["error"]["details"]["error_code"], "ramp_limit_exceeded");
    assert_eq!(refused.header("anthropic-ratelimit-requests-limit"), Some("50"));
    assert_eq!((simulator.stats().refused.ramp, simulator.stats().failed), (1, 0));
    turn(&simulator, "ramp", json!({})).await;
    assert_eq!(post(&simulator, &says(&"x".repeat(3_600))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_plan_has_windows_and_says_when_they_open() {
    let simulator = start(priced()).await;
    turn(&simulator, "windows", json!({"five_hour_usd": 0.003, "seven_day_usd": 1})).await;
    let first = post(&simulator, &says("hello [[output 100]]")).await;
    let unified = |reply: &Reply, name: &str| {
        reply.header(&format!("anthropic-ratelimit-unified-{name}")).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!((unified(&first, "status"), unified(&first, "5h-utilization")), ("allowed".into(), "0.00".into()));
    let second = post(&simulator, &says("hello [[output 100]]")).await;
    assert_eq!(
        (unified(&second, "5h-utilization"), unified(&second, "7d-utilization")),
        ("0.51".into(), "0.00".into())
    );
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let refused = post(&simulator, &says("hello")).await;
    assert_eq!((refused.status, unified(&refused, "status")), (429, "rejected".into()));
    assert_eq!(unified(&refused, "representative-claim"), "five_hour");
    assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), (Some("14400"), None));
    assert_eq!((simulator.stats().refused.windows, simulator.stats().completed), (1, 2));
    tokio::time::sleep(Duration::from_secs(4 * 3_600)).await;
    assert_eq!(post(&simulator, &says("hello")).await.status, 200);
    // It begins with the call, not with its end.
    tokio::time::sleep(Duration::from_secs(5 * 3_600)).await;
    let long = post(&simulator, &says("[[fault stall_headers; seconds=600]]")).await;
    assert_eq!(unified(&post(&simulator, &says("hello")).await, "5h-reset"), unified(&long, "5h-reset"));
    turn(&simulator, "windows", json!({})).await;
    assert!(!post(&simulator, &says("hello")).await.head.contains("unified"));
}

#[tokio::test(start_paused = true)]
async fn fast_and_priority_have_headers_of_their_own() {
    let simulator = start(of_tier_1()).await;
    turn(&simulator, "priority", json!({"input_tokens_per_minute": 6_000, "output_tokens_per_minute": 600})).await;
    let mut body = says("hello [[output 100]]");
    let reply = post(&simulator, &body).await;
    assert_eq!(reply.json()["usage"]["service_tier"], "priority");
    assert_eq!(reply.header("anthropic-priority-input-tokens-limit"), Some("6000"));
    assert!(reply.header("anthropic-priority-output-tokens-reset").is_some_and(|at| at.ends_with('Z')));
    assert!(!reply.head.contains("anthropic-fast"));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    (body["speed"], body["service_tier"]) = (json!("fast"), json!("standard_only"));
    let reply = post(&simulator, &body).await;
    assert_eq!(reply.json()["usage"]["service_tier"], "standard");
    assert_eq!(reply.header("anthropic-fast-input-tokens-limit"), Some("15000"));
    assert_eq!(reply.header("anthropic-fast-output-tokens-limit"), Some("4000"));
    assert_eq!(reply.header("anthropic-ratelimit-tokens-limit"), Some("38000"));
    assert!(!reply.head.contains("anthropic-priority"));
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_can_not_be_turned_says_why_in_a_sentence() {
    let limited = start(of_tier_1()).await;
    let unlimited = start(priced()).await;
    let too_long = format!("{{\"share\": 0.4{}}}", " ".repeat(65_536));
    for (simulator, line, body, status, reason) in [
        (&limited, "POST /simulator/limits", "{}", 400, "name requests_per_minute, input_tokens_per_minute or"),
        (&limited, "POST /simulator/limits", r#"{"requests_per_minute": 0}"#, 400, "requests_per_minute is from 1 to"),
        (
            &limited,
            "POST /simulator/limits",
            r#"{"requests_per_minute": -5}"#,
            400,
            "the body is not what this page takes",
        ),
        (
            &limited,
            "POST /simulator/limits",
            r#"{"output_tokens_per_minute": 18446744073709551615}"#,
            400,
            "output_tokens_per_minute is from",
        ),
        (
            &limited,
            "POST /simulator/limits",
            r#"{"requests": 5}"#,
            400,
            "the body is not what this page takes: unknown field `requests`",
        ),
        (&limited, "POST /simulator/limits", "", 400, "the body is not what this page takes"),
        (&unlimited, "POST /simulator/limits", r#"{"requests_per_minute": 5}"#, 400, "nothing is limited here"),
        (&unlimited, "POST /simulator/outside", r#"{"share": 0.5}"#, 400, "nothing is limited here"),
        (&unlimited, "POST /simulator/ramp", "{}", 400, "nothing is limited here"),
        (&unlimited, "POST /simulator/priority", "{}", 400, "nothing is limited here"),
        (&limited, "POST /simulator/outside", r#"{"share": 1.5}"#, 400, "share is from 0 to 1"),
        (&limited, "POST /simulator/outside", r#"{"share": -0.1}"#, 400, "share is from 0 to 1"),
        (&limited, "POST /simulator/outside", r#"{"share": 1e999}"#, 400, "the body is not what this page takes"),
        (
            &limited,
            "POST /simulator/outside",
            r#"{"share": 0.4, "group": "x"}"#,
            400,
            "no group is called \"x\", only haiku-3.5",
        ),
        (&limited, "POST /simulator/outside", &*too_long, 400, "the body is longer than 65536 bytes"),
        (&limited, "POST /simulator/storm", r#"{"seconds": -1}"#, 400, "seconds is from 0 to 31536000"),
        (&limited, "POST /simulator/storm", r#"{"seconds": 1e300}"#, 400, "seconds is from 0 to 31536000"),
        (
            &limited,
            "POST /simulator/ramp",
            r#"{"per_minute_growth": 2}"#,
            400,
            "name per_minute_growth and floor_tokens, or neither",
        ),
        (
            &limited,
            "POST /simulator/ramp",
            r#"{"per_minute_growth": -2, "floor_tokens": 1}"#,
            400,
            "per_minute_growth is from 0 to 1000",
        ),
        (&limited, "POST /simulator/windows", r#"{"five_hour_usd": 0}"#, 400, "five_hour_usd is more than 0"),
        (&limited, "POST /simulator/windows", r#"{"seven_day_usd": 1e300}"#, 400, "seven_day_usd is more than 0"),
        (
            &limited,
            "POST /simulator/priority",
            r#"{"input_tokens_per_minute": 5}"#,
            400,
            "name input_tokens_per_minute and",
        ),
        (&limited, "GET /simulator/storm", "", 405, "/simulator/storm takes POST"),
        (&limited, "POST /simulator/stats", "", 405, "/simulator/stats takes GET"),
        (&limited, "GET /simulator/nothing", "", 404, "there is no page /simulator/nothing"),
    ] {
        let reply = send(simulator, line, "", body).await.expect("an answer");
        let said = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(reply.status, status, "{line} {body}: {said}");
        assert!(said.starts_with(reason), "{line} {body}: {said}");
    }
}

const ADMIN: &str = "authorization: Bearer sk-ant-admin01-test\r\nanthropic-version: ";

async fn rate_limits(simulator: &Simulator, version: &str, query: &str) -> Reply {
    let line = format!("GET /v1/organizations/rate_limits{query}");
    send(simulator, &line, &format!("{ADMIN}{version}\r\n"), "").await.expect("an answer")
}

#[tokio::test(start_paused = true)]
async fn an_administrator_reads_the_present_limits_in_either_shape() {
    let simulator = start(of_tier_1()).await;
    turn(&simulator, "limits", json!({"input_tokens_per_minute": 12_000, "group": "sonnet-4"})).await;
    let old = rate_limits(&simulator, "2023-06-01", "?model=claude-sonnet-4-5").await;
    assert_eq!(old.header("anthropic-workspace-id"), None);
    let limits = json!([{"type": "requests_per_minute", "value": 50},
        {"type": "input_tokens_per_minute_cache_aware", "value": 12_000},
        {"type": "output_tokens_per_minute", "value": 8_000}]);
    let models = json!(["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"]);
    assert_eq!(
        old.json(),
        json!({"data": [{"type": "rate_limit", "group_type": "model_group", "models": models, "limits": limits}],
            "next_page": null})
    );
    let new = rate_limits(&simulator, "2026-10-21", "?model=claude-sonnet-4-5").await.json()["data"][0].clone();
    assert_eq!((&new["models"], &new["limits"], &new["group"]["type"]), (&models, &limits, &json!("model_group")));
    assert!(new["group"]["id"].as_str().is_some_and(|id| id.starts_with("rlg_")));
    assert_eq!((&new["group"]["display_name"], &new["group_type"]), (&json!("Claude Sonnet 4"), &Value::Null));
    let haiku = rate_limits(&simulator, "2023-06-01", "?model=claude-3-5-haiku-20241022").await.json();
    assert_eq!(haiku["data"][0]["limits"][1]["type"], "input_tokens_per_minute", "here cache reads count");
}

#[tokio::test(start_paused = true)]
async fn the_list_of_limits_has_pages_and_filters() {
    let simulator = start(of_tier_1()).await;
    let (mut query, mut seen) = ("?limit=2".to_owned(), Vec::new());
    loop {
        let page = rate_limits(&simulator, "2023-06-01", &query).await.json();
        seen.extend(page["data"].as_array().expect("a list").iter().map(|entry| entry["group_type"].clone()));
        let Some(next) = page["next_page"].as_str() else { break };
        query = format!("?limit=2&page={next}");
    }
    assert_eq!(seen, ["model_group", "model_group", "model_group", "batch", "token_count", "files"]);
    let batch = rate_limits(&simulator, "2023-06-01", "?group_type=batch").await.json();
    assert_eq!(batch["data"][0]["limits"][1], json!({"type": "enqueued_batch_requests", "value": 100_000}));
    assert_eq!(batch["data"][0]["models"], Value::Null);
    let unlimited = rate_limits(&start(priced()).await, "2023-06-01", "").await.json();
    assert_eq!(unlimited, json!({"data": [], "next_page": null}));
    for (query, status, message) in [
        ("?model=claude-nonsense-9", 404, "model: claude-nonsense-9"),
        ("?group_type=cats", 400, "group_type: Input should be one of"),
        ("?limit=0", 400, "limit: "),
        ("?page=page_99", 400, "page: no such page"),
        ("?page=18446744073709551616", 400, "page: no such page"),
    ] {
        let reply = rate_limits(&simulator, "2023-06-01", query).await;
        assert_eq!(reply.status, status, "{query}");
        assert!(reply.json()["error"]["message"].as_str().is_some_and(|text| text.starts_with(message)), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn administration_and_messages_take_each_their_own_keys() {
    let simulator = start(of_tier_1()).await;
    let version = "anthropic-version: 2023-06-01\r\n";
    for (line, key, body, status) in [
        ("GET /v1/organizations/rate_limits", "x-api-key: sk-ant-admin01-a\r\n", String::new(), 200),
        ("GET /v1/organizations/rate_limits", "x-api-key: sk-ant-api03-a\r\n", String::new(), 403),
        ("GET /v1/organizations/rate_limits", "x-api-key: nonsense\r\n", String::new(), 401),
        ("GET /v1/organizations/rate_limits", "", String::new(), 401),
        (
            "GET /v1/organizations/cost_report?starting_at=2026-01-01",
            "x-api-key: sk-ant-api03-a\r\n",
            String::new(),
            401,
        ),
        ("POST /v1/messages", "x-api-key: sk-ant-admin01-a\r\n", says("x").to_string(), 401),
    ] {
        let reply = send(&simulator, line, &format!("{key}{version}"), &body).await.expect("an answer");
        assert_eq!(reply.status, status, "{line} {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_of_limits_may_be_late_missing_or_nonsense_while_the_answer_is_sound() {
    let simulator = start(of_tier_1()).await;
    let first = post(&simulator, &says(&"x".repeat(40_000))).await;
    for (fault, limit, remaining) in [
        ("headers_late; seconds=60", Some("30000"), Some("20000")),
        ("headers_late; seconds=1", Some("30000"), Some("21000")),
        ("headers_missing", None, None),
        ("headers_excess", Some("30000"), Some("300000")),
        ("headers_zero", Some("0"), Some("23000")),
        ("headers_past", Some("30000"), Some("24000")),
        ("headers_future", Some("30000"), Some("24000")),
        ("headers_garbage", Some("plenty"), Some("-1e999")),
    ] {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let headers = format!("{KEY}x-simulator-fault: {fault}\r\n");
        let reply = send(&simulator, "POST /v1/messages", &headers, &says("x").to_string()).await.expect("an answer");
        assert_eq!((reply.status, reply.whole, &reply.json()["type"]), (200, true, &json!("message")), "{fault}");
        assert_eq!(reply.header("anthropic-ratelimit-input-tokens-limit"), limit, "{fault}");
        assert_eq!(reply.header("anthropic-ratelimit-input-tokens-remaining"), remaining, "{fault}");
        assert!(reply.header("content-length").is_some(), "{fault}: the body comes in one piece");
        let reset = "anthropic-ratelimit-requests-reset";
        assert_eq!(reply.header(reset) == first.header(reset), fault == "headers_late; seconds=60", "{fault}");
    }
    let far = post(&simulator, &says("[[fault rate_input; retry_after=99999999]]")).await;
    assert_eq!((far.status, far.header("retry-after")), (429, Some("99999999")));
}

async fn report(simulator: &Simulator, path: &str) -> Value {
    let headers = "x-api-key: sk-ant-admin01-a\r\nanthropic-version: 2023-06-01\r\n";
    let line = format!("GET /v1/organizations/{path}");
    send(simulator, &line, headers, "").await.expect("an answer").json()
}

#[tokio::test(start_paused = true)]
async fn administrators_read_what_each_key_used_and_what_it_cost_day_by_day() {
    let simulator = start(priced()).await;
    assert_eq!(post(&simulator, &says("[[output 200]]")).await.status, 200);
    let other = json!({"api_key": "laptop", "workspace_id": "wrkspc_x", "model": "claude-sonnet-4-5",
        "at": "2026-01-03T12:00:00Z", "input_tokens": 1_000, "web_searches": 2, "person": "anna@example.com"});
    let switched = send(&simulator, "POST /simulator/used", "", &other.to_string()).await.expect("an answer");
    assert_eq!(switched.status, 204);

    let query = "starting_at=2026-01-01T00%3A00%3A00Z&ending_at=2026-01-10T00:00:00Z&bucket_width=1d";
    let groups = "group_by%5B%5D=model&group_by[]=api_key_id&group_by[]=workspace_id";
    let first = report(&simulator, &format!("usage_report/messages?{query}&{groups}")).await;
    assert_eq!((first["data"].as_array().expect("days").len(), &first["has_more"]), (7, &json!(true)));
    let row = &first["data"][2]["results"][0];
    assert_eq!((&row["uncached_input_tokens"], &row["workspace_id"]), (&json!(1_000), &json!("wrkspc_x")));
    let next = first["next_page"].as_str().expect("a page");
    let last = report(&simulator, &format!("usage_report/messages?{query}&{groups}&page={next}")).await;
    assert_eq!((last["data"].as_array().expect("days").len(), &last["next_page"]), (2, &Value::Null));

    let cost = report(&simulator, &format!("cost_report?{query}&group_by[]=description")).await;
    let amounts: Vec<&Value> = (0..2).map(|row| &cost["data"][2]["results"][row]["amount"]).collect();
    assert_eq!(amounts, [&json!("0.3"), &json!("2")], "in cents: 1,000 tokens and 2 searches");

    let people = report(&simulator, "usage_report/claude_code?starting_at=2026-01-03").await;
    assert_eq!(people["data"][0]["actor"]["email_address"], "anna@example.com");
    let keys = report(&simulator, "api_keys").await;
    assert_eq!(keys["data"].as_array().expect("keys").len(), 2);
}
