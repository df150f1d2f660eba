//! Logs and events, in any order, as often as one likes: each call counts once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use domain::attribution::{AttributeRule, Labels, When};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Event, ImportReport, Terms, Told};

fn terms() -> Terms {
    Terms { catalog: Arc::new(catalog()).into(), rules: Default::default() }
}

async fn import(ledger: &Ledger, path: &Path) -> ImportReport {
    let paths = [path.to_owned()];
    ledger.import_claude_code(&paths, &terms(), at("2026-11-25T00:00:00Z"), |_| {}).await.expect("imported")
}

async fn totals(ledger: &Ledger) -> Totals {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let report = ledger.usage(&By::Model, from, to, Calendar::UTC).await.expect("a report");
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    report.total
}

/// A line as Claude Code writes it.
fn line(message: &str, request: &str, output: u64, sidechain: bool) -> Value {
    json!({
        "type": "assistant", "uuid": format!("u-{message}-{request}-{output}-{sidechain}"), "sessionId": "s-1",
        "requestId": request, "timestamp": "2026-11-24T10:00:00.000Z", "version": "2.1.97", "cwd": "/home/u/shop",
        "gitBranch": "feat/x", "isSidechain": sidechain,
        "message": {"id": message, "role": "assistant", "model": MODEL, "stop_reason": null, "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 500,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": output, "service_tier": "standard", "speed": "standard", "inference_geo": "global"}}
    })
}

fn log(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        Tree(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join("projects").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

async fn empty() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    (dir, ledger)
}

#[tokio::test]
async fn what_other_models_did_in_a_call_costs_what_they_cost_and_what_was_declined_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    let tree = Tree::new();
    let [mut helped, mut declined, mut priority, mut strange] =
        ["m-1", "m-2", "m-3", "m-4"].map(|message| line(message, &format!("r-{message}"), 4, false));
    helped["message"]["usage"]["iterations"] = json!([
        {"type": "message", "input_tokens": 3, "output_tokens": 4},
        {"type": "compaction", "input_tokens": 100, "output_tokens": 7},
        {"type": "advisor_message", "model": "unknown", "input_tokens": 50, "output_tokens": 1}]);
    declined["message"]["stop_reason"] = "refusal".into();
    declined["message"]["content"] = json!([]);
    priority["message"]["usage"]["service_tier"] = "priority".into();
    strange["message"]["usage"]["iterations"] = json!({"type": 7});
    tree.write("p/s.jsonl", log(&[helped, declined, priority, strange]));
    assert_eq!(import(&ledger, tree.path()).await.skipped.unreadable, 0);
    let calls = ledger.calls(&Filter::default(), 9).await.expect("calls");
    let mut said: Vec<_> = calls
        .iter()
        .map(|entry| {
            let cost = entry.cost.map_or_else(|| "unknown".to_owned(), |cost| cost.as_nanos().to_string());
            format!("{cost} {} {}", entry.price_id.as_deref().unwrap_or_default(), entry.usage.tokens.output)
        })
        .collect();
    said.sort();
    // Three tokens in at a nano-dollar, four out at five.
    assert_eq!(said, ["0 free:test 4", "23 priority:test 4", "23 test 4", "unknown test+test+unpriced:unknown 12"]);
}

#[tokio::test]
async fn a_logged_call_is_an_entry_with_all_that_the_line_tells() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    tree.write("p/s-1/subagents/agent-a1b2.jsonl", log(&[line("m", "req_1", 7, true)]));
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.files, report.entered.calls, report.named.len()), (1, 1, 0));
    let entry = ledger.calls(&Filter::default(), 9).await.expect("calls").pop().expect("one");
    let who = &entry.call.who;
    assert_eq!((&*who.client, who.project.as_deref()), ("claude-code", Some("shop")));
    assert_eq!((who.session.as_deref(), who.agent.as_deref()), (Some("s-1"), Some("a1b2")));
    assert_eq!(who.tags, [("branch".into(), "feat/x".into())]);
    assert_eq!((entry.source, entry.estimated, entry.cost), (Source::Log, false, Some(Usd::from_nanos(3 + 7 * 5))));
    let tokens = Tokens { input: 3, cache_write_5m: 10, cache_write_1h: 20, cache_read: 500, output: 7 };
    assert_eq!(entry.usage, Usage { tokens, ..Usage::default() });
}

#[tokio::test]
async fn a_file_that_is_named_is_read_whatever_its_name_ends_in() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let named = tree.write("p/lg.txt", log(&[line("m", "r", 7, false)]));
    assert_eq!(import(&ledger, tree.path()).await.files, 0, "in a folder it is none");
    let report = import(&ledger, &named).await;
    assert_eq!((report.files, report.files_read, report.entered.calls, report.named), (1, 1, 1, vec![]));
    for (name, text, files) in
        [("passwd", "root:x:0:0:root:/root:/bin/sh\n", 1), ("picture", "\u{0}\u{1}\u{2}", 1), ("empty.jsonl", "", 0)]
    {
        let report = import(&ledger, &tree.write(name, text)).await;
        let said = report.named.join("; ");
        assert!(said.contains(name) && said.contains("none of its lines is one of a Claude Code log"), "{said}");
        assert_eq!((report.files, report.skipped.files), (1, files), "{name}");
    }
    assert_eq!(totals(&ledger).await.calls, 1);
}

