//! How one client uses one model.

use super::errors::Errors;
use super::outputs::Outputs;
use super::prior::{Parts, Rules};
use super::regression::{Offset, Regression};
use super::shape::{Modes, Shape};
use super::{Estimate, whole};

const TEMPLATES_MAX: usize = 32;
const CONVERSATIONS_MAX: usize = 64;
/// What counts tell apart at best, in tokens.
const GRAIN: f64 = 0.6;
/// How far a text strays from what its counts say, as a share: at first, and what may be learned of it.
const FIRST_STRAY: f64 = 0.06;
/// Smaller texts are off by whole tokens, whatever they stray.
const STRAY_SIZE_MIN: f64 = 30.0;
const STRAY_RANGE: (f64, f64) = (0.005, 0.1);
/// Of what calls have shown, how many standard deviations are reserved beyond the likely.
const CAUTION_RANGE: (f64, f64) = (1.5, 12.0);
const FIRST_CAUTION: f64 = 4.0;
/// Whoever knows nothing reserves no more than twice the likely and this.
const HIGH_BEYOND_DOUBLE: f64 = 100.0;
/// A call further off than this teaches no more than this, as its reason is something else.
const OUTLIER: f64 = 2.5;
/// Squares of errors, in variances, as a moving mean: above this nothing holds that was learned.
const MISFIT_MAX: f64 = 2.3;
/// What is presumed of a client goes sooner than what it has shown itself.
const EARLY_MISFIT_MAX: f64 = 1.2;
const EARLY_USES: u64 = 40;
/// One odd call is no reason to doubt what many have shown.
const MISFIT_OF_ONE_MAX: f64 = 4.0;

/// How far off a template's offset may be once nothing holds, in tokens.
const FORGOTTEN_OFFSET: f64 = 60.0;

#[derive(Clone, Debug)]
pub(super) struct Habit {
    pub(super) rules: Rules,
    pub(super) regression: Regression,
    pub(super) caution: f64,
    pub(super) errors: Errors,
    pub(super) outputs: Outputs,
    pub(super) templates: Vec<Template>,
    conversations: Vec<Conversation>,
    /// Variance of a text beyond what its counts say, in squares of shares.
    stray: f64,
    misfit: f64,
    uses: u64,
}

/// Calls that share their head, and with it what no count shows: hidden prompts, the modes they ask for.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) head: u32,
    /// Before its first prompt was counted it may be anything.
    pub(super) offset: Option<Offset>,
    pub(super) outputs: Outputs,
    used: u64,
}

/// The last turn of a conversation: the next one begins with it.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    opening: u32,
    parts: Parts,
    tokens: f64,
    used: u64,
}

/// Tokens, and how sure that is.
#[derive(Clone, Copy)]
struct Belief {
    mean: f64,
    variance: f64,
}

impl Habit {
    pub(super) fn new(rules: Rules, regression: Regression) -> Habit {
        Habit {
            rules,
            regression,
            caution: FIRST_CAUTION,
            errors: Errors::default(),
            outputs: Outputs::default(),
            templates: Vec::new(),
            conversations: Vec::new(),
            stray: FIRST_STRAY * FIRST_STRAY,
            misfit: 0.0,
            uses: 0,
        }
    }

    pub(super) fn input(&self, shape: &Shape) -> Estimate {
        self.input_with(shape, self.caution)
    }

    /// Of somebody who has taught nothing yet: its first calls may all be off by as much, the same way.
    pub(super) fn input_of_a_stranger(&self, shape: &Shape) -> Estimate {
        self.input_with(shape, self.caution.max(FIRST_CAUTION))
    }

    fn input_with(&self, shape: &Shape, caution: f64) -> Estimate {
        let parts = self.rules.parts(shape);
        let whole_prompt = self.whole_prompt(shape, &parts);
        let next_turn = self.conversation(shape).map(|last| self.next_turn(last, &parts));
        let surest = next_turn.filter(|next| next.variance < whole_prompt.variance).unwrap_or(whole_prompt);
        let most = if shape.modes.has(Modes::UNSEEN) { f64::INFINITY } else { surest.mean * 2.0 + HIGH_BEYOND_DOUBLE };
        let high = (surest.mean + caution * surest.deviation()).min(most);
        let likely = whole(surest.mean.round());
        Estimate { likely, high: whole(high.ceil()).max(likely) }
    }

    /// The median, and what nineteen answers in twenty stay under.
    pub(super) fn output(&self, shape: &Shape) -> Option<Estimate> {
        let same = self.template(shape).map(|template| &template.outputs).filter(|same| !same.is_empty());
        let outputs = same.unwrap_or(&self.outputs);
        (!outputs.is_empty()).then(|| Estimate { likely: outputs.median(), high: outputs.high() })
    }

