//! The true limits: what an account of a tier may do in a minute, per key and model group.
//!
//! An own reading of the rules, apart from the gateway's: a second opinion that can prove it wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::catalog;
use domain::tier::{MinuteLimits, OutputCounting, Scheme, Tier};
use domain::time::Instant;

use crate::bucket::Bucket;
use crate::chance;
use crate::gauge::{Gauge, Measure, View};
use crate::outside::{Drawn, Outside, Share};
use crate::pool::{self, Demand, Denied, Limited, Pool, Taken, TokenLimits};
use crate::ramp::Growth;

/// Whose buckets a call draws on.
pub(crate) type PoolId = usize;

/// What a call took at its start, and from which pool; `None`: nothing limits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pool: Option<(PoolId, Taken)>,
    pub(crate) counted_input: u64,
}

impl Grant {
    pub(crate) fn has_priority(&self) -> bool {
        self.pool.is_some_and(|(_, taken)| taken.priority)
    }
}

/// Models that share limits, as they stand now.
pub(crate) struct Group {
    pub(crate) limits: MinuteLimits,
    pub(crate) cache_reads_count: bool,
    outside: Option<Share>,
}

/// What the scheme and the tier say, and what was changed since.
struct Account {
    scheme: Arc<Scheme>,
    tier: Arc<str>,
    groups: BTreeMap<String, Group>,
}

impl Account {
    fn new(scheme: Arc<Scheme>, tier: Arc<str>) -> Account {
        let groups = scheme.tier(&tier).map(groups).unwrap_or_default();
        Account { scheme, tier, groups }
    }
}

fn groups(tier: &Tier) -> BTreeMap<String, Group> {
    let mut groups = BTreeMap::new();
    for row in &tier.rows {
        for name in &row.groups {
            let group = Group { limits: row.limits, cache_reads_count: row.cache_reads_count, outside: None };
            groups.insert(name.to_string(), group);
        }
    }
    groups
}

/// The buckets of one key and one group.
struct Owned {
    group: String,
    seed: u64,
    pool: Pool,
}

pub(crate) struct Limits {
    account: Option<Account>,
    seed: u64,
    pools: Vec<Owned>,
    by_name: HashMap<(String, String), PoolId>,
    growth: Option<Growth>,
    priority: Option<TokenLimits>,
    drawn: Drawn,
    /// Of `count_tokens`, per key.
    counts: HashMap<String, Bucket>,
}

impl Limits {
    pub(crate) fn new(tier: Option<(Arc<Scheme>, Arc<str>)>, seed: u64) -> Limits {
        Limits {
            account: tier.map(|(scheme, tier)| Account::new(scheme, tier)),
            seed,
            pools: Vec::new(),
            by_name: HashMap::new(),
            growth: None,
            priority: None,
            drawn: Drawn::default(),
            counts: HashMap::new(),
        }
    }

    /// The pool of a key and a model's group; `None` where nothing limits it.
    pub(crate) fn pool(&mut self, key: &str, model: &str, now: Instant) -> Option<PoolId> {
        let name = catalog::group(model);
        let group = self.account.as_ref()?.groups.get(&name)?;
        Some(*self.by_name.entry((key.to_owned(), name)).or_insert_with_key(|(key, name)| {
            let seed = chance::hash(chance::hash(self.seed, key.as_bytes()), name.as_bytes());
            let mut pool = Pool::new(group.limits, group.cache_reads_count, now);
            pool.set_priority(self.priority, now);
            pool.set_outside(group.outside.map(|share| Outside::new(share, seed, now)));
            self.pools.push(Owned { group: name.clone(), seed, pool });
            self.pools.len() - 1
        }))
    }

    /// The pool after everything that others drew on it.
    fn pool_at(&mut self, id: PoolId, now: Instant) -> &mut Pool {
        let pool = &mut self.pools[id].pool;
        self.drawn += pool.advance(now);
        pool
    }

    /// All that a call needs at its start, or nothing.
    pub(crate) fn admit(&mut self, pool: Option<PoolId>, demand: &Demand, now: Instant) -> Result<Grant, Denied> {
        let Some(id) = pool else {
            return Ok(Grant { pool: None, counted_input: pool::counted(&demand.input, false) });
        };
        let (reserves, growth) = (self.reserves(), self.growth);
        let taken = self.pool_at(id, now).admit(demand, reserves, growth.as_ref(), now)?;
        Ok(Grant { pool: Some((id, taken)), counted_input: taken.counted_input })
    }

