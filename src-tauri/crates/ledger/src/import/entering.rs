//! Brings what was told and what stands in the ledger together, in one transaction with how far the logs were read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::AddAssign;

use domain::call::Source;
use sqlx::{Connection, SqliteConnection};

use super::Terms;
use super::reading::FileRead;
use super::rollups::supersede;
use super::told::{AllTold, Facts, Key, Standing};
use crate::Error;
use crate::bulk::{Bulk, bulk};
use crate::call::Settled;
use crate::db::Db;
use crate::retention::kept_from;
use crate::settling::{self, Settlement, json};

/// What became of what was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entered {
    /// Lines and events that tell of calls.
    pub told: u64,
    /// Calls that the ledger did not have.
    pub calls: u64,
    /// Calls of which more is known now.
    pub revised: u64,
    /// Entries that another source or copy now stands for.
    pub superseded: u64,
    /// Calls from before the time that the ledger keeps: they were counted, or would be deleted again.
    pub too_old: u64,
}

impl AddAssign for Entered {
    fn add_assign(&mut self, other: Entered) {
        self.told += other.told;
        self.calls += other.calls;
        self.revised += other.revised;
        self.superseded += other.superseded;
        self.too_old += other.too_old;
    }
}

/// A telling as it stands in the ledger.
struct Row {
    facts: Facts,
    /// '' where no entry stands for it.
    call_id: String,
    revision: i64,
    entered: [u8; 16],
    changed: bool,
}

/// Facts of a telling whose entry was deleted.
const FORGOTTEN: &str = "{}";

/// Rows that SQLite takes at once; the next ones are made ready meanwhile.
const AT_ONCE: usize = 500;

/// All tellings that may be of the same calls.
type Rows = BTreeMap<Key, Row>;

pub(super) async fn enter(
    conn: &mut SqliteConnection,
    told: AllTold,
    files: &[FileRead],
    terms: &Terms,
) -> sqlx::Result<Entered> {
    let mut entered = Entered { told: told.lines, ..Entered::default() };
    let mut new = told.calls;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    leave_old(&mut tx, &mut new, &mut entered).await?;
    let (mut rows, forgotten) = related(&mut tx, new.keys()).await?;
    leave_forgotten(&mut rows, &mut new, forgotten, &mut entered);
    add(&mut rows, new);
    let heard = of_gateway(&mut tx, &rows).await?;
    let done = apply(&mut tx, changes(&rows, &heard, terms)).await?;
    note(&mut rows, done, &mut entered);
    keep_rows(&mut tx, &rows).await?;
    keep_files(&mut tx, files).await?;
    tx.commit().await?;
    Ok(entered)
}

/// What is older than the ledger keeps.
async fn leave_old(
    conn: &mut SqliteConnection,
    new: &mut HashMap<Key, Facts>,
    entered: &mut Entered,
) -> sqlx::Result<()> {
    let kept_from = kept_from(conn).await?;
    let count = new.len();
    new.retain(|_, facts| facts.said.at >= kept_from);
    entered.too_old += (count - new.len()) as u64;
    Ok(())
}

fn add(rows: &mut Rows, new: HashMap<Key, Facts>) {
    for (key, facts) in new {
        match rows.get_mut(&key) {
            Some(row) => {
                let before = row.facts.clone();
                row.facts.merge(facts);
                row.changed |= row.facts != before;
            }
            None => {
                let row = Row { facts, call_id: String::new(), revision: 0, entered: [0; 16], changed: true };
                rows.insert(key, row);
            }
        }
    }
}

/// What is of the same message or request as something whose entry was deleted has been counted: nothing is known of it
/// that could be set right.
fn leave_forgotten(rows: &mut Rows, new: &mut HashMap<Key, Facts>, forgotten: Vec<Key>, entered: &mut Entered) {
    let (mut messages, mut requests): (HashSet<String>, HashSet<String>) = Default::default();
    let mut found = forgotten;
    while !found.is_empty() {
        for Key { message_id, request_id, .. } in found {
            messages.insert(message_id);
            requests.insert(request_id);
        }
        let is_of_them = |key: &Key| {
            !key.message_id.is_empty() && messages.contains(&key.message_id)
                || !key.request_id.is_empty() && requests.contains(&key.request_id)
        };
        let left_new: Vec<Key> = new.keys().filter(|key| is_of_them(key)).cloned().collect();
        let left_rows: Vec<Key> = rows.keys().filter(|key| is_of_them(key)).cloned().collect();
        entered.too_old += left_new.len() as u64;
        left_new.iter().for_each(|key| drop(new.remove(key)));
        left_rows.iter().for_each(|key| drop(rows.remove(key)));
        found = left_new.into_iter().chain(left_rows).collect();
    }
}

