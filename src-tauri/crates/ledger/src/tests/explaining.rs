//! A bill taken apart: every way of dividing it adds up to what `usage` says.

use proptest::prelude::*;

use super::*;
use crate::{Explanation, Reason, Share};

fn priced(model: &str, input: &str) -> Price {
    let rate = |text| Rate::per_mtok(text).expect("a rate");
    let rates = Rates {
        input: rate(input),
        cache_write_5m: rate("3.75"),
        cache_write_1h: rate("6"),
        cache_read: rate("0.3"),
        output: rate("15"),
    };
    Price {
        id: model.into(),
        model: model.into(),
        platform: None,
        valid_from: None,
        rates,
        long_prompt: None,
        batch: None,
        factors: Factors { us_only: 1_100, fast: 2_000, ..Factors::default() },
        web_search: Usd::from_nanos(10_000_000),
        source: "test".into(),
    }
}

fn prices() -> Catalog {
    Catalog::new(vec![priced("a", "3"), priced("b", "1.1")], vec![], vec![])
}

/// A call of a session at a minute of the day, priced by the catalogue.
fn told(number: u128, minute: u64, session: &str, agent: &str, model: &str, usage: Usage) -> Entry {
    let started_at = noon().after(Duration::from_secs(60 * minute));
    let mut call = call(number, started_at);
    let some = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    (call.who.session, call.who.agent, call.model) = (some(session), some(agent), model.into());
    let charge = prices().charge("", model, &usage, started_at);
    Entry { usage, cost: charge.cost, price_id: charge.price_id, ..entry(call) }
}

fn cached(cache_read: u64, cache_write_5m: u64) -> Usage {
    Usage { tokens: Tokens { cache_read, cache_write_5m, ..Tokens::default() }, ..Usage::default() }
}

async fn explained(entries: &[Entry]) -> (Explanation, Totals) {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for entry in entries {
        ledger.settle(entry).await.expect("settled");
    }
    let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let usage = ledger.usage(&By::Model, from, to, Calendar::UTC).await.expect("a report");
    (ledger.explain(&prices(), from, to).await.expect("explained"), usage.total)
}

fn of(explanation: &Explanation, reason: Reason) -> Share {
    let found = explanation.bill.reasons.iter().find(|(r, _)| *r == reason);
    found.map(|(_, share)| *share).unwrap_or_default()
}

#[tokio::test]
async fn a_broken_prefix_is_found_in_its_session_and_costs_what_writing_adds_to_reading() {
    let entries = [
        told(1, 0, "s", "", "a", cached(0, 100_000)),
        told(2, 1, "s", "", "a", cached(100_000, 1_000)),
        // Another agent, another model, another session: each has a cache of its own.
        told(3, 1, "s", "agent", "a", cached(0, 50_000)),
        told(4, 1, "s", "", "b", cached(0, 50_000)),
        told(5, 1, "t", "", "a", cached(0, 50_000)),
        told(6, 2, "s", "", "a", cached(20_000, 90_000)),
        told(7, 2, "", "", "a", cached(0, 50_000)),
        told(8, 3, "", "", "a", cached(0, 50_000)),
    ];
    let (explanation, total) = explained(&entries).await;
    assert_eq!(explanation.bill.cost, total.known_cost);
    // 81,000 tokens at 3.75 − 0.3.
    let expected = Share { calls: 1, cost: Usd::from_nanos(81_000 * 3_450) };
    assert_eq!(of(&explanation, Reason::BrokenPrefixes), expected);
    assert_eq!((explanation.bill.rewritten_tokens, explanation.bill.subagents.calls), (81_000, 1));
    let dearest = &explanation.sessions[0];
    assert_eq!((dearest.name.session.as_str(), dearest.bill.calls), ("s", 5));
    assert_eq!((dearest.from, dearest.to), (noon(), noon().after(Duration::from_secs(120))));
    assert_eq!(explanation.sessions.len(), 3);
}

#[tokio::test]
async fn a_call_of_unknown_price_is_counted_and_in_no_sum() {
    let used = Usage { tokens: Tokens { input: 1_000, ..Tokens::default() }, ..Usage::default() };
    let refused = Entry { outcome: Outcome::Refused, ..told(3, 2, "s", "", "a", used) };
    let entries = [told(1, 0, "s", "", "a", used), told(2, 1, "s", "", "unknown", used), refused];
    let (explanation, _) = explained(&entries).await;
    let bill = &explanation.bill;
    assert_eq!((bill.calls, bill.unpriced_calls, bill.cost), (2, 1, Usd::from_nanos(3_000_000)));
    assert_eq!(bill.models, [("a".to_owned(), Share { calls: 1, cost: bill.cost })]);
}

fn any_told() -> impl Strategy<Value = (u64, &'static str, &'static str, &'static str, Usage)> {
    let names = (
        proptest::sample::select(vec!["", "s", "t", "u", "v", "w", "x", "y"]),
        proptest::sample::select(vec!["", "agent"]),
        proptest::sample::select(vec!["a", "b", "unknown"]),
    );
    let usage =
        (proptest::array::uniform6(0..100_000_u64), any::<[bool; 3]>()).prop_map(|(counts, [batch, fast, us_only])| {
            let [input, cache_write_5m, cache_write_1h, cache_read, output, web_searches] = counts;
            let tokens = Tokens { input, cache_write_5m, cache_write_1h, cache_read, output };
            Usage { tokens, web_searches: web_searches % 3, batch, fast, us_only }
        });
    (0..2_000_u64, names, usage)
        .prop_map(|(minute, (session, agent, model), usage)| (minute, session, agent, model, usage))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reasons_models_and_sessions_add_up_to_the_nano_dollar(calls in proptest::collection::vec(any_told(), 0..40)) {
        let entries: Vec<Entry> = calls
            .iter()
            .zip(1..)
            .map(|((minute, session, agent, model, usage), number)| told(number, *minute, session, agent, model, *usage))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (explanation, total) = runtime.block_on(explained(&entries));
        let sum = |shares: Vec<Share>| shares.iter().map(|share| share.cost).sum::<Usd>();
        let bills = std::iter::once(&explanation.bill).chain(explanation.sessions.iter().map(|session| &session.bill));
        for bill in bills {
            prop_assert_eq!(sum(bill.reasons.iter().map(|(_, share)| *share).collect()), bill.cost);
            prop_assert_eq!(sum(bill.models.iter().map(|(_, share)| *share).collect()), bill.cost);
            prop_assert!(bill.subagents.cost <= bill.cost);
        }
        let bill = &explanation.bill;
        prop_assert_eq!((bill.calls, bill.unpriced_calls, bill.cost), (total.calls, total.unpriced_calls, total.known_cost));
        let dearest: Vec<Usd> = explanation.sessions.iter().map(|session| session.bill.cost).collect();
        prop_assert!(dearest.is_sorted_by(|a, b| a >= b) && dearest.len() <= 5);
    }
}
