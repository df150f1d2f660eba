//! Futures put together from past days, and past stretches played again, each at today's level.

use super::civil::{Slot, WEEK};
use super::habit::{DAY, Habit};

/// One future: when the limit is reached, in hours from now, and what is used until the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Path {
    pub(super) runs_out: Option<f64>,
    pub(super) used: f64,
    pub(super) weight: f64,
}

/// What each past day would bring on each day ahead.
#[derive(Debug)]
pub(super) struct Days<'a> {
    habit: &'a Habit,
    slots: &'a [Slot],
    /// Where each day ahead begins among the slots; one more at the end.
    starts: Vec<usize>,
    /// By past day and slot: used from the day's start to the slot's end.
    sums: Vec<f64>,
}

/// Past days that are played look back at most so far.
const BACK_DAYS_MAX: usize = 182;
/// How fast old days lose weight, and what another day of the week counts for.
const STRETCH_FADES_DAYS: f64 = 100.0;
const STRETCH_OTHER_DAY: f64 = 0.2;
const DRAWN_FADES_DAYS: f64 = 80.0;
const DRAWN_OTHER_DAY: f64 = 0.4;
/// How near, as a natural logarithm, the pace of a past day is to today's to be like it, and what a day that isn't counts for.
const LIKE_PACE: f64 = 0.7;
const UNLIKE: f64 = 0.02;
/// How far the level of a path strays, as a natural logarithm: at once, and over a week.
const LEVEL_SPREAD_NOW: f64 = 0.1;
const LEVEL_SPREAD_WEEK: f64 = 0.8;

