//! Answers that may be given again, in a SQLite file of their own: what is lost with it costs a call, never an entry.
//!
//! It holds what models wrote, as they wrote it: for this user's eyes, bounded, and zeros where something was deleted.

use std::fs;
use std::path::{Path, PathBuf};

use domain::money::Usd;
use domain::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::Mutex;

use crate::{Error, disk};

const FILE: &str = "answers.db";

/// Of all answers together; beyond it the oldest go.
const BYTES_MAX: i64 = 256 << 20;

/// What is left then, so that not every new answer drives an old one out.
const BYTES_LEFT: i64 = BYTES_MAX / 10 * 9;

/// The file is never larger: answers, their index, and pages that are half full.
const PAGES_MAX: &str = "98304";

const SCHEMA: &str = "
    CREATE TABLE answer (
        id         INTEGER PRIMARY KEY,
        key        BLOB    NOT NULL UNIQUE,
        made_at    INTEGER NOT NULL,
        cost_nanos INTEGER,
        bytes      INTEGER NOT NULL,
        headers    BLOB    NOT NULL,
        body       BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX answer_by_age ON answer (made_at, bytes);
    PRAGMA application_id = 1413956417;
    PRAGMA user_version = 1;";

/// `TGCA`, and the one schema there is.
const OURS: (i64, i64) = (1_413_956_417, 1);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptAnswer {
    /// SHA-256 of all that it depends on.
    pub key: [u8; 32],
    pub made_at: Timestamp,
    pub cost: Option<Usd>,
    /// Lines of a head.
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

/// How many, and how large together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shelved {
    pub answers: u64,
    pub bytes: u64,
}

/// The answers of one data folder.
pub struct Answers {
    path: PathBuf,
    conn: Mutex<SqliteConnection>,
}

impl Answers {
    /// Made where they are missing. A file that is damaged or not ours is put aside, and another one begun.
    pub async fn open(dir: &Path) -> Result<Answers, Error> {
        let path = dir.join(FILE);
        let conn = match connect(&path).await? {
            Ok(conn) => conn,
            Err(reason) => begin_anew(&path, &reason).await?,
        };
        Ok(Answers { path, conn: Mutex::new(conn) })
    }

    /// Whether a folder has any.
    pub fn exist(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    pub async fn find(&self, key: &[u8; 32]) -> Result<Option<KeptAnswer>, Error> {
        let mut conn = self.conn.lock().await;
        let found = row(&mut conn, key).await;
        self.kept(&mut conn, found).await.map(Option::flatten)
    }

    /// Takes these in, in the place of those of the same keys, and lets those go that were made before `since`.
    pub async fn keep(&self, answers: &[KeptAnswer], since: Timestamp) -> Result<(), Error> {
        let mut conn = self.conn.lock().await;
        let done = put(&mut conn, answers, since.as_millis()).await;
        self.kept(&mut conn, done).await.map(drop)
    }

    pub async fn shelved(&self) -> Result<Shelved, Error> {
        let mut conn = self.conn.lock().await;
        let shelved = count(&mut conn).await;
        self.kept(&mut conn, shelved).await.map(Option::unwrap_or_default)
    }

    /// Forgets all, on the disk too. Tells what there was.
    pub async fn clear(&self) -> Result<Shelved, Error> {
        let mut conn = self.conn.lock().await;
        let cleared = empty(&mut conn).await;
        self.kept(&mut conn, cleared).await.map(Option::unwrap_or_default)
    }

    /// `None` where the file turns out to be damaged: another one is begun then, and there is nothing in it.
    async fn kept<T>(&self, conn: &mut SqliteConnection, done: sqlx::Result<T>) -> Result<Option<T>, Error> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if is_damage(&error) => {
                *conn = begin_anew(&self.path, &error.to_string()).await?;
                Ok(None)
            }
            Err(error) => Err(Error::unwritable(self.path.display(), &error)),
        }
    }
}

/// A connection, or why the file is none of ours.
async fn connect(path: &Path) -> Result<Result<SqliteConnection, String>, Error> {
    let file = disk::private_file(path)?;
    let is_new = file.metadata().is_ok_and(|file| file.len() == 0);
    match opened(path, is_new).await {
        Ok(Some(conn)) => Ok(Ok(conn)),
        Ok(None) => Ok(Err("another program wrote it, or another version of this one".to_owned())),
        Err(error) if is_damage(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(Error::unwritable(path.display(), &error)),
    }
}

/// `None`: it is not ours, and nothing was written to it.
async fn opened(path: &Path, is_new: bool) -> sqlx::Result<Option<SqliteConnection>> {
    if !is_new && !is_ours(path).await? {
        return Ok(None);
    }
    let mut conn = options(path).connect().await?;
    if is_new {
        let mut tx = conn.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(Some(conn))
}

async fn is_ours(path: &Path) -> sqlx::Result<bool> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let mut conn = options.connect().await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut conn).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await?;
    conn.close().await?;
    Ok((application, version) == OURS)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("secure_delete", "1")
        .pragma("max_page_count", PAGES_MAX)
        .pragma("cache_size", "-512")
        .pragma("temp_store", "memory")
        .thread_name(|_| "answers".into())
        .disable_statement_logging()
}

