//! `minutes`: what was used in each of them, and which were above a limit.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::minutes::{MinuteView, MinutesGroupView, MinutesQuestion, MinutesView};

use crate::args::Minutes;
use crate::table::{Cell, count, lines, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, asked: Minutes) -> anyhow::Result<ExitCode> {
    let Minutes { days, group, upstream, shape } = asked;
    let question = MinutesQuestion { from: days.from, to: days.to, upstream, group };
    let Answer::Minutes(view) = place.ask(Command::Minutes(question)).await? else { return Err(unexpected()) };
    match &view.of {
        _ if shape.json => print_json(&view)?,
        None => tell(&format!("No such call started from {} to {}.\n", view.from, view.to)),
        Some(of) => print(&shown(&view, of))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(view: &MinutesView, of: &MinutesGroupView) -> String {
    let limit = |limit: Option<u64>, what: &str| limit.map(|limit| format!("{} {what}", count(limit)));
    let limits = [
        limit(of.requests_limit, "requests"),
        limit(of.input_tokens_limit, "input tokens"),
        limit(of.output_tokens_limit, "output tokens"),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let limits = if limits.is_empty() { "no limit known".to_owned() } else { limits.join(", ") };
    let head = format!("{} of {}, a minute: {limits}\n\n", lines(&of.group), lines(&of.upstream));
    let rows: Vec<_> = view.minutes.iter().map(cells).collect();
    let bursts = view.minutes.iter().filter(|minute| !minute.over.is_empty()).count();
    let table = table(&["minute", "requests", "input", "output", "above"], &rows);
    format!("{head}{table}\n{bursts} of {} minutes above a limit\n", view.minutes.len())
}

fn cells(minute: &MinuteView) -> Vec<Cell> {
    vec![
        words(&minute.at),
        number(count(minute.requests)),
        number(count(minute.input_tokens)),
        number(count(minute.output_tokens)),
        words(minute.over.join(", ").replace('_', " ")),
    ]
}
