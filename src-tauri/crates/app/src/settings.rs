//! The settings file: read with the line of every mistake, and turned into types in which everything is legal.
//!
//! Sections whose work is done elsewhere are checked here all the same, so that a slip never goes unnoticed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use domain::alert::Rule;
use domain::attribution::AttributeRule;
use domain::cache::Terms;
use domain::config::{BackgroundGuard, Budget, ChannelKind, Pacing};
use domain::money::Usd;
use domain::routing::{BreakerRules, Capabilities};
use domain::tier::Scheme;
use domain::time::{Calendar, QuietHours};
use gateway::{ProxyUse, RetryRules, Timeouts, Whose};

use crate::api::ApiError;
use crate::desktop;

mod editing;
mod fields;
mod grammar;
mod kinds;
mod path;
mod presets;
mod reader;
mod shown;

pub use editing::{RefusedView, SettingChange, SettingsSetView, change};
pub use kinds::duration as parse_duration;
pub use kinds::is_name;
pub use kinds::listen as parse_listen;
pub use kinds::resets as parse_resets;
pub use presets::{PresetView, presets};
pub use reader::Wrong;
pub use shown::{SettingFieldView, SettingWrongView, SettingsSectionView, SettingsView};

#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub gateway: GatewaySettings,
    pub timeouts: Timeouts,
    pub upstreams: Vec<Upstream>,
    /// Beside those of the clients themselves.
    pub budgets: Vec<Budget>,
    pub background: Option<BackgroundGuard>,
    pub retry: RetryRules,
    pub breaker: BreakerRules,
    pub fallbacks: Vec<Fallback>,
    pub emergency: EmergencySettings,
    pub alerts: AlertSettings,
    /// Beside the desktop's own.
    pub channels: Vec<Channel>,
    /// Where it is asked.
    pub status_page: Option<StatusPage>,
    pub durability: Durability,
    /// How long entries are kept; their sums are kept for ever.
    pub retention: Duration,
    /// Whose calls are whose, by where they come from.
    pub attributes: Arc<[AttributeRule]>,
    /// Where Claude Code's telemetry is taken in.
    pub otlp: Option<SocketAddr>,
    /// `None`: no answer is given twice.
    pub cache: Option<Terms>,
    /// Whether `/metrics` answers.
    pub metrics: bool,
    /// In which amounts are shown beside dollars.
    pub currency: Option<Currency>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct GatewaySettings {
    pub listen: SocketAddr,
    pub max_wait: Duration,
    pub calendar: Calendar,
    pub proxy: ProxyUse,
    pub allow_remote: bool,
    pub allowed_origins: Vec<String>,
    pub queue_max: usize,
    pub host_names: Vec<String>,
    /// Bytes of bodies held at once.
    pub body_budget: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    pub kind: UpstreamKind,
    /// None for a simulator: it gets its address when it starts.
    pub base_url: Option<BaseUrl>,
    pub key: Option<KeyRef>,
    /// Which models it serves, with `*` for any run of characters. Empty: all.
    pub models: Vec<Arc<str>>,
    /// What it can't do: calls that use any of it go elsewhere.
    pub lacks: Capabilities,
    /// For what only administrators may ask: the limits as they are.
    pub admin_key: Option<KeyRef>,
    pub pacing: Pacing,
}

/// Another currency, and what a dollar was worth in it from a day on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Currency {
    /// `EUR`
    pub code: Arc<str>,
    /// A plain decimal number each.
    pub rates: BTreeMap<NaiveDate, Arc<str>>,
}

/// Where calls go whose first upstream fails them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    pub whose: Whose,
    /// By name, in order.
    pub upstreams: Vec<Arc<str>>,
    /// Given as an answer where no upstream has one.
    pub text: Option<Arc<str>>,
}

/// When the app takes itself to be in an emergency, and whom to call then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmergencySettings {
    /// From here on only critical calls spend a week's window. In thousandths of it.
    pub enter_week_permille: u32,
    /// A breaker that has been open for so long.
    pub enter_breaker_open: Duration,
    /// In a day.
    pub enter_spend: Option<Usd>,
    pub contacts: Vec<String>,
}

/// The shipped rules with the settings' figures, then the user's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertSettings {
    pub rules: Vec<Rule>,
    pub digest: DigestSettings,
    /// A session that runs away is paused until a person lets it go on.
    pub pauses_runaways: bool,
}

/// Where weekly and monthly reports go beside the inbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DigestSettings {
    /// By name.
    pub channels: Vec<Arc<str>>,
    pub quiet: Option<QuietHours>,
}

/// A way by which alerts reach people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    pub name: Arc<str>,
    pub kind: ChannelKind,
    /// There wherever the kind needs one.
    pub url: Option<Address>,
    /// A routing key, an API key, or what messages are signed with; there wherever the kind needs one.
    pub secret: Option<KeyRef>,
    /// It may lead to loopback and private addresses.
    pub allow_private: bool,
}

/// Where a channel leads. Whoever knows a webhook's address may write to it, so it may be kept like a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Plain(String),
    Kept(KeyRef),
}

