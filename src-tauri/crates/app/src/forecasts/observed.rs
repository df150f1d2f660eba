//! Windows of which somebody else says how full they are, in percent: a subscription's, and those of upstreams whose
//! headers tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::admission::{QuotaKey, QuotaLevel, Unit};
use domain::forecast::{Exchange, Reading, Window};
use domain::time::Timestamp;
use ledger::Observation;

use super::hour_of;

/// As Claude Code names them, and how long they last.
pub(crate) const SUBSCRIPTION: [(&str, Duration); 2] =
    [("five_hour", Duration::from_secs(5 * 3_600)), ("seven_day", Duration::from_secs(7 * 86_400))];

/// By how much a reset may be told later than it is.
const ROUNDED: Duration = Duration::from_secs(3_600);
/// Over more than so many hours without an observation nobody knows when it was used.
const GAP_HOURS_MAX: i64 = 2;

/// Percent by hour, and which hours' are known.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Percent {
    pub(super) begin: i64,
    pub(super) used: Vec<f64>,
    pub(super) known: Vec<bool>,
}

/// What an upstream's window is called among observations; a subscription's has no stroke.
pub(super) fn name(upstream: &str, window: &str) -> String {
    format!("{upstream}/{window}")
}

/// As the upstream's headers have it now.
pub(super) fn seen(quotas: &[QuotaLevel], upstreams: &[String], now: Timestamp) -> Vec<Observation> {
    let told = quotas.iter().filter(|quota| quota.unit == Unit::Percent && quota.resets_at > now);
    let seen = told.filter_map(|quota| {
        let QuotaKey::Window { account, name: window } = &quota.key else { return None };
        Some(Observation {
            at: now,
            window: name(upstreams.get(account.index())?, window),
            used: u32::try_from(quota.used).unwrap_or(0),
            resets_at: Some(quota.resets_at),
            session: String::new(),
        })
    });
    seen.collect()
}

/// One whose end has not come, and is no further away than it lasts: any other says nothing of when it began.
pub(super) fn window(latest: &Observation, length: Duration, now: Timestamp) -> Option<Window> {
    let may_be = |resets_at: &Timestamp| *resets_at > now && resets_at.since(latest.at) <= length + ROUNDED;
    let resets_at = latest.resets_at.filter(may_be)?;
    Some(Window { since: resets_at.before(length), resets_at, used: percent(latest), limit: Some(100.0) })
}

pub(super) fn percent(seen: &Observation) -> f64 {
    f64::from(seen.used) / 100.0
}

impl Percent {
    /// From observations of one window in their order, up to the hour that runs now.
    pub(super) fn of(seen: &[Observation], now: Timestamp) -> Percent {
        let Some(first) = seen.first() else { return Percent::default() };
        let (begin, end) = (hour_of(first.at), hour_of(now));
        let length = usize::try_from(end - begin).unwrap_or(0);
        let mut all = Percent { begin, used: vec![0.0; length], known: vec![true; length] };
        // Nobody knows since when that was used.
        all.forget(begin, begin + 1);
        for pair in seen.windows(2) {
            all.add(&pair[0], &pair[1]);
        }
        all
    }

    fn add(&mut self, before: &Observation, after: &Observation) {
        let is_same = before.resets_at == after.resets_at && after.used >= before.used;
        let used = if is_same { percent(after) - percent(before) } else { percent(after) };
        let (from, to) = (hour_of(before.at), hour_of(after.at));
        if used > 0.0 && to - from > GAP_HOURS_MAX {
            self.forget(from, to + 1);
        } else if let Some(sum) = usize::try_from(to - self.begin).ok().and_then(|at| self.used.get_mut(at)) {
            *sum += used;
        }
    }

    fn forget(&mut self, from: i64, to: i64) {
        let hours = (from..to).filter_map(|hour| usize::try_from(hour - self.begin).ok());
        for hour in hours {
            if let Some(known) = self.known.get_mut(hour) {
                *known = false;
            }
        }
    }
}

