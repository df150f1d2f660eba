//! Old entries go; their sums, the chain and the memory of what was told stay.

use serde_json::{Value, json};

use super::*;
use crate::{Span, Spender, SumColumns, Terms};

const BERLIN: Calendar = Calendar::in_zone(Tz::Europe__Berlin);

fn terms() -> Terms {
    Terms { catalog: Arc::new(catalog()).into(), rules: Default::default() }
}

/// A call every seven hours over thirty days, of three clients and two tenants.
fn month() -> Vec<Entry> {
    let start = at("2026-10-01T00:00:00Z");
    let entries = (0..100_u32).map(|number| {
        let mut call = call(number.into(), start.after(Duration::from_secs(7 * 3_600) * number));
        call.who.client = format!("client-{}", number % 3).into();
        call.who.tenant = (number % 2 == 0).then(|| "acme".into());
        let cost = (number % 5 != 0).then(|| Usd::from_nanos(1_000 + i64::from(number)));
        let outcome = if number % 7 == 0 { Outcome::Refused } else { Outcome::Completed };
        Entry { cost, outcome, price_id: cost.map(|_| "test".into()), ..entry(call) }
    });
    entries.collect()
}

async fn filled(dir: &Path) -> Ledger {
    let ledger = open(dir).await.0;
    for entry in month() {
        settle(&ledger, &entry).await;
    }
    ledger.flush().await.expect("folded");
    ledger
}

/// All that sums answer, in the ledger's zone and in another.
async fn answers(ledger: &Ledger) -> Vec<crate::UsageReport> {
    let (from, to) = (at("2026-09-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let mut answers = vec![];
    for calendar in [Calendar::UTC, BERLIN] {
        for by in ["day", "hour", "model", "client", "person", "project", "tenant", "account", "upstream"] {
            let by = By::named(by).expect("a question");
            answers.push(ledger.usage(&by, from, to, calendar).await.expect("a report"));
        }
    }
    answers
}

#[tokio::test]
async fn entries_that_are_too_old_go_and_all_sums_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = filled(dir.path()).await;
    let before = answers(&ledger).await;
    let kept_from = at("2026-10-20T00:00:00Z");
    let deleted = ledger.keep_from(kept_from).await.expect("deleted");
    assert_eq!(deleted.entries, 65);
    assert_eq!(ledger.kept_from().await, Ok(kept_from));
    let left = ledger.calls(&Filter::default(), 1_000).await.expect("calls");
    assert!(left.iter().all(|entry| !entry.attempts.is_empty()));
    assert_eq!(left.len(), 35);
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    assert_eq!(answers(&ledger).await, before);
    // An earlier day brings nothing back.
    assert_eq!(ledger.keep_from(at("2026-10-02T00:00:00Z")).await.expect("asked").entries, 0);
    assert_eq!(ledger.kept_from().await, Ok(kept_from));
    settle(&ledger, &entry(call(1_000, at("2026-11-20T00:00:00Z")))).await;
    ledger.close().await.expect("closed");
    drop(ledger);
    let (ledger, _) = reopened(dir.path()).await;
    assert_eq!(count(&ledger).await, 36);
}

#[tokio::test]
async fn a_month_is_exported_from_its_sums_where_the_question_ends_within_a_quarter() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = filled(dir.path()).await;
    let exported = async || {
        let to = Some(at("2026-10-28T00:07:00Z"));
        let filter = Filter { from: Some(at("2026-10-01T00:00:00Z")), to, client: None };
        let mut out = Vec::new();
        let columns =
            SumColumns::named(Some("date,client,calls,input_tokens,cost_usd,unpriced_calls"), None).expect("columns");
        ledger.export_sums(Span::Month, &filter, Calendar::UTC, &columns, &mut out).await.expect("exported");
        String::from_utf8(out).expect("text")
    };
    let before = exported().await;
    ledger.keep_from(at("2026-10-20T00:00:00Z")).await.expect("deleted");
    assert_eq!(exported().await, before);
}

#[tokio::test]
async fn the_last_entry_stays_so_that_the_chain_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = filled(dir.path()).await;
    assert_eq!(ledger.keep_from(at("2027-10-20T00:00:00Z")).await.expect("deleted").entries, 99);
    settle(&ledger, &entry(call(1_000, at("2027-11-20T00:00:00Z")))).await;
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    assert_eq!(count(&ledger).await, 2);
}

