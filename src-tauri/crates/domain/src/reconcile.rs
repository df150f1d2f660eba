//! The ledger against what the upstream reports: per UTC day, model and class of tokens, with every difference named.
//!
//! What is named adds up to the whole difference, in tokens and to the nano-dollar: whatever nothing else explains
//! is a difference of price or a rounding.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::money::Usd;
use crate::price::Price;
use crate::usage::{Tokens, Usage};

/// What a line counts: one of the five classes of tokens, web searches, or what the ledger knows nothing of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Item {
    Input,
    CacheWrite5m,
    CacheWrite1h,
    CacheRead,
    Output,
    WebSearches,
    /// Code execution, sessions: money without tokens.
    Other,
}

impl Item {
    /// Those that are counted, in the order of [`counts`].
    pub const COUNTED: [Item; 6] =
        [Item::Input, Item::CacheWrite5m, Item::CacheWrite1h, Item::CacheRead, Item::Output, Item::WebSearches];

    pub const fn name(self) -> &'static str {
        match self {
            Item::Input => "input",
            Item::CacheWrite5m => "cache_write_5m",
            Item::CacheWrite1h => "cache_write_1h",
            Item::CacheRead => "cache_read",
            Item::Output => "output",
            Item::WebSearches => "web_searches",
            Item::Other => "other",
        }
    }
}

/// The counts of a usage in the order of [`Item::COUNTED`].
pub const fn counts(usage: &Usage) -> [u64; 6] {
    let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = usage.tokens;
    [input, cache_write_5m, cache_write_1h, cache_read, output, usage.web_searches]
}

/// What each count of like calls comes to, in pico-dollars: their sums may be priced as if they were one call,
/// once it is known whether each of them is in the band of long prompts.
pub fn costs(price: &Price, usage: &Usage, has_long_prompt: bool) -> [u128; 6] {
    let rates = price.rates_where(usage, has_long_prompt);
    let factors = price.multipliers_where(usage, has_long_prompt);
    let scale = factors.iter().fold(1_u128, |product, (_, permille)| product * u128::from(*permille));
    let of_tokens = [rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.output];
    let rates = of_tokens.map(|rate| u128::from(rate.picos_per_token()));
    let [input, write_5m, write_1h, read, output, searches] = counts(usage).map(u128::from);
    let tokens = [input, write_5m, write_1h, read, output];
    let mut picos = [0; 6];
    for (picos, (count, rate)) in picos.iter_mut().zip(tokens.into_iter().zip(rates)) {
        *picos = (count * rate).saturating_mul(scale) / 1_000_000_000;
    }
    let a_search = u128::try_from(price.web_search.as_nanos()).unwrap_or(0);
    picos[5] = searches.saturating_mul(a_search * PICOS_PER_NANO);
    picos
}

const PICOS_PER_NANO: u128 = 1_000;

/// Rounded half up.
pub fn usd_of_picos(picos: u128) -> Usd {
    let nanos = picos.saturating_add(PICOS_PER_NANO / 2) / PICOS_PER_NANO;
    Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Who used something, as the report groups it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Origin {
    /// The id of an API key; `None` where the report names none.
    pub key: Option<Arc<str>>,
    /// `None`: the default workspace.
    pub workspace: Option<Arc<str>>,
}

/// How much of a line came from where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    pub origin: Origin,
    /// A key that this machine calls with; or nobody knows which those are.
    pub is_ours: bool,
    pub count: u64,
    /// At list price.
    pub cost: Option<Usd>,
    /// How much more that would be if all of it came from long prompts, which a report need not tell apart.
    pub more_if_long: Usd,
}

/// What the upstream reports of a line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reported {
    pub shares: Vec<Share>,
    /// Of these a committed capacity paid for: the cost report leaves them out.
    pub priority: u64,
    /// `None`: the cost report says nothing of this line.
    pub cost: Option<Usd>,
}

