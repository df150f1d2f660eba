//! Three times more calls than the upstream lets through, from four clients of which one floods.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use support::books::{count, simulator};
use support::http::{self, Request};
use support::lab::{Home, SETTINGS, body};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};

use crate::targets::{CALLS_A_MINUTE, Pace, upstream};

/// Calls a second of each client; each alone asks for more than its quarter of ten.
const RATES: [u32; 4] = [5, 5, 5, 15];

pub(crate) struct Overload {
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    /// By the upstream.
    pub(crate) refused: u64,
    /// Of what the upstream would have let through, while more calls came.
    pub(crate) used: f64,
    /// Jain's index over the clients' answered calls, while more calls came.
    pub(crate) fairness: f64,
}

pub(crate) async fn run(seconds: u32) -> anyhow::Result<Overload> {
    let folder = tempfile::tempdir()?;
    let upstream = upstream(Pace::Limited, folder.path())?;
    let limits =
        format!("{SETTINGS}[[upstream.limits]]\nmodels = [\"claude-*\"]\nrequests_per_minute = {CALLS_A_MINUTE}\n");
    let home = Home::new(&limits, &upstream.url);
    let tokens: Vec<_> = (0..RATES.len()).map(|i| home.client(&format!("client-{i}"), &[])).collect();
    let gateway = home.serve(&[])?;
    let answered: Rc<[Cell<u64>; 4]> = Rc::default();
    let (local, mut calls) = (LocalSet::new(), JoinSet::new());
    let start = Instant::now();
    for (client, rate) in RATES.into_iter().enumerate() {
        for i in 0..rate * seconds {
            let at = start + Duration::from_secs_f64(f64::from(i) / f64::from(rate));
            let request = Request::message(body(false)).header("x-api-key", &tokens[client]);
            calls.spawn_local_on(one(gateway.address().to_owned(), request, at, client, answered.clone()), &local);
        }
    }
    let sent = calls.len();
    let (stats, in_time) = local
        .run_until(async {
            sleep_until(start + Duration::from_secs(seconds.into())).await;
            (simulator(&upstream, "/simulator/stats").await, answered.each_ref().map(Cell::get))
        })
        .await;
    local
        .run_until(async {
            while let Some(done) = calls.join_next().await {
                done??
            }
            anyhow::Ok(())
        })
        .await?;
    let refused = simulator(&upstream, "/simulator/stats").await["refused"]
        .as_object()
        .map_or(0, |by| by.values().map(count).sum());
    home.books().verify();
    Ok(Overload {
        sent,
        answered: answered.iter().map(|cell| cell.get() as usize).sum(),
        refused,
        used: count(&stats["admitted"]["requests"]) as f64 / count(&stats["capacity"]["requests"]) as f64,
        fairness: jain(&in_time.map(|calls| calls as f64)),
    })
}

async fn one(
    address: String,
    request: Request,
    at: Instant,
    client: usize,
    answered: Rc<[Cell<u64>; 4]>,
) -> anyhow::Result<()> {
    sleep_until(at).await;
    let answer = http::call(&address, &request).await?;
    ensure!(answer.status() == 200, "{}", answer.text());
    answered[client].set(answered[client].get() + 1);
    Ok(())
}

/// 1 where all get the same.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares).max(f64::MIN_POSITIVE)
}
