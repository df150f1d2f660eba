//! `tidegate price`: what calls cost, what is set by hand, newer price files, and history at today's prices.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use app::api::{Answer, Command};
use app::prices::{
    AppliedView, FigureView, OwnPriceView, PriceAnswer, PriceChangeView, PriceCommand, PriceListView, PriceRowView,
    PriceSetView, PriceUpdateView, RatesView, TableView,
};

use crate::args::{Price, PriceApply, PriceList, PriceUpdate};
use crate::table::{Cell, clean, count, dollars, maybe, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, price: Price) -> anyhow::Result<ExitCode> {
    match price {
        Price::List(question) => list(place, question).await,
        Price::Set(set) => {
            let (model, class, value, from) = (set.model, set.class, set.value, set.from);
            changed(place, PriceCommand::Set { model, class, value, from }, set.shape.json).await
        }
        Price::Unset(unset) => {
            let command = PriceCommand::Unset { model: unset.model, class: unset.class, from: unset.from };
            changed(place, command, unset.shape.json).await
        }
        Price::Update(update) => self::update(place, update).await,
        Price::Reset => {
            let PriceAnswer::List(list) = ask(place, PriceCommand::Reset).await? else { return Err(unexpected()) };
            tell(&format!("In force: {}\n", shown_table(&list.table)));
            Ok(ExitCode::SUCCESS)
        }
        Price::Apply(apply) => self::apply(place, apply).await,
    }
}

async fn ask(place: &Place, command: PriceCommand) -> anyhow::Result<PriceAnswer> {
    let Answer::Price(answer) = place.ask(Command::Price(command)).await? else { return Err(unexpected()) };
    Ok(*answer)
}

async fn list(place: &Place, question: PriceList) -> anyhow::Result<ExitCode> {
    let history = question.history || question.model.is_some();
    let PriceAnswer::List(list) = ask(place, PriceCommand::List { model: question.model }).await? else {
        return Err(unexpected());
    };
    if question.shape.json {
        print_json(&list)?
    } else {
        print(&shown_list(&list, history))?
    }
    Ok(ExitCode::SUCCESS)
}

/// One call's way to its price is `why`; here is what holds now and, where history is asked for, what did and will.
fn shown_list(list: &PriceListView, history: bool) -> String {
    let own: Vec<&str> = list.prices.iter().filter(|row| is_own(row)).map(|row| row.model.as_str()).collect();
    let is_over = |row: &PriceRowView| !is_own(row) && own.contains(&row.model.as_str());
    let is_plain = |row: &PriceRowView| row.holds_now && row.platform.is_none() && !is_over(row);
    let rows = list.prices.iter().filter(|row| history || is_plain(row));
    let mut rows: Vec<&PriceRowView> = rows.collect();
    rows.sort_by_key(|row| &row.model);
    let heads = ["model", "input", "write 5m", "write 1h", "read", "output", "from", "to", "price"];
    let cells: Vec<Vec<Cell>> = rows.iter().flat_map(|row| lines(row)).collect();
    let mut text = table(&heads, &cells);
    text += "\ndollars per million tokens";
    text += &format!("; table: {}\n", shown_table(&list.table));
    if !list.own.is_empty() {
        let row = |own: &OwnPriceView| {
            let holds = if own.holds_now { "" } else { "not yet" };
            vec![
                words(&own.model),
                words(own.class.replace('_', " ")),
                number(&own.value),
                words(&own.day),
                words(holds),
            ]
        };
        let rows: Vec<Vec<Cell>> = list.own.iter().map(row).collect();
        text += &format!("\nSet by hand:\n{}", table(&["model", "class", "value", "from", ""], &rows));
    }
    if let Some(fault) = &list.own_fault {
        text += &format!("\nThe prices set by hand are not in force: {}\n", clean(fault));
    }
    for said in list.elsewhere.iter().filter(|_| history) {
        text += &format!(
            "\n{}: ${} in, ${} out; {} ({})\n",
            clean(&said.model),
            said.input,
            said.output,
            clean(&said.label),
            clean(&said.source)
        );
    }
    if history {
        let sources: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).collect();
        sources.iter().for_each(|source| text += &format!("\nsource: {}\n", clean(source)));
    }
    text
}

