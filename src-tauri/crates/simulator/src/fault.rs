//! What may go wrong, and when: by a script with a seed, by a header, or by a marker in the prompt.

use std::path::Path;
use std::time::Duration;

use domain::catalog;
use domain::time::{Calendar, Timestamp};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;

use crate::chance;
use crate::error::ApiError;

/// The name of a fault, as scripts, the header `x-simulator-fault` and `[[fault …]]` spell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 400 `invalid_request_error`.
    InvalidRequest,
    /// 400: prepaid credit is gone.
    CreditTooLow,
    /// 400: the limit that the organisation set itself.
    SpendLimit,
    /// 401 with `x-should-retry: false`.
    Authentication,
    /// 403.
    Permission,
    /// 404: the model.
    NotFound,
    /// 413.
    RequestTooLarge,
    /// 429 of requests per minute; `retry_after` seconds, 7 if not told.
    RateRequests,
    /// 429 of input tokens per minute.
    RateInput,
    /// 429 of output tokens per minute.
    RateOutput,
    /// 429 for sharp growth: `ramp_limit_exceeded`.
    Ramp,
    /// 429 of the tier's monthly cap: no `retry-after`.
    SpendCap,
    /// 429 of a busy server: no limits in its headers; `retry_after` seconds, none if not told.
    Transient,
    /// 500.
    Internal,
    /// 504 `timeout_error`.
    Timeout,
    /// 529.
    Overloaded,
    /// The connection closes before any byte.
    Hangup,
    /// The same for every request of any path, between `from` and `to`.
    Outage,
    /// Nothing for `seconds` (3,600 if not told), then the answer.
    StallHeaders,
    /// 200 with `text/html`.
    Html,
    /// 200 without a body.
    Empty,
    /// `content-length` is 100 more than the body; then the connection closes.
    WrongLength,
    /// The answer compressed, where `accept-encoding` allows it.
    Gzip,
    /// The answer compressed, whatever `accept-encoding` says.
    GzipForced,
    /// `event: error` (overloaded) after `after_events` events (4 if not told; 1 is before any content); a JSON answer becomes a 529.
    ErrorInStream,
    /// The connection closes after `after_bytes` bytes or `after_events` events (4 events, or half the JSON, if not told).
    Cut,
    /// Nothing for `seconds` (3,600 if not told) after `after_events` events (4 if not told); a JSON answer stalls in its middle.
    Stall,
    /// `bytes` at a time (1 if not told), `ms` apart (5 if not told).
    Drip,
    /// After `after_events` events: a line without a colon, an event that is no JSON, bytes that are no UTF-8; then the rest.
    Malformed,
    /// After `after_events` events: a `ping` of `bytes` bytes (100 MB if not told).
    Huge,
    /// The headers of the limits tell what was `seconds` ago (5 if not told).
    HeadersLate,
    /// No headers of the limits.
    HeadersMissing,
    /// More remains than the limit allows.
    HeadersExcess,
    /// Every limit is 0.
    HeadersZero,
    /// Buckets were full an hour ago, though they are not.
    HeadersPast,
    /// Buckets are full in 2099.
    HeadersFuture,
    /// No number is a number, and no time a time.
    HeadersGarbage,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Kind> {
        let name: serde::de::value::StrDeserializer<'_, NameError> = name.into_deserializer();
        Kind::deserialize(name).ok()
    }
}

/// One fault with its parameters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub after_events: Option<usize>,
    pub after_bytes: Option<usize>,
    pub seconds: Option<f64>,
    pub ms: Option<u64>,
    pub bytes: Option<u64>,
    pub retry_after: Option<u64>,
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Fault {
        Fault { kind, after_events: None, after_bytes: None, seconds: None, ms: None, bytes: None, retry_after: None }
    }
}