    pub(super) fn learn_input(&mut self, shape: &Shape, guessed: Estimate, prompt: u64) {
        self.errors.learn(guessed.likely, prompt);
        let parts = self.rules.parts(shape);
        let tokens = tokens(prompt);
        self.uses += 1;
        if shape.modes.has(Modes::UNSEEN) {
            return self.learn_unseen(shape, &parts, tokens);
        }
        self.learn_caution(guessed, prompt);
        match self.conversation(shape).copied() {
            Some(last) => self.learn_turn(&last, &parts, tokens),
            None => self.learn_whole(shape, &parts, tokens),
        }
        let turn = Conversation { opening: shape.opening, parts, tokens, used: self.uses };
        self.keep_conversation(turn);
    }

    pub(super) fn learn_output(&mut self, shape: &Shape, output: u32) {
        self.outputs.learn(output);
        self.template_mut(shape).outputs.learn(output);
    }

    pub(super) fn resume_caution(&mut self, caution: f64) {
        if caution.is_finite() {
            self.caution = caution.clamp(CAUTION_RANGE.0, CAUTION_RANGE.1);
        }
    }

    /// How far texts stray, as a share.
    pub(super) fn spread(&self) -> f64 {
        self.stray.sqrt()
    }

    pub(super) fn resume_spread(&mut self, spread: f64) {
        if spread.is_finite() {
            let spread = spread.clamp(STRAY_RANGE.0, STRAY_RANGE.1);
            self.stray = spread * spread;
        }
    }

    pub(super) fn resume_templates(&mut self, templates: impl Iterator<Item = Template>) {
        self.templates = templates.take(TEMPLATES_MAX).collect();
    }

    /// From all its parts and the offset of its template.
    fn whole_prompt(&self, shape: &Shape, parts: &Parts) -> Belief {
        let (steady, moving) = halves(shape, parts);
        let offset = self.template(shape).and_then(|known| known.offset).unwrap_or_else(|| first_offset(steady));
        Belief {
            mean: self.regression.mean(parts) + offset.value,
            variance: self.regression.variance_beside(parts, &offset) + self.stray(moving),
        }
    }

    /// From the turn before, and what came after it.
    fn next_turn(&self, last: &Conversation, parts: &Parts) -> Belief {
        let grown = difference(parts, &last.parts);
        let size = grown.iter().map(|part| part.abs()).sum();
        Belief {
            mean: last.tokens + self.regression.mean(&grown),
            variance: self.regression.variance(&grown) + self.stray(size),
        }
    }

    fn learn_whole(&mut self, shape: &Shape, parts: &Parts, tokens: f64) {
        let (steady, moving) = halves(shape, parts);
        let before = self.whole_prompt(shape, parts);
        self.judge(before.error(tokens), before.variance - self.stray(moving), moving);
        let believed = self.whole_prompt(shape, parts);
        let (surprise, chance) = (believed.error(tokens), self.stray(moving));
        let error = believable(surprise, believed.deviation());
        let known = self.template_mut(shape).offset.take();
        let mut offset = known.unwrap_or_else(|| first_offset(steady));
        self.regression.learn_beside(parts, &mut offset, error, chance);
        self.part_offsets();
        if known.is_none() {
            // What a new template adds may be anything.
            offset.value += surprise - error;
        }
        self.template_mut(shape).offset = Some(offset);
        let left = self.whole_prompt(shape, parts).error(tokens);
        self.learn_stray(error, left, moving);
    }

    /// What nobody sees says nothing about what can be seen: only its template learns of it.
    fn learn_unseen(&mut self, shape: &Shape, parts: &Parts, tokens: f64) {
        let surprise = self.whole_prompt(shape, parts).error(tokens);
        let known = self.template_mut(shape).offset.take();
        let value = known.map_or(surprise, |known| known.value + surprise / 4.0);
        self.template_mut(shape).offset = Some(Offset::unsure(value, surprise * surprise));
    }

    /// Only what is new teaches: the rest has taught already.
    fn learn_turn(&mut self, last: &Conversation, parts: &Parts, tokens: f64) {
        let grown = difference(parts, &last.parts);
        let size = grown.iter().map(|part| part.abs()).sum();
        let before = self.next_turn(last, parts);
        self.judge(before.error(tokens), before.variance - self.stray(size), size);
        let believed = self.next_turn(last, parts);
        let error = believable(believed.error(tokens), believed.deviation());
        self.regression.learn(&grown, error, self.stray(size));
        self.part_offsets();
        let left = self.next_turn(last, parts).error(tokens);
        self.learn_stray(error, left, size);
    }

    /// The weights have moved without these offsets: what they had in common with them no longer holds.
    fn part_offsets(&mut self) {
        self.templates.iter_mut().filter_map(|template| template.offset.as_mut()).for_each(Offset::part);
    }

