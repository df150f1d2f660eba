//! A slow and obvious upstream, written apart from `domain::admission`, so that the two can disagree.
//!
//! It has true buckets, a smoothed gate for requests, windows, a ramp, and hands out what its headers would say.

use std::collections::{BTreeMap, VecDeque};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// The real API's gate tolerates that much jitter of the network between two paced requests.
const TOLERANCE: u64 = SECOND / 20;
/// A bucket is a real number here: less than this is a rounding error, not a token.
const EPSILON: f64 = 1e-3;

/// What a minute allows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Limits {
    pub(crate) requests: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

impl Limits {
    pub(crate) const TIER_1: Limits = Limits { requests: 50, input: 30_000, output: 8_000 };
    pub(crate) const START: Limits = Limits { requests: 1_000, input: 2_000_000, output: 400_000 };

    pub(crate) fn times(self, factor: f64) -> Limits {
        let of = |limit: u64| ((limit as f64 * factor) as u64).max(1);
        Limits { requests: of(self.requests), input: of(self.input), output: of(self.output) }
    }

    pub(crate) fn of(self, meter: Meter) -> u64 {
        match meter {
            Meter::Requests => self.requests,
            Meter::Input => self.input,
            Meter::Output => self.output,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counting {
    /// `max_tokens` at the start, corrected at the end.
    Reserved,
    /// As they are produced, evenly over the stream.
    AsProduced,
}

/// How it goes about its limits.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) counting: Counting,
    /// Requests that may come at once.
    pub(crate) burst: u64,
    /// Usage that grows too fast is refused.
    pub(crate) ramp: bool,
    pub(crate) windows: Vec<Allowance>,
}

impl Manner {
    pub(crate) fn smoothed(counting: Counting) -> Manner {
        Manner { counting, burst: 1, ramp: false, windows: vec![] }
    }
}

/// A subscription's window: so many tokens from its first call on.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    pub(crate) name: &'static str,
    pub(crate) length: u64,
    pub(crate) tokens: f64,
    used: f64,
    ends: u64,
}

impl Allowance {
    pub(crate) fn new(name: &'static str, length: u64, tokens: f64) -> Allowance {
        Allowance { name, length, tokens, used: 0.0, ends: 0 }
    }

    fn turn(&mut self, now: u64) {
        if now >= self.ends {
            (self.used, self.ends) = (0.0, now + self.length);
        }
    }

    fn is_spent(&self) -> bool {
        self.used >= self.tokens
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Meter {
    Requests,
    Input,
    Output,
}

impl Meter {
    pub(crate) const ALL: [Meter; 3] = [Meter::Requests, Meter::Input, Meter::Output];
}

/// A minute's worth that refills continuously, and what running answers draw on it meanwhile.
#[derive(Clone, Debug)]
struct Bucket {
    limit: f64,
    level: f64,
    drawn_per_minute: f64,
    at: u64,
}

impl Bucket {
    fn full(limit: u64) -> Bucket {
        Bucket { limit: limit as f64, level: limit as f64, drawn_per_minute: 0.0, at: 0 }
    }

    fn catch_up(&mut self, now: u64) {
        let minutes = (now - self.at) as f64 / MINUTE as f64;
        self.level = (self.level + (self.limit - self.drawn_per_minute) * minutes).min(self.limit);
        self.at = now;
    }

    fn holds(&self, amount: f64) -> bool {
        self.level + EPSILON >= amount.min(self.limit)
    }

    /// Nanoseconds until it holds so much, if nobody else comes.
    fn time_for(&self, amount: f64) -> u64 {
        let missing = (amount.min(self.limit) - self.level).max(0.0);
        (missing / self.limit * MINUTE as f64) as u64
    }

    fn set_limit(&mut self, limit: u64) {
        self.limit = limit as f64;
        self.level = self.level.min(self.limit);
    }
}

/// A call as it reaches the upstream, which knows what will come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// What is not read from the cache.
    pub(crate) input: u64,
    pub(crate) max_tokens: u64,
    pub(crate) output: u64,
    pub(crate) lasts: u64,
}

/// Why not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Why {
    Limit(Meter),
    Ramp,
    Window,
    Storm,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct No {
    pub(crate) why: Why,
    /// Whole seconds, rounded up.
    pub(crate) retry_after: Option<u64>,
}

/// What the headers of an answer say of one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) meter: Meter,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) full_in: u64,
}

/// What they say of one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToldWindow {
    pub(crate) name: &'static str,
    /// Hundredths of a percent.
    pub(crate) used: u32,
    pub(crate) ends: u64,
    pub(crate) rejected: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) limits: Vec<Told>,
    pub(crate) windows: Vec<ToldWindow>,
}

