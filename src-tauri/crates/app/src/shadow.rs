//! Shadow mode: calls of the past let through once more under other limits, budgets or priorities, before anybody turns them on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{LearnedLimit, LimitSource, Measure};
use domain::call::Class;
use domain::config::{Budget, Pacing, Period, Rules, Scope, WrittenLimits};
use domain::money::Usd;
use domain::replay::{PastCall, Replayed, Standing, Terms, replay};
use domain::tier::{MinuteLimits, Scheme};
use domain::time::Timestamp;
use ledger::Filter;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::api::ApiError;
use crate::settings::Upstream;
use crate::{App, data, learned, range};

/// What is tried; what is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowQuestion {
    /// Without days the last week.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Where there are several.
    pub upstream: Option<String>,
    /// Of the upstream's scheme.
    pub tier: Option<String>,
    /// In a minute, of each group of models.
    pub requests: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// `client:ci day 20`
    pub budgets: Vec<String>,
    /// `ci=critical`
    pub priorities: Vec<String>,
}

/// `tidegate shadow --json`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ShadowView {
    pub upstream: String,
    pub from: String,
    pub to: String,
    /// Replayed; older ones of a longer time are left out.
    pub calls: u64,
    pub left_out: bool,
    /// Replayed too, so that both are as good: what really happened also knows bad days of the upstream.
    pub as_it_is: ReplayedView,
    pub changed: ReplayedView,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReplayedView {
    pub served: u64,
    pub refused: u64,
    /// Of the refused: by a window or a budget.
    pub over_quota: u64,
    /// In the queue, of all calls together.
    pub waited_ms: u64,
    pub longest_ms: u64,
    pub waited_critical_ms: u64,
    pub waited_normal_ms: u64,
    pub waited_background_ms: u64,
    /// Of the served whose price is known.
    pub cost_usd: String,
}

/// More would take longer than anybody waits.
pub(crate) const CALLS_MAX: u32 = 100_000;
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What the calls of an upstream went under, and may be changed.
#[derive(Clone, PartialEq)]
pub(crate) struct Ground {
    pub(crate) rules: Rules,
    pub(crate) pacing: Pacing,
    pub(crate) learned: Vec<LearnedLimit>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) max_wait: Duration,
    pub(crate) standings: BTreeMap<Arc<str>, Standing>,
    /// All there are.
    pub(crate) clients: Vec<Arc<str>>,
}

impl App {
    /// # Errors
    /// A change that makes no sense, an upstream or tier that there is not.
    pub(crate) async fn shadow(&self, question: &ShadowQuestion) -> Result<ShadowView, ApiError> {
        let now = self.now();
        let (from, to) = (question.from.as_deref(), question.to.as_deref());
        let range = match (from, to) {
            (None, None) => range::Range { from: now.before(WEEK), to: now },
            (from, to) => range::range(from, to, self.calendar, now).map_err(ApiError::asker)?,
        };
        let upstream = self.upstream_of(question.upstream.as_deref())?;
        if question.is_empty() {
            return Err(ApiError::asker(NOTHING_TRIED));
        }
        let as_it_is = self.ground(&upstream);
        let changed = as_it_is.clone().changed(question)?;
        let calls = self.past_calls(&upstream.name, range.from, range.to).await.map_err(ApiError::machine)?;
        changed.knows(question, &calls)?;
        let left_out = calls.len() >= CALLS_MAX as usize;
        let count = calls.len() as u64;
        let both = tokio::task::spawn_blocking(move || (as_it_is.replay(&calls), changed.replay(&calls)));
        let (as_it_is, changed) = both.await.map_err(ApiError::machine)?;
        Ok(ShadowView {
            upstream: upstream.name.to_string(),
            from: range.from.to_string(),
            to: range.to.to_string(),
            calls: count,
            left_out,
            as_it_is: replayed(&as_it_is),
            changed: replayed(&changed),
        })
    }

