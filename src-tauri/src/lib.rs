//! The window around the application: it starts `app` in this process and shows what it does.
//!
//! Nothing here decides about calls, money or limits, and no command hands out a key.

mod autostart;
mod commands;
mod events;
mod notifier;
mod shell;
mod tray;
mod window;
mod words;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use app::places;
use clap::Parser;
use tauri::{AppHandle, Manager, RunEvent};

pub(crate) use shell::Shell;

/// The gate between your programs and the Claude API, with a window.
#[derive(Parser, Clone, Debug)]
#[command(name = "tidegate-desktop", version, after_help = EXAMPLES)]
pub struct Options {
    /// Where everything is kept; the platform's data folder unless given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The settings; the platform's config folder unless given
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Go straight to the demo: the simulator, with calls from several programs
    #[arg(long)]
    pub demo: bool,
    /// Start into the tray, without a window
    #[arg(long)]
    pub hidden: bool,
    /// How long a hidden window keeps its page in memory
    #[arg(long, value_name = "SECONDS", default_value_t = 300, hide = true)]
    pub keep_hidden: u64,
}

impl Options {
    fn data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(places::data_dir)
    }
}

const EXAMPLES: &str = "Examples:
  tidegate-desktop                    open the window, or show it again
  tidegate-desktop --demo             see it work, without a key
  tidegate-desktop --hidden           start into the tray, as it does when it starts with the system
  tidegate-desktop --data-dir ./data  keep everything in ./data";

/// Runs until the user quits.
pub fn run(options: Options) -> anyhow::Result<()> {
    #[cfg(all(unix, not(target_os = "macos")))]
    gtk::init().map_err(|_| {
        anyhow::anyhow!("there is no display to open a window on: use `tidegate serve`, which needs none")
    })?;
    tauri::Builder::default()
        .plugin(tauri_plugin_single_instance::init(|app, arguments, _folder| {
            if !arguments.iter().any(|argument| argument == "--hidden") {
                window::show(app);
            }
        }))
        .invoke_handler(tauri::generate_handler![
            commands::status,
            commands::ask,
            commands::wanted,
            commands::export,
            commands::set_key,
            commands::start_demo,
            commands::stop_demo,
            commands::listen_elsewhere,
            commands::autostart,
            commands::set_autostart,
            commands::restart_gateway,
            commands::open_settings,
            commands::open_page,
            commands::amounts_hidden,
            commands::hide_amounts,
        ])
        .setup(move |app| Ok(open(app.handle(), &options)?))
        .on_window_event(window::on_event)
        .build(tauri::generate_context!())?
        .run(keep_without_window);
    Ok(())
}

/// Runs once it is sure that this is the only instance.
fn open(app: &AppHandle, options: &Options) -> tauri::Result<()> {
    let own = options.clone();
    let books = tauri::async_runtime::spawn(async move { Shell::open(&own).await });
    // The page's process starts while the books are opened; what it asks is heard once this has returned.
    if !options.hidden {
        window::open(app, options.data_dir().as_deref())?;
    }
    match tauri::async_runtime::block_on(books).map_err(anyhow::Error::from).flatten() {
        Ok(shell) => app.manage(shell),
        Err(cause) => refuse(app, &cause),
    };
    app.manage(tray::build(app)?);
    events::open_when_asked(app.clone());
    events::start(app.clone(), options.demo);
    Ok(())
}

/// Without its books the app can do nothing: it says why, on the desktop too, and ends.
fn refuse(app: &AppHandle, cause: &anyhow::Error) -> ! {
    let sentence = app::log::redacted(&format!("{cause:#}"));
    // Where nobody reads it there is still the notification.
    let _ = writeln!(std::io::stderr(), "tidegate-desktop: {sentence}");
    notifier::cannot_start(&sentence);
    app.cleanup_before_exit();
    std::process::exit(1)
}

/// The last window's end is not the program's.
fn keep_without_window(_app: &AppHandle, event: RunEvent) {
    if let RunEvent::ExitRequested { api, code: None, .. } = event {
        api.prevent_exit();
    }
}

/// Lets running calls finish, then ends the program. Asked a second time, it waits for none.
pub(crate) fn quit(app: AppHandle) {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let patient = !ASKED.swap(true, Ordering::Relaxed);
    tauri::async_runtime::spawn(async move {
        app.state::<Shell>().stop(patient).await;
        app.exit(0);
    });
}
