//! What goes wrong upstream, and what of it a client sees.

use std::time::Duration;

use domain::call::{Checkpoint, Class, Outcome};
use domain::config::WrittenLimits;
use domain::money::Usd;
use domain::routing::Backoff;
use domain::tier::MinuteLimits;
use gateway::{Config, Fallback, Upstream, Whose};

use crate::pacing::priced;
use crate::support::{Asked, FakeUpstream, Peer, Told, World, pacing};
use crate::{ASK, ASK_STREAM, DELTA, END_DELTA, JSON, MESSAGE, PING, START, STOP};

pub(crate) const OVERLOADED: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
const INTERNAL: &str = r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#;
const ERROR_EVENT: &str =
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

/// Retries come at once.
pub(crate) fn hasty(config: &mut Config) {
    config.retry.backoff = Backoff { base: Duration::from_millis(1), max: Duration::from_millis(1) };
}

async fn hasty_world() -> World {
    World::with(hasty).await
}

/// A second upstream that normal calls fall back to, and its name in the answers.
pub(crate) async fn with_second(change: impl FnOnce(&mut Config)) -> (World, FakeUpstream) {
    let second = FakeUpstream::start().await;
    let base_url = format!("http://{}", second.address);
    let world = World::with(|config| {
        hasty(config);
        config.upstreams.push(Upstream {
            name: "second".into(),
            base_url,
            key: None,
            models: vec![],
            lacks: domain::routing::Capabilities::NONE,
            pacing: pacing(),
        });
        config.fallbacks = vec![Fallback { whose: Whose::Class(Class::Normal), upstreams: vec![0, 1], text: None }];
        change(config);
    })
    .await;
    (world, second)
}

pub(crate) fn with_text(config: &mut Config) {
    hasty(config);
    let text = Some("A person will answer.".into());
    config.fallbacks = vec![Fallback { whose: Whose::Client("ci".into()), upstreams: vec![], text }];
}

/// Whether it comes over a connection that was kept or over a new one.
pub(crate) async fn answer_each(world: &World, answers: &[(u16, &str)]) {
    for (status, body) in answers {
        world.upstream.asked().await.answer(*status, &format!("{JSON}connection: close\r\n"), body).await;
    }
}

pub(crate) async fn answer_each_with(mut asked: Asked, body: &str) {
    asked.answer(200, &format!("{JSON}connection: close\r\n"), body).await;
}

#[tokio::test]
async fn a_busy_upstream_is_asked_once_more_and_an_erring_one_twice() {
    for (status, body, retries) in [(529, OVERLOADED, 1), (500, INTERNAL, 2), (503, "", 2), (504, "{}", 2)] {
        let world = hasty_world().await;
        let mut peer = world.call("", ASK).await;
        let mut answers = vec![(status, body); retries];
        answers.push((200, MESSAGE));
        answer_each(&world, &answers).await;
        let answer = peer.answer().await;
        let attempts = (retries + 1).to_string();
        assert_eq!((answer.status, answer.header("x-tidegate-attempts")), (200, Some(attempts.as_str())), "{status}");
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.attempts.len(), entry.estimated), (Outcome::Completed, retries + 1, false));
        assert!(entry.attempts[..retries].iter().all(|attempt| attempt.error.is_some() && !attempt.maybe_billed));

        let mut peer = world.call("", ASK).await;
        answer_each(&world, &vec![(status, body); retries + 1]).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "its last answer, unchanged");
        assert!(world.upstream.is_idle().await);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_call_or_its_key_is_never_sent_again() {
    let (world, second) = with_second(|_| ()).await;
    for status in [400, 401, 403, 404, 413, 422] {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"e{status}","message":"prompt is too long: 9 tokens > 8 maximum"}}}}"#
        );
        let mut peer = world.call("", ASK).await;
        answer_each(&world, &[(status, &body)]).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text()), (status, body));
        assert_eq!(
            (answer.header("x-tidegate-attempts"), answer.header("x-tidegate-upstream")),
            (Some("1"), Some("fake"))
        );
    }
    assert!(world.upstream.is_idle().await && second.is_idle().await);
}

