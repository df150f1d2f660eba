//! `tidegate cache`: what the response cache holds and has saved; and how to empty it.

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::view::KeptView;

use crate::args::{Cache, CacheAct};
use crate::table::{count, dollars, percent};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, cache: Cache) -> anyhow::Result<ExitCode> {
    match cache.act {
        None => status(place, cache.shape.json).await,
        Some(CacheAct::Status(shape)) => status(place, shape.json).await,
        Some(CacheAct::Clear(shape)) => clear(place, shape.json).await,
    }
}

async fn status(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Kept(kept) = place.ask(Command::Cache).await? else { return Err(unexpected()) };
    if json {
        print_json(&kept)?
    } else {
        print(&shown(&kept))?
    }
    Ok(ExitCode::SUCCESS)
}

async fn clear(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Kept(before) = place.ask(Command::CacheClear).await? else { return Err(unexpected()) };
    if json {
        print_json(&serde_json::json!({ "answers": before.answers, "bytes": before.bytes }))?;
    } else {
        tell(&format!("{} kept answers are gone.\n", count(before.answers)));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(kept: &KeptView) -> String {
    let state = if kept.enabled { "on" } else { "off: enabled = true in [cache] of the settings turns it on" };
    let month = &kept.month;
    format!(
        "{state}\nkept    {} answers on the disk, {} kB\nhits    {} of {} calls that asked this month{}\nsaved   {}\n",
        count(kept.answers),
        count(kept.bytes.div_ceil(1_000)),
        count(month.hits),
        count(month.hits + month.misses),
        month.hit_rate.map(|rate| format!(", {}", percent(rate))).unwrap_or_default(),
        dollars(Some(&month.saved_usd)),
    )
}
