//! The real window, its tray and its notifications, each test on a desktop of its own.

mod crossing;
mod desk;
mod driver;
mod trouble;

use std::net::TcpListener;
use std::process::Stdio;
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

/// Makes a client in the window and gives its token.
async fn client(page: &Page, name: &str) -> String {
    page.click(&button("Make a token")).await;
    page.fill("//input[@placeholder='my-program']", name).await;
    page.click(&button("Make its token")).await;
    page.text("//*[@data-fact='token']").await
}

async fn say_hello(address: &str, token: &str) -> http::Answer {
    let body =
        json!({"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]});
    // More patient, it would wait for the next day's budget in the minutes before midnight.
    let request = Request::message(body.to_string()).header("x-api-key", token).header("x-tidegate-max-wait", "5");
    http::call(address, &request).await.expect("an answer")
}

#[tokio::test]
async fn every_view_has_its_answers() {
    let desk = Desk::new();
    desk.settings(&format!("[gateway]\nlisten = \"127.0.0.1:{}\"\n", driver::free_port()));
    let page = Page::open(&desk, &["--demo"]).await;
    page.text_that(CALLS, |calls| calls.contains("completed")).await;
    for (view, says) in [
        ("Usage", "Figures of these days"),
        ("Queue", "Reservations"),
        ("Limits", "Published tiers"),
        ("Alerts", "Send a test"),
        ("Clients", "Its key is in"),
        ("Settings", "Data folder"),
        ("Help", "Pages of the upstream"),
    ] {
        page.click(&format!("//nav//button[contains(., '{view}')]")).await;
        page.text_that("//main", |text| text.contains(says)).await;
        let text = page.text("//main").await;
        assert!(!text.contains("Try again"), "{view} has no answer: {text}");
    }
    page.close().await;
}

#[tokio::test]
async fn a_budget_that_is_set_in_the_window_refuses_the_next_call_and_a_stopped_client_makes_none() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    assert_eq!(say_hello(&address, &token).await.status(), 200);

    page.click("//button[@aria-label='Change my-script']").await;
    page.fill("//form[contains(., 'Save')]//label[contains(., '$ a day')]//input", "0.000001").await;
    page.click(&button("Save")).await;
    page.text_that("//main", |text| text.contains("a day") && !text.contains("Save")).await;
    let refused = say_hello(&address, &token).await;
    assert_eq!(refused.status(), 429, "{}", refused.text());
    assert!(refused.text().contains("my-script"), "{}", refused.text());

    page.click("//button[@aria-label='Stop my-script']").await;
    page.click(&button("Its token stops working")).await;
    page.text_that("//h1", |title| title == "No program may call yet.").await;
    assert_eq!(say_hello(&address, &token).await.status(), 401);
    page.close().await;
}

#[tokio::test]
async fn an_export_from_the_window_is_the_same_bytes_as_the_command_lines() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    page.click("//nav//button[contains(., 'Usage')]").await;
    // What comes in moves what is below it.
    page.text_that("//main", |text| ["Figures of", "an hour", "completed"].iter().all(|part| text.contains(part)))
        .await;
    page.click(&button("Export CSV")).await;
    let said = page.text_that("//main", |text| text.contains("Written to")).await;
    let file = said.split("Written to").nth(1).unwrap().split(".csv").next().unwrap().trim().to_owned() + ".csv";
    let days: Vec<&str> = file.trim_end_matches(".csv").rsplitn(7, '-').collect();
    let [from, to] = [[5, 4, 3], [2, 1, 0]].map(|places| places.map(|place| days[place]).join("-"));
    let program = binary().display().to_string();
    let printed = desk.ask(&program, &["export", "calls", "--from", &from, "--to", &to]);
    assert!(printed.contains("my-script"), "{printed}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed, "{file}");
    page.close().await;
}

#[tokio::test]
async fn a_window_that_is_killed_starts_again_with_nothing_lost() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    for _ in 0..3 {
        assert_eq!(say_hello(&address, &token).await.status(), 200);
    }
    page.click(&button("Overview")).await;
    page.text_that(CALLS, |calls| calls.matches("completed").count() == 3).await;
    let spent = page.text(TODAY).await;
    desk.signal_app("-KILL");
    page.close().await;
    // Until it has gone it holds the folder.
    until("the ledger is whole", || desk.ask(&binary().display().to_string(), &["verify"]).contains("adds up"));

    let page = Page::open(&desk, &[]).await;
    page.text_that(TODAY, |today| today == spent).await;
    assert_eq!(say_hello(&address, &token).await.status(), 200, "its token is still good");
    page.text_that(TODAY, |today| today != spent).await;
    let calls = desk.ask(&binary().display().to_string(), &["export", "calls"]);
    assert_eq!(calls.lines().count(), 1 + 4, "{calls}");
    page.close().await;
}

