//! What others forecast by, and we.

use super::{HOUR_MS, Happened, Origin, Plan, Said, Series, Window};
use crate::forecast::score::is_in;
use crate::forecast::{self, Calibration, History, Question, Spread};
use crate::time::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Tidegate,
    StraightLine,
    LastHour,
    LeastSquares,
    SeasonalNaive,
    ShiftedCurves,
}

impl Method {
    pub const ALL: [Method; 6] = [
        Method::Tidegate,
        Method::StraightLine,
        Method::LastHour,
        Method::LeastSquares,
        Method::SeasonalNaive,
        Method::ShiftedCurves,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Method::Tidegate => "tidegate",
            Method::StraightLine => "straight_line",
            Method::LastHour => "last_hour",
            Method::LeastSquares => "least_squares",
            Method::SeasonalNaive => "seasonal_naive",
            Method::ShiftedCurves => "shifted_curves",
        }
    }
}

/// One method on its way through a series.
pub(super) struct Forecaster<'a> {
    method: Method,
    plan: &'a Plan,
    /// Up to the latest origin, and the hours after it, which may not be known yet.
    seen: History,
    ahead: std::vec::IntoIter<f64>,
    calibration: Calibration,
    /// Bands of the present window, to be learned from when it has ended.
    bands: Vec<(Origin<'a>, (f64, f64))>,
}

