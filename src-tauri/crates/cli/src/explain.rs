//! `explain`: why the bill is as high as it is.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::explain::{BillView, ExplainView, SessionBillView};

use crate::args::Explain;
use crate::books::only_kept;
use crate::table::{clean, count, dollars};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn explain(place: &Place, question: Explain) -> anyhow::Result<ExitCode> {
    let (from, to) = match question.month {
        Some(month) => (Some(month.clone()), Some(month)),
        None => (question.days.from, question.days.to),
    };
    let Answer::Explain(explained) = place.ask(Command::Explain { from, to }).await? else { return Err(unexpected()) };
    if question.shape.json {
        print_json(&explained)?;
    } else if explained.total.calls == 0 {
        tell(&format!("No call started from {} to {}.\n", explained.from, explained.to));
    } else {
        print(&shown(&explained))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(explained: &ExplainView) -> String {
    let head =
        format!("{} to {}, days of {}: {}", explained.from, explained.to, explained.timezone, sum(&explained.total));
    let deleted = explained.kept_from.as_deref().map_or_else(String::new, only_kept);
    let mut text = head + &deleted + &sentences(&explained.total);
    if !explained.sessions.is_empty() {
        text += "\nThe dearest sessions\n";
    }
    for session in &explained.sessions {
        text += &format!("\n{}{}", name(session), sum(&session.bill));
        text += &sentences(&session.bill);
    }
    text
}

fn sum(bill: &BillView) -> String {
    let cost = dollars(bill.cost_usd.as_deref());
    format!("{cost} for {} {}\n", count(bill.calls), if bill.calls == 1 { "call" } else { "calls" })
}

fn sentences(bill: &BillView) -> String {
    bill.sentences.iter().map(|sentence| format!("  {}\n", clean(sentence))).collect()
}

fn name(session: &SessionBillView) -> String {
    let whose = match &session.session {
        Some(name) => format!("session {}", clean(name)),
        None => "calls without a session".to_owned(),
    };
    let project =
        session.project.as_deref().map_or_else(String::new, |project| format!(", project {}", clean(project)));
    format!("{whose} of {}{project}, from {}: ", clean(&session.client), session.from)
}
