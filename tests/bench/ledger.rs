//! The ledger alone: how much it takes in, and how fast it answers with ten million calls in it.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry, Opening, Outcome, Source};
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::{Tokens, Usage};
use ledger::{Columns, Durability, Filter, Ledger, Options};
use sqlx::{Connection, SqliteConnection};

use crate::stats::quantile;

pub(crate) struct LedgerFigures {
    pub(crate) calls: u64,
    pub(crate) settled_in_process: f64,
    pub(crate) settled_in_power: f64,
    pub(crate) opening_p99_micros: f64,
    /// From the end of a call until it is safe from power loss, and what one sync of the same disk takes.
    pub(crate) ending_p99_ms: f64,
    pub(crate) sync_p99_ms: f64,
    pub(crate) start_ms: f64,
    /// The month by day, model and client at once.
    pub(crate) month_ms: f64,
    /// Of the `sqlite3` program's own time for the same rows; `None` where there is none.
    pub(crate) csv_ratio: Option<f64>,
    pub(crate) csv_mib: f64,
}

/// Calls that are settled at once.
const RUNNING: u64 = 256;

const CSV_CALLS: u64 = 1_000_000;

/// The calls lie in the year before it.
const END_MS: i64 = 1_795_000_000_000;
const YEAR_MS: i64 = 365 * 86_400_000;

pub(crate) async fn run(calls: u64, turn: Duration) -> anyhow::Result<LedgerFigures> {
    let dir = tempfile::tempdir()?;
    generate(dir.path(), calls).await?;
    let began = Instant::now();
    let ledger = open(dir.path(), Durability::Power).await?;
    let start_ms = millis(began);
    let month_ms = month(&ledger).await?;
    let (csv_ratio, csv_mib) = csv(&ledger, dir.path(), calls).await?;
    ledger.close().await?;
    let (opening_p99_micros, ending_p99_ms) = waits(turn).await?;
    Ok(LedgerFigures {
        calls,
        settled_in_process: rate(Durability::Process, turn).await?,
        settled_in_power: rate(Durability::Power, turn).await?,
        opening_p99_micros,
        ending_p99_ms,
        sync_p99_ms: sync_p99()?,
        start_ms,
        month_ms,
        csv_ratio,
        csv_mib,
    })
}

async fn open(dir: &Path, durability: Durability) -> anyhow::Result<Ledger> {
    let catalog = Arc::new(Catalog::new(vec![], vec![], vec![]));
    Ok(Ledger::open(dir, Options { durability, catalog, calendar: Calendar::UTC }).await?.0)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The median of some askings, after one that nobody times.
async fn month(ledger: &Ledger) -> anyhow::Result<f64> {
    let (from, to) = (Timestamp::from_millis(END_MS - 31 * 86_400_000), Timestamp::from_millis(END_MS));
    let mut times = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        let rows = ledger.dashboard(from, to, Calendar::UTC).await?;
        ensure!(!rows.is_empty(), "the month is empty");
        times.push(millis(began));
    }
    Ok(quantile(&times[1..], 0.5))
}

/// Both write the same rows in the same order to a file.
async fn csv(ledger: &Ledger, dir: &Path, calls: u64) -> anyhow::Result<(Option<f64>, f64)> {
    let wanted = CSV_CALLS.min(calls);
    let from = END_MS - YEAR_MS / i64::try_from(calls)? * i64::try_from(wanted)?;
    let filter = Filter { from: Some(Timestamp::from_millis(from)), to: None, client: None };
    let before = peak_mib(true)?;
    let mut out = File::create(dir.join("ours.csv"))?;
    let began = Instant::now();
    ledger.export_calls(&filter, &Columns::all(), &mut out).await?;
    let ours = began.elapsed();
    let more = peak_mib(false)? - before;
    let theirs = by_sqlite(dir, from);
    Ok((theirs.map(|theirs| ours.as_secs_f64() / theirs.as_secs_f64()), more.max(0.0)))
}

