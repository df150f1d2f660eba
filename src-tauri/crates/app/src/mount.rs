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
use crate::course::CourseQuestion;
use crate::metrics;
use crate::minutes::MinutesQuestion;
use crate::report::ReportQuestion;
use crate::settings::{SettingChange, SettingsSetView};

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
        let asked = if request.method() == Method::GET { read(request) } else { change(request) };
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

/// `POST /tidegate/purchases`: what books credit may write it down here too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bought {
    usd: String,
    date: Option<String>,
    upstream: Option<String>,
}

/// `POST /tidegate/settings`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    changes: Vec<SettingChange>,
    hash: Option<String>,
}

/// What may be changed here: an emergency, credit that was bought, the settings.
fn change(request: &Request<Bytes>) -> Result<Command, ApiError> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/tidegate/emergency") => {
            let wrong = |error| ApiError::asker(format!("send {{\"on\": true, \"reason\": \"why\"}}: {error}"));
            let Switch { on, reason } = serde_json::from_slice(request.body()).map_err(wrong)?;
            Ok(if on { Command::EmergencyOn { reason } } else { Command::EmergencyOff })
        }
        (&Method::POST, PURCHASES_PATH) => {
            let wrong = |error| ApiError::asker(format!("send {{\"usd\": \"40\", \"date\": \"2026-11-02\"}}: {error}"));
            let Bought { usd, date, upstream } = serde_json::from_slice(request.body()).map_err(wrong)?;
            Ok(Command::TierPurchase { usd, date, upstream })
        }
        (&Method::POST, "/tidegate/settings") => {
            let form = "{\"changes\": [{\"path\": \"alerts.token_warning\", \"value\": \"0.75\"}]}";
            let wrong = |error| ApiError::asker(format!("send {form}: {error}"));
            let Changes { changes, hash } = serde_json::from_slice(request.body()).map_err(wrong)?;
            Ok(Command::SettingsSet { changes, hash })
        }
        (&Method::DELETE, path) => {
            let id = path.strip_prefix(PURCHASES_PATH).and_then(|rest| rest.strip_prefix('/'));
            let removal = |id: &str| Command::TierPurchaseRemove { id: id.to_owned() };
            id.map(removal).ok_or_else(|| ApiError::asker(WHAT_MAY_CHANGE))
        }
        _ => Err(ApiError::asker(WHAT_MAY_CHANGE)),
    }
}

const PURCHASES_PATH: &str = "/tidegate/purchases";
const WHAT_MAY_CHANGE: &str = "/tidegate only reads, but for POST /tidegate/emergency, /tidegate/purchases and /tidegate/settings, and DELETE /tidegate/purchases/ID: use GET";

/// The questions that change nothing, as paths.
fn read(request: &Request<Bytes>) -> Result<Command, ApiError> {
    let mut query = parameters(request.uri().query().unwrap_or_default());
    let command = match request.uri().path().trim_start_matches("/tidegate").trim_start_matches('/') {
        "status" => Command::Status,
        "usage" => Command::Usage { by: query.remove("by"), from: query.remove("from"), to: query.remove("to") },
        "days" => Command::UsageDays {
            by: query.remove("by").unwrap_or_else(|| "model".to_owned()),
            from: query.remove("from"),
            to: query.remove("to"),
        },
        "explain" => Command::Explain { from: query.remove("from"), to: query.remove("to") },
        "report" => Command::Report(ReportQuestion {
            period: query.remove("period"),
            from: query.remove("from"),
            last: yes(query.remove("last"))?,
        }),
        "calls" => {
            Command::Calls { last: last(query.remove("last"))?, from: query.remove("from"), to: query.remove("to") }
        }
        "clients" => Command::ClientList,
        "queue" => Command::Queue,
        "cache" => Command::Cache,
        "verify" => Command::Verify,
        "emergency" => Command::EmergencyStatus,
        "alerts" => Command::AlertList,
        "forecast" => match query.remove("if") {
            Some(changes) => {
                Command::WhatIf { changes: changes.split(';').map(|text| text.trim().to_owned()).collect() }
            }
            None => Command::Forecast,
        },
        "course" => Command::Course(CourseQuestion {
            window: query.remove("window").unwrap_or_else(|| "spend month".to_owned()),
            upstream: query.remove("upstream"),
            scope: query.remove("scope"),
        }),
        "minutes" => Command::Minutes(MinutesQuestion {
            from: query.remove("from"),
            to: query.remove("to"),
            upstream: query.remove("upstream"),
            group: query.remove("group"),
        }),
        "rules" => Command::AlertRules,
        "facts" => Command::Facts,
        "protections" => Command::Protections,
        "settings" => Command::SettingsShow,
        "tiers" => Command::TierList,
        "purchases" => Command::TierPurchaseList,
        "savings" => {
            Command::Savings { from: query.remove("from"), to: query.remove("to"), to_model: query.remove("to_model") }
        }
        "changes" => Command::Changes { from: query.remove("from"), to: query.remove("to") },
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

const WHAT_THERE_IS: &str = "there are /tidegate/status, usage, days, explain, report, calls, calls/ID, clients, queue, cache, emergency, alerts, rules, forecast, course, minutes, tiers, purchases, changes, savings, facts, protections, settings and verify";

fn yes(text: Option<String>) -> Result<bool, ApiError> {
    match text.as_deref() {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(ApiError::asker("last is true or false here")),
    }
}

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
        Ok(Answer::Report(view)) => json(&view),
        Ok(Answer::Calls(view)) => json(&view),
        Ok(Answer::Why(view)) => json(&view),
        Ok(Answer::Verify(view)) => json(&view),
        Ok(Answer::Clients(view)) => json(&view),
        Ok(Answer::Queue(view)) => json(&view),
        Ok(Answer::Emergency(view)) => json(&view),
        Ok(Answer::Forecasts(view)) => json(&view),
        Ok(Answer::WhatIf(view)) => json(&view),
        Ok(Answer::Changes(view)) => json(&view),
        Ok(Answer::Savings(view)) => json(&view),
        Ok(Answer::Tiers(view)) => json(&view),
        Ok(Answer::Purchases(view)) => json(&view),
        Ok(Answer::UsageDays(view)) => json(&view),
        Ok(Answer::Course(view)) => json(&view),
        Ok(Answer::Minutes(view)) => json(&view),
        Ok(Answer::Rules(view)) => json(&view),
        Ok(Answer::Facts(view)) => json(&view),
        Ok(Answer::Protections(views)) => json(&views),
        Ok(Answer::Settings(view)) => json(&view),
        Ok(Answer::SettingsSet(view)) => changed(&view),
        Ok(Answer::Alerts(view)) => json(&view),
        Ok(Answer::Kept(view)) => json(&view),
        // No reading command has these answers.
        Ok(
            Answer::Token(_)
            | Answer::Import(_)
            | Answer::ImportProgress(_)
            | Answer::Columns(_)
            | Answer::ExportProgress(_)
            | Answer::Sources(_)
            | Answer::ClaudeCode(_)
            | Answer::ClaudeCodeDone(_)
            | Answer::Reconcile(_)
            | Answer::Bundle(_)
            | Answer::Bundles(_)
            | Answer::Devices(_)
            | Answer::Keys(_)
            | Answer::KeyTests(_)
            | Answer::Estimate(_)
            | Answer::Call(_)
            | Answer::Reservation(_)
            | Answer::Price(_)
            | Answer::Shadow(_)
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

/// Where it was refused nothing was written.
fn changed(view: &SettingsSetView) -> Response<Bytes> {
    let mut response = json(view);
    if !view.refused.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
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
