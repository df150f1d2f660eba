//! Notifications of the desktop, for the window and for `serve` alike, and the buttons on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::veil::Veil;
use crate::view::AlertView;

pub(crate) const CHANNEL: &str = "desktop";

/// What a person can let be done without opening anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Open,
    Snooze,
    RaiseCap,
    PauseClient,
}

/// A button that was pressed.
#[derive(Clone, Debug)]
pub(crate) struct Click {
    pub(crate) alert: AlertView,
    pub(crate) action: Action,
}

/// This machine's notifications.
pub(crate) struct Desktop {
    clicks: mpsc::Sender<Click>,
    has_window: AtomicBool,
    veil: Veil,
    /// Threads that wait for a button.
    waiting: AtomicUsize,
}

/// Buttons that nobody has taken up yet.
const CLICKS_MAX: usize = 16;
/// A notification may stay for ever where a desktop keeps them: those beyond have no buttons.
const WAITING_MAX: usize = 16;

impl Desktop {
    /// Pressed buttons come out of the other end.
    pub(crate) fn new(veil: Veil) -> (Arc<Desktop>, mpsc::Receiver<Click>) {
        let (clicks, pressed) = mpsc::channel(CLICKS_MAX);
        let (has_window, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        (Arc::new(Desktop { clicks, has_window, veil, waiting }), pressed)
    }

    /// From now on there is a window to open.
    pub(crate) fn has_window(&self) {
        self.has_window.store(true, Ordering::Relaxed);
    }

    /// Shows it where there is a desktop; says whether there is one. Never waits: a bus may take its time.
    pub(crate) fn tell(self: &Arc<Desktop>, alert: &AlertView) -> bool {
        if !is_there() {
            return false;
        }
        let (desktop, alert) = (self.clone(), alert.clone());
        std::thread::spawn(move || desktop.show(alert));
        true
    }

    fn show(&self, alert: AlertView) {
        let room = self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX;
        let actions = if room { Action::of(&alert, self.has_window.load(Ordering::Relaxed)) } else { vec![] };
        match notification(&alert, &self.veil.over(&alert.message), &actions).show() {
            Ok(shown) if !actions.is_empty() => self.wait(shown, alert),
            Ok(_) => {}
            Err(error) => tracing::info!("an alert could not be shown on the desktop: {error}"),
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    fn wait(&self, shown: notify_rust::NotificationHandle, alert: AlertView) {
        shown.wait_for_action(|pressed| {
            let Some(action) = Action::named(pressed) else { return };
            if self.clicks.try_send(Click { alert, action }).is_err() {
                tracing::warn!("nobody does what was asked for on a notification");
            }
        });
    }

    #[cfg(not(all(unix, not(target_os = "macos"))))]
    fn wait(&self, _shown: notify_rust::NotificationHandle, _alert: AlertView) {}
}

/// One sentence that is no alert: what was asked for on a notification could not be done.
pub(crate) fn say(summary: &str, body: &str) {
    let notification = notify_rust::Notification::new()
        .appname("Tidegate")
        .summary(summary)
        .body(&escaped(body))
        .icon(ICON)
        .finalize();
    std::thread::spawn(move || drop(notification.show()));
}

const ICON: &str = "tidegate-desktop";

impl Action {
    const ALL: [Action; 4] = [Action::Open, Action::Snooze, Action::RaiseCap, Action::PauseClient];

    const fn name(self) -> &'static str {
        match self {
            Action::Open => "default",
            Action::Snooze => "snooze",
            Action::RaiseCap => "raise-cap",
            Action::PauseClient => "pause-client",
        }
    }

    fn named(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }

    fn label(self, alert: &AlertView) -> &'static str {
        match (self, &alert.resets_at) {
            (Action::Open, _) => "Open",
            (Action::Snooze, Some(_)) => "Snooze until reset",
            (Action::Snooze, None) => "Snooze for a day",
            (Action::RaiseCap, _) => "Raise cap by half",
            (Action::PauseClient, _) => "Pause client",
        }
    }

    /// Those that make sense for it. A press on the notification itself opens the window.
    fn of(alert: &AlertView, has_window: bool) -> Vec<Action> {
        let is_clients = alert.scope.starts_with("client:");
        let makes_sense = |action: &Action| match action {
            Action::Open => has_window,
            Action::Snooze => alert.severity != "info" && alert.rule != "test",
            Action::RaiseCap => is_clients && alert.rule == "budget",
            Action::PauseClient => is_clients,
        };
        Action::ALL.into_iter().filter(makes_sense).collect()
    }
}

fn notification(alert: &AlertView, message: &str, actions: &[Action]) -> notify_rust::Notification {
    let mut notification = notify_rust::Notification::new();
    notification
        .appname("Tidegate")
        .summary(if alert.severity == "emergency" { "Tidegate: emergency" } else { "Tidegate" })
        .body(&escaped(message))
        .icon(ICON);
    #[cfg(all(unix, not(target_os = "macos")))]
    if matches!(alert.severity.as_str(), "critical" | "emergency") {
        notification.urgency(notify_rust::Urgency::Critical);
    }
    for action in actions {
        notification.action(action.name(), action.label(alert));
    }
    notification.finalize()
}

#[cfg(target_os = "linux")]
fn is_there() -> bool {
    let bus = || std::path::PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?).join("bus").exists().then_some(());
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() || bus().is_some()
}

#[cfg(not(target_os = "linux"))]
fn is_there() -> bool {
    true
}

/// Bodies may hold markup; ours holds none.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(rule: &str, scope: &str, severity: &str) -> AlertView {
        let [rule, scope, severity] = [rule, scope, severity].map(str::to_owned);
        AlertView { rule, scope, severity, ..AlertView::default() }
    }

    #[test]
    fn a_notification_has_the_buttons_that_make_sense_for_it() {
        let of = |rule, scope, severity, window| Action::of(&alert(rule, scope, severity), window);
        let all = [Action::Open, Action::Snooze, Action::RaiseCap, Action::PauseClient];
        assert_eq!(of("budget", "client:ci day", "warning", true), all);
        assert_eq!(of("budget", "machine day", "warning", false), [Action::Snooze]);
        assert_eq!(of("efficiency", "client:ci", "warning", false), [Action::Snooze, Action::PauseClient]);
        assert_eq!(of("quota_back", "upstream:a week", "info", true), [Action::Open]);
        assert_eq!(of("test", "machine", "info", false), []);
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
        }
    }
}
