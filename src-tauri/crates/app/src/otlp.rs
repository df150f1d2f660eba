//! Takes in what Claude Code's telemetry tells of its requests: OTLP over HTTP, on this machine only.
//!
//! Of all that comes only `claude_code.api_request` events are looked at, and of those only what a bill is made of.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::time::Timestamp;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ledger::{Event, Told};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::watch::Inlet;

const BODY_BYTES_MAX: usize = 16 << 20;

/// An exporter needs one.
const CONNECTIONS_MAX: usize = 32;

/// For a head, and for a body.
const PATIENCE: Duration = Duration::from_secs(10);

const LOGS: &str = "/v1/logs";

const EVENT: &str = "api_request";

/// No call uses more of anything.
const TOKENS_MAX: u64 = 1_000_000_000;

/// Clocks differ; what is further ahead has not happened.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

pub(crate) struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
    inlet: Inlet,
}

impl Receiver {
    pub(crate) async fn bind(address: SocketAddr, inlet: Inlet) -> std::io::Result<Receiver> {
        let listener = TcpListener::bind(address).await?;
        Ok(Receiver { address: listener.local_addr()?, listener, inlet })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn run(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = room.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let inlet = self.inlet.clone();
                    connections.spawn(async move {
                        connection(stream, inlet).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file handles: the next attempt would fail too.
                    tracing::warn!("telemetry can't connect: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, inlet: Inlet) {
    let service = service_fn(|request| {
        let inlet = inlet.clone();
        async move { Ok::<_, Infallible>(answer(request, &inlet).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
    // Whatever ended it, the connection is over; an exporter sends again.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Json,
    Protobuf,
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Format> {
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Format::Json),
            "application/x-protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Protobuf => "application/x-protobuf",
        }
    }
}

async fn answer(request: Request<Incoming>, inlet: &Inlet) -> Response<Full<Bytes>> {
    let is_logs = request.uri().path() == LOGS && request.method() == Method::POST;
    match taken(request, inlet).await {
        Ok(response) => response,
        Err((status, reason)) => {
            // What is not for us is no loss, and what the ledger can't take now comes again.
            if is_logs && !matches!(status, StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE) {
                inlet.passed_over.events(1, reason, crate::clock::now().timestamp);
            }
            said(status, "text/plain; charset=utf-8", Bytes::from_static(reason.as_bytes()))
        }
    }
}

type Refused = (StatusCode, &'static str);

async fn taken(request: Request<Incoming>, inlet: &Inlet) -> Result<Response<Full<Bytes>>, Refused> {
    if request.headers().contains_key(header::ORIGIN) || !is_for_us(request.headers()) {
        return Err((StatusCode::FORBIDDEN, "telemetry of programs of this machine only, not of web pages"));
    }
    let is_logs = match request.uri().path() {
        LOGS => true,
        "/v1/metrics" | "/v1/traces" => false,
        _ => return Err((StatusCode::NOT_FOUND, "there is /v1/logs")),
    };
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "use POST"));
    }
    let format = Format::of(request.headers())
        .ok_or((StatusCode::UNSUPPORTED_MEDIA_TYPE, "set OTEL_EXPORTER_OTLP_PROTOCOL to http/json or http/protobuf"))?;
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "turn the exporter's compression off"));
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is cut short or larger than 16 MiB")),
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 s")),
    };
    if !is_logs {
        // Counters say nothing that events don't.
        return Ok(accepted(format, 0));
    }
    let export = parse(format, &body).ok_or((StatusCode::BAD_REQUEST, "this is no ExportLogsServiceRequest"))?;
    let now = crate::clock::now().timestamp;
    let read = read(export, now);
    inlet.passed_over.events(u64::try_from(read.refused).unwrap_or(0), read.reason, now);
    let entered = inlet.ledger.tell(read.told, &inlet.terms).await;
    entered.map_err(|error| {
        tracing::warn!("telemetry can't be entered now: {error}");
        (StatusCode::SERVICE_UNAVAILABLE, "the ledger can't take it now")
    })?;
    Ok(accepted(format, read.refused))
}

/// A page whose name was made to point here names itself.
fn is_for_us(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn parse(format: Format, body: &[u8]) -> Option<ExportLogsServiceRequest> {
    match format {
        Format::Json => serde_json::from_slice(body).ok(),
        Format::Protobuf => ExportLogsServiceRequest::decode(body).ok(),
    }
}

fn accepted(format: Format, refused: i64) -> Response<Full<Bytes>> {
    let partial_success = (refused > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: refused,
        error_message: "api_request events without request_id, time or sensible counts can't be told from others"
            .to_owned(),
    });
    let response = ExportLogsServiceResponse { partial_success };
    let body = match format {
        Format::Json => serde_json::to_vec(&response).unwrap_or_default(),
        Format::Protobuf => response.encode_to_vec(),
    };
    said(StatusCode::OK, format.name(), body.into())
}

fn said(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[derive(Debug, Default)]
struct Read {
    told: Vec<Told>,
    refused: i64,
    /// Of the last one that was refused.
    reason: &'static str,
}

fn read(export: ExportLogsServiceRequest, now: Timestamp) -> Read {
    let latest = now.after(AHEAD_MAX);
    let mut read = Read::default();
    for resource in export.resource_logs {
        let about = Attributes::of(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        let user_agent = about.text("service.version").map(|version| format!("claude-cli/{version}"));
        let records = resource.scope_logs.into_iter().flat_map(|scope| scope.log_records);
        for record in records.filter(is_api_request) {
            let event = event(record, user_agent.as_deref(), latest);
            match event.and_then(|event| Told::of_event(event).ok_or(NO_REQUEST)) {
                Ok(told) => read.told.push(told),
                Err(reason) => (read.refused, read.reason) = (read.refused + 1, reason),
            }
        }
    }
    read
}

fn is_api_request(record: &LogRecord) -> bool {
    let body = record.body.as_ref().and_then(text);
    let name = record.attributes.iter().find(|attribute| attribute.key == "event.name");
    let name = name.and_then(|name| text(name.value.as_ref()?));
    let names = [Some(record.event_name.as_str()), name, body];
    names.into_iter().flatten().any(|name| name.strip_prefix("claude_code.").unwrap_or(name) == EVENT)
}

const NO_REQUEST: &str = "api_request events without a request_id";
const NO_TIME: &str = "api_request events without a time that has passed";
const NO_COUNT: &str = "api_request events with counts that make no sense";

fn event(record: LogRecord, user_agent: Option<&str>, latest: Timestamp) -> Result<Event, &'static str> {
    let nanos = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|nanos| *nanos > 0);
    let about = Attributes::of(record.attributes);
    let stamped = about.text("event.timestamp").and_then(Timestamp::parse);
    let measured = || Some(Timestamp::from_millis(i64::try_from(nanos? / 1_000_000).ok()?));
    let ended_at = stamped.or_else(measured).filter(|at| at.as_millis() >= 0 && *at <= latest);
    let ended_at = ended_at.ok_or(NO_TIME)?;
    let tokens = |key| about.tokens(key).ok_or(NO_COUNT);
    let took = Duration::from_millis(about.count("duration_ms").unwrap_or(0).min(86_400_000));
    Ok(Event {
        request_id: about.text("request_id").ok_or(NO_REQUEST)?.to_owned(),
        at: ended_at,
        took,
        model: about.text("model").unwrap_or_default().to_owned(),
        input: tokens("input_tokens")?,
        output: tokens("output_tokens")?,
        cache_read: tokens("cache_read_tokens")?,
        cache_write: tokens("cache_creation_tokens")?,
        fast: about.text("speed") == Some("fast"),
        session: about.text("session.id").unwrap_or_default().to_owned(),
        agent: about.text("agent.name").unwrap_or_default().to_owned(),
        user_agent: user_agent.unwrap_or_default().to_owned(),
        account: about.text("organization.id").or(about.text("user.account_uuid")).unwrap_or_default().to_owned(),
    })
}

fn text(value: &AnyValue) -> Option<&str> {
    let Value::StringValue(text) = value.value.as_ref()? else { return None };
    Some(text)
}

/// What is told of a record or its resource.
struct Attributes(HashMap<String, AnyValue>);

impl Attributes {
    fn of(attributes: Vec<KeyValue>) -> Attributes {
        Attributes(attributes.into_iter().filter_map(|attribute| Some((attribute.key, attribute.value?))).collect())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(text).filter(|text| !text.is_empty())
    }

    /// Exporters write numbers as whole ones, as fractions or as text.
    fn count(&self, key: &str) -> Option<u64> {
        let value = self.0.get(key)?.value.as_ref()?;
        if let Value::IntValue(count) = value {
            u64::try_from(*count).ok()
        } else if let Value::DoubleValue(count) = value {
            (count.is_finite() && *count >= 0.0).then(|| count.round() as u64)
        } else if let Value::StringValue(text) = value {
            text.parse().ok()
        } else {
            None
        }
    }

    /// None where it is there and no count, zero where it is not there.
    fn tokens(&self, key: &str) -> Option<u64> {
        if self.0.contains_key(key) { self.count(key).filter(|count| *count <= TOKENS_MAX) } else { Some(0) }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Filter, Ledger, Terms};
    use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};

    use super::*;
    use crate::passed_over::{Kept, PassedOver};

    /// As Claude Code's exporter writes it, once with each way of writing a number.
    const JSON: &str = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"claude-code"}},{"key":"service.version","value":{"stringValue":"2.1.331"}}]},
      "scopeLogs":[{"scope":{"name":"com.anthropic.claude_code.events"},"logRecords":[
        {"timeUnixNano":"1793491200000000000","body":{"stringValue":"claude_code.user_prompt"},"attributes":[
          {"key":"event.name","value":{"stringValue":"user_prompt"}},{"key":"prompt","value":{"stringValue":"my secret plan"}}]},
        {"timeUnixNano":"1793491200000000000","body":{"stringValue":"claude_code.api_request"},"attributes":[
          {"key":"event.name","value":{"stringValue":"api_request"}},{"key":"model","value":{"stringValue":"claude-opus-5"}},
          {"key":"request_id","value":{"stringValue":"req_1"}},{"key":"session.id","value":{"stringValue":"s-1"}},
          {"key":"cost_usd","value":{"doubleValue":123.0}},{"key":"duration_ms","value":{"intValue":"2000"}},
          {"key":"input_tokens","value":{"intValue":"7"}},{"key":"output_tokens","value":{"stringValue":"11"}},
          {"key":"cache_read_tokens","value":{"doubleValue":13.0}},{"key":"cache_creation_tokens","value":{"intValue":17}},
          {"key":"user.account_uuid","value":{"stringValue":"a person"}},
          {"key":"organization.id","value":{"stringValue":"an organisation"}},
          {"key":"speed","value":{"stringValue":"fast"}}]},
        {"timeUnixNano":"1793491200000000000","body":{"stringValue":"claude_code.api_request"},"attributes":[
          {"key":"model","value":{"stringValue":"claude-opus-5"}},{"key":"output_tokens","value":{"intValue":"11"}}]}
      ]}]}]}"#;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn request(request_id: &str, output: i64) -> ExportLogsServiceRequest {
        let text = |text: &str| Value::StringValue(text.to_owned());
        let attributes = vec![
            attribute("event.name", text("api_request")),
            attribute("request_id", text(request_id)),
            attribute("model", text("claude-opus-5")),
            attribute("output_tokens", Value::IntValue(output)),
        ];
        let record = LogRecord { time_unix_nano: 1_793_491_200_000_000_000, attributes, ..LogRecord::default() };
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
    }

    struct Running {
        dir: tempfile::TempDir,
        ledger: Arc<Ledger>,
        passed_over: Arc<PassedOver>,
        url: String,
        caller: reqwest::Client,
        _tasks: JoinSet<()>,
    }

    impl Running {
        async fn start() -> Running {
            let dir = tempfile::tempdir().expect("a folder");
            let options = ledger::Options {
                durability: ledger::Durability::Process,
                catalog: Default::default(),
                calendar: domain::time::Calendar::UTC,
            };
            let ledger = Arc::new(Ledger::open(dir.path(), options).await.expect("a ledger").0);
            let terms = Terms { catalog: Default::default(), rules: Default::default() };
            let passed_over = Arc::new(PassedOver::open(dir.path()));
            let inlet =
                Inlet { dir: dir.path().to_owned(), ledger: ledger.clone(), terms, passed_over: passed_over.clone() };
            let receiver = Receiver::bind(([127, 0, 0, 1], 0).into(), inlet).await.expect("a port");
            let url = format!("http://{}", receiver.address());
            let mut tasks = JoinSet::new();
            tasks.spawn(receiver.run());
            let caller = reqwest::Client::builder().no_proxy().build().expect("a caller");
            Running { dir, ledger, passed_over, url, caller, _tasks: tasks }
        }

        fn to(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
            self.caller.post(format!("{}{path}", self.url)).header("content-type", kind).body(body)
        }

        async fn status(&self, request: reqwest::RequestBuilder) -> u16 {
            request.send().await.expect("an answer").status().as_u16()
        }

        fn kept(&self) -> Kept {
            self.passed_over.write();
            Kept::read(self.dir.path()).expect("kept")
        }

        async fn calls(&self) -> Vec<domain::call::Entry> {
            self.ledger.calls(&Filter::default(), 99).await.expect("calls")
        }
    }

    #[tokio::test]
    async fn an_event_in_json_becomes_an_entry_and_one_without_a_request_is_refused() {
        let running = Running::start().await;
        let answer = running.to("/v1/logs", "application/json", JSON).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(answer["partialSuccess"]["rejectedLogRecords"].to_string().trim_matches('"'), "1");
        let events = running.kept().events;
        assert_eq!((events.count, events.last.as_str()), (1, NO_REQUEST));
        let entry = running.calls().await.pop().expect("an entry");
        let tokens =
            domain::usage::Tokens { input: 7, cache_write_5m: 17, cache_write_1h: 0, cache_read: 13, output: 11 };
        assert_eq!((entry.usage.tokens, entry.usage.fast, entry.total_ms), (tokens, true, 2_000));
        assert_eq!((entry.source, entry.estimated), (domain::call::Source::Otel, true));
        assert_eq!(entry.call.who.session.as_deref(), Some("s-1"));
        assert_eq!(entry.account.as_deref(), Some("an organisation"));
        assert!(!format!("{entry:?}").contains("secret"));
    }

    #[tokio::test]
    async fn events_in_protobuf_that_are_sent_again_count_once() {
        let running = Running::start().await;
        for _ in 0..3 {
            let body = request("req_9", 5).encode_to_vec();
            let status = running.status(running.to("/v1/logs", "application/x-protobuf", body)).await;
            assert_eq!(status, 200);
        }
        assert_eq!(running.calls().await.iter().map(|entry| entry.usage.tokens.output).collect::<Vec<_>>(), [5]);
    }

    #[tokio::test]
    async fn what_is_no_telemetry_is_refused_and_the_receiver_goes_on() {
        let running = Running::start().await;
        let protobuf = "application/x-protobuf";
        let good = || request("req_1", 5).encode_to_vec();
        for (status, request) in [
            (400, running.to("/v1/logs", "application/json", "{")),
            (400, running.to("/v1/logs", "application/json", "[".repeat(100_000))),
            (400, running.to("/v1/logs", protobuf, vec![0xFF; 64])),
            (413, running.to("/v1/logs", protobuf, vec![0; BODY_BYTES_MAX + 1])),
            (415, running.to("/v1/logs", "text/plain", good())),
            (415, running.to("/v1/logs", protobuf, good()).header("content-encoding", "gzip")),
            (403, running.to("/v1/logs", protobuf, good()).header("origin", "http://evil.example")),
            (403, running.to("/v1/logs", protobuf, good()).header("host", "evil.example")),
            (404, running.to("/", protobuf, good())),
            (405, running.caller.get(format!("{}/v1/logs", running.url))),
            (200, running.to("/v1/metrics", protobuf, vec![1, 2, 3])),
        ] {
            assert_eq!(running.status(request).await, status);
        }
        assert!(running.calls().await.is_empty());
        assert_eq!(running.kept().events.count, 6, "all that was meant for it");
        assert_eq!(running.status(running.to("/v1/logs", protobuf, good())).await, 200);
        assert_eq!(running.calls().await.len(), 1);
    }

    #[test]
    fn counts_beyond_reason_and_events_from_the_future_are_refused() {
        let now = Timestamp::from_millis(1_793_491_200_000);
        let read_one = |output, now| {
            let read = read(request("req_1", output), now);
            (read.told.len(), read.refused)
        };
        assert_eq!(read_one(5, now), (1, 0));
        assert_eq!(read_one(-5, now), (0, 1));
        assert_eq!(read_one(i64::MAX, now), (0, 1));
        assert_eq!(read_one(5, now.before(Duration::from_secs(7_200))), (0, 1));
    }
}
