//! Sums of entries, made in the transaction that writes them.

use sqlx::SqliteConnection;

/// Sums stop at the largest integer rather than fail.
pub(crate) async fn add(conn: &mut SqliteConnection, entries: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO rollup
         SELECT (value ->> '$.entry.started_at') / 900000, value ->> '$.entry.client', value ->> '$.entry.person',
             value ->> '$.entry.project', value ->> '$.entry.upstream', value ->> '$.entry.model',
             value ->> '$.entry.source', count(*), sum(value ->> '$.entry.input_tokens'),
             sum(value ->> '$.entry.cache_write_5m_tokens'), sum(value ->> '$.entry.cache_write_1h_tokens'),
             sum(value ->> '$.entry.cache_read_tokens'), sum(value ->> '$.entry.output_tokens'),
             coalesce(sum(value ->> '$.entry.cost_nanos'), 0), sum((value ->> '$.entry.cost_nanos') IS NULL)
         FROM jsonb_each(?1) WHERE value ->> '$.entry.outcome' <> 'refused'
         GROUP BY 1, 2, 3, 4, 5, 6, 7
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
             input_tokens = min(9223372036854775807, input_tokens + excluded.input_tokens),
             cache_write_5m_tokens = min(9223372036854775807, cache_write_5m_tokens + excluded.cache_write_5m_tokens),
             cache_write_1h_tokens = min(9223372036854775807, cache_write_1h_tokens + excluded.cache_write_1h_tokens),
             cache_read_tokens = min(9223372036854775807, cache_read_tokens + excluded.cache_read_tokens),
             output_tokens = min(9223372036854775807, output_tokens + excluded.output_tokens),
             cost_nanos = min(9223372036854775807, cost_nanos + excluded.cost_nanos),
             unpriced_calls = unpriced_calls + excluded.unpriced_calls",
        entries
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Of `[[seq, old cost, new cost], …]`, costs in nano-dollars or null.
pub(crate) async fn reprice(conn: &mut SqliteConnection, changes: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE rollup SET cost_nanos = min(9223372036854775807, rollup.cost_nanos + change.cost),
             unpriced_calls = rollup.unpriced_calls + change.unpriced
         FROM (SELECT started_at / 900000 AS quarter, client, person, project, upstream, model, source,
                 sum(coalesce(value ->> 2, 0) - coalesce(value ->> 1, 0)) AS cost,
                 sum((value ->> 2) IS NULL) - sum((value ->> 1) IS NULL) AS unpriced
             FROM json_each(?1) JOIN entry ON entry.seq = value ->> 0 GROUP BY 1, 2, 3, 4, 5, 6, 7) AS change
         WHERE rollup.quarter = change.quarter AND rollup.client = change.client AND rollup.person = change.person
             AND rollup.project = change.project AND rollup.upstream = change.upstream AND rollup.model = change.model
             AND rollup.source = change.source",
        changes
    )
    .execute(conn)
    .await?;
    Ok(())
}
