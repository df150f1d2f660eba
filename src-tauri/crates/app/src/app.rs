//! One set of books, clients and keys: what every question is answered from, whether or not a gateway runs on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::admission::{Level, Memory, Past, QuotaLevel};
use domain::attribution;
use domain::call::{CallId, Class};
use domain::catalog::InForce;
use domain::config::{Budget, ChannelKind, Rules};
use domain::replay::Standing;
use domain::time::{Calendar, Timestamp};
use gateway::{Config, Gateway, LiveState, Mount, Ports};
use ledger::{Answers, Filter, Ledger, Shelved};
use simulator::{Latency, Simulator};
use tokio::sync::{Notify, mpsc};

use crate::alerts::{Alerts, Lookout};
use crate::answers::ResponseCache;
use crate::api::ApiError;
use crate::books::GatewayBooks;
use crate::changes::{ChangeView, Changes};
use crate::channels::{self, Service};
use crate::clients::{ClientChange, ClientError, Clients, Known};
use crate::clock::{self, SystemClock};
use crate::counting::Counted;
use crate::demo::ANY_PORT;
use crate::desktop::{Click, Desktop};
use crate::digest::Digest;
use crate::emergency::Crisis;
use crate::export::ExportProgressView;
use crate::forecasts::{CHANGES_MAX, Change, Forecasts};
use crate::import::ProgressView;
use crate::job::Job;
use crate::keeping::{Administered, Keeping};
use crate::keychain::{GatewaySecrets, Keychain, SIMULATOR_KEY};
use crate::metrics::Meter;
use crate::passed_over::PassedOver;
use crate::peaks::{HalfView, LimitNow, Peaks};
use crate::prices::Prices;
use crate::report::{ReportQuestion, ReportView, Reporter, Stretch};
use crate::retention::Retention;
use crate::settings::{self, BaseUrl, Durability, Settings, Upstream, UpstreamKind};
use crate::statuspage::Page;
use crate::success::Scores;
use crate::tiers::{Caps, Saved};
use crate::veil::Veil;
use crate::view::{ClientView, ForecastView, KeptView, LiveCallView, StatusView, WhatIfView};
use crate::watch::{Inlet, Sources, Watched};
use crate::{Host, HostError, counting, desktop, hands, learned, port, show, statusline};

pub struct App {
    dir: PathBuf,
    /// Those in force.
    settings: Mutex<Arc<Settings>>,
    /// The same of whose calls are whose, for those who go on while it changes.
    pub(crate) attributes: attribution::InForce,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) prices: Prices,
    pub(crate) passed_over: Arc<PassedOver>,
    pub(crate) calendar: Calendar,
    clients: Mutex<Clients>,
    keychain: Arc<Keychain>,
    serving: Mutex<Option<Serving>>,
    pub(crate) importing: Job<ProgressView>,
    pub(crate) exporting: Job<ExportProgressView>,
    /// Results of batches were entered.
    elsewhere: Arc<Notify>,
    /// Held while a bundle is made: who this device is to others is decided once.
    pub(crate) handing_over: tokio::sync::Mutex<()>,
    pub(crate) crisis: Arc<Crisis>,
    pub(crate) scores: Arc<Scores>,
    forecasts: Arc<Forecasts>,
    desktop: Arc<Desktop>,
    /// Until somebody does what is asked for on notifications.
    clicks: Mutex<Option<mpsc::Receiver<Click>>>,
    peaks: Arc<Peaks>,
    changes: Arc<Changes>,
    /// What a higher tier would have saved, of each upstream, as long as nothing has changed that it depends on.
    pub(crate) saved: tokio::sync::Mutex<Saved>,
    /// Where the settings have metrics on.
    meter: Option<Arc<Meter>>,
    /// Held while what is reconciled is read and written.
    pub(crate) reconciled: Mutex<()>,
    /// Held while purchases are read and written.
    pub(crate) purchases: Mutex<()>,
    /// Calls that ended before this process began, latest first.
    before: Vec<LiveCallView>,
}

/// A gateway that runs on the books, and the simulators it stands on.
#[derive(Clone)]
struct Serving {
    gateway: Arc<Gateway>,
    upstreams: Vec<String>,
    keeping: Arc<Keeping>,
    /// Where the settings have it asked.
    page: Option<Arc<Page>>,
    /// Where the settings want one.
    answers: Option<Arc<ResponseCache>>,
    /// Until the gateway is stopped.
    sources: Arc<tokio::sync::Mutex<Option<Sources>>>,
    _simulators: Arc<Vec<Simulator>>,
}