impl<'a> Forecaster<'a> {
    pub(super) fn new(method: Method, series: &Series, plan: &'a Plan) -> Forecaster<'a> {
        let (first_hour, hours) = series.hours(series.to());
        let seen = History { first_hour, series: vec![vec![]], known: vec![] };
        let calibration = Calibration::default();
        Forecaster { method, plan, seen, ahead: hours.into_iter(), calibration, bands: vec![] }
    }

    pub(super) fn says(&mut self, origin: &Origin<'a>) -> Said {
        match self.method {
            Method::Tidegate => self.tidegate(origin),
            Method::StraightLine => Said::moment(straight_line(origin), origin),
            Method::LastHour => Said::moment(last_hour(origin), origin),
            Method::LeastSquares => Said::moment(least_squares(origin), origin),
            Method::SeasonalNaive => Said::moment(seasonal_naive(origin), origin),
            Method::ShiftedCurves => {
                let (lasts, p_runs_out) = shifted_curves(origin);
                let band = Some((lasts.quantile(0.1), lasts.quantile(0.9)));
                Said { lasts, p_runs_out, band }
            }
        }
    }

    fn tidegate(&mut self, origin: &Origin<'a>) -> Said {
        self.see(origin);
        let Window { since, resets_at } = origin.window;
        let question = Question {
            history: &self.seen,
            window: forecast::Window { since, resets_at, used: origin.used, limit: Some(origin.limit) },
            now: origin.at,
            zone: self.plan.cycle.zone,
            scalings: &[],
            calibration: self.calibration,
            paths: forecast::PATHS,
            seed: self.plan.seed,
        };
        let said = forecast::forecast(&question);
        let past = origin.window.hours_to(origin.at);
        let band = (past + said.band.0, past + said.band.1);
        self.bands.push((*origin, band));
        Said { lasts: said.lasts.later(past), p_runs_out: said.p_runs_out.unwrap_or(0.5), band: Some(band) }
    }

    /// Time has come to the origin: hours until then are known, and what came of windows that have ended.
    fn see(&mut self, origin: &Origin<'_>) {
        let end = origin.at.as_millis().div_euclid(HOUR_MS as i64) - self.seen.first_hour;
        let end = usize::try_from(end).unwrap_or(0);
        let newer = end.saturating_sub(self.seen.known.len());
        self.seen.series[0].extend(self.ahead.by_ref().take(newer));
        self.seen.known.resize(self.seen.series[0].len(), true);
        for (past, band) in self.bands.extract_if(.., |(past, _)| past.window.resets_at <= origin.at) {
            self.calibration.learn(is_in(band, Happened::of(&past).lasted));
        }
    }
}

/// Hours so far × / used, from the window's start; the reset where nothing is used.
fn straight_line(origin: &Origin<'_>) -> f64 {
    let hours = origin.window.hours();
    if origin.used <= 0.0 { hours } else { (origin.window.hours_to(origin.at) * origin.limit / origin.used).min(hours) }
}

/// As if all hours were like the last one.
fn last_hour(origin: &Origin<'_>) -> f64 {
    at_rate(origin, origin.series.between(hours_before(origin.at, 1), origin.at))
}

/// By the slope of the least squares through what was used since the window's start, hour by hour.
fn least_squares(origin: &Origin<'_>) -> f64 {
    let Window { since, .. } = origin.window;
    let hours = origin.window.hours_to(origin.at) as i64;
    let used =
        |hour: i64| origin.series.between(since, Timestamp::from_millis(since.as_millis() + hour * HOUR_MS as i64));
    let mean_x = hours as f64 / 2.0;
    let mean_y = (0..=hours).map(used).sum::<f64>() / (hours + 1) as f64;
    let xy: f64 = (0..=hours).map(|hour| (hour as f64 - mean_x) * (used(hour) - mean_y)).sum();
    let xx: f64 = (0..=hours).map(|hour| (hour as f64 - mean_x).powi(2)).sum();
    at_rate(origin, xy / xx)
}

/// As if each hour were like the same hour of the week before.
fn seasonal_naive(origin: &Origin<'_>) -> f64 {
    let Window { resets_at, .. } = origin.window;
    let mut missing = origin.limit - origin.used;
    let mut at = origin.at;
    let mut back = 168;
    while at < resets_at {
        // A week's worth at a time: further on the last week comes again.
        let until = Timestamp::from_millis(at.as_millis() + 168 * HOUR_MS as i64).min(resets_at);
        let (from, to) = (hours_before(at, back), hours_before(until, back));
        if let Some(reached) = origin.series.reaches(from, missing, to) {
            return origin.window.hours_to(Timestamp::from_millis(reached.as_millis() + back * HOUR_MS as i64));
        }
        missing -= origin.series.between(from, to);
        at = until;
        back += 168;
    }
    origin.window.hours()
}

/// Windows looked back to, and how fast an old one's weight falls, in windows.
const CURVES: usize = 8;
const CURVES_FADE: f64 = 3.0;

/// Each of the last windows from the same time on, begun at today's level; and the probability of running out.
fn shifted_curves(origin: &Origin<'_>) -> (Spread, f64) {
    let hours = origin.window.hours();
    let into = origin.at.as_millis() - origin.window.since.as_millis();
    let (mut points, mut out, mut all) = (vec![], 0.0, 0.0);
    for (age, past) in origin.before.iter().rev().take(CURVES).enumerate() {
        let weight = (-(age as f64 + 1.0) / CURVES_FADE).exp();
        let from = Timestamp::from_millis(past.since.as_millis() + into);
        let reached = origin.series.reaches(from, origin.limit - origin.used, past.resets_at);
        let at = reached.map_or(hours, |at| past.hours_to(at).min(hours));
        out += if reached.is_some() { weight } else { 0.0 };
        all += weight;
        points.push((at, weight));
    }
    let spread = Spread::weighted(points).unwrap_or_else(|| Spread::certain(hours));
    (spread, (out + 0.5) / (all + 1.0))
}

fn at_rate(origin: &Origin<'_>, per_hour: f64) -> f64 {
    let hours = origin.window.hours();
    if per_hour <= 0.0 {
        return hours;
    }
    (origin.window.hours_to(origin.at) + (origin.limit - origin.used) / per_hour).min(hours)
}

fn hours_before(at: Timestamp, hours: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() - hours * HOUR_MS as i64)
}
