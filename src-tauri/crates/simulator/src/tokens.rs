//! How tokens are counted here: simply, and always the same way.
//!
//! A text is a quarter of its bytes, rounded up; other blocks are counted by their compact JSON.

use std::borrow::Cow;
use std::io;

use serde_json::Value;

use crate::chance;

/// Each request, whatever it holds.
const REQUEST: u64 = 3;
/// Each message: its role and its frame.
const MESSAGE: u64 = 4;
/// Once, where tools are offered.
const TOOL_PROMPT: u64 = 346;
const IMAGE: u64 = 1_600;
const DOCUMENT: u64 = 3_000;

pub(crate) fn of_text(text: &str) -> u64 {
    of_bytes(text.len())
}

pub(crate) const fn of_bytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// How long a written prefix stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ttl {
    FiveMinutes,
    Hour,
}

/// A piece of the prompt at whose end a prefix may be cached.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) tokens: u64,
    pub(crate) ttl: Option<Ttl>,
    role: &'a str,
    block: Cow<'a, Value>,
}

impl Segment<'_> {
    /// What stands before, and this; the mark itself is no part of a prefix.
    pub(crate) fn extend(&self, prefix: u64) -> u64 {
        let prefix = chance::hash(prefix, self.role.as_bytes());
        match text_of(&self.block) {
            Some(text) => chance::hash(prefix, text.as_bytes()),
            None => chance::hash(prefix, self.block.to_string().as_bytes()),
        }
    }
}

/// Tokens of the whole prompt.
pub(crate) fn of_prompt(segments: &[Segment<'_>]) -> u64 {
    segments.iter().map(|segment| segment.tokens).sum()
}

/// The prompt in the order in which it is cached: tools, system, messages.
pub(crate) fn segments(body: &Value) -> Vec<Segment<'_>> {
    let mut all = Vec::new();
    for tool in list(&body["tools"]) {
        all.push(Segment { tokens: of_json(&unmarked(tool)), ..segment("tool", tool) });
    }
    let tools = !all.is_empty();
    push_content("system", &body["system"], &mut all);
    for message in list(&body["messages"]) {
        let start = all.len();
        push_content(message["role"].as_str().unwrap_or_default(), &message["content"], &mut all);
        if let Some(first) = all.get_mut(start) {
            first.tokens += MESSAGE;
        }
    }
    if let Some(first) = all.first_mut() {
        first.tokens += REQUEST + if tools { TOOL_PROMPT } else { 0 };
    }
    if let (Some(ttl), Some(last)) = (ttl_of(body), all.last_mut()) {
        last.ttl = last.ttl.or(Some(ttl));
    }
    all
}

fn push_content<'a>(role: &'a str, content: &'a Value, all: &mut Vec<Segment<'a>>) {
    if content.is_string() {
        all.push(segment(role, content));
    }
    all.extend(list(content).iter().map(|block| segment(role, block)));
}

fn segment<'a>(role: &'a str, block: &'a Value) -> Segment<'a> {
    Segment { tokens: of_block(block), ttl: ttl_of(block), role, block: unmarked(block) }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a plain string or a text block.
pub(crate) fn text_of(block: &Value) -> Option<&str> {
    block.as_str().or_else(|| (block["type"] == "text").then(|| block["text"].as_str())?)
}

fn ttl_of(block: &Value) -> Option<Ttl> {
    let mark = block.get("cache_control")?.as_object()?;
    let hour = mark.get("ttl").is_some_and(|ttl| ttl == "1h");
    Some(if hour { Ttl::Hour } else { Ttl::FiveMinutes })
}

fn unmarked(block: &Value) -> Cow<'_, Value> {
    if block.get("cache_control").is_none() {
        return Cow::Borrowed(block);
    }
    let mut bare = block.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("cache_control");
    }
    Cow::Owned(bare)
}

fn of_block(block: &Value) -> u64 {
    if let Some(text) = text_of(block) {
        return of_text(text);
    }
    match block["type"].as_str() {
        Some("image") => IMAGE,
        Some("document") => {
            block["source"]["data"].as_str().filter(|_| block["source"]["type"] == "text").map_or(DOCUMENT, of_text)
        }
        Some("tool_result") => match block["content"].as_str() {
            Some(text) => of_text(text),
            None => list(&block["content"]).iter().map(of_block).sum(),
        },
        Some(_) | None => of_json(&unmarked(block)),
    }
}

fn of_json(value: &Value) -> u64 {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    match serde_json::to_writer(&mut length, value) {
        Ok(()) => of_bytes(length.0),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn count(body: &Value) -> u64 {
        of_prompt(&segments(body))
    }

    #[test]
    fn a_text_is_a_quarter_of_its_bytes_and_a_message_four_more() {
        assert_eq!(count(&json!({"messages": [{"role": "user", "content": "12345"}]})), 3 + 4 + 2);
        let two = json!({"system": "1234", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "1234"}, {"type": "image", "source": {"type": "base64", "data": "AAAA"}}]}]});
        assert_eq!(count(&two), 3 + 1 + 4 + 1 + 1_600);
    }

    #[test]
    fn tools_are_counted_by_their_json_and_once_for_their_prompt() {
        let body = json!({"tools": [{"name": "a"}, {"name": "b"}], "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(count(&body), 3 + 346 + 2 * of_bytes(r#"{"name":"a"}"#.len()) + 4 + 1);
    }

    #[test]
    fn a_mark_changes_neither_the_count_nor_the_prefix() {
        let plain = json!({"messages": [{"role": "user", "content": "hello there"}]});
        let marked = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "hello there", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}]});
        assert_eq!(count(&plain), count(&marked));
        let (plain, marked) = (segments(&plain), segments(&marked));
        assert_eq!(plain[0].extend(9), marked[0].extend(9));
        assert_eq!((plain[0].ttl, marked[0].ttl), (None, Some(Ttl::Hour)));
    }
}
