//! `DIR/forecasts.json`: when the app listened, forecasts whose window has not ended, and how those before came out.

use std::collections::BTreeMap;

use domain::forecast::{Kept, QUANTILES, Scored, Window};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    /// Hours since 1970, from and to, both inclusive.
    heard: Vec<(i64, i64)>,
    windows: BTreeMap<String, Page>,
}

/// Of one window or budget.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    open: Vec<OpenForecast>,
    /// When the present window ran out.
    ran_out: Option<i64>,
    limit: Option<SeenLimit>,
    scored: Vec<Outcome>,
}

/// What the window was held against last.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct SeenLimit {
    amount: f64,
    /// In milliseconds since 1970; nothing where nobody saw it come.
    since: Option<i64>,
}

/// Moments in milliseconds since 1970, spans in hours.
#[derive(Serialize, Deserialize)]
struct OpenForecast {
    made_at: i64,
    resets_at: i64,
    p_runs_out: f64,
    lasts: [f64; QUANTILES],
    band: (f64, f64),
    straight_line: f64,
    seasonal_naive: f64,
}

#[derive(Serialize, Deserialize)]
struct Outcome {
    error: f64,
    crps: f64,
    brier: f64,
    hit: bool,
    width: f64,
    straight_line_error: f64,
    seasonal_naive_error: f64,
}

/// One in so many hours is scored: those between say the same.
const HOURS_APART: i64 = 6;
const OPEN_MAX: usize = 200;
/// Five a week, for two years.
const SCORED_MAX: usize = 520;
const WINDOWS_MAX: usize = 500;
const HEARD_MAX: usize = 1_000;
const HOUR_MS: i64 = 3_600_000;

impl Book {
    /// The app is there in this hour.
    pub(super) fn listens(&mut self, hour: i64) {
        match self.heard.last_mut() {
            Some((_, last)) if hour <= *last => {}
            Some((_, last)) if hour == *last + 1 => *last = hour,
            Some(_) | None => self.heard.push((hour, hour)),
        }
        let beyond = self.heard.len().saturating_sub(HEARD_MAX);
        self.heard.drain(..beyond);
    }

    /// What was before anybody noted it counts as heard.
    pub(super) fn listened(&self, hour: i64) -> bool {
        let Some((first, _)) = self.heard.first() else { return true };
        hour < *first || self.heard.iter().rev().any(|(from, to)| (*from..=*to).contains(&hour))
    }

    pub(super) fn scored(&self, name: &str) -> Vec<Scored> {
        let page = self.windows.get(name);
        page.map(|page| page.scored.iter().map(Outcome::scored).collect()).unwrap_or_default()
    }

    /// Keeps a forecast now and again, and scores all whose window has ended.
    pub(super) fn observe(&mut self, name: &str, window: Window, kept: Option<&Kept>, now: Timestamp) {
        if !self.windows.contains_key(name) && self.windows.len() >= WINDOWS_MAX {
            return;
        }
        let is_new = !self.windows.contains_key(name);
        let saw_it_come = is_new && self.heard.first().is_some_and(|(first, _)| *first < super::hour_of(now));
        let page = self.windows.entry(name.to_owned()).or_default();
        page.score(window);
        page.hold_against(window.limit, saw_it_come, now);
        if page.ran_out.is_none() && window.limit.is_some_and(|limit| window.used >= limit) {
            page.ran_out = Some(now.as_millis());
        }
        let last = page.open.last().map_or(i64::MIN, |open| open.made_at);
        if let Some(kept) = kept.filter(|kept| kept.made_at.as_millis().saturating_sub(last) >= HOURS_APART * HOUR_MS) {
            page.open.push(OpenForecast::of(kept));
        }
        let beyond = page.open.len().saturating_sub(OPEN_MAX);
        page.open.drain(..beyond);
    }
}

impl Book {
    /// Since when the window is held against this limit, where that is later than its beginning.
    pub(super) fn limit_since(&self, name: &str, window: Window) -> Option<Timestamp> {
        let seen = self.windows.get(name)?.limit.filter(|seen| is_same(Some(seen.amount), window.limit))?;
        seen.since.map(Timestamp::from_millis).filter(|since| *since > window.since)
    }
}

impl Page {
    /// A forecast that was made under another limit has nothing to answer for.
    fn hold_against(&mut self, limit: Option<f64>, saw_it_come: bool, now: Timestamp) {
        let before = self.limit.map(|seen| seen.amount);
        if is_same(before, limit) {
            return;
        }
        let is_change = before.is_some();
        if is_change {
            self.open.clear();
            self.ran_out = None;
        }
        let since = (is_change || saw_it_come).then(|| now.as_millis());
        self.limit = limit.map(|amount| SeenLimit { amount, since });
    }

    /// Those of an earlier window than this one.
    fn score(&mut self, window: Window) {
        let is_over = |open: &OpenForecast| open.resets_at <= window.since.as_millis();
        if !self.open.iter().any(is_over) {
            return;
        }
        let ran_out = self.ran_out.take().map(Timestamp::from_millis);
        let (over, open) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.open = open;
        let over: Vec<OpenForecast> = over;
        self.scored.extend(over.iter().map(|open| Outcome::of(open.kept().score(ran_out))));
        let beyond = self.scored.len().saturating_sub(SCORED_MAX);
        self.scored.drain(..beyond);
    }
}

