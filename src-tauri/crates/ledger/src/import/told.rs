//! What one line or event tells of a call, and what several of them tell together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::attribution::{Circumstances, Labels, add_tags, labels};
use domain::call::{Attribution, CacheUse, Call, CallId, Class, Entry, Outcome, Source};
use domain::catalog::Charge;
use domain::time::Timestamp;
use domain::usage::{Aside, Tokens, Usage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Terms;
use crate::call::{EntryRow, text};
use crate::settling::hex;

/// Who calls, where the calls are Claude Code's own.
const CLIENT: &str = "claude-code";

/// One telling of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub(crate) key: Key,
    pub(crate) facts: Facts,
}

/// An id of any length: what is cut off one is told by its hash.
pub(super) fn bounded_id(id: &str) -> String {
    let cut = text(id);
    if cut.len() == id.len() { cut } else { format!("{cut}:{}", hex(&Sha256::digest(id)[..16])) }
}

/// What many lines or events tell together, each call once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct AllTold {
    pub(super) calls: HashMap<Key, Facts>,
    /// How many lines or events that was.
    pub(super) lines: u64,
}

impl AllTold {
    pub(super) fn add(&mut self, told: Told) {
        self.lines += 1;
        match self.calls.get_mut(&told.key) {
            Some(known) => known.merge(told.facts),
            None => drop(self.calls.insert(told.key, told.facts)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }
}

/// By what two tellings are known to be of the same call.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) message_id: String,
    pub(crate) request_id: String,
    pub(crate) source: Source,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) first_at: i64,
    pub(crate) said: Said,
    pub(crate) origin: Origin,
    /// Some line of it holds a part of the answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) spoke: bool,
}

/// What was used, as the telling that knows most has it. The order is that of knowing more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Answers grow: of two chunks the one with more output is the later.
    pub(crate) output: u64,
    pub(crate) prompt: u64,
    pub(crate) input: u64,
    pub(crate) write_5m: u64,
    pub(crate) write_1h: u64,
    pub(crate) read: u64,
    pub(crate) searches: u64,
    pub(crate) batch: bool,
    pub(crate) fast: bool,
    pub(crate) us: bool,
    /// `false` where cache writes are known as one number only.
    pub(crate) split: bool,
    pub(crate) at: i64,
    pub(crate) model: String,
    /// What other work in the same call used; not in the counts above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) beside: Vec<Beside>,
    /// The model declined to answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) declined: bool,
    /// Priority Tier served it: paid for by a commitment.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) priority: bool,
    /// Another model took over: the counts above are its own, while telemetry has those of the whole answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) taken_over: bool,
}

/// A compaction, an advisor's answer, or what a model said before another took over: billed beside the answer itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// '' is the model that answers.
    pub(crate) model: String,
    pub(crate) input: u64,
    pub(crate) write_5m: u64,
    pub(crate) write_1h: u64,
    pub(crate) read: u64,
    pub(crate) output: u64,
}

impl Beside {
    pub(crate) fn of(aside: Aside) -> Beside {
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = aside.tokens;
        let model = text(aside.model.as_deref().unwrap_or_default());
        Beside { model, input, write_5m: cache_write_5m, write_1h: cache_write_1h, read: cache_read, output }
    }

