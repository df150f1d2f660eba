//! Entries, clients and sums as views.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::{
    BreakerView, ClassQueue, EstimateError, Level, Outlook, Outside, PausedScope, QuotaKey, QuotaLevel, Reservation,
    Unit, WaitingCall,
};
use domain::call::{Class, Entry};
use domain::catalog::Catalog;
use domain::config::{Client, Scope};
use domain::money::Usd;
use domain::time::{Instant, Now, Timestamp};
use gateway::{Gateway, LiveCall, LiveState};
use ledger::{Observation, PriceChange, Provenance, Shelved, Spend, Totals, UsageRow};

use crate::prices::{Explained, Former, explained};
use crate::provenance::sources;
use crate::range::Range;
use crate::view;
use crate::view::{
    AmountView, AttemptView, CacheView, CallView, ClassQueueView, ClientView, EstimateView, KeptView, LimitView,
    LiveCallView, ObservedView, OutlookView, OutsideView, PausedView, ReservationView, SpendView, StatusView,
    UsageRowView, UsageView, WaitingView, WhyView, WindowView,
};

pub(crate) fn call(entry: &Entry) -> CallView {
    let (call, tokens) = (&entry.call, &entry.usage.tokens);
    CallView {
        call_id: call.id.to_string(),
        request_id: entry.attempts.iter().rev().find_map(|attempt| text(&attempt.request_id)),
        started_at: call.started_at.to_string(),
        ended_at: entry.ended_at.to_string(),
        client: call.who.client.to_string(),
        person: text(&call.who.person),
        project: text(&call.who.project),
        tenant: text(&call.who.tenant),
        priority: call.class.name().to_owned(),
        upstream: entry.attempts.last().map(|attempt| attempt.upstream.to_string()),
        model: call.model.to_string(),
        status: entry.status,
        outcome: entry.outcome.name().to_owned(),
        input_tokens: tokens.input,
        cache_write_5m_tokens: tokens.cache_write_5m,
        cache_write_1h_tokens: tokens.cache_write_1h,
        cache_read_tokens: tokens.cache_read,
        output_tokens: tokens.output,
        cost_usd: money(entry.cost),
        price_id: text(&entry.price_id),
        estimated: entry.estimated,
        waited_ms: entry.waited_ms,
        first_byte_ms: entry.first_byte_ms,
        total_ms: entry.total_ms,
        attempts: entry.attempts.len() as u64,
        cache: entry.cache.name().to_owned(),
        saved_usd: money(entry.saved),
        error: text(&entry.error),
    }
}

/// A call that has ended, as a line among those that run.
pub(crate) fn ended(entry: &Entry) -> LiveCallView {
    LiveCallView {
        call_id: entry.call.id.to_string(),
        started_at: entry.call.started_at.to_string(),
        client: entry.call.who.client.to_string(),
        class: entry.call.class.name().to_owned(),
        model: entry.call.model.to_string(),
        state: entry.outcome.name().to_owned(),
        input_tokens: entry.usage.tokens.prompt(),
        output_tokens: entry.usage.tokens.output,
        cost_usd: money(entry.cost),
        waited_ms: entry.waited_ms,
        total_ms: entry.total_ms,
    }
}

pub(crate) fn why(
    entry: &Entry,
    provenance: &Provenance,
    changes: &[PriceChange],
    catalog: &Catalog,
    former: &[Former],
) -> WhyView {
    let Explained { price, terms, pricing } = explained(entry, changes, catalog, former);
    WhyView {
        call: call(entry),
        attempts: entry.attempts.iter().map(attempt).collect(),
        price,
        terms,
        pricing,
        waited_for: text(&entry.waited_for),
        sources: sources(entry, provenance, catalog),
        superseded: provenance.superseded.is_some(),
        superseded_by: provenance.superseded.flatten().map(|call| call.to_string()),
        supersedes: provenance.supersedes.iter().map(ToString::to_string).collect(),
    }
}

