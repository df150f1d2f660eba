//! What the model says. The same seed and body always give the same answer.

use fastrand::Rng;
use serde_json::Value;

use crate::ask::Ask;
use crate::chance;
use crate::markers::Markers;
use crate::schema;
use crate::tokens;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    Refusal,
}

impl StopReason {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            StopReason::EndTurn => "end_turn",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopSequence => "stop_sequence",
            StopReason::ToolUse => "tool_use",
            StopReason::Refusal => "refusal",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Block {
    Thinking {
        text: String,
        signature: String,
    },
    Text(String),
    /// `input` is JSON.
    ToolUse {
        id: String,
        name: String,
        input: String,
    },
}

/// Naming the tool and opening its call.
pub(crate) const TOOL_CALL: u64 = 20;

impl Block {
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Block::Thinking { text, .. } | Block::Text(text) => tokens::of_text(text),
            Block::ToolUse { input, .. } => TOOL_CALL + tokens::of_text(input),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: StopReason,
    pub(crate) stop_sequence: Option<String>,
}

impl Answer {
    pub(crate) fn output_tokens(&self) -> u64 {
        self.blocks.iter().map(Block::tokens).sum()
    }

    /// `None` where the model did not think.
    pub(crate) fn thinking_tokens(&self) -> Option<u64> {
        let thought = self.blocks.iter().filter(|block| matches!(block, Block::Thinking { .. }));
        thought.map(Block::tokens).reduce(|a, b| a + b)
    }

    /// `seed` comes of the simulator's seed and the body.
    pub(crate) fn plan(ask: &Ask, markers: &Markers, seed: u64) -> Answer {
        Planner { ask, markers, seed, rng: Rng::with_seed(seed), left: ask.max_tokens, blocks: Vec::new() }.plan()
    }
}

struct Planner<'a> {
    ask: &'a Ask,
    markers: &'a Markers,
    seed: u64,
    rng: Rng,
    /// Output tokens that `max_tokens` still allows.
    left: u64,
    blocks: Vec<Block>,
}

impl Planner<'_> {
    fn plan(mut self) -> Answer {
        if self.ask.thinks {
            self.think();
        }
        let (stop_reason, stop_sequence) = match self.wanted_tool() {
            Some(tool) => (self.call(&tool), None),
            None => self.speak(),
        };
        Answer { id: chance::id("msg", self.seed), blocks: self.blocks, stop_reason, stop_sequence }
    }

    fn think(&mut self) {
        let wanted = self.markers.thinking.unwrap_or_else(|| self.rng.u64(10..=80)).min(self.left);
        if wanted > 0 {
            let text = prose(self.rng.usize(..PROSE.len()), wanted);
            let signature = chance::id("EqQBCkgIARABGAIiQ", self.seed) + "==";
            self.push(Block::Thinking { text, signature });
        }
    }

    fn push(&mut self, block: Block) {
        self.left = self.left.saturating_sub(block.tokens());
        self.blocks.push(block);
    }

    /// The tool that the request forces, or that the prompt asks for.
    fn wanted_tool(&self) -> Option<Value> {
        let tools = tokens::list(&self.ask.body["tools"]);
        let named = |name: &Value| tools.iter().find(|tool| tool["name"] == *name).cloned();
        let choice = &self.ask.body["tool_choice"];
        match choice["type"].as_str() {
            Some("tool") => named(&choice["name"]),
            Some("any") => tools.first().cloned(),
            Some("none") => None,
            Some(_) | None if self.ask.answers_a_tool() => None,
            Some(_) | None => match &self.markers.tool {
                Some(name) => named(&Value::from(name.as_str())),
                None => tools.first().filter(|_| asks_for_a_tool(&self.ask.last_text())).cloned(),
            },
        }
    }

    fn call(&mut self, tool: &Value) -> StopReason {
        let forced = matches!(self.ask.body["tool_choice"]["type"].as_str(), Some("tool" | "any"));
        if !forced && self.left > 0 {
            self.push(Block::Text(prose(0, self.left.min(12))));
        }
        let block = Block::ToolUse {
            id: chance::id("toolu", self.seed),
            name: tool["name"].as_str().unwrap_or_default().to_owned(),
            input: schema::example(&tool["input_schema"]).to_string(),
        };
        if block.tokens() > self.left {
            return StopReason::MaxTokens;
        }
        self.push(block);
        StopReason::ToolUse
    }

    fn speak(&mut self) -> (StopReason, Option<String>) {
        let (mut text, mut reason) = self.words();
        let mut hit = None;
        if let Some((at, sequence)) = first_of(&self.ask.stop_sequences, &text) {
            text.truncate(at);
            (reason, hit) = (StopReason::StopSequence, Some(sequence));
        }
        if !text.is_empty() {
            self.push(Block::Text(text));
        }
        (reason, hit)
    }

    fn words(&mut self) -> (String, StopReason) {
        if self.markers.refuse {
            return (prose(0, self.left.min(8)), StopReason::Refusal);
        }
        let format = &self.ask.body["output_config"]["format"];
        if format["type"] == "json_schema" {
            return self.cut(schema::example(&format["schema"]).to_string());
        }
        let wanted = self.markers.output.unwrap_or_else(|| self.rng.u64(20..=300));
        let text = prose(self.rng.usize(..PROSE.len()), wanted.min(self.left));
        (text, if wanted > self.left { StopReason::MaxTokens } else { StopReason::EndTurn })
    }

    fn cut(&self, mut text: String) -> (String, StopReason) {
        if tokens::of_text(&text) <= self.left {
            return (text, StopReason::EndTurn);
        }
        let bytes = usize::try_from(self.left * 4).unwrap_or(usize::MAX);
        text.truncate(text.floor_char_boundary(bytes));
        (text, StopReason::MaxTokens)
    }
}

