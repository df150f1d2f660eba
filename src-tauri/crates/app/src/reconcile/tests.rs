//! Reconciling against an administrator's reports, as a sentence each.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::settings;

/// An upstream whose reports are these: by a part of the path, status and body. It answers until it is dropped.
async fn upstream(reports: Vec<(&'static str, u16, String)>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 8_192];
            let read = stream.read(&mut request).await.expect("a request");
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let found =
                reports.iter().find(|(path, _, _)| request.lines().next().is_some_and(|line| line.contains(path)));
            let (status, body) = found.map_or((404, ""), |(_, status, body)| (*status, body.as_str()));
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    (url, serving)
}

fn known(usd: &Option<String>) -> &str {
    usd.as_deref().unwrap_or("unknown")
}

async fn opened(dir: &std::path::Path, text: &str) -> App {
    App::open(dir, &settings::parse(text, &[]).expect("settings")).await.expect("it opens")
}

async fn reconciled(url: &str, admin_key: bool, from: &str, to: &str) -> Result<ReconcileView, String> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, "sk-ant-admin01-canary").expect("written");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("changed");
    let file = key.display();
    let admin_key = if admin_key { format!("admin_key = \"file:{file}\"") } else { String::new() };
    let text = format!(
        "[[upstream]]\nname = \"a\"\nkind = \"anthropic\"\nbase_url = \"{url}\"\nkey = \"file:{file}\"\n{admin_key}\n"
    );
    let app = opened(dir.path(), &text).await;
    let view = app.reconcile(Some(from), Some(to)).await.map_err(|error| error.to_string());
    app.close().await.expect("it closes");
    view
}

fn usage(results: &str) -> String {
    format!(
        r#"{{"data":[{{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[{results}]}}],"has_more":false,"next_page":null}}"#
    )
}

