//! The figures of success, kept up beside the ledger: read once for the month, then for what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::admission::{Level, LimitSource, Measure};
use domain::success::{CutOffs, Hour, Success, SuccessMemory, Successes};
use domain::time::Timestamp;
use gateway::Gateway;
use ledger::Ledger;
use serde::{Deserialize, Serialize};

use crate::alerts::Alerts;
use crate::view::{CutOffsView, SuccessView};
use crate::{clock, folder};

pub(crate) struct Scores {
    ledger: Arc<Ledger>,
    alerts: Arc<Alerts>,
    file: PathBuf,
    known: Mutex<Successes>,
    /// Read through. Held while reading, so that nothing counts twice.
    through: tokio::sync::Mutex<Option<i64>>,
}

/// `DIR/success.json`: what was counted up to a place in the ledger, so that a start reads only what is new.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    through: i64,
    /// The hour's number since 1970; 429, fallbacks, longest recovery in ms; max_tokens, cut, silent, error after start.
    hours: Vec<(i64, [u64; 7])>,
    /// Milliseconds since 1970.
    outages: Vec<(String, i64)>,
    #[serde(default)]
    changes: Vec<(String, i64)>,
}

const FILE: &str = "success.json";
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const READ_EVERY: Duration = Duration::from_secs(60);

impl Scores {
    pub(crate) fn of(dir: &Path, ledger: Arc<Ledger>, alerts: Arc<Alerts>) -> Scores {
        Scores { ledger, alerts, file: dir.join(FILE), known: Mutex::default(), through: tokio::sync::Mutex::default() }
    }