/// What the ledger knows of the same messages and requests, and what it knew before it was deleted.
async fn related(
    conn: &mut SqliteConnection,
    keys: impl Iterator<Item = &Key> + Clone,
) -> sqlx::Result<(Rows, Vec<Key>)> {
    let mut forgotten = BTreeSet::new();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let mut messages: Vec<String> = named(keys.clone().map(|key| &key.message_id));
    let mut requests: Vec<String> = named(keys.map(|key| &key.request_id));
    let mut rows = Rows::new();
    // What a request leads to may be a message that leads to further requests.
    while !messages.is_empty() || !requests.is_empty() {
        let (known, gone) = told_of(conn, &messages, &requests).await?;
        rows.extend(known);
        forgotten.extend(gone);
        if rows.is_empty() {
            break;
        }
        asked.extend(messages.into_iter().map(|message| format!("m{message}")));
        asked.extend(requests.into_iter().map(|request| format!("r{request}")));
        messages = named(rows.keys().map(|key| &key.message_id));
        messages.retain(|message| !asked.contains(&format!("m{message}")));
        requests = named(rows.keys().map(|key| &key.request_id));
        requests.retain(|request| !asked.contains(&format!("r{request}")));
    }
    Ok((rows, forgotten.into_iter().collect()))
}

fn named<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<String> {
    let ids: HashSet<&String> = ids.filter(|id| !id.is_empty()).collect();
    ids.into_iter().cloned().collect()
}

async fn told_of(
    conn: &mut SqliteConnection,
    messages: &[String],
    requests: &[String],
) -> sqlx::Result<(Rows, Vec<Key>)> {
    let (messages, requests) = (json(&messages)?, json(&requests)?);
    let found = sqlx::query!(
        r#"WITH found AS (
             SELECT * FROM told WHERE message_id IN (SELECT value FROM json_each(?1))
             UNION ALL
             SELECT * FROM told WHERE request_id <> '' AND request_id IN (SELECT value FROM json_each(?2)))
         SELECT message_id, request_id, source, facts, call_id, revision, entered,
             call_id <> '' AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.call_id = found.call_id) AS "is_deleted!: i64"
         FROM found"#,
        messages,
        requests
    )
    .fetch_all(conn)
    .await?;
    let (mut rows, mut forgotten) = (Rows::new(), vec![]);
    for row in found {
        let source = Source::named(&row.source).ok_or_else(|| sqlx::Error::Decode("an unknown source".into()))?;
        let key = Key { message_id: row.message_id, request_id: row.request_id, source };
        // Its entry may be deleted a moment before it is forgotten itself.
        if row.facts == FORGOTTEN || row.is_deleted != 0 {
            forgotten.push(key);
            continue;
        }
        let facts = serde_json::from_str(&row.facts).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let entered = row.entered.try_into().map_err(|_| sqlx::Error::Decode("a hash of a wrong length".into()))?;
        rows.insert(key, Row { facts, call_id: row.call_id, revision: row.revision, entered, changed: false });
    }
    Ok((rows, forgotten))
}

/// What went through the gateway of what was told.
struct Heard {
    by_request: HashMap<String, String>,
    /// Of lines that name no request.
    by_print: HashMap<Key, String>,
}

impl Heard {
    fn call(&self, key: &Key) -> Option<&String> {
        if key.request_id.is_empty() { self.by_print.get(key) } else { self.by_request.get(&key.request_id) }
    }
}

async fn of_gateway(conn: &mut SqliteConnection, rows: &Rows) -> sqlx::Result<Heard> {
    let by_request = calls_of_gateway(conn, &named(rows.keys().map(|key| &key.request_id))).await?;
    let by_print = by_print(conn, rows, &by_request).await?;
    Ok(Heard { by_request, by_print })
}

/// Which of these requests went through the gateway, and their calls.
pub(crate) async fn calls_of_gateway(
    conn: &mut SqliteConnection,
    requests: &[String],
) -> sqlx::Result<HashMap<String, String>> {
    let requests = json(&requests)?;
    let found = sqlx::query!(
        "SELECT request_id, call_id FROM json_each(?1) JOIN entry ON entry.request_id = value
         WHERE source = 'gateway' AND request_id <> ''",
        requests
    )
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(|row| (row.request_id, row.call_id)).collect())
}

