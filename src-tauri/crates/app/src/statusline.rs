//! The status line of Claude Code: what it says of the subscription's windows is kept, and one line is shown.
//!
//! It runs at every keystroke or so, beside whatever holds the ledger: it only adds lines to a small file, which the
//! next one who has the ledger takes in. No credential is read anywhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use domain::time::{Calendar, Timestamp};
use ledger::{Ledger, Observation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::folder;
use crate::forecasts::SUBSCRIPTION_WINDOWS;

const FILE: &str = "observations.jsonl";

/// The last of each window that the ledger has taken in.
const LAST_FILE: &str = "observations.last.json";

/// Nobody has taken it in for long: no more is added.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A longer status is none.
pub const STATUS_BYTES_MAX: u64 = 1 << 20;

/// Names of windows and sessions are short.
const NAME_BYTES_MAX: usize = 64;

/// More than any subscription has.
const WINDOWS_MAX: usize = 8;

/// No window lasts longer than a month, and none is told to end much later than it lasts.
const RESET_MAX: Duration = Duration::from_secs(32 * 86_400);
const ROUNDED: Duration = Duration::from_secs(3_600);

/// A little over the whole has been seen (1.02); more is no share.
const PERCENT_MAX: f64 = 110.0;

/// Of the line's parts: a name that others chose, a window's name, and what a session may cost.
const MODEL_CHARS_MAX: usize = 40;
const WINDOW_CHARS_MAX: usize = 24;
const COST_USD_MAX: f64 = 1e6;

/// A line of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Seen {
    at: i64,
    window: String,
    used: u32,
    resets_at: Option<i64>,
    session: String,
}

/// What Claude Code writes to a status line's stdin.
#[derive(Default)]
pub struct Status(Value);

impl Status {
    pub fn parse(text: &[u8]) -> Result<Status, serde_json::Error> {
        serde_json::from_slice(text).map(Status)
    }

    /// How full the windows are, and until when. What can't be so is passed over, and neither shown nor kept.
    fn seen(&self, now: Timestamp) -> Vec<Seen> {
        let windows = self.0["rate_limits"].as_object();
        let session = self.text("/session_id").unwrap_or_default();
        let seen = windows.into_iter().flatten().filter(|(window, _)| is_name(window)).filter_map(|(window, state)| {
            let told = Some(&state["resets_at"]).filter(|told| !told.is_null());
            Some(Seen {
                at: now.as_millis(),
                window: window.to_owned(),
                used: hundredths(state["used_percentage"].as_f64()?)?,
                resets_at: told.map_or(Some(None), |told| reset(told, window, now).map(Some))?,
                session: short(session).to_owned(),
            })
        });
        seen.take(WINDOWS_MAX).collect()
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    fn number(&self, pointer: &str, most: f64) -> Option<f64> {
        self.0.pointer(pointer)?.as_f64().filter(|number| (0.0..=most).contains(number))
    }

    /// Model, what the session cost by Claude Code's own count, and the windows with their resets; those of which it says
    /// nothing now as they were last seen.
    pub fn line(&self, dir: &Path, now: Timestamp, calendar: Option<Calendar>) -> String {
        let model = self.text("/model/display_name").or_else(|| self.text("/model/id"));
        let model = model.map(|name| cut(name, MODEL_CHARS_MAX));
        let cost = self.number("/cost/total_cost_usd", COST_USD_MAX).map(|usd| format!("${usd:.2}"));
        let context = self.number("/context_window/used_percentage", 100.0).map(|used| format!("context {used:.0} %"));
        let seen = self.seen(now);
        let earlier = last_seen(dir).into_iter().filter(|last| seen.iter().all(|seen| seen.window != last.window));
        // What has begun anew since then is not known any more.
        let earlier = earlier.filter(|last| last.resets_at.is_some_and(|at| at > now.as_millis()));
        let earlier =
            earlier.take(WINDOWS_MAX).map(|last| format!("{} ({})", window(&last, now, calendar), ago(&last, now)));
        let windows = seen.iter().map(|seen| window(seen, now, calendar)).chain(earlier);
        let parts: Vec<String> = model.into_iter().chain(cost).chain(context).chain(windows).collect();
        if parts.is_empty() { "Claude Code says nothing of its state".to_owned() } else { parts.join(" · ") }
    }

    /// Keeps what is new in it.
    pub fn keep(&self, dir: &Path, now: Timestamp) -> io::Result<()> {
        let seen = self.seen(now);
        if seen.is_empty() {
            return Ok(());
        }
        folder::make_private(dir)?;
        let mut options = OpenOptions::new();
        let mut file = folder::private(options.read(true).append(true).create(true)).open(dir.join(FILE))?;
        if file.metadata()?.len() > FILE_BYTES_MAX {
            return Ok(());
        }
        let last = last_lines(&mut file)?;
        let is_new = |seen: &&Seen| {
            let known = last.iter().rev().find(|known| known.window == seen.window);
            known.is_none_or(|known| (known.used, known.resets_at) != (seen.used, seen.resets_at))
        };
        let mut text = String::new();
        for seen in seen.iter().filter(is_new) {
            text += &serde_json::to_string(seen)?;
            text.push('\n');
        }
        // One write: lines of several sessions don't mix.
        file.write_all(text.as_bytes())
    }
}

/// The last of each window: of what waits for the ledger, else of what it has taken in.
fn last_seen(dir: &Path) -> Vec<Seen> {
    let mut last: Vec<Seen> = folder::read_json(&dir.join(LAST_FILE)).unwrap_or_default();
    let waiting = File::open(dir.join(FILE)).and_then(|mut file| last_lines(&mut file)).unwrap_or_default();
    waiting.into_iter().for_each(|seen| remember(&mut last, seen));
    last
}

fn remember(last: &mut Vec<Seen>, seen: Seen) {
    match last.iter_mut().find(|known| known.window == seen.window) {
        Some(known) if known.at <= seen.at => *known = seen,
        Some(_) => {}
        None => last.push(seen),
    }
}

fn ago(seen: &Seen, now: Timestamp) -> String {
    match now.since(Timestamp::from_millis(seen.at)).as_secs() / 60 {
        0 => "now".to_owned(),
        minutes @ 1..120 => format!("{minutes} min ago"),
        minutes => format!("{} h ago", minutes / 60),
    }
}

/// The lines at the end of the file that can be read.
fn last_lines(file: &mut File) -> io::Result<Vec<Seen>> {
    const END_BYTES: u64 = 4_096;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end)?;
    Ok(lines(&end))
}

