//! How close each day's busiest minute came to the limits of a minute, and so when an increase may be asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::admission::Level;
use domain::alert::{Figure, Reading, Sign};
use domain::catalog;
use domain::tier::course::{HALF, Peak, half_used_on, working_days_before};
use domain::time::{Calendar, Timestamp};
use gateway::Gateway;
use ledger::{Ledger, MinuteUsed};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::alerts::Alerts;
use crate::settings::{Settings, UpstreamKind};
use crate::{clock, folder};

/// A limit of a minute, and when half of it is first used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct HalfView {
    pub group: String,
    /// `requests`, `input_tokens`, `output_tokens`.
    pub resource: String,
    pub limit: u64,
    /// The most that a minute of the last 28 days and today took, as a part of the limit.
    pub peak: f64,
    /// The day on which half of it was first used, or will be as the last four weeks went; null where it isn't in sight.
    pub half_on: Option<String>,
    /// From when on to ask for an increase, by what the platform takes to grant one.
    pub ask_from: Option<String>,
}

/// The peaks of a data folder.
pub(crate) struct Peaks {
    ledger: Arc<Ledger>,
    file: PathBuf,
    kept: Mutex<Kept>,
    /// Working days that an increase takes, of those upstreams where it takes any.
    lead_days: BTreeMap<String, u32>,
}

/// What a group of models may do in a minute.
pub(crate) struct LimitNow {
    group: String,
    resource: &'static str,
    limit: u64,
}

/// `DIR/peaks.json`: by day of UTC, `upstream group`, and in the order of `RESOURCES`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    days: BTreeMap<i64, BTreeMap<String, [u64; 3]>>,
    /// The day that runs, as far as it has come.
    #[serde(skip)]
    today: (i64, BTreeMap<String, [u64; 3]>),
}

const FILE: &str = "peaks.json";
const RESOURCES: [&str; 3] = ["requests", "input_tokens", "output_tokens"];
/// A trend is of four weeks.
const DAYS_BACK: i64 = 28;
const EVERY: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Google names two to three business days for an increase of quota on Vertex.
const VERTEX_LEAD_DAYS: u32 = 3;

