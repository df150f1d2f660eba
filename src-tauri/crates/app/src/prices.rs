//! Prices: the table that comes with the program or a newer one from a file, over it what is set by hand,
//! and history at other prices where somebody asks for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::catalog::{Catalog, InForce, Market, OwnPrice, matches};
use domain::price::{Platform, Reach};
use domain::time::Timestamp;
use ledger::{Changed, Repriced, Repricing, Unfinished};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::App;
use crate::api::ApiError;
use crate::clients::hex;
use crate::data::{DataError, PRICES};
use crate::folder::{self, FolderError};
use crate::range::{range, start};
use crate::settings::{Settings, Upstream, UpstreamKind};

mod diff;
mod explain;
mod file;
mod former;
mod own;
pub(crate) mod shown;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use explain::{Explained, explained};
pub use file::BadFile;
pub(crate) use file::{Table, first_moment};
pub(crate) use former::Former;
pub use view::{
    AppliedRowView, AppliedView, ElsewhereView, FigureView, OwnPriceView, PriceChangeView, PriceListView, PriceRowView,
    PriceSetView, PriceUpdateView, RatesView, TableView,
};

use own::OwnRow;

/// An installed price file's place in the data folder.
const FILE: &str = "price-table.json";

const REASON_CHARS_MAX: usize = 200;

const BUILT_IN: &str = "built in";

/// What can be asked of prices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "price", rename_all = "snake_case", deny_unknown_fields)]
pub enum PriceCommand {
    List {
        model: Option<String>,
    },
    /// `value` is dollars per million tokens, per 1,000 web searches, `15%`, or `list`.
    Set {
        model: String,
        class: String,
        value: String,
        from: Option<String>,
    },
    /// Without a day all that is set for the class.
    Unset {
        model: String,
        class: String,
        from: Option<String>,
    },
    /// Shows what a file would change; installs it where `install` is the digest of what was shown.
    Update {
        file: PathBuf,
        install: Option<String>,
    },
    /// Back to the table that comes with the program.
    Reset,
    /// Gives the calls of a time the prices of today's catalogue.
    Apply {
        from: Option<String>,
        to: Option<String>,
        reason: Option<String>,
        dry_run: bool,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "price", content = "value", rename_all = "snake_case")]
pub enum PriceAnswer {
    List(PriceListView),
    Set(PriceSetView),
    Update(PriceUpdateView),
    Applied(AppliedView),
}

/// The prices of one data folder.
pub(crate) struct Prices {
    dir: PathBuf,
    in_force: InForce,
    markets: Vec<(Arc<str>, Market)>,
    kept: Mutex<Kept>,
}

/// What the files hold.
struct Kept {
    table: Table,
    /// `built in`, or the path of an installed one.
    origin: String,
    /// Why an installed file is not in force.
    fault: Option<String>,
    own: Result<Vec<OwnRow>, String>,
}

