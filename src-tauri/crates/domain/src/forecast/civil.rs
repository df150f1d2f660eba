//! Hours as clocks on the wall count them, so that nine o'clock stays nine o'clock when summer ends.

use chrono::{Offset, TimeZone};

use crate::time::{Timestamp, Tz};

pub(super) const HOUR_MS: i64 = 3_600_000;
/// Hours of a week, by the clock.
pub(super) const WEEK: i64 = 168;

/// Hours of a zone's own clock since its 1970-01-01 00:00. One that comes twice in autumn has one number, one that spring
/// skips is never seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    zone: Tz,
}

impl Clock {
    pub(super) const fn of(zone: Tz) -> Clock {
        Clock { zone }
    }

    /// Of hours since 1970 UTC, one after the other.
    pub(super) fn numbers(self, hours: std::ops::Range<i64>) -> Vec<i64> {
        let mut numbers = Vec::with_capacity(usize::try_from(hours.end.saturating_sub(hours.start)).unwrap_or(0));
        let mut from = hours.start;
        while from < hours.end {
            // A zone's offset is asked for once a day, and hour by hour only in a day in which it changes.
            let until = (from + 24).min(hours.end);
            let (first, last) = (self.offset_minutes(from), self.offset_minutes(until - 1));
            let number = |hour: i64| {
                let offset = if first == last { first } else { self.offset_minutes(hour) };
                (hour * 60 + offset).div_euclid(60)
            };
            numbers.extend((from..until).map(number));
            from = until;
        }
        numbers
    }

    fn offset_minutes(self, hour: i64) -> i64 {
        let at = chrono::DateTime::from_timestamp_millis(hour.saturating_mul(HOUR_MS)).unwrap_or_default();
        i64::from(self.zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) / 60
    }
}

/// From 0, Monday 00:00, to 167.
pub(super) fn hour_of_week(number: i64) -> usize {
    // 1970 began on a Thursday.
    usize::try_from((number + 72).rem_euclid(WEEK)).unwrap_or(0)
}

/// A stretch of the future within one hour.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Slot {
    /// Of the zone's clock.
    pub(super) number: i64,
    /// Its start, in hours from now.
    pub(super) starts: f64,
    /// In hours, at most 1.
    pub(super) length: f64,
}

/// From now to an end, hour by hour.
pub(super) fn slots(clock: Clock, now: Timestamp, end: Timestamp) -> Vec<Slot> {
    let (now, end) = (now.as_millis(), end.as_millis());
    if end <= now {
        return vec![];
    }
    let first = now.div_euclid(HOUR_MS);
    let hours = first..(end - 1).div_euclid(HOUR_MS) + 1;
    let slot = |(hour, number): (i64, i64)| {
        let (from, to) = ((hour * HOUR_MS).max(now), ((hour + 1) * HOUR_MS).min(end));
        let hours = |millis: i64| millis as f64 / HOUR_MS as f64;
        Slot { number, starts: hours(from - now), length: hours(to - from) }
    };
    hours.clone().zip(clock.numbers(hours)).map(slot).collect()
}
