//! A client's own retry of a call that waits, or that it gave up in the queue.

use std::time::Duration;

use domain::call::{CallId, Class, Outcome};

use crate::support::{Peer, World};
use crate::{ASK, JSON, MESSAGE};

/// A world in which calls wait until somebody resumes their class.
async fn shut() -> World {
    let world = World::new().await;
    world.stop_the_clock();
    world.gateway.pause(Class::Normal);
    world
}

async fn try_number(world: &World, tries: u32) -> Peer {
    world.call(&format!("x-stainless-retry-count: {tries}\r\n"), ASK).await
}

/// The ids of those who wait, once there are so many.
async fn waiting(world: &World, count: usize) -> Vec<CallId> {
    loop {
        let waiting = world.gateway.waiting();
        if waiting.len() == count {
            return waiting.iter().map(|call| call.call).collect();
        }
        tokio::task::yield_now().await;
    }
}

async fn serve(world: &World, mut peer: Peer) -> String {
    world.gateway.resume(Class::Normal);
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    let answer = peer.answer().await;
    assert_eq!(answer.status, 200);
    answer.header("x-tidegate-call").expect("an id").to_owned()
}

#[tokio::test]
async fn a_call_that_is_given_up_and_sent_again_at_once_is_counted_once() {
    let world = shut().await;
    let first = try_number(&world, 0).await;
    let ids = waiting(&world, 1).await;
    drop(first);
    waiting(&world, 0).await;
    assert!(world.books.entries().is_empty(), "its entry is held open for a moment");
    let second = try_number(&world, 1).await;
    assert_eq!(waiting(&world, 1).await, ids);
    assert_eq!(serve(&world, second).await, ids[0].to_string());
    let entry = world.books.entry().await;
    assert_eq!((entry.call.id, entry.outcome), (ids[0], Outcome::Completed));
    assert_eq!(world.gateway.live().len(), 1);
}

#[tokio::test]
async fn a_call_that_comes_back_later_keeps_its_turn_and_makes_a_row_of_its_own() {
    let world = shut().await;
    let first = try_number(&world, 0).await;
    let ids = waiting(&world, 1).await;
    world.skip(Duration::from_secs(20));
    drop(first);
    waiting(&world, 0).await;
    world.skip(Duration::from_millis(900));
    let cancelled = world.books.entry().await;
    assert_eq!((cancelled.call.id, cancelled.outcome, cancelled.status), (ids[0], Outcome::Cancelled, 0));
    assert_eq!((cancelled.waited_ms, cancelled.total_ms), (20_000, 20_000), "it ended when its caller went");
    world.skip(Duration::from_secs(30));
    let second = try_number(&world, 1).await;
    assert_ne!(waiting(&world, 1).await, ids);
    assert!(world.gateway.waiting()[0].waited >= Duration::from_secs(50), "its turn goes by the first");
    drop(second);
    waiting(&world, 0).await;
    let third = try_number(&world, 2).await;
    waiting(&world, 1).await;
    assert!(world.gateway.waiting()[0].waited >= Duration::from_secs(50), "and that of the third too");
    serve(&world, third).await;
    let entries = world.books.until(|books| books.entries().len() == 2).await.entries();
    assert_eq!(entries[1].waited_ms, 0, "its own wait is its own");

    world.gateway.pause(Class::Normal);
    drop(try_number_waiting(&world).await);
    waiting(&world, 0).await;
    world.skip(Duration::from_secs(61));
    let _late = try_number(&world, 1).await;
    waiting(&world, 1).await;
    assert!(world.gateway.waiting()[0].waited < Duration::from_secs(10), "after a minute it is forgotten");
}

#[tokio::test]
async fn a_call_that_the_upstream_had_refused_leaves_its_turn_and_keeps_its_row() {
    let world = World::new().await;
    world.stop_the_clock();
    let first = try_number(&world, 0).await;
    world.upstream.asked().await.answer(429, &format!("{JSON}retry-after: 40\r\n"), r#"{"type":"error"}"#).await;
    let ids = waiting(&world, 1).await;
    world.skip(Duration::from_secs(20));
    let _other = try_number(&world, 1).await;
    assert!(waiting(&world, 2).await.contains(&ids[0]), "its row is in the books: it is not taken over");
    drop(first);
    waiting(&world, 1).await;
    let entry = world.books.entry().await;
    assert_eq!((entry.call.id, entry.outcome, entry.attempts.len()), (ids[0], Outcome::Cancelled, 1));
    let _second = try_number(&world, 1).await;
    assert!(!waiting(&world, 2).await.contains(&ids[0]));
    assert_eq!(world.gateway.waiting()[0].waited, Duration::from_secs(20));
}

async fn try_number_waiting(world: &World) -> Peer {
    let peer = try_number(world, 0).await;
    waiting(world, 1).await;
    peer
}

#[tokio::test]
async fn a_retry_of_a_call_that_still_waits_takes_its_place() {
    let world = shut().await;
    let mut first = try_number(&world, 0).await;
    let ids = waiting(&world, 1).await;
    world.skip(Duration::from_secs(20));
    let second = try_number(&world, 1).await;
    let answer = first.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (409, "tidegate_sent_again"));
    assert_eq!(waiting(&world, 1).await, ids);
    assert!(world.gateway.waiting()[0].waited >= Duration::from_secs(20));
    assert_eq!(serve(&world, second).await, ids[0].to_string());
    let entry = world.books.entry().await;
    assert_eq!((entry.call.id, entry.outcome), (ids[0], Outcome::Completed));
    assert!(entry.waited_ms >= 20_000);
}

#[tokio::test]
async fn calls_with_the_same_body_side_by_side_leave_each_other_alone() {
    let world = shut().await;
    let _first = try_number(&world, 0).await;
    waiting(&world, 1).await;
    let _second = try_number(&world, 0).await;
    waiting(&world, 2).await;
    let _third = try_number(&world, 1).await;
    waiting(&world, 3).await;
    assert!(world.books.entries().is_empty());
}

#[tokio::test]
async fn a_client_that_counts_no_tries_is_not_waited_for() {
    let world = shut().await;
    let first = world.call("", ASK).await;
    let ids = waiting(&world, 1).await;
    drop(first);
    waiting(&world, 0).await;
    let _second = try_number(&world, 1).await;
    assert_ne!(waiting(&world, 1).await, ids);
    let entry = world.books.entry().await;
    assert_eq!((entry.call.id, entry.outcome), (ids[0], Outcome::Cancelled), "no time has gone by");
}

#[tokio::test]
async fn a_gateway_that_drains_or_goes_holds_no_entry_open() {
    for drains in [true, false] {
        let world = shut().await;
        drop(try_number_waiting(&world).await);
        waiting(&world, 0).await;
        if drains {
            world.gateway.drain(Duration::ZERO).await;
            assert_eq!(world.books.entries().len(), 1);
        }
        let World { gateway, books, .. } = world;
        drop(gateway);
        assert_eq!(books.entry().await.outcome, Outcome::Cancelled);
    }
}
