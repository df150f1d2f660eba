//! Takes entries out of the sums again.

use sqlx::SqliteConnection;

/// Of `[[call, the call in its place], …]`. They stay in the ledger and count nowhere.
pub(super) async fn supersede(conn: &mut SqliteConnection, gone: &[(String, String)]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let gone = serde_json::to_string(gone).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "UPDATE rollup SET calls = rollup.calls - gone.calls, input_tokens = rollup.input_tokens - gone.input,
             cache_write_5m_tokens = rollup.cache_write_5m_tokens - gone.write_5m,
             cache_write_1h_tokens = rollup.cache_write_1h_tokens - gone.write_1h,
             cache_read_tokens = rollup.cache_read_tokens - gone.read,
             output_tokens = rollup.output_tokens - gone.output, cost_nanos = rollup.cost_nanos - gone.cost,
             unpriced_calls = rollup.unpriced_calls - gone.unpriced
         FROM (SELECT started_at / 900000 AS quarter, client, person, project, upstream, model, source, count(*) AS calls,
                 sum(input_tokens) AS input, sum(cache_write_5m_tokens) AS write_5m,
                 sum(cache_write_1h_tokens) AS write_1h, sum(cache_read_tokens) AS read, sum(output_tokens) AS output,
                 coalesce(sum(cost_nanos), 0) AS cost, sum(cost_nanos IS NULL) AS unpriced
             FROM counted WHERE call_id IN (SELECT value ->> 0 FROM json_each(?1)) AND outcome <> 'refused'
             GROUP BY 1, 2, 3, 4, 5, 6, 7) AS gone
         WHERE rollup.quarter = gone.quarter AND rollup.client = gone.client AND rollup.person = gone.person
             AND rollup.project = gone.project AND rollup.upstream = gone.upstream AND rollup.model = gone.model
             AND rollup.source = gone.source",
        gone
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM rollup WHERE calls = 0 AND quarter IN (
             SELECT started_at / 900000 FROM entry WHERE call_id IN (SELECT value ->> 0 FROM json_each(?1)))",
        gone
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO superseded (seq, by_call)
         SELECT entry.seq, value ->> 1 FROM json_each(?1) JOIN entry ON entry.call_id = value ->> 0 WHERE true
         ON CONFLICT DO NOTHING",
        gone
    )
    .execute(conn)
    .await?;
    Ok(())
}
