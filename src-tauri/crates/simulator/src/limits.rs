//! The true limits: what an account of a tier may do in a minute, per key and model group.
//!
//! An own reading of the rules, apart from the gateway's: a second opinion that can prove it wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::catalog;
use domain::tier::{OutputCounting, Scheme};
use domain::time::Instant;
use domain::usage::Tokens;

use crate::bucket::Bucket;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    Requests,
    InputTokens,
    OutputTokens,
}

impl Measure {
    pub(crate) const ALL: [Measure; 3] = [Measure::Requests, Measure::InputTokens, Measure::OutputTokens];

    /// As the message of a 429 names it.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Measure::Requests => "requests",
            Measure::InputTokens => "input tokens",
            Measure::OutputTokens => "output tokens",
        }
    }
}

/// Not now. Nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limited {
    pub(crate) measure: Measure,
    pub(crate) limit: u64,
    pub(crate) wait: Duration,
}

/// One limit as the headers show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gauge {
    pub(crate) measure: Measure,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) full_in: Duration,
}

/// Whose buckets a call draws on.
pub(crate) type PoolId = usize;

/// What a call took at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pool: Option<PoolId>,
    /// Output tokens taken ahead; `None` where they count as they are produced.
    reserved: Option<u64>,
    pub(crate) counted_input: u64,
}

struct Pool {
    /// The gate for requests, and the minute that headers speak of.
    requests: Option<(Bucket, Bucket)>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    cache_reads_count: bool,
}

#[derive(Default)]
pub(crate) struct Limits {
    tier: Option<(Arc<Scheme>, Arc<str>)>,
    pools: Vec<Pool>,
    by_name: HashMap<(String, String), PoolId>,
    /// Of `count_tokens`, per key.
    counts: HashMap<String, Bucket>,
}

impl Limits {
    pub(crate) fn new(tier: Option<(Arc<Scheme>, Arc<str>)>) -> Limits {
        Limits { tier, ..Limits::default() }
    }

    /// The pool of a key and a model's group; `None` where nothing limits it.
    pub(crate) fn pool(&mut self, key: &str, model: &str, now: Instant) -> Option<PoolId> {
        let (scheme, tier) = self.tier.as_ref()?;
        let row = scheme.tier(tier)?.limits(model)?;
        let name = (key.to_owned(), catalog::group(model));
        Some(*self.by_name.entry(name).or_insert_with(|| {
            let minute = |limit: Option<u64>| limit.map(|limit| Bucket::of_a_minute(limit, now));
            self.pools.push(Pool {
                requests: row.limits.requests.map(|n| (Bucket::smooth(n, now), Bucket::of_a_minute(n, now))),
                input: minute(row.limits.input_tokens),
                output: minute(row.limits.output_tokens),
                cache_reads_count: row.cache_reads_count,
            });
            self.pools.len() - 1
        }))
    }

    /// All that a call needs at its start, or nothing.
    pub(crate) fn admit(
        &mut self,
        pool: Option<PoolId>,
        input: &Tokens,
        max_tokens: u64,
        now: Instant,
    ) -> Result<Grant, Limited> {
        let reserves = self.reserves();
        let Some(pool_id) = pool else {
            return Ok(Grant { pool, reserved: None, counted_input: counted(input, false) });
        };
        let pool = &mut self.pools[pool_id];
        let counted_input = counted(input, pool.cache_reads_count);
        // A max_tokens above the limit wants the full bucket; else no such call could ever go.
        let reserved =
            reserves.then(|| pool.output.as_ref().map_or(max_tokens, |output| max_tokens.min(output.limit())));
        pool.check(counted_input, reserved.unwrap_or(1), now)?;
        pool.take(counted_input, reserved.unwrap_or(0), now);
        Ok(Grant { pool: Some(pool_id), reserved, counted_input })
    }

    /// Tokens that have just been produced.
    pub(crate) fn produce(&mut self, grant: &Grant, tokens: u64, now: Instant) {
        if let (Some(pool), None) = (grant.pool, grant.reserved)
            && let Some(output) = &mut self.pools[pool].output
        {
            output.take(tokens, now);
        }
    }

    /// The call has ended: what it reserved and did not produce goes back.
    pub(crate) fn end(&mut self, grant: &Grant, produced: u64, now: Instant) {
        if let (Some(pool), Some(reserved)) = (grant.pool, grant.reserved)
            && let Some(output) = &mut self.pools[pool].output
        {
            output.give_back(reserved.saturating_sub(produced), now);
        }
    }

