//! Files that no Tidegate has left so: flipped bytes, other programs' databases, triggers. Each is refused with a sentence,
//! kept as it is, or what is wrong with it is named; nothing panics and no total is wrong in silence.

use fastrand::Rng;

use super::*;
use crate::db::Db;

/// So that a small ledger is a small file, and each of its bytes means something.
const SMALL_PAGES: &str = "PRAGMA page_size = 512; PRAGMA journal_mode = DELETE; VACUUM;";

async fn a_small_ledger() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..6_u32 {
        let price_id = Some(format!("price of {number}").into());
        settle(&ledger, &Entry { price_id, ..entry(call(number.into(), noon())) }).await;
    }
    ledger.close().await.expect("closed");
    drop(ledger);
    raw(dir.path(), "PRAGMA journal_mode = DELETE").await;
    raw(dir.path(), SMALL_PAGES).await;
    raw(dir.path(), "PRAGMA journal_mode = WAL").await;
    fs::read(dir.path().join("ledger.db")).expect("bytes")
}

fn folder_with(database: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("ledger.db"), database).expect("written");
    dir
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Met {
    Refused,
    Named,
    /// Nothing of what is told has changed.
    Harmless,
}

/// Opens, asks and checks it, in a task of its own: a panic there is an error here.
async fn meet(database: Vec<u8>, whole: Vec<Entry>) -> Result<Met, String> {
    let met = tokio::spawn(async move {
        let dir = folder_with(&database);
        let ledger = match Ledger::open_with(dir.path(), options(Durability::Process), 4 << 10).await {
            Ok((ledger, _)) => ledger,
            Err(Error::Damaged { .. } | Error::Newer { .. })
                if fs::read(dir.path().join("ledger.db")).ok().as_ref() != Some(&database) =>
            {
                return Err("it was refused and changed".into());
            }
            Err(error) => {
                let _ = Ledger::inspect(dir.path()).await;
                return if error.to_string().len() > 20 { Ok(Met::Refused) } else { Err(error.to_string()) };
            }
        };
        let calls = ledger.calls(&Filter::default(), u32::MAX).await;
        let spend = ledger.spend(Calendar::UTC, noon()).await;
        match ledger.verify(Vec::new).await {
            Ok(findings) if findings.is_empty() => {}
            Ok(_) | Err(_) => return Ok(Met::Named),
        }
        if spend.is_err() || calls.as_ref() != Ok(&whole) {
            return Err(format!("verify finds nothing, and it has {calls:?}"));
        }
        Ok(Met::Harmless)
    });
    met.await.unwrap_or_else(|panic| Err(panic.to_string()))
}

async fn told(database: &[u8]) -> Vec<Entry> {
    let dir = folder_with(database);
    open(dir.path()).await.0.calls(&Filter::default(), u32::MAX).await.expect("calls")
}

/// `TIDEGATE_FLIPS=all` for every byte.
#[tokio::test]
async fn a_byte_that_flips_anywhere_is_refused_named_or_changes_nothing_that_is_told() {
    let whole = a_small_ledger().await;
    let calls = told(&whole).await;
    let seed =
        std::env::var("TIDEGATE_FLIP_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a seed"));
    let mut chance = Rng::with_seed(seed);
    let all = std::env::var("TIDEGATE_FLIPS").is_ok_and(|flips| flips == "all");
    let step = if all { 1 } else { whole.len() / 150 };
    let places: Vec<usize> =
        (0..100).chain((100..whole.len()).step_by(step).map(|place| place + chance.usize(..step))).collect();
    let (mut met, mut wrong) = (BTreeMap::<Met, usize>::new(), vec![]);
    for place in places.into_iter().filter(|place| *place < whole.len()) {
        let (mut bytes, bit) = (whole.clone(), chance.u32(..8));
        bytes[place] ^= 1 << bit;
        match meet(bytes, calls.clone()).await {
            Ok(how) => *met.entry(how).or_default() += 1,
            Err(error) => wrong.push(format!("bit {bit} of byte {place}: {error}")),
        }
    }
    eprintln!("{} bytes, TIDEGATE_FLIP_SEED={seed}: {met:?}", whole.len());
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

