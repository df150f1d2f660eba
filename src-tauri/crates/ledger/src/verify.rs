//! Is the ledger whole? Structure, sums, chain, open calls, journal.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::Path;

use domain::call::CallId;
use domain::time::Timestamp;
use sqlx::SqliteExecutor;

use crate::call::{EntryRow, Settled};
use crate::db::Db;
use crate::settling::{Link, link};
use crate::{Error, Ledger};

mod sums;

/// Findings of one kind that are named.
const FINDINGS_MAX: usize = 20;

const CHUNK: u32 = 500;

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// What SQLite says of its file.
    Structure { report: String },
    /// The first entry that was changed, or before which one was removed.
    ChainBroken { call: String, number: i64 },
    /// Entries at the end were removed.
    ChainEndsEarly,
    /// The first change of a price that was changed, or before which one was removed; 0 where the last ones were removed.
    TraceBroken { number: i64 },
    /// The sums of a quarter of an hour differ from its entries.
    SumsDiffer { from: Timestamp, client: String, model: String },
    /// The sums of a day differ from those of its quarters.
    DaySumsDiffer { day: String, client: String },
    /// It is open and doesn't run.
    OpenCall { call: String },
    /// The sums that another device handed over are not those that it signed.
    BundleChanged { device: String, month: String },
    /// What was written to the journal doesn't read back.
    Journal,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Structure { report } => write!(f, "the database is damaged: {report}"),
            Finding::ChainBroken { call, number } => {
                write!(f, "entry {number} (call {call}) or one before it was changed or removed after it was written")
            }
            Finding::TraceBroken { number: 0 } => {
                f.write_str("the last changes of prices were removed after they were written")
            }
            Finding::TraceBroken { number } => {
                write!(f, "change {number} of a price, or one before it, was changed or removed after it was written")
            }
            Finding::ChainEndsEarly => f.write_str("the last entries were removed after they were written"),
            Finding::SumsDiffer { from, client, model } => {
                write!(
                    f,
                    "the sums of the quarter of an hour from {from} (client {client}, model {model}) differ from its entries"
                )
            }
            Finding::DaySumsDiffer { day, client } => {
                write!(f, "the sums of {day} (client {client}) differ from those of its quarters of an hour")
            }
            Finding::OpenCall { call } => write!(f, "call {call} is open and doesn't run"),
            Finding::BundleChanged { device, month } => {
                write!(
                    f,
                    "what device {device} handed over for {month} was changed afterwards; import its bundle again"
                )
            }
            Finding::Journal => f.write_str("what was written to the journal doesn't read back"),
        }
    }
}

impl Ledger {
    /// Everything that is wrong. `running` tells which calls may be open, at the moment it is asked.
    pub async fn verify(&self, running: impl FnOnce() -> Vec<CallId>) -> Result<Vec<Finding>, Error> {
        let fail = |error| self.db.error(&error);
        self.flush().await?;
        let mut findings = structure(&self.readers).await.map_err(fail)?;
        findings.extend(self.chain().await?);
        findings.extend(self.break_of_trace().await?.map(|number| Finding::TraceBroken { number }));
        findings.extend(self.sums_that_differ().await?);
        findings.extend(self.forgotten_calls(running).await?);
        let changed = self.changed_bundles().await?.into_iter().take(FINDINGS_MAX);
        findings.extend(changed.map(|(device, month)| Finding::BundleChanged { device, month }));
        if !self.journal.reads_back()? {
            findings.push(Finding::Journal);
        }
        Ok(findings)
    }

    /// What SQLite says of a ledger that doesn't open. Nothing is written.
    pub async fn inspect(dir: &Path) -> Result<Vec<Finding>, Error> {
        let db = Db::at(dir);
        let mut conn = db.looked_at().await?;
        let mut findings = structure(&mut conn).await.map_err(|error| db.error(&error))?;
        let strange = db.strange(&mut conn).await?;
        findings.extend(strange.map(|report| Finding::Structure { report }));
        Ok(findings)
    }

    /// The first break only: behind it nothing can be said.
    async fn chain(&self) -> Result<Option<Finding>, Error> {
        let end = sqlx::query!("SELECT chain, (SELECT max(seq) FROM entry) AS last FROM meta")
            .fetch_one(&self.readers)
            .await
            .map_err(|error| self.db.error(&error))?;
        let last = end.last.unwrap_or(0);
        let _nobody_cuts_it = self.chain_as_it_is.lock().await;
        let mut cuts = self.cuts().await?;
        let mut head: Link = [0; 32];
        let mut seq = 0;
        while seq < last {
            let rows = self.rows_of_chain(seq, last).await?;
            let ids: Vec<&str> = rows.iter().map(|row| row.call_id.as_str()).collect();
            let attempts = self.attempts_of(&ids).await?;
            for row in &rows {
                let attempts = attempts.get(&row.call_id).map_or(&[][..], Vec::as_slice);
                let json = serde_json::to_string(&Settled { entry: row, attempts });
                if let Some(cut) = cuts.remove(&(seq + 1)) {
                    head = cut;
                }
                head = link(&head, &json.map_err(|error| Error::unwritable("an entry", &error))?);
                if row.chain != head {
                    return Ok(Some(Finding::ChainBroken { call: row.call_id.clone(), number: row.seq }));
                }
                seq = row.seq;
            }
            if rows.is_empty() {
                break;
            }
        }
        Ok((end.chain != head).then_some(Finding::ChainEndsEarly))
    }

    /// The link that stands for deleted entries, by the number of the first of them.
    async fn cuts(&self) -> Result<BTreeMap<i64, Link>, Error> {
        let rows = sqlx::query!("SELECT since, chain FROM cut").fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.db.error(&error))?.into_iter();
        rows.map(|row| Ok((row.since, row.chain.try_into().map_err(|_| self.db.unreadable("a link"))?))).collect()
    }

    async fn rows_of_chain(&self, after: i64, last: i64) -> Result<Vec<EntryRow>, Error> {
        sqlx::query_as!(
            EntryRow,
            "SELECT * FROM entry WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            after,
            last,
            CHUNK
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))
    }

    /// Open before and after, and not running in between.
    async fn forgotten_calls(&self, running: impl FnOnce() -> Vec<CallId>) -> Result<Vec<Finding>, Error> {
        let before = self.open_calls().await?;
        let running: HashSet<String> = running().iter().map(CallId::to_string).collect();
        self.flush().await?;
        let after = self.open_calls().await?;
        let forgotten = before.intersection(&after).filter(|call| !running.contains(*call));
        Ok(forgotten.map(|call| Finding::OpenCall { call: call.clone() }).collect())
    }

    async fn open_calls(&self) -> Result<BTreeSet<String>, Error> {
        let open = sqlx::query_scalar!("SELECT call_id FROM open_call").fetch_all(&self.readers).await;
        Ok(open.map_err(|error| self.db.error(&error))?.into_iter().collect())
    }
}

async fn structure(on: impl SqliteExecutor<'_>) -> sqlx::Result<Vec<Finding>> {
    let reports: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(on).await?;
    let wrong = reports.into_iter().filter(|report| report != "ok");
    Ok(wrong.map(|report| Finding::Structure { report }).collect())
}
