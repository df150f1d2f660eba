//! The life of a call, from the request to the answer. Read this first.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use domain::admission::Demand;
use domain::attribution::AttributeRule;
use domain::call::Outcome;
use domain::catalog::InForce;
use domain::config::Client;
use domain::time::Now;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};

use crate::answers::{Answer, Metered};
use crate::bodies::{Bodies, Held, MESSAGES_BYTES_MAX, NotHeld};
use crate::caching::{Asks, Caching, Given};
use crate::departing::{Departing, Departure};
use crate::door::Door;
use crate::entry::{Ending, OpenEntry};
use crate::error::Error;
use crate::live::Live;
use crate::returning::Returning;
use crate::seldom::Seldom;
use crate::upstream::{self, NoAnswer, Upstream};
use crate::wire::anthropic::{self, NotACall};
use crate::words::Words;
use crate::{Books, Clock, Secrets, Timeouts, headers};

/// Everything a call meets on its way.
pub(crate) struct Pipeline {
    pub(crate) books: Arc<dyn Books>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) caching: Caching,
    pub(crate) catalog: InForce,
    pub(crate) attributes: Arc<[AttributeRule]>,
    pub(crate) door: Arc<Door>,
    pub(crate) bodies: Bodies,
    pub(crate) live: Live,
    pub(crate) upstreams: Vec<Upstream>,
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

/// After so many answers 429 the client gets the last.
const LIMITED_MAX: u32 = 3;
impl Pipeline {
    /// One call, whole. Whatever happens in it, its entry is closed exactly once.
    pub(crate) async fn call(self: &Arc<Self>, client: &Client, request: Request<Incoming>) -> Response<Answer> {
        let mut entry = OpenEntry::begin(self.clone(), client, request.headers());
        match self.answer(&mut entry, client, request).await {
            Ok(Given::Fresh(answer)) => self.through(answer, entry).await,
            Ok(Given::Again(kept)) => self.give_again(&kept, entry).await,
            Err(error) => refuse(&error, entry).await,
        }
    }

    async fn answer(&self, entry: &mut OpenEntry, client: &Client, request: Request<Incoming>) -> Result<Given, Error> {
        let (head, body) = request.into_parts();
        let body = self.hold(entry, body, headers::max_wait(&head.headers, self.max_wait)).await?;
        let sent = Sent::of(&head, body);
        if let Some(taken) = self.place_of_earlier_try(entry, &sent) {
            entry.comes_back(taken);
        }
        let peek = parse(sent.body())?;
        entry.arrived(&peek, sent.body().len());
        let upstream = self.upstreams.first().ok_or(Error::NoUpstream)?;
        let asks = Asks { upstream, sent: &sent, headers: &head.headers, offers_tools: peek.offers_tools };
        if let Some(kept) = self.answer_of_another(entry, asks).await {
            return Ok(Given::Again(kept));
        }
        let demand = self.demand(entry, client, upstream, &head.headers);
        let headers = self.outgoing(upstream, head.headers).await?;
        self.send_until_answered(entry, upstream, &demand, &sent, &headers).await.map(Given::Fresh)
    }

    /// Attempt after attempt, each through the door, until one has an answer worth giving.
    async fn send_until_answered(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        demand: &Demand,
        sent: &Sent,
        headers: &HeaderMap,
    ) -> Result<Response<reqwest::Body>, Error> {
        let mut limited = 0;
        let mut lost = false;
        // What the client gets where the next attempt doesn't fit its wait.
        let mut last: Option<Result<Response<reqwest::Body>, Error>> = None;
        loop {
            match self.enter(entry, demand, sent).await {
                Ok(pass) => entry.admitted(pass),
                Err(refusal) => return last.unwrap_or(Err(refusal)),
            }
            match self.send(entry, upstream, sent, headers).await? {
                Ok(answer) => {
                    let (answer, waiting_helps) = self.heed(entry, upstream, answer).await?;
                    limited += 1;
                    if limited >= LIMITED_MAX || !waiting_helps {
                        return Ok(answer);
                    }
                    last = Some(Ok(answer));
                    entry.again("rate_limit_error", false);
                }
                Err(NoAnswer::Lost) if !lost => {
                    lost = true;
                    entry.again("connection_lost", true);
                    last = Some(Err(Error::Lost { upstream: upstream.name.to_string() }));
                }
                Err(why) => return Err(no_answer(entry, upstream, why)),
            }
        }
    }