/// What the ledger has of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ours {
    /// Of calls that went through the gateway.
    pub passed: u64,
    /// Of calls that only logs or telemetry tell of.
    pub told: u64,
    /// Of both, where the price is known.
    pub cost: Usd,
    /// Of both, where it is not.
    pub unpriced: u64,
    /// Of `passed`, where it is an estimate.
    pub estimated: u64,
    /// How much more the calls with estimates may have used.
    pub estimated_more: u64,
    /// Of `passed`, too recent to be in a report for sure.
    pub recent: u64,
    /// Of `passed`, from calls that ended on the next day.
    pub ended_later: u64,
    /// Of the day before, from calls that ended on this one.
    pub began_earlier: u64,
}

impl Reported {
    pub fn count(&self) -> u64 {
        self.shares.iter().fold(0, |sum, share| sum.saturating_add(share.count))
    }
}

impl Ours {
    pub const fn count(&self) -> u64 {
        self.passed.saturating_add(self.told)
    }

    /// `None` where there is something and the price of none of it is known.
    pub fn known_cost(&self) -> Option<Usd> {
        (self.unpriced == 0 || self.unpriced < self.count()).then_some(self.cost)
    }
}

/// Why the two differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// Used with another key.
    OtherKey(Origin),
    /// Used with our key, and not through this gateway.
    OtherMachine,
    /// Calls that were interrupted: what they used is estimated.
    Estimate,
    /// Calls over midnight: the report may have them on the other day.
    Midnight,
    /// Too recent for the report.
    Delay,
    /// Older, in the ledger, and not in the report.
    Unreported,
    /// From logs or telemetry, and not in the report: a subscription's calls are in none.
    Logs,
    /// Committed capacity: its cost is in no report.
    PriorityTier,
    /// The cost report has nothing of this line.
    NoCost,
    /// Of what the ledger does not have: prompts that were so long that another band of the price holds.
    LongPrompts,
    /// The ledger knows no price.
    Unpriced,
    /// Another price than ours.
    Price,
    /// Less than a cent.
    Rounding,
    /// What the ledger does not count: code execution, sessions.
    OtherService,
}

impl Cause {
    pub const fn name(&self) -> &'static str {
        match self {
            Cause::OtherKey(_) => "other_key",
            Cause::OtherMachine => "other_machine",
            Cause::Estimate => "estimate",
            Cause::Midnight => "midnight",
            Cause::Delay => "delay",
            Cause::Unreported => "unreported",
            Cause::Logs => "logs",
            Cause::PriorityTier => "priority_tier",
            Cause::NoCost => "no_cost",
            Cause::LongPrompts => "long_prompts",
            Cause::Unpriced => "unpriced",
            Cause::Price => "price",
            Cause::Rounding => "rounding",
            Cause::OtherService => "other_service",
        }
    }

    /// Nothing has to be done, and asking again will not change it.
    pub const fn is_explained(&self) -> bool {
        match self {
            Cause::OtherKey(_)
            | Cause::Estimate
            | Cause::Midnight
            | Cause::Logs
            | Cause::PriorityTier
            | Cause::LongPrompts
            | Cause::Rounding
            | Cause::OtherService => true,
            Cause::OtherMachine | Cause::Delay | Cause::Unreported | Cause::NoCost | Cause::Unpriced | Cause::Price => {
                false
            }
        }
    }
}

/// A part of what the report has more than the ledger; negative where it has less.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    pub cause: Cause,
    pub count: i64,
    /// `None` where nobody knows what the tokens cost.
    pub cost: Option<Usd>,
}

/// Differences of money below this are roundings.
const A_CENT: Usd = Usd::from_nanos(10_000_000);

/// Names what differs. The parts add up to `reported - ours`, in tokens and in the dollars that are known.
pub fn compare(item: Item, reported: &Reported, ours: &Ours) -> Vec<Difference> {
    let mut parts = Parts::of(reported, ours);
    let own_surplus = parts.own_against_the_ledger();
    parts.others_against_logs(own_surplus);
    parts.money(item);
    parts.found.retain(|part| part.count != 0 || part.cost != Some(Usd::ZERO));
    parts.found
}

struct Parts<'a> {
    reported: &'a Reported,
    ours: &'a Ours,
    found: Vec<Difference>,
    /// How much less and more what the ledger does not have may have cost, as long as its prompts were.
    at_least: Usd,
    at_most: Usd,
}

