//! What tests of this crate make entries of.

use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry, Outcome, Source};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};

/// A call that was answered at the second attempt, for $0.0025.
pub(crate) fn entry(model: &str, outcome: Outcome) -> Entry {
    let at = Timestamp::from_millis(1_790_000_000_000);
    let call = Call {
        id: CallId::new(at, 1),
        started_at: at,
        class: Class::Normal,
        who: Attribution { client: "ci".into(), ..Attribution::default() },
        model: model.into(),
        max_tokens: None,
        stream: false,
        body_bytes: 1,
    };
    let attempt = |number, status| Attempt {
        number,
        upstream: "u".into(),
        opened_at: at,
        status,
        request_id: None,
        error: None,
        maybe_billed: false,
    };
    let tokens = Tokens { input: 10, cache_read: 90, output: 7, ..Tokens::default() };
    Entry {
        call,
        ended_at: at,
        attempts: vec![attempt(1, None), attempt(2, Some(200))],
        status: 200,
        outcome,
        usage: Usage { tokens, ..Usage::default() },
        cost: Some(Usd::from_nanos(2_500_000)),
        price_id: None,
        estimated: false,
        source: Source::Gateway,
        waited_ms: 30,
        waited_for: None,
        first_byte_ms: Some(500),
        total_ms: 2_000,
        cache: CacheUse::Off,
        saved: None,
        error: None,
        account: None,
    }
}
