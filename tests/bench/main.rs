//! The table of figures: the direct path, nginx and Tidegate in one run, in turns of about a second.
//!
//! One load generator drives them all, so that what it costs itself falls out of every difference.
//! Usage: bench [--short] [--rounds N] [--ledger [CALLS]] [--import [MIB]] [--cache] [--forecast]

mod admission;
mod cache;
mod forecast;
mod import;
mod ledger;
mod load;
mod logs;
mod overload;
mod stats;
mod table;
mod targets;
mod whatif;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use load::{Asked, Load};
use stats::{median, quantile};
use table::{Figures, Row};
use targets::{Bed, Kind, Pace, Target};

struct Plan {
    rounds: usize,
    turn: Duration,
    streams: usize,
    stream_tokens: usize,
    big_calls: usize,
    /// Of overload; it takes three times as long until all are answered.
    overload_seconds: u32,
    /// In the ledger that is asked.
    ledger_calls: u64,
    /// How long the ledger is written to: long enough that what waits for SQLite would pile up.
    ledger_turn: Duration,
    /// Of Claude Code's logs.
    import_mib: u64,
    /// Of the ledger that a what-if is asked over.
    what_if_hours: u64,
    only: Option<Part>,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Ledger,
    Import,
    Cache,
    Forecast,
}

impl Plan {
    const FULL: Plan = Plan {
        rounds: 9,
        turn: Duration::from_secs(1),
        streams: 512,
        stream_tokens: 600,
        big_calls: 20,
        overload_seconds: 20,
        ledger_calls: 10_000_000,
        ledger_turn: Duration::from_secs(20),
        import_mib: 1_024,
        what_if_hours: whatif::HOURS,
        only: None,
    };
    const SHORT: Plan = Plan {
        rounds: 1,
        turn: Duration::from_millis(150),
        streams: 16,
        stream_tokens: 50,
        big_calls: 2,
        overload_seconds: 1,
        ledger_calls: 20_000,
        ledger_turn: Duration::from_millis(500),
        import_mib: 8,
        what_if_hours: 24 * 21,
        only: None,
    };

    fn from_args() -> anyhow::Result<Plan> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let mut plan = if args.iter().any(|arg| arg == "--short") { Plan::SHORT } else { Plan::FULL };
        let number = |flag: &str| {
            let at = args.iter().position(|arg| arg == flag)?;
            Some(args.get(at + 1).and_then(|number| number.parse::<u64>().ok()))
        };
        if let Some(rounds) = number("--rounds") {
            plan.rounds = usize::try_from(rounds.context("--rounds wants a number")?)?;
        }
        if let Some(calls) = number("--ledger") {
            plan.only = Some(Part::Ledger);
            plan.ledger_calls = calls.unwrap_or(plan.ledger_calls);
        }
        if let Some(mib) = number("--import") {
            plan.only = Some(Part::Import);
            plan.import_mib = mib.unwrap_or(plan.import_mib);
        }
        if args.iter().any(|arg| arg == "--cache") {
            plan.only = Some(Part::Cache);
        }
        if args.iter().any(|arg| arg == "--forecast") {
            plan.only = Some(Part::Forecast);
        }
        Ok(plan)
    }
}

fn main() -> anyhow::Result<()> {
    if let Some(pace) = targets::asked_to_simulate() {
        return targets::simulate(pace);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&Plan::from_args()?))
}

async fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    match plan.only {
        Some(Part::Ledger) => {
            figures.ledger = Some(of_ledger(plan)?);
            table::print_ledger(&figures);
            return Ok(());
        }
        Some(Part::Import) => {
            figures.import = Some(of_import(plan)?);
            table::print_import(&figures);
            return Ok(());
        }
        Some(Part::Cache) => {
            figures.cache = Some(cache::run(plan.turn * 5).await?);
            table::print_cache(&figures);
            return Ok(());
        }
        Some(Part::Forecast) => {
            figures.forecast = Some(forecast::run());
            figures.what_if = Some(whatif::run(plan.what_if_hours).await?);
            table::print_forecast(&figures);
            return Ok(());
        }
        None => {}
    }
    let mut bed = Bed::start(Pace::AtOnce, &Kind::ALL)?;
    figures.start(&bed);
    idle(&mut figures, &bed).await?;
    rounds(plan, &mut figures, &mut bed).await?;
    bed.check_counts()?;
    drop(bed);
    streams(plan, &mut figures).await?;
    figures.overload = Some(overload::run(plan.overload_seconds).await?);
    figures.decisions = admission::WAITING.map(|waiting| (waiting, admission::one_decision(waiting))).to_vec();
    figures.ledger = Some(of_ledger(plan)?);
    figures.import = Some(of_import(plan)?);
    figures.cache = Some(cache::run(plan.turn * 5).await?);
    figures.forecast = Some(forecast::run());
    figures.what_if = Some(whatif::run(plan.what_if_hours).await?);
    table::print(&figures);
    Ok(())
}

