//! What counts against budgets and windows, and what calls of the last minutes took: asked when a gateway starts.
//!
//! Only calls that went through the gateway count; what logs tell of others does not.

use std::sync::Arc;
use std::time::Duration;

use domain::call::{CallId, Outcome, Source};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};

use crate::rollup::QUARTER_MS;
use crate::summing::{Parts, Sums, Wanted};
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
    pub(crate) const fn name(self) -> &'static str {
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
        let to = Timestamp::from_millis(next_quarter(to.as_millis()));
        // A call that began before may have ended since.
        let wanted =
            Wanted { by: of.name(), source: Source::Gateway.name(), ended_from: from.as_millis(), takes: CALL_TAKES };
        let Parts { by_day, by_quarter } = self.sums(from..to, Some(self.calendar), wanted).await?;
        Ok(by_day.iter().chain(&by_quarter).map(used).collect())
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

fn used(sums: &Sums) -> Used {
    let unpriced = if sums.is_priced() { Tokens::default() } else { sums.tokens() };
    Used { name: sums.key.as_str().into(), tokens: sums.tokens(), known_cost: sums.totals().known_cost, unpriced }
}

fn next_quarter(moment: i64) -> i64 {
    moment.saturating_add(QUARTER_MS - 1).div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS)
}

fn tokens(counts: [i64; 5]) -> Tokens {
    let [input, cache_write_5m, cache_write_1h, cache_read, output] =
        counts.map(|count| u64::try_from(count).unwrap_or(0));
    Tokens { input, cache_write_5m, cache_write_1h, cache_read, output }
}
