//! When windows and budgets run out and what a day and a month come to, from what the ledger has of each hour; and how good
//! such forecasts have been.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::admission::{QuotaKey, QuotaLevel, Unit};
use domain::alert::{Figure, Reading, Sign, Turn};
use domain::forecast::{
    Calibration, Card, Exchange, Forecast, History, Kept, PATHS, Question, Scaling, Window, forecast, words,
};
use domain::money::Usd;
use domain::time::{Calendar, Now, Timestamp};
use gateway::Gateway;
use ledger::{Ledger, Observation, Spender, Way};

use crate::alerts::Alerts;
use crate::counting::{self, Counted};
use crate::tiers::Caps;
use crate::view::{ExchangeView, ForecastView, ScoreView, SpreadView, WhatIfView};
use crate::{clock, folder, show};

mod book;
mod hours;
mod observed;
mod whatif;

use book::Book;
use hours::{HourReader, Hours, Refused, Shut, Whose};
use observed::Percent;
pub(crate) use observed::SUBSCRIPTION as SUBSCRIPTION_WINDOWS;
pub(crate) use whatif::{CHANGES_MAX, Change};
use whatif::{Changed, Fate, scalings};

pub(crate) struct Forecasts {
    ledger: Arc<Ledger>,
    file: PathBuf,
    calendar: Calendar,
    /// What a tier lets each upstream's month cost.
    caps: Caps,
    book: Mutex<Book>,
    /// The latest.
    shown: Mutex<Vec<ForecastView>>,
    hours: HourReader,
    /// What upstreams said last of their windows.
    heard: Mutex<BTreeMap<String, Observation>>,
}

/// A window, a budget, or a time whose total is asked for.
#[derive(Clone, Debug)]
struct Subject {
    window: String,
    upstream: Option<String>,
    scope: Option<String>,
    unit: Unit,
    span: Window,
    by: By,
}

/// By what it goes.
#[derive(Clone, Debug)]
enum By {
    Spent(Spender, Option<Arc<str>>),
    /// What somebody else says of a window, by its name among observations.
    Told(String),
}

/// What is known of a subject's past.
struct Past {
    hours: Hours,
    known: Vec<bool>,
    exchange: Option<Exchange>,
}

const FILE: &str = "forecasts.json";
const EVERY: Duration = Duration::from_secs(300);
/// Any will do, as long as it stays: a forecast is to change with the world and not with chance.
const SEED: u64 = 7;
const HOUR_MS: i64 = 3_600_000;
/// Of what was said of windows in percent.
const TOLD_BACK: Duration = Duration::from_secs(30 * 7 * 86_400);
/// Of these it is seen what the present calls are made of; more would take most of a what-if's time.
const LATEST_CALLS: u32 = 8_000;