impl Prices {
    /// What can't be read is named and left aside: calls go on, at the prices that are known.
    pub(crate) fn open(dir: &Path, settings: &Settings, now: Timestamp) -> Result<Prices, DataError> {
        let kept = Kept::read(dir)?;
        for fault in kept.faults() {
            tracing::warn!("{fault}");
        }
        let markets = settings.upstreams.iter().map(|upstream| (upstream.name.clone(), market(upstream))).collect();
        let prices = Prices { dir: dir.to_owned(), in_force: InForce::default(), markets, kept: Mutex::new(kept) };
        prices.take_effect(&prices.kept(), now);
        Ok(prices)
    }

    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// What is wrong with the files, for `doctor`.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.kept().faults()
    }

    /// Which table is in force, in a few words.
    pub(crate) fn origin(&self) -> String {
        let kept = self.kept();
        format!("{} ({} rows, read on {})", kept.origin, kept.table.prices.len(), kept.table.read)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was in force before, from the latest on.
    pub(crate) fn former(&self) -> Vec<Former> {
        former::catalogs(&self.dir, &self.markets).unwrap_or_else(|error| {
            tracing::warn!("prices that hold no more can't be told: {error}");
            vec![]
        })
    }

    fn take_effect(&self, kept: &Kept, now: Timestamp) {
        let catalog = kept.table.catalog().with_own(kept.own_prices()).with_markets(self.markets.iter().cloned());
        self.in_force.set(catalog);
        if let Err(error) = former::keep(&self.dir, &kept.table, kept.own.as_deref().unwrap_or_default(), now) {
            tracing::warn!("prices that hold no more can't be kept for those calls that they are of: {error}");
        }
    }

    fn list(&self, model: Option<&str>, now: Timestamp) -> Result<PriceListView, ApiError> {
        let catalog = self.in_force.get();
        let kept = self.kept();
        let wanted = |name: &str| wants(&catalog, model, name);
        let own = kept.own.as_deref().unwrap_or_default();
        let own: Vec<OwnPriceView> = own
            .iter()
            .filter(|row| model.is_none_or(|model| matches(&row.model, model) || matches(model, &row.model)))
            .map(|row| shown::own(row, Timestamp::parse(&row.from).is_some_and(|from| from <= now)))
            .collect();
        let prices = shown::rows(&catalog, &wanted, now);
        if let Some(model) = model.filter(|_| prices.is_empty() && own.is_empty()) {
            let estimate = catalog.quote("", model, now).map(|quote| {
                let id = &quote.price.id;
                format!("calls of it are estimated at {id}; `tidegate price set {model} input …` names its price")
            });
            let advice = estimate.unwrap_or_else(|| format!("`tidegate price set {model} input …` names its price"));
            return Err(ApiError::absent(format!("no price of {model:?} is known: {advice}")));
        }
        let elsewhere = catalog.misprints().iter().filter(|misprint| wanted(&misprint.price.model));
        Ok(PriceListView {
            at: now.to_string(),
            table: kept.shown(),
            prices,
            own,
            own_fault: kept.own.as_ref().err().cloned(),
            elsewhere: elsewhere.map(shown::elsewhere).collect(),
        })
    }

    /// From the returned moment on; what stood there for the same moment is replaced.
    fn set(&self, row: OwnRow, now: Timestamp) -> Result<PriceSetView, ApiError> {
        let mut kept = self.kept();
        let mut rows = kept.own.clone().map_err(ApiError::machine)?;
        let (removed, mut rows): (Vec<OwnRow>, Vec<OwnRow>) = rows.drain(..).partition(|earlier| earlier.is_same(&row));
        rows.push(row.clone());
        self.keep(&mut kept, rows, now)?;
        Ok(self.changed(&[row], &removed))
    }

    fn unset(
        &self,
        model: &str,
        class: &str,
        from: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<PriceSetView, ApiError> {
        let mut kept = self.kept();
        let rows = kept.own.clone().map_err(ApiError::machine)?;
        let goes = |row: &OwnRow| {
            row.model == model
                && row.class == class
                && from.is_none_or(|from| Timestamp::parse(&row.from) == Some(from))
        };
        let (removed, rows): (Vec<OwnRow>, Vec<OwnRow>) = rows.into_iter().partition(goes);
        if removed.is_empty() {
            return Err(ApiError::absent(format!(
                "no {class} of {model} is set{}: `tidegate price list` shows what is",
                from.map_or_else(String::new, |from| format!(" from {from}"))
            )));
        }
        self.keep(&mut kept, rows, now)?;
        Ok(self.changed(&[], &removed))
    }

    fn keep(&self, kept: &mut Kept, rows: Vec<OwnRow>, now: Timestamp) -> Result<(), ApiError> {
        own::write(&self.dir, &rows).map_err(ApiError::machine)?;
        kept.own = Ok(rows);
        self.take_effect(kept, now);
        Ok(())
    }

    fn changed(&self, set: &[OwnRow], removed: &[OwnRow]) -> PriceSetView {
        let catalog = self.in_force.get();
        let mut models: Vec<String> = catalog
            .prices()
            .map(|price| price.model.to_string())
            .filter(|model| set.iter().chain(removed).any(|row| wants(&catalog, Some(&row.model), model)))
            .collect();
        models.dedup();
        let shown = |rows: &[OwnRow]| rows.iter().map(|row| shown::own(row, false)).collect();
        PriceSetView { set: shown(set), removed: shown(removed), models, earlier_calls: 0 }
    }

    fn update(&self, path: &Path, install: Option<&str>, now: Timestamp) -> Result<PriceUpdateView, ApiError> {
        let text =
            file::read(path).map_err(|error| ApiError::asker(format!("{} can't be read: {error}", path.display())))?;
        let table = Table::parse(&text)
            .map_err(|bad| ApiError::asker(format!("{}, {bad}; nothing was changed", path.display())))?;
        let built_in = built_in().map_err(ApiError::machine)?;
        if table.read < built_in.read {
            return Err(ApiError::asker(format!(
                "{} was read on {}, before the table that comes with this program ({}): the newer one stays in force",
                path.display(),
                table.read,
                built_in.read
            )));
        }
        let digest = hex(&Sha256::digest(&text));
        let mut kept = self.kept();
        let mut view = PriceUpdateView {
            file: path.display().to_string(),
            read: table.read.clone(),
            source: table.source.clone(),
            rows: table.prices.len(),
            before: kept.shown(),
            changes: diff::diff(&kept.table, &table),
            skipped: table.skipped.clone(),
            digest: digest.clone(),
            installed: false,
        };
        let Some(shown) = install else { return Ok(view) };
        if shown != digest {
            let changed = format!("{} has changed since it was shown: look at it once more", path.display());
            return Err(ApiError::machine(changed));
        }
        let place = self.dir.join(FILE);
        folder::replace(&place, &text).map_err(ApiError::machine)?;
        (kept.table, kept.origin, kept.fault) = (table, place.display().to_string(), None);
        self.take_effect(&kept, now);
        view.installed = true;
        Ok(view)
    }

    fn reset(&self, now: Timestamp) -> Result<(), ApiError> {
        let mut kept = self.kept();
        let place = self.dir.join(FILE);
        match std::fs::remove_file(&place) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(reason) => return Err(ApiError::machine(FolderError::File { file: place, what: "removed", reason })),
        }
        (kept.table, kept.origin, kept.fault) = (built_in().map_err(ApiError::machine)?, BUILT_IN.to_owned(), None);
        self.take_effect(&kept, now);
        Ok(())
    }
}

