//! `POST /v1/messages` and `count_tokens`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::time::Instant;
use domain::usage::{Tokens, Usage};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response};
use serde_json::json;

use crate::answer::Answer;
use crate::ask::{self, Ask};
use crate::body::Body;
use crate::books::{Cause, Ending, Outcome};
use crate::chance;
use crate::error::{self, ApiError};
use crate::fault::{Fault, Kind};
use crate::gauge::{Gauge, Measure, View};
use crate::limits::{Grant, PoolId};
use crate::markers::Markers;
use crate::models;
use crate::pace::Pace;
use crate::play::{self, Score};
use crate::pool::{Demand, Denied, Limited};
use crate::reel::{Event, Frame};
use crate::reply;
use crate::running::Running;
use crate::server::{Caller, Refusal, Stop};
use crate::spoil;
use crate::tokens;
use crate::world::World;

/// A call on its way through the simulator.
struct Call<'a> {
    world: &'a Arc<World>,
    caller: &'a Caller,
    headers: &'a HeaderMap,
    request_id: &'a str,
    ask: Ask,
    answer: Answer,
    pace: Pace,
    fault: Option<Fault>,
    pool: Option<PoolId>,
}

/// A body that has arrived becomes an answer, or the reason why not. Either way it is booked.
pub(crate) async fn post(
    world: &Arc<World>,
    caller: &Caller,
    headers: &HeaderMap,
    request_id: &str,
    body: Result<Bytes, ApiError>,
) -> Result<Response<Body>, Stop> {
    let nth = world.state().books.arrive();
    let mut model = String::new();
    let result = match Call::read(world, caller, headers, request_id, nth, body, &mut model) {
        Ok(call) => call.run().await,
        Err(error) => Err(error.into()),
    };
    result.inspect_err(|stop| book_failure(world, request_id, &model, stop))
}

fn book_failure(world: &World, request_id: &str, model: &str, stop: &Stop) {
    let (status, outcome) = match stop {
        Stop::Says(refusal) => match refusal.limited {
            Some(cause) => {
                world.state().books.refuse(cause);
                (refusal.error.status, Outcome::Refused)
            }
            None => (refusal.error.status, Outcome::Failed),
        },
        Stop::Replaced(_) => (200, Outcome::Failed),
        Stop::Hangup => (0, Outcome::Failed),
    };
    let at = world.clock.now().timestamp;
    let usage = Usage::default();
    let request_id = request_id.to_owned();
    world.state().books.end(Ending { request_id, model, status, outcome, usage, at });
}

