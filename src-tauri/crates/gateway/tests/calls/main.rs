//! The life of calls over real sockets: what the client sees, what the upstream sees, what the ledger is told.

#![expect(clippy::expect_used, reason = "a test fails where its world does")]

mod caching;
mod emergency;
mod exchanges;
mod failures;
mod pacing;
mod retries;
mod support;

use std::time::Duration;

use domain::call::Outcome;
use domain::config::WrittenLimits;
use domain::tier::MinuteLimits;
use support::{KEY, SOON, TOKEN, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ASK: &str = r#"{"model":"claude-x","max_tokens":100,"messages":[]}"#;
const ASK_STREAM: &str = r#"{"model":"claude-x","max_tokens":100,"stream":true,"metadata":{"user_id":"u7"}}"#;
const JSON: &str = "content-type: application/json\r\n";
const MESSAGE: &str = r#"{"type":"message","model":"claude-x-1","usage":{"input_tokens":11,"cache_read_input_tokens":5,"output_tokens":7}}"#;
const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x-1\",\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n";
const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello, this is text.\"}}\n\n";
const PING: &str = ": comment\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n";
const END_DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[tokio::test]
async fn a_json_call_passes_unchanged_and_is_settled() {
    let world = World::new().await;
    let mut peer =
        world.call("anthropic-beta: a,b\r\nanthropic-version: 2023-06-01\r\nx-tidegate-tag: team=x\r\n", ASK).await;
    let mut asked = world.upstream.asked().await;
    assert!(asked.head.starts_with("POST /base/v1/messages?beta=true HTTP/1.1\r\n"), "{}", asked.head);
    assert!(asked.head.contains("anthropic-beta: a,b\r\n") && asked.head.contains("anthropic-version: 2023-06-01\r\n"));
    assert!(asked.head.contains(&format!("x-api-key: {KEY}\r\n")));
    assert!(!asked.head.contains(TOKEN) && !asked.head.contains("x-tidegate"));
    assert_eq!(asked.body, ASK.as_bytes());
    asked.answer(200, &format!("{JSON}request-id: req_7\r\nset-cookie: a=b\r\n"), MESSAGE).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, MESSAGE));
    assert_eq!((answer.header("request-id"), answer.header("set-cookie")), (Some("req_7"), None));
    assert_eq!((answer.header("x-tidegate-attempts"), answer.header("x-tidegate-upstream")), (Some("1"), Some("fake")));
    assert_eq!(answer.header("x-tidegate-cache"), Some("off"));
    let entry = world.books.entry().await;
    assert_eq!(answer.header("x-tidegate-call"), Some(entry.call.id.to_string().as_str()));
    assert_eq!((entry.outcome, entry.status, entry.estimated), (Outcome::Completed, 200, false));
    let tokens = entry.usage.tokens;
    assert_eq!((tokens.input, tokens.cache_read, tokens.output), (11, 5, 7));
    assert_eq!(entry.attempts[0].request_id.as_deref(), Some("req_7"));
    assert_eq!(&*entry.call.who.tags[0].0, "team");
}

#[tokio::test]
async fn a_stream_passes_event_by_event_and_its_last_waits_for_the_ledger() {
    let world = World::new().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(START).await;
    asked.chunk(&format!("{DELTA}{PING}")).await;
    assert!(peer.read_until(DELTA).await.contains(START));
    peer.read_until(PING).await;
    world.books.durable.send_replace(false);
    asked.chunk(&format!("{END_DELTA}{STOP}")).await;
    peer.read_until(END_DELTA).await;
    let entry = world.books.entry().await;
    assert_eq!(peer.read_until("\r\n").await, "\r\n");
    assert!(peer.is_silent().await, "the last event is held until the entry is durable");
    world.books.durable.send_replace(true);
    peer.read_until(STOP).await;
    asked.send("0\r\n\r\n").await;
    peer.read_until("0\r\n\r\n").await;
    assert_eq!((entry.outcome, entry.estimated), (Outcome::Completed, false));
    assert_eq!((entry.usage.tokens.input, entry.usage.tokens.output), (11, 42));
    assert_eq!(entry.call.who.tenant.as_deref(), Some("u7"));
    let shown = &world.books.checkpoints()[0];
    let answer = shown.answer.as_ref().expect("an answer");
    assert_eq!((shown.usage.tokens.input, answer.attempt, answer.status), (11, 1, 200));
    assert_eq!(answer.request_id, entry.attempts[0].request_id);
    assert_eq!(world.books.entries().len(), 1);
}

