//! Crises: what is scarce goes to critical calls, people hear of it before clients do, and leaving restores everything.

use std::time::Duration;

use domain::time::Timestamp;
use serde_json::Value;
use support::http::{self, Answer, Request};
use support::lab::{Lab, SETTINGS, body};

const SOON: Duration = Duration::from_secs(15);

fn status(lab: &Lab) -> Value {
    lab.home.books().json(&["status", "--json"])
}

fn message(token: &str) -> Request {
    Request::message(body(false)).header("x-api-key", token)
}

async fn call(lab: &Lab, token: &str) -> Answer {
    http::call(lab.gateway.address(), &message(token)).await.expect("an answer")
}

/// A call that is sent now and answered some time.
fn sent(lab: &Lab, token: &str) -> tokio::task::JoinHandle<Answer> {
    let (address, request) = (lab.gateway.address().to_owned(), message(token));
    tokio::spawn(async move { http::call(&address, &request).await.expect("an answer") })
}

async fn until(lab: &Lab, holds: impl Fn(&Value) -> bool) -> Value {
    let held = Lab::until(SOON, async || holds(&status(lab))).await;
    held.unwrap_or_else(|error| panic!("{error}: {}", status(lab)["emergency"]));
    status(lab)
}

fn moment(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().expect("a text")).expect("a time")
}

/// So many dollars of a week were spent before: a window of `spent / share` dollars has that share used.
fn window(spent: f64, share: f64) -> String {
    format!("\n[[upstream.windows]]\nname = \"week\"\nlimit_usd = {:.6}\nresets = \"Mon 00:00 UTC\"\n", spent / share)
}

