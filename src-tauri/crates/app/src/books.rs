//! The gateway's books are the ledger.

use std::sync::Arc;

use domain::call::{Call, CallId, Entry, Opening};
use domain::usage::Usage;
use gateway::{BooksClosed, BoxFuture};
use ledger::Ledger;

use crate::clock;
use crate::metrics::Meter;

pub(crate) struct GatewayBooks {
    pub(crate) ledger: Arc<Ledger>,
    /// Where the settings have metrics on.
    pub(crate) meter: Option<Arc<Meter>>,
}

fn closed(error: ledger::Error) -> BooksClosed {
    BooksClosed { reason: error.to_string() }
}

impl gateway::Books for GatewayBooks {
    fn room(&self) -> Option<BoxFuture<()>> {
        Some(Box::pin(self.ledger.room()?))
    }

    fn open(&self, call: &Call, opening: &Opening) -> Result<(), BooksClosed> {
        self.ledger.opened(call, opening).map_err(closed)
    }

    fn checkpoint(&self, call: CallId, usage: &Usage) {
        if let Err(error) = self.ledger.checkpoint(call, usage, clock::now().timestamp) {
            tracing::warn!("a checkpoint of call {call} was not written: {error}");
        }
    }

    fn settle(&self, entry: &Entry) -> BoxFuture<Result<(), BooksClosed>> {
        if let Some(meter) = &self.meter {
            meter.count(entry);
        }
        let settled = self.ledger.settle(entry);
        Box::pin(async { settled.await.map_err(closed) })
    }
}
