//! What is used in which hour of the week, and how much more or less than that at a time.

use super::History;
use super::civil::{Clock, WEEK, hour_of_week};

/// Older weeks say nothing that newer ones don't.
pub(super) const HISTORY_HOURS_MAX: usize = 30 * 168;
/// A day's demand, by the clock.
pub(super) const DAY: usize = 24;
/// No honest hour holds more, in any unit: it keeps sums of hours finite.
pub(super) const AMOUNT_MAX: f64 = 1e18;

/// Over how many days levels are taken. Who works hard today mostly does so tomorrow: the last day tells most, the weeks the rest.
const FAST_DAYS: f64 = 1.0;
const MIDDLE_DAYS: f64 = 4.0;
const SLOW_DAYS: f64 = 14.0;
/// What the shorter ones count for now, beside the slow one, and how soon they cease to.
const FAST_WEIGHT: f64 = 0.35;
const FAST_FADES_DAYS: f64 = 20.0;
const MIDDLE_WEIGHT: f64 = 0.3;
const MIDDLE_FADES_DAYS: f64 = 4.0;
/// Weeks' worth of trust in the profile itself: a level of no use at all is still above 0.
const LEVEL_PRIOR: f64 = 0.03;
const PROFILE_HALF_LIFE_DAYS: f64 = 14.0;
/// How much of a level that is seen lasts, and how much a pace falls each time somebody has been away e times as long.
const PACE_OF_LEVEL: f64 = 0.8;
const PACE_OF_ABSENCE: f64 = -0.4;
/// Weeks' worth of missed demand that are no absence yet.
const ABSENCE_START: f64 = 0.005;
/// An hour that is played in the place of another is made at most so many times busier.
const BUSIER_MAX: f64 = 4.0;

/// Past demand by hours of the zone's clock, the last hour before now at the end.
#[derive(Debug)]
pub(super) struct Habit {
    /// The clock's number of the first hour.
    pub(super) first: i64,
    /// By series and hour. What isn't known is filled in from the profile.
    pub(super) series: Vec<Vec<f64>>,
    /// Of all series together.
    pub(super) total: Vec<f64>,
    /// Expected of all series by hour of the week, at level 1.
    pub(super) profile: [f64; WEEK as usize],
    /// At the end of the day that is so many days back; the first is now's.
    pub(super) levels: Vec<Level>,
    /// By the same days, the logarithm of how many times as much as the profile says is to be expected of somebody who then
    /// had that level, and had been away longer or shorter than he mostly is.
    pub(super) paces: Vec<f64>,
    /// What each series is of all, in the last weeks.
    pub(super) shares: Vec<f64>,
    /// Since anything was used: hours, and the demand that was expected in them, in weeks' worth.
    pub(super) idle_hours: usize,
    pub(super) idle: f64,
    /// Hours of it that were seen.
    pub(super) known_hours: usize,
}

/// How much more or less than the profile says is used: as natural logarithms, over so many days.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Level {
    pub(super) fast: f64,
    pub(super) middle: f64,
    pub(super) slow: f64,
}

impl Level {
    /// Expected so many days ahead.
    pub(super) fn ahead(self, days: f64) -> f64 {
        let fast = FAST_WEIGHT * (-days / FAST_FADES_DAYS).exp();
        let middle = MIDDLE_WEIGHT * (-days / MIDDLE_FADES_DAYS).exp();
        let slow = 1.0 - fast - middle;
        fast * self.fast + middle * self.middle + slow * self.slow
    }
}

impl Habit {
    /// Of whole hours before now; `end` is the hour since 1970 that holds now.
    pub(super) fn of(history: &History, clock: Clock, end: i64) -> Habit {
        let (first, mut series, mut known) = on_the_wall(history, clock, end);
        let mut total = sum(&series, known.len());
        let profile = profile(first, &total, &known);
        let known_hours = known.iter().filter(|known| **known).count();
        fill(first, &mut series, &mut total, &mut known, &profile);
        let levels = levels(first, &total, &known, &profile);
        let absences = absences(first, &total, &profile);
        let paces = paces(&levels, &absences);
        let shares = shares(&series);
        let idle_hours = total.iter().rev().take_while(|used| **used <= 0.0).count();
        Habit { idle_hours, idle: absences[0], first, series, total, profile, levels, paces, shares, known_hours }
    }

