//! Alerts as CSV: RFC 4180, one row each, the earliest first.

use std::io::{self, Write};

use domain::time::Timestamp;
use ledger::csv_cell;

use crate::view::AlertView;

/// Which columns, in which order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AlertColumns(Vec<Column>);

type Column = (&'static str, fn(&AlertView) -> String);

const COLUMNS: [Column; 9] = [
    ("alert_id", |alert| alert.alert_id.clone()),
    ("rule", |alert| alert.rule.clone()),
    ("scope", |alert| alert.scope.clone()),
    ("threshold", |alert| alert.threshold.clone()),
    ("value", |alert| alert.value.clone()),
    ("severity", |alert| alert.severity.clone()),
    ("crossed_at", |alert| alert.crossed_at.clone()),
    ("resolved_at", |alert| alert.resolved_at.clone().unwrap_or_default()),
    ("channels", |alert| alert.channels.join(" ")),
];

impl AlertColumns {
    pub(crate) fn all() -> AlertColumns {
        AlertColumns(COLUMNS.to_vec())
    }

    /// In their order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// `rule,value`
    pub(crate) fn named(names: &str) -> Result<AlertColumns, String> {
        let column = |name: &str| COLUMNS.into_iter().find(|(known, _)| *known == name);
        let unknown = |name: &str| format!("there is no column {name:?}: {}", COLUMNS.map(|(name, _)| name).join(","));
        let columns = names.split(',').map(str::trim).map(|name| column(name).ok_or_else(|| unknown(name)));
        Ok(AlertColumns(columns.collect::<Result<_, _>>()?))
    }
}

/// Those that were crossed from `from` on and before `to`; `client`: of this one's scope only.
pub(crate) fn write_csv(
    alerts: &[AlertView],
    (from, to): (Timestamp, Timestamp),
    client: Option<&str>,
    AlertColumns(columns): &AlertColumns,
    out: &mut impl Write,
) -> io::Result<()> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    write!(out, "{}\r\n", names.join(","))?;
    let crossed = |alert: &&AlertView| Timestamp::parse(&alert.crossed_at).is_some_and(|at| from <= at && at < to);
    let own = |alert: &&AlertView| match client {
        Some(client) => alert.scope.split(' ').next() == Some(&format!("client:{client}")),
        None => true,
    };
    for alert in alerts.iter().filter(crossed).filter(own) {
        let cells: Vec<String> = columns.iter().map(|(_, cell)| csv_cell(&cell(alert))).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}