fn attempt(attempt: &domain::call::Attempt) -> AttemptView {
    AttemptView {
        number: attempt.number,
        upstream: attempt.upstream.to_string(),
        opened_at: attempt.opened_at.to_string(),
        status: attempt.status,
        request_id: text(&attempt.request_id),
        error: text(&attempt.error),
        maybe_billed: attempt.maybe_billed,
    }
}

pub(crate) fn usage(range: Range, zone: &str, rows: &[UsageRow], total: &Totals) -> UsageView {
    UsageView {
        from: range.from.to_string(),
        to: range.to.to_string(),
        timezone: zone.to_owned(),
        rows: rows.iter().map(usage_row).collect(),
        total: sums("total", total),
        subscription: None,
        reconciled_to: None,
        kept_from: None,
    }
}

pub(crate) fn subscription(seen: Option<Vec<Observation>>, now: Timestamp) -> Option<Vec<ObservedView>> {
    let observed = |seen: Observation| ObservedView {
        used_percent: seen.resets_at.is_none_or(|at| at > now).then(|| f64::from(seen.used) / 100.0),
        resets_at: seen.resets_at.map(|at| at.to_string()),
        observed_at: seen.at.to_string(),
        age_s: now.since(seen.at).as_secs(),
        window: seen.window,
    };
    Some(seen?.into_iter().map(observed).collect())
}

pub(crate) fn usage_row(row: &UsageRow) -> UsageRowView {
    sums(&row.key, &row.totals)
}

fn sums(key: &str, totals: &Totals) -> UsageRowView {
    UsageRowView {
        key: key.to_owned(),
        calls: totals.calls,
        input_tokens: totals.tokens.input,
        cache_write_5m_tokens: totals.tokens.cache_write_5m,
        cache_write_1h_tokens: totals.tokens.cache_write_1h,
        cache_read_tokens: totals.tokens.cache_read,
        output_tokens: totals.tokens.output,
        cost_usd: money(totals.cost()),
        unpriced_calls: totals.unpriced_calls,
        saved_usd: totals.saved.to_string(),
    }
}

pub(crate) fn cache(month: &Totals) -> CacheView {
    let Totals { cache_hits: hits, cache_misses: misses, saved, .. } = *month;
    let asked = hits.saturating_add(misses);
    CacheView {
        hits,
        misses,
        calls_avoided: hits,
        hit_rate: (asked > 0).then(|| hits as f64 / asked as f64),
        saved_usd: saved.to_string(),
    }
}

pub(crate) fn kept(enabled: bool, shelved: Shelved, month: &Totals) -> KeptView {
    KeptView { enabled, answers: shelved.answers, bytes: shelved.bytes, month: cache(month) }
}

pub(crate) fn client(client: &Client) -> ClientView {
    ClientView {
        name: client.name.to_string(),
        priority: client.class.name().to_owned(),
        weight: client.weight,
        person: text(&client.person),
        project: text(&client.project),
        daily_usd: money(client.daily),
        weekly_usd: money(client.weekly),
        monthly_usd: money(client.monthly),
        max_share: client.max_share,
        last_call_at: None,
    }
}

pub(crate) fn spend(spend: &Spend) -> SpendView {
    SpendView {
        today_usd: spend.today.known_cost.to_string(),
        week_usd: spend.week.known_cost.to_string(),
        month_usd: spend.month.known_cost.to_string(),
        unpriced_calls: spend.month.unpriced_calls,
    }
}

