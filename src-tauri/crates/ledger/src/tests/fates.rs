//! How calls went, read part by part.

use domain::success::{Fate, Try};

use super::*;

fn failed(number: u32, call: &Call, status: Option<u16>) -> Attempt {
    Attempt { status, error: Some("overloaded_error".into()), ..attempt(number, call) }
}

fn told(one: &Try) -> String {
    format!("{} {} {:?} {}", one.number, one.upstream, one.status, one.is_broken)
}

/// All parts together, from the beginning or from where another reading ended.
async fn read(ledger: &Ledger, from: Timestamp, mut through: i64) -> (Vec<Fate>, i64) {
    let mut fates = vec![];
    loop {
        let part = ledger.fates(from, through).await.expect("readable");
        fates.extend(part.fates);
        through = part.through;
        if part.is_all {
            return (fates, through);
        }
    }
}

#[tokio::test]
async fn fates_tell_every_attempt_and_come_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    assert_eq!(read(&ledger, noon(), 0).await, (vec![], 0));
    let early = call(1, at("2026-11-24T11:59:59Z"));
    let (first, second, third) = (call(2, noon()), call(3, noon()), call(4, noon()));
    let refused = Entry { attempts: vec![], outcome: Outcome::Refused, status: 429, ..entry(third) };
    let elsewhere = Attempt { upstream: "second".into(), ..attempt(3, &second) };
    let attempts = vec![failed(1, &second, Some(529)), failed(2, &second, None), elsewhere];
    let fallen = Entry { attempts, ..entry(second) };
    for entry in [entry(early), entry(first), fallen, refused] {
        ledger.settle(&entry).await.expect("written");
    }
    let (fates, through) = read(&ledger, noon(), 0).await;
    let tries = |fate: &Fate| fate.tries.iter().map(told).collect::<Vec<_>>();
    let tries: Vec<_> = fates.iter().map(tries).collect();
    assert_eq!(
        tries,
        [
            vec!["1 anthropic Some(200) false"],
            vec!["1 anthropic Some(529) true", "2 anthropic None true", "3 second Some(200) false"],
            vec![]
        ]
    );
    assert_eq!((fates[2].outcome, fates[2].status, fates[0].started_at), (Outcome::Refused, 429, noon()));
    assert_eq!(read(&ledger, noon(), through).await, (vec![], through));
    ledger.settle(&entry(call(5, noon()))).await.expect("written");
    assert_eq!(read(&ledger, noon(), through).await.0.len(), 1);
}

#[tokio::test]
async fn many_are_read_in_parts_without_losing_or_doubling_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ledger, _) = open(dir.path()).await;
    for number in 0..9_000 {
        ledger.settle(&entry(call(number, noon()))).await.expect("written");
        if let Some(room) = ledger.room() {
            room.await;
        }
    }
    let part = ledger.fates(noon(), 0).await.expect("readable");
    assert!(!part.is_all && part.fates.len() == 4_000, "{}", part.fates.len());
    assert_eq!(read(&ledger, noon(), 0).await.0.len(), 9_000);
}
