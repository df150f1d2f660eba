//! JSON read for a few of its members, without building the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The text is no JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoObject;

/// Hands on each member of an object that is called one of `wanted`, as it is written. The rest is only checked to be JSON.
/// Where a name comes twice both are handed on, in order.
pub(crate) fn members<'a>(
    json: &'a [u8],
    wanted: &[&str],
    each: impl FnMut(&str, &'a RawValue),
) -> Result<(), NoObject> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.deserialize_map(Members { wanted, each }).map_err(|_| NoObject)?;
    deserializer.end().map_err(|_| NoObject)
}

/// The one member of that name, the last where there are several.
pub(crate) fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a RawValue> {
    let mut found = None;
    members(json, &[name], |_, value| found = Some(value)).ok()?;
    found
}

pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// What a text can be by its two ends, which is all that is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    Object,
    /// It begins like an object and doesn't end like one.
    Torn,
    Other,
}

pub(crate) fn ends(text: &[u8]) -> Ends {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii();
    match (text.first(), text.last()) {
        (Some(b'{'), Some(b'}')) if text.len() > 1 => Ends::Object,
        (Some(b'{'), _) => Ends::Torn,
        _ => Ends::Other,
    }
}

/// A larger value than any that is of use is taken for nothing.
const VALUE_BYTES_MAX: usize = 64 << 10;

pub(crate) fn small_value(value: &RawValue) -> Value {
    let json = value.get();
    if json.len() > VALUE_BYTES_MAX { Value::Null } else { serde_json::from_str(json).unwrap_or_default() }
}

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'w, F> {
    wanted: &'w [&'w str],
    each: F,
}

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Members<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key::<Text<'_>>()? {
            if self.wanted.contains(&&*name) {
                (self.each)(&name, map.next_value::<&RawValue>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_from_half_of_one_by_its_ends() {
        for (text, expected) in [
            (&b" \n{\"a\":1}\r\n"[..], Ends::Object),
            (b"\xef\xbb\xbf{}", Ends::Object),
            (b"{", Ends::Torn),
            (br#"{"a":"b"#, Ends::Torn),
            (b"[]", Ends::Other),
            (b"null", Ends::Other),
            (b"event: ping", Ends::Other),
            (b"", Ends::Other),
        ] {
            assert_eq!(ends(text), expected, "{text:?}");
        }
    }

    #[test]
    fn wanted_members_are_handed_on_as_written() {
        let mut seen = Vec::new();
        let json = br#" {"a":{"x": [1]},"b":2,"\u0061":"t\n","c":null} "#;
        members(json, &["a", "c"], |name, value| seen.push(format!("{name}={}", value.get()))).expect("an object");
        assert_eq!(seen, [r#"a={"x": [1]}"#, r#"a="t\n""#, "c=null"]);
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        for wrong in ["", "[]", "7", "x", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a":1,}"#, r#"{"b":nope}"#, r#"{b:1}"#] {
            assert_eq!(members(wrong.as_bytes(), &["a"], |_, _| ()), Err(NoObject), "{wrong}");
        }
    }

    #[test]
    fn neither_depth_nor_size_costs_memory() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let value = member(deep.as_bytes(), "a").expect("it is there");
        assert_eq!(small_value(value), Value::Null);
    }
}