fn by_sqlite(dir: &Path, from: i64) -> Option<Duration> {
    let query = format!(
        "SELECT call_id, request_id, started_at, ended_at, client, person, project, tenant, session, tags, class, upstream,
         model, status, outcome, stream, max_tokens, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
         cache_read_tokens, output_tokens, web_searches, cost_nanos, price_id, estimated, source, waited_ms, first_byte_ms,
         total_ms, cache, attempts, error FROM entry WHERE started_at >= {from} ORDER BY started_at, seq"
    );
    let out = File::create(dir.join("theirs.csv")).ok()?;
    let began = Instant::now();
    let status = Command::new("sqlite3")
        .args(["-readonly", "-csv"])
        .arg(dir.join("ledger.db"))
        .arg(query)
        .stdout(out)
        .stderr(Stdio::null())
        .status();
    status.ok()?.success().then(|| began.elapsed())
}

/// Of this process; `anew` forgets what was before.
fn peak_mib(anew: bool) -> anyhow::Result<f64> {
    if anew {
        std::fs::write("/proc/self/clear_refs", "5").context("the peak of memory can't be reset")?;
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no peak of memory")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1_024.0)
}

/// Calls opened and settled per second, until all are in SQLite.
async fn rate(durability: Durability, turn: Duration) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let ledger = Arc::new(open(dir.path(), durability).await?);
    let began = Instant::now();
    let clients = (0..RUNNING).map(|client| tokio::spawn(settle_for(ledger.clone(), client, began + turn)));
    let mut settled = 0;
    for client in clients.collect::<Vec<_>>() {
        settled += client.await??;
    }
    ledger.flush().await?;
    let rate = settled as f64 / began.elapsed().as_secs_f64();
    ledger.close().await?;
    Ok(rate)
}

async fn settle_for(ledger: Arc<Ledger>, client: u64, until: Instant) -> anyhow::Result<u64> {
    let mut settled = 0;
    while Instant::now() < until {
        // As the gateway does it.
        if let Some(room) = ledger.room() {
            room.await;
        }
        let call = call(client + settled);
        ledger.opened(&call, &opening(&call))?;
        ledger.settle(&entry(call)).await?;
        settled += 1;
        tokio::task::yield_now().await;
    }
    Ok(settled)
}

/// How long a call waits before it may leave, in µs, and its last event before it may be passed on, in ms: at 200 calls a
/// second, 99 of 100.
async fn waits(turn: Duration) -> anyhow::Result<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let ledger = Arc::new(open(dir.path(), Durability::Power).await?);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let (mut opened, mut ended) = (Vec::new(), Vec::new());
    for number in 0..turn.as_millis().max(1_000) as u64 / 5 {
        ticks.tick().await;
        let call = call(number);
        let began = Instant::now();
        ledger.opened(&call, &opening(&call))?;
        opened.push(began.elapsed().as_secs_f64() * 1e6);
        let ledger = ledger.clone();
        ended.push(tokio::spawn(async move {
            let began = Instant::now();
            ledger.settle(&entry(call)).await?;
            anyhow::Ok(millis(began))
        }));
    }
    let mut times = Vec::new();
    for ended in ended {
        times.push(ended.await??);
    }
    ledger.close().await?;
    Ok((quantile(&opened, 0.99), quantile(&times, 0.99)))
}

/// Of a file as the journal's: its place is reserved, and a record's worth of bytes is written.
fn sync_p99() -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let mut file = File::create(dir.path().join("page"))?;
    file.write_all(&[0; 1 << 20])?;
    file.sync_all()?;
    file.rewind()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[1; 1_024])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(millis(began));
    }
    Ok(quantile(&times, 0.99))
}

/// Numbered by time and chance, as the gateway does it.
fn call(number: u64) -> Call {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = i64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(i64::MAX);
    let started_at = Timestamp::from_millis(END_MS.saturating_add(since));
    Call {
        id: CallId::new(started_at, fastrand::u128(..)),
        started_at,
        class: Class::Normal,
        who: Attribution { client: format!("client-{}", number % 20).into(), ..Attribution::default() },
        model: "claude-sonnet-4-5".into(),
        max_tokens: Some(1_000),
        stream: true,
        body_bytes: 4_000,
    }
}

