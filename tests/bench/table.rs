//! The table that `make bench` prints: figures beside what they must be, as ratios to nginx in the same run.

use std::time::Duration;

use crate::cache::CacheFigures;
use crate::forecast::{ForecastFigures, HOURS, PATHS, SERIES};
use crate::import::ImportFigures;
use crate::ledger::LedgerFigures;
use crate::overload::Overload;
use crate::stats::quantile;
use crate::targets::{Bed, Kind, say};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Row {
    PacedP50,
    PacedP99,
    OneConnection,
    Rate,
    Cpu,
    FirstEvent,
    Big,
    StreamGap,
    StreamMemory,
    IdleMemory,
    Start,
    FirstCall,
}

/// What Tidegate with durability `process` must reach.
enum Goal {
    /// At most so many times nginx's figure.
    TimesNginx(f64),
    /// At least this share of nginx's figure.
    ShareOfNginx(f64),
    AtMost(f64),
    /// At most so much more than the direct path.
    OverDirect(f64),
    None,
}

impl Row {
    pub(crate) const ALL: &[Row] = &[
        Row::PacedP50,
        Row::PacedP99,
        Row::OneConnection,
        Row::Rate,
        Row::Cpu,
        Row::FirstEvent,
        Row::Big,
        Row::StreamGap,
        Row::StreamMemory,
        Row::IdleMemory,
        Row::Start,
        Row::FirstCall,
    ];

    /// Shown as what is added to the direct path.
    pub(crate) fn is_added(self) -> bool {
        matches!(self, Row::PacedP50 | Row::PacedP99 | Row::OneConnection | Row::FirstEvent | Row::Big)
    }

    fn name(self) -> &'static str {
        match self {
            Row::PacedP50 => "added at 300 calls/s, p50, µs",
            Row::PacedP99 => "added at 300 calls/s, p99, µs",
            Row::OneConnection => "added, 1 connection in a closed loop, p50, µs",
            Row::Rate => "calls/s, 16 connections",
            Row::Cpu => "CPU per call at 300 calls/s, ms",
            Row::FirstEvent => "added to the first content event, p50, µs",
            Row::Big => "added to a call of 1 MB, p50, µs",
            Row::StreamGap => "streams at 20 events/s, gap p99, ms",
            Row::StreamMemory => "streams at 20 events/s, memory at most, MiB",
            Row::IdleMemory => "memory after one call, MiB",
            Row::Start => "start until it listens, ms",
            Row::FirstCall => "start to the end of the first call, ms",
        }
    }

    fn goal(self) -> Goal {
        match self {
            Row::PacedP50 => Goal::TimesNginx(2.5),
            Row::PacedP99 => Goal::TimesNginx(3.0),
            Row::OneConnection => Goal::TimesNginx(4.0),
            Row::Rate => Goal::ShareOfNginx(0.5),
            Row::Cpu => Goal::TimesNginx(2.2),
            Row::FirstEvent | Row::Big => Goal::TimesNginx(2.0),
            Row::StreamGap => Goal::OverDirect(1.0),
            Row::StreamMemory => Goal::AtMost(60.0),
            Row::IdleMemory => Goal::AtMost(15.0),
            Row::FirstCall => Goal::AtMost(150.0),
            Row::Start => Goal::None,
        }
    }
}

#[derive(Default)]
pub(crate) struct Figures {
    found: Vec<(Row, Kind, f64)>,
    /// One admission decision while so many calls wait.
    pub(crate) decisions: Vec<(usize, Duration)>,
    pub(crate) overload: Option<Overload>,
    pub(crate) ledger: Option<LedgerFigures>,
    pub(crate) import: Option<ImportFigures>,
    pub(crate) cache: Option<CacheFigures>,
    pub(crate) forecast: Option<ForecastFigures>,
    pub(crate) what_if: Option<std::time::Duration>,
}

impl Figures {
    pub(crate) fn put(&mut self, row: Row, kind: Kind, value: f64) {
        self.found.push((row, kind, value));
    }

    pub(crate) fn start(&mut self, bed: &Bed) {
        for target in &bed.targets {
            self.put(Row::Start, target.kind, target.start.as_secs_f64() * 1e3);
        }
    }

    fn get(&self, row: Row, kind: Kind) -> Option<f64> {
        self.found.iter().find(|(r, k, _)| (*r, *k) == (row, kind)).map(|(_, _, value)| *value)
    }
}

