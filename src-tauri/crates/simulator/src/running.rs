//! A call that has been admitted. However it ends, it is booked once.

use std::sync::Arc;

use domain::usage::Usage;

use crate::books::{Ending, Outcome};
use crate::limits::Grant;
use crate::reports::Used;
use crate::world::World;

pub(crate) struct Running {
    pub(crate) world: Arc<World>,
    pub(crate) grant: Grant,
    /// Whose windows pay for it.
    pub(crate) key: String,
    pub(crate) request_id: String,
    pub(crate) model: String,
    /// `tokens.output` is what has been produced so far.
    pub(crate) usage: Usage,
    pub(crate) outcome: Outcome,
}

impl Running {
    /// In all, so far.
    pub(crate) fn produce(&mut self, total: u64) {
        let new = total.saturating_sub(self.usage.tokens.output);
        if new == 0 {
            return;
        }
        self.usage.tokens.output = total;
        let now = self.world.clock.now();
        let mut state = self.world.state();
        state.limits.produce(&self.grant, new, now.instant);
        state.books.produce(new);
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let now = self.world.clock.now();
        let mut state = self.world.state();
        state.limits.end(&self.grant, self.usage.tokens.output, now.instant);
        state.books.leave();
        let key_id = state.reports.of_secret(&self.key);
        state.reports.add(Used {
            key_id,
            model: &self.model,
            usage: self.usage,
            priority: self.grant.has_priority(),
            at: now.timestamp,
            actor: None,
        });
        let cost = state.books.end(Ending {
            request_id: std::mem::take(&mut self.request_id),
            model: &self.model,
            status: 200,
            outcome: self.outcome,
            usage: self.usage,
            at: now.timestamp,
        });
        state.windows.spend(&self.key, cost, now);
    }
}
