//! One limit: what it allows, what is taken, and where its figure comes from.

use std::sync::Arc;
use std::time::Duration;

use super::last_minute::LastMinute;
use super::token_bucket::TokenBucket;
use super::{AccountId, Level, LimitSource, Measure, Need, Reading};
use crate::config::Pacing;
use crate::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ResourceId(usize);

/// What a call meets at its limits. The greatest of several is the one that binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wait {
    None,
    Until(Instant),
    /// Nobody knows when: a running call must end first.
    UntilOneEnds,
}

#[derive(Debug)]
struct Resource {
    account: AccountId,
    group: Arc<str>,
    measure: Measure,
    limit: u64,
    guard_permille: u32,
    source: LimitSource,
    observed: Option<Instant>,
    store: Store,
    /// Of requests, for the screen.
    recent: Option<LastMinute>,
}

#[derive(Debug)]
enum Store {
    Bucket(TokenBucket),
    Slots { used: u64 },
}

/// All limits there are. Only ever grows, so an id stays good.
#[derive(Debug, Default)]
pub(super) struct Resources(Vec<Resource>);

impl Resources {
    /// A limit that starts with nothing taken.
    pub(super) fn add(
        &mut self,
        (account, group): (AccountId, &Arc<str>),
        measure: Measure,
        limit: u64,
        source: LimitSource,
        pacing: &Pacing,
        now: Instant,
    ) -> ResourceId {
        let guard_permille = guard(measure, pacing);
        let store = match measure {
            Measure::Requests => Store::Bucket(TokenBucket::smoothed(limit, guard_permille, now)),
            Measure::InputTokens | Measure::OutputTokens => {
                Store::Bucket(TokenBucket::of_a_minute(limit, guard_permille, now))
            }
            Measure::Concurrency => Store::Slots { used: 0 },
        };
        let group = group.clone();
        let (observed, recent) = (None, (measure == Measure::Requests).then(LastMinute::default));
        self.0.push(Resource { account, group, measure, limit, guard_permille, source, observed, store, recent });
        ResourceId(self.0.len() - 1)
    }

    pub(super) fn wait(&self, id: ResourceId, need: Need, now: Instant) -> Wait {
        let resource = &self.0[id.0];
        match &resource.store {
            Store::Bucket(bucket) => match bucket.ready_at(need.of(resource.measure), now) {
                ready if ready <= now => Wait::None,
                ready => Wait::Until(ready),
            },
            Store::Slots { used } if *used < resource.limit => Wait::None,
            Store::Slots { .. } => Wait::UntilOneEnds,
        }
    }

    pub(super) fn take(&mut self, id: ResourceId, need: Need, now: Instant) {
        let resource = &mut self.0[id.0];
        if let Some(recent) = &mut resource.recent {
            recent.went(now);
        }
        match &mut resource.store {
            Store::Bucket(bucket) => bucket.take(need.of(resource.measure), now),
            Store::Slots { used } => *used += 1,
        }
    }

    pub(super) fn left(&mut self, id: ResourceId, now: Instant) {
        if let Store::Bucket(bucket) = &mut self.0[id.0].store {
            bucket.left(now);
        }
    }

    /// Exchanges what was reserved for what was used; `None` gives it all back.
    pub(super) fn settle(&mut self, id: ResourceId, reserved: Need, used: Option<Need>, now: Instant) {
        let resource = &mut self.0[id.0];
        if let (Some(recent), None) = (&mut resource.recent, used) {
            recent.came_back();
        }
        match &mut resource.store {
            Store::Bucket(bucket) => {
                let reserved = reserved.of(resource.measure);
                let used = used.map_or(0, |used| used.of(resource.measure));
                bucket.take(used.saturating_sub(reserved), now);
                bucket.give_back(reserved.saturating_sub(used), now);
            }
            Store::Slots { used } => *used = used.saturating_sub(1),
        }
    }

    /// What a response told of it. The level is only ever lowered: what is in flight the upstream may not have seen yet.
    pub(super) fn observe(&mut self, id: ResourceId, reading: Reading, now: Instant) {
        let resource = &mut self.0[id.0];
        resource.observed = Some(now);
        resource.source = LimitSource::Headers;
        let Store::Bucket(bucket) = &mut resource.store else { return };
        if resource.limit != reading.limit {
            resource.limit = reading.limit;
            bucket.set_rate(reading.limit, resource.guard_permille, now);
        }
        if let Some(remaining) = reading.remaining {
            // Our level stays as far below theirs as our guarded limit is below theirs.
            let kept_back = i128::from(reading.limit) - i128::from(guarded(reading.limit, resource.guard_permille));
            bucket.lower_to(i128::from(remaining) - kept_back, now);
        }
    }

    /// How long until `amount` more than now is there, if nobody else comes.
    pub(super) fn time_for(&self, id: ResourceId, need: Need, calls: u64) -> Duration {
        let resource = &self.0[id.0];
        let per_minute = guarded(resource.limit, resource.guard_permille).max(1);
        let amount = match resource.measure {
            Measure::Requests => calls,
            Measure::InputTokens => need.input,
            Measure::OutputTokens => need.output,
            Measure::Concurrency => return Duration::ZERO,
        };
        Duration::from_millis(amount.saturating_mul(60_000) / per_minute)
    }

    pub(super) fn binding(&self, id: ResourceId) -> super::Binding {
        let Resource { group, measure, limit, source, .. } = &self.0[id.0];
        super::Binding { group: group.clone(), measure: *measure, limit: *limit, source: *source }
    }

    pub(super) fn levels(&self, now: Instant) -> Vec<Level> {
        self.0.iter().map(|resource| resource.level(now)).collect()
    }
}

impl Resource {
    fn level(&self, now: Instant) -> Level {
        Level {
            account: self.account,
            group: self.group.clone(),
            measure: self.measure,
            limit: self.limit,
            guarded: guarded(self.limit, self.guard_permille),
            level: self.left(now),
            source: self.source,
            observed: self.observed,
        }
    }

    fn left(&self, now: Instant) -> i64 {
        let less = |limit: u64, used: u64| i64::try_from(limit.saturating_sub(used)).unwrap_or(i64::MAX);
        match (&self.store, &self.recent) {
            (Store::Bucket(bucket), Some(recent)) if bucket.tokens(now) >= 0 => {
                less(guarded(self.limit, self.guard_permille), recent.count(now))
            }
            (Store::Bucket(bucket), _) => bucket.tokens(now),
            (Store::Slots { used }, _) => less(self.limit, *used),
        }
    }
}

fn guard(measure: Measure, pacing: &Pacing) -> u32 {
    match measure {
        Measure::Requests => pacing.guard_requests_permille,
        Measure::InputTokens | Measure::OutputTokens => pacing.guard_tokens_permille,
        Measure::Concurrency => 1_000,
    }
}

fn guarded(limit: u64, permille: u32) -> u64 {
    u64::try_from(u128::from(limit) * u128::from(permille) / 1_000).unwrap_or(u64::MAX)
}