impl Forecasts {
    pub(crate) fn open(dir: &Path, ledger: Arc<Ledger>, calendar: Calendar, caps: Caps) -> Forecasts {
        let file = dir.join(FILE);
        let book = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("forecasts of before are forgotten: {error}");
            folder::set_aside(&file);
            Book::default()
        });
        let (book, shown, hours) = (Mutex::new(book), Mutex::default(), HourReader::of(ledger.clone()));
        Forecasts { ledger, file, calendar, caps, book, shown, hours, heard: Mutex::default() }
    }

    /// Looks as long as a gateway runs.
    pub(crate) async fn run(self: Arc<Forecasts>, gateway: Weak<Gateway>, counted: Counted, alerts: Arc<Alerts>) {
        loop {
            let Some(quotas) = gateway.upgrade().map(|gateway| gateway.quotas()) else { return };
            let now = clock::now();
            lock(&self.book).listens(hour_of(now.timestamp));
            self.note(&quotas, &counted.upstreams, now.timestamp).await;
            match self.look(&quotas, &counted, now.timestamp).await {
                Ok(seen) => self.take(seen, &alerts, now),
                Err(error) => tracing::warn!("nothing was forecast: {error}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    pub(crate) fn shown(&self) -> Vec<ForecastView> {
        lock(&self.shown).clone()
    }

    /// What upstreams say of their windows becomes a series, where it has changed.
    async fn note(&self, quotas: &[QuotaLevel], upstreams: &[String], now: Timestamp) {
        let mut seen = observed::seen(quotas, upstreams, now);
        let is_new = |heard: Option<&Observation>, seen: &Observation| {
            heard.is_none_or(|heard| (heard.used, heard.resets_at) != (seen.used, seen.resets_at))
        };
        seen.retain(|seen| is_new(lock(&self.heard).get(&seen.window), seen));
        if let Err(error) = self.ledger.observe(&seen).await {
            return tracing::warn!("what upstreams say of their windows is not kept: {error}");
        }
        lock(&self.heard).extend(seen.into_iter().map(|seen| (seen.window.clone(), seen)));
    }

    /// Stores what is to be scored, scores what has come to its end, and lets the rules judge.
    fn take(&self, seen: Vec<Seen>, alerts: &Alerts, now: Now) {
        let mut book = lock(&self.book);
        for seen in &seen {
            book.observe(&seen.subject.name(), seen.subject.span, seen.kept.as_ref(), now.timestamp);
        }
        if let Err(error) = folder::write_json(&self.file, &*book) {
            tracing::warn!("forecasts are not kept: {error}");
        }
        drop(book);
        let readings: Vec<Reading> = seen.iter().filter_map(|seen| seen.reading(now.timestamp)).collect();
        alerts.judge(Sign::Forecast, &readings, now);
        *lock(&self.shown) = seen.into_iter().map(|seen| seen.view).collect();
    }

    /// All windows and budgets that have begun, then what today, this week and this month will have cost.
    pub(crate) async fn look(
        &self,
        quotas: &[QuotaLevel],
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Vec<Seen>, ledger::Error> {
        let refused = self.hours.refused(now).await?;
        let mut all = vec![];
        for subject in self.subjects(quotas, counted, now).await? {
            let past = self.past(&subject, &refused, counted, now).await?;
            all.push(self.ask(&subject, &past, now));
        }
        Ok(all)
    }

    /// Each forecast, and beside it what it would be with these changes.
    ///
    /// # Errors
    /// A change that can't be made, in a sentence.
    pub(crate) async fn what_if(
        &self,
        changes: &[Change],
        (quotas, clients): (&[QuotaLevel], &[Arc<str>]),
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Result<Vec<WhatIfView>, String>, ledger::Error> {
        let shares = self.ledger.latest_mix(LATEST_CALLS).await?;
        let catalog = counted.catalog.get();
        let changed = Changed { changes, shares: &shares, catalog: &catalog, now };
        let subjects = self.subjects(quotas, counted, now).await?;
        if let Err(wrong) = changed.check(&subjects, clients) {
            return Ok(Err(wrong));
        }
        let refused = self.hours.refused(now).await?;
        let mut all = vec![];
        for subject in &subjects {
            let past = self.past(subject, &refused, counted, now).await?;
            let before = self.ask(subject, &past, now).view;
            all.push(WhatIfView { before, after: self.ask_changed(subject, &past, &changed).view });
        }
        Ok(Ok(all))
    }

    async fn subjects(
        &self,
        quotas: &[QuotaLevel],
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Vec<Subject>, ledger::Error> {
        let begun = quotas.iter().filter(|quota| quota.resets_at > now);
        let mut all: Vec<Subject> = begun.filter_map(|quota| Subject::of(quota, &counted.upstreams)).collect();
        all.extend(self.subscription(now).await?);
        // An upstream's month is UTC's.
        let month = (Calendar::UTC.start_of_month(now), Calendar::UTC.end_of_month(now));
        for (upstream, cap) in self.caps.now() {
            let whose = (Spender::Upstream, Some(upstream.as_str().into()));
            let span = self.span(&whose, month, Some(cap), counted, now).await?;
            all.push(Subject::spending("tier", Some(upstream), span, whose));
        }
        let day = (self.calendar.start_of_day(now), self.calendar.end_of_day(now));
        let week = (self.calendar.start_of_week(now), self.calendar.end_of_week(now));
        let month = (self.calendar.start_of_month(now), self.calendar.end_of_month(now));
        for (name, turn) in [("spend day", day), ("spend week", week), ("spend month", month)] {
            let whose = (Spender::Client, None);
            let span = self.span(&whose, turn, None, counted, now).await?;
            all.push(Subject::spending(name, None, span, whose));
        }
        Ok(all)
    }

    /// The windows that Claude Code tells of, those that run now.
    async fn subscription(&self, now: Timestamp) -> Result<Vec<Subject>, ledger::Error> {
        let told = self.ledger.subscription().await?.unwrap_or_default();
        let subject = |latest: &Observation| {
            let (window, length) = observed::SUBSCRIPTION.iter().find(|(window, _)| *window == latest.window)?;
            Some(Subject {
                window: (*window).to_owned(),
                upstream: None,
                scope: Some(SUBSCRIPTION.to_owned()),
                unit: Unit::Percent,
                span: observed::window(latest, *length, now)?,
                by: By::Told(latest.window.clone()),
            })
        };
        Ok(told.iter().filter_map(subject).collect())
    }

    /// In dollars.
    async fn span(
        &self,
        (spender, name): &(Spender, Option<Arc<str>>),
        (since, resets_at): (Timestamp, Timestamp),
        limit: Option<Usd>,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Window, ledger::Error> {
        let dearest = counted.dearest(now);
        let used = self.ledger.used(*spender, since, resets_at).await?;
        let of_it = used.iter().filter(|used| name.as_ref().is_none_or(|name| used.name == *name));
        let sum = of_it.map(|used| counting::amount(used, Unit::Usd, dearest.as_ref()));
        let used = number(Unit::Usd, sum.fold(0, i64::saturating_add));
        Ok(Window { since, resets_at, used, limit: limit.map(|usd| number(Unit::Usd, usd.as_nanos())) })
    }

    async fn past(
        &self,
        subject: &Subject,
        refused: &Refused,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Past, ledger::Error> {
        match &subject.by {
            By::Spent(spender, name) => {
                let whose = Whose { spender: *spender, name: name.clone(), way: Way::Gateway };
                let hours = self.hours.hours(&whose, subject.unit, counted, now).await?;
                let used = hours.sum();
                let mut known: Vec<bool> = {
                    let book = lock(&self.book);
                    (hours.begin..).zip(&used).map(|(hour, used)| *used > 0.0 || book.listened(hour)).collect()
                };
                forget_what_was_full(&used, &mut known, hours.begin, subject.span);
                forget_what_was_shut(&used, &mut known, hours.begin, subject.span, &refused.of(&whose));
                Ok(Past { hours, known, exchange: None })
            }
            By::Told(window) => self.past_told(subject, window, refused, counted, now).await,
        }
    }

    async fn past_told(
        &self,
        subject: &Subject,
        window: &str,
        refused: &Refused,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Past, ledger::Error> {
        let seen = self.ledger.observations(Some(window), now.before(TOLD_BACK)).await?;
        let Percent { begin, used, mut known } = Percent::of(&seen, now);
        forget_what_was_full(&used, &mut known, begin, subject.span);
        let whose = match &subject.upstream {
            Some(upstream) => {
                let name = Some(upstream.as_str().into());
                Whose { spender: Spender::Upstream, name, way: Way::Gateway }
            }
            None => Whose { spender: Spender::Client, name: None, way: Way::Elsewhere },
        };
        if whose.way == Way::Gateway {
            forget_what_was_shut(&used, &mut known, begin, subject.span, &refused.of(&whose));
        }
        let spent = self.hours.hours(&whose, Unit::Usd, counted, now).await?;
        let exchange = observed::exchange(&seen, spent.begin, &spent.sum());
        Ok(Past { hours: Hours::alone(begin, used), known, exchange })
    }

    fn ask(&self, subject: &Subject, past: &Past, now: Timestamp) -> Seen {
        let series = vec![past.hours.sum()];
        let history = History { first_hour: past.hours.begin, series, known: past.known.clone() };
        self.answer(subject, &history, &[], past.exchange, now)
    }

    fn ask_changed(&self, subject: &Subject, past: &Past, changed: &Changed<'_>) -> Seen {
        let groups = past.hours.grouped(|kind| Some(changed.fate(kind, subject.unit)));
        let (fates, series): (Vec<Fate>, Vec<Vec<f64>>) = groups.into_iter().unzip();
        let history = History { first_hour: past.hours.begin, series, known: past.known.clone() };
        let subject = Subject { span: changed.window(subject), ..subject.clone() };
        self.answer(&subject, &history, &scalings(&fates), past.exchange, changed.now)
    }

    fn answer(
        &self,
        subject: &Subject,
        history: &History,
        scalings: &[Scaling],
        exchange: Option<Exchange>,
        now: Timestamp,
    ) -> Seen {
        let (scored, limit_since) = {
            let book = lock(&self.book);
            (book.scored(&subject.name()), book.limit_since(&subject.name(), subject.span))
        };
        let question = Question {
            history,
            window: subject.span,
            now,
            zone: self.calendar.zone(),
            scalings,
            calibration: Calibration::of(scored.iter().map(|scored| scored.hit)),
            paths: PATHS,
            seed: SEED,
        };
        let forecast = forecast(&question);
        let kept = forecast.informative.then(|| Kept::of(&forecast, history, &question)).flatten();
        let text = words(&forecast, now, self.calendar);
        let view = subject.view(&forecast, text, exchange, Card::of(&scored));
        let view = ForecastView { limit_since: limit_since.map(|since| since.to_string()), ..view };
        Seen { view, subject: subject.clone(), kept, forecast }
    }
}

/// Whose windows are a subscription's.
const SUBSCRIPTION: &str = "subscription";

/// Once a window like this one was full and nothing more came through, nobody knows what more was wanted until it began
/// anew. What came through all the same was seen: then its limit was another, or none.
fn forget_what_was_full(used: &[f64], known: &mut [bool], begin: i64, window: Window) {
    let Some(limit) = window.limit else { return };
    let Some(turn_of) = turns(window) else { return };
    let turn_of = |place: usize| turn_of(begin + i64::try_from(place).unwrap_or(0));
    let mut from = 0;
    while from < used.len() {
        let to = (from..used.len()).find(|place| turn_of(*place) != turn_of(from)).unwrap_or(used.len());
        let is_full = used[from..to].iter().sum::<f64>() >= limit;
        if let Some(last) = used[from..to].iter().rposition(|used| *used > 0.0).filter(|_| is_full) {
            known[from + last + 1..to].fill(false);
        }
        from = to;
    }
}

/// Nor is what was wanted in hours in which calls were turned away. Where a window, a budget or an emergency did it, that
/// lasts until the window begins anew, or until calls come through and none is turned away.
fn forget_what_was_shut(used: &[f64], known: &mut [bool], begin: i64, window: Window, shut: &BTreeMap<i64, Shut>) {
    let Some(turn_of) = turns(window) else { return };
    let mut spent_in = None;
    for ((hour, used), known) in (begin..).zip(used).zip(known) {
        let is_used = *used > 0.0;
        let is_unknown = match shut.get(&hour) {
            Some(Shut::Spent) => {
                spent_in = Some(turn_of(hour));
                true
            }
            Some(Shut::Held) => true,
            Some(Shut::Meanwhile) => !is_used,
            None => {
                spent_in = spent_in.filter(|spent_in| *spent_in == turn_of(hour) && !is_used);
                spent_in.is_some()
            }
        };
        *known &= !is_unknown;
    }
}

/// Tells in which window like this one an hour lies.
fn turns(window: Window) -> Option<impl Fn(i64) -> i64> {
    let length = (window.resets_at.as_millis() - window.since.as_millis()) / HOUR_MS;
    let since = hour_of(window.since);
    (length >= 1).then_some(move |hour: i64| (hour - since).div_euclid(length))
}

/// One forecast, as it is shown, judged and scored.
pub(crate) struct Seen {
    pub(crate) view: ForecastView,
    subject: Subject,
    kept: Option<Kept>,
    forecast: Forecast,
}

impl Subject {
    fn of(quota: &QuotaLevel, upstreams: &[String]) -> Option<Subject> {
        let (spender, name) = counting::spender(&quota.key, upstreams)?;
        let (window, upstream, scope) = match &quota.key {
            QuotaKey::Window { account, name } => (name.to_string(), upstreams.get(account.index()).cloned(), None),
            QuotaKey::Budget { scope, period } => (period.name().to_owned(), None, Some(show::scope_name(scope))),
        };
        let by = match (quota.unit, &upstream) {
            (Unit::Percent, Some(upstream)) => By::Told(observed::name(upstream, &window)),
            (Unit::Percent | Unit::Usd | Unit::Tokens, _) => By::Spent(spender, name),
        };
        let span = Window {
            since: quota.since,
            resets_at: quota.resets_at,
            used: number(quota.unit, quota.used),
            limit: Some(number(quota.unit, quota.limit)),
        };
        Some(Subject { window, upstream, scope, unit: quota.unit, span, by })
    }

    fn spending(
        window: &str,
        upstream: Option<String>,
        span: Window,
        (spender, name): (Spender, Option<Arc<str>>),
    ) -> Subject {
        let by = By::Spent(spender, name);
        Subject { window: window.to_owned(), upstream, scope: None, unit: Unit::Usd, span, by }
    }

    fn name(&self) -> String {
        let whose = self.upstream.as_ref().or(self.scope.as_ref());
        whose.map_or_else(|| self.window.clone(), |whose| format!("{whose} {}", self.window))
    }

    /// Whether that change is of its limit.
    fn is_meant(&self, change: &Change) -> bool {
        let Change::Limit { whose, window, .. } = change else { return false };
        let is_whose =
            |whose: &Arc<str>| [&self.upstream, &self.scope].into_iter().flatten().any(|own| **own == **whose);
        self.span.limit.is_some() && *self.window == **window && whose.as_ref().is_none_or(is_whose)
    }

    fn view(&self, forecast: &Forecast, text: String, exchange: Option<Exchange>, card: Option<Card>) -> ForecastView {
        let unit = self.unit;
        let amount = |amount: f64| show::amount(unit, parts(unit, amount));
        // Digits would be taken for knowledge.
        let told = forecast.informative;
        let moment = |at: Option<Timestamp>| at.filter(|_| told).map(|at| at.to_string());
        let band = forecast.runs_out;
        let guess = |guess: f64| told.then(|| amount(guess));
        let amounts = |band: domain::forecast::Band<f64>| SpreadView {
            p10: guess(band.p10),
            p50: guess(band.p50),
            p90: guess(band.p90),
        };
        ForecastView {
            window: self.window.clone(),
            upstream: self.upstream.clone(),
            scope: self.scope.clone(),
            unit: unit.name().to_owned(),
            since: self.span.since.to_string(),
            used: amount(self.span.used),
            limit: self.span.limit.map(amount),
            limit_since: None,
            resets_at: self.span.resets_at.to_string(),
            p_runs_out: forecast.p_runs_out.filter(|_| told),
            runs_out: SpreadView { p10: moment(band.p10), p50: moment(band.p50), p90: moment(band.p90) },
            left_at_reset: forecast.left_at_reset.map(amounts),
            total: amounts(forecast.total),
            informative: forecast.informative,
            basis: forecast.basis.clone(),
            text,
            exchange: exchange.map(exchange_view),
            score: card.map(score_view),
        }
    }
}

fn exchange_view(exchange: Exchange) -> ExchangeView {
    let usd = |amount: f64| Usd::from_nanos(parts(Unit::Usd, amount)).to_string();
    ExchangeView {
        usd_per_percent: usd(exchange.per_percent),
        from_usd: usd(exchange.quarter),
        to_usd: usd(exchange.three_quarters),
        percent_seen: exchange.percent_seen,
    }
}

fn score_view(card: Card) -> ScoreView {
    ScoreView {
        forecasts: card.scored as u64,
        hits: card.hits as u64,
        mae_hours: card.mae_hours,
        crps_hours: card.crps_hours,
        brier: card.brier,
        width_hours: card.width_hours,
        skill_straight_line: card.skill_straight_line,
        skill_seasonal_naive: card.skill_seasonal_naive,
    }
}

impl Seen {
    /// Nothing where nobody should be told yet.
    fn reading(&self, now: Timestamp) -> Option<Reading> {
        let p = self.forecast.p_runs_out.filter(|_| self.forecast.informative)?;
        let scope = match (&self.view.upstream, &self.view.scope) {
            (Some(upstream), _) => format!("upstream:{upstream}"),
            (None, Some(scope)) => scope.clone(),
            (None, None) => "machine".to_owned(),
        };
        let delay = self.forecast.runs_out.p50.map_or(Duration::ZERO, |at| at.since(now));
        let turn = Some(Turn { since: self.subject.span.since, resets_at: self.subject.span.resets_at });
        let limit = self.subject.span.limit.map(|limit| parts(self.subject.unit, limit));
        let value = Figure::permille((p * 1_000.0) as u32);
        Some(Reading { delay, turn, limit, ..Reading::of(scope, self.view.window.as_str(), value) })
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MS)
}

/// From a unit's smallest part to dollars or tokens, and back.
fn number(unit: Unit, amount: i64) -> f64 {
    amount as f64 / scale(unit)
}

fn parts(unit: Unit, amount: f64) -> i64 {
    (amount * scale(unit)).round() as i64
}

fn scale(unit: Unit) -> f64 {
    match unit {
        Unit::Usd => 1e9,
        Unit::Tokens => 1.0,
        Unit::Percent => 100.0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use domain::call::{CallId, Outcome};
    use domain::catalog::InForce;
    use ledger::{Durability, Options};

    use super::*;
    use crate::testing;

    #[test]
    fn what_was_wanted_of_a_full_window_is_not_known_until_it_began_anew() {
        let at = |hour: i64| Timestamp::from_millis(hour * HOUR_MS);
        let window = Window { since: at(1_008), resets_at: at(1_012), used: 0.0, limit: Some(2.0) };
        let mut known = vec![true; 10];
        // The windows of four hours before it begin at 1000 and 1004.
        forget_what_was_full(&[0.0, 2.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0], &mut known, 1_000, window);
        assert_eq!(known, [true, true, false, false, true, true, true, false, true, true]);
        // Before the limit came, more was used than it would have let through; since then nothing.
        let mut known = vec![true; 8];
        forget_what_was_full(&[2.0, 3.0, 0.0, 4.0, 3.0, 0.0, 1.0, 0.0], &mut known, 1_000, window);
        assert_eq!(known, [true, true, true, true, true, true, true, false]);
        let mut all = vec![true; 3];
        forget_what_was_full(&[9.0; 3], &mut all, 1_000, Window { limit: None, ..window });
        assert_eq!(all, [true; 3]);
    }

    /// Three calls a day for five weeks, and in a sixth up to 95 % of its limit; then they are turned away, or none comes.
    async fn p_runs_out(turned_away: bool) -> f64 {
        const FIRST: i64 = 497_000;
        let dir = tempfile::tempdir().expect("a folder");
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let options = Options { durability: Durability::Process, catalog: catalog.clone(), calendar: Calendar::UTC };
        let ledger = Arc::new(Ledger::open(dir.path(), options).await.expect("it opens").0);
        let hours = (0..40).flat_map(|day| [9, 12, 15].map(|hour| day * 24 + hour));
        for (number, hour) in (1_u128..).zip(hours) {
            let is_spent = hour >= 37 * 24;
            let outcome = if is_spent { Outcome::Refused } else { Outcome::Completed };
            let mut entry = testing::entry("claude-sonnet-4-5", outcome);
            let at = Timestamp::from_millis((FIRST + hour) * HOUR_MS);
            entry.call.id = CallId::new(at, number);
            (entry.call.started_at, entry.ended_at) = (at, at);
            entry.attempts.iter_mut().for_each(|attempt| attempt.opened_at = at);
            if is_spent {
                (entry.attempts, entry.error, entry.cost) = (vec![], Some("tidegate_emergency".into()), None);
            }
            if turned_away || !is_spent {
                ledger.settle(&entry).await.expect("written");
            }
        }
        let counted =
            Counted { ledger: ledger.clone(), catalog: InForce::from(catalog), upstreams: vec!["u".to_owned()] };
        let at = |day: i64| Timestamp::from_millis((FIRST + day * 24) * HOUR_MS);
        let span = Window { since: at(35), resets_at: at(42), used: 0.015, limit: Some(0.0158) };
        let subject = Subject::spending("week", Some("u".to_owned()), span, (Spender::Upstream, Some("u".into())));
        let forecasts = Forecasts::open(dir.path(), ledger, Calendar::UTC, Caps::default());
        let refused = forecasts.hours.refused(at(40)).await.expect("read");
        let past = forecasts.past(&subject, &refused, &counted, at(40)).await.expect("read");
        forecasts.ask(&subject, &past, at(40)).forecast.p_runs_out.expect("a limit")
    }

    #[tokio::test]
    async fn a_week_that_turns_calls_away_before_it_is_full_is_not_idle() {
        let (idle, turned_away) = (p_runs_out(false).await, p_runs_out(true).await);
        assert!(turned_away > 0.8 && turned_away > idle + 0.1, "{idle} {turned_away}");
    }

    #[test]
    fn what_was_wanted_while_calls_were_turned_away_is_not_known() {
        let at = |hour: i64| Timestamp::from_millis(hour * HOUR_MS);
        let window = Window { since: at(1_000), resets_at: at(1_008), used: 0.0, limit: None };
        let check = |shut: &[(i64, Shut)], used: &[f64], expected: &str| {
            let mut known = vec![true; used.len()];
            forget_what_was_shut(used, &mut known, 1_000, window, &shut.iter().copied().collect());
            let found: String = known.iter().map(|known| if *known { 'k' } else { '-' }).collect();
            assert_eq!(found, expected, "{shut:?}");
        };
        // The second window begins with the ninth hour.
        check(&[(1_002, Shut::Spent)], &[1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "kk------kk");
        check(&[(1_002, Shut::Spent)], &[1.0, 1.0, 0.5, 0.0, 2.0, 0.0, 0.0, 0.0], "kk--kkkk");
        check(&[(1_002, Shut::Spent), (1_004, Shut::Spent)], &[1.0, 1.0, 0.5, 0.0, 0.1, 0.0], "kk----");
        check(&[(1_001, Shut::Held), (1_003, Shut::Held)], &[1.0, 1.0, 0.0, 0.0, 0.0], "k-k-k");
        check(&[(1_001, Shut::Meanwhile), (1_003, Shut::Meanwhile)], &[1.0, 1.0, 0.0, 0.0, 0.0], "kkk-k");
    }
}