/// What one percent comes to, where enough of both was seen: from what had been spent, in dollars, by the end of each hour.
pub(super) fn exchange(seen: &[Observation], begin: i64, spent: &[f64]) -> Option<Exchange> {
    let mut last: BTreeMap<i64, &Observation> = BTreeMap::new();
    for seen in seen {
        last.insert(hour_of(seen.at), seen);
    }
    let mut sums = vec![];
    let mut sum = 0.0;
    for used in spent {
        sum += used;
        sums.push(sum);
    }
    let at = |hour: i64| usize::try_from(hour - begin).ok().and_then(|at| sums.get(at)).copied();
    let readings: Vec<Reading> = last
        .into_iter()
        .filter_map(|(hour, seen)| Some(Reading { percent: percent(seen), spent: at(hour)? }))
        .collect();
    Exchange::learn(&readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: i64 = 497_000;

    /// `"0:10 10, 3:00 12"`: percent by hours and minutes after the first hour; `|` begins the window anew.
    fn seen(text: &str) -> Vec<Observation> {
        let mut resets = 1;
        let mut all = vec![];
        for part in text.split(", ") {
            let part = part.strip_prefix("| ").inspect(|_| resets += 1).unwrap_or(part);
            let (time, percent) = part.split_once(' ').expect("a time and a percentage");
            let (hours, minutes) = time.split_once(':').expect("hours and minutes");
            let [hours, minutes]: [i64; 2] = [hours, minutes].map(|text| text.parse().expect("a number"));
            let at = Timestamp::from_millis((FIRST + hours) * 3_600_000 + minutes * 60_000);
            let resets_at = Some(Timestamp::from_millis((FIRST + 1_000 * resets) * 3_600_000));
            let used = (percent.parse::<f64>().expect("a number") * 100.0) as u32;
            all.push(Observation { at, window: "seven_day".into(), used, resets_at, session: String::new() });
        }
        all
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis((FIRST + hours) * 3_600_000)
    }

    #[test]
    fn percent_count_in_the_hour_in_which_they_are_seen_and_over_long_gaps_in_none() {
        let all = Percent::of(&seen("0:10 10, 1:00 12, 1:50 13, 5:00 13, 6:00 14, 9:30 20, 10:00 21"), at(12));
        assert_eq!(all.begin, FIRST);
        assert_eq!(all.used, [0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let unknown: Vec<usize> = (0..12).filter(|hour| !all.known[*hour]).collect();
        assert_eq!(unknown, [0, 6, 7, 8, 9], "what was there before, and a gap in which it grew");
    }

    #[test]
    fn after_a_reset_early_or_not_what_is_used_counts_from_nothing() {
        let all = Percent::of(&seen("0:10 90, 1:10 95, | 2:10 1, 3:10 4, 4:10 2, 5:00 2"), at(6));
        assert_eq!(all.used, [0.0, 5.0, 1.0, 3.0, 2.0, 0.0], "at 4:10 it had fallen though the end is the same");
    }

    #[test]
    fn nothing_seen_and_a_future_that_was_seen_give_nothing() {
        assert_eq!(Percent::of(&[], at(5)), Percent::default());
        assert_eq!(Percent::of(&seen("7:00 10, 8:00 20"), at(5)).used, Vec::<f64>::new());
    }

    #[test]
    fn a_window_that_is_over_or_ends_later_than_it_lasts_is_none() {
        let told = |resets: i64| {
            let (window, session) = ("five_hour".into(), String::new());
            Observation { at: at(0), window, used: 500, resets_at: Some(at(resets)), session }
        };
        let found = |resets| window(&told(resets), Duration::from_secs(5 * 3_600), at(1)).is_some();
        assert_eq!([1, 2, 6, 7, 30_000].map(found), [false, true, true, false, false]);
    }

    #[test]
    fn one_percent_of_the_week_is_worth_what_was_spent_for_it() {
        let seen = seen("0:30 10, 2:30 12, 5:30 15, 6:30 15, 9:30 18");
        let spent = [1.0, 6.4, 6.4, 6.4, 6.4, 6.4, 6.4, 6.4, 6.4, 0.0];
        let learned = exchange(&seen, FIRST, &spent).expect("eight percent were seen");
        assert!((learned.per_percent - 6.4).abs() < 1e-9, "{learned:?}");
        assert_eq!(exchange(&seen[..2], FIRST, &spent), None);
    }
}
