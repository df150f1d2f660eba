//! Another program on the same key, of which the gateway knows nothing.
//!
//! Each of its calls has a slot as long as its tokens take to refill at the share, and comes at a random moment of the
//! slot. So calls may come close together or far apart, and yet the share is kept to within a call.

use std::time::Duration;

use domain::time::Instant;
use fastrand::Rng;
use serde::Serialize;

use crate::pool::TokenLimits;

/// Input tokens of a call, on average.
const INPUT_MEAN: u64 = 1_200;
/// The other program of a small account makes smaller calls, that of a very large one larger ones: a minute's limit
/// is worth so many of them.
const CALLS_A_MINUTE: std::ops::RangeInclusive<u64> = 20..=20_000;

/// How much of each token bucket it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// 1 to 1,000.
    pub(crate) permille: u16,
    /// Its requests count too.
    pub(crate) requests: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutsideCall {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// What other programs drew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Drawn {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Drawn {
    pub(crate) fn add(&mut self, call: OutsideCall) {
        *self += Drawn { calls: 1, input_tokens: call.input, output_tokens: call.output };
    }
}

impl std::ops::AddAssign for Drawn {
    fn add_assign(&mut self, more: Drawn) {
        self.calls += more.calls;
        self.input_tokens += more.input_tokens;
        self.output_tokens += more.output_tokens;
    }
}

pub(crate) struct Outside {
    share: Share,
    rng: Rng,
    slot_end: Instant,
    /// `None` where no slot has begun.
    planned: Option<(Instant, OutsideCall)>,
}

impl Outside {
    pub(crate) fn new(share: Share, seed: u64, now: Instant) -> Outside {
        Outside { share, rng: Rng::with_seed(seed), slot_end: now, planned: None }
    }

    pub(crate) fn takes_requests(&self) -> bool {
        self.share.requests
    }

    /// Its next call and the moment of it, if that is not after `now`.
    pub(crate) fn next_until(&mut self, now: Instant, limits: TokenLimits) -> Option<(Instant, OutsideCall)> {
        if self.planned.is_none() {
            self.planned = self.plan(limits);
        }
        self.planned.take_if(|(at, _)| *at <= now)
    }

    /// `None` where no tokens are limited: a share of nothing.
    fn plan(&mut self, limits: TokenLimits) -> Option<(Instant, OutsideCall)> {
        let measured = limits.input.or(limits.output)?.max(1);
        let (fewest, most) = (CALLS_A_MINUTE.start(), CALLS_A_MINUTE.end());
        let mean = INPUT_MEAN.clamp(measured / most, measured / fewest).max(1);
        let size = self.rng.u64((mean / 4).max(1)..=(mean * 7 / 4).max(1));
        let slot = self.slot(size, measured);
        let at = self.slot_end.after(Duration::from_nanos(self.rng.u64(0..slot.max(1))));
        self.slot_end = self.slot_end.after(Duration::from_nanos(slot));
        let of = |limit: Option<u64>| limit.map_or(0, |limit| proportional(size, limit, measured));
        Some((at, OutsideCall { input: of(limits.input), output: of(limits.output) }))
    }

    /// Nanoseconds in which the share refills so many tokens.
    fn slot(&self, tokens: u64, limit: u64) -> u64 {
        const MINUTE: u128 = 60_000_000_000;
        let share = u128::from(self.share.permille.max(1)) * u128::from(limit);
        u64::try_from(u128::from(tokens) * MINUTE * 1_000 / share).unwrap_or(u64::MAX)
    }
}

fn proportional(size: u64, limit: u64, measured: u64) -> u64 {
    let (size, limit, measured) = (u128::from(size), u128::from(limit), u128::from(measured));
    u64::try_from(size * limit / measured).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIER_1: TokenLimits = TokenLimits { input: Some(30_000), output: Some(8_000) };
    const START: TokenLimits = TokenLimits { input: Some(2_000_000), output: Some(400_000) };

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn calls(share: u16, seed: u64, limits: TokenLimits, seconds: u64) -> Vec<(Instant, OutsideCall)> {
        let mut outside = Outside::new(Share { permille: share, requests: false }, seed, at(0));
        std::iter::from_fn(|| outside.next_until(at(seconds), limits)).collect()
    }

    fn drawn(calls: &[(Instant, OutsideCall)]) -> Drawn {
        calls.iter().fold(Drawn::default(), |mut sum, (_, call)| {
            sum.add(*call);
            sum
        })
    }

    #[test]
    fn it_draws_its_share_to_within_a_call() {
        for (limits, share, input, output) in
            [(TIER_1, 400, 120_000, 32_000), (START, 400, 8_000_000, 1_600_000), (START, 50, 1_000_000, 200_000)]
        {
            for seed in 0..20 {
                let drawn = drawn(&calls(share, seed, limits, 600));
                assert!(drawn.input_tokens.abs_diff(input) <= 2_100, "{drawn:?}");
                assert!(drawn.output_tokens.abs_diff(output) <= 560 + drawn.calls, "{drawn:?}");
            }
        }
    }

    #[test]
    fn its_calls_have_a_size_and_come_at_random_moments() {
        let calls = calls(400, 7, TIER_1, 600);
        assert!((80..=125).contains(&calls.len()), "{}", calls.len());
        assert!(calls.iter().all(|(_, call)| (300..=2_100).contains(&call.input)));
        let gaps: Vec<_> = calls.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
        assert!(calls.is_sorted_by_key(|(at, _)| *at));
        assert!(gaps.iter().min() < Some(&Duration::from_secs(1)), "some come together: {gaps:?}");
        assert!(gaps.iter().max() > Some(&Duration::from_secs(10)), "some far apart: {gaps:?}");
    }

    #[test]
    fn its_seed_repeats_it_however_often_it_is_asked() {
        let once = calls(400, 3, TIER_1, 60);
        let mut outside = Outside::new(Share { permille: 400, requests: false }, 3, at(0));
        let mut often = Vec::new();
        for second in 0..=60 {
            often.extend(std::iter::from_fn(|| outside.next_until(at(second), TIER_1)));
        }
        assert_eq!(once, often);
        assert_ne!(once, calls(400, 4, TIER_1, 60));
    }

    #[test]
    fn a_tiny_limit_a_vast_one_or_none_is_no_trouble() {
        let one = TokenLimits { input: Some(1), output: None };
        assert_eq!(drawn(&calls(1_000, 1, one, 600)).input_tokens, 10);
        assert_eq!(calls(1_000, 1, TokenLimits::default(), 600), []);
        let vast = TokenLimits { input: Some(1_000_000_000), output: None };
        assert!(calls(1_000, 1, vast, 60).len() < 22_000);
        let output_only = TokenLimits { input: None, output: Some(8_000) };
        let drawn = drawn(&calls(500, 1, output_only, 600));
        assert!(drawn.input_tokens == 0 && drawn.output_tokens.abs_diff(40_000) <= 700, "{drawn:?}");
    }
}
