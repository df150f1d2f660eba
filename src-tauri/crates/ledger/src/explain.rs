//! Where the money of a span of time went: by what it was paid for, by model, and down to the dearest sessions.
//!
//! Calls are read in the order of their start, some thousand at once: what is held besides is what each session's
//! conversations left in the upstream's cache within the last hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::catalog::{Catalog, PRIORITY};
use domain::money::Usd;
use domain::price::Price;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use serde::Deserialize;

use crate::{Error, Ledger};

mod cached;
mod parts;

pub use parts::Reason;

use cached::Caches;
use parts::parts;

/// Sessions that are told of one by one.
pub const SESSIONS_MAX: u32 = 5;

/// Calls held at once.
const CHUNK: u32 = 4_000;

/// Models that are told apart; a client may make names up.
const MODELS_MAX: usize = 256;

/// Prices that are kept at hand.
const PRICES_MAX: usize = 4_096;

/// What some calls came to together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    pub calls: u64,
    pub cost: Usd,
}

impl Share {
    fn add(&mut self, cost: Usd) {
        self.calls += 1;
        self.cost += cost;
    }
}

/// Calls whose price is known, and how their cost is made up. Each way of dividing it adds up to `cost`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bill {
    pub calls: u64,
    /// Not in it, because nobody knows what they cost.
    pub unpriced_calls: u64,
    pub cost: Usd,
    /// What it was paid for; a discount is below zero. The dearest first.
    pub reasons: Vec<(Reason, Share)>,
    /// Calls that agents of a session made.
    pub subagents: Share,
    /// '' for all beyond the first few hundred. The dearest first.
    pub models: Vec<(String, Share)>,
    /// Tokens that were written into a cache once more, because what stood before them had changed.
    pub rewritten_tokens: u64,
}

/// Whose session it was; `session` is '' for the calls of a client that belong to none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionName {
    pub client: String,
    pub session: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionBill {
    pub name: SessionName,
    /// Of its last call.
    pub project: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub bill: Bill,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    pub bill: Bill,
    /// The dearest first.
    pub sessions: Vec<SessionBill>,
}

/// What a bill is made of, as it stands in an entry.
#[derive(Deserialize)]
struct Row {
    seq: i64,
    started_at: i64,
    client: String,
    session: String,
    agent: String,
    project: String,
    upstream: String,
    model: String,
    input: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
    output: u64,
    web_searches: u64,
    batch: i64,
    fast: i64,
    us_only: i64,
    cost: Option<i64>,
    price_id: String,
}

impl Row {
    fn usage(&self) -> Usage {
        Usage {
            tokens: Tokens {
                input: self.input,
                cache_write_5m: self.cache_write_5m,
                cache_write_1h: self.cache_write_1h,
                cache_read: self.cache_read,
                output: self.output,
            },
            web_searches: self.web_searches,
            batch: self.batch != 0,
            fast: self.fast != 0,
            us_only: self.us_only != 0,
        }
    }
}

impl Ledger {
    /// Explains the calls that started from `from` on and before `to`.
    pub async fn explain(&self, catalog: &Catalog, from: Timestamp, to: Timestamp) -> Result<Explanation, Error> {
        self.flush().await?;
        let (from, to) = (from.as_millis(), to.as_millis());
        let mut sum = Summing::new(catalog, self.dearest_sessions(from, to).await?);
        let mut rows = self.rows_of_bill(from, to, (i64::MIN, i64::MIN)).await?;
        while let Some(last) = rows.last() {
            let next = self.rows_of_bill(from, to, (last.started_at, last.seq));
            // SQLite looks for the next ones while these are added.
            let (next, ()) = tokio::join!(next, async { rows.iter().for_each(|row| sum.add(row)) });
            rows = next?;
        }
        Ok(sum.explained())
    }

    async fn dearest_sessions(&self, from: i64, to: i64) -> Result<Vec<SessionName>, Error> {
        sqlx::query_as!(
            SessionName,
            "SELECT client, session FROM counted
             WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused' AND cost_nanos > 0
             GROUP BY client, session ORDER BY sum(cost_nanos) DESC, client, session LIMIT ?3",
            from,
            to,
            SESSIONS_MAX
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))
    }

    /// As one text: a value of its own for each of many columns costs more than reading that.
    async fn rows_of_bill(&self, from: i64, to: i64, after: (i64, i64)) -> Result<Vec<Row>, Error> {
        // The index is entered where the last answer ended, not where the first began.
        let (from, (after_time, after_seq)) = (from.max(after.0), after);
        let rows = sqlx::query_scalar!(
            r#"SELECT json_group_array(json_array(seq, started_at, client, session, agent, project, upstream, model, input_tokens,
                 cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast,
                 us_only, cost_nanos, price_id)) AS "rows!: String"
             FROM (SELECT seq, started_at, client, session, agent, project, upstream, model, input_tokens,
                     cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast,
                     us_only, cost_nanos, price_id
                 FROM counted WHERE started_at >= ?1 AND started_at < ?2 AND outcome <> 'refused'
                 AND (started_at, seq) > (?3, ?4) ORDER BY started_at, seq LIMIT ?5)"#,
            from,
            to,
            after_time,
            after_seq,
            CHUNK
        )
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.db.error(&error))?;
        serde_json::from_str(&rows).map_err(|_| self.db.unreadable("an entry"))
    }
}