fn lines(text: &[u8]) -> Vec<Seen> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// A stroke would make it another upstream's window.
fn is_name(window: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&window.len()) && window.bytes().all(is_plain)
}

fn hundredths(percent: f64) -> Option<u32> {
    (0.0..=PERCENT_MAX).contains(&percent).then(|| (percent * 100.0).round() as u32)
}

/// In milliseconds, where a window of that name can end then: one that has ended says nothing of now.
fn reset(told: &Value, window: &str, now: Timestamp) -> Option<i64> {
    let at = Timestamp::from_millis(told.as_i64()?.checked_mul(1_000)?);
    let longest = SUBSCRIPTION_WINDOWS
        .iter()
        .find(|(name, _)| *name == window)
        .map_or(RESET_MAX, |(_, length)| *length + ROUNDED);
    (at > now && at.since(now) <= longest).then_some(at.as_millis())
}

fn window(seen: &Seen, now: Timestamp, calendar: Option<Calendar>) -> String {
    let name = match seen.window.as_str() {
        "five_hour" => "5 h",
        "seven_day" => "week",
        other => &cut(other, WINDOW_CHARS_MAX),
    };
    let resets = seen.resets_at.zip(calendar).map(|(at, calendar)| resets(Timestamp::from_millis(at), now, calendar));
    format!("{name} {} %{}", (seen.used + 50) / 100, resets.unwrap_or_default())
}

