//! `tidegate`: the application without a window.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use app::api::{Answer, ApiError, Fault};
use app::control::Desk;
use app::log::Loudness;
use app::settings::Settings;
use app::{HostError, data, log, places, process};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

mod alerts;
mod args;
mod books;
mod bundle;
mod cache;
mod clients;
mod connect;
mod doctor;
mod emergency;
mod explain;
mod forecast;
mod import;
mod keys;
mod minutes;
mod prices;
mod queue;
mod reconcile;
mod report;
mod reserve;
mod savings;
mod serve;
mod settings;
mod shadow;
mod simulate;
mod status;
mod statusline;
mod table;
mod tiers;

use args::{Cli, Command};

/// A call is some hundred small allocations; the system's allocator takes a seventh of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::make_files_private();
    log::start(loudness(&cli));
    match run(cli) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn loudness(cli: &Cli) -> Loudness {
    match (cli.quiet, cli.verbose) {
        (true, _) => Loudness::Quiet,
        (false, 0) => Loudness::Normal,
        (false, 1) => Loudness::Verbose,
        (false, _) => Loudness::Chatty,
    }
}

/// One sentence, and whose turn it is as the exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let sentence = table::lines(&log::redacted(&format!("{error:#}")));
    // Where stderr is closed nobody listens.
    let _ = writeln!(io::stderr(), "tidegate: {sentence}");
    let asker = error.downcast_ref::<ApiError>().is_some_and(|error| error.fault == Fault::Asker);
    if asker { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Who reads our output may stop reading: that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = Place::of(&cli)?;
    let task = async move {
        match cli.command {
            Command::Serve(options) => serve::serve(&place, options).await,
            Command::Client(client) => clients::run(&place, client).await,
            Command::Key(key) => keys::run(&place, key).await,
            Command::Connect(connect) => connect::connect(&place, connect).await,
            Command::Disconnect(disconnect) => connect::disconnect(&place, disconnect).await,
            Command::Status(shape) => status::status(&place, &shape).await,
            Command::Usage(question) => books::usage(&place, question).await,
            Command::Minutes(question) => minutes::run(&place, question).await,
            Command::Explain(question) => explain::explain(&place, question).await,
            Command::Report(question) => report::report(&place, question).await,
            Command::Calls(question) => books::calls(&place, question).await,
            Command::Why(question) => books::why(&place, question).await,
            Command::Export(question) => books::export(&place, question).await,
            Command::Import(import) => import::run(&place, import).await,
            Command::Bundle(bundle) => bundle::run(&place, bundle).await,
            Command::Reconcile(question) => reconcile::reconcile(&place, question).await,
            Command::Price(price) => prices::run(&place, price).await,
            Command::Verify(shape) => books::verify(&place, &shape).await,
            Command::Backup(question) => books::backup(&place, &question.file).await,
            Command::Tier(act) => tiers::run(&place, act).await,
            Command::Forecast(forecast) => forecast::run(&place, &forecast).await,
            Command::Savings(question) => savings::run(&place, question).await,
            Command::Shadow(shadow) => shadow::run(&place, shadow).await,
            Command::Changes(changes) => shadow::changes(&place, &changes).await,
            Command::Estimate(question) => queue::estimate(&place, question).await,
            Command::Pause(class) => queue::pause(&place, class).await,
            Command::Resume(class) => queue::resume(&place, class).await,
            Command::Queue(queue) => queue::run(&place, queue).await,
            Command::Emergency(act) => emergency::run(&place, act).await,
            Command::Alert(act) => alerts::run(&place, act).await,
            Command::Cache(cache) => cache::run(&place, cache).await,
            Command::Reserve(reserve) => reserve::reserve(&place, reserve).await,
            Command::Settings(act) => settings::run(&place, act).await,
            Command::Statusline => statusline::statusline(&place),
            Command::Simulate(options) => simulate::simulate(options).await,
            Command::Doctor(shape) => doctor::doctor(&place, &shape).await,
        }
    };
    let runtime = runtime().context("no threads to run on")?;
    let _inside = runtime.enter();
    process::outlive_file_size_limit();
    runtime.block_on(task)
}

/// One thread where there are few: there a second costs each call more in wake-ups than it brings.
fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = if cores > 2 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.worker_threads(2).enable_all().build()
}

/// Which data and settings this command is about.
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) settings: PathBuf,
}

impl Place {
    fn of(cli: &Cli) -> anyhow::Result<Place> {
        let data_dir = cli.data_dir.clone().or_else(places::data_dir);
        let settings = cli.settings.clone().or_else(places::settings_file);
        Ok(Place {
            data_dir: data_dir.context("no home folder is known: name a data folder with --data-dir")?,
            settings: settings.context("no home folder is known: name a settings file with --settings")?,
        })
    }

    pub(crate) fn load_settings(&self) -> Result<Settings, HostError> {
        Ok(app::settings::load(&self.settings, &data::schemes()?)?)
    }

    pub(crate) async fn desk(&self) -> anyhow::Result<Desk> {
        Ok(Desk::open(&self.data_dir, || self.load_settings()).await?)
    }

    /// One question, asked where it can be answered.
    pub(crate) async fn ask(&self, command: app::api::Command) -> anyhow::Result<Answer> {
        let desk = self.desk().await?;
        let answer = desk.ask(command).await;
        desk.close().await?;
        Ok(answer?)
    }
}

/// The only way to stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(crate) fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(print(&(serde_json::to_string_pretty(value)? + "\n"))?)
}

/// For people beside the answer, where they have not asked for quiet.
pub(crate) fn tell(text: &str) {
    if log::is_quiet() {
        return;
    }
    // Where stderr is closed nobody listens.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The running app answered another question than ours.
pub(crate) fn unexpected() -> anyhow::Error {
    anyhow::anyhow!("the running app answered something else: it may be of another version, restart it")
}
