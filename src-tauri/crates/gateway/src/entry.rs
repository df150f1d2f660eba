//! The entry of a call that has not ended: closed exactly once, at the latest when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::admission::{Caching, Flow, QuotaSpent, Readings, Shape, Spent};
use domain::call::{
    Answered, Attempt, Attribution, CacheUse, Call, CallId, Checkpoint, Entry, Opening, Outcome, Source,
};
use domain::catalog::Charge;
use domain::config::Client;
use domain::money::Usd;
use domain::routing::{Capabilities, Fared};
use domain::time::{Instant, Now};
use domain::usage::Usage;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use crate::caching::{Duplicate, Lead};
use crate::door::Pass;
use crate::error::Error;
use crate::headers;
use crate::live::{Progress, millis};
use crate::pipeline::Pipeline;
use crate::results::Batch;
use crate::returning::{Fate, Place, Sameness, Seat, Taken};
use crate::user::User;
use crate::wire::anthropic::{Peek, Tally};
use crate::{BooksClosed, BoxFuture};

pub(crate) struct OpenEntry {
    pipeline: Arc<Pipeline>,
    call: Call,
    prompt: Prompt,
    attempts: Vec<Attempt>,
    /// Of the call, whose first try may have come over another connection.
    started: Instant,
    /// When this connection brought it: its patience is counted from here.
    came: Instant,
    /// What its turn goes by.
    since: Instant,
    waiting_since: Instant,
    /// Held while it waits.
    seat: Option<Seat>,
    /// When its caller went, where its entry was held open since.
    left: Option<Now>,
    /// Upstreams that it was meant for and that were not asked.
    passed_over: u32,
    waited: Duration,
    /// Of its waits the longest, and why.
    waited_for: Option<(Duration, Arc<str>)>,
    first_byte: Option<Duration>,
    pass: Option<Pass>,
    reserved: Usage,
    /// As the last answer names it.
    account: Option<Arc<str>>,
    /// What the answer has shown so far.
    tally: Tally,
    checkpointed: Option<Instant>,
    /// What answers had used that broke off and that others followed.
    carried: Vec<Carried>,
    progress: Option<Arc<Progress>>,
    cache: CacheUse,
    saved: Option<Usd>,
    /// Where others like it may be waiting for its answer.
    lead: Option<Lead>,
    /// Known when it is closed.
    cost: Option<Usd>,
    stage: Stage,
}

/// What an answer had used that broke off.
struct Carried {
    upstream: Arc<str>,
    /// Who answered.
    model: Arc<str>,
    usage: Usage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The request has not come in whole: a caller that leaves now makes no entry.
    Arriving,
    Waiting,
    /// An attempt is on its way and may be billed.
    Sent,
    Closed,
}

/// What an estimate goes by.
#[derive(Clone, Copy, Default)]
pub(crate) struct Prompt {
    pub(crate) shape: Shape,
    pub(crate) fast: bool,
    pub(crate) caching: Caching,
    /// What it asks of an upstream beside text.
    pub(crate) uses: Capabilities,
}

impl Prompt {
    fn of(peek: &Peek<'_>) -> Prompt {
        let caching = match (peek.findings.cached, peek.findings.cached_for_an_hour) {
            (_, true) => Caching::OneHour,
            (true, false) => Caching::FiveMinutes,
            (false, false) => Caching::None,
        };
        Prompt { shape: peek.findings.shape, fast: peek.fast, caching, uses: peek.findings.uses }
    }
}

/// How a call ended.
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// What the client got; 0 where it got nothing.
    pub(crate) status: u16,
    pub(crate) error: Option<Arc<str>>,
}

/// Progress is written down at most this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

impl OpenEntry {
    pub(crate) fn begin(pipeline: Arc<Pipeline>, client: &Client, headers: &HeaderMap) -> OpenEntry {
        let now = pipeline.now();
        let call = Call {
            id: CallId::new(now.timestamp, pipeline.chance()),
            started_at: now.timestamp,
            class: headers::class(headers, client.class),
            who: headers::attribution(headers, client, &pipeline.attributes.get()),
            model: "".into(),
            max_tokens: None,
            stream: false,
            body_bytes: 0,
        };
        OpenEntry {
            pipeline,
            call,
            prompt: Prompt::default(),
            attempts: Vec::new(),
            started: now.instant,
            came: now.instant,
            since: now.instant,
            waiting_since: now.instant,
            seat: None,
            left: None,
            passed_over: 0,
            waited: Duration::ZERO,
            waited_for: None,
            first_byte: None,
            pass: None,
            reserved: Usage::default(),
            account: None,
            tally: Tally::default(),
            checkpointed: None,
            carried: Vec::new(),
            progress: None,
            cache: CacheUse::Off,
            saved: None,
            lead: None,
            cost: None,
            stage: Stage::Arriving,
        }
    }

