//! What was bought and spent says when the month is full and the next tier comes; forecasts say when windows run out.

use std::time::Duration;

use support::books::{count, nano_dollars};
use support::http::{self, Request};
use support::lab::{Home, Lab, SETTINGS, body};

fn lab(tier: &str) -> Lab {
    let settings = SETTINGS.replace("[[upstream]]\n", &format!("[[upstream]]\n{tier}\n"));
    assert_ne!(settings, SETTINGS);
    Lab::with(&settings, &["--scheme", "none"])
}

#[tokio::test]
async fn purchases_advance_a_tier_of_a_deposit_scheme_and_outlive_a_restart() {
    let mut lab = lab("scheme = \"2025-09\"\ntier = \"1\"");
    let tier = |lab: &Lab, args: &[&str]| lab.home.books().json(&[&["tier"], args, &["--json"]].concat());
    let before = tier(&lab, &["list"]);
    assert_eq!((&before["accounts"][0]["tier"], &before["accounts"][0]["balance_usd"]), (&"1".into(), &().into()));
    let names: Vec<&str> =
        before["schemes"].as_array().expect("schemes").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["2025-09", "2026-03", "2026-06"]);
    assert_eq!(before["schemes"][0]["tiers"][0]["requests"], 50);
    assert_eq!(nano_dollars(&before["schemes"][1]["tiers"][3]["monthly_cap_usd"]), 200_000_000_000_000);

    tier(&lab, &["purchase", "add", "5", "--date", "2026-01-01"]);
    tier(&lab, &["reload", "1", "10"]);
    for _ in 0..3 {
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    }
    let after = tier(&lab, &["list"])["accounts"][0].clone();
    let cost = nano_dollars(&lab.home.books().usage()["total"]["cost_usd"]);
    assert!(cost > 0);
    assert_eq!(nano_dollars(&after["balance_usd"]), 5_000_000_000 - cost);
    assert_eq!(nano_dollars(&after["month_usd"]), cost);
    assert_eq!((&after["next_tier"], nano_dollars(&after["next_missing_usd"])), (&"2".into(), 35_000_000_000));

    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    lab.restart().expect("it starts again");
    let bought = tier(&lab, &["purchase", "add", "$35.00"])["accounts"][0].clone();
    assert_eq!((&bought["tier"], nano_dollars(&bought["monthly_cap_usd"])), (&"2".into(), 500_000_000_000));
    assert_eq!(bought["purchases"].as_array().map(Vec::len), Some(2));
    let forecasts = lab.home.books().json(&["forecast", "--json"]);
    let month =
        forecasts.as_array().and_then(|all| all.iter().find(|one| one["window"] == "tier")).expect("the tier's month");
    assert_eq!(nano_dollars(&month["limit"]), 500_000_000_000, "the cap of the tier that was bought");
    for (wrong, reason) in [
        (&["purchase", "add", "-5"][..], "more than $0"),
        (&["purchase", "add", "1000000.01"], "a purchase is $1,000,000 at most"),
        (&["purchase", "add", ""], "\"\" is not an amount"),
        (&["reload", "5", "2000000"], "a reload is $1,000,000 at most"),
        (&["purchase", "add", "0"], "more than $0"),
        (&["purchase", "add", "five"], "not an amount"),
        (&["purchase", "add", "5", "--date", "2999-01-01"], "has not come yet"),
        (&["purchase", "add", "5", "--upstream", "other"], "no upstream with a tier is named"),
        (&["reload", "5"], "say how much is bought each time"),
    ] {
        let said = lab.home.tidegate(&[&["tier"], wrong].concat());
        assert!(said.code == Some(2) && said.err.contains(reason), "{wrong:?}: {}", said.err);
    }
}