/// Lines of calls on a screen.
const LIVE_MAX: usize = 50;
const ALERTS_SHOWN: usize = 50;
const SCOPE_MAX: usize = 300;

impl App {
    /// Opens the books of a folder that is held by this process.
    pub(crate) async fn open(dir: &Path, settings: &Settings) -> Result<App, HostError> {
        let prices = Prices::open(dir, settings, clock::now().timestamp)?;
        let durability = match settings.durability {
            Durability::Power => ledger::Durability::Power,
            Durability::Process => ledger::Durability::Process,
        };
        let calendar = settings.gateway.calendar;
        let options = ledger::Options { durability, catalog: prices.in_force().get(), calendar };
        let (ledger, recovered) = Ledger::open(dir, options).await?;
        if recovered.interrupted > 0 {
            tracing::warn!(
                "{} calls were interrupted by the last end and are closed as estimates",
                recovered.interrupted
            );
        }
        statusline::gather(dir, &ledger).await?;
        let ledger = Arc::new(ledger);
        let (desktop, clicks) = Desktop::new(Veil::of(dir));
        let alerts = Arc::new(Alerts::open(dir, settings, desktop.clone(), clock::now()));
        let crisis = Crisis::open(dir, settings, ledger.clone(), alerts.clone());
        let before = ledger.calls(&Filter::default(), LIVE_MAX as u32).await?.iter().map(show::ended).collect();
        Ok(App {
            dir: dir.to_owned(),
            settings: Mutex::new(Arc::new(settings.clone())),
            attributes: settings.attributes.clone().into(),
            crisis: Arc::new(crisis),
            scores: Arc::new(Scores::of(dir, ledger.clone(), alerts)),
            forecasts: Arc::new(Forecasts::open(dir, ledger.clone(), calendar, Caps::of(dir, settings))),
            desktop,
            clicks: Mutex::new(Some(clicks)),
            peaks: Arc::new(Peaks::open(dir, ledger.clone(), settings)),
            changes: Arc::new(Changes::open(dir, settings)),
            saved: tokio::sync::Mutex::default(),
            ledger,
            meter: meter(settings)?,
            prices,
            passed_over: Arc::new(PassedOver::open(dir)),
            calendar,
            clients: Mutex::new(Clients::open(dir)?),
            keychain: Arc::new(Keychain::of_system(dir)),
            serving: Mutex::new(None),
            importing: Job::default(),
            exporting: Job::default(),
            elsewhere: Arc::default(),
            handing_over: tokio::sync::Mutex::default(),
            reconciled: Mutex::default(),
            purchases: Mutex::default(),
            before,
        })
    }

    /// One that is asked and never opened: it knows what was learned, and no calls.
    pub(crate) async fn closed_gateway(&self) -> Result<Arc<Gateway>, gateway::StartError> {
        let settings = self.settings();
        let upstreams = settings.upstreams.iter().map(|upstream| gateway::Upstream {
            name: upstream.name.to_string(),
            base_url: upstream.base_url.as_ref().map_or("http://127.0.0.1", BaseUrl::as_str).to_owned(),
            key: None,
            models: upstream.models.clone(),
            lacks: upstream.lacks,
            pacing: upstream.pacing.clone(),
        });
        let upstreams = upstreams.collect();
        let config =
            Config { listen: ANY_PORT, upstreams, ..config(&settings, self.prices.in_force(), &self.attributes) };
        let gateway = Gateway::bind(config, self.ports(None), vec![]).await?;
        gateway.recall(learned::read(&self.dir));
        Ok(Arc::new(gateway))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        lock(&self.settings).clone()
    }

    /// What a running gateway takes of other settings at once; nothing that was counted or told is lost. Gives those that
    /// are in force then.
    pub(crate) async fn adopt(&self, fresh: &Settings) -> Arc<Settings> {
        let settings = Arc::new(self.settings().with_what_is_live_of(fresh));
        *lock(&self.settings) = settings.clone();
        self.attributes.set(settings.attributes.clone());
        self.crisis.alerts.set_rules(&settings.alerts, clock::now());
        self.crisis.set_rules(&settings.emergency);
        if let Some(gateway) = self.gateway() {
            gateway.set_week_reserve(settings.emergency.enter_week_permille);
            gateway.set_budgets(settings.budgets.clone());
        }
        self.recount().await;
        settings
    }

