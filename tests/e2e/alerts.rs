//! What passes its mark is told once, over restarts, and listed and exported with and without a running gateway.

use std::time::Duration;

use serde_json::Value;
use support::books::parse_csv;
use support::http::Request;
use support::lab::{Lab, SETTINGS, body};

const SOON: Duration = Duration::from_secs(15);
const HEADER: &str = "alert_id,rule,scope,threshold,value,severity,crossed_at,resolved_at,channels";

fn alerts(lab: &Lab) -> Vec<Value> {
    lab.home.books().json(&["alert", "list", "--json"]).as_array().expect("a list").clone()
}

fn told_by(lab: &Lab, rule: &str) -> Vec<Value> {
    alerts(lab).into_iter().filter(|alert| alert["rule"] == rule).collect()
}

fn critical(lab: &Lab) -> Vec<Value> {
    let is_it = |alert: &Value| alert["rule"] == "budget" && alert["severity"] == "critical";
    alerts(lab).into_iter().filter(is_it).collect()
}

/// Just before midnight a call would wait for the next day's budget.
fn impatient(lab: &Lab) -> Request {
    lab.message(body(false)).header("x-tidegate-max-wait", "5")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_fills_is_told_once_over_restarts_listed_snoozed_and_exported() {
    let own = "[[alert]]\nmetric = \"spend.day.client:test\"\nthresholds = [0.002]\nchannels = []\nname = \"mine\"\n";
    let settings = format!("{SETTINGS}\n[[budget]]\nscope = \"client:test\"\ndaily_usd = 0.01\n{own}");
    let mut lab = Lab::with(&settings, &["--scheme", "none"]);
    // A look at what was there before comes first.
    let looked = Lab::until(SOON, async || lab.home.data().join("alert-rules.json").exists()).await;
    looked.expect("the rules have looked");
    for _ in 0..100 {
        if lab.call(&impatient(&lab)).await.status() != 200 {
            break;
        }
    }
    Lab::until(SOON, async || critical(&lab).len() == 1)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:?}", alerts(&lab)));
    let told = critical(&lab).remove(0);
    assert_eq!((&told["scope"], &told["threshold"]), (&Value::from("client:test day"), &Value::from("0.9")));
    assert!(
        told["message"].as_str().is_some_and(|text| text.contains("of the day's budget of client \"test\"")),
        "{told}"
    );
    let own = || alerts(&lab).iter().filter(|alert| alert["rule"] == "mine").count();
    Lab::until(SOON, async || own() == 1).await.expect("the user's own rule");
    for crash in [true, false] {
        tokio::task::block_in_place(|| {
            if crash { lab.gateway.kill() } else { assert!(lab.gateway.terminate(SOON).is_some()) }
        });
        let listed = lab.home.tidegate(&["alert", "list"]);
        assert!(listed.code == Some(0) && listed.out.contains("the day's budget"), "{listed:?}");
        lab.restart().expect("it starts again");
        assert_ne!(lab.call(&impatient(&lab)).await.status(), 200);
        assert_eq!(critical(&lab).len(), 1, "{:?}", alerts(&lab));
    }
    let csv = |lab: &Lab| lab.home.tidegate(&["export", "alerts", "--client", "test"]).out;
    let while_running = csv(&lab);
    let rows = parse_csv(&while_running);
    assert!(while_running.starts_with(HEADER) && rows.len() >= 3, "{while_running}");
    let id = told["alert_id"].as_str().expect("an id");
    let snoozed = lab.home.books().json(&["alert", "snooze", id, "--json"]);
    assert_eq!(snoozed[0]["snoozed_until"], told["resets_at"], "until the budget begins anew");
    lab.gateway.terminate(SOON);
    assert_eq!(csv(&lab), while_running);
    let unknown = lab.home.tidegate(&["alert", "snooze", "nothing"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("no alert begins with \"nothing\""), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_told_with_the_call_that_found_it_out_and_over_with_the_next_good_one() {
    let lab = Lab::start();
    let refused = |lab: &Lab| told_by(lab, "key_refused");
    let call = async |fault: &str| {
        let wish = body(false).replace("Name three tides.", &format!("[[fault {fault}]]"));
        lab.call(&lab.message(wish)).await.status()
    };
    assert_eq!(call("authentication").await, 401, "it passes unchanged");
    assert_eq!(call("authentication").await, 401);
    let told = refused(&lab);
    let [one] = &told[..] else { panic!("{told:?}") };
    let message = one["message"].as_str().expect("a message");
    assert!(message.starts_with("upstream \"simulator\" refuses the key (401)") && message.contains("file:"), "{one}");
    assert_eq!((&one["severity"], &one["resolved_at"]), (&"critical".into(), &Value::Null));
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    assert!(refused(&lab)[0]["resolved_at"].is_string(), "an answer shows that the key is taken");
    assert_eq!(call("permission").await, 403);
    assert_eq!(refused(&lab).len(), 1, "not again within the hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_used_up_at_the_upstream_is_told_with_the_call_that_found_it_out() {
    let lab = Lab::start();
    let capped = |lab: &Lab| told_by(lab, "capped");
    let wish = body(false).replace("Name three tides.", "[[fault spend_cap]]");
    assert_eq!(lab.call(&lab.message(wish)).await.status(), 429, "it passes unchanged");
    let told = capped(&lab);
    let [one] = &told[..] else { panic!("{told:?}") };
    let message = one["message"].as_str().expect("a message");
    assert!(message.contains("its tier allows in a month") && message.contains("-01, 00:00 UTC"), "{one}");
    assert_eq!((&one["severity"], &one["resolved_at"]), (&"critical".into(), &Value::Null));
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    assert!(capped(&lab)[0]["resolved_at"].is_string(), "an answer shows that there is money again");
}
