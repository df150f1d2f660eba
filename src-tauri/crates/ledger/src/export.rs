//! Calls as CSV: RFC 4180, and no cell that a spreadsheet would run.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write;

use domain::money::Usd;
use domain::time::Timestamp;
use serde::Deserialize;

use crate::spending::Filter;
use crate::{Error, Ledger};

/// Rows held at once.
const CHUNK: u32 = 500;

pub(crate) enum Cell<'a> {
    Text(&'a str),
    Number(i64),
    Instant(i64),
    Cost(i64),
    Yes(bool),
    Empty,
}

/// What the columns are made of.
#[derive(Deserialize)]
struct Row<'a> {
    seq: i64,
    started_at: i64,
    ended_at: i64,
    status: i64,
    input_tokens: i64,
    cache_write_5m_tokens: i64,
    cache_write_1h_tokens: i64,
    cache_read_tokens: i64,
    output_tokens: i64,
    web_searches: i64,
    cost_nanos: Option<i64>,
    estimated: i64,
    waited_ms: i64,
    first_byte_ms: Option<i64>,
    total_ms: i64,
    attempts: i64,
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow)]
    person: Cow<'a, str>,
    #[serde(borrow)]
    project: Cow<'a, str>,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    tags: Cow<'a, str>,
    #[serde(borrow)]
    class: Cow<'a, str>,
    #[serde(borrow)]
    upstream: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    price_id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    cache: Cow<'a, str>,
    #[serde(borrow)]
    error: Cow<'a, str>,
}

type Column = (&'static str, for<'r> fn(&'r Row<'r>) -> Cell<'r>);

#[rustfmt::skip]
const COLUMNS: [Column; 31] = [
    ("call_id", |row| Cell::Text(&row.call_id)),
    ("request_id", |row| Cell::Text(&row.request_id)),
    ("started_at", |row| Cell::Instant(row.started_at)),
    ("ended_at", |row| Cell::Instant(row.ended_at)),
    ("client", |row| Cell::Text(&row.client)),
    ("person", |row| Cell::Text(&row.person)),
    ("project", |row| Cell::Text(&row.project)),
    ("tenant", |row| Cell::Text(&row.tenant)),
    ("session", |row| Cell::Text(&row.session)),
    ("tags", |row| if row.tags == "{}" { Cell::Empty } else { Cell::Text(&row.tags) }),
    ("priority", |row| Cell::Text(&row.class)),
    ("upstream", |row| Cell::Text(&row.upstream)),
    ("model", |row| Cell::Text(&row.model)),
    ("status", |row| Cell::Number(row.status)),
    ("outcome", |row| Cell::Text(&row.outcome)),
    ("input_tokens", |row| Cell::Number(row.input_tokens)),
    ("cache_write_5m_tokens", |row| Cell::Number(row.cache_write_5m_tokens)),
    ("cache_write_1h_tokens", |row| Cell::Number(row.cache_write_1h_tokens)),
    ("cache_read_tokens", |row| Cell::Number(row.cache_read_tokens)),
    ("output_tokens", |row| Cell::Number(row.output_tokens)),
    ("web_searches", |row| Cell::Number(row.web_searches)),
    ("cost_usd", |row| row.cost_nanos.map_or(Cell::Empty, Cell::Cost)),
    ("price_id", |row| Cell::Text(&row.price_id)),
    ("estimated", |row| Cell::Yes(row.estimated != 0)),
    ("source", |row| Cell::Text(&row.source)),
    ("waited_ms", |row| Cell::Number(row.waited_ms)),
    ("first_byte_ms", |row| row.first_byte_ms.map_or(Cell::Empty, Cell::Number)),
    ("total_ms", |row| Cell::Number(row.total_ms)),
    ("cache", |row| Cell::Text(&row.cache)),
    ("attempts", |row| Cell::Number(row.attempts)),
    ("error", |row| Cell::Text(&row.error)),
];

/// Which columns an export has, in their order.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Column>);

impl Columns {
    pub fn all() -> Columns {
        Columns(COLUMNS.to_vec())
    }

    /// In their order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// From `call_id,cost_usd`.
    pub fn named(names: &str) -> Result<Columns, UnknownColumn> {
        columns_named(names, &COLUMNS).map(Columns)
    }
}

/// Those of `all` that `names` lists, in its order.
pub(crate) fn columns_named<C: Copy>(
    names: &str,
    all: &[(&'static str, C)],
) -> Result<Vec<(&'static str, C)>, UnknownColumn> {
    let find = |name: &str| all.iter().find(|(n, _)| *n == name).copied();
    let unknown = |name: &str| {
        let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        UnknownColumn { name: name.to_owned(), known: known.join(",") }
    };
    names.split(',').map(str::trim).map(|name| find(name).ok_or_else(|| unknown(name))).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownColumn {
    pub name: String,
    known: String,
}

impl fmt::Display for UnknownColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no column {:?}; there are {}", self.name, self.known)
    }
}

impl std::error::Error for UnknownColumn {}

impl Ledger {
    /// Calls that have ended, by their start. Holds a few hundred rows at once, and no snapshot of the database between them.
    pub async fn export_calls<W: Write + Send>(
        &self,
        filter: &Filter,
        columns: &Columns,
        out: &mut W,
    ) -> Result<(), Error> {
        self.flush().await?;
        let mut text = header(&columns.0);
        let mut found = self.rows_after(filter, (i64::MIN, i64::MIN)).await?;
        loop {
            let rows: Vec<Row<'_>> = serde_json::from_str(&found).map_err(|_| self.db.unreadable("an entry"))?;
            let Some(last) = rows.last() else { break };
            let next = self.rows_after(filter, (last.started_at, last.seq));
            // SQLite looks for the next ones while these are written.
            let (next, written) = tokio::join!(next, async {
                for row in &rows {
                    push_line(&mut text, columns.0.iter().map(|(_, cell)| cell(row)));
                }
                let written = out.write_all(text.as_bytes());
                text.clear();
                written
            });
            written.map_err(|error| Error::unwritable("the export", &error))?;
            found = next?;
        }
        out.write_all(text.as_bytes()).map_err(|error| Error::unwritable("the export", &error))?;
        out.flush().map_err(|error| Error::unwritable("the export", &error))
    }

    /// Rows as one text: each cell by itself would be copied twice.
    async fn rows_after(&self, filter: &Filter, after: (i64, i64)) -> Result<String, Error> {
        let (from, to, client) = filter.bounds();
        let (after_time, after_seq) = after;
        // The index is entered where the last answer ended, not where the first began.
        let from = from.max(after_time);
        sqlx::query_scalar!(
            r#"SELECT json_group_array(json_array(
                 seq, started_at, ended_at, status, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
                 cache_read_tokens, output_tokens, web_searches, cost_nanos, estimated, waited_ms, first_byte_ms,
                 total_ms, attempts, call_id, request_id, client, person, project, tenant, session, tags, class, upstream,
                 model, outcome, price_id, source, cache, error)) AS "rows!: String"
             FROM (SELECT * FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND (?3 IS NULL OR client = ?3)
                 AND (started_at, seq) > (?4, ?5) ORDER BY started_at, seq LIMIT ?6)"#,
            from,
            to,
            client,
            after_time,
            after_seq,
            CHUNK
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))
    }
}

