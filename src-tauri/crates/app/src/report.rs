//! What a week or a month came to: used and expected, by whom, what was saved, what was told, and how good forecasts were.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::alert::Severity;
use domain::catalog::{Catalog, InForce};
use domain::config::Period;
use domain::money::Usd;
use domain::price::Price;
use domain::report::{earlier_turns, typical};
use domain::time::{Calendar, Timestamp};
use domain::usage::{Tokens, Usage};
use ledger::{By, Ledger, Totals, UsageReport, UsageRow, Way};
use serde::{Deserialize, Serialize};

use crate::alerts::{Alerts, DIGEST};
use crate::api::ApiError;
use crate::explain::explained;
use crate::range::{self, Range};
use crate::show::money;
use crate::success::Scores;
use crate::view::{AmountView, CacheView, ForecastView, SuccessView};

mod words;

pub(crate) use words::{digest, line_of_week};
pub use words::{headline, remarks};

/// `tidegate report --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportView {
    /// `week` or `month`.
    pub period: String,
    pub from: String,
    pub to: String,
    /// Up to when it is told: before `to` while the period goes on.
    pub until: String,
    pub timezone: String,
    pub calls: u64,
    /// Of unknown price: in no sum of money here.
    pub unpriced_calls: u64,
    /// Null where no call had a known price.
    pub used_usd: Option<String>,
    /// What earlier ones had come to by then: their median. Null where the ledger has none.
    pub expected_usd: Option<String>,
    /// How many those are.
    pub expected_of: u64,
    /// Used, less what was expected.
    pub gap_usd: Option<String>,
    /// What the one before had come to by then; null where the ledger does not go so far back.
    pub before_usd: Option<String>,
    /// Against the one before, as a part of it.
    pub change: Option<f64>,
    /// The dearest first.
    pub models: Vec<PartView>,
    pub clients: Vec<PartView>,
    pub projects: Vec<PartView>,
    pub cache: CacheView,
    /// What prompts would have cost more without prompt caches, at the prices of the period's end; below 0 where their
    /// writes cost more than their reads saved.
    pub prompt_caches_saved_usd: String,
    /// Of this period.
    pub success: SuccessView,
    /// What was told in it, by rule, the most frequent first.
    pub alerts: Vec<FiredView>,
    /// How forecasts came out, of all time.
    pub scores: Vec<BandScoreView>,
    /// Of the period, while it goes on.
    pub forecasts: Vec<ForecastView>,
    /// Of a month: why it cost what it cost, the weightiest first.
    pub reasons: Vec<String>,
    /// Of a month: its dearest sessions.
    pub sessions: Vec<SessionCostView>,
    /// Calls from before were deleted: reasons, sessions and success are of what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
}

/// What one model, client or project took of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartView {
    /// Empty where calls have none.
    pub name: String,
    pub calls: u64,
    pub cost_usd: Option<String>,
    /// Of the whole, from 0 to 1.
    pub share: f64,
    pub before_usd: Option<String>,
    /// Against the period before, as a part of it; null where that had nothing of it.
    pub change: Option<f64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FiredView {
    pub rule: String,
    /// The worst.
    pub severity: String,
    pub count: u64,
}

/// `the 80 % band held 7 of 8`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BandScoreView {
    /// `anthropic week`
    pub name: String,
    pub hits: u64,
    pub forecasts: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SessionCostView {
    pub session: Option<String>,
    pub client: String,
    pub project: Option<String>,
    pub calls: u64,
    pub cost_usd: Option<String>,
}

/// Which period: the one that runs, the one before it, or the one of a day.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportQuestion {
    /// `week` or `month`; a week where none is named.
    pub period: Option<String>,
    /// A day or a moment in it, as in `--from`.
    pub from: Option<String>,
    pub last: bool,
}

/// A week or month as far as it has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) period: Period,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) until: Timestamp,
}

impl Stretch {
    /// The week or month that holds the moment.
    pub(crate) fn around(period: Period, at: Timestamp, now: Timestamp, calendar: Calendar) -> Stretch {
        let cycle = calendar.cycle(period);
        let (from, to) = (cycle.start(at), cycle.end(at));
        Stretch { period, from, to, until: to.min(now) }
    }

