//! A comparison as a view: lines, causes with their sums, what to do.

use std::collections::BTreeMap;

use domain::money::Usd;
use domain::reconcile::{Cause, Difference, Item, Line};

use super::reported::Keys;
use super::{Account, Compared, DifferenceView, ReconciledAccountView, ReconciledLineView, date};

pub(super) fn account(account: &Account, compared: &Compared, good: Option<i64>) -> ReconciledAccountView {
    let reported: Usd = compared.lines.iter().filter_map(|line| line.reported.cost).sum();
    let ours: Usd = compared.lines.iter().map(|line| line.ours.cost).sum();
    ReconciledAccountView {
        upstreams: account.upstreams.iter().map(ToString::to_string).collect(),
        host: compared.host.clone(),
        reported_usd: reported.to_string(),
        ledger_usd: ours.to_string(),
        difference_usd: (reported - ours).to_string(),
        reconciled_to: good.map(date),
        causes: causes(&compared.lines, &compared.keys),
        lines: compared.lines.iter().map(|line| shown(line, &compared.keys)).collect(),
        people: compared.people.clone(),
        notes: compared.notes.clone(),
        suggestions: suggestions(&compared.lines),
    }
}

/// Over all lines, the largest first.
fn causes(lines: &[Line], keys: &Keys) -> Vec<DifferenceView> {
    let mut sums: BTreeMap<&Cause, (i64, i64, Option<Usd>)> = BTreeMap::new();
    for (item, part) in lines.iter().flat_map(|line| line.differences.iter().map(|part| (line.item, part))) {
        let (tokens, searches, cost) = sums.entry(&part.cause).or_default();
        let count = if item == Item::WebSearches { searches } else { tokens };
        *count = count.saturating_add(part.count);
        *cost = part.cost.map(|more| cost.unwrap_or_default() + more).or(*cost);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (_, _, cost))| std::cmp::Reverse(cost.map(|cost| cost.as_nanos().unsigned_abs())));
    sums.into_iter().map(|(cause, (tokens, searches, cost))| difference(cause, tokens, searches, cost, keys)).collect()
}

fn shown(line: &Line, keys: &Keys) -> ReconciledLineView {
    let part = |part: &Difference| {
        let (tokens, searches) = if line.item == Item::WebSearches { (0, part.count) } else { (part.count, 0) };
        difference(&part.cause, tokens, searches, part.cost, keys)
    };
    ReconciledLineView {
        day: date(line.day),
        model: line.model.to_string(),
        class: line.item.name().to_owned(),
        reported: line.reported.count(),
        ledger: line.ours.count(),
        reported_usd: line.reported.cost.map(|cost| cost.to_string()),
        ledger_usd: line.ours.known_cost().map(|cost| cost.to_string()),
        differences: line.differences.iter().map(part).collect(),
    }
}

fn difference(cause: &Cause, tokens: i64, web_searches: i64, cost: Option<Usd>, keys: &Keys) -> DifferenceView {
    let origin = if let Cause::OtherKey(origin) = cause { Some(origin) } else { None };
    let key = origin.and_then(|origin| origin.key.as_deref());
    DifferenceView {
        cause: cause.name().to_owned(),
        says: words(cause, keys),
        explained: cause.is_explained(),
        tokens,
        web_searches,
        usd: cost.map(|cost| cost.to_string()),
        api_key: key.map(str::to_owned),
        workspace: origin.and_then(|origin| origin.workspace.as_deref()).map(str::to_owned),
    }
}

fn words(cause: &Cause, keys: &Keys) -> String {
    match cause {
        Cause::OtherKey(origin) => {
            let id = origin.key.as_deref().unwrap_or("none named");
            let key = keys.name(id).map_or_else(|| id.to_owned(), |name| format!("{name}, {id}"));
            let workspace = origin.workspace.as_deref().unwrap_or("the default workspace");
            format!("used with another key ({key}) in {workspace}")
        }
        Cause::OtherMachine => "used with our key on another machine, or past this gateway".to_owned(),
        Cause::Estimate => "interrupted calls, of which the ledger has estimates".to_owned(),
        Cause::Midnight => "calls over midnight, which the report may have on the other day".to_owned(),
        Cause::Delay => "calls of the last hour, which the report may not have yet".to_owned(),
        Cause::Unreported => "in the ledger only: the report does not have these calls".to_owned(),
        Cause::Logs => "in the ledger from logs or telemetry only: a subscription's calls are in no report".to_owned(),
        Cause::PriorityTier => "Priority Tier, whose cost is in no report".to_owned(),
        Cause::NoCost => "no cost is reported (yet)".to_owned(),
        Cause::LongPrompts => "prompts so long that another band of the price holds, past this gateway".to_owned(),
        Cause::Unpriced => "the ledger knows no price".to_owned(),
        Cause::Price => "the price differs: a discount, or a price that is out of date".to_owned(),
        Cause::Rounding => "rounding, below a cent a line".to_owned(),
        Cause::OtherService => "what the ledger does not count: code execution, sessions".to_owned(),
    }
}

/// One command for each model and class whose price differs or is unknown, from the first such day on.
fn suggestions(lines: &[Line]) -> Vec<String> {
    let mut commands: BTreeMap<(&str, &'static str), String> = BTreeMap::new();
    for line in lines {
        let wants = line.differences.iter().any(|part| matches!(part.cause, Cause::Price | Cause::Unpriced));
        let (Some(cost), count) = (line.reported.cost, line.reported.count()) else { continue };
        if !wants || count == 0 || matches!(line.item, Item::WebSearches | Item::Other) || cost < Usd::ZERO {
            continue;
        }
        commands.entry((&line.model, line.item.name())).or_insert_with(|| {
            let per_mtok = Usd::from_nanos(per_mtok(cost, count)).to_string();
            let per_mtok = per_mtok.trim_end_matches('0').trim_end_matches('.');
            let (model, class) = (&line.model, line.item.name());
            format!("tidegate price set {model} {class} {per_mtok} --from {}", date(line.day))
        });
    }
    commands.into_values().collect()
}

/// To a thousandth of a cent.
fn per_mtok(cost: Usd, count: u64) -> i64 {
    let nanos = i128::from(cost.as_nanos()) * 1_000_000 / i128::from(count.max(1));
    i64::try_from((nanos + 5_000) / 10_000 * 10_000).unwrap_or(i64::MAX)
}