#[tokio::test]
async fn of_chunks_that_grow_the_last_counts_even_when_it_comes_with_the_next_import() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let chunks = [line("m", "r", 1, false), line("m", "r", 40, false), line("m", "r", 90, false)];
    let path = tree.write("p/s.jsonl", log(&chunks[..2]));
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.tokens.output, 40);
    fs::write(&path, log(&chunks)).expect("written");
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.lines, report.entered.revised), (1, 1), "only what is new is read");
    let totals = totals(&ledger).await;
    assert_eq!((totals.calls, totals.tokens.output), (1, 90));
    assert_eq!(ledger.calls(&Filter::default(), 9).await.expect("calls").len(), 1, "the smaller one is not shown");
}

#[tokio::test]
async fn a_sidechain_s_replay_gives_way_to_the_message_itself() {
    for order in [[0, 1], [1, 0]] {
        let (_dir, ledger) = empty().await;
        let tree = Tree::new();
        let lines = [line("m", "req_new", 90, true), line("m", "req_own", 80, false)];
        for which in order {
            tree.write(&format!("p/{which}.jsonl"), log(&lines[which..=which]));
            import(&ledger, tree.path()).await;
        }
        let totals = totals(&ledger).await;
        assert_eq!((totals.calls, totals.tokens.output), (1, 80), "{order:?}");
    }
}

#[tokio::test]
async fn lines_without_ids_are_calls_of_their_own_and_their_copies_are_not() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let mut lines = [line("", "", 5, false), line("", "", 6, false)];
    for line in &mut lines {
        line["requestId"] = Value::Null;
        line["message"]["id"] = Value::Null;
    }
    tree.write("p/a.jsonl", log(&lines));
    tree.write("p/fork.jsonl", log(&lines));
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.calls, 2);
}

fn through_gateway(request: &str) -> Entry {
    let mut entry = entry(call(1, at("2026-11-24T10:00:00Z")));
    entry.attempts[0].request_id = Some(request.into());
    entry
}

fn event(request: &str, output: u64) -> Told {
    Told::of_event(told_event(request, output)).expect("an id")
}

fn told_event(request: &str, output: u64) -> Event {
    let at = at("2026-11-24T10:00:01Z");
    Event {
        request_id: request.into(),
        at,
        model: MODEL.into(),
        input: 3,
        output,
        cache_read: 500,
        cache_write: 30,
        ..Event::default()
    }
}

#[tokio::test]
async fn what_went_through_the_gateway_is_not_counted_again_whichever_comes_first() {
    for is_gateway_first in [true, false] {
        let (_dir, ledger) = empty().await;
        let tree = Tree::new();
        tree.write("p/s.jsonl", log(&[line("m", "req_1", 7, false), line("m", "req_copy", 7, true)]));
        if is_gateway_first {
            settle(&ledger, &through_gateway("req_1")).await;
        }
        import(&ledger, tree.path()).await;
        ledger.tell(vec![event("req_1", 7)], &terms()).await.expect("told");
        if !is_gateway_first {
            assert_eq!(totals(&ledger).await.tokens.output, 7);
            settle(&ledger, &through_gateway("req_1")).await;
        }
        let totals = totals(&ledger).await;
        assert_eq!((totals.calls, totals.tokens.output), (1, 20), "gateway first: {is_gateway_first}");
        let calls = ledger.calls(&Filter::default(), 9).await.expect("calls");
        assert_eq!(calls.iter().map(|entry| entry.source).collect::<Vec<_>>(), [Source::Gateway]);
    }
}

/// A call with the counts of `line` with 7 tokens of output.
fn like_a_line(request: &str, session: &str) -> Entry {
    let mut entry = through_gateway(request);
    entry.call.who.session = Some(session.into());
    let tokens = Tokens { input: 3, cache_write_5m: 30, cache_write_1h: 0, cache_read: 500, output: 7 };
    entry.usage = Usage { tokens, ..Usage::default() };
    entry
}

