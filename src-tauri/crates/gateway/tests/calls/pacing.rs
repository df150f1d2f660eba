//! Limits, windows, budgets and reservations as clients and shells meet them.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{Measure, QuotaKey, QuotaLevel, Unit};
use domain::call::{Class, Outcome};
use domain::catalog::{Catalog, InForce};
use domain::config::{Budget, Client, Period, Scope, WrittenLimits};
use domain::money::Usd;
use domain::price::{Factors, Price, Rate, Rates};
use domain::tier::MinuteLimits;
use sha2::{Digest, Sha256};

use crate::support::{Answer, TOKEN, World, client};
use crate::{ASK, ASK_STREAM, DELTA, JSON, MESSAGE, START};

/// A tenth of a cent for each token of output, and nothing for the rest.
pub(crate) fn priced(model: &str) -> InForce {
    let price = Price {
        id: "p".into(),
        model: model.into(),
        platform: None,
        valid_from: None,
        rates: Rates { output: Rate::per_mtok("1000").expect("a rate"), ..Rates::default() },
        long_prompt: None,
        batch: None,
        factors: Factors::default(),
        web_search: Usd::ZERO,
        source: "test".into(),
    };
    Arc::new(Catalog::new(vec![price], vec![("claude-x-1".into(), model.into())], vec![])).into()
}

fn usd(text: &str) -> Usd {
    text.parse().expect("money")
}

fn machine(limit: &str, hard: bool) -> Budget {
    Budget { scope: Scope::Machine, period: Period::Day, limit: usd(limit), hard }
}

fn one_at_a_time(config: &mut gateway::Config) {
    let one = WrittenLimits { models: vec!["*".into()], per_minute: MinuteLimits::default(), concurrency: Some(1) };
    config.upstreams[0].pacing.written = vec![one];
}

