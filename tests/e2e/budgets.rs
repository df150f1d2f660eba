//! What may be spent: budgets and windows stop calls with their end, and a restart forgets nothing.

use std::time::Duration;

use serde_json::Value;
use support::books::{nano_dollars, simulator};
use support::http::{Answer, Request};
use support::lab::{Lab, SETTINGS, body};

const UNLIMITED: [&str; 2] = ["--scheme", "none"];

/// It doesn't wait for the next day's budget, as it would in the minutes before midnight.
fn impatient(request: &Request) -> Request {
    request.clone().header("x-tidegate-max-wait", "5")
}

/// Calls until one is refused, which must be soon.
async fn spend(lab: &Lab, request: &Request) -> Answer {
    let request = impatient(request);
    for _ in 0..100 {
        let answer = lab.call(&request).await;
        if answer.status() != 200 {
            return answer;
        }
    }
    panic!("nothing is ever refused: {}", status(lab)["windows"]);
}

fn status(lab: &Lab) -> Value {
    lab.home.books().json(&["status", "--json"])
}

fn window<'a>(status: &'a Value, name: &str) -> &'a Value {
    let windows = status["windows"].as_array().expect("windows");
    windows.iter().find(|window| window["name"] == name).unwrap_or_else(|| panic!("no {name} in {windows:?}"))
}

fn code(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    format!("{} {} {}", answer.status(), error["type"], error["details"]["error_code"]).replace('"', "")
}

#[tokio::test]
async fn a_spent_budget_refuses_its_clients_calls_with_its_end_and_no_others() {
    let settings = format!("{SETTINGS}\n[[budget]]\nscope = \"client:test\"\ndaily_usd = 0.01\n");
    let lab = Lab::with(&settings, &UNLIMITED);
    let other = lab.home.client("other", &[]);
    let refused = spend(&lab, &lab.message(body(false))).await;
    assert_eq!(code(&refused), "429 billing_error tidegate_budget_reached", "{}", refused.text());
    let says = refused.text();
    assert!(says.contains("daily budget") && says.contains("test") && says.contains("00:00 UTC"), "{says}");
    assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()), "{:?}", refused.head);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let id = refused.header("x-tidegate-call").expect("a call id");
    let why = lab.home.books().json(&["why", id, "--json"])["waited_for"].clone();
    let message = refused.json()["error"]["message"].clone();
    assert!(message.as_str().zip(why.as_str()).is_some_and(|(message, why)| message.contains(why)), "{why}: {message}");
    let status = status(&lab);
    let budget = window(&status, "client:test day");
    assert_eq!((budget["unit"].as_str(), budget["limit"].as_str()), (Some("usd"), Some("0.010000000")));
    assert_eq!(nano_dollars(&budget["used"]), nano_dollars(&status["spend"]["today_usd"]));
    let request = Request::message(body(false)).header("x-api-key", &other);
    assert_eq!(lab.call(&request).await.status(), 200);
}

#[tokio::test]
async fn a_budget_set_while_all_runs_counts_what_was_spent_before() {
    let lab = Lab::with(SETTINGS, &UNLIMITED);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    assert_eq!(lab.home.tidegate(&["client", "set", "test", "--monthly-usd", "0.000001"]).code, Some(0));
    let refused = lab.call(&impatient(&lab.message(body(false)))).await;
    assert_eq!(code(&refused), "429 billing_error tidegate_budget_reached", "{}", refused.text());
    assert_eq!(lab.home.tidegate(&["client", "set", "test", "--monthly-usd", "none"]).code, Some(0));
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
}

