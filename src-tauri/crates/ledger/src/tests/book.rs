//! The ledger against a plain book in memory: random calls, restarts in between, every sum equal.

use proptest::prelude::*;

use super::*;
use crate::Spender;

#[derive(Clone, Debug)]
enum Step {
    Settle(Box<Entry>),
    /// Opens a call that never ends.
    Open(Call),
    Flush,
    /// The next start is in this zone.
    Crash(Tz),
}

/// Days of theirs begin at other quarters, and some have 23 or 25 hours.
const ZONES: [Tz; 4] = [Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__St_Johns];

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-c]", "\\PC{0,6}", ".{0,4}"].prop_map(Arc::from)
}

fn some_text() -> impl Strategy<Value = Option<Arc<str>>> {
    proptest::option::of(text().prop_filter("'' is none", |text| !text.is_empty()))
}

/// In two nights of 23 and 25 hours.
fn moment() -> impl Strategy<Value = Timestamp> {
    let night = prop_oneof![Just("2026-03-28T20:00:00Z"), Just("2026-10-24T20:00:00Z")];
    (night, 0..172_800_000_i64).prop_map(|(start, millis)| Timestamp::from_millis(at(start).as_millis() + millis))
}

fn attribution() -> impl Strategy<Value = Attribution> {
    let tags = proptest::collection::btree_map(text(), text(), 0..3);
    (text(), some_text(), some_text(), some_text(), some_text(), some_text(), tags).prop_map(
        |(client, person, project, tenant, session, agent, tags)| Attribution {
            client,
            person,
            project,
            tenant,
            session,
            agent,
            tags: tags.into_iter().collect(),
        },
    )
}

fn any_call() -> impl Strategy<Value = Call> {
    let rest = (proptest::option::of(0..9_000_u64), any::<bool>(), 0..1_000_000_u64);
    (any::<u64>(), moment(), proptest::sample::select(Class::ALL), attribution(), text(), rest).prop_map(
        |(chance, started_at, class, who, model, (max_tokens, stream, body_bytes))| Call {
            id: CallId::new(started_at, chance.into()),
            started_at,
            class,
            who,
            model,
            max_tokens,
            stream,
            body_bytes,
        },
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    let tokens = proptest::array::uniform6(0..1_000_000_u64);
    (tokens, any::<[bool; 3]>()).prop_map(
        |([input, cache_write_5m, cache_write_1h, cache_read, output, web_searches], [batch, fast, us_only])| Usage {
            tokens: Tokens { input, cache_write_5m, cache_write_1h, cache_read, output },
            web_searches,
            batch,
            fast,
            us_only,
        },
    )
}

fn any_attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let one = (text(), moment(), proptest::option::of(100..600_u16), some_text(), some_text(), any::<bool>());
    proptest::collection::vec(one, 0..3).prop_map(|all| {
        let numbered = all.into_iter().zip(1..);
        numbered
            .map(|((upstream, opened_at, status, request_id, error, maybe_billed), number)| Attempt {
                number,
                upstream,
                opened_at,
                status,
                request_id,
                error,
                maybe_billed,
            })
            .collect()
    })
}

