//! What other programs wrote down, by the binary: alone, through the app that runs, and as it comes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

const SETTINGS: &str = "[gateway]\nlisten = \"127.0.0.1:0\"\ntimezone = \"UTC\"\n\n[[attribute]]\nwhen = \"cwd:/home/*/shop\"\nproject = \"the-shop\"\n";

struct Home(TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        fs::write(home.path("settings.toml"), SETTINGS).expect("written");
        fs::create_dir_all(home.path(".claude/projects/p")).expect("made");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["--data-dir".as_ref(), self.path("data").as_os_str()]);
        command.args(["--settings".as_ref(), self.path("settings.toml").as_os_str()]);
        command.args(line.split_whitespace()).env_remove("CLAUDE_CONFIG_DIR").env_remove("XDG_CONFIG_HOME");
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("HOME", self.0.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().expect("it starts")
    }

    fn json(&self, line: &str) -> Value {
        let said = self.run(line);
        assert!(said.status.success(), "{line}: {said:?}");
        serde_json::from_slice(&said.stdout).expect("one JSON document")
    }

    /// A session's log gets one more call.
    fn log(&self, number: u32) {
        let line = format!(
            r#"{{"type":"assistant","uuid":"u{number}","requestId":"req_{number}","sessionId":"s-1","cwd":"/home/u/shop/api","gitBranch":"main","timestamp":"2026-11-01T10:00:00Z","message":{{"id":"msg_{number}","model":"claude-sonnet-4-5","usage":{{"input_tokens":1000000,"output_tokens":10}}}}}}"#
        );
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path(".claude/projects/p/s-1.jsonl"));
        writeln!(log.expect("a log"), "{line}").expect("written");
    }

    fn usage(&self) -> Value {
        self.json("usage --by project --from 2026-11-01 --to 2026-11-02 --json")["rows"].take()
    }

    fn statusline(&self, status: &str) -> Output {
        let mut command = self.command("statusline");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("piped").write_all(status.as_bytes()).expect("sent");
        child.wait_with_output().expect("it ends")
    }
}

/// Killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(home: &Home) -> Server {
        let mut child = home.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("first line: {line:?}"));
        Server { address: address.to_owned(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_are_taken_in_once_and_belong_to_the_project_that_a_rule_names() {
    let home = Home::new();
    (0..3).for_each(|number| home.log(number));
    let first = home.json("import claude-code --json");
    assert_eq!((&first["calls"], &first["files_read"]), (&3.into(), &1.into()));
    let again = home.json("import claude-code --json");
    assert_eq!((&again["calls"], &again["files_read"]), (&0.into(), &0.into()));
    let rows = home.usage();
    assert_eq!((&rows[0]["key"], &rows[0]["calls"]), (&"the-shop".into(), &3.into()), "{rows}");
    assert_eq!(rows[0]["cost_usd"], "9.000450000");
    let csv = home.run("export calls --from 2026-11-01 --columns request_id,client,session,tags,source,estimated");
    let csv = String::from_utf8(csv.stdout).expect("text");
    let line = "req_0,claude-code,s-1,\"{\"\"branch\"\":\"\"main\"\"}\",log,false";
    assert!(csv.lines().any(|row| row == line), "{csv}");
    assert!(home.run("verify").status.success());
}

#[test]
fn while_the_app_runs_logs_go_through_it_and_are_watched_where_that_is_asked_for() {
    let home = Home::new();
    home.log(0);
    let _server = Server::start(&home);
    assert_eq!(home.json("import claude-code --json --watch")["calls"], 1);
    home.log(1);
    let deadline = Instant::now() + Duration::from_secs(30);
    while home.usage()[0]["calls"] != 2 {
        assert!(Instant::now() < deadline, "the log grew and nobody saw it");
    }
    assert!(home.run("import claude-code --no-watch").status.success());
}

#[test]
fn a_path_that_is_not_there_is_named_and_so_is_a_home_without_logs() {
    let home = Home::new();
    let said = home.run("import claude-code /nowhere/logs");
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).starts_with("tidegate: /nowhere/logs can't be read: "), "{said:?}");
    fs::remove_dir_all(home.path(".claude")).expect("removed");
    let said = home.run("import claude-code");
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no logs of Claude Code are in "), "{said:?}");
}

#[test]
fn the_status_line_is_one_line_and_needs_nothing_that_runs() {
    let home = Home::new();
    let said = home.statusline(
        r#"{"model":{"display_name":"Opus \u001b[31m5"},"rate_limits":{"seven_day":{"used_percentage":41.2}}}"#,
    );
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Opus \\u{1b}[31m5 · week 41 %\n");
    assert!(home.path("data/observations.jsonl").exists());
    let said = home.statusline("no JSON");
    assert_eq!(said.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&said.stderr).starts_with("tidegate: stdin is no status of Claude Code"),
        "{said:?}"
    );
}

