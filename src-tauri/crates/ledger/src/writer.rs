//! The one task that writes SQLite: it folds the journal in, many records with a handful of statements,
//! and notes in the same transaction how far it got. So each record is folded exactly once.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::call::CallId;
use futures_util::FutureExt;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinHandle};
use tokio::time;

use crate::Error;
use crate::db::{CHECKPOINT_PAGES, Db};
use crate::journal::{Journal, Kind, Record};
use crate::settling;

/// How long a record may wait for company. Nobody waits for it: the journal is durable, and who asks has it folded at once.
const FOLD_WITHIN: Duration = Duration::from_secs(1);

/// Of which half are settled calls where all go by at once.
const BATCH_MAX: usize = 2_048;

/// After a fold that failed, and after a journal that did.
const RETRY_AFTER: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };

/// The log hears of the first failure and of every so many more: once a minute at most.
const FAILURES_PER_WARNING: u32 = 60;

/// Asks for everything written so far to be folded.
pub(crate) type Flush = oneshot::Sender<Result<(), Error>>;

pub(crate) struct Writer {
    pub(crate) db: Db,
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) flushes: mpsc::Receiver<Flush>,
    /// Those who wait for this fold.
    pub(crate) asked: Vec<Flush>,
    /// There were records a moment ago, so there may be more: it looks again without being woken.
    pub(crate) awake: bool,
    /// Folds that failed, one after the other.
    pub(crate) failures: u32,
    /// The database is damaged: it isn't touched any more.
    pub(crate) damaged: Option<Error>,
    /// Tries to take the journal into use again.
    pub(crate) mending: Option<JoinHandle<()>>,
}

impl Writer {
    /// Ends with the journal. What is unfolded then waits in it for the next start. A panic costs no record: it goes on.
    pub(crate) async fn run(mut self) {
        while AssertUnwindSafe(self.fold_to_the_end()).catch_unwind().await.is_err() {
            self.answer(&Err(Error::Panicked));
            self.failed(Error::Panicked).await;
        }
        if let Some(conn) = self.conn.take() {
            // The journal holds whatever this could lose.
            let _ = conn.close().await;
        }
    }

    async fn fold_to_the_end(&mut self) {
        loop {
            self.next().await;
            if self.journal.has_ended() {
                return;
            }
            let folded = self.fold_and_mend().await;
            self.answer(&folded);
            match folded {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(error).await,
            }
        }
    }

    /// Waits for records and their company, or for those who want to know now. While calls come and go nobody has to wake it.
    async fn next(&mut self) {
        if !self.awake {
            tokio::select! {
                flush = self.flushes.recv() => self.asked.extend(flush),
                () = self.journal.first_unfolded.notified() => {}
            }
        }
        // What came while the last fold ran may be many already: nothing would tell of it again.
        if self.asked.is_empty() && !self.journal.has_many() {
            tokio::select! {
                flush = self.flushes.recv() => self.asked.extend(flush),
                () = self.journal.many_unfolded.notified() => {}
                () = time::sleep(FOLD_WITHIN) => {}
            }
        }
        self.awake = self.journal.has_unfolded() || self.journal.wants_safety();
        self.asked.extend(iter::from_fn(|| self.flushes.try_recv().ok()));
    }

    fn answer(&mut self, folded: &Result<(), Error>) {
        for flush in self.asked.drain(..) {
            // One who has gone needs no answer.
            let _ = flush.send(folded.clone());
        }
    }

    fn succeeded(&mut self) {
        if self.failures > 0 {
            tracing::warn!("the journal is folded into the ledger again");
        }
        self.failures = 0;
    }

    /// A damaged file stays so: no new call is taken in. Anything else may pass; the journal holds the records until then.
    async fn failed(&mut self, error: Error) {
        self.journal.not_folded(&error);
        if self.damaged.is_some() {
            self.awake = false;
            return;
        }
        if self.failures.is_multiple_of(FAILURES_PER_WARNING) {
            tracing::warn!("the journal can't be folded into the ledger now: {error}");
        }
        self.failures += 1;
        if let Error::Damaged { .. } = error {
            // The last connection to close brings the WAL home: this one stays open, for nothing is written any more.
            mem::forget(self.conn.take());
            self.journal.refuse_openings(error.clone());
            self.damaged = Some(error);
        } else {
            self.db.doubt();
            if let Some(conn) = &mut self.conn {
                // Takes back what it had begun.
                let _ = conn.ping().await;
            }
            time::sleep(RETRY_AFTER).await;
            self.awake = true;
        }
    }

    async fn fold_and_mend(&mut self) -> Result<(), Error> {
        self.fold_all().await?;
        let Some(through) = self.journal.wanted_safe() else { return Ok(()) };
        let db = self.db.clone();
        let conn = self.conn().await?;
        note_floor(conn, through).await.map_err(|error| db.error(&error))?;
        self.journal.is_safe(through);
        let Some(reason) = self.journal.failed() else { return Ok(()) };
        if self.mending.as_ref().is_none_or(JoinHandle::is_finished) {
            tracing::warn!("no new call begins until the journal can be written again: {reason}");
            self.mending = Some(tokio::spawn(mend(self.journal.clone())));
        }
        Ok(())
    }

    async fn conn(&mut self) -> Result<&mut SqliteConnection, Error> {
        if self.db.is_in_doubt() {
            let fresh = self.db.writer_after_failure().await?;
            // Closed while the fresh one is open: the last to close would sync, and tell nobody how that went.
            if let Some(failed) = self.conn.replace(fresh) {
                let _ = failed.close().await;
            }
        }
        match &mut self.conn {
            Some(conn) => Ok(conn),
            none => Ok(none.insert(self.db.writer().await?)),
        }
    }

