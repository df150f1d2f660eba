//! What estimates have learned, as plain data that outlives a restart. Conversations are left out:
//! their next turn tells more than their memory would.

use std::sync::Arc;

use super::errors::Errors;
use super::habit::{Habit, Template};
use super::outputs::Outputs;
use super::prior::Rules;
use super::regression::{Offset, Regression};
use super::{Estimates, HABITS_MAX, TOKENS_MAX};

/// As good as knowing nothing.
const DOUBT_MAX: f64 = 1e12;

/// What the calls of one client with one model have taught; the client without a name stands for all.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LearnedEstimate {
    pub model: Arc<str>,
    pub client: Arc<str>,
    pub calls: u64,
    /// How much each part of a prompt weighs against what was presumed.
    pub weights: Vec<f64>,
    /// How far its texts stray from that, as a share.
    pub spread: f64,
    /// How many standard deviations are reserved beyond the likely.
    pub caution: f64,
    pub templates: Vec<LearnedTemplate>,
    /// The last answers, in tokens.
    pub outputs: Vec<u32>,
    /// How many calls were wrong by how much.
    pub errors: Vec<f32>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct LearnedTemplate {
    pub head: u32,
    /// Tokens that nothing in the body shows.
    pub offset: f64,
    /// The square of how far off that may be.
    pub doubt: f64,
    pub outputs: Vec<u32>,
}

impl Estimates {
    pub fn remember(&self) -> Vec<LearnedEstimate> {
        let mut known: Vec<_> = self.habits.values().collect();
        known.sort_by_key(|known| known.used);
        let learned = known.into_iter().map(|known| LearnedEstimate {
            model: known.model.clone(),
            client: known.client.clone(),
            ..known.habit.remember()
        });
        learned.collect()
    }

    /// What makes no sense is left out: a file may have been edited.
    pub fn recall(&mut self, learned: Vec<LearnedEstimate>) {
        for learned in learned.into_iter().take(HABITS_MAX) {
            *self.habit(&learned.model, &learned.client) = Habit::recall(&learned);
        }
    }
}

impl Habit {
    fn remember(&self) -> LearnedEstimate {
        LearnedEstimate {
            calls: self.errors.seen(),
            weights: self.regression.weights().to_vec(),
            spread: self.spread(),
            caution: self.caution,
            templates: self.templates.iter().map(Template::remember).collect(),
            outputs: self.outputs.last().collect(),
            errors: self.errors.weights().to_vec(),
            ..LearnedEstimate::default()
        }
    }

    fn recall(learned: &LearnedEstimate) -> Habit {
        let weight = |part| learned.weights.get(part).copied().unwrap_or(1.0);
        let regression = Regression::resumed(std::array::from_fn(weight));
        let mut habit = Habit::new(Rules::of(&learned.model), regression);
        habit.resume_spread(learned.spread);
        habit.resume_caution(learned.caution);
        habit.errors = Errors::resumed(learned.calls, &learned.errors);
        habit.outputs = sane(&learned.outputs);
        habit.resume_templates(learned.templates.iter().filter_map(Template::recall));
        habit
    }
}

impl Template {
    fn remember(&self) -> LearnedTemplate {
        let outputs = self.outputs.last().collect();
        let Offset { value, variance, .. } = self.offset.unwrap_or(Offset::unsure(0.0, DOUBT_MAX));
        LearnedTemplate { head: self.head, offset: value, doubt: variance.min(DOUBT_MAX), outputs }
    }

    fn recall(learned: &LearnedTemplate) -> Option<Template> {
        let LearnedTemplate { head, offset, doubt, outputs } = learned;
        let sensible = offset.abs() < TOKENS_MAX as f64 && (0.0..=DOUBT_MAX).contains(doubt);
        // The larger it is, the sooner it must give way where it is wrong.
        let variance = doubt.max(1.0 + offset * offset / 100.0);
        sensible.then(|| Template::new(*head, Some(Offset::unsure(*offset, variance)), sane(outputs)))
    }
}

fn sane(outputs: &[u32]) -> Outputs {
    Outputs::of(outputs.iter().copied().filter(|output| u64::from(*output) <= TOKENS_MAX))
}
