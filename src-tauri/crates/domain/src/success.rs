//! The figures by which the field guide measures success, over the last 30 days; and answers that were cut off.
//!
//! They are kept up call by call: nobody sums a month to show them.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use crate::call::Outcome;
use crate::time::Timestamp;

/// How a call through the gateway went, as far as these figures go by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    /// What the client got.
    pub status: u16,
    pub error: Option<Arc<str>>,
    /// In their order.
    pub tries: Vec<Try>,
}

/// One time a call was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    /// One whose number is above 1 and that is the first had a place before it which was passed over.
    pub number: u32,
    pub upstream: Arc<str>,
    pub at: Timestamp,
    /// What the upstream answered; `None` where it never did.
    pub status: Option<u16>,
    /// It has an error beside the status.
    pub is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Success {
    /// From the first call on, at most 30.
    pub days: u64,
    /// 429 of an upstream that reached a client.
    pub rate_limit_errors_seen: u64,
    /// Calls that ended well at another upstream than their first, or with the static text.
    pub fallbacks_served: u64,
    /// From the first failed attempt of an outage, a 429 too, to the end of the next call that its upstream completed.
    pub longest_recovery: Duration,
}

/// Answers of the last 24 hours that a client did not get whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CutOffs {
    /// They came to the client's own `max_tokens`.
    pub max_tokens: u64,
    /// They ended before they were whole, at a hard budget too.
    pub cut: u64,
    /// Nothing more came of them.
    pub silent: u64,
    /// They had begun well, and an error came in their midst.
    pub error_after_start: u64,
}

/// Feed it every call that has ended, in the order in which the ledger has them.
#[derive(Clone, Debug, Default)]
pub struct Successes {
    by_hour: BTreeMap<i64, Hour>,
    /// Upstreams that fail, since when.
    outages: BTreeMap<Arc<str>, Timestamp>,
    /// By upstream: when its limits were seen to be others, the latest last.
    changes: BTreeMap<Arc<str>, Vec<Timestamp>>,
}

/// The calls that began in one hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hour {
    pub rate_limit_errors: u64,
    pub fallbacks: u64,
    pub longest_recovery: Duration,
    pub cut_offs: CutOffs,
}

/// What is counted, for the next start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SuccessMemory {
    /// By the number of the hour since 1970.
    pub hours: Vec<(i64, Hour)>,
    /// Upstreams that fail, since when.
    pub outages: Vec<(Arc<str>, Timestamp)>,
    /// Upstreams whose limits were seen to be others, and when.
    pub changes: Vec<(Arc<str>, Timestamp)>,
}

const HOUR_MS: i64 = 3_600_000;
const DAYS: i64 = 30;
/// Upstreams that are forgotten soonest where there are more: names in a ledger are not under our control.
const OUTAGES_MAX: usize = 64;
/// One change is seen at one limit after another.
const ONE_CHANGE: Duration = Duration::from_secs(3_600);
/// A warning says nothing of what comes so much later.
const WARNS_OF: Duration = Duration::from_secs(30 * 86_400);
const CHANGES_MAX: usize = 32;

impl Successes {
    pub fn recall(memory: SuccessMemory) -> Successes {
        let outages = memory.outages.into_iter().take(OUTAGES_MAX).collect();
        let (by_hour, changes) = (memory.hours.into_iter().collect(), BTreeMap::new());
        let mut known = Successes { by_hour, outages, changes };
        memory.changes.iter().for_each(|(upstream, at)| known.count_change(upstream, *at));
        known
    }

    pub fn remember(&self) -> SuccessMemory {
        let hours = self.by_hour.iter().map(|(hour, counted)| (*hour, *counted)).collect();
        let outages = self.outages.iter().map(|(upstream, since)| (upstream.clone(), *since)).collect();
        let of = |(upstream, all): (&Arc<str>, &Vec<Timestamp>)| {
            all.iter().map(|at| (upstream.clone(), *at)).collect::<Vec<_>>()
        };
        SuccessMemory { hours, outages, changes: self.changes.iter().flat_map(of).collect() }
    }

