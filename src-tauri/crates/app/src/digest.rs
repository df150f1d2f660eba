//! Tells each day how the week goes, on Mondays of the week before, on the 1st of the month before: once, and late where
//! nothing ran in time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use domain::admission::{QuotaKey, QuotaLevel};
use domain::config::Period;
use domain::report::{Due, Told, typical};
use domain::time::{Now, Timestamp};
use gateway::Gateway;
use ledger::By;
use serde::{Deserialize, Serialize};

use crate::alerts::Report;
use crate::counting::Counted;
use crate::forecasts::Forecasts;
use crate::range::Range;
use crate::report::{Reporter, Stretch, digest, line_of_week};
use crate::view::ForecastView;
use crate::{clock, folder};

pub(crate) struct Digest {
    file: PathBuf,
    reporter: Reporter,
    forecasts: Arc<Forecasts>,
    counted: Counted,
}

/// `DIR/digest.json`: the starts of the day, week and month of which was told last, in milliseconds since 1970.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Kept {
    day: i64,
    week: i64,
    month: i64,
}

const FILE: &str = "digest.json";
const EVERY: Duration = Duration::from_secs(30);

impl Digest {
    pub(crate) fn of(dir: &Path, reporter: Reporter, forecasts: Arc<Forecasts>, counted: Counted) -> Digest {
        Digest { file: dir.join(FILE), reporter, forecasts, counted }
    }

    /// Looks as long as a gateway runs.
    pub(crate) async fn run(self, gateway: Weak<Gateway>) {
        loop {
            let Some(quotas) = gateway.upgrade().map(|gateway| gateway.quotas()) else { return };
            if let Err(error) = self.look(&quotas, clock::now()).await {
                tracing::warn!("the digest is late: {error}");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What is told counts as told before anybody hears of it: rather not than twice.
    pub(crate) async fn look(&self, quotas: &[QuotaLevel], now: Now) -> Result<(), ledger::Error> {
        let calendar = self.reporter.calendar;
        let told = self.told(now.timestamp);
        let due = told.due(now.timestamp, calendar);
        let reports = if due.is_nothing() { vec![] } else { self.reports(due, quotas, now.timestamp).await? };
        let after = told.after(now.timestamp, calendar);
        if after != told && !self.keep(after) {
            return Ok(());
        }
        for report in reports {
            let for_channels = report.of != Period::Day.name();
            self.reporter.alerts.report(report, for_channels, now);
        }
        Ok(())
    }

    async fn reports(&self, due: Due, quotas: &[QuotaLevel], now: Timestamp) -> Result<Vec<Report>, ledger::Error> {
        let seen = self.forecasts.look(quotas, &self.counted, now).await?;
        let forecasts: Vec<ForecastView> = seen.into_iter().map(|seen| seen.view).collect();
        let calendar = self.reporter.calendar;
        let mut reports = vec![];
        for (period, is_due) in [(Period::Month, due.month), (Period::Week, due.week)] {
            if is_due {
                let stretch = Stretch::last(period, now, calendar);
                reports.extend(self.digest(stretch, &forecasts, has_window(quotas, period), now).await?);
            }
        }
        if let Some(since) = due.day {
            reports.extend(self.line(since, &forecasts, has_window(quotas, Period::Week), now).await?);
        }
        Ok(reports)
    }

    /// Nothing of a period in which nothing was used and nothing could run out.
    async fn digest(
        &self,
        stretch: Stretch,
        forecasts: &[ForecastView],
        has_window: bool,
        now: Timestamp,
    ) -> Result<Option<Report>, ledger::Error> {
        let report = self.reporter.report(stretch, forecasts, now).await?;
        let is_worth_it = report.calls > 0 || has_window;
        Ok(is_worth_it.then(|| Report {
            of: stretch.period.name(),
            message: digest(&report),
            used: report.used_usd.unwrap_or_default(),
            expected: report.expected_usd.unwrap_or_default(),
        }))
    }

    /// The week up to the beginning of this day, where there was something to tell since.
    async fn line(
        &self,
        since: Timestamp,
        forecasts: &[ForecastView],
        has_window: bool,
        now: Timestamp,
    ) -> Result<Option<Report>, ledger::Error> {
        let calendar = self.reporter.calendar;
        let today = calendar.start_of_day(now);
        let stretch = Stretch { until: today, ..Stretch::around(Period::Week, now, now, calendar) };
        let new = self.reporter.usage(By::Upstream, Range { from: since, to: today }).await?;
        if new.total.calls == 0 && !has_window {
            return Ok(None);
        }
        let used = self.reporter.usage(By::Upstream, stretch.range()).await?.total.known_cost;
        let typical = typical(&self.reporter.earlier(stretch).await?);
        let windows: Vec<ForecastView> = forecasts.iter().filter(|forecast| is_of_week(forecast)).cloned().collect();
        Ok(Some(Report {
            of: Period::Day.name(),
            used: used.to_string(),
            expected: typical.map(|typical| typical.to_string()).unwrap_or_default(),
            message: line_of_week(used, typical, &windows),
        }))
    }

    /// Who starts for the first time is told of what comes.
    fn told(&self, now: Timestamp) -> Told {
        let kept: Option<Kept> = folder::read_json(&self.file).unwrap_or_else(|error| {
            tracing::warn!("which reports were made is forgotten: {error}");
            folder::set_aside(&self.file);
            None
        });
        kept.map_or_else(|| self.begin(now), Kept::told)
    }

    fn begin(&self, now: Timestamp) -> Told {
        let told = Told::through(now, self.reporter.calendar);
        self.keep(told);
        told
    }

    fn keep(&self, told: Told) -> bool {
        let written = folder::write_json(&self.file, &Kept::of(told));
        if let Err(error) = &written {
            tracing::warn!("no report is made: {error}");
        }
        written.is_ok()
    }
}

impl Kept {
    fn of(told: Told) -> Kept {
        Kept { day: told.day.as_millis(), week: told.week.as_millis(), month: told.month.as_millis() }
    }

    fn told(self) -> Told {
        let moment = Timestamp::from_millis;
        Told { day: moment(self.day), week: moment(self.week), month: moment(self.month) }
    }
}

/// Whether something may run out that lasts so long.
fn has_window(quotas: &[QuotaLevel], wanted: Period) -> bool {
    quotas.iter().any(|quota| match &quota.key {
        QuotaKey::Budget { period, .. } => *period == wanted,
        QuotaKey::Window { .. } if wanted == Period::Week => quota.is_week_window(),
        QuotaKey::Window { .. } => quota.resets_at.since(quota.since) > WEEK,
    })
}

const WEEK: Duration = Duration::from_secs(8 * 86_400);

fn is_of_week(forecast: &ForecastView) -> bool {
    forecast.limit.is_some() && (forecast.upstream.is_some() || forecast.window == Period::Week.name())
}

#[cfg(test)]
mod tests;