#[tokio::test]
async fn a_line_without_a_request_is_of_the_call_that_ran_then_and_used_the_same() {
    let later = |mut line: Value| {
        line["timestamp"] = "2026-11-24T10:30:00Z".into();
        line
    };
    let old = |message, output| {
        let mut line = line(message, "", output, false);
        line["requestId"] = Value::Null;
        line
    };
    for (lines, session, calls) in [
        (vec![old("m", 7)], "s-1", 1),
        (vec![old("m", 1), old("m", 7)], "s-1", 1),
        (vec![old("m", 7)], "", 1),
        (vec![old("m", 7)], "s-2", 2),
        (vec![old("m", 8)], "s-1", 2),
        (vec![later(old("m", 7))], "s-1", 2),
        (vec![old("m", 7), old("n", 7)], "s-1", 2),
        (vec![line("m", "req_1", 7, false), old("n", 7)], "s-1", 2),
    ] {
        let (_dir, ledger) = empty().await;
        let tree = Tree::new();
        settle(&ledger, &like_a_line("req_1", session)).await;
        for _ in 0..2 {
            tree.write("p/s.jsonl", log(&lines));
            import(&ledger, tree.path()).await;
            assert_eq!(totals(&ledger).await.calls, calls, "{session} {lines:?}");
            tree.write("p/s.jsonl", "");
            import(&ledger, tree.path()).await;
        }
    }
}

#[tokio::test]
async fn a_line_of_a_chunk_gives_way_when_the_whole_of_it_is_that_of_a_call() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let chunk = |output| {
        let mut line = line("m", "", output, false);
        line["requestId"] = Value::Null;
        line
    };
    tree.write("p/s.jsonl", log(&[chunk(1)]));
    import(&ledger, tree.path()).await;
    settle(&ledger, &like_a_line("req_1", "s-1")).await;
    assert_eq!(totals(&ledger).await.calls, 2);
    tree.write("p/s.jsonl", log(&[chunk(1), chunk(7)]));
    import(&ledger, tree.path()).await;
    let totals = totals(&ledger).await;
    assert_eq!((totals.calls, totals.tokens.output), (1, 7));
}

#[tokio::test]
async fn events_are_taken_in_in_parts_and_may_come_again_after_one_that_failed() {
    let (_dir, ledger) = empty().await;
    let events = || (0..5_000).map(|number| event(&format!("req_{number}"), 1)).collect::<Vec<_>>();
    let mut conn = ledger.db.writer().await.expect("a connection");
    let full = "CREATE TRIGGER full BEFORE INSERT ON told WHEN (SELECT count(*) FROM told) > 4500
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    sqlx::query(full).execute(&mut conn).await.expect("made");
    ledger.tell(events(), &terms()).await.expect_err("the disk is full");
    assert_eq!(totals(&ledger).await.calls, 4_000);
    sqlx::query("DROP TRIGGER full").execute(&mut conn).await.expect("gone");
    ledger.tell(events(), &terms()).await.expect("told");
    assert_eq!(totals(&ledger).await.calls, 5_000);
}

#[tokio::test]
async fn ids_and_names_without_end_are_bounded_and_still_tell_calls_apart() {
    let (_dir, ledger) = empty().await;
    let long = |end: &str| "x".repeat(1 << 20) + end;
    let told = |end: &str| Event { model: long(""), session: long(""), ..told_event(&long(end), 1) };
    let told = ["a", "b", "a"].map(|end| Told::of_event(told(end)).expect("an id"));
    ledger.tell(told.to_vec(), &terms()).await.expect("told");
    let tree = Tree::new();
    tree.write("p/s.jsonl", log(&[line(&long("m"), &long("r"), 1, false), line(&long("n"), &long("r"), 1, false)]));
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.calls, 4);
    let bytes: i64 =
        sqlx::query_scalar("SELECT max(length(message_id) + length(request_id) + length(facts)) FROM told")
            .fetch_one(&ledger.readers)
            .await
            .expect("a number");
    assert!(bytes < 16 << 10, "{bytes}");
}

#[tokio::test]
async fn an_event_stands_before_a_log_and_takes_from_it_what_it_does_not_know() {
    for is_log_first in [true, false] {
        let (_dir, ledger) = empty().await;
        let tree = Tree::new();
        tree.write("p/s.jsonl", log(&[line("m", "req_1", 7, false)]));
        if is_log_first {
            import(&ledger, tree.path()).await;
        }
        ledger.tell(vec![event("req_1", 8)], &terms()).await.expect("told");
        if !is_log_first {
            assert!(ledger.calls(&Filter::default(), 9).await.expect("calls")[0].estimated);
            import(&ledger, tree.path()).await;
        }
        assert_eq!(totals(&ledger).await.calls, 1);
        let entry = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0);
        assert_eq!((entry.source, entry.estimated, entry.usage.tokens.output), (Source::Otel, false, 8));
        assert_eq!((entry.usage.tokens.cache_write_5m, entry.usage.tokens.cache_write_1h), (10, 20));
        assert_eq!(entry.call.who.project.as_deref(), Some("shop"));
    }
}

