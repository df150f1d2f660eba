//! What happened, in SQL, append-only, behind a journal.
//!
//! A call is written down before it leaves and settled when it ends, each with one write to the journal;
//! one task folds the journal into SQLite. Every question first has everything folded that was written before it.
//! Nothing here knows HTTP, a limit, a budget or a window, and nothing reads a clock.

#![cfg_attr(not(test), forbid(unsafe_code))]

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use domain::call::{Call, CallId, Checkpoint, Entry, Opening};
use domain::catalog::Catalog;
use domain::time::{Calendar, Timestamp};
use domain::usage::Usage;
use sqlx::SqlitePool;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

mod answers;
mod backup;
mod bulk;
mod bundle;
mod call;
mod cheaper;
mod counting;
mod daily;
mod dashboard;
mod db;
mod disk;
mod explain;
mod export;
mod fates;
mod hourly;
mod import;
mod journal;
mod like_calls;
mod minutes;
mod pricing;
mod provenance;
mod recovery;
mod retention;
mod rollup;
mod settling;
mod span;
mod spending;
mod summing;
mod verify;
mod writer;

pub use answers::{Answers, KeptAnswer, Shelved};
pub use bundle::{BundleMonth, BundleRow, KnownDevice, KnownMonth, Member, Merged, NotMerged};
pub use cheaper::{Cheaper, CouldCostLess, PROMPT_WITHOUT_TOOLS_MAX, SHORT_ANSWER_MAX};
pub use counting::{Sent, Spender, Used};
pub use daily::{Span, SumColumns};
pub use dashboard::DashboardRow;
pub use explain::{Bill, Explanation, Reason, SESSIONS_MAX, SessionBill, SessionName, Share};
pub use export::{Columns, UnknownColumn, csv_cell};
pub use fates::Fates;
pub use hourly::{HourRefused, HourUsed, Mix, Way};
pub use import::{Entered, Event, ImportReport, LogsFound, Observation, Progress, Skipped, Terms, Told, logs_found};
pub use like_calls::LikeCalls;
pub use minutes::MinuteUsed;
pub use pricing::{Changed, PriceChange, Repriced, Repricing, Unfinished};
pub use provenance::{Provenance, Telling};
pub use retention::Deleted;
pub use spending::{By, Filter, NotAQuestion, Spend, Totals, UsageReport, UsageRow};
pub use verify::Finding;

use call::{AttemptRow, EntryRow, Opened, Settled, Shown};
use db::Db;
use disk::Disk;
use journal::{Found, Journal, Kind};
use writer::{Flush, Writer};

/// What a settled call outlives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The end of this process, SIGKILL included.
    Process,
    /// The end of power: `settle` waits for the disk.
    Power,
}

pub struct Options {
    pub durability: Durability,
    /// Prices the calls that were interrupted.
    pub catalog: Arc<Catalog>,
    /// Whose days the sums by day are of: questions in its zone are answered at once.
    pub calendar: Calendar,
}

/// What was found at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Calls that were still open and are closed now, as estimates.
    pub interrupted: usize,
    /// Records that were in the journal and not yet in SQLite.
    pub replayed: usize,
    /// Records of the journal that can't be read: what they told of is closed as an estimate, or was never confirmed.
    pub lost: u64,
}

/// What went wrong, where, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    #[error(
        "can't write {what}: {reason}; free some space or make the folder writable, or name another one with --data-dir"
    )]
    Unwritable { what: String, reason: String },
    #[error(
        "{} is damaged or no ledger ({reason}); it is kept as it is and nothing is written to it. \
         `tidegate verify` shows what is wrong; to go on, put a backup in its place, or, to start a new one, move it away and {JOURNAL} beside it too", path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{} is {state}, and {JOURNAL} beside it has records of calls: they are kept as they are, and nothing new is begun over them. \
         Put a backup in its place, or move {JOURNAL} away to start a new one", path.display()
    )]
    Gone { path: PathBuf, state: &'static str },
    #[error(
        "{} was written by a newer Tidegate (schema {found}, this one knows {known}); it was not changed. Install the newer version", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is in use by another program; end that one, then try again", path.display())]
    Locked { path: PathBuf },
    #[error("no copy was made as {}: {reason}; name another place, or free some space", path.display())]
    NoBackup { path: PathBuf, reason: String },
    #[error("SQLite {version} can lose data; Tidegate needs 3.51.3 or newer, so build it with its own")]
    OldSqlite { version: String },
    #[error("{}: {reason}; `tidegate verify` checks the ledger", path.display())]
    Sqlite { path: PathBuf, reason: String },
    #[error("too much waits to be written to the ledger; see in the log why SQLite doesn't take it")]
    Behind,
    #[error(
        "a part of Tidegate failed while it wrote the ledger; it goes on: please report the line of the log that says so"
    )]
    Panicked,
    #[error("the ledger was closed")]
    Ended,
}

