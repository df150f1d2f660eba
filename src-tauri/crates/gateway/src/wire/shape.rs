//! What a body of the Messages API is made of: counts that tell how many tokens it will come to.
//! The bytes are walked once, where they lie; nothing is built of them.

mod image;
#[cfg(test)]
mod tests;
mod text;

use domain::admission::{Modes, Shape};
use domain::routing::{Capabilities, Capability};
use memchr::{memchr, memmem};

use self::image::Media;
use self::text::Counter;

/// Of one text, how much goes into a fingerprint.
const PRINT_BYTES: usize = 256;
/// What stands behind an address is not seen; such an image is presumed to come to this.
const LINKED_TOKENS: u32 = 1_000;

/// Tools that the upstream runs by itself: what they find becomes part of the prompt.
const SERVER_TOOLS: [&[u8]; 6] =
    [b"web_search", b"web_fetch", b"code_execution", b"tool_search", b"mcp_toolset", b"advisor"];

const CITING: u8 = 128;
/// What the API adds once where a document is to be cited.
const CITING_TOKENS: u32 = 530;

/// What the API puts around a document that is a text.
const TEXT_DOCUMENT_TOKENS: u32 = 33;

/// Tools whose description the API knows, and what it comes to.
const BUILT_IN_TOOLS: [(&[u8], u32); 5] =
    [(b"bash_", 244), (b"text_editor_", 700), (b"memory_", 1_060), (b"computer_toolset", 4_500), (b"computer_", 1_200)];

/// What the walk of a body finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) shape: Shape,
    /// What it asks of an upstream beside text.
    pub(crate) uses: Capabilities,
    /// Something is to be kept in the prompt cache.
    pub(crate) cached: bool,
    /// For an hour, some of it.
    pub(crate) cached_for_an_hour: bool,
}

/// Where a text stands decides what of it the model reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    /// Names are only the frame of texts.
    Messages,
    System,
    /// The model reads names too.
    Tools,
    Format,
}

impl Section {
    fn is_schema(self) -> bool {
        matches!(self, Section::Tools | Section::Format)
    }
}

/// A fingerprint that grows: FNV-1a over words of eight bytes.
#[derive(Clone, Copy, Debug)]
struct Print(u64);

impl Default for Print {
    fn default() -> Print {
        Print(0xcbf2_9ce4_8422_2325)
    }
}

impl Print {
    fn add(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.number(u64::from_le_bytes(padded));
        }
    }

    fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    fn folded(self) -> u32 {
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 32) as u32
    }
}

/// Sums up the members of a request, each handed in as it is written.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    findings: Findings,
    counter: Counter,
    head: Print,
    opening: Print,
    /// Kinds of blocks that change what the API adds.
    kinds: u8,
    head_bytes: usize,
    text_bytes: usize,
}

impl Gauge {
    /// One member of the request; of a name that is asked for.
    pub(crate) fn member(&mut self, name: &str, json: &str) {
        match name {
            "messages" => self.walk(Section::Messages, json),
            "system" => self.walk(Section::System, json),
            "tools" => self.walk(Section::Tools, json),
            "output_config" | "output_format" => self.format(json),
            "cache_control" => self.cache_mark(json.as_bytes()),
            _ => self.mode(name, json),
        }
    }

    fn rule(&mut self, low: u32, high: u32) {
        let shape = &mut self.findings.shape;
        shape.ruled_low = shape.ruled_low.saturating_add(low);
        shape.ruled_high = shape.ruled_high.saturating_add(high);
    }

    fn walk(&mut self, section: Section, json: &str) {
        let has_codes = memmem::find(json.as_bytes(), br"\u").is_some();
        Walk { gauge: self, section, json: json.as_bytes(), has_codes, at: 0, depth: 0, input: None, key: b"" }.run();
        if section.is_schema() {
            self.head.add(prefix(json.as_bytes()));
            self.head.number(json.len() as u64);
        }
    }

    /// The effort to take is no text that the model reads.
    fn format(&mut self, json: &str) {
        let schema = memmem::find(json.as_bytes(), b"json_schema").is_some();
        if schema {
            self.findings.shape.modes.add(Modes::FORMATTED);
            self.walk(Section::Format, json);
        }
    }

