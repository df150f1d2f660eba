//! What may be spent over hours, a day, a week or a month: windows of accounts, and budgets.
//!
//! Periods follow the wall clock. A period that has ended never comes back, whatever the clock does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::AccountId;
use super::demand::Demand;
use super::reading::WindowReading;
use super::refusal::QuotaSpent;
use crate::call::Class;
use crate::config::{Amount, BackgroundGuard, Budget, Period, Rules, Scope, Span, Window};
use crate::money::Usd;
use crate::time::{Calendar, Cycle, Timestamp};
use crate::usage::Tokens;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct QuotaId(u32);

impl QuotaId {
    const fn index(self) -> usize {
        self.0 as usize
    }

    fn at(place: usize) -> QuotaId {
        QuotaId(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

/// Names a window or a budget.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QuotaKey {
    Window { account: AccountId, name: Arc<str> },
    Budget { scope: Scope, period: Period },
}

/// What a quota counts, and its smallest part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nano-dollars.
    Usd,
    Tokens,
    /// Hundredths of a percent, as the upstream tells them.
    Percent,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Usd => "usd",
            Unit::Tokens => "tokens",
            Unit::Percent => "percent",
        }
    }
}

/// A window or a budget and how much of it is spent. Figures are in the unit's smallest part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaLevel {
    pub key: QuotaKey,
    pub unit: Unit,
    pub used: i64,
    /// Held for calls that run, and for reservations.
    pub reserved: i64,
    pub limit: i64,
    /// When it starts anew; `None` where its first call begins it.
    pub cycle: Option<Cycle>,
    pub since: Timestamp,
    pub resets_at: Timestamp,
    pub hard: bool,
}

impl QuotaLevel {
    /// A window of an account that lasts a week.
    pub fn is_week_window(&self) -> bool {
        matches!(self.key, QuotaKey::Window { .. }) && (6 * DAY..=WEEK).contains(&self.resets_at.since(self.since))
    }

    /// How much of it is used, in thousandths of the limit.
    pub fn used_permille(&self) -> u32 {
        let permille = i128::from(self.used.max(0)) * 1_000 / i128::from(self.limit.max(1));
        u32::try_from(permille).unwrap_or(u32::MAX)
    }
}

/// Why a call of a class can't have of a quota now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shut {
    /// Running calls hold what is left.
    Held,
    /// Spent, for this class, until the reset.
    Spent { critical_only: bool },
    /// Kept for business hours.
    BusinessHours { opens: Timestamp },
}

impl Shut {
    pub(super) const fn left(self) -> Left {
        match self {
            Shut::Held => Left::Held,
            Shut::Spent { critical_only: false } => Left::Nothing,
            Shut::Spent { critical_only: true } => Left::ForCritical,
            Shut::BusinessHours { .. } => Left::ForBusinessHours,
        }
    }
}

/// What a quota had left when a call could have none of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    Nothing,
    /// By running calls.
    Held,
    ForCritical,
    ForBusinessHours,
}

#[derive(Debug)]
struct Quota {
    key: QuotaKey,
    unit: Unit,
    limit: i64,
    hard: bool,
    span: Span,
    since: Timestamp,
    resets_at: Timestamp,
    used: i64,
    reserved: i64,
    /// What calls that run have come to so far.
    live: i64,
    /// A budget that nobody sets any more, kept until its calls have ended.
    retired: bool,
    /// The upstream itself refuses.
    rejected: bool,
}

#[derive(Debug)]
pub(super) struct Quotas {
    all: Vec<Quota>,
    windows: BTreeMap<AccountId, Vec<QuotaId>>,
    budgets: BTreeMap<Scope, Vec<QuotaId>>,
    calendar: Calendar,
    background: Option<BackgroundGuard>,
    week_reserve_permille: u32,
    /// When the next period ends.
    next_turn: Timestamp,
    turned_at: Timestamp,
}

const DAY: Duration = Duration::from_secs(86_400);
/// A week with an hour more, as weeks in which clocks go back have.
const WEEK: Duration = Duration::from_secs(7 * 86_400 + 3_600);
const PERCENT: i64 = 100;
/// More than a million dollars for one call is what a client made up. What many hold together must not meet the end of
/// numbers, or giving one back would give back others'.
const AMOUNT_MAX: i64 = 1 << 50;

