//! What a desktop can do to the app: it loses its display, its disk fills, its keychain locks, nobody looks for long.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use support::process::{Server, binary, run};
use tokio::task::JoinSet;

use crate::desk::{Desk, until};
use crate::driver::{Page, free_port};
use crate::{button, client, say_hello, simulated};

const MAIN: &str = "//main";
const HEADER: &str = "//header";
const ROUNDS_MAX: usize = 1_000;
const AT_ONCE: usize = 32;

#[test]
fn a_hidden_window_gives_its_pages_memory_back_and_opens_again() {
    let desk = Desk::new();
    simulated(&desk);
    let mut tray = desk.tray();
    let app = desk.start(desk.app(&["--keep-hidden", "1"]));
    let pid = app.0.id().to_string();
    let has_page = || !desk.ask("pgrep", &["-P", &pid, "WebKitWebProces"]).trim().is_empty();
    until("the window opens", || desk.window().is_some() && has_page());
    desk.close_window();
    until("its page is gone", || desk.window().is_none() && !has_page());
    until("the tray has its lines", || tray.labels().first().is_some_and(|line| line != "Starting"));
    tray.click("Open");
    until("the window is back", || desk.window().is_some() && has_page());
}

#[tokio::test]
async fn a_lost_display_ends_the_window_and_the_next_program_finds_everything() {
    let mut desk = Desk::new();
    let address = simulated(&desk);
    let mut app = desk.start(desk.app(&[]));
    let program = binary().display().to_string();
    until("the gate is open", || std::net::TcpStream::connect(&address).is_ok());
    let token = desk.ask(&program, &["client", "add", "my-script"]).trim().to_owned();
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    desk.lose_display();
    until("it ends", || app.0.try_wait().unwrap().is_some());
    until("the ledger is whole", || desk.ask(&program, &["verify"]).contains("adds up"));
    assert_eq!(desk.ask(&program, &["export", "calls"]).lines().count(), 2);
    let refused = run(desk.app(&[]), "");
    assert!(refused.code != Some(0) && refused.err.contains("tidegate serve"), "{refused:?}");

    let mut serve = desk.command(binary());
    serve.arg("serve");
    let server = Server::start(serve, &desk.path("serve")).unwrap();
    assert_eq!(say_hello(&address, &token).await.status(), 200, "without a display it serves on");
    drop(server);
}

/// A simulator that refuses nothing, and settings of a gate before it.
fn unlimited(desk: &Desk, key: &str) -> (Server, String) {
    let mut simulate = desk.command(binary());
    simulate.args(["simulate", "--listen", "127.0.0.1:0", "--scheme", "none"]);
    let upstream = Server::start(simulate, &desk.path("simulate")).expect("a simulator");
    let address = format!("127.0.0.1:{}", free_port());
    desk.settings(&format!(
        "[gateway]\nlisten = \"{address}\"\n[[upstream]]\nname = \"anthropic\"\nkind = \"anthropic\"\nkey = \"{key}\"\nbase_url = \"http://{}\"\n",
        upstream.address()
    ));
    (upstream, address)
}

#[tokio::test]
async fn a_disk_that_fills_is_named_in_the_window_and_forgotten_when_there_is_space() {
    let desk = Desk::new();
    let (_upstream, address) = unlimited(&desk, "env:TEST_KEY");
    let data = desk.path("data/tidegate");
    fs::create_dir_all(&data).unwrap();
    let mut mount = desk.command("mount");
    mount.args(["-t", "tmpfs", "-o", "size=32m,mode=700", "tidegate-test"]).arg(&data).stdout(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system may be mounted here");
        return;
    }
    let _mounted = Mounted(&desk);
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    let ballast = data.join("ballast");
    // What is on its way has room for a while.
    let mut answer = say_hello(&address, &token).await;
    for _ in 0..ROUNDS_MAX {
        fill(&ballast);
        let calls = (0..AT_ONCE).map(|_| (address.clone(), token.clone()));
        let calls = calls.map(|(address, token)| async move { say_hello(&address, &token).await });
        let answers = calls.collect::<JoinSet<_>>().join_all().await;
        if let Some(refused) = answers.into_iter().find(|answer| answer.status() != 200) {
            answer = refused;
            break;
        }
    }
    assert!(answer.text().contains("tidegate_ledger"), "{}", answer.text());
    page.click("//nav//button[contains(., 'Alerts')]").await;
    page.text_that(MAIN, |text| text.contains("disk") || text.contains("ledger")).await;
    page.text_that(HEADER, |text| !text.contains("Open")).await;
    fs::remove_file(&ballast).unwrap();
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    page.text_that(HEADER, |text| text.contains("Open")).await;
    page.close().await;
}

/// All that is free.
fn fill(ballast: &Path) {
    let mut file = File::options().create(true).append(true).open(ballast).expect("a file that grows");
    for piece in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
}

struct Mounted<'a>(&'a Desk);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = self.0.command("umount").arg("-l").arg(self.0.path("data/tidegate")).status();
    }
}

#[tokio::test]
async fn a_keychain_that_locks_stops_no_call_and_a_test_of_the_key_says_so() {
    let desk = Desk::new();
    let (_upstream, address) = unlimited(&desk, "keychain:anthropic");
    let _keychain = desk.keychain();
    let mut store = desk.command(binary());
    store.args(["key", "set", "anthropic"]);
    let said = run(store, "sk-ant-canary-4f9c2b7d1e6a8350\n");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let page = Page::open(&desk, &[]).await;
    let token = client(&page, "my-script").await;
    assert_eq!(say_hello(&address, &token).await.status(), 200);
    desk.lock_keychain();
    assert_eq!(say_hello(&address, &token).await.status(), 200, "it has the key already");
    desk.signal_app("-TERM");
    page.close().await;
    until("it has ended", || std::net::TcpStream::connect(&address).is_err());

    let page = Page::open(&desk, &[]).await;
    until("the gate is open", || std::net::TcpStream::connect(&address).is_ok());
    let answer = say_hello(&address, &token).await;
    assert!(answer.status() != 200 && answer.text().contains("keychain"), "{}", answer.text());
    page.click("//nav//button[contains(., 'Clients')]").await;
    page.click("//section[@aria-labelledby='keys']//button[contains(., 'Test')]").await;
    page.text_that("//section[@aria-labelledby='keys']", |text| text.contains("keychain is locked")).await;
    page.click(&button("Overview")).await;
    page.find("//*[@data-fact='spend-today']").await;
    page.close().await;
}
