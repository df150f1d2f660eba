//! The beginning of an answer, held back until it is known to be one: a retry or a fallback before that stays invisible.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use memchr::memmem;
use tokio::time::{Instant, timeout};

use crate::meter::{self, Meter};
use crate::wire::anthropic::complaint::Complaint;
use crate::wire::anthropic::{self, Ended, Tally};
use crate::wire::json::{self, Ends};

/// An answer whose beginning is here: what was read of its body, and what still comes.
pub(crate) struct Begun {
    /// The upstream that gave it.
    pub(crate) from: Option<Arc<str>>,
    pub(crate) head: Parts,
    pub(crate) read: VecDeque<Bytes>,
    pub(crate) body: reqwest::Body,
}

/// What a beginning turned out to be.
pub(crate) enum Beginning {
    /// The first content is here, or as much that no more is held back.
    Content,
    /// It says why there is no answer, as far as that can be read.
    Complaint(Complaint),
    /// A success without any sign of the API.
    Foreign,
    /// It ended before its first content.
    Cut,
    /// Nothing came for so long.
    Silent,
}

/// A complaint is small; a larger one is passed on unread.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// A stream's beginning is a few hundred bytes. More than this, or pings for longer than that, must not be kept from a client.
const EVENTS_BYTES_MAX: usize = 64 << 10;
const EVENTS_HELD_MAX: Duration = Duration::from_secs(15);
/// An answer that is no stream comes at once, as soon as it is whole.
const DOCUMENT_BYTES_MAX: usize = 256 << 10;

impl Begun {
    pub(crate) fn unread(from: Arc<str>, head: Parts, body: reqwest::Body) -> Begun {
        Begun { from: Some(from), head, read: VecDeque::new(), body }
    }

    pub(crate) fn whole(from: Option<Arc<str>>, head: Parts, body: Bytes) -> Begun {
        Begun { from, head, read: VecDeque::from([body]), body: reqwest::Body::from(Bytes::new()) }
    }

    /// It has no body, and none will come.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.body.is_end_stream()
    }

    /// Reads as much as tells what it is. Silence between two pieces lasts `idle` at most; `seen` learns what was used so far.
    pub(crate) async fn read_beginning(&mut self, idle: Duration, seen: impl FnMut(&Tally)) -> Beginning {
        if !self.head.status.is_success() {
            self.read_complaint(idle).await
        } else if !anthropic::is_api_answer(&self.head.headers) || self.body.is_end_stream() {
            Beginning::Foreign
        } else if anthropic::is_event_stream(&self.head.headers) {
            self.read_first_events(idle, seen).await
        } else {
            self.read_document(idle).await
        }
    }

    async fn read_complaint(&mut self, idle: Duration) -> Beginning {
        match self.read_up_to(COMPLAINT_BYTES_MAX, idle).await {
            Read::Whole => Beginning::Complaint(Complaint::read(&self.unpacked())),
            Read::Enough => Beginning::Complaint(Complaint::default()),
            Read::Cut => Beginning::Cut,
            Read::Silent => Beginning::Silent,
        }
    }

    async fn read_document(&mut self, idle: Duration) -> Beginning {
        match self.read_up_to(DOCUMENT_BYTES_MAX, idle).await {
            Read::Whole => self.said_in_a_document(),
            Read::Enough => Beginning::Content,
            Read::Cut => Beginning::Cut,
            Read::Silent => Beginning::Silent,
        }
    }

    /// Some put an error, half of an answer or something else into what they say is a good one.
    fn said_in_a_document(&self) -> Beginning {
        if self.read.iter().map(Bytes::len).sum::<usize>() > COMPLAINT_BYTES_MAX {
            return Beginning::Content;
        }
        let body = self.unpacked();
        match json::ends(&body) {
            Ends::Object => {}
            Ends::Torn => return Beginning::Cut,
            // Packed so that nobody here can read it.
            Ends::Other if body.is_empty() && !self.read.is_empty() => return Beginning::Content,
            Ends::Other => return Beginning::Foreign,
        }
        let is_error = |body: &[u8]| json::member(body, "type").is_some_and(|kind| kind.get() == r#""error""#);
        if memmem::find(&body, br#""error""#).is_some() && is_error(&body) {
            Beginning::Complaint(Complaint::read(&body))
        } else {
            Beginning::Content
        }
    }

    async fn read_up_to(&mut self, bytes_max: usize, idle: Duration) -> Read {
        let mut bytes = 0;
        let began = Instant::now();
        if usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX) > bytes_max {
            return Read::Enough;
        }
        while bytes <= bytes_max && began.elapsed() < EVENTS_HELD_MAX {
            match self.next_piece(idle).await {
                Next::Piece(piece) => {
                    bytes += piece.len();
                    self.read.push_back(piece);
                }
                Next::End => return Read::Whole,
                Next::Cut => return Read::Cut,
                Next::Silent => return Read::Silent,
            }
        }
        Read::Enough
    }

    async fn read_first_events(&mut self, idle: Duration, mut seen: impl FnMut(&Tally)) -> Beginning {
        let mut meter = Meter::for_answer(&self.head.headers);
        let mut bytes = 0;
        let began = Instant::now();
        while meter.reads_events() && bytes <= EVENTS_BYTES_MAX && began.elapsed() < EVENTS_HELD_MAX {
            match self.next_piece(idle).await {
                Next::Piece(piece) => {
                    bytes += piece.len();
                    meter.feed(&piece);
                    seen(meter.tally());
                    self.read.push_back(piece);
                }
                Next::End => {
                    meter.finish();
                    return first_word(&meter).unwrap_or(Beginning::Cut);
                }
                Next::Cut => return Beginning::Cut,
                Next::Silent => return Beginning::Silent,
            }
            if let Some(known) = first_word(&meter) {
                return known;
            }
        }
        Beginning::Content
    }

    async fn next_piece(&mut self, idle: Duration) -> Next {
        loop {
            match timeout(idle, self.body.frame()).await {
                // Trailers are of one connection and don't cross.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => return Next::Piece(piece),
                    Err(_) => continue,
                },
                Ok(Some(Err(_))) => return Next::Cut,
                Ok(None) => return Next::End,
                Err(_) => return Next::Silent,
            }
        }
    }

    fn unpacked(&self) -> Bytes {
        let packed: Bytes = match self.read.len() {
            1 => self.read[0].clone(),
            _ => self.read.iter().flatten().copied().collect(),
        };
        meter::unpacked(&self.head.headers, &packed)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }
}

enum Read {
    Whole,
    /// More than is held back.
    Enough,
    Cut,
    Silent,
}

enum Next {
    Piece(Bytes),
    End,
    Cut,
    Silent,
}

/// What the events so far are the beginning of, once that is known.
fn first_word(meter: &Meter) -> Option<Beginning> {
    let tally = meter.tally();
    match tally.ended {
        _ if tally.has_content => Some(Beginning::Content),
        Some(Ended::Error) => {
            Some(Beginning::Complaint(tally.complaint.clone().map(|complaint| *complaint).unwrap_or_default()))
        }
        Some(Ended::Whole) => Some(Beginning::Content),
        None => None,
    }
}
