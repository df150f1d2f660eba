//! A subscription's windows: so many dollars in five hours and in seven days, per key.
//!
//! A window begins with its first call and ends after its length. Only the cost of calls that have ended is in it.
//! Source of the headers: what Claude Code 2.1 reads; they are not published.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::money::Usd;
use domain::time::{Now, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

const HOUR: u64 = 3_600;
/// From so much of a window on its headers warn.
const WARNS_FROM_PERMILLE: [i128; 2] = [900, 750];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Window {
    FiveHour,
    SevenDay,
}

impl Window {
    const ALL: [Window; 2] = [Window::FiveHour, Window::SevenDay];

    const fn length(self) -> Duration {
        match self {
            Window::FiveHour => Duration::from_secs(5 * HOUR),
            Window::SevenDay => Duration::from_secs(7 * 24 * HOUR),
        }
    }

    const fn claim(self) -> &'static str {
        match self {
            Window::FiveHour => "five_hour",
            Window::SevenDay => "seven_day",
        }
    }

    const fn short(self) -> &'static str {
        match self {
            Window::FiveHour => "5h",
            Window::SevenDay => "7d",
        }
    }
}

/// What a key has spent in a window.
#[derive(Clone, Copy, Debug)]
struct Span {
    began: Timestamp,
    spent: Usd,
}

/// A window of a key as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    window: Window,
    used_permille: i128,
    resets: Timestamp,
}

impl State {
    fn status(&self) -> &'static str {
        match self.used_permille {
            1_000.. => "rejected",
            _ if self.surpassed().is_some() => "allowed_warning",
            _ => "allowed",
        }
    }

    fn is_exhausted(&self) -> bool {
        self.used_permille >= 1_000
    }

    fn surpassed(&self) -> Option<i128> {
        WARNS_FROM_PERMILLE.into_iter().find(|permille| self.used_permille >= *permille)
    }
}

/// How much there is of each; `None`: no such window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Allowance {
    pub(crate) five_hour: Option<Usd>,
    pub(crate) seven_day: Option<Usd>,
}

impl Allowance {
    fn of(&self, window: Window) -> Option<Usd> {
        match window {
            Window::FiveHour => self.five_hour,
            Window::SevenDay => self.seven_day,
        }
    }
}

#[derive(Default)]
pub(crate) struct Windows {
    allowance: Allowance,
    spans: BTreeMap<(String, Window), Span>,
}

impl Windows {
    /// What was spent stays spent, unless the window is taken away.
    pub(crate) fn set(&mut self, allowance: Allowance) {
        self.allowance = allowance;
        self.spans.retain(|(_, window), _| allowance.of(*window).is_some());
    }

    /// Else how long until all that are exhausted have begun anew.
    pub(crate) fn check(&self, key: &str, now: Now) -> Result<(), Duration> {
        let resets = self.states(key, now.timestamp).filter(State::is_exhausted).map(|state| state.resets).max();
        resets.map_or(Ok(()), |resets| Err(resets.since(now.timestamp)))
    }

    /// A call begins; so do windows that had not.
    pub(crate) fn begin(&mut self, key: &str, now: Now) {
        self.spend(key, Usd::default(), now);
    }

    /// A call has ended and cost so much.
    pub(crate) fn spend(&mut self, key: &str, cost: Usd, now: Now) {
        let now = now.timestamp;
        for window in Window::ALL.into_iter().filter(|window| self.allowance.of(*window).is_some()) {
            let new = Span { began: now, spent: Usd::default() };
            let span = self.spans.entry((key.to_owned(), window)).or_insert(new);
            if now.since(span.began) >= window.length() {
                *span = new;
            }
            span.spent += cost;
        }
    }

    fn states(&self, key: &str, now: Timestamp) -> impl Iterator<Item = State> {
        Window::ALL.into_iter().filter_map(move |window| {
            let allowed = self.allowance.of(window)?;
            let span = self.spans.get(&(key.to_owned(), window));
            let span = span.filter(|span| now.since(span.began) < window.length());
            let (spent, began) = span.map_or((Usd::default(), now), |span| (span.spent, span.began));
            let used_permille = i128::from(spent.as_nanos()) * 1_000 / i128::from(allowed.as_nanos().max(1));
            Some(State { window, used_permille, resets: began.after(window.length()) })
        })
    }

