//! What comes into the ledger beside the gateway while it runs: logs that grow, status lines, telemetry.
//!
//! Logs are watched only where the user asked for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ledger::{Ledger, Terms};
use notify::{RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::folder::{self, FolderError};
use crate::passed_over::PassedOver;
use crate::{clock, otlp, statusline};

const FILE: &str = "watch.json";

const GATHER_EVERY: Duration = Duration::from_secs(10);

/// Chunks of an answer come together.
const COMPANY: Duration = Duration::from_secs(1);

/// Where the system tells of changes, it may still miss some.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Where it doesn't: a look costs one question to the file system a log.
const POLL_EVERY: Duration = Duration::from_secs(15);

/// Which folders are watched; none where watching is off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watched {
    pub(crate) folders: Vec<PathBuf>,
}

impl Watched {
    pub(crate) fn read(dir: &Path) -> Result<Watched, FolderError> {
        folder::read_json(&dir.join(FILE))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), FolderError> {
        folder::write_json(&dir.join(FILE), self)
    }
}

/// Where entries and observations go.
#[derive(Clone)]
pub(crate) struct Inlet {
    pub(crate) dir: PathBuf,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) terms: Terms,
    pub(crate) passed_over: Arc<PassedOver>,
}

/// Ends with its last owner.
pub(crate) struct Sources {
    inlet: Inlet,
    watching: JoinSet<()>,
    others: JoinSet<()>,
}

impl Sources {
    pub(crate) fn start(inlet: Inlet) -> Sources {
        let mut others = JoinSet::new();
        others.spawn(gather(inlet.clone()));
        let mut sources = Sources { inlet, watching: JoinSet::new(), others };
        match Watched::read(&sources.inlet.dir) {
            Ok(watched) => sources.watch(watched),
            Err(error) => tracing::warn!("logs are not watched: {error}"),
        }
        sources
    }

    pub(crate) async fn listen(&mut self, address: SocketAddr) -> std::io::Result<()> {
        let receiver = otlp::Receiver::bind(address, self.inlet.clone()).await?;
        tracing::info!("telemetry is taken in at http://{}", receiver.address());
        self.others.spawn(receiver.run());
        Ok(())
    }

    /// In place of what was watched before.
    pub(crate) fn watch(&mut self, watched: Watched) {
        self.watching.abort_all();
        if !watched.folders.is_empty() {
            self.watching.spawn(watch(self.inlet.clone(), watched.folders));
        }
    }

    pub(crate) async fn end(mut self) {
        self.watching.shutdown().await;
        self.others.shutdown().await;
        self.inlet.passed_over.write();
    }
}

async fn gather(inlet: Inlet) {
    loop {
        tokio::time::sleep(GATHER_EVERY).await;
        if let Err(error) = statusline::gather(&inlet.dir, &inlet.ledger).await {
            tracing::warn!("what status lines say can't be kept now: {error}");
        }
        inlet.passed_over.write();
    }
}

async fn watch(inlet: Inlet, folders: Vec<PathBuf>) {
    let changed = Arc::new(Notify::new());
    let watcher = watcher(&folders, &changed);
    let look_every = if watcher.is_ok() { LOOK_EVERY } else { POLL_EVERY };
    if let Err(error) = &watcher {
        tracing::warn!("the system doesn't tell of changes to logs ({error}): they are looked at every 15 s");
    }
    let mut closed_files = 0;
    loop {
        let now = clock::now().timestamp;
        let imported = inlet.ledger.import_claude_code(&folders, &inlet.terms, now, |_| {}).await;
        if let Ok(report) = &imported {
            inlet.passed_over.import(report, closed_files, now);
            inlet.passed_over.write();
            closed_files = report.skipped.files;
        }
        match imported {
            Ok(report) if report.entered.told > 0 => tracing::debug!("logs told of {} calls", report.entered.told),
            Ok(_) => {}
            Err(error) => tracing::warn!("logs can't be taken in now: {error}"),
        }
        let _ = tokio::time::timeout(look_every, changed.notified()).await;
        tokio::time::sleep(COMPANY).await;
    }
}

/// Tells of changes as long as it is held.
fn watcher(folders: &[PathBuf], changed: &Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let changed = changed.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"type":"assistant","requestId":"REQ","sessionId":"s","cwd":"/x","timestamp":"2026-11-01T00:00:00Z","message":{"id":"REQ","model":"m","usage":{"output_tokens":5}}}"#;

    async fn inlet(dir: &Path) -> Inlet {
        let options = ledger::Options {
            durability: ledger::Durability::Process,
            catalog: Default::default(),
            calendar: domain::time::Calendar::UTC,
        };
        let ledger = Arc::new(Ledger::open(dir, options).await.expect("a ledger").0);
        let terms = Terms { catalog: Default::default(), rules: Default::default() };
        Inlet { dir: dir.to_owned(), ledger, terms, passed_over: Arc::new(PassedOver::open(dir)) }
    }

    #[tokio::test]
    async fn what_can_t_be_read_of_a_log_that_is_watched_is_remembered() {
        let (dir, logs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::fs::write(logs.path().join("a.jsonl"), format!("{{\"usage\": nonsense\n{LINE}\n")).expect("written");
        Watched { folders: vec![logs.path().to_owned()] }.write(dir.path()).expect("written");
        let sources = Sources::start(inlet(dir.path()).await);
        let seen = async {
            loop {
                let kept = crate::passed_over::Kept::read(dir.path()).expect("kept");
                if kept.lines.count > 0 {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let kept = tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it is remembered");
        assert_eq!(kept.lines.count, 1);
        assert!(kept.lines.last.contains("a.jsonl: the line at byte 0"), "{kept:?}");
        sources.end().await;
    }

    #[tokio::test]
    async fn a_log_that_grows_is_in_the_ledger_while_the_app_runs() {
        let (dir, logs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let inlet = inlet(dir.path()).await;
        let ledger = inlet.ledger.clone();
        Watched { folders: vec![logs.path().to_owned()] }.write(dir.path()).expect("written");
        let sources = Sources::start(inlet);
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            std::fs::write(logs.path().join(format!("{name}.jsonl")), LINE.replace("REQ", name) + "\n")
                .expect("written");
            let seen = async {
                while ledger.calls(&ledger::Filter::default(), 9).await.expect("calls").len() <= number {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it is seen");
        }
        sources.end().await;
    }
}
