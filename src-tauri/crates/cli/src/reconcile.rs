//! `reconcile`: the ledger against the upstream's own reports.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::reconcile::{DifferenceView, ReconcileView, ReconciledAccountView, ReconciledLineView, ReconciledPersonView};

use crate::args::Reconcile;
use crate::table::{Cell, clean, count, dollars, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn reconcile(place: &Place, question: Reconcile) -> anyhow::Result<ExitCode> {
    let (from, to) = (question.from, question.to);
    let Answer::Reconcile(view) = place.ask(Command::Reconcile { from, to }).await? else { return Err(unexpected()) };
    if question.shape.json {
        print_json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    for account in &view.accounts {
        print(&shown(&view, account))?;
        account.notes.iter().for_each(|note| tell(&format!("note: {}\n", clean(note))));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(view: &ReconcileView, account: &ReconciledAccountView) -> String {
    let mut text = format!(
        "{} at {}, {} to {} (days of UTC)\nreported {}, ledger {}, difference {}\n",
        clean(&account.upstreams.join(", ")),
        clean(&account.host),
        view.from,
        view.to,
        dollars(Some(&account.reported_usd)),
        dollars(Some(&account.ledger_usd)),
        dollars(Some(&account.difference_usd))
    );
    if account.causes.is_empty() {
        text += "Both agree, to the token and the nano-dollar.\n";
    } else {
        let rows: Vec<Vec<Cell>> = account.causes.iter().map(cause).collect();
        text += &format!("\n{}", table(&["tokens", "searches", "cost", "why"], &rows));
        text += &days(account);
    }
    if !account.people.is_empty() {
        let rows: Vec<Vec<Cell>> = account.people.iter().map(person).collect();
        let heads = ["reported", "ledger", "reported cost", "ledger cost", "Claude Code of", "verdict"];
        text += &format!("\n{}", table(&heads, &rows));
    }
    for suggestion in &account.suggestions {
        text += &format!("\n{}", clean(suggestion));
    }
    text += &match &account.reconciled_to {
        Some(day) => format!("\nreconciled to {day}\n"),
        None if account.lines.iter().any(|line| is_open(&line)) => {
            format!("\nnot reconciled: {} has something left to explain\n", view.from)
        }
        None => format!("\nnot reconciled yet: {} isn't over\n", view.from),
    };
    text
}

fn cause(cause: &DifferenceView) -> Vec<Cell> {
    vec![
        number(signed(cause.tokens)),
        number(signed(cause.web_searches)),
        number(dollars(cause.usd.as_deref())),
        words(&cause.says),
    ]
}

fn is_open(line: &&ReconciledLineView) -> bool {
    line.differences.iter().any(|part| !part.explained)
}

/// The lines in which something is left to explain, the first of them.
fn days(account: &ReconciledAccountView) -> String {
    const SHOWN_MAX: usize = 20;
    let open: Vec<&ReconciledLineView> = account.lines.iter().filter(is_open).collect();
    if open.is_empty() {
        return String::new();
    }
    let row = |line: &&ReconciledLineView| {
        let open = line.differences.iter().filter(|part| !part.explained);
        let causes: Vec<&str> = open.map(|part| part.cause.as_str()).collect();
        vec![
            words(&line.day),
            words(&line.model),
            words(line.class.replace('_', " ")),
            number(count(line.reported)),
            number(count(line.ledger)),
            number(dollars(line.reported_usd.as_deref())),
            number(dollars(line.ledger_usd.as_deref())),
            words(causes.join(", ")),
        ]
    };
    let rows: Vec<Vec<Cell>> = open.iter().take(SHOWN_MAX).map(row).collect();
    let heads = ["day", "model", "class", "reported", "ledger", "reported cost", "ledger cost", "open"];
    let more = open.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!("and {more} more; --json has all\n") } else { String::new() };
    format!("\n{}{more}", table(&heads, &rows))
}

fn person(person: &ReconciledPersonView) -> Vec<Cell> {
    let verdict = match person.verdict.as_str() {
        "agree" => "agrees",
        "elsewhere" => "more is reported: used on other machines",
        _ => "less is reported",
    };
    vec![
        number(count(person.reported_tokens)),
        number(count(person.ledger_tokens)),
        number(dollars(Some(&person.reported_usd))),
        number(dollars(Some(&person.ledger_usd))),
        words(&person.person),
        words(verdict),
    ]
}

fn signed(tokens: i64) -> String {
    let sign = if tokens < 0 { "-" } else { "" };
    format!("{sign}{}", count(tokens.unsigned_abs()))
}
