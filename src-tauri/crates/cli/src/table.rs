//! Tables for people: aligned, numbers to the right, nothing in them that moves a terminal.

use std::fmt::Write as _;

/// Enough for the ids of models that name their region.
const NAME_CHARS_MAX: usize = 48;

/// A cell's text and whether it is a number.
pub(crate) struct Cell {
    text: String,
    is_number: bool,
}

pub(crate) fn words(text: impl AsRef<str>) -> Cell {
    Cell { text: clean(text.as_ref()), is_number: false }
}

pub(crate) fn number(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), is_number: true }
}

/// A name that others chose: so much of it that the row stays a row.
pub(crate) fn name(text: &str) -> Cell {
    let text = clean(text);
    let cut = text
        .char_indices()
        .nth(NAME_CHARS_MAX)
        .map(|_| text.chars().take(NAME_CHARS_MAX - 1).collect::<String>() + "…");
    Cell { text: cut.unwrap_or(text), is_number: false }
}

/// A name or nothing.
pub(crate) fn maybe(text: Option<&str>) -> Cell {
    words(text.unwrap_or("–"))
}

/// Control characters as they would be written, so that no name moves a cursor.
pub(crate) fn clean(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut clean, c| {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
        clean
    })
}

/// As `clean`, for a text of several lines.
pub(crate) fn lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

pub(crate) fn table(heads: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let numeric = |column: usize| rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.is_number);
    let head = heads.iter().enumerate().map(|(column, head)| (*head, numeric(column)));
    let mut text = line(head, &widths);
    for row in rows {
        text += &line(row.iter().map(|cell| (cell.text.as_str(), cell.is_number)), &widths);
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = (&'a str, bool)>, widths: &[usize]) -> String {
    let mut line = String::new();
    for ((text, to_the_right), width) in cells.zip(widths) {
        // Writing to a string can't fail.
        let _ = if to_the_right { write!(line, "{text:>width$}  ") } else { write!(line, "{text:<width$}  ") };
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `$1,234.56`, small money `$0.0021`, the least of it to the nano-dollar; `unknown` where it is.
pub(crate) fn dollars(usd: Option<&str>) -> String {
    let Some(nanos) = usd.and_then(nanos) else { return "unknown".to_owned() };
    let (sign, nanos) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    if nanos >= 1_000_000_000 {
        let cents = (nanos + 5_000_000) / 10_000_000;
        return format!("{sign}${}.{:02}", count(cents / 100), cents % 100);
    }
    // What rounds to nothing is not nothing.
    if (1..500).contains(&nanos) {
        return format!("{sign}$0.{}", format!("{nanos:09}").trim_end_matches('0'));
    }
    let micros = format!("{:06}", (nanos + 500) / 1_000);
    format!("{sign}$0.{:0<2}", micros.trim_end_matches('0'))
}

/// Nano-dollars of an amount with nine decimals.
fn nanos(usd: &str) -> Option<i64> {
    let (whole, part) = usd.split_once('.')?;
    if part.len() == 9 { format!("{whole}{part}").parse().ok() } else { None }
}

/// `12.5 %` of a fraction
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// `340 ms`, `2.1 s`, `4 min`
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000.. => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = [vec![words("a"), number(count(12_345))], vec![words("long\u{1b}[1m"), number(7)]];
        assert_eq!(
            table(&["name", "calls"], &rows),
            "name            calls\na              12,345\nlong\\u{1b}[1m       7\n"
        );
    }

    #[test]
    fn a_name_without_end_leaves_the_table_a_table() {
        let [long, fits] = [name(&"m".repeat(1_000)), name(&"m".repeat(NAME_CHARS_MAX))];
        assert_eq!(long.text, "m".repeat(NAME_CHARS_MAX - 1) + "…");
        assert_eq!(fits.text, "m".repeat(NAME_CHARS_MAX));
        assert_eq!(name("two\nlines").text, "two\\nlines");
    }

    #[test]
    fn money_is_short_where_it_is_large() {
        for (usd, expected) in [
            (Some("1234.567890000"), "$1,234.57"),
            (Some("0.002100000"), "$0.0021"),
            (Some("0.000000000"), "$0.00"),
            (Some("0.000000001"), "$0.000000001"),
            (Some("0.000000400"), "$0.0000004"),
            (Some("0.000000600"), "$0.000001"),
            (Some("-0.500000000"), "-$0.50"),
            (None, "unknown"),
        ] {
            assert_eq!(dollars(usd), expected);
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!([time(340), time(2_100), time(240_000)], ["340 ms", "2.1 s", "4 min"]);
    }
}
