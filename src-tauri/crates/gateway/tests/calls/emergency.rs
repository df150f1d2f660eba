//! What an emergency does to calls, and who hears of an outage before clients do.

use std::time::Duration;

use domain::call::Outcome;
use domain::time::Timestamp;
use gateway::{Fallback, Whose};

use crate::failures::{
    OVERLOADED, answer_each, answer_none_but, break_it, unretried, wait_for, with_second, with_text,
};
use crate::support::World;
use crate::{ASK, JSON, MESSAGE};

const BACKGROUND: &str = "x-tidegate-priority: background\r\nx-tidegate-max-wait: 30\r\n";

fn since() -> Option<Timestamp> {
    Timestamp::parse("2026-11-26T09:30:00Z")
}

#[tokio::test]
async fn background_calls_wait_for_its_end_and_others_go_on() {
    let world = World::new().await;
    world.gateway.set_emergency(since());
    let mut background = world.call(BACKGROUND, ASK).await;
    wait_for(&world, 1).await;
    let mut normal = world.call("", ASK).await;
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!(normal.answer().await.status, 200);
    assert!(background.is_silent().await);
    assert_eq!(world.gateway.held_by_emergency(), 1);
    world.gateway.set_emergency(None);
    answer_each(&world, &[(200, MESSAGE)]).await;
    assert_eq!(background.answer().await.status, 200);
}

#[tokio::test]
async fn one_that_can_wait_no_longer_learns_what_is_on_since_when_and_how_to_end_it() {
    let world = World::new().await;
    world.stop_the_clock();
    world.gateway.set_emergency(since());
    let mut peer = world.call(BACKGROUND, ASK).await;
    wait_for(&world, 1).await;
    world.skip(Duration::from_secs(31));
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "tidegate_emergency"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    let text = answer.text();
    for words in ["background calls wait", "2026-11-26T09:30:00.000Z", "tidegate emergency off"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Refused, Some("tidegate_emergency")));
    assert_eq!(world.watch.told(), ["- tidegate_emergency"]);
}

#[tokio::test]
async fn one_with_a_configured_text_gets_that_instead_of_the_refusal() {
    let world = World::with(with_text).await;
    world.stop_the_clock();
    world.gateway.set_emergency(since());
    let mut peer = world.call(BACKGROUND, ASK).await;
    wait_for(&world, 1).await;
    world.skip(Duration::from_secs(31));
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.header("x-tidegate-upstream")), (200, Some("static")));
    assert!(answer.text().contains("A person will answer."));
    assert_eq!(answer.header("x-tidegate-waited-ms"), Some("31000"));
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.attempts[0].number), (Outcome::Completed, 2), "the first was passed over");
}

#[tokio::test]
async fn whoever_watches_hears_of_a_fallback_before_its_answer_is_there() {
    let (world, second) = with_second(unretried).await;
    let mut peer = world.call("", ASK).await;
    answer_each(&world, &[(529, OVERLOADED)]).await;
    let asked = second.asked().await;
    assert_eq!(world.watch.told(), ["fake to second: overloaded_error"]);
    let mut asked = asked;
    asked.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
    let entry = world.books.entry().await;
    let attempts: Vec<_> =
        entry.attempts.iter().map(|attempt| (attempt.number, &*attempt.upstream, attempt.error.as_deref())).collect();
    assert_eq!(attempts, [(1, "fake", Some("overloaded_error")), (2, "second", None)]);
}

#[tokio::test]
async fn a_call_that_goes_straight_to_the_second_says_so_by_the_number_of_its_attempt() {
    let (world, second) = with_second(|config| {
        unretried(config);
        let both = |name: &str| Fallback { whose: Whose::Client(name.into()), upstreams: vec![0, 1], text: None };
        config.fallbacks = vec![both("ci")];
        config.upstreams[0].base_url = "http://127.0.0.1:1".into();
        config.rules.breaker.failures = 1;
    })
    .await;
    for tried in [true, false] {
        let mut peer = world.call("", ASK).await;
        answer_none_but(&second).await;
        assert_eq!(peer.answer().await.status, 200);
        let entry = world.books.entries().pop().expect("an entry");
        let numbers: Vec<u32> = entry.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, if tried { vec![1, 2] } else { vec![2] });
    }
    let told = world.watch.told();
    assert_eq!(told, ["fake to second: unreachable", "fake to second: tidegate_breaker_open"]);
}

#[tokio::test]
async fn whoever_watches_hears_whose_open_breaker_turns_a_call_away() {
    let world = World::with(unretried).await;
    world.stop_the_clock();
    break_it(&world).await;
    assert!(world.watch.told().is_empty(), "an upstream's own answer is no refusal of ours");
    let answer = world.call("x-tidegate-max-wait: 60\r\n", ASK).await.answer().await;
    assert_eq!(answer.status, 529);
    assert_eq!(world.watch.told(), ["fake tidegate_breaker_open"]);
}

/// A window of the first upstream that is spent, as it says itself.
async fn spend_the_window(world: &World) {
    let reset = world.now().timestamp.as_millis() / 1_000 + 7_200;
    let spent = format!(
        "{JSON}anthropic-ratelimit-unified-5h-utilization: 1.0\r\nanthropic-ratelimit-unified-5h-reset: {reset}\r\n"
    );
    let mut peer = world.call("", ASK).await;
    world.upstream.asked().await.answer(200, &spent, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
}

#[tokio::test]
async fn whose_window_is_spent_goes_to_the_second_and_is_refused_only_where_there_is_none() {
    let (world, second) = with_second(|_| ()).await;
    spend_the_window(&world).await;
    let mut peer = world.call("", ASK).await;
    let mut asked = second.asked().await;
    assert_eq!(world.watch.told(), ["fake to second: tidegate_window_exhausted"]);
    asked.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.header("x-tidegate-upstream"), Some("second"));
    assert!(world.upstream.is_idle().await);

    let world = World::new().await;
    spend_the_window(&world).await;
    world.books.durable.send_replace(false);
    let mut peer = world.call("", ASK).await;
    assert!(peer.is_silent().await);
    assert_eq!(world.watch.told(), ["- tidegate_window_exhausted"], "before the client hears of it");
    world.books.durable.send_replace(true);
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "tidegate_window_exhausted"));
}