    fn tokens(&self) -> Tokens {
        Tokens {
            input: self.input,
            cache_write_5m: self.write_5m,
            cache_write_1h: self.write_1h,
            cache_read: self.read,
            output: self.output,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where it was told. The order is that of preference: the call's own line before its copies, a session before its
/// subagents, then by path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) sidechain: bool,
    pub(crate) subagent: bool,
    pub(crate) file: String,
    pub(crate) session: String,
    pub(crate) agent: String,
    pub(crate) cwd: String,
    pub(crate) branch: String,
    pub(crate) user_agent: String,
    /// Left out where it isn't known: tellings from before it was stay the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) account: String,
}

/// An event of Claude Code's telemetry, as far as the ledger wants it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    pub request_id: String,
    /// When it ended, and how long it took.
    pub at: Timestamp,
    pub took: Duration,
    pub model: String,
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    /// The event doesn't tell for how long.
    pub cache_write: u64,
    pub fast: bool,
    pub session: String,
    pub agent: String,
    pub user_agent: String,
    /// The organisation, or else the person's own account.
    pub account: String,
}

impl Told {
    /// `None` where it has no request id: nothing would tell it from the log's line of the same call.
    pub fn of_event(event: Event) -> Option<Told> {
        if event.request_id.is_empty() {
            return None;
        }
        let Event { at, took, input, output, cache_read, cache_write, fast, .. } = event;
        let [model, session, agent, user_agent, account] =
            [event.model, event.session, event.agent, event.user_agent, event.account].map(|name| text(&name));
        let tokens = Tokens { input, cache_write_5m: cache_write, cache_write_1h: 0, cache_read, output };
        let usage = Usage { tokens, fast, ..Usage::default() };
        let said = Said { split: cache_write == 0, ..Said::of(&usage, at, model) };
        let origin = Origin { session, agent, user_agent, account, ..Origin::default() };
        let request_id = bounded_id(&event.request_id);
        let key = Key { message_id: String::new(), request_id, source: Source::Otel };
        let first_at = at.before(took).as_millis().max(0);
        Some(Told { key, facts: Facts { first_at, said, origin, spoke: false } })
    }
}

impl Facts {
    pub(crate) fn merge(&mut self, other: Facts) {
        self.first_at = self.first_at.min(other.first_at);
        self.spoke |= other.spoke;
        if other.said > self.said {
            self.said = other.said;
        }
        if other.origin < self.origin {
            self.origin = other.origin;
        }
    }
}

impl Said {
    pub(crate) fn of(usage: &Usage, at: Timestamp, model: String) -> Said {
        let Usage { tokens, web_searches, batch, fast, us_only } = *usage;
        Said {
            output: tokens.output,
            prompt: tokens.prompt(),
            input: tokens.input,
            write_5m: tokens.cache_write_5m,
            write_1h: tokens.cache_write_1h,
            read: tokens.cache_read,
            searches: web_searches,
            batch,
            fast,
            us: us_only,
            split: true,
            at: at.as_millis(),
            model,
            beside: vec![],
            declined: false,
            priority: false,
            taken_over: false,
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            tokens: Tokens {
                input: self.input,
                cache_write_5m: self.write_5m,
                cache_write_1h: self.write_1h,
                cache_read: self.read,
                output: self.output,
            },
            web_searches: self.searches,
            batch: self.batch,
            fast: self.fast,
            us_only: self.us,
        }
    }

    /// With all that ran beside the answer.
    pub(crate) fn whole_usage(&self) -> Usage {
        let usage = self.usage();
        let tokens = self.beside.iter().fold(usage.tokens, |sum, beside| sum + beside.tokens());
        Usage { tokens, ..usage }
    }

    /// Telemetry tells neither how long a cache was written for nor searches nor the place: a log of the same call does.
    fn completed(&self, by: &Said) -> Said {
        if by.taken_over {
            return Said { at: self.at, fast: self.fast || by.fast, ..by.clone() };
        }
        let mut said = self.clone();
        if !said.split && by.split && by.write_5m.checked_add(by.write_1h) == Some(said.write_5m) {
            (said.write_5m, said.write_1h, said.split) = (by.write_5m, by.write_1h, true);
        }
        said.searches = said.searches.max(by.searches);
        said.us |= by.us;
        said.batch |= by.batch;
        said.declined |= by.declined;
        said.priority |= by.priority;
        if said.beside.is_empty() {
            said.beside.clone_from(&by.beside);
        }
        said
    }
}

/// What stands in the ledger for a call: everything an entry is made of but its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Standing<'a> {
    #[serde(skip)]
    pub(crate) key: &'a Key,
    source: &'static str,
    first_at: i64,
    said: Said,
    #[serde(skip_serializing_if = "is_false")]
    spoke: bool,
    origin: &'a Origin,
    cwd: &'a str,
    branch: &'a str,
    /// A configuration folder names the account that a log doesn't.
    #[serde(skip)]
    account: &'a str,
    project: Option<Arc<str>>,
    /// These are left out where no rule names them: what stood before there were such rules stands as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named_agent: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(Arc<str>, Arc<str>)>,
}

