//! What an answer's head tells us, and what becomes of it on a bad day.

use std::time::Duration;

use domain::admission::{Limited, Measure, Reading, Readings, WindowReading};
use domain::time::Timestamp;
use fastrand::Rng;

use crate::upstream::{Head, Meter, No, Told, Why};

/// How unreliable heads are; each of a thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderFaults {
    /// A stream's head comes up to so much later than it was written.
    pub(crate) late: u64,
    pub(crate) missing: u64,
    /// Two words on one limit.
    pub(crate) contradictory: u64,
    pub(crate) garbage: u64,
    /// A refusal names no limit and shows no levels.
    pub(crate) terse: bool,
    /// An answer that is no stream shows the levels at its end, not those at its start.
    pub(crate) tell_the_end: bool,
}

pub(crate) fn lateness(faults: &HeaderFaults, rng: &mut Rng) -> u64 {
    if faults.late == 0 { 0 } else { rng.u64(..faults.late) }
}

pub(crate) fn readings(head: &Head, faults: &HeaderFaults, rng: &mut Rng, wall: impl Fn(u64) -> Timestamp) -> Readings {
    if happens(faults.missing, rng) {
        return Readings::default();
    }
    let mut limits: Vec<Reading> = head.limits.iter().map(reading).collect();
    if happens(faults.contradictory, rng) {
        let again = limits.iter().map(|reading| Reading { remaining: Some(0), ..*reading });
        limits = again.collect::<Vec<_>>().into_iter().chain(limits).collect();
    }
    if happens(faults.garbage, rng) {
        limits.iter_mut().for_each(|reading| spoil(reading, rng));
    }
    let windows = head.windows.iter().map(|window| WindowReading {
        name: window.name.into(),
        used: window.used,
        resets_at: if happens(faults.garbage, rng) { Timestamp::from_millis(i64::MAX / 2) } else { wall(window.ends) },
        rejected: window.rejected,
    });
    let windows = windows.collect();
    Readings { limits, windows, ..Readings::default() }
}

pub(crate) fn refusal(
    head: &Head,
    no: No,
    faults: &HeaderFaults,
    rng: &mut Rng,
    wall: impl Fn(u64) -> Timestamp,
) -> Readings {
    let mut told = readings(head, faults, rng, wall);
    let named = match no.why {
        Why::Limit(meter) if !faults.terse => Some(measure(meter)),
        Why::Limit(_) | Why::Ramp | Why::Window | Why::Storm => None,
    };
    if faults.terse || no.why == Why::Storm {
        told.limits.clear();
    }
    let retry_after = if happens(faults.garbage, rng) { Some(99_999_999) } else { no.retry_after };
    let retry_after = retry_after.map(Duration::from_secs);
    told.limited = Some(Limited { retry_after, measure: named, ramp: no.why == Why::Ramp });
    told
}

fn happens(permille: u64, rng: &mut Rng) -> bool {
    permille > 0 && rng.u64(..1_000) < permille
}

fn reading(told: &Told) -> Reading {
    Reading {
        measure: measure(told.meter),
        limit: told.limit,
        remaining: Some(told.remaining),
        full_in: Some(Duration::from_nanos(told.full_in)),
    }
}

fn measure(meter: Meter) -> Measure {
    match meter {
        Meter::Requests => Measure::Requests,
        Meter::Input => Measure::InputTokens,
        Meter::Output => Measure::OutputTokens,
    }
}

/// Nothing that would allow more than the truth: of that nobody can defend themselves.
fn spoil(reading: &mut Reading, rng: &mut Rng) {
    match rng.u64(..5) {
        0 => reading.limit = 0,
        1 => reading.remaining = Some(u64::MAX),
        2 => reading.remaining = None,
        3 => reading.full_in = Some(Duration::MAX),
        _ => reading.limit = (reading.limit / 2).max(1),
    }
}
