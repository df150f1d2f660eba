//! The ledger as its callers see it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use domain::call::{
    Answered, Attempt, Attribution, CacheUse, Call, CallId, Checkpoint, Class, Entry, Opening, Outcome, Source,
};
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::price::{Factors, Price, Rate, Rates};
use domain::time::{Calendar, Timestamp, Tz};
use domain::usage::{Tokens, Usage};
use sqlx::{Connection, SqliteConnection};

use crate::{By, Columns, Durability, Error, Filter, Finding, Ledger, Options, Recovered, Totals};

mod backup;
mod book;
mod bundles;
mod counting;
mod csv;
mod daily;
mod explaining;
mod fates;
pub(crate) mod faults;
mod hostile;
mod importing;
mod machine;
mod migrations;
mod power;
mod pricing;
mod retention;
mod vfs;

const MODEL: &str = "claude-sonnet-4-5";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn noon() -> Timestamp {
    at("2026-11-24T12:00:00Z")
}

fn call(number: u128, started_at: Timestamp) -> Call {
    Call {
        id: CallId::new(started_at, number),
        started_at,
        class: Class::Normal,
        who: Attribution { client: "ci".into(), ..Attribution::default() },
        model: MODEL.into(),
        max_tokens: Some(100),
        stream: true,
        body_bytes: 300,
    }
}

fn used(input: u64, output: u64) -> Usage {
    Usage { tokens: Tokens { input, output, ..Tokens::default() }, ..Usage::default() }
}

fn shown(usage: Usage) -> Checkpoint {
    Checkpoint { usage, answer: None }
}

fn opening(call: &Call, number: u32) -> Opening {
    Opening { number, upstream: "anthropic".into(), at: call.started_at, reserved: used(50, 100) }
}

fn attempt(number: u32, call: &Call) -> Attempt {
    Attempt {
        number,
        upstream: "anthropic".into(),
        opened_at: call.started_at,
        status: Some(200),
        request_id: Some(format!("req_{}", call.id).into()),
        error: None,
        maybe_billed: false,
    }
}

fn entry(call: Call) -> Entry {
    Entry {
        ended_at: Timestamp::from_millis(call.started_at.as_millis() + 1_500),
        attempts: vec![attempt(1, &call)],
        status: 200,
        outcome: Outcome::Completed,
        usage: used(10, 20),
        cost: Some(Usd::from_nanos(330_000)),
        price_id: Some(MODEL.into()),
        estimated: false,
        source: Source::Gateway,
        waited_ms: 3,
        waited_for: Some("the limit of 50 requests per minute was used up".into()),
        first_byte_ms: Some(400),
        total_ms: 1_500,
        cache: CacheUse::Off,
        saved: None,
        error: None,
        account: None,
        call,
    }
}

/// Input costs 1 nano-dollar a token, output 5.
fn catalog() -> Catalog {
    let rate = |text| Rate::per_mtok(text).expect("a rate");
    let rates = Rates { input: rate("0.001"), output: rate("0.005"), ..Rates::default() };
    let price = Price {
        id: "test".into(),
        model: MODEL.into(),
        platform: None,
        valid_from: None,
        rates,
        long_prompt: None,
        batch: None,
        factors: Factors::default(),
        web_search: Usd::ZERO,
        source: "test".into(),
    };
    Catalog::new(vec![price], vec![], vec![])
}

fn options(durability: Durability) -> Options {
    Options { durability, catalog: Arc::new(catalog()), calendar: Calendar::UTC }
}

async fn open(dir: &Path) -> (Ledger, Recovered) {
    open_in(dir, Calendar::UTC).await
}

/// With sums by day of another zone.
async fn open_in(dir: &Path, calendar: Calendar) -> (Ledger, Recovered) {
    let options = Options { calendar, ..options(Durability::Process) };
    Ledger::open_with(dir, options, 64 << 10).await.expect("a ledger")
}

async fn reopened(dir: &Path) -> (Ledger, Recovered) {
    let (ledger, recovered) = open(dir).await;
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    (ledger, recovered)
}

async fn settle(ledger: &Ledger, entry: &Entry) {
    ledger.opened(&entry.call, &opening(&entry.call, 1)).expect("opened");
    ledger.settle(entry).await.expect("settled");
}

