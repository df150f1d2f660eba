//! History at other prices.

use proptest::prelude::*;

use super::book::any_entry;
use super::*;
use crate::{PriceChange, Repriced, Repricing};

/// A dollar of input buys a million tokens times `input`.
fn price(id: &str, model: &str, input: &str) -> Price {
    let rate = |text| Rate::per_mtok(text).expect("a rate");
    Price {
        id: id.into(),
        model: model.into(),
        platform: None,
        valid_from: None,
        rates: Rates { input: rate(input), output: rate("5"), ..Rates::default() },
        long_prompt: None,
        batch: None,
        factors: Factors::default(),
        web_search: Usd::ZERO,
        source: "test".into(),
    }
}

fn catalog_of(prices: Vec<Price>) -> Catalog {
    Catalog::new(prices, vec![], vec![])
}

async fn reprice(ledger: &Ledger, catalog: &Catalog, dry_run: bool) -> Repriced {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let ask = Repricing { from, to, catalog, now: at("2026-12-01T00:00:00Z"), reason: "a new list", dry_run };
    ledger.reprice(&ask).await.expect("repriced")
}

#[tokio::test]
async fn a_repricing_that_fails_on_the_way_says_how_far_it_came_and_the_next_one_does_the_rest() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let mut settling = vec![];
    for number in 0..2_100_u32 {
        let mut entry = of_model(number.into(), "new", None, None);
        entry.call.started_at = noon().after(Duration::from_secs(1) * number);
        ledger.opened(&entry.call, &opening(&entry.call, 1)).expect("opened");
        settling.push(ledger.settle(&entry));
    }
    for settled in settling {
        settled.await.expect("settled");
    }
    let mut conn = ledger.db.writer().await.expect("a connection");
    let full = "CREATE TRIGGER full BEFORE INSERT ON repriced WHEN (SELECT count(*) FROM repriced) > 2050
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    sqlx::query(full).execute(&mut conn).await.expect("made");
    let catalog = catalog_of(vec![price("new", "new", "1")]);
    let ask = Repricing {
        from: noon(),
        to: at("2027-01-01T00:00:00Z"),
        catalog: &catalog,
        now: at("2026-12-01T00:00:00Z"),
        reason: "",
        dry_run: false,
    };
    let stopped = ledger.reprice(&ask).await.expect_err("the disk is full");
    assert_eq!((stopped.repriced, stopped.through), (2_000, noon().after(Duration::from_secs(1_999))));
    assert_eq!(total(&ledger).await.unpriced_calls, 100, "it is as it says");
    sqlx::query("DROP TRIGGER full").execute(&mut conn).await.expect("gone");
    let rest = ledger.reprice(&ask).await.expect("repriced");
    assert_eq!((rest.calls, rest.repriced, total(&ledger).await.unpriced_calls), (2_100, 100, 0));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

async fn total(ledger: &Ledger) -> Totals {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    ledger.usage(&By::Model, from, to, Calendar::UTC).await.expect("a report").total
}

fn of_model(number: u128, model: &str, cost: Option<i64>, price_id: Option<&str>) -> Entry {
    let mut call = call(number, noon());
    call.model = model.into();
    Entry { cost: cost.map(Usd::from_nanos), price_id: price_id.map(Into::into), ..entry(call) }
}

#[tokio::test]
async fn calls_without_a_price_get_one_that_is_named_later_and_the_entry_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let (unknown, known) = (of_model(1, "new", None, None), of_model(2, "old", Some(7), Some("old")));
    for entry in [&unknown, &known] {
        settle(&ledger, entry).await;
    }
    assert_eq!((total(&ledger).await.known_cost, total(&ledger).await.unpriced_calls), (Usd::from_nanos(7), 1));
    let catalog = catalog_of(vec![price("new", "new", "1")]);
    let planned = reprice(&ledger, &catalog, true).await;
    assert_eq!((total(&ledger).await.unpriced_calls, planned.repriced, planned.were_unpriced), (1, 1, 1));
    assert_eq!(reprice(&ledger, &catalog, false).await, planned);
    // Ten tokens in at a thousand nano-dollars, twenty out at five; the other's price is gone and stays what it was.
    assert_eq!((total(&ledger).await.known_cost, total(&ledger).await.unpriced_calls), (Usd::from_nanos(110_007), 0));
    assert_eq!((planned.before, planned.after, planned.kept), (Usd::from_nanos(7), Usd::from_nanos(110_007), 1));
    let change = PriceChange {
        at: at("2026-12-01T00:00:00Z"),
        old_price_id: String::new(),
        old_cost: None,
        price_id: "new".into(),
        cost: Usd::from_nanos(110_000),
        estimated: false,
        reason: "a new list".into(),
    };
    assert_eq!(ledger.price_changes(unknown.call.id).await, Ok(vec![change]));
    assert_eq!(ledger.call(unknown.call.id).await, Ok(Some(unknown.clone())), "the entry is as it was written");
    let counted = ledger.calls(&Filter::default(), 9).await.expect("calls");
    assert_eq!(counted.iter().map(|entry| entry.cost).max(), Some(Some(Usd::from_nanos(110_000))));
    assert_eq!(reprice(&ledger, &catalog, false).await.repriced, 0, "once is enough");
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn what_costs_nothing_or_is_of_several_models_keeps_its_price() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for entry in [
        of_model(1, "m", Some(0), Some("free:m")),
        of_model(2, "m", Some(0), Some("m")),
        of_model(3, "m", Some(9), Some("m+other")),
        Entry { cache: CacheUse::Hit, ..of_model(4, "m", Some(0), None) },
        Entry { outcome: Outcome::Refused, usage: Usage::default(), ..of_model(5, "m", Some(0), None) },
    ] {
        settle(&ledger, &entry).await;
    }
    let repriced = reprice(&ledger, &catalog_of(vec![price("m", "m", "1")]), false).await;
    assert_eq!((repriced.calls, repriced.kept, repriced.repriced), (4, 4, 0));
    assert_eq!(total(&ledger).await.known_cost, Usd::from_nanos(9));
}