#[tokio::test]
async fn the_trays_export_has_the_keyboard_in_the_window() {
    let desk = Desk::new();
    simulated(&desk);
    let mut tray = desk.tray();
    let page = Page::open(&desk, &[]).await;
    page.find(TODAY).await;
    until("the tray has its lines", || tray.labels().first().is_some_and(|line| line != "Starting"));
    tray.click("Export CSV…");
    page.find("//select[@data-reach='export']").await;
    page.close().await;
}

#[tokio::test]
async fn a_key_goes_into_the_keychain_and_nowhere_else() {
    const KEY: &str = "sk-ant-canary-4f9c2b7d1e6a8350";
    let desk = Desk::new();
    // A proxy that nobody runs: the test leaves no machine.
    let (port, proxy) = (driver::free_port(), driver::free_port());
    desk.settings(&format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\nproxy = \"http://127.0.0.1:{proxy}\"\n"));
    let _keychain = desk.keychain();
    let page = Page::open(&desk, &[]).await;
    page.click(&button("Connect my key")).await;
    page.fill("//input[@type='password']", KEY).await;
    page.click(&button("Try and store it")).await;
    page.text_that("//*[@role='alert']", |said| said.contains("There is no way to api.anthropic.com")).await;
    assert_eq!(desk.ask("secret-tool", &["lookup", "service", "tidegate"]), "", "it is not stored silently");
    page.click(&button("Keep anyway")).await;
    page.find("//h1[contains(., 'logs of Claude Code')]").await;
    assert_eq!(desk.ask("secret-tool", &["lookup", "service", "tidegate"]), KEY);
    assert!(!page.source().await.contains(KEY), "the page has forgotten it");
    page.close().await;
    let files = desk.files_with(KEY);
    assert!(files.is_empty(), "the key lies in {files:?}");
}

#[tokio::test]
async fn from_a_key_to_the_first_call_of_claude_code_in_less_than_a_minute() {
    const KEY: &str = "sk-ant-canary-4f9c2b7d1e6a8350";
    let desk = Desk::new();
    let mut simulate = desk.command(binary());
    simulate.args(["simulate", "--listen", "127.0.0.1:0"]);
    let upstream = Server::start(simulate, &desk.path("simulate")).unwrap();
    let address = format!("127.0.0.1:{}", driver::free_port());
    desk.settings(&format!(
        "[gateway]\nlisten = \"{address}\"\n[[upstream]]\nname = \"anthropic\"\nkind = \"anthropic\"\nkey = \"keychain:anthropic\"\nbase_url = \"http://{}\"\n",
        upstream.address()
    ));
    let file = desk.path(".claude/settings.json");
    std::fs::create_dir(desk.path(".claude")).unwrap();
    std::fs::write(&file, "{\"model\": \"opus\"}").unwrap();
    let _keychain = desk.keychain();
    let page = Page::open(&desk, &[]).await;
    let began = Instant::now();
    page.click("//nav//button[contains(., 'Settings')]").await;
    page.click(&button("Connect a key")).await;
    page.click(&button("Connect my key")).await;
    page.fill("//input[@type='password']", KEY).await;
    page.click(&button("Try and store it")).await;
    page.find("//h1[contains(., 'logs of Claude Code')]").await;
    page.click(&button("Next")).await;
    page.click("//input[@type='checkbox']").await;
    let autostart = desk.path("config/autostart/tidegate-desktop.desktop");
    until("it starts with the system", || autostart.exists());
    page.click("//input[@type='checkbox']").await;
    until("and does so no more", || !autostart.exists());
    page.click(&button("Next")).await;
    page.click(&button("Connect Claude Code")).await;
    page.click("//button[normalize-space(.)='Connect']").await;
    page.find("//*[contains(., 'Waiting for your first call')]").await;
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let token = written["env"]["ANTHROPIC_AUTH_TOKEN"].as_str().unwrap();
    assert_eq!(written["env"]["ANTHROPIC_BASE_URL"], format!("http://{address}"));
    assert_eq!(say_hello(&address, token).await.status(), 200);
    page.text_that("//p[@role='status'][contains(., 'claude-code')]", |said| said.contains('✓') && said.contains('$'))
        .await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    page.click(&button("Undo")).await;
    until("its settings are as they were", || std::fs::read_to_string(&file).unwrap() == "{\"model\": \"opus\"}");
    page.close().await;
    assert!(desk.files_with(KEY).is_empty());
}

