//! Logs as Claude Code writes them, made from a seed: most bytes are what people, tools and files said, a few tell of calls.
//!
//! Answers come in growing chunks, subagents have logs of their own, asides replay a message under another request, and
//! forks begin with a copy of another session. The maker keeps a book of what was really called.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use domain::time::Timestamp;
use fastrand::Rng;

/// What all calls together used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Book {
    pub(crate) calls: u64,
    pub(crate) input: u64,
    pub(crate) cache_write: u64,
    pub(crate) cache_read: u64,
    pub(crate) output: u64,
}

const SESSION_BYTES: usize = 4 << 20;

/// In October 2025.
const BEGIN_MS: i64 = 1_760_000_000_000;

const PROJECTS: [&str; 6] = ["shop", "api", "infra", "docs", "mobile", "data"];
const MODELS: [&str; 3] = ["claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"];

/// At least so many bytes of logs under `dir/projects`.
pub(crate) fn write(dir: &Path, bytes: u64, seed: u64) -> anyhow::Result<Book> {
    let mut maker = Maker::new(seed);
    let mut written = 0;
    for number in 0.. {
        if written >= bytes {
            break;
        }
        let session = Session::new(&mut maker, number);
        let folder = dir.join("projects").join(format!("-home-me-{}", session.project));
        let (own, subagent) = maker.session(&session, number);
        written += save(&folder.join(format!("{}.jsonl", session.id)), &own)?;
        if !subagent.is_empty() {
            let folder = folder.join(&session.id).join("subagents");
            written += save(&folder.join(format!("agent-{number:08x}.jsonl")), &subagent)?;
        }
    }
    Ok(maker.book)
}

fn save(path: &Path, log: &[u8]) -> anyhow::Result<u64> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(log)?;
    file.flush()?;
    Ok(log.len() as u64)
}

struct Session {
    id: String,
    project: &'static str,
}

impl Session {
    fn new(maker: &mut Maker, number: u64) -> Session {
        let id = format!("{number:08x}-{:04x}-4000-8000-{:012x}", maker.chance.u16(..), maker.chance.u64(..1 << 48));
        Session { id, project: PROJECTS[maker.chance.usize(..PROJECTS.len())] }
    }
}

struct Maker {
    chance: Rng,
    book: Book,
    /// What people and tools said is cut from it; escaped as it stands in a JSON text.
    words: String,
    /// The last session's log, of which a fork has the beginning.
    last: Vec<u8>,
    now: i64,
}

