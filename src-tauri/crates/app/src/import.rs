//! Claude Code's logs into the ledger.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::{ImportReport, Progress, Terms};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::api::ApiError;

/// What an import found, as a shell shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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

/// How far an import is, for whoever asked another process for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProgressView {
    pub bytes: u64,
    pub bytes_total: u64,
    pub calls: u64,
}

/// The import that runs, if one does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Importing(Arc<Mutex<Option<ProgressView>>>);

impl Importing {
    fn begin(&self) -> Running {
        self.set(Some(ProgressView::default()));
        Running(self.clone())
    }

    fn now(&self) -> Option<ProgressView> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Option<ProgressView>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// An import until it ends or is given up.
struct Running(Importing);

impl Running {
    fn is(&self, now: Progress) {
        let Progress { bytes, bytes_total, calls } = now;
        self.0.set(Some(ProgressView { bytes, bytes_total, calls }));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(None);
    }
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
            running.is(now);
            progress(now);
        };
        let report = self.ledger.import_claude_code(&paths, &self.terms(), self.now(), both).await;
        report.map(|report| shown(&report)).map_err(ApiError::machine)
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
        Terms { catalog: self.prices.in_force(), rules: self.settings().attributes.clone() }
    }
}

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

    #[test]
    fn an_import_tells_how_far_it_is_until_it_ends_or_is_given_up() {
        let importing = Importing::default();
        assert_eq!(importing.now(), None);
        let running = importing.begin();
        running.is(Progress { bytes: 5, bytes_total: 9, calls: 1 });
        assert_eq!(importing.now(), Some(ProgressView { bytes: 5, bytes_total: 9, calls: 1 }));
        drop(running);
        assert_eq!(importing.now(), None);
    }
}
