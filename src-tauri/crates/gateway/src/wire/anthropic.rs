//! The Messages API: what a request asks for, what an answer used, what its headers tell of limits.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use domain::time::Timestamp;
use domain::usage::{Aside, Split, Step, StepKind, Tokens, Usage, split};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use serde_json::Value;

use self::complaint::Complaint;
use super::json::{self, Ends};
use super::shape::{Findings, Gauge};
use crate::headers::short;

pub(crate) mod complaint;
pub(crate) mod limits;

/// What a decision needs of a request's body, and no more.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Peek<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    /// `metadata.user_id`.
    pub(crate) user_id: Option<String>,
    /// What it is made of, and whether it writes to the prompt cache.
    pub(crate) findings: Findings,
    /// It asks for the fast mode, which has limits of its own.
    pub(crate) fast: bool,
    pub(crate) service_tier: Option<Cow<'a, str>>,
    /// The model may ask for something to be done.
    pub(crate) offers_tools: bool,
}

/// Why a body is not forwarded. Everything else is the upstream's to judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotACall {
    NoObject,
    NoModel,
}

const ASKED: [&str; 15] = [
    "model",
    "max_tokens",
    "stream",
    "metadata",
    "speed",
    "service_tier",
    "system",
    "messages",
    "tools",
    "tool_choice",
    "thinking",
    "cache_control",
    "output_config",
    "output_format",
    "mcp_servers",
];

pub(crate) fn peek(body: &[u8]) -> Result<Peek<'_>, NotACall> {
    let mut peek = Peek::default();
    let mut gauge = Gauge::default();
    json::members(body, &ASKED, |name, value| match name {
        "model" => peek.model = json::text(value).unwrap_or_default(),
        "max_tokens" => peek.max_tokens = value.get().parse().ok(),
        "stream" => peek.stream = value.get() == "true",
        "metadata" => peek.user_id = json::small_value(value)["user_id"].as_str().map(str::to_owned),
        "speed" => peek.fast = value.get() == r#""fast""#,
        "service_tier" => peek.service_tier = json::text(value),
        "tools" | "mcp_servers" => {
            peek.offers_tools |= !matches!(value.get(), "[]" | "null");
            gauge.member(name, value.get());
        }
        _ => gauge.member(name, value.get()),
    })
    .map_err(|_| NotACall::NoObject)?;
    peek.findings = gauge.findings();
    if peek.model.is_empty() { Err(NotACall::NoModel) } else { Ok(peek) }
}

/// What has been read of an answer so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    /// The model that answered.
    pub(crate) model: Option<Arc<str>>,
    /// Work of other kinds or other models in the same call, which `usage` leaves out.
    pub(crate) asides: Vec<Aside>,
    /// The upstream has said what the prompt was.
    pub(crate) prompt_known: bool,
    /// The upstream has said what the whole answer used.
    pub(crate) whole_known: bool,
    /// Something it said can't be true.
    pub(crate) insane: bool,
    /// Bytes of text, thinking and tool input that have passed.
    pub(crate) text_bytes: u64,
    /// Priority Tier served it: paid for by a commitment.
    pub(crate) priority: bool,
    /// The model declined to answer.
    pub(crate) declined: bool,
    /// The answer was cut off by its own `max_tokens`.
    pub(crate) out_of_tokens: bool,
    /// Some of what a client reads as the answer has come: from here on nothing can be taken back.
    pub(crate) has_content: bool,
    /// The turn is to be continued by another call.
    pub(crate) paused: bool,
    /// A document that is no message, whatever its headers say.
    pub(crate) foreign: bool,
    /// The type of the error it reported.
    pub(crate) error: Option<Arc<str>>,
    /// And all that it said, where it came as an event.
    pub(crate) complaint: Option<Box<Complaint>>,
    pub(crate) ended: Option<Ended>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Whole,
    Error,
}

/// No answer uses as many; larger counts are lies.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Of text, about; only used where the upstream never said.
const BYTES_PER_TOKEN: u64 = 4;

impl Tally {
    /// Reads one event of a stream.
    pub(crate) fn event(&mut self, name: &[u8], data: &[u8]) {
        let unnamed: Arc<str>;
        let name = if name.is_empty() {
            unnamed = type_or(data, "");
            unnamed.as_bytes()
        } else {
            name
        };
        match name {
            b"content_block_delta" => self.text_bytes += delta_bytes(data),
            b"message_start" => self.message_start(data),
            b"message_delta" => self.message_delta(data),
            b"message_stop" => self.ended = Some(Ended::Whole),
            b"error" => self.fails(data),
            _ => {}
        }
        self.has_content |= matches!(name, b"content_block_delta" | b"content_block_stop" | b"message_delta");
    }

