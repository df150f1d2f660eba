//! HTTP in, HTTP out: the life of a call from a client's socket to the upstream's and back.
//!
//! Read `pipeline.rs` first. Nothing here knows SQL, a keychain, a settings file or a window:
//! what it needs of them it asks through four ports, which `app` implements and tests fake.

#![forbid(unsafe_code)]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::attribution;
use domain::cache;
use domain::call::{Call, CallId, Checkpoint, Entry, Opening};
use domain::catalog::InForce;
use domain::config::{Budget, Pacing, Rules};
use domain::money::Usd;
use domain::routing::{Cap, Capabilities};
use domain::time::{Now, Timestamp};
use http::{Request, Response};
use thiserror::Error;

mod answers;
mod asking;
mod bodies;
mod caching;
mod client;
mod connection;
mod continuing;
mod controls;
mod departing;
mod door;
mod entering;
mod entry;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod headers;
mod heeding;
mod holding;
mod live;
mod meter;
mod passing;
mod pipeline;
mod probing;
mod reserving;
mod results;
mod returning;
mod route;
pub mod secret;
mod seldom;
mod server;
mod silence;
mod stand_in;
mod upstream;
mod user;
mod wire;
mod words;

pub use asking::RetryRules;
pub use controls::{NoOutlook, NotSetAside};
pub use live::{LiveCall, LiveState, Traffic};
pub use reserving::Wanted;
pub use route::{Fallback, Whose};
pub use server::{Gateway, StartError};
pub use upstream::{BadUpstream, ProxyUse};
pub use wire::shape_of;

use secret::Secret;

/// What the settings say of the gateway, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Needed beside an address that is not loopback.
    pub allow_remote: bool,
    pub max_wait: Duration,
    /// The queue, budgets' calendar, what background work leaves.
    pub rules: Rules,
    /// Further names in `Host`; loopback names are always in.
    pub host_names: Vec<String>,
    /// Exact origins that get CORS answers.
    pub allowed_origins: Vec<String>,
    /// Bytes of bodies held at once; over it reading stops.
    pub body_budget: u64,
    pub timeouts: Timeouts,
    pub proxy: ProxyUse,
    pub upstreams: Vec<Upstream>,
    pub retry: RetryRules,
    /// Where calls go whose first upstream fails them. Of several for the same calls the first holds.
    pub fallbacks: Vec<Fallback>,
    /// Those of the settings; clients bring their own.
    pub budgets: Vec<Budget>,
    pub catalog: InForce,
    /// Whose calls are whose, by the programs and sessions they come from.
    pub attributes: attribution::InForce,
    /// `None`: no answer is given twice.
    pub cache: Option<cache::Terms>,
}

/// Three clocks; a stream is never cut for its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    /// Of silence between bytes.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    /// May carry a path; the request's path is appended.
    pub base_url: String,
    /// How the settings name the key: `keychain:anthropic`. `None` shows none.
    pub key: Option<String>,
    /// Which models it serves, with `*` for any run of characters. Empty: all.
    pub models: Vec<Arc<str>>,
    /// What it can't do: a call that uses any of it never goes there.
    pub lacks: Capabilities,
    pub pacing: Pacing,
}

/// What the gateway needs of the world.
#[derive(Clone)]
pub struct Ports {
    pub books: Arc<dyn Books>,
    pub secrets: Arc<dyn Secrets>,
    pub clock: Arc<dyn Clock>,
    pub answers: Arc<dyn AnswerStore>,
    pub watch: Arc<dyn Watch>,
}

/// A handler of paths that are not the Messages API, behind the same guard: Host and Origin are checked, the token is its own affair.
pub trait Mount: Send + Sync + 'static {
    fn owns(&self, path: &str) -> bool;

    /// The body is here in whole, 4 MiB at most.
    fn handle(&self, request: Request<Bytes>, peer: SocketAddr) -> BoxFuture<Response<Bytes>>;
}

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where calls are written down.
pub trait Books: Send + Sync + 'static {
    /// Where the books lag behind, a new call waits for this before it is opened. Ends by itself.
    fn room(&self) -> Option<BoxFuture<()>> {
        None
    }

    /// Before an attempt leaves. When it returns `Ok`, the row survives the end of this process.
    fn open(&self, call: &Call, opening: &Opening) -> Result<(), BooksClosed>;

    /// What a running call has shown so far; may be lost in a crash.
    fn checkpoint(&self, call: CallId, shown: &Checkpoint);

    /// Of calls that were made elsewhere, those of whose request no entry tells yet. The future ends when they are durable.
    fn enter_once(&self, entries: Vec<Entry>) -> BoxFuture<Result<(), BooksClosed>>;

    /// Once per call. Written when this returns; the future ends when it is as durable as the settings ask.
    fn settle(&self, entry: &Entry) -> BoxFuture<Result<(), BooksClosed>>;
}

/// The ledger can't write; new calls must not leave.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{reason}")]
pub struct BooksClosed {
    pub reason: String,
}

/// Where keys are kept.
pub trait Secrets: Send + Sync + 'static {
    /// The key that the settings name `reference` (`keychain:anthropic`), for use towards `origin` (`https://api.anthropic.com`) alone.
    fn key(&self, reference: &str, origin: &str) -> BoxFuture<Result<Arc<Secret>, KeyUnavailable>>;
}

/// One sentence: what is wrong with the key and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{reason}")]
pub struct KeyUnavailable {
    pub reason: String,
}

/// Both clocks, read once per event.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Now;
}

/// Where answers are kept to be given again, as long as the settings may ever ask for one. The default keeps none.
pub trait AnswerStore: Send + Sync + 'static {
    /// What is in memory, whatever its age.
    fn at_hand(&self, _key: &AnswerKey) -> Option<Arc<StoredAnswer>> {
        None
    }

    /// What is anywhere, whatever its age.
    fn find(&self, _key: &AnswerKey) -> BoxFuture<Option<Arc<StoredAnswer>>> {
        Box::pin(async { None })
    }

    /// Takes the place of what was there. Returns at once; `at_hand` has it from then on.
    fn keep(&self, _key: AnswerKey, _answer: Arc<StoredAnswer>) {}
}

/// Who learns what clients are about to see of an outage, before they see it. The defaults are for those who don't care.
pub trait Watch: Send + Sync + 'static {
    /// A call goes from one upstream to another, or to the configured text, for the reason that `why` names.
    fn falls_back(&self, _from: &str, _to: &str, _why: &str) {}

    /// An upstream answers 401 or 403: the key, or what it may do, is wrong.
    fn refuses_key(&self, _upstream: &str, _status: u16) {}

    /// An upstream refuses a call because money or a subscription's window is used up.
    fn is_capped(&self, _upstream: &str, _cap: Cap) {}

    /// An upstream answers a call: its key and its money are as they should be.
    fn answers(&self, _upstream: &str) {}

    /// A call is refused for the reason that `code` names; `upstream`: whose breaker is open.
    fn turns_away(&self, _upstream: Option<&str>, _code: &str) {}
}

/// The SHA-256 of everything an answer depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AnswerKey(pub [u8; 32]);

/// An answer as it came, status 200: headers that may be repeated, body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub made_at: Timestamp,
    /// What the call had cost that it was made for; `None` where its price was unknown.
    pub cost: Option<Usd>,
}
