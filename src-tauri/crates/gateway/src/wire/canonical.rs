//! What a JSON text says, however it is spaced and whatever the order of its members: a digest that is the same for both.
//!
//! Numbers and strings count as they are spelled. No depth costs stack, and every byte is hashed once.

use std::ops::Range;

use memchr::memchr2;
use sha2::{Digest, Sha256};

pub(crate) type Sum = [u8; 32];

/// What lies deeper has no canonical form: nobody writes it but to do harm.
const DEPTH_MAX: usize = 256;

/// `None` where a text has no canonical form: a name that comes twice or is escaped, a text that is no JSON, great depth.
pub(crate) fn digest(json: &[u8]) -> Option<Sum> {
    Reader { json, at: 0, open: Vec::new(), hash: Sha256::new() }.read()
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// Of the innermost value that is a member, or of the whole.
    hash: Sha256,
}

enum Open {
    Array,
    Object {
        /// What the object itself is part of.
        outer: Sha256,
        /// Where the name of the present member stands.
        name: Range<usize>,
        members: Vec<(Range<usize>, Sum)>,
    },
}

impl Reader<'_> {
    fn read(mut self) -> Option<Sum> {
        loop {
            if self.opens()? {
                continue;
            }
            loop {
                if self.open.is_empty() {
                    return self.next().is_none().then(|| self.hash.finalize().into());
                }
                if self.goes_on()? {
                    break;
                }
            }
        }
    }

    /// Reads a value. `true`: it has begun, and the first value in it comes next.
    fn opens(&mut self) -> Option<bool> {
        match self.next()? {
            b'{' => {
                self.at += 1;
                if self.takes(b'}') {
                    self.hash.update("{}");
                    return Some(false);
                }
                let name = self.name()?;
                let outer = std::mem::take(&mut self.hash);
                self.enter(Open::Object { outer, name, members: Vec::new() })
            }
            b'[' => {
                self.at += 1;
                self.hash.update("[");
                if self.takes(b']') {
                    self.hash.update("]");
                    return Some(false);
                }
                self.enter(Open::Array)
            }
            b'"' => {
                let string = self.string()?;
                self.hash.update(&self.json[string]);
                Some(false)
            }
            _ => {
                let word = self.word()?;
                self.hash.update(&self.json[word]);
                Some(false)
            }
        }
    }

    fn enter(&mut self, open: Open) -> Option<bool> {
        self.open.push(open);
        (self.open.len() <= DEPTH_MAX).then_some(true)
    }

    /// A value has ended. `true`: another one follows in what it is part of; `false`: that has ended with it.
    fn goes_on(&mut self) -> Option<bool> {
        let next = self.next()?;
        self.at += 1;
        match (self.open.pop()?, next) {
            (Open::Array, b',') => {
                self.hash.update(",");
                self.enter(Open::Array)
            }
            (Open::Array, b']') => {
                self.hash.update("]");
                Some(false)
            }
            (Open::Object { outer, name, mut members }, b',') => {
                members.push((name, std::mem::take(&mut self.hash).finalize().into()));
                let name = self.name()?;
                self.enter(Open::Object { outer, name, members })
            }
            (Open::Object { outer, name, mut members }, b'}') => {
                members.push((name, std::mem::take(&mut self.hash).finalize().into()));
                self.hash = outer;
                self.close(members).then_some(false)
            }
            (Open::Array | Open::Object { .. }, _) => None,
        }
    }

    /// `false` where a name comes twice: which of them counts is the reader's to say.
    fn close(&mut self, mut members: Vec<(Range<usize>, Sum)>) -> bool {
        let json = self.json;
        members.sort_unstable_by(|(one, _), (other, _)| json[one.clone()].cmp(&json[other.clone()]));
        self.hash.update("{");
        for (name, value) in &members {
            self.hash.update(&json[name.clone()]);
            self.hash.update(value);
        }
        self.hash.update("}");
        members.windows(2).all(|pair| json[pair[0].0.clone()] != json[pair[1].0.clone()])
    }

    /// A member's name with its quotes, and the colon behind it. One with an escape could be another one's second spelling.
    fn name(&mut self) -> Option<Range<usize>> {
        let name = if self.next()? == b'"' { self.string()? } else { return None };
        let is_plain = memchr::memchr(b'\\', &self.json[name.clone()]).is_none();
        (self.takes(b':') && is_plain).then_some(name)
    }

    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.at += 1;
        loop {
            self.at += memchr2(b'"', b'\\', self.json.get(self.at..)?)?;
            if self.json[self.at] == b'"' {
                self.at += 1;
                return Some(start..self.at);
            }
            self.at += 2;
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        self.at += self.json[start..].iter().take_while(|byte| is_part(byte)).count();
        (self.at > start).then_some(start..self.at)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// The next byte that is no blank. It stays the next.
    fn next(&mut self) -> Option<u8> {
        let rest = self.json.get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.json.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRng;

    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let [one, other] = [one, other].map(|json| digest(json.as_bytes()).unwrap_or_else(|| panic!("{json}")));
        one == other
    }

    #[test]
    fn neither_blanks_nor_the_order_of_members_matter() {
        assert!(same(
            r#"{"a":1,"b":{"x":[1,{}],"y":""}}"#,
            " {\"b\" : {\n\"y\":\"\",\t\"x\":[ 1 , { } ]} ,\r\n\"a\":1 } "
        ));
    }

    #[test]
    fn everything_else_does() {
        let all = [
            "{}",
            "[]",
            "[{}]",
            "[[]]",
            "[1,2]",
            "[12]",
            "[2,1]",
            "[1,[2]]",
            "[[1],2]",
            r#""""#,
            r#"" ""#,
            "1",
            "1.0",
            "-1",
            "true",
            "null",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":"x y"}"#,
            r#"{"a":"x  y"}"#,
            r#"{"a":"\u0078 y"}"#,
            r#"{"a":"\"b\":1"}"#,
            r#"[{"a":1},{"b":2}]"#,
            r#"[{"a":1,"b":2}]"#,
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert!(!same(one, other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_in_none_has_no_canonical_form() {
        let (deep, tails) = ("[".repeat(100_000) + &"]".repeat(100_000), r#"{"a":"#.repeat(DEPTH_MAX + 1));
        for wrong in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1}"#,
            "",
            " ",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1,]",
            "[1 2]",
            "1 2",
            "]",
            "}",
            "[1}",
            r#"{"a":1]"#,
            r#"""#,
            r#""\"#,
            r#"{1:2}"#,
            ":",
            &deep,
            &tails,
        ] {
            assert_eq!(digest(wrong.as_bytes()), None, "{}", &wrong[..wrong.len().min(40)]);
        }
    }

    /// A value as somebody else's program might have written it.
    fn spelled(value: &serde_json::Value, rng: &mut TestRng, out: &mut String) {
        let mut blank = |out: &mut String| out.push_str(["", "", " ", "\n\t", "\r\n "][rng.random_range(0..5)]);
        blank(out);
        match value {
            serde_json::Value::Array(items) => {
                out.push('[');
                blank(out);
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    spelled(item, rng, out);
                }
                out.push(']');
            }
            serde_json::Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let turn = rng.random_range(0..members.len().max(1));
                members.rotate_left(turn);
                if rng.random_bool(0.5) {
                    members.reverse();
                }
                out.push('{');
                for (at, (name, item)) in members.into_iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " ," });
                    out.push_str(&format!("{}: ", serde_json::Value::from(name.as_str())));
                    spelled(item, rng, out);
                }
                out.push('}');
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => out.push_str(&value.to_string()),
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[ -~äé]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map("[a-d]{1,2}", inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_texts_are_the_same_where_their_values_are(
            (one, other) in (values(), values()), seeds in any::<[[u8; 32]; 2]>()
        ) {
            let text = |value, seed: &[u8; 32]| {
                let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, seed);
                let mut text = String::new();
                spelled(value, &mut rng, &mut text);
                text
            };
            prop_assert!(same(&text(&one, &seeds[0]), &text(&one, &seeds[1])));
            prop_assert_eq!(same(&text(&one, &seeds[0]), &text(&other, &seeds[1])), one == other);
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in r#"[\[\]{}:," \\a1]{0,40}"#) {
            let _ = digest(&bytes);
            // Every JSON text has a form, unless a name in it is doubtful.
            let is_json = serde_json::from_str::<serde_json::Value>(&json).is_ok();
            let may_have_none = !is_json || json.contains('{');
            prop_assert!(may_have_none || digest(json.as_bytes()).is_some());
        }
    }
}
