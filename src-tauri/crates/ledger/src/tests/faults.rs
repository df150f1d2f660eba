//! Disks that fail, fill up or lie: nothing that was settled is lost, and all goes on without a restart where it can.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use super::machine::{Fault, Machine, Planted, pages};
use super::vfs::{Folder, plug};
use super::*;
use crate::db::Db;
use crate::journal::Record;

const PAGE_BYTES: u64 = 8 << 10;

struct Desk {
    machine: Arc<Machine>,
    folder: Folder,
    ledger: Ledger,
}

async fn start(machine: Arc<Machine>) -> Result<Desk, Error> {
    machine.make("ledger.db");
    let folder = plug(&machine);
    let db = Db::on(folder.path().join("ledger.db"), Some(folder.vfs()));
    let pages = pages(&machine, PAGE_BYTES);
    let (ledger, _) = Ledger::open_on(db, pages, options(Durability::Power), PAGE_BYTES).await?;
    Ok(Desk { machine, folder, ledger })
}

async fn desk() -> Desk {
    start(Machine::new(7, Planted::Nothing)).await.expect("a ledger")
}

async fn settle_some(ledger: &Ledger, numbers: std::ops::Range<u128>) {
    for number in numbers {
        settle(ledger, &entry(call(number, noon()))).await;
    }
}

/// Power goes now; what does the next start find?
async fn count_after_cut(desk: Desk) -> usize {
    desk.machine.cut_now();
    let machine = desk.machine.restarted().expect("it was cut");
    drop(desk);
    let desk = start(machine).await.expect("a ledger");
    assert_eq!(desk.ledger.verify(Vec::new).await, Ok(vec![]));
    count(&desk.ledger).await
}

#[tokio::test]
async fn writes_and_syncs_that_fail_for_a_while_lose_nothing_even_if_power_goes_afterwards() {
    for times in [1, 2, 5] {
        for fault in [Fault::DatabaseFails { times }, Fault::DatabaseSyncsFail { times }] {
            let desk = desk().await;
            settle_some(&desk.ledger, 0..10).await;
            desk.machine.set_fault(Some(fault));
            settle_some(&desk.ledger, 10..20).await;
            while desk.ledger.flush().await.is_err() {}
            settle_some(&desk.ledger, 20..40).await;
            assert_eq!(count_after_cut(desk).await, 40, "{fault:?}");
        }
    }
}

/// A batch with this call is not folded at first.
const PANICS: u128 = 0xBAD0_BAD0_BAD0;
static PANICS_LEFT: AtomicU32 = AtomicU32::new(2);

pub(crate) fn panic_if_meant(records: &[Record]) {
    let is_meant = records.iter().any(|record| record.call == CallId::new(noon(), PANICS));
    let left = is_meant && PANICS_LEFT.try_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
    assert!(!left, "a bug");
}

#[tokio::test]
async fn a_panic_in_mid_transaction_loses_nothing_and_folding_goes_on() {
    let desk = desk().await;
    settle_some(&desk.ledger, 0..10).await;
    settle_some(&desk.ledger, PANICS..PANICS + 1).await;
    settle_some(&desk.ledger, 10..20).await;
    for _ in 0..2 {
        assert_eq!(desk.ledger.flush().await, Err(Error::Panicked), "who waited for it is told");
    }
    assert_eq!((desk.ledger.flush().await, PANICS_LEFT.load(SeqCst)), (Ok(()), 0));
    assert_eq!(desk.ledger.verify(Vec::new).await, Ok(vec![]));
    settle_some(&desk.ledger, 20..30).await;
    assert_eq!(count_after_cut(desk).await, 31);
}

#[tokio::test]
async fn a_disk_that_fails_for_ever_keeps_what_was_settled_in_the_journal() {
    let desk = desk().await;
    desk.machine.set_fault(Some(Fault::DatabaseFails { times: u32::MAX }));
    settle_some(&desk.ledger, 0..10).await;
    let error = desk.ledger.flush().await.expect_err("it fails");
    assert!(
        error.to_string().starts_with(&format!("can't write {}/ledger.db", desk.folder.path().display())),
        "{error}"
    );
    assert_eq!(count_after_cut(desk).await, 10);
}

/// Whether a new call may begin.
fn opens(ledger: &Ledger, number: u128) -> Result<(), Error> {
    let call = call(number, noon());
    ledger.opened(&call, &opening(&call, 1))
}

