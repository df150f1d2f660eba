//! HTTP/1.1 as a client that hides nothing: the head as it came, the body's bytes, and whether the end was a true one.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for bytes before it calls the other side hung.
const SILENCE_MAX: Duration = Duration::from_secs(660);

/// A request as it goes out. `host`, `content-length` and the blank line are added.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        Request { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// `POST /v1/messages` with a JSON body.
    pub fn message(body: impl Into<Vec<u8>>) -> Request {
        Request::new("POST", "/v1/messages")
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .body(body)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Status and headers, names in lower case, in the order they came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
    /// The body ended as its framing says; false for a cut connection.
    pub whole: bool,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }
}

/// One keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    /// `address` is `127.0.0.1:PORT`.
    pub async fn open(address: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, host: address.to_owned(), buffer: Vec::with_capacity(16 * 1024), start: 0 })
    }

    pub async fn call(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let bytes = request.to_bytes(&self.host);
        self.exchange(&bytes, request.method == "HEAD").await
    }

    /// Sends the bytes as they are and reads one answer.
    pub async fn exchange(&mut self, request: &[u8], is_head: bool) -> anyhow::Result<Answer> {
        // Who refuses a body may answer before it has read all of it.
        let sent = self.send(request).await;
        let head = match (self.read_head().await, sent) {
            (Err(_), Err(unsent)) => return Err(unsent),
            (head, _) => head?,
        };
        let mut body = Vec::new();
        let whole = if is_head { true } else { self.read_body(&head, |piece| body.extend_from_slice(piece)).await? };
        Ok(Answer { head, body, whole })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    pub async fn read_head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some(end) = find(self.pending(), b"\r\n\r\n") {
                let head = parse_head(&self.pending()[..end])?;
                self.start += end + 4;
                if head.status != 100 {
                    return Ok(head);
                }
            } else if self.fill().await? == 0 {
                bail!("the connection ended before an answer; got {:?}", String::from_utf8_lossy(self.pending()));
            }
        }
    }

    /// Hands each piece on as it comes. Whether the end was a true one.
    pub async fn read_body(&mut self, head: &Head, mut piece: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        if matches!(head.status, 204 | 304) {
            return Ok(true);
        }
        if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(piece).await;
        }
        if let Some(length) = head.header("content-length") {
            return self.read_exactly(length.parse()?, &mut piece).await;
        }
        loop {
            piece(self.pending());
            self.start = self.buffer.len();
            if self.fill().await.unwrap_or(0) == 0 {
                return Ok(true);
            }
        }
    }

    async fn read_chunks(&mut self, mut piece: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        loop {
            let Some(line) = self.read_line().await? else { return Ok(false) };
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .with_context(|| format!("a chunk's size, not {line:?}"))?;
            if !self.read_exactly(size, &mut piece).await? || self.read_line().await?.is_none() {
                return Ok(false);
            }
            if size == 0 {
                return Ok(true);
            }
        }
    }

    async fn read_exactly(&mut self, mut left: usize, piece: &mut impl FnMut(&[u8])) -> anyhow::Result<bool> {
        while left > 0 {
            let here = left.min(self.pending().len());
            if here > 0 {
                piece(&self.pending()[..here]);
                self.start += here;
                left -= here;
            } else if self.fill().await.unwrap_or(0) == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read_line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = find(self.pending(), b"\r\n") {
                let line = String::from_utf8_lossy(&self.pending()[..end]).into_owned();
                self.start += end + 2;
                return Ok(Some(line));
            }
            if self.fill().await.unwrap_or(0) == 0 {
                return Ok(None);
            }
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    async fn fill(&mut self) -> anyhow::Result<usize> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        let read = self.stream.read_buf(&mut self.buffer);
        Ok(tokio::time::timeout(SILENCE_MAX, read).await.context("the other side is silent")??)
    }
}

/// One call on a connection of its own.
pub async fn call(address: &str, request: &Request) -> anyhow::Result<Answer> {
    Connection::open(address).await?.call(request).await
}

/// Sends raw bytes, closes the sending side where asked, and returns all that comes back.
pub async fn raw(address: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let _ = stream.write_all(bytes).await;
    let mut back = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut back)).await;
    Ok(String::from_utf8_lossy(&back).into_owned())
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Head> {
    let text = std::str::from_utf8(bytes).context("a head in UTF-8")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .unwrap_or("")
        .split(' ')
        .nth(1)
        .unwrap_or("")
        .parse()
        .with_context(|| format!("a status line: {text:?}"))?;
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    Ok(Head { status, headers: headers.collect() })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
