//! The ledger against the usage and cost reports of an organisation, which an admin key may read.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use domain::reconcile::{self, Line};
use domain::time::{Calendar, Timestamp};

use crate::App;
use crate::api::ApiError;
use crate::folder::FolderError;
use crate::settings::{BaseUrl, KeyRef, UpstreamKind};

mod asking;
mod kept;
mod ours;
mod people;
mod reported;
mod shown;
mod view;
mod wire;

pub use view::{DifferenceView, ReconcileView, ReconciledAccountView, ReconciledLineView, ReconciledPersonView};

use asking::{Admin, NoReport};
use kept::Kept;
use reported::Keys;

const DAY_MS: i64 = 86_400_000;
/// Whole days before today, where nobody says which.
const DAYS_USUALLY: i64 = 7;
const DAYS_MAX: i64 = 366;
/// Their report is asked for day by day, and may be asked for once a minute in the long run.
const PEOPLE_DAYS_MAX: i64 = 31;
/// A call that ended within it may be missing in a report.
const REPORTS_LATE_BY: Duration = Duration::from_secs(3_600);

/// Days since 1970, UTC, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Days {
    from: i64,
    to: i64,
}

impl Days {
    fn asked(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<Days, ApiError> {
        let today = day_of(now);
        let to = to.map_or(Ok(today - 1), day_named)?;
        let from = from.map_or(Ok(to + 1 - DAYS_USUALLY), day_named)?;
        if from > to {
            return Err(ApiError::asker(format!("--from is after --to: {} to {}", date(from), date(to))));
        }
        if to > today {
            return Err(ApiError::asker(format!(
                "{} has not come yet: reports have days up to {}",
                date(to),
                date(today)
            )));
        }
        if to - from >= DAYS_MAX {
            return Err(ApiError::asker(format!("at most {DAYS_MAX} days can be reconciled at once")));
        }
        Ok(Days { from, to })
    }

    fn has(self, day: i64) -> bool {
        (self.from..=self.to).contains(&day)
    }

    /// From the first moment of the first day, and up to and without that of the day after the last.
    fn moments(self) -> (Timestamp, Timestamp) {
        (start_of(self.from), start_of(self.to + 1))
    }
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}

fn start_of(day: i64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY_MS))
}

fn date(day: i64) -> String {
    Calendar::UTC.day(start_of(day)).to_string()
}

fn day_named(text: &str) -> Result<i64, ApiError> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let wrong = || {
        ApiError::asker(format!(
            "{} is no day, such as 2026-11-24; reports have whole days of UTC",
            text.escape_default()
        ))
    };
    day.map(|day| day_of(Calendar::UTC.start_of(day))).map_err(|_| wrong())
}

/// Upstreams that one organisation reports on: they share a host and an admin key.
struct Account {
    upstreams: Vec<Arc<str>>,
    base: BaseUrl,
    admin_key: KeyRef,
    keys: Vec<KeyRef>,
}

impl Account {
    fn name(&self) -> String {
        self.upstreams.join(",")
    }
}

const NO_ADMIN_KEY: &str = "no upstream in the settings has an admin_key, so no report can be read: keep one of your organisation's admin keys with `tidegate key set admin` and add admin_key = \"keychain:admin\" to its [[upstream]]";

impl App {
    /// Days are those of UTC, as reports have them.
    pub async fn reconcile(&self, from: Option<&str>, to: Option<&str>) -> Result<ReconcileView, ApiError> {
        let now = self.now();
        let days = Days::asked(from, to, now)?;
        let accounts = self.accounts();
        if accounts.is_empty() {
            return Err(ApiError::absent(NO_ADMIN_KEY));
        }
        let kept_from = self.ledger.kept_from().await.map_err(ApiError::machine)?;
        if start_of(days.from) < kept_from {
            return Err(ApiError::asker(format!("calls before {kept_from} were deleted: reconcile later days")));
        }
        let mut learned = vec![];
        let mut view =
            ReconcileView { at: now.to_string(), from: date(days.from), to: date(days.to), accounts: vec![] };
        for (place, account) in accounts.iter().enumerate() {
            // What logs tell names no organisation: it is looked for in the first.
            let compared = self.compare(account, days, place == 0, now).await?;
            // A day that isn't over is reconciled when it is.
            let whole = days.to.min(day_of(now) - 1);
            let good =
                (days.from <= whole).then(|| reconcile::reconciled_to(&compared.lines, days.from, whole)).flatten();
            if days.from <= whole {
                learned.push((account.name(), whole, good));
            }
            view.accounts.push(shown::account(account, &compared, good));
        }
        self.learn(days.from, &learned).map_err(ApiError::machine)?;
        Ok(view)
    }