#[tokio::test]
async fn a_journal_that_fails_for_a_while_loses_nothing_and_takes_calls_again_without_a_restart() {
    for times in [1, 2, 5] {
        for fault in [Fault::JournalFails { times }, Fault::JournalSyncsFail { times }] {
            let desk = desk().await;
            settle_some(&desk.ledger, 0..10).await;
            (10..20).for_each(|number| opens(&desk.ledger, number).expect("opened"));
            desk.machine.set_fault(Some(fault));
            for number in 10..20 {
                desk.ledger.settle(&entry(call(number, noon()))).await.expect("settled");
            }
            while opens(&desk.ledger, 20).is_err() {
                tokio::task::yield_now().await;
            }
            settle_some(&desk.ledger, 20..40).await;
            assert_eq!(desk.ledger.verify(Vec::new).await, Ok(vec![]), "{fault:?}");
            assert_eq!(count_after_cut(desk).await, 40, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_journal_that_fails_for_ever_takes_no_new_call_and_what_runs_is_settled_through_sqlite() {
    let desk = desk().await;
    let running = call(0, noon());
    desk.ledger.opened(&running, &opening(&running, 1)).expect("opened");
    settle_some(&desk.ledger, 1..5).await;
    desk.machine.set_fault(Some(Fault::JournalSyncsFail { times: u32::MAX }));
    settle_some(&desk.ledger, 5..6).await;
    // It is tried again and again meanwhile.
    while desk.machine.failures() < 10 {
        let refused = opens(&desk.ledger, 6).expect_err("refused").to_string();
        assert!(refused.starts_with("can't write journal/"), "{refused}");
        tokio::task::yield_now().await;
    }
    desk.ledger.checkpoint(running.id, &shown(used(50, 7)), noon()).expect("noted");
    desk.ledger.settle(&entry(running.clone())).await.expect("settled");
    assert_eq!(desk.ledger.verify(Vec::new).await, Ok(vec![]));
    assert_eq!(count_after_cut(desk).await, 6);
}

#[tokio::test]
async fn where_journal_and_database_fail_nobody_is_told_that_a_call_is_settled_until_one_of_them_has_it() {
    let desk = desk().await;
    settle_some(&desk.ledger, 0..5).await;
    desk.ledger.flush().await.expect("folded");
    desk.machine.set_fault(Some(Fault::JournalSyncsFail { times: 1 }));
    // With the first sync; then the database takes nothing either.
    let holder = Db::on(desk.folder.path().join("ledger.db"), Some(desk.folder.vfs()));
    let mut holder = holder.writer().await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.expect("held");
    let held = Error::Locked { path: desk.folder.path().join("ledger.db") };
    assert_eq!(desk.ledger.settle(&entry(call(5, noon()))).await, Err(held));
    assert!(opens(&desk.ledger, 6).is_err());
    sqlx::query("COMMIT").execute(&mut holder).await.expect("released");
    while opens(&desk.ledger, 6).is_err() {
        tokio::task::yield_now().await;
    }
    settle_some(&desk.ledger, 6..7).await;
    assert_eq!(count_after_cut(desk).await, 7, "the fifth was kept in memory");
}

#[tokio::test]
async fn a_full_disk_refuses_new_calls_and_goes_on_by_itself_when_there_is_space_again() {
    let desk = desk().await;
    desk.ledger.flush().await.expect("folded");
    desk.machine.set_fault(Some(Fault::Full { after: 0 }));
    let running: Vec<Call> = (0..)
        .map(|number| call(number, noon()))
        .take_while(|call| desk.ledger.opened(call, &opening(call, 1)).is_ok())
        .collect();
    assert!(running.len() > 10, "{} were opened", running.len());
    // A page of 8 KB leaves room for two; of 4 MB, for a thousand.
    let last = 2;
    for call in &running[..last] {
        desk.ledger.settle(&entry(call.clone())).await.expect("what runs is settled");
    }
    assert!(desk.ledger.flush().await.is_err());
    desk.machine.set_fault(None);
    while desk.ledger.flush().await.is_err() {}
    for call in &running[last..] {
        desk.ledger.settle(&entry(call.clone())).await.expect("settled");
    }
    settle_some(&desk.ledger, 1_000..1_020).await;
    assert_eq!(count(&desk.ledger).await, running.len() + 20);
    assert_eq!(count_after_cut(desk).await, running.len() + 20);
}

#[tokio::test]
async fn a_database_found_damaged_is_never_written_again_and_running_calls_are_settled_all_the_same() {
    let desk = desk().await;
    settle_some(&desk.ledger, 0..10).await;
    desk.ledger.flush().await.expect("folded");
    let running = call(10, noon());
    desk.ledger.opened(&running, &opening(&running, 1)).expect("opened");
    for name in ["ledger.db", "ledger.db-wal"] {
        desk.machine.change(name, |bytes| bytes.fill(0xA5));
    }
    // The connection begins anew and looks at the file.
    desk.machine.set_fault(Some(Fault::DatabaseFails { times: 1 }));
    let error = loop {
        if let Err(error @ Error::Damaged { .. }) = desk.ledger.flush().await {
            break error;
        }
    };
    let damaged = ["ledger.db", "ledger.db-wal"].map(|name| desk.machine.bytes(name));
    assert!(error.to_string().contains("it is kept as it is and nothing is written to it"), "{error}");
    let new = call(11, noon());
    assert_eq!(desk.ledger.opened(&new, &opening(&new, 1)), Err(error.clone()));
    desk.ledger.settle(&entry(running.clone())).await.expect("settled");
    assert_eq!(desk.ledger.flush().await, Err(error));
    assert!(["ledger.db", "ledger.db-wal"].map(|name| desk.machine.bytes(name)) == damaged, "it was written");
    assert!(String::from_utf8_lossy(&desk.machine.bytes("journal/0")).contains(&format!("settled {}", running.id)));
}

#[tokio::test]
async fn calls_go_on_while_another_program_holds_the_database_for_long() {
    let desk = desk().await;
    settle_some(&desk.ledger, 0..5).await;
    desk.ledger.flush().await.expect("folded");
    let holder = Db::on(desk.folder.path().join("ledger.db"), Some(desk.folder.vfs()));
    let mut holder = holder.writer().await.expect("a connection");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.expect("held");
    settle_some(&desk.ledger, 5..20).await;
    let held = Error::Locked { path: desk.folder.path().join("ledger.db") };
    for _ in 0..2 {
        assert_eq!(desk.ledger.flush().await, Err(held.clone()));
        settle_some(&desk.ledger, 5..20).await;
    }
    sqlx::query("COMMIT").execute(&mut holder).await.expect("released");
    while desk.ledger.flush().await.is_err() {}
    assert_eq!(count(&desk.ledger).await, 20);
}

/// The page cache has it all and the disk has not: SIGKILL, a start that finds everything, and then power goes.
#[tokio::test]
async fn a_start_after_a_sync_that_failed_trusts_no_wal_that_it_finds() {
    for times in 1..4 {
        let desk = desk().await;
        settle_some(&desk.ledger, 0..10).await;
        desk.machine.set_fault(Some(Fault::DatabaseSyncsFail { times }));
        settle_some(&desk.ledger, 10..20).await;
        let machine = desk.machine.clone();
        // Its last sync fails, and nobody hears of it.
        let _ = desk.ledger.close().await;
        drop(desk);
        machine.set_fault(None);
        let desk = start(machine).await.expect("a ledger");
        // The pages are used in turns meanwhile.
        settle_some(&desk.ledger, 20..60).await;
        assert_eq!(count_after_cut(desk).await, 60, "{times} syncs failed");
    }
}

/// Pages in the WAL, and how many of them are home.
async fn wal_of(conn: &mut SqliteConnection) -> (i64, i64) {
    let (_, gathered, home): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(conn).await.expect("a WAL");
    (gathered, home)
}

#[tokio::test]
async fn a_wal_is_brought_home_when_pages_have_gathered_and_not_before_and_a_sync_that_fails_there_is_told() {
    let machine = Machine::new(7, Planted::Nothing);
    machine.make("ledger.db");
    let folder = plug(&machine);
    let db = Db::on(folder.path().join("ledger.db"), Some(folder.vfs()));
    let mut conn = db.open().await.expect("a ledger");
    let (gathered, home) = wal_of(&mut conn).await;
    assert!(gathered > 10 && home == 0, "{gathered} pages, {home} are home");
    db.checkpoint(&mut conn, gathered + 1).await.expect("nothing to do");
    assert_eq!(wal_of(&mut conn).await, (gathered, 0));
    machine.set_fault(Some(Fault::DatabaseSyncsFail { times: 1 }));
    assert!(matches!(db.checkpoint(&mut conn, gathered).await, Err(Error::Unwritable { .. })));
    assert!(db.is_in_doubt());
    let mut conn = db.writer_after_failure().await.expect("written again");
    assert!(!db.is_in_doubt());
    db.checkpoint(&mut conn, gathered).await.expect("brought home");
    assert_eq!(wal_of(&mut conn).await, (gathered, gathered));
}