impl<'a> Days<'a> {
    pub(super) fn new(habit: &'a Habit, slots: &'a [Slot], scalings: &[Scaled]) -> Days<'a> {
        let now = habit.now();
        let day = |slot: &Slot| usize::try_from((slot.number - now).max(0)).unwrap_or(0) / DAY;
        let mut starts = vec![];
        for (at, slot) in slots.iter().enumerate() {
            while starts.len() <= day(slot) {
                starts.push(at);
            }
        }
        starts.push(slots.len());
        let mut days = Days { habit, slots, starts, sums: vec![] };
        days.sums = days.table(scalings);
        days
    }

    pub(super) fn ahead(&self) -> usize {
        self.starts.len() - 1
    }

    fn back(&self) -> usize {
        self.habit.days().min(BACK_DAYS_MAX)
    }

    /// The past day `back` begins so many days before now, and plays on the day `ahead`.
    fn table(&self, scalings: &[Scaled]) -> Vec<f64> {
        let mut table = vec![0.0; self.back() * self.slots.len()];
        for (row, back) in table.chunks_exact_mut(self.slots.len().max(1)).zip(1..) {
            for ahead in 0..self.ahead() {
                let mut sum = 0.0;
                let shift = ((ahead + back) * DAY) as i64;
                let day = self.starts[ahead]..self.starts[ahead + 1];
                for (place, slot) in row[day.clone()].iter_mut().zip(&self.slots[day]) {
                    sum += self.played(slot, shift, scalings);
                    *place = sum;
                }
            }
        }
        table
    }

    fn played(&self, slot: &Slot, shift: i64, scalings: &[Scaled]) -> f64 {
        let from = slot.number - shift;
        let Some(at) = usize::try_from(from - self.habit.first).ok().filter(|at| *at < self.habit.total.len()) else {
            return 0.0;
        };
        let mut value = self.habit.total[at];
        for scaled in scalings {
            value += self.habit.series[scaled.series][at] * scaled.added(slot);
        }
        let busier = if shift % WEEK == 0 { 1.0 } else { self.habit.busier(slot.number, from) };
        value.max(0.0) * busier * slot.length
    }

    fn used(&self, ahead: usize, back: usize) -> f64 {
        let (from, to) = (self.starts[ahead], self.starts[ahead + 1]);
        if from == to { 0.0 } else { self.sums[(back - 1) * self.slots.len() + to - 1] }
    }

    /// When, in hours from now, a day's `amount` is used up that it does use.
    fn when(&self, ahead: usize, back: usize, amount: f64) -> f64 {
        let (from, to) = (self.starts[ahead], self.starts[ahead + 1]);
        let row = &self.sums[(back - 1) * self.slots.len()..][from..to];
        let at = row.partition_point(|sum| *sum < amount).min(row.len() - 1);
        let before = if at == 0 { 0.0 } else { row[at - 1] };
        let slot = self.slots[from + at];
        slot.starts + slot.length * ((amount - before) / (row[at] - before).max(1e-300)).clamp(0.0, 1.0)
    }

    /// Plays days one after the other: which, and how much stronger.
    fn play(&self, left: f64, weight: f64, mut pick: impl FnMut(usize) -> (usize, f64)) -> Path {
        let (mut used, mut runs_out) = (0.0, None);
        for ahead in 0..self.ahead() {
            let (back, factor) = pick(ahead);
            let day = self.used(ahead, back) * factor;
            if runs_out.is_none() && used + day >= left && day > 0.0 {
                runs_out = Some(self.when(ahead, back, (left - used) / factor));
            }
            used += day;
        }
        Path { runs_out, used, weight }
    }

    /// Each past stretch of the same length as a whole, at the level of today against that of then.
    pub(super) fn stretches(&self, left: f64) -> Vec<Path> {
        let gain = self.gain();
        let path = |back: usize| {
            let then = self.habit.levels[back];
            let weight = stretch_weight(self.habit, back);
            // A stretch that begins `back` days ago is on its day `ahead` the past day `back - ahead`.
            self.play(left, weight, |ahead| (back - ahead, (gain[ahead] - then.ahead(ahead as f64)).exp()))
        };
        if self.ahead() == 0 { vec![] } else { (self.ahead()..=self.back()).map(path).collect() }
    }

    /// Days drawn one by one.
    pub(super) fn drawn(&self, left: f64, count: usize, rng: &mut fastrand::Rng) -> Vec<Path> {
        if self.back() == 0 {
            return vec![];
        }
        let chances: [Vec<f64>; 7] = std::array::from_fn(|ahead| self.chances(ahead));
        let gain = self.gain();
        let own: Vec<f64> = (0..=self.back()).map(|back| self.habit.levels[back].ahead(0.0)).collect();
        let weeks = self.slots.iter().map(|slot| slot.length).sum::<f64>() / WEEK as f64;
        let spread = LEVEL_SPREAD_NOW + LEVEL_SPREAD_WEEK * weeks.sqrt();
        let path = |_| {
            let noise = spread * gauss(rng);
            self.play(left, 1.0, |ahead| {
                let chances = &chances[ahead % 7];
                let drawn = rng.f64() * chances.last().copied().unwrap_or(0.0);
                let back = 1 + chances.partition_point(|sum| *sum < drawn).min(chances.len() - 1);
                (back, (gain[ahead] - own[back] + noise).exp())
            })
        };
        (0..count).map(path).collect()
    }

    /// The level expected on each day ahead.
    fn gain(&self) -> Vec<f64> {
        (0..self.ahead()).map(|ahead| self.habit.levels[0].ahead(ahead as f64)).collect()
    }

    /// Of each past day to be the one that is drawn, summed up.
    fn chances(&self, ahead: usize) -> Vec<f64> {
        let mut sum = 0.0;
        let chance = |back: usize| {
            let same = if (back + ahead).is_multiple_of(7) { 1.0 } else { DRAWN_OTHER_DAY };
            sum += (-(back as f64) / DRAWN_FADES_DAYS).exp() * same * likeness(self.habit, back);
            sum
        };
        (1..=self.back()).map(chance).collect()
    }
}

/// What the stretch that began so many days ago tells about the one that begins now.
pub(super) fn stretch_weight(habit: &Habit, back: usize) -> f64 {
    let aligned = if back.is_multiple_of(7) { 1.0 } else { STRETCH_OTHER_DAY };
    (-(back as f64) / STRETCH_FADES_DAYS).exp() * aligned * likeness(habit, back)
}

/// Who is busy again after weeks away is hardly as in those weeks.
fn likeness(habit: &Habit, back: usize) -> f64 {
    let apart = (habit.paces[0] - habit.paces[back]) / LIKE_PACE;
    (-0.5 * apart * apart).exp() + UNLIKE
}

/// A series that is scaled from a time on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Scaled {
    pub(super) series: usize,
    /// In hours from now.
    pub(super) from: f64,
    pub(super) factor: f64,
}

impl Scaled {
    /// What comes to the series in the slot, as a share of it.
    pub(super) fn added(&self, slot: &Slot) -> f64 {
        let share = ((slot.starts + slot.length - self.from) / slot.length).clamp(0.0, 1.0);
        (self.factor - 1.0) * share
    }
}

/// Of the standard normal distribution.
fn gauss(rng: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}
