//! What counts against budgets and windows, and what calls of the last minutes took: asked when a gateway starts.
//!
//! Only calls that went through the gateway count; what logs tell of others does not.

use std::sync::Arc;
use std::time::Duration;

use domain::call::{CallId, Outcome};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};

use crate::spending::QUARTER_MS;
use crate::{Error, Ledger};

/// Whose spending is summed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Spender {
    Client,
    Person,
    Project,
    Tenant,
    Upstream,
}

impl Spender {
    const fn name(self) -> &'static str {
        match self {
            Spender::Client => "client",
            Spender::Person => "person",
            Spender::Project => "project",
            Spender::Tenant => "tenant",
            Spender::Upstream => "upstream",
        }
    }
}

/// What one of them used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    /// '' for calls that have none.
    pub name: Arc<str>,
    pub tokens: Tokens,
    /// Of the calls whose price is known.
    pub known_cost: Usd,
    /// Of the calls whose price is not.
    pub unpriced: Tokens,
}

/// One time a call was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub upstream: Arc<str>,
    pub model: Arc<str>,
    pub fast: bool,
    pub at: Timestamp,
    /// Nothing where another attempt followed: what is used is the last one's.
    pub usage: Usage,
    /// What admission had reserved, where Tidegate ended before the call did.
    pub reserved: Usage,
    pub interrupted: bool,
}

/// From its start to its end: longer ones may be missed where a period begins in their midst.
const CALL_TAKES: Duration = Duration::from_secs(3_600);

/// One row as SQL sums it.
struct Sums {
    name: String,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
    unpriced_input: i64,
    unpriced_cache_write_5m: i64,
    unpriced_cache_write_1h: i64,
    unpriced_cache_read: i64,
    unpriced_output: i64,
}

struct SentRow {
    call_id: String,
    upstream: String,
    model: String,
    fast: i64,
    opened_at: i64,
    is_last: i64,
    outcome: String,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
}

