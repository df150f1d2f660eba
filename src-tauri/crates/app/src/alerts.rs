//! What stakeholders are told: once per crossing, in files of the data folder before anything comes of it, then on the
//! desktop and by channels.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::alert::{Alerts as Machine, Crossed, Event, Figure, Reading, Rule, Severity, Sign};
use domain::call::CallId;
use domain::config::ChannelKind;
use domain::time::{Calendar, Now, Timestamp};
use tokio::sync::mpsc;

use crate::api::ApiError;
use crate::desktop::Desktop;
use crate::settings::{AlertSettings, DigestSettings, Settings};
use crate::view::AlertView;
use crate::{desktop, folder};

mod export;
mod lookout;
mod memory;
mod words;

pub(crate) use export::{AlertColumns, write_csv};
pub(crate) use lookout::Lookout;
use memory::Kept;

/// By this name reports go that nobody's rule asks for; none of the settings may have it.
pub(crate) const DIGEST: &str = "digest";

/// The alerts of a data folder, the latest last, and the machine that says when there is one.
pub(crate) struct Alerts {
    file: PathBuf,
    memory_file: PathBuf,
    calendar: Calendar,
    /// Channels that are this machine's own notifications.
    desktops: Vec<Arc<str>>,
    tell: Tell,
    inside: Mutex<Inside>,
    /// Where whoever serves the other channels listens.
    outbox: Mutex<Option<mpsc::Sender<Delivery>>>,
}

type Tell = Box<dyn Fn(&AlertView) -> bool + Send + Sync>;

struct Inside {
    machine: Machine,
    digest: DigestSettings,
    /// Sessions that run away are paused, and their alerts say so.
    pauses_runaways: bool,
    all: Vec<AlertView>,
    /// As the file has it.
    kept: Kept,
    /// Calls that full windows and budgets turned away since somebody asked.
    turned_away: u64,
}

/// An alert for channels. One with `resolved_at` is over, and goes where it was told.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) alert: AlertView,
    /// By name.
    pub(crate) channels: Vec<Arc<str>>,
}

/// Something that has happened, in the words of whoever saw it.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    pub(crate) sign: Sign,
    pub(crate) scope: String,
    pub(crate) threshold: String,
    pub(crate) value: String,
    pub(crate) message: String,
}

/// What a period came to, in words and in dollars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// `day`, `week`, `month`
    pub(crate) of: &'static str,
    pub(crate) used: String,
    /// Empty where nobody knows.
    pub(crate) expected: String,
    pub(crate) message: String,
}

/// Older ones are forgotten first.
const ALERTS_MAX: usize = 500;
const FILE: &str = "alerts.json";
const MEMORY_FILE: &str = "alert-rules.json";
/// Alerts that wait for channels that don't keep up; what is beyond waits for the next start.
const OUTBOX_MAX: usize = 256;
/// Of what waited for a start the latest are sent; what is older is in the inbox alone.
const LATE_MAX: usize = 64;

impl Alerts {
    pub(crate) fn open(dir: &Path, settings: &Settings, desktop: Arc<Desktop>, now: Now) -> Alerts {
        Alerts::told_by(dir, settings, move |alert: &AlertView| desktop.tell(alert), now)
    }

    /// `tell` shows one to a person and says whether it can.
    pub(crate) fn told_by(
        dir: &Path,
        settings: &Settings,
        tell: impl Fn(&AlertView) -> bool + Send + Sync + 'static,
        now: Now,
    ) -> Alerts {
        let tell: Tell = Box::new(tell);
        let (file, memory_file) = (dir.join(FILE), dir.join(MEMORY_FILE));
        let all = read(&file, "alerts of before are forgotten");
        let kept: Kept = read(&memory_file, "what was told before is known by the open alerts alone");
        let machine = Machine::recall(settings.alerts.rules.clone(), &kept.memory(), now);
        let AlertSettings { digest, pauses_runaways, .. } = settings.alerts.clone();
        let mut inside = Inside { machine, digest, pauses_runaways, all, kept, turned_away: 0 };
        inside.agree(now);
        let own = settings.channels.iter().filter(|channel| channel.kind == ChannelKind::Desktop);
        let desktops = own.map(|channel| channel.name.clone()).chain([desktop::CHANNEL.into()]).collect();
        let calendar = settings.gateway.calendar;
        let (inside, outbox) = (Mutex::new(inside), Mutex::default());
        Alerts { file, memory_file, calendar, desktops, tell, inside, outbox }
    }