/// What a crash at this moment leaves.
fn copy(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    fs::create_dir(copy.path().join("journal")).expect("a folder");
    for name in ["ledger.db", "ledger.db-wal", "journal/0", "journal/1"] {
        fs::copy(dir.join(name), copy.path().join(name)).expect("a copy");
    }
    copy
}

async fn raw(dir: &Path, sql: &'static str) {
    let url = format!("sqlite:{}", dir.join("ledger.db").display());
    let mut conn = SqliteConnection::connect(&url).await.expect("a connection");
    sqlx::query(sql).execute(&mut conn).await.expect("done");
    conn.close().await.expect("closed");
}

async fn count(ledger: &Ledger) -> usize {
    ledger.calls(&Filter::default(), u32::MAX).await.expect("calls").len()
}

#[tokio::test]
async fn a_settled_call_is_in_the_next_answer_as_it_was_settled() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().expect("a folder");
        let (ledger, recovered) = Ledger::open(dir.path(), options(durability)).await.expect("a ledger");
        assert_eq!(recovered, Recovered { interrupted: 0, replayed: 0, lost: 0 });
        let entry = entry(call(1, noon()));
        settle(&ledger, &entry).await;
        assert_eq!(ledger.call(entry.call.id).await.expect("an answer").as_ref(), Some(&entry));
        assert_eq!(ledger.calls(&Filter::default(), 10).await.expect("an answer"), vec![entry]);
        assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
        ledger.close().await.expect("closed");
        assert_eq!(ledger.settle(&self::entry(call(2, noon()))).await, Err(Error::Ended));
    }
}

#[tokio::test]
async fn a_crash_loses_nothing_and_doubles_nothing_before_and_after_the_fold() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let entries: Vec<Entry> = (0..5).map(|number| entry(call(number, noon()))).collect();
    for entry in &entries {
        settle(&ledger, entry).await;
    }
    let before = copy(dir.path());
    ledger.flush().await.expect("folded");
    let after = copy(dir.path());
    assert_eq!(reopened(before.path()).await.1, Recovered { interrupted: 0, replayed: 10, lost: 0 });
    assert_eq!(reopened(after.path()).await.1, Recovered { interrupted: 0, replayed: 0, lost: 0 });
    for crashed in [before, after] {
        let (ledger, recovered) = reopened(crashed.path()).await;
        assert_eq!(recovered, Recovered { interrupted: 0, replayed: 0, lost: 0 });
        assert_eq!(count(&ledger).await, 5);
    }
}

#[tokio::test]
async fn an_interrupted_call_costs_what_was_metered_else_its_prompt_and_one_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let (silent, metered) = (call(1, noon()), call(2, noon()));
    for call in [&silent, &metered] {
        ledger.opened(call, &opening(call, 1)).expect("opened");
    }
    ledger.opened(&silent, &opening(&silent, 2)).expect("opened");
    let later = at("2026-11-24T12:00:07Z");
    let request_id = Some("req_1".into());
    let answer = Answered { attempt: 1, status: 200, request_id, account: Some("org".into()), first_byte_ms: 300 };
    let answered = Checkpoint { answer: Some(answer), ..shown(used(48, 30)) };
    ledger.checkpoint(metered.id, &shown(used(48, 1)), noon()).expect("written");
    ledger.checkpoint(metered.id, &answered, later).expect("written");
    for folded in [false, true] {
        if folded {
            ledger.flush().await.expect("folded");
            assert_eq!(ledger.verify(|| vec![silent.id, metered.id]).await, Ok(vec![]));
            assert_eq!(
                ledger.verify(|| vec![silent.id]).await,
                Ok(vec![Finding::OpenCall { call: metered.id.to_string() }])
            );
        }
        let (ledger, recovered) = reopened(copy(dir.path()).path()).await;
        assert_eq!(recovered.interrupted, 2);
        let [silent, metered] = [silent.id, metered.id].map(|id| ledger.call(id));
        let silent = silent.await.expect("an answer").expect("an entry");
        assert_eq!((silent.outcome, silent.estimated), (Outcome::Interrupted, true));
        assert_eq!((silent.usage, silent.cost), (used(50, 1), Some(Usd::from_nanos(55))));
        assert_eq!(silent.attempts.iter().map(|attempt| attempt.maybe_billed).collect::<Vec<_>>(), [false, true]);
        let metered = metered.await.expect("an answer").expect("an entry");
        assert_eq!((metered.usage, metered.ended_at, metered.total_ms), (used(48, 30), later, 7_000));
        assert_eq!(metered.cost, Some(Usd::from_nanos(198)));
        let attempt = &metered.attempts[0];
        assert_eq!((metered.status, attempt.status, attempt.request_id.as_deref()), (200, Some(200), Some("req_1")));
        assert_eq!((metered.first_byte_ms, metered.account.as_deref()), (Some(300), Some("org")));
    }
}