    fn upstream_of(&self, name: Option<&str>) -> Result<Upstream, ApiError> {
        let settings = self.settings();
        let all = &settings.upstreams;
        let names = || all.iter().map(|upstream| &*upstream.name).collect::<Vec<_>>().join(", ");
        match (name, &all[..]) {
            (None, [only]) => Ok(only.clone()),
            (_, []) => Err(ApiError::asker("the settings have no [[upstream]]: nothing was let through to one")),
            (None, _) => Err(ApiError::asker(format!("say for which upstream with --upstream: {}", names()))),
            (Some(name), _) => all
                .iter()
                .find(|upstream| *upstream.name == *name)
                .cloned()
                .ok_or_else(|| ApiError::asker(format!("no upstream is named {name:?}; there are {}", names()))),
        }
    }

    /// As the settings, the clients and what was learned have it now.
    pub(crate) fn ground(&self, upstream: &Upstream) -> Ground {
        let memory = self.gateway().map_or_else(|| learned::read(self.dir()), |gateway| gateway.remember());
        let learned = memory.limits.into_iter().filter(|limit| *limit.account == *upstream.name).collect();
        let standings = self.standings();
        Ground {
            rules: self.admission_rules(),
            pacing: upstream.pacing.clone(),
            learned,
            budgets: self.budgets(),
            max_wait: self.settings().gateway.max_wait,
            clients: standings.keys().cloned().collect(),
            standings,
        }
    }

    /// The latest, in their order.
    pub(crate) async fn past_calls(
        &self,
        upstream: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<PastCall>, ledger::Error> {
        let filter = Filter { from: Some(from), to: Some(to), client: None };
        let entries = self.ledger.calls(&filter, CALLS_MAX).await?;
        let catalog = self.prices.in_force().get();
        let went_there = |entry: &&domain::call::Entry| {
            entry.source == domain::call::Source::Gateway
                && entry.attempts.first().is_some_and(|attempt| *attempt.upstream == *upstream)
        };
        let past = entries.iter().filter(went_there).filter_map(|entry| PastCall::of(entry, &catalog));
        let mut calls: Vec<PastCall> = past.collect();
        calls.sort_by_key(|call| call.at);
        Ok(calls)
    }
}

const NOTHING_TRIED: &str = "nothing is tried: name what would be another, with --tier, --requests, --input-tokens, \
     --output-tokens, --budget or --priority";

impl ShadowQuestion {
    fn is_empty(&self) -> bool {
        let limits = [self.requests, self.input_tokens, self.output_tokens];
        self.tier.is_none() && limits == [None; 3] && self.budgets.is_empty() && self.priorities.is_empty()
    }
}

impl Ground {
    /// Whoever is named for a change is a client, or somebody whose calls these are.
    fn knows(&self, question: &ShadowQuestion, calls: &[PastCall]) -> Result<(), ApiError> {
        for text in &question.priorities {
            let (client, _) = priority(text).map_err(ApiError::asker)?;
            self.knows_one(&Scope::Client(client), calls)?;
        }
        question.budgets.iter().try_for_each(|text| {
            let budget = budget(text).map_err(ApiError::asker)?;
            self.knows_one(&budget.scope, calls)
        })
    }

    fn knows_one(&self, scope: &Scope, calls: &[PastCall]) -> Result<(), ApiError> {
        let has = |of: fn(&PastCall) -> Option<&Arc<str>>, name: &Arc<str>| {
            calls.iter().any(|call| of(call).is_some_and(|own| own == name))
        };
        let (kind, name, is_known) = match scope {
            Scope::Machine => return Ok(()),
            // Its standing is there from the question itself: what counts is whose calls there are, and who was there before.
            Scope::Client(name) => {
                ("client", name, self.clients.contains(name) || has(|call| Some(&call.client), name))
            }
            Scope::Person(name) => ("person", name, has(|call| call.person.as_ref(), name)),
            Scope::Project(name) => ("project", name, has(|call| call.project.as_ref(), name)),
            Scope::Tenant(name) => ("tenant", name, has(|call| call.tenant.as_ref(), name)),
        };
        let unknown = || {
            let shown = if kind == "client" { "client list" } else { &format!("usage --by {kind}") };
            ApiError::asker(format!("no {kind} of these calls is named {name:?}: `tidegate {shown}` shows them"))
        };
        is_known.then_some(()).ok_or_else(unknown)
    }

    pub(crate) fn replay(&self, calls: &[PastCall]) -> Replayed {
        let terms = Terms {
            rules: &self.rules,
            pacing: self.pacing.clone(),
            learned: &self.learned,
            budgets: &self.budgets,
            max_wait: self.max_wait,
            changed: &self.standings,
        };
        replay(calls, &terms)
    }

