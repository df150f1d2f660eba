//! Prices and discounts set by hand, in a file of the data folder.

use std::path::Path;

use domain::catalog::{Class, OwnPrice, Term, WHOLE};
use domain::time::{Calendar, Timestamp};
use serde::{Deserialize, Serialize};

use super::file::{rate, search};
use crate::api::ApiError;
use crate::folder::{self, FolderError};
use crate::range::start;

pub(super) const FILE: &str = "own-prices.json";

const SCHEMA: u32 = 1;
const PATTERN_BYTES_MAX: usize = 200;

/// As a row stands in the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnRow {
    pub(super) model: String,
    pub(super) class: String,
    /// `2.50`, `15%` or `list`.
    pub(super) value: String,
    /// A moment.
    pub(super) from: String,
    /// The day or moment as it was written.
    pub(super) day: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    schema: u32,
    prices: Vec<OwnRow>,
}

/// Rows of the file, from the first that was set.
pub(super) fn read(dir: &Path) -> Result<Vec<OwnRow>, String> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
    };
    let wrong = |reason: String| format!("{}: {reason}; mend it or move it away", path.display());
    let file: OwnFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if file.schema != SCHEMA {
        return Err(wrong(format!("it is of schema {}, this program knows {SCHEMA}", file.schema)));
    }
    for (index, row) in file.prices.iter().enumerate() {
        row.own().map_err(|reason| wrong(format!("row {} ({}): {reason}", index + 1, row.model)))?;
        if file.prices[..index].iter().any(|earlier| earlier.is_same(row)) {
            return Err(wrong(format!("{} of {} is set twice from the same moment", row.class, row.model)));
        }
    }
    Ok(file.prices)
}

pub(super) fn write(dir: &Path, rows: &[OwnRow]) -> Result<(), FolderError> {
    folder::write_json(&dir.join(FILE), &OwnFile { schema: SCHEMA, prices: rows.to_vec() })
}

impl OwnRow {
    /// From what a person asks for; without a day it holds from now on.
    pub(super) fn of(
        (model, class, value): (&str, &str, &str),
        from: Option<&str>,
        calendar: Calendar,
        now: Timestamp,
    ) -> Result<OwnRow, ApiError> {
        let at = from.map_or(Ok(now), |from| start(from, calendar)).map_err(ApiError::asker)?;
        if at.as_millis() < 0 {
            return Err(ApiError::asker(format!("--from {at} lies before 1970: nothing was called then")));
        }
        let day = from.map_or_else(|| at.to_string(), str::to_owned);
        let (model, class, value) = (model.to_owned(), class.to_owned(), value.to_owned());
        let row = OwnRow { model, class, value, from: at.to_string(), day };
        row.own().map_err(ApiError::asker)?;
        Ok(row)
    }

    pub(super) fn own(&self) -> Result<OwnPrice, String> {
        pattern(&self.model)?;
        let class = Class::named(&self.class).ok_or_else(|| unknown_class(&self.class))?;
        let from = Timestamp::parse(&self.from).ok_or_else(|| format!("{:?} is no moment", self.from))?;
        Ok(OwnPrice {
            pattern: self.model.as_str().into(),
            class,
            term: term(class, &self.value)?,
            from,
            day: self.day.as_str().into(),
        })
    }

    /// Would one of them leave the other no moment?
    pub(super) fn is_same(&self, other: &OwnRow) -> bool {
        self.model == other.model
            && self.class == other.class
            && Timestamp::parse(&self.from) == Timestamp::parse(&other.from)
    }
}

fn term(class: Class, value: &str) -> Result<Term, String> {
    if value == "list" {
        return Ok(Term::List);
    }
    match class {
        Class::Discount => discount(value).map(Term::Off),
        // Ten dollars for a thousand searches is how it is published.
        Class::WebSearch => {
            let per_thousand =
                rate(value, "web_search, in dollars per 1,000 searches,").map_err(|_| not_a_search(value))?;
            let nanos = per_thousand.picos_per_token();
            let each = domain::money::Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
            search(Some(&each.to_string())).map(Term::Each).map_err(|_| not_a_search(value))
        }
        Class::Input | Class::CacheWrite5m | Class::CacheWrite1h | Class::CacheRead | Class::Output => {
            rate(value, class.name()).map(Term::Rate)
        }
    }
}

fn not_a_search(value: &str) -> String {
    format!("web_search is {value:?}: write dollars per 1,000 searches, from 0 to 1000, such as 10")
}

/// `15%`, with two decimals at most, in hundredths of a percent.
fn discount(text: &str) -> Result<u32, String> {
    let percent =
        text.strip_suffix('%').map(str::trim_end).and_then(|number| number.parse::<domain::money::Usd>().ok());
    let hundredths = percent.map(domain::money::Usd::as_nanos).filter(|nanos| nanos % 10_000_000 == 0);
    let hundredths = hundredths.and_then(|nanos| u32::try_from(nanos / 10_000_000).ok());
    hundredths.filter(|hundredths| *hundredths <= WHOLE).ok_or_else(|| {
        format!("discount is {text:?}: write a percentage off the list price from 0% to 100%, such as 15%")
    })
}

fn pattern(text: &str) -> Result<(), String> {
    let is_fine = !text.is_empty()
        && text.len() <= PATTERN_BYTES_MAX
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@/*[]".contains(c));
    match is_fine {
        true => Ok(()),
        false => Err(format!(
            "{text:?} is no model: write an id such as claude-sonnet-5-5, or a pattern such as claude-sonnet-*"
        )),
    }
}

fn unknown_class(name: &str) -> String {
    format!("there is no class {name:?}: {}", Class::ALL.map(Class::name).join(", "))
}
