//! The journal under crashes, torn writes and full disks.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::time::Timestamp;
use proptest::prelude::*;

use super::*;

/// A page in memory whose writes and syncs can fail.
#[derive(Default)]
struct Fake {
    bytes: Mutex<(Vec<u8>, usize)>,
    writes_fail: Mutex<bool>,
    is_full: Mutex<bool>,
    syncs_fail: Mutex<bool>,
    syncs: AtomicUsize,
    /// Happens once, the next time it is rewound.
    when_rewound: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

fn broken() -> Error {
    Error::Unwritable { what: "journal/0".into(), reason: "no space left".into() }
}

impl Disk for Fake {
    fn read(&self) -> Result<Vec<u8>, Error> {
        Ok(self.bytes.lock().expect("bytes").0.clone())
    }

    fn write(&self, new: &[u8]) -> Result<(), Error> {
        if *self.writes_fail.lock().expect("a flag") {
            return Err(broken());
        }
        let mut guard = self.bytes.lock().expect("bytes");
        let (bytes, place) = &mut *guard;
        let end = *place + new.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[*place..end].copy_from_slice(new);
        *place = end;
        Ok(())
    }

    fn reserve(&self, _: u64) -> Result<(), Error> {
        if *self.is_full.lock().expect("a flag") { Err(broken()) } else { Ok(()) }
    }

    fn rewind(&self) -> Result<(), Error> {
        if let Some(happens) = self.when_rewound.lock().expect("it").take() {
            happens();
        }
        self.bytes.lock().expect("bytes").1 = 0;
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if *self.syncs_fail.lock().expect("a flag") { Err(broken()) } else { Ok(()) }
    }

    fn keep_aside(&self) {}
}

fn set(disks: &[Arc<Fake>; 2], flag: impl Fn(&Fake) -> &Mutex<bool>, value: bool) {
    disks.iter().for_each(|disk| *flag(disk).lock().expect("a flag") = value);
}

fn fakes() -> [Arc<Fake>; 2] {
    [Arc::default(), Arc::default()]
}

fn open(fakes: &[Arc<Fake>; 2], durability: Durability, folded_seq: u64) -> (Arc<Journal>, Vec<Record>) {
    let disks = fakes.clone().map(|fake| fake as Arc<dyn Disk>);
    let (journal, found) = Journal::open(disks, 1_000, durability, folded_seq).expect("a journal");
    journal.start().expect("started");
    (Arc::new(journal), found.records)
}

fn id(number: u128) -> CallId {
    CallId::new(Timestamp::from_millis(1), number)
}

/// The numbers of the calls in a record's body.
fn numbers(records: &[Record]) -> Vec<u32> {
    records.iter().map(|record| record.json.parse().expect("a number")).collect()
}

fn replayed(page: &[u8]) -> Vec<Record> {
    line::read(page, 0).records
}

fn append(journal: &Journal, number: u32) {
    journal.append(Kind::Settled, id(number.into()), &number).expect("written");
}

fn fold_all(journal: &Journal) -> u64 {
    let (records, power_safe) = journal.unfolded(usize::MAX);
    let through = records.last().map_or(0, |record| record.seq);
    journal.folded(through, power_safe);
    through
}

#[test]
fn a_tail_cut_or_flipped_at_any_byte_loses_the_last_record_alone() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    (1..=3).for_each(|number| append(&journal, number));
    let whole = disks[0].read().expect("bytes");
    let third = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("a line") + 1;
    assert_eq!(numbers(&replayed(&whole)), [1, 2, 3]);
    for place in third..whole.len() {
        assert_eq!(numbers(&replayed(&whole[..place])), [1, 2], "cut at {place}");
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        assert_eq!(numbers(&replayed(&flipped)), [1, 2], "flipped at {place}");
        let mut zeroed = whole.clone();
        zeroed[place..].fill(0);
        assert_eq!(numbers(&replayed(&zeroed)), [1, 2], "zeroed from {place}");
    }
}