    /// An upstream's limits, which its tier sets, are others than before.
    pub fn count_change(&mut self, upstream: &str, at: Timestamp) {
        if self.changes.len() >= OUTAGES_MAX && !self.changes.contains_key(upstream) {
            return;
        }
        let all = self.changes.entry(upstream.into()).or_default();
        if all.last().is_none_or(|last| at >= last.after(ONE_CHANGE)) {
            all.push(at);
        }
        let beyond = all.len().saturating_sub(CHANGES_MAX);
        all.drain(..beyond);
    }

    /// How many of the warnings, each of an upstream, came before a change of its limits between the two moments, and after
    /// the change before that.
    pub fn warnings_before_changes(&self, warnings: &[(Arc<str>, Timestamp)], from: Timestamp, to: Timestamp) -> u64 {
        let is_of = |upstream: &Arc<str>, at: Timestamp| {
            let changes = self.changes.get(upstream)?;
            let next = changes.iter().find(|change| **change > at)?;
            (*next <= at.after(WARNS_OF) && (from..to).contains(next)).then_some(())
        };
        warnings.iter().filter_map(|(upstream, at)| is_of(upstream, *at)).count() as u64
    }

    pub fn count(&mut self, fate: &Fate) {
        let hour = self.by_hour.entry(hour(fate.started_at)).or_default();
        hour.rate_limit_errors = hour.rate_limit_errors.saturating_add(fate.is_rate_limit_error().into());
        hour.fallbacks = hour.fallbacks.saturating_add(fate.is_fallback().into());
        hour.cut_offs.count(fate);
        self.follow_outages(fate);
    }

    fn follow_outages(&mut self, fate: &Fate) {
        let is_told = fate.outcome != Outcome::Interrupted;
        for failed in fate.tries.iter().filter(|attempt| is_told && attempt.is_upstream_failure()) {
            if self.outages.len() < OUTAGES_MAX {
                self.outages.entry(failed.upstream.clone()).or_insert(failed.at);
            }
        }
        let Some(last) = fate.tries.last().filter(|_| fate.outcome == Outcome::Completed) else { return };
        // A call that had begun before says nothing of what came after.
        if self.outages.get(&last.upstream).is_some_and(|since| fate.ended_at >= *since)
            && let Some(since) = self.outages.remove(&last.upstream)
        {
            let hour = self.by_hour.entry(hour(fate.started_at)).or_default();
            hour.longest_recovery = hour.longest_recovery.max(fate.ended_at.since(since));
        }
    }

    /// Those of the last 30 days.
    pub fn figures(&self, now: Timestamp) -> Success {
        let (from, this) = (hour(now) - DAYS * 24 + 1, hour(now));
        let first = self.by_hour.range(from..=this).next().map(|(hour, _)| *hour);
        let days = first.map_or(0, |first| u64::try_from((this - first).max(0) / 24 + 1).unwrap_or(0));
        Success { days, ..self.sum(from..) }
    }

    /// Those of the calls that began in the hours from `from` on and before `to`.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Success {
        if from >= to {
            return Success::default();
        }
        // Some days have 23 hours, some 25.
        let days = (to.since(from).as_secs() + 12 * 3_600) / (24 * 3_600);
        let hours = hour(from)..hour(to).saturating_add(i64::from(to.as_millis().rem_euclid(HOUR_MS) > 0));
        Success { days: days.max(1), ..self.sum(hours) }
    }

    fn sum(&self, hours: impl RangeBounds<i64>) -> Success {
        let mut success = Success::default();
        for hour in self.by_hour.range(hours).map(|(_, hour)| hour) {
            success.rate_limit_errors_seen = success.rate_limit_errors_seen.saturating_add(hour.rate_limit_errors);
            success.fallbacks_served = success.fallbacks_served.saturating_add(hour.fallbacks);
            success.longest_recovery = success.longest_recovery.max(hour.longest_recovery);
        }
        success
    }

    /// Whether the hours from then on are all still counted.
    pub fn covers(from: Timestamp, now: Timestamp) -> bool {
        hour(from) > hour(now) - DAYS * 24
    }

    /// Those of the last 24 hours.
    pub fn cut_offs(&self, now: Timestamp) -> CutOffs {
        let mut sum = CutOffs::default();
        self.by_hour.range(hour(now) - 23..).for_each(|(_, hour)| sum.add(hour.cut_offs));
        sum
    }

    /// Hours that no figure covers any more.
    pub fn forget(&mut self, now: Timestamp) {
        self.by_hour = self.by_hour.split_off(&(hour(now) - DAYS * 24 + 1));
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MS)
}

