//! What is still open at the start was interrupted: it is closed from what was metered, never as nothing.

use domain::call::{Attempt, CacheUse, Call, Checkpoint, Entry, Opening, Outcome, Source};
use domain::catalog::{Catalog, Charge};
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use sqlx::SqliteConnection;

use crate::Error;
use crate::call::{CallRow, OpeningRow, ShownRow, Unreadable};
use crate::db::Db;

/// A call that left and whose end nobody saw.
struct Interrupted {
    call: Call,
    /// At least one, in order.
    openings: Vec<Opening>,
    checkpoint: Option<(Checkpoint, Timestamp)>,
}

/// Each with what admission had reserved for its last attempt.
pub(crate) async fn interrupted(
    db: &Db,
    conn: &mut SqliteConnection,
    catalog: &Catalog,
) -> Result<Vec<(Entry, Usage)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT call, usage, used_at, (
             SELECT json_group_array(json(opening)) FROM (
                 SELECT opening FROM open_attempt WHERE open_attempt.call_id = open_call.call_id ORDER BY number)
         ) AS "openings!: String" FROM open_call ORDER BY call_id"#
    )
    .fetch_all(conn)
    .await
    .map_err(|error| db.error(&error))?;
    rows.iter()
        .map(|row| {
            let read = Interrupted::read(&row.call, &row.openings, row.usage.as_deref(), row.used_at);
            read.map(|call| call.closed(catalog)).map_err(|Unreadable| db.unreadable("an open call"))
        })
        .collect()
}

impl Interrupted {
    fn read(call: &str, openings: &str, usage: Option<&str>, used_at: Option<i64>) -> Result<Interrupted, Unreadable> {
        let call: CallRow = serde_json::from_str(call).map_err(|_| Unreadable)?;
        let openings: Vec<OpeningRow> = serde_json::from_str(openings).map_err(|_| Unreadable)?;
        let shown: Option<ShownRow> = usage.map(serde_json::from_str).transpose().map_err(|_| Unreadable)?;
        let shown = shown.map(ShownRow::into_checkpoint).transpose()?;
        Ok(Interrupted {
            call: call.into_call()?,
            openings: openings.into_iter().map(OpeningRow::into_opening).collect::<Result<_, _>>()?,
            checkpoint: shown.zip(used_at.map(Timestamp::from_millis)),
        })
    }

    fn closed(self, catalog: &Catalog) -> (Entry, Usage) {
        let reserved = self.openings.last().map(|last| last.reserved).unwrap_or_default();
        (self.into_entry(catalog), reserved)
    }

    fn into_entry(self, catalog: &Catalog) -> Entry {
        let Interrupted { call, openings, checkpoint } = self;
        let opened_at = openings.last().map_or(call.started_at, |last| last.at);
        let has_shown = checkpoint.as_ref().is_some_and(|(shown, at)| is_of_the_last(shown, *at, &openings));
        // What earlier attempts had used is owed beside the last one, of which nobody heard.
        let before = checkpoint.as_ref().map(|(shown, _)| shown.usage).unwrap_or_default();
        let (Checkpoint { usage, answer }, ended_at) = checkpoint.filter(|_| has_shown).unwrap_or_else(|| {
            let least = least(openings.last().map(|last| last.reserved));
            let usage = Usage { tokens: before.tokens + least.tokens, ..least };
            (Checkpoint { usage, answer: None }, opened_at)
        });
        let upstream = openings.last().map_or("", |last| &*last.upstream);
        let Charge { cost, price_id, .. } = catalog.charge(upstream, &call.model, &usage, call.started_at);
        let last = openings.len();
        let attempts = openings.iter().enumerate().map(|(i, opening)| {
            let answer = answer.as_ref().filter(|answer| answer.attempt == opening.number);
            Attempt {
                number: opening.number,
                upstream: opening.upstream.clone(),
                opened_at: opening.at,
                status: answer.map(|answer| answer.status),
                request_id: answer.and_then(|answer| answer.request_id.clone()),
                error: None,
                maybe_billed: i + 1 == last && !has_shown,
            }
        });
        let waited = openings.first().map_or(0, |first| millis_between(call.started_at, first.at));
        Entry {
            ended_at,
            attempts: attempts.collect(),
            status: answer.as_ref().map_or(0, |answer| answer.status),
            outcome: Outcome::Interrupted,
            usage,
            cost,
            price_id,
            estimated: true,
            source: Source::Gateway,
            waited_ms: waited,
            waited_for: None,
            first_byte_ms: answer.as_ref().map(|answer| answer.first_byte_ms),
            total_ms: millis_between(call.started_at, ended_at),
            cache: CacheUse::Off,
            saved: None,
            error: Some("Tidegate ended while the call ran".into()),
            account: answer.and_then(|answer| answer.account),
            call,
        }
    }
}

/// Not of one before: that nothing was used, or what broke off, is said when an attempt is over.
fn is_of_the_last(shown: &Checkpoint, at: Timestamp, openings: &[Opening]) -> bool {
    let Some(last) = openings.last() else { return true };
    let is_first = openings.len() == 1 && shown.usage != Usage::default();
    is_first || at > last.at || shown.answer.as_ref().is_some_and(|answer| answer.attempt == last.number)
}

/// The upstream has read the prompt and begun to answer; more than that nobody knows.
fn least(reserved: Option<Usage>) -> Usage {
    let reserved = reserved.unwrap_or_default();
    let output = reserved.tokens.output.min(1).max(u64::from(reserved.tokens.prompt() == 0));
    Usage { tokens: Tokens { output, ..reserved.tokens }, ..reserved }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