impl Fault {
    /// `cut; after_events=3`; `None` where the name or a parameter is unknown.
    pub(crate) fn parse(text: &str) -> Option<Fault> {
        let mut parts = text.split(';').map(str::trim);
        let mut fault = Fault::from(Kind::named(parts.next()?)?);
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            match name {
                "after_events" => fault.after_events = Some(value.parse().ok()?),
                "after_bytes" => fault.after_bytes = Some(value.parse().ok()?),
                "seconds" => fault.seconds = Some(value.parse().ok().filter(|seconds| is_time(*seconds))?),
                "ms" => fault.ms = Some(value.parse().ok()?),
                "bytes" => fault.bytes = Some(value.parse().ok()?),
                "retry_after" => fault.retry_after = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(fault)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds.unwrap_or(3_600.0)).unwrap_or(Duration::from_secs(3_600))
    }

    /// How old the figures in the headers are.
    pub(crate) fn headers_age(&self) -> Option<Duration> {
        const USUAL: Duration = Duration::from_secs(5);
        let told = || self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        (self.kind == Kind::HeadersLate).then(|| told().unwrap_or(USUAL))
    }

    pub(crate) fn events(&self) -> usize {
        self.after_events.unwrap_or(4)
    }

    /// The 429 that speaks of a limit of the account, where this is one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each fault strikes at one place; elsewhere it changes nothing")]
    pub(crate) const fn limit(&self) -> Option<crate::gauge::Measure> {
        use crate::gauge::Measure;
        match self.kind {
            Kind::RateRequests => Some(Measure::Requests),
            Kind::RateInput => Some(Measure::InputTokens),
            Kind::RateOutput => Some(Measure::OutputTokens),
            _ => None,
        }
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.retry_after.unwrap_or(7))
    }

    /// The answer in place of the real one, where this fault is such an answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each fault strikes at one place; elsewhere it changes nothing")]
    pub(crate) fn error(&self, model: &str, now: Timestamp) -> Option<ApiError> {
        Some(match self.kind {
            Kind::InvalidRequest => ApiError::invalid("messages: Input should be a valid array"),
            Kind::CreditTooLow => ApiError::invalid(
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade \
                 or purchase credits.",
            ),
            Kind::SpendLimit => ApiError::invalid(format!(
                "You have reached your specified API usage limits. You will regain access on {} at 00:00 UTC.",
                next_month(now)
            )),
            Kind::Authentication => ApiError::unauthorized("invalid x-api-key"),
            Kind::Permission => ApiError::forbidden("Your API key does not have permission to use this model."),
            Kind::NotFound => ApiError::not_found(format!("model: {model}")),
            Kind::RequestTooLarge => ApiError::too_large(),
            Kind::Ramp => ApiError::ramp(self.wait()),
            Kind::SpendCap => ApiError {
                code: Some("enforced_spend_limit_reached"),
                should_retry: None,
                ..ApiError::rate_limited(
                    format!(
                        "You have reached your API usage limits: your organization has crossed its monthly API usage \
                         threshold, set based on your organization's API tier. You will regain access on {} at 00:00 \
                         UTC.",
                        next_month(now)
                    ),
                    None,
                )
            },
            Kind::Transient => ApiError::busy(self.retry_after.map(Duration::from_secs)),
            Kind::Internal => {
                ApiError { should_retry: Some(true), ..ApiError::new(500, "api_error", "Internal server error") }
            }
            Kind::Timeout => ApiError::new(504, "timeout_error", "Request timed out"),
            Kind::Overloaded => ApiError::overloaded(),
            _ => return None,
        })
    }
}

/// Its first day: `2026-12-01`.
fn next_month(now: Timestamp) -> String {
    let calendar = Calendar::UTC;
    calendar.day(calendar.end_of_month(now)).to_string()
}

/// When faults happen. The first rule whose conditions all hold decides.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Faults {
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rule: Vec<Rule>,
}

/// One line of a script.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    fault: Kind,
    /// The call of this number; the first is 1.
    nth: Option<u64>,
    /// Every n-th call.
    every: Option<u64>,
    /// 0 to 1.
    probability: Option<f64>,
    /// With `*` for any run of characters.
    model: Option<String>,
    /// Seconds since the start, inclusive.
    from: Option<f64>,
    /// Seconds since the start, exclusive.
    to: Option<f64>,
    after_events: Option<usize>,
    after_bytes: Option<usize>,
    seconds: Option<f64>,
    ms: Option<u64>,
    bytes: Option<u64>,
    retry_after: Option<u64>,
}