/// A page on which an upstream tells of its troubles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusPage {
    pub url: BaseUrl,
    pub every: Duration,
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

    /// `host:port`, for a connection.
    pub(crate) fn authority(&self) -> String {
        let (scheme, rest) = self.origin.split_once("://").unwrap_or_default();
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        match scheme {
            _ if has_port => rest.to_owned(),
            "https" => format!("{rest}:443"),
            _ => format!("{rest}:80"),
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let authority = self.authority();
        kinds::is_loopback(authority.rsplit_once(':').map_or("", |(host, _)| host))
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

impl KeyRef {
    pub fn parse(text: &str) -> Result<KeyRef, &'static str> {
        match text.split_once(':') {
            Some(("keychain", name)) if is_name(name) => Ok(KeyRef::Keychain(name.to_owned())),
            Some(("env", variable)) if is_variable(variable) => Ok(KeyRef::Env(variable.to_owned())),
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(KeyRef::File(PathBuf::from(path))),
            Some(("file", _)) => Err("must name its file from the root on, such as file:/etc/tidegate/key"),
            // The text may be the key itself: it is not repeated.
            _ => Err("must say where the key is kept (keychain:NAME, env:VAR or file:PATH), never the key itself"),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
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

impl Settings {
    /// These with what a running gateway takes of others at once. A rule tells nobody by a channel that isn't there yet.
    pub(crate) fn with_what_is_live_of(&self, fresh: &Settings) -> Settings {
        let mut alerts = fresh.alerts.clone();
        let is_there =
            |name: &Arc<str>| **name == *desktop::CHANNEL || self.channels.iter().any(|channel| channel.name == *name);
        alerts.rules.iter_mut().for_each(|rule| rule.channels.retain(is_there));
        alerts.digest.channels.retain(is_there);
        let (budgets, emergency) = (fresh.budgets.clone(), fresh.emergency.clone());
        let (attributes, currency) = (fresh.attributes.clone(), fresh.currency.clone());
        Settings { alerts, budgets, emergency, attributes, currency, ..self.clone() }
    }

    /// These, but for what the books were opened with: that stays until they are opened again.
    pub(crate) fn in_books_of(self, opened: &Settings) -> Settings {
        let gateway = GatewaySettings { calendar: opened.gateway.calendar, ..self.gateway };
        Settings { gateway, durability: opened.durability, metrics: opened.metrics, ..self }
    }

    /// The sections of others that a running gateway doesn't take before it starts again.
    pub(crate) fn waiting_of(&self, fresh: &Settings) -> Vec<&'static str> {
        let Settings {
            gateway,
            timeouts,
            upstreams,
            budgets: _,
            background,
            retry,
            breaker,
            fallbacks,
            emergency: _,
            alerts: _,
            channels,
            status_page,
            durability,
            retention,
            attributes: _,
            otlp,
            cache,
            metrics,
            currency: _,
        } = self;
        let sections = [
            ("gateway", *gateway != fresh.gateway),
            ("timeouts", *timeouts != fresh.timeouts),
            ("upstream", *upstreams != fresh.upstreams),
            ("background", *background != fresh.background),
            ("retry", *retry != fresh.retry),
            ("breaker", *breaker != fresh.breaker),
            ("fallback", *fallbacks != fresh.fallbacks),
            ("channel", *channels != fresh.channels),
            ("status_page", *status_page != fresh.status_page),
            ("ledger", (durability, retention) != (&fresh.durability, &fresh.retention)),
            ("otlp", *otlp != fresh.otlp),
            ("cache", *cache != fresh.cache),
            ("metrics", *metrics != fresh.metrics),
        ];
        sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

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

/// An empty file where there is none.
///
/// # Errors
/// It can't be made.
pub fn make(file: &Path) -> Result<(), ApiError> {
    match file.exists() {
        true => Ok(()),
        false => editing::write(file, "", ""),
    }
}

/// The file as forms, with what is wrong with it.
///
/// # Errors
/// It can't be read.
pub fn show(file: &Path, schemes: &[Arc<Scheme>]) -> Result<SettingsView, ApiError> {
    let text = editing::text_of(file)?;
    Ok(shown::shown(file, &text, &parse(&text, schemes).err().unwrap_or_default()))
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

/// The upstream and the key that `Connect my key` makes.
pub const OWN_UPSTREAM: &str = "anthropic";

/// Adds the user's own upstream to a settings file and keeps all that is in it.
pub(crate) fn add_upstream(file: &Path, schemes: &[Arc<Scheme>]) -> Result<(), ApiError> {
    let set = |key: &str, value: String| SettingChange {
        path: format!("upstream[name={OWN_UPSTREAM}].{key}"),
        value: Some(value),
    };
    let kind = UpstreamKind::Anthropic.name().to_owned();
    let changes = [set("kind", kind), set("key", format!("keychain:{OWN_UPSTREAM}"))];
    match change(file, &changes, None, schemes)?.refused.first() {
        Some(refused) => Err(ApiError::machine(format!("{} can't be changed: {}", file.display(), refused.reason))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
