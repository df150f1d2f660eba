//! What will be used until a window resets, and when it runs out.

pub mod backtest;
mod civil;
mod habit;
mod paths;
mod spread;

use crate::time::{Timestamp, Tz};
use civil::{Clock, HOUR_MS, slots};
use habit::Habit;
use paths::{Days, Path, Scaled};
pub use spread::Spread;

/// What was used, hour by hour, by one or more who use it: clients, models, classes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// Hours since 1970 UTC.
    pub first_hour: i64,
    /// By series and hour, each as long as `known`. What is below 0 counts as 0.
    pub series: Vec<Vec<f64>>,
    /// Whether the hour's demand was seen. It was not while calls were blocked, the window was exhausted, or nobody listened.
    pub known: Vec<bool>,
}

/// A quota and how far it is used, or a time whose total is asked for. In any unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Window {
    pub resets_at: Timestamp,
    pub used: f64,
    pub limit: Option<f64>,
}

/// A series that will use so many times as much from a time on: 0 where it pauses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scaling {
    pub series: usize,
    pub from: Timestamp,
    pub factor: f64,
}

pub struct Question<'a> {
    pub history: &'a History,
    pub window: Window,
    pub now: Timestamp,
    /// Whose mornings and weekends count.
    pub zone: Tz,
    pub scalings: &'a [Scaling],
    pub paths: usize,
    pub seed: u64,
}

/// In days, where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub profile_half_life: f64,
    pub level_prior: f64,
    pub fast_days: f64,
    pub middle_days: f64,
    pub slow_days: f64,
    pub fast_weight: f64,
    pub middle_weight: f64,
    pub fast_fades: f64,
    pub middle_fades: f64,
    pub busier_max: f64,
    pub stretch_other_day: f64,
    pub stretch_fades: f64,
    pub drawn_other_day: f64,
    pub drawn_fades: f64,
    pub own_days: usize,
    pub own_share: f64,
    pub level_spread: f64,
    pub level_spread_now: f64,
    pub stretches: f64,
}

pub const TUNING: Tuning = Tuning {
    profile_half_life: 28.0,
    level_prior: 0.05,
    fast_days: 1.0,
    middle_days: 4.0,
    slow_days: 14.0,
    fast_weight: 0.35,
    middle_weight: 0.3,
    fast_fades: 20.0,
    middle_fades: 4.0,
    busier_max: 4.0,
    stretch_other_day: 0.1,
    stretch_fades: 100.0,
    drawn_other_day: 0.1,
    drawn_fades: 42.0,
    own_days: 3,
    own_share: 1.0,
    level_spread: 0.6,
    level_spread_now: 0.1,
    stretches: 0.75,
};

pub struct Futures {
    /// Hours from now to the run-out or the reset, whichever comes first.
    pub lasts: Spread,
    /// Until the reset, without a limit.
    pub used: Spread,
    pub horizon: f64,
}

pub fn futures(question: &Question<'_>, tuning: &Tuning) -> Futures {
    let clock = Clock::of(question.zone);
    let (now, reset) = (question.now, question.window.resets_at);
    let slots = slots(clock, now, reset);
    let habit = Habit::of(question.history, clock, now.as_millis().div_euclid(HOUR_MS), tuning);
    let hours = |at: Timestamp| (at.as_millis() - now.as_millis()) as f64 / HOUR_MS as f64;
    let scaled =
        |scaling: &Scaling| Scaled { series: scaling.series, from: hours(scaling.from), factor: scaling.factor };
    let scalings: Vec<Scaled> = question.scalings.iter().map(scaled).collect();
    let days = Days::new(&habit, &slots, &scalings, tuning);
    let left = question.window.limit.map_or(f64::INFINITY, |limit| limit - question.window.used);
    let mut paths = vec![];
    days.stretches(left, &mut paths);
    let total: f64 = paths.iter().map(|path| path.weight).sum();
    let stretches = if total > 0.0 { tuning.stretches } else { 0.0 };
    paths.iter_mut().for_each(|path| path.weight *= stretches / total);
    let mut drawn = vec![];
    let mut rng = fastrand::Rng::with_seed(question.seed);
    days.drawn(left, question.paths, &mut rng, &mut drawn);
    let each = (1.0 - stretches) / drawn.len().max(1) as f64;
    paths.extend(drawn.into_iter().map(|path| Path { weight: each, ..path }));
    let horizon = hours(reset);
    let lasts = paths.iter().map(|path| (path.runs_out.unwrap_or(horizon).min(horizon), path.weight)).collect();
    let used = paths.iter().map(|path| (path.used, path.weight)).collect();
    Futures {
        lasts: Spread::weighted(lasts).unwrap_or_else(|| Spread::certain(horizon)),
        used: Spread::weighted(used).unwrap_or_else(|| Spread::certain(0.0)),
        horizon,
    }
}
