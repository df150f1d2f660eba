//! CSV into a file of the asker's: calls, days, months and alerts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use ledger::{Columns, Filter, Span, SumColumns};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::alerts::{AlertColumns, write_csv};
use crate::api::ApiError;
use crate::job::Running;
use crate::range::range;
use crate::{App, folder};

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportQuestion {
    pub what: Exported,
    pub from: Option<String>,
    pub to: Option<String>,
    pub client: Option<String>,
    /// `call_id,cost_usd`; all where absent.
    pub columns: Option<String>,
    /// Of days and months: by what they are summed, `person,project`; by every name there is where absent.
    pub by: Option<String>,
}

/// What a line of an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exported {
    #[default]
    Calls,
    Daily,
    Monthly,
    Alerts,
}

/// How far an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ExportProgressView {
    pub lines: u64,
    /// About; null where nobody counts them beforehand.
    pub of: Option<u64>,
}

const STOPPED: &str = "stopped: nothing is written";

/// Counts the lines that go by.
struct Counted<'a> {
    out: File,
    progress: ExportProgressView,
    running: &'a Running<ExportProgressView>,
}

impl Write for Counted<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let written = self.out.write(text)?;
        self.progress.lines += text[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.running.is(self.progress);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl App {
    pub(crate) async fn export(&self, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        let running = self.exporting.begin();
        let written = async {
            match question.what {
                Exported::Calls => self.export_calls(question, file, &running).await,
                Exported::Daily => self.export_sums(Span::Day, question, file, &running).await,
                Exported::Monthly => self.export_sums(Span::Month, question, file, &running).await,
                Exported::Alerts => self.export_alerts(question, file),
            }
        };
        self.exporting.unless_stopped(written).await.unwrap_or_else(|| Err(ApiError::machine(STOPPED)))
    }

    pub(crate) fn stop_export(&self) {
        self.exporting.stop();
    }

    pub(crate) fn export_progress(&self) -> Option<ExportProgressView> {
        self.exporting.now()
    }

    async fn export_calls(
        &self,
        question: &ExportQuestion,
        file: &Path,
        running: &Running<ExportProgressView>,
    ) -> Result<(), ApiError> {
        let (columns, filter) = (
            call_columns(question)?,
            self.filter(question.from.as_deref(), question.to.as_deref(), question.client.as_deref())?,
        );
        let of = self.ledger.calls_about(&filter).await.map_err(ApiError::machine)?;
        let progress = ExportProgressView { lines: 0, of: Some(of) };
        let mut out = Counted { out: asked_for(file)?, progress, running };
        self.ledger.export_calls(&filter, &columns, &mut out).await.map_err(ApiError::machine)
    }

    async fn export_sums(
        &self,
        span: Span,
        question: &ExportQuestion,
        file: &Path,
        running: &Running<ExportProgressView>,
    ) -> Result<(), ApiError> {
        let (columns, filter) = (
            sum_columns(question)?,
            self.filter(question.from.as_deref(), question.to.as_deref(), question.client.as_deref())?,
        );
        let mut out = Counted { out: asked_for(file)?, progress: ExportProgressView::default(), running };
        let written = self.ledger.export_sums(span, &filter, self.calendar, &columns, &mut out).await;
        written.map_err(ApiError::machine)
    }

    fn export_alerts(&self, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        let columns = alert_columns(question)?;
        let (from, to) = (question.from.as_deref(), question.to.as_deref());
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let (mut alerts, mut out) = (self.crisis.alerts.latest(usize::MAX), asked_for(file)?);
        alerts.reverse();
        let written = write_csv(&alerts, (range.from, range.to), question.client.as_deref(), &columns, &mut out);
        written.map_err(ApiError::machine)
    }

    /// Today where no days are named.
    pub(crate) fn filter(
        &self,
        from: Option<&str>,
        to: Option<&str>,
        client: Option<&str>,
    ) -> Result<Filter, ApiError> {
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        Ok(Filter { from: Some(range.from), to: Some(range.to), client: client.map(Into::into) })
    }
}

/// The names of the columns that it has, in their order.
pub(crate) fn columns(question: &ExportQuestion) -> Result<Vec<String>, ApiError> {
    let names = match question.what {
        Exported::Calls => call_columns(question)?.names(),
        Exported::Daily | Exported::Monthly => sum_columns(question)?.names(),
        Exported::Alerts => alert_columns(question)?.names(),
    };
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn call_columns(question: &ExportQuestion) -> Result<Columns, ApiError> {
    not_by(question)?;
    question.columns.as_deref().map_or(Ok(Columns::all()), Columns::named).map_err(ApiError::asker)
}

fn sum_columns(question: &ExportQuestion) -> Result<SumColumns, ApiError> {
    SumColumns::named(question.columns.as_deref(), question.by.as_deref()).map_err(ApiError::asker)
}

fn alert_columns(question: &ExportQuestion) -> Result<AlertColumns, ApiError> {
    not_by(question)?;
    question.columns.as_deref().map_or(Ok(AlertColumns::all()), AlertColumns::named).map_err(ApiError::asker)
}

fn not_by(question: &ExportQuestion) -> Result<(), ApiError> {
    match question.by {
        Some(_) => Err(ApiError::asker("only days and months are sums: leave --by away, or export daily or monthly")),
        None => Ok(()),
    }
}

/// A file of the asker's, which nobody else may read.
fn asked_for(file: &Path) -> Result<File, ApiError> {
    let mut options = OpenOptions::new();
    let out = folder::private(options.write(true).create(true).truncate(true)).open(file);
    out.map_err(|reason| ApiError::machine(format!("{} can't be written: {reason}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_export_that_is_stopped_says_so_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = crate::settings::parse("", &[]).expect("legal settings");
        let app = App::open(dir.path(), &settings).await.expect("an app");
        let file = dir.path().join("calls.csv");
        let question = ExportQuestion::default();
        let mut call = crate::testing::entry("claude-sonnet-4-5", domain::call::Outcome::Completed);
        (call.call.started_at, call.ended_at) = (app.now(), app.now());
        // Its line waits for SQLite, which is written to by a task that has no turn before the stop.
        let settled = app.ledger.settle(&call);
        let stopping = async {
            assert!(app.export_progress().is_some(), "it runs");
            app.stop_export();
        };
        let (stopped, ()) = tokio::join!(app.export(&question, &file), stopping);
        assert_eq!(stopped.expect_err("it was stopped").reason, STOPPED);
        assert_eq!(app.export_progress(), None);
        settled.await.expect("settled");
        app.export(&question, &file).await.expect("written");
        let text = std::fs::read_to_string(&file).expect("a file");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], columns(&question).expect("columns").join(","));
        assert_eq!(lines.len(), 2, "a heading and the call");
    }

    #[test]
    fn only_sums_are_by_something() {
        let asked =
            |what, by: &str| columns(&ExportQuestion { what, by: Some(by.into()), ..ExportQuestion::default() });
        let months = asked(Exported::Monthly, "person,project").expect("columns");
        assert_eq!(months[..4], ["date", "timezone", "person", "project"]);
        for (what, by) in [(Exported::Calls, "person"), (Exported::Alerts, "person"), (Exported::Daily, "rule")] {
            assert!(asked(what, by).is_err(), "{what:?} by {by}");
        }
    }
}
