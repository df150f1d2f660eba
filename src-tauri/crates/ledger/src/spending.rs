//! The questions: what was used, what it cost, which calls there were.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Timelike};
use domain::call::{Attempt, CallId, Entry};
use domain::money::Usd;
use domain::time::{Calendar, Timestamp, Tz};
use domain::usage::Tokens;

use crate::call::{AttemptRow, EntryRow, Unreadable};
use crate::{Error, Ledger};

/// Milliseconds of a rollup: every zone's days and hours are whole quarters.
pub(crate) const QUARTER_MS: i64 = 900_000;

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
    Upstream,
    Tag(String),
}

impl By {
    const NAMES: [(&'static str, By); 9] = [
        ("day", By::Day),
        ("hour", By::Hour),
        ("model", By::Model),
        ("client", By::Client),
        ("person", By::Person),
        ("project", By::Project),
        ("tenant", By::Tenant),
        ("session", By::Session),
        ("upstream", By::Upstream),
    ];

    /// `day`, `model`, … or `tag:KEY`.
    pub fn named(name: &str) -> Result<By, NotAQuestion> {
        match name.strip_prefix("tag:") {
            Some(key) if !key.is_empty() => Ok(By::Tag(key.to_owned())),
            _ => By::NAMES.into_iter().find(|(n, _)| *n == name).map(|(_, by)| by).ok_or(NotAQuestion),
        }
    }

    fn name(&self) -> &'static str {
        By::NAMES.iter().find(|(_, by)| by == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAQuestion;

impl fmt::Display for NotAQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of day, hour, model, client, person, project, tenant, session, upstream, tag:KEY")
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
}

impl Totals {
    /// `None` where there were calls and the price of none is known.
    pub fn cost(&self) -> Option<Usd> {
        (self.calls == 0 || self.unpriced_calls < self.calls).then_some(self.known_cost)
    }

    fn add(&mut self, other: Totals) {
        self.calls = self.calls.saturating_add(other.calls);
        self.tokens += other.tokens;
        self.known_cost += other.known_cost;
        self.unpriced_calls = self.unpriced_calls.saturating_add(other.unpriced_calls);
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

/// One row as SQL sums it.
struct Sums {
    key: String,
    calls: i64,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    cost: i64,
    unpriced: i64,
}

impl Ledger {
    /// Totals of the calls that started from `from` on and before `to`.
    pub async fn usage(
        &self,
        by: &By,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<UsageReport, Error> {
        self.flush().await?;
        let rows = self.sums(by, from, to).await.map_err(|error| self.db.error(&error))?;
        let mut by_key: BTreeMap<String, Totals> = BTreeMap::new();
        for row in rows {
            by_key.entry(key_in_zone(by, &row.key, calendar)).or_default().add(row.totals());
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
            | By::Upstream
            | By::Tag(_) => rows.sort_by_key(|row| std::cmp::Reverse(row.totals.known_cost)),
        }
        Ok(UsageReport { rows, total })
    }

    pub async fn spend(&self, calendar: Calendar, now: Timestamp) -> Result<Spend, Error> {
        self.flush().await?;
        let starts = [calendar.start_of_day(now), calendar.start_of_week(now), calendar.start_of_month(now)];
        let mut totals = [Totals::default(); 3];
        for (total, from) in totals.iter_mut().zip(starts) {
            let rows = self.sums(&By::Upstream, from, calendar.end_of_day(now)).await;
            rows.map_err(|error| self.db.error(&error))?.iter().for_each(|row| total.add(row.totals()));
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

    pub async fn call(&self, id: CallId) -> Result<Option<Entry>, Error> {
        self.flush().await?;
        let id = id.to_string();
        let row = sqlx::query_as!(EntryRow, "SELECT * FROM entry WHERE call_id = ?1", id)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.db.error(&error))?;
        Ok(self.with_attempts(row.into_iter().collect()).await?.pop())
    }

    /// At most `limit` rows with their numbers, in the order of their start, after the place where the last answer ended.
    /// They come as one text: a value of its own for each of forty columns costs more than reading that.
    pub(crate) async fn rows_after(
        &self,
        filter: &Filter,
        after: (i64, i64),
        limit: u32,
    ) -> Result<Vec<(i64, EntryRow)>, Error> {
        let (from, to, client) = filter.bounds();
        let (after_time, after_seq) = after;
        // The index is entered where the last answer ended, not where the first began.
        let from = from.max(after_time);
        let rows = sqlx::query_scalar!(
            r#"SELECT json_group_array(json_array(seq, json_array(
                 call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class,
                 model, max_tokens, stream, body_bytes, upstream, request_id, attempts, status, outcome,
                 input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens,
                 web_searches, batch, fast, us_only, cost_nanos, price_id, estimated, source, waited_ms,
                 first_byte_ms, total_ms, cache, error))) AS "rows!: String"
             FROM (SELECT * FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND (?3 IS NULL OR client = ?3)
                 AND (started_at, seq) > (?4, ?5) ORDER BY started_at, seq LIMIT ?6)"#,
            from,
            to,
            client,
            after_time,
            after_seq,
            limit
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        serde_json::from_str(&rows).map_err(|_| self.db.unreadable("an entry"))
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
    async fn sums(&self, by: &By, from: Timestamp, to: Timestamp) -> sqlx::Result<Vec<Sums>> {
        let (from, to) = (from.as_millis(), to.as_millis());
        let whole_quarters = from.rem_euclid(QUARTER_MS) == 0 && to.rem_euclid(QUARTER_MS) == 0;
        match by {
            By::Tenant | By::Session => self.sums_of_entries(by.name(), from, to).await,
            By::Tag(key) => self.sums_by_tag(key, from, to).await,
            By::Day | By::Hour | By::Model | By::Client | By::Person | By::Project | By::Upstream => {
                if whole_quarters {
                    self.sums_of_rollups(by.name(), from / QUARTER_MS, to / QUARTER_MS).await
                } else {
                    self.sums_of_entries(by.name(), from, to).await
                }
            }
        }
    }

    async fn sums_of_rollups(&self, by: &str, from: i64, to: i64) -> sqlx::Result<Vec<Sums>> {
        sqlx::query_as!(
            Sums,
            r#"SELECT CASE ?1 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
                 WHEN 'project' THEN project WHEN 'upstream' THEN upstream ELSE CAST(quarter AS TEXT) END AS "key!: String",
                 sum(calls) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 sum(cost_nanos) AS "cost!: i64", sum(unpriced_calls) AS "unpriced!: i64"
             FROM rollup WHERE quarter >= ?2 AND quarter < ?3 GROUP BY 1"#,
            by,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await
    }

    async fn sums_of_entries(&self, by: &str, from: i64, to: i64) -> sqlx::Result<Vec<Sums>> {
        sqlx::query_as!(
            Sums,
            r#"SELECT CASE ?1 WHEN 'model' THEN model WHEN 'client' THEN client WHEN 'person' THEN person
                 WHEN 'project' THEN project WHEN 'upstream' THEN upstream WHEN 'tenant' THEN tenant
                 WHEN 'session' THEN session ELSE CAST(started_at / 900000 AS TEXT) END AS "key!: String",
                 count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 coalesce(sum(cost_nanos), 0) AS "cost!: i64", sum(cost_nanos IS NULL) AS "unpriced!: i64"
             FROM counted WHERE started_at >= ?2 AND started_at < ?3 AND outcome <> 'refused' GROUP BY 1"#,
            by,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await
    }

    async fn sums_by_tag(&self, key: &str, from: i64, to: i64) -> sqlx::Result<Vec<Sums>> {
        sqlx::query_as!(
            Sums,
            r#"SELECT coalesce((SELECT value FROM json_each(tags) AS tag WHERE tag.key = ?1), '') AS "key!: String",
                 count(*) AS "calls!: i64", sum(input_tokens) AS "input!: i64",
                 sum(cache_write_5m_tokens) AS "cache_write_5m!: i64", sum(cache_write_1h_tokens) AS "cache_write_1h!: i64",
                 sum(cache_read_tokens) AS "cache_read!: i64", sum(output_tokens) AS "output!: i64",
                 coalesce(sum(cost_nanos), 0) AS "cost!: i64", sum(cost_nanos IS NULL) AS "unpriced!: i64"
             FROM counted WHERE started_at >= ?2 AND started_at < ?3 AND outcome <> 'refused' GROUP BY 1"#,
            key,
            from,
            to
        )
        .fetch_all(&self.readers)
        .await
    }
}

impl Sums {
    fn totals(&self) -> Totals {
        let natural = |sum: i64| u64::try_from(sum).unwrap_or(0);
        Totals {
            calls: natural(self.calls),
            tokens: Tokens {
                input: natural(self.input),
                cache_write_5m: natural(self.cache_write_5m),
                cache_write_1h: natural(self.cache_write_1h),
                cache_read: natural(self.cache_read),
                output: natural(self.output),
            },
            known_cost: Usd::from_nanos(self.cost),
            unpriced_calls: natural(self.unpriced),
        }
    }
}

impl Filter {
    fn bounds(&self) -> (i64, i64, Option<&str>) {
        let from = self.from.map_or(i64::MIN, Timestamp::as_millis);
        let to = self.to.map_or(i64::MAX, Timestamp::as_millis);
        (from, to, self.client.as_deref())
    }
}

/// Quarters become the days or hours of a zone; names stay.
fn key_in_zone(by: &By, key: &str, calendar: Calendar) -> String {
    let start = || Timestamp::from_millis(key.parse::<i64>().unwrap_or(0) * QUARTER_MS);
    match by {
        By::Day => calendar.day(start()).to_string(),
        By::Hour => hour(start(), calendar),
        By::Model | By::Client | By::Person | By::Project | By::Tenant | By::Session | By::Upstream | By::Tag(_) => {
            key.to_owned()
        }
    }
}

/// With its offset, so that the hour which comes twice in autumn is two.
fn hour(at: Timestamp, calendar: Calendar) -> String {
    let zone: Tz = calendar.zone_name().parse().unwrap_or(Tz::UTC);
    let local = DateTime::from_timestamp_millis(at.as_millis()).unwrap_or_default().with_timezone(&zone);
    let start = local - chrono::Duration::minutes(local.minute().into());
    start.to_rfc3339_opts(SecondsFormat::Secs, true)
}
