//! Claude Code's calls through this gate, by two lines in its own settings, and back again.
//!
//! The file is its user's: only those two lines are touched, everything else stays byte for byte. No credential in it is
//! looked at; of one that our token stands in for, the backup beside the file is the only copy.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::clients::{self, ClientChange};
use crate::folder;
use crate::host::reachable;

mod file;
mod spans;

use file::SettingsFile;
use spans::{Layout, object, replaced};

const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const CLIENT: &str = "claude-code";
/// In the data folder: what was written where. No token is among it.
const RECORD: &str = "claude-code.json";
/// Clients of ours that one machine may come to have.
const CLIENTS_MAX: u32 = 99;

/// How Claude Code's settings stand to this gate, and what connecting would change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClaudeCodeView {
    pub file: String,
    /// Both lines are as they were written.
    pub connected: bool,
    /// Under this name its calls are counted, while it is connected.
    pub client: Option<String>,
    /// What connecting takes out and puts in, token and credentials masked.
    pub lines: Vec<ChangedLineView>,
    /// Why it can't be connected as things stand.
    pub refused: Option<String>,
    /// What else is to be known, a sentence each.
    pub notes: Vec<String>,
    /// Which text of the file this is about; connecting is refused where it is another one by then.
    pub seen: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ChangedLineView {
    /// `-`, `+`, or a blank for what only stands around it.
    pub sign: String,
    pub text: String,
}

/// What connecting or disconnecting has done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClaudeCodeDoneView {
    pub file: String,
    /// The client that was made; null when it was disconnected.
    pub client: Option<String>,
    /// Where the text from before lies; null where there was none, or where it stands again.
    pub backup: Option<String>,
    /// Everything that was not done, a sentence each.
    pub left: Vec<String>,
}

/// `DIR/claude-code.json`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Record {
    file: PathBuf,
    /// None: there was no file.
    backup: Option<PathBuf>,
    before_sha256: String,
    after_sha256: String,
    had_env: bool,
    base_url: String,
    token_sha256: String,
    client: String,
}

impl App {
    /// Looks at Claude Code's settings in a configuration folder, without one at this user's, and changes nothing.
    pub(crate) fn claude_code(&self, dir: Option<&Path>) -> Result<ClaudeCodeView, ApiError> {
        let path = settings_file(dir)?;
        let mut view = ClaudeCodeView { file: path.display().to_string(), notes: self.notes(), ..Default::default() };
        let found = match SettingsFile::read(&path) {
            Ok(found) => found,
            Err(reason) => return Ok(ClaudeCodeView { refused: Some(reason), ..view }),
        };
        view.seen = clients::hash(&found.text);
        view.notes.extend(found.open_to_others());
        if let Some(record) = self.record()?.filter(|record| record.is_in_force(&found)) {
            let is_known = self.clients().iter().any(|client| client.name == record.client);
            (view.connected, view.client) = (is_known, is_known.then_some(record.client));
        }
        match Page::read(&found).and_then(|page| page.without_rivals().map(|()| page)) {
            Ok(_) if self.settings().upstreams.is_empty() => view.refused = Some(NO_UPSTREAM.to_owned()),
            Ok(page) => view.lines = page.difference(&self.base_url()),
            Err(reason) => view.refused = Some(format!("{} {reason}", found.path.display())),
        }
        Ok(view)
    }

    /// Makes a client for Claude Code and writes this gate into its settings. `seen`: of the text that was shown before.
    pub(crate) fn connect_claude_code(
        &self,
        dir: Option<&Path>,
        seen: Option<&str>,
    ) -> Result<ClaudeCodeDoneView, ApiError> {
        let view = self.claude_code(dir)?;
        if let Some(reason) = view.refused {
            return Err(ApiError::machine(reason));
        }
        if view.connected {
            return Err(ApiError::machine("Claude Code is connected already: disconnect it first to do so anew"));
        }
        let found = SettingsFile::read(&settings_file(dir)?).map_err(ApiError::machine)?;
        if seen.is_some_and(|seen| seen != clients::hash(&found.text)) {
            return Err(ApiError::machine(format!(
                "{} was changed meanwhile: look at what would change once more",
                found.path.display()
            )));
        }
        let (client, token) = self.new_claude_code()?;
        let written = self.write_connection(&found, &client, &token);
        if written.is_err() {
            // Nobody has its token.
            let _ = self.revoke_client(&client);
        }
        let backup = written.map_err(ApiError::machine)?;
        let backup = backup.map(|backup| backup.display().to_string());
        Ok(ClaudeCodeDoneView { file: view.file, client: Some(client), backup, left: vec![] })
    }