#[tokio::test]
async fn who_told_of_a_call_what_each_said_and_which_counts_is_known() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    tree.write("p/s.jsonl", log(&[line("m", "req_1", 7, false), line("m", "req_copy", 7, true)]));
    import(&ledger, tree.path()).await;
    let logged = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0).call.id;
    ledger.tell(vec![event("req_1", 8)], &terms()).await.expect("told");
    let heard = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0).call.id;
    let told = ledger.provenance(heard).await.expect("known");
    let said = told.tellings.iter().map(|told| (told.source, told.usage.tokens.output, told.call, told.is_copy));
    let expected = [(Source::Otel, 8, Some(heard), false), (Source::Log, 7, None, false), (Source::Log, 7, None, true)];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    assert_eq!((told.superseded, told.supersedes, told.through_gateway), (None, vec![], None));
    let told = ledger.provenance(logged).await.expect("known");
    assert_eq!(told.superseded, Some(Some(heard)), "it gave way to telemetry's entry of the same call");
    let gateway = through_gateway("req_1");
    settle(&ledger, &gateway).await;
    let told = ledger.provenance(gateway.call.id).await.expect("known");
    assert_eq!((told.tellings.len(), told.superseded, told.supersedes), (3, None, vec![heard]));
    assert!(told.tellings.iter().all(|told| told.call.is_none()), "nothing but the gateway counts");
    let told = ledger.provenance(heard).await.expect("known");
    assert_eq!((told.superseded, told.through_gateway), (Some(Some(gateway.call.id)), Some(gateway.call.id)));
    let told = ledger.provenance(logged).await.expect("known");
    assert_eq!(told.superseded, Some(Some(gateway.call.id)), "it gave way to telemetry, and that to the gateway");
}

#[tokio::test]
async fn rules_name_whose_a_logged_call_is() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    tree.write("p/s.jsonl", log(&[line("m", "r", 7, false)]));
    let some = |text: &str| Some(Arc::from(text));
    let tags = vec![("team".into(), "gate".into()), ("branch".into(), "any".into())];
    let labels = Labels {
        client: some("laptop"),
        person: some("ada"),
        project: some("p"),
        tenant: some("t"),
        agent: some("main"),
        tags: tags.clone(),
    };
    let rule = AttributeRule { when: When::Cwd, pattern: "/home/*/shop".into(), labels };
    let terms = Terms { rules: Arc::<[AttributeRule]>::from([rule]).into(), ..terms() };
    let paths = [tree.path().to_owned()];
    ledger.import_claude_code(&paths, &terms, at("2026-11-25T00:00:00Z"), |_| {}).await.expect("imported");
    let who = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0).call.who;
    assert_eq!((&*who.client, who.person.as_deref(), who.project.as_deref()), ("laptop", Some("ada"), Some("p")));
    assert_eq!(
        (who.tenant.as_deref(), who.agent.as_deref(), who.session.as_deref()),
        (Some("t"), Some("main"), Some("s-1"))
    );
    assert_eq!(who.tags.iter().collect::<BTreeSet<_>>(), tags.iter().collect());
}

#[tokio::test]
async fn a_configuration_folder_is_an_account_and_telemetry_names_it_better() {
    let (_dir, ledger) = empty().await;
    let (one, other) = (Tree::new(), Tree::new());
    one.write("p/s.jsonl", log(&[line("m1", "r1", 7, false), line("m3", "r3", 7, false)]));
    other.write("p/s.jsonl", log(&[line("m2", "r2", 7, false)]));
    import(&ledger, one.path()).await;
    import(&ledger, other.path()).await;
    let named = Event { account: "org".into(), ..told_event("r3", 7) };
    ledger.tell(vec![Told::of_event(named).expect("an id")], &terms()).await.expect("told");
    let accounts = ledger.calls(&Filter::default(), 9).await.expect("calls").into_iter().map(|entry| entry.account);
    let accounts: BTreeSet<_> = accounts.map(|account| account.expect("an account").to_string()).collect();
    let folder = |tree: &Tree| tree.path().canonicalize().expect("there").to_string_lossy().into_owned();
    assert_eq!(accounts, [folder(&one), folder(&other), "org".to_owned()].into_iter().collect());
}

#[tokio::test]
async fn a_refusal_before_the_first_word_is_free_and_one_after_it_is_not() {
    for (contents, cost) in [
        (vec![json!([])], 0),
        (vec![json!([{"type": "text", "text": "I"}]), json!([])], 3 + 7 * 5),
        (vec![json!([{"type": "text", "text": "I can"}])], 3 + 7 * 5),
    ] {
        let (_dir, ledger) = empty().await;
        let tree = Tree::new();
        let lines: Vec<Value> = contents
            .into_iter()
            .map(|content| {
                let mut line = line("m", "r", 7, false);
                (line["message"]["stop_reason"], line["message"]["content"]) = ("refusal".into(), content);
                line
            })
            .collect();
        tree.write("p/s.jsonl", log(&lines));
        import(&ledger, tree.path()).await;
        let entry = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0);
        assert_eq!(entry.cost, Some(Usd::from_nanos(cost)), "{lines:?}");
    }
}

