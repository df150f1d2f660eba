//! SIGKILL in the midst of streams: what a client saw the end of is settled once, everything else is closed as interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::time::Timestamp;
use fastrand::Rng;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};
use support::books::simulator_sums;
use support::http::{Connection, Request};
use support::lab::{Lab, SETTINGS};

const STREAMS: usize = 50;

/// Of one test; there are four.
const ROUNDS: usize = 50;

/// Held back until the first word is here, so many events of a stream come together.
const BEGINNING: usize = 4;

/// From the first answer on.
const KILL_WITHIN_MS: u64 = 300;

/// In so many rounds a backup runs when the kill comes.
const ROUNDS_PER_BACKUP: usize = 5;

type Row = BTreeMap<String, String>;

/// What its client knows of a call; its number stands in the request.
#[derive(Clone, Debug, Default)]
struct Saw {
    call: Option<String>,
    events: usize,
    /// All but the last event: it has its usage.
    almost_all: bool,
    /// The output tokens, from the last event on.
    ended: Option<String>,
}

/// Where a kill met a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Met {
    BeforeFirstByte,
    AfterFirstByte,
    InMidStream,
    BeforeSettled,
    SettledBeforeLastByte,
    AfterLastByte,
}

const ALL_OF_A_CALL: [Met; 6] = [
    Met::BeforeFirstByte,
    Met::AfterFirstByte,
    Met::InMidStream,
    Met::BeforeSettled,
    Met::SettledBeforeLastByte,
    Met::AfterLastByte,
];

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Saw>>>);