    /// A batch's result: nobody waited for it, and the upstream has told all of it.
    pub(crate) fn of_result(batch: &Batch, tally: Tally, id: &str) -> Entry {
        let mut entry = OpenEntry::begin(batch.pipeline.clone(), &batch.client, &batch.headers);
        entry.call.model = tally.model.clone().unwrap_or_default();
        entry.attempts.push(Attempt {
            number: 1,
            upstream: batch.upstream.clone(),
            opened_at: entry.call.started_at,
            status: Some(StatusCode::OK.as_u16()),
            request_id: Some(headers::short(id)),
            error: None,
            maybe_billed: false,
        });
        (entry.tally, entry.stage) = (tally, Stage::Sent);
        let ended = entry.entry(Ending { outcome: Outcome::Completed, status: StatusCode::OK.as_u16(), error: None });
        entry.vanish();
        ended
    }

    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    pub(crate) fn prompt(&self) -> Prompt {
        self.prompt
    }

    pub(crate) fn came(&self) -> Instant {
        self.came
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// In the queue so far, all attempts together.
    pub(crate) fn waited(&self) -> Duration {
        if self.stage == Stage::Waiting && self.pass.is_none() {
            self.waited + self.end().instant.since(self.waiting_since)
        } else {
            self.waited
        }
    }

    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub(crate) fn cache(&self) -> CacheUse {
        self.cache
    }

    /// What it came to, once it is closed.
    pub(crate) fn cost(&self) -> Option<Usd> {
        self.cost
    }

    /// No kept answer is of use to it: it goes out, and those like it may wait for what it brings.
    pub(crate) fn misses(&mut self, lead: Option<Lead>) {
        (self.cache, self.lead) = (CacheUse::Miss, lead);
    }

    /// It gets an answer that had cost so much.
    pub(crate) fn hits(&mut self, saved: Option<Usd>) {
        (self.cache, self.saved) = (CacheUse::Hit, saved);
        self.first_byte = Some(self.pipeline.now().instant.since(self.started));
    }

    /// Where its answer, which `from` gave, may be given again, that which stays of it.
    pub(crate) fn duplicate(&mut self, from: Option<&Arc<str>>, status: StatusCode, headers: &HeaderMap) -> Duplicate {
        let Some(lead) = self.lead.take() else { return Duplicate::default() };
        let Call { who, class, model, .. } = &self.call;
        let route = self.pipeline.route(&who.client, *class, model, self.prompt.uses);
        // Another upstream's answer is not what was asked for.
        let is_own = route.upstreams.first().map(|first| &first.name) == from;
        Duplicate::of(&self.pipeline.caching, is_own.then_some(status), lead, headers)
    }

    /// Its client has sent it before: it goes on where that one stood.
    pub(crate) fn comes_back(&mut self, taken: Taken<OpenEntry>) {
        match taken {
            Taken::Waiting(place) => self.resume(place),
            Taken::Abandoned(place, mut entry) => {
                entry.vanish();
                self.resume(place);
            }
            Taken::Turn(since) => self.since = since,
        }
    }

    fn resume(&mut self, Place { call, started_at, started, since, progress }: Place) {
        (self.call.id, self.call.started_at, self.started) = (call, started_at, started);
        (self.waiting_since, self.since, self.progress) = (started, since, progress);
    }

    /// The request is here and says what it wants.
    pub(crate) fn arrived(&mut self, peek: &Peek<'_>, body_bytes: usize) {
        self.says(peek, body_bytes);
        if self.progress.is_none() {
            self.progress = Some(self.pipeline.live.enter(&self.call));
        }
        self.stage = Stage::Waiting;
    }

    /// What its body says. Whoever looks at it no further makes no entry.
    pub(crate) fn says(&mut self, peek: &Peek<'_>, body_bytes: usize) {
        self.call.model = headers::short(&peek.model);
        self.call.max_tokens = peek.max_tokens;
        self.call.stream = peek.stream;
        self.call.body_bytes = body_bytes as u64;
        self.prompt = Prompt::of(peek);
        let Attribution { tenant, session, .. } = &mut self.call.who;
        let user = peek.user_id.as_deref().map(User::of).unwrap_or_default();
        if tenant.is_none() {
            *tenant = user.tenant.as_deref().map(headers::short);
        }
        if session.is_none() {
            *session = user.session.as_deref().map(headers::short);
        }
    }

    /// It begins to wait, so that its client may come back to it. The receiver is told when that has happened.
    pub(crate) fn sits(&mut self, sameness: Sameness, tries: u32) -> oneshot::Receiver<()> {
        let place = Place {
            call: self.call.id,
            started_at: self.call.started_at,
            started: self.started,
            since: self.since,
            progress: self.progress.clone(),
        };
        // Whose row is in the books already leaves its turn to its client, and not its row.
        let tries = if self.attempts.is_empty() { tries } else { u32::MAX };
        let (seat, overtaken) = self.pipeline.returning.sit(sameness, tries, place);
        self.seat = Some(seat);
        overtaken
    }

    /// It waits no more. `false`: its client has taken its place, and this one is over without a trace.
    pub(crate) fn rises(&mut self) -> bool {
        let still_here = self.seat.take().is_none_or(|seat| self.pipeline.returning.rise(&seat));
        if !still_here {
            self.vanish();
        }
        still_here
    }

    /// Its wait is over: it holds the proof until it ends.
    pub(crate) fn admitted(&mut self, pass: Pass) {
        let waited = self.pipeline.now().instant.since(self.waiting_since);
        self.waited += waited;
        self.reserved = pass.reserved();
        let longest = self.waited_for.as_ref().map_or(Duration::ZERO, |(longest, _)| *longest);
        if let Some(kept) = pass.kept().filter(|_| waited > longest) {
            self.waited_for = Some((waited, self.pipeline.words.kept(kept).into()));
        }
        self.pass = Some(pass);
        if let Some(progress) = &self.progress {
            progress.runs(self.waited);
        }
    }

    /// Written down before it leaves.
    pub(crate) fn leaves(&mut self, upstream: &Arc<str>) -> Result<(), BooksClosed> {
        let before = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_add(self.passed_over);
        let number = before.saturating_add(1);
        let at = self.pipeline.now().timestamp;
        let opening = Opening { number, upstream: upstream.clone(), at, reserved: self.reserved };
        self.pipeline.books.open(&self.call, &opening)?;
        self.attempts.push(Attempt {
            number,
            upstream: upstream.clone(),
            opened_at: at,
            status: None,
            request_id: None,
            error: None,
            maybe_billed: false,
        });
        self.stage = Stage::Sent;
        Ok(())
    }

    /// An upstream that it was meant for was not asked: the numbers of its attempts tell.
    pub(crate) fn passes_over(&mut self) {
        self.passed_over += 1;
    }

    /// Its first byte goes out now.
    pub(crate) fn departs(&self) {
        if let Some(pass) = &self.pass {
            pass.departs();
        }
    }

    /// The head of an answer tells of limits.
    pub(crate) fn observe(&self, readings: &Readings) {
        if let Some(pass) = &self.pass {
            pass.observe(readings);
        }
    }

    /// How the attempt went, as far as it tells of its upstream's health.
    pub(crate) fn fared(&self, fared: Fared) {
        if let Some(pass) = &self.pass {
            pass.fared(fared);
        }
        if fared == Fared::Badly {
            self.pipeline.failing.notify_one();
        }
    }

    /// Whether others wait for how this one goes.
    pub(crate) fn is_probe(&self) -> bool {
        self.pass.as_ref().is_some_and(Pass::is_probe)
    }

    /// It is answered without an upstream.
    pub(crate) fn waits_no_more(&mut self) {
        self.waited = self.waited();
    }

    /// The head of an answer has come.
    pub(crate) fn answered(&mut self, status: StatusCode, request_id: Option<Arc<str>>, account: Option<Arc<str>>) {
        let now = self.pipeline.now().instant;
        self.first_byte.get_or_insert(now.since(self.started));
        self.account = account;
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.status = Some(status.as_u16());
            attempt.request_id = request_id;
        }
    }

