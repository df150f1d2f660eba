//! A change of the schema that is killed, or meets a full disk: the old file is whole, or the new one has every entry.

use std::borrow::Cow;
use std::time::Instant;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::machine::{Fault, Machine};
use super::vfs::{Folder, plug};
use super::*;
use crate::db::{Db, newest, steps as known_steps};

const ENTRIES: i64 = 400;

/// What is known today, and two steps more: the first writes every row anew, the second may fail.
fn steps(second: &'static str) -> Migrator {
    let step = |version, sql: &'static str| {
        Migration::new(version, Cow::Borrowed("more"), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let rewrite = "CREATE TABLE entry_new AS SELECT *, 'x' AS more FROM entry; DROP TABLE entry_new;
                   ALTER TABLE entry ADD COLUMN more TEXT NOT NULL DEFAULT 'x';
                   UPDATE entry SET error = error || '';";
    let known = known_steps().iter().cloned();
    let all: Vec<Migration> = known.chain([step(1_000, rewrite), step(1_001, second)]).collect();
    Migrator::with_migrations(all)
}

async fn old_ledger() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..u128::try_from(ENTRIES).expect("small") {
        settle(&ledger, &entry(call(number, noon()))).await;
    }
    ledger.close().await.expect("closed");
    dir
}

async fn migrate(dir: &Path, second: &'static str) -> Result<(), Error> {
    let db = Db::made(dir)?;
    let mut conn = db.writer().await?;
    let done = db.migrate(&mut conn, &steps(second)).await;
    conn.close().await.expect("closed");
    done
}

/// Whether the file is the new one; in either case it is whole and has every entry.
async fn is_new(dir: &Path) -> bool {
    let mut conn = Db::at(dir).writer().await.expect("a connection");
    let whole: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.expect("checked");
    assert_eq!(whole, "ok");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM entry").fetch_one(&mut conn).await.expect("counted");
    assert_eq!(count, ENTRIES);
    let last: i64 =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut conn).await.expect("read");
    let columns: i64 = sqlx::query_scalar("SELECT count(*) FROM pragma_table_info('entry') WHERE name = 'more'")
        .fetch_one(&mut conn)
        .await
        .expect("counted");
    assert_eq!(columns, i64::from(last == 1_001), "half of the steps were taken");
    last == 1_001
}

#[tokio::test]
async fn a_step_that_fails_takes_the_ones_before_it_back_and_leaves_a_copy() {
    let dir = old_ledger().await;
    let error = migrate(dir.path(), "INSERT INTO nowhere VALUES (1)").await.expect_err("it fails");
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(!is_new(dir.path()).await);
    let (old, _) = reopened(dir.path()).await;
    assert_eq!(count(&old).await, 400);
    old.close().await.expect("closed");
    drop(old);
    migrate(dir.path(), "SELECT 1").await.expect("migrated");
    assert!(is_new(dir.path()).await);
    let copies = tempfile::tempdir().expect("a folder");
    let newest = newest(known_steps());
    let copy = dir.path().join(format!("ledger.db.schema-{newest}"));
    fs::copy(copy, copies.path().join("ledger.db")).expect("a copy");
    assert_eq!(count(&reopened(copies.path()).await.0).await, 400);
}

#[tokio::test]
async fn where_no_copy_can_be_made_or_the_disk_is_full_the_old_file_stays_as_it_is() {
    let dir = old_ledger().await;
    let newest = newest(known_steps());
    let in_the_way = dir.path().join(format!("ledger.db.schema-{newest}.new"));
    fs::create_dir(&in_the_way).expect("made");
    let error = migrate(dir.path(), "SELECT 1").await.expect_err("refused");
    assert!(error.to_string().contains(&format!("ledger.db.schema-{newest}")), "{error}");
    assert!(!is_new(dir.path()).await);
    fs::remove_dir(&in_the_way).expect("removed");
    let db = Db::at(dir.path());
    let mut conn = db.writer().await.expect("a connection");
    let pages: i64 = sqlx::query_scalar("PRAGMA max_page_count = 1").fetch_one(&mut conn).await.expect("set");
    let full = db.migrate(&mut conn, &steps("SELECT 1")).await.expect_err("it is full");
    assert!(matches!(full, Error::Unwritable { .. }) && full.to_string().contains("free some space"), "{full} {pages}");
    conn.close().await.expect("closed");
    assert!(!is_new(dir.path()).await);
    migrate(dir.path(), "SELECT 1").await.expect("migrated");
    assert!(is_new(dir.path()).await);
}