/// A call before its lines.
struct Turn {
    message: String,
    request: String,
    model: &'static str,
    usage: Book,
    is_side: bool,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let mut chance = Rng::with_seed(seed);
        let words = words(&mut chance);
        Maker { chance, book: Book::default(), words, last: Vec::new(), now: BEGIN_MS }
    }

    /// Its own log, and that of its subagent.
    fn session(&mut self, session: &Session, number: u64) -> (Vec<u8>, Vec<u8>) {
        let (mut own, mut subagent) = (Vec::new(), Vec::new());
        if self.chance.u8(..) < 20 {
            own.extend_from_slice(&self.last[..line_end(&self.last, self.last.len() / 3)]);
        }
        while own.len() < SESSION_BYTES {
            let turn = self.turn(false);
            self.tool_result(&mut own, session, false);
            self.answer(&mut own, session, &turn);
            match self.chance.u8(..) {
                0..4 => self.aside(&mut own, session, &turn),
                4..8 => self.snapshot(&mut own),
                8..64 => self.notice(&mut own, session),
                _ => {}
            }
            if number.is_multiple_of(3) && self.chance.u8(..) < 80 {
                let turn = self.turn(true);
                self.tool_result(&mut subagent, session, true);
                self.answer(&mut subagent, session, &turn);
            }
        }
        self.last.clone_from(&own);
        (own, subagent)
    }

    /// Enters it in the book.
    fn turn(&mut self, is_side: bool) -> Turn {
        self.now += 1_000 + self.chance.i64(0..60_000);
        let usage = Book {
            calls: 1,
            input: self.chance.u64(1..20),
            cache_write: self.chance.u64(..4_000),
            cache_read: self.chance.u64(10_000..150_000),
            output: self.chance.u64(40..1_500),
        };
        self.book.calls += 1;
        self.book.input += usage.input;
        self.book.cache_write += usage.cache_write;
        self.book.cache_read += usage.cache_read;
        self.book.output += usage.output;
        let model = MODELS[self.chance.usize(..MODELS.len())];
        // Numbered by chance.
        let message = format!("msg_01{}", self.id(22));
        let request = self.request();
        Turn { message, request, model, usage, is_side }
    }

    /// One line for each block of the answer, and what was used so far in each.
    fn answer(&mut self, log: &mut Vec<u8>, session: &Session, turn: &Turn) {
        let blocks = self.chance.u64(1..=3);
        for block in 1..=blocks {
            self.now += self.chance.i64(0..3_000);
            let output = turn.usage.output * block / blocks;
            let (said, now) = (self.said(40, 2_000), self.now);
            let content = match block {
                1 => format!(r#"{{"type":"text","text":"{said}"}}"#),
                _ => format!(
                    r#"{{"type":"tool_use","id":"toolu_01{now:022}","name":"Edit","input":{{"file_path":"/home/me/a.rs","new_string":"{said}"}}}}"#
                ),
            };
            self.chunk(log, session, turn, output, &content);
        }
    }

    fn chunk(&mut self, log: &mut Vec<u8>, session: &Session, turn: &Turn, output: u64, content: &str) {
        let Turn { message, request, model, usage, is_side } = turn;
        let Book { input, cache_write, cache_read, .. } = usage;
        let (head, uuid) = (self.head(session, *is_side), self.uuid());
        let hour = cache_write / 2;
        line(
            log,
            &format!(
                r#"{{{head},"message":{{"model":"{model}","id":"{message}","type":"message","role":"assistant","content":[{content}],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{input},"cache_creation_input_tokens":{cache_write},"cache_read_input_tokens":{cache_read},"cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{hour}}},"output_tokens":{output},"service_tier":"standard","inference_geo":"not_available"}}}},"requestId":"{request}","type":"assistant","uuid":"{uuid}","timestamp":"{}"}}"#,
                cache_write - hour,
                Timestamp::from_millis(self.now),
            ),
        );
    }

    /// A message again, under another request: it was called once.
    fn aside(&mut self, log: &mut Vec<u8>, session: &Session, turn: &Turn) {
        let request = self.request();
        let again = Turn { message: turn.message.clone(), request, is_side: true, ..*turn };
        let content = format!(r#"{{"type":"text","text":"{}"}}"#, self.said(40, 900));
        self.chunk(log, session, &again, turn.usage.output, &content);
    }

    /// What a tool said stands in it twice, and what an edit changed with the whole file as it was. One in sixteen was a
    /// subagent, whose own usage counts elsewhere.
    fn tool_result(&mut self, log: &mut Vec<u8>, session: &Session, is_side: bool) {
        let most = if self.chance.u8(..) < 20 { 40_000 } else { 6_000 };
        let said = self.said(100, most);
        let (head, uuid) = (self.head(session, is_side), self.uuid());
        let result = match self.chance.u8(..16) {
            0 => format!(
                r#"{{"status":"completed","agentId":"a1b2c3","content":"{said}","totalTokens":5432,"usage":{{"input_tokens":4,"output_tokens":77}}}}"#
            ),
            1..6 => format!(
                r#"{{"filePath":"/home/me/a.rs","oldString":"{}","newString":"{}","originalFile":"{}","userModified":false}}"#,
                self.said(40, 2_000),
                self.said(40, 2_000),
                self.said(1_000, 40_000),
            ),
            _ => format!(r#"{{"stdout":"{said}","stderr":"","interrupted":false,"isImage":false}}"#),
        };
        line(
            log,
            &format!(
                r#"{{{head},"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_01{:022}","type":"tool_result","content":"{said}","is_error":false}}]}},"uuid":"{uuid}","timestamp":"{}","toolUseResult":{result}}}"#,
                self.now,
                Timestamp::from_millis(self.now),
            ),
        );
    }

    fn notice(&mut self, log: &mut Vec<u8>, session: &Session) {
        let (head, uuid) = (self.head(session, false), self.uuid());
        let said = self.said(20, 400);
        let at = Timestamp::from_millis(self.now);
        line(
            log,
            &format!(
                r#"{{{head},"type":"system","content":"{said}","level":"info","timestamp":"{at}","uuid":"{uuid}"}}"#
            ),
        );
    }

    fn snapshot(&mut self, log: &mut Vec<u8>) {
        let (said, uuid) = (self.said(4_000, 200_000), self.uuid_of(self.now));
        line(
            log,
            &format!(
                r#"{{"type":"file-history-snapshot","messageId":"{uuid}","snapshot":{{"trackedFileBackups":{{"a.rs":"{said}"}}}},"isSnapshotUpdate":false}}"#
            ),
        );
    }

    fn head(&mut self, session: &Session, is_side: bool) -> String {
        let (parent, Session { id, project }) = (self.uuid(), session);
        format!(
            r#""parentUuid":"{parent}","isSidechain":{is_side},"userType":"external","cwd":"/home/me/{project}","sessionId":"{id}","version":"2.1.97","gitBranch":"main""#
        )
    }

    /// Numbered by time.
    fn request(&mut self) -> String {
        let id = self.id(8);
        format!("req_011C{:012}{id}", self.book.calls)
    }

    fn id(&mut self, length: usize) -> String {
        (0..length).map(|_| self.chance.alphanumeric()).collect()
    }

    fn uuid(&mut self) -> String {
        let number = self.chance.i64(..);
        self.uuid_of(number)
    }

    fn uuid_of(&self, number: i64) -> String {
        format!("{:08x}-0000-4000-8000-{number:016x}", self.book.calls)
    }

    /// Most are short, some long.
    fn said(&mut self, least: usize, most: usize) -> String {
        let share = self.chance.f64();
        let length = least + (share * share * (most - least) as f64) as usize;
        let start = self.words.floor_char_boundary(self.chance.usize(..self.words.len() - length));
        // Never from or to the middle of an escape.
        let start = start + self.words[start..].find(' ').unwrap_or(0);
        let end = self.words.floor_char_boundary(start + length);
        let end = start + self.words[start..end].rfind(' ').unwrap_or(0);
        self.words[start..end].to_owned()
    }
}

fn line(log: &mut Vec<u8>, text: &str) {
    log.extend_from_slice(text.as_bytes());
    log.push(b'\n');
}

/// The end of the last whole line before `at`.
fn line_end(log: &[u8], at: usize) -> usize {
    log[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Half a megabyte of code and prose with what has to be escaped in it.
fn words(chance: &mut Rng) -> String {
    const WORDS: [&str; 24] = [
        "let",
        "the",
        "fn",
        "return",
        "of",
        "a",
        "call",
        "tokens",
        "that",
        "\\n    ",
        "\\\"usage\\\":",
        "{",
        "}",
        "=>",
        "(self)",
        "\\t",
        "and",
        "in",
        "ledger::open(",
        "is",
        "\\\\",
        "über",
        "if",
        "\\\"output_tokens\\\": 12,",
    ];
    let mut words = String::new();
    while words.len() < 512 << 10 {
        words.push_str(WORDS[chance.usize(..WORDS.len())]);
        words.push(' ');
    }
    words
}
