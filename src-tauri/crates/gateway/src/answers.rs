//! What goes back to the client: the bytes as they come, and the last of them only when the call is settled.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use domain::admission::{Flow, QuotaSpent};
use domain::cache;
use domain::call::Outcome;
use domain::routing::Fared;
use http::StatusCode;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};

use crate::caching::Duplicate;
use crate::connection::Busy;
use crate::continuing::{Continuing, GoesOn, Joined, Splice};
use crate::entry::{Ending, OpenEntry};
use crate::heeding;
use crate::holding::Begun;
use crate::meter::{Meter, Seen};
use crate::results::Results;
use crate::silence::Silence;
use crate::wire::anthropic::{self, Ended};
use crate::{BooksClosed, BoxFuture};

pub(crate) struct Answer {
    kind: Kind,
    /// Its connection is in use until it is dropped.
    busy: Option<Busy>,
    /// How it must end once what was sent before has gone out.
    broken: Option<Broken>,
}

enum Kind {
    /// Ours, or a mounted handler's.
    Whole(Option<Bytes>),
    /// Of a path that makes no entry.
    Passing(Passing),
    Metered(Box<Metered>),
    /// Each of them is an entry.
    Results(Box<Results>),
}

impl Answer {
    pub(crate) fn whole(bytes: Bytes) -> Answer {
        Answer { kind: Kind::Whole((!bytes.is_empty()).then_some(bytes)), busy: None, broken: None }
    }

    pub(crate) fn empty() -> Answer {
        Answer { kind: Kind::Whole(None), busy: None, broken: None }
    }

    pub(crate) fn passing(passing: Passing) -> Answer {
        Answer { kind: Kind::Passing(passing), busy: None, broken: None }
    }

    pub(crate) fn results(results: Results) -> Answer {
        Answer { kind: Kind::Results(Box::new(results)), busy: None, broken: None }
    }

    pub(crate) fn metered(metered: Metered) -> Answer {
        Answer { kind: Kind::Metered(Box::new(metered)), busy: None, broken: None }
    }

    pub(crate) fn keeps(mut self, busy: Busy) -> Answer {
        self.busy = Some(busy);
        self
    }
}

/// The connection must end as a broken one: what was sent is not a whole answer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Broken(&'static str);

const NOT_WHOLE: Broken = Broken("the answer ended early");
const NOT_CONTINUED: &str = "the upstream ended early, and would not go on";
const SILENT: Broken = Broken("the upstream fell silent");

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let piece = match &mut this.kind {
            Kind::Whole(bytes) => bytes.take().map(Ok),
            Kind::Passing(passing) => ready!(passing.poll(cx)),
            Kind::Metered(metered) => ready!(metered.poll(cx)),
            Kind::Results(results) => ready!(results.poll(cx)),
        };
        match piece {
            Some(Err(broken)) => {
                // The library drops what it has buffered when a body fails: one turn later it is on the wire.
                this.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            piece => Poll::Ready(piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Passing(passing) => passing.is_end_stream(),
            // Its end is told by `poll_frame` alone: it must not be dropped unpolled and unsettled.
            Kind::Metered(_) | Kind::Results(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Passing(passing) => passing.body.size_hint(),
            Kind::Metered(metered) => metered.length.map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Results(_) => SizeHint::new(),
        }
    }
}

/// An upstream's body under the clock that bounds its silence.
pub(crate) struct Passing {
    /// What was read of it already.
    read: VecDeque<Bytes>,
    body: reqwest::Body,
    silence: Silence,
}

impl Passing {
    pub(crate) fn new(body: reqwest::Body, idle: Duration) -> Passing {
        Passing { read: VecDeque::new(), body, silence: Silence::of_at_most(idle) }
    }

    /// Nothing more is wanted: its connection ends.
    fn stop(&mut self) {
        self.read.clear();
        self.body = reqwest::Body::default();
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.body.is_end_stream()
    }

    /// Of all of it, where that is known.
    fn length(&self) -> Option<u64> {
        let read: usize = self.read.iter().map(Bytes::len).sum();
        Some(self.body.size_hint().exact()? + read as u64)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(piece) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence.is_broken();
                    // Trailers are of one connection and don't cross.
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Broken("the upstream ended early")))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.silence.poll(cx));
                    return Poll::Ready(Some(Err(SILENT)));
                }
            }
        }
    }
}

