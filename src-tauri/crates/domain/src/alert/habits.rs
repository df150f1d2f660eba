//! What a client's calls usually cost and bring, and what they do now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Figure;
use crate::money::Usd;
use crate::usage::Tokens;

/// A call that ended well, as far as habits go by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    pub client: Arc<str>,
    /// `None`: the price is unknown.
    pub cost: Option<Usd>,
    pub tokens: Tokens,
    pub by_agent: bool,
}

/// Every client's.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    by_client: BTreeMap<Arc<str>, Habit>,
}

/// The latest calls of a client, the earliest first.
#[derive(Clone, Debug, Default)]
pub struct Habit {
    costs: VecDeque<Usd>,
    /// Uncached input, output, and whether a cache or an agent was in it.
    uses: VecDeque<(u64, u64, bool)>,
    last: u64,
}

/// Calls whose cost is compared, and with how many before them.
const RECENT: usize = 20;
const BEFORE: usize = 200;
/// Fewer are no habit.
const BEFORE_MIN: usize = 50;
/// Calls of which the efficiency is, and how many it takes.
const USES: usize = 100;
const USES_MIN: usize = 50;
/// From so many of a hundred on they are an agent's or a cached client's: their prompts are read from caches, and their
/// answers are short on purpose.
const APART_MAX: usize = 10;
const CLIENTS_MAX: usize = 500;

impl Habits {
    pub fn count(&mut self, made: &Made) {
        let number = self.by_client.values().map(|habit| habit.last).max().unwrap_or(0) + 1;
        if !self.by_client.contains_key(&made.client) && self.by_client.len() >= CLIENTS_MAX {
            let idle = self.by_client.iter().min_by_key(|(_, habit)| habit.last).map(|(client, _)| client.clone());
            self.by_client.retain(|client, _| Some(client) != idle.as_ref());
        }
        let habit = self.by_client.entry(made.client.clone()).or_default();
        habit.last = number;
        habit.count(made);
    }

    pub fn each(&self) -> impl Iterator<Item = (&Arc<str>, &Habit)> {
        self.by_client.iter()
    }
}

impl Habit {
    fn count(&mut self, made: &Made) {
        if let Some(cost) = made.cost.filter(|cost| *cost > Usd::ZERO) {
            push(&mut self.costs, cost, RECENT + BEFORE);
        }
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = made.tokens;
        let is_cached = cache_write_5m.saturating_add(cache_write_1h).saturating_add(cache_read) > 0;
        push(&mut self.uses, (input, output, is_cached || made.by_agent), USES);
    }

    /// The median of the last 20 calls' costs / the median of up to 200 before them; `None` where those are fewer than 50.
    pub fn times_dearer(&self) -> Option<Figure> {
        let before = self.costs.len().checked_sub(RECENT).filter(|before| *before >= BEFORE_MIN)?;
        let usual = median(self.costs.iter().take(before))?;
        let now = median(self.costs.iter().skip(before))?;
        Some(Figure::ratio(now.as_nanos(), usual.as_nanos()))
    }

    /// Output tokens / uncached input tokens of the last 100 calls; `None` where they are fewer than 50, or more than one
    /// in ten is an agent's or uses a cache.
    pub fn efficiency(&self) -> Option<Figure> {
        let apart = self.uses.iter().filter(|(_, _, apart)| *apart).count();
        if self.uses.len() < USES_MIN || apart * 100 > self.uses.len() * APART_MAX {
            return None;
        }
        let plain = || self.uses.iter().filter(|(_, _, apart)| !apart);
        let input = plain().fold(0, |sum: u64, (input, _, _)| sum.saturating_add(*input));
        let output = plain().fold(0, |sum: u64, (_, output, _)| sum.saturating_add(*output));
        let of = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        (input > 0).then(|| Figure::ratio(of(output), of(input)))
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}

/// Of an even number the lower of the two in the middle.
fn median<'c>(costs: impl Iterator<Item = &'c Usd>) -> Option<Usd> {
    let mut costs: Vec<Usd> = costs.copied().collect();
    costs.sort_unstable();
    costs.get(costs.len().checked_sub(1)? / 2).copied()
}