impl<'a> Parts<'a> {
    fn of(reported: &'a Reported, ours: &'a Ours) -> Parts<'a> {
        Parts { reported, ours, found: vec![], at_least: Usd::ZERO, at_most: Usd::ZERO }
    }

    /// What is reported of our keys against what passed through the gateway. Gives back what nothing here explains.
    fn own_against_the_ledger(&mut self) -> u64 {
        let own = self.reported.shares.iter().filter(|share| share.is_ours);
        let own = own.fold(0_u64, |sum, share| sum.saturating_add(share.count));
        let (ours, passed) = (*self.ours, self.ours.passed);
        let mut surplus = own.saturating_sub(passed);
        self.more(Cause::Midnight, &mut surplus, ours.began_earlier);
        self.more(Cause::Estimate, &mut surplus, ours.estimated_more);
        let mut lack = passed.saturating_sub(own);
        self.less(Cause::Delay, &mut lack, ours.recent);
        self.less(Cause::Midnight, &mut lack, ours.ended_later);
        self.less(Cause::Estimate, &mut lack, ours.estimated);
        self.less(Cause::Unreported, &mut lack, u64::MAX);
        surplus
    }

    /// Logs may tell of what came by another key, or by ours past the gateway: then both have it.
    fn others_against_logs(&mut self, own_surplus: u64) {
        let mut told = self.ours.told;
        let reported = self.reported;
        for share in reported.shares.iter().filter(|share| !share.is_ours) {
            let both = share.count.min(told);
            told -= both;
            let rest = share.count - both;
            let cost = match share.cost {
                Some(cost) => Some(part_of(cost, rest, share.count)),
                None => self.at_our_price(rest),
            };
            self.may_be_long(std::slice::from_ref(share), rest, cost);
            self.found.push(Difference { cause: Cause::OtherKey(share.origin.clone()), count: signed(rest), cost });
        }
        let both = own_surplus.min(told);
        let mut rest = own_surplus - both;
        let own: Vec<Share> = reported.shares.iter().filter(|share| share.is_ours).cloned().collect();
        self.may_be_long(&own, rest, self.at_our_price(rest));
        self.more(Cause::OtherMachine, &mut rest, u64::MAX);
        let mut untold = told - both;
        self.less(Cause::Logs, &mut untold, u64::MAX);
    }

    /// `count` of what is shared by `shares` is not in the ledger and is named at `cost`.
    fn may_be_long(&mut self, shares: &[Share], count: u64, cost: Option<Usd>) {
        let of = shares.iter().fold(0_u64, |sum, share| sum.saturating_add(share.count));
        let listed = shares.iter().map(|share| share.cost).try_fold(Usd::ZERO, |sum, cost| Some(sum + cost?));
        let more: Usd = shares.iter().map(|share| share.more_if_long).sum();
        let Some((listed, cost)) = listed.zip(cost).filter(|_| more > Usd::ZERO && count > 0) else { return };
        let least = part_of(listed, count, of) - cost;
        self.at_least += least.min(Usd::ZERO);
        self.at_most += (least + part_of(more, count, of)).max(Usd::ZERO);
    }

    fn more(&mut self, cause: Cause, left: &mut u64, most: u64) {
        let count = (*left).min(most);
        *left -= count;
        self.found.push(Difference { cause, count: signed(count), cost: self.at_our_price(count) });
    }

    fn less(&mut self, cause: Cause, left: &mut u64, most: u64) {
        let count = (*left).min(most);
        *left -= count;
        let cost = self.at_our_price(count).map(|cost| Usd::ZERO - cost);
        self.found.push(Difference { cause, count: signed(count).saturating_neg(), cost });
    }

    /// What our calls of this line cost each; the list price where we have none.
    fn at_our_price(&self, count: u64) -> Option<Usd> {
        if count == 0 {
            return Some(Usd::ZERO);
        }
        let priced = self.ours.count().saturating_sub(self.ours.unpriced);
        if priced > 0 {
            return Some(part_of(self.ours.cost, count, priced));
        }
        let listed = self.reported.shares.iter().filter_map(|share| Some((share.cost?, share.count)));
        let (cost, of) = listed.fold((Usd::ZERO, 0_u64), |(cost, of), (more, n)| (cost + more, of.saturating_add(n)));
        match (of, self.reported.cost) {
            (1.., _) => Some(part_of(cost, count, of)),
            (0, cost) => cost.map(|cost| part_of(cost, count, self.reported.count())),
        }
    }

    /// What the tokens don't explain of the dollars.
    fn money(&mut self, item: Item) {
        let named: Usd = self.found.iter().filter_map(|part| part.cost).sum();
        let whole = self.reported.cost.unwrap_or_default() - self.ours.cost;
        let mut rest = whole - named;
        if self.reported.priority > 0 && rest < Usd::ZERO {
            let unpaid = Usd::ZERO - self.at_our_price(self.reported.priority).unwrap_or_default();
            let part = rest.max(unpaid);
            self.found.push(Difference { cause: Cause::PriorityTier, count: 0, cost: Some(part) });
            rest = rest - part;
        }
        let is_small = rest < A_CENT && rest > Usd::ZERO - A_CENT;
        let is_length = (self.at_least - A_CENT..self.at_most + A_CENT).contains(&rest);
        let has_lengths = self.at_least < self.at_most;
        let cause = match (item, self.reported.cost) {
            (Item::Other, _) => Cause::OtherService,
            (_, None) if self.reported.count() > 0 || self.ours.count() > 0 => Cause::NoCost,
            _ if self.ours.unpriced > 0 && rest > Usd::ZERO => Cause::Unpriced,
            _ if is_small => Cause::Rounding,
            _ if has_lengths && is_length => Cause::LongPrompts,
            _ => Cause::Price,
        };
        self.found.push(Difference { cause, count: 0, cost: Some(rest) });
    }
}

