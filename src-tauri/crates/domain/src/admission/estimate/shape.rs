//! What a request's body is made of, as far as that tells how many tokens it will come to.

/// Counts of what costs tokens, found in one pass over the bytes; all of them stop at their largest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Fingerprint of what calls of one template share: the start of the system prompt, the tools, the modes asked for.
    pub head: u32,
    /// Fingerprint of `head` and the first message: the turns of one conversation share it.
    pub opening: u32,
    /// Runs of ASCII letters.
    pub words: u32,
    /// ASCII letters.
    pub letters: u32,
    /// Capital letters: names have few of them, codes many.
    pub capitals: u32,
    /// Digits and punctuation once, line breaks twice.
    pub marks: u32,
    /// Characters of two bytes: accents, Greek, Cyrillic, Arabic.
    pub narrow: u32,
    /// Characters of three bytes: Chinese, Japanese, Korean, Hindi; and five for each of four bytes.
    pub wide: u32,
    /// Tokens by rule of images, files and built-in tools, for models before 4.7.
    pub ruled_low: u32,
    /// The same for models from 4.7 on, which see images sharper.
    pub ruled_high: u32,
    /// Names in JSON that the model reads: of tools, their inputs, schemas of answers.
    pub keys: u16,
    /// Tools used, and results of tools.
    pub calls: u16,
    pub messages: u16,
    /// How much of the text stands in the head, in 255ths.
    pub steady: u8,
    pub modes: Modes,
}

/// What a body asks for that changes what the API adds to the prompt by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes(u8);

impl Modes {
    pub const TOOLS: Modes = Modes(1);
    /// One of the tools must be used.
    pub const FORCED: Modes = Modes(2);
    pub const THINKING: Modes = Modes(4);
    /// The answer must fit a schema.
    pub const FORMATTED: Modes = Modes(8);
    /// The upstream adds what the body only names: results of its own tools, linked files.
    pub const UNSEEN: Modes = Modes(16);

    pub const fn has(self, mode: Modes) -> bool {
        self.0 & mode.0 == mode.0
    }

    pub const fn add(&mut self, mode: Modes) {
        self.0 |= mode.0;
    }

    /// All of them as one number.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl Shape {
    /// A message of plain words that fills about so many bytes, and has no more in common with others than its length.
    pub fn of_words(bytes: u64) -> Shape {
        let letters = u32::try_from(bytes).unwrap_or(u32::MAX);
        Shape { opening: letters, words: letters / 5, letters, messages: 1, ..Shape::default() }
    }
}

// It travels with each call, by value.
const _: () = assert!(size_of::<Shape>() <= 48);
