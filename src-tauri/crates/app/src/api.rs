//! Everything that a window, a terminal or a script can ask, as one list of typed commands.

use std::path::PathBuf;

use domain::call::{CallId, Class};
use ledger::{By, Filter};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::App;
use crate::bundle::{BundleView, DeviceView};
use crate::changes::ChangeView;
use crate::claude_code::{ClaudeCodeDoneView, ClaudeCodeView};
use crate::clients::{ClientChange, ClientError};
use crate::course::{CourseQuestion, CourseView};
use crate::days::DaysView;
use crate::explain::{self, ExplainView};
use crate::export;
pub use crate::export::{ExportProgressView, ExportQuestion, Exported};
use crate::facts::{FactsView, RulesView};
use crate::import::{ImportView, ProgressView, SourcesView};
use crate::keys::{KeyTestView, UpstreamKeyView};
use crate::minutes::{MinutesQuestion, MinutesView};
use crate::prices::{PriceAnswer, PriceCommand};
use crate::protections::ProtectionView;
use crate::range::{end, range};
use crate::reconcile::ReconcileView;
use crate::report::{ReportQuestion, ReportView};
use crate::savings::SavingsView;
use crate::settings::{SettingChange, SettingsSetView, SettingsView};
use crate::shadow::{ShadowQuestion, ShadowView};
use crate::show;
use crate::tiers::{PurchaseView, TiersView};
use crate::view::{
    AlertView, CallView, ClientView, EmergencyView, ForecastView, KeptView, ObservedView, OutlookView, ReservationView,
    StatusView, UsageView, VerifyView, WaitingView, WhatIfView, WhyView,
};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Status,
    /// `by` as in `tidegate usage --by`; days and moments as in `--from` and `--to`.
    Usage {
        by: Option<String>,
        from: Option<String>,
        to: Option<String>,
    },
    /// Each day's sums; `by` as in `tidegate usage --by`.
    UsageDays {
        by: String,
        from: Option<String>,
        to: Option<String>,
    },
    /// Why a bill is as high as it is; without days this month's.
    Explain {
        from: Option<String>,
        to: Option<String>,
    },
    /// What a week or a month came to.
    Report(ReportQuestion),
    /// The latest calls that ended; of all days where none is named.
    Calls {
        last: u32,
        from: Option<String>,
        to: Option<String>,
    },
    Why {
        call_id: String,
    },
    /// Takes in what is new in Claude Code's logs; without paths those of this user.
    ImportClaudeCode {
        paths: Vec<PathBuf>,
    },
    /// How far the import is that runs now.
    ImportProgress,
    /// Ends it; what was read stays.
    ImportStop,
    /// Which logs of Claude Code an import without paths would read.
    Sources,
    /// Goes on doing so while a gateway runs, or ends it.
    WatchClaudeCode {
        paths: Vec<PathBuf>,
        on: bool,
    },
    /// How Claude Code's settings stand to this gate; those in a folder of the asker's, else this user's.
    ClaudeCode {
        folder: Option<PathBuf>,
    },
    /// Writes this gate into them. `seen`: of the text that the asker was shown.
    ClaudeCodeConnect {
        folder: Option<PathBuf>,
        seen: Option<String>,
    },
    /// Puts back what stood there.
    ClaudeCodeDisconnect,
    /// Writes CSV into a file of the asker's.
    Export {
        question: ExportQuestion,
        file: PathBuf,
    },
    /// Which columns such an export has.
    ExportColumns {
        question: ExportQuestion,
    },
    /// How far the export is that runs now.
    ExportProgress,
    /// Ends it; nothing is written.
    ExportStop,
    /// The ledger against the upstreams' own reports; whole days of UTC.
    Reconcile {
        from: Option<String>,
        to: Option<String>,
    },
    /// The months of this device as a signed file of the asker's; without months the last one and this one.
    ExportBundle {
        from: Option<String>,
        to: Option<String>,
        name: Option<String>,
        tenants: bool,
        file: PathBuf,
    },
    ImportBundles {
        files: Vec<PathBuf>,
    },
    /// The devices that have handed something over.
    BundleList,
    /// By its id, or as much of the beginning as names one.
    BundleForget {
        device: String,
    },
    Verify,
    Backup {
        file: PathBuf,
    },
    ClientAdd {
        name: String,
        change: ClientChange,
    },
    ClientList,
    ClientSet {
        name: String,
        change: ClientChange,
    },
    ClientRevoke {
        name: String,
    },
    /// The keys that the settings name, with the last four characters of each.
    KeyList,
    /// Tries a key with a free call; by its name in the keychain, or as the settings write it.
    KeyTest {
        name: String,
    },
    /// Keys were changed in the keychain: the next call reads them again.
    ForgetKeys,
    /// What the response cache holds and has saved.
    Cache,
    /// Forgets every kept answer.
    CacheClear,
    /// A class, one session as `session:ID`, or one client as `client:NAME`.
    Pause {
        class: String,
    },
    Resume {
        class: String,
    },
    /// What a request body will come to.
    Estimate {
        /// Of the asker's.
        file: PathBuf,
        client: Option<String>,
    },
    /// The calls that wait, the longest first.
    Queue,
    /// By a call's id, or as much of its beginning as names one.
    QueueDrop {
        call: String,
    },
    QueueRaise {
        call: String,
    },
    Reserve(ReserveQuestion),
    Price(PriceCommand),
    /// Lasts until it is left by hand.
    EmergencyOn {
        reason: Option<String>,
    },
    EmergencyOff,
    EmergencyStatus,
    /// The latest first.
    AlertList,
    /// When windows, budgets and the month's spending run out.
    Forecast,
    /// The same, and what it would be with these changes, each as in `tidegate forecast --if`.
    WhatIf {
        changes: Vec<String>,
    },
    /// Calls of the past under other terms.
    Shadow(ShadowQuestion),
    /// What calls could have cost less; without days those of this month.
    Savings {
        from: Option<String>,
        to: Option<String>,
        /// To which short calls would go.
        to_model: Option<String>,
    },
    /// What upstreams changed; without days of the last 90.
    Changes {
        from: Option<String>,
        to: Option<String>,
    },
    /// How that has filled so far of which a forecast tells.
    Course(CourseQuestion),
    /// What a group of models used in each minute of at most a day.
    Minutes(MinutesQuestion),
    /// Alert rules and channels, as they are in force.
    AlertRules,
    /// What the settings make of this machine, and what leaves it.
    Facts,
    /// Which protection is off, and what it would have changed.
    Protections,
    /// The settings file as forms.
    SettingsShow,
    /// Changes it, where it is still the one that was shown with this hash; without one in any case.
    SettingsSet {
        changes: Vec<SettingChange>,
        #[serde(default)]
        hash: Option<String>,
    },
    TierList,
    /// Credit that was bought; `date` as in `--from`, without it now.
    TierPurchase {
        usd: String,
        date: Option<String>,
        upstream: Option<String>,
    },
    /// All that are written down.
    TierPurchaseList,
    /// By its id.
    TierPurchaseRemove {
        id: String,
    },
    /// Below which balance the upstream buys how much by itself; null: nothing.
    TierReload {
        reload: Option<(String, String)>,
        upstream: Option<String>,
    },
    /// One made-up alert by a channel of the settings, or `desktop`.
    AlertTest {
        channel: String,
    },
    /// The client's budget that it is about is half as much again; by its id.
    AlertRaiseCap {
        id: String,
    },
    /// By its id, or as much of the beginning as names one; `until` as in `--to`, without it until the reset.
    AlertSnooze {
        id: String,
        until: Option<String>,
    },
    Release {
        id: String,
        client: String,
    },
}