const CHILD: &str = "TIDEGATE_MIGRATED_BY_CHILD";

#[tokio::test]
#[ignore = "run by the test below, which kills it"]
async fn child() {
    let dir = std::env::var(CHILD).expect("a folder");
    migrate(Path::new(&dir), "SELECT 1").await.expect("migrated");
}

#[tokio::test]
async fn a_change_that_is_killed_at_any_moment_is_done_or_not_begun() {
    let old = old_ledger().await;
    let start = |dir: &Path| {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["tests::migrations::child", "--exact", "--ignored"])
            .env(CHILD, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child")
    };
    let fresh = || {
        let dir = tempfile::tempdir().expect("a folder");
        fs::copy(old.path().join("ledger.db"), dir.path().join("ledger.db")).expect("a copy");
        dir
    };
    let whole = fresh();
    let began = Instant::now();
    assert!(start(whole.path()).wait().expect("ended").success());
    let takes = began.elapsed();
    assert!(is_new(whole.path()).await);
    for share in 0..20 {
        let dir = fresh();
        let mut child = start(dir.path());
        std::thread::sleep(takes * share / 20);
        child.kill().expect("killed");
        child.wait().expect("ended");
        is_new(dir.path()).await;
        migrate(dir.path(), "SELECT 1").await.expect("the next start does it");
        assert!(is_new(dir.path()).await);
    }
}

/// What the last release of each schema left (the next release adds its own): forty entries of all kinds, the sums, three calls that ran; in the second one
/// also what a log and telemetry told.
const RELEASED: [(i64, &str); 6] = [
    (1, include_str!("schemas/1.sql")),
    (2, include_str!("schemas/2.sql")),
    (3, include_str!("schemas/3.sql")),
    (4, include_str!("schemas/4.sql")),
    (5, include_str!("schemas/5.sql")),
    (6, include_str!("schemas/6.sql")),
];

async fn released(dump: &'static str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}?mode=rwc", dir.path().join("ledger.db").display());
    let mut conn = SqliteConnection::connect(&url).await.expect("a connection");
    sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut conn).await.expect("a WAL");
    sqlx::raw_sql(dump).execute(&mut conn).await.expect("filled");
    conn.close().await.expect("closed");
    dir
}

/// Every entry as it was written, and the link that only these bytes have.
type Row = (i64, String, String, String, i64, i64, Option<i64>, Vec<u8>);

async fn rows(conn: &mut SqliteConnection) -> Vec<Row> {
    let all =
        "SELECT seq, call_id, client, outcome, input_tokens, output_tokens, cost_nanos, chain FROM entry ORDER BY seq";
    sqlx::query_as(all).fetch_all(conn).await.expect("entries")
}

async fn schema_of(conn: &mut SqliteConnection) -> i64 {
    let last = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
    last.fetch_one(conn).await.expect("a schema")
}

#[tokio::test]
async fn a_ledger_of_every_released_schema_opens_with_every_entry_and_sum() {
    for (schema, dump) in RELEASED {
        let dir = released(dump).await;
        let before = rows(&mut Db::at(dir.path()).writer().await.expect("a connection")).await;
        let (ledger, recovered) = reopened(dir.path()).await;
        assert_eq!(recovered.interrupted, 3, "of schema {schema}");
        ledger.close().await.expect("closed");
        let after = rows(&mut Db::at(dir.path()).writer().await.expect("a connection")).await;
        assert_eq!(after[..before.len()], before, "of schema {schema}");
        assert_eq!(after.len(), before.len() + 3);
        let copy = dir.path().join(format!("ledger.db.schema-{schema}"));
        assert_eq!(copy.exists(), schema < newest(known_steps()), "a copy of schema {schema}");
        drop(ledger);
        assert_eq!(reopened(dir.path()).await.1.interrupted, 0);
    }
}

