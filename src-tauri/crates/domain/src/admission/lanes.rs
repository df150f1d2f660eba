//! Which limits a model's calls draw on: made when the model is first seen.

use std::sync::Arc;

use super::demand::Measure;
use super::gate::Gate;
use super::minute::ResourceId;
use super::queue::Queue;
use super::refusal::LimitSource;
use super::{Account, AccountId, Admission, Group, Lane, LaneId, MODELS_MAX, measures};
use crate::catalog;
use crate::config::WrittenLimits;
use crate::routing::Breaker;
use crate::tier::{GroupLimits, MinuteLimits, OutputCounting};
use crate::time::Instant;

impl Admission {
    /// The lane of a model; made, with its limits, when the model is first seen.
    pub(super) fn lane(&mut self, account: AccountId, model: &Arc<str>, fast: bool, now: Instant) -> LaneId {
        let known = &self.accounts[account.0].by_model;
        if let Some(id) = known.get(model).and_then(|lanes| lanes[usize::from(fast)]) {
            return id;
        }
        let beyond = known.len() >= MODELS_MAX && !known.contains_key(model);
        let name = if beyond { "others".into() } else { self.group_name(account, model, fast) };
        let group = self.group(account, name, model, now);
        self.accounts[account.0].estimates.meet(model);
        let matching = self.matching_lines(account, model);
        let written = matching.iter().flat_map(|line| self.written(account, *line, now)).collect();
        let next = LaneId(self.lanes.len());
        let id = *self.accounts[account.0].lanes.entry((group, matching)).or_insert(next);
        if id == next {
            self.lanes.push(Lane { group, written, queue: Queue::default(), head: None });
        }
        if !beyond {
            self.accounts[account.0].by_model.entry(model.clone()).or_default()[usize::from(fast)] = Some(id);
        }
        id
    }

    fn group_name(&self, account: AccountId, model: &Arc<str>, fast: bool) -> Arc<str> {
        let told = self.accounts[account.0].told_groups.get(model);
        let name = told.map_or_else(|| catalog::group(model), |told| told.to_string());
        if fast { format!("{name} fast").into() } else { name.into() }
    }

    pub(super) fn group(&mut self, account: AccountId, name: Arc<str>, model: &str, now: Instant) -> usize {
        let Account { pacing, groups, .. } = &mut self.accounts[account.0];
        if let Some(known) = groups.get(&name) {
            return *known;
        }
        let tier = pacing.presumed.as_ref().and_then(|(scheme, tier)| Some((scheme, scheme.tiers.get(*tier)?)));
        // What fast mode may do no table tells.
        let row = tier.and_then(|(_, tier)| tier.limits(model)).filter(|_| !name.ends_with(" fast"));
        let presumed = row.map_or(MinuteLimits::default(), |row| row.limits);
        let mut add = |(measure, limit)| {
            let owner = (account, &name);
            (measure, self.resources.add(owner, measure, limit, LimitSource::Tier, pacing, now))
        };
        let limits = measures(presumed).map(&mut add).collect();
        let output = tier.map_or(OutputCounting::AsProduced, |(scheme, _)| scheme.output);
        let cache_reads_count = row.is_some_and(|row: &GroupLimits| row.cache_reads_count);
        groups.insert(name.clone(), self.groups.len());
        let (gate, breaker) = (Gate::Open, Breaker::default());
        self.groups.push(Group { account, name, limits, output, cache_reads_count, gate, breaker });
        self.groups.len() - 1
    }

    fn matching_lines(&self, account: AccountId, model: &str) -> Vec<usize> {
        let lines = self.accounts[account.0].pacing.written.iter().enumerate();
        let matching = |line: &WrittenLimits| line.models.iter().any(|pattern| catalog::matches(pattern, model));
        lines.filter(|(_, line)| matching(line)).map(|(index, _)| index).collect()
    }

    /// The resources of one line of the settings, shared by all models that match it.
    fn written(&mut self, account: AccountId, line: usize, now: Instant) -> Vec<ResourceId> {
        let Account { pacing, written, .. } = &mut self.accounts[account.0];
        let resources = &mut self.resources;
        written.entry(line).or_insert_with(|| {
            let WrittenLimits { models, per_minute, concurrency } = &pacing.written[line];
            let name: Arc<str> = models.join(", ").into();
            let slots = concurrency.map(|limit| (Measure::Concurrency, u64::from(limit)));
            let mut add =
                |(measure, limit)| resources.add((account, &name), measure, limit, LimitSource::Settings, pacing, now);
            measures(*per_minute).chain(slots).map(&mut add).collect()
        });
        written.get(&line).cloned().unwrap_or_default()
    }
}
