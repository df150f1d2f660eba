//! Whether an upstream is down for a group of models: after too many failures no call starts for a while, then one.
//!
//! Calls start while it is closed. It opens at so many failures in a row, or so many of the last 20 calls. When its
//! time is over, or a free probe (one that is no call) says that the upstream is there again, it is half-open: one call
//! goes ahead, and all others see how it fares.

use std::time::Duration;

use crate::time::Instant;

/// When it opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerRules {
    /// In a row.
    pub failures: u32,
    pub open: Duration,
    /// Failures among the last 20 calls, in thousandths; 0: only those in a row count.
    pub error_ratio_permille: u32,
}

/// The field guide's.
impl Default for BreakerRules {
    fn default() -> BreakerRules {
        BreakerRules { failures: 5, open: Duration::from_secs(300), error_ratio_permille: 0 }
    }
}

/// How a call fared, as far as it tells whether the upstream works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fared {
    /// It was answered, be it with a refusal.
    Well,
    Badly,
    /// Nobody knows; its caller has gone, say. Another call may find out.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub const ALL: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];

    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// May a call start?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    Free,
    From(Instant),
    /// As soon as the one that went ahead has fared.
    AfterProbe,
}

/// Names the call that goes ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProbeId(u32);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// Calls that have gone ahead so far.
    probes: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        since: Instant,
        /// In a row.
        failures: u32,
        recent: Recent,
    },
    Open {
        outage: Outage,
        until: Instant,
        /// When the next free probe is due.
        asks: Option<Instant>,
    },
    HalfOpen {
        outage: Outage,
        /// Because a free probe said so.
        is_early: bool,
        probe: Option<ProbeId>,
    },
}

impl Default for State {
    fn default() -> State {
        State::Closed { since: Instant::default(), failures: 0, recent: Recent::default() }
    }
}

/// From when it opens until it closes, however many probes fail.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    /// One came good, and the call that believed it failed: none is asked any more.
    free_probes_lie: bool,
}

const FREE_PROBE_EVERY: Duration = Duration::from_secs(15);

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn passage(&self, now: Instant) -> Passage {
        match self.state {
            State::Open { until, .. } if until > now => Passage::From(until),
            State::HalfOpen { probe: Some(_), .. } => Passage::AfterProbe,
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => Passage::Free,
        }
    }

    /// A call goes whose passage is free. `Some`: it goes ahead of all others.
    pub(crate) fn passed(&mut self) -> Option<ProbeId> {
        let (outage, is_early) = match self.state {
            State::Closed { .. } => return None,
            State::Open { outage, .. } => (outage, false),
            State::HalfOpen { outage, is_early, .. } => (outage, is_early),
        };
        self.probes = self.probes.wrapping_add(1);
        let probe = ProbeId(self.probes);
        self.state = State::HalfOpen { outage, is_early, probe: Some(probe) };
        Some(probe)
    }

    /// What became of a call that left at `sent`. Where it opens, or opens again: until when.
    pub(crate) fn fared(
        &mut self,
        sent: Instant,
        own: Option<ProbeId>,
        fared: Fared,
        rules: &BreakerRules,
        now: Instant,
    ) -> Option<Instant> {
        match &mut self.state {
            // One that left before it closed tells of the time before.
            State::Closed { since, failures, recent } if sent >= *since => {
                let failed = match fared {
                    Fared::Well => false,
                    Fared::Badly => true,
                    Fared::Unknown => return None,
                };
                *failures = if failed { failures.saturating_add(1) } else { 0 };
                recent.add(failed);
                let opens = *failures >= rules.failures.max(1) || recent.reach(rules.error_ratio_permille);
                opens.then(|| self.open(Outage { since: now, free_probes_lie: false }, rules, now))
            }
            State::HalfOpen { outage, is_early, probe } if own.is_some() && *probe == own => match fared {
                Fared::Well => {
                    self.state = State::Closed { since: now, failures: 0, recent: Recent::default() };
                    None
                }
                Fared::Badly => {
                    let free_probes_lie = outage.free_probes_lie || *is_early;
                    let outage = Outage { free_probes_lie, ..*outage };
                    Some(self.open(outage, rules, now))
                }
                Fared::Unknown => {
                    *probe = None;
                    None
                }
            },
            // Only the one that went ahead counts.
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// The call that went ahead is over, whatever was told of it.
    pub(crate) fn ended(&mut self, own: ProbeId) {
        if let State::HalfOpen { probe, .. } = &mut self.state
            && *probe == Some(own)
        {
            *probe = None;
        }
    }

    pub(crate) fn next_free_probe(&self) -> Option<Instant> {
        match self.state {
            State::Open { asks, .. } => asks,
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Whether one is to be asked now; it then counts as asked.
    pub(crate) fn asks_free_probe(&mut self, now: Instant) -> bool {
        let State::Open { until, asks, .. } = &mut self.state else { return false };
        let is_due = asks.is_some_and(|at| at <= now);
        if is_due {
            *asks = before(now.after(FREE_PROBE_EVERY), *until);
        }
        is_due && now < *until
    }

    /// What a free probe found.
    pub(crate) fn probed(&mut self, well: bool, now: Instant) {
        if let State::Open { outage, until, .. } = self.state
            && well
            && now < until
            && !outage.free_probes_lie
        {
            self.state = State::HalfOpen { outage, is_early: true, probe: None };
        }
    }

    /// Its state, until when, and since when it has not been closed. `None`: there is nothing to tell.
    pub(crate) fn told(&self, now: Instant) -> Option<(BreakerState, Option<Instant>, Option<Instant>)> {
        match self.state {
            State::Closed { failures: 0, .. } => None,
            State::Closed { .. } => Some((BreakerState::Closed, None, None)),
            State::Open { outage, until, .. } if until > now => {
                Some((BreakerState::Open, Some(until), Some(outage.since)))
            }
            State::Open { outage, .. } | State::HalfOpen { outage, .. } => {
                Some((BreakerState::HalfOpen, None, Some(outage.since)))
            }
        }
    }

    fn open(&mut self, outage: Outage, rules: &BreakerRules, now: Instant) -> Instant {
        let until = now.after(rules.open);
        let asks = before(now.after(FREE_PROBE_EVERY), until).filter(|_| !outage.free_probes_lie);
        self.state = State::Open { outage, until, asks };
        until
    }
}

fn before(at: Instant, end: Instant) -> Option<Instant> {
    (at < end).then_some(at)
}

/// How the last calls fared.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    /// A bit for each, the latest lowest.
    failed: u32,
    known: u32,
}

const RECENT: u32 = 20;

impl Recent {
    fn add(&mut self, failed: bool) {
        self.failed = (self.failed << 1 | u32::from(failed)) & ((1 << RECENT) - 1);
        self.known = (self.known + 1).min(RECENT);
    }

    /// A few calls are no ratio.
    fn reach(self, permille: u32) -> bool {
        let failed = u64::from(self.failed.count_ones()) * 1_000;
        permille > 0 && self.known == RECENT && failed >= u64::from(permille) * u64::from(RECENT)
    }
}
