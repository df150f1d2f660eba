//! The emergency of a data folder: judged while a gateway runs, told before anything comes of it, kept over restarts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::admission::{BreakerView, QuotaKey, QuotaLevel};
use domain::alert::Sign;
use domain::emergency::{Cause, Change, Emergency, EmergencyMemory, EmergencyRules, Signs};
use domain::money::Usd;
use domain::routing::{BreakerState, Cap};
use domain::time::{Calendar, Instant, Now, Timestamp};
use gateway::{Gateway, LiveState, Traffic, Watch};
use ledger::{By, Ledger, Spender};
use serde::{Deserialize, Serialize};

use crate::alerts::{Alerts, Crossing};
use crate::api::ApiError;
use crate::folder::FolderError;
use crate::settings::{EmergencySettings, Settings, Upstream, UpstreamKind};
use crate::view::{EmergencyReportView, EmergencyView};
use crate::{App, clock, folder};

pub(crate) struct Crisis {
    file: PathBuf,
    ledger: Arc<Ledger>,
    calendar: Calendar,
    pages: Vec<String>,
    pub(crate) alerts: Arc<Alerts>,
    /// Where each upstream's key lies, as the settings have it.
    keys: BTreeMap<String, String>,
    /// Some upstream may refuse its key or all calls: whoever answers is asked about no more often than that.
    is_refused: AtomicBool,
    inside: Mutex<Inside>,
}

struct Inside {
    rules: EmergencyRules,
    contacts: Vec<String>,
    emergency: Emergency,
    /// A sentence for each thing that keeps it up, or did last.
    reasons: BTreeMap<String, String>,
    /// Calls that waited for it in earlier runs, and in this one.
    held: [u64; 2],
    /// One that is over and of which no report is made yet.
    over: Option<Over>,
    last: Option<EmergencyReportView>,
    /// From when to when the last one was, as long as calls run that began in it.
    unfinished: Option<(Timestamp, Timestamp)>,
    watched: Option<Watched>,
    spent_today: Usd,
    /// When calls last left an upstream for another or were turned away.
    failing: BTreeMap<String, Instant>,
}

/// The gateway whose signs count.
struct Watched {
    gateway: Weak<Gateway>,
    upstreams: Vec<String>,
}

struct Over {
    since: Timestamp,
    until: Timestamp,
    reason: String,
    calls_held: u64,
}

/// Signs, and what they are signs of.
#[derive(Default)]
struct Seen {
    signs: Signs,
    /// The fullest window of a week, as a person knows it.
    week: String,
    /// Whose breaker has been open longest.
    breaker: String,
}

/// `DIR/emergency.json`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    since: Option<String>,
    by_hand: bool,
    causes: Vec<KeptCause>,
    reasons: BTreeMap<String, String>,
    calls_held: u64,
    last: Option<EmergencyReportView>,
}

#[derive(Serialize, Deserialize)]
struct KeptCause {
    cause: String,
    left_by_hand: bool,
}

const FILE: &str = "emergency.json";
const EVERY: Duration = Duration::from_secs(1);
const EVERY_AT_REST: Duration = Duration::from_secs(5);
/// What was spent is asked of the ledger.
const SPEND_EVERY: Duration = Duration::from_secs(5);
/// An upstream from which no call has gone elsewhere for so long, and whose breakers are closed, is there again.
const BACK_AFTER: Duration = Duration::from_secs(300);
const HAND: &str = "hand";
const RULE: Sign = Sign::Emergency;
const CLAUDE_PAGES: [&str; 2] = ["https://status.claude.com", "https://platform.claude.com/settings/limits"];