#[test]
fn a_start_replays_what_is_not_folded_and_nothing_else() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    (1..=2).for_each(|number| append(&journal, number));
    let folded = fold_all(&journal);
    (3..=4).for_each(|number| append(&journal, number));
    assert_eq!(numbers(&open(&disks, Durability::Process, folded).1), [3, 4]);
}

#[test]
fn a_page_is_overwritten_only_when_all_of_it_is_safe() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    (1..=60).for_each(|number| append(&journal, number));
    let (records, power_safe) = journal.unfolded(usize::MAX);
    assert!(power_safe, "the first page is full and waits");
    assert_eq!(numbers(&open(&disks, Durability::Process, 0).1), (1..=60).collect::<Vec<_>>());
    assert!(disks[1].read().expect("bytes").len() > 1_000, "the second grew, for the first was not safe");
    let (journal, _) = open(&disks, Durability::Process, records.last().map_or(0, |record| record.seq));
    (61..=62).for_each(|number| append(&journal, number));
    assert_eq!(numbers(&open(&disks, Durability::Process, records[59].seq).1), [61, 62]);
}

#[test]
fn pages_are_used_in_turns_for_ever() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    for number in 1..=500 {
        append(&journal, number);
        fold_all(&journal);
    }
    append(&journal, 501);
    assert!(disks.iter().all(|disk| disk.read().expect("bytes").len() <= 1_100));
    let (_, power_safe) = journal.unfolded(1);
    let last = journal.unfolded(1).0[0].seq;
    assert_eq!(numbers(&open(&disks, Durability::Process, last - 1).1), [501], "power safe: {power_safe}");
}

#[test]
fn what_is_left_of_a_turn_whose_start_was_lost_is_found_by_the_next_start_and_by_no_later_one() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    let floor = journal.last_seq();
    (1..=3).for_each(|number| append(&journal, number));
    // Power goes: the first record never reached the disk, the other two did.
    disks[0].bytes.lock().expect("bytes").0[..10].fill(0);
    let (journal, records) = open(&disks, Durability::Process, floor);
    assert_eq!(numbers(&records), [2, 3]);
    let floor = journal.last_seq();
    append(&journal, 7);
    assert_eq!(numbers(&open(&disks, Durability::Process, floor).1), [7]);
}

#[test]
fn a_disk_that_can_t_be_written_takes_no_new_call_and_is_used_again_when_all_is_safe_and_it_writes() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    append(&journal, 1);
    set(&disks, |disk| &disk.writes_fail, true);
    assert_eq!(journal.append(Kind::Opened, id(2), &2).expect_err("broken"), broken());
    let mut settled = journal.append(Kind::Settled, id(1), &3).expect("kept").expect("a wait");
    set(&disks, |disk| &disk.writes_fail, false);
    journal.mend().expect("not yet");
    let error = journal.append(Kind::Opened, id(4), &4).expect_err("not all of it is safe");
    assert_eq!(
        error.to_string(),
        "can't write journal/0: no space left; free some space or make the folder writable, or name another one with --data-dir"
    );
    assert!(settled.try_recv().is_err(), "nobody has it yet");
    let (records, power_safe) = journal.unfolded(usize::MAX);
    assert_eq!((numbers(&records), power_safe), (vec![1, 3], true));
    journal.folded(records[1].seq, true);
    assert_eq!(settled.try_recv(), Ok(Ok(())), "SQLite has it");
    journal.mend().expect("it writes");
    journal.append(Kind::Opened, id(5), &5).expect("written");
    assert_eq!(numbers(&open(&disks, Durability::Process, records[1].seq).1), [5]);
}

#[test]
fn a_full_disk_stops_openings_first_and_all_goes_on_when_sqlite_has_caught_up() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    disks.iter().for_each(|disk| *disk.is_full.lock().expect("a flag") = true);
    let opened = |number: u32| journal.append(Kind::Opened, id(number.into()), &number);
    let refused = (1..).find_map(|number| opened(number).err()).expect("a refusal");
    assert_eq!(refused, broken());
    assert!(disks.iter().all(|disk| disk.read().expect("bytes").len() <= 1_000));
    append(&journal, 100);
    append(&journal, 101);
    assert!(opened(102).is_err());
    fold_all(&journal);
    opened(103).expect("written");
    let (records, _) = journal.unfolded(usize::MAX);
    assert_eq!(numbers(&open(&disks, Durability::Process, records[0].seq - 1).1), [103]);
}

