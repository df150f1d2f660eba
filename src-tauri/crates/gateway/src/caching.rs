//! Answers given again: whether a call may have one, what it waits for, and what its own answer leaves behind.
//!
//! Of calls that are the same one leads and goes out; the others follow it and get what it gets. Where it fails, the next leads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use domain::cache::{self, ANSWER_BYTES_MAX, Ended, Terms, Wish, is_fresh};
use domain::call::{Call, Class, Outcome};
use domain::money::Usd;
use domain::time::{Instant, Timestamp};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::answers::{Answer, Broken};
use crate::continuing::Continuing;
use crate::entry::{Ending, OpenEntry};
use crate::headers;
use crate::holding::Begun;
use crate::pipeline::{Pipeline, Sent, mark, refuse};
use crate::upstream::Upstream;
use crate::wire::canonical;
use crate::{AnswerKey, AnswerStore, BoxFuture, StoredAnswer};

/// Bytes of answers of which copies are being made, all calls together.
const COPIED_BYTES_MAX: usize = 64 << 20;

pub(crate) struct Caching {
    /// `None`: it is off.
    terms: Option<Terms>,
    store: Arc<dyn AnswerStore>,
    flights: Flights,
    copied: Arc<AtomicUsize>,
    is_emergency: AtomicBool,
}

/// What goes back to a client.
pub(crate) enum Given {
    /// And what it takes to go on where it breaks off.
    Fresh(Begun, Option<Box<Continuing>>),
    Again(Arc<StoredAnswer>),
}

/// What a call asks of the cache.
pub(crate) struct Asks<'a> {
    pub(crate) sent: &'a Sent,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) offers_tools: bool,
}

impl Caching {
    pub(crate) fn new(terms: Option<Terms>, store: Arc<dyn AnswerStore>) -> Caching {
        let (copied, is_emergency) = (Arc::default(), AtomicBool::new(false));
        Caching { terms, store, flights: Flights::default(), copied, is_emergency }
    }

    pub(crate) fn set_emergency(&self, is_emergency: bool) {
        self.is_emergency.store(is_emergency, Ordering::Relaxed);
    }

    fn fresh(&self, kept: Option<Arc<StoredAnswer>>, terms: &Terms, now: Timestamp) -> Option<Arc<StoredAnswer>> {
        let ttl = terms.ttl(self.is_emergency.load(Ordering::Relaxed));
        kept.filter(|kept| is_fresh(kept.made_at, now, ttl))
    }
}

impl Pipeline {
    /// The answer that a call like this one got, or gets while this one waits for it. `None`: it goes out itself.
    pub(crate) async fn answer_of_another(&self, entry: &mut OpenEntry, asks: Asks<'_>) -> Option<Arc<StoredAnswer>> {
        let terms = self.caching.terms.as_ref()?;
        let wish = headers::cache_wish(asks.headers);
        if !terms.admit(wish, asks.offers_tools) {
            return None;
        }
        let Call { who, class, model, .. } = entry.call();
        let upstream = *self.route(&who.client, *class, model, entry.prompt().uses).upstreams.first()?;
        let key = key((!terms.shared).then_some(&*who.client), upstream, &asks);
        if wish == Wish::Refresh {
            entry.misses(Some(self.caching.flights.overtake(key, entry.call().class)));
            return None;
        }
        self.look(entry, terms, key, &asks).await
    }

    async fn look(
        &self,
        entry: &mut OpenEntry,
        terms: &Terms,
        key: AnswerKey,
        asks: &Asks<'_>,
    ) -> Option<Arc<StoredAnswer>> {
        let Caching { store, flights, .. } = &self.caching;
        // What a reservation grants it doesn't wait for others to get.
        let follows = headers::reservation(asks.headers).is_none();
        let deadline = entry.came().after(headers::max_wait(asks.headers, self.max_wait));
        loop {
            if let Some(kept) = self.caching.fresh(store.at_hand(&key), terms, self.now().timestamp) {
                return Some(kept);
            }
            let mut flight = match flights.join(key, entry.call().class) {
                Role::Leads(lead) => {
                    let kept = self.caching.fresh(store.find(&key).await, terms, self.now().timestamp);
                    match &kept {
                        Some(kept) => lead.land(Landing::Kept(kept.clone())),
                        None => entry.misses(Some(lead)),
                    }
                    return kept;
                }
                Role::Follows(flight) if follows => flight,
                Role::Follows(_) => break,
            };
            match self.landed(&mut flight, deadline).await {
                Some(Landing::Kept(kept)) => return Some(kept),
                Some(Landing::Alone) => break,
                None => {}
            }
        }
        entry.misses(None);
        None
    }

