//! What would be, before it is done: other futures of a month's habits, last week's calls under another limit, and what an
//! upstream changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::call::Class;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use ledger::{Durability, Ledger, Observation, Options};
use serde_json::Value;
use support::books::{completed, count, nano_dollars};
use support::lab::{Home, Lab, SETTINGS, body};

const TIER: &str = "scheme = \"2025-09\"\ntier = \"1\"\n";

fn home(upstream: &str, more: &str) -> Home {
    let settings = SETTINGS.replace("key = ", &format!("{upstream}key = ")) + more;
    Home::new(&settings, "http://127.0.0.1:9")
}

async fn ledger(home: &Home) -> Ledger {
    let prices: domain::catalog::Catalog = domain::catalog::Catalog::new(vec![], vec![], vec![]);
    let options = Options { durability: Durability::Process, catalog: Arc::new(prices), calendar: Calendar::UTC };
    std::fs::create_dir_all(home.data()).expect("a data folder");
    Ledger::open(&home.data(), options).await.expect("a ledger").0
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(i64::try_from(since.as_millis()).expect("not that late"))
}

/// Each hour of five weeks one call of `web`, and three in the background of `nightly`.
async fn five_weeks(ledger: &Ledger) {
    let now = now();
    for hour in 0..5 * 168 {
        let at = now.before(Duration::from_secs(3_600 * hour + 60));
        for number in 0..4 {
            let (client, class) = if number == 0 { ("web", Class::Normal) } else { ("nightly", Class::Background) };
            ledger.settle(&completed(at, u128::from(hour) * 4 + number, client, class)).await.expect("settled");
        }
    }
}

/// One window's forecast as it is and as it would be: the middle of the total, in nano-dollars.
fn totals(home: &Home, window: &str, changes: &[&str]) -> [i128; 2] {
    let ifs: Vec<&str> = changes.iter().flat_map(|change| ["--if", change]).collect();
    let all = home.books().json(&[&["forecast", "--json"], &ifs[..]].concat());
    let both = all.as_array().expect("a list").iter().find(|both| both["before"]["window"] == window);
    let both = both.unwrap_or_else(|| panic!("no {window} in {all}"));
    [&both["before"], &both["after"]].map(|one| nano_dollars(&one["total"]["p50"]))
}

#[tokio::test]
async fn a_change_is_tried_on_every_window_before_it_is_made() {
    let home = home(TIER, "\n[[upstream.windows]]\nname = \"week\"\nlimit_usd = 4\nresets = \"Mon 00:00 UTC\"\n");
    let ledger = ledger(&home).await;
    five_weeks(&ledger).await;
    ledger.close().await.expect("closed");
    drop(ledger);
    for window in ["week", "tier", "spend month"] {
        let [before, paused] = totals(&home, window, &["pause background"]);
        let [_, stopped] = totals(&home, window, &["stop nightly"]);
        let [_, batched] = totals(&home, window, &["batch nightly"]);
        let [_, moved] = totals(&home, window, &["move 50% of nightly to claude-haiku-4-5"]);
        let [_, untouched] = totals(&home, window, &["pause critical"]);
        // Some moments lie between two answers.
        let is_same = |one: i128, other: i128| (one - other).abs() * 1_000 < before;
        assert!(is_same(paused, stopped), "{window}: nightly is all the background there is: {paused}, {stopped}");
        assert!(is_same(untouched, before), "{window}: {untouched}, {before}");
        assert!(paused < batched && batched < moved && moved < before, "{window}: {paused} {batched} {moved} {before}");
    }
    let raised = home.books().json(&["forecast", "--json", "--if", "limit week to 1000"]);
    let p = |of: &Value| of["p_runs_out"].as_f64().expect("a probability");
    let week = raised.as_array().expect("a list").iter().find(|both| both["before"]["window"] == "week").expect("week");
    assert!(p(&week["after"]) < 0.2, "{week}");
    assert_eq!(nano_dollars(&week["after"]["limit"]), 1_000_000_000_000);
    let said = home.tidegate(&["forecast", "--if", "pause background"]);
    assert!(said.out.contains("as it is:") && said.out.contains("changed:"), "{}", said.out);
}

