//! A tokenizer of the tests' own. Which words are whole tokens and where the others break depends on a hash of
//! each word, as it does on a learned vocabulary: no count of characters tells it exactly.

/// Two generations break words differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    Old,
    New,
}

/// Tokens of a text.
pub(super) fn tokens(text: &str, generation: Generation) -> u64 {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut tokens = 0;
    while at < chars.len() {
        let kind = kind(chars[at]);
        let end = at + chars[at..].iter().take_while(|c| self::kind(**c) == kind).count();
        tokens += of_run(kind, &chars[at..end], generation);
        at = end;
    }
    tokens
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Latin,
    Digit,
    Blank,
    Break,
    Mark,
    Alphabet,
    Ideograph,
}

fn kind(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' => Kind::Latin,
        '0'..='9' => Kind::Digit,
        ' ' | '\t' => Kind::Blank,
        '\n' => Kind::Break,
        '!'..='~' => Kind::Mark,
        c if (c as u32) < 0x800 => Kind::Alphabet,
        _ => Kind::Ideograph,
    }
}

fn of_run(kind: Kind, run: &[char], generation: Generation) -> u64 {
    let length = run.len() as u64;
    match kind {
        Kind::Latin => humps(run).map(|word| of_word(word, generation)).sum(),
        Kind::Digit => length.div_ceil(if generation == Generation::Old { 3 } else { 1 }),
        // One blank belongs to the word behind it; indentation is a token.
        Kind::Blank => u64::from(length > 1),
        Kind::Break => 1,
        // Some marks come so often together that they are one token.
        Kind::Mark => run.chunks(2).map(|pair| if hash(pair).is_multiple_of(3) { 1 } else { pair.len() as u64 }).sum(),
        Kind::Alphabet => run.chunks(3).map(|piece| 1 + u64::from(hash(piece).is_multiple_of(4))).sum(),
        Kind::Ideograph => run.iter().map(|c| 1 + u64::from(hash(&[*c]).is_multiple_of(5))).sum(),
    }
}

/// `camelCase` breaks before each capital.
fn humps(run: &[char]) -> impl Iterator<Item = &[char]> {
    run.chunk_by(|a, b| !(a.is_lowercase() && b.is_uppercase()))
}

/// Short words are mostly whole; long ones break into pieces of three to six letters.
fn of_word(word: &[char], generation: Generation) -> u64 {
    let length = word.len() as u64;
    let whole = match generation {
        Generation::Old => 105_u64.saturating_sub(6 * length),
        Generation::New => 90_u64.saturating_sub(9 * length),
    };
    let chance = hash(word);
    if chance % 100 < whole { 1 } else { length.div_ceil(3 + chance / 100 % 4).max(1) }
}

fn hash(chars: &[char]) -> u64 {
    let hash = chars
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, c| (hash ^ u64::from(u32::from(*c))).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 31)
}