#[tokio::test]
async fn what_ran_beside_an_answer_is_billed_too() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let step = |kind: &str, model: &str, input: u64, output: u64| json!({"type": kind, "model": model, "input_tokens": input, "output_tokens": output});
    let mut advised = line("m1", "r1", 7, false);
    advised["message"]["usage"]["iterations"] = json!([
        step("message", MODEL, 3, 7),
        step("compaction", MODEL, 100, 10),
        step("advisor_message", "unheard-of", 1, 1)
    ]);
    let mut compacted = line("m2", "r2", 7, false);
    compacted["message"]["usage"]["iterations"] =
        json!([{"type": "compaction", "input_tokens": 100, "output_tokens": 10}]);
    let mut taken_over = line("m3", "r3", 9, false);
    taken_over["message"]["usage"]["iterations"] = json!([
        step("message", "unheard-of", 50, 0),
        step("message", "claude-other", 30, 4),
        step("fallback_message", MODEL, 3, 5)
    ]);
    tree.write("p/s.jsonl", log(&[advised, compacted, taken_over]));
    import(&ledger, tree.path()).await;
    let told = ledger.calls(&Filter::default(), 9).await.expect("calls").into_iter().map(|entry| {
        let tokens = entry.usage.tokens;
        let request = entry.call.model;
        (request.to_string(), tokens.input, tokens.output, entry.cost.map(Usd::as_nanos))
    });
    let told: BTreeSet<_> = told.collect();
    let expected = [
        (MODEL.to_owned(), 3 + 100 + 1, 7 + 10 + 1, None),
        (MODEL.to_owned(), 3 + 100, 7 + 10, Some(3 + 7 * 5 + 100 + 10 * 5)),
        (MODEL.to_owned(), 3 + 30, 5 + 4, None),
    ];
    assert_eq!(told, expected.into_iter().collect());
}

#[tokio::test]
async fn what_another_model_took_over_is_told_apart_by_the_log_and_not_added_to_telemetrys_sum_of_both() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let mut taken_over = line("m", "r", 9, false);
    taken_over["message"]["usage"]["iterations"] = json!([
        {"type": "message", "model": "claude-other", "input_tokens": 30, "output_tokens": 4},
        {"type": "fallback_message", "model": MODEL, "input_tokens": 3, "output_tokens": 5}
    ]);
    tree.write("p/s.jsonl", log(&[taken_over]));
    ledger.tell(vec![event("r", 9)], &terms()).await.expect("told");
    import(&ledger, tree.path()).await;
    let entry = ledger.calls(&Filter::default(), 9).await.expect("calls").remove(0);
    assert_eq!((entry.source, entry.usage.tokens.input, entry.usage.tokens.output), (Source::Otel, 33, 9));
}

#[tokio::test]
async fn a_spent_window_is_kept_as_an_observation_and_is_no_call() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let mut spent = line("m", "", 0, false);
    spent["isApiErrorMessage"] = true.into();
    spent["message"]["model"] = "<synthetic>".into();
    spent["message"]["content"] = json!([{"type": "text", "text": "Claude AI usage limit reached|1795600000"}]);
    let mut error = spent.clone();
    error["message"]["content"] = json!([{"type": "text", "text": "API Error: 529 overloaded_error"}]);
    tree.write("p/s.jsonl", log(&[spent, error]));
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.entered.calls, report.limits_reached, report.named), (0, 1, vec![]));
    tree.write("p/again.jsonl", fs::read(tree.path().join("projects/p/s.jsonl")).expect("read"));
    import(&ledger, tree.path()).await;
    let seen = ledger.observations(None, Timestamp::default()).await.expect("observations");
    let expected = crate::Observation {
        at: at("2026-11-24T10:00:00Z"),
        window: "usage_limit".into(),
        used: 10_000,
        resets_at: Some(Timestamp::from_millis(1_795_600_000_000)),
        session: "s-1".into(),
    };
    assert_eq!((seen, totals(&ledger).await.calls), (vec![expected], 0));
}

#[tokio::test]
async fn a_log_of_a_version_nobody_knows_is_read_for_what_it_tells() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let mut new = line("m1", "r1", 7, false);
    new["version"] = "99.0.0-next".into();
    new["message"]["usage"]["new_tokens"] = json!({"of": ["another", "kind"]});
    new["message"]["content"] = json!({"blocks": 3});
    new["another"] = json!([1, 2]);
    let mut odd = line("m2", "r2", 7, false);
    odd["message"]["usage"]["output_tokens"] = "seven".into();
    tree.write("p/s.jsonl", log(&[new, odd]));
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.entered.calls, report.skipped.unreadable), (1, 1), "{:?}", report.named);
}

