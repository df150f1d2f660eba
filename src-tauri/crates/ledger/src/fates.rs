//! How calls through the gateway went, in the order in which they were entered, some thousands at a time.

use domain::call::Outcome;
use domain::success::{Fate, Try};
use domain::time::Timestamp;

use crate::{Error, Ledger};

/// A part of the entries, and where the next part begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fates {
    pub fates: Vec<Fate>,
    /// Ask with it the next time.
    pub through: i64,
    /// There are no more for now.
    pub is_all: bool,
}

/// One attempt of a call, or a call without any.
struct Row {
    seq: i64,
    started_at: i64,
    ended_at: i64,
    outcome: String,
    status: i64,
    error: String,
    number: Option<i64>,
    upstream: Option<String>,
    opened_at: Option<i64>,
    answered: Option<i64>,
    broken: Option<i64>,
}

/// A read of so many takes some milliseconds.
const ENTRIES_AT_ONCE: i64 = 4_000;

impl Ledger {
    /// Of calls that started from `from` on; `after`: what the last answer went through, 0 at first. An answer that goes
    /// through less is of another ledger.
    pub async fn fates(&self, from: Timestamp, after: i64) -> Result<Fates, Error> {
        self.flush().await?;
        let failed = |error: sqlx::Error| self.db.error(&error);
        let from = from.as_millis();
        let last = sqlx::query_scalar!(r#"SELECT coalesce(max(seq), 0) AS "last!: i64" FROM entry"#);
        let last = last.fetch_one(&self.readers).await.map_err(failed)?;
        let first = match after {
            0 => self.first_from(from, last).await.map_err(failed)?,
            after => after,
        };
        let through = last.min(first.saturating_add(ENTRIES_AT_ONCE));
        let rows = self.rows(from, first, through).await.map_err(failed)?;
        let fates = fates(rows).ok_or_else(|| self.db.unreadable("an entry"))?;
        Ok(Fates { fates, through, is_all: through == last })
    }

    /// The place before the first entry that may be meant.
    async fn first_from(&self, from: i64, last: i64) -> sqlx::Result<i64> {
        let first = sqlx::query_scalar!(r#"SELECT min(seq) AS "first: i64" FROM entry WHERE started_at >= ?1"#, from);
        Ok(first.fetch_one(&self.readers).await?.map_or(last, |first| first - 1))
    }

    async fn rows(&self, from: i64, after: i64, through: i64) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as!(
            Row,
            r#"SELECT entry.seq, started_at, ended_at, outcome, entry.status, entry.error,
                 attempt.number AS "number?: i64", attempt.upstream AS "upstream?: String",
                 opened_at AS "opened_at?: i64", attempt.status AS "answered?: i64",
                 attempt.error <> '' AS "broken?: i64"
             FROM entry LEFT JOIN attempt ON attempt.call_id = entry.call_id
             WHERE entry.seq > ?1 AND entry.seq <= ?2 AND source = 'gateway' AND started_at >= ?3
             ORDER BY entry.seq, attempt.number"#,
            after,
            through,
            from
        )
        .fetch_all(&self.readers)
        .await
    }
}

/// `None` where a row is none of ours.
fn fates(rows: Vec<Row>) -> Option<Vec<Fate>> {
    let mut fates: Vec<Fate> = vec![];
    let mut last = None;
    for row in rows {
        if last != Some(row.seq) {
            last = Some(row.seq);
            fates.push(row.fate()?);
        }
        if let (Some(attempt), Some(fate)) = (row.attempt(), fates.last_mut()) {
            fate.tries.push(attempt);
        }
    }
    Some(fates)
}

impl Row {
    fn fate(&self) -> Option<Fate> {
        Some(Fate {
            started_at: Timestamp::from_millis(self.started_at),
            ended_at: Timestamp::from_millis(self.ended_at),
            outcome: Outcome::named(&self.outcome)?,
            status: u16::try_from(self.status).ok()?,
            error: (!self.error.is_empty()).then(|| self.error.as_str().into()),
            tries: vec![],
        })
    }

    fn attempt(self) -> Option<Try> {
        Some(Try {
            number: self.number?.try_into().ok()?,
            upstream: self.upstream?.into(),
            at: Timestamp::from_millis(self.opened_at?),
            status: self.answered.and_then(|status| status.try_into().ok()),
            is_broken: self.broken == Some(1),
        })
    }
}