    /// The record goes before the text: after a crash between them there is nothing of ours to be found, and nothing lost.
    fn write_connection(&self, found: &SettingsFile, client: &str, token: &str) -> Result<Option<PathBuf>, String> {
        let page = Page::read(found)?;
        let base_url = self.base_url();
        let text = page.with(&base_url, token);
        let before = self.record().map_err(|error| error.reason)?;
        let backup = found.back_up()?;
        let record = Record {
            file: found.path.clone(),
            backup: backup.clone(),
            before_sha256: clients::hash(&found.text),
            after_sha256: clients::hash(&text),
            had_env: page.has_env(),
            base_url,
            token_sha256: clients::hash(token),
            client: client.to_owned(),
        };
        let kept = folder::write_json(&self.dir().join(RECORD), &record).map_err(|error| error.to_string());
        let written = kept.and_then(|()| found.replace(&text));
        match (&written, before) {
            (Ok(()), Some(before)) => self.forget_token(&before),
            (Ok(()), None) => {}
            (Err(_), before) => {
                backup.iter().for_each(|backup| drop(std::fs::remove_file(backup)));
                self.put_record(before.as_ref());
            }
        }
        written.map(|()| backup)
    }

    /// Puts back what stood there, of the lines that still are as they were written.
    pub(crate) fn disconnect_claude_code(&self) -> Result<ClaudeCodeDoneView, ApiError> {
        let record = self.record()?.ok_or_else(|| ApiError::absent("Claude Code was not connected by Tidegate"))?;
        let mut done = ClaudeCodeDoneView { file: record.file.display().to_string(), ..Default::default() };
        if record.file.exists() {
            self.take_out(&record, &mut done)?;
        } else {
            done.left.push(format!("{} is gone: there was nothing to take out.", record.file.display()));
        }
        self.forget_token(&record);
        self.put_record(None);
        Ok(done)
    }

    fn take_out(&self, record: &Record, done: &mut ClaudeCodeDoneView) -> Result<(), ApiError> {
        let found = SettingsFile::read(&record.file).map_err(ApiError::machine)?;
        if clients::hash(&found.text) == record.after_sha256 && record.restores(&found).map_err(ApiError::machine)? {
            record.backup.iter().for_each(|backup| drop(std::fs::remove_file(backup)));
            return Ok(());
        }
        let text = record.taken_out(&found, &mut done.left).map_err(ApiError::machine)?;
        if text != found.text {
            found.replace(&text).map_err(ApiError::machine)?;
        }
        done.backup = record.backup.as_ref().map(|backup| backup.display().to_string());
        Ok(())
    }

    /// Null where nothing was written anywhere.
    fn record(&self) -> Result<Option<Record>, ApiError> {
        folder::read_json(&self.dir().join(RECORD)).map_err(ApiError::machine)
    }

    fn put_record(&self, record: Option<&Record>) {
        let file = self.dir().join(RECORD);
        let put = match record {
            Some(record) => folder::write_json(&file, record).map_err(|error| error.to_string()),
            None => std::fs::remove_file(&file).map_err(|error| error.to_string()),
        };
        if let Err(reason) = put {
            tracing::warn!("{} is not as it should be: {reason}", file.display());
        }
    }

    /// Its client has no other token: what was made for this goes with it.
    fn forget_token(&self, record: &Record) {
        let known = self.known_clients().into_iter().find(|known| *known.client.name == *record.client);
        if known.is_some_and(|known| clients::hex(&known.token_sha256) == record.token_sha256) {
            let _ = self.revoke_client(&record.client);
        }
    }

    fn new_claude_code(&self) -> Result<(String, String), ApiError> {
        let taken: Vec<String> = self.clients().into_iter().map(|client| client.name).collect();
        let names =
            (1..=CLIENTS_MAX).map(|number| if number == 1 { CLIENT.to_owned() } else { format!("{CLIENT}-{number}") });
        let too_many = || ApiError::machine("there are too many clients named claude-code: revoke some of them");
        let name = names.into_iter().find(|name| !taken.contains(name)).ok_or_else(too_many)?;
        let token = self.add_client(&name, &ClientChange::default())?;
        Ok((name, token))
    }

