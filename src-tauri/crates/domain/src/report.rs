//! Reports of a week or a month: when each is due, and what was to be expected.

use crate::config::Period;
use crate::money::Usd;
use crate::time::{Calendar, Timestamp};

/// The starts of the day, week and month of which the last report was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub day: Timestamp,
    pub week: Timestamp,
    pub month: Timestamp,
}

/// What is to be told now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// How the week goes; since when nobody has told.
    pub day: Option<Timestamp>,
    /// The week before this one.
    pub week: bool,
    /// The month before this one.
    pub month: bool,
}

impl Due {
    pub fn is_nothing(self) -> bool {
        self == Due::default()
    }
}

impl Told {
    /// As if all that has begun were told.
    pub fn through(now: Timestamp, calendar: Calendar) -> Told {
        Told { day: calendar.start_of_day(now), week: calendar.start_of_week(now), month: calendar.start_of_month(now) }
    }

    /// However much was missed, the latest alone is due. What a clock has told that was far ahead is nothing to go by.
    pub fn due(self, now: Timestamp, calendar: Calendar) -> Due {
        let begun = Told::through(now, calendar);
        if self.day > calendar.end_of_day(now) {
            return Due::default();
        }
        Due {
            // On its first day nothing is to be said of a week.
            day: (begun.day > self.day && begun.day > begun.week).then_some(self.day),
            week: begun.week > self.week,
            month: begun.month > self.month,
        }
    }

    /// What was told when everything that was due has been.
    pub fn after(self, now: Timestamp, calendar: Calendar) -> Told {
        let begun = Told::through(now, calendar);
        if self.day > calendar.end_of_day(now) {
            return begun;
        }
        Told { day: begun.day.max(self.day), week: begun.week.max(self.week), month: begun.month.max(self.month) }
    }
}

/// So many earlier weeks or months say what this one may come to.
pub const fn earlier_turns(period: Period) -> u32 {
    match period {
        Period::Day => 14,
        Period::Week => 8,
        Period::Month => 6,
    }
}

/// What periods like this one came to: their median. `None` where there is none.
pub fn typical(earlier: &[Usd]) -> Option<Usd> {
    let mut sorted = earlier.to_vec();
    sorted.sort_unstable();
    let (below, above) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    let sum = i128::from(below.as_nanos()) + i128::from(above.as_nanos());
    i64::try_from(sum.div_euclid(2)).ok().map(Usd::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Tz;

    const BERLIN: Calendar = Calendar::in_zone(Tz::Europe__Berlin);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    /// Looks at each of the moments; says where something was due: `day`, `week`, `month`.
    fn told(from: &str, moments: &[&str]) -> Vec<String> {
        let mut told = Told::through(at(from), BERLIN);
        let mut said = vec![];
        for moment in moments {
            let due = told.due(at(moment), BERLIN);
            told = told.after(at(moment), BERLIN);
            assert!(told.due(at(moment), BERLIN).is_nothing(), "once");
            let words = [("day", due.day.is_some()), ("week", due.week), ("month", due.month)];
            let words: Vec<&str> = words.into_iter().filter(|(_, due)| *due).map(|(word, _)| word).collect();
            said.push(words.join(" "));
        }
        said
    }

    #[test]
    fn each_day_is_told_once_a_week_on_monday_and_a_month_on_the_first() {
        let moments = [
            "2026-11-27T12:00:00Z",
            "2026-11-27T22:59:59Z",
            "2026-11-27T23:00:00Z",
            "2026-11-28T12:00:00Z",
            "2026-11-28T23:00:00Z",
            // Monday
            "2026-11-29T23:00:00Z",
            // Tuesday the 1st
            "2026-11-30T23:00:00Z",
            "2026-11-30T23:01:00Z",
        ];
        assert_eq!(told(moments[0], &moments), ["", "", "day", "", "day", "week", "day month", ""]);
    }

    #[test]
    fn what_was_missed_is_told_once_and_late() {
        assert_eq!(told("2026-11-10T12:00:00Z", &["2026-12-03T08:00:00Z"]), ["day week month"]);
        let due = Told::through(at("2026-11-10T12:00:00Z"), BERLIN).due(at("2026-11-13T08:00:00Z"), BERLIN);
        assert_eq!(due, Due { day: Some(at("2026-11-09T23:00:00Z")), ..Due::default() });
    }

    #[test]
    fn a_week_with_a_change_of_clocks_has_seven_days() {
        // Each hour from half past midnight on Monday in Berlin, over a Sunday of 23 and one of 25 hours.
        for (first, hours) in [("2026-03-22T23:30:00Z", 167), ("2026-10-18T22:30:00Z", 169)] {
            let start = at(first);
            let mut told = Told::through(start, BERLIN);
            let (mut days, mut weeks) = (0, 0);
            for hour in 0..=hours {
                let now = start.after(std::time::Duration::from_secs(hour * 3_600));
                let due = told.due(now, BERLIN);
                told = told.after(now, BERLIN);
                days += usize::from(due.day.is_some());
                weeks += usize::from(due.week);
            }
            assert_eq!((days, weeks), (6, 1), "{first}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_tells_nothing_again_and_one_that_was_far_ahead_keeps_nothing_quiet() {
        let over_midnight = ["2026-11-26T23:00:00Z", "2026-11-26T22:30:00Z", "2026-11-26T23:00:00Z"];
        assert_eq!(told("2026-11-26T12:00:00Z", &over_midnight), ["day", "", ""]);
        let a_year_ahead =
            ["2027-11-26T12:00:00Z", "2026-11-26T12:01:00Z", "2026-11-26T23:00:00Z", "2026-11-29T23:00:00Z"];
        assert_eq!(told("2026-11-26T12:00:00Z", &a_year_ahead), ["day week month", "", "day", "week"]);
    }

    #[test]
    fn the_typical_one_is_the_median() {
        let usd = |all: &[i64]| typical(&all.iter().map(|nanos| Usd::from_nanos(*nanos)).collect::<Vec<_>>());
        let expected = |nanos| Some(Usd::from_nanos(nanos));
        assert_eq!((usd(&[]), usd(&[7]), usd(&[9, 1, 2])), (None, expected(7), expected(2)));
        assert_eq!((usd(&[9, 1, 2, 4]), usd(&[i64::MAX, i64::MAX])), (expected(3), expected(i64::MAX)));
    }
}
