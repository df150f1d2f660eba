//! A gateway over real loopback sockets, between a scripted upstream and a client that sees every byte.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::call::{Call, CallId, Checkpoint, Class, Entry, Opening};
use domain::catalog::InForce;
use domain::config::{Client, Pacing, Rules};
use domain::time::{Instant, Now, Timestamp};
use gateway::secret::Secret;
use gateway::{
    AnswerKey, AnswerStore, Books, BooksClosed, BoxFuture, Clock, Config, Gateway, KeyUnavailable, Mount, Ports,
    ProxyUse, RetryRules, Secrets, StartError, StoredAnswer, Timeouts, Upstream,
};
use http::{Request, Response};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

pub(crate) const TOKEN: &str = "tg-test";
pub(crate) const KEY: &str = "sk-real-key";
/// Nothing in a test takes as long.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What the ledger was told, in order.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Opened(Opening),
    Checkpoint(Checkpoint),
    Settled(Box<Entry>),
}

pub(crate) struct FakeBooks {
    pub(crate) told: Mutex<Vec<Told>>,
    changed: Notify,
    /// Settles become durable while this is `true`.
    pub(crate) durable: watch::Sender<bool>,
    pub(crate) refuses_to_open: Mutex<bool>,
    pub(crate) refuses_to_settle: Mutex<bool>,
    /// A bug in somebody's code.
    pub(crate) panics_at_checkpoints: Mutex<bool>,
}

impl Default for FakeBooks {
    fn default() -> FakeBooks {
        FakeBooks {
            told: Mutex::default(),
            changed: Notify::new(),
            durable: watch::Sender::new(true),
            refuses_to_open: Mutex::new(false),
            refuses_to_settle: Mutex::new(false),
            panics_at_checkpoints: Mutex::new(false),
        }
    }
}

impl FakeBooks {
    fn tell(&self, told: Told) {
        self.told.lock().expect("books").push(told);
        self.changed.notify_waiters();
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let told = self.told.lock().expect("books");
        told.iter()
            .filter_map(|told| if let Told::Settled(entry) = told { Some((**entry).clone()) } else { None })
            .collect()
    }

    pub(crate) fn checkpoints(&self) -> Vec<Checkpoint> {
        let told = self.told.lock().expect("books");
        told.iter()
            .filter_map(|told| if let Told::Checkpoint(shown) = told { Some(shown.clone()) } else { None })
            .collect()
    }

    pub(crate) fn openings(&self) -> Vec<Opening> {
        let told = self.told.lock().expect("books");
        told.iter().filter_map(|told| if let Told::Opened(o) = told { Some(o.clone()) } else { None }).collect()
    }

    /// The only entry, once it is there.
    pub(crate) async fn entry(&self) -> Entry {
        let entries = self.until(|books| !books.entries().is_empty()).await.entries();
        assert_eq!(entries.len(), 1, "one call makes one entry");
        entries.into_iter().next().expect("an entry")
    }

    pub(crate) async fn until(&self, holds: impl Fn(&FakeBooks) -> bool) -> &FakeBooks {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("the ledger is told");
        self
    }
}

impl Books for FakeBooks {
    fn open(&self, _call: &Call, opening: &Opening) -> Result<(), BooksClosed> {
        if *self.refuses_to_open.lock().expect("books") {
            return Err(BooksClosed { reason: "the disk is full".into() });
        }
        self.tell(Told::Opened(opening.clone()));
        Ok(())
    }

    fn checkpoint(&self, _call: CallId, shown: &Checkpoint) {
        let panics = *self.panics_at_checkpoints.lock().expect("books");
        assert!(!panics, "a bug");
        self.tell(Told::Checkpoint(shown.clone()));
    }

    fn enter_once(&self, entries: Vec<Entry>) -> BoxFuture<Result<(), BooksClosed>> {
        entries.into_iter().for_each(|entry| self.tell(Told::Settled(Box::new(entry))));
        let mut durable = self.durable.subscribe();
        Box::pin(async move {
            let _ = durable.wait_for(|durable| *durable).await;
            Ok(())
        })
    }