#[cfg(unix)]
#[tokio::test]
async fn names_with_newlines_and_colours_are_read_and_shown_harmless() {
    use std::os::unix::ffi::OsStrExt;
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let bad = log(&[line("m", "r", 7, false)]) + "{\"usage\": nonsense}\n";
    tree.write("p/two\nlines\u{1b}[31m.jsonl", bad);
    let not_text = std::ffi::OsStr::from_bytes(b"\xff\xfe.jsonl");
    fs::write(tree.path().join("projects/p").join(not_text), log(&[line("m2", "r2", 7, false)])).expect("written");
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.files, report.entered.calls, report.skipped.unreadable), (2, 2, 1));
    assert!(report.named[0].contains("two\nlines"), "as it is: who shows it makes it harmless");
}

#[tokio::test]
async fn a_log_that_is_replaced_while_it_is_read_counts_nothing_twice() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let lines = |from: u64| {
        (from..from + 9_000).map(|n| line(&format!("m{n}"), &format!("r{n}"), 1, false)).collect::<Vec<_>>()
    };
    let path = tree.write("p/s.jsonl", log(&lines(0)));
    let paths = [tree.path().to_owned()];
    let mut replaced = false;
    let replace = |_| {
        if !replaced {
            replaced = true;
            fs::remove_file(&path).expect("removed");
            fs::write(&path, log(&lines(5_000))).expect("written");
        }
    };
    ledger.import_claude_code(&paths, &terms(), at("2026-11-25T00:00:00Z"), replace).await.expect("imported");
    import(&ledger, tree.path()).await;
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.calls, 14_000);
}

#[tokio::test]
async fn what_makes_no_sense_is_counted_named_and_passed_over() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let good = log(&[line("m", "r", 7, false)]);
    let mut text = Vec::new();
    text.extend_from_slice(b"{\"usage\": \xff\xfe}\nnot json \"usage\"\n");
    text.extend_from_slice(
        br#"{"timestamp":"2026-11-24T10:00:00Z","message":{"model":"m","usage":{"output_tokens":-5}}}"#,
    );
    text.push(b'\n');
    text.extend_from_slice(
        br#"{"timestamp":"2026-11-24T10:00:00Z","message":{"model":"m","usage":{"output_tokens":99999999999999}}}"#,
    );
    text.push(b'\n');
    text.extend_from_slice(
        br#"{"timestamp":"2027-11-24T10:00:00Z","message":{"model":"m","usage":{"output_tokens":5}}}"#,
    );
    text.push(b'\n');
    text.extend_from_slice(format!("{{\"usage\":{}\n", "[".repeat(200_000)).as_bytes());
    text.extend_from_slice(good.as_bytes());
    text.extend_from_slice(br#"{"timestamp":"2026-11-24T10:00:00Z","message":{"usage":{"outp"#);
    tree.write("p/bad.jsonl", text);
    let report = import(&ledger, tree.path()).await;
    let skipped = report.skipped;
    assert_eq!((skipped.unreadable, skipped.from_the_future, skipped.torn), (5, 1, 1), "{:#?}", report.named);
    assert!(report.named.iter().all(|named| named.contains("bad.jsonl: the line at byte")), "{:#?}", report.named);
    assert_eq!(totals(&ledger).await.tokens.output, 7);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over_without_being_held() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let good = log(&[line("m", "r", 7, false)]);
    let long = |bytes: usize| format!("{{\"usage\":\"{}\"}}\n", "x".repeat(bytes));
    tree.write("p/long.jsonl", format!("{}{good}{}", long(100 << 20), long(17 << 20)));
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.skipped.too_long, report.entered.calls), (2, 1));
    assert!(
        report.named[0].ends_with("the line at byte 0 is passed over: it is longer than 16 MiB"),
        "{:?}",
        report.named
    );
}

#[tokio::test]
async fn a_log_that_was_replaced_is_read_anew_and_one_cut_short_counts_nothing_twice() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let path = tree.write("p/s.jsonl", log(&[line("m1", "r1", 1, false), line("m2", "r2", 2, false)]));
    import(&ledger, tree.path()).await;
    fs::write(&path, log(&[line("m3", "r3", 4, false), line("m4", "r4", 8, false), line("m5", "r5", 16, false)]))
        .expect("written");
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.tokens.output, 31);
    fs::write(&path, log(&[line("m1", "r1", 1, false)])).expect("written");
    import(&ledger, tree.path()).await;
    assert_eq!(totals(&ledger).await.tokens.output, 31);
}

#[tokio::test]
async fn a_last_line_without_its_end_is_read_again_when_it_has_one() {
    let (_dir, ledger) = empty().await;
    let tree = Tree::new();
    let whole = log(&[line("m1", "r1", 1, false), line("m2", "r2", 2, false)]);
    let path = tree.write("p/s.jsonl", &whole[..whole.len() - 30]);
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.skipped.torn, report.entered.calls), (1, 1));
    fs::write(&path, &whole).expect("written");
    assert_eq!(import(&ledger, tree.path()).await.entered.calls, 1);
    assert_eq!(totals(&ledger).await.tokens.output, 3);
}

