//! What the alert rules go by, as the app sees it: limits and windows each second, the ledger's figures each minute.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use domain::admission::{Level, QuotaKey, QuotaLevel, WaitingCall};
use domain::alert::{
    Burn, ErrorRatio, Figure, Habits, Made, Reading, Rule, Runaways, Sign, Streak, Streaks, Turn, Turned,
};
use domain::call::{Attempt, Class, Entry, Outcome, Source};
use domain::catalog;
use domain::config::Period;
use domain::money::Usd;
use domain::time::{Calendar, Cycle, Now, Timestamp};
use futures_util::FutureExt;
use gateway::Gateway;
use ledger::{By, Filter, Ledger, Observation, Spender};
use serde::{Deserialize, Serialize};

use super::{Alerts, read};
use crate::log::{self, Failures};
use crate::settings::Settings;
use crate::tiers::Caps;
use crate::{clock, folder, show};

/// Looks as long as a gateway runs.
pub(crate) struct Lookout {
    alerts: Arc<Alerts>,
    gateway: Weak<Gateway>,
    upstreams: Vec<String>,
    ledger: Arc<Ledger>,
    calendar: Calendar,
    dir: PathBuf,
    caps: Caps,
    signs: Signs,
    kept: KeptSigns,
    burns: BTreeMap<Arc<str>, Burn>,
    habits: Habits,
    errors: BTreeMap<Arc<str>, ErrorRatio>,
    runaways: Runaways,
    /// Calls that ended later are new; `None` before the first look.
    through: Option<Timestamp>,
}

struct ToldByLedger {
    spent: Vec<Reading>,
    tiers: Vec<Reading>,
    subscription: Vec<Reading>,
}

/// What is seen over more than one window.
#[derive(Default)]
struct Signs {
    streaks: Streaks,
    /// By window: the end of the one that turned calls away, and how many.
    blocked: BTreeMap<String, (Timestamp, u64)>,
}

/// `DIR/alert-signs.json`. Moments are milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptSigns {
    /// Since, resets, windows in a row before, and whether this one was used up early.
    streaks: BTreeMap<String, (i64, i64, u64, bool)>,
    blocked: BTreeMap<String, (i64, u64)>,
}

const FILE: &str = "alert-signs.json";
const EVERY: Duration = Duration::from_secs(1);
const EVERY_AT_REST: Duration = Duration::from_secs(5);
const SPENT_EVERY: Duration = Duration::from_secs(5);
const CALLS_EVERY: Duration = Duration::from_secs(60);
/// A call that ended in the last minute began no earlier, but for a few.
const CALLS_SINCE: Duration = Duration::from_secs(3_600);
/// More calls in a minute say no more.
const CALLS_MAX: u32 = 2_000;
/// A reader that holds the log this long holds the disk too.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Rules say how many times less than this is free.
const FREE_BYTES: i64 = 1_000_000_000;
/// Files that grow with the ledger.
const LOG: &str = "ledger.db-wal";

impl Lookout {
    pub(crate) fn of(
        alerts: &Arc<Alerts>,
        gateway: &Arc<Gateway>,
        upstreams: &[String],
        ledger: &Arc<Ledger>,
        dir: &Path,
        settings: &Settings,
    ) -> Lookout {
        let kept: KeptSigns = read(&dir.join(FILE), "windows that were used up early are forgotten");
        Lookout {
            alerts: alerts.clone(),
            gateway: Arc::downgrade(gateway),
            upstreams: upstreams.to_vec(),
            ledger: ledger.clone(),
            calendar: settings.gateway.calendar,
            dir: dir.to_owned(),
            caps: Caps::of(dir, settings),
            signs: kept.signs(),
            kept,
            burns: BTreeMap::new(),
            habits: Habits::default(),
            errors: BTreeMap::new(),
            runaways: Runaways::default(),
            through: None,
        }
    }

    /// Also where it panics itself: of that nobody else would tell.
    pub(crate) async fn run(mut self) {
        while AssertUnwindSafe(self.watch()).catch_unwind().await.is_err() {
            tokio::time::sleep(EVERY_AT_REST).await;
        }
    }

