//! Calls as rows and as the JSON that stands in the journal: integers, and texts in which '' is "none".

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::call::{
    Answered, Attempt, Attribution, CacheUse, Call, CallId, Checkpoint, Class, Entry, Opening, Outcome, Source,
};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use serde::{Deserialize, Serialize};
use sqlx::error::BoxDynError;

use crate::bulk::Cells;

/// No call uses more of anything; a larger count is nonsense that must not break the sums.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// A million dollars: no call costs more.
pub(crate) const COST_MAX: Usd = Usd::from_nanos(1_000_000_000_000_000);

/// Longer names and messages are cut.
const TEXT_BYTES_MAX: usize = 1024;

/// Further tags are left out.
const TAGS_MAX: usize = 64;

/// What went wrong with a row, for the sentence a person reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

/// An entry as it stands in SQLite. Its JSON (with the attempts) is what the chain is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    #[serde(skip)]
    pub(crate) seq: i64,
    pub(crate) call_id: String,
    pub(crate) started_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) client: String,
    pub(crate) person: String,
    pub(crate) project: String,
    pub(crate) tenant: String,
    pub(crate) session: String,
    pub(crate) agent: String,
    pub(crate) tags: String,
    pub(crate) class: String,
    pub(crate) model: String,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) stream: i64,
    pub(crate) body_bytes: i64,
    pub(crate) upstream: String,
    pub(crate) request_id: String,
    pub(crate) attempts: i64,
    pub(crate) status: i64,
    pub(crate) outcome: String,
    pub(crate) input_tokens: i64,
    pub(crate) cache_write_5m_tokens: i64,
    pub(crate) cache_write_1h_tokens: i64,
    pub(crate) cache_read_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) web_searches: i64,
    pub(crate) batch: i64,
    pub(crate) fast: i64,
    pub(crate) us_only: i64,
    pub(crate) cost_nanos: Option<i64>,
    pub(crate) price_id: String,
    pub(crate) estimated: i64,
    pub(crate) source: String,
    pub(crate) waited_ms: i64,
    pub(crate) first_byte_ms: Option<i64>,
    pub(crate) total_ms: i64,
    pub(crate) cache: String,
    pub(crate) error: String,
    /// Left out where it is '': the chain of entries from before it was known holds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) account: String,
    /// Of a hit; left out elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved_nanos: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) waited_for: String,
    #[serde(skip)]
    pub(crate) chain: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AttemptRow {
    #[serde(skip)]
    pub(crate) call_id: String,
    pub(crate) number: i64,
    pub(crate) upstream: String,
    pub(crate) opened_at: i64,
    pub(crate) status: Option<i64>,
    pub(crate) request_id: String,
    pub(crate) error: String,
    pub(crate) maybe_billed: i64,
}

/// The record of a call that has ended.
#[derive(Serialize)]
pub(crate) struct Settled<'a> {
    pub(crate) entry: &'a EntryRow,
    pub(crate) attempts: &'a [AttemptRow],
}

/// The same record, read back.
#[derive(Deserialize)]
pub(crate) struct SettledRow {
    pub(crate) entry: EntryRow,
    pub(crate) attempts: Vec<AttemptRow>,
}

/// The record of an attempt that is about to leave.
#[derive(Serialize)]
pub(crate) struct Opened {
    call: CallRow,
    opening: OpeningRow,
}

/// The record of what a running call has shown so far.
#[derive(Serialize)]
pub(crate) struct Shown {
    call_id: String,
    used_at: i64,
    usage: ShownRow,
}

/// A checkpoint, as the column `usage` of an open call has it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ShownRow {
    #[serde(flatten)]
    usage: UsageRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<AnsweredRow>,
}

