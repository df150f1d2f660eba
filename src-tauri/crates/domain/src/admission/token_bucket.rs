//! The pace at which something may be spent: a level that refills continuously up to a burst.
//!
//! Levels are kept in tokens × nanoseconds of a minute × thousandths, so refilling never rounds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

const NANOS_PER_MINUTE: i128 = 60_000_000_000;
/// One token.
const TOKEN: i128 = NANOS_PER_MINUTE * 1_000;

#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    /// Thousandths of tokens a minute, guard applied.
    rate: i128,
    burst: i128,
    /// Negative is a debt, which later refilling pays.
    level: i128,
    /// Taken, and may still come back: no refilling takes its room.
    held: i128,
    /// Of the level, what would have overflown if all that is held had come back already.
    overfilled: i128,
    /// Of which the upstream may not know yet.
    on_its_way: OnItsWay,
    at: Instant,
}

/// Calls that left a moment ago, with what they took.
#[derive(Clone, Debug, Default)]
struct OnItsWay(VecDeque<(Instant, i128)>);

/// A call reaches its upstream, and the end of an answer us, within this time.
const WAY: Duration = Duration::from_millis(250);
const WAY_KEPT: Duration = Duration::from_secs(2);

impl OnItsWay {
    fn add(&mut self, amount: i128, now: Instant) {
        while self.0.pop_front_if(|(sent, _)| now.since(*sent) > WAY_KEPT).is_some() {}
        self.0.push_back((now, amount));
    }

    /// One that has ended has arrived.
    fn arrived(&mut self, amount: i128, sent: Instant) {
        let first = self.0.partition_point(|(at, _)| *at < sent);
        let place = self.0.iter().skip(first).take_while(|(at, _)| *at == sent).position(|(_, taken)| *taken == amount);
        place.and_then(|place| self.0.remove(first + place));
    }

    fn within(&self, span: Duration, now: Instant) -> i128 {
        let latest = self.0.iter().rev().take_while(|(sent, _)| now.since(*sent) <= span);
        latest.map(|(_, amount)| amount).sum()
    }
}

impl TokenBucket {
    /// Full at `now`. `rate` is thousandths a minute; it holds at most `burst` thousandths.
    pub(super) fn new(rate: i128, burst: i128, now: Instant) -> TokenBucket {
        let burst = burst.max(0) * NANOS_PER_MINUTE;
        let on_its_way = OnItsWay::default();
        TokenBucket { rate: rate.max(0), burst, level: burst, held: 0, overfilled: 0, on_its_way, at: now }
    }

    /// From now on at another pace. What was spent stays spent, but a smaller bucket makes no debt beyond a full one.
    pub(super) fn set_pace(&mut self, rate: i128, burst: i128, now: Instant) {
        self.refill(now);
        let burst = burst.max(0) * NANOS_PER_MINUTE;
        let spent = self.burst - self.level;
        self.level = (burst - spent).max(self.level.min(-burst));
        (self.rate, self.burst) = (rate.max(0), burst);
    }

