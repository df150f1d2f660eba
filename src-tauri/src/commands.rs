//! What the window may ask; the application answers. None returns a key.

use app::api::Command;
use app::clients::ClientChange;
use app::keychain::Secret;
use app::view::{ClientView, StatusView};
use tauri::State;

use crate::Shell;
use crate::shell::Said;

#[tauri::command]
pub(crate) async fn status(shell: State<'_, Shell>) -> Said<StatusView> {
    shell.status().await
}

#[tauri::command]
pub(crate) fn clients(shell: State<'_, Shell>) -> Vec<ClientView> {
    shell.clients()
}

/// Answers the token, of which only a hash is kept.
#[tauri::command]
pub(crate) fn add_client(shell: State<'_, Shell>, name: String, priority: String) -> Said<String> {
    shell.add_client(&name, &ClientChange { priority: Some(priority), ..ClientChange::default() })
}

#[tauri::command]
pub(crate) async fn revoke_client(shell: State<'_, Shell>, name: String) -> Said<()> {
    shell.tell(Command::ClientRevoke { name }).await
}

#[tauri::command]
pub(crate) async fn pause(shell: State<'_, Shell>, class: String) -> Said<()> {
    shell.tell(Command::Pause { class }).await
}

#[tauri::command]
pub(crate) async fn resume(shell: State<'_, Shell>, class: String) -> Said<()> {
    shell.tell(Command::Resume { class }).await
}

#[tauri::command]
pub(crate) async fn enter_emergency(shell: State<'_, Shell>) -> Said<()> {
    shell.tell(Command::EmergencyOn { reason: None }).await
}

#[tauri::command]
pub(crate) async fn leave_emergency(shell: State<'_, Shell>) -> Said<()> {
    shell.tell(Command::EmergencyOff).await
}

#[tauri::command]
pub(crate) async fn set_key(shell: State<'_, Shell>, secret: String) -> Said<()> {
    shell.connect_key(Secret::new(secret)).await
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
