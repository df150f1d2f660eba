//! Alerts in a terminal: `alert list`, `alert test`, `alert snooze`.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::view::AlertView;

use crate::args::Alert;
use crate::table::{Cell, name, table, words};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn run(place: &Place, act: Alert) -> anyhow::Result<ExitCode> {
    let (command, shape) = match act {
        Alert::Test { channel } => {
            place.ask(Command::AlertTest { channel: channel.clone() }).await?;
            print(&format!("channel {channel} took the test alert\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Alert::List(shape) => (Command::AlertList, shape),
        Alert::Snooze { id, until, shape } => (Command::AlertSnooze { id, until }, shape),
    };
    let Answer::Alerts(alerts) = place.ask(command).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&alerts)?;
    } else {
        print(&shown(&alerts))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(alerts: &[AlertView]) -> String {
    if alerts.is_empty() {
        return "nothing was told yet\n".to_owned();
    }
    let row = |alert: &AlertView| -> Vec<Cell> {
        vec![
            name(&alert.alert_id),
            words(&alert.severity),
            words(&alert.crossed_at),
            words(state(alert)),
            words(&alert.message),
        ]
    };
    table(&["id", "", "since", "until", ""], &alerts.iter().map(row).collect::<Vec<_>>())
}

/// When it ended, or what keeps it quiet.
fn state(alert: &AlertView) -> String {
    match (&alert.resolved_at, &alert.snoozed_until) {
        (Some(resolved), _) => resolved.clone(),
        (None, Some(until)) => format!("goes on, snoozed until {until}"),
        (None, None) => "goes on".to_owned(),
    }
}