    fn changed(mut self, question: &ShadowQuestion) -> Result<Ground, ApiError> {
        if let Some(tier) = &question.tier {
            self.set_tier(tier)?;
        }
        self.set_limits(MinuteLimits {
            requests: positive(question.requests, "--requests")?,
            input_tokens: positive(question.input_tokens, "--input-tokens")?,
            output_tokens: positive(question.output_tokens, "--output-tokens")?,
        });
        for text in &question.budgets {
            let budget = budget(text).map_err(ApiError::asker)?;
            self.budgets.retain(|old| (&old.scope, old.period) != (&budget.scope, budget.period));
            self.budgets.push(budget);
        }
        for text in &question.priorities {
            let (client, class) = priority(text).map_err(ApiError::asker)?;
            self.standings.entry(client).or_default().class = Some(class);
        }
        Ok(self)
    }

    /// The upstream's own word of today's tier is no word of another.
    fn set_tier(&mut self, name: &str) -> Result<(), ApiError> {
        let scheme = match &self.pacing.presumed {
            Some((scheme, _)) => scheme.clone(),
            None => newest().map_err(ApiError::machine)?,
        };
        let place = scheme.tiers.iter().position(|tier| *tier.name == *name);
        let names = || scheme.tiers.iter().map(|tier| &*tier.name).collect::<Vec<_>>().join(", ");
        let unknown = || ApiError::asker(format!("scheme {} has no tier {name:?}; it has {}", scheme.name, names()));
        let place = place.ok_or_else(unknown)?;
        self.set_place(scheme, place);
        Ok(())
    }

    pub(crate) fn set_place(&mut self, scheme: Arc<Scheme>, place: usize) {
        self.pacing.presumed = Some((scheme, place));
        self.learned.clear();
    }

    fn set_limits(&mut self, wanted: MinuteLimits) {
        self.set_limit(Measure::Requests, wanted.requests, |limits| &mut limits.requests);
        self.set_limit(Measure::InputTokens, wanted.input_tokens, |limits| &mut limits.input_tokens);
        self.set_limit(Measure::OutputTokens, wanted.output_tokens, |limits| &mut limits.output_tokens);
    }

    /// Written limits are ceilings over all others: both say the same.
    fn set_limit(
        &mut self,
        measure: Measure,
        limit: Option<u64>,
        place: impl Fn(&mut MinuteLimits) -> &mut Option<u64>,
    ) {
        let Some(limit) = limit else { return };
        self.learned.retain(|learned| learned.measure != measure);
        let groups = self.presumed_groups();
        let told: Vec<LearnedLimit> =
            groups.into_iter().map(|group| self.learned_limit(group, measure, limit)).collect();
        self.learned.extend(told);
        if self.pacing.written.is_empty() {
            let (models, per_minute) = (vec!["*".into()], MinuteLimits::default());
            self.pacing.written.push(WrittenLimits { models, per_minute, concurrency: None });
        }
        for written in &mut self.pacing.written {
            *place(&mut written.per_minute) = Some(limit);
        }
    }

    fn presumed_groups(&self) -> Vec<Arc<str>> {
        let Some((scheme, place)) = &self.pacing.presumed else { return vec![] };
        scheme
            .tiers
            .get(*place)
            .map_or_else(Vec::new, |tier| tier.rows.iter().flat_map(|row| row.groups.clone()).collect())
    }

