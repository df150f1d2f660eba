//! Looks for what could keep calls from working: settings, folder, database, keychain, port, clock, and the way to each upstream.

mod retention;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use domain::time::Timestamp;
use gateway::ProxyUse;
use ledger::Filter;
use serde::Serialize;

use crate::api::{Answer, ApiError, Command};
use crate::control::Desk;
use crate::keychain::Keychain;
use crate::outbound::{client, root_cause};
use crate::prices::{PriceAnswer, PriceCommand, PriceListView};
use crate::protections::ProtectionView;
use crate::settings::{BaseUrl, KeyRef, Settings, Upstream};
use crate::{App, account, clock, data, passed_over, port, settings};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    pub what: String,
    pub verdict: Verdict,
    /// What was found and, unless it passed, what to do.
    pub says: String,
}

fn check(what: impl Into<String>, verdict: Verdict, says: impl ToString) -> Check {
    Check { what: what.into(), verdict, says: says.to_string() }
}

pub async fn examine(data_dir: &Path, settings_file: &Path) -> Vec<Check> {
    let settings = match data::schemes().map(|schemes| settings::load(settings_file, &schemes)) {
        Ok(Ok(settings)) => settings,
        Ok(Err(wrong)) => return vec![check("settings", Verdict::Fail, wrong)],
        Err(fault) => return vec![check("settings", Verdict::Fail, fault)],
    };
    let mut checks = vec![settings_check(&settings, settings_file)];
    checks.extend(books(data_dir, &settings).await);
    checks.extend(retention::checks(data_dir));
    checks.push(skipped(data_dir));
    checks.extend(keys(data_dir, &settings).await);
    for upstream in &settings.upstreams {
        if let Some(base) = &upstream.base_url {
            checks.extend(way_to(&upstream.name, base, &settings).await);
            checks.extend(limits_told(upstream, base, data_dir, &settings).await);
        }
    }
    checks.push(proxy(&settings.gateway.proxy));
    checks
}

fn settings_check(settings: &Settings, file: &Path) -> Check {
    let found = match file.exists() {
        true => format!("{} is fine", file.display()),
        false => format!("{} does not exist: defaults are in force", file.display()),
    };
    if settings.upstreams.is_empty() {
        return check(
            "settings",
            Verdict::Warn,
            format!("{found}; calls can't leave without an [[upstream]]: add one"),
        );
    }
    check("settings", Verdict::Pass, format!("{found}; upstreams: {}", settings.upstreams.len()))
}

/// Folder, database, port and clock: asked of the app that runs, or looked at here.
async fn books(data_dir: &Path, settings: &Settings) -> Vec<Check> {
    let own = settings.clone();
    match Desk::open(data_dir, || Ok(own)).await {
        Ok(Desk::Here { app, folder: _held }) => {
            let mut checks = vec![check("data folder", Verdict::Pass, format!("{} is ours", data_dir.display()))];
            checks.push(database(&app).await);
            checks.push(prices(&app));
            checks.push(clock_check(&app).await);
            checks.extend(subscription(&app).await);
            checks.extend(protected(app.protections().await));
            checks.push(port_check(settings.gateway.listen));
            if let Err(error) = app.close().await {
                checks.push(check("database", Verdict::Fail, error));
            }
            checks
        }
        Ok(desk @ Desk::There(_)) => {
            let mut checks = vec![running(&desk).await, prices_there(&desk).await];
            match desk.ask(Command::Protections).await {
                Ok(Answer::Protections(views)) => checks.extend(protected(Ok(views))),
                Ok(_) => {}
                Err(error) => checks.extend(protected(Err(error))),
            }
            checks
        }
        Err(error) => vec![check("data folder", Verdict::Fail, error)],
    }
}

/// Whether to have a protection is the user's to say: one that is off is warned of where it would have made a difference.
fn protected(views: Result<Vec<ProtectionView>, ApiError>) -> Vec<Check> {
    let of = |view: ProtectionView| {
        let says = if view.on { view.says } else { format!("off: {}; {}", view.says, view.how) };
        check(format!("protection: {}", view.name), if view.missed { Verdict::Warn } else { Verdict::Pass }, says)
    };
    match views {
        Ok(views) => views.into_iter().map(of).collect(),
        Err(error) => vec![check("protections", Verdict::Fail, error)],
    }
}

async fn running(desk: &Desk) -> Check {
    let Desk::There(instance) = desk else { return check("app", Verdict::Pass, "not running") };
    let found = format!("{} (pid {}) runs on {}", instance.program, instance.pid, instance.address);
    match desk.ask(Command::Status).await {
        Ok(_) => check("app", Verdict::Pass, found),
        Err(error) => check("app", Verdict::Fail, error),
    }
}

