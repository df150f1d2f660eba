//! `forecast`: when windows run out, and how good forecasts are on a series.

use std::process::ExitCode;

use app::api::Answer;
use app::backtest::{BacktestQuestion, BacktestView, MethodView, WindowSpan, backtest as run_backtest};
use app::view::{AmountView, ForecastView, SpreadView};

use crate::args::{Backtest, BacktestLimit, BacktestWindow, Forecast, ForecastOf};
use crate::table::{clean, lines, number, percent, table, words};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn run(place: &Place, asked: &Forecast) -> anyhow::Result<ExitCode> {
    if let Some(ForecastOf::Backtest(question)) = &asked.of {
        return backtest(question);
    }
    let Answer::Forecasts(all) = place.ask(app::api::Command::Forecast).await? else { return Err(unexpected()) };
    if asked.shape.json {
        print_json(&all)?;
    } else {
        print(&all.iter().map(told).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `anthropic week: $182.10 of $250.00 used; runs out Thu afternoon to Fri morning (Europe/Berlin)`, and what it goes by.
fn told(forecast: &ForecastView) -> String {
    let whose = forecast.upstream.as_ref().or(forecast.scope.as_ref());
    let name = whose.map_or_else(|| forecast.window.clone(), |whose| format!("{whose} {}", forecast.window));
    let limit = forecast.limit.as_ref().map_or_else(String::new, |limit| format!(" of {}", amount(limit)));
    let SpreadView { p10, p50, p90 } = &forecast.total;
    let text = match forecast.limit {
        None if !forecast.informative => "too early to tell what it comes to".to_owned(),
        None => format!("comes to {} ({} to {})", amount(p50), amount(p10), amount(p90)),
        Some(_) => forecast.text.clone(),
    };
    let score = forecast
        .score
        .as_ref()
        .map_or_else(String::new, |score| format!("; the 80 % band held {} of {}", score.hits, score.forecasts));
    lines(&format!("{name}: {}{limit} used; {text}\n  from {}{score}", amount(&forecast.used), forecast.basis)) + "\n"
}

fn amount(amount: &AmountView) -> String {
    match amount {
        AmountView::Usd(usd) => {
            format!("${}", usd.parse::<f64>().map_or_else(|_| usd.clone(), |usd| format!("{usd:.2}")))
        }
        AmountView::Tokens(tokens) => format!("{tokens} tokens"),
        AmountView::Percent(percent) => format!("{percent:.1} %"),
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