#[cfg(unix)]
#[tokio::test]
async fn no_link_leads_out_of_the_tree() {
    let (_dir, ledger) = empty().await;
    let (tree, outside) = (Tree::new(), Tree::new());
    let path = outside.write("p/s.jsonl", log(&[line("m1", "r1", 1, false)]));
    tree.write("p/own.jsonl", log(&[line("m2", "r2", 2, false)]));
    std::os::unix::fs::symlink(path, tree.path().join("projects/p/linked.jsonl")).expect("linked");
    std::os::unix::fs::symlink(outside.path(), tree.path().join("projects/all")).expect("linked");
    let report = import(&ledger, tree.path()).await;
    assert_eq!((report.skipped.links, report.entered.calls), (2, 1));
}

#[tokio::test]
async fn an_import_that_is_given_up_goes_on_where_it_was() {
    let (dir, ledger) = empty().await;
    let tree = Tree::new();
    for file in 0..3 {
        let lines = (0..4_500).map(|n| line(&format!("m{file}-{n}"), &format!("r{file}-{n}"), 1, false));
        tree.write(&format!("p/{file}.jsonl"), log(&lines.collect::<Vec<_>>()));
    }
    let paths = [tree.path().to_owned()];
    let (first, terms) = (tokio::sync::Notify::new(), terms());
    let whole = ledger.import_claude_code(&paths, &terms, noon(), |_| first.notify_one());
    tokio::select! {
        _ = whole => {}
        () = first.notified() => {}
    }
    let begun = totals(&ledger).await.calls;
    assert!(begun > 0 && begun < 13_500, "{begun}");
    ledger.close().await.expect("closed");
    drop(ledger);
    let ledger = open(dir.path()).await.0;
    let report = import(&ledger, tree.path()).await;
    assert!(report.lines <= 13_500 - begun, "{} lines again, after {begun} calls", report.lines);
    assert_eq!(totals(&ledger).await.calls, 13_500);
}

/// A second counter, slow and plain: all lines in memory, then the rules one after the other.
fn counted_plainly(logs: &[Vec<Value>], events: &[(String, u64)], gateway: &BTreeSet<String>) -> (u64, u64) {
    let mut pairs: BTreeMap<(String, String), (bool, u64)> = BTreeMap::new();
    for line in logs.iter().flatten() {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let pair = match (text(&line["message"]["id"]), text(&line["requestId"])) {
            (message, request) if message.is_empty() && request.is_empty() => (text(&line["uuid"]), request),
            pair => pair,
        };
        let (output, is_side) = (&line["message"]["usage"]["output_tokens"], &line["isSidechain"]);
        let known = pairs.entry(pair).or_insert((true, 0));
        known.0 &= is_side.as_bool().expect("yes or no");
        known.1 = known.1.max(output.as_u64().expect("a number"));
    }
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for (request, output) in events {
        let known = told.entry(request.clone()).or_default();
        *known = (*known).max(*output);
    }
    let (mut calls, mut output) = (gateway.len() as u64, gateway.len() as u64 * 20);
    for (_, tokens) in told.iter().filter(|(request, _)| !gateway.contains(*request)) {
        (calls, output) = (calls + 1, output + tokens);
    }
    let messages: BTreeSet<String> = pairs.keys().map(|(message, _)| message.clone()).collect();
    for message in messages {
        let copies: Vec<_> = pairs.iter().filter(|((of, _), _)| *of == message).collect();
        let is_known = |request: &String| gateway.contains(request) || told.contains_key(request);
        let own: Vec<_> = copies.iter().filter(|(_, (is_side, _))| !is_side).collect();
        let known = copies.iter().any(|((_, request), _)| is_known(request));
        let counting: Vec<u64> = match own.as_slice() {
            [] if known => vec![],
            // Which of several copies stands is a matter of paths: here all have the same count.
            [] => copies.iter().map(|(_, (_, tokens))| *tokens).take(1).collect(),
            own => own.iter().filter(|((_, request), _)| !is_known(request)).map(|(_, (_, tokens))| *tokens).collect(),
        };
        calls += counting.len() as u64;
        output += counting.iter().sum::<u64>();
    }
    (calls, output)
}

#[derive(Clone, Debug)]
enum Step {
    /// Lines of a log, torn at its end or not, imported or not yet.
    Log(u8, Vec<Value>, bool, bool),
    /// A session that goes on from the beginning of another log: so many tenths of its lines stand in its own log too.
    Fork {
        of: u8,
        to: u8,
        tenths: usize,
        is_torn: bool,
        is_now: bool,
    },
    Event(String, u64),
    Gateway(String),
    Restart,
}

