//! What was used and why it cost what it did, in every shape that scripts read.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const SETTINGS: &str = "[gateway]\nlisten = \"127.0.0.1:0\"\ntimezone = \"Europe/Berlin\"\n\n[[attribute]]\nwhen = \"cwd:/home/*\"\nperson = \"=ada\"\ntenant = \"t\"\ntags = { team = \"gate\" }\n";

struct Home(TempDir);

impl Home {
    /// With logs of two sessions around the night in which the clocks go back.
    fn with_logs() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        fs::write(home.path("settings.toml"), SETTINGS).expect("written");
        fs::create_dir_all(home.path(".claude/projects/p")).expect("made");
        let calls = [
            (0, "s-1", "claude-sonnet-4-5", "2026-10-24T21:59:00Z", 0, 100_000),
            (1, "s-1", "claude-sonnet-4-5", "2026-10-24T22:00:00Z", 40_000, 90_000),
            (2, "s-2", "claude-opus-4-1", "2026-10-25T22:59:00Z", 0, 0),
            (3, "s-2", "no-such-model", "2026-10-25T23:00:00Z", 0, 0),
        ];
        let lines = calls.map(|(number, session, model, at, read, written)| {
            let usage = json!({"input_tokens": 10, "output_tokens": 100, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written});
            let line = json!({"type": "assistant", "requestId": format!("req_{number}"), "sessionId": session,
                "cwd": "/home/u/shop", "gitBranch": "main", "timestamp": at,
                "message": {"id": format!("m_{number}"), "model": model, "usage": usage}});
            format!("{line}\n")
        });
        fs::write(home.path(".claude/projects/p/s.jsonl"), lines.concat()).expect("written");
        home.said("import claude-code");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn said(&self, line: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["--data-dir".as_ref(), self.path("data").as_os_str()]);
        command.args(["--settings".as_ref(), self.path("settings.toml").as_os_str()]);
        command.args(line.split_whitespace()).env_remove("CLAUDE_CONFIG_DIR").env_remove("XDG_CONFIG_HOME");
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env("HOME", self.0.path());
        let said = command.stdin(Stdio::null()).output().expect("it starts");
        assert!(said.status.success(), "{line}: {said:?}");
        String::from_utf8(said.stdout).expect("text")
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.said(line)).expect("one JSON document")
    }
}

#[test]
fn usage_answers_by_everything_as_json_and_as_csv_and_names_its_zone() {
    let home = Home::with_logs();
    let days = "--from 2026-10-24 --to 2026-10-26";
    for (by, keys) in [
        ("day", "2026-10-24 1,2026-10-25 2,2026-10-26 1"),
        (
            "hour",
            "2026-10-24T23:00:00+02:00 1,2026-10-25T00:00:00+02:00 1,2026-10-25T23:00:00+01:00 1,2026-10-26T00:00:00+01:00 1",
        ),
        ("model", "claude-sonnet-4-5 2,claude-opus-4-1 1,no-such-model 1"),
        ("client", "claude-code 4"),
        ("person", "=ada 4"),
        ("project", "shop 4"),
        ("tenant", "t 4"),
        ("session", "s-1 2,s-2 2"),
        ("upstream", " 4"),
        ("tag:team", "gate 4"),
        ("tag:branch", "main 4"),
        ("tag:none", " 4"),
    ] {
        let usage = home.json(&format!("usage --by {by} {days} --json"));
        let rows = usage["rows"].as_array().expect("rows");
        let told: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["key"].as_str().expect("text"), row["calls"])).collect();
        assert_eq!(told.join(","), keys, "{by}");
        assert_eq!((&usage["timezone"], &usage["total"]["calls"]), (&"Europe/Berlin".into(), &4.into()));
        assert!(rows.iter().all(|row| row["saved_usd"] == "0.000000000"), "{usage}");
        let csv = home.said(&format!("usage --by {by} {days} --csv"));
        let head = "key,calls,input_tokens,cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,output_tokens,cost_usd,unpriced_calls,saved_usd";
        assert_eq!((csv.lines().next(), csv.lines().count()), (Some(head), rows.len() + 1), "{by}");
        for (line, row) in csv.lines().skip(1).zip(rows) {
            let cost = row["cost_usd"].as_str().unwrap_or_default();
            let end = format!(",{cost},{},0.000000000", row["unpriced_calls"]);
            assert!(line.ends_with(&end), "{by}: {line} has not {end}");
        }
    }
    let unknown = home.json(&format!("usage --by model {days} --json"));
    assert_eq!(unknown["rows"][2]["cost_usd"], Value::Null, "unknown is not zero");
    assert!(home.said(&format!("usage --by person {days} --csv")).contains("\"'=ada\",4,"));
}

