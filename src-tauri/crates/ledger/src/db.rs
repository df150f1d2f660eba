//! The SQLite file: how it is opened, and what its errors mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, SqliteExecutor, SqlitePool};

use crate::journal::SEQ_MAX;
use crate::{Error, backup, disk};

mod ours;

const FILE: &str = "ledger.db";

/// The head of a database that has never had a WAL; those which we open have one from the first moment.
const BACKUP_STARTS: [u8; 20] = *b"SQLite format 3\0\x10\0\x01\x01";

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Older ones can lose commits when two connections meet in the WAL.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// How long a commit waits for another program that holds the file.
const BUSY: Duration = Duration::from_secs(5);

const WAL_BYTES_KEPT: &str = "8388608";

/// In KiB, negative as SQLite wants it. The ledger's memory is part of what an idle gateway holds.
const CACHE: &str = "-512";

/// A WAL that holds so many pages is brought home.
pub(crate) const CHECKPOINT_PAGES: i64 = 1_000;

const IO_ERROR: u32 = 10;

const READERS_MAX: u32 = 2;

const READER_IDLE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Db {
    pub(crate) path: PathBuf,
    pub(crate) vfs: Option<Vfs>,
    /// A write or sync has failed: what the WAL holds may not be on the disk, whatever the next sync says.
    is_in_doubt: Arc<AtomicBool>,
}

/// Tests put a disk of their own under SQLite.
#[derive(Clone, Copy)]
pub(crate) struct Vfs {
    pub(crate) name: &'static str,
    pub(crate) write_again: fn(&Path) -> io::Result<()>,
}

impl Db {
    pub(crate) fn at(dir: &Path) -> Db {
        Db::on(dir.join(FILE), None)
    }

    pub(crate) fn on(path: PathBuf, vfs: Option<Vfs>) -> Db {
        Db { path, vfs, is_in_doubt: Arc::default() }
    }