#[tokio::test]
async fn a_stream_in_single_bytes_arrives_byte_for_byte() {
    let world = World::new().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    let whole = format!("\u{feff}{START}{DELTA}{PING}event: later\r\ndata: ünknown\r\n\r\n{END_DELTA}{STOP}: after\n");
    asked.start_stream().await;
    for byte in whole.as_bytes() {
        asked.socket.write_all(&[b"1\r\n".as_slice(), &[*byte], b"\r\n"].concat()).await.expect("the gateway reads");
    }
    asked.send("0\r\n\r\n").await;
    assert_eq!(peer.answer().await.text(), whole);
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.usage.tokens.output, entry.estimated), (Outcome::Completed, 42, false));
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_upstream_call_and_is_settled() {
    let world = World::new().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}")).await;
    peer.read_until(DELTA).await;
    drop(peer);
    let entry = world.books.entry().await;
    assert!(asked.is_closed().await);
    assert_eq!((entry.outcome, entry.estimated, entry.status), (Outcome::Cancelled, true, 200));
    assert_eq!((entry.usage.tokens.input, entry.usage.tokens.output), (11, 5));
}

#[tokio::test]
async fn a_client_that_hangs_up_before_any_answer_is_settled() {
    let world = World::new().await;
    let peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    drop(peer);
    let entry = world.books.entry().await;
    assert!(asked.is_closed().await);
    assert_eq!((entry.outcome, entry.estimated, entry.status), (Outcome::Cancelled, true, 0));
}

#[tokio::test]
async fn a_stream_cut_by_the_upstream_ends_as_a_broken_connection() {
    for clean in [false, true] {
        let world = World::new().await;
        let mut peer = world.call("", ASK_STREAM).await;
        let mut asked = world.upstream.asked().await;
        asked.start_stream().await;
        asked.chunk(&format!("{START}{DELTA}")).await;
        if clean {
            asked.send("0\r\n\r\n").await;
        }
        drop(asked);
        let seen = peer.rest().await;
        assert!(seen.contains(DELTA) && !seen.ends_with("0\r\n\r\n"), "{seen}");
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.estimated), (Outcome::Cut, true));
        assert_eq!(entry.usage.tokens.output, 5);
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_written_breaks_the_connection() {
    let world = World::new().await;
    *world.books.refuses_to_settle.lock().expect("books") = true;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{END_DELTA}{STOP}")).await;
    asked.send("0\r\n\r\n").await;
    let seen = peer.rest().await;
    assert!(seen.contains(END_DELTA) && !seen.contains("message_stop") && !seen.ends_with("0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn an_error_event_passes_and_the_call_has_failed() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let world = World::new().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}{error}")).await;
    asked.send("0\r\n\r\n").await;
    peer.read_until("0\r\n\r\n").await;
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Failed, Some("overloaded_error")));
}