async fn is_refused(dir: &Path, wanted: &str) {
    let before = fs::read(dir.join("ledger.db")).expect("bytes");
    let error = Ledger::open(dir, options(Durability::Process)).await.err().expect("refused");
    assert!(matches!(&error, Error::Damaged { reason, .. } if reason.contains(wanted)), "{error}");
    assert!(fs::read(dir.join("ledger.db")).expect("bytes") == before, "it was changed");
    let findings = Ledger::inspect(dir).await.expect("looked at");
    assert!(findings.iter().any(|finding| finding.to_string().contains(wanted)), "{findings:?}");
}

#[tokio::test]
async fn another_program_s_database_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("ledger.db"), "").expect("made");
    raw(dir.path(), "CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO messages VALUES (1, 'x')")
        .await;
    is_refused(dir.path(), "tables of another program").await;
}

#[tokio::test]
async fn a_ledger_that_was_rebuilt_by_hand_is_refused() {
    let whole = a_small_ledger().await;
    for (sql, wanted) in [
        ("CREATE TRIGGER thief AFTER INSERT ON entry BEGIN DELETE FROM entry; END", "trigger, \"thief\""),
        ("ALTER TABLE entry RENAME TO old; CREATE VIEW entry AS SELECT * FROM old", "is not as Tidegate makes it"),
        ("DROP VIEW counted; CREATE VIEW counted AS SELECT * FROM entry WHERE 0", "\"counted\" is not as"),
        ("DROP VIEW counted", "\"counted\" is not as"),
        ("ALTER TABLE meta RENAME COLUMN chain TO link", "\"meta\" is not as"),
        ("ALTER TABLE open_call ADD COLUMN more TEXT", "\"open_call\" is not as"),
        ("DROP TABLE superseded", "superseded"),
    ] {
        let dir = folder_with(&whole);
        raw(dir.path(), sql).await;
        is_refused(dir.path(), wanted).await;
    }
}

#[tokio::test]
async fn tables_and_indexes_that_somebody_added_for_himself_do_no_harm() {
    let dir = folder_with(&a_small_ledger().await);
    raw(
        dir.path(),
        "CREATE TABLE mine (x); CREATE INDEX by_tenant ON entry (tenant); CREATE VIEW v AS SELECT 1 AS one; ANALYZE",
    )
    .await;
    assert_eq!(count(&reopened(dir.path()).await.0).await, 6);
}

#[tokio::test]
async fn rows_that_no_tidegate_wrote_are_told_in_a_sentence() {
    let whole = a_small_ledger().await;
    let calls = told(&whole).await;
    for sql in [
        "DELETE FROM meta",
        "UPDATE meta SET chain = x'00'",
        "UPDATE meta SET folded_seq = -1",
        "UPDATE meta SET folded_seq = 9223372036854775807",
        "INSERT INTO open_call (call_id, call) VALUES ('x', '{}')",
        "INSERT INTO open_call (call_id, call) VALUES ('', '[]')",
        "UPDATE entry SET cost_nanos = -9223372036854775808",
        "UPDATE entry SET input_tokens = 9223372036854775807, output_tokens = -1",
        "UPDATE entry SET started_at = 9223372036854775807, ended_at = -9223372036854775808",
        "UPDATE entry SET outcome = 'x', source = '', class = '', cache = 'y', tags = '{\"a\":1}'",
        "UPDATE quarter_sum SET quarter = 9223372036854775807, cost_nanos = -1",
        "UPDATE quarter_sum SET quarter = -9223372036854775807",
        "UPDATE day_sum SET day = 9223372036854775807",
        "UPDATE meta SET zone = 'Atlantis/Poseidonis', kept_from = -9223372036854775807",
        "UPDATE meta SET kept_from = 9223372036854775807",
        "UPDATE _sqlx_migrations SET success = 0",
        "UPDATE _sqlx_migrations SET checksum = x'00'",
        "DELETE FROM _sqlx_migrations WHERE version = 1",
    ] {
        let dir = folder_with(&whole);
        raw(dir.path(), sql).await;
        let database = fs::read(dir.path().join("ledger.db")).expect("bytes");
        let met = meet(database, calls.clone()).await;
        assert!(met.is_ok(), "{sql}: {met:?}");
    }
}

