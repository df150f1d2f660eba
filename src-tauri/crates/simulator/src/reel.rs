//! An answer as bytes: one JSON document, or the events of a stream in their true order.

use std::fmt::Display;
use std::io::Write;

use bytes::Bytes;
use domain::usage::Tokens;
use serde_json::{Value, json};

use crate::answer::{Answer, Block, StopReason, TOOL_CALL};
use crate::ask::Ask;
use crate::tokens;

/// Bytes of text in one delta: five tokens.
const DELTA_BYTES: usize = 20;

/// All that an answer's JSON tells beside its blocks.
pub(crate) struct Frame<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) answer: &'a Answer,
    /// Of the input classes.
    pub(crate) input: Tokens,
    /// `standard`, `priority` or `batch`.
    pub(crate) service_tier: &'static str,
}

/// One event, and how many output tokens have been produced when it is out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub(crate) bytes: Bytes,
    pub(crate) produced: u64,
}

impl Frame<'_> {
    pub(crate) fn json(&self) -> Bytes {
        let content: Vec<Value> = self.answer.blocks.iter().map(block_json).collect();
        let content = serde_json::to_string(&content).unwrap_or_default();
        Bytes::from(self.message(&content, true, self.answer.output_tokens()))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let mut cutter = Cutter::default();
        let start = self.message("[]", false, self.answer.output_tokens().min(1));
        cutter.event("message_start", format_args!(r#","message":{start}"#));
        for (index, block) in self.answer.blocks.iter().enumerate() {
            cutter.block(index, block);
        }
        cutter
            .event("message_delta", format_args!(r#","delta":{{{}}},"usage":{}"#, self.stop(true), self.final_usage()));
        cutter.event("message_stop", "");
        let mut events = cutter.cut();
        // As the start says itself.
        let begun = self.answer.output_tokens().min(1);
        events.iter_mut().for_each(|event| event.produced = event.produced.max(begun));
        events
    }

    fn message(&self, content: &str, ended: bool, output: u64) -> String {
        let model = quoted(&self.ask.model);
        let id = &self.answer.id;
        let (stop, usage) = (self.stop(ended), self.usage(output, ended));
        format!(
            r#"{{"model":{model},"id":"{id}","type":"message","role":"assistant","content":{content},{stop},"usage":{usage}}}"#
        )
    }

    fn stop(&self, ended: bool) -> String {
        if !ended {
            return r#""stop_reason":null,"stop_sequence":null,"stop_details":null"#.to_owned();
        }
        let reason = self.answer.stop_reason.name();
        let sequence = self.answer.stop_sequence.as_deref().map_or_else(|| "null".to_owned(), quoted);
        let details = if self.answer.stop_reason == StopReason::Refusal {
            r#"{"type":"refusal","category":"general_harms","explanation":"Asked for by a marker."}"#
        } else {
            "null"
        };
        format!(r#""stop_reason":"{reason}","stop_sequence":{sequence},"stop_details":{details}"#)
    }

    fn usage(&self, output: u64, ended: bool) -> String {
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, .. } = self.input;
        let written = cache_write_5m + cache_write_1h;
        let thinking = if ended { self.thinking() } else { String::new() };
        let (tier, geo) = (self.service_tier, self.ask.geo());
        let speed = match self.ask.body.get("speed") {
            Some(_) if self.ask.is_fast() => r#","speed":"fast""#,
            Some(_) => r#","speed":"standard""#,
            None => "",
        };
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":{written},"cache_read_input_tokens":{cache_read},"cache_creation":{{"ephemeral_5m_input_tokens":{cache_write_5m},"ephemeral_1h_input_tokens":{cache_write_1h}}},"output_tokens":{output}{thinking},"service_tier":"{tier}","inference_geo":"{geo}"{speed}}}"#
        )
    }

    fn final_usage(&self) -> String {
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, .. } = self.input;
        let (written, output) = (cache_write_5m + cache_write_1h, self.answer.output_tokens());
        let thinking = self.thinking();
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":{written},"cache_read_input_tokens":{cache_read},"output_tokens":{output}{thinking}}}"#
        )
    }

    fn thinking(&self) -> String {
        let details = |tokens| format!(r#","output_tokens_details":{{"thinking_tokens":{tokens}}}"#);
        self.answer.thinking_tokens().map(details).unwrap_or_default()
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn block_json(block: &Block) -> Value {
    match block {
        Block::Thinking { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::ToolUse { id, name, input } => {
            let input: Value = serde_json::from_str(input).unwrap_or_default();
            json!({"type": "tool_use", "id": id, "name": name, "input": input, "caller": {"type": "direct"}})
        }
    }
}

/// `event: error`, after which a stream ends.
pub(crate) fn error_event(body: &[u8]) -> Bytes {
    Bytes::from([b"event: error\ndata: ", body, b"\n\n"].concat())
}

/// Writes events into one piece of memory, and cuts it at their ends.
#[derive(Default)]
struct Cutter {
    bytes: Vec<u8>,
    ends: Vec<(usize, u64)>,
    produced: u64,
}

impl Cutter {
    fn event(&mut self, name: &str, rest: impl Display) {
        self.write(format_args!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n"));
        self.ends.push((self.bytes.len(), self.produced));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.bytes.write_fmt(text);
    }

    fn block(&mut self, index: usize, block: &Block) {
        let (start, kind) = match block {
            Block::Thinking { .. } => (json!({"type": "thinking", "thinking": "", "signature": ""}), "thinking"),
            Block::Text(_) => (json!({"type": "text", "text": ""}), "text"),
            Block::ToolUse { id, name, .. } => (
                json!({"type": "tool_use", "id": id, "name": name, "input": {}, "caller": {"type": "direct"}}),
                "partial_json",
            ),
        };
        if matches!(block, Block::ToolUse { .. }) {
            self.produced += TOOL_CALL;
        }
        self.event("content_block_start", format_args!(r#","index":{index},"content_block":{start}"#));
        if index == 0 {
            self.event("ping", "");
        }
        match block {
            Block::Text(text) => self.deltas(index, "text_delta", kind, text),
            Block::Thinking { text, signature } => {
                self.deltas(index, "thinking_delta", kind, text);
                self.delta(index, "signature_delta", "signature", signature);
            }
            Block::ToolUse { input, .. } => {
                self.delta(index, "input_json_delta", kind, "");
                self.deltas(index, "input_json_delta", kind, input);
            }
        }
        self.event("content_block_stop", format_args!(r#","index":{index}"#));
    }

    fn deltas(&mut self, index: usize, delta: &str, field: &str, text: &str) {
        let before = self.produced;
        let mut start = 0;
        while start < text.len() {
            let end = text.floor_char_boundary(start + DELTA_BYTES);
            self.produced = before + tokens::of_bytes(end);
            self.delta(index, delta, field, &text[start..end]);
            start = end;
        }
    }

    fn delta(&mut self, index: usize, delta: &str, field: &str, text: &str) {
        let text = quoted(text);
        let rest = format_args!(r#","index":{index},"delta":{{"type":"{delta}","{field}":{text}}}"#);
        self.event("content_block_delta", rest);
    }

    fn cut(self) -> Vec<Event> {
        let mut bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let mut event = |(end, produced)| {
            let event = Event { bytes: bytes.split_to(end - start), produced };
            start = end;
            event
        };
        self.ends.into_iter().map(&mut event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{self, Version};
    use crate::markers::Markers;

    fn ask() -> Ask {
        let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 500, "thinking": {"type": "adaptive"},
            "tools": [{"name": "add", "input_schema": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}}],
            "messages": [{"role": "user", "content": "[[thinking 7]] [[tool add]]"}]});
        ask::of_value(body, Version::V2023).expect("fine")
    }

    fn with_frame<T>(test: impl FnOnce(&Frame<'_>) -> T) -> T {
        let ask = ask();
        let answer = Answer::plan(&ask, &Markers::read(&ask.last_text()), 7);
        let input = Tokens { input: 9, cache_write_5m: 2, cache_write_1h: 3, cache_read: 4, output: 0 };
        test(&Frame { ask: &ask, answer: &answer, input, service_tier: "standard" })
    }

    fn data(event: &Event) -> Value {
        let text = std::str::from_utf8(&event.bytes).expect("text");
        let (name, data) = text.strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: ")).expect("an event");
        let data: Value = serde_json::from_str(data.strip_suffix("\n\n").expect("its end")).expect("JSON");
        assert_eq!(data["type"], name);
        data
    }

    #[test]
    fn events_come_in_the_true_order() {
        let short = |event: &Event| {
            let data = data(event);
            let kind = data["delta"]["type"].as_str().or_else(|| data["content_block"]["type"].as_str());
            format!("{} {}", data["type"].as_str().unwrap_or_default(), kind.unwrap_or_default()).trim().to_owned()
        };
        let order: Vec<String> = with_frame(|frame| frame.events().iter().map(short).collect());
        let expected = [
            "message_start",
            "content_block_start thinking",
            "ping",
            "content_block_delta thinking_delta",
            "content_block_delta thinking_delta",
            "content_block_delta signature_delta",
            "content_block_stop",
            "content_block_start text",
            "content_block_delta text_delta",
            "content_block_delta text_delta",
            "content_block_delta text_delta",
            "content_block_stop",
            "content_block_start tool_use",
            "content_block_delta input_json_delta",
            "content_block_delta input_json_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn usage_starts_with_the_input_and_ends_cumulative() {
        with_frame(|frame| {
            let events = frame.events();
            let start = data(&events[0]);
            assert_eq!(
                start["message"]["usage"],
                json!({"input_tokens": 9, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 4,
                    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
                    "output_tokens": 1, "service_tier": "standard", "inference_geo": "global"})
            );
            let end = data(&events[events.len() - 2]);
            let total = frame.answer.output_tokens();
            assert_eq!(
                end["usage"],
                json!({"input_tokens": 9, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 4,
                    "output_tokens": total, "output_tokens_details": {"thinking_tokens": 7}})
            );
            assert_eq!(end["delta"]["stop_reason"], "tool_use");
            assert_eq!(events.last().map(|event| event.produced), Some(total));
            assert!(events.is_sorted_by_key(|event| event.produced));
        });
    }

    #[test]
    fn the_deltas_put_together_are_the_blocks_of_the_json() {
        with_frame(|frame| {
            let whole: Value = serde_json::from_slice(&frame.json()).expect("JSON");
            let mut built = vec![String::new(); 3];
            for data in frame.events().iter().map(data) {
                let piece = ["text", "thinking", "partial_json"].iter().find_map(|name| data["delta"][*name].as_str());
                if let (Some(index), Some(piece)) = (data["index"].as_u64(), piece) {
                    built[usize::try_from(index).expect("small")].push_str(piece);
                }
            }
            assert_eq!(whole["content"][0]["thinking"], built[0].as_str());
            assert_eq!(whole["content"][1]["text"], built[1].as_str());
            assert_eq!(whole["content"][2]["input"].to_string(), built[2]);
            assert_eq!(whole["usage"]["output_tokens"], frame.answer.output_tokens());
            assert_eq!(whole["stop_reason"], "tool_use");
        });
    }
}
