//! A team without a server: months of sums as signed files, and the merge of the files of others.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use ledger::{BundleMonth, BundleRow, KnownDevice, Member, Merged, NotMerged, Totals};
use thiserror::Error;

use crate::App;
use crate::api::ApiError;
use crate::folder;

mod device;
mod file;
mod view;

pub use view::{BundleMonthView, BundleView, DeviceView};

use device::{Device, fingerprint};
use file::{BadBundle, Bundle};

const DAY_MS: i64 = 86_400_000;
/// Ten years.
const MONTHS_MAX: usize = 120;
/// Clocks of other devices may be ahead.
const AHEAD_MS: i64 = 2 * DAY_MS;
const NAME_CHARS_MAX: usize = 60;

/// Why a file was not taken in. Nothing of it was.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("{file} can't be read: {reason}")]
    Unread { file: String, reason: std::io::Error },
    #[error("{file} {reason}")]
    Bad { file: String, reason: BadBundle },
    #[error("{file} was made on this device: its calls are here already and would count twice")]
    Own { file: String },
    #[error(
        "{file} says that it comes from {name} (device {device}), but its key is another than before: it is forged, or that device began anew; `tidegate bundle forget {device}` if you know that it did"
    )]
    Forged { file: String, name: String, device: String },
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl App {
    /// Writes the months of this device as a signed file; without months the last one and this one.
    pub async fn export_bundle(
        &self,
        months: (Option<&str>, Option<&str>),
        name: Option<&str>,
        with_tenants: bool,
        file: &Path,
    ) -> Result<BundleView, ApiError> {
        let now = self.now();
        let months = self.asked_months(months, now)?;
        let _one_by_one = self.handing_over.lock().await;
        let mut device = Device::open(self.dir()).map_err(ApiError::machine)?;
        if let Some(name) = name {
            device.name = usable_name(name)?;
        }
        let mut made = vec![];
        for month in months {
            let rows = self.rows_of(month, with_tenants).await.map_err(ApiError::machine)?;
            made.extend(device.handed_over(&month.to_string(), rows, now));
        }
        // The revisions are kept before anybody has them: none is given twice.
        device.keep(self.dir()).map_err(ApiError::machine)?;
        let member = device.member().map_err(ApiError::machine)?;
        let text = file::written(&device, &made, self.calendar.zone_name(), now).map_err(ApiError::machine)?;
        let rows: usize = made.iter().map(|month| month.rows.len()).sum();
        if rows > file::ROWS_MAX || text.len() as u64 > file::BYTES_MAX {
            return Err(ApiError::asker(format!(
                "a bundle of {rows} rows is too large to be taken in: name fewer months, or leave --tenants out"
            )));
        }
        folder::replace(file, &text).map_err(ApiError::machine)?;
        let months = made.iter().map(|month| month_view(month, "exported")).collect();
        Ok(BundleView { file: file.display().to_string(), months, ..of_member(&member) })
    }

    fn asked_months(&self, (from, to): (Option<&str>, Option<&str>), now: Timestamp) -> Result<Vec<Month>, ApiError> {
        let this = Month::of(self.calendar.day(now));
        let to = to.map_or(Ok(this), Month::named)?;
        let from = from.map_or_else(|| Ok(to.min(this).before()), Month::named)?;
        if from > to {
            return Err(ApiError::asker(format!("--from is after --to: {from} to {to}")));
        }
        let months: Vec<Month> = std::iter::successors(Some(from), |month| Some(month.next()))
            .take_while(|month| *month <= to)
            .take(MONTHS_MAX + 1)
            .collect();
        if months.len() > MONTHS_MAX {
            return Err(ApiError::asker(format!("a bundle has at most {MONTHS_MAX} months")));
        }
        Ok(months)
    }

    async fn rows_of(&self, month: Month, with_tenants: bool) -> Result<Vec<BundleRow>, ledger::Error> {
        let mut rows: Vec<BundleRow> = vec![];
        for day in month.first_day()..month.next().first_day() {
            let own = self.ledger.own_day(day, self.calendar, with_tenants).await?;
            let mut own: Vec<BundleRow> = own.into_iter().map(shareable).collect();
            own.sort_by(|one, other| one.names().cmp(&other.names()));
            own.into_iter().for_each(|row| add_row(&mut rows, row));
        }
        Ok(rows)
    }

    /// Each file is taken in whole or not at all, whatever becomes of the others.
    pub async fn import_bundles(&self, files: &[PathBuf]) -> Result<Vec<BundleView>, ApiError> {
        let mut views = vec![];
        for path in files {
            let taken = self.import_bundle(path).await;
            views.push(match taken {
                Ok(view) => view,
                Err(refused) => BundleView {
                    file: path.display().to_string(),
                    refused: Some(refused.to_string()),
                    ..BundleView::default()
                },
            });
        }
        Ok(views)
    }

    async fn import_bundle(&self, path: &Path) -> Result<BundleView, Refused> {
        let file = path.display().to_string();
        let now = self.now();
        let text = file::read(path).map_err(|reason| Refused::Unread { file: file.clone(), reason })?;
        let bundle = text.and_then(|text| Bundle::parse(&text, now));
        let Bundle { member, months } = bundle.map_err(|reason| Refused::Bad { file: file.clone(), reason })?;
        if Device::is_own(self.dir(), &member) {
            return Err(Refused::Own { file });
        }
        match self.ledger.merge_bundle(&member, &months, now).await {
            Ok(merged) => {
                let months =
                    months.iter().zip(merged).map(|(month, merged)| month_view(month, named(merged))).collect();
                Ok(BundleView { file, months, ..of_member(&member) })
            }
            Err(NotMerged::OtherKey) => Err(Refused::Forged { file, name: member.name, device: member.device }),
            Err(NotMerged::Ledger(error)) => Err(error.into()),
        }
    }

    /// The devices that have handed something over.
    pub async fn devices(&self) -> Result<Vec<DeviceView>, ApiError> {
        let devices = self.ledger.devices().await.map_err(ApiError::machine)?;
        Ok(devices.iter().map(device_view).collect())
    }

    /// Takes out what a device handed over, and its key: by its id, or as much of it as names one.
    pub async fn forget_device(&self, device: &str) -> Result<(), ApiError> {
        let devices = self.ledger.devices().await.map_err(ApiError::machine)?;
        let ids = devices.iter().map(|known| known.member.device.as_str());
        let found: Vec<&str> = ids.filter(|id| !device.is_empty() && id.starts_with(device)).collect();
        match found.as_slice() {
            [id] => self.ledger.forget_device(id).await.map(drop).map_err(ApiError::machine),
            [] => Err(ApiError::absent(format!(
                "no device {} has handed anything over: `tidegate bundle list` shows those that have",
                device.escape_default()
            ))),
            _ => Err(ApiError::asker(format!("{} is the beginning of several devices' ids", device.escape_default()))),
        }
    }
}