    pub(crate) fn now(&self) -> Timestamp {
        clock::now().timestamp
    }

    pub fn keychain(&self) -> &Arc<Keychain> {
        &self.keychain
    }

    pub(crate) fn gateway(&self) -> Option<Arc<Gateway>> {
        lock(&self.serving).as_ref().map(|serving| serving.gateway.clone())
    }

    /// Starts a gateway on the books. Takes calls when it returns.
    pub(crate) async fn serve(
        &self,
        settings: &Settings,
        listen: SocketAddr,
        mounts: Vec<Arc<dyn Mount>>,
    ) -> Result<SocketAddr, HostError> {
        *lock(&self.settings) = Arc::new(settings.clone());
        let (upstreams, simulators) = self.upstreams(&settings.upstreams).await?;
        if upstreams.is_empty() {
            tracing::warn!("{}", show::NO_UPSTREAM);
        }
        let counted = self.counted(&upstreams);
        let inherited = self.inheritance(settings, &upstreams).await?;
        let fallbacks = fallbacks(settings, &upstreams);
        let config =
            Config { listen, upstreams, fallbacks, ..config(settings, self.prices.in_force(), &self.attributes) };
        let answers = match &settings.cache {
            Some(terms) => Some(Arc::new(ResponseCache::open(&self.dir, terms).await)),
            None => None,
        };
        let ports = self.ports(answers.clone());
        let gateway = Gateway::bind(config, ports, mounts).await.map_err(|error| taken(error, listen))?;
        gateway.set_clients(known(&lock(&self.clients)));
        inherited.tell(&gateway);
        for (key, used) in counted.spent(&gateway.quotas(), self.now()).await? {
            gateway.count(&key, used);
        }
        let gateway = Arc::new(gateway);
        let address = gateway.address();
        self.crisis.watch(&gateway, counted.upstreams.clone());
        let page = settings.status_page.clone().map(|page| Arc::new(Page::of(page, settings.gateway.proxy.clone())));
        let mut keeping = Keeping::start(
            &gateway,
            &self.dir,
            counted.clone(),
            self.crisis.alerts.clone(),
            self.changes.clone(),
            self.elsewhere.clone(),
        );
        keeping.ask_for_limits(administered(settings, &counted.upstreams), &self.keychain, &settings.gateway.proxy);
        keeping.also(Retention::of(self.ledger.clone(), self.calendar, settings.retention).run());
        keeping.also(self.crisis.clone().run(gateway.traffic()));
        let alerts = &self.crisis.alerts;
        keeping.also(self.channels().run(alerts.clone(), alerts.deliveries()));
        keeping.also(Lookout::of(alerts, &gateway, &counted.upstreams, &self.ledger, &self.dir, settings).run());
        keeping.also(self.scores.clone().run(Arc::downgrade(&gateway), counted.upstreams.clone()));
        let forecasts = self.forecasts.clone();
        let digest = Digest::of(&self.dir, self.reporter(), forecasts.clone(), counted.clone());
        keeping.also(digest.run(Arc::downgrade(&gateway)));
        keeping.also(forecasts.run(Arc::downgrade(&gateway), counted.clone(), alerts.clone()));
        let (peaks, watched) = (self.peaks.clone(), Arc::downgrade(&gateway));
        keeping.also(peaks.run(watched, counted.upstreams.clone(), alerts.clone()));
        if let Some(page) = &page {
            keeping.also(page.clone().run());
        }
        let sources = self.sources(settings).await?;
        *lock(&self.serving) = Some(Serving {
            gateway: gateway.clone(),
            upstreams: counted.upstreams,
            keeping: Arc::new(keeping),
            page,
            answers,
            sources: Arc::new(tokio::sync::Mutex::new(Some(sources))),
            _simulators: Arc::new(simulators),
        });
        gateway.open();
        Ok(address)
    }

    async fn sources(&self, settings: &Settings) -> Result<Sources, HostError> {
        let (ledger, passed_over) = (self.ledger.clone(), self.passed_over.clone());
        let inlet = Inlet { dir: self.dir.clone(), ledger, terms: self.terms(), passed_over };
        let mut sources = Sources::start(inlet);
        if let Some(address) = settings.otlp {
            sources.listen(address).await.map_err(|reason| HostError::Telemetry { address, reason })?;
        }
        Ok(sources)
    }