impl Kept {
    fn read(dir: &Path) -> Result<Kept, DataError> {
        let built_in = built_in()?;
        let own = own::read(dir);
        let place = dir.join(FILE);
        let (table, fault) = match installed(&place) {
            Ok(None) => (None, None),
            Ok(Some(table)) if table.read < built_in.read => {
                let newer = format!(
                    "{} was read on {}, before the table that comes with this program ({}): that one is in force",
                    place.display(),
                    table.read,
                    built_in.read
                );
                (None, Some(newer))
            }
            Ok(Some(table)) => (Some(table), None),
            Err(reason) => (None, Some(format!("{reason}; the prices that come with the program are in force"))),
        };
        let origin = if table.is_some() { place.display().to_string() } else { BUILT_IN.to_owned() };
        Ok(Kept { table: table.unwrap_or(built_in), origin, fault, own })
    }

    fn own_prices(&self) -> Vec<OwnPrice> {
        let rows = self.own.as_deref().unwrap_or_default();
        rows.iter().filter_map(|row| row.own().ok()).collect()
    }

    fn faults(&self) -> Vec<String> {
        let own = self.own.as_ref().err().map(|fault| format!("the prices set by hand are not in force: {fault}"));
        self.fault.iter().cloned().chain(own).collect()
    }

    fn shown(&self) -> TableView {
        TableView {
            file: self.origin.clone(),
            read: self.table.read.clone(),
            source: self.table.source.clone(),
            rows: self.table.prices.len(),
            fault: self.fault.clone(),
        }
    }
}

fn built_in() -> Result<Table, DataError> {
    Ok(Table::parse(PRICES.as_bytes())?)
}

fn installed(place: &Path) -> Result<Option<Table>, String> {
    let text = match std::fs::read(place) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} can't be read: {error}", place.display())),
    };
    Table::parse(&text).map(Some).map_err(|bad| format!("{}, {bad}", place.display()))
}

/// Does a question about `asked`, an id, an alias or a pattern, ask about a listed model?
fn wants(catalog: &Catalog, asked: Option<&str>, model: &str) -> bool {
    asked.is_none_or(|asked| matches(asked, model) || catalog.known_name(asked) == Some(model))
}

/// Where the models of an upstream are bought, as its kind and its address tell.
fn market(upstream: &Upstream) -> Market {
    let host = upstream.base_url.as_ref().map(|base| base.authority()).unwrap_or_default();
    let regional = |is: bool| if is { Reach::Regional } else { Reach::Global };
    match upstream.kind {
        // Its older door names the region in the model's id.
        UpstreamKind::Bedrock => Market { platform: Platform::Bedrock, reach: regional(host.contains("mantle")) },
        UpstreamKind::Vertex => {
            let is_global = host.is_empty() || host.starts_with("aiplatform.googleapis.com");
            Market { platform: Platform::Vertex, reach: regional(!is_global) }
        }
        UpstreamKind::Anthropic
        | UpstreamKind::OpenAi
        | UpstreamKind::Gemini
        | UpstreamKind::Compatible
        | UpstreamKind::Simulator => Market::default(),
    }
}

