//! May this call go now, wait, or not at all?
//!
//! One decision over everything a call draws on: it gets all of it or none. The state machine
//! takes the time as an argument; whoever owns it wakes it at `next_wake`.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Class;
use crate::config::Pacing;
use crate::time::{Instant, Now};
use crate::usage::Usage;

/// One credential at one upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(u16);

/// Names a waiting call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(u64);

/// The proof that a call may go. Given back exactly once, by `settle`.
#[must_use = "a ticket holds capacity until it is settled"]
#[derive(PartialEq, Eq, Debug)]
pub struct Ticket {
    id: u64,
    /// The most this call was granted: estimated input, reserved output.
    reserved: Usage,
}

impl Ticket {
    pub fn reserved(&self) -> &Usage {
        &self.reserved
    }
}

/// What admission must know of a call.
#[derive(Clone, Debug)]
pub struct Demand {
    pub account: AccountId,
    pub model: Arc<str>,
    pub class: Class,
    pub client: Arc<str>,
    pub weight: u32,
    pub tenant: Option<Arc<str>>,
    pub body_bytes: u64,
    pub max_tokens: Option<u64>,
    /// When the caller gives up.
    pub deadline: Instant,
}

#[derive(PartialEq, Eq, Debug)]
pub enum Verdict {
    Go(Ticket),
    /// `decide` will tell, at the deadline at the latest.
    Wait(WaiterId),
}

/// What limits: a minute's requests or tokens, or calls at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Measure {
    Requests,
    InputTokens,
    OutputTokens,
    Concurrency,
}

/// Where a limit's figure comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitSource {
    Settings,
    /// The tier table of a scheme.
    Tier,
    Headers,
}

/// The limit that binds, for the sentence a person reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    pub source: LimitSource,
}

/// Not now, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    QueueFull {
        waiting: usize,
    },
    /// It can't go before its deadline; `not_before` is the earliest it could.
    Deadline {
        binding: Option<Binding>,
        not_before: Instant,
    },
    /// Its class is paused and its deadline has passed.
    Paused {
        class: Class,
    },
}

/// One limit as a response's headers tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    pub measure: Measure,
    pub limit: u64,
    pub remaining: Option<u64>,
    /// How long until the bucket is full again.
    pub full_in: Option<Duration>,
}

/// What one response tells about the limits of its model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readings {
    pub limits: Vec<Reading>,
    /// Of a 429: no call of this group before this has passed.
    pub retry_after: Option<Duration>,
}

/// A limit and how full it is, for the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    pub account: AccountId,
    pub group: Arc<str>,
    pub measure: Measure,
    pub limit: u64,
    /// What we allow ourselves of it.
    pub guarded: u64,
    /// What is left of `guarded` now; negative is a debt.
    pub level: i64,
    pub source: LimitSource,
    pub observed: Option<Instant>,
}

/// A class in the queue, for the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassQueue {
    pub waiting: usize,
    pub running: usize,
    pub oldest: Option<Duration>,
    /// When the last of them is expected to leave.
    pub eta: Option<Duration>,
    pub paused: bool,
}

pub struct Admission {}

impl Admission {
    pub fn new(_queue_max: usize) -> Admission {
        Admission {}
    }
    pub fn add_account(&mut self, _pacing: Pacing) -> AccountId {
        unimplemented!()
    }
    /// Goes at once, waits, or learns why not and until when.
    pub fn offer(&mut self, _demand: Demand, _now: Instant) -> Result<Verdict, Refusal> {
        unimplemented!()
    }
    /// The calls whose wait has ended at `now`, in the order in which they may go. Call it at `next_wake` and after any other verb.
    pub fn decide(&mut self, _now: Instant) -> Vec<(WaiterId, Result<Ticket, Refusal>)> {
        unimplemented!()
    }
    /// When `decide` will have something to say, if nothing else happens.
    pub fn next_wake(&self, _now: Instant) -> Option<Instant> {
        unimplemented!()
    }
    /// A waiting caller has gone.
    pub fn cancel(&mut self, _waiter: WaiterId, _now: Instant) {
        unimplemented!()
    }
    /// The truth about a call that has ended; `None` where it never reached the upstream.
    pub fn settle(&mut self, _ticket: Ticket, _usage: Option<&Usage>, _now: Instant) {
        unimplemented!()
    }
    pub fn observe(&mut self, _account: AccountId, _model: &str, _readings: &Readings, _now: Now) {
        unimplemented!()
    }
    pub fn pause(&mut self, _class: Class) {
        unimplemented!()
    }
    pub fn resume(&mut self, _class: Class) {
        unimplemented!()
    }
    pub fn levels(&self, _now: Instant) -> Vec<Level> {
        unimplemented!()
    }
    pub fn queue(&self, _class: Class, _now: Instant) -> ClassQueue {
        unimplemented!()
    }
}