#[tokio::test]
async fn a_call_that_was_refused_before_the_end_owes_nothing_until_it_leaves_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let (refused, again, metered, broken) = (call(1, noon()), call(2, noon()), call(3, noon()), call(4, noon()));
    let (later, latest) = (at("2026-11-24T12:00:01Z"), at("2026-11-24T12:00:02Z"));
    for call in [&refused, &again, &metered] {
        ledger.opened(call, &opening(call, 1)).expect("opened");
        ledger.checkpoint(call.id, &Checkpoint::default(), later).expect("written");
    }
    for call in [&again, &metered] {
        ledger.opened(call, &Opening { at: latest, ..opening(call, 2) }).expect("opened");
    }
    let answer = Answered { attempt: 2, status: 200, request_id: None, account: None, first_byte_ms: 2_000 };
    let answered = Checkpoint { answer: Some(answer), ..shown(used(48, 30)) };
    ledger.checkpoint(metered.id, &answered, latest).expect("written");
    // The first attempt's answer broke off; of the second nobody heard.
    ledger.opened(&broken, &opening(&broken, 1)).expect("opened");
    ledger.checkpoint(broken.id, &shown(used(48, 30)), later).expect("written");
    ledger.opened(&broken, &Opening { at: latest, ..opening(&broken, 2) }).expect("opened");
    for folded in [false, true] {
        if folded {
            ledger.flush().await.expect("folded");
        }
        let (ledger, _) = reopened(copy(dir.path()).path()).await;
        let mut seen = vec![];
        for call in [&refused, &again, &metered, &broken] {
            let entry = ledger.call(call.id).await.expect("an answer").expect("an entry");
            let billed: Vec<bool> = entry.attempts.iter().map(|attempt| attempt.maybe_billed).collect();
            seen.push((entry.usage, entry.ended_at, billed));
        }
        let expected = [
            (Usage::default(), later, vec![false]),
            (used(50, 1), latest, vec![false, true]),
            (used(48, 30), latest, vec![false, false]),
            (used(98, 31), latest, vec![false, true]),
        ];
        assert_eq!(seen, expected, "folded: {folded}");
    }
}

#[tokio::test]
async fn an_interrupted_call_never_comes_to_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let call = call(1, noon());
    ledger.opened(&call, &Opening { reserved: used(0, 0), ..opening(&call, 1) }).expect("opened");
    let (ledger, _) = reopened(copy(dir.path()).path()).await;
    assert_eq!(ledger.call(call.id).await.expect("an answer").expect("an entry").usage, used(0, 1));
}

#[tokio::test]
async fn a_call_settled_twice_is_entered_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let entry = entry(call(1, noon()));
    settle(&ledger, &entry).await;
    settle(&ledger, &entry).await;
    ledger.flush().await.expect("folded");
    settle(&ledger, &entry).await;
    assert_eq!(count(&ledger).await, 1);
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn what_hits_saved_is_summed_beside_the_cost() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let hit = |number: u128, saved: Option<i64>| Entry {
        cache: CacheUse::Hit,
        saved: saved.map(Usd::from_nanos),
        attempts: vec![],
        usage: Usage::default(),
        cost: Some(Usd::ZERO),
        ..entry(call(number, noon()))
    };
    let unpriced = hit(2, None);
    settle(&ledger, &hit(1, Some(330_000))).await;
    settle(&ledger, &unpriced).await;
    settle(&ledger, &Entry { cache: CacheUse::Miss, ..entry(call(3, noon())) }).await;
    settle(&ledger, &entry(call(4, noon()))).await;
    let report = ledger.usage(&By::Client, at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"), Calendar::UTC).await;
    let asked = report.expect("a report").total;
    assert_eq!((asked.calls, asked.cache_hits, asked.cache_misses), (4, 2, 1));
    assert_eq!((asked.saved, asked.known_cost), (Usd::from_nanos(330_000), Usd::from_nanos(660_000)));
    assert_eq!(ledger.call(unpriced.call.id).await.expect("an answer"), Some(unpriced));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    raw(dir.path(), "UPDATE day_sum SET saved_nanos = 0 WHERE saved_nanos > 0").await;
    assert!(!ledger.verify(Vec::new).await.expect("verified").is_empty());
}

