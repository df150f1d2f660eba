//! The load generator: keep-alive connections that send ready-made bytes and read no more than they must.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use support::http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::targets::Target;

/// A request, but for the host and the credential.
pub(crate) struct Load {
    body: String,
}

impl Load {
    /// About 1 kB out and as much back.
    pub(crate) fn message(stream: bool) -> Load {
        Load::new(stream, 256, &format!("{} [[output 100]]", "The tide comes in and goes out again. ".repeat(22)))
    }

    /// An image of 1 MB out, little back.
    pub(crate) fn big() -> Load {
        let image = "iVBORw0KGgo".repeat(95_000);
        Load {
            body: format!(
                r#"{{"model":"claude-sonnet-4-5","max_tokens":16,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{image}A"}}}},{{"type":"text","text":"What is this? [[output 5]]"}}]}}]}}"#
            ),
        }
    }

    pub(crate) fn long_stream(tokens: usize) -> Load {
        Load::new(true, tokens, &format!("Go on. [[output {tokens}]]"))
    }

    fn new(stream: bool, max_tokens: usize, prompt: &str) -> Load {
        Load {
            body: format!(
                r#"{{"model":"claude-sonnet-4-5","max_tokens":{max_tokens},"stream":{stream},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
            ),
        }
    }

    fn bytes(&self, target: &Target) -> Rc<[u8]> {
        let request = Request::message(self.body.clone()).header("x-api-key", &target.token);
        request.to_bytes(&target.address).into()
    }
}

/// How long a closed loop goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    For(Duration),
    Calls(usize),
}

/// Microseconds of each call, and how long all took together.
pub(crate) struct Closed {
    pub(crate) times: Vec<f64>,
    elapsed: Duration,
}

