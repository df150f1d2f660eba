//! What a report is asked for: days, groups, pages.

use domain::time::{Calendar, Timestamp};

use super::DAY_MS;
use crate::error::ApiError;
use crate::paging;

/// Whole days, and how they are grouped.
pub(super) struct Asked {
    pub(super) first: i64,
    /// Not included.
    pub(super) end: i64,
    pub(super) groups: Vec<String>,
    /// Days on a page.
    limit: usize,
}

const DAYS_DEFAULT: usize = 7;
const DAYS_MAX: usize = 31;

impl Asked {
    pub(super) fn read(query: &str, known_groups: &[&str], today: i64) -> Result<Asked, ApiError> {
        let pairs = pairs(query);
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if value("bucket_width").is_some_and(|width| width != "1d") {
            return Err(ApiError::invalid("bucket_width: this simulator knows only 1d"));
        }
        let start = value("starting_at").ok_or_else(|| ApiError::invalid("starting_at: Field required"))?;
        let first = match value("page") {
            None => day("starting_at", start)?,
            Some(page) => {
                let place = page.strip_prefix("page_").and_then(|day| day.parse().ok());
                place.ok_or_else(|| ApiError::invalid("page: no such page"))?
            }
        };
        let end = value("ending_at").map_or(Ok(today + 1), |text| end_day("ending_at", text))?;
        let groups: Vec<String> =
            pairs.iter().filter(|(key, _)| key == "group_by[]").map(|(_, value)| value.clone()).collect();
        if let Some(unknown) = groups.iter().find(|group| !known_groups.contains(&group.as_str())) {
            return Err(ApiError::invalid(format!("group_by: {unknown} is not one of {}", known_groups.join(", "))));
        }
        let limit = value("limit").map_or(Ok(DAYS_DEFAULT), |limit| paging::limit(Some(limit)))?;
        if limit > DAYS_MAX {
            return Err(ApiError::invalid(format!("limit: Input should be less than or equal to {DAYS_MAX}")));
        }
        Ok(Asked { first, end, groups, limit })
    }

    pub(super) fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|named| named == group)
    }

    /// The days of this page, and where the next begins.
    pub(super) fn page(&self) -> (std::ops::Range<i64>, Option<String>) {
        let end = self.first.saturating_add(i64::try_from(self.limit).unwrap_or(i64::MAX)).min(self.end);
        (self.first..end, (end < self.end).then(|| format!("page_{end}")))
    }
}

/// With `%XX` undone.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn moment(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    let midnight = format!("{text}T00:00:00Z");
    let parsed = Timestamp::parse(text).or_else(|| Timestamp::parse(&midnight));
    parsed.ok_or_else(|| ApiError::invalid(format!("{name}: Input should be a valid datetime")))
}

/// A moment is snapped to the start of its day.
pub(super) fn day(name: &str, text: &str) -> Result<i64, ApiError> {
    moment(name, text).map(|at| at.as_millis().div_euclid(DAY_MS))
}

fn end_day(name: &str, text: &str) -> Result<i64, ApiError> {
    moment(name, text).map(|at| at.as_millis().saturating_add(DAY_MS - 1).div_euclid(DAY_MS))
}

/// `2026-11-24`
pub(super) fn date(day: i64) -> String {
    Calendar::UTC.day(Timestamp::from_millis(day.saturating_mul(DAY_MS))).to_string()
}
