//! Months at a glance: what each client used of each model on each day, as one answer.

use std::collections::BTreeMap;
use std::ops::Range;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteConnection;

use crate::rollup::day_of;
use crate::summing::Sums;
use crate::{Error, Ledger, Totals};

/// The calls of one client to one model on one day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DashboardRow {
    /// `2026-11-26`, in the zone that was asked for.
    pub day: String,
    pub model: String,
    pub client: String,
    pub totals: Totals,
}

/// Of a day's number, a model and a client.
type Rows = BTreeMap<(i64, String, String), Totals>;

impl Ledger {
    /// The calls that started from `from` on and before `to`, in the order of days, models and clients.
    pub async fn dashboard(
        &self,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<Vec<DashboardRow>, Error> {
        self.flush().await?;
        let rows = self.by_day_model_and_client(from..to, calendar).await?;
        let row = |((day, model, client), totals)| DashboardRow {
            day: Calendar::day_of_number(day).to_string(),
            model,
            client,
            totals,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn by_day_model_and_client(&self, moments: Range<Timestamp>, calendar: Calendar) -> Result<Rows, Error> {
        let span = self.span(moments, (calendar == self.calendar).then_some(calendar)).await?;
        let sums = async {
            let mut rows = Rows::new();
            let mut tx = self.readers.begin().await?;
            add(&mut rows, cells_of_days(&mut tx, &span.days).await?, |day| day)?;
            for quarters in span.quarters.iter().filter(|quarters| !quarters.is_empty()) {
                add(&mut rows, cells_of_quarters(&mut tx, quarters).await?, |quarter| day_of(quarter, calendar))?;
            }
            for moments in span.edges.iter().filter(|moments| !moments.is_empty()) {
                add(&mut rows, cells_of_entries(&mut tx, moments).await?, |quarter| day_of(quarter, calendar))?;
            }
            tx.commit().await?;
            Ok(rows)
        };
        sums.await.map_err(|error| self.db.error(&error))
    }
}

fn add(rows: &mut Rows, cells: Vec<Sums>, day_of: impl Fn(i64) -> i64) -> sqlx::Result<()> {
    for cell in cells {
        let (time, model, client): (i64, String, String) =
            serde_json::from_str(&cell.key).map_err(|error| sqlx::Error::Decode(error.into()))?;
        rows.entry((day_of(time), model, client)).or_default().add(cell.totals());
    }
    Ok(())
}

async fn cells_of_days(conn: &mut SqliteConnection, days: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(day, model, client) AS "key!: String", priced AS "priced!: i64", sum(calls) AS "calls!: i64",
             sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
             sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
             sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64"
         FROM day_rollup WHERE day >= ?1 AND day < ?2 GROUP BY day, model, client, priced"#,
        days.start,
        days.end
    )
    .fetch_all(conn)
    .await
}

async fn cells_of_quarters(conn: &mut SqliteConnection, quarters: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(quarter, model, client) AS "key!: String", priced AS "priced!: i64",
             sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             sum(cost_nanos) AS "cost!: i64"
         FROM rollup WHERE quarter >= ?1 AND quarter < ?2 GROUP BY quarter, model, client, priced"#,
        quarters.start,
        quarters.end
    )
    .fetch_all(conn)
    .await
}

async fn cells_of_entries(conn: &mut SqliteConnection, moments: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(started_at / 900000, model, client) AS "key!: String",
             cost_nanos IS NOT NULL AS "priced!: i64", count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             coalesce(sum(cost_nanos), 0) AS "cost!: i64"
         FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
         GROUP BY started_at / 900000, model, client, cost_nanos IS NOT NULL"#,
        moments.start,
        moments.end
    )
    .fetch_all(conn)
    .await
}
