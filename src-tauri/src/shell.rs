//! The application as the window holds it: opened, listening or told why not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use app::api::{Answer, Command};
use app::keychain::Secret;
use app::keys::ConnectedKeyView;
use app::veil::Veil;
use app::view::StatusView;
use app::{Host, HostError, HostOptions, places};

use crate::Options;
use crate::autostart::Autostart;

/// Why something did not happen, in a sentence for the person in front of the window.
pub(crate) type Said<T> = Result<T, String>;

pub(crate) struct Shell {
    host: Arc<Host>,
    data_dir: PathBuf,
    veil: Veil,
    /// How long a hidden window keeps its page.
    keep_hidden: Duration,
    /// Where the system has such a thing.
    autostart: Option<Autostart>,
    settings: PathBuf,
    /// Why the gateway does not listen.
    trouble: Mutex<Option<String>>,
    /// Where in the window the keyboard is wanted, until the page has been told.
    wanted: Mutex<Option<&'static str>>,
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Shell {
    /// Takes the data folder; nothing listens yet.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Shell> {
        let data_dir = options.data_dir().context("no home folder is known: name a data folder with --data-dir")?;
        let settings = options.settings.clone().or_else(places::settings_file);
        let settings = settings.context("no home folder is known: name a settings file with --settings")?;
        let own = settings.clone();
        let wanted = HostOptions { data_dir: data_dir.clone(), settings, api: false, demo: false, window: true };
        let (trouble, wanted_there) = (Mutex::default(), Mutex::default());
        let autostart = Autostart::of(options);
        let host = Host::open(wanted).await?;
        let (veil, keep_hidden) = (Veil::of(&data_dir), Duration::from_secs(options.keep_hidden));
        Ok(Shell { host, data_dir, veil, keep_hidden, autostart, settings: own, trouble, wanted: wanted_there })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) const fn keep_hidden(&self) -> Duration {
        self.keep_hidden
    }

    pub(crate) fn veil(&self) -> &Veil {
        &self.veil
    }

    pub(crate) fn autostart(&self) -> Option<&Autostart> {
        self.autostart.as_ref()
    }

    /// A port that is taken is no reason to show no window.
    pub(crate) async fn start(&self, demo: bool) {
        self.note(self.host.listen(None).await.map(drop));
        if demo {
            self.note(self.host.start_demo().await);
        }
    }

    fn note(&self, outcome: Result<(), HostError>) {
        let trouble = outcome.err().map(|cause| cause.to_string());
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Patience lets running calls finish first.
    pub(crate) async fn stop(&self, patient: bool) {
        if patient {
            self.host.drain().await;
        } else {
            self.host.stop().await;
        }
    }

    pub(crate) async fn status(&self) -> Said<StatusView> {
        let mut status = self.host.status().await.map_err(said)?;
        if status.gateway.address.is_none() {
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
            status.gateway.trouble = status.gateway.trouble.or(trouble);
        }
        Ok(status)
    }

    pub(crate) async fn ask(&self, command: Command) -> Said<Answer> {
        self.host.answer(command).await.map_err(said)
    }

    pub(crate) async fn tell(&self, command: Command) -> Said<()> {
        self.ask(command).await.map(drop)
    }

    pub(crate) async fn connect_key(&self, secret: Secret, anyway: bool) -> Said<ConnectedKeyView> {
        let connected = self.host.connect_key(secret, anyway).await.map_err(said)?;
        if connected.kept {
            self.host.stop_demo().await;
        }
        Ok(connected)
    }

    pub(crate) async fn start_demo(&self) -> Said<()> {
        self.host.start_demo().await.map_err(said)
    }

    pub(crate) async fn stop_demo(&self) {
        self.host.stop_demo().await;
    }

    /// Listens where the system has a port to spare, and tells where.
    pub(crate) async fn listen_elsewhere(&self) -> Said<String> {
        let address = self.host.listen(Some(ANY_PORT)).await.map_err(said)?;
        self.note(Ok(()));
        Ok(address)
    }

    /// Begins anew with the settings as their file has them, and tells where it listens.
    pub(crate) async fn restart(&self) -> Said<String> {
        let restarted = self.host.restart().await;
        let said = restarted.as_ref().map(String::clone).map_err(said);
        // One that never closed still listens.
        if self.host.app().address().is_none() || restarted.is_ok() {
            self.note(restarted.map(drop));
        }
        said
    }

    /// It is made where there is none yet, so that there is something to open.
    pub(crate) fn settings_file(&self) -> Said<PathBuf> {
        let made = app::settings::make(&self.settings).map_err(said);
        made.map(|()| self.settings.clone())
    }

    /// Until somebody asks on a notification for the window.
    pub(crate) async fn asked_to_open(&self) {
        self.host.asked_to_open().await;
    }

    pub(crate) fn want(&self, what: &'static str) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Told once.
    pub(crate) fn wanted(&self) -> Option<&'static str> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn toggle_emergency(&self) -> Said<()> {
        let is_on = self.status().await?.emergency.active;
        self.tell(if is_on { Command::EmergencyOff } else { Command::EmergencyOn { reason: None } }).await
    }

    /// Those that are open now.
    pub(crate) async fn snooze_alerts(&self, time: Duration) -> Said<()> {
        self.host.snooze_alerts(time).await.map_err(said)
    }

    pub(crate) async fn toggle_background(&self) -> Said<()> {
        let class = "background".to_owned();
        let paused = self.status().await?.queue.background.paused;
        self.tell(if paused { Command::Resume { class } } else { Command::Pause { class } }).await
    }
}

fn said(cause: impl std::fmt::Display) -> String {
    app::log::redacted(&cause.to_string())
}
