//! SIGKILL in the midst of streams: what a client saw the end of is settled once, everything else is closed as interrupted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::books::simulator_sums;
use support::http::{Connection, Request};
use support::lab::{Lab, SETTINGS};

const STREAMS: usize = 50;

/// What a client knows of one call.
#[derive(Clone, Debug, Default)]
struct Saw {
    last_event: bool,
    output_tokens: Option<String>,
}

type Log = Arc<Mutex<BTreeMap<String, Saw>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_a_settled_call() {
    let rounds = std::env::var("TIDEGATE_CRASH_ROUNDS").map_or(40, |text| text.parse().expect("a number of rounds"));
    let seed =
        std::env::var("TIDEGATE_CRASH_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a seed"));
    eprintln!("{rounds} rounds, TIDEGATE_CRASH_SEED={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut lab = Lab::with(&SETTINGS.replace("\"process\"", "\"power\""), &["--scheme", "none"]);
    let log = Log::default();
    for round in 0..rounds {
        let clients: Vec<_> = (0..STREAMS)
            .map(|i| tokio::spawn(stream_on(lab.gateway.address().to_owned(), request(&lab, i), log.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(chance.u64(20..400))).await;
        tokio::task::block_in_place(|| lab.crash_and_restart())
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        for client in clients {
            client.await.expect("no client panics");
        }
        let books = tokio::task::block_in_place(|| {
            lab.home.books().verify();
            lab.home.books().calls()
        });
        same_story(round, &books, &log.lock().expect("the log"));
    }
    let calls = lab.home.books().calls();
    let upstream = simulator_sums(&lab.simulator).await.calls;
    assert!(calls.len() as u64 >= upstream, "{upstream} calls reached the upstream, {} are in the ledger", calls.len());
    let seen = log.lock().expect("the log").values().filter(|saw| saw.last_event).count();
    assert!(seen > 0 && seen < calls.len(), "the kills hit nothing: {seen} of {} calls ended", calls.len());
    eprintln!(
        "{} calls, {seen} seen to their end, {} interrupted",
        calls.len(),
        calls.iter().filter(|c| c["outcome"] == "interrupted").count()
    );
}

fn same_story(round: usize, calls: &[BTreeMap<String, String>], log: &BTreeMap<String, Saw>) {
    let mut by_id: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for call in calls {
        by_id.entry(&call["call_id"]).or_default().push(call);
        let outcome = call["outcome"].as_str();
        assert!(["completed", "interrupted"].contains(&outcome), "round {round}: {call:?}");
        assert_eq!(call["estimated"], (outcome == "interrupted").to_string(), "round {round}: {call:?}");
        assert!(call["input_tokens"] != "0" && !call["cost_usd"].is_empty(), "round {round}: {call:?}");
    }
    for (id, saw) in log {
        let found = by_id.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        assert_eq!(found.len(), 1, "round {round}: call {id} ({saw:?}) is {} times in the ledger", found.len());
        if saw.last_event {
            assert_eq!(found[0]["outcome"], "completed", "round {round}: its client saw the end: {:?}", found[0]);
            assert_eq!(Some(&found[0]["output_tokens"]), saw.output_tokens.as_ref(), "round {round}: {:?}", found[0]);
        }
    }
}

/// Short and long streams, so that a kill meets all their stages.
fn request(lab: &Lab, i: usize) -> Request {
    let output = [5, 40, 150, 400][i % 4];
    let prompt = format!("Name tide {i}. [[output {output}]]");
    lab.message(format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":512,"stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#))
}

/// One call after the other until the connection dies.
async fn stream_on(address: String, request: Request, log: Log) {
    let Ok(mut connection) = Connection::open(&address).await else { return };
    while let Ok(true) = stream_once(&mut connection, &address, &request, &log).await {}
}

async fn stream_once(connection: &mut Connection, host: &str, request: &Request, log: &Log) -> anyhow::Result<bool> {
    connection.send(&request.to_bytes(host)).await?;
    let head = connection.read_head().await?;
    anyhow::ensure!(head.status == 200, "status {}", head.status);
    let id = head.header("x-tidegate-call").expect("a call id").to_owned();
    log.lock().expect("the log").insert(id.clone(), Saw::default());
    let mut text = Vec::new();
    let whole = connection.read_body(&head, |piece| text.extend_from_slice(piece)).await.unwrap_or(false);
    let text = String::from_utf8_lossy(&text);
    let last_event = text.contains("event: message_stop") && text.ends_with("\n\n");
    let output_tokens = last_event.then(|| output_of(&text));
    log.lock().expect("the log").insert(id, Saw { last_event, output_tokens });
    Ok(whole)
}

fn output_of(text: &str) -> String {
    let events = crate::flow::events(text);
    let tokens = events.iter().rev().find_map(|event| event["usage"]["output_tokens"].as_u64());
    tokens.expect("usage at the end").to_string()
}