    /// The one that has ended last.
    pub(crate) fn last(period: Period, now: Timestamp, calendar: Calendar) -> Stretch {
        let before = calendar.cycle(period).start(now).before(std::time::Duration::from_millis(1));
        Stretch::around(period, before, now, calendar)
    }

    pub(crate) fn asked(question: &ReportQuestion, now: Timestamp, calendar: Calendar) -> Result<Stretch, ApiError> {
        let period = match question.period.as_deref() {
            None | Some("week") => Period::Week,
            Some("month") => Period::Month,
            Some(other) => return Err(ApiError::asker(format!("there is no report of a {other}: week or month"))),
        };
        let stretch = match (&question.from, question.last) {
            (Some(_), true) => return Err(ApiError::asker("--from and --last each name a period: leave one out")),
            (None, true) => Stretch::last(period, now, calendar),
            (None, false) => Stretch::around(period, now, now, calendar),
            (Some(from), false) => {
                let at = range::start(from, calendar).map_err(ApiError::asker)?;
                Stretch::around(period, at, now, calendar)
            }
        };
        let has_begun = stretch.from < now;
        has_begun.then_some(stretch).ok_or_else(|| ApiError::asker(format!("{} has not come yet", stretch.from)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.until == self.to
    }

    /// The same part of an earlier one.
    fn before(&self, turns: u32, calendar: Calendar) -> Range {
        let moment = |at| calendar.turns_before(at, self.period, turns);
        Range { from: moment(self.from), to: moment(self.until) }
    }
}

/// What reports are made of.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) calendar: Calendar,
    pub(crate) catalog: InForce,
    pub(crate) scores: Arc<Scores>,
    pub(crate) alerts: Arc<Alerts>,
}

/// Dearest sessions of a month.
const SESSIONS_MAX: usize = 5;
const REASONS_MAX: usize = 5;

impl Reporter {
    /// `forecasts`: all there are now.
    pub(crate) async fn report(
        &self,
        stretch: Stretch,
        forecasts: &[ForecastView],
        now: Timestamp,
    ) -> Result<ReportView, ledger::Error> {
        let before = stretch.before(1, self.calendar);
        let models = self.usage(By::Model, stretch.range()).await?;
        let has_before = self.begins().await?.is_some_and(|first| first < before.to);
        let catalog = self.catalog.get();
        let mut view = ReportView {
            period: stretch.period.name().to_owned(),
            from: stretch.from.to_string(),
            to: stretch.to.to_string(),
            until: stretch.until.to_string(),
            timezone: self.calendar.zone_name().to_owned(),
            calls: models.total.calls,
            unpriced_calls: models.total.unpriced_calls,
            used_usd: money(models.total.cost()),
            cache: crate::show::cache(&models.total),
            prompt_caches_saved_usd: saved_by_prompt_caches(&models.rows, &catalog, stretch.until).to_string(),
            success: self.scores.between(stretch.from, stretch.until, now).await?,
            alerts: self.fired(stretch.range()),
            scores: forecasts.iter().filter_map(score).collect(),
            ..ReportView::default()
        };
        let models_before = if has_before { Some(self.usage(By::Model, before).await?) } else { None };
        self.compare(&mut view, &models.total, models_before.as_ref().map(|report| &report.total), stretch).await?;
        view.clients = self.parts(By::Client, stretch, has_before).await?;
        view.projects = self.parts(By::Project, stretch, has_before).await?;
        view.models = parts(&models, models_before.as_ref());
        if !stretch.is_over() {
            view.forecasts = forecasts.iter().filter(|forecast| is_of(forecast, stretch.period)).cloned().collect();
        }
        if stretch.period == Period::Month {
            self.explain(&mut view, stretch, &catalog).await?;
        }
        let kept_from = self.ledger.kept_from().await?;
        let was_deleted = kept_from > Timestamp::default() && stretch.from < kept_from;
        view.kept_from = was_deleted.then(|| kept_from.to_string());
        Ok(view)
    }

