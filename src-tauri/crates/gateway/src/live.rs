//! The calls that are here now and the latest that ended, for the screen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::call::{Call, CallId, Class, Entry, Outcome};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::Usage;
use tokio::sync::{Notify, watch};

/// A call as the screen shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveCall {
    pub id: CallId,
    pub started_at: Timestamp,
    pub client: Arc<str>,
    pub class: Class,
    pub model: Arc<str>,
    pub state: LiveState,
    /// The whole prompt: fresh, written to and read from the cache.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: Option<Usd>,
    pub waited: Duration,
    pub total: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveState {
    Waiting,
    Running,
    Ended(Outcome),
}

/// How far one call is, told by its own task and read by whoever looks.
pub(crate) struct Progress {
    id: CallId,
    started_at: Timestamp,
    client: Arc<str>,
    class: Class,
    model: Arc<str>,
    running: AtomicBool,
    waited_ms: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Live {
    inside: Mutex<Inside>,
    left: Notify,
    /// How many have come, for who waits for the next.
    came: watch::Sender<u64>,
}

/// Whether calls are here, for those who look at them now and then. Holds no gateway.
#[derive(Clone)]
pub struct Traffic(pub(crate) Arc<Live>);

impl Traffic {
    /// A pause between two looks: short while calls are here, and where none is as long as none comes, up to `rest`.
    pub async fn pause(&self, short: Duration, rest: Duration) {
        let mut came = self.0.came.subscribe();
        let is_empty = || self.0.lock().here.is_empty();
        // The end of one that is here is worth a look as well.
        let was_empty = is_empty();
        tokio::time::sleep(short).await;
        if was_empty && is_empty() {
            // Ended by one that came in the meantime too.
            let _ = tokio::time::timeout(rest.saturating_sub(short), came.changed()).await;
        }
    }
}

#[derive(Default)]
struct Inside {
    here: BTreeMap<CallId, Arc<Progress>>,
    ended: VecDeque<LiveCall>,
}

const ENDED_MAX: usize = 50;

impl Live {
    pub(crate) fn enter(&self, call: &Call) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            id: call.id,
            started_at: call.started_at,
            client: call.who.client.clone(),
            class: call.class,
            model: call.model.clone(),
            running: AtomicBool::new(false),
            waited_ms: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
        });
        self.lock().here.insert(call.id, progress.clone());
        self.came.send_modify(|came| *came = came.wrapping_add(1));
        progress
    }

    pub(crate) fn leave(&self, entry: &Entry) {
        let mut inside = self.lock();
        inside.here.remove(&entry.call.id);
        inside.ended.truncate(ENDED_MAX - 1);
        inside.ended.push_front(LiveCall {
            id: entry.call.id,
            started_at: entry.call.started_at,
            client: entry.call.who.client.clone(),
            class: entry.call.class,
            model: entry.call.model.clone(),
            state: LiveState::Ended(entry.outcome),
            input_tokens: entry.usage.tokens.prompt(),
            output_tokens: entry.usage.tokens.output,
            cost: entry.cost,
            waited: Duration::from_millis(entry.waited_ms),
            total: Duration::from_millis(entry.total_ms),
        });
        if inside.here.is_empty() {
            self.left.notify_waiters();
        }
    }

    /// Newest first: who is here, then the latest that ended.
    pub(crate) fn calls(&self, now: Timestamp) -> Vec<LiveCall> {
        let inside = self.lock();
        let here = inside.here.values().rev().map(|progress| progress.shown(now));
        here.chain(inside.ended.iter().cloned()).collect()
    }

    /// Ends when no call is here.
    pub(crate) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().here.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    pub(crate) fn waits(&self) {
        self.running.store(false, Ordering::Relaxed);
    }

    pub(crate) fn runs(&self, waited: Duration) {
        self.waited_ms.store(millis(waited), Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
    }

    pub(crate) fn used(&self, usage: &Usage, output: u64) {
        self.input.store(usage.tokens.prompt(), Ordering::Relaxed);
        self.output.store(output, Ordering::Relaxed);
    }

    fn shown(&self, now: Timestamp) -> LiveCall {
        let total = now.since(self.started_at);
        let running = self.running.load(Ordering::Relaxed);
        let waited = Duration::from_millis(self.waited_ms.load(Ordering::Relaxed));
        LiveCall {
            id: self.id,
            started_at: self.started_at,
            client: self.client.clone(),
            class: self.class,
            model: self.model.clone(),
            state: if running { LiveState::Running } else { LiveState::Waiting },
            input_tokens: self.input.load(Ordering::Relaxed),
            output_tokens: self.output.load(Ordering::Relaxed),
            cost: None,
            waited: if running { waited } else { total },
            total,
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use domain::call::Attribution;

    use super::*;

    fn call(number: u128) -> Call {
        Call {
            id: CallId::new(Timestamp::default(), number),
            started_at: Timestamp::default(),
            who: Attribution::default(),
            class: Class::Normal,
            model: "m".into(),
            max_tokens: None,
            stream: false,
            body_bytes: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_long_where_nobody_is_here_and_ends_soon_after_one_came() {
        let traffic = Traffic(Arc::default());
        let (short, rest) = (Duration::from_secs(1), Duration::from_secs(5));
        let pause = async || {
            let began = tokio::time::Instant::now();
            traffic.pause(short, rest).await;
            began.elapsed()
        };
        let comes_after = |wait: u64, number| {
            let live = traffic.0.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                live.enter(&call(number));
            })
        };
        assert_eq!(pause().await.as_secs(), 5);
        let came = comes_after(3_000, 1);
        assert_eq!(pause().await.as_secs(), 3);
        came.await.expect("no panic");
        assert_eq!(pause().await.as_secs(), 1, "one is here");
        traffic.0.lock().here.clear();
        let came = comes_after(200, 2);
        tokio::time::sleep(Duration::ZERO).await;
        let leaves = traffic.0.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            leaves.lock().here.clear();
        });
        assert_eq!(pause().await.as_secs(), 1, "one came and went");
        came.await.expect("no panic");
    }
}