/// Sums in the making.
struct Summing<'a> {
    catalog: &'a Catalog,
    /// By id, as far as rows were met.
    prices: BTreeMap<String, Option<Arc<Price>>>,
    caches: Caches,
    whole: Sums,
    /// Those that are told of, from the dearest.
    sessions: Vec<(SessionName, Option<SessionSums>)>,
}

struct SessionSums {
    project: String,
    from: i64,
    to: i64,
    sums: Sums,
}

impl<'a> Summing<'a> {
    fn new(catalog: &'a Catalog, sessions: Vec<SessionName>) -> Summing<'a> {
        Summing {
            catalog,
            prices: BTreeMap::new(),
            caches: Caches::default(),
            whole: Sums::default(),
            sessions: sessions.into_iter().map(|name| (name, None)).collect(),
        }
    }

    fn add(&mut self, row: &Row) {
        let usage = row.usage();
        let rewritten =
            self.caches.rewritten(&[&row.client, &row.session, &row.agent, &row.model], row.started_at, &usage);
        // Without a session nobody knows which calls belong together.
        let rewritten = if row.session.is_empty() { 0 } else { rewritten };
        let price = self.price(row);
        let price = price.as_deref();
        let cost = row.cost.map(Usd::from_nanos);
        let paid = cost.map(|cost| (cost, parts(price, &usage, rewritten, cost)));
        self.whole.add(row, paid.as_ref(), rewritten);
        let session =
            self.sessions.iter_mut().find(|(name, _)| name.client == row.client && name.session == row.session);
        if let Some((_, session)) = session {
            let from = row.started_at;
            let session = session.get_or_insert_with(|| SessionSums {
                project: String::new(),
                from,
                to: from,
                sums: Sums::default(),
            });
            session.project.clone_from(&row.project);
            session.to = row.started_at;
            session.sums.add(row, paid.as_ref(), rewritten);
        }
    }

    /// The price that a call was charged at. Of several models' work the ledger doesn't know each part.
    fn price(&mut self, row: &Row) -> Option<Arc<Price>> {
        if let Some(known) = self.prices.get(&row.price_id) {
            return known.clone();
        }
        if self.prices.len() >= PRICES_MAX {
            self.prices.clear();
        }
        let price = priced(self.catalog, row);
        self.prices.insert(row.price_id.clone(), price.clone());
        price
    }

    fn explained(self) -> Explanation {
        let sessions = self.sessions.into_iter().filter_map(|(name, session)| {
            let SessionSums { project, from, to, sums } = session?;
            let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
            Some(SessionBill { name, project, from, to, bill: sums.bill() })
        });
        Explanation { sessions: sessions.collect(), bill: self.whole.bill() }
    }
}

fn priced(catalog: &Catalog, row: &Row) -> Option<Arc<Price>> {
    let id = row.price_id.strip_prefix(PRIORITY).unwrap_or(&row.price_id);
    if let Some(listed) = catalog.prices().find(|price| *price.id == *id) {
        return Some(listed.clone());
    }
    let priced = catalog.model_of(id)?;
    let at = Timestamp::from_millis(row.started_at);
    // The id that was asked for may say where the model runs, which a price's id does not.
    let quotes = [&*row.model, &*priced].into_iter().filter_map(|model| catalog.quote(&row.upstream, model, at));
    quotes.map(|quote| quote.price).find(|price| *price.id == *id)
}

#[derive(Default)]
struct Sums {
    bill: Bill,
    reasons: BTreeMap<Reason, Share>,
    models: BTreeMap<String, Share>,
}

impl Sums {
    fn add(&mut self, row: &Row, paid: Option<&(Usd, Vec<(Reason, Usd)>)>, rewritten: u64) {
        self.bill.calls += 1;
        let Some((cost, parts)) = paid else {
            self.bill.unpriced_calls += 1;
            return;
        };
        self.bill.cost += *cost;
        self.bill.rewritten_tokens = self.bill.rewritten_tokens.saturating_add(rewritten);
        for (reason, part) in parts {
            self.reasons.entry(*reason).or_default().add(*part);
        }
        if !row.agent.is_empty() {
            self.bill.subagents.add(*cost);
        }
        self.model(&row.model).add(*cost);
    }

    fn model(&mut self, model: &str) -> &mut Share {
        let is_apart = self.models.len() < MODELS_MAX || self.models.contains_key(model);
        self.models.entry(if is_apart { model.to_owned() } else { String::new() }).or_default()
    }

    fn bill(self) -> Bill {
        let mut reasons: Vec<(Reason, Share)> = self.reasons.into_iter().collect();
        let mut models: Vec<(String, Share)> = self.models.into_iter().collect();
        reasons.sort_by_key(|(_, share)| std::cmp::Reverse(share.cost));
        models.sort_by_key(|(_, share)| std::cmp::Reverse(share.cost));
        Bill { reasons, models, ..self.bill }
    }
}
