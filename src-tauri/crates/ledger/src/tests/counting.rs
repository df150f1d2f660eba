//! What counts against budgets and windows.

use std::time::Duration;

use super::*;
use crate::{Sent, Spender, Used};

/// One call of `client` and `tenant` at `upstream`; `priced` at a thousand nano-dollars.
fn spent(number: u128, started_at: &str, client: &str, tenant: Option<&str>, priced: bool) -> Entry {
    let mut call = call(number, at(started_at));
    call.who.client = client.into();
    call.who.tenant = tenant.map(Into::into);
    let cost = priced.then(|| Usd::from_nanos(1_000));
    Entry { cost, price_id: cost.map(|_| "test".into()), ..entry(call) }
}

async fn settle(ledger: &Ledger, entries: Vec<Entry>) {
    for entry in entries {
        ledger.settle(&entry).await.expect("written");
    }
}

fn used_by(name: &str, calls: u64, priced: u64) -> Used {
    let tokens = |calls: u64| Tokens { input: 10 * calls, output: 20 * calls, ..Tokens::default() };
    let known_cost = Usd::from_nanos(i64::try_from(priced * 1_000).expect("little"));
    Used { name: name.into(), tokens: tokens(calls), known_cost, unpriced: tokens(calls - priced) }
}

#[tokio::test]
async fn spending_is_summed_from_the_moment_a_period_began_and_unpriced_calls_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(
        &ledger,
        vec![
            spent(1, "2026-11-24T08:06:58Z", "ci", None, true),
            // Every call takes a second and a half: this one counts where it ends.
            spent(2, "2026-11-24T08:06:59Z", "ci", Some("acme"), true),
            spent(3, "2026-11-24T09:00:00Z", "ci", Some("acme"), false),
            spent(4, "2026-11-24T10:00:00Z", "web", Some("other"), true),
            Entry { source: Source::Log, ..spent(5, "2026-11-24T10:00:00Z", "ci", None, true) },
            Entry { outcome: Outcome::Refused, ..spent(6, "2026-11-24T10:00:00Z", "ci", None, true) },
            spent(7, "2026-11-25T00:00:00Z", "ci", None, true),
        ],
    )
    .await;
    // Not the start of a quarter of an hour: the rest of that one is summed by entries.
    let (from, to) = (at("2026-11-24T08:07:00Z"), at("2026-11-25T00:00:00Z"));
    let used = async |of| ledger.used(of, from, to).await.expect("sums");
    let mut clients = used(Spender::Client).await;
    clients.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(total(clients), [used_by("ci", 2, 1), used_by("web", 1, 1)]);
    assert_eq!(total(used(Spender::Tenant).await), [used_by("acme", 2, 1), used_by("other", 1, 1)]);
    assert_eq!(total(used(Spender::Upstream).await), [used_by("anthropic", 3, 2)]);
    assert_eq!(ledger.first_call("anthropic", from).await.expect("asked"), Some(at("2026-11-24T09:00:00Z")));
    assert_eq!(ledger.first_call("other", from).await.expect("asked"), None);
}

/// Parts of one spender, from entries and from rollups, added up.
fn total(parts: Vec<Used>) -> Vec<Used> {
    let mut by_name: BTreeMap<Arc<str>, Used> = BTreeMap::new();
    for part in parts {
        match by_name.get_mut(&part.name) {
            Some(sum) => {
                sum.tokens += part.tokens;
                sum.unpriced += part.unpriced;
                sum.known_cost += part.known_cost;
            }
            None => drop(by_name.insert(part.name.clone(), part)),
        }
    }
    by_name.into_values().collect()
}

#[tokio::test]
async fn every_attempt_of_the_last_minutes_is_told_and_the_last_one_has_the_usage() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let mut twice = spent(1, "2026-11-24T11:50:00Z", "ci", None, true);
    twice.ended_at = at("2026-11-24T11:59:30Z");
    let sent_at = |number: u32, text: &str| Attempt { opened_at: at(text), ..attempt(number, &twice.call) };
    twice.attempts = vec![
        sent_at(1, "2026-11-24T11:50:00Z"),
        sent_at(2, "2026-11-24T11:58:00Z"),
        sent_at(3, "2026-11-24T11:59:00Z"),
    ];
    let old = spent(2, "2026-11-24T11:40:00Z", "ci", None, true);
    settle(&ledger, vec![twice, old]).await;
    let sent = ledger.sent(at("2026-11-24T11:57:00Z"), Duration::from_secs(900)).await.expect("asked");
    let told: Vec<(String, u64)> = sent.iter().map(|sent| (sent.at.to_string(), sent.usage.tokens.prompt())).collect();
    assert_eq!(told, [("2026-11-24T11:58:00.000Z".into(), 0), ("2026-11-24T11:59:00.000Z".into(), 10)]);
    assert!(!sent.iter().any(|sent| sent.interrupted));
}

#[tokio::test]
async fn a_call_that_was_interrupted_counts_for_what_it_had_reserved() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let call = call(1, noon());
    ledger.opened(&call, &opening(&call, 1)).expect("written");
    ledger.checkpoint(call.id, &shown(used(50, 3)), noon()).expect("written");
    let crashed = copy(dir.path());
    let (ledger, _) = open(crashed.path()).await;
    let sent = ledger.sent(noon().before(Duration::from_secs(60)), Duration::ZERO).await.expect("asked");
    let [Sent { usage, reserved, interrupted: true, .. }] = sent.as_slice() else { panic!("one call: {sent:?}") };
    assert_eq!((usage.tokens.output, reserved.tokens.output), (3, 100));
}
