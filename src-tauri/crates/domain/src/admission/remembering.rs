//! Over a restart: what was learned is kept, and what the last minutes took is taken again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::demand::Measure;
use super::memory::{ClosedGroup, KnownWindow, LearnedLimit, Memory, Past};
use super::minute::ResourceId;
use super::quota::{QuotaKey, Unit};
use super::reading::Limited;
use super::refusal::LimitSource;
use super::{AccountId, Admission, Need, counted};
use crate::call::Class;
use crate::time::Now;

/// Older calls have left no trace in any bucket.
const REPLAYED: Duration = Duration::from_secs(180);

impl Admission {
    pub fn remember(&mut self, now: Now) -> Memory {
        let quotas = self.quotas(now);
        let known_window = |level: &super::QuotaLevel| match &level.key {
            QuotaKey::Window { account, name } if level.resets_at > now.timestamp => Some(KnownWindow {
                account: self.accounts[account.index()].name.clone(),
                name: name.clone(),
                used: level.used,
                since: level.since,
                resets_at: level.resets_at,
                observed: level.unit == Unit::Percent,
            }),
            QuotaKey::Window { .. } | QuotaKey::Budget { .. } => None,
        };
        Memory {
            limits: self.learned_limits(now),
            closed: self.closed_groups(now),
            windows: quotas.iter().filter_map(known_window).collect(),
            estimates: self.learned_estimates(),
            reservations: self.reservations().into_iter().map(|kept| (self.name(kept.account), kept)).collect(),
            paused: Class::ALL.iter().copied().filter(|class| self.paused[*class as usize]).collect(),
            paused_scopes: self.paused_scopes.iter().map(|(name, since)| (name.clone(), *since)).collect(),
        }
    }

    /// What an earlier run had learned. Accounts that are no more, and figures that can't be, are passed over.
    pub fn recall(&mut self, memory: Memory, now: Now) {
        for limit in memory.limits {
            self.recall_limit(&limit, now);
        }
        for closed in memory.closed {
            self.recall_closed(&closed, now);
        }
        for window in memory.windows {
            self.recall_window(&window, now);
        }
        for (account, learned) in memory.estimates {
            if let Some(id) = self.account_named(&account) {
                self.accounts[id.index()].estimates.recall(vec![learned]);
            }
        }
        for (account, mut reservation) in memory.reservations {
            if let Some(id) = self.account_named(&account) {
                reservation.account = id;
                self.resume_reservation(reservation, now);
            }
        }
        for class in memory.paused {
            self.pause(class);
        }
        self.recall_paused(memory.paused_scopes);
    }

    /// Takes again what calls of the last minutes took, the oldest first.
    pub fn replay(&mut self, mut past: Vec<Past>, now: Now) {
        past.sort_by_key(|call| call.opened_at);
        let mut by_resource: BTreeMap<ResourceId, Vec<(Duration, Need)>> = BTreeMap::new();
        for call in past {
            let age = now.timestamp.since(call.opened_at);
            let Some(account) = self.account_named(&call.account).filter(|_| age < REPLAYED) else { continue };
            let lane = self.lane(account, &call.model, call.fast, now.instant.before(REPLAYED));
            let used = counted(&call.usage.tokens, self.groups[self.lanes[lane.0].group].cache_reads_count);
            let reserved = Need::exactly(call.reserved.tokens.input, call.reserved.tokens.output);
            let need = if call.interrupted { used.or_more(reserved) } else { used };
            for id in self.draws_on(lane).collect::<Vec<_>>() {
                by_resource.entry(id).or_default().push((REPLAYED - age, need));
            }
        }
        for (id, past) in by_resource {
            self.resources.replay(id, &past, REPLAYED, now.instant);
        }
    }

    fn learned_limits(&self, now: Now) -> Vec<LearnedLimit> {
        let of_group = |group: &super::Group| {
            let (account, name) = (self.name(group.account), group.name.clone());
            group.limits.values().map(move |id| (account.clone(), name.clone(), *id)).collect::<Vec<_>>()
        };
        let levels = self.resources.levels(now.instant);
        let learned = self.groups.iter().flat_map(of_group).filter_map(|(account, group, id)| {
            let level = levels.get(id.index())?;
            let (guard_permille, outside_per_minute) = self.resources.learned(id, now.instant);
            let observed_at = level.observed.map(|at| now.timestamp.before(now.instant.since(at)));
            let (measure, limit, source) = (level.measure, level.limit, level.source);
            Some(LearnedLimit {
                account,
                group,
                measure,
                limit,
                source,
                guard_permille,
                outside_per_minute,
                observed_at,
            })
        });
        learned.filter(|limit| matches!(limit.source, LimitSource::Headers | LimitSource::Api)).collect()
    }

    fn closed_groups(&self, now: Now) -> Vec<ClosedGroup> {
        let closed = |group: &super::Group| {
            let opens = group.gate.opens(now.instant)?;
            let until = now.timestamp.after(opens.since(now.instant));
            Some(ClosedGroup { account: self.name(group.account), group: group.name.clone(), until })
        };
        self.groups.iter().filter_map(closed).collect()
    }

    fn learned_estimates(&self) -> Vec<(Arc<str>, super::LearnedEstimate)> {
        let of = |account: &super::Account| {
            let name = account.name.clone();
            account.estimates.remember().into_iter().map(move |learned| (name.clone(), learned)).collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(of).collect()
    }

    fn recall_limit(&mut self, limit: &LearnedLimit, now: Now) {
        let is_told = matches!(limit.source, LimitSource::Headers | LimitSource::Api);
        let is_sane = limit.limit > 0 && is_told && limit.measure != Measure::Concurrency;
        let Some(account) = self.account_named(&limit.account).filter(|_| is_sane) else { return };
        let start = now.instant.before(REPLAYED);
        let group = self.group(account, limit.group.clone(), &limit.group, start);
        let id = self.told(group, limit.measure, limit.limit, start);
        self.resources.teach(id, limit.limit, limit.source, start);
        self.resources.recall(id, limit.guard_permille, limit.outside_per_minute, start);
    }

    fn recall_closed(&mut self, closed: &ClosedGroup, now: Now) {
        let Some(account) = self.account_named(&closed.account) else { return };
        let left = closed.until.since(now.timestamp);
        if left > Duration::ZERO {
            let group = self.group(account, closed.group.clone(), &closed.group, now.instant);
            let limited = Limited { retry_after: Some(left), ..Limited::default() };
            self.groups[group].gate.limited(limited, Duration::ZERO, now.instant);
        }
    }

    fn recall_window(&mut self, window: &KnownWindow, now: Now) {
        let Some(account) = self.account_named(&window.account) else { return };
        if window.observed {
            let reading = super::WindowReading {
                name: window.name.clone(),
                used: u32::try_from(window.used).unwrap_or(0),
                resets_at: window.resets_at,
                rejected: false,
            };
            self.quotas.observe(account, &reading, now.timestamp);
        }
        let key = QuotaKey::Window { account, name: window.name.clone() };
        self.quotas.resume(&key, window.used, window.since, window.resets_at, now.timestamp);
    }

    fn account_named(&self, name: &str) -> Option<AccountId> {
        self.accounts.iter().position(|account| *account.name == *name).map(AccountId)
    }

    fn name(&self, account: AccountId) -> Arc<str> {
        self.accounts[account.index()].name.clone()
    }
}
