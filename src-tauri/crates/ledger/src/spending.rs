//! The questions: what was used, what it cost, which calls there were.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Timelike};
use domain::call::{Attempt, CallId, Entry};
use domain::money::Usd;
use domain::time::{Calendar, Timestamp, Tz};
use domain::usage::Tokens;

use crate::call::{AttemptRow, EntryRow, Unreadable};
use crate::rollup::QUARTER_MS;
use crate::summing::{Parts, Wanted};
use crate::{Error, Ledger};

/// What the rows of a report are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    Day,
    Hour,
    Model,
    Client,
    Person,
    Project,
    Tenant,
    Session,
    Account,
    Upstream,
    /// That handed it over; '' is this one.
    Device,
    Tag(String),
}

impl By {
    const NAMES: [(&'static str, By); 11] = [
        ("day", By::Day),
        ("hour", By::Hour),
        ("model", By::Model),
        ("client", By::Client),
        ("person", By::Person),
        ("project", By::Project),
        ("tenant", By::Tenant),
        ("session", By::Session),
        ("account", By::Account),
        ("upstream", By::Upstream),
        ("device", By::Device),
    ];

    /// `day`, `model`, … or `tag:KEY`.
    pub fn named(name: &str) -> Result<By, NotAQuestion> {
        match name.strip_prefix("tag:") {
            Some(key) if !key.is_empty() => Ok(By::Tag(key.to_owned())),
            _ => By::NAMES.into_iter().find(|(n, _)| *n == name).map(|(_, by)| by).ok_or(NotAQuestion),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        By::NAMES.iter().find(|(_, by)| by == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAQuestion;

impl fmt::Display for NotAQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not one of day, hour, model, client, person, project, tenant, session, account, upstream, device, tag:KEY",
        )
    }
}

impl std::error::Error for NotAQuestion {}

/// Sums of entries; refused calls are in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub calls: u64,
    pub tokens: Tokens,
    /// Of the calls whose price is known.
    pub known_cost: Usd,
    pub unpriced_calls: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// What the answers had cost that hits gave again, where that is known. It is in no cost.
    pub saved: Usd,
}

impl Totals {
    /// `None` where there were calls and the price of none is known.
    pub fn cost(&self) -> Option<Usd> {
        (self.calls == 0 || self.unpriced_calls < self.calls).then_some(self.known_cost)
    }

    pub fn add(&mut self, other: Totals) {
        self.calls = self.calls.saturating_add(other.calls);
        self.tokens += other.tokens;
        self.known_cost += other.known_cost;
        self.unpriced_calls = self.unpriced_calls.saturating_add(other.unpriced_calls);
        self.cache_hits = self.cache_hits.saturating_add(other.cache_hits);
        self.cache_misses = self.cache_misses.saturating_add(other.cache_misses);
        self.saved += other.saved;
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRow {
    /// A date, the RFC 3339 start of an hour, or a name; '' where a call has none.
    pub key: String,
    pub totals: Totals,
}

/// Days and hours in their order, names from the dearest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageReport {
    pub rows: Vec<UsageRow>,
    pub total: Totals,
}

/// What was spent so far, as the calendar's zone sees today, this week and this month.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spend {
    pub today: Totals,
    pub week: Totals,
    pub month: Totals,
}

/// Which calls: those that started from `from` on and before `to`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub client: Option<Arc<str>>,
}