pub(crate) fn print(figures: &Figures) {
    say(
        "what is added is told against the direct path, whose own time is shown; process and power are Tidegate with limits and ledger on\n",
    );
    say(&line("", &Kind::ALL.map(|kind| kind.name().to_owned()), "process must be", ""));
    for row in Row::ALL {
        let cells =
            Kind::ALL.map(|kind| figures.get(*row, kind).map_or_else(|| "–".to_owned(), |value| number(*row, value)));
        let (wanted, verdict) = judge(figures, *row);
        say(&line(row.name(), &cells, &wanted, &verdict));
    }
    for (waiting, decision) in &figures.decisions {
        let micros = decision.as_secs_f64() * 1e6;
        // The goal is for ten thousand; the others show how it grows.
        let (wanted, verdict) = if *waiting == 10_000 { ("≤ 2", met(micros <= 2.0)) } else { ("", "") };
        alone(&format!("admission decision, {waiting} waiting, µs"), wanted, &format!("{micros:.2} {verdict}"));
    }
    if let (Some(theirs), Some(ours)) = (figures.get(Row::Rate, Kind::Direct), figures.get(Row::Rate, Kind::Process)) {
        let times = theirs / ours;
        alone("the simulator's own rate ÷ Tidegate's", "≥ 3", &format!("{times:.1} {}", met(times >= 3.0)));
    }
    if let Some(overload) = &figures.overload {
        under_load(overload);
    }
    print_ledger(figures);
    print_import(figures);
    print_cache(figures);
    print_forecast(figures);
}

pub(crate) fn print_ledger(figures: &Figures) {
    let Some(found) = &figures.ledger else { return };
    say(&format!("\nthe ledger alone; {} calls of a year in the one that is asked", found.calls));
    let at_least = |name, least: f64, value: f64| {
        alone(name, &format!("≥ {least}"), &format!("{value:.0} {}", met(value >= least)));
    };
    let at_most = |name, most: f64, value: f64| {
        alone(name, &format!("≤ {most}"), &format!("{value:.1} {}", met(value <= most)));
    };
    at_least("settled calls/s, process", 20_000.0, found.settled_in_process);
    at_least("settled calls/s, power", 10_000.0, found.settled_in_power);
    at_most("an opening at 200 calls/s, p99, µs", 100.0, found.opening_p99_micros);
    let (ending, sync) = (found.ending_p99_ms, found.sync_p99_ms);
    alone("an ending at 200 calls/s, power, p99, ms", "", &format!("{ending:.1}; one sync of the same disk {sync:.1}"));
    at_most("opening it, ms", 1_000.0, found.start_ms);
    at_most("a month by day, model and client, ms", 50.0, found.month_ms);
    match found.csv_ratio {
        Some(ratio) => at_most("CSV of 1,000,000 calls ÷ the sqlite3 program's", 1.5, ratio),
        None => say("no sqlite3 here to compare the CSV with"),
    }
    at_most("memory that CSV takes more, MiB", 8.0, found.csv_mib);
}

pub(crate) fn print_import(figures: &Figures) {
    let Some(found) = &figures.import else { return };
    let mib = found.bytes >> 20;
    say(&format!(
        "\nan import of {mib} MiB of Claude Code's logs with {} calls, whole programs, warm files",
        found.calls
    ));
    alone("seconds", "", &format!("{:.2}", found.seconds));
    let memory = found.memory_mib;
    alone("memory at most, MiB", "≤ 150", &format!("{memory:.0} {}", met(memory <= 150.0)));
    alone("calls and tokens are those of the logs' maker", "all", "met");
    let Some(theirs) = &found.theirs else {
        say("no ccusage here to compare it with: CCUSAGE names its program");
        return;
    };
    alone("seconds, ccusage --offline", "", &format!("{:.2}", theirs.seconds));
    alone("memory at most, ccusage, MiB", "", &format!("{:.0}", theirs.memory_mib));
    alone("time ÷ ccusage's in the same round", "≤ 1", &format!("{:.2} {}", theirs.ratio, met(theirs.ratio <= 1.0)));
    alone("ccusage's tokens are the same", "", if theirs.agrees { "yes" } else { "no" });
}

