//! Forecasts of made-up histories, good and bad.

use super::*;
use crate::time::Calendar;

const HOUR: i64 = HOUR_MS;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR)
}

/// From so many weeks before `now` on, hour by hour as `used` has it by the zone's hour of the week.
fn history(now: Timestamp, weeks: i64, zone: Tz, used: impl Fn(usize) -> f64) -> History {
    let end = hour_of(now);
    let first_hour = end - weeks * 168;
    let numbers = Clock::of(zone).numbers(first_hour..end);
    let hours: Vec<f64> = numbers.into_iter().map(|number| used(hour_of_week(number))).collect();
    History { first_hour, known: vec![true; hours.len()], series: vec![hours] }
}

/// Nine to five on weekdays, one unit an hour: 40 a week.
fn office(hour: usize) -> f64 {
    if hour < 120 && (9..17).contains(&(hour % 24)) { 1.0 } else { 0.0 }
}

fn ask<'a>(history: &'a History, window: Window, now: Timestamp, zone: Tz) -> Question<'a> {
    let calibration = Calibration::default();
    Question { history, window, now, zone, scalings: &[], calibration, paths: 200, seed: 7 }
}

/// Noon of a Wednesday in the week from Monday, 2026-11-02, 00:00 UTC: 19 of 40 are used.
const NOON: &str = "2026-11-04T12:00:00Z";

fn week(limit: Option<f64>) -> Window {
    Window { since: at("2026-11-02T00:00:00Z"), resets_at: at("2026-11-09T00:00:00Z"), used: 19.0, limit }
}

#[test]
fn a_steady_office_runs_out_when_its_hours_say_and_not_at_night() {
    let history = history(at(NOON), 8, Tz::UTC, office);
    let forecast = forecast(&ask(&history, week(Some(26.0)), at(NOON), Tz::UTC));
    // Five more on Wednesday, two on Thursday.
    let middle = forecast.runs_out.p50.expect("it runs out");
    assert!(
        middle.since(at("2026-11-05T11:00:00Z")) < Duration::from_secs(7_200)
            || at("2026-11-05T11:00:00Z").since(middle) < Duration::from_secs(7_200),
        "{middle}"
    );
    let p = forecast.p_runs_out.expect("a limit");
    assert!(p > 0.8 && forecast.informative, "{p}");
    assert!((forecast.total.p50 - 40.0).abs() < 4.0, "{:?}", forecast.total);
}

#[test]
fn a_quota_that_is_ample_probably_lasts_and_its_leftover_is_told() {
    let history = history(at(NOON), 8, Tz::UTC, office);
    let forecast = forecast(&ask(&history, week(Some(100.0)), at(NOON), Tz::UTC));
    let p = forecast.p_runs_out.expect("a limit");
    assert!(p > 0.0 && p < 0.15, "{p}");
    let left = forecast.left_at_reset.expect("a limit");
    assert!((left.p50 - 60.0).abs() < 5.0 && left.p10 <= left.p50 && left.p50 <= left.p90, "{left:?}");
    let said = words(&forecast, at(NOON), Calendar::UTC);
    assert!(said.starts_with("probably lasts ("), "{said}");
}

#[test]
fn a_day_or_month_without_a_limit_has_a_total() {
    let history = history(at(NOON), 8, Tz::UTC, office);
    let day =
        Window { since: at("2026-11-04T00:00:00Z"), resets_at: at("2026-11-05T00:00:00Z"), used: 3.0, limit: None };
    let month =
        Window { since: at("2026-11-01T00:00:00Z"), resets_at: at("2026-12-01T00:00:00Z"), used: 19.0, limit: None };
    let [day, month] = [day, month].map(|window| forecast(&ask(&history, window, at(NOON), Tz::UTC)));
    assert!((day.total.p50 - 8.0).abs() < 0.5, "{:?}", day.total);
    // 21 working days of 8.
    assert!((month.total.p50 - 168.0).abs() < 17.0, "{:?}", month.total);
    assert_eq!((day.p_runs_out, day.left_at_reset), (None, None));
}

#[test]
fn hours_in_which_calls_were_blocked_are_unknown_and_not_idle() {
    let mut blocked = history(at(NOON), 8, Tz::UTC, office);
    let last_days = blocked.known.len() - 60..blocked.known.len();
    blocked.series[0][last_days.clone()].fill(0.0);
    let idle = blocked.clone();
    blocked.known[last_days].fill(false);
    let [blocked, idle] =
        [&blocked, &idle].map(|history| forecast(&ask(history, week(Some(40.0)), at(NOON), Tz::UTC)).total.p50);
    assert!(blocked > 36.0, "{blocked}");
    assert!(idle < blocked - 3.0, "{idle}");
}

