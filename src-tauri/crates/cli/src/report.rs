//! `report`: what a week or a month came to.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::csv_cell;
use app::report::{PartView, ReportQuestion, ReportView, SessionCostView, headline, remarks};

use crate::args::Report;
use crate::books::only_kept;
use crate::table::{Cell, clean, count, dollars, lines, name, number, percent, table};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn report(place: &Place, question: Report) -> anyhow::Result<ExitCode> {
    let Report { period, last, from, shape, csv } = question;
    let asked = ReportQuestion { period: Some(period.name().to_owned()), from, last };
    let Answer::Report(report) = place.ask(Command::Report(asked)).await? else { return Err(unexpected()) };
    match (shape.json, csv) {
        (true, _) => print_json(&report)?,
        (false, true) => print(&report_csv(&report))?,
        (false, false) => print(&shown(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(report: &ReportView) -> String {
    let mut text = lines(&headline(report)) + "\n";
    text += &report.kept_from.as_deref().map_or_else(String::new, only_kept);
    text += &remarks(report).iter().map(|remark| format!("  {}\n", clean(remark))).collect::<String>();
    for (what, rows) in kinds(report) {
        if !rows.is_empty() {
            text += &format!("\n{}", parts(what, rows));
        }
    }
    if !report.sessions.is_empty() {
        text += &format!("\nThe dearest sessions\n{}", report.sessions.iter().map(session).collect::<String>());
    }
    text
}

fn kinds(report: &ReportView) -> [(&'static str, &[PartView]); 3] {
    [("model", &report.models), ("client", &report.clients), ("project", &report.projects)]
}

fn parts(what: &str, rows: &[PartView]) -> String {
    let row = |part: &PartView| -> Vec<Cell> {
        let change = part.change.map_or_else(|| "–".to_owned(), |change| format!("{:+.0} %", change * 100.0));
        let before = part.before_usd.as_deref().map_or_else(|| "–".to_owned(), |usd| dollars(Some(usd)));
        vec![
            name(if part.name.is_empty() { "–" } else { &part.name }),
            number(count(part.calls)),
            number(dollars(part.cost_usd.as_deref())),
            number(percent(part.share)),
            number(before),
            number(change),
        ]
    };
    table(&[what, "calls", "cost", "share", "before", "change"], &rows.iter().map(row).collect::<Vec<_>>())
}

fn session(session: &SessionCostView) -> String {
    let whose = match &session.session {
        Some(name) => format!("session {}", clean(name)),
        None => "calls without a session".to_owned(),
    };
    let project = session.project.as_deref().map_or_else(String::new, |name| format!(", project {}", clean(name)));
    let cost = dollars(session.cost_usd.as_deref());
    format!("  {cost}  {whose} of {}{project}\n", clean(&session.client))
}

/// A line for the whole, then one for each model, client and project.
fn report_csv(report: &ReportView) -> String {
    let mut text =
        "period,from,to,kind,name,calls,cost_usd,share,before_usd,change,expected_usd,gap_usd\r\n".to_owned();
    let whole = PartView {
        calls: report.calls,
        cost_usd: report.used_usd.clone(),
        share: 1.0,
        before_usd: report.before_usd.clone(),
        change: report.change,
        ..PartView::default()
    };
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    text += &line(report, "total", &whole, &format!("{},{}", some(&report.expected_usd), some(&report.gap_usd)));
    for (what, rows) in kinds(report) {
        text += &rows.iter().map(|part| line(report, what, part, ",")).collect::<String>();
    }
    text
}

fn line(report: &ReportView, kind: &str, part: &PartView, end: &str) -> String {
    let ReportView { period, from, until, .. } = report;
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let change = part.change.map_or_else(String::new, |change| format!("{change:.4}"));
    let (cost, before) = (some(&part.cost_usd), some(&part.before_usd));
    let name = csv_cell(&part.name);
    format!("{period},{from},{until},{kind},{name},{},{cost},{:.4},{before},{change},{end}\r\n", part.calls, part.share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_as_csv_has_the_whole_and_its_parts_in_one_table() {
        let part = PartView {
            name: "=cmd".to_owned(),
            calls: 2,
            cost_usd: Some("3.000000000".to_owned()),
            share: 0.75,
            before_usd: Some("2.000000000".to_owned()),
            change: Some(0.5),
        };
        let report = ReportView {
            period: "week".to_owned(),
            from: "2026-11-16T00:00:00.000Z".to_owned(),
            until: "2026-11-23T00:00:00.000Z".to_owned(),
            calls: 3,
            used_usd: Some("4.000000000".to_owned()),
            expected_usd: Some("5.000000000".to_owned()),
            gap_usd: Some("-1.000000000".to_owned()),
            models: vec![part],
            ..ReportView::default()
        };
        let text = report_csv(&report);
        let lines: Vec<&str> = text.split("\r\n").collect();
        let columns = |line: &str| line.split(',').count();
        assert!(lines[..3].iter().all(|line| columns(line) == 12), "{lines:?}");
        let span = "week,2026-11-16T00:00:00.000Z,2026-11-23T00:00:00.000Z";
        assert_eq!(lines[1], format!("{span},total,,3,4.000000000,1.0000,,,5.000000000,-1.000000000"));
        assert_eq!(lines[2], format!("{span},model,\"'=cmd\",2,3.000000000,0.7500,2.000000000,0.5000,,"));
        assert_eq!(lines[3..], [""]);
    }
}
