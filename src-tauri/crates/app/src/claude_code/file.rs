//! A settings file of another program: read whole, replaced whole, its mode and its place kept.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::folder;

/// A person's settings are some thousand bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Backups that lie beside it.
const BACKUPS_MAX: u32 = 99;

pub(super) struct SettingsFile {
    /// Where it really lies, when links are followed.
    pub(super) path: PathBuf,
    pub(super) exists: bool,
    /// Of a file that is not there, what a new one begins as.
    pub(super) text: String,
    meta: Option<Metadata>,
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<SettingsFile, String> {
        let shown = path.display();
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => return SettingsFile::new(path),
            Err(error) => return Err(format!("{shown} can't be read: {error}")),
        };
        let meta = std::fs::metadata(&real).map_err(|error| format!("{shown} can't be read: {error}"))?;
        if !meta.is_file() {
            return Err(format!("{shown} is no file"));
        }
        if meta.len() > BYTES_MAX {
            return Err(format!("{shown} is larger than 4 MiB: these are no settings of Claude Code"));
        }
        let bytes = std::fs::read(&real).map_err(|error| format!("{shown} can't be read: {error}"))?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("{shown} is not JSON (it is not UTF-8): mend it first"))?;
        Ok(SettingsFile { path: real, exists: true, text, meta: Some(meta) })
    }

    fn new(path: &Path) -> Result<SettingsFile, String> {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(format!("{} is a link that leads nowhere: mend or remove it first", path.display()));
        }
        let dir = path.parent().unwrap_or(path);
        let real = dir.canonicalize().map_err(|_| {
            format!(
                "there is no folder {}: start Claude Code once, or name its folder in CLAUDE_CONFIG_DIR",
                dir.display()
            )
        })?;
        let path = real.join(path.file_name().unwrap_or_default());
        Ok(SettingsFile { path, exists: false, text: "{}\n".to_owned(), meta: None })
    }

    /// A sentence where others than its owner may read it: a token will be in it.
    pub(super) fn open_to_others(&self) -> Option<String> {
        let mode = mode(self.meta.as_ref()?)? & 0o777;
        (mode & 0o077 != 0).then(|| {
            let path = self.path.display();
            format!("Others may read {path} (mode {mode:04o}), and the token in it: run chmod 600 on it.")
        })
    }

    /// A copy beside it; none where there is no file.
    pub(super) fn back_up(&self) -> Result<Option<PathBuf>, String> {
        let Some(meta) = &self.meta else { return Ok(None) };
        let failed =
            |error: &io::Error| format!("{} can't be backed up ({error}): nothing was changed", self.path.display());
        for number in 1..=BACKUPS_MAX {
            let end = if number == 1 { ".before-tidegate".to_owned() } else { format!(".before-tidegate-{number}") };
            let backup = self.beside(&end);
            match written(&backup, self.text.as_bytes(), Some(meta)) {
                Ok(()) => return Ok(Some(backup)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(failed(&io::Error::other("there are too many backups")))
    }

    /// Replaces it whole, where it still holds what was read.
    pub(super) fn replace(&self, text: &str) -> Result<(), String> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self.beside(&format!(".{}-{number}.tidegate-new", std::process::id()));
        let replaced = written(&draft, text.as_bytes(), self.meta.as_ref())
            .and_then(|()| if self.is_as_read() { std::fs::rename(&draft, &self.path) } else { Err(meanwhile()) })
            .and_then(|()| folder::sync_folder(&self.path));
        replaced.map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            format!("{} can't be written: {error}", self.path.display())
        })
    }

    /// Of a file that was not there before.
    pub(super) fn remove(&self) -> Result<(), String> {
        let removed = if self.is_as_read() { std::fs::remove_file(&self.path) } else { Err(meanwhile()) };
        removed.map_err(|error| format!("{} can't be removed: {error}", self.path.display()))
    }

    fn is_as_read(&self) -> bool {
        match std::fs::read(&self.path) {
            Ok(bytes) => self.exists && bytes == self.text.as_bytes(),
            Err(error) => !self.exists && error.kind() == ErrorKind::NotFound,
        }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        self.path.with_file_name(name)
    }
}

fn meanwhile() -> io::Error {
    io::Error::other("another program changed it meanwhile; try again")
}

/// A new file, its owner's alone until it has the mode of the one that it stands for.
fn written(path: &Path, text: &[u8], like: Option<&Metadata>) -> io::Result<()> {
    let mut file: File = folder::private(OpenOptions::new().write(true).create_new(true)).open(path)?;
    let done = file.write_all(text).and_then(|()| match like {
        Some(meta) => file.set_permissions(meta.permissions()),
        None => Ok(()),
    });
    done.and_then(|()| file.sync_all()).inspect_err(|_| drop(std::fs::remove_file(path)))
}

#[cfg(unix)]
fn mode(meta: &Metadata) -> Option<u32> {
    Some(std::os::unix::fs::MetadataExt::mode(meta))
}

#[cfg(not(unix))]
fn mode(_meta: &Metadata) -> Option<u32> {
    None
}
