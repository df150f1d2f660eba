//! Arbitrary bytes, read as the head and body of an answer: one harness for the fuzzer and for the ordinary tests.

use std::time::Duration;

use domain::routing::Failure;
use domain::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::heeding;
use crate::wire::anthropic::Tally;
use crate::wire::anthropic::complaint::Complaint;
use crate::wire::anthropic::limits;
use crate::wire::sse::Sse;

const SOME_DAY: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What an answer is taken for; `None`: for an answer.
pub fn failure_of(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Failure> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let complaint = Complaint::read(body);
    let readings = limits::told(headers, SOME_DAY).readings;
    heeding::failure_of(status, headers, !body.is_empty(), &complaint, &readings, SOME_DAY)
}

/// Any bytes as an answer: two for its status, then as in [`headers`].
pub fn answer(bytes: &[u8]) {
    let Some((status, rest)) = bytes.split_at_checked(2) else { return };
    let status = u16::from_be_bytes([status[0], status[1]]) % 900 + 100;
    let (map, body) = head_and_body(rest);
    if let Some(Failure::TierCap { until }) = failure_of(status, &map, body) {
        assert!(until > SOME_DAY && until.since(SOME_DAY) <= Duration::from_secs(62 * 86_400), "{until}");
    }
}

/// Any bytes as a stream of events, cut where the first of them says: it reads alike in one piece and in two.
pub fn events(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let cut = usize::from(*cut) * stream.len() / 256;
    let (mut whole, mut halves) = (Tally::default(), Tally::default());
    let read = |tally: &mut Tally, pieces: &[&[u8]]| {
        let mut sse = Sse::default();
        let fed = pieces.iter().try_for_each(|piece| sse.feed(piece, |event| tally.event(event.name, event.data)));
        fed.is_ok()
    };
    let same = read(&mut whole, &[stream]) == read(&mut halves, &[&stream[..cut], &stream[cut..]]);
    assert!(same && whole.usage == halves.usage && whole.ended == halves.ended);
    assert!(whole.usage.tokens.prompt() <= 5_000_000_000);
}

/// One header a line: a byte that chooses its name, then its value. After an empty line comes the body.
pub fn headers(bytes: &[u8]) {
    let (map, body) = head_and_body(bytes);
    limits::stays_sane(&map, body, SOME_DAY);
}

fn head_and_body(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut map = HeaderMap::new();
    let mut rest = bytes;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some((choice, value)) = line.split_first() else { break };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            let _ = map.try_append(name(usize::from(*choice)), value);
        }
    }
    (map, rest)
}

const STEMS: [&str; 8] = [
    "anthropic-ratelimit-requests",
    "anthropic-ratelimit-tokens",
    "anthropic-ratelimit-input-tokens",
    "anthropic-ratelimit-output-tokens",
    "anthropic-fast-input-tokens",
    "anthropic-fast-output-tokens",
    "anthropic-priority-input-tokens",
    "anthropic-priority-output-tokens",
];

const OTHERS: [&str; 14] = [
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "anthropic-ratelimit-unified-status",
    "anthropic-ratelimit-unified-reset",
    "anthropic-ratelimit-unified-representative-claim",
    "anthropic-ratelimit-unified-5h-utilization",
    "anthropic-ratelimit-unified-5h-reset",
    "anthropic-ratelimit-unified-5h-status",
    "anthropic-ratelimit-unified-7d-utilization",
    "anthropic-ratelimit-unified-7d-reset",
    "anthropic-ratelimit-unified-7d-status",
    "anthropic-ratelimit-unified-overage-utilization",
    "anthropic-ratelimit-unified-999d-reset",
];

/// A header that is read, or one that looks like it.
pub(crate) fn name(choice: usize) -> HeaderName {
    let choice = choice % (STEMS.len() * 3 + OTHERS.len());
    let text = match choice.checked_sub(OTHERS.len()) {
        None => OTHERS[choice].to_owned(),
        Some(limit) => format!("{}-{}", STEMS[limit / 3], ["limit", "remaining", "reset"][limit % 3]),
    };
    HeaderName::try_from(text).unwrap_or(http::header::RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, the same in every run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits") % end
        }
    }

    const VALUES: [&str; 16] = [
        "0",
        "-1",
        "50",
        "30000",
        "99999999999999999999",
        "0.5",
        "1e300",
        "NaN",
        "true",
        "rejected",
        "five_hour",
        "2026-01-01T00:00:30Z",
        "2099-01-01T00:00:00Z",
        "0000-00-00T99:99:99Z",
        "1767229200",
        "\u{e9}",
    ];
    const BODIES: [&str; 4] = [
        "",
        r#"{"error":{"message":"limit of 50 requests per minute","details":{"error_code":"ramp_limit_exceeded"}}}"#,
        r#"{"error":{"message":["\u0000"],"details":7}}"#,
        "{\"error\":{\"message\":\"\u{e9}",
    ];

    #[test]
    fn thousands_of_arbitrary_answers_are_read_without_harm() {
        let mut chance = Chance(7);
        for _ in 0..5_000 {
            let mut bytes = Vec::new();
            for _ in 0..chance.below(12) {
                bytes.push(u8::try_from(chance.below(256)).expect("a byte"));
                bytes.extend_from_slice(VALUES[chance.below(VALUES.len())].as_bytes());
                bytes.push(b'\n');
            }
            bytes.push(b'\n');
            bytes.extend_from_slice(BODIES[chance.below(BODIES.len())].as_bytes());
            for _ in 0..chance.below(3) {
                let at = chance.below(bytes.len());
                bytes[at] = u8::try_from(chance.below(256)).expect("a byte");
            }
            headers(&bytes);
            answer(&bytes);
        }
    }

    const PIECES: [&str; 14] = [
        "event: message_start\n",
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":-1}}}\n",
        "event: message_delta\r\n",
        "data: {\"delta\":{\"stop_reason\":\"refusal\"},\"usage\":{\"output_tokens\":18446744073709551616}}\r\n",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "event: message_stop\ndata: {}\n\n",
        "\n",
        "\r",
        "\u{feff}",
        ": ping\n\n",
        "data:",
        "event",
        "{\"a\":[[[[",
        "\u{0}",
    ];

    #[test]
    fn thousands_of_arbitrary_streams_are_read_alike_wherever_they_are_split() {
        let mut chance = Chance(11);
        for _ in 0..5_000 {
            let mut bytes = vec![u8::try_from(chance.below(256)).expect("a byte")];
            for _ in 0..chance.below(16) {
                bytes.extend_from_slice(PIECES[chance.below(PIECES.len())].as_bytes());
            }
            for _ in 0..chance.below(3) {
                let at = chance.below(bytes.len());
                bytes[at] = u8::try_from(chance.below(256)).expect("a byte");
            }
            events(&bytes);
        }
    }
}