    /// All that was written before; what comes meanwhile is for the next turn.
    async fn fold_all(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.damaged {
            return Err(error.clone());
        }
        let last = self.journal.last_seq();
        loop {
            let (records, power_safe) = self.journal.unfolded(BATCH_MAX);
            match records.first() {
                None => return Ok(()),
                Some(record) if record.seq > last => return Ok(()),
                Some(_) => {}
            }
            let db = self.db.clone();
            let conn = self.conn().await?;
            let through = fold(conn, &records, power_safe).await.map_err(|error| db.error(&error))?;
            self.journal.folded(through, power_safe && !db.is_in_doubt());
            let conn = self.conn().await?;
            db.checkpoint(conn, CHECKPOINT_PAGES).await?;
        }
    }
}

/// Until the disk takes it. A disk that hangs keeps no call from being settled through SQLite.
async fn mend(journal: Arc<Journal>) {
    while journal.has_failed() && !journal.has_ended() {
        let journal_itself = journal.clone();
        let mended = task::spawn_blocking(move || journal_itself.mend()).await;
        if !journal.has_failed() {
            tracing::warn!("the journal is written again");
        } else if let Ok(Ok(())) = mended {
            // Not everything on it is safe yet: the next fold brings that.
            return;
        } else {
            time::sleep(RETRY_AFTER).await;
        }
    }
}

/// What a start found in the journal, and the floor of what it will write: safe from power loss when this returns.
pub(crate) async fn fold_found(
    db: &Db,
    conn: &mut SqliteConnection,
    records: &[Record],
    floor: u64,
) -> Result<(), Error> {
    for batch in records.chunks(BATCH_MAX) {
        fold(conn, batch, false).await.map_err(|error| db.error(&error))?;
    }
    note_floor(conn, floor).await.map_err(|error| db.error(&error))
}

/// One commit that reaches the disk takes all before it along.
async fn note_floor(conn: &mut SqliteConnection, floor: u64) -> sqlx::Result<()> {
    wait_for_disk(conn, true).await?;
    note_folded(conn, floor).await?;
    wait_for_disk(conn, false).await
}

/// Whether commits do. SQLite obeys while it prepares this, so a statement kept prepared would change nothing.
async fn wait_for_disk(conn: &mut SqliteConnection, wait: bool) -> sqlx::Result<()> {
    let pragma = if wait { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
    sqlx::query(pragma).persistent(false).execute(conn).await.map(drop)
}

/// Everything of `records` in one transaction. Returns the last sequence number.
async fn fold(conn: &mut SqliteConnection, records: &[Record], power_safe: bool) -> sqlx::Result<u64> {
    let through = records.last().map_or(0, |record| record.seq);
    if power_safe {
        wait_for_disk(conn, true).await?;
    }
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let batch = Batch::of(records);
    insert_opened(&mut tx, &batch).await?;
    update_used(&mut tx, &batch).await?;
    settling::settle(&mut tx, &batch.settled).await?;
    #[cfg(test)]
    crate::tests::faults::panic_if_meant(records);
    note_folded(&mut tx, through).await?;
    tx.commit().await?;
    if power_safe {
        wait_for_disk(conn, false).await?;
    }
    Ok(through)
}

/// What is left of a batch when a call that opens and ends in it needs no open row.
#[derive(Default)]
struct Batch<'a> {
    opened: Vec<&'a Record>,
    used: HashMap<CallId, &'a Record>,
    settled: Vec<&'a Record>,
}

impl<'a> Batch<'a> {
    fn of(records: &'a [Record]) -> Batch<'a> {
        let is_settled = |record: &&Record| record.kind == Kind::Settled;
        let settled: HashSet<CallId> = records.iter().filter(is_settled).map(|record| record.call).collect();
        let mut batch = Batch::default();
        for record in records {
            match record.kind {
                Kind::Opened if !settled.contains(&record.call) => batch.opened.push(record),
                Kind::Used if !settled.contains(&record.call) => drop(batch.used.insert(record.call, record)),
                Kind::Opened | Kind::Used => {}
                Kind::Settled => batch.settled.push(record),
            }
        }
        batch
    }
}

fn array<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut json = String::from("[");
    for item in items {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(item);
    }
    json.push(']');
    json
}

async fn insert_opened(conn: &mut SqliteConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    if batch.opened.is_empty() {
        return Ok(());
    }
    let opened = array(batch.opened.iter().map(|record| &*record.json));
    sqlx::query!(
        "INSERT INTO open_call (call_id, call)
         SELECT value ->> '$.call.call_id', json(value -> '$.call') FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO NOTHING",
        opened
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO open_attempt (call_id, number, opening)
         SELECT value ->> '$.call.call_id', value ->> '$.opening.number', json(value -> '$.opening')
         FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO NOTHING",
        opened
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn update_used(conn: &mut SqliteConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    if batch.used.is_empty() {
        return Ok(());
    }
    let used = array(batch.used.values().map(|record| &*record.json));
    sqlx::query!(
        "UPDATE open_call SET usage = json(used.value -> '$.usage'), used_at = used.value ->> '$.used_at'
         FROM jsonb_each(?1) AS used WHERE open_call.call_id = used.value ->> '$.call_id'",
        used
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn note_folded(conn: &mut SqliteConnection, through: u64) -> sqlx::Result<()> {
    let through = through.cast_signed();
    sqlx::query!("UPDATE meta SET folded_seq = ?1", through).execute(conn).await?;
    Ok(())
}