#[derive(Serialize, Deserialize)]
struct AnsweredRow {
    attempt: u32,
    status: u16,
    request_id: String,
    account: String,
    first_byte_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CallRow {
    call_id: String,
    started_at: i64,
    class: String,
    client: String,
    person: String,
    project: String,
    tenant: String,
    session: String,
    agent: String,
    tags: String,
    model: String,
    max_tokens: Option<i64>,
    stream: bool,
    body_bytes: i64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OpeningRow {
    number: u32,
    upstream: String,
    at: i64,
    reserved: UsageRow,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct UsageRow {
    input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    cache_read: i64,
    output: i64,
    web_searches: i64,
    batch: bool,
    fast: bool,
    us_only: bool,
}

impl EntryRow {
    pub(crate) fn of(entry: &Entry) -> EntryRow {
        let Entry { call, usage, .. } = entry;
        let usage = UsageRow::of(usage);
        let CallRow { class, client, person, project, tenant, session, agent, tags, model, max_tokens, .. } =
            CallRow::of(call);
        let request_id = entry.attempts.iter().rev().find_map(|attempt| attempt.request_id.as_deref());
        EntryRow {
            seq: 0,
            call_id: call.id.to_string(),
            started_at: millis(call.started_at),
            ended_at: millis(entry.ended_at),
            client,
            person,
            project,
            tenant,
            session,
            agent,
            tags,
            class,
            model,
            max_tokens,
            stream: call.stream.into(),
            body_bytes: count(call.body_bytes),
            upstream: text(entry.attempts.last().map_or("", |last| &last.upstream)),
            request_id: text(request_id.unwrap_or_default()),
            attempts: count(entry.attempts.len() as u64),
            status: entry.status.into(),
            outcome: entry.outcome.name().into(),
            input_tokens: usage.input,
            cache_write_5m_tokens: usage.cache_write_5m,
            cache_write_1h_tokens: usage.cache_write_1h,
            cache_read_tokens: usage.cache_read,
            output_tokens: usage.output,
            web_searches: usage.web_searches,
            batch: usage.batch.into(),
            fast: usage.fast.into(),
            us_only: usage.us_only.into(),
            cost_nanos: entry.cost.map(|cost| cost.min(COST_MAX).as_nanos()),
            price_id: none_as_empty(&entry.price_id),
            estimated: entry.estimated.into(),
            source: entry.source.name().into(),
            waited_ms: count(entry.waited_ms),
            first_byte_ms: entry.first_byte_ms.map(count),
            total_ms: count(entry.total_ms),
            cache: entry.cache.name().into(),
            error: none_as_empty(&entry.error),
            account: none_as_empty(&entry.account),
            saved_nanos: entry.saved.map(|saved| saved.min(COST_MAX).as_nanos()),
            waited_for: none_as_empty(&entry.waited_for),
            chain: Vec::new(),
        }
    }

    /// In the order of the columns, with the link of the chain.
    pub(crate) fn push(&self, cells: &mut Cells, link: &[u8; 32]) -> Result<(), BoxDynError> {
        let row = self;
        cells.push(&row.call_id)?;
        cells.push(row.started_at)?;
        cells.push(row.ended_at)?;
        for name in [&row.client, &row.person, &row.project, &row.tenant, &row.session, &row.agent] {
            cells.push(name)?;
        }
        cells.push(&row.tags)?;
        cells.push(&row.class)?;
        cells.push(&row.model)?;
        cells.push(row.max_tokens)?;
        cells.push(row.stream)?;
        cells.push(row.body_bytes)?;
        cells.push(&row.upstream)?;
        cells.push(&row.request_id)?;
        cells.push(row.attempts)?;
        cells.push(row.status)?;
        cells.push(&row.outcome)?;
        for count in [row.input_tokens, row.cache_write_5m_tokens, row.cache_write_1h_tokens, row.cache_read_tokens] {
            cells.push(count)?;
        }
        for count in [row.output_tokens, row.web_searches, row.batch, row.fast, row.us_only] {
            cells.push(count)?;
        }
        cells.push(row.cost_nanos)?;
        cells.push(&row.price_id)?;
        cells.push(row.estimated)?;
        cells.push(&row.source)?;
        cells.push(row.waited_ms)?;
        cells.push(row.first_byte_ms)?;
        cells.push(row.total_ms)?;
        cells.push(&row.cache)?;
        cells.push(&row.error)?;
        cells.push(&row.account)?;
        cells.push(row.saved_nanos)?;
        cells.push(&row.waited_for)?;
        cells.push(link.as_slice())
    }

    pub(crate) fn into_entry(self, attempts: Vec<Attempt>) -> Result<Entry, Unreadable> {
        let row = self;
        let usage = Usage {
            tokens: Tokens {
                input: natural(row.input_tokens)?,
                cache_write_5m: natural(row.cache_write_5m_tokens)?,
                cache_write_1h: natural(row.cache_write_1h_tokens)?,
                cache_read: natural(row.cache_read_tokens)?,
                output: natural(row.output_tokens)?,
            },
            web_searches: natural(row.web_searches)?,
            batch: row.batch != 0,
            fast: row.fast != 0,
            us_only: row.us_only != 0,
        };
        let call = CallRow {
            call_id: row.call_id,
            started_at: row.started_at,
            class: row.class,
            client: row.client,
            person: row.person,
            project: row.project,
            tenant: row.tenant,
            session: row.session,
            agent: row.agent,
            tags: row.tags,
            model: row.model,
            max_tokens: row.max_tokens,
            stream: row.stream != 0,
            body_bytes: row.body_bytes,
        };
        Ok(Entry {
            call: call.into_call()?,
            ended_at: Timestamp::from_millis(row.ended_at),
            attempts,
            status: u16::try_from(row.status).map_err(|_| Unreadable)?,
            outcome: Outcome::named(&row.outcome).ok_or(Unreadable)?,
            usage,
            cost: row.cost_nanos.map(Usd::from_nanos),
            price_id: empty_as_none(&row.price_id),
            estimated: row.estimated != 0,
            source: Source::named(&row.source).ok_or(Unreadable)?,
            waited_ms: natural(row.waited_ms)?,
            first_byte_ms: row.first_byte_ms.map(natural).transpose()?,
            total_ms: natural(row.total_ms)?,
            cache: CacheUse::named(&row.cache).ok_or(Unreadable)?,
            error: empty_as_none(&row.error),
            account: empty_as_none(&row.account),
            saved: row.saved_nanos.map(Usd::from_nanos),
            waited_for: empty_as_none(&row.waited_for),
        })
    }
}

impl AttemptRow {
    pub(crate) fn of(attempt: &Attempt) -> AttemptRow {
        AttemptRow {
            call_id: String::new(),
            number: attempt.number.into(),
            upstream: text(&attempt.upstream),
            opened_at: millis(attempt.opened_at),
            status: attempt.status.map(i64::from),
            request_id: none_as_empty(&attempt.request_id),
            error: none_as_empty(&attempt.error),
            maybe_billed: attempt.maybe_billed.into(),
        }
    }

    /// In the order of the columns.
    pub(crate) fn cells<'a>(&'a self, call: &'a str) -> impl Serialize + 'a {
        let AttemptRow { number, upstream, opened_at, status, request_id, error, maybe_billed, .. } = self;
        (call, number, upstream, opened_at, status, request_id, error, maybe_billed)
    }

    pub(crate) fn into_attempt(self) -> Result<Attempt, Unreadable> {
        let status = self.status.map(u16::try_from).transpose();
        Ok(Attempt {
            number: u32::try_from(self.number).map_err(|_| Unreadable)?,
            upstream: self.upstream.into(),
            opened_at: Timestamp::from_millis(self.opened_at),
            status: status.map_err(|_| Unreadable)?,
            request_id: empty_as_none(&self.request_id),
            error: empty_as_none(&self.error),
            maybe_billed: self.maybe_billed != 0,
        })
    }
}

impl Opened {
    pub(crate) fn of(call: &Call, opening: &Opening) -> Opened {
        let Opening { number, upstream, at, reserved } = opening;
        let opening =
            OpeningRow { number: *number, upstream: text(upstream), at: millis(*at), reserved: UsageRow::of(reserved) };
        Opened { call: CallRow::of(call), opening }
    }
}

impl Shown {
    pub(crate) fn of(call: CallId, shown: &Checkpoint, now: Timestamp) -> Shown {
        let answer = shown.answer.as_ref().map(|answer| AnsweredRow {
            attempt: answer.attempt,
            status: answer.status,
            request_id: none_as_empty(&answer.request_id),
            account: none_as_empty(&answer.account),
            first_byte_ms: count(answer.first_byte_ms),
        });
        let usage = ShownRow { usage: UsageRow::of(&shown.usage), answer };
        Shown { call_id: call.to_string(), used_at: millis(now), usage }
    }
}

impl ShownRow {
    pub(crate) fn into_checkpoint(self) -> Result<Checkpoint, Unreadable> {
        let answer = self.answer.map(|answer| {
            Ok(Answered {
                attempt: answer.attempt,
                status: answer.status,
                request_id: empty_as_none(&answer.request_id),
                account: empty_as_none(&answer.account),
                first_byte_ms: u64::try_from(answer.first_byte_ms).map_err(|_| Unreadable)?,
            })
        });
        Ok(Checkpoint { usage: self.usage.into_usage()?, answer: answer.transpose()? })
    }
}

impl CallRow {
    fn of(call: &Call) -> CallRow {
        let Call { id, started_at, class, who, model, max_tokens, stream, body_bytes } = call;
        CallRow {
            call_id: id.to_string(),
            started_at: millis(*started_at),
            class: class.name().into(),
            client: text(&who.client),
            person: none_as_empty(&who.person),
            project: none_as_empty(&who.project),
            tenant: none_as_empty(&who.tenant),
            session: none_as_empty(&who.session),
            agent: none_as_empty(&who.agent),
            tags: tags_as_json(&who.tags),
            model: text(model),
            max_tokens: max_tokens.map(count),
            stream: *stream,
            body_bytes: count(*body_bytes),
        }
    }

    pub(crate) fn into_call(self) -> Result<Call, Unreadable> {
        let who = Attribution {
            client: self.client.into(),
            person: empty_as_none(&self.person),
            project: empty_as_none(&self.project),
            tenant: empty_as_none(&self.tenant),
            session: empty_as_none(&self.session),
            agent: empty_as_none(&self.agent),
            tags: tags_of_json(&self.tags)?,
        };
        Ok(Call {
            id: self.call_id.parse().map_err(|_| Unreadable)?,
            started_at: Timestamp::from_millis(self.started_at),
            class: Class::named(&self.class).ok_or(Unreadable)?,
            who,
            model: self.model.into(),
            max_tokens: self.max_tokens.map(natural).transpose()?,
            stream: self.stream,
            body_bytes: natural(self.body_bytes)?,
        })
    }
}

impl OpeningRow {
    pub(crate) fn into_opening(self) -> Result<Opening, Unreadable> {
        Ok(Opening {
            number: self.number,
            upstream: self.upstream.into(),
            at: Timestamp::from_millis(self.at),
            reserved: self.reserved.into_usage()?,
        })
    }
}

impl UsageRow {
    fn of(usage: &Usage) -> UsageRow {
        let Usage { tokens, web_searches, batch, fast, us_only } = *usage;
        UsageRow {
            input: count(tokens.input),
            cache_write_5m: count(tokens.cache_write_5m),
            cache_write_1h: count(tokens.cache_write_1h),
            cache_read: count(tokens.cache_read),
            output: count(tokens.output),
            web_searches: count(web_searches),
            batch,
            fast,
            us_only,
        }
    }

    pub(crate) fn into_usage(self) -> Result<Usage, Unreadable> {
        let tokens = Tokens {
            input: natural(self.input)?,
            cache_write_5m: natural(self.cache_write_5m)?,
            cache_write_1h: natural(self.cache_write_1h)?,
            cache_read: natural(self.cache_read)?,
            output: natural(self.output)?,
        };
        let UsageRow { batch, fast, us_only, .. } = self;
        Ok(Usage { tokens, web_searches: natural(self.web_searches)?, batch, fast, us_only })
    }
}

type Tag = (Arc<str>, Arc<str>);

/// An object; of two tags with one key the later counts.
fn tags_as_json(tags: &[Tag]) -> String {
    let object: BTreeMap<String, String> =
        tags.iter().take(TAGS_MAX).map(|(key, value)| (text(key), text(value))).collect();
    serde_json::to_string(&object).unwrap_or_else(|_| "{}".into())
}

fn tags_of_json(json: &str) -> Result<Vec<Tag>, Unreadable> {
    let object: BTreeMap<String, String> = serde_json::from_str(json).map_err(|_| Unreadable)?;
    Ok(object.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

fn count(value: u64) -> i64 {
    i64::try_from(value.min(COUNT_MAX)).unwrap_or(i64::MAX)
}

fn natural(value: i64) -> Result<u64, Unreadable> {
    u64::try_from(value).map_err(|_| Unreadable)
}

/// Nothing happened before 1970.
fn millis(at: Timestamp) -> i64 {
    at.as_millis().max(0)
}

pub(crate) fn text(value: &str) -> String {
    value[..value.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

fn none_as_empty(value: &Option<Arc<str>>) -> String {
    text(value.as_deref().unwrap_or_default())
}

fn empty_as_none(value: &str) -> Option<Arc<str>> {
    (!value.is_empty()).then(|| value.into())
}