impl Command {
    /// The demo has no answer to it: it is about what the user has on this machine.
    pub(crate) fn is_about_this_machine(&self) -> bool {
        matches!(
            self,
            Command::Sources
                | Command::ImportClaudeCode { .. }
                | Command::ImportProgress
                | Command::ImportStop
                | Command::WatchClaudeCode { .. }
                | Command::KeyList
                | Command::KeyTest { .. }
                | Command::ClaudeCode { .. }
                | Command::ClaudeCodeConnect { .. }
                | Command::ClaudeCodeDisconnect
        )
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReserveQuestion {
    /// Whose it shall be: by name, else by the hash of its token, else the only client there is.
    pub client: Option<String>,
    pub token_sha256: Option<String>,
    pub calls: u64,
    /// Of all calls together.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub model: String,
    pub ttl_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
pub enum Answer {
    Status(Box<StatusView>),
    Usage(UsageView),
    UsageDays(DaysView),
    Explain(Box<ExplainView>),
    Report(Box<ReportView>),
    Calls(Vec<CallView>),
    Why(Box<WhyView>),
    Verify(VerifyView),
    Kept(KeptView),
    Bundle(BundleView),
    Bundles(Vec<BundleView>),
    Devices(Vec<DeviceView>),
    Reconcile(Box<ReconcileView>),
    Import(ImportView),
    ImportProgress(Option<ProgressView>),
    Columns(Vec<String>),
    ExportProgress(Option<ExportProgressView>),
    Sources(SourcesView),
    ClaudeCode(ClaudeCodeView),
    ClaudeCodeDone(ClaudeCodeDoneView),
    /// Of a new client; nobody can show it again.
    Token(String),
    Clients(Vec<ClientView>),
    Keys(Vec<UpstreamKeyView>),
    KeyTests(Vec<KeyTestView>),
    Estimate(OutlookView),
    Queue(Vec<WaitingView>),
    /// The call that an id or its beginning named.
    Call(String),
    Reservation(ReservationView),
    Price(Box<PriceAnswer>),
    Emergency(Box<EmergencyView>),
    Alerts(Vec<AlertView>),
    Forecasts(Vec<ForecastView>),
    WhatIf(Vec<WhatIfView>),
    Shadow(Box<ShadowView>),
    Changes(Vec<ChangeView>),
    Savings(Box<SavingsView>),
    Course(CourseView),
    Minutes(Box<MinutesView>),
    Rules(RulesView),
    Facts(Box<FactsView>),
    Protections(Vec<ProtectionView>),
    Settings(Box<SettingsView>),
    SettingsSet(SettingsSetView),
    Tiers(Box<TiersView>),
    /// Those there are; or the one that was added or removed.
    Purchases(Vec<PurchaseView>),
    Done,
}

/// One sentence: what went wrong and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{reason}")]
pub struct ApiError {
    pub fault: Fault,
    pub reason: String,
}

/// Whose turn it is to do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The question makes no sense as it stands.
    Asker,
    /// It shows no token, or the wrong one.
    Stranger,
    /// There is no such thing.
    Absent,
    /// It makes sense and can't be done as things stand.
    Machine,
}

impl ApiError {
    pub fn asker(reason: impl ToString) -> ApiError {
        ApiError { fault: Fault::Asker, reason: reason.to_string() }
    }

    pub fn absent(reason: impl ToString) -> ApiError {
        ApiError { fault: Fault::Absent, reason: reason.to_string() }
    }

    pub fn machine(reason: impl ToString) -> ApiError {
        ApiError { fault: Fault::Machine, reason: reason.to_string() }
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> ApiError {
        let fault = match &error {
            ClientError::Wrong { .. } => Fault::Asker,
            ClientError::Unknown { .. } => Fault::Absent,
            ClientError::Taken { .. } | ClientError::NoChance | ClientError::Folder(_) => Fault::Machine,
        };
        ApiError { fault, reason: error.to_string() }
    }
}

/// An error as it goes over HTTP: the envelope that clients of the API know.
#[derive(Serialize, Deserialize)]
struct Envelope {
    r#type: String,
    error: EnvelopeError,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeError {
    r#type: String,
    message: String,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Fault::Asker => "invalid_request_error",
            Fault::Stranger => "authentication_error",
            Fault::Absent => "not_found_error",
            Fault::Machine => "api_error",
        }
    }

    fn named(name: &str) -> Fault {
        let all = [Fault::Asker, Fault::Stranger, Fault::Absent];
        all.into_iter().find(|fault| fault.name() == name).unwrap_or(Fault::Machine)
    }
}

impl ApiError {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let error = EnvelopeError { r#type: self.fault.name().to_owned(), message: self.reason.clone() };
        serde_json::to_vec(&Envelope { r#type: "error".to_owned(), error }).unwrap_or_default()
    }

    pub(crate) fn from_json(json: &[u8]) -> Option<ApiError> {
        let error = serde_json::from_slice::<Envelope>(json).ok()?.error;
        Some(ApiError { fault: Fault::named(&error.r#type), reason: error.message })
    }
}

impl App {
    pub async fn answer(&self, command: Command) -> Result<Answer, ApiError> {
        Ok(match command {
            Command::Status => Answer::Status(Box::new(self.status().await?)),
            Command::Usage { by, from, to } => {
                Answer::Usage(self.usage(by.as_deref(), from.as_deref(), to.as_deref()).await?)
            }
            Command::UsageDays { by, from, to } => {
                Answer::UsageDays(self.usage_days(&by, from.as_deref(), to.as_deref()).await?)
            }
            Command::Explain { from, to } => {
                Answer::Explain(Box::new(self.explain(from.as_deref(), to.as_deref()).await?))
            }
            Command::Report(question) => Answer::Report(Box::new(self.report(&question).await?)),
            Command::Calls { last, from, to } => Answer::Calls(self.calls(last, from.as_deref(), to.as_deref()).await?),
            Command::Why { call_id } => Answer::Why(Box::new(self.why(&call_id).await?)),
            Command::Export { question, file } => {
                self.export(&question, &file).await?;
                Answer::Done
            }
            Command::ExportColumns { question } => Answer::Columns(export::columns(&question)?),
            Command::ExportProgress => Answer::ExportProgress(self.export_progress()),
            Command::ExportStop => {
                self.stop_export();
                Answer::Done
            }
            Command::ImportClaudeCode { paths } => Answer::Import(self.import_claude_code(&paths, |_| {}).await?),
            Command::ImportProgress => Answer::ImportProgress(self.import_progress()),
            Command::ImportStop => {
                self.stop_import();
                Answer::Done
            }
            Command::Sources => Answer::Sources(self.logs_here().await?),
            Command::WatchClaudeCode { paths, on } => {
                self.watch_claude_code(&paths, on).await?;
                Answer::Done
            }
            Command::ClaudeCode { folder } => Answer::ClaudeCode(self.claude_code(folder.as_deref())?),
            Command::ClaudeCodeConnect { folder, seen } => {
                let done = self.connect_claude_code(folder.as_deref(), seen.as_deref())?;
                self.recount().await;
                Answer::ClaudeCodeDone(done)
            }
            Command::ClaudeCodeDisconnect => Answer::ClaudeCodeDone(self.disconnect_claude_code()?),
            Command::Reconcile { from, to } => {
                Answer::Reconcile(Box::new(self.reconcile(from.as_deref(), to.as_deref()).await?))
            }
            Command::ExportBundle { from, to, name, tenants, file } => {
                let months = (from.as_deref(), to.as_deref());
                Answer::Bundle(self.export_bundle(months, name.as_deref(), tenants, &file).await?)
            }
            Command::ImportBundles { files } => Answer::Bundles(self.import_bundles(&files).await?),
            Command::BundleList => Answer::Devices(self.devices().await?),
            Command::BundleForget { device } => {
                self.forget_device(&device).await?;
                Answer::Done
            }
            Command::Verify => Answer::Verify(self.verify().await?),
            Command::Backup { file } => {
                self.ledger.backup(&file).await.map_err(ApiError::machine)?;
                Answer::Done
            }
            Command::ClientAdd { name, change } => {
                let token = self.add_client(&name, &change)?;
                self.recount().await;
                Answer::Token(token)
            }
            Command::ClientList => Answer::Clients(self.clients_used().await?),
            Command::ClientSet { name, change } => {
                self.set_client(&name, &change)?;
                self.recount().await;
                Answer::Done
            }
            Command::ClientRevoke { name } => {
                self.revoke_client(&name)?;
                Answer::Done
            }
            Command::KeyList => Answer::Keys(self.upstream_keys().await),
            Command::KeyTest { name } => Answer::KeyTests(self.test_key(&name).await?),
            Command::ForgetKeys => {
                self.keychain().forget();
                Answer::Done
            }
            Command::Cache => Answer::Kept(self.kept_answers().await?),
            Command::CacheClear => Answer::Kept(self.forget_answers().await?),
            Command::Pause { class } => {
                match is_scope(&class) {
                    true => self.pause_scope(&class).await?,
                    false => self.pause(named_class(&class)?).await?,
                }
                Answer::Done
            }
            Command::Resume { class } => {
                match is_scope(&class) {
                    true => self.resume_scope(&class).await?,
                    false => self.resume(named_class(&class)?).await?,
                }
                Answer::Done
            }
            Command::Estimate { file, client } => Answer::Estimate(self.estimate(&file, client.as_deref()).await?),
            Command::Queue => Answer::Queue(self.queue()?),
            Command::QueueDrop { call } => Answer::Call(self.drop_call(&call)?),
            Command::QueueRaise { call } => Answer::Call(self.raise_call(&call)?),
            Command::Reserve(question) => Answer::Reservation(self.reserve(&question).await?),
            Command::Price(command) => Answer::Price(Box::new(self.price(command).await?)),
            Command::EmergencyOn { reason } => {
                Answer::Emergency(Box::new(self.enter_emergency(reason.as_deref()).await?))
            }
            Command::EmergencyOff => Answer::Emergency(Box::new(self.leave_emergency().await?)),
            Command::EmergencyStatus => Answer::Emergency(Box::new(self.emergency().await)),
            Command::AlertList => Answer::Alerts(self.crisis.alerts.latest(usize::MAX)),
            Command::Forecast => Answer::Forecasts(self.forecast().await?),
            Command::WhatIf { changes } => Answer::WhatIf(self.what_if(&changes).await?),
            Command::Shadow(question) => Answer::Shadow(Box::new(self.shadow(&question).await?)),
            Command::Savings { from, to, to_model } => {
                let days = (from.as_deref(), to.as_deref());
                Answer::Savings(Box::new(self.savings(days, to_model.as_deref()).await?))
            }
            Command::Changes { from, to } => Answer::Changes(self.changes(from.as_deref(), to.as_deref()).await?),
            Command::Course(question) => Answer::Course(self.course(&question).await?),
            Command::Minutes(question) => Answer::Minutes(Box::new(self.minutes(&question).await?)),
            Command::AlertRules => Answer::Rules(self.rules()),
            Command::Facts => Answer::Facts(Box::new(self.facts())),
            Command::Protections => Answer::Protections(self.protections().await?),
            // Whoever holds the file answers these.
            Command::SettingsShow | Command::SettingsSet { .. } | Command::AlertRaiseCap { .. } => {
                return Err(elsewhere());
            }
            Command::TierList => Answer::Tiers(Box::new(self.tiers().await?)),
            Command::TierPurchase { usd, date, upstream } => {
                Answer::Purchases(vec![self.add_purchase(&usd, date.as_deref(), upstream.as_deref())?])
            }
            Command::TierPurchaseList => Answer::Purchases(self.purchases()?),
            Command::TierPurchaseRemove { id } => Answer::Purchases(vec![self.remove_purchase(&id)?]),
            Command::TierReload { reload, upstream } => {
                let reload = reload.as_ref().map(|(below, usd)| (below.as_str(), usd.as_str()));
                self.set_reload(reload, upstream.as_deref())?;
                Answer::Done
            }
            Command::AlertTest { channel } => {
                self.test_channel(&channel).await?;
                Answer::Done
            }
            Command::AlertSnooze { id, until } => Answer::Alerts(vec![self.snooze_alert(&id, until.as_deref())?]),
            Command::Release { id, client } => {
                self.release(&id, &client).await?;
                Answer::Done
            }
        })
    }

    pub async fn usage(&self, by: Option<&str>, from: Option<&str>, to: Option<&str>) -> Result<UsageView, ApiError> {
        let by = by.map_or(Ok(By::Day), By::named).map_err(|wrong| ApiError::asker(format!("--by is {wrong}")))?;
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let report = self.ledger.usage(&by, range.from, range.to, self.calendar).await.map_err(ApiError::machine)?;
        let mut view = show::usage(range, self.calendar.zone_name(), &report.rows, &report.total);
        if by == By::Device {
            view.rows.iter_mut().filter(|row| row.key.is_empty()).for_each(|row| row.key = "this device".to_owned());
        }
        let kept_from = match by {
            By::Session | By::Tag(_) => self.kept_within(range.from).await?,
            By::Day
            | By::Hour
            | By::Model
            | By::Client
            | By::Person
            | By::Project
            | By::Tenant
            | By::Account
            | By::Device
            | By::Upstream => None,
        };
        let reconciled_to = self.reconciled_to();
        Ok(UsageView { reconciled_to, subscription: self.subscription().await?, kept_from, ..view })
    }

    /// Since when calls are kept, where some of those from `from` on were deleted.
    async fn kept_within(&self, from: domain::time::Timestamp) -> Result<Option<String>, ApiError> {
        let kept_from = self.ledger.kept_from().await.map_err(ApiError::machine)?;
        let was_deleted = kept_from > domain::time::Timestamp::default() && from < kept_from;
        Ok(was_deleted.then(|| kept_from.to_string()))
    }

    pub(crate) async fn subscription(&self) -> Result<Option<Vec<ObservedView>>, ApiError> {
        let seen = self.ledger.subscription().await.map_err(ApiError::machine)?;
        Ok(show::subscription(seen, self.now()))
    }

    /// Of this month so far where no days are named.
    pub async fn explain(&self, from: Option<&str>, to: Option<&str>) -> Result<ExplainView, ApiError> {
        let month = self.calendar.start_of_month(self.now()).to_string();
        let from = from.or(to.is_none().then_some(month.as_str()));
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let catalog = self.prices.in_force().get();
        let explanation = self.ledger.explain(&catalog, range.from, range.to).await.map_err(ApiError::machine)?;
        let kept_from = self.kept_within(range.from).await?;
        let view = explain::explained(&explanation, range, self.calendar.zone_name(), &catalog);
        Ok(ExplainView { kept_from, ..view })
    }

    pub async fn calls(&self, last: u32, from: Option<&str>, to: Option<&str>) -> Result<Vec<CallView>, ApiError> {
        let filter = match (from, to) {
            (None, None) => Filter::default(),
            (from, to) => self.filter(Some(from.unwrap_or("1970-01-01")), to, None)?,
        };
        let entries = self.ledger.calls(&filter, last).await.map_err(ApiError::machine)?;
        Ok(entries.iter().map(show::call).collect())
    }

    pub async fn why(&self, call_id: &str) -> Result<WhyView, ApiError> {
        let id: CallId = call_id.parse().map_err(ApiError::asker)?;
        let mut entry = self.ledger.call(id).await.map_err(ApiError::machine)?;
        let changes = self.ledger.price_changes(id).await.map_err(ApiError::machine)?;
        if let Some((entry, last)) = entry.as_mut().zip(changes.last()) {
            entry.cost = Some(last.cost);
            (entry.price_id, entry.estimated) = (Some(last.price_id.as_str().into()), last.estimated);
        }
        let unknown = || {
            ApiError::absent(format!("the ledger has no call {id} that has ended: `tidegate calls` shows the latest"))
        };
        let entry = entry.ok_or_else(unknown)?;
        let provenance = self.ledger.provenance(id).await.map_err(ApiError::machine)?;
        Ok(show::why(&entry, &provenance, &changes, &self.prices.in_force().get(), &self.prices.former()))
    }

    fn snooze_alert(&self, id: &str, until: Option<&str>) -> Result<AlertView, ApiError> {
        let now = self.now();
        let until = until.map(|until| end(until, self.calendar)).transpose().map_err(ApiError::asker)?;
        if let Some(past) = until.filter(|until| *until <= now) {
            return Err(ApiError::asker(format!("{past} has passed: --until names a day or a moment that comes")));
        }
        self.crisis.alerts.snooze(id, until, now)
    }

    pub async fn verify(&self) -> Result<VerifyView, ApiError> {
        let findings = self.ledger.verify(|| self.running_calls()).await.map_err(ApiError::machine)?;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Ok(VerifyView { clean: findings.is_empty(), findings })
    }
}

fn elsewhere() -> ApiError {
    ApiError::machine("nobody holds a settings file here: use `tidegate settings`")
}

/// A session or a client, where a class might stand.
fn is_scope(text: &str) -> bool {
    ["session:", "client:"].iter().any(|kind| text.strip_prefix(kind).is_some_and(|name| !name.is_empty()))
}

fn named_class(name: &str) -> Result<Class, ApiError> {
    Class::named(name).ok_or_else(|| {
        ApiError::asker(format!(
            "there is no class {name:?}: critical, normal or background; or name a session as session:ID, a client as client:NAME"
        ))
    })
}