    /// Expected of a week at level 1; above 0.
    pub(super) fn week(&self) -> f64 {
        week(&self.profile)
    }

    /// The number of the hour that holds now.
    pub(super) fn now(&self) -> i64 {
        self.first + self.total.len() as i64
    }

    /// Whole days before now.
    pub(super) fn days(&self) -> usize {
        self.total.len() / DAY
    }

    /// How much busier the one hour of the week is than the other.
    pub(super) fn busier(&self, to: i64, from: i64) -> f64 {
        let expected = |number| self.profile[hour_of_week(number)];
        (expected(to) / expected(from).max(1e-12)).min(BUSIER_MAX)
    }
}

fn week(profile: &[f64; WEEK as usize]) -> f64 {
    profile.iter().sum::<f64>().max(1e-12)
}

/// History by the zone's clock: an hour that comes twice counts with its mean, one that is skipped or not told is unknown.
fn on_the_wall(history: &History, clock: Clock, end: i64) -> (i64, Vec<Vec<f64>>, Vec<bool>) {
    let begin = history.first_hour.max(end.saturating_sub(HISTORY_HOURS_MAX as i64));
    let numbers = if begin < end { clock.numbers(begin..end) } else { vec![] };
    let (Some(first), Some(last)) = (numbers.iter().min().copied(), numbers.iter().max().copied()) else {
        return (0, vec![vec![]; history.series.len()], vec![]);
    };
    let length = usize::try_from(last + 1 - first).unwrap_or(0);
    let mut seen = vec![0.0_f64; length];
    let mut series = vec![vec![0.0; length]; history.series.len()];
    let skipped = usize::try_from(begin.saturating_sub(history.first_hour)).unwrap_or(0);
    for (offset, number) in numbers.into_iter().enumerate() {
        let (from, to) = (skipped + offset, usize::try_from(number - first).unwrap_or(0));
        let values = || history.series.iter().map(|hours| hours.get(from).copied().unwrap_or(0.0));
        if history.known.get(from) != Some(&true) || values().any(|value| !value.is_finite()) {
            continue;
        }
        seen[to] += 1.0;
        for (series, value) in series.iter_mut().zip(values()) {
            series[to] += (value.clamp(0.0, AMOUNT_MAX) - series[to]) / seen[to];
        }
    }
    (first, series, seen.into_iter().map(|times| times > 0.0).collect())
}

fn sum(series: &[Vec<f64>], length: usize) -> Vec<f64> {
    let mut total = vec![0.0; length];
    for hours in series {
        for (total, value) in total.iter_mut().zip(hours) {
            *total += value;
        }
    }
    total
}

/// Recent weeks count more; an hour borrows from its neighbours, and from the same hour of other working or free days.
fn profile(first: i64, total: &[f64], known: &[bool]) -> [f64; WEEK as usize] {
    let mut used = [0.0; WEEK as usize];
    let mut weight = [0.0; WEEK as usize];
    let fade = 0.5_f64.powf(1.0 / (PROFILE_HALF_LIFE_DAYS * DAY as f64));
    let mut recent = 1.0;
    for (at, (value, known)) in total.iter().zip(known).enumerate().rev() {
        recent *= fade;
        if !known {
            continue;
        }
        let hour = hour_of_week(first + at as i64);
        used[hour] += recent * value;
        weight[hour] += recent;
    }
    let (all_used, all_weight): (f64, f64) = (used.iter().sum(), weight.iter().sum());
    let mean = if all_weight > 0.0 { all_used / all_weight } else { 0.0 };
    let mut pools = [[(0.0, 0.0); DAY]; 2];
    for hour in 0..WEEK as usize {
        let pool = &mut pools[usize::from(hour >= 5 * DAY)][hour % DAY];
        *pool = (pool.0 + used[hour], pool.1 + weight[hour]);
    }
    std::array::from_fn(|hour| {
        let pool = pools[usize::from(hour >= 5 * DAY)][hour % DAY];
        let borrowed = (pool.0 + POOL_PRIOR * mean) / (pool.1 + POOL_PRIOR);
        let (before, after) = ((hour + 167) % 168, (hour + 1) % 168);
        let near = |of: &[f64; WEEK as usize]| of[hour] + (of[before] + of[after]) / 2.0;
        (near(&used) + HOUR_PRIOR * borrowed) / (near(&weight) + HOUR_PRIOR)
    })
}