    /// Tokens that have just been produced.
    pub(crate) fn produce(&mut self, grant: &Grant, tokens: u64, now: Instant) {
        if let Some((id, taken)) = grant.pool {
            self.pool_at(id, now).produce(&taken, tokens, now);
        }
    }

    /// The call has ended: what it reserved and did not produce goes back.
    pub(crate) fn end(&mut self, grant: &Grant, produced: u64, now: Instant) {
        if let Some((id, taken)) = grant.pool {
            self.pool_at(id, now).end(&taken, produced, now);
        }
    }

    pub(crate) fn gauges(&mut self, pool: PoolId, view: View, now: Instant) -> Vec<Gauge> {
        self.pool_at(pool, now).gauges(view, now)
    }

    /// As they were some time ago, and how long ago that is.
    pub(crate) fn gauges_ago(
        &mut self,
        pool: PoolId,
        view: View,
        ago: Duration,
        now: Instant,
    ) -> (Vec<Gauge>, Duration) {
        self.pool_at(pool, now).gauges_ago(ago, view, now)
    }

    /// Other limits at once, of one group or of all; what is `None` stays.
    pub(crate) fn change(&mut self, change: MinuteLimits, group: Option<&str>, now: Instant) -> Result<(), String> {
        let names = self.names(group)?;
        for name in &names {
            let Some(group) = self.group_mut(name) else { continue };
            let limits = &mut group.limits;
            limits.requests = change.requests.or(limits.requests);
            limits.input_tokens = change.input_tokens.or(limits.input_tokens);
            limits.output_tokens = change.output_tokens.or(limits.output_tokens);
            let limits = group.limits;
            self.each_pool(name, now, |owned| owned.pool.set_limits(limits, now));
        }
        Ok(())
    }

    /// Another program on each key; `None` stops it.
    pub(crate) fn set_outside(
        &mut self,
        share: Option<Share>,
        group: Option<&str>,
        now: Instant,
    ) -> Result<(), String> {
        for name in self.names(group)? {
            let Some(group) = self.group_mut(&name) else { continue };
            group.outside = share;
            self.each_pool(&name, now, |owned| {
                owned.pool.set_outside(share.map(|share| Outside::new(share, owned.seed, now)));
            });
        }
        Ok(())
    }

    pub(crate) fn set_growth(&mut self, growth: Option<Growth>) -> Result<(), String> {
        self.names(None)?;
        self.growth = growth;
        Ok(())
    }

    /// The capacity of each key and group that is served first.
    pub(crate) fn set_priority(&mut self, priority: Option<TokenLimits>, now: Instant) -> Result<(), String> {
        for name in self.names(None)? {
            self.each_pool(&name, now, |owned| owned.pool.set_priority(priority, now));
        }
        self.priority = priority;
        Ok(())
    }

    /// The group of that name or of that model, or all groups.
    fn names(&self, group: Option<&str>) -> Result<Vec<String>, String> {
        let Some(account) = &self.account else {
            return Err("nothing is limited here: start the simulator with a scheme and a tier".to_owned());
        };
        let all = || account.groups.keys().cloned().collect::<Vec<_>>();
        match group.map(catalog::group) {
            None => Ok(all()),
            Some(name) if account.groups.contains_key(&name) => Ok(vec![name]),
            Some(name) => Err(format!("no group is called {name:?}, only {}", all().join(", "))),
        }
    }