/// How long after a call's end its line may be stamped: clocks differ, and so do what they stamp.
const STAMPED_WITHIN_MS: i64 = 5_000;

/// Longer ones are not looked for.
const CALL_MS_MAX: i64 = 3_600_000;

/// A line without a request is of the call that ran at its moment, by the same model, in the same session and with the same
/// counts, unless that call has a line of its own. A call is of one message.
async fn by_print(
    conn: &mut SqliteConnection,
    rows: &Rows,
    by_request: &HashMap<String, String>,
) -> sqlx::Result<HashMap<Key, String>> {
    let mut found = HashMap::new();
    // By whose message; '' by one that names its request.
    let mut taken: HashMap<String, &str> = by_request.values().map(|call| (call.clone(), "")).collect();
    let is_unnamed = |(key, _): &(&Key, &Row)| key.source == Source::Log && key.request_id.is_empty();
    let lines: Vec<(&Key, &Row)> = rows.iter().filter(is_unnamed).collect();
    let moments = lines.iter().map(|(_, row)| row.facts.said.at);
    let Some((first, last)) = moments.clone().min().zip(moments.max()) else { return Ok(found) };
    let has_calls: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM entry WHERE started_at BETWEEN ?1 - ?2 AND ?3 AND source = 'gateway')",
    )
    .bind(first)
    .bind(CALL_MS_MAX)
    .bind(last)
    .fetch_one(&mut *conn)
    .await?;
    if !has_calls {
        return Ok(found);
    }
    for (key, row) in lines {
        let (said, tokens) = (&row.facts.said, row.facts.said.whole_usage().tokens);
        let calls: Vec<String> = sqlx::query_scalar(
            "SELECT call_id FROM entry
             WHERE started_at BETWEEN ?1 - ?2 AND ?1 AND ended_at >= ?1 - ?3 AND source = 'gateway' AND model = ?4
                 AND session IN (?5, '') AND input_tokens = ?6 AND cache_write_5m_tokens + cache_write_1h_tokens = ?7
                 AND cache_read_tokens = ?8 AND output_tokens = ?9 AND NOT EXISTS (
                     SELECT 1 FROM told WHERE told.request_id = entry.request_id AND told.request_id <> '')
             ORDER BY started_at DESC",
        )
        .bind(said.at)
        .bind(CALL_MS_MAX)
        .bind(STAMPED_WITHIN_MS)
        .bind(&said.model)
        .bind(&row.facts.origin.session)
        .bind(tokens.input.cast_signed())
        .bind(tokens.cache_write_5m.saturating_add(tokens.cache_write_1h).cast_signed())
        .bind(tokens.cache_read.cast_signed())
        .bind(tokens.output.cast_signed())
        .fetch_all(&mut *conn)
        .await?;
        let is_free = |call: &String| taken.get(call).is_none_or(|message| *message == key.message_id);
        if let Some(call) = calls.into_iter().find(is_free) {
            taken.insert(call.clone(), &key.message_id);
            found.insert(key.clone(), call);
        }
    }
    Ok(found)
}

/// What has to happen to a telling.
enum Change {
    /// A new entry stands for it.
    Enter { hash: [u8; 16], settlement: Box<Settlement<'static>> },
    /// Its entry gives way to this call, or to a copy of the same message.
    GiveWay { to: String },
}

fn changes<'a>(rows: &'a Rows, heard: &'a Heard, terms: &'a Terms) -> impl Iterator<Item = (&'a Key, &'a Row, Change)> {
    let standing = standing(rows, heard);
    rows.iter().filter_map(move |(key, row)| {
        let change = match standing.get(key) {
            Some(by) => enters(key, row, by.map(|by| &rows[by].facts), terms)?,
            None if row.call_id.is_empty() => return None,
            None => Change::GiveWay { to: heard.call(key).cloned().unwrap_or_default() },
        };
        Some((key, row, change))
    })
}

/// `None` where what stands for it stands already.
fn enters(key: &Key, row: &Row, by: Option<&Facts>, terms: &Terms) -> Option<Change> {
    let standing = Standing::of(key, &row.facts, by, terms);
    let hash = standing.hash();
    if !row.call_id.is_empty() && row.entered == hash {
        return None;
    }
    let entry = standing.row(hash, row.revision + 1, terms);
    let json = serde_json::to_string(&Settled { entry: &entry, attempts: &[] }).unwrap_or_default();
    Some(Change::Enter { hash, settlement: Box::new(Settlement { json: json.into(), entry, attempts: vec![] }) })
}