/// A ledger that was not closed: what it wrote last is in its WAL.
async fn killed(numbers: std::ops::Range<u32>) -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in numbers {
        settle(&ledger, &entry(call(number.into(), noon()))).await;
    }
    ledger.flush().await.expect("folded");
    (copy(dir.path()), ledger)
}

/// SQLite can't tell whose it is. What comes of it is refused, named, or calls that were settled, each of them whole.
#[tokio::test]
async fn the_wal_of_another_ledger_makes_no_call_that_never_was() {
    let (dir, _running) = killed(0..50).await;
    let (other, _other_running) = killed(50..60).await;
    fs::copy(other.path().join("ledger.db-wal"), dir.path().join("ledger.db-wal")).expect("copied");
    if let Ok((ledger, _)) = Ledger::open(dir.path(), options(Durability::Process)).await {
        let findings = ledger.verify(Vec::new).await;
        let calls = ledger.calls(&Filter::default(), u32::MAX).await.expect("calls");
        let settled: Vec<Entry> = (0..60).map(|number| entry(call(number, noon()))).collect();
        assert!(findings != Ok(vec![]) || calls.iter().all(|call| settled.contains(call)), "{calls:?}");
    }
}

#[tokio::test]
async fn a_wal_that_flips_loses_no_call_in_silence() {
    let (dir, _running) = killed(0..20).await;
    let wal = fs::read(dir.path().join("ledger.db-wal")).expect("a WAL");
    let whole = told_of(dir.path()).await;
    for place in (0..wal.len()).step_by(wal.len() / 40) {
        let (fresh, _ledger) = (copy_with_wal(dir.path(), &wal, place), ());
        let Ok((ledger, _)) = Ledger::open(fresh.path(), options(Durability::Process)).await else { continue };
        let findings = ledger.verify(Vec::new).await;
        let calls = ledger.calls(&Filter::default(), u32::MAX).await.expect("calls");
        assert!(findings != Ok(vec![]) || calls == whole, "byte {place}: {} calls of {}", calls.len(), whole.len());
    }
}

async fn told_of(dir: &Path) -> Vec<Entry> {
    let fresh = copy(dir);
    open(fresh.path()).await.0.calls(&Filter::default(), u32::MAX).await.expect("calls")
}

fn copy_with_wal(dir: &Path, wal: &[u8], place: usize) -> tempfile::TempDir {
    let fresh = copy(dir);
    let mut wal = wal.to_vec();
    wal[place] ^= 0x10;
    fs::write(fresh.path().join("ledger.db-wal"), wal).expect("written");
    fresh
}

#[tokio::test]
async fn a_newer_ledger_that_was_killed_is_refused_with_its_wal_as_it_is() {
    let (dir, _running) = killed(0..5).await;
    let db = Db::at(dir.path());
    let mut conn = db.writer().await.expect("a connection");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (900, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut conn).await.expect("written");
    let killed = copy(dir.path());
    let files = ["ledger.db", "ledger.db-wal"].map(|name| killed.path().join(name));
    let before = files.each_ref().map(|file| fs::read(file).expect("bytes"));
    let error = Ledger::open(killed.path(), options(Durability::Process)).await.err();
    assert!(matches!(error, Some(Error::Newer { found: 900, .. })), "{error:?}");
    assert!(files.each_ref().map(|file| fs::read(file).expect("bytes")) == before, "it was changed");
}
