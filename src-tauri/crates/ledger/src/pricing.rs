//! History at other prices: asked for, never by itself. Entries stay; what a call costs now is a row of its own,
//! which says what it cost before, when that changed and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::call::{CallId, Outcome};
use domain::catalog::{AND, Catalog, Charge, FAMILY, FREE, PRIORITY};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use serde::Serialize;
use sqlx::{Connection, SqliteConnection};

use crate::call::COST_MAX;
use crate::db::CHECKPOINT_PAGES;
use crate::rollup;
use crate::settling::{Link, hex, json, link};
use crate::{Error, Ledger};

/// Calls that are repriced in one transaction: it must not keep those waiting that come in.
const PAGE: u32 = 2_000;

/// Kinds of changes that are told apart.
const CHANGES_MAX: usize = 500;

/// By what calls are priced anew, and which.
pub struct Repricing<'a> {
    /// Those that started from then on.
    pub from: Timestamp,
    /// And before then.
    pub to: Timestamp,
    pub catalog: &'a Catalog,
    pub now: Timestamp,
    /// Stands in the ledger beside each.
    pub reason: &'a str,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What it came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repriced {
    pub calls: u64,
    pub repriced: u64,
    /// Of those, calls that had no price.
    pub were_unpriced: u64,
    /// Calls that several models worked on, and free ones: their price doesn't follow from what the ledger has.
    pub kept: u64,
    pub still_unpriced: u64,
    /// Of all that were looked at.
    pub before: Usd,
    pub after: Usd,
    /// By model, old price and new.
    pub changes: BTreeMap<(String, String, String), Changed>,
}

/// It stopped on the way: what is done stays, and asking once more does the rest.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unfinished {
    /// Calls that have their new price.
    pub repriced: u64,
    /// The start of the last call that was looked at.
    pub through: Timestamp,
    pub error: Error,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    pub calls: u64,
    /// `None` where the calls had none.
    pub before: Option<Usd>,
    pub after: Usd,
}

/// One time a call got another price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PriceChange {
    pub at: Timestamp,
    /// '' for none.
    pub old_price_id: String,
    pub old_cost: Option<Usd>,
    pub price_id: String,
    pub cost: Usd,
    pub estimated: bool,
    pub reason: String,
}

/// A call as it counts now.
struct Present {
    seq: i64,
    call_id: String,
    started_at: i64,
    upstream: String,
    model: String,
    outcome: String,
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    web_searches: i64,
    batch: i64,
    fast: i64,
    us_only: i64,
    cost_nanos: Option<i64>,
    price_id: String,
    estimated: i64,
    source: String,
    cache: String,
}

/// What becomes of a call.
enum Fate {
    /// It has this price already, or there is none.
    Same,
    /// Its price doesn't follow from what the ledger has.
    Kept,
    New(Fresh),
}

/// The price that a call gets.
struct Fresh {
    cost: Usd,
    price_id: Arc<str>,
    estimated: bool,
}

/// A row of `repriced`; its JSON is what the chain is made of.
#[derive(Serialize)]
struct Trace<'a> {
    seq: i64,
    at: i64,
    old_price_id: &'a str,
    old_cost_nanos: Option<i64>,
    price_id: &'a str,
    cost_nanos: i64,
    estimated: i64,
    reason: &'a str,
}

impl Ledger {
    /// Gives the calls of a time the prices that the catalogue has for them. May be dropped at any moment, and asked again.
    pub async fn reprice(&self, ask: &Repricing<'_>) -> Result<Repriced, Unfinished> {
        let (mut repriced, mut through) = (0, ask.from);
        let whole = self.reprice_pages(ask, |done, last| (repriced, through) = (done, last)).await;
        whole.map_err(|error| Unfinished { repriced, through, error })
    }