#[tokio::test]
async fn an_upstream_that_says_no_retry_is_believed() {
    let world = hasty_world().await;
    let mut peer = world.call("", ASK).await;
    world.upstream.asked().await.answer(500, &format!("{JSON}x-should-retry: false\r\n"), INTERNAL).await;
    assert_eq!(peer.answer().await.status, 500);
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn without_a_budget_nothing_is_sent_again() {
    let world = World::with(|config| config.retry.budget_permille = 0).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(500, INTERNAL)]).await;
    assert_eq!(peer.answer().await.status, 500);
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn retries_are_a_tenth_of_all_calls_and_ten_more() {
    let world = World::with(|config| {
        hasty(config);
        config.rules.breaker.failures = 10_000;
    })
    .await;
    let mut asked = 0;
    for _ in 0..100 {
        let mut peer = world.call("", ASK).await;
        loop {
            let one = world.upstream.asked();
            tokio::select! {
                mut one = one => {
                    asked += 1;
                    one.answer(529, &format!("{JSON}connection: close\r\n"), OVERLOADED).await;
                }
                answer = peer.answer() => {
                    assert_eq!(answer.status, 529);
                    break;
                }
            }
        }
    }
    assert_eq!(asked, 100 + 19, "ten at first, and one more for each ten calls");
}

/// Before the first content, whatever goes wrong stays between the upstream and us.
#[tokio::test]
async fn a_stream_that_fails_before_its_first_word_begins_again_unseen() {
    type Fails = fn(&mut Config);
    let cases: [(&str, Fails); 4] = [
        ("error", hasty),
        ("cut", hasty),
        ("clean end", hasty),
        ("silent", |config| {
            hasty(config);
            config.timeouts.idle = Duration::from_millis(100);
        }),
    ];
    for (what, change) in cases {
        let world = World::with(change).await;
        let peer = world.call("", ASK_STREAM).await;
        let mut first = world.upstream.asked().await;
        first.start_stream().await;
        first.chunk(&format!("{START}{PING}")).await;
        match what {
            "error" => first.chunk(ERROR_EVENT).await,
            "clean end" => first.send("0\r\n\r\n").await,
            _ => {}
        }
        // Whose answer came to its end takes the next call too.
        let (kept, again) = match what {
            "clean end" | "error" => {
                first.send(if what == "error" { "0\r\n\r\n" } else { "" }).await;
                (None, first.again().await)
            }
            "silent" => (Some(first), world.upstream.asked().await),
            _ => {
                drop(first);
                (None, world.upstream.asked().await)
            }
        };
        stream_whole(&world, peer, again, what).await;
        drop(kept);
    }
}

async fn stream_whole(world: &World, mut peer: Peer, mut again: Asked, what: &str) {
    again.start_stream().await;
    again.chunk(&format!("{START}{DELTA}{END_DELTA}{STOP}")).await;
    again.send("0\r\n\r\n").await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text()), (200, format!("{START}{DELTA}{END_DELTA}{STOP}")), "{what}");
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.attempts.len()), (Outcome::Completed, 2), "{what}");
    let was_begun = what != "error";
    assert_eq!((entry.attempts[0].maybe_billed, entry.estimated), (was_begun, was_begun), "{what}");
    // The upstream had read its prompt and said so, and reads it again for the next.
    let tokens = (entry.usage.tokens.input, entry.usage.tokens.output);
    assert_eq!(tokens, if was_begun { (22, 43) } else { (11, 42) }, "{what}");
}