impl Fate {
    fn is_rate_limit_error(&self) -> bool {
        let is_ours = self.error.as_deref().is_some_and(|error| error.starts_with("tidegate_"));
        self.outcome == Outcome::Failed && self.status == 429 && !is_ours
    }

    fn is_fallback(&self) -> bool {
        let (Some(first), Some(last)) = (self.tries.first(), self.tries.last()) else { return false };
        self.outcome == Outcome::Completed && (first.upstream != last.upstream || first.number > 1)
    }
}

impl Try {
    /// Something that the upstream is to blame for: too much of us, too much of all, an error, or no answer.
    fn is_upstream_failure(&self) -> bool {
        self.status.map_or(self.is_broken, |status| status == 429 || status >= 500)
    }
}

impl CutOffs {
    fn count(&mut self, fate: &Fate) {
        let error = fate.error.as_deref().unwrap_or_default();
        let mut one = CutOffs::default();
        match fate.outcome {
            Outcome::Completed => one.max_tokens = u64::from(error == "max_tokens"),
            Outcome::Cut if error.contains("silent") => one.silent = 1,
            Outcome::Cut => one.cut = 1,
            Outcome::Failed => one.error_after_start = u64::from((200..300).contains(&fate.status)),
            Outcome::Cancelled | Outcome::Interrupted | Outcome::Refused => {}
        }
        self.add(one);
    }

    // A file may have told of more than there can be.
    fn add(&mut self, other: CutOffs) {
        self.max_tokens = self.max_tokens.saturating_add(other.max_tokens);
        self.cut = self.cut.saturating_add(other.cut);
        self.silent = self.silent.saturating_add(other.silent);
        self.error_after_start = self.error_after_start.saturating_add(other.error_after_start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 / HOUR_MS * HOUR_MS + seconds * 1_000)
    }

    /// `529 a, 200 b`: an attempt's status and its upstream; `- a` had no answer, `+200 b` had passed another over.
    fn fate(seconds: i64, outcome: Outcome, tries: &str) -> Fate {
        let read = |(place, text): (usize, &str)| {
            let (status, upstream) = text.split_once(' ').expect("two words");
            let skipped = u32::from(status.starts_with('+'));
            let number = u32::try_from(place).expect("few") + 1 + skipped;
            let status = status.trim_start_matches('+').parse().ok();
            Try { number, upstream: upstream.into(), at: at(seconds), status, is_broken: status.is_none() }
        };
        let tries: Vec<Try> = tries.split(", ").filter(|text| !text.is_empty()).enumerate().map(read).collect();
        let status = tries.last().and_then(|attempt| attempt.status).unwrap_or(0);
        Fate { started_at: at(seconds), ended_at: at(seconds + 2), outcome, status, error: None, tries }
    }

    fn counted(fates: &[Fate]) -> Successes {
        let mut successes = Successes::default();
        fates.iter().for_each(|fate| successes.count(fate));
        successes
    }

    #[test]
    fn a_429_counts_where_it_reached_a_client_and_came_from_an_upstream() {
        let own = Fate { error: Some("tidegate_deadline".into()), ..fate(2, Outcome::Failed, "529 a, 429 a") };
        let fates = [
            fate(0, Outcome::Failed, "429 a"),
            fate(1, Outcome::Completed, "429 a, 200 a"),
            own,
            Fate { status: 429, ..fate(3, Outcome::Refused, "") },
            fate(4, Outcome::Failed, "529 a"),
        ];
        assert_eq!(counted(&fates).figures(at(9)).rate_limit_errors_seen, 1);
    }

