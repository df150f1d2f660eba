//! News for the window and the tray.

use std::time::Duration;

use tauri::{AppHandle, Emitter, Manager};

use crate::tray::Tray;
use crate::{Shell, window};

/// As often as a person can read.
const EVERY: Duration = Duration::from_millis(250);
/// While no call waits or runs: a laptop lives longer.
const EVERY_AT_REST: Duration = Duration::from_secs(1);
/// The tray's lines cross the session bus: no more than once a second.
const TRAY_APART: Duration = Duration::from_secs(1);
const TRAY_APART_AT_REST: Duration = Duration::from_secs(2);

/// Shows the window whenever a notification is pressed.
pub(crate) fn open_when_asked(app: AppHandle) {
    tauri::async_runtime::spawn(async move {
        loop {
            app.state::<Shell>().asked_to_open().await;
            window::show(&app);
        }
    });
}

/// Starts the gateway, then tells its state for as long as the program lives.
pub(crate) fn start(app: AppHandle, demo: bool) {
    tauri::async_runtime::spawn(async move {
        app.state::<Shell>().start(demo).await;
        let (mut rests, mut since_tray) = (false, TRAY_APART);
        loop {
            let (pause, tray_apart) = if rests { (EVERY_AT_REST, TRAY_APART_AT_REST) } else { (EVERY, TRAY_APART) };
            let tray_too = since_tray >= tray_apart;
            rests = tell(&app, tray_too).await.unwrap_or(rests);
            tokio::time::sleep(pause).await;
            since_tray = if tray_too { pause } else { since_tray + pause };
        }
    });
}

/// Whether all is at rest, where anybody was told.
async fn tell(app: &AppHandle, tray_too: bool) -> Option<bool> {
    let watched = window::watched(app);
    if !watched && !tray_too {
        return None;
    }
    // The page shows what it has, with its age, until the next one comes.
    let status = app.state::<Shell>().status().await.ok()?;
    if tray_too {
        app.state::<Tray>().show(&status, app.state::<Shell>().veil());
    }
    if watched {
        // A window that is just closing needs no news.
        let _ = app.emit("status", &status);
    }
    Some(status.live.iter().all(|call| call.state != "waiting" && call.state != "running"))
}
