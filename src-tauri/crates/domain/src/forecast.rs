//! What will be used until a window resets, and when it runs out.
//!
//! Past days are played again at the level of today, each future one path; how long the quota lasts is read from all of
//! them. Nothing here learns from what lies ahead: the same history and seed give the same forecast.

pub mod backtest;
mod calibration;
mod civil;
mod exchange;
mod habit;
mod pace;
mod paths;
mod score;
mod spread;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

pub use calibration::{COVERAGE, Calibration};
use civil::{Clock, HOUR_MS, Slot, hour_of_week, slots};
pub use exchange::{Exchange, Reading};
use habit::Habit;
use pace::Pace;
use paths::{Days, Path, Scaled};
pub use score::{Card, Kept, QUANTILES, Scored};
pub use spread::Spread;
pub use words::words;

use crate::time::{Timestamp, Tz};

/// What was used, hour by hour, by one or more who use it: clients, models, classes. In any unit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// Hours since 1970 UTC.
    pub first_hour: i64,
    /// By series and hour, each as long as `known`. What is below 0 counts as 0.
    pub series: Vec<Vec<f64>>,
    /// Whether the hour's demand was seen. It was not while calls were blocked, the window was exhausted, or nobody listened.
    pub known: Vec<bool>,
}

/// A quota and how far it is used, or a time whose total is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Window {
    pub since: Timestamp,
    pub resets_at: Timestamp,
    pub used: f64,
    pub limit: Option<f64>,
}

/// A series that will use so many times as much from a time on: 0 where it pauses. Several of a series add up what each changes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scaling {
    pub series: usize,
    pub from: Timestamp,
    pub factor: f64,
}

/// One forecast that is asked for. A what-if differs from it in `scalings` or in the limit alone.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// At least of whole hours before now; later hours are not looked at.
    pub history: &'a History,
    pub window: Window,
    pub now: Timestamp,
    /// Whose mornings and weekends count.
    pub zone: Tz,
    pub scalings: &'a [Scaling],
    pub calibration: Calibration,
    /// Days are drawn for so many paths, beside those that past weeks give; at most `PATHS_MAX`.
    pub paths: usize,
    pub seed: u64,
}

/// What a forecast draws where nobody asks for more or less.
pub const PATHS: usize = 1_000;
pub const PATHS_MAX: usize = 10_000;

/// The ends of the 80 % band and the middle.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Band<T> {
    pub p10: T,
    pub p50: T,
    pub p90: T,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Forecast {
    /// Before the reset. Never 0, and 1 only once it has run out. `None` without a limit.
    pub p_runs_out: Option<f64>,
    /// `None` where it lasts until the reset.
    pub runs_out: Band<Option<Timestamp>>,
    /// Of the whole window at its end, if nothing stopped it.
    pub total: Band<f64>,
    /// At least 0. `None` without a limit.
    pub left_at_reset: Option<Band<f64>>,
    /// Whether there is enough to go by for anyone to be told.
    pub informative: bool,
    /// What it goes by, for people.
    pub basis: String,
    /// Hours from now to the run-out or the reset, whichever comes first.
    pub lasts: Spread,
    /// The ends of the band of `lasts`.
    pub band: (f64, f64),
}

/// Bounded work: 30 weeks of history, a window of at most `AHEAD_MAX`.
pub fn forecast(question: &Question<'_>) -> Forecast {
    let question = sane(question);
    let window = question.window;
    if window.limit.is_some_and(|limit| window.used >= limit) {
        return has_run_out(&question);
    }
    let clock = Clock::of(question.zone);
    let habit = Habit::of(question.history, clock, question.now.as_millis().div_euclid(HOUR_MS));
    let slots = slots(clock, question.now, window.resets_at);
    let is_cold = habit.known_hours < KNOWN_HOURS_MIN;
    let mut paths =
        if is_cold { mixed([(1.0, line(&question, &habit, &slots))]) } else { futures(&question, &habit, &slots) };
    admit_ignorance(&question, &mut paths);
    let basis = if is_cold { cold_basis(&habit) } else { basis(&habit) };
    read(&question, &paths, !is_cold, basis)
}

/// A window longer than this is looked at so far: 13 months.
const AHEAD_MAX: Duration = Duration::from_secs(400 * 86_400);
/// A week of hours that were seen, before which habits are guesses.
const KNOWN_HOURS_MIN: usize = 168;

