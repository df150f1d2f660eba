//! Prices by the binary: on the folder itself and through the app that runs, with the same words and the same effect.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const SETTINGS: &str = "[gateway]\nlisten = \"127.0.0.1:0\"\ntimezone = \"UTC\"\n";

struct Home(TempDir);

/// A gateway on the folder, ended with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        fs::write(home.path("settings.toml"), SETTINGS).expect("written");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["--data-dir".as_ref(), self.path("data").as_os_str()]);
        command.args(["--settings".as_ref(), self.path("settings.toml").as_os_str()]);
        command.args(line.split_whitespace()).env("HOME", self.0.path());
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
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

    fn serve(&self) -> Serving {
        let mut child = self.command("serve").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("a line");
        assert!(first.starts_with("listening on "), "{first}");
        Serving(child)
    }

    /// A log with a call of a model that nobody knows.
    fn log(&self) {
        let line = r#"{"type":"assistant","uuid":"u","requestId":"req_1","sessionId":"s","timestamp":"2026-11-01T10:00:00Z","message":{"id":"msg_1","model":"mystery-1","usage":{"input_tokens":1000,"output_tokens":100}}}"#;
        fs::write(self.path("s.jsonl"), format!("{line}\n")).expect("written");
        assert!(self.run(&format!("import claude-code {}", self.path("s.jsonl").display())).status.success());
    }

    fn total(&self) -> String {
        let total = &self.json("usage --from 2026-11-01 --to 2026-11-01 --json")["total"];
        format!("{} {}", total["cost_usd"], total["unpriced_calls"])
    }
}

#[test]
fn a_price_that_is_set_later_is_given_to_earlier_calls_on_request_and_why_tells_of_it() {
    for through_the_app in [false, true] {
        let home = Home::new();
        let _serving = through_the_app.then(|| home.serve());
        home.log();
        assert_eq!(home.total(), "null 1");
        home.json("price set mystery-1 input 4 --from 2026-11-01 --json");
        let set = home.json("price set mystery-1 output 20 --from 2026-11-01 --json");
        assert_eq!((&set["set"][0]["value"], &set["earlier_calls"]), (&"20".into(), &1.into()));
        assert_eq!(home.total(), "null 1", "what was entered stays until it is asked for");
        let planned = home.json("price apply --from 2026-11-01 --to 2026-11-01 --dry-run --json");
        assert_eq!((&planned["repriced"], home.total().as_str()), (&1.into(), "null 1"));
        home.json("price apply --from 2026-11-01 --to 2026-11-01 --reason contract --json");
        assert_eq!(home.total(), "\"0.006000000\" 0");
        let call = home.json("calls --json")[0]["call_id"].as_str().expect("an id").to_owned();
        let why = home.json(&format!("why {call} --json"));
        assert_eq!(why["price"]["price_id"], "own:mystery-1@2026-11-01");
        let change = &why["pricing"]["changes"][0];
        assert_eq!((&change["old_cost_usd"], &change["reason"]), (&Value::Null, &"contract".into()));
        let csv = home.run("export calls --from 2026-11-01 --to 2026-11-01 --columns cost_usd,price_id");
        assert_eq!(
            String::from_utf8_lossy(&csv.stdout),
            "cost_usd,price_id\r\n0.006000000,own:mystery-1@2026-11-01\r\n"
        );
        assert!(home.run("verify").status.success());
    }
}

#[test]
fn what_is_no_price_is_one_sentence_and_wrong_usage() {
    let home = Home::new();
    for line in ["price set claude-x input -3", "price set claude-x nothing 3", "price update nowhere.json"] {
        let said = home.run(line);
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!((said.status.code(), err.lines().count()), (Some(2), 1), "{line}: {err}");
    }
    assert_eq!(home.run("price unset claude-x input").status.code(), Some(1));
}

#[test]
fn an_installed_price_file_that_was_cut_is_named_by_doctor_and_the_list() {
    let home = Home::new();
    assert!(home.run("price list").status.success());
    fs::write(home.path("data/price-table.json"), "{\"schema\": 1,").expect("written");
    let list = home.json("price list --json");
    assert_eq!(list["table"]["file"], "built in");
    assert!(list["table"]["fault"].as_str().expect("a fault").contains("line 1: the file ends in the middle"));
}
