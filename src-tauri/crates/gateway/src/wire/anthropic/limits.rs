//! What an answer's headers tell of limits, and a 429 of which one it met. Nothing of it is believed blindly.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::admission::{Limited, Measure, Reading, Readings, WindowReading};
use domain::routing::measure_named;
use domain::time::Timestamp;
use http::HeaderMap;

use super::{number, retry_after, should_retry, text};
use crate::wire::json;

/// What headers tell, and what in them can't be true.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Told {
    pub(crate) readings: Readings,
    /// One sentence for the log.
    pub(crate) oddity: Option<String>,
}

/// No limit of a minute is higher.
const LIMIT_MAX: u64 = 1_000_000_000_000;
/// A bucket is full again within a minute or so, and clocks differ by less than this.
const FULL_IN_MAX: Duration = Duration::from_secs(3_600);
/// A window ends sooner.
const WINDOW_MAX: Duration = Duration::from_secs(62 * 86_400);
/// More than all of a window, within reason; what is above is no fraction.
const UTILIZATION_MAX: f64 = 2.0;
const WINDOWS_MAX: usize = 8;

pub(crate) fn told(headers: &HeaderMap, now: Timestamp) -> Told {
    let mut heard = Heard::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("anthropic-") else { continue };
        match text(Some(value)) {
            Some(value) => heard.header(name, value, now),
            None => heard.odd(name, "is no text"),
        }
    }
    heard.told(now)
}

/// Of one limit, as far as it has been heard.
#[derive(Clone, Copy, Default)]
struct Bucket {
    limit: Once<u64>,
    remaining: Once<u64>,
    full_in: Once<Duration>,
}

/// Of one window of a subscription.
#[derive(Clone, Copy, Default)]
struct Window {
    used: Once<u32>,
    resets_at: Once<Timestamp>,
    rejected: Option<bool>,
}

/// A figure that is told once. Told twice and differently, it is none.
#[derive(Clone, Copy, Default)]
enum Once<T> {
    #[default]
    Never,
    Told(T),
    Contradicted,
}

impl<T: Copy + PartialEq> Once<T> {
    /// `false` where that contradicts what was told before.
    fn tell(&mut self, value: T) -> bool {
        *self = match *self {
            Once::Never => Once::Told(value),
            Once::Told(before) if before == value => return true,
            Once::Told(_) | Once::Contradicted => Once::Contradicted,
        };
        !matches!(self, Once::Contradicted)
    }

    fn get(self) -> Option<T> {
        match self {
            Once::Told(value) => Some(value),
            Once::Never | Once::Contradicted => None,
        }
    }
}

#[derive(Default)]
struct Heard<'a> {
    /// By family and measure, in the order of `FAMILIES`.
    buckets: [Bucket; FAMILIES.len()],
    windows: BTreeMap<&'a str, Window>,
    unified_status: Option<&'a str>,
    unified_reset: Once<Timestamp>,
    claim: Option<&'a str>,
    oddity: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Standard,
    /// Fast mode draws on limits of its own.
    Fast,
    /// Capacity bought ahead.
    Priority,
}

const FAMILIES: [(&str, Family, Measure); 8] = [
    ("ratelimit-requests", Family::Standard, Measure::Requests),
    ("ratelimit-tokens", Family::Standard, Measure::Tokens),
    ("ratelimit-input-tokens", Family::Standard, Measure::InputTokens),
    ("ratelimit-output-tokens", Family::Standard, Measure::OutputTokens),
    ("fast-input-tokens", Family::Fast, Measure::InputTokens),
    ("fast-output-tokens", Family::Fast, Measure::OutputTokens),
    ("priority-input-tokens", Family::Priority, Measure::PriorityInputTokens),
    ("priority-output-tokens", Family::Priority, Measure::PriorityOutputTokens),
];