fn is_own(row: &PriceRowView) -> bool {
    row.price_id.starts_with("own:")
}

/// A row, and what long prompts and batches cost where that is a price of its own.
fn lines(row: &PriceRowView) -> Vec<Vec<Cell>> {
    let line = |model: String, rates: &RatesView, id: &str| {
        vec![
            words(model),
            number(&rates.input),
            number(&rates.cache_write_5m),
            number(&rates.cache_write_1h),
            number(&rates.cache_read),
            number(&rates.output),
            words(row.valid_from.as_deref().map_or("first day", day)),
            maybe(row.valid_to.as_deref().map(day)),
            words(id),
        ]
    };
    let mut lines = vec![line(row.model.clone(), &row.usd_per_mtok, &row.price_id)];
    if let Some((above, rates)) = row.long_prompt_above.zip(row.long_prompt_usd_per_mtok.as_ref()) {
        lines.push(line(format!("  prompt over {}", count(above)), rates, ""));
    }
    if let Some(rates) = &row.batch_usd_per_mtok {
        lines.push(line("  in batches".to_owned(), rates, ""));
    }
    lines
}

fn day(moment: &str) -> &str {
    moment.strip_suffix("T00:00:00.000Z").unwrap_or(moment)
}

fn shown_table(table: &TableView) -> String {
    let fault = table.fault.as_deref().map_or_else(String::new, |fault| format!("; {}", clean(fault)));
    let (file, read, source) = (clean(&table.file), clean(&table.read), clean(&table.source));
    format!("{file}, read on {read} from {source}{fault}")
}