#[test]
fn hidden_it_starts_into_the_tray_and_a_second_start_shows_it() {
    let desk = Desk::new();
    simulated(&desk);
    let mut tray = desk.tray();
    let mut app = desk.start(desk.app(&["--hidden"]));
    until("the tray has its lines", || tray.labels().first().is_some_and(|line| line != "Starting"));
    assert!(desk.window().is_none());
    assert!(desk.app(&["--hidden"]).status().unwrap().success());
    assert!(desk.window().is_none(), "it runs already, and is to be seen no more than before");
    assert!(desk.app(&[]).status().unwrap().success());
    until("the window opens", || desk.window().is_some());
    tray.click("Quit");
    until("the program ends", || app.0.try_wait().unwrap().is_some_and(|status| status.success()));
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
    assert_eq!(labels[0], "No window or budget is set");
    assert_eq!(
        labels[2..],
        [
            "No calls wait",
            "Today $0.00",
            "No alerts",
            "Open",
            "Pause background",
            "Emergency",
            "Snooze alerts",
            "Copy summary",
            "Export CSV…",
            "Quit"
        ]
    );
    assert_eq!(tray.entry("Today $0.00")["enabled"], false);

    tray.click("Pause background");
    until("the background is paused", || tray.entry("Pause background")["on"] == true);
    tray.click("Pause background");
    until("the background goes on", || tray.entry("Pause background")["on"] == false);

    tray.click("Emergency");
    until("there is an emergency", || tray.entry("Emergency")["on"] == true);
    tray.click("Emergency");
    until("it is over", || tray.entry("Emergency")["on"] == false);

    until("the window opens", || desk.window().is_some());
    desk.close_window();
    until("the window is hidden", || desk.window().is_none());
    tray.click("Open");
    until("the window is shown", || desk.window().is_some());

    tray.click("Quit");
    until("the program ends", || app.0.try_wait().unwrap().is_some_and(|status| status.success()));
}

#[tokio::test]
async fn the_tray_copies_the_state_and_hides_amounts_where_the_page_does() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let mut tray = desk.tray();
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    let today =
        |tray: &mut desk::Tray| tray.labels().into_iter().find(|line| line.starts_with("Today ")).unwrap_or_default();
    until("it is counted", || today(&mut tray).starts_with("Today $0.0") && today(&mut tray) != "Today $0.00");
    tray.click("Copy summary");
    until("it is copied", || {
        let copied = desk.clipboard();
        copied.lines().count() == 5 && copied.contains("Today $0.0") && copied.ends_with("No alerts")
    });

    page.click(&button("Overview")).await;
    page.fill("//body", "h").await;
    page.text_that(TODAY, |text| text == "$•••").await;
    until("the tray hides them too", || today(&mut tray) == "Today $•••");
    page.fill("//body", "h").await;
    until("and shows them again", || today(&mut tray).starts_with("Today $0.0"));
    page.close().await;
}

/// `TIDEGATE_DESKTOP_BIN` has it prove an installed package.
#[tokio::test]
async fn what_starts_with_the_system_starts_into_the_tray() {
    let desk = Desk::new();
    let address = simulated(&desk);
    let page = Page::open(&desk, &[]).await;
    page.click("//nav//button[contains(., 'Settings')]").await;
    page.click("//label[contains(., 'Start with the system')]//input").await;
    let entry = desk.path("config/autostart/tidegate-desktop.desktop");
    until("it is to start with the system", || entry.exists());
    desk.signal_app("-TERM");
    page.close().await;

    let mut tray = desk.tray();
    let mut launch = desk.command("gio");
    launch.arg("launch").arg(&entry).stdout(Stdio::null());
    let _launched = desk.start(launch);
    until("the tray has its lines", || tray.labels().first().is_some_and(|line| line != "Starting"));
    assert!(desk.window().is_none(), "nobody asked for a window");
    tray.click("Open");
    until("the window opens", || desk.window().is_some());
    tray.click("Quit");
    until("it has ended", || std::net::TcpStream::connect(&address).is_err());
}