#[tokio::test]
async fn what_is_wrong_with_a_report_is_one_sentence_and_never_the_key() {
    let fine = || usage("");
    let endless = || r#"{"data":[],"has_more":true,"next_page":"again"}"#.to_owned();
    let euro = || usage(r#"{"amount":"1.5","currency":"EUR","cost_type":"tokens"}"#);
    for (usage_status, usage_body, cost_body, says) in [
        (401, String::new(), fine(), "answered 401 to the question for its usage report: it wants the admin key"),
        (429, String::new(), fine(), "asked too often"),
        (500, String::new(), fine(), "try again later"),
        (302, String::new(), fine(), "answered 302"),
        (200, "<html>".to_owned(), fine(), "not one that can be read"),
        (200, usage(r#"{"model":"m","output_tokens":-1}"#), fine(), "not one that can be read"),
        (200, usage(r#"{"model":"m","output_tokens":9999999999999999}"#), fine(), "a day of 9999999999999999 tokens"),
        (200, fine().replace("2026-11-01T00", "2026-10-01T00"), fine(), "2026-10-01 comes twice or was not asked for"),
        (200, endless(), fine(), "repeats itself"),
        (200, fine(), euro(), "in EUR, not in USD"),
        (200, fine(), usage(r#"{"amount":"a lot","currency":"USD"}"#), "a lot is no amount in cents"),
    ] {
        let reports = vec![("usage_report/messages", usage_status, usage_body), ("cost_report", 200, cost_body)];
        let (url, serving) = upstream(reports).await;
        let said = reconciled(&url, true, "2026-11-01", "2026-11-01").await.expect_err("no report");
        assert!(said.contains(says) && !said.contains("sk-ant") && !said.contains('\n'), "{said}");
        serving.abort();
    }
    let said = reconciled("http://127.0.0.1:9", true, "2026-11-01", "2026-11-01").await.expect_err("nobody there");
    assert!(said.contains("can't be asked for"), "{said}");
    let said = reconciled("http://127.0.0.1:9", false, "2026-11-01", "2026-11-01").await.expect_err("no key");
    assert!(said.contains("no upstream in the settings has an admin_key"), "{said}");
}

#[tokio::test]
async fn days_that_make_no_sense_are_refused() {
    for (from, to, says) in [
        ("2026-11-02", "2026-11-01", "--from is after --to"),
        ("2026-11-02T00:00:00Z", "2026-11-03", "is no day"),
        ("2020-01-01", "2026-11-01", "at most 366 days"),
        ("2026-11-01", "2999-01-01", "has not come yet"),
    ] {
        let said = reconciled("http://127.0.0.1:9", true, from, to).await.expect_err("no range");
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn usage_that_the_ledger_does_not_have_is_named_with_its_key_and_what_is_free_of_models_too() {
    let used = usage(
        r#"{"api_key_id":"apikey_1","workspace_id":"wrkspc_1","model":"claude-sonnet-4-5","service_tier":"batch",
            "uncached_input_tokens":1000000,"output_tokens":0,"server_tool_use":{"web_search_requests":3}}"#,
    );
    let cost = usage(
        r#"{"amount":"150","currency":"USD","cost_type":"tokens","token_type":"uncached_input_tokens","model":"claude-sonnet-4-5"},
           {"amount":"3","currency":"USD","cost_type":"web_search","token_type":null,"model":null},
           {"amount":"5","currency":"USD","cost_type":"code_execution","token_type":null,"model":null}"#,
    );
    let keys = r#"{"data":[{"id":"apikey_1","name":"ci","partial_key_hint":"sk-ant-api03-x...wxyz"},
        {"id":"apikey_2","name":"mine","partial_key_hint":"sk-ant-admin...nary"}],"has_more":false,"last_id":"apikey_2"}"#;
    let reports =
        vec![("usage_report/messages", 200, used), ("cost_report", 200, cost), ("api_keys", 200, keys.to_owned())];
    let (url, serving) = upstream(reports).await;
    let view = reconciled(&url, true, "2026-11-01", "2026-11-01").await.expect("a view");
    serving.abort();
    let [account] = view.accounts.as_slice() else { panic!("one account: {view:?}") };
    let causes: Vec<String> = account
        .causes
        .iter()
        .map(|cause| {
            format!("{} {} {} {} {}", cause.cause, cause.tokens, cause.web_searches, known(&cause.usd), cause.says)
        })
        .collect();
    assert_eq!(
        causes,
        [
            "other_key 1000000 3 1.530000000 used with another key (ci, apikey_1) in wrkspc_1",
            "other_service 0 0 0.050000000 what the ledger does not count: code execution, sessions",
        ]
    );
    assert_eq!(
        (account.difference_usd.as_str(), account.reconciled_to.as_deref()),
        ("1.580000000", Some("2026-11-01"))
    );
    assert!(account.notes.iter().any(|note| note.contains("Claude Code report")), "{:?}", account.notes);
}

#[tokio::test]
async fn long_prompts_of_another_key_are_named_and_no_price_is_to_be_set_for_them() {
    let row = |model: &str, tokens: u64| {
        format!(
            r#"{{"api_key_id":"apikey_1","model":"{model}","context_window":"0-200k","uncached_input_tokens":{tokens}}}"#
        )
    };
    let paid = |model: &str, cents: &str| {
        format!(
            r#"{{"amount":"{cents}","currency":"USD","cost_type":"tokens","token_type":"uncached_input_tokens","model":"{model}"}}"#
        )
    };
    // The band of one begins at 100,000 tokens, where the report does not part them.
    for (model, cents, expected) in [
        ("claude-haiku-5-5", "7.5", "other_key 0.015000000, long_prompts 0.060000000"),
        ("claude-haiku-4-5", "75", "other_key 0.150000000, price 0.600000000"),
    ] {
        let reports = vec![
            ("usage_report/messages", 200, usage(&row(model, 150_000))),
            ("cost_report", 200, usage(&paid(model, cents))),
        ];
        let (url, serving) = upstream(reports).await;
        let view = reconciled(&url, true, "2026-11-01", "2026-11-01").await.expect("a view");
        serving.abort();
        let [account] = view.accounts.as_slice() else { panic!("one account: {view:?}") };
        let mut causes: Vec<String> =
            account.causes.iter().map(|cause| format!("{} {}", cause.cause, known(&cause.usd))).collect();
        causes.sort_by_key(|cause| !cause.starts_with("other"));
        assert_eq!(causes.join(", ").replace("other_machine", "other_key"), expected);
        assert_eq!(account.suggestions.is_empty(), model == "claude-haiku-5-5", "{:?}", account.suggestions);
    }
}

#[tokio::test]
async fn what_nobody_has_a_price_of_is_unknown_and_not_nothing() {
    let used = usage(r#"{"api_key_id":"apikey_1","model":"mystery-9","output_tokens":500}"#);
    let reports = vec![("usage_report/messages", 200, used), ("cost_report", 200, usage(""))];
    let (url, serving) = upstream(reports).await;
    let view = reconciled(&url, true, "2026-11-01", "2026-11-01").await.expect("a view");
    serving.abort();
    let account = &view.accounts[0];
    let causes: Vec<_> = account.causes.iter().map(|cause| (cause.tokens, known(&cause.usd))).collect();
    assert_eq!(causes, [(500, "unknown")], "{account:?}");
    assert!(account.lines.iter().flat_map(|line| &line.differences).all(|part| part.usd.is_none()), "{account:?}");
    assert_eq!(account.reconciled_to, None, "nobody can say that it is in order");
}

#[tokio::test]
async fn what_several_reconciliations_learn_at_once_is_all_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let app = opened(dir.path(), "").await;
    let names: Vec<String> = (0..8).map(|number| format!("account-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| app.learn(10, &[(name.clone(), 16, Some(16))]).expect("kept"));
        }
    });
    assert_eq!(Kept::read(dir.path()).expect("whole").to(&names), Some(16));
    app.close().await.expect("it closes");
}
