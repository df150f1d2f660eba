//! Two times: instants pace, timestamps go into the ledger. And the calendar of a zone.

use std::fmt;
use std::time::Duration;

pub use chrono::Weekday;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeZone, Timelike, Utc};
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

    /// The clock's start where `wait` is longer than it has run.
    pub fn before(self, wait: Duration) -> Instant {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
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

    pub fn before(self, wait: Duration) -> Timestamp {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(millis))
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
        let utc = self.utc();
        let Ok(year @ 0..=9_999) = u32::try_from(utc.year()) else {
            return write!(f, "{}", utc.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
        };
        // An export writes millions of them.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[..4], year);
        put(&mut text[5..7], utc.month());
        put(&mut text[8..10], utc.day());
        put(&mut text[11..13], utc.hour());
        put(&mut text[14..16], utc.minute());
        put(&mut text[17..19], utc.second());
        put(&mut text[20..23], utc.timestamp_subsec_millis());
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Fills the place with a number's last digits.
fn put(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// One reading of both clocks. Taken once per event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub instant: Instant,
    pub timestamp: Timestamp,
}

impl Now {
    /// When the wall clock will probably show `at`; `instant` where it already does.
    pub fn instant_of(self, at: Timestamp) -> Instant {
        self.instant.after(at.since(self.timestamp))
    }
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

    pub const fn zone(self) -> Tz {
        self.zone
    }

    pub fn zone_name(self) -> &'static str {
        self.zone.name()
    }

    pub fn day(self, at: Timestamp) -> NaiveDate {
        at.utc().with_timezone(&self.zone).date_naive()
    }

    /// Days since 1970-01-01 of the zone's day: what sums by day are kept under.
    pub fn day_number(self, at: Timestamp) -> i64 {
        self.day(at).to_epoch_days().into()
    }

    /// The day of a number, as `2026-11-26`; the first of all days where there is no such day.
    pub fn day_of_number(number: i64) -> NaiveDate {
        i32::try_from(number).ok().and_then(NaiveDate::from_epoch_days).unwrap_or(NaiveDate::MIN)
    }

    /// As a person in the zone says it: `Mon 2026-11-30 00:00 Europe/Berlin`.
    pub fn words(self, at: Timestamp) -> String {
        format!("{} {}", at.utc().with_timezone(&self.zone).format("%a %Y-%m-%d %H:%M"), self.zone_name())
    }

    /// `Thursday 14:00`, and the date where the weekday would be mistaken for a nearer one.
    pub fn moment_words(self, now: Timestamp, at: Timestamp) -> String {
        let format = if self.is_within_a_week(now, at) { "%A %H:%M" } else { "%A %-d %b %H:%M" };
        at.utc().with_timezone(&self.zone).format(format).to_string()
    }

    /// `Thu afternoon`, and the date where the weekday would be mistaken for a nearer one.
    pub fn part_words(self, now: Timestamp, at: Timestamp) -> String {
        let local = at.utc().with_timezone(&self.zone);
        let format = if self.is_within_a_week(now, at) { "%a" } else { "%a %-d %b" };
        let part = match local.hour() {
            0..6 => "night",
            6..12 => "morning",
            12..18 => "afternoon",
            _ => "evening",
        };
        format!("{} {part}", local.format(format))
    }

    fn is_within_a_week(self, now: Timestamp, at: Timestamp) -> bool {
        (self.day(at) - self.day(now)).num_days() < 7
    }

    /// Hours since 1970 UTC of the hour that holds `at` (an hour is the same in every whole-hour zone).
    pub fn hour(at: Timestamp) -> i64 {
        at.0.div_euclid(3_600_000)
    }

    /// The first moment of a day. Where midnight is skipped, the first that exists; where it comes twice, the earlier.
    pub fn start_of(self, day: NaiveDate) -> Timestamp {
        self.moment(day, NaiveTime::MIN)
    }

    /// A time of a day. Where the zone skips it, the first moment after; where it comes twice, the earlier.
    fn moment(self, day: NaiveDate, time: NaiveTime) -> Timestamp {
        let wanted = day.and_time(time);
        // A zone that changes sides of the date line skips a whole day.
        let found = (0..=96).find_map(|quarters| {
            let local = wanted.checked_add_signed(chrono::Duration::minutes(15 * quarters))?;
            self.zone.from_local_datetime(&local).earliest()
        });
        Timestamp(found.map_or(0, |moment| moment.timestamp_millis()))
    }

    /// The same time of the day, so many days, weeks or months before; of a shorter month the last day.
    pub fn turns_before(self, at: Timestamp, period: crate::config::Period, turns: u32) -> Timestamp {
        let local = at.utc().with_timezone(&self.zone).naive_local();
        let day = match period {
            crate::config::Period::Day => later(local.date(), -i64::from(turns)),
            crate::config::Period::Week => later(local.date(), -7 * i64::from(turns)),
            crate::config::Period::Month => local.date().checked_sub_months(Months::new(turns)).unwrap_or(local.date()),
        };
        self.moment(day, local.time())
    }

    /// When its days, weeks or months begin.
    pub const fn cycle(self, period: crate::config::Period) -> Cycle {
        let every = match period {
            crate::config::Period::Day => Every::Day,
            crate::config::Period::Week => Every::Week(Weekday::Mon),
            crate::config::Period::Month => Every::Month(1),
        };
        Cycle::new(every, 0, self.zone)
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

    pub fn end_of_week(self, at: Timestamp) -> Timestamp {
        let day = self.day(self.start_of_week(at));
        self.start_of(day.checked_add_days(Days::new(7)).unwrap_or(day))
    }

    pub fn end_of_month(self, at: Timestamp) -> Timestamp {
        let first = self.day(at).with_day(1).unwrap_or_default();
        self.start_of(first.checked_add_months(Months::new(1)).unwrap_or(first))
    }
}

/// When something starts anew: at a time of every day, of one day of the week, or of the month.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cycle {
    pub every: Every,
    /// Minutes after midnight, below 1,440.
    pub minute: u16,
    pub zone: Tz,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Every {
    Day,
    Week(Weekday),
    /// Of a day from 1 to 31; the last day of a shorter month.
    Month(u8),
}

impl Cycle {
    pub const fn new(every: Every, minute: u16, zone: Tz) -> Cycle {
        Cycle { every, minute, zone }
    }

    /// The latest start that is not after `at`.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let day = Calendar::in_zone(self.zone).day(at);
        let candidates = [self.start_of_turn(day, 0), self.start_of_turn(day, -1), self.start_of_turn(day, -2)];
        candidates.into_iter().find(|start| *start <= at).unwrap_or(at)
    }

    /// The first start after `at`.
    pub fn end(self, at: Timestamp) -> Timestamp {
        let day = Calendar::in_zone(self.zone).day(at);
        let candidates = (-1..=2).map(|turn| self.start_of_turn(day, turn));
        candidates.into_iter().find(|start| *start > at).unwrap_or_else(|| at.after(Duration::from_secs(86_400)))
    }

    /// The start that belongs to the day, week or month of `day`, and `turns` later.
    fn start_of_turn(self, day: NaiveDate, turns: i64) -> Timestamp {
        let first = match self.every {
            Every::Day => later(day, turns),
            Every::Week(weekday) => {
                let ahead = i64::from(weekday.num_days_from_monday()) - i64::from(day.weekday().num_days_from_monday());
                later(day, ahead + 7 * turns)
            }
            Every::Month(number) => in_month(day, turns, number),
        };
        let time = NaiveTime::from_num_seconds_from_midnight_opt(u32::from(self.minute) * 60, 0).unwrap_or_default();
        Calendar::in_zone(self.zone).moment(first, time)
    }
}

fn later(day: NaiveDate, days: i64) -> NaiveDate {
    day.checked_add_signed(chrono::Duration::days(days)).unwrap_or(day)
}

fn in_month(day: NaiveDate, months: i64, number: u8) -> NaiveDate {
    let first = day.with_day(1).unwrap_or(day);
    let ahead = Months::new(u32::try_from(months.unsigned_abs()).unwrap_or(0));
    let month = if months < 0 { first.checked_sub_months(ahead) } else { first.checked_add_months(ahead) };
    let month = month.unwrap_or(first);
    (1..=number.into()).rev().find_map(|number| month.with_day(number)).unwrap_or(month)
}

/// The hours of the week in which people work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusinessHours {
    /// From Monday.
    pub days: [bool; 7],
    /// Minutes after midnight; `from` is before `to`, which is at most 1,440.
    pub from: u16,
    pub to: u16,
    pub zone: Tz,
}

