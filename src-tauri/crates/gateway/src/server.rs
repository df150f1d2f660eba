//! Listens, hands each request to where it belongs, and stops in good order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use domain::call::CallId;
use domain::config::Client;
use futures_util::FutureExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error as ThisError;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::answers::Answer;
use crate::asking::{Retries, SpentAccounts};
use crate::bodies::{Bodies, NotHeld};
use crate::caching::Caching;
use crate::connection::{Busy, Handle, Judged};
use crate::door::Door;
use crate::error::Error;
use crate::guard::{self, Browser, Guard};
use crate::live::{LiveCall, Traffic};
use crate::pipeline::{Phase, Pipeline, Trouble};
use crate::reserving::Reserving;
use crate::returning::Returning;
use crate::seldom::Seldom;
use crate::upstream::Upstream;
use crate::words::Words;
use crate::{BadUpstream, Config, Mount, Ports};

/// A gateway that runs until it is drained or dropped.
pub struct Gateway {
    server: Arc<Server>,
    address: SocketAddr,
    door_keeper: JoinHandle<()>,
    /// Holds the port while it runs.
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// Why the gateway can't start.
#[derive(Debug, ThisError)]
pub enum StartError {
    #[error("{0} is in use by another program; end that one or set another `listen` address")]
    InUse(SocketAddr),
    #[error("{0} is open to other machines; set allow_remote = true if that is meant, or listen on 127.0.0.1")]
    Remote(SocketAddr),
    #[error("can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Upstream(#[from] BadUpstream),
}

struct Server {
    pipeline: Arc<Pipeline>,
    guard: Guard,
    mounts: Vec<Arc<dyn Mount>>,
    connections: Mutex<HashMap<u64, Arc<Handle>>>,
    left: Notify,
    connections_max: usize,
    next_connection: AtomicU64,
    http: http1::Builder,
}

/// Beside as many as may wait.
const CONNECTIONS_SPARE: usize = 2_048;
const CLOSING: Duration = Duration::from_secs(1);
const AFTER_PANIC: Duration = Duration::from_secs(1);
const MOUNT_BYTES_MAX: u64 = 4 << 20;
const RESERVATION_BYTES_MAX: u64 = 64 << 10;
const READ_BUFFER_BYTES_MAX: usize = 256 << 10;

impl Gateway {
    /// Binds and takes calls when it returns.
    pub async fn start(config: Config, ports: Ports, mounts: Vec<Arc<dyn Mount>>) -> Result<Gateway, StartError> {
        let gateway = Gateway::bind(config, ports, mounts).await?;
        gateway.open();
        Ok(gateway)
    }

    /// Holds the port and takes no call yet: who connects waits for `open`. Until then it can be told what was before.
    #[expect(clippy::unused_async, reason = "it starts tasks, and only an async caller has a runtime for them")]
    pub async fn bind(config: Config, ports: Ports, mounts: Vec<Arc<dyn Mount>>) -> Result<Gateway, StartError> {
        if !guard::may_listen(config.listen, config.allow_remote) {
            return Err(StartError::Remote(config.listen));
        }
        let pipeline = Arc::new(pipeline(&config, ports)?);
        let listener = listen(config.listen)?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let server = Arc::new(Server {
            guard: Guard::new(address, &config.host_names, &config.allowed_origins),
            pipeline,
            mounts,
            connections: Mutex::default(),
            left: Notify::new(),
            connections_max: config.rules.queue_max + CONNECTIONS_SPARE,
            next_connection: AtomicU64::new(0),
            http: http(),
        });
        let (door, accepting, listener) = (server.pipeline.door.clone(), server.clone(), Arc::new(listener));
        let (placing, probing) = (server.pipeline.clone(), server.pipeline.clone());
        let door_keeper = tokio::spawn(through_panics(move || door.clone().keep()));
        let accepting = through_panics(move || accepting.clone().accept(listener.clone()));
        let listener = Mutex::new(Some(tokio::spawn(accepting)));
        tokio::spawn(through_panics(move || placing.clone().keep_places()));
        tokio::spawn(through_panics(move || probing.clone().keep_probing()));
        let gateway = Gateway { server, address, door_keeper, listener };
        gateway.set_budgets(config.budgets);
        Ok(gateway)
    }

