//! What becomes of the settings file while the app runs: what can be taken at once is, what is wrong changes nothing, and
//! what waits for a restart is told.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::api::ApiError;
use crate::host::{DRAIN, Host, HostError, lock};
use crate::settings::{self, SettingChange, SettingWrongView, Settings, SettingsSetView, SettingsView};
use crate::{data, demo};

/// How the settings file stands to what is in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingsStateView {
    /// `in_force`; `changed`: some of it waits for a restart; `wrong`: the old settings stay.
    pub state: String,
    /// The first thing that is wrong.
    pub problem: Option<SettingWrongView>,
    /// Sections that a running gateway doesn't take.
    pub waits_for_restart: Vec<String>,
}

impl Default for SettingsStateView {
    fn default() -> SettingsStateView {
        SettingsStateView { state: "in_force".to_owned(), problem: None, waits_for_restart: vec![] }
    }
}

const EVERY: Duration = Duration::from_secs(2);

/// By which a file that was changed is told from the one that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stamp(Option<(SystemTime, u64, u64)>);

impl Stamp {
    pub(crate) fn of(file: &Path) -> Stamp {
        let meta = std::fs::metadata(file).ok();
        Stamp(meta.and_then(|meta| Some((meta.modified().ok()?, meta.len(), whose(&meta)))))
    }
}

/// Another file of the same name, or the same one for others.
#[cfg(unix)]
fn whose(meta: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    meta.ino().rotate_left(16) ^ u64::from(meta.mode())
}

#[cfg(not(unix))]
fn whose(_meta: &std::fs::Metadata) -> u64 {
    0
}

impl Host {
    /// Looks at the file as long as the app is there.
    pub(crate) async fn follow_settings(host: Weak<Host>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(host) = host.upgrade() else { return };
            host.look_at_settings().await;
        }
    }

    /// Takes what is new in the file, as far as it can be.
    pub(crate) async fn look_at_settings(&self) {
        let mut seen = self.seen.lock().await;
        let stamp = Stamp::of(self.settings_file());
        if *seen == stamp {
            return;
        }
        *seen = stamp;
        let state = match self.read_settings() {
            Ok(fresh) => self.adopt(&fresh).await,
            Err(error) => wrong(&error),
        };
        self.tell_state(state);
    }

    pub(crate) fn read_settings(&self) -> Result<Settings, HostError> {
        let fresh = settings::load(self.settings_file(), &data::schemes()?)?;
        if self.is_demo() { demo::settings(&fresh) } else { Ok(fresh) }
    }

    async fn adopt(&self, fresh: &Settings) -> SettingsStateView {
        let app = self.own();
        let in_force = if app.settings().as_ref() == fresh { app.settings() } else { app.adopt(fresh).await };
        *lock(&self.settings) = in_force.as_ref().clone();
        let waits: Vec<String> = in_force.waiting_of(fresh).into_iter().map(str::to_owned).collect();
        let state = if waits.is_empty() { "in_force" } else { "changed" };
        SettingsStateView { state: state.to_owned(), problem: None, waits_for_restart: waits }
    }

    fn tell_state(&self, state: SettingsStateView) {
        match (&state.problem, &state.waits_for_restart[..]) {
            (Some(SettingWrongView { line: 0, reason }), _) => {
                tracing::warn!("the settings file is wrong, the old settings stay in force: {reason}");
            }
            (Some(SettingWrongView { line, reason }), _) => {
                tracing::warn!("the settings file is wrong, the old settings stay in force: line {line}: {reason}");
            }
            (None, []) => tracing::info!("the settings were changed and are in force"),
            (None, waits) => {
                tracing::info!("the settings were changed; these sections wait for a restart: {}", waits.join(", "));
            }
        }
        *lock(&self.settings_state) = state;
    }

    /// The file is what it is by our own hand.
    pub(crate) async fn look_again(&self) {
        *self.seen.lock().await = Stamp::default();
        self.look_at_settings().await;
    }

    pub(crate) fn show_settings(&self) -> Result<SettingsView, ApiError> {
        settings::show(self.settings_file(), &data::schemes().map_err(ApiError::machine)?)
    }

    /// What can be taken at once is in force when it returns.
    pub(crate) async fn change_settings(
        &self,
        changes: &[SettingChange],
        shown: Option<&str>,
    ) -> Result<SettingsSetView, ApiError> {
        let schemes = data::schemes().map_err(ApiError::machine)?;
        let changed = {
            let _one_at_a_time = self.seen.lock().await;
            settings::change(self.settings_file(), changes, shown, &schemes)?
        };
        self.look_again().await;
        Ok(changed)
    }

    /// Ends the gateway in good order and begins anew with the settings as the file has them; what was counted and learned
    /// stays. Wrong settings change nothing. Gives where it listens.
    pub async fn restart(self: &Arc<Host>) -> Result<String, HostError> {
        let mut seen = self.seen.lock().await;
        let stamp = Stamp::of(self.settings_file());
        let (app, fresh) = (self.own(), self.read_settings()?);
        let before = app.settings();
        let stays = fresh.gateway.listen == before.gateway.listen;
        let listen = app.address().filter(|_| stays);
        app.drain(DRAIN).await;
        *lock(&self.settings) = fresh.clone().in_books_of(&before);
        let address = self.listen(listen).await?;
        app.adopt(&fresh).await;
        *seen = stamp;
        let state = self.adopt(&fresh).await;
        let waits = state.waits_for_restart.join(", ");
        *lock(&self.settings_state) = state;
        match waits.is_empty() {
            true => Ok(address),
            false => Err(ApiError::machine(format!(
                "the gateway began anew; of {waits} something waits until Tidegate itself ends and starts again"
            ))
            .into()),
        }
    }
}

fn wrong(error: &HostError) -> SettingsStateView {
    let told = if let HostError::Settings(error) = error { error.wrongs().first() } else { None };
    let first = told.map(SettingWrongView::from);
    let problem = first.unwrap_or_else(|| SettingWrongView { line: 0, reason: error.to_string() });
    SettingsStateView { state: "wrong".to_owned(), problem: Some(problem), waits_for_restart: vec![] }
}
