//! `import`: what other programs wrote down.

use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use app::api::{Answer, Command};
use app::control::Desk;
use app::{ImportView, Progress, log};

use crate::args::{Import, ImportClaudeCode};
use crate::table::{count, lines};
use crate::{Place, bundle, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, import: Import) -> anyhow::Result<ExitCode> {
    match import {
        Import::ClaudeCode(question) => claude_code(place, question).await,
        Import::Bundle(question) => bundle::import(place, question).await,
    }
}

async fn claude_code(place: &Place, question: ImportClaudeCode) -> anyhow::Result<ExitCode> {
    let paths: Vec<PathBuf> =
        question.paths.iter().map(std::path::absolute).collect::<Result<_, _>>().context("this is no path")?;
    let desk = place.desk().await?;
    if question.no_watch {
        let ended = desk.ask(Command::WatchClaudeCode { paths, on: false }).await;
        desk.close().await?;
        ended?;
        tell("Logs are not watched any more.\n");
        return Ok(ExitCode::SUCCESS);
    }
    let mut import = tokio::select! {
        import = taken_in(&desk, paths.clone()) => import,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped: what was taken in stays, and the next import goes on from there")),
    };
    if question.watch && import.is_ok() {
        let watched = desk.ask(Command::WatchClaudeCode { paths, on: true }).await;
        import = watched.map_err(Into::into).and(import);
    }
    desk.close().await?;
    let import = import?;
    for named in &import.named {
        tell(&(lines(named) + "\n"));
    }
    if question.shape.json {
        print_json(&import)?
    } else {
        print(&shown(&import))?
    }
    Ok(ExitCode::SUCCESS)
}

async fn taken_in(desk: &Desk, paths: Vec<PathBuf>) -> anyhow::Result<ImportView> {
    if let Desk::Here { app, .. } = desk {
        return Ok(app.import_claude_code(&paths, progress()).await?);
    }
    let mut import = pin!(desk.ask(Command::ImportClaudeCode { paths }));
    let mut draw = progress();
    loop {
        tokio::select! {
            answer = &mut import => {
                draw(Progress::default());
                let Answer::Import(import) = answer? else { return Err(unexpected()) };
                return Ok(import);
            }
            () = tokio::time::sleep(ASK_EVERY) => {
                // An app of another version doesn't tell; its import goes on all the same.
                if let Ok(Answer::ImportProgress(Some(now))) = desk.ask(Command::ImportProgress).await {
                    draw(Progress { bytes: now.bytes, bytes_total: now.bytes_total, calls: now.calls });
                }
            }
        }
    }
}

/// How often the running app is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How often the line on the terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// One line that is drawn over, where somebody looks at a terminal.
fn progress() -> impl FnMut(Progress) + Send {
    let is_watched = stderr().is_terminal() && !log::is_quiet();
    let mut drawn: Option<Instant> = None;
    move |now| {
        if !is_watched {
            return;
        }
        let is_done = now.bytes >= now.bytes_total;
        if is_done || drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
            drawn = Some(Instant::now());
            // Where stderr is closed nobody looks.
            let _ = write!(stderr(), "\r{}{}", bar(now), if is_done { "\r\x1b[K" } else { "\x1b[K" });
        }
    }
}

fn bar(now: Progress) -> String {
    const WIDTH: u64 = 30;
    let share = |of: u64| (now.bytes.min(now.bytes_total) * of).checked_div(now.bytes_total).unwrap_or(of);
    let full = usize::try_from(share(WIDTH)).unwrap_or(0);
    let empty = usize::try_from(WIDTH).unwrap_or(0) - full;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    format!(
        "[{}{}] {:>3} %  {} of {} MB, {} calls",
        "#".repeat(full),
        " ".repeat(empty),
        share(100),
        megabytes(now.bytes),
        megabytes(now.bytes_total),
        count(now.calls)
    )
}

fn shown(import: &ImportView) -> String {
    let calls =
        |calls: u64, what: &str| format!("{} {}{what}", count(calls), if calls == 1 { "call" } else { "calls" });
    let mut text = format!(
        "{}, {} known better, {} counted elsewhere already; {} of {} logs had something new\n",
        calls(import.calls, " new"),
        count(import.revised),
        count(import.superseded),
        count(import.files_read),
        count(import.files)
    );
    if import.limits_reached > 0 {
        let times = if import.limits_reached == 1 { "time" } else { "times" };
        text += &format!("a subscription's window was spent {} {times}\n", count(import.limits_reached));
    }
    let skipped = import.skipped;
    let reasons = [
        (skipped.unreadable_lines, "unreadable lines"),
        (skipped.too_long_lines, "lines longer than 16 MiB"),
        (skipped.lines_from_the_future, "lines from the future"),
        (skipped.torn_lines, "unfinished last lines"),
        (skipped.links, "links"),
        (skipped.files, "files that can't be read"),
        (skipped.too_old, "calls from before what the ledger keeps ([ledger] retention)"),
    ];
    let passed: Vec<String> =
        reasons.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))).collect();
    if !passed.is_empty() {
        text += &format!("passed over: {}\n", passed.join(", "));
    }
    text
}