    /// How the flight of another call ends; `None` where it fails. Whose patience ends goes for itself, and so does who
    /// follows one that is stuck.
    async fn landed(&self, followed: &mut Followed, deadline: Instant) -> Option<Landing> {
        loop {
            let seen = followed.pieces.load(Ordering::Relaxed);
            let patience = deadline.since(self.now().instant);
            let landing = followed.landing.wait_for(Option::is_some);
            match tokio::time::timeout(patience.min(STUCK), landing).await {
                Ok(Ok(landing)) => return landing.clone(),
                Ok(Err(_)) => return None,
                Err(_) if patience <= STUCK => return Some(Landing::Alone),
                Err(_) if seen > 0 && followed.pieces.load(Ordering::Relaxed) == seen => return Some(Landing::Alone),
                Err(_) => {}
            }
        }
    }

    /// A kept answer, byte for byte. It waits for no disk: nothing is owed for it.
    pub(crate) async fn give_again(&self, kept: &StoredAnswer, mut entry: OpenEntry) -> Response<Answer> {
        entry.hits(kept.cost);
        let mut response = Response::new(Answer::whole(kept.body.clone()));
        response.headers_mut().clone_from(&kept.headers);
        let age = self.now().timestamp.since(kept.made_at).as_secs();
        response.headers_mut().insert(header::AGE, HeaderValue::from(age));
        mark(response.headers_mut(), &entry, None);
        let status = StatusCode::OK.as_u16();
        match at_once(entry.close(Ending { outcome: Outcome::Completed, status, error: None })) {
            Some(Err(closed)) => refuse(&self.unwritten(closed), entry).await,
            Some(Ok(())) | None => response,
        }
    }
}

/// What a future says without being waited for.
fn at_once<T>(mut future: BoxFuture<T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => Some(said),
        Poll::Pending => None,
    }
}

/// Everything that an answer depends on: who may have it, where it was asked for, and each part of the question.
fn key(scope: Option<&str>, upstream: &Upstream, asks: &Asks<'_>) -> AnswerKey {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    match scope {
        Some(client) => part(client.as_bytes()),
        // No client has a name like this.
        None => part(b"\0"),
    }
    part(upstream.base().as_bytes());
    part(asks.sent.target.as_bytes());
    let mut names: Vec<&HeaderName> = asks.headers.keys().filter(|name| matters(name)).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        for value in asks.headers.get_all(name) {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
    }
    match canonical::digest(asks.sent.body()) {
        Some(sum) => part(&sum),
        None => part(asks.sent.body()),
    }
    AnswerKey(hash.finalize().into())
}

fn matters(name: &HeaderName) -> bool {
    name.as_str().starts_with("anthropic-") || *name == header::ACCEPT_ENCODING
}

/// Which call of several that are the same is out.
#[derive(Clone, Default)]
struct Flights(Arc<Mutex<Out>>);

#[derive(Default)]
struct Out {
    flights: HashMap<AnswerKey, Flight>,
    next: u64,
}

struct Flight {
    number: u64,
    class: Class,
    landing: watch::Receiver<Option<Landing>>,
    pieces: Arc<AtomicUsize>,
}

/// How a follower sees the call that is out.
struct Followed {
    landing: watch::Receiver<Option<Landing>>,
    /// Of its answer, that have passed to its client so far.
    pieces: Arc<AtomicUsize>,
}

/// An answer that has begun and goes no further for so long is stuck, at its client as like as not.
const STUCK: Duration = Duration::from_secs(10);

#[derive(Clone)]
enum Landing {
    Kept(Arc<StoredAnswer>),
    /// Its answer is for one call alone: each goes for itself.
    Alone,
}

enum Role {
    Leads(Lead),
    Follows(Followed),
}

impl Flights {
    /// Nobody follows a call that is less urgent.
    fn join(&self, key: AnswerKey, class: Class) -> Role {
        let mut out = self.lock();
        match out.flights.get(&key) {
            Some(flight) if flight.class <= class => {
                Role::Follows(Followed { landing: flight.landing.clone(), pieces: flight.pieces.clone() })
            }
            Some(_) | None => Role::Leads(self.lead(&mut out, key, class)),
        }
    }

    /// Those that come from now on follow this one.
    fn overtake(&self, key: AnswerKey, class: Class) -> Lead {
        self.lead(&mut self.lock(), key, class)
    }

