//! Everything that a window, a terminal or a script can ask, as one list of typed commands.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use domain::call::{CallId, Class};
use ledger::{By, Columns, Filter, Span, SumColumns};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::App;
use crate::alerts::{AlertColumns, write_csv};
use crate::bundle::{BundleView, DeviceView};
use crate::clients::{ClientChange, ClientError};
use crate::explain::{self, ExplainView};
use crate::folder;
use crate::import::{ImportView, ProgressView};
use crate::prices::{PriceAnswer, PriceCommand};
use crate::range::range;
use crate::reconcile::ReconcileView;
use crate::show;
use crate::tiers::TiersView;
use crate::view::{
    AlertView, CallView, ClientView, EmergencyView, ForecastView, KeptView, ObservedView, OutlookView, ReservationView,
    StatusView, UsageView, VerifyView, WaitingView, WhyView,
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
    /// Why a bill is as high as it is; without days this month's.
    Explain {
        from: Option<String>,
        to: Option<String>,
    },
    /// The latest calls that ended.
    Calls {
        last: u32,
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
    /// Goes on doing so while a gateway runs, or ends it.
    WatchClaudeCode {
        paths: Vec<PathBuf>,
        on: bool,
    },
    /// Writes CSV into a file of the asker's.
    Export {
        question: ExportQuestion,
        file: PathBuf,
    },
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
    /// Keys were changed in the keychain: the next call reads them again.
    ForgetKeys,
    /// What the response cache holds and has saved.
    Cache,
    /// Forgets every kept answer.
    CacheClear,
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
    TierList,
    /// Credit that was bought; `date` as in `--from`, without it now.
    TierPurchase {
        usd: String,
        date: Option<String>,
        upstream: Option<String>,
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

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportQuestion {
    pub what: Exported,
    pub from: Option<String>,
    pub to: Option<String>,
    pub client: Option<String>,
    /// `call_id,cost_usd`; all where absent.
    pub columns: Option<String>,
}

/// What a line of an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exported {
    #[default]
    Calls,
    Daily,
    Monthly,
    Alerts,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
pub enum Answer {
    Status(Box<StatusView>),
    Usage(UsageView),
    Explain(Box<ExplainView>),
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
    /// Of a new client; nobody can show it again.
    Token(String),
    Clients(Vec<ClientView>),
    Estimate(OutlookView),
    Queue(Vec<WaitingView>),
    /// The call that an id or its beginning named.
    Call(String),
    Reservation(ReservationView),
    Price(Box<PriceAnswer>),
    Emergency(Box<EmergencyView>),
    Alerts(Vec<AlertView>),
    Forecasts(Vec<ForecastView>),
    Tiers(Box<TiersView>),
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
            Command::Explain { from, to } => {
                Answer::Explain(Box::new(self.explain(from.as_deref(), to.as_deref()).await?))
            }
            Command::Calls { last } => Answer::Calls(self.calls(last).await?),
            Command::Why { call_id } => Answer::Why(Box::new(self.why(&call_id).await?)),
            Command::Export { question, file } => {
                self.export(&question, &file).await?;
                Answer::Done
            }
            Command::ImportClaudeCode { paths } => Answer::Import(self.import_claude_code(&paths, |_| {}).await?),
            Command::ImportProgress => Answer::ImportProgress(self.import_progress()),
            Command::WatchClaudeCode { paths, on } => {
                self.watch_claude_code(&paths, on).await?;
                Answer::Done
            }
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
            Command::ClientList => Answer::Clients(self.clients()),
            Command::ClientSet { name, change } => {
                self.set_client(&name, &change)?;
                self.recount().await;
                Answer::Done
            }
            Command::ClientRevoke { name } => {
                self.revoke_client(&name)?;
                Answer::Done
            }
            Command::ForgetKeys => {
                self.keychain().forget();
                Answer::Done
            }
            Command::Cache => Answer::Kept(self.kept_answers().await?),
            Command::CacheClear => Answer::Kept(self.forget_answers().await?),
            Command::Pause { class } => {
                self.pause(named_class(&class)?).await?;
                Answer::Done
            }
            Command::Resume { class } => {
                self.resume(named_class(&class)?).await?;
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
            Command::TierList => Answer::Tiers(Box::new(self.tiers().await?)),
            Command::TierPurchase { usd, date, upstream } => {
                self.add_purchase(&usd, date.as_deref(), upstream.as_deref())?;
                Answer::Done
            }
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
        Ok((from < kept_from).then(|| kept_from.to_string()))
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

    pub async fn calls(&self, last: u32) -> Result<Vec<CallView>, ApiError> {
        let entries = self.ledger.calls(&Filter::default(), last).await.map_err(ApiError::machine)?;
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
        Ok(show::why(&entry, &provenance, &changes, &self.prices.in_force().get()))
    }

    async fn export(&self, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        match question.what {
            Exported::Calls => self.export_calls(question, file).await,
            Exported::Daily => self.export_sums(Span::Day, question, file).await,
            Exported::Monthly => self.export_sums(Span::Month, question, file).await,
            Exported::Alerts => self.export_alerts(question, file),
        }
    }

    async fn export_calls(&self, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        let columns =
            question.columns.as_deref().map_or(Ok(Columns::all()), Columns::named).map_err(ApiError::asker)?;
        let (filter, mut out) = (self.filter(question)?, asked_for(file)?);
        self.ledger.export_calls(&filter, &columns, &mut out).await.map_err(ApiError::machine)
    }

    async fn export_sums(&self, span: Span, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        let columns =
            question.columns.as_deref().map_or(Ok(SumColumns::all()), SumColumns::named).map_err(ApiError::asker)?;
        let (filter, mut out) = (self.filter(question)?, asked_for(file)?);
        let written = self.ledger.export_sums(span, &filter, self.calendar, &columns, &mut out).await;
        written.map_err(ApiError::machine)
    }

    fn export_alerts(&self, question: &ExportQuestion, file: &Path) -> Result<(), ApiError> {
        let columns = question.columns.as_deref().map_or(Ok(AlertColumns::all()), AlertColumns::named);
        let columns = columns.map_err(ApiError::asker)?;
        let (from, to) = (question.from.as_deref(), question.to.as_deref());
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let (mut alerts, mut out) = (self.crisis.alerts.latest(usize::MAX), asked_for(file)?);
        alerts.reverse();
        let written = write_csv(&alerts, (range.from, range.to), question.client.as_deref(), &columns, &mut out);
        written.map_err(ApiError::machine)
    }

    fn snooze_alert(&self, id: &str, until: Option<&str>) -> Result<AlertView, ApiError> {
        let now = self.now();
        let until = match until {
            Some(until) => {
                Some(range(Some(&now.to_string()), Some(until), self.calendar, now).map_err(ApiError::asker)?.to)
            }
            None => None,
        };
        self.crisis.alerts.snooze(id, until, now)
    }

    fn filter(&self, question: &ExportQuestion) -> Result<Filter, ApiError> {
        let (from, to) = (question.from.as_deref(), question.to.as_deref());
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        Ok(Filter { from: Some(range.from), to: Some(range.to), client: question.client.as_deref().map(Into::into) })
    }

    pub async fn verify(&self) -> Result<VerifyView, ApiError> {
        let findings = self.ledger.verify(|| self.running_calls()).await.map_err(ApiError::machine)?;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Ok(VerifyView { clean: findings.is_empty(), findings })
    }
}

/// A file of the asker's, which nobody else may read.
fn asked_for(file: &Path) -> Result<File, ApiError> {
    let mut options = OpenOptions::new();
    let out = folder::private(options.write(true).create(true).truncate(true)).open(file);
    out.map_err(|reason| ApiError::machine(format!("{} can't be written: {reason}", file.display())))
}

fn named_class(name: &str) -> Result<Class, ApiError> {
    Class::named(name)
        .ok_or_else(|| ApiError::asker(format!("there is no class {name}: critical, normal or background")))
}
