//! Sums for the questions: of whole days where there are some, of quarters, and of entries at the edges. All of one moment.

use std::ops::Range;
use std::time::Duration;

use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::Tokens;
use sqlx::SqliteConnection;

use crate::retention::kept_from;
use crate::span::Span;
use crate::{Error, Ledger, Totals};

/// One row as SQL sums it.
pub(crate) struct Sums {
    pub(crate) key: String,
    pub(crate) priced: i64,
    pub(crate) calls: i64,
    pub(crate) input: i64,
    pub(crate) cache_write_5m: i64,
    pub(crate) cache_write_1h: i64,
    pub(crate) cache_read: i64,
    pub(crate) output: i64,
    pub(crate) cost: i64,
    pub(crate) hits: i64,
    pub(crate) misses: i64,
    pub(crate) saved: i64,
}

/// Which calls are summed, and by what: a column, or else the time.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) by: &'a str,
    /// '' for all sources.
    pub(crate) source: &'a str,
    /// Calls at the edges that ended before are left out.
    pub(crate) ended_from: i64,
    /// By so much earlier calls may have begun that belong to the first edge.
    pub(crate) takes: Duration,
}

/// By what their times are, where they are told apart by time.
pub(crate) struct Parts {
    /// Days since 1970-01-01.
    pub(crate) by_day: Vec<Sums>,
    /// Quarters of an hour since 1970.
    pub(crate) by_quarter: Vec<Sums>,
}

impl Ledger {
    /// Without days where they are of another calendar than the one asked for.
    pub(crate) async fn sums(
        &self,
        moments: Range<Timestamp>,
        days_of: Option<Calendar>,
        wanted: Wanted<'_>,
    ) -> Result<Parts, Error> {
        let sums = async {
            let mut tx = self.readers.begin().await?;
            let mut span = span(&mut tx, moments, days_of).await?;
            let takes = i64::try_from(wanted.takes.as_millis()).unwrap_or(i64::MAX);
            span.edges[0].start = span.edges[0].start.saturating_sub(takes);
            let by_day = match wanted.by {
                _ if span.days.is_empty() => vec![],
                "tenant" => sums_of_tenant_days(&mut tx, wanted, &span.days).await?,
                _ => sums_of_days(&mut tx, wanted, &span.days).await?,
            };
            let mut by_quarter = vec![];
            for quarters in span.quarters.iter().filter(|quarters| !quarters.is_empty()) {
                by_quarter.extend(sums_of_quarters(&mut tx, wanted, quarters).await?);
            }
            for moments in span.edges.iter().filter(|moments| !moments.is_empty()) {
                by_quarter.extend(sums_of_entries(&mut tx, wanted, moments).await?);
            }
            tx.commit().await?;
            Ok(Parts { by_day, by_quarter })
        };
        sums.await.map_err(|error| self.db.error(&error))
    }

    /// What rollups don't know is summed from entries: sessions.
    pub(crate) async fn sums_of_all_entries(
        &self,
        moments: Range<Timestamp>,
        wanted: Wanted<'_>,
    ) -> Result<Parts, Error> {
        let moments = moments.start.as_millis()..moments.end.as_millis();
        let sums = async { sums_of_entries(&mut *self.readers.acquire().await?, wanted, &moments).await };
        let by_quarter = sums.await.map_err(|error| self.db.error(&error))?;
        Ok(Parts { by_day: vec![], by_quarter })
    }

    pub(crate) async fn sums_by_tag(&self, moments: Range<Timestamp>, key: &str) -> Result<Parts, Error> {
        let (from, to) = (moments.start.as_millis(), moments.end.as_millis());
        let sums = sqlx::query_as!(
            Sums,
            r#"SELECT coalesce((SELECT value FROM json_each(tags) AS tag WHERE tag.key = ?1), '') AS "key!: String",
                 cost_nanos IS NOT NULL AS "priced!: i64", count(*) AS "calls!: i64",
                 sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
                 sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
                 sum(output_tokens) AS "output!: i64", coalesce(sum(cost_nanos), 0) AS "cost!: i64",
             sum(cache = 'hit') AS "hits!: i64", sum(cache = 'miss') AS "misses!: i64",
             coalesce(sum(saved_nanos), 0) AS "saved!: i64"
             FROM counted WHERE started_at >= ?2 AND started_at < ?3 AND outcome <> 'refused' GROUP BY 1, 2"#,
            key,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await;
        Ok(Parts { by_day: vec![], by_quarter: sums.map_err(|error| self.db.error(&error))? })
    }
}

/// What a span of time is summed from, in the transaction that sums: entries may be deleted at any moment.
pub(crate) async fn span(
    conn: &mut SqliteConnection,
    moments: Range<Timestamp>,
    days_of: Option<Calendar>,
) -> sqlx::Result<Span> {
    let kept_from = kept_from(conn).await?;
    Ok(Span::cut(moments.start.as_millis()..moments.end.as_millis(), days_of, kept_from))
}

async fn sums_of_days(conn: &mut SqliteConnection, wanted: Wanted<'_>, days: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT CASE ?1 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
             WHEN 'project' THEN project WHEN 'account' THEN account WHEN 'upstream' THEN upstream
             ELSE CAST(day AS TEXT) END AS "key!: String", priced AS "priced!: i64",
             sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             sum(cost_nanos) AS "cost!: i64",
             sum(cache_hits) AS "hits!: i64", sum(cache_misses) AS "misses!: i64", sum(saved_nanos) AS "saved!: i64"
         FROM day_rollup WHERE day >= ?2 AND day < ?3 AND (?4 = '' OR source = ?4) GROUP BY 1, 2"#,
        wanted.by,
        days.start,
        days.end,
        wanted.source
    )
    .fetch_all(conn)
    .await
}