impl<'a> Call<'a> {
    fn read(
        world: &'a Arc<World>,
        caller: &'a Caller,
        headers: &'a HeaderMap,
        request_id: &'a str,
        nth: u64,
        body: Result<Bytes, ApiError>,
        model: &mut String,
    ) -> Result<Call<'a>, ApiError> {
        let body = body?;
        let ask = ask::message(&body, caller.version)?;
        model.clone_from(&ask.model);
        let now = world.clock.now();
        if !world.knows(&ask.model, now.timestamp) {
            return Err(ApiError::not_found(format!("model: {}", ask.model)));
        }
        models::check_length(&ask.model, ask.max_tokens)?;
        let seed = chance::hash(world.seed, &body);
        let markers = Markers::read(&ask.last_text());
        let wished = wished_fault(headers, &markers)?;
        let fault = wished.or_else(|| world.faults.pick(nth, &ask.model, world.since_start()));
        let answer = Answer::plan(&ask, &markers, seed);
        let pace = world.latency.draw(seed);
        let pool = world.state().limits.pool(&caller.key, &ask.model, now.instant);
        Ok(Call { world, caller, headers, request_id, ask, answer, pace, fault, pool })
    }

    async fn run(self) -> Result<Response<Body>, Stop> {
        self.fail_in_a_storm()?;
        self.fail_at_the_door()?;
        let running = self.admit()?;
        let limits = self.limit_headers();
        self.wait_for_the_first_byte().await;
        let mut response = if self.ask.stream { self.stream(running) } else { self.whole(running).await? };
        response.headers_mut().extend(limits);
        Ok(response)
    }

    fn fail_in_a_storm(&self) -> Result<(), Stop> {
        let now = self.world.clock.now().instant;
        match self.world.state().storm.at(now) {
            Some(wait) => Err(ApiError::busy(wait).into()),
            None => Ok(()),
        }
    }

    /// The faults in which the model never begins.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each fault strikes at one place; elsewhere it changes nothing")]
    fn fail_at_the_door(&self) -> Result<(), Stop> {
        let Some(fault) = &self.fault else { return Ok(()) };
        if let Some(measure) = fault.limit() {
            return Err(self.invented_limit(fault, measure));
        }
        if let Some(error) = fault.error(&self.ask.model, self.world.clock.now().timestamp) {
            return Err(error.into());
        }
        match fault.kind {
            Kind::Hangup | Kind::Outage => Err(Stop::Hangup),
            Kind::Html => Err(self.replaced("text/html", b"<!doctype html><title>Sign in</title>\n")),
            Kind::Empty => Err(self.replaced("application/json", b"")),
            Kind::ErrorInStream if !self.ask.stream => Err(ApiError::overloaded().into()),
            _ => Ok(()),
        }
    }

    /// Something in between answered in place of the API.
    fn replaced(&self, content_type: &'static str, body: &'static [u8]) -> Stop {
        let content_type = HeaderValue::from_static(content_type);
        Stop::Replaced(Box::new(reply::with(self.world, self.request_id, content_type, Body::whole(body))))
    }

    /// A 429 that no bucket asked for, with the account's figures where it has any.
    fn invented_limit(&self, fault: &Fault, measure: Measure) -> Stop {
        let now = self.world.clock.now().instant;
        let gauges = self.pool.map(|pool| self.world.state().limits.gauges(pool, self.view(), now)).unwrap_or_default();
        let known = gauges.iter().find(|gauge| gauge.measure == measure).map(|gauge| gauge.limit);
        let usual = match measure {
            Measure::Requests => 50,
            Measure::InputTokens => 30_000,
            Measure::OutputTokens => 8_000,
        };
        let limited = Limited { measure, limit: known.unwrap_or(usual), wait: fault.wait() };
        self.refusal(self.limit_error(&limited), None)
    }

    async fn wait_for_the_first_byte(&self) {
        let stall = self.fault.filter(|fault| fault.kind == Kind::StallHeaders).map(|fault| fault.stall());
        let wait = self.pace.first_byte + stall.unwrap_or_default();
        // A sleep of nothing would still last until the timer's next tick.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn admit(&self) -> Result<Running, Stop> {
        let segments = tokens::segments(&self.ask.body);
        models::check_prompt(&self.ask.model, tokens::of_prompt(&segments))?;
        let now = self.world.clock.now();
        let mut state = self.world.state();
        if let Err(wait) = state.windows.check(&self.caller.key, now) {
            drop(state);
            return Err(self.refusal(ApiError::plan_limit(wait), Some(Cause::Windows)));
        }
        let plan = state.prompts.plan(&self.caller.key, &self.ask.model, &segments, now.instant);
        match state.limits.admit(self.pool, &self.demand(plan.tokens), now.instant) {
            Ok(grant) => {
                state.prompts.keep(&plan, now.instant);
                state.books.admit(grant.counted_input);
                state.windows.begin(&self.caller.key, now);
                drop(state);
                Ok(self.running(grant, plan.tokens))
            }
            Err(denied) => {
                drop(state);
                Err(self.denial(denied))
            }
        }
    }

    fn demand(&self, input: Tokens) -> Demand {
        let View { fast, priority } = self.view();
        let us_only = self.ask.geo() == "us";
        Demand { input, max_tokens: self.ask.max_tokens, fast, may_have_priority: priority, us_only }
    }

    fn view(&self) -> View {
        View { fast: self.ask.is_fast(), priority: self.ask.may_have_priority() }
    }

    fn running(&self, grant: Grant, tokens: Tokens) -> Running {
        let usage = Usage { tokens, fast: self.ask.is_fast(), us_only: self.ask.geo() == "us", ..Usage::default() };
        Running {
            world: self.world.clone(),
            grant,
            key: self.caller.key.clone(),
            request_id: self.request_id.to_owned(),
            model: self.ask.model.clone(),
            usage,
            outcome: Outcome::Cancelled,
        }
    }

    fn denial(&self, denied: Denied) -> Stop {
        match denied {
            Denied::Minute(limited) => self.refusal(self.limit_error(&limited), Some(Cause::Minute(limited.measure))),
            Denied::Ramp(wait) => self.refusal(ApiError::ramp(wait), Some(Cause::Ramp)),
        }
    }

    fn limit_error(&self, limited: &Limited) -> ApiError {
        let of_2025 = self.world.state().limits.is_of_2025();
        let sentence = error::limit_sentence(limited, &self.world.org, &self.ask.model, of_2025);
        ApiError::rate_limited(sentence, Some(limited.wait))
    }

    /// `limited` is the true limit behind it, where there is one.
    fn refusal(&self, error: ApiError, limited: Option<Cause>) -> Stop {
        Stop::Says(Box::new(Refusal { error, limited, headers: self.limit_headers() }))
    }

    fn limit_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let now = self.world.clock.now();
        if let Some(pool) = self.pool {
            let (gauges, age) = self.gauges(pool, now.instant);
            reply::limits(&mut headers, &gauges, spoil::earlier(now.timestamp, age));
        }
        if let Some(fault) = &self.fault {
            spoil::spoil(&mut headers, fault.kind, now.timestamp);
        }
        self.world.state().windows.headers(&mut headers, &self.caller.key, now.timestamp);
        headers
    }

    /// What the headers tell, and how old it is.
    fn gauges(&self, pool: PoolId, now: Instant) -> (Vec<Gauge>, Duration) {
        let limits = &mut self.world.state().limits;
        match self.fault.and_then(|fault| fault.headers_age()) {
            Some(age) => limits.gauges_ago(pool, self.view(), age, now),
            None => (limits.gauges(pool, self.view(), now), Duration::ZERO),
        }
    }

    fn frame(&self, running: &Running) -> Frame<'_> {
        let input = running.usage.tokens;
        let service_tier = if running.grant.has_priority() { "priority" } else { "standard" };
        Frame { ask: &self.ask, answer: &self.answer, input, service_tier }
    }

    fn stream(&self, running: Running) -> Response<Body> {
        let events = self.frame(&running).events();
        let mut response = self.pieces(running, reply::EVENTS, events, self.pace);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// A JSON answer comes when all of it has been produced.
    async fn whole(&self, mut running: Running) -> Result<Response<Body>, Stop> {
        let json = self.frame(&running).json();
        self.produce_all(&mut running).await;
        if self.fault.is_none_or(|fault| spoil::is_of_headers(fault.kind)) {
            running.end(Outcome::Completed);
            return Ok(reply::with(self.world, self.request_id, reply::JSON, Body::whole(json)));
        }
        let produced = running.usage.tokens.output;
        let half = json.len() / 2;
        let events = vec![Event { bytes: json.slice(..half), produced }, Event { bytes: json.slice(half..), produced }];
        let at_once = Pace { first_byte: Duration::ZERO, per_token: Duration::ZERO };
        Ok(self.pieces(running, reply::JSON, events, at_once))
    }

    async fn produce_all(&self, running: &mut Running) {
        /// Output tokens between two looks at the clock.
        const STEP: u64 = 10;
        let total = self.answer.output_tokens();
        if self.pace.per_token.is_zero() {
            return running.produce(total);
        }
        let mut produced = 0;
        while produced < total {
            let step = STEP.min(total - produced);
            tokio::time::sleep(self.pace.of_tokens(step)).await;
            produced += step;
            running.produce(produced);
        }
    }

    fn pieces(&self, running: Running, content_type: HeaderValue, events: Vec<Event>, pace: Pace) -> Response<Body> {
        let fault = self.fault.map(|fault| self.fitted(fault));
        let kind = fault.map(|fault| fault.kind);
        let length: usize = events.iter().map(|event| event.bytes.len()).sum();
        let gzip = self.compresses(kind);
        let stream = play::play(Score::new(events, pace, fault.as_ref()), running, gzip);
        let mut response = reply::with(self.world, self.request_id, content_type, Body::pieces(stream));
        if gzip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if kind == Some(Kind::WrongLength) {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length + 100));
        }
        response
    }

    /// A JSON answer is two events, its halves: faults that count events strike between them.
    fn fitted(&self, fault: Fault) -> Fault {
        if self.ask.stream { fault } else { Fault { after_events: Some(1), ..fault } }
    }

    fn compresses(&self, kind: Option<Kind>) -> bool {
        let accepts = || {
            let accepted = self.headers.get_all(ACCEPT_ENCODING).iter();
            accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("gzip"))
        };
        kind == Some(Kind::GzipForced) || (kind == Some(Kind::Gzip) && accepts())
    }
}

