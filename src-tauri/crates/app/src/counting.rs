//! What was spent of each window and budget, as the ledger has it: a restart forgets none of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{KnownWindow, Memory, Past, QuotaKey, QuotaLevel, Unit};
use domain::catalog::Catalog;
use domain::config::{Scope, Span};
use domain::money::Usd;
use domain::price::Price;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use ledger::{Ledger, Spender, Used};

/// How far back an upstream's buckets remember.
const BUCKETS_REMEMBER: Duration = Duration::from_secs(180);
/// Between a call's start and its last attempt lie its wait and this.
const ATTEMPTS_TAKE: Duration = Duration::from_secs(120);

/// What counting needs.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) catalog: Arc<Catalog>,
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
        let dearest = self.catalog.dearest(now).map(|price| Price { long_prompt: None, ..Price::clone(price) });
        let mut sums: BTreeMap<(Spender, Timestamp, Timestamp), Vec<Used>> = BTreeMap::new();
        let mut spent = vec![];
        for quota in quotas.iter().filter(|quota| quota.unit != Unit::Percent && quota.resets_at > now) {
            let Some((spender, name)) = spender(&quota.key, &self.upstreams) else { continue };
            let sums = match sums.entry((spender, quota.since, quota.resets_at)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.ledger.used(spender, quota.since, quota.resets_at).await?),
            };
            let of_it = sums.iter().filter(|used| *used.name == *name);
            let amounts = of_it.map(|used| amount(used, quota.unit, dearest.as_ref()));
            spent.push((quota.key.clone(), amounts.fold(0, i64::saturating_add)));
        }
        Ok(spent)
    }
}

fn spender(key: &QuotaKey, upstreams: &[String]) -> Option<(Spender, Arc<str>)> {
    let (spender, name) = match key {
        QuotaKey::Window { account, .. } => (Spender::Upstream, upstreams.get(account.index())?.as_str().into()),
        QuotaKey::Budget { scope, .. } => match scope {
            Scope::Machine => (Spender::Machine, "".into()),
            Scope::Client(name) => (Spender::Client, name.clone()),
            Scope::Person(name) => (Spender::Person, name.clone()),
            Scope::Project(name) => (Spender::Project, name.clone()),
            Scope::Tenant(name) => (Spender::Tenant, name.clone()),
        },
    };
    Some((spender, name))
}

/// Calls of unknown price count at the dearest one there is.
fn amount(used: &Used, unit: Unit, dearest: Option<&Price>) -> i64 {
    match unit {
        Unit::Usd => {
            let unpriced = Usage { tokens: used.unpriced, ..Usage::default() };
            (used.known_cost + dearest.map_or(Usd::ZERO, |price| price.cost(&unpriced))).as_nanos()
        }
        Unit::Tokens => i64::try_from(window_tokens(&used.tokens)).unwrap_or(i64::MAX),
        Unit::Percent => 0,
    }
}

/// What counts against a window of tokens: reading from the cache does not.
fn window_tokens(tokens: &Tokens) -> u64 {
    tokens.prompt().saturating_sub(tokens.cache_read).saturating_add(tokens.output)
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