async fn sums_of_tenant_days(
    conn: &mut SqliteConnection,
    wanted: Wanted<'_>,
    days: &Range<i64>,
) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT tenant AS "key!: String", priced AS "priced!: i64",
             sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             sum(cost_nanos) AS "cost!: i64",
             sum(cache_hits) AS "hits!: i64", sum(cache_misses) AS "misses!: i64", sum(saved_nanos) AS "saved!: i64"
         FROM tenant_day_rollup WHERE day >= ?1 AND day < ?2 AND (?3 = '' OR source = ?3) GROUP BY 1, 2"#,
        days.start,
        days.end,
        wanted.source
    )
    .fetch_all(conn)
    .await
}

async fn sums_of_quarters(
    conn: &mut SqliteConnection,
    wanted: Wanted<'_>,
    quarters: &Range<i64>,
) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT CASE ?1 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
             WHEN 'project' THEN project WHEN 'tenant' THEN tenant WHEN 'account' THEN account
             WHEN 'upstream' THEN upstream ELSE CAST(quarter AS TEXT) END AS "key!: String", priced AS "priced!: i64",
             sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             sum(cost_nanos) AS "cost!: i64",
             sum(cache_hits) AS "hits!: i64", sum(cache_misses) AS "misses!: i64", sum(saved_nanos) AS "saved!: i64"
         FROM rollup WHERE quarter >= ?2 AND quarter < ?3 AND (?4 = '' OR source = ?4) GROUP BY 1, 2"#,
        wanted.by,
        quarters.start,
        quarters.end,
        wanted.source
    )
    .fetch_all(conn)
    .await
}

async fn sums_of_entries(
    conn: &mut SqliteConnection,
    wanted: Wanted<'_>,
    moments: &Range<i64>,
) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT CASE ?1 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
             WHEN 'project' THEN project WHEN 'tenant' THEN tenant WHEN 'account' THEN account
             WHEN 'upstream' THEN upstream WHEN 'session' THEN session
             ELSE CAST(started_at / 900000 AS TEXT) END AS "key!: String", cost_nanos IS NOT NULL AS "priced!: i64",
             count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             coalesce(sum(cost_nanos), 0) AS "cost!: i64",
             sum(cache = 'hit') AS "hits!: i64", sum(cache = 'miss') AS "misses!: i64",
             coalesce(sum(saved_nanos), 0) AS "saved!: i64"
         FROM counted WHERE started_at >= ?2 AND started_at < ?3 AND ended_at >= ?4 AND outcome <> 'refused'
             AND (?5 = '' OR source = ?5) GROUP BY 1, 2"#,
        wanted.by,
        moments.start,
        moments.end,
        wanted.ended_from,
        wanted.source
    )
    .fetch_all(conn)
    .await
}

impl Sums {
    pub(crate) fn totals(&self) -> Totals {
        let calls = natural(self.calls);
        Totals {
            calls,
            tokens: self.tokens(),
            known_cost: Usd::from_nanos(self.cost),
            unpriced_calls: if self.is_priced() { 0 } else { calls },
            cache_hits: natural(self.hits),
            cache_misses: natural(self.misses),
            saved: Usd::from_nanos(self.saved),
        }
    }

    pub(crate) fn tokens(&self) -> Tokens {
        Tokens {
            input: natural(self.input),
            cache_write_5m: natural(self.cache_write_5m),
            cache_write_1h: natural(self.cache_write_1h),
            cache_read: natural(self.cache_read),
            output: natural(self.output),
        }
    }

    pub(crate) fn is_priced(&self) -> bool {
        self.priced != 0
    }
}

fn natural(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}