    fn lead(&self, out: &mut Out, key: AnswerKey, class: Class) -> Lead {
        let (tell, landing) = watch::channel(None);
        let number = out.next;
        out.next += 1;
        let pieces = Arc::<AtomicUsize>::default();
        out.flights.insert(key, Flight { number, class, landing, pieces: pieces.clone() });
        Lead { flights: self.clone(), key, number, tell, pieces }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the call that is out. Dropped, it has failed: one of its followers takes its place.
pub(crate) struct Lead {
    flights: Flights,
    key: AnswerKey,
    number: u64,
    tell: watch::Sender<Option<Landing>>,
    pieces: Arc<AtomicUsize>,
}

impl Lead {
    fn land(self, landing: Landing) {
        // Whoever joins from now on finds the answer in the store.
        self.leave();
        self.tell.send_replace(Some(landing));
    }

    fn leave(&self) {
        let mut out = self.flights.lock();
        if out.flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            out.flights.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What stays of an answer that passes. Nothing, where nobody may have it.
#[derive(Default)]
pub(crate) struct Duplicate(Option<Box<Copied>>);

struct Copied {
    lead: Option<Lead>,
    store: Arc<dyn AnswerStore>,
    headers: HeaderMap,
    body: Vec<u8>,
    room: Room,
    fate: Fate,
}

#[derive(Clone, Copy, Default)]
enum Fate {
    /// It has not come to its end, or to a bad one.
    #[default]
    Lost,
    Kept {
        made_at: Timestamp,
        cost: Option<Usd>,
    },
    Alone,
}

/// The share of the bytes that may be copied at once.
struct Room {
    all: Arc<AtomicUsize>,
    mine: usize,
}

impl Duplicate {
    /// Of an answer whose head is here.
    /// `status` is `None` where nobody else may have it.
    pub(crate) fn of(caching: &Caching, status: Option<StatusCode>, lead: Lead, headers: &HeaderMap) -> Duplicate {
        if status == Some(StatusCode::OK) {
            let room = Room { all: caching.copied.clone(), mine: 0 };
            let (store, headers) = (caching.store.clone(), repeatable(headers));
            let (lead, body, fate) = (Some(lead), Vec::new(), Fate::default());
            return Duplicate(Some(Box::new(Copied { lead, store, headers, body, room, fate })));
        }
        // Asked again it would say the same: whoever waits for it loses only time.
        if status.is_none_or(|status| status.is_client_error() && !may_pass(status)) {
            lead.land(Landing::Alone);
        }
        Duplicate(None)
    }

    pub(crate) fn piece(&mut self, piece: &[u8]) {
        let Some(copied) = &mut self.0 else { return };
        if let Some(lead) = &copied.lead {
            lead.pieces.fetch_add(1, Ordering::Relaxed);
        }
        if copied.body.len() + piece.len() <= ANSWER_BYTES_MAX && copied.room.take(piece.len()) {
            copied.body.extend_from_slice(piece);
        } else {
            copied.fate = Fate::Alone;
            self.0 = None;
        }
    }

    /// The call has ended. What may still come belongs to its answer.
    pub(crate) fn ends(&mut self, ended: Ended, made_at: Timestamp, cost: Option<Usd>) {
        let Some(copied) = &mut self.0 else { return };
        copied.fate = match ended.outcome {
            Outcome::Completed if cache::may_be_kept(ended) => Fate::Kept { made_at, cost },
            Outcome::Completed => Fate::Alone,
            Outcome::Cut | Outcome::Cancelled | Outcome::Interrupted | Outcome::Refused | Outcome::Failed => Fate::Lost,
        };
    }

    /// What comes after the call has ended, to the last.
    pub(crate) fn trails(&mut self, piece: Option<&Result<Bytes, Broken>>) {
        match piece {
            Some(Ok(piece)) => self.piece(piece),
            Some(Err(_)) => self.breaks(),
            None => self.0 = None,
        }
    }

    /// Its client doesn't get it whole.
    pub(crate) fn breaks(&mut self) {
        if let Some(copied) = &mut self.0 {
            copied.fate = Fate::Lost;
        }
        self.0 = None;
    }
}

/// Complete or given up, it is told here, whoever drops it.
impl Drop for Copied {
    fn drop(&mut self) {
        let Some(lead) = self.lead.take() else { return };
        match self.fate {
            Fate::Lost => {}
            Fate::Alone => lead.land(Landing::Alone),
            Fate::Kept { made_at, cost } => {
                let (headers, body) = (std::mem::take(&mut self.headers), std::mem::take(&mut self.body).into());
                let kept = Arc::new(StoredAnswer { headers, body, made_at, cost });
                self.store.keep(lead.key, kept.clone());
                lead.land(Landing::Kept(kept));
            }
        }
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= COPIED_BYTES_MAX;
        self.mine += bytes;
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

/// A refusal that the next try may not meet.
fn may_pass(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS)
}

/// What describes the answer itself. What an upstream says of limits or of this moment is not true a second time.
fn repeatable(headers: &HeaderMap) -> HeaderMap {
    const KEPT: [HeaderName; 6] = [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CACHE_CONTROL,
        HeaderName::from_static("request-id"),
        HeaderName::from_static("anthropic-organization-id"),
        HeaderName::from_static("anthropic-workspace-id"),
    ];
    let mut kept = HeaderMap::new();
    for name in KEPT {
        for value in headers.get_all(&name) {
            kept.append(&name, value.clone());
        }
    }
    kept
}
