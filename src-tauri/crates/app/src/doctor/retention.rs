//! Whether Claude Code deletes its logs before anybody has taken them in.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Check, Verdict, check};
use crate::import::folders;
use crate::watch::Watched;

/// What Claude Code keeps where nothing is set.
const DAYS: u64 = 30;

/// The one thing of Claude Code's settings that is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaudeSettings {
    cleanup_period_days: Option<u64>,
}

/// One for each configuration folder of this user's; none where there is no Claude Code.
pub(super) fn checks(data_dir: &Path) -> Vec<Check> {
    let watched = Watched::read(data_dir).unwrap_or_default().folders;
    folders().unwrap_or_default().iter().map(|folder| of(folder, &watched)).collect()
}

fn of(folder: &Path, watched: &[PathBuf]) -> Check {
    let what = format!("logs in {}", folder.display());
    if watched.iter().any(|watched| folder.starts_with(watched)) {
        return check(what, Verdict::Pass, "they are watched: what they tell is kept");
    }
    let settings = folder.join("settings.json");
    let days = std::fs::read(&settings).ok().and_then(|text| serde_json::from_slice::<ClaudeSettings>(&text).ok());
    let days = days.and_then(|settings| settings.cleanup_period_days).unwrap_or(DAYS);
    let says = format!(
        "Claude Code deletes them after {days} days: `tidegate import claude-code --watch` keeps what they tell, \
         or set cleanupPeriodDays in {}",
        settings.display()
    );
    check(what, if days <= 365 { Verdict::Warn } else { Verdict::Pass }, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_go_before_they_are_taken_in_are_warned_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |settings: &str, watched: &[PathBuf]| {
            std::fs::write(folder.path().join("settings.json"), settings).expect("written");
            let check = of(folder.path(), watched);
            (check.verdict, check.says.split(':').next().unwrap_or_default().to_owned())
        };
        let after = |days: u32| format!("Claude Code deletes them after {days} days");
        assert_eq!(said("{}", &[]), (Verdict::Warn, after(30)));
        assert_eq!(said("no JSON", &[]), (Verdict::Warn, after(30)));
        assert_eq!(said(r#"{"cleanupPeriodDays": 7, "env": {"KEY": "x"}}"#, &[]), (Verdict::Warn, after(7)));
        assert_eq!(said(r#"{"cleanupPeriodDays": 99999}"#, &[]), (Verdict::Pass, after(99_999)));
        assert_eq!(said("{}", &[folder.path().to_owned()]).0, Verdict::Pass);
    }
}
