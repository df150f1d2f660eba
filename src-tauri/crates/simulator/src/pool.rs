//! The buckets of one key and model group, and who draws on them.

use std::time::Duration;

use domain::tier::MinuteLimits;
use domain::time::Instant;
use domain::usage::Tokens;

use crate::bucket::Bucket;
use crate::gauge::{Family, Gauge, Measure, Seen, View};
use crate::outside::{Drawn, Outside};
use crate::ramp::{Growth, Recent};

/// Not now. Nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limited {
    pub(crate) measure: Measure,
    pub(crate) limit: u64,
    pub(crate) wait: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denied {
    Minute(Limited),
    /// Usage has grown too fast.
    Ramp(Duration),
}

/// What a call asks for at its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) input: Tokens,
    pub(crate) max_tokens: u64,
    /// `speed: fast` has token buckets of its own.
    pub(crate) fast: bool,
    /// It may be served with priority, where the account has any.
    pub(crate) may_have_priority: bool,
    pub(crate) us_only: bool,
}

/// What a call took from its pool at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// Output tokens taken ahead; `None` where they count as they are produced.
    reserved: Option<u64>,
    fast: bool,
    pub(crate) counted_input: u64,
    pub(crate) priority: bool,
}

/// The token limits of a minute; `None`: no such limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TokenLimits {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
}

impl TokenLimits {
    pub(crate) const fn of(limits: MinuteLimits) -> TokenLimits {
        TokenLimits { input: limits.input_tokens, output: limits.output_tokens }
    }

    /// Fast mode's limits are not published: half of the tier's are presumed.
    fn halved(self) -> TokenLimits {
        let half = |limit: u64| (limit / 2).max(1);
        TokenLimits { input: self.input.map(half), output: self.output.map(half) }
    }
}

/// Token buckets that are asked together.
#[derive(Debug)]
struct Lane {
    input: Option<Bucket>,
    output: Option<Bucket>,
}

impl Lane {
    fn new(limits: TokenLimits, now: Instant) -> Lane {
        let minute = |limit: Option<u64>| limit.map(|limit| Bucket::of_a_minute(limit, now));
        Lane { input: minute(limits.input), output: minute(limits.output) }
    }

    fn set(&mut self, limits: TokenLimits, now: Instant) {
        for (bucket, limit) in [(&mut self.input, limits.input), (&mut self.output, limits.output)] {
            match (bucket.as_mut(), limit) {
                (Some(bucket), Some(limit)) => bucket.set_limit(limit, now),
                _ => *bucket = limit.map(|limit| Bucket::of_a_minute(limit, now)),
            }
        }
    }

    fn check(&mut self, input: u64, output: u64, now: Instant) -> Result<(), Limited> {
        check(Measure::InputTokens, self.input.as_mut(), input, now)?;
        check(Measure::OutputTokens, self.output.as_mut(), output, now)
    }

    fn take(&mut self, input: u64, output: u64, now: Instant) {
        for (bucket, tokens) in [(&mut self.input, input), (&mut self.output, output)] {
            if let Some(bucket) = bucket {
                bucket.take(tokens, now);
            }
        }
    }

    fn gauges(&mut self, family: Family, now: Instant) -> impl Iterator<Item = Gauge> {
        let input = self.input.as_mut().map(|bucket| gauge(family, Measure::InputTokens, bucket, now));
        let output = self.output.as_mut().map(|bucket| gauge(family, Measure::OutputTokens, bucket, now));
        input.into_iter().chain(output)
    }
}

fn check(measure: Measure, bucket: Option<&mut Bucket>, tokens: u64, now: Instant) -> Result<(), Limited> {
    let Some(bucket) = bucket else { return Ok(()) };
    if bucket.holds(tokens, now) {
        return Ok(());
    }
    Err(Limited { measure, limit: bucket.limit(), wait: bucket.wait_for(tokens, now) })
}

fn gauge(family: Family, measure: Measure, bucket: &mut Bucket, now: Instant) -> Gauge {
    let (remaining, full_in) = (bucket.remaining(now), bucket.full_in(now));
    Gauge { family, measure, limit: bucket.limit(), remaining, full_in }
}