#[tokio::test]
async fn what_cannot_be_tried_is_said_in_a_sentence() {
    let home = home("", "");
    for (change, reason) in [
        ("make it cheap", "is nothing that can be tried; what can: pause background;"),
        ("stop nobody", "no client is named \"nobody\""),
        ("move 10% to gpt-9", "\"gpt-9\" has no price"),
        ("limit week to 5", "there is no such window or budget; those that have a limit: none"),
    ] {
        let said = home.tidegate(&["forecast", "--if", change]);
        assert!(said.code == Some(2) && said.err.contains(reason), "{change}: {:?} {}", said.code, said.err);
    }
    for (args, reason) in [
        (&["shadow", "--tier", "9"][..], "has no tier \"9\"; it has"),
        (&["shadow", "--budget", "ci 5"], "is no budget: write a scope"),
        (&["shadow", "--priority", "ci"], "is no priority: write a client"),
        (&["shadow", "--upstream", "other"], "no upstream is named \"other\"; there are simulator"),
        (&["shadow", "--requests", "0"], "--requests is 0"),
    ] {
        let said = home.tidegate(args);
        assert!(said.code == Some(2) && said.err.contains(reason), "{args:?}: {:?} {}", said.code, said.err);
    }
}

#[tokio::test]
async fn last_weeks_calls_are_let_through_again_under_another_tier() {
    let home = home(TIER, "");
    let ledger = ledger(&home).await;
    // Two hundred calls in a minute, at noon of yesterday: none waits for the next day's budget. Tier 1 lets 50 a
    // minute through.
    let since_midnight = Duration::from_millis(now().as_millis().rem_euclid(86_400_000).unsigned_abs());
    let begin = now().before(since_midnight + Duration::from_secs(12 * 3_600));
    for number in 0..200 {
        let at = begin.after(Duration::from_millis(300 * number));
        ledger.settle(&completed(at, number.into(), "ci", Class::Normal)).await.expect("settled");
    }
    ledger.close().await.expect("closed");
    drop(ledger);
    let found = home.books().json(&["shadow", "--tier", "2", "--json"]);
    assert_eq!(count(&found["calls"]), 200);
    let [as_it_is, changed] = ["as_it_is", "changed"].map(|one| count(&found[one]["waited_ms"]));
    assert!(as_it_is > 1_000_000 && changed < as_it_is / 20, "{found}");
    let capped = home.books().json(&["shadow", "--budget", "client:ci day 0.375", "--json"]);
    assert_eq!(count(&capped["as_it_is"]["over_quota"]), 0);
    assert!((90..=110).contains(&count(&capped["changed"]["over_quota"])), "$0.375 are 100 calls: {capped}");
    let tiers = home.books().json(&["tier", "list", "--json"]);
    let account = &tiers["accounts"][0];
    assert_eq!(count(&account["waited_week_ms"]), as_it_is);
    assert_eq!(count(&account["waited_week_next_ms"]), changed);
}

#[tokio::test]
async fn a_subscriptions_week_is_forecast_and_what_it_changed_is_listed() {
    let home = home("", "");
    let ledger = ledger(&home).await;
    let now = now();
    let reset = now.after(Duration::from_secs(3 * 86_400));
    let seen = |hours_ago: u64, used: u32, resets_at: Timestamp| Observation {
        at: now.before(Duration::from_secs(3_600 * hours_ago)),
        window: "seven_day".into(),
        used,
        resets_at: Some(resets_at),
        session: String::new(),
    };
    let mut all: Vec<Observation> =
        (0..96).rev().map(|hour| seen(hour, 100 * u32::try_from(96 - hour).expect("small"), reset)).collect();
    // The week before, and then a reset that stood six hours later.
    let before = now.before(Duration::from_secs(98 * 3_600));
    let earlier = (98..266).map(|hour| seen(hour, 50 * u32::try_from(266 - hour).expect("small"), before));
    all.splice(0..0, earlier.rev());
    all.insert(168, seen(97, 50, reset.after(Duration::from_secs(21_600))));
    ledger.observe(&all).await.expect("observed");
    ledger.close().await.expect("closed");
    drop(ledger);
    let forecasts = home.books().json(&["forecast", "--json"]);
    let week = forecasts.as_array().expect("a list").iter().find(|one| one["window"] == "seven_day").expect("the week");
    assert_eq!(
        (&week["scope"], &week["unit"], &week["used"]),
        (&"subscription".into(), &"percent".into(), &96.0.into())
    );
    assert!(week["p_runs_out"].as_f64().is_some_and(|p| p > 0.5), "a percent an hour: {week}");
    let changes = home.books().json(&["changes", "--json"]);
    let [moved] = &changes.as_array().expect("a list")[..] else { panic!("{changes}") };
    assert_eq!((&moved["kind"], &moved["upstream"]), (&"reset_moved".into(), &"subscription".into()));
}

