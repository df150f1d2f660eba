//! `/v1/organizations/usage_report/messages`, `…/claude_code`, `/v1/organizations/cost_report` and `…/api_keys`.

use std::collections::BTreeMap;

use domain::reconcile::Item;
use http::Response;
use serde_json::{Value, json};

use super::asked::{Asked, date, day, pairs};
use super::{Key, Kind, Reports, Sums};
use crate::body::Body;
use crate::error::ApiError;
use crate::reply;
use crate::server::{Caller, Stop};
use crate::world::World;

const USAGE_GROUPS: [&str; 8] = [
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "workspace_id",
];
const COST_GROUPS: [&str; 2] = ["workspace_id", "description"];

/// `path` is what follows `organizations/`.
pub(crate) fn answer(
    world: &World,
    caller: &Caller,
    request_id: &str,
    path: &[&str],
    query: &str,
) -> Result<Response<Body>, Stop> {
    if !caller.is_admin() {
        return Err(ApiError::unauthorized("invalid x-api-key").into());
    }
    let today = world.clock.now().timestamp.as_millis().div_euclid(super::DAY_MS);
    let state = world.state();
    let reports = &state.reports;
    let page = match path {
        ["usage_report", "messages"] => usage(reports, &Asked::read(query, &USAGE_GROUPS, today)?),
        ["cost_report"] => cost(reports, &Asked::read(query, &COST_GROUPS, today)?),
        ["usage_report", "claude_code"] => claude_code(reports, query)?,
        ["api_keys"] => api_keys(reports, query)?,
        _ => return Err(ApiError::not_found("Not found").into()),
    };
    drop(state);
    let mut response = reply::json(world, request_id, &page);
    response.headers_mut().remove("anthropic-workspace-id");
    Ok(response)
}

/// Days without anything are in it too.
fn buckets(asked: &Asked, results: impl Fn(i64) -> Vec<Value>) -> Value {
    let (days, next) = asked.page();
    let bucket = |day: i64| {
        let moment = |day| format!("{}T00:00:00Z", date(day));
        json!({"starting_at": moment(day), "ending_at": moment(day + 1), "results": results(day)})
    };
    let data: Vec<Value> = days.map(bucket).collect();
    json!({"data": data, "has_more": next.is_some(), "next_page": next})
}

fn usage(reports: &Reports, asked: &Asked) -> Value {
    let of = |group: &str, value: Value| if asked.has(group) { value } else { Value::Null };
    let groups = |kind: &Kind| {
        json!({
            "account_id": null,
            "service_account_id": null,
            "api_key_id": of("api_key_id", json!(&*kind.key_id)),
            "workspace_id": of("workspace_id", json!(reports.workspace(&kind.key_id))),
            "model": of("model", json!(&*kind.model)),
            "service_tier": of("service_tier", json!(kind.service_tier())),
            "context_window": of("context_window", json!(kind.context_window())),
            "inference_geo": of("inference_geo", json!(kind.geo())),
        })
    };
    buckets(asked, |day| {
        let summed = summed(reports.of_day(day), groups);
        summed.into_iter().map(|(groups, sums)| usage_row(groups, &sums)).collect()
    })
}

fn usage_row(mut row: Value, sums: &Sums) -> Value {
    let tokens = sums.usage.tokens;
    row["uncached_input_tokens"] = json!(tokens.input);
    row["cache_read_input_tokens"] = json!(tokens.cache_read);
    row["cache_creation"] = json!({"ephemeral_5m_input_tokens": tokens.cache_write_5m,
        "ephemeral_1h_input_tokens": tokens.cache_write_1h});
    row["output_tokens"] = json!(tokens.output);
    row["server_tool_use"] = json!({"web_search_requests": sums.usage.web_searches});
    row
}

/// Sums by what they are shown as.
fn summed<'a>(all: impl Iterator<Item = (&'a Kind, &'a Sums)>, shown: impl Fn(&Kind) -> Value) -> Vec<(Value, Sums)> {
    let mut by_group: BTreeMap<String, (Value, Sums)> = BTreeMap::new();
    for (kind, sums) in all {
        let shown = shown(kind);
        by_group.entry(shown.to_string()).or_insert((shown, Sums::default())).1.add(sums);
    }
    by_group.into_values().collect()
}

fn cost(reports: &Reports, asked: &Asked) -> Value {
    buckets(asked, |day| {
        if !asked.has("description") {
            let all = reports.of_day(day).flat_map(|(_, sums)| sums.picos);
            let total = all.fold(0_u128, u128::saturating_add);
            return if total == 0 { vec![] } else { vec![json!({"amount": cents(total), "currency": "USD"})] };
        }
        let groups = |kind: &Kind| {
            json!({"model": &*kind.model, "service_tier": kind.service_tier(), "context_window": kind.context_window(),
                "inference_geo": kind.geo(), "currency": "USD",
                "workspace_id": if asked.has("workspace_id") { json!(reports.workspace(&kind.key_id)) } else { Value::Null }})
        };
        let summed = summed(reports.of_day(day), groups);
        summed.iter().flat_map(|(groups, sums)| cost_rows(groups, sums)).collect()
    })
}

