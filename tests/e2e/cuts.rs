//! Fifty recorded streams, each broken off at many places: no client takes a broken answer for a whole one.

use support::http::{Answer, Connection};
use support::lab::{Home, SETTINGS};
use support::recordings::{Recording, Replay, load};

/// Nothing is sent again and no breaker opens: each cut is seen as it is.
const PLAIN: &str = "\n[retry]\nbudget = 0\n[breaker]\nfailures = 1000000\n";
const STREAMS: usize = 50;
const CUTS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_anywhere_never_looks_whole() {
    let (recordings, said) = load();
    let streams = recordings.iter().filter(|one| one.is_stream && one.text().contains("event: message_stop"));
    let streams: Vec<&Recording> =
        streams.filter(|one| one.request.target.starts_with("/v1/messages")).take(STREAMS).collect();
    let replay = Replay::start().await;
    let home = Home::new(&format!("{SETTINGS}{PLAIN}"), &format!("http://{}", replay.address));
    let token = home.client("test", &[]);
    let gateway = home.serve(&[]).expect("the gateway starts");
    let mut cuts = 0;
    for stream in &streams {
        let end = stream.text().find("event: message_stop").expect("it has an end");
        for at in (0..CUTS).map(|cut| end * cut / CUTS).chain([end - 1, end]) {
            replay.put_on(&stream.cut_at(at));
            let request = stream.request.clone().header("x-api-key", &token);
            let mut connection = Connection::open(gateway.address()).await.expect("a connection");
            let answer = connection.call(&request).await.expect("an answer");
            is_broken(stream, at, &answer);
            cuts += 1;
        }
    }
    drop(gateway);
    home.books().verify();
    let calls = home.books().calls();
    assert_eq!(calls.len(), cuts);
    assert!(calls.iter().all(|call| call["outcome"] == "cut" || call["outcome"] == "failed"), "{:?}", calls.last());
    eprintln!("{said}: {} streams, {cuts} cuts", streams.len());
}

/// Either an error of ours, where nothing of it was content yet, or what came to the byte and then a broken connection.
fn is_broken(stream: &Recording, at: usize, answer: &Answer) {
    let id = &stream.id;
    if answer.status() == 200 {
        assert!(!answer.whole, "{id} cut at {at} looks whole");
        assert!(stream.body.starts_with(&answer.body), "{id} cut at {at}: {}", answer.text());
        assert!(answer.body.len() == at, "{id} cut at {at}: {} bytes came", answer.body.len());
    } else {
        assert_eq!((answer.status(), answer.json()["type"].as_str()), (502, Some("error")), "{id} cut at {at}");
    }
}