/// A file may read a number back a hair off.
fn is_same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
        _ => one.is_none() && other.is_none(),
    }
}

impl OpenForecast {
    fn of(kept: &Kept) -> OpenForecast {
        OpenForecast {
            made_at: kept.made_at.as_millis(),
            resets_at: kept.resets_at.as_millis(),
            p_runs_out: kept.p_runs_out,
            lasts: kept.lasts,
            band: kept.band,
            straight_line: kept.straight_line,
            seasonal_naive: kept.seasonal_naive,
        }
    }

    fn kept(&self) -> Kept {
        Kept {
            made_at: Timestamp::from_millis(self.made_at),
            resets_at: Timestamp::from_millis(self.resets_at),
            p_runs_out: self.p_runs_out,
            lasts: self.lasts,
            band: self.band,
            straight_line: self.straight_line,
            seasonal_naive: self.seasonal_naive,
        }
    }
}

impl Outcome {
    fn of(scored: Scored) -> Outcome {
        Outcome {
            error: scored.error_hours,
            crps: scored.crps_hours,
            brier: scored.brier,
            hit: scored.hit,
            width: scored.width_hours,
            straight_line_error: scored.straight_line_error_hours,
            seasonal_naive_error: scored.seasonal_naive_error_hours,
        }
    }

    fn scored(&self) -> Scored {
        Scored {
            error_hours: self.error,
            crps_hours: self.crps,
            brier: self.brier,
            hit: self.hit,
            width_hours: self.width,
            straight_line_error_hours: self.straight_line_error,
            seasonal_naive_error_hours: self.seasonal_naive_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_millis(hour * HOUR_MS)
    }

    fn window(since: i64, used: f64) -> Window {
        Window { since: at(since), resets_at: at(since + 100), used, limit: Some(10.0) }
    }

    /// Says that it lasts 40 hours, give or take 10.
    fn kept(made_at: i64, resets_at: i64) -> Kept {
        Kept {
            made_at: at(made_at),
            resets_at: at(resets_at),
            p_runs_out: 0.75,
            lasts: [40.0; QUANTILES],
            band: (30.0, 50.0),
            straight_line: 60.0,
            seasonal_naive: 45.0,
        }
    }

    #[test]
    fn a_forecast_is_kept_now_and_again_and_scored_when_its_window_has_ended() {
        let mut book = Book::default();
        for hour in 0..20 {
            book.observe("w", window(0, 1.0), Some(&kept(hour, 100)), at(hour));
        }
        assert_eq!(book.windows["w"].open.len(), 4, "at 0, 6, 12 and 18");
        book.observe("w", window(0, 10.0), None, at(45));
        assert!(book.scored("w").is_empty());
        let text = serde_json::to_string(&book).expect("JSON");
        let mut book: Book = serde_json::from_str(&text).expect("the same");
        book.observe("w", window(100, 0.0), Some(&kept(101, 200)), at(101));
        let scored = book.scored("w");
        // It ran out after 45, 39, 33 and 27 hours.
        assert_eq!(scored.iter().map(|scored| scored.error_hours).collect::<Vec<_>>(), [5.0, 1.0, 7.0, 13.0]);
        assert_eq!(scored.iter().map(|scored| scored.hit).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(book.windows["w"].open.len(), 1);
        assert!(book.windows["w"].ran_out.is_none(), "the new window has not");
    }

    #[test]
    fn a_limit_that_came_or_changed_in_mid_window_is_known_and_no_earlier_forecast_is_scored_by_it() {
        let mut book = Book::default();
        book.listens(0);
        book.listens(50);
        book.observe("w", window(0, 1.0), Some(&kept(50, 100)), at(50));
        assert_eq!(book.limit_since("w", window(0, 1.0)), Some(at(50)), "it was not there before");
        assert_eq!(book.limit_since("w", window(100, 1.0)), None, "the next window has it from its beginning");
        let lower = Window { limit: Some(5.0), ..window(0, 6.0) };
        book.observe("w", lower, None, at(60));
        assert_eq!(book.limit_since("w", lower), Some(at(60)));
        assert_eq!(book.limit_since("w", Window { limit: Some(7.0), ..lower }), None, "one that is only tried");
        assert!(book.windows["w"].open.is_empty(), "what was said of 10 says nothing of 5");
        book.observe("w", Window { limit: Some(5.0), ..window(100, 0.0) }, None, at(101));
        assert!(book.scored("w").is_empty());
        let mut first = Book::default();
        first.listens(50);
        first.observe("w", window(0, 1.0), None, at(50));
        assert_eq!(first.limit_since("w", window(0, 1.0)), None, "nobody was there to see whether it was");
    }

    #[test]
    fn hours_without_the_app_are_unknown_since_it_notes_them() {
        let mut book = Book::default();
        assert!(book.listened(5));
        for hour in [10, 10, 11, 12, 20, 9] {
            book.listens(hour);
        }
        let heard: Vec<i64> = (5..25).filter(|hour| book.listened(*hour)).collect();
        assert_eq!(heard, [5, 6, 7, 8, 9, 10, 11, 12, 20]);
    }
}
