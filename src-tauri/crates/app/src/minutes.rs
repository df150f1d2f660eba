//! What a group of models used in each minute, beside the limits of a minute: where bursts come from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::catalog;
use domain::time::Timestamp;
use ledger::MinuteUsed;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::range::range;
use crate::view::LimitView;

/// Days and moments as in `tidegate usage`; without a group the one that was called most.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct MinutesQuestion {
    pub from: Option<String>,
    pub to: Option<String>,
    pub upstream: Option<String>,
    /// As `tidegate status` names it.
    pub group: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MinutesView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    /// Whose minutes these are; null where nothing was called.
    pub of: Option<MinutesGroupView>,
    /// All that were called, the most called first.
    pub groups: Vec<MinutesGroupView>,
    /// In their order, without those in which nothing was used.
    pub minutes: Vec<MinuteView>,
}

/// Limits are those of now; null where none is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MinutesGroupView {
    pub upstream: String,
    pub group: String,
    pub requests_limit: Option<u64>,
    pub input_tokens_limit: Option<u64>,
    pub output_tokens_limit: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MinuteView {
    pub at: String,
    pub requests: u64,
    /// Without what was read from the cache.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Which of the limits the minute was above: `requests`, `input_tokens`, `output_tokens`.
    pub over: Vec<String>,
}

/// A day of 25 hours has as many more.
const RANGE_MAX: Duration = Duration::from_secs(25 * 3_600);
const MINUTE_MS: i64 = 60_000;
/// Models that nobody knows are groups of their own: those beyond share one.
const GROUPS_MAX: usize = 64;
const REST: &str = "other models";
/// Of a group, to find the lines of the settings that are about it.
const MODELS_KEPT: usize = 16;

#[derive(Debug, Default)]
struct Group {
    models: BTreeSet<String>,
    /// Requests, input and output tokens.
    minutes: BTreeMap<i64, [u64; 3]>,
}

/// By upstream and name.
type Groups = BTreeMap<(String, String), Group>;

impl App {
    pub(crate) async fn minutes(&self, question: &MinutesQuestion) -> Result<MinutesView, ApiError> {
        let range = range(question.from.as_deref(), question.to.as_deref(), self.calendar, self.now());
        let range = range.map_err(ApiError::asker)?;
        if range.to.since(range.from) > RANGE_MAX {
            return Err(ApiError::asker("these are more than a day of minutes: ask for one day, or for less of it"));
        }
        let used = self.ledger.minutes(range.from, range.to).await.map_err(ApiError::machine)?;
        let limits = self.status().await?.limits;
        let groups = grouped(used);
        let mut views: Vec<(u64, MinutesGroupView)> = groups.iter().map(|group| seen(group, &limits)).collect();
        views.sort_by_key(|(calls, view)| (std::cmp::Reverse(*calls), view.group.clone()));
        let views: Vec<MinutesGroupView> = views.into_iter().map(|(_, view)| view).collect();
        let wanted = |view: &&MinutesGroupView| {
            question.upstream.as_ref().is_none_or(|upstream| *upstream == view.upstream)
                && question.group.as_ref().is_none_or(|group| *group == view.group)
        };
        let of = views.iter().find(wanted).cloned();
        let minutes = of.as_ref().map_or_else(Vec::new, |of| {
            let group = groups.get(&(of.upstream.clone(), of.group.clone()));
            group.map_or_else(Vec::new, |group| group.minutes.iter().map(|minute| shown(minute, of)).collect())
        });
        let (from, to) = (range.from.to_string(), range.to.to_string());
        Ok(MinutesView { from, to, timezone: self.calendar.zone_name().to_owned(), of, groups: views, minutes })
    }
}

fn grouped(used: Vec<MinuteUsed>) -> Groups {
    let mut groups = Groups::new();
    for used in used {
        let mut name = (used.upstream, catalog::group(&used.model));
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&name) {
            name.1 = REST.to_owned();
        }
        let group = groups.entry(name).or_default();
        if group.models.len() < MODELS_KEPT {
            group.models.insert(used.model);
        }
        let sums = group.minutes.entry(used.minute).or_default();
        for (sum, used) in sums.iter_mut().zip([used.requests, used.input_tokens, used.output_tokens]) {
            *sum = sum.saturating_add(used);
        }
    }
    groups
}