#[test]
fn nine_oclock_stays_nine_oclock_when_summer_time_ends_or_begins() {
    let zone = Tz::Europe__Berlin;
    // Sundays of 25 and 23 hours lie in these weeks, and in the history of the second pair.
    for (now, hours) in [("2026-10-23T22:00:00Z", 169), ("2027-03-26T23:00:00Z", 167), ("2026-10-30T23:00:00Z", 168)] {
        let (now, office_hours) = (at(now), |hour: usize| if hour % 24 == 9 { 1.0 } else { 0.0 });
        let history = history(now, 8, zone, office_hours);
        let resets_at = Timestamp::from_millis(now.as_millis() + hours * HOUR);
        let window = Window { since: now, resets_at, used: 0.0, limit: Some(2.5) };
        let forecast = forecast(&ask(&history, window, now, zone));
        assert!((forecast.total.p50 - 7.0).abs() < 0.8, "{:?}", forecast.total);
        // The third nine o'clock, half used.
        let said = Calendar::in_zone(zone).moment_words(now, forecast.runs_out.p50.expect("it runs out"));
        assert!(said.starts_with("Monday 09:"), "{said}");
    }
}

#[test]
fn a_pause_and_a_smaller_limit_change_the_forecast_as_they_should() {
    let mut two = history(at(NOON), 8, Tz::UTC, office);
    two.series.push(two.series[0].clone());
    let window = Window { used: 38.0, ..week(Some(60.0)) };
    let asked = ask(&two, window, at(NOON), Tz::UTC);
    let before = forecast(&asked);
    let pause = [Scaling { series: 1, from: at(NOON), factor: 0.0 }];
    let paused = forecast(&Question { scalings: &pause, ..asked });
    assert!((before.total.p50 - 80.0).abs() < 8.0, "{:?}", before.total);
    assert!((paused.total.p50 - 59.0).abs() < 6.0, "{:?}", paused.total);
    assert!(paused.p_runs_out < before.p_runs_out);
    let later = [Scaling { series: 1, from: at("2026-11-04T18:00:00Z"), factor: 0.0 }];
    let stopped = forecast(&Question { scalings: &later, ..asked });
    assert!(stopped.total.p50 > paused.total.p50 + 3.0, "{:?}", stopped.total);
    let raised = forecast(&Question { window: Window { limit: Some(120.0), ..window }, ..asked });
    assert!(raised.p_runs_out.expect("a limit") < 0.2);
}

#[test]
fn who_has_been_away_for_weeks_is_not_expected_as_before() {
    let mut away = history(at(NOON), 10, Tz::UTC, office);
    let from = away.known.len() - 3 * 168;
    away.series[0][from..].fill(0.0);
    let window = Window { used: 0.0, ..week(Some(20.0)) };
    let forecast = forecast(&ask(&away, window, at(NOON), Tz::UTC));
    assert!(forecast.p_runs_out.expect("a limit") < 0.25, "{:?}", forecast.p_runs_out);
    assert!(forecast.basis.contains("nothing was used for 2"), "{}", forecast.basis);
}

#[test]
fn who_is_back_after_weeks_away_is_expected_to_stay() {
    let mut back = history(at(NOON), 10, Tz::UTC, office);
    let from = back.known.len() - 9 * 24;
    back.series[0][..from].fill(0.0);
    let forecast = forecast(&ask(&back, week(Some(30.0)), at(NOON), Tz::UTC));
    assert!(forecast.p_runs_out.expect("a limit") > 0.6, "{:?}", forecast.p_runs_out);
}

#[test]
fn the_total_of_who_works_by_the_clock_is_surer_than_that_of_who_does_not() {
    let regular = history(at(NOON), 12, Tz::UTC, office);
    let mut moody = regular.clone();
    let mut rng = fastrand::Rng::with_seed(5);
    for day in moody.series[0].chunks_mut(24) {
        let mood = if rng.bool() { 1.9 } else { 0.1 };
        day.iter_mut().for_each(|used| *used *= mood);
    }
    let [regular, moody] = [&regular, &moody].map(|history| {
        let Band { p10, p90, .. } = forecast(&ask(history, week(None), at(NOON), Tz::UTC)).total;
        p90 - p10
    });
    assert!(regular < 12.0 && moody > 1.5 * regular, "{regular} {moody}");
}