#[tokio::test]
async fn a_refused_call_waits_and_goes_again() {
    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    let mut first = world.upstream.asked().await;
    first.answer(429, &format!("{JSON}retry-after-ms: 50\r\n"), r#"{"type":"error"}"#).await;
    let mut second = first.again().await;
    assert_eq!(second.body, ASK.as_bytes());
    second.answer(200, JSON, MESSAGE).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.header("x-tidegate-attempts")), (200, Some("2")));
    let entry = world.books.entry().await;
    assert_eq!(entry.attempts.len(), 2);
    assert_eq!((entry.attempts[0].status, entry.attempts[1].status), (Some(429), Some(200)));
    assert_eq!(world.books.openings().iter().map(|opening| opening.number).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_refusal_that_waiting_cannot_cure_in_time_comes_back_unchanged() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"später"}}"#;
    for (headers, extra) in [
        ("retry-after: 30\r\n", "x-tidegate-max-wait: 0\r\n"),
        ("retry-after: 30\r\n", "x-stainless-timeout: 5\r\n"),
        ("retry-after: 0\r\nx-should-retry: false\r\n", ""),
    ] {
        let world = World::new().await;
        let mut peer = world.call(extra, ASK).await;
        let mut asked = world.upstream.asked().await;
        asked.answer(429, &format!("{JSON}{headers}"), body).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (429, body), "{headers}");
        assert_eq!(answer.header("x-tidegate-attempts"), Some("1"));
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.status, entry.estimated), (Outcome::Failed, 429, false));
        assert_eq!(entry.error.as_deref(), Some("rate_limit_error"));
        assert_eq!(entry.usage, domain::usage::Usage::default());
    }
}

#[tokio::test]
async fn after_three_refusals_the_client_gets_the_last() {
    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    for number in 1..=3 {
        let body = format!(r#"{{"type":"error","n":{number}}}"#);
        asked.answer(429, &format!("{JSON}retry-after-ms: 20\r\n"), &body).await;
        if number < 3 {
            asked = asked.again().await;
        }
    }
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (429, r#"{"type":"error","n":3}"#));
    assert_eq!(answer.header("x-tidegate-attempts"), Some("3"));
}

#[tokio::test]
async fn a_connection_that_dies_unanswered_is_tried_once_more() {
    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    drop(world.upstream.asked().await);
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
    let entry = world.books.entry().await;
    assert!(entry.attempts[0].maybe_billed && !entry.attempts[1].maybe_billed);

    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    drop(world.upstream.asked().await);
    drop(world.upstream.asked().await);
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "tidegate_upstream_lost"));
    let entry = world.books.entry().await;
    assert_eq!(entry.outcome, Outcome::Failed);
    assert!(entry.attempts.iter().all(|attempt| attempt.maybe_billed));
}

#[tokio::test]
async fn a_call_that_may_be_billed_never_settles_at_nothing() {
    let one_a_minute = |config: &mut gateway::Config| {
        let per_minute = MinuteLimits { requests: Some(1), ..MinuteLimits::default() };
        config.upstreams[0].pacing.written =
            vec![WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None }];
    };
    let world = World::with(one_a_minute).await;
    let mut peer = world.call("x-tidegate-max-wait: 1\r\n", ASK).await;
    drop(world.upstream.asked().await);
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "tidegate_upstream_lost"));
    assert_prompt_is_estimated(&world, 1).await;

    let world = World::with(|config| {
        config.retry.budget_permille = 0;
        config.timeouts.first_byte = Duration::from_millis(200);
    })
    .await;
    let mut peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    asked.answer(429, &format!("{JSON}retry-after-ms: 20\r\n"), "{}").await;
    let _silent = asked.again().await;
    assert_eq!(peer.answer().await.error_code(), "tidegate_upstream_silent");
    assert_prompt_is_estimated(&world, 2).await;
}

async fn assert_prompt_is_estimated(world: &World, attempts: usize) {
    let entry = world.books.entry().await;
    assert!(entry.estimated && entry.usage.tokens.prompt() > 0, "{entry:?}");
    assert_eq!(entry.attempts.len(), attempts);
    assert!(entry.attempts.last().expect("an attempt").maybe_billed);
}

