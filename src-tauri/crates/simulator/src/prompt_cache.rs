//! What of a prompt is read from the cache and what is written to it. Each key has a memory of its own.

use std::collections::HashMap;
use std::time::Duration;

use domain::time::Instant;
use domain::usage::Tokens;

use crate::chance;
use crate::tokens::{self, Segment, Ttl};

/// Above this many prefixes the expired ones are forgotten, and if that doesn't help, all.
const PREFIXES_MAX: usize = 20_000;

/// A prefix is looked for at a mark and up to this many blocks before it.
const LOOK_BACK: usize = 20;

#[derive(Default)]
pub(crate) struct PromptCache {
    expires: HashMap<u64, Instant>,
}

/// What one prompt does with the cache.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct CachePlan {
    /// Of the input classes only; `output` is 0.
    pub(crate) tokens: Tokens,
    keeps: Vec<(u64, Ttl)>,
}

struct Prefix {
    hash: u64,
    tokens: u64,
    ttl: Option<Ttl>,
}

impl PromptCache {
    pub(crate) fn plan(&self, key: &str, model: &str, segments: &[Segment<'_>], now: Instant) -> CachePlan {
        let total = tokens::of_prompt(segments);
        if segments.iter().all(|segment| segment.ttl.is_none()) {
            return CachePlan { tokens: Tokens { input: total, ..Tokens::default() }, keeps: Vec::new() };
        }
        let prefixes = prefixes(key, model, segments);
        let marks: Vec<usize> = (0..prefixes.len()).filter(|i| is_mark(&prefixes[*i], model)).collect();
        let found = marks.iter().rev().find_map(|mark| self.longest_live(&prefixes[..=*mark], now));
        write_from(found, &prefixes, &marks, total)
    }

    fn longest_live<'p>(&self, prefixes: &'p [Prefix], now: Instant) -> Option<&'p Prefix> {
        let live = |prefix: &&Prefix| self.expires.get(&prefix.hash).is_some_and(|until| now < *until);
        prefixes.iter().rev().take(LOOK_BACK).find(live)
    }

    /// A read renews; a write starts.
    pub(crate) fn keep(&mut self, plan: &CachePlan, now: Instant) {
        for (hash, ttl) in &plan.keeps {
            let until = now.after(lifetime(*ttl));
            let entry = self.expires.entry(*hash).or_insert(until);
            *entry = until.max(*entry);
        }
        if self.expires.len() > PREFIXES_MAX {
            self.expires.retain(|_, until| now < *until);
        }
        if self.expires.len() > PREFIXES_MAX {
            self.expires.clear();
        }
    }
}

