//! What was spent of each window and budget, as the ledger has it: a restart forgets none of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{KnownWindow, Memory, Past, QuotaKey, QuotaLevel, Unit, window_tokens};
use domain::catalog::InForce;
use domain::config::{Scope, Span};
use domain::money::Usd;
use domain::price::Price;
use domain::time::Timestamp;
use domain::usage::Usage;
use ledger::{Ledger, Spender, Used};

/// How far back an upstream's buckets remember.
const BUCKETS_REMEMBER: Duration = Duration::from_secs(180);
/// Between a call's start and its last attempt lie its wait and this.
const ATTEMPTS_TAKE: Duration = Duration::from_secs(120);

/// What counting needs.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) catalog: InForce,
    /// The names of the accounts, in their order.
    pub(crate) upstreams: Vec<String>,
}

impl Counted {
    /// What the ledger has of each quota's present period.
    pub(crate) async fn spent(
        &self,
        quotas: &[QuotaLevel],
        now: Timestamp,
    ) -> Result<Vec<(QuotaKey, i64)>, ledger::Error> {
        let dearest = self.dearest(now);
        let mut sums: BTreeMap<(Spender, Timestamp, Timestamp), Vec<Used>> = BTreeMap::new();
        let mut spent = vec![];
        for quota in quotas.iter().filter(|quota| quota.unit != Unit::Percent && quota.resets_at > now) {
            let Some((spender, name)) = spender(&quota.key, &self.upstreams) else { continue };
            let sums = match sums.entry((spender, quota.since, quota.resets_at)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.ledger.used(spender, quota.since, quota.resets_at).await?),
            };
            let of_it = sums.iter().filter(|used| name.as_ref().is_none_or(|name| used.name == *name));
            let amounts = of_it.map(|used| amount(used, quota.unit, dearest.as_ref()));
            spent.push((quota.key.clone(), amounts.fold(0, i64::saturating_add)));
        }
        Ok(spent)
    }

    /// What calls of unknown price count at.
    pub(crate) fn dearest(&self, now: Timestamp) -> Option<Price> {
        self.catalog.get().dearest(now).map(|price| Price { long_prompt: None, ..Price::clone(price) })
    }
}

/// Whose sums these are, and which of them; all where no name is given.
pub(crate) fn spender(key: &QuotaKey, upstreams: &[String]) -> Option<(Spender, Option<Arc<str>>)> {
    let (spender, name) = match key {
        QuotaKey::Window { account, .. } => (Spender::Upstream, upstreams.get(account.index())?.as_str().into()),
        QuotaKey::Budget { scope, .. } => match scope {
            // Every call is some client's.
            Scope::Machine => return Some((Spender::Client, None)),
            Scope::Client(name) => (Spender::Client, name.clone()),
            Scope::Person(name) => (Spender::Person, name.clone()),
            Scope::Project(name) => (Spender::Project, name.clone()),
            Scope::Tenant(name) => (Spender::Tenant, name.clone()),
        },
    };
    Some((spender, Some(name)))
}

/// Calls of unknown price count at the dearest one there is.
pub(crate) fn amount(used: &Used, unit: Unit, dearest: Option<&Price>) -> i64 {
    match unit {
        Unit::Usd => {
            let unpriced = Usage { tokens: used.unpriced, ..Usage::default() };
            (used.known_cost + dearest.map_or(Usd::ZERO, |price| price.cost(&unpriced))).as_nanos()
        }
        Unit::Tokens => i64::try_from(window_tokens(&used.tokens)).unwrap_or(i64::MAX),
        Unit::Percent => 0,
    }
}

/// Finds the beginning of rolling windows that nobody remembers: they began with the first call that the ledger has.
pub(crate) async fn find_windows(
    ledger: &Ledger,
    upstreams: &[gateway::Upstream],
    memory: &mut Memory,
    now: Timestamp,
) -> Result<(), ledger::Error> {
    for upstream in upstreams {
        for window in &upstream.pacing.windows {
            let Span::Rolling(length) = window.span else { continue };
            let known = |known: &&KnownWindow| *known.account == *upstream.name && known.name == window.name;
            let over = memory.windows.iter().find(known).map(|known| known.resets_at);
            if over.is_some_and(|over| over > now) {
                continue;
            }
            let from = now.before(length).max(over.unwrap_or_default());
            let Some(since) = ledger.first_call(&upstream.name, from).await? else { continue };
            let account = upstream.name.as_str().into();
            let (name, resets_at) = (window.name.clone(), since.after(length));
            memory.windows.retain(|kept| !known(&kept));
            memory.windows.push(KnownWindow { account, name, used: 0, since, resets_at, observed: false });
        }
    }
    Ok(())
}

/// What the upstream's buckets may still remember of calls that waited at most `max_wait`.
pub(crate) async fn past(ledger: &Ledger, max_wait: Duration, now: Timestamp) -> Result<Vec<Past>, ledger::Error> {
    let sent = ledger.sent(now.before(BUCKETS_REMEMBER), max_wait + ATTEMPTS_TAKE).await?;
    let past = sent.into_iter().map(|sent| Past {
        account: sent.upstream,
        model: sent.model,
        fast: sent.fast,
        opened_at: sent.at,
        usage: sent.usage,
        reserved: sent.reserved,
        interrupted: sent.interrupted,
    });
    Ok(past.collect())
}