#[tokio::test]
async fn what_an_upstream_began_is_paid_at_its_own_price_where_another_answers() {
    let (world, second) = with_second(|config| {
        unretried(config);
        config.catalog = priced("claude-x");
    })
    .await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut first = world.upstream.asked().await;
    first.start_stream().await;
    first.chunk(START).await;
    drop(first);
    let mut other = second.asked().await;
    other
        .answer(
            200,
            "content-type: text/event-stream\r\nconnection: close\r\n",
            &format!("{}{DELTA}{END_DELTA}{STOP}", START.replace("claude-x-1", "claude-new")),
        )
        .await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
    let entry = world.books.entry().await;
    assert_eq!((entry.usage.tokens.output, entry.cost), (43, None), "the price of \"claude-new\" is unknown");

    let mut peer = world.call("", ASK_STREAM).await;
    let mut first = world.upstream.asked().await;
    first.start_stream().await;
    first.chunk(START).await;
    drop(first);
    answer_each_with(second.asked().await, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
    let entry = world.books.until(|books| books.entries().len() == 2).await.entries().remove(1);
    assert_eq!((entry.price_id.as_deref(), entry.estimated), (Some("p"), true));
    assert_eq!(entry.cost, Some(Usd::from_nanos(1_000_000 * i64::try_from(entry.usage.tokens.output).expect("few"))));
}

#[tokio::test]
async fn a_document_that_breaks_off_is_asked_for_again_unseen() {
    // With an end that looks good, too: half of a message is none.
    for length in [MESSAGE.len(), 30] {
        let world = hasty_world().await;
        let mut peer = world.call("", ASK).await;
        let mut first = world.upstream.asked().await;
        let half = &MESSAGE[..30];
        first
            .send(&format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\nconnection: close\r\n{JSON}\r\n{half}"))
            .await;
        drop(first);
        answer_each(&world, &[(200, MESSAGE)]).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, MESSAGE));
        assert!(world.books.entry().await.attempts[0].maybe_billed);
    }
}

#[tokio::test]
async fn a_failure_that_calls_itself_a_good_answer_is_one_and_costs_nothing() {
    let world = World::with(unretried).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(200, INTERNAL)]).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, INTERNAL));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Failed, Some("api_error")));
    assert_eq!((entry.usage.tokens.prompt(), entry.usage.tokens.output, entry.estimated), (0, 0, false));
}

#[tokio::test]
async fn a_beginning_is_held_back_until_the_first_word_and_not_for_ever() {
    let world = World::new().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(START).await;
    asked.chunk(PING).await;
    assert!(peer.is_silent().await);
    asked.chunk(DELTA).await;
    let seen = peer.read_until(DELTA).await;
    assert!(seen.contains(START) && seen.contains(PING));
}

#[tokio::test]
async fn an_error_after_the_first_word_goes_to_the_client_as_it_came() {
    let world = hasty_world().await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}{ERROR_EVENT}")).await;
    asked.send("0\r\n\r\n").await;
    assert_eq!(peer.answer().await.text(), format!("{START}{DELTA}{ERROR_EVENT}"));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Failed, Some("overloaded_error")));
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn a_stream_that_stalls_after_the_first_word_ends_as_an_error_that_sdks_understand() {
    let world = World::with(|config| config.timeouts.idle = Duration::from_millis(100)).await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}")).await;
    let seen = peer.rest().await;
    assert!(seen.contains("event: error\ndata: ") && seen.contains("\"type\":\"timeout_error\""), "{seen}");
    assert!(!seen.ends_with("0\r\n\r\n"), "and its connection is broken");
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Cut, Some("the upstream fell silent")));

    let world = World::with(|config| config.timeouts.idle = Duration::from_millis(100)).await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}event: content_blo")).await;
    let seen = peer.rest().await;
    assert!(!seen.contains("event: error"), "no event is put into the middle of another");
}

#[tokio::test]
async fn another_upstream_takes_what_the_first_fails() {
    for (status, body) in [(529, OVERLOADED), (500, INTERNAL), (504, "{}")] {
        let (world, second) = with_second(|config| config.retry.budget_permille = 0).await;
        let mut peer = world.call("", ASK).await;
        answer_each(&world, &[(status, body)]).await;
        let mut asked = second.asked().await;
        assert_eq!(asked.body, ASK.as_bytes());
        assert!(!asked.head.contains("x-api-key"), "the first one's key is not the second's: {}", asked.head);
        asked.answer(200, JSON, MESSAGE).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.header("x-tidegate-upstream")), (200, Some("second")), "{status}");
        let entry = world.books.entry().await;
        let upstreams: Vec<&str> = entry.attempts.iter().map(|attempt| &*attempt.upstream).collect();
        assert_eq!((upstreams, entry.outcome), (vec!["fake", "second"], Outcome::Completed));
    }
}

