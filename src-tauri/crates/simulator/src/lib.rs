//! A Claude API that behaves like the real one: for the demo, for tests, for users.
//!
//! It has true token buckets of its own and keeps its own books, so that it can prove the gateway wrong.
//! There is no model in it, no TLS and no upstream; contents of files are not kept.
//!
//! # What it answers
//! `POST /v1/messages` (JSON and SSE), `POST /v1/messages/count_tokens`, `/v1/models`, `/v1/messages/batches` (they end
//! after a second), `/v1/files`; in both API versions, with a key in either header; for administrators
//! `/v1/organizations/rate_limits`, `…/usage_report/messages`, `…/usage_report/claude_code`, `…/cost_report` and `…/api_keys`. Without a key and for this machine only, `GET /simulator/stats` ([`Stats`]),
//! `GET /simulator/calls` (a [`Record`] a line, the latest 100,000), and the switches that change limits, start a storm or
//! another program on the same key while it runs: `docs/simulator.md` lists them.
//!
//! # How it counts
//! * A text has a quarter of its bytes in tokens, rounded up. A request adds 3, a message 4, tools 346 once; an image is
//!   1,600, a document that is no text 3,000; whatever else comes is counted as the text of its compact JSON.
//! * Output alike; calling a tool adds 20. A delta carries five tokens.
//! * Cache: at most four marks, looked for up to 20 blocks back, 5 minutes or an hour, for each key and model apart. The
//!   real minimum lengths hold: a shorter prefix is input.
//! * A call that its caller left or that was cut pays for its input and for what was produced until then.
//!
//! # How it limits
//! Per key and model group, as the tier says. Tokens: buckets of a minute, refilled continuously; input is taken at the
//! start, output reserved or as it is produced, as the scheme says. Requests: one per 60/limit seconds, 50 ms early
//! forgiven. A refused call takes nothing. `count_tokens` has a pool of its own, and so have the tokens of fast calls.
//! Faults and storms never touch the buckets' word: [`Stats::refused`] tells only of true limits.
//!
//! # Wishes in the last text of a prompt
//! | marker | gives |
//! |---|---|
//! | `[[output 200]]` | 200 tokens of text, if `max_tokens` allows; else 20 to 300 by the seed |
//! | `[[thinking 40]]` | 40 tokens of thinking where `thinking` is on; else 10 to 80 by the seed |
//! | `[[tool NAME]]` | a call of that tool; also where the text says "use the … tool" or `tool_choice` forces one |
//! | `[[refuse]]` | eight tokens, then `refusal` |
//! | `[[fault NAME; parameter=value]]` | a fault, see [`Kind`] |
//!
//! `output_config.format` with a schema gives the smallest JSON that it takes, and so do tools' inputs.
//!
//! # Faults
//! [`Kind`] lists them with their parameters. The header `x-simulator-fault: cut; after_events=3` strikes one request, a
//! marker alike, a script ([`Faults::read`]) many:
//! ```toml
//! seed = 7
//! [[rule]]                        # the first rule whose conditions all hold decides
//! fault = "overloaded"
//! probability = 0.05              # nth = 3, every = 10, model = "claude-opus-*", from = 10.0, to = 20.5 (seconds)
//! [[rule]]
//! fault = "cut"
//! every = 20
//! after_events = 3                # after_bytes, seconds, ms, bytes, retry_after: where the fault takes them
//! ```
//! A script concerns messages only; a header with an error or `hangup` strikes any path.

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
mod control;
mod error;
mod fault;
mod files;
#[cfg(test)]
mod fixture;
mod gauge;
mod limits;
mod markers;
mod messages;
mod models;
mod outside;
#[cfg(test)]
mod over_http;
mod pace;
mod paging;
mod play;
mod pool;
mod prompt_cache;
mod ramp;
mod rate_limits;
mod reel;
mod reply;
mod reports;
mod running;
mod schema;
mod server;
mod spoil;
mod storm;
mod tokens;
mod windows;
mod world;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use domain::catalog::Catalog;
use domain::tier::Scheme;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use books::{ModelStats, Outcome, PerLimit, Record, Refused, Stats, TokenCounts};
pub use fault::{BadScript, Fault, Faults, Kind};
pub use outside::Drawn;
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
    serving: JoinHandle<()>,
    /// Dropped, it tells the server to stop.
    running: oneshot::Sender<Infallible>,
}

impl Simulator {
    /// Listens on the current tokio runtime.
    pub async fn start(options: Options) -> io::Result<Simulator> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(options, format!("http://{address}")));
        let (running, stop) = oneshot::channel();
        let serving = tokio::spawn(server::serve(world.clone(), listener, stop));
        Ok(Simulator { address, world, serving, running })
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
        self.world.state().books.records().collect()
    }

    /// Closes every connection and waits until no call runs.
    pub async fn stop(self) {
        drop(self.running);
        // A server that panicked has stopped too.
        let _ = self.serving.await;
    }
}
