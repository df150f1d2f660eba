//! How long entries are kept. The sums of them are kept for ever, and the chain goes on over the gap.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use domain::time::Timestamp;
use sqlx::{Connection, SqliteConnection, SqliteExecutor};

use crate::db::CHECKPOINT_PAGES;
use crate::rollup::QUARTER_MS;
use crate::settling::json;
use crate::{Error, Ledger};

/// Deleted at once: the writer waits for no more than that.
const ENTRIES_AT_ONCE: i64 = 250;

const TELLINGS_AT_ONCE: i64 = 1_000;

/// In which the writer has the file for itself.
const PAUSE: Duration = Duration::from_millis(20);

/// A call that ended less than this before the day from which all is kept stays for another day: budgets and logs
/// of that day may ask for it.
const MARGIN_MS: i64 = 3_600_000;

/// What was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deleted {
    pub entries: u64,
    /// What logs and telemetry told of calls. That it was told is kept, so that it never counts twice.
    pub tellings: u64,
    /// Of the database, as it was before its schema changed.
    pub copies: u64,
}

/// An entry that goes.
struct Gone {
    seq: i64,
    call_id: String,
    chain: Vec<u8>,
}

/// Entries that were deleted, one after the other, and the link of the last.
struct Cut {
    since: i64,
    through: i64,
    chain: Vec<u8>,
}

pub(crate) async fn kept_from(on: impl SqliteExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT kept_from FROM meta").fetch_one(on).await
}

impl Ledger {
    /// Entries of calls that started before may have been deleted; the sums have them all.
    pub async fn kept_from(&self) -> Result<Timestamp, Error> {
        kept_from(&self.readers).await.map(Timestamp::from_millis).map_err(|error| self.db.error(&error))
    }