pub(crate) fn print_cache(figures: &Figures) {
    let Some(found) = &figures.cache else { return };
    say("\nhits of the response cache from memory with durability power, 300 a second, milliseconds");
    for (name, hits) in [("a message", &found.message), ("a stream of 100 tokens", &found.stream)] {
        let (median, p99) = (quantile(hits, 0.5) / 1e3, quantile(hits, 0.99) / 1e3);
        alone(&format!("{name}, p50"), "", &format!("{median:.2} of {}", hits.len()));
        alone(&format!("{name}, p99"), "≤ 1", &format!("{p99:.2} {}", met(p99 <= 1.0)));
    }
    alone("same calls at once that reach the upstream", "1", &format!("{} of {}", found.reached, found.together));
}

pub(crate) fn print_forecast(figures: &Figures) {
    let Some(found) = &figures.forecast else { return };
    say(&format!("\na forecast of {SERIES} series, {HOURS} h ahead, {PATHS} paths, milliseconds"));
    for (name, goal, took) in [
        ("from half a year of hours", 10.0, found.forecast),
        ("a what-if beside it", 50.0, found.what_if),
        ("from three years of hours", 10.0, found.long_history),
    ] {
        let ms = took.as_secs_f64() * 1e3;
        alone(name, &format!("≤ {goal:.0}"), &format!("{ms:.2} {}", met(ms <= goal)));
    }
    if let Some(took) = figures.what_if {
        let ms = took.as_secs_f64() * 1e3;
        alone(
            "a what-if over HTTP, all windows, a year in the ledger",
            "≤ 50",
            &format!("{ms:.1} {}", met(ms <= 50.0)),
        );
    }
}

fn under_load(load: &Overload) {
    say("\n3 × overload with durability process, one of four clients floods, no client retries");
    let answered = load.answered == load.sent;
    alone("calls answered", "all", &format!("{} of {} {}", load.answered, load.sent, met(answered)));
    alone("refusals drawn from the upstream", "0", &format!("{} {}", load.refused, met(load.refused == 0)));
    alone("share of capacity used, %", "≥ 97", &format!("{:.1} {}", load.used * 100.0, met(load.used >= 0.97)));
    alone("Jain over clients", "≥ 0.98", &format!("{:.3} {}", load.fairness, met(load.fairness >= 0.98)));
}

/// A figure that only Tidegate has.
fn alone(name: &str, wanted: &str, verdict: &str) {
    say(&line(name, &["–"; 4].map(str::to_owned), wanted, verdict));
}

fn judge(figures: &Figures, row: Row) -> (String, String) {
    let (ours, nginx, direct) =
        (figures.get(row, Kind::Process), figures.get(row, Kind::Nginx), figures.get(row, Kind::Direct));
    let Some(ours) = ours else { return (String::new(), String::new()) };
    let ratio = nginx.filter(|value| *value > 0.0).map(|value| ours / value);
    let (wanted, found, good) = match row.goal() {
        Goal::TimesNginx(most) => {
            (format!("≤ {most} × nginx"), ratio.map(|r| format!("{r:.1} ×")), ratio.is_some_and(|r| r <= most))
        }
        Goal::ShareOfNginx(least) => {
            (format!("≥ {least} × nginx"), ratio.map(|r| format!("{r:.2} ×")), ratio.is_some_and(|r| r >= least))
        }
        Goal::AtMost(most) => (format!("≤ {most}"), Some(String::new()), ours <= most),
        Goal::OverDirect(more) => (
            format!("≤ direct + {more}"),
            direct.map(|d| format!("+ {:.1}", ours - d)),
            direct.is_some_and(|d| ours <= d + more),
        ),
        Goal::None => return (String::new(), String::new()),
    };
    let verdict = found.map_or_else(|| "no nginx here".to_owned(), |text| format!("{text} {}", met(good)));
    (wanted, verdict)
}

fn met(good: bool) -> &'static str {
    if good { "met" } else { "missed" }
}

fn number(row: Row, value: f64) -> String {
    match row {
        Row::Cpu => format!("{value:.3}"),
        Row::Rate => format!("{value:.0}"),
        Row::StreamGap | Row::StreamMemory | Row::IdleMemory | Row::Start | Row::FirstCall => format!("{value:.1}"),
        Row::PacedP50 | Row::PacedP99 | Row::OneConnection | Row::FirstEvent | Row::Big => format!("{value:.0}"),
    }
}

fn line(name: &str, cells: &[String; 4], wanted: &str, verdict: &str) -> String {
    let [a, b, c, d] = cells;
    format!("{name:<46} {a:>9} {b:>9} {c:>9} {d:>9}   {wanted:<16} {verdict}")
}