#[tokio::test]
async fn refused_calls_are_kept_and_counted_nowhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let refused = Entry { outcome: Outcome::Refused, attempts: vec![], status: 429, ..entry(call(1, noon())) };
    let cancelled = Entry { outcome: Outcome::Cancelled, attempts: vec![], status: 0, ..entry(call(2, noon())) };
    ledger.settle(&refused).await.expect("settled");
    ledger.settle(&cancelled).await.expect("settled");
    let report = ledger.usage(&By::Client, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC).await.expect("a report");
    assert_eq!(report.total.calls, 1);
    assert_eq!(count(&ledger).await, 2);
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn an_unknown_price_is_counted_and_never_zero() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let report = || ledger.usage(&By::Model, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC);
    assert_eq!(report().await.expect("a report").total.cost(), Some(Usd::ZERO));
    settle(&ledger, &Entry { cost: None, price_id: None, ..entry(call(1, noon())) }).await;
    let total = report().await.expect("a report").total;
    assert_eq!((total.cost(), total.unpriced_calls), (None, 1));
    settle(&ledger, &entry(call(2, noon()))).await;
    let total = report().await.expect("a report").total;
    assert_eq!((total.cost(), total.unpriced_calls), (Some(Usd::from_nanos(330_000)), 1));
}

#[tokio::test]
async fn days_of_23_and_25_hours_hold_exactly_their_calls() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let berlin = Calendar::in_zone(Tz::Europe__Berlin);
    let mut number = 0;
    for day in ["2026-03-29T12:00:00Z", "2026-10-25T12:00:00Z"] {
        let mut hour = berlin.start_of_day(at(day));
        while hour < berlin.end_of_day(at(day)) {
            number += 1;
            settle(&ledger, &entry(call(number, hour))).await;
            hour = Timestamp::from_millis(hour.as_millis() + 3_600_000);
        }
    }
    for (noon, day, hours) in [("2026-03-29T12:00:00Z", "2026-03-29", 23), ("2026-10-25T12:00:00Z", "2026-10-25", 25)] {
        let (from, to) = (berlin.start_of_day(at(noon)), berlin.end_of_day(at(noon)));
        let days = ledger.usage(&By::Day, from, to, berlin).await.expect("a report").rows;
        assert_eq!(days.iter().map(|row| (&*row.key, row.totals.calls)).collect::<Vec<_>>(), [(day, hours)]);
        let by_hour = ledger.usage(&By::Hour, from, to, berlin).await.expect("a report").rows;
        assert_eq!(by_hour.len() as u64, hours);
        assert!(by_hour.iter().all(|row| row.totals.calls == 1));
        let today = ledger.spend(berlin, at(noon)).await.expect("a sum").today;
        assert_eq!(today.calls, hours);
    }
    let utc = ledger.usage(&By::Day, at("2026-03-28T00:00:00Z"), at("2026-03-29T00:00:00Z"), Calendar::UTC).await;
    assert_eq!(utc.expect("a report").total.calls, 1, "the first hour of the day in Berlin");
}

#[tokio::test]
async fn a_day_may_start_at_a_quarter_of_an_hour() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let kathmandu = Calendar::in_zone(Tz::Asia__Kathmandu);
    settle(&ledger, &entry(call(1, at("2026-11-24T18:14:59Z")))).await;
    settle(&ledger, &entry(call(2, at("2026-11-24T18:15:00Z")))).await;
    let (from, to) = (at("2026-11-24T00:00:00Z"), at("2026-11-26T00:00:00Z"));
    let days = ledger.usage(&By::Day, from, to, kathmandu).await.expect("a report").rows;
    assert_eq!(days.iter().map(|row| &*row.key).collect::<Vec<_>>(), ["2026-11-24", "2026-11-25"]);
    let hours = ledger.usage(&By::Hour, from, to, kathmandu).await.expect("a report").rows;
    let keys: Vec<&str> = hours.iter().map(|row| &*row.key).collect();
    assert_eq!(keys, ["2026-11-24T23:00:00+05:45", "2026-11-25T00:00:00+05:45"]);
}