#[tokio::test]
async fn the_model_that_answered_is_priced_and_a_familys_estimate_becomes_exact() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let guessed = of_model(1, "claude-x-9", Some(1), Some("family:claude-x-9=claude-x-1"));
    let priority = of_model(2, "asked", Some(1), Some("priority:claude-x-1"));
    let another = of_model(3, "asked", None, Some("unpriced:claude-x-9"));
    for entry in [&guessed, &another].map(|entry| Entry { estimated: entry.cost.is_some(), ..entry.clone() }) {
        settle(&ledger, &entry).await;
    }
    settle(&ledger, &Entry { estimated: true, ..priority.clone() }).await;
    let catalog = catalog_of(vec![price("claude-x-1", "claude-x-1", "2"), price("claude-x-9", "claude-x-9", "3")]);
    reprice(&ledger, &catalog, false).await;
    let counted = ledger.calls(&Filter::default(), 9).await.expect("calls");
    let present = |id: CallId| {
        let entry = counted.iter().find(|entry| entry.call.id == id).expect("a call");
        (entry.cost.map(Usd::as_nanos), entry.price_id.as_deref(), entry.estimated)
    };
    assert_eq!(present(guessed.call.id), (Some(130_000), Some("claude-x-9"), false));
    assert_eq!(present(another.call.id), (Some(130_000), Some("claude-x-9"), false));
    assert_eq!(present(priority.call.id), (Some(120_000), Some("priority:claude-x-1"), true));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn a_call_that_stayed_in_a_region_is_repriced_at_that_regions_price() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &of_model(1, "us.anthropic.claude-x-1-v1:0", Some(1), Some("claude-x-1:regional"))).await;
    let factors = Factors { regional: 1_100, ..Factors::default() };
    let catalog = catalog_of(vec![Price { factors, ..price("claude-x-1", "claude-x-1", "2") }]);
    reprice(&ledger, &catalog, false).await;
    let counted = ledger.calls(&Filter::default(), 9).await.expect("calls");
    let present = counted.first().map(|entry| (entry.cost.map(Usd::as_nanos), entry.price_id.as_deref()));
    assert_eq!(present, Some((Some(132_000), Some("claude-x-1:regional"))));
}

#[tokio::test]
async fn a_change_of_prices_that_was_tampered_with_is_found() {
    for (sql, number) in [
        ("UPDATE repriced SET cost_nanos = 1 WHERE number = 2", 2),
        ("DELETE FROM repriced WHERE number = 1", 2),
        ("DELETE FROM repriced WHERE number = 3", 0),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (ledger, _) = open(dir.path()).await;
        for number in 0..3 {
            settle(&ledger, &of_model(number, "m", None, None)).await;
        }
        reprice(&ledger, &catalog_of(vec![price("m", "m", "1")]), false).await;
        assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
        raw(dir.path(), sql).await;
        let findings = ledger.verify(Vec::new).await.expect("verified");
        assert!(findings.contains(&Finding::TraceBroken { number }), "{sql}: {findings:?}");
    }
}

#[tokio::test]
async fn more_calls_than_a_page_of_one_moment_are_all_repriced_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..4_500 {
        drop(ledger.settle(&of_model(number, "m", None, None)));
    }
    let repriced = reprice(&ledger, &catalog_of(vec![price("m", "m", "1")]), false).await;
    assert_eq!((repriced.calls, repriced.repriced), (4_500, 4_500));
    assert_eq!(total(&ledger).await.known_cost, Usd::from_nanos(4_500 * 110_000));
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is repriced by whatever list, twice over: the sums are those of the entries.
    #[test]
    fn sums_stay_those_of_the_entries(entries in proptest::collection::vec(any_entry(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let (ledger, _) = open(dir.path()).await;
            let models: Vec<Arc<str>> = entries.iter().step_by(2).map(|entry| entry.call.model.clone()).collect();
            for entry in &entries {
                ledger.settle(entry).await.expect("settled");
            }
            let mut reported = None;
            for input in ["1", "0.25"] {
                let prices = models.iter().map(|model| price(&format!("{model}@{input}"), model, input)).collect();
                reported = Some(reprice(&ledger, &catalog_of(prices), false).await.after);
                assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
            }
            assert_eq!(reported, Some(total(&ledger).await.known_cost));
            let counted = ledger.calls(&Filter::default(), u32::MAX).await.expect("calls");
            let costs = counted.iter().filter(|entry| entry.outcome != Outcome::Refused).filter_map(|entry| entry.cost);
            assert_eq!(costs.sum::<Usd>(), total(&ledger).await.known_cost);
        });
    }
}
