//! A tray, a window with one word in it, and nothing behind them: what the real app's start and memory are measured against.
//! With `--hidden` there is the tray alone.

use tauri::http::Response;
use tauri::http::header::{CONTENT_TYPE, HeaderValue};
use tauri::tray::TrayIconBuilder;
use tauri::{RunEvent, WebviewUrl, WebviewWindowBuilder};

const PAGE: &[u8] = b"<!doctype html><title>Empty</title><body style='font:700 200px sans-serif'>Empty";

fn main() -> tauri::Result<()> {
    tauri::Builder::default()
        .register_uri_scheme_protocol("empty", |_context, _request| {
            let mut page = Response::new(PAGE);
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            page
        })
        .setup(|app| {
            let icon = app.default_window_icon().cloned().ok_or("an icon")?;
            TrayIconBuilder::new().icon(icon).build(app)?;
            if std::env::args().all(|argument| argument != "--hidden") {
                let page = WebviewUrl::CustomProtocol("empty://localhost/".parse()?);
                WebviewWindowBuilder::new(app, "empty", page).title("Tidegate").inner_size(1100.0, 760.0).build()?;
            }
            Ok(())
        })
        .build(tauri::generate_context!())?
        .run(|_app, event| {
            if let RunEvent::ExitRequested { api, code: None, .. } = event {
                api.prevent_exit();
            }
        });
    Ok(())
}