/// Rounded towards zero; all of it where `of` is nothing.
fn part_of(cost: Usd, count: u64, of: u64) -> Usd {
    if of == 0 {
        return if count == 0 { Usd::ZERO } else { cost };
    }
    let part = i128::from(cost.as_nanos()).saturating_mul(i128::from(count)) / i128::from(of);
    Usd::from_nanos(i64::try_from(part).unwrap_or(if part < 0 { i64::MIN } else { i64::MAX }))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A line: what was compared, and what differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Days since 1970, UTC.
    pub day: i64,
    pub model: Arc<str>,
    pub item: Item,
    pub reported: Reported,
    pub ours: Ours,
    pub differences: Vec<Difference>,
}

/// Both sides of each line, as they come in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lines(BTreeMap<(i64, Arc<str>, Item), (Reported, Ours)>);

impl Lines {
    pub fn line(&mut self, day: i64, model: &Arc<str>, item: Item) -> &mut (Reported, Ours) {
        self.0.entry((day, model.clone(), item)).or_default()
    }

    /// The models of which a line of a day and item reports something, with how much.
    pub fn counts_of(&self, day: i64, item: Item) -> Vec<(Arc<str>, u64)> {
        let of = |((d, model, i), (reported, _)): (&(i64, Arc<str>, Item), &(Reported, Ours))| {
            (*d == day && *i == item && reported.count() > 0).then(|| (model.clone(), reported.count()))
        };
        self.0.iter().filter_map(of).collect()
    }

    pub fn compared(self) -> Vec<Line> {
        let compared = self.0.into_iter().map(|((day, model, item), (reported, ours))| {
            let differences = compare(item, &reported, &ours);
            Line { day, model, item, reported, ours, differences }
        });
        compared.collect()
    }
}

/// The last of the days from `from` on up to which nothing is left to explain; `None` where the first has something.
pub fn reconciled_to(lines: &[Line], from: i64, to: i64) -> Option<i64> {
    let first_open = lines.iter().filter(|line| (from..=to).contains(&line.day) && is_open(line)).map(|line| line.day);
    let last = first_open.min().map_or(to, |day| day - 1);
    (last >= from).then_some(last)
}

/// Something in it is unexplained that comes to a cent, or to tokens nobody can price.
fn is_open(line: &Line) -> bool {
    let mut open = line.differences.iter().filter(|part| !part.cause.is_explained());
    open.any(|part| {
        let cost = part.cost.unwrap_or_default();
        cost >= A_CENT || cost <= Usd::ZERO - A_CENT || part.count != 0 && cost == Usd::ZERO
    })
}

#[cfg(test)]
mod tests;