    fn fails(&mut self, data: &[u8]) {
        let complaint = Complaint::read(data);
        self.error = Some(complaint.kind.as_deref().map_or_else(|| "error".into(), short));
        self.complaint = Some(Box::new(complaint));
        self.ended = Some(Ended::Error);
    }

    /// Reads a whole answer that is no stream.
    pub(crate) fn document(&mut self, body: &[u8]) {
        self.text_bytes = body.len() as u64;
        self.foreign = json::ends(body) != Ends::Object;
        self.message(body);
        self.whole_known = self.prompt_known;
    }

    /// The usage to settle on, and whether it is an estimate. `reserved` stands in for what was never said.
    pub(crate) fn settled(&self, reserved: &Usage, max_tokens: Option<u64>) -> (Usage, bool) {
        if self.whole_known {
            return (self.usage, self.insane);
        }
        let mut usage = self.usage;
        if !self.prompt_known {
            usage.tokens.input = reserved.tokens.input;
        }
        usage.tokens.output = self.output_so_far().min(max_tokens.unwrap_or(u64::MAX));
        (usage, true)
    }

    /// A refusal before the first word is not billed, though its usage shows tokens.
    pub(crate) fn is_free(&self) -> bool {
        self.declined && self.text_bytes == 0
    }

    /// Output tokens: reported, or guessed from the text that has passed.
    pub(crate) fn output_so_far(&self) -> u64 {
        self.usage.tokens.output.max(self.text_bytes / BYTES_PER_TOKEN)
    }

    fn message_start(&mut self, data: &[u8]) {
        if let Some(message) = json::member(data, "message") {
            self.message(message.get().as_bytes());
        }
    }

    fn message_delta(&mut self, data: &[u8]) {
        let _ = json::members(data, &["delta", "usage"], |name, value| match name {
            "delta" => self.stops(json::small_value(value)["stop_reason"].as_str().unwrap_or_default()),
            _ => self.whole_known |= self.overlay(&json::small_value(value)),
        });
    }

    fn stops(&mut self, reason: &str) {
        self.declined = reason == "refusal";
        self.paused = reason == "pause_turn";
        self.out_of_tokens = reason == "max_tokens";
    }

    fn message(&mut self, message: &[u8]) {
        let _ =
            json::members(message, &["model", "usage", "stop_reason", "content", "error"], |name, value| match name {
                "model" => self.model = json::text(value).map(Arc::from),
                "usage" => self.prompt_known = self.overlay(&json::small_value(value)),
                "stop_reason" => self.stops(&json::text(value).unwrap_or_default()),
                "content" if value.get() == "[]" => self.text_bytes = 0,
                "error" => self.error = Some(type_or(value.get().as_bytes(), "error")),
                _ => {}
            });
    }

    /// Each field that says something replaces what was said before. `true` where any did.
    fn overlay(&mut self, usage: &Value) -> bool {
        let mut said = self.usage.tokens.overlay(usage);
        said.read(&usage["server_tool_use"], "web_search_requests", &mut self.usage.web_searches);
        self.read_terms(usage);
        if let Some(iterations) = usage["iterations"].as_array() {
            self.iterations(iterations);
        }
        self.insane |= said.insane;
        said.anything
    }

    /// The steps of an answer: where another model took over, the counts of the whole answer are not its own.
    fn iterations(&mut self, all: &[Value]) {
        let steps: Vec<Step> = all.iter().filter_map(step).collect();
        let Split { asides, taken_over } = split(&steps, self.model.as_ref());
        self.asides = asides;
        if let Some((model, own)) = taken_over {
            (self.model, self.usage.tokens) = (Some(model), own);
        }
    }

    fn read_terms(&mut self, usage: &Value) {
        if let Some(tier) = usage["service_tier"].as_str() {
            self.usage.batch = tier == "batch";
            self.priority = tier == "priority";
        }
        if let Some(speed) = usage["speed"].as_str() {
            self.usage.fast = speed == "fast";
        }
        if let Some(geo) = usage["inference_geo"].as_str() {
            self.usage.us_only = geo == "us";
        }
    }
}

/// One entry of `usage.iterations`.
fn step(iteration: &Value) -> Option<Step> {
    let kind = StepKind::named(iteration["type"].as_str()?)?;
    let mut tokens = Tokens::default();
    tokens.overlay(iteration);
    Some(Step { kind, model: iteration["model"].as_str().map(Arc::from), tokens })
}

trait Overlay {
    fn overlay(&mut self, usage: &Value) -> Said;
}

