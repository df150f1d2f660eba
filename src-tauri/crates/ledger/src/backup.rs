//! Copies of the database that are whole: while calls run, and before its schema changes.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{Connection, SqliteConnection};

use crate::db::Db;
use crate::{Error, Ledger, disk};

impl Ledger {
    /// Everything that was written before, as one file its owner alone may read. Calls go on meanwhile.
    /// A file that was there is replaced when the new one is whole, and stays where it can't be made.
    pub async fn backup(&self, file: &Path) -> Result<(), Error> {
        self.flush().await?;
        if is_same(file, &self.db.path) {
            let reason = "it is the ledger itself".into();
            return Err(Error::NoBackup { path: file.to_owned(), reason });
        }
        let mut conn = self.db.writer().await?;
        copy(&self.db, &mut conn, file).await
    }
}

fn is_same(file: &Path, database: &Path) -> bool {
    match (fs::canonicalize(file), fs::canonicalize(database)) {
        (Ok(file), Ok(database)) => file == database,
        _ => false,
    }
}

/// Beside its place first; it takes it when it is whole and on the disk.
pub(crate) async fn copy(db: &Db, conn: &mut SqliteConnection, file: &Path) -> Result<(), Error> {
    let draft = draft_of(file)?;
    let written = write(db, conn, &draft, file).await;
    if written.is_err() {
        // Half a copy is of no use to anyone.
        let _ = fs::remove_file(&draft);
        let mut journal = draft.into_os_string();
        journal.push("-journal");
        let _ = fs::remove_file(journal);
    }
    written
}

fn draft_of(file: &Path) -> Result<PathBuf, Error> {
    let no_name = || Error::NoBackup { path: file.to_owned(), reason: "it names no file".into() };
    let mut name = file.file_name().ok_or_else(no_name)?.to_owned();
    name.push(".new");
    Ok(file.with_file_name(name))
}

async fn write(db: &Db, conn: &mut SqliteConnection, draft: &Path, file: &Path) -> Result<(), Error> {
    let broken = |error: &dyn std::error::Error| Error::NoBackup { path: file.to_owned(), reason: error.to_string() };
    let name = draft
        .to_str()
        .ok_or_else(|| Error::NoBackup { path: file.to_owned(), reason: "its name is not in UTF-8".into() })?;
    // What an earlier attempt left.
    let _ = fs::remove_file(draft);
    let made = disk::private_file(draft)?;
    sqlx::query("VACUUM INTO ?1").bind(name).execute(conn).await.map_err(|error| broken(&error))?;
    made.sync_all().map_err(|error| broken(&error))?;
    drop(made);
    check(db, draft).await?;
    fs::rename(draft, file).map_err(|error| broken(&error))?;
    disk::sync_names(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// A copy that doesn't read back is none.
async fn check(db: &Db, draft: &Path) -> Result<(), Error> {
    let copy = Db::on(draft.to_owned(), db.vfs);
    let mut conn = copy.looked_at().await?;
    let report: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await.map_err(|error| copy.error(&error))?;
    // Closed, so that the file is nobody's when it is moved.
    let _ = conn.close().await;
    if report == "ok" { Ok(()) } else { Err(Error::NoBackup { path: draft.to_owned(), reason: report }) }
}