    async fn watch(&mut self) {
        let (mut spent, mut called) = (None, None);
        loop {
            let now = clock::now();
            let is_due =
                |last: Option<domain::time::Instant>, every| last.is_none_or(|last| now.instant.since(last) >= every);
            let Some(gateway) = self.gateway.upgrade() else { return };
            let (quotas, levels, waiting) = (gateway.quotas(), gateway.levels(), gateway.waiting());
            let traffic = gateway.traffic();
            drop(gateway);
            self.look(&quotas, &levels, &waiting, now);
            if is_due(spent, SPENT_EVERY) {
                spent = Some(now.instant);
                self.ask_what_was_spent(now).await;
                self.alerts.keep_seen();
            }
            if is_due(called, CALLS_EVERY) {
                called = Some(now.instant);
                self.ask_how_calls_went(now).await;
            }
            self.alerts.deliver_late(now);
            traffic.pause(EVERY, EVERY_AT_REST).await;
        }
    }

    fn look(&mut self, quotas: &[QuotaLevel], levels: &[Level], waiting: &[WaitingCall], now: Now) {
        let seen: Vec<Reading> = quotas.iter().map(|quota| self.quota(quota)).collect();
        let of = |wanted: fn(&QuotaLevel) -> bool| -> Vec<Reading> {
            let wanted = quotas.iter().zip(&seen).filter(|(quota, _)| wanted(quota));
            wanted.map(|(_, reading)| reading.clone()).collect()
        };
        let windows = of(|quota| matches!(quota.key, QuotaKey::Window { .. }));
        self.alerts.judge(Sign::Window, &windows, now);
        self.alerts.judge(Sign::Week, &of(QuotaLevel::is_week_window), now);
        self.alerts.judge(Sign::Budget, &of(|quota| matches!(quota.key, QuotaKey::Budget { .. })), now);
        self.see_over_time(&windows, now);
        let back = self.signs.back(&seen, self.alerts.take_turned_away());
        self.alerts.judge(Sign::QuotaBack, &back, now);
        self.alerts.judge(Sign::Failure, &failures(log::failures(), now), now);
        let minutes: Vec<Reading> = levels.iter().map(|level| self.minute(level, waiting)).collect();
        self.alerts.judge(Sign::Minute, &minutes, now);
        self.keep();
    }

    fn see_over_time(&mut self, windows: &[Reading], now: Now) {
        let (mut burns, mut chronic) = (vec![], vec![]);
        for window in windows {
            let Some(turn) = window.turn else { continue };
            let burn = self.burns.entry(window.name()).or_default();
            let rate = burn.observe(window.value, turn, now.timestamp);
            burns.push(Reading { value: rate, ..window.clone() });
            let in_a_row = self.signs.streaks.observe(&window.name(), window.value, turn, now.timestamp);
            chronic.push(Reading { value: in_a_row, ..window.clone() });
        }
        self.alerts.judge(Sign::Burn, &burns, now);
        self.alerts.judge(Sign::ChronicBurn, &chronic, now);
    }

    /// How much of a window or a budget is used.
    fn quota(&self, quota: &QuotaLevel) -> Reading {
        let (scope, part) = match &quota.key {
            QuotaKey::Window { account, name } => (self.upstream(account.index()), name.clone()),
            QuotaKey::Budget { scope, period } => (show::scope_name(scope), period.name().into()),
        };
        let turn = Turn { since: quota.since, resets_at: quota.resets_at };
        let value = Figure::ratio(quota.used, quota.limit);
        let turn = (quota.resets_at > Timestamp::default()).then_some(turn);
        Reading { turn, limit: Some(quota.limit), ..Reading::of(scope, part, value) }
    }

    /// How full a bucket is, and how long people's calls have waited for it. Background calls are there to wait.
    fn minute(&self, level: &Level, waiting: &[WaitingCall]) -> Reading {
        let of = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let used = of(level.guarded).saturating_sub(of(level.level));
        let measure = match level.measure.name() {
            "input_tokens" => "input",
            "output_tokens" => "output",
            "tokens" => "all",
            other => other,
        };
        let is_for_it = |call: &&WaitingCall| {
            let is_in_group = level.group.contains('*') || *catalog::group(&call.model) == *level.group;
            call.account == level.account && call.class != Class::Background && is_in_group
        };
        let delay = waiting.iter().filter(is_for_it).map(|call| call.waited).max().unwrap_or_default();
        let part = format!("{measure} {}", level.group);
        let value = Figure::ratio(used, of(level.guarded));
        Reading { delay, ..Reading::of(self.upstream(level.account.index()), part, value) }
    }

    fn upstream(&self, account: usize) -> String {
        format!("upstream:{}", self.upstreams.get(account).map_or("?", String::as_str))
    }