impl<'a> Heard<'a> {
    /// `name` is without `anthropic-`.
    fn header(&mut self, name: &'a str, value: &'a str, now: Timestamp) {
        if let Some(unified) = name.strip_prefix("ratelimit-unified-") {
            return self.unified(name, unified, value, now);
        }
        let Some((stem, part)) = name.rsplit_once('-') else { return };
        let Some(index) = FAMILIES.iter().position(|(known, ..)| *known == stem) else { return };
        let bucket = &mut self.buckets[index];
        let agrees = match part {
            "limit" => whole(value, 1).map(|limit| bucket.limit.tell(limit)),
            "remaining" => whole(value, 0).map(|left| bucket.remaining.tell(left)),
            "reset" => full_in(value, now).map(|wait| bucket.full_in.tell(wait)),
            _ => return,
        };
        self.judge(name, agrees);
    }

    fn unified(&mut self, name: &str, part: &'a str, value: &'a str, now: Timestamp) {
        match part {
            "status" => self.unified_status = Some(value),
            "representative-claim" => self.claim = Some(value),
            "reset" => {
                let agrees = unix_seconds(value, now).map(|at| self.unified_reset.tell(at));
                self.judge(name, agrees);
            }
            part => {
                if let Some((window, part)) = part.split_once('-').filter(|(window, _)| is_window(window)) {
                    self.window(name, window, part, value, now);
                }
            }
        }
    }

    fn window(&mut self, name: &str, window: &'a str, part: &str, value: &str, now: Timestamp) {
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(window) {
            return self.odd(name, "is one window too many");
        }
        let told = self.windows.entry(window).or_default();
        let agrees = match part {
            "utilization" => utilization(value).map(|used| told.used.tell(used)),
            "reset" => unix_seconds(value, now).map(|at| told.resets_at.tell(at)),
            "status" => {
                told.rejected = Some(value == "rejected");
                Some(true)
            }
            _ => return,
        };
        self.judge(name, agrees);
    }

    /// `None`: the value can't be. `Some(false)`: it contradicts what was said before.
    fn judge(&mut self, name: &str, agrees: Option<bool>) {
        match agrees {
            Some(true) => {}
            Some(false) => self.odd(name, "comes twice and differently"),
            None => self.odd(name, "says what can't be"),
        }
    }

    /// The first is as good as all: the log is told once a minute at most.
    fn odd(&mut self, name: &str, what: &str) {
        self.oddity.get_or_insert_with(|| format!("the header anthropic-{name} of an answer {what}; it is ignored"));
    }

    fn told(mut self, now: Timestamp) -> Told {
        let fast = self.readings(Family::Fast);
        let mut limits = self.readings(Family::Standard);
        if !fast.is_empty() {
            // The standard tokens in such an answer are another pool's.
            limits.retain(|reading| reading.measure == Measure::Requests);
            limits.extend(fast);
        }
        let priority = self.readings(Family::Priority);
        let windows = self.window_readings(now);
        let readings = Readings { limits, windows, priority, limited: None };
        Told { readings, oddity: self.oddity }
    }

    fn readings(&mut self, family: Family) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (index, (stem, of, measure)) in FAMILIES.iter().enumerate() {
            let Bucket { limit, remaining, full_in } = self.buckets[index];
            let Some(limit) = limit.get().filter(|_| *of == family) else { continue };
            let (remaining, full_in) = (remaining.get(), full_in.get());
            if remaining.is_some_and(|left| left > limit) {
                self.odd(&format!("{stem}-remaining"), "is above its limit");
            }
            let remaining = remaining.map(|left| left.min(limit));
            readings.push(Reading { measure: *measure, limit, remaining, full_in });
        }
        readings
    }

    /// A window of which calls are still let in is not spent, whatever fraction is told: paid extra usage goes on beyond it.
    fn window_readings(&mut self, now: Timestamp) -> Vec<WindowReading> {
        let lets_in = self.unified_status.is_some_and(|status| status.starts_with("allowed"));
        let refuses = self.unified_status == Some("rejected");
        let claimed = self.claim.and_then(window_of);
        let reading = |(name, window): (&&str, &Window)| {
            let is_claimed = claimed == Some(*name);
            let resets_at = window.resets_at.get().or(self.unified_reset.get().filter(|_| is_claimed))?;
            let rejected = !lets_in && window.rejected.unwrap_or(refuses && is_claimed);
            let used = window.used.get().or(rejected.then_some(ALL_OF_IT))?;
            let used = if lets_in { used.min(ALL_OF_IT - 1) } else { used };
            (resets_at > now).then(|| WindowReading { name: (*name).into(), used, resets_at, rejected })
        };
        self.windows.iter().filter_map(reading).collect()
    }
}

