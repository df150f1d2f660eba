//! `/tidegate` and `/metrics` on the gateway's port: commands for whoever has the control token, answers for whoever has
//! the API's.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Weak;

use bytes::Bytes;
use gateway::{BoxFuture, Mount};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Host;
use crate::api::{Answer, ApiError, Command, Fault};
use crate::control::CONTROL_PATH;
use crate::metrics;

pub(crate) struct Tidegate {
    pub(crate) host: Weak<Host>,
    pub(crate) control: Hash,
    /// Of the API's token, where the API is on.
    pub(crate) api: Option<Hash>,
    /// The same token, where the settings have metrics on.
    pub(crate) metrics: Option<Hash>,
}

/// A token as it may be compared: not in the time of its first differing byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) fn of(token: &str) -> Hash {
        Hash(Sha256::digest(token.as_bytes()).into())
    }
}

impl Mount for Tidegate {
    fn owns(&self, path: &str) -> bool {
        path == CONTROL_PATH
            || self.api.is_some() && (path == "/tidegate" || path.starts_with("/tidegate/"))
            || self.metrics.is_some() && path == METRICS_PATH
    }

    fn handle(&self, request: Request<Bytes>, _peer: SocketAddr) -> BoxFuture<Response<Bytes>> {
        let host = self.host.upgrade();
        if request.uri().path() == METRICS_PATH {
            let allowed = self.scraper(&request);
            return Box::pin(async move {
                match (allowed, host) {
                    (Ok(()), Some(host)) => host.metrics().await.map_or_else(|error| refused(&error), metrics),
                    (Err(error), _) => refused(&error),
                    (_, None) => refused(&ending()),
                }
            });
        }
        let question = self.question(&request);
        Box::pin(async move {
            let (command, whole) = match question {
                Ok(question) => question,
                Err(error) => return refused(&error),
            };
            match host {
                Some(host) => said(host.answer(command).await, whole),
                None => refused(&ending()),
            }
        })
    }
}

const METRICS_PATH: &str = "/metrics";

/// Whether an answer keeps the name of its kind, as commands want it, or is the value alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Named,
    ValueAlone,
}

impl Tidegate {
    fn scraper(&self, request: &Request<Bytes>) -> Result<(), ApiError> {
        let token = bearer(request.headers()).map(Hash::of);
        if token.is_none() || token != self.metrics {
            return Err(stranger(
                "/metrics wants the token in the file api-token of the data folder, as a bearer token",
            ));
        }
        let is_read = request.method() == Method::GET;
        is_read.then_some(()).ok_or_else(|| ApiError::asker("/metrics only reads: use GET"))
    }

    fn question(&self, request: &Request<Bytes>) -> Result<(Command, Whole), ApiError> {
        let token = bearer(request.headers()).map(Hash::of);
        if request.uri().path() == CONTROL_PATH {
            return self.control(request, token).map(|command| (command, Whole::Named));
        }
        if token.is_none() || token != self.api {
            let wrong = "this token does not open /tidegate: the right one is in the file api-token of the data folder";
            return Err(stranger(wrong));
        }
        let asked = if request.method() == Method::POST { change(request) } else { read(request) };
        asked.map(|command| (command, Whole::ValueAlone))
    }

    fn control(&self, request: &Request<Bytes>, token: Option<Hash>) -> Result<Command, ApiError> {
        if token != Some(self.control) {
            return Err(stranger("this token does not control this app"));
        }
        if request.method() != Method::POST {
            return Err(ApiError::asker("commands are sent with POST"));
        }
        let unknown = |error| ApiError::asker(format!("this is no command: {error}"));
        serde_json::from_slice(request.body()).map_err(unknown)
    }
}

/// `POST /tidegate/emergency`: an alarm of another program may enter and leave it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
    reason: Option<String>,
}

/// The one thing that may be changed here.
fn change(request: &Request<Bytes>) -> Result<Command, ApiError> {
    if request.uri().path() != "/tidegate/emergency" {
        return Err(ApiError::asker("/tidegate only reads, but for POST /tidegate/emergency: use GET"));
    }
    let wrong = |error| ApiError::asker(format!("send {{\"on\": true, \"reason\": \"why\"}}: {error}"));
    let Switch { on, reason } = serde_json::from_slice(request.body()).map_err(wrong)?;
    Ok(if on { Command::EmergencyOn { reason } } else { Command::EmergencyOff })
}

