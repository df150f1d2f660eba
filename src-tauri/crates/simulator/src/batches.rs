//! Message batches, as far as clients need them: create, look, list, cancel, read results. A batch ends a second after it was made.

use std::time::Duration;

use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use http::{HeaderValue, Method, Response};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::ask::{self, Version};
use crate::body::Body;
use crate::chance;
use crate::error::ApiError;
use crate::markers::Markers;
use crate::paging;
use crate::reel::Frame;
use crate::reply;
use crate::reports::Used;
use crate::server::{Caller, Stop};
use crate::tokens;
use crate::world::World;

const TAKES: Duration = Duration::from_secs(1);
const EXPIRES: Duration = Duration::from_secs(24 * 3_600);
/// The latest are kept.
const BATCHES_MAX: usize = 1_000;

#[derive(Clone)]
pub(crate) struct Batch {
    id: String,
    key: String,
    version: Version,
    created: Timestamp,
    canceled: Option<Timestamp>,
    requests: Vec<Value>,
    /// Its results are in the reports.
    reported: bool,
}

/// Method, the path after `batches`, and the query.
pub(crate) type Route<'a> = (&'a Method, &'a [&'a str], &'a str);

pub(crate) fn answer(
    world: &World,
    caller: &Caller,
    request_id: &str,
    route: Route<'_>,
    body: &[u8],
) -> Result<Response<Body>, Stop> {
    let now = world.clock.now().timestamp;
    let (method, path, query) = route;
    let shown = match (method, path) {
        (&Method::POST, []) => create(world, caller, request_id, body, now)?.json(world, now),
        (&Method::GET, []) => list(world, caller, query, now)?,
        (&Method::GET, [id]) => find(world, caller, id)?.json(world, now),
        (&Method::POST, [id, "cancel"]) => cancel(world, caller, id, now)?.json(world, now),
        (&Method::DELETE, [id]) => delete(world, caller, id)?,
        (&Method::GET, [id, "results"]) => return results(world, caller, request_id, id, now),
        _ => return Err(ApiError::not_found("Not found").into()),
    };
    Ok(reply::json(world, request_id, &shown))
}

fn create(world: &World, caller: &Caller, request_id: &str, body: &[u8], now: Timestamp) -> Result<Batch, ApiError> {
    let body = ask::object(body)?;
    let requests = tokens::list(&body["requests"]).to_vec();
    if requests.is_empty() {
        return Err(ApiError::invalid("requests: Field required"));
    }
    for (i, request) in requests.iter().enumerate() {
        if !request["custom_id"].is_string() {
            return Err(ApiError::invalid(format!("requests.{i}.custom_id: Field required")));
        }
    }
    let id = chance::id("msgbatch", chance::hash(world.seed, request_id.as_bytes()));
    let mut state = world.state();
    state.books.batch_results += requests.len() as u64;
    let (key, version) = (caller.key.clone(), caller.version);
    let batch = Batch { id, key, version, created: now, canceled: None, requests, reported: false };
    if state.batches.len() == BATCHES_MAX {
        state.batches.remove(0);
    }
    state.batches.push(batch.clone());
    Ok(batch)
}

fn list(world: &World, caller: &Caller, query: &str, now: Timestamp) -> Result<Value, ApiError> {
    let mine: Vec<Batch> =
        world.state().batches.iter().rev().filter(|batch| batch.key == caller.key).cloned().collect();
    paging::page(mine.iter().map(|batch| batch.json(world, now)).collect(), query)
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("Message Batch {id} not found"))
}

fn find(world: &World, caller: &Caller, id: &str) -> Result<Batch, ApiError> {
    let state = world.state();
    let found = state.batches.iter().find(|batch| batch.id == id && batch.key == caller.key);
    found.cloned().ok_or_else(|| unknown(id))
}

fn cancel(world: &World, caller: &Caller, id: &str, now: Timestamp) -> Result<Batch, ApiError> {
    let mut state = world.state();
    let found = state.batches.iter_mut().find(|batch| batch.id == id && batch.key == caller.key);
    let batch = found.ok_or_else(|| unknown(id))?;
    if batch.has_ended(now) {
        return Err(ApiError::invalid(format!("Message Batch {id} has already ended")));
    }
    batch.canceled = batch.canceled.or(Some(now));
    Ok(batch.clone())
}