    /// When the first and the last of the calls that did not start after `now` started.
    pub async fn known_span(&self, now: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, Error> {
        self.flush().await?;
        let now = now.as_millis();
        let first = sqlx::query_scalar!(r#"SELECT min(started_at) AS "at: i64" FROM entry"#);
        let first = first.fetch_one(&self.readers).await.map_err(|error| self.db.error(&error))?;
        let last = sqlx::query_scalar!(r#"SELECT max(started_at) AS "at: i64" FROM entry WHERE started_at <= ?1"#, now);
        let last = last.fetch_one(&self.readers).await.map_err(|error| self.db.error(&error))?;
        Ok(first.zip(last).map(|(first, last)| (Timestamp::from_millis(first), Timestamp::from_millis(last))))
    }

    /// Deletes the entries of calls that started before, a few at a time. May be dropped at any moment: the next time
    /// goes on. What was kept from a later day stays so.
    pub async fn keep_from(&self, from: Timestamp) -> Result<Deleted, Error> {
        self.flush().await?;
        let mut conn = self.db.writer().await?;
        let kept_from = self.note_kept_from(&mut conn, from).await?;
        let mut deleted = Deleted::default();
        loop {
            let entries = self.delete_entries(&mut conn, kept_from).await?;
            if entries == 0 {
                break;
            }
            deleted.entries += entries;
            self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let mut after = Some(0);
        while let Some(id) = after {
            let (tellings, last) = self.forget_tellings(&mut conn, id, kept_from).await?;
            deleted.tellings += tellings;
            self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
            after = last;
            tokio::time::sleep(PAUSE).await;
        }
        self.forget_observations(&mut conn, kept_from).await?;
        Ok(deleted)
    }

    /// Deletes the copies that were made before changes of the schema and were last written before. Returns their number.
    pub fn forget_copies(&self, written_before: Timestamp) -> Result<u64, Error> {
        let (Some(dir), Some(name)) = (self.db.path.parent(), self.db.path.file_name()) else { return Ok(0) };
        let copies = format!("{}.schema-", name.to_string_lossy());
        let unreadable = |error: std::io::Error| Error::unwritable(dir.display(), &error);
        let mut forgotten = 0;
        for file in fs::read_dir(dir).map_err(unreadable)? {
            let file = file.map_err(unreadable)?;
            let is_copy = file.file_name().to_string_lossy().strip_prefix(&copies).is_some_and(is_number);
            let written = file.metadata().and_then(|meta| meta.modified()).map_err(unreadable)?;
            let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
            if is_copy && Timestamp::default().after(written) < written_before {
                fs::remove_file(file.path()).map_err(|error| Error::unwritable(file.path().display(), &error))?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// First of all, so that nobody expects what is about to go.
    async fn note_kept_from(&self, conn: &mut SqliteConnection, from: Timestamp) -> Result<i64, Error> {
        let from = from.as_millis().max(0).div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS);
        sqlx::query_scalar!("UPDATE meta SET kept_from = max(kept_from, ?1) RETURNING kept_from", from)
            .fetch_one(conn)
            .await
            .map_err(|error| self.db.error(&error))
    }

    async fn delete_entries(&self, conn: &mut SqliteConnection, kept_from: i64) -> Result<u64, Error> {
        let _nobody_checks_the_chain = self.chain_as_it_is.lock().await;
        delete_entries(conn, kept_from).await.map_err(|error| self.db.error(&error))
    }

    async fn forget_tellings(
        &self,
        conn: &mut SqliteConnection,
        after: i64,
        kept_from: i64,
    ) -> Result<(u64, Option<i64>), Error> {
        forget_tellings(conn, after, kept_from).await.map_err(|error| self.db.error(&error))
    }

    async fn forget_observations(&self, conn: &mut SqliteConnection, kept_from: i64) -> Result<(), Error> {
        let forgotten = sqlx::query!("DELETE FROM observation WHERE observed_at < ?1", kept_from).execute(conn).await;
        forgotten.map(drop).map_err(|error| self.db.error(&error))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The very last entry stays: the next one gets the number after it.
async fn delete_entries(conn: &mut SqliteConnection, kept_from: i64) -> sqlx::Result<u64> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let ended_before = kept_from - MARGIN_MS;
    let mut gone = sqlx::query_as!(
        Gone,
        "SELECT seq, call_id, chain FROM entry
         WHERE started_at < ?1 AND ended_at < ?2 AND seq < (SELECT max(seq) FROM entry) ORDER BY started_at LIMIT ?3",
        kept_from,
        ended_before,
        ENTRIES_AT_ONCE
    )
    .fetch_all(&mut *tx)
    .await?;
    gone.sort_by_key(|entry| entry.seq);
    let count = gone.len() as u64;
    delete(&mut tx, &gone).await?;
    for cut in cuts(gone) {
        note_cut(&mut tx, cut).await?;
    }
    tx.commit().await?;
    Ok(count)
}

async fn delete(conn: &mut SqliteConnection, gone: &[Gone]) -> sqlx::Result<()> {
    let numbers = json(&gone.iter().map(|entry| entry.seq).collect::<Vec<_>>())?;
    let calls = json(&gone.iter().map(|entry| &entry.call_id).collect::<Vec<_>>())?;
    sqlx::query!("DELETE FROM superseded WHERE seq IN (SELECT value FROM json_each(?1))", numbers)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM attempt WHERE call_id IN (SELECT value FROM json_each(?1))", calls)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM entry WHERE seq IN (SELECT value FROM json_each(?1))", numbers).execute(conn).await?;
    Ok(())
}

/// Of entries in the order of their numbers.
fn cuts(gone: Vec<Gone>) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = vec![];
    for Gone { seq, chain, .. } in gone {
        match cuts.last_mut() {
            Some(cut) if cut.through + 1 == seq => (cut.through, cut.chain) = (seq, chain),
            _ => cuts.push(Cut { since: seq, through: seq, chain }),
        }
    }
    cuts
}

/// One with those before and behind it.
async fn note_cut(conn: &mut SqliteConnection, cut: Cut) -> sqlx::Result<()> {
    let (before, behind) = (cut.since - 1, cut.through + 1);
    let neighbours = sqlx::query_as!(
        Cut,
        "DELETE FROM cut WHERE through = ?1 OR since = ?2 RETURNING since, through, chain",
        before,
        behind
    )
    .fetch_all(&mut *conn)
    .await?;
    let all = neighbours.into_iter().fold(cut, |cut, other| {
        let since = cut.since.min(other.since);
        if other.through > cut.through { Cut { since, ..other } } else { Cut { since, ..cut } }
    });
    sqlx::query!("INSERT INTO cut (since, through, chain) VALUES (?1, ?2, ?3)", all.since, all.through, all.chain)
        .execute(conn)
        .await?;
    Ok(())
}

/// Where the call is too old, or its entry is gone. The key stays, so that the same telling is known when it comes again.
/// Returns how many, and the last that was looked at.
async fn forget_tellings(conn: &mut SqliteConnection, after: i64, kept_from: i64) -> sqlx::Result<(u64, Option<i64>)> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let rows = sqlx::query!(
        r#"SELECT id, facts <> '{}' AND (facts ->> '$.said.at' < ?1
                 OR (call_id <> '' AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.call_id = told.call_id)))
                 AS "is_old!: bool"
         FROM told WHERE id > ?2 ORDER BY id LIMIT ?3"#,
        kept_from,
        after,
        TELLINGS_AT_ONCE
    )
    .fetch_all(&mut *tx)
    .await?;
    let old: Vec<i64> = rows.iter().filter(|row| row.is_old).map(|row| row.id).collect();
    let count = old.len() as u64;
    let old = json(&old)?;
    sqlx::query!(
        "UPDATE told SET facts = '{}', call_id = '', entered = x'' WHERE id IN (SELECT value FROM json_each(?1))",
        old
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((count, rows.last().map(|row| row.id)))
}