#[tokio::test]
async fn a_tag_is_found_by_its_key_whatever_it_is_made_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let keys = ["team", "a b", "q\"uote", "back\\slash", "$.x", "ünï", "0", "nul\0", "line\n"];
    let mut call = call(1, noon());
    call.who.tags = keys.iter().map(|key| ((*key).into(), format!("of {key}").into())).collect();
    settle(&ledger, &entry(call)).await;
    for key in keys {
        let by = By::Tag(key.into());
        let rows = ledger.usage(&by, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC).await.expect("a report").rows;
        assert_eq!(rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [format!("of {key}")]);
    }
    let by = By::Tag("none".into());
    let rows = ledger.usage(&by, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC).await.expect("a report").rows;
    assert_eq!(rows.iter().map(|row| &*row.key).collect::<Vec<_>>(), [""]);
}

#[tokio::test]
async fn counts_beyond_all_sense_break_no_sum() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..3 {
        let usage = used(u64::MAX, u64::MAX);
        let entry = Entry { usage, cost: Some(Usd::from_nanos(i64::MAX)), ..entry(call(number, noon())) };
        settle(&ledger, &entry).await;
    }
    let report = ledger.usage(&By::Model, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC).await.expect("a report");
    assert_eq!(report.total.cost(), Some(Usd::from_nanos(3_000_000_000_000_000)));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn a_name_longer_than_a_kilobyte_is_cut_at_a_whole_character() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let mut call = call(1, noon());
    call.model = "é".repeat(100_000).into();
    call.who.tags = (0..100).map(|number| (format!("k{number}").into(), "x".repeat(2_000).into())).collect();
    settle(&ledger, &entry(call.clone())).await;
    let kept = ledger.call(call.id).await.expect("an answer").expect("an entry").call;
    assert_eq!(*kept.model, *"é".repeat(512));
    assert_eq!((kept.who.tags.len(), kept.who.tags[0].1.len()), (64, 1_024));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn the_first_entry_that_was_changed_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let entries: Vec<Entry> = (0..5).map(|number| entry(call(number, noon()))).collect();
    for entry in &entries {
        settle(&ledger, entry).await;
    }
    ledger.flush().await.expect("folded");
    let broken = |number: usize| Finding::ChainBroken {
        call: entries[number].call.id.to_string(),
        number: i64::try_from(number).expect("small") + 1,
    };
    for (sql, expected) in [
        ("UPDATE entry SET error = 'x' WHERE seq >= 3", broken(2)),
        ("UPDATE entry SET chain = zeroblob(32) WHERE seq = 2", broken(1)),
        ("UPDATE attempt SET maybe_billed = 1 WHERE call_id = (SELECT call_id FROM entry WHERE seq = 4)", broken(3)),
        ("DELETE FROM attempt WHERE call_id = (SELECT call_id FROM entry WHERE seq = 1)", broken(0)),
    ] {
        let copy = copy(dir.path());
        raw(copy.path(), sql).await;
        assert_eq!(open(copy.path()).await.0.verify(Vec::new).await, Ok(vec![expected]), "{sql}");
    }
    let copy = copy(dir.path());
    raw(copy.path(), "DELETE FROM attempt WHERE call_id = (SELECT max(call_id) FROM entry)").await;
    raw(copy.path(), "DELETE FROM entry WHERE seq = 5").await;
    let findings = open(copy.path()).await.0.verify(Vec::new).await.expect("checked");
    let from = noon();
    let differs = Finding::SumsDiffer { from, client: "ci".into(), model: MODEL.into() };
    assert_eq!(findings, [Finding::ChainEndsEarly, differs]);
}

#[tokio::test]
async fn a_byte_that_flipped_on_the_disk_is_found_in_its_entry() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..5_u32 {
        let price_id = Some(format!("price of {number}").into());
        settle(&ledger, &Entry { price_id, ..entry(call(number.into(), noon())) }).await;
    }
    ledger.close().await.expect("closed");
    drop(ledger);
    let path = dir.path().join("ledger.db");
    let mut bytes = fs::read(&path).expect("bytes");
    let place = bytes.windows(10).position(|window| window == b"price of 3").expect("an entry");
    bytes[place] ^= 1;
    fs::write(&path, bytes).expect("written");
    let findings = open(dir.path()).await.0.verify(Vec::new).await.expect("checked");
    assert!(matches!(&findings[..], [Finding::ChainBroken { number: 4, .. }]), "{findings:?}");
}

