//! What other programs wrote down, by the binary: alone, through the app that runs, and as it comes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
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
struct Server(Child);

impl Server {
    fn start(home: &Home) -> Server {
        let mut child = home.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening on "), "{line:?}");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
