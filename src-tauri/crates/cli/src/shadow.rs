//! `shadow`: calls of the past under other terms. `changes`: what upstreams changed.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::changes::ChangeView;
use app::shadow::{ReplayedView, ShadowQuestion, ShadowView};

use crate::args::{Changes, Shadow};
use crate::table::{clean, count, dollars, number, table, time, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, asked: Shadow) -> anyhow::Result<ExitCode> {
    let Shadow { from, to, upstream, tier, requests, input_tokens, output_tokens, budgets, priorities, shape } = asked;
    let question =
        ShadowQuestion { from, to, upstream, tier, requests, input_tokens, output_tokens, budgets, priorities };
    let Answer::Shadow(found) = place.ask(Command::Shadow(question)).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&found)?;
    } else if found.calls == 0 {
        let ShadowView { upstream, from, to, .. } = &*found;
        tell(&clean(&format!(
            "No call went to {upstream} from {from} to {to}: there is nothing to let through again."
        )));
        tell("\n");
    } else {
        print(&compared(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn compared(found: &ShadowView) -> String {
    let ShadowView { as_it_is: one, changed: other, .. } = found;
    let row = |name: &str, of: fn(&ReplayedView) -> String| vec![words(name), number(of(one)), number(of(other))];
    let rows = [
        row("let through", |found| count(found.served)),
        row("refused", |found| count(found.refused)),
        row("  by a window or budget", |found| count(found.over_quota)),
        row("waited, all together", |found| time(found.waited_ms)),
        row("  critical", |found| time(found.waited_critical_ms)),
        row("  normal", |found| time(found.waited_normal_ms)),
        row("  background", |found| time(found.waited_background_ms)),
        row("the longest wait", |found| time(found.longest_ms)),
        row("cost", |found| dollars(Some(&found.cost_usd))),
    ];
    let left_out = if found.left_out { ", the latest; older ones are left out" } else { "" };
    let head = format!("{} calls to {}, {} to {}{left_out}", count(found.calls), found.upstream, found.from, found.to);
    format!("{head}\n{}", table(&["", "as it is", "changed"], &rows))
}

pub(crate) async fn changes(place: &Place, asked: &Changes) -> anyhow::Result<ExitCode> {
    let (from, to) = (asked.from.clone(), asked.to.clone());
    let Answer::Changes(all) = place.ask(Command::Changes { from, to }).await? else { return Err(unexpected()) };
    if asked.shape.json {
        print_json(&all)?;
    } else if all.is_empty() {
        print("nothing has changed that was seen\n")?;
    } else {
        let rows: Vec<_> = all.iter().map(row).collect();
        print(&table(&["at", "of", "what", "", "before", "after", "told by"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(change: &ChangeView) -> Vec<crate::table::Cell> {
    let ChangeView { at, upstream, kind, what, before, after, source } = change;
    let kind = kind.replace('_', " ");
    vec![words(at), words(upstream), words(&kind), words(what), words(before), words(after), words(source)]
}
