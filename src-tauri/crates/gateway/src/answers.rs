//! What goes back to the client: the bytes as they come, and the last of them only when the call is settled.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use domain::admission::{Flow, QuotaSpent};
use domain::cache;
use domain::call::Outcome;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::caching::Duplicate;
use crate::connection::Busy;
use crate::entry::{Ending, OpenEntry};
use crate::meter::{Meter, Seen};
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

    pub(crate) fn metered(metered: Metered) -> Answer {
        Answer { kind: Kind::Metered(Box::new(metered)), busy: None, broken: None }
    }

    pub(crate) fn keeps(mut self, busy: Busy) -> Answer {
        self.busy = Some(busy);
        self
    }
}

/// The connection must end as a broken one: what was sent is not a whole answer.
#[derive(Debug)]
pub(crate) struct Broken(&'static str);

const NOT_WHOLE: Broken = Broken("the answer ended early");

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
            Kind::Passing(passing) => passing.body.is_end_stream(),
            // Its end is told by `poll_frame` alone: it must not be dropped unpolled and unsettled.
            Kind::Metered(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Passing(passing) => passing.body.size_hint(),
            Kind::Metered(metered) => metered.length.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

/// An upstream's body under the clock that bounds its silence.
pub(crate) struct Passing {
    body: reqwest::Body,
    silence: Silence,
}

impl Passing {
    pub(crate) fn new(body: reqwest::Body, idle: Duration) -> Passing {
        Passing { body, silence: Silence::of_at_most(idle) }
    }

    /// Nothing more is wanted: its connection ends.
    fn stop(&mut self) {
        self.body = reqwest::Body::default();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
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
                    return Poll::Ready(Some(Err(Broken("the upstream fell silent"))));
                }
            }
        }
    }
}

/// A call's answer on its way through.
pub(crate) struct Metered {
    source: Passing,
    meter: Meter,
    entry: OpenEntry,
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
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: reqwest::Body,
        idle: Duration,
        mut entry: OpenEntry,
    ) -> Metered {
        Metered {
            duplicate: entry.duplicate(status, headers),
            length: body.size_hint().exact(),
            source: Passing::new(body, idle),
            meter: Meter::for_answer(headers),
            entry,
            status,
            is_api_answer: anthropic::is_api_answer(headers),
            held: None,
            stage: Stage::Flowing,
        }
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
            Some(Err(broken)) => {
                self.settle(Outcome::Cut, Some(broken.0), Then::Break);
                self.held.take()
            }
            None => {
                self.end();
                None
            }
        };
        Poll::Ready(piece)
    }

    fn flow(&mut self, mut piece: Bytes) -> Option<Bytes> {
        self.duplicate.piece(&piece);
        let seen = self.meter.feed(&piece);
        let flow = self.entry.metered(self.meter.tally());
        if let Seen::Last { at } = seen {
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
        if self.source.body.is_end_stream() {
            self.end();
        }
        before
    }

    /// A hard budget is spent. What was paid for passes, then an error as the API would send it, and no clean end:
    /// clients take that for a whole answer.
    fn cut(&mut self, piece: Bytes, spent: &QuotaSpent) -> Bytes {
        self.source.stop();
        let farewell = self.entry.farewell(spent);
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
            Some(Ended::Error) => self.settle(Outcome::Failed, None, Then::Trail),
            Some(Ended::Whole) | None => self.settle(self.outcome(), None, Then::Trail),
        }
    }

    /// The upstream ended its body in good order.
    fn end(&mut self) {
        self.meter.finish();
        // It is whole: there is nothing left to cut.
        let _ = self.entry.metered(self.meter.tally());
        match self.meter.tally().ended {
            None if self.meter.reads_events() && self.status.is_success() => {
                self.settle(Outcome::Cut, Some("the stream ended without message_stop"), Then::Break);
            }
            Some(Ended::Error) => self.settle(Outcome::Failed, None, Then::End),
            Some(Ended::Whole) | None => self.settle(self.outcome(), None, Then::End),
        }
    }

    fn outcome(&self) -> Outcome {
        if self.status.is_success() && self.is_api_answer { Outcome::Completed } else { Outcome::Failed }
    }

    fn settle(&mut self, outcome: Outcome, error: Option<&str>, then: Then) {
        let reported = self.meter.tally().error.clone();
        let unlike = (self.status.is_success() && !self.is_api_answer).then_some("not_an_api_answer");
        let error = unlike.or(error).map(Arc::from).or(reported);
        let settled = self.entry.close(Ending { outcome, status: self.status.as_u16(), error });
        let (ended, made_at) = (self.ended(outcome), self.entry.now().timestamp);
        self.duplicate.ends(ended, made_at, self.entry.cost());
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
