//! `tidegate reserve … -- CMD`: capacity is set aside, the command runs, and what is left is given back.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use app::api::{Answer, Command, ReserveQuestion};
use app::view::ReservationView;
use app::{clients, clock, process};
use tokio::process::Child;

use crate::args::Reserve;
use crate::serve::{Stop, Stops};
use crate::{Place, tell, unexpected};

pub(crate) async fn reserve(place: &Place, reserve: Reserve) -> anyhow::Result<ExitCode> {
    // From here on no signal ends us before the reservation is given back.
    let mut stops = Stops::watch()?;
    let Answer::Reservation(held) = place.ask(Command::Reserve(question(&reserve))).await? else {
        return Err(unexpected());
    };
    let ended = run(&held, reserve.command, &mut stops).await;
    // Asked of whoever runs now: the app may have been restarted meanwhile. One that has expired is no failure.
    drop(place.ask(Command::Release { id: held.id, client: held.client }).await);
    ended
}

fn question(reserve: &Reserve) -> ReserveQuestion {
    ReserveQuestion {
        client: reserve.client.clone(),
        token_sha256: token().as_deref().map(clients::hash),
        calls: reserve.calls,
        input_tokens: reserve.input_tokens,
        output_tokens: reserve.output_tokens,
        model: reserve.model.clone(),
        ttl_ms: u64::try_from(reserve.ttl.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The one that the command will call with.
fn token() -> Option<String> {
    const NAMES: [&str; 3] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "TIDEGATE_TOKEN"];
    NAMES.iter().filter_map(|name| std::env::var(name).ok()).find(|token| token.starts_with("tg-"))
}

/// How the command ended is how we end.
async fn run(held: &ReservationView, command: Vec<OsString>, stops: &mut Stops) -> anyhow::Result<ExitCode> {
    tokio::select! {
        () = tokio::time::sleep(time_until(&held.starts_at)) => {}
        _ = stops.next() => return Ok(ExitCode::from(STOPPED)),
    }
    let mut command = command.into_iter();
    let program = command.next().context("there is no command to run")?;
    let shown = program.to_string_lossy().into_owned();
    let mut child = tokio::process::Command::new(program)
        .args(command)
        .env("TIDEGATE_RESERVATION", &held.id)
        .env("ANTHROPIC_CUSTOM_HEADERS", custom_headers(&held.id))
        .spawn()
        .with_context(|| format!("{shown} can't be run"))?;
    let status = end_of(&mut child, held, stops).await.with_context(|| format!("the end of {shown} is unknown"))?;
    Ok(ExitCode::from(code(status)))
}

/// As a shell says that a signal ended a command.
const STOPPED: u8 = 130;

async fn end_of(child: &mut Child, held: &ReservationView, stops: &mut Stops) -> std::io::Result<ExitStatus> {
    let mut expiry = std::pin::pin!(tokio::time::sleep(time_until(&held.expires_at)));
    let mut expired = false;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            () = &mut expiry, if !expired => {
                expired = true;
                tell("the reservation has expired and the command still runs: its calls are paced like all others from now on\n");
            }
            stop = stops.next() => pass_on(stop, child),
        }
    }
}

/// Ctrl-C in a terminal reaches the command by itself; twice would be more than was meant.
fn pass_on(stop: Stop, child: &Child) {
    let has_it = stop == Stop::Interrupt && std::io::stdin().is_terminal();
    if let Some(pid) = child.id().filter(|_| !has_it) {
        process::ask_to_end(pid);
    }
}

/// Claude Code sends these lines with each of its calls.
fn custom_headers(id: &str) -> String {
    let own = std::env::var("ANTHROPIC_CUSTOM_HEADERS").unwrap_or_default();
    let line_break = if own.is_empty() { "" } else { "\n" };
    format!("{own}{line_break}x-tidegate-reservation: {id}")
}

fn time_until(moment: &str) -> Duration {
    clock::until(moment)
}

#[cfg(unix)]
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().map(|signal| signal + 128);
    status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(not(unix))]
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
