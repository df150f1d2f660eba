//! Calls that others have written down: Claude Code's logs and its telemetry, each call counted once.
//!
//! A line tells of a call; what all lines and events tell of it is merged, whatever their order, and becomes one entry.
//! The best source stands: gateway, then telemetry, then logs. An entry that learns more is superseded by a new one.

use std::path::PathBuf;

use domain::attribution;
use domain::catalog::InForce;
use domain::time::Timestamp;
use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use crate::db::{CHECKPOINT_PAGES, Db};
use crate::{Error, Ledger};

pub(crate) mod entering;
mod finding;
mod limit;
mod line;
mod observing;
mod reading;
mod rollups;
mod told;
mod tree;

pub use entering::Entered;
pub(crate) use entering::calls_of_gateway;

pub use finding::{LogsFound, logs_found};
pub use observing::Observation;
use told::AllTold;
pub(crate) use told::Facts;
pub use told::{Event, Told};

/// By what an entry from a log or an event is priced and attributed.
#[derive(Clone)]
pub struct Terms {
    pub catalog: InForce,
    pub rules: attribution::InForce,
}

/// How far an import is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub bytes: u64,
    pub bytes_total: u64,
    pub calls: u64,
}

/// What an import found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportReport {
    /// Logs that were found, and those of them that held something new.
    pub files: u64,
    pub files_read: u64,
    pub bytes: u64,
    pub lines: u64,
    pub entered: Entered,
    /// Lines that say that a subscription's window is spent.
    pub limits_reached: u64,
    pub skipped: Skipped,
    /// The first of what was skipped: where, and why.
    pub named: Vec<String>,
}

/// What was not taken in, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Skipped {
    /// Neither whole nor sensible.
    pub unreadable: u64,
    pub too_long: u64,
    pub from_the_future: u64,
    /// The end of a log that is still being written: read next time.
    pub torn: u64,
    pub links: u64,
    /// Files that can't be read.
    pub files: u64,
}

/// Things that are named; all are counted.
const NAMED_MAX: usize = 20;

impl ImportReport {
    fn name(&mut self, what: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(what());
        }
    }
}

/// In the WAL; an import brings its many pages home less often.
const PAGES_BEFORE_CHECKPOINT: i64 = 8_192;

/// What is told in one transaction: calls that run wait for it.
const PAGE_TOLD: usize = 4_000;

/// Pages read ahead of the database.
const PAGES_AHEAD: usize = 2;

impl Ledger {
    /// Reads what is new in Claude Code's logs under `paths` (files, projects folders or configuration folders).
    /// May be dropped at any moment and goes on from there the next time.
    pub async fn import_claude_code(
        &self,
        paths: &[PathBuf],
        terms: &Terms,
        now: Timestamp,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<ImportReport, Error> {
        let mut conn = self.importer().await?;
        let known = entering::log_files(&self.db, &mut conn).await?;
        let (pages, mut read) = mpsc::channel(PAGES_AHEAD);
        let paths = paths.to_vec();
        let reader = tokio::task::spawn_blocking(move || reading::read(&paths, known, now, &pages));
        let mut entered = Entered::default();
        let mut done = Progress::default();
        while let Some(page) = read.recv().await {
            done = Progress { calls: done.calls, ..page.progress };
            self.observe(&page.seen).await?;
            entered += self.enter(&mut conn, page.told, &page.files, terms).await?;
            self.db.checkpoint(&mut conn, PAGES_BEFORE_CHECKPOINT).await?;
            done.calls = entered.calls;
            progress(done);
        }
        let mut report = reader.await.map_err(|_| Error::Ended)?;
        report.entered = entered;
        Ok(report)
    }

    /// Many rows in no order: it keeps more pages at hand than a gateway that idles may, and brings them home less often.
    async fn importer(&self) -> Result<SqliteConnection, Error> {
        let mut conn = self.db.writer().await?;
        sqlx::query("PRAGMA cache_size = -16384").execute(&mut conn).await.map_err(|error| fail(&self.db, &error))?;
        Ok(conn)
    }

    /// What events tell of calls. After an error some of them may have been taken in: they may all come again.
    pub async fn tell(&self, told: Vec<Told>, terms: &Terms) -> Result<Entered, Error> {
        let mut conn = self.db.writer().await?;
        let mut entered = Entered::default();
        let mut told = told.into_iter();
        while !told.as_slice().is_empty() {
            let mut page = AllTold::default();
            told.by_ref().take(PAGE_TOLD).for_each(|told| page.add(told));
            entered += self.enter(&mut conn, page, &[], terms).await?;
            self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
        }
        Ok(entered)
    }

    async fn enter(
        &self,
        conn: &mut SqliteConnection,
        told: AllTold,
        files: &[reading::FileRead],
        terms: &Terms,
    ) -> Result<Entered, Error> {
        self.flush().await?;
        entering::enter(conn, told, files, terms).await.map_err(|error| fail(&self.db, &error))
    }
}

fn fail(db: &Db, error: &sqlx::Error) -> Error {
    db.error(error)
}