/// Hundredths of a percent.
const ALL_OF_IT: u32 = 10_000;

/// A limit of nothing would keep all calls back, and with them the answer that could correct it: `least` is 1 for limits.
fn whole(value: &str, least: u64) -> Option<u64> {
    value.parse().ok().filter(|count| (least..=LIMIT_MAX).contains(count))
}

fn full_in(value: &str, now: Timestamp) -> Option<Duration> {
    let reset = Timestamp::parse(value)?;
    let apart = reset.since(now).max(now.since(reset));
    (apart <= FULL_IN_MAX).then(|| reset.since(now))
}

fn unix_seconds(value: &str, now: Timestamp) -> Option<Timestamp> {
    let seconds: i64 = value.parse().ok().filter(|seconds| *seconds > 0)?;
    let at = Timestamp::from_millis(seconds.checked_mul(1_000)?);
    (at.since(now) <= WINDOW_MAX && now.since(at) <= WINDOW_MAX).then_some(at)
}

/// From a fraction to hundredths of a percent.
fn utilization(value: &str) -> Option<u32> {
    let fraction = number(value).filter(|fraction| *fraction <= UTILIZATION_MAX)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 10,000")]
    let hundredths = (fraction.min(1.0) * f64::from(ALL_OF_IT)).round() as u32;
    Some(hundredths)
}

/// `5h`, `7d`: other words at this place are no windows of calls.
fn is_window(word: &str) -> bool {
    let digits = word.strip_suffix(['h', 'd']).unwrap_or_default();
    (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The window that a claim speaks of. One for a single model's calls doesn't refuse the others.
fn window_of(claim: &str) -> Option<&'static str> {
    match claim {
        "five_hour" => Some("5h"),
        "seven_day" => Some("7d"),
        _ => None,
    }
}

/// What a 429 tells beside its headers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Refused {
    pub(crate) code: Option<String>,
    measure: Option<Measure>,
}

impl Refused {
    pub(crate) fn read(body: &[u8]) -> Refused {
        let Some(error) = json::member(body, "error").map(|error| error.get().as_bytes()) else {
            return Refused::default();
        };
        let details = json::member(error, "details").map(json::small_value).unwrap_or_default();
        let message = json::member(error, "message").and_then(json::text);
        Refused {
            code: details["error_code"].as_str().map(str::to_owned),
            measure: message.and_then(|message| measure_named(&message)),
        }
    }

    /// Money is spent: only its owner or the next month helps.
    pub(crate) fn is_about_money(&self) -> bool {
        self.code
            .as_deref()
            .is_some_and(|code| code.ends_with("spend_limit_reached") || code.ends_with("billing_unavailable"))
    }

    fn is_ramp(&self) -> bool {
        self.code.as_deref() == Some("ramp_limit_exceeded")
    }
}

/// A 429 as evidence; `None` where waiting is not what helps.
pub(crate) fn limited(headers: &HeaderMap, refused: &Refused, readings: &Readings, now: Timestamp) -> Option<Limited> {
    let retry_after = retry_after(headers, now);
    let throttled = retry_after.is_some() || should_retry(headers) == Some(true);
    (throttled && !refused.is_about_money()).then(|| {
        let ramp = refused.is_ramp();
        let measure = if ramp { None } else { refused.measure.or_else(|| emptied(readings)) };
        Limited { retry_after, measure, ramp }
    })
}

/// The limit of which nothing remains; of several, the one that takes longest to fill.
fn emptied(readings: &Readings) -> Option<Measure> {
    let empty = readings.limits.iter().filter(|reading| reading.remaining == Some(0));
    empty.max_by_key(|reading| reading.full_in).map(|reading| reading.measure)
}

