//! Requests' bodies: held in memory within one budget for all calls; over it reading stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

pub(crate) const MESSAGES_BYTES_MAX: u64 = 33_554_432;
/// A client that stops sending in the middle is not waited for longer.
pub(crate) const BODY_IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    budget: u64,
}

/// A body in memory and its share of the budget.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Held {
    /// A little more or less of the same, in its place.
    pub(crate) fn with(self, bytes: Bytes) -> Held {
        Held { bytes, ..self }
    }
}

#[derive(Debug)]
pub(crate) enum NotHeld {
    Refused(Error),
    /// The client has gone in the middle.
    Gone,
}

impl Bodies {
    pub(crate) fn new(budget: u64) -> Bodies {
        // One body must always fit, else nothing would ever be read.
        let budget = budget.clamp(MESSAGES_BYTES_MAX, u64::from(u32::MAX));
        let permits = usize::try_from(budget).unwrap_or(Semaphore::MAX_PERMITS);
        Bodies { room: Arc::new(Semaphore::new(permits)), budget }
    }

    /// Reads a body of at most `max` bytes once there is room for it, which may take as long as `patience`.
    pub(crate) async fn hold(&self, body: Incoming, max: u64, patience: Duration) -> Result<Held, NotHeld> {
        let declared = body.size_hint().exact();
        if declared.is_some_and(|length| length > max) {
            return Err(NotHeld::Refused(Error::TooLarge { max }));
        }
        // Of a body of unknown length the room for the largest is taken: growing step by step, two could wait for each other.
        let share = u32::try_from(declared.unwrap_or(max).min(self.budget)).unwrap_or(u32::MAX);
        let room = self.room(share, patience).await?;
        let bytes = collect(body, declared, max).await?;
        Ok(Held { bytes, _room: room })
    }

    async fn room(&self, bytes: u32, patience: Duration) -> Result<OwnedSemaphorePermit, NotHeld> {
        if let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) {
            return Ok(room);
        }
        let room = tokio::time::timeout(patience, self.room.clone().acquire_many_owned(bytes)).await;
        room.ok().and_then(Result::ok).ok_or_else(|| NotHeld::Refused(Error::no_room(self.budget)))
    }
}

async fn collect(mut body: Incoming, declared: Option<u64>, max: u64) -> Result<Bytes, NotHeld> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(piece) = next_piece(&mut body).await? {
        if first.is_empty() && rest.is_empty() {
            first = piece;
            continue;
        }
        if rest.is_empty() {
            let expected = declared.and_then(|length| usize::try_from(length).ok());
            rest.reserve(expected.unwrap_or(first.len() + piece.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&piece);
        if rest.len() as u64 > max {
            return Err(NotHeld::Refused(Error::TooLarge { max }));
        }
    }
    // Nearly every body comes in one piece and is not copied at all.
    let whole = if rest.is_empty() { first } else { rest.freeze() };
    if whole.len() as u64 > max { Err(NotHeld::Refused(Error::TooLarge { max })) } else { Ok(whole) }
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, NotHeld> {
    loop {
        let frame = tokio::time::timeout(BODY_IDLE, body.frame()).await;
        match frame {
            Err(_) => return Err(NotHeld::Refused(Error::BodyStopped)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(NotHeld::Gone),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}
