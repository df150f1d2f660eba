//! What a call will probably use, learned for each model and client from what their calls have used.
//!
//! A body's counts (`Shape`) are weighed by a regression of its client; what the counts cannot show is
//! remembered for its template, and the next turn of a conversation is told from the turn before.
//! No tokenizer is asked: those that are public count 15–20 % less than Claude does.

mod errors;
mod habit;
mod memory;
mod outputs;
mod prior;
mod regression;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::habit::Habit;
pub use self::memory::{LearnedEstimate, LearnedTemplate};
use self::prior::Rules;
use self::regression::Regression;
pub use self::shape::{Modes, Shape};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Estimate {
    /// As often too high as too low.
    pub likely: u64,
    /// What is reserved: nearly never exceeded.
    pub high: u64,
}

/// How wrong the estimates for one client and model have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EstimateError {
    pub model: Arc<str>,
    pub client: Arc<str>,
    pub calls: u64,
    /// In thousandths of the truth.
    pub median_permille: u32,
    pub p95_permille: u32,
}

/// Clients choose the names of models: those used longest ago make room.
const HABITS_MAX: usize = 256;
/// Larger counts are lies, and teach nothing.
const TOKENS_MAX: u64 = 20_000_000;
/// Output tokens of a call before anything was learned.
const FIRST_OUTPUT: Estimate = Estimate { likely: 500, high: 1_000 };

/// What the calls of one account have taught.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    habits: BTreeMap<u64, Known>,
    uses: u64,
}

#[derive(Clone, Debug)]
struct Known {
    model: Arc<str>,
    client: Arc<str>,
    habit: Habit,
    used: u64,
}

/// Stands for all clients of a model: a new client begins with what they have taught.
const ANYONE: &str = "";

impl Estimates {
    pub fn fresh() -> Estimates {
        Estimates::default()
    }

    /// A model that calls will name from now on.
    pub(super) fn meet(&mut self, model: &str) {
        self.habit(model, ANYONE);
    }

    /// Tokens of the prompt.
    pub fn input(&self, model: &str, client: &str, shape: &Shape) -> Estimate {
        let of = |client| self.known(model, client);
        match (of(client), of(ANYONE)) {
            (Some(own), _) => own.habit.input(shape),
            (None, Some(anyone)) => anyone.habit.input_of_a_stranger(shape),
            (None, None) => Habit::new(Rules::of(model), Regression::presumed()).input(shape),
        }
    }

    /// Never above what the caller allows.
    pub fn output(&self, model: &str, client: &str, shape: &Shape, max_tokens: Option<u64>) -> Estimate {
        let of = |client| self.known(model, client).and_then(|known| known.habit.output(shape));
        let Estimate { likely, high } = of(client).or_else(|| of(ANYONE)).unwrap_or(FIRST_OUTPUT);
        let most = max_tokens.unwrap_or(u64::MAX);
        Estimate { likely: likely.min(most), high: high.min(most) }
    }

    /// A call that was expected to come to `guessed` came to this.
    pub fn learn(&mut self, model: &str, client: &str, shape: &Shape, guessed: Estimate, prompt: u64, output: u64) {
        let prompt = (1..=TOKENS_MAX).contains(&prompt).then_some(prompt);
        let output = u32::try_from(output).ok().filter(|output| (1..=TOKENS_MAX).contains(&u64::from(*output)));
        for client in [ANYONE, client] {
            let habit = self.habit(model, client);
            if let Some(prompt) = prompt {
                habit.learn_input(shape, guessed, prompt);
            }
            if let Some(output) = output {
                habit.learn_output(shape, output);
            }
        }
    }

    pub fn errors(&self) -> Vec<EstimateError> {
        let clients = self.habits.values().filter(|known| &*known.client != ANYONE);
        let errors = clients.map(|Known { model, client, habit, .. }| EstimateError {
            model: model.clone(),
            client: client.clone(),
            calls: habit.errors.seen(),
            median_permille: habit.errors.permille(0.5),
            p95_permille: habit.errors.permille(0.95),
        });
        let mut errors: Vec<_> = errors.filter(|error| error.calls > 0).collect();
        errors.sort_by(|a, b| (&a.model, &a.client).cmp(&(&b.model, &b.client)));
        errors
    }

    fn known(&self, model: &str, client: &str) -> Option<&Known> {
        self.habits.get(&key(model, client))
    }

    fn habit(&mut self, model: &str, client: &str) -> &mut Habit {
        self.uses += 1;
        let key = key(model, client);
        if !self.habits.contains_key(&key) {
            self.make_room();
        }
        let like = self.known(model, ANYONE).map(|known| Regression::resumed(known.habit.regression.weights()));
        let known = self.habits.entry(key).or_insert_with(|| Known {
            model: model.into(),
            client: client.into(),
            habit: Habit::new(Rules::of(model), like.unwrap_or_else(Regression::presumed)),
            used: 0,
        });
        known.used = self.uses;
        &mut known.habit
    }

    fn make_room(&mut self) {
        while self.habits.len() >= HABITS_MAX {
            let oldest = self.habits.iter().min_by_key(|(_, known)| known.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.habits.remove(&key));
        }
    }
}

/// The names as one number, to find them by without a copy: a hash over words of eight bytes.
fn key(model: &str, client: &str) -> u64 {
    let mut hash = 0_u64;
    let mut add = |number: u64| hash = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    for name in [model, client] {
        for word in name.as_bytes().chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            add(u64::from_le_bytes(padded));
        }
        add(name.len() as u64);
    }
    hash
}

/// Whole tokens, at least one.
fn whole(tokens: f64) -> u64 {
    // `as` rounds towards zero, keeps within the type and takes NaN for zero.
    (tokens as u64).clamp(1, TOKENS_MAX * 2)
}