    /// Watches Claude Code's logs while a gateway runs, from now on and after each start; no folders end it.
    pub(crate) async fn watch(&self, folders: Vec<PathBuf>) -> Result<(), HostError> {
        let watched = Watched { folders };
        watched.write(&self.dir)?;
        let serving = lock(&self.serving).clone();
        if let Some(serving) = serving
            && let Some(sources) = serving.sources.lock().await.as_mut()
        {
            sources.watch(watched);
        }
        Ok(())
    }

    fn channels(&self) -> Service {
        let (keychain, settings) = (self.keychain.clone(), self.settings());
        Service { channels: settings.channels.clone(), keychain, proxy: settings.gateway.proxy.clone() }
    }

    /// Shows or sends one made-up alert.
    pub(crate) async fn test_channel(&self, name: &str) -> Result<(), ApiError> {
        let settings = self.settings();
        let written = settings.channels.iter().find(|channel| *channel.name == *name);
        if written.map_or(name == desktop::CHANNEL, |channel| channel.kind == ChannelKind::Desktop) {
            let nowhere = || ApiError::machine("there is no desktop here that shows notifications");
            return self.desktop.tell(&channels::made_up()).then_some(()).ok_or_else(nowhere);
        }
        self.channels().test(name).await.map_err(ApiError::machine)
    }

    fn counted(&self, upstreams: &[gateway::Upstream]) -> Counted {
        Counted {
            ledger: self.ledger.clone(),
            catalog: self.prices.in_force(),
            upstreams: upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
        }
    }

    /// What earlier runs leave to a gateway.
    async fn inheritance(
        &self,
        settings: &Settings,
        upstreams: &[gateway::Upstream],
    ) -> Result<Inheritance, ledger::Error> {
        let now = self.now();
        let mut memory = learned::read(&self.dir);
        counting::find_windows(&self.ledger, upstreams, &mut memory, now).await?;
        let past = counting::past(&self.ledger, settings.gateway.max_wait, now).await?;
        Ok(Inheritance { memory, past })
    }

    fn ports(&self, answers: Option<Arc<ResponseCache>>) -> Ports {
        Ports {
            books: Arc::new(GatewayBooks {
                ledger: self.ledger.clone(),
                meter: self.meter.clone(),
                elsewhere: self.elsewhere.clone(),
            }),
            secrets: Arc::new(GatewaySecrets(self.keychain.clone())),
            clock: Arc::new(SystemClock),
            watch: self.crisis.clone(),
            answers: match answers {
                Some(answers) => answers,
                None => Arc::new(NoAnswers),
            },
        }
    }

    /// Upstreams with their addresses; a simulator gets one by being started.
    async fn upstreams(&self, all: &[Upstream]) -> Result<(Vec<gateway::Upstream>, Vec<Simulator>), HostError> {
        let (mut upstreams, mut simulators) = (vec![], vec![]);
        for upstream in all {
            let (base_url, key) = match (upstream.kind, &upstream.base_url) {
                (UpstreamKind::Anthropic | UpstreamKind::Compatible, Some(base)) => {
                    (base.as_str().to_owned(), upstream.key.as_ref().map(ToString::to_string))
                }
                (UpstreamKind::Simulator, _) => {
                    let simulator = self.simulator(upstream).await?;
                    let base_url = simulator.base_url().to_owned();
                    simulators.push(simulator);
                    (base_url, Some(SIMULATOR_KEY.to_owned()))
                }
                (kind, _) => {
                    tracing::warn!("upstream {} is left out: kind {} can't be called yet", upstream.name, kind.name());
                    continue;
                }
            };
            let (name, pacing) = (upstream.name.to_string(), upstream.pacing.clone());
            let (models, lacks) = (upstream.models.clone(), upstream.lacks);
            upstreams.push(gateway::Upstream { name, base_url, key, models, lacks, pacing });
        }
        Ok((upstreams, simulators))
    }

    async fn simulator(&self, upstream: &Upstream) -> Result<Simulator, HostError> {
        let scheme =
            upstream.pacing.presumed.as_ref().map(|(scheme, tier)| (scheme.clone(), scheme.tiers[*tier].name.clone()));
        let options = simulator::Options {
            scheme,
            catalog: self.prices.in_force().get(),
            latency: Latency::REALISTIC,
            ..simulator::Options::default()
        };
        Simulator::start(options).await.map_err(HostError::Simulator)
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.gateway().map(|gateway| gateway.address())
    }

