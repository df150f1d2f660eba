//! What a call will probably use, learned as TCP learns its timeout: a mean and its usual error.

use std::sync::Arc;

/// What a body is made of, as far as that tells how many tokens it will come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    pub bytes: u64,
}

/// Of one side of a call, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Estimate {
    pub likely: u64,
    pub high: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct EstimateError {
    pub model: Arc<str>,
    pub client: Arc<str>,
    pub calls: u64,
    pub median_permille: u32,
    pub p95_permille: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct LearnedEstimate {}

#[derive(Clone, Copy, Debug)]
struct Learned {
    mean: u64,
    deviation: u64,
}

impl Learned {
    const fn starting_at(mean: u64, deviation: u64) -> Learned {
        Learned { mean, deviation }
    }

    fn high(self) -> u64 {
        self.mean.saturating_add(self.deviation.saturating_mul(2))
    }

    fn learn(&mut self, seen: u64) {
        let error = self.mean.abs_diff(seen);
        self.deviation = self.deviation - self.deviation / 4 + error / 4;
        self.mean = self.mean - self.mean / 8 + seen / 8;
    }
}

#[derive(Clone, Debug)]
pub(super) struct Estimates {
    per_kilobyte: Learned,
    output: Learned,
}

impl Estimates {
    pub(super) fn fresh() -> Estimates {
        let per_kilobyte = Learned::starting_at(300_000, 25_000);
        Estimates { per_kilobyte, output: Learned::starting_at(500_000, 250_000) }
    }

    pub(super) fn input(&self, _model: &str, _client: &str, shape: &Shape) -> Estimate {
        let of = |ratio: u64| shape.bytes.saturating_mul(ratio).div_ceil(1_000_000);
        Estimate { likely: of(self.per_kilobyte.mean), high: of(self.per_kilobyte.high()) }
    }

    pub(super) fn output(&self, _model: &str, _client: &str, _shape: &Shape, max_tokens: Option<u64>) -> Estimate {
        let most = max_tokens.unwrap_or(u64::MAX);
        let of = |tokens: u64| tokens.div_ceil(1_000).min(most);
        Estimate { likely: of(self.output.mean), high: of(self.output.high()) }
    }

    pub(super) fn learn(
        &mut self,
        _model: &str,
        _client: &str,
        shape: &Shape,
        _guessed: Estimate,
        prompt: u64,
        output: u64,
    ) {
        if shape.bytes > 0 && prompt > 0 {
            self.per_kilobyte.learn(prompt.saturating_mul(1_000_000) / shape.bytes);
        }
        if output > 0 {
            self.output.learn(output.saturating_mul(1_000));
        }
    }

    #[expect(clippy::unused_self, reason = "a stand-in")]
    pub(super) fn errors(&self) -> Vec<EstimateError> {
        vec![]
    }

    #[expect(clippy::unused_self, reason = "a stand-in")]
    pub(super) fn remember(&self) -> Vec<LearnedEstimate> {
        vec![]
    }

    #[expect(clippy::unused_self, reason = "a stand-in")]
    pub(super) fn recall(&mut self, _learned: Vec<LearnedEstimate>) {}
}