    /// What changes the prompt that the API adds, and is counted nowhere.
    fn mode(&mut self, name: &str, json: &str) {
        let has = |word: &str| memmem::find(json.as_bytes(), word.as_bytes()).is_some();
        let modes = &mut self.findings.shape.modes;
        match name {
            "tool_choice" if has(r#""any""#) || has(r#""tool""#) => modes.add(Modes::FORCED),
            "thinking" if !has(r#""disabled""#) && json != "null" => {
                modes.add(Modes::THINKING);
                self.findings.uses.add(Capability::Thinking);
            }
            "mcp_servers" if has("{") => {
                modes.add(Modes::UNSEEN);
                self.findings.uses.add(Capability::ServerTools);
            }
            _ => {}
        }
        self.head.add(prefix(json.as_bytes()));
    }

    fn cache_mark(&mut self, json: &[u8]) {
        self.findings.cached = true;
        self.findings.uses.add(Capability::Cache);
        self.findings.cached_for_an_hour |= memmem::find(json, b"\"1h\"").is_some();
    }

    pub(crate) fn findings(self) -> Findings {
        let Gauge { mut findings, counter, mut head, mut opening, kinds, head_bytes, text_bytes } = self;
        let (shape, counts) = (&mut findings.shape, counter.counts());
        head.number(shape.modes.bits().into());
        head.number(kinds.into());
        shape.steady = (head_bytes * 255).checked_div(text_bytes).and_then(|share| share.try_into().ok()).unwrap_or(0);
        opening.number(head.0);
        (shape.head, shape.opening) = (head.folded(), opening.folded());
        (shape.words, shape.letters, shape.capitals) = (counts.words, counts.letters, counts.capitals);
        (shape.marks, shape.narrow, shape.wide) = (counts.marks, counts.narrow, counts.wide);
        findings
    }
}

/// A pass over JSON that is known to be valid.
struct Walk<'g, 'j> {
    gauge: &'g mut Gauge,
    section: Section,
    json: &'j [u8],
    /// Some characters are written as `\u65e5`.
    has_codes: bool,
    at: usize,
    depth: usize,
    /// The depth of the tool input that we are in.
    input: Option<usize>,
    key: &'j [u8],
}

impl<'j> Walk<'_, 'j> {
    fn run(mut self) {
        while let Some(byte) = self.json.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => self.opens(*byte),
                b'}' | b']' => self.closes(),
                b'0'..=b'9' if self.reads_names() => self.gauge.counter.add_digit(),
                _ => {}
            }
        }
    }

    fn opens(&mut self, byte: u8) {
        self.depth += 1;
        match self.section {
            Section::Messages if byte == b'{' && self.depth == 2 => bump(&mut self.gauge.findings.shape.messages),
            Section::Tools if byte == b'{' => {
                self.gauge.findings.shape.modes.add(Modes::TOOLS);
                self.uses(Capability::Tools);
            }
            Section::Messages | Section::System | Section::Tools | Section::Format => {}
        }
    }

    fn closes(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.input.is_some_and(|depth| self.depth < depth) {
            self.input = None;
        }
    }

    fn reads_names(&self) -> bool {
        self.section.is_schema() || self.input.is_some()
    }

    fn string(&mut self) {
        let start = self.at;
        let end = string_end(self.json, start);
        self.at = end + 1;
        let text = &self.json[start..end.min(self.json.len())];
        if self.is_name() { self.name(text) } else { self.value(text) }
    }

    fn is_name(&self) -> bool {
        self.json[self.at.min(self.json.len())..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }

    fn name(&mut self, name: &'j [u8]) {
        self.key = name;
        match name {
            b"cache_control" if self.may_be_marked() => self.skip_mark(),
            b"citations" if self.input.is_none() => self.cites(),
            b"input" if self.section == Section::Messages && self.input.is_none() => self.input = Some(self.depth + 1),
            _ if self.reads_names() => {
                bump(&mut self.gauge.findings.shape.keys);
                self.count(name);
            }
            _ => {}
        }
    }

    /// Only tools and blocks are marked for the cache; a schema may have a field of that name.
    fn may_be_marked(&self) -> bool {
        self.input.is_none() && (!self.section.is_schema() || self.section == Section::Tools && self.depth == 2)
    }

    /// Where the answer must cite, the API explains how.
    fn cites(&mut self) {
        let rest = &self.json[self.at..];
        let is_on = rest.get(..40.min(rest.len())).is_some_and(|rest| memmem::find(rest, b"true").is_some());
        if is_on && self.gauge.kinds & CITING == 0 {
            self.gauge.kinds |= CITING;
            self.gauge.rule(CITING_TOKENS, CITING_TOKENS);
        }
    }

    /// A mark is for the cache alone, and must not make two bodies differ.
    fn skip_mark(&mut self) {
        let rest = &self.json[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b'}' | b',')).unwrap_or(rest.len());
        let is_object = rest[..end].contains(&b'{');
        let end = if is_object { memchr(b'}', rest).unwrap_or(rest.len()) } else { end };
        if is_object {
            self.gauge.cache_mark(&rest[..end]);
        }
        self.at += if is_object { end + 1 } else { end };
        self.at = self.at.min(self.json.len());
    }

    fn value(&mut self, text: &'j [u8]) {
        if self.reads_names() {
            if self.section == Section::Tools && self.key == b"type" && self.depth == 2 {
                self.built_in(text);
            }
            return self.read(text);
        }
        match self.key {
            b"" | b"text" | b"content" | b"title" | b"context" | b"name" => self.read(text),
            b"data" => self.data(text),
            b"type" => self.kind(text),
            _ => {}
        }
    }

    fn uses(&mut self, capability: Capability) {
        self.gauge.findings.uses.add(capability);
    }

    fn kind(&mut self, kind: &[u8]) {
        match kind {
            b"tool_use" | b"tool_result" => {
                bump(&mut self.gauge.findings.shape.calls);
                self.uses(Capability::Tools);
            }
            b"image" => {
                self.gauge.kinds |= 1;
                self.uses(Capability::Images);
            }
            b"document" => {
                self.gauge.kinds |= 2;
                self.uses(Capability::Documents);
            }
            b"thinking" | b"redacted_thinking" => self.uses(Capability::Thinking),
            b"container_upload" => self.uses(Capability::ServerTools),
            b"search_result" => self.gauge.kinds |= 4,
            b"url" | b"file" => {
                self.gauge.rule(LINKED_TOKENS, LINKED_TOKENS);
                self.gauge.findings.shape.modes.add(Modes::UNSEEN);
            }
            _ if kind.starts_with(b"server_tool") || kind.ends_with(b"_tool_result") => {
                self.gauge.findings.shape.modes.add(Modes::UNSEEN);
                self.uses(Capability::ServerTools);
            }
            _ => {}
        }
    }

    fn built_in(&mut self, tool: &[u8]) {
        if SERVER_TOOLS.iter().any(|name| tool.starts_with(name)) {
            self.gauge.findings.shape.modes.add(Modes::UNSEEN);
            self.uses(Capability::ServerTools);
        }
        let ruled = BUILT_IN_TOOLS.iter().find(|(name, _)| tool.starts_with(name));
        if let Some((_, tokens)) = ruled {
            self.gauge.rule(*tokens, *tokens);
        }
    }

    fn data(&mut self, data: &[u8]) {
        match Media::of(data) {
            None => {
                self.gauge.rule(TEXT_DOCUMENT_TOKENS, TEXT_DOCUMENT_TOKENS);
                return self.read(data);
            }
            Some(Media::Sealed) => {}
            Some(Media::Image { low, high }) => self.gauge.rule(low, high),
            Some(Media::Document { tokens }) => self.gauge.rule(tokens, tokens),
        }
        self.print(data);
    }

    fn count(&mut self, text: &[u8]) {
        match self.has_codes {
            true => self.gauge.counter.add_with_codes(text),
            false => self.gauge.counter.add(text),
        }
        self.gauge.text_bytes += text.len();
        if self.section != Section::Messages {
            self.gauge.head_bytes += text.len();
        }
    }

    fn read(&mut self, text: &[u8]) {
        self.count(text);
        self.print(text);
    }

    fn print(&mut self, text: &[u8]) {
        let (print, starts) = match self.section {
            Section::System => (&mut self.gauge.head, true),
            Section::Messages => (&mut self.gauge.opening, self.gauge.findings.shape.messages <= 1),
            Section::Tools | Section::Format => return,
        };
        if starts {
            print.add(prefix(text));
        }
    }
}

/// Where the string that begins at `start` ends: at the next quote that no backslash hides.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut from = start;
    while let Some(found) = json.get(from..).and_then(|rest| memchr(b'"', rest)) {
        let quote = from + found;
        let backslashes = json[start..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            return quote;
        }
        from = quote + 1;
    }
    json.len()
}

fn prefix(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(PRINT_BYTES)]
}

fn bump(count: &mut u16) {
    *count = count.saturating_add(1);
}
