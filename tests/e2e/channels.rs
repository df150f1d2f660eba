//! Alerts reach a channel that is down at first, signed, once when they begin and once when they are over.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use support::lab::{Lab, SETTINGS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(40);

/// Somebody's receiver: gives the answers one after the other, then takes everything.
pub(crate) struct Receiver {
    pub(crate) address: String,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
    refused: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(answers: &'static [&'static str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let taken: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let all = taken.clone();
        let refused: Arc<AtomicUsize> = Arc::default();
        let count = refused.clone();
        let task = tokio::spawn(async move {
            let mut answers = answers.iter();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (head, body) = read(&mut socket).await;
                let answer = answers.next().copied();
                if answer.is_none() {
                    all.lock().expect("no panic").push((head, serde_json::from_slice(&body).expect("JSON")));
                }
                let status = answer.unwrap_or("204 No Content");
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = socket.write_all(answer.as_bytes()).await;
                count.fetch_add(usize::from(!status.starts_with("204")), Ordering::Relaxed);
            }
        });
        Receiver { address, taken, refused, task }
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.taken.lock().expect("no panic").iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let mut all = vec![];
    loop {
        let mut piece = [0; 4_096];
        let read = socket.read(&mut piece).await.unwrap_or(0);
        all.extend_from_slice(&piece[..read]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(read > 0, "a whole head");
            continue;
        };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if read == 0 || all.len() >= end + 4 + length.unwrap_or(0) {
            return (head, all.split_off(end + 4));
        }
    }
}

/// What is signed with lies in a file of mode 0600.
fn secret() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"s3cret").expect("written");
    file
}

fn settings(receiver: &Receiver, secret: &tempfile::NamedTempFile) -> String {
    let channel = format!(
        "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://{}/hook\"\nsecret = \"file:{}\"\nallow_private = true\n",
        receiver.address,
        secret.path().display()
    );
    format!("{SETTINGS}\n{channel}")
}

#[tokio::test]
async fn an_alert_reaches_a_webhook_that_refuses_it_twice_and_so_does_its_end() {
    let receiver = Receiver::start(&["429 Too Many Requests", "500 Internal Server Error"]).await;
    let secret = secret();
    let lab = Lab::with(&settings(&receiver, &secret), &["--scheme", "none"]);
    let said = lab.home.tidegate(&["emergency", "on", "--reason", "a drill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    Lab::until(PATIENCE, async || receiver.bodies().len() == 1).await.expect("it begins");
    assert_eq!(lab.home.tidegate(&["emergency", "off"]).code, Some(0));
    Lab::until(PATIENCE, async || receiver.bodies().len() == 2).await.expect("it is over");
    let [begun, over] = &receiver.bodies()[..] else { panic!("two posts") };
    assert_eq!((&begun["event"], &over["event"]), (&"crossed".into(), &"resolved".into()));
    assert_eq!(begun["alert"]["alert_id"], over["alert"]["alert_id"]);
    assert!(begun["alert"]["message"].as_str().is_some_and(|message| message.contains("a drill")), "{begun}");
    let (head, _) = receiver.taken.lock().expect("no panic")[0].clone();
    assert!(head.contains("x-tidegate-signature: v1=") && head.contains("x-tidegate-timestamp: "), "{head}");
    assert!(!head.contains("s3cret"), "{head}");
    let alerts = lab.home.books().json(&["alert", "list", "--json"]);
    let channels = alerts[0]["channels"].as_array().expect("channels");
    assert!(channels.contains(&"ops".into()), "{alerts}");
}

#[tokio::test]
async fn an_alert_that_no_channel_had_taken_when_the_process_was_killed_is_sent_after_the_next_start_and_once() {
    let receiver = Receiver::start(&["503 Service Unavailable"]).await;
    let secret = secret();
    let mut lab = Lab::with(&settings(&receiver, &secret), &["--scheme", "none"]);
    assert_eq!(lab.home.tidegate(&["emergency", "on"]).code, Some(0));
    Lab::until(PATIENCE, async || receiver.refused.load(Ordering::Relaxed) == 1).await.expect("it is down");
    lab.crash_and_restart().expect("it starts again");
    Lab::until(PATIENCE, async || receiver.bodies().len() == 1).await.expect("it is told late");
    let waits = |lab: &Lab| lab.home.books().json(&["alert", "list", "--json"])[0]["waiting"].is_array();
    Lab::until(PATIENCE, async || !waits(&lab)).await.expect("it was taken");
    assert_eq!(lab.gateway.terminate(Duration::from_secs(10)), Some(0));
    lab.restart().expect("it starts again");
    assert_eq!(lab.home.tidegate(&["emergency", "off"]).code, Some(0));
    Lab::until(PATIENCE, async || receiver.bodies().len() == 2).await.expect("it is over");
    let [begun, over] = &receiver.bodies()[..] else { panic!("two posts") };
    assert_eq!((&begun["event"], &over["event"]), (&"crossed".into(), &"resolved".into()));
    assert_eq!(begun["alert"]["alert_id"], over["alert"]["alert_id"]);
}

// The receiver answers while the command is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_alert_tells_why_a_channel_did_not_take_it() {
    let receiver = Receiver::start(&["302 Found"]).await;
    let secret = secret();
    let lab = Lab::with(&settings(&receiver, &secret), &["--scheme", "none"]);
    let test = |channel: &str| lab.home.tidegate(&["alert", "test", channel]);
    let refused = test("ops");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("it answered 302 and redirects are not followed"), "{}", refused.err);
    let taken = test("ops");
    assert_eq!((taken.code, &*taken.out), (Some(0), "channel ops took the test alert\n"), "{}", taken.err);
    assert_eq!(receiver.bodies()[0]["alert"]["rule"], "test");
    let unknown = test("opps");
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("those there are: ops, desktop"), "{}", unknown.err);
}