fn delete(world: &World, caller: &Caller, id: &str) -> Result<Value, ApiError> {
    let batch = find(world, caller, id)?;
    world.state().batches.retain(|other| other.id != batch.id);
    Ok(json!({"id": batch.id, "type": "message_batch_deleted"}))
}

fn results(world: &World, caller: &Caller, request_id: &str, id: &str, now: Timestamp) -> Result<Response<Body>, Stop> {
    let batch = find(world, caller, id)?;
    if !batch.has_ended(now) {
        let error = ApiError::not_found(format!("Message Batch {id} has no available results."));
        return Err(ApiError { should_retry: Some(false), ..error }.into());
    }
    report(world, caller, &batch, now);
    let lines: String = batch.requests.iter().map(|request| batch.result(world, request) + "\n").collect();
    let lines_type = HeaderValue::from_static("application/x-jsonl");
    Ok(reply::with(world, request_id, lines_type, Body::whole(lines)))
}

/// When they are first read: what nobody reads is nobody's.
fn report(world: &World, caller: &Caller, batch: &Batch, now: Timestamp) {
    if batch.reported || batch.canceled.is_some() {
        return;
    }
    let messages = batch.requests.iter().filter_map(|request| message(world, &request["params"], batch.version).ok());
    let used: Vec<(String, Usage)> = messages.map(|message| used(&message)).collect();
    let mut state = world.state();
    let key_id = state.reports.of_secret(&caller.key);
    for (model, usage) in used {
        let key_id = key_id.clone();
        state.reports.add(Used { key_id, model: &model, usage, priority: false, at: now, actor: None });
    }
    if let Some(kept) = state.batches.iter_mut().find(|kept| kept.id == batch.id) {
        kept.reported = true;
    }
}

fn used(message: &Value) -> (String, Usage) {
    let count = |name: &str| message["usage"][name].as_u64().unwrap_or(0);
    let tokens = Tokens { input: count("input_tokens"), output: count("output_tokens"), ..Tokens::default() };
    let usage = Usage { tokens, batch: true, ..Usage::default() };
    (message["model"].as_str().unwrap_or_default().to_owned(), usage)
}

impl Batch {
    fn has_ended(&self, now: Timestamp) -> bool {
        now.since(self.created) >= TAKES
    }

    fn json(&self, world: &World, now: Timestamp) -> Value {
        let ended = self.has_ended(now);
        let count = self.requests.len();
        let (canceled, succeeded) = if self.canceled.is_some() { (count, 0) } else { (0, count) };
        let status = match (ended, self.canceled) {
            (true, _) => "ended",
            (false, Some(_)) => "canceling",
            (false, None) => "in_progress",
        };
        let done = |count: usize| if ended { count } else { 0 };
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": count - done(count), "succeeded": done(succeeded), "errored": 0,
                "canceled": done(canceled), "expired": 0},
            "created_at": self.created.to_string(),
            "expires_at": self.created.after(EXPIRES).to_string(),
            "ended_at": ended.then(|| self.created.after(TAKES).to_string()),
            "cancel_initiated_at": self.canceled.map(|at| at.to_string()),
            "archived_at": null,
            "results_url": ended.then(|| format!("{}/v1/messages/batches/{}/results", world.base_url, self.id)),
        })
    }

    fn result(&self, world: &World, request: &Value) -> String {
        let result = if self.canceled.is_some() {
            json!({"type": "canceled"})
        } else {
            match message(world, &request["params"], self.version) {
                Ok(message) => json!({"type": "succeeded", "message": message}),
                Err(error) => {
                    let envelope: Value = serde_json::from_slice(&error.body(None)).unwrap_or_default();
                    json!({"type": "errored", "error": envelope})
                }
            }
        };
        json!({"custom_id": request["custom_id"], "result": result}).to_string()
    }
}

fn message(world: &World, params: &Value, version: Version) -> Result<Value, ApiError> {
    let ask = ask::of_value(params.clone(), version)?;
    if !world.knows(&ask.model, world.clock.now().timestamp) {
        return Err(ApiError::not_found(format!("model: {}", ask.model)));
    }
    let seed = chance::hash(world.seed, params.to_string().as_bytes());
    let answer = Answer::plan(&ask, &Markers::read(&ask.last_text()), seed);
    let input = Tokens { input: tokens::of_prompt(&tokens::segments(&ask.body)), ..Tokens::default() };
    let frame = Frame { ask: &ask, answer: &answer, input, service_tier: "batch" };
    Ok(serde_json::from_slice(&frame.json()).unwrap_or_default())
}