/// The questions that change nothing, as paths.
fn read(request: &Request<Bytes>) -> Result<Command, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::asker("/tidegate only reads: use GET"));
    }
    let mut query = parameters(request.uri().query().unwrap_or_default());
    let command = match request.uri().path().trim_start_matches("/tidegate").trim_start_matches('/') {
        "status" => Command::Status,
        "usage" => Command::Usage { by: query.remove("by"), from: query.remove("from"), to: query.remove("to") },
        "explain" => Command::Explain { from: query.remove("from"), to: query.remove("to") },
        "calls" => Command::Calls { last: last(query.remove("last"))? },
        "clients" => Command::ClientList,
        "queue" => Command::Queue,
        "cache" => Command::Cache,
        "verify" => Command::Verify,
        "emergency" => Command::EmergencyStatus,
        "alerts" => Command::AlertList,
        "forecast" => Command::Forecast,
        "tiers" => Command::TierList,
        path => match path.strip_prefix("calls/") {
            Some(call_id) => Command::Why { call_id: call_id.to_owned() },
            None => return Err(ApiError::absent(WHAT_THERE_IS)),
        },
    };
    match query.keys().next() {
        Some(unknown) => Err(ApiError::asker(format!("no such parameter here: {unknown}"))),
        None => Ok(command),
    }
}

const WHAT_THERE_IS: &str = "there are /tidegate/status, usage, explain, calls, calls/ID, clients, queue, cache, emergency, alerts, forecast, tiers and verify";

fn last(text: Option<String>) -> Result<u32, ApiError> {
    let wrong = || ApiError::asker("last is a number from 1 to 100000");
    let last = text.map_or(Some(20), |text| text.parse().ok());
    last.filter(|last| (1..=100_000).contains(last)).ok_or_else(wrong)
}

/// Values are days, names and numbers; `%3A`, `%2B` and `+` are read as the forms of browsers write them.
fn parameters(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn said(answer: Result<Answer, ApiError>, whole: Whole) -> Response<Bytes> {
    match answer {
        Ok(answer) if whole == Whole::Named => json(&answer),
        Ok(Answer::Status(view)) => json(&view),
        Ok(Answer::Usage(view)) => json(&view),
        Ok(Answer::Explain(view)) => json(&view),
        Ok(Answer::Calls(view)) => json(&view),
        Ok(Answer::Why(view)) => json(&view),
        Ok(Answer::Verify(view)) => json(&view),
        Ok(Answer::Clients(view)) => json(&view),
        Ok(Answer::Queue(view)) => json(&view),
        Ok(Answer::Emergency(view)) => json(&view),
        Ok(Answer::Forecasts(view)) => json(&view),
        Ok(Answer::Tiers(view)) => json(&view),
        Ok(Answer::Alerts(view)) => json(&view),
        Ok(Answer::Kept(view)) => json(&view),
        // No reading command has these answers.
        Ok(
            Answer::Token(_)
            | Answer::Import(_)
            | Answer::ImportProgress(_)
            | Answer::Reconcile(_)
            | Answer::Bundle(_)
            | Answer::Bundles(_)
            | Answer::Devices(_)
            | Answer::Estimate(_)
            | Answer::Call(_)
            | Answer::Reservation(_)
            | Answer::Price(_)
            | Answer::Done,
        ) => json(&()),
        Err(error) => refused(&error),
    }
}

fn ending() -> ApiError {
    ApiError::machine("the app is ending")
}

fn status_of(error: &ApiError) -> StatusCode {
    match error.fault {
        Fault::Asker => StatusCode::BAD_REQUEST,
        Fault::Stranger => StatusCode::UNAUTHORIZED,
        Fault::Absent => StatusCode::NOT_FOUND,
        Fault::Machine => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn stranger(reason: &str) -> ApiError {
    ApiError { fault: Fault::Stranger, reason: reason.to_owned() }
}

fn refused(error: &ApiError) -> Response<Bytes> {
    let mut response = body(error.to_json());
    *response.status_mut() = status_of(error);
    response
}

fn json<T: Serialize>(value: &T) -> Response<Bytes> {
    body(serde_json::to_vec(value).unwrap_or_default())
}

fn metrics(text: String) -> Response<Bytes> {
    let mut response = body(text.into_bytes());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

fn body(json: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
