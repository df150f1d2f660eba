//! Do the sums agree? Entries with quarters, and quarters with days: a day at a time, so that ten million calls need no memory.

use std::collections::BTreeSet;
use std::ops::Range;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteConnection;

use super::{FINDINGS_MAX, Finding};
use crate::rollup::{self, QUARTER_MS, day_of, end_of_day, start_of_day};
use crate::{Error, Ledger};

impl Ledger {
    pub(super) async fn sums_that_differ(&self) -> Result<Vec<Finding>, Error> {
        let found = async {
            let (mut findings, mut next, mut days) = (vec![], i64::MIN, BTreeSet::new());
            while findings.len() < FINDINGS_MAX {
                let mut tx = self.readers.begin().await?;
                let calendar = rollup::calendar(&mut tx).await?;
                // Beyond the end of time there are no more.
                let Some(quarter) = first_quarter(&mut tx, next).await?.filter(|quarter| *quarter >= next) else {
                    findings.extend(days_without_quarters(&mut tx, &days).await?);
                    break;
                };
                days.insert(day_of(quarter, calendar));
                next = end_of_day(quarter, calendar);
                findings.extend(of_day(&mut tx, start_of_day(quarter, calendar)..next, calendar).await?);
                if next <= quarter {
                    break;
                }
            }
            findings.truncate(FINDINGS_MAX);
            Ok(findings)
        };
        found.await.map_err(|error| self.db.error(&error))
    }
}

/// Of which there is a sum or an entry.
async fn first_quarter(conn: &mut SqliteConnection, from: i64) -> sqlx::Result<Option<i64>> {
    let moment = from.saturating_mul(QUARTER_MS);
    sqlx::query_scalar!(
        r#"SELECT min(first) AS "first: i64" FROM (
             SELECT min(quarter) AS first FROM quarter_sum WHERE quarter >= ?1
             UNION ALL SELECT min(started_at) / 900000 FROM entry WHERE started_at >= ?2
                 AND outcome <> 'refused' AND seq NOT IN (SELECT seq FROM superseded))"#,
        from,
        moment
    )
    .fetch_one(conn)
    .await
}

async fn of_day(conn: &mut SqliteConnection, quarters: Range<i64>, calendar: Calendar) -> sqlx::Result<Vec<Finding>> {
    let kept_from = sqlx::query_scalar!("SELECT kept_from FROM meta").fetch_one(&mut *conn).await?;
    let kept = kept_from.div_euclid(QUARTER_MS).clamp(quarters.start, quarters.end);
    let mut findings = more_in_entries(conn, quarters.start..kept).await?;
    findings.extend(other_in_entries(conn, kept..quarters.end).await?);
    findings.extend(other_in_days(conn, day_of(quarters.start, calendar), quarters).await?);
    Ok(findings)
}

fn quarter(quarter: i64, client: String, model: String) -> Finding {
    Finding::SumsDiffer { from: Timestamp::from_millis(quarter.saturating_mul(QUARTER_MS)), client, model }
}

fn day(day: i64, client: String) -> Finding {
    Finding::DaySumsDiffer { day: Calendar::day_of_number(day).to_string(), client }
}

/// Where entries may have been deleted, no sum is less than what is left of them.
async fn more_in_entries(conn: &mut SqliteConnection, quarters: Range<i64>) -> sqlx::Result<Vec<Finding>> {
    if quarters.is_empty() {
        return Ok(vec![]);
    }
    let (from, to) = (quarters.start.saturating_mul(QUARTER_MS), quarters.end.saturating_mul(QUARTER_MS));
    let rows = sqlx::query!(
        r#"SELECT quarter AS "quarter!: i64", entries.client AS "client!: String", entries.model AS "model!: String"
         FROM (SELECT started_at / 900000 AS quarter, client, person, project, tenant, account, upstream, model, source,
                 cost_nanos IS NOT NULL AS priced, count(*) AS calls, sum(input_tokens) AS input_tokens,
                 sum(output_tokens) AS output_tokens, coalesce(sum(cost_nanos), 0) AS cost_nanos,
                 coalesce(sum(saved_nanos), 0) AS saved_nanos
             FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) AS entries
         LEFT JOIN rollup USING (quarter, client, person, project, tenant, account, upstream, model, source, priced)
         WHERE rollup.calls IS NULL OR rollup.calls < entries.calls OR rollup.input_tokens < entries.input_tokens
             OR rollup.output_tokens < entries.output_tokens OR rollup.cost_nanos < entries.cost_nanos
             OR rollup.saved_nanos < entries.saved_nanos
         ORDER BY 1, 2, 3 LIMIT 20"#,
        from,
        to
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| quarter(row.quarter, row.client, row.model)).collect())
}

