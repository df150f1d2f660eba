//! When windows and budgets run out and what a day and a month come to, from what the ledger has of each hour; and how good
//! such forecasts have been.

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
}

const FILE: &str = "forecasts.json";
const EVERY: Duration = Duration::from_secs(300);
const HOURS_BACK: i64 = 52 * 168;
/// Any will do, as long as it stays: a forecast is to change with the world and not with chance.
const SEED: u64 = 7;
const HOUR_MS: i64 = 3_600_000;

impl Forecasts {
    pub(crate) fn open(dir: &Path, ledger: Arc<Ledger>, calendar: Calendar) -> Forecasts {
        let file = dir.join(FILE);
        let book = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("forecasts of before are forgotten: {error}");
            folder::set_aside(&file);
            Book::default()
        });
        Forecasts { ledger, file, calendar, book: Mutex::new(book), shown: Mutex::default() }
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
        let end = hour_of(now);
        let begin = self.ledger.first_hour().await?.unwrap_or(end).clamp(end - HOURS_BACK, end);
        let rows = self.ledger.hours(spender, name, begin, end).await?;
        let dearest = counted.dearest(now);
        let mut used = vec![0.0; usize::try_from(end - begin).unwrap_or(0)];
        for HourUsed { hour, used: row } in &rows {
            if let Some(place) = usize::try_from(hour - begin).ok().and_then(|place| used.get_mut(place)) {
                *place += number(unit, counting::amount(row, unit, dearest.as_ref()));
            }
        }
        let mut known: Vec<bool> = {
            let book = lock(&self.book);
            (begin..end).zip(&used).map(|(hour, used)| *used > 0.0 || book.listened(hour)).collect()
        };
        forget_what_was_full(&used, &mut known, begin, window);
        Ok(History { first_hour: begin, series: vec![used], known })
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
    use super::*;

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
