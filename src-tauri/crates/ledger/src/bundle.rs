//! Sums that a team's other devices handed over: kept apart from what happened here, and in no budget or window.

use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::Tokens;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{Connection, SqliteConnection};

use crate::db::CHECKPOINT_PAGES;
use crate::{Error, Ledger, Totals};

mod asking;
mod daily;
mod own;

const DAY_MS: i64 = 86_400_000;

/// The sums of calls of the same names on one day; '' where a call has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BundleRow {
    /// Since 1970-01-01, in the calendar of the device.
    pub day: i64,
    pub client: String,
    pub person: String,
    pub project: String,
    pub tenant: String,
    pub upstream: String,
    pub model: String,
    pub source: String,
    pub web_searches: u64,
    pub totals: Totals,
}

/// A month of a device as it was at one time; a later time has a higher revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BundleMonth {
    /// `2026-11`
    pub month: String,
    pub revision: i64,
    pub rows: Vec<BundleRow>,
}

/// Who hands over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub device: String,
    pub name: String,
    pub public_key: Vec<u8>,
}

/// What became of a month.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    New,
    /// An older revision went.
    Replaced,
    /// It was there already.
    Same,
    /// A newer one is there.
    Older,
}

#[derive(Debug, thiserror::Error)]
pub enum NotMerged {
    #[error("its key is not the one that this device had so far")]
    OtherKey,
    #[error(transparent)]
    Ledger(#[from] Error),
}

/// A month that was handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownMonth {
    pub month: String,
    pub revision: i64,
    pub totals: Totals,
}

/// A device that has handed something over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownDevice {
    pub member: Member,
    pub last_seen: Timestamp,
    pub months: Vec<KnownMonth>,
}

/// A row as it is digested and entered: the columns in their order, behind device and month.
#[derive(Serialize)]
struct Columns<'a>(
    (i64, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str),
    (u64, u64, u64, u64, u64, u64, u64, i64, u64),
);

impl BundleRow {
    fn columns(&self) -> Columns<'_> {
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = self.totals.tokens;
        let Totals { calls, known_cost, unpriced_calls, .. } = self.totals;
        Columns(
            (
                self.day,
                &self.client,
                &self.person,
                &self.project,
                &self.tenant,
                &self.upstream,
                &self.model,
                &self.source,
            ),
            (
                calls,
                input,
                cache_write_5m,
                cache_write_1h,
                cache_read,
                output,
                self.web_searches,
                known_cost.as_nanos(),
                unpriced_calls,
            ),
        )
    }

    /// What no other row of a month has.
    pub fn names(&self) -> (i64, [&str; 7]) {
        let Columns((day, client, person, project, tenant, upstream, model, source), _) = self.columns();
        (day, [client, person, project, tenant, upstream, model, source])
    }
}

/// Rows in the order of their names, as JSON, and its hash.
fn digested(rows: &[BundleRow]) -> Result<(String, [u8; 32]), Error> {
    let mut rows: Vec<&BundleRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.names());
    let rows: Vec<Columns<'_>> = rows.into_iter().map(BundleRow::columns).collect();
    let json = serde_json::to_string(&rows).map_err(|error| Error::unwritable("a bundle", &error))?;
    let digest = Sha256::digest(&json).into();
    Ok((json, digest))
}

impl Ledger {
    /// Takes in the months that are newer than what is there, all or none. The order and number of times don't matter.
    pub async fn merge_bundle(
        &self,
        member: &Member,
        months: &[BundleMonth],
        now: Timestamp,
    ) -> Result<Vec<Merged>, NotMerged> {
        let fail = |error: sqlx::Error| NotMerged::Ledger(self.db.error(&error));
        let mut conn = self.db.writer().await?;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
        if !is_or_becomes_known(&mut tx, member, now).await.map_err(fail)? {
            return Err(NotMerged::OtherKey);
        }
        let mut merged = vec![];
        for month in months {
            let (json, digest) = digested(&month.rows)?;
            merged.push(merge_month(&mut tx, &member.device, month, &json, &digest).await.map_err(fail)?);
        }
        tx.commit().await.map_err(fail)?;
        self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
        Ok(merged)
    }

