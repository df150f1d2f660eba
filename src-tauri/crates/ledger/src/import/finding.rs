//! What logs there are, told from their names and ends: nothing is taken in.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use domain::time::Timestamp;

use super::tree;

/// Logs that an import would read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogsFound {
    /// Sessions of people; their subagents' logs are no sessions of their own.
    pub sessions: u64,
    pub bytes: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

/// Of each log as much is read at its beginning and at its end.
const END_BYTES: u64 = 16 * 1_024;

/// Looks under files, projects folders and configuration folders. Blocks while it reads.
pub fn logs_found(paths: &[PathBuf]) -> LogsFound {
    let mut found = LogsFound::default();
    for log in tree::logs(paths).logs {
        found.sessions += u64::from(log.subagent.is_none());
        found.bytes += log.size;
        let modified = Timestamp::from_millis(log.modified);
        let (first, last) = ends(&log.path, log.size).unwrap_or_default();
        let (first, last) = (first.unwrap_or(modified), last.unwrap_or(modified));
        found.first = Some(found.first.map_or(first, |sooner| sooner.min(first)));
        found.last = Some(found.last.map_or(last, |later| later.max(last)));
    }
    found
}

/// The first moment that a log names near its beginning and the last near its end.
fn ends(path: &Path, size: u64) -> std::io::Result<(Option<Timestamp>, Option<Timestamp>)> {
    let mut file = File::open(path)?;
    let mut piece = Vec::new();
    file.by_ref().take(END_BYTES).read_to_end(&mut piece)?;
    let first = moments(&piece).next();
    if size > END_BYTES {
        file.seek(SeekFrom::Start(size - END_BYTES))?;
        piece.clear();
        file.take(END_BYTES).read_to_end(&mut piece)?;
    }
    Ok((first, moments(&piece).last()))
}

fn moments(piece: &[u8]) -> impl Iterator<Item = Timestamp> {
    const NAME: &[u8] = br#""timestamp":""#;
    let starts = memchr::memmem::find_iter(piece, NAME).map(|at| at + NAME.len());
    let texts = starts.filter_map(|start| piece[start..].split(|byte| *byte == b'"').next());
    texts.filter_map(|text| Timestamp::parse(std::str::from_utf8(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(Timestamp::parse(text).expect("a moment"))
    }

    #[test]
    fn sessions_are_counted_without_their_subagents_from_the_first_moment_to_the_last() {
        let dir = tempfile::tempdir().expect("a folder");
        let project = dir.path().join("projects/-home-mira-web");
        std::fs::create_dir_all(project.join("s1/subagents")).expect("folders");
        let long = "x".repeat(3 * 16 * 1_024);
        let line = |moment: &str| format!("{{\"timestamp\":\"{moment}\",\"cwd\":\"/x\"}}\n");
        let written = [
            ("s1.jsonl", line("2026-10-03T08:00:00Z") + &long + "\n" + &line("2026-10-03T09:00:00Z")),
            ("s2.jsonl", line("2026-11-02T08:00:00Z")),
            ("s1/subagents/agent-a1.jsonl", line("2026-10-03T08:30:00Z")),
            ("notes.txt", line("2020-01-01T00:00:00Z")),
        ];
        for (name, text) in &written {
            std::fs::write(project.join(name), text).expect("written");
        }
        let found = logs_found(&[dir.path().to_owned()]);
        assert_eq!((found.sessions, found.first), (2, at("2026-10-03T08:00:00Z")));
        assert_eq!(found.last, at("2026-11-02T08:00:00Z"));
        assert_eq!(found.bytes, written[..3].iter().map(|(_, text)| text.len() as u64).sum::<u64>());
    }

    #[test]
    fn where_a_log_names_no_moment_its_last_change_counts_and_where_there_is_none_nothing_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(logs_found(&[dir.path().to_owned(), dir.path().join("no")]), LogsFound::default());
        std::fs::write(dir.path().join("s.jsonl"), "\"timestamp\":\"yesterday\"\n").expect("written");
        let found = logs_found(&[dir.path().to_owned()]);
        assert!(found.sessions == 1 && found.first.is_some() && found.first == found.last, "{found:?}");
    }
}
