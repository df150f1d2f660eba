//! Reservations over HTTP: `POST /tidegate/reservations`, `POST …/ID/extend`, `DELETE …/ID`, each with a client's token.

use std::time::Duration;

use bytes::Bytes;
use domain::admission::{Reservation, ReservationAsk, ReservationId};
use domain::call::CallId;
use domain::config::Client;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::error::Error;
use crate::headers::short;
use crate::pipeline::{Phase, Pipeline};

const ROOT: &str = "/tidegate/reservations";
/// Nobody plans more in one piece of work.
const COUNT_MAX: u64 = 1_000_000_000_000;
const TTL: Duration = Duration::from_secs(600);

/// What is to be set aside; tokens are those of all calls together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub model: String,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub ttl: Duration,
}

/// What a client wants of its reservations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reserving {
    Make(Wanted),
    Extend { id: ReservationId, ttl: Duration },
    Release { id: ReservationId },
}

impl Reserving {
    pub(crate) fn is_at(path: &str) -> bool {
        path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(crate) fn read(method: &Method, path: &str, body: &[u8]) -> Result<Reserving, Error> {
        let rest = path.strip_prefix(ROOT).ok_or(Error::NotFound)?;
        let parts: Vec<&str> = rest.split('/').skip(1).collect();
        match (method, parts.as_slice()) {
            (&Method::POST, []) => make(&object(body)?),
            (&Method::POST, [id, "extend"]) => Ok(Reserving::Extend { id: named(id)?, ttl: ttl(&object(body)?)? }),
            (&Method::DELETE, [id]) => Ok(Reserving::Release { id: named(id)? }),
            _ => Err(Error::NotFound),
        }
    }
}

fn make(asked: &Value) -> Result<Reserving, Error> {
    let model = asked["model"].as_str().filter(|model| !model.is_empty());
    let calls = count(&asked["calls"], None).filter(|calls| *calls > 0);
    let tokens = |name: &str| count(&asked[name], Some(0));
    Ok(Reserving::Make(Wanted {
        model: model.ok_or(bad("model must be a string such as \"claude-sonnet-5-5\""))?.to_owned(),
        calls: calls.ok_or(bad("calls must be a whole number of at least 1"))?,
        input_tokens: tokens("input_tokens")
            .ok_or(bad("input_tokens must be a whole number, of all calls together"))?,
        output_tokens: tokens("output_tokens")
            .ok_or(bad("output_tokens must be a whole number, of all calls together"))?,
        ttl: ttl(asked)?,
    }))
}

fn object(body: &[u8]) -> Result<Value, Error> {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    value.filter(Value::is_object).ok_or(bad(
        "the body must be a JSON object such as {\"calls\":20,\"model\":\"claude-sonnet-5-5\",\"ttl\":\"10m\"}",
    ))
}

/// `unsaid` where it is not there at all.
fn count(value: &Value, unsaid: Option<u64>) -> Option<u64> {
    if value.is_null() { unsaid } else { value.as_u64().filter(|count| *count <= COUNT_MAX) }
}

/// Seconds, or a number with `s`, `m` or `h`; ten minutes where nothing is said.
fn ttl(asked: &Value) -> Result<Duration, Error> {
    let seconds = match &asked["ttl"] {
        Value::Null => return Ok(TTL),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => seconds(text.trim()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    seconds.map(Duration::from_secs).ok_or(bad("ttl must be seconds or a time such as \"10m\", from 1 s to 24 h"))
}

fn seconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor = match &text[digits..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

fn named(id: &str) -> Result<ReservationId, Error> {
    id.parse().map(ReservationId).map_err(|_| Error::NoReservation)
}

fn bad(what: &'static str) -> Error {
    Error::BadRequest { what }
}

impl Pipeline {
    pub(crate) fn reserve(&self, client: &Client, asked: Reserving) -> Result<Response<Bytes>, Error> {
        if *self.phase.borrow() != Phase::Open {
            return Err(Error::Draining);
        }
        let kept = match asked {
            Reserving::Make(wanted) => {
                let ask = self.ask_of(client, &wanted)?;
                self.door.change(|admission, now| admission.reserve(ask, now))
            }
            Reserving::Extend { id, ttl } => {
                self.door.change(|admission, now| admission.extend(id, &client.name, ttl, now))
            }
            Reserving::Release { id } => {
                let was = self.door.change(|admission, now| admission.release_reservation(id, &client.name, now));
                self.reserved.notify_one();
                return if was { Ok(released()) } else { Err(Error::NoReservation) };
            }
        };
        if kept.is_ok() {
            self.reserved.notify_one();
        }
        kept.map(|kept| shown(&kept)).map_err(|why| self.words.not_reserved(&why, self.now()))
    }

    fn ask_of(&self, client: &Client, wanted: &Wanted) -> Result<ReservationAsk, Error> {
        let now = self.now();
        let Wanted { model, calls, input_tokens, output_tokens, ttl } = wanted;
        let upstream = self.upstreams.first().ok_or(Error::NoUpstream)?;
        Ok(ReservationAsk {
            id: ReservationId(CallId::new(now.timestamp, self.chance())),
            client: client.name.clone(),
            account: upstream.account,
            model: short(model),
            calls: *calls,
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
            ttl: *ttl,
            price: self.price(&upstream.name, model, now.timestamp),
        })
    }

    /// For a client that someone speaks for.
    pub(crate) fn set_aside(&self, client: &Client, wanted: &Wanted) -> Result<Reservation, Error> {
        let ask = self.ask_of(client, wanted)?;
        let kept = self.door.change(|admission, now| admission.reserve(ask, now));
        kept.map_err(|why| self.words.not_reserved(&why, self.now()))
    }
}

fn shown(Reservation { id, starts_at, expires_at, .. }: &Reservation) -> Response<Bytes> {
    let (id, starts_at, expires_at) = (id.0.to_string(), starts_at.to_string(), expires_at.to_string());
    let body = json!({ "id": id, "starts_at": starts_at, "expires_at": expires_at }).to_string();
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn released() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, path: &str, body: &str) -> Result<Reserving, Error> {
        Reserving::read(&method, path, body.as_bytes())
    }

    #[test]
    fn what_a_client_wants_is_read() {
        let id: CallId = "01JDZZZZZZZZZZZZZZZZZZZZZZ".parse().expect("an id");
        let of = |secs: u64, input_tokens, output_tokens| {
            let ttl = Duration::from_secs(secs);
            Ok(Reserving::Make(Wanted { model: "m".into(), calls: 3, input_tokens, output_tokens, ttl }))
        };
        for (body, expected) in [
            (r#"{"calls":3,"model":"m","ttl":"10m","input_tokens":7,"output_tokens":8}"#, of(600, 7, 8)),
            (r#"{"calls":3,"model":"m","ttl":90}"#, of(90, 0, 0)),
            (r#"{"calls":3,"model":"m","ttl":"2h","other":[]}"#, of(7_200, 0, 0)),
            (r#"{"calls":3,"model":"m"}"#, of(600, 0, 0)),
        ] {
            assert_eq!(read(Method::POST, ROOT, body), expected, "{body}");
        }
        let path = format!("{ROOT}/{id}");
        let ttl = Duration::from_secs(60);
        let extend = Reserving::Extend { id: ReservationId(id), ttl };
        assert_eq!(read(Method::POST, &format!("{path}/extend"), r#"{"ttl":"60s"}"#), Ok(extend));
        assert_eq!(read(Method::DELETE, &path, ""), Ok(Reserving::Release { id: ReservationId(id) }));
    }

    #[test]
    fn bad_input_gets_one_sentence() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"calls":0,"model":"m"}"#,
            r#"{"calls":-1,"model":"m"}"#,
            r#"{"calls":1.5,"model":"m"}"#,
            r#"{"calls":99999999999999,"model":"m"}"#,
            r#"{"calls":1,"model":""}"#,
            r#"{"calls":1,"model":7}"#,
            r#"{"calls":1,"model":"m","input_tokens":"7"}"#,
            r#"{"calls":1,"model":"m","output_tokens":-7}"#,
            r#"{"calls":1,"model":"m","ttl":"soon"}"#,
            r#"{"calls":1,"model":"m","ttl":"m"}"#,
            r#"{"calls":1,"model":"m","ttl":"ü"}"#,
            r#"{"calls":1,"model":"m","ttl":"99999999999999999999h"}"#,
            r#"{"calls":1,"model":"m","ttl":[]}"#,
        ] {
            assert!(matches!(read(Method::POST, ROOT, body), Err(Error::BadRequest { .. })), "{body}");
        }
        assert_eq!(read(Method::DELETE, &format!("{ROOT}/x"), ""), Err(Error::NoReservation));
        assert_eq!(read(Method::GET, ROOT, ""), Err(Error::NotFound));
        assert!(!Reserving::is_at("/tidegate/reservationsx") && !Reserving::is_at("/tidegate/status"));
    }
}
