//! What a text is made of, counted sixty-four bytes at a time so that the compiler can do them at once.

use memchr::memchr;

/// Of texts as they stand in JSON: an escape is counted as the character it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) words: u32,
    pub(super) letters: u32,
    pub(super) capitals: u32,
    pub(super) marks: u32,
    /// Characters of two bytes.
    pub(super) narrow: u32,
    /// Characters of three bytes; five for each of four.
    pub(super) wide: u32,
}

const BLOCK: usize = 64;
/// A byte in front of the block, and one in front of that.
const BEFORE: usize = 2;
/// Shorter texts are gathered, as a block costs the same however little of it is filled.
const SHORT: usize = 192;
const GATHERED: usize = 1_024;

/// Counts texts one after the other.
#[derive(Debug)]
pub(super) struct Counter {
    counts: Counts,
    /// Short texts with a blank behind each.
    gathered: [u8; GATHERED],
    filled: usize,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter { counts: Counts::default(), gathered: [0; GATHERED], filled: 0 }
    }
}

impl Counter {
    pub(super) fn counts(mut self) -> Counts {
        self.count_gathered();
        self.counts
    }

    /// A text without codes like `\u65e5`.
    pub(super) fn add(&mut self, text: &[u8]) {
        if text.len() >= SHORT {
            return self.counts.add(text);
        }
        if self.filled + text.len() >= GATHERED {
            self.count_gathered();
        }
        let end = self.filled + text.len();
        self.gathered[self.filled..end].copy_from_slice(text);
        self.gathered[end] = b' ';
        self.filled = end + 1;
    }

    pub(super) fn add_with_codes(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some((before, code, after)) = split_at_code(rest) {
            self.add(before);
            self.counts.add_code(code);
            rest = after;
        }
        self.add(rest);
    }

    pub(super) fn add_digit(&mut self) {
        self.counts.marks = self.counts.marks.saturating_add(1);
    }

    fn count_gathered(&mut self) {
        self.counts.add(&self.gathered[..self.filled]);
        self.filled = 0;
    }
}

impl Counts {
    /// A character written as a code. Those beyond 16 bits come as two halves.
    fn add_code(&mut self, code: u32) {
        let (count, by) = match code {
            0..0x80 => (&mut self.marks, 1),
            0x80..0x800 => (&mut self.narrow, 1),
            0xd800..0xdc00 => (&mut self.wide, 5),
            0xdc00..0xe000 => return,
            _ => (&mut self.wide, 1),
        };
        *count = count.saturating_add(by);
    }

    fn add(&mut self, text: &[u8]) {
        let (first, rest) = text.split_at(text.len().min(BLOCK));
        self.padded(&[], first);
        for at in (BLOCK..text.len()).step_by(BLOCK) {
            match text[at - BEFORE..].first_chunk() {
                Some(window) => self.block(window),
                None => self.padded(&text[at - BEFORE..at], &rest[at - BLOCK..]),
            }
        }
    }

    fn padded(&mut self, before: &[u8], block: &[u8]) {
        let mut window = [0; BEFORE + BLOCK];
        window[BEFORE - before.len()..BEFORE].copy_from_slice(before);
        window[BEFORE..BEFORE + block.len()].copy_from_slice(block);
        self.block(&window);
    }

    fn block(&mut self, window: &[u8; BEFORE + BLOCK]) {
        let (mut words, mut letters, mut capitals, mut marks) = (0_u8, 0_u8, 0_u8, 0_u8);
        let (mut narrow, mut wide, mut widest) = (0_u8, 0_u8, 0_u8);
        for i in BEFORE..BEFORE + BLOCK {
            let (byte, last, before_last) = (window[i], window[i - 1], window[i - 2]);
            let is_escaped = (last == b'\\') & (before_last != b'\\');
            let was_escaped = (before_last == b'\\') & is_letter(last);
            let letter = is_letter(byte) & !is_escaped;
            letters += u8::from(letter);
            capitals += u8::from(byte.is_ascii_uppercase() & letter);
            words += u8::from(letter & (!is_letter(last) | was_escaped));
            // An escape costs its backslash, and a line break its letter too.
            marks += u8::from(is_mark(byte) & !is_escaped) + u8::from(is_escaped & (byte == b'n'));
            narrow += u8::from(byte >= 0xc2) - u8::from(byte >= 0xe0);
            wide += u8::from(byte >= 0xe0);
            widest += u8::from(byte >= 0xf0);
        }
        self.words = self.words.saturating_add(words.into());
        self.letters = self.letters.saturating_add(letters.into());
        self.capitals = self.capitals.saturating_add(capitals.into());
        self.marks = self.marks.saturating_add(marks.into());
        self.narrow = self.narrow.saturating_add(narrow.into());
        self.wide = self.wide.saturating_add(u32::from(wide) + 4 * u32::from(widest));
    }
}

/// The next `\u` with its four digits, what stands before and what after. A backslash behind a backslash begins nothing.
fn split_at_code(text: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let mut at = memchr(b'\\', text)?;
    while text.get(at + 1) != Some(&b'u') {
        at += 2;
        at += memchr(b'\\', text.get(at..)?)?;
    }
    let digits = std::str::from_utf8(text.get(at + 2..at + 6)?).ok()?;
    Some((&text[..at], u32::from_str_radix(digits, 16).ok()?, &text[at + 6..]))
}

const fn is_letter(byte: u8) -> bool {
    (byte | 0x20).wrapping_sub(b'a') < 26
}

/// Digits and punctuation.
const fn is_mark(byte: u8) -> bool {
    (byte > b' ') & (byte < 0x7f) & !is_letter(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words, letters, marks, narrow and wide characters.
    fn counts(text: &str) -> [u32; 5] {
        let mut counter = Counter::default();
        counter.add_with_codes(text.as_bytes());
        let counts = counter.counts();
        [counts.words, counts.letters, counts.marks, counts.narrow, counts.wide]
    }

    #[test]
    fn words_letters_marks_and_other_scripts_are_told_apart() {
        assert_eq!(counts("Say it: 42 times!"), [3, 10, 4, 0, 0]);
        assert_eq!(counts(r"a\nb"), [2, 2, 2, 0, 0], "a line break is two marks");
        assert_eq!(counts(r#"\"yes\""#), [1, 3, 2, 0, 0], "a quote is one");
        assert_eq!(counts("né 日本 🌊"), [1, 1, 0, 1, 2 + 5]);
        assert_eq!(counts(r"n\u00e9 \u65e5\u672c \ud83c\udf0a"), [1, 1, 0, 1, 2 + 5], "written as codes");
        assert_eq!(counts(r"C:\\users"), counts(r"C:\\isers"), "no code");
        assert_eq!(counts(r"\u12"), counts(r"\u12"), "too short for one");
        assert_eq!(counts(""), [0; 5]);
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let mut counter = Counter::default();
        let mut words = 0;
        for length in (0..400).map(|i| i * 7 % 300) {
            counter.add("word ".repeat(length / 5).trim_end().as_bytes());
            words += length / 5;
        }
        assert_eq!(counter.counts().words, words as u32);
    }

    #[test]
    fn where_a_block_ends_makes_no_difference() {
        for length in 0..200 {
            let text = "word ".repeat(length);
            assert_eq!(counts(&text), [length as u32, 4 * length as u32, 0, 0, 0], "{length}");
        }
        for length in 60..70 {
            let text = format!("{}\\n{}", "x".repeat(length), "y".repeat(70));
            assert_eq!(counts(&text), [2, length as u32 + 70, 2, 0, 0], "{length}");
        }
    }
}