async fn database(app: &App) -> Check {
    match app.verify().await {
        Ok(verdict) if verdict.clean => {
            let sqlite = app.ledger.sqlite_version().await.unwrap_or_default();
            check("database", Verdict::Pass, format!("the ledger is whole and adds up (SQLite {sqlite})"))
        }
        Ok(verdict) => {
            check("database", Verdict::Fail, format!("{}: see `tidegate verify`", verdict.findings.join("; ")))
        }
        Err(error) => check("database", Verdict::Fail, error),
    }
}

/// Limits of a subscription are never guessed: Claude Code tells them, or nobody knows.
async fn subscription(app: &App) -> Option<Check> {
    let what = "subscription";
    let told = match app.subscription().await {
        Ok(told) => told?,
        Err(error) => return Some(check(what, Verdict::Fail, error)),
    };
    let known = told.iter().filter_map(|seen| Some(format!("{} {:.0} %", seen.window, seen.used_percent?)));
    let known: Vec<String> = known.collect();
    Some(if known.is_empty() {
        let says =
            "limit unknown: name `tidegate statusline` as statusLine.command in Claude Code's settings, and it is kept";
        check(what, Verdict::Warn, says)
    } else {
        check(what, Verdict::Pass, format!("as Claude Code last said: {}", known.join(", ")))
    })
}

/// What can't be read is not in force, and calls cost what the rest says.
fn prices(app: &App) -> Check {
    let origin = app.prices.origin();
    match app.prices.faults().as_slice() {
        [] => check("prices", Verdict::Pass, origin),
        faults => check("prices", Verdict::Fail, format!("{}; in force: {origin}", faults.join("; "))),
    }
}

async fn prices_there(desk: &Desk) -> Check {
    let list = desk.ask(Command::Price(PriceCommand::List { model: None })).await;
    match list {
        Ok(Answer::Price(answer)) => match *answer {
            PriceAnswer::List(PriceListView { table, own_fault, .. }) => {
                let in_force = format!("{} ({} rows, read on {})", table.file, table.rows, table.read);
                let faults: Vec<String> = table.fault.into_iter().chain(own_fault).collect();
                match faults.is_empty() {
                    true => check("prices", Verdict::Pass, in_force),
                    false => check("prices", Verdict::Fail, format!("{}; in force: {in_force}", faults.join("; "))),
                }
            }
            PriceAnswer::Set(_) | PriceAnswer::Update(_) | PriceAnswer::Applied(_) => strange_answer(),
        },
        Ok(_) => strange_answer(),
        Err(error) => check("prices", Verdict::Fail, error),
    }
}

fn strange_answer() -> Check {
    check("prices", Verdict::Warn, "the running app answered something else: it may be of another version, restart it")
}

/// A clock that went back would put calls before those that are written.
async fn clock_check(app: &App) -> Check {
    let now = clock::now().timestamp;
    let latest =
        app.ledger.calls(&Filter::default(), 1).await.ok().and_then(|calls| calls.first().map(|entry| entry.ended_at));
    let tolerated = now.after(Duration::from_secs(60));
    match latest {
        Some(latest) if latest > tolerated => check(
            "clock",
            Verdict::Warn,
            format!("the ledger's latest call ended at {latest}, after now ({now}): set the clock"),
        ),
        Some(_) | None if now < Timestamp::from_millis(1_760_000_000_000) => check(
            "clock",
            Verdict::Warn,
            format!("it says {now}, which is before this program was made: set the clock"),
        ),
        Some(_) | None => check("clock", Verdict::Pass, format!("{now}, zone {}", app.calendar.zone_name())),
    }
}

/// Of logs and telemetry: what is skipped is in no total.
fn skipped(data_dir: &Path) -> Check {
    let what = "skipped data";
    match passed_over::Kept::read(data_dir).map(|kept| kept.says(clock::now().timestamp)) {
        Ok(None) => check(what, Verdict::Pass, "nothing was passed over"),
        Ok(Some((says, recent))) => {
            let verdict = if recent { Verdict::Warn } else { Verdict::Pass };
            check(what, verdict, format!("passed over, and in no total: {says}"))
        }
        Err(error) => check(what, Verdict::Warn, error),
    }
}

fn port_check(listen: SocketAddr) -> Check {
    match std::net::TcpListener::bind(listen) {
        Ok(_) => check("port", Verdict::Pass, format!("{listen} is free")),
        Err(error) => {
            let holder = port::holder(listen).map_or_else(|| error.to_string(), |holder| format!("{holder} has it"));
            check(
                "port",
                Verdict::Fail,
                format!("{listen} can't be used: {holder}; end that or set another listen address"),
            )
        }
    }
}

