//! `tidegate serve`: the gateway without a window, until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use app::{Host, HostOptions, process};

use crate::args::Serve;
use crate::{Place, print, tell};

pub(crate) async fn serve(place: &Place, options: Serve) -> anyhow::Result<ExitCode> {
    process::prepare_to_serve();
    let mut stops = Stops::watch()?;
    let host = Host::open(HostOptions {
        data_dir: place.data_dir.clone(),
        settings: place.settings.clone(),
        api: options.api,
        demo: options.demo,
        window: false,
    })
    .await?;
    let address = host.listen(options.listen).await?;
    print(&format!("listening on {address}\n"))?;
    stops.next().await;
    drain(&host, &mut stops).await;
    Ok(ExitCode::SUCCESS)
}

/// Running calls finish, within 30 s or until the second signal.
async fn drain(host: &Arc<Host>, stops: &mut Stops) {
    if host.running_calls() > 0 {
        tell("finishing the calls that run; once more to stop at once\n");
    }
    tokio::select! {
        () = host.drain() => {}
        _ = stops.next() => host.stop().await,
    }
}

/// What told us to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Interrupt,
    Terminate,
}

/// SIGINT and SIGTERM.
pub(crate) struct Stops {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stops {
    #[cfg(unix)]
    pub(crate) fn watch() -> anyhow::Result<Stops> {
        use tokio::signal::unix::{SignalKind, signal};
        let watched = |kind| signal(kind).context("signals can't be watched");
        Ok(Stops { terminate: watched(SignalKind::terminate())?, interrupt: watched(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn watch() -> anyhow::Result<Stops> {
        Ok(Stops {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Stop {
        // Without a handler Ctrl-C ends the process by itself.
        let _ = tokio::signal::ctrl_c().await;
        Stop::Interrupt
    }
}