    pub(crate) fn gauges(&mut self, pool: PoolId, now: Instant) -> Vec<Gauge> {
        let pool = &mut self.pools[pool];
        let minutes = [pool.requests.as_mut().map(|(_, minute)| minute), pool.input.as_mut(), pool.output.as_mut()];
        let gauge = |(measure, bucket): (Measure, Option<&mut Bucket>)| {
            let bucket = bucket?;
            let (remaining, full_in) = (bucket.remaining(now), bucket.full_in(now));
            Some(Gauge { measure, limit: bucket.limit(), remaining, full_in })
        };
        Measure::ALL.into_iter().zip(minutes).filter_map(gauge).collect()
    }

    /// `count_tokens` has a pool of its own.
    pub(crate) fn admit_count(&mut self, key: &str, now: Instant) -> Result<(), Limited> {
        let Some(limit) = self.tier.as_ref().and_then(|(_, tier)| counts_a_minute(tier)) else { return Ok(()) };
        let bucket = self.counts.entry(key.to_owned()).or_insert_with(|| Bucket::of_a_minute(limit, now));
        if !bucket.holds(1, now) {
            return Err(Limited { measure: Measure::Requests, limit, wait: bucket.wait_for(1, now) });
        }
        bucket.take(1, now);
        Ok(())
    }

    /// What all pools would have let through since each was first asked; `None` where no pool has such a limit.
    pub(crate) fn offered(&self, now: Instant) -> [Option<u64>; 3] {
        let sum = |of: fn(&Pool) -> Option<&Bucket>| {
            self.pools.iter().filter_map(of).map(|bucket| bucket.offered(now)).reduce(u64::saturating_add)
        };
        [
            sum(|pool| pool.requests.as_ref().map(|(gate, _)| gate)),
            sum(|pool| pool.input.as_ref()),
            sum(|pool| pool.output.as_ref()),
        ]
    }

    /// Messages of 429 read as those of the scheme's year.
    pub(crate) fn is_of_2025(&self) -> bool {
        self.tier.as_ref().is_some_and(|(scheme, _)| scheme.name.starts_with("2025"))
    }

    fn reserves(&self) -> bool {
        self.tier.as_ref().is_some_and(|(scheme, _)| scheme.output == OutputCounting::Reserved)
    }
}

impl Pool {
    fn check(&mut self, input: u64, output: u64, now: Instant) -> Result<(), Limited> {
        let gate = self.requests.as_mut().map(|(gate, _)| gate);
        let needs = [
            (Measure::Requests, gate, 1),
            (Measure::InputTokens, self.input.as_mut(), input),
            (Measure::OutputTokens, self.output.as_mut(), output),
        ];
        for (measure, bucket, tokens) in needs {
            let Some(bucket) = bucket else { continue };
            if !bucket.holds(tokens, now) {
                return Err(Limited { measure, limit: bucket.limit(), wait: bucket.wait_for(tokens, now) });
            }
        }
        Ok(())
    }

    fn take(&mut self, input: u64, output: u64, now: Instant) {
        if let Some((gate, minute)) = &mut self.requests {
            gate.take(1, now);
            minute.take(1, now);
        }
        for (bucket, tokens) in [(&mut self.input, input), (&mut self.output, output)] {
            if let Some(bucket) = bucket {
                bucket.take(tokens, now);
            }
        }
    }
}

fn counted(input: &Tokens, cache_reads_count: bool) -> u64 {
    input.prompt() - if cache_reads_count { 0 } else { input.cache_read }
}

