//! What a week came to, with a gateway and without; and the digest, which reaches its channel once.

use std::time::Duration;

use support::books::nano_dollars;
use support::lab::{Lab, SETTINGS, body};

use crate::channels::Receiver;

const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_report_is_the_same_with_a_gateway_and_without_and_adds_up_with_the_usage() {
    let mut lab = Lab::start();
    for _ in 0..3 {
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    }
    let report = |lab: &Lab, args: &[&str]| lab.home.books().json(&[&["report"], args, &["--json"]].concat());
    let running = report(&lab, &[]);
    let cost = nano_dollars(&lab.home.books().usage()["total"]["cost_usd"]);
    assert!(cost > 0);
    assert_eq!((running["period"].as_str(), running["calls"].as_u64()), (Some("week"), Some(3)));
    assert_eq!(nano_dollars(&running["used_usd"]), cost);
    for kind in ["models", "clients", "projects"] {
        let parts = running[kind].as_array().expect("parts");
        assert_eq!(parts.iter().map(|part| nano_dollars(&part["cost_usd"])).sum::<i128>(), cost, "{kind}");
    }
    assert_eq!((&running["expected_usd"], &running["before_usd"]), (&().into(), &().into()), "the first week of all");
    assert_eq!(running["success"]["rate_limit_errors_seen"], 0);
    assert!(running["until"].as_str() < running["to"].as_str());
    assert_eq!(report(&lab, &["month"])["reasons"].as_array().map(Vec::is_empty), Some(false));

    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    let stopped = report(&lab, &[]);
    assert_eq!((&stopped["used_usd"], &stopped["models"]), (&running["used_usd"], &running["models"]));
    let last = report(&lab, &["week", "--last"]);
    assert_eq!((&last["to"], last["calls"].as_u64()), (&running["from"], Some(0)));
    let text = lab.home.tidegate(&["report"]);
    assert!(text.out.starts_with("Week of Mon ") && text.out.contains(" used in 3 calls"), "{}", text.out);
    assert!(text.out.contains("claude-sonnet-4-5"), "{}", text.out);
    let csv = lab.home.tidegate(&["report", "--csv"]);
    assert!(csv.out.lines().any(|line| line.contains(",model,claude-sonnet-4-5,3,")), "{}", csv.out);
    for (wrong, code, reason) in [
        (&["year"][..], 2, "invalid value 'year'"),
        (&["--from", "soon"], 2, "\"soon\" is neither a day"),
        (&["--from", "2999-01-01"], 2, "has not come yet"),
        (&["--last", "--from", "2026-01-01"], 2, "cannot be used with"),
    ] {
        let said = lab.home.tidegate(&[&["report"], wrong].concat());
        assert!(said.code == Some(code) && said.err.contains(reason), "{wrong:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_digest_that_was_missed_reaches_its_channel_late_and_once() {
    let receiver = Receiver::start(&[]).await;
    let settings = format!(
        "{SETTINGS}\n[alerts]\ndigest = [\"ops\"]\n[[budget]]\nscope = \"machine\"\nweekly_usd = 250\n\
         [[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://{}/hook\"\nallow_private = true\n",
        receiver.address
    );
    let mut lab = Lab::with(&settings, &["--scheme", "none"]);
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    let file = lab.home.data().join("digest.json");
    Lab::until(PATIENCE, async || file.exists()).await.expect("it begins");
    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    // As if it had last run in August.
    std::fs::write(&file, r#"{"day": 1786000000000, "week": 1786000000000, "month": 1786000000000}"#).expect("written");
    lab.restart().expect("it starts again");
    Lab::until(PATIENCE, async || receiver.bodies().len() == 1).await.expect("it is told late");
    let digest = receiver.bodies()[0]["alert"].clone();
    assert_eq!((&digest["rule"], &digest["scope"]), (&"digest".into(), &"machine week".into()));
    assert_eq!((&digest["severity"], &digest["resolved_at"]), (&"info".into(), &().into()));
    assert!(digest["message"].as_str().is_some_and(|text| text.contains("$0.00 used in 0 calls")), "{digest}");
    let told = |lab: &Lab| {
        let all = lab.home.books().json(&["alert", "list", "--json"]);
        let all = all.as_array().expect("alerts").clone();
        let of = |scope: &str| all.iter().filter(|alert| alert["scope"] == scope).count();
        (of("machine week"), of("machine month"), of("machine day") <= 1)
    };
    Lab::until(PATIENCE, async || told(&lab).0 == 1).await.expect("it is in the inbox");
    for _ in 0..2 {
        assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
        lab.restart().expect("it starts again");
        assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200);
    }
    assert_eq!((told(&lab), receiver.bodies().len()), ((1, 0, true), 1));
}
