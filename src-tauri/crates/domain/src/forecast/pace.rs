//! Futures without ups and downs of their own: what is expected in each hour, all of it some factor more or less.

use super::civil::{Slot, hour_of_week};
use super::habit::{DAY, Habit};
use super::paths::{Path, Scaled, stretch_weight};

/// Use that goes on evenly from now, and how far it may stray from that. Its spread is logistic: close to normal, with tails
/// as long as those of people, and with a quantile that one can write down.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    slots: &'a [Slot],
    points: Vec<Point>,
}

/// At the end of a slot, as natural logarithms: what is used from now until then, and the scale of the spread around it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Point {
    used: f64,
    scale: f64,
}

/// Futures of one pace, equally likely.
const STEPS: usize = 50;
/// A median week lies that far below the mean one: few weeks are very busy.
const MEDIAN_OF_MEAN: f64 = -0.45;
/// For how many past days the usual spread counts beside their own, and how much one of them counts at most.
const USUAL_SPREAD_DAYS: f64 = 0.5;
const ERROR_MAX: f64 = 3.0;
/// How soon the median error of the past days is believed to be more than chance: the smaller, the more regular they must be.
const OWN_MEDIAN: f64 = 0.05;
/// The mean distance from the median, in scales of a logistic spread.
const MEAN_ERROR: f64 = 1.386;
/// As fast as so far, up to so many times slower or faster in two of three cases.
const LINE_SPREAD: f64 = 3.0;

impl<'a> Pace<'a> {
    /// By the hours of the week, at the pace of the last days.
    pub(super) fn of_habit(habit: &Habit, slots: &'a [Slot], scalings: &[Scaled]) -> Pace<'a> {
        let week = habit.week();
        let rate = |slot: &Slot| habit.profile[hour_of_week(slot.number)];
        let sums = sums(slots.iter().map(|slot| rate(slot) * slot.length * scaled(habit, slot, scalings)));
        let ahead: f64 = slots.iter().map(|slot| rate(slot) * slot.length).sum();
        let own = Own::of(habit, slots.len(), usual_scale(ahead / week));
        let point = |sum: &f64| Point { used: sum.ln() + own.shift, scale: own.wider * usual_scale(sum / week) };
        Pace { slots, points: sums[1..].iter().map(point).collect() }
    }

    /// A straight line: so much an hour, day and night.
    pub(super) fn straight(habit: &Habit, slots: &'a [Slot], scalings: &[Scaled], rate: f64) -> Pace<'a> {
        let scale = LINE_SPREAD.ln() / 1.7;
        let sums = sums(slots.iter().map(|slot| rate * slot.length * scaled(habit, slot, scalings)));
        let point = |sum: &f64| Point { used: sum.ln(), scale };
        Pace { slots, points: sums[1..].iter().map(point).collect() }
    }

    pub(super) fn futures(&self, left: f64) -> Vec<Path> {
        let share = |step: usize| (step as f64 + 0.5) / STEPS as f64;
        (0..STEPS).map(|step| self.future(left.ln(), (share(step) / (1.0 - share(step))).ln())).collect()
    }

    /// The future that lies so many scales above the median.
    fn future(&self, left: f64, scales: f64) -> Path {
        let used = |point: &Point| point.used + scales * point.scale;
        let out = self.points.iter().position(|point| used(point) >= left);
        let when = |at: usize| {
            let [before, after] = [
                at.checked_sub(1).map_or(0.0, |before| (used(&self.points[before]) - left).exp()),
                (used(&self.points[at]) - left).exp(),
            ];
            self.slots[at].starts
                + self.slots[at].length * ((1.0 - before) / (after - before).max(1e-300)).clamp(0.0, 1.0)
        };
        Path { runs_out: out.map(when), used: self.points.last().map_or(0.0, |point| used(point).exp()), weight: 1.0 }
    }
}

/// Of what is expected to need so many weeks: chance evens out over hours, and whole weeks differ as much as any.
fn usual_scale(weeks: f64) -> f64 {
    (weeks / (1.0 + weeks)).sqrt()
}

/// How a series strays from its own pace.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Own {
    /// A natural logarithm.
    shift: f64,
    wider: f64,
}

impl Own {
    /// By what the pace of every past day would have missed over as many hours.
    fn of(habit: &Habit, hours: usize, usual: f64) -> Own {
        let errors = errors(habit, hours);
        let count: f64 = errors.iter().map(|(_, weight)| weight).sum();
        let sum = |of: &dyn Fn(f64) -> f64| errors.iter().map(|(error, weight)| weight * of(*error)).sum::<f64>();
        let size = |error: f64| (error.abs() / (MEAN_ERROR * usual.max(1e-12))).min(ERROR_MAX);
        let wider = (USUAL_SPREAD_DAYS + sum(&size)) / (USUAL_SPREAD_DAYS + count);
        let mean = sum(&|error| error.clamp(-2.0, 2.0)) / count.max(f64::MIN_POSITIVE);
        let trust = if count > 0.0 { OWN_MEDIAN / (OWN_MEDIAN + (wider * usual).powi(2)) } else { 0.0 };
        Own { shift: habit.paces[0] + MEDIAN_OF_MEAN + trust * (mean - MEDIAN_OF_MEAN), wider }
    }
}

/// As natural logarithms, with weights. The first week of a history knows no pace yet.
fn errors(habit: &Habit, hours: usize) -> Vec<(f64, f64)> {
    let used = sums(habit.total.iter().copied());
    let expected = sums((0..habit.total.len() as i64).map(|at| habit.profile[hour_of_week(habit.first + at)]));
    let trust = 0.05 * habit.week();
    let error = |back: usize| {
        let from = habit.total.len() - back * DAY;
        let over = |sums: &[f64]| Some(sums.get(from + hours)? - sums[from] + trust);
        let error = (over(&used)? / over(&expected)?).ln() - habit.paces[back];
        Some((error, stretch_weight(habit, back)))
    };
    (1..(habit.days() + 1).saturating_sub(7)).filter_map(error).collect()
}

/// What is used by the ends of slots, after a 0.
fn sums(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |value: f64| {
        sum += value;
        sum
    };
    std::iter::once(0.0).chain(values.map(add)).collect()
}

/// How many times as much a slot holds where some of the series are scaled.
fn scaled(habit: &Habit, slot: &Slot, scalings: &[Scaled]) -> f64 {
    (1.0 + scalings.iter().map(|scaled| habit.shares[scaled.series] * scaled.added(slot)).sum::<f64>()).max(0.0)
}
