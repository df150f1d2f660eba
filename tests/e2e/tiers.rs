//! What was bought and spent says when the month is full and the next tier comes; forecasts say when windows run out.

use std::time::Duration;

use support::books::{count, nano_dollars};
use support::lab::{Lab, SETTINGS, body};

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
    for (wrong, reason) in [
        (&["purchase", "add", "-5"][..], "unexpected argument"),
        (&["purchase", "add", "0"], "more than $0"),
        (&["purchase", "add", "five"], "not an amount"),
        (&["purchase", "add", "5", "--date", "2999-01-01"], "has not come yet"),
        (&["purchase", "add", "5", "--upstream", "other"], "no upstream with a tier is named"),
        (&["reload", "5"], "say how much is bought each time"),
    ] {
        let said = lab.home.tidegate(&[&["tier"], wrong].concat());
        assert!(said.code != Some(0) && said.err.contains(reason), "{wrong:?}: {}", said.err);
    }
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
    let p = week["p_runs_out"].as_f64().expect("a probability");
    assert!(p > 0.0 && p < 1.0, "no certainty: {week}");
    assert!(week["basis"].as_str().is_some_and(|basis| basis.contains("straight line")), "{week}");
    let month =
        all.as_array().and_then(|all| all.iter().find(|one| one["window"] == "spend month")).expect("spending").clone();
    assert_eq!((&month["limit"], &month["p_runs_out"]), (&().into(), &().into()));
    let [least, most] = ["p10", "p90"].map(|end| nano_dollars(&month["total"][end]));
    assert!(least <= most && least >= nano_dollars(&month["used"]) - 1, "{month}");
    let shown = lab.home.tidegate(&["forecast"]);
    assert!(shown.out.contains("machine week: $0.0") && shown.out.contains("too early to tell"), "{}", shown.out);
    assert_eq!(count(&lab.home.books().usage()["total"]["calls"]), 1);
}