#[tokio::test]
async fn what_the_second_cannot_do_leaves_the_first_ones_answer() {
    let (world, second) = with_second(|config| config.retry.budget_permille = 0).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED)]).await;
    second
        .asked()
        .await
        .answer(404, JSON, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#)
        .await;
    let answer = peer.answer().await;
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.header("x-tidegate-upstream")),
        (529, OVERLOADED, Some("fake"))
    );
    assert_eq!(answer.header("x-tidegate-attempts"), Some("2"));
    assert_eq!(world.books.entry().await.status, 529);
}

#[tokio::test]
async fn an_upstream_that_does_not_serve_the_model_is_passed_over() {
    let (world, second) = with_second(|config| {
        config.retry.budget_permille = 0;
        config.upstreams[0].models = vec!["claude-*".into()];
        config.upstreams[1].models = vec!["llama*".into()];
    })
    .await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED)]).await;
    assert_eq!(peer.answer().await.status, 529);
    let mut peer = world.call("", &ASK.replace("claude-x", "llama3")).await;
    answer_none_but(&second).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
}

pub(crate) async fn answer_none_but(upstream: &FakeUpstream) {
    upstream.asked().await.answer(200, JSON, MESSAGE).await;
}

#[tokio::test]
async fn an_account_whose_money_is_gone_is_not_asked_again_at_once() {
    let (world, second) = with_second(|_| ()).await;
    let body = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(400, body)]).await;
    answer_none_but(&second).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
    let mut peer = world.call("", ASK).await;
    second.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.header("x-tidegate-attempts"), Some("1"), "straight to the second");
    world.skip(Duration::from_secs(61));
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("fake"));
}

#[tokio::test]
async fn at_last_a_configured_text_answers() {
    for ask in [ASK, ASK_STREAM] {
        let world = World::with(with_text).await;
        let mut peer = world.call("", ask).await;
        answer_each(&world, &[(529, OVERLOADED), (529, OVERLOADED)]).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.header("x-tidegate-upstream")), (200, Some("static")));
        assert!(answer.text().contains("A person will answer."), "{}", answer.text());
        assert_eq!((answer.header("x-tidegate-attempts"), answer.header("x-tidegate-cache")), (Some("3"), Some("off")));
        assert!(answer.header("x-tidegate-waited-ms").is_some_and(|waited| waited.parse::<u64>().is_ok()));
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.usage, entry.estimated), (Outcome::Completed, Default::default(), false));
        assert_eq!(answer.header("x-tidegate-call"), Some(entry.call.id.to_string().as_str()));
        let last = entry.attempts.last().expect("an attempt");
        assert_eq!((&*last.upstream, last.maybe_billed), ("static", false));
    }
    let world = World::with(with_text).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(400, "{}")]).await;
    assert_eq!(peer.answer().await.status, 400, "a bad request is told as one");
}

/// Fails calls until the breaker is open.
pub(crate) async fn break_it(world: &World) {
    for _ in 0..5 {
        let mut peer = world.call("", ASK).await;
        answer_each(world, &[(500, INTERNAL)]).await;
        assert_eq!(peer.answer().await.status, 500);
    }
}

pub(crate) fn unretried(config: &mut Config) {
    config.retry.budget_permille = 0;
}

