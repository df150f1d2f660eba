//! How good forecasts would have been on a series in a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use domain::forecast::backtest::{BadSeries, Plan, Score, Series, backtest as run};
use domain::time::{Cycle, Every, Timestamp, Tz, Weekday};
use serde::Serialize;
use thiserror::Error;

use crate::api::ApiError;
use crate::settings;

/// What is asked of a file: as the command line has it.
#[derive(Clone, Debug)]
pub struct BacktestQuestion {
    pub file: PathBuf,
    pub span: WindowSpan,
    /// As in the settings: `Mon 00:00 UTC`; without it the first moment of the week or month in UTC.
    pub resets: Option<String>,
    /// Without it `auto`.
    pub limit: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowSpan {
    Week,
    Month,
}

/// `tidegate forecast backtest --json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BacktestView {
    pub series: SeriesView,
    pub methods: Vec<MethodView>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SeriesView {
    pub from: String,
    pub to: String,
    pub windows: usize,
    pub limit: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MethodView {
    pub name: &'static str,
    pub n: usize,
    /// Null, like all figures, where no origin was scored.
    pub mae_hours: Option<f64>,
    pub crps_hours: Option<f64>,
    pub brier: Option<f64>,
    pub coverage80: Option<f64>,
    pub width80_hours: Option<f64>,
    pub missed: usize,
}

#[derive(Debug, Error)]
pub enum BacktestError {
    #[error("{file} can't be read: {reason}")]
    Unreadable { file: String, reason: io::Error },
    #[error("{file}, line {line}: {wrong}")]
    Line { file: String, line: usize, wrong: String },
    #[error(
        "{file} holds {rows} different instants: a backtest needs at least two, as \"2026-11-02T00:00:00Z,1250\" in each line"
    )]
    TooShort { file: String, rows: usize },
    #[error("{file} goes over {days} days: a backtest takes at most twenty years, look for a wrong year")]
    TooLong { file: String, days: i64 },
    #[error("{file} goes from {from} to {to} and holds no full {span}: give it a longer series or other --resets")]
    NoWindow { file: String, from: String, to: String, span: &'static str },
    #[error("nothing is used in most windows of {file}: name a limit with --limit")]
    NoLimit { file: String },
    #[error("--resets {reason}")]
    Resets { reason: String },
}

impl From<BacktestError> for ApiError {
    fn from(error: BacktestError) -> ApiError {
        match error {
            BacktestError::Resets { .. } => ApiError::asker(error),
            BacktestError::Unreadable { .. }
            | BacktestError::Line { .. }
            | BacktestError::TooShort { .. }
            | BacktestError::TooLong { .. }
            | BacktestError::NoWindow { .. }
            | BacktestError::NoLimit { .. } => ApiError::machine(error),
        }
    }
}

/// Seeds give the same figures on every machine.
const SEED: u64 = 1;

pub fn backtest(question: &BacktestQuestion) -> Result<BacktestView, BacktestError> {
    let file = question.file.display().to_string();
    let cycle = cycle(question)?;
    let rows = rows(&question.file)?;
    let count = rows.len();
    let series = Series::new(rows).map_err(|bad| match bad {
        BadSeries::TooShort => BacktestError::TooShort { file: file.clone(), rows: count.min(1) },
        BadSeries::TooLong { days } => BacktestError::TooLong { file: file.clone(), days },
    })?;
    let (from, to) = (series.from().to_string(), series.to().to_string());
    let Some(found) = run(&series, &Plan { cycle, limit: question.limit, seed: SEED }) else {
        return Err(BacktestError::NoWindow { file, from, to, span: question.span.name() });
    };
    if found.limit <= 0.0 {
        return Err(BacktestError::NoLimit { file });
    }
    let methods = found.scores.iter().map(method).collect();
    Ok(BacktestView { series: SeriesView { from, to, windows: found.windows, limit: found.limit }, methods })
}

impl WindowSpan {
    const fn name(self) -> &'static str {
        match self {
            WindowSpan::Week => "week",
            WindowSpan::Month => "month",
        }
    }
}