/// With its calls.
fn seen(((upstream, name), group): (&(String, String), &Group), limits: &[LimitView]) -> (u64, MinutesGroupView) {
    // A limit's group is a group's name, or the patterns of a line of the settings.
    let is_about = |limit: &LimitView| {
        let mut patterns = limit.group.split([',', ' ']).filter(|pattern| !pattern.is_empty());
        limit.group == *name
            || patterns.any(|pattern| group.models.iter().any(|model| catalog::matches(pattern, model)))
    };
    let limit = |resource: &str| {
        let all = limits.iter().filter(|limit| limit.upstream == *upstream && limit.resource == resource);
        all.filter(|limit| is_about(limit)).map(|limit| limit.limit).min()
    };
    let view = MinutesGroupView {
        upstream: upstream.clone(),
        group: name.clone(),
        requests_limit: limit("requests"),
        input_tokens_limit: limit("input_tokens"),
        output_tokens_limit: limit("output_tokens"),
    };
    (group.minutes.values().map(|[requests, ..]| *requests).sum(), view)
}

fn shown((minute, used): (&i64, &[u64; 3]), of: &MinutesGroupView) -> MinuteView {
    let [requests, input_tokens, output_tokens] = *used;
    let over = [
        ("requests", requests, of.requests_limit),
        ("input_tokens", input_tokens, of.input_tokens_limit),
        ("output_tokens", output_tokens, of.output_tokens_limit),
    ];
    let over = over.into_iter().filter(|(_, used, limit)| limit.is_some_and(|limit| *used > limit));
    MinuteView {
        at: Timestamp::from_millis(minute.saturating_mul(MINUTE_MS)).to_string(),
        requests,
        input_tokens,
        output_tokens,
        over: over.map(|(name, ..)| name.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(minute: i64, model: &str, requests: u64, input_tokens: u64) -> MinuteUsed {
        let (upstream, model) = ("anthropic".to_owned(), model.to_owned());
        MinuteUsed { upstream, model, minute, requests, input_tokens, output_tokens: 10 }
    }

    fn limit(group: &str, resource: &str, limit: u64) -> LimitView {
        let [upstream, group, resource] = ["anthropic", group, resource].map(str::to_owned);
        LimitView { upstream, group, resource, limit, ..LimitView::default() }
    }

    #[test]
    fn models_that_share_limits_share_minutes_and_a_minute_above_a_limit_is_a_burst() {
        let groups = grouped(vec![
            used(7, "claude-sonnet-4-5", 30, 9_000),
            used(7, "claude-sonnet-4-20250514", 21, 1_000),
            used(9, "claude-sonnet-4-5", 50, 30_001),
            used(7, "claude-haiku-4-5", 3, 1),
        ]);
        let limits = [
            limit("sonnet-4", "requests", 50),
            limit("claude-sonnet-*, claude-opus-*", "input_tokens", 30_000),
            limit("sonnet-4", "input_tokens", 90_000),
        ];
        let sonnet = groups.iter().find(|((_, name), _)| name == "sonnet-4").expect("a group");
        let (calls, view) = seen(sonnet, &limits);
        assert_eq!(calls, 101);
        assert_eq!(
            (view.requests_limit, view.input_tokens_limit, view.output_tokens_limit),
            (Some(50), Some(30_000), None)
        );
        let minutes: Vec<MinuteView> = sonnet.1.minutes.iter().map(|minute| shown(minute, &view)).collect();
        assert_eq!((minutes[0].at.as_str(), minutes[0].requests), ("1970-01-01T00:07:00.000Z", 51));
        assert_eq!(
            (&minutes[0].over[..], &minutes[1].over[..]),
            (&["requests".to_owned()][..], &["input_tokens".to_owned()][..])
        );
        let haiku = groups.iter().find(|((_, name), _)| name == "haiku-4.5").expect("a group");
        assert_eq!(seen(haiku, &limits).1.requests_limit, None, "its own, or none");
    }

    #[test]
    fn names_that_nobody_knows_do_not_grow_without_end() {
        let groups = grouped((0..1_000).map(|n| used(n, &format!("model-{n}"), 1, 1)).collect());
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        let rest = &groups[&("anthropic".to_owned(), REST.to_owned())];
        assert_eq!((rest.minutes.len(), rest.models.len()), (1_000 - GROUPS_MAX, MODELS_KEPT));
    }

    #[tokio::test]
    async fn more_than_a_day_is_refused_and_a_day_without_calls_has_no_minutes() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = crate::settings::parse("", &[]).expect("legal settings");
        let app = App::open(dir.path(), &settings).await.expect("an app");
        let ask = |from: &str, to: &str| MinutesQuestion {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            ..MinutesQuestion::default()
        };
        let said = app.minutes(&ask("2026-11-01", "2026-11-02")).await.expect_err("two days").reason;
        assert!(said.starts_with("these are more than a day of minutes"), "{said}");
        let view = app.minutes(&ask("2026-11-01", "2026-11-01")).await.expect("a day");
        assert!(view.of.is_none() && view.minutes.is_empty() && view.groups.is_empty());
    }
}
