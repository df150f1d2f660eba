//! A call whose body uses what an upstream lacks goes elsewhere, or learns that there is nowhere.

use serde_json::json;
use support::http::Request;
use support::lab::{Lab, SETTINGS};

/// `small` stands for a server that speaks `/v1/messages` and takes no images.
const SMALL: &str = r#"
[[upstream]]
name = "dead"
kind = "anthropic"
base_url = "http://127.0.0.1:1"
key = "file:KEYFILE"

[[upstream]]
name = "small"
kind = "compatible"
base_url = "UPSTREAM"
key = "file:KEYFILE"
lacks = ["images", "server_tools"]

[retry]
budget = 0

[[fallback]]
for = "normal"
upstreams = ["dead", "small"]

[[fallback]]
for = "critical"
upstreams = ["small", "simulator"]

[[fallback]]
for = "background"
upstreams = ["small"]
"#;

fn message(token: &str, content: &serde_json::Value) -> Request {
    let messages = json!([{"role": "user", "content": content}]);
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": messages});
    Request::message(body.to_string()).header("x-api-key", token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_an_image_neither_falls_back_nor_goes_to_an_upstream_that_takes_none() {
    let lab = Lab::with(&format!("{SETTINGS}{SMALL}"), &["--scheme", "none"]);
    let critical = lab.home.client("support", &["--priority", "critical"]);
    let background = lab.home.client("nightly", &["--priority", "background"]);
    let text = json!("Name three tides.");
    let pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let source = json!({"type": "base64", "media_type": "image/png", "data": pixel});
    let image = json!([{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]);

    for (token, content, status, upstream) in [
        (&lab.token, &text, 200, Some("small")),
        (&lab.token, &image, 503, None),
        (&critical, &text, 200, Some("small")),
        (&critical, &image, 200, Some("simulator")),
        (&background, &image, 503, None),
    ] {
        let answer = lab.call(&message(token, content)).await;
        assert_eq!(answer.status(), status, "{content} {}", answer.text());
        if upstream.is_some() {
            assert_eq!(answer.header("x-tidegate-upstream"), upstream, "{content}");
        } else {
            assert_eq!(answer.json()["error"]["details"]["error_code"], "tidegate_no_upstream");
        }
    }
    let nowhere = lab.call(&message(&background, &image)).await;
    assert_eq!(nowhere.header("x-should-retry"), Some("false"));
    let message = nowhere.json()["error"]["message"].as_str().expect("a sentence").to_owned();
    assert!(message.contains("takes all that it uses (images)"), "{message}");
    lab.home.books().verify();
}
