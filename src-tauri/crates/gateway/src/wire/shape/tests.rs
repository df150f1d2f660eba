//! What is found in a body, by examples and by chance.

use picture::png;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Findings;
use crate::wire::anthropic::peek;
use domain::admission::Modes;

fn findings(body: &Value) -> Findings {
    let mut body = body.clone();
    body["model"] = "m".into();
    peek(body.to_string().as_bytes()).expect("a call").findings
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

/// Words, keys, calls and messages.
fn counted(body: &Value) -> (u32, u16, u16, u16) {
    let shape = findings(body).shape;
    (shape.words, shape.keys, shape.calls, shape.messages)
}

#[test]
fn what_the_model_reads_is_counted_and_the_frame_is_not() {
    assert_eq!(counted(&json!({"messages": [user(json!("two words"))]})), (2, 0, 0, 1));
    let blocks = json!([{"type": "text", "text": "two words", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(counted(&json!({"messages": [user(blocks)], "system": "and three more"})), (5, 0, 0, 1));
    let used = json!([{"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"type": "any", "depth": [1, {"in": "x"}]}}]);
    let result =
        json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "yes"}]}]);
    let turns = json!([user(used), user(result)]);
    assert_eq!(counted(&json!({"messages": turns})), (1 + 3 + 1 + 1 + 1, 3, 2, 2));
    let thought = json!([{"type": "thinking", "thinking": "deep deep down", "signature": "EqoBCkgIAR"}]);
    assert_eq!(counted(&json!({"messages": [user(thought)]})), (0, 0, 0, 1));
    let tool =
        json!([{"name": "find", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}]);
    let offered = json!({"tools": tool, "messages": []});
    assert_eq!(counted(&offered), (10, 6, 0, 0));
    assert!(findings(&offered).shape.modes.has(Modes::TOOLS));
}

#[test]
fn what_a_body_asks_of_an_upstream_beside_text_is_seen() {
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}});
    let custom = json!({"name": "find", "input_schema": {"type": "object"}});
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    for (body, uses) in [
        (json!({"messages": [user(json!("an image of a document, please"))]}), ""),
        (json!({"messages": [user(json!([image]))]}), "images"),
        (json!({"messages": [user(json!([document]))]}), "documents"),
        (
            json!({"messages": [user(json!([{"type": "tool_result", "tool_use_id": "t", "content": [image]}]))]}),
            "images, tools",
        ),
        (json!({"messages": [], "tools": [custom]}), "tools"),
        (json!({"messages": [], "tools": []}), ""),
        (json!({"messages": [], "tools": [search]}), "tools, server_tools"),
        (json!({"messages": [], "mcp_servers": [{"type": "url", "url": "https://example.com"}]}), "server_tools"),
        (
            json!({"messages": [user(json!([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]))]}),
            "server_tools",
        ),
        (json!({"messages": [user(json!([{"type": "container_upload", "file_id": "f"}]))]}), "server_tools"),
        (json!({"messages": [], "thinking": {"type": "enabled", "budget_tokens": 1_024}}), "thinking"),
        (json!({"messages": [], "thinking": {"type": "disabled"}}), ""),
        (json!({"messages": [user(json!([{"type": "redacted_thinking", "data": "EqoB"}]))]}), "thinking"),
        (
            json!({"messages": [], "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
            "cache",
        ),
        // What a model has written as a tool's input is no block.
        (
            json!({"messages": [user(json!([{"type": "tool_use", "id": "t", "name": "n", "input": {"type": "image"}}]))]}),
            "tools",
        ),
    ] {
        assert_eq!(findings(&body).uses.to_string(), uses, "{body}");
    }
}

#[test]
fn turns_of_a_conversation_share_their_opening_and_calls_of_a_template_their_head() {
    let body = |system: &str, messages: Value| findings(&json!({"system": system, "messages": messages})).shape;
    let first = body("Be kind.", json!([user(json!("Hello there"))]));
    let marked = json!([{"type": "text", "text": "Hello there", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let second = body("Be kind.", json!([user(marked), user(json!("And then?"))]));
    let other = body("Be kind.", json!([user(json!("Goodbye"))]));
    let stranger = body("Be quick.", json!([user(json!("Hello there"))]));
    assert_eq!((first.head, first.opening), (second.head, second.opening));
    assert!(first.head == other.head && first.opening != other.opening);
    assert!(first.head != stranger.head && first.opening != stranger.opening);
}

#[test]
fn marks_for_the_cache_are_seen_where_they_count() {
    let marks = |body: Value| (findings(&body).cached, findings(&body).cached_for_an_hour);
    let block = |mark: Value| json!({"system": [{"type": "text", "text": "x", "cache_control": mark}]});
    assert_eq!(marks(json!({"messages": [user(json!("cache_control"))]})), (false, false));
    assert_eq!(marks(block(json!({"type": "ephemeral"}))), (true, false));
    assert_eq!(marks(block(json!({"type": "ephemeral", "ttl": "1h"}))), (true, true));
    assert_eq!(marks(block(Value::Null)), (false, false));
    assert_eq!(marks(json!({"cache_control": {"type": "ephemeral"}})), (true, false));
    assert_eq!(marks(json!({"tools": [{"name": "x", "cache_control": {"type": "ephemeral"}}]})), (true, false));
    let field = json!({"properties": {"cache_control": {"type": "string"}}});
    assert_eq!(marks(json!({"tools": [{"name": "x", "input_schema": field}]})), (false, false));
    let input = json!([{"type": "tool_use", "input": {"cache_control": {"type": "ephemeral"}}}]);
    assert_eq!(marks(json!({"messages": [user(input)]})), (false, false));
}

#[test]
fn images_and_files_go_by_rule() {
    let image =
        |data: &str| json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]);
    let ruled = |content: Value| {
        let shape = findings(&json!({"messages": [user(content)]})).shape;
        (shape.ruled_low, shape.ruled_high, shape.words)
    };
    assert_eq!(ruled(image(&png(1_920, 1_080))), (1_560, 2_691, 0));
    assert_eq!(ruled(image(&png(1_920, 1_080).replace('/', "\\/"))), (1_560, 2_691, 0), "as PHP writes it");
    assert_eq!(ruled(image(&png(0, 0))), (1_500, 2_500, 0), "a size that can't be");
    let text = json!([{"type": "document", "source": {"type": "text", "data": "a plain text"}}]);
    assert_eq!(ruled(text), (33, 33, 3));
    let linked = json!([{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]);
    let found = findings(&json!({"messages": [user(linked)]})).shape;
    assert!(found.modes.has(Modes::UNSEEN) && found.ruled_low > 0);
}

#[test]
fn modes_are_told_apart() {
    for (body, mode, is_on) in [
        (json!({"tool_choice": {"type": "any"}}), Modes::FORCED, true),
        (json!({"tool_choice": {"type": "auto"}}), Modes::FORCED, false),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), Modes::THINKING, true),
        (json!({"thinking": {"type": "disabled"}}), Modes::THINKING, false),
        (json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}), Modes::FORMATTED, true),
        (json!({"output_config": {"effort": "high"}}), Modes::FORMATTED, false),
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), Modes::UNSEEN, true),
        (json!({"tools": [{"name": "web_search", "input_schema": {"type": "object"}}]}), Modes::UNSEEN, false),
        (json!({"mcp_servers": [{"type": "url"}]}), Modes::UNSEEN, true),
        (json!({"mcp_servers": []}), Modes::UNSEEN, false),
    ] {
        assert_eq!(findings(&body).shape.modes.has(mode), is_on, "{body}");
    }
}