/// Requests per minute: the gate through which they go one by one, and the minute that headers speak of.
#[derive(Debug)]
struct Requests {
    gate: Bucket,
    minute: Bucket,
}

impl Requests {
    fn new(limit: u64, now: Instant) -> Requests {
        Requests { gate: Bucket::smooth(limit, now), minute: Bucket::of_a_minute(limit, now) }
    }

    fn take(&mut self, now: Instant) {
        self.gate.take(1, now);
        self.minute.take(1, now);
    }
}

pub(crate) struct Pool {
    requests: Option<Requests>,
    standard: Lane,
    /// From the first fast call on.
    fast: Option<Lane>,
    priority: Option<Lane>,
    limits: MinuteLimits,
    cache_reads_count: bool,
    outside: Option<Outside>,
    recent: Recent,
    seen: Seen,
}

impl Pool {
    pub(crate) fn new(limits: MinuteLimits, cache_reads_count: bool, now: Instant) -> Pool {
        Pool {
            requests: limits.requests.map(|limit| Requests::new(limit, now)),
            standard: Lane::new(TokenLimits::of(limits), now),
            fast: None,
            priority: None,
            limits,
            cache_reads_count,
            outside: None,
            recent: Recent::default(),
            seen: Seen::default(),
        }
    }

    pub(crate) fn set_limits(&mut self, limits: MinuteLimits, now: Instant) {
        self.limits = limits;
        match (self.requests.as_mut(), limits.requests) {
            (Some(requests), Some(limit)) => {
                requests.gate.set_limit(limit, now);
                requests.minute.set_limit(limit, now);
            }
            _ => self.requests = limits.requests.map(|limit| Requests::new(limit, now)),
        }
        self.standard.set(TokenLimits::of(limits), now);
        if let Some(fast) = &mut self.fast {
            fast.set(TokenLimits::of(limits).halved(), now);
        }
    }

    pub(crate) fn set_priority(&mut self, limits: Option<TokenLimits>, now: Instant) {
        match (self.priority.as_mut(), limits) {
            (Some(lane), Some(limits)) => lane.set(limits, now),
            _ => self.priority = limits.map(|limits| Lane::new(limits, now)),
        }
    }

    pub(crate) fn set_outside(&mut self, outside: Option<Outside>) {
        self.outside = outside;
    }

    /// What others drew on it until now.
    pub(crate) fn advance(&mut self, now: Instant) -> Drawn {
        let mut drawn = Drawn::default();
        let limits = TokenLimits::of(self.limits);
        let Some(outside) = &mut self.outside else { return drawn };
        while let Some((at, call)) = outside.next_until(now, limits) {
            // It stands for a program that tries again until it gets through: it may leave a debt.
            self.standard.take(call.input, call.output, at);
            self.recent.note(call.input + call.output, at);
            if let (true, Some(requests)) = (outside.takes_requests(), &mut self.requests) {
                requests.take(at);
            }
            drawn.add(call);
        }
        drawn
    }

    /// All that a call needs at its start, or nothing.
    pub(crate) fn admit(
        &mut self,
        demand: &Demand,
        reserves: bool,
        growth: Option<&Growth>,
        now: Instant,
    ) -> Result<Taken, Denied> {
        let counted_input = counted(&demand.input, self.cache_reads_count);
        let gate = self.requests.as_mut().map(|requests| &mut requests.gate);
        check(Measure::Requests, gate, 1, now).map_err(Denied::Minute)?;
        let lane = self.lane(demand.fast, now);
        // A max_tokens above the limit wants the full bucket; else no such call could ever go.
        let most = lane.output.as_ref().map_or(demand.max_tokens, Bucket::limit);
        let reserved = reserves.then(|| demand.max_tokens.min(most));
        lane.check(counted_input, reserved.unwrap_or(1), now).map_err(Denied::Minute)?;
        if let Some(growth) = growth {
            growth.check(&self.recent, counted_input, now).map_err(Denied::Ramp)?;
        }
        let mut taken = Taken { reserved, fast: demand.fast, counted_input, priority: false };
        self.take(&taken, now);
        taken.priority = demand.may_have_priority && self.take_priority(demand, now);
        Ok(taken)
    }