impl Quotas {
    pub(super) fn new(rules: &Rules) -> Quotas {
        Quotas {
            all: vec![],
            windows: BTreeMap::new(),
            budgets: BTreeMap::new(),
            calendar: rules.calendar,
            background: rules.background,
            week_reserve_permille: rules.week_reserve_permille,
            next_turn: Timestamp::default(),
            turned_at: Timestamp::default(),
        }
    }

    pub(super) fn add_window(&mut self, account: AccountId, window: &Window) {
        let (unit, limit) = match window.limit {
            Amount::Usd(limit) => (Unit::Usd, limit.as_nanos()),
            Amount::Tokens(limit) => (Unit::Tokens, i64::try_from(limit).unwrap_or(i64::MAX)),
            Amount::Percent(limit) => (Unit::Percent, i64::from(limit) * PERCENT),
        };
        let key = QuotaKey::Window { account, name: window.name.clone() };
        let id = self.add(key, unit, limit, false, window.span);
        self.windows.entry(account).or_default().push(id);
    }

    pub(super) fn set_week_reserve(&mut self, permille: u32) {
        self.week_reserve_permille = permille;
    }

    /// Replaces all budgets. What the remaining ones have spent stays.
    pub(super) fn set_budgets(&mut self, budgets: &[Budget]) {
        for id in std::mem::take(&mut self.budgets).into_values().flatten() {
            self.all[id.index()].retired = true;
        }
        for budget in budgets {
            let key = QuotaKey::Budget { scope: budget.scope.clone(), period: budget.period };
            let limit = budget.limit.as_nanos();
            let id = match self.all.iter().position(|quota| quota.key == key) {
                Some(known) => QuotaId::at(known),
                None => self.add(key, Unit::Usd, limit, budget.hard, Span::Until(self.cycle(budget.period))),
            };
            let quota = &mut self.all[id.index()];
            // Two budgets of one scope and period: the smaller binds, and the hard one cuts.
            let is_first = quota.retired || !self.budgets.get(&budget.scope).is_some_and(|known| known.contains(&id));
            quota.limit = if is_first { limit } else { quota.limit.min(limit) };
            quota.hard = budget.hard || (quota.hard && !is_first);
            quota.retired = false;
            let ids = self.budgets.entry(budget.scope.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }

    fn cycle(&self, period: Period) -> Cycle {
        self.calendar.cycle(period)
    }

    fn add(&mut self, key: QuotaKey, unit: Unit, limit: i64, hard: bool, span: Span) -> QuotaId {
        let (since, resets_at) = (Timestamp::default(), Timestamp::default());
        let (used, reserved, live, retired, rejected) = (0, 0, 0, false, false);
        self.all.push(Quota {
            key,
            unit,
            limit,
            hard,
            span,
            since,
            resets_at,
            used,
            reserved,
            live,
            retired,
            rejected,
        });
        self.next_turn = Timestamp::default();
        QuotaId::at(self.all.len() - 1)
    }

    /// All that the call draws on: its account's windows and the budgets of everyone it belongs to.
    pub(super) fn of(&self, demand: &Demand) -> Arc<[QuotaId]> {
        if self.all.is_empty() {
            return Arc::default();
        }
        self.windows_of(demand.account).iter().copied().chain(self.budgets_of(demand)).collect()
    }

    pub(super) fn windows_of(&self, account: AccountId) -> &[QuotaId] {
        self.windows.get(&account).map_or(&[], Vec::as_slice)
    }

    fn budgets_of(&self, demand: &Demand) -> Vec<QuotaId> {
        if self.budgets.is_empty() {
            return vec![];
        }
        let named = |scope: fn(Arc<str>) -> Scope, name: &Option<Arc<str>>| name.clone().map(scope);
        let scopes = [
            Some(Scope::Machine),
            Some(Scope::Client(demand.client.clone())),
            named(Scope::Person, &demand.person),
            named(Scope::Project, &demand.project),
            named(Scope::Tenant, &demand.tenant),
        ];
        scopes.iter().flatten().filter_map(|scope| self.budgets.get(scope)).flatten().copied().collect()
    }

    /// Begins new periods where old ones have ended. `true` where any did.
    pub(super) fn turn(&mut self, now: Timestamp) -> bool {
        if (self.turned_at..self.next_turn).contains(&now) {
            return false;
        }
        self.turned_at = now;
        for quota in &mut self.all {
            quota.turn(now);
        }
        let opening = self.background.as_ref().and_then(|guard| guard.hours.next_opening(now));
        self.next_turn =
            self.next_reset(now).into_iter().chain(opening).min().unwrap_or(Timestamp::from_millis(i64::MAX));
        true
    }

    /// Why a call of the class can't have of it now, if so.
    pub(super) fn shut(&self, id: QuotaId, class: Class, now: Timestamp) -> Option<Shut> {
        let quota = Some(&self.all[id.index()]).filter(|quota| !quota.retired)?;
        self.shares(quota, class, now).into_iter().flatten().find_map(|(share, shut)| quota.shut(share, shut))
    }

    /// The shares of a quota that bound a class, the narrowest last.
    fn shares(&self, quota: &Quota, class: Class, now: Timestamp) -> [Option<(u32, Shut)>; 3] {
        let whole = Some((1_000, Shut::Spent { critical_only: false }));
        if class == Class::Critical || quota.is_budget_of_someone() {
            return [whole, None, None];
        }
        let week = (quota.is_week() && quota.is_window())
            .then_some((self.week_reserve_permille, Shut::Spent { critical_only: true }));
        let held = if class == Class::Background { self.kept_for_people(quota, now) } else { None };
        [whole, week, held]
    }

    /// Outside business hours, and where they begin before the window ends, background work leaves a share of it.
    fn kept_for_people(&self, quota: &Quota, now: Timestamp) -> Option<(u32, Shut)> {
        let guard = self.background.as_ref()?;
        if !quota.lasts_a_day_or_a_week() || guard.hours.are_open(now) {
            return None;
        }
        let opens = guard.hours.next_opening(now).filter(|opens| *opens < quota.resets_at)?;
        Some((1_000 - guard.share_permille.min(1_000), Shut::BusinessHours { opens }))
    }

    /// When business hours begin, where background work may wait for them.
    pub(super) fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let guard = self.background.as_ref().filter(|_| !self.all.is_empty())?;
        if guard.hours.are_open(now) { None } else { guard.hours.next_opening(now) }
    }

    /// As a person calls it.
    pub(super) fn name(&self, id: QuotaId) -> Arc<str> {
        self.all[id.index()].name()
    }

    pub(super) fn resets_at(&self, id: QuotaId) -> Timestamp {
        self.all[id.index()].resets_at
    }

    pub(super) fn spent(&self, id: QuotaId, critical_only: bool) -> QuotaSpent {
        let Quota { key, unit, limit, used, resets_at, .. } = &self.all[id.index()];
        let (key, unit, limit, used, resets_at) = (key.clone(), *unit, *limit, *used, *resets_at);
        QuotaSpent { key, unit, limit, used, critical_only, resets_at }
    }

    /// The same with what running calls have come to: as a call that is cut for it is told.
    pub(super) fn run_up(&self, id: QuotaId) -> QuotaSpent {
        let spent = self.spent(id, false);
        QuotaSpent { used: spent.used.saturating_add(self.all[id.index()].live), ..spent }
    }

    /// Whether so much fits beside all that is used and held.
    pub(super) fn holds(&self, id: QuotaId, cost: Usd, tokens: u64) -> bool {
        let quota = &self.all[id.index()];
        let wanted = quota.amount(cost, tokens);
        quota.used.saturating_add(quota.reserved).saturating_add(wanted) <= quota.limit
    }

    /// Whether so much is anything in its unit.
    pub(super) fn wants_any(&self, id: QuotaId, cost: Usd, tokens: u64) -> bool {
        self.all[id.index()].amount(cost, tokens) > 0
    }

    pub(super) fn reserve(&mut self, id: QuotaId, cost: Usd, tokens: u64, now: Timestamp) {
        let quota = self.begun(id, now);
        quota.reserved = quota.reserved.saturating_add(quota.amount(cost, tokens));
    }

    /// Its period has begun, and its end is known.
    fn begun(&mut self, id: QuotaId, now: Timestamp) -> &mut Quota {
        let quota = &mut self.all[id.index()];
        quota.begin(now);
        self.next_turn = self.next_turn.min(quota.resets_at);
        quota
    }

    pub(super) fn release(&mut self, id: QuotaId, cost: Usd, tokens: u64) {
        let quota = &mut self.all[id.index()];
        quota.reserved = quota.reserved.saturating_sub(quota.amount(cost, tokens)).max(0);
    }

    /// What a call came to.
    pub(super) fn spend(&mut self, id: QuotaId, cost: Usd, tokens: u64, now: Timestamp) {
        let quota = self.begun(id, now);
        quota.used = quota.used.saturating_add(quota.amount(cost, tokens));
    }

    /// A running call has come to `more` than it had. `true` where that passes a hard budget.
    pub(super) fn runs_up(&mut self, id: QuotaId, more: Usd) -> bool {
        let quota = &mut self.all[id.index()];
        quota.live = quota.live.saturating_add(quota.amount(more, 0));
        quota.hard && !quota.retired && quota.used.saturating_add(quota.live) >= quota.limit
    }

    /// A call that had come to `live` runs no more.
    pub(super) fn stops(&mut self, id: QuotaId, live: Usd) {
        let quota = &mut self.all[id.index()];
        quota.live = quota.live.saturating_sub(quota.amount(live, 0)).max(0);
    }

    /// What the upstream says of its own windows: for the one of the settings that lasts as long, else for one of its own.
    pub(super) fn observe(&mut self, account: AccountId, reading: &WindowReading, now: Timestamp) {
        let length = window_length(&reading.name);
        let Some(id) = self.percent_window(account, &reading.name, length) else { return };
        let quota = &mut self.all[id.index()];
        quota.used = i64::from(reading.used).min(100 * PERCENT);
        quota.rejected = reading.rejected;
        if reading.resets_at > now && reading.resets_at.since(now) <= RESET_MAX {
            (quota.since, quota.resets_at) = (reading.resets_at.before(length), reading.resets_at);
        }
        // Without an end that can be, it ends by its length.
        self.begun(id, now);
    }

    fn percent_window(&mut self, account: AccountId, name: &Arc<str>, length: Duration) -> Option<QuotaId> {
        let known = self.windows_of(account);
        let fits = |id: &&QuotaId| {
            let quota = &self.all[id.index()];
            quota.unit == Unit::Percent && (quota.name() == *name || quota.span.lasts(length))
        };
        let found = known.iter().find(fits).copied();
        if found.is_some() || known.len() >= WINDOWS_MAX {
            return found;
        }
        let key = QuotaKey::Window { account, name: name.clone() };
        let id = self.add(key, Unit::Percent, 100 * PERCENT, false, Span::Rolling(length));
        self.windows.entry(account).or_default().push(id);
        Some(id)
    }

    /// Sets what was used since the period began, as the ledger tells it.
    pub(super) fn count(&mut self, key: &QuotaKey, used: i64) {
        if let Some(quota) = self.all.iter_mut().find(|quota| quota.key == *key) {
            quota.used = used.max(0);
        }
    }

    /// Takes up a window where it was before a restart.
    pub(super) fn resume(&mut self, key: &QuotaKey, used: i64, since: Timestamp, resets_at: Timestamp, now: Timestamp) {
        let is_ahead = resets_at > now && resets_at.since(now) <= RESET_MAX && since <= now;
        if let Some(quota) = self.all.iter_mut().find(|quota| quota.key == *key).filter(|_| is_ahead) {
            (quota.since, quota.resets_at, quota.used) = (since, resets_at, used.max(0));
            self.next_turn = self.next_turn.min(resets_at);
        }
    }

    pub(super) fn levels(&self) -> Vec<QuotaLevel> {
        self.all.iter().filter(|quota| !quota.retired).map(Quota::level).collect()
    }

    /// When the next period ends, after `now`.
    pub(super) fn next_reset(&self, now: Timestamp) -> Option<Timestamp> {
        self.all.iter().map(|quota| quota.resets_at).filter(|at| *at > now).min()
    }
}

/// More windows than this an upstream can't mean.
const WINDOWS_MAX: usize = 32;
/// A reset farther away than this is a mistake.
const RESET_MAX: Duration = Duration::from_secs(62 * 86_400);

/// Of a window that only the upstream knows, by its name: `5h`, `7d`.
fn window_length(name: &str) -> Duration {
    let hours = |text: &str, unit: u64| text.parse::<u64>().ok().filter(|n| *n > 0 && *n <= 1_000).map(|n| n * unit);
    let known = name.strip_suffix('h').and_then(|n| hours(n, 1)).or_else(|| hours(name.strip_suffix('d')?, 24));
    Duration::from_secs(known.unwrap_or(5) * 3_600)
}

impl Quota {
    /// A clock that goes back brings no old period back: the present one is named anew and keeps what is used.
    fn turn(&mut self, now: Timestamp) {
        let (over, early) = (now >= self.resets_at, now < self.since);
        if over || early {
            (self.since, self.resets_at) = match self.span {
                Span::Until(cycle) => (cycle.start(now), cycle.end(now)),
                // It begins with the next call.
                Span::Rolling(_) if over => (now, Timestamp::default()),
                Span::Rolling(length) => (now, now.after(length)),
            };
        }
        if over {
            (self.used, self.rejected) = (0, false);
        }
    }

