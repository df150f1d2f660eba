//! What all calls share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::catalog::Catalog;
use domain::time::Timestamp;
use http::HeaderValue;

use crate::Options;
use crate::batches::Batch;
use crate::books::{Books, Stats};
use crate::chance;
use crate::clock::Clock;
use crate::fault::Faults;
use crate::files::File;
use crate::limits::Limits;
use crate::pace::Latency;
use crate::prompt_cache::PromptCache;
use crate::reports::Reports;
use crate::storm::Storm;
use crate::windows::Windows;

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    pub(crate) latency: Latency,
    /// The accepted ones; none: all that look like one.
    keys: Vec<String>,
    /// Where `results_url` leads.
    pub(crate) base_url: String,
    pub(crate) org: String,
    pub(crate) org_header: HeaderValue,
    pub(crate) workspace_header: HeaderValue,
    requests: AtomicU64,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) windows: Windows,
    pub(crate) storm: Storm,
    pub(crate) books: Books,
    pub(crate) reports: Reports,
    pub(crate) prompts: PromptCache,
    pub(crate) batches: Vec<Batch>,
    pub(crate) files: Vec<File>,
}

impl World {
    pub(crate) fn new(options: Options, base_url: String) -> World {
        let org = chance::uuid(options.seed);
        let workspace = chance::id("wrkspc", options.seed);
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        World {
            clock: Clock::start(),
            state: Mutex::new(State {
                limits: Limits::new(options.scheme, options.seed),
                windows: Windows::default(),
                storm: Storm::default(),
                books: Books::new(options.catalog.clone()),
                reports: Reports::new(options.catalog.clone(), options.seed),
                prompts: PromptCache::default(),
                batches: Vec::new(),
                files: Vec::new(),
            }),
            catalog: options.catalog,
            faults: options.faults,
            seed: options.seed,
            latency: options.latency,
            keys: options.keys,
            base_url,
            org_header: header(&org),
            workspace_header: header(&workspace),
            org,
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn since_start(&self) -> Duration {
        Duration::from_nanos(self.clock.now().instant.as_nanos())
    }

    pub(crate) fn request_id(&self) -> String {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed);
        chance::id("req", chance::mix(self.seed, nth))
    }

    pub(crate) fn accepts(&self, key: &str) -> bool {
        if self.keys.is_empty() { key.starts_with("sk-ant-") } else { self.keys.iter().any(|known| known == key) }
    }

    /// An empty catalogue knows every model.
    pub(crate) fn knows(&self, model: &str, at: Timestamp) -> bool {
        self.catalog.price(model, at).is_some() || self.catalog.prices().next().is_none()
    }

    pub(crate) fn stats(&self) -> Stats {
        let now = self.clock.now().instant;
        let mut state = self.state();
        let outside = state.limits.drawn(now);
        state.books.stats(state.limits.offered(now), outside)
    }
}