impl Closed {
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// `width` connections, each sending the next call when the last is answered.
pub(crate) async fn closed(target: &Target, load: &Load, width: usize, asked: Asked) -> anyhow::Result<Closed> {
    let request = load.bytes(target);
    let mut connections = Vec::new();
    for _ in 0..width {
        connections.push(Lean::open(&target.address).await?);
    }
    let started = Instant::now();
    let mut loops = JoinSet::new();
    let local = tokio::task::LocalSet::new();
    for mut connection in connections {
        let request = request.clone();
        loops.spawn_local_on(async move { connection.go_on(&request, started, asked).await }, &local);
    }
    let mut times = Vec::new();
    local
        .run_until(async {
            while let Some(done) = loops.join_next().await {
                times.extend(done??)
            }
            anyhow::Ok(())
        })
        .await?;
    target.count(times.len());
    Ok(Closed { times, elapsed: started.elapsed() })
}

/// `rate` calls a second, evenly, each on a free connection; microseconds of each.
pub(crate) async fn paced(target: &Target, load: &Load, rate: f64, turn: Duration) -> anyhow::Result<Vec<f64>> {
    let request = load.bytes(target);
    let free: Rc<RefCell<Vec<Lean>>> = Rc::default();
    let calls = (rate * turn.as_secs_f64()).round() as u32;
    let local = tokio::task::LocalSet::new();
    let mut running = JoinSet::new();
    let started = tokio::time::Instant::now();
    let times = local.run_until(async {
        for i in 0..calls {
            tokio::time::sleep_until(started + Duration::from_secs_f64(f64::from(i) / rate)).await;
            let found = free.borrow_mut().pop();
            let mut connection = match found {
                Some(connection) => connection,
                None => Lean::open(&target.address).await?,
            };
            let (request, free) = (request.clone(), free.clone());
            running.spawn_local(async move {
                let time = connection.call(&request).await?;
                free.borrow_mut().push(connection);
                anyhow::Ok(time)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = running.join_next().await {
            times.push(done??);
        }
        anyhow::Ok(times)
    });
    let times = times.await?;
    target.count(times.len());
    Ok(times)
}

/// One stream after the other; microseconds until the first event with content.
pub(crate) async fn first_events(target: &Target, load: &Load, turn: Duration) -> anyhow::Result<Vec<f64>> {
    let request = load.bytes(target);
    let mut connection = Lean::open(&target.address).await?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < turn || times.is_empty() {
        times.push(connection.first_event(&request).await?);
    }
    target.count(times.len());
    Ok(times)
}

pub(crate) struct Streams {
    pub(crate) whole: usize,
    /// Microseconds between one piece and the next, over all streams.
    pub(crate) gaps: Vec<f64>,
}

/// `width` streams at once, started within a second.
pub(crate) async fn streams(target: &Target, load: &Load, width: usize) -> anyhow::Result<Streams> {
    let request = load.bytes(target);
    let (gaps, whole) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let local = tokio::task::LocalSet::new();
    let mut running = JoinSet::new();
    for i in 0..width {
        let (request, gaps, whole, address) = (request.clone(), gaps.clone(), whole.clone(), target.address.clone());
        running.spawn_local_on(
            async move {
                tokio::time::sleep(Duration::from_millis(1000 * i as u64 / width as u64)).await;
                let found = Lean::open(&address).await?.gaps(&request).await?;
                whole.set(whole.get() + 1);
                gaps.borrow_mut().extend(found);
                anyhow::Ok(())
            },
            &local,
        );
    }
    local
        .run_until(async {
            while let Some(done) = running.join_next().await {
                done??
            }
            anyhow::Ok(())
        })
        .await?;
    target.count(width);
    Ok(Streams { whole: whole.get(), gaps: gaps.take() })
}

/// A connection that knows of HTTP only where an answer ends.
struct Lean {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Lean {
    async fn open(address: &str) -> anyhow::Result<Lean> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Lean { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    async fn go_on(&mut self, request: &[u8], started: Instant, asked: Asked) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        loop {
            times.push(self.call(request).await?);
            let enough = match asked {
                Asked::For(turn) => started.elapsed() >= turn,
                Asked::Calls(calls) => times.len() >= calls,
            };
            if enough {
                return Ok(times);
            }
        }
    }

    /// Microseconds from the first byte out to the last byte back.
    async fn call(&mut self, request: &[u8]) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.send(request).await?;
        while !self.is_whole()? {
            self.read().await?;
        }
        Ok(micros(started.elapsed()))
    }

    async fn first_event(&mut self, request: &[u8]) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.send(request).await?;
        while find(&self.buffer, b"content_block_delta").is_none() {
            self.read().await?;
        }
        let first = micros(started.elapsed());
        while !self.is_whole()? {
            self.read().await?;
        }
        Ok(first)
    }

    async fn gaps(&mut self, request: &[u8]) -> anyhow::Result<Vec<f64>> {
        self.send(request).await?;
        let (mut gaps, mut last, mut tail) = (Vec::new(), None, Vec::new());
        loop {
            self.read().await?;
            let now = Instant::now();
            gaps.extend(last.replace(now).map(|before| micros(now - before)));
            tail.extend_from_slice(&self.buffer);
            self.buffer.clear();
            if tail.ends_with(b"\r\n0\r\n\r\n") {
                ensure!(tail.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&tail));
                ensure!(find(&tail, b"event: message_stop").is_some(), "a stream without its end");
                return Ok(gaps);
            }
        }
    }

    async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.buffer.clear();
        Ok(self.stream.write_all(request).await?)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.stream.read_buf(&mut self.buffer).await? > 0,
            "the connection was closed: {}",
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }

    /// Is the whole answer here? An answer that is no 200 is an error.
    fn is_whole(&self) -> anyhow::Result<bool> {
        let Some(end) = find(&self.buffer, b"\r\n\r\n") else { return Ok(false) };
        let head = &self.buffer[..end];
        if !head.starts_with(b"HTTP/1.1 200") {
            bail!("{}", String::from_utf8_lossy(&self.buffer));
        }
        match content_length(head) {
            Some(length) => Ok(self.buffer.len() >= end + 4 + length),
            None => Ok(self.buffer.ends_with(b"\r\n0\r\n\r\n")),
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|b| *b == b'\n').find_map(|line| {
        let value = line.get(15..).filter(|_| line[..15].eq_ignore_ascii_case(b"content-length:"))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

/// Jumps from one first byte to the next.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
