//! Programs as people write them, with the official SDKs, LangChain and curl, over the gateway and the simulator.

mod chaos;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::books::{count, simulator, simulator_sums};
use support::http::{Connection, Request};
use support::lab::{Lab, SETTINGS, body};
use support::process::run;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_finds_all_it_expects() {
    uses_what_it_says("python_sdk.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_its_exception_types() {
    let lab = Lab::start();
    program(&lab, "python_errors.py", &[]);
    lab.home.books().verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_finds_all_it_expects() {
    uses_what_it_says("langchain_chat.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_finds_all_it_expects() {
    uses_what_it_says("typescript_sdk.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_json_streams_and_errors() {
    let lab = Lab::start();
    let curl = |body: &str, token: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--no-buffer", "--write-out", "\n%{http_code}", "--data-binary", body]);
        curl.args([
            "-H",
            &format!("x-api-key: {token}"),
            "-H",
            "anthropic-version: 2023-06-01",
            "-H",
            "content-type: application/json",
        ]);
        curl.arg(format!("{}/v1/messages", lab.gateway.url));
        run(curl, "").out
    };
    let plain = curl(&body(false), &lab.token);
    assert!(plain.ends_with("200") && plain.contains("\"type\":\"message\""), "{plain}");
    let stream = curl(&body(true), &lab.token);
    assert!(stream.ends_with("200") && stream.contains("event: message_stop"), "{stream}");
    let stranger = curl(&body(false), "tg-wrong");
    assert!(stranger.ends_with("401") && stranger.contains("authentication_error"), "{stranger}");
    let (ours, theirs) = (lab.home.books().sums(), simulator_sums(&lab.simulator).await);
    assert_eq!(ours, theirs);
}

/// Two minutes of real time: the limit is 50 calls a minute, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_at_tier_1_all_succeed_and_none_is_refused() {
    let settings = format!("{SETTINGS}scheme = \"2025-09\"\ntier = \"1\"\n");
    let lab = Lab::with(&settings, &["--scheme", "2025-09", "--tier", "1"]);
    let started = Instant::now();
    let said = program(&lab, "python_burst.py", &[("CALLS", "100")]);
    let stats = simulator(&lab.simulator, "/simulator/stats").await;
    for measure in ["requests", "input_tokens", "output_tokens"] {
        assert_eq!(stats["refused"][measure], 0, "the upstream refused: {stats}");
    }
    let ours = lab.home.books().sums();
    assert_eq!(ours, simulator_sums(&lab.simulator).await, "the ledger's, the simulator's");
    let told = ["calls", "input_tokens", "output_tokens"].map(|field| count(&said[field]));
    assert_eq!([ours.calls, ours.input_tokens(), ours.output_tokens()], told, "the ledger's, the SDK's");
    assert!(started.elapsed() < Duration::from_secs(150), "capacity lay idle: {:?}", started.elapsed());
    lab.home.books().verify();
    eprintln!("100 calls in {:?}", started.elapsed());
}

/// In real time, so only for a minute; `TIDEGATE_OVERLOAD_SECONDS=300` makes it five.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_workers_without_retries_see_no_error_and_the_upstream_refuses_none() {
    let settings = format!("{SETTINGS}scheme = \"2025-09\"\ntier = \"1\"\n");
    let lab = Lab::with(&settings, &["--scheme", "2025-09", "--tier", "1"]);
    let seconds = std::env::var("TIDEGATE_OVERLOAD_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let said = program(&lab, "python_overload.py", &[("SECONDS", &seconds)]);
    let stats = simulator(&lab.simulator, "/simulator/stats").await;
    for measure in ["requests", "input_tokens", "output_tokens"] {
        assert_eq!(stats["refused"][measure], 0, "the upstream refused: {stats}");
    }
    let ours = lab.home.books().sums();
    assert_eq!(ours, simulator_sums(&lab.simulator).await, "the ledger's, the simulator's");
    let told = ["calls", "input_tokens", "output_tokens"].map(|field| count(&said[field]));
    assert_eq!([ours.calls, ours.input_tokens(), ours.output_tokens()], told, "the ledger's, the SDK's");
    let (passed, offered) = (count(&stats["admitted"]["requests"]), count(&stats["capacity"]["requests"]));
    assert!(passed * 100 >= offered * 90, "capacity lay idle: {passed} of {offered}");
    lab.home.books().verify();
    eprintln!("{passed} of {offered} requests, no error, none refused");
}

/// Its start, its burst of token counts, its large streaming call.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_shaped_like_claude_codes_passes() {
    let lab = Lab::start();
    let hello = lab.call(&Request::new("HEAD", "/api/hello").header("user-agent", "Bun/1.3")).await;
    assert!([401, 404].contains(&hello.status()), "{}", hello.status());
    let counts: Vec<_> =
        (0..26).map(|_| tokio::spawn(count_tokens(lab.gateway.address().to_owned(), lab.token.clone()))).collect();
    for counted in counts {
        assert_eq!(counted.await.expect("no panic"), 200);
    }
    let turn = claude_code(&lab.token, "POST", "/v1/messages?beta=true").body(turn_of_49_kb().to_string());
    let mut connection = Connection::open(lab.gateway.address()).await.expect("a connection");
    for _ in 0..3 {
        let answer = connection.call(&turn).await.expect("an answer");
        assert_eq!((answer.status(), answer.whole), (200, true), "{}", answer.text());
        assert!(answer.text().contains("event: message_stop"));
    }
    let rows = lab.home.books().calls();
    assert_eq!(rows.len(), 3, "counting tokens makes no row");
    assert_eq!(lab.home.books().sums(), simulator_sums(&lab.simulator).await);
    assert!(rows.iter().all(|row| row["session"] == "3f1c9a52-0000-4000-8000-000000000000"), "{rows:?}");
}

/// Runs a script and holds what it says it used against both books.
async fn uses_what_it_says(script: &str) {
    let lab = Lab::start();
    let said = program(&lab, script, &[]);
    let (ours, theirs) = (lab.home.books().sums(), simulator_sums(&lab.simulator).await);
    assert_eq!((ours.tokens, ours.cost), (theirs.tokens, theirs.cost), "the ledger's, the simulator's");
    assert_eq!(ours.input_tokens(), count(&said["input_tokens"]), "input: the ledger's, the program's");
    assert_eq!(ours.output_tokens(), count(&said["output_tokens"]), "output: the ledger's, the program's");
    let completed = lab.home.books().calls().iter().filter(|call| call["outcome"] == "completed").count() as u64;
    assert_eq!(completed, count(&said["calls"]));
    lab.home.books().verify();
}

/// The JSON that the script prints at its end.
fn program(lab: &Lab, script: &str, more: &[(&str, &str)]) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = Command::new(if script.ends_with(".py") { python() } else { PathBuf::from("node") });
    command.arg(folder.join(script)).current_dir(&folder).envs(more.iter().copied());
    command.env("BASE_URL", &lab.gateway.url).env("TOKEN", &lab.token).env("PYTHONDONTWRITEBYTECODE", "1");
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
    ] {
        command.env_remove(name);
    }
    let said = run(command, "");
    assert_eq!(said.code, Some(0), "{script}\n{}\n{}", said.out, said.err);
    said.out.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).expect("JSON"))
}