pub(super) fn any_entry() -> impl Strategy<Value = Entry> {
    let cost = proptest::option::of((0..1_000_000_000_000_i64).prop_map(Usd::from_nanos));
    let times = (0..10_000_u64, proptest::option::of(0..10_000_u64), 0..10_000_u64);
    let kinds = (
        proptest::sample::select(Outcome::ALL),
        proptest::sample::select(Source::ALL),
        proptest::sample::select(CacheUse::ALL),
    );
    let saved = proptest::option::of((0..1_000_000_000_000_i64).prop_map(Usd::from_nanos));
    let rest = (any_attempts(), 0..600_u16, some_text(), any::<bool>(), some_text(), (some_text(), saved, some_text()));
    (any_call(), moment(), usage(), cost, times, kinds, rest).prop_map(
        |(call, ended_at, usage, cost, (waited_ms, first_byte_ms, total_ms), (outcome, source, cache), rest)| {
            let (attempts, status, price_id, estimated, error, (account, saved, waited_for)) = rest;
            Entry {
                call,
                ended_at,
                attempts,
                status,
                outcome,
                usage,
                cost,
                price_id,
                estimated,
                source,
                waited_ms,
                waited_for,
                first_byte_ms,
                total_ms,
                cache,
                saved,
                error,
                account,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_entry().prop_map(Box::new).prop_map(Step::Settle),
        2 => any_call().prop_map(Step::Open),
        1 => Just(Step::Flush),
        1 => proptest::sample::select(&ZONES[..]).prop_map(Step::Crash),
    ]
}

/// What an interrupted call must have become is the ledger's own answer: only its bounds are checked.
async fn keep_interrupted(ledger: &Ledger, running: &mut Vec<Call>, book: &mut Vec<Entry>) {
    for call in running.drain(..) {
        let entry = ledger.call(call.id).await.expect("an answer").expect("an entry");
        assert_eq!((&entry.call, entry.outcome, entry.usage), (&call, Outcome::Interrupted, used(50, 1)));
        book.push(entry);
    }
}

fn summed<'a>(entries: impl Iterator<Item = &'a Entry>) -> Totals {
    let mut totals = Totals::default();
    for entry in entries.filter(|entry| entry.outcome != Outcome::Refused) {
        totals.calls += 1;
        totals.tokens += entry.usage.tokens;
        totals.known_cost += entry.cost.unwrap_or_default();
        totals.unpriced_calls += u64::from(entry.cost.is_none());
        totals.cache_hits += u64::from(entry.cache == CacheUse::Hit);
        totals.cache_misses += u64::from(entry.cache == CacheUse::Miss);
        totals.saved += entry.saved.unwrap_or_default();
    }
    totals
}

type Key = fn(&Entry) -> String;

fn none_is_empty(text: &Option<Arc<str>>) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}

fn tag(entry: &Entry) -> String {
    let tag = entry.call.who.tags.iter().find(|(key, _)| **key == *"a");
    tag.map_or(String::new(), |(_, value)| value.to_string())
}

const QUESTIONS: [(&str, Key); 10] = [
    ("day", |entry| Calendar::in_zone(Tz::Europe__Berlin).day(entry.call.started_at).to_string()),
    ("model", |entry| entry.call.model.to_string()),
    ("client", |entry| entry.call.who.client.to_string()),
    ("person", |entry| none_is_empty(&entry.call.who.person)),
    ("project", |entry| none_is_empty(&entry.call.who.project)),
    ("tenant", |entry| none_is_empty(&entry.call.who.tenant)),
    ("session", |entry| none_is_empty(&entry.call.who.session)),
    ("account", |entry| none_is_empty(&entry.account)),
    ("upstream", |entry| entry.attempts.last().map_or(String::new(), |last| last.upstream.to_string())),
    ("tag:a", tag),
];

