//! What Claude Code writes into its log when a subscription's window is spent: no call, and yet worth keeping.

use domain::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::observing::{FULL, Observation};

/// Sessions have short names.
const NAME_CHARS_MAX: usize = 64;

const YEAR_9999: i64 = 253_402_300_799;

#[derive(Deserialize)]
struct Line {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Value,
}

/// `None` where the line tells of another error.
pub(super) fn reached(line: &[u8], at: &str, session: &str, latest: Timestamp) -> Option<Observation> {
    let Line { message } = serde_json::from_slice(line).ok()?;
    let text = message.content.as_str().or_else(|| message.content.get(0)?["text"].as_str())?;
    let at = Timestamp::parse(at).filter(|at| at.as_millis() >= 0 && *at <= latest)?;
    Some(Observation {
        at,
        window: window(text)?.to_owned(),
        used: FULL,
        resets_at: resets_at(text),
        session: session.chars().take(NAME_CHARS_MAX).collect(),
    })
}

/// The wording has changed over the years; which window it is, is not always said.
fn window(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    // What a minute allows is another matter.
    let is_reached = !text.contains("rate limit")
        && (text.contains("limit reached") || text.contains("you've hit your") && text.contains("limit"));
    let names = [
        ("opus", "seven_day_opus"),
        ("sonnet", "seven_day_sonnet"),
        ("weekly", "seven_day"),
        ("5-hour", "five_hour"),
        ("session", "five_hour"),
    ];
    let named = names.into_iter().find(|(word, _)| text.contains(word));
    is_reached.then(|| named.map_or("usage_limit", |(_, window)| window))
}

/// `Claude AI usage limit reached|1790000000`
fn resets_at(text: &str) -> Option<Timestamp> {
    let seconds: i64 = text.rsplit_once('|')?.1.trim().parse().ok()?;
    (0..=YEAR_9999).contains(&seconds).then(|| Timestamp::from_millis(seconds * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let line = serde_json::json!({"message": {"content": [{"type": "text", "text": text}]}}).to_string();
        let latest = Timestamp::from_millis(i64::MAX);
        let Some(seen) = reached(line.as_bytes(), "2026-11-24T10:00:00Z", "s", latest) else { return "nothing".into() };
        format!("{} {} {:?}", seen.window, seen.used, seen.resets_at.map(|at| at.to_string()))
    }

    #[test]
    fn each_wording_of_a_spent_window_is_known_and_other_errors_are_not() {
        for (text, expected) in [
            ("Claude AI usage limit reached|1790000000", "usage_limit 10000 Some(\"2026-09-21T14:13:20.000Z\")"),
            ("You've hit your weekly limit \u{b7} resets Nov 30, 3pm (Europe/Berlin)", "seven_day 10000 None"),
            ("You've hit your session limit \u{b7} resets 3pm", "five_hour 10000 None"),
            ("You've hit your Opus limit \u{b7} resets 3pm", "seven_day_opus 10000 None"),
            ("5-hour limit reached \u{2219} resets 3pm", "five_hour 10000 None"),
            ("API Error: Rate limit reached", "nothing"),
            ("Claude AI usage limit reached|99999999999999", "usage_limit 10000 None"),
            ("API Error: 529 overloaded", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