/// Which tellings stand for a call of their own, each with the lesser one that completes it.
fn standing<'a>(rows: &'a Rows, heard: &Heard) -> HashMap<&'a Key, Option<&'a Key>> {
    let events: HashMap<&str, &Key> =
        rows.keys().filter(|key| key.source == Source::Otel).map(|key| (key.request_id.as_str(), key)).collect();
    let is_better_known = |key: &Key| {
        heard.call(key).is_some() || !key.request_id.is_empty() && events.contains_key(key.request_id.as_str())
    };
    let with_message = rows.keys().filter(|key| key.source == Source::Log && !key.message_id.is_empty());
    let requests_of_messages: HashSet<&str> = with_message.map(|key| key.request_id.as_str()).collect();
    let mut standing = HashMap::with_capacity(rows.len());
    for key in events.values().filter(|key| heard.call(key).is_none()) {
        standing.insert(*key, None);
    }
    // In the order of their messages, as all rows are.
    let logged: Vec<(&Key, &Row)> = rows.iter().filter(|(key, _)| key.source == Source::Log).collect();
    for copies in logged.chunk_by(|(one, _), (other, _)| one.message_id == other.message_id) {
        let is_better_known_copy = copies.iter().any(|(key, _)| is_better_known(key));
        let has_own = copies.iter().any(|(key, row)| is_own(key, row));
        let first_copy = copies.iter().map(|(key, row)| (&row.facts.origin, *key)).min().map(|(_, key)| key);
        for &(key, row) in copies {
            let stands = if key.message_id.is_empty() {
                !is_better_known(key) && !requests_of_messages.contains(key.request_id.as_str())
            } else if is_own(key, row) {
                !is_better_known(key)
            } else {
                !has_own && !is_better_known_copy && Some(key) == first_copy
            };
            if stands {
                standing.insert(key, None);
            } else if let Some(event) = events.get(key.request_id.as_str())
                && let Some(by) = standing.get_mut(*event)
            {
                by.get_or_insert(key);
            }
        }
    }
    standing
}

/// A message's own line, and not one that a sidechain replays under another request or an old version wrote without one.
fn is_own(key: &Key, row: &Row) -> bool {
    !row.facts.origin.sidechain && !key.request_id.is_empty()
}

/// What became of a telling.
enum Done {
    Entered { hash: [u8; 16], call_id: String },
    GaveWay,
}

async fn apply<'a>(
    conn: &mut SqliteConnection,
    mut changes: impl Iterator<Item = (&'a Key, &'a Row, Change)>,
) -> sqlx::Result<Vec<(Key, Done)>> {
    let mut done = Vec::new();
    let mut made = some(&mut changes).await;
    while !made.is_empty() {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (key, row, change) in made {
            let (to, became) = match change {
                Change::Enter { hash, settlement } => {
                    let call_id = settlement.entry.call_id.clone();
                    new.push(*settlement);
                    (call_id.clone(), Done::Entered { hash, call_id })
                }
                Change::GiveWay { to } => (to, Done::GaveWay),
            };
            if !row.call_id.is_empty() {
                gone.push((row.call_id.clone(), to));
            }
            done.push((key.clone(), became));
        }
        let write = async {
            supersede(conn, &gone).await?;
            if new.is_empty() { Ok(()) } else { settling::insert_new(conn, &new).await }
        };
        let (written, next) = tokio::join!(write, some(&mut changes));
        written?;
        made = next;
    }
    Ok(done)
}

/// The next ones, made one by one while SQLite is at work: between two of them its answer is heard.
async fn some<T>(items: &mut impl Iterator<Item = T>) -> Vec<T> {
    let mut some = Vec::with_capacity(AT_ONCE);
    while some.len() < AT_ONCE
        && let Some(item) = items.next()
    {
        some.push(item);
        tokio::task::yield_now().await;
    }
    some
}

