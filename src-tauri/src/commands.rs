//! What the window may ask; the application answers. None returns a key.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use app::api::{Answer, Command, ExportQuestion};
use app::keychain::Secret;
use app::keys::ConnectedKeyView;
use app::view::StatusView;
use tauri::{AppHandle, Manager, State};

use crate::Shell;
use crate::autostart::{Autostart, AutostartView};
use crate::shell::Said;

#[tauri::command]
pub(crate) async fn status(shell: State<'_, Shell>) -> Said<StatusView> {
    shell.status().await
}

#[tauri::command]
pub(crate) async fn ask(shell: State<'_, Shell>, command: Command) -> Said<Answer> {
    if !is_for_the_window(&command) {
        return Err("the window doesn't ask this: use `tidegate`".to_owned());
    }
    shell.ask(command).await
}

/// Where the keyboard is wanted: a menu outside of the page has asked for it.
#[tauri::command]
pub(crate) fn wanted(shell: State<'_, Shell>) -> Option<&'static str> {
    shell.wanted()
}

/// None of these names a file, and no answer holds a key; a new client's own token is told once.
fn is_for_the_window(command: &Command) -> bool {
    if let Command::ImportClaudeCode { paths } | Command::WatchClaudeCode { paths, .. } = command {
        return paths.is_empty();
    }
    if let Command::ClaudeCode { folder } | Command::ClaudeCodeConnect { folder, .. } = command {
        return folder.is_none();
    }
    matches!(
        command,
        Command::Usage { .. }
            | Command::Sources
            | Command::ImportProgress
            | Command::ImportStop
            | Command::ExportColumns { .. }
            | Command::ExportProgress
            | Command::ExportStop
            | Command::ClaudeCodeDisconnect
            | Command::UsageDays { .. }
            | Command::Explain { .. }
            | Command::Calls { .. }
            | Command::Why { .. }
            | Command::ClientAdd { .. }
            | Command::ClientList
            | Command::ClientSet { .. }
            | Command::ClientRevoke { .. }
            | Command::KeyList
            | Command::KeyTest { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Queue
            | Command::QueueDrop { .. }
            | Command::QueueRaise { .. }
            | Command::Release { .. }
            | Command::EmergencyOn { .. }
            | Command::EmergencyOff
            | Command::AlertList
            | Command::AlertRules
            | Command::AlertTest { .. }
            | Command::AlertSnooze { .. }
            | Command::AlertRaiseCap { .. }
            | Command::Course(_)
            | Command::Minutes(_)
            | Command::TierList
            | Command::TierPurchase { .. }
            | Command::TierPurchaseRemove { .. }
            | Command::TierReload { .. }
            | Command::Facts
            | Command::Protections
            | Command::SettingsShow
            | Command::SettingsSet { .. }
            | Command::WhatIf { .. }
            | Command::Savings { .. }
    )
}

/// Writes CSV into the user's downloads under a name that is free, and tells which file it is.
#[tauri::command]
pub(crate) async fn export(app: AppHandle, shell: State<'_, Shell>, question: ExportQuestion) -> Said<String> {
    let home = app.path().download_dir().or_else(|_| app.path().home_dir());
    let folder = home.map_err(|error| format!("no folder for downloads is known: {error}"))?;
    std::fs::create_dir_all(&folder).map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    // What is written half, or given up, never looks like a whole one.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = folder.join(format!("tidegate-{}-{number}.csv.part", std::process::id()));
    let written = shell.ask(Command::Export { question: question.clone(), file: draft.clone() }).await;
    let done = written.and_then(|_| {
        let file = free_name(&folder, &stem(&question));
        let moved = std::fs::rename(&draft, &file);
        moved.map_err(|error| format!("{} can't be written: {error}", file.display())).map(|()| file)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    done.map(|file| file.display().to_string())
}

/// `tidegate-calls-2026-11-01-2026-11-27`: of the days only what a file's name may hold.
fn stem(question: &ExportQuestion) -> String {
    let what = format!("{:?}", question.what).to_ascii_lowercase();
    let days = [&question.from, &question.to].into_iter().flatten();
    let plain = |day: &String| day.chars().filter(|one| one.is_ascii_digit() || *one == '-').take(10).collect();
    let parts: Vec<String> = ["tidegate".to_owned(), what].into_iter().chain(days.map(plain)).collect();
    parts.join("-")
}

fn free_name(folder: &Path, stem: &str) -> PathBuf {
    let named = |number: u32| match number {
        0 => folder.join(format!("{stem}.csv")),
        number => folder.join(format!("{stem}-{number}.csv")),
    };
    (0..).map(named).find(|file| !file.exists()).unwrap_or_else(|| named(0))
}

#[tauri::command]
pub(crate) async fn set_key(shell: State<'_, Shell>, secret: String, anyway: bool) -> Said<ConnectedKeyView> {
    shell.connect_key(Secret::new(secret), anyway).await
}

#[tauri::command]
pub(crate) async fn start_demo(shell: State<'_, Shell>) -> Said<()> {
    shell.start_demo().await
}

#[tauri::command]
pub(crate) async fn stop_demo(shell: State<'_, Shell>) -> Said<()> {
    shell.stop_demo().await;
    Ok(())
}

/// Answers the new address.
#[tauri::command]
pub(crate) async fn listen_elsewhere(shell: State<'_, Shell>) -> Said<String> {
    shell.listen_elsewhere().await
}

/// Null where the system has no such thing.
#[tauri::command]
pub(crate) fn autostart(shell: State<'_, Shell>) -> Option<AutostartView> {
    shell.autostart().map(Autostart::view)
}

#[tauri::command]
pub(crate) fn set_autostart(shell: State<'_, Shell>, on: bool) -> Said<()> {
    shell.autostart().ok_or_else(|| "this system has no such folder".to_owned())?.set(on)
}

/// Answers the address.
#[tauri::command]
pub(crate) async fn restart_gateway(shell: State<'_, Shell>) -> Said<String> {
    shell.restart().await
}

/// With the program that the system has for it. The page names no file: there is this one.
#[tauri::command]
pub(crate) fn open_settings(shell: State<'_, Shell>) -> Said<()> {
    let file = shell.settings_file()?;
    open(&file.display().to_string())
}

/// One of the upstream's pages, in the browser.
#[tauri::command]
pub(crate) fn open_page(url: String) -> Said<()> {
    match PAGES.into_iter().find(|page| *page == url) {
        Some(page) => open(page),
        None => Err("the window opens no such page".to_owned()),
    }
}

/// All that the window ever opens elsewhere.
const PAGES: [&str; 6] = [
    "https://platform.claude.com/settings/limits",
    "https://platform.claude.com/settings/keys",
    "https://platform.claude.com/usage",
    "https://platform.claude.com/settings/billing",
    "https://support.claude.com",
    "https://status.claude.com",
];

fn open(what: &str) -> Said<()> {
    let failed = |error| format!("{what} can't be opened: {error}; open it by hand");
    let mut opener = std::process::Command::new(OPENER).arg(what).spawn().map_err(failed)?;
    // It ends soon; nobody else waits for it.
    std::thread::spawn(move || opener.wait());
    Ok(())
}

#[tauri::command]
pub(crate) fn amounts_hidden(shell: State<'_, Shell>) -> bool {
    shell.veil().is_drawn()
}

/// In the tray and in notifications too.
#[tauri::command]
pub(crate) fn hide_amounts(shell: State<'_, Shell>, on: bool) -> Said<()> {
    shell.veil().draw(on).map_err(|error| format!("that can't be kept: {error}"))
}

const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else if cfg!(target_os = "windows") {
    "explorer"
} else {
    "xdg-open"
};

#[cfg(test)]
mod tests {
    use super::*;
    use app::api::Exported;

    fn named(what: Exported, from: Option<&str>, to: Option<&str>) -> String {
        stem(&ExportQuestion { what, from: from.map(Into::into), to: to.map(Into::into), ..ExportQuestion::default() })
    }

    #[test]
    fn an_export_is_named_by_what_it_holds_and_leads_to_no_other_folder() {
        assert_eq!(named(Exported::Calls, None, None), "tidegate-calls");
        let month = named(Exported::Monthly, Some("2026-11-01"), Some("2026-11-27"));
        assert_eq!(month, "tidegate-monthly-2026-11-01-2026-11-27");
        assert_eq!(named(Exported::Daily, Some("../../etc/2026"), None), "tidegate-daily-2026");
    }

    #[test]
    fn the_page_knows_no_page_that_the_window_does_not_open() {
        let known = include_str!("../../ui/src/alerts.ts");
        let pages: Vec<&str> = known.split('\'').filter(|text| text.starts_with("https://")).collect();
        assert!(!pages.is_empty() && pages.iter().all(|page| PAGES.contains(page)), "{pages:?}");
    }

    #[test]
    fn an_export_replaces_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for expected in ["a.csv", "a-1.csv", "a-2.csv"] {
            let file = free_name(folder.path(), "a");
            assert_eq!(file, folder.path().join(expected));
            std::fs::write(file, "").expect("written");
        }
    }

    #[test]
    fn the_window_names_no_files_and_forgets_no_keys() {
        let file = PathBuf::from("/etc/passwd");
        for refused in [
            Command::Export { question: ExportQuestion::default(), file: file.clone() },
            Command::Backup { file: file.clone() },
            Command::Estimate { file: file.clone(), client: None },
            Command::ImportBundles { files: vec![file.clone()] },
            Command::ImportClaudeCode { paths: vec![file.clone()] },
            Command::ClaudeCodeConnect { folder: Some(file.clone()), seen: None },
            Command::WatchClaudeCode { paths: vec![file], on: true },
            Command::ForgetKeys,
        ] {
            assert!(!is_for_the_window(&refused), "{refused:?}");
        }
        assert!(is_for_the_window(&Command::ImportClaudeCode { paths: vec![] }), "this user's own logs");
        assert!(is_for_the_window(&Command::AlertList));
    }
}
