//! The settings file while a gateway runs: changed with its comments kept, in force at once where it can be, told where not.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::http::{Answer, Request};
use support::lab::{Lab, SETTINGS, body};

const COMMENTED: &str = "\n# what the shop may spend, see the wiki\n[[budget]] # nightly\nscope = \"client:nobody\"\ndaily_usd = 5 # agreed\n";

fn lab() -> Lab {
    Lab::with(&format!("{SETTINGS}{COMMENTED}"), &["--scheme", "none"])
}

fn text(lab: &Lab) -> String {
    fs::read_to_string(lab.home.path("settings.toml")).expect("settings")
}

fn state(lab: &Lab) -> Value {
    lab.home.books().json(&["status", "--json"])["settings"].clone()
}

/// The file is looked at every other second.
async fn until(lab: &Lab, wanted: &str) -> Value {
    for _ in 0..200 {
        let state = state(lab);
        if state["state"] == wanted {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the settings are never {wanted}: {}", state(lab));
}

fn bearer(lab: &Lab) -> String {
    let token = fs::read_to_string(lab.home.data().join("api-token")).expect("the API's token");
    format!("Bearer {}", token.trim())
}

fn api(lab: &Lab, method: &str, body: &Value) -> Request {
    let request = Request::new(method, "/tidegate/settings").header("authorization", &bearer(lab));
    if method == "GET" { request } else { request.body(body.to_string()) }
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["details"]["error_code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_preset_is_shown_before_it_is_taken_and_a_wrong_name_is_told_those_that_there_are() {
    let lab = lab();
    let before = text(&lab);
    let shown = lab.home.tidegate(&["settings", "preset", "solo", "--dry-run"]);
    assert!(shown.out.contains("tidegate settings set budget[scope=machine].daily_usd \"50\""), "{shown:?}");
    let unknown = lab.home.tidegate(&["settings", "preset", "Solo"]);
    assert_eq!((unknown.code, unknown.err.contains("there are solo, saas, batch")), (Some(2), true), "{unknown:?}");
    assert_eq!(text(&lab), before);
    let taken = lab.home.tidegate(&["settings", "preset", "solo"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    let after = text(&lab);
    assert!(before.lines().all(|line| after.lines().any(|kept| kept == line)), "{after}");
    assert!(after.contains("daily_usd = 50") && after.contains("quiet_hours = \"22:00-07:00\""), "{after}");
}

#[tokio::test]
async fn a_budget_set_in_the_file_refuses_the_next_call_and_comments_stay() {
    let lab = lab();
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let before = text(&lab);
    let set = lab.home.tidegate(&["settings", "set", "budget[scope=client:test].daily_usd", "0.000001"]);
    assert_eq!((set.code, set.out.as_str()), (Some(0), ""), "{set:?}");
    let after = format!("{before}\n[[budget]]\nscope = \"client:test\"\ndaily_usd = 0.000001\n");
    assert_eq!((text(&lab), fs::read_to_string(lab.home.path("settings.toml.bak")).ok()), (after, Some(before)));
    // In the minutes before midnight it would wait for the next day's.
    let refused = lab.call(&lab.message(body(false)).header("x-tidegate-max-wait", "5")).await;
    assert_eq!((refused.status(), code(&refused)), (429, "tidegate_budget_reached".to_owned()), "{}", refused.text());
    let spent = lab.home.books().json(&["status", "--json"]);
    let window =
        |name: &str| spent["windows"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name)).cloned();
    assert_eq!(
        window("client:test day").expect("a budget")["used"],
        spent["spend"]["today_usd"],
        "what was spent before counts"
    );
    let unset = lab.home.tidegate(&["settings", "unset", "budget[scope=client:test]"]);
    assert_eq!(unset.code, Some(0), "{unset:?}");
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    assert!(text(&lab).ends_with(COMMENTED), "{}", text(&lab));
    assert_eq!(state(&lab), json!({"state": "in_force", "problem": null, "waits_for_restart": []}));
}

#[tokio::test]
async fn wrong_settings_change_nothing_and_are_told_until_they_are_right() {
    let lab = lab();
    let before = text(&lab);
    for (path, value, says) in [
        (
            "alerts.token_warning",
            "80",
            "line 21: token_warning in [alerts] must be a number from 0 to 1, for example token_warning = 0.80",
        ),
        ("gateway.max_wiat", "5m", "did you mean max_wait?"),
        ("upstream[name=simulator].key", "sk-ant-canary-0123456789", "never the secret itself"),
        ("budget.daily_usd", "1", "there may be several budget"),
    ] {
        let refused = lab.home.tidegate(&["settings", "set", path, value]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(says) && !refused.err.contains("canary"), "{}", refused.err);
    }
    assert_eq!(text(&lab), before);
    fs::write(lab.home.path("settings.toml"), format!("{before}\n[alerts]\ntoken_warning = 8\n")).expect("written");
    let wrong = until(&lab, "wrong").await;
    assert_eq!(wrong["problem"]["line"], json!(before.matches('\n').count() + 3), "{wrong}");
    let said = lab.home.tidegate(&["status"]).out;
    assert!(said.contains("! the settings file is wrong, the old settings stay in force: line "), "{said}");
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    fs::write(lab.home.path("settings.toml"), format!("{before}\n[alerts]\ntoken_warning = 0.7\n")).expect("written");
    until(&lab, "in_force").await;
    let rules = lab.call(&Request::new("GET", "/tidegate/rules").header("authorization", &bearer(&lab))).await.text();
    assert!(rules.contains("\"at\":\"0.7\""), "in force at once: {rules}");
}

#[tokio::test]
async fn what_waits_for_a_restart_is_named_and_a_restart_takes_it() {
    let mut lab = lab();
    let set = lab.home.tidegate(&["settings", "set", "timeouts.idle", "20s"]);
    assert!(set.err.contains("wait until the gateway starts again: timeouts"), "{set:?}");
    assert_eq!(state(&lab), json!({"state": "changed", "problem": null, "waits_for_restart": ["timeouts"]}));
    lab.gateway.terminate(Duration::from_secs(10));
    lab.gateway = lab.home.serve(&["--api"]).expect("the gateway starts again");
    assert_eq!(state(&lab)["state"], "in_force");
}

#[tokio::test]
async fn over_http_a_change_needs_the_token_and_the_file_that_was_shown() {
    let lab = lab();
    let shown = lab.call(&api(&lab, "GET", &Value::Null)).await.json();
    let section =
        |name: &str| shown["sections"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name)).cloned();
    let budget = section("budget").expect("a budget");
    assert_eq!((budget["path"].as_str(), budget["fields"][1]["value"].as_str()), (Some("budget[#1]"), Some("5")));
    assert!(!shown.to_string().contains("canary"), "no secret is shown");
    let change = |hash: &Value, value: &str| json!({"hash": hash, "changes": [{"path": "budget[#1].daily_usd", "value": value}]});
    let stranger = Request::new("POST", "/tidegate/settings").body(change(&shown["hash"], "6").to_string());
    assert_eq!(lab.call(&stranger).await.status(), 401);
    let refused = lab.call(&api(&lab, "POST", &change(&shown["hash"], "lots"))).await;
    assert_eq!((refused.status(), refused.json()["refused"][0]["path"].as_str()), (400, Some("budget[#1].daily_usd")));
    assert_eq!(lab.call(&api(&lab, "POST", &change(&shown["hash"], "6"))).await.status(), 200);
    assert!(text(&lab).contains("daily_usd = 6 # agreed"), "{}", text(&lab));
    let late = lab.call(&api(&lab, "POST", &change(&shown["hash"], "7"))).await;
    assert_eq!(late.status(), 500);
    assert!(late.text().contains("was changed by someone else"), "{}", late.text());
}
