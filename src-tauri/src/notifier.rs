//! What the desktop is told outside the window.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use notify_rust::Notification;

/// Its presence says that the user knows that closing the window does not end the program.
const TOLD: &str = "told-of-tray";

/// Says once, ever, that the program goes on without its window.
pub(crate) fn keeps_running(data_dir: &Path) {
    let first = OpenOptions::new().write(true).create_new(true).open(data_dir.join(TOLD)).is_ok();
    if first {
        notify(
            "Tidegate keeps running",
            "Your programs can go on calling. Open it from its icon in the tray or by starting it again; quit from the tray.",
        );
    }
}

pub(crate) fn failed(cause: &str) {
    notify("That did not work", cause);
}

/// Waits until it is shown: the program ends next.
pub(crate) fn cannot_start(cause: &str) {
    show(&notification("Tidegate can't start", cause));
}

fn notify(summary: &str, body: &str) {
    let notification = notification(summary, body);
    // The bus may take its time.
    std::thread::spawn(move || show(&notification));
}

fn notification(summary: &str, body: &str) -> Notification {
    Notification::new().appname("Tidegate").summary(summary).body(&escaped(body)).icon("tidegate-desktop").finalize()
}

/// A desktop without notifications is no reason to fail.
fn show(notification: &Notification) {
    if let Err(cause) = notification.show() {
        let _ = writeln!(std::io::stderr(), "no notification could be shown: {cause}");
    }
}

/// Bodies may hold markup; ours holds none.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
