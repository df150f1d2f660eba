//! A Claude API that behaves like the real one: for the demo, for tests, for users.
//!
//! It has true token buckets of its own and keeps its own books, so that it can prove the gateway wrong.
//! It knows no model, no TLS and no upstream.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod ask;
mod batches;
mod body;
mod books;
mod bucket;
mod chance;
mod clock;
mod error;
mod fault;
mod files;
#[cfg(test)]
mod fixture;
mod limits;
mod markers;
mod messages;
mod models;
#[cfg(test)]
mod over_http;
mod pace;
mod paging;
mod play;
mod prompt_cache;
mod reel;
mod reply;
mod running;
mod schema;
mod server;
mod tokens;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use domain::catalog::Catalog;
use domain::tier::Scheme;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use books::{ModelStats, Outcome, PerLimit, Record, Stats, TokenCounts};
pub use fault::{BadScript, Fault, Faults, Kind};
pub use pace::Latency;
use world::World;

/// How it behaves. By default: any loopback port, no limits, no prices, no faults, at once.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// A scheme and the name of one of its tiers. `None`: no limits and no headers of limits.
    pub scheme: Option<(Arc<Scheme>, Arc<str>)>,
    /// Which models there are and what they cost. An empty one knows every model.
    pub catalog: Arc<Catalog>,
    pub faults: Faults,
    pub seed: u64,
    pub latency: Latency,
    /// The keys it accepts. None: all that start with `sk-ant-`.
    pub keys: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            scheme: None,
            catalog: Arc::default(),
            faults: Faults::default(),
            seed: 0,
            latency: Latency::INSTANT,
            keys: Vec::new(),
        }
    }
}

/// A running simulator. It ends when it is dropped.
pub struct Simulator {
    address: SocketAddr,
    world: Arc<World>,
    serving: JoinHandle<std::convert::Infallible>,
}

impl Simulator {
    /// Listens on the current tokio runtime.
    pub async fn start(options: Options) -> io::Result<Simulator> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(options, format!("http://{address}")));
        let serving = tokio::spawn(server::serve(world.clone(), listener));
        Ok(Simulator { address, world, serving })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> &str {
        &self.world.base_url
    }

    pub fn stats(&self) -> Stats {
        self.world.stats()
    }

    /// The latest calls that have ended, the oldest first.
    pub fn calls(&self) -> Vec<Record> {
        self.world.state().books.records().cloned().collect()
    }

    /// Closes every connection and waits until no call runs.
    pub async fn stop(mut self) {
        self.serving.abort();
        // It was told to end; that it did is no news.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