    /// When `amount` may be taken: at `now`, or later; `None` where it never fills so far before something held comes back.
    /// More than the burst may go when the bucket is full.
    pub(super) fn ready_at(&self, amount: u64, now: Instant) -> Option<Instant> {
        let wanted = (i128::from(amount) * TOKEN).min(self.burst);
        let missing = wanted - self.level_at(now);
        if missing <= 0 {
            return Some(now);
        }
        if self.rate == 0 || wanted > self.refilled_to() {
            return None;
        }
        let nanos = (missing + self.rate - 1) / self.rate;
        Some(now.after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }

    /// Takes it, into debt if need be.
    pub(super) fn take(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level -= i128::from(amount) * TOKEN;
    }

    /// Takes it for a call that leaves now, of which `loose` may come back. The upstream's bucket is fuller by that, and
    /// stops refilling earlier than ours would.
    pub(super) fn send(&mut self, amount: u64, loose: u64, now: Instant) {
        self.take(amount, now);
        self.held += i128::from(loose) * TOKEN;
        self.on_its_way.add(i128::from(amount) * TOKEN, now);
    }

    /// Of what a call took `back` comes back, and of its `loose` part the rest never will. What refilled although the
    /// upstream was full is no more.
    pub(super) fn settle(&mut self, loose: u64, back: u64, now: Instant) {
        self.refill(now);
        self.held = (self.held - i128::from(loose) * TOKEN).max(0);
        let (untaken, taken) = (back.min(loose), back.saturating_sub(loose));
        let untaken = i128::from(untaken) * TOKEN;
        let void = self.overfilled.min(untaken);
        self.level = (self.level + untaken - void).min(self.burst);
        self.overfilled = (self.overfilled - void).min(self.held);
        self.come_back(taken, Duration::ZERO, now);
    }

    /// The upstream had it back so long ago and was full perhaps: what has left since is missing there all the same.
    pub(super) fn come_back(&mut self, amount: u64, ago: Duration, now: Instant) {
        self.refill(now);
        let full = self.burst - self.on_its_way.within(ago.saturating_add(WAY), now);
        self.level = (self.level + i128::from(amount) * TOKEN).min(full.max(self.level));
    }

    /// A call that left at `sent` with so much has ended, or never got there.
    pub(super) fn arrived(&mut self, amount: u64, sent: Instant) {
        self.on_its_way.arrived(i128::from(amount) * TOKEN, sent);
    }

    /// Whole tokens that may come back.
    pub(super) fn held(&self) -> i64 {
        i64::try_from(self.held.div_euclid(TOKEN)).unwrap_or(i64::MAX)
    }

    pub(super) fn give_back(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = (self.level + i128::from(amount) * TOKEN).min(self.burst);
    }

    /// Whole tokens that would be left after `span`, if it were empty at first and these were taken, each so long after.
    pub(super) fn left_after(&self, takes: impl Iterator<Item = (Duration, u64)>, span: Duration) -> i64 {
        let start = Instant::default();
        let mut past = TokenBucket { level: 0, held: 0, overfilled: 0, at: start, ..self.clone() };
        for (passed, amount) in takes {
            past.take(amount, start.after(passed));
        }
        past.tokens(start.after(span))
    }

    /// Evidence that no more than `tokens` are left.
    pub(super) fn lower_to(&mut self, tokens: i128, now: Instant) {
        self.refill(now);
        self.level = self.level.min(tokens * TOKEN);
    }

    /// Evidence that so much is there.
    pub(super) fn raise_to(&mut self, tokens: i64, now: Instant) {
        self.refill(now);
        self.level = self.level.max(i128::from(tokens) * TOKEN).min(self.burst);
    }

    /// Everything from `now` on counts from nothing.
    pub(super) fn empty(&mut self, now: Instant) {
        self.refill(now);
        self.level = self.level.min(0);
    }

    /// How long until `amount` is there beside all that is owed, however much the bucket holds at once.
    pub(super) fn time_for(&self, amount: u64, now: Instant) -> Duration {
        let missing = i128::from(amount).saturating_mul(TOKEN).saturating_sub(self.level_at(now));
        if missing <= 0 {
            return Duration::ZERO;
        }
        let nanos = if self.rate == 0 { i128::MAX } else { missing / self.rate };
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long refilling `amount` takes, whatever the level.
    pub(super) fn refill_time(&self, amount: u64) -> Duration {
        let nanos = i128::from(amount).saturating_mul(TOKEN) / self.rate.max(1);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Moves what is there, up to `most`, out of it.
    pub(super) fn draw(&mut self, most: u64, now: Instant) -> u64 {
        let there = u64::try_from(self.tokens(now)).unwrap_or(0).min(most);
        self.take(there, now);
        there
    }

    /// Whole tokens left, rounded down.
    pub(super) fn tokens(&self, now: Instant) -> i64 {
        i64::try_from(self.level_at(now).div_euclid(TOKEN)).unwrap_or(i64::MIN)
    }

    fn level_at(&self, now: Instant) -> i128 {
        let elapsed = i128::try_from(now.since(self.at).as_nanos()).unwrap_or(i128::MAX);
        let grown = self.level.saturating_add(self.rate.saturating_mul(elapsed)).min(self.refilled_to());
        grown.max(self.level.min(self.burst))
    }

    /// However much is held, half of it refills: many long calls must not shut it.
    fn refilled_to(&self) -> i128 {
        (self.burst - self.held).max(self.burst / 2)
    }

    fn refill(&mut self, now: Instant) {
        self.level = self.level_at(now);
        self.overfilled = self.overfilled.max(self.level + self.held - self.burst);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn of_a_minute(limit: u64, guard_permille: i128, now: Instant) -> TokenBucket {
        let pace = i128::from(limit) * guard_permille;
        TokenBucket::new(pace, pace, now)
    }

    fn smoothed(limit: u64, guard_permille: i128, now: Instant) -> TokenBucket {
        TokenBucket::new(i128::from(limit) * guard_permille, 1_000, now)
    }

    #[test]
    fn a_smoothed_bucket_lets_one_go_every_interval() {
        let mut bucket = smoothed(50, 960, at(0));
        assert_eq!(bucket.ready_at(1, at(0)), Some(at(0)));
        bucket.take(1, at(0));
        assert_eq!(bucket.ready_at(1, at(0)), Some(at(1_250)));
        assert_eq!(bucket.ready_at(1, at(700)), Some(at(1_250)));
        assert_eq!(bucket.ready_at(1, at(9_000)), Some(at(9_000)));
    }

    #[test]
    fn the_interval_counts_from_the_moment_a_request_really_left() {
        let mut bucket = smoothed(60, 1_000, at(0));
        bucket.take(1, at(0));
        bucket.empty(at(300));
        assert_eq!(bucket.ready_at(1, at(300)), Some(at(1_300)));
    }

    #[test]
    fn a_call_larger_than_the_bucket_goes_when_it_is_full_and_leaves_a_debt() {
        let mut bucket = of_a_minute(60, 1_000, at(0));
        bucket.take(90, at(0));
        assert_eq!(bucket.tokens(at(0)), -30);
        assert_eq!(bucket.ready_at(500, at(0)), Some(at(90_000)));
    }

    #[test]
    fn what_was_spent_stays_spent_at_a_new_rate() {
        let mut bucket = of_a_minute(100, 1_000, at(0));
        bucket.take(70, at(0));
        bucket.set_pace(50_000, 50_000, at(0));
        assert_eq!(bucket.tokens(at(0)), -20);
        bucket.set_pace(100_000, 100_000, at(0));
        assert_eq!(bucket.tokens(at(0)), 30);
        bucket.set_pace(10_000, 10_000, at(0));
        assert_eq!(bucket.tokens(at(0)), -10, "a minute's debt at most");
    }

    #[test]
    fn what_may_come_back_keeps_its_room() {
        let mut bucket = of_a_minute(60, 1_000, at(0));
        bucket.send(40, 25, at(0));
        assert_eq!([10, 15, 30].map(|seconds| bucket.tokens(at(seconds * 1_000))), [30, 35, 35]);
        bucket.settle(25, 25, at(30_000));
        assert_eq!(bucket.tokens(at(30_000)), 60, "the upstream, full all the while, has no more");
    }

    #[test]
    fn what_refilled_beside_much_that_is_held_does_not_come_back_too() {
        let mut bucket = of_a_minute(60, 1_000, at(0));
        bucket.send(60, 50, at(0));
        assert_eq!(bucket.tokens(at(30_000)), 30, "half of it refills whatever is held");
        assert_eq!(bucket.ready_at(31, at(30_000)), None, "and no more, however long one waits");
        bucket.take(30, at(30_000));
        bucket.settle(50, 50, at(30_000));
        // The upstream lost ten at first, was full again after ten seconds, and has lost thirty since.
        assert_eq!(bucket.tokens(at(30_000)), 30);
    }

    #[test]
    fn what_comes_back_fills_no_bucket_from_which_a_call_has_just_left() {
        let mut bucket = of_a_minute(60, 1_000, at(0));
        bucket.send(20, 0, at(0));
        assert_eq!(bucket.tokens(at(30_000)), 60);
        bucket.send(15, 0, at(30_000));
        bucket.arrived(20, at(0));
        bucket.settle(0, 12, at(30_040));
        // The upstream was full when the answer ended, and has lost fifteen since.
        assert_eq!(bucket.tokens(at(30_040)), 45);
        bucket.settle(0, 12, at(33_000));
        assert_eq!(bucket.tokens(at(33_000)), 60, "by now it knows of that call");
    }

    #[test]
    fn a_call_that_ends_at_once_gives_back_all_that_it_did_not_use() {
        let mut bucket = of_a_minute(60, 1_000, at(0));
        for (sent, ends) in [(0, 5), (60_000, 60_200), (120_000, 121_900)] {
            bucket.send(50, 0, at(sent));
            bucket.arrived(50, at(sent));
            bucket.settle(0, 50, at(ends));
            assert_eq!(bucket.tokens(at(ends)), 60, "after {} ms", ends - sent);
        }
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut bucket = of_a_minute(60, 1_000, at(10_000));
        bucket.take(60, at(10_000));
        bucket.take(0, at(0));
        assert_eq!(bucket.ready_at(1, at(10_000)), Some(at(11_000)));
    }

    proptest! {
        /// The slow and obvious model: spent ≤ burst + rate × time, over every interval that starts at a take.
        #[test]
        fn never_more_than_the_burst_and_the_rate_allow(
            limit in 1u64..5_000,
            steps in prop::collection::vec((0u64..40_000_000_000, 1u64..400), 1..60),
        ) {
            let mut bucket = of_a_minute(limit, 1_000, at(0));
            let (mut now, mut taken) = (0u64, Vec::new());
            for (gap, amount) in steps {
                now += gap;
                let amount = amount.min(limit);
                let ready = bucket.ready_at(amount, Instant::from_nanos(now)).expect("it refills").as_nanos();
                prop_assert!(ready >= now);
                now = ready;
                bucket.take(amount, Instant::from_nanos(now));
                taken.push((now, amount));
                for (i, (start, _)) in taken.iter().enumerate() {
                    let spent: u128 = taken[i..].iter().map(|(_, amount)| u128::from(*amount)).sum();
                    let allowed = u128::from(limit) * 60_000_000_000 + u128::from(limit) * u128::from(now - start);
                    prop_assert!(spent * 60_000_000_000 <= allowed);
                }
            }
        }

        /// The earliest moment really is the earliest.
        #[test]
        fn a_nanosecond_earlier_is_too_early(limit in 1u64..1_000_000, spent in 0u64..1_000_000, amount in 1u64..1_000_000) {
            let mut bucket = of_a_minute(limit, 930, at(0));
            bucket.take(spent, at(0));
            let ready = bucket.ready_at(amount, at(0)).expect("it refills");
            if ready > at(0) {
                let earlier = Instant::from_nanos(ready.as_nanos() - 1);
                prop_assert_eq!(bucket.ready_at(amount, ready), Some(ready));
                prop_assert_eq!(bucket.ready_at(amount, earlier), Some(ready));
            }
        }
    }
}