    fn base_url(&self) -> String {
        format!("http://{}", reachable(self.address().unwrap_or(self.settings().gateway.listen)))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "Its calls are then billed to your API key, not to a subscription.".to_owned(),
            "Sessions that run now go on as they are until they are started anew.".to_owned(),
        ];
        let listen = self.settings().gateway.listen;
        if self.address().is_some_and(|address| address.port() != listen.port()) {
            notes.push(format!(
                "This gate listens on a port that it has only for now: from its next start on it is {}.",
                listen.port()
            ));
        }
        notes
    }
}

const NO_UPSTREAM: &str = "no upstream is set up, so Claude Code would get no answer: connect a key first";

/// `CLAUDE_CONFIG_DIR`, of several folders the first, else `~/.claude`.
fn settings_file(dir: Option<&Path>) -> Result<PathBuf, ApiError> {
    let named = std::env::var("CLAUDE_CONFIG_DIR").ok();
    let named = named.as_deref().and_then(|named| named.split(',').next()).map(str::trim).filter(|dir| !dir.is_empty());
    let dir = dir.map(Path::to_owned).or_else(|| named.map(PathBuf::from));
    let dir = dir.or_else(|| Some(std::env::home_dir()?.join(".claude")));
    let dir = dir.ok_or_else(|| ApiError::machine("no home folder is known: set CLAUDE_CONFIG_DIR"))?;
    Ok(dir.join("settings.json"))
}

impl Record {
    /// Both lines stand in the file as they were written.
    fn is_in_force(&self, found: &SettingsFile) -> bool {
        let is_same = found.path == self.file;
        is_same && Page::read(found).is_ok_and(|page| [BASE_URL, TOKEN].iter().all(|name| self.wrote(&page, name)))
    }

    fn wrote(&self, page: &Page<'_>, name: &str) -> bool {
        match page.text_of(name) {
            Some(base_url) if name == BASE_URL => base_url == self.base_url,
            Some(token) => clients::hash(&token) == self.token_sha256,
            None => false,
        }
    }

    /// The whole text from before, where it is still to be had.
    fn restores(&self, found: &SettingsFile) -> Result<bool, String> {
        let Some(backup) = &self.backup else { return found.remove().map(|()| true) };
        match std::fs::read_to_string(backup) {
            Ok(before) if clients::hash(&before) == self.before_sha256 => found.replace(&before).map(|()| true),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// The file's text without our lines. What was changed since stays, and is named.
    fn taken_out(&self, found: &SettingsFile, left: &mut Vec<String>) -> Result<String, String> {
        let before = self.backup.as_ref().and_then(|backup| std::fs::read_to_string(backup).ok());
        let before = before.filter(|before| clients::hash(before) == self.before_sha256);
        if self.backup.is_some() && before.is_none() {
            left.push("The backup is gone or was changed: what stood in the two lines before is not known.".to_owned());
        }
        let mut text = found.text.clone();
        for name in [BASE_URL, TOKEN] {
            let page = Page::of(&text)?;
            if !self.wrote(&page, name) {
                left.push(format!("{name} was changed since and stays as it is."));
                continue;
            }
            let was = before.as_deref().and_then(|before| Page::of(before).ok()?.raw(name).map(str::to_owned));
            text = page.without(name, was.as_deref(), self.had_env);
        }
        Ok(text)
    }
}

/// The text of a settings file that may be changed.
struct Page<'a> {
    text: &'a str,
    root: spans::Object,
    env: Option<spans::Object>,
}

impl<'a> Page<'a> {
    fn read(found: &'a SettingsFile) -> Result<Page<'a>, String> {
        Page::of(&found.text)
    }

    /// Or the rest of a sentence that begins with the file's name.
    fn of(text: &'a str) -> Result<Page<'a>, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("is not JSON ({error}): mend it first"))?;
        if !value.is_object() {
            return Err("holds JSON, but no object: mend it first".to_owned());
        }
        let root = object(text, 0).ok_or("can't be understood: mend it first")?;
        let twice = |name: &str| format!("has {name} twice: take one of them out first");
        let env = match root.member("env").map_err(|()| twice("env"))? {
            Some(env) => Some(object(text, env.value.start).ok_or("has an env that is no object: mend it first")?),
            None => None,
        };
        for name in [BASE_URL, TOKEN] {
            env.iter().try_for_each(|env| env.member(name).map(drop)).map_err(|()| twice(name))?;
        }
        Ok(Page { text, root, env })
    }