fn asks_for_a_tool(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("use the") && text.contains("tool")
}

fn first_of(sequences: &[String], text: &str) -> Option<(usize, String)> {
    let hits = sequences.iter().filter_map(|sequence| Some((text.find(sequence)?, sequence)));
    hits.min_by_key(|(at, _)| *at).map(|(at, sequence)| (at, sequence.clone()))
}

/// Nothing in it needs escaping in JSON.
const PROSE: &str = "The tide comes in and the tide goes out, and between the two a gate decides what passes. When the \
    water is high the gate opens by itself; when it is low the gate holds, and whoever waits behind it waits for a \
    known time. Nobody is turned away for long. A good gate is quiet: it counts what goes through, it keeps its books \
    in order, and it never lets more through than the channel can carry. Ships that must be first are first, and the \
    slow barges follow when there is room. In the evening the keeper writes down what the day has cost and what is \
    left of the week, so that no one is surprised in the morning. ";

/// Exactly `tokens` tokens of text, from the first sentence after `start`.
fn prose(start: usize, tokens: u64) -> String {
    let start = PROSE[start..].find(". ").map_or(0, |end| start + end + 2);
    let bytes = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(4);
    let mut text = String::with_capacity(bytes + PROSE.len());
    text.push_str(&PROSE[start..]);
    while text.len() < bytes {
        text.push_str(PROSE);
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ask::{self, Version};

    fn answer(changes: Value) -> Answer {
        let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 1_000,
            "messages": [{"role": "user", "content": "hello"}]});
        let fields = body.as_object_mut().expect("an object");
        fields.extend(changes.as_object().expect("an object").clone());
        let ask = ask::of_value(body, Version::V2023).expect("fine");
        Answer::plan(&ask, &Markers::read(&ask.last_text()), 7)
    }

    fn says(text: &str) -> Value {
        json!([{"role": "user", "content": text}])
    }

    #[test]
    fn a_marker_sets_the_length_to_the_token() {
        let long = answer(json!({"messages": says("[[output 200]]")}));
        assert_eq!((long.output_tokens(), long.stop_reason), (200, StopReason::EndTurn));
        let cut = answer(json!({"messages": says("[[output 200]]"), "max_tokens": 199}));
        assert_eq!((cut.output_tokens(), cut.stop_reason), (199, StopReason::MaxTokens));
        let none = answer(json!({"max_tokens": 0}));
        assert_eq!((none.output_tokens(), none.stop_reason, none.blocks), (0, StopReason::MaxTokens, vec![]));
    }

    #[test]
    fn without_a_marker_the_seed_sets_it() {
        assert_eq!(answer(json!({})), answer(json!({})));
        assert!((20..=300).contains(&answer(json!({})).output_tokens()));
    }

    #[test]
    fn a_tool_is_called_where_it_is_forced_or_asked_for_but_not_twice() {
        let tools = json!([{"name": "add", "input_schema": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}},
            {"name": "divide", "input_schema": {"type": "object"}}]);
        let called = |answer: Answer| match answer.blocks.last() {
            Some(Block::ToolUse { name, input, .. }) => format!("{name} {input}"),
            Some(Block::Text(_) | Block::Thinking { .. }) | None => answer.stop_reason.name().to_owned(),
        };
        let result = json!([{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "8"}, {"type": "text", "text": "use the add tool"}]}]);
        for (changes, expected) in [
            (json!({}), "end_turn"),
            (json!({"messages": says("Use the add tool.")}), r#"add {"x":1}"#),
            (json!({"messages": says("[[tool divide]]")}), "divide {}"),
            (json!({"tool_choice": {"type": "tool", "name": "divide"}}), "divide {}"),
            (json!({"tool_choice": {"type": "any"}}), r#"add {"x":1}"#),
            (json!({"tool_choice": {"type": "none"}, "messages": says("Use the add tool.")}), "end_turn"),
            (json!({"tool_choice": {"type": "any"}, "max_tokens": 10}), "max_tokens"),
            (json!({"messages": result}), "end_turn"),
        ] {
            let mut changes = changes;
            changes["tools"] = tools.clone();
            assert_eq!(called(answer(changes.clone())), expected, "{changes}");
        }
    }

    #[test]
    fn it_stops_at_the_first_stop_sequence() {
        let stopped = answer(json!({"stop_sequences": ["keeper", "gate"], "messages": says("[[output 160]]")}));
        assert_eq!(stopped.stop_reason, StopReason::StopSequence);
        assert!(
            matches!(&stopped.blocks[..], [Block::Text(text)] if !text.contains("gate") && !text.contains("keeper"))
        );
    }

    #[test]
    fn it_thinks_first_and_that_counts_as_output() {
        let thought =
            answer(json!({"thinking": {"type": "adaptive"}, "messages": says("[[thinking 40]] [[output 60]]")}));
        assert_eq!((thought.thinking_tokens(), thought.output_tokens()), (Some(40), 100));
        assert_eq!(answer(json!({})).thinking_tokens(), None);
    }

    #[test]
    fn it_refuses_when_told_and_answers_in_the_schema_when_asked() {
        let refused = answer(json!({"messages": says("[[refuse]]")}));
        assert_eq!((refused.stop_reason, refused.output_tokens()), (StopReason::Refusal, 8));
        let format = json!({"format": {"type": "json_schema", "schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}});
        assert_eq!(answer(json!({"output_config": format})).blocks, [Block::Text(r#"{"n":1}"#.to_owned())]);
    }
}