fn db_on(folder: &Folder) -> Db {
    Db::on(folder.path().join("ledger.db"), Some(folder.vfs()))
}

async fn change(folder: &Folder) -> Result<(), Error> {
    let db = db_on(folder);
    let mut conn = db.writer().await?;
    let done = db.take(&mut conn, known_steps()).await;
    // Its power may be gone.
    let _ = conn.close().await;
    done
}

/// Old or new, with everything; and the next start makes it new.
async fn is_whole(machine: &Arc<Machine>, schema: i64, before: &[Row], when: &str) {
    let folder = plug(machine);
    let mut conn = db_on(&folder).writer().await.unwrap_or_else(|error| panic!("{when}: {error}"));
    let report: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.expect("checked");
    assert_eq!(report, "ok", "{when}");
    let found = schema_of(&mut conn).await;
    assert!([schema, newest(known_steps())].contains(&found), "{when}: schema {found}");
    assert!(rows(&mut conn).await == before, "{when}: the entries differ");
    conn.close().await.expect("closed");
    change(&folder).await.unwrap_or_else(|error| panic!("{when}, the next start: {error}"));
    let mut conn = db_on(&folder).writer().await.expect("a connection");
    assert_eq!(schema_of(&mut conn).await, newest(known_steps()), "{when}");
    assert!(rows(&mut conn).await == before, "{when}: the entries differ afterwards");
    conn.close().await.expect("closed");
}

async fn old_file(dump: &'static str) -> (Vec<u8>, Vec<Row>) {
    let dir = released(dump).await;
    let before = rows(&mut Db::at(dir.path()).looked_at().await.expect("a connection")).await;
    let bytes = fs::read(dir.path().join("ledger.db")).expect("bytes");
    (bytes, before)
}

#[tokio::test]
async fn power_that_goes_at_any_write_of_a_change_leaves_the_old_file_or_the_new_one() {
    for (schema, dump) in RELEASED.into_iter().filter(|(schema, _)| *schema < newest(known_steps())) {
        let (bytes, before) = old_file(dump).await;
        let mut cuts = 0;
        loop {
            let machine = Machine::holding("ledger.db", bytes.clone(), u64::from(cuts));
            machine.cut_in(cuts);
            let folder = plug(&machine);
            let done = change(&folder).await;
            drop(folder);
            if machine.has_power() {
                done.expect("the whole of it");
                break;
            }
            let machine = machine.restarted().expect("it was cut");
            is_whole(&machine, schema, &before, &format!("schema {schema}, cut at operation {cuts}")).await;
            cuts += 1;
        }
        eprintln!("schema {schema}: cut at each of {cuts} writes and syncs");
        assert!(cuts > 10, "schema {schema}: {cuts} operations alone");
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_at_any_write_of_a_change_leaves_the_old_file() {
    for (schema, dump) in RELEASED.into_iter().filter(|(schema, _)| *schema < newest(known_steps())) {
        let (bytes, before) = old_file(dump).await;
        for after in 0.. {
            let machine = Machine::holding("ledger.db", bytes.clone(), u64::from(after));
            machine.set_fault(Some(Fault::Full { after }));
            let folder = plug(&machine);
            let done = change(&folder).await;
            drop(folder);
            if done.is_ok() {
                assert!(after > 5, "schema {schema}: {after} writes alone");
                break;
            }
            let error = done.expect_err("full");
            assert!(matches!(error, Error::Unwritable { .. }), "schema {schema}, after {after} writes: {error}");
            machine.set_fault(None);
            is_whole(&machine, schema, &before, &format!("schema {schema}, full after {after} writes")).await;
        }
    }
}
