//! Recorded exchanges with the Claude API, and an upstream that gives their answers again, byte for byte.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::Request;

#[derive(Clone, Debug)]
pub struct Recording {
    pub id: String,
    pub request: Request,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub is_stream: bool,
    /// The connection breaks where the body ends: more was to come.
    pub is_cut: bool,
}

impl Recording {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The same, broken off after so many bytes of its body.
    #[must_use]
    pub fn cut_at(&self, bytes: usize) -> Recording {
        Recording { body: self.body[..bytes].to_vec(), is_cut: true, ..self.clone() }
    }
}

/// The collection beside the repository where it is there, else the few of our own. Which, as a sentence.
pub fn load() -> (Vec<Recording>, String) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("TIDEGATE_RECORDINGS")
        .map_or_else(|| tests.join("../../shared/cassettes/anthropic.jsonl.gz"), PathBuf::from);
    let (file, note) = if shared.is_file() {
        (shared, "the whole collection")
    } else {
        (tests.join("data/recordings.jsonl"), "only the few of our own, the large collection is not here")
    };
    let text = read(&file);
    let all: Vec<_> = text.lines().filter_map(|line| parse(&serde_json::from_str(line).expect("JSON"))).collect();
    let said = format!("{} exchanges ({note})", all.len());
    (all, said)
}

fn read(file: &Path) -> String {
    let mut opened = File::open(file).expect("recordings");
    let mut text = String::new();
    let gzipped = file.extension().is_some_and(|ending| ending == "gz");
    let read =
        if gzipped { GzDecoder::new(opened).read_to_string(&mut text) } else { opened.read_to_string(&mut text) };
    read.expect("text");
    text
}

/// `None` for what lies outside `/v1` or was kept without its request.
fn parse(exchange: &Value) -> Option<Recording> {
    let (asked, answered) = (&exchange["request"], &exchange["response"]);
    let path = asked["path"].as_str()?;
    if exchange["request_recorded"] == false || !path.starts_with("/v1/") {
        return None;
    }
    let query = asked["query"].as_str().filter(|q| !q.is_empty()).map(|q| format!("?{q}")).unwrap_or_default();
    let request = Request {
        method: asked["method"].as_str()?.to_owned(),
        target: format!("{path}{query}"),
        headers: headers(&asked["headers"]),
        body: bytes(&asked["body"], &asked["body_base64"]),
    };
    let sse = answered["sse"].as_str();
    Some(Recording {
        id: exchange["id"].as_str()?.to_owned(),
        request,
        status: u16::try_from(answered["status"].as_u64()?).ok()?,
        headers: headers(&answered["headers"]),
        body: sse.map_or_else(|| bytes(&answered["body"], &answered["body_base64"]), |text| text.as_bytes().to_vec()),
        is_stream: sse.is_some(),
        is_cut: false,
    })
}

/// Framing is the replay's own; the accepted encodings would promise what it doesn't do.
fn headers(value: &Value) -> Vec<(String, String)> {
    const FRAMING: &[&str] = &[
        "transfer-encoding",
        "content-length",
        "connection",
        "accept-encoding",
        "content-encoding",
        "host",
        "x-api-key",
        "authorization",
    ];
    let all = value.as_object().into_iter().flatten();
    all.filter(|(name, _)| !FRAMING.contains(&name.to_ascii_lowercase().as_str()))
        // One recorder ran two headers into one.
        .filter_map(|(name, v)| Some((name.to_ascii_lowercase(), v.as_str()?.lines().next()?.to_owned())))
        .collect()
}

fn bytes(body: &Value, base64: &Value) -> Vec<u8> {
    match (body, base64.as_str()) {
        (_, Some(text)) => base64::engine::general_purpose::STANDARD.decode(text).expect("base64"),
        (Value::Null, None) => Vec::new(),
        (Value::String(text), None) => text.clone().into_bytes(),
        (json, None) => json.to_string().into_bytes(),
    }
}

/// What the replay saw of the last request: its first line, headers and body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub count: u32,
}

/// Answers every request with the recording that was put on last.
#[derive(Clone)]
pub struct Replay {
    pub address: String,
    state: Arc<Mutex<(Option<Recording>, Seen)>>,
}

impl Replay {
    pub async fn start() -> Replay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let replay = Replay { address, state: Arc::default() };
        let server = replay.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        replay
    }

    pub fn put_on(&self, recording: &Recording) {
        *self.state.lock().expect("the state") = (Some(recording.clone()), Seen::default());
    }

    pub fn seen(&self) -> Seen {
        self.state.lock().expect("the state").1.clone()
    }

    async fn serve(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            let Some(recording) = self.take(seen) else { return };
            if write_answer(&mut stream, &recording).await.is_err() || recording.is_cut {
                return;
            }
        }
    }

    fn take(&self, seen: Seen) -> Option<Recording> {
        let mut state = self.state.lock().expect("the state");
        let count = state.1.count + 1;
        state.1 = Seen { count, ..seen };
        state.0.clone()
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        fill(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<_> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    buffer.drain(..end + 4);
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let body = if find("transfer-encoding").is_some() {
        read_chunked(stream, buffer).await?
    } else {
        read_length(stream, buffer, find("content-length").map_or(0, |l| l.parse().unwrap_or(0))).await?
    };
    Some(Seen { line, headers, body, count: 0 })
}

async fn read_length(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn read_chunked(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") {
                break end;
            }
            fill(stream, buffer).await?;
        };
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        let piece = read_length(stream, buffer, size + 2).await?;
        body.extend_from_slice(&piece[..size]);
        if size == 0 {
            return Some(body);
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}

/// A stream goes out in pieces whose ends fall anywhere, also inside an event.
async fn write_answer(stream: &mut TcpStream, recording: &Recording) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Recorded\r\n", recording.status);
    for (name, value) in &recording.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if recording.is_stream {
        stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
        let mut chance = fastrand::Rng::with_seed(recording.body.len() as u64);
        let mut rest = recording.body.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(chance.usize(1..=700).min(rest.len()));
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&framed).await?;
            rest = after;
        }
        if recording.is_cut {
            return Ok(());
        }
        return stream.write_all(b"0\r\n\r\n").await;
    }
    let missing = usize::from(recording.is_cut);
    head.push_str(&format!("content-length: {}\r\n\r\n", recording.body.len() + missing));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&recording.body).await
}
