//! What a call asks of admission, and the proof that it may go.

use std::sync::Arc;

use super::estimate::{Estimate, Shape};
use super::minute::ResourceId;
use super::quota::QuotaId;
use super::{AccountId, LaneId};
use crate::call::{CallId, Class};
use crate::money::Usd;
use crate::price::Price;
use crate::routing::ProbeId;
use crate::time::Instant;
use crate::usage::{Tokens, Usage};

/// What admission must know of a call.
#[derive(Clone, Debug)]
pub struct Demand {
    pub call: CallId,
    pub account: AccountId,
    pub model: Arc<str>,
    /// Fast mode has limits of its own.
    pub fast: bool,
    pub class: Class,
    pub client: Arc<str>,
    /// Share of capacity against other clients of its class; at least 1.
    pub weight: u32,
    /// Percent of the capacity that this client, and inside it each tenant, may take while others wait.
    pub max_share: Option<u8>,
    pub tenant: Option<Arc<str>>,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    /// Of an agent that works by itself, where the call names one.
    pub session: Option<Arc<str>>,
    pub shape: Shape,
    pub max_tokens: Option<u64>,
    /// How long the cache keeps what the body asks it to write.
    pub caching: Caching,
    /// The model's price, or the dearest known one where its own is unknown. `None` counts nothing against dollars.
    pub price: Option<Arc<Price>>,
    pub reservation: Option<ReservationId>,
    /// When the caller came: one who comes back keeps the place that this gives.
    pub since: Instant,
    /// When the caller gives up.
    pub deadline: Instant,
    /// Its caller has somewhere else to go: it never waits behind an open breaker.
    pub has_fallback: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Caching {
    #[default]
    None,
    FiveMinutes,
    OneHour,
}

/// Names a reservation; printed like a call's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReservationId(pub CallId);

/// Names a waiting call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(pub(super) u64);

#[derive(PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "most calls go at once, and a box would cost each of them")]
pub enum Verdict {
    Go(Ticket),
    /// `decide` will tell, at the deadline at the latest.
    Wait(WaiterId),
}

/// The proof that a call may go. Given back exactly once, by `settle`.
#[must_use = "a ticket holds capacity until it is settled"]
#[derive(PartialEq, Eq, Debug)]
pub struct Ticket {
    pub(super) lane: LaneId,
    pub(super) class: Class,
    pub(super) model: Arc<str>,
    pub(super) client: Arc<str>,
    pub(super) shape: Shape,
    pub(super) caching: Caching,
    pub(super) price: Option<Arc<Price>>,
    /// What its input was thought to be, for learning.
    pub(super) guessed: Estimate,
    /// What of it was thought to be read from the cache.
    pub(super) cached: u64,
    pub(super) need: Need,
    /// When it got the ticket: answers tell of levels since then.
    pub(super) sent: Instant,
    /// What was taken of the minute's limits.
    pub(super) taken: Vec<ResourceId>,
    pub(super) quotas: Arc<[QuotaId]>,
    /// The most it may cost, held of its quotas.
    pub(super) worst_cost: Usd,
    /// What it has come to so far.
    pub(super) live_cost: Usd,
    /// Its tokens come out of this reservation's own buckets.
    pub(super) covered_by: Option<ReservationId>,
    pub(super) kept: Option<super::refusal::Kept>,
    /// What it has of its reservation's part of windows and budgets.
    pub(super) paid: Option<super::reserving::Paid>,
    /// It goes ahead of all others of its group, which wait to see how it fares.
    pub(super) probe: Option<ProbeId>,
}

impl Ticket {
    /// The most this call was granted: estimated input, reserved output.
    pub fn reserved(&self) -> Usage {
        let tokens = Tokens { input: self.need.input, output: self.need.output, ..Tokens::default() };
        Usage { tokens, ..Usage::default() }
    }

    /// Why it had to wait; `None` where it went at once.
    pub fn kept(&self) -> Option<&super::refusal::Kept> {
        self.kept.as_ref()
    }

    /// It goes ahead to an upstream that failed: others wait for how it fares.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether `progress` has anything to watch.
    pub fn is_budgeted(&self) -> bool {
        !self.quotas.is_empty()
    }
}

/// What limits: a minute's requests or tokens, or calls at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Measure {
    Requests,
    InputTokens,
    OutputTokens,
    /// Input and output together, or whichever limit the upstream finds most restrictive.
    Tokens,
    Concurrency,
    /// Capacity bought ahead: shown, and never in the way.
    PriorityInputTokens,
    PriorityOutputTokens,
}

impl Measure {
    pub const ALL: [Measure; 7] = [
        Measure::Requests,
        Measure::InputTokens,
        Measure::OutputTokens,
        Measure::Tokens,
        Measure::Concurrency,
        Measure::PriorityInputTokens,
        Measure::PriorityOutputTokens,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Measure::Requests => "requests",
            Measure::InputTokens => "input_tokens",
            Measure::OutputTokens => "output_tokens",
            Measure::Tokens => "tokens",
            Measure::Concurrency => "concurrency",
            Measure::PriorityInputTokens => "priority_input_tokens",
            Measure::PriorityOutputTokens => "priority_output_tokens",
        }
    }

    pub fn named(name: &str) -> Option<Measure> {
        Measure::ALL.into_iter().find(|measure| measure.name() == name)
    }
}

/// More of anything is a mistake, and is taken for this. Sums of it stay far from where numbers end.
pub(super) const AMOUNT_MAX: u64 = 1_000_000_000_000;

/// How much of each measure a call wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Need {
    pub(super) input: u64,
    pub(super) output: u64,
    /// Of these, what the upstream may never count.
    pub(super) loose_input: u64,
    pub(super) loose_output: u64,
}

impl Need {
    pub(super) fn of(self, measure: Measure) -> u64 {
        let amount = match measure {
            Measure::Requests | Measure::Concurrency => 1,
            Measure::InputTokens => self.input,
            Measure::OutputTokens => self.output,
            Measure::Tokens => self.size(),
            Measure::PriorityInputTokens | Measure::PriorityOutputTokens => 0,
        };
        amount.min(AMOUNT_MAX)
    }

    pub(super) const fn exactly(input: u64, output: u64) -> Need {
        Need { input, output, loose_input: 0, loose_output: 0 }
    }

    /// What of it may come back.
    pub(super) fn loose(self) -> Need {
        Need::exactly(self.loose_input, self.loose_output)
    }

    pub(super) fn or_more(self, other: Need) -> Need {
        Need { input: self.input.max(other.input), output: self.output.max(other.output), ..self }
    }

    pub(super) fn beyond(self, other: Need) -> Need {
        Need::exactly(self.input.saturating_sub(other.input), self.output.saturating_sub(other.output))
    }

    pub(super) fn size(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// What a call has taken of its limits, told when it ends.
#[derive(Clone, Copy, Debug)]
pub enum Spent<'a> {
    /// It never reached the upstream, or was refused there.
    Nothing,
    /// The upstream said so. `cost` is what the ledger books, `None` where the price is unknown.
    Told { usage: &'a Usage, cost: Option<Usd> },
    /// Nobody said; it stands in for the truth and teaches nothing about later calls.
    Presumed { usage: &'a Usage, cost: Option<Usd> },
    /// The same of an attempt that another follows. The upstream's minute may have counted it; in budgets and windows
    /// counts what the call comes to in the end, as in the books.
    Lost { usage: &'a Usage },
}

/// May a running stream go on?
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flow {
    GoOn,
    /// A hard budget is spent.
    Cut(super::refusal::QuotaSpent),
}
