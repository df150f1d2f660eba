//! Notifications of the desktop, for the window and for `serve` alike.

use crate::view::AlertView;

pub(crate) const CHANNEL: &str = "desktop";

/// Shows it where there is a desktop; says whether there is one. Never waits: a bus may take its time.
pub(crate) fn tell(alert: &AlertView) -> bool {
    if !is_there() {
        return false;
    }
    let notification = notify_rust::Notification::new()
        .appname("Tidegate")
        .summary(if alert.severity == "emergency" { "Tidegate: emergency" } else { "Tidegate" })
        .body(&escaped(&alert.message))
        .icon("tidegate-desktop")
        .finalize();
    std::thread::spawn(move || {
        if let Err(error) = notification.show() {
            tracing::info!("an alert could not be shown on the desktop: {error}");
        }
    });
    true
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