    /// Takes calls from now on.
    pub fn open(&self) {
        self.pipeline().phase.send_if_modified(|phase| {
            let closed = *phase == Phase::Closed;
            if closed {
                *phase = Phase::Open;
            }
            closed
        });
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who may call, by the SHA-256 of their tokens. In force for the next request.
    pub fn set_clients(&self, clients: Vec<([u8; 32], Arc<Client>)>) {
        let clients = Arc::new(clients.into_iter().collect());
        *self.pipeline().clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        self.pipeline().renew_budgets();
    }

    pub fn traffic(&self) -> Traffic {
        Traffic(self.pipeline().live.clone())
    }

    /// Newest first: calls that wait or run, then the last 50 that ended.
    pub fn live(&self) -> Vec<LiveCall> {
        self.pipeline().live.calls(self.pipeline().now().timestamp)
    }

    /// One sentence where something keeps calls from leaving, such as a locked keychain.
    pub fn trouble(&self) -> Option<String> {
        self.pipeline().trouble.now()
    }

    pub fn is_draining(&self) -> bool {
        *self.pipeline().phase.borrow() >= Phase::Draining
    }

    /// Takes nothing new, lets what runs finish for at most `patience`, and stops. What still runs then is settled as interrupted.
    /// The port is free when it returns.
    pub async fn drain(&self, patience: Duration) {
        self.pipeline().phase.send_replace(Phase::Draining);
        // Whose call has ended may still have to read its last bytes.
        let finished = tokio::time::timeout(patience, self.pipeline().live.empty()).await.is_ok();
        self.pipeline().phase.send_replace(Phase::Closing);
        if finished {
            let _ = tokio::time::timeout(CLOSING, self.server.empty()).await;
        }
        self.pipeline().phase.send_replace(Phase::Stopped);
        // Connections drop their calls, which settle in dropping.
        let _ = tokio::time::timeout(CLOSING, self.pipeline().live.empty()).await;
        if let Some(listener) = self.listener() {
            let _ = listener.await;
        }
    }

    fn listener(&self) -> Option<JoinHandle<()>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.server.pipeline
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.pipeline().phase.send_replace(Phase::Stopped);
        self.door_keeper.abort();
        if let Some(listener) = self.listener() {
            listener.abort();
        }
    }
}

fn pipeline(config: &Config, ports: Ports) -> Result<Pipeline, BadUpstream> {
    let door = Arc::new(Door::new(&config.rules, ports.clock.clone()));
    let upstreams = config
        .upstreams
        .iter()
        .map(|settings| {
            let account = door.add_account(settings.name.as_str().into(), settings.pacing.clone());
            Upstream::new(settings, account, &config.timeouts, &config.proxy)
        })
        .collect::<Result<_, _>>()?;
    Ok(Pipeline {
        books: ports.books,
        secrets: ports.secrets,
        clock: ports.clock,
        caching: Caching::new(config.cache, ports.answers),
        watch: ports.watch,
        catalog: config.catalog.clone(),
        attributes: config.attributes.clone(),
        door,
        bodies: Bodies::new(config.body_budget),
        live: Arc::default(),
        upstreams,
        fallbacks: config.fallbacks.clone(),
        retries: Retries::new(config.retry),
        spent: SpentAccounts::default(),
        failing: Notify::new(),
        clients: RwLock::default(),
        max_wait: config.max_wait,
        timeouts: config.timeouts,
        phase: watch::Sender::new(Phase::Closed),
        trouble: Trouble::default(),
        oddities: Seldom::new(),
        words: Words::of(&config.rules, &config.upstreams),
        returning: Returning::default(),
        reserved: Notify::new(),
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without it a restart would wait for old connections to be forgotten.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(4_096)
    };
    bound().map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            StartError::InUse(address)
        } else {
            StartError::Listen { address, source }
        }
    })
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // Times and bounds of heads are kept by `connection` and `guard::framing`, which see the bytes first.
    http.max_headers(guard::framing::HEADERS_MAX + 1).max_buf_size(READ_BUFFER_BYTES_MAX);
    http
}