    fn settle(&self, entry: &Entry) -> BoxFuture<Result<(), BooksClosed>> {
        self.tell(Told::Settled(Box::new(entry.clone())));
        let refused = *self.refuses_to_settle.lock().expect("books");
        let mut durable = self.durable.subscribe();
        Box::pin(async move {
            let _ = durable.wait_for(|durable| *durable).await;
            if refused { Err(BooksClosed { reason: "the disk is full".into() }) } else { Ok(()) }
        })
    }
}

#[derive(Default)]
pub(crate) struct FakeSecrets {
    pub(crate) missing: Mutex<bool>,
}

impl Secrets for FakeSecrets {
    fn key(&self, reference: &str, origin: &str) -> BoxFuture<Result<Arc<Secret>, KeyUnavailable>> {
        assert_eq!(reference, "keychain:test");
        assert!(origin.starts_with("http://127.0.0.1:"), "{origin}");
        let missing = *self.missing.lock().expect("secrets");
        Box::pin(async move {
            if missing {
                return Err(KeyUnavailable { reason: "the keychain is locked; unlock it".into() });
            }
            Ok(Arc::new(Secret::new(KEY.to_owned())))
        })
    }
}

/// Goes as the real one does until it is stopped, and jumps when a test says so. It begins at a noon: no day ends by itself.
pub(crate) struct TestClock {
    began: std::time::Instant,
    jumped: Mutex<Duration>,
    stopped: Mutex<Option<Duration>>,
}

impl TestClock {
    fn new() -> TestClock {
        let (jumped, stopped) = (Mutex::default(), Mutex::default());
        TestClock { began: std::time::Instant::now(), jumped, stopped }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let gone = self.stopped.lock().expect("a clock").unwrap_or_else(|| self.began.elapsed());
        let gone = gone + *self.jumped.lock().expect("a clock");
        let noon = Timestamp::parse("2026-11-25T12:00:00Z").expect("a time");
        Now { instant: Instant::from_nanos(1_000_000_000_000).after(gone), timestamp: noon.after(gone) }
    }
}

/// Whom the gateway tells of fallbacks and refusals.
#[derive(Default)]
pub(crate) struct Watched(Mutex<Vec<String>>);

impl Watched {
    /// What was told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.0.lock().expect("a list").clone()
    }
}

impl gateway::Watch for Watched {
    fn falls_back(&self, from: &str, to: &str, why: &str) {
        self.0.lock().expect("a list").push(format!("{from} to {to}: {why}"));
    }

    fn turns_away(&self, upstream: Option<&str>, code: &str) {
        self.0.lock().expect("a list").push(format!("{} {code}", upstream.unwrap_or("-")));
    }
}

/// Keeps answers in memory, or on a shelf where they have to be looked for.
#[derive(Default)]
pub(crate) struct FakeAnswers {
    at_hand: Mutex<HashMap<AnswerKey, Arc<StoredAnswer>>>,
    shelf: Mutex<HashMap<AnswerKey, Arc<StoredAnswer>>>,
}

impl FakeAnswers {
    pub(crate) fn kept(&self) -> Vec<Arc<StoredAnswer>> {
        self.at_hand.lock().expect("answers").values().cloned().collect()
    }

    /// As a restart does it.
    pub(crate) fn shelve(&self) {
        *self.shelf.lock().expect("answers") = std::mem::take(&mut *self.at_hand.lock().expect("answers"));
    }
}

impl AnswerStore for FakeAnswers {
    fn at_hand(&self, key: &AnswerKey) -> Option<Arc<StoredAnswer>> {
        self.at_hand.lock().expect("answers").get(key).cloned()
    }

    fn find(&self, key: &AnswerKey) -> BoxFuture<Option<Arc<StoredAnswer>>> {
        let found = self.at_hand(key).or_else(|| self.shelf.lock().expect("answers").get(key).cloned());
        Box::pin(async move {
            tokio::task::yield_now().await;
            found
        })
    }

    fn keep(&self, key: AnswerKey, answer: Arc<StoredAnswer>) {
        self.at_hand.lock().expect("answers").insert(key, answer);
    }
}

/// Answers its own path with what it was asked.
struct Echo;

impl Mount for Echo {
    fn owns(&self, path: &str) -> bool {
        path.starts_with("/tidegate/")
    }