#[test]
fn days_and_months_are_exported_with_their_zone() {
    let home = Home::with_logs();
    let columns = "--columns date,timezone,client,person,project,upstream,model,calls,unpriced_calls";
    let daily = home.said(&format!("export daily --from 2026-10 --to 2026-10 {columns}"));
    let rest = "Europe/Berlin,claude-code,\"'=ada\",shop,";
    let expected = [
        "date,timezone,client,person,project,upstream,model,calls,unpriced_calls".to_owned(),
        format!("2026-10-24,{rest},claude-sonnet-4-5,1,0"),
        format!("2026-10-25,{rest},claude-opus-4-1,1,0"),
        format!("2026-10-25,{rest},claude-sonnet-4-5,1,0"),
        format!("2026-10-26,{rest},no-such-model,1,1"),
        String::new(),
    ];
    assert_eq!(daily, expected.join("\r\n"));
    let out = home.path("months.csv");
    home.said(&format!(
        "export monthly --from 2026-01-01 --client claude-code --columns date,model,calls --out {}",
        out.display()
    ));
    let monthly = fs::read_to_string(out).expect("written");
    assert_eq!(
        monthly,
        "date,model,calls\r\n2026-10,claude-opus-4-1,1\r\n2026-10,claude-sonnet-4-5,2\r\n2026-10,no-such-model,1\r\n"
    );
    let nobody = home.said("export monthly --from 2026-01-01 --client nobody --columns date,calls");
    assert_eq!(nobody, "date,calls\r\n");
    let instants = "--from 2026-10-24T22:00:00Z --to 2026-10-25T22:59:00Z";
    assert_eq!(home.said(&format!("export calls {instants} --columns request_id")), "request_id\r\nreq_1\r\n");
    assert_eq!(home.said("export calls --columns request_id"), "request_id\r\n", "today, without days");
}

#[test]
fn a_bill_is_explained_down_to_its_dearest_sessions() {
    let home = Home::with_logs();
    let told = home.json("explain 2026-10 --json");
    let nanos = |value: &Value| value.as_str().expect("money").replace('.', "").parse::<i64>().expect("nano-dollars");
    let total = nanos(&told["total"]["cost_usd"]);
    for shares in ["reasons", "models"] {
        let sum: i64 =
            told["total"][shares].as_array().expect("shares").iter().map(|share| nanos(&share["cost_usd"])).sum();
        assert_eq!(sum, total, "{shares}: {told}");
    }
    let usage = home.json("usage --from 2026-10 --to 2026-10 --json");
    assert_eq!(told["total"]["cost_usd"], usage["total"]["cost_usd"]);
    assert_eq!(told["sessions"][0]["session"], "s-1");
    // 60,000 tokens at 3.75 − 0.30 dollars a million.
    let sentences = told["sessions"][0]["sentences"].to_string();
    assert!(sentences.contains("cache broke 1 time: $0.21 ") && sentences.contains(" 60,000 tokens"), "{sentences}");
    let text = home.said("explain 2026-10");
    assert!(text.contains("1 call is of unknown price: not in the sum"), "{text}");
    assert!(text.contains("\nsession s-1 of claude-code, project shop, from 2026-10-24T21:59:00.000Z: $"), "{text}");
    assert_eq!(home.said("explain 2020-01"), "");
}

#[test]
fn months_are_exported_by_the_names_that_are_asked_for_and_calls_shown_of_the_days() {
    let home = Home::with_logs();
    let sums =
        home.said("export monthly --from 2026-10 --to 2026-10 --by person,project --columns date,person,project,calls");
    assert_eq!(sums, "date,person,project,calls\r\n2026-10,\"'=ada\",shop,4\r\n");
    for (days, calls) in
        [("", 4), ("--from 2026-10-25 --to 2026-10-25", 2), ("--to 2026-10-24", 1), ("--from 2026-10-26", 1)]
    {
        assert_eq!(home.json(&format!("calls {days} --json")).as_array().map(Vec::len), Some(calls), "{days}");
    }
}