    /// The attempt is over and the call goes back to the queue.
    pub(crate) fn again(&mut self, error: &str, maybe_billed: bool) {
        self.ends(error, maybe_billed);
        if let Some(pass) = self.pass.take() {
            pass.settle(if maybe_billed { Spent::Lost { usage: &self.reserved } } else { Spent::Nothing });
        }
        if let Some(progress) = &self.progress {
            progress.waits();
        }
        self.waiting_since = self.pipeline.now().instant;
        self.stage = Stage::Waiting;
    }

    /// The attempt is over, and the next goes by the same proof.
    pub(crate) fn once_more(&mut self, error: &str, maybe_billed: bool) {
        self.ends(error, maybe_billed);
        if let Some(pass) = self.pass.as_ref().filter(|_| maybe_billed) {
            pass.takes_again();
        }
    }

    fn ends(&mut self, error: &str, maybe_billed: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.error = Some(error.into());
            attempt.maybe_billed = maybe_billed;
        }
        if maybe_billed && (self.tally.prompt_known || self.tally.has_content) {
            self.carry();
        }
        if !self.carried.is_empty() || self.attempts.iter().all(|attempt| !attempt.maybe_billed) {
            // Should this process die before the next attempt, no more is owed than for those before.
            let shown = Checkpoint { usage: self.carried_usage(), answer: None };
            self.pipeline.books.checkpoint(self.call.id, &shown);
        }
        (self.tally, self.checkpointed, self.first_byte) = (Tally::default(), None, None);
    }

    /// It may go to its upstream without asking again.
    pub(crate) fn holds_a_place(&self) -> bool {
        self.pass.is_some()
    }

    /// The upstream had begun to answer, and is paid for that.
    fn carry(&mut self) {
        let Some(attempt) = self.attempts.last() else { return };
        let (usage, _) = self.tally.settled(&self.reserved, self.call.max_tokens);
        let model = self.tally.model.as_ref().unwrap_or(&self.call.model).clone();
        self.carried.push(Carried { upstream: attempt.upstream.clone(), model, usage });
    }

    fn carried_usage(&self) -> Usage {
        self.carried.iter().map(|carried| carried.usage).reduce(together).unwrap_or_default()
    }

    /// Its answer broke off, and the rest is asked for: both are what it comes to.
    pub(crate) fn continues(&mut self) {
        let first_byte = self.first_byte;
        self.again("cut", true);
        self.first_byte = first_byte;
    }

    /// The connection could not be made: nothing left, nothing is owed.
    pub(crate) fn never_left(&mut self) {
        self.pass = None;
        self.stage = Stage::Waiting;
    }

    /// The answer has shown more of what it uses. Tells whether it may go on.
    pub(crate) fn metered(&mut self, tally: &Tally) -> Flow {
        let fresh = self.tally.prompt_known != tally.prompt_known;
        self.tally.clone_from(tally);
        if let Some(progress) = &self.progress {
            progress.used(&tally.usage, tally.output_so_far());
        }
        let now = self.pipeline.now().instant;
        if tally.prompt_known && (fresh || self.checkpointed.is_none_or(|last| now.since(last) >= CHECKPOINT_EVERY)) {
            self.checkpointed = Some(now);
            let (usage, _) = tally.settled(&self.reserved, self.call.max_tokens);
            let shown = Checkpoint { usage: self.with_carried(usage), answer: self.answer() };
            self.pipeline.books.checkpoint(self.call.id, &shown);
        }
        match &mut self.pass {
            Some(pass) if tally.prompt_known => pass.progress(|| tally.settled(&self.reserved, self.call.max_tokens).0),
            Some(_) | None => Flow::GoOn,
        }
    }

    /// The last that a client hears of a call whose budget is spent, as the API would say it.
    pub(crate) fn farewell(&self, spent: &QuotaSpent) -> Bytes {
        self.pipeline.words.spent(spent, self.pipeline.now()).event(&self.call.id.to_string())
    }

    /// The same of one whose upstream says nothing any more.
    pub(crate) fn silence(&self) -> Bytes {
        let upstream = self.attempts.last().map_or_else(String::new, |attempt| attempt.upstream.to_string());
        let after = self.pipeline.timeouts.idle;
        Error::Silent { upstream, after }.event(&self.call.id.to_string())
    }

    /// Ends the call: writes the entry and gives the ticket back. The future ends when the entry is as durable as asked.
    pub(crate) fn close(&mut self, ending: Ending) -> BoxFuture<Result<(), BooksClosed>> {
        if let Some(seat) = self.seat.take() {
            self.pipeline.returning.rise(&seat);
        }
        let entry = self.entry(ending);
        self.cost = entry.cost;
        self.stage = Stage::Closed;
        let settled = self.pipeline.books.settle(&entry);
        if let Some(pass) = self.pass.take() {
            pass.settle(match entry.attempts.is_empty() {
                true => Spent::Nothing,
                false if entry.estimated => Spent::Presumed { usage: &entry.usage, cost: entry.cost },
                false => Spent::Told { usage: &entry.usage, cost: entry.cost },
            });
        }
        self.pipeline.live.leave(&entry);
        settled
    }

    /// The caller goes without an entry: its request never came in whole.
    pub(crate) fn vanish(&mut self) {
        self.stage = Stage::Closed;
    }

    /// What the call came to when we answer in the upstream's place.
    pub(crate) fn ending(&mut self, error: &Error) -> Ending {
        let outcome = if self.attempts.is_empty() { Outcome::Refused } else { Outcome::Failed };
        if outcome == Outcome::Refused {
            self.waited_for = Some((self.waited(), error.to_string().into()));
        }
        Ending { outcome, status: error.status().as_u16(), error: Some(error.code().into()) }
    }

    pub(crate) fn now(&self) -> Now {
        self.pipeline.now()
    }

    /// Now, or when its caller went.
    fn end(&self) -> Now {
        self.left.unwrap_or_else(|| self.pipeline.now())
    }

    fn entry(&mut self, ending: Ending) -> Entry {
        let now = self.end();
        let (mut usage, estimated) = self.usage(ending.outcome);
        let charge = self.charge_of_all(&usage);
        let estimated = estimated || !self.carried.is_empty();
        for aside in &self.tally.asides {
            usage.tokens += aside.tokens;
        }
        let usage = self.with_carried(usage);
        let waited = self.waited();
        let unanswered = self.stage == Stage::Sent && !self.is_answered();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.maybe_billed |= unanswered;
            if attempt.error.is_none() {
                attempt.error.clone_from(&ending.error);
            }
        }
        Entry {
            call: self.call.clone(),
            ended_at: now.timestamp,
            attempts: std::mem::take(&mut self.attempts),
            status: ending.status,
            outcome: ending.outcome,
            usage,
            cost: charge.cost,
            price_id: charge.price_id,
            estimated: estimated || charge.estimated,
            source: Source::Gateway,
            waited_ms: millis(waited),
            waited_for: self.waited_for.take().map(|(_, why)| why),
            first_byte_ms: self.first_byte.map(millis),
            total_ms: millis(now.instant.since(self.started)),
            cache: self.cache,
            saved: self.saved,
            error: ending.error,
            account: self.account.take(),
        }
    }

    /// `usage` and that of the answers before, which broke off.
    fn with_carried(&self, usage: Usage) -> Usage {
        let carried = self.carried_usage();
        if usage == Usage::default() { carried } else { together(usage, carried) }
    }

    /// The head of the last attempt's answer.
    fn answer(&self) -> Option<Answered> {
        let attempt = self.attempts.last()?;
        Some(Answered {
            attempt: attempt.number,
            status: attempt.status?,
            request_id: attempt.request_id.clone(),
            account: self.account.clone(),
            first_byte_ms: millis(self.first_byte?),
        })
    }

    /// Each answer at its own price, those that broke off too.
    fn charge_of_all(&self, usage: &Usage) -> Charge {
        let catalog = self.pipeline.catalog.get();
        let mut carried = self.carried.iter().map(|Carried { upstream, model, usage }| {
            let charge = catalog.charge(upstream, model, usage, self.call.started_at);
            if *model == self.call.model { charge } else { charge.of_model(model) }
        });
        let last = if *usage == Usage::default() { carried.next() } else { None };
        carried.fold(last.unwrap_or_else(|| self.charge(usage)), Charge::and_again)
    }

    /// The answer at its model's price, and what ran beside it at its own.
    fn charge(&self, usage: &Usage) -> Charge {
        let answered = self.tally.model.as_ref().unwrap_or(&self.call.model);
        let catalog = self.pipeline.catalog.get();
        let upstream = self.attempts.last().map_or("", |last| &*last.upstream);
        let price = |model: &str, usage: &Usage| catalog.charge(upstream, model, usage, self.call.started_at);
        let charge = price(answered, usage);
        if *usage == Usage::default() {
            return Charge { cost: Some(Usd::ZERO), estimated: false, ..charge };
        }
        if self.tally.is_free() {
            return charge.for_nothing();
        }
        let is_another = *answered != self.call.model || !self.tally.asides.is_empty();
        let charge = if is_another { charge.of_model(answered) } else { charge };
        let charge = self.tally.asides.iter().fold(charge, |charge, aside| {
            let model = aside.model.as_ref().unwrap_or(answered);
            // It ran in the same place and at the same speed.
            let beside = Usage { tokens: aside.tokens, web_searches: 0, ..*usage };
            charge.and(price(model, &beside).of_model(model))
        });
        if self.tally.priority { charge.of_priority() } else { charge }
    }

    /// Has the last attempt an answer?
    fn is_answered(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.status.is_some())
    }

    /// What was metered. What never left used nothing, nor does what the upstream refused; but where an earlier attempt
    /// may be billed, its prompt is.
    fn usage(&self, outcome: Outcome) -> (Usage, bool) {
        let is_error = |attempt: &Attempt| attempt.status.is_some_and(|status| status >= 400);
        let failed = outcome == Outcome::Failed || self.attempts.last().is_some_and(is_error);
        let refused = failed && self.is_answered() && !self.tally.prompt_known;
        if self.stage == Stage::Sent && !refused {
            self.tally.settled(&self.reserved, self.call.max_tokens)
        } else if self.carried.is_empty() && self.attempts.iter().any(|attempt| attempt.maybe_billed) {
            Tally::default().settled(&self.reserved, self.call.max_tokens)
        } else {
            (Usage::default(), false)
        }
    }

    /// A caller who left the queue may be back in a moment. `true`: somebody else holds the entry from now on, or nobody needs one.
    fn is_kept(&mut self) -> bool {
        let Some(seat) = self.seat.take() else { return false };
        let pipeline = self.pipeline.clone();
        let now = pipeline.now();
        let never_left = self.attempts.is_empty();
        let fate = pipeline.returning.abandon(&seat, now.instant, || never_left.then(|| self.moved(now)));
        fate != Fate::Over
    }

    /// All of it that a call has which never left.
    fn moved(&self, left: Now) -> OpenEntry {
        OpenEntry {
            pipeline: self.pipeline.clone(),
            call: self.call.clone(),
            prompt: self.prompt,
            attempts: Vec::new(),
            started: self.started,
            came: self.came,
            since: self.since,
            waiting_since: self.waiting_since,
            seat: None,
            left: Some(left),
            passed_over: self.passed_over,
            waited: self.waited,
            waited_for: self.waited_for.clone(),
            first_byte: None,
            pass: None,
            reserved: self.reserved,
            account: None,
            tally: Tally::default(),
            checkpointed: None,
            carried: Vec::new(),
            progress: self.progress.clone(),
            cache: self.cache,
            saved: None,
            lead: None,
            cost: None,
            stage: Stage::Waiting,
        }
    }
}

fn together(one: Usage, other: Usage) -> Usage {
    let web_searches = one.web_searches.saturating_add(other.web_searches);
    Usage { tokens: one.tokens + other.tokens, web_searches, ..one }
}

/// A caller that hung up, a gateway that ends, a panic: whoever vanishes half-way is put to rest here.
impl Drop for OpenEntry {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Closed | Stage::Arriving) {
            return;
        }
        let panicked = std::thread::panicking();
        if !panicked && self.is_kept() {
            return;
        }
        let ours = panicked || (self.left.is_none() && self.pipeline.has_stopped());
        let outcome = if ours { Outcome::Interrupted } else { Outcome::Cancelled };
        let status = if self.first_byte.is_some() {
            self.attempts.last().and_then(|attempt| attempt.status).unwrap_or(0)
        } else {
            0
        };
        let error = panicked.then(|| "panic".into());
        // The entry is written when this returns; nobody is left to wait until it is durable.
        drop(self.close(Ending { outcome, status, error }));
    }
}