    /// What is left of an error once it has taught is chance: error times rest is its variance, on average.
    fn learn_stray(&mut self, error: f64, left: f64, size: f64) {
        if size > STRAY_SIZE_MIN {
            let seen = (error * left).max(0.0) / (size * size);
            let (least, most) = STRAY_RANGE;
            self.stray = (self.stray * 0.92 + seen * 0.08).clamp(least * least, most * most);
        }
    }

    fn stray(&self, size: f64) -> f64 {
        GRAIN * GRAIN + self.stray * size * size
    }

    /// Errors that are larger than texts stray at first, call after call, have another reason than chance.
    fn judge(&mut self, error: f64, known: f64, size: f64) {
        let chance = GRAIN * GRAIN + (FIRST_STRAY * size).powi(2);
        let misfit = (error * error / (known + chance)).min(MISFIT_OF_ONE_MAX);
        self.misfit = self.misfit * 0.85 + misfit * 0.15;
        let most = if self.uses < EARLY_USES { EARLY_MISFIT_MAX } else { MISFIT_MAX };
        if self.misfit > most {
            self.misfit = 0.0;
            self.forget(error);
        }
    }

    fn forget(&mut self, error: f64) {
        self.regression = Regression::forgotten(self.regression.weights());
        self.conversations.clear();
        for offset in self.templates.iter_mut().filter_map(|template| template.offset.as_mut()) {
            *offset = Offset::unsure(offset.value, error * error + FORGOTTEN_OFFSET * FORGOTTEN_OFFSET);
        }
    }

    /// Rises at once with a prompt above what was reserved, and comes down slowly.
    fn learn_caution(&mut self, guessed: Estimate, prompt: u64) {
        let margin = tokens(guessed.high.saturating_sub(guessed.likely)).max(1.0);
        let needed = self.caution * tokens(prompt.saturating_sub(guessed.likely)) / margin * 1.25;
        self.caution = needed.max(self.caution * 0.99).clamp(CAUTION_RANGE.0, CAUTION_RANGE.1);
    }

    fn template(&self, shape: &Shape) -> Option<&Template> {
        self.templates.iter().find(|template| template.head == shape.head)
    }

    fn template_mut(&mut self, shape: &Shape) -> &mut Template {
        let known = self.templates.iter().position(|template| template.head == shape.head);
        let place = known.unwrap_or_else(|| {
            let fresh = Template::new(shape.head, None, Outputs::default());
            put(&mut self.templates, fresh, TEMPLATES_MAX, |template| template.used)
        });
        let template = &mut self.templates[place];
        template.used = self.uses;
        template
    }

    fn conversation(&self, shape: &Shape) -> Option<&Conversation> {
        self.conversations.iter().find(|last| last.opening == shape.opening)
    }

    fn keep_conversation(&mut self, turn: Conversation) {
        match self.conversations.iter_mut().find(|last| last.opening == turn.opening) {
            Some(last) => *last = turn,
            None => {
                put(&mut self.conversations, turn, CONVERSATIONS_MAX, |last| last.used);
            }
        }
    }
}

impl Template {
    pub(super) fn new(head: u32, offset: Option<Offset>, outputs: Outputs) -> Template {
        Template { head, offset, outputs, used: 0 }
    }
}

impl Belief {
    fn error(self, tokens: f64) -> f64 {
        tokens - self.mean
    }

    fn deviation(self) -> f64 {
        self.variance.sqrt()
    }
}

fn believable(error: f64, deviation: f64) -> f64 {
    error.clamp(-OUTLIER * deviation, OUTLIER * deviation)
}

/// Puts one more in, in the place of the least recently used where there is no room.
fn put<T>(all: &mut Vec<T>, one: T, most: usize, used: impl Fn(&T) -> u64) -> usize {
    if all.len() < most {
        all.push(one);
        return all.len() - 1;
    }
    let oldest = (0..all.len()).min_by_key(|place| used(&all[*place])).unwrap_or(0);
    all[oldest] = one;
    oldest
}

/// The tokens of the head, by what is presumed, and those of the rest.
fn halves(shape: &Shape, parts: &Parts) -> (f64, f64) {
    let size: f64 = parts.iter().sum();
    let steady = size * f64::from(shape.steady) / 255.0;
    (steady, size - steady)
}

/// What a template adds that no count shows, before its first call.
fn first_offset(steady: f64) -> Offset {
    Offset::unsure(0.0, (20.0 + 0.08 * steady).powi(2))
}

fn difference(a: &Parts, b: &Parts) -> Parts {
    std::array::from_fn(|i| a[i] - b[i])
}

/// No prompt has as many tokens that this would round it.
fn tokens(count: u64) -> f64 {
    count as f64
}