proptest! {
    #[test]
    fn no_body_is_too_odd_to_be_looked_at(
        pieces in prop::collection::vec(
            prop_oneof![
                Just(r#"{"model":"m","messages":["#), Just(r#"{"role":"user","content":"#), Just("["), Just("]"), Just("}"), Just(","),
                Just(r#""input":{"#), Just(r#""cache_control":"#), Just(r#""data":"#), Just(r#""\\\"\u00e9\u12""#), Just("null"),
                Just(r#""/9j/4AAQSkZJRgABAQAAAQABAAD/////////////////////////////////////////""#), Just("日本"), Just("\\"),
            ],
            0..40,
        ),
    ) {
        let _ = peek(pieces.concat().as_bytes());
    }

    #[test]
    fn whatever_text_stands_in_a_message_it_is_one_message(text in ".{0,300}", more in any::<String>()) {
        let shape = findings(&json!({"messages": [user(json!([{"type": "text", "text": text}])), user(json!(more))]})).shape;
        prop_assert_eq!((shape.messages, shape.calls, shape.keys), (2, 0, 0));
    }
}

/// The smallest start of a PNG file, in base64 by hand: the tests need no more of either.
mod picture {
    pub(super) fn png(width: u32, height: u32) -> String {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes().into_iter().chain(height.to_be_bytes()));
        bytes.resize(90, 0xff);
        let sextets = bytes.chunks(3).flat_map(|three| {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            [18, 12, 6, 0].map(|shift| (bits >> shift & 63) as usize)
        });
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        sextets.map(|sextet| char::from(DIGITS[sextet])).collect()
    }
}