    /// `done` hears after each page how many calls have a new price and when the last one started.
    async fn reprice_pages(
        &self,
        ask: &Repricing<'_>,
        mut done: impl FnMut(u64, Timestamp),
    ) -> Result<Repriced, Error> {
        self.flush().await?;
        let mut conn = self.db.writer().await?;
        let mut repriced = Repriced::default();
        let mut after = (ask.from.as_millis(), i64::MIN);
        loop {
            let page = reprice_page(&mut conn, ask, after, &mut repriced).await;
            match page.map_err(|error| self.db.error(&error))? {
                Some(last) => after = last,
                None => return Ok(repriced),
            }
            done(repriced.repriced, Timestamp::from_millis(after.0));
            self.db.checkpoint(&mut conn, CHECKPOINT_PAGES).await?;
        }
    }

    /// How a call came to its present price, from the first change.
    pub async fn price_changes(&self, id: CallId) -> Result<Vec<PriceChange>, Error> {
        let id = id.to_string();
        let rows = sqlx::query!(
            "SELECT at, old_price_id, old_cost_nanos, repriced.price_id, repriced.cost_nanos, repriced.estimated, reason
             FROM entry JOIN repriced ON repriced.seq = entry.seq WHERE call_id = ?1 ORDER BY number",
            id
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        let changes = rows.into_iter().map(|row| PriceChange {
            at: Timestamp::from_millis(row.at),
            old_price_id: row.old_price_id,
            old_cost: row.old_cost_nanos.map(Usd::from_nanos),
            price_id: row.price_id,
            cost: Usd::from_nanos(row.cost_nanos),
            estimated: row.estimated != 0,
            reason: row.reason,
        });
        Ok(changes.collect())
    }

    /// Calls that count and started from a moment on.
    pub async fn calls_since(&self, from: Timestamp) -> Result<u64, Error> {
        self.flush().await?;
        let from = from.as_millis();
        let calls = sqlx::query_scalar!(
            r#"SELECT count(*) AS "calls!: i64" FROM counted WHERE started_at >= ?1 AND outcome <> 'refused'"#,
            from
        );
        let calls = calls.fetch_one(&self.readers).await.map_err(|error| self.db.error(&error))?;
        Ok(u64::try_from(calls).unwrap_or(0))
    }

    /// The number of the first row that was changed, or before which one was removed; 0 where the last ones were removed.
    pub(crate) async fn break_of_trace(&self) -> Result<Option<i64>, Error> {
        let fail = |error: sqlx::Error| self.db.error(&error);
        let mut head: Link = [0; 32];
        let mut after = 0;
        loop {
            // Calls may be repriced meanwhile: the end is of the moment at which no more rows are found.
            let mut tx = self.readers.begin().await.map_err(fail)?;
            let rows = sqlx::query!("SELECT * FROM repriced WHERE number > ?1 ORDER BY number LIMIT 500", after)
                .fetch_all(&mut *tx)
                .await
                .map_err(fail)?;
            let Some(last) = rows.last() else {
                let end = sqlx::query_scalar!("SELECT repriced_chain FROM meta").fetch_one(&mut *tx).await;
                return Ok((end.map_err(fail)? != head).then_some(0));
            };
            after = last.number;
            for row in &rows {
                let trace = Trace {
                    seq: row.seq,
                    at: row.at,
                    old_price_id: &row.old_price_id,
                    old_cost_nanos: row.old_cost_nanos,
                    price_id: &row.price_id,
                    cost_nanos: row.cost_nanos,
                    estimated: row.estimated,
                    reason: &row.reason,
                };
                head = link(&head, &serde_json::to_string(&trace).unwrap_or_default());
                if row.chain != head {
                    return Ok(Some(row.number));
                }
            }
        }
    }
}

/// The calls after `after` in one transaction; where the last of them is, `None` where there are no more.
async fn reprice_page(
    conn: &mut SqliteConnection,
    ask: &Repricing<'_>,
    after: (i64, i64),
    repriced: &mut Repriced,
) -> sqlx::Result<Option<(i64, i64)>> {
    // Nothing may come in between the price that a call has and the one that it gets.
    let mut tx = conn.begin_with(if ask.dry_run { "BEGIN" } else { "BEGIN IMMEDIATE" }).await?;
    let page = page(&mut tx, after, ask.to.as_millis()).await?;
    let last = page.last().map(|call| (call.started_at, call.seq));
    let mut changes = vec![];
    for call in page {
        match call.fate(ask.catalog) {
            Fate::New(fresh) => {
                repriced.note(&call, Some(&fresh), ask.catalog);
                changes.push((call, fresh));
            }
            Fate::Same => repriced.note(&call, None, ask.catalog),
            Fate::Kept => {
                repriced.kept += 1;
                repriced.note(&call, None, ask.catalog);
            }
        }
    }
    if !ask.dry_run && !changes.is_empty() {
        write(&mut tx, &changes, ask).await?;
    }
    tx.commit().await?;
    Ok(last)
}

async fn page(conn: &mut SqliteConnection, after: (i64, i64), to: i64) -> sqlx::Result<Vec<Present>> {
    let (from, seq) = after;
    sqlx::query_as!(
        Present,
        r#"SELECT seq AS "seq!: i64", call_id AS "call_id!: String", started_at AS "started_at!: i64",
             upstream AS "upstream!: String", model AS "model!: String", outcome AS "outcome!: String",
             input_tokens AS "input!: i64", cache_write_5m_tokens AS "cache_write_5m!: i64",
             cache_write_1h_tokens AS "cache_write_1h!: i64", cache_read_tokens AS "cache_read!: i64",
             output_tokens AS "output!: i64", web_searches AS "web_searches!: i64", batch AS "batch!: i64",
             fast AS "fast!: i64", us_only AS "us_only!: i64", cost_nanos AS "cost_nanos?: i64",
             price_id AS "price_id!: String", estimated AS "estimated!: i64", source AS "source!: String",
             cache AS "cache!: String"
         FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND (started_at, seq) > (?1, ?3)
             AND outcome <> 'refused' ORDER BY started_at, seq LIMIT ?4"#,
        from,
        to,
        seq,
        PAGE
    )
    .fetch_all(conn)
    .await
}

/// The new prices, their trace and the sums that they change.
async fn write(conn: &mut SqliteConnection, changes: &[(Present, Fresh)], ask: &Repricing<'_>) -> sqlx::Result<()> {
    let head = sqlx::query_scalar!("SELECT repriced_chain FROM meta").fetch_one(&mut *conn).await?;
    let mut head: Link =
        head.try_into().map_err(|_| sqlx::Error::Decode("the head of the trace has a wrong length".into()))?;
    let rows: Vec<_> = changes
        .iter()
        .map(|(call, fresh)| {
            let trace = Trace {
                seq: call.seq,
                at: ask.now.as_millis(),
                old_price_id: &call.price_id,
                old_cost_nanos: call.cost_nanos,
                price_id: &fresh.price_id,
                cost_nanos: fresh.cost.as_nanos(),
                estimated: fresh.estimated.into(),
                reason: ask.reason,
            };
            head = link(&head, &serde_json::to_string(&trace).unwrap_or_default());
            (trace, hex(&head))
        })
        .collect();
    let calls = json(&changes.iter().map(|(call, _)| &call.call_id).collect::<Vec<_>>())?;
    let mut sums = rollup::Change::default();
    rollup::counted(conn, &calls).await?.into_iter().for_each(|entry| sums.take_out(entry));
    insert(conn, &json(&rows)?).await?;
    rollup::counted(conn, &calls).await?.into_iter().for_each(|entry| sums.enter(entry));
    sums.apply(conn).await?;
    let head = head.as_slice();
    sqlx::query!("UPDATE meta SET repriced_chain = ?1", head).execute(conn).await?;
    Ok(())
}

async fn insert(conn: &mut SqliteConnection, rows: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO repriced (seq, at, old_price_id, old_cost_nanos, price_id, cost_nanos, estimated, reason, chain)
         SELECT value ->> '$[0].seq', value ->> '$[0].at', value ->> '$[0].old_price_id', value ->> '$[0].old_cost_nanos',
             value ->> '$[0].price_id', value ->> '$[0].cost_nanos', value ->> '$[0].estimated', value ->> '$[0].reason',
             unhex(value ->> '$[1]')
         FROM json_each(?1) ORDER BY key",
        rows
    )
    .execute(conn)
    .await?;
    Ok(())
}

