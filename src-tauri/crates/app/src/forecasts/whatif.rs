//! Other futures: what a person may do, and by how much each client's and model's use changes with it.

use std::sync::Arc;

use domain::admission::Unit;
use domain::call::Class;
use domain::catalog::Catalog;
use domain::forecast::{Scaling, Window};
use domain::time::{Calendar, Cycle, Every, Timestamp};
use domain::usage::{Tokens, Usage};
use ledger::Mix;

use super::Subject;
use super::hours::Kind;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Pause(Class),
    Stop {
        client: Arc<str>,
        from: Timestamp,
    },
    /// A part of what is spent; of all clients where none is named.
    Move {
        part: f64,
        client: Option<Arc<str>>,
        model: Arc<str>,
    },
    Batch {
        client: Option<Arc<str>>,
    },
    /// Of a budget's scope, an upstream, or of the only window of that name.
    Limit {
        whose: Option<Arc<str>>,
        window: Arc<str>,
        amount: f64,
    },
}

pub(crate) const FORMS: &str = "pause background; stop CLIENT [at 18:00]; move 30% [of CLIENT] to MODEL; batch [CLIENT]; \
     limit [SCOPE|UPSTREAM] WINDOW to AMOUNT";

/// How many times as much from so many milliseconds since 1970 on, in millionths: one after the other.
pub(super) type Fate = Vec<(i64, u32)>;

/// More would say the same.
pub(crate) const CHANGES_MAX: usize = 16;

impl Change {
    /// # Errors
    /// What it is not, and how one is written.
    pub(crate) fn parse(text: &str, now: Timestamp, calendar: Calendar) -> Result<Change, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let change = match words[..] {
            ["pause", class] => Class::named(class).map(Change::Pause),
            ["stop", client] => Some(Change::Stop { client: client.into(), from: now }),
            ["stop", client, "at", time] => {
                next(time, now, calendar).map(|from| Change::Stop { client: client.into(), from })
            }
            ["move", part, "to", model] => moved(part, None, model),
            ["move", part, "of", client, "to", model] => moved(part, Some(client), model),
            ["batch"] => Some(Change::Batch { client: None }),
            ["batch", client] => Some(Change::Batch { client: Some(client.into()) }),
            ["limit", window, "to", amount] => limit(None, window, amount),
            ["limit", ref whose @ .., window, "to", amount] => limit(Some(&whose.join(" ")), window, amount),
            _ => None,
        };
        change.ok_or_else(|| format!("{text:?} is nothing that can be tried; what can: {FORMS}"))
    }
}

/// When the clock next says so.
fn next(time: &str, now: Timestamp, calendar: Calendar) -> Option<Timestamp> {
    let (hours, minutes) = time.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let is_a_time = hours < 24 && minutes < 60;
    is_a_time.then(|| Cycle::new(Every::Day, hours * 60 + minutes, calendar.zone()).end(now))
}

fn moved(part: &str, client: Option<&str>, model: &str) -> Option<Change> {
    let percent: f64 = part.strip_suffix('%')?.parse().ok()?;
    let is_a_part = percent > 0.0 && percent <= 100.0;
    is_a_part.then(|| Change::Move { part: percent / 100.0, client: client.map(Into::into), model: model.into() })
}

fn limit(whose: Option<&str>, window: &str, amount: &str) -> Option<Change> {
    let amount: f64 = amount.strip_prefix('$').unwrap_or(amount).parse().ok()?;
    let is_a_limit = amount.is_finite() && amount >= 0.0;
    is_a_limit.then(|| Change::Limit { whose: whose.map(Into::into), window: window.into(), amount })
}

/// Changes, and what the latest calls were made of.
pub(super) struct Changed<'a> {
    pub(super) changes: &'a [Change],
    pub(super) shares: &'a [Mix],
    pub(super) catalog: &'a Catalog,
    pub(super) now: Timestamp,
}

