//! The append-only file in front of SQLite. What `append` has returned from survives the end of this process;
//! what a `Receipt` has confirmed survives the end of power.
//!
//! One record is one line, `CRC SEQ KIND CALL JSON`, and one write. Two pre-allocated pages are used in turns;
//! a page is overwritten only after everything in it lies safely in SQLite. Sequence numbers go up for ever and
//! leave a gap at each start; what is left of an older turn is known by its numbers.
//!
//! A page that can't be written or synced is not trusted again before everything lies safely in SQLite and the disk has
//! taken something new. Until then nothing is opened, and what runs is settled through SQLite alone.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use domain::call::CallId;
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::disk::Disk;
use crate::{Durability, Error};

mod line;

pub(crate) use line::{Found, has_records};

/// What a page holds before the next one is taken. Both pages together are reserved at the first start.
pub(crate) const PAGE_BYTES: u64 = 4 << 20;

/// Records that wait for SQLite; beyond it nothing new is taken in, so no page grows much beyond it.
const UNFOLDED_BYTES_MAX: usize = 64 << 20;

/// Beyond it no new call is opened, so that those which run can still be settled.
const OPEN_BYTES_MAX: usize = 48 << 20;

/// Beyond it new calls wait for SQLite to catch up, as long as it may take for one batch on a slow disk.
const ROOM_BYTES: usize = 8 << 20;
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// So many records are folded without waiting for more.
const FOLD_AT_ONCE: usize = 256;

/// This part of a page is left to the calls that run when a full disk lets no page grow.
const SETTLES_SHARE: u64 = 4;

/// Enough for one batch.
const BATCH_BYTES: usize = 2 << 20;

/// No page holds as many records: a start leaves this gap in the sequence.
const SEQ_GAP: u64 = 1 << 24;

/// No journal comes so far.
pub(crate) const SEQ_MAX: u64 = 1 << 62;

/// An opening is on the disk after this, without anyone waiting for it.
const OPEN_SYNC_WITHIN: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Opened,
    Used,
    Settled,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    pub(crate) call: CallId,
    pub(crate) json: Arc<str>,
}

pub(crate) struct Journal {
    book: Mutex<Book>,
    durability: Durability,
    /// Wakes the thread that syncs.
    to_sync: Condvar,
    /// Wakes the task that folds, if it sleeps.
    pub(crate) first_unfolded: Notify,
    /// Wakes it if it waits for company.
    pub(crate) many_unfolded: Notify,
    /// Wakes the calls that wait for room.
    some_folded: Notify,
}

struct Book {
    page_bytes: u64,
    pages: [Page; 2],
    active: usize,
    next_seq: u64,
    unfolded: Vec<Record>,
    unfolded_bytes: usize,
    /// What is safely in SQLite, power loss included.
    safe_seq: u64,
    /// Those who wait for the next sync.
    waiting: Vec<Waiter>,
    /// Those whose record is on no page, or on one that was not synced: they wait until SQLite has it.
    stranded: Vec<(u64, Waiter)>,
    closed: Option<Error>,
    /// Why the pages are not trusted.
    failed: Option<Error>,
    /// How often they have failed.
    failures: u64,
    /// Why no new call is opened, while those which run may still be settled.
    closed_to_openings: Option<Error>,
    ending: bool,
    line: String,
}

type Waiter = oneshot::Sender<Result<(), Error>>;

struct Page {
    disk: Arc<dyn Disk>,
    used: u64,
    reserved: u64,
    /// In this turn.
    records: u64,
    first_seq: u64,
    last_seq: u64,
    unsynced: bool,
}

/// Ends with the sync that follows a write; `None` where nobody needs to wait.
pub(crate) type Sync = Option<oneshot::Receiver<Result<(), Error>>>;

impl Journal {
    /// The journal and every record in it that is younger than `folded_seq`, in order.
    pub(crate) fn open(
        disks: [Arc<dyn Disk>; 2],
        page_bytes: u64,
        durability: Durability,
        folded_seq: u64,
    ) -> Result<(Journal, Found), Error> {
        let found = line::find(&disks, folded_seq)?;
        let last_seq = found.records.last().map_or(folded_seq, |record| record.seq);
        let page =
            |disk| Page { disk, used: 0, reserved: page_bytes, records: 0, first_seq: 0, last_seq, unsynced: false };
        let pages = disks.map(page);
        let book = Book {
            page_bytes,
            pages,
            active: 1,
            next_seq: last_seq + SEQ_GAP,
            unfolded: Vec::new(),
            unfolded_bytes: 0,
            safe_seq: folded_seq,
            waiting: Vec::new(),
            stranded: Vec::new(),
            closed: None,
            failed: None,
            failures: 0,
            closed_to_openings: None,
            ending: false,
            line: String::new(),
        };
        let journal = Journal {
            book: Mutex::new(book),
            durability,
            to_sync: Condvar::new(),
            first_unfolded: Notify::new(),
            many_unfolded: Notify::new(),
            some_folded: Notify::new(),
        };
        Ok((journal, found))
    }