pub(crate) fn header<C>(columns: &[(&'static str, C)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(",") + "\r\n"
}

pub(crate) fn push_line<'a>(text: &mut String, cells: impl Iterator<Item = Cell<'a>>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            text.push(',');
        }
        push_cell(text, &cell);
    }
    text.push_str("\r\n");
}

fn push_cell(text: &mut String, cell: &Cell<'_>) {
    // Writing to a string can't fail.
    let _ = match cell {
        Cell::Text(value) => {
            push_text(text, value);
            Ok(())
        }
        Cell::Number(value) => write!(text, "{value}"),
        Cell::Instant(millis) => write!(text, "{}", Timestamp::from_millis(*millis)),
        Cell::Cost(nanos) => write!(text, "{}", Usd::from_nanos(*nanos)),
        Cell::Yes(yes) => write!(text, "{yes}"),
        Cell::Empty => Ok(()),
    };
}

/// A text as a cell: quoted where it has to be, and nothing that a spreadsheet would run.
pub fn csv_cell(value: &str) -> String {
    let mut cell = String::new();
    push_text(&mut cell, value);
    cell
}

fn push_text(text: &mut String, value: &str) {
    if is_plain(value) {
        text.push_str(value);
        return;
    }
    let formula = is_formula(value);
    let special = |c: char| matches!(c, '"' | ',') || c.is_control();
    if !formula && !value.contains(special) && value.trim() == value {
        text.push_str(value);
        return;
    }
    text.push_str(if formula { "\"'" } else { "\"" });
    for c in value.chars() {
        match c {
            '"' => text.push_str("\"\""),
            '\n' | '\r' | '\t' => text.push(c),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Nearly all cells are: nothing in them has to be looked at twice.
fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':'))
        && !value.starts_with('-')
}

/// Would a spreadsheet run it? Some skip what is invisible before the sign, some take its full-width form.
fn is_formula(value: &str) -> bool {
    let visible = value.trim_start_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    });
    visible.starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠'])
}
