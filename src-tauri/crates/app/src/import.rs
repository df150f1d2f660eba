//! Claude Code's logs into the ledger.

use std::path::PathBuf;

use ledger::{ImportReport, Progress, Terms};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::watch::Watched;

/// What an import found, as a shell shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ImportView {
    pub files: u64,
    pub files_read: u64,
    pub bytes: u64,
    pub lines: u64,
    /// Calls that the ledger did not have.
    pub calls: u64,
    /// Calls of which more is known now.
    pub revised: u64,
    /// Calls that another source or copy stands for.
    pub superseded: u64,
    /// Times that a subscription's window was spent.
    pub limits_reached: u64,
    pub skipped: SkippedView,
    /// The first of what was skipped: where, and why.
    pub named: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SkippedView {
    pub unreadable_lines: u64,
    pub too_long_lines: u64,
    pub lines_from_the_future: u64,
    /// Ends of logs that are still being written.
    pub torn_lines: u64,
    pub links: u64,
    pub files: u64,
    /// Lines from before the time that the ledger keeps.
    #[serde(default)]
    pub too_old: u64,
}

/// Claude Code's logs on this machine, before anybody reads them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SourcesView {
    /// Where they lie; empty where there are none.
    pub folders: Vec<String>,
    pub sessions: u64,
    pub bytes: u64,
    /// From the day of the first one to that of the last, both counted.
    pub days: u64,
    /// Whether they are read as they grow.
    pub watched: bool,
}

/// How far an import is, for whoever asked another process for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ProgressView {
    pub bytes: u64,
    pub bytes_total: u64,
    pub calls: u64,
}