impl Crisis {
    pub(crate) fn open(dir: &Path, settings: &Settings, ledger: Arc<Ledger>, alerts: Arc<Alerts>) -> Crisis {
        let file = dir.join(FILE);
        let kept: Kept = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("whether there was an emergency is forgotten: {error}");
            folder::set_aside(&file);
            Kept::default()
        });
        let inside = Inside::of(&settings.emergency, kept);
        // Told of one that is no more, or of which nothing is known any more.
        for scope in alerts.open_scopes(RULE).iter().filter(|scope| !inside.causes().contains(scope)) {
            alerts.resolve(RULE, scope, clock::now());
        }
        Crisis {
            file,
            ledger,
            calendar: settings.gateway.calendar,
            pages: pages(settings),
            alerts,
            keys: keys(settings),
            is_refused: AtomicBool::new(true),
            inside: Mutex::new(inside),
        }
    }

    /// From now on; an emergency that is on stays until these let it go.
    pub(crate) fn set_rules(&self, settings: &EmergencySettings) {
        let mut inside = self.lock();
        inside.rules = rules(settings);
        let rules = inside.rules;
        inside.emergency.set_rules(rules);
        inside.contacts.clone_from(&settings.contacts);
    }

    /// From now on this gateway's signs count, and it does as the emergency says. Before it takes calls.
    pub(crate) fn watch(&self, gateway: &Arc<Gateway>, upstreams: Vec<String>) {
        let now = clock::now().instant;
        let mut inside = self.lock();
        for scope in [Sign::Fallback, Sign::Breaker].iter().flat_map(|sign| self.alerts.open_scopes(*sign)) {
            inside.failing.insert(scope, now);
        }
        inside.watched = Some(Watched { gateway: Arc::downgrade(gateway), upstreams });
        gateway.set_emergency(inside.emergency.since());
    }

    /// The gateway ends: what it held is counted.
    pub(crate) fn unwatch(&self) {
        let mut inside = self.lock();
        inside.count_held();
        inside.held = [inside.held[0].saturating_add(inside.held[1]), 0];
        inside.watched = None;
        self.keep(&inside);
    }

    /// Runs as long as the gateway does.
    pub(crate) async fn run(self: Arc<Crisis>, traffic: Traffic) {
        let mut asked: Option<Instant> = None;
        loop {
            let now = clock::now();
            if self.lock().rules.spend.is_some() && asked.is_none_or(|asked| now.instant.since(asked) >= SPEND_EVERY) {
                asked = Some(now.instant);
                self.ask_what_was_spent(now.timestamp).await;
            }
            self.judge(now);
            self.resolve(now);
            self.report().await;
            traffic.pause(EVERY, EVERY_AT_REST).await;
        }
    }

    async fn ask_what_was_spent(&self, now: Timestamp) {
        // As in budgets, what logs and telemetry tell of is not counted.
        match self.ledger.used(Spender::Client, self.calendar.start_of_day(now), now).await {
            Ok(used) => self.lock().spent_today = used.iter().map(|used| used.known_cost).sum(),
            Err(error) => tracing::warn!("what was spent today is unknown: {error}"),
        }
    }

    pub(crate) fn judge(&self, now: Now) {
        let mut inside = self.lock();
        if let Some(seen) = inside.look(now) {
            self.judge_by(&mut inside, &seen, now);
        }
    }

    fn judge_by(&self, inside: &mut Inside, seen: &Seen, now: Now) {
        let before = inside.emergency.remember();
        let change = inside.emergency.judge(&seen.signs, now);
        let causes: Vec<Cause> = inside.emergency.causes().collect();
        for cause in causes {
            if let Some(crossing) = crossing(&inside.rules, cause, seen) {
                inside.reasons.insert(cause.name().to_owned(), crossing.message.clone());
                self.alerts.cross(crossing, now);
            }
        }
        let held = inside.held;
        inside.count_held();
        if before != inside.emergency.remember() || held != inside.held {
            self.follow(inside, change, now);
        }
    }

    /// What is told and written goes before what clients see.
    fn follow(&self, inside: &mut Inside, change: Option<Change>, now: Now) {
        match change {
            Some(Change::Entered) => inside.held = [0, 0],
            Some(Change::Left { since }) => inside.end(since, now.timestamp),
            None => {}
        }
        let causes = inside.causes();
        inside.reasons.retain(|cause, _| causes.contains(cause));
        for scope in self.alerts.open_scopes(RULE).iter().filter(|scope| !causes.contains(scope)) {
            self.alerts.resolve(RULE, scope, now);
        }
        self.keep(inside);
        if change.is_some() {
            tracing::warn!("emergency: {}", if change == Some(Change::Entered) { "entered" } else { "left" });
            if let Some(gateway) = inside.gateway() {
                gateway.set_emergency(inside.emergency.since());
            }
        }
    }

    fn enter_by_hand(&self, reason: Option<&str>, now: Now) -> Result<(), FolderError> {
        let mut inside = self.lock();
        let change = inside.emergency.enter_by_hand(now.timestamp);
        let said = inside.reasons.get(HAND).filter(|_| change.is_none()).cloned();
        let message = match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
            Some(reason) => format!("entered by hand: {}", one_line(reason)),
            None => said.unwrap_or_else(|| "entered by hand".to_owned()),
        };
        inside.reasons.insert(HAND.to_owned(), message.clone());
        let scope = HAND.to_owned();
        let (threshold, value) = (String::new(), String::new());
        self.alerts.cross(Crossing { sign: RULE, scope, threshold, value, message }, now);
        self.follow(&mut inside, change, now);
        self.try_to_keep(&inside)
    }

    fn leave_by_hand(&self, now: Now) -> Result<(), FolderError> {
        let mut inside = self.lock();
        inside.count_held();
        let change = inside.emergency.leave_by_hand();
        self.follow(&mut inside, change, now);
        self.try_to_keep(&inside)
    }

    fn resolve(&self, now: Now) {
        let failing = self.lock().failing_upstreams();
        if let Some(failing) = failing {
            self.resolve_all_but(&failing, now);
        }
    }

    /// Upstreams that are there again; `failing` are not.
    fn resolve_all_but(&self, failing: &[String], now: Now) {
        let inside = self.lock();
        let is_back = |scope: &String| {
            let last = inside.failing.get(scope).copied().unwrap_or_default();
            !failing.contains(scope) && now.instant.since(last) >= BACK_AFTER
        };
        for sign in [Sign::Fallback, Sign::Breaker] {
            for scope in self.alerts.open_scopes(sign).iter().filter(|scope| is_back(scope)) {
                self.alerts.resolve(sign, scope, now);
            }
        }
    }

    /// What the last emergency came to, once it is over, and again when the last call that began in it has ended.
    async fn report(&self) {
        let over = self.lock().over.take();
        match over {
            Some(over) => self.report_of(over).await,
            None => self.finish().await,
        }
    }

    async fn finish(&self) {
        let finished = {
            let mut inside = self.lock();
            let has_ended = |until| inside.gateway().is_none_or(|gateway| !has_call_from_before(&gateway, until));
            if inside.unfinished.is_some_and(|(_, until)| has_ended(until)) { inside.unfinished.take() } else { None }
        };
        let Some((since, until)) = finished else { return };
        let (spent_usd, saved_usd) = self.money(since, until).await;
        let mut inside = self.lock();
        if let Some(last) = inside.last.as_mut().filter(|last| last.until == until.to_string()) {
            (last.spent_usd, last.saved_usd) = (spent_usd, saved_usd);
            self.keep(&inside);
        }
    }

    async fn report_of(&self, Over { since, until, reason, calls_held }: Over) {
        let (spent_usd, saved_usd) = self.money(since, until).await;
        let length_s = until.since(since).as_secs();
        let unfinished = Some((since, until));
        let (since, until) = (since.to_string(), until.to_string());
        let mut inside = self.lock();
        inside.last = Some(EmergencyReportView { since, until, length_s, reason, calls_held, spent_usd, saved_usd });
        inside.unfinished = unfinished;
        self.keep(&inside);
    }

    /// What calls cost that started in it, and what was not spent because an answer was kept.
    async fn money(&self, since: Timestamp, until: Timestamp) -> (String, String) {
        // The one that starts in its last moment too.
        let until = until.after(Duration::from_millis(1));
        match self.ledger.usage(&By::Upstream, since, until, self.calendar).await {
            Ok(report) => (report.total.known_cost.to_string(), report.total.saved.to_string()),
            Err(error) => {
                tracing::warn!("what the emergency cost is unknown: {error}");
                (Usd::ZERO.to_string(), Usd::ZERO.to_string())
            }
        }
    }

    pub(crate) async fn view(&self, now: Timestamp) -> EmergencyView {
        let mut view = {
            let mut inside = self.lock();
            inside.count_held();
            inside.view()
        };
        view.pages.clone_from(&self.pages);
        let since = view.since.as_deref().and_then(Timestamp::parse);
        (view.spent_usd, view.saved_usd) = match since {
            Some(since) => self.money(since, now).await,
            None => (Usd::ZERO.to_string(), Usd::ZERO.to_string()),
        };
        view
    }

    fn keep(&self, inside: &Inside) {
        if let Err(error) = self.try_to_keep(inside) {
            tracing::warn!("the emergency's state is not kept: {error}");
        }
    }

    fn try_to_keep(&self, inside: &Inside) -> Result<(), FolderError> {
        folder::write_json(&self.file, &inside.kept())
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an upstream refuses all calls, until when where that is known, and what to do.
fn capped(upstream: &str, cap: Cap) -> String {
    match cap {
        Cap::Tier { until } => {
            let day = until.to_string();
            let day = day.get(..10).unwrap_or(&day);
            format!(
                "upstream \"{upstream}\" has spent what its tier allows in a month: it refuses calls until {day}, 00:00 UTC"
            )
        }
        Cap::Credit => format!("upstream \"{upstream}\" has no credit left: it refuses calls until there is some"),
        Cap::Window => {
            format!(
                "the subscription of upstream \"{upstream}\" has used up a window: it refuses calls until that begins anew"
            )
        }
        Cap::Own => format!(
            "upstream \"{upstream}\" has reached a spend limit that was set there: it refuses calls until that is raised or begins anew"
        ),
    }
}

/// The gateway tells what clients are about to see; stakeholders hear of it first.
impl Watch for Crisis {
    fn falls_back(&self, from: &str, to: &str, why: &str) {
        if why == "tidegate_emergency" {
            return;
        }
        let message = format!("calls of upstream \"{from}\" get their answers from \"{to}\": {why}");
        self.fails(Sign::Fallback, from, why, message);
    }

    fn refuses_key(&self, upstream: &str, status: u16) {
        self.is_refused.store(true, Ordering::Relaxed);
        let key = self.keys.get(upstream).map_or("its key", String::as_str);
        let message = match status {
            401 => format!(
                "upstream \"{upstream}\" refuses the key (401): calls fail until {key} is a key that it knows; {}",
                way_out(key)
            ),
            _ => format!(
                "upstream \"{upstream}\" says that the key may not do this ({status}): see what {key} is allowed at the upstream, or {}",
                way_out(key)
            ),
        };
        let scope = format!("upstream:{upstream}");
        let (threshold, value) = (String::new(), status.to_string());
        self.alerts.cross(Crossing { sign: Sign::KeyRefused, scope, threshold, value, message }, clock::now());
    }

    fn is_capped(&self, upstream: &str, cap: Cap) {
        self.is_refused.store(true, Ordering::Relaxed);
        let message = capped(upstream, cap);
        let scope = format!("upstream:{upstream}");
        let (threshold, value) = (String::new(), cap.name().to_owned());
        self.alerts.cross(Crossing { sign: Sign::Capped, scope, threshold, value, message }, clock::now());
    }

    fn answers(&self, upstream: &str) {
        if !self.is_refused.swap(false, Ordering::Relaxed) {
            return;
        }
        for sign in [Sign::KeyRefused, Sign::Capped] {
            self.alerts.resolve(sign, &format!("upstream:{upstream}"), clock::now());
            if !self.alerts.open_scopes(sign).is_empty() {
                self.is_refused.store(true, Ordering::Relaxed);
            }
        }
    }

    fn turns_away(&self, upstream: Option<&str>, code: &str) {
        match upstream {
            Some(upstream) => {
                let message =
                    format!("upstream \"{upstream}\" fails calls, and those that can't wait for it are refused");
                self.fails(Sign::Breaker, upstream, code, message);
            }
            None if code == "tidegate_window_exhausted" => {
                self.alerts.turn_away();
                self.judge(clock::now());
            }
            None if code == "tidegate_budget_reached" => self.alerts.turn_away(),
            None => {}
        }
    }
}

/// Of upstreams that have one.
fn keys(settings: &Settings) -> BTreeMap<String, String> {
    let key = |upstream: &Upstream| Some((upstream.name.to_string(), upstream.key.as_ref()?.to_string()));
    settings.upstreams.iter().filter_map(key).collect()
}

fn way_out(key: &str) -> String {
    match key.strip_prefix("keychain:") {
        Some(name) => format!("`tidegate key set {name}` puts another one in"),
        None => "put another one there".to_owned(),
    }
}

impl Crisis {
    fn fails(&self, sign: Sign, upstream: &str, why: &str, message: String) {
        let now = clock::now();
        let scope = format!("upstream:{upstream}");
        self.lock().failing.insert(scope.clone(), now.instant);
        let (threshold, value) = (String::new(), why.to_owned());
        self.alerts.cross(Crossing { sign, scope, threshold, value, message }, now);
        self.judge(now);
    }
}

impl Inside {
    fn of(settings: &EmergencySettings, kept: Kept) -> Inside {
        let cause = |kept: &KeptCause| Some((Cause::named(&kept.cause)?, kept.left_by_hand));
        let memory = EmergencyMemory {
            since: kept.since.as_deref().and_then(Timestamp::parse),
            by_hand: kept.by_hand,
            causes: kept.causes.iter().filter_map(cause).collect(),
        };
        Inside {
            rules: rules(settings),
            contacts: settings.contacts.clone(),
            emergency: Emergency::recall(rules(settings), &memory),
            reasons: kept.reasons,
            held: [kept.calls_held, 0],
            over: None,
            last: kept.last,
            unfinished: None,
            watched: None,
            spent_today: Usd::ZERO,
            failing: BTreeMap::new(),
        }
    }

    fn kept(&self) -> Kept {
        let EmergencyMemory { since, by_hand, causes } = self.emergency.remember();
        let kept = |(cause, left_by_hand): (Cause, bool)| KeptCause { cause: cause.name().to_owned(), left_by_hand };
        Kept {
            since: since.map(|since| since.to_string()),
            by_hand,
            causes: causes.into_iter().map(kept).collect(),
            reasons: self.reasons.clone(),
            calls_held: self.held[0].saturating_add(self.held[1]),
            last: self.last.clone(),
        }
    }

    fn gateway(&self) -> Option<Arc<Gateway>> {
        self.watched.as_ref()?.gateway.upgrade()
    }

    fn count_held(&mut self) {
        if let Some(gateway) = self.gateway().filter(|_| self.emergency.since().is_some()) {
            self.held[1] = gateway.held_by_emergency();
        }
    }

    fn end(&mut self, since: Timestamp, until: Timestamp) {
        let (reason, calls_held) = (self.reason(), self.held[0].saturating_add(self.held[1]));
        self.over = Some(Over { since, until, reason, calls_held });
        self.held = [0, 0];
    }

    /// `hand`, `week`, …
    fn causes(&self) -> Vec<String> {
        let hand = self.emergency.is_by_hand().then_some(HAND);
        let is_on = self.emergency.since().is_some();
        let ruled = self.emergency.causes().filter(|_| is_on).map(Cause::name);
        hand.into_iter().chain(ruled).map(str::to_owned).collect()
    }

    fn reason(&self) -> String {
        self.reasons.values().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    fn view(&self) -> EmergencyView {
        let since = self.emergency.since();
        EmergencyView {
            active: since.is_some(),
            since: since.map(|since| since.to_string()),
            reason: since.map(|_| self.reason()),
            causes: self.causes(),
            contacts: self.contacts.clone(),
            calls_held: self.held[0].saturating_add(self.held[1]),
            last: self.last.clone(),
            ..EmergencyView::default()
        }
    }

    /// `upstream:NAME` of each whose breaker is not closed. `None` where no gateway runs.
    fn failing_upstreams(&self) -> Option<Vec<String>> {
        let watched = self.watched.as_ref()?;
        let breakers = watched.gateway.upgrade()?.breakers();
        let failing = breakers.iter().filter(|breaker| breaker.state != BreakerState::Closed);
        Some(failing.map(|breaker| format!("upstream:{}", watched.name(breaker.account.index()))).collect())
    }

    fn look(&self, now: Now) -> Option<Seen> {
        let watched = self.watched.as_ref()?;
        let gateway = watched.gateway.upgrade()?;
        Some(watched.seen(&gateway.quotas(), &gateway.breakers(), self.spent_today, now))
    }
}

impl Watched {
    fn name(&self, account: usize) -> &str {
        self.upstreams.get(account).map_or("?", String::as_str)
    }

    fn seen(&self, quotas: &[QuotaLevel], breakers: &[BreakerView], spent_today: Usd, now: Now) -> Seen {
        let week = quotas.iter().filter(|quota| quota.is_week_window()).max_by_key(|quota| quota.used_permille());
        // One that waits for a call to find out is no sign: where nobody calls, nobody is failed.
        let failing = breakers.iter().filter(|breaker| breaker.state == BreakerState::Open);
        let longest = failing.filter_map(|breaker| Some((breaker.since?, breaker))).min_by_key(|(since, _)| *since);
        Seen {
            signs: Signs {
                week_permille: week.map_or(0, QuotaLevel::used_permille),
                breaker_open: longest.map(|(since, _)| now.instant.since(since)),
                spent_today,
            },
            week: week.map(|quota| self.window(&quota.key)).unwrap_or_default(),
            breaker: longest
                .map(|(_, BreakerView { account, group, .. })| {
                    format!("upstream \"{}\" fails calls of {group}", self.name(account.index()))
                })
                .unwrap_or_default(),
        }
    }

    fn window(&self, key: &QuotaKey) -> String {
        match key {
            QuotaKey::Window { account, name } => {
                format!("the window \"{name}\" of upstream \"{}\"", self.name(account.index()))
            }
            QuotaKey::Budget { period, .. } => period.name().to_owned(),
        }
    }
}

fn has_call_from_before(gateway: &Gateway, end: Timestamp) -> bool {
    gateway.live().iter().any(|call| call.started_at <= end && !matches!(call.state, LiveState::Ended(_)))
}

/// What a rule tells whose sign is past its mark; nothing while it is on its way back.
fn crossing(rules: &EmergencyRules, cause: Cause, seen: &Seen) -> Option<Crossing> {
    let (signs, week, open) = (&seen.signs, seen.signs.week_permille, seen.signs.breaker_open.unwrap_or_default());
    let (threshold, value, message) = match (cause, rules.spend) {
        (Cause::Week, _) if week >= rules.week_permille => {
            (fraction(rules.week_permille), fraction(week), format!("{} % of {} is used", percent(week), seen.week))
        }
        (Cause::Breaker, _) if open >= rules.breaker_open => (
            rules.breaker_open.as_secs().to_string(),
            open.as_secs().to_string(),
            format!("{} for {} s", seen.breaker, open.as_secs()),
        ),
        (Cause::Spend, Some(most)) if signs.spent_today >= most => {
            let spent = signs.spent_today.to_string();
            (most.to_string(), spent.clone(), format!("{spent} dollars were spent today"))
        }
        (Cause::Week | Cause::Breaker | Cause::Spend, _) => return None,
    };
    let scope = cause.name().to_owned();
    Some(Crossing { sign: RULE, scope, threshold, value, message })
}

fn fraction(permille: u32) -> String {
    format!("{}.{:03}", permille / 1_000, permille % 1_000)
}

fn percent(permille: u32) -> String {
    format!("{}.{}", permille / 10, permille % 10)
}

const fn rules(settings: &EmergencySettings) -> EmergencyRules {
    EmergencyRules {
        week_permille: settings.enter_week_permille,
        breaker_open: settings.enter_breaker_open,
        spend: settings.enter_spend,
    }
}

/// Where the upstreams of the settings tell of themselves.
fn pages(settings: &Settings) -> Vec<String> {
    let own = settings.status_page.as_ref().map(|page| page.url.as_str().to_owned());
    let calls_claude = settings.upstreams.iter().any(|upstream| upstream.kind == UpstreamKind::Anthropic);
    let of_claude = CLAUDE_PAGES.iter().filter(|_| calls_claude).map(|page| (*page).to_owned());
    let mut pages: Vec<String> = own.into_iter().chain(of_claude).collect();
    pages.dedup();
    pages
}

/// As much of a text as an alert shows.
fn one_line(text: &str) -> String {
    text.chars().take(200).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// What was asked for holds now, and not after the next start.
fn not_kept(error: FolderError) -> ApiError {
    ApiError::machine(format!("it is so until this program ends, and forgotten then: {error}"))
}

impl App {
    pub async fn emergency(&self) -> EmergencyView {
        self.crisis.view(self.now()).await
    }

    /// Lasts until it is left by hand, over restarts too.
    pub async fn enter_emergency(&self, reason: Option<&str>) -> Result<EmergencyView, ApiError> {
        self.crisis.enter_by_hand(reason, clock::now()).map_err(not_kept)?;
        Ok(self.emergency().await)
    }

    /// A rule whose cause goes on does not enter it again.
    pub async fn leave_emergency(&self) -> Result<EmergencyView, ApiError> {
        self.crisis.leave_by_hand(clock::now()).map_err(not_kept)?;
        self.crisis.report().await;
        Ok(self.emergency().await)
    }
}

#[cfg(test)]
mod tests;
