//! A client that leaves frees what it held: its place in the queue, its call at the upstream.

use std::time::Duration;

use support::books::{simulator, simulator_sums};
use support::http::Connection;
use support::lab::{Lab, SETTINGS, body};

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn who_leaves_the_queue_makes_no_call() {
    let slow = format!("{SETTINGS}\n[[upstream.limits]]\nmodels = [\"claude-sonnet-*\"]\nrequests_per_minute = 2\n");
    let lab = Lab::with(&slow, &["--scheme", "none"]);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let mut waiting = Connection::open(lab.gateway.address()).await.expect("a connection");
    waiting.send(&lab.message(body(false)).to_bytes(lab.gateway.address())).await.expect("it is sent");
    Lab::until(SOON, async || in_queue(&lab, "waiting") == 1).await.expect("it waits");
    drop(waiting);
    Lab::until(SOON, async || in_queue(&lab, "waiting") == 0).await.expect("its place is free");
    Lab::until(SOON, async || outcomes(&lab) == ["cancelled", "completed"]).await.expect("it is booked as cancelled");
    assert_eq!(simulator_sums(&lab.simulator).await.calls, 1);
    lab.home.books().verify();
}

#[tokio::test]
async fn who_leaves_a_stream_ends_the_call_at_the_upstream() {
    let lab = Lab::start();
    let slow = r#"{"model":"claude-sonnet-4-5","max_tokens":2000,"stream":true,"messages":[{"role":"user","content":"Name tides. [[output 2000]] [[fault drip; ms=50]]"}]}"#;
    let mut connection = Connection::open(lab.gateway.address()).await.expect("a connection");
    connection.send(&lab.message(slow).to_bytes(lab.gateway.address())).await.expect("it is sent");
    let head = connection.read_head().await.expect("a head");
    assert_eq!(head.status, 200);
    Lab::until(SOON, async || in_queue(&lab, "running") == 1).await.expect("it runs");
    drop(connection);
    Lab::until(SOON, async || outcomes(&lab) == ["cancelled"]).await.expect("it is booked as cancelled");
    let call = lab.home.books().calls().remove(0);
    assert!(call["input_tokens"] != "0" && call["estimated"] == "true", "settled on what was metered: {call:?}");
    Lab::until(SOON, async || simulator(&lab.simulator, "/simulator/stats").await["running"] == 0)
        .await
        .expect("the upstream is told");
    assert_eq!(in_queue(&lab, "running"), 0);
    lab.home.books().verify();
}

fn in_queue(lab: &Lab, what: &str) -> u64 {
    lab.home.books().json(&["status", "--json"])["queue"]["normal"][what].as_u64().expect("a count")
}

fn outcomes(lab: &Lab) -> Vec<String> {
    let mut outcomes: Vec<_> = lab.home.books().calls().into_iter().map(|call| call["outcome"].clone()).collect();
    outcomes.sort();
    outcomes
}
