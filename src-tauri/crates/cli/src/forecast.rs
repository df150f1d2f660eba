//! `forecast`: when windows run out, and how good forecasts are on a series.

use std::process::ExitCode;

use app::api::{Answer, ApiError};
use app::backtest::{BacktestQuestion, BacktestView, MethodView, WindowSpan, backtest as run_backtest};
use app::view::{AmountView, ForecastView, SpreadView, WhatIfView};

use crate::args::{Backtest, BacktestLimit, BacktestWindow, Forecast, ForecastOf};
use crate::table::{clean, lines, number, percent, table, words};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn run(place: &Place, asked: &Forecast) -> anyhow::Result<ExitCode> {
    if let Some(ForecastOf::Backtest(question)) = &asked.of {
        return backtest(question);
    }
    if !asked.changes.is_empty() {
        return what_if(place, asked).await;
    }
    let Answer::Forecasts(all) = place.ask(app::api::Command::Forecast).await? else { return Err(unexpected()) };
    if asked.shape.json {
        print_json(&all)?;
    } else {
        print(&all.iter().map(told).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn what_if(place: &Place, asked: &Forecast) -> anyhow::Result<ExitCode> {
    let changes = asked.changes.clone();
    let Answer::WhatIf(all) = place.ask(app::api::Command::WhatIf { changes }).await? else { return Err(unexpected()) };
    if asked.shape.json {
        print_json(&all)?;
    } else {
        print(&all.iter().map(compared).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What it is said to be, and what it would be.
fn compared(both: &WhatIfView) -> String {
    let WhatIfView { before, after } = both;
    let total = |forecast: &ForecastView| {
        if !forecast.informative {
            return "too early to tell: there is too little history to try this on".to_owned();
        }
        let p = forecast.p_runs_out.map_or_else(String::new, |p| format!("; runs out: {}", percent(p)));
        format!("{}{p}; {}", outcome(forecast), guess(&forecast.total.p50))
    };
    lines(&format!("{}:\n  as it is: {}\n  changed:  {}", name(before), total(before), total(after))) + "\n"
}

fn name(forecast: &ForecastView) -> String {
    let whose = forecast.upstream.as_ref().or(forecast.scope.as_ref());
    whose.map_or_else(|| forecast.window.clone(), |whose| format!("{whose} {}", forecast.window))
}

fn outcome(forecast: &ForecastView) -> String {
    let SpreadView { p10, p50, p90 } = &forecast.total;
    match forecast.limit {
        None if !forecast.informative => "too early to tell what it comes to".to_owned(),
        None => format!("comes to {} ({} to {})", guess(p50), guess(p10), guess(p90)),
        Some(_) => forecast.text.clone(),
    }
}

/// `anthropic week: $182.10 of $250.00 used; runs out Thu afternoon to Fri morning (Europe/Berlin)`, and what it goes by.
fn told(forecast: &ForecastView) -> String {
    let limit = forecast.limit.as_ref().map_or_else(String::new, |limit| format!(" of {}", amount(limit)));
    let name = name(forecast);
    let score = forecast
        .score
        .as_ref()
        .map_or_else(String::new, |score| format!("; the 80 % band held {} of {}", score.hits, score.forecasts));
    let exchange = forecast
        .exchange
        .as_ref()
        .map_or_else(String::new, |exchange| format!("; 1 % is about {}", usd(&exchange.usd_per_percent)));
    let since = forecast.limit_since.as_ref().map_or_else(String::new, |since| {
        format!("; it has this limit since {since}, and what was used before counts")
    });
    let from = if forecast.informative { "from " } else { "" };
    lines(&format!(
        "{name}: {}{limit} used; {}\n  {from}{}{since}{exchange}{score}",
        amount(&forecast.used),
        outcome(forecast),
        forecast.basis
    )) + "\n"
}

fn guess(told: &Option<AmountView>) -> String {
    told.as_ref().map_or_else(|| "an unknown sum".to_owned(), amount)
}

fn amount(amount: &AmountView) -> String {
    match amount {
        AmountView::Usd(amount) => usd(amount),
        AmountView::Tokens(tokens) => format!("{tokens} tokens"),
        AmountView::Percent(percent) => format!("{percent:.1} %"),
    }
}

fn usd(usd: &str) -> String {
    format!("${}", usd.parse::<f64>().map_or_else(|_| usd.to_owned(), |usd| format!("{usd:.2}")))
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
    let found = run_backtest(&question).map_err(ApiError::from)?;
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