    /// `anthropic-ratelimit-unified-…`: the fullest window speaks for all; among exhausted ones the last to end.
    pub(crate) fn headers(&self, headers: &mut HeaderMap, key: &str, now: Timestamp) {
        let states: Vec<State> = self.states(key, now).collect();
        let rank = |state: &&State| {
            let exhausted = state.is_exhausted();
            (exhausted, if exhausted { i128::from(state.resets.as_millis()) } else { state.used_permille })
        };
        let Some(speaker) = states.iter().max_by_key(rank) else { return };
        let mut put = |name: &str, value: String| insert(headers, name, &value);
        put("status", speaker.status().to_owned());
        put("reset", unix_seconds(speaker.resets));
        put("representative-claim", speaker.window.claim().to_owned());
        for state in &states {
            let window = state.window.short();
            put(&format!("{window}-status"), state.status().to_owned());
            put(&format!("{window}-reset"), unix_seconds(state.resets));
            put(&format!("{window}-utilization"), hundredths(state.used_permille));
            if let Some(permille) = state.surpassed() {
                put(&format!("{window}-surpassed-threshold"), hundredths(permille));
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::try_from(format!("anthropic-ratelimit-unified-{name}"));
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// Rounded up: who waits until then finds the window open.
fn unix_seconds(at: Timestamp) -> String {
    (at.as_millis().saturating_add(999) / 1_000).to_string()
}

/// Rounded down: below 1.00 there is something left.
fn hundredths(permille: i128) -> String {
    format!("{}.{:02}", permille / 1_000, permille % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use domain::time::Instant;

    use super::*;

    /// 2026-11-24T22:40:08.500Z and so many minutes.
    fn at(minutes: u64) -> Now {
        let start = Timestamp::parse("2026-11-24T22:40:08.500Z").expect("a time");
        let passed = Duration::from_secs(60 * minutes);
        Now { instant: Instant::default().after(passed), timestamp: start.after(passed) }
    }

    fn usd(text: &str) -> Usd {
        text.parse().expect("dollars")
    }

    fn windows(five_hour: Option<&str>, seven_day: Option<&str>) -> Windows {
        let mut windows = Windows::default();
        windows.set(Allowance { five_hour: five_hour.map(usd), seven_day: seven_day.map(usd) });
        windows
    }

    fn told(windows: &Windows, now: Now) -> String {
        let mut headers = HeaderMap::new();
        windows.headers(&mut headers, "k", now.timestamp);
        let value =
            |name| headers.get(format!("anthropic-ratelimit-unified-{name}")).map_or("-", |v| v.to_str().unwrap());
        ["status", "representative-claim", "5h-utilization", "7d-utilization", "7d-surpassed-threshold"]
            .map(value)
            .join(" ")
    }

    #[test]
    fn the_fullest_window_speaks() {
        let mut windows = windows(Some("10"), Some("40"));
        for (minute, cost, expected) in [
            (0, "0", "allowed seven_day 0.00 0.00 -"),
            (1, "7.499", "allowed five_hour 0.74 0.18 -"),
            (2, "0.001", "allowed_warning five_hour 0.75 0.18 -"),
            (3, "2.499", "allowed_warning five_hour 0.99 0.24 -"),
            (4, "0.50", "rejected five_hour 1.04 0.26 -"),
            (301, "9", "allowed_warning five_hour 0.90 0.48 -"),
            (602, "9", "allowed_warning five_hour 0.90 0.71 -"),
            (903, "9", "allowed_warning seven_day 0.90 0.93 0.90"),
            (1_204, "9", "rejected seven_day 0.90 1.16 0.90"),
        ] {
            windows.spend("k", usd(cost), at(minute));
            assert_eq!(told(&windows, at(minute)), expected, "minute {minute}");
        }
    }

    #[test]
    fn an_exhausted_window_opens_when_it_has_lasted_and_not_before() {
        let mut windows = windows(Some("1"), None);
        windows.begin("k", at(0));
        windows.spend("k", usd("1"), at(10));
        assert_eq!(windows.check("k", at(60)), Err(Duration::from_secs(4 * HOUR)));
        assert_eq!(windows.check("other", at(60)), Ok(()), "each key has its own");
        assert!(windows.check("k", at(299)).is_err());
        assert_eq!(windows.check("k", at(300)), Ok(()));
    }

    #[test]
    fn of_two_exhausted_windows_the_last_to_end_counts() {
        let mut windows = windows(Some("1"), Some("1"));
        windows.spend("k", usd("1"), at(0));
        assert_eq!(windows.check("k", at(0)), Err(Duration::from_secs(7 * 24 * HOUR)));
        let mut headers = HeaderMap::new();
        windows.headers(&mut headers, "k", at(0).timestamp);
        assert_eq!(headers["anthropic-ratelimit-unified-representative-claim"], "seven_day");
        assert_eq!(headers["anthropic-ratelimit-unified-reset"], headers["anthropic-ratelimit-unified-7d-reset"]);
        let reset = at(7 * 24 * 60).timestamp.as_millis() / 1_000 + 1;
        assert_eq!(headers["anthropic-ratelimit-unified-reset"], reset.to_string());
    }

    #[test]
    fn without_windows_nothing_is_said_and_taking_one_away_forgets_it() {
        let mut windows = windows(None, None);
        windows.spend("k", usd("1"), at(0));
        assert_eq!(told(&windows, at(0)), "- - - - -");
        windows.set(Allowance { five_hour: Some(usd("1")), seven_day: None });
        windows.spend("k", usd("1"), at(1));
        windows.set(Allowance { five_hour: Some(usd("2")), seven_day: None });
        assert_eq!(told(&windows, at(1)), "allowed five_hour 0.50 - -", "more room, and what was spent stays");
        windows.set(Allowance::default());
        assert!(windows.spans.is_empty());
    }
}