#[cfg(test)]
mod tests {
    use domain::admission::Admission;
    use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry as Settled, Outcome, Source};
    use domain::config::{Amount, Budget, Pacing, Period, Rules, Window};
    use domain::time::Now;
    use domain::usage::Tokens;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn now() -> Timestamp {
        at("2026-11-26T12:00:00Z")
    }

    async fn ledger(dir: &std::path::Path) -> Ledger {
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let options =
            ledger::Options { durability: ledger::Durability::Process, catalog, calendar: domain::time::Calendar::UTC };
        Ledger::open(dir, options).await.expect("a ledger").0
    }

    /// A call of 1,000 tokens in and 100 out, 400 more from the cache.
    async fn settle(ledger: &Ledger, number: u128, started_at: Timestamp, cost: Option<Usd>) {
        let who = Attribution { client: "ci".into(), ..Attribution::default() };
        let id = CallId::new(started_at, number);
        let (class, max_tokens, stream, body_bytes) = (Class::Normal, None, false, 1);
        let call = Call { id, started_at, class, who, model: "m".into(), max_tokens, stream, body_bytes };
        let attempt = Attempt {
            number: 1,
            upstream: "anthropic".into(),
            opened_at: started_at,
            status: Some(200),
            request_id: None,
            error: None,
            maybe_billed: false,
        };
        let tokens = Tokens { input: 1_000, output: 100, cache_read: 400, ..Tokens::default() };
        let settled = Settled {
            call,
            ended_at: started_at,
            attempts: vec![attempt],
            status: 200,
            outcome: Outcome::Completed,
            usage: Usage { tokens, ..Usage::default() },
            cost,
            price_id: cost.map(|_| "own".into()),
            estimated: false,
            source: Source::Gateway,
            waited_ms: 0,
            waited_for: None,
            first_byte_ms: None,
            total_ms: 0,
            cache: CacheUse::Off,
            saved: None,
            error: None,
            account: None,
        };
        ledger.settle(&settled).await.expect("settled");
    }

    fn pacing(window: Window) -> Pacing {
        Pacing {
            presumed: None,
            written: vec![],
            guard_requests_permille: 960,
            guard_tokens_permille: 930,
            retry_after_buffer: Duration::ZERO,
            windows: vec![window],
        }
    }

    fn five_hours() -> Window {
        let span = Span::Rolling(Duration::from_secs(18_000));
        Window { name: "5h".into(), limit: Amount::Tokens(1_000_000), span }
    }

    #[tokio::test]
    async fn a_restart_counts_budgets_and_a_rolling_window_that_nobody_remembers() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Arc::new(ledger(dir.path()).await);
        settle(&ledger, 1, at("2026-11-26T06:59:00Z"), Some(Usd::from_nanos(5))).await;
        settle(&ledger, 2, at("2026-11-26T08:00:00Z"), Some(Usd::from_nanos(7))).await;
        settle(&ledger, 3, at("2026-11-26T09:00:00Z"), None).await;
        let (base_url, key) = ("http://127.0.0.1:9".to_owned(), None);
        let upstream = gateway::Upstream {
            name: "anthropic".to_owned(),
            base_url,
            key,
            models: vec![],
            lacks: domain::routing::Capabilities::NONE,
            pacing: pacing(five_hours()),
        };
        let mut memory = Memory::default();
        find_windows(&ledger, std::slice::from_ref(&upstream), &mut memory, now()).await.expect("asked");
        let began = memory.windows.first().map(|window| (window.since, window.resets_at));
        assert_eq!(began, Some((at("2026-11-26T08:00:00Z"), at("2026-11-26T13:00:00Z"))));

        let mut admission = Admission::new(&Rules::default());
        admission.add_account("anthropic".into(), upstream.pacing);
        let limit = Usd::from_nanos(1_000_000_000);
        let budget = |scope| Budget { scope, period: Period::Day, limit, hard: false };
        let now = Now { timestamp: now(), ..Now::default() };
        let scopes = [Scope::Client("ci".into()), Scope::Client("other".into()), Scope::Machine];
        admission.set_budgets(&scopes.map(budget), now);
        admission.recall(memory, now);
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let dearest = catalog.dearest(now.timestamp).expect("a price").clone();
        let counted = Counted { ledger, catalog: catalog.into(), upstreams: vec!["anthropic".to_owned()] };
        let spent = counted.spent(&admission.quotas(now), now.timestamp).await.expect("counted");
        let used: Vec<i64> = spent.iter().map(|(_, used)| *used).collect();
        let tokens = Tokens { input: 1_000, output: 100, cache_read: 400, ..Tokens::default() };
        let unpriced = dearest.cost(&Usage { tokens, ..Usage::default() }).as_nanos();
        // What is read from the cache costs no quota; a call of unknown price counts at the dearest.
        assert_eq!(used, [2_200, 12 + unpriced, 0, 12 + unpriced]);
    }

    #[tokio::test]
    async fn a_window_that_is_remembered_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = ledger(dir.path()).await;
        settle(&ledger, 1, at("2026-11-26T08:00:00Z"), None).await;
        let (base_url, key) = ("http://127.0.0.1:9".to_owned(), None);
        let upstream = gateway::Upstream {
            name: "anthropic".to_owned(),
            base_url,
            key,
            models: vec![],
            lacks: domain::routing::Capabilities::NONE,
            pacing: pacing(five_hours()),
        };
        let known = |resets_at| KnownWindow {
            account: "anthropic".into(),
            name: "5h".into(),
            used: 1,
            since: at("2026-11-26T07:30:00Z"),
            resets_at,
            observed: false,
        };
        for (resets_at, began) in
            [("2026-11-26T12:30:00Z", "2026-11-26T07:30:00Z"), ("2026-11-26T07:45:00Z", "2026-11-26T08:00:00Z")]
        {
            let mut memory = Memory { windows: vec![known(at(resets_at))], ..Memory::default() };
            find_windows(&ledger, std::slice::from_ref(&upstream), &mut memory, now()).await.expect("asked");
            assert_eq!(memory.windows.iter().map(|window| window.since).collect::<Vec<_>>(), [at(began)]);
        }
    }
}
