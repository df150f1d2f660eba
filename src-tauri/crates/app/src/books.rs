//! The gateway's books are the ledger.

use std::sync::Arc;

use domain::call::{Call, CallId, Checkpoint, Entry, Opening};
use gateway::{BooksClosed, BoxFuture};
use ledger::Ledger;
use tokio::sync::Notify;

use crate::clock;
use crate::metrics::Meter;

pub(crate) struct GatewayBooks {
    pub(crate) ledger: Arc<Ledger>,
    /// Where the settings have metrics on.
    pub(crate) meter: Option<Arc<Meter>>,
    /// Something was entered that no window or budget has counted.
    pub(crate) elsewhere: Arc<Notify>,
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

    fn checkpoint(&self, call: CallId, shown: &Checkpoint) {
        if let Err(error) = self.ledger.checkpoint(call, shown, clock::now().timestamp) {
            tracing::warn!("a checkpoint of call {call} was not written: {error}");
        }
    }

    fn enter_once(&self, entries: Vec<Entry>) -> BoxFuture<Result<(), BooksClosed>> {
        let (ledger, meter, elsewhere) = (self.ledger.clone(), self.meter.clone(), self.elsewhere.clone());
        Box::pin(async move {
            let entered = ledger.settle_once(entries).await.map_err(closed)?;
            if let Some(meter) = &meter {
                entered.iter().for_each(|entry| meter.count(entry));
            }
            if !entered.is_empty() {
                elsewhere.notify_one();
            }
            Ok(())
        })
    }

    fn settle(&self, entry: &Entry) -> BoxFuture<Result<(), BooksClosed>> {
        if let Some(meter) = &self.meter {
            meter.count(entry);
        }
        let settled = self.ledger.settle(entry);
        Box::pin(async { settled.await.map_err(closed) })
    }
}
