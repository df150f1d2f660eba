//! What was used in each hour, and of what it was made: what forecasts go by.

use std::sync::Arc;

use domain::call::Class;
use domain::money::Usd;
use domain::usage::Tokens;

use crate::rollup::QUARTER_MS;
use crate::{Error, Ledger, Spender, Used};

/// Which calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    Gateway,
    /// As logs and telemetry tell of them.
    Elsewhere,
}

/// What one client used of one model in one hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HourUsed {
    /// Hours since 1970 UTC.
    pub hour: i64,
    pub model: Arc<str>,
    /// By its client's name.
    pub used: Used,
}

/// Of one hour: that calls of these were turned away, and by which code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HourRefused {
    /// Hours since 1970 UTC.
    pub hour: i64,
    pub client: String,
    pub person: String,
    pub project: String,
    pub tenant: String,
    pub error: String,
}

/// What the latest calls of a client and a model in one class came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    pub client: Arc<str>,
    pub model: Arc<str>,
    pub class: Class,
    pub calls: u64,
    pub tokens: Tokens,
    pub known_cost: Usd,
}

struct HourRow {
    hour: i64,
    client: String,
    model: String,
    priced: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
}

struct MixRow {
    client: String,
    model: String,
    class: String,
    calls: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
}

const QUARTERS_AN_HOUR: i64 = 4;
const HOUR_MS: i64 = QUARTER_MS * QUARTERS_AN_HOUR;

impl Ledger {
    /// Of the calls that started in the hours from `from` on and before `to`: those of one client, person, project, tenant
    /// or upstream, or all where `name` is `None`. In the order of hours; calls whose price is known and others apart.
    pub async fn hours(
        &self,
        (of, name): (Spender, Option<&str>),
        way: Way,
        from: i64,
        to: i64,
    ) -> Result<Vec<HourUsed>, Error> {
        const _: () = assert!(HOUR_MS == 3_600_000);
        self.flush().await?;
        let (from, to) = (from.saturating_mul(QUARTERS_AN_HOUR), to.saturating_mul(QUARTERS_AN_HOUR));
        let (of, all, through) = (of.name(), name.is_none(), way == Way::Gateway);
        let rows = sqlx::query_as!(
            HourRow,
            r#"SELECT quarter / 4 AS "hour!: i64", client AS "client!: String", model AS "model!: String", priced AS "priced!: i64",
                 sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
                 sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
                 sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64"
             FROM rollup
             WHERE quarter >= ?1 AND quarter < ?2 AND (source = 'gateway') = ?6 AND (?3 OR ?4 = CASE ?5
                 WHEN 'client' THEN client WHEN 'person' THEN person WHEN 'project' THEN project
                 WHEN 'tenant' THEN tenant ELSE upstream END)
             GROUP BY quarter / 4, client, model, priced ORDER BY quarter / 4"#,
            from,
            to,
            all,
            name,
            of,
            through
        )
        .fetch_all(&self.readers)
        .await;
        Ok(rows.map_err(|error| self.db.error(&error))?.into_iter().map(hour).collect())
    }

    /// Of the calls through the gateway that started in the hours from `from` on and before `to`: those that were turned
    /// away before they were sent, as far as the ledger still has them. In the order of hours.
    pub async fn hours_refused(&self, from: i64, to: i64) -> Result<Vec<HourRefused>, Error> {
        self.flush().await?;
        let (from, to) = (from.saturating_mul(HOUR_MS), to.saturating_mul(HOUR_MS));
        let rows = sqlx::query_as!(
            HourRefused,
            r#"SELECT DISTINCT started_at / 3600000 AS "hour!: i64", client, person, project, tenant, error
             FROM entry WHERE started_at >= ?1 AND started_at < ?2 AND outcome = 'refused' AND source = 'gateway'
             ORDER BY 1"#,
            from,
            to
        );
        rows.fetch_all(&self.readers).await.map_err(|error| self.db.error(&error))
    }

    /// The hour of the first call that the ledger has of these.
    pub async fn first_hour(&self, way: Way) -> Result<Option<i64>, Error> {
        self.flush().await?;
        let through = way == Way::Gateway;
        let first = sqlx::query_scalar!(
            r#"SELECT quarter / 4 AS "first!: i64" FROM quarter_sum CROSS JOIN series ON series.id = quarter_sum.series
             WHERE (series.source = 'gateway') = ?1 ORDER BY quarter LIMIT 1"#,
            through
        );
        first.fetch_optional(&self.readers).await.map_err(|error| self.db.error(&error))
    }

    /// Of what the latest calls through the gateway were made, at most `last` of them.
    pub async fn latest_mix(&self, last: u32) -> Result<Vec<Mix>, Error> {
        self.flush().await?;
        let rows = sqlx::query_as!(
            MixRow,
            r#"SELECT client AS "client!: String", model AS "model!: String", class AS "class!: String",
                 count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 sum(coalesce(cost_nanos, 0)) AS "cost!: i64"
             FROM (SELECT * FROM entry WHERE source = 'gateway' AND outcome <> 'refused' ORDER BY seq DESC LIMIT ?1)
             GROUP BY client, model, class ORDER BY client, model, class"#,
            last
        );
        let rows = rows.fetch_all(&self.readers).await.map_err(|error| self.db.error(&error))?;
        Ok(rows.into_iter().filter_map(mix).collect())
    }
}

fn hour(row: HourRow) -> HourUsed {
    let tokens = tokens([row.input, row.cache_write_5m, row.cache_write_1h, row.cache_read, row.output]);
    let unpriced = if row.priced == 0 { tokens } else { Tokens::default() };
    let used = Used { name: row.client.into(), tokens, known_cost: Usd::from_nanos(row.cost), unpriced };
    HourUsed { hour: row.hour, model: row.model.into(), used }
}

fn mix(row: MixRow) -> Option<Mix> {
    Some(Mix {
        class: Class::named(&row.class)?,
        client: row.client.into(),
        model: row.model.into(),
        calls: u64::try_from(row.calls).unwrap_or(0),
        tokens: tokens([row.input, row.cache_write_5m, row.cache_write_1h, row.cache_read, row.output]),
        known_cost: Usd::from_nanos(row.cost),
    })
}

/// In the order of a price's rates.
pub(crate) fn tokens(counts: [i64; 5]) -> Tokens {
    let [input, cache_write_5m, cache_write_1h, cache_read, output] =
        counts.map(|count| u64::try_from(count).unwrap_or(0));
    Tokens { input, cache_write_5m, cache_write_1h, cache_read, output }
}
