//! Answers given again: to whom, when not, and once for calls that come together.

use std::sync::Arc;
use std::time::Duration;

use domain::cache::Terms;
use domain::call::{CacheUse, Class, Entry, Outcome};
use domain::config::Client;
use domain::money::Usd;
use domain::time::Timestamp;
use gateway::StoredAnswer;
use sha2::{Digest, Sha256};

use crate::pacing::priced;
use crate::support::{Answer, Asked, Peer, TOKEN, World, client};
use crate::{ASK, ASK_STREAM, DELTA, END_DELTA, JSON, MESSAGE, START, STOP};

const HEAD: &str =
    "content-type: application/json\r\nrequest-id: req_7\r\nanthropic-ratelimit-requests-remaining: 3\r\n";
/// The next request comes over another connection.
const LAST: &str = "content-type: application/json\r\nconnection: close\r\n";
const NOTHING: &str = "";

async fn cached(terms: Terms) -> World {
    World::with(|config| {
        config.cache = Some(terms);
        config.retry.budget_permille = 0;
        config.catalog = priced("claude-x");
    })
    .await
}

async fn world() -> World {
    cached(Terms::default()).await
}

const OF_CLAUDE_X: &str = r#"{"type":"message","model":"claude-x","usage":{"input_tokens":10,"output_tokens":2}}"#;

/// What the client gets for a call that the upstream answers.
async fn asked(world: &World, headers: &str, body: &str, answer: &str) -> Answer {
    let mut peer = world.call(headers, body).await;
    world.upstream.asked().await.answer(200, HEAD, answer).await;
    let given = peer.answer().await;
    assert_eq!((given.status, given.text().as_str()), (200, answer));
    given
}

/// What the client gets without the upstream.
async fn answered(world: &World, headers: &str, body: &str) -> Answer {
    world.call(headers, body).await.answer().await
}

fn says(answer: &Answer) -> &str {
    answer.header("x-tidegate-cache").expect("it says so")
}

/// Whether the same call again is answered without the upstream.
async fn hits(world: &World, headers: &str, body: &str) -> bool {
    let mut peer = world.call(headers, body).await;
    tokio::select! {
        answer = peer.answer() => {
            assert_eq!((answer.status, says(&answer)), (200, "hit"));
            true
        }
        mut asked = world.upstream.asked() => {
            asked.answer(200, HEAD, MESSAGE).await;
            assert_ne!(says(&peer.answer().await), "hit");
            false
        }
    }
}

async fn entries(world: &World, count: usize) -> Vec<Entry> {
    world.books.until(|books| books.entries().len() == count).await.entries()
}

