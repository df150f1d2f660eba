//! What logs and telemetry tell and the ledger could not take in: how much, since when, and the last of it, for `doctor`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::time::Timestamp;
use ledger::ImportReport;
use serde::{Deserialize, Serialize};

use crate::explain::times;
use crate::folder::{self, FolderError};

const FILE: &str = "passed-over.json";

/// What is older is told, and no longer warned of.
const RECENT: Duration = Duration::from_secs(7 * 86_400);

const LAST_CHARS_MAX: usize = 500;

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    /// Moments.
    pub(crate) since: String,
    pub(crate) last_at: String,
    /// Where, and why.
    pub(crate) last: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) lines: Counted,
    pub(crate) files: Counted,
    pub(crate) events: Counted,
}

/// Of one data folder.
pub(crate) struct PassedOver {
    file: PathBuf,
    kept: Mutex<Noted>,
}

struct Noted {
    kept: Kept,
    is_written: bool,
}

impl Kept {
    pub(crate) fn read(dir: &Path) -> Result<Kept, FolderError> {
        folder::read_json(&dir.join(FILE))
    }

    /// A sentence, where there is something, and whether it is recent.
    pub(crate) fn says(&self, now: Timestamp) -> Option<(String, bool)> {
        let named = [
            (&self.lines, "line of logs", "lines of logs"),
            (&self.files, "log", "logs"),
            (&self.events, "telemetry event or export", "telemetry events or exports"),
        ];
        let told = named.into_iter().filter(|(counted, ..)| counted.count > 0);
        let says: Vec<String> = told
            .map(|(counted, one, many)| {
                let Counted { count, since, last_at, last } = counted;
                format!("{} since {since}, the last at {last_at} ({last})", times(*count, one, many))
            })
            .collect();
        let is_recent =
            |counted: &Counted| Timestamp::parse(&counted.last_at).is_some_and(|last| last.after(RECENT) > now);
        let recent = [&self.lines, &self.files, &self.events].into_iter().any(is_recent);
        (!says.is_empty()).then(|| (says.join("; "), recent))
    }
}

impl Counted {
    fn add(&mut self, count: u64, last: &str, now: Timestamp) {
        if self.count == 0 {
            self.since = now.to_string();
        }
        self.count = self.count.saturating_add(count);
        self.last_at = now.to_string();
        self.last = last.chars().take(LAST_CHARS_MAX).collect();
    }
}

impl PassedOver {
    pub(crate) fn open(dir: &Path) -> PassedOver {
        let file = dir.join(FILE);
        let kept = Kept::read(dir).unwrap_or_else(|error| {
            tracing::warn!("what was passed over before is forgotten: {error}");
            folder::set_aside(&file);
            Kept::default()
        });
        PassedOver { file, kept: Mutex::new(Noted { kept, is_written: true }) }
    }

    /// `files_before` could not be read the last time either, and were counted then.
    pub(crate) fn import(&self, report: &ImportReport, files_before: u64, now: Timestamp) {
        let skipped = report.skipped;
        let lines = skipped.unreadable + skipped.too_long + skipped.from_the_future;
        let files = skipped.files.saturating_sub(files_before);
        let last = report.named.last().map_or("", String::as_str);
        self.note(now, last, |kept| [(&mut kept.lines, lines), (&mut kept.files, files)]);
    }

    pub(crate) fn events(&self, count: u64, reason: &str, now: Timestamp) {
        self.note(now, reason, |kept| [(&mut kept.events, count)]);
    }

    fn note<const N: usize>(&self, now: Timestamp, last: &str, of: impl FnOnce(&mut Kept) -> [(&mut Counted, u64); N]) {
        let mut noted = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = false;
        for (counted, count) in of(&mut noted.kept).into_iter().filter(|(_, count)| *count > 0) {
            counted.add(count, last, now);
            is_new = true;
        }
        noted.is_written &= !is_new;
    }

    /// What can't be written now is written the next time.
    pub(crate) fn write(&self) {
        let mut noted = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_written {
            return;
        }
        match folder::write_json(&self.file, &noted.kept) {
            Ok(()) => noted.is_written = true,
            Err(error) => tracing::warn!("what was passed over can't be kept: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_over_adds_up_over_restarts_and_is_warned_of_for_a_week() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = Timestamp::parse("2026-11-01T00:00:00Z").expect("a moment");
        let later = first.after(Duration::from_secs(86_400));
        let mut report = ImportReport::default();
        report.skipped.unreadable = 2;
        report.skipped.files = 1;
        report.named = vec!["/a.jsonl: the line at byte 7 is passed over: it has no time".to_owned()];
        let noted = PassedOver::open(dir.path());
        noted.import(&report, 0, first);
        noted.write();
        let noted = PassedOver::open(dir.path());
        noted.import(&report, 1, later);
        noted.events(3, "no request_id", later);
        noted.write();
        let kept = Kept::read(dir.path()).expect("kept");
        assert_eq!((kept.lines.count, kept.files.count, kept.events.count), (4, 1, 3), "a closed file counts once");
        let (says, recent) = kept.says(later).expect("something");
        assert!(says.contains("4 lines of logs since 2026-11-01") && says.contains("/a.jsonl"), "{says}");
        assert!(says.contains("3 telemetry events") && says.contains("no request_id") && recent, "{says}");
        assert!(!kept.says(later.after(RECENT)).expect("still told").1);
        assert_eq!(Kept::default().says(later), None);
    }
}