impl App {
    /// Takes in what is new in Claude Code's logs. Without paths those of this user.
    pub async fn import_claude_code(
        &self,
        paths: &[PathBuf],
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<ImportView, ApiError> {
        let paths = if paths.is_empty() { folders()? } else { existing(paths)? };
        let running = self.importing.begin();
        let both = |now| {
            let Progress { bytes, bytes_total, calls } = now;
            running.is(ProgressView { bytes, bytes_total, calls });
            progress(now);
        };
        let terms = self.terms();
        let reading = self.ledger.import_claude_code(&paths, &terms, self.now(), both);
        let report = self.importing.unless_stopped(reading).await.ok_or_else(|| ApiError::machine(STOPPED))?;
        let report = report.map_err(ApiError::machine)?;
        self.passed_over.import(&report, 0, self.now());
        self.passed_over.write();
        Ok(shown(&report))
    }

    /// Ends the imports that run; nothing where none does.
    pub(crate) fn stop_import(&self) {
        self.importing.stop();
    }

    /// What an import of this user's logs would read.
    pub(crate) async fn logs_here(&self) -> Result<SourcesView, ApiError> {
        let watched = !Watched::read(self.dir()).map_err(ApiError::machine)?.folders.is_empty();
        let Ok(folders) = folders() else { return Ok(SourcesView { watched, ..SourcesView::default() }) };
        let shown = folders.iter().map(|folder| folder.display().to_string()).collect();
        let found =
            tokio::task::spawn_blocking(move || ledger::logs_found(&folders)).await.map_err(ApiError::machine)?;
        let day = |at| self.calendar.day_number(at);
        let days = found.first.zip(found.last).map_or(0, |(first, last)| day(last) - day(first) + 1);
        let days = u64::try_from(days).unwrap_or(0);
        Ok(SourcesView { folders: shown, sessions: found.sessions, bytes: found.bytes, days, watched })
    }

    /// How far the import is that runs now; the latest, where there are several.
    pub fn import_progress(&self) -> Option<ProgressView> {
        self.importing.now()
    }

    /// Takes in what Claude Code's logs tell as they grow, while a gateway runs, or stops doing so.
    pub async fn watch_claude_code(&self, paths: &[PathBuf], on: bool) -> Result<(), ApiError> {
        let folders = match (on, paths) {
            (false, _) => vec![],
            (true, []) => folders()?,
            (true, paths) => existing(paths)?,
        };
        self.watch(folders).await.map_err(ApiError::machine)
    }

    /// How calls that others wrote down are priced and attributed.
    pub(crate) fn terms(&self) -> Terms {
        Terms { catalog: self.prices.in_force(), rules: self.attributes.clone() }
    }
}

const STOPPED: &str = "stopped: what was read stays, and the next import goes on from there";

fn existing(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ApiError> {
    for path in paths {
        let unreadable = |error| ApiError::asker(format!("{} can't be read: {error}", path.display()));
        std::fs::metadata(path).map_err(unreadable)?;
    }
    Ok(paths.to_vec())
}

/// Where Claude Code keeps its logs: `CLAUDE_CONFIG_DIR`, which may name several folders, else its two usual places.
pub(crate) fn folders() -> Result<Vec<PathBuf>, ApiError> {
    let named = std::env::var("CLAUDE_CONFIG_DIR").ok().filter(|named| !named.trim().is_empty());
    let candidates: Vec<PathBuf> = match named {
        Some(named) => named.split(',').map(|folder| PathBuf::from(folder.trim())).collect(),
        None => usual_folders(),
    };
    let found: Vec<PathBuf> = candidates.iter().filter(|folder| folder.is_dir()).cloned().collect();
    if found.is_empty() {
        let looked: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        return Err(ApiError::absent(format!(
            "no logs of Claude Code are in {}: name a folder, for example `tidegate import claude-code ~/.claude`",
            looked.join(" or ")
        )));
    }
    Ok(found)
}

fn usual_folders() -> Vec<PathBuf> {
    let home = std::env::home_dir();
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(home.as_ref()?.join(".config")));
    [config.map(|config| config.join("claude")), home.map(|home| home.join(".claude"))].into_iter().flatten().collect()
}

fn shown(report: &ImportReport) -> ImportView {
    let (entered, skipped) = (report.entered, report.skipped);
    ImportView {
        files: report.files,
        files_read: report.files_read,
        bytes: report.bytes,
        lines: report.lines,
        calls: entered.calls,
        revised: entered.revised,
        superseded: entered.superseded,
        limits_reached: report.limits_reached,
        skipped: SkippedView {
            unreadable_lines: skipped.unreadable,
            too_long_lines: skipped.too_long,
            lines_from_the_future: skipped.from_the_future,
            torn_lines: skipped.torn,
            links: skipped.links,
            files: skipped.files,
            too_old: entered.too_old,
        },
        named: report.named.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_import_passes_over_is_named_by_doctor_from_then_on() {
        let (dir, logs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = logs.path().join("settings.toml");
        let skipped = async || {
            let checks = crate::doctor::examine(dir.path(), &settings).await;
            let found = checks.into_iter().find(|check| check.what == "skipped data").expect("a check");
            (found.verdict, found.says)
        };
        assert_eq!(skipped().await, (crate::doctor::Verdict::Pass, "nothing was passed over".to_owned()));
        std::fs::write(logs.path().join("s.jsonl"), "{\"usage\": nonsense\n").expect("written");
        let app = App::open(dir.path(), &crate::settings::parse("", &[]).expect("settings")).await.expect("an app");
        let read = app.import_claude_code(&[logs.path().to_owned()], |_| {}).await.expect("an import");
        assert_eq!(read.skipped.unreadable_lines, 1);
        app.close().await.expect("closed");
        drop(app);
        let (verdict, says) = skipped().await;
        assert_eq!(verdict, crate::doctor::Verdict::Warn);
        assert!(says.contains("1 line of logs since") && says.contains("s.jsonl: the line at byte 0"), "{says}");
    }

    #[tokio::test]
    async fn an_import_that_is_stopped_says_so_and_the_next_one_reads_on() {
        let (dir, logs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let line = |n: u32| {
            format!(
                r#"{{"type":"assistant","requestId":"r{n}","sessionId":"s","timestamp":"2026-11-01T00:00:00Z","message":{{"id":"m{n}","model":"m","usage":{{"output_tokens":5}}}}}}"#
            )
        };
        let text: String = (0..2_000).map(|n| line(n) + "\n").collect();
        std::fs::write(logs.path().join("s.jsonl"), text).expect("written");
        let settings = crate::settings::parse("", &[]).expect("legal settings");
        let app = App::open(dir.path(), &settings).await.expect("an app");
        let paths = [logs.path().to_owned()];
        let stopping = async {
            while app.import_progress().is_none() {
                tokio::task::yield_now().await;
            }
            app.stop_import();
        };
        let (stopped, ()) = tokio::join!(app.import_claude_code(&paths, |_| {}), stopping);
        assert_eq!(stopped.expect_err("it was stopped").reason, STOPPED);
        assert_eq!(app.import_progress(), None);
        let read = app.import_claude_code(&paths, |_| {}).await.expect("an import");
        assert!(read.calls > 0);
        let all = app.calls(5_000, None, None).await.expect("calls");
        assert_eq!(all.len(), 2_000, "each is there once");
    }
}