impl App {
    pub async fn price(&self, command: PriceCommand) -> Result<PriceAnswer, ApiError> {
        let now = self.now();
        match command {
            PriceCommand::List { model } => Ok(PriceAnswer::List(self.prices.list(model.as_deref(), now)?)),
            PriceCommand::Set { model, class, value, from } => {
                let row = OwnRow::of((&model, &class, &value), from.as_deref(), self.calendar, now)?;
                let since = Timestamp::parse(&row.from).unwrap_or(now);
                self.with_earlier_calls(self.prices.set(row, now)?, since).await
            }
            PriceCommand::Unset { model, class, from } => {
                let from = from.map(|from| start(&from, self.calendar)).transpose().map_err(ApiError::asker)?;
                let set = self.prices.unset(&model, &class, from, now)?;
                let since = set.removed.iter().filter_map(|row| Timestamp::parse(&row.from)).min().unwrap_or(now);
                self.with_earlier_calls(set, since).await
            }
            PriceCommand::Update { file, install } => {
                Ok(PriceAnswer::Update(self.prices.update(&file, install.as_deref(), now)?))
            }
            PriceCommand::Reset => {
                self.prices.reset(now)?;
                Ok(PriceAnswer::List(self.prices.list(None, now)?))
            }
            PriceCommand::Apply { from, to, reason, dry_run } => {
                let applied = self.apply(from.as_deref(), to.as_deref(), reason.as_deref(), dry_run).await?;
                Ok(PriceAnswer::Applied(applied))
            }
        }
    }

    async fn with_earlier_calls(&self, set: PriceSetView, since: Timestamp) -> Result<PriceAnswer, ApiError> {
        let earlier_calls = self.ledger.calls_since(since).await.map_err(ApiError::machine)?;
        Ok(PriceAnswer::Set(PriceSetView { earlier_calls, ..set }))
    }

    /// What calls cost counts anew against budgets too.
    async fn apply(
        &self,
        from: Option<&str>,
        to: Option<&str>,
        reason: Option<&str>,
        dry_run: bool,
    ) -> Result<AppliedView, ApiError> {
        let range = range(from, to, self.calendar, self.now()).map_err(ApiError::asker)?;
        let catalog = self.prices.in_force.get();
        if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
            return Err(ApiError::asker(format!(
                "--reason stands beside every call: at most {REASON_CHARS_MAX} characters"
            )));
        }
        let reason = reason.map_or_else(|| format!("prices applied, table {}", self.prices.origin()), str::to_owned);
        let ask =
            Repricing { from: range.from, to: range.to, catalog: &catalog, now: self.now(), reason: &reason, dry_run };
        let repriced = self.ledger.reprice(&ask).await;
        let changed = repriced.as_ref().map_or_else(|stopped| stopped.repriced, |repriced| repriced.repriced);
        if changed > 0 && !dry_run {
            self.recount().await;
        }
        let repriced = repriced.map_err(|stopped| ApiError::machine(how_far(&stopped, dry_run)))?;
        let (from, to) = (range.from.to_string(), range.to.to_string());
        let timezone = self.calendar.zone_name().to_owned();
        Ok(AppliedView { from, to, timezone, dry_run, ..applied(&repriced) })
    }
}

fn how_far(stopped: &Unfinished, dry_run: bool) -> String {
    let Unfinished { repriced, through, error } = stopped;
    match (dry_run, repriced) {
        (true, _) => error.to_string(),
        (false, 0) => format!("{error}; no call was repriced"),
        (false, _) => format!(
            "{error}; {repriced} calls, up to those that started at {through}, have their new price and keep it: the same command once more does the rest and changes none of them again"
        ),
    }
}

fn applied(repriced: &Repriced) -> AppliedView {
    let id = |id: &str| (!id.is_empty()).then(|| id.to_owned());
    let row = |((model, old, new), changed): (&(String, String, String), &Changed)| AppliedRowView {
        model: model.clone(),
        old_price_id: id(old),
        new_price_id: id(new),
        calls: changed.calls,
        old_usd: changed.before.map(|usd| usd.to_string()),
        new_usd: Some(changed.after.to_string()),
    };
    AppliedView {
        calls: repriced.calls,
        repriced: repriced.repriced,
        were_unpriced: repriced.were_unpriced,
        kept: repriced.kept,
        still_unpriced: repriced.still_unpriced,
        before_usd: repriced.before.to_string(),
        after_usd: repriced.after.to_string(),
        changes: repriced.changes.iter().map(row).collect(),
        ..AppliedView::default()
    }
}