impl Overlay for Tokens {
    fn overlay(&mut self, usage: &Value) -> Said {
        let mut said = Said::default();
        said.read(usage, "input_tokens", &mut self.input);
        said.read(usage, "output_tokens", &mut self.output);
        said.read(usage, "cache_read_input_tokens", &mut self.cache_read);
        let mut written = self.cache_write_5m.saturating_add(self.cache_write_1h);
        said.read(usage, "cache_creation_input_tokens", &mut written);
        let split = &usage["cache_creation"];
        said.read(split, "ephemeral_5m_input_tokens", &mut self.cache_write_5m);
        said.read(split, "ephemeral_1h_input_tokens", &mut self.cache_write_1h);
        // Without a split all of it counts as written for five minutes.
        self.cache_write_5m = written.saturating_sub(self.cache_write_1h).max(self.cache_write_5m);
        said
    }
}

/// Whether a usage said anything, and anything that can't be.
#[derive(Default)]
struct Said {
    anything: bool,
    insane: bool,
}

impl Said {
    fn read(&mut self, usage: &Value, name: &str, count: &mut u64) {
        let value = &usage[name];
        if value.is_null() {
            return;
        }
        match value.as_u64() {
            Some(sane) if sane <= TOKENS_MAX => {
                *count = sane;
                self.anything = true;
            }
            Some(_) | None => self.insane = true,
        }
    }
}

fn type_or(json: &[u8], otherwise: &str) -> Arc<str> {
    let kind = json::member(json, "type").and_then(json::text);
    kind.map_or_else(|| otherwise.into(), |kind| short(&kind))
}

/// How many bytes of an event `content_block_delta` are the model's words. The API writes it without blanks and its words
/// last, which needs no parser.
fn delta_bytes(data: &[u8]) -> u64 {
    let Some(opens) = memmem::rfind(data, br#"":""#) else { return parsed_delta_bytes(data) };
    let key = &data[..opens];
    if WORDS.iter().any(|words| key.ends_with(words.as_bytes())) {
        data.len().saturating_sub(opens + 3 + 3) as u64
    } else {
        parsed_delta_bytes(data)
    }
}

/// What a delta's words are called; a signature has none.
const WORDS: [&str; 3] = ["text", "thinking", "partial_json"];

fn parsed_delta_bytes(data: &[u8]) -> u64 {
    let mut bytes = 0;
    if let Some(delta) = json::member(data, "delta") {
        let quotes = 2;
        let _ =
            json::members(delta.get().as_bytes(), &WORDS, |_, words| bytes = words.get().len().saturating_sub(quotes));
    }
    bytes as u64
}

/// The sign of an answer that the Messages API never gives: a captive portal, a proxy's page.
pub(crate) fn is_api_answer(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/json") || kind.starts_with("text/event-stream")
}

pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// No wait is longer, whatever a header says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(366 * 86_400);

/// `retry-after-ms`, else `retry-after` in seconds, with a fraction or as an HTTP date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if let Some(millis) = text(headers.get("retry-after-ms")).and_then(number) {
        return Some(seconds(millis / 1_000.0));
    }
    let value = text(headers.get(http::header::RETRY_AFTER))?;
    match number(value) {
        Some(number) => Some(seconds(number)),
        None => http_date(value).map(|date| date.since(now).min(RETRY_AFTER_MAX)),
    }
}

/// May waiting help? `None` where the upstream doesn't say.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    text(headers.get("x-should-retry")).map(|value| value == "true")
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok().map(str::trim)
}

fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| !number.is_nan() && *number >= 0.0)
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(RETRY_AFTER_MAX).min(RETRY_AFTER_MAX)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(value: &str) -> Option<Timestamp> {
    let parts: Vec<&str> = value.split([' ', ',']).filter(|part| !part.is_empty()).collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<(String, Option<u64>, bool, Option<String>), NotACall> {
        peek(body.as_bytes()).map(|p| (p.model.into_owned(), p.max_tokens, p.stream, p.user_id))
    }

    #[test]
    fn a_request_is_read_for_what_a_decision_needs() {
        let body = r#"{"mod\u0065l":"claude-x","max_tokens":7,"stream":true,"messages":[{"model":"no"}],"metadata":{"user_id":"u\n"}}"#;
        assert_eq!(asked(body), Ok(("claude-x".into(), Some(7), true, Some("u\n".into()))));
        assert_eq!(
            asked(r#" {"model":"a","model":"b","max_tokens":-1,"stream":null} "#),
            Ok(("b".into(), None, false, None))
        );
        for (wrong, why) in [
            ("", NotACall::NoObject),
            ("[]", NotACall::NoObject),
            ("nonsense", NotACall::NoObject),
            (r#"{"model":"a""#, NotACall::NoObject),
            (r#"{"model":"a"} x"#, NotACall::NoObject),
            (r#"{"model":"a",}"#, NotACall::NoObject),
            ("{}", NotACall::NoModel),
            (r#"{"model":7}"#, NotACall::NoModel),
            (r#"{"model":""}"#, NotACall::NoModel),
        ] {
            assert_eq!(asked(wrong), Err(why), "{wrong}");
        }
    }

    #[test]
    fn the_speed_and_tier_asked_for_are_read() {
        let of = |body: &'static str| peek(body.as_bytes()).map(|peek| (peek.fast, peek.service_tier));
        let asked = r#"{"model":"a","speed":"fast","service_tier":"standard_only"}"#;
        assert_eq!(of(asked), Ok((true, Some("standard_only".into()))));
        assert_eq!(of(r#"{"model":"a","speed":"standard","service_tier":7}"#), Ok((false, None)));
    }

    #[test]
    fn deep_nesting_is_no_reason_to_refuse() {
        let body = format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(peek(body.as_bytes()).is_ok());
    }

    fn stream(events: &[(&str, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (name, data) in events {
            tally.event(name.as_bytes(), data.as_bytes());
        }
        tally
    }

    const START: &str = r#"{"type":"message_start","message":{"model":"claude-y","usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"cache_read_input_tokens":5,"output_tokens":1,"service_tier":"batch","inference_geo":"us"}}}"#;

    #[test]
    fn the_last_word_on_each_field_counts_and_null_says_nothing() {
        let delta = r#"{"usage":{"input_tokens":null,"output_tokens":42,"speed":"fast","server_tool_use":{"web_search_requests":2}}}"#;
        let tally = stream(&[("message_start", START), ("message_delta", delta), ("message_stop", "{}")]);
        let tokens = tally.usage.tokens;
        assert_eq!((tokens.input, tokens.cache_write_5m, tokens.cache_write_1h), (10, 3, 4));
        assert_eq!((tokens.cache_read, tokens.output, tally.usage.web_searches), (5, 42, 2));
        assert!(tally.usage.batch && tally.usage.fast && tally.usage.us_only);
        assert_eq!(tally.settled(&Usage::default(), None), (tally.usage, false));
        assert_eq!((tally.model.as_deref(), tally.ended), (Some("claude-y"), Some(Ended::Whole)));
    }

    #[test]
    fn insane_numbers_are_ignored_and_mark_the_entry() {
        for wrong in ["-3", "1.5", "1180591620717411303424", "\"9\"", "{}", "true"] {
            let delta = format!(r#"{{"usage":{{"input_tokens":{wrong},"output_tokens":42}}}}"#);
            let tally = stream(&[("message_start", START), ("message_delta", &delta)]);
            let (usage, estimated) = tally.settled(&Usage::default(), None);
            assert_eq!((usage.tokens.input, usage.tokens.output, estimated), (10, 42, true), "{wrong}");
        }
    }

    #[test]
    fn a_cut_stream_is_estimated_from_the_words_that_passed() {
        let words = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{}"}}}}"#,
            "w".repeat(400)
        );
        let sign = words.replace("\"text\":", "\"signature\":");
        let tally =
            stream(&[("message_start", START), ("content_block_delta", &words), ("content_block_delta", &sign)]);
        assert_eq!(tally.settled(&Usage::default(), None).0.tokens.output, 100);
        assert_eq!(tally.settled(&Usage::default(), Some(30)).0.tokens.output, 30);
    }

    #[test]
    fn words_count_however_their_event_is_written() {
        for (event, bytes) in [
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"say \":"}}"#, 7),
            (r#"{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "four"}}"#, 4),
            (r#"{"delta":{"text":"four","type":"text_delta"},"type":"content_block_delta"}"#, 4),
            ("{\n \"delta\" : {\n \"partial_json\" : \"{\\\"a\\\": 1\" } }", 9),
            (r#"{"delta":{"type":"thinking_delta","thinking":""}}"#, 0),
            (r#"{"delta": {"type": "signature_delta", "signature": "EqQBCg"}}"#, 0),
            (r#"{"delta":{"type":"signature_delta","signature":"EqQBCg"}}"#, 0),
            (r#"{"delta":{"type":"text_delta","text":1}}"#, 0),
            ("text", 0),
        ] {
            assert_eq!(delta_bytes(event.as_bytes()), bytes, "{event}");
        }
    }

    #[test]
    fn an_advisor_and_a_compaction_are_counted_beside_the_answer() {
        let mut tally = Tally::default();
        tally.document(
            br#"{"usage":{"input_tokens":9,"output_tokens":3,"iterations":[
                {"type":"message","input_tokens":9,"output_tokens":3},
                {"type":"advisor_message","model":"claude-big","input_tokens":100,"output_tokens":20},
                {"type":"compaction","input_tokens":7,"output_tokens":1}]}}"#,
        );
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        assert_eq!(tally.usage.tokens, tokens(9, 3));
        let advisor = Aside { model: Some("claude-big".into()), tokens: tokens(100, 20) };
        assert_eq!(tally.asides, [advisor, Aside { model: None, tokens: tokens(7, 1) }]);
    }

    #[test]
    fn each_model_of_a_fallback_is_counted_apart_and_one_that_declined_before_the_first_word_is_not() {
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        let answer = |first_output: u64| {
            let delta = format!(
                r#"{{"delta":{{"stop_reason":"end_turn"}},"usage":{{"input_tokens":60,"output_tokens":9,"iterations":[
                {{"type":"message","model":"claude-y","input_tokens":30,"output_tokens":{first_output}}},
                {{"type":"fallback_message","model":"claude-z","input_tokens":30,"output_tokens":9}}]}}}}"#
            );
            stream(&[("message_start", START), ("message_delta", &delta)])
        };
        let declined = answer(0);
        assert_eq!((declined.model.as_deref(), declined.usage.tokens), (Some("claude-z"), tokens(30, 9)));
        assert_eq!(declined.asides, []);
        let cut = answer(4);
        assert_eq!(cut.usage.tokens, tokens(30, 9));
        assert_eq!(cut.asides, [Aside { model: Some("claude-y".into()), tokens: tokens(30, 4) }]);
    }

    #[test]
    fn priority_tier_is_known_by_the_answers_tier() {
        let start = START.replace(r#""service_tier":"batch""#, r#""service_tier":"priority""#);
        let tally = stream(&[("message_start", &start)]);
        assert_eq!((tally.priority, tally.usage.batch), (true, false));
    }

    #[test]
    fn writes_without_a_split_count_as_five_minutes() {
        let mut tally = Tally::default();
        tally
            .document(br#"{"model":"m","usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":9}}"#);
        assert_eq!(tally.usage.tokens.cache_write_5m, 9);
    }

    #[test]
    fn a_refusal_is_free_only_before_the_first_word() {
        let words = r#"{"delta":{"type":"text_delta","text":"I will"}}"#;
        let refusal = r#"{"delta":{"stop_reason":"refusal"},"usage":{"output_tokens":3}}"#;
        let start = ("message_start", START);
        assert!(stream(&[start, ("message_delta", refusal)]).is_free());
        assert!(!stream(&[start, ("content_block_delta", words), ("message_delta", refusal)]).is_free());
        for (body, free) in [
            (r#"{"content":[],"stop_reason":"refusal","usage":{"input_tokens":1}}"#, true),
            (r#"{"content":[{}],"stop_reason":"refusal","usage":{"input_tokens":1}}"#, false),
            (r#"{"content":[],"stop_reason":"end_turn","usage":{"input_tokens":1}}"#, false),
        ] {
            let mut tally = Tally::default();
            tally.document(body.as_bytes());
            assert_eq!(tally.is_free(), free, "{body}");
        }
    }

    #[test]
    fn an_event_without_a_name_is_known_by_its_type() {
        let tally = stream(&[("", r#"{"type":"error","error":{"type":"overloaded_error"}}"#)]);
        assert_eq!((tally.error.as_deref(), tally.ended), (Some("overloaded_error"), Some(Ended::Error)));
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn every_form_of_retry_after_is_understood() {
        let now = Timestamp::parse("1994-11-06T08:49:00Z").expect("a time");
        let of = |name, value| retry_after(&headers(&[(name, value)]), now).map(|wait| wait.as_millis());
        assert_eq!(of("retry-after", "7"), Some(7_000));
        assert_eq!(of("retry-after", "0.25"), Some(250));
        assert_eq!(of("retry-after-ms", "90"), Some(90));
        assert_eq!(of("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(37_000));
        assert_eq!(of("retry-after", "Sun, 06 Nov 1994 08:48:00 GMT"), Some(0));
        for absurd in ["99999999999999999999", "inf", "1e300"] {
            assert_eq!(of("retry-after", absurd), Some(RETRY_AFTER_MAX.as_millis()), "{absurd}");
        }
        for nonsense in ["", "-5", "soon", "NaN"] {
            assert_eq!(of("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
