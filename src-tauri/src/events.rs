//! News for the window and the tray.

use std::time::Duration;

use tauri::{AppHandle, Emitter, Manager};

use crate::tray::Tray;
use crate::{Shell, window};

/// As often as a person can read.
const WINDOW_EVERY: Duration = Duration::from_millis(250);
/// The tray's lines cross the session bus: no more than once a second.
const TICKS_PER_TRAY: u64 = 4;

/// Starts the gateway, then tells its state for as long as the program lives.
pub(crate) fn start(app: AppHandle, demo: bool) {
    tauri::async_runtime::spawn(async move {
        app.state::<Shell>().start(demo).await;
        let mut every = tokio::time::interval(WINDOW_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for tick in 0u64.. {
            every.tick().await;
            tell(&app, tick % TICKS_PER_TRAY == 0).await;
        }
    });
}

async fn tell(app: &AppHandle, tray_too: bool) {
    let watched = window::watched(app);
    if !watched && !tray_too {
        return;
    }
    // The page shows what it has, with its age, until the next one comes.
    let Ok(status) = app.state::<Shell>().status().await else { return };
    if tray_too {
        app.state::<Tray>().show(&status);
    }
    if watched {
        // A window that is just closing needs no news.
        let _ = app.emit("status", &status);
    }
}