#[derive(Clone, Copy)]
struct Running {
    asked: Asked,
    since: u64,
}

pub(crate) struct Upstream {
    pub(crate) limits: Limits,
    manner: Manner,
    /// When the gate would be empty again.
    gate: u64,
    requests: Bucket,
    input: Bucket,
    output: Bucket,
    running: BTreeMap<usize, Running>,
    storm_until: u64,
    /// Input tokens of each of the last ten-second steps.
    history: VecDeque<(u64, f64)>,
    pub(crate) refused: BTreeMap<Why, u64>,
    pub(crate) taken: Taken,
    /// By others.
    pub(crate) outside: Taken,
}

/// Sums since the start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) requests: f64,
    pub(crate) input: f64,
    pub(crate) output: f64,
}

impl Taken {
    pub(crate) fn of(self, meter: Meter) -> f64 {
        match meter {
            Meter::Requests => self.requests,
            Meter::Input => self.input,
            Meter::Output => self.output,
        }
    }

    pub(crate) fn since(self, earlier: Taken) -> Taken {
        Taken {
            requests: self.requests - earlier.requests,
            input: self.input - earlier.input,
            output: self.output - earlier.output,
        }
    }
}

const RAMP_STEP: u64 = 10 * SECOND;
const RAMP_STEPS: usize = 60;

impl Upstream {
    pub(crate) fn new(limits: Limits, manner: Manner) -> Upstream {
        Upstream {
            limits,
            manner,
            gate: 0,
            requests: Bucket::full(limits.requests),
            input: Bucket::full(limits.input),
            output: Bucket::full(limits.output),
            running: BTreeMap::new(),
            storm_until: 0,
            history: VecDeque::new(),
            refused: BTreeMap::new(),
            taken: Taken::default(),
            outside: Taken::default(),
        }
    }

    /// Takes a call, or says why not; one that is refused costs nothing.
    pub(crate) fn receive(&mut self, id: usize, asked: Asked, now: u64) -> Result<(), No> {
        self.catch_up(now);
        self.check(asked, now).inspect_err(|no| *self.refused.entry(no.why).or_default() += 1)?;
        self.take(asked, now);
        self.taken.requests += 1.0;
        self.taken.input += asked.input as f64;
        for window in &mut self.manner.windows {
            window.used += (asked.input + asked.output) as f64;
        }
        if self.manner.counting == Counting::AsProduced {
            self.output.drawn_per_minute += drawn_per_minute(asked);
        }
        self.running.insert(id, Running { asked, since: now });
        Ok(())
    }

    /// An answer is whole, or its client has gone.
    pub(crate) fn finish(&mut self, id: usize, now: u64) {
        self.catch_up(now);
        let Some(Running { asked, since }) = self.running.remove(&id) else { return };
        let share = ((now - since) as f64 / asked.lasts.max(1) as f64).min(1.0);
        let produced = asked.output as f64 * share;
        self.taken.output += produced;
        match self.manner.counting {
            Counting::AsProduced => {
                self.output.drawn_per_minute = (self.output.drawn_per_minute - drawn_per_minute(asked)).max(0.0);
                if self.running.is_empty() {
                    self.output.drawn_per_minute = 0.0;
                }
            }
            Counting::Reserved => {
                self.output.level = (self.output.level + asked.max_tokens as f64 - produced).min(self.output.limit);
            }
        }
    }

    /// Another program's call: it fits, or it is their 429.
    pub(crate) fn receive_from_others(&mut self, input: u64, output: u64, now: u64) -> bool {
        self.catch_up(now);
        let asked = Asked { input, max_tokens: output, output, lasts: 1 };
        if self.check(asked, now).is_err() {
            return false;
        }
        self.take(asked, now);
        if self.manner.counting == Counting::AsProduced {
            self.output.level -= output as f64;
        }
        self.outside.requests += 1.0;
        self.outside.input += input as f64;
        self.outside.output += output as f64;
        true
    }

    pub(crate) fn set_limits(&mut self, limits: Limits, now: u64) {
        self.catch_up(now);
        self.limits = limits;
        self.requests.set_limit(limits.requests);
        self.input.set_limit(limits.input);
        self.output.set_limit(limits.output);
    }