impl Peaks {
    pub(crate) fn open(dir: &Path, ledger: Arc<Ledger>, settings: &Settings) -> Peaks {
        let file = dir.join(FILE);
        let kept = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("how busy past days were is counted again: {error}");
            folder::set_aside(&file);
            Kept::default()
        });
        let on_vertex = settings.upstreams.iter().filter(|upstream| upstream.kind == UpstreamKind::Vertex);
        let lead_days = on_vertex.map(|upstream| (upstream.name.to_string(), VERTEX_LEAD_DAYS)).collect();
        Peaks { ledger, file, kept: Mutex::new(kept), lead_days }
    }

    /// Counts each day once it is over, and the one that runs each hour, as long as a gateway runs.
    pub(crate) async fn run(self: Arc<Peaks>, gateway: Weak<Gateway>, upstreams: Vec<String>, alerts: Arc<Alerts>) {
        loop {
            let now = clock::now();
            if let Err(error) = self.count(now.timestamp).await {
                tracing::warn!("how busy past days were is not counted: {error}");
            }
            let Some(levels) = gateway.upgrade().map(|gateway| gateway.levels()) else { return };
            alerts.judge(Sign::Increase, &self.readings(&levels, &upstreams, now.timestamp), now);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Days that are over and were not counted yet, and today.
    pub(crate) async fn count(&self, now: Timestamp) -> Result<(), ledger::Error> {
        let today = Calendar::UTC.day_number(now);
        let missing: Vec<i64> = {
            let kept = self.lock();
            (today - DAYS_BACK..today).filter(|day| !kept.days.contains_key(day)).collect()
        };
        for day in missing {
            let from = Calendar::UTC.start_of(Calendar::day_of_number(day));
            let minutes = self.ledger.minutes(from, from.after(DAY)).await?;
            let mut kept = self.lock();
            kept.days.insert(day, peaks(&minutes));
            kept.days.retain(|day, _| *day >= today - DAYS_BACK);
            if let Err(error) = folder::write_json(&self.file, &*kept) {
                tracing::warn!("how busy past days were is not kept: {error}");
            }
        }
        let minutes = self.ledger.minutes(Calendar::UTC.start_of_day(now), now).await?;
        self.lock().today = (today, peaks(&minutes));
        Ok(())
    }

    /// Of the limits that one upstream has now, the one to ask about first in front.
    pub(crate) fn halves(&self, upstream: &str, limits: &[LimitNow]) -> Vec<HalfView> {
        let lead = self.lead_days.get(upstream).copied().unwrap_or(0);
        self.lock().halves(upstream, limits, lead)
    }

    fn readings(&self, levels: &[Level], upstreams: &[String], now: Timestamp) -> Vec<Reading> {
        let today = Calendar::UTC.day(now).to_string();
        let mut readings = vec![];
        for (place, upstream) in upstreams.iter().enumerate() {
            let of_it = levels.iter().filter(|level| level.account.index() == place);
            let limits: Vec<LimitNow> = of_it.map(LimitNow::of).collect();
            for half in self.halves(upstream, &limits) {
                let is_due = half.ask_from.is_some_and(|day| day <= today);
                let part = format!("{} {}", half.resource, half.group);
                let value = if is_due { Figure::ONE } else { Figure::ZERO };
                readings.push(Reading::of(format!("upstream:{upstream}"), part, value));
            }
        }
        readings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimitNow {
    pub(crate) fn of(level: &Level) -> LimitNow {
        LimitNow { group: level.group.to_string(), resource: level.measure.name(), limit: level.limit }
    }
}

impl Kept {
    fn halves(&self, upstream: &str, limits: &[LimitNow], lead: u32) -> Vec<HalfView> {
        let half = |LimitNow { group, resource, limit }: &LimitNow| {
            let place = RESOURCES.iter().position(|known| known == resource).filter(|_| *limit > 0)?;
            let mut peaks = self.peaks(&format!("{upstream} {group}"), place, *limit);
            let today = self.peak_today(&format!("{upstream} {group}"), place, *limit);
            let most = peaks.iter().chain(&today).map(|peak| peak.permille).max().unwrap_or(0);
            // Before its end a day's peak may only be too small: a trend of it would lead down.
            peaks.extend(today.filter(|today| today.permille >= HALF));
            let half = half_used_on(&peaks);
            Some(HalfView {
                group: group.clone(),
                resource: (*resource).to_owned(),
                limit: *limit,
                peak: f64::from(most) / 1_000.0,
                half_on: half.map(|day| day.to_string()),
                ask_from: half.map(|day| working_days_before(day, lead).to_string()),
            })
        };
        let mut halves: Vec<HalfView> = limits.iter().filter_map(half).collect();
        halves.sort_by_key(|half| (half.ask_from.is_none(), half.ask_from.clone()));
        halves
    }

    /// In thousandths of a limit. Days without a call are no peak.
    fn peaks(&self, name: &str, resource: usize, limit: u64) -> Vec<Peak> {
        self.days.iter().filter_map(|(day, all)| peak(*day, all.get(name)?[resource], limit)).collect()
    }

    fn peak_today(&self, name: &str, resource: usize, limit: u64) -> Option<Peak> {
        let (day, all) = &self.today;
        peak(*day, all.get(name)?[resource], limit)
    }
}

fn peak(day: i64, used: u64, limit: u64) -> Option<Peak> {
    let permille = u128::from(used) * 1_000 / u128::from(limit.max(1));
    Some(Peak { day: Calendar::day_of_number(day), permille: u32::try_from(permille).unwrap_or(u32::MAX) })
}

/// The busiest minute of each group, each resource for itself.
fn peaks(minutes: &[MinuteUsed]) -> BTreeMap<String, [u64; 3]> {
    let mut sums: BTreeMap<(String, i64), [u64; 3]> = BTreeMap::new();
    for used in minutes {
        let name = format!("{} {}", used.upstream, catalog::group(&used.model));
        let sum = sums.entry((name, used.minute)).or_default();
        for (sum, used) in sum.iter_mut().zip([used.requests, used.input_tokens, used.output_tokens]) {
            *sum = sum.saturating_add(used);
        }
    }
    let mut peaks: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for ((name, _), sum) in sums {
        let peak = peaks.entry(name).or_default();
        peak.iter_mut().zip(sum).for_each(|(peak, sum)| *peak = sum.max(*peak));
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: i64, model: &str, input_tokens: u64) -> MinuteUsed {
        let (upstream, model) = ("anthropic".to_owned(), model.to_owned());
        MinuteUsed { upstream, model, minute, requests: 1, input_tokens, output_tokens: 10 }
    }

    #[test]
    fn models_that_share_limits_share_a_minute_and_each_resource_has_its_own_peak() {
        let busy = [
            minute(1, "claude-sonnet-4-5", 400),
            minute(1, "claude-sonnet-4-20250514", 200),
            minute(2, "claude-sonnet-4-5", 500),
            minute(2, "claude-haiku-4-5", 9_000),
        ];
        let peaks = peaks(&busy);
        assert_eq!(peaks["anthropic sonnet-4"], [2, 600, 20]);
        assert_eq!(peaks["anthropic haiku-4.5"], [1, 9_000, 10]);
    }

    #[test]
    fn half_of_a_limit_comes_into_sight_and_whoever_takes_days_to_raise_it_is_asked_earlier() {
        let mut kept = Kept::default();
        let today = Calendar::UTC.day_number(Timestamp::parse("2026-11-27T00:00:00Z").expect("a time"));
        for day in 0..14 {
            // 30 %, a percent more each day: 43 % on the 26th, half on the 3rd of December.
            let used = 300 + 10 * u64::try_from(day).expect("small");
            kept.days.insert(today - 14 + day, BTreeMap::from([("v sonnet-4".to_owned(), [1, used, 1])]));
        }
        let limit = |resource, limit| LimitNow { group: "sonnet-4".to_owned(), resource, limit };
        let limits = [limit("requests", 50), limit("input_tokens", 1_000), limit("concurrency", 5)];
        let found = kept.halves("v", &limits, VERTEX_LEAD_DAYS);
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!((first.resource.as_str(), first.half_on.as_deref()), ("input_tokens", Some("2026-12-03")));
        assert_eq!(first.ask_from.as_deref(), Some("2026-11-30"), "three working days, from Thursday to Monday");
        assert!((first.peak - 0.43).abs() < 1e-9);
        assert_eq!((second.resource.as_str(), &second.half_on), ("requests", &None), "nothing rises");
        assert_eq!(kept.halves("other", &limits, 0)[0].peak, 0.0);
    }

    #[test]
    fn today_counts_from_the_minute_on_that_took_half_of_a_limit_and_bends_no_trend_before() {
        let mut kept = Kept::default();
        let today = Calendar::UTC.day_number(Timestamp::parse("2026-11-27T00:00:00Z").expect("a time"));
        let used = |used| BTreeMap::from([("v sonnet-4".to_owned(), [1, used, 1])]);
        for day in 0..14 {
            kept.days.insert(today - 14 + day, used(300 + 10 * u64::try_from(day).expect("small")));
        }
        let limits = [LimitNow { group: "sonnet-4".to_owned(), resource: "input_tokens", limit: 1_000 }];
        let half_on = |kept: &Kept| kept.halves("v", &limits, 0).remove(0).half_on;
        kept.today = (today, used(1));
        assert_eq!(half_on(&kept).as_deref(), Some("2026-12-03"));
        kept.today = (today, used(640));
        assert_eq!(half_on(&kept).as_deref(), Some("2026-11-27"));
        assert!((kept.halves("v", &limits, 0)[0].peak - 0.64).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_day_that_runs_is_counted_and_counted_again() {
        use domain::call::{CallId, Outcome};
        use ledger::{Durability, Options};

        let dir = tempfile::tempdir().expect("a folder");
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let options = Options { durability: Durability::Process, catalog, calendar: Calendar::UTC };
        let ledger = Arc::new(Ledger::open(dir.path(), options).await.expect("it opens").0);
        let settings = crate::settings::parse("", &crate::data::schemes().expect("tiers")).expect("legal");
        let peaks = Peaks::open(dir.path(), ledger.clone(), &settings);
        let limit = [LimitNow { group: "sonnet-4".to_owned(), resource: "requests", limit: 8 }];
        // Each call is sent twice.
        for (number, half_on) in [(1, None), (2, Some("2026-09-21"))] {
            let mut entry = crate::testing::entry("claude-sonnet-4-5", Outcome::Completed);
            entry.call.id = CallId::new(entry.ended_at, number);
            ledger.settle(&entry).await.expect("written");
            peaks.count(entry.ended_at.after(Duration::from_secs(60))).await.expect("counted");
            let half = peaks.halves("u", &limit).remove(0);
            assert_eq!(half.half_on.as_deref(), half_on, "{half:?}");
        }
    }
}
