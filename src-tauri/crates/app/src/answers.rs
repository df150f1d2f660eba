//! The response cache: answers in memory, and behind them a file that is written while nobody waits.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::cache::Terms;
use domain::time::Timestamp;
use gateway::{AnswerKey, AnswerStore, BoxFuture, StoredAnswer};
use http::{HeaderMap, HeaderName, HeaderValue};
use ledger::{Answers, KeptAnswer, Shelved};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock;

/// Of answers in memory.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// Longer ones are no use to it.
const MEMORY_TTL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Of answers on their way to the file; what comes while it is so far behind stays in memory alone.
const WAITING_BYTES_MAX: usize = 32 << 20;
const WAITING_MAX: usize = 1_024;

/// Written together.
const BATCH: usize = 32;

/// How often old answers are looked for where no new ones come.
const EVERY: Duration = Duration::from_secs(600);

/// What an answer takes beside its bytes.
const OVERHEAD: usize = 512;

pub(crate) struct ResponseCache {
    memory: moka::sync::Cache<AnswerKey, Arc<StoredAnswer>>,
    shelf: Option<Arc<Shelf>>,
}

/// The file and the one task that writes to it.
struct Shelf {
    answers: Answers,
    orders: mpsc::Sender<Order>,
    waiting_bytes: AtomicUsize,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    Keep(AnswerKey, Arc<StoredAnswer>),
    Clear(oneshot::Sender<Result<Shelved, ledger::Error>>),
    End,
}

impl ResponseCache {
    /// Where the file can't be used, answers are kept in memory alone.
    pub(crate) async fn open(dir: &Path, terms: &Terms) -> ResponseCache {
        let shelf = match Answers::open(dir).await {
            Ok(answers) => Some(Shelf::start(answers, terms.ttl_max())),
            Err(error) => {
                tracing::warn!("answers are kept in memory alone: {error}");
                None
            }
        };
        let memory = moka::sync::Cache::builder()
            .max_capacity(MEMORY_BYTES_MAX)
            .weigher(|_, answer: &Arc<StoredAnswer>| u32::try_from(bytes(answer)).unwrap_or(u32::MAX))
            .time_to_live(terms.ttl_max().min(MEMORY_TTL_MAX))
            .build();
        ResponseCache { memory, shelf }
    }

    /// On the disk.
    pub(crate) async fn shelved(&self) -> Result<Shelved, ledger::Error> {
        match &self.shelf {
            Some(shelf) => shelf.answers.shelved().await,
            None => Ok(Shelved::default()),
        }
    }

    /// Forgets every answer. Tells what lay on the disk.
    pub(crate) async fn clear(&self) -> Result<Shelved, ledger::Error> {
        self.memory.invalidate_all();
        match &self.shelf {
            Some(shelf) => shelf.clear().await,
            None => Ok(Shelved::default()),
        }
    }

    /// Writes what waits.
    pub(crate) async fn end(&self) {
        if let Some(shelf) = &self.shelf {
            shelf.end().await;
        }
    }
}

/// Without `end`: what waits for the file is lost.
impl Drop for ResponseCache {
    fn drop(&mut self) {
        let writer = self.shelf.as_ref().and_then(|shelf| lock(&shelf.writer).take());
        if let Some(writer) = writer {
            writer.abort();
        }
    }
}

impl AnswerStore for ResponseCache {
    fn at_hand(&self, key: &AnswerKey) -> Option<Arc<StoredAnswer>> {
        self.memory.get(key)
    }

    fn find(&self, key: &AnswerKey) -> BoxFuture<Option<Arc<StoredAnswer>>> {
        let (key, at_hand, memory, shelf) = (*key, self.at_hand(key), self.memory.clone(), self.shelf.clone());
        Box::pin(async move {
            if at_hand.is_some() {
                return at_hand;
            }
            let found = shelf?.find(&key).await?;
            memory.insert(key, found.clone());
            Some(found)
        })
    }

    fn keep(&self, key: AnswerKey, answer: Arc<StoredAnswer>) {
        self.memory.insert(key, answer.clone());
        if let Some(shelf) = &self.shelf {
            shelf.keep(key, answer);
        }
    }
}

impl Shelf {
    fn start(answers: Answers, ttl: Duration) -> Arc<Shelf> {
        let (orders, taken) = mpsc::channel(WAITING_MAX);
        let shelf = Shelf { answers, orders, waiting_bytes: AtomicUsize::new(0), writer: Mutex::default() };
        let shelf = Arc::new(shelf);
        *lock(&shelf.writer) = Some(tokio::spawn(shelf.clone().write(taken, ttl)));
        shelf
    }

    async fn find(&self, key: &AnswerKey) -> Option<Arc<StoredAnswer>> {
        match self.answers.find(&key.0).await {
            Ok(found) => Some(Arc::new(stored(found?)?)),
            Err(error) => {
                tracing::warn!("a kept answer can't be read: {error}");
                None
            }
        }
    }