    /// Runs as long as a gateway does.
    pub(crate) async fn run(self: Arc<Scores>, gateway: Weak<Gateway>, upstreams: Vec<String>) {
        let mut limits = Limits::new();
        loop {
            let Some(levels) = gateway.upgrade().map(|gateway| gateway.levels()) else { return };
            for account in changed(&mut limits, &levels) {
                if let Some(upstream) = upstreams.get(account) {
                    self.limits_changed(upstream, clock::now().timestamp).await;
                }
            }
            if let Err(error) = self.read(clock::now().timestamp).await {
                tracing::warn!("the figures of success are not up to date: {error}");
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    async fn limits_changed(&self, upstream: &str, now: Timestamp) {
        tracing::info!("the limits of upstream {upstream} are others than before");
        let mut through = self.through.lock().await;
        let place = through.unwrap_or_else(|| self.recall());
        *through = Some(place);
        self.lock().count_change(upstream, now);
        self.keep(place);
    }

    /// What is in the ledger now counts when this returns.
    pub(crate) async fn read(&self, now: Timestamp) -> Result<(), ledger::Error> {
        let mut through = self.through.lock().await;
        let mut place = match *through {
            Some(place) => place,
            None => self.recall(),
        };
        let begin = place;
        loop {
            let part = self.ledger.fates(now.before(MONTH), place).await?;
            if part.through < place {
                // The ledger is another one than the file knows.
                *self.lock() = Successes::default();
                place = 0;
                continue;
            }
            let mut known = self.lock();
            part.fates.iter().for_each(|fate| known.count(fate));
            place = part.through;
            *through = Some(place);
            if part.is_all {
                known.forget(now);
                break;
            }
        }
        if place != begin {
            self.keep(place);
        }
        Ok(())
    }

    fn recall(&self) -> i64 {
        let kept: Kept = folder::read_json(&self.file).unwrap_or_else(|error| {
            tracing::warn!("the figures of success are counted anew: {error}");
            folder::set_aside(&self.file);
            Kept::default()
        });
        *self.lock() = Successes::recall(kept.memory());
        kept.through
    }

    fn keep(&self, through: i64) {
        let kept = Kept::of(through, &self.lock().remember());
        if let Err(error) = folder::write_json(&self.file, &kept) {
            tracing::warn!("the figures of success are not kept: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Successes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the calls that began from `from` on and before `to`.
    pub(crate) async fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<SuccessView, ledger::Error> {
        if Successes::covers(from, now) {
            self.read(now).await?;
            let known = self.lock();
            return Ok(success(known.between(from, to), self.warned(&known, from, to)));
        }
        let (mut counted, mut place) = (Successes::default(), 0);
        loop {
            let part = self.ledger.fates(from, place).await?;
            part.fates.iter().filter(|fate| fate.started_at < to).for_each(|fate| counted.count(fate));
            place = part.through;
            if part.is_all {
                return Ok(success(counted.between(from, to), self.warned(&self.lock(), from, to)));
            }
        }
    }

    pub(crate) fn figures(&self, now: Timestamp) -> (SuccessView, CutOffsView) {
        let known = self.lock();
        let warned = self.warned(&known, now.before(MONTH), now.after(READ_EVERY));
        (success(known.figures(now), warned), cut_offs(known.cut_offs(now)))
    }

    fn warned(&self, known: &Successes, from: Timestamp, to: Timestamp) -> u64 {
        known.warnings_before_changes(&self.alerts.warnings_of_tiers(), from, to)
    }
}

/// What upstreams have told, by account, group and measure.
type Limits = BTreeMap<(usize, Arc<str>, &'static str), u64>;

/// Accounts of which a limit is another than it was. What is told for the first time takes the place of a presumption.
fn changed(known: &mut Limits, levels: &[Level]) -> BTreeSet<usize> {
    let is_told = |level: &&Level| matches!(level.source, LimitSource::Headers | LimitSource::Api);
    let is_of_a_tier =
        |level: &&Level| matches!(level.measure, Measure::Requests | Measure::InputTokens | Measure::OutputTokens);
    let mut changed = BTreeSet::new();
    for level in levels.iter().filter(is_told).filter(is_of_a_tier) {
        let key = (level.account.index(), level.group.clone(), level.measure.name());
        if known.insert(key, level.limit).is_some_and(|before| before != level.limit) {
            changed.insert(level.account.index());
        }
    }
    changed
}

fn success(figures: Success, alerts_before_tier_change: u64) -> SuccessView {
    SuccessView {
        days: figures.days,
        rate_limit_errors_seen: figures.rate_limit_errors_seen,
        fallbacks_served: figures.fallbacks_served,
        alerts_before_tier_change,
        longest_recovery_s: figures.longest_recovery.as_secs(),
    }
}

fn cut_offs(cut_offs: CutOffs) -> CutOffsView {
    let CutOffs { max_tokens, cut, silent, error_after_start } = cut_offs;
    CutOffsView { max_tokens, cut, silent, error_after_start }
}

impl Kept {
    fn of(through: i64, memory: &SuccessMemory) -> Kept {
        let hour = |(number, hour): &(i64, Hour)| {
            let CutOffs { max_tokens, cut, silent, error_after_start } = hour.cut_offs;
            let recovery = u64::try_from(hour.longest_recovery.as_millis()).unwrap_or(u64::MAX);
            let counts = [hour.rate_limit_errors, hour.fallbacks, recovery, max_tokens, cut, silent, error_after_start];
            (*number, counts)
        };
        let outage = |(upstream, since): &(Arc<str>, Timestamp)| (upstream.to_string(), since.as_millis());
        let hours = memory.hours.iter().map(hour).collect();
        let (outages, changes) = (&memory.outages, &memory.changes);
        Kept {
            through,
            hours,
            outages: outages.iter().map(outage).collect(),
            changes: changes.iter().map(outage).collect(),
        }
    }

    fn memory(&self) -> SuccessMemory {
        let hour = |(number, counts): &(i64, [u64; 7])| {
            let [rate_limit_errors, fallbacks, recovery, max_tokens, cut, silent, error_after_start] = *counts;
            let longest_recovery = Duration::from_millis(recovery);
            let cut_offs = CutOffs { max_tokens, cut, silent, error_after_start };
            (*number, Hour { rate_limit_errors, fallbacks, longest_recovery, cut_offs })
        };
        let outage = |(upstream, since): &(String, i64)| (upstream.as_str().into(), Timestamp::from_millis(*since));
        let hours = self.hours.iter().map(hour).collect();
        let (outages, changes) = (&self.outages, &self.changes);
        SuccessMemory {
            hours,
            outages: outages.iter().map(outage).collect(),
            changes: changes.iter().map(outage).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::success::{Fate, Try};

    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let at = Timestamp::from_millis(1_790_000_000_000);
        let mut known = Successes::default();
        for (status, upstream) in [(429, "a"), (529, "b"), (200, "a")] {
            let attempt = Try { number: 2, upstream: upstream.into(), at, status: Some(status), is_broken: false };
            let outcome = if status == 200 { domain::call::Outcome::Completed } else { domain::call::Outcome::Failed };
            let ended_at = at.after(Duration::from_millis(1_234));
            let error = (status == 200).then(|| "max_tokens".into());
            known.count(&Fate { started_at: at, ended_at, outcome, status, error, tries: vec![attempt] });
        }
        known.count_change("a", at);
        let text = serde_json::to_string(&Kept::of(7, &known.remember())).expect("JSON");
        let kept: Kept = serde_json::from_str(&text).expect("the same");
        assert_eq!((kept.memory(), kept.through), (known.remember(), 7));
        assert_eq!(kept.memory().outages.len(), 1, "{text}");
    }

    #[test]
    fn a_limit_has_changed_where_an_upstream_tells_another_than_it_told_before() {
        let level = |measure, limit, source| Level { measure, limit, source, ..level() };
        let mut known = Limits::new();
        let looks = [
            (level(Measure::Requests, 50, LimitSource::Tier), false),
            (level(Measure::Requests, 60, LimitSource::Headers), false),
            (level(Measure::Requests, 60, LimitSource::Api), false),
            (level(Measure::Requests, 1_000, LimitSource::Headers), true),
            (level(Measure::Tokens, 1, LimitSource::Headers), false),
            (level(Measure::Tokens, 2, LimitSource::Headers), false),
            (level(Measure::InputTokens, 30_000, LimitSource::Headers), false),
            (level(Measure::InputTokens, 450_000, LimitSource::Headers), true),
        ];
        for (seen, is_change) in looks {
            assert_eq!(changed(&mut known, std::slice::from_ref(&seen)).len(), usize::from(is_change), "{seen:?}");
        }
    }

    fn level() -> Level {
        Level {
            account: domain::admission::AccountId::default(),
            group: "sonnet-4".into(),
            measure: Measure::Requests,
            limit: 0,
            guard_permille: 1_000,
            guarded: 0,
            level: 0,
            source: LimitSource::Headers,
            observed: None,
        }
    }
}