async fn changed(place: &Place, command: PriceCommand, json: bool) -> anyhow::Result<ExitCode> {
    let PriceAnswer::Set(set) = ask(place, command).await? else { return Err(unexpected()) };
    if json {
        print_json(&set)?;
    } else {
        tell(&shown_set(&set));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_set(set: &PriceSetView) -> String {
    let said = |own: &OwnPriceView| {
        format!("{} of {} is {} from {}", own.class.replace('_', " "), own.model, own.value, own.day)
    };
    let mut text: String = set.set.iter().map(|own| said(own) + "\n").collect();
    text += &set.removed.iter().map(|own| format!("no longer: {}\n", said(own))).collect::<String>();
    if set.models.is_empty() && !set.set.is_empty() {
        text += "No listed model has that name: it has a price when its input and output are set.\n";
    } else if !set.set.is_empty() {
        text += &format!("That is for {}\n", set.models.join(", "));
    }
    if set.earlier_calls > 0 {
        text += &format!(
            "{} of all models that started since then cost what they did: `tidegate price apply --from D` reprices them\n",
            calls(set.earlier_calls)
        );
    }
    text
}

fn calls(number: u64) -> String {
    format!("{} call{}", count(number), if number == 1 { "" } else { "s" })
}

async fn update(place: &Place, update: PriceUpdate) -> anyhow::Result<ExitCode> {
    // Whoever has the ledger may run in another folder.
    let file = std::path::absolute(&update.file).context("the place of the file is unknown")?;
    let shown = updated(place, &file, None).await?;
    if !update.shape.json {
        print(&shown_update(&shown))?;
    }
    let install = !update.dry_run && (update.yes || (!update.shape.json && is_wanted()?));
    if !install {
        if update.shape.json {
            print_json(&shown)?;
        } else {
            tell(if update.dry_run { "Nothing was changed.\n" } else { "Nothing was changed: --yes installs it.\n" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let installed = updated(place, &file, Some(shown.digest)).await?;
    if update.shape.json {
        print_json(&installed)?
    } else {
        tell("It is in force for calls from now on.\n")
    }
    Ok(ExitCode::SUCCESS)
}

async fn updated(place: &Place, file: &Path, install: Option<String>) -> anyhow::Result<PriceUpdateView> {
    match ask(place, PriceCommand::Update { file: file.to_owned(), install }).await? {
        PriceAnswer::Update(view) => Ok(view),
        PriceAnswer::List(_) | PriceAnswer::Set(_) | PriceAnswer::Applied(_) => Err(unexpected()),
    }
}

/// Asked of a person; where nobody is there, no.
fn is_wanted() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    tell("Install it? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn shown_update(update: &PriceUpdateView) -> String {
    let mut text = format!(
        "{}: {} rows, read on {} from {}\nin force: {}\n\n",
        clean(&update.file),
        update.rows,
        clean(&update.read),
        clean(&update.source),
        shown_table(&update.before)
    );
    for change in &update.changes {
        text += &shown_change(change);
    }
    let of = |kind: &str| update.changes.iter().filter(|change| change.kind == kind).count();
    text += &format!("{} added, {} changed, {} ended\n", of("added"), of("changed"), of("ended"));
    if !update.skipped.is_empty() {
        let named: Vec<String> = update.skipped.iter().map(|skipped| clean(skipped)).collect();
        text += &format!("left aside, not known to this program: {}\n", named.join("; "));
    }
    text
}

fn shown_change(change: &PriceChangeView) -> String {
    let name = if change.price_id.is_empty() { &change.model } else { &change.price_id };
    let from = change.valid_from.as_deref().map_or_else(String::new, |from| format!(", from {}", day(from)));
    let source = if change.source.is_empty() { String::new() } else { format!(", read at {}", clean(&change.source)) };
    let figure = |figure: &FigureView| {
        let (old, new) = (figure.old.as_deref(), figure.new.as_deref());
        let said = match (old, new) {
            (Some(old), Some(new)) => format!("{} → {}", clean(old), clean(new)),
            (None, Some(one)) | (Some(one), None) => clean(one),
            (None, None) => String::new(),
        };
        format!("  {} {said}\n", clean(&figure.name))
    };
    let is_plain = |figure: &&FigureView| change.kind == "changed" || !is_standard(figure);
    let figures: String = change.figures.iter().filter(is_plain).map(figure).collect();
    format!("{} {}{from}{source}\n{figures}", change.kind, clean(name))
}

/// Of a row that comes or goes whole, what most rows say says nothing.
fn is_standard(figure: &FigureView) -> bool {
    let value = figure.new.as_deref().or(figure.old.as_deref()).unwrap_or_default();
    matches!(
        (figure.name.as_str(), value),
        ("us_only_multiplier" | "fast_multiplier" | "regional_multiplier" | "government_multiplier", "1")
            | ("batch_multiplier", "0.5")
            | ("web_search_usd", "0.010000000")
            | ("model" | "valid_from", _)
    )
}

async fn apply(place: &Place, apply: PriceApply) -> anyhow::Result<ExitCode> {
    let (from, to, reason, dry_run) = (apply.days.from, apply.days.to, apply.reason, apply.dry_run);
    let PriceAnswer::Applied(applied) = ask(place, PriceCommand::Apply { from, to, reason, dry_run }).await? else {
        return Err(unexpected());
    };
    if apply.shape.json {
        print_json(&applied)?
    } else {
        print(&shown_applied(&applied))?
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_applied(applied: &AppliedView) -> String {
    let mut text = String::new();
    if !applied.changes.is_empty() {
        let row = |row: &app::prices::AppliedRowView| {
            vec![
                words(&row.model),
                number(count(row.calls)),
                maybe(row.old_price_id.as_deref()),
                number(dollars(row.old_usd.as_deref())),
                maybe(row.new_price_id.as_deref()),
                number(dollars(row.new_usd.as_deref())),
            ]
        };
        let rows: Vec<Vec<Cell>> = applied.changes.iter().map(row).collect();
        text += &table(&["model", "calls", "old price", "old cost", "new price", "new cost"], &rows);
        text.push('\n');
    }
    let verb = if applied.dry_run { "would be repriced" } else { "were repriced" };
    text += &format!(
        "{} of {} from {} to {} {verb}; {} had no price\n",
        count(applied.repriced),
        calls(applied.calls),
        applied.from,
        applied.to,
        count(applied.were_unpriced)
    );
    text += &format!("cost ${} → ${}\n", applied.before_usd, applied.after_usd);
    if applied.still_unpriced > 0 {
        text += &format!("{} still without a price\n", calls(applied.still_unpriced));
    }
    if applied.kept > 0 {
        text +=
            &format!("{} kept as they are: free, of several models, or of a price that is gone\n", calls(applied.kept));
    }
    text
}