    fn handle(&self, request: Request<Bytes>, _peer: SocketAddr) -> BoxFuture<Response<Bytes>> {
        Box::pin(async move { Response::new(request.into_body()) })
    }
}

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) books: Arc<FakeBooks>,
    pub(crate) secrets: Arc<FakeSecrets>,
    pub(crate) answers: Arc<FakeAnswers>,
    pub(crate) upstream: FakeUpstream,
    pub(crate) watch: Arc<Watched>,
    clock: Arc<TestClock>,
}

pub(crate) fn pacing() -> Pacing {
    Pacing {
        presumed: None,
        written: Vec::new(),
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::ZERO,
        windows: Vec::new(),
    }
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::try_with(change).await.expect("it starts")
    }

    pub(crate) async fn try_with(change: impl FnOnce(&mut Config)) -> Result<World, StartError> {
        let world = World::bound(change).await?;
        world.gateway.open();
        Ok(world)
    }

    /// It has its port and takes no calls yet.
    pub(crate) async fn bound(change: impl FnOnce(&mut Config)) -> Result<World, StartError> {
        let upstream = FakeUpstream::start().await;
        let mut config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            allow_remote: false,
            max_wait: Duration::from_secs(600),
            rules: Rules { queue_max: 100, ..Rules::default() },
            host_names: Vec::new(),
            allowed_origins: vec!["app://one".into()],
            body_budget: 512 << 20,
            timeouts: Timeouts::default(),
            proxy: ProxyUse::None,
            upstreams: vec![Upstream {
                name: "fake".into(),
                base_url: format!("http://{}/base", upstream.address),
                key: Some("keychain:test".into()),
                models: Vec::new(),
                lacks: domain::routing::Capabilities::NONE,
                pacing: pacing(),
            }],
            retry: RetryRules::default(),
            fallbacks: Vec::new(),
            budgets: Vec::new(),
            catalog: InForce::default(),
            attributes: Default::default(),
            cache: None,
        };
        change(&mut config);
        let (books, secrets) = (Arc::new(FakeBooks::default()), Arc::new(FakeSecrets::default()));
        let (answers, clock) = (Arc::new(FakeAnswers::default()), Arc::new(TestClock::new()));
        let watch = Arc::new(Watched::default());
        let ports = Ports {
            books: books.clone(),
            secrets: secrets.clone(),
            clock: clock.clone(),
            answers: answers.clone(),
            watch: watch.clone(),
        };
        let gateway = Gateway::bind(config, ports, vec![Arc::new(Echo)]).await?;
        gateway.set_clients(vec![(Sha256::digest(TOKEN).into(), Arc::new(client()))]);
        Ok(World { gateway, books, secrets, answers, upstream, watch, clock })
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// However slow the machine is, no time goes by any more unless the test says so.
    pub(crate) fn stop_the_clock(&self) {
        *self.clock.stopped.lock().expect("a clock") = Some(self.clock.began.elapsed());
    }

    /// Both clocks jump, and everyone who waits is judged again.
    pub(crate) fn skip(&self, time: Duration) {
        *self.clock.jumped.lock().expect("a clock") += time;
        self.gateway.resume(Class::Critical);
    }

    pub(crate) async fn connect(&self) -> Peer {
        let socket = TcpStream::connect(self.gateway.address()).await.expect("it listens");
        Peer { socket, read: Vec::new() }
    }

    /// Sends a call and hands over the connection.
    pub(crate) async fn call(&self, extra_headers: &str, body: &str) -> Peer {
        let mut peer = self.connect().await;
        peer.send(&self.request("POST", "/v1/messages?beta=true", extra_headers, body)).await;
        peer
    }

    pub(crate) fn request(&self, method: &str, target: &str, extra_headers: &str, body: &str) -> String {
        let (host, length) = (self.gateway.address(), body.len());
        format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {TOKEN}\r\ncontent-length: {length}\r\n{extra_headers}\r\n{body}"
        )
    }
}

pub(crate) fn client() -> Client {
    Client {
        name: "ci".into(),
        class: Class::Normal,
        weight: 1,
        person: None,
        project: None,
        daily: None,
        weekly: None,
        monthly: None,
        max_share: None,
    }
}