    /// What calls of these moments came to, everyone's.
    pub(crate) async fn usage(&self, by: By, range: Range) -> Result<UsageReport, ledger::Error> {
        self.ledger.usage(&by, range.from, range.to, self.calendar).await
    }

    /// The hour of the first call.
    async fn begins(&self) -> Result<Option<Timestamp>, ledger::Error> {
        let by_way = [self.ledger.first_hour(Way::Gateway).await?, self.ledger.first_hour(Way::Elsewhere).await?];
        let first = by_way.into_iter().flatten().min();
        Ok(first.map(|hour| Timestamp::from_millis(hour.saturating_mul(3_600_000))))
    }

    async fn compare(
        &self,
        view: &mut ReportView,
        total: &Totals,
        before: Option<&Totals>,
        stretch: Stretch,
    ) -> Result<(), ledger::Error> {
        let earlier = self.earlier(stretch).await?;
        let expected = typical(&earlier);
        view.expected_of = earlier.len() as u64;
        view.expected_usd = money(expected);
        view.gap_usd = money(expected.map(|expected| total.known_cost - expected));
        view.before_usd = money(before.map(|before| before.known_cost));
        view.change = before.and_then(|before| change(before.known_cost, total.known_cost));
        Ok(())
    }

    /// What the same part of earlier ones came to, from the first one on that the ledger has whole.
    pub(crate) async fn earlier(&self, stretch: Stretch) -> Result<Vec<Usd>, ledger::Error> {
        let Some(first) = self.begins().await? else { return Ok(vec![]) };
        let mut earlier = vec![];
        for turns in 1..=earlier_turns(stretch.period) {
            let range = stretch.before(turns, self.calendar);
            // One that begins with the first day of all is whole as well.
            if first >= self.calendar.end_of_day(range.from) {
                break;
            }
            earlier.push(self.usage(By::Upstream, range).await?.total.known_cost);
        }
        Ok(earlier)
    }

    async fn parts(&self, by: By, stretch: Stretch, has_before: bool) -> Result<Vec<PartView>, ledger::Error> {
        let now = self.usage(by.clone(), stretch.range()).await?;
        let before = match has_before {
            true => Some(self.usage(by, stretch.before(1, self.calendar)).await?),
            false => None,
        };
        Ok(parts(&now, before.as_ref()))
    }

    fn fired(&self, range: Range) -> Vec<FiredView> {
        let mut by_rule: BTreeMap<String, (u64, Severity)> = BTreeMap::new();
        for alert in self.alerts.latest(usize::MAX).into_iter().filter(|alert| alert.rule != DIGEST) {
            let is_within = Timestamp::parse(&alert.crossed_at).is_some_and(|at| range.from <= at && at < range.to);
            if !is_within {
                continue;
            }
            let severity = Severity::named(&alert.severity).unwrap_or(Severity::Info);
            let (count, worst) = by_rule.entry(alert.rule).or_insert((0, severity));
            (*count, *worst) = (*count + 1, severity.max(*worst));
        }
        let fired = |(rule, (count, severity)): (String, (u64, Severity))| FiredView {
            rule,
            severity: severity.name().to_owned(),
            count,
        };
        let mut all: Vec<FiredView> = by_rule.into_iter().map(fired).collect();
        all.sort_by_key(|fired| std::cmp::Reverse(fired.count));
        all
    }

