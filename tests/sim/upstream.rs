//! A slow and obvious upstream: it keeps every call it has seen and adds them up anew each time.
//!
//! Written apart from `domain`, so that the two can disagree.

use domain::tier::{MinuteLimits, OutputCounting};

/// The real API's buckets tolerate that much jitter of the network between two paced requests.
const JITTER_NANOS: u64 = 50_000_000;

struct Spent {
    at: u64,
    tokens: i64,
}

/// A bucket of one minute's tokens that refills continuously, by exact integer fractions.
struct Bucket {
    per_minute: u64,
    spent: Vec<Spent>,
}

impl Bucket {
    /// Level × nanoseconds of a minute, from full, replayed from the first spending on.
    fn level(&self, now: u64) -> i128 {
        let full = i128::from(self.per_minute) * 60_000_000_000;
        let (mut level, mut at) = (full, 0);
        for spent in &self.spent {
            level = (level + i128::from(self.per_minute) * i128::from(spent.at - at)).min(full);
            level = (level - i128::from(spent.tokens) * 60_000_000_000).min(full);
            at = spent.at;
        }
        (level + i128::from(self.per_minute) * i128::from(now - at)).min(full)
    }

    fn holds(&self, tokens: u64, now: u64) -> bool {
        self.level(now) >= i128::from(tokens.min(self.per_minute)) * 60_000_000_000
    }

    fn spend(&mut self, tokens: i64, at: u64) {
        self.spent.push(Spent { at, tokens });
    }
}

pub(crate) struct Upstream {
    requests_per_minute: u64,
    next_request: u64,
    input: Bucket,
    output: Bucket,
    counting: OutputCounting,
    pub(crate) refused: Vec<&'static str>,
    pub(crate) input_tokens: u64,
}

impl Upstream {
    pub(crate) fn new(limits: MinuteLimits, counting: OutputCounting) -> Upstream {
        let bucket = |limit: Option<u64>| Bucket { per_minute: limit.expect("a full row"), spent: vec![] };
        Upstream {
            requests_per_minute: limits.requests.expect("a full row"),
            next_request: 0,
            input: bucket(limits.input_tokens),
            output: bucket(limits.output_tokens),
            counting,
            refused: vec![],
            input_tokens: 0,
        }
    }

    /// Does it take the call? One that does not fit costs nothing.
    pub(crate) fn receive(&mut self, input: u64, max_tokens: u64, now: u64) -> bool {
        let wanted = if self.counting == OutputCounting::Reserved { max_tokens } else { 1 };
        if now + JITTER_NANOS < self.next_request {
            self.refused.push("requests");
        } else if !self.input.holds(input, now) {
            self.refused.push("input tokens");
        } else if !self.output.holds(wanted, now) {
            self.refused.push("output tokens");
        } else {
            self.next_request = self.next_request.max(now) + 60_000_000_000 / self.requests_per_minute;
            self.input.spend(i64::try_from(input).expect("small"), now);
            if self.counting == OutputCounting::Reserved {
                self.output.spend(i64::try_from(max_tokens).expect("small"), now);
            }
            self.input_tokens += input;
            return true;
        }
        false
    }

    pub(crate) fn finish(&mut self, output: u64, max_tokens: u64, now: u64) {
        let reserved = if self.counting == OutputCounting::Reserved { max_tokens } else { 0 };
        self.output.spend(i64::try_from(output).expect("small") - i64::try_from(reserved).expect("small"), now);
    }
}
