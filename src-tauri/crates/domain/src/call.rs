//! A call, its attempts, and the entry it becomes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::money::Usd;
use crate::time::Timestamp;
use crate::usage::Usage;

/// Names a call for ever: 48 bits of milliseconds, 80 bits of chance; sorts by time. Printed as a ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl CallId {
    pub fn new(at: Timestamp, chance: u128) -> CallId {
        let millis = u128::from(at.as_millis().unsigned_abs()) & 0xFFFF_FFFF_FFFF;
        CallId((millis << 80) | (chance & ((1 << 80) - 1)))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: [u8; 26] = std::array::from_fn(|i| CROCKFORD[(self.0 >> (5 * (25 - i)) & 31) as usize]);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotACallId;

impl fmt::Display for NotACallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a call id: 26 letters and digits, as x-tidegate-call and `tidegate calls` show it")
    }
}

impl std::error::Error for NotACallId {}

impl FromStr for CallId {
    type Err = NotACallId;
    fn from_str(text: &str) -> Result<CallId, NotACallId> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(NotACallId);
        }
        text.bytes()
            .try_fold(0, |sum: u128, byte| {
                let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_uppercase()).ok_or(NotACallId)?;
                Ok(sum << 5 | digit as u128)
            })
            .map(CallId)
    }
}

/// A fieldless enum with one name per variant, the one that files, headers and the screen use.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $enum { $($(#[$vdoc])* $variant),+ }

        impl $enum {
            pub const ALL: &'static [$enum] = &[$($enum::$variant),+];

            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $name),+ }
            }

            pub fn named(name: &str) -> Option<$enum> {
                match name { $($name => Some($enum::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
named! {
    /// How urgent. Critical always goes first.
    Class { Critical = "critical", Normal = "normal", Background = "background" }
}

named! {
    /// How a call ended.
    Outcome {
        Completed = "completed",
        /// The upstream ended early.
        Cut = "cut",
        /// The client hung up.
        Cancelled = "cancelled",
        /// Tidegate ended.
        Interrupted = "interrupted",
        /// By Tidegate; the call never left.
        Refused = "refused",
        /// The upstream answered with an error.
        Failed = "failed",
    }
}

named! {
    /// Who told us of the call.
    Source { Gateway = "gateway", Otel = "otel", Log = "log", Bundle = "bundle" }
}

named! {
    /// What the response cache had to say.
    CacheUse { Hit = "hit", Miss = "miss", Off = "off" }
}

/// Whose call it is, as the token and the headers tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attribution {
    pub client: Arc<str>,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    /// The customer behind the call: `x-tidegate-tenant`, else `metadata.user_id`.
    pub tenant: Option<Arc<str>>,
    pub session: Option<Arc<str>>,
    pub agent: Option<Arc<str>>,
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

/// One request of a client to a model, as far as a decision needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub id: CallId,
    pub started_at: Timestamp,
    pub class: Class,
    pub who: Attribution,
    pub model: Arc<str>,
    pub max_tokens: Option<u64>,
    pub stream: bool,
    pub body_bytes: u64,
}

/// What is written before an attempt leaves, so that a crash can close it honestly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// As its attempt's.
    pub number: u32,
    pub upstream: Arc<str>,
    pub at: Timestamp,
    /// The most that admission reserved for it: estimated input, reserved output.
    pub reserved: Usage,
}

/// What a running call has shown so far, so that a crash can close it near the truth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Of all its attempts.
    pub usage: Usage,
    /// The head of the answer that is coming in.
    pub answer: Option<Answered>,
}

/// The head of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The attempt's number.
    pub attempt: u32,
    pub status: u16,
    pub request_id: Option<Arc<str>>,
    pub account: Option<Arc<str>>,
    /// From the start of the call.
    pub first_byte_ms: u64,
}

/// One time the call was sent. The first has number 1; a number is left out for each upstream that was passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub number: u32,
    pub upstream: Arc<str>,
    pub opened_at: Timestamp,
    /// What the upstream answered; `None` where it never did.
    pub status: Option<u16>,
    pub request_id: Option<Arc<str>>,
    pub error: Option<Arc<str>>,
    /// The connection ended after the request was sent and before any answer: it may have been billed.
    pub maybe_billed: bool,
}

/// A call that has ended, as the ledger keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub call: Call,
    pub ended_at: Timestamp,
    /// Every attempt, in order. Empty where the call never left.
    pub attempts: Vec<Attempt>,
    /// The status that the client got; 0 where it got none.
    pub status: u16,
    pub outcome: Outcome,
    pub usage: Usage,
    /// `None`: the price is unknown.
    pub cost: Option<Usd>,
    /// The price row the cost was computed with.
    pub price_id: Option<Arc<str>>,
    /// Usage was not reported in full and was estimated from what was metered.
    pub estimated: bool,
    pub source: Source,
    pub waited_ms: u64,
    /// Why, in one sentence, or why it was refused; `None` where it went at once, or nobody says.
    pub waited_for: Option<Arc<str>>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
    pub cache: CacheUse,
    /// What the answer had cost that a hit gave again; `None` where it was no hit, or that price is unknown.
    pub saved: Option<Usd>,
    /// One short code or sentence; never a body.
    pub error: Option<Arc<str>>,
    /// The organisation that paid, and the workspace where it has one: `ORGANISATION/WORKSPACE`, as the upstream says.
    pub account: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_reads_back_what_it_prints_and_sorts_by_time() {
        let early = CallId::new(Timestamp::from_millis(1_700_000_000_000), u128::MAX);
        let late = CallId::new(Timestamp::from_millis(1_700_000_000_001), 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        for wrong in ["", "01JD", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0123456789ABCDEFGHJKMNPQRU"] {
            assert_eq!(wrong.parse::<CallId>(), Err(NotACallId), "{wrong}");
        }
    }

    #[test]
    fn every_name_finds_its_variant() {
        for class in Class::ALL {
            assert_eq!(Class::named(class.name()), Some(*class));
        }
        assert_eq!(Class::named("urgent"), None);
    }
}
