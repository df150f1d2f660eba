//! What upstreams changed: limits, tiers, and windows that begin anew at another moment than they said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::admission::{LearnedLimit, Measure, Memory};
use domain::tier::{MinuteLimits, Scheme, Tier};
use domain::time::Timestamp;
use ledger::Observation;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::api::ApiError;
use crate::settings::Settings;
use crate::{App, folder, learned, range};

/// `tidegate changes --json`, the latest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ChangeView {
    pub at: String,
    /// An upstream's name, or `subscription`.
    pub upstream: String,
    /// `limit`, `tier`, `reset_moved`, `early_reset`.
    pub kind: String,
    /// `sonnet-4 input_tokens`, `week`; of a tier the scheme.
    pub what: String,
    pub before: String,
    pub after: String,
    /// `headers`, `api`, `statusline`.
    pub source: String,
}

/// The changes of limits and tiers of a data folder: `DIR/changes.json`.
pub(crate) struct Changes {
    file: PathBuf,
    /// What each upstream is presumed to have.
    presumed: BTreeMap<String, (std::sync::Arc<Scheme>, usize)>,
    inside: Mutex<Inside>,
}

struct Inside {
    limits: BTreeMap<Place, u64>,
    /// By upstream, as its limits show it.
    tiers: BTreeMap<String, String>,
    all: Vec<ChangeView>,
}

/// Account, group, measure.
type Place = (String, String, &'static str);

const FILE: &str = "changes.json";
/// Older ones are forgotten first.
const CHANGES_MAX: usize = 1_000;
/// Moments that are told to the second move by less than this without anybody's meaning it.
const SAME_RESET: Duration = Duration::from_secs(90);
/// What a window that began anew may show at once, in hundredths of a percent.
const BEGUN_ANEW: u32 = 500;
const DAYS_BACK: Duration = Duration::from_secs(90 * 86_400);

impl Changes {
    pub(crate) fn open(dir: &Path, settings: &Settings) -> Changes {
        let file = dir.join(FILE);
        let all = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("earlier changes of limits are forgotten: {error}");
            folder::set_aside(&file);
            vec![]
        });
        let tier =
            |upstream: &crate::settings::Upstream| Some((upstream.name.to_string(), upstream.pacing.presumed.clone()?));
        let presumed: BTreeMap<_, _> = settings.upstreams.iter().filter_map(tier).collect();
        let limits = learned::read(dir).limits.iter().map(row).collect();
        let mut inside = Inside { limits, tiers: BTreeMap::new(), all };
        inside.tiers = presumed.iter().map(|(name, presumed)| (name.clone(), inside.tier(name, presumed))).collect();
        Changes { file, presumed, inside: Mutex::new(inside) }
    }

    /// What has been learned by now: whatever is another limit than before becomes a change.
    pub(crate) fn see(&self, memory: &Memory, now: Timestamp) {
        let mut inside = self.lock();
        let before = inside.all.len();
        for limit in &memory.limits {
            inside.see_limit(limit, now);
        }
        for (upstream, presumed) in &self.presumed {
            inside.see_tier(upstream, presumed, now);
        }
        if inside.all.len() == before {
            return;
        }
        let beyond = inside.all.len().saturating_sub(CHANGES_MAX);
        inside.all.drain(..beyond);
        if let Err(error) = folder::write_json(&self.file, &inside.all) {
            tracing::warn!("a change of limits is not kept: {error}");
        }
    }

    /// The oldest first.
    pub(crate) fn all(&self) -> Vec<ChangeView> {
        self.lock().all.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(limit: &LearnedLimit) -> (Place, u64) {
    ((limit.account.to_string(), limit.group.to_string(), limit.measure.name()), limit.limit)
}

impl Inside {
    fn see_limit(&mut self, limit: &LearnedLimit, now: Timestamp) {
        let (place, value) = row(limit);
        let (upstream, what) = (place.0.clone(), format!("{} {}", place.1, place.2));
        let Some(before) = self.limits.insert(place, value).filter(|before| *before != value) else { return };
        tracing::info!("{upstream} changed the limit of {what} from {before} to {value}");
        self.all.push(ChangeView {
            at: now.to_string(),
            upstream,
            kind: "limit".to_owned(),
            what,
            before: before.to_string(),
            after: value.to_string(),
            source: limit.source.name().to_owned(),
        });
    }

    fn see_tier(&mut self, upstream: &str, presumed: &(std::sync::Arc<Scheme>, usize), now: Timestamp) {
        let tier = self.tier(upstream, presumed);
        let Some(before) = self.tiers.insert(upstream.to_owned(), tier.clone()).filter(|before| *before != tier) else {
            return;
        };
        tracing::info!("the limits of {upstream} are those of tier {tier} now, no longer {before}");
        self.all.push(ChangeView {
            at: now.to_string(),
            upstream: upstream.to_owned(),
            kind: "tier".to_owned(),
            what: presumed.0.name.to_string(),
            before,
            after: tier,
            source: "headers".to_owned(),
        });
    }

    /// The tier whose limits are those that were told; the presumed one where that says no tier or several.
    fn tier(&self, upstream: &str, (scheme, place): &(std::sync::Arc<Scheme>, usize)) -> String {
        let told = |tier: &&Tier| self.has_limits_of(upstream, tier);
        let mut fitting = scheme.tiers.iter().filter(told);
        let name = |tier: Option<&Tier>| tier.map(|tier| tier.name.to_string()).unwrap_or_default();
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => name(Some(only)),
            _ => name(scheme.tiers.get(*place)),
        }
    }

    /// Of all that was told of the groups that the tier names, nothing is another.
    fn has_limits_of(&self, upstream: &str, tier: &Tier) -> bool {
        let mut seen = false;
        for row in &tier.rows {
            for (group, (measure, limit)) in
                row.groups.iter().flat_map(|group| named(row.limits).map(|one| (group, one)))
            {
                let place = (upstream.to_owned(), group.to_string(), measure.name());
                let Some((limit, told)) = limit.zip(self.limits.get(&place)) else { continue };
                if limit != *told {
                    return false;
                }
                seen = true;
            }
        }
        seen
    }
}

