//! Which logs lie under a path. What a link points to is not followed: it may lie anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A log as the walk found it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Log {
    /// Sessions before subagents: the first telling is then mostly the one that stands.
    pub(super) subagent: Option<String>,
    pub(super) path: PathBuf,
    /// The path as text, by which it is known again.
    pub(super) name: String,
    pub(super) size: u64,
    /// Milliseconds since 1970.
    pub(super) modified: i64,
    /// It was asked for by its own name.
    pub(super) is_named: bool,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) logs: Vec<Log>,
    pub(super) links: Vec<PathBuf>,
    /// Folders and files that can't be looked at.
    pub(super) closed: Vec<String>,
}

/// All logs under files, projects folders and configuration folders, each once.
pub(super) fn logs(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut logs = BTreeMap::new();
    for path in paths {
        match path.canonicalize().and_then(|path| Ok((path.metadata()?, path))) {
            // Who names a file knows what it is, whatever its name ends in.
            Ok((meta, path)) if meta.is_file() => {
                logs.insert(path.clone(), Log { is_named: true, ..log(path, &meta) });
            }
            Ok((meta, path)) if meta.is_dir() => walk(with_projects(path), &mut logs, &mut found),
            Ok((_, path)) => found.closed.push(format!("{}: neither a file nor a folder", path.display())),
            Err(error) => found.closed.push(format!("{}: {error}", path.display())),
        }
    }
    found.logs = logs.into_values().collect();
    found.logs.sort();
    found
}

fn with_projects(path: PathBuf) -> PathBuf {
    let projects = path.join("projects");
    if projects.is_dir() { projects } else { path }
}

fn walk(root: PathBuf, logs: &mut BTreeMap<PathBuf, Log>, found: &mut Found) {
    let mut waiting = vec![root];
    while let Some(path) = waiting.pop() {
        let looked_at = fs::symlink_metadata(&path).and_then(|meta| {
            if meta.is_dir() {
                let inside = fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.path()));
                waiting.extend(inside.collect::<Result<Vec<_>, _>>()?);
            }
            Ok(meta)
        });
        match looked_at {
            Err(error) => found.closed.push(format!("{}: {error}", path.display())),
            Ok(meta) if meta.is_symlink() => found.links.push(path),
            Ok(meta) if meta.is_file() && path.extension().is_some_and(|end| end == "jsonl") => {
                logs.entry(path.clone()).or_insert_with(|| log(path, &meta));
            }
            Ok(_) => {}
        }
    }
}

fn log(path: PathBuf, meta: &fs::Metadata) -> Log {
    let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Log {
        subagent: subagent(&path),
        name: path.to_string_lossy().into_owned(),
        size: meta.len(),
        modified: modified.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        is_named: false,
        path,
    }
}

/// `…/SESSION/subagents/agent-a1b2c3.jsonl`
fn subagent(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_string_lossy();
    let in_folder = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "subagents");
    match name.strip_prefix("agent-") {
        Some(agent) => Some(agent.to_owned()),
        None => in_folder.then(|| name.into_owned()),
    }
}