/// Status line, headers and body of one call through the gateway.
fn message(address: &str, token: &str, headers: &str) -> String {
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":16,"messages":[{"role":"user","content":"Name a tide."}],"metadata":{"user_id":"user_d_account__session_s-1"}}"#;
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head = format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         user-agent: claude-cli/2.1.331 (external, cli)\r\nanthropic-version: 2023-06-01\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn a_call_through_the_gateway_and_its_line_in_claude_code_s_log_count_once() {
    let home = Home::new();
    let settings = SETTINGS.to_owned()
        + "\n[[attribute]]\nwhen = \"user_agent:claude-cli/*\"\ntags = { tool = \"claude\" }\n\n[[upstream]]\nname = \"sim\"\nkind = \"simulator\"\n";
    fs::write(home.path("settings.toml"), settings).expect("written");
    let token = String::from_utf8(home.run("client add laptop").stdout).expect("text");
    let server = Server::start(&home);
    let answer =
        message(&server.address, token.trim(), "x-claude-code-session-id: s-1\r\nx-claude-code-agent-id: a-1\r\n");
    let (request, call) = (header(&answer, "request-id"), header(&answer, "x-tidegate-call"));
    let whole = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: Value =
        serde_json::from_str(&whole[whole.find('{').expect("JSON")..=whole.rfind('}').expect("JSON")]).expect("JSON");
    let now = home.json("calls --last 1 --json")[0]["started_at"].take();
    let line = json!({
        "type": "assistant", "uuid": "u", "requestId": request, "sessionId": "s-1", "cwd": "/home/u/shop", "isSidechain": false,
        "timestamp": now, "version": "2.1.331",
        "message": {"id": body["id"], "role": "assistant", "model": body["model"], "content": body["content"], "usage": body["usage"]}
    });
    fs::write(home.path(".claude/projects/p/s-1.jsonl"), format!("{line}\n")).expect("written");
    let import = home.json("import claude-code --json");
    assert_eq!((&import["calls"], &import["lines"]), (&0.into(), &1.into()), "{import}");
    let usage = home.json("usage --by session --json");
    assert_eq!((&usage["total"]["calls"], &usage["rows"][0]["key"]), (&1.into(), &"s-1".into()), "{usage}");
    let why = home.json(&format!("why {call} --json"));
    assert_eq!(why["call"]["tenant"], "d", "a device, and not a session");
    let sources: Vec<(&str, bool)> = why["sources"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|source| (source["source"].as_str().expect("text"), source["counts"].as_bool().expect("yes or no")))
        .collect();
    assert_eq!(sources, [("gateway", true), ("log", false)], "{why}");
    assert_eq!(why["sources"][1]["differs"], json!([]), "both say the same: {why}");
    assert_eq!(home.json("usage --by tag:tool --json")["rows"][0]["key"], "claude");
    drop(server);
    assert_eq!(home.json("usage --json")["total"]["calls"], 1);
}

/// A log of so many calls that taking it in takes its time.
fn long_log(home: &Home, calls: u32) {
    let lines: String = (0..calls)
        .map(|number| {
            format!(
                "{{\"requestId\":\"req_{number}\",\"sessionId\":\"s\",\"cwd\":\"/x\",\"timestamp\":\"2026-11-01T10:00:00Z\",\"message\":{{\"id\":\"m_{number}\",\"model\":\"claude-sonnet-4-5\",\"usage\":{{\"output_tokens\":1}}}}}}\n"
            )
        })
        .collect();
    fs::write(home.path(".claude/projects/p/long.jsonl"), lines).expect("written");
}

/// Interrupted once something has been taken in, as Ctrl-C does it.
fn interrupted(home: &Home) -> Output {
    let mut command = home.command("import claude-code");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let written = || fs::metadata(home.path("data/ledger.db-wal")).map_or(0, |wal| wal.len());
    let deadline = Instant::now() + Duration::from_secs(60);
    while written() < 1 << 20 {
        assert!(Instant::now() < deadline, "nothing is taken in");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    child.wait_with_output().expect("it ends")
}

#[test]
fn an_import_that_is_interrupted_ends_at_once_and_the_next_one_takes_in_the_rest() {
    const CALLS: u32 = 12_000;
    for is_running in [false, true] {
        let home = Home::new();
        long_log(&home, CALLS);
        let server = is_running.then(|| Server::start(&home));
        let said = interrupted(&home);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "app runs: {is_running}, {said:?}");
        assert_eq!(
            stderr.trim(),
            "tidegate: stopped: what was taken in stays, and the next import goes on from there",
            "app runs: {is_running}"
        );
        home.json("import claude-code --json");
        let usage = home.json("usage --from 2026-11-01 --to 2026-11-01 --json");
        assert_eq!(usage["total"]["calls"], CALLS, "app runs: {is_running}");
        drop(server);
        assert!(home.run("verify").status.success());
    }
}

#[test]
fn what_the_status_line_said_is_shown_with_its_age_and_nothing_is_guessed() {
    let home = Home::new();
    home.log(0);
    home.json("import claude-code --json");
    let usage = String::from_utf8(home.run("usage").stdout).expect("text");
    assert!(usage.contains("subscription: limit unknown"), "{usage}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (in_an_hour, in_a_day) = (now + 3_600, now + 86_400);
    let status = json!({"rate_limits": {
        "five_hour": {"used_percentage": 23.5, "resets_at": in_an_hour},
        "seven_day": {"used_percentage": 41, "resets_at": in_a_day},
    }});
    assert!(home.statusline(&status.to_string()).status.success());
    // A day later, as far as the week goes.
    let file = home.path("data/observations.jsonl");
    let kept = fs::read_to_string(&file).expect("observations");
    let later = kept.replace(&format!("{in_a_day}000"), &format!("{}000", now - 60));
    assert_ne!(later, kept);
    fs::write(&file, later).expect("written");
    let seen = home.json("status --json")["subscription"].take();
    let told: Vec<_> =
        seen.as_array().expect("a list").iter().map(|seen| (&seen["window"], &seen["used_percent"])).collect();
    assert_eq!(told, [(&"five_hour".into(), &23.5.into()), (&"seven_day".into(), &Value::Null)], "{seen}");
    let status = String::from_utf8(home.run("status").stdout).expect("text");
    assert!(status.contains("23.5 %") && status.contains("unknown since its reset"), "{status}");
}