/// What must hold whatever an upstream sends. For tests and the fuzzer.
pub(crate) fn stays_sane(headers: &HeaderMap, body: &[u8], now: Timestamp) {
    let Told { mut readings, .. } = told(headers, now);
    let refused = Refused::read(body);
    readings.limited = limited(headers, &refused, &readings, now);
    for reading in readings.limits.iter().chain(&readings.priority) {
        assert!((1..=LIMIT_MAX).contains(&reading.limit), "{reading:?}");
        assert!(reading.remaining.is_none_or(|left| left <= reading.limit), "{reading:?}");
        assert!(reading.full_in.is_none_or(|wait| wait <= FULL_IN_MAX), "{reading:?}");
    }
    assert!(readings.windows.len() <= WINDOWS_MAX);
    for window in &readings.windows {
        assert!(window.used <= ALL_OF_IT && is_window(&window.name), "{window:?}");
        assert!(window.resets_at > now && window.resets_at.since(now) <= WINDOW_MAX, "{window:?}");
    }
    let wait = readings.limited.and_then(|limited| limited.retry_after);
    assert!(wait.is_none_or(|wait| wait <= super::RETRY_AFTER_MAX), "{wait:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").expect("a time")
    }

    /// In seconds since 1970.
    fn unix(hours_from_now: i64) -> String {
        (now().as_millis() / 1_000 + hours_from_now * 3_600).to_string()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        map
    }

    fn read(pairs: &[(&str, &str)]) -> Told {
        told(&headers(pairs), now())
    }

    fn reading(measure: Measure, limit: u64, remaining: Option<u64>, full_in: Option<u64>) -> Reading {
        Reading { measure, limit, remaining, full_in: full_in.map(Duration::from_secs) }
    }

    #[test]
    fn a_minutes_limits_are_read() {
        let told = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "48"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:02Z"),
            ("anthropic-ratelimit-tokens-limit", "38000"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "8000"),
            ("anthropic-priority-input-tokens-limit", "10000"),
            ("anthropic-priority-input-tokens-remaining", "9000"),
            ("anthropic-priority-input-tokens-reset", "2026-01-01T00:00:59Z"),
            ("anthropic-organization-id", "o"),
        ]);
        assert_eq!(
            told.readings.limits,
            [
                reading(Measure::Requests, 50, Some(48), Some(2)),
                reading(Measure::Tokens, 38_000, None, None),
                reading(Measure::InputTokens, 30_000, None, None),
                reading(Measure::OutputTokens, 8_000, Some(8_000), None),
            ]
        );
        let priority = reading(Measure::PriorityInputTokens, 10_000, Some(9_000), Some(59));
        assert_eq!((told.readings.priority.as_slice(), told.oddity), ([priority].as_slice(), None));
    }

    #[test]
    fn the_limits_of_a_fast_call_are_those_of_fast_mode() {
        let told = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-tokens-limit", "38000"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-fast-input-tokens-limit", "7000"),
            ("anthropic-fast-input-tokens-remaining", "0"),
            ("anthropic-fast-output-tokens-limit", "900"),
        ]);
        assert_eq!(
            told.readings.limits,
            [
                reading(Measure::Requests, 50, None, None),
                reading(Measure::InputTokens, 7_000, Some(0), None),
                reading(Measure::OutputTokens, 900, None, None),
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_ignored_or_bounded_and_said_once() {
        for (pairs, limits, odd) in [
            (vec![("anthropic-ratelimit-requests-limit", "0")], vec![], true),
            (vec![("anthropic-ratelimit-requests-limit", "-1")], vec![], true),
            (vec![("anthropic-ratelimit-requests-limit", "many")], vec![], true),
            (vec![("anthropic-ratelimit-requests-limit", "99999999999999999999")], vec![], true),
            (vec![("anthropic-ratelimit-requests-remaining", "7")], vec![], false),
            (
                vec![("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-limit", "60")],
                vec![],
                true,
            ),
            (
                vec![("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-limit", "50")],
                vec![reading(Measure::Requests, 50, None, None)],
                false,
            ),
            (
                vec![("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "51")],
                vec![reading(Measure::Requests, 50, Some(50), None)],
                true,
            ),
            (
                vec![
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-reset", "2099-01-01T00:00:00Z"),
                ],
                vec![reading(Measure::Requests, 50, None, None)],
                true,
            ),
            (
                vec![
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-reset", "1999-01-01T00:00:00Z"),
                ],
                vec![reading(Measure::Requests, 50, None, None)],
                true,
            ),
            (
                vec![
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-reset", "2025-12-31T23:59:59Z"),
                ],
                vec![reading(Measure::Requests, 50, None, Some(0))],
                false,
            ),
        ] {
            let told = read(&pairs);
            assert_eq!((told.readings.limits, told.oddity.is_some()), (limits, odd), "{pairs:?}");
        }
        let told = read(&[("anthropic-ratelimit-requests-limit", "0"), ("anthropic-ratelimit-tokens-limit", "x")]);
        let sentence = "the header anthropic-ratelimit-requests-limit of an answer says what can't be; it is ignored";
        assert_eq!(told.oddity.as_deref(), Some(sentence));
    }

    #[test]
    fn windows_of_a_subscription_are_read() {
        let (soon, later) = (unix(3), unix(100));
        let window = |name: &str, used, hours: i64, rejected| WindowReading {
            name: name.into(),
            used,
            resets_at: Timestamp::from_millis(now().as_millis() + hours * 3_600_000),
            rejected,
        };
        let both = |status: &'static str, used: &'static str, of_5h: &'static str| {
            read(&[
                ("anthropic-ratelimit-unified-status", status),
                ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
                ("anthropic-ratelimit-unified-reset", &soon),
                ("anthropic-ratelimit-unified-5h-utilization", used),
                ("anthropic-ratelimit-unified-5h-status", of_5h),
                ("anthropic-ratelimit-unified-7d-utilization", "0.1234"),
                ("anthropic-ratelimit-unified-7d-reset", &later),
                ("anthropic-ratelimit-unified-overage-utilization", "0.3"),
                ("anthropic-ratelimit-unified-grace-5h-utilization", "0.9"),
            ])
        };
        let week = || window("7d", 1_234, 100, false);
        for (status, used, of_5h, expected) in [
            ("allowed", "0.5", "allowed", window("5h", 5_000, 3, false)),
            ("allowed_warning", "1.04", "allowed_warning", window("5h", 9_999, 3, false)),
            // Paid extra usage goes on beyond it.
            ("allowed", "1", "rejected", window("5h", 9_999, 3, false)),
            ("rejected", "1.04", "rejected", window("5h", 10_000, 3, true)),
            ("rejected", "1", "soon", window("5h", 10_000, 3, false)),
        ] {
            let told = both(status, used, of_5h);
            assert_eq!(told.readings.windows, [expected, week()], "{status} {used} {of_5h}");
            assert_eq!(told.oddity, None);
        }
    }

    #[test]
    fn a_window_is_not_believed_without_a_sane_end_and_a_sane_fraction() {
        let later = unix(100);
        for (utilization, reset) in [
            ("-0.1", later.as_str()),
            ("NaN", &later),
            ("54", &later),
            ("0.5", "0"),
            ("0.5", "-7"),
            ("0.5", "soon"),
            ("0.5", "4070908800"),
            ("0.5", "99999999999999999999"),
            ("0.5", &unix(-1)),
        ] {
            let told = read(&[
                ("anthropic-ratelimit-unified-7d-utilization", utilization),
                ("anthropic-ratelimit-unified-7d-reset", reset),
            ]);
            assert_eq!(told.readings.windows, [], "{utilization} {reset}");
        }
    }

    fn refusal(message: &str) -> Refused {
        Refused::read(serde_json::json!({"type": "error", "error": {"message": message}}).to_string().as_bytes())
    }

    #[test]
    fn a_refusal_names_its_limit_in_every_wording_there_was() {
        let tail = "Please reduce the prompt length or the maximum tokens requested, or try again later.";
        for (message, expected) in [
            (
                "This request would exceed the rate limit for your organization (x) of 30,000 input tokens per minute. ",
                Some(Measure::InputTokens),
            ),
            (
                "This request would exceed your organization's rate limit of 8,000 output tokens per minute (org: x). ",
                Some(Measure::OutputTokens),
            ),
            (
                "This request would exceed your organization's rate limit of 50 requests per minute. ",
                Some(Measure::Requests),
            ),
            ("Number of request tokens has exceeded your per-minute rate limit. ", Some(Measure::InputTokens)),
            ("Number of requests has exceeded your per-minute rate limit. ", Some(Measure::Requests)),
            ("Rate limited", None),
            ("", None),
        ] {
            assert_eq!(refusal(&format!("{message}{tail}")).measure, expected, "{message}");
        }
    }

    #[test]
    fn a_429_is_evidence_of_a_limit_a_ramp_or_a_throttle_but_not_of_money() {
        let code = |code: &str| {
            let body = serde_json::json!({"error": {"message": "x", "details": {"error_code": code}}}).to_string();
            Refused::read(body.as_bytes())
        };
        let of = |pairs: &[(&str, &str)], refused: &Refused| {
            let headers = headers(pairs);
            limited(&headers, refused, &told(&headers, now()).readings, now())
        };
        let after =
            |seconds, measure, ramp| Some(Limited { retry_after: Some(Duration::from_secs(seconds)), measure, ramp });
        let by_message = refusal("your organization's rate limit of 8,000 output tokens per minute");
        let empty = ("anthropic-ratelimit-input-tokens-remaining", "0");
        let limit = ("anthropic-ratelimit-input-tokens-limit", "30000");
        let told_wait = ("retry-after", "7");
        assert_eq!(of(&[told_wait, limit, empty], &by_message), after(7, Some(Measure::OutputTokens), false));
        assert_eq!(of(&[told_wait, limit, empty], &Refused::default()), after(7, Some(Measure::InputTokens), false));
        assert_eq!(of(&[told_wait], &code("ramp_limit_exceeded")), after(7, None, true));
        assert_eq!(of(&[("x-should-retry", "true")], &Refused::default()), Some(Limited::default()));
        assert_eq!(of(&[], &Refused::default()), None);
        assert_eq!(of(&[], &code("enforced_spend_limit_reached")), None);
        assert_eq!(of(&[told_wait], &code("linked_organization_billing_unavailable")), None);
        for body in ["", "x", "[]", r#"{"error":7}"#, r#"{"error":{"message":7,"details":[]}}"#] {
            assert_eq!(Refused::read(body.as_bytes()), Refused::default(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_headers_lead_to_readings_that_cannot_be(
            pairs in proptest::collection::vec((0..FAMILIES.len() * 3 + 6, "[-+0-9a-zA-Z:.]{0,24}"), 0..12),
            body: Vec<u8>,
        ) {
            let mut map = HeaderMap::new();
            for (index, value) in &pairs {
                map.append(crate::fuzz::name(*index), value.parse().expect("a value"));
            }
            stays_sane(&map, &body, now());
        }

        #[test]
        fn a_limit_that_makes_sense_is_read_as_it_is(limit in 1..=LIMIT_MAX, remaining in 0..=LIMIT_MAX, reset in 0..60_u32) {
            let told = read(&[
                ("anthropic-ratelimit-input-tokens-limit", &limit.to_string()),
                ("anthropic-ratelimit-input-tokens-remaining", &remaining.to_string()),
                ("anthropic-ratelimit-input-tokens-reset", &format!("2026-01-01T00:00:{reset:02}Z")),
            ]);
            let expected = reading(Measure::InputTokens, limit, Some(remaining.min(limit)), Some(reset.into()));
            prop_assert_eq!(told.readings.limits, [expected]);
            prop_assert_eq!(told.oddity.is_some(), remaining > limit);
        }
    }
}