/// A client's end of a connection.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.expect("the gateway reads");
    }

    /// Everything up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let wait = async {
            loop {
                if let Some(at) = memchr::memmem::find(&self.read, end.as_bytes()) {
                    let rest = self.read.split_off(at + end.len());
                    let head = std::mem::replace(&mut self.read, rest);
                    return String::from_utf8_lossy(&head).into_owned();
                }
                if self.socket.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    panic!("ended before {end:?}: {}", String::from_utf8_lossy(&self.read));
                }
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("no {end:?} in time"))
    }

    /// Nothing more has come a moment from now.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let moment = Duration::from_millis(50);
        self.read.is_empty() && tokio::time::timeout(moment, self.socket.read_buf(&mut self.read)).await.is_err()
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.read_until("\r\n\r\n").await;
        let mut answer = Answer::parse(&head);
        let length = answer.header("content-length").map(|length| length.parse().expect("a length"));
        match length {
            Some(length) => answer.body = self.read_bytes(length).await,
            None if answer.status == 204 => {}
            None => answer.body = self.read_chunks().await,
        }
        answer
    }

    async fn read_bytes(&mut self, length: usize) -> Vec<u8> {
        let wait = async {
            while self.read.len() < length {
                if self.socket.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("a body in time");
        let rest = self.read.split_off(length.min(self.read.len()));
        std::mem::replace(&mut self.read, rest)
    }

    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.read_until("\r\n").await;
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            let chunk = self.read_bytes(size + 2).await;
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// What still comes until the connection ends.
    pub(crate) async fn rest(&mut self) -> String {
        let wait = async { while self.socket.read_buf(&mut self.read).await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(SOON, wait).await.expect("the connection ends");
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn parse(head: &str) -> Answer {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Answer { status: status.parse().expect("a status"), headers, body: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn error_code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("an envelope");
        assert_eq!(body["type"], "error");
        body["error"]["details"]["error_code"].as_str().expect("a code").to_owned()
    }
}

/// Hands each request to the test, which answers it byte by byte.
pub(crate) struct FakeUpstream {
    pub(crate) address: SocketAddr,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
}

/// A request that has arrived at the upstream, and its connection.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) socket: TcpStream,
}

impl FakeUpstream {
    pub(crate) async fn start() -> FakeUpstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    if let Some(asked) = Asked::read(socket).await {
                        let _ = tell.send(asked);
                    }
                });
            }
        });
        FakeUpstream { address, asked: tokio::sync::Mutex::new(asked) }
    }

    pub(crate) async fn asked(&self) -> Asked {
        let mut asked = self.asked.lock().await;
        tokio::time::timeout(SOON, asked.recv()).await.expect("a request in time").expect("the upstream runs")
    }

    /// Nothing has been asked a moment from now.
    pub(crate) async fn is_idle(&self) -> bool {
        let mut asked = self.asked.lock().await;
        tokio::time::timeout(Duration::from_millis(50), asked.recv()).await.is_err()
    }
}

impl Asked {
    async fn read(mut socket: TcpStream) -> Option<Asked> {
        let mut read = Vec::new();
        let end = loop {
            if let Some(at) = memchr::memmem::find(&read, b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        let mut body = read.split_off(end);
        let head = String::from_utf8(read).ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while body.len() < length {
            if socket.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some(Asked { head, body, socket })
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.expect("the gateway reads");
    }

    /// A whole answer of a known length.
    pub(crate) async fn answer(&mut self, status: u16, headers: &str, body: &str) {
        self.answer_bytes(status, headers, body.as_bytes()).await;
    }

    pub(crate) async fn answer_bytes(&mut self, status: u16, headers: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        self.socket.write_all(&[head.as_bytes(), body].concat()).await.expect("the gateway reads");
    }

    pub(crate) async fn start_stream(&mut self) {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n").await;
    }

    pub(crate) async fn chunk(&mut self, text: &str) {
        self.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// The next request on the same connection.
    pub(crate) async fn again(self) -> Asked {
        let next = Asked::read(self.socket);
        tokio::time::timeout(SOON, next).await.expect("a request in time").expect("a request")
    }

    /// Has the gateway closed the connection?
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(SOON, self.socket.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}
