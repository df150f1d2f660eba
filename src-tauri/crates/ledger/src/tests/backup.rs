//! Copies that are whole, whatever goes on meanwhile.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_calls_run_has_all_that_was_settled_before_and_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(open(dir.path()).await.0);
    for number in 0..300 {
        settle(&ledger, &entry(call(number, noon()))).await;
    }
    let writing = ledger.clone();
    let busy = tokio::spawn(async move {
        for number in 1_000.. {
            if writing.settle(&entry(call(number, noon()))).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    let restored = tempfile::tempdir().expect("a folder");
    let file = restored.path().join("ledger.db");
    for _ in 0..2 {
        ledger.backup(&file).await.expect("copied");
    }
    ledger.close().await.expect("closed");
    busy.await.expect("ended");
    let names: Vec<_> =
        fs::read_dir(restored.path()).expect("files").map(|file| file.expect("a file").file_name()).collect();
    assert_eq!(names, ["ledger.db"], "one file, and nothing beside it");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let (copy, _) = reopened(restored.path()).await;
    assert!(count(&copy).await >= 300);
    settle(&copy, &entry(call(1, at("2026-11-25T12:00:00Z")))).await;
    assert_eq!(copy.verify(Vec::new).await, Ok(vec![]));
}

#[tokio::test]
async fn a_backup_that_can_t_be_made_leaves_the_old_one_and_the_ledger_as_they_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    let error = ledger.backup(&dir.path().join("ledger.db")).await.expect_err("refused");
    assert!(error.to_string().contains("it is the ledger itself"), "{error}");
    let error = ledger.backup(&dir.path().join("nowhere/copy.db")).await.expect_err("refused");
    assert!(error.to_string().contains("nowhere/copy.db"), "{error}");
    let old = dir.path().join("old.db");
    fs::write(&old, "the old one").expect("written");
    fs::create_dir(dir.path().join("old.db.new")).expect("in the way");
    assert!(ledger.backup(&old).await.is_err());
    assert_eq!(fs::read(&old).expect("kept"), b"the old one");
    assert_eq!(ledger.verify(Vec::new).await, Ok(vec![]));
    assert_eq!(count(&ledger).await, 1);
}

#[tokio::test]
async fn a_backup_put_in_the_place_of_a_database_that_was_killed_does_not_get_its_wal() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    settle(&ledger, &entry(call(1, noon()))).await;
    let backup = dir.path().join("backup.db");
    ledger.backup(&backup).await.expect("copied");
    for number in 2..600 {
        settle(&ledger, &entry(call(number, noon()))).await;
    }
    ledger.flush().await.expect("folded");
    let killed = copy(dir.path());
    fs::copy(&backup, killed.path().join("ledger.db")).expect("put in its place");
    assert!(fs::metadata(killed.path().join("ledger.db-wal")).expect("left").len() > 0);
    let (ledger, _) = reopened(killed.path()).await;
    assert!(ledger.call(call(1, noon()).id).await.expect("an answer").is_some());
    assert!(killed.path().join("ledger.db-wal.old").exists());
}
