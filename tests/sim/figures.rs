//! Sums over a run.

use crate::world::{End, World};

/// Of sorted or unsorted numbers; 0 of none.
pub(crate) fn quantile(mut of: Vec<u64>, share: f64) -> u64 {
    of.sort_unstable();
    let at = ((of.len() as f64 * share).ceil() as usize).clamp(1, of.len().max(1)) - 1;
    of.get(at).copied().unwrap_or(0)
}

/// 1 where all have the same, 1/n where one has all.
pub(crate) fn jain(of: &[f64]) -> f64 {
    let (sum, squares): (f64, f64) = (of.iter().sum(), of.iter().map(|n| n * n).sum());
    sum * sum / (of.len() as f64 * squares)
}

/// The waits of a client's calls that went, of those that came within a time.
pub(crate) fn waits(world: &World, clients: impl Fn(usize) -> bool, from: u64, to: u64) -> Vec<u64> {
    let came = world.calls.iter().filter(|call| clients(call.client) && (from..to).contains(&call.since));
    came.filter_map(|call| Some(call.went? - call.since)).collect()
}

/// How many calls of a client ended so.
pub(crate) fn ended(world: &World, client: usize, end: End) -> usize {
    world.calls.iter().filter(|call| call.client == client && call.end == Some(end)).count()
}
