//! The one window: opened, shown again, hidden when closed.

use tauri::{AppHandle, Manager, WebviewUrl, WebviewWindow, WebviewWindowBuilder, Window, WindowEvent};

use crate::{Shell, notifier};

const LABEL: &str = "main";
const SIZE: (f64, f64) = (1100.0, 760.0);
const SIZE_MIN: (f64, f64) = (480.0, 420.0);

pub(crate) fn open(app: &AppHandle) -> tauri::Result<()> {
    WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .title("Tidegate")
        .inner_size(SIZE.0, SIZE.1)
        .min_inner_size(SIZE_MIN.0, SIZE_MIN.1)
        .center()
        .on_navigation(|url| matches!(url.scheme(), "tauri") || url.host_str() == Some("tauri.localhost"))
        .build()?;
    Ok(())
}

pub(crate) fn show(app: &AppHandle) {
    if let Some(window) = main(app) {
        // Each may fail where the window manager has no such notion; the others still help.
        let _ = window.show();
        let _ = window.unminimize();
        let _ = window.set_focus();
    }
}

/// Nobody looks at a hidden window: it needs no news.
pub(crate) fn watched(app: &AppHandle) -> bool {
    main(app).is_some_and(|window| window.is_visible().unwrap_or(true))
}

/// Closing hides: the gate stays open for the programs behind it.
pub(crate) fn on_event(window: &Window, event: &WindowEvent) {
    if let WindowEvent::CloseRequested { api, .. } = event {
        api.prevent_close();
        let _ = window.hide();
        notifier::keeps_running(window.state::<Shell>().data_dir());
    }
}

fn main(app: &AppHandle) -> Option<WebviewWindow> {
    app.get_webview_window(LABEL)
}