    fn group_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.account.as_mut()?.groups.get_mut(name)
    }

    fn each_pool(&mut self, group: &str, now: Instant, mut change: impl FnMut(&mut Owned)) {
        for owned in self.pools.iter_mut().filter(|owned| owned.group == group) {
            self.drawn += owned.pool.advance(now);
            change(owned);
        }
    }

    /// The groups as they stand now.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        let account = self.account.iter();
        account.flat_map(|account| account.groups.iter().map(|(name, group)| (name.as_str(), group)))
    }

    /// `count_tokens` has a pool of its own.
    pub(crate) fn admit_count(&mut self, key: &str, now: Instant) -> Result<(), Limited> {
        let Some(limit) = self.apart().map(|apart| apart.counts) else { return Ok(()) };
        let bucket = self.counts.entry(key.to_owned()).or_insert_with(|| Bucket::of_a_minute(limit, now));
        if !bucket.holds(1, now) {
            return Err(Limited { measure: Measure::Requests, limit, wait: bucket.wait_for(1, now) });
        }
        bucket.take(1, now);
        Ok(())
    }

    /// The limits of other endpoints, where they are published.
    pub(crate) fn apart(&self) -> Option<Apart> {
        self.account.as_ref().and_then(|account| Apart::of(&account.tier))
    }

    /// What all pools would have let through since each was first asked; `None` where no pool has such a limit.
    pub(crate) fn offered(&self, now: Instant) -> [Option<u64>; 3] {
        let pools = self.pools.iter().map(|owned| owned.pool.offered(now));
        pools.fold([None; 3], |sums, offered| {
            std::array::from_fn(|i| [sums[i], offered[i]].into_iter().flatten().reduce(u64::saturating_add))
        })
    }

    /// What other programs drew until now.
    pub(crate) fn drawn(&mut self, now: Instant) -> Drawn {
        for owned in &mut self.pools {
            self.drawn += owned.pool.advance(now);
        }
        self.drawn
    }

    /// Messages of 429 read as those of the scheme's year.
    pub(crate) fn is_of_2025(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.scheme.name.starts_with("2025"))
    }

    fn reserves(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.scheme.output == OutputCounting::Reserved)
    }
}

/// What a tier may do beside messages: calls of `count_tokens` and of batches in a minute, and requests in batches at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Apart {
    pub(crate) counts: u64,
    pub(crate) batch_requests: u64,
    pub(crate) batch_queue: u64,
}

impl Apart {
    /// Source: platform.claude.com, token counting and rate limits, 2026-08; tiers 1 to 4 as of 2025.
    fn of(tier: &str) -> Option<Apart> {
        const ROWS: &[(&str, u64, u64, u64)] = &[
            ("1", 100, 50, 100_000),
            ("2", 2_000, 1_000, 200_000),
            ("3", 4_000, 2_000, 300_000),
            ("4", 8_000, 4_000, 500_000),
            ("start", 2_000, 1_000, 200_000),
            ("build", 4_000, 2_000, 300_000),
            ("scale", 8_000, 4_000, 500_000),
        ];
        let (_, counts, batch_requests, batch_queue) = *ROWS.iter().find(|(name, ..)| *name == tier)?;
        Some(Apart { counts, batch_requests, batch_queue })
    }
}

#[cfg(test)]
mod tests {
    use domain::usage::Tokens;

    use super::*;
    use crate::fixture;

    const MODEL: &str = "claude-sonnet-4-5";

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn limits(scheme: &str, tier: &str) -> Limits {
        Limits::new(Some((fixture::scheme(scheme), tier.into())), 7)
    }

    fn demand(input: u64, max_tokens: u64) -> Demand {
        Demand { input: Tokens { input, ..Tokens::default() }, max_tokens, ..Demand::default() }
    }

    fn limited(denied: Denied) -> Limited {
        match denied {
            Denied::Minute(limited) => limited,
            Denied::Ramp(wait) => panic!("ramp: {wait:?}"),
        }
    }