fn add_to_settings(lab: &Lab, more: &str) {
    let file = lab.home.path("settings.toml");
    let text = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, text + more).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_95_percent_of_the_week_gone_critical_calls_succeed_background_waits_and_leaving_restores_everything() {
    let mut lab = Lab::start();
    let critical = lab.home.client("support", &["--priority", "critical"]);
    let background = lab.home.client("nightly", &["--priority", "background"]);
    for _ in 0..60 {
        assert_eq!(call(&lab, &lab.token).await.status(), 200);
    }
    let week = status(&lab)["spend"]["week_usd"].as_str().and_then(|usd| usd.parse().ok()).expect("a sum");
    lab.gateway.terminate(SOON);
    add_to_settings(&lab, &window(week, 0.955));
    lab.restart().expect("it starts again");

    let during = until(&lab, |status| status["emergency"]["active"] == true).await;
    let emergency = &during["emergency"];
    assert_eq!(emergency["causes"], serde_json::json!(["week"]), "{emergency}");
    assert!(emergency["reason"].as_str().expect("a reason").contains("of the window \"week\""), "{emergency}");
    assert_eq!(during["alerts"][0]["scope"], "week");
    let held = sent(&lab, &background);
    let during = until(&lab, |status| status["queue"]["background"]["waiting"] == 1).await;
    assert_eq!(during["emergency"]["calls_held"], 1);
    assert_eq!(during["queue"]["background"]["paused"], false, "nobody paused it by hand");
    // In the minutes before Monday a more patient call would wait for the next week.
    let refused = lab.call(&message(&lab.token).header("x-tidegate-max-wait", "5")).await;
    assert_eq!(refused.json()["error"]["details"]["error_code"], "tidegate_window_exhausted");
    assert_eq!(call(&lab, &critical).await.status(), 200);
    let shown = lab.home.tidegate(&["emergency", "status"]);
    assert!(shown.code == Some(0) && shown.out.contains("emergency since"), "{shown:?}");

    // A new limit in the settings is another week: its cause is gone, and with it the emergency.
    lab.gateway.terminate(Duration::from_secs(40));
    assert_ne!(held.await.expect("no panic").status(), 200);
    let settings = std::fs::read_to_string(lab.home.path("settings.toml")).expect("settings");
    let roomy = settings.replace(&window(week, 0.955), &window(week, 0.1));
    std::fs::write(lab.home.path("settings.toml"), roomy).expect("written");
    lab.restart().expect("it starts again");
    let off = lab.home.tidegate(&["emergency", "off", "--json"]);
    let after: Value = serde_json::from_str(&off.out).unwrap_or_else(|error| panic!("{error}: {off:?}"));
    assert_eq!(after["active"], false);
    assert_eq!(after["last"]["calls_held"], 1);
    assert!(after["last"]["spent_usd"].as_str().is_some_and(|usd| usd > "0.000000000"), "{after}");
    for token in [&critical, &lab.token, &background] {
        assert_eq!(call(&lab, token).await.status(), 200);
    }
    let after = status(&lab);
    assert!(moment(&after["alerts"][0]["resolved_at"]) >= moment(&after["alerts"][0]["crossed_at"]));
    assert_eq!(after["alerts"].as_array().expect("a list").len(), 1, "once per crossing, over both restarts");
    lab.home.books().verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hand_it_holds_background_calls_over_a_restart_until_it_is_left() {
    let mut lab = Lab::start();
    let background = lab.home.client("nightly", &["--priority", "background"]);
    lab.gateway.terminate(SOON);
    let on = lab.home.tidegate(&["emergency", "on", "--reason", "launch day"]);
    assert!(on.code == Some(0) && on.out.contains("entered by hand: launch day"), "{on:?}");
    lab.restart().expect("it starts again");
    let held = sent(&lab, &background);
    until(&lab, |status| status["queue"]["background"]["waiting"] == 1).await;
    assert_eq!(call(&lab, &lab.token).await.status(), 200);
    let resumed = lab.home.tidegate(&["resume", "background"]);
    assert!(resumed.code == Some(0) && resumed.err.contains("an emergency holds them"), "{resumed:?}");
    let resumed = lab.home.tidegate(&["resume", "normal"]);
    assert!(resumed.code == Some(0) && resumed.err.is_empty(), "{resumed:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(status(&lab)["queue"]["background"]["waiting"], 1, "to resume is not to leave");
    let token = std::fs::read_to_string(lab.home.data().join("api-token")).expect("a token");
    let switch = |body: &str, token: &str| {
        let request = Request::new("POST", "/tidegate/emergency").header("authorization", &format!("Bearer {token}"));
        request.header("content-type", "application/json").body(body)
    };
    assert_eq!(lab.call(&switch("{\"on\":false}", "wrong")).await.status(), 401);
    assert_eq!(lab.call(&switch("{\"off\":true}", token.trim())).await.status(), 400);
    let off = lab.call(&switch("{\"on\":false}", token.trim())).await;
    assert_eq!((off.status(), &off.json()["active"]), (200, &false.into()));
    assert_eq!(held.await.expect("no panic").status(), 200);
    let again = lab.home.tidegate(&["emergency", "off"]);
    assert!(again.code == Some(0) && again.out.contains("no emergency"), "{again:?}");
    lab.home.books().verify();
}

const FALLBACK: &str = r#"
[[upstream]]
name = "dead"
kind = "anthropic"
base_url = "http://127.0.0.1:1"
key = "file:KEYFILE"

[retry]
budget = 0

[[fallback]]
for = "normal"
upstreams = ["dead", "simulator"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn people_hear_of_a_failing_upstream_before_the_first_fallback_leaves() {
    let mut lab = Lab::with(&format!("{SETTINGS}{FALLBACK}"), &["--scheme", "none"]);
    let mut calls = vec![];
    for _ in 0..7 {
        let answer = call(&lab, &lab.token).await;
        assert_eq!((answer.status(), answer.header("x-tidegate-upstream")), (200, Some("simulator")));
        calls.push(answer.header("x-tidegate-call").expect("an id").to_owned());
    }
    let seen = status(&lab);
    let alerts = seen["alerts"].as_array().expect("a list");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["rule"], &alerts[0]["scope"]), (&"fallback".into(), &"upstream:dead".into()));
    let breakers = &seen["breakers"][0];
    assert_eq!((&breakers["upstream"], &breakers["state"]), (&"dead".into(), &"open".into()), "{seen}");
    let first = lab.home.books().json(&["why", &calls[0], "--json"]);
    let attempts = first["attempts"].as_array().expect("a list");
    let served = attempts.iter().find(|attempt| attempt["upstream"] == "simulator").expect("a fallback");
    assert!(moment(&alerts[0]["crossed_at"]) <= moment(&served["opened_at"]), "{alerts:?} {first}");
    lab.gateway.terminate(SOON);
    assert_eq!(status(&lab)["success"]["fallbacks_served"], 7, "those too that went straight to the second");
    lab.restart().expect("it starts again");
    assert_eq!(call(&lab, &lab.token).await.status(), 200);
    assert_eq!(status(&lab)["alerts"].as_array().expect("a list").len(), 1, "once per crossing, over a restart");
    lab.home.books().verify();
}