#[test]
fn a_pause_counts_in_a_straight_line_too() {
    let mut two = history(at(NOON), 1, Tz::UTC, office);
    two.known.truncate(100);
    two.first_hour += 68;
    two.series[0].drain(..68);
    two.series.push(two.series[0].clone());
    let pause = [Scaling { series: 1, from: at(NOON), factor: 0.0 }];
    let asked = ask(&two, week(None), at(NOON), Tz::UTC);
    let ahead = |scalings| forecast(&Question { scalings, ..asked }).total.p50 - 19.0;
    let (running, paused) = (ahead(&[]), ahead(&pause));
    assert!(running > 30.0 && (0.4..0.6).contains(&(paused / running)), "{running} {paused}");
}

#[test]
fn less_than_a_week_of_history_is_a_straight_line_that_says_so() {
    let mut short = history(at(NOON), 1, Tz::UTC, office);
    short.known.truncate(100);
    short.first_hour += 68;
    short.series[0].drain(..68);
    let forecast = forecast(&ask(&short, week(Some(40.0)), at(NOON), Tz::UTC));
    assert!(!forecast.informative);
    assert!(forecast.basis.contains("it takes a week of them (168)"), "{}", forecast.basis);
    let p = forecast.p_runs_out.expect("a limit");
    assert!(p > 0.5 && p < 0.95, "{p}");
    assert_eq!(words(&forecast, at(NOON), Calendar::UTC), "too early to tell");
}

#[test]
fn a_window_that_began_before_the_first_call_goes_on_as_fast_as_since_that_call() {
    let mut new = history(at(NOON), 1, Tz::UTC, office);
    let hours = new.known.len();
    new.first_hour += i64::try_from(hours - 4).expect("small");
    new.known.drain(..hours - 4);
    new.series[0].drain(..hours - 4);
    let window = Window { used: 8.0, ..week(None) };
    let ahead = (window.resets_at.as_millis() - at(NOON).as_millis()) as f64 / 3_600_000.0;
    let middle = forecast(&ask(&new, window, at(NOON), Tz::UTC)).total.p50;
    assert!(((middle - 8.0) / ahead - 2.0).abs() < 0.2, "8 in four hours are 2 an hour: {middle} in {ahead} h");
}

#[test]
fn the_same_question_has_the_same_answer_and_another_seed_nearly() {
    let history = history(at(NOON), 8, Tz::UTC, |hour| ((hour * 7_919) % 13) as f64);
    let asked = ask(&history, Window { used: 400.0, ..week(Some(900.0)) }, at(NOON), Tz::UTC);
    let first = forecast(&asked);
    assert_eq!(first, forecast(&asked));
    let other = forecast(&Question { seed: 8, ..asked });
    assert!((first.p_runs_out.expect("p") - other.p_runs_out.expect("p")).abs() < 0.1);
}

#[test]
fn what_has_run_out_is_certain_and_nothing_else_is() {
    let office = history(at(NOON), 8, Tz::UTC, office);
    let out = forecast(&ask(&office, week(Some(19.0)), at(NOON), Tz::UTC));
    assert_eq!((out.p_runs_out, out.runs_out.p50), (Some(1.0), Some(at(NOON))));
    assert_eq!(words(&out, at(NOON), Calendar::UTC), "has run out");
}

