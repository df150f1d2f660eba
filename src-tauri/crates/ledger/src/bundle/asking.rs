//! Questions about what was handed over.

use std::collections::BTreeMap;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteConnection;

use super::{BundleRow, Counts, KnownDevice, KnownMonth, Member, digested, natural, start_of};
use crate::{By, Error, Ledger, Totals};

/// A row as it is kept.
struct KeptRow {
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

    /// One month of one device is held at once.
    async fn months(&self) -> Result<BTreeMap<String, Vec<KnownMonth>>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let mut months: BTreeMap<String, Vec<KnownMonth>> = BTreeMap::new();
        // Of one moment: a bundle may come in meanwhile.
        let mut tx = self.readers.begin().await.map_err(fail)?;
        for kept in kept_months(&mut tx).await.map_err(fail)? {
            let mut totals = Totals::default();
            let rows = kept_rows(&mut tx, &kept.device, &kept.month).await.map_err(fail)?;
            rows.iter().for_each(|row| totals.add(row.totals()));
            let known = KnownMonth { month: kept.month, revision: kept.revision, totals };
            months.entry(kept.device).or_default().push(known);
        }
        Ok(months)
    }

    /// Months whose rows are not those that were handed over: device and month.
    pub(crate) async fn changed_bundles(&self) -> Result<Vec<(String, String)>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let mut tx = self.readers.begin().await.map_err(fail)?;
        let mut changed = vec![];
        for kept in kept_months(&mut tx).await.map_err(fail)? {
            let rows = kept_rows(&mut tx, &kept.device, &kept.month).await.map_err(fail)?;
            let (_, digest) = digested(&rows.into_iter().map(KeptRow::row).collect::<Vec<_>>())?;
            if digest.as_slice() != kept.digest {
                changed.push((kept.device, kept.month));
            }
        }
        let strange = sqlx::query!(
            "SELECT device, month FROM bundle_row EXCEPT SELECT device, month FROM bundle_month ORDER BY 1, 2"
        );
        let strange = strange.fetch_all(&mut *tx).await.map_err(fail)?;
        changed.extend(strange.into_iter().map(|row| (row.device, row.month)));
        Ok(changed)
    }
}

/// A month that was handed over, without its rows.
struct KeptMonth {
    device: String,
    month: String,
    revision: i64,
    digest: Vec<u8>,
}

async fn kept_months(conn: &mut SqliteConnection) -> sqlx::Result<Vec<KeptMonth>> {
    sqlx::query_as!(KeptMonth, "SELECT device, month, revision, digest FROM bundle_month ORDER BY device, month")
        .fetch_all(conn)
        .await
}

async fn kept_rows(conn: &mut SqliteConnection, device: &str, month: &str) -> sqlx::Result<Vec<KeptRow>> {
    sqlx::query_as!(
        KeptRow,
        "SELECT day, client, person, project, tenant, upstream, model, source,
                 web_searches AS searches, calls, input_tokens AS input, cache_write_5m_tokens AS cache_write_5m,
                 cache_write_1h_tokens AS cache_write_1h, cache_read_tokens AS cache_read, output_tokens AS output,
                 cost_nanos AS cost, unpriced_calls AS unpriced FROM bundle_row WHERE device = ?1 AND month = ?2",
        device,
        month
    )
    .fetch_all(conn)
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
