//! What the books tell: `usage`, `calls`, `why`, `export`, `backup`, `verify`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use app::api::{Answer, ApiError, Command, ExportQuestion};
use app::control::inspect;
use app::view::{CallView, PricingView, UsageRowView, UsageView, WhyView};
use app::{HostError, csv_cell};

use crate::args::{Calls, Export, Exported, Shape, Usage, Why};
use crate::status::shown_subscription;
use crate::table::{Cell, clean, count, dollars, maybe, name, number, table, time, words};
use crate::{Place, bundle, print, print_json, tell, unexpected};

pub(crate) async fn usage(place: &Place, question: Usage) -> anyhow::Result<ExitCode> {
    let (by, from, to) = (question.by.clone(), question.days.from, question.days.to);
    let Answer::Usage(usage) = place.ask(Command::Usage { by, from, to }).await? else { return Err(unexpected()) };
    match (question.shape.json, question.csv) {
        (true, _) => print_json(&usage)?,
        (false, true) => print(&usage_csv(&usage))?,
        (false, false) => print(&shown_usage(&usage, question.by.as_deref().unwrap_or("day")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_usage(usage: &UsageView, by: &str) -> String {
    let cells = |row: &UsageRowView, key: &str| -> Vec<Cell> {
        vec![
            name(if key.is_empty() { "–" } else { key }),
            number(count(row.calls)),
            number(count(row.input_tokens)),
            number(count(row.cache_write_5m_tokens + row.cache_write_1h_tokens)),
            number(count(row.cache_read_tokens)),
            number(count(row.output_tokens)),
            number(dollars(row.cost_usd.as_deref())),
            number(count(row.unpriced_calls)),
        ]
    };
    let mut rows: Vec<Vec<Cell>> = usage.rows.iter().map(|row| cells(row, &row.key)).collect();
    rows.push(cells(&usage.total, "total"));
    let heads = [by, "calls", "input", "cache write", "cache read", "output", "cost", "unpriced"];
    let span = format!("\nin tokens, from {} to {}, days of {}\n", usage.from, usage.to, usage.timezone);
    let reconciled = usage.reconciled_to.as_deref().map_or_else(String::new, |to| format!("reconciled to {to}\n"));
    let deleted = usage.kept_from.as_deref().map_or_else(String::new, only_kept);
    table(&heads, &rows) + &span + &deleted + &reconciled + &shown_subscription(usage.subscription.as_deref())
}

/// Where some of what is asked for was deleted.
pub(crate) fn only_kept(kept_from: &str) -> String {
    format!("calls from before {kept_from} were deleted: this is of those that are left; `usage` by day has them all\n")
}

fn usage_csv(usage: &UsageView) -> String {
    let mut text = "key,calls,input_tokens,cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,output_tokens,cost_usd,unpriced_calls,saved_usd\r\n".to_owned();
    for row in &usage.rows {
        let counts = [
            row.calls,
            row.input_tokens,
            row.cache_write_5m_tokens,
            row.cache_write_1h_tokens,
            row.cache_read_tokens,
            row.output_tokens,
        ];
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        let cost = row.cost_usd.as_deref().unwrap_or("");
        text +=
            &format!("{},{},{cost},{},{}\r\n", csv_cell(&row.key), counts.join(","), row.unpriced_calls, row.saved_usd);
    }
    text
}

pub(crate) async fn calls(place: &Place, question: Calls) -> anyhow::Result<ExitCode> {
    let Answer::Calls(calls) =
        place.ask(Command::Calls { last: question.last, from: question.from, to: question.to }).await?
    else {
        return Err(unexpected());
    };
    if question.shape.json {
        print_json(&calls)?;
    } else if calls.is_empty() {
        tell("No call has ended yet.\n");
    } else {
        print(&shown_calls(&calls))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_calls(calls: &[CallView]) -> String {
    let row = |call: &CallView| {
        let prompt =
            call.input_tokens + call.cache_write_5m_tokens + call.cache_write_1h_tokens + call.cache_read_tokens;
        vec![
            words(&call.call_id),
            words(&call.started_at),
            name(&call.client),
            name(&call.model),
            words(&call.outcome),
            number(count(prompt)),
            number(count(call.output_tokens)),
            number(dollars(call.cost_usd.as_deref())),
            number(time(call.waited_ms)),
            number(time(call.total_ms)),
        ]
    };
    let heads = ["call", "started", "client", "model", "outcome", "prompt", "output", "cost", "waited", "total"];
    table(&heads, &calls.iter().map(row).collect::<Vec<_>>())
}

pub(crate) async fn why(place: &Place, question: Why) -> anyhow::Result<ExitCode> {
    let Answer::Why(why) = place.ask(Command::Why { call_id: question.call_id }).await? else {
        return Err(unexpected());
    };
    if question.shape.json {
        print_json(&why)?
    } else {
        print(&shown_why(&why))?
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_why(why: &WhyView) -> String {
    let call = &why.call;
    let error = call.error.as_deref().map_or_else(String::new, |error| format!(": {}", clean(error)));
    let mut text = format!(
        "call {}  {}  {}  {}{}\nstarted {}  client {}  {}\n",
        call.call_id,
        clean(&call.model),
        call.outcome,
        if call.status == 0 { "no status".to_owned() } else { format!("status {}", call.status) },
        error,
        call.started_at,
        clean(&call.client),
        call.priority,
    );
    text += &shown_times(why);
    if let Some(kept) = &why.waited_for {
        let why = if call.outcome == "refused" { "it was refused:" } else { "it waited because" };
        text += &format!("{why} {}\n", clean(kept));
    }
    if call.cache == "hit" {
        text += &format!("answered from the cache, {} saved\n", dollars(call.saved_usd.as_deref()));
    }
    if has_passed(why) {
        text += &shown_attempts(why);
    }
    text += &shown_cost(why);
    text + &shown_sources(why)
}

/// Logs and telemetry tell of calls that the gateway has not seen.
fn has_passed(why: &WhyView) -> bool {
    why.sources.first().is_none_or(|own| own.source == "gateway")
}

fn shown_times(why: &WhyView) -> String {
    let call = &why.call;
    if !has_passed(why) {
        let is_measured = why.sources.first().is_some_and(|own| own.source == "otel");
        let total = if is_measured { format!("total {}, ", time(call.total_ms)) } else { String::new() };
        return format!("{total}past the gateway: nobody here knows how long it waited and when its first byte came\n");
    }
    let first_byte = call.first_byte_ms.map_or_else(|| "never".to_owned(), |ms| format!("after {}", time(ms)));
    format!("waited {}  first byte {first_byte}  total {}\n", time(call.waited_ms), time(call.total_ms))
}

fn shown_sources(why: &WhyView) -> String {
    let row = |source: &app::view::SourceView| {
        let prompt = source.input_tokens
            + source.cache_write_5m_tokens
            + source.cache_write_1h_tokens
            + source.cache_read_tokens;
        vec![
            words(&source.source),
            words(if source.counts { "counts" } else { "" }),
            number(count(prompt)),
            number(count(source.output_tokens)),
            number(dollars(source.cost_usd.as_deref())),
            words(&source.reason),
            words(source.differs.join(", ")),
        ]
    };
    let heads = ["told by", "", "prompt", "output", "cost", "because", "says otherwise"];
    let mut text = format!("\n{}", table(&heads, &why.sources.iter().map(row).collect::<Vec<_>>()));
    text += &match (&why.superseded_by, why.superseded) {
        (Some(by), _) => format!("this entry counts nowhere: {by} has its place\n"),
        (None, true) => "this entry counts nowhere: another copy of its message has its place\n".to_owned(),
        (None, false) => String::new(),
    };
    if !why.supersedes.is_empty() {
        text += &format!("it has the place of {}, which knew less\n", why.supersedes.join(", "));
    }
    text
}

fn shown_attempts(why: &WhyView) -> String {
    if why.attempts.is_empty() {
        return "it never left\n".to_owned();
    }
    let row = |attempt: &app::view::AttemptView| {
        let status = attempt.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let billed = if attempt.maybe_billed { "may be billed" } else { "" };
        vec![
            number(attempt.number),
            words(&attempt.upstream),
            words(&attempt.opened_at),
            words(status),
            maybe(attempt.request_id.as_deref()),
            words(attempt.error.as_deref().unwrap_or("")),
            words(billed),
        ]
    };
    let heads = ["attempt", "upstream", "left at", "status", "request id", "error", ""];
    format!("\n{}", table(&heads, &why.attempts.iter().map(row).collect::<Vec<_>>()))
}

fn shown_cost(why: &WhyView) -> String {
    let estimated = if why.call.estimated { " (estimated)" } else { "" };
    let row = |term: &app::view::TermView| {
        vec![
            words(term.class.replace('_', " ")),
            number(count(term.tokens)),
            number(format!("${}", term.usd_per_mtok)),
            number(format!("${}", term.cost_usd)),
        ]
    };
    let mut text = format!(
        "\n{}",
        table(&["tokens", "count", "per million", "cost"], &why.terms.iter().map(row).collect::<Vec<_>>())
    );
    text += &match &why.call.cost_usd {
        Some(cost) => format!("cost ${cost}{estimated}\n"),
        None => "the price is unknown\n".to_owned(),
    };
    let pricing = &why.pricing;
    for multiplier in &pricing.multipliers {
        text += &format!("times {} for {}\n", multiplier.factor, multiplier.name);
    }
    if let Some(usd) = &pricing.web_search_usd {
        text += &format!("web searches {}: ${usd}\n", count(pricing.web_searches));
    }
    if let Some(price) = &why.price {
        let from = price.valid_from.as_deref().map_or_else(String::new, |from| format!(", valid from {from}"));
        let source = clean(&price.source);
        let source = if source.starts_with("set by hand") { source } else { format!("read at {source}") };
        text += &format!("price {}{from}, {source}\n", clean(&price.price_id));
    }
    text + &shown_pricing(pricing)
}

/// How sure the price is, and how the call came to it.
fn shown_pricing(pricing: &PricingView) -> String {
    let mut text = String::new();
    if !pricing.says.is_empty() {
        text += &format!("{}\n", clean(&pricing.says));
    }
    if let Some(band) = &pricing.band {
        text += &format!("by the family's other prices from ${} to ${}\n", band.least_usd, band.most_usd);
    }
    if let Some(tokens) = pricing.burndown_tokens {
        text += &format!("{} tokens of the commitment\n", count(tokens));
    }
    if let Some(other) = &pricing.elsewhere {
        text += &format!(
            "elsewhere ${} in and ${} out per million, which would be ${}: {} ({})\n",
            other.input_usd_per_mtok,
            other.output_usd_per_mtok,
            other.would_be_usd,
            clean(&other.label),
            clean(&other.source)
        );
    }
    for change in &pricing.changes {
        let old = change.old_cost_usd.as_deref().map_or_else(|| "unknown".to_owned(), |usd| format!("${usd}"));
        text += &format!(
            "repriced at {}: {old} by {} became ${} by {}; {}\n",
            change.at,
            by(change.old_price_id.as_deref(), change.old_figures.as_deref()),
            change.cost_usd,
            by(change.price_id.as_deref(), change.figures.as_deref()),
            clean(&change.reason)
        );
    }
    text
}

fn by(price: Option<&str>, figures: Option<&str>) -> String {
    let figures = figures.map_or_else(String::new, |figures| format!(" ({})", clean(figures)));
    clean(price.unwrap_or("no price")) + &figures
}

pub(crate) async fn export(place: &Place, question: Export) -> anyhow::Result<ExitCode> {
    if question.what == Exported::Bundle {
        return bundle::export(place, question).await;
    }
    if question.name.is_some() || question.tenants {
        return Err(ApiError::asker("--name and --tenants are of bundles only").into());
    }
    let draft = draft(place, question.out.as_deref())?;
    let what = match question.what {
        Exported::Calls | Exported::Bundle => app::api::Exported::Calls,
        Exported::Daily => app::api::Exported::Daily,
        Exported::Monthly => app::api::Exported::Monthly,
        Exported::Alerts => app::api::Exported::Alerts,
    };
    let wanted = ExportQuestion {
        what,
        from: question.days.from,
        to: question.days.to,
        client: question.client,
        columns: question.columns,
        by: question.by,
    };
    let written = place.ask(Command::Export { question: wanted, file: draft.clone() }).await;
    let done = written.and_then(|_| hand_over(&draft, question.out.as_deref()));
    // After a success it is gone or copied; after a failure nobody wants it.
    let _ = std::fs::remove_file(&draft);
    done?;
    Ok(ExitCode::SUCCESS)
}

/// The CSV is first written beside its place, whole, by whoever has the ledger.
fn draft(place: &Place, out: Option<&Path>) -> anyhow::Result<PathBuf> {
    let name = format!("export-{}.csv.new", std::process::id());
    let beside = match out {
        Some(out) => {
            let place = std::path::absolute(out).context("the place of --out is unknown")?;
            let has_folder = place.parent().is_some_and(Path::is_dir);
            anyhow::ensure!(has_folder, "{} can't be written: there is no such folder; make it first", out.display());
            place.with_file_name(name)
        }
        None => std::path::absolute(&place.data_dir).context("the data folder's place is unknown")?.join(name),
    };
    Ok(beside)
}

fn hand_over(draft: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    match out {
        Some(out) => std::fs::rename(draft, out).with_context(|| format!("{} can't be written", out.display())),
        None => {
            let mut file = File::open(draft)?;
            io::copy(&mut file, &mut io::stdout().lock())?;
            Ok(())
        }
    }
}

/// By whoever has the ledger, who may run in another folder.
pub(crate) async fn backup(place: &Place, file: &Path) -> anyhow::Result<ExitCode> {
    let whole = std::path::absolute(file).context("the place of the copy is unknown")?;
    let has_folder = whole.parent().is_some_and(Path::is_dir);
    anyhow::ensure!(has_folder, "{} can't be written: there is no such folder; make it first", file.display());
    anyhow::ensure!(!whole.is_dir(), "{} is a folder; name a file in it", file.display());
    place.ask(Command::Backup { file: whole }).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn verify(place: &Place, shape: &Shape) -> anyhow::Result<ExitCode> {
    let verdict = match place.ask(Command::Verify).await {
        Ok(Answer::Verify(verdict)) => verdict,
        Ok(_) => return Err(unexpected()),
        // What can't be opened can still be looked at.
        Err(error) => match error.downcast_ref::<HostError>() {
            Some(cause) if cause.is_damage() => inspect(&place.data_dir).await.map_err(|_| error)?,
            Some(_) | None => return Err(error),
        },
    };
    if shape.json {
        print_json(&verdict)?;
    } else if verdict.clean {
        print("The ledger is whole and adds up.\n")?;
    } else {
        let lines: Vec<String> = verdict.findings.iter().map(|finding| clean(finding) + "\n").collect();
        print(&lines.concat())?;
    }
    Ok(if verdict.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_runs_in_a_spreadsheet() {
        for (key, cell) in
            [("shop", "shop"), ("a,b", "\"a,b\""), ("=1+1", "\"'=1+1\""), ("\u{feff}＝1", "\"'\u{feff}＝1\"")]
        {
            let row = app::view::UsageRowView { key: key.to_owned(), ..Default::default() };
            let csv = usage_csv(&UsageView { rows: vec![row], ..UsageView::default() });
            let line = csv.lines().nth(1).expect("a row");
            assert!(line.starts_with(&format!("{cell},0,")), "{line}");
        }
    }

    #[test]
    fn of_a_call_that_the_gateway_has_not_seen_nothing_is_said_that_only_it_could_know() {
        let why = |source: &str| {
            let source = app::view::SourceView { source: source.to_owned(), counts: true, ..Default::default() };
            let call = CallView { total_ms: 2_000, ..CallView::default() };
            shown_why(&WhyView { call, sources: vec![source], ..WhyView::default() })
        };
        for source in ["log", "otel"] {
            let said = why(source);
            assert!(said.contains("past the gateway"), "{said}");
            assert!(!["it never left", "never", "waited 0"].iter().any(|wrong| said.contains(wrong)), "{said}");
            assert_eq!(said.contains("total"), source == "otel", "{said}");
        }
        let said = why("gateway");
        assert!(["waited 0", "first byte never", "it never left"].iter().all(|told| said.contains(told)), "{said}");
    }
}
