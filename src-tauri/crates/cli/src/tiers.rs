//! `tidegate tier`: credit that was bought, and where an account is heading.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::tiers::{AccountTierView, SchemeView, TiersView};

use crate::args::{Purchase, Tier};
use crate::table::{count, dollars, lines, number, table, words};
use crate::{Place, print, print_json, unexpected};

pub(crate) async fn run(place: &Place, act: Tier) -> anyhow::Result<ExitCode> {
    let shape = match act {
        Tier::List(shape) => shape,
        Tier::Purchase(Purchase::Add { usd, date, upstream, shape }) => {
            place.ask(Command::TierPurchase { usd, date, upstream }).await?;
            shape
        }
        Tier::Reload { below, usd, upstream, shape } => {
            let reload = match (&*below, usd) {
                ("off", None) => None,
                (_, Some(usd)) => Some((below, usd)),
                (_, None) => {
                    anyhow::bail!("say how much is bought each time, such as `tidegate tier reload 5 25`, or `off`")
                }
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
        let (near, hit) = (on(&account.cap_near_at), on(&account.cap_hit_at));
        text += &format!(" of {}: 80 % {near}, all of it {hit}", usd(cap));
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
