//! The queue by hand: who waits is shown, taken out or put first; capacity is set aside for a command.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::http::{self, Answer};
use support::lab::{Home, Lab, SETTINGS, body};
use support::process::{Said, run};

const SOON: Duration = Duration::from_secs(10);

fn one_at_a_time() -> Lab {
    let limits = "\n[[upstream.limits]]\nmodels = [\"*\"]\nconcurrency = 1\n";
    Lab::with(&format!("{SETTINGS}{limits}"), &["--scheme", "none"])
}

/// A call that is sent now and answered some time.
fn sent(lab: &Lab, body: String) -> tokio::task::JoinHandle<Answer> {
    let (address, request) = (lab.gateway.address().to_owned(), lab.message(body));
    tokio::spawn(async move { http::call(&address, &request).await.expect("an answer") })
}

fn queue(lab: &Lab) -> Vec<Value> {
    lab.home.books().json(&["queue", "--json"]).as_array().expect("a list").clone()
}

async fn until_waiting(lab: &Lab, count: usize) -> Vec<Value> {
    Lab::until(SOON, async || queue(lab).len() == count).await.expect("they wait");
    queue(lab)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_call_can_be_taken_out_or_put_first() {
    let lab = one_at_a_time();
    let slow = body(true).replace("tides.", "tides. [[output 60]] [[fault drip; bytes=20; ms=20]]");
    let running = sent(&lab, slow);
    Lab::until(SOON, async || lab.home.books().json(&["status", "--json"])["queue"]["normal"]["running"] == 1)
        .await
        .expect("it runs");
    let first = sent(&lab, body(false).replace("three", "four"));
    let waiting = until_waiting(&lab, 1).await;
    let first_id = waiting[0]["call_id"].as_str().expect("an id").to_owned();
    let second = sent(&lab, body(false).replace("three", "five"));
    let waiting = until_waiting(&lab, 2).await;
    assert_eq!((&waiting[0]["call_id"], &waiting[0]["client"]), (&first_id.as_str().into(), &"test".into()));
    let second_id = waiting[1]["call_id"].as_str().expect("an id");
    assert_eq!(lab.home.tidegate(&["queue", "raise", second_id]).code, Some(0));
    let dropped = lab.home.tidegate(&["queue", "drop", &first_id.to_lowercase(), "--json"]);
    assert!(dropped.code == Some(0) && dropped.out.contains(&first_id), "{dropped:?}");
    let refused = first.await.expect("no panic");
    assert_eq!(
        (refused.status(), refused.json()["error"]["details"]["error_code"].as_str()),
        (429, Some("tidegate_dropped"))
    );
    assert_eq!(second.await.expect("no panic").status(), 200);
    assert!(running.await.expect("no panic").whole);
    assert_eq!(queue(&lab), Vec::<Value>::new());
    let gone = lab.home.tidegate(&["queue", "drop", &first_id]);
    assert!(gone.code == Some(1) && gone.err.contains("`tidegate queue` shows"), "{gone:?}");
    lab.home.books().verify();
}

#[tokio::test]
async fn an_estimate_tells_tokens_cost_and_wait_and_needs_no_running_gateway() {
    let mut lab = one_at_a_time();
    std::fs::write(lab.home.path("body.json"), body(false)).expect("written");
    let running = lab.home.books().json(&["estimate", "body.json", "--client", "test", "--json"]);
    assert_eq!((running["model"].as_str(), running["wait_ms"].as_u64()), (Some("claude-sonnet-4-5"), Some(0)));
    assert!(running["input_tokens"].as_u64() > Some(0) && running["worst_cost_usd"].is_string(), "{running}");
    lab.gateway.terminate(Duration::from_secs(35));
    let said = run(lab.home.command(&["estimate", "-", "--json"]), &body(false));
    let alone: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!((&alone["input_tokens"], &alone["wait_ms"]), (&running["input_tokens"], &Value::Null));
    for wrong in ["[]", "{}", "", "{\"model\":7}"] {
        let said = run(lab.home.command(&["estimate", "-"]), wrong);
        assert!(matches!(said.code, Some(1 | 2)) && said.err.lines().count() == 1, "{wrong}: {said:?}");
    }
    let missing = lab.home.tidegate(&["estimate", "none.json"]);
    assert!(missing.code == Some(1) && missing.err.contains("none.json can't be read"), "{missing:?}");
}

fn reserve(home: &Home, args: &[&str], script: &str) -> Command {
    let fixed = ["reserve", "--model", "claude-sonnet-4-5"];
    home.command(&[&fixed[..], args, &["--", "sh", "-c", script]].concat())
}

fn reservations(lab: &Lab) -> usize {
    lab.home.books().json(&["status", "--json"])["reservations"].as_array().expect("a list").len()
}

#[tokio::test]
async fn a_command_runs_with_its_reservation_and_its_exit_code_is_ours() {
    let lab = Lab::start();
    let script = "echo $TIDEGATE_RESERVATION; echo \"$ANTHROPIC_CUSTOM_HEADERS\"; exit 7";
    let said = run(reserve(&lab.home, &["--calls", "5", "--ttl", "60s"], script), "");
    assert_eq!(said.code, Some(7), "{said:?}");
    let (id, headers) = said.out.split_once('\n').expect("two lines");
    assert_eq!((id.len(), headers.trim()), (26, format!("x-tidegate-reservation: {id}").as_str()));
    assert_eq!(reservations(&lab), 0);
    let missing = lab.home.tidegate(&["reserve", "--calls", "1", "--model", "m", "--", "no-such-command-here"]);
    assert!(missing.code == Some(1) && missing.err.contains("no-such-command-here can't be run"), "{missing:?}");
    assert_eq!(reservations(&lab), 0);
}

#[tokio::test]
async fn whose_a_reservation_is_must_be_clear() {
    let lab = Lab::start();
    let second = lab.home.client("second", &[]);
    let of_nobody = run(reserve(&lab.home, &["--calls", "1"], "true"), "");
    assert!(of_nobody.code == Some(2) && of_nobody.err.contains("--client NAME"), "{of_nobody:?}");
    let whose = |said: Said| assert_eq!(said.code, Some(0), "{said:?}");
    whose(run(reserve(&lab.home, &["--calls", "1", "--client", "second"], "true"), ""));
    let mut with_token = reserve(&lab.home, &["--calls", "1"], "true");
    with_token.env("ANTHROPIC_AUTH_TOKEN", &second);
    whose(run(with_token, ""));
    let unknown = run(reserve(&lab.home, &["--calls", "1", "--client", "third"], "true"), "");
    assert!(unknown.code == Some(1) && unknown.err.contains("there is no client third"), "{unknown:?}");
}

#[tokio::test]
async fn a_reservation_that_does_not_fit_is_refused_with_the_ttl_that_would_and_nothing_runs() {
    let limits = "\n[[upstream.limits]]\nmodels = [\"*\"]\nrequests_per_minute = 50\n";
    let lab = Lab::with(&format!("{SETTINGS}{limits}"), &["--scheme", "none"]);
    let said = run(reserve(&lab.home, &["--calls", "500", "--ttl", "60s"], "echo it ran"), "");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("it would fit") && said.err.lines().count() == 1, "{said:?}");
}

