//! A machine whose power fails: files in memory that keep what was synced, and of the rest whichever sectors they like.
//!
//! SQLite comes to it through `vfs.rs`, the journal as a `Disk`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use crate::Error;
use crate::disk::Disk;

const SECTOR: usize = 512;

/// A lie of the disk, or a pragma that isn't heard: with it the test must fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Planted {
    Nothing,
    /// The journal's syncs do nothing.
    JournalNotSynced,
    /// `PRAGMA synchronous = FULL` is swallowed.
    NeverFull,
}

/// What fails, until it is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// SQLite's writes and syncs fail so often, then no more.
    DatabaseFails { times: u32 },
    /// SQLite's syncs alone.
    DatabaseSyncsFail { times: u32 },
    /// The journal's writes and syncs, likewise.
    JournalFails { times: u32 },
    /// The journal's syncs alone.
    JournalSyncsFail { times: u32 },
    /// After so many writes no file grows.
    Full { after: u32 },
}

impl Fault {
    fn meets(&mut self, name: &str, syncs: bool) -> bool {
        let (times, is_journal, syncs_alone) = match self {
            Fault::DatabaseFails { times } => (times, false, false),
            Fault::DatabaseSyncsFail { times } => (times, false, true),
            Fault::JournalFails { times } => (times, true, false),
            Fault::JournalSyncsFail { times } => (times, true, true),
            Fault::Full { .. } => return false,
        };
        let meets = *times > 0 && name.starts_with("journal/") == is_journal && (syncs || !syncs_alone);
        *times -= u32::from(meets);
        meets
    }
}

pub(super) struct Machine {
    state: Mutex<State>,
}

struct State {
    files: BTreeMap<String, Content>,
    chance: Rng,
    planted: Planted,
    fault: Option<Fault>,
    /// How often it met.
    failures: u32,
    /// Writes and syncs until power goes.
    cut_in: Option<u32>,
    /// What the cut left, and how much of the story had been promised by then.
    left: Option<(BTreeMap<String, Vec<u8>>, Promised)>,
    promised: Promised,
}

/// What callers were told.
#[derive(Clone, Default, Debug)]
pub(super) struct Promised {
    /// Settled, by their numbers.
    pub(super) settled: Vec<u64>,
    /// So many were opened before a call that is settled.
    pub(super) opened: usize,
}

/// One file.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Another file had this name, and its end was not synced.
    before: Option<Vec<u8>>,
    named: bool,
    /// Sectors that a failed sync has dropped: the next one says yes and brings nothing of them.
    dropped: BTreeSet<usize>,
}

/// What a read, write or sync says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    Failed,
    Full,
}

type Done = Result<(), Trouble>;

impl Machine {
    pub(super) fn new(seed: u64, planted: Planted) -> Arc<Machine> {
        Machine::with(BTreeMap::new(), Promised::default(), Rng::with_seed(seed), planted)
    }

    /// With one file on its disk.
    pub(super) fn holding(name: &str, bytes: Vec<u8>, seed: u64) -> Arc<Machine> {
        let files = BTreeMap::from([(name.to_owned(), bytes)]);
        Machine::with(files, Promised::default(), Rng::with_seed(seed), Planted::Nothing)
    }

    fn with(files: BTreeMap<String, Vec<u8>>, promised: Promised, chance: Rng, planted: Planted) -> Arc<Machine> {
        let content = |synced: Vec<u8>| Content {
            bytes: synced.clone(),
            synced,
            before: None,
            named: true,
            dropped: BTreeSet::new(),
        };
        let files = files.into_iter().map(|(name, bytes)| (name, content(bytes))).collect();
        let state = State { files, chance, planted, fault: None, failures: 0, cut_in: None, left: None, promised };
        Arc::new(Machine { state: Mutex::new(state) })
    }

    /// The same one after power is back; `None` while it has power still.
    pub(super) fn restarted(&self) -> Option<Arc<Machine>> {
        let mut state = self.state();
        let (files, promised) = state.left.clone()?;
        let chance = state.chance.fork();
        Some(Machine::with(files, promised, chance, state.planted))
    }

    pub(super) fn cut_in(&self, operations: u32) {
        self.state().cut_in = Some(operations);
    }

    pub(super) fn cut_now(&self) {
        self.state().cut_power();
    }

    pub(super) fn has_power(&self) -> bool {
        self.state().left.is_none()
    }

