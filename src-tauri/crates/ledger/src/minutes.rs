//! What was used in each minute: how close calls came to the limits of a minute.

use domain::time::Timestamp;

use crate::{Error, Ledger};

/// What calls of one model through one upstream used that started in one minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MinuteUsed {
    pub upstream: String,
    pub model: String,
    /// Since 1970 UTC.
    pub minute: i64,
    pub requests: u64,
    /// Without what was read from the cache.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Ledger {
    /// Of the calls that went through the gateway and started from `from` on and before `to`.
    pub async fn minutes(&self, from: Timestamp, to: Timestamp) -> Result<Vec<MinuteUsed>, Error> {
        self.flush().await?;
        let (from, to) = (from.as_millis(), to.as_millis());
        let rows = sqlx::query!(
            r#"SELECT upstream AS "upstream!: String", model AS "model!: String", started_at / 60000 AS "minute!: i64",
                 sum(attempts) AS "requests!: i64",
                 sum(input_tokens + cache_write_5m_tokens + cache_write_1h_tokens) AS "input!: i64",
                 sum(output_tokens) AS "output!: i64"
             FROM entry WHERE started_at >= ?1 AND started_at < ?2 AND source = 'gateway' AND attempts > 0
             GROUP BY upstream, model, started_at / 60000"#,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let used = rows.into_iter().map(|row| MinuteUsed {
            upstream: row.upstream,
            model: row.model,
            minute: row.minute,
            requests: count(row.requests),
            input_tokens: count(row.input),
            output_tokens: count(row.output),
        });
        Ok(used.collect())
    }
}
