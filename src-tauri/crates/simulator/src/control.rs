//! The simulator's own pages and switches. They need no key and answer this machine only.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use domain::money::Usd;
use domain::tier::MinuteLimits;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::body::Body;
use crate::outside::Share;
use crate::pool::TokenLimits;
use crate::ramp::Growth;
use crate::reply;
use crate::reports::Used;
use crate::server;
use crate::storm::Storm;
use crate::windows::Allowance;
use crate::world::World;

const BODY_BYTES_MAX: usize = 65_536;
/// What is larger is a mistake; and up to here no sum of buckets overflows.
const TOKENS_MAX: u64 = 1_000_000_000;
const SECONDS_MAX: f64 = 31_536_000.0;
const DOLLARS_MAX: f64 = 1_000_000_000.0;

/// A page to look at, or a switch to turn.
enum Page {
    Shown(fn(&World) -> Vec<u8>),
    /// It takes a body, or says in a sentence why not.
    Switch(fn(&World, &[u8]) -> Result<(), String>),
}

impl Page {
    fn named(name: &str) -> Option<Page> {
        Some(match name {
            "stats" => Page::Shown(stats),
            "calls" => Page::Shown(calls),
            "limits" => Page::Switch(set_limits),
            "outside" => Page::Switch(set_outside),
            "storm" => Page::Switch(set_storm),
            "ramp" => Page::Switch(set_ramp),
            "windows" => Page::Switch(set_windows),
            "priority" => Page::Switch(set_priority),
            "used" => Page::Switch(set_used),
            _ => return None,
        })
    }

    const fn method(&self) -> Method {
        match self {
            Page::Shown(_) => Method::GET,
            Page::Switch(_) => Method::POST,
        }
    }
}

/// `None` where the caller left before it had said what it wants.
pub(crate) async fn answer<B>(world: &World, request: Request<B>, local: bool) -> Option<Response<Body>>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !local {
        return Some(refusal(StatusCode::FORBIDDEN, "these pages answer this machine only"));
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let Some(page) = path.strip_prefix("/simulator/").and_then(Page::named) else {
        return Some(refusal(StatusCode::NOT_FOUND, &format!("there is no page {path}")));
    };
    if parts.method != page.method() {
        return Some(refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {}", page.method())));
    }
    Some(match page {
        Page::Shown(show) => json(StatusCode::OK, show(world)),
        Page::Switch(turn) => {
            let body = server::read(&parts.headers, body, BODY_BYTES_MAX).await.ok()?;
            let body = body.map_err(|_| format!("the body is longer than {BODY_BYTES_MAX} bytes"));
            match body.and_then(|body| turn(world, &body)) {
                Ok(()) => done(),
                Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
            }
        }
    })
}

fn stats(world: &World) -> Vec<u8> {
    serde_json::to_vec(&world.stats()).unwrap_or_default()
}

/// JSON lines, the oldest first.
fn calls(world: &World) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in world.state().books.records() {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut lines, &record);
        lines.push(b'\n');
    }
    lines
}

fn done() -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    json(status, serde_json::to_vec(&json!({"error": reason})).unwrap_or_default())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, reply::JSON);
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLimits {
    requests_per_minute: Option<u64>,
    input_tokens_per_minute: Option<u64>,
    output_tokens_per_minute: Option<u64>,
    group: Option<String>,
}

