//! Claude Code's logs into the ledger.

use std::path::PathBuf;

use ledger::{ImportReport, Progress, Terms};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::api::ApiError;
use crate::attribute::project_of;

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
}

impl App {
    /// Takes in what is new in Claude Code's logs. Without paths those of this user.
    pub async fn import_claude_code(
        &self,
        paths: &[PathBuf],
        progress: impl FnMut(Progress) + Send,
    ) -> Result<ImportView, ApiError> {
        let paths = if paths.is_empty() { folders()? } else { existing(paths)? };
        let report = self.ledger.import_claude_code(&paths, &self.terms(), self.now(), progress).await;
        report.map(|report| shown(&report)).map_err(ApiError::machine)
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
        let rules = self.settings().attributes.clone();
        Terms { catalog: self.prices.in_force(), project_of: std::sync::Arc::new(move |of| project_of(&rules, of)) }
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
fn folders() -> Result<Vec<PathBuf>, ApiError> {
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
        skipped: SkippedView {
            unreadable_lines: skipped.unreadable,
            too_long_lines: skipped.too_long,
            lines_from_the_future: skipped.from_the_future,
            torn_lines: skipped.torn,
            links: skipped.links,
            files: skipped.files,
        },
        named: report.named.clone(),
    }
}
