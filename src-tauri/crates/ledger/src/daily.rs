//! Sums of days and months as CSV, a line for each client, person, project, upstream and model, or for fewer of these.

use std::io::Write;

use domain::time::{Calendar, Timestamp};
use sqlx::SqliteConnection;

use crate::export::{Cell, UnknownColumn, columns_named, header, push_line};
use crate::rollup::QUARTER_MS;
use crate::spending::Filter;
use crate::summing::span;
use crate::{Error, Ledger};

/// What a line is the sum of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    Day,
    Month,
}

impl Span {
    /// The end of the day or month that holds `at`.
    fn end(self, at: Timestamp, calendar: Calendar) -> Timestamp {
        match self {
            Span::Day => calendar.end_of_day(at),
            Span::Month => calendar.end_of_month(at),
        }
    }

    /// `2026-11-24`, `2026-11`
    fn name(self, at: Timestamp, calendar: Calendar) -> String {
        match self {
            Span::Day => calendar.day(at).to_string(),
            Span::Month => calendar.day(at).format("%Y-%m").to_string(),
        }
    }
}

/// What was used together in one span of time.
pub(crate) struct Sum {
    pub(crate) client: String,
    pub(crate) person: String,
    pub(crate) project: String,
    pub(crate) upstream: String,
    pub(crate) model: String,
    pub(crate) calls: i64,
    pub(crate) input: i64,
    pub(crate) cache_write_5m: i64,
    pub(crate) cache_write_1h: i64,
    pub(crate) cache_read: i64,
    pub(crate) output: i64,
    pub(crate) cost: i64,
    pub(crate) unpriced: i64,
    /// Of another device that handed it over; '' for this one.
    pub(crate) device: String,
}

/// A sum and when it was.
struct Line<'a> {
    date: &'a str,
    zone: &'a str,
    sum: &'a Sum,
}

type Column = (&'static str, for<'a> fn(&'a Line<'a>) -> Cell<'a>);

/// Which device of a team handed a line over.
const DEVICE: &str = "device";

/// What tells lines of one date apart.
const KEYS: [&str; 6] = ["client", "person", "project", "upstream", "model", DEVICE];

#[rustfmt::skip]
const COLUMNS: [Column; 16] = [
    ("date", |line| Cell::Text(line.date)),
    ("timezone", |line| Cell::Text(line.zone)),
    ("client", |line| Cell::Text(&line.sum.client)),
    ("person", |line| Cell::Text(&line.sum.person)),
    ("project", |line| Cell::Text(&line.sum.project)),
    ("upstream", |line| Cell::Text(&line.sum.upstream)),
    ("model", |line| Cell::Text(&line.sum.model)),
    ("calls", |line| Cell::Number(line.sum.calls)),
    ("input_tokens", |line| Cell::Number(line.sum.input)),
    ("cache_write_5m_tokens", |line| Cell::Number(line.sum.cache_write_5m)),
    ("cache_write_1h_tokens", |line| Cell::Number(line.sum.cache_write_1h)),
    ("cache_read_tokens", |line| Cell::Number(line.sum.cache_read)),
    ("output_tokens", |line| Cell::Number(line.sum.output)),
    // Unknown, where no call's price is known.
    ("cost_usd", |line| if line.sum.unpriced < line.sum.calls { Cell::Cost(line.sum.cost) } else { Cell::Empty }),
    ("unpriced_calls", |line| Cell::Number(line.sum.unpriced)),
    (DEVICE, |line| Cell::Text(&line.sum.device)),
];

/// Which columns an export of sums has, in their order, and by what it sums.
#[derive(Clone, Debug)]
pub struct SumColumns {
    columns: Vec<Column>,
    by: Vec<&'static str>,
}

impl SumColumns {
    /// Those that everybody wants: the device has to be named.
    pub fn all() -> SumColumns {
        let columns = COLUMNS.iter().filter(|(name, _)| *name != DEVICE).copied().collect();
        SumColumns { columns, by: KEYS.to_vec() }
    }

    /// `columns` as `date,person,cost_usd`, all without them. With `by` as `person,project` the lines that agree in these are
    /// one, and there is no column of what no longer tells them apart.
    pub fn named(columns: Option<&str>, by: Option<&str>) -> Result<SumColumns, UnknownColumn> {
        let keys: Vec<Column> = COLUMNS.into_iter().filter(|(name, _)| KEYS.contains(name)).collect();
        let all = SumColumns::all();
        let by: Option<Vec<&str>> =
            by.map(|by| Ok(columns_named(by, &keys)?.into_iter().map(|(name, _)| name).collect())).transpose()?;
        let Some(by) = by else {
            let columns = columns.map_or(Ok(all.columns), |names| columns_named(names, &COLUMNS))?;
            return Ok(SumColumns { columns, ..all });
        };
        let left = COLUMNS.into_iter().filter(|(name, _)| by.contains(name) || !KEYS.contains(name));
        let left: Vec<Column> = left.collect();
        let columns = columns.map_or_else(|| Ok(left.clone()), |names| columns_named(names, &left))?;
        Ok(SumColumns { columns, by })
    }

    /// In their order.
    pub fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(name, _)| *name).collect()
    }
}

