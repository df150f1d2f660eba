//! The life of a call, from the request to the answer. Read this first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use domain::attribution;
use domain::call::Outcome;
use domain::catalog::InForce;
use domain::config::Client;
use domain::time::{Instant, Now};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};

use crate::answers::{Answer, Metered};
use crate::asking::{Retries, SpentAccounts};
use crate::bodies::{Bodies, Held, MESSAGES_BYTES_MAX, NotHeld};
use crate::caching::{Asks, Caching, Given};
use crate::continuing::{self, Continuing};
use crate::door::Door;
use crate::entry::{Ending, OpenEntry};
use crate::error::Error;
use crate::holding::Begun;
use crate::live::Live;
use crate::returning::Returning;
use crate::route::Fallback;
use crate::seldom::Seldom;
use crate::upstream::{self, Upstream};
use crate::wire::anthropic::{self, NotACall};
use crate::words::Words;
use crate::{Books, BooksClosed, Clock, Secrets, Timeouts, Watch, headers};

/// Everything a call meets on its way.
pub(crate) struct Pipeline {
    pub(crate) books: Arc<dyn Books>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) caching: Caching,
    pub(crate) watch: Arc<dyn Watch>,
    pub(crate) catalog: InForce,
    pub(crate) attributes: attribution::InForce,
    pub(crate) door: Arc<Door>,
    pub(crate) bodies: Bodies,
    pub(crate) live: Arc<Live>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) retries: Retries,
    pub(crate) spent: SpentAccounts,
    /// An attempt has gone badly: a breaker may be open.
    pub(crate) failing: Notify,
    pub(crate) clients: RwLock<Arc<HashMap<[u8; 32], Arc<Client>>>>,
    pub(crate) max_wait: Duration,
    pub(crate) timeouts: Timeouts,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) trouble: Trouble,
    /// What upstreams say of limits and can't be.
    pub(crate) oddities: Seldom,
    pub(crate) words: Words,
    pub(crate) returning: Returning<OpenEntry>,
    /// A client has made, extended or released a reservation.
    pub(crate) reserved: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// The port is held; nothing is taken yet.
    Closed,
    Open,
    /// What runs may finish; nothing new is taken.
    Draining,
    /// Connections end as soon as nothing is asked of them.
    Closing,
    Stopped,
}

