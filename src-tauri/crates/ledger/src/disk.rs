//! The few things the journal asks of a file, behind a trait so that tests can let them fail.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;

pub(crate) trait Disk: Send + Sync {
    /// The whole file, but for what was reserved and never written.
    fn read(&self) -> Result<Vec<u8>, Error>;

    /// Behind what was written last.
    fn write(&self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes the file at least `bytes` long, on blocks that are its own. The next write goes where it would have gone.
    fn reserve(&self, bytes: u64) -> Result<(), Error>;

    /// The next write goes to the start, and what was reserved beyond the first pages is given back.
    fn rewind(&self) -> Result<(), Error>;

    /// What was written is on the disk when this returns.
    fn sync(&self) -> Result<(), Error>;

    /// It is damaged and will be overwritten: a copy stays beside it, if there is room for one.
    fn keep_aside(&self);
}

/// Read at once.
const READ_BYTES: u64 = 64 << 10;

struct PageFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// The journal's two files, made and reserved where they are missing. Whoever has them is the only one.
pub(crate) fn pages(dir: &Path, bytes: u64) -> Result<[Arc<dyn Disk>; 2], Error> {
    private_dir(dir)?;
    let pages = [page(dir.join("0"), bytes)?, page(dir.join("1"), bytes)?];
    sync_names(dir)?;
    Ok(pages)
}

fn page(path: PathBuf, bytes: u64) -> Result<Arc<dyn Disk>, Error> {
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(Error::Locked { path }),
        Err(fs::TryLockError::Error(error)) => return Err(Error::unwritable(path.display(), &error)),
    }
    let page = PageFile { file, path, bytes };
    page.reserve(bytes)?;
    Ok(Arc::new(page))
}

impl PageFile {
    /// Zeros, not a hole: a full disk shows now, and a sync later has no new blocks to write down.
    fn lengthen(&self, bytes: u64) -> io::Result<()> {
        let there = self.file.metadata()?.len();
        if there >= bytes {
            return Ok(());
        }
        let mut file = &self.file;
        let place = file.stream_position()?;
        file.seek(io::SeekFrom::Start(there))?;
        let written = io::copy(&mut io::repeat(0).take(bytes - there), &mut file);
        file.seek(io::SeekFrom::Start(place))?;
        written.map(drop)
    }

    /// Through the same handle (another one may not read a locked file everywhere); the next write goes where it would have gone.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        let place = file.stream_position()?;
        file.rewind()?;
        let read = read_without_last_zeros(file);
        file.seek(io::SeekFrom::Start(place))?;
        read
    }

    fn broken(&self, error: &io::Error) -> Error {
        Error::unwritable(self.path.display(), error)
    }
}

/// Megabytes of zeros at the end need no memory; those before a record may be a part that was lost.
fn read_without_last_zeros(mut file: impl Read) -> io::Result<Vec<u8>> {
    let (mut bytes, mut zeros, mut chunk) = (Vec::new(), 0, Vec::new());
    while file.by_ref().take(READ_BYTES).read_to_end(&mut chunk)? > 0 {
        if chunk.iter().all(|byte| *byte == 0) {
            zeros += chunk.len();
        } else {
            bytes.resize(bytes.len() + mem::take(&mut zeros), 0);
            bytes.append(&mut chunk);
        }
        chunk.clear();
    }
    Ok(bytes)
}

impl Disk for PageFile {
    fn read(&self) -> Result<Vec<u8>, Error> {
        self.read_all().map_err(|error| self.broken(&error))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        (&self.file).write_all(bytes).map_err(|error| self.broken(&error))
    }

    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        self.lengthen(bytes).map_err(|error| self.broken(&error))
    }

    fn rewind(&self) -> Result<(), Error> {
        let grown = self.file.metadata().is_ok_and(|file| file.len() > self.bytes);
        let shrunk = if grown { self.file.set_len(self.bytes) } else { Ok(()) };
        shrunk.and_then(|()| (&self.file).rewind()).map_err(|error| self.broken(&error))
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|error| self.broken(&error))
    }

    fn keep_aside(&self) {
        let aside = self.path.with_extension("damaged");
        let kept = self.read_all().and_then(|bytes| {
            private_file(&aside).map_err(io::Error::other)?;
            fs::write(&aside, bytes)
        });
        match kept {
            Ok(()) => tracing::warn!("{} is damaged; it is kept as {}", self.path.display(), aside.display()),
            Err(error) => tracing::warn!("{} is damaged, and can't be kept: {error}", self.path.display()),
        }
    }
}

/// Readable by its owner alone, whatever the umask.
pub(crate) fn private_dir(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| Error::unwritable(path.display(), &error))
}

pub(crate) fn starts_as(path: &Path, head: &[u8]) -> Result<bool, Error> {
    let mut found = Vec::new();
    let read = File::open(path).and_then(|file| file.take(head.len() as u64).read_to_end(&mut found));
    read.map_err(|error| Error::unwritable(path.display(), &error))?;
    Ok(found == head)
}

/// All of it, in its place, and on the disk when this returns.
pub(crate) fn write_again(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let (mut place, mut chunk) = (0, Vec::new());
    while Read::by_ref(&mut file).take(READ_BYTES).read_to_end(&mut chunk)? > 0 {
        file.seek(io::SeekFrom::Start(place))?;
        file.write_all(&chunk)?;
        place += chunk.len() as u64;
        chunk.clear();
    }
    file.sync_all()
}

/// A new file's name is on the disk when this returns.
pub(crate) fn sync_names(dir: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::unwritable(dir.display(), &error))?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// As `private_dir`; what is in it stays.
pub(crate) fn private_file(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| Error::unwritable(path.display(), &error))?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(|error| Error::unwritable(path.display(), &error))?;
    Ok(file)
}