impl Ledger {
    /// What each spender used in calls that ended from `from` on, when they are counted, and started before `to`,
    /// which may be later by a quarter of an hour. The same spender may come twice.
    pub async fn used(&self, of: Spender, from: Timestamp, to: Timestamp) -> Result<Vec<Used>, Error> {
        self.flush().await?;
        let to = to.as_millis().saturating_add(QUARTER_MS - 1).div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS);
        let first_quarter = match of {
            // Rollups know no tenants.
            Spender::Tenant => to,
            Spender::Client | Spender::Person | Spender::Project | Spender::Upstream => from
                .as_millis()
                .saturating_add(QUARTER_MS - 1)
                .div_euclid(QUARTER_MS)
                .saturating_mul(QUARTER_MS)
                .min(to),
        };
        let mut sums = self.used_of_entries(of.name(), from, first_quarter).await?;
        sums.extend(self.used_of_rollups(of.name(), first_quarter / QUARTER_MS, to / QUARTER_MS).await?);
        Ok(sums.iter().map(Sums::used).collect())
    }

    async fn used_of_rollups(&self, of: &str, from: i64, to: i64) -> Result<Vec<Sums>, Error> {
        if from >= to {
            return Ok(vec![]);
        }
        // A quarter in which a model got its price counts as if it had none.
        let sums = sqlx::query_as!(
            Sums,
            r#"SELECT CASE ?1 WHEN 'client' THEN client WHEN 'person' THEN person WHEN 'project' THEN project
                 ELSE upstream END AS "name!: String",
                 sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 sum(cost_nanos) AS "cost!: i64",
                 sum(input_tokens * (unpriced_calls > 0)) AS "unpriced_input!: i64",
                 sum(cache_write_5m_tokens * (unpriced_calls > 0)) AS "unpriced_cache_write_5m!: i64",
                 sum(cache_write_1h_tokens * (unpriced_calls > 0)) AS "unpriced_cache_write_1h!: i64",
                 sum(cache_read_tokens * (unpriced_calls > 0)) AS "unpriced_cache_read!: i64",
                 sum(output_tokens * (unpriced_calls > 0)) AS "unpriced_output!: i64"
             FROM rollup WHERE quarter >= ?2 AND quarter < ?3 AND source = 'gateway' GROUP BY 1"#,
            of,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await;
        sums.map_err(|error| self.db.error(&error))
    }

    /// Of calls that started before `to`.
    async fn used_of_entries(&self, of: &str, from: Timestamp, to: i64) -> Result<Vec<Sums>, Error> {
        let (started_from, from) = (from.before(CALL_TAKES).as_millis(), from.as_millis());
        let sums = sqlx::query_as!(
            Sums,
            r#"SELECT CASE ?1 WHEN 'client' THEN client WHEN 'person' THEN person WHEN 'project' THEN project
                 WHEN 'upstream' THEN upstream ELSE tenant END AS "name!: String",
                 sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 coalesce(sum(cost_nanos), 0) AS "cost!: i64",
                 sum(input_tokens * (cost_nanos IS NULL)) AS "unpriced_input!: i64",
                 sum(cache_write_5m_tokens * (cost_nanos IS NULL)) AS "unpriced_cache_write_5m!: i64",
                 sum(cache_write_1h_tokens * (cost_nanos IS NULL)) AS "unpriced_cache_write_1h!: i64",
                 sum(cache_read_tokens * (cost_nanos IS NULL)) AS "unpriced_cache_read!: i64",
                 sum(output_tokens * (cost_nanos IS NULL)) AS "unpriced_output!: i64"
             FROM counted WHERE started_at >= ?2 AND started_at < ?3 AND ended_at >= ?4 AND outcome <> 'refused'
             AND source = 'gateway' GROUP BY 1"#,
            of,
            started_from,
            to,
            from
        )
        .fetch_all(&self.readers)
        .await;
        sums.map_err(|error| self.db.error(&error))
    }

    /// When the first call through an upstream from `from` on started.
    pub async fn first_call(&self, upstream: &str, from: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.flush().await?;
        let from = from.as_millis();
        let first = sqlx::query_scalar!(
            "SELECT started_at FROM entry WHERE started_at >= ?1 AND upstream = ?2 AND outcome <> 'refused' AND source = 'gateway'
             ORDER BY started_at LIMIT 1",
            from,
            upstream
        )
        .fetch_optional(&self.readers)
        .await;
        Ok(first.map_err(|error| self.db.error(&error))?.map(Timestamp::from_millis))
    }

    /// All that was sent from `from` on, by calls that started at most `started_before` earlier.
    pub async fn sent(&self, from: Timestamp, started_before: Duration) -> Result<Vec<Sent>, Error> {
        self.flush().await?;
        let (started_from, from) = (from.before(started_before).as_millis(), from.as_millis());
        let rows = sqlx::query_as!(
            SentRow,
            r#"SELECT entry.call_id, attempt.upstream, model, fast, opened_at, number = attempts AS "is_last!: i64", outcome,
                 input_tokens AS input, cache_write_5m_tokens AS cache_write_5m, cache_write_1h_tokens AS cache_write_1h,
                 cache_read_tokens AS cache_read, output_tokens AS output
             FROM entry JOIN attempt ON attempt.call_id = entry.call_id
             WHERE started_at >= ?1 AND ended_at >= ?2 AND opened_at >= ?2 AND source = 'gateway' ORDER BY opened_at"#,
            started_from,
            from
        )
        .fetch_all(&self.readers)
        .await;
        let rows = rows.map_err(|error| self.db.error(&error))?;
        Ok(rows.into_iter().map(|row| self.sent_of(row)).collect())
    }

    fn sent_of(&self, row: SentRow) -> Sent {
        let tokens = tokens([row.input, row.cache_write_5m, row.cache_write_1h, row.cache_read, row.output]);
        let is_last = row.is_last != 0;
        let call: Option<CallId> = row.call_id.parse().ok().filter(|_| is_last);
        Sent {
            upstream: row.upstream.into(),
            model: row.model.into(),
            fast: row.fast != 0,
            at: Timestamp::from_millis(row.opened_at),
            usage: if is_last { Usage { tokens, ..Usage::default() } } else { Usage::default() },
            reserved: call.and_then(|call| self.interrupted.get(&call)).copied().unwrap_or_default(),
            interrupted: is_last && Outcome::named(&row.outcome) == Some(Outcome::Interrupted),
        }
    }
}

impl Sums {
    fn used(&self) -> Used {
        let row = self;
        let unpriced = [
            row.unpriced_input,
            row.unpriced_cache_write_5m,
            row.unpriced_cache_write_1h,
            row.unpriced_cache_read,
            row.unpriced_output,
        ];
        Used {
            name: row.name.as_str().into(),
            tokens: tokens([row.input, row.cache_write_5m, row.cache_write_1h, row.cache_read, row.output]),
            known_cost: Usd::from_nanos(row.cost),
            unpriced: tokens(unpriced),
        }
    }
}

fn tokens(counts: [i64; 5]) -> Tokens {
    let [input, cache_write_5m, cache_write_1h, cache_read, output] =
        counts.map(|count| u64::try_from(count).unwrap_or(0));
    Tokens { input, cache_write_5m, cache_write_1h, cache_read, output }
}