async fn begin_anew(path: &Path, reason: &str) -> Result<SqliteConnection, Error> {
    let aside = path.with_extension("db.old");
    tracing::warn!(
        "the kept answers can't be read ({reason}): {} is put aside as {}, and a new one is begun",
        path.display(),
        aside.display()
    );
    fs::rename(path, &aside).map_err(|error| Error::unwritable(path.display(), &error))?;
    for ending in ["db-wal", "db-shm"] {
        // What belonged to the old file would be folded into the new one.
        let _ = fs::remove_file(path.with_extension(ending));
    }
    connect(path).await?.map_err(|reason| Error::Unwritable { what: path.display().to_string(), reason })
}

async fn row(conn: &mut SqliteConnection, key: &[u8; 32]) -> sqlx::Result<Option<KeptAnswer>> {
    let row = sqlx::query("SELECT made_at, cost_nanos, headers, body FROM answer WHERE key = ?1")
        .bind(&key[..])
        .fetch_optional(conn)
        .await?;
    let kept = |row: SqliteRow| {
        let made_at = Timestamp::from_millis(row.try_get("made_at")?);
        let cost = row.try_get::<Option<i64>, _>("cost_nanos")?.map(Usd::from_nanos);
        let (headers, body) = (row.try_get("headers")?, row.try_get("body")?);
        Ok(KeptAnswer { key: *key, made_at, cost, headers, body })
    };
    row.map(kept).transpose()
}

async fn put(conn: &mut SqliteConnection, answers: &[KeptAnswer], since: i64) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    sqlx::query("DELETE FROM answer WHERE made_at < ?1").bind(since).execute(&mut *tx).await?;
    for KeptAnswer { key, made_at, cost, headers, body } in answers {
        let bytes = i64::try_from(headers.len() + body.len()).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO answer (key, made_at, cost_nanos, bytes, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (key) DO UPDATE SET made_at = excluded.made_at, cost_nanos = excluded.cost_nanos,
                 bytes = excluded.bytes, headers = excluded.headers, body = excluded.body",
        )
        .bind(&key[..])
        .bind(made_at.as_millis())
        .bind(cost.map(Usd::as_nanos))
        .bind(bytes)
        .bind(&headers[..])
        .bind(&body[..])
        .execute(&mut *tx)
        .await?;
    }
    drop_oldest(&mut tx, BYTES_MAX, BYTES_LEFT).await?;
    tx.commit().await
}

async fn drop_oldest(conn: &mut SqliteConnection, max: i64, left: i64) -> sqlx::Result<()> {
    if bytes(conn).await? <= max {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM answer WHERE id IN (
             SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY made_at DESC, id DESC) AS with_newer FROM answer)
             WHERE with_newer > ?1)",
    )
    .bind(left)
    .execute(conn)
    .await?;
    Ok(())
}

async fn bytes(conn: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(sum(bytes), 0) FROM answer").fetch_one(conn).await
}

async fn count(conn: &mut SqliteConnection) -> sqlx::Result<Shelved> {
    let answers: i64 = sqlx::query_scalar("SELECT count(*) FROM answer").fetch_one(&mut *conn).await?;
    let natural = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(Shelved { answers: natural(answers), bytes: natural(bytes(conn).await?) })
}

async fn empty(conn: &mut SqliteConnection) -> sqlx::Result<Shelved> {
    let shelved = count(conn).await?;
    sqlx::query("DELETE FROM answer").execute(&mut *conn).await?;
    sqlx::query("VACUUM").execute(&mut *conn).await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(conn).await?;
    Ok(shelved)
}