#[tokio::test]
async fn after_five_failures_nobody_is_sent_there_who_cannot_wait() {
    let world = World::with(unretried).await;
    world.stop_the_clock();
    break_it(&world).await;
    let breakers = world.gateway.breakers();
    assert_eq!((breakers.len(), breakers[0].state.name()), (1, "open"));
    let answer = world.call("x-tidegate-max-wait: 60\r\n", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (529, "tidegate_breaker_open"));
    assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), (Some("300"), Some("false")));
    let entry = world.books.entries().pop().expect("an entry");
    assert_eq!((entry.outcome, entry.attempts.len()), (Outcome::Refused, 0));
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn one_call_finds_out_whether_it_is_back_and_lets_the_others_through() {
    let world = World::with(unretried).await;
    world.stop_the_clock();
    break_it(&world).await;
    let mut first = world.call("", ASK).await;
    wait_for(&world, 1).await;
    let mut second = world.call("", ASK).await;
    wait_for(&world, 2).await;
    world.skip(Duration::from_secs(300));
    let mut probe = call_among(&world).await;
    assert_eq!(world.gateway.waiting().len(), 1, "only one goes ahead");
    probe.answer(200, &format!("{JSON}connection: close\r\n"), MESSAGE).await;
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
    assert!(world.gateway.breakers().iter().all(|breaker| breaker.state.name() == "closed"));
}

/// The next call; free probes on the way are answered as by a dead upstream.
async fn call_among(world: &World) -> Asked {
    loop {
        let mut asked = world.upstream.asked().await;
        if asked.head.starts_with("POST") {
            return asked;
        }
        asked.answer(503, "connection: close\r\n", "").await;
    }
}

pub(crate) async fn wait_for(world: &World, waiting: usize) {
    while world.gateway.waiting().len() < waiting {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_free_probe_that_comes_good_brings_the_call_forward() {
    let world = World::with(unretried).await;
    world.stop_the_clock();
    break_it(&world).await;
    let mut peer = world.call("", ASK).await;
    wait_for(&world, 1).await;
    world.skip(Duration::from_secs(15));
    let mut probe = world.upstream.asked().await;
    assert!(probe.head.starts_with("GET /base/v1/models?limit=1 HTTP/1.1\r\n"), "{}", probe.head);
    probe.answer(200, &format!("{JSON}connection: close\r\n"), r#"{"data":[]}"#).await;
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!(peer.answer().await.status, 200);
    assert!(world.books.entries().iter().all(|entry| entry.attempts.len() < 2), "a probe is no call");
}

#[tokio::test]
async fn while_the_first_is_broken_calls_go_straight_to_the_second() {
    let (world, second) = with_second(unretried).await;
    world.stop_the_clock();
    for _ in 0..5 {
        let mut peer = world.call("", ASK).await;
        answer_each(&world, &[(500, INTERNAL)]).await;
        answer_none_but_closing(&second).await;
        assert_eq!(peer.answer().await.status, 200);
    }
    let mut peer = world.call("", ASK).await;
    answer_none_but_closing(&second).await;
    let answer = peer.answer().await;
    assert_eq!(
        (answer.header("x-tidegate-upstream"), answer.header("x-tidegate-attempts")),
        (Some("second"), Some("1"))
    );
    assert!(world.upstream.is_idle().await);
}

async fn answer_none_but_closing(upstream: &FakeUpstream) {
    upstream.asked().await.answer(200, &format!("{JSON}connection: close\r\n"), MESSAGE).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_passed_over() {
    let (world, second) = with_second(|config| config.upstreams[0].base_url = "http://127.0.0.1:1".into()).await;
    let mut peer = world.call("", ASK).await;
    answer_none_but(&second).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.header("x-tidegate-upstream")), (200, Some("second")));
}

const ASK_TEXT: &str =
    r#"{"model":"claude-x","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
const BLOCK: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const BLOCK_STOP: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
const CONTINUE: &str = "x-tidegate-continue: on\r\n";

#[tokio::test]
async fn a_text_that_was_cut_goes_on_once_for_whom_asks() {
    let world = World::new().await;
    let mut peer = world.call(CONTINUE, ASK_TEXT).await;
    let mut first = world.upstream.asked().await;
    assert!(!first.head.contains("continue"));
    first.start_stream().await;
    // What has come of an event that is never whole is kept from the client.
    first.chunk(&format!("{START}{BLOCK}{DELTA}event: content_block_del")).await;
    peer.read_until(DELTA).await;
    drop(first);
    let mut second = world.upstream.asked().await;
    let body: serde_json::Value = serde_json::from_slice(&second.body).expect("json");
    assert_eq!(body["messages"][1], serde_json::json!({"role": "assistant", "content": "Hello, this is text."}));
    second.start_stream().await;
    second.chunk(&format!("{START}{BLOCK}{DELTA}{BLOCK_STOP}{END_DELTA}{STOP}")).await;
    second.send("0\r\n\r\n").await;
    let rest = peer.read_until("0\r\n\r\n").await;
    assert!(rest.contains("Hello, this is text.") && rest.contains("event: message_stop"), "{rest}");
    assert!(!rest.contains("message_start") && !rest.contains("content_block_del\""), "{rest}");
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.attempts.len(), entry.estimated), (Outcome::Completed, 2, true));
    assert_eq!((entry.usage.tokens.input, entry.usage.tokens.output), (22, 47), "both are paid for");
}

