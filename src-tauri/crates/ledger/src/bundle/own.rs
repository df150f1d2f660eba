//! The days of this device, as another one may take them over.

use domain::time::Calendar;

use super::{BundleRow, Counts, natural, start_of};
use crate::rollup::QUARTER_MS;
use crate::{Error, Ledger};

/// A row as SQL sums it.
struct OwnRow {
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

impl Ledger {
    /// The sums of a day, since 1970-01-01 in this calendar, without what other devices handed over.
    pub async fn own_day(&self, day: i64, calendar: Calendar, with_tenants: bool) -> Result<Vec<BundleRow>, Error> {
        self.flush().await?;
        let quarter = |day| start_of(day, calendar).as_millis().div_euclid(QUARTER_MS);
        let (from, to) = (quarter(day), quarter(day.saturating_add(1)));
        let rows = sqlx::query_as!(
            OwnRow,
            r#"SELECT client, person, project, CASE WHEN ?3 THEN tenant ELSE '' END AS "tenant!: String", upstream, model,
                 source, sum(web_searches) AS "searches!: i64", sum(calls) AS "calls!: i64",
                 sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
                 sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
                 sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64",
                 sum(unpriced_calls) AS "unpriced!: i64"
             FROM rollup WHERE quarter >= ?1 AND quarter < ?2 GROUP BY 1, 2, 3, 4, 5, 6, 7"#,
            from,
            to,
            with_tenants
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        Ok(rows.into_iter().map(|row| row.of(day)).collect())
    }
}

impl OwnRow {
    fn of(self, day: i64) -> BundleRow {
        let OwnRow { calls, input, cache_write_5m, cache_write_1h, cache_read, output, cost, unpriced, .. } = self;
        let counts = Counts { calls, input, cache_write_5m, cache_write_1h, cache_read, output, cost, unpriced };
        BundleRow {
            day,
            client: self.client,
            person: self.person,
            project: self.project,
            tenant: self.tenant,
            upstream: self.upstream,
            model: self.model,
            source: self.source,
            web_searches: natural(self.searches),
            totals: counts.totals(),
        }
    }
}
