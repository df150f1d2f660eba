//! `tidegate tier`: credit that was bought, and where an account is heading.

use std::process::ExitCode;

use app::api::{Answer, ApiError, Command};
use app::tiers::{AccountTierView, PurchaseView, SchemeView, TiersView};

use crate::args::{Purchase, Shape, Tier};
use crate::table::{clean, count, dollars, lines, name, number, percent, table, time, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, act: Tier) -> anyhow::Result<ExitCode> {
    let shape = match act {
        Tier::List(shape) => shape,
        Tier::Purchase(Purchase::Add { usd, date, upstream, shape }) => {
            let added = one(place.ask(Command::TierPurchase { usd, date, upstream }).await?)?;
            say(&format!(
                "{} of {} is written down; `tidegate tier purchase remove {}` takes it back",
                dollars(Some(&added.usd)),
                added.upstream,
                added.id
            ));
            shape
        }
        Tier::Purchase(Purchase::Remove { id, shape }) => {
            let removed = one(place.ask(Command::TierPurchaseRemove { id }).await?)?;
            let PurchaseView { upstream, at, usd, .. } = &removed;
            let plain = usd.trim_end_matches('0').trim_end_matches('.');
            say(&format!(
                "{} of {upstream}, bought {at}, is taken back; `tidegate tier purchase add {plain} --date {at} --upstream {upstream}` writes it down again",
                dollars(Some(usd))
            ));
            shape
        }
        Tier::Purchase(Purchase::List(shape)) => return list(place, &shape).await,
        Tier::Reload { below, usd, upstream, shape } => {
            let reload = match (&*below, usd) {
                ("off", None) => None,
                (_, Some(usd)) => Some((below, usd)),
                (_, None) => return Err(unsaid()),
            };
            place.ask(Command::TierReload { reload, upstream }).await?;
            shape
        }
    };
    let Answer::Tiers(tiers) = place.ask(Command::TierList).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&tiers)?;
    } else {
        print(&shown(&tiers))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unsaid() -> anyhow::Error {
    ApiError::asker("say how much is bought each time, such as `tidegate tier reload 5 25`, or `off`").into()
}

fn say(text: &str) {
    tell(&(clean(text) + "\n"));
}

async fn list(place: &Place, shape: &Shape) -> anyhow::Result<ExitCode> {
    let Answer::Purchases(all) = place.ask(Command::TierPurchaseList).await? else { return Err(unexpected()) };
    let row =
        |one: &PurchaseView| vec![words(&one.id), words(&one.at), name(&one.upstream), number(dollars(Some(&one.usd)))];
    if shape.json {
        print_json(&all)?;
    } else if all.is_empty() {
        print("no purchase is written down: `tidegate tier purchase add 40` does so\n")?;
    } else {
        print(&table(&["id", "bought", "upstream", ""], &all.iter().map(row).collect::<Vec<_>>()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one(answer: Answer) -> anyhow::Result<PurchaseView> {
    let Answer::Purchases(all) = answer else { return Err(unexpected()) };
    all.into_iter().next().ok_or_else(unexpected)
}

fn shown(tiers: &TiersView) -> String {
    let accounts: String = tiers.accounts.iter().map(account).collect();
    let none = "no upstream has a tier: set its scheme and tier in the settings\n";
    let schemes: String = tiers.schemes.iter().map(scheme).collect();
    format!("{}\n{schemes}", if accounts.is_empty() { none } else { &accounts })
}

fn account(account: &AccountTierView) -> String {
    let usd = |text: &str| dollars(Some(text));
    let day = |at: &Option<String>| {
        at.as_deref().map_or("not within a year".to_owned(), |at| at[..10.min(at.len())].to_owned())
    };
    let mut text = format!(
        "{}: tier {} of scheme {}, {} bought",
        account.upstream,
        account.tier,
        account.scheme,
        usd(&account.bought_usd)
    );
    if let Some(balance) = &account.balance_usd {
        text += &format!(", {} left", usd(balance));
    }
    text += &format!("\n  {} a day; {} this month", usd(&account.a_day_usd), usd(&account.month_usd));
    if let Some(cap) = &account.monthly_cap_usd {
        let on = |at: &Option<String>| if at.is_some() { format!("on {}", day(at)) } else { day(at) };
        text += &match (&account.cap_near_at, &account.cap_hit_at) {
            (None, None) => format!(" of {}: not even 80 % of it within a year", usd(cap)),
            (near, hit) => format!(" of {}: 80 % {}, all of it {}", usd(cap), on(near), on(hit)),
        };
    }
    if account.balance_usd.is_some() {
        text += &format!("\n  credit has to be bought again: {}", day(&account.purchase_at));
    }
    match (&account.next_tier, &account.next_missing_usd) {
        (Some(tier), Some(missing)) => {
            let at = account
                .next_at
                .as_ref()
                .map_or(String::new(), |_| format!(", on {} by reloads", day(&account.next_at)));
            text += &format!("\n  tier {tier} comes with {} more{at}", usd(missing));
        }
        _ => text += "\n  no rule is published for the next tier",
    }
    match (account.waited_week_ms, account.waited_week_next_ms) {
        (Some(0), Some(_)) => text += "\n  no call has waited in the last week",
        (Some(now), Some(next)) => {
            text += &format!(
                "\n  calls waited {} in the last week; at the next tier it would have been {}",
                time(now),
                time(next)
            );
        }
        _ => {}
    }
    for half in account.halves.iter().filter(|half| half.half_on.is_some()) {
        let (on, from) = (half.half_on.as_deref().unwrap_or(""), half.ask_from.as_deref().unwrap_or(""));
        text += &format!(
            "\n  {} {}: {} at most of {} a minute; half of it on {on}, an increase may be asked for from {from} on",
            half.group,
            half.resource.replace('_', " "),
            percent(half.peak),
            count(half.limit)
        );
    }
    lines(&text) + "\n"
}

fn scheme(scheme: &SchemeView) -> String {
    let heads = ["tier", "bought", "a month", "requests", "input tokens", "output tokens"];
    let limit = |limit: Option<u64>| number(limit.map_or("–".to_owned(), count));
    let row = |tier: &app::tiers::TierView| {
        vec![
            words(&tier.name),
            number(tier.deposit_usd.as_deref().map_or("–".to_owned(), |usd| dollars(Some(usd)))),
            number(tier.monthly_cap_usd.as_deref().map_or("–".to_owned(), |usd| dollars(Some(usd)))),
            limit(tier.requests),
            limit(tier.input_tokens),
            limit(tier.output_tokens),
        ]
    };
    let rows: Vec<_> = scheme.tiers.iter().map(row).collect();
    let since = &scheme.valid_from[..10.min(scheme.valid_from.len())];
    format!("{}, from {since} on ({})\n{}\n", scheme.name, scheme.source, table(&heads, &rows))
}
