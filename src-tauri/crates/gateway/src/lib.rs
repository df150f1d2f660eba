//! HTTP in, HTTP out: the life of a call from a client's socket to the upstream's and back.
//!
//! Read `pipeline.rs` first. Nothing here knows SQL, a keychain, a settings file or a window:
//! what it needs of them it asks through four ports, which `app` implements and tests fake.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use domain::call::{Call, CallId, Entry, Opening};
use domain::time::Now;
use domain::usage::Usage;
use thiserror::Error;

pub mod secret;

use secret::Secret;

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where calls are written down.
pub trait Books: Send + Sync + 'static {
    /// Before an attempt leaves. When it returns `Ok`, the row survives the end of this process.
    fn open(&self, call: &Call, opening: &Opening) -> Result<(), BooksClosed>;

    /// What a running call has used so far; may be lost in a crash.
    fn checkpoint(&self, call: CallId, usage: &Usage);

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

/// Where answers are kept to be given again. The default keeps none.
pub trait AnswerStore: Send + Sync + 'static {
    fn fresh(&self, _call: &Call, _body: &[u8], _now: Now) -> Option<StoredAnswer> {
        None
    }
}

/// An answer as it came: status, headers that may be repeated, body.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    pub status: http::StatusCode,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
    pub usage: Usage,
}
