//! What stakeholders are told: once per crossing, in a file of the data folder before anything comes of it, and on the desktop.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::call::CallId;
use domain::time::Timestamp;

use crate::desktop;
use crate::folder;
use crate::view::AlertView;

/// Alerts of a data folder, the latest last.
pub(crate) struct Alerts {
    file: PathBuf,
    all: Mutex<Vec<AlertView>>,
    tell: fn(&AlertView) -> bool,
}

/// A sign that has passed its mark.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    pub(crate) rule: &'static str,
    pub(crate) scope: String,
    pub(crate) threshold: String,
    pub(crate) value: String,
    pub(crate) severity: &'static str,
    pub(crate) message: String,
}

/// Older ones are forgotten first.
const ALERTS_MAX: usize = 500;
const FILE: &str = "alerts.json";

impl Alerts {
    pub(crate) fn open(dir: &Path) -> Alerts {
        Alerts::told_by(dir, desktop::tell)
    }

    /// `tell` shows one to a person and says whether it can.
    pub(crate) fn told_by(dir: &Path, tell: fn(&AlertView) -> bool) -> Alerts {
        let file = dir.join(FILE);
        let all = folder::read_json(&file).unwrap_or_else(|error| {
            tracing::warn!("alerts of before are forgotten: {error}");
            folder::set_aside(&file);
            vec![]
        });
        Alerts { file, all: Mutex::new(all), tell }
    }

    /// Written down when it returns, then told. The same sign tells nothing more until it is resolved.
    pub(crate) fn cross(&self, crossing: Crossing, now: Timestamp) {
        let mut all = self.lock();
        if all.iter().any(|alert| alert.is_open(crossing.rule, &crossing.scope)) {
            return;
        }
        let mut alert = crossing.alert(now);
        if (self.tell)(&alert) {
            alert.channels.push(desktop::CHANNEL.to_owned());
        }
        tracing::warn!("alert: {}", alert.message);
        all.push(alert);
        let beyond = all.len().saturating_sub(ALERTS_MAX);
        all.drain(..beyond);
        self.write(&all);
    }

    pub(crate) fn resolve(&self, rule: &str, scope: &str, now: Timestamp) {
        let mut all = self.lock();
        let mut changed = false;
        for alert in all.iter_mut().filter(|alert| alert.is_open(rule, scope)) {
            alert.resolved_at = Some(now.to_string());
            changed = true;
        }
        if changed {
            self.write(&all);
        }
    }

    /// The scopes of a rule that are not resolved.
    pub(crate) fn open_scopes(&self, rule: &str) -> Vec<String> {
        let all = self.lock();
        all.iter().filter(|alert| alert.is_open(rule, &alert.scope)).map(|alert| alert.scope.clone()).collect()
    }

    /// The latest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<AlertView> {
        self.lock().iter().rev().take(count).cloned().collect()
    }

    /// What can't be written is told all the same.
    fn write(&self, all: &[AlertView]) {
        if let Err(error) = folder::write_json(&self.file, &all) {
            tracing::warn!("an alert is not kept: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AlertView>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlertView {
    fn is_open(&self, rule: &str, scope: &str) -> bool {
        (&*self.rule, &*self.scope) == (rule, scope) && self.resolved_at.is_none()
    }
}

impl Crossing {
    fn alert(self, now: Timestamp) -> AlertView {
        let Crossing { rule, scope, threshold, value, severity, message } = self;
        let mut chance = [0; 16];
        // Without a source of chance ids still differ by time.
        let _ = getrandom::fill(&mut chance);
        AlertView {
            alert_id: CallId::new(now, u128::from_ne_bytes(chance)).to_string(),
            rule: rule.to_owned(),
            scope,
            threshold,
            value,
            severity: severity.to_owned(),
            message,
            crossed_at: now.to_string(),
            resolved_at: None,
            channels: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(scope: &str) -> Crossing {
        Crossing {
            rule: "breaker",
            scope: scope.to_owned(),
            threshold: String::new(),
            value: String::new(),
            severity: "critical",
            message: "m".to_owned(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_crossing_is_told_once_until_it_is_resolved_and_across_restarts() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Alerts::told_by(dir.path(), |_| true);
        let alerts = open();
        alerts.cross(crossing("a"), at(0));
        alerts.cross(crossing("a"), at(1));
        alerts.cross(crossing("b"), at(2));
        let again = open();
        again.cross(crossing("a"), at(3));
        assert_eq!(again.latest(9).len(), 2);
        again.resolve("breaker", "a", at(4));
        again.resolve("breaker", "a", at(5));
        assert_eq!(open().open_scopes("breaker"), ["b"]);
        let last = open();
        last.cross(crossing("a"), at(6));
        let told: Vec<_> =
            last.latest(9).into_iter().map(|alert| (alert.scope, alert.crossed_at, alert.resolved_at)).collect();
        assert_eq!(told[0], ("a".to_owned(), at(6).to_string(), None));
        assert_eq!(told[2], ("a".to_owned(), at(0).to_string(), Some(at(4).to_string())));
        assert_eq!(last.latest(1)[0].channels, ["desktop"]);
    }

    #[test]
    fn a_clock_that_goes_back_repeats_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let alerts = Alerts::told_by(dir.path(), |_| false);
        for seconds in [100, 0, 200] {
            alerts.cross(crossing("a"), at(seconds));
        }
        assert_eq!(alerts.latest(9).len(), 1);
        assert!(alerts.latest(1)[0].channels.is_empty(), "nobody could show it");
    }

    #[test]
    fn they_do_not_grow_without_bound_and_damage_forgets_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let alerts = Alerts::told_by(dir.path(), |_| false);
        for scope in 0..=ALERTS_MAX {
            alerts.lock().push(crossing(&scope.to_string()).alert(at(0)));
        }
        alerts.cross(crossing("last"), at(0));
        assert_eq!(alerts.latest(usize::MAX).len(), ALERTS_MAX);
        std::fs::write(dir.path().join(FILE), "[{").expect("written");
        assert!(Alerts::told_by(dir.path(), |_| false).latest(9).is_empty());
    }
}