/// A call that is answered with a message.
async fn served(world: &World, headers: &str) {
    let mut peer = world.call("", ASK).await;
    world.upstream.asked().await.answer(200, &format!("{JSON}{headers}"), MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
}

fn level(world: &World, measure: Measure) -> (u64, u64) {
    let levels = world.gateway.levels();
    let found = levels.iter().find(|level| level.measure == measure).expect("a level");
    (found.limit, found.level)
}

fn only_quota(world: &World) -> QuotaLevel {
    let quotas = world.gateway.quotas();
    assert_eq!(quotas.len(), 1, "{quotas:?}");
    quotas.into_iter().next().expect("a quota")
}

fn sentence(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("an envelope");
    body["error"]["message"].as_str().expect("a sentence").to_owned()
}

fn kind(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("an envelope");
    body["error"]["type"].as_str().expect("a type").to_owned()
}

async fn until_waiting(world: &World, count: usize) {
    while world.gateway.waiting().len() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn limits_of_every_family_are_known_after_an_answer() {
    let world = World::new().await;
    let later = world.now().timestamp.as_millis() / 1_000 + 3_600;
    served(
        &world,
        &format!(
            "anthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 49\r\n\
             anthropic-priority-output-tokens-limit: 900\r\nanthropic-priority-output-tokens-remaining: 800\r\n\
             anthropic-ratelimit-unified-5h-utilization: 0.25\r\nanthropic-ratelimit-unified-5h-reset: {later}\r\n\
             anthropic-ratelimit-input-tokens-limit: -7\r\n"
        ),
    )
    .await;
    let mut shown: Vec<(Measure, u64)> =
        world.gateway.levels().iter().map(|level| (level.measure, level.limit)).collect();
    shown.sort();
    assert_eq!(shown, [(Measure::Requests, 50), (Measure::PriorityOutputTokens, 900)]);
    let window = only_quota(&world);
    assert_eq!((window.unit, window.used, window.limit), (Unit::Percent, 2_500, 10_000));
}

#[tokio::test]
async fn a_window_that_is_spent_refuses_until_it_ends() {
    let world = World::new().await;
    let reset = world.now().timestamp.as_millis() / 1_000 + 7_200;
    let rejected = format!(
        "retry-after: 7200\r\nanthropic-ratelimit-unified-status: rejected\r\n\
         anthropic-ratelimit-unified-representative-claim: five_hour\r\n\
         anthropic-ratelimit-unified-5h-utilization: 1.02\r\nanthropic-ratelimit-unified-5h-reset: {reset}\r\n"
    );
    let mut first = world.call("", ASK).await;
    world.upstream.asked().await.answer(429, &format!("{JSON}{rejected}"), r#"{"type":"error"}"#).await;
    assert_eq!(first.answer().await.text(), r#"{"type":"error"}"#, "the upstream's own refusal");
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "tidegate_window_exhausted"));
    assert!(sentence(&answer).starts_with("the window \"5h\" of upstream \"fake\" is spent: 100 % of 100 % used"));
    let wait: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((7_190..=7_200).contains(&wait), "{wait}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    world.skip(Duration::from_secs(7_201));
    served(&world, "").await;
}

#[tokio::test]
async fn a_refusal_that_names_its_limit_empties_it_even_where_it_is_packed() {
    let world = World::new().await;
    served(
        &world,
        "anthropic-ratelimit-input-tokens-limit: 30000\r\nanthropic-ratelimit-output-tokens-limit: 8000\r\n",
    )
    .await;
    let mut peer = world.call("", ASK).await;
    let mut asked = world.upstream.asked().await;
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 8,000 output tokens per minute (org: x)."}}"#;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(body.as_bytes()).expect("memory");
    let packed = packer.finish().expect("memory");
    asked.answer_bytes(429, &format!("{JSON}content-encoding: gzip\r\nretry-after: 20\r\n"), &packed).await;
    until_waiting(&world, 1).await;
    assert!(level(&world, Measure::OutputTokens).1 < 1_000);
    assert!(level(&world, Measure::InputTokens).1 > 20_000);
    world.skip(Duration::from_secs(60));
    asked.again().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
}

/// Seconds over which a reservation would fit that is larger than all limits.
async fn shortest(world: &World) -> u64 {
    let ask = r#"{"calls":1,"input_tokens":900000,"model":"claude-x","ttl":"1m"}"#;
    let (status, refused) = reservation(world, "POST", "", ask).await;
    assert_eq!(status, 409, "{refused}");
    refused["error"]["details"]["shortest_ttl"].as_u64().expect("seconds")
}

#[tokio::test]
async fn a_throttle_without_a_time_is_waited_out_and_a_ramp_slows_all() {
    let world = World::new().await;
    served(&world, "anthropic-ratelimit-input-tokens-limit: 30000\r\n").await;
    let before = shortest(&world).await;
    let ramp = r#"{"type":"error","error":{"details":{"error_code":"ramp_limit_exceeded"}}}"#;
    for (headers, body) in [("x-should-retry: true\r\n", r#"{"type":"error"}"#), ("retry-after: 5\r\n", ramp)] {
        let mut peer = world.call("", ASK).await;
        let mut asked = world.upstream.asked().await;
        asked.answer(429, &format!("{JSON}{headers}"), body).await;
        until_waiting(&world, 1).await;
        let slowed = shortest(&world).await > before * 3 / 2;
        assert_eq!(slowed, body == ramp, "{headers}");
        world.skip(Duration::from_secs(10));
        asked.again().await.answer(200, JSON, MESSAGE).await;
        assert_eq!(peer.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_spend_cap_comes_back_at_once_whatever_its_headers_say() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    for headers in ["", "x-should-retry: true\r\n", "retry-after: 1\r\n"] {
        let world = World::new().await;
        let mut peer = world.call("", ASK).await;
        world.upstream.asked().await.answer(429, &format!("{JSON}{headers}"), body).await;
        let answer = peer.answer().await;
        assert_eq!((answer.text().as_str(), answer.header("x-tidegate-attempts")), (body, Some("1")), "{headers}");
    }
}

#[tokio::test]
async fn a_budget_that_is_spent_refuses_and_names_itself() {
    let world = World::with(|config| {
        config.catalog = priced("claude-x");
        config.budgets = vec![machine("100", false)];
    })
    .await;
    let token = "tg-poor";
    let poor = Client { name: "poor".into(), daily: Some(usd("0.005")), ..client() };
    let known = |client: Client, token: &str| (Sha256::digest(token).into(), Arc::new(client));
    world.gateway.set_clients(vec![known(client(), TOKEN), known(poor, token)]);
    let ask = || async {
        let mut peer = world.connect().await;
        peer.send(&world.request("POST", "/v1/messages", "", ASK).replace(TOKEN, token)).await;
        peer
    };
    let mut peer = ask().await;
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
    let answer = ask().await.answer().await;
    assert_eq!((answer.status, kind(&answer).as_str()), (429, "billing_error"));
    assert_eq!(answer.error_code(), "tidegate_budget_reached");
    let expected = "the daily budget of client \"poor\" is spent: 0.007 of 0.005 dollars used (limit from the client's own budget)";
    assert!(sentence(&answer).starts_with(expected), "{}", sentence(&answer));
    let refused = world.books.until(|books| books.entries().len() == 2).await.entries();
    assert_eq!((refused[1].outcome, refused[1].error.as_deref()), (Outcome::Refused, Some("tidegate_budget_reached")));
    served(&world, "").await;

    let of = |scope| QuotaKey::Budget { scope, period: Period::Day };
    world.gateway.count(&of(Scope::Client("poor".into())), 0);
    let mut peer = ask().await;
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200, "the ledger knows better");
    world.gateway.set_budgets(vec![]);
    let left: Vec<QuotaKey> = world.gateway.quotas().into_iter().map(|level| level.key).collect();
    assert_eq!(left, [of(Scope::Client("poor".into()))], "a client's own budget is not the settings'");
}

#[tokio::test]
async fn budgets_have_spent_what_the_books_say_also_of_a_call_that_was_sent_twice() {
    let world = World::with(|config| {
        config.catalog = priced("claude-x");
        config.budgets = vec![machine("100", false)];
    })
    .await;
    let mut peer = world.call("", ASK).await;
    drop(world.upstream.asked().await);
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(peer.answer().await.status, 200);
    let entry = world.books.entry().await;
    assert!(entry.attempts[0].maybe_billed);
    assert_eq!(Some(only_quota(&world).used), entry.cost.map(Usd::as_nanos), "as a restart counts it");
}

#[tokio::test]
async fn a_model_without_a_price_counts_at_the_dearest() {
    let world = World::with(|config| {
        config.catalog = priced("claude-dear");
        config.budgets = vec![machine("1", false)];
    })
    .await;
    let mut peer = world.call("", ASK).await;
    world.upstream.asked().await.answer(200, JSON, &MESSAGE.replace("claude-x-1", "claude-new")).await;
    assert_eq!(peer.answer().await.status, 200);
    assert_eq!(world.books.entry().await.cost, None);
    assert_eq!(only_quota(&world).used, usd("0.007").as_nanos());
}

#[tokio::test]
async fn a_hard_budget_ends_a_stream_with_an_error_and_no_clean_end() {
    let world = World::with(|config| {
        config.catalog = priced("claude-x");
        config.budgets = vec![machine("0.02", true)];
    })
    .await;
    let mut peer = world.call("", ASK_STREAM).await;
    let mut asked = world.upstream.asked().await;
    asked.start_stream().await;
    asked.chunk(&format!("{START}{DELTA}{DELTA}{DELTA}")).await;
    peer.read_until(&format!("{DELTA}{DELTA}{DELTA}")).await;
    // One event passes the cap; half of the next has come with it.
    world.books.durable.send_replace(false);
    asked.chunk(&format!("{DELTA}{}", &DELTA[..40])).await;
    assert!(asked.is_closed().await, "the upstream learns of it at once");
    world.books.durable.send_replace(true);
    let seen = peer.rest().await;
    let (before, error) = seen.split_once("event: error\ndata: ").expect("an error event");
    assert_eq!(before.matches("event: content_block_delta").count(), 1, "half an event is none: {before}");
    assert!(before.contains(DELTA), "{before}");
    let error: serde_json::Value = serde_json::from_str(error.lines().next().expect("a line")).expect("JSON");
    assert_eq!(error["error"]["type"], "billing_error");
    assert_eq!(error["error"]["details"]["error_code"], "tidegate_budget_reached");
    assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
    let entry = world.books.entry().await;
    assert_eq!((entry.outcome, entry.error.as_deref()), (Outcome::Cut, Some("tidegate_budget_reached")));
    let (cap, event) = (usd("0.02"), usd("0.005"));
    let cost = entry.cost.expect("a price");
    assert!(cost >= cap && cost <= cap + event, "{cost}");
    let used = only_quota(&world).used;
    assert!(used <= (cap + event).as_nanos(), "{used}");
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!(answer.error_code(), "tidegate_budget_reached");
}

/// The pieces of a body that never ended, put together.
fn unchunked(mut seen: &str) -> String {
    let mut body = String::new();
    seen = seen.split_once("\r\n\r\n").expect("a head").1;
    while let Some((size, rest)) = seen.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        assert!(size > 0, "a clean end");
        body.push_str(&rest[..size]);
        seen = rest[size..].trim_start_matches("\r\n");
    }
    body
}

#[tokio::test]
async fn the_error_of_a_spent_budget_never_lands_inside_another_event() {
    for split in [1, 8, 27, 60, DELTA.len() - 2, DELTA.len() - 1] {
        let world = World::with(|config| {
            config.catalog = priced("claude-x");
            config.budgets = vec![machine("0.008", true)];
        })
        .await;
        let mut peer = world.call("", ASK_STREAM).await;
        let mut asked = world.upstream.asked().await;
        asked.start_stream().await;
        asked.chunk(&format!("{START}{DELTA}{}", &DELTA[..split])).await;
        asked.chunk(&format!("{}{}", &DELTA[split..], &DELTA[..split])).await;
        let body = unchunked(&peer.rest().await);
        let whole = format!("{START}{DELTA}{DELTA}event: error\ndata: ");
        assert!(body.starts_with(&whole) && body.ends_with("}\n\n"), "{split}: {body}");
        assert_eq!(world.books.entry().await.outcome, Outcome::Cut);
    }
}

#[tokio::test]
async fn a_clients_own_budget_softens_no_hard_one_of_the_settings() {
    let hard = Budget { scope: Scope::Client("ci".into()), ..machine("3", true) };
    let world = World::with(|config| config.budgets = vec![hard]).await;
    let own = Client { daily: Some(usd("2")), ..client() };
    world.gateway.set_clients(vec![(Sha256::digest(TOKEN).into(), Arc::new(own))]);
    let budget = only_quota(&world);
    assert_eq!((budget.limit, budget.hard), (usd("2").as_nanos(), true));
}

#[tokio::test]
async fn a_hard_budget_cuts_no_answer_that_is_whole_and_a_soft_one_none_at_all() {
    for hard in [true, false] {
        let world = World::with(|config| {
            config.catalog = priced("claude-x");
            config.budgets = vec![machine("0.001", hard)];
        })
        .await;
        if hard {
            served(&world, "").await;
            assert_eq!(world.books.entry().await.outcome, Outcome::Completed);
            continue;
        }
        let mut peer = world.call("", ASK_STREAM).await;
        let mut asked = world.upstream.asked().await;
        asked.start_stream().await;
        asked.chunk(&format!("{START}{DELTA}")).await;
        peer.read_until(DELTA).await;
        asked.chunk(crate::END_DELTA).await;
        asked.chunk(crate::STOP).await;
        asked.send("0\r\n\r\n").await;
        peer.read_until("0\r\n\r\n").await;
        assert_eq!(world.books.entry().await.outcome, Outcome::Completed);
    }
}

async fn reservation(world: &World, method: &str, target: &str, body: &str) -> (u16, serde_json::Value) {
    let mut peer = world.connect().await;
    peer.send(&world.request(method, &format!("/tidegate/reservations{target}"), "", body)).await;
    let answer = peer.answer().await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[tokio::test]
async fn capacity_is_reserved_used_extended_and_released_over_http() {
    let world = World::with(|config| {
        let per_minute = MinuteLimits { requests: Some(6_000), ..MinuteLimits::default() };
        config.upstreams[0].pacing.written =
            vec![WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None }];
    })
    .await;
    let (status, made) = reservation(&world, "POST", "", r#"{"calls":20,"model":"claude-x","ttl":"10m"}"#).await;
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().expect("an id").to_owned();
    let at = |value: &serde_json::Value, name: &str| {
        domain::time::Timestamp::parse(value[name].as_str().expect("a time")).expect("RFC 3339")
    };
    assert_eq!(at(&made, "expires_at").since(at(&made, "starts_at")).as_secs(), 600);

    world.gateway.pause(Class::Normal);
    for (name, goes) in [(id.as_str(), true), ("01JDZZZZZZZZZZZZZZZZZZZZZZ", false), ("mine", false)] {
        let mut peer = world.call(&format!("x-tidegate-reservation: {name}\r\n"), ASK).await;
        if goes {
            world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
            assert_eq!(peer.answer().await.status, 200);
        } else {
            until_waiting(&world, 1).await;
            drop(peer);
            until_waiting(&world, 0).await;
        }
    }
    assert_eq!(world.gateway.reservations()[0].used, 1);

    let (status, longer) = reservation(&world, "POST", &format!("/{id}/extend"), r#"{"ttl":60}"#).await;
    let extended = at(&longer, "expires_at").since(at(&made, "expires_at")).as_millis();
    assert!(status == 200 && (59_900..=60_100).contains(&extended), "{longer}");
    assert_eq!(reservation(&world, "DELETE", &format!("/{id}"), "").await.0, 204);
    let (status, gone) = reservation(&world, "DELETE", &format!("/{id}"), "").await;
    assert_eq!((status, &gone["error"]["details"]["error_code"]), (404, &"tidegate_no_reservation".into()));
    assert!(world.gateway.reservations().is_empty());
}

#[tokio::test]
async fn a_reservation_that_does_not_fit_learns_over_which_time_it_would() {
    let world = World::with(|config| {
        let per_minute = MinuteLimits { requests: Some(60), ..MinuteLimits::default() };
        config.upstreams[0].pacing.written =
            vec![WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None }];
    })
    .await;
    let (status, refused) = reservation(&world, "POST", "", r#"{"calls":600,"model":"claude-x","ttl":"1m"}"#).await;
    let error = &refused["error"];
    assert_eq!((status, &error["details"]["error_code"]), (409, &"tidegate_reservation_too_large".into()));
    let shortest = error["details"]["shortest_ttl"].as_u64().expect("seconds");
    assert!((600..700).contains(&shortest), "{shortest}");
    let sentence = error["message"].as_str().expect("a sentence");
    assert!(sentence.contains("60 requests per minute") && sentence.contains(&shortest.to_string()), "{sentence}");
    let body = format!(r#"{{"calls":600,"model":"claude-x","ttl":{shortest}}}"#);
    assert_eq!(reservation(&world, "POST", "", &body).await.0, 200);
    for body in ["x", r#"{"calls":0,"model":"m"}"#, r#"{"calls":1,"model":"m","ttl":99999999}"#] {
        let (status, refused) = reservation(&world, "POST", "", body).await;
        assert_eq!((status, &refused["error"]["type"]), (400, &"invalid_request_error".into()), "{body}");
    }
    let mut stranger = world.connect().await;
    stranger.send(&world.request("POST", "/tidegate/reservations", "", "{}").replace(TOKEN, "tg-wrong")).await;
    assert_eq!(stranger.answer().await.status, 401);
}

#[tokio::test]
async fn the_queue_is_moved_by_hand() {
    let world = World::new().await;
    world.gateway.pause(Class::Normal);
    let mut dropped = world.call("", ASK).await;
    until_waiting(&world, 1).await;
    let first = world.gateway.waiting()[0].call;
    let mut raised = world.call("", ASK).await;
    until_waiting(&world, 2).await;
    let second = world.gateway.waiting()[1].call;

    assert!(world.gateway.drop_call(first) && !world.gateway.drop_call(first));
    let answer = dropped.answer().await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "tidegate_dropped"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(world.books.entry().await.outcome, Outcome::Refused);

    assert!(world.gateway.raise_call(second));
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(raised.answer().await.status, 200);
    assert!(!world.gateway.raise_call(second));
}

#[tokio::test]
async fn a_full_queue_tells_when_a_call_would_go() {
    let world = World::with(|config| {
        config.rules.queue_max = 3;
        let per_minute = MinuteLimits { requests: Some(2), ..MinuteLimits::default() };
        config.upstreams[0].pacing.written =
            vec![WrittenLimits { models: vec!["*".into()], per_minute, concurrency: None }];
    })
    .await;
    served(&world, "").await;
    let mut waiting = Vec::new();
    for count in 1..=3 {
        waiting.push(world.call("", ASK).await);
        until_waiting(&world, count).await;
    }
    let answer = world.call("", ASK).await.answer().await;
    assert_eq!(answer.error_code(), "tidegate_queue_full");
    let wait: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((90..=150).contains(&wait), "four calls at two a minute: {wait}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn what_was_learned_is_there_before_the_first_call() {
    let before = World::new().await;
    served(&before, "anthropic-ratelimit-requests-limit: 50\r\n").await;
    let memory = before.gateway.remember();

    let world = World::bound(|_| ()).await.expect("a port");
    let mut early = world.call("", ASK).await;
    assert!(early.is_silent().await && world.upstream.is_idle().await, "it takes no calls yet");
    world.gateway.recall(memory);
    assert_eq!(level(&world, Measure::Requests).0, 50);
    world.gateway.open();
    world.upstream.asked().await.answer(200, JSON, MESSAGE).await;
    assert_eq!(early.answer().await.status, 200);
}

#[tokio::test]
async fn an_outlook_takes_nothing_and_makes_no_entry() {
    let world = World::with(|config| {
        one_at_a_time(config);
        config.catalog = priced("claude-x");
    })
    .await;
    let outlook = world.gateway.outlook(ASK.as_bytes(), &client()).expect("a call");
    assert_eq!((outlook.wait, outlook.cost_worst), (Some(Duration::ZERO), Some(usd("0.1"))));
    let wrong = world.gateway.outlook(b"[]", &client()).expect_err("no call");
    assert!(wrong.reason.starts_with("the body is no JSON object"));
    assert!(world.books.entries().is_empty() && world.gateway.live().is_empty());
    served(&world, "").await;
}
