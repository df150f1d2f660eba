//! The smallest value that a JSON schema takes, for tool calls and structured answers.

use serde_json::{Map, Value, json};

/// Schemas that refer to themselves end here.
const DEPTH_MAX: usize = 12;

pub(crate) fn example(schema: &Value) -> Value {
    example_in(schema, schema, 0)
}

fn example_in(root: &Value, schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|name| root.pointer(name.trim_start_matches('#'))) {
        return example_in(root, target, depth + 1);
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    let choice = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|name| schema[name].get(0));
    if let Some(choice) = choice {
        return example_in(root, choice, depth + 1);
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("string") => json!("example"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("array") => items(root, schema, depth),
        Some("null") => Value::Null,
        Some(_) | None => object(root, schema, depth),
    }
}

fn items(root: &Value, schema: &Value, depth: usize) -> Value {
    let count = schema["minItems"].as_u64().unwrap_or(0).min(8);
    (0..count).map(|_| example_in(root, &schema["items"], depth + 1)).collect()
}

fn object(root: &Value, schema: &Value, depth: usize) -> Value {
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let fields = required.iter().filter_map(Value::as_str);
    let pair = |name: &str| (name.to_owned(), example_in(root, &schema["properties"][name], depth + 1));
    Value::Object(fields.map(pair).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_holds_what_is_required() {
        let schema = json!({"type": "object", "required": ["city", "days", "unit", "stops", "who"],
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2},
                "unit": {"enum": ["c", "f"]}, "stops": {"type": "array", "minItems": 1, "items": {"type": "boolean"}},
                "who": {"$ref": "#/$defs/who"}, "optional": {"type": "string"}},
            "$defs": {"who": {"anyOf": [{"type": "null"}, {"type": "string"}]}}});
        assert_eq!(example(&schema), json!({"city": "example", "days": 2, "unit": "c", "stops": [true], "who": null}));
        assert_eq!(example(&json!({"$ref": "#"})), Value::Null);
    }
}