    /// One attempt: written down before it leaves.
    async fn send(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        sent: &Sent,
        headers: &HeaderMap,
    ) -> Result<Result<Response<reqwest::Body>, NoAnswer>, Error> {
        entry.leaves(&upstream.name).map_err(|closed| self.trouble.says(Error::Ledger { reason: closed.reason }))?;
        let (body, departure) = Departing::with(sent.body.bytes.clone());
        let answer = upstream.send(Method::POST, &sent.target, headers.clone(), body);
        Ok(watched(entry, answer, departure).await)
    }

    /// The answer on its way to the client, with the entry that it closes.
    async fn through(&self, answer: Response<reqwest::Body>, mut entry: OpenEntry) -> Response<Answer> {
        let (mut head, body) = answer.into_parts();
        upstream::incoming(&mut head.headers);
        mark(&mut head.headers, &entry);
        let body = if http_body::Body::is_end_stream(&body) {
            let error = Some("not_an_api_answer".into());
            let ending = Ending { outcome: Outcome::Failed, status: head.status.as_u16(), error };
            let _ = entry.close(ending).await;
            Answer::empty()
        } else {
            Answer::metered(Metered::new(head.status, &head.headers, body, self.timeouts.idle, entry))
        };
        Response::from_parts(head, body)
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
            let key = key.map_err(|unavailable| self.trouble.says(Error::Key { reason: unavailable.reason }))?;
            upstream::show_key(&mut headers, &key).map_err(|_| {
                let reason = format!("the key {reference} holds characters that no header can carry; set it again");
                self.trouble.says(Error::Key { reason })
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

    pub(crate) fn body(&self) -> &[u8] {
        &self.body.bytes
    }
}

pub(crate) fn parse(body: &[u8]) -> Result<anthropic::Peek<'_>, Error> {
    anthropic::peek(body).map_err(|why| match why {
        NotACall::NoObject => Error::NoObject,
        NotACall::NoModel => Error::NoModel,
    })
}

/// Waits for the answer, and meanwhile for the moment at which the request really leaves: a new connection takes its time.
async fn watched<A>(entry: &OpenEntry, answer: impl Future<Output = A>, departure: Departure) -> A {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        Ok(()) = departure => entry.departs(),
        answer = &mut answer => return answer,
    }
    answer.await
}

/// Our own answer, once the entry says so too.
pub(crate) async fn refuse(error: &Error, mut entry: OpenEntry) -> Response<Answer> {
    let mut response = error.response(&entry.call().id.to_string()).map(Answer::whole);
    mark(response.headers_mut(), &entry);
    if !entry.is_closed() {
        let _ = entry.close(entry.ending(error)).await;
    }
    response
}

fn no_answer(entry: &mut OpenEntry, upstream: &Upstream, why: NoAnswer) -> Error {
    let upstream = upstream.name.to_string();
    match why {
        NoAnswer::Unreachable(reason) => {
            entry.never_left();
            Error::Unreachable { upstream, reason }
        }
        NoAnswer::Lost => Error::Lost { upstream },
        NoAnswer::Silent(after) => Error::Silent { upstream, after },
    }
}

const CALL: HeaderName = HeaderName::from_static("x-tidegate-call");
const WAITED: HeaderName = HeaderName::from_static("x-tidegate-waited-ms");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const UPSTREAM: HeaderName = HeaderName::from_static("x-tidegate-upstream");
const CACHE: HeaderName = HeaderName::from_static("x-tidegate-cache");

/// Says what happened to the call.
pub(crate) fn mark(headers: &mut HeaderMap, entry: &OpenEntry) {
    let mut set = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    set(CALL, entry.call().id.to_string());
    set(WAITED, entry.waited().as_millis().to_string());
    set(ATTEMPTS, entry.attempts().len().to_string());
    if let Some(attempt) = entry.attempts().last() {
        set(UPSTREAM, attempt.upstream.to_string());
    }
    headers.insert(CACHE, HeaderValue::from_static(entry.cache().name()));
}

/// What keeps calls from leaving, until one leaves.
#[derive(Default)]
pub(crate) struct Trouble {
    is: AtomicBool,
    sentence: Mutex<String>,
}

impl Trouble {
    pub(crate) fn says(&self, error: Error) -> Error {
        *self.sentence.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        self.is.store(true, Ordering::Relaxed);
        error
    }

    pub(crate) fn passed(&self) {
        self.is.store(false, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Option<String> {
        let sentence = || self.sentence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.is.load(Ordering::Relaxed).then(sentence)
    }
}
