//! Takes entries out of the sums again.

use sqlx::SqliteConnection;

use crate::rollup::{self, Change};
use crate::settling::json;

/// Of `[[call, the call in its place], …]`. They stay in the ledger and count nowhere.
pub(super) async fn supersede(conn: &mut SqliteConnection, gone: &[(String, String)]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let calls: Vec<&String> = gone.iter().map(|(call, _)| call).collect();
    let mut change = Change::default();
    rollup::counted(conn, &json(&calls)?).await?.into_iter().for_each(|entry| change.take_out(entry));
    change.apply(conn).await?;
    let gone = json(&gone)?;
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