/// Whether it is what tells of a change.
type Told = fn(&Finding) -> bool;

#[tokio::test]
async fn what_is_changed_or_removed_behind_a_cut_is_found() {
    let first_kept = "(SELECT min(seq) FROM entry)";
    let changes: [(String, Told); 5] = [
        (format!("UPDATE entry SET output_tokens = 1 WHERE seq = {first_kept}"), |f| {
            matches!(f, Finding::ChainBroken { number: 66, .. })
        }),
        (format!("DELETE FROM attempt; DELETE FROM entry WHERE seq = {first_kept}"), |f| {
            matches!(f, Finding::ChainBroken { .. })
        }),
        ("DELETE FROM cut".into(), |f| matches!(f, Finding::ChainBroken { number: 66, .. })),
        ("UPDATE day_sum SET cost_nanos = cost_nanos + 1 WHERE day = (SELECT min(day) FROM day_sum)".into(), |f| {
            matches!(f, Finding::DaySumsDiffer { day, .. } if day == "2026-10-01")
        }),
        ("INSERT INTO tenant_day_sum SELECT 7, tenant_series, calls, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM tenant_day_sum LIMIT 1".into(), |f| {
            matches!(f, Finding::DaySumsDiffer { day, .. } if day == "1970-01-08")
        }),
    ];
    for (change, is_found) in changes {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = filled(dir.path()).await;
        ledger.keep_from(at("2026-10-20T00:00:00Z")).await.expect("deleted");
        raw(dir.path(), change.clone().leak()).await;
        let findings = ledger.verify(Vec::new).await.expect("verified");
        assert!(findings.iter().any(is_found), "{change}: {findings:?}");
    }
}

#[tokio::test]
async fn a_deletion_that_is_killed_goes_on_the_next_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    let start = at("2026-10-01T00:00:00Z");
    for number in 0..900_u32 {
        let entry = entry(call(number.into(), start.after(Duration::from_secs(60) * number)));
        ledger.settle(&entry).await.expect("settled");
    }
    let before = answers(&ledger).await;
    let kept_from = at("2026-11-01T00:00:00Z");
    let mut seen = std::collections::BTreeSet::new();
    for turns in 0..200_u64 {
        let killed = copy(dir.path());
        let ledger = open(killed.path()).await.0;
        // Dropped wherever it waits.
        let _ = tokio::time::timeout(Duration::from_millis(2 * turns), ledger.keep_from(kept_from)).await;
        let crashed = copy(killed.path());
        let (ledger, _) = reopened(crashed.path()).await;
        assert_eq!(answers(&ledger).await, before);
        let left = count(&ledger).await;
        ledger.keep_from(kept_from).await.expect("deleted");
        assert_eq!((count(&ledger).await, ledger.verify(Vec::new).await), (1, Ok(vec![])));
        assert_eq!(answers(&ledger).await, before);
        seen.insert(left);
        if left == 1 {
            break;
        }
    }
    assert!(seen.len() >= 3, "killed at few moments: {seen:?}");
}

#[tokio::test]
async fn a_call_that_ended_in_the_hour_before_the_first_kept_day_stays_for_the_budgets_of_that_day() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    for number in 0..48_u32 {
        let mut entry = entry(call(number.into(), at("2026-10-19T22:01:00Z").after(Duration::from_secs(300) * number)));
        entry.ended_at = entry.call.started_at.after(Duration::from_secs(1_800));
        settle(&ledger, &entry).await;
    }
    let kept_from = at("2026-10-20T00:00:00Z");
    let used = async || {
        let used = ledger.used(Spender::Client, kept_from, at("2026-10-21T00:00:00Z")).await.expect("sums");
        used.iter().fold(Tokens::default(), |sum, used| sum + used.tokens)
    };
    let before = used().await;
    assert_eq!(ledger.keep_from(kept_from).await.expect("deleted").entries, 6);
    assert_eq!(used().await, before);
    assert_eq!(before.input, 10 * (24 + 6));
}

