//! Sums of what counts, changed in the transaction that changes what counts: by quarter of an hour, and by day of one zone.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use domain::call::CacheUse;
use domain::time::{Calendar, Timestamp, Tz};
use serde::Serialize;
use sqlx::{Connection, SqliteConnection};

use crate::call::EntryRow;

/// Milliseconds of a quarter: every zone's days and hours are whole quarters.
pub(crate) const QUARTER_MS: i64 = 900_000;

/// In a day of 25 hours, and some more.
const QUARTERS_OF_A_DAY_MAX: i64 = 120;

/// What the sums want to know of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) started_at: i64,
    pub(crate) client: Cow<'a, str>,
    pub(crate) person: Cow<'a, str>,
    pub(crate) project: Cow<'a, str>,
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) account: Cow<'a, str>,
    pub(crate) upstream: Cow<'a, str>,
    pub(crate) model: Cow<'a, str>,
    pub(crate) source: Cow<'a, str>,
    pub(crate) outcome: Cow<'a, str>,
    pub(crate) input_tokens: i64,
    pub(crate) cache_write_5m_tokens: i64,
    pub(crate) cache_write_1h_tokens: i64,
    pub(crate) cache_read_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) web_searches: i64,
    pub(crate) cost_nanos: Option<i64>,
    pub(crate) cache: Cow<'a, str>,
    pub(crate) saved_nanos: Option<i64>,
}

/// Calls of the same names are summed together.
#[derive(PartialEq, Eq, Hash, Serialize)]
struct Names<'a> {
    client: Cow<'a, str>,
    person: Cow<'a, str>,
    project: Cow<'a, str>,
    tenant: Cow<'a, str>,
    account: Cow<'a, str>,
    upstream: Cow<'a, str>,
    model: Cow<'a, str>,
    source: Cow<'a, str>,
    priced: u8,
}

/// Calls, the five classes of tokens, web searches, nano-dollars, then hits, misses and nano-dollars saved: as the columns are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sum([i64; 11]);

/// Entries that begin to count and entries that count no longer, summed before the tables are touched.
#[derive(Default)]
pub(crate) struct Change<'a> {
    sums: HashMap<Names<'a>, BTreeMap<i64, Sum>>,
}

impl<'a> Change<'a> {
    pub(crate) fn enter(&mut self, entry: Counted<'a>) {
        let sum = Sum::of(&entry);
        self.add(entry, sum);
    }

    pub(crate) fn take_out(&mut self, entry: Counted<'a>) {
        let sum = Sum(Sum::of(&entry).0.map(i64::wrapping_neg));
        self.add(entry, sum);
    }

    fn add(&mut self, entry: Counted<'a>, sum: Sum) {
        if entry.outcome == "refused" {
            return;
        }
        let quarter = entry.started_at.div_euclid(QUARTER_MS);
        *self.sums.entry(Names::of(entry)).or_default().entry(quarter).or_default() += sum;
    }

    pub(crate) async fn apply(self, conn: &mut SqliteConnection) -> sqlx::Result<()> {
        if self.sums.is_empty() {
            return Ok(());
        }
        let calendar = calendar(conn).await?;
        let (names, sums): (Vec<_>, Vec<_>) = self.sums.into_iter().unzip();
        let ids = ids(conn, &names).await?;
        let mut quarters: BTreeMap<[i64; 3], Sum> = BTreeMap::new();
        let mut days: BTreeMap<[i64; 2], Sum> = BTreeMap::new();
        let mut tenant_days: BTreeMap<[i64; 2], Sum> = BTreeMap::new();
        for ((series, tenant_series), sums) in ids.into_iter().zip(sums) {
            for (quarter, sum) in sums {
                let day = day_of(quarter, calendar);
                *quarters.entry([quarter, series, tenant_series]).or_default() += sum;
                *days.entry([day, series]).or_default() += sum;
                *tenant_days.entry([day, tenant_series]).or_default() += sum;
            }
        }
        add_quarters(conn, &rows(&quarters)?).await?;
        add_days(conn, &rows(&days)?).await?;
        add_tenant_days(conn, &rows(&tenant_days)?).await?;
        if quarters.values().any(|Sum([calls, ..])| *calls < 0) {
            forget_empty(conn, &rows(&quarters)?, &rows(&days)?).await?;
        }
        Ok(())
    }
}

