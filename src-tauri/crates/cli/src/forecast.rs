//! `forecast`: how good forecasts are on a series.

use std::process::ExitCode;

use app::backtest::{BacktestQuestion, BacktestView, MethodView, WindowSpan, backtest as run_backtest};

use crate::args::{Backtest, BacktestLimit, BacktestWindow, Forecast};
use crate::table::{clean, number, percent, table, words};
use crate::{print, print_json};

pub(crate) fn run(forecast: &Forecast) -> anyhow::Result<ExitCode> {
    match forecast {
        Forecast::Backtest(question) => backtest(question),
    }
}

fn backtest(asked: &Backtest) -> anyhow::Result<ExitCode> {
    let question = BacktestQuestion {
        file: asked.file.clone(),
        span: match asked.window {
            BacktestWindow::Week => WindowSpan::Week,
            BacktestWindow::Month => WindowSpan::Month,
        },
        resets: asked.resets.clone(),
        limit: match asked.limit {
            BacktestLimit::Auto => None,
            BacktestLimit::Amount(amount) => Some(amount),
        },
    };
    let found = run_backtest(&question)?;
    if asked.shape.json {
        print_json(&found)?;
    } else {
        print(&shown(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(found: &BacktestView) -> String {
    let series = &found.series;
    let head = format!(
        "{} to {}: {} full windows, limit {}\n\n",
        clean(&series.from),
        clean(&series.to),
        series.windows,
        series.limit
    );
    let heads = ["method", "forecasts", "MAE h", "CRPS h", "Brier", "80 % band covers", "its width h", "missed"];
    head + &table(&heads, &found.methods.iter().map(row).collect::<Vec<_>>()) + LEGEND
}

fn row(method: &MethodView) -> Vec<crate::table::Cell> {
    let figure = |figure: Option<f64>, places: usize| {
        number(figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.places$}")))
    };
    vec![
        words(method.name),
        number(method.n),
        figure(method.mae_hours, 1),
        figure(method.crps_hours, 1),
        figure(method.brier, 3),
        number(method.coverage80.map_or_else(|| "–".to_owned(), percent)),
        figure(method.width80_hours, 1),
        number(method.missed),
    ]
}

const LEGEND: &str = "\n\
MAE, CRPS: hours by which the run-out (or the reset, if that comes first) was missed; of a single moment they are the same.\n\
Brier: of the probability to run out. Missed: forecasts before a run-out that held it for less likely than not. Less is better.\n";