impl BusinessHours {
    pub fn are_open(&self, at: Timestamp) -> bool {
        let local = at.utc().with_timezone(&self.zone);
        let minute = local.time().signed_duration_since(NaiveTime::MIN).num_minutes();
        self.days[local.weekday().num_days_from_monday() as usize]
            && (i64::from(self.from)..i64::from(self.to)).contains(&minute)
    }

    /// The first opening after `at`; `None` where no day is a business day.
    pub fn next_opening(&self, at: Timestamp) -> Option<Timestamp> {
        const WEEK: [Weekday; 7] =
            [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
        let of = |day: Weekday| Cycle::new(Every::Week(day), self.from, self.zone).end(at);
        WEEK.into_iter().zip(self.days).filter(|(_, works)| *works).map(|(day, _)| of(day)).min()
    }
}

/// The time of day, or night, in which nobody wants to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuietHours {
    /// Minutes after midnight, below 1,440. They go over midnight where `to` is before `from`.
    pub from: u16,
    pub to: u16,
    pub zone: Tz,
}

impl QuietHours {
    /// By what a clock on the wall of the zone shows, whether or not its hours were changed that night.
    pub fn hold(&self, at: Timestamp) -> bool {
        let local = at.utc().with_timezone(&self.zone);
        let minute = local.hour() * 60 + local.minute();
        let (from, to) = (u32::from(self.from), u32::from(self.to));
        if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn a_day_that_a_zone_skips_is_empty_and_the_one_before_it_ends() {
        let apia = Calendar::in_zone(Tz::Pacific__Apia);
        let day = |day| NaiveDate::from_ymd_opt(2011, 12, day).expect("a day");
        assert_eq!(apia.start_of(day(30)), apia.start_of(day(31)));
        let before = apia.start_of(day(29));
        assert!(apia.end_of_day(before) > before, "{}", apia.end_of_day(before));
    }

    #[test]
    fn a_timestamp_reads_back_what_it_prints() {
        let moment = at("2026-11-24T23:40:08.120+01:00");
        assert_eq!(moment.to_string(), "2026-11-24T22:40:08.120Z");
        assert_eq!(at(&moment.to_string()), moment);
    }

    #[test]
    fn a_moment_is_told_in_the_zones_own_time() {
        let berlin = Calendar::in_zone(Tz::Europe__Berlin);
        assert_eq!(berlin.words(at("2026-11-29T23:00:59Z")), "Mon 2026-11-30 00:00 Europe/Berlin");
        assert_eq!(Calendar::UTC.words(at("2026-11-30T00:00:00Z")), "Mon 2026-11-30 00:00 UTC");
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

    #[test]
    fn a_cycle_starts_anew_at_its_time_in_its_zone_on_both_sides_of_a_change_of_clocks() {
        let week = Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC);
        assert_eq!(week.start(at("2026-11-26T09:00:00Z")).to_string(), "2026-11-23T00:00:00.000Z");
        assert_eq!(week.end(at("2026-11-26T09:00:00Z")).to_string(), "2026-11-30T00:00:00.000Z");
        assert_eq!(week.start(at("2026-11-23T00:00:00Z")).to_string(), "2026-11-23T00:00:00.000Z");
        assert_eq!(week.end(at("2026-11-23T00:00:00Z")).to_string(), "2026-11-30T00:00:00.000Z");
        let berlin = Cycle::new(Every::Day, 9 * 60, Tz::Europe__Berlin);
        let spring = at("2026-03-28T12:00:00Z");
        assert_eq!(berlin.start(spring).to_string(), "2026-03-28T08:00:00.000Z");
        assert_eq!(berlin.end(spring).to_string(), "2026-03-29T07:00:00.000Z");
        let month = Cycle::new(Every::Month(31), 0, Tz::UTC);
        assert_eq!(month.end(at("2026-02-10T00:00:00Z")).to_string(), "2026-02-28T00:00:00.000Z");
        assert_eq!(month.start(at("2026-02-10T00:00:00Z")).to_string(), "2026-01-31T00:00:00.000Z");
        let late = Cycle::new(Every::Week(Weekday::Fri), 23 * 60, Tz::America__Los_Angeles);
        let friday_noon = at("2026-11-27T20:00:00Z");
        assert_eq!(late.start(friday_noon).to_string(), "2026-11-21T07:00:00.000Z");
        assert_eq!(late.end(friday_noon).to_string(), "2026-11-28T07:00:00.000Z");
    }

    #[test]
    fn the_same_time_of_earlier_weeks_and_months_is_that_of_the_clock_on_the_wall() {
        use crate::config::Period::{Day, Month, Week};
        let berlin = Calendar::in_zone(Tz::Europe__Berlin);
        let monday_noon = at("2026-03-30T10:00:00Z");
        for (period, turns, expected) in [
            (Day, 1, "2026-03-29T10:00:00.000Z"),
            // Summer time began in between.
            (Week, 1, "2026-03-23T11:00:00.000Z"),
            (Week, 0, "2026-03-30T10:00:00.000Z"),
            (Month, 1, "2026-02-28T11:00:00.000Z"),
            (Month, 13, "2025-02-28T11:00:00.000Z"),
        ] {
            assert_eq!(berlin.turns_before(monday_noon, period, turns).to_string(), expected, "{period:?} {turns}");
        }
        let week = berlin.start_of_week(at("2026-03-29T10:00:00Z"));
        assert_eq!(berlin.end_of_week(week).since(week).as_secs() / 3_600, 167);
    }

    #[test]
    fn business_hours_are_those_of_the_zone() {
        let hours = BusinessHours {
            days: [true, true, true, true, true, false, false],
            from: 8 * 60,
            to: 18 * 60,
            zone: Tz::Europe__Berlin,
        };
        for (moment, open) in [
            ("2026-11-26T06:59:59Z", false),
            ("2026-11-26T07:00:00Z", true),
            ("2026-11-26T16:59:59Z", true),
            ("2026-11-26T17:00:00Z", false),
            ("2026-11-28T10:00:00Z", false),
        ] {
            assert_eq!(hours.are_open(at(moment)), open, "{moment}");
        }
        let opening = hours.next_opening(at("2026-03-27T20:00:00Z")).expect("a business day");
        assert_eq!(opening.to_string(), "2026-03-30T06:00:00.000Z", "summer time began in between");
    }

    #[test]
    fn quiet_hours_go_over_midnight_and_follow_the_clock_on_the_wall() {
        let quiet = QuietHours { from: 22 * 60, to: 7 * 60, zone: Tz::Europe__Berlin };
        for (moment, is_quiet) in [
            ("2026-11-26T20:59:59Z", false),
            ("2026-11-26T21:00:00Z", true),
            ("2026-11-27T05:59:59Z", true),
            ("2026-11-27T06:00:00Z", false),
            // Summer time has begun an hour before.
            ("2026-03-29T04:59:59Z", true),
            ("2026-03-29T05:00:00Z", false),
        ] {
            assert_eq!(quiet.hold(at(moment)), is_quiet, "{moment}");
        }
        let noon = QuietHours { from: 12 * 60, to: 13 * 60, zone: Tz::UTC };
        assert!(noon.hold(at("2026-11-26T12:30:00Z")) && !noon.hold(at("2026-11-26T13:00:00Z")));
    }
}