    #[test]
    fn a_fallback_counts_where_it_was_served() {
        let fates = [
            fate(0, Outcome::Completed, "529 a, 200 b"),
            fate(1, Outcome::Completed, "+200 b"),
            fate(2, Outcome::Completed, "529 a, 200 static"),
            fate(3, Outcome::Completed, "529 a, 200 a"),
            fate(4, Outcome::Failed, "529 a, 529 b"),
            fate(5, Outcome::Completed, "200 b"),
        ];
        assert_eq!(counted(&fates).figures(at(9)).fallbacks_served, 3);
    }

    #[test]
    fn a_recovery_lasts_from_the_first_failure_to_the_next_call_that_the_same_upstream_completed() {
        let fates = [
            fate(0, Outcome::Completed, "200 a"),
            fate(10, Outcome::Failed, "529 a"),
            fate(20, Outcome::Completed, "- a, 200 b"),
            fate(100, Outcome::Failed, "400 a"),
            fate(150, Outcome::Completed, "200 a"),
            fate(160, Outcome::Completed, "200 a"),
            fate(200, Outcome::Completed, "429 a, 200 a"),
        ];
        let figures = counted(&fates).figures(at(300));
        assert_eq!(figures.longest_recovery, Duration::from_secs(142));
        assert_eq!(
            counted(&fates[..4]).figures(at(300)).longest_recovery,
            Duration::ZERO,
            "one that goes on is no recovery"
        );
    }

    #[test]
    fn a_call_that_ended_before_the_outage_began_ends_none() {
        let mut early = fate(0, Outcome::Completed, "200 a");
        early.ended_at = at(5);
        let fates = [fate(10, Outcome::Failed, "500 a"), early, fate(30, Outcome::Completed, "200 a")];
        assert_eq!(counted(&fates).figures(at(40)).longest_recovery, Duration::from_secs(22));
    }

    #[test]
    fn days_are_those_from_the_first_call_on_and_what_is_older_than_thirty_counts_no_more() {
        let day = 86_400;
        let mut successes = counted(&[fate(0, Outcome::Failed, "429 a"), fate(40 * day, Outcome::Failed, "429 a")]);
        assert_eq!(Successes::default().figures(at(0)).days, 0);
        for (now, days, seen) in [(0, 1, 2), (day - 1, 1, 2), (day, 2, 2), (30 * day - 1, 30, 2), (30 * day, 0, 1)] {
            let figures = successes.figures(at(now));
            assert_eq!((figures.days, figures.rate_limit_errors_seen), (days, seen), "{now}");
        }
        assert_eq!(Successes::recall(successes.remember()).figures(at(day)), successes.figures(at(day)));
        let later = successes.figures(at(45 * day));
        successes.forget(at(45 * day));
        assert_eq!((successes.by_hour.len(), successes.figures(at(45 * day))), (1, later));
    }

    #[test]
    fn a_warning_counts_where_a_change_of_the_same_upstreams_limits_followed() {
        let day = 86_400;
        let mut successes = Successes::default();
        // Seen at three limits within the hour.
        for seconds in [10 * day, 10 * day + 60, 10 * day + 3_599, 20 * day] {
            successes.count_change("a", at(seconds));
        }
        successes.count_change("b", at(2 * day));
        let warnings = |all: &[(&str, i64)]| -> Vec<(Arc<str>, Timestamp)> {
            all.iter().map(|(upstream, seconds)| ((*upstream).into(), at(*seconds))).collect()
        };
        for (all, counted) in [
            (&[("a", 5 * day)][..], 1),
            (&[("a", 5 * day), ("a", 6 * day), ("a", 15 * day)], 3),
            (&[("a", 20 * day), ("b", 3 * day), ("c", 0)], 0),
            // Too long before.
            (&[("a", -21 * day)], 0),
        ] {
            assert_eq!(successes.warnings_before_changes(&warnings(all), at(0), at(30 * day)), counted, "{all:?}");
            let again = Successes::recall(successes.remember());
            assert_eq!(again.warnings_before_changes(&warnings(all), at(0), at(30 * day)), counted, "{all:?}");
        }
        let early = warnings(&[("a", 5 * day), ("a", 15 * day)]);
        assert_eq!(successes.warnings_before_changes(&early, at(11 * day), at(30 * day)), 1);
        for hour in 0..99 {
            successes.count_change("a", at((21 * day) + hour * 7_200));
        }
        assert_eq!(successes.remember().changes.len(), CHANGES_MAX + 1);
    }

