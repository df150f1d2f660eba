//! What is told, kept and forgotten, over restarts and with a clock that jumps.

use domain::alert::Turn;
use domain::time::Instant;

use super::*;
use crate::{data, settings};

fn at(seconds: u64) -> Now {
    let timestamp = Timestamp::from_millis(1_790_000_000_000).after(std::time::Duration::from_secs(seconds));
    Now { instant: Instant::from_nanos(seconds * 1_000_000_000), timestamp }
}

fn open(dir: &Path, text: &str, seconds: u64) -> Alerts {
    let settings = settings::parse(text, &data::schemes().expect("tiers")).expect("legal");
    Alerts::told_by(dir, &settings, |_| true, at(seconds))
}

fn crossing(scope: &str) -> Crossing {
    Crossing {
        sign: Sign::Breaker,
        scope: scope.to_owned(),
        threshold: String::new(),
        value: "tidegate_breaker_open".to_owned(),
        message: "m".to_owned(),
    }
}

/// A week of the upstream, so full.
fn week(alerts: &Alerts, value: &str, seconds: u64) {
    let turn = Turn { since: at(0).timestamp, resets_at: at(604_800).timestamp };
    let reading = Reading::of("upstream:a", "week", value.parse().expect("a figure"));
    alerts.judge(Sign::Window, &[Reading { turn: Some(turn), ..reading }], at(seconds));
}

/// `rule threshold severity`, with a dash where it is over; the earliest first.
fn told(alerts: &Alerts) -> Vec<String> {
    let line = |alert: &AlertView| {
        let over = if alert.resolved_at.is_some() { " -" } else { "" };
        format!("{} {} {}{over}", alert.rule, alert.threshold, alert.severity)
    };
    alerts.latest(99).iter().rev().map(line).collect()
}

#[test]
fn a_crossing_is_told_once_until_it_is_resolved_and_across_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    alerts.cross(crossing("a"), at(0));
    alerts.cross(crossing("a"), at(1));
    alerts.cross(crossing("b"), at(2));
    let again = open(dir.path(), "", 3);
    again.cross(crossing("a"), at(3));
    assert_eq!(again.latest(9).len(), 2);
    again.resolve(Sign::Breaker, "a", at(4));
    again.resolve(Sign::Breaker, "a", at(5));
    assert_eq!(open(dir.path(), "", 5).open_scopes(Sign::Breaker), ["b"]);
    let last = open(dir.path(), "", 6);
    last.cross(crossing("a"), at(6));
    let told: Vec<_> =
        last.latest(9).into_iter().map(|alert| (alert.scope, alert.crossed_at, alert.resolved_at)).collect();
    assert_eq!(told[0], ("a".to_owned(), at(6).timestamp.to_string(), None));
    assert_eq!(told[2], ("a".to_owned(), at(0).timestamp.to_string(), Some(at(4).timestamp.to_string())));
    let latest = &last.latest(1)[0];
    assert_eq!((latest.channels.as_slice(), latest.severity.as_str()), (&["desktop".to_owned()][..], "critical"));
    assert_eq!((latest.message.as_str(), latest.value.as_str()), ("m", "tidegate_breaker_open"));
}

#[test]
fn a_window_is_told_of_once_over_a_restart_and_one_that_was_full_before_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    week(&alerts, "0.5", 1);
    week(&alerts, "0.81", 2);
    let again = open(dir.path(), "", 3);
    week(&again, "0.82", 3);
    week(&again, "0.91", 4);
    assert_eq!(told(&again), ["window 0.8 warning", "window 0.9 critical"]);
    assert_eq!(
        again.latest(1)[0].message,
        "91.0 % of the week of upstream \"a\" is used; it begins anew Mon 2026-09-28 14:13 UTC"
            .replace("UTC", again.calendar.zone_name())
    );
    let fresh = tempfile::tempdir().expect("a folder");
    let first = open(fresh.path(), "", 0);
    week(&first, "0.85", 1);
    assert!(told(&first).is_empty());
}

#[test]
fn where_what_was_seen_is_lost_the_open_alerts_still_know_what_was_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    week(&alerts, "0.5", 1);
    week(&alerts, "0.81", 2);
    std::fs::write(dir.path().join(MEMORY_FILE), "{{").expect("written");
    let again = open(dir.path(), "", 3);
    week(&again, "0.82", 3);
    week(&again, "0.1", 4);
    assert_eq!(told(&again), ["window 0.8 warning -"]);
}

#[test]
fn an_alert_whose_rule_is_gone_is_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = "[[alert]]\nmetric = \"breaker\"\nname = \"own\"\nthresholds = [1]\nseverity = \"emergency\"";
    open(dir.path(), own, 0).cross(crossing("a"), at(1));
    assert_eq!(told(&open(dir.path(), "", 2)), ["breaker  critical", "own  emergency -"]);
}

