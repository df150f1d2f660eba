//! From the bytes of a request to what is asked, or the words in which the API refuses it.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::tokens;

/// The two versions that the API knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    V2023,
    V2026,
}

impl Version {
    pub(crate) fn named(name: Option<&str>) -> Result<Version, ApiError> {
        match name {
            Some("2023-06-01") => Ok(Version::V2023),
            Some("2026-10-21") => Ok(Version::V2026),
            Some(other) => Err(ApiError::invalid(format!("anthropic-version: {other:?} is not a valid version"))),
            None => Err(ApiError::invalid("anthropic-version: header is required")),
        }
    }
}

/// A request for a message, checked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) body: Value,
    pub(crate) model: String,
    pub(crate) max_tokens: u64,
    pub(crate) stream: bool,
    pub(crate) stop_sequences: Vec<String>,
    pub(crate) thinks: bool,
}

impl Ask {
    /// What the person said last.
    pub(crate) fn last_text(&self) -> String {
        let Some(last) = tokens::list(&self.body["messages"]).iter().rfind(|message| message["role"] == "user") else {
            return String::new();
        };
        let content = &last["content"];
        let texts = tokens::list(content).iter().chain([content]).filter_map(tokens::text_of);
        texts.collect::<Vec<_>>().join("\n")
    }

    /// A tool has just answered: the next word is the model's.
    pub(crate) fn answers_a_tool(&self) -> bool {
        let last = tokens::list(&self.body["messages"]).last();
        last.is_some_and(|message| tokens::list(&message["content"]).iter().any(|block| block["type"] == "tool_result"))
    }

    pub(crate) fn is_fast(&self) -> bool {
        self.body["speed"] == "fast"
    }

    /// `standard_only` asks for none.
    pub(crate) fn may_have_priority(&self) -> bool {
        self.body["service_tier"] != "standard_only"
    }

    /// `us` or `global`.
    pub(crate) fn geo(&self) -> &'static str {
        if self.body["inference_geo"] == "us" { "us" } else { "global" }
    }
}

/// A JSON object, as every POST must bring.
pub(crate) fn object(bytes: &[u8]) -> Result<Value, ApiError> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(format!("The request body is not valid JSON: {error}")))?;
    if !body.is_object() {
        return Err(ApiError::invalid("Input should be a valid dictionary"));
    }
    Ok(body)
}

pub(crate) fn message(bytes: &[u8], version: Version) -> Result<Ask, ApiError> {
    of_value(object(bytes)?, version)
}

/// A request inside a batch comes as a value already.
pub(crate) fn of_value(body: Value, version: Version) -> Result<Ask, ApiError> {
    let Some(fields) = body.as_object() else { return Err(ApiError::invalid("Input should be a valid dictionary")) };
    if let Some(unknown) = fields.keys().find(|key| !KNOWN_FIELDS.contains(&key.as_str())) {
        return Err(ApiError::invalid(format!("{unknown}: Extra inputs are not permitted")));
    }
    let model = model(fields)?;
    let stream = flag(fields, "stream")?;
    let max_tokens = max_tokens(fields, stream)?;
    prompt(fields, version)?;
    sampling(fields, version)?;
    tools(&body)?;
    tool_choice(&body)?;
    let thinks = thinking(&body, max_tokens)?;
    let stop_sequences = tokens::list(&body["stop_sequences"]).iter().filter_map(|s| Some(s.as_str()?.to_owned()));
    let stop_sequences = stop_sequences.filter(|sequence| !sequence.is_empty()).collect();
    Ok(Ask { model, max_tokens, stream, stop_sequences, thinks, body })
}

/// `count_tokens` needs a model and messages, nothing else.
pub(crate) fn count(bytes: &[u8], version: Version) -> Result<(String, Value), ApiError> {
    let body = object(bytes)?;
    let fields = body.as_object().ok_or_else(|| required("model"))?;
    let model = model(fields)?;
    prompt(fields, version)?;
    Ok((model, body))
}

/// Messages API, all versions and betas of 2026-11.
const KNOWN_FIELDS: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "stream",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "cache_control",
    "metadata",
    "service_tier",
    "speed",
    "inference_geo",
    "container",
    "diagnostics",
    "temperature",
    "top_p",
    "top_k",
    "mcp_servers",
    "context_management",
    "fallbacks",
    "fallback_credit_token",
    "betas",
    "thread",
    "tags",
    "safeguards",
    "billing_policy",
    "user_profile_id",
];

/// `null` is as good as absent.
fn given<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn required(field: &str) -> ApiError {
    ApiError::invalid(format!("{field}: Field required"))
}

