//! What was used in each hour: what forecasts go by. Only calls that went through the gateway count.

use std::sync::Arc;

use domain::money::Usd;
use domain::usage::Tokens;

use crate::rollup::QUARTER_MS;
use crate::{Error, Ledger, Spender, Used};

/// What one client used in one hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HourUsed {
    /// Hours since 1970 UTC.
    pub hour: i64,
    /// By its client's name.
    pub used: Used,
}

struct HourRow {
    hour: i64,
    client: String,
    priced: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
}

const QUARTERS_AN_HOUR: i64 = 4;

impl Ledger {
    /// Of the calls that started in the hours from `from` on and before `to`: those of one client, person, project, tenant
    /// or upstream, or all where `name` is `None`. In the order of hours; calls whose price is known and others apart.
    pub async fn hours(&self, of: Spender, name: Option<&str>, from: i64, to: i64) -> Result<Vec<HourUsed>, Error> {
        const _: () = assert!(QUARTER_MS * QUARTERS_AN_HOUR == 3_600_000);
        self.flush().await?;
        let (from, to) = (from.saturating_mul(QUARTERS_AN_HOUR), to.saturating_mul(QUARTERS_AN_HOUR));
        let (of, all) = (of.name(), name.is_none());
        let rows = sqlx::query_as!(
            HourRow,
            r#"SELECT quarter / 4 AS "hour!: i64", client AS "client!: String", priced AS "priced!: i64",
                 sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
                 sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
                 sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64"
             FROM rollup
             WHERE quarter >= ?1 AND quarter < ?2 AND source = 'gateway' AND (?3 OR ?4 = CASE ?5
                 WHEN 'client' THEN client WHEN 'person' THEN person WHEN 'project' THEN project
                 WHEN 'tenant' THEN tenant ELSE upstream END)
             GROUP BY quarter / 4, client, priced ORDER BY quarter / 4"#,
            from,
            to,
            all,
            name,
            of
        )
        .fetch_all(&self.readers)
        .await;
        Ok(rows.map_err(|error| self.db.error(&error))?.into_iter().map(hour).collect())
    }

    /// The hour of the first call that the ledger has.
    pub async fn first_hour(&self) -> Result<Option<i64>, Error> {
        self.flush().await?;
        let first = sqlx::query_scalar!(r#"SELECT min(quarter) / 4 AS "first: i64" FROM quarter_sum"#);
        first.fetch_one(&self.readers).await.map_err(|error| self.db.error(&error))
    }
}

fn hour(row: HourRow) -> HourUsed {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let tokens = Tokens {
        input: count(row.input),
        cache_write_5m: count(row.cache_write_5m),
        cache_write_1h: count(row.cache_write_1h),
        cache_read: count(row.cache_read),
        output: count(row.output),
    };
    let unpriced = if row.priced == 0 { tokens } else { Tokens::default() };
    let name: Arc<str> = row.client.into();
    HourUsed { hour: row.hour, used: Used { name, tokens, known_cost: Usd::from_nanos(row.cost), unpriced } }
}