impl Changed<'_> {
    /// # Errors
    /// Of a model that has no price, a client that nobody knows, a limit that there is none of.
    pub(super) fn check(&self, subjects: &[Subject], clients: &[Arc<str>]) -> Result<(), String> {
        self.changes.iter().try_for_each(|change| self.check_one(change, subjects, clients))
    }

    fn check_one(&self, change: &Change, subjects: &[Subject], clients: &[Arc<str>]) -> Result<(), String> {
        let client = match change {
            Change::Stop { client, .. } => Some(client),
            Change::Move { client, .. } | Change::Batch { client } => client.as_ref(),
            Change::Pause(_) | Change::Limit { .. } => None,
        };
        if let Some(client) = client.filter(|client| !clients.contains(client)) {
            let used = self.shares.iter().any(|share| share.client == *client);
            if !used {
                return Err(format!("no client is named {client:?}: `tidegate client list` shows them"));
            }
        }
        match change {
            Change::Move { model, .. } if self.catalog.quote("", model, self.now).is_none() => {
                Err(format!("{model:?} has no price: `tidegate price list` shows the models that have one"))
            }
            Change::Limit { .. } => self.check_limit(change, subjects),
            Change::Pause(_) | Change::Stop { .. } | Change::Move { .. } | Change::Batch { .. } => Ok(()),
        }
    }

    fn check_limit(&self, change: &Change, subjects: &[Subject]) -> Result<(), String> {
        match subjects.iter().filter(|subject| subject.is_meant(change)).count() {
            1 => Ok(()),
            0 => {
                let limited = subjects.iter().filter(|subject| subject.span.limit.is_some()).map(Subject::name);
                let names: Vec<String> = limited.collect();
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(format!("there is no such window or budget; those that have a limit: {there}"))
            }
            _ => Err("several windows have that name: say of which upstream or scope".to_owned()),
        }
    }

    pub(super) fn window(&self, subject: &Subject) -> Window {
        let mut window = subject.span;
        for change in self.changes.iter().filter(|change| subject.is_meant(change)) {
            let Change::Limit { amount, .. } = change else { continue };
            window.limit = Some(*amount);
        }
        window
    }

    pub(super) fn fate(&self, kind: &Kind, unit: Unit) -> Fate {
        let mut steps: Vec<(i64, f64)> =
            self.changes.iter().filter_map(|change| self.step(change, kind, unit)).collect();
        steps.sort_by_key(|(from, _)| *from);
        let mut factor = 1.0;
        let product = |(from, step): (i64, f64)| {
            factor *= step;
            (from, (factor * 1e6).round().clamp(0.0, f64::from(u32::MAX)) as u32)
        };
        steps.into_iter().map(product).collect()
    }

    fn step(&self, change: &Change, kind: &Kind, unit: Unit) -> Option<(i64, f64)> {
        let is_of = |client: &Option<Arc<str>>| client.as_ref().is_none_or(|client| *client == kind.0);
        let now = self.now.as_millis();
        match change {
            Change::Pause(class) => Some((now, 1.0 - self.part_in(*class, kind))),
            Change::Stop { client, from } => (*client == kind.0).then_some((from.as_millis(), 0.0)),
            Change::Move { part, client, model } if unit == Unit::Usd && is_of(client) => {
                Some((now, 1.0 - part + part * self.price_ratio(kind, model, false)?))
            }
            Change::Batch { client } if unit == Unit::Usd && is_of(client) => {
                Some((now, self.price_ratio(kind, &kind.1.clone(), true)?))
            }
            Change::Move { .. } | Change::Batch { .. } | Change::Limit { .. } => None,
        }
    }

    /// Of those that use too little to be told apart all stand for one another.
    fn alike(&self, kind: &Kind) -> impl Iterator<Item = &Mix> {
        let any = kind.0.is_empty() && kind.1.is_empty();
        self.shares.iter().filter(move |share| any || (&share.client, &share.model) == (&kind.0, &kind.1))
    }

    /// Of the tokens, from 0 to 1.
    fn part_in(&self, class: Class, kind: &Kind) -> f64 {
        let weight = |share: &Mix| (share.tokens.prompt() + share.tokens.output) as f64;
        let all: f64 = self.alike(kind).map(weight).sum();
        let of_it: f64 = self.alike(kind).filter(|share| share.class == class).map(weight).sum();
        if all > 0.0 { of_it / all } else { 0.0 }
    }

    /// What the same tokens cost there, as a share of what they cost now.
    fn price_ratio(&self, kind: &Kind, model: &str, batch: bool) -> Option<f64> {
        let tokens = self.alike(kind).fold(Tokens::default(), |sum, share| sum + share.tokens);
        // Nothing known: a prompt four times as long as its answer.
        let tokens =
            if tokens == Tokens::default() { Tokens { input: 4_000, output: 1_000, ..tokens } } else { tokens };
        let cost = |model: &str, batch: bool| {
            let price = self.catalog.quote("", model, self.now)?.price;
            // The sum of many calls is no long prompt.
            let price = domain::price::Price { long_prompt: None, ..domain::price::Price::clone(&price) };
            Some(price.cost(&Usage { tokens, batch, ..Usage::default() }).as_nanos() as f64)
        };
        let (now, then) = (cost(&kind.1, false)?, cost(model, batch)?);
        (now > 0.0).then(|| then / now)
    }
}

