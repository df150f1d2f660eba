//! What a call will probably use, learned as TCP learns its timeout: a mean and its usual error.

/// A moving mean and mean deviation, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learned {
    mean: u64,
    deviation: u64,
}

impl Learned {
    pub(super) const fn starting_at(mean: u64, deviation: u64) -> Learned {
        Learned { mean, deviation }
    }

    /// High enough for nearly all.
    pub(super) fn high(self) -> u64 {
        self.mean.saturating_add(self.deviation.saturating_mul(2))
    }

    pub(super) fn learn(&mut self, seen: u64) {
        let error = self.mean.abs_diff(seen);
        self.deviation = self.deviation - self.deviation / 4 + error / 4;
        self.mean = self.mean - self.mean / 8 + seen / 8;
    }
}

/// Input tokens per thousand bytes of body before anything was learned: real prose and JSON stay under it.
/// Claude's own count runs 15–20 % above tiktoken's, which is why no tokenizer is asked.
const TOKENS_PER_KILOBYTE: Learned = Learned::starting_at(300_000, 25_000);
/// Output tokens of a call before anything was learned.
const OUTPUT_TOKENS: Learned = Learned::starting_at(500_000, 250_000);

/// What the calls of one lane have in common.
#[derive(Clone, Debug)]
pub(super) struct Estimates {
    per_kilobyte: Learned,
    output: Learned,
}

impl Estimates {
    pub(super) fn fresh() -> Estimates {
        Estimates { per_kilobyte: TOKENS_PER_KILOBYTE, output: OUTPUT_TOKENS }
    }

    pub(super) fn input(&self, body_bytes: u64) -> u64 {
        body_bytes.saturating_mul(self.per_kilobyte.high()).div_ceil(1_000_000)
    }

    /// Never above what the caller allows.
    pub(super) fn output(&self, max_tokens: Option<u64>) -> u64 {
        let likely = self.output.high().div_ceil(1_000);
        max_tokens.map_or(likely, |most| most.min(likely))
    }

    pub(super) fn learn(&mut self, body_bytes: u64, prompt: u64, output: u64) {
        if body_bytes > 0 && prompt > 0 {
            self.per_kilobyte.learn(prompt.saturating_mul(1_000_000) / body_bytes);
        }
        if output > 0 {
            self.output.learn(output.saturating_mul(1_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_comes_down_to_what_calls_really_use_and_stays_above_it() {
        let mut estimates = Estimates::fresh();
        assert_eq!(estimates.input(1_000), 350);
        for _ in 0..40 {
            estimates.learn(1_000, 200, 50);
        }
        assert!((200..=215).contains(&estimates.input(1_000)), "{}", estimates.input(1_000));
        assert!((50..=65).contains(&estimates.output(None)), "{}", estimates.output(None));
        assert_eq!(estimates.output(Some(10)), 10);
    }

    #[test]
    fn absurd_counts_neither_overflow_nor_poison_it_for_ever() {
        let mut estimates = Estimates::fresh();
        estimates.learn(1, u64::MAX, u64::MAX);
        for _ in 0..400 {
            estimates.learn(1_000, 200, 50);
        }
        assert!(estimates.input(1_000) < 400, "{}", estimates.input(1_000));
    }
}
