//! How good forecasts would have been: each window of a series, foretold from what came before.

mod methods;
mod series;
#[cfg(test)]
mod tests;

use super::Spread;
use super::score::is_in;
use crate::time::{Cycle, Timestamp};

pub use methods::Method;
pub use series::{BadSeries, Series};

/// Hours into a window at which it is foretold.
pub const ORIGINS: [i64; 5] = [24, 48, 72, 96, 120];
/// Full windows that must lie before one that is foretold.
pub const WINDOWS_BEFORE: usize = 2;

/// What is asked of a series.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// When its windows begin.
    pub cycle: Cycle,
    /// Above 0; `None`: the total at rank 0.6·(n−1) of all full windows, in ascending order.
    pub limit: Option<f64>,
    pub seed: u64,
}

/// A full window of a series.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Window {
    since: Timestamp,
    resets_at: Timestamp,
}

impl Window {
    /// Hours from its start to `at`.
    fn hours_to(self, at: Timestamp) -> f64 {
        (at.as_millis() - self.since.as_millis()) as f64 / HOUR_MS
    }

    fn hours(self) -> f64 {
        self.hours_to(self.resets_at)
    }
}

const HOUR_MS: f64 = 3_600_000.0;

/// A moment at which a window is foretold, and all that may be known there.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    pub series: &'a Series,
    /// The full windows before this one, the latest last.
    pub before: &'a [Window],
    pub window: Window,
    pub at: Timestamp,
    pub limit: f64,
    pub used: f64,
}

fn windows(series: &Series, cycle: Cycle) -> Vec<Window> {
    let mut windows = vec![];
    let first = Timestamp::from_millis(series.from().as_millis().saturating_sub(1));
    let mut since = cycle.end(first);
    loop {
        let resets_at = cycle.end(since);
        if resets_at > series.to() || resets_at <= since {
            return windows;
        }
        windows.push(Window { since, resets_at });
        since = resets_at;
    }
}

/// The total at rank round(0.6·(n−1)), counted from 0 in ascending order; `None` of no window.
fn usual_limit(series: &Series, windows: &[Window]) -> Option<f64> {
    let mut totals: Vec<f64> = windows.iter().map(|w| series.between(w.since, w.resets_at)).collect();
    totals.sort_unstable_by(f64::total_cmp);
    let rank = (0.6 * totals.len().saturating_sub(1) as f64).round() as usize;
    totals.get(rank).copied()
}

fn origins<'a>(series: &'a Series, windows: &'a [Window], limit: f64) -> impl Iterator<Item = Origin<'a>> {
    (WINDOWS_BEFORE..windows.len()).flat_map(move |index| {
        let window = windows[index];
        ORIGINS.into_iter().filter_map(move |hours| {
            let at = Timestamp::from_millis(window.since.as_millis() + hours * 3_600_000);
            let used = series.between(window.since, at);
            let is_open = at < window.resets_at && used < limit;
            is_open.then(|| Origin { series, before: &windows[..index], window, at, limit, used })
        })
    })
}

/// What a method says at an origin.
#[derive(Clone, PartialEq, Debug)]
struct Said {
    /// Hours from the window's start to the run-out or the reset, whichever comes first.
    pub lasts: Spread,
    pub p_runs_out: f64,
    /// The 80 % band in hours from the window's start; `None` of a method that says one moment.
    pub band: Option<(f64, f64)>,
}

impl Said {
    fn moment(at: f64, origin: &Origin<'_>) -> Said {
        let p_runs_out = if at < origin.window.hours() { 1.0 } else { 0.0 };
        Said { lasts: Spread::certain(at), p_runs_out, band: None }
    }
}

/// How good a method was over all origins of a series.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    pub method: Method,
    /// Origins that were scored; where there are none all figures are 0.
    pub n: usize,
    /// Mean distance of the median.
    pub mae_hours: f64,
    pub crps_hours: f64,
    pub brier: f64,
    /// A fraction; `None` of a method that says one moment.
    pub coverage80: Option<f64>,
    pub width80_hours: Option<f64>,
    /// Origins before a run-out that was held for less likely than not.
    pub missed: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Backtest {
    pub windows: usize,
    pub limit: f64,
    /// In the order of `Method::ALL`.
    pub scores: Vec<Score>,
}

/// `None` where the series has no full window.
pub fn backtest(series: &Series, plan: &Plan) -> Option<Backtest> {
    let windows = windows(series, plan.cycle);
    let limit = plan.limit.or_else(|| usual_limit(series, &windows))?;
    let origins: Vec<Origin<'_>> = origins(series, &windows, limit).collect();
    let scores = Method::ALL.into_iter().map(|method| {
        let mut forecaster = methods::Forecaster::new(method, series, plan);
        let mut sums = Sums::default();
        for origin in &origins {
            sums.add(&forecaster.says(origin), Happened::of(origin));
        }
        sums.score(method)
    });
    let scores = scores.collect();
    Some(Backtest { windows: windows.len(), limit, scores })
}

/// What came of an origin.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Happened {
    /// Hours from the window's start to the run-out or the reset.
    lasted: f64,
    ran_out: bool,
}

impl Happened {
    fn of(origin: &Origin<'_>) -> Happened {
        let window = origin.window;
        let reached = origin.series.reaches(window.since, origin.limit, window.resets_at);
        Happened { lasted: reached.map_or(window.hours(), |at| window.hours_to(at)), ran_out: reached.is_some() }
    }
}

#[derive(Default)]
struct Sums {
    n: usize,
    missed: usize,
    banded: usize,
    error: f64,
    crps: f64,
    brier: f64,
    covered: f64,
    width: f64,
}

impl Sums {
    fn add(&mut self, said: &Said, happened: Happened) {
        let ran_out = if happened.ran_out { 1.0 } else { 0.0 };
        self.n += 1;
        self.error += (said.lasts.quantile(0.5) - happened.lasted).abs();
        self.crps += said.lasts.crps(happened.lasted);
        self.brier += (said.p_runs_out - ran_out).powi(2);
        self.missed += usize::from(happened.ran_out && said.p_runs_out < 0.5);
        if let Some((from, to)) = said.band {
            self.banded += 1;
            self.covered += if is_in((from, to), happened.lasted) { 1.0 } else { 0.0 };
            self.width += to - from;
        }
    }

    fn score(&self, method: Method) -> Score {
        let mean = |sum: f64| sum / self.n.max(1) as f64;
        let banded = |sum: f64| (self.banded > 0).then(|| sum / self.banded as f64);
        Score {
            method,
            n: self.n,
            mae_hours: mean(self.error),
            crps_hours: mean(self.crps),
            brier: mean(self.brier),
            coverage80: banded(self.covered),
            width80_hours: banded(self.width),
            missed: self.missed,
        }
    }
}