#[tokio::test]
async fn what_cannot_go_on_ends_as_a_cut() {
    for (headers, refuses) in [(CONTINUE, true), ("", false)] {
        let world = World::new().await;
        let mut peer = world.call(headers, ASK_TEXT).await;
        let mut first = world.upstream.asked().await;
        first.start_stream().await;
        first.chunk(&format!("{START}{BLOCK}{DELTA}")).await;
        peer.read_until(DELTA).await;
        drop(first);
        if refuses {
            let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"This model does not support assistant message prefill. The conversation must end with a user message."}}"#;
            world.upstream.asked().await.answer(400, JSON, error).await;
        }
        let rest = peer.rest().await;
        assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
        let entry = world.books.entry().await;
        assert_eq!((entry.outcome, entry.status, entry.estimated), (Outcome::Cut, 200, true));
        assert_eq!((entry.usage.tokens.input, entry.usage.tokens.output), (11, 5));
        assert!(world.upstream.is_idle().await);
    }
}

#[tokio::test]
async fn errors_of_any_size_and_packing_pass_whole_and_are_known_by_their_status() {
    let zeros = zstd::stream::encode_all(&*vec![0; 64 << 20], 1).expect("memory");
    let half = OVERLOADED.as_bytes()[..40].to_vec();
    for (headers, body) in [
        (JSON, vec![b'x'; 10 << 20]),
        ("content-type: application/json\r\ncontent-encoding: zstd\r\n", zeros),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", b"no gzip at all".to_vec()),
        ("content-type: application/json\r\ncontent-encoding: lzma\r\n", half.clone()),
        (JSON, half),
        (JSON, b"\xff\xfe\x00".to_vec()),
    ] {
        let (world, second) = with_second(|config| config.retry.budget_permille = 0).await;
        let mut peer = world.call("", ASK).await;
        let telling = tell(world.upstream.asked().await, headers, &body);
        answer_none_but(&second).await;
        assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
        telling.abort();

        let world = World::with(unretried).await;
        let mut peer = world.call("", ASK).await;
        let telling = tell(world.upstream.asked().await, headers, &body);
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.body.len()), (529, body.len()));
        assert!(answer.body == body);
        telling.await.expect("it is read to its end");
    }
}

/// Beside the client: what nobody reads on can't be written to its end.
fn tell(mut asked: Asked, headers: &'static str, body: &[u8]) -> tokio::task::JoinHandle<()> {
    let body = body.to_vec();
    tokio::spawn(async move { asked.answer_bytes(529, headers, &body).await })
}

