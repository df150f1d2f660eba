//! What was handed over, for the export of days and months.

use domain::time::{Calendar, Timestamp};

use super::asking::first_day;
use super::start_of;
use crate::daily::{Sum, joined};
use crate::{Error, Ledger};

impl Ledger {
    /// Where the next day begins that another device handed over.
    pub(crate) async fn next_handed_over(
        &self,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<Option<Timestamp>, Error> {
        let (first, end) = (first_day(from, calendar), first_day(to, calendar));
        let day = sqlx::query_scalar!(
            r#"SELECT min(day) AS "day: i64" FROM bundle_row WHERE day >= ?1 AND day < ?2"#,
            first,
            end
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        Ok(day.map(|day| start_of(day, calendar)))
    }

    /// By device and names, for the days that begin from `from` on and before `to`.
    pub(crate) async fn sums_handed_over(
        &self,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
        client: Option<&str>,
    ) -> Result<Vec<Sum>, Error> {
        let (first, end) = (first_day(from, calendar), first_day(to, calendar));
        let rows = sqlx::query_as!(
            Sum,
            r#"SELECT client, person, project, upstream, model, calls, input_tokens AS input,
                 cache_write_5m_tokens AS cache_write_5m, cache_write_1h_tokens AS cache_write_1h,
                 cache_read_tokens AS cache_read, output_tokens AS output, cost_nanos AS cost, unpriced_calls AS unpriced,
                 name || ' ' || substr(device, 1, 8) AS "device!: String"
             FROM bundle_row JOIN bundle_device USING (device)
             WHERE day >= ?1 AND day < ?2 AND (?3 IS NULL OR client = ?3) ORDER BY 14, 1, 2, 3, 4, 5"#,
            first,
            end,
            client
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        Ok(joined(rows))
    }
}
