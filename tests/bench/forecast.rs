//! What a forecast of many clients costs, and a what-if beside it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::forecast::{Calibration, History, Question, Scaling, Window, forecast};
use domain::time::{Timestamp, Tz};

/// Clients, hours until the reset, paths.
pub(crate) const SERIES: usize = 10;
pub(crate) const HOURS: i64 = 168;
pub(crate) const PATHS: usize = 1_000;
const ROUNDS: usize = 200;

pub(crate) struct ForecastFigures {
    /// Of a half year of hours, medians.
    pub(crate) forecast: Duration,
    pub(crate) what_if: Duration,
    /// Of three years of hours.
    pub(crate) long_history: Duration,
}

pub(crate) fn run() -> ForecastFigures {
    let half_year = history(26 * 168);
    let pause = [Scaling { series: 3, from: Timestamp::from_millis(NOW_MS + 6 * HOUR_MS), factor: 0.0 }];
    ForecastFigures {
        forecast: median(&half_year, &[]),
        what_if: median(&half_year, &pause),
        long_history: median(&history(3 * 365 * 24), &[]),
    }
}

const HOUR_MS: i64 = 3_600_000;
const NOW_MS: i64 = 1_795_392_000_000;

fn history(hours: i64) -> History {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut used = |hour: i64| if hour % 24 > 8 && rng.bool() { rng.f64() } else { 0.0 };
    let series = (0..SERIES).map(|_| (0..hours).map(&mut used).collect()).collect();
    let known = (0..hours).map(|_| true).collect();
    History { first_hour: NOW_MS / HOUR_MS - hours, series, known }
}

fn median(history: &History, scalings: &[Scaling]) -> Duration {
    let window = Window {
        since: Timestamp::from_millis(NOW_MS),
        resets_at: Timestamp::from_millis(NOW_MS + HOURS * HOUR_MS),
        used: 0.0,
        limit: Some(250.0),
    };
    let question = Question {
        history,
        window,
        now: Timestamp::from_millis(NOW_MS),
        zone: Tz::Europe__Berlin,
        scalings,
        calibration: Calibration::default(),
        paths: PATHS,
        seed: 1,
    };
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            black_box(forecast(black_box(&question)));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
