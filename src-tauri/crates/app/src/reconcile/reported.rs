//! The usage and the cost report, read into the lines of a comparison.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::catalog::Catalog;
use domain::money::Usd;
use domain::reconcile::{Item, Lines, Origin, Share, costs, usd_of_picos};
use domain::usage::{Tokens, Usage};

use super::asking::{Admin, NoReport, Page, Question};
use super::wire::{Buckets, CostRow, KeyPage, KeyRow, UsageRow};
use super::{DAY_MS, Days, date, start_of};
use crate::keychain::Secret;

const USAGE: &str = "usage report";
const COST: &str = "cost report";

/// The organisation's API keys, and which of them this machine calls with.
#[derive(Default)]
pub(super) struct Keys {
    names: BTreeMap<String, String>,
    ours: Vec<String>,
}

impl Keys {
    pub(super) async fn read(admin: &Admin, secrets: &[Arc<Secret>], notes: &mut Vec<String>) -> Keys {
        let parameters = [("limit", "1000".to_owned())];
        let question =
            Question { what: "list of API keys", path: "api_keys", parameters: &parameters, next: "after_id" };
        let rows: Vec<KeyRow> = match admin.pages::<KeyPage>(question).await {
            Ok(pages) => pages.into_iter().flat_map(|page| page.data).collect(),
            Err(error) => {
                notes.push(error.to_string());
                vec![]
            }
        };
        let is_ours = |row: &&KeyRow| secrets.iter().any(|secret| row.hints_at(secret.expose()));
        let ours: Vec<String> = rows.iter().filter(is_ours).map(|row| row.id.clone()).collect();
        if ours.is_empty() {
            notes.push(
                "which of the organisation's keys is this machine's isn't known, so other keys count as other machines"
                    .to_owned(),
            );
        }
        let names = rows.into_iter().filter_map(|row| Some((row.id, row.name?)));
        Keys { names: names.collect(), ours }
    }

    /// Where nobody knows which are, all may be.
    fn may_be_ours(&self, id: Option<&str>) -> bool {
        self.ours.is_empty() || id.is_some_and(|id| self.ours.iter().any(|ours| ours == id))
    }

    pub(super) fn name(&self, id: &str) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }
}

/// What is reported, and nothing of ours yet.
pub(super) async fn lines(admin: &Admin, days: Days, keys: &Keys, catalog: &Catalog) -> Result<Lines, NoReport> {
    let mut lines = Lines::default();
    let pages = usage_pages(admin, days).await?;
    each_row(admin, USAGE, days, pages, |day, row| used(&mut lines, day, &row, keys, catalog))?;
    let groups = ["description", "workspace_id"];
    let parameters = parameters(days, &groups);
    let question = Question { what: COST, path: "cost_report", parameters: &parameters, next: "page" };
    let pages: Vec<Buckets<CostRow>> = admin.pages(question).await?;
    let mut searches = BTreeMap::new();
    each_row(admin, COST, days, pages, |day, row| cost(&mut lines, &mut searches, day, &row, catalog))?;
    searches.into_iter().for_each(|(day, cost)| share_searches(&mut lines, day, cost));
    Ok(lines)
}

/// As finely as the API groups; an older one may know fewer groups.
async fn usage_pages(admin: &Admin, days: Days) -> Result<Vec<Buckets<UsageRow>>, NoReport> {
    const GROUPS: [&str; 6] =
        ["model", "api_key_id", "workspace_id", "service_tier", "context_window", "inference_geo"];
    let ask = async |groups: &[&'static str]| {
        let parameters = parameters(days, groups);
        let path = "usage_report/messages";
        admin.pages(Question { what: USAGE, path, parameters: &parameters, next: "page" }).await
    };
    match ask(&GROUPS).await {
        Err(NoReport::Refused { status: 400, .. }) => ask(&GROUPS[..2]).await,
        other => other,
    }
}

