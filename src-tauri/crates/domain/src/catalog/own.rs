//! Prices and discounts that a user has agreed on: each for the models of a pattern, from a moment on.

use std::sync::Arc;

use super::matches;
use crate::money::Usd;
use crate::price::{LongPrompt, Price, Rate, Rates};
use crate::time::Timestamp;

/// What a price may be set for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    Input,
    CacheWrite5m,
    CacheWrite1h,
    CacheRead,
    Output,
    WebSearch,
    Discount,
}

impl Class {
    pub const ALL: [Class; 7] = [
        Class::Input,
        Class::CacheWrite5m,
        Class::CacheWrite1h,
        Class::CacheRead,
        Class::Output,
        Class::WebSearch,
        Class::Discount,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Class::Input => "input",
            Class::CacheWrite5m => "cache_write_5m",
            Class::CacheWrite1h => "cache_write_1h",
            Class::CacheRead => "cache_read",
            Class::Output => "output",
            Class::WebSearch => "web_search",
            Class::Discount => "discount",
        }
    }

    pub fn named(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// What holds for a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    /// The list's price again.
    List,
    Rate(Rate),
    /// Of one web search.
    Each(Usd),
    /// Off the list's prices, in hundredths of a percent.
    Off(u32),
}

/// All of the list's price, in hundredths of a percent.
pub const WHOLE: u32 = 10_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnPrice {
    /// With `*` for any run of characters.
    pub pattern: Arc<str>,
    pub class: Class,
    pub term: Term,
    pub from: Timestamp,
    /// The day or moment as it was written: it names the price.
    pub day: Arc<str>,
}

/// What holds for a model at a moment.
pub(super) struct Agreed<'a>(Vec<&'a OwnPrice>);

impl<'a> Agreed<'a> {
    /// Of several terms for one class the one whose pattern says more holds, then the latest.
    pub(super) fn of(own: &'a [OwnPrice], names: [&str; 2], at: Timestamp) -> Agreed<'a> {
        let holds = |own: &&OwnPrice| own.from <= at && names.iter().any(|name| matches(&own.pattern, name));
        let classes = Class::ALL.into_iter();
        let best = classes.filter_map(|class| {
            own.iter()
                .filter(holds)
                .filter(|own| own.class == class)
                .max_by_key(|own| (precision(&own.pattern), own.from))
        });
        Agreed(best.filter(|own| own.term != Term::List).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn term(&self, class: Class) -> Option<Term> {
        self.0.iter().find(|own| own.class == class).map(|own| own.term)
    }

    fn rate(&self, class: Class) -> Option<Rate> {
        match self.term(class)? {
            Term::Rate(rate) => Some(rate),
            Term::List | Term::Each(_) | Term::Off(_) => None,
        }
    }

    /// The list's price as agreed. A discount is off the list's rates; a rate of one's own holds for prompts of every length.
    pub(super) fn applied(&self, list: &Price, model: &str) -> Price {
        let off = match self.term(Class::Discount) {
            Some(Term::Off(off)) => off.min(WHOLE),
            Some(Term::List | Term::Rate(_) | Term::Each(_)) | None => 0,
        };
        let agreed = |rates: Rates| self.over(rates.map(|rate| rate.times(WHOLE - off, WHOLE)));
        let searches = i128::from(list.web_search.as_nanos()) * i128::from(WHOLE - off) / i128::from(WHOLE);
        let listed = Usd::from_nanos(i64::try_from(searches).unwrap_or(i64::MAX));
        Price {
            id: self.id(model, list.valid_from),
            valid_from: self.since(list.valid_from).map(|(from, _)| from).or(list.valid_from),
            rates: agreed(list.rates),
            long_prompt: list.long_prompt.map(|band| LongPrompt { rates: agreed(band.rates), ..band }),
            // A rate of one's own is one: batches halve it.
            batch: list.batch.filter(|_| !self.has_rates()).map(agreed),
            web_search: self.search(listed),
            source: self.source(&list.id),
            ..list.clone()
        }
    }

    /// The price of a model that no list has, where input and output are agreed on.
    pub(super) fn alone(&self, model: &str) -> Option<Price> {
        let (input, output) = (self.rate(Class::Input)?, self.rate(Class::Output)?);
        let rates = Rates {
            input,
            cache_write_5m: input.times(CACHE_WRITE_5M, 100),
            cache_write_1h: input.times(CACHE_WRITE_1H, 100),
            cache_read: input.times(CACHE_READ, 100),
            output,
        };
        Some(Price {
            id: self.id(model, None),
            model: model.into(),
            platform: None,
            valid_from: self.since(None).map(|(from, _)| from),
            rates: self.over(rates),
            long_prompt: None,
            batch: None,
            factors: Default::default(),
            web_search: self.search(WEB_SEARCH),
            source: "set by hand; a cache class that was not set costs 1.25, 2 and 0.1 times the input".into(),
        })
    }

    fn over(&self, rates: Rates) -> Rates {
        Rates {
            input: self.rate(Class::Input).unwrap_or(rates.input),
            cache_write_5m: self.rate(Class::CacheWrite5m).unwrap_or(rates.cache_write_5m),
            cache_write_1h: self.rate(Class::CacheWrite1h).unwrap_or(rates.cache_write_1h),
            cache_read: self.rate(Class::CacheRead).unwrap_or(rates.cache_read),
            output: self.rate(Class::Output).unwrap_or(rates.output),
        }
    }

    fn search(&self, listed: Usd) -> Usd {
        match self.term(Class::WebSearch) {
            Some(Term::Each(usd)) => usd,
            Some(Term::List | Term::Rate(_) | Term::Off(_)) | None => listed,
        }
    }

    fn has_rates(&self) -> bool {
        self.0.iter().any(|own| matches!(own.term, Term::Rate(_)))
    }

    /// When the latest of what makes it up began.
    fn since(&self, listed: Option<Timestamp>) -> Option<(Timestamp, Arc<str>)> {
        let own = self.0.iter().map(|own| (own.from, own.day.clone())).max()?;
        match listed {
            Some(from) if from > own.0 => Some((from, day(from))),
            Some(_) | None => Some(own),
        }
    }

    fn id(&self, model: &str, listed: Option<Timestamp>) -> Arc<str> {
        let day = self.since(listed).map(|(_, day)| day).unwrap_or_default();
        format!("{OWN}{model}@{day}").into()
    }

    fn source(&self, list: &str) -> Arc<str> {
        let set: Vec<&str> = self.0.iter().map(|own| own.class.name()).collect();
        format!("set by hand: {}; the rest as {list}", set.join(", ")).into()
    }
}

/// How the id of a price of one's own begins.
pub(super) const OWN: &str = "own:";

/// What Claude's caches cost, in hundredths of the input's rate; in Claude's price list.
const CACHE_WRITE_5M: u32 = 125;
const CACHE_WRITE_1H: u32 = 200;
const CACHE_READ: u32 = 10;
/// As everywhere in Claude's price list.
const WEB_SEARCH: Usd = Usd::from_nanos(10_000_000);

/// A whole id says more than a pattern, and a longer pattern more than a shorter.
fn precision(pattern: &str) -> (bool, usize) {
    (!pattern.contains('*'), pattern.len())
}

fn day(at: Timestamp) -> Arc<str> {
    let text = at.to_string();
    text.strip_suffix("T00:00:00.000Z").unwrap_or(&text).into()
}