impl Ledger {
    /// Days or months of the calendar's zone, the first and the last cut to `filter`. One of them is held at once.
    pub async fn export_sums<W: Write + Send>(
        &self,
        span: Span,
        filter: &Filter,
        calendar: Calendar,
        columns: &SumColumns,
        out: &mut W,
    ) -> Result<(), Error> {
        self.flush().await?;
        let mut text = header(&columns.columns);
        let mut from = filter.from.unwrap_or_default();
        let to = filter.to.unwrap_or(Timestamp::from_millis(i64::MAX));
        while let Some(start) = self.next_summed(from, to, calendar).await? {
            let end = span.end(start, calendar).min(to);
            let client = filter.client.as_deref();
            let mut sums = self.sums_between(start, end, client).await?;
            sums.extend(self.sums_handed_over(start, end, calendar, client).await?);
            let date = span.name(start, calendar);
            for sum in &summed_by(&columns.by, sums) {
                let line = Line { date: &date, zone: calendar.zone_name(), sum };
                push_line(&mut text, columns.columns.iter().map(|(_, cell)| cell(&line)));
            }
            out.write_all(text.as_bytes()).map_err(|error| Error::unwritable("the export", &error))?;
            text.clear();
            from = end;
        }
        out.write_all(text.as_bytes()).map_err(|error| Error::unwritable("the export", &error))?;
        out.flush().map_err(|error| Error::unwritable("the export", &error))
    }

    /// How many calls there were, from the sums: of those that were deleted too.
    pub async fn calls_about(&self, filter: &Filter) -> Result<u64, Error> {
        let (from, to) = (filter.from.unwrap_or_default(), filter.to.unwrap_or(Timestamp::from_millis(i64::MAX)));
        let sums = self.sums_between(from, to, filter.client.as_deref()).await?;
        Ok(sums.iter().map(|sum| u64::try_from(sum.calls).unwrap_or(0)).sum())
    }

    /// Where the next moment is of which there are sums, own or handed over.
    async fn next_summed(
        &self,
        from: Timestamp,
        to: Timestamp,
        calendar: Calendar,
    ) -> Result<Option<Timestamp>, Error> {
        let handed_over = self.next_handed_over(from, to, calendar).await?;
        Ok(self.next_used(from, to).await?.into_iter().chain(handed_over).min())
    }

