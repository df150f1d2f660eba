//! How long a what-if takes from the question over HTTP to its answer, with a year of hours in the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use domain::call::{Class, Entry};
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::{Tokens, Usage};
use ledger::{Durability, Ledger, Options};
use support::books::completed;
use support::http::{self, Request};
use support::lab::{Home, SETTINGS};

/// In each of them every client makes a call.
pub(crate) const HOURS: u64 = 365 * 24;
pub(crate) const CLIENTS: u64 = 10;
const ROUNDS: usize = 21;

const LIMITS: &str = "
[[upstream.windows]]
name = \"week\"
limit_usd = 40
resets = \"Mon 00:00 UTC\"

[[budget]]
scope = \"client:client-3\"
daily_usd = 2
";

/// The median of some askings, after one that nobody times.
pub(crate) async fn run(hours: u64) -> anyhow::Result<Duration> {
    let settings = SETTINGS.replace("key = ", "scheme = \"2025-09\"\ntier = \"2\"\nkey = ") + LIMITS;
    let home = Home::new(&settings, "http://127.0.0.1:9");
    fill(&home, hours).await?;
    let server = home.serve(&["--api"])?;
    let token = std::fs::read_to_string(home.data().join("api-token"))?;
    let target = "/tidegate/forecast?if=pause%20background;move%2030%25%20to%20claude-haiku-4-5";
    let request = Request::new("GET", target).header("authorization", &format!("Bearer {}", token.trim()));
    let mut times = vec![];
    for _ in 0..=ROUNDS {
        let began = Instant::now();
        let answer = http::call(server.address(), &request).await?;
        times.push(began.elapsed());
        ensure!(answer.status() == 200, "the what-if was answered with {}: {}", answer.status(), answer.text());
    }
    times.remove(0);
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

async fn fill(home: &Home, hours: u64) -> anyhow::Result<()> {
    let catalog = Arc::new(Catalog::new(vec![], vec![], vec![]));
    let options = Options { durability: Durability::Process, catalog, calendar: Calendar::UTC };
    std::fs::create_dir_all(home.data())?;
    let (ledger, _) = Ledger::open(&home.data(), options).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).context("no time")?);
    let mut rng = fastrand::Rng::with_seed(1);
    for hour in (0..hours).rev() {
        let at = now.before(Duration::from_secs(3_600 * hour + 60));
        let settled: Vec<_> = (0..CLIENTS)
            .filter(|_| rng.u8(0..4) > 0)
            .map(|client| ledger.settle(&entry(at, u128::from(hour * CLIENTS + client), client)))
            .collect();
        for settled in settled {
            settled.await?;
        }
        if let Some(room) = ledger.room() {
            room.await;
        }
    }
    ledger.close().await?;
    Ok(())
}

fn entry(at: Timestamp, number: u128, client: u64) -> Entry {
    let class = if client.is_multiple_of(3) { Class::Background } else { Class::Normal };
    let tokens = Tokens { input: 5_000, output: 500, ..Tokens::default() };
    Entry {
        usage: Usage { tokens, ..Usage::default() },
        cost: Some(Usd::from_nanos(22_500_000)),
        ..completed(at, number, &format!("client-{client}"), class)
    }
}
