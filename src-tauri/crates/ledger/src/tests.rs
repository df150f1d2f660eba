//! The ledger as its callers see it.

use std::sync::Arc;

use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry, Opening, Outcome, Source};
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::{Tokens, Usage};

use crate::{By, Durability, Filter, Ledger, Options};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn call(number: u128, started_at: Timestamp) -> Call {
    Call {
        id: CallId::new(started_at, number),
        started_at,
        class: Class::Normal,
        who: Attribution { client: "ci".into(), ..Attribution::default() },
        model: "claude-sonnet-4-5".into(),
        max_tokens: Some(100),
        stream: true,
        body_bytes: 300,
    }
}

fn opening(call: &Call, number: u32) -> Opening {
    let tokens = Tokens { input: 50, output: 100, ..Tokens::default() };
    let reserved = Usage { tokens, ..Usage::default() };
    Opening { number, upstream: "anthropic".into(), at: call.started_at, reserved }
}

fn entry(call: Call) -> Entry {
    let attempt = Attempt {
        number: 1,
        upstream: "anthropic".into(),
        opened_at: call.started_at,
        status: Some(200),
        request_id: Some("req_1".into()),
        error: None,
        maybe_billed: false,
    };
    let tokens = Tokens { input: 10, output: 20, cache_read: 5, ..Tokens::default() };
    Entry {
        ended_at: Timestamp::from_millis(call.started_at.as_millis() + 1_500),
        attempts: vec![attempt],
        status: 200,
        outcome: Outcome::Completed,
        usage: Usage { tokens, ..Usage::default() },
        cost: Some(Usd::from_nanos(330_000)),
        price_id: Some("claude-sonnet-4-5".into()),
        estimated: false,
        source: Source::Gateway,
        waited_ms: 3,
        first_byte_ms: Some(400),
        total_ms: 1_500,
        cache: CacheUse::Off,
        error: None,
        call,
    }
}

fn options(durability: Durability) -> Options {
    Options { durability, catalog: Arc::new(Catalog::default()) }
}

#[tokio::test]
async fn a_settled_call_is_in_the_next_answer_as_it_was_settled() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().expect("a folder");
        let (ledger, _) = Ledger::open(dir.path(), options(durability)).await.expect("a ledger");
        let entry = entry(call(1, at("2026-11-24T22:40:08Z")));
        ledger.opened(&entry.call, &opening(&entry.call, 1)).expect("written");
        ledger.settle(&entry).await.expect("settled");
        assert_eq!(ledger.call(entry.call.id).await.expect("an answer").as_ref(), Some(&entry));
        assert_eq!(ledger.calls(&Filter::default(), 10).await.expect("an answer"), vec![entry]);
        assert_eq!(ledger.verify(&[]).await.expect("checked"), vec![]);
        let report = ledger.usage(&By::Model, at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"), Calendar::UTC);
        let report = report.await.expect("an answer");
        assert_eq!(report.total.calls, 1);
        assert_eq!(report.total.cost(), Some(Usd::from_nanos(330_000)));
        ledger.close().await.expect("closed");
    }
}