    fn take(&mut self, taken: &Taken, now: Instant) {
        if let Some(requests) = &mut self.requests {
            requests.take(now);
        }
        self.lane(taken.fast, now).take(taken.counted_input, taken.reserved.unwrap_or(0), now);
        self.recent.note(taken.counted_input, now);
    }

    /// Beyond its limits a call is served as any other.
    fn take_priority(&mut self, demand: &Demand, now: Instant) -> bool {
        let Some(lane) = &mut self.priority else { return false };
        let input = burndown(&demand.input, demand.us_only);
        let fits = lane.check(input, 1, now).is_ok();
        if fits {
            lane.take(input, 0, now);
        }
        fits
    }

    /// Tokens that have just been produced.
    pub(crate) fn produce(&mut self, taken: &Taken, tokens: u64, now: Instant) {
        self.recent.note(tokens, now);
        if taken.reserved.is_none() {
            self.lane(taken.fast, now).take(0, tokens, now);
        }
        if let (true, Some(priority)) = (taken.priority, &mut self.priority) {
            priority.take(0, tokens, now);
        }
    }

    /// The call has ended: what it reserved and did not produce goes back.
    pub(crate) fn end(&mut self, taken: &Taken, produced: u64, now: Instant) {
        if let (Some(reserved), Some(output)) = (taken.reserved, &mut self.lane(taken.fast, now).output) {
            output.give_back(reserved.saturating_sub(produced), now);
        }
    }

    fn lane(&mut self, fast: bool, now: Instant) -> &mut Lane {
        if !fast {
            return &mut self.standard;
        }
        self.fast.get_or_insert_with(|| Lane::new(TokenLimits::of(self.limits).halved(), now))
    }

    /// As a call sees them.
    pub(crate) fn gauges(&mut self, view: View, now: Instant) -> Vec<Gauge> {
        let all = self.all_gauges(now);
        self.seen.keep(&all, now);
        view.filter(all)
    }

    /// The same as they were some time ago, as far as calls have seen them, and how long ago that is.
    pub(crate) fn gauges_ago(&mut self, ago: Duration, view: View, now: Instant) -> (Vec<Gauge>, Duration) {
        let all = self.all_gauges(now);
        self.seen.keep(&all, now);
        let (all, age) = self.seen.ago(ago, now);
        (view.filter(all), age)
    }

    fn all_gauges(&mut self, now: Instant) -> Vec<Gauge> {
        let requests = self.requests.as_mut().map(|requests| &mut requests.minute);
        let requests = requests.map(|minute| gauge(Family::Standard, Measure::Requests, minute, now));
        let mut all = Vec::from_iter(requests);
        all.extend(self.standard.gauges(Family::Standard, now));
        for (family, lane) in [(Family::Fast, &mut self.fast), (Family::Priority, &mut self.priority)] {
            all.extend(lane.as_mut().into_iter().flat_map(|lane| lane.gauges(family, now)));
        }
        all
    }

    /// What its buckets would have let through, for each [`Measure`].
    pub(crate) fn offered(&self, now: Instant) -> [Option<u64>; 3] {
        let lanes = || std::iter::once(&self.standard).chain(&self.fast);
        let sum = |of: fn(&Lane) -> Option<&Bucket>| {
            lanes().filter_map(of).map(|bucket| bucket.offered(now)).reduce(u64::saturating_add)
        };
        [
            self.requests.as_ref().map(|requests| requests.gate.offered(now)),
            sum(|lane| lane.input.as_ref()),
            sum(|lane| lane.output.as_ref()),
        ]
    }
}

pub(crate) fn counted(input: &Tokens, cache_reads_count: bool) -> u64 {
    input.prompt() - if cache_reads_count { 0 } else { input.cache_read }
}

/// What priority capacity pays for a prompt. Source: platform.claude.com, service tiers, 2026-08.
fn burndown(input: &Tokens, us_only: bool) -> u64 {
    let permille =
        1_000 * input.input + 1_250 * input.cache_write_5m + 2_000 * input.cache_write_1h + 100 * input.cache_read;
    let place = if us_only { 1_100 } else { 1_000 };
    (permille * place).div_ceil(1_000_000)
}