#[tokio::test]
async fn names_without_end_pass_and_are_kept_short() {
    let world = World::new().await;
    let name = "x".repeat(10_000);
    let ask = format!(r#"{{"model":"{name}","metadata":{{"user_id":"{name}"}}}}"#);
    let mut peer = world.call("", &ask).await;
    let mut asked = world.upstream.asked().await;
    assert_eq!(asked.body, ask.as_bytes());
    asked.answer(400, JSON, &format!(r#"{{"type":"error","error":{{"type":"{name}"}}}}"#)).await;
    peer.answer().await;
    let entry = world.books.entry().await;
    let kept = [Some(entry.call.model), entry.call.who.tenant, entry.error];
    assert_eq!(kept.map(|name| name.map_or(0, |name| name.len())), [256; 3]);
}

#[tokio::test]
async fn a_refusal_whose_body_never_comes_is_not_waited_for() {
    let world = World::with(|config| {
        config.retry.budget_permille = 0;
        config.timeouts.idle = Duration::from_millis(50);
    })
    .await;
    let mut peer = world.call("x-tidegate-max-wait: 0\r\n", ASK).await;
    let mut asked = world.upstream.asked().await;
    asked.send("HTTP/1.1 429 X\r\ncontent-length: 9\r\nretry-after: 1\r\n\r\n").await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (504, "tidegate_upstream_silent"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_look_whole_to_the_upstream() {
    let world = World::new().await;
    let mut peer = world.connect().await;
    let head = world.request("POST", "/v1/files", "transfer-encoding: chunked\r\n", "");
    peer.send(&head.replace("content-length: 0\r\n", "")).await;
    peer.send("5\r\nhello\r\n").await;
    let mut asked = world.upstream.asked().await;
    drop(peer);
    let mut seen = asked.body.clone();
    let rest = async { while asked.socket.read_buf(&mut seen).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(SOON, rest).await.expect("the connection ends");
    let seen = String::from_utf8_lossy(&seen);
    assert!(!seen.ends_with("0\r\n\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_paused_class_waits_and_a_caller_who_leaves_the_queue_is_not_sent() {
    let world = World::new().await;
    world.gateway.pause(domain::call::Class::Normal);
    let leaves = world.call("", ASK).await;
    let mut stays = world.call("", ASK).await;
    assert!(world.upstream.is_idle().await);
    drop(leaves);
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.status, entry.attempts.len()), (Outcome::Cancelled, 0, 0));
    assert_eq!((entry.usage, entry.estimated), (domain::usage::Usage::default(), false));
    world.gateway.resume(domain::call::Class::Normal);
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(stays.answer().await.status, 200);
}

#[tokio::test]
async fn a_draining_gateway_refuses_who_waits_and_finishes_what_runs() {
    let world = World::new().await;
    let mut runs = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    world.gateway.pause(domain::call::Class::Normal);
    let mut waits = world.call("", ASK).await;
    while world.gateway.live().len() < 2 {
        tokio::task::yield_now().await;
    }
    let drain = world.gateway.drain(Duration::from_secs(10));
    let rest = async {
        let mut late = world.connect().await;
        while !world.gateway.is_draining() {
            tokio::task::yield_now().await;
        }
        late.send(&world.request("GET", "/readyz", "", "")).await;
        assert_eq!(late.answer().await.status, 503);
        let answer = world.call("", ASK).await.answer().await;
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_draining"));
        let answer = waits.answer().await;
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_draining"));
        asked.answer(200, JSON, MESSAGE).await;
        assert_eq!(runs.answer().await.status, 200);
    };
    tokio::join!(drain, rest);
}

#[tokio::test]
async fn what_still_runs_when_patience_ends_is_interrupted() {
    let world = World::new().await;
    let _peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(START).await;
    world.books.until(|books| !books.checkpoints().is_empty()).await;
    world.gateway.drain(Duration::ZERO).await;
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.estimated), (Outcome::Interrupted, true));
}

#[tokio::test]
async fn our_own_refusals_are_envelopes_and_make_entries() {
    let world = World::new().await;
    for (body, code) in [("nonsense", "tidegate_no_json_object"), ("{}", "tidegate_no_model")] {
        let answer = world.call("", body).await.answer().await;
        assert_eq!((answer.status, answer.error_code().as_str()), (400, code));
        assert!(answer.header("x-tidegate-call").is_some());
    }
    *world.secrets.missing.lock().expect("secrets") = true;
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_keychain"));
    assert_eq!(world.gateway.trouble().as_deref(), Some("the keychain is locked; unlock it"));
    *world.secrets.missing.lock().expect("secrets") = false;
    *world.books.refuses_to_open.lock().expect("books") = true;
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_ledger"));
    let entries = world.books.entries();
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Refused && entry.attempts.is_empty()));
    let is_ready = async || {
        let mut peer = world.connect().await;
        peer.send(&world.request("GET", "/readyz", "", "")).await;
        peer.answer().await.status == 200
    };
    assert!(!is_ready().await, "no call would leave");
    world.skip(Duration::from_secs(5));
    assert!(is_ready().await, "one may find out");
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn packed_answers_pass_untouched_and_are_counted() {
    use std::io::Write;
    let gzip = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text.as_bytes()).expect("memory");
        packer.finish().expect("memory")
    };
    let brotli = |text: &str| {
        let mut packer = brotli::CompressorWriter::new(Vec::new(), 4_096, 5, 22);
        packer.write_all(text.as_bytes()).expect("memory");
        packer.into_inner()
    };
    let zstd = |text: &str| zstd::stream::encode_all(text.as_bytes(), 3).expect("memory");
    let events = format!("{START}{DELTA}{END_DELTA}{STOP}");
    for (encoding, body, output) in [
        ("gzip", gzip(MESSAGE), 7),
        ("br", brotli(MESSAGE), 7),
        ("zstd", zstd(MESSAGE), 7),
        ("gzip", gzip(&events), 42),
        ("br", brotli(&events), 42),
        ("zstd", zstd(&events), 42),
    ] {
        let kind = if output == 42 { "text/event-stream" } else { "application/json" };
        let world = World::new().await;
        let mut peer = world.call("", ASK).await;
        let headers = format!("content-type: {kind}\r\ncontent-encoding: {encoding}\r\n");
        world.upstream.asked().await.answer_bytes(200, &headers, &body).await;
        let answer = peer.answer().await;
        assert_eq!(answer.body, body, "{encoding}");
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.usage.tokens.output, entry.estimated), (Outcome::Completed, output, false));
    }
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_passes_and_costs_nothing() {
    for (headers, body) in [
        ("content-type: text/html\r\n", "<html>log in</html>"),
        ("", ""),
        (JSON, "null"),
        (JSON, "[]"),
        (JSON, "event: message_stop\ndata: {}\n\n"),
    ] {
        let world = World::new().await;
        let mut peer = world.call("", ASK).await;
        world.upstream.asked().await.answer(200, headers, body).await;
        assert_eq!(peer.answer().await.text(), body);
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Failed, Some("not_an_api_answer")));
        assert_eq!(entry.usage, domain::usage::Usage::default());
    }
}

