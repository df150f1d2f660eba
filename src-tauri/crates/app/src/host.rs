//! The running app: it holds the data folder, serves calls, answers commands, and stops in good order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gateway::Mount;
use thiserror::Error;
use tokio::sync::Notify;

use crate::App;
use crate::api::{Answer, ApiError, Command};
use crate::clients::{ClientError, new_token};
use crate::clock;
use crate::data::{self, DataError};
use crate::demo::{self, Demo};
use crate::folder::{self, Folder, FolderError, Instance};
use crate::keychain::{KeyError, Secret};
use crate::keys::{self, ConnectedKeyView, KeyVerdict};
use crate::mount::{Hash, Tidegate};
use crate::process;
use crate::renewal::{SettingsStateView, Stamp};
use crate::settings::{self, Settings, SettingsError, UpstreamKind};
use crate::view::StatusView;

/// Why the app can't start: one sentence each.
#[derive(Debug, Error)]
pub enum HostError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(transparent)]
    Clients(#[from] ClientError),
    #[error(transparent)]
    Keychain(#[from] KeyError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Gateway(#[from] gateway::StartError),
    #[error("{address} is in use by {holder}: end that, or set another `listen` address")]
    PortTaken { address: SocketAddr, holder: String },
    #[error("telemetry can't be taken in at {address} ({reason}): set another `listen` in [otlp], or \"\"")]
    Telemetry { address: SocketAddr, reason: std::io::Error },
    #[error(transparent)]
    Change(#[from] ApiError),
    #[error("no metrics can be kept: {0}")]
    Metrics(String),
    #[error("the simulator can't listen: {0}")]
    Simulator(std::io::Error),
}

impl HostError {
    /// The ledger's file is no whole ledger.
    pub fn is_damage(&self) -> bool {
        matches!(self, HostError::Ledger(ledger::Error::Damaged { .. }))
    }
}

#[derive(Clone, Debug)]
pub struct HostOptions {
    pub data_dir: PathBuf,
    pub settings: PathBuf,
    /// Answers under `/tidegate` for whoever has `DIR/api-token`.
    pub api: bool,
    /// Stands on a simulator, with traffic and a ledger of its own.
    pub demo: bool,
    /// There is a window, which notifications may open.
    pub window: bool,
}

pub struct Host {
    options: HostOptions,
    folder: Folder,
    /// Those in force.
    pub(crate) settings: Mutex<Settings>,
    /// How the file stands to them.
    pub(crate) settings_state: Mutex<SettingsStateView>,
    /// The file as it was last read; held while it is read, changed or begun anew with.
    pub(crate) seen: tokio::sync::Mutex<Stamp>,
    app: Arc<App>,
    /// Beside the user's own app, where the window shows it.
    demo: tokio::sync::Mutex<()>,
    shown: Mutex<Option<Arc<Demo>>>,
    control_token: String,
    opening: Arc<Notify>,
}

/// How long running calls may take when the app stops.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);
/// When the gateway starts again with other settings.
const RESTART: Duration = Duration::from_secs(5);

impl Host {
    /// Takes the folder and opens the books; nothing listens yet.
    pub async fn open(options: HostOptions) -> Result<Arc<Host>, HostError> {
        process::outlive_file_size_limit();
        let folder = folder::hold(&options.data_dir)?;
        let seen = Stamp::of(&options.settings);
        let settings = match options.demo {
            true => demo::settings(&settings::load(&options.settings, &data::schemes()?)?)?,
            false => settings::load(&options.settings, &data::schemes()?)?,
        };
        let books = if options.demo { demo_dir(folder.path())? } else { folder.path().to_owned() };
        let app = Arc::new(App::open(&books, &settings).await?);
        let host = Arc::new(Host {
            options,
            folder,
            settings: Mutex::new(settings),
            settings_state: Mutex::default(),
            seen: tokio::sync::Mutex::new(seen),
            app,
            demo: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
            control_token: new_token("tg-control-")?,
            opening: Arc::default(),
        });
        host.take_hands(&host.app);
        tokio::spawn(Host::follow_settings(Arc::downgrade(&host)));
        Ok(host)
    }

    pub(crate) fn settings_file(&self) -> &Path {
        &self.options.settings
    }

    pub(crate) fn is_demo(&self) -> bool {
        self.options.demo
    }

    /// The user's own, whatever is shown.
    pub(crate) fn own(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Takes calls when it returns; on `listen`, else where the settings say. Gives the base URL.
    pub async fn listen(self: &Arc<Host>, listen: Option<SocketAddr>) -> Result<String, HostError> {
        let settings = lock(&self.settings).clone();
        let listen = listen.unwrap_or(settings.gateway.listen);
        // Until it is announced anew, a command waits rather than knock at a closed port.
        self.folder.withdraw();
        let app = self.own();
        app.drain(RESTART).await;
        let address = app.serve(&settings, listen, vec![self.mount()?]).await?;
        let address = format!("http://{}", reachable(address));
        self.folder.announce(&Instance {
            pid: std::process::id(),
            program: folder::program(),
            address: address.clone(),
            token: self.control_token.clone(),
        })?;
        if self.options.demo {
            let traffic = Demo::traffic(app, &address)?;
            *lock(&self.shown) = Some(Arc::new(traffic));
        }
        Ok(address)
    }

    fn mount(self: &Arc<Host>) -> Result<Arc<dyn Mount>, HostError> {
        let token = api_token(self.folder.path())?;
        Ok(Arc::new(Tidegate {
            host: Arc::downgrade(self),
            control: Hash::of(&self.control_token),
            api: self.options.api.then(|| Hash::of(&token)),
            metrics: lock(&self.settings).metrics.then(|| Hash::of(&token)),
        }))
    }

    /// What questions are about: the demo while it is shown, else the user's own.
    pub fn app(&self) -> Arc<App> {
        lock(&self.shown).as_ref().map_or_else(|| self.own(), |demo| demo.app().clone())
    }

    fn take_hands(self: &Arc<Host>, app: &Arc<App>) {
        app.take_hands(self, &self.opening, self.options.window);
    }

    /// Until somebody asks on a notification for the window.
    pub async fn asked_to_open(&self) {
        self.opening.notified().await;
    }

    /// All alerts that are open now.
    pub async fn snooze_alerts(&self, time: Duration) -> Result<(), ApiError> {
        let until = clock::now().timestamp.after(time).to_string();
        for alert in self.status().await?.alerts.into_iter().filter(|alert| alert.resolved_at.is_none()) {
            self.answer(Command::AlertSnooze { id: alert.alert_id, until: Some(until.clone()) }).await?;
        }
        Ok(())
    }

    pub async fn answer(&self, command: Command) -> Result<Answer, ApiError> {
        if command == Command::Status {
            return Ok(Answer::Status(Box::new(self.status().await?)));
        }
        if matches!(command, Command::ClaudeCodeConnect { .. }) && lock(&self.shown).is_some() {
            return Err(ApiError::machine("leave the demo first: what Claude Code calls would not be seen in it"));
        }
        if command == Command::SettingsShow {
            return Ok(Answer::Settings(Box::new(self.show_settings()?)));
        }
        if let Command::SettingsSet { changes, hash } = &command {
            return Ok(Answer::SettingsSet(self.change_settings(changes, hash.as_deref()).await?));
        }
        if let Command::AlertRaiseCap { id } = &command {
            let app = self.app();
            self.raise_cap(&app, &app.alert(id)?).await?;
            return Ok(Answer::Done);
        }
        let app = if command.is_about_this_machine() { self.app.clone() } else { self.app() };
        app.answer(command).await
    }

    pub async fn status(&self) -> Result<StatusView, ApiError> {
        let is_demo = lock(&self.shown).is_some();
        let mut status = self.app().status().await?;
        if is_demo && status.gateway.state == "open" {
            status.gateway.state = "demo".to_owned();
        }
        status.settings = lock(&self.settings_state).clone();
        Ok(status)
    }

    /// What Prometheus reads.
    pub(crate) async fn metrics(&self) -> Result<String, ApiError> {
        let off = || ApiError::absent("metrics are off: set enabled = true in [metrics] of the settings");
        self.own().metrics().await?.ok_or_else(off)
    }

    pub fn running_calls(&self) -> usize {
        self.app().running_calls().len()
    }

    /// Shows a simulated API with made-up traffic in place of the user's own books, until `stop_demo`.
    pub async fn start_demo(self: &Arc<Host>) -> Result<(), HostError> {
        let _one_at_a_time = self.demo.lock().await;
        if lock(&self.shown).is_some() {
            return Ok(());
        }
        let settings = demo::settings(&lock(&self.settings))?;
        let app = Arc::new(App::open(&demo_dir(self.folder.path())?, &settings).await?);
        self.take_hands(&app);
        let address = app.serve(&settings, demo::ANY_PORT, vec![]).await?;
        let demo = Demo::traffic(app, &format!("http://{address}"))?;
        *lock(&self.shown) = Some(Arc::new(demo));
        Ok(())
    }

    pub async fn stop_demo(&self) {
        let _one_at_a_time = self.demo.lock().await;
        let shown = lock(&self.shown).take();
        if let Some(demo) = shown {
            demo.stop().await;
            if !self.options.demo {
                close(demo.app(), RESTART).await;
            }
        }
    }

    /// Tries the user's key with a free call. One that is taken, or wanted `anyway`, is kept and used.
    pub async fn connect_key(self: &Arc<Host>, secret: Secret, anyway: bool) -> Result<ConnectedKeyView, ApiError> {
        let settings = lock(&self.settings).clone();
        let test = keys::test_pasted(&settings, &secret).await?;
        let kept = anyway || test.verdict == KeyVerdict::Taken;
        if kept {
            self.keep_key(secret).await.map_err(ApiError::machine)?;
        }
        Ok(ConnectedKeyView { kept, test })
    }

    /// Keeps the user's key in the keychain, names an upstream for it where the settings have none, and takes both into use.
    async fn keep_key(self: &Arc<Host>, secret: Secret) -> Result<(), HostError> {
        self.own().keychain().set(settings::OWN_UPSTREAM, secret).await?;
        let has_upstream =
            lock(&self.settings).upstreams.iter().any(|upstream| upstream.kind == UpstreamKind::Anthropic);
        if !has_upstream {
            settings::add_upstream(&self.options.settings, &data::schemes()?)?;
            let fresh = settings::load(&self.options.settings, &data::schemes()?)?;
            *lock(&self.settings) = fresh;
            let address = self.own().address();
            if let Some(address) = address {
                self.listen(Some(address)).await?;
            }
            self.look_again().await;
        }
        Ok(())
    }

    /// Takes nothing new, lets what runs finish for up to 30 s, and closes the books.
    pub async fn drain(&self) {
        self.end(DRAIN).await;
    }

    /// As `drain`, without waiting for anybody.
    pub async fn stop(&self) {
        self.end(Duration::ZERO).await;
    }

    async fn end(&self, patience: Duration) {
        self.stop_demo().await;
        close(&self.own(), patience).await;
        self.folder.withdraw();
    }
}

async fn close(app: &App, patience: Duration) {
    app.drain(patience).await;
    if let Err(error) = app.close().await {
        tracing::error!("the ledger was not closed well, its journal keeps what is missing: {error}");
    }
}

fn demo_dir(dir: &Path) -> Result<PathBuf, FolderError> {
    let demo = dir.join("demo");
    folder::make_private(&demo).map_err(|reason| FolderError::Unwritable { dir: demo.clone(), reason })?;
    Ok(demo)
}

/// An address by which this machine gets in, where a gateway listens on all of them.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// Made at the first `serve`, then read.
fn api_token(dir: &Path) -> Result<String, HostError> {
    let file = dir.join("api-token");
    match std::fs::read_to_string(&file) {
        Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
        Ok(_) | Err(_) => {
            let token = new_token("tg-api-")?;
            folder::replace(&file, format!("{token}\n").as_bytes())?;
            Ok(token)
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