#[tokio::test]
async fn a_sync_that_failed_is_never_tried_again_and_its_calls_are_settled_when_sqlite_has_them() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Power, 0);
    set(&disks, |disk| &disk.syncs_fail, true);
    let syncer = journal.spawn_syncer().expect("a thread");
    let waiting = journal.append(Kind::Settled, id(1), &1).expect("written").expect("a wait");
    while !journal.has_failed() {
        thread::yield_now();
    }
    assert_eq!(journal.append(Kind::Opened, id(2), &2).expect_err("closed"), broken());
    assert_eq!(disks.iter().map(|disk| disk.syncs.load(Ordering::SeqCst)).sum::<usize>(), 1);
    journal.folded(journal.last_seq(), true);
    assert_eq!(waiting.await.expect("an answer"), Ok(()));
    assert_eq!(journal.mend(), Err(broken()));
    assert_eq!(journal.append(Kind::Opened, id(2), &2).expect_err("closed still"), broken());
    set(&disks, |disk| &disk.syncs_fail, false);
    assert_eq!(journal.mend(), Ok(()));
    let waiting = journal.append(Kind::Settled, id(3), &3).expect("written").expect("a wait");
    assert_eq!(waiting.await.expect("an answer"), Ok(()));
    journal.end();
    syncer.expect("a thread").join().expect("ended");
}

#[tokio::test]
async fn a_sync_that_fails_while_the_pages_are_wiped_is_not_mended_by_it_and_strands_nobody_for_ever() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    append(&journal, 1);
    journal.book().fail(broken());
    let through = fold_all(&journal);
    journal.is_safe(through);
    let (on_its_way, settled) = oneshot::channel();
    let late = journal.clone();
    *disks[0].when_rewound.lock().expect("it") = Some(Box::new(move || {
        let mut book = late.book();
        book.waiting.push(on_its_way);
        book.fail(broken());
    }));
    journal.mend().expect("it writes");
    assert!(journal.has_failed(), "what came meanwhile");
    assert_eq!(journal.wanted_safe(), Some(through), "the folder is asked to bring it to safety");
    journal.is_safe(through);
    assert_eq!(settled.await.expect("an answer"), Ok(()));
    journal.mend().expect("it writes");
    assert!(!journal.has_failed());
    assert_eq!(journal.wanted_safe(), None);
}

#[tokio::test]
async fn where_sqlite_fails_too_nobody_waits_for_ever_and_the_record_is_kept() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    set(&disks, |disk| &disk.writes_fail, true);
    let waiting = journal.append(Kind::Settled, id(1), &1).expect("kept").expect("a wait");
    journal.not_folded(&Error::Behind);
    assert_eq!(waiting.await.expect("an answer"), Err(Error::Behind));
    assert_eq!(numbers(&journal.unfolded(usize::MAX).0), [1]);
}

/// What a start finds on the first page after a change to it: the records, and how many are missing.
fn found_after(disks: &[Arc<Fake>; 2], change: impl FnOnce(&mut Vec<u8>)) -> (Vec<u32>, u64) {
    let changed = fakes();
    for (changed, disk) in changed.iter().zip(disks) {
        changed.bytes.lock().expect("bytes").0 = disk.read().expect("bytes");
    }
    change(&mut changed[0].bytes.lock().expect("bytes").0);
    let pages = changed.map(|fake| fake as Arc<dyn Disk>);
    let found = Journal::open(pages, 1_000, Durability::Process, SEQ_GAP - 1).expect("a journal").1;
    (numbers(&found.records), found.lost)
}