impl<'a> Standing<'a> {
    /// `by` is what a lesser source tells of the same call.
    pub(crate) fn of(key: &'a Key, facts: &'a Facts, by: Option<&'a Facts>, terms: &Terms) -> Standing<'a> {
        let by_origin = by.map_or(&facts.origin, |by| &by.origin);
        let or = |own: &'a str, other: &'a str| if own.is_empty() { other } else { own };
        let (cwd, branch) = (or(&facts.origin.cwd, &by_origin.cwd), or(&facts.origin.branch, &by_origin.branch));
        let circumstances =
            Circumstances { cwd, branch, user_agent: &facts.origin.user_agent, session: &facts.origin.session };
        let Labels { client, person, project, tenant, agent, tags } = labels(&terms.rules.get(), &circumstances);
        Standing {
            key,
            source: key.source.name(),
            first_at: by.map_or(facts.first_at, |by| facts.first_at.min(by.first_at)),
            said: by.map_or_else(|| facts.said.clone(), |by| facts.said.completed(&by.said)),
            // Where nothing was declined it changes nothing.
            spoke: facts.said.declined && facts.spoke || by.is_some_and(|by| by.said.declined && by.spoke),
            origin: &facts.origin,
            cwd,
            branch,
            account: or(&facts.origin.account, &by_origin.account),
            project: project.or_else(|| folder_name(cwd)),
            client,
            person,
            tenant,
            named_agent: agent,
            tags,
        }
    }

    /// Tells one standing from another.
    pub(crate) fn hash(&self) -> [u8; 16] {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(json).into();
        std::array::from_fn(|i| hash[i])
    }

    pub(crate) fn row(&self, hash: [u8; 16], revision: i64, terms: &Terms) -> EntryRow {
        let entry = self.entry(hash, revision, terms);
        EntryRow { request_id: self.key.request_id.clone(), ..EntryRow::of(&entry) }
    }

    fn entry(&self, hash: [u8; 16], revision: i64, terms: &Terms) -> Entry {
        let started_at = Timestamp::from_millis(self.first_at);
        let ended_at = Timestamp::from_millis(self.said.at.max(self.first_at));
        let charge = self.charge(&self.said.usage(), started_at, terms);
        let call = Call {
            id: self.call_id(hash, revision, started_at),
            started_at,
            class: Class::Normal,
            who: self.attribution(),
            model: self.said.model.as_str().into(),
            max_tokens: None,
            stream: true,
            body_bytes: 0,
        };
        Entry {
            call,
            ended_at,
            attempts: vec![],
            status: 200,
            outcome: Outcome::Completed,
            usage: self.said.whole_usage(),
            cost: charge.cost,
            price_id: charge.price_id,
            estimated: !self.said.split || charge.estimated,
            source: self.key.source,
            waited_ms: 0,
            waited_for: None,
            first_byte_ms: None,
            total_ms: u64::try_from(ended_at.since(started_at).as_millis()).unwrap_or(u64::MAX),
            cache: CacheUse::Off,
            saved: None,
            error: None,
            account: some(self.account),
        }
    }

    /// The answer at its model's price, and what ran beside it at its own. A refusal before the first word is not billed,
    /// though its usage shows tokens.
    fn charge(&self, usage: &Usage, at: Timestamp, terms: &Terms) -> Charge {
        let Said { model, beside, declined, priority, .. } = &self.said;
        let catalog = terms.catalog.get();
        let price = |model: &str, usage: &Usage| catalog.charge("", model, usage, at);
        let charge = price(model, usage);
        if *declined && !self.spoke {
            return charge.for_nothing();
        }
        let charge = if beside.is_empty() { charge } else { charge.of_model(model) };
        let charge = beside.iter().fold(charge, |charge, other| {
            let name = if other.model.is_empty() { model } else { &other.model };
            // It ran in the same place and at the same speed.
            let beside = Usage { tokens: other.tokens(), web_searches: 0, ..*usage };
            charge.and(price(name, &beside).of_model(name))
        });
        if *priority { charge.of_priority() } else { charge }
    }

    /// The same telling gives the same id, on every machine.
    fn call_id(&self, hash: [u8; 16], revision: i64, started_at: Timestamp) -> CallId {
        let id = Sha256::new()
            .chain_update(self.key.message_id.as_bytes())
            .chain_update([0])
            .chain_update(self.key.request_id.as_bytes())
            .chain_update([0])
            .chain_update(hash)
            .chain_update(revision.to_le_bytes())
            .finalize();
        let bytes: [u8; 16] = std::array::from_fn(|i| id[i]);
        CallId::new(started_at, u128::from_le_bytes(bytes))
    }

    fn attribution(&self) -> Attribution {
        let mut tags = self.tags.clone();
        add_tags(&mut tags, some(self.branch).map(|branch| (Arc::from("branch"), branch)).as_slice());
        Attribution {
            client: self.client.clone().unwrap_or_else(|| CLIENT.into()),
            person: self.person.clone(),
            project: self.project.clone(),
            tenant: self.tenant.clone(),
            session: some(&self.origin.session),
            agent: some(&self.origin.agent).or_else(|| self.named_agent.clone()),
            tags,
        }
    }
}

fn some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// The last part of a path, as either system writes it.
fn folder_name(cwd: &str) -> Option<Arc<str>> {
    cwd.rsplit(['/', '\\']).find(|part| !part.is_empty()).map(Arc::from)
}