    /// With these Claude Code sends something else too, or goes elsewhere.
    fn without_rivals(&self) -> Result<(), String> {
        let set = |object: &spans::Object, name: &str| object.members.iter().any(|member| member.name == name);
        let env = |name: &str| self.env.as_ref().is_some_and(|env| set(env, name));
        if set(&self.root, "apiKeyHelper") {
            return Err(
                "has an apiKeyHelper, whose key Claude Code would send beside the token: take it out first".into()
            );
        }
        if env("ANTHROPIC_API_KEY") {
            return Err(
                "sets ANTHROPIC_API_KEY, which Claude Code would send beside the token: take it out first".into()
            );
        }
        match ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"].into_iter().find(|name| env(name)) {
            Some(name) => Err(format!("sets {name}, with which Claude Code goes by this gate: take it out first")),
            None => Ok(()),
        }
    }

    fn has_env(&self) -> bool {
        self.env.is_some()
    }

    /// A member of `env` as it stands there.
    fn raw(&self, name: &str) -> Option<&'a str> {
        let member = self.env.as_ref()?.member(name).ok()??;
        self.text.get(member.value.clone())
    }

    fn text_of(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    fn with(&self, base_url: &str, token: &str) -> String {
        let wanted = [(BASE_URL, base_url), (TOKEN, token)].map(|(name, value)| (name, Value::from(value).to_string()));
        let layout = Layout::of(self.text);
        let Some(env) = &self.env else {
            let inner = object("{}", 0).map_or_else(String::new, |none| none.with("{}", &wanted, &layout.deeper()));
            return self.root.with(self.text, &[("env", inner)], &layout);
        };
        let (there, new): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(name, _)| matches!(env.member(name), Ok(Some(_))));
        let text = if new.is_empty() { self.text.to_owned() } else { env.with(self.text, &new, &layout.deeper()) };
        there.into_iter().fold(text, |text, (name, value)| set(&text, name, &value))
    }

    /// As it was before `name` was written: with what it was, or without it, and without an `env` that was ours alone.
    fn without(&self, name: &str, was: Option<&str>, had_env: bool) -> String {
        let Some(env) = &self.env else { return self.text.to_owned() };
        match was {
            Some(was) => set(self.text, name, was),
            None if env.members.len() == 1 && !had_env => self.root.without(self.text, "env"),
            None => env.without(self.text, name),
        }
    }

    /// What connecting takes out and puts in. Of all other members nothing is shown: they are no matter of ours.
    fn difference(&self, base_url: &str) -> Vec<ChangedLineView> {
        let line = |sign: &str, text: String| ChangedLineView { sign: sign.to_owned(), text };
        let around = if self.has_env() { " " } else { "+" };
        let mut lines = vec![line(around, "\"env\": {".to_owned())];
        for (name, new) in [(BASE_URL, format!("{base_url:?}")), (TOKEN, "\"tg-•••\"".to_owned())] {
            if self.raw(name).is_some() {
                let old = if name == BASE_URL { self.shown_address() } else { "\"•••\"".to_owned() };
                lines.push(line("-", format!("  \"{name}\": {old}")));
            }
            lines.push(line("+", format!("  \"{name}\": {new}")));
        }
        lines.push(line(around, "}".to_owned()));
        lines
    }

    /// An address may hold a password.
    fn shown_address(&self) -> String {
        let plain = self.text_of(BASE_URL).filter(|url| crate::settings::BaseUrl::parse(url).is_ok());
        plain.map_or_else(|| "\"•••\"".to_owned(), |url| format!("{url:?}"))
    }
}

/// The text with another value for a member that `env` has.
fn set(text: &str, name: &str, value: &str) -> String {
    let range = Page::of(text).ok().and_then(|page| Some(page.env?.member(name).ok()??.value.clone()));
    range.map_or_else(|| text.to_owned(), |range| replaced(text, range, value))
}

#[cfg(test)]
mod tests;