#[test]
fn a_bit_that_flips_anywhere_hides_no_other_record_and_is_told() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    (1..=5).for_each(|number| append(&journal, number));
    let page = disks[0].read().expect("bytes");
    assert_eq!(found_after(&disks, |_| {}), (vec![1, 2, 3, 4, 5], 0));
    let last = page[..page.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("a line") + 1;
    let mut line = 1;
    for place in 0..page.len() {
        for bit in 0..8 {
            let (found, lost) = found_after(&disks, |bytes| bytes[place] ^= 1 << bit);
            let others: Vec<u32> = (1..=5).filter(|number| *number != line).collect();
            if bit == 5 && found.len() == 5 {
                // A checksum in capitals is the same.
                continue;
            }
            assert_eq!(found, others, "bit {bit} of byte {place}");
            // Of the last one it may be the number itself that is broken: then it looks like an older turn.
            assert!(lost == 1 || place >= last, "bit {bit} of byte {place}: {lost} lost");
        }
        line += u32::from(page[place] == b'\n');
    }
    let json = |bytes: &mut Vec<u8>| *bytes.iter_mut().nth_back(1).expect("a byte") ^= 1;
    assert_eq!(found_after(&disks, json), (vec![1, 2, 3, 4], 1));
}

#[test]
fn a_part_of_a_page_that_is_zeros_hides_nothing_behind_it() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    (1..=6).for_each(|number| append(&journal, number));
    let second = disks[0].read().expect("bytes").iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    assert_eq!(found_after(&disks, |bytes| bytes[second - 5..second + 5].fill(0)), (vec![3, 4, 5, 6], 2));
}

#[tokio::test]
async fn an_opening_is_synced_without_anyone_waiting() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Power, 0);
    assert!(journal.sync_next(), "the new pages");
    let syncer = journal.spawn_syncer().expect("a thread");
    journal.append(Kind::Opened, id(1), &1).expect("written");
    while disks[0].syncs.load(Ordering::SeqCst) == 1 {
        thread::yield_now();
    }
    journal.end();
    syncer.expect("a thread").join().expect("ended");
}

#[test]
fn what_runs_can_still_be_settled_when_nothing_new_is_taken_in() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    let body = "x".repeat(1 << 20);
    let refused = (0..64).find_map(|number| journal.append(Kind::Opened, id(number), &body).err());
    assert_eq!(refused, Some(Error::Behind));
    assert!(journal.append(Kind::Settled, id(0), &body).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_call_waits_for_sqlite_to_catch_up_and_not_for_ever() {
    let disks = fakes();
    let (journal, _) = open(&disks, Durability::Process, 0);
    assert!(journal.has_room());
    let body = "x".repeat(1 << 20);
    for number in 0..9 {
        journal.append(Kind::Opened, id(number), &body).expect("written");
    }
    assert!(!journal.has_room());
    let began = tokio::time::Instant::now();
    journal.clone().room().await;
    assert_eq!(began.elapsed(), ROOM_WITHIN, "nobody folds");
    let waiting = tokio::spawn(journal.clone().room());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    journal.folded(journal.last_seq(), false);
    waiting.await.expect("woken");
    assert_eq!(began.elapsed(), ROOM_WITHIN, "at once");
}

const SECTOR: usize = 512;

/// A page on a disk that keeps what was synced, and of the rest whichever sectors it likes.
#[derive(Default)]
struct Lossy {
    fake: Fake,
    synced: Mutex<Vec<u8>>,
}

impl Lossy {
    fn cut_power(&self, chance: &mut impl FnMut() -> bool) {
        let mut guard = self.fake.bytes.lock().expect("bytes");
        let mut synced = self.synced.lock().expect("bytes");
        synced.resize(guard.0.len(), 0);
        for (written, synced) in guard.0.chunks_mut(SECTOR).zip(synced.chunks_mut(SECTOR)) {
            let (from, to) = if chance() { (written, synced) } else { (synced, written) };
            to.copy_from_slice(from);
        }
        guard.1 = 0;
    }
}

impl Disk for Lossy {
    fn read(&self) -> Result<Vec<u8>, Error> {
        self.fake.read()
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.fake.write(bytes)
    }

    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        self.fake.reserve(bytes)
    }

    fn rewind(&self) -> Result<(), Error> {
        self.fake.rewind()
    }

    fn keep_aside(&self) {}

    fn sync(&self) -> Result<(), Error> {
        *self.synced.lock().expect("bytes") = self.fake.read()?;
        Ok(())
    }
}