fn lines() -> impl Strategy<Value = Vec<Value>> {
    // Few ids, so that they meet; a sidechain's chunks all have the same count.
    let new = (0..4_u8, 0..5_u8, 1..50_u64, any::<bool>()).prop_map(|(message, request, output, sidechain)| {
        let output = if sidechain { 7 } else { output };
        line(&format!("msg_{message}"), &format!("req_{request}"), output, sidechain)
    });
    let old = (1..9_u64).prop_map(|output| line("", "", output, false));
    proptest::collection::vec(prop_oneof![5 => new, 1 => old], 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, lines(), any::<bool>(), any::<bool>()).prop_map(|(file, lines, torn, now)| Step::Log(file, lines, torn, now)),
        3 => (0..4_u8, 0..4_u8, 1..=10_usize, any::<bool>(), any::<bool>())
            .prop_map(|(of, to, tenths, is_torn, is_now)| Step::Fork { of, to, tenths, is_torn, is_now }),
        2 => (0..5_u8, 1..50_u64).prop_map(|(request, output)| Step::Event(format!("req_{request}"), output)),
        1 => (0..5_u8).prop_map(|request| Step::Gateway(format!("req_{request}"))),
        1 => Just(Step::Restart),
    ]
}

/// What a fork's log begins with: the lines of the other session under its own name.
fn forked(log: &str, to: u8, tenths: usize) -> String {
    let kept = (log.lines().count() * tenths).div_ceil(10);
    let copy = |line: &str| line.replace(r#""sessionId":"s-1""#, &format!(r#""sessionId":"fork-{to}""#)) + "\n";
    log.lines().take(kept).map(copy).collect()
}

/// Logs that grow.
struct Growing {
    tree: Tree,
    texts: BTreeMap<u8, String>,
}

impl Growing {
    async fn grow(&mut self, ledger: &Ledger, file: u8, lines: &str, is_torn: bool, is_now: bool) {
        let text = self.texts.entry(file).or_default();
        text.push_str(lines);
        let path = format!("p/{}{file}.jsonl", if file.is_multiple_of(2) { "s" } else { "subagents/agent-" });
        let end = text.len() - if is_torn && !lines.is_empty() { 40 } else { 0 };
        self.tree.write(&path, &text[..end]);
        if is_now {
            import(ledger, self.tree.path()).await;
        }
        self.tree.write(&path, &text);
    }
}

async fn play(steps: &[Step]) -> (u64, u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut ledger = open(dir.path()).await.0;
    let mut logs = Growing { tree: Tree::new(), texts: BTreeMap::new() };
    for step in steps {
        match step {
            Step::Log(file, lines, is_torn, is_now) => {
                logs.grow(&ledger, *file, &log(lines), *is_torn, *is_now).await;
            }
            Step::Fork { of, to, tenths, is_torn, is_now } => {
                let lines = logs.texts.get(of).map(|text| forked(text, *to, *tenths)).unwrap_or_default();
                logs.grow(&ledger, *to, &lines, *is_torn, *is_now).await;
            }
            Step::Event(request, output) => {
                let told = vec![event(request, *output), event(request, *output)];
                ledger.tell(told, &terms()).await.expect("told");
            }
            Step::Gateway(request) => {
                let mut entry = through_gateway(request);
                // Sent once: the same request is the same call.
                let number = request.bytes().map(u128::from).sum();
                entry.call.id = CallId::new(entry.call.started_at, number);
                settle(&ledger, &entry).await;
            }
            Step::Restart => {
                ledger.close().await.expect("closed");
                drop(ledger);
                ledger = open_in(dir.path(), Calendar::in_zone(Tz::Asia__Kathmandu)).await.0;
            }
        }
    }
    import(&ledger, logs.tree.path()).await;
    import(&ledger, logs.tree.path()).await;
    let totals = totals(&ledger).await;
    (totals.calls, totals.tokens.output)
}

fn plainly(steps: &[Step]) -> (u64, u64) {
    let (mut logs, mut events, mut gateway) = (vec![], vec![], BTreeSet::new());
    for step in steps {
        match step {
            Step::Log(_, lines, _, _) => logs.push(lines.clone()),
            // It repeats what was counted.
            Step::Fork { .. } => {}
            Step::Event(request, output) => events.push((request.clone(), *output)),
            Step::Gateway(request) => drop(gateway.insert(request.clone())),
            Step::Restart => {}
        }
    }
    counted_plainly(&logs, &events, &gateway)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_shuffled_torn_repeated_and_forked_the_totals_are_those_of_a_plain_count(
        (steps, shuffled) in proptest::collection::vec(step(), 1..12).prop_flat_map(|steps| {
            let repeated: Vec<Step> = steps.iter().chain(steps.iter().take(3)).cloned().collect();
            (Just(steps), Just(repeated).prop_shuffle())
        })
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let expected = plainly(&steps);
        prop_assert_eq!(runtime.block_on(play(&steps)), expected);
        prop_assert_eq!(runtime.block_on(play(&shuffled)), expected);
    }
}