#[tokio::test]
async fn errors_of_the_upstream_pass_unchanged() {
    let world = World::with(|config| config.retry.budget_permille = 0).await;
    for status in [400, 401, 403, 404, 413, 500, 529] {
        let body = format!(r#"{{"type":"error","error":{{"type":"e{status}"}}}}"#);
        let mut peer = world.call("", ASK).await;
        world.upstream.asked().await.answer(status, &format!("{JSON}connection: close\r\n"), &body).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text()), (status, body));
    }
    let entries = world.books.until(|books| books.entries().len() == 7).await.entries();
    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Failed && !entry.estimated));
    assert_eq!(entries[6].error.as_deref(), Some("e529"));
}

#[tokio::test]
async fn an_answer_with_hundreds_of_headers_passes() {
    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    let many: String = (0..900).map(|number| format!("x-edge-{number}: {number}\r\n")).collect();
    world.upstream.asked().await.answer(200, &format!("{JSON}{many}"), MESSAGE).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.header("x-edge-0"), answer.header("x-edge-899")), (200, Some("0"), Some("899")));
}

#[tokio::test]
async fn other_paths_pass_without_an_entry() {
    let world = World::new().await;
    let mut peer = world.connect().await;
    peer.send(&world.request("POST", "/v1/messages/count_tokens?beta=true", "", ASK)).await;
    let mut asked = world.upstream.asked().await;
    assert!(asked.head.starts_with("POST /base/v1/messages/count_tokens?beta=true "));
    assert_eq!(asked.body, ASK.as_bytes());
    asked.answer(200, JSON, r#"{"input_tokens":3}"#).await;
    let answer = peer.answer().await;
    assert_eq!((answer.text().as_str(), answer.header("x-tidegate-call")), (r#"{"input_tokens":3}"#, None));

    peer.send(&world.request("GET", "/v1/messages/batches/b1", "accept-encoding: gzip\r\n", "")).await;
    let mut asked = asked.again().await;
    assert!(asked.head.contains("accept-encoding: identity\r\n"), "{}", asked.head);
    asked.answer(200, JSON, r#"{"results_url":"https://a/v1/messages/batches/b1/results"}"#).await;
    let here = format!(r#"{{"results_url":"http://{}/v1/messages/batches/b1/results"}}"#, world.gateway.address());
    assert_eq!(peer.answer().await.text(), here);
    assert!(world.books.entries().is_empty());
}

#[tokio::test]
async fn results_of_a_batch_pass_as_they_are_and_are_entries_before_the_last_of_them_is_here() {
    let world = World::with(|config| config.catalog = pacing::priced("claude-x")).await;
    let lines = format!(
        "{{\"custom_id\":\"a\",\"result\":{{\"type\":\"succeeded\",\"message\":{MESSAGE}}}}}\n\
         {{\"custom_id\":\"b\",\"result\":{{\"type\":\"errored\",\"error\":{{\"type\":\"error\"}}}}}}\nno json\n\
         {{ \"result\": {{\"message\": {MESSAGE}, \"type\": \"succeeded\"}}, \"custom_id\": \"c\"}}"
    );
    world.books.durable.send_replace(false);
    let mut peer = world.connect().await;
    peer.send(&world.request("GET", "/v1/messages/batches/msgbatch_1/results", "", "")).await;
    let mut asked = world.upstream.asked().await;
    assert!(asked.head.contains("accept-encoding: identity"), "{}", asked.head);
    asked.answer(200, "content-type: application/x-jsonl\r\n", &lines).await;
    let mut seen = peer.read_until("\"c\"}").await;
    seen += &peer.read_until("\r\n").await;
    assert!(peer.is_silent().await, "its end waits for the books");
    world.books.durable.send_replace(true);
    seen += &peer.read_until("0\r\n\r\n").await;
    assert!(seen.contains(&lines), "{seen}");
    let entries = world.books.entries();
    let requests = entries.iter().map(|entry| entry.attempts[0].request_id.as_deref());
    assert_eq!(requests.collect::<Vec<_>>(), [Some("msgbatch_1/a"), Some("msgbatch_1/c")]);
    assert!(entries.iter().all(|entry| entry.usage.batch && entry.usage.tokens.output == 7 && !entry.estimated));
    assert_eq!(
        (&*entries[0].call.model, entries[0].outcome, entries[0].status),
        ("claude-x-1", Outcome::Completed, 200)
    );
    assert_eq!(entries[0].price_id.as_deref(), Some("p"));
}

#[tokio::test]
async fn results_that_have_passed_are_entered_though_their_client_leaves_before_the_last() {
    let world = World::new().await;
    let line =
        |id: &str| format!("{{\"custom_id\":\"{id}\",\"result\":{{\"type\":\"succeeded\",\"message\":{MESSAGE}}}}}\n");
    let mut peer = world.connect().await;
    peer.send(&world.request("GET", "/v1/messages/batches/msgbatch_1/results", "", "")).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&line("a")).await;
    peer.read_until("\n").await;
    peer.read_until("\"output_tokens\":7").await;
    drop(peer);
    let entry = world.books.entry().await;
    assert_eq!(entry.attempts[0].request_id.as_deref(), Some("msgbatch_1/a"));
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why_and_makes_no_entry() {
    let world = World::new().await;
    let host = world.gateway.address();
    let own = |rest: &str| format!("host: {host}\r\n{rest}");
    for (line, headers, status) in [
        ("POST /v1/messages", own(""), 401),
        ("POST /v1/messages", own("x-api-key: tg-wrong\r\n"), 401),
        ("GET /v1/models", own("authorization: Bearer x\r\n"), 401),
        ("POST /v1/messages", format!("host: evil.com\r\nx-api-key: {TOKEN}\r\n"), 403),
        ("POST /v1/messages", own(&format!("origin: http://evil.com\r\nx-api-key: {TOKEN}\r\n")), 403),
        ("OPTIONS /v1/messages", own("origin: http://evil.com\r\naccess-control-request-method: POST\r\n"), 403),
        ("HEAD /api/hello", own(""), 404),
        ("GET /", own(""), 404),
        ("POST /v1/messages/", own(&format!("x-api-key: {TOKEN}\r\n")), 404),
        ("POST /v1//messages", own(&format!("x-api-key: {TOKEN}\r\n")), 404),
        ("POST /v1/%6dessages", own(&format!("x-api-key: {TOKEN}\r\n")), 404),
        ("GET /healthz", own(""), 200),
        ("GET /readyz", own(""), 200),
        ("GET /tidegate/status", own(""), 200),
        ("OPTIONS /v1/messages", own("origin: app://one\r\naccess-control-request-method: POST\r\n"), 204),
        ("POST /v1/messages", own("content-length: 1\r\ntransfer-encoding: chunked\r\n"), 400),
    ] {
        let mut peer = world.connect().await;
        peer.send(&format!("{line} HTTP/1.1\r\n{headers}\r\n")).await;
        let head = support::Answer::parse(&peer.read_until("\r\n\r\n").await);
        assert_eq!(head.status, status, "{line} {headers}");
        if status == 401 {
            assert_eq!(head.header("x-should-retry"), Some("false"));
        }
    }
    assert!(world.books.entries().is_empty() && world.upstream.is_idle().await);
}

#[tokio::test]
async fn a_body_above_the_cap_is_refused() {
    let world = World::new().await;
    let mut peer = world.connect().await;
    let host = world.gateway.address();
    peer.send(&format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {TOKEN}\r\ncontent-length: 33554433\r\n\r\n"
    ))
    .await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "tidegate_body_too_large"));
    assert_eq!(world.books.entry().await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_panic_ends_its_call_alone_and_settles_it() {
    let world = World::new().await;
    let mut other = world.call("", ASK).await;
    let mut others = world.upstream.asked().await;
    *world.books.panics_at_checkpoints.lock().expect("books") = true;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(START).await;
    assert!(!peer.rest().await.ends_with("0\r\n\r\n"));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Interrupted, Some("panic")));
    *world.books.panics_at_checkpoints.lock().expect("books") = false;
    others.answer(200, JSON, MESSAGE).await;
    assert_eq!(other.answer().await.status, 200);
    assert_eq!(world.books.entries().len(), 2);
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_the_next_waits_for_room() {
    let world = World::with(|config| config.body_budget = 0).await;
    let body = format!(r#"{{"model":"claude-x","pad":"{}"}}"#, "x".repeat(20 << 20));
    let mut first = world.call("", &body).await;
    let mut asked = world.upstream.asked().await;
    assert_eq!(asked.body.len(), body.len());
    let host = world.gateway.address();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {TOKEN}\r\ncontent-length: {}\r\n",
        body.len()
    );
    let mut hurried = world.connect().await;
    hurried.send(&format!("{head}x-tidegate-max-wait: 0\r\n\r\n")).await;
    let answer = hurried.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "tidegate_queue_full"));
    let mut second = world.connect().await;
    second.send(&format!("{head}\r\n")).await;
    assert!(world.upstream.is_idle().await);
    asked.answer(200, JSON, MESSAGE).await;
    assert_eq!(first.answer().await.status, 200);
    second.send(&body).await;
    asked.again().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn one_connection_carries_call_after_call() {
    let world = World::new().await;
    let mut peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    for _ in 0..3 {
        asked.answer(200, JSON, MESSAGE).await;
        assert_eq!(peer.answer().await.status, 200);
        peer.send(&world.request("POST", "/v1/messages", "", ASK)).await;
        asked = asked.again().await;
    }
    let shown = world.gateway.live();
    assert_eq!(shown.len(), 4);
    assert_eq!((shown[0].state, shown[1].output_tokens), (gateway::LiveState::Running, 7));
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_given_up_and_one_that_is_absent_too() {
    let world = World::with(|config| {
        config.retry.budget_permille = 0;
        config.timeouts.first_byte = Duration::from_millis(50);
    })
    .await;
    let mut peer = world.call("", ASK).await;
    let _asked = world.upstream.asked().await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (504, "tidegate_upstream_silent"));
    assert!(world.books.entry().await.estimated);

    let world = World::with(|config| {
        config.retry.budget_permille = 0;
        config.upstreams[0].base_url = "http://127.0.0.1:1".into();
    })
    .await;
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_no_upstream"));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.estimated, entry.attempts.len()), (Outcome::Failed, false, 1));
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut() {
    let world = World::with(|config| config.timeouts.idle = Duration::from_millis(50)).await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}")).await;
    assert!(!peer.rest().await.ends_with("0\r\n\r\n"));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Cut, Some("the upstream fell silent")));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = World::new().await;
    let taken = world.gateway.address();
    let error = World::try_with(|config| config.listen = taken).await.err().expect("only one listens").to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("in use"), "{error}");
    world.gateway.drain(Duration::ZERO).await;
    World::try_with(|config| config.listen = taken).await.map(drop).expect("it is free again");
}

