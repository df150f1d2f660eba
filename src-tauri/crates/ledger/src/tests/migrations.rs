//! A change of the schema that is killed, or meets a full disk: the old file is whole, or the new one has every entry.

use std::borrow::Cow;
use std::time::Instant;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::*;
use crate::db::Db;

const ENTRIES: i64 = 400;

/// What is known today, and two steps more: the first writes every row anew, the second may fail.
fn steps(second: &'static str) -> Migrator {
    let step = |version, sql: &'static str| {
        Migration::new(version, Cow::Borrowed("more"), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let rewrite = "CREATE TABLE entry_new AS SELECT *, 'x' AS more FROM entry; DROP TABLE entry_new;
                   ALTER TABLE entry ADD COLUMN more TEXT NOT NULL DEFAULT 'x';
                   UPDATE entry SET error = error || '';";
    let known = crate::db::steps().iter().cloned();
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
    let newest = crate::db::newest(crate::db::steps());
    let copy = dir.path().join(format!("ledger.db.schema-{newest}"));
    fs::copy(copy, copies.path().join("ledger.db")).expect("a copy");
    assert_eq!(count(&reopened(copies.path()).await.0).await, 400);
}

#[tokio::test]
async fn where_no_copy_can_be_made_or_the_disk_is_full_the_old_file_stays_as_it_is() {
    let dir = old_ledger().await;
    let newest = crate::db::newest(crate::db::steps());
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
