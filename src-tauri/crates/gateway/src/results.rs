//! Results of batches on their way through: each that is paid for is entered once, before the last of them is here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use domain::call::Entry;
use domain::config::Client;
use http::HeaderMap;
use memchr::memchr;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::answers::{Broken, Passing};
use crate::entry::OpenEntry;
use crate::pipeline::Pipeline;
use crate::wire::anthropic::Tally;
use crate::wire::json;

/// A longer line passes, and nobody reads what it used.
const LINE_BYTES_MAX: usize = 8 << 20;
/// So many are entered together.
const ENTERED_AT_ONCE: usize = 256;

pub(crate) struct Results {
    source: Passing,
    lines: Lines,
    of: Batch,
    read: Vec<Entry>,
    entering: Option<JoinHandle<()>>,
    has_ended: bool,
}

/// Whose results, and who fetches them.
pub(crate) struct Batch {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) client: Client,
    /// Of the request.
    pub(crate) headers: HeaderMap,
    pub(crate) upstream: Arc<str>,
    pub(crate) id: String,
}

impl Results {
    pub(crate) fn of(of: Batch, source: Passing) -> Results {
        Results { source, lines: Lines::default(), of, read: Vec::new(), entering: None, has_ended: false }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(entering) = &mut self.entering {
                // One that panicked is counted among the failures.
                let _ = ready!(Pin::new(entering).poll(cx));
                self.entering = None;
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let piece = ready!(self.source.poll(cx));
            let (of, read) = (&self.of, &mut self.read);
            match &piece {
                Some(Ok(bytes)) => self.lines.feed(bytes, |line| read.extend(of.entry(line))),
                None => self.lines.end(|line| read.extend(of.entry(line))),
                Some(Err(_)) => return Poll::Ready(piece),
            }
            self.has_ended = piece.is_none();
            if self.has_ended || self.read.len() >= ENTERED_AT_ONCE {
                self.entering = self.enter();
            }
            if piece.is_some() {
                return Poll::Ready(piece);
            }
        }
    }
}

impl Results {
    /// In a task of its own: whoever fetches them may leave.
    fn enter(&mut self) -> Option<JoinHandle<()>> {
        let entries = std::mem::take(&mut self.read);
        if entries.is_empty() {
            return None;
        }
        let (entering, id) = (self.of.pipeline.books.enter_once(entries), self.of.id.clone());
        // There is none where this process ends.
        let runtime = Handle::try_current().ok()?;
        Some(runtime.spawn(async move {
            if let Err(closed) = entering.await {
                tracing::warn!("results of batch {id} were not entered, fetch them again: {}", closed.reason);
            }
        }))
    }
}

/// What has passed is paid for, also where its client or its upstream broke off.
impl Drop for Results {
    fn drop(&mut self) {
        drop(self.enter());
    }
}

impl Batch {
    /// `None` where the line tells of nothing that was paid for.
    fn entry(&self, line: &[u8]) -> Option<Entry> {
        let (mut name, mut result) = (None, None);
        json::members(line, &["custom_id", "result"], |member, value| match member {
            "custom_id" => name = json::text(value),
            _ => result = Some(value),
        })
        .ok()?;
        let message = json::member(result?.get().as_bytes(), "message")?;
        let mut tally = Tally::default();
        tally.document(message.get().as_bytes());
        tally.usage.batch = true;
        let id = format!("{}/{}", self.id, name.unwrap_or_default());
        tally.prompt_known.then(|| OpenEntry::of_result(self, tally, &id))
    }
}

/// Bytes cut into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', piece) {
            self.add(&piece[..end]);
            self.end(&mut each);
            piece = &piece[end + 1..];
        }
        self.add(piece);
    }

    fn add(&mut self, piece: &[u8]) {
        self.is_too_long |= self.begun.len() + piece.len() > LINE_BYTES_MAX;
        if self.is_too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(piece);
        }
    }

    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if self.is_too_long {
            tracing::warn!("a result of a batch is larger than 8 MiB: it passes, its usage is unknown");
        } else if !self.begun.is_empty() {
            each(&self.begun);
        }
        (self.is_too_long, self.begun) = (false, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come_and_one_without_end_is_passed_over() {
        let text = [&b"one\n\ntwo\n"[..], &vec![b'x'; LINE_BYTES_MAX + 1], b"\nthree"].concat();
        for size in [1, 7, text.len()] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|piece| lines.feed(piece, |line| seen.push(line.to_vec())));
            lines.end(|line| seen.push(line.to_vec()));
            assert_eq!(seen, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        }
    }
}