fn set_limits(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewLimits = parsed(body)?;
    let change = MinuteLimits {
        requests: limit("requests_per_minute", new.requests_per_minute)?,
        input_tokens: limit("input_tokens_per_minute", new.input_tokens_per_minute)?,
        output_tokens: limit("output_tokens_per_minute", new.output_tokens_per_minute)?,
    };
    if change == MinuteLimits::default() {
        return Err("name requests_per_minute, input_tokens_per_minute or output_tokens_per_minute".to_owned());
    }
    let now = world.clock.now().instant;
    world.state().limits.change(change, new.group.as_deref(), now)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOutside {
    share: f64,
    #[serde(default)]
    requests: bool,
    group: Option<String>,
}

fn set_outside(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewOutside = parsed(body)?;
    if !(0.0..=1.0).contains(&new.share) {
        return Err("share is from 0 to 1".to_owned());
    }
    // Shares below half a thousandth are none.
    let permille = (new.share * 1_000.0).round() as u16;
    let share = (permille > 0).then_some(Share { permille, requests: new.requests });
    let now = world.clock.now().instant;
    world.state().limits.set_outside(share, new.group.as_deref(), now)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStorm {
    seconds: f64,
    retry_after: Option<u64>,
}

fn set_storm(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewStorm = parsed(body)?;
    if !(0.0..=SECONDS_MAX).contains(&new.seconds) {
        return Err(format!("seconds is from 0 to {SECONDS_MAX}"));
    }
    let lasts = Duration::from_secs_f64(new.seconds);
    let storm = Storm::new(lasts, new.retry_after.map(Duration::from_secs), world.clock.now().instant);
    world.state().storm = storm;
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRamp {
    per_minute_growth: Option<f64>,
    floor_tokens: Option<u64>,
}

fn set_ramp(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewRamp = parsed(body)?;
    let growth = match (new.per_minute_growth, new.floor_tokens) {
        (None, None) => None,
        (Some(per_minute), Some(floor_tokens)) if (0.0..=1_000.0).contains(&per_minute) => {
            Some(Growth { per_minute, floor_tokens: floor_tokens.min(TOKENS_MAX) })
        }
        (Some(_), Some(_)) => return Err("per_minute_growth is from 0 to 1000".to_owned()),
        (Some(_), None) | (None, Some(_)) => {
            return Err("name per_minute_growth and floor_tokens, or neither to switch it off".to_owned());
        }
    };
    world.state().limits.set_growth(growth)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWindows {
    five_hour_usd: Option<f64>,
    seven_day_usd: Option<f64>,
}

fn set_windows(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewWindows = parsed(body)?;
    let five_hour = dollars("five_hour_usd", new.five_hour_usd)?;
    let seven_day = dollars("seven_day_usd", new.seven_day_usd)?;
    world.state().windows.set(Allowance { five_hour, seven_day });
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPriority {
    input_tokens_per_minute: Option<u64>,
    output_tokens_per_minute: Option<u64>,
}

fn set_priority(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewPriority = parsed(body)?;
    let input = limit("input_tokens_per_minute", new.input_tokens_per_minute)?;
    let output = limit("output_tokens_per_minute", new.output_tokens_per_minute)?;
    let priority = match (input, output) {
        (None, None) => None,
        (Some(_), Some(_)) => Some(TokenLimits { input, output }),
        (Some(_), None) | (None, Some(_)) => {
            let both = "name input_tokens_per_minute and output_tokens_per_minute, or neither to switch it off";
            return Err(both.to_owned());
        }
    };
    let now = world.clock.now().instant;
    world.state().limits.set_priority(priority, now)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUsed {
    /// A name; the reports make an id of it.
    api_key: String,
    workspace_id: Option<String>,
    model: String,
    /// RFC 3339; now without it.
    at: Option<String>,
    /// Of Claude Code, and whose.
    person: Option<String>,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cache_write_5m_tokens: u64,
    #[serde(default)]
    cache_write_1h_tokens: u64,
    #[serde(default)]
    cache_read_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    web_searches: u64,
}

/// Another key of the organisation: only the reports tell of it.
fn set_used(world: &World, body: &[u8]) -> Result<(), String> {
    let new: NewUsed = parsed(body)?;
    let tokens = Tokens {
        input: new.input_tokens,
        cache_write_5m: new.cache_write_5m_tokens,
        cache_write_1h: new.cache_write_1h_tokens,
        cache_read: new.cache_read_tokens,
        output: new.output_tokens,
    };
    if tokens.prompt().max(tokens.output).max(new.web_searches) > TOKENS_MAX {
        return Err(format!("at most {TOKENS_MAX} tokens or searches"));
    }
    let now = world.clock.now().timestamp;
    let at = new.at.as_deref().map_or(Some(now), Timestamp::parse).ok_or("at is RFC 3339")?;
    let usage = Usage { tokens, web_searches: new.web_searches, ..Usage::default() };
    let mut state = world.state();
    let key_id = state.reports.of_name(&new.api_key, new.workspace_id);
    let actor = new.person.map(Into::into);
    state.reports.add(Used { key_id, model: &new.model, usage, priority: false, at, actor });
    Ok(())
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body is not what this page takes: {error}"))
}

fn limit(name: &str, value: Option<u64>) -> Result<Option<u64>, String> {
    match value {
        Some(value) if !(1..=TOKENS_MAX).contains(&value) => Err(format!("{name} is from 1 to {TOKENS_MAX}")),
        fine => Ok(fine),
    }
}

fn dollars(name: &str, value: Option<f64>) -> Result<Option<Usd>, String> {
    let Some(value) = value else { return Ok(None) };
    let nanos = (value * 1e9).round();
    if !(1.0..=DOLLARS_MAX * 1e9).contains(&nanos) {
        return Err(format!("{name} is more than 0 and at most {DOLLARS_MAX}"));
    }
    Ok(Some(Usd::from_nanos(nanos as i64)))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::Options;

    async fn asked(method: Method, page: &str, local: bool) -> (u16, String) {
        let world = World::new(Options::default(), String::new());
        let request = Request::builder().method(method).uri(format!("/simulator/{page}"));
        let request = request.body(Full::new(Bytes::from_static(b"{\"seconds\": 60}"))).expect("a request");
        let response = answer(&world, request, local).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn other_machines_neither_look_nor_turn() {
        let no = || (403, "{\"error\":\"these pages answer this machine only\"}".to_owned());
        for (method, page) in [(Method::GET, "stats"), (Method::GET, "calls"), (Method::POST, "storm")] {
            assert_eq!(asked(method.clone(), page, false).await, no(), "{page}");
            assert!(asked(method, page, true).await.0 < 300, "{page}");
        }
    }
}
