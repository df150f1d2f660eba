//! One line of a Claude Code log: what it tells of a call, if it tells of one.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use domain::call::Source;
use domain::time::Timestamp;
use domain::usage::{Split, Step, StepKind, Tokens, Usage, split};
use memchr::memmem::Finder;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::limit;
use super::observing::Observation;
use super::told::{Beside, Facts, Key, Origin, Said, Told, bounded_id};
use crate::call;

/// No call uses more of anything; a larger count is nonsense.
const TOKENS_MAX: u64 = 1_000_000_000;

/// What Claude Code writes in the model's name where no model was asked.
const NO_MODEL: &str = "<synthetic>";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Read {
    Call(Box<Told>),
    /// A subscription's window is spent.
    LimitReached(Observation),
    /// It tells of something else.
    NoCall,
    FromTheFuture,
    Unreadable(String),
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    uuid: Option<Text<'a>>,
    session_id: Option<Text<'a>>,
    request_id: Option<Text<'a>>,
    agent_id: Option<Text<'a>>,
    timestamp: Option<Text<'a>>,
    version: Option<Text<'a>>,
    cwd: Option<Text<'a>>,
    git_branch: Option<Text<'a>>,
    is_sidechain: Option<bool>,
    is_api_error_message: Option<bool>,
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    stop_reason: Option<Text<'a>>,
    content: Option<Content>,
    usage: Option<UsageOfLine<'a>>,
}

/// Whether there is any; what it is nobody wants to know.
struct Content(bool);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(AnyContent)
    }
}

struct AnyContent;

impl<'de> Visitor<'de> for AnyContent {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("content")
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content(!text.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Content, A::Error> {
        let mut any = false;
        while blocks.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Content(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut blocks: A) -> Result<Content, A::Error> {
        while blocks.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Content(true))
    }
}

#[derive(Deserialize)]
struct UsageOfLine<'a> {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    inference_geo: Option<Text<'a>>,
    speed: Option<Text<'a>>,
    /// Whatever it looks like: a line is not unreadable for it.
    iterations: Option<&'a RawValue>,
}

/// A step of an answer.
#[derive(Deserialize)]
struct Iteration<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    model: Option<Text<'a>>,
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}

/// Where a line stands.
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    /// The log is a subagent's own; its name is in the file's.
    pub(super) subagent: Option<&'a str>,
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// `latest` is the last moment that can have passed.
pub(super) fn read(line: &[u8], place: &Place<'_>, latest: Timestamp) -> Read {
    // Most of a log is other people's words, some of it hundreds of megabytes: it is not parsed.
    if USAGE.find(line).is_none() {
        return Read::NoCall;
    }
    let parsed: Line<'_> = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => return Read::Unreadable(error.to_string()),
    };
    let Some(message) = &parsed.message else { return Read::NoCall };
    let Some(usage) = &message.usage else { return Read::NoCall };
    if parsed.is_api_error_message == Some(true) || text(&message.model) == NO_MODEL {
        return limit::reached(line, text(&parsed.timestamp), text(&parsed.session_id), latest)
            .map_or(Read::NoCall, Read::LimitReached);
    }
    let Some(at) = Timestamp::parse(text(&parsed.timestamp)).filter(|at| at.as_millis() >= 0) else {
        return Read::Unreadable("it has no time".to_owned());
    };
    if at > latest {
        return Read::FromTheFuture;
    }
    let Some(said) = usage.said(at, text(&message.model)) else {
        return Read::Unreadable("its counts are beyond reason".to_owned());
    };
    let declined = text(&message.stop_reason) == "refusal";
    Read::Call(Box::new(Told {
        key: parsed.key(line),
        facts: Facts {
            first_at: at.as_millis(),
            said: Said { declined, ..said },
            origin: parsed.origin(place),
            spoke: message.content.as_ref().is_some_and(|content| content.0),
        },
    }))
}

fn text<'a>(value: &'a Option<Text<'_>>) -> &'a str {
    value.as_ref().map_or("", |text| &text.0)
}

