//! `savings`: what calls could have cost less.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::savings::{SavingView, SavingsView};

use crate::args::Savings;
use crate::table::{Cell, count, dollars, name, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, asked: Savings) -> anyhow::Result<ExitCode> {
    let Savings { days, to_model, shape } = asked;
    let question = Command::Savings { from: days.from, to: days.to, to_model };
    let Answer::Savings(found) = place.ask(question).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&found)?;
    } else if found.rows.is_empty() {
        tell(&format!("No call from {} to {} could have cost less in these ways.\n", found.from, found.to));
    } else {
        print(&shown(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(found: &SavingsView) -> String {
    let head = format!("{} to {}, days of {}\n\n", found.from, found.to, found.timezone);
    let rows: Vec<_> = found.rows.iter().map(|row| cells(row, &found.to_model)).collect();
    let table = table(&["client", "model", "calls", "", "cost", "would cost", "saves"], &rows);
    let sum = dollars(Some(&found.saves_usd));
    format!(
        "{head}{table}\n{sum} in all. Nothing is sent elsewhere by itself: whether the answers would do is yours to judge.\n"
    )
}

fn cells(row: &SavingView, to_model: &str) -> Vec<Cell> {
    let how = match row.kind.as_str() {
        "short" => format!("short, without tools: to {to_model}"),
        _ => "in the background: as batches".to_owned(),
    };
    let usd = |usd: &str| number(dollars(Some(usd)));
    vec![
        name(&row.client),
        words(&row.model),
        number(count(row.calls)),
        words(how),
        usd(&row.cost_usd),
        usd(&row.would_cost_usd),
        usd(&row.saves_usd),
    ]
}
