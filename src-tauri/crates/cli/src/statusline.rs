//! `statusline`: what Claude Code runs to fill its status line.

use std::io::{Read, stdin};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use app::clock;
use app::statusline::{STATUS_BYTES_MAX, Status};

use crate::table::clean;
use crate::{Place, print, tell};

pub(crate) fn statusline(place: &Place) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    stdin().take(STATUS_BYTES_MAX + 1).read_to_end(&mut text).context("stdin can't be read")?;
    let now = clock::now().timestamp;
    let parsed = match text.len() as u64 > STATUS_BYTES_MAX {
        true => Err(anyhow!("stdin holds more than a status line's JSON")),
        false => Status::parse(&text).context(
            "stdin is no status of Claude Code: name `tidegate statusline` as statusLine.command in its settings",
        ),
    };
    // What was seen before is worth a line all the same.
    let (status, wrong) = parsed.map_or_else(|wrong| (Status::default(), Some(wrong)), |status| (status, None));
    // Where the settings are wrong the line is shown all the same; other commands say what is wrong.
    let calendar = place.load_settings().ok().map(|settings| settings.gateway.calendar);
    if let Err(error) = status.keep(&place.data_dir, now) {
        tell(&format!("the windows' state is not kept: {error}\n"));
    }
    print(&(clean(&status.line(&place.data_dir, now, calendar)) + "\n"))?;
    wrong.map_or(Ok(ExitCode::SUCCESS), Err)
}
