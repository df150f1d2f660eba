//! An import of Claude Code's logs beside `ccusage`, which adds the same logs up: both from the start of the process to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use support::books::count;

use crate::logs::{self, Book};
use crate::stats::median;

pub(crate) struct ImportFigures {
    pub(crate) bytes: u64,
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) memory_mib: f64,
    /// Where `CCUSAGE` names no program there is nothing to compare with.
    pub(crate) theirs: Option<Theirs>,
}

pub(crate) struct Theirs {
    pub(crate) seconds: f64,
    pub(crate) memory_mib: f64,
    /// Of our time in the same round, the median.
    pub(crate) ratio: f64,
    pub(crate) agrees: bool,
}

const SEED: u64 = 5;

pub(crate) fn run(bytes: u64, rounds: usize) -> anyhow::Result<ImportFigures> {
    let folder = tempfile::tempdir()?;
    let logs = folder.path().join("claude");
    let book = logs::write(&logs, bytes, SEED)?;
    let ccusage = std::env::var_os("CCUSAGE").map(PathBuf::from);
    let (mut ours, mut theirs, mut ratios, mut agrees) = (Vec::new(), Vec::new(), Vec::new(), true);
    for round in 0..rounds {
        let data = folder.path().join(format!("data-{round}"));
        let our_run = import(&logs, &data)?;
        check(&data, &book)?;
        fs::remove_dir_all(&data)?;
        if let Some(ccusage) = &ccusage {
            let (their_run, said) = add_up(ccusage, &logs, folder.path())?;
            agrees &= said == Book { calls: 0, ..book };
            ratios.push(our_run.seconds / their_run.seconds);
            theirs.push(their_run);
        }
        ours.push(our_run);
    }
    let seconds = |runs: &[Run]| median(&runs.iter().map(|run| run.seconds).collect::<Vec<_>>());
    let memory = |runs: &[Run]| runs.iter().map(|run| run.memory_mib).fold(0.0, f64::max);
    Ok(ImportFigures {
        bytes,
        calls: book.calls,
        seconds: seconds(&ours),
        memory_mib: memory(&ours),
        theirs: ccusage.map(|_| Theirs {
            seconds: seconds(&theirs),
            memory_mib: memory(&theirs),
            ratio: median(&ratios),
            agrees,
        }),
    })
}

struct Run {
    seconds: f64,
    memory_mib: f64,
}

fn import(logs: &Path, data: &Path) -> anyhow::Result<Run> {
    let mut command = Command::new(support::process::binary());
    command.arg("--data-dir").arg(data).args(["import", "claude-code"]).arg(logs);
    Ok(timed(command, &data.with_extension("out"))?.0)
}

/// The ledger has each call once, and all that it used.
fn check(data: &Path, book: &Book) -> anyhow::Result<()> {
    let mut command = Command::new(support::process::binary());
    command.arg("--data-dir").arg(data).args(["usage", "--from", "2025-01-01", "--to", "2027-12-31", "--json"]);
    let (_, said) = timed(command, &data.with_extension("usage"))?;
    let total = &serde_json::from_str::<Value>(&said)?["total"];
    let tokens = |name: &str| count(&total[name]);
    let found = Book {
        calls: tokens("calls"),
        input: tokens("input_tokens"),
        cache_write: tokens("cache_write_5m_tokens") + tokens("cache_write_1h_tokens"),
        cache_read: tokens("cache_read_tokens"),
        output: tokens("output_tokens"),
    };
    ensure!(found == *book, "the ledger says {found:?}, the logs' maker {book:?}");
    Ok(())
}

/// In a home of its own, so that it finds these logs alone. It counts no calls.
fn add_up(ccusage: &Path, logs: &Path, home: &Path) -> anyhow::Result<(Run, Book)> {
    let mut command = Command::new(ccusage);
    command.args(["claude", "daily", "--offline", "--json"]).env("CLAUDE_CONFIG_DIR", logs).env("HOME", home);
    let (run, said) = timed(command, &home.join("ccusage.out"))?;
    let totals = &serde_json::from_str::<Value>(&said)?["totals"];
    let tokens = |name: &str| count(&totals[name]);
    let said = Book {
        calls: 0,
        input: tokens("inputTokens"),
        cache_write: tokens("cacheCreationTokens"),
        cache_read: tokens("cacheReadTokens"),
        output: tokens("outputTokens"),
    };
    Ok((run, said))
}

/// How long a program runs, what it holds at most, and what it says.
fn timed(mut command: Command, out: &Path) -> anyhow::Result<(Run, String)> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(fs::File::create(out)?).stderr(Stdio::null()).spawn()?;
    let mut memory_mib: f64 = 0.0;
    let status = loop {
        memory_mib = memory_mib.max(peak_mib(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok((Run { seconds, memory_mib }, fs::read_to_string(out).context("what it said")?))
}

/// What a process has held at most until now.
fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1_024.0)
}