fn cost_rows(groups: &Value, sums: &Sums) -> Vec<Value> {
    let costs = Item::COUNTED.into_iter().zip(sums.picos).filter(|(_, picos)| *picos > 0);
    let row = |(item, picos): (Item, u128)| {
        let mut row = groups.clone();
        row["amount"] = json!(cents(picos));
        row["token_type"] = json!(token_type(item));
        row["cost_type"] = json!(if item == Item::WebSearches { "web_search" } else { "tokens" });
        row["description"] = json!(format!("{} {}", row["model"].as_str().unwrap_or_default(), item.name()));
        if item == Item::WebSearches {
            row["model"] = Value::Null;
            row["description"] = json!("Web Search Usage");
        }
        row
    };
    costs.map(row).collect()
}

const fn token_type(item: Item) -> Option<&'static str> {
    match item {
        Item::Input => Some("uncached_input_tokens"),
        Item::CacheWrite5m => Some("cache_creation.ephemeral_5m_input_tokens"),
        Item::CacheWrite1h => Some("cache_creation.ephemeral_1h_input_tokens"),
        Item::CacheRead => Some("cache_read_input_tokens"),
        Item::Output => Some("output_tokens"),
        Item::WebSearches | Item::Other => None,
    }
}

/// A decimal string: a cent is ten billion pico-dollars.
fn cents(picos: u128) -> String {
    const A_CENT: u128 = 10_000_000_000;
    let decimals = format!("{:010}", picos % A_CENT);
    format!("{}.{}", picos / A_CENT, decimals.trim_end_matches('0')).trim_end_matches('.').to_owned()
}

/// One day; people only.
fn claude_code(reports: &Reports, query: &str) -> Result<Value, ApiError> {
    let pairs = pairs(query);
    let start = pairs.iter().find(|(key, _)| key == "starting_at").map(|(_, value)| value);
    let day = day("starting_at", start.ok_or_else(|| ApiError::invalid("starting_at: Field required"))?)?;
    let mut people: BTreeMap<&str, BTreeMap<&str, Sums>> = BTreeMap::new();
    for (kind, sums) in reports.of_day(day) {
        if let Some(actor) = &kind.actor {
            people.entry(actor).or_default().entry(&kind.model).or_default().add(sums);
        }
    }
    let data: Vec<Value> = people.into_iter().map(|(actor, models)| person(day, actor, &models)).collect();
    page(&data, query)
}

fn person(day: i64, actor: &str, models: &BTreeMap<&str, Sums>) -> Value {
    let model = |(model, sums): (&&str, &Sums)| {
        let tokens = sums.usage.tokens;
        let picos = sums.picos.into_iter().fold(0, u128::saturating_add);
        json!({"model": model,
            "tokens": {"input": tokens.input, "output": tokens.output, "cache_read": tokens.cache_read,
                "cache_creation": tokens.cache_write_5m.saturating_add(tokens.cache_write_1h)},
            "estimated_cost": {"currency": "USD", "amount": u64::try_from(picos / 10_000_000_000).unwrap_or(u64::MAX)}})
    };
    json!({"date": format!("{}T00:00:00Z", date(day)),
        "actor": {"type": "user_actor", "email_address": actor}, "customer_type": "api", "terminal_type": "vscode",
        "core_metrics": {"num_sessions": 1}, "model_breakdown": models.iter().map(model).collect::<Vec<_>>()})
}

fn api_keys(reports: &Reports, query: &str) -> Result<Value, ApiError> {
    let row = |(id, key): (&std::sync::Arc<str>, &Key)| {
        json!({"id": &**id, "type": "api_key", "name": key.name, "workspace_id": key.workspace, "status": "active",
            "partial_key_hint": key.hint})
    };
    crate::paging::page(reports.keys.iter().map(row).collect(), query)
}

/// `next_page` is where the next begins, or nothing.
fn page(all: &[Value], query: &str) -> Result<Value, ApiError> {
    let pairs = pairs(query);
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let limit = crate::paging::limit(value("limit"))?;
    let start = match value("page") {
        None => 0,
        Some(page) => {
            let place = page.strip_prefix("page_").and_then(|place| place.parse::<usize>().ok());
            place.filter(|place| *place < all.len()).ok_or_else(|| ApiError::invalid("page: no such page"))?
        }
    };
    let end = (start + limit).min(all.len());
    let next = (end < all.len()).then(|| format!("page_{end}"));
    Ok(json!({"data": all[start..end], "has_more": next.is_some(), "next_page": next}))
}