impl Log {
    fn all(&self) -> MutexGuard<'_, Vec<Saw>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begins(&self) -> usize {
        let mut all = self.all();
        all.push(Saw::default());
        all.len() - 1
    }

    fn has_answers_since(&self, start: usize) -> bool {
        self.all()[start..].iter().any(|saw| saw.call.is_some())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_a_settled_call_1() {
    kill_again_and_again(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_a_settled_call_2() {
    kill_again_and_again(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_a_settled_call_3() {
    kill_again_and_again(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_a_settled_call_4() {
    kill_again_and_again(4).await;
}

async fn kill_again_and_again(part: u64) {
    let rounds =
        std::env::var("TIDEGATE_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let seed =
        std::env::var("TIDEGATE_CRASH_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a seed"));
    eprintln!("part {part}: {rounds} rounds, TIDEGATE_CRASH_SEED={seed}");
    let mut story = Story::new(seed ^ part);
    for round in 0..rounds {
        story.one_round(round).await;
    }
    story.end(rounds).await;
}

struct Story {
    lab: Lab,
    chance: Rng,
    log: Log,
    /// Where the last round's calls begin in the log.
    start: usize,
    met: BTreeMap<Met, usize>,
    /// Sent, and gone without an answer: those in the ledger had been opened.
    unanswered: usize,
    /// Killed while a backup ran, and how many of them left a whole one.
    backups: [usize; 2],
    slowest_start: Duration,
}

impl Story {
    fn new(seed: u64) -> Story {
        Story {
            lab: Lab::with(&SETTINGS.replace("\"process\"", "\"power\""), &["--scheme", "none"]),
            chance: Rng::with_seed(seed),
            log: Log::default(),
            start: 0,
            met: BTreeMap::new(),
            unanswered: 0,
            backups: [0; 2],
            slowest_start: Duration::ZERO,
        }
    }

    async fn one_round(&mut self, round: usize) {
        self.start = self.log.all().len();
        let from = now();
        let clients = self.clients();
        while !self.log.has_answers_since(self.start) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let backup = round.is_multiple_of(ROUNDS_PER_BACKUP).then(|| self.backs_up());
        let moment = self.chance.u64(..KILL_WITHIN_MS);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let when = format!("round {round}, {moment} ms after the first answer");
        self.lab.gateway.kill();
        // It would hold the folder: a backup whose gateway is gone is made by the command itself.
        if let Some((child, file)) = backup {
            self.is_whole_or_absent(child, file, &when).await;
        }
        tokio::task::block_in_place(|| self.lab.restart()).unwrap_or_else(|error| panic!("{when}: {error}"));
        self.slowest_start = self.slowest_start.max(self.lab.gateway.start);
        for client in clients {
            client.await.expect("no client panics");
        }
        let rows = tokio::task::block_in_place(|| {
            self.lab.home.books().verify();
            self.lab.home.books().calls_from(&from)
        });
        let log = self.log.all().clone();
        same_story(&when, &rows, &log[self.start..]);
        self.count(&rows, &log[self.start..]);
    }

    fn clients(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let client =
            |i| tokio::spawn(stream_on(self.lab.gateway.address().to_owned(), request(&self.lab, i), self.log.clone()));
        (0..STREAMS).map(client).collect()
    }

    fn backs_up(&self) -> (Child, PathBuf) {
        let file = self.lab.home.path("copy.db");
        let _ = fs::remove_file(&file);
        let mut command = self.lab.home.command(&["backup", &file.display().to_string()]);
        (command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"), file)
    }

    async fn is_whole_or_absent(&mut self, mut child: Child, file: PathBuf, when: &str) {
        child.wait().expect("it ends");
        self.backups[0] += 1;
        if !file.exists() {
            return;
        }
        self.backups[1] += 1;
        let mut conn = SqliteConnectOptions::new().filename(&file).read_only(true).connect().await.expect("it opens");
        let report: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.expect("it is checked");
        assert_eq!(report, "ok", "{when}");
        conn.close().await.expect("closed");
    }

    fn count(&mut self, rows: &[Row], log: &[Saw]) {
        let outcome: BTreeMap<&str, &str> =
            rows.iter().map(|row| (row["call_id"].as_str(), row["outcome"].as_str())).collect();
        for saw in log {
            match saw.call.as_ref().and_then(|call| outcome.get(call.as_str())) {
                Some(outcome) => *self.met.entry(saw.met(outcome)).or_default() += 1,
                None => self.unanswered += 1,
            }
        }
        let answered: BTreeSet<&str> = log.iter().filter_map(|saw| saw.call.as_deref()).collect();
        let opened = outcome.keys().filter(|call| !answered.contains(*call)).count();
        *self.met.entry(Met::BeforeFirstByte).or_default() += opened;
        self.unanswered -= opened.min(self.unanswered);
    }

    async fn end(self, rounds: usize) {
        let rows = self.lab.home.books().calls();
        same_story("at the end", &rows, &self.log.all());
        let upstream = simulator_sums(&self.lab.simulator).await.calls;
        assert!(
            rows.len() as u64 >= upstream,
            "{upstream} calls reached the upstream, {} are in the ledger",
            rows.len()
        );
        let [backups, whole] = self.backups;
        eprintln!(
            "{rounds} kills, {} calls: met {:?}, {} before they were opened, {backups} backups of which {whole} became whole; \
             slowest start {:?}",
            rows.len(),
            self.met,
            self.unanswered,
            self.slowest_start
        );
        for met in ALL_OF_A_CALL {
            assert!(rounds < ROUNDS || self.met.contains_key(&met), "no kill met a call {met:?}");
        }
    }
}

impl Saw {
    fn met(&self, outcome: &str) -> Met {
        match (outcome, &self.ended) {
            ("completed", Some(_)) => Met::AfterLastByte,
            ("completed", None) => Met::SettledBeforeLastByte,
            _ if self.almost_all => Met::BeforeSettled,
            _ if self.events > BEGINNING => Met::InMidStream,
            _ => Met::AfterFirstByte,
        }
    }
}

fn now() -> String {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock that is set");
    Timestamp::from_millis(i64::try_from(since.as_millis()).expect("this age")).to_string()
}

fn same_story(when: &str, rows: &[Row], log: &[Saw]) {
    let mut by_id: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_id.entry(&row["call_id"]).or_default().push(row);
        let outcome = row["outcome"].as_str();
        assert!(["completed", "interrupted"].contains(&outcome), "{when}: {row:?}");
        assert_eq!(row["estimated"], (outcome == "interrupted").to_string(), "{when}: {row:?}");
        assert!(row["input_tokens"] != "0" && !row["cost_usd"].is_empty(), "{when}: {row:?}");
    }
    for (id, found) in &by_id {
        assert_eq!(found.len(), 1, "{when}: call {id} is {} times in the ledger", found.len());
    }
    for saw in log {
        let Some(id) = &saw.call else { continue };
        let row = by_id.get(id.as_str()).and_then(|found| found.first());
        let row = row.unwrap_or_else(|| panic!("{when}: call {id} ({saw:?}) is not in the ledger"));
        if let Some(output_tokens) = &saw.ended {
            assert_eq!(row["outcome"], "completed", "{when}: its client saw the end: {row:?}");
            assert_eq!(&row["output_tokens"], output_tokens, "{when}: {row:?}");
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
    let place = log.begins();
    connection.send(&request.to_bytes(host)).await?;
    let head = connection.read_head().await?;
    anyhow::ensure!(head.status == 200, "status {}", head.status);
    log.all()[place].call = Some(head.header("x-tidegate-call").expect("a call id").to_owned());
    let mut text = Vec::new();
    let whole = connection.read_body(&head, |piece| text.extend_from_slice(piece)).await.unwrap_or(false);
    let text = String::from_utf8_lossy(&text);
    let has_ended = text.contains("event: message_stop") && text.ends_with("\n\n");
    let mut log = log.all();
    let saw = &mut log[place];
    saw.events = text.matches("\n\n").count();
    saw.almost_all = text.contains("event: message_delta");
    saw.ended = has_ended.then(|| output_of(&text));
    Ok(whole)
}

fn output_of(text: &str) -> String {
    let events = crate::flow::events(text);
    let tokens = events.iter().rev().find_map(|event| event["usage"]["output_tokens"].as_u64());
    tokens.expect("usage at the end").to_string()
}