/// What a running gateway adds to the status.
pub(crate) fn gateway(status: &mut StatusView, gateway: &Gateway, upstreams: &[String], now: Now) {
    status.gateway.address = Some(format!("http://{}", gateway.address()));
    status.gateway.state = if gateway.is_draining() { "draining" } else { "open" }.to_owned();
    status.gateway.trouble = gateway.trouble().or_else(|| upstreams.is_empty().then(|| NO_UPSTREAM.to_owned()));
    status.gateway.upstreams = upstreams.to_vec();
    status.limits = gateway.levels().iter().map(|level| limit(level, upstreams, now)).collect();
    status.windows = gateway.quotas().iter().map(|quota| window(quota, upstreams)).collect();
    status.outside = gateway.outside().iter().map(|share| outside(share, upstreams)).collect();
    let errors = gateway.estimates();
    status.estimates = errors.iter().map(|(account, error)| estimate(upstreams.get(account.index()), error)).collect();
    status.breakers = gateway.breakers().iter().map(|group| breaker(group, upstreams, now)).collect();
    status.reservations = gateway.reservations().iter().map(|held| reservation(held, upstreams)).collect();
    status.paused = gateway.paused_scopes().iter().map(paused_scope).collect();
    status.queue.critical = class(&gateway.queue(Class::Critical));
    status.queue.normal = class(&gateway.queue(Class::Normal));
    status.queue.background = class(&gateway.queue(Class::Background));
    let here: Vec<LiveCallView> = gateway.live().iter().map(live).collect();
    status.live.splice(0..0, here);
}

/// What a gateway without upstreams has to say.
pub(crate) const NO_UPSTREAM: &str =
    "the settings name no upstream that can be called: calls get 503 until there is an [[upstream]]";

fn limit(level: &Level, upstreams: &[String], now: Now) -> LimitView {
    LimitView {
        upstream: upstreams.get(level.account.index()).cloned().unwrap_or_default(),
        group: level.group.to_string(),
        resource: level.measure.name().to_owned(),
        limit: level.limit,
        guard: level.guarded,
        level: i64::try_from(level.level).unwrap_or(i64::MAX),
        source: level.source.name().to_owned(),
        observed_at: level.observed.map(|at| moment(at, now)),
    }
}

fn breaker(breaker: &BreakerView, upstreams: &[String], now: Now) -> view::BreakerView {
    view::BreakerView {
        upstream: upstreams.get(breaker.account.index()).cloned().unwrap_or_default(),
        group: breaker.group.to_string(),
        state: breaker.state.name().to_owned(),
        until: breaker.until.map(|at| moment(at, now)),
        since: breaker.since.map(|at| moment(at, now)),
    }
}

/// What the wall clock shows then, as far as anybody knows now.
fn moment(at: Instant, now: Now) -> String {
    let (past, future) = (now.instant.since(at), at.since(now.instant));
    now.timestamp.before(past).after(future).to_string()
}

fn window(quota: &QuotaLevel, upstreams: &[String]) -> WindowView {
    let (name, upstream, scope) = match &quota.key {
        QuotaKey::Window { account, name } => (name.to_string(), upstreams.get(account.index()).cloned(), None),
        QuotaKey::Budget { scope, period } => {
            let scope = scope_name(scope);
            (format!("{scope} {}", period.name()), None, Some(scope))
        }
    };
    WindowView {
        name,
        upstream,
        scope,
        unit: quota.unit.name().to_owned(),
        used: amount(quota.unit, quota.used),
        reserved: amount(quota.unit, quota.reserved),
        limit: amount(quota.unit, quota.limit),
        resets_at: (quota.resets_at > Timestamp::default()).then(|| quota.resets_at.to_string()),
        hard: quota.hard,
    }
}

/// As the settings write it.
pub(crate) fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Machine => "machine".to_owned(),
        Scope::Client(name) => format!("client:{name}"),
        Scope::Person(name) => format!("person:{name}"),
        Scope::Project(name) => format!("project:{name}"),
        Scope::Tenant(name) => format!("tenant:{name}"),
    }
}

/// From the unit's smallest part.
pub(crate) fn amount(unit: Unit, amount: i64) -> AmountView {
    match unit {
        Unit::Usd => AmountView::Usd(Usd::from_nanos(amount).to_string()),
        Unit::Tokens => AmountView::Tokens(u64::try_from(amount).unwrap_or(0)),
        Unit::Percent => AmountView::Percent(amount as f64 / 100.0),
    }
}

