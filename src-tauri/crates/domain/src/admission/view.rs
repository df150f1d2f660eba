//! What a person may see of admission.

use std::sync::Arc;
use std::time::Duration;

use super::AccountId;
use super::demand::{Measure, WaiterId};
use super::estimate::Estimate;
use super::refusal::{Binding, LimitSource};
use crate::call::{CallId, Class};
use crate::money::Usd;
use crate::routing::BreakerState;
use crate::time::{Instant, Timestamp};

/// A limit and how full it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    pub account: AccountId,
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    /// What we allow ourselves of it now, in thousandths.
    pub guard_permille: u32,
    /// The same as an amount.
    pub guarded: u64,
    /// What is left of `guarded` now.
    pub level: u64,
    pub source: LimitSource,
    pub observed: Option<Instant>,
}

/// A class in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassQueue {
    pub waiting: usize,
    pub running: usize,
    pub oldest: Option<Duration>,
    /// When the last of them is expected to leave; zero where none waits. `None`: that depends on calls that run, or on
    /// a person.
    pub eta: Option<Duration>,
    pub paused: bool,
}

/// One call in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingCall {
    pub waiter: WaiterId,
    pub call: CallId,
    pub account: AccountId,
    pub class: Class,
    pub client: Arc<str>,
    pub tenant: Option<Arc<str>>,
    pub model: Arc<str>,
    /// What it will probably send; of what the upstream counts.
    pub input: u64,
    pub waited: Duration,
    pub eta: Option<Duration>,
}

/// What would become of a call that came now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlook {
    pub input: Estimate,
    pub output: Estimate,
    /// Both sides at what is likely; at the most it may cost.
    pub cost_likely: Option<Usd>,
    pub cost_worst: Option<Usd>,
    /// `None`: nobody knows.
    pub wait: Option<Duration>,
    pub binding: Option<Binding>,
}

/// Who else draws on a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outside {
    pub account: AccountId,
    pub group: Arc<str>,
    pub measure: Measure,
    /// Of all that was drawn in the last minutes, in thousandths.
    pub share_permille: u32,
}

/// A group whose calls fail, or did so lately.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakerView {
    pub account: AccountId,
    pub group: Arc<str>,
    pub state: BreakerState,
    /// Until when no call of it starts.
    pub until: Option<Instant>,
    /// When it first opened, however many probes have failed since.
    pub since: Option<Instant>,
}

/// A question that costs nothing and tells whether an upstream is there again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreeProbe {
    pub account: AccountId,
    pub group: Arc<str>,
}

/// A session or a client whose calls wait until a person lets them go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PausedScope {
    /// `session:ID`, `client:NAME`.
    pub scope: Arc<str>,
    pub since: Timestamp,
    pub waiting: usize,
}