    fn name(&self) -> Arc<str> {
        match &self.key {
            QuotaKey::Window { name, .. } => name.clone(),
            QuotaKey::Budget { period, .. } => period.name().into(),
        }
    }

    /// A rolling window begins with its first call.
    fn begin(&mut self, now: Timestamp) {
        if let (Span::Rolling(length), true) = (self.span, self.resets_at == Timestamp::default()) {
            (self.since, self.resets_at) = (now, now.after(length));
        }
    }

    fn shut(&self, share_permille: u32, shut: Shut) -> Option<Shut> {
        let allowed = i128::from(self.limit) * i128::from(share_permille) / 1_000;
        if i128::from(self.used) >= allowed || self.rejected {
            return Some(shut);
        }
        let held = i128::from(self.used) + i128::from(self.reserved) >= allowed;
        held.then_some(Shut::Held)
    }

    fn amount(&self, cost: Usd, tokens: u64) -> i64 {
        match self.unit {
            Unit::Usd => cost.as_nanos().clamp(0, AMOUNT_MAX),
            Unit::Tokens => i64::try_from(tokens).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX),
            Unit::Percent => 0,
        }
    }

    fn is_window(&self) -> bool {
        matches!(self.key, QuotaKey::Window { .. })
    }

    /// Of one client, person, project or tenant: theirs to spend as they like.
    fn is_budget_of_someone(&self) -> bool {
        matches!(&self.key, QuotaKey::Budget { scope, .. } if *scope != Scope::Machine)
    }

    fn length(&self) -> Duration {
        self.resets_at.since(self.since)
    }

    fn is_week(&self) -> bool {
        (6 * DAY..=WEEK).contains(&self.length())
    }

    fn lasts_a_day_or_a_week(&self) -> bool {
        let shortest = 22 * Duration::from_secs(3_600);
        (shortest..=WEEK).contains(&self.length())
    }

    fn level(&self) -> QuotaLevel {
        let Quota { key, unit, limit, hard, since, resets_at, used, reserved, .. } = self;
        let (key, unit, limit, hard, since) = (key.clone(), *unit, *limit, *hard, *since);
        let cycle = match self.span {
            Span::Until(cycle) => Some(cycle),
            Span::Rolling(_) => None,
        };
        QuotaLevel { key, unit, used: *used, reserved: *reserved, limit, cycle, since, resets_at: *resets_at, hard }
    }
}

/// What counts against a window of tokens: reading from the cache does not.
pub fn window_tokens(tokens: &Tokens) -> u64 {
    tokens.prompt().saturating_sub(tokens.cache_read).saturating_add(tokens.output)
}
