//! What is known of a model before its first answer: the tokens of each part of a prompt, by rule or measurement.

use super::shape::{Modes, Shape};

/// The parts of a prompt whose tokens are told apart, each with a weight of its own.
pub(super) const PARTS: usize = 9;
/// Tokens, part by part: text, capitals, marks, narrow and wide characters, structure, modes, frame, and what goes by rule.
pub(super) type Parts = [f64; PARTS];

/// How far off each part's tokens may be, as a share, before anything was learned.
pub(super) const DOUBT: Parts = [0.1, 0.8, 0.15, 0.3, 0.3, 0.15, 0.05, 0.08, 0.15];

/// What follows from a model's name.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Rules {
    tokenizer: &'static Tokenizer,
    /// Tokens of the prompt that the API adds where tools are offered, and where one must be used.
    tool_prompt: (u16, u16),
}

#[derive(PartialEq, Debug)]
struct Tokenizer {
    word: f64,
    letter: f64,
    capital: f64,
    mark: f64,
    narrow: f64,
    wide: f64,
    key: f64,
    call: f64,
    message: f64,
    thinking: f64,
    format: f64,
    sharp_images: bool,
}

/// Claude 3 to 4.6. Fitted to recorded calls and their answers.
const OLD: Tokenizer = Tokenizer {
    word: 0.7,
    letter: 0.06,
    capital: 0.2,
    mark: 0.86,
    narrow: 0.6,
    wide: 1.0,
    key: 4.1,
    call: 27.0,
    message: 2.6,
    thinking: 30.0,
    format: 95.0,
    sharp_images: false,
};
/// From 4.7 on: about 30 % more for prose, 20 % for code, the same for scripts other than Latin.
const NEW: Tokenizer = Tokenizer {
    word: 0.62,
    letter: 0.22,
    capital: 0.2,
    mark: 0.96,
    narrow: 0.6,
    wide: 1.05,
    key: 4.9,
    call: 25.0,
    message: 2.4,
    thinking: 0.0,
    format: 30.0,
    sharp_images: true,
};

/// By a part of the model's name, the more exact first. Source: platform.claude.com, pricing of tool use.
const MODELS: [(&str, &Tokenizer, (u16, u16)); 18] = [
    ("opus-4-8", &NEW, (290, 410)),
    ("opus-4-7", &NEW, (675, 804)),
    ("opus-4-6", &OLD, (497, 589)),
    ("opus-4-5", &OLD, (496, 588)),
    ("opus-4", &OLD, (313, 315)),
    ("sonnet-4-6", &OLD, (497, 589)),
    ("sonnet-4-5", &OLD, (496, 588)),
    ("sonnet-4", &OLD, (313, 315)),
    ("haiku-4-5", &OLD, (496, 588)),
    ("haiku-4.5", &OLD, (496, 588)),
    ("sonnet-5", &NEW, (354, 474)),
    ("3-5-haiku", &OLD, (264, 355)),
    ("3-haiku", &OLD, (264, 340)),
    ("3-7-sonnet", &OLD, (346, 313)),
    ("3-5-sonnet", &OLD, (346, 313)),
    ("3-opus", &OLD, (530, 281)),
    ("3-sonnet", &OLD, (159, 235)),
    ("claude-2", &OLD, (346, 346)),
];

/// Each request, whatever it holds.
const REQUEST: f64 = 5.0;

impl Rules {
    /// A model that nobody knows is taken for one of the latest: these use the most tokens.
    pub(super) fn of(model: &str) -> Rules {
        let known = MODELS.iter().find(|(part, ..)| model.contains(part));
        let (tokenizer, tool_prompt) = known.map_or((&NEW, (286, 406)), |(_, tokenizer, prompt)| (*tokenizer, *prompt));
        Rules { tokenizer, tool_prompt }
    }

    pub(super) fn parts(self, shape: &Shape) -> Parts {
        let t = self.tokenizer;
        let ruled = if t.sharp_images { shape.ruled_high } else { shape.ruled_low };
        [
            f64::from(shape.words) * t.word + f64::from(shape.letters) * t.letter,
            f64::from(shape.capitals) * t.capital,
            f64::from(shape.marks) * t.mark,
            f64::from(shape.narrow) * t.narrow,
            f64::from(shape.wide) * t.wide,
            f64::from(shape.keys) * t.key + f64::from(shape.calls) * t.call,
            self.modes(shape),
            REQUEST + f64::from(shape.messages) * t.message,
            f64::from(ruled),
        ]
    }

    /// What the API adds to the prompt by itself.
    fn modes(self, shape: &Shape) -> f64 {
        let tools = match (shape.modes.has(Modes::TOOLS), shape.modes.has(Modes::FORCED)) {
            (false, _) => 0,
            (true, false) => self.tool_prompt.0,
            (true, true) => self.tool_prompt.1,
        };
        let thinking = if shape.modes.has(Modes::THINKING) { self.tokenizer.thinking } else { 0.0 };
        let format = if shape.modes.has(Modes::FORMATTED) { self.tokenizer.format } else { 0.0 };
        f64::from(tools) + thinking + format
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_known_by_its_name_however_a_platform_writes_it() {
        for (model, tool_prompt, new) in [
            ("claude-sonnet-4-5-20250929", 496, false),
            ("claude-sonnet-4-20250514", 313, false),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 496, false),
            ("claude-3-7-sonnet@20250219", 346, false),
            ("claude-opus-4-7", 675, true),
            ("claude-opus-5-5", 286, true),
            ("claude-fable-5", 286, true),
            ("another", 286, true),
        ] {
            let rules = Rules::of(model);
            assert_eq!((rules.tool_prompt.0, rules.tokenizer.sharp_images), (tool_prompt, new), "{model}");
        }
    }
}