/// Whatever comes in: finite, ordered, and no certainty.
#[test]
fn no_history_makes_a_forecast_panic_or_certain() {
    let now = at(NOON);
    let end = hour_of(now);
    let of = |hours: Vec<f64>| History {
        first_hour: end - hours.len() as i64,
        known: vec![true; hours.len()],
        series: vec![hours],
    };
    let hole = |hour: usize| if (300..=900).contains(&hour) { 0.0 } else { 1.0 };
    let mut gaps = of((0..1_344).map(hole).collect());
    gaps.known[300..900].fill(false);
    let mut rng = fastrand::Rng::with_seed(3);
    let histories = [
        History::default(),
        of(vec![]),
        of(vec![5.0]),
        of(vec![0.0; 2_000]),
        of(vec![7.0; 2_000]),
        of(vec![-3.0; 2_000]),
        of((0..2_000).map(|hour| 1.05_f64.powi(hour)).collect()),
        of(vec![f64::NAN; 2_000]),
        of(vec![f64::INFINITY; 500]),
        of((0..30_000).map(|_| rng.f64()).collect()),
        gaps,
        History { first_hour: end - 5_000, known: vec![true; 1_000], series: vec![vec![1.0; 1_000]] },
        History { first_hour: end + 10, known: vec![true; 100], series: vec![vec![1.0; 100]] },
        History { first_hour: i64::MIN, known: vec![true; 9], series: vec![vec![1.0; 9]] },
        History { first_hour: i64::MAX, known: vec![true; 9], series: vec![vec![1.0; 2], vec![]] },
    ];
    let reset = |hours: i64| Timestamp::from_millis(now.as_millis() + hours * HOUR + 1_234);
    let since = |hours: i64| Timestamp::from_millis(now.as_millis() - hours * HOUR);
    for (number, history) in histories.iter().enumerate() {
        for (ahead, used, limit) in [
            (-3, 1.0, 9.0),
            (0, 0.0, 1.0),
            (4, 0.0, 1e-9),
            (84, 19.0, 40.0),
            (700, 1.0, 1e300),
            (40_000, -5.0, f64::NAN),
        ] {
            let window = Window { since: since(50), resets_at: reset(ahead), used, limit: Some(limit) };
            let scalings =
                [Scaling { series: 9, from: now, factor: f64::NAN }, Scaling { series: 0, from: now, factor: -1.0 }];
            for scalings in [&scalings[..0], &scalings[..]] {
                let told = forecast(&Question { scalings, ..ask(history, window, now, Tz::Asia__Kathmandu) });
                let p = told.p_runs_out.expect("a limit");
                let certain = window.used >= limit || limit.is_nan();
                assert!(p == 1.0 && certain || p > 0.0 && p < 1.0, "{number}: {p}");
                let Band { p10, p50, p90 } = told.total;
                assert!(p10.is_finite() && p90.is_finite() && p10 <= p50 && p50 <= p90, "{number}: {:?}", told.total);
                assert!(told.band.0 <= told.band.1 && told.band.0 >= 0.0, "{number}: {:?}", told.band);
                assert!(!words(&told, now, Calendar::UTC).is_empty());
            }
        }
    }
}

#[test]
fn a_reset_that_moves_and_a_limit_that_changes_move_the_answer_with_them() {
    let history = history(at(NOON), 8, Tz::UTC, office);
    let p = |window| forecast(&ask(&history, window, at(NOON), Tz::UTC)).p_runs_out.expect("a limit");
    let full = p(week(Some(35.0)));
    let early = p(Window { resets_at: at("2026-11-05T00:00:00Z"), ..week(Some(35.0)) });
    let halved = p(week(Some(20.0)));
    assert!(early < 0.2 && full > 0.6 && halved > full + 0.1, "{early} {full} {halved}");
}

fn told(p: f64, band: [Option<&str>; 3]) -> Forecast {
    let [p10, p50, p90] = band.map(|text| text.map(at));
    let total = Band { p10: 0.0, p50: 0.0, p90: 0.0 };
    let (lasts, basis) = (Spread::certain(0.0), String::new());
    let runs_out = Band { p10, p50, p90 };
    Forecast {
        p_runs_out: Some(p),
        runs_out,
        total,
        left_at_reset: None,
        informative: true,
        basis,
        lasts,
        band: (0.0, 0.0),
    }
}

#[test]
fn a_moment_is_only_named_where_the_band_is_narrow() {
    let berlin = Calendar::in_zone(Tz::Europe__Berlin);
    let say = |p, band| words(&told(p, band), at(NOON), berlin);
    let narrow = [Some("2026-11-05T08:00:00Z"), Some("2026-11-05T13:20:00Z"), Some("2026-11-05T20:00:00Z")];
    assert_eq!(say(0.9, narrow), "runs out Thursday 14:00 (Europe/Berlin)");
    let wide = [Some("2026-11-05T13:00:00Z"), Some("2026-11-05T20:00:00Z"), Some("2026-11-06T07:00:00Z")];
    assert_eq!(say(0.9, wide), "runs out Thu afternoon to Fri morning (Europe/Berlin)");
    let open = [Some("2026-11-05T13:00:00Z"), Some("2026-11-06T20:00:00Z"), None];
    assert_eq!(say(0.62, open), "probably runs out (62 %), Thu afternoon or later (Europe/Berlin)");
    assert_eq!(say(0.22, [Some("2026-11-05T13:00:00Z"), None, None]), "probably lasts (78 %)");
    let far = [Some("2026-11-20T08:00:00Z"), Some("2026-11-20T09:00:00Z"), Some("2026-11-20T10:00:00Z")];
    assert_eq!(say(0.9, far), "runs out Friday 20 Nov 10:00 (Europe/Berlin)");
}