#[tokio::test]
async fn a_call_that_goes_on_asks_for_nothing_packed_and_takes_no_packed_rest() {
    let world = World::new().await;
    let mut peer = world.call(&format!("{CONTINUE}accept-encoding: gzip\r\n"), ASK_TEXT).await;
    let mut first = world.upstream.asked().await;
    assert!(first.head.contains("accept-encoding: identity\r\n"), "{}", first.head);
    first.start_stream().await;
    first.chunk(&format!("{START}{BLOCK}{DELTA}")).await;
    peer.read_until(DELTA).await;
    drop(first);
    let rest =
        zstd::stream::encode_all(format!("{START}{BLOCK}{DELTA}{END_DELTA}{STOP}").as_bytes(), 1).expect("memory");
    let packed = "content-type: text/event-stream\r\ncontent-encoding: zstd\r\n";
    world.upstream.asked().await.answer_bytes(200, packed, &rest).await;
    assert!(!peer.rest().await.ends_with("0\r\n\r\n"));
    assert_eq!(world.books.entry().await.outcome, Outcome::Cut);
}

#[tokio::test]
async fn an_event_too_long_to_be_read_passes_whole_where_a_rest_was_wanted() {
    let world = World::new().await;
    let mut peer = world.call(CONTINUE, ASK_TEXT).await;
    let mut asked = world.upstream.asked().await;
    let huge = format!("event: ping\ndata: {}\n\n", "x".repeat(9 << 20));
    let whole = format!("{START}{BLOCK}{DELTA}{huge}{END_DELTA}{STOP}");
    let sent = whole.clone();
    let telling = tokio::spawn(async move {
        asked.start_stream().await;
        for piece in sent.as_bytes().chunks(60_000) {
            asked.chunk(std::str::from_utf8(piece).expect("ascii")).await;
        }
        asked.send("0\r\n\r\n").await;
        asked
    });
    assert!(peer.answer().await.text() == whole);
    drop(telling.await.expect("it is read"));
}

#[tokio::test]
async fn an_error_in_the_dress_of_an_answer_is_one() {
    let (world, second) = with_second(unretried).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(200, OVERLOADED)]).await;
    answer_none_but(&second).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
}

#[tokio::test]
async fn the_second_ones_refusal_does_not_stand_for_an_outage_of_the_first() {
    let (world, second) = with_second(|config| {
        unretried(config);
        config.upstreams[0].base_url = "http://127.0.0.1:1".into();
    })
    .await;
    let mut peer = world.call("", ASK).await;
    second
        .asked()
        .await
        .answer(404, JSON, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#)
        .await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_no_upstream"));
}

#[tokio::test]
async fn nobody_rests_for_long_whom_another_upstream_would_take() {
    let (world, second) = with_second(|_| ()).await;
    let mut peer = world.call("", ASK).await;
    world.upstream.asked().await.answer(503, &format!("{JSON}retry-after: 300\r\n"), INTERNAL).await;
    answer_none_but(&second).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
}

#[tokio::test]
async fn a_refused_key_stays_said_while_others_answer() {
    let (world, second) = with_second(unretried).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(401, "{}")]).await;
    assert_eq!(peer.answer().await.status, 401);
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED)]).await;
    answer_none_but(&second).await;
    peer.answer().await;
    assert_eq!(world.gateway.trouble(), None, "the first has answered since");
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(401, "{}")]).await;
    peer.answer().await;
    world.upstream.is_idle().await;
    assert!(world.gateway.trouble().is_some_and(|said| said.contains("refuses its key")));
}

#[tokio::test]
async fn answers_that_break_off_in_a_row_open_the_breaker_too() {
    let world = World::with(unretried).await;
    for _ in 0..5 {
        let mut peer = world.call("", ASK_STREAM).await;
        let mut asked = world.upstream.asked().await;
        asked.start_stream().await;
        asked.chunk(&format!("{START}{DELTA}")).await;
        drop(asked);
        peer.rest().await;
    }
    assert_eq!(world.gateway.breakers()[0].state.name(), "open");
}

#[tokio::test]
async fn a_bad_request_whose_answer_breaks_off_is_not_sent_again() {
    let world = hasty_world().await;
    let mut peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    asked.send("HTTP/1.1 400 X\r\ncontent-length: 500\r\n\r\n{").await;
    drop(asked);
    assert_eq!(peer.answer().await.status, 502);
    assert!(world.upstream.is_idle().await);
    assert!(world.gateway.breakers().is_empty());
}