/// Damaged, or no database.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| [11, 26].contains(&(code & 0xFF))) || matches!(error, sqlx::Error::ColumnDecode { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn answer(number: u8, made_at: i64, body: &str) -> KeptAnswer {
        let (headers, body) = (b"content-type: application/json\r\n".to_vec(), body.as_bytes().to_vec());
        KeptAnswer { key: [number; 32], made_at: at(made_at), cost: Some(Usd::from_nanos(7)), headers, body }
    }

    async fn open(dir: &Path) -> Answers {
        Answers::open(dir).await.expect("opened")
    }

    async fn find(answers: &Answers, number: u8) -> Option<KeptAnswer> {
        answers.find(&[number; 32]).await.expect("asked")
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart_and_the_newest_of_a_key_stands() {
        let dir = tempfile::tempdir().expect("a folder");
        let answers = open(dir.path()).await;
        let unpriced = KeptAnswer { cost: None, ..answer(2, 5, "two") };
        answers.keep(&[answer(1, 4, "one"), unpriced.clone()], at(0)).await.expect("kept");
        answers.keep(&[answer(1, 6, "one anew")], at(0)).await.expect("kept");
        drop(answers);
        let answers = open(dir.path()).await;
        assert_eq!(find(&answers, 1).await, Some(answer(1, 6, "one anew")));
        assert_eq!((find(&answers, 2).await, find(&answers, 3).await), (Some(unpriced), None));
    }

    #[tokio::test]
    async fn what_nobody_may_ask_for_any_more_is_deleted_and_the_oldest_give_way() {
        let dir = tempfile::tempdir().expect("a folder");
        let answers = open(dir.path()).await;
        answers.keep(&[answer(1, 10, "old"), answer(2, 20, "young")], at(0)).await.expect("kept");
        answers.keep(&[], at(11)).await.expect("kept");
        assert_eq!((find(&answers, 1).await, find(&answers, 2).await.is_some()), (None, true));
        let all: Vec<KeptAnswer> =
            (3..9).map(|number| answer(number, 30 + i64::from(number), &"x".repeat(968))).collect();
        answers.keep(&all, at(0)).await.expect("kept");
        drop_oldest(&mut *answers.conn.lock().await, 10_000, 2_500).await.expect("enough room");
        assert_eq!(answers.shelved().await.expect("asked").answers, 7);
        drop_oldest(&mut *answers.conn.lock().await, 3_000, 2_500).await.expect("too little");
        let left = answers.shelved().await.expect("asked");
        assert_eq!((left, find(&answers, 8).await.is_some()), (Shelved { answers: 2, bytes: 2_000 }, true));
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_or_foreign_is_put_aside_and_replaced() {
        for foreign in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join(FILE);
            if foreign {
                let url = format!("sqlite:{}?mode=rwc", file.display());
                let mut conn = SqliteConnection::connect(&url).await.expect("a connection");
                sqlx::raw_sql("CREATE TABLE answer (mine)").execute(&mut conn).await.expect("made");
                conn.close().await.expect("closed");
            } else {
                fs::write(&file, "no database at all, and longer than the head of one".repeat(99)).expect("written");
            }
            let before = fs::read(&file).expect("bytes");
            let answers = open(dir.path()).await;
            answers.keep(&[answer(1, 1, "new")], at(0)).await.expect("kept");
            assert!(find(&answers, 1).await.is_some());
            assert_eq!(fs::read(dir.path().join("answers.db.old")).expect("it is kept"), before);
        }
    }

    #[tokio::test]
    async fn damage_that_shows_later_costs_the_answers_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let answers = open(dir.path()).await;
        let all: Vec<KeptAnswer> = (0..200).map(|number| answer(number, 1, &"x".repeat(5_000))).collect();
        answers.keep(&all, at(0)).await.expect("kept");
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *answers.conn.lock().await).await.expect("home");
        drop(answers);
        let file = dir.path().join(FILE);
        let mut bytes = fs::read(&file).expect("bytes");
        bytes[4_096..].fill(0x5A);
        fs::write(&file, bytes).expect("damaged");
        let answers = open(dir.path()).await;
        assert_eq!(find(&answers, 7).await, None);
        answers.keep(&[answer(7, 1, "new")], at(0)).await.expect("kept");
        assert_eq!(find(&answers, 7).await, Some(answer(7, 1, "new")));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_may_read_it_and_nothing_is_left_when_it_is_emptied() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let answers = open(dir.path()).await;
        answers.keep(&[answer(1, 1, "a secret of mine")], at(0)).await.expect("kept");
        let files = || fs::read_dir(dir.path()).expect("a folder").map(|file| file.expect("a file").path());
        let holds =
            || files().any(|file| memchr::memmem::find(&fs::read(file).expect("bytes"), b"a secret of").is_some());
        assert!(holds());
        for file in files() {
            assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o077, 0, "{}", file.display());
        }
        assert_eq!(answers.clear().await.expect("cleared"), Shelved { answers: 1, bytes: 48 });
        assert!(!holds());
        assert_eq!(find(&answers, 1).await, None);
    }
}
