//! Two times: instants pace, timestamps go into the ledger. And the calendar of a zone.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeZone, Utc};
pub use chrono_tz::Tz;

/// A point on a clock that only goes forward and goes on while the machine sleeps.
/// Nanoseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Zero where `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The far future where the sum is beyond the clock.
    pub fn after(self, wait: Duration) -> Instant {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

/// A moment of the wall clock, UTC. Milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub fn after(self, wait: Duration) -> Timestamp {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// Zero where `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From RFC 3339 with any offset; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let moment = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Timestamp(moment.timestamp_millis()))
    }

    fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T22:40:08.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.utc().format("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

/// One reading of both clocks. Taken once per event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    pub instant: Instant,
    pub timestamp: Timestamp,
}

/// Days, weeks and months as a person in a zone sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calendar {
    zone: Tz,
}

impl Calendar {
    pub const UTC: Calendar = Calendar { zone: Tz::UTC };

    pub const fn in_zone(zone: Tz) -> Calendar {
        Calendar { zone }
    }

    pub fn zone_name(self) -> &'static str {
        self.zone.name()
    }

    pub fn day(self, at: Timestamp) -> NaiveDate {
        at.utc().with_timezone(&self.zone).date_naive()
    }

    /// Hours since 1970 UTC of the hour that holds `at` (an hour is the same in every whole-hour zone).
    pub fn hour(at: Timestamp) -> i64 {
        at.0.div_euclid(3_600_000)
    }

    /// The first moment of a day. Where midnight is skipped, the first that exists; where it comes twice, the earlier.
    pub fn start_of(self, day: NaiveDate) -> Timestamp {
        let midnight = day.and_time(NaiveTime::MIN);
        let found = (0..=24).find_map(|quarters| {
            let local = midnight + chrono::Duration::minutes(15 * quarters);
            self.zone.from_local_datetime(&local).earliest()
        });
        Timestamp(found.map_or(0, |moment| moment.timestamp_millis()))
    }

    pub fn start_of_day(self, at: Timestamp) -> Timestamp {
        self.start_of(self.day(at))
    }

    /// Monday, 00:00.
    pub fn start_of_week(self, at: Timestamp) -> Timestamp {
        let day = self.day(at);
        let back = u64::from(day.weekday().num_days_from_monday());
        self.start_of(day.checked_sub_days(Days::new(back)).unwrap_or(day))
    }

    pub fn start_of_month(self, at: Timestamp) -> Timestamp {
        let day = self.day(at);
        self.start_of(day.with_day(1).unwrap_or(day))
    }

    pub fn end_of_day(self, at: Timestamp) -> Timestamp {
        let day = self.day(at);
        self.start_of(day.checked_add_days(Days::new(1)).unwrap_or(day))
    }

    pub fn end_of_month(self, at: Timestamp) -> Timestamp {
        let first = self.day(at).with_day(1).unwrap_or_default();
        self.start_of(first.checked_add_months(Months::new(1)).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn a_timestamp_reads_back_what_it_prints() {
        let moment = at("2026-11-24T23:40:08.120+01:00");
        assert_eq!(moment.to_string(), "2026-11-24T22:40:08.120Z");
        assert_eq!(at(&moment.to_string()), moment);
    }

    #[test]
    fn days_are_those_of_the_zone_and_may_have_23_hours() {
        let berlin = Calendar::in_zone(Tz::Europe__Berlin);
        let spring = at("2026-03-29T10:00:00Z");
        let hours = berlin.end_of_day(spring).since(berlin.start_of_day(spring)).as_secs() / 3600;
        assert_eq!(hours, 23);
        assert_eq!(berlin.start_of_week(spring).to_string(), "2026-03-22T23:00:00.000Z");
        assert_eq!(berlin.start_of_month(spring).to_string(), "2026-02-28T23:00:00.000Z");
        assert_eq!(berlin.end_of_month(spring).to_string(), "2026-03-31T22:00:00.000Z");
    }

    #[test]
    fn a_midnight_that_the_zone_skips_starts_at_the_first_moment_there_is() {
        let beirut = Calendar::in_zone(Tz::Asia__Beirut);
        let skipped = NaiveDate::from_ymd_opt(2026, 3, 29).expect("a day");
        assert_eq!(beirut.start_of(skipped).to_string(), "2026-03-28T22:00:00.000Z");
    }
}