fn prefixes(key: &str, model: &str, segments: &[Segment<'_>]) -> Vec<Prefix> {
    let start = chance::hash(chance::hash(0, key.as_bytes()), model.as_bytes());
    segments
        .iter()
        .scan((start, 0), |(hash, tokens), segment| {
            *hash = segment.extend(*hash);
            *tokens += segment.tokens;
            Some(Prefix { hash: *hash, tokens: *tokens, ttl: segment.ttl })
        })
        .collect()
}

fn is_mark(prefix: &Prefix, model: &str) -> bool {
    prefix.ttl.is_some() && prefix.tokens >= shortest_prefix(model)
}

fn write_from(found: Option<&Prefix>, prefixes: &[Prefix], marks: &[usize], total: u64) -> CachePlan {
    let read = found.map_or(0, |prefix| prefix.tokens);
    let mut plan = CachePlan { tokens: Tokens { cache_read: read, ..Tokens::default() }, keeps: Vec::new() };
    let mut covered = read;
    plan.keeps.extend(found.map(|prefix| (prefix.hash, prefix.ttl.unwrap_or(Ttl::FiveMinutes))));
    for prefix in marks.iter().map(|mark| &prefixes[*mark]) {
        let ttl = prefix.ttl.unwrap_or(Ttl::FiveMinutes);
        plan.keeps.push((prefix.hash, ttl));
        let written = prefix.tokens.saturating_sub(covered);
        covered = covered.max(prefix.tokens);
        match ttl {
            Ttl::FiveMinutes => plan.tokens.cache_write_5m += written,
            Ttl::Hour => plan.tokens.cache_write_1h += written,
        }
    }
    plan.tokens.input = total - covered;
    plan
}

const fn lifetime(ttl: Ttl) -> Duration {
    match ttl {
        Ttl::FiveMinutes => Duration::from_secs(300),
        Ttl::Hour => Duration::from_secs(3_600),
    }
}

/// Shorter prefixes are not cached. Source: platform.claude.com, prompt caching, 2026-08.
fn shortest_prefix(model: &str) -> u64 {
    const ROWS: &[(&str, u64)] = &[
        ("claude-opus-5", 512),
        ("claude-fable-", 512),
        ("claude-opus-4-7", 2_048),
        ("claude-3-5-haiku", 2_048),
        ("claude-opus-4-6", 4_096),
        ("claude-opus-4-5", 4_096),
        ("claude-haiku-4-5", 4_096),
    ];
    ROWS.iter().find(|(start, _)| model.starts_with(start)).map_or(1_024, |(_, tokens)| *tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MODEL: &str = "claude-sonnet-4-5";

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn turn(texts: &[(&str, Option<&str>)]) -> Value {
        let block = |(text, ttl): &(&str, Option<&str>)| match ttl {
            Some(ttl) => {
                json!({"type": "text", "text": text.repeat(8_000), "cache_control": {"type": "ephemeral", "ttl": ttl}})
            }
            None => json!({"type": "text", "text": text.repeat(8_000)}),
        };
        json!({"messages": [{"role": "user", "content": texts.iter().map(block).collect::<Vec<_>>()}]})
    }

    fn ask(cache: &mut PromptCache, key: &str, body: &Value, now: Instant) -> [u64; 4] {
        let plan = cache.plan(key, MODEL, &tokens::segments(body), now);
        cache.keep(&plan, now);
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, .. } = plan.tokens;
        [input, cache_write_5m, cache_write_1h, cache_read]
    }

    #[test]
    fn a_second_same_prefix_is_read_within_its_ttl_and_written_again_after() {
        let mut cache = PromptCache::default();
        let body = turn(&[("a", Some("5m")), ("b", None)]);
        assert_eq!(ask(&mut cache, "k", &body, at(0)), [2_000, 2_007, 0, 0]);
        assert_eq!(ask(&mut cache, "k", &body, at(299)), [2_000, 0, 0, 2_007]);
        assert_eq!(ask(&mut cache, "k", &body, at(598)), [2_000, 0, 0, 2_007], "a read renews");
        assert_eq!(ask(&mut cache, "k", &body, at(898)), [2_000, 2_007, 0, 0]);
        assert_eq!(ask(&mut cache, "other", &body, at(898)), [2_000, 2_007, 0, 0]);
    }

    #[test]
    fn a_growing_conversation_reads_what_the_last_turn_wrote() {
        let mut cache = PromptCache::default();
        let first = turn(&[("a", Some("1h")), ("b", Some("5m"))]);
        let second = turn(&[("a", Some("1h")), ("b", None), ("c", Some("5m"))]);
        assert_eq!(ask(&mut cache, "k", &first, at(0)), [0, 2_000, 2_007, 0]);
        assert_eq!(ask(&mut cache, "k", &second, at(1)), [0, 2_000, 0, 4_007]);
    }

    #[test]
    fn a_short_prefix_is_not_cached() {
        let mut cache = PromptCache::default();
        let body = json!({"system": [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(ask(&mut cache, "k", &body, at(0)), [10, 0, 0, 0]);
        assert_eq!(ask(&mut cache, "k", &body, at(1)), [10, 0, 0, 0]);
    }
}
