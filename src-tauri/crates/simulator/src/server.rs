//! Connections, and who answers which path.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::ask::Version;
use crate::body::Body;
use crate::books::Cause;
use crate::error::ApiError;
use crate::fault::Kind;
use crate::world::World;
use crate::{batches, control, files, messages, models, rate_limits, reply, reports};

/// Messages and `count_tokens`.
const BODY_BYTES_MAX: usize = 33_554_432;
const BATCH_BYTES_MAX: usize = 268_435_456;

/// Who asks, and in which version.
pub(crate) struct Caller {
    pub(crate) key: String,
    pub(crate) version: Version,
}

impl Caller {
    pub(crate) fn is_admin(&self) -> bool {
        self.key.starts_with("sk-ant-admin")
    }
}

/// No answer of the model.
pub(crate) enum Stop {
    Says(Box<Refusal>),
    /// Answered by something else than the API.
    Replaced(Box<Response<Body>>),
    /// Not a byte.
    Hangup,
}

pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    /// The true limit that said so.
    pub(crate) limited: Option<Cause>,
    /// Those of the limits.
    pub(crate) headers: HeaderMap,
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Stop {
        Stop::Says(Box::new(Refusal { error, limited: None, headers: HeaderMap::new() }))
    }
}

#[derive(Debug)]
struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for Hangup {}

/// Accepts until it is told to stop; with it go its connections.
pub(crate) async fn serve(world: Arc<World>, listener: TcpListener, mut stop: oneshot::Receiver<Infallible>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let local = is_this_machine(peer.ip());
                    drop(connections.spawn(connection(world.clone(), stream, local)));
                }
                // Out of file descriptors: some may be free soon.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = &mut stop => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// An IPv4 address may come in the dress of an IPv6 one.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

async fn connection(world: Arc<World>, stream: TcpStream, local: bool) {
    // Without it events come late, but they come.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(world.clone(), request, local));
    // Whatever ended it, the connection is over.
    // Events are small: copying them together costs less than a list of pieces.
    let _ = http1::Builder::new().writev(false).serve_connection(TokioIo::new(stream), service).await;
}

/// `local`: it comes from this machine.
async fn answer(world: Arc<World>, request: Request<Incoming>, local: bool) -> Result<Response<Body>, Hangup> {
    if request.uri().path().starts_with("/simulator/") {
        return control::answer(&world, request, local).await.ok_or(Hangup);
    }
    let request_id = world.request_id();
    match api(&world, &request_id, request).await {
        Ok(response) => Ok(response),
        Err(Stop::Says(refusal)) => {
            let mut response = reply::error(&world, &request_id, &refusal.error);
            response.headers_mut().extend(refusal.headers);
            Ok(response)
        }
        Err(Stop::Replaced(response)) => Ok(*response),
        Err(Stop::Hangup) => Err(Hangup),
    }
}

async fn api(world: &Arc<World>, request_id: &str, request: Request<Incoming>) -> Result<Response<Body>, Stop> {
    if world.faults.is_outage(world.since_start()) {
        return Err(Stop::Hangup);
    }
    let (parts, body) = request.into_parts();
    let Some(path) = parts.uri.path().strip_prefix("/v1/") else {
        return Err(ApiError::not_found("Not found").into());
    };
    let caller = caller(world, &parts.headers)?;
    // Keys of administrators speak to the Admin API alone.
    if caller.is_admin() && !path.starts_with("organizations/") {
        return Err(ApiError::unauthorized("invalid x-api-key").into());
    }
    let query = parts.uri.query().unwrap_or_default();
    let headers = &parts.headers;
    let segments: Vec<&str> = path.split('/').collect();
    if segments != ["messages"] {
        strike(world, headers)?;
    }
    match (&parts.method, segments.as_slice()) {
        (&Method::POST, ["messages"]) => {
            let body = read(headers, body, BODY_BYTES_MAX).await?;
            Box::pin(messages::post(world, &caller, headers, request_id, body)).await
        }
        (&Method::POST, ["messages", "count_tokens"]) => {
            messages::count(world, &caller, request_id, read(headers, body, BODY_BYTES_MAX).await?)
        }
        (&Method::GET, ["models"]) => Ok(reply::json(world, request_id, &models::list(world, query)?)),
        (&Method::GET, ["models", id]) => Ok(reply::json(world, request_id, &models::one(world, id)?)),
        (method, ["messages", "batches", rest @ ..]) => {
            let body = read(headers, body, BATCH_BYTES_MAX).await??;
            batches::answer(world, &caller, request_id, (method, rest, query), &body)
        }
        (&Method::GET, ["organizations", "rate_limits"]) => rate_limits::list(world, &caller, request_id, query),
        (&Method::GET, ["organizations", path @ ..]) => reports::answer(world, &caller, request_id, path, query),
        (method, ["files", rest @ ..]) => {
            files::answer(world, &caller, request_id, (method, rest, query), headers, body).await
        }
        _ => Err(ApiError::not_found("Not found").into()),
    }
}

