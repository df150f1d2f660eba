//! The response cache: how long a hit takes, and how many of many same calls at once go out.

use std::time::Duration;

use anyhow::ensure;
use support::books::{count, simulator};
use support::lab::Home;

use crate::load::{self, Asked, Load};
use crate::targets::{self, Kind, Pace, SETTINGS, Target};

pub(crate) struct CacheFigures {
    /// Microseconds of each hit.
    pub(crate) message: Vec<f64>,
    pub(crate) stream: Vec<f64>,
    pub(crate) together: usize,
    pub(crate) reached: u64,
}

const TOGETHER: usize = 1_000;
const RATE: f64 = 300.0;

pub(crate) async fn run(turn: Duration) -> anyhow::Result<CacheFigures> {
    let folder = tempfile::tempdir()?;
    // Its streams take their time, so that all others come while the first one runs.
    let upstream = targets::upstream(Pace::TwentyEvents, folder.path())?;
    let settings = SETTINGS.replace("DURABILITY", Kind::Power.name()) + "[cache]\nenabled = true\n";
    let home = Home::new(&settings, &upstream.url);
    let token = home.client("bench", &[]);
    let server = home.serve(&[])?;
    let target = Target::new(Kind::Power, server.address(), &token, server.pid(), server.start);
    let reach = async || count(&simulator(&upstream, "/simulator/stats").await["calls"]);
    let (message, stream) = (Load::message(false), Load::message(true));
    for first in [&message, &stream] {
        load::closed(&target, first, 1, Asked::Calls(1)).await?;
    }
    let before = reach().await;
    let message = load::paced(&target, &message, RATE, turn).await?;
    let stream = load::paced(&target, &stream, RATE, turn).await?;
    ensure!(reach().await == before, "what should have been a hit reached the upstream");
    load::closed(&target, &Load::long_stream(200), TOGETHER, Asked::Calls(1)).await?;
    let reached = reach().await - before;
    home.books().verify();
    Ok(CacheFigures { message, stream, together: TOGETHER, reached })
}
