//! `connect` and `disconnect`: a program's calls through this gate, by its own settings.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use app::api::{Answer, Command};
use app::claude_code::{ClaudeCodeDoneView, ClaudeCodeView};

use crate::args::{Connect, Disconnect, Program};
use crate::table::lines;
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn connect(place: &Place, Connect { program, dry_run, shape }: Connect) -> anyhow::Result<ExitCode> {
    let Program::ClaudeCode = program;
    let folder = own_folder();
    let Answer::ClaudeCode(view) = place.ask(Command::ClaudeCode { folder: folder.clone() }).await? else {
        return Err(unexpected());
    };
    if dry_run && shape.json {
        print_json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(reason) = &view.refused {
        bail!("{reason}");
    }
    if dry_run {
        print(&shown(&view))?;
        return Ok(ExitCode::SUCCESS);
    }
    tell(&shown(&view));
    let command = Command::ClaudeCodeConnect { folder, seen: Some(view.seen) };
    let Answer::ClaudeCodeDone(done) = place.ask(command).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&done)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("Claude Code calls through this gate, as {}.\n", done.client.as_deref().unwrap_or("nobody"));
    if let Some(backup) = &done.backup {
        text += &format!("What stood there before is in {}.\n", lines(backup));
    }
    print(&(text + "`tidegate disconnect claude-code` takes it back.\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn disconnect(place: &Place, Disconnect { program, shape }: Disconnect) -> anyhow::Result<ExitCode> {
    let Program::ClaudeCode = program;
    let Answer::ClaudeCodeDone(done) = place.ask(Command::ClaudeCodeDisconnect).await? else {
        return Err(unexpected());
    };
    if shape.json {
        print_json(&done)?
    } else {
        print(&taken_back(&done))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Of whoever runs this, not of the app that answers.
fn own_folder() -> Option<PathBuf> {
    let named = std::env::var("CLAUDE_CONFIG_DIR").ok();
    let named = named.as_deref().and_then(|named| named.split(',').next()).map(str::trim).filter(|dir| !dir.is_empty());
    let folder = named.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".claude")))?;
    std::path::absolute(folder).ok()
}

fn shown(view: &ClaudeCodeView) -> String {
    let mut text = format!("{}\n", lines(&view.file));
    for line in &view.lines {
        text += &format!("{} {}\n", line.sign, lines(&line.text));
    }
    for note in &view.notes {
        text += &format!("{}\n", lines(note));
    }
    text
}

fn taken_back(done: &ClaudeCodeDoneView) -> String {
    let mut text = format!("Claude Code goes its own way again: {}\n", lines(&done.file));
    for left in &done.left {
        text += &format!("{}\n", lines(left));
    }
    if let Some(backup) = &done.backup {
        text += &format!("What stood there before is in {}.\n", lines(backup));
    }
    text
}