    /// Lets what runs finish for at most `patience`, and stops the gateway.
    pub(crate) async fn drain(&self, patience: Duration) {
        let serving = lock(&self.serving).clone();
        if let Some(serving) = serving {
            serving.gateway.drain(patience).await;
            serving.keeping.keep_now().await;
            self.crisis.unwatch();
            if let Some(answers) = &serving.answers {
                answers.end().await;
            }
            let sources = serving.sources.lock().await.take();
            if let Some(sources) = sources {
                sources.end().await;
            }
        }
        *lock(&self.serving) = None;
    }

    pub(crate) async fn close(&self) -> Result<(), ledger::Error> {
        self.ledger.close().await
    }

    /// Those that may be open in the ledger.
    pub(crate) fn running_calls(&self) -> Vec<CallId> {
        let live = self.gateway().map(|gateway| gateway.live()).unwrap_or_default();
        live.into_iter().filter(|call| !matches!(call.state, LiveState::Ended(_))).map(|call| call.id).collect()
    }

    /// Everything at a glance.
    pub async fn status(&self) -> Result<StatusView, ApiError> {
        let now = clock::now();
        let spend = self.ledger.spend(self.calendar, now.timestamp).await.map_err(ApiError::machine)?;
        let serving = lock(&self.serving).clone();
        let mut status = StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.timestamp.to_string(),
            spend: show::spend(&spend),
            live: self.before.clone(),
            cache: show::cache(&spend.month),
            subscription: self.subscription().await?,
            ..StatusView::default()
        };
        status.gateway.timezone = self.calendar.zone_name().to_owned();
        status.gateway.state = "stopped".to_owned();
        match serving {
            Some(serving) => {
                show::gateway(&mut status, &serving.gateway, &serving.upstreams, now);
                status.upstream_page = serving.page.map(|page| page.seen());
                status.forecasts = self.forecasts.shown();
            }
            None => self.scores.read(now.timestamp).await.map_err(ApiError::machine)?,
        }
        (status.success, status.cut_offs) = self.scores.figures(now.timestamp);
        (status.emergency, status.alerts) = (self.emergency().await, self.crisis.alerts.latest(ALERTS_SHOWN));
        status.live.truncate(LIVE_MAX);
        Ok(status)
    }

    /// What Prometheus reads; `None` where the settings have it off.
    pub(crate) async fn metrics(&self) -> Result<Option<String>, ApiError> {
        let Some(meter) = &self.meter else { return Ok(None) };
        meter.text(&self.status().await?).map(Some).map_err(ApiError::machine)
    }

    /// As things stand now, whether or not a gateway runs.
    pub(crate) async fn forecast(&self) -> Result<Vec<ForecastView>, ApiError> {
        let now = self.now();
        let (quotas, counted) = self.quotas(now).await?;
        let seen = self.forecasts.look(&quotas, &counted, now).await.map_err(ApiError::machine)?;
        Ok(seen.into_iter().map(|seen| seen.view).collect())
    }

    /// # Errors
    /// A change that is none, or that can't be made.
    pub(crate) async fn what_if(&self, changes: &[String]) -> Result<Vec<WhatIfView>, ApiError> {
        let now = self.now();
        if changes.len() > CHANGES_MAX {
            return Err(ApiError::asker(format!("at most {CHANGES_MAX} changes are tried at once")));
        }
        let parsed: Result<Vec<Change>, String> =
            changes.iter().map(|text| Change::parse(text, now, self.calendar)).collect();
        let changes = parsed.map_err(ApiError::asker)?;
        let (quotas, counted) = self.quotas(now).await?;
        let clients: Vec<Arc<str>> = self.clients().iter().map(|client| client.name.as_str().into()).collect();
        let asked = self.forecasts.what_if(&changes, (&quotas, &clients), &counted, now).await;
        asked.map_err(ApiError::machine)?.map_err(ApiError::asker)
    }

    /// Does what is asked for on notifications from now on; `window` is told when it is to be opened, where there is one.
    pub(crate) fn take_hands(self: &Arc<App>, host: &Arc<Host>, window: &Arc<Notify>, has_window: bool) {
        if has_window {
            self.desktop.has_window();
        }
        if let Some(clicks) = lock(&self.clicks).take() {
            tokio::spawn(hands::obey(Arc::downgrade(self), Arc::downgrade(host), clicks, window.clone()));
        }
    }

    pub(crate) fn changes_seen(&self) -> Vec<ChangeView> {
        self.changes.all()
    }

    /// How busy today has been up to now, where a gateway runs whose limits can be held against it.
    pub(crate) async fn count_today(&self, now: Timestamp) {
        if self.running().is_err() {
            return;
        }
        if let Err(error) = self.peaks.count(now).await {
            tracing::warn!("how busy today was is not counted: {error}");
        }
    }

    /// As far as half of a limit was used, of the limits that are known now.
    pub(crate) fn halves(&self, upstream: &str) -> Vec<HalfView> {
        let Ok((gateway, upstreams)) = self.running() else { return vec![] };
        let is_of = |level: &Level| upstreams.get(level.account.index()).is_some_and(|name| name == upstream);
        let limits: Vec<LimitNow> = gateway.levels().iter().filter(|level| is_of(level)).map(LimitNow::of).collect();
        self.peaks.halves(upstream, &limits)
    }

    pub(crate) fn admission_rules(&self) -> Rules {
        rules(&self.settings())
    }

    /// The last of two for the same counts.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let known = known(&lock(&self.clients));
        let own = known.iter().flat_map(|(_, client)| client.budgets());
        own.chain(self.settings().budgets.iter().cloned()).collect()
    }

    /// Each client's weight and share; its class is that of its calls.
    pub(crate) fn standings(&self) -> BTreeMap<Arc<str>, Standing> {
        let standing = |client: &Arc<domain::config::Client>| Standing {
            class: None,
            weight: client.weight,
            max_share: client.max_share,
        };
        known(&lock(&self.clients)).iter().map(|(_, client)| (client.name.clone(), standing(client))).collect()
    }

    /// As they are now, and what counting them needs.
    async fn quotas(&self, now: Timestamp) -> Result<(Vec<QuotaLevel>, Counted), ApiError> {
        let (gateway, upstreams) = self.gateway_of(now).await?;
        let counted = Counted { ledger: self.ledger.clone(), catalog: self.prices.in_force(), upstreams };
        Ok((gateway.quotas(), counted))
    }

    pub(crate) async fn report(&self, question: &ReportQuestion) -> Result<ReportView, ApiError> {
        let now = self.now();
        let stretch = Stretch::asked(question, now, self.calendar)?;
        let forecasts = self.forecast().await?;
        self.reporter().report(stretch, &forecasts, now).await.map_err(ApiError::machine)
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            ledger: self.ledger.clone(),
            calendar: self.calendar,
            catalog: self.prices.in_force(),
            scores: self.scores.clone(),
            alerts: self.crisis.alerts.clone(),
        }
    }

    /// The one that runs, else one that knows as much of windows and budgets.
    pub(crate) async fn gateway_of(&self, now: Timestamp) -> Result<(Arc<Gateway>, Vec<String>), ApiError> {
        match self.running() {
            Ok(running) => Ok(running),
            Err(_) => self.counted_gateway(now).await,
        }
    }

    /// One that is never opened, and knows what was used of its windows and budgets.
    async fn counted_gateway(&self, now: Timestamp) -> Result<(Arc<Gateway>, Vec<String>), ApiError> {
        let gateway = self.closed_gateway().await.map_err(ApiError::machine)?;
        let upstreams: Vec<String> =
            self.settings().upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
        let counted = Counted { ledger: self.ledger.clone(), catalog: self.prices.in_force(), upstreams };
        gateway.set_clients(known(&lock(&self.clients)));
        for (key, used) in counted.spent(&gateway.quotas(), now).await.map_err(ApiError::machine)? {
            gateway.count(&key, used);
        }
        Ok((gateway, counted.upstreams))
    }

    pub fn clients(&self) -> Vec<ClientView> {
        lock(&self.clients).all().iter().map(|known| show::client(&known.client)).collect()
    }

    /// The same, and when each last called.
    pub(crate) async fn clients_used(&self) -> Result<Vec<ClientView>, ApiError> {
        let mut latest = self.ledger.latest_of_clients().await.map_err(ApiError::machine)?;
        let used = |client: ClientView| {
            let last_call_at = latest.remove(client.name.as_str()).map(|at| at.to_string());
            ClientView { last_call_at, ..client }
        };
        Ok(self.clients().into_iter().map(used).collect())
    }

    pub(crate) fn known_clients(&self) -> Vec<Known> {
        lock(&self.clients).all().to_vec()
    }

    /// The token of a new client. Nobody can show it again.
    pub fn add_client(&self, name: &str, change: &ClientChange) -> Result<String, ApiError> {
        Ok(self.change_clients(|clients| clients.add(name, change))?)
    }

    pub fn set_client(&self, name: &str, change: &ClientChange) -> Result<(), ApiError> {
        Ok(self.change_clients(|clients| clients.set(name, change))?)
    }

    fn change_clients<T>(&self, change: impl FnOnce(&mut Clients) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let mut clients = lock(&self.clients);
        let changed = change(&mut clients)?;
        self.tell_gateway(&clients);
        Ok(changed)
    }

    /// A budget that is new counts what was spent before it was set.
    pub(crate) async fn recount(&self) {
        let serving = lock(&self.serving).clone();
        if let Some(serving) = serving {
            serving.keeping.recount().await;
        }
    }

    /// Makes a client anew: an earlier token of it ends.
    pub(crate) fn renew_client(&self, name: &str, change: &ClientChange) -> Result<String, HostError> {
        let renewed = self.change_clients(|clients| {
            if clients.all().iter().any(|known| *known.client.name == *name) {
                clients.revoke(name)?;
            }
            clients.add(name, change)
        });
        Ok(renewed?)
    }

    /// Running calls of the client finish; none starts.
    pub fn revoke_client(&self, name: &str) -> Result<(), ApiError> {
        self.change_clients(|clients| clients.revoke(name))?;
        Ok(())
    }

    fn tell_gateway(&self, clients: &Clients) {
        if let Some(gateway) = self.gateway() {
            gateway.set_clients(known(clients));
        }
    }

    /// The gateway that runs, and the names of its upstreams.
    pub(crate) fn running(&self) -> Result<(Arc<Gateway>, Vec<String>), ApiError> {
        let serving = lock(&self.serving).clone();
        serving.map(|serving| (serving.gateway, serving.upstreams)).ok_or_else(nothing_runs)
    }

    /// A restart must not let through what is held back, nor take what was set aside.
    pub(crate) async fn keep_now(&self) {
        let serving = lock(&self.serving).clone();
        if let Some(serving) = serving {
            serving.keeping.keep_now().await;
        }
    }

    /// The answers that are kept, whether or not a gateway runs; none where there has never been a cache.
    pub async fn kept_answers(&self) -> Result<KeptView, ApiError> {
        let shelved = match self.answers() {
            Some(answers) => answers.shelved().await,
            None if Answers::exist(&self.dir) => {
                Answers::open(&self.dir).await.map_err(ApiError::machine)?.shelved().await
            }
            None => Ok(Shelved::default()),
        };
        let spend = self.ledger.spend(self.calendar, self.now()).await.map_err(ApiError::machine)?;
        Ok(show::kept(self.settings().cache.is_some(), shelved.map_err(ApiError::machine)?, &spend.month))
    }

    /// Forgets them all, in memory and on the disk. Tells what was there.
    pub async fn forget_answers(&self) -> Result<KeptView, ApiError> {
        let before = self.kept_answers().await?;
        match self.answers() {
            Some(answers) => answers.clear().await.map_err(ApiError::machine)?,
            None if Answers::exist(&self.dir) => {
                let answers = Answers::open(&self.dir).await.map_err(ApiError::machine)?;
                answers.clear().await.map_err(ApiError::machine)?
            }
            None => Shelved::default(),
        };
        Ok(before)
    }

    fn answers(&self) -> Option<Arc<ResponseCache>> {
        lock(&self.serving).as_ref()?.answers.clone()
    }

    pub async fn pause(&self, class: Class) -> Result<(), ApiError> {
        self.running()?.0.pause(class);
        self.keep_now().await;
        Ok(())
    }

    /// Calls of a session or a client wait from now on, until `resume_scope`.
    pub async fn pause_scope(&self, scope: &str) -> Result<(), ApiError> {
        let (gateway, _) = self.running()?;
        if let Some(name) =
            scope.strip_prefix("client:").filter(|name| !self.clients().iter().any(|one| one.name == **name))
        {
            let name = name.escape_default();
            return Err(ApiError::absent(format!("no client is named {name}: `tidegate client list` shows them")));
        }
        if scope.len() > SCOPE_MAX {
            return Err(ApiError::asker(format!("no session has a name of more than {SCOPE_MAX} characters")));
        }
        gateway.pause_scope(scope);
        self.keep_now().await;
        Ok(())
    }

    pub async fn resume_scope(&self, scope: &str) -> Result<(), ApiError> {
        let (gateway, _) = self.running()?;
        if !gateway.resume_scope(scope) {
            let scope = scope.escape_default();
            return Err(ApiError::absent(format!("{scope} is not paused: `tidegate status` shows those that are")));
        }
        self.keep_now().await;
        Ok(())
    }

    pub async fn resume(&self, class: Class) -> Result<(), ApiError> {
        self.running()?.0.resume(class);
        self.keep_now().await;
        Ok(())
    }
}

