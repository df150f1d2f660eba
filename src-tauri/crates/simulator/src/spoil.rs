//! Headers of limits that can't be believed.

use std::time::Duration;

use domain::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fault::Kind;
use crate::reply;

pub(crate) const fn is_of_headers(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::HeadersLate
            | Kind::HeadersMissing
            | Kind::HeadersExcess
            | Kind::HeadersZero
            | Kind::HeadersPast
            | Kind::HeadersFuture
            | Kind::HeadersGarbage
    )
}

#[expect(clippy::wildcard_enum_match_arm, reason = "each fault strikes at one place; elsewhere it changes nothing")]
pub(crate) fn spoil(headers: &mut HeaderMap, kind: Kind, now: Timestamp) {
    let set = |headers: &mut HeaderMap, end: &str, value: &str| {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        for (_, slot) in headers.iter_mut().filter(|(name, _)| name.as_str().ends_with(end)) {
            *slot = value.clone();
        }
    };
    match kind {
        Kind::HeadersMissing => headers.clear(),
        Kind::HeadersExcess => exceed(headers),
        Kind::HeadersZero => set(headers, "-limit", "0"),
        Kind::HeadersPast => set(headers, "-reset", &reply::to_the_second(earlier(now, Duration::from_secs(3_600)))),
        Kind::HeadersFuture => set(headers, "-reset", "2099-01-01T00:00:00Z"),
        Kind::HeadersGarbage => {
            set(headers, "-limit", "plenty");
            set(headers, "-remaining", "-1e999");
            set(headers, "-reset", "2026-13-32T25:61:61Z");
        }
        _ => {}
    }
}

/// Ten times the limit remains.
fn exceed(headers: &mut HeaderMap) {
    let limits: Vec<(HeaderName, u64)> = headers
        .iter()
        .filter_map(|(name, value)| {
            let start = name.as_str().strip_suffix("-limit")?;
            let remaining = HeaderName::try_from(format!("{start}-remaining")).ok()?;
            Some((remaining, value.to_str().ok()?.parse().ok()?))
        })
        .collect();
    for (remaining, limit) in limits {
        headers.insert(remaining, HeaderValue::from(limit.saturating_mul(10)));
    }
}

pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_spoils_what_it_says_and_nothing_else() {
        let now = Timestamp::parse("2026-11-24T22:40:08Z").expect("a time");
        for (kind, expected) in [
            (Kind::HeadersLate, "50 49 2026-11-24T22:40:09Z"),
            (Kind::HeadersMissing, "- - -"),
            (Kind::HeadersExcess, "50 500 2026-11-24T22:40:09Z"),
            (Kind::HeadersZero, "0 49 2026-11-24T22:40:09Z"),
            (Kind::HeadersPast, "50 49 2026-11-24T21:40:08Z"),
            (Kind::HeadersFuture, "50 49 2099-01-01T00:00:00Z"),
            (Kind::HeadersGarbage, "plenty -1e999 2026-13-32T25:61:61Z"),
            (Kind::Cut, "50 49 2026-11-24T22:40:09Z"),
        ] {
            let name = |end| HeaderName::try_from(format!("anthropic-ratelimit-requests-{end}")).expect("a name");
            let mut headers = HeaderMap::new();
            for (end, value) in [("limit", "50"), ("remaining", "49"), ("reset", "2026-11-24T22:40:09Z")] {
                headers.insert(name(end), HeaderValue::from_static(value));
            }
            spoil(&mut headers, kind, now);
            let told = ["limit", "remaining", "reset"]
                .map(|end| headers.get(name(end)).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned());
            assert_eq!(told.join(" "), expected, "{kind:?}");
        }
    }
}
