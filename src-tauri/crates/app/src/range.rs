//! The days that `--from` and `--to` mean.

use chrono::NaiveDate;
use domain::time::{Calendar, Timestamp};
use thiserror::Error;

/// From a moment on, up to and without another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum NotARange {
    #[error("\"{text}\" is neither a day (2026-11-24) nor a month (2026-11) nor a moment (2026-11-24T18:00:00Z)")]
    NoTime { text: String },
    #[error("--from is not before the end of --to: {from} to {to}")]
    Backwards { from: Timestamp, to: Timestamp },
}

/// A day or month is whole and included, a moment in `to` is not; what is absent is today.
pub(crate) fn range(
    from: Option<&str>,
    to: Option<&str>,
    calendar: Calendar,
    now: Timestamp,
) -> Result<Range, NotARange> {
    let today = calendar.day(now);
    let from = from.map_or_else(|| Ok(calendar.start_of(today)), |from| start(from, calendar))?;
    let to = to.map_or_else(|| Ok(end_of(Point::Day(today), calendar)), |to| end(to, calendar))?;
    if from >= to { Err(NotARange::Backwards { from, to }) } else { Ok(Range { from, to }) }
}

/// The moment, or the first one of a day or month.
pub(crate) fn start(text: &str, calendar: Calendar) -> Result<Timestamp, NotARange> {
    Ok(match point(text)? {
        Point::Day(day) | Point::Month(day) => calendar.start_of(day),
        Point::Moment(moment) => moment,
    })
}

/// The moment, or the end of a day or month.
pub(crate) fn end(text: &str, calendar: Calendar) -> Result<Timestamp, NotARange> {
    point(text).map(|point| end_of(point, calendar))
}

fn end_of(point: Point, calendar: Calendar) -> Timestamp {
    match point {
        Point::Day(day) => calendar.start_of(day.succ_opt().unwrap_or(day)),
        Point::Month(first) => calendar.end_of_month(calendar.start_of(first)),
        Point::Moment(moment) => moment,
    }
}

enum Point {
    Day(NaiveDate),
    /// By its first day.
    Month(NaiveDate),
    Moment(Timestamp),
}

fn point(text: &str) -> Result<Point, NotARange> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(Point::Day(day));
    }
    if let Ok(first) = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d") {
        return Ok(Point::Month(first));
    }
    let no_time = || NotARange::NoTime { text: text.escape_default().to_string() };
    Timestamp::parse(text).map(Point::Moment).ok_or_else(no_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Tz;

    fn said(from: Option<&str>, to: Option<&str>) -> String {
        let now = Timestamp::parse("2026-11-24T22:00:00Z").expect("a time");
        match range(from, to, Calendar::in_zone(Tz::Europe__Berlin), now) {
            Ok(range) => format!("{} {}", range.from, range.to),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_day_is_whole_in_its_zone_and_a_moment_ends_before_itself() {
        for (from, to, expected) in [
            (None, None, "2026-11-23T23:00:00.000Z 2026-11-24T23:00:00.000Z"),
            (Some("2026-11-01"), None, "2026-10-31T23:00:00.000Z 2026-11-24T23:00:00.000Z"),
            (Some("2026-11-01"), Some("2026-11-01"), "2026-10-31T23:00:00.000Z 2026-11-01T23:00:00.000Z"),
            (Some("2026-10"), Some("2026-10"), "2026-09-30T22:00:00.000Z 2026-10-31T23:00:00.000Z"),
            (
                Some("2026-11-01T12:00:00Z"),
                Some("2026-11-01T13:00:00+00:00"),
                "2026-11-01T12:00:00.000Z 2026-11-01T13:00:00.000Z",
            ),
        ] {
            assert_eq!(said(from, to), expected);
        }
    }

    #[test]
    fn what_is_no_range_is_said() {
        assert!(said(Some("yesterday"), None).starts_with("\"yesterday\" is neither a day"));
        assert!(said(None, Some("2026-11-01")).starts_with("--from is not before the end of --to"));
    }
}
