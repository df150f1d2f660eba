//! Calls that could have cost less: so short that a smaller model could take them, and those that nobody waited for.

use std::sync::Arc;

use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::Tokens;

use crate::hourly::tokens;
use crate::{Error, Ledger};

/// Offering tools takes at least 261 tokens of any Claude model's prompt (platform.claude.com, tool use pricing, read 2026-11-24):
/// a smaller prompt has none.
pub const PROMPT_WITHOUT_TOOLS_MAX: u32 = 260;
pub const SHORT_ANSWER_MAX: u32 = 300;

/// Why calls could have cost less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cheaper {
    /// A prompt too small for tools, and a short answer.
    Short,
    /// In the background, and not as a batch.
    Background,
}

/// Calls of one client to one model that could have cost less for one reason. Their price is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CouldCostLess {
    pub client: Arc<str>,
    pub model: Arc<str>,
    pub why: Cheaper,
    pub calls: u64,
    pub tokens: Tokens,
    pub cost: Usd,
}

impl Ledger {
    /// Of the calls through the gateway that started from `from` on and before `to` and were completed; each counts once, a
    /// short one as short.
    pub async fn could_cost_less(&self, from: Timestamp, to: Timestamp) -> Result<Vec<CouldCostLess>, Error> {
        self.flush().await?;
        let (from, to) = (from.as_millis(), to.as_millis());
        let rows = sqlx::query!(
            r#"SELECT client AS "client!: String", model AS "model!: String", short AS "short!: bool",
                 count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 sum(cost_nanos) AS "cost!: i64"
             FROM (SELECT *, input_tokens + cache_write_5m_tokens + cache_write_1h_tokens + cache_read_tokens <= ?3
                     AND output_tokens <= ?4 AS short FROM entry
                   WHERE started_at >= ?1 AND started_at < ?2 AND source = 'gateway' AND outcome = 'completed'
                     AND batch = 0 AND cost_nanos > 0)
             WHERE short OR class = 'background' GROUP BY client, model, short ORDER BY sum(cost_nanos) DESC"#,
            from,
            to,
            PROMPT_WITHOUT_TOOLS_MAX,
            SHORT_ANSWER_MAX
        );
        let rows = rows.fetch_all(&self.readers).await.map_err(|error| self.db.error(&error))?;
        let less = rows.into_iter().map(|row| CouldCostLess {
            client: row.client.into(),
            model: row.model.into(),
            why: if row.short { Cheaper::Short } else { Cheaper::Background },
            calls: u64::try_from(row.calls).unwrap_or(0),
            tokens: tokens([row.input, row.cache_write_5m, row.cache_write_1h, row.cache_read, row.output]),
            cost: Usd::from_nanos(row.cost),
        });
        Ok(less.collect())
    }
}