    /// `false` where no such device is known.
    pub async fn forget_device(&self, device: &str) -> Result<bool, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let mut conn = self.db.writer().await?;
        let gone = sqlx::query!("DELETE FROM bundle_device WHERE device = ?1", device).execute(&mut conn).await;
        let is_known = gone.map_err(fail)?.rows_affected() > 0;
        self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
        Ok(is_known)
    }
}

/// The first key of a device is its key; its name may change.
async fn is_or_becomes_known(conn: &mut SqliteConnection, member: &Member, now: Timestamp) -> sqlx::Result<bool> {
    let Member { device, name, public_key } = member;
    let known = sqlx::query_scalar!("SELECT public_key FROM bundle_device WHERE device = ?1", device)
        .fetch_optional(&mut *conn)
        .await?;
    if known.is_some_and(|known| known != *public_key) {
        return Ok(false);
    }
    let now = now.as_millis();
    sqlx::query!(
        "INSERT INTO bundle_device (device, name, public_key, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT DO UPDATE SET name = excluded.name, last_seen = max(last_seen, excluded.last_seen)",
        device,
        name,
        public_key,
        now
    )
    .execute(conn)
    .await?;
    Ok(true)
}

async fn merge_month(
    conn: &mut SqliteConnection,
    device: &str,
    month: &BundleMonth,
    json: &str,
    digest: &[u8],
) -> sqlx::Result<Merged> {
    let BundleMonth { month, revision, .. } = month;
    let known =
        sqlx::query!("SELECT revision, digest FROM bundle_month WHERE device = ?1 AND month = ?2", device, month)
            .fetch_optional(&mut *conn)
            .await?;
    let merged = match &known {
        None => Merged::New,
        Some(known) => match (*revision, digest).cmp(&(known.revision, known.digest.as_slice())) {
            std::cmp::Ordering::Less => return Ok(Merged::Older),
            std::cmp::Ordering::Equal => return Ok(Merged::Same),
            std::cmp::Ordering::Greater => Merged::Replaced,
        },
    };
    sqlx::query!("DELETE FROM bundle_month WHERE device = ?1 AND month = ?2", device, month)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "INSERT INTO bundle_month (device, month, revision, digest) VALUES (?1, ?2, ?3, ?4)",
        device,
        month,
        revision,
        digest
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO bundle_row SELECT ?1, ?2, value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]',
             value ->> '$[0][3]', value ->> '$[0][4]', value ->> '$[0][5]', value ->> '$[0][6]', value ->> '$[0][7]',
             value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]', value ->> '$[1][3]', value ->> '$[1][4]',
             value ->> '$[1][5]', value ->> '$[1][6]', value ->> '$[1][7]', value ->> '$[1][8]' FROM json_each(?3)",
        device,
        month,
        json
    )
    .execute(conn)
    .await?;
    Ok(merged)
}

/// Midnight of a day in a calendar.
fn start_of(day: i64, calendar: Calendar) -> Timestamp {
    calendar.start_of(Calendar::UTC.day(Timestamp::from_millis(day.saturating_mul(DAY_MS))))
}

fn natural(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// The sums of a row as SQL has them.
struct Counts {
    calls: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
    unpriced: i64,
}

impl Counts {
    fn totals(&self) -> Totals {
        let tokens = Tokens {
            input: natural(self.input),
            cache_write_5m: natural(self.cache_write_5m),
            cache_write_1h: natural(self.cache_write_1h),
            cache_read: natural(self.cache_read),
            output: natural(self.output),
        };
        let (calls, unpriced_calls) = (natural(self.calls), natural(self.unpriced));
        // What was saved stays with who saved it.
        Totals { calls, tokens, known_cost: Usd::from_nanos(self.cost), unpriced_calls, ..Totals::default() }
    }
}