#[tokio::test]
async fn without_a_running_gateway_nothing_is_reserved() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    home.client("test", &[]);
    let said = run(reserve(&home, &["--calls", "1"], "echo it ran"), "");
    assert!(said.code == Some(1) && said.out.is_empty() && said.err.contains("tidegate serve"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_command_and_gives_the_reservation_back() {
    let lab = Lab::start();
    let mut command = reserve(&lab.home, &["--calls", "5"], "exec sleep 60");
    let mut child = command.stdin(Stdio::null()).spawn().expect("it starts");
    Lab::until(SOON, async || reservations(&lab) == 1).await.expect("it is held");
    let pid = rustix::process::Pid::from_child(&child);
    // It may not have started its command yet: then it ends all the same.
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let status = tokio::task::block_in_place(|| child.wait()).expect("it ends");
    assert!(matches!(status.code(), Some(130 | 143)), "{status:?}");
    assert_eq!(reservations(&lab), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_midst_of_a_command_takes_no_reservation_and_it_is_given_back_in_the_end() {
    let mut lab = Lab::start();
    let (runs, done) = (lab.home.path("runs"), lab.home.path("done"));
    let script = format!("touch {}; until test -e {}; do sleep 0.02; done", runs.display(), done.display());
    let mut child = reserve(&lab.home, &["--calls", "200"], &script).stdin(Stdio::null()).spawn().expect("it starts");
    // What is only held may be lost; once the command runs, it is kept.
    Lab::until(SOON, async || runs.exists()).await.expect("it runs");
    tokio::task::block_in_place(|| lab.crash_and_restart()).expect("it starts again");
    assert_eq!(reservations(&lab), 1);
    std::fs::write(&done, "").expect("written");
    let status = tokio::task::block_in_place(|| child.wait()).expect("it ends");
    assert_eq!((status.code(), reservations(&lab)), (Some(0), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_class_waits_until_it_is_resumed() {
    let lab = Lab::start();
    assert_eq!(lab.home.tidegate(&["pause", "normal"]).code, Some(0));
    let waits = sent(&lab, body(false));
    until_waiting(&lab, 1).await;
    assert_eq!(lab.home.tidegate(&["resume", "normal"]).code, Some(0));
    assert_eq!(waits.await.expect("no panic").status(), 200);
}