/// `2026-11`, as the number of months since the year 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Month(i32);

impl Month {
    fn of(day: NaiveDate) -> Month {
        use chrono::Datelike;
        let months = i32::try_from(day.month0()).unwrap_or(0);
        Month(day.year().saturating_mul(12).saturating_add(months))
    }

    fn named(text: &str) -> Result<Month, ApiError> {
        Month::parse(text)
            .ok_or_else(|| ApiError::asker(format!("{} is no month, such as 2026-11", text.escape_default())))
    }

    fn parse(text: &str) -> Option<Month> {
        let day = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok()?;
        Some(Month::of(day)).filter(|month| month.to_string() == text)
    }

    fn next(self) -> Month {
        Month(self.0.saturating_add(1))
    }

    fn before(self) -> Month {
        Month(self.0.saturating_sub(1))
    }

    /// Days since 1970-01-01.
    fn first_day(self) -> i64 {
        let month = u32::try_from(self.0.rem_euclid(12)).unwrap_or(0) + 1;
        let day = NaiveDate::from_ymd_opt(self.0.div_euclid(12), month, 1).unwrap_or_default();
        Calendar::UTC.start_of(day).as_millis().div_euclid(DAY_MS)
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// What leaves this device: no folder's path stands in a project's name, and nothing moves a terminal.
fn shareable(mut row: BundleRow) -> BundleRow {
    if row.project.starts_with(['/', '\\', '~']) || row.project.get(1..3) == Some(":\\") {
        row.project = row.project.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    }
    for name in [
        &mut row.client,
        &mut row.person,
        &mut row.project,
        &mut row.tenant,
        &mut row.upstream,
        &mut row.model,
        &mut row.source,
    ] {
        *name = name.chars().filter(|c| !is_dangerous(*c)).take(file::NAME_CHARS_MAX).collect();
    }
    row
}

/// Names that became the same are one row; rows come in the order of their names.
fn add_row(rows: &mut Vec<BundleRow>, row: BundleRow) {
    match rows.last_mut().filter(|kept| kept.names() == row.names()) {
        None => rows.push(row),
        Some(kept) => {
            kept.web_searches = kept.web_searches.saturating_add(row.web_searches);
            kept.totals.add(row.totals);
        }
    }
}

/// Control characters, and those that turn a line around.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn usable_name(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    let is_fine = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(is_dangerous);
    if is_fine {
        return Ok(name.to_owned());
    }
    Err(ApiError::asker(format!("--name is 1 to {NAME_CHARS_MAX} characters that can be seen")))
}

const fn named(merged: Merged) -> &'static str {
    match merged {
        Merged::New => "new",
        Merged::Replaced => "replaced",
        Merged::Same => "same",
        Merged::Older => "older",
    }
}

fn of_member(member: &Member) -> BundleView {
    BundleView {
        device: member.device.clone(),
        name: member.name.clone(),
        fingerprint: fingerprint(&member.public_key),
        ..BundleView::default()
    }
}

fn month_view(month: &BundleMonth, what: &str) -> BundleMonthView {
    let mut totals = Totals::default();
    month.rows.iter().for_each(|row| totals.add(row.totals));
    totals_view(&month.month, month.revision, totals, what)
}

fn totals_view(month: &str, revision: i64, totals: Totals, what: &str) -> BundleMonthView {
    BundleMonthView {
        month: month.to_owned(),
        revision: revision.unsigned_abs(),
        outcome: what.to_owned(),
        calls: totals.calls,
        cost_usd: totals.cost().as_ref().map(Usd::to_string),
        unpriced_calls: totals.unpriced_calls,
    }
}

fn device_view(known: &KnownDevice) -> DeviceView {
    DeviceView {
        device: known.member.device.clone(),
        name: known.member.name.clone(),
        fingerprint: fingerprint(&known.member.public_key),
        last_seen: known.last_seen.to_string(),
        months: known
            .months
            .iter()
            .map(|month| totals_view(&month.month, month.revision, month.totals, "kept"))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