async fn other_in_entries(conn: &mut SqliteConnection, quarters: Range<i64>) -> sqlx::Result<Vec<Finding>> {
    if quarters.is_empty() {
        return Ok(vec![]);
    }
    let (from, to) = (quarters.start.saturating_mul(QUARTER_MS), quarters.end.saturating_mul(QUARTER_MS));
    let rows = sqlx::query!(
        r#"WITH entries AS (
             SELECT started_at / 900000 AS quarter, client, person, project, tenant, account, upstream, model, source,
                 cost_nanos IS NOT NULL AS priced, count(*), sum(input_tokens), sum(cache_write_5m_tokens),
                 sum(cache_write_1h_tokens), sum(cache_read_tokens), sum(output_tokens), sum(web_searches),
                 coalesce(sum(cost_nanos), 0), sum(cache = 'hit'), sum(cache = 'miss'), coalesce(sum(saved_nanos), 0)
             FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
         sums AS (
             SELECT quarter, client, person, project, tenant, account, upstream, model, source, priced, calls, input_tokens,
                 cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
                 cache_hits, cache_misses, saved_nanos
             FROM rollup WHERE quarter >= ?3 AND quarter < ?4),
         missing AS (SELECT * FROM entries EXCEPT SELECT * FROM sums),
         surplus AS (SELECT * FROM sums EXCEPT SELECT * FROM entries)
         SELECT DISTINCT quarter AS "quarter!: i64", client AS "client!: String", model AS "model!: String"
         FROM (SELECT quarter, client, model FROM missing UNION ALL SELECT quarter, client, model FROM surplus)
         ORDER BY 1, 2, 3 LIMIT 20"#,
        from,
        to,
        quarters.start,
        quarters.end
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| quarter(row.quarter, row.client, row.model)).collect())
}

async fn other_in_days(conn: &mut SqliteConnection, number: i64, quarters: Range<i64>) -> sqlx::Result<Vec<Finding>> {
    let of_series = sqlx::query_scalar!(
        r#"WITH quarters AS (
             SELECT series, sum(calls), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
                 sum(cache_read_tokens), sum(output_tokens), sum(web_searches), sum(cost_nanos),
                 sum(cache_hits), sum(cache_misses), sum(saved_nanos)
             FROM quarter_sum WHERE quarter >= ?1 AND quarter < ?2 GROUP BY series),
         days AS (
             SELECT series, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
                 output_tokens, web_searches, cost_nanos, cache_hits, cache_misses, saved_nanos FROM day_sum WHERE day = ?3),
         missing AS (SELECT * FROM quarters EXCEPT SELECT * FROM days),
         surplus AS (SELECT * FROM days EXCEPT SELECT * FROM quarters)
         SELECT DISTINCT client AS "client!: String"
         FROM (SELECT series FROM missing UNION SELECT series FROM surplus) JOIN series ON series.id = series
         ORDER BY 1 LIMIT 20"#,
        quarters.start,
        quarters.end,
        number
    )
    .fetch_all(&mut *conn)
    .await?;
    let of_tenants = sqlx::query_scalar!(
        r#"WITH quarters AS (
             SELECT tenant_series, sum(calls), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
                 sum(cache_read_tokens), sum(output_tokens), sum(web_searches), sum(cost_nanos),
                 sum(cache_hits), sum(cache_misses), sum(saved_nanos)
             FROM quarter_sum WHERE quarter >= ?1 AND quarter < ?2 GROUP BY tenant_series),
         days AS (
             SELECT tenant_series, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
                 output_tokens, web_searches, cost_nanos, cache_hits, cache_misses, saved_nanos FROM tenant_day_sum WHERE day = ?3),
         missing AS (SELECT * FROM quarters EXCEPT SELECT * FROM days),
         surplus AS (SELECT * FROM days EXCEPT SELECT * FROM quarters)
         SELECT DISTINCT client AS "client!: String"
         FROM (SELECT tenant_series FROM missing UNION SELECT tenant_series FROM surplus)
         JOIN tenant_series ON tenant_series.id = tenant_series ORDER BY 1 LIMIT 20"#,
        quarters.start,
        quarters.end,
        number
    )
    .fetch_all(conn)
    .await?;
    let clients: BTreeSet<String> = of_series.into_iter().chain(of_tenants).collect();
    Ok(clients.into_iter().map(|client| day(number, client)).collect())
}

async fn days_without_quarters(conn: &mut SqliteConnection, known: &BTreeSet<i64>) -> sqlx::Result<Vec<Finding>> {
    let days = sqlx::query_scalar!(
        r#"SELECT day AS "day!: i64" FROM (SELECT day FROM day_sum UNION SELECT day FROM tenant_day_sum)"#
    )
    .fetch_all(conn)
    .await?;
    Ok(days.into_iter().filter(|number| !known.contains(number)).map(|number| day(number, String::new())).collect())
}