/// The Python that `make setup` made.
fn python() -> PathBuf {
    let named = std::env::var_os("TIDEGATE_PYTHON").map(PathBuf::from);
    named.filter(|path| path.exists()).expect("TIDEGATE_PYTHON names a Python with tests/clients/requirements.txt: `make setup` makes it, `make test` names it")
}

fn claude_code(token: &str, method: &str, target: &str) -> Request {
    let betas = "claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14,context-management-2025-06-27,\
        prompt-caching-scope-2026-01-05,effort-2025-11-24,tool-search-2025-10-19,token-counting-2024-11-01";
    Request::new(method, target)
        .header("authorization", &format!("Bearer {token}"))
        .header("user-agent", "claude-cli/2.1.331 (external, sdk-cli)")
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", betas)
        .header("x-stainless-timeout", "600")
        .header("x-claude-code-session-id", "3f1c9a52-0000-4000-8000-000000000000")
}

fn turn_of_49_kb() -> Value {
    let tool = |i: usize| json!({"name": format!("Tool{i}"), "description": "What this tool does, at length. ".repeat(90), "input_schema": {"type": "object", "properties": {}}});
    json!({
        "model": "claude-sonnet-4-5", "max_tokens": 8000, "stream": true,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.331; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are a coding agent. ".repeat(600), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Name three tides. [[output 60]]", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "A reminder in the midst of it."},
            {"role": "user", "content": "Go on. [[output 60]]"},
        ],
        "tools": (0..12).map(tool).collect::<Vec<_>>(),
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "user_00"},
    })
}

async fn count_tokens(address: String, token: String) -> u16 {
    let request = claude_code(&token, "POST", "/v1/messages/count_tokens?beta=true")
        .body(body(false).replace(",\"max_tokens\":64,\"stream\":false", ""));
    support::http::call(&address, &request).await.expect("an answer").status()
}
