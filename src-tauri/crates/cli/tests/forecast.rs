//! `tidegate forecast backtest`: figures for scripts, a table for people, a sentence for files that hold no series.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn backtest(folder: &TempDir, csv: &str, options: &[&str]) -> Output {
    let file = folder.path().join("use.csv");
    fs::write(&file, csv).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--data-dir".as_ref(), folder.path().join("data").as_os_str()]);
    command.args(["--settings".as_ref(), folder.path().join("settings.toml").as_os_str()]);
    command.args(["forecast", "backtest"]).arg(file).args(options).stdin(Stdio::null()).output().expect("it starts")
}

/// One unit every six hours, over so many weeks from Monday, 2026-01-05.
fn steady(weeks: usize) -> String {
    let step =
        |step: usize| format!("2026-{:02}-{:02}T{:02}:00:00Z,1\n", step / 112 + 1, step / 4 % 28 + 1, step % 4 * 6);
    // Months of 28 days: the days that are missing hold nothing.
    "at,used\n".to_owned() + &(0..weeks * 28).map(step).collect::<String>()
}

#[test]
fn a_series_is_scored_by_every_method_as_scripts_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = backtest(&folder, &steady(12), &["--limit", "20", "--json"]);
    assert!(said.status.success(), "{said:?}");
    let found: Value = serde_json::from_slice(&said.stdout).expect("one JSON document");
    assert_eq!(found["series"]["from"], "2026-01-01T00:00:00.000Z");
    assert_eq!(found["series"]["limit"], 20.0);
    let methods = found["methods"].as_array().expect("methods");
    let names: Vec<&str> = methods.iter().filter_map(|method| method["name"].as_str()).collect();
    assert_eq!(names, ["tidegate", "straight_line", "last_hour", "least_squares", "seasonal_naive", "shifted_curves"]);
    for method in methods {
        assert_eq!(method["n"], methods[0]["n"]);
        let is_point = method["coverage80"].is_null();
        assert_eq!(is_point, !["tidegate", "shifted_curves"].contains(&method["name"].as_str().expect("a name")));
        assert_eq!(is_point, method["crps_hours"] == method["mae_hours"], "{method}");
    }
    assert!(!folder.path().join("data").exists(), "a backtest needs no data folder");
}

#[test]
fn people_get_a_table_and_windows_may_be_months_of_any_zone() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = backtest(&folder, &steady(30), &["--window", "month", "--resets", "1st 00:00 Europe/Berlin"]);
    let text = String::from_utf8(said.stdout).expect("text");
    assert!(
        text.contains("full windows, limit ") && text.contains("tidegate") && text.contains("shifted_curves"),
        "{text}"
    );
}

#[test]
fn what_is_no_series_gets_one_sentence_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let hours = "2026-01-05T00:00:00Z,1\n2026-01-05T01:00:00Z,1\n";
    for (csv, options, expected) in [
        ("", &[][..], "holds 0 different instants"),
        ("at,used\n", &[], "holds 0 different instants"),
        ("2026-01-05T00:00:00Z,1\n", &[], "holds 1 different instants"),
        ("at,used\n2026-01-05,1\n", &[], "line 2: \"2026-01-05\" is no instant"),
        ("at,used\n2026-01-05T00:00:00Z\n", &[], "line 2: a number is missing"),
        ("at,used\n2026-01-05T00:00:00Z,much\n", &[], "line 2: \"much\" is no number"),
        ("at,used\n2026-01-05T00:00:00Z,NaN\n", &[], "line 2: \"NaN\" is no number"),
        ("at,used\n2026-01-05T00:00:00Z,1\n2026-01-05T01:00:00Z,-4\n", &[], "line 3: -4 is below 0"),
        ("2026-01-05T00:00:00Z,-4\n2026-01-05T01:00:00Z,1\n", &[], "line 1: -4 is below 0"),
        ("at,used\n2026-01-05T00:00:00Z,1e300\n", &[], "line 2: 1e300 is more than 1e15"),
        (hours, &[], "holds no full week"),
        (hours, &["--resets", "soon"], "--resets must be a weekday"),
        (hours, &["--resets", "1st 00:00 UTC"], "--resets names no day of the week"),
        ("1926-01-05T00:00:00Z,1\n2026-01-05T01:00:00Z,1\n", &[], "goes over 36525 days"),
    ] {
        let said = backtest(&folder, csv, options);
        let text = String::from_utf8(said.stderr).expect("text");
        let code = if options.is_empty() { 1 } else { 2 };
        assert_eq!(said.status.code(), Some(code), "{csv}: {text}");
        assert!(text.contains(expected) && text.lines().count() == 1, "{csv}: {text}");
    }
    let said = backtest(&folder, hours, &["--limit", "-3"]);
    assert_eq!(said.status.code(), Some(2));
    let nothing: String =
        (0..60).map(|day| format!("2026-{:02}-{:02}T00:00:00Z,0\n", day / 28 + 1, day % 28 + 1)).collect();
    let said = backtest(&folder, &nothing, &[]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("nothing is used in most windows"), "{said:?}");
}