/// Weeks' worth of trust in the mean of all hours, and in the hour of like days.
const POOL_PRIOR: f64 = 0.7;
const HOUR_PRIOR: f64 = 8.0;

/// Unknown hours as the profile has them, at the level of the days before.
fn fill(first: i64, series: &mut [Vec<f64>], total: &mut [f64], known: &mut [bool], profile: &[f64; WEEK as usize]) {
    if known.iter().all(|known| *known) {
        return;
    }
    let shares = shares(series);
    let before = levels(first, total, known, profile);
    for at in (0..known.len()).filter(|at| !known[*at]).collect::<Vec<_>>() {
        let back = (total.len() - at).div_ceil(DAY).min(before.len() - 1);
        let value = profile[hour_of_week(first + at as i64)] * before[back].ahead(0.0).exp();
        total[at] = value;
        for (hours, share) in series.iter_mut().zip(&shares) {
            hours[at] = value * share;
        }
    }
}

/// Exponential means over days of what was used against what the profile expects, where it is known.
fn levels(first: i64, total: &[f64], known: &[bool], profile: &[f64; WEEK as usize]) -> Vec<Level> {
    let days = total.len() / DAY;
    let trust = LEVEL_PRIOR * week(profile);
    let fade = |days: f64| (-1.0 / days).exp();
    let fades = [fade(FAST_DAYS), fade(MIDDLE_DAYS), fade(SLOW_DAYS)];
    let mut sums = [(0.0, 0.0); 3];
    let mut levels = vec![Level { fast: 0.0, middle: 0.0, slow: 0.0 }; days + 1];
    for back in (0..days).rev() {
        let from = total.len() - (back + 1) * DAY;
        let (mut used, mut expected) = (0.0, 0.0);
        for at in (from..from + DAY).filter(|at| known[*at]) {
            used += total[at];
            expected += profile[hour_of_week(first + at as i64)];
        }
        let log = |(used, expected): (f64, f64)| ((used + trust) / (expected + trust)).ln();
        for (sum, fade) in sums.iter_mut().zip(fades) {
            *sum = (sum.0 * fade + used, sum.1 * fade + expected);
        }
        levels[back] = Level { fast: log(sums[0]), middle: log(sums[1]), slow: log(sums[2]) };
    }
    levels
}

/// At the end of each day, the latest first: the demand that was expected since anything was used, in weeks' worth.
fn absences(first: i64, total: &[f64], profile: &[f64; WEEK as usize]) -> Vec<f64> {
    let week = week(profile);
    let mut missed = 0.0;
    let mut absences = vec![0.0; total.len() / DAY + 1];
    for (at, used) in total.iter().enumerate() {
        missed = if *used > 0.0 { 0.0 } else { missed + profile[hour_of_week(first + at as i64)] / week };
        let ahead = total.len() - 1 - at;
        if ahead.is_multiple_of(DAY) {
            absences[ahead / DAY] = missed;
        }
    }
    absences
}

fn paces(levels: &[Level], absences: &[f64]) -> Vec<f64> {
    let lengths: Vec<f64> = absences.iter().map(|missed| (missed + ABSENCE_START).ln()).collect();
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
    let usual = mean(if lengths.len() > 1 { &lengths[1..] } else { &lengths });
    let pace = |(level, length): (&Level, &f64)| PACE_OF_LEVEL * level.ahead(0.0) + PACE_OF_ABSENCE * (length - usual);
    levels.iter().zip(&lengths).map(pace).collect()
}

/// Each of what all have used in the last four weeks, or else ever.
fn shares(series: &[Vec<f64>]) -> Vec<f64> {
    let of = |hours: usize| -> Vec<f64> {
        series.iter().map(|used| used[used.len().saturating_sub(hours)..].iter().sum()).collect()
    };
    let [lately, ever] = [of(4 * WEEK as usize), of(usize::MAX)];
    let sums = if lately.iter().any(|sum| *sum > 0.0) { lately } else { ever };
    let all: f64 = sums.iter().sum();
    sums.iter().map(|sum| if all > 0.0 { sum / all } else { 0.0 }).collect()
}
