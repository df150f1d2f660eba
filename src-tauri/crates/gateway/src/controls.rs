//! What shells see of admission, and what they change in it by hand.

use std::sync::PoisonError;

use domain::admission::{
    AccountId, BreakerView, ClassQueue, EstimateError, Level, Memory, Outlook, Outside, Past, PausedScope, QuotaKey,
    QuotaLevel, Reservation, ReservationId, TaughtLimits, WaitingCall,
};
use domain::call::{CallId, Class};
use domain::config::{Budget, Client};
use domain::time::Timestamp;
use thiserror::Error as ThisError;

use crate::pipeline::Pipeline;
use crate::reserving::Wanted;
use crate::server::Gateway;

/// One sentence: why nobody can say what would become of a call.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
#[error("{reason}")]
pub struct NoOutlook {
    pub reason: String,
}

/// One sentence: why nothing was set aside.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
#[error("{reason}")]
pub struct NotSetAside {
    pub reason: String,
}

impl Gateway {
    pub fn levels(&self) -> Vec<Level> {
        self.pipeline().door.ask(|admission, now| admission.levels(now))
    }

    pub fn queue(&self, class: Class) -> ClassQueue {
        self.pipeline().door.ask(|admission, now| admission.queue(class, now))
    }

    /// Of each upstream's model groups that have failed lately.
    pub fn breakers(&self) -> Vec<BreakerView> {
        self.pipeline().door.ask(|admission, now| admission.breakers(now))
    }

    /// Windows and budgets.
    pub fn quotas(&self) -> Vec<QuotaLevel> {
        self.pipeline().door.ask(|admission, now| admission.quotas(now))
    }

    /// Who else draws on the limits.
    pub fn outside(&self) -> Vec<Outside> {
        self.pipeline().door.ask(|admission, now| admission.outside(now))
    }

    /// How far estimates were off.
    pub fn estimates(&self) -> Vec<(AccountId, EstimateError)> {
        self.pipeline().door.ask(|admission, _| admission.estimates())
    }

    /// Everyone who waits, the longest first.
    pub fn waiting(&self) -> Vec<WaitingCall> {
        self.pipeline().door.ask(|admission, now| admission.waiting(now))
    }

    pub fn reservations(&self) -> Vec<Reservation> {
        self.pipeline().door.ask(|admission, _| admission.reservations())
    }

    /// Ends when a client has made, extended or released a reservation since the last time this ended.
    pub async fn reserved(&self) {
        self.pipeline().reserved.notified().await;
    }

    /// What would become of a call with this body that `client` sent now.
    pub fn outlook(&self, body: &[u8], client: &Client) -> Result<Outlook, NoOutlook> {
        let demand = self.pipeline().imagined(body, client);
        let demand = demand.map_err(|error| NoOutlook { reason: error.to_string() })?;
        Ok(self.pipeline().door.ask(|admission, now| admission.outlook(demand, now)))
    }

    /// Sets capacity aside for a client's calls, or says why not.
    pub fn reserve(&self, client: &Client, wanted: &Wanted) -> Result<Reservation, NotSetAside> {
        self.pipeline().set_aside(client, wanted).map_err(|error| NotSetAside { reason: error.to_string() })
    }

    /// Ends a reservation. `false` where the client holds none of that name.
    pub fn release(&self, id: ReservationId, client: &str) -> bool {
        self.pipeline().door.change(|admission, now| admission.release_reservation(id, client, now))
    }

    pub fn pause(&self, class: Class) {
        self.pipeline().door.change(|admission, _| admission.pause(class));
    }

    pub fn resume(&self, class: Class) {
        self.pipeline().door.change(|admission, _| admission.resume(class));
    }

    /// Calls of `session:ID` or `client:NAME` wait from now on, until `resume_scope`.
    pub fn pause_scope(&self, scope: &str) {
        self.pipeline().door.change(|admission, now| admission.pause_scope(scope, now.timestamp));
    }

    /// `false` where it wasn't paused.
    pub fn resume_scope(&self, scope: &str) -> bool {
        self.pipeline().door.change(|admission, _| admission.resume_scope(scope))
    }

    pub fn paused_scopes(&self) -> Vec<PausedScope> {
        self.pipeline().door.ask(|admission, _| admission.paused_scopes())
    }

    /// Since when there is an emergency: background calls wait, normal ones go at half the pace, and answers may be given
    /// again for as long as the settings allow then. `None` restores everything.
    pub fn set_emergency(&self, since: Option<Timestamp>) {
        self.pipeline().caching.set_emergency(since.is_some());
        self.pipeline().door.change(|admission, _| admission.set_emergency(since));
    }

    /// Background calls that have waited because of the emergency that is on.
    pub fn held_by_emergency(&self) -> u64 {
        self.pipeline().door.ask(|admission, _| admission.held_by_emergency())
    }

    /// Takes a waiting call out of the queue: its client gets 429 `tidegate_dropped`. `false` where it doesn't wait.
    pub fn drop_call(&self, call: CallId) -> bool {
        let door = &self.pipeline().door;
        door.change_waiting(call, domain::admission::Admission::drop_waiting).unwrap_or(false)
    }

    /// Puts a waiting call before all others. `false` where it doesn't wait.
    pub fn raise_call(&self, call: CallId) -> bool {
        let door = &self.pipeline().door;
        door.change_waiting(call, domain::admission::Admission::raise).unwrap_or(false)
    }

    /// Replaces the budgets of the settings. Those of clients stay, and so does what is spent of all that remain.
    pub fn set_budgets(&self, budgets: Vec<Budget>) {
        self.pipeline().words.set_budgets(budgets);
        self.pipeline().renew_budgets();
    }

    /// From so much of a week's window on only critical calls spend it. In thousandths.
    pub fn set_week_reserve(&self, permille: u32) {
        self.pipeline().door.change(|admission, _| admission.set_week_reserve(permille));
    }

    /// Sets what was spent of a window or budget since its period began, as the ledger tells it.
    pub fn count(&self, key: &QuotaKey, used: i64) {
        self.pipeline().door.change(|admission, _| admission.count(key, used));
    }

    /// What the Rate Limits API says of an upstream, by its place in the settings.
    pub fn learn_limits(&self, upstream: usize, told: &[TaughtLimits]) {
        if let Some(upstream) = self.pipeline().upstreams.get(upstream) {
            let account = upstream.account;
            self.pipeline().door.change(|admission, now| admission.learn_limits(account, told, now));
        }
    }

    /// What was learned, for `recall` after a restart.
    pub fn remember(&self) -> Memory {
        self.pipeline().door.ask(|admission, now| admission.remember(now))
    }

    pub fn recall(&self, memory: Memory) {
        self.pipeline().door.change(|admission, now| admission.recall(memory, now));
    }

    /// Takes again what calls of the last minutes took.
    pub fn replay(&self, past: Vec<Past>) {
        self.pipeline().door.change(|admission, now| admission.replay(past, now));
    }
}

impl Pipeline {
    /// The budgets of the settings and of all clients are in force from now on.
    pub(crate) fn renew_budgets(&self) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut budgets: Vec<Budget> = clients.values().flat_map(|client| client.budgets()).collect();
        // The last of two for the same says whether it is hard: a client's own never is.
        budgets.extend(self.words.budgets());
        self.door.change(|admission, now| admission.set_budgets(&budgets, now));
    }
}