/// Source: platform.claude.com, token counting, 2026-08; tiers 1 to 4 as of 2025.
fn counts_a_minute(tier: &str) -> Option<u64> {
    const ROWS: &[(&str, u64)] =
        &[("1", 100), ("2", 2_000), ("3", 4_000), ("4", 8_000), ("start", 2_000), ("build", 4_000), ("scale", 8_000)];
    ROWS.iter().find(|(name, _)| *name == tier).map(|(_, limit)| *limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const MODEL: &str = "claude-sonnet-4-5";

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn input(tokens: u64) -> Tokens {
        Tokens { input: tokens, ..Tokens::default() }
    }

    fn limits(scheme: &str, tier: &str) -> Limits {
        Limits::new(Some((fixture::scheme(scheme), tier.into())))
    }

    #[test]
    fn requests_come_one_by_one_and_tokens_by_the_minute() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        assert!(limits.admit(pool, &input(30_000), 1_000, at(0)).is_ok());
        let refused = limits.admit(pool, &input(1), 1_000, at(1_000)).expect_err("too early");
        assert_eq!((refused.measure, refused.limit), (Measure::Requests, 50));
        assert_eq!(refused.wait, Duration::from_millis(150));
        let refused = limits.admit(pool, &input(601), 1_000, at(1_200)).expect_err("only 600 are there");
        assert_eq!((refused.measure, refused.wait), (Measure::InputTokens, Duration::from_millis(2)));
        assert!(limits.admit(pool, &input(600), 1_000, at(1_200)).is_ok(), "a refusal takes nothing");
    }

    #[test]
    fn reserved_output_blocks_until_it_is_given_back() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &input(1), 8_000, at(0)).expect("full");
        let refused = limits.admit(pool, &input(1), 8_000, at(2_000)).expect_err("reserved");
        assert_eq!(refused.measure, Measure::OutputTokens);
        limits.produce(&grant, 4_000, at(2_000));
        limits.end(&grant, 4_000, at(2_000));
        // Two seconds refilled 266, and 4,000 came back.
        assert!(limits.admit(pool, &input(1), 4_267, at(2_000)).is_err());
        assert!(limits.admit(pool, &input(1), 4_266, at(2_000)).is_ok());
    }

    #[test]
    fn a_max_tokens_above_the_limit_goes_when_the_bucket_is_full() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &input(1), 64_000, at(0)).expect("full");
        assert!(limits.admit(pool, &input(1), 64_000, at(2_000)).is_err());
        limits.end(&grant, 200, at(2_000));
        assert!(limits.admit(pool, &input(1), 64_000, at(2_000)).is_ok(), "266 came back and 200 were used");
    }

    #[test]
    fn output_that_counts_as_produced_ignores_max_tokens_and_may_become_a_debt() {
        let mut limits = limits("2026-06", "start");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &input(1), 10_000_000, at(0)).expect("max_tokens plays no part");
        limits.produce(&grant, 400_001, at(0));
        let refused = limits.admit(pool, &input(1), 1, at(100)).map(|_| ()).err();
        assert_eq!(refused, None, "100 ms refill 666 tokens");
        limits.produce(&grant, 1_000_000, at(100));
        let refused = limits.admit(pool, &input(1), 1, at(200)).expect_err("in debt");
        assert_eq!(refused.measure, Measure::OutputTokens);
    }

    #[test]
    fn cache_reads_count_only_where_the_row_says_so() {
        let mut limits = limits("2025-09", "1");
        let read = Tokens { input: 1, cache_write_5m: 2, cache_write_1h: 4, cache_read: 8, output: 0 };
        for (model, counted) in [(MODEL, 7), ("claude-3-5-haiku-20241022", 15)] {
            let pool = limits.pool("k", model, at(0));
            assert_eq!(limits.admit(pool, &read, 10, at(0)).expect("full").counted_input, counted, "{model}");
        }
    }

    #[test]
    fn keys_and_groups_have_pools_of_their_own() {
        let mut limits = limits("2025-09", "1");
        let pool = |limits: &mut Limits, key, model| limits.pool(key, model, at(0));
        let sonnet = pool(&mut limits, "k", "claude-sonnet-4-5");
        assert_eq!(sonnet, pool(&mut limits, "k", "claude-sonnet-4-20250514"));
        assert_ne!(sonnet, pool(&mut limits, "k", "claude-opus-4-1"));
        assert_ne!(sonnet, pool(&mut limits, "other", "claude-sonnet-4-5"));
        assert_eq!(pool(&mut limits, "k", "claude-unknown-9"), None);
    }

    #[test]
    fn gauges_tell_the_minute() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0)).expect("limited");
        limits.admit(Some(pool), &input(30_000), 4_000, at(0)).expect("full");
        let gauges = limits.gauges(pool, at(600));
        let expected = [(50, 49, 600), (30_000, 300, 59_400), (8_000, 4_080, 29_400)];
        assert_eq!(gauges.len(), 3);
        for (gauge, (limit, remaining, full_in)) in gauges.iter().zip(expected) {
            assert_eq!((gauge.limit, gauge.remaining), (limit, remaining));
            assert_eq!(gauge.full_in, Duration::from_millis(full_in));
        }
    }
}