impl<'a> Counted<'a> {
    pub(crate) fn of(entry: &'a EntryRow) -> Counted<'a> {
        Counted {
            started_at: entry.started_at,
            client: Cow::Borrowed(&entry.client),
            person: Cow::Borrowed(&entry.person),
            project: Cow::Borrowed(&entry.project),
            tenant: Cow::Borrowed(&entry.tenant),
            account: Cow::Borrowed(&entry.account),
            upstream: Cow::Borrowed(&entry.upstream),
            model: Cow::Borrowed(&entry.model),
            source: Cow::Borrowed(&entry.source),
            outcome: Cow::Borrowed(&entry.outcome),
            input_tokens: entry.input_tokens,
            cache_write_5m_tokens: entry.cache_write_5m_tokens,
            cache_write_1h_tokens: entry.cache_write_1h_tokens,
            cache_read_tokens: entry.cache_read_tokens,
            output_tokens: entry.output_tokens,
            web_searches: entry.web_searches,
            cost_nanos: entry.cost_nanos,
            cache: Cow::Borrowed(&entry.cache),
            saved_nanos: entry.saved_nanos,
        }
    }
}

impl<'a> Names<'a> {
    fn of(entry: Counted<'a>) -> Names<'a> {
        let Counted { client, person, project, tenant, account, upstream, model, source, cost_nanos, .. } = entry;
        let priced = cost_nanos.is_some().into();
        Names { client, person, project, tenant, account, upstream, model, source, priced }
    }
}

impl Sum {
    fn of(entry: &Counted<'_>) -> Sum {
        Sum([
            1,
            entry.input_tokens,
            entry.cache_write_5m_tokens,
            entry.cache_write_1h_tokens,
            entry.cache_read_tokens,
            entry.output_tokens,
            entry.web_searches,
            entry.cost_nanos.unwrap_or(0),
            (entry.cache == CacheUse::Hit.name()).into(),
            (entry.cache == CacheUse::Miss.name()).into(),
            entry.saved_nanos.unwrap_or(0),
        ])
    }
}

/// Sums stop at the largest integer rather than fail.
impl AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.0 = std::array::from_fn(|i| self.0[i].saturating_add(other.0[i]));
    }
}

/// What counts of these calls, by their ids in JSON.
pub(crate) async fn counted(conn: &mut SqliteConnection, calls: &str) -> sqlx::Result<Vec<Counted<'static>>> {
    let rows = sqlx::query!(
        "SELECT started_at, client, person, project, tenant, account, upstream, model, source, outcome, input_tokens,
             cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
             cache, saved_nanos
         FROM counted WHERE call_id IN (SELECT value FROM json_each(?1))",
        calls
    )
    .fetch_all(conn)
    .await?;
    let counted = rows.into_iter().map(|row| Counted {
        started_at: row.started_at,
        client: row.client.into(),
        person: row.person.into(),
        project: row.project.into(),
        tenant: row.tenant.into(),
        account: row.account.into(),
        upstream: row.upstream.into(),
        model: row.model.into(),
        source: row.source.into(),
        outcome: row.outcome.into(),
        input_tokens: row.input_tokens,
        cache_write_5m_tokens: row.cache_write_5m_tokens,
        cache_write_1h_tokens: row.cache_write_1h_tokens,
        cache_read_tokens: row.cache_read_tokens,
        output_tokens: row.output_tokens,
        web_searches: row.web_searches,
        cost_nanos: row.cost_nanos,
        cache: row.cache.into(),
        saved_nanos: row.saved_nanos,
    });
    Ok(counted.collect())
}

/// The sums by day are of the days of this calendar when this returns.
pub(crate) async fn keep_days_of(conn: &mut SqliteConnection, wanted: Calendar) -> sqlx::Result<()> {
    let zone = wanted.zone_name();
    if sqlx::query_scalar!("SELECT zone FROM meta").fetch_one(&mut *conn).await? == zone {
        return Ok(());
    }
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query!("DELETE FROM day_sum").execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM tenant_day_sum").execute(&mut *tx).await?;
    let mut next = i64::MIN;
    while let Some(quarter) = first_quarter(&mut tx, next).await? {
        next = end_of_day(quarter, wanted);
        sum_day(&mut tx, day_of(quarter, wanted), quarter, next).await?;
    }
    sqlx::query!("UPDATE meta SET zone = ?1", zone).execute(&mut *tx).await?;
    tx.commit().await
}