    async fn ask_what_was_spent(&mut self, now: Now) {
        self.alerts.judge(Sign::Disk, &disk(free_bytes(&self.dir)), now);
        match self.told_by_the_ledger(now.timestamp).await {
            Ok(ToldByLedger { spent, tiers, subscription }) => {
                self.alerts.judge(Sign::Spend, &spent, now);
                self.alerts.judge(Sign::Tier, &tiers, now);
                self.alerts.judge(Sign::Window, &subscription, now);
                self.alerts.judge(Sign::Ledger, &self.trouble_of_the_log(), now);
            }
            Err(error) => {
                tracing::warn!("what was spent is unknown: {error}");
                self.alerts.judge(Sign::Ledger, &[Reading::of("ledger", "", Figure::ONE)], now);
            }
        }
    }

    async fn told_by_the_ledger(&self, now: Timestamp) -> Result<ToldByLedger, ledger::Error> {
        let (spent, tiers) = (self.spent(now).await?, self.tiers(now).await?);
        Ok(ToldByLedger { spent, tiers, subscription: self.subscription(now).await? })
    }

    /// As in budgets, what logs and telemetry tell of is not counted.
    async fn spent(&self, now: Timestamp) -> Result<Vec<Reading>, ledger::Error> {
        let mut spent = vec![];
        for (period, spender) in spending(&self.alerts.rules()) {
            let turn = turn(self.calendar.cycle(period), now);
            let asked =
                SPENDERS.into_iter().find(|(name, _)| *name == spender).map_or(Spender::Client, |(_, asked)| asked);
            let mut by_name: BTreeMap<String, Usd> = BTreeMap::new();
            for used in self.ledger.used(asked, turn.since, now).await? {
                let name = if spender == "machine" { spender.to_owned() } else { format!("{spender}:{}", used.name) };
                *by_name.entry(name).or_default() += used.known_cost;
            }
            let reading = |(scope, cost): (String, Usd)| Reading {
                turn: Some(turn),
                ..Reading::of(scope, period.name(), Figure::usd(cost))
            };
            spent.extend(by_name.into_iter().map(reading));
        }
        Ok(spent)
    }

    /// What Claude Code last said of it; nothing once the window has begun anew.
    async fn subscription(&self, now: Timestamp) -> Result<Vec<Reading>, ledger::Error> {
        let reading = |seen: Observation| {
            let (_, length) = SUBSCRIPTION.into_iter().find(|(window, _)| *window == seen.window)?;
            let resets_at = seen.resets_at.filter(|at| *at > now)?;
            let turn = Turn { since: resets_at.before(length), resets_at };
            let used = Figure::ratio(seen.used.into(), 10_000);
            Some(Reading { turn: Some(turn), ..Reading::of("subscription", seen.window, used) })
        };
        Ok(self.ledger.subscription().await?.into_iter().flatten().filter_map(reading).collect())
    }

    async fn tiers(&self, now: Timestamp) -> Result<Vec<Reading>, ledger::Error> {
        let caps = self.caps.now();
        if caps.is_empty() {
            return Ok(vec![]);
        }
        // The upstream's month is UTC's.
        let turn = turn(Calendar::UTC.cycle(Period::Month), now);
        let used = self.ledger.used(Spender::Upstream, turn.since, now).await?;
        let tier = |(upstream, cap): &(String, Usd)| {
            let spent: Usd = used.iter().filter(|used| *used.name == **upstream).map(|used| used.known_cost).sum();
            let part = Figure::ratio(spent.as_nanos(), cap.as_nanos());
            let limit = Some(cap.as_nanos());
            Reading { turn: Some(turn), limit, ..Reading::of(format!("upstream:{upstream}"), "", part) }
        };
        Ok(caps.iter().map(tier).collect())
    }

    fn trouble_of_the_log(&self) -> Vec<Reading> {
        let log = std::fs::metadata(self.dir.join(LOG)).map_or(0, |file| file.len());
        let trouble = (log >= LOG_BYTES_MAX).then(|| Reading::of("ledger", "log", Figure::ONE));
        trouble.into_iter().collect()
    }

    async fn ask_how_calls_went(&mut self, now: Now) {
        if let Err(error) = self.see_calls(now).await {
            tracing::warn!("how calls went is unknown: {error}");
        }
    }