/// The header goes before the marker, and both before the script.
fn wished_fault(headers: &HeaderMap, markers: &Markers) -> Result<Option<Fault>, ApiError> {
    match (header_fault(headers)?, &markers.fault) {
        (None, Some(marker)) => named_fault(marker).map(Some),
        (fault, _) => Ok(fault),
    }
}

pub(crate) fn header_fault(headers: &HeaderMap) -> Result<Option<Fault>, ApiError> {
    let header = headers.get("x-simulator-fault").map(|value| value.to_str().unwrap_or_default());
    header.map(named_fault).transpose()
}

fn named_fault(text: &str) -> Result<Fault, ApiError> {
    Fault::parse(text).ok_or_else(|| ApiError::invalid(format!("the simulator knows no fault {text:?}")))
}

pub(crate) fn count(
    world: &World,
    caller: &Caller,
    request_id: &str,
    body: Result<Bytes, ApiError>,
) -> Result<Response<Body>, Stop> {
    let (model, body) = ask::count(&body?, caller.version)?;
    let now = world.clock.now();
    if !world.knows(&model, now.timestamp) {
        return Err(ApiError::not_found(format!("model: {model}")).into());
    }
    let mut state = world.state();
    state.books.count_tokens += 1;
    if let Err(limited) = state.limits.admit_count(&caller.key, now.instant) {
        let sentence = error::limit_sentence(&limited, &world.org, &model, state.limits.is_of_2025());
        return Err(ApiError::rate_limited(sentence, Some(limited.wait)).into());
    }
    drop(state);
    let tokens = tokens::of_prompt(&tokens::segments(&body));
    Ok(reply::json(world, request_id, &json!({"input_tokens": tokens})))
}