    /// Everything found at the start is safely in SQLite, and so is the floor; from here on the pages may be written.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut book = self.book();
        book.safe_seq = book.next_seq - 1;
        // New pages reach the disk now, so that no call has to wait for it.
        book.pages.iter_mut().for_each(|page| page.unsynced = true);
        book.turn()
    }

    pub(crate) fn append(&self, kind: Kind, call: CallId, body: &impl Serialize) -> Result<Sync, Error> {
        let json = serde_json::to_string(body).map_err(|error| Error::unwritable("a record", &error))?;
        let mut book = self.book();
        let is_on_page = book.write(kind, call, json.into())?;
        match book.unfolded.len() {
            1 => self.first_unfolded.notify_one(),
            FOLD_AT_ONCE => self.many_unfolded.notify_one(),
            _ => {}
        }
        if !is_on_page {
            self.wake_folder();
            return Ok((kind == Kind::Settled).then(|| book.strand()));
        }
        if self.durability == Durability::Process {
            return Ok(None);
        }
        let first_unsynced = !mem::replace(&mut book.active_page().unsynced, true);
        if kind != Kind::Settled {
            if first_unsynced {
                self.to_sync.notify_one();
            }
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        book.waiting.push(sender);
        self.to_sync.notify_one();
        Ok(Some(receiver))
    }

    /// The oldest records that SQLite doesn't have yet, at most `max`, and whether the commit that takes them must be power-safe.
    pub(crate) fn unfolded(&self, max: usize) -> (Vec<Record>, bool) {
        let book = self.book();
        let mut left = BATCH_BYTES;
        let fits = |record: &&Record| {
            let has_room = left > 0;
            left = left.saturating_sub(record.json.len());
            has_room
        };
        let records = book.unfolded.iter().take(max).take_while(fits).cloned().collect();
        let waits_for_page = book.pages[1 - book.active].last_seq > book.safe_seq;
        (records, waits_for_page || !book.stranded.is_empty())
    }

    /// At the start it lies above all that any earlier one may have written.
    pub(crate) fn last_seq(&self) -> u64 {
        self.book().next_seq - 1
    }

    pub(crate) fn has_unfolded(&self) -> bool {
        !self.book().unfolded.is_empty()
    }

    pub(crate) fn folded(&self, through: u64, power_safe: bool) {
        let mut book = self.book();
        let count = book.unfolded.partition_point(|record| record.seq <= through);
        let bytes: usize = book.unfolded.drain(..count).map(|record| record.json.len()).sum();
        book.unfolded_bytes -= bytes;
        if power_safe {
            book.is_safe(through);
        }
        drop(book);
        self.some_folded.notify_waiters();
    }

    /// Nothing more is known of when SQLite will have the records: who has waited for that need not wait on. They are kept.
    pub(crate) fn not_folded(&self, reason: &Error) {
        for (_, waiter) in mem::take(&mut self.book().stranded) {
            // One who has gone needs no answer.
            let _ = waiter.send(Err(reason.clone()));
        }
    }

    /// Through which record SQLite has everything, where somebody needs to know that it is safe there: the pages are not
    /// trusted, or whoever is stranded waits for it.
    pub(crate) fn wanted_safe(&self) -> Option<u64> {
        let book = self.book();
        let through = book.unfolded.first().map_or(book.next_seq, |record| record.seq) - 1;
        book.wants_safety().then_some(through)
    }

    pub(crate) fn wants_safety(&self) -> bool {
        self.book().wants_safety()
    }

    /// Why the pages are not trusted.
    pub(crate) fn failed(&self) -> Option<Error> {
        self.book().failed.clone()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.book().failed.is_some()
    }

    /// SQLite has everything through this record, power loss included.
    pub(crate) fn is_safe(&self, through: u64) {
        self.book().is_safe(through);
    }

    /// Takes the pages into use again where everything on them is safe and the disk takes something new.
    /// What failed is never synced again: the kernel may have dropped it and say yes. A sync that was on its way fails
    /// while this wipes: that is not mended by it.
    pub(crate) fn mend(&self) -> Result<(), Error> {
        let (disks, failures) = {
            let book = self.book();
            if book.pages.iter().any(|page| page.last_seq > book.safe_seq) {
                return Ok(());
            }
            (book.pages.each_ref().map(|page| page.disk.clone()), book.failures)
        };
        disks.iter().try_for_each(|disk| wipe(&**disk))?;
        let mut book = self.book();
        if book.failures > failures {
            return Ok(());
        }
        let page_bytes = book.page_bytes;
        for page in &mut book.pages {
            (page.used, page.records, page.reserved, page.unsynced) = (0, 0, page_bytes, false);
        }
        book.failed = None;
        Ok(())
    }

    pub(crate) fn has_many(&self) -> bool {
        self.book().unfolded.len() >= FOLD_AT_ONCE
    }

    pub(crate) fn has_room(&self) -> bool {
        self.book().unfolded_bytes <= ROOM_BYTES
    }

    /// Ends when SQLite has caught up; where it doesn't, an opening will say why.
    pub(crate) async fn room(self: Arc<Self>) {
        let caught_up = async {
            loop {
                let folded = self.some_folded.notified();
                if self.has_room() {
                    return;
                }
                folded.await;
            }
        };
        let _ = tokio::time::timeout(ROOM_WITHIN, caught_up).await;
    }

    /// Nothing is taken in any more; what is in is still synced and folded.
    pub(crate) fn close(&self, reason: Error) {
        self.book().closed.get_or_insert(reason);
    }

    /// What runs may still be settled.
    pub(crate) fn refuse_openings(&self, reason: Error) {
        self.book().closed_to_openings.get_or_insert(reason);
    }

    /// Is what the active page holds readable on the disk?
    pub(crate) fn reads_back(&self) -> Result<bool, Error> {
        let mut book = self.book();
        let has_failed = book.failed.is_some();
        let page = book.active_page();
        Ok(page.records == 0 || has_failed || line::count(&page.disk.read()?, page.first_seq) == page.records)
    }

    /// One thread does all syncs: it takes whoever waits and waits for nobody.
    pub(crate) fn spawn_syncer(self: &Arc<Self>) -> Result<Option<thread::JoinHandle<()>>, Error> {
        if self.durability == Durability::Process {
            return Ok(None);
        }
        let journal = self.clone();
        let sync_all = move || {
            while catch_unwind(AssertUnwindSafe(|| journal.sync_next())).unwrap_or_else(|_| journal.has_panicked()) {}
        };
        let spawned = thread::Builder::new().name("journal".into()).spawn(sync_all);
        spawned.map(Some).map_err(|error| Error::unwritable("the journal", &error))
    }

    /// The thread that syncs and the task that folds end when they are done with what they do.
    pub(crate) fn end(&self) {
        self.book().ending = true;
        self.to_sync.notify_one();
        self.first_unfolded.notify_one();
        self.many_unfolded.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.book().ending
    }

    /// `false` at the end.
    fn sync_next(&self) -> bool {
        let mut book = self.book();
        while book.all_synced() && !book.ending {
            book = self.to_sync.wait(book).unwrap_or_else(PoisonError::into_inner);
        }
        if book.waiting.is_empty() && !book.ending {
            let idle = |book: &mut Book| book.waiting.is_empty() && !book.ending;
            let waited = self.to_sync.wait_timeout_while(book, OPEN_SYNC_WITHIN, idle);
            book = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if book.all_synced() {
            return !book.ending;
        }
        let (disks, waiting) = book.take_unsynced();
        drop(book);
        let synced = disks.iter().try_for_each(|disk| disk.sync());
        if let Err(error) = synced {
            let mut book = self.book();
            book.waiting.extend(waiting);
            book.fail(error);
            self.wake_folder();
            return true;
        }
        for waiter in waiting {
            // One who has gone needs no answer.
            let _ = waiter.send(Ok(()));
        }
        true
    }

    /// In a sync: what was on its way to the disk may not be there. It goes on.
    fn has_panicked(&self) -> bool {
        self.book().fail(Error::Panicked);
        self.wake_folder();
        true
    }

    /// It folds at once.
    fn wake_folder(&self) {
        self.first_unfolded.notify_one();
        self.many_unfolded.notify_one();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn active_page(&mut self) -> &mut Page {
        &mut self.pages[self.active]
    }

    /// Whether it is on a page. Where no page takes it, a call that runs goes on all the same; a new one doesn't begin.
    fn write(&mut self, kind: Kind, call: CallId, json: Arc<str>) -> Result<bool, Error> {
        let opens = kind == Kind::Opened;
        if let Some(reason) = self.closed.as_ref().or(self.closed_to_openings.as_ref().filter(|_| opens)) {
            return Err(reason.clone());
        }
        let limit = if opens { OPEN_BYTES_MAX } else { UNFOLDED_BYTES_MAX };
        if self.unfolded_bytes + json.len() > limit {
            return Err(Error::Behind);
        }
        let record = Record { seq: self.next_seq, kind, call, json };
        let written = self.put_on_page(&record);
        if let (Err(reason), true) = (&written, opens) {
            return Err(reason.clone());
        }
        self.unfolded_bytes += record.json.len();
        self.unfolded.push(record);
        Ok(written.is_ok())
    }

    fn put_on_page(&mut self, record: &Record) -> Result<(), Error> {
        // Whatever a write that fails leaves on the page, no other record has its number.
        self.next_seq += 1;
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        line::write(&mut self.line, record);
        self.make_room(record.kind)?;
        let page = &mut self.pages[self.active];
        page.last_seq = record.seq;
        if let Err(error) = page.disk.write(self.line.as_bytes()) {
            self.fail(error.clone());
            return Err(error);
        }
        if page.records == 0 {
            page.first_seq = record.seq;
        }
        page.records += 1;
        page.used += self.line.len() as u64;
        Ok(())
    }

    /// On the other page, if everything in it is safe; else this one grows. Where it can't, what runs may still be settled,
    /// and all goes on when SQLite has taken the other page.
    fn make_room(&mut self, kind: Kind) -> Result<(), Error> {
        let line = self.line.len() as u64;
        let needed = line + if kind == Kind::Opened { self.page_bytes / SETTLES_SHARE } else { 0 };
        if self.active_page().used + needed > self.page_bytes {
            self.turn()?;
        }
        let page_bytes = self.page_bytes;
        let page = self.active_page();
        if page.used + needed <= page.reserved {
            return Ok(());
        }
        page.disk.reserve(page.reserved + page_bytes.max(needed))?;
        page.reserved += page_bytes.max(needed);
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Error> {
        let other = 1 - self.active;
        let page = &mut self.pages[other];
        if page.last_seq > self.safe_seq {
            return Ok(());
        }
        if let Err(error) = page.disk.rewind() {
            self.fail(error.clone());
            return Err(error);
        }
        (page.used, page.records, page.reserved) = (0, 0, self.page_bytes);
        self.active = other;
        Ok(())
    }

    fn all_synced(&self) -> bool {
        self.pages.iter().all(|page| !page.unsynced)
    }

    fn take_unsynced(&mut self) -> (Vec<Arc<dyn Disk>>, Vec<Waiter>) {
        let unsynced =
            self.pages.iter_mut().filter_map(|page| mem::take(&mut page.unsynced).then(|| page.disk.clone()));
        (unsynced.collect(), mem::take(&mut self.waiting))
    }

    /// The disk has failed: nothing more is written, and who waits for it waits for SQLite now.
    fn fail(&mut self, reason: Error) {
        let through = self.next_seq - 1;
        let (_, waiting) = self.take_unsynced();
        self.stranded.extend(waiting.into_iter().map(|waiter| (through, waiter)));
        self.failed.get_or_insert(reason);
        self.failures += 1;
    }

    fn wants_safety(&self) -> bool {
        self.failed.is_some() || !self.stranded.is_empty()
    }

    fn strand(&mut self) -> oneshot::Receiver<Result<(), Error>> {
        let (sender, receiver) = oneshot::channel();
        self.stranded.push((self.next_seq - 1, sender));
        receiver
    }

    fn is_safe(&mut self, through: u64) {
        self.safe_seq = self.safe_seq.max(through);
        let (safe, stranded) = mem::take(&mut self.stranded).into_iter().partition(|(seq, _)| *seq <= through);
        self.stranded = stranded;
        for (_, waiter) in safe {
            // One who has gone needs no answer.
            let _ = waiter.send(Ok(()));
        }
    }
}

/// More than a sector, so that a page begins empty; and a write that the disk has to take.
const WIPED: [u8; 4 << 10] = [0; 4 << 10];

fn wipe(disk: &dyn Disk) -> Result<(), Error> {
    disk.rewind()?;
    disk.write(&WIPED)?;
    disk.sync()?;
    disk.rewind()
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Opened => "opened",
            Kind::Used => "used",
            Kind::Settled => "settled",
        }
    }

    fn named(name: &str) -> Option<Kind> {
        [Kind::Opened, Kind::Used, Kind::Settled].into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests;