/// Days since 1970-01-01 of the day in which a quarter begins.
pub(crate) fn day_of(quarter: i64, calendar: Calendar) -> i64 {
    calendar.day_number(Timestamp::from_millis(quarter.saturating_mul(QUARTER_MS)))
}

/// The first quarter that begins in a quarter's day.
pub(crate) fn start_of_day(quarter: i64, calendar: Calendar) -> i64 {
    let day = day_of(quarter, calendar);
    let first = quarter.saturating_sub(QUARTERS_OF_A_DAY_MAX);
    (first..quarter).rev().find(|before| day_of(*before, calendar) != day).map_or(first, |before| before + 1)
}

/// The first quarter that begins in a later day.
pub(crate) fn end_of_day(quarter: i64, calendar: Calendar) -> i64 {
    let day = day_of(quarter, calendar);
    let last = quarter.saturating_add(QUARTERS_OF_A_DAY_MAX);
    (quarter.saturating_add(1)..last).find(|next| day_of(*next, calendar) != day).unwrap_or(last)
}

/// Whose days the sums are of.
pub(crate) async fn calendar(conn: &mut SqliteConnection) -> sqlx::Result<Calendar> {
    let zone = sqlx::query_scalar!("SELECT zone FROM meta").fetch_one(conn).await?;
    Ok(zone.parse::<Tz>().map_or(Calendar::UTC, Calendar::in_zone))
}

/// Those of the series and of the tenant's series, in the order of the names.
async fn ids(conn: &mut SqliteConnection, names: &[Names<'_>]) -> sqlx::Result<Vec<(i64, i64)>> {
    let json = serde_json::to_string(names).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let known = known_ids(conn, &json).await?;
    if known.len() == names.len() {
        return Ok(known);
    }
    insert_series(conn, &json).await?;
    let known = known_ids(conn, &json).await?;
    if known.len() == names.len() { Ok(known) } else { Err(sqlx::Error::Decode("a series without a name".into())) }
}

async fn known_ids(conn: &mut SqliteConnection, names: &str) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT series.id AS "series!: i64", tenant_series.id AS "tenant_series!: i64"
         FROM jsonb_each(?1) AS named
         CROSS JOIN series ON series.client = named.value ->> '$.client' AND series.model = named.value ->> '$.model'
             AND series.project = named.value ->> '$.project' AND series.person = named.value ->> '$.person'
             AND series.upstream = named.value ->> '$.upstream' AND series.account = named.value ->> '$.account'
             AND series.source = named.value ->> '$.source' AND series.priced = named.value ->> '$.priced'
         CROSS JOIN tenant_series ON tenant_series.client = named.value ->> '$.client'
             AND tenant_series.tenant = named.value ->> '$.tenant' AND tenant_series.source = named.value ->> '$.source'
             AND tenant_series.priced = named.value ->> '$.priced'
         ORDER BY named.key"#,
        names
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.series, row.tenant_series)).collect())
}