    pub(crate) fn storm(&mut self, until: u64) {
        self.storm_until = until;
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// How much running answers have produced so far counts as taken too.
    pub(crate) fn taken_at(&self, now: u64) -> Taken {
        let so_far = |running: &Running| {
            let share = ((now - running.since) as f64 / running.asked.lasts.max(1) as f64).min(1.0);
            running.asked.output as f64 * share
        };
        let running: f64 = self.running.values().map(so_far).sum();
        Taken { output: self.taken.output + running, ..self.taken }
    }

    pub(crate) fn output_left(&mut self, now: u64) -> u64 {
        self.catch_up(now);
        self.output.level.max(0.0) as u64
    }

    pub(crate) fn head(&mut self, now: u64) -> Head {
        self.catch_up(now);
        let told = |meter: Meter| {
            let bucket = self.bucket(meter);
            let left = bucket.level.max(0.0);
            let remaining = if meter == Meter::Requests { left.floor() } else { (left / 1_000.0).round() * 1_000.0 };
            Told {
                meter,
                limit: bucket.limit as u64,
                remaining: remaining as u64,
                full_in: bucket.time_for(bucket.limit).div_ceil(SECOND) * SECOND,
            }
        };
        let window = |window: &Allowance| ToldWindow {
            name: window.name,
            used: (window.used / window.tokens * 10_000.0).min(10_000.0) as u32,
            ends: window.ends,
            rejected: window.is_spent(),
        };
        Head { limits: Meter::ALL.map(told).to_vec(), windows: self.manner.windows.iter().map(window).collect() }
    }

    fn bucket(&self, meter: Meter) -> &Bucket {
        match meter {
            Meter::Requests => &self.requests,
            Meter::Input => &self.input,
            Meter::Output => &self.output,
        }
    }

    fn catch_up(&mut self, now: u64) {
        self.requests.catch_up(now);
        self.input.catch_up(now);
        self.output.catch_up(now);
        for window in &mut self.manner.windows {
            window.turn(now);
        }
    }

    fn check(&self, asked: Asked, now: u64) -> Result<(), No> {
        let no = |why, wait: u64| Err(No { why, retry_after: Some(wait.div_ceil(SECOND).max(1)) });
        if now < self.storm_until {
            return Err(No { why: Why::Storm, retry_after: Some(1) });
        }
        if let Some(spent) = self.manner.windows.iter().filter(|window| window.is_spent()).max_by_key(|w| w.ends) {
            return no(Why::Window, spent.ends - now);
        }
        let opens = self.gate.saturating_sub((self.manner.burst - 1) * self.interval() + TOLERANCE);
        if now < opens {
            return no(Why::Limit(Meter::Requests), opens - now);
        }
        let output = if self.manner.counting == Counting::Reserved { asked.max_tokens } else { 1 };
        for (meter, amount) in [(Meter::Requests, 1), (Meter::Input, asked.input), (Meter::Output, output)] {
            let bucket = self.bucket(meter);
            // The gate paces requests; their bucket is what the headers show.
            if meter != Meter::Requests && !bucket.holds(amount as f64) {
                return no(Why::Limit(meter), bucket.time_for(amount as f64));
            }
        }
        if self.manner.ramp && self.grows_too_fast(asked, now) {
            return no(Why::Ramp, 10 * SECOND);
        }
        Ok(())
    }

    fn take(&mut self, asked: Asked, now: u64) {
        self.gate = self.gate.max(now) + self.interval();
        self.requests.level -= 1.0;
        self.input.level -= asked.input as f64;
        if self.manner.counting == Counting::Reserved {
            self.output.level -= asked.max_tokens as f64;
        }
        if self.manner.ramp {
            self.remember(asked, now);
        }
    }

    fn interval(&self) -> u64 {
        MINUTE / self.limits.requests
    }

    /// More in this minute than a quarter of the limit and half as much again as in any of the last minutes.
    fn grows_too_fast(&self, asked: Asked, now: u64) -> bool {
        let minute_before = |end: u64| -> f64 {
            self.history.iter().filter(|(at, _)| *at <= end && *at + MINUTE > end).map(|(_, tokens)| tokens).sum()
        };
        let present = minute_before(now) + asked.input as f64;
        let past = (1..10).map(|minutes| minute_before(now.saturating_sub(minutes * MINUTE / 2))).fold(0.0, f64::max);
        present > (self.input.limit / 4.0).max(past * 1.5).max(asked.input as f64)
    }

    fn remember(&mut self, asked: Asked, now: u64) {
        let step = now / RAMP_STEP * RAMP_STEP;
        match self.history.back_mut() {
            Some((at, tokens)) if *at == step => *tokens += asked.input as f64,
            Some(_) | None => self.history.push_back((step, asked.input as f64)),
        }
        if self.history.len() > RAMP_STEPS {
            self.history.pop_front();
        }
    }
}

fn drawn_per_minute(asked: Asked) -> f64 {
    asked.output as f64 * MINUTE as f64 / asked.lasts.max(1) as f64
}
