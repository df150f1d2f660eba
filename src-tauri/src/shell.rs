//! The application as the window holds it: opened, listening or told why not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use app::api::Command;
use app::clients::ClientChange;
use app::keychain::Secret;
use app::view::{ClientView, StatusView};
use app::{Host, HostError, HostOptions, places};

use crate::Options;

/// Why something did not happen, in a sentence for the person in front of the window.
pub(crate) type Said<T> = Result<T, String>;

pub(crate) struct Shell {
    host: Arc<Host>,
    data_dir: PathBuf,
    /// Why the gateway does not listen.
    trouble: Mutex<Option<String>>,
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Shell {
    /// Takes the data folder; nothing listens yet.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Shell> {
        let data_dir = options.data_dir.clone().or_else(places::data_dir);
        let data_dir = data_dir.context("no home folder is known: name a data folder with --data-dir")?;
        let settings = options.settings.clone().or_else(places::settings_file);
        let settings = settings.context("no home folder is known: name a settings file with --settings")?;
        let wanted = HostOptions { data_dir: data_dir.clone(), settings, api: false, demo: false };
        Ok(Shell { host: Host::open(wanted).await?, data_dir, trouble: Mutex::default() })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
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

    pub(crate) fn clients(&self) -> Vec<ClientView> {
        self.host.app().clients()
    }

    pub(crate) fn add_client(&self, name: &str, change: &ClientChange) -> Said<String> {
        self.host.app().add_client(name, change).map_err(said)
    }

    pub(crate) async fn tell(&self, command: Command) -> Said<()> {
        self.host.answer(command).await.map(drop).map_err(said)
    }

    pub(crate) async fn connect_key(&self, secret: Secret) -> Said<()> {
        self.host.connect_key(secret).await.map_err(said)?;
        self.host.stop_demo().await;
        Ok(())
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

    pub(crate) async fn toggle_background(&self) -> Said<()> {
        let class = "background".to_owned();
        let paused = self.status().await?.queue.background.paused;
        self.tell(if paused { Command::Resume { class } } else { Command::Pause { class } }).await
    }
}

fn said(cause: impl std::fmt::Display) -> String {
    app::log::redacted(&cause.to_string())
}
