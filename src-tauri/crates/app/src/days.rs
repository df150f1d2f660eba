//! Each day's sums by model, client, person, project or tenant: what is stacked in a chart.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use ledger::By;

use crate::App;
use crate::api::ApiError;
use crate::range::range;
use crate::show;
use crate::view::UsageRowView;

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct DaysView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    /// In their order, without gaps.
    pub days: Vec<DayView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct DayView {
    /// `2026-11-27`, in the zone.
    pub day: String,
    /// The dearest first.
    pub rows: Vec<UsageRowView>,
}

/// A year and the day that it may have more.
const DAYS_MAX: usize = 366;

impl App {
    /// # Errors
    /// No such question, more than a year, or a ledger that can't be read.
    pub(crate) async fn usage_days(
        &self,
        by: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<DaysView, ApiError> {
        let by = By::named(by).map_err(|wrong| ApiError::asker(format!("{by:?} is {wrong}")))?;
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let mut days = vec![];
        let mut start = range.from;
        while start < range.to {
            if days.len() == DAYS_MAX {
                return Err(ApiError::asker(format!("these are more than {DAYS_MAX} days: ask for fewer")));
            }
            let end = self.calendar.end_of_day(start).min(range.to);
            let report = self.ledger.usage(&by, start, end, self.calendar).await.map_err(ApiError::machine)?;
            let rows = report.rows.iter().map(show::usage_row).collect();
            days.push(DayView { day: self.calendar.day(start).to_string(), rows });
            start = end;
        }
        let (from, to) = (range.from.to_string(), range.to.to_string());
        Ok(DaysView { from, to, timezone: self.calendar.zone_name().to_owned(), days })
    }
}