fn line(message: &str, request: &str, sidechain: bool, time: &str) -> Value {
    json!({
        "type": "assistant", "sessionId": "s-1", "requestId": request, "timestamp": time, "version": "2.1.97",
        "cwd": "/home/u/shop", "isSidechain": sidechain,
        "message": {"id": message, "role": "assistant", "model": MODEL, "stop_reason": null, "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}}
    })
}

/// Another log of the same configuration folder each time.
async fn import(ledger: &Ledger, folder: &Path, lines: &[Value]) -> crate::Entered {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let project = folder.join("projects/p");
    fs::create_dir_all(&project).expect("made");
    let count = fs::read_dir(&project).expect("a folder").count();
    fs::write(project.join(format!("s-{count:03}.jsonl")), text).expect("written");
    let (paths, now) = ([folder.to_owned()], at("2026-12-01T00:00:00Z"));
    ledger.import_claude_code(&paths, &terms(), now, |_| {}).await.expect("imported").entered
}

#[tokio::test]
async fn what_was_deleted_and_is_imported_again_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    let mut through_gateway = entry(call(1, at("2026-10-19T10:00:00Z")));
    through_gateway.attempts[0].request_id = Some("req_gateway".into());
    settle(&ledger, &through_gateway).await;
    let old = [
        line("m-old", "req_old", false, "2026-10-10T10:00:00Z"),
        line("m-gateway", "req_gateway", false, "2026-10-19T10:00:01Z"),
        line("m-around", "req_around", false, "2026-10-19T20:00:00Z"),
    ];
    let kept = [
        // Copies of the same calls, written down later than what is kept begins.
        line("m-old", "req_other", true, "2026-10-25T10:00:00Z"),
        line("m-around", "req_around", false, "2026-10-20T00:00:01Z"),
        line("m-gateway", "req_again", true, "2026-10-25T10:00:00Z"),
        line("m-new", "req_new", false, "2026-10-25T10:00:00Z"),
    ];
    import(&ledger, folder.path(), &[&old[..], &kept[..]].concat()).await;
    settle(&ledger, &entry(call(2, at("2026-10-26T10:00:00Z")))).await;
    let before = answers(&ledger).await;
    assert_eq!(before[2].total.calls, 5);
    let deleted = ledger.keep_from(at("2026-10-20T00:00:00Z")).await.expect("deleted");
    assert_eq!((deleted.entries, deleted.tellings), (2, 2));
    for lines in [&old[..], &kept[..], &old[..], &[&kept[..], &old[..]].concat()[..]] {
        let entered = import(&ledger, folder.path(), lines).await;
        assert!(entered.calls == 0 && entered.too_old > 0, "{entered:?}");
        assert_eq!(answers(&ledger).await, before);
        assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn old_logs_that_come_in_between_leave_gaps_over_which_the_chain_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    for number in 0..30_u32 {
        let old = format!("2026-10-{:02}T10:00:00Z", 1 + number / 2);
        import(&ledger, folder.path(), &[line(&format!("m-{number}"), &format!("req_{number}"), false, &old)]).await;
        settle(
            &ledger,
            &entry(call(number.into(), at("2026-11-10T10:00:00Z").after(Duration::from_secs(number.into())))),
        )
        .await;
    }
    let before = answers(&ledger).await;
    for day in ["2026-10-05T00:00:00Z", "2026-10-09T00:00:00Z", "2026-11-01T00:00:00Z", "2027-01-01T00:00:00Z"] {
        ledger.keep_from(at(day)).await.expect("deleted");
        assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]), "{day}");
        assert_eq!(answers(&ledger).await, before);
    }
    assert_eq!(count(&ledger).await, 1);
    let cuts: i64 = {
        let mut conn = crate::db::Db::at(dir.path()).writer().await.expect("a connection");
        sqlx::query_scalar("SELECT count(*) FROM cut").fetch_one(&mut conn).await.expect("counted")
    };
    assert_eq!(cuts, 1, "neighbours are one");
}

#[tokio::test]
async fn copies_from_before_a_change_of_the_schema_go_when_they_are_old() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path()).await.0;
    let names = ["ledger.db.schema-1", "ledger.db.schema-2", "ledger.db.schema-x", "ledger.db.old", "mine.schema-1"];
    for name in names {
        fs::write(dir.path().join(name), "").expect("written");
    }
    let left = || names.into_iter().filter(|name| dir.path().join(name).exists()).count();
    assert_eq!((ledger.forget_copies(at("2020-01-01T00:00:00Z")), left()), (Ok(0), 5));
    assert_eq!((ledger.forget_copies(at("2100-01-01T00:00:00Z")), left()), (Ok(2), 3));
}
