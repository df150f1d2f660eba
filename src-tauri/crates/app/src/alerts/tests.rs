//! What is told, kept and forgotten, over restarts and with a clock that jumps.

use domain::alert::Turn;
use domain::time::Instant;

use super::*;
use crate::{data, log, settings};

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

const OPS: &str = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"https://example.com/x?y=1\"\n";

/// What is on its way to channels: `scope`, with a dash where it is over.
fn sent(deliveries: &mut mpsc::Receiver<Delivery>) -> Vec<(String, AlertView)> {
    let mut sent = vec![];
    while let Ok(Delivery { alert, channels }) = deliveries.try_recv() {
        assert_eq!(channels.iter().map(|name| &**name).collect::<Vec<_>>(), ["ops"]);
        let over = if alert.resolved_at.is_some() { " -" } else { "" };
        sent.push((format!("{}{over}", alert.scope), alert));
    }
    sent
}

fn scopes(sent: &[(String, AlertView)]) -> Vec<&str> {
    sent.iter().map(|(scope, _)| scope.as_str()).collect()
}

#[test]
fn what_no_channel_took_before_the_end_is_sent_at_the_next_start_and_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), OPS, 0);
    // Nobody listens yet.
    alerts.cross(crossing("early"), at(1));
    let mut deliveries = alerts.deliveries();
    assert_eq!(scopes(&sent(&mut deliveries)), ["early"]);
    for scope in ["taken", "refused", "open", "over"] {
        alerts.cross(crossing(scope), at(2));
    }
    for (_, alert) in sent(&mut deliveries) {
        match &*alert.scope {
            "taken" => alerts.taken(&alert, "ops"),
            "refused" => alerts.not_taken(&alert, "ops"),
            _ => {}
        }
    }
    alerts.resolve(Sign::Breaker, "over", at(3));
    drop((alerts, deliveries));

    let again = open(dir.path(), OPS, 4);
    let late = sent(&mut again.deliveries());
    assert_eq!(scopes(&late), ["early", "open", "over -"]);
    let ids: Vec<String> = again.latest(9).into_iter().rev().map(|alert| alert.alert_id).collect();
    assert_eq!((&late[0].1.alert_id, &late[1].1.alert_id), (&ids[0], &ids[3]), "by the same key");
    late.iter().for_each(|(_, alert)| again.taken(alert, "ops"));
    assert!(sent(&mut open(dir.path(), OPS, 5).deliveries()).is_empty());
}

#[test]
fn an_end_that_no_channel_took_is_sent_at_the_next_start_where_its_beginning_was_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), OPS, 0);
    let mut deliveries = alerts.deliveries();
    alerts.cross(crossing("told"), at(1));
    sent(&mut deliveries).iter().for_each(|(_, alert)| alerts.taken(alert, "ops"));
    alerts.cross(crossing("refused"), at(2));
    sent(&mut deliveries).iter().for_each(|(_, alert)| alerts.not_taken(alert, "ops"));
    for scope in ["told", "refused"] {
        alerts.resolve(Sign::Breaker, scope, at(3));
    }
    assert_eq!(scopes(&sent(&mut open(dir.path(), OPS, 4).deliveries())), ["told -"]);
}

#[test]
fn of_what_waited_for_a_start_the_latest_go_out_and_nothing_waits_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), OPS, 0);
    for number in 0..LATE_MAX + 3 {
        alerts.cross(crossing(&format!("{number}")), at(number as u64));
    }
    let again = open(dir.path(), OPS, 99);
    let late = sent(&mut again.deliveries());
    assert_eq!((late.len(), &*late[0].1.scope), (LATE_MAX, "3"));
    assert!(again.latest(usize::MAX).iter().rev().take(3).all(|alert| alert.waiting.is_empty()));
}

