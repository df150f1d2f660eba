//! Bytes are sacred: every recorded exchange comes through as it would have come directly.

use support::http::{Answer, Connection, Request};
use support::lab::{Home, SETTINGS};
use support::recordings::{Recording, Replay, load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_exchanges_pass_unchanged() {
    let (recordings, said) = load();
    let replay = Replay::start().await;
    // Many recordings have lost their headers: what such an answer is nobody can tell.
    let settings = format!("{SETTINGS}\n[breaker]\nfailures = 1000000\n");
    let home = Home::new(&settings, &format!("http://{}", replay.address));
    let token = home.client("test", &[]);
    let mut gateway = home.serve(&[]).expect("the gateway starts");
    for recording in &recordings {
        if !passes_unchanged(&replay, recording, gateway.address(), &token).await {
            // Old recordings tell of limits that are used up: the gateway believes them, and one that starts afresh does not.
            drop(gateway);
            gateway = home.serve(&[]).expect("the gateway starts");
            assert!(
                passes_unchanged(&replay, recording, gateway.address(), &token).await,
                "{}: held back",
                recording.id
            );
        }
    }
    drop(gateway);
    home.books().verify();
    eprintln!("{said}: bodies, statuses and headers equal");
}

/// False where the gateway held the call back.
async fn passes_unchanged(replay: &Replay, recording: &Recording, gateway: &str, token: &str) -> bool {
    let id = &recording.id;
    let direct = ask(replay, recording, &replay.address, &recording.request).await;
    let sent_directly = replay.seen();
    let request = recording.request.clone().header("x-api-key", token).header("x-tidegate-max-wait", "0");
    let through = ask(replay, recording, gateway, &request).await;
    if through.text().contains("tidegate_deadline") {
        return false;
    }
    same_answer(recording, &direct, &through, gateway);
    let sent = replay.seen();
    assert_eq!(sent.line, sent_directly.line, "{id}");
    assert!(sent.body == sent_directly.body, "{id}: the request's body changed");
    for header in sent_directly.headers.iter().filter(|(name, _)| is_ours_to_keep(name)) {
        assert!(sent.headers.contains(header), "{id}: the upstream got no {header:?}");
    }
    let leaked = sent.headers.iter().find(|(name, value)| name.starts_with("x-tidegate") || value.contains(token));
    assert_eq!(leaked, None, "{id}");
    true
}

async fn ask(replay: &Replay, recording: &Recording, address: &str, request: &Request) -> Answer {
    replay.put_on(recording);
    let mut connection = Connection::open(address).await.expect("a connection");
    connection.call(request).await.unwrap_or_else(|error| panic!("{}: {error}", recording.id))
}

fn same_answer(recording: &Recording, direct: &Answer, through: &Answer, gateway: &str) {
    let id = &recording.id;
    assert_eq!(through.status(), direct.status(), "{id}: {}", through.text());
    assert_eq!(through.whole, direct.whole, "{id}");
    // Framing is each hop's own, and a promise of TLS would be untrue of a loopback port.
    let theirs_alone = ["content-length", "transfer-encoding", "strict-transport-security"];
    for header in direct.head.headers.iter().filter(|(name, _)| !theirs_alone.contains(&name.as_str())) {
        assert!(through.head.headers.contains(header), "{id}: no {header:?} in {:?}", through.head.headers);
    }
    if recording.request.target.contains("/batches") && direct.text().contains("results_url\":\"http") {
        let (mut theirs, mut ours) = (direct.json(), through.json());
        point_elsewhere(&mut theirs, &mut ours, gateway);
        assert_eq!(ours, theirs, "{id}: more than results_url changed");
        return;
    }
    assert!(through.body == direct.body, "{id}: the body changed\nfrom {}\nto   {}", direct.text(), through.text());
}

/// Takes `results_url` out of both after a look at where it leads.
fn point_elsewhere(theirs: &mut serde_json::Value, ours: &mut serde_json::Value, gateway: &str) {
    use serde_json::Value;
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs.iter_mut() {
                let Some(other) = ours.get_mut(name) else { continue };
                if let ("results_url", Some(url)) = (name.as_str(), other.as_str()) {
                    assert!(url.starts_with(&format!("http://{gateway}/v1/")), "results_url leads to {url}");
                    (*value, *other) = (Value::Null, Value::Null);
                } else {
                    point_elsewhere(value, other, gateway);
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            for (value, other) in theirs.iter_mut().zip(ours) {
                point_elsewhere(value, other, gateway);
            }
        }
        _ => {}
    }
}

/// What must reach the upstream as the client sent it.
fn is_ours_to_keep(name: &str) -> bool {
    name.starts_with("anthropic-")
        || name.starts_with("x-stainless")
        || ["content-type", "accept", "user-agent"].contains(&name)
}