#[tokio::test]
async fn a_spent_week_gives_one_form_of_refusal_and_critical_calls_keep_their_reserve() {
    let week = "\n[[upstream.windows]]\nname = \"week\"\nlimit_tokens = 2_000\nresets = \"Mon 00:00 UTC\"\n[emergency]\nenter_week = 0.5\n";
    let lab = Lab::with(&format!("{SETTINGS}{week}"), &UNLIMITED);
    let critical = lab.home.client("door", &["--priority", "critical"]);
    let first = spend(&lab, &lab.message(body(false))).await;
    assert_eq!(code(&first), "429 rate_limit_error tidegate_window_exhausted", "{}", first.text());
    assert!(first.text().contains("Mon") && first.text().contains("00:00 UTC"), "{}", first.text());
    for stream in [false, true] {
        let again = lab.call(&impatient(&lab.message(body(stream)))).await;
        assert_eq!(
            (code(&again), again.json()["error"]["message"].clone()),
            (code(&first), first.json()["error"]["message"].clone())
        );
    }
    let request = Request::message(body(false)).header("x-api-key", &critical);
    assert_eq!(lab.call(&request).await.status(), 200);
    let status = status(&lab);
    let week = window(&status, "week");
    assert!(week["used"].as_u64().is_some_and(|used| (1_000..2_000).contains(&used)), "{week}");
    assert_eq!((week["limit"].as_u64(), week["upstream"].as_str()), (Some(2_000), Some("simulator")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_budgets_windows_pauses_and_reservations_and_draws_no_refusal() {
    let rules = "\n[[upstream.windows]]\nname = \"five\"\nlimit_usd = 5\nlength = \"5h\"\n[[budget]]\nscope = \"machine\"\nmonthly_usd = 9\n";
    let presumed = SETTINGS.replace("kind = \"anthropic\"", "kind = \"anthropic\"\nscheme = \"2025-09\"\ntier = \"1\"");
    let mut lab = Lab::with(&format!("{presumed}{rules}"), &["--scheme", "2025-09", "--tier", "1"]);
    for _ in 0..2 {
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    }
    let reserving = Request::new("POST", "/tidegate/reservations").header("x-api-key", &lab.token);
    let wanted = r#"{"calls":5,"model":"claude-sonnet-4-5","ttl":"10m"}"#;
    let reserved = lab.call(&reserving.body(wanted)).await;
    assert_eq!(reserved.status(), 200, "{}", reserved.text());
    assert_eq!(lab.home.tidegate(&["pause"]).code, Some(0));
    let before = status(&lab);
    assert_eq!(before["reservations"][0]["id"], reserved.json()["id"]);
    for crash in [true, false] {
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
        tokio::task::block_in_place(|| if crash { lab.gateway.kill() } else { ends_well(&mut lab) });
        lab.restart().expect("it starts again");
        // At once: the upstream's buckets still remember the last call.
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
        let after = status(&lab);
        for name in ["five", "machine month"] {
            let (was, is) = (window(&before, name), window(&after, name));
            assert_eq!((&is["used"], &is["resets_at"]), (&after["spend"]["month_usd"], &was["resets_at"]), "{name}");
        }
        assert_eq!(after["queue"]["background"]["paused"], true);
        assert_eq!(after["reservations"][0]["expires_at"], before["reservations"][0]["expires_at"]);
    }
    let stats = simulator(&lab.simulator, "/simulator/stats").await;
    assert_eq!(stats["refused"]["requests"], 0, "{stats}");
}

fn ends_well(lab: &mut Lab) {
    assert_eq!(lab.gateway.terminate(Duration::from_secs(35)), Some(0));
}

#[tokio::test]
async fn a_damaged_memory_is_no_reason_not_to_start() {
    let mut lab = Lab::with(SETTINGS, &UNLIMITED);
    lab.gateway.kill();
    std::fs::write(lab.home.data().join("learned.json"), "{\"version\": 1, \"limits\": [").expect("written");
    lab.restart().expect("it starts");
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
}

#[tokio::test]
async fn background_calls_leave_a_share_of_the_week_for_business_hours() {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    // 1970 began on a Thursday. The hours begin the day after tomorrow, well within the week's window.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let day = |ahead: u64| DAYS[((now / 86_400 + 3 + ahead) % 7) as usize];
    let window =
        format!("[[upstream.windows]]\nname = \"week\"\nlimit_tokens = 2_000\nresets = \"{} 12:00 UTC\"\n", day(4));
    let hours = format!("[background]\nbusiness_hours = \"{} 08:00-18:00\"\nshare_before_hours = 0.5\n", day(2));
    let lab = Lab::with(&format!("{SETTINGS}\n{window}{hours}"), &UNLIMITED);
    let night = lab.home.client("night", &["--priority", "background"]);
    let held = spend(&lab, &Request::message(body(false)).header("x-api-key", &night)).await;
    assert_eq!(code(&held), "429 rate_limit_error tidegate_held", "{}", held.text());
    assert!(held.text().contains("08:00 UTC") && held.header("x-should-retry") == Some("false"), "{}", held.text());
    assert!(held.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|after| after > 86_400)));
    let status = status(&lab);
    assert!(window_used(&status) <= 1_100, "half of it is left: {}", status["windows"]);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
}

fn window_used(status: &Value) -> u64 {
    window(status, "week")["used"].as_u64().expect("tokens")
}