impl Pipeline {
    /// One call, whole. Whatever happens in it, its entry is closed exactly once.
    pub(crate) async fn call(self: &Arc<Self>, client: &Client, request: Request<Incoming>) -> Response<Answer> {
        let mut entry = OpenEntry::begin(self.clone(), client, request.headers());
        match self.answer(&mut entry, client, request).await {
            Ok(Given::Fresh(answer, continuing)) => self.through(answer, continuing, entry).await,
            Ok(Given::Again(kept)) => self.give_again(&kept, entry).await,
            Err(error) => {
                self.watch.turns_away(error.upstream(), error.code());
                refuse(&error, entry).await
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        entry: &mut OpenEntry,
        client: &Client,
        request: Request<Incoming>,
    ) -> Result<Given, Error> {
        let (head, body) = request.into_parts();
        let body = self.hold(entry, body, headers::max_wait(&head.headers, self.max_wait)).await?;
        let sent = Sent::of(&head, body);
        if let Some(taken) = self.place_of_earlier_try(entry, &sent) {
            entry.comes_back(taken);
        }
        let peek = parse(sent.body())?;
        entry.arrived(&peek, sent.body().len());
        let asks = Asks { sent: &sent, headers: &head.headers, offers_tools: peek.offers_tools };
        if let Some(kept) = self.answer_of_another(entry, asks).await {
            return Ok(Given::Again(kept));
        }
        let mut head = head;
        if continuing::is_asked_for(&head.headers) {
            // What is packed can't be joined.
            head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let answer = self.ask(entry, client, &head.headers, &sent).await?;
        let continuing = continuing::is_asked_for(&head.headers)
            .then(|| Box::new(Continuing::of(self.clone(), client, head.headers, sent)));
        Ok(Given::Fresh(answer, continuing))
    }

    /// The answer on its way to the client, with the entry that it closes.
    async fn through(
        &self,
        mut answer: Begun,
        continuing: Option<Box<Continuing>>,
        mut entry: OpenEntry,
    ) -> Response<Answer> {
        let head = &mut answer.head;
        upstream::incoming(&mut head.headers);
        mark(&mut head.headers, &entry, answer.from.as_deref());
        if answer.is_empty() {
            let error = Some("not_an_api_answer".into());
            let ending = Ending { outcome: Outcome::Failed, status: answer.head.status.as_u16(), error };
            let _ = entry.close(ending).await;
            return Response::from_parts(answer.head, Answer::empty());
        }
        let (head, body) = Metered::of(answer, continuing, self.timeouts.idle, entry);
        Response::from_parts(head, Answer::metered(body))
    }

    /// Waiting for room counts as waiting: it ends when the call's patience does.
    async fn hold(&self, entry: &mut OpenEntry, body: Incoming, patience: Duration) -> Result<Held, Error> {
        match self.bodies.hold(body, MESSAGES_BYTES_MAX, patience).await {
            Ok(held) => Ok(held),
            Err(NotHeld::Refused(error)) => Err(error),
            Err(NotHeld::Gone) => {
                entry.vanish();
                Err(Error::BodyStopped)
            }
        }
    }

    /// What goes out beside the body: the client's headers without its credential, and the real key.
    pub(crate) async fn outgoing(&self, upstream: &Upstream, headers: HeaderMap) -> Result<HeaderMap, Error> {
        let mut headers = upstream::outgoing(headers);
        if let Some(reference) = &upstream.key {
            let key = self.secrets.key(reference, &upstream.origin).await;
            let about = Some(&upstream.name);
            let key = key.map_err(|unavailable| self.trouble.says(about, Error::Key { reason: unavailable.reason }))?;
            upstream::show_key(&mut headers, &key).map_err(|_| {
                let reason = format!("the key {reference} holds characters that no header can carry; set it again");
                self.trouble.says(about, Error::Key { reason })
            })?;
        }
        Ok(headers)
    }

    /// An upstream's body in memory: small, and not waited for longer than for any byte.
    pub(crate) async fn whole(&self, body: reqwest::Body, max: u64, from: &Upstream) -> Result<Bytes, Error> {
        let upstream = || from.name.to_string();
        let body = http_body_util::Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
        match tokio::time::timeout(self.timeouts.idle, body.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(_)) => Err(Error::Lost { upstream: upstream() }),
            Err(_) => Err(Error::Silent { upstream: upstream(), after: self.timeouts.idle }),
        }
    }

    /// Lets places and entries go whose callers don't come back. Runs as long as calls are taken.
    pub(crate) async fn keep_places(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        let ends = async { drop(phase.wait_for(|phase| *phase >= Phase::Draining).await) };
        self.returning.keep(|| self.now().instant, ends).await;
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn has_stopped(&self) -> bool {
        *self.phase.borrow() == Phase::Stopped
    }

    /// 128 bits that nobody can guess.
    pub(crate) fn chance(&self) -> u128 {
        let mut bytes = [0; 16];
        // Without a source of chance ids still differ by time.
        let _ = getrandom::fill(&mut bytes);
        u128::from_ne_bytes(bytes)
    }
}

/// What a client sent, as it goes out with each attempt.
pub(crate) struct Sent {
    pub(crate) target: String,
    body: Held,
    /// Which try of the client it is, where the client counts.
    pub(crate) tries: Option<u32>,
}

impl Sent {
    fn of(head: &request::Parts, body: Held) -> Sent {
        let target = head.uri.path_and_query().map_or("/v1/messages", |target| target.as_str()).to_owned();
        Sent { target, body, tries: headers::tries(&head.headers) }
    }

    /// The same request with another body.
    pub(crate) fn with(self, body: Bytes) -> Sent {
        Sent { body: self.body.with(body), ..self }
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body.bytes
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.body.bytes.clone()
    }
}

pub(crate) fn parse(body: &[u8]) -> Result<anthropic::Peek<'_>, Error> {
    anthropic::peek(body).map_err(|why| match why {
        NotACall::NoObject => Error::NoObject,
        NotACall::NoModel => Error::NoModel,
    })
}

/// Our own answer, once the entry says so too.
pub(crate) async fn refuse(error: &Error, mut entry: OpenEntry) -> Response<Answer> {
    let mut response = error.response(&entry.call().id.to_string()).map(Answer::whole);
    let from = entry.attempts().last().map(|attempt| attempt.upstream.clone());
    mark(response.headers_mut(), &entry, from.as_deref());
    if !entry.is_closed() {
        let ending = entry.ending(error);
        let _ = entry.close(ending).await;
    }
    response
}

const CALL: HeaderName = HeaderName::from_static("x-tidegate-call");
const WAITED: HeaderName = HeaderName::from_static("x-tidegate-waited-ms");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const UPSTREAM: HeaderName = HeaderName::from_static("x-tidegate-upstream");
const CACHE: HeaderName = HeaderName::from_static("x-tidegate-cache");

/// Says what happened to the call.
pub(crate) fn mark(headers: &mut HeaderMap, entry: &OpenEntry, from: Option<&str>) {
    let mut set = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    set(CALL, entry.call().id.to_string());
    set(WAITED, entry.waited().as_millis().to_string());
    set(ATTEMPTS, entry.attempts().len().to_string());
    if let Some(from) = from {
        set(UPSTREAM, from.to_owned());
    }
    headers.insert(CACHE, HeaderValue::from_static(entry.cache().name()));
}

/// What keeps calls from leaving, until one leaves.
#[derive(Default)]
pub(crate) struct Trouble {
    is: AtomicBool,
    /// When a call last didn't leave because it could not be written down.
    unwritten: Mutex<Option<Instant>>,
    /// By the upstream that it is about; `None`: it is about all.
    sentences: Mutex<BTreeMap<Option<Arc<str>>, String>>,
}

const UNWRITTEN_FOR: Duration = Duration::from_secs(5);

impl Pipeline {
    /// A call that can't be written down doesn't leave.
    pub(crate) fn unwritten(&self, closed: BooksClosed) -> Error {
        *self.trouble.unwritten.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.now().instant);
        self.trouble.says(None, Error::Ledger { reason: closed.reason })
    }
}

impl Trouble {
    pub(crate) fn says(&self, about: Option<&Arc<str>>, error: Error) -> Error {
        self.lock().insert(about.cloned(), error.to_string());
        self.is.store(true, Ordering::Relaxed);
        error
    }

    /// The ledger has just refused a call. After a while without calls nobody knows, and one may try.
    pub(crate) fn is_of_the_ledger(&self, now: Instant) -> bool {
        let unwritten = *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.is_some_and(|last| now.since(last) < UNWRITTEN_FOR)
    }

    /// An upstream has answered.
    pub(crate) fn passed(&self, upstream: &Arc<str>) {
        if self.is.load(Ordering::Relaxed) {
            let mut sentences = self.lock();
            sentences.remove(&None);
            *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner) = None;
            sentences.remove(&Some(upstream.clone()));
            self.is.store(!sentences.is_empty(), Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Option<String> {
        self.lock().values().next().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<Arc<str>>, String>> {
        self.sentences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
