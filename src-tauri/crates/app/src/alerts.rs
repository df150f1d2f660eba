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
use crate::settings::Settings;
use crate::view::AlertView;
use crate::{desktop, folder};

mod export;
mod lookout;
mod memory;
mod words;

pub(crate) use export::{AlertColumns, write_csv};
pub(crate) use lookout::Lookout;
use memory::Kept;

/// The alerts of a data folder, the latest last, and the machine that says when there is one.
pub(crate) struct Alerts {
    file: PathBuf,
    memory_file: PathBuf,
    calendar: Calendar,
    /// Channels that are this machine's own notifications.
    desktops: Vec<Arc<str>>,
    tell: fn(&AlertView) -> bool,
    inside: Mutex<Inside>,
    /// Where whoever serves the other channels listens.
    outbox: Mutex<Option<mpsc::Sender<Delivery>>>,
}

struct Inside {
    machine: Machine,
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

/// Older ones are forgotten first.
const ALERTS_MAX: usize = 500;
const FILE: &str = "alerts.json";
const MEMORY_FILE: &str = "alert-rules.json";
/// Alerts that wait for channels that don't keep up; what is beyond is in the inbox alone.
const OUTBOX_MAX: usize = 256;

impl Alerts {
    pub(crate) fn open(dir: &Path, settings: &Settings, now: Now) -> Alerts {
        Alerts::told_by(dir, settings, desktop::tell, now)
    }

    /// `tell` shows one to a person and says whether it can.
    pub(crate) fn told_by(dir: &Path, settings: &Settings, tell: fn(&AlertView) -> bool, now: Now) -> Alerts {
        let (file, memory_file) = (dir.join(FILE), dir.join(MEMORY_FILE));
        let all = read(&file, "alerts of before are forgotten");
        let kept: Kept = read(&memory_file, "what was told before is known by the open alerts alone");
        let machine = Machine::recall(settings.alerts.rules.clone(), &kept.memory(), now);
        let mut inside = Inside { machine, all, kept, turned_away: 0 };
        inside.agree(now);
        let own = settings.channels.iter().filter(|channel| channel.kind == ChannelKind::Desktop);
        let desktops = own.map(|channel| channel.name.clone()).chain([desktop::CHANNEL.into()]).collect();
        let (calendar, outbox) = (settings.gateway.calendar, Mutex::default());
        Alerts { file, memory_file, calendar, desktops, tell, inside: Mutex::new(inside), outbox }
    }

    /// From now on alerts for channels other than the desktop come here; in place of whoever listened before.
    pub(crate) fn deliveries(&self) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(OUTBOX_MAX);
        *self.outbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    pub(crate) fn rules(&self) -> Vec<Arc<Rule>> {
        self.lock().machine.rules().to_vec()
    }

