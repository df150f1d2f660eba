//! The real window, its tray and its notifications, each test on a desktop of its own.

mod desk;
mod driver;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use desk::{Desk, until};
use driver::Page;
use serde_json::json;
use support::http::{self, Request};
use support::process::{Server, binary, run};

const SIMULATED: &str =
    "[gateway]\nlisten = \"127.0.0.1:PORT\"\n[[upstream]]\nname = \"anthropic\"\nkind = \"simulator\"\n";
const TODAY: &str = "//*[@data-fact='spend-today']";
const CALLS: &str = "//section[@aria-labelledby='calls']";
const MARKUP: &str = "<img src=x onerror=alert(1)>";
/// How soon a choice of the first start shows calls.
const LIVE_WITHIN: Duration = Duration::from_secs(5);

fn button(label: &str) -> String {
    format!("//button[contains(normalize-space(.), '{label}')]")
}

/// Settings with the simulator, on a port of the test's own.
fn simulated(desk: &Desk) -> String {
    let port = driver::free_port().to_string();
    desk.settings(&SIMULATED.replace("PORT", &port));
    format!("127.0.0.1:{port}")
}

#[tokio::test]
async fn the_first_start_offers_the_simulator_and_its_choice_goes_live() {
    let desk = Desk::new();
    desk.settings(&format!("[gateway]\nlisten = \"127.0.0.1:{}\"\n", driver::free_port()));
    let page = Page::open(&desk, &[]).await;
    page.find(&button("Connect my key")).await;
    page.click(&button("Try it with the simulator")).await;
    let chosen = Instant::now();
    page.text_that(TODAY, |today| today.starts_with('$') && today != "$0.00").await;
    assert!(chosen.elapsed() < LIVE_WITHIN, "live after {:?}", chosen.elapsed());
    page.text_that(CALLS, |calls| calls.contains("completed") && calls.contains("running")).await;
    let spent = page.text(TODAY).await;

    page.click(&button("Leave the demo")).await;
    page.click(&button("Try it with the simulator")).await;
    page.text_that(TODAY, |today| today.starts_with('$') && today != "$0.00" && today != spent).await;
    page.close().await;
}

#[tokio::test]
async fn a_call_through_the_gate_moves_the_numbers_in_the_window() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let page = Page::open(&desk, &[]).await;
    assert_eq!(page.text(TODAY).await, "$0.00");
    page.click(&button("Make a token")).await;
    page.fill("//input[@placeholder='my-program']", "my-script").await;
    page.click(&button("Make its token")).await;
    let token = page.text("//*[@data-fact='token']").await;
    page.click(&button("Copy token")).await;
    page.text_that("//*[@role='status']", |said| said == "Token copied").await;

    let body =
        json!({"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]});
    let call = Request::message(body.to_string()).header("x-api-key", &token);
    let answer = http::call(&address, &call).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());

    page.click(&button("Overview")).await;
    page.text_that(TODAY, |today| today != "$0.00").await;
    page.text_that(CALLS, |calls| calls.contains("my-script") && calls.contains("completed")).await;

    let hostile = body.to_string().replace("claude-haiku-4-5", MARKUP);
    let answer = http::call(&address, &Request::message(hostile).header("x-api-key", &token)).await.unwrap();
    assert_eq!(answer.status(), 404, "{}", answer.text());
    page.text_that(CALLS, |calls| calls.contains(MARKUP)).await;
    page.close().await;
}

#[tokio::test]
async fn a_key_goes_into_the_keychain_and_nowhere_else() {
    const KEY: &str = "sk-ant-canary-4f9c2b7d1e6a8350";
    let desk = Desk::new();
    desk.settings(&format!("[gateway]\nlisten = \"127.0.0.1:{}\"\n", driver::free_port()));
    let _keychain = desk.keychain();
    let page = Page::open(&desk, &[]).await;
    page.click(&button("Connect my key")).await;
    page.fill("//input[@type='password']", KEY).await;
    page.click(&button("Store it")).await;
    page.click(&button("Make its token")).await;
    page.find("//*[contains(., 'Waiting for your first call')]").await;
    assert_eq!(desk.ask("secret-tool", &["lookup", "service", "tidegate"]), KEY);
    assert!(!page.source().await.contains(KEY), "the page has forgotten it");
    page.close().await;
    let files = desk.files_with(KEY);
    assert!(files.is_empty(), "the key lies in {files:?}");
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_window_and_another_is_offered() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let _other = TcpListener::bind(&address).unwrap();
    let page = Page::open(&desk, &[]).await;
    let port = address.rsplit(':').next().unwrap();
    page.text_that("//h1", |title| title.contains(port)).await;
    page.click(&button("Listen on a free port")).await;
    page.text_that("//h1", |title| title.contains("The gate is open")).await;
    page.close().await;
}

#[test]
fn a_folder_that_a_server_holds_and_wrong_settings_are_said_in_a_sentence_each() {
    let desk = Desk::new();
    simulated(&desk);
    let _notifier = desk.notifier();
    let mut serve = desk.command(binary());
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start(serve, &desk.path("serve")).unwrap();
    let refused = run(desk.app(&[]), "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&format!("in use by tidegate (pid {})", server.pid())), "{}", refused.err);
    drop(server);

    desk.settings("[gateway]\nlistn = \"127.0.0.1:0\"\n");
    let refused = run(desk.app(&[]), "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("listn") && refused.err.contains("listen"), "{}", refused.err);
    assert_eq!(desk.notifications(), ["Tidegate can't start"; 2], "whoever has no terminal is told too");
}

#[test]
fn closing_hides_the_window_says_so_once_and_a_second_start_shows_it_again() {
    let desk = Desk::new();
    simulated(&desk);
    let _notifier = desk.notifier();
    let mut app = desk.start(desk.app(&[]));
    until("the window opens", || desk.window().is_some());

    desk.close_window();
    until("the window is hidden", || desk.window().is_none());
    until("the notification comes", || desk.notifications() == ["Tidegate keeps running"]);
    assert!(app.0.try_wait().unwrap().is_none(), "the gate stays open");

    let second = desk.app(&[]).status().unwrap();
    assert!(second.success());
    until("the first window is shown", || desk.window().is_some());

    desk.close_window();
    until("the window is hidden again", || desk.window().is_none());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(desk.notifications().len(), 1, "it is said once");
}

#[test]
fn the_tray_tells_the_state_pauses_the_background_opens_and_quits() {
    let desk = Desk::new();
    simulated(&desk);
    let mut tray = desk.tray();
    let mut app = desk.start(desk.app(&[]));
    until("the tray has its lines", || tray.labels().first().is_some_and(|line| line != "Starting"));
    let labels = tray.labels();
    assert_eq!(labels[1..], ["No calls wait", "Today $0.00", "Open", "Pause background", "Quit"]);
    assert_eq!(tray.entry("Today $0.00")["enabled"], false);

    tray.click("Pause background");
    until("the background is paused", || tray.entry("Pause background")["on"] == true);
    tray.click("Pause background");
    until("the background goes on", || tray.entry("Pause background")["on"] == false);

    until("the window opens", || desk.window().is_some());
    desk.close_window();
    until("the window is hidden", || desk.window().is_none());
    tray.click("Open");
    until("the window is shown", || desk.window().is_some());

    tray.click("Quit");
    until("the program ends", || app.0.try_wait().unwrap().is_some_and(|status| status.success()));
}