/// A script that can't be used, and why.
#[derive(Debug)]
pub struct BadScript(String);

impl std::fmt::Display for BadScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadScript {}

impl Faults {
    /// Reads a script: JSON where the file's name ends so, else TOML.
    pub fn read(path: &Path) -> Result<Faults, BadScript> {
        let named = |reason: String| BadScript(format!("the fault script {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let json = path.extension().is_some_and(|extension| extension == "json");
        if json { Faults::from_json(&text) } else { Faults::from_toml(&text) }.map_err(|error| named(error.0))
    }

    pub fn from_toml(text: &str) -> Result<Faults, BadScript> {
        toml::from_str(text).map_err(|error| BadScript(error.to_string())).and_then(Faults::of)
    }

    pub fn from_json(text: &str) -> Result<Faults, BadScript> {
        serde_json::from_str(text).map_err(|error| BadScript(error.to_string())).and_then(Faults::of)
    }

    fn of(script: Script) -> Result<Faults, BadScript> {
        for (i, rule) in script.rule.iter().enumerate() {
            rule.check().map_err(|reason| BadScript(format!("rule {}: {reason}", i + 1)))?;
        }
        Ok(Faults { seed: script.seed, rules: script.rule })
    }

    /// Nobody is there.
    pub(crate) fn is_outage(&self, elapsed: Duration) -> bool {
        self.rules.iter().any(|rule| rule.fault == Kind::Outage && rule.is_on(elapsed.as_secs_f64()))
    }

    /// `nth` counts the calls from 1.
    pub(crate) fn pick(&self, nth: u64, model: &str, elapsed: Duration) -> Option<Fault> {
        let hit = |(index, rule): &(usize, &Rule)| rule.holds(self.seed, *index, nth, model, elapsed.as_secs_f64());
        self.rules.iter().enumerate().find(hit).map(|(_, rule)| rule.fault())
    }
}

/// Not before now, and within a year.
fn is_time(seconds: f64) -> bool {
    (0.0..=31_536_000.0).contains(&seconds)
}

impl Rule {
    /// A rule that could never hold is a mistake.
    fn check(&self) -> Result<(), &'static str> {
        if self.nth == Some(0) || self.every == Some(0) {
            return Err("nth and every count from 1");
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Err("probability is from 0 to 1");
        }
        let picks = self.nth.is_some() || self.every.is_some() || self.probability.is_some() || self.model.is_some();
        if self.fault == Kind::Outage && picks {
            return Err("an outage strikes everyone: it has from and to alone");
        }
        if ![self.from, self.to, self.seconds].into_iter().flatten().all(is_time) {
            return Err("from, to and seconds are from 0 to 31536000");
        }
        Ok(())
    }

    fn holds(&self, seed: u64, index: usize, nth: u64, model: &str, elapsed: f64) -> bool {
        let draw = chance::mix(chance::mix(seed, index as u64), nth) >> 11;
        let draw = draw as f64 / (1_u64 << 53) as f64;
        self.nth.is_none_or(|wanted| wanted == nth)
            && self.every.is_none_or(|every| nth.is_multiple_of(every))
            && self.probability.is_none_or(|probability| draw < probability)
            && self.model.as_ref().is_none_or(|pattern| catalog::matches(pattern, model))
            && self.is_on(elapsed)
    }

    fn is_on(&self, elapsed: f64) -> bool {
        self.from.is_none_or(|from| elapsed >= from) && self.to.is_none_or(|to| elapsed < to)
    }

    fn fault(&self) -> Fault {
        let Rule { fault: kind, after_events, after_bytes, seconds, ms, bytes, retry_after, .. } = *self;
        Fault { kind, after_events, after_bytes, seconds, ms, bytes, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(script: &str, calls: u64) -> Vec<Option<Kind>> {
        let faults = Faults::from_toml(script).expect("a script");
        let kind = |nth| faults.pick(nth, "claude-sonnet-4-5", Duration::from_secs(nth)).map(|fault| fault.kind);
        (1..=calls).map(kind).collect()
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let script = "[[rule]]\nfault = \"overloaded\"\nnth = 2\n[[rule]]\nfault = \"cut\"\nevery = 2\nfrom = 3\nto = 7\n\
            [[rule]]\nfault = \"internal\"\nmodel = \"claude-opus-*\"";
        let (cut, overloaded) = (Some(Kind::Cut), Some(Kind::Overloaded));
        assert_eq!(kinds(script, 8), [None, overloaded, None, cut, None, cut, None, None]);
    }

    #[test]
    fn chance_repeats_with_its_seed_and_is_as_frequent_as_told() {
        let script = |seed| format!("seed = {seed}\n[[rule]]\nfault = \"internal\"\nprobability = 0.25");
        let hits = |seed| kinds(&script(seed), 4_000);
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        let count = hits(1).iter().flatten().count();
        assert!((900..1_100).contains(&count), "{count}");
    }

    #[test]
    fn a_script_in_json_says_the_same_and_a_wrong_one_says_what_is_wrong() {
        let json = r#"{"rule": [{"fault": "stall", "nth": 3, "seconds": 0.5}]}"#;
        let fault = Faults::from_json(json).expect("a script").pick(3, "m", Duration::ZERO).expect("a fault");
        assert_eq!((fault.kind, fault.stall()), (Kind::Stall, Duration::from_millis(500)));
        let error = Faults::from_toml("[[rule]]\nfault = \"cute\"").expect_err("no such fault").to_string();
        assert!(error.contains("cute") && error.contains("overloaded"), "{error}");
        assert!(Faults::from_toml("[[rule]]\nfault = \"cut\"\nnht = 1").is_err());
    }

    #[test]
    fn a_rule_that_could_never_hold_is_refused() {
        for (rule, reason) in [
            ("nth = 0", "rule 1: nth and every count from 1"),
            ("every = 0", "rule 1: nth and every count from 1"),
            ("probability = 1.5", "rule 1: probability is from 0 to 1"),
            ("probability = nan", "rule 1: probability is from 0 to 1"),
            ("seconds = -1", "rule 1: from, to and seconds are from 0 to 31536000"),
            ("fault = \"outage\"\nprobability = 0.5", "rule 1: an outage strikes everyone: it has from and to alone"),
            ("from = 1e300", "rule 1: from, to and seconds are from 0 to 31536000"),
        ] {
            let fault = if rule.starts_with("fault") { "" } else { "fault = \"cut\"\n" };
            let error = Faults::from_toml(&format!("[[rule]]\n{fault}{rule}")).expect_err(rule);
            assert_eq!(error.to_string(), reason, "{rule}");
        }
    }

    #[test]
    fn an_outage_lasts_from_its_beginning_until_its_end() {
        let faults = Faults::from_toml("[[rule]]\nfault = \"outage\"\nfrom = 3\nto = 5").expect("a script");
        let down: Vec<bool> = (1..7).map(|second| faults.is_outage(Duration::from_secs(second))).collect();
        assert_eq!(down, [false, false, true, true, false, false]);
    }

    #[test]
    fn a_header_names_a_fault_and_its_parameters() {
        let fault = Fault::parse("cut; after_bytes=70").expect("a fault");
        assert_eq!(fault, Fault { after_bytes: Some(70), ..Fault::from(Kind::Cut) });
        assert_eq!(Fault::parse("cut; after_lunch=1"), None);
        assert_eq!(Fault::parse("stall; seconds=-1"), None);
        assert_eq!(Fault::parse("stall; seconds=1e300"), None);
        assert_eq!(Fault::parse("cutlet"), None);
    }

    #[test]
    fn the_script_in_the_documentation_is_a_script() {
        let (_, rest) = include_str!("lib.rs").split_once("```toml\n").expect("an example");
        let (example, _) = rest.split_once("//! ```").expect("its end");
        let script = example.replace("//! ", "");
        assert_eq!(Faults::from_toml(&script).expect("a script").rules.len(), 2);
    }
}
