//! A call flows: what the client sent leaves, what the upstream said comes back, and both books agree.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::books::{nano_dollars, simulator, simulator_sums};
use support::http::Request;
use support::lab::{Lab, SETTINGS, body};

#[tokio::test]
async fn a_json_call_is_answered_named_and_booked() {
    let lab = Lab::start();
    let answer = lab.call(&lab.message(body(false))).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json()["type"], "message");
    assert_eq!(answer.header("x-tidegate-call").map(str::len), Some(26));
    assert_eq!(answer.header("x-tidegate-attempts"), Some("1"));
    assert_eq!(answer.header("x-tidegate-upstream"), Some("simulator"));
    assert!(answer.header("request-id").is_some_and(|id| id.starts_with("req_")));
    books_agree(&lab).await;
}

#[tokio::test]
async fn a_stream_is_booked_with_the_usage_its_client_saw() {
    let lab = Lab::start();
    let answer = lab.call(&lab.message(body(true))).await;
    assert!(answer.whole && answer.text().ends_with("\n\n"), "{}", answer.text());
    let events = events(&answer.text());
    assert_eq!(events.last().expect("an event")["type"], "message_stop");
    let output = events.iter().rev().find_map(|e| e["usage"]["output_tokens"].as_u64()).expect("usage");
    let rows = lab.home.books().calls();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["call_id"], answer.header("x-tidegate-call").expect("a call id"));
    assert_eq!(rows[0]["output_tokens"], output.to_string());
    assert_eq!((rows[0]["outcome"].as_str(), rows[0]["estimated"].as_str()), ("completed", "false"));
    books_agree(&lab).await;
}