#[tokio::test]
async fn what_calls_could_have_cost_less_is_told_by_client_and_kind() {
    let home = home("", "");
    let ledger = ledger(&home).await;
    let now = now();
    for number in 0..10 {
        let (client, class) = if number < 4 { ("web", Class::Normal) } else { ("nightly", Class::Background) };
        ledger.settle(&completed(now, number, client, class)).await.expect("settled");
    }
    // 100 tokens in and 50 out, $0.00105.
    for number in 10..15 {
        let mut short = completed(now, number, "web", Class::Normal);
        short.usage.tokens.input = 100;
        short.cost = Some(Usd::from_nanos(1_050_000));
        ledger.settle(&short).await.expect("settled");
    }
    ledger.close().await.expect("closed");
    drop(ledger);
    let found = home.books().json(&["savings", "--json"]);
    let rows = found["rows"].as_array().expect("rows");
    let told: Vec<(&str, &str, u64)> = rows
        .iter()
        .map(|row| (row["client"].as_str().unwrap_or(""), row["kind"].as_str().unwrap_or(""), count(&row["calls"])))
        .collect();
    assert_eq!(told, [("nightly", "background", 6), ("web", "short", 5)], "{found}");
    // Six calls at half of $0.00375; five at a third of $0.00105.
    assert_eq!(nano_dollars(&rows[0]["saves_usd"]), 11_250_000);
    assert_eq!(nano_dollars(&rows[1]["saves_usd"]), 3_500_000);
    assert_eq!(nano_dollars(&found["saves_usd"]), 14_750_000);
    let said = home.tidegate(&["savings"]);
    assert!(
        said.out.contains("in the background: as batches") && said.out.contains("to claude-haiku-4-5"),
        "{}",
        said.out
    );
    let wrong = home.tidegate(&["savings", "--to-model", "gpt-9"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("\"gpt-9\" has no price"), "{}", wrong.err);
}

#[tokio::test]
async fn another_tier_that_headers_show_is_a_change() {
    let settings = SETTINGS.replace("key = ", &format!("{TIER}key = "));
    let mut lab = Lab::with(&settings, &["--scheme", "2025-09", "--tier", "1"]);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let learned = Lab::until(Duration::from_secs(60), async || {
        let limits = lab.home.books().json(&["status", "--json"]);
        limits["limits"].as_array().is_some_and(|all| all.iter().any(|limit| limit["source"] == "headers"))
    });
    learned.await.expect("headers were read");
    // What was learned is kept at the end; the next upstream has tier 2.
    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    let folder = tempfile::tempdir().expect("a folder");
    let second = support::lab::simulate(&["--scheme", "2025-09", "--tier", "2"], folder.path()).expect("it starts");
    let file = lab.home.path("settings.toml");
    let settings = std::fs::read_to_string(&file).expect("settings");
    std::fs::write(&file, settings.replace(&lab.simulator.url, &second.url)).expect("written");
    lab.simulator = second;
    lab.restart().expect("it starts again");
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let told = Lab::until(Duration::from_secs(60), async || {
        let changes = lab.home.books().json(&["changes", "--json"]);
        let kinds: Vec<&str> =
            changes.as_array().expect("a list").iter().filter_map(|one| one["kind"].as_str()).collect();
        kinds.contains(&"limit") && kinds.contains(&"tier")
    });
    told.await.expect("the change was seen");
    let changes = lab.home.books().json(&["changes", "--json"]);
    let tier = changes.as_array().expect("a list").iter().find(|one| one["kind"] == "tier").expect("a tier");
    assert_eq!((&tier["before"], &tier["after"]), (&"1".into(), &"2".into()));
}
