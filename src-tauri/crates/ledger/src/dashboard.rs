//! Months at a glance: what each client used of each model on each day, as one answer.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteConnection;

use crate::rollup::{QUARTER_MS, day_of, end_of_day};
use crate::summing::{Sums, span};
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
        let sums = async {
            let mut rows = Rows::new();
            let mut tx = self.readers.begin().await?;
            let span = span(&mut tx, moments, (calendar == self.calendar).then_some(calendar)).await?;
            for day in days_with_sums(&mut tx, &span.days).await? {
                add(&mut rows, day, cells_of_day(&mut tx, day).await?)?;
            }
            let known = known_quarters(&mut tx).await?;
            let quarters = span.quarters.map(|wanted| wanted.start.max(known.start)..wanted.end.min(known.end));
            for quarters in quarters.iter().flat_map(|quarters| by_day(quarters, calendar)) {
                add(&mut rows, day_of(quarters.start, calendar), cells_of_quarters(&mut tx, &quarters).await?)?;
            }
            for moments in span.edges.iter().flat_map(by_quarter) {
                let day = day_of(moments.start.div_euclid(QUARTER_MS), calendar);
                add(&mut rows, day, cells_of_entries(&mut tx, &moments).await?)?;
            }
            tx.commit().await?;
            Ok(rows)
        };
        sums.await.map_err(|error| self.db.error(&error))
    }
}

/// The quarters of each day apart.
fn by_day(quarters: &Range<i64>, calendar: Calendar) -> impl Iterator<Item = Range<i64>> {
    let (first, end) = (quarters.start, quarters.end);
    let starts = iter::successors(Some(first), move |start| Some(end_of_day(*start, calendar)));
    starts.take_while(move |start| *start < end).map(move |start| start..end_of_day(start, calendar).min(end))
}

/// The moments of each quarter apart: edges are no longer than one, but where there is no whole quarter.
fn by_quarter(moments: &Range<i64>) -> impl Iterator<Item = Range<i64>> {
    let (first, end) = (moments.start, moments.end);
    let next = |moment: i64| (moment.div_euclid(QUARTER_MS) + 1) * QUARTER_MS;
    let starts = iter::successors(Some(first), move |start| Some(next(*start)));
    starts.take_while(move |start| *start < end).map(move |start| start..next(start).min(end))
}

fn add(rows: &mut Rows, day: i64, cells: Vec<Sums>) -> sqlx::Result<()> {
    for cell in cells {
        let (model, client): (String, String) =
            serde_json::from_str(&cell.key).map_err(|error| sqlx::Error::Decode(error.into()))?;
        rows.entry((day, model, client)).or_default().add(cell.totals());
    }
    Ok(())
}

async fn days_with_sums(conn: &mut SqliteConnection, days: &Range<i64>) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!("SELECT DISTINCT day FROM day_sum WHERE day >= ?1 AND day < ?2", days.start, days.end)
        .fetch_all(conn)
        .await
}

/// So that a question about all times asks for no more days than there are.
async fn known_quarters(conn: &mut SqliteConnection) -> sqlx::Result<Range<i64>> {
    let known = sqlx::query!(
        r#"SELECT (SELECT min(quarter) FROM quarter_sum) AS "first: i64", (SELECT max(quarter) FROM quarter_sum) AS "last: i64""#
    );
    let known = known.fetch_one(conn).await?;
    Ok(known.first.unwrap_or(0)..known.last.map_or(0, |last| last + 1))
}

async fn cells_of_day(conn: &mut SqliteConnection, day: i64) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(model, client) AS "key!: String", priced AS "priced!: i64", sum(calls) AS "calls!: i64",
             sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
             sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
             sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64",
             sum(cache_hits) AS "hits!: i64", sum(cache_misses) AS "misses!: i64", sum(saved_nanos) AS "saved!: i64"
         FROM day_rollup WHERE day = ?1 GROUP BY model, client, priced"#,
        day
    )
    .fetch_all(conn)
    .await
}

async fn cells_of_quarters(conn: &mut SqliteConnection, quarters: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(model, client) AS "key!: String", priced AS "priced!: i64",
             sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             sum(cost_nanos) AS "cost!: i64",
             sum(cache_hits) AS "hits!: i64", sum(cache_misses) AS "misses!: i64", sum(saved_nanos) AS "saved!: i64"
         FROM rollup WHERE quarter >= ?1 AND quarter < ?2 GROUP BY model, client, priced"#,
        quarters.start,
        quarters.end
    )
    .fetch_all(conn)
    .await
}

async fn cells_of_entries(conn: &mut SqliteConnection, moments: &Range<i64>) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"SELECT json_array(model, client) AS "key!: String",
             cost_nanos IS NOT NULL AS "priced!: i64", count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
             sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
             sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
             coalesce(sum(cost_nanos), 0) AS "cost!: i64",
             sum(cache = 'hit') AS "hits!: i64", sum(cache = 'miss') AS "misses!: i64",
             coalesce(sum(saved_nanos), 0) AS "saved!: i64"
         FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
         GROUP BY model, client, cost_nanos IS NOT NULL"#,
        moments.start,
        moments.end
    )
    .fetch_all(conn)
    .await
}
