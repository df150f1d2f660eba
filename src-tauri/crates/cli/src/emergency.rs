//! The emergency by hand: `emergency on`, `off`, `status`.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::view::{EmergencyReportView, EmergencyView};

use crate::args::Emergency;
use crate::table::{clean, count, dollars, time};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn run(place: &Place, act: Emergency) -> anyhow::Result<ExitCode> {
    let (command, shape) = match act {
        Emergency::On { reason, shape } => (Command::EmergencyOn { reason }, shape),
        Emergency::Off(shape) => (Command::EmergencyOff, shape),
        Emergency::Status(shape) => (Command::EmergencyStatus, shape),
    };
    let Answer::Emergency(emergency) = place.ask(command).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&emergency)?;
    } else {
        print(&shown(&emergency))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(emergency: &EmergencyView) -> String {
    let now = match &emergency.since {
        Some(since) => shown_active(emergency, since),
        None => "no emergency\n".to_owned(),
    };
    now + &emergency.last.as_ref().map(shown_last).unwrap_or_default()
}

pub(crate) fn shown_active(emergency: &EmergencyView, since: &str) -> String {
    let mut text = format!("emergency since {since}: {}\n", clean(emergency.reason.as_deref().unwrap_or_default()));
    let normal = if emergency.causes.iter().any(|cause| cause == "week") {
        "only critical calls spend what is left of the week, with or without it ([emergency] enter_week)"
    } else {
        "normal calls go at half the pace"
    };
    text += &format!("  background calls wait, {normal}; `tidegate emergency off` ends it\n");
    text += &format!(
        "  held {} calls  spent {}  saved {}\n",
        count(emergency.calls_held),
        dollars(Some(&emergency.spent_usd)),
        dollars(Some(&emergency.saved_usd))
    );
    for (what, list) in [("call", &emergency.contacts), ("see", &emergency.pages)] {
        text += &list.iter().map(|entry| format!("  {what} {}\n", clean(entry))).collect::<String>();
    }
    text
}

fn shown_last(last: &EmergencyReportView) -> String {
    format!(
        "the last one began {} and took {}: {}\n  held {} calls  spent {}  saved {}\n",
        last.since,
        time(last.length_s.saturating_mul(1_000)),
        clean(&last.reason),
        count(last.calls_held),
        dollars(Some(&last.spent_usd)),
        dollars(Some(&last.saved_usd))
    )
}