    /// All there is to see of a sign now. What comes of it is written down when it returns, then told.
    pub(crate) fn judge(&self, sign: Sign, readings: &[Reading], now: Now) {
        let mut inside = self.lock();
        let events = inside.machine.judge(sign, readings, now);
        self.follow(&mut inside, &events, None, now);
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
        let Inside { machine, all, .. } = &mut *inside;
        let mut changed = false;
        for alert in all.iter_mut().filter(|alert| alert.held) {
            let rule = machine.rules().iter().find(|rule| *rule.name == *alert.rule);
            let is_quiet = rule.and_then(|rule| rule.quiet).is_some_and(|quiet| quiet.hold(now.timestamp));
            if alert.resolved_at.is_none() && (is_quiet || alert.is_snoozed(now.timestamp)) {
                continue;
            }
            (alert.held, changed) = (false, true);
            if let (None, Some(rule)) = (&alert.resolved_at, rule) {
                self.deliver(alert, &rule.channels);
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
            return Err(ApiError::absent(format!("{how_many} {id}: `tidegate alert list` shows their ids")));
        };
        let alert = &mut inside.all[place];
        let reset = alert.resets_at.as_deref().and_then(Timestamp::parse).filter(|reset| *reset > now);
        let until = until.or(reset).unwrap_or_else(|| now.after(SNOOZE));
        alert.snoozed_until = Some(until.to_string());
        let view = alert.clone();
        self.write(&inside.all);
        Ok(view)
    }

    /// A channel did not take it after all: where that was its beginning, its end is no news there.
    pub(crate) fn not_taken(&self, refused: &AlertView, channel: &str) {
        if refused.resolved_at.is_some() {
            return;
        }
        let mut inside = self.lock();
        if let Some(alert) = inside.all.iter_mut().find(|alert| alert.alert_id == refused.alert_id) {
            alert.channels.retain(|name| name != channel);
            self.write(&inside.all);
        }
    }

    /// The scopes of a shipped rule that are not resolved.
    pub(crate) fn open_scopes(&self, sign: Sign) -> Vec<String> {
        let inside = self.lock();
        let open = inside.all.iter().filter(|alert| alert.rule == sign.name() && alert.resolved_at.is_none());
        open.map(|alert| alert.scope.clone()).collect()
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
        let mut alert = alert(crossed, crossing, self.calendar, now);
        let before = inside.all.iter().rev().find(|other| other.is_like(&alert) && other.is_snoozed(now));
        alert.snoozed_until = before.and_then(|before| before.snoozed_until.clone());
        alert.held = crossed.quiet || alert.snoozed_until.is_some();
        tracing::warn!("alert: {}", alert.message);
        inside.all.push(alert);
        let beyond = inside.all.len().saturating_sub(ALERTS_MAX);
        inside.all.drain(..beyond);
        self.write(&inside.all);
        if let Some(alert) = inside.all.last_mut().filter(|alert| !alert.held) {
            self.deliver(alert, &crossed.rule.channels);
        }
    }

    fn end(&self, inside: &mut Inside, rule: &Rule, scope: &str, at: Figure, now: Timestamp) {
        for alert in inside.all.iter_mut().filter(|alert| alert.is_open(rule, scope, at)) {
            alert.resolved_at = Some(now.to_string());
            let told = |name: &Arc<str>| alert.channels.iter().any(|told| **told == **name);
            let channels: Vec<Arc<str>> = rule.channels.iter().filter(|name| told(name)).cloned().collect();
            if alert.severity != Severity::Info.name() {
                self.send(alert, channels.into_iter().filter(|name| !self.desktops.contains(name)).collect());
            }
        }
    }

    /// To those of the channels that take it now; the alert says which did.
    fn deliver(&self, alert: &mut AlertView, channels: &[Arc<str>]) {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            channels.iter().cloned().partition(|name| self.desktops.contains(name));
        if !here.is_empty() && (self.tell)(alert) {
            alert.channels.extend(here.iter().map(ToString::to_string));
        }
        if self.send(alert, elsewhere.clone()) {
            alert.channels.extend(elsewhere.iter().map(ToString::to_string));
        }
    }

    /// Never waits.
    fn send(&self, alert: &AlertView, channels: Vec<Arc<str>>) -> bool {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outbox) = outbox.as_ref().filter(|_| !channels.is_empty()) else { return false };
        let sent = outbox.try_send(Delivery { alert: alert.clone(), channels });
        if sent.is_err() {
            tracing::warn!("an alert reaches no channel, too many wait: {}", alert.message);
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

    fn is_like(&self, other: &AlertView) -> bool {
        (&self.rule, &self.scope) == (&other.rule, &other.scope)
    }

    fn is_snoozed(&self, now: Timestamp) -> bool {
        self.snoozed_until.as_deref().and_then(Timestamp::parse).is_some_and(|until| now < until)
    }
}

fn alert(crossed: &Crossed, crossing: Option<&Crossing>, calendar: Calendar, now: Timestamp) -> AlertView {
    let mut chance = [0; 16];
    // Without a source of chance ids still differ by time.
    let _ = getrandom::fill(&mut chance);
    let said = |own: fn(&Crossing) -> &String, usual: String| crossing.map_or(usual, |crossing| own(crossing).clone());
    AlertView {
        alert_id: CallId::new(now, u128::from_ne_bytes(chance)).to_string(),
        rule: crossed.rule.name.to_string(),
        scope: crossed.scope.to_string(),
        threshold: said(|crossing| &crossing.threshold, crossed.threshold.at.to_string()),
        value: said(|crossing| &crossing.value, crossed.value.to_string()),
        severity: crossed.threshold.severity.name().to_owned(),
        message: said(|crossing| &crossing.message, words::sentence(crossed, calendar)),
        crossed_at: now.to_string(),
        resets_at: crossed.turn.map(|turn| turn.resets_at.to_string()),
        action: words::action(crossed),
        ..AlertView::default()
    }
}

#[cfg(test)]
mod tests;