async fn insert_series(conn: &mut SqliteConnection, names: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO series (client, person, project, account, upstream, model, source, priced)
         SELECT value ->> '$.client', value ->> '$.person', value ->> '$.project', value ->> '$.account',
             value ->> '$.upstream', value ->> '$.model', value ->> '$.source', value ->> '$.priced'
         FROM jsonb_each(?1) WHERE true ON CONFLICT DO NOTHING",
        names
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO tenant_series (client, tenant, source, priced)
         SELECT value ->> '$.client', value ->> '$.tenant', value ->> '$.source', value ->> '$.priced'
         FROM jsonb_each(?1) WHERE true ON CONFLICT DO NOTHING",
        names
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keys and sums, one after the other.
fn rows<const N: usize>(sums: &BTreeMap<[i64; N], Sum>) -> sqlx::Result<String> {
    let rows: Vec<Vec<i64>> = sums.iter().map(|(key, Sum(sums))| [&key[..], &sums[..]].concat()).collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

async fn add_quarters(conn: &mut SqliteConnection, rows: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO quarter_sum
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
             value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
         FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             input_tokens = min(9223372036854775807, input_tokens + excluded.input_tokens),
             cache_write_5m_tokens = min(9223372036854775807, cache_write_5m_tokens + excluded.cache_write_5m_tokens),
             cache_write_1h_tokens = min(9223372036854775807, cache_write_1h_tokens + excluded.cache_write_1h_tokens),
             cache_read_tokens = min(9223372036854775807, cache_read_tokens + excluded.cache_read_tokens),
             output_tokens = min(9223372036854775807, output_tokens + excluded.output_tokens),
             web_searches = min(9223372036854775807, web_searches + excluded.web_searches),
             cost_nanos = min(9223372036854775807, cost_nanos + excluded.cost_nanos),
             cache_hits = cache_hits + excluded.cache_hits, cache_misses = cache_misses + excluded.cache_misses,
             saved_nanos = min(9223372036854775807, saved_nanos + excluded.saved_nanos)",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_days(conn: &mut SqliteConnection, rows: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO day_sum
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
             value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
         FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             input_tokens = min(9223372036854775807, input_tokens + excluded.input_tokens),
             cache_write_5m_tokens = min(9223372036854775807, cache_write_5m_tokens + excluded.cache_write_5m_tokens),
             cache_write_1h_tokens = min(9223372036854775807, cache_write_1h_tokens + excluded.cache_write_1h_tokens),
             cache_read_tokens = min(9223372036854775807, cache_read_tokens + excluded.cache_read_tokens),
             output_tokens = min(9223372036854775807, output_tokens + excluded.output_tokens),
             web_searches = min(9223372036854775807, web_searches + excluded.web_searches),
             cost_nanos = min(9223372036854775807, cost_nanos + excluded.cost_nanos),
             cache_hits = cache_hits + excluded.cache_hits, cache_misses = cache_misses + excluded.cache_misses,
             saved_nanos = min(9223372036854775807, saved_nanos + excluded.saved_nanos)",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_tenant_days(conn: &mut SqliteConnection, rows: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO tenant_day_sum
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
             value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
         FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             input_tokens = min(9223372036854775807, input_tokens + excluded.input_tokens),
             cache_write_5m_tokens = min(9223372036854775807, cache_write_5m_tokens + excluded.cache_write_5m_tokens),
             cache_write_1h_tokens = min(9223372036854775807, cache_write_1h_tokens + excluded.cache_write_1h_tokens),
             cache_read_tokens = min(9223372036854775807, cache_read_tokens + excluded.cache_read_tokens),
             output_tokens = min(9223372036854775807, output_tokens + excluded.output_tokens),
             web_searches = min(9223372036854775807, web_searches + excluded.web_searches),
             cost_nanos = min(9223372036854775807, cost_nanos + excluded.cost_nanos),
             cache_hits = cache_hits + excluded.cache_hits, cache_misses = cache_misses + excluded.cache_misses,
             saved_nanos = min(9223372036854775807, saved_nanos + excluded.saved_nanos)",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Where all calls were taken out again.
async fn forget_empty(conn: &mut SqliteConnection, quarters: &str, days: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM quarter_sum WHERE calls = 0 AND quarter IN (SELECT value ->> 0 FROM json_each(?1))",
        quarters
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("DELETE FROM day_sum WHERE calls = 0 AND day IN (SELECT value ->> 0 FROM json_each(?1))", days)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM tenant_day_sum WHERE calls = 0 AND day IN (SELECT value ->> 0 FROM json_each(?1))", days)
        .execute(conn)
        .await?;
    Ok(())
}

async fn first_quarter(conn: &mut SqliteConnection, from: i64) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(r#"SELECT min(quarter) AS "first: i64" FROM quarter_sum WHERE quarter >= ?1"#, from)
        .fetch_one(conn)
        .await
}

async fn sum_day(conn: &mut SqliteConnection, day: i64, from: i64, to: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO day_sum
         SELECT ?1, series, sum(calls), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
             sum(cache_read_tokens), sum(output_tokens), sum(web_searches), sum(cost_nanos),
             sum(cache_hits), sum(cache_misses), sum(saved_nanos)
         FROM quarter_sum WHERE quarter >= ?2 AND quarter < ?3 GROUP BY series",
        day,
        from,
        to
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO tenant_day_sum
         SELECT ?1, tenant_series, sum(calls), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
             sum(cache_read_tokens), sum(output_tokens), sum(web_searches), sum(cost_nanos),
             sum(cache_hits), sum(cache_misses), sum(saved_nanos)
         FROM quarter_sum WHERE quarter >= ?2 AND quarter < ?3 GROUP BY tenant_series",
        day,
        from,
        to
    )
    .execute(conn)
    .await?;
    Ok(())
}
