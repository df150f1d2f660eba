//! What the upstream's cache held of each conversation, told from the calls themselves.
//!
//! A call leaves behind what it read and wrote. The next one of the same session, agent and model, within the cache's
//! lifetime, should read all of that: where it reads less and writes again, something in front has changed.

use std::collections::HashMap;

use domain::usage::Usage;

const FIVE_MINUTES_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;

/// So many conversations are remembered before those are dropped whose cache has run out.
const CONVERSATIONS: usize = 10_000;

struct Left {
    tokens: u64,
    for_an_hour: bool,
    until: i64,
}

#[derive(Default)]
pub(super) struct Caches {
    left: HashMap<String, Left>,
    /// Conversations after the last clearing.
    kept: usize,
}

impl Caches {
    /// How many tokens this call wrote that the cache held already. Calls come in the order of their start.
    pub(super) fn rewritten(&mut self, conversation: &[&str; 4], at: i64, usage: &Usage) -> u64 {
        let tokens = &usage.tokens;
        let written = tokens.cache_write_5m.saturating_add(tokens.cache_write_1h);
        let used = tokens.cache_read.saturating_add(written);
        // A call beside the conversation, such as one for a title, neither reads nor writes.
        if used == 0 {
            return 0;
        }
        let key = conversation.join("\0");
        let left = self.left.get(&key).filter(|left| at <= left.until);
        let held = left.map_or(0, |left| left.tokens);
        let for_an_hour =
            tokens.cache_write_1h > 0 || left.is_some_and(|left| left.for_an_hour && tokens.cache_read > 0);
        // From its start: what was not used since then may be gone.
        let until = at.saturating_add(if for_an_hour { HOUR_MS } else { FIVE_MINUTES_MS });
        self.left.insert(key, Left { tokens: used, for_an_hour, until });
        self.clear(at);
        held.saturating_sub(tokens.cache_read).min(written)
    }

    fn clear(&mut self, now: i64) {
        if self.left.len() > self.kept + CONVERSATIONS {
            self.left.retain(|_, left| now <= left.until);
            self.kept = self.left.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::usage::Tokens;

    /// `minute read write_5m write_1h` of one conversation's calls, and how much each wrote again.
    fn rewritten(calls: &[(i64, u64, u64, u64)]) -> Vec<u64> {
        let mut caches = Caches::default();
        let one = |(minute, cache_read, cache_write_5m, cache_write_1h): &(i64, u64, u64, u64)| {
            let tokens = Tokens {
                cache_read: *cache_read,
                cache_write_5m: *cache_write_5m,
                cache_write_1h: *cache_write_1h,
                ..Tokens::default()
            };
            caches.rewritten(&["c", "s", "", "m"], minute * 60_000, &Usage { tokens, ..Usage::default() })
        };
        calls.iter().map(one).collect()
    }

    #[test]
    fn a_conversation_that_grows_writes_nothing_again() {
        assert_eq!(rewritten(&[(0, 0, 100, 0), (1, 100, 20, 0), (2, 120, 30, 0)]), [0, 0, 0]);
    }

    #[test]
    fn a_prefix_that_changed_is_written_again_as_far_as_it_was_held() {
        assert_eq!(rewritten(&[(0, 0, 100, 0), (1, 40, 90, 0)]), [0, 60]);
        // After a compaction less is written than was held.
        assert_eq!(rewritten(&[(0, 0, 100, 0), (1, 0, 30, 0), (2, 30, 5, 0)]), [0, 30, 0]);
        assert_eq!(rewritten(&[(0, 0, 100, 0), (1, 40, 0, 0)]), [0, 0], "it reads less and writes nothing");
    }

    #[test]
    fn what_the_cache_no_longer_holds_is_nobodys_fault() {
        assert_eq!(rewritten(&[(0, 0, 100, 0), (6, 0, 100, 0)]), [0, 0]);
        assert_eq!(rewritten(&[(0, 0, 0, 100), (6, 0, 0, 100)]), [0, 100], "it was written for an hour");
        assert_eq!(
            rewritten(&[(0, 0, 0, 100), (30, 100, 5, 0), (80, 0, 9, 0)]),
            [0, 0, 9],
            "a read keeps it for an hour more"
        );
        assert_eq!(rewritten(&[(0, 0, 0, 100), (61, 0, 0, 100)]), [0, 0]);
    }

    #[test]
    fn calls_beside_the_conversation_change_nothing() {
        assert_eq!(rewritten(&[(0, 0, 100, 0), (1, 0, 0, 0), (2, 100, 9, 0)]), [0, 0, 0]);
    }

    #[test]
    fn what_has_run_out_is_not_kept_for_ever() {
        let mut caches = Caches::default();
        let usage = Usage { tokens: Tokens { cache_write_5m: 1, ..Tokens::default() }, ..Usage::default() };
        for number in 0..200_000_i64 {
            caches.rewritten(&["c", &number.to_string(), "", "m"], number * 1_000, &usage);
        }
        assert!(caches.left.len() < 2 * CONVERSATIONS, "{}", caches.left.len());
    }
}
