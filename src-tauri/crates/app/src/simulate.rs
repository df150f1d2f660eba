//! The simulated API on its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use domain::tier::Scheme;
pub use simulator::Simulator;
use simulator::{BadScript, Faults};
use thiserror::Error;

use crate::data::{self, DataError};
use crate::port;

#[derive(Debug, Error)]
pub enum SimulateError {
    #[error("there is no scheme {name}: {known} or none")]
    NoScheme { name: String, known: String },
    #[error("scheme {scheme} has no tier {name}: {known}")]
    NoTier { scheme: String, name: String, known: String },
    #[error("{address} is in use by {holder}: choose another with --listen")]
    PortTaken { address: SocketAddr, holder: String },
    #[error("can't listen on {address}: {reason}")]
    Listen { address: SocketAddr, reason: std::io::Error },
    #[error(transparent)]
    Faults(#[from] BadScript),
    #[error(transparent)]
    Data(#[from] DataError),
}

/// `scheme` may be `none`; without a tier it is the scheme's first.
pub async fn simulate(
    listen: SocketAddr,
    scheme: &str,
    tier: Option<&str>,
    faults: Option<&Path>,
    seed: u64,
) -> Result<Simulator, SimulateError> {
    let faults = faults.map_or_else(|| Ok(Faults::default()), Faults::read)?;
    let options = simulator::Options {
        listen,
        scheme: limits(scheme, tier)?,
        catalog: Arc::new(data::catalog()?),
        faults,
        seed,
        ..simulator::Options::default()
    };
    Simulator::start(options).await.map_err(|reason| match port::holder(listen) {
        Some(holder) => SimulateError::PortTaken { address: listen, holder },
        None => SimulateError::Listen { address: listen, reason },
    })
}

/// A scheme and the name of one of its tiers.
type Limits = (Arc<Scheme>, Arc<str>);

fn limits(scheme: &str, tier: Option<&str>) -> Result<Option<Limits>, SimulateError> {
    if scheme == "none" {
        return Ok(None);
    }
    let schemes = data::schemes()?;
    let listed = |names: Vec<&str>| names.join(", ");
    let Some(found) = schemes.iter().find(|found| *found.name == *scheme) else {
        let known = listed(schemes.iter().map(|scheme| &*scheme.name).collect());
        return Err(SimulateError::NoScheme { name: scheme.to_owned(), known });
    };
    let names: Vec<&str> = found.tiers.iter().map(|tier| &*tier.name).collect();
    let name = tier.or(names.first().copied()).unwrap_or_default();
    match found.tier(name) {
        Some(tier) => Ok(Some((found.clone(), tier.name.clone()))),
        None => Err(SimulateError::NoTier { scheme: scheme.to_owned(), name: name.to_owned(), known: listed(names) }),
    }
}