    /// From now on, as after a restart: what was told stays told, and an open alert whose rule is gone is over.
    pub(crate) fn set_rules(&self, settings: &AlertSettings, now: Now) {
        let AlertSettings { rules, digest, pauses_runaways } = settings.clone();
        let mut inside = self.lock();
        inside.machine = Machine::recall(rules, &inside.machine.remember(), now);
        (inside.digest, inside.pauses_runaways) = (digest, pauses_runaways);
        inside.agree(now);
        self.write(&inside.all);
        self.keep(&mut inside);
    }

    /// From now on alerts for channels other than the desktop come here, in place of whoever listened before; at first
    /// those that no channel has taken yet.
    pub(crate) fn deliveries(&self) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(OUTBOX_MAX);
        *self.outbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let mut inside = self.lock();
        let waiting: Vec<usize> = (0..inside.all.len()).filter(|at| !inside.all[*at].waiting.is_empty()).collect();
        let (old, late) = waiting.split_at(waiting.len().saturating_sub(LATE_MAX));
        for at in old {
            inside.all[*at].waiting.clear();
        }
        for at in late {
            let alert = &mut inside.all[*at];
            if self.send(alert, alert.waiting.iter().map(|name| name.as_str().into()).collect()) {
                let new = alert.waiting.iter().filter(|name| !alert.channels.contains(name));
                alert.channels.extend(new.cloned().collect::<Vec<_>>());
            }
        }
        if !waiting.is_empty() {
            self.write(&inside.all);
        }
        receiver
    }

    pub(crate) fn rules(&self) -> Vec<Arc<Rule>> {
        self.lock().machine.rules().to_vec()
    }

    /// All there is to see of a sign now. What comes of it is written down when it returns, then told. Gives the scopes of
    /// which something was told.
    pub(crate) fn judge(&self, sign: Sign, readings: &[Reading], now: Now) -> Vec<Arc<str>> {
        let mut inside = self.lock();
        let events = inside.machine.judge(sign, readings, now);
        self.follow(&mut inside, &events, None, now);
        let scope = |event| if let Event::Crossed(crossed) = event { Some(crossed.scope) } else { None };
        events.into_iter().filter_map(scope).collect()
    }

    pub(crate) fn pauses_runaways(&self) -> bool {
        self.lock().pauses_runaways
    }

    /// The same tells nothing more until it is resolved.
    pub(crate) fn cross(&self, crossing: Crossing, now: Now) {
        let mut inside = self.lock();
        let events = inside.machine.see(crossing.sign, &Reading::of(&*crossing.scope, "", Figure::ONE), now);
        self.follow(&mut inside, &events, Some(&crossing), now);
    }

    pub(crate) fn resolve(&self, sign: Sign, scope: &str, now: Now) {
        let mut inside = self.lock();
        let events = inside.machine.see(sign, &Reading::of(scope, "", Figure::ZERO), now);
        self.follow(&mut inside, &events, None, now);
    }

    /// Something that is over as soon as it is told.
    pub(crate) fn happened(&self, sign: Sign, reading: &Reading, now: Now) {
        let mut inside = self.lock();
        let events = inside.machine.see(sign, reading, now);
        self.follow(&mut inside, &events, None, now);
        let over = inside.machine.see(sign, &Reading { value: Figure::ZERO, ..reading.clone() }, now);
        self.follow(&mut inside, &over, None, now);
    }

    /// A report for the inbox; where it is `for_channels`, for those too that the settings name. It is over when it is told.
    pub(crate) fn report(&self, report: Report, for_channels: bool, now: Now) {
        let mut inside = self.lock();
        let DigestSettings { channels, quiet } = inside.digest.clone();
        let channels = if for_channels { channels } else { vec![] };
        let is_quiet = quiet.is_some_and(|quiet| quiet.hold(now.timestamp));
        let at = now.timestamp.to_string();
        let alert = AlertView {
            alert_id: new_id(now.timestamp),
            rule: DIGEST.to_owned(),
            scope: format!("machine {}", report.of),
            threshold: report.expected,
            value: report.used,
            severity: Severity::Info.name().to_owned(),
            message: report.message,
            crossed_at: at.clone(),
            resolved_at: Some(at),
            held: is_quiet && !channels.is_empty(),
            ..AlertView::default()
        };
        self.enter(&mut inside, alert, &channels);
        self.write(&inside.all);
    }

    /// A full window or budget has turned a call away.
    pub(crate) fn turn_away(&self) {
        let mut inside = self.lock();
        inside.turned_away = inside.turned_away.saturating_add(1);
    }

    fn take_turned_away(&self) -> u64 {
        std::mem::take(&mut self.lock().turned_away)
    }

    /// What was kept back tells itself when quiet hours or a snooze are over, if it is still so.
    pub(crate) fn deliver_late(&self, now: Now) {
        let mut inside = self.lock();
        let Inside { machine, digest, all, .. } = &mut *inside;
        let mut changed = false;
        for alert in all.iter_mut().filter(|alert| alert.held) {
            let rule = machine.rules().iter().find(|rule| *rule.name == *alert.rule);
            let (quiet, channels) = match rule {
                Some(rule) => (rule.quiet, &rule.channels),
                None => (digest.quiet, &digest.channels),
            };
            let is_quiet = quiet.is_some_and(|quiet| quiet.hold(now.timestamp));
            let is_news = alert.resolved_at.is_none() || alert.rule == DIGEST;
            if is_news && (is_quiet || alert.is_snoozed(now.timestamp)) {
                continue;
            }
            (alert.held, changed) = (false, true);
            if is_news {
                self.deliver(alert, channels);
            }
        }
        if changed {
            self.write(&inside.all);
        }
    }

    /// Keeps what the same rule says of the same thing from the channels until then; without a moment until the reset.
    pub(crate) fn snooze(&self, id: &str, until: Option<Timestamp>, now: Timestamp) -> Result<AlertView, ApiError> {
        let mut inside = self.lock();
        let found: Vec<usize> = (0..inside.all.len()).filter(|at| inside.all[*at].alert_id.starts_with(id)).collect();
        let [place] = found[..] else {
            let how_many = if found.is_empty() { "no alert begins with" } else { "several alerts begin with" };
            return Err(ApiError::absent(format!("{how_many} {id:?}: `tidegate alert list` shows their ids")));
        };
        let alert = &mut inside.all[place];
        let reset = alert.resets_at.as_deref().and_then(Timestamp::parse).filter(|reset| *reset > now);
        let until = until.or(reset).unwrap_or_else(|| now.after(SNOOZE));
        alert.snoozed_until = Some(until.to_string());
        let view = alert.clone();
        self.write(&inside.all);
        Ok(view)
    }

    /// A channel has taken it, or its end: then nothing of it waits any more.
    pub(crate) fn taken(&self, told: &AlertView, channel: &str) {
        self.mark(told, |alert| {
            if told.resolved_at.is_some() || !alert.has_end_to_tell() {
                alert.waiting.retain(|name| name != channel);
            }
        });
    }

    /// A channel did not take it after all: where that was its beginning, its end is no news there.
    pub(crate) fn not_taken(&self, refused: &AlertView, channel: &str) {
        self.mark(refused, |alert| {
            alert.waiting.retain(|name| name != channel);
            if refused.resolved_at.is_none() {
                alert.channels.retain(|name| name != channel);
            }
        });
    }

    fn mark(&self, told: &AlertView, change: impl FnOnce(&mut AlertView)) {
        let mut inside = self.lock();
        if let Some(alert) = inside.all.iter_mut().find(|alert| alert.alert_id == told.alert_id) {
            change(alert);
            self.write(&inside.all);
        }
    }

    /// The scopes of a shipped rule that are not resolved.
    pub(crate) fn open_scopes(&self, sign: Sign) -> Vec<String> {
        let inside = self.lock();
        let open = inside.all.iter().filter(|alert| alert.rule == sign.name() && alert.resolved_at.is_none());
        open.map(|alert| alert.scope.clone()).collect()
    }

    /// What rules on tiers have told: of which upstream, and when.
    pub(crate) fn warnings_of_tiers(&self) -> Vec<(Arc<str>, Timestamp)> {
        let inside = self.lock();
        let is_of_tiers = |alert: &AlertView| {
            inside.machine.rules().iter().any(|rule| rule.metric.sign == Sign::Tier && *rule.name == *alert.rule)
        };
        let warning = |alert: &AlertView| {
            let upstream = alert.scope.strip_prefix("upstream:")?;
            Some((upstream.into(), Timestamp::parse(&alert.crossed_at)?))
        };
        inside.all.iter().filter(|alert| is_of_tiers(alert)).filter_map(warning).collect()
    }

    /// The latest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<AlertView> {
        self.lock().all.iter().rev().take(count).cloned().collect()
    }

    fn follow(&self, inside: &mut Inside, events: &[Event], crossing: Option<&Crossing>, now: Now) {
        for event in events {
            match event {
                Event::Crossed(crossed) => self.tell_of(inside, crossed, crossing, now.timestamp),
                Event::Resolved { rule, scope, at } => self.end(inside, rule, scope, *at, now.timestamp),
            }
        }
        if !events.is_empty() {
            self.write(&inside.all);
            self.keep(inside);
        }
    }

    /// What was seen and told of nothing: a crash may take some seconds of it.
    fn keep_seen(&self) {
        self.keep(&mut self.lock());
    }

    fn tell_of(&self, inside: &mut Inside, crossed: &Crossed, crossing: Option<&Crossing>, now: Timestamp) {
        if inside.all.iter().any(|alert| alert.is_open(&crossed.rule, &crossed.scope, crossed.threshold.at)) {
            return;
        }
        let mut alert = alert(crossed, crossing, self.calendar, inside.pauses_runaways, now);
        let before = inside.all.iter().rev().find(|other| other.is_like(&alert) && other.is_snoozed(now));
        alert.snoozed_until = before.and_then(|before| before.snoozed_until.clone());
        alert.held = crossed.quiet || alert.snoozed_until.is_some();
        tracing::warn!("alert: {}", alert.message);
        self.enter(inside, alert, &crossed.rule.channels);
    }

    /// It is in the file, with whom it is for, before anybody hears of it.
    fn enter(&self, inside: &mut Inside, mut alert: AlertView, channels: &[Arc<str>]) {
        if !alert.held {
            alert.waiting = self.elsewhere(channels).iter().map(ToString::to_string).collect();
        }
        inside.all.push(alert);
        let beyond = inside.all.len().saturating_sub(ALERTS_MAX);
        inside.all.drain(..beyond);
        self.write(&inside.all);
        if let Some(alert) = inside.all.last_mut().filter(|alert| !alert.held) {
            self.deliver(alert, channels);
        }
    }

    fn end(&self, inside: &mut Inside, rule: &Rule, scope: &str, at: Figure, now: Timestamp) {
        for alert in inside.all.iter_mut().filter(|alert| alert.is_open(rule, scope, at)) {
            alert.resolved_at = Some(now.to_string());
            if alert.has_end_to_tell() {
                let told = |name: &Arc<str>| alert.channels.iter().chain(&alert.waiting).any(|told| **told == **name);
                let channels: Vec<Arc<str>> = self.elsewhere(&rule.channels).into_iter().filter(told).collect();
                alert.waiting = channels.iter().map(ToString::to_string).collect();
                self.send(alert, channels);
            }
        }
    }

    fn elsewhere(&self, channels: &[Arc<str>]) -> Vec<Arc<str>> {
        channels.iter().filter(|name| !self.desktops.contains(name)).cloned().collect()
    }

    /// To those of the channels that take it now; the alert says which did, and which have yet to.
    fn deliver(&self, alert: &mut AlertView, channels: &[Arc<str>]) {
        let here: Vec<&Arc<str>> = channels.iter().filter(|name| self.desktops.contains(name)).collect();
        if !here.is_empty() && (self.tell)(alert) {
            alert.channels.extend(here.iter().map(ToString::to_string));
        }
        let elsewhere = self.elsewhere(channels);
        alert.waiting = elsewhere.iter().map(ToString::to_string).collect();
        if self.send(alert, elsewhere) {
            alert.channels.extend(alert.waiting.iter().cloned());
        }
    }

    /// Never waits. What can't go now goes after the next start.
    fn send(&self, alert: &AlertView, channels: Vec<Arc<str>>) -> bool {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outbox) = outbox.as_ref().filter(|_| !channels.is_empty()) else { return false };
        let resolved_at = alert.resolved_at.clone().filter(|_| alert.has_end_to_tell());
        let alert = AlertView { resolved_at, waiting: vec![], ..alert.clone() };
        let sent = outbox.try_send(Delivery { alert, channels });
        if let Err(error) = &sent {
            tracing::warn!("an alert reaches its channels after the next start: {error}");
        }
        sent.is_ok()
    }

    /// What can't be written is told all the same.
    fn write(&self, all: &[AlertView]) {
        if let Err(error) = folder::write_json(&self.file, &all) {
            tracing::warn!("an alert is not kept: {error}");
        }
    }

    /// After the alerts themselves: what is told and not noted here is known by them.
    fn keep(&self, inside: &mut Inside) {
        let kept = Kept::of(&inside.machine.remember());
        if kept.is_like(&inside.kept) {
            return;
        }
        if let Err(error) = folder::write_json(&self.memory_file, &kept) {
            tracing::warn!("what the alert rules have seen is not kept: {error}");
        }
        inside.kept = kept;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where nothing begins anew.
const SNOOZE: std::time::Duration = std::time::Duration::from_secs(86_400);

fn read<T: Default + for<'de> serde::Deserialize<'de>>(file: &Path, lost: &str) -> T {
    folder::read_json(file).unwrap_or_else(|error| {
        tracing::warn!("{lost}: {error}");
        folder::set_aside(file);
        T::default()
    })
}

impl Inside {
    /// An open alert was told, whatever else is known; and one whose rule is gone is over.
    fn agree(&mut self, now: Now) {
        for alert in self.all.iter_mut().filter(|alert| alert.resolved_at.is_none()) {
            let rule = self.machine.rules().iter().find(|rule| *rule.name == *alert.rule).cloned();
            let at =
                rule.as_ref().and_then(|rule| rule.thresholds.iter().find(|threshold| alert.is_at(rule, threshold.at)));
            let (Some(rule), Some(threshold)) = (&rule, at) else {
                alert.resolved_at = Some(now.timestamp.to_string());
                continue;
            };
            if !self.machine.is_told(&rule.name, &alert.scope, threshold.at) {
                let crossed_at = Timestamp::parse(&alert.crossed_at).unwrap_or(now.timestamp);
                self.machine.know_told(&rule.name, &alert.scope, threshold.at, crossed_at, now);
            }
        }
    }
}

impl AlertView {
    fn is_open(&self, rule: &Rule, scope: &str, at: Figure) -> bool {
        self.resolved_at.is_none() && *self.rule == *rule.name && self.scope == scope && self.is_at(rule, at)
    }

    /// One that has happened may say its threshold in other words.
    fn is_at(&self, rule: &Rule, at: Figure) -> bool {
        rule.thresholds.len() == 1 || self.threshold == at.to_string()
    }

    /// News has no end: it is told as news however late.
    fn has_end_to_tell(&self) -> bool {
        self.resolved_at.is_some() && self.severity != Severity::Info.name()
    }

    fn is_like(&self, other: &AlertView) -> bool {
        (&self.rule, &self.scope) == (&other.rule, &other.scope)
    }

    fn is_snoozed(&self, now: Timestamp) -> bool {
        self.snoozed_until.as_deref().and_then(Timestamp::parse).is_some_and(|until| now < until)
    }
}

fn alert(
    crossed: &Crossed,
    crossing: Option<&Crossing>,
    calendar: Calendar,
    pauses_runaways: bool,
    now: Timestamp,
) -> AlertView {
    let said = |own: fn(&Crossing) -> &String, usual: String| crossing.map_or(usual, |crossing| own(crossing).clone());
    AlertView {
        alert_id: new_id(now),
        rule: crossed.rule.name.to_string(),
        scope: crossed.scope.to_string(),
        threshold: said(|crossing| &crossing.threshold, crossed.threshold.at.to_string()),
        value: said(|crossing| &crossing.value, crossed.value.to_string()),
        severity: crossed.threshold.severity.name().to_owned(),
        message: said(|crossing| &crossing.message, words::sentence(crossed, calendar, pauses_runaways)),
        crossed_at: now.to_string(),
        resets_at: crossed.turn.map(|turn| turn.resets_at.to_string()),
        action: words::action(crossed, pauses_runaways),
        ..AlertView::default()
    }
}

fn new_id(now: Timestamp) -> String {
    let mut chance = [0; 16];
    // Without a source of chance ids still differ by time.
    let _ = getrandom::fill(&mut chance);
    CallId::new(now, u128::from_ne_bytes(chance)).to_string()
}

#[cfg(test)]
mod tests;