impl Present {
    fn fate(&self, catalog: &Catalog) -> Fate {
        let usage = self.usage();
        if self.price_id.contains(AND) || self.price_id.starts_with(FREE) || self.is_free(&usage) {
            return Fate::Kept;
        }
        let priced = self.priced_model(catalog);
        // The id that was asked for may say where the model runs, which a price's id does not.
        let model = if catalog.is_same_model(&self.model, &priced) { &self.model } else { &priced };
        let at = Timestamp::from_millis(self.started_at);
        let charge = catalog.charge(&self.upstream, model, &usage, at);
        let charge = if self.price_id.starts_with(PRIORITY) { charge.of_priority() } else { charge };
        let Charge { cost: Some(cost), price_id: Some(price_id), estimated } = charge else {
            // A price that was known once is not forgotten.
            return if self.cost_nanos.is_some() { Fate::Kept } else { Fate::Same };
        };
        let (cost, estimated) = (cost.min(COST_MAX), estimated || self.is_usage_estimated());
        let is_same = Some(cost.as_nanos()) == self.cost_nanos
            && *price_id == *self.price_id
            && i64::from(estimated) == self.estimated;
        if is_same { Fate::Same } else { Fate::New(Fresh { cost, price_id, estimated }) }
    }

    /// It used something and costs nothing: declined before the first word, or answered from the cache.
    fn is_free(&self, usage: &Usage) -> bool {
        let is_own = self.price_id.starts_with("own:");
        self.cache == "hit" || (self.cost_nanos == Some(0) && *usage != Usage::default() && !is_own)
    }

