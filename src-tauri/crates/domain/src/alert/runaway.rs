//! Sessions that go on by themselves: the same beginning, ever more turns, and nobody in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Figure;
use crate::time::Timestamp;

/// A call of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turned {
    pub session: Arc<str>,
    /// Of what the session's prompts begin with.
    pub prefix: u64,
    /// How long the conversation is: in turns, or in bytes where nobody counts them.
    pub turns: u64,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Runaways {
    by_session: BTreeMap<Arc<str>, Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    prefix: u64,
    turns: u64,
    /// Calls in a row, each longer than the one before.
    calls: u64,
    /// When the last of them ended.
    last: Timestamp,
}

/// Whoever reads an answer before asking on takes longer.
const GAP: Duration = Duration::from_secs(60);
const SESSIONS_MAX: usize = 1_000;

impl Runaways {
    pub fn count(&mut self, turned: &Turned) {
        let Turned { session, prefix, turns, started_at, ended_at } = turned;
        if !self.by_session.contains_key(session) && self.by_session.len() >= SESSIONS_MAX {
            let idle = self.by_session.iter().min_by_key(|(_, run)| run.last).map(|(session, _)| session.clone());
            self.by_session.retain(|session, _| Some(session) != idle.as_ref());
        }
        let anew = Run { prefix: *prefix, turns: *turns, calls: 1, last: *ended_at };
        let run = self.by_session.entry(session.clone()).or_insert(Run { calls: 0, turns: 0, ..anew });
        let goes_on = run.prefix == *prefix && *turns > run.turns && started_at.since(run.last) <= GAP;
        *run = if goes_on { Run { calls: run.calls + 1, ..anew } } else { anew };
    }

    /// How many calls each session that goes on has made in a row.
    pub fn running(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, Figure)> {
        let runs = self.by_session.iter().filter(move |(_, run)| now.since(run.last) <= GAP);
        runs.map(|(session, run)| (session, Figure::count(run.calls)))
    }
}