/// The time alone where that is enough.
fn resets(at: Timestamp, now: Timestamp, calendar: Calendar) -> String {
    let words = calendar.words(at);
    let mut words = words.split(' ');
    let (day, date, time) = (words.next(), words.next(), words.next());
    let day = match at.since(now).as_secs() {
        0..43_200 => None,
        43_200..518_400 => day,
        _ => date,
    };
    [Some(", resets"), day, time].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Brings what status lines have kept into the ledger.
pub(crate) async fn gather(dir: &Path, ledger: &Ledger) -> Result<(), ledger::Error> {
    let (file, taken) = (dir.join(FILE), dir.join("observations.taken"));
    // What was taken by one that died half-way is still there; status lines go on with a new file meanwhile.
    if !taken.exists() && std::fs::rename(&file, &taken).is_err() {
        return Ok(());
    }
    let Ok(text) = std::fs::read(&taken) else { return Ok(()) };
    let seen = lines(&text);
    let mut last: Vec<Seen> = folder::read_json(&dir.join(LAST_FILE)).unwrap_or_default();
    seen.iter().for_each(|seen| remember(&mut last, seen.clone()));
    let observations: Vec<Observation> = seen.into_iter().map(Seen::observation).collect();
    ledger.observe(&observations).await?;
    // Without it a status line shows less.
    let _ = folder::write_json(&dir.join(LAST_FILE), &last);
    // If it stays it is taken again, and counts once.
    let _ = std::fs::remove_file(&taken);
    Ok(())
}

impl Seen {
    fn observation(self) -> Observation {
        Observation {
            at: Timestamp::from_millis(self.at),
            window: self.window,
            used: self.used,
            resets_at: self.resets_at.map(Timestamp::from_millis),
            session: self.session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = br#"{"model":{"id":"claude-opus-5","display_name":"Opus 5"},"session_id":"s-1","cwd":"/x",
        "cost":{"total_cost_usd":1.2345},"context_window":{"used_percentage":38.2},
        "rate_limits":{"five_hour":{"used_percentage":23.456,"resets_at":1790000000},"seven_day":{"used_percentage":41}}}"#;

    /// 10,000 s before the five hours end.
    const SEEN: i64 = 1_789_990_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn kept(dir: &Path) -> Vec<Seen> {
        lines(&std::fs::read(dir.join(FILE)).expect("a file"))
    }

    #[test]
    fn the_line_shows_model_cost_context_and_windows() {
        let dir = tempfile::tempdir().expect("a folder");
        let line =
            Status::parse(STATUS).expect("a status").line(dir.path(), at(1_789_990_000_000), Some(Calendar::UTC));
        assert_eq!(line, "Opus 5 · $1.23 · context 38 % · 5 h 23 %, resets 14:13 · week 41 %");
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        for status in ["{}", "[]", "7", r#"{"model":3,"rate_limits":[1],"cost":{"total_cost_usd":"x"}}"#] {
            let status = Status::parse(status.as_bytes()).expect("JSON");
            assert_eq!(status.line(dir.path(), at(0), Some(Calendar::UTC)), "Claude Code says nothing of its state");
        }
    }

    #[test]
    fn what_cannot_be_so_is_neither_shown_nor_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let now = at(1_789_990_000_000);
        for state in [
            r#""five_hour":{"used_percentage":-1}"#,
            r#""five_hour":{"used_percentage":250,"resets_at":1790000000}"#,
            r#""five_hour":{"used_percentage":1e300}"#,
            r#""five_hour":{"used_percentage":5,"resets_at":1e30}"#,
            r#""five_hour":{"used_percentage":5,"resets_at":9223372036854775807}"#,
            r#""five_hour":{"used_percentage":5,"resets_at":-1790000000}"#,
            r#""five_hour":{"used_percentage":5,"resets_at":1790020000}"#,
            r#""five_hour":{"used_percentage":5,"resets_at":1789989999}"#,
            r#""seven_day":{"used_percentage":5,"resets_at":1790700000}"#,
            r#""month":{"used_percentage":5,"resets_at":1795000000}"#,
            r#""anthropic/week":{"used_percentage":5}"#,
            r#""":{"used_percentage":5}"#,
        ] {
            let text = format!(r#"{{"model":{{"id":"m"}},"rate_limits":{{{state}}}}}"#);
            let status = Status::parse(text.as_bytes()).expect("JSON");
            assert_eq!(status.line(dir.path(), now, Some(Calendar::UTC)), "m", "{state}");
            status.keep(dir.path(), now).expect("nothing to keep");
            assert!(!dir.path().join(FILE).exists(), "{state}");
        }
        let fits = br#"{"rate_limits":{"five_hour":{"used_percentage":102,"resets_at":1790008000},"month":{"used_percentage":0}}}"#;
        let seen = Status::parse(fits).expect("JSON").seen(now);
        let seen: Vec<_> = seen.iter().map(|seen| (&*seen.window, seen.used, seen.resets_at)).collect();
        assert_eq!(seen, [("five_hour", 10_200, Some(1_790_008_000_000)), ("month", 0, None)]);
    }

    #[test]
    fn the_line_has_an_end_whatever_it_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let windows: Vec<String> =
            (0..500).map(|n| format!(r#""{}{n:03}":{{"used_percentage":5}}"#, "w".repeat(60))).collect();
        let text = format!(
            r#"{{"model":{{"display_name":"{}"}},"cost":{{"total_cost_usd":1e300}},"context_window":{{"used_percentage":-5}},"rate_limits":{{{}}}}}"#,
            "é".repeat(100_000),
            windows.join(",")
        );
        let status = Status::parse(text.as_bytes()).expect("JSON");
        let now = at(1_789_990_000_000);
        let line = status.line(dir.path(), now, Some(Calendar::UTC));
        assert!(line.starts_with("ééé") && line.contains("w… 5 %") && line.chars().count() < 400, "{line}");
        status.keep(dir.path(), now).expect("kept");
        assert_eq!(kept(dir.path()).len(), WINDOWS_MAX);
    }

    #[test]
    fn a_window_is_kept_when_it_changes_and_not_at_every_keystroke() {
        let dir = tempfile::tempdir().expect("a folder");
        let status = Status::parse(STATUS).expect("a status");
        status.keep(dir.path(), at(SEEN + 1)).expect("kept");
        status.keep(dir.path(), at(SEEN + 2)).expect("kept");
        let later = STATUS.to_vec();
        let later = String::from_utf8(later).expect("text").replace("23.456", "23.5");
        Status::parse(later.as_bytes()).expect("a status").keep(dir.path(), at(SEEN + 3)).expect("kept");
        let kept: Vec<_> = kept(dir.path()).into_iter().map(|seen| (seen.at, seen.window, seen.used)).collect();
        let five = |at, used| (at, "five_hour".to_owned(), used);
        assert_eq!(kept, [five(SEEN + 1, 2_346), (SEEN + 1, "seven_day".to_owned(), 4_100), five(SEEN + 3, 2_350)]);
    }

    #[tokio::test]
    async fn a_window_that_is_not_told_of_now_is_shown_as_it_was_last_seen_until_it_begins_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let seen = at(1_789_990_000_000);
        Status::parse(STATUS).expect("a status").keep(dir.path(), seen).expect("kept");
        let quiet = Status::parse(br#"{"model":{"id":"m"}}"#).expect("a status");
        let line =
            |after_s| quiet.line(dir.path(), seen.after(std::time::Duration::from_secs(after_s)), Some(Calendar::UTC));
        let expected = "m \u{b7} 5 h 23 %, resets 14:13 (5 min ago)";
        assert_eq!(line(300), expected);
        let options = ledger::Options {
            durability: ledger::Durability::Process,
            catalog: Default::default(),
            calendar: domain::time::Calendar::UTC,
        };
        let (ledger, _) = Ledger::open(dir.path(), options).await.expect("a ledger");
        gather(dir.path(), &ledger).await.expect("gathered");
        assert_eq!(line(300), expected, "the ledger has taken it in");
        assert_eq!(line(10_001), "m", "its reset has passed");
    }

    #[tokio::test]
    async fn what_was_kept_is_taken_into_the_ledger_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let options = ledger::Options {
            durability: ledger::Durability::Process,
            catalog: Default::default(),
            calendar: Calendar::UTC,
        };
        let (ledger, _) = Ledger::open(dir.path(), options).await.expect("a ledger");
        Status::parse(STATUS).expect("a status").keep(dir.path(), at(SEEN + 1)).expect("kept");
        gather(dir.path(), &ledger).await.expect("gathered");
        Status::parse(STATUS).expect("a status").keep(dir.path(), at(SEEN + 2)).expect("kept");
        gather(dir.path(), &ledger).await.expect("gathered");
        gather(dir.path(), &ledger).await.expect("nothing is left");
        let seen = ledger.observations(None, at(0)).await.expect("observations");
        let seen: Vec<_> = seen.iter().map(|seen| (seen.at, &*seen.window, seen.used)).collect();
        let both = |at| [(at, "five_hour", 2_346), (at, "seven_day", 4_100)];
        assert_eq!(seen, [both(at(SEEN + 1)), both(at(SEEN + 2))].concat());
    }
}