impl Error {
    fn unwritable(what: impl ToString, cause: &dyn std::error::Error) -> Error {
        Error::Unwritable { what: what.to_string(), reason: cause.to_string() }
    }
}

/// The ledger of one data folder. Share it in an `Arc`; every verb takes `&self`.
pub struct Ledger {
    db: Db,
    journal: Arc<Journal>,
    flushes: mpsc::Sender<Flush>,
    readers: SqlitePool,
    calendar: Calendar,
    /// Held by who follows the chain and by who cuts it.
    chain_as_it_is: tokio::sync::Mutex<()>,
    /// The calls that were found open at the start, and what admission had reserved for each.
    interrupted: BTreeMap<CallId, Usage>,
    /// Between looking for a request and entering it nobody else does.
    once: tokio::sync::Mutex<()>,
    ends: Mutex<Ends>,
}

/// What is waited for at the end.
struct Ends {
    writer: Option<JoinHandle<()>>,
    syncer: Option<thread::JoinHandle<()>>,
}

/// The folder of its pages.
const JOURNAL: &str = "journal";

/// Questions at once; each waits for its flush.
const FLUSHES_MAX: usize = 64;

impl Ledger {
    /// Replays the journal and closes what was interrupted. Makes the folder where it is missing.
    pub async fn open(dir: &Path, options: Options) -> Result<(Ledger, Recovered), Error> {
        Ledger::open_with(dir, options, journal::PAGE_BYTES).await
    }

    async fn open_with(dir: &Path, options: Options, page_bytes: u64) -> Result<(Ledger, Recovered), Error> {
        disk::private_dir(dir)?;
        let pages = disk::pages(&dir.join(JOURNAL), page_bytes)?;
        if let Some(state) = Db::at(dir).is_lacking()
            && journal::has_records(&pages)?
        {
            return Err(Error::Gone { path: Db::at(dir).path, state });
        }
        Ledger::open_on(Db::made(dir)?, pages, options, page_bytes).await
    }

    async fn open_on(
        db: Db,
        pages: [Arc<dyn Disk>; 2],
        options: Options,
        page_bytes: u64,
    ) -> Result<(Ledger, Recovered), Error> {
        let mut conn = db.open().await?;
        rollup::keep_days_of(&mut conn, options.calendar).await.map_err(|error| db.error(&error))?;
        let folded_seq = db.folded_seq(&mut conn).await?;
        // A row that can't be read is told before anything is written.
        recovery::interrupted(&db, &mut conn, &options.catalog).await?;
        let (journal, Found { records, lost }) = Journal::open(pages, page_bytes, options.durability, folded_seq)?;
        if lost > 0 {
            tracing::warn!(
                "{lost} records of the journal can't be read: they were on their way to the disk when it ended, or are damaged. \
                 What they told of is closed as an estimate; all others are kept"
            );
        }
        writer::fold_found(&db, &mut conn, &records, journal.last_seq()).await?;
        journal.start()?;
        let interrupted = recovery::interrupted(&db, &mut conn, &options.catalog).await?;
        let recovered = Recovered { interrupted: interrupted.len(), replayed: records.len(), lost };
        let reserved = interrupted.iter().map(|(entry, reserved)| (entry.call.id, *reserved)).collect();
        let ledger = Ledger::start(db, conn, journal, reserved, options.calendar)?;
        let settled: Vec<_> = interrupted.iter().map(|(entry, _)| ledger.settle(entry)).collect();
        for settled in settled {
            settled.await?;
        }
        ledger.flush().await?;
        Ok((ledger, recovered))
    }