fn sane<'a>(question: &Question<'a>) -> Question<'a> {
    let mut question = *question;
    let window = &mut question.window;
    window.used = sane_amount(window.used);
    window.limit = window.limit.map(sane_amount);
    window.resets_at = window.resets_at.min(question.now.after(AHEAD_MAX));
    question.paths = question.paths.min(PATHS_MAX);
    question
}

fn sane_amount(amount: f64) -> f64 {
    if amount.is_nan() { 0.0 } else { amount.clamp(0.0, habit::AMOUNT_MAX) }
}

fn has_run_out(question: &Question<'_>) -> Forecast {
    let now = Some(question.now);
    let used = question.window.used;
    Forecast {
        p_runs_out: Some(1.0),
        runs_out: Band { p10: now, p50: now, p90: now },
        total: Band { p10: used, p50: used, p90: used },
        left_at_reset: Some(Band { p10: 0.0, p50: 0.0, p90: 0.0 }),
        informative: true,
        basis: "it has run out".to_owned(),
        lasts: Spread::certain(0.0),
        band: (0.0, 0.0),
    }
}

/// What futures are weighed by, here and in `habit`, `pace` and `paths`: found by trying on the odd ones of 31 usage series,
/// and kept where the even ones and windows of other weekdays agreed. The score hardly feels any of them.
///
/// Of all weight, what each kind of futures has. Each errs in its own way, and all together less than any of them. Which of
/// them did best on a series so far tells too little of its next window: weights learned from that made the score worse.
const EVEN: f64 = 0.4;
const STRAIGHT: f64 = 0.1;
const STRETCHES: f64 = 0.375;
const DRAWN: f64 = 0.125;
/// Weeks' worth of missing demand that even who was just busy is held to have missed; see `stays_idle`.
const IDLE_START: f64 = 0.01;
/// The rule of succession: nothing is held for more certain than so many past windows would show.
const WINDOWS_OF_TRUST: f64 = 7.0;

/// Paths whose weights add up to 1.
fn futures(question: &Question<'_>, habit: &Habit, slots: &[Slot]) -> Vec<Path> {
    let scalings = scalings(question, habit);
    let left = left(question);
    let days = Days::new(habit, slots, &scalings);
    let idle = Path { runs_out: None, used: 0.0, weight: 1.0 };
    let stays = stays_idle(habit, slots);
    mixed([
        (EVEN, Pace::of_habit(habit, slots, &scalings).futures(left)),
        (STRAIGHT, line(question, habit, slots)),
        (STRETCHES * (1.0 - stays), days.stretches(left)),
        (DRAWN * (1.0 - stays), days.drawn(left, question.paths, &mut fastrand::Rng::with_seed(question.seed))),
        ((STRETCHES + DRAWN) * stays, vec![idle]),
    ])
}

/// Each part of its share of all weight; what a part without paths had falls to the others.
fn mixed<const PARTS: usize>(parts: [(f64, Vec<Path>); PARTS]) -> Vec<Path> {
    let all: f64 = parts.iter().filter(|(_, paths)| !paths.is_empty()).map(|(share, _)| share).sum();
    let weighed = |(share, paths): (f64, Vec<Path>)| {
        let sum: f64 = paths.iter().map(|path| path.weight).sum();
        paths.into_iter().map(move |path| Path { weight: path.weight / sum * share / all, ..path })
    };
    parts.into_iter().flat_map(weighed).collect()
}

fn scalings(question: &Question<'_>, habit: &Habit) -> Vec<Scaled> {
    let scaled = |scaling: &Scaling| Scaled {
        series: scaling.series,
        from: hours(question.now, scaling.from),
        factor: if scaling.factor.is_finite() { scaling.factor.clamp(-FACTOR_MAX, FACTOR_MAX) } else { 1.0 },
    };
    let known = question.scalings.iter().filter(|scaling| scaling.series < habit.series.len());
    known.map(scaled).collect()
}

/// More than a what-if can mean.
const FACTOR_MAX: f64 = 1_000.0;

fn left(question: &Question<'_>) -> f64 {
    question.window.limit.map_or(f64::INFINITY, |limit| limit - question.window.used)
}

