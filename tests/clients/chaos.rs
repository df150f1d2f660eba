//! An upstream that fails in every way it can, by seed, with an outage in the middle; clients retry nothing.
//! Real time, so only for a minute; `TIDEGATE_CHAOS_SECONDS=300` makes it five, three of them without an upstream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::books::count;
use support::lab::{Lab, SETTINGS, simulate};

use crate::program;

/// 5 % busy, 3 % broken, 2 % cut and 1 % silent before their first word, and nobody there in the middle.
const FAULTS: &str = r#"
seed = 7
[[rule]]
fault = "outage"
from = FROM
to = TO
[[rule]]
fault = "overloaded"
probability = 0.05
[[rule]]
fault = "internal"
probability = 0.03
[[rule]]
fault = "cut"
after_events = 1
probability = 0.02
[[rule]]
fault = "stall"
after_events = 1
probability = 0.01
"#;

const QUICK: &str = "\n[timeouts]\nconnect = \"2s\"\nfirst_byte = \"10s\"\nidle = \"3s\"\n";
const SECOND: &str = "\n[[upstream]]\nname = \"second\"\nkind = \"compatible\"\nbase_url = \"OTHER\"\nkey = \"file:KEYFILE\"\n\
    [[fallback]]\nfor = \"normal\"\nupstreams = [\"simulator\", \"second\"]\n";
const WORKERS: &str = "20";
/// Of these faults five in a row come now and then, eight of an outage alone.
const PATIENT: &str = "\n[breaker]\nfailures = 8\n";
/// So long a breaker stays open where nobody finds out earlier.
const OPEN: f64 = 300.0;
/// After the upstream is back.
const RECOVERY: f64 = 30.0;

/// One of the exported calls, by column.
type Row = std::collections::BTreeMap<String, String>;

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

struct Chaos {
    lab: Lab,
    seconds: u64,
    outage: (f64, f64),
}

