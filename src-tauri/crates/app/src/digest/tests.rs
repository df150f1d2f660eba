//! Days that pass, over restarts and while nothing runs.

use domain::admission::{AccountId, Unit};
use domain::time::{Calendar, Tz};

use super::*;
use crate::report::tests::Desk;
use crate::tiers::Caps;

const BERLIN: Calendar = Calendar::in_zone(Tz::Europe__Berlin);

fn now(text: &str) -> Now {
    Now { timestamp: Timestamp::parse(text).expect("a time"), ..Now::default() }
}

/// A program on the books, as after a start.
fn start(desk: &Desk) -> Digest {
    let Reporter { ledger, catalog, .. } = desk.reporter.clone();
    let forecasts = Arc::new(Forecasts::open(desk.dir.path(), ledger.clone(), BERLIN, Caps::default()));
    let counted = Counted { ledger, catalog, upstreams: vec!["anthropic".to_owned()] };
    Digest::of(desk.dir.path(), desk.reporter.clone(), forecasts, counted)
}

/// What was told since the last time, the earliest first: what of, and the message.
fn told(desk: &Desk, before: usize) -> Vec<(String, String)> {
    let all = desk.reporter.alerts.latest(usize::MAX);
    let new = all.into_iter().rev().skip(before);
    new.map(|alert| (alert.scope.trim_start_matches("machine ").to_owned(), alert.message)).collect()
}

fn scopes(told: &[(String, String)]) -> Vec<&str> {
    told.iter().map(|(of, _)| of.as_str()).collect()
}

fn week_window(text: &str) -> QuotaLevel {
    let at = now(text).timestamp;
    QuotaLevel {
        key: QuotaKey::Window { account: AccountId::default(), name: "week".into() },
        unit: Unit::Usd,
        limit: 250_000_000_000,
        used: 0,
        reserved: 0,
        cycle: Some(BERLIN.cycle(Period::Week)),
        since: BERLIN.start_of_week(at),
        resets_at: BERLIN.end_of_week(at),
        hard: false,
    }
}

#[tokio::test]
async fn each_day_has_its_line_each_week_its_digest_and_a_restart_repeats_none() {
    let desk = Desk::open("").await;
    // Thursday; nothing of what was before the first start is told.
    start(&desk).look(&[], now("2026-11-26T09:00:00Z")).await.expect("it looks");
    desk.settle("2026-11-26T10:00:00Z", "claude-sonnet-4-5", None, 1_000).await;
    desk.settle("2026-11-28T10:00:00Z", "claude-sonnet-4-5", None, 2_000).await;
    // Each half of an hour, and a new start each time.
    let mut at = now("2026-11-26T09:30:00Z").timestamp;
    while at < now("2026-12-01T12:00:00Z").timestamp {
        start(&desk).look(&[], Now { timestamp: at, ..Now::default() }).await.expect("it looks");
        at = at.after(Duration::from_secs(1_800));
    }
    let told = told(&desk, 0);
    // Friday tells of Thursday, Sunday of Saturday; then Monday, and Tuesday the 1st. Nothing was used on other days.
    assert_eq!(scopes(&told), ["day", "day", "week", "month"]);
    assert_eq!(told[0].1, "This week so far: $1.00 used");
    assert_eq!(told[1].1, "This week so far: $3.00 used");
    let week =
        "Week of Mon 2026-11-23 (Europe/Berlin): $3.00 used in 2 calls. By model: claude-sonnet-4-5 $3.00 (100 %)";
    assert!(told[2].1.starts_with(week), "{}", told[2].1);
    assert!(told[3].1.starts_with("Month of 2026-11 (Europe/Berlin): $3.00 used in 2 calls"), "{}", told[3].1);
}

#[tokio::test]
async fn what_was_missed_is_told_once_and_late_and_a_quiet_window_is_worth_a_line() {
    let desk = Desk::open("").await;
    start(&desk).look(&[], now("2026-11-10T09:00:00Z")).await.expect("it looks");
    desk.settle("2026-11-17T10:00:00Z", "claude-sonnet-4-5", None, 4_000).await;
    for at in ["2026-11-26T09:00:00Z", "2026-11-26T15:00:00Z"] {
        start(&desk).look(&[], now(at)).await.expect("it looks");
    }
    let late = told(&desk, 0);
    assert_eq!(scopes(&late), ["week", "day"], "something was used since the last line");
    assert!(late[0].1.starts_with("Week of Mon 2026-11-16 (Europe/Berlin): $4.00 used in 1 call"), "{}", late[0].1);
    start(&desk).look(&[], now("2026-11-27T09:00:00Z")).await.expect("it looks");
    assert_eq!(told(&desk, 2).len(), 0);
    let quotas = [week_window("2026-11-28T09:00:00Z")];
    start(&desk).look(&quotas, now("2026-11-28T09:00:00Z")).await.expect("it looks");
    let line = told(&desk, 2);
    assert_eq!(scopes(&line), ["day"]);
    assert!(line[0].1.contains("; anthropic week: $0.00 of $250.00 used"), "{}", line[0].1);
}

#[tokio::test]
async fn where_nobody_knows_what_was_told_nothing_of_before_is() {
    let desk = Desk::open("").await;
    desk.settle("2026-11-25T10:00:00Z", "claude-sonnet-4-5", None, 4_000).await;
    let file = desk.dir.path().join(FILE);
    std::fs::write(&file, "{{").expect("written");
    for at in ["2026-11-26T09:00:00Z", "2026-11-26T10:00:00Z"] {
        start(&desk).look(&[], now(at)).await.expect("it looks");
    }
    assert!(told(&desk, 0).is_empty());
    start(&desk).look(&[], now("2026-11-30T09:00:00Z")).await.expect("it looks");
    assert_eq!(scopes(&told(&desk, 0)), ["week"], "it goes on from there");
}