impl Ledger {
    /// Totals of the calls that started from `from` on and before `to`, and of the days that other devices handed over.
    pub async fn usage(
        &self,
        by: &By,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<UsageReport, Error> {
        self.flush().await?;
        let Parts { by_day, by_quarter } = self.parts(by, from..to, calendar).await?;
        let mut by_key: BTreeMap<String, Totals> = BTreeMap::new();
        for row in by_day {
            by_key.entry(key_of_day(by, &row.key)).or_default().add(row.totals());
        }
        for row in by_quarter {
            by_key.entry(key_of_quarter(by, &row.key, calendar)).or_default().add(row.totals());
        }
        for (key, totals) in self.bundle_sums(by, from, to, calendar).await? {
            by_key.entry(key).or_default().add(totals);
        }
        let mut total = Totals::default();
        by_key.values().for_each(|totals| total.add(*totals));
        let mut rows: Vec<UsageRow> = by_key.into_iter().map(|(key, totals)| UsageRow { key, totals }).collect();
        match by {
            By::Day => {}
            By::Hour => rows.sort_by_key(|row| Timestamp::parse(&row.key)),
            By::Model
            | By::Client
            | By::Person
            | By::Project
            | By::Tenant
            | By::Session
            | By::Account
            | By::Upstream
            | By::Device
            | By::Tag(_) => rows.sort_by_key(|row| std::cmp::Reverse(row.totals.known_cost)),
        }
        Ok(UsageReport { rows, total })
    }

    pub async fn spend(&self, calendar: Calendar, now: Timestamp) -> Result<Spend, Error> {
        self.flush().await?;
        let starts = [calendar.start_of_day(now), calendar.start_of_week(now), calendar.start_of_month(now)];
        let mut totals = [Totals::default(); 3];
        for (total, from) in totals.iter_mut().zip(starts) {
            let Parts { by_day, by_quarter } =
                self.parts(&By::Upstream, from..calendar.end_of_day(now), calendar).await?;
            by_day.iter().chain(&by_quarter).for_each(|row| total.add(row.totals()));
        }
        let [today, week, month] = totals;
        Ok(Spend { today, week, month })
    }

    /// Calls that have ended, with their attempts; the latest start first.
    pub async fn calls(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, Error> {
        self.flush().await?;
        let (from, to, client) = filter.bounds();
        let rows = sqlx::query_as!(
            EntryRow,
            "SELECT * FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND (?3 IS NULL OR client = ?3)
             ORDER BY started_at DESC, seq DESC LIMIT ?4",
            from,
            to,
            client,
            limit
        )
        .fetch_all(&self.readers)
        .await;
        self.with_attempts(rows.map_err(|error| self.db.error(&error))?).await
    }

    /// When the latest call of each client began, that has ended and is kept.
    pub async fn latest_of_clients(&self) -> Result<BTreeMap<String, Timestamp>, Error> {
        self.flush().await?;
        // The sums tell in which quarter of an hour to look.
        let rows = sqlx::query!(
            r#"SELECT used.client AS "client!: String", (SELECT max(started_at) FROM entry
                 WHERE started_at >= used.quarter * 900000 AND client = used.client) AS "latest: i64"
             FROM (SELECT client, max(quarter) AS quarter FROM rollup GROUP BY client) AS used"#
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        Ok(rows.into_iter().filter_map(|row| Some((row.client, Timestamp::from_millis(row.latest?)))).collect())
    }

    pub async fn call(&self, id: CallId) -> Result<Option<Entry>, Error> {
        self.flush().await?;
        let id = id.to_string();
        let row = sqlx::query_as!(EntryRow, "SELECT * FROM entry WHERE call_id = ?1", id)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.db.error(&error))?;
        Ok(self.with_attempts(row.into_iter().collect()).await?.pop())
    }

    async fn with_attempts(&self, rows: Vec<EntryRow>) -> Result<Vec<Entry>, Error> {
        let ids: Vec<&str> = rows.iter().map(|row| row.call_id.as_str()).collect();
        let mut attempts = self.attempts_of(&ids).await?;
        rows.into_iter()
            .map(|row| {
                let sent = attempts.remove(&row.call_id).unwrap_or_default();
                let sent: Result<Vec<Attempt>, Unreadable> = sent.into_iter().map(AttemptRow::into_attempt).collect();
                sent.and_then(|sent| row.into_entry(sent)).map_err(|Unreadable| self.db.unreadable("an entry"))
            })
            .collect()
    }

    /// By call, in order.
    pub(crate) async fn attempts_of(&self, calls: &[&str]) -> Result<BTreeMap<String, Vec<AttemptRow>>, Error> {
        let ids = serde_json::to_string(calls).map_err(|error| Error::unwritable("a question", &error))?;
        let rows = sqlx::query_as!(
            AttemptRow,
            "SELECT * FROM attempt WHERE call_id IN (SELECT value FROM json_each(?1)) ORDER BY call_id, number",
            ids
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        let mut by_call: BTreeMap<String, Vec<AttemptRow>> = BTreeMap::new();
        for row in rows {
            by_call.entry(row.call_id.clone()).or_default().push(row);
        }
        Ok(by_call)
    }

    /// From the rollups where they can answer, else from the entries.
    async fn parts(&self, by: &By, moments: Range<Timestamp>, calendar: Calendar) -> Result<Parts, Error> {
        let wanted = Wanted { by: by.name(), source: "", ended_from: 0, takes: Duration::ZERO };
        let days_of = match by {
            By::Session => return self.sums_of_all_entries(moments, wanted).await,
            By::Tag(key) => return self.sums_by_tag(moments, key).await,
            By::Hour => None,
            By::Day => (calendar == self.calendar).then_some(calendar),
            By::Model
            | By::Client
            | By::Person
            | By::Project
            | By::Tenant
            | By::Account
            | By::Upstream
            | By::Device => Some(self.calendar),
        };
        self.sums(moments, days_of, wanted).await
    }
}

impl Filter {
    pub(crate) fn bounds(&self) -> (i64, i64, Option<&str>) {
        let from = self.from.map_or(i64::MIN, Timestamp::as_millis);
        let to = self.to.map_or(i64::MAX, Timestamp::as_millis);
        (from, to, self.client.as_deref())
    }
}

/// Numbers of days become dates; names stay.
fn key_of_day(by: &By, key: &str) -> String {
    match by {
        By::Day => Calendar::day_of_number(key.parse().unwrap_or(0)).to_string(),
        By::Hour
        | By::Model
        | By::Client
        | By::Person
        | By::Project
        | By::Tenant
        | By::Session
        | By::Account
        | By::Upstream
        | By::Tag(_) => key.to_owned(),
        By::Device => String::new(),
    }
}

/// Quarters become the days or hours of a zone; names stay.
fn key_of_quarter(by: &By, key: &str, calendar: Calendar) -> String {
    let start = || Timestamp::from_millis(key.parse::<i64>().unwrap_or(0) * QUARTER_MS);
    match by {
        By::Day => calendar.day(start()).to_string(),
        By::Hour => hour(start(), calendar),
        By::Model
        | By::Client
        | By::Person
        | By::Project
        | By::Tenant
        | By::Session
        | By::Account
        | By::Upstream
        | By::Tag(_) => key.to_owned(),
        By::Device => String::new(),
    }
}

/// With its offset, so that the hour which comes twice in autumn is two.
fn hour(at: Timestamp, calendar: Calendar) -> String {
    let zone: Tz = calendar.zone_name().parse().unwrap_or(Tz::UTC);
    let local = DateTime::from_timestamp_millis(at.as_millis()).unwrap_or_default().with_timezone(&zone);
    let start = local - chrono::Duration::minutes(local.minute().into());
    start.to_rfc3339_opts(SecondsFormat::Secs, true)
}