/// On threads of its own, as it runs in the gateway.
fn of_ledger(plan: &Plan) -> anyhow::Result<ledger::LedgerFigures> {
    let (calls, turn) = (plan.ledger_calls, plan.ledger_turn);
    let measured = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(ledger::run(calls, turn))
    });
    measured.join().map_err(|_| anyhow::anyhow!("the ledger's figures broke off"))?
}

/// A round takes some seconds: a few of them tell enough.
fn of_import(plan: &Plan) -> anyhow::Result<import::ImportFigures> {
    import::run(plan.import_mib << 20, plan.rounds.min(5))
}

/// One call each, then how much memory is held a moment later.
async fn idle(figures: &mut Figures, bed: &Bed) -> anyhow::Result<()> {
    for target in &bed.targets {
        let first = Instant::now();
        load::closed(target, &Load::message(false), 1, Asked::Calls(1)).await?;
        figures.put(Row::FirstCall, target.kind, (target.start + first.elapsed()).as_secs_f64() * 1e3);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for target in &bed.targets {
        figures.put(Row::IdleMemory, target.kind, target.memory_mib());
    }
    Ok(())
}

async fn rounds(plan: &Plan, figures: &mut Figures, bed: &mut Bed) -> anyhow::Result<()> {
    let (message, stream, big) = (Load::message(false), Load::message(true), Load::big());
    let mut rounds = Rounds::default();
    for round in 0..plan.rounds {
        for i in 0..bed.targets.len() {
            // Each round starts with another target, so that none always follows the same one.
            let target = &bed.targets[(i + round) % bed.targets.len()];
            let asked = Asked::For(plan.turn);
            let cpu = target.cpu();
            let paced = load::paced(target, &message, 300.0, plan.turn).await?;
            rounds.push(Row::Cpu, target, (target.cpu() - cpu).as_secs_f64() * 1e3 / paced.len() as f64);
            rounds.push(Row::PacedP50, target, quantile(&paced, 0.5));
            rounds.push(Row::PacedP99, target, quantile(&paced, 0.99));
            rounds.push(
                Row::OneConnection,
                target,
                quantile(&load::closed(target, &message, 1, asked).await?.times, 0.5),
            );
            rounds.push(Row::Rate, target, load::closed(target, &message, 16, asked).await?.rate());
            rounds.push(Row::FirstEvent, target, quantile(&load::first_events(target, &stream, plan.turn).await?, 0.5));
            rounds.push(
                Row::Big,
                target,
                quantile(&load::closed(target, &big, 1, Asked::Calls(plan.big_calls)).await?.times, 0.5),
            );
        }
    }
    rounds.write_down(figures);
    Ok(())
}

/// What each target showed in each round.
#[derive(Default)]
struct Rounds(Vec<(Row, Kind, f64)>);

impl Rounds {
    fn push(&mut self, row: Row, target: &Target, value: f64) {
        self.0.push((row, target.kind, value));
    }

    fn of(&self, row: Row, kind: Kind) -> Vec<f64> {
        self.0.iter().filter(|(r, k, _)| (*r, *k) == (row, kind)).map(|(_, _, value)| *value).collect()
    }

    /// The median over rounds; where the row tells what is added, of the difference to the direct path in the same round.
    fn write_down(&self, figures: &mut Figures) {
        for row in Row::ALL {
            let direct = self.of(*row, Kind::Direct);
            for kind in Kind::ALL {
                let found = self.of(*row, kind);
                let added = row.is_added() && kind != Kind::Direct;
                let values: Vec<_> = found
                    .iter()
                    .zip(&direct)
                    .map(|(value, direct)| if added { value - direct } else { *value })
                    .collect();
                if !values.is_empty() {
                    figures.put(*row, kind, median(&values));
                }
            }
        }
    }
}

/// Many streams at the pace of a model that speaks, one target after the other.
async fn streams(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let mut bed = Bed::start(Pace::TwentyEvents, &Kind::ALL)?;
    for target in &bed.targets {
        let memory = target.peak_memory();
        let seen = load::streams(target, &Load::long_stream(plan.stream_tokens), plan.streams).await?;
        ensure!(
            seen.whole == plan.streams,
            "{}: {} of {} streams were whole",
            target.kind.name(),
            seen.whole,
            plan.streams
        );
        figures.put(Row::StreamGap, target.kind, quantile(&seen.gaps, 0.99) / 1e3);
        figures.put(Row::StreamMemory, target.kind, memory.finish());
    }
    bed.check_counts()
}