fn usage() -> Usage {
    Usage { tokens: Tokens { input: 1_000, output: 300, ..Tokens::default() }, ..Usage::default() }
}

fn opening(call: &Call) -> Opening {
    Opening { number: 1, upstream: "anthropic".into(), at: call.started_at, reserved: usage() }
}

fn entry(call: Call) -> Entry {
    let attempt = Attempt {
        number: 1,
        upstream: "anthropic".into(),
        opened_at: call.started_at,
        status: Some(200),
        request_id: Some(format!("req_{}", call.id).into()),
        error: None,
        maybe_billed: false,
    };
    Entry {
        ended_at: call.started_at,
        attempts: vec![attempt],
        status: 200,
        outcome: Outcome::Completed,
        usage: usage(),
        cost: Some(Usd::from_nanos(7_500_000)),
        price_id: Some("claude-sonnet-4-5".into()),
        estimated: false,
        source: Source::Gateway,
        waited_ms: 0,
        waited_for: None,
        first_byte_ms: Some(400),
        total_ms: 2_000,
        cache: CacheUse::Off,
        saved: None,
        error: None,
        account: None,
        call,
    }
}

/// Calls of 20 clients and 5 models, evenly over a year, straight into the tables.
async fn generate(dir: &Path, calls: u64) -> anyhow::Result<()> {
    open(dir, Durability::Process).await?.close().await?;
    let mut conn = SqliteConnection::connect(&format!("sqlite:{}", dir.join("ledger.db").display())).await?;
    for pragma in ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -200000"] {
        sqlx::query(pragma).execute(&mut conn).await?;
    }
    const PART: u64 = 250_000;
    for first in (0..calls).step_by(PART as usize) {
        let (first, end) = (i64::try_from(first)?, i64::try_from((first + PART).min(calls))?);
        let step = YEAR_MS / i64::try_from(calls)?;
        sqlx::query(ENTRIES).bind(first).bind(end).bind(END_MS - YEAR_MS).bind(step).execute(&mut conn).await?;
    }
    for sums in SUMS {
        sqlx::query(sums).execute(&mut conn).await?;
    }
    conn.close().await?;
    open(dir, Durability::Process).await?.close().await?;
    Ok(())
}

const ENTRIES: &str = "
    WITH RECURSIVE number (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?2)
    INSERT INTO entry (call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model,
        max_tokens, stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast,
        us_only, cost_nanos, price_id, estimated, source, waited_ms, first_byte_ms, total_ms, cache, error, chain)
    SELECT printf('01M86P%020d', n), ?3 + n * ?4, ?3 + n * ?4 + 2000, 'client-' || (n % 20), '', 'project-' || (n % 3), '',
        'session-' || (n / 50), '', '{}', 'normal', 'claude-model-' || (n / 20 % 5), 1000, 1, 4000, 'anthropic',
        printf('req_01M86P%020d', n), 1, 200, 'completed', 1000 + n % 700, 0, 0, n % 5000, 300 + n % 90, 0, 0, 0, 0,
        7500000 + n % 1000, 'claude-model', 0, 'gateway', n % 40, 400, 2000, 'off', '', zeroblob(32)
    FROM number";

/// As the ledger would have summed them; the days are summed when it is opened in a zone.
const SUMS: [&str; 4] = [
    "INSERT INTO series (client, person, project, account, upstream, model, source, priced)
     SELECT DISTINCT client, person, project, account, upstream, model, source, 1 FROM entry",
    "INSERT INTO tenant_series (client, tenant, source, priced) SELECT DISTINCT client, tenant, source, 1 FROM entry",
    "INSERT INTO quarter_sum SELECT started_at / 900000, series.id, tenant_series.id, count(*), sum(input_tokens),
         sum(cache_write_5m_tokens), sum(cache_write_1h_tokens), sum(cache_read_tokens), sum(output_tokens),
         sum(web_searches), sum(cost_nanos), 0, 0, 0
     FROM entry JOIN series USING (client, model, project) JOIN tenant_series ON tenant_series.client = entry.client
     GROUP BY 1, 2, 3",
    "UPDATE meta SET zone = ''",
];