async fn compare(ledger: &Ledger, book: &[Entry]) {
    let berlin = Calendar::in_zone(Tz::Europe__Berlin);
    let ranges = [("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), ("2026-03-29T01:07:31Z", "2026-10-25T02:00:00Z")];
    for (from, to) in ranges.map(|(from, to)| (at(from), at(to))) {
        let inside = |entry: &&Entry| from <= entry.call.started_at && entry.call.started_at < to;
        for (by, key) in QUESTIONS {
            let report = ledger.usage(&By::named(by).expect("a question"), from, to, berlin).await.expect("a report");
            assert_eq!(report.total, summed(book.iter().filter(inside)), "by {by}");
            for row in report.rows {
                let of_key = book.iter().filter(inside).filter(|entry| key(entry) == row.key);
                assert_eq!(row.totals, summed(of_key), "by {by}: {:?}", row.key);
            }
        }
    }
    compare_dashboard(ledger, book).await;
    compare_used(ledger, book).await;
    for entry in book {
        assert_eq!(ledger.call(entry.call.id).await.expect("an answer").as_ref(), Some(entry));
    }
    assert_eq!(count(ledger).await, book.len());
}

/// Every call is in one row, in whatever zone it is asked for.
async fn compare_dashboard(ledger: &Ledger, book: &[Entry]) {
    let (from, to) = (at("2026-03-29T01:07:31Z"), at("2026-10-25T02:00:00Z"));
    for calendar in ZONES.map(Calendar::in_zone) {
        let rows = ledger.dashboard(from, to, calendar).await.expect("rows");
        let mut calls = 0;
        for row in rows {
            let of_row = book.iter().filter(|entry| {
                from <= entry.call.started_at
                    && entry.call.started_at < to
                    && calendar.day(entry.call.started_at).to_string() == row.day
                    && (&*entry.call.model, &*entry.call.who.client) == (&row.model, &row.client)
            });
            assert_eq!(row.totals, summed(of_row), "{} {:?} {:?}", row.day, row.model, row.client);
            calls += row.totals.calls;
        }
        let inside = |entry: &&Entry| from <= entry.call.started_at && entry.call.started_at < to;
        assert_eq!(calls, summed(book.iter().filter(inside)).calls);
    }
}

/// What budgets ask for: exact to the token and the nano-dollar, and what has no price apart.
async fn compare_used(ledger: &Ledger, book: &[Entry]) {
    let (from, to) = (at("2026-03-28T23:00:00Z"), at("2026-10-25T23:00:00Z"));
    let spenders: [(Spender, Key); 5] = [
        (Spender::Client, |entry| entry.call.who.client.to_string()),
        (Spender::Person, |entry| none_is_empty(&entry.call.who.person)),
        (Spender::Project, |entry| none_is_empty(&entry.call.who.project)),
        (Spender::Tenant, |entry| none_is_empty(&entry.call.who.tenant)),
        (Spender::Upstream, |entry| entry.attempts.last().map_or(String::new(), |last| last.upstream.to_string())),
    ];
    for (spender, key) in spenders {
        let mut used: BTreeMap<String, (Tokens, Tokens, Usd)> = BTreeMap::new();
        for part in ledger.used(spender, from, to).await.expect("sums") {
            let sum = used.entry(part.name.to_string()).or_default();
            *sum = (sum.0 + part.tokens, sum.1 + part.unpriced, sum.2 + part.known_cost);
        }
        let mut expected: BTreeMap<String, (Tokens, Tokens, Usd)> = BTreeMap::new();
        for entry in book.iter().filter(|entry| counts(entry, from, to)) {
            let unpriced = if entry.cost.is_none() { entry.usage.tokens } else { Tokens::default() };
            let sum = expected.entry(key(entry)).or_default();
            *sum = (sum.0 + entry.usage.tokens, sum.1 + unpriced, sum.2 + entry.cost.unwrap_or_default());
        }
        assert_eq!(used, expected, "by {spender:?}");
    }
}

/// A call that began in the hour before counts where it ended.
fn counts(entry: &Entry, from: Timestamp, to: Timestamp) -> bool {
    let started = entry.call.started_at;
    let has_begun = started >= from || started >= from.before(Duration::from_secs(3_600)) && entry.ended_at >= from;
    let is_counted = entry.outcome != Outcome::Refused && entry.source == Source::Gateway;
    is_counted && has_begun && started < to
}

async fn run(steps: Vec<Step>) {
    let mut dir = tempfile::tempdir().expect("a folder");
    let mut ledger = open(dir.path()).await.0;
    let (mut book, mut running) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Settle(entry) => {
                settle(&ledger, &entry).await;
                book.push(*entry);
            }
            Step::Open(call) => {
                ledger.opened(&call, &opening(&call, 1)).expect("opened");
                running.push(call);
            }
            Step::Flush => ledger.flush().await.expect("folded"),
            Step::Crash(zone) => {
                dir = copy(dir.path());
                ledger = open_in(dir.path(), Calendar::in_zone(zone)).await.0;
                keep_interrupted(&ledger, &mut running, &mut book).await;
            }
        }
    }
    compare(&ledger, &book).await;
    let running: Vec<CallId> = running.iter().map(|call| call.id).collect();
    assert_eq!(ledger.verify(|| running).await, Ok(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_a_plain_book(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(run(steps));
    }
}
