//! The sums of calls that are priced alike, for the comparison with what an upstream reports.

use domain::call::Source;
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};

use crate::{Error, Ledger};

/// Calls of a day (UTC) that one price may be applied to as if they were one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LikeCalls {
    /// Days since 1970, of their start and of their end.
    pub day: i64,
    pub ended_day: i64,
    pub upstream: String,
    pub model: String,
    pub source: Source,
    /// What they used: they were interrupted, or cut, or left.
    pub estimated: bool,
    /// They ended at or after the moment that was asked with.
    pub recent: bool,
    /// How many of the asked thresholds each of their prompts exceeds.
    pub band: usize,
    pub has_price: bool,
    /// With how they ran.
    pub usage: Usage,
    pub cost: Usd,
    /// What they could have put out more, as far as their requests bounded it.
    pub more_output: u64,
}

/// As SQL sums them.
struct Sums {
    day: i64,
    ended_day: i64,
    upstream: String,
    model: String,
    source: String,
    estimated: i64,
    recent: i64,
    band: i64,
    batch: i64,
    fast: i64,
    us_only: i64,
    has_price: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    searches: i64,
    cost: i64,
    more_output: i64,
}

impl Ledger {
    /// Calls that started from `from` on and before `to`. `bands` are lengths of prompts above which a price changes.
    pub async fn like_calls(
        &self,
        from: Timestamp,
        to: Timestamp,
        bands: &[u64],
        recent: Timestamp,
    ) -> Result<Vec<LikeCalls>, Error> {
        self.flush().await?;
        let bands = serde_json::to_string(bands).map_err(|error| Error::unwritable("a question", &error))?;
        let (from, to, recent) = (from.as_millis(), to.as_millis(), recent.as_millis());
        let rows = sqlx::query_as!(
            Sums,
            r#"SELECT started_at / 86400000 AS "day!: i64", ended_at / 86400000 AS "ended_day!: i64", upstream, model, source,
                 estimated AND outcome <> 'completed' AS "estimated!: i64", ended_at >= ?4 AS "recent!: i64",
                 (SELECT count(*) FROM json_each(?3) WHERE value <
                     input_tokens + cache_write_5m_tokens + cache_write_1h_tokens + cache_read_tokens) AS "band!: i64",
                 batch, fast, us_only, cost_nanos IS NOT NULL AS "has_price!: i64",
                 sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
                 sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
                 sum(output_tokens) AS "output!: i64", sum(web_searches) AS "searches!: i64",
                 coalesce(sum(cost_nanos), 0) AS "cost!: i64",
                 sum(max(coalesce(max_tokens, 0) - output_tokens, 0)) AS "more_output!: i64"
             FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
             GROUP BY 1, 2, upstream, model, source, 6, 7, 8, batch, fast, us_only, 12"#,
            from,
            to,
            bands,
            recent
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        rows.into_iter().map(|row| row.like_calls().ok_or_else(|| self.db.unreadable("an entry"))).collect()
    }
}

impl Sums {
    fn like_calls(self) -> Option<LikeCalls> {
        let natural = |sum: i64| u64::try_from(sum).unwrap_or(0);
        let tokens = Tokens {
            input: natural(self.input),
            cache_write_5m: natural(self.cache_write_5m),
            cache_write_1h: natural(self.cache_write_1h),
            cache_read: natural(self.cache_read),
            output: natural(self.output),
        };
        let usage = Usage {
            tokens,
            web_searches: natural(self.searches),
            batch: self.batch != 0,
            fast: self.fast != 0,
            us_only: self.us_only != 0,
        };
        Some(LikeCalls {
            day: self.day,
            ended_day: self.ended_day,
            upstream: self.upstream,
            model: self.model,
            source: Source::named(&self.source)?,
            estimated: self.estimated != 0,
            recent: self.recent != 0,
            band: usize::try_from(self.band).ok()?,
            has_price: self.has_price != 0,
            usage,
            cost: Usd::from_nanos(self.cost),
            more_output: natural(self.more_output),
        })
    }
}
