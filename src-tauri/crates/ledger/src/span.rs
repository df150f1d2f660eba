//! A span of time, cut into the whole days and quarters of which there are sums, and what is left at its edges.

use std::ops::Range;

use domain::time::Calendar;

use crate::rollup::{QUARTER_MS, day_of, end_of_day, start_of_day};

/// Nothing happened before 1970, and calendars end.
const MOMENTS: Range<i64> = 0..8_000_000_000_000_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// Milliseconds before and after the quarters.
    pub(crate) edges: [Range<i64>; 2],
    /// Before and after the days.
    pub(crate) quarters: [Range<i64>; 2],
    pub(crate) days: Range<i64>,
}

impl Span {
    /// Without days where there is no calendar. Edges before `kept_from` become whole quarters: their entries may be gone.
    pub(crate) fn cut(moments: Range<i64>, calendar: Option<Calendar>, kept_from: i64) -> Span {
        let from = moments.start.clamp(MOMENTS.start, MOMENTS.end);
        let to = moments.end.clamp(from, MOMENTS.end);
        let floor = |moment: i64| moment.div_euclid(QUARTER_MS);
        let ceiling = |moment: i64| floor(moment + QUARTER_MS - 1);
        let first = if from < kept_from { floor(from) } else { ceiling(from) };
        let last = if to < kept_from { ceiling(to) } else { floor(to) };
        if first >= last {
            return Span { edges: [from..to, to..to], quarters: [0..0, 0..0], days: 0..0 };
        }
        let edges = [from..first * QUARTER_MS, last * QUARTER_MS..to];
        let Some(calendar) = calendar else { return Span { edges, quarters: [first..last, 0..0], days: 0..0 } };
        let starts_day = start_of_day(first, calendar) == first;
        let (first_day, last_day) =
            (if starts_day { first } else { end_of_day(first, calendar) }, start_of_day(last, calendar));
        if first_day >= last_day {
            return Span { edges, quarters: [first..last, 0..0], days: 0..0 };
        }
        let days = day_of(first_day, calendar)..day_of(last_day, calendar);
        Span { edges, quarters: [first..first_day, last_day..last], days }
    }
}

#[cfg(test)]
mod tests {
    use domain::time::{Timestamp, Tz};

    use super::*;

    fn at(text: &str) -> i64 {
        Timestamp::parse(text).expect("a time").as_millis()
    }

    fn quarter(text: &str) -> i64 {
        at(text) / QUARTER_MS
    }

    #[test]
    fn a_span_is_whole_days_then_whole_quarters_then_what_is_left() {
        let berlin = Some(Calendar::in_zone(Tz::Europe__Berlin));
        // Berlin's days begin at 23:00 UTC in winter and at 22:00 in summer; the 29th of March has 23 hours.
        let span = Span::cut(at("2026-03-27T22:50:00Z")..at("2026-03-30T10:17:00Z"), berlin, 0);
        assert_eq!(span.edges[0], at("2026-03-27T22:50:00Z")..at("2026-03-27T23:00:00Z"));
        assert_eq!(span.quarters[0], quarter("2026-03-27T23:00:00Z")..quarter("2026-03-27T23:00:00Z"));
        let day = |text: &str| day_of(quarter(text), Calendar::UTC);
        assert_eq!(span.days, day("2026-03-28T00:00:00Z")..day("2026-03-30T00:00:00Z"));
        assert_eq!(span.quarters[1], quarter("2026-03-29T22:00:00Z")..quarter("2026-03-30T10:15:00Z"));
        assert_eq!(span.edges[1], at("2026-03-30T10:15:00Z")..at("2026-03-30T10:17:00Z"));
    }

    #[test]
    fn what_is_within_a_day_or_a_quarter_is_no_more_than_that() {
        let span = Span::cut(at("2026-03-27T10:00:00Z")..at("2026-03-27T12:00:00Z"), Some(Calendar::UTC), 0);
        assert_eq!(span.quarters[0], quarter("2026-03-27T10:00:00Z")..quarter("2026-03-27T12:00:00Z"));
        assert!(span.days.is_empty() && span.edges.iter().all(Range::is_empty));
        let span = Span::cut(at("2026-03-27T10:01:00Z")..at("2026-03-27T10:02:00Z"), Some(Calendar::UTC), 0);
        assert_eq!(span.edges[0], at("2026-03-27T10:01:00Z")..at("2026-03-27T10:02:00Z"));
        assert!(span.days.is_empty() && span.quarters.iter().all(Range::is_empty));
        let backwards = Range { start: 9, end: 3 };
        assert!(Span::cut(backwards, None, 0).edges.iter().all(Range::is_empty));
    }

    #[test]
    fn edges_whose_entries_may_be_gone_are_whole_quarters() {
        let kept_from = at("2026-03-27T10:20:00Z");
        let span = Span::cut(at("2026-03-27T10:07:00Z")..at("2026-03-27T10:50:00Z"), None, kept_from);
        assert_eq!(span.quarters[0], quarter("2026-03-27T10:00:00Z")..quarter("2026-03-27T10:45:00Z"));
        assert!(span.edges[0].is_empty());
        assert_eq!(span.edges[1], at("2026-03-27T10:45:00Z")..at("2026-03-27T10:50:00Z"));
    }

    #[test]
    fn the_ends_of_time_are_a_span_too() {
        let span = Span::cut(i64::MIN..i64::MAX, Some(Calendar::UTC), 0);
        let now = day_of(quarter("2026-03-27T10:00:00Z"), Calendar::UTC);
        assert!(span.days.contains(&now) && span.days.contains(&0));
    }
}
