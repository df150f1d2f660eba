//! The settings file: read with the line of every mistake, and turned into types in which everything is legal.
//!
//! Sections whose work is done elsewhere are checked here all the same, so that a slip never goes unnoticed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::config::Pacing;
use domain::tier::Scheme;
use domain::time::Calendar;

mod grammar;
mod kinds;
mod reader;

pub use kinds::listen as parse_listen;
pub(crate) use kinds::{duration, is_name};
pub use reader::Wrong;

#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub gateway: GatewaySettings,
    pub timeouts: Timeouts,
    pub upstreams: Vec<Upstream>,
    pub retry: Retry,
    pub durability: Durability,
    pub retention: Duration,
}

#[derive(Clone, PartialEq, Debug)]
pub struct GatewaySettings {
    pub listen: SocketAddr,
    pub max_wait: Duration,
    pub calendar: Calendar,
    pub proxy: Proxy,
    pub allow_remote: bool,
    pub allowed_origins: Vec<String>,
    pub queue_max: usize,
    pub host_names: Vec<String>,
    /// Bytes of bodies held at once.
    pub body_budget: u64,
}

/// Which way calls leave. Never for loopback.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proxy {
    Env,
    None,
    Url(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    /// Of silence between two bytes.
    pub idle: Duration,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    pub kind: UpstreamKind,
    /// None for a simulator: it gets its address when it starts.
    pub base_url: Option<BaseUrl>,
    pub key: Option<KeyRef>,
    pub pacing: Pacing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamKind {
    Anthropic,
    OpenAi,
    Gemini,
    Compatible,
    Bedrock,
    Vertex,
    Simulator,
}

impl UpstreamKind {
    pub const ALL: [UpstreamKind; 7] = [
        UpstreamKind::Anthropic,
        UpstreamKind::OpenAi,
        UpstreamKind::Gemini,
        UpstreamKind::Compatible,
        UpstreamKind::Bedrock,
        UpstreamKind::Vertex,
        UpstreamKind::Simulator,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            UpstreamKind::Anthropic => "anthropic",
            UpstreamKind::OpenAi => "openai",
            UpstreamKind::Gemini => "gemini",
            UpstreamKind::Compatible => "compatible",
            UpstreamKind::Bedrock => "bedrock",
            UpstreamKind::Vertex => "vertex",
            UpstreamKind::Simulator => "simulator",
        }
    }

    pub fn named(name: &str) -> Option<UpstreamKind> {
        UpstreamKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where an upstream is: `https://host[:port][/path]`, without a slash at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUrl {
    url: String,
    origin: String,
}

impl BaseUrl {
    pub fn parse(text: &str) -> Result<BaseUrl, &'static str> {
        const FORM: &str = "must be a URL without user, query or fragment";
        let uri: http::Uri = text.parse().map_err(|_| FORM)?;
        let (Some(scheme), Some(host), Some(authority)) = (uri.scheme_str(), uri.host(), uri.authority()) else {
            return Err(FORM);
        };
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(FORM);
        }
        let port_of_scheme = match scheme {
            "https" => 443,
            "http" if kinds::is_loopback(host) => 80,
            "http" => return Err("must be https: http is for this machine only"),
            _ => return Err("must begin with https://"),
        };
        let port = uri.port_u16().unwrap_or(port_of_scheme);
        let shown = if port == port_of_scheme { String::new() } else { format!(":{port}") };
        let origin = format!("{scheme}://{}{shown}", host.to_ascii_lowercase());
        Ok(BaseUrl { url: format!("{origin}{}", uri.path().trim_end_matches('/')), origin })
    }

    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Scheme, host and, where it is not the scheme's own, port: what a key is bound to.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// Where a key is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyRef {
    Keychain(String),
    Env(String),
    File(PathBuf),
}

/// As the settings write it.
impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRef::Keychain(name) => write!(f, "keychain:{name}"),
            KeyRef::Env(variable) => write!(f, "env:{variable}"),
            KeyRef::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Retries a call earns, in thousandths.
    pub budget_permille: u32,
    /// Short retries on 529.
    pub overloaded: u32,
}

/// What a settled call survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    Power,
    Process,
}

/// Why a settings file was not taken: each mistake with its line.
#[derive(Debug)]
pub struct SettingsError {
    file: PathBuf,
    wrongs: Vec<Wrong>,
}

impl SettingsError {
    pub fn wrongs(&self) -> &[Wrong] {
        &self.wrongs
    }

    fn whole_file(file: &Path, reason: String) -> SettingsError {
        SettingsError { file: file.to_owned(), wrongs: vec![Wrong { line: 0, reason }] }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wrong) in self.wrongs.iter().enumerate() {
            let start = if index == 0 { "" } else { "\n" };
            match wrong.line {
                0 => write!(f, "{start}{}: {}", self.file.display(), wrong.reason)?,
                line => write!(f, "{start}{} line {line}: {}", self.file.display(), wrong.reason)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// The settings of a file; the defaults where there is none.
pub fn load(file: &Path, schemes: &[Arc<Scheme>]) -> Result<Settings, SettingsError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(SettingsError::whole_file(file, format!("can't be read: {error}"))),
    };
    refuse_writable_by_others(file)?;
    parse(&text, schemes).map_err(|wrongs| SettingsError { file: file.to_owned(), wrongs })
}

#[cfg(unix)]
fn refuse_writable_by_others(file: &Path) -> Result<(), SettingsError> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(file) {
        Ok(meta) if meta.mode() & 0o022 != 0 => {
            let reason = format!("others may write it (mode {:04o}): run chmod 644 on it", meta.mode() & 0o7777);
            Err(SettingsError::whole_file(file, reason))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(not(unix))]
fn refuse_writable_by_others(_file: &Path) -> Result<(), SettingsError> {
    Ok(())
}

/// The settings that a text means, or everything that is wrong with it, by line.
pub fn parse(text: &str, schemes: &[Arc<Scheme>]) -> Result<Settings, Vec<Wrong>> {
    grammar::parse(text, schemes)
}

#[cfg(test)]
mod tests;