#[tokio::test]
async fn a_ledger_that_doesn_t_open_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    ledger.close().await.expect("closed");
    drop(ledger);
    assert_eq!(Ledger::inspect(dir.path()).await, Ok(vec![]));
    let path = dir.path().join("ledger.db");
    let mut bytes = fs::read(&path).expect("bytes");
    bytes[4_096..8_192].fill(0xFF);
    fs::write(&path, &bytes).expect("written");
    let report = Ledger::inspect(dir.path()).await;
    assert!(matches!(&report, Ok(findings) if !findings.is_empty()) || matches!(report, Err(Error::Damaged { .. })));
    assert_eq!(fs::read(&path).expect("bytes"), bytes);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_and_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ledger.db");
    fs::write(&path, "these are my notes, not a database, and they are long enough ".repeat(20)).expect("written");
    let before = fs::read(&path).expect("bytes");
    let error = Ledger::open(dir.path(), options(Durability::Process)).await.err();
    assert!(matches!(error, Some(Error::Damaged { .. })), "{error:?}");
    assert_eq!(fs::read(&path).expect("bytes"), before);
}

#[tokio::test]
async fn a_journal_whose_ledger_is_gone_is_not_folded_into_a_new_one() {
    for state in ["missing", "empty"] {
        let dir = tempfile::tempdir().expect("a folder");
        let (ledger, _) =
            Ledger::open_with(dir.path(), options(Durability::Process), 16 << 10).await.expect("a ledger");
        for number in 0..200 {
            settle(&ledger, &entry(call(number, noon()))).await;
        }
        ledger.close().await.expect("closed");
        drop(ledger);
        let path = dir.path().join("ledger.db");
        let journal = || ["journal/0", "journal/1"].map(|page| fs::read(dir.path().join(page)).expect("a page"));
        let before = journal();
        match state {
            "missing" => fs::remove_file(&path).expect("removed"),
            _ => fs::write(&path, "").expect("emptied"),
        }
        for _ in 0..2 {
            let error = Ledger::open_with(dir.path(), options(Durability::Process), 16 << 10).await.err();
            assert_eq!(error, Some(Error::Gone { path: path.clone(), state }));
            assert!(journal() == before, "the journal is as it was");
        }
        fs::rename(dir.path().join("journal"), dir.path().join("journal.old")).expect("moved away");
        let (ledger, recovered) = open(dir.path()).await;
        assert_eq!((recovered.replayed, count(&ledger).await), (0, 0));
    }
}

#[tokio::test]
async fn the_first_calls_of_a_new_ledger_outlive_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    let killed = copy(dir.path());
    assert_eq!(count(&reopened(killed.path()).await.0).await, 1);
}

#[tokio::test]
async fn a_newer_ledger_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    ledger.close().await.expect("closed");
    drop(ledger);
    raw(
        dir.path(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9, 'x', 1, x'00', 0)",
    )
    .await;
    let before = fs::read(dir.path().join("ledger.db")).expect("bytes");
    let error = Ledger::open(dir.path(), options(Durability::Process)).await.err();
    assert_eq!(
        error,
        Some(Error::Newer {
            path: dir.path().join("ledger.db"),
            found: 9,
            known: crate::db::newest(crate::db::steps())
        })
    );
    assert_eq!(fs::read(dir.path().join("ledger.db")).expect("bytes"), before);
}

#[tokio::test]
async fn a_folder_that_can_t_be_written_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    let error = Ledger::open(&file.join("data"), options(Durability::Process)).await.err().expect("refused");
    assert!(error.to_string().starts_with(&format!("can't write {}", file.display())), "{error}");
}