#[tokio::test]
async fn tools_thinking_and_cached_prompts_are_booked_alike() {
    let lab = Lab::start();
    let tool = json!({"name": "tide", "description": "The tide.", "input_schema": {"type": "object", "properties": {"port": {"type": "string"}}}});
    let long = "The sea is never the same twice. ".repeat(800);
    let cached = json!([{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}]);
    let hour =
        json!([{"type": "text", "text": format!("{long}!"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    for stream in [false, true] {
        lab_call(&lab, json!({"stream": stream, "tools": [tool], "tool_choice": {"type": "tool", "name": "tide"}}))
            .await;
        lab_call(
            &lab,
            json!({"stream": stream, "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        )
        .await;
        lab_call(&lab, json!({"stream": stream, "system": cached})).await;
        lab_call(&lab, json!({"stream": stream, "system": hour})).await;
    }
    let total = lab.home.books().usage()["total"].clone();
    for class in ["cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens"] {
        assert!(total[class].as_u64() > Some(0), "{class}: {total}");
    }
    books_agree(&lab).await;
}

#[tokio::test]
async fn counting_tokens_and_listing_models_make_no_entry() {
    let lab = Lab::start();
    let count = Request::new("POST", "/v1/messages/count_tokens?beta=true")
        .header("anthropic-version", "2023-06-01")
        .body(body(false));
    let counted = lab.call(&count.header("authorization", &format!("Bearer {}", lab.token))).await;
    assert!(counted.json()["input_tokens"].as_u64() > Some(0), "{}", counted.text());
    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = lab
            .call(&lab.get(&format!("/v1/models?limit=2{after}")).header("anthropic-version", "2023-06-01"))
            .await
            .json();
        seen.extend(
            page["data"].as_array().expect("models").iter().map(|m| m["id"].as_str().expect("an id").to_owned()),
        );
        if page["has_more"] != true {
            break;
        }
        after = format!("&after_id={}", page["last_id"].as_str().expect("last_id"));
    }
    assert!(seen.len() > 2, "{seen:?}");
    let unknown = lab.call(&lab.get("/v1/models/claude-nonesuch").header("anthropic-version", "2023-06-01")).await;
    assert_eq!((unknown.status(), unknown.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    assert_eq!(lab.home.books().calls(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_a_batch_are_entered_once_at_half_the_price() {
    let budget = "\n[[budget]]\nscope = \"client:test\"\nmonthly_usd = 10\n";
    let mut lab = Lab::with(&format!("{SETTINGS}{budget}"), &["--scheme", "none"]);
    let ask: Value = serde_json::from_str(&body(false)).expect("json");
    let requests: Vec<Value> = ["one", "two", "three"].map(|id| json!({"custom_id": id, "params": ask})).into();
    let to_us = |request: Request, token: &str| {
        request.header("authorization", &format!("Bearer {token}")).header("anthropic-version", "2023-06-01")
    };
    let create = to_us(Request::new("POST", "/v1/messages/batches"), &lab.token);
    let batch = lab.call(&create.body(json!({ "requests": requests }).to_string())).await.json();
    let id = batch["id"].as_str().expect("an id").to_owned();
    let about = to_us(Request::new("GET", &format!("/v1/messages/batches/{id}")), &lab.token);
    Lab::until(Duration::from_secs(20), async || lab.call(&about).await.json()["processing_status"] == "ended")
        .await
        .expect("it ends");
    let fetch = to_us(Request::new("GET", &format!("/v1/messages/batches/{id}/results")), &lab.token);
    for time in 0..3 {
        let results = lab.call(&fetch).await;
        assert_eq!((results.status(), results.text().lines().count(), results.whole), (200, 3, true));
        let rows = lab.home.books().calls();
        assert_eq!(rows.len(), 3, "fetched {time} times before");
        let names: BTreeSet<&str> = rows.iter().map(|row| row["request_id"].as_str()).collect();
        assert_eq!(
            names,
            BTreeSet::from(["one", "three", "two"].map(|name| format!("{id}/{name}")).each_ref().map(String::as_str))
        );
        assert!(rows.iter().all(|row| row["outcome"] == "completed" && row["estimated"] == "false"), "{rows:?}");
        for row in &rows {
            let [input, output] =
                ["input_tokens", "output_tokens"].map(|name| row[name].parse::<i128>().expect("a count"));
            let cost = nano_dollars(&Value::from(row["cost_usd"].as_str()));
            assert_eq!(cost, input * 1_500 + output * 7_500, "half of $3 and $15: {row:?}");
        }
        lab.home.books().verify();
        if time == 1 {
            tokio::task::block_in_place(|| lab.crash_and_restart()).expect("it starts");
        }
    }
    let spent = nano_dollars(&lab.home.books().usage()["total"]["cost_usd"]);
    assert!(spent > 0);
    let spends = async || {
        let status = lab.home.books().json(&["status", "--json"]);
        let month = |window: &&Value| window["name"].as_str().is_some_and(|name| name.contains("month"));
        let budget = status["windows"].as_array().expect("windows").iter().find(month).expect("the budget").clone();
        nano_dollars(&budget["used"]) == spent
    };
    Lab::until(Duration::from_secs(20), spends).await.expect("the budget knows of it");
}

#[tokio::test]
async fn both_credentials_may_come_when_they_agree() {
    let lab = Lab::start();
    let bearer = format!("Bearer {}", lab.token);
    let both = lab.message(body(false)).header("authorization", &bearer);
    assert_eq!(lab.call(&both).await.status(), 200);
    let other = lab.home.client("other", &[]);
    let quarrel = lab.message(body(false)).header("authorization", &format!("Bearer {other}"));
    assert_eq!(lab.call(&quarrel).await.status(), 401);
}

#[tokio::test]
async fn a_client_made_or_revoked_counts_at_once() {
    let lab = Lab::start();
    let token = lab.home.client("late", &["--priority", "background", "--person", "ann"]);
    let request = Request::message(body(false)).header("x-api-key", &token);
    assert_eq!(lab.call(&request).await.status(), 200);
    let rows = lab.home.books().calls();
    assert_eq!(
        (rows[0]["client"].as_str(), rows[0]["person"].as_str(), rows[0]["priority"].as_str()),
        ("late", "ann", "background")
    );
    assert_eq!(lab.home.tidegate(&["client", "revoke", "late"]).code, Some(0));
    assert_eq!(lab.call(&request).await.status(), 401);
}

#[tokio::test]
async fn an_unknown_model_is_forwarded_and_its_price_is_unknown() {
    let lab = Lab::start();
    let answer = lab.call(&lab.message(body(false).replace("claude-sonnet-4-5", "claude-nonesuch-9"))).await;
    assert_eq!(answer.status(), 404, "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "not_found_error");
    let rows = lab.home.books().calls();
    assert_eq!((rows.len(), rows[0]["outcome"].as_str(), rows[0]["status"].as_str()), (1, "failed", "404"));
}

#[tokio::test]
async fn the_api_tells_the_same_as_the_command_line() {
    let lab = Lab::start();
    lab.call(&lab.message(body(false))).await;
    let token = std::fs::read_to_string(lab.home.data().join("api-token")).expect("serve --api makes a token");
    let ask = Request::new("GET", "/tidegate/status").header("authorization", &format!("Bearer {}", token.trim()));
    let told = lab.call(&ask).await;
    assert_eq!(told.status(), 200, "{}", told.text());
    assert_eq!(told.json()["spend"]["today_usd"], lab.home.books().json(&["status", "--json"])["spend"]["today_usd"]);
    let with_client_token = lab.call(&lab.get("/tidegate/status")).await;
    assert!(matches!(with_client_token.status(), 401 | 403), "{}", with_client_token.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_gateway_ends_what_runs_and_says_goodbye() {
    let mut lab = Lab::start();
    let address = lab.gateway.address().to_owned();
    let request = lab.message(body(true).replace("tides.", "tides. [[output 60]] [[fault drip; bytes=20; ms=5]]"));
    let running = tokio::spawn(async move { support::http::call(&address, &request).await });
    Lab::until(std::time::Duration::from_secs(5), async || {
        simulator(&lab.simulator, "/simulator/stats").await["running"] == 1
    })
    .await
    .expect("it runs");
    let code = tokio::task::block_in_place(|| lab.gateway.terminate(std::time::Duration::from_secs(35)));
    assert_eq!(code, Some(0));
    assert!(running.await.expect("no panic").expect("an answer").whole);
    books_agree(&lab).await;
}

async fn lab_call(lab: &Lab, changes: Value) {
    let mut call: Value = serde_json::from_str(&body(false)).expect("JSON");
    for (name, value) in changes.as_object().expect("changes") {
        call[name] = value.clone();
    }
    let answer = lab.call(&lab.message(call.to_string())).await;
    assert_eq!((answer.status(), answer.whole), (200, true), "{}", answer.text());
}

/// To the token and the nano-dollar; and the ledger agrees with itself.
async fn books_agree(lab: &Lab) {
    let (ours, theirs) = (lab.home.books().sums(), simulator_sums(&lab.simulator).await);
    assert_eq!(
        ours,
        theirs,
        "the ledger's sums, the simulator's: {}",
        simulator(&lab.simulator, "/simulator/stats").await
    );
    lab.home.books().verify();
}

/// The data of a stream's events.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).expect("JSON")).collect()
}