    fn keep(&self, key: AnswerKey, answer: Arc<StoredAnswer>) {
        let bytes = bytes(&answer);
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES_MAX
            || self.orders.try_send(Order::Keep(key, answer)).is_err()
        {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    async fn clear(&self) -> Result<Shelved, ledger::Error> {
        let (done, cleared) = oneshot::channel();
        // What was kept before is written before, and then gone.
        self.orders.send(Order::Clear(done)).await.map_err(|_| ledger::Error::Ended)?;
        cleared.await.unwrap_or(Err(ledger::Error::Ended))
    }

    async fn end(&self) {
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer
            && self.orders.send(Order::End).await.is_ok()
        {
            // It ended by itself; a panic in it has been told already.
            let _ = writer.await;
        }
    }

    async fn write(self: Arc<Shelf>, mut orders: mpsc::Receiver<Order>, ttl: Duration) {
        let mut is_failing = false;
        loop {
            let mut batch = vec![];
            // Time alone makes answers old.
            let _ = tokio::time::timeout(EVERY, orders.recv_many(&mut batch, BATCH)).await;
            let (mut kept, mut clears, mut ends) = (vec![], vec![], false);
            for order in batch {
                match order {
                    Order::Keep(key, answer) => {
                        self.waiting_bytes.fetch_sub(bytes(&answer), Ordering::Relaxed);
                        kept.push(shelved(key, &answer));
                    }
                    Order::Clear(done) => {
                        kept.clear();
                        clears.push(done);
                    }
                    Order::End => ends = true,
                }
            }
            for done in clears {
                // Whoever asked may have gone.
                let _ = done.send(self.answers.clear().await);
            }
            let written = self.answers.keep(&kept, oldest(ttl)).await;
            if let Some(error) = written.as_ref().err().filter(|_| !is_failing) {
                tracing::warn!("answers are kept in memory alone until this is mended: {error}");
            }
            is_failing = written.is_err();
            if ends {
                return;
            }
        }
    }
}

/// Nobody asks for an answer that was made before.
fn oldest(ttl: Duration) -> Timestamp {
    clock::now().timestamp.before(ttl)
}

fn bytes(answer: &StoredAnswer) -> usize {
    answer.body.len() + OVERHEAD
}

fn shelved(key: AnswerKey, answer: &StoredAnswer) -> KeptAnswer {
    let mut headers = vec![];
    for (name, value) in &answer.headers {
        headers.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let StoredAnswer { body, made_at, cost, .. } = answer;
    KeptAnswer { key: key.0, made_at: *made_at, cost: *cost, headers, body: body.to_vec() }
}

/// `None` where the lines are no head.
fn stored(kept: KeptAnswer) -> Option<StoredAnswer> {
    let mut headers = HeaderMap::new();
    let head = kept.headers.strip_suffix(b"\n").unwrap_or_default();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii_start()).ok()?;
        headers.append(HeaderName::from_bytes(&line[..colon]).ok()?, value);
    }
    Some(StoredAnswer { headers, body: kept.body.into(), made_at: kept.made_at, cost: kept.cost })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::money::Usd;

    fn answer(body: &str) -> Arc<StoredAnswer> {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.append("request-id", HeaderValue::from_static("req:1"));
        headers.append("request-id", HeaderValue::from_bytes(b"\xE4").expect("a value"));
        let made_at = clock::now().timestamp;
        Arc::new(StoredAnswer { headers, body: body.to_owned().into(), made_at, cost: Some(Usd::from_nanos(9)) })
    }

    fn key(number: u8) -> AnswerKey {
        AnswerKey([number; 32])
    }

    async fn open(dir: &Path) -> ResponseCache {
        ResponseCache::open(dir, &Terms::default()).await
    }

    #[tokio::test]
    async fn an_answer_is_at_hand_at_once_and_on_the_shelf_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = open(dir.path()).await;
        let kept = answer("event: ping\n\n");
        cache.keep(key(1), kept.clone());
        assert_eq!(cache.at_hand(&key(1)), Some(kept.clone()));
        cache.end().await;
        let cache = open(dir.path()).await;
        assert_eq!(cache.at_hand(&key(1)), None);
        assert_eq!(cache.find(&key(1)).await, Some(kept.clone()));
        assert_eq!(cache.at_hand(&key(1)), Some(kept), "what was found is at hand from then on");
        assert_eq!(cache.find(&key(2)).await, None);
    }

    #[tokio::test]
    async fn what_nobody_may_ask_for_any_more_leaves_the_shelf() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = open(dir.path()).await;
        let old = StoredAnswer { made_at: oldest(Duration::from_secs(86_410)), ..(*answer("old")).clone() };
        cache.keep(key(1), Arc::new(old));
        cache.end().await;
        let cache = open(dir.path()).await;
        cache.keep(key(2), answer("young"));
        cache.end().await;
        assert_eq!(cache.shelved().await.map(|shelved| shelved.answers), Ok(1));
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = open(dir.path()).await;
        let large = answer(&"x".repeat(4 << 20));
        (0..40).for_each(|number| cache.keep(key(number), large.clone()));
        cache.memory.run_pending_tasks();
        assert!(cache.memory.weighted_size() <= MEMORY_BYTES_MAX, "{}", cache.memory.weighted_size());
        assert!(cache.memory.entry_count() > 10);
    }

    #[tokio::test]
    async fn a_cleared_cache_holds_nothing_anywhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = open(dir.path()).await;
        cache.keep(key(1), answer("one"));
        cache.clear().await.expect("cleared");
        assert_eq!((cache.at_hand(&key(1)), cache.find(&key(1)).await), (None, None));
        assert_eq!(cache.shelved().await, Ok(Shelved::default()));
        cache.keep(key(2), answer("two"));
        cache.end().await;
        assert_eq!(cache.clear().await, Err(ledger::Error::Ended), "and whoever comes too late is told so");
    }

    #[tokio::test]
    async fn where_no_file_can_be_made_memory_does_it_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("answers.db")).expect("in the way");
        let cache = open(dir.path()).await;
        cache.keep(key(1), answer("one"));
        assert!(cache.at_hand(&key(1)).is_some());
        assert_eq!(cache.clear().await, Ok(Shelved::default()));
    }
}
