//! The ledger and the upstream's own reports agree to the nano-dollar, and where they don't the reason is named.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::time::{Calendar, Timestamp};
use serde_json::{Value, json};
use support::http::Request;
use support::lab::{Lab, SETTINGS, body};

/// A gateway whose settings have an admin key.
fn start() -> Lab {
    let settings = format!("{SETTINGS}admin_key = \"file:KEYFILE-admin\"\n");
    let lab = Lab::with(&settings, &["--scheme", "none"]);
    fs::write(lab.home.path("key-admin"), "sk-ant-admin01-canary").expect("written");
    fs::set_permissions(lab.home.path("key-admin"), fs::Permissions::from_mode(0o600)).expect("made private");
    lab
}

/// Today, or so many days ago, in UTC.
fn day(ago: u64) -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let millis = i64::try_from((since_1970 - Duration::from_secs(ago * 86_400)).as_millis()).expect("a time");
    Calendar::UTC.day(Timestamp::from_millis(millis)).to_string()
}

/// Of the last two days: the calls may come about midnight.
fn reconciled(lab: &Lab) -> Value {
    let view = lab.home.books().json(&["reconcile", "--json", "--from", &day(1), "--to", &day(0)]);
    assert_eq!(view["accounts"].as_array().map(Vec::len), Some(1), "{view}");
    view["accounts"][0].clone()
}

#[tokio::test]
async fn calls_agree_with_the_reports_and_what_another_key_used_is_named_exactly() {
    let lab = start();
    for stream in [false, true, false] {
        assert_eq!(lab.call(&lab.message(body(stream))).await.status(), 200);
    }
    let cached = json!({"model": "claude-sonnet-4-5", "max_tokens": 32, "messages": [{"role": "user", "content": "x"}],
        "system": [{"type": "text", "text": "tide ".repeat(3_000), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]});
    for _ in 0..2 {
        assert_eq!(lab.call(&lab.message(cached.to_string())).await.status(), 200);
    }
    let account = reconciled(&lab);
    assert_eq!((&account["difference_usd"], &account["causes"]), (&json!("0.000000000"), &json!([])), "{account}");
    assert_ne!(account["reported_usd"], "0.000000000");
    let classes: Vec<&str> =
        account["lines"].as_array().expect("lines").iter().filter_map(|line| line["class"].as_str()).collect();
    assert!(classes.contains(&"cache_write_1h") && classes.contains(&"cache_read"), "{classes:?}");

    let used = json!({"api_key": "laptop", "workspace_id": "wrkspc_9", "model": "claude-opus-4-1",
        "input_tokens": 1_000, "output_tokens": 200, "person": "anna@example.com"});
    let switch =
        Request::new("POST", "/simulator/used").header("content-type", "application/json").body(used.to_string());
    assert_eq!(lab.direct(&switch).await.status(), 204);
    let account = reconciled(&lab);
    let causes = account["causes"].as_array().expect("causes");
    let [cause] = causes.as_slice() else { panic!("one cause: {account}") };
    let said = (&cause["cause"], &cause["tokens"], &cause["usd"], &cause["workspace"], &cause["explained"]);
    assert_eq!(said, (&json!("other_key"), &json!(1_200), &json!("0.030000000"), &json!("wrkspc_9"), &json!(true)));
    assert!(cause["says"].as_str().is_some_and(|says| says.contains("laptop")), "{cause}");
    assert_eq!(account["difference_usd"], "0.030000000");
    assert_eq!(account["people"][0]["person"], "anna@example.com");
    assert_eq!(account["people"][0]["verdict"], "elsewhere");

    let (today, yesterday) = (day(0), day(1));
    assert_eq!(account["reconciled_to"], yesterday.as_str(), "today isn't over");
    let usage = lab.home.tidegate(&["usage"]);
    assert!(usage.out.contains(&format!("reconciled to {yesterday}")), "{}", usage.out);
    let shown = lab.home.tidegate(&["reconcile", "--from", &today, "--to", &today]);
    assert!(shown.out.contains("used with another key (laptop"), "{shown:?}");
    assert!(shown.out.contains("isn't over") && !shown.out.contains("left to explain"), "{shown:?}");
}

#[tokio::test]
async fn a_plain_key_reads_no_report_and_is_never_shown() {
    let lab = start();
    fs::write(lab.home.path("key-admin"), "sk-ant-api03-canary").expect("written");
    let said = lab.home.tidegate(&["reconcile"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("answered 401") && said.err.contains("admin key"), "{said:?}");
    assert!(!said.err.contains("canary"), "{said:?}");
}
