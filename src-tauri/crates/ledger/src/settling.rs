//! Settled calls into the tables: each once, at the end of the chain, in the sums, and with its attempts.

use std::borrow::Cow;
use std::collections::HashSet;

use domain::call::CallId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

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
    let cells: Vec<_> = settled.iter().zip(&links).map(|(settled, link)| settled.entry.cells(link)).collect();
    insert_entries(conn, &json(&cells)?).await?;
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
fn chain(head: Link, settled: &[Settlement<'_>]) -> (Vec<String>, Link) {
    let mut head = head;
    let links = settled
        .iter()
        .map(|settled| {
            head = link(&head, &settled.json);
            hex(&head)
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

/// `rows` are cells in the order of the columns, in three groups: SQLite walks to each from the start of its group.
async fn insert_entries(conn: &mut SqliteConnection, rows: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO entry (
             call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
             stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
             cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches,
             batch, fast, us_only, cost_nanos, price_id, estimated, source, waited_ms, first_byte_ms, total_ms, cache, error,
             account, saved_nanos, chain)
         SELECT value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]', value ->> '$[0][3]', value ->> '$[0][4]',
             value ->> '$[0][5]', value ->> '$[0][6]', value ->> '$[0][7]', value ->> '$[0][8]', value ->> '$[0][9]',
             value ->> '$[0][10]', value ->> '$[0][11]', value ->> '$[0][12]',
             value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]', value ->> '$[1][3]', value ->> '$[1][4]',
             value ->> '$[1][5]', value ->> '$[1][6]', value ->> '$[1][7]', value ->> '$[1][8]', value ->> '$[1][9]',
             value ->> '$[1][10]', value ->> '$[1][11]', value ->> '$[1][12]',
             value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> '$[2][3]', value ->> '$[2][4]',
             value ->> '$[2][5]', value ->> '$[2][6]', value ->> '$[2][7]', value ->> '$[2][8]', value ->> '$[2][9]',
             value ->> '$[2][10]', value ->> '$[2][11]', value ->> '$[2][12]', value ->> '$[2][13]', unhex(value ->> '$[2][14]')
         FROM jsonb_each(?1)",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
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