/// What SQLite is to the journal: commits in their order, of which a power cut may take the last unsafe ones.
#[derive(Default)]
struct Folded {
    records: Vec<Record>,
    safe: usize,
    floor: u64,
}

impl Folded {
    fn seq(&self) -> u64 {
        self.records.last().map_or(0, |record| record.seq).max(self.floor)
    }

    fn take(&mut self, records: Vec<Record>, power_safe: bool) {
        self.records.extend(records);
        if power_safe {
            self.safe = self.records.len();
        }
    }

    fn cut_power(&mut self, chance: &mut impl FnMut() -> bool) {
        while self.records.len() > self.safe && chance() {
            self.records.pop();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Append,
    Sync,
    Fold,
    PowerCut,
}

struct World {
    disks: [Arc<Lossy>; 2],
    journal: Journal,
    folded: Folded,
    written: u32,
    /// So many of the first records were confirmed or survived a cut.
    confirmed: Vec<u32>,
    unconfirmed: Vec<u32>,
}

impl World {
    fn new() -> World {
        let disks: [Arc<Lossy>; 2] = [Arc::default(), Arc::default()];
        let mut folded = Folded::default();
        let journal = World::start(&disks, &mut folded);
        World { disks, journal, folded, written: 0, confirmed: vec![], unconfirmed: vec![] }
    }

    fn start(disks: &[Arc<Lossy>; 2], folded: &mut Folded) -> Journal {
        let pages = disks.clone().map(|disk| disk as Arc<dyn Disk>);
        let (journal, found) = Journal::open(pages, 1_500, Durability::Power, folded.seq()).expect("a journal");
        folded.take(found.records, true);
        folded.floor = journal.last_seq();
        journal.start().expect("started");
        journal
    }

    fn meet(&mut self, event: Event, chance: &mut impl FnMut() -> bool) {
        match event {
            Event::Append => {
                self.written += 1;
                append(&self.journal, self.written);
                self.unconfirmed.push(self.written);
            }
            Event::Sync => {
                if !self.journal.book().all_synced() {
                    self.journal.sync_next();
                }
                self.confirmed.append(&mut self.unconfirmed);
            }
            Event::Fold => {
                let (records, power_safe) = self.journal.unfolded(3);
                let Some(last) = records.last().map(|record| record.seq) else { return };
                self.folded.take(records, power_safe);
                self.journal.folded(last, power_safe);
            }
            Event::PowerCut => {
                self.disks.iter().for_each(|disk| disk.cut_power(chance));
                self.folded.cut_power(chance);
                self.journal = World::start(&self.disks, &mut self.folded);
                self.check();
            }
        }
    }

    fn check(&mut self) {
        let mut kept = numbers(&self.folded.records);
        kept.sort_unstable();
        assert!(kept.is_sorted_by(|a, b| a < b), "doubled: {kept:?}");
        for number in &self.confirmed {
            assert!(kept.binary_search(number).is_ok(), "{number} was confirmed and is lost");
        }
        for number in &kept {
            let known = self.confirmed.contains(number) || self.unconfirmed.contains(number);
            assert!(known, "{number} was lost in an earlier cut and came back");
        }
        self.unconfirmed.clear();
        self.confirmed = kept;
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => Just(Event::Append),
        3 => Just(Event::Sync),
        4 => Just(Event::Fold),
        1 => Just(Event::PowerCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_power_cut_loses_or_doubles_what_was_confirmed(
        events in proptest::collection::vec(event(), 1..200),
        seed in any::<u64>(),
    ) {
        let mut state = seed | 1;
        let mut chance = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 0
        };
        let mut world = World::new();
        events.into_iter().chain([Event::PowerCut]).for_each(|event| world.meet(event, &mut chance));
    }
}