    /// How, where it is. A ledger that was begun has its first page before the journal has a record.
    pub(crate) fn is_lacking(&self) -> Option<&'static str> {
        match fs::metadata(&self.path) {
            Ok(meta) => (meta.len() == 0).then_some("empty"),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some("missing"),
        }
    }

    /// Made where it is missing.
    pub(crate) fn made(dir: &Path) -> Result<Db, Error> {
        let db = Db::at(dir);
        disk::private_file(&db.path)?;
        db.put_strange_wal_aside()?;
        disk::sync_names(dir)?;
        Ok(db)
    }

    /// A backup was put in the place of the database, and the WAL of the old one was left: SQLite would fold it in.
    fn put_strange_wal_aside(&self) -> Result<(), Error> {
        let wal = self.path.with_extension("db-wal");
        if disk::starts_as(&self.path, &BACKUP_STARTS)? && wal.exists() {
            let aside = self.path.with_extension("db-wal.old");
            fs::rename(&wal, &aside).map_err(|error| Error::unwritable(wal.display(), &error))?;
        }
        Ok(())
    }

    /// Brought to the present schema, and never touched where it is not ours to write.
    pub(crate) async fn open(&self) -> Result<SqliteConnection, Error> {
        self.check_whose().await?;
        let mut conn = self.writer().await?;
        self.check_version(&mut conn).await?;
        // The process before may have seen a sync fail.
        self.write_wal_again(&mut conn).await?;
        self.migrate(&mut conn, &MIGRATIONS).await?;
        Ok(conn)
    }

    async fn check_whose(&self) -> Result<(), Error> {
        match self.check_by(self.looked_at().await).await {
            // What was left half done when it was made has to be taken back first, which wants to write.
            Err(Error::Unwritable { .. }) => self.check_by(self.writer().await).await,
            checked => checked,
        }
    }

    async fn check_by(&self, conn: Result<SqliteConnection, Error>) -> Result<(), Error> {
        let mut conn = conn?;
        let checked = ours::check(self, &mut conn).await;
        // Nothing was written, so nothing can be lost.
        let _ = conn.close().await;
        checked
    }

    /// All steps in one transaction, and before them a copy beside the database: `ledger.db.schema-1` of schema 1.
    pub(crate) async fn migrate(&self, conn: &mut SqliteConnection, steps: &Migrator) -> Result<(), Error> {
        let found = self.schema(conn).await?;
        if (1..newest(steps)).contains(&found) {
            backup::copy(self, conn, &self.path.with_extension(format!("db.schema-{found}"))).await?;
        }
        self.take(conn, steps).await?;
        // A change of all rows leaves a WAL as large as the database: calls that run must not have to bring it home.
        self.checkpoint(conn, CHECKPOINT_PAGES).await
    }

    pub(crate) async fn take(&self, conn: &mut SqliteConnection, steps: &Migrator) -> Result<(), Error> {
        let mut all = conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.error(&error))?;
        // `run` makes a future that may not cross threads.
        steps.run_direct(None, &mut *all, false).await.map_err(|error| self.migration_error(error))?;
        all.commit().await.map_err(|error| self.error(&error))
    }

    /// 0 for a new file.
    async fn schema(&self, conn: &mut SqliteConnection) -> Result<i64, Error> {
        let steps = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
        let has_steps: i64 =
            sqlx::query_scalar(steps).fetch_one(&mut *conn).await.map_err(|error| self.error(&error))?;
        if has_steps == 0 {
            return Ok(0);
        }
        let last = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
        last.fetch_one(conn).await.map_err(|error| self.error(&error))
    }

    pub(crate) async fn writer(&self) -> Result<SqliteConnection, Error> {
        SqliteConnection::connect_with(&self.options()).await.map_err(|error| self.error(&error))
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::SeqCst)
    }

    pub(crate) fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::SeqCst);
    }

    /// The system may have dropped what a failed sync should have brought to the disk, and the next one says nothing of it:
    /// the WAL is written once more as it stands, while nobody else may write to it. The database needs no such care:
    /// what a checkpoint could not sync, the next one writes again.
    pub(crate) async fn writer_after_failure(&self) -> Result<SqliteConnection, Error> {
        let mut conn = self.writer().await?;
        self.is_in_doubt.store(false, Ordering::SeqCst);
        let written = self.write_wal_again(&mut conn).await;
        if written.is_err() {
            self.doubt();
        }
        written.map(|()| conn)
    }

    async fn write_wal_again(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let held = conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.error(&error))?;
        let wal = self.path.with_extension("db-wal");
        let write_again = self.vfs.map_or(disk::write_again as fn(&Path) -> io::Result<()>, |vfs| vfs.write_again);
        let path = wal.clone();
        let written = tokio::task::spawn_blocking(move || write_again(&path)).await;
        held.rollback().await.map_err(|error| self.error(&error))?;
        let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        written.map_err(|error| Error::unwritable(wal.display(), &error))
    }

    /// Brings home what has gathered in the WAL. SQLite would do it by itself, and tell nobody of a sync that failed.
    pub(crate) async fn checkpoint(&self, conn: &mut SqliteConnection, pages: i64) -> Result<(), Error> {
        let gathered = sqlx::query("PRAGMA wal_checkpoint(NOOP)").fetch_one(&mut *conn).await;
        let gathered: i64 = gathered.and_then(|row| row.try_get(1)).map_err(|error| self.error(&error))?;
        if gathered >= pages {
            let done = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(conn).await;
            done.map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    /// Opened when the first question is asked, closed soon after the last.
    pub(crate) fn readers(&self) -> SqlitePool {
        let pool = SqlitePoolOptions::new().max_connections(READERS_MAX).min_connections(0);
        pool.idle_timeout(READER_IDLE).test_before_acquire(false).connect_lazy_with(self.options())
    }

    fn plain(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY);
        if let Some(vfs) = self.vfs { options.vfs(vfs.name) } else { options }
    }

    fn options(&self) -> SqliteConnectOptions {
        self.plain()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .pragma("cache_size", CACHE)
            .pragma("journal_size_limit", WAL_BYTES_KEPT)
            // `checkpoint` does it, and hears what fails.
            .pragma("wal_autocheckpoint", "0")
            // An upsert keeps a journal of its own; without this it is a temporary file, made anew for each.
            .pragma("temp_store", "memory")
            // What F_FULLFSYNC is on macOS; nothing elsewhere.
            .pragma("fullfsync", "1")
            .pragma("checkpoint_fullfsync", "1")
            .thread_name(|_| "sqlite".into())
            .disable_statement_logging()
    }

    async fn check_version(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let version = self.sqlite_version(conn).await?;
        let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
        if parts.as_slice() < SQLITE_MIN.as_slice() { Err(Error::OldSqlite { version }) } else { Ok(()) }
    }

    pub(crate) async fn sqlite_version(&self, on: impl SqliteExecutor<'_>) -> Result<String, Error> {
        let version = sqlx::query_scalar!(r#"SELECT sqlite_version() AS "version!: String""#).fetch_one(on).await;
        version.map_err(|error| self.error(&error))
    }

    /// Says why it is no ledger of ours.
    pub(crate) async fn strange(&self, conn: &mut SqliteConnection) -> Result<Option<String>, Error> {
        match ours::check(self, conn).await {
            Err(Error::Damaged { reason, .. }) => Ok(Some(reason)),
            checked => checked.map(|()| None),
        }
    }

    /// For a look at a file that may be damaged: nothing is written, nothing is made.
    pub(crate) async fn looked_at(&self) -> Result<SqliteConnection, Error> {
        let options = self.plain().read_only(true).disable_statement_logging();
        SqliteConnection::connect_with(&options).await.map_err(|error| self.error(&error))
    }

    pub(crate) async fn folded_seq(&self, conn: &mut SqliteConnection) -> Result<u64, Error> {
        let seq = sqlx::query_scalar!("SELECT folded_seq FROM meta").fetch_one(conn).await;
        let seq = seq.map_err(|error| self.error(&error))?.cast_unsigned();
        if seq < SEQ_MAX { Ok(seq) } else { Err(self.unreadable("how far the journal is folded in")) }
    }

    /// A row that no Tidegate has written.
    pub(crate) fn unreadable(&self, what: &str) -> Error {
        Error::Damaged { path: self.path.clone(), reason: format!("{what} can't be read") }
    }

    fn migration_error(&self, error: MigrateError) -> Error {
        if let MigrateError::VersionMissing(found) | MigrateError::VersionMismatch(found) = error {
            return Error::Newer { path: self.path.clone(), found, known: newest(&MIGRATIONS) };
        }
        if let MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) = &error {
            return self.error(cause);
        }
        Error::Sqlite { path: self.path.clone(), reason: error.to_string() }
    }

    pub(crate) fn error(&self, error: &sqlx::Error) -> Error {
        let path = self.path.clone();
        let reason = error.to_string();
        let code = primary_code(error);
        if code == Some(IO_ERROR) {
            self.doubt();
        }
        match code {
            Some(5 | 6) => Error::Locked { path },
            Some(11 | 26) => Error::Damaged { path, reason },
            Some(8 | IO_ERROR | 13 | 14) => Error::Unwritable { what: path.display().to_string(), reason },
            _ => Error::Sqlite { path, reason },
        }
    }
}

#[cfg(test)]
pub(crate) fn steps() -> &'static Migrator {
    &MIGRATIONS
}

pub(crate) fn newest(steps: &Migrator) -> i64 {
    steps.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xFF)
}