fn meter(settings: &Settings) -> Result<Option<Arc<Meter>>, HostError> {
    let meter = settings.metrics.then(Meter::new).transpose();
    Ok(meter.map_err(|error| HostError::Metrics(error.to_string()))?.map(Arc::new))
}

/// What earlier runs leave to a gateway.
struct Inheritance {
    memory: Memory,
    past: Vec<Past>,
}

impl Inheritance {
    fn tell(self, gateway: &Gateway) {
        gateway.recall(self.memory);
        gateway.replay(self.past);
    }
}

/// A simulator of ours has no administrators.
fn administered(settings: &Settings, accounts: &[String]) -> Vec<Administered> {
    let administered = settings.upstreams.iter().filter_map(|upstream| {
        let (admin_key, base) = (upstream.admin_key.clone()?, upstream.base_url.clone()?);
        let account = accounts.iter().position(|name| **name == *upstream.name)?;
        Some(Administered { name: upstream.name.clone(), account, base, admin_key })
    });
    administered.collect()
}

fn nothing_runs() -> ApiError {
    ApiError::machine("no gateway runs on this data folder: `tidegate serve` starts one")
}

fn known(clients: &Clients) -> Vec<([u8; 32], Arc<domain::config::Client>)> {
    clients.all().iter().map(|known| (known.token_sha256, known.client.clone())).collect()
}