    #[test]
    fn requests_come_one_by_one_and_tokens_by_the_minute() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        assert!(limits.admit(pool, &demand(30_000, 1_000), at(0)).is_ok());
        let refused = limits.admit(pool, &demand(1, 1_000), at(1_000)).map_err(limited).expect_err("too early");
        assert_eq!((refused.measure, refused.limit), (Measure::Requests, 50));
        assert_eq!(refused.wait, Duration::from_millis(150));
        let refused =
            limits.admit(pool, &demand(601, 1_000), at(1_200)).map_err(limited).expect_err("only 600 are there");
        assert_eq!((refused.measure, refused.wait), (Measure::InputTokens, Duration::from_millis(2)));
        assert!(limits.admit(pool, &demand(600, 1_000), at(1_200)).is_ok(), "a refusal takes nothing");
    }

    #[test]
    fn reserved_output_blocks_until_it_is_given_back() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &demand(1, 8_000), at(0)).expect("full");
        let refused = limits.admit(pool, &demand(1, 8_000), at(2_000)).map_err(limited).expect_err("reserved");
        assert_eq!(refused.measure, Measure::OutputTokens);
        limits.produce(&grant, 4_000, at(2_000));
        limits.end(&grant, 4_000, at(2_000));
        // Two seconds refilled 266, and 4,000 came back.
        assert!(limits.admit(pool, &demand(1, 4_267), at(2_000)).is_err());
        assert!(limits.admit(pool, &demand(1, 4_266), at(2_000)).is_ok());
    }

    #[test]
    fn a_max_tokens_above_the_limit_goes_when_the_bucket_is_full() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &demand(1, 64_000), at(0)).expect("full");
        assert!(limits.admit(pool, &demand(1, 64_000), at(2_000)).is_err());
        limits.end(&grant, 200, at(2_000));
        assert!(limits.admit(pool, &demand(1, 64_000), at(2_000)).is_ok(), "266 came back and 200 were used");
    }

    #[test]
    fn output_that_counts_as_produced_ignores_max_tokens_and_may_become_a_debt() {
        let mut limits = limits("2026-06", "start");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &demand(1, 10_000_000), at(0)).expect("max_tokens plays no part");
        limits.produce(&grant, 400_001, at(0));
        let refused = limits.admit(pool, &demand(1, 1), at(100)).map(|_| ()).err();
        assert_eq!(refused, None, "100 ms refill 666 tokens");
        limits.produce(&grant, 1_000_000, at(100));
        let refused = limits.admit(pool, &demand(1, 1), at(200)).map_err(limited).expect_err("in debt");
        assert_eq!(refused.measure, Measure::OutputTokens);
    }

    #[test]
    fn cache_reads_count_only_where_the_row_says_so() {
        let mut limits = limits("2025-09", "1");
        let read = Tokens { input: 1, cache_write_5m: 2, cache_write_1h: 4, cache_read: 8, output: 0 };
        for (model, counted) in [(MODEL, 7), ("claude-3-5-haiku-20241022", 15)] {
            let pool = limits.pool("k", model, at(0));
            assert_eq!(
                limits.admit(pool, &Demand { input: read, ..demand(0, 10) }, at(0)).expect("full").counted_input,
                counted,
                "{model}"
            );
        }
    }

    #[test]
    fn keys_and_groups_have_pools_of_their_own() {
        let mut limits = limits("2025-09", "1");
        let pool = |limits: &mut Limits, key, model| limits.pool(key, model, at(0));
        let sonnet = pool(&mut limits, "k", "claude-sonnet-4-5");
        assert_eq!(sonnet, pool(&mut limits, "k", "claude-sonnet-4-20250514"));
        assert_ne!(sonnet, pool(&mut limits, "k", "claude-opus-4-1"));
        assert_ne!(sonnet, pool(&mut limits, "other", "claude-sonnet-4-5"));
        assert_eq!(pool(&mut limits, "k", "claude-unknown-9"), None);
    }

    #[test]
    fn gauges_tell_the_minute() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0)).expect("limited");
        limits.admit(Some(pool), &demand(30_000, 4_000), at(0)).expect("full");
        let gauges = limits.gauges(pool, View::default(), at(600));
        let expected = [(50, 49, 600), (30_000, 300, 59_400), (8_000, 4_080, 29_400)];
        assert_eq!(gauges.len(), 3);
        for (gauge, (limit, remaining, full_in)) in gauges.iter().zip(expected) {
            assert_eq!((gauge.limit, gauge.remaining), (limit, remaining));
            assert_eq!(gauge.full_in, Duration::from_millis(full_in));
        }
    }

    fn change(limits: &mut Limits, change: [Option<u64>; 3], group: Option<&str>, millis: u64) -> Result<(), String> {
        let [requests, input_tokens, output_tokens] = change;
        limits.change(MinuteLimits { requests, input_tokens, output_tokens }, group, at(millis))
    }

    /// Limit and what remains, of requests, input and output.
    fn standing(limits: &mut Limits, pool: PoolId, view: View, millis: u64) -> Vec<(u64, u64)> {
        limits.gauges(pool, view, at(millis)).iter().map(|gauge| (gauge.limit, gauge.remaining)).collect()
    }

    #[test]
    fn changed_limits_hold_at_once_and_for_pools_to_come() {
        let mut limits = limits("2025-09", "1");
        let sonnet = limits.pool("k", MODEL, at(0)).expect("limited");
        limits.admit(Some(sonnet), &demand(20_000, 8_000), at(0)).expect("full");
        change(&mut limits, [None, Some(15_000), None], None, 0).expect("a change");
        assert_eq!(standing(&mut limits, sonnet, View::default(), 0), [(50, 49), (15_000, 0), (8_000, 0)]);
        change(&mut limits, [Some(100), Some(60_000), Some(16_000)], Some("claude-sonnet-4-5"), 0).expect("a change");
        assert_eq!(standing(&mut limits, sonnet, View::default(), 0), [(100, 99), (60_000, 45_000), (16_000, 8_000)]);
        let opus = limits.pool("k", "claude-opus-4-1", at(0)).expect("limited");
        assert_eq!(standing(&mut limits, opus, View::default(), 0), [(50, 50), (15_000, 15_000), (8_000, 8_000)]);
        let error = change(&mut limits, [Some(1), None, None], Some("sonnet-9"), 0).expect_err("no such group");
        assert_eq!(error, "no group is called \"sonnet-9\", only haiku-3.5, opus-4, sonnet-4");
        assert!(change(&mut Limits::new(None, 7), [Some(1), None, None], None, 0).is_err());
    }

    #[test]
    fn a_call_that_reserved_under_an_old_limit_gives_back_under_the_new_one() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let grant = limits.admit(pool, &demand(1, 8_000), at(0)).expect("full");
        change(&mut limits, [None, None, Some(4_000)], None, 0).expect("a change");
        limits.end(&grant, 100, at(0));
        assert_eq!(standing(&mut limits, pool.expect("limited"), View::default(), 0)[2], (4_000, 4_000));
    }

    #[test]
    fn another_program_takes_its_share_of_the_same_buckets() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let share = Some(Share { permille: 400, requests: false });
        limits.set_outside(share, Some("sonnet-4"), at(0)).expect("a share");
        // A caller that takes whatever is left.
        let mut taken = 0;
        for second in 0..=600 {
            if second == 0 {
                limits.admit(pool, &demand(30_000, 1), at(0)).expect("full");
                continue;
            }
            while limits.admit(pool, &demand(25, 1), at(1_200 * second)).is_ok() {
                taken += 25;
                change(&mut limits, [Some(1_000_000), None, None], None, 1_200 * second).expect("no gate");
            }
        }
        let drawn = limits.drawn(at(720_000));
        assert!(drawn.input_tokens.abs_diff(144_000) < 2_100, "{drawn:?}");
        assert!(drawn.output_tokens.abs_diff(38_400) < 700, "{drawn:?}");
        assert!((taken + drawn.input_tokens).abs_diff(360_000) < 4_200, "{taken} and {drawn:?}");
        assert_eq!(limits.offered(at(720_000))[1], Some(390_000), "what the buckets offer is all of it");
    }

    #[test]
    fn the_requests_of_another_program_count_only_where_told() {
        for (requests, remaining) in [(false, 1), (true, 0)] {
            let mut limits = limits("2025-09", "1");
            limits.set_outside(Some(Share { permille: 1_000, requests }), None, at(0)).expect("a share");
            let pool = limits.pool("k", MODEL, at(0)).expect("limited");
            change(&mut limits, [Some(1), None, None], None, 0).expect("a change");
            let standing = standing(&mut limits, pool, View::default(), 6_000);
            assert!(limits.drawn(at(6_000)).calls >= 2);
            assert_eq!(standing[0], (1, remaining));
        }
    }

    #[test]
    fn another_program_comes_at_other_moments_with_another_key_or_seed() {
        let drawn = |seed: u64, key: &str| {
            let mut limits = Limits::new(Some((fixture::scheme("2025-09"), "1".into())), seed);
            limits.set_outside(Some(Share { permille: 400, requests: false }), None, at(0)).expect("a share");
            limits.pool(key, MODEL, at(0)).expect("limited");
            limits.drawn(at(60_000))
        };
        assert_eq!(drawn(7, "k"), drawn(7, "k"));
        assert_ne!(drawn(7, "k"), drawn(8, "k"));
        assert_ne!(drawn(7, "k"), drawn(7, "other"));
    }

    #[test]
    fn the_tokens_of_another_program_are_growth_too() {
        let mut limits = limits("2026-06", "start");
        let pool = limits.pool("k", MODEL, at(0));
        limits.set_growth(Some(Growth { per_minute: 1.0, floor_tokens: 10_000 })).expect("a limit");
        limits.set_outside(Some(Share { permille: 400, requests: false }), None, at(0)).expect("a share");
        assert!(matches!(limits.admit(pool, &demand(100, 1), at(5_000)), Err(Denied::Ramp(_))));
    }

    #[test]
    fn a_share_of_nothing_ends_it() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0)).expect("limited");
        limits.set_outside(Some(Share { permille: 500, requests: false }), None, at(0)).expect("a share");
        let before = limits.drawn(at(60_000));
        limits.set_outside(None, None, at(60_000)).expect("an end");
        assert!(before.calls > 0);
        assert_eq!(limits.drawn(at(600_000)), before);
        assert_eq!(standing(&mut limits, pool, View::default(), 600_000)[1], (30_000, 30_000));
    }

    #[test]
    fn fast_calls_have_token_buckets_of_their_own_and_share_the_requests() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0));
        let fast = Demand { fast: true, ..demand(15_000, 1) };
        limits.admit(pool, &fast, at(0)).expect("full");
        let refused = limits.admit(pool, &fast, at(1_200)).map_err(limited).expect_err("spent");
        assert_eq!((refused.measure, refused.limit), (Measure::InputTokens, 15_000));
        limits.admit(pool, &demand(30_000, 1), at(1_200)).expect("the standard one is full");
        let view = View { fast: true, priority: true };
        let standing = standing(&mut limits, pool.expect("limited"), view, 1_200);
        assert_eq!(standing, [(50, 49), (30_000, 0), (8_000, 7_999), (15_000, 300), (4_000, 4_000)]);
        assert_eq!(limits.offered(at(0))[1], Some(45_000));
        change(&mut limits, [None, Some(10_000), None], None, 1_200).expect("a change");
        assert_eq!(limits.gauges(0, view, at(1_200))[3].limit, 5_000);
    }

    #[test]
    fn priority_never_refuses_and_ends_where_its_capacity_does() {
        let mut limits = limits("2026-06", "start");
        let pool = limits.pool("k", MODEL, at(0));
        let priority = TokenLimits { input: Some(6_000), output: Some(600) };
        limits.set_priority(Some(priority), at(0)).expect("a capacity");
        let read = Tokens { input: 1_000, cache_write_5m: 800, cache_write_1h: 500, cache_read: 10_000, output: 0 };
        let demand = Demand { input: read, max_tokens: 1, may_have_priority: true, ..Demand::default() };
        let grants: Vec<bool> = [0, 60, 120]
            .map(|millis| limits.admit(pool, &demand, at(millis)).expect("the standard limits allow it").has_priority())
            .into();
        // 1,000 + 1,000 + 1,000 + 1,000 of 6,000, and 60 ms refill 6.
        assert_eq!(grants, [true, false, false]);
        let us = Demand { us_only: true, ..demand };
        assert!(
            !limits.admit(pool, &Demand { may_have_priority: false, ..us }, at(60_000)).expect("room").has_priority()
        );
        assert!(limits.admit(pool, &us, at(60_060)).expect("room").has_priority());
        let view = View { fast: false, priority: true };
        assert_eq!(standing(&mut limits, 0, view, 60_060)[3..], [(6_000, 1_600), (600, 600)]);
        let grant = limits.admit(pool, &Demand { us_only: false, ..us }, at(70_000)).expect("room");
        assert_eq!(
            (grant.has_priority(), standing(&mut limits, 0, view, 70_000)[4].1),
            (false, 600),
            "1,600 and 994 are too few"
        );
        let grant = limits.admit(pool, &us, at(110_000)).expect("room");
        limits.produce(&grant, 250, at(110_000));
        assert_eq!((grant.has_priority(), standing(&mut limits, 0, view, 110_000)[4].1), (true, 350));
        limits.set_priority(None, at(110_000)).expect("an end");
        assert_eq!(standing(&mut limits, 0, view, 110_000).len(), 3);
    }

    #[test]
    fn growth_is_refused_where_it_is_watched() {
        let mut limits = limits("2026-06", "start");
        let pool = limits.pool("k", MODEL, at(0));
        limits.set_growth(Some(Growth { per_minute: 2.0, floor_tokens: 10_000 })).expect("a limit");
        let grant = limits.admit(pool, &demand(6_000, 1), at(0)).expect("the first");
        limits.produce(&grant, 4_000, at(500));
        let refused = limits.admit(pool, &demand(1, 1), at(1_000)).map(|_| ());
        assert_eq!(refused, Err(Denied::Ramp(Duration::from_secs(59))), "output counts too");
        limits.admit(pool, &demand(20_000, 1), at(60_000)).expect("twice the minute before");
        assert!(limits.admit(pool, &demand(1, 1), at(60_100)).is_err());
        limits.set_growth(None).expect("off");
        assert!(limits.admit(pool, &demand(1, 1), at(60_200)).is_ok());
    }

    #[test]
    fn gauges_of_some_time_ago_are_those_that_calls_saw() {
        let mut limits = limits("2025-09", "1");
        let pool = limits.pool("k", MODEL, at(0)).expect("limited");
        let remaining = |limits: &mut Limits, ago: u64, millis: u64| {
            let ago = Duration::from_millis(ago);
            let (gauges, age) = limits.gauges_ago(pool, View::default(), ago, at(millis));
            (gauges[1].remaining, age.as_millis())
        };
        limits.gauges(pool, View::default(), at(0));
        limits.admit(Some(pool), &demand(10_000, 1), at(1_000)).expect("room");
        limits.gauges(pool, View::default(), at(1_000));
        assert_eq!(remaining(&mut limits, 5_000, 6_500), (20_000, 5_500));
        assert_eq!(remaining(&mut limits, 6_500, 6_500), (30_000, 6_500));
        assert_eq!(remaining(&mut limits, 60_000, 6_500), (30_000, 6_500), "the oldest there is");
        assert_eq!(remaining(&mut limits, 0, 6_500), (22_750, 0));
    }

    #[test]
    fn whatever_is_switched_no_more_passes_than_was_offered() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let scheme = if seed % 2 == 0 { ("2025-09", "1") } else { ("2026-06", "start") };
            let mut limits = limits(scheme.0, scheme.1);
            let pool = limits.pool("k", MODEL, at(0));
            let (mut now, mut admitted, mut running) = (0, [0; 2], Vec::new());
            for _ in 0..300 {
                now += rng.u64(0..3_000);
                turn_some_switch(&mut limits, &mut rng, now);
                let demand = Demand {
                    fast: rng.bool(),
                    may_have_priority: rng.bool(),
                    ..demand(rng.u64(..20_000), rng.u64(1..9_000))
                };
                if let Ok(grant) = limits.admit(pool, &demand, at(now)) {
                    admitted[0] += 1;
                    admitted[1] += grant.counted_input;
                    running.push((grant, demand.max_tokens));
                }
                if rng.bool()
                    && let Some((grant, most)) = running.pop()
                {
                    limits.produce(&grant, most / 2, at(now));
                    limits.end(&grant, most / 2, at(now));
                }
                let gauges = limits.gauges(0, View { fast: true, priority: true }, at(now));
                assert!(gauges.iter().all(|gauge| gauge.remaining <= gauge.limit), "seed {seed}: {gauges:?}");
                let offered = limits.offered(at(now));
                assert!(
                    Some(admitted[0]) <= offered[0] && Some(admitted[1]) <= offered[1],
                    "seed {seed} at {now}: {admitted:?} of {offered:?}"
                );
            }
        }
    }

    fn turn_some_switch(limits: &mut Limits, rng: &mut fastrand::Rng, millis: u64) {
        let mut limit = || Some(*rng.choice([1, 60, 5_000, 30_000, 1_000_000_000].iter()).expect("some"));
        let new = [limit(), limit(), limit()];
        let group = if rng.bool() { Some("sonnet-4") } else { None };
        let turned = match rng.u8(..40) {
            0 => change(limits, new, group, millis),
            1 => change(limits, [None, new[1], None], group, millis),
            2 => {
                let share = Share { permille: rng.u16(1..=1_000), requests: rng.bool() };
                limits.set_outside(Some(share), group, at(millis))
            }
            3 => limits.set_outside(None, group, at(millis)),
            4 => limits.set_growth(Some(Growth { per_minute: rng.f64() * 3.0, floor_tokens: rng.u64(..10_000) })),
            5 => limits.set_growth(None),
            6 => limits.set_priority(Some(TokenLimits { input: new[0], output: new[1] }), at(millis)),
            7 => limits.set_priority(None, at(millis)),
            _ => Ok(()),
        };
        turned.expect("a switch that turns");
    }
}
