//! The data folder: who may see it, who holds it, and how a file in it is replaced whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum FolderError {
    #[error("the data folder {} can't be written ({reason}): make it writable or choose another with --data-dir", dir.display())]
    Unwritable { dir: PathBuf, reason: io::Error },
    #[error("the data folder {} is in use by {holder}: stop that first or choose another folder with --data-dir", dir.display())]
    Busy { dir: PathBuf, holder: String },
    #[error("{} can't be {what}: {reason}", file.display())]
    File { file: PathBuf, what: &'static str, reason: io::Error },
    #[error("{} is damaged ({reason}): move it away and try again", file.display())]
    Damaged { file: PathBuf, reason: serde_json::Error },
}

/// A data folder that this process holds alone, until it is dropped.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

/// The program that holds a data folder, and how to talk to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub pid: u32,
    pub program: String,
    /// `http://127.0.0.1:8432`
    pub address: String,
    /// Opens `/tidegate/control`.
    pub token: String,
}

/// What a command finds at a data folder.
pub enum Entered {
    Alone(Folder),
    Running(Instance),
}

/// How long a command waits for another command to leave the folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the folder; or finds the app that runs on it.
pub fn enter(dir: &Path) -> Result<Entered, FolderError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match hold(dir) {
            Ok(folder) => return Ok(Entered::Alone(folder)),
            Err(FolderError::Busy { dir, holder }) => match instance(&dir) {
                Some(instance) => return Ok(Entered::Running(instance)),
                None if Instant::now() > give_up => return Err(FolderError::Busy { dir, holder }),
                None => std::thread::sleep(Duration::from_millis(20)),
            },
            Err(other) => return Err(other),
        }
    }
}

/// Takes the folder, or says who has it.
pub fn hold(dir: &Path) -> Result<Folder, FolderError> {
    let unwritable = |reason| FolderError::Unwritable { dir: dir.to_owned(), reason };
    make_private(dir).map_err(unwritable)?;
    let path = dir.join("lock");
    let mut lock = private(OpenOptions::new().read(true).write(true).create(true)).open(&path).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FolderError::Busy { dir: dir.to_owned(), holder: holder(&path) }),
        Err(TryLockError::Error(reason)) => return Err(unwritable(reason)),
    }
    let named = lock.set_len(0).and_then(|()| write!(lock, "{} (pid {})", program(), std::process::id()));
    named.map_err(unwritable)?;
    let folder = Folder { dir: dir.to_owned(), _lock: lock };
    // Of one that died without a word: nobody may take it for ours.
    folder.withdraw();
    Ok(folder)
}

/// The name by which a person knows this process.
pub fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "tidegate".to_owned())
}

fn holder(lock: &Path) -> String {
    match std::fs::read_to_string(lock) {
        Ok(holder) if !holder.is_empty() && holder.len() < 200 => holder.escape_default().to_string(),
        Ok(_) | Err(_) => "another program".to_owned(),
    }
}

fn instance(dir: &Path) -> Option<Instance> {
    let text = std::fs::read(dir.join("instance.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

impl Folder {
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Tells commands where this process listens. The file goes with `withdraw`; a dead one is known by its free lock.
    pub fn announce(&self, instance: &Instance) -> Result<(), FolderError> {
        write_json(&self.dir.join("instance.json"), instance)
    }

    pub fn withdraw(&self) {
        // A file that is already gone is as good as one removed.
        let _ = std::fs::remove_file(self.dir.join("instance.json"));
    }
}

/// Makes a folder that only its owner may enter.
#[cfg(unix)]
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if std::fs::metadata(dir)?.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// A file that only its owner may read.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// A JSON file of the folder; the default where there is none.
pub fn read_json<T: Default + for<'de> Deserialize<'de>>(file: &Path) -> Result<T, FolderError> {
    match std::fs::read(file) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|reason| FolderError::Damaged { file: file.to_owned(), reason })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(reason) => Err(FolderError::File { file: file.to_owned(), what: "read", reason }),
    }
}

pub fn write_json<T: Serialize>(file: &Path, value: &T) -> Result<(), FolderError> {
    let text =
        serde_json::to_vec_pretty(value).map_err(|reason| FolderError::Damaged { file: file.to_owned(), reason })?;
    replace(file, &text)
}

/// Replaces a file whole: after a crash it holds either the old text or the new.
pub fn replace(file: &Path, text: &[u8]) -> Result<(), FolderError> {
    replace_drafted(file, text, |_| Ok(()))
}

/// As `replace`; whoever may read or write `like` may do so here. Its owner alone where there is no such file.
pub(crate) fn replace_like(file: &Path, like: &Path, text: &[u8]) -> Result<(), FolderError> {
    replace_drafted(file, text, |draft| match std::fs::metadata(like) {
        Ok(meta) => std::fs::set_permissions(draft, meta.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    })
}

fn replace_drafted(file: &Path, text: &[u8], finish: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FolderError> {
    let failed = |reason| FolderError::File { file: file.to_owned(), what: "written", reason };
    // Two that replace it at once have a draft each: the later one stands, whole.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let draft = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{draft}.new", std::process::id()));
    let draft = file.with_file_name(name);
    let written = write_draft(&draft, text).and_then(|()| finish(&draft));
    written.and_then(|()| std::fs::rename(&draft, file)).map_err(|reason| {
        let _ = std::fs::remove_file(&draft);
        failed(reason)
    })?;
    sync_folder(file).map_err(failed)
}

/// What can't be read is kept beside, as `NAME.damaged`, before another takes its place.
pub(crate) fn set_aside(file: &Path) {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let _ = std::fs::rename(file, file.with_file_name(name));
}

fn write_draft(draft: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(unix)]
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_file: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_folder_is_held_by_one_and_free_again_when_dropped() {
        let dir = temp();
        let first = hold(dir.path()).expect("free");
        let Err(FolderError::Busy { holder, .. }) = hold(dir.path()) else { panic!("held twice") };
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
        drop(first);
        hold(dir.path()).expect("free again");
    }

    #[test]
    fn a_command_finds_the_app_that_announced_itself_and_not_one_that_died() {
        let dir = temp();
        let folder = hold(dir.path()).expect("free");
        let running = Instance { pid: 7, program: "t".into(), address: "http://127.0.0.1:1".into(), token: "x".into() };
        folder.announce(&running).expect("written");
        assert!(matches!(enter(dir.path()), Ok(Entered::Running(found)) if found == running));
        drop(folder);
        assert!(matches!(enter(dir.path()), Ok(Entered::Alone(_))));
        assert!(instance(dir.path()).is_none(), "what the dead one said is gone");
    }

    #[test]
    fn of_two_that_replace_a_file_at_once_one_stands_whole() {
        let dir = temp();
        let file = dir.path().join("x");
        let texts = [vec![b'a'; 200_000], vec![b'b'; 300_000]];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..50).for_each(|_| replace(&file, text).expect("written")));
            }
            for _ in 0..50 {
                let found = std::fs::read(&file).unwrap_or_default();
                assert!(found.is_empty() || texts.contains(&found), "{} bytes", found.len());
            }
        });
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1, "no draft is left");
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_and_its_files_are_the_owners_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = temp();
        let inner = dir.path().join("data");
        let folder = hold(&inner).expect("free");
        replace(&folder.path().join("x"), b"text").expect("written");
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").mode() & 0o777;
        assert_eq!((mode(&inner), mode(&inner.join("x")), mode(&inner.join("lock"))), (0o700, 0o600, 0o600));
        assert_eq!(std::fs::read_dir(&inner).expect("a folder").count(), 2, "no draft is left");
    }
}
