//! When windows and budgets run out and what a day and a month come to, from what the ledger has of each hour; and how good
//! such forecasts have been.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::admission::{QuotaKey, QuotaLevel, Unit};
use domain::alert::{Figure, Reading, Sign, Turn};
use domain::forecast::{Calibration, Card, Forecast, History, Kept, PATHS, Question, Window, forecast, words};
use domain::time::{Calendar, Now, Timestamp};
use gateway::Gateway;
use ledger::{HourUsed, Ledger, Spender};

use crate::alerts::Alerts;
use crate::counting::{self, Counted};
use crate::view::{ForecastView, ScoreView, SpreadView};
use crate::{clock, folder, show};

mod book;

use book::Book;

pub(crate) struct Forecasts {
    ledger: Arc<Ledger>,
    file: PathBuf,
    calendar: Calendar,
    book: Mutex<Book>,
    /// The latest.
    shown: Mutex<Vec<ForecastView>>,
    /// A year of hours is not read anew every five minutes.
    read: Mutex<BTreeMap<Whose, Hours>>,
}

/// Whose hours, and the name of their unit.
type Whose = (Spender, Option<String>, &'static str);

/// What was used in the hours from `begin` on, as it was read in the hour `read_in`.
#[derive(Clone)]
struct Hours {
    begin: i64,
    read_in: i64,
    used: Vec<f64>,
}

const FILE: &str = "forecasts.json";
const EVERY: Duration = Duration::from_secs(300);
const HOURS_BACK: i64 = 52 * 168;
/// Any will do, as long as it stays: a forecast is to change with the world and not with chance.
const SEED: u64 = 7;
const HOUR_MS: i64 = 3_600_000;
/// A call belongs to the hour of its start and is in the books when it has ended.
const HOURS_OPEN: i64 = 3;
/// Prices of the past may be changed: all is read anew so often.
const HOURS_KEPT: i64 = 24;

impl Forecasts {
    pub(crate) fn open(dir: &Path, ledger: Arc<Ledger>, calendar: Calendar) -> Forecasts {
        let file = dir.join(FILE);
        let book = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("forecasts of before are forgotten: {error}");
            folder::set_aside(&file);
            Book::default()
        });
        Forecasts { ledger, file, calendar, book: Mutex::new(book), shown: Mutex::default(), read: Mutex::default() }
    }

    /// Looks as long as a gateway runs.
    pub(crate) async fn run(self: Arc<Forecasts>, gateway: Weak<Gateway>, counted: Counted, alerts: Arc<Alerts>) {
        loop {
            let Some(quotas) = gateway.upgrade().map(|gateway| gateway.quotas()) else { return };
            let now = clock::now();
            lock(&self.book).listens(hour_of(now.timestamp));
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

    /// Stores what is to be scored, scores what has come to its end, and lets the rules judge.
    fn take(&self, seen: Vec<Seen>, alerts: &Alerts, now: Now) {
        let mut book = lock(&self.book);
        for seen in &seen {
            book.observe(&seen.view_name(), seen.window, seen.kept.as_ref(), now.timestamp);
        }
        if let Err(error) = folder::write_json(&self.file, &*book) {
            tracing::warn!("forecasts are not kept: {error}");
        }
        drop(book);
        let readings: Vec<Reading> = seen.iter().filter_map(|seen| seen.reading(now.timestamp)).collect();
        alerts.judge(Sign::Forecast, &readings, now);
        *lock(&self.shown) = seen.into_iter().map(|seen| seen.view).collect();
    }

    /// All windows and budgets in dollars or tokens that have begun, then what today and this month will have cost.
    pub(crate) async fn look(
        &self,
        quotas: &[QuotaLevel],
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Vec<Seen>, ledger::Error> {
        let mut all = vec![];
        let has_begun = |quota: &&QuotaLevel| quota.unit != Unit::Percent && quota.resets_at > now;
        for quota in quotas.iter().filter(has_begun) {
            let Some((spender, name)) = counting::spender(&quota.key, &counted.upstreams) else { continue };
            let window = Window {
                since: quota.since,
                resets_at: quota.resets_at,
                used: number(quota.unit, quota.used),
                limit: Some(number(quota.unit, quota.limit)),
            };
            let history = self.history(spender, name.as_deref(), quota.unit, window, counted, now).await?;
            all.push(self.ask(Asked::of(quota, &counted.upstreams), window, &history, now));
        }
        let spans = [
            ("spend day", self.calendar.start_of_day(now), self.calendar.end_of_day(now)),
            ("spend month", self.calendar.start_of_month(now), self.calendar.end_of_month(now)),
        ];
        for (name, since, resets_at) in spans {
            let used: f64 = self.used(counted, since, resets_at, now).await?;
            let window = Window { since, resets_at, used, limit: None };
            let history = self.history(Spender::Client, None, Unit::Usd, window, counted, now).await?;
            all.push(self.ask(Asked::spending(name), window, &history, now));
        }
        Ok(all)
    }

    /// Dollars.
    async fn used(
        &self,
        counted: &Counted,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<f64, ledger::Error> {
        let dearest = counted.dearest(now);
        let used = self.ledger.used(Spender::Client, from, to).await?;
        let sum = used.iter().map(|used| counting::amount(used, Unit::Usd, dearest.as_ref()));
        Ok(number(Unit::Usd, sum.fold(0, i64::saturating_add)))
    }

    async fn history(
        &self,
        spender: Spender,
        name: Option<&str>,
        unit: Unit,
        window: Window,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<History, ledger::Error> {
        let Hours { begin, used, .. } = self.hours(spender, name, unit, counted, now).await?;
        let end = begin + i64::try_from(used.len()).unwrap_or(0);
        let mut known: Vec<bool> = {
            let book = lock(&self.book);
            (begin..end).zip(&used).map(|(hour, used)| *used > 0.0 || book.listened(hour)).collect()
        };
        forget_what_was_full(&used, &mut known, begin, window);
        Ok(History { first_hour: begin, series: vec![used], known })
    }

    async fn hours(
        &self,
        spender: Spender,
        name: Option<&str>,
        unit: Unit,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Hours, ledger::Error> {
        let end = hour_of(now);
        let place = (spender, name.map(str::to_owned), unit.name());
        let known =
            lock(&self.read).get(&place).filter(|hours| (0..HOURS_KEPT).contains(&(end - hours.read_in))).cloned();
        let mut hours = match known {
            Some(known) => known,
            None => {
                let first = self.ledger.first_hour().await?.unwrap_or(end);
                Hours { begin: first.clamp(end - HOURS_BACK, end), read_in: end, used: vec![] }
            }
        };
        let index = |hour: i64| usize::try_from(hour - hours.begin).unwrap_or(0);
        let from = (hours.begin + i64::try_from(hours.used.len()).unwrap_or(0) - HOURS_OPEN).max(hours.begin);
        let (kept, length) = (index(from), index(end));
        let rows = self.ledger.hours(spender, name, from, end).await?;
        let dearest = counted.dearest(now);
        hours.used.truncate(kept);
        hours.used.resize(length, 0.0);
        for HourUsed { hour, used } in &rows {
            let at = usize::try_from(hour - hours.begin).ok();
            if let Some(sum) = at.and_then(|at| hours.used.get_mut(at)) {
                *sum += number(unit, counting::amount(used, unit, dearest.as_ref()));
            }
        }
        lock(&self.read).insert(place, hours.clone());
        Ok(hours)
    }

    fn ask(&self, asked: Asked, window: Window, history: &History, now: Timestamp) -> Seen {
        let scored = lock(&self.book).scored(&asked.name());
        let question = Question {
            history,
            window,
            now,
            zone: self.calendar.zone(),
            scalings: &[],
            calibration: Calibration::of(scored.iter().map(|scored| scored.hit)),
            paths: PATHS,
            seed: SEED,
        };
        let forecast = forecast(&question);
        let kept = forecast.informative.then(|| Kept::of(&forecast, history, &question)).flatten();
        let text = words(&forecast, now, self.calendar);
        Seen { view: asked.view(&forecast, window, text, Card::of(&scored)), window, kept, forecast }
    }
}

/// Once a window like this one was full, nobody knows what more was wanted until it began anew.
fn forget_what_was_full(used: &[f64], known: &mut [bool], begin: i64, window: Window) {
    let Some(limit) = window.limit else { return };
    let length = (window.resets_at.as_millis() - window.since.as_millis()) / HOUR_MS;
    if length < 1 {
        return;
    }
    let since = hour_of(window.since);
    let (mut sum, mut of) = (0.0, i64::MIN);
    for (place, (used, known)) in used.iter().zip(known).enumerate() {
        let hour = begin + i64::try_from(place).unwrap_or(0);
        let number = (hour - since).div_euclid(length);
        if number != of {
            (sum, of) = (0.0, number);
        }
        if sum >= limit {
            *known = false;
        }
        sum += used;
    }
}

/// What is asked about, as a view names it.
struct Asked {
    window: String,
    upstream: Option<String>,
    scope: Option<String>,
    unit: Unit,
}

/// One forecast, as it is shown, judged and scored.
pub(crate) struct Seen {
    pub(crate) view: ForecastView,
    window: Window,
    kept: Option<Kept>,
    forecast: Forecast,
}

impl Asked {
    fn of(quota: &QuotaLevel, upstreams: &[String]) -> Asked {
        match &quota.key {
            QuotaKey::Window { account, name } => Asked {
                window: name.to_string(),
                upstream: upstreams.get(account.index()).cloned(),
                scope: None,
                unit: quota.unit,
            },
            QuotaKey::Budget { scope, period } => Asked {
                window: period.name().to_owned(),
                upstream: None,
                scope: Some(show::scope_name(scope)),
                unit: quota.unit,
            },
        }
    }

    fn spending(window: &str) -> Asked {
        Asked { window: window.to_owned(), upstream: None, scope: None, unit: Unit::Usd }
    }

    fn name(&self) -> String {
        name(self.upstream.as_deref().or(self.scope.as_deref()), &self.window)
    }

    fn view(self, forecast: &Forecast, window: Window, text: String, card: Option<Card>) -> ForecastView {
        let unit = self.unit;
        let amount = |amount: f64| show::amount(unit, parts(unit, amount));
        let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let band = forecast.runs_out;
        let amounts = |band: domain::forecast::Band<f64>| SpreadView {
            p10: amount(band.p10),
            p50: amount(band.p50),
            p90: amount(band.p90),
        };
        ForecastView {
            window: self.window,
            upstream: self.upstream,
            scope: self.scope,
            unit: unit.name().to_owned(),
            used: amount(window.used),
            limit: window.limit.map(amount),
            resets_at: window.resets_at.to_string(),
            p_runs_out: forecast.p_runs_out,
            runs_out: SpreadView { p10: moment(band.p10), p50: moment(band.p50), p90: moment(band.p90) },
            left_at_reset: forecast.left_at_reset.map(amounts),
            total: amounts(forecast.total),
            informative: forecast.informative,
            basis: forecast.basis.clone(),
            text,
            score: card.map(|card| ScoreView {
                forecasts: card.scored as u64,
                hits: card.hits as u64,
                mae_hours: card.mae_hours,
                crps_hours: card.crps_hours,
                brier: card.brier,
                width_hours: card.width_hours,
                skill_straight_line: card.skill_straight_line,
                skill_seasonal_naive: card.skill_seasonal_naive,
            }),
        }
    }
}

fn name(whose: Option<&str>, window: &str) -> String {
    whose.map_or_else(|| window.to_owned(), |whose| format!("{whose} {window}"))
}

impl Seen {
    fn view_name(&self) -> String {
        name(self.view.upstream.as_deref().or(self.view.scope.as_deref()), &self.view.window)
    }

    /// Nothing where nobody should be told yet.
    fn reading(&self, now: Timestamp) -> Option<Reading> {
        let p = self.forecast.p_runs_out.filter(|_| self.forecast.informative)?;
        let scope = match (&self.view.upstream, &self.view.scope) {
            (Some(upstream), _) => format!("upstream:{upstream}"),
            (None, Some(scope)) => scope.clone(),
            (None, None) => "machine".to_owned(),
        };
        let delay = self.forecast.runs_out.p50.map_or(Duration::ZERO, |at| at.since(now));
        let turn = Some(Turn { since: self.window.since, resets_at: self.window.resets_at });
        let value = Figure::permille((p * 1_000.0) as u32);
        Some(Reading { delay, turn, ..Reading::of(scope, self.view.window.as_str(), value) })
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

    /// A call of that hour, for $0.0025.
    async fn settle(ledger: &Ledger, hour: i64, number: u128) {
        let mut entry = testing::entry("claude-sonnet-4-5", Outcome::Completed);
        let at = Timestamp::from_millis(hour * HOUR_MS + 1_000);
        entry.call.id = CallId::new(at, number);
        (entry.call.started_at, entry.ended_at) = (at, at);
        entry.attempts.iter_mut().for_each(|attempt| attempt.opened_at = at);
        ledger.settle(&entry).await.expect("written");
    }

    #[tokio::test]
    async fn hours_that_were_read_before_are_as_if_they_were_read_anew_and_late_calls_are_in_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let options = Options { durability: Durability::Process, catalog: catalog.clone(), calendar: Calendar::UTC };
        let ledger = Arc::new(Ledger::open(dir.path(), options).await.expect("it opens").0);
        let counted = Counted { ledger: ledger.clone(), catalog: InForce::from(catalog), upstreams: vec![] };
        let forecasts = || Forecasts::open(dir.path(), ledger.clone(), Calendar::UTC);
        let hours = async |of: &Forecasts, hour: i64| {
            let now = Timestamp::from_millis(hour * HOUR_MS + 1_800_000);
            let Hours { begin, used, .. } =
                of.hours(Spender::Client, None, Unit::Usd, &counted, now).await.expect("read");
            (begin, used)
        };
        const FIRST: i64 = 497_000;
        let one = 0.0025;
        let reader = forecasts();
        settle(&ledger, FIRST, 1).await;
        assert_eq!(hours(&reader, FIRST + 4).await, (FIRST, vec![one, 0.0, 0.0, 0.0]));
        // Begun two hours ago, and ended now.
        settle(&ledger, FIRST + 3, 2).await;
        settle(&ledger, FIRST + 5, 3).await;
        for hour in [FIRST + 5, FIRST + 6, FIRST + 7, FIRST + 40] {
            assert_eq!(hours(&reader, hour).await, hours(&forecasts(), hour).await, "{}", hour - FIRST);
        }
        assert_eq!(hours(&reader, FIRST + 7).await.1, [one, 0.0, 0.0, one, 0.0, one, 0.0]);
    }

    #[test]
    fn what_was_wanted_of_a_full_window_is_not_known_until_it_began_anew() {
        let at = |hour: i64| Timestamp::from_millis(hour * HOUR_MS);
        let window = Window { since: at(1_008), resets_at: at(1_012), used: 0.0, limit: Some(2.0) };
        let mut known = vec![true; 10];
        // The windows of four hours before it begin at 1000 and 1004.
        forget_what_was_full(&[0.0, 2.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0], &mut known, 1_000, window);
        assert_eq!(known, [true, true, false, false, true, true, true, false, true, true]);
        let mut all = vec![true; 3];
        forget_what_was_full(&[9.0; 3], &mut all, 1_000, Window { limit: None, ..window });
        assert_eq!(all, [true; 3]);
    }
}