    async fn see_calls(&mut self, now: Now) -> Result<(), ledger::Error> {
        // The first look learns habits from before.
        let from = self.through.map(|_| now.timestamp.before(CALLS_SINCE));
        let mut calls = self.ledger.calls(&Filter { from, ..Filter::default() }, CALLS_MAX).await?;
        calls.retain(|entry| entry.source == Source::Gateway);
        calls.retain(|entry| self.through.is_none_or(|through| entry.ended_at > through));
        calls.sort_by_key(|entry| entry.ended_at);
        calls.iter().for_each(|entry| self.count(entry));
        self.through = Some(calls.last().map_or(self.through.unwrap_or_default(), |last| last.ended_at));
        let models = self
            .ledger
            .usage(&By::Model, self.calendar.start_of_day(now.timestamp), now.timestamp, self.calendar)
            .await?;
        let unpriced = models.rows.iter().filter(|row| row.totals.unpriced_calls > 0);
        let unpriced =
            unpriced.map(|row| Reading::of(format!("model:{}", row.key), "", Figure::count(row.totals.unpriced_calls)));
        self.alerts.judge(Sign::Unpriced, &unpriced.collect::<Vec<_>>(), now);
        self.judge_calls(now);
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        for attempt in &entry.attempts {
            let errors = self.errors.entry(attempt.upstream.clone()).or_default();
            errors.count(entry.ended_at, is_failure(attempt));
        }
        let who = &entry.call.who;
        if entry.outcome == Outcome::Completed {
            let made = Made {
                client: who.client.clone(),
                cost: entry.cost,
                tokens: entry.usage.tokens,
                by_agent: who.agent.is_some(),
            };
            self.habits.count(&made);
        }
        if let Some(session) = who.session.as_ref().filter(|_| entry.outcome != Outcome::Refused) {
            self.runaways.count(&Turned {
                session: session.clone(),
                prefix: prefix(entry),
                turns: entry.call.body_bytes,
                started_at: entry.call.started_at,
                ended_at: entry.ended_at,
            });
        }
    }

    fn judge_calls(&mut self, now: Now) {
        let (mut dearer, mut efficient) = (vec![], vec![]);
        for (client, habit) in self.habits.each() {
            let reading = |value| Reading::of(format!("client:{client}"), "", value);
            dearer.extend(habit.times_dearer().map(reading));
            efficient.extend(habit.efficiency().map(reading));
        }
        self.alerts.judge(Sign::CostPerCall, &dearer, now);
        self.alerts.judge(Sign::Efficiency, &efficient, now);
        let ratio = |(upstream, errors): (&Arc<str>, &ErrorRatio)| {
            Some(Reading::of(format!("upstream:{upstream}"), "", errors.ratio(now.timestamp)?))
        };
        let ratios: Vec<Reading> = self.errors.iter().filter_map(ratio).collect();
        self.alerts.judge(Sign::UpstreamErrors, &ratios, now);
        let running = self.runaways.running(now.timestamp);
        let running: Vec<Reading> =
            running.map(|(session, calls)| Reading::of(format!("session:{session}"), "", calls)).collect();
        let away = self.alerts.judge(Sign::Runaway, &running, now);
        self.pause(&away);
    }

    /// Where the settings want it: sessions that have just been told of.
    fn pause(&self, scopes: &[Arc<str>]) {
        let Some(gateway) = self.gateway.upgrade().filter(|_| self.alerts.pauses_runaways()) else { return };
        for session in scopes.iter().filter(|scope| scope.starts_with("session:")) {
            gateway.pause_scope(session);
        }
    }

    fn keep(&mut self) {
        let kept = KeptSigns::of(&self.signs);
        if kept == self.kept {
            return;
        }
        if let Err(error) = folder::write_json(&self.dir.join(FILE), &kept) {
            tracing::warn!("windows that were used up early are not kept: {error}");
        }
        self.kept = kept;
    }
}

/// Spending that some rule asks for.
fn spending(rules: &[Arc<Rule>]) -> BTreeSet<(Period, &'static str)> {
    let rules = rules.iter().filter(|rule| rule.metric.sign == Sign::Spend);
    let spending = rules.flat_map(|rule| {
        let kind = rule.metric.scope.as_deref().map_or("machine", |scope| scope.split(':').next().unwrap_or(scope));
        let spender = SPENDERS.into_iter().find(|(name, _)| *name == kind).map_or("machine", |(name, _)| name);
        let part = rule.metric.part.as_deref();
        let asked = PERIODS.into_iter().filter(move |period| part.is_none_or(|part| part == period.name()));
        asked.map(move |period| (period, spender))
    });
    spending.collect()
}