#[tokio::test]
async fn purchases_are_written_down_listed_and_taken_back_over_http_and_by_hand() {
    let settings = SETTINGS.replace("[[upstream]]\n", "[[upstream]]\nscheme = \"2025-09\"\ntier = \"1\"\n");
    let home = Home::new(&settings, "http://127.0.0.1:9");
    let server = home.serve(&["--api"]).expect("it starts");
    let token = std::fs::read_to_string(home.data().join("api-token")).expect("a token");
    let ask = async |method: &str, target: &str, body: &str| {
        let request = Request::new(method, &format!("/tidegate/{target}"));
        let request = request.header("authorization", &format!("Bearer {}", token.trim())).body(body);
        http::call(server.address(), &request).await.expect("an answer")
    };
    let added = ask("POST", "purchases", r#"{"usd": "40", "date": "2026-11-02"}"#).await;
    assert_eq!(added.status(), 200, "{}", added.text());
    let one = &added.json()[0];
    assert_eq!(
        (&one["id"], &one["upstream"], nano_dollars(&one["usd"])),
        (&"1".into(), &"simulator".into(), 40_000_000_000)
    );
    assert_eq!(ask("GET", "purchases", "").await.json(), added.json());
    for (method, target, body, status, reason) in [
        ("POST", "purchases", r#"{"usd": "2000000"}"#, 400, "a purchase is $1,000,000 at most"),
        ("POST", "purchases", r#"{"usd": 40}"#, 400, "send {"),
        ("POST", "purchases", "", 400, "send {"),
        ("PUT", "purchases", "", 400, "DELETE /tidegate/purchases/ID"),
        ("DELETE", "purchases", "", 400, "DELETE /tidegate/purchases/ID"),
        ("DELETE", "purchases/nine", "", 404, "there is no purchase"),
    ] {
        let answer = ask(method, target, body).await;
        assert!(answer.status() == status && answer.text().contains(reason), "{method} {target}: {}", answer.text());
    }
    let listed = home.tidegate(&["tier", "purchase", "list"]);
    assert!(listed.out.contains("$40.00") && listed.out.contains("simulator"), "{}", listed.out);
    assert_eq!(ask("DELETE", "purchases/1", "").await.status(), 200);
    assert_eq!(ask("DELETE", "purchases/1", "").await.status(), 404, "it is gone");
    let by_hand = home.tidegate(&["tier", "purchase", "add", "5"]);
    assert!(by_hand.err.contains("`tidegate tier purchase remove 2` takes it back"), "{}", by_hand.err);
    let back = home.tidegate(&["tier", "purchase", "remove", "2"]);
    assert!(back.code == Some(0) && back.err.contains("`tidegate tier purchase add 5 --date"), "{}", back.err);
    assert_eq!(home.books().json(&["tier", "purchase", "list", "--json"]), serde_json::json!([]));
}

#[tokio::test]
async fn what_the_next_tier_would_have_saved_follows_calls_and_purchases() {
    let lab = lab("scheme = \"2025-09\"\ntier = \"1\"");
    let two_at_once = async || {
        let (one, other) = (lab.message(body(false)), lab.message(body(false)));
        let (one, other) = tokio::join!(lab.call(&one), lab.call(&other));
        assert!(one.status() == 200 && other.status() == 200);
    };
    let waits = |args: &[&str]| {
        let tiers = lab.home.books().json(&[&["tier"], args, &["--json"]].concat());
        let account = &tiers["accounts"][0];
        [&account["waited_week_ms"], &account["waited_week_next_ms"]].map(count)
    };
    two_at_once().await;
    let [first, first_next] = waits(&["list"]);
    assert!(first > 500 && first_next < 200, "one of them waits for its turn: {first}, {first_next}");
    assert_eq!(waits(&["list"]), [first, first_next], "nothing has changed");
    two_at_once().await;
    let [both, both_next] = waits(&["list"]);
    assert!(both > first + 500, "calls have come since: {both}, {first}");
    // Tier 3 takes 2,000 calls a minute where tier 2 takes 1,000.
    let [same, tier_three] = waits(&["purchase", "add", "40"]);
    assert!(same == both && tier_three < both_next, "tier 2 is bought: {same}, {both}; {tier_three}, {both_next}");
}

#[tokio::test]
async fn a_forecast_of_a_young_window_says_that_it_is_young() {
    let settings = SETTINGS.to_owned() + "\n[[budget]]\nscope = \"machine\"\nweekly_usd = 250\n";
    let lab = Lab::with(&settings, &["--scheme", "none"]);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let all = lab.home.books().json(&["forecast", "--json"]);
    let week =
        all.as_array().and_then(|all| all.iter().find(|one| one["window"] == "week")).expect("the budget").clone();
    assert_eq!(
        (&week["scope"], &week["unit"], &week["informative"]),
        (&"machine".into(), &"usd".into(), &false.into())
    );
    assert_eq!(nano_dollars(&week["limit"]), 250_000_000_000);
    assert_eq!(nano_dollars(&week["used"]), nano_dollars(&lab.home.books().usage()["total"]["cost_usd"]));
    let nothing = serde_json::json!({"p10": null, "p50": null, "p90": null});
    for told in ["runs_out", "left_at_reset", "total"] {
        assert_eq!(week[told], nothing, "no digits that nothing bears: {week}");
    }
    assert_eq!((&week["p_runs_out"], &week["text"]), (&().into(), &"too early to tell".into()));
    assert!(week["basis"].as_str().is_some_and(|basis| basis.contains("it takes a week of them (168)")), "{week}");
    let month =
        all.as_array().and_then(|all| all.iter().find(|one| one["window"] == "spend month")).expect("spending").clone();
    assert_eq!((&month["limit"], &month["p_runs_out"]), (&().into(), &().into()));
    assert_eq!((&month["total"], &month["left_at_reset"]), (&nothing, &().into()));
    let shown = lab.home.tidegate(&["forecast"]);
    assert!(shown.out.contains("machine week: $0.0") && shown.out.contains("too early to tell"), "{}", shown.out);
    assert_eq!(count(&lab.home.books().usage()["total"]["calls"]), 1);
}