fn model(fields: &Map<String, Value>) -> Result<String, ApiError> {
    let model = fields.get("model").ok_or_else(|| required("model"))?;
    let model = model.as_str().ok_or_else(|| ApiError::invalid("model: Input should be a valid string"))?;
    if model.is_empty() {
        return Err(ApiError::invalid("model: String should have at least 1 character"));
    }
    Ok(model.to_owned())
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match given(fields, name) {
        None => Ok(false),
        Some(value) => {
            value.as_bool().ok_or_else(|| ApiError::invalid(format!("{name}: Input should be a valid boolean")))
        }
    }
}

/// 0 only fills the cache, and not in a stream.
fn max_tokens(fields: &Map<String, Value>, stream: bool) -> Result<u64, ApiError> {
    let value = fields.get("max_tokens").ok_or_else(|| required("max_tokens"))?;
    let least = u64::from(stream);
    match (value.as_u64(), value.as_i64()) {
        (Some(tokens), _) if tokens >= least => Ok(tokens),
        (None, None) => Err(ApiError::invalid("max_tokens: Input should be a valid integer")),
        _ => Err(ApiError::invalid(format!("max_tokens: Input should be greater than or equal to {least}"))),
    }
}

fn prompt(fields: &Map<String, Value>, version: Version) -> Result<(), ApiError> {
    let messages = fields.get("messages").ok_or_else(|| required("messages"))?;
    let messages = messages.as_array().ok_or_else(|| ApiError::invalid("messages: Input should be a valid array"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages: at least one message is required"));
    }
    for (i, message) in messages.iter().enumerate() {
        check_message(i, message, version)?;
    }
    marks(fields)
}

fn check_message(i: usize, message: &Value, version: Version) -> Result<(), ApiError> {
    let role = message["role"].as_str().ok_or_else(|| required(&format!("messages.{i}.role")))?;
    if !["user", "assistant", "system"].contains(&role) {
        return Err(ApiError::invalid(format!("messages.{i}.role: Input should be 'user' or 'assistant'")));
    }
    let content = message.get("content").ok_or_else(|| required(&format!("messages.{i}.content")))?;
    if !content.is_string() && !content.is_array() {
        return Err(ApiError::invalid(format!("messages.{i}.content: Input should be a valid array")));
    }
    if role == "user" && (content == "" || content.as_array().is_some_and(Vec::is_empty)) {
        return Err(ApiError::invalid(format!("messages.{i}: user messages must have non-empty content")));
    }
    if version == Version::V2026 { newer_rules(i, role, content) } else { Ok(()) }
}

/// What 2026-10-21 no longer takes inside messages.
fn newer_rules(i: usize, role: &str, content: &Value) -> Result<(), ApiError> {
    for (j, block) in tokens::list(content).iter().enumerate() {
        let at = format!("messages.{i}.content.{j}");
        if role == "assistant" && block["type"] == "document" {
            return Err(ApiError::invalid(format!("{at}: document blocks are not permitted in assistant messages")));
        }
        if role == "user" && block["type"] == "text" && !tokens::list(&block["citations"]).is_empty() {
            return Err(ApiError::invalid(format!("{at}.citations: Extra inputs are not permitted")));
        }
    }
    Ok(())
}

fn marks(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let in_list = |list: &Value| tokens::list(list).iter().filter(|block| block["cache_control"].is_object()).count();
    let of = |name: &str| fields.get(name).map_or(0, in_list);
    let messages = fields.get("messages").map(tokens::list).unwrap_or_default();
    let in_messages: usize = messages.iter().map(|message| in_list(&message["content"])).sum();
    match of("tools") + of("system") + in_messages + usize::from(given(fields, "cache_control").is_some()) {
        0..=4 => Ok(()),
        more => {
            Err(ApiError::invalid(format!("A maximum of 4 blocks with cache_control may be provided. Found {more}.")))
        }
    }
}

fn sampling(fields: &Map<String, Value>, version: Version) -> Result<(), ApiError> {
    let sampled = ["temperature", "top_p", "top_k"].into_iter().find(|name| given(fields, name).is_some());
    if let (Version::V2026, Some(name)) = (version, sampled) {
        return Err(ApiError::invalid(format!("{name}: Extra inputs are not permitted")));
    }
    for name in ["temperature", "top_p"] {
        if let Some(value) = given(fields, name)
            && !value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))
        {
            return Err(ApiError::invalid(format!("{name}: range: 0..1")));
        }
    }
    Ok(())
}

/// A tool of the client's own needs a schema of an object.
fn tools(body: &Value) -> Result<(), ApiError> {
    let own = |tool: &Value| tool["type"].is_null() || tool["type"] == "custom";
    for (i, tool) in tokens::list(&body["tools"]).iter().enumerate().filter(|(_, tool)| own(tool)) {
        if tool["name"].is_null() {
            return Err(required(&format!("tools.{i}.custom.name")));
        }
        let at = format!("tools.{i}.custom.input_schema");
        let schema = tool["input_schema"].as_object().ok_or_else(|| required(&at))?;
        match given(schema, "type") {
            Some(kind) if kind == "object" => {}
            Some(_) => return Err(ApiError::invalid(format!("{at}.type: Input should be 'object'"))),
            None => return Err(required(&format!("{at}.type"))),
        }
    }
    Ok(())
}

