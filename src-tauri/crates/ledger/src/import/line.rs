//! One line of a Claude Code log: what it tells of a call, if it tells of one.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use domain::call::Source;
use domain::time::Timestamp;
use domain::usage::{Split, Step, StepKind, Tokens, Usage, split};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::told::{Beside, Facts, Key, Origin, Said, Told};

/// No call uses more of anything; a larger count is nonsense.
const TOKENS_MAX: u64 = 1_000_000_000;

/// What Claude Code writes in the model's name where no model was asked.
const NO_MODEL: &str = "<synthetic>";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Read {
    Call(Box<Told>),
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
    usage: Option<UsageOfLine<'a>>,
    stop_reason: Option<Text<'a>>,
    content: Option<&'a RawValue>,
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

#[derive(Deserialize)]
struct Iteration<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
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
        return Read::NoCall;
    }
    let Some(at) = Timestamp::parse(text(&parsed.timestamp)).filter(|at| at.as_millis() >= 0) else {
        return Read::Unreadable("it has no time".to_owned());
    };
    if at > latest {
        return Read::FromTheFuture;
    }
    let Some(usage) = usage.usage() else {
        return Read::Unreadable("its counts are beyond reason".to_owned());
    };
    Read::Call(Box::new(Told {
        key: parsed.key(line),
        facts: Facts { first_at: at.as_millis(), said: message.said(&usage, at), origin: parsed.origin(place) },
    }))
}

fn text<'a>(value: &'a Option<Text<'_>>) -> &'a str {
    value.as_ref().map_or("", |text| &text.0)
}

impl Line<'_> {
    fn key(&self, line: &[u8]) -> Key {
        let message_id =
            text(&self.message.as_ref().and_then(|message| message.id.as_ref().map(|id| Text(Cow::Borrowed(&id.0)))))
                .to_owned();
        let request_id = text(&self.request_id).to_owned();
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
            session: text(&self.session_id).to_owned(),
            agent: agent.to_owned(),
            cwd: text(&self.cwd).to_owned(),
            branch: text(&self.git_branch).to_owned(),
            user_agent: if version.is_empty() { "claude-cli".to_owned() } else { format!("claude-cli/{version}") },
        }
    }
}

impl Message<'_> {
    /// The answer's own counts, and what was done beside it.
    fn said(&self, usage: &Usage, at: Timestamp) -> Said {
        let mut said = Said::of(usage, at, text(&self.model).to_owned());
        let of_line = self.usage.as_ref();
        said.priority = of_line.is_some_and(|usage| text(&usage.service_tier) == "priority");
        let is_empty = self.content.is_some_and(|content| content.get() == "[]");
        said.free = is_empty && text(&self.stop_reason) == "refusal";
        let steps = of_line.map(UsageOfLine::steps).unwrap_or_default();
        let Split { asides, taken_over } = split(&steps, Some(&Arc::from(said.model.as_str())));
        if let Some((model, own)) = taken_over {
            let usage = Usage { tokens: own, ..*usage };
            let (priority, free) = (said.priority, said.free);
            said = Said { priority, free, ..Said::of(&usage, at, model.to_string()) };
        }
        said.beside = asides.into_iter().map(Beside::of).collect();
        said
    }
}

/// In the order input, cache written, cache read, output.
fn tokens(counts: [Option<u64>; 4], split: Option<&CacheCreation>) -> Tokens {
    let [input, written, cache_read, output] = counts.map(|count| count.unwrap_or(0));
    let write_5m = split.and_then(|split| split.ephemeral_5m_input_tokens).unwrap_or(0);
    let write_1h = split.and_then(|split| split.ephemeral_1h_input_tokens).unwrap_or(0);
    // Without a split all of it counts as written for five minutes.
    let cache_write_5m = written.saturating_sub(write_1h).max(write_5m);
    Tokens { input, cache_write_5m, cache_write_1h: write_1h, cache_read, output }
}

impl Iteration<'_> {
    fn step(&self) -> Option<Step> {
        let kind = StepKind::named(&self.kind.0)?;
        let counts =
            [self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens, self.output_tokens];
        let tokens = tokens(counts, self.cache_creation.as_ref());
        let is_sane = tokens.prompt().max(tokens.output) <= TOKENS_MAX;
        is_sane.then(|| Step { kind, model: self.model.as_ref().map(|model| Arc::from(&*model.0)), tokens })
    }
}

impl UsageOfLine<'_> {
    fn steps(&self) -> Vec<Step> {
        let all: Option<Vec<Iteration<'_>>> = self.iterations.and_then(|all| serde_json::from_str(all.get()).ok());
        all.iter().flatten().filter_map(Iteration::step).collect()
    }

    /// `None` where a count is beyond reason.
    fn usage(&self) -> Option<Usage> {
        let web_searches = self.server_tool_use.as_ref().and_then(|used| used.web_search_requests).unwrap_or(0);
        let counts =
            [self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens, self.output_tokens];
        let tokens = tokens(counts, self.cache_creation.as_ref());
        let counts = [tokens.prompt(), tokens.output, web_searches];
        let usage = Usage {
            tokens,
            web_searches,
            batch: text(&self.service_tier) == "batch",
            fast: text(&self.speed) == "fast",
            us_only: text(&self.inference_geo) == "us",
        };
        counts.iter().all(|count| *count <= TOKENS_MAX).then_some(usage)
    }
}