#[tokio::test]
async fn refused_connections_open_the_breaker_too() {
    let world = World::with(|config| {
        unretried(config);
        config.upstreams[0].base_url = "http://127.0.0.1:1".into();
    })
    .await;
    world.stop_the_clock();
    for _ in 0..5 {
        assert_eq!(world.call("", ASK).await.answer().await.status, 503);
    }
    let answer = world.call("x-tidegate-max-wait: 1\r\n", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (529, "tidegate_breaker_open"));
}

#[tokio::test]
async fn a_refused_attempt_is_nothing_in_the_books_before_the_next_leaves() {
    for (status, headers, body) in
        [(529, "", OVERLOADED), (500, "", INTERNAL), (429, "retry-after-ms: 20\r\n", r#"{"type":"error"}"#)]
    {
        let world = hasty_world().await;
        let mut peer = world.call("", ASK).await;
        let head = format!("{JSON}connection: close\r\n{headers}");
        world.upstream.asked().await.answer(status, &head, body).await;
        let mut next = world.upstream.asked().await;
        let told = world.books.told.lock().expect("books").clone();
        let told: Vec<_> = told.iter().map(in_short).collect();
        assert_eq!(told, ["opened 1", "used 0", "opened 2"], "{status}");
        next.answer(200, JSON, MESSAGE).await;
        assert_eq!(peer.answer().await.status, 200);
    }
}

#[tokio::test]
async fn an_attempt_that_may_be_billed_is_not_said_to_be_nothing() {
    let world = hasty_world().await;
    let mut peer = world.call("", ASK).await;
    drop(world.upstream.asked().await);
    answer_each(&world, &[(529, OVERLOADED)]).await;
    let mut next = world.upstream.asked().await;
    assert!(world.books.checkpoints().is_empty(), "nor is what was refused after it");
    next.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
}

fn in_short(told: &Told) -> String {
    match told {
        Told::Opened(opening) => format!("opened {}", opening.number),
        Told::Checkpoint(Checkpoint { usage, .. }) => {
            format!("used {}", usage.tokens.prompt() + usage.tokens.output)
        }
        Told::Settled(_) => "settled".to_owned(),
    }
}

#[tokio::test]
async fn a_call_that_goes_elsewhere_leaves_its_place_to_the_next() {
    let one = WrittenLimits { models: vec!["*".into()], per_minute: MinuteLimits::default(), concurrency: Some(1) };
    let (world, second) = with_second(|config| {
        unretried(config);
        config.upstreams[0].pacing.written = vec![one];
    })
    .await;
    let mut first = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED)]).await;
    let mut elsewhere = second.asked().await;
    let mut next = world.call("", ASK).await;
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!(next.answer().await.header("x-tidegate-upstream"), Some("fake"));
    elsewhere.answer(200, JSON, MESSAGE).await;
    assert_eq!(first.answer().await.header("x-tidegate-upstream"), Some("second"));
}

#[tokio::test]
async fn the_call_that_finds_out_may_be_sent_again_and_nobody_goes_meanwhile() {
    let world = World::with(|config| {
        hasty(config);
        config.rules.breaker.failures = 2;
    })
    .await;
    world.stop_the_clock();
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED), (529, OVERLOADED)]).await;
    assert_eq!(peer.answer().await.status, 529);
    let mut first = world.call("", ASK).await;
    wait_for(&world, 1).await;
    let mut second = world.call("", ASK).await;
    wait_for(&world, 2).await;
    world.skip(Duration::from_secs(300));
    call_among(&world).await.answer(529, &format!("{JSON}connection: close\r\n"), OVERLOADED).await;
    let mut again = call_among(&world).await;
    assert_eq!(world.gateway.waiting().len(), 1, "the other still waits for it");
    again.answer(200, &format!("{JSON}connection: close\r\n"), MESSAGE).await;
    assert_eq!(first.answer().await.header("x-tidegate-attempts"), Some("2"));
    call_among(&world).await.answer(200, JSON, MESSAGE).await;
    assert_eq!(second.answer().await.status, 200);
}
