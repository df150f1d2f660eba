//! `tidegate simulate`: a Claude API that costs nothing.

use std::process::ExitCode;

use app::simulate::simulate as start;

use crate::args::Simulate;
use crate::print;
use crate::serve::Stops;

pub(crate) async fn simulate(options: Simulate) -> anyhow::Result<ExitCode> {
    let mut stops = Stops::watch()?;
    app::process::raise_file_limit();
    let (tier, faults) = (options.tier.as_deref(), options.faults.as_deref());
    let simulator = start(options.listen, &options.scheme, tier, faults, options.seed).await?;
    print(&format!("listening on {}\n", simulator.base_url()))?;
    stops.next().await;
    simulator.stop().await;
    Ok(ExitCode::SUCCESS)
}