    fn learned_limit(&self, group: Arc<str>, measure: Measure, limit: u64) -> LearnedLimit {
        let Pacing { guard_requests_permille, guard_tokens_permille, .. } = self.pacing;
        let guard_permille = if measure == Measure::Requests { guard_requests_permille } else { guard_tokens_permille };
        LearnedLimit {
            account: "".into(),
            group,
            measure,
            limit,
            source: LimitSource::Headers,
            guard_permille,
            outside_per_minute: 0,
            observed_at: None,
        }
    }
}

fn newest() -> Result<Arc<Scheme>, String> {
    let schemes = data::schemes().map_err(|error| error.to_string())?;
    schemes.into_iter().max_by_key(|scheme| scheme.valid_from).ok_or_else(|| "there is no scheme".to_owned())
}

fn positive(limit: Option<u64>, name: &str) -> Result<Option<u64>, ApiError> {
    match limit {
        Some(0) => Err(ApiError::asker(format!("{name} is 0, which lets nothing through: say at least 1"))),
        limit => Ok(limit),
    }
}

fn budget(text: &str) -> Result<Budget, String> {
    let wrong =
        || format!("{text:?} is no budget: write a scope, day, week or month, and dollars: \"client:ci day 20\"");
    // Names may have blanks.
    let (rest, usd) = text.trim().rsplit_once(' ').ok_or_else(wrong)?;
    let (scope, period) = rest.trim_end().rsplit_once(' ').ok_or_else(wrong)?;
    let scope = scope.trim_end();
    let period = [Period::Day, Period::Week, Period::Month].into_iter().find(|known| known.name() == period);
    let limit = usd.strip_prefix('$').unwrap_or(usd).parse().map_err(|_| wrong())?;
    if limit <= Usd::ZERO {
        return Err(format!("{text:?} lets nothing through: a budget is more than $0"));
    }
    let (scope, period) = (named_scope(scope).ok_or_else(wrong)?, period.ok_or_else(wrong)?);
    Ok(Budget { scope, period, limit, hard: false })
}

fn named_scope(text: &str) -> Option<Scope> {
    match text.split_once(':') {
        None => (text == "machine").then_some(Scope::Machine),
        Some((_, "")) => None,
        Some(("client", name)) => Some(Scope::Client(name.into())),
        Some(("person", name)) => Some(Scope::Person(name.into())),
        Some(("project", name)) => Some(Scope::Project(name.into())),
        Some(("tenant", name)) => Some(Scope::Tenant(name.into())),
        Some(_) => None,
    }
}

fn priority(text: &str) -> Result<(Arc<str>, Class), String> {
    let wrong = || format!("{text:?} is no priority: write a client and critical, normal or background: ci=background");
    let (client, class) = text.split_once('=').filter(|(client, _)| !client.is_empty()).ok_or_else(wrong)?;
    Ok((client.into(), Class::named(class).ok_or_else(wrong)?))
}

fn replayed(found: &Replayed) -> ReplayedView {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let [critical, normal, background] = found.waited_by_class.map(millis);
    ReplayedView {
        served: found.served,
        refused: found.refused,
        over_quota: found.over_quota,
        waited_ms: millis(found.waited),
        longest_ms: millis(found.longest),
        waited_critical_ms: critical,
        waited_normal_ms: normal,
        waited_background_ms: background,
        cost_usd: found.cost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::usage::{Tokens, Usage};

    fn ground(requests: Option<u64>) -> Ground {
        let per_minute = MinuteLimits { requests, ..MinuteLimits::default() };
        let written = WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None };
        Ground {
            rules: Rules::default(),
            pacing: Pacing {
                presumed: None,
                written: requests.map(|_| written).into_iter().collect(),
                guard_requests_permille: 960,
                guard_tokens_permille: 930,
                retry_after_buffer: Duration::ZERO,
                windows: vec![],
            },
            learned: vec![],
            budgets: vec![],
            max_wait: Duration::from_secs(600),
            standings: BTreeMap::new(),
            clients: vec!["web".into()],
        }
    }

    /// One a second.
    fn calls(count: u64) -> Vec<PastCall> {
        let call = |second: u64| PastCall {
            at: Timestamp::from_millis(1_790_000_000_000).after(Duration::from_secs(second)),
            class: Class::Normal,
            client: "ci".into(),
            tenant: None,
            person: None,
            project: None,
            model: "claude-sonnet-4-5".into(),
            max_tokens: Some(100),
            usage: Usage { tokens: Tokens { input: 100, output: 50, ..Tokens::default() }, ..Usage::default() },
            lasts: Duration::from_secs(2),
            price: None,
        };
        (0..count).map(call).collect()
    }

    fn waited(ground: &Ground) -> u64 {
        ground.replay(&calls(60)).waited.as_secs()
    }

    #[test]
    fn a_limit_that_is_tried_counts_whether_one_is_written_presumed_or_learned() {
        let question = ShadowQuestion { requests: Some(600), ..ShadowQuestion::default() };
        let low = ground(Some(30));
        assert!(waited(&low) > 1_000 && waited(&low.clone().changed(&question).expect("legal")) < 5);
        let mut tier = ground(None);
        tier.set_tier("1").or_else(|_| tier.set_tier("start")).expect("a tier");
        let requests = ShadowQuestion { requests: Some(30), ..ShadowQuestion::default() };
        assert!(waited(&tier.clone().changed(&requests).expect("legal")) > 1_000, "lower than the tier's");
        let mut learned = ground(None);
        learned.learned = vec![learned.learned_limit("sonnet-4".into(), Measure::Requests, 30)];
        assert!(waited(&learned) > 1_000, "what headers told counts");
        assert!(waited(&learned.changed(&question).expect("legal")) < 5);
    }

    #[test]
    fn a_change_of_somebody_that_nobody_knows_is_no_change() {
        let ground = ground(None);
        let asked = |budget: &str, priority: &str| {
            let one = |text: &str| if text.is_empty() { vec![] } else { vec![text.to_owned()] };
            let question =
                ShadowQuestion { budgets: one(budget), priorities: one(priority), ..ShadowQuestion::default() };
            ground.knows(&question, &calls(3)).err().map(|error| error.reason)
        };
        for (budget, priority) in [("client:ci day 1", "web=critical"), ("machine day 1", "ci=background")] {
            assert_eq!(asked(budget, priority), None);
        }
        assert!(
            asked("", "nobody=critical")
                .is_some_and(|told| told.contains("no client of these calls is named \"nobody\""))
        );
        assert!(asked("client:nobody day 1", "").is_some_and(|told| told.contains("`tidegate client list`")));
        assert!(asked("project:shop day 1", "").is_some_and(|told| told.contains("`tidegate usage --by project`")));
    }

    #[test]
    fn a_tiny_budget_is_spent_by_one_call_and_what_it_cost_is_told_to_the_nano_dollar() {
        let price = crate::data::catalog().expect("prices");
        let quote = price.quote("", "claude-sonnet-4-5", Timestamp::from_millis(1_790_000_000_000)).expect("a price");
        let mut calls = calls(3);
        calls.iter_mut().for_each(|call| call.price = Some(quote.price.clone()));
        // 100 tokens in and 50 out are $0.00105 each.
        let let_through = |budget: &str| {
            let question = ShadowQuestion { budgets: vec![budget.into()], ..ShadowQuestion::default() };
            let found = ground(None).changed(&question).expect("legal").replay(&calls);
            (found.served, found.cost.to_string())
        };
        // The one that comes while nothing is spent.
        assert_eq!(let_through("client:ci day 0.000000001"), (1, "0.001050000".to_owned()));
        assert_eq!(let_through("client:ci day 1"), (3, "0.003150000".to_owned()));
    }

    #[test]
    fn what_is_no_change_is_told_how_to_write_one() {
        let tried = |question: ShadowQuestion| ground(None).changed(&question).err().map(|error| error.reason);
        let budget = |text: &str| tried(ShadowQuestion { budgets: vec![text.into()], ..ShadowQuestion::default() });
        assert_eq!(budget("client:ci day 20"), None);
        assert_eq!(budget("project:web shop day 0.000000001"), None);
        assert!(budget("client:ci day 0").is_some_and(|told| told.contains("more than $0")));
        assert!(budget("client:ci day -5").is_some_and(|told| told.contains("more than $0")));
        for wrong in ["", "client: day 20", "client:ci year 20", "client:ci day much", "model:x day 3"] {
            assert!(budget(wrong).is_some_and(|told| told.contains("client:ci day 20")), "{wrong}");
        }
        let priority =
            |text: &str| tried(ShadowQuestion { priorities: vec![text.into()], ..ShadowQuestion::default() });
        assert_eq!(priority("ci=critical"), None);
        assert!(priority("ci=urgent").is_some_and(|told| told.contains("ci=background")));
        assert!(tried(ShadowQuestion { requests: Some(0), ..ShadowQuestion::default() }).is_some());
        let tier = tried(ShadowQuestion { tier: Some("nine".into()), ..ShadowQuestion::default() });
        assert!(tier.is_some_and(|told| told.contains("it has")));
    }
}
