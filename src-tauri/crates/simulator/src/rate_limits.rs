//! `GET /v1/organizations/rate_limits`: the limits as they stand now, for administrators.

use domain::catalog;
use http::Response;
use serde_json::{Value, json};

use crate::ask::Version;
use crate::body::Body;
use crate::chance;
use crate::error::ApiError;
use crate::limits::{Group, Limits};
use crate::models;
use crate::paging::{self, parameter};
use crate::reply;
use crate::server::{Caller, Stop};
use crate::world::World;

/// Source: platform.claude.com, Files API, 2026-08: about 500.
const FILES_A_MINUTE: u64 = 500;

/// One entry, before it takes the shape of a version.
struct Entry {
    group_type: &'static str,
    /// Unique within its type.
    name: String,
    /// `None`: they hold for all models.
    models: Option<Vec<String>>,
    limits: Vec<(&'static str, u64)>,
}

pub(crate) fn list(world: &World, caller: &Caller, request_id: &str, query: &str) -> Result<Response<Body>, Stop> {
    if !caller.is_admin() {
        return Err(ApiError::forbidden("This endpoint requires an Admin API key.").into());
    }
    let page = page(&selected(world, query)?, query, |entry| entry.json(world.seed, caller.version))?;
    let mut response = reply::json(world, request_id, &page);
    response.headers_mut().remove("anthropic-workspace-id");
    Ok(response)
}

/// What the filters leave.
fn selected(world: &World, query: &str) -> Result<Vec<Entry>, ApiError> {
    let mut entries = entries(world, &world.state().limits);
    if let Some(group_type) = parameter(query, "group_type") {
        const KNOWN: [&str; 6] = ["model_group", "batch", "token_count", "files", "skills", "web_search"];
        if !KNOWN.contains(&group_type) {
            return Err(ApiError::invalid(format!("group_type: Input should be one of {}", KNOWN.join(", "))));
        }
        entries.retain(|entry| entry.group_type == group_type);
    }
    if let Some(model) = parameter(query, "model") {
        if !world.knows(model, world.clock.now().timestamp) {
            return Err(ApiError::not_found(format!("model: {model}")));
        }
        let group = catalog::group(model);
        entries.retain(|entry| entry.models.is_some() && entry.name == group);
    }
    Ok(entries)
}

fn entries(world: &World, limits: &Limits) -> Vec<Entry> {
    let mut entries: Vec<Entry> = limits.groups().map(|(name, group)| of_group(world, name, group)).collect();
    if let Some(apart) = limits.apart() {
        let other =
            |group_type: &'static str, limits| Entry { group_type, name: group_type.to_owned(), models: None, limits };
        entries.extend([
            other(
                "batch",
                vec![("requests_per_minute", apart.batch_requests), ("enqueued_batch_requests", apart.batch_queue)],
            ),
            other("token_count", vec![("requests_per_minute", apart.counts)]),
            other("files", vec![("requests_per_minute", FILES_A_MINUTE)]),
        ]);
    }
    entries
}

fn of_group(world: &World, name: &str, group: &Group) -> Entry {
    let input = if group.cache_reads_count { "input_tokens_per_minute" } else { "input_tokens_per_minute_cache_aware" };
    let limits = [
        ("requests_per_minute", group.limits.requests),
        (input, group.limits.input_tokens),
        ("output_tokens_per_minute", group.limits.output_tokens),
    ];
    let mut models: Vec<String> = world.catalog.prices().map(|price| price.model.to_string()).collect();
    models.retain(|model| catalog::group(model) == name);
    models.dedup();
    Entry {
        group_type: "model_group",
        name: name.to_owned(),
        models: Some(models),
        limits: limits.into_iter().filter_map(|(limiter, value)| Some((limiter, value?))).collect(),
    }
}

impl Entry {
    fn json(&self, seed: u64, version: Version) -> Value {
        let limits: Vec<Value> =
            self.limits.iter().map(|(limiter, value)| json!({"type": limiter, "value": value})).collect();
        match version {
            Version::V2023 => json!({"type": "rate_limit", "group_type": self.group_type, "models": self.models,
                "limits": limits}),
            Version::V2026 => {
                let seed = chance::hash(seed, self.name.as_bytes());
                let group = json!({"type": self.group_type, "id": chance::id("rlg", seed),
                    "display_name": self.display_name()});
                json!({"id": chance::id("rl", seed), "type": "rate_limit", "group": group, "models": self.models,
                    "limits": limits})
            }
        }
    }

    fn display_name(&self) -> String {
        match self.models {
            Some(_) => models::display_name(&format!("claude-{}", self.name)),
            None => self.name.clone(),
        }
    }
}

/// `next_page` is where the next begins, or nothing.
fn page(all: &[Entry], query: &str, show: impl Fn(&Entry) -> Value) -> Result<Value, ApiError> {
    let limit = paging::limit(parameter(query, "limit"))?;
    let start = match parameter(query, "page") {
        None => 0,
        Some(page) => {
            place(page).filter(|start| *start < all.len()).ok_or_else(|| ApiError::invalid("page: no such page"))?
        }
    };
    let end = (start + limit).min(all.len());
    let data: Vec<Value> = all[start..end].iter().map(show).collect();
    let next = (end < all.len()).then(|| format!("page_{end}"));
    Ok(json!({"data": data, "next_page": next}))
}

fn place(page: &str) -> Option<usize> {
    page.strip_prefix("page_")?.parse().ok()
}