    async fn explain(&self, view: &mut ReportView, stretch: Stretch, catalog: &Catalog) -> Result<(), ledger::Error> {
        let explanation = self.ledger.explain(catalog, stretch.from, stretch.until).await?;
        let explained = explained(&explanation, stretch.range(), self.calendar.zone_name(), catalog);
        view.reasons = explained.total.sentences.into_iter().take(REASONS_MAX).collect();
        let session = |told: crate::explain::SessionBillView| SessionCostView {
            session: told.session,
            client: told.client,
            project: told.project,
            calls: told.bill.calls,
            cost_usd: told.bill.cost_usd,
        };
        view.sessions = explained.sessions.into_iter().take(SESSIONS_MAX).map(session).collect();
        Ok(())
    }
}

impl Stretch {
    pub(crate) fn range(&self) -> Range {
        Range { from: self.from, to: self.until }
    }
}

/// Those of now from the dearest on, then those of before that are gone.
fn parts(now: &UsageReport, before: Option<&UsageReport>) -> Vec<PartView> {
    let costs: BTreeMap<&str, Usd> =
        before.iter().flat_map(|report| &report.rows).map(|row| (row.key.as_str(), row.totals.known_cost)).collect();
    let part = |key: &str, totals: &Totals| {
        let cost = before.map(|_| costs.get(key).copied().unwrap_or_default());
        PartView {
            name: key.to_owned(),
            calls: totals.calls,
            cost_usd: money(totals.cost()),
            share: ratio(totals.known_cost, now.total.known_cost).unwrap_or(0.0),
            before_usd: money(cost),
            change: cost.and_then(|cost| change(cost, totals.known_cost)),
        }
    };
    let is_gone = |row: &&UsageRow| now.rows.iter().all(|other| other.key != row.key);
    let gone = before.iter().flat_map(|report| &report.rows).filter(is_gone);
    let gone = gone.map(|row| part(&row.key, &Totals::default()));
    now.rows.iter().map(|row| part(&row.key, &row.totals)).chain(gone).collect()
}

fn ratio(part: Usd, whole: Usd) -> Option<f64> {
    (whole != Usd::ZERO).then(|| part.as_nanos() as f64 / whole.as_nanos() as f64)
}

fn change(before: Usd, now: Usd) -> Option<f64> {
    ratio(now - before, before)
}

/// What all prompts would have cost as plain input, less what they did.
fn saved_by_prompt_caches(models: &[UsageRow], catalog: &Catalog, at: Timestamp) -> Usd {
    let saved = |row: &UsageRow| {
        let price = catalog.quote("", &row.key, at)?.price;
        // How long each prompt was is in no sum.
        let price = Price { long_prompt: None, ..Price::clone(&price) };
        let cost = |tokens| price.cost(&Usage { tokens, ..Usage::default() });
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, .. } = row.totals.tokens;
        let all = [cache_write_5m, cache_write_1h, cache_read].into_iter().fold(input, u64::saturating_add);
        let cached = Tokens { output: 0, ..row.totals.tokens };
        Some(cost(Tokens { input: all, ..Tokens::default() }) - cost(cached))
    };
    models.iter().filter_map(saved).sum()
}

/// What a forecast is of, as people name it: `anthropic week`, `spend month`.
pub(crate) fn name_of(forecast: &ForecastView) -> String {
    let whose = forecast.upstream.as_ref().or(forecast.scope.as_ref());
    whose.map_or_else(|| forecast.window.clone(), |whose| format!("{whose} {}", forecast.window))
}

fn score(forecast: &ForecastView) -> Option<BandScoreView> {
    let score = forecast.score.as_ref().filter(|score| score.forecasts > 0)?;
    Some(BandScoreView { name: name_of(forecast), hits: score.hits, forecasts: score.forecasts })
}

/// Whether it is of a week or of a month: spending and budgets by their names, windows of upstreams by their ends.
fn is_of(forecast: &ForecastView, period: Period) -> bool {
    match (&forecast.upstream, &forecast.scope) {
        (None, None) => forecast.window == format!("spend {}", period.name()),
        (None, Some(_)) => forecast.window == period.name(),
        (Some(_), _) => (forecast.window == "month") == (period == Period::Month),
    }
}

/// `$12.50`, `1,200 tokens`, `42.0 %`
fn amount(amount: &AmountView) -> String {
    match amount {
        AmountView::Usd(usd) => usd.parse().map_or_else(|_| usd.clone(), crate::explain::dollars),
        AmountView::Tokens(tokens) => crate::explain::times(*tokens, "token", "tokens"),
        AmountView::Percent(percent) => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
