//! An answer that is given again costs nothing, is booked as what it is, and is there after a restart until it is cleared.

use std::time::Duration;

use support::books::{count, nano_dollars, simulator};
use support::http::{self, Answer};
use support::lab::{Lab, SETTINGS, body};
use tokio::task::JoinSet;

fn lab() -> Lab {
    Lab::with(&format!("{SETTINGS}\n[cache]\nenabled = true\n"), &["--scheme", "none"])
}

fn says(answer: &Answer) -> Option<&str> {
    answer.header("x-tidegate-cache")
}

async fn reached(lab: &Lab) -> u64 {
    count(&simulator(&lab.simulator, "/simulator/stats").await["calls"])
}

#[tokio::test]
async fn a_hit_is_booked_beside_the_cost_and_outlives_a_restart_until_it_is_cleared() {
    let mut lab = lab();
    for stream in [false, true] {
        let first = lab.call(&lab.message(body(stream))).await;
        assert_eq!((first.status(), says(&first)), (200, Some("miss")));
        let again = lab.call(&lab.message(body(stream))).await;
        assert_eq!((again.status(), says(&again), again.text()), (200, Some("hit"), first.text()));
        assert_eq!(
            (again.header("request-id"), again.header("x-tidegate-upstream")),
            (first.header("request-id"), None)
        );
    }
    let rows = lab.home.books().calls();
    let cells = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(cells("cache"), ["miss", "hit", "miss", "hit"]);
    assert_eq!(cells("attempts"), ["1", "0", "1", "0"]);
    assert_eq!((&cells("cost_usd")[1], &cells("cost_usd")[3]), (&"0.000000000".to_owned(), &"0.000000000".to_owned()));
    let total = lab.home.books().usage()["total"].clone();
    assert_eq!(count(&total["calls"]), 4);
    // Each of two answers was paid for once and given twice.
    assert_eq!(nano_dollars(&total["saved_usd"]), nano_dollars(&total["cost_usd"]));
    assert!(nano_dollars(&total["saved_usd"]) > 0);
    let cache = lab.home.books().json(&["status", "--json"])["cache"].clone();
    assert_eq!([&cache["hits"], &cache["misses"], &cache["calls_avoided"]].map(count), [2, 2, 2]);
    assert_eq!((cache["hit_rate"].as_f64(), &cache["saved_usd"]), (Some(0.5), &total["saved_usd"]));

    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    lab.restart().expect("it starts again");
    assert_eq!(says(&lab.call(&lab.message(body(true))).await), Some("hit"));
    assert_eq!(count(&lab.home.books().json(&["cache", "--json"])["answers"]), 2);
    assert_eq!(count(&lab.home.books().json(&["cache", "clear", "--json"])["answers"]), 2);
    assert_eq!(says(&lab.call(&lab.message(body(true))).await), Some("miss"));
    assert_eq!(reached(&lab).await, 3);

    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    assert_eq!(count(&lab.home.books().json(&["cache", "clear", "--json"])["answers"]), 1, "also where nothing runs");
    assert_eq!(count(&lab.home.books().json(&["cache", "--json"])["answers"]), 0);
    lab.home.books().verify();
}

#[tokio::test]
async fn a_thousand_same_calls_at_once_reach_the_upstream_once() {
    let lab = lab();
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let (address, request) = (lab.gateway.address().to_owned(), lab.message(body(true)));
        calls.spawn(async move { http::call(&address, &request).await.expect("an answer") });
    }
    let answers = calls.join_all().await;
    let first = answers[0].text();
    assert!(answers.iter().all(|answer| answer.whole && answer.text() == first));
    assert_eq!(answers.iter().filter(|answer| says(answer) == Some("hit")).count(), 999);
    assert_eq!(reached(&lab).await, 1);
}