/// So many calls wait or run.
async fn under_way(world: &World, count: usize) {
    let is_open = |state: &gateway::LiveState| !matches!(state, gateway::LiveState::Ended(_));
    while world.gateway.live().iter().filter(|call| is_open(&call.state)).count() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_second_call_gets_the_first_ones_answer_and_costs_nothing() {
    let world = world().await;
    let first = asked(&world, NOTHING, ASK, OF_CLAUDE_X).await;
    assert_eq!(says(&first), "miss");
    world.skip(Duration::from_secs(90));
    let second = answered(&world, NOTHING, ASK).await;
    assert_eq!((second.status, &second.body, says(&second)), (200, &first.body, "hit"));
    for (name, value) in [
        ("request-id", Some("req_7")),
        ("content-type", Some("application/json")),
        ("age", Some("90")),
        ("x-tidegate-attempts", Some("0")),
        ("x-tidegate-upstream", None),
        ("anthropic-ratelimit-requests-remaining", None),
    ] {
        assert_eq!(second.header(name), value, "{name}");
    }
    let entries = entries(&world, 2).await;
    assert_eq!(second.header("x-tidegate-call"), Some(entries[1].call.id.to_string().as_str()));
    let (miss, hit) = (&entries[0], &entries[1]);
    assert_eq!((miss.cache, miss.cost, miss.saved), (CacheUse::Miss, Some(Usd::from_nanos(2_000_000)), None));
    assert_eq!((hit.cache, hit.cost, hit.saved), (CacheUse::Hit, Some(Usd::ZERO), Some(Usd::from_nanos(2_000_000))));
    assert_eq!((hit.outcome, hit.status, hit.attempts.len()), (Outcome::Completed, 200, 0));
    assert_eq!(hit.usage, domain::usage::Usage::default());
    assert!(world.upstream.is_idle().await);
}

#[tokio::test]
async fn a_stream_is_given_again_to_its_last_byte() {
    let world = world().await;
    let mut peer = world.call(NOTHING, ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    let whole = format!("\u{feff}{START}{DELTA}{END_DELTA}{STOP}: after\n");
    asked.start_stream().await;
    for piece in whole.as_bytes().chunks(7) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        tokio::io::AsyncWriteExt::write_all(&mut asked.socket, &chunk).await.expect("the gateway reads");
    }
    asked.send("0\r\n\r\n").await;
    assert_eq!(peer.answer().await.text(), whole);
    let again = answered(&world, NOTHING, ASK_STREAM).await;
    assert_eq!((again.text(), says(&again)), (whole, "hit"));
    assert_eq!(again.header("content-type"), Some("text/event-stream"));
}

#[tokio::test]
async fn only_the_whole_same_question_is_the_same() {
    let world = world().await;
    let of = "anthropic-version: 2023-06-01\r\naccept-encoding: identity\r\n";
    asked(&world, of, ASK, MESSAGE).await;
    let spelled = r#" {"max_tokens": 100, "messages":[ ], "model":"claude-x"}"#;
    assert!(hits(&world, of, spelled).await);
    let named = format!("{of}user-agent: other/1\r\nx-stainless-retry-count: 0\r\nx-tidegate-tag: a=b\r\n");
    assert!(hits(&world, &named, ASK).await, "who asks, and how often, is no part of the question");
    for (headers, body) in [
        (of, r#"{"model":"claude-x","max_tokens":101,"messages":[]}"#),
        (of, r#"{"model":"claude-y","max_tokens":100,"messages":[]}"#),
        (of, r#"{"model":"claude-x","max_tokens":100,"messages":[],"stream":false}"#),
        (of, r#"{"model":"claude-x","max_tokens":1e2,"messages":[]}"#),
        (of, r#"{"model":"claude-x","max_tokens":100,"messages":[],"metadata":{"user_id":"u"}}"#),
        ("anthropic-version: 2023-01-01\r\naccept-encoding: identity\r\n", ASK),
        (&format!("{of}anthropic-beta: a\r\n"), ASK),
        ("anthropic-version: 2023-06-01\r\naccept-encoding: gzip\r\n", ASK),
    ] {
        assert!(!hits(&world, headers, body).await, "{headers} {body}");
        assert!(hits(&world, headers, body).await, "{headers} {body}");
    }
    let mut elsewhere = world.connect().await;
    elsewhere.send(&world.request("POST", "/v1/messages", of, ASK)).await;
    world.upstream.asked().await.answer(200, HEAD, MESSAGE).await;
    assert_eq!(says(&elsewhere.answer().await), "miss");
}

#[tokio::test]
async fn a_call_says_itself_what_it_wants_of_the_cache() {
    let world = world().await;
    asked(&world, NOTHING, ASK, MESSAGE).await;
    assert!(hits(&world, "x-tidegate-cache: use\r\n", ASK).await);
    for no in ["off", "ues"] {
        assert_eq!(says(&asked(&world, &format!("x-tidegate-cache: {no}\r\n"), ASK, OF_CLAUDE_X).await), "off");
    }
    assert_eq!(answered(&world, NOTHING, ASK).await.text(), MESSAGE, "what went past the cache left nothing in it");
    assert_eq!(says(&asked(&world, "x-tidegate-cache: refresh\r\n", ASK, OF_CLAUDE_X).await), "miss");
    assert_eq!(answered(&world, NOTHING, ASK).await.text(), OF_CLAUDE_X);
}

#[tokio::test]
async fn it_is_off_unless_it_is_written() {
    let world = World::new().await;
    assert_eq!(says(&asked(&world, NOTHING, ASK, MESSAGE).await), "off");
    assert_eq!(says(&asked(&world, NOTHING, ASK, MESSAGE).await), "off");
    assert!(entries(&world, 2).await.iter().all(|entry| entry.cache == CacheUse::Off));
    assert!(world.answers.kept().is_empty());
}

#[tokio::test]
async fn calls_that_offer_tools_are_left_alone_unless_the_owner_says_otherwise() {
    let offers = |what: &str| format!(r#"{{"model":"claude-x","max_tokens":1,"messages":[],{what}}}"#);
    for (what, tools, is_kept) in [
        (r#""tools":[{"name":"rm"}]"#, false, false),
        (r#""mcp_servers":[{"url":"x"}]"#, false, false),
        (r#""t\u006fols":[{"name":"rm"}]"#, false, false),
        (r#""tools":[]"#, false, true),
        (r#""tools":[{"name":"rm"}]"#, true, true),
    ] {
        let world = cached(Terms { tools, ..Terms::default() }).await;
        asked(&world, NOTHING, &offers(what), MESSAGE).await;
        assert_eq!(hits(&world, NOTHING, &offers(what)).await, is_kept, "{what}, tools = {tools}");
    }
}

#[tokio::test]
async fn another_client_gets_nothing_unless_the_owner_says_so() {
    for shared in [false, true] {
        let world = cached(Terms { shared, ..Terms::default() }).await;
        let known = [(TOKEN, client()), ("tg-other", Client { name: "other".into(), ..client() })];
        let known = known.map(|(token, client)| (Sha256::digest(token).into(), Arc::new(client)));
        world.gateway.set_clients(known.into());
        asked(&world, NOTHING, ASK, MESSAGE).await;
        let mut other = world.connect().await;
        let request = world.request("POST", "/v1/messages?beta=true", NOTHING, ASK);
        other.send(&request.replace(&format!("x-api-key: {TOKEN}\r\n"), "x-api-key: tg-other\r\n")).await;
        if !shared {
            world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
        }
        assert_eq!(says(&other.answer().await), if shared { "hit" } else { "miss" });
    }
}

#[tokio::test]
async fn an_answer_ages_and_an_emergency_takes_older_ones() {
    let world = world().await;
    asked(&world, NOTHING, ASK, MESSAGE).await;
    world.skip(Duration::from_secs(3_590));
    assert!(hits(&world, NOTHING, ASK).await);
    world.skip(Duration::from_secs(10));
    world.gateway.set_emergency(Some(Timestamp::default()));
    assert!(hits(&world, NOTHING, ASK).await);
    world.gateway.set_emergency(None);
    assert!(!hits(&world, NOTHING, ASK).await);
    assert!(hits(&world, NOTHING, ASK).await, "the new one is young");
    world.gateway.set_emergency(Some(Timestamp::default()));
    world.skip(Duration::from_secs(86_400));
    assert!(!hits(&world, NOTHING, ASK).await);
}

#[tokio::test]
async fn what_is_only_on_the_shelf_is_found_there() {
    let world = world().await;
    asked(&world, NOTHING, ASK, MESSAGE).await;
    world.answers.shelve();
    assert!(hits(&world, NOTHING, ASK).await);
    world.skip(Duration::from_secs(3_600));
    assert!(!hits(&world, NOTHING, ASK).await);
}

#[tokio::test]
async fn an_answer_that_is_not_whole_and_good_is_given_once() {
    const DECLINED: &str =
        r#"{"type":"message","stop_reason":"refusal","content":[],"usage":{"input_tokens":1,"output_tokens":1}}"#;
    const PAUSED: &str =
        r#"{"type":"message","stop_reason":"pause_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    for (status, head, body) in [
        (400, JSON, r#"{"type":"error","error":{"type":"invalid_request_error"}}"#),
        (529, JSON, r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
        (200, JSON, DECLINED),
        (200, JSON, PAUSED),
        (200, JSON, r#"{"type":"message"}"#),
        (200, "content-type: text/html\r\n", MESSAGE),
        (200, "content-type: application/json\r\ncontent-encoding: rot13\r\n", MESSAGE),
        (
            200,
            "content-type: text/event-stream\r\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        ),
    ] {
        let world = world().await;
        let mut peer = world.call(NOTHING, ASK).await;
        world.upstream.asked().await.answer(status, head, body).await;
        assert_eq!(peer.answer().await.text(), body);
        assert!(!hits(&world, NOTHING, ASK).await, "{status} {head} {body}");
    }
    let world = world().await;
    let mut peer = world.call(NOTHING, ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}")).await;
    drop(asked);
    peer.rest().await;
    assert!(!hits(&world, NOTHING, ASK_STREAM).await, "a stream that was cut");
}

#[tokio::test]
async fn an_answer_too_large_to_keep_passes_whole() {
    let world = world().await;
    let large = format!(
        r#"{{"type":"message","text":"{}","usage":{{"input_tokens":1,"output_tokens":1}}}}"#,
        "x".repeat(7 << 20)
    );
    asked(&world, NOTHING, ASK, &large).await;
    assert_eq!(world.answers.kept()[0].body.len(), large.len());
    let larger = large.replace("\"text\":\"", &format!("\"text\":\"{}", "x".repeat(1 << 20)));
    asked(&world, NOTHING, &ASK.replace("100", "101"), &larger).await;
    assert_eq!(world.answers.kept().len(), 1);
}

#[tokio::test]
async fn a_packed_answer_is_given_again_as_it_came() {
    let world = world().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, MESSAGE.as_bytes()).expect("packed");
    let packed = packed.finish().expect("packed");
    let (accepts, head) = ("accept-encoding: gzip\r\n", format!("{JSON}content-encoding: gzip\r\n"));
    let mut peer = world.call(accepts, ASK).await;
    world.upstream.asked().await.answer_bytes(200, &head, &packed).await;
    assert_eq!(peer.answer().await.body, packed);
    let again = answered(&world, accepts, ASK).await;
    assert_eq!((&again.body, again.header("content-encoding")), (&packed, Some("gzip")));
}

#[tokio::test]
async fn a_hit_waits_neither_in_the_queue_nor_for_the_disk_nor_for_a_key() {
    let world = world().await;
    asked(&world, NOTHING, ASK, MESSAGE).await;
    world.gateway.pause(Class::Normal);
    world.books.durable.send_replace(false);
    *world.secrets.missing.lock().expect("secrets") = true;
    assert!(hits(&world, NOTHING, ASK).await);
}

#[tokio::test]
async fn a_hit_that_cannot_be_written_down_is_none() {
    let world = world().await;
    asked(&world, NOTHING, ASK, MESSAGE).await;
    *world.books.refuses_to_settle.lock().expect("books") = true;
    let refused = answered(&world, NOTHING, ASK).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "tidegate_ledger"));
}

/// Calls that come while the first one is out, and that one's request.
async fn together(world: &World, count: usize, body: &str) -> (Vec<Peer>, Asked) {
    let mut peers = vec![world.call(NOTHING, body).await];
    let asked = world.upstream.asked().await;
    for _ in 1..count {
        peers.push(world.call(NOTHING, body).await);
    }
    under_way(world, count).await;
    (peers, asked)
}

#[tokio::test]
async fn of_many_calls_that_come_together_one_goes_out() {
    let world = World::with(|config| config.cache = Some(Terms::default())).await;
    let (peers, mut asked) = together(&world, 1_000, ASK_STREAM).await;
    let whole = format!("{START}{DELTA}{END_DELTA}{STOP}");
    asked.start_stream().await;
    for event in [START, DELTA, END_DELTA, STOP] {
        asked.chunk(event).await;
    }
    asked.send("0\r\n\r\n").await;
    let mut said = vec![];
    for mut peer in peers {
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, whole.as_str()));
        said.push(says(&answer).to_owned());
    }
    assert_eq!(said.iter().filter(|said| *said == "miss").count(), 1);
    let entries = entries(&world, 1_000).await;
    assert_eq!(entries.iter().filter(|entry| entry.cache == CacheUse::Hit).count(), 999);
    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Completed));
    assert_eq!(world.books.openings().len(), 1);
}

#[tokio::test]
async fn calls_that_come_together_before_any_is_out_are_one_too() {
    let world = world().await;
    let mut peers = vec![];
    for _ in 0..50 {
        peers.push(world.call(NOTHING, ASK).await);
    }
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    for mut peer in peers {
        assert_eq!(peer.answer().await.text(), MESSAGE);
    }
    assert_eq!(world.books.openings().len(), 1);
}

#[tokio::test]
async fn where_the_first_fails_the_next_goes_out_and_nobody_else() {
    for cut in [false, true] {
        let world = world().await;
        let (mut peers, mut first) = together(&world, 5, ASK_STREAM).await;
        if cut {
            first.start_stream().await;
            first.chunk(START).await;
            drop(first);
        } else {
            first.answer(529, LAST, r#"{"type":"error"}"#).await;
        }
        let mut second = world.upstream.asked().await;
        assert!(world.upstream.is_idle().await, "the others wait for it");
        second.answer(200, "content-type: text/event-stream\r\n", &format!("{START}{END_DELTA}{STOP}")).await;
        let failed = peers.remove(0);
        for mut peer in peers {
            assert!(peer.answer().await.text().ends_with(STOP));
        }
        drop(failed);
        let entries = entries(&world, 5).await;
        assert_eq!(entries.iter().filter(|entry| entry.cache == CacheUse::Hit).count(), 3);
        assert_eq!(world.books.openings().len(), 2);
    }
}

#[tokio::test]
async fn where_the_first_ones_client_hangs_up_the_next_goes_out() {
    let world = world().await;
    let (mut peers, mut first) = together(&world, 3, ASK).await;
    drop(peers.remove(0));
    let mut second = world.upstream.asked().await;
    assert!(first.is_closed().await);
    second.answer(200, JSON, MESSAGE).await;
    for mut peer in peers {
        assert_eq!(peer.answer().await.text(), MESSAGE);
    }
}

#[tokio::test]
async fn an_answer_for_one_alone_lets_all_others_go_at_once() {
    let world = world().await;
    let (peers, mut first) = together(&world, 4, ASK).await;
    first.answer(400, LAST, r#"{"type":"error"}"#).await;
    let mut out = vec![];
    for _ in 1..4 {
        out.push(world.upstream.asked().await);
    }
    for mut asked in out {
        asked.answer(400, JSON, r#"{"type":"error"}"#).await;
    }
    for mut peer in peers {
        let answer = peer.answer().await;
        assert_eq!((answer.status, says(&answer)), (400, "miss"));
    }
}

#[tokio::test]
async fn nobody_waits_for_another_longer_than_for_its_turn() {
    let world = world().await;
    let (_peers, _first) = together(&world, 1, ASK).await;
    let mut hasty = world.call("x-tidegate-max-wait: 0.02\r\n", ASK).await;
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(says(&hasty.answer().await), "miss");
}

/// As if so much time had gone by for whoever waits.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn whoever_follows_an_answer_that_is_stuck_goes_its_own_way() {
    const STUCK: Duration = Duration::from_secs(10);
    let world = world().await;
    let (mut peers, mut first) = together(&world, 2, ASK_STREAM).await;
    pass(STUCK).await;
    assert!(world.upstream.is_idle().await, "one that has not begun is not stuck");
    first.start_stream().await;
    for _ in 0..3 {
        first.chunk(&format!("{START}{DELTA}")).await;
        peers[0].read_until(DELTA).await;
        pass(STUCK).await;
        assert!(world.upstream.is_idle().await, "it goes on, and slowly");
    }
    pass(STUCK).await;
    let whole = format!("{START}{DELTA}{END_DELTA}{STOP}");
    world.upstream.asked().await.answer(200, "content-type: text/event-stream\r\n", &whole).await;
    assert_eq!(says(&peers[1].answer().await), "miss");
    first.chunk(&format!("{END_DELTA}{STOP}")).await;
    peers[0].read_until(STOP).await;
}

#[tokio::test]
async fn nobody_waits_for_a_less_urgent_call() {
    let world = world().await;
    world.gateway.pause(Class::Background);
    let mut idle = world.call("x-tidegate-priority: background\r\n", ASK).await;
    under_way(&world, 1).await;
    let mut urgent = world.call(NOTHING, ASK).await;
    let mut asked = world.upstream.asked().await;
    let mut follower = world.call(NOTHING, ASK).await;
    under_way(&world, 3).await;
    asked.answer(200, LAST, MESSAGE).await;
    assert_eq!(says(&urgent.answer().await), "miss");
    assert_eq!(says(&follower.answer().await), "hit");
    world.gateway.resume(Class::Background);
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(says(&idle.answer().await), "miss");
}

#[tokio::test]
async fn what_is_kept_says_what_it_had_cost_and_no_more_than_it_needs() {
    let world = world().await;
    asked(&world, NOTHING, ASK, OF_CLAUDE_X).await;
    let kept = world.answers.kept();
    let StoredAnswer { headers, body, cost, .. } = &*kept[0];
    let names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
    assert_eq!((names, &body[..]), (vec!["content-type", "request-id"], OF_CLAUDE_X.as_bytes()));
    assert_eq!(*cost, Some(Usd::from_nanos(2_000_000)));
}
