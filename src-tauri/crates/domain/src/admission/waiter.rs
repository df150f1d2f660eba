//! A call in the queue: whose it is, what it wants, and where it sits.

use std::sync::Arc;

use super::demand::{Caching, Demand, Need, ReservationId, WaiterId};
use super::estimate::{Estimate, Shape};
use super::minute::ResourceId;
use super::queue::{Load, Path, Place, Rank, Row, Seat};
use super::quota::{Left, QuotaId};
use super::{AccountId, LaneId};
use crate::call::{CallId, Class};
use crate::money::Usd;
use crate::price::Price;
use crate::time::Instant;
use crate::usage::{Tokens, Usage};

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asked: Asked,
    pub(super) lane: LaneId,
    pub(super) row: Row,
    /// Where it sits, once it waits.
    pub(super) seat: Seat,
    /// Someone put it before all others by hand.
    pub(super) raised: bool,
    /// Its session is paused: it sits in no line.
    pub(super) aside: bool,
    pub(super) quotas: Arc<[QuotaId]>,
    /// What it met when it came.
    pub(super) met: Option<Met>,
    /// What it will probably take, by what was known when it came.
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Why a call has to wait, and how many go before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub(super) at: Instant,
    pub(super) by: MetBy,
    pub(super) ahead: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum MetBy {
    Limit(ResourceId),
    Quota(QuotaId, Left),
    Pause,
    Emergency,
    Upstream,
}

/// A demand, as far as it is asked for again. A million of them may wait.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: CallId,
    pub(super) reservation: Option<ReservationId>,
    pub(super) account: AccountId,
    pub(super) model: Arc<str>,
    pub(super) client: Arc<str>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) session: Option<Arc<str>>,
    pub(super) price: Option<Arc<Price>>,
    pub(super) max_tokens: Option<u64>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    pub(super) shape: Shape,
    pub(super) weight: u32,
    pub(super) max_share: Option<u8>,
    pub(super) fast: bool,
    pub(super) has_fallback: bool,
    pub(super) class: Class,
    pub(super) caching: Caching,
}

/// What a call comes to by what is known now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) need: Need,
    /// The whole prompt, and the whole answer.
    pub(super) prompt: Estimate,
    /// Of the prompt, what will probably be read from the cache.
    pub(super) cached: u64,
    pub(super) answer: Estimate,
    pub(super) worst_cost: Usd,
}

impl Waiter {
    pub(super) fn place(&self, waiter: WaiterId) -> Place {
        let since = if self.raised { Instant::default() } else { self.asked.since };
        Place { since, waiter }
    }

    pub(super) fn path(&self) -> Path {
        let Asked { client, weight, max_share, tenant, .. } = &self.asked;
        let client = Rank { name: client.clone(), weight: *weight, max_share: *max_share };
        let tenant = Rank { name: tenant.clone().unwrap_or_default(), weight: 1, max_share: *max_share };
        [client, tenant]
    }

    pub(super) const fn load(&self) -> Load {
        Load { calls: 1, input: self.input, output: self.output }
    }
}

impl Asked {
    pub(super) fn of(demand: Demand) -> Asked {
        Asked {
            call: demand.call,
            reservation: demand.reservation,
            account: demand.account,
            model: demand.model,
            client: demand.client,
            tenant: demand.tenant,
            session: demand.session,
            price: demand.price,
            max_tokens: demand.max_tokens,
            since: demand.since,
            deadline: demand.deadline,
            shape: demand.shape,
            weight: demand.weight,
            max_share: demand.max_share,
            fast: demand.fast,
            has_fallback: demand.has_fallback,
            class: demand.class,
            caching: demand.caching,
        }
    }

    /// What so many tokens cost.
    pub(super) fn cost(&self, input: u64, output: u64) -> Usd {
        self.price.as_ref().map_or(Usd::ZERO, |price| cost(price, self.caching, self.fast, input, output))
    }
}

/// The prompt costs what the body asks the cache to keep of it.
pub(super) fn cost(price: &Price, caching: Caching, fast: bool, input: u64, output: u64) -> Usd {
    let prompt = match caching {
        Caching::None => Tokens { input, ..Tokens::default() },
        Caching::FiveMinutes => Tokens { cache_write_5m: input, ..Tokens::default() },
        Caching::OneHour => Tokens { cache_write_1h: input, ..Tokens::default() },
    };
    price.cost(&Usage { tokens: Tokens { output, ..prompt }, fast, ..Usage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_them_fit_into_half_a_gigabyte() {
        assert!(size_of::<Waiter>() <= 320, "{}", size_of::<Waiter>());
    }
}