fn outside(outside: &Outside, upstreams: &[String]) -> OutsideView {
    OutsideView {
        upstream: upstreams.get(outside.account.index()).cloned().unwrap_or_default(),
        group: outside.group.to_string(),
        resource: outside.measure.name().to_owned(),
        share: fraction(outside.share_permille),
    }
}

fn estimate(upstream: Option<&String>, error: &EstimateError) -> EstimateView {
    EstimateView {
        upstream: upstream.cloned().unwrap_or_default(),
        model: error.model.to_string(),
        client: error.client.to_string(),
        calls: error.calls,
        median_error: fraction(error.median_permille),
        p95_error: fraction(error.p95_permille),
    }
}

fn fraction(permille: u32) -> f64 {
    f64::from(permille) / 1_000.0
}

pub(crate) fn reservation(held: &Reservation, upstreams: &[String]) -> ReservationView {
    ReservationView {
        id: held.id.0.to_string(),
        client: held.client.to_string(),
        upstream: upstreams.get(held.account.index()).cloned().unwrap_or_default(),
        model: held.model.to_string(),
        calls: held.calls,
        used: held.used,
        input_tokens: held.input_tokens,
        output_tokens: held.output_tokens,
        starts_at: held.starts_at.to_string(),
        expires_at: held.expires_at.to_string(),
    }
}

fn paused_scope(paused: &PausedScope) -> PausedView {
    PausedView { scope: paused.scope.to_string(), since: paused.since.to_string(), waiting: paused.waiting as u64 }
}

pub(crate) fn waiting(call: &WaitingCall, upstreams: &[String]) -> WaitingView {
    WaitingView {
        call_id: call.call.to_string(),
        client: call.client.to_string(),
        tenant: text(&call.tenant),
        class: call.class.name().to_owned(),
        model: call.model.to_string(),
        upstream: upstreams.get(call.account.index()).cloned().unwrap_or_default(),
        input_tokens: call.input,
        waited_ms: millis(call.waited),
        eta_ms: call.eta.map(millis),
    }
}

pub(crate) fn outlook(outlook: &Outlook, model: &str, client: Option<&str>) -> OutlookView {
    OutlookView {
        model: model.to_owned(),
        client: client.map(str::to_owned),
        input_tokens: outlook.input.likely,
        input_error: outlook.input.high.saturating_sub(outlook.input.likely),
        output_tokens: outlook.output.likely,
        output_error: outlook.output.high.saturating_sub(outlook.output.likely),
        cost_usd: money(outlook.cost_likely),
        worst_cost_usd: money(outlook.cost_worst),
        wait_ms: outlook.wait.map(millis),
        waits_for: outlook.binding.as_ref().map(|limit| format!("{} {}", limit.group, limit.measure.name())),
    }
}

fn class(queue: &ClassQueue) -> ClassQueueView {
    ClassQueueView {
        waiting: queue.waiting as u64,
        running: queue.running as u64,
        oldest_ms: millis(queue.oldest.unwrap_or_default()),
        eta_ms: queue.eta.map(millis),
        paused: queue.paused,
    }
}

fn live(call: &LiveCall) -> LiveCallView {
    LiveCallView {
        call_id: call.id.to_string(),
        started_at: call.started_at.to_string(),
        client: call.client.to_string(),
        class: call.class.name().to_owned(),
        model: call.model.to_string(),
        state: match call.state {
            LiveState::Waiting => "waiting",
            LiveState::Running => "running",
            LiveState::Ended(outcome) => outcome.name(),
        }
        .to_owned(),
        input_tokens: call.input_tokens,
        output_tokens: call.output_tokens,
        cost_usd: money(call.cost),
        waited_ms: millis(call.waited),
        total_ms: millis(call.total),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn money(usd: Option<Usd>) -> Option<String> {
    usd.map(|usd| usd.to_string())
}

fn text(text: &Option<Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}