/// What became of it, in seconds since the upstream started.
struct Seen {
    said: Value,
    start: f64,
    errors: Vec<(f64, f64)>,
    /// Of these, the moments of those that met an open breaker.
    held: Vec<f64>,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

impl Chaos {
    fn with(settings: &str) -> (Chaos, f64) {
        let seconds = std::env::var("TIDEGATE_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(70);
        // A fifth before it, three fifths of outage at five minutes; at least half a minute to recover.
        let (from, to) = if seconds >= 300 { (60.0, 240.0) } else { (15.0, 30.0) };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("faults.toml");
        let faults = FAULTS.replace("FROM", &from.to_string()).replace("TO", &to.to_string());
        std::fs::write(&script, faults).expect("written");
        let start = now();
        let lab = Lab::with(settings, &["--scheme", "none", "--faults", script.to_str().expect("a path")]);
        (Chaos { lab, seconds, outage: (from, to) }, start)
    }

    fn run(&self, start: f64) -> Seen {
        let said =
            program(&self.lab, "python_chaos.py", &[("SECONDS", &self.seconds.to_string()), ("WORKERS", WORKERS)]);
        let moment = |error: &Value, name: &str| error[name].as_f64().expect("a moment") - start;
        let errors = said["errors"].as_array().expect("a list");
        let is_held = |error: &&Value| error["what"].as_str().is_some_and(|what| what.contains("fails calls of"));
        let held = errors.iter().filter(is_held).map(|error| moment(error, "ended")).collect();
        let errors = errors.iter().map(|error| (moment(error, "began"), moment(error, "ended"))).collect();
        Seen { said, start, errors, held }
    }

    /// Completed calls, one for one and to the token, with their prompt once more and a token for each stream that broke
    /// off after it had begun; and every other call has its row.
    fn books_agree(&self, seen: &Seen) -> Vec<Row> {
        self.lab.home.books().verify();
        let rows = self.lab.home.books().calls();
        let completed: Vec<&Row> = rows.iter().filter(|row| row["outcome"] == "completed").collect();
        assert_eq!(completed.len() as u64, count(&seen.said["calls"]));
        for row in completed.iter() {
            let [input, output] = [0, 1].map(|place| count(&seen.said["used"][&*row["call_id"]][place]));
            let broken = number(&row["output_tokens"]) - output;
            assert_eq!(number(&row["input_tokens"]), input * (1 + broken), "{row:?}");
            assert_eq!(row["estimated"], (broken > 0).to_string(), "{row:?}");
            assert!(broken < number(&row["attempts"]), "{row:?}");
        }
        assert_eq!(rows.len(), completed.len() + seen.errors.len(), "every call has its row");
        rows
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_fallback_clients_see_nothing_of_an_upstream_that_fails_and_goes_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = simulate(&["--scheme", "none"], folder.path()).expect("a second upstream");
    let settings = format!("{SETTINGS}{QUICK}{SECOND}").replace("OTHER", &other.url);
    let (chaos, start) = Chaos::with(&settings);
    let seen = chaos.run(start);
    let calls = count(&seen.said["calls"]);
    let failed = seen.errors.len() as u64;
    chaos.books_agree(&seen);
    eprintln!("{calls} calls succeeded, {failed} failed");
    assert!(failed * 1_000 <= calls + failed, "{}", seen.said["errors"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_errors_come_in_the_outage_alone_and_it_is_over_soon_after() {
    let (chaos, start) = Chaos::with(&format!("{SETTINGS}{QUICK}{PATIENT}"));
    let seen = chaos.run(start);
    let rows = chaos.books_agree(&seen);
    let (from, to) = chaos.outage;
    let astray: Vec<&f64> = seen.held.iter().filter(|ended| !(from..=to + OPEN).contains(*ended)).collect();
    assert!(astray.is_empty(), "calls met an open breaker at {astray:?}, and the outage is from {from} to {to}");
    // Where the call that finds out fails, with all its retries, the next may try when `open` has passed.
    let held_late = seen.held.iter().filter(|ended| **ended > to + RECOVERY).count();
    let outside = seen.errors.iter().filter(|(began, ended)| *ended < from || *began > to + RECOVERY).count();
    let outside = outside - held_late.min(outside);
    // Those were busy twice in a row, or found the budget of retries spent.
    let calls = rows.len();
    assert!(
        outside * 100 <= calls * 3,
        "{outside} of {calls} calls failed outside of the outage: {}",
        seen.said["errors"]
    );
    let attempts: u64 = rows.iter().map(|row| number(&row["attempts"])).sum();
    assert!(attempts <= calls as u64 * 11 / 10 + 10, "{attempts} attempts of {calls} calls are more than a tenth");
    let recovered = first_success_after(&rows, seen.start + to);
    eprintln!(
        "{calls} calls, {} failed, {outside} outside the outage, {attempts} attempts, recovered in {recovered:.1} s",
        seen.errors.len()
    );
    let window = seen.start + to..seen.start + to + RECOVERY;
    let in_vain =
        |row: &Row| row["outcome"] == "failed" && row["attempts"] != "1" && window.contains(&moment(&row["ended_at"]));
    assert!(recovered <= RECOVERY || rows.iter().any(in_vain), "recovered after {recovered} s");
}

/// In seconds; `from` is a moment since 1970.
fn first_success_after(rows: &[Row], from: f64) -> f64 {
    let completed = rows.iter().filter(|row| row["outcome"] == "completed" && moment(&row["started_at"]) >= from);
    completed.map(|row| moment(&row["started_at"]) - from).fold(f64::INFINITY, f64::min)
}

/// In seconds since 1970.
fn moment(text: &str) -> f64 {
    domain::time::Timestamp::parse(text).expect("an instant").as_millis() as f64 / 1_000.0
}

/// Whatever it breaks off with, no SDK takes it for whole, and the ledger marks it.
#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_after_its_first_word_ends_as_an_error_and_is_marked() {
    for (fault, outcome, error) in [
        ("cut; after_events=6", "cut", "the upstream ended early"),
        ("stall; after_events=6", "cut", "the upstream fell silent"),
        ("error_in_stream; after_events=6", "failed", "overloaded_error"),
    ] {
        let lab = Lab::with(&format!("{SETTINGS}{}", QUICK.replace("3s", "1s")), &["--scheme", "none"]);
        let said = program(&lab, "python_cut.py", &[("FAULT", fault)]);
        assert_eq!(said["raised"], true, "{fault}: {said}");
        let settled = Lab::until(Duration::from_secs(5), async || lab.home.books().calls().len() == 1).await;
        settled.expect("it is settled");
        let row = &lab.home.books().calls()[0];
        assert_eq!(
            (&row["outcome"], &row["error"], &row["attempts"]),
            (&outcome.into(), &error.into(), &"1".into()),
            "{fault}"
        );
    }
}