fn tool_choice(body: &Value) -> Result<(), ApiError> {
    let Some(choice) = body.get("tool_choice").filter(|choice| !choice.is_null()) else { return Ok(()) };
    let tools = tokens::list(&body["tools"]);
    if tools.is_empty() {
        return Err(ApiError::invalid("tool_choice: may only be specified while providing tools"));
    }
    let name = &choice["name"];
    if choice["type"] == "tool" && !tools.iter().any(|tool| tool["name"] == *name) {
        let name = name.as_str().unwrap_or_default();
        return Err(ApiError::invalid(format!("Tool '{name}' not found in provided tools")));
    }
    Ok(())
}

fn thinking(body: &Value, max_tokens: u64) -> Result<bool, ApiError> {
    let thinking = &body["thinking"];
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().ok_or_else(|| required("thinking.enabled.budget_tokens"))?;
        if budget < 1_024 {
            return Err(ApiError::invalid(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            ));
        }
        if max_tokens <= budget {
            return Err(ApiError::invalid("`max_tokens` must be greater than `thinking.budget_tokens`"));
        }
    }
    Ok(thinking["type"] == "enabled" || thinking["type"] == "adaptive")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain() -> Value {
        json!({"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]})
    }

    fn with(changes: Value) -> Value {
        let mut body = plain();
        for (key, value) in changes.as_object().expect("an object") {
            match value.is_null() {
                true => body.as_object_mut().expect("an object").remove(key),
                false => body.as_object_mut().expect("an object").insert(key.clone(), value.clone()),
            };
        }
        body
    }

    fn refusal(body: &Value, version: Version) -> String {
        match message(body.to_string().as_bytes(), version) {
            Ok(_) => "fine".to_owned(),
            Err(error) => format!("{} {}", error.status, error.message),
        }
    }

    #[test]
    fn each_wrong_request_gets_the_words_of_the_api() {
        let five = vec![json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}); 5];
        for (changes, expected) in [
            (json!({}), "fine"),
            (json!({"stream": Value::Null, "temperature": Value::Null, "tool_choice": Value::Null}), "fine"),
            (json!({"max_tokens": null}), "400 max_tokens: Field required"),
            (json!({"max_tokens": "9"}), "400 max_tokens: Input should be a valid integer"),
            (json!({"max_tokens": -1}), "400 max_tokens: Input should be greater than or equal to 0"),
            (json!({"max_tokens": 0, "stream": true}), "400 max_tokens: Input should be greater than or equal to 1"),
            (json!({"model": null}), "400 model: Field required"),
            (json!({"messages": []}), "400 messages: at least one message is required"),
            (json!({"tools": [{"name": "a"}]}), "400 tools.0.custom.input_schema: Field required"),
            (
                json!({"tools": [{"name": "a", "input_schema": {"$ref": "x"}}]}),
                "400 tools.0.custom.input_schema.type: Field required",
            ),
            (
                json!({"tools": [{"name": "a", "input_schema": {"type": "string"}}]}),
                "400 tools.0.custom.input_schema.type: Input should be 'object'",
            ),
            (json!({"surprise": 1}), "400 surprise: Extra inputs are not permitted"),
            (json!({"temperature": -5.0}), "400 temperature: range: 0..1"),
            (json!({"tool_choice": {"type": "any"}}), "400 tool_choice: may only be specified while providing tools"),
            (json!({"system": five}), "400 A maximum of 4 blocks with cache_control may be provided. Found 5."),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 5}}),
                "400 thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            ),
        ] {
            assert_eq!(refusal(&with(changes.clone()), Version::V2023), expected, "{changes}");
        }
        let error = message(b"{not json", Version::V2023).expect_err("no JSON");
        assert!(error.message.starts_with("The request body is not valid JSON: "));
    }

    #[test]
    fn the_newer_version_takes_less() {
        let document = json!({"messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "document", "source": {}}]}]});
        let cited = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]}]});
        for changes in [json!({"temperature": 1.0}), json!({"top_p": 0.5}), json!({"top_k": 5}), document, cited] {
            assert_eq!(refusal(&with(changes.clone()), Version::V2023), "fine", "{changes}");
            assert!(refusal(&with(changes.clone()), Version::V2026).starts_with("400 "), "{changes}");
        }
        assert_eq!(refusal(&plain(), Version::V2026), "fine");
    }

    #[test]
    fn the_last_text_is_that_of_the_last_user_message() {
        let body =
            with(json!({"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "image"}]}]}));
        let ask = message(body.to_string().as_bytes(), Version::V2026).expect("fine");
        assert_eq!(ask.last_text(), "three");
    }
}