fn parameters(days: Days, groups: &[&'static str]) -> Vec<(&'static str, String)> {
    let moment = |day| format!("{}T00:00:00Z", date(day));
    let fixed = [
        ("starting_at", moment(days.from)),
        ("ending_at", moment(days.to + 1)),
        ("bucket_width", "1d".to_owned()),
        ("limit", "31".to_owned()),
    ];
    fixed.into_iter().chain(groups.iter().map(|group| ("group_by[]", (*group).to_owned()))).collect()
}

/// A day that comes twice would count twice.
fn each_row<Row>(
    admin: &Admin,
    what: &'static str,
    days: Days,
    pages: Vec<Buckets<Row>>,
    mut take: impl FnMut(i64, Row) -> Result<(), String>,
) -> Result<(), NoReport>
where
    Buckets<Row>: Page,
{
    let mut seen = vec![];
    for bucket in pages.into_iter().flat_map(|page| page.data) {
        let day = bucket.day().map_err(|reason| admin.unreadable(what, reason))?;
        if !days.has(day) || seen.contains(&day) {
            let reason = format!("{} comes twice or was not asked for", date(day));
            return Err(admin.unreadable(what, reason));
        }
        seen.push(day);
        for row in bucket.results {
            take(day, row).map_err(|reason| admin.unreadable(what, reason))?;
        }
    }
    Ok(())
}

/// The name under which the catalogue has a model, so that an alias and its model are one line.
pub(super) fn model_name(catalog: &Catalog, model: &str, day: i64) -> Arc<str> {
    catalog.price(model, start_of(day + 1)).map_or_else(|| model.into(), |price| price.model.clone())
}

fn used(lines: &mut Lines, day: i64, row: &UsageRow, keys: &Keys, catalog: &Catalog) -> Result<(), String> {
    let model = model_name(catalog, row.model.as_deref().unwrap_or_default(), day);
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    let origin = Origin { key: text(&row.api_key_id), workspace: text(&row.workspace_id) };
    let is_ours = keys.may_be_ours(row.api_key_id.as_deref());
    let is_priority = row.service_tier.as_deref().is_some_and(|tier| tier.starts_with("priority"));
    let counts = row.counts()?;
    let is_long = row.context_window.as_deref().is_some_and(|window| window != "0-200k");
    let may_be_long = is_long || row.context_window.is_none() || band_below(&model, day, REPORTED_BAND, catalog);
    let [listed, if_long] =
        [is_long, may_be_long].map(|is_long| at_list_price(row, counts, is_long, &model, day, catalog));
    for (place, (item, count)) in Item::COUNTED.into_iter().zip(counts).enumerate() {
        if count == 0 {
            continue;
        }
        let (reported, _) = lines.line(day, &model, item);
        let [cost, if_long] = [listed, if_long].map(|costs| costs.map(|costs| usd_of_picos(costs[place])));
        let more_if_long = if_long.zip(cost).map_or(Usd::ZERO, |(long, short)| long - short);
        let known = reported.shares.iter_mut().find(|share| share.origin == origin && share.is_ours == is_ours);
        match known {
            Some(share) => {
                share.count = share.count.saturating_add(count);
                share.cost = share.cost.zip(cost).map(|(sum, more)| sum + more);
                share.more_if_long += more_if_long;
            }
            None => reported.shares.push(Share { origin: origin.clone(), is_ours, count, cost, more_if_long }),
        }
        if is_priority {
            reported.priority = reported.priority.saturating_add(count);
        }
    }
    Ok(())
}

/// The length of prompts at which the usage report parts them, whatever the price's own is.
const REPORTED_BAND: u64 = 200_000;

fn band_below(model: &str, day: i64, above: u64, catalog: &Catalog) -> bool {
    let price = catalog.price(model, noon(day));
    price.and_then(|price| price.long_prompt).is_some_and(|band| band.above < above)
}

fn noon(day: i64) -> domain::time::Timestamp {
    domain::time::Timestamp::from_millis(start_of(day).as_millis() + DAY_MS / 2)
}

fn at_list_price(
    row: &UsageRow,
    counts: [u64; 6],
    is_long: bool,
    model: &str,
    day: i64,
    catalog: &Catalog,
) -> Option<[u128; 6]> {
    let price = catalog.price(model, noon(day))?;
    let [input, cache_write_5m, cache_write_1h, cache_read, output, web_searches] = counts;
    let usage = Usage {
        tokens: Tokens { input, cache_write_5m, cache_write_1h, cache_read, output },
        web_searches,
        batch: row.service_tier.as_deref() == Some("batch"),
        us_only: row.inference_geo.as_deref() == Some("us"),
        ..Usage::default()
    };
    Some(costs(price, &usage, is_long))
}

fn cost(
    lines: &mut Lines,
    searches: &mut BTreeMap<i64, Usd>,
    day: i64,
    row: &CostRow,
    catalog: &Catalog,
) -> Result<(), String> {
    let usd = row.usd()?;
    let item = item_of(row);
    let model = row.model.as_deref().filter(|_| item != Item::Other);
    if let (Item::WebSearches, None) = (item, model) {
        *searches.entry(day).or_default() += usd;
        return Ok(());
    }
    let model = model_name(catalog, model.unwrap_or_default(), day);
    let (reported, _) = lines.line(day, &model, item);
    reported.cost = Some(reported.cost.unwrap_or_default() + usd);
    Ok(())
}

fn item_of(row: &CostRow) -> Item {
    match (row.cost_type.as_deref(), row.token_type.as_deref()) {
        (Some("web_search"), _) => Item::WebSearches,
        (_, Some("uncached_input_tokens")) => Item::Input,
        (_, Some("output_tokens")) => Item::Output,
        (_, Some("cache_read_input_tokens")) => Item::CacheRead,
        (_, Some("cache_creation.ephemeral_5m_input_tokens")) => Item::CacheWrite5m,
        (_, Some("cache_creation.ephemeral_1h_input_tokens")) => Item::CacheWrite1h,
        (_, _) => Item::Other,
    }
}

/// The cost of searches names no model: each gets its part, the last the rest.
fn share_searches(lines: &mut Lines, day: i64, cost: Usd) {
    let models = lines.counts_of(day, Item::WebSearches);
    let (mut searches, mut left) = (models.iter().map(|(_, count)| u128::from(*count)).sum::<u128>(), cost);
    if models.is_empty() {
        lines.line(day, &"".into(), Item::WebSearches).0.cost = Some(cost);
    }
    for (model, count) in models {
        let part =
            i128::from(left.as_nanos()) * i128::from(count) / i128::try_from(searches.max(1)).unwrap_or(i128::MAX);
        let part = Usd::from_nanos(i64::try_from(part).unwrap_or(0));
        searches = searches.saturating_sub(u128::from(count));
        left = left - part;
        let (reported, _) = lines.line(day, &model, Item::WebSearches);
        reported.cost = Some(reported.cost.unwrap_or_default() + part);
    }
}
