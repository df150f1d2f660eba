//! Settled calls into the tables: each once, at the end of the chain, in the sums, and with its attempts.

use std::borrow::Cow;
use std::collections::HashSet;

use domain::call::CallId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

use crate::bulk::{Bulk, bulk};
use crate::call::{AttemptRow, EntryRow, SettledRow};
use crate::import::entering::give_way;
use crate::journal::Record;
use crate::rollup::{Change, Counted};

pub(crate) type Link = [u8; 32];

/// A call that has ended.
pub(crate) struct Settlement<'a> {
    /// As it was written down: what the chain is made of.
    pub(crate) json: Cow<'a, str>,
    pub(crate) entry: EntryRow,
    pub(crate) attempts: Vec<AttemptRow>,
}

impl<'a> Settlement<'a> {
    fn read(json: &'a str) -> sqlx::Result<Settlement<'a>> {
        let SettledRow { entry, attempts } =
            serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Settlement { json: Cow::Borrowed(json), entry, attempts })
    }
}

pub(crate) async fn settle(conn: &mut SqliteConnection, records: &[&Record]) -> sqlx::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let new = without_doubles(conn, records).await?;
    let settled = new.iter().map(|record| Settlement::read(&record.json)).collect::<sqlx::Result<Vec<_>>>()?;
    insert_new(conn, &settled).await?;
    insert_attempts(conn, &settled).await?;
    close_open_calls(conn, &settled).await?;
    let heard =
        settled.iter().filter(|settled| settled.entry.source == "gateway" && !settled.entry.request_id.is_empty());
    let heard: Vec<_> = heard.map(|settled| (&*settled.entry.request_id, &*settled.entry.call_id)).collect();
    give_way(conn, &heard).await
}

/// A call is entered once, whatever happens.
async fn without_doubles<'a>(conn: &mut SqliteConnection, settled: &[&'a Record]) -> sqlx::Result<Vec<&'a Record>> {
    let ids = json(&settled.iter().map(|record| record.call.to_string()).collect::<Vec<_>>())?;
    let doubles =
        sqlx::query_scalar!("SELECT call_id FROM entry WHERE call_id IN (SELECT value FROM json_each(?1))", ids)
            .fetch_all(conn)
            .await?;
    let mut seen: HashSet<CallId> = doubles.iter().filter_map(|id| id.parse().ok()).collect();
    Ok(settled.iter().copied().filter(|record| seen.insert(record.call)).collect())
}

/// Entries that are not there yet, at the end of the chain and in the sums.
pub(crate) async fn insert_new(conn: &mut SqliteConnection, settled: &[Settlement<'_>]) -> sqlx::Result<()> {
    let (links, head) = chain(head_of_chain(conn).await?, settled);
    insert_entries(conn, settled, &links).await?;
    let mut change = Change::default();
    settled.iter().for_each(|settled| change.enter(Counted::of(&settled.entry)));
    change.apply(conn).await?;
    let head = head.as_slice();
    sqlx::query!("UPDATE meta SET chain = ?1", head).execute(conn).await?;
    Ok(())
}

async fn head_of_chain(conn: &mut SqliteConnection) -> sqlx::Result<Link> {
    let head = sqlx::query_scalar!("SELECT chain FROM meta").fetch_one(conn).await?;
    head.try_into().map_err(|_| sqlx::Error::Decode("the head of the chain has a wrong length".into()))
}

pub(crate) fn link(previous: &Link, entry: &str) -> Link {
    Sha256::new().chain_update(previous).chain_update(entry).finalize().into()
}

/// The link of each, and the new head.
fn chain(head: Link, settled: &[Settlement<'_>]) -> (Vec<Link>, Link) {
    let mut head = head;
    let links = settled
        .iter()
        .map(|settled| {
            head = link(&head, &settled.json);
            head
        })
        .collect();
    (links, head)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// For one statement that takes many rows.
pub(crate) fn json(value: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

const ENTRIES: Bulk = bulk!(
    42,
    "INSERT INTO entry (
         call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
         stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
         cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches,
         batch, fast, us_only, cost_nanos, price_id, estimated, source, waited_ms, first_byte_ms, total_ms, cache, error,
         account, saved_nanos, waited_for, chain)",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    ""
);

async fn insert_entries(conn: &mut SqliteConnection, settled: &[Settlement<'_>], links: &[Link]) -> sqlx::Result<()> {
    let rows: Vec<_> = settled.iter().map(|settled| &settled.entry).zip(links).collect();
    ENTRIES.rows(conn, &rows, |(entry, link), cells| entry.push(cells, link)).await
}

async fn insert_attempts(conn: &mut SqliteConnection, settled: &[Settlement<'_>]) -> sqlx::Result<()> {
    let mut rows = Vec::with_capacity(settled.len());
    for Settlement { entry, attempts, .. } in settled {
        rows.extend(attempts.iter().map(|attempt| attempt.cells(&entry.call_id)));
    }
    let rows = json(&rows)?;
    sqlx::query!(
        "INSERT INTO attempt (call_id, number, upstream, opened_at, status, request_id, error, maybe_billed)
         SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]',
             value ->> '$[5]', value ->> '$[6]', value ->> '$[7]'
         FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO NOTHING",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn close_open_calls(conn: &mut SqliteConnection, settled: &[Settlement<'_>]) -> sqlx::Result<()> {
    let ids = json(&settled.iter().map(|settled| &settled.entry.call_id).collect::<Vec<_>>())?;
    sqlx::query!("DELETE FROM open_call WHERE call_id IN (SELECT value FROM json_each(?1))", ids).execute(conn).await?;
    Ok(())
}