#[test]
fn a_report_is_news_for_the_inbox_and_for_the_channels_that_were_chosen() {
    let dir = tempfile::tempdir().expect("a folder");
    let zone = "[gateway]\ntimezone = \"UTC\"\n";
    // It begins at 14:13:20 UTC.
    let text = format!("{zone}[alerts]\ndigest = [\"ops\"]\nquiet_hours = \"14:00-15:00\"\n{OPS}");
    let alerts = open(dir.path(), &text, 0);
    let mut deliveries = alerts.deliveries();
    let report = |of| Report { of, message: "all is well".to_owned(), ..Report::default() };
    alerts.report(report("day"), false, at(1));
    alerts.report(report("week"), true, at(2));
    alerts.deliver_late(at(3));
    assert!(sent(&mut deliveries).is_empty(), "quiet hours");
    alerts.deliver_late(at(3_000));
    alerts.deliver_late(at(3_001));
    assert_eq!(scopes(&sent(&mut deliveries)), ["machine week"]);
    let told: Vec<_> = alerts.latest(9).into_iter().map(|alert| (alert.scope, alert.channels.join(" "))).collect();
    assert_eq!(told, [("machine week".to_owned(), "ops".to_owned()), ("machine day".to_owned(), String::new())]);
    assert!(alerts.latest(9).iter().all(|alert| alert.severity == "info" && alert.resolved_at.is_some()));
    // It ended before the channel took it.
    assert_eq!(scopes(&sent(&mut open(dir.path(), &text, 3_002).deliveries())), ["machine week"]);
}

#[test]
fn names_with_spaces_are_whole_in_what_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = "[[alert]]\nmetric = \"spend.week.project:my shop\"\nthresholds = [5]";
    let alerts = open(dir.path(), own, 0);
    let said = |sign, scope: &str, part: &str, value: &str| {
        for (value, seconds) in [("0", 1), (value, 2)] {
            let reading = Reading::of(scope, part, value.parse().expect("a figure"));
            alerts.judge(sign, &[reading], at(seconds));
        }
        alerts.latest(1).remove(0).message
    };
    let budget = said(Sign::Budget, "project:my shop", "day", "0.85");
    assert_eq!(budget, "85.0 % of the day's budget of project \"my shop\" is spent");
    let spent = said(Sign::Spend, "project:my shop", "week", "6.106");
    assert_eq!(spent, "$6.11 were spent this week by project \"my shop\"; the mark is $5.00");
    let unpriced = said(Sign::Unpriced, "model:my own model", "", "1");
    assert!(unpriced.starts_with("the price of model \"my own model\" is unknown"), "{unpriced}");
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
    assert!(error.reason.starts_with("no alert begins with \"nothing\""), "{error}");
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
    assert!(error.starts_with("there is no column \"size\": alert_id,"), "{error}");
}

#[test]
fn a_panic_is_told_once_an_hour_and_is_over_an_hour_after_the_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    let look = |since_it: Option<u64>| {
        let failures = log::failures();
        let begin = failures.map_or(at(0), |failures| Now { instant: failures.last, ..at(0) });
        let seconds = std::time::Duration::from_secs(since_it.unwrap_or(0));
        let now = Now { instant: begin.instant.after(seconds), timestamp: begin.timestamp.after(seconds) };
        alerts.judge(Sign::Failure, &lookout::failures(failures, now), now);
        told(&alerts)
    };
    log::start(log::Loudness::Quiet);
    assert!(look(None).is_empty());
    for _ in 0..2 {
        assert!(std::thread::spawn(|| panic!("a bug")).join().is_err());
    }
    assert_eq!(look(Some(0)), ["failure 1 critical"]);
    assert_eq!(look(Some(3_599)), ["failure 1 critical"]);
    let message = alerts.latest(1).remove(0).message;
    assert!(message.starts_with("a part of Tidegate failed 2 times: calls go on"), "{message}");
    assert_eq!(look(Some(3_600)), ["failure 1 critical -"]);
    drop(std::panic::take_hook());
}

#[test]
fn a_disk_that_fills_is_told_at_a_gigabyte_and_at_two_hundred_megabytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let alerts = open(dir.path(), "", 0);
    let look = |alerts: &Alerts, megabytes: u64, seconds| {
        alerts.judge(Sign::Disk, &lookout::disk(Some(megabytes * 1_000_000)), at(seconds));
    };
    look(&alerts, 50_000, 0);
    look(&alerts, 1_000, 5);
    look(&alerts, 900, 10);
    assert_eq!(told(&alerts), ["disk 1 warning"]);
    look(&alerts, 150, 15);
    assert_eq!(told(&alerts), ["disk 1 warning", "disk 5 critical"]);
    let message = alerts.latest(1).remove(0).message;
    assert!(message.starts_with("150 MB are free for the ledger") && message.contains("make room"), "{message}");
    look(&alerts, 2_000, 20);
    assert_eq!(told(&alerts), ["disk 1 warning -", "disk 5 critical -"], "there is room again");
    let full = tempfile::tempdir().expect("a folder");
    let alerts = open(full.path(), "", 0);
    look(&alerts, 100, 0);
    assert_eq!(told(&alerts), ["disk 5 critical"], "so full at the start that it can't wait");
}