    pub(super) fn promised(&self) -> Promised {
        self.state().promised.clone()
    }

    /// A caller has been told that a call is settled; the first `opened` openings came to the disk with it.
    pub(super) fn promise(&self, settled: u64, opened: usize) {
        let mut state = self.state();
        if state.left.is_none() {
            state.promised.settled.push(settled);
            state.promised.opened = state.promised.opened.max(opened);
        }
    }

    /// They were kept, and begin anew.
    pub(super) fn clear_promises(&self) {
        self.state().promised = Promised::default();
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(super) fn has_fault(&self) -> bool {
        self.state().fault.is_some()
    }

    pub(super) fn failures(&self) -> u32 {
        self.state().failures
    }

    pub(super) fn is_deaf_for_full(&self) -> bool {
        self.state().planted == Planted::NeverFull
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.state().files.get(name).map(|file| file.bytes.clone()).unwrap_or_default()
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.state().files.get_mut(name) {
            change(&mut file.bytes);
        }
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.state().files.contains_key(name)
    }

    /// SQLite opens it: the first sync of a WAL or a rollback journal then takes the folder along, that of a database doesn't.
    pub(super) fn make(&self, name: &str) {
        self.state().files.entry(name.to_owned()).or_default().named = name == "ledger.db";
    }

    /// Until the folder is synced the file may be back after a cut.
    pub(super) fn remove(&self, name: &str, folder_is_synced: bool) {
        let mut state = self.state();
        if let Some(file) = state.files.get_mut(name) {
            let before = file.before.take().unwrap_or_else(|| mem::take(&mut file.synced));
            *file = Content { before: Some(before), ..Content::default() };
        }
        if folder_is_synced {
            state.sync_folder();
        }
    }

    /// How many bytes there were to read.
    pub(super) fn read(&self, name: &str, at: usize, into: &mut [u8]) -> Result<usize, Trouble> {
        let state = self.state();
        if state.left.is_some() {
            return Err(Trouble::Failed);
        }
        let bytes = state.files.get(name).map_or(&[][..], |file| &file.bytes);
        let there = bytes.get(at..).unwrap_or_default();
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        into[length..].fill(0);
        Ok(length)
    }

    pub(super) fn write(&self, name: &str, at: usize, new: &[u8]) -> Done {
        let mut state = self.state();
        state.may_write(name, at + new.len())?;
        let file = state.files.entry(name.to_owned()).or_default();
        let end = at + new.len();
        file.bytes.resize(file.bytes.len().max(end), 0);
        file.bytes[at..end].copy_from_slice(new);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            file.dropped.remove(&sector);
        }
        state.count_down()
    }

    pub(super) fn truncate(&self, name: &str, length: usize) -> Done {
        let mut state = self.state();
        state.may_write(name, 0)?;
        if let Some(file) = state.files.get_mut(name) {
            file.bytes.truncate(length);
        }
        state.count_down()
    }

    pub(super) fn sync(&self, name: &str) -> Done {
        let mut state = self.state();
        state.count_down()?;
        if let Err(trouble) = state.meet_fault(name, true) {
            state.files.get_mut(name).into_iter().for_each(Content::drop_unsynced);
            return Err(trouble);
        }
        if state.planted == Planted::JournalNotSynced && name.starts_with("journal/") {
            return Ok(());
        }
        let Some(file) = state.files.get_mut(name) else { return Ok(()) };
        file.sync();
        if !mem::replace(&mut file.named, true) {
            state.sync_folder();
        }
        Ok(())
    }

