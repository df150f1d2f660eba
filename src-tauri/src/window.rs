//! The one window: opened, shown again, hidden when closed, and taken out of memory when it stays so.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tauri::{
    AppHandle, Emitter, LogicalSize, Manager, WebviewUrl, WebviewWindow, WebviewWindowBuilder, Window, WindowEvent,
};

use crate::{Shell, notifier};

const LABEL: &str = "main";
const SIZE: (f64, f64) = (1100.0, 760.0);
const SIZE_MIN: (f64, f64) = (480.0, 420.0);
const SIZE_MAX: f64 = 16_000.0;
/// In the data folder.
const KEPT: &str = "window.json";

/// How the user left it.
#[derive(Serialize, Deserialize)]
struct Left {
    width: f64,
    height: f64,
    maximized: bool,
}

/// As the user left it, where that is known.
pub(crate) fn open(app: &AppHandle, data_dir: Option<&Path>) -> tauri::Result<()> {
    let left = data_dir.and_then(|dir| std::fs::read(dir.join(KEPT)).ok());
    let left: Option<Left> = left.and_then(|text| serde_json::from_slice(&text).ok());
    let Left { width, height, maximized } = left.unwrap_or(Left { width: SIZE.0, height: SIZE.1, maximized: false });
    WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .title("Tidegate")
        .inner_size(width.clamp(SIZE_MIN.0, SIZE_MAX), height.clamp(SIZE_MIN.1, SIZE_MAX))
        .min_inner_size(SIZE_MIN.0, SIZE_MIN.1)
        .maximized(maximized)
        .center()
        .on_navigation(|url| matches!(url.scheme(), "tauri") || url.host_str() == Some("tauri.localhost"))
        .build()?;
    Ok(())
}

pub(crate) fn show(app: &AppHandle) {
    let Some(window) = main(app) else {
        if let Err(error) = open(app, Some(app.state::<Shell>().data_dir())) {
            notifier::failed(&format!("the window does not open: {error}"));
        }
        return;
    };
    // Each may fail where the window manager has no such notion; the others still help.
    let _ = window.show();
    let _ = window.unminimize();
    let _ = window.set_focus();
}

/// Shows it and has the keyboard where something is done: `export`.
pub(crate) fn reach(app: &AppHandle, what: &'static str) {
    app.state::<Shell>().want(what);
    show(app);
    // A page that is only coming asks by itself what is wanted, once it stands.
    let _ = app.emit("reach", ());
}

/// Nobody looks at a hidden window: it needs no news.
pub(crate) fn watched(app: &AppHandle) -> bool {
    main(app).is_some_and(|window| window.is_visible().unwrap_or(true))
}

/// Closing hides: the gate stays open for the programs behind it.
pub(crate) fn on_event(window: &Window, event: &WindowEvent) {
    if let WindowEvent::CloseRequested { api, .. } = event {
        api.prevent_close();
        remember(window);
        let _ = window.hide();
        forget_later(window.app_handle().clone());
        notifier::keeps_running(window.state::<Shell>().data_dir());
    }
}

/// A size that can't be kept is no reason to say anything.
fn remember(window: &Window) {
    let left = || -> tauri::Result<Left> {
        let (size, scale) = (window.inner_size()?, window.scale_factor()?);
        let LogicalSize { width, height } = size.to_logical(scale);
        Ok(Left { width, height, maximized: window.is_maximized()? })
    };
    if let Ok(text) = left().map_err(anyhow::Error::from).and_then(|left| Ok(serde_json::to_vec(&left)?)) {
        let _ = std::fs::write(window.state::<Shell>().data_dir().join(KEPT), text);
    }
}

/// A page that nobody looks at for long takes memory for nothing.
fn forget_later(app: AppHandle) {
    static HIDDEN: AtomicU64 = AtomicU64::new(0);
    let turn = HIDDEN.fetch_add(1, Ordering::Relaxed) + 1;
    tauri::async_runtime::spawn(async move {
        tokio::time::sleep(app.state::<Shell>().keep_hidden()).await;
        if HIDDEN.load(Ordering::Relaxed) == turn
            && let Some(window) = main(&app).filter(|window| !window.is_visible().unwrap_or(true))
        {
            let _ = window.destroy();
        }
    });
}

fn main(app: &AppHandle) -> Option<WebviewWindow> {
    app.get_webview_window(LABEL)
}