/// How likely nothing is used until the reset: who has been away for long stays away for as long (Lindy's law), counted in
/// demand that was expected and did not come, so that nights and weekends are no absence.
fn stays_idle(habit: &Habit, slots: &[Slot]) -> f64 {
    let ahead: f64 = slots.iter().map(|slot| slot.length * habit.profile[hour_of_week(slot.number)]).sum();
    let so_far = IDLE_START + habit.idle;
    so_far / (so_far + ahead / habit.week())
}

/// As fast as so far, whatever the hour; of a window that began before anybody looked, since somebody does.
fn line(question: &Question<'_>, habit: &Habit, slots: &[Slot]) -> Vec<Path> {
    let first_seen = Timestamp::from_millis(question.history.first_hour.saturating_mul(HOUR_MS));
    let so_far = hours(question.window.since.max(first_seen), question.now);
    let rate = if so_far > 0.0 { question.window.used / so_far } else { 0.0 };
    Pace::straight(habit, slots, &scalings(question, habit), rate).futures(left(question))
}

/// A share for what no path shows: as likely as not to run out, at any time.
fn admit_ignorance(question: &Question<'_>, paths: &mut Vec<Path>) {
    const TIMES: usize = 20;
    let unknown = 1.0 / (WINDOWS_OF_TRUST + 1.0);
    let used = paths.iter().map(|path| path.used * path.weight).sum::<f64>().min(left(question));
    paths.iter_mut().for_each(|path| path.weight *= 1.0 - unknown);
    paths.push(Path { runs_out: None, used, weight: unknown / 2.0 });
    if question.window.limit.is_none() {
        return;
    }
    let ahead = hours(question.now, question.window.resets_at).max(0.0);
    for step in 0..TIMES {
        let at = ahead * (step as f64 + 0.5) / TIMES as f64;
        paths.push(Path { runs_out: Some(at), used: left(question), weight: unknown / 2.0 / TIMES as f64 });
    }
}

fn read(question: &Question<'_>, paths: &[Path], informative: bool, basis: String) -> Forecast {
    let Window { resets_at, used, limit, .. } = question.window;
    let ahead = hours(question.now, resets_at).max(0.0);
    let lasts = paths.iter().map(|path| (path.runs_out.unwrap_or(ahead).min(ahead), path.weight)).collect();
    let lasts = Spread::weighted(lasts).unwrap_or_else(|| Spread::certain(ahead));
    let total = paths.iter().map(|path| (used + path.used, path.weight)).collect();
    let total = Spread::weighted(total).unwrap_or_else(|| Spread::certain(used));
    let (from, to) = question.calibration.shares();
    let band = (lasts.quantile(from), lasts.quantile(to));
    let moment = |hours: f64| (hours < ahead).then(|| question.now.after(Duration::from_secs_f64(hours * 3_600.0)));
    let total = Band { p10: total.quantile(from), p50: total.quantile(0.5), p90: total.quantile(to) };
    // What runs out is counted by the paths that do, whatever rounding does to the last hour.
    let out: f64 = paths.iter().filter(|path| path.runs_out.is_some()).map(|path| path.weight).sum();
    Forecast {
        p_runs_out: limit.map(|_| out.clamp(P_MIN, 1.0 - P_MIN)),
        runs_out: Band { p10: moment(band.0), p50: moment(lasts.quantile(0.5)), p90: moment(band.1) },
        total,
        // Much used is little left.
        left_at_reset: limit.map(|limit| {
            let left = |total: f64| (limit - total).max(0.0);
            Band { p10: left(total.p90), p50: left(total.p50), p90: left(total.p10) }
        }),
        informative,
        basis,
        lasts,
        band,
    }
}

const P_MIN: f64 = 0.001;

fn basis(habit: &Habit) -> String {
    let weeks = habit.known_hours / 168;
    let history = if weeks == 1 { "a week".to_owned() } else { format!("{weeks} weeks") };
    match habit.idle_hours / 24 {
        0..2 => format!("days like those of {history}, at the level of the last days"),
        days => format!("days like those of {history}, and that nothing was used for {days} days"),
    }
}

fn cold_basis(habit: &Habit) -> String {
    format!(
        "{} hours of history, and it takes a week of them ({KNOWN_HOURS_MIN}) to know its habits",
        habit.known_hours
    )
}

fn hours(from: Timestamp, to: Timestamp) -> f64 {
    to.as_millis().saturating_sub(from.as_millis()) as f64 / HOUR_MS as f64
}
