//! Alert rules, and the one state machine that says when each of them fires: once per crossing and window.
//!
//! Whoever sees the world makes `Reading`s of it; `Alerts` compares them with the rules and tells what has changed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::money::{Usd, scaled};
use crate::time::{QuietHours, Timestamp};

mod burn;
mod errors;
mod habits;
mod machine;
mod metric;
mod runaway;
mod shipped;
mod streaks;

pub use burn::Burn;
pub use errors::ErrorRatio;
pub use habits::{Habit, Habits, Made};
pub use machine::{Alerts, MarkMemory, Memory, State, TrackMemory};
pub use metric::{Metric, NotAMetric, Sign};
pub use runaway::{Runaways, Turned};
pub use shipped::{Marks, shipped};
pub use streaks::{Streak, Streaks};

/// What fires, when, and who hears of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Unique among the rules.
    pub name: Arc<str>,
    pub metric: Metric,
    /// From the mildest to the worst.
    pub thresholds: Vec<Threshold>,
    /// By name.
    pub channels: Vec<Arc<str>>,
    pub cooldown: Cooldown,
    /// When all but critical alerts and emergencies are kept from the channels.
    pub quiet: Option<QuietHours>,
    /// It fires only when the value has stayed past the threshold for so long.
    pub hold: Duration,
    /// It fires only where the reading's own `delay` is at least this.
    pub delay: Duration,
}

/// A bucket that a healthy queue keeps full is no news; one that has been full for so long, while calls wait so long, is.
const BUCKET_FULL_FOR: Duration = Duration::from_secs(300);
const CALLS_WAIT: Duration = Duration::from_secs(60);
/// A warning that comes later helps nobody.
const LEAD: Duration = Duration::from_secs(2 * 3_600);
const ERRORS_LAST: Duration = Duration::from_secs(120);

impl Rule {
    /// With the patience that its sign asks for, once a window, and told to nobody yet.
    pub fn new(name: impl Into<Arc<str>>, metric: Metric, thresholds: Vec<Threshold>) -> Rule {
        let when = |sign, patience| if metric.sign == sign { patience } else { Duration::ZERO };
        let hold = when(Sign::Minute, BUCKET_FULL_FOR).max(when(Sign::UpstreamErrors, ERRORS_LAST));
        let delay = when(Sign::Minute, CALLS_WAIT).max(when(Sign::Forecast, LEAD));
        let (name, cooldown) = (name.into(), Cooldown::Window);
        Rule { name, metric, thresholds, channels: vec![], cooldown, quiet: None, hold, delay }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threshold {
    pub at: Figure,
    pub severity: Severity,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Info,
    Warning,
    Critical,
    Emergency,
}

impl Severity {
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::Critical, Severity::Emergency];

    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
            Severity::Emergency => "emergency",
        }
    }

    pub fn named(name: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// How soon the same threshold may fire again, once the value has been back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cooldown {
    /// Not before the next window; where there is none, as soon as the value has been back.
    Window,
    For(Duration),
}

/// A number as rules compare it: whole millionths of the metric's unit (dollars, tokens, a part of one, seconds).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Figure(i64);

const MILLION: i64 = 1_000_000;

impl Figure {
    pub const ZERO: Figure = Figure(0);
    pub const ONE: Figure = Figure(MILLION);

    pub const fn from_millionths(millionths: i64) -> Figure {
        Figure(millionths)
    }

    pub const fn as_millionths(self) -> i64 {
        self.0
    }

    pub fn permille(permille: u32) -> Figure {
        Figure(i64::from(permille) * 1_000)
    }

    /// What is below a millionth of a dollar is left out: a sum has reached a threshold when its figure has.
    pub const fn usd(usd: Usd) -> Figure {
        Figure(usd.as_nanos().div_euclid(1_000))
    }

    pub fn count(count: u64) -> Figure {
        Figure(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(MILLION))
    }

    /// `part / whole`; zero where there is no whole.
    pub fn ratio(part: i64, whole: i64) -> Figure {
        if whole <= 0 {
            return Figure::ZERO;
        }
        let millionths = i128::from(part) * i128::from(MILLION) / i128::from(whole);
        Figure(i64::try_from(millionths).unwrap_or(i64::MAX))
    }

    pub fn seconds(time: Duration) -> Figure {
        Figure(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
    }

    /// So many hundredths of it.
    const fn hundredths(self, hundredths: i64) -> Figure {
        Figure((self.0 / 100).saturating_mul(hundredths).saturating_add(self.0 % 100 * hundredths / 100))
    }
}

/// A plain decimal number without zeros at its end: `0.9`, `50`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let part = format!("{part:06}");
        write!(f, "{sign}{whole}.{}", part.trim_end_matches('0'))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAFigure;

impl fmt::Display for NotAFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a decimal number of at most six places")
    }
}

impl std::error::Error for NotAFigure {}

impl FromStr for Figure {
    type Err = NotAFigure;
    fn from_str(text: &str) -> Result<Figure, NotAFigure> {
        let millionths = scaled(text, 6).and_then(|millionths| i64::try_from(millionths).ok());
        millionths.map(Figure).ok_or(NotAFigure)
    }
}

/// What is seen of one thing at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// `upstream:anthropic`, `client:ci`, `machine`; what is counted per model or session has `model:`, `session:`.
    pub scope: Arc<str>,
    /// Which of the scope's: `week` of windows, `day` of budgets and spending, a group of models; empty where there is one.
    pub part: Arc<str>,
    pub value: Figure,
    /// How long calls wait for it, or how long until it happens.
    pub delay: Duration,
    /// In which the value grows from nothing; `None` for what has no reset.
    pub turn: Option<Turn>,
    /// What it is held against, in its own unit, where that may change: with another one the crossing begins anew.
    pub limit: Option<i64>,
}

impl Reading {
    pub fn of(scope: impl Into<Arc<str>>, part: impl Into<Arc<str>>, value: Figure) -> Reading {
        Reading { scope: scope.into(), part: part.into(), value, ..Reading::default() }
    }

    /// As an alert names it: `client:ci day`.
    pub fn name(&self) -> Arc<str> {
        if self.part.is_empty() { self.scope.clone() } else { format!("{} {}", self.scope, self.part).into() }
    }
}

/// One window, from one reset to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    pub since: Timestamp,
    pub resets_at: Timestamp,
}

impl Turn {
    pub fn length(self) -> Duration {
        self.resets_at.since(self.since)
    }
}

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Crossed(Crossed),
    Resolved { rule: Arc<Rule>, scope: Arc<str>, at: Figure },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crossed {
    pub rule: Arc<Rule>,
    /// The reading's name.
    pub scope: Arc<str>,
    /// The reading's scope and part.
    pub owner: Arc<str>,
    pub part: Arc<str>,
    pub threshold: Threshold,
    pub value: Figure,
    pub delay: Duration,
    pub turn: Option<Turn>,
    /// Not for the channels now: the rule's quiet hours last.
    pub quiet: bool,
}

#[cfg(test)]
mod tests;