#[test]
fn channels_get_what_is_theirs_and_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"https://example.com/x?y=1\"\n\
        [[alert]]\nmetric = \"breaker\"\nname = \"own\"\nthresholds = [1]\nchannels = [\"ops\"]";
    let alerts = open(dir.path(), text, 0);
    let mut deliveries = alerts.deliveries();
    alerts.cross(crossing("a"), at(1));
    alerts.resolve(Sign::Breaker, "a", at(2));
    let mut got = vec![];
    while let Ok(Delivery { alert, channels }) = deliveries.try_recv() {
        got.push((
            alert.rule,
            channels.iter().map(ToString::to_string).collect::<Vec<_>>(),
            alert.resolved_at.is_some(),
        ));
    }
    let ops = || vec!["ops".to_owned()];
    let expected = [("breaker", false), ("own", false), ("breaker", true), ("own", true)];
    assert_eq!(got, expected.map(|(rule, over)| (rule.to_owned(), ops(), over)));
    let channels: Vec<_> = alerts.latest(9).into_iter().map(|alert| alert.channels.join(" ")).collect();
    assert_eq!(channels, ["ops", "desktop ops"]);
}

#[test]
fn quiet_hours_hold_a_warning_back_until_they_end() {
    let dir = tempfile::tempdir().expect("a folder");
    // It begins at 14:13:20 UTC.
    let alerts = open(dir.path(), "[gateway]\ntimezone = \"UTC\"\n[alerts]\nquiet_hours = \"14:00-15:00\"", 0);
    week(&alerts, "0.5", 1);
    week(&alerts, "0.81", 2);
    let channels = |alerts: &Alerts| alerts.latest(1)[0].channels.join(" ");
    alerts.deliver_late(at(3));
    assert_eq!(channels(&alerts), "");
    alerts.deliver_late(at(3_000));
    assert_eq!(channels(&alerts), "desktop");
    week(&alerts, "0.91", 10);
    assert_eq!(channels(&alerts), "desktop", "critical ones wait for nothing");
}

#[test]
fn a_snooze_keeps_what_follows_from_the_channels_until_it_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    week(&alerts, "0.5", 1);
    week(&alerts, "0.81", 2);
    let id = alerts.latest(1)[0].alert_id.clone();
    let snoozed = alerts.snooze(&id[..20], None, at(3).timestamp).expect("one alert");
    assert_eq!(snoozed.snoozed_until, Some(at(604_800).timestamp.to_string()), "until the reset");
    alerts.snooze(&id, Some(at(100).timestamp), at(3).timestamp).expect("one alert");
    week(&alerts, "0.91", 10);
    assert!(alerts.latest(1)[0].held && alerts.latest(1)[0].channels.is_empty());
    alerts.deliver_late(at(99));
    assert!(alerts.latest(1)[0].held);
    alerts.deliver_late(at(100));
    assert_eq!(alerts.latest(1)[0].channels, ["desktop"]);
    let error = alerts.snooze("nothing", None, at(3).timestamp).expect_err("no such alert");
    assert!(error.reason.starts_with("no alert begins with nothing"), "{error}");
}

#[test]
fn a_clock_that_goes_back_repeats_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 100);
    for seconds in [100, 0, 200] {
        alerts.cross(crossing("a"), at(seconds));
    }
    assert_eq!(alerts.latest(9).len(), 1);
}

#[test]
fn they_do_not_grow_without_bound_and_damage_forgets_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    alerts.lock().all = vec![AlertView::default(); ALERTS_MAX];
    alerts.cross(crossing("last"), at(0));
    assert_eq!(alerts.latest(usize::MAX).len(), ALERTS_MAX);
    std::fs::write(dir.path().join(FILE), "[{").expect("written");
    assert!(open(dir.path(), "", 1).latest(9).is_empty());
}

#[test]
fn an_export_has_the_columns_that_scripts_know() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    alerts.cross(crossing("client:ci day"), at(1));
    alerts.cross(crossing("client:other"), at(2));
    alerts.resolve(Sign::Breaker, "client:other", at(3));
    let csv = |client: Option<&str>, columns: &AlertColumns| {
        let (mut out, mut all) = (vec![], alerts.latest(9));
        all.reverse();
        write_csv(&all, (at(0).timestamp, at(9).timestamp), client, columns, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    };
    let header = "alert_id,rule,scope,threshold,value,severity,crossed_at,resolved_at,channels\r\n";
    assert!(csv(None, &AlertColumns::all()).starts_with(header));
    let some = AlertColumns::named("scope, severity,resolved_at").expect("columns");
    assert_eq!(csv(Some("ci"), &some), "scope,severity,resolved_at\r\nclient:ci day,critical,\r\n");
    assert_eq!(csv(None, &some).lines().count(), 3);
    let error = AlertColumns::named("scope,size").expect_err("no such column");
    assert!(error.starts_with("there is no column size: alert_id,"), "{error}");
}
