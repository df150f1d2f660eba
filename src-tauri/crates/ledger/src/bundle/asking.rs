//! Questions about what was handed over.

use std::collections::BTreeMap;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteExecutor;

use super::{BundleRow, Counts, KnownDevice, KnownMonth, Member, digested, natural, start_of};
use crate::{By, Error, Ledger, Totals};

/// A row as it is kept.
struct KeptRow {
    device: String,
    month: String,
    day: i64,
    client: String,
    person: String,
    project: String,
    tenant: String,
    upstream: String,
    model: String,
    source: String,
    searches: i64,
    calls: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
    unpriced: i64,
}

/// Rows of one key and day.
struct Keyed {
    key: String,
    day: i64,
    calls: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
    unpriced: i64,
}

impl Ledger {
    /// Days stand at their first moment in the asker's calendar: those from `from` on and before `to`, by key.
    /// A day has no hour and its calls no session: their key is ''. Sums are made here, where none overflows.
    pub(crate) async fn bundle_sums(
        &self,
        by: &By,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<Vec<(String, Totals)>, Error> {
        let (first, end, name) = (first_day(from, calendar), first_day(to, calendar), by.name());
        let rows = sqlx::query_as!(
            Keyed,
            r#"SELECT CASE ?3 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
                 WHEN 'project' THEN project WHEN 'tenant' THEN tenant WHEN 'upstream' THEN upstream
                 WHEN 'device' THEN name || ' ' || substr(device, 1, 8) ELSE '' END AS "key!: String", day, calls,
                 input_tokens AS input, cache_write_5m_tokens AS cache_write_5m, cache_write_1h_tokens AS cache_write_1h,
                 cache_read_tokens AS cache_read, output_tokens AS output, cost_nanos AS cost, unpriced_calls AS unpriced
             FROM bundle_row JOIN bundle_device USING (device) WHERE day >= ?1 AND day < ?2"#,
            first,
            end,
            name
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        let key =
            |row: &Keyed| if *by == By::Day { Calendar::day_of_number(row.day).to_string() } else { row.key.clone() };
        Ok(rows.iter().map(|row| (key(row), row.totals())).collect())
    }

    /// Devices that have handed something over, by name.
    pub async fn devices(&self) -> Result<Vec<KnownDevice>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let rows = sqlx::query!("SELECT device, name, public_key, last_seen FROM bundle_device ORDER BY name, device")
            .fetch_all(&self.readers)
            .await
            .map_err(fail)?;
        let mut months = self.months().await?;
        let known = rows.into_iter().map(|row| KnownDevice {
            months: months.remove(&row.device).unwrap_or_default(),
            member: Member { device: row.device, name: row.name, public_key: row.public_key },
            last_seen: Timestamp::from_millis(row.last_seen),
        });
        Ok(known.collect())
    }

    async fn months(&self) -> Result<BTreeMap<String, Vec<KnownMonth>>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let revisions = sqlx::query!("SELECT device, month, revision FROM bundle_month ORDER BY device, month")
            .fetch_all(&self.readers)
            .await
            .map_err(fail)?;
        let rows = kept_rows(&self.readers).await.map_err(fail)?;
        let mut sums: BTreeMap<(String, String), Totals> = BTreeMap::new();
        for row in rows {
            sums.entry((row.device.clone(), row.month.clone())).or_default().add(row.totals());
        }
        let mut months: BTreeMap<String, Vec<KnownMonth>> = BTreeMap::new();
        for row in revisions {
            let totals = sums.get(&(row.device.clone(), row.month.clone())).copied().unwrap_or_default();
            let known = KnownMonth { month: row.month, revision: row.revision, totals };
            months.entry(row.device).or_default().push(known);
        }
        Ok(months)
    }

    /// Months whose rows are not those that were handed over: device and month.
    pub(crate) async fn changed_bundles(&self) -> Result<Vec<(String, String)>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let mut rows: BTreeMap<(String, String), Vec<BundleRow>> = BTreeMap::new();
        // Of one moment: a bundle may come in meanwhile.
        let mut tx = self.readers.begin().await.map_err(fail)?;
        for row in kept_rows(&mut *tx).await.map_err(fail)? {
            rows.entry((row.device.clone(), row.month.clone())).or_default().push(row.row());
        }
        let months = sqlx::query!("SELECT device, month, digest FROM bundle_month ORDER BY device, month")
            .fetch_all(&mut *tx)
            .await
            .map_err(fail)?;
        tx.commit().await.map_err(fail)?;
        let mut changed = vec![];
        for month in months {
            let of = (month.device, month.month);
            let (_, digest) = digested(&rows.remove(&of).unwrap_or_default())?;
            if digest.as_slice() != month.digest {
                changed.push(of);
            }
        }
        changed.extend(rows.into_keys());
        Ok(changed)
    }
}

async fn kept_rows(on: impl SqliteExecutor<'_>) -> sqlx::Result<Vec<KeptRow>> {
    sqlx::query_as!(
        KeptRow,
        "SELECT device, month, day, client, person, project, tenant, upstream, model, source,
                 web_searches AS searches, calls, input_tokens AS input, cache_write_5m_tokens AS cache_write_5m,
                 cache_write_1h_tokens AS cache_write_1h, cache_read_tokens AS cache_read, output_tokens AS output,
                 cost_nanos AS cost, unpriced_calls AS unpriced FROM bundle_row"
    )
    .fetch_all(on)
    .await
}

/// The first day that begins at or after a moment.
pub(super) fn first_day(at: Timestamp, calendar: Calendar) -> i64 {
    let day = calendar.day_number(at);
    if start_of(day, calendar) >= at { day } else { day.saturating_add(1) }
}

macro_rules! counts {
    ($row:expr) => {{
        let row = $row;
        Counts {
            calls: row.calls,
            input: row.input,
            cache_write_5m: row.cache_write_5m,
            cache_write_1h: row.cache_write_1h,
            cache_read: row.cache_read,
            output: row.output,
            cost: row.cost,
            unpriced: row.unpriced,
        }
    }};
}

impl Keyed {
    fn totals(&self) -> Totals {
        counts!(self).totals()
    }
}

impl KeptRow {
    fn totals(&self) -> Totals {
        counts!(self).totals()
    }

    fn row(self) -> BundleRow {
        let (web_searches, totals) = (natural(self.searches), self.totals());
        let KeptRow { day, client, person, project, tenant, upstream, model, source, .. } = self;
        BundleRow { day, client, person, project, tenant, upstream, model, source, web_searches, totals }
    }
}
