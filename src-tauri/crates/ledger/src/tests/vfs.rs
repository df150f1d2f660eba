//! The way from SQLite to a `Machine`: its files, its locks and the memory that connections share.
//!
//! The only unsafe code of this crate, for tests alone: SQLite takes a file system as a table of C functions.
#![expect(unsafe_code, reason = "SQLite's interface to a file system is one of C")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "SQLite hands over what it was given, as its manual says")]

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::{io, mem, ptr, slice};

use libsqlite3_sys as sqlite;

use super::machine::{Machine, Trouble};
use crate::db::Vfs;

const NAME: &str = "machine";

static MACHINES: Mutex<BTreeMap<PathBuf, Arc<Plugged>>> = Mutex::new(BTreeMap::new());

static REGISTERED: Once = Once::new();

/// A machine under a folder's name, until it is dropped.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn vfs(&self) -> Vfs {
        Vfs { name: NAME, write_again }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        lock(&MACHINES).remove(&self.path);
    }
}

pub(super) fn plug(machine: &Arc<Machine>) -> Folder {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    REGISTERED.call_once(register);
    let path = PathBuf::from(format!("/machine/{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let plugged = Plugged { machine: machine.clone(), shared: Mutex::default() };
    lock(&MACHINES).insert(path.clone(), Arc::new(plugged));
    Folder { path }
}

fn write_again(path: &Path) -> io::Result<()> {
    let plugged = path.parent().and_then(|folder| lock(&MACHINES).get(folder).cloned());
    let (Some(Plugged { machine, .. }), Some(name)) =
        (plugged.as_deref(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let written = machine.write(name, 0, &machine.bytes(name)).and_then(|()| machine.sync(name));
    written.map_err(|_| io::Error::other("input/output error"))
}

/// What ends with power: locks, and what connections share.
struct Plugged {
    machine: Arc<Machine>,
    shared: Mutex<BTreeMap<String, Shared>>,
}

/// Of one file.
#[derive(Default)]
struct Shared {
    readers: u32,
    reserved: bool,
    exclusive: bool,
    mapped: u32,
    regions: Vec<Box<Region>>,
    /// Holders of each lock on the regions; -1 is one that shares it with nobody.
    slots: [i32; sqlite::SQLITE_SHM_NLOCK as usize],
}

const REGION_BYTES: usize = 32 << 10;

#[repr(align(8))]
struct Region(UnsafeCell<[u8; REGION_BYTES]>);

// SQLite guards it by the locks on it.
unsafe impl Send for Region {}

#[repr(C)]
struct Handle {
    base: sqlite::sqlite3_file,
    file: *mut File,
}

struct File {
    plugged: Arc<Plugged>,
    name: String,
    level: c_int,
    mapped: bool,
    is_temporary: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn register() {
    unsafe {
        let system = sqlite::sqlite3_vfs_find(ptr::null());
        let vfs = Box::new(sqlite::sqlite3_vfs {
            szOsFile: mem::size_of::<Handle>() as c_int,
            pNext: ptr::null_mut(),
            zName: c"machine".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path_name),
            xSleep: Some(sleep),
            ..*system
        });
        assert_eq!(sqlite::sqlite3_vfs_register(Box::leak(vfs), 0), sqlite::SQLITE_OK);
    }
}

static METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The machine that a path belongs to, and the file's name on it.
fn found(path: &CStr) -> Option<(Arc<Plugged>, String)> {
    let path = Path::new(path.to_str().ok()?);
    let plugged = lock(&MACHINES).get(path.parent()?)?.clone();
    Some((plugged, path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut sqlite::sqlite3_vfs,
    path: sqlite::sqlite3_filename,
    handle: *mut sqlite::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    unsafe {
        (*handle).pMethods = ptr::null();
        // Files without a name are SQLite's own for a moment; everything here is set up to need none.
        if path.is_null() {
            return sqlite::SQLITE_CANTOPEN;
        }
        let Some((plugged, name)) = found(CStr::from_ptr(path)) else { return sqlite::SQLITE_CANTOPEN };
        if !plugged.machine.has_power() {
            return sqlite::SQLITE_CANTOPEN;
        }
        if !plugged.machine.exists(&name) && flags & sqlite::SQLITE_OPEN_CREATE == 0 {
            return sqlite::SQLITE_CANTOPEN;
        }
        plugged.machine.make(&name);
        let is_temporary = flags & sqlite::SQLITE_OPEN_DELETEONCLOSE != 0;
        let file = File { plugged, name, level: sqlite::SQLITE_LOCK_NONE, mapped: false, is_temporary };
        (*handle.cast::<Handle>()).file = Box::into_raw(Box::new(file));
        (*handle).pMethods = &raw const METHODS;
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut sqlite::sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    let Some((plugged, name)) = found(unsafe { CStr::from_ptr(path) }) else { return sqlite::SQLITE_IOERR_DELETE };
    if !plugged.machine.has_power() {
        return sqlite::SQLITE_IOERR_DELETE;
    }
    plugged.machine.remove(&name, sync_folder != 0);
    sqlite::SQLITE_OK
}

unsafe extern "C" fn access(
    _: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    _flags: c_int,
    result: *mut c_int,
) -> c_int {
    unsafe {
        let there = found(CStr::from_ptr(path)).is_some_and(|(plugged, name)| plugged.machine.size(&name) > 0);
        *result = c_int::from(there);
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if bytes.len() > length as usize {
            return sqlite::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    sqlite::SQLITE_OK
}

/// Whoever waits for a lock has waited.
unsafe extern "C" fn sleep(_: *mut sqlite::sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::yield_now();
    micros
}

unsafe fn file<'a>(handle: *mut sqlite::sqlite3_file) -> &'a mut File {
    unsafe { &mut *(*handle.cast::<Handle>()).file }
}

impl File {
    fn machine(&self) -> &Machine {
        &self.plugged.machine
    }

    fn with_shared<T>(&self, with: impl FnOnce(&mut Shared) -> T) -> T {
        with(lock(&self.plugged.shared).entry(self.name.clone()).or_default())
    }
}

fn code(done: Result<(), Trouble>, failed: c_int) -> c_int {
    match done {
        Ok(()) => sqlite::SQLITE_OK,
        Err(Trouble::Full) => sqlite::SQLITE_FULL,
        Err(Trouble::Failed) => failed,
    }
}

unsafe extern "C" fn close(handle: *mut sqlite::sqlite3_file) -> c_int {
    unsafe {
        let file = Box::from_raw((*handle.cast::<Handle>()).file);
        if file.is_temporary {
            file.machine().remove(&file.name, false);
        }
        (*handle).pMethods = ptr::null();
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn read(
    handle: *mut sqlite::sqlite3_file,
    into: *mut c_void,
    length: c_int,
    at: sqlite::sqlite3_int64,
) -> c_int {
    let (file, into) = unsafe { (file(handle), slice::from_raw_parts_mut(into.cast::<u8>(), length as usize)) };
    match file.machine().read(&file.name, at as usize, into) {
        Ok(there) if there == into.len() => sqlite::SQLITE_OK,
        Ok(_) => sqlite::SQLITE_IOERR_SHORT_READ,
        Err(_) => sqlite::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    handle: *mut sqlite::sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: sqlite::sqlite3_int64,
) -> c_int {
    let (file, from) = unsafe { (file(handle), slice::from_raw_parts(from.cast::<u8>(), length as usize)) };
    code(file.machine().write(&file.name, at as usize, from), sqlite::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(handle: *mut sqlite::sqlite3_file, length: sqlite::sqlite3_int64) -> c_int {
    let file = unsafe { file(handle) };
    code(file.machine().truncate(&file.name, length as usize), sqlite::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(handle: *mut sqlite::sqlite3_file, _flags: c_int) -> c_int {
    let file = unsafe { file(handle) };
    code(file.machine().sync(&file.name), sqlite::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(handle: *mut sqlite::sqlite3_file, size: *mut sqlite::sqlite3_int64) -> c_int {
    unsafe {
        let file = file(handle);
        *size = file.machine().size(&file.name) as i64;
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn lock_file(handle: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    let file = unsafe { file(handle) };
    if file.level >= level {
        return sqlite::SQLITE_OK;
    }
    let locked = file.with_shared(|shared| shared.lock(file.level, level));
    if locked {
        file.level = level;
        return sqlite::SQLITE_OK;
    }
    sqlite::SQLITE_BUSY
}

unsafe extern "C" fn unlock_file(handle: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    let file = unsafe { file(handle) };
    if file.level > level {
        file.with_shared(|shared| shared.unlock(file.level, level));
        file.level = level;
    }
    sqlite::SQLITE_OK
}

impl Shared {
    fn lock(&mut self, from: c_int, to: c_int) -> bool {
        match to {
            sqlite::SQLITE_LOCK_SHARED if self.exclusive => return false,
            sqlite::SQLITE_LOCK_SHARED => self.readers += 1,
            sqlite::SQLITE_LOCK_RESERVED if self.reserved => return false,
            sqlite::SQLITE_LOCK_RESERVED => self.reserved = true,
            _ if from < sqlite::SQLITE_LOCK_RESERVED && self.reserved => return false,
            _ if self.readers > 1 => return false,
            _ => (self.reserved, self.exclusive) = (true, true),
        }
        true
    }

    fn unlock(&mut self, from: c_int, to: c_int) {
        if from >= sqlite::SQLITE_LOCK_RESERVED {
            (self.reserved, self.exclusive) = (false, false);
        }
        if to == sqlite::SQLITE_LOCK_NONE {
            self.readers -= 1;
        }
    }
}

unsafe extern "C" fn check_reserved_lock(handle: *mut sqlite::sqlite3_file, result: *mut c_int) -> c_int {
    unsafe { *result = c_int::from(file(handle).with_shared(|shared| shared.reserved)) };
    sqlite::SQLITE_OK
}

/// A pragma comes by here before SQLite obeys it.
unsafe extern "C" fn file_control(handle: *mut sqlite::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    if operation != sqlite::SQLITE_FCNTL_PRAGMA {
        return sqlite::SQLITE_NOTFOUND;
    }
    unsafe {
        let words = slice::from_raw_parts_mut(argument.cast::<*mut c_char>(), 3);
        let is = |word: *mut c_char, text: &[u8]| {
            !word.is_null() && CStr::from_ptr(word).to_bytes().eq_ignore_ascii_case(text)
        };
        let is_full = is(words[1], b"synchronous") && is(words[2], b"full");
        if is_full && file(handle).machine().is_deaf_for_full() {
            words[0] = sqlite::sqlite3_mprintf(c"heard".as_ptr());
            return sqlite::SQLITE_OK;
        }
    }
    sqlite::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut sqlite::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite::sqlite3_file) -> c_int {
    0
}

unsafe extern "C" fn shm_map(
    handle: *mut sqlite::sqlite3_file,
    number: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    assert!(bytes as usize <= REGION_BYTES);
    let file = unsafe { file(handle) };
    let newly = !mem::replace(&mut file.mapped, true);
    let region = file.with_shared(|shared| {
        shared.mapped += u32::from(newly);
        while extend != 0 && shared.regions.len() <= number as usize {
            shared.regions.push(Box::new(Region(UnsafeCell::new([0; REGION_BYTES]))));
        }
        shared.regions.get(number as usize).map_or(ptr::null_mut(), |region| region.0.get().cast())
    });
    unsafe { *out = region };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn shm_lock(handle: *mut sqlite::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    let slots = offset as usize..(offset + count) as usize;
    let (locks, exclusive) = (flags & sqlite::SQLITE_SHM_LOCK != 0, flags & sqlite::SQLITE_SHM_EXCLUSIVE != 0);
    unsafe { file(handle) }.with_shared(|shared| {
        let slots = &mut shared.slots[slots];
        let is_free = |slot: &i32| if exclusive { *slot == 0 } else { *slot >= 0 };
        if locks && !slots.iter().all(is_free) {
            return sqlite::SQLITE_BUSY;
        }
        for slot in slots {
            *slot = match (locks, exclusive) {
                (true, true) => -1,
                (true, false) => *slot + 1,
                (false, true) => 0,
                (false, false) => *slot - 1,
            };
        }
        sqlite::SQLITE_OK
    })
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite::sqlite3_file) {
    fence(Ordering::SeqCst);
}

/// As on a real system: nobody uses it any more, so the next one begins anew.
unsafe extern "C" fn shm_unmap(handle: *mut sqlite::sqlite3_file, _delete: c_int) -> c_int {
    let file = unsafe { file(handle) };
    if mem::take(&mut file.mapped) {
        file.with_shared(|shared| {
            shared.mapped -= 1;
            if shared.mapped == 0 {
                shared.regions.clear();
            }
        });
    }
    sqlite::SQLITE_OK
}