/// A header's fault where no message is asked for: an error or a hang-up; the others need a message.
fn strike(world: &World, headers: &HeaderMap) -> Result<(), Stop> {
    let Some(fault) = messages::header_fault(headers)? else { return Ok(()) };
    if fault.kind == Kind::Hangup {
        return Err(Stop::Hangup);
    }
    let error = fault.error("this", world.clock.now().timestamp);
    error.map_or(Ok(()), |error| Err(error.into()))
}

fn caller(world: &World, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let bearer =
        || headers.get(AUTHORIZATION).map(text).and_then(|value| Some(value.strip_prefix("Bearer ")?.to_owned()));
    let key = headers.get("x-api-key").map(text).or_else(bearer);
    let key = key.ok_or_else(|| ApiError::unauthorized("x-api-key header is required"))?;
    if !world.accepts(&key) {
        return Err(ApiError::unauthorized("invalid x-api-key"));
    }
    let version = headers.get("anthropic-version").map(text);
    Ok(Caller { key, version: Version::named(version.as_deref())? })
}

/// The body, or that it is too large. A caller that left in the middle gets nothing.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B, bytes_max: usize) -> Result<Result<Bytes, ApiError>, Stop>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|bytes| bytes > bytes_max) {
        return Ok(Err(ApiError::too_large()));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(whole) => Ok(Ok(whole.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok(Err(ApiError::too_large())),
        Err(_) => Err(Stop::Hangup),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, fixture};

    fn world(keys: &[&str]) -> World {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        World::new(Options { catalog: fixture::catalog(), keys, ..Options::default() }, String::new())
    }

    fn said(world: &World, pairs: &[(&'static str, &str)]) -> String {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        match caller(world, &pairs.iter().map(pair).collect()) {
            Ok(caller) => format!("{} {:?}", caller.key, caller.version),
            Err(error) => format!("{} {}", error.status, error.message),
        }
    }

    #[test]
    fn this_machine_has_many_addresses() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(is_this_machine(address.parse().expect("an address")), local, "{address}");
        }
    }

    #[test]
    fn a_key_comes_in_either_header_and_a_version_must_come() {
        let version = ("anthropic-version", "2023-06-01");
        let any = world(&[]);
        for (headers, expected) in [
            (vec![("x-api-key", "sk-ant-a"), version], "sk-ant-a V2023"),
            (vec![("authorization", "Bearer sk-ant-b"), ("anthropic-version", "2026-10-21")], "sk-ant-b V2026"),
            (vec![("x-api-key", "sk-ant-a"), ("authorization", "Bearer sk-ant-b"), version], "sk-ant-a V2023"),
            (vec![("x-api-key", "tg-wrong"), version], "401 invalid x-api-key"),
            (vec![version], "401 x-api-key header is required"),
            (vec![("x-api-key", "sk-ant-a")], "400 anthropic-version: header is required"),
            (
                vec![("x-api-key", "sk-ant-a"), ("anthropic-version", "2")],
                "400 anthropic-version: \"2\" is not a valid version",
            ),
        ] {
            assert_eq!(said(&any, &headers), expected);
        }
        let one = world(&["sk-ant-mine"]);
        assert_eq!(said(&one, &[("x-api-key", "sk-ant-mine"), version]), "sk-ant-mine V2023");
        assert_eq!(said(&one, &[("x-api-key", "sk-ant-other"), version]), "401 invalid x-api-key");
    }
}