/// A call's answer on its way through.
pub(crate) struct Metered {
    source: Passing,
    meter: Meter,
    /// Away while a call goes on after a cut.
    entry: Option<OpenEntry>,
    /// What it takes to go on, where its caller asked for that.
    continuing: Option<Box<Continuing>>,
    /// Joins the rest to what was said before.
    splice: Option<Splice>,
    idle: Duration,
    status: StatusCode,
    /// Of the body, where it is known beforehand.
    length: Option<u64>,
    is_api_answer: bool,
    held: Option<Bytes>,
    duplicate: Duplicate,
    stage: Stage,
}

enum Stage {
    Flowing,
    /// What follows goes out when the entry is durable.
    Settling {
        settled: BoxFuture<Result<(), BooksClosed>>,
        then: Then,
    },
    /// It broke off, and the rest is asked for.
    GoingOn(GoesOn),
    /// The entry is closed; what still comes is passed on.
    Trailing,
    /// All that may go out has.
    Breaking,
    Over,
}

#[derive(Clone, Copy)]
enum Then {
    Trail,
    End,
    Break,
}

impl Metered {
    pub(crate) fn of(
        Begun { from, head, read, body }: Begun,
        continuing: Option<Box<Continuing>>,
        idle: Duration,
        mut entry: OpenEntry,
    ) -> (Parts, Metered) {
        let source = Passing { read, body, silence: Silence::of_at_most(idle) };
        let metered = Metered {
            duplicate: entry.duplicate(from.as_ref(), head.status, &head.headers),
            length: source.length(),
            source,
            meter: Meter::for_answer(&head.headers),
            entry: Some(entry),
            continuing,
            splice: None,
            idle,
            status: head.status,
            is_api_answer: anthropic::is_api_answer(&head.headers),
            held: None,
            stage: Stage::Flowing,
        };
        (head, metered)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match &mut self.stage {
                Stage::Flowing => {
                    if let Some(piece) = ready!(self.poll_flow(cx)) {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Stage::Settling { settled, then } => {
                    let written = ready!(settled.as_mut().poll(cx));
                    let then = *then;
                    return Poll::Ready(self.after_settling(written, then));
                }
                Stage::GoingOn(going_on) => {
                    let (entry, rest) = ready!(going_on.as_mut().poll(cx));
                    self.goes_on(entry, rest);
                }
                Stage::Trailing => {
                    let piece = ready!(self.source.poll(cx));
                    self.duplicate.trails(piece.as_ref());
                    return Poll::Ready(piece);
                }
                Stage::Breaking => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Some(Err(NOT_WHOLE)));
                }
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    /// The next piece that may go out; `None` where the stage has changed or a piece is held.
    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = match ready!(self.source.poll(cx)) {
            Some(Ok(piece)) => self.flow(piece),
            Some(Err(broken)) => self.breaks(&broken),
            None => {
                self.end();
                None
            }
        };
        Poll::Ready(piece)
    }

    /// The upstream ended early, or fell silent: between two events its silence can be told as the API would.
    fn breaks(&mut self, broken: &Broken) -> Option<Bytes> {
        self.source.stop();
        let before = self.held.take();
        if let Some(entry) = &self.entry {
            entry.fared(Fared::Badly);
        }
        if self.is_continued() {
            return before;
        }
        if *broken == SILENT && self.length.is_none() && self.meter.is_between_events() {
            self.held = self.entry.as_ref().map(OpenEntry::silence);
        }
        self.settle(Outcome::Cut, Some(broken.0), Then::Break);
        before
    }

    /// Whether its caller wants the rest, and it can be asked for.
    fn is_continued(&mut self) -> bool {
        let Some(continuing) = self.continuing.take().filter(|_| self.length.is_none()) else { return false };
        // What is joined from two is not what one call got.
        self.duplicate.breaks();
        let Some(entry) = self.entry.take() else { return false };
        match continuing.go_on(entry, self.meter.tally().output_so_far()) {
            Ok((going_on, splice)) => {
                (self.stage, self.splice) = (Stage::GoingOn(going_on), Some(splice));
                true
            }
            Err(entry) => {
                self.entry = Some(*entry);
                false
            }
        }
    }

    fn goes_on(&mut self, mut entry: OpenEntry, rest: Option<Begun>) {
        let Some(Begun { head, read, body, .. }) = rest else {
            entry.again("not_continued", false);
            self.entry = Some(entry);
            return self.settle(Outcome::Cut, Some(NOT_CONTINUED), Then::Break);
        };
        self.entry = Some(entry);
        self.source = Passing { read, body, silence: Silence::of_at_most(self.idle) };
        self.meter = Meter::for_answer(&head.headers);
        self.stage = Stage::Flowing;
    }

    fn flow(&mut self, mut piece: Bytes) -> Option<Bytes> {
        self.duplicate.piece(&piece);
        let seen = self.meter.feed(&piece);
        let flow = self.entry.as_mut().map_or(Flow::GoOn, |entry| entry.metered(self.meter.tally()));
        if let Some(splice) = &mut self.splice {
            let Joined { before, last } = splice.join(&piece);
            if !self.meter.reads_plain_events() {
                self.source.stop();
                self.settle(Outcome::Cut, Some(NOT_CONTINUED), Then::Break);
            } else if seen != Seen::More {
                self.held = Some(last.into());
                self.settle_event();
            }
            return (!before.is_empty()).then(|| before.into());
        }
        if let Some(continuing) = self.continuing.as_mut().filter(|_| seen == Seen::More && self.meter.reads_events()) {
            continuing.hears(&piece);
            piece = continuing.whole_events(&piece, self.meter.last_event_ends().unwrap_or(0));
            if piece.is_empty() {
                return None;
            }
        }
        if !self.meter.reads_plain_events() {
            // Nobody can tell any more where it would go on.
            piece = self.continuing.take().map_or(piece.clone(), |lost| [lost.begun(), piece.to_vec()].concat().into());
        }
        if let Seen::Last { mut at } = seen {
            if let Some(begun) = self.continuing.take().map(|continuing| continuing.begun()).filter(|b| !b.is_empty()) {
                at += if at == 0 { 0 } else { begun.len() };
                piece = [begun, piece.to_vec()].concat().into();
            }
            let before = piece.split_to(at);
            self.held = Some(piece);
            self.settle_event();
            return (!before.is_empty()).then_some(before);
        }
        if self.meter.reads_events() {
            return Some(match flow {
                Flow::GoOn => piece,
                Flow::Cut(spent) => self.cut(piece, &spent),
            });
        }
        // Which bytes are the last only the end tells: one piece is held until the next is here.
        let before = self.held.replace(piece);
        if self.source.is_end_stream() {
            self.end();
        }
        before
    }

    /// A hard budget is spent. What was paid for passes, then an error as the API would send it, and no clean end:
    /// clients take that for a whole answer.
    fn cut(&mut self, piece: Bytes, spent: &QuotaSpent) -> Bytes {
        self.source.stop();
        let farewell = self.entry.as_ref().map_or_else(Bytes::new, |entry| entry.farewell(spent));
        self.settle(Outcome::Cut, Some("tidegate_budget_reached"), Then::Break);
        match self.meter.last_event_ends().filter(|_| self.length.is_none()) {
            Some(end) => {
                self.held = Some(farewell);
                piece.slice(..end)
            }
            None => piece,
        }
    }

    /// An event that ends the answer is here: `message_stop`, or the upstream's error.
    fn settle_event(&mut self) {
        match self.meter.tally().ended {
            Some(Ended::Error) => self.fails(Then::Trail),
            Some(Ended::Whole) | None => self.completes(Then::Trail),
        }
    }

    /// The upstream ended its body in good order.
    fn end(&mut self) {
        self.meter.finish();
        // It is whole: there is nothing left to cut.
        if let Some(entry) = &mut self.entry {
            let _ = entry.metered(self.meter.tally());
        }
        match self.meter.tally().ended {
            None if self.meter.reads_events() && self.status.is_success() => {
                if let Some(entry) = &self.entry {
                    entry.fared(Fared::Badly);
                }
                if self.is_continued() {
                    return;
                }
                self.settle(Outcome::Cut, Some("the stream ended without message_stop"), Then::Break);
            }
            Some(Ended::Error) => self.fails(Then::End),
            Some(Ended::Whole) | None => self.completes(Then::End),
        }
    }

    /// It has come to its end; where that is a good one, its upstream is well.
    fn completes(&mut self, then: Then) {
        let outcome = self.outcome();
        if let Some(entry) = self.entry.as_ref().filter(|_| outcome == Outcome::Completed) {
            entry.fared(Fared::Well);
        }
        self.settle(outcome, None, then);
    }

    /// An error came in its midst.
    fn fails(&mut self, then: Then) {
        if let Some(entry) = self.entry.as_ref().filter(|_| self.status.is_success()) {
            entry.fared(heeding::fared_in_mid_answer(self.meter.tally()));
        }
        self.settle(Outcome::Failed, None, then);
    }

    fn outcome(&self) -> Outcome {
        let tally = self.meter.tally();
        let says_it_failed = tally.error.is_some() && !tally.prompt_known;
        let is_answered = self.status.is_success() && !self.is_unlike_an_answer() && !says_it_failed;
        if is_answered { Outcome::Completed } else { Outcome::Failed }
    }

    /// A success that no upstream of this API gives.
    fn is_unlike_an_answer(&self) -> bool {
        self.status.is_success() && (!self.is_api_answer || self.meter.tally().foreign)
    }

    fn settle(&mut self, outcome: Outcome, error: Option<&str>, then: Then) {
        let reported = self.meter.tally().error.clone();
        let unlike = self.is_unlike_an_answer().then_some("not_an_api_answer");
        // No failure, and less than was asked for: whoever looks for cut answers finds it.
        let short = (outcome == Outcome::Completed && self.meter.tally().out_of_tokens).then_some("max_tokens");
        let error = unlike.or(error).or(short).map(Arc::from).or(reported);
        let ended = self.ended(outcome);
        let Some(entry) = &mut self.entry else { return };
        let settled = entry.close(Ending { outcome, status: self.status.as_u16(), error });
        self.duplicate.ends(ended, entry.now().timestamp, entry.cost());
        self.stage = Stage::Settling { settled, then };
    }

    fn ended(&self, outcome: Outcome) -> cache::Ended {
        let tally = self.meter.tally();
        let (declined, paused) = (tally.declined, tally.paused);
        cache::Ended { status: self.status.as_u16(), outcome, is_told: tally.whole_known, declined, paused }
    }

    fn after_settling(&mut self, written: Result<(), BooksClosed>, then: Then) -> Option<Result<Bytes, Broken>> {
        self.stage = match then {
            Then::Trail => Stage::Trailing,
            Then::Break if self.held.is_some() => Stage::Breaking,
            Then::End | Then::Break => Stage::Over,
        };
        if written.is_err() {
            self.duplicate.breaks();
            self.stage = Stage::Over;
            return Some(Err(Broken("the ledger could not be written")));
        }
        match then {
            Then::Break => Some(self.held.take().ok_or(NOT_WHOLE)),
            Then::Trail | Then::End => self.held.take().map(Ok),
        }
    }
}