/// The keychain, where the settings need it, and every other key.
async fn keys(data_dir: &Path, settings: &Settings) -> Vec<Check> {
    let keychain = Keychain::of_system(data_dir);
    let mut checks = vec![];
    for upstream in &settings.upstreams {
        let Some(key) = &upstream.key else { continue };
        let origin = upstream.base_url.as_ref().map_or("", BaseUrl::origin);
        let what = format!("key of {}", upstream.name);
        let found = match key {
            KeyRef::Keychain(name) => keychain.look(name, origin).await,
            KeyRef::Env(_) | KeyRef::File(_) => keychain.key(key, origin).await.map(drop),
        };
        checks.push(match found {
            Ok(()) => check(what, Verdict::Pass, format!("{key} can be read")),
            Err(error) => check(what, Verdict::Fail, error),
        });
    }
    if checks.is_empty() {
        checks.push(match keychain.check().await {
            Ok(()) => check("keychain", Verdict::Pass, "it answers"),
            Err(error) => check("keychain", Verdict::Warn, error),
        });
    }
    checks
}

/// Whether the Rate Limits API tells an administrator's key what the limits are. Calls go without it.
async fn limits_told(upstream: &Upstream, base: &BaseUrl, data_dir: &Path, settings: &Settings) -> Option<Check> {
    let admin_key = upstream.admin_key.as_ref()?;
    let what = format!("{}: limits by API", upstream.name);
    let keychain = Keychain::of_system(data_dir);
    Some(match account::limits(base, admin_key, &keychain, &settings.gateway.proxy).await {
        Ok(told) => check(what, Verdict::Pass, format!("told for {} groups of models", told.len())),
        Err(reason) => check(what, Verdict::Warn, reason),
    })
}

/// DNS, then the connection, then TLS and the first byte of an answer; the first failure ends it.
async fn way_to(name: &str, base: &BaseUrl, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![];
    if base.is_loopback() || proxy_in_force(&settings.gateway.proxy).is_none() {
        let addresses = match resolve(name, base).await {
            Ok((found, addresses)) => {
                checks.push(found);
                addresses
            }
            Err(failed) => return vec![failed],
        };
        checks.push(connect(name, base, &addresses, settings.timeouts.connect).await);
    }
    if checks.iter().all(|check| check.verdict != Verdict::Fail) {
        checks.push(first_byte(name, base, settings).await);
    }
    checks
}

async fn resolve(name: &str, base: &BaseUrl) -> Result<(Check, Vec<SocketAddr>), Check> {
    let (what, host, started) = (format!("{name}: DNS"), base.authority(), Instant::now());
    match tokio::net::lookup_host(&host).await {
        Ok(addresses) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            Ok((check(what, Verdict::Pass, format!("{host} found in {}", spent(started))), addresses))
        }
        Err(error) => {
            let says = format!("{host} has no address ({error}): check the network and base_url");
            Err(check(what, Verdict::Fail, says))
        }
    }
}

async fn connect(name: &str, base: &BaseUrl, addresses: &[SocketAddr], patience: Duration) -> Check {
    let (what, host, started) = (format!("{name}: TCP"), base.authority(), Instant::now());
    match tokio::time::timeout(patience, tokio::net::TcpStream::connect(addresses)).await {
        Ok(Ok(_)) => check(what, Verdict::Pass, format!("connected in {}", spent(started))),
        Ok(Err(error)) => {
            let says = format!("{host} lets nobody in ({error}): is it running, is a firewall between?");
            check(what, Verdict::Fail, says)
        }
        Err(_) => {
            let says = format!("{host} did not answer within {} s: is a firewall between?", patience.as_secs());
            check(what, Verdict::Fail, says)
        }
    }
}

/// How long a doctor waits for a first byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer of any status will do: no key is shown.
async fn first_byte(name: &str, base: &BaseUrl, settings: &Settings) -> Check {
    let what = format!("{name}: first byte");
    let started = Instant::now();
    let client = match client(&settings.gateway.proxy, base) {
        Ok(client) => client,
        Err(error) => return check(what, Verdict::Fail, error),
    };
    let tls = if base.as_str().starts_with("https://") { " over TLS" } else { "" };
    match client.get(format!("{}/v1/models", base.as_str())).timeout(PATIENCE).send().await {
        Ok(answer) => {
            check(what, Verdict::Pass, format!("status {}{tls} after {}", answer.status().as_u16(), spent(started)))
        }
        Err(error) => check(
            what,
            Verdict::Fail,
            format!("{}: check the network, the proxy and the certificates", root_cause(&error)),
        ),
    }
}

fn proxy(proxy: &ProxyUse) -> Check {
    let says = match proxy_in_force(proxy) {
        None => "none: calls leave directly".to_owned(),
        Some(proxy) => format!("calls leave through {proxy}, but for those to this machine"),
    };
    check("proxy", Verdict::Pass, says)
}

/// What stands between us and the rest of the world, as it may be shown.
fn proxy_in_force(proxy: &ProxyUse) -> Option<String> {
    const NAMES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set =
        |name: &&'static str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (*name, value));
    match proxy {
        ProxyUse::None => None,
        ProxyUse::Url(url) => Some(without_user(url)),
        ProxyUse::Env => {
            let found = NAMES.iter().find_map(set);
            found.map(|(name, url)| format!("{} ({name} of the environment)", without_user(&url)))
        }
    }
}

/// A proxy's URL may carry a password.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

fn spent(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