    #[test]
    fn a_span_has_the_calls_that_began_in_its_hours() {
        let hour = 3_600;
        let all = [0, hour - 1, hour, 5 * hour].map(|seconds| fate(seconds, Outcome::Failed, "429 a"));
        let successes = counted(&all);
        for (from, to, days, seen) in
            [(0, hour, 1, 2), (hour, 6 * hour, 1, 2), (hour, hour, 0, 0), (0, 25 * hour, 1, 4)]
        {
            let figures = successes.between(at(from), at(to));
            assert_eq!((figures.days, figures.rate_limit_errors_seen), (days, seen), "{from} to {to}");
        }
        assert!(Successes::covers(at(0), at(30 * 24 * hour - 1)) && !Successes::covers(at(0), at(30 * 24 * hour)));
    }

    #[test]
    fn counts_beyond_all_measure_stay_the_most_there_is() {
        let most = CutOffs { max_tokens: u64::MAX, cut: u64::MAX, silent: u64::MAX, error_after_start: u64::MAX };
        let absurd = Hour {
            rate_limit_errors: u64::MAX,
            fallbacks: u64::MAX,
            longest_recovery: Duration::from_millis(u64::MAX),
            cut_offs: most,
        };
        let hours = [i64::MIN, -1, hour(at(0)) - 1, hour(at(0)), i64::MAX].map(|number| (number, absurd)).to_vec();
        let outages = vec![("a".into(), Timestamp::from_millis(i64::MIN)), ("b".into(), at(0))];
        let mut successes = Successes::recall(SuccessMemory { hours, outages, changes: vec![] });
        let told = |error: &str| Fate { error: Some(error.into()), ..fate(0, Outcome::Completed, "429 b, 200 a") };
        successes.count(&told("max_tokens"));
        successes.count(&fate(0, Outcome::Failed, "429 a"));
        let figures = successes.figures(at(1));
        assert_eq!((figures.rate_limit_errors_seen, figures.fallbacks_served), (u64::MAX, u64::MAX));
        assert_eq!(successes.cut_offs(at(1)), most);
        for now in [i64::MIN, 0, i64::MAX].map(Timestamp::from_millis) {
            successes.figures(now);
            successes.cut_offs(now);
            successes.clone().forget(now);
        }
    }

    #[test]
    fn answers_that_were_cut_off_count_for_a_day_by_their_kind() {
        let told = |outcome, error: &str| Fate { error: Some(error.into()), ..fate(0, outcome, "200 a") };
        let successes = counted(&[
            told(Outcome::Completed, "max_tokens"),
            told(Outcome::Cut, "the upstream fell silent"),
            told(Outcome::Cut, "the answer ended early"),
            told(Outcome::Cut, "tidegate_budget_reached"),
            fate(0, Outcome::Failed, "200 a"),
            fate(0, Outcome::Failed, "529 a"),
            fate(0, Outcome::Completed, "200 a"),
        ]);
        let expected = CutOffs { max_tokens: 1, cut: 2, silent: 1, error_after_start: 1 };
        assert_eq!(successes.cut_offs(at(86_399)), expected);
        assert_eq!(successes.cut_offs(at(86_400)), CutOffs::default());
    }
}