impl Line<'_> {
    fn key(&self, line: &[u8]) -> Key {
        let message_id = bounded_id(self.message.as_ref().map_or("", |message| text(&message.id)));
        let request_id = bounded_id(text(&self.request_id));
        let message_id = if message_id.is_empty() && request_id.is_empty() { self.own_name(line) } else { message_id };
        Key { message_id, request_id, source: Source::Log }
    }

    /// A line without ids is a call of its own, and a copy of it is the same.
    fn own_name(&self, line: &[u8]) -> String {
        let uuid = text(&self.uuid);
        let hash = Sha256::digest(if uuid.is_empty() { line } else { uuid.as_bytes() });
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("line:{hex}")
    }

    fn origin(&self, place: &Place<'_>) -> Origin {
        let agent = match text(&self.agent_id) {
            "" => place.subagent.unwrap_or_default(),
            agent => agent,
        };
        let version = text(&self.version);
        Origin {
            sidechain: self.is_sidechain == Some(true),
            subagent: place.subagent.is_some(),
            file: place.file.to_owned(),
            session: call::text(text(&self.session_id)),
            agent: call::text(agent),
            cwd: call::text(text(&self.cwd)),
            branch: call::text(text(&self.git_branch)),
            user_agent: if version.is_empty() {
                "claude-cli".to_owned()
            } else {
                call::text(&format!("claude-cli/{version}"))
            },
            account: config_folder(place.file).to_owned(),
        }
    }
}

/// `/home/u/.claude` of `/home/u/.claude/projects/p/s.jsonl`: who has several accounts has a folder for each.
fn config_folder(file: &str) -> &str {
    ["/projects/", "\\projects\\"].iter().filter_map(|part| file.rfind(part)).max().map_or("", |end| &file[..end])
}

impl UsageOfLine<'_> {
    /// `None` where a count is beyond reason.
    fn said(&self, at: Timestamp, model: &str) -> Option<Said> {
        let web_searches = count(self.server_tool_use.as_ref().and_then(|used| used.web_search_requests));
        let all: Option<Vec<Iteration<'_>>> = self.iterations.and_then(|all| serde_json::from_str(all.get()).ok());
        let steps: Vec<Step> = all.iter().flatten().filter_map(Iteration::step).collect();
        let Split { asides, taken_over } = split(&steps, Some(&Arc::from(model)));
        let is_taken_over = taken_over.is_some();
        let (model, tokens) = taken_over.unwrap_or_else(|| (model.into(), self.tokens()));
        let usage = Usage {
            tokens,
            web_searches,
            batch: text(&self.service_tier) == "batch",
            fast: text(&self.speed) == "fast",
            us_only: text(&self.inference_geo) == "us",
        };
        let all = asides.iter().map(|aside| &aside.tokens).chain([&usage.tokens]);
        let counts = all.flat_map(|tokens| [tokens.prompt(), tokens.output]);
        if counts.chain([web_searches]).any(|count| count > TOKENS_MAX) {
            return None;
        }
        let beside = asides.into_iter().map(Beside::of).collect();
        let priority = text(&self.service_tier) == "priority";
        Some(Said { beside, priority, taken_over: is_taken_over, ..Said::of(&usage, at, call::text(&model)) })
    }

    fn tokens(&self) -> Tokens {
        let written = (self.cache_creation_input_tokens, self.cache_creation.as_ref());
        tokens(self.input_tokens, written, self.cache_read_input_tokens, self.output_tokens)
    }
}

impl Iteration<'_> {
    fn step(&self) -> Option<Step> {
        let kind = StepKind::named(text(&self.kind))?;
        let model = Some(text(&self.model)).filter(|model| !model.is_empty()).map(Arc::from);
        Some(Step { kind, model, tokens: self.tokens() })
    }

    fn tokens(&self) -> Tokens {
        let written = (self.cache_creation_input_tokens, self.cache_creation.as_ref());
        tokens(self.input_tokens, written, self.cache_read_input_tokens, self.output_tokens)
    }
}

fn count(value: Option<u64>) -> u64 {
    value.unwrap_or(0)
}

fn tokens(
    input: Option<u64>,
    (written, split): (Option<u64>, Option<&CacheCreation>),
    read: Option<u64>,
    output: Option<u64>,
) -> Tokens {
    let write_5m = count(split.and_then(|split| split.ephemeral_5m_input_tokens));
    let write_1h = count(split.and_then(|split| split.ephemeral_1h_input_tokens));
    Tokens {
        input: count(input),
        // Without a split all of it counts as written for five minutes.
        cache_write_5m: count(written).saturating_sub(write_1h).max(write_5m),
        cache_write_1h: write_1h,
        cache_read: count(read),
        output: count(output),
    }
}
