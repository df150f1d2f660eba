//! Who told of a call, what each said, and which of them counts.

use domain::call::{CallId, Source};
use domain::time::Timestamp;
use domain::usage::Usage;

use crate::import::Facts;
use crate::{Error, Ledger};

/// One source's telling of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telling {
    pub source: Source,
    /// '' where it isn't known.
    pub message_id: String,
    pub request_id: String,
    /// The entry that stands for it, where one does.
    pub call: Option<CallId>,
    pub at: Timestamp,
    pub model: String,
    /// With all that ran beside the answer.
    pub usage: Usage,
    /// Cache writes are known as one number only.
    pub is_estimate: bool,
    /// A sidechain's replay of a message.
    pub is_copy: bool,
    /// The log; '' of other sources.
    pub file: String,
}

/// Where an entry comes from and where it went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Provenance {
    /// What logs and telemetry told of the same call. The gateway's own word is the entry itself.
    pub tellings: Vec<Telling>,
    /// The gateway's entry of the same request, where there is one beside this one.
    pub through_gateway: Option<CallId>,
    /// This entry counts nowhere: another has its place, where it is known which.
    pub superseded: Option<Option<CallId>>,
    /// Entries whose place this one has taken.
    pub supersedes: Vec<CallId>,
}

struct ToldRow {
    message_id: String,
    request_id: String,
    source: String,
    facts: String,
    call_id: String,
}

impl Ledger {
    pub async fn provenance(&self, call: CallId) -> Result<Provenance, Error> {
        self.flush().await?;
        let id = call.to_string();
        self.provenance_of(&id).await.map_err(|error| self.db.error(&error))
    }

    async fn provenance_of(&self, id: &str) -> sqlx::Result<Provenance> {
        let told = self.told_of_call(id).await?;
        let gateway = sqlx::query_scalar!(
            "SELECT other.call_id FROM entry JOIN entry AS other ON other.request_id = entry.request_id
             WHERE entry.call_id = ?1 AND entry.request_id <> '' AND other.request_id <> ''
                 AND other.source = 'gateway' AND other.call_id <> ?1",
            id
        )
        .fetch_optional(&self.readers)
        .await?;
        let superseded = sqlx::query_scalar!(
            "SELECT by_call FROM entry JOIN superseded ON superseded.seq = entry.seq WHERE call_id = ?1",
            id
        )
        .fetch_optional(&self.readers)
        .await?;
        // Few entries are superseded: those are looked through, not all.
        let supersedes = sqlx::query_scalar!(
            "SELECT call_id FROM superseded CROSS JOIN entry ON entry.seq = superseded.seq WHERE by_call = ?1 ORDER BY entry.seq",
            id
        )
        .fetch_all(&self.readers)
        .await?;
        // What was told of entries that were deleted is not known any more.
        let tellings: Vec<Telling> = told.into_iter().filter_map(ToldRow::telling).collect();
        // What gave way to no gateway's call gave way to telemetry, or to another line of the message.
        let through_gateway = gateway.and_then(|id| id.parse().ok());
        let heir = tellings.iter().find_map(|telling| telling.call).or(through_gateway);
        Ok(Provenance {
            tellings,
            through_gateway,
            superseded: superseded.map(|by| by.parse().ok().or(heir)),
            supersedes: supersedes.iter().filter_map(|id| id.parse().ok()).collect(),
        })
    }

    /// By the request's id, and all tellings of the messages that those tell of.
    async fn told_of_call(&self, id: &str) -> sqlx::Result<Vec<ToldRow>> {
        let found = sqlx::query_as!(
            ToldRow,
            r#"WITH own AS (
                 SELECT told.* FROM entry JOIN told ON told.request_id = entry.request_id
                 WHERE entry.call_id = ?1 AND entry.request_id <> '' AND told.request_id <> ''
                 -- A line of an old log has no request id: all are looked through.
                 UNION SELECT told.* FROM entry CROSS JOIN told ON told.call_id = entry.call_id
                 WHERE entry.call_id = ?1 AND entry.request_id = '' AND entry.source = 'log')
             SELECT message_id AS "message_id!: String", request_id AS "request_id!: String", source AS "source!: String",
                 facts AS "facts!: String", call_id AS "call_id!: String" FROM own
             UNION
             SELECT told.message_id, told.request_id, told.source, told.facts, told.call_id
             FROM own JOIN told ON told.message_id = own.message_id WHERE own.message_id <> ''
             ORDER BY 3 DESC, 1, 2"#,
            id
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(found)
    }
}

impl ToldRow {
    fn telling(self) -> Option<Telling> {
        let Facts { first_at, said, origin, .. } = serde_json::from_str(&self.facts).ok()?;
        Some(Telling {
            source: Source::named(&self.source)?,
            message_id: self.message_id,
            request_id: self.request_id,
            call: self.call_id.parse().ok(),
            at: Timestamp::from_millis(first_at),
            usage: said.whole_usage(),
            is_estimate: !said.split,
            is_copy: origin.sidechain,
            file: origin.file,
            model: said.model,
        })
    }
}