#[tokio::test]
async fn pages_of_allowed_origins_get_cors_answers() {
    let world = World::new().await;
    let mut peer = world.call("origin: app://one\r\n", ASK).await;
    world.upstream.asked().await.answer(200, &format!("{JSON}access-control-allow-origin: *\r\n"), MESSAGE).await;
    let answer = peer.answer().await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("app://one"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn calls_of_claude_code_belong_to_their_session_and_all_sessions_of_an_account_to_one_tenant() {
    let world = World::new().await;
    for (headers, session) in [("x-claude-code-session-id: s1\r\nx-claude-code-agent-id: a1\r\n", "s1"), ("", "s2")] {
        let ask = format!(r#"{{"model":"m","metadata":{{"user_id":"user_d_account_acc_session_{session}"}}}}"#);
        let mut peer = world.call(headers, &ask).await;
        world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
        peer.answer().await;
    }
    world.books.until(|books| books.entries().len() == 2).await;
    let who = world.books.entries().into_iter().map(|entry| entry.call.who);
    let who: Vec<_> =
        who.map(|who| [who.session, who.agent, who.tenant].map(|name| name.unwrap_or_default())).collect();
    assert_eq!(who, [["s1", "a1", "acc"], ["s2", "", "acc"]].map(|names| names.map(std::sync::Arc::from)));
}