fn rules(settings: &Settings) -> Rules {
    Rules {
        queue_max: settings.gateway.queue_max,
        calendar: settings.gateway.calendar,
        background: settings.background,
        week_reserve_permille: settings.emergency.enter_week_permille,
        breaker: settings.breaker,
    }
}

/// By their places among those that can be called.
fn fallbacks(settings: &Settings, upstreams: &[gateway::Upstream]) -> Vec<gateway::Fallback> {
    let place = |name: &Arc<str>| {
        let place = upstreams.iter().position(|upstream| *upstream.name == **name);
        if place.is_none() {
            tracing::warn!("[[fallback]] names upstream \"{name}\", which can't be called: it is left out");
        }
        place
    };
    let fallback = |fallback: &settings::Fallback| gateway::Fallback {
        whose: fallback.whose.clone(),
        upstreams: fallback.upstreams.iter().filter_map(place).collect(),
        text: fallback.text.clone(),
    };
    settings.fallbacks.iter().map(fallback).collect()
}

fn config(settings: &Settings, catalog: InForce, attributes: &attribution::InForce) -> Config {
    let gateway = &settings.gateway;
    Config {
        listen: gateway.listen,
        allow_remote: gateway.allow_remote,
        max_wait: gateway.max_wait,
        rules: rules(settings),
        host_names: gateway.host_names.clone(),
        allowed_origins: gateway.allowed_origins.clone(),
        body_budget: gateway.body_budget,
        timeouts: settings.timeouts,
        proxy: gateway.proxy.clone(),
        upstreams: vec![],
        retry: settings.retry,
        fallbacks: vec![],
        budgets: settings.budgets.clone(),
        catalog,
        attributes: attributes.clone(),
        cache: settings.cache,
    }
}

/// Who has the port, where the system tells.
fn taken(error: gateway::StartError, listen: SocketAddr) -> HostError {
    match (error, port::holder(listen)) {
        (gateway::StartError::InUse(address), Some(holder)) => HostError::PortTaken { address, holder },
        (error, _) => HostError::Gateway(error),
    }
}

/// Nothing is kept to be answered again.
struct NoAnswers;

impl gateway::AnswerStore for NoAnswers {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