const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];
/// Of the machine everyone's is summed.
const SPENDERS: [(&str, Spender); 5] = [
    ("machine", Spender::Client),
    ("client", Spender::Client),
    ("person", Spender::Person),
    ("project", Spender::Project),
    ("tenant", Spender::Tenant),
];

const SUBSCRIPTION: [(&str, Duration); 2] =
    [("five_hour", Duration::from_secs(5 * 3_600)), ("seven_day", Duration::from_secs(7 * 86_400))];

fn turn(cycle: Cycle, now: Timestamp) -> Turn {
    Turn { since: cycle.start(now), resets_at: cycle.end(now) }
}

/// The upstream is to blame: too much of us, too much of all, an error, or no answer.
fn is_failure(attempt: &Attempt) -> bool {
    attempt.status.map_or(attempt.error.is_some(), |status| status >= 500)
}

/// Calls of a session that go to another model are another conversation, as far as the ledger knows them apart.
fn prefix(entry: &Entry) -> u64 {
    let text = entry.call.who.client.bytes().chain([0]).chain(entry.call.model.bytes());
    text.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// They are told of until an hour has passed without another.
pub(super) fn failures(failures: Option<Failures>, now: Now) -> Vec<Reading> {
    let fresh = failures.filter(|failures| now.instant.since(failures.last) < log::LATELY);
    fresh.map(|Failures { lately, .. }| Reading::of("tidegate", "", Figure::count(lately))).into_iter().collect()
}

/// Nothing where nobody knows what is free.
pub(super) fn disk(free: Option<u64>) -> Vec<Reading> {
    let free = free.map(|free| i64::try_from(free).unwrap_or(i64::MAX).max(1));
    free.map(|free| Reading::of("disk", "", Figure::ratio(FREE_BYTES, free))).into_iter().collect()
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> Option<u64> {
    None
}

impl Signs {
    /// Windows that turned calls away, once they have begun anew; `turned_away`: calls that some full window just did.
    fn back(&mut self, quotas: &[Reading], turned_away: u64) -> Vec<Reading> {
        let mut back = vec![];
        for quota in quotas {
            let (name, Some(turn)) = (quota.name().to_string(), quota.turn) else { continue };
            if turned_away > 0 && quota.value >= NEARLY_FULL {
                let blocked = self.blocked.entry(name.clone()).or_insert((turn.resets_at, 0));
                *blocked = if blocked.0 == turn.resets_at {
                    (blocked.0, blocked.1 + turned_away)
                } else {
                    (turn.resets_at, turned_away)
                };
            }
            let Some((end, calls)) = self.blocked.get(&name).copied() else { continue };
            if turn.since >= end && quota.value < NEARLY_FULL {
                self.blocked.remove(&name);
                back.push(Reading { value: Figure::count(calls), ..quota.clone() });
            }
        }
        back
    }
}

/// From here on some calls are turned away: what is left may be critical calls' alone, or held for those that run.
const NEARLY_FULL: Figure = Figure::from_millionths(900_000);

impl KeptSigns {
    fn of(signs: &Signs) -> KeptSigns {
        let streak = |(window, streak): (&Arc<str>, &Streak)| {
            let Streak { turn, before, early } = *streak;
            (window.to_string(), (turn.since.as_millis(), turn.resets_at.as_millis(), before, early))
        };
        let blocked =
            |(window, (end, calls)): (&String, &(Timestamp, u64))| (window.clone(), (end.as_millis(), *calls));
        KeptSigns {
            streaks: signs.streaks.by_window.iter().map(streak).collect(),
            blocked: signs.blocked.iter().map(blocked).collect(),
        }
    }

    fn signs(&self) -> Signs {
        let moment = Timestamp::from_millis;
        let streak = |(window, (since, resets_at, before, early)): (&String, &(i64, i64, u64, bool))| {
            let turn = Turn { since: moment(*since), resets_at: moment(*resets_at) };
            (window.as_str().into(), Streak { turn, before: *before, early: *early })
        };
        let blocked = |(window, (end, calls)): (&String, &(i64, u64))| (window.clone(), (moment(*end), *calls));
        Signs {
            streaks: Streaks { by_window: self.streaks.iter().map(streak).collect() },
            blocked: self.blocked.iter().map(blocked).collect(),
        }
    }
}