    /// Where the next quarter of an hour with calls begins: years without any cost one question.
    async fn next_used(&self, from: Timestamp, to: Timestamp) -> Result<Option<Timestamp>, Error> {
        let (first, last) =
            (from.as_millis().div_euclid(QUARTER_MS), to.as_millis().saturating_sub(1).div_euclid(QUARTER_MS));
        let found = sqlx::query_scalar!(
            r#"SELECT min(quarter) AS "quarter: i64" FROM rollup WHERE quarter >= ?1 AND quarter <= ?2"#,
            first,
            last
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        let start = found.map(|quarter| Timestamp::from_millis(quarter.saturating_mul(QUARTER_MS)).max(from));
        Ok(start.filter(|start| *start < to))
    }

    /// From the rollups, but for what is left at the edges: entries may be deleted, their sums are not.
    async fn sums_between(&self, from: Timestamp, to: Timestamp, client: Option<&str>) -> Result<Vec<Sum>, Error> {
        let sums = async {
            let mut tx = self.readers.begin().await?;
            let cut = span(&mut tx, from..to, None).await?;
            let [quarters, _] = cut.quarters;
            let mut found = vec![];
            if !quarters.is_empty() {
                found.extend(sums_of_quarters(&mut tx, quarters.start, quarters.end, client).await?);
            }
            for edge in cut.edges.iter().filter(|edge| !edge.is_empty()) {
                found.extend(sums_of_moments(&mut tx, edge.start, edge.end, client).await?);
            }
            tx.commit().await?;
            Ok(found)
        };
        let mut found = sums.await.map_err(|error| self.db.error(&error))?;
        found.sort_by(|one, other| one.names().cmp(&other.names()));
        Ok(joined(found))
    }
}

async fn sums_of_quarters(
    conn: &mut SqliteConnection,
    from: i64,
    to: i64,
    client: Option<&str>,
) -> sqlx::Result<Vec<Sum>> {
    sqlx::query_as!(
        Sum,
        r#"SELECT client, person, project, upstream, model, sum(calls) AS "calls!: i64",
             sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
             sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
             sum(output_tokens) AS "output!: i64", sum(cost_nanos) AS "cost!: i64",
             sum(unpriced_calls) AS "unpriced!: i64", '' AS "device!: String"
         FROM rollup WHERE quarter >= ?1 AND quarter < ?2 AND (?3 IS NULL OR client = ?3)
         GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"#,
        from,
        to,
        client
    )
    .fetch_all(conn)
    .await
}

async fn sums_of_moments(
    conn: &mut SqliteConnection,
    from: i64,
    to: i64,
    client: Option<&str>,
) -> sqlx::Result<Vec<Sum>> {
    sqlx::query_as!(
        Sum,
        r#"SELECT client, person, project, upstream, model, count(*) AS "calls!: i64",
             sum(input_tokens) AS "input!: i64", sum(cache_write_5m_tokens) AS "cache_write_5m!: i64",
             sum(cache_write_1h_tokens) AS "cache_write_1h!: i64", sum(cache_read_tokens) AS "cache_read!: i64",
             sum(output_tokens) AS "output!: i64", coalesce(sum(cost_nanos), 0) AS "cost!: i64",
             sum(cost_nanos IS NULL) AS "unpriced!: i64", '' AS "device!: String"
         FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND (?3 IS NULL OR client = ?3)
             AND outcome <> 'refused'
         GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"#,
        from,
        to,
        client
    )
    .fetch_all(conn)
    .await
}

/// Those that agree in `by` as one, in the order of their names.
fn summed_by(by: &[&str], mut sums: Vec<Sum>) -> Vec<Sum> {
    if by.len() == KEYS.len() {
        return sums;
    }
    for sum in &mut sums {
        let Sum { client, person, project, upstream, model, device, .. } = sum;
        for (key, name) in KEYS.into_iter().zip([client, person, project, upstream, model, device]) {
            if !by.contains(&key) {
                name.clear();
            }
        }
    }
    sums.sort_by(|one, other| one.names().cmp(&other.names()));
    joined(sums)
}

impl Sum {
    fn names(&self) -> [&str; 6] {
        [&self.device, &self.client, &self.person, &self.project, &self.upstream, &self.model]
    }

    /// Others may have written these numbers: no sum of theirs overflows.
    fn add(&mut self, more: &Sum) {
        for (sum, more) in [
            (&mut self.calls, more.calls),
            (&mut self.input, more.input),
            (&mut self.cache_write_5m, more.cache_write_5m),
            (&mut self.cache_write_1h, more.cache_write_1h),
            (&mut self.cache_read, more.cache_read),
            (&mut self.output, more.output),
            (&mut self.cost, more.cost),
            (&mut self.unpriced, more.unpriced),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Of sums in the order of their names one for each.
pub(crate) fn joined(sums: Vec<Sum>) -> Vec<Sum> {
    let mut joined: Vec<Sum> = vec![];
    for more in sums {
        match joined.last_mut().filter(|sum| sum.names() == more.names()) {
            Some(sum) => sum.add(&more),
            None => joined.push(more),
        }
    }
    joined
}
