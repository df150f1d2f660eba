//! A session that a person has paused waits, one that runs away is paused by itself, and a person lets both go on.

use std::time::Duration;

use serde_json::Value;
use support::http::Request;
use support::lab::{Lab, SETTINGS, body};

/// What runs away is seen within a minute.
const PATIENCE: Duration = Duration::from_secs(90);

fn of_session(lab: &Lab, session: &str) -> Request {
    lab.message(body(false)).header("x-claude-code-session-id", session)
}

fn paused(lab: &Lab) -> Value {
    lab.home.books().json(&["status", "--json"])["paused"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_session_waits_or_learns_why_and_goes_on_when_a_person_says_so_over_a_restart() {
    let mut lab = Lab::start();
    assert_eq!(lab.call(&of_session(&lab, "s-1")).await.status(), 200);
    let said = lab.home.tidegate(&["pause", "session:s-1"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("until `tidegate resume session:s-1`"), "{}", said.err);
    assert_eq!((&paused(&lab)[0]["scope"], &paused(&lab)[0]["waiting"]), (&"session:s-1".into(), &0.into()));
    let refused = lab.call(&of_session(&lab, "s-1").header("x-tidegate-max-wait", "1")).await;
    assert_eq!((refused.status(), refused.header("x-should-retry")), (429, Some("false")));
    let error = refused.json();
    assert_eq!(error["error"]["details"]["error_code"], "tidegate_held");
    assert!(
        error["error"]["message"].as_str().is_some_and(|why| why.contains("`tidegate resume session:s-1`")),
        "{error}"
    );
    assert_eq!(lab.call(&of_session(&lab, "s-2")).await.status(), 200);

    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    lab.restart().expect("it starts again");
    let lab = std::sync::Arc::new(lab);
    let held = tokio::spawn({
        let lab = lab.clone();
        async move { lab.call(&of_session(&lab, "s-1")).await }
    });
    Lab::until(PATIENCE, async || paused(&lab)[0]["waiting"] == 1).await.expect("it waits");
    assert_eq!(lab.home.tidegate(&["resume", "session:s-1"]).code, Some(0));
    let held = held.await.expect("no panic");
    assert_eq!(held.status(), 200);
    let why = lab.home.tidegate(&["why", held.header("x-tidegate-call").expect("an id")]);
    assert!(why.out.contains("it waited because somebody had paused it"), "{why:?}");
    assert_eq!(paused(&lab), Value::Array(vec![]));
    let again = lab.home.tidegate(&["resume", "session:s-1"]);
    assert!(again.code == Some(1) && again.err.contains("session:s-1 is not paused"), "{again:?}");
    let wrong = lab.home.tidegate(&["pause", "everything"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("session:ID or client:NAME"), "{wrong:?}");
}

#[tokio::test]
async fn a_session_that_runs_away_is_paused_where_the_settings_say_so_and_its_alert_tells_the_way_out() {
    let own = "[alerts]\nrunaway = \"pause\"\n[[alert]]\nmetric = \"runaway\"\nname = \"soon\"\nthresholds = [4]\n";
    let lab = Lab::with(&format!("{SETTINGS}\n{own}"), &["--scheme", "none"]);
    let mut turns = 0;
    let is_held = Lab::until(PATIENCE, async || {
        turns += 1;
        let longer = body(false).replace("Name three tides.", &"Name three tides. ".repeat(turns));
        let request = lab.message(longer).header("x-claude-code-session-id", "s-1").header("x-tidegate-max-wait", "1");
        tokio::time::sleep(Duration::from_secs(1)).await;
        lab.call(&request).await.status() == 429
    });
    is_held.await.expect("it is paused");
    assert!(turns > 4 && paused(&lab)[0]["scope"] == "session:s-1", "after {turns} turns");
    let alerts = lab.home.books().json(&["alert", "list", "--json"]);
    let alert =
        alerts.as_array().expect("a list").iter().find(|one| one["rule"] == "soon").expect("it is told").clone();
    assert_eq!(alert["action"], "resume_session:s-1");
    let message = alert["message"].as_str().expect("a sentence");
    assert!(message.contains("it is paused: `tidegate resume session:s-1` lets it go on"), "{message}");
    let refused = lab.call(&of_session(&lab, "s-1").header("x-tidegate-max-wait", "0")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(lab.home.tidegate(&["resume", "session:s-1"]).code, Some(0));
    assert_eq!(lab.call(&of_session(&lab, "s-1")).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_is_paused_waits_and_others_go_on() {
    let lab = Lab::start();
    let other = lab.home.client("other", &[]);
    let unknown = lab.home.tidegate(&["pause", "client:nobody"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("no client is named nobody"), "{unknown:?}");
    assert_eq!(lab.home.tidegate(&["pause", "client:other"]).code, Some(0));
    let held = Request::message(body(false)).header("x-api-key", &other).header("x-tidegate-max-wait", "0");
    assert_eq!(lab.call(&held).await.status(), 429);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    assert_eq!(lab.home.tidegate(&["resume", "client:other"]).code, Some(0));
    assert_eq!(lab.call(&held).await.status(), 200);
}
