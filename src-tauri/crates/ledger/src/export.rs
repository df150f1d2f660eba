//! Calls as CSV: RFC 4180, and no cell that a spreadsheet would run.

use std::fmt::{self, Write as _};
use std::io::Write;

use domain::money::Usd;
use domain::time::Timestamp;

use crate::call::EntryRow;
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

type Column = (&'static str, fn(&EntryRow) -> Cell<'_>);

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
        let mut rows = self.rows_after(filter, (i64::MIN, i64::MIN), CHUNK).await?;
        while let Some((seq, last)) = rows.last() {
            let next = self.rows_after(filter, (last.started_at, *seq), CHUNK);
            // SQLite looks for the next ones while these are written.
            let (next, written) = tokio::join!(next, async {
                for (_, row) in &rows {
                    push_line(&mut text, columns.0.iter().map(|(_, cell)| cell(row)));
                }
                let written = out.write_all(text.as_bytes());
                text.clear();
                written
            });
            written.map_err(|error| Error::unwritable("the export", &error))?;
            rows = next?;
        }
        out.write_all(text.as_bytes()).map_err(|error| Error::unwritable("the export", &error))?;
        out.flush().map_err(|error| Error::unwritable("the export", &error))
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

fn push_text(text: &mut String, value: &str) {
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

/// Would a spreadsheet run it? Some skip what is invisible before the sign, some take its full-width form.
fn is_formula(value: &str) -> bool {
    let visible = value.trim_start_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    });
    visible.starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠'])
}