    pub(super) fn size(&self, name: &str) -> usize {
        self.state().files.get(name).map_or(0, |file| file.bytes.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_write(&mut self, name: &str, end: usize) -> Done {
        if self.left.is_some() {
            return Err(Trouble::Failed);
        }
        let grows = self.files.get(name).is_none_or(|file| file.bytes.len() < end);
        match &mut self.fault {
            Some(Fault::Full { after: 0 }) if grows => return Err(Trouble::Full),
            Some(Fault::Full { after }) => *after = after.saturating_sub(1),
            _ => {}
        }
        self.meet_fault(name, false)
    }

    fn meet_fault(&mut self, name: &str, syncs: bool) -> Done {
        let fails = self.fault.as_mut().is_some_and(|fault| fault.meets(name, syncs));
        self.failures += u32::from(fails);
        if fails { Err(Trouble::Failed) } else { Ok(()) }
    }

    fn sync_folder(&mut self) {
        self.files.values_mut().for_each(|file| file.before = None);
    }

    fn count_down(&mut self) -> Done {
        if self.left.is_some() {
            return Err(Trouble::Failed);
        }
        match &mut self.cut_in {
            None => Ok(()),
            Some(0) => {
                self.cut_power();
                Err(Trouble::Failed)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Of some cuts everything survives that was on its way, of some nothing, of most some of it.
    fn cut_power(&mut self) {
        let keeps = [0.0, 0.1, 0.5, 0.9, 1.0][self.chance.usize(..5)];
        let chance = &mut self.chance;
        let files = self.files.iter().map(|(name, file)| (name.clone(), file.after_cut(|| chance.f64() < keeps)));
        self.left = Some((files.collect(), self.promised.clone()));
    }
}

impl Content {
    fn sync(&mut self) {
        let lost = mem::replace(&mut self.synced, self.bytes.clone());
        for sector in &self.dropped {
            let place = sector * SECTOR;
            for at in place..(place + SECTOR).min(self.synced.len()) {
                self.synced[at] = lost.get(at).copied().unwrap_or(0);
            }
        }
    }

    fn drop_unsynced(&mut self) {
        let differs = |sector: &usize| {
            let part = |bytes: &[u8]| bytes.chunks(SECTOR).nth(*sector).map(<[u8]>::to_vec);
            part(&self.bytes) != part(&self.synced)
        };
        let dropped: Vec<usize> = (0..self.bytes.len().div_ceil(SECTOR)).filter(differs).collect();
        self.dropped.extend(dropped);
    }

    fn after_cut(&self, mut kept: impl FnMut() -> bool) -> Vec<u8> {
        if let Some(before) = &self.before
            && !kept()
        {
            return before.clone();
        }
        let length = if kept() { self.bytes.len() } else { self.synced.len() };
        let mut left = self.synced.clone();
        left.resize(length, 0);
        for (written, left) in self.bytes.chunks(SECTOR).zip(left.chunks_mut(SECTOR)) {
            if kept() {
                let length = written.len().min(left.len());
                left[..length].copy_from_slice(&written[..length]);
            }
        }
        left
    }
}

/// One of the journal's pages on such a machine.
pub(super) struct MachinePage {
    machine: Arc<Machine>,
    name: &'static str,
    bytes: usize,
    place: Mutex<usize>,
}

pub(super) fn pages(machine: &Arc<Machine>, bytes: u64) -> [Arc<dyn Disk>; 2] {
    ["journal/0", "journal/1"].map(|name| {
        let bytes = usize::try_from(bytes).expect("a size");
        let page = MachinePage { machine: machine.clone(), name, bytes, place: Mutex::new(0) };
        // A machine that has lost its power already says so at the first read.
        let _ = page.reserve(bytes as u64);
        Arc::new(page) as Arc<dyn Disk>
    })
}

fn told(name: &str, done: Done) -> Result<(), Error> {
    let reason = |trouble| match trouble {
        Trouble::Failed => "input/output error",
        Trouble::Full => "no space left on device",
    };
    done.map_err(|trouble| Error::Unwritable { what: name.into(), reason: reason(trouble).into() })
}

impl MachinePage {
    fn place(&self) -> MutexGuard<'_, usize> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MachinePage {
    fn read(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; self.machine.size(self.name)];
        told(self.name, self.machine.read(self.name, 0, &mut bytes).map(drop))?;
        Ok(bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut place = self.place();
        told(self.name, self.machine.write(self.name, *place, bytes))?;
        *place += bytes.len();
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let there = self.machine.size(self.name);
        let wanted = usize::try_from(bytes).expect("a size");
        let done = if there < wanted { self.machine.write(self.name, there, &vec![0; wanted - there]) } else { Ok(()) };
        told(self.name, done)
    }

    fn rewind(&self) -> Result<(), Error> {
        let grown = self.machine.size(self.name) > self.bytes;
        let done = if grown { self.machine.truncate(self.name, self.bytes) } else { Ok(()) };
        *self.place() = 0;
        told(self.name, done)
    }

    fn sync(&self) -> Result<(), Error> {
        told(self.name, self.machine.sync(self.name))
    }

    fn keep_aside(&self) {}
}
