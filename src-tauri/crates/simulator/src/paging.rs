//! Lists by pages: `limit`, `after_id`, `before_id`.

use serde_json::{Value, json};

use crate::error::ApiError;

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;

/// One page of `all`; each item has an `id`.
pub(crate) fn page(all: Vec<Value>, query: &str) -> Result<Value, ApiError> {
    let limit = limit(parameter(query, "limit"))?;
    let position = |name: &str, id: &str| {
        let found = all.iter().position(|item| item["id"] == *id);
        found.ok_or_else(|| ApiError::invalid(format!("{name}: no item has the id {id:?}")))
    };
    let (range, has_more) = match (parameter(query, "after_id"), parameter(query, "before_id")) {
        (_, Some(before)) => {
            let end = position("before_id", before)?;
            let start = end.saturating_sub(limit);
            (start..end, start > 0)
        }
        (Some(after), None) => forward(position("after_id", after)? + 1, limit, all.len()),
        (None, None) => forward(0, limit, all.len()),
    };
    let data = &all[range];
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(json!({"first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more, "data": data}))
}

fn forward(start: usize, limit: usize, len: usize) -> (std::ops::Range<usize>, bool) {
    let end = (start + limit).min(len);
    (start..end, end < len)
}

pub(crate) fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

pub(crate) fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    match text.parse() {
        Ok(0) => Err(ApiError::invalid("limit: Input should be greater than or equal to 1")),
        Ok(limit) if limit <= LIMIT_MAX => Ok(limit),
        Ok(_) => Err(ApiError::invalid("limit: Input should be less than or equal to 1000")),
        Err(_) => Err(ApiError::invalid("limit: Input should be a valid integer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str) -> String {
        let all = ["a", "b", "c", "d", "e"].into_iter().map(|id| json!({"id": id})).collect();
        match page(all, query) {
            Ok(page) => {
                let ids = page["data"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_str());
                let ids: String = ids.collect();
                format!("{ids} {} {} {}", page["first_id"], page["last_id"], page["has_more"])
            }
            Err(error) => error.message,
        }
    }

    #[test]
    fn pages_go_forward_and_back() {
        for (query, expected) in [
            ("", r#"abcde "a" "e" false"#),
            ("limit=2", r#"ab "a" "b" true"#),
            ("limit=2&after_id=b", r#"cd "c" "d" true"#),
            ("limit=2&after_id=d", r#"e "e" "e" false"#),
            ("after_id=e", " null null false"),
            ("limit=2&before_id=e", r#"cd "c" "d" true"#),
            ("limit=3&before_id=c", r#"ab "a" "b" false"#),
            ("limit=0", "limit: Input should be greater than or equal to 1"),
            ("limit=1001", "limit: Input should be less than or equal to 1000"),
            ("limit=x", "limit: Input should be a valid integer"),
            ("after_id=z", "after_id: no item has the id \"z\""),
        ] {
            assert_eq!(told(query), expected, "{query}");
        }
    }
}
