//! Methods against windows whose end is known.

use super::*;
use crate::time::{Every, Tz, Weekday};

const MONDAYS: Cycle = Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC);

fn at(hour: i64) -> Timestamp {
    // Monday, 2026-01-05, 00:00 UTC.
    Timestamp::from_millis(Timestamp::parse("2026-01-05T00:00:00Z").expect("an instant").as_millis() + hour * 3_600_000)
}

fn series(hours: impl IntoIterator<Item = f64>) -> Series {
    Series::new((0..).map(at).zip(hours).collect()).expect("a series")
}

fn score(found: &Backtest, method: Method) -> Score {
    *found.scores.iter().find(|score| score.method == method).expect("all methods")
}

#[test]
fn a_straight_line_of_a_straight_series_makes_no_error() {
    // Six weeks of one an hour; 84 of 168 lasts until Thursday noon.
    let plan = Plan { cycle: MONDAYS, limit: Some(84.0), seed: 1 };
    let found = backtest(&series(vec![1.0; 6 * 168]), &plan).expect("windows");
    assert_eq!((found.windows, found.limit), (6, 84.0));
    for method in [Method::StraightLine, Method::LastHour, Method::LeastSquares, Method::SeasonalNaive] {
        let score = score(&found, method);
        // At 24, 48 and 72 hours of four windows: later it has run out.
        assert_eq!((score.n, score.missed, score.brier, score.coverage80), (12, 0, 0.0, None), "{method:?}");
        assert!(score.mae_hours < 1e-6 && (score.crps_hours - score.mae_hours).abs() < 1e-12, "{method:?}: {score:?}");
    }
    let ours = score(&found, Method::Tidegate);
    assert!(ours.mae_hours < 1.0 && ours.coverage80.expect("a band") > 0.7, "{ours:?}");
}

#[test]
fn the_usual_limit_is_a_total_that_occurred_at_the_rank_of_the_contract() {
    // Totals 0, 168, …, 840: rank round(0.6 * 5) is 3.
    let steps = (0..6 * 168).map(|hour| f64::from(hour / 168));
    let plan = Plan { cycle: MONDAYS, limit: None, seed: 1 };
    let found = backtest(&series(steps), &plan).expect("windows");
    assert_eq!(found.limit, 3.0 * 168.0);
}

#[test]
fn a_run_out_lies_inside_its_step_and_at_the_limit_counts_as_one() {
    let rows = vec![(at(0), 10.0), (at(24), 20.0), (at(48), 0.0), (at(96), 5.0)];
    let daily = Series::new(rows).expect("a series");
    assert_eq!(daily.to(), at(120));
    assert_eq!(daily.reaches(at(0), 20.0, at(168)), Some(at(36)));
    assert_eq!(daily.reaches(at(0), 30.0, at(168)), Some(at(48)));
    // The step that is missing holds nothing.
    assert_eq!(daily.between(at(72), at(96)), 0.0);
    assert_eq!(daily.reaches(at(0), 36.0, at(168)), None);
}

#[test]
fn only_full_windows_count_and_two_must_lie_before() {
    let plan = Plan { cycle: MONDAYS, limit: Some(1e9), seed: 1 };
    let n = |hours: usize| backtest(&series(vec![1.0; hours]), &plan).map(|found| (found.windows, found.scores[0].n));
    assert_eq!(n(167), Some((0, 0)));
    assert_eq!(n(2 * 168), Some((2, 0)));
    assert_eq!(n(3 * 168), Some((3, 5)));
    assert_eq!(n(3 * 168 + 167), Some((3, 5)));
}

#[test]
fn what_lies_ahead_changes_no_forecast() {
    let mut rng = fastrand::Rng::with_seed(5);
    let hours: Vec<f64> = (0..8 * 168).map(|_| rng.f64()).collect();
    let mut other = hours.clone();
    other[5 * 168 + 72..].fill(0.4);
    let [one, other] = [series(hours), series(other)].map(|series| {
        let plan = Plan { cycle: MONDAYS, limit: Some(70.0), seed: 1 };
        let windows = windows(&series, MONDAYS);
        let mut forecaster = methods::Forecaster::new(Method::Tidegate, &series, &plan);
        let until = at(5 * 168 + 72);
        origins(&series, &windows, 70.0)
            .filter(|origin| origin.at <= until)
            .map(|origin| forecaster.says(&origin))
            .collect::<Vec<_>>()
    });
    assert!(one.len() > 8);
    assert_eq!(one, other);
}

#[test]
fn series_that_say_nothing_are_refused_or_scored_without_a_panic() {
    assert_eq!(Series::new(vec![]), Err(BadSeries::TooShort));
    assert_eq!(Series::new(vec![(at(0), 1.0), (at(0), 2.0)]), Err(BadSeries::TooShort));
    let years = Series::new(vec![(at(0), 1.0), (at(1), 2.0), (at(24 * 20_000), 1.0)]);
    assert_eq!(years, Err(BadSeries::TooLong { days: 20_000 }));
    let plan = Plan { cycle: MONDAYS, limit: None, seed: 1 };
    assert_eq!(backtest(&series(vec![0.0; 10 * 168]), &plan).map(|found| found.limit), Some(0.0));
    let exploding = (0..10 * 168).map(|hour| 1.02_f64.powi(hour));
    let found = backtest(&series(exploding), &plan).expect("windows");
    assert!(found.scores.iter().all(|score| score.crps_hours.is_finite()), "{found:?}");
    assert_eq!(backtest(&series(vec![1.0; 100]), &plan), None);
}
