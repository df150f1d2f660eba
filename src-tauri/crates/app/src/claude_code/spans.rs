//! Where things stand in a JSON text, so that one of them may be changed and every other byte stays as it is.

use std::ops::Range;

/// An object in a text that is known to be JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Object {
    /// Of its `{`.
    open: usize,
    /// Of its `}`.
    close: usize,
    pub(super) members: Vec<Member>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Of the quote before its name.
    start: usize,
    pub(super) value: Range<usize>,
}

/// The object that begins at or after `at`; `None` where something else stands there.
pub(super) fn object(text: &str, at: usize) -> Option<Object> {
    let bytes = text.as_bytes();
    let open = blanks_end(bytes, at);
    if bytes.get(open) != Some(&b'{') {
        return None;
    }
    let (mut members, mut here) = (vec![], blanks_end(bytes, open + 1));
    while bytes.get(here) == Some(&b'"') {
        let name_end = value_end(bytes, here);
        let name = serde_json::from_str(text.get(here..name_end)?).ok()?;
        let colon = blanks_end(bytes, name_end);
        let value = blanks_end(bytes, colon + 1);
        let end = value_end(bytes, value);
        members.push(Member { name, start: here, value: value..end });
        here = blanks_end(bytes, end);
        if bytes.get(here) == Some(&b',') {
            here = blanks_end(bytes, here + 1);
        }
    }
    (bytes.get(here) == Some(&b'}')).then_some(Object { open, close: here, members })
}

impl Object {
    /// The only member of that name; `Err` where there are several.
    pub(super) fn member(&self, name: &str) -> Result<Option<&Member>, ()> {
        let mut named = self.members.iter().filter(|member| member.name == name);
        let first = named.next();
        if named.next().is_some() { Err(()) } else { Ok(first) }
    }

    /// The text with these members put in last, as the text around them is laid out. Each value is JSON.
    pub(super) fn with(&self, text: &str, members: &[(&str, String)], outer: &Layout) -> String {
        let inner = match self.members.last() {
            Some(last) => Layout::before(text, last.start),
            None => outer.deeper(),
        };
        let lines: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}: {value}")).collect();
        let (at, new) = match self.members.last() {
            Some(last) => (last.value.end..last.value.end, format!(",{}", inner.first(false))),
            None => (self.open + 1..self.close, inner.first(true)),
        };
        let separator = format!(",{}", inner.first(false));
        let end = if self.members.is_empty() { outer.first(true) } else { String::new() };
        replaced(text, at, &format!("{new}{}{end}", lines.join(&separator)))
    }

    /// The text without one member and the comma that parted it from its neighbour.
    pub(super) fn without(&self, text: &str, name: &str) -> String {
        let Some(at) = self.members.iter().position(|member| member.name == name) else { return text.to_owned() };
        let member = &self.members[at];
        let cut = match (at.checked_sub(1).map(|before| &self.members[before]), self.members.get(at + 1)) {
            (Some(before), _) => before.value.end..member.value.end,
            (None, Some(after)) => member.start..after.start,
            (None, None) => self.open + 1..self.close,
        };
        replaced(text, cut, "")
    }
}

/// What stands before a member on its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    OneLine,
    Lines { end: &'static str, indent: String, unit: String },
}

impl Layout {
    /// Of a whole text, whose outermost braces stand at its left.
    pub(super) fn of(text: &str) -> Layout {
        match object(text, 0).and_then(|object| object.members.first().map(|first| Layout::before(text, first.start))) {
            Some(Layout::OneLine) => Layout::OneLine,
            Some(Layout::Lines { end, indent, .. }) => Layout::Lines { end, indent: String::new(), unit: indent },
            None => Layout::Lines { end: "\n", indent: String::new(), unit: "  ".to_owned() },
        }
    }

    fn before(text: &str, start: usize) -> Layout {
        let blanks = &text[text[..start].trim_end_matches([' ', '\t', '\r', '\n']).len()..start];
        let Some((_, indent)) = blanks.rsplit_once('\n') else { return Layout::OneLine };
        let unit = if indent.is_empty() { "  " } else { indent };
        Layout::Lines {
            end: if blanks.contains('\r') { "\r\n" } else { "\n" },
            indent: indent.to_owned(),
            unit: unit.to_owned(),
        }
    }

    pub(super) fn deeper(&self) -> Layout {
        match self {
            Layout::OneLine => Layout::OneLine,
            Layout::Lines { end, indent, unit } => {
                Layout::Lines { end, indent: format!("{indent}{unit}"), unit: unit.clone() }
            }
        }
    }

    /// What leads to a member, or, right inside of a brace, to nothing.
    fn first(&self, at_brace: bool) -> String {
        match self {
            Layout::OneLine if at_brace => String::new(),
            Layout::OneLine => " ".to_owned(),
            Layout::Lines { end, indent, .. } => format!("{end}{indent}"),
        }
    }
}

pub(super) fn replaced(text: &str, at: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..at.start], &text[at.end..])
}

fn blanks_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Behind the value that begins here.
fn value_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (here, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => {
                in_text = !in_text;
                if !in_text && depth == 0 {
                    return here + 1;
                }
            }
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return here,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return here + 1;
                }
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return here,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_where_texts_hold_braces_quotes_and_escapes() {
        let text = r#" { "a\"}" : "}{\"," , "\u0065nv":{"x":[1,{"y":"]"}]},"n":-1.5e3,"t":true } "#;
        let object = object(text, 0).expect("an object");
        let found: Vec<(&str, &str)> =
            object.members.iter().map(|member| (&*member.name, &text[member.value.clone()])).collect();
        assert_eq!(found, [("a\"}", r#""}{\",""#), ("env", r#"{"x":[1,{"y":"]"}]}"#), ("n", "-1.5e3"), ("t", "true")]);
        assert_eq!(super::object("[1]", 0), None);
        assert!(super::object(r#"{"a":1,"a":2}"#, 0).expect("an object").member("a").is_err());
    }

    #[test]
    fn what_is_put_in_and_taken_out_again_leaves_every_other_byte() {
        for text in [
            r#"{"a":1}"#,
            r#"{ "a": 1, "b": {"c": [] } }"#,
            "{\n  \"a\": 1\n}\n",
            "{\r\n\t\"a\": 1,\r\n\t\"b\": 2\r\n}",
        ] {
            let layout = Layout::of(text);
            let with = object(text, 0).expect("an object").with(text, &[("x", "\"y\"".to_owned())], &layout);
            let value: serde_json::Value = serde_json::from_str(&with).expect("still JSON");
            assert_eq!(value["x"], "y", "{with}");
            assert_eq!(object(&with, 0).expect("an object").without(&with, "x"), text);
        }
        let lines = "{\n  \"a\": 1\n}\n";
        let with = object(lines, 0).expect("an object").with(lines, &[("x", "2".to_owned())], &Layout::of(lines));
        assert_eq!(with, "{\n  \"a\": 1,\n  \"x\": 2\n}\n");
        let empty = object("{}", 0).expect("an object").with("{}", &[("x", "2".to_owned())], &Layout::of("{}"));
        assert_eq!(empty, "{\n  \"x\": 2\n}");
    }
}