    fn start(
        db: Db,
        conn: sqlx::SqliteConnection,
        journal: Journal,
        interrupted: BTreeMap<CallId, Usage>,
        calendar: Calendar,
    ) -> Result<Ledger, Error> {
        let journal = Arc::new(journal);
        let syncer = journal.spawn_syncer()?;
        let (flushes, asked) = mpsc::channel(FLUSHES_MAX);
        let writer = Writer {
            db: db.clone(),
            conn: Some(conn),
            journal: journal.clone(),
            flushes: asked,
            asked: Vec::new(),
            awake: true,
            failures: 0,
            damaged: None,
            mending: None,
        };
        let ends = Ends { writer: Some(tokio::spawn(writer.run())), syncer };
        Ok(Ledger {
            readers: db.readers(),
            db,
            journal,
            flushes,
            calendar,
            chain_as_it_is: Default::default(),
            interrupted,
            once: tokio::sync::Mutex::default(),
            ends: Mutex::new(ends),
        })
    }

    /// Where more waits for SQLite than should, a new call waits for this before it is opened: at most 5 s.
    pub fn room(&self) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        (!self.journal.has_room()).then(|| self.journal.clone().room())
    }

    /// Before an attempt leaves: written when this returns, on the disk 5 ms later where the durability is `Power`.
    pub fn opened(&self, call: &Call, opening: &Opening) -> Result<(), Error> {
        self.journal.append(Kind::Opened, call.id, &Opened::of(call, opening)).map(drop)
    }

    /// What a running call has shown so far; `now` becomes its end if it is interrupted.
    pub fn checkpoint(&self, call: CallId, shown: &Checkpoint, now: Timestamp) -> Result<(), Error> {
        self.journal.append(Kind::Used, call, &Shown::of(call, shown, now)).map(drop)
    }

    /// Once per call. Written when this returns; the future ends when it is as durable as asked.
    pub fn settle(&self, entry: &Entry) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let mut attempts: Vec<AttemptRow> = entry.attempts.iter().map(AttemptRow::of).collect();
        attempts.sort_by_key(|attempt| attempt.number);
        attempts.dedup_by_key(|attempt| attempt.number);
        let record = Settled { entry: &EntryRow::of(entry), attempts: &attempts };
        let written = self.journal.append(Kind::Settled, entry.call.id, &record);
        async {
            match written? {
                None => Ok(()),
                Some(sync) => sync.await.unwrap_or(Err(Error::Ended)),
            }
        }
    }

    /// Settles those of whose request no entry of the gateway's tells yet, and gives them back.
    pub async fn settle_once(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
        let _alone = self.once.lock().await;
        self.flush().await?;
        let request =
            |entry: &Entry| entry.attempts.last().and_then(|last| last.request_id.as_deref()).map(str::to_owned);
        let requests: Vec<String> = entries.iter().filter_map(request).collect();
        let mut conn = self.readers.acquire().await.map_err(|error| self.db.error(&error))?;
        let known = import::calls_of_gateway(&mut conn, &requests).await.map_err(|error| self.db.error(&error))?;
        drop(conn);
        let mut seen: HashSet<String> = known.into_keys().collect();
        entries.retain(|entry| request(entry).is_none_or(|request| seen.insert(request)));
        let settled: Vec<_> = entries.iter().map(|entry| self.settle(entry)).collect();
        for settled in settled {
            settled.await?;
        }
        Ok(entries)
    }

    /// Returns when everything written before is in SQLite.
    pub async fn flush(&self) -> Result<(), Error> {
        if !self.journal.has_unfolded() {
            return Ok(());
        }
        let (done, folded) = oneshot::channel();
        self.flushes.send(done).await.map_err(|_| Error::Ended)?;
        folded.await.unwrap_or(Err(Error::Ended))
    }

    /// Another number after each thing that calls write down.
    pub fn written(&self) -> u64 {
        self.journal.last_seq()
    }

    /// Of the SQLite that is built in, for `doctor`.
    pub async fn sqlite_version(&self) -> Result<String, Error> {
        self.db.sqlite_version(&self.readers).await
    }

    /// Folds what is left and ends. Later verbs fail.
    pub async fn close(&self) -> Result<(), Error> {
        self.journal.close(Error::Ended);
        let folded = self.flush().await;
        self.journal.end();
        self.readers.close().await;
        let (writer, syncer) = {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            (ends.writer.take(), ends.syncer.take())
        };
        if let Some(writer) = writer {
            // It ended by itself; a panic in it has been told already.
            let _ = writer.await;
        }
        if let Some(syncer) = syncer {
            // It ended by itself; a panic in it has been told already.
            let _ = syncer.join();
        }
        folded
    }
}

/// Without `close`: what is unfolded waits in the journal for the next start.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.journal.end();
    }
}

#[cfg(test)]
mod tests;
