//! What a call used: tokens in the five classes that have a price of their own.

use std::ops::{Add, AddAssign};
use std::sync::Arc;

/// Token counts. The prompt is `input` + both cache writes + `cache_read`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Tokens {
    /// Neither written to nor read from the cache.
    pub input: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    pub cache_read: u64,
    /// Thinking included.
    pub output: u64,
}

impl Tokens {
    pub const fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.cache_read)
    }
}

impl Add for Tokens {
    type Output = Tokens;
    fn add(self, other: Tokens) -> Tokens {
        Tokens {
            input: self.input.saturating_add(other.input),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            output: self.output.saturating_add(other.output),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        *self = *self + other;
    }
}

/// What one call used and how it ran, as far as that changes the price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Usage {
    pub tokens: Tokens,
    pub web_searches: u64,
    pub batch: bool,
    /// `speed: "fast"` as the answer reports it.
    pub fast: bool,
    /// `inference_geo: "us"` as the answer reports it.
    pub us_only: bool,
}

/// One step of an answer, where the upstream tells of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub kind: StepKind,
    /// `None`: the model that answers.
    pub model: Option<Arc<str>>,
    pub tokens: Tokens,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    Message,
    /// Another model took over.
    Fallback,
    /// A compaction, or an advisor's answer: the counts of the whole answer leave it out.
    Beside,
}

impl StepKind {
    /// As `usage.iterations` names it.
    pub fn named(name: &str) -> Option<StepKind> {
        match name {
            "message" => Some(StepKind::Message),
            "fallback_message" => Some(StepKind::Fallback),
            "compaction" | "advisor_message" => Some(StepKind::Beside),
            _ => None,
        }
    }
}

/// Work of another kind or of another model in the same call: billed beside the answer itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Aside {
    /// `None`: the model that answers.
    pub model: Option<Arc<str>>,
    pub tokens: Tokens,
}

/// What the steps of an answer say of its bill.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Split {
    pub asides: Vec<Aside>,
    /// Where another model took over: who answered, and what is its own of the whole answer's counts.
    pub taken_over: Option<(Arc<str>, Tokens)>,
}

/// Each step has its own model's price. `model` is the one that answers as far as is known without the steps.
pub fn split(steps: &[Step], model: Option<&Arc<str>>) -> Split {
    let aside = |step: &Step| Aside { model: step.model.clone(), tokens: step.tokens };
    let mut split = Split::default();
    split.asides.extend(steps.iter().filter(|step| step.kind == StepKind::Beside).map(aside));
    let Some(last) = steps.iter().rfind(|step| step.kind == StepKind::Fallback) else { return split };
    let Some(answered) = last.model.as_ref().or(model) else { return split };
    let is_own = |step: &&Step| step.model.as_ref().is_none_or(|model| model == answered);
    let messages = || steps.iter().filter(|step| step.kind != StepKind::Beside);
    let own = messages().filter(is_own).fold(Tokens::default(), |sum, step| sum + step.tokens);
    // Who declined before the first word is not paid.
    let others = messages().filter(|step| !is_own(step) && step.tokens.output > 0);
    split.asides.extend(others.map(aside));
    split.taken_over = Some((answered.clone(), own));
    split
}
