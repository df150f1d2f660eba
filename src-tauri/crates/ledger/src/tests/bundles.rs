//! What other devices hand over: any order and any repetition come to the same, and it stays apart.

use proptest::prelude::*;

use super::*;
use crate::{BundleMonth, BundleRow, Member, NotMerged, Span, SumColumns};

fn day(text: &str) -> i64 {
    Timestamp::parse(&format!("{text}T00:00:00Z")).expect("a day").as_millis() / 86_400_000
}

fn member(device: &str) -> Member {
    Member { device: device.repeat(32), name: format!("{device}'s laptop"), public_key: device.as_bytes().repeat(32) }
}

fn row(text: &str, person: &str, calls: u64) -> BundleRow {
    let tokens = Tokens { input: calls * 100, output: calls * 10, ..Tokens::default() };
    let known_cost = Usd::from_nanos(i64::try_from(calls).expect("few") * 1_000);
    BundleRow {
        day: day(text),
        client: "laptop".to_owned(),
        person: person.to_owned(),
        model: "m".to_owned(),
        upstream: "anthropic".to_owned(),
        source: "gateway".to_owned(),
        totals: Totals { calls, tokens, known_cost, ..Totals::default() },
        ..BundleRow::default()
    }
}

fn november(revision: i64, rows: Vec<BundleRow>) -> BundleMonth {
    BundleMonth { month: "2026-11".to_owned(), revision, rows }
}

async fn merge(ledger: &Ledger, device: &str, months: &[BundleMonth]) -> String {
    match ledger.merge_bundle(&member(device), months, noon()).await {
        Ok(merged) => merged.iter().map(|merged| format!("{merged:?}")).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

/// `key calls, …` of November.
async fn used(ledger: &Ledger, by: &str) -> String {
    let at = |text| Timestamp::parse(text).expect("a time");
    let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let report = ledger.usage(&By::named(by).expect("a question"), from, to, Calendar::UTC).await.expect("an answer");
    let rows = report.rows.iter().map(|row| format!("{} {}", row.key, row.totals.calls));
    rows.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_month_is_replaced_by_a_newer_one_only_and_stays_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    let own = used(&ledger, "device").await;
    let first = november(5, vec![row("2026-11-02", "anna", 3), row("2026-11-03", "anna", 4)]);
    for (revision, rows, says, calls) in [
        (5, first.rows.clone(), "New", 7),
        (5, first.rows.clone(), "Same", 7),
        (4, vec![row("2026-11-02", "anna", 90)], "Older", 7),
        (6, vec![row("2026-11-02", "anna", 8)], "Replaced", 8),
        (7, vec![], "Replaced", 0),
        (8, first.rows.clone(), "Replaced", 7),
    ] {
        assert_eq!(merge(&ledger, "a", &[november(revision, rows)]).await, says, "{revision}");
        let device = if calls == 0 { String::new() } else { format!("a's laptop aaaaaaaa {calls}") };
        let both = [device, own.clone()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        let mut found: Vec<String> = used(&ledger, "device").await.split(", ").map(str::to_owned).collect();
        found.sort_by_key(|text| text.starts_with(' '));
        assert_eq!(found, both, "{revision}");
    }
    assert!(used(&ledger, "person").await.contains("anna 7"));
    assert!(used(&ledger, "day").await.starts_with("2026-11-02 3, 2026-11-03 4"));
    let spent = ledger.spend(Calendar::UTC, noon()).await.expect("an answer").month.calls;
    assert_eq!(format!(" {spent}"), own, "budgets and windows see this device alone");
    assert_eq!(ledger.verify(Vec::new).await.expect("verified"), []);
    ledger.close().await.expect("closed");
}

#[tokio::test]
async fn the_first_key_of_a_device_is_its_key_until_it_is_forgotten() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    assert_eq!(merge(&ledger, "a", &[november(5, vec![row("2026-11-02", "anna", 3)])]).await, "New");
    let forged = Member { public_key: vec![7; 32], ..member("a") };
    let months = [november(9, vec![row("2026-11-02", "anna", 900)])];
    let refused = ledger.merge_bundle(&forged, &months, noon()).await;
    assert!(matches!(refused, Err(NotMerged::OtherKey)), "{refused:?}");
    assert_eq!(used(&ledger, "client").await, "laptop 3");
    let [known] = ledger.devices().await.expect("devices").try_into().expect("one");
    assert_eq!((known.months[0].revision, known.months[0].totals.calls), (5, 3));
    assert!(ledger.forget_device(&known.member.device).await.expect("forgotten"));
    assert!(!ledger.forget_device(&known.member.device).await.expect("known no more"));
    assert_eq!(used(&ledger, "client").await, "");
    assert!(ledger.merge_bundle(&forged, &months, noon()).await.is_ok());
    ledger.close().await.expect("closed");
}

#[tokio::test]
async fn what_is_changed_afterwards_is_found_and_days_and_months_have_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let rows = vec![row("2026-11-02", "anna", 3), row("2026-11-30", "anna", 4)];
    assert_eq!(merge(&ledger, "a", &[november(5, rows)]).await, "New");
    let at = |text| Some(Timestamp::parse(text).expect("a time"));
    let filter = Filter { from: at("2026-11-02T00:00:00Z"), to: at("2026-12-01T00:00:00Z"), client: None };
    let columns = SumColumns::named(Some("date,person,calls,device"), None).expect("columns");
    for (span, lines) in [
        (Span::Day, "2026-11-02,anna,3,a's laptop aaaaaaaa\r\n2026-11-30,anna,4,a's laptop aaaaaaaa\r\n"),
        (Span::Month, "2026-11,anna,7,a's laptop aaaaaaaa\r\n"),
    ] {
        let mut out = vec![];
        ledger.export_sums(span, &filter, Calendar::UTC, &columns, &mut out).await.expect("written");
        let text = String::from_utf8(out).expect("text").replace('"', "");
        assert_eq!(text.split_once("\r\n").expect("lines").1, lines);
    }
    let mut conn = ledger.db.writer().await.expect("a connection");
    sqlx::query("UPDATE bundle_row SET calls = 900 WHERE day = ?1")
        .bind(day("2026-11-02"))
        .execute(&mut conn)
        .await
        .expect("changed");
    let findings = ledger.verify(Vec::new).await.expect("verified");
    assert!(
        matches!(findings.as_slice(), [Finding::BundleChanged { month, .. }] if month == "2026-11"),
        "{findings:?}"
    );
    ledger.close().await.expect("closed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_order_and_repetition_of_bundles_gives_the_same_totals(
        bundles in prop::collection::vec((0..3_usize, 1..5_i64, 1..9_u64), 1..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let taken = |bundles: Vec<(usize, i64, u64)>| async move {
            let dir = tempfile::tempdir().expect("a folder");
            let (ledger, _) = open(dir.path()).await;
            for (device, revision, calls) in bundles {
                let month = november(revision, vec![row("2026-11-02", "anna", calls)]);
                merge(&ledger, ["a", "b", "c"][device], &[month]).await;
            }
            let mut used: Vec<String> = used(&ledger, "device").await.split(", ").map(str::to_owned).collect();
            used.sort();
            ledger.close().await.expect("closed");
            used
        };
        let shuffled: Vec<_> = order.iter().map(|index| *index.get(&bundles)).chain(bundles.iter().rev().copied()).collect();
        prop_assert_eq!(runtime.block_on(taken(bundles)), runtime.block_on(taken(shuffled)));
    }
}
