//! `GET /v1/models`: the models of the catalogue, and how much each takes.

use domain::price::Price;
use domain::time::Timestamp;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::paging;
use crate::reply;
use crate::world::World;

pub(crate) fn list(world: &World, query: &str) -> Result<Value, ApiError> {
    let mut rows: Vec<&Price> = world.catalog.prices().map(AsRef::as_ref).collect();
    rows.dedup_by(|next, row| next.model == row.model);
    // The API lists the newest first; a higher version is newer.
    rows.sort_by_key(|row| std::cmp::Reverse((row.valid_from, row.model.clone())));
    paging::page(rows.into_iter().map(model).collect(), query)
}

pub(crate) fn one(world: &World, id: &str) -> Result<Value, ApiError> {
    let price = world.catalog.price(id, world.clock.now().timestamp);
    price.map(|price| model(price)).ok_or_else(|| ApiError::not_found(format!("model: {id}")))
}

fn model(price: &Price) -> Value {
    let size = Size::of(&price.model);
    let created = price.valid_from.unwrap_or(Timestamp::from_millis(0));
    json!({
        "type": "model",
        "id": &*price.model,
        "display_name": display_name(&price.model),
        "created_at": reply::to_the_second(created),
        "max_input_tokens": size.input,
        "max_tokens": size.output,
        "capabilities": {"batch": {"supported": true}, "image_input": {"supported": true},
            "thinking": {"supported": true}, "structured_outputs": {"supported": true}},
    })
}

/// `claude-sonnet-4-5-20250929` → `Claude Sonnet 4.5`
pub(crate) fn display_name(id: &str) -> String {
    let mut name = String::new();
    for part in id.split('-').filter(|part| part.len() < 8) {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let after_digit = name.ends_with(|last: char| last.is_ascii_digit());
        match (digits, after_digit) {
            (true, true) => name.push('.'),
            _ if name.is_empty() => {}
            _ => name.push(' '),
        }
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        name.extend([&first.to_ascii_uppercase(), rest]);
    }
    name
}

struct Size {
    input: u64,
    output: u64,
}

impl Size {
    /// Source: platform.claude.com, models, 2026-11.
    fn of(model: &str) -> Size {
        const ROWS: &[(&str, u64, u64)] = &[
            ("claude-3-7-", 200_000, 64_000),
            ("claude-3-", 200_000, 8_192),
            ("claude-opus-4-6", 1_000_000, 128_000),
            ("claude-opus-4-7", 1_000_000, 128_000),
            ("claude-opus-4-8", 1_000_000, 128_000),
            ("claude-opus-4-5", 200_000, 64_000),
            ("claude-opus-4", 200_000, 32_000),
            ("claude-sonnet-4-6", 1_000_000, 128_000),
            ("claude-sonnet-4", 200_000, 64_000),
            ("claude-haiku-4-5", 200_000, 64_000),
        ];
        let row = ROWS.iter().find(|(start, ..)| model.starts_with(start));
        row.map_or(Size { input: 1_000_000, output: 128_000 }, |(_, input, output)| Size {
            input: *input,
            output: *output,
        })
    }
}

pub(crate) fn check_length(model: &str, max_tokens: u64) -> Result<(), ApiError> {
    let most = Size::of(model).output;
    if max_tokens <= most {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "max_tokens: {max_tokens} > {most}, which is the maximum allowed number of output tokens for {model}"
    )))
}

pub(crate) fn check_prompt(model: &str, tokens: u64) -> Result<(), ApiError> {
    let most = Size::of(model).input;
    if tokens <= most {
        return Ok(());
    }
    Err(ApiError::invalid(format!("prompt is too long: {tokens} tokens > {most} maximum")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_ids() {
        for (id, name) in [
            ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
            ("claude-3-5-haiku-20241022", "Claude 3.5 Haiku"),
            ("claude-opus-5", "Claude Opus 5"),
        ] {
            assert_eq!(display_name(id), name);
        }
    }
}