fn note(rows: &mut Rows, done: Vec<(Key, Done)>, entered: &mut Entered) {
    for (key, became) in done {
        let Some(row) = rows.get_mut(&key) else { continue };
        row.changed = true;
        match became {
            Done::Entered { hash, call_id } => {
                row.revision += 1;
                row.entered = hash;
                if std::mem::replace(&mut row.call_id, call_id).is_empty() {
                    entered.calls += 1;
                } else {
                    entered.revised += 1;
                }
            }
            Done::GaveWay => {
                row.call_id.clear();
                entered.superseded += 1;
            }
        }
    }
}

const TELLINGS: Bulk = bulk!(
    7,
    "INSERT INTO told (message_id, request_id, source, facts, call_id, revision, entered)",
    "(?,?,?,?,?,?,?)",
    " ON CONFLICT (message_id, request_id, source) DO UPDATE SET facts = excluded.facts,
         call_id = excluded.call_id, revision = excluded.revision, entered = excluded.entered"
);

async fn keep_rows(conn: &mut SqliteConnection, rows: &Rows) -> sqlx::Result<()> {
    let mut changed = rows
        .iter()
        .filter(|(_, row)| row.changed)
        .map(|(key, row)| (key, row, serde_json::to_string(&row.facts).unwrap_or_default()));
    let mut made = some(&mut changed).await;
    while !made.is_empty() {
        let kept = TELLINGS.rows(conn, &made, |(key, row, facts), cells| {
            cells.push(&key.message_id)?;
            cells.push(&key.request_id)?;
            cells.push(key.source.name())?;
            cells.push(facts)?;
            cells.push(&row.call_id)?;
            cells.push(row.revision)?;
            cells.push(row.entered.as_slice())
        });
        let (kept, next) = tokio::join!(kept, some(&mut changed));
        kept?;
        made = next;
    }
    Ok(())
}

async fn keep_files(conn: &mut SqliteConnection, files: &[FileRead]) -> sqlx::Result<()> {
    for file in files {
        let (offset, tail) = (file.offset.cast_signed(), file.tail.as_slice());
        sqlx::query!(
            "INSERT INTO log_file (path, offset, modified, tail) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET offset = excluded.offset, modified = excluded.modified, tail = excluded.tail",
            file.path,
            offset,
            file.modified,
            tail
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// How far each log was read.
pub(super) async fn log_files(db: &Db, conn: &mut SqliteConnection) -> Result<HashMap<String, FileRead>, Error> {
    let rows = sqlx::query!("SELECT * FROM log_file").fetch_all(conn).await.map_err(|error| db.error(&error))?;
    let read = rows.into_iter().filter_map(|row| {
        let tail = row.tail.try_into().ok()?;
        let (path, offset) = (row.path, row.offset.cast_unsigned());
        Some((path.clone(), FileRead { path, offset, modified: row.modified, tail }))
    });
    Ok(read.collect())
}

/// What logs and events told of calls that now came through the gateway gives way to them, copies of their messages too.
/// `heard` are requests with their calls.
pub(crate) async fn give_way(conn: &mut SqliteConnection, heard: &[(&str, &str)]) -> sqlx::Result<()> {
    if heard.is_empty() {
        return Ok(());
    }
    let heard = json(&heard)?;
    let gone = sqlx::query!(
        r#"WITH same AS (
             SELECT told.*, value ->> 1 AS by_call
             FROM json_each(?1) JOIN told ON told.request_id = value ->> 0 WHERE told.request_id <> '')
         SELECT message_id AS "message_id!: String", request_id AS "request_id!: String", source AS "source!: String",
             call_id AS "call_id!: String", by_call AS "by_call!: String" FROM same WHERE call_id <> ''
         UNION
         SELECT told.message_id, told.request_id, told.source, told.call_id, by_call
         FROM same JOIN told ON told.message_id = same.message_id
         WHERE told.message_id <> '' AND told.call_id <> ''
             AND (told.request_id = '' OR told.facts ->> '$.origin.sidechain')"#,
        heard
    )
    .fetch_all(&mut *conn)
    .await?;
    if gone.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = gone.iter().map(|row| (&row.message_id, &row.request_id, &row.source)).collect();
    let keys = json(&keys)?;
    sqlx::query!(
        "UPDATE told SET call_id = '' FROM json_each(?1) AS gone
         WHERE message_id = gone.value ->> 0 AND request_id = gone.value ->> 1 AND source = gone.value ->> 2",
        keys
    )
    .execute(&mut *conn)
    .await?;
    let gone: Vec<(String, String)> = gone.into_iter().map(|row| (row.call_id, row.by_call)).collect();
    supersede(conn, &gone).await
}