#[tokio::test]
async fn a_folder_has_one_ledger_at_a_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let second = Ledger::open(dir.path(), options(Durability::Process)).await.err();
    assert!(matches!(second, Some(Error::Locked { .. })), "{second:?}");
    ledger.close().await.expect("closed");
    drop(ledger);
    open(dir.path()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn all_files_are_the_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let (ledger, _) = open(&data).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    ledger.flush().await.expect("folded");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    for folder in [data.clone(), data.join("journal")] {
        assert_eq!(mode(&folder), 0o700);
        for file in fs::read_dir(folder).expect("files").map(|file| file.expect("a file").path()) {
            assert!(file.is_dir() || mode(&file) == 0o600, "{}", file.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_ends_while_others_go_on_writing() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(open(dir.path()).await.0);
    let writing = ledger.clone();
    let busy = tokio::spawn(async move {
        for number in 0.. {
            // Ends with the ledger.
            if writing.settle(&entry(call(number, noon()))).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..5 {
        ledger.flush().await.expect("folded");
    }
    ledger.close().await.expect("closed");
    busy.await.expect("ended");
}

#[tokio::test]
async fn what_nobody_asks_for_is_folded_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..3 {
        settle(&ledger, &entry(call(number, noon()))).await;
        let folded = async {
            while ledger.journal.has_unfolded() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), folded).await.expect("folded");
        // The second finds the writer awake, the third asleep.
        tokio::time::sleep(Duration::from_millis(150 * u64::try_from(number).expect("small"))).await;
    }
}

#[tokio::test]
async fn calls_go_on_while_another_program_holds_the_database() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let mut holder = SqliteConnection::connect(&url).await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.expect("held");
    settle(&ledger, &entry(call(1, noon()))).await;
    let (flushed, released) = tokio::join!(ledger.flush(), async {
        tokio::task::yield_now().await;
        sqlx::query("COMMIT").execute(&mut holder).await
    });
    released.expect("released");
    flushed.expect("folded");
    assert_eq!(count(&ledger).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_tasks_settle_while_questions_are_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(open(dir.path()).await.0);
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for number in 0..60 {
                    let entry = entry(call(task * 1_000 + number, noon()));
                    settle(&ledger, &entry).await;
                    if number % 20 == 0 {
                        assert!(ledger.call(entry.call.id).await.expect("an answer").is_some());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("done");
    }
    let report = ledger.usage(&By::Client, noon(), at("2026-11-25T00:00:00Z"), Calendar::UTC).await.expect("a report");
    assert_eq!(report.total.calls, 960);
    assert_eq!(report.total.cost(), Some(Usd::from_nanos(960 * 330_000)));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    let (ledger, recovered) = reopened(copy(dir.path()).path()).await;
    assert_eq!((recovered.interrupted, count(&ledger).await), (0, 960));
}

const CHILD: &str = "TIDEGATE_LEDGER_OF_CHILD";

/// Settles calls in the folder that the environment names and prints each when it is settled, until it is killed.
#[tokio::test]
#[ignore = "run by the test below, which kills it"]
async fn child() {
    let dir = std::env::var(CHILD).expect("a folder");
    let (ledger, _) = open(Path::new(&dir)).await;
    let mut out = std::io::stdout();
    let base = u128::from(std::process::id()) * 1_000_000;
    for number in 0_u128.. {
        let entry = entry(call(base + number, noon()));
        settle(&ledger, &entry).await;
        let _ = writeln!(out, "settled {}", entry.call.id);
        let open = call(base + 500_000 + number, noon());
        ledger.opened(&open, &opening(&open, 1)).expect("opened");
        if number % 50 == 0 {
            ledger.flush().await.expect("folded");
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_settled_call_and_doubles_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settled = Vec::new();
    for lines in [1, 30, 77, 151, 400] {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["tests::child", "--exact", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut out = BufReader::new(child.stdout.take().expect("its output")).lines();
        let seen = out.by_ref().map_while(Result::ok).filter(|line| line.contains("settled"));
        let seen = seen.take(lines).collect::<Vec<_>>();
        child.kill().expect("killed");
        child.wait().expect("ended");
        let rest = out.map_while(Result::ok).filter(|line| line.contains("settled") && line.len() >= 34);
        settled.extend(seen.into_iter().chain(rest));
        let (ledger, _) = reopened(dir.path()).await;
        let outcomes = outcomes(&ledger).await;
        for line in &settled {
            let id = line.split("settled ").nth(1).expect("an id");
            assert_eq!(outcomes.get(id), Some(&Outcome::Completed), "{line}");
        }
        ledger.close().await.expect("closed");
    }
}

async fn outcomes(ledger: &Ledger) -> BTreeMap<String, Outcome> {
    let calls = ledger.calls(&Filter::default(), u32::MAX).await.expect("calls");
    calls.into_iter().map(|entry| (entry.call.id.to_string(), entry.outcome)).collect()
}