fn method(score: &Score) -> MethodView {
    let some = |figure: f64| (score.n > 0).then_some(figure);
    MethodView {
        name: score.method.name(),
        n: score.n,
        mae_hours: some(score.mae_hours),
        crps_hours: some(score.crps_hours),
        brier: some(score.brier),
        coverage80: score.coverage80,
        width80_hours: score.width80_hours,
        missed: score.missed,
    }
}

fn cycle(question: &BacktestQuestion) -> Result<Cycle, BacktestError> {
    let Some(resets) = &question.resets else {
        let every = match question.span {
            WindowSpan::Week => Every::Week(Weekday::Mon),
            WindowSpan::Month => Every::Month(1),
        };
        return Ok(Cycle::new(every, 0, Tz::UTC));
    };
    let cycle = settings::parse_resets(resets)
        .map_err(|rule| BacktestError::Resets { reason: format!("{rule}, for example --resets \"Mon 00:00 UTC\"") })?;
    let fits = matches!(
        (question.span, cycle.every),
        (WindowSpan::Week, Every::Week(_)) | (WindowSpan::Month, Every::Month(_))
    );
    let other = match question.span {
        WindowSpan::Week => "names no day of the week: write \"Mon 00:00 UTC\", or add --window month",
        WindowSpan::Month => "names no day of the month: write \"1st 00:00 UTC\", or leave --window out",
    };
    if fits { Ok(cycle) } else { Err(BacktestError::Resets { reason: other.to_owned() }) }
}

/// The first line may be a header; empty lines are passed over.
fn rows(path: &Path) -> Result<Vec<(Timestamp, f64)>, BacktestError> {
    let file = path.display().to_string();
    let unreadable = |reason| BacktestError::Unreadable { file: file.clone(), reason };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut rows, mut line, mut text) = (vec![], 0, String::new());
    loop {
        text.clear();
        let read = io::Read::take(&mut reader, LINE_BYTES_MAX).read_line(&mut text).map_err(unreadable)?;
        if read == 0 {
            return Ok(rows);
        }
        line += 1;
        let found = row(text.trim_start_matches('\u{feff}').trim_end());
        match found {
            Ok(Some(_)) if rows.len() == ROWS_MAX => {
                let wrong = format!("a backtest takes at most {ROWS_MAX} rows");
                return Err(BacktestError::Line { file, line, wrong });
            }
            Ok(Some(row)) => rows.push(row),
            Ok(None) => {}
            // A head has names; what begins with an instant is no head.
            Err(_) if line == 1 && !begins_with_an_instant(&text) => {}
            Err(wrong) => return Err(BacktestError::Line { file, line, wrong }),
        }
    }
}

/// Twenty years of half hours are 350,640.
const ROWS_MAX: usize = 2_000_000;
const LINE_BYTES_MAX: u64 = 65_536;
/// Beyond it sums of hours stop being numbers that mean something.
const VALUE_MAX: f64 = 1e15;

fn begins_with_an_instant(text: &str) -> bool {
    let cell = text.trim_start_matches('\u{feff}').split(',').next().unwrap_or_default();
    Timestamp::parse(cell.trim().trim_matches('"')).is_some()
}

fn row(text: &str) -> Result<Option<(Timestamp, f64)>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut cells = text.split(',').map(|cell| cell.trim().trim_matches('"'));
    let (instant, value) = (cells.next().unwrap_or_default(), cells.next());
    let at = Timestamp::parse(instant)
        .ok_or_else(|| format!("{:?} is no instant such as 2026-11-02T00:00:00Z", short(instant)))?;
    let value = value.ok_or("a number is missing after the instant")?;
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| format!("{:?} is no number", short(value)))?;
    if number < 0.0 {
        return Err(format!("{} is below 0: what was used can't be", short(value)));
    }
    if number > VALUE_MAX {
        return Err(format!("{} is more than 1e15", short(value)));
    }
    Ok(Some((at, number)))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
