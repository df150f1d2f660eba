//! How long entries are kept. The sums of them are kept for ever.

use domain::time::Timestamp;

use crate::{Error, Ledger};

impl Ledger {
    /// Entries of calls that started before may have been deleted; the sums have them all.
    pub async fn kept_from(&self) -> Result<Timestamp, Error> {
        let kept_from = sqlx::query_scalar!("SELECT kept_from FROM meta").fetch_one(&self.readers).await;
        kept_from.map(Timestamp::from_millis).map_err(|error| self.db.error(&error))
    }
}