fn named(limits: MinuteLimits) -> [(Measure, Option<u64>); 3] {
    let MinuteLimits { requests, input_tokens, output_tokens } = limits;
    [(Measure::Requests, requests), (Measure::InputTokens, input_tokens), (Measure::OutputTokens, output_tokens)]
}

impl App {
    /// Of the last 90 days where none are named; the latest first.
    ///
    /// # Errors
    /// Days that are none.
    pub(crate) async fn changes(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<ChangeView>, ApiError> {
        let now = self.now();
        let range = match (from, to) {
            (None, None) => range::Range { from: now.before(DAYS_BACK), to: now },
            (from, to) => range::range(from, to, self.calendar, now).map_err(ApiError::asker)?,
        };
        let seen = self.ledger.observations(None, range.from).await.map_err(ApiError::machine)?;
        let mut all = self.changes_seen();
        all.extend(resets(&seen));
        let is_within =
            |change: &ChangeView| Timestamp::parse(&change.at).is_some_and(|at| range.from <= at && at < range.to);
        all.retain(is_within);
        all.sort_by(|one, other| other.at.cmp(&one.at));
        Ok(all)
    }
}

/// Windows that did not end when they had said they would.
fn resets(seen: &[Observation]) -> Vec<ChangeView> {
    let mut last: BTreeMap<&str, &Observation> = BTreeMap::new();
    let mut changes = vec![];
    for seen in seen {
        if let Some(before) = last.insert(&seen.window, seen) {
            changes.extend(reset(before, seen));
        }
    }
    changes
}

fn reset(before: &Observation, after: &Observation) -> Option<ChangeView> {
    let (was, is) = (before.resets_at?, after.resets_at?);
    // The one that was told is over: another one is no surprise.
    if after.at >= was.before(SAME_RESET) {
        return None;
    }
    let moved = was.since(is).max(is.since(was)) > SAME_RESET;
    let emptied = after.used + BEGUN_ANEW < before.used && after.used <= BEGUN_ANEW;
    let kind = match (emptied, moved) {
        (true, _) => "early_reset",
        (false, true) => "reset_moved",
        (false, false) => return None,
    };
    let (upstream, what) = after.window.split_once('/').unwrap_or(("subscription", &after.window));
    let source = if after.window.contains('/') { "headers" } else { "statusline" };
    Some(ChangeView {
        at: after.at.to_string(),
        upstream: upstream.to_owned(),
        kind: kind.to_owned(),
        what: what.to_owned(),
        before: was.to_string(),
        after: is.to_string(),
        source: source.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::admission::LimitSource;
    use domain::tier::{GroupLimits, OutputCounting};

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + minutes * 60_000)
    }

    fn seen(minutes: i64, used: u32, resets: i64) -> Observation {
        let (window, session) = ("five_hour".to_owned(), String::new());
        Observation { at: at(minutes), window, used, resets_at: Some(at(resets)), session }
    }

    fn kinds(all: &[Observation]) -> Vec<String> {
        resets(all).into_iter().map(|change| change.kind).collect()
    }

    #[test]
    fn a_window_that_ends_as_it_said_is_no_change() {
        assert_eq!(kinds(&[seen(0, 9_000, 60), seen(30, 9_500, 60), seen(61, 100, 360), seen(70, 200, 361)]), [""; 0]);
    }

    #[test]
    fn a_reset_that_moves_and_one_that_comes_early_are_changes() {
        assert_eq!(kinds(&[seen(0, 9_000, 60), seen(10, 9_100, 90)]), ["reset_moved"]);
        assert_eq!(kinds(&[seen(0, 9_000, 60), seen(10, 100, 310)]), ["early_reset"]);
        assert_eq!(kinds(&[seen(0, 9_000, 60), seen(10, 100, 60)]), ["early_reset"]);
    }

    fn limit(measure: Measure, limit: u64) -> LearnedLimit {
        LearnedLimit {
            account: "anthropic".into(),
            group: "sonnet-4".into(),
            measure,
            limit,
            source: LimitSource::Headers,
            guard_permille: 960,
            outside_per_minute: 0,
            observed_at: None,
        }
    }

    fn scheme() -> Arc<Scheme> {
        let tier = |name: &str, requests, input| {
            let limits = MinuteLimits { requests: Some(requests), input_tokens: Some(input), output_tokens: None };
            let rows = vec![GroupLimits { groups: vec!["sonnet-4".into()], limits, cache_reads_count: false }];
            Tier { name: name.into(), deposit: None, monthly_cap: None, rows }
        };
        let tiers = vec![tier("1", 50, 30_000), tier("2", 1_000, 450_000), tier("3", 2_000, 450_000)];
        let (valid_from, output) = (Timestamp::default(), OutputCounting::Reserved);
        Arc::new(Scheme { name: "2025-09".into(), valid_from, output, tiers, source: "by hand".into() })
    }

    #[test]
    fn limits_that_are_another_tiers_show_that_the_tier_has_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let inside = Inside {
            limits: BTreeMap::new(),
            tiers: BTreeMap::from([("anthropic".to_owned(), "1".to_owned())]),
            all: vec![],
        };
        let presumed = BTreeMap::from([("anthropic".to_owned(), (scheme(), 0))]);
        let changes = Changes { file: dir.path().join(FILE), presumed, inside: Mutex::new(inside) };
        let see = |limits: Vec<LearnedLimit>, minutes| {
            changes.see(&Memory { limits, ..Memory::default() }, at(minutes));
            changes
                .all()
                .into_iter()
                .map(|change| format!("{} {}→{}", change.kind, change.before, change.after))
                .collect::<Vec<_>>()
        };
        assert_eq!(see(vec![limit(Measure::InputTokens, 30_000)], 0), [""; 0], "as it was presumed");
        let told = see(vec![limit(Measure::InputTokens, 450_000)], 1);
        assert_eq!(told, ["limit 30000→450000"], "two tiers have that");
        let told = see(vec![limit(Measure::InputTokens, 450_000), limit(Measure::Requests, 1_000)], 2);
        assert_eq!(told[1..], ["tier 1→2"]);
        assert_eq!(see(vec![limit(Measure::Requests, 1_000)], 3).len(), 2, "nothing new");
        let kept: Vec<ChangeView> = folder::read_json(&dir.path().join(FILE)).expect("kept");
        assert_eq!(kept.len(), 2);
    }
}