/// A series' scalings add up what each changes.
pub(super) fn scalings(fates: &[Fate]) -> Vec<Scaling> {
    let mut all = vec![];
    for (series, fate) in fates.iter().enumerate() {
        let mut before = 1.0;
        for (from, millionths) in fate {
            let factor = f64::from(*millionths) / 1e6;
            all.push(Scaling { series, from: Timestamp::from_millis(*from), factor: 1.0 + factor - before });
            before = factor;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-27T12:00:00Z").expect("a time")
    }

    fn parse(text: &str) -> Result<Change, String> {
        Change::parse(text, now(), Calendar::UTC)
    }

    fn share(client: &str, model: &str, class: Class, input: u64) -> Mix {
        let tokens = Tokens { input, output: input / 4, ..Tokens::default() };
        Mix { client: client.into(), model: model.into(), class, calls: 1, tokens, known_cost: Default::default() }
    }

    /// In millionths, from now and then on.
    fn fate(texts: &[&str], kind: (&str, &str), unit: Unit) -> Vec<(i64, u32)> {
        let changes: Vec<Change> = texts.iter().map(|text| parse(text).expect("a change")).collect();
        let catalog = crate::data::catalog().expect("prices");
        let shares = [
            share("ci", "claude-sonnet-4-5", Class::Normal, 3_000),
            share("ci", "claude-sonnet-4-5", Class::Background, 1_000),
            share("web", "claude-opus-4-1", Class::Critical, 1_000),
        ];
        let changed = Changed { changes: &changes, shares: &shares, catalog: &catalog, now: now() };
        let fate = changed.fate(&(kind.0.into(), kind.1.into()), unit);
        fate.into_iter().map(|(from, factor)| ((from - now().as_millis()) / 3_600_000, factor)).collect()
    }

    const CI: (&str, &str) = ("ci", "claude-sonnet-4-5");
    const WEB: (&str, &str) = ("web", "claude-opus-4-1");

    #[test]
    fn a_change_is_a_short_sentence_and_anything_else_is_told_how_to_write_one() {
        assert_eq!(parse("pause background"), Ok(Change::Pause(Class::Background)));
        let six = Timestamp::parse("2026-11-27T18:00:00Z").expect("a time");
        assert_eq!(parse("stop ci at 18:00"), Ok(Change::Stop { client: "ci".into(), from: six }));
        let tomorrow = Timestamp::parse("2026-11-28T09:30:00Z").expect("a time");
        assert_eq!(parse("stop ci at 9:30"), Ok(Change::Stop { client: "ci".into(), from: tomorrow }));
        let whose = Some("project:my shop".into());
        let shop = Change::Limit { whose, window: "day".into(), amount: 5.0 };
        assert_eq!(parse("limit project:my shop day to 5"), Ok(shop));
        for wrong in ["", "stop", "pause ci", "move 0% to m", "move 101% to m", "stop ci at 24:00", "limit week to -1"]
        {
            let told = parse(wrong).expect_err(wrong);
            assert!(told.contains(FORMS), "{told}");
        }
    }

    #[test]
    fn a_paused_class_takes_away_its_part_of_each_client() {
        assert_eq!(fate(&["pause background"], CI, Unit::Tokens), [(0, 750_000)]);
        assert_eq!(fate(&["pause background"], WEB, Unit::Usd), [(0, 1_000_000)]);
        assert_eq!(fate(&["pause critical"], ("", ""), Unit::Usd), [(0, 800_000)], "of all together");
    }

    #[test]
    fn changes_come_one_after_the_other_and_multiply() {
        assert_eq!(fate(&["stop ci at 18:00", "pause background"], CI, Unit::Usd), [(0, 750_000), (6, 0)]);
        let fates = [vec![(0, 750_000), (6, 0)], vec![]];
        let all = scalings(&fates);
        assert_eq!(all.iter().map(|one| (one.series, one.factor)).collect::<Vec<_>>(), [(0, 0.75), (0, 0.25)]);
    }

    #[test]
    fn a_part_moved_to_a_cheaper_model_costs_less_and_takes_as_many_tokens() {
        // Sonnet 4.5 is $3 and $15, Haiku 4.5 $1 and $5: a third.
        assert_eq!(fate(&["move 30% of ci to claude-haiku-4-5"], CI, Unit::Usd), [(0, 800_000)]);
        assert_eq!(fate(&["move 30% of ci to claude-haiku-4-5"], CI, Unit::Tokens), []);
        assert_eq!(fate(&["move 30% of ci to claude-haiku-4-5"], WEB, Unit::Usd), []);
        assert_eq!(fate(&["batch"], CI, Unit::Usd), [(0, 500_000)]);
    }
}