    /// Reports take their time: what another reconciliation has learned meanwhile stays.
    fn learn(&self, from: i64, learned: &[(String, i64, Option<i64>)]) -> Result<(), FolderError> {
        let _one_by_one = self.reconciled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Kept::read(self.dir())?;
        learned.iter().for_each(|(account, to, good)| kept.learn(account, from, *to, *good));
        kept.write(self.dir())
    }

    /// The day up to which the books of all accounts are reconciled.
    pub(crate) fn reconciled_to(&self) -> Option<String> {
        let accounts: Vec<String> = self.accounts().iter().map(Account::name).collect();
        Kept::read(self.dir()).ok()?.to(&accounts).map(date)
    }

    fn accounts(&self) -> Vec<Account> {
        let mut accounts: BTreeMap<(String, String), Account> = BTreeMap::new();
        for upstream in &self.settings().upstreams {
            let (Some(admin_key), Some(base), UpstreamKind::Anthropic) =
                (&upstream.admin_key, &upstream.base_url, upstream.kind)
            else {
                continue;
            };
            let account = accounts.entry((base.as_str().to_owned(), admin_key.to_string())).or_insert_with(|| {
                Account { upstreams: vec![], base: base.clone(), admin_key: admin_key.clone(), keys: vec![] }
            });
            account.upstreams.push(upstream.name.clone());
            account.keys.extend(upstream.key.clone());
        }
        accounts.into_values().collect()
    }

    async fn compare(
        &self,
        account: &Account,
        days: Days,
        with_told: bool,
        now: Timestamp,
    ) -> Result<Compared, ApiError> {
        let settings = self.settings();
        let proxy = &settings.gateway.proxy;
        let admin =
            Admin::of(&account.base, &account.admin_key, self.keychain(), proxy).await.map_err(ApiError::machine)?;
        let mut notes = vec![];
        let secrets = self.secrets_of(account, &mut notes).await;
        let keys = Keys::read(&admin, &secrets, &mut notes).await;
        let catalog = self.prices.in_force().get();
        let mut lines = reported::lines(&admin, days, &keys, &catalog).await.map_err(ApiError::machine)?;
        self.add_ours(&mut lines, account, days, with_told, now).await.map_err(ApiError::machine)?;
        let people = self.people(&admin, days, &mut notes).await?;
        Ok(Compared { host: admin.host(), lines: lines.compared(), keys, people, notes })
    }

    async fn people(
        &self,
        admin: &Admin,
        days: Days,
        notes: &mut Vec<String>,
    ) -> Result<Vec<ReconciledPersonView>, ApiError> {
        if days.to - days.from >= PEOPLE_DAYS_MAX {
            notes.push(format!("people are compared for at most {PEOPLE_DAYS_MAX} days at once"));
            return Ok(vec![]);
        }
        match people::read(admin, days).await {
            Ok(people) => self.against_people(people, days).await.map_err(ApiError::machine),
            Err(NoReport::Refused { status: 400..=404, .. }) => {
                notes.push("there is no Claude Code report, so people are not compared".to_owned());
                Ok(vec![])
            }
            Err(refused @ NoReport::Refused { .. }) => {
                notes.push(format!("people are not compared: {refused}"));
                Ok(vec![])
            }
            Err(error) => Err(ApiError::machine(error)),
        }
    }

    /// The keys that calls go out with: only to find out which of the reports' keys they are.
    async fn secrets_of(&self, account: &Account, notes: &mut Vec<String>) -> Vec<Arc<crate::keychain::Secret>> {
        let mut secrets = vec![];
        for key in &account.keys {
            match self.keychain().key(key, account.base.origin()).await {
                Ok(secret) => secrets.push(secret),
                Err(error) => notes.push(error.to_string()),
            }
        }
        secrets
    }
}

struct Compared {
    host: String,
    lines: Vec<Line>,
    keys: Keys,
    people: Vec<ReconciledPersonView>,
    notes: Vec<String>,
}

#[cfg(test)]
mod tests;
