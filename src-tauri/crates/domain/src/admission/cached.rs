//! How much of a prompt the upstream will read from its cache: that part costs none of a minute's input tokens.
//!
//! A conversation's next turn reads what its last one read and wrote, as long as the cache keeps it. A client whose
//! turns often don't is believed no more until they do again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::demand::Caching;
use super::estimate::Shape;
use crate::time::Instant;
use crate::usage::Tokens;

/// Of one account.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    known: BTreeMap<Key, Turn>,
    by_age: BTreeSet<(Instant, Key)>,
    /// By client, how often its turns found less than expected, lately.
    missed: BTreeMap<u64, u8>,
}

/// Fingerprints of a client and of how its body begins.
type Key = (u64, u32);

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    /// What the cache holds of it.
    tokens: u64,
    kept_for: Duration,
}

const CONVERSATIONS_MAX: usize = 2_048;
const CLIENTS_MAX: usize = 512;
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3_600);
/// The cache's time is counted by the upstream's clock, from when it read the call.
const MARGIN: Duration = Duration::from_secs(15);
/// One miss outweighs so many hits.
const MISS: u8 = 10;
const BELIEVED_BELOW: u8 = 20;

impl Conversations {
    /// What of a prompt will be read from the cache.
    pub(super) fn read(&self, client: &str, shape: &Shape, caching: Caching, now: Instant) -> u64 {
        if caching == Caching::None { 0 } else { self.cached(fingerprint(client), shape, now) }
    }

    /// A call has come to so much, that was expected to read so much.
    pub(super) fn learn(
        &mut self,
        client: &str,
        shape: &Shape,
        caching: Caching,
        expected: u64,
        tokens: &Tokens,
        now: Instant,
    ) {
        if caching == Caching::None {
            return;
        }
        let client = fingerprint(client);
        if expected > 0 {
            self.judge(client, tokens.cache_read >= expected - expected / 10);
        }
        let written = tokens.cache_write_5m.saturating_add(tokens.cache_write_1h);
        let kept_for = if caching == Caching::OneHour { HOUR } else { FIVE_MINUTES };
        let turn = |tokens| Turn { at: now, tokens, kept_for };
        let is_first = shape.messages <= 1 && !self.known.contains_key(&(client, shape.opening));
        self.remember((client, shape.opening), turn(tokens.cache_read.saturating_add(written)));
        if is_first {
            // The first turn of another conversation with the same head reads as much.
            self.remember((client, shape.head), turn(tokens.cache_read));
        }
    }

    fn cached(&self, client: u64, shape: &Shape, now: Instant) -> u64 {
        if self.missed.get(&client).is_some_and(|missed| *missed >= BELIEVED_BELOW) {
            return 0;
        }
        let fresh = |turn: &&Turn| now.since(turn.at).saturating_add(MARGIN) < turn.kept_for;
        let turn = |print: u32| self.known.get(&(client, print)).filter(fresh);
        turn(shape.opening).or_else(|| turn(shape.head)).map_or(0, |turn| turn.tokens)
    }

    fn judge(&mut self, client: u64, hit: bool) {
        if self.missed.len() >= CLIENTS_MAX && !self.missed.contains_key(&client) {
            self.missed.clear();
        }
        let missed = self.missed.entry(client).or_default();
        *missed = if hit { missed.saturating_sub(1) } else { missed.saturating_add(MISS) };
    }

    fn remember(&mut self, key: Key, turn: Turn) {
        if let Some(before) = self.known.insert(key, turn) {
            self.by_age.remove(&(before.at, key));
        }
        self.by_age.insert((turn.at, key));
        if self.known.len() > CONVERSATIONS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

/// FNV-1a.
fn fingerprint(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |print, byte| (print ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(head: u32, opening: u32) -> Shape {
        Shape { head, opening, ..Shape::default() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn turn(cache_read: u64, cache_write_5m: u64) -> Tokens {
        Tokens { input: 3, cache_read, cache_write_5m, ..Tokens::default() }
    }

    fn read(known: &Conversations, shape: &Shape, seconds: u64) -> u64 {
        known.read("c", shape, Caching::FiveMinutes, at(seconds))
    }

    fn learn(known: &mut Conversations, shape: &Shape, tokens: &Tokens, seconds: u64) {
        let expected = read(known, shape, seconds);
        known.learn("c", shape, Caching::FiveMinutes, expected, tokens, at(seconds));
    }

    #[test]
    fn the_next_turn_reads_what_the_last_one_left_while_the_cache_keeps_it() {
        let mut known = Conversations::default();
        assert_eq!(read(&known, &shape(1, 2), 0), 0);
        learn(&mut known, &shape(1, 2), &turn(0, 10_000), 0);
        assert_eq!(read(&known, &shape(1, 2), 60), 10_000);
        assert_eq!(read(&known, &shape(1, 2), 290), 0, "it may be gone");
        assert_eq!(known.read("d", &shape(1, 2), Caching::FiveMinutes, at(60)), 0, "another client");
        assert_eq!(known.read("c", &shape(1, 2), Caching::None, at(60)), 0);
    }

    #[test]
    fn another_conversation_with_the_same_head_reads_the_head() {
        let mut known = Conversations::default();
        learn(&mut known, &shape(1, 2), &turn(8_000, 2_000), 0);
        assert_eq!(read(&known, &shape(1, 3), 10), 8_000);
    }

    #[test]
    fn a_client_whose_cache_breaks_is_believed_no_more_until_it_holds() {
        let mut known = Conversations::default();
        for second in 0..3 {
            learn(&mut known, &shape(1, 2), &turn(0, 10_000), second);
        }
        assert_eq!(read(&known, &shape(1, 2), 4), 0);
        known.judge(fingerprint("c"), true);
        assert_eq!(read(&known, &shape(1, 2), 4), 10_000);
    }

    #[test]
    fn however_many_conversations_there_are_it_stays_small() {
        let mut known = Conversations::default();
        for n in 0..5_000 {
            let shape = shape(n, n);
            known.learn("c", &shape, Caching::OneHour, 0, &turn(0, 1), at(n.into()));
        }
        assert!(known.known.len() <= CONVERSATIONS_MAX && known.by_age.len() == known.known.len());
    }
}