impl Server {
    async fn accept(self: Arc<Server>, listener: Arc<TcpListener>) {
        let mut phase = self.pipeline.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase != Phase::Closed).await;
        loop {
            let accepted = tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stopped) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    tokio::spawn(self.clone().connection(socket, peer));
                }
                Err(error) => {
                    // Out of file handles: the next attempt would fail too.
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Server>, socket: TcpStream, peer: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let handle = Handle::new();
        let (number, over) = self.enlist(&handle);
        let _leave = Leave { server: &self, number };
        let service = service_fn(|request| {
            let (server, busy) = (self.clone(), Busy::with(&handle));
            async move {
                let response = if over { server.turned_away() } else { server.respond(request, peer).await };
                Ok::<_, Infallible>(response.map(|answer| answer.keeps(busy)))
            }
        });
        let io = TokioIo::new(Judged::new(socket, handle.clone()));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let mut phase = self.pipeline.phase.subscribe();
        let mut ends = Phase::Closing;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = phase.wait_for(|phase| *phase >= ends) => {
                    if ends == Phase::Stopped {
                        return;
                    }
                    ends = Phase::Stopped;
                }
                () = handle.close.notified() => {}
            }
            connection.as_mut().graceful_shutdown();
        }
    }

    /// Counts the connection in. `true`: there are too many and none is idle.
    fn enlist(&self, handle: &Arc<Handle>) -> (u64, bool) {
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut over = connections.len() >= self.connections_max;
        if over {
            let longest =
                connections.values().filter_map(|other| Some((other.idle_since()?, other))).min_by_key(|idle| idle.0);
            if let Some((_, idle)) = longest {
                idle.end();
                over = false;
            }
        }
        connections.insert(number, handle.clone());
        (number, over)
    }

    /// Ends when no connection is open.
    async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.connections.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            left.await;
        }
    }

    fn turned_away(&self) -> Response<Answer> {
        Error::Connections.response(&self.fresh_id()).map(Answer::whole)
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let (mut response, browser) = match self.admit(&request) {
            Ok((_, Browser::Preflight(origin))) => (preflight(), Browser::Page(origin)),
            Ok((own, browser)) => (self.route(request, &own, peer).await, browser),
            Err(error) => (self.refused(&error), Browser::Absent),
        };
        protect(&mut response, &browser);
        let last = *self.pipeline.phase.borrow() != Phase::Open;
        // Nobody has judged what follows a chunked body.
        if chunked || last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Rules 5 and 6. Gives the address that the caller knows us by.
    fn admit(&self, request: &Request<Incoming>) -> Result<(String, Browser), Error> {
        let host = self.guard.host(request.headers())?;
        let browser = self.guard.browser(request.method(), request.headers(), host)?;
        Ok((format!("http://{host}"), browser))
    }

    async fn route(&self, request: Request<Incoming>, own: &str, peer: SocketAddr) -> Response<Answer> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/healthz") => word(StatusCode::OK, "ok"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready(),
            (_, path) if path.starts_with("/v1/") => self.upstream_path(request, own).await,
            (_, path) if Reserving::is_at(path) => self.reservation(request).await,
            (_, path) => match self.mounts.iter().find(|mount| mount.owns(path)) {
                Some(mount) if guard::may_reach_mounts(peer) => self.mounted(mount.as_ref(), request, peer).await,
                Some(_) | None => self.refused(&Error::NotFound),
            },
        }
    }

    async fn upstream_path(&self, request: Request<Incoming>, own: &str) -> Response<Answer> {
        let client = match self.client(&request) {
            Ok(client) => client,
            Err(error) => return self.refused(&error),
        };
        let path = request.uri().path();
        if request.method() == Method::POST && path == "/v1/messages" {
            return self.pipeline.call(&client, request).await;
        }
        // No second spelling of a path may lead past the entry that the first would make.
        if path.contains("//") || path.contains('%') || path.ends_with('/') {
            return self.refused(&Error::NotFound);
        }
        self.pipeline.pass(&client, request, own).await.unwrap_or_else(|error| self.refused(&error))
    }

    async fn reservation(&self, request: Request<Incoming>) -> Response<Answer> {
        let client = match self.client(&request) {
            Ok(client) => client,
            Err(error) => return self.refused(&error),
        };
        let (head, body) = request.into_parts();
        let answered = match self.pipeline.bodies.hold(body, RESERVATION_BYTES_MAX, self.pipeline.max_wait).await {
            Ok(held) => Reserving::read(&head.method, head.uri.path(), &held.bytes)
                .and_then(|asked| self.pipeline.reserve(&client, asked)),
            Err(NotHeld::Refused(error)) => Err(error),
            Err(NotHeld::Gone) => Err(Error::BodyStopped),
        };
        answered.map_or_else(|error| self.refused(&error), |answer| answer.map(Answer::whole))
    }

    fn client(&self, request: &Request<Incoming>) -> Result<Arc<Client>, Error> {
        let clients = self.pipeline.clients.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.guard.token(request.headers(), &clients, self.pipeline.now().instant)
    }

    async fn mounted(&self, mount: &dyn Mount, request: Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
        let (head, body) = request.into_parts();
        match self.pipeline.bodies.hold(body, MOUNT_BYTES_MAX, self.pipeline.max_wait).await {
            Ok(held) => mount.handle(Request::from_parts(head, held.bytes), peer).await.map(Answer::whole),
            Err(NotHeld::Refused(error)) => self.refused(&error),
            Err(NotHeld::Gone) => self.refused(&Error::BodyStopped),
        }
    }

    fn ready(&self) -> Response<Answer> {
        let is_unwritten = self.pipeline.trouble.is_of_the_ledger(self.pipeline.now().instant);
        match *self.pipeline.phase.borrow() {
            Phase::Open if is_unwritten => word(StatusCode::SERVICE_UNAVAILABLE, "ledger"),
            Phase::Open => word(StatusCode::OK, "ready"),
            Phase::Closed | Phase::Draining | Phase::Closing | Phase::Stopped => {
                word(StatusCode::SERVICE_UNAVAILABLE, "draining")
            }
        }
    }

    fn refused(&self, error: &Error) -> Response<Answer> {
        error.response(&self.fresh_id()).map(Answer::whole)
    }

    fn fresh_id(&self) -> String {
        CallId::new(self.pipeline.now().timestamp, self.pipeline.chance()).to_string()
    }
}

/// Takes its connection off the list.
struct Leave<'a> {
    server: &'a Server,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.server.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.server.left.notify_waiters();
    }
}

fn word(status: StatusCode, word: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(Bytes::from_static(word.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn preflight() -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What every answer says to browsers.
fn protect(response: &mut Response<Answer>, browser: &Browser) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Browser::Page(origin) | Browser::Preflight(origin) = browser {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// What all calls need begins anew where it panics, a moment later.
async fn through_panics<F: Future<Output = ()>>(begin: impl Fn() -> F) {
    while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
        tokio::time::sleep(AFTER_PANIC).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_until_it_ends_by_itself() {
        let begun = Cell::new(0);
        through_panics(|| {
            begun.set(begun.get() + 1);
            async { assert!(begun.get() > 2, "a bug") }
        })
        .await;
        assert_eq!(begun.get(), 3);
    }
}