    /// The model that answered may be another than the one that was asked for.
    fn priced_model(&self, catalog: &Catalog) -> String {
        let named = catalog.model_of(&self.price_id);
        named.map_or_else(|| self.model.clone(), |model| model.to_string())
    }

    /// Whether what was used is an estimate; where the price was one too, the ledger has only that something was.
    fn is_usage_estimated(&self) -> bool {
        if !self.price_id.contains(FAMILY) {
            return self.estimated != 0 && !self.price_id.starts_with(PRIORITY);
        }
        let is_whole = matches!(Outcome::named(&self.outcome), Some(Outcome::Completed | Outcome::Failed));
        !is_whole || (self.source == "otel" && self.cache_write_5m > 0)
    }

    fn usage(&self) -> Usage {
        let natural = |count: i64| u64::try_from(count).unwrap_or(0);
        Usage {
            tokens: Tokens {
                input: natural(self.input),
                cache_write_5m: natural(self.cache_write_5m),
                cache_write_1h: natural(self.cache_write_1h),
                cache_read: natural(self.cache_read),
                output: natural(self.output),
            },
            web_searches: natural(self.web_searches),
            batch: self.batch != 0,
            fast: self.fast != 0,
            us_only: self.us_only != 0,
        }
    }
}

impl Repriced {
    fn note(&mut self, call: &Present, fresh: Option<&Fresh>, catalog: &Catalog) {
        let before = call.cost_nanos.map(Usd::from_nanos);
        let after = fresh.map(|fresh| fresh.cost).or(before);
        self.calls += 1;
        self.before += before.unwrap_or_default();
        self.after += after.unwrap_or_default();
        self.still_unpriced += u64::from(after.is_none());
        let Some(fresh) = fresh else { return };
        self.repriced += 1;
        self.were_unpriced += u64::from(before.is_none());
        let key = (call.priced_model(catalog), call.price_id.clone(), fresh.price_id.to_string());
        if self.changes.len() >= CHANGES_MAX && !self.changes.contains_key(&key) {
            return;
        }
        let changed = self.changes.entry(key).or_default();
        changed.calls += 1;
        changed.before = before.map(|before| before + changed.before.unwrap_or_default()).or(changed.before);
        changed.after += fresh.cost;
    }
}
