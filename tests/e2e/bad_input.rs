//! Whatever is wrong gets one clear sentence that says what to do, and nothing already written is lost.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::http::{self, Request};
use support::lab::{Home, Lab, SETTINGS, body};
use support::process::{Said, run};

#[tokio::test]
async fn wrong_requests_get_the_envelope_that_sdks_understand() {
    let lab = Lab::start();
    let huge = format!(r#"{{"model":"claude-sonnet-4-5","x":"{}"}}"#, "a".repeat(33_554_432));
    let cases = [
        ("no JSON", lab.message("tide"), 400, "invalid_request_error"),
        ("no object", lab.message("[1]"), 400, "invalid_request_error"),
        ("no model", lab.message("{}"), 400, "invalid_request_error"),
        ("a model that is no text", lab.message(r#"{"model":7}"#), 400, "invalid_request_error"),
        ("an empty body", lab.message(""), 400, "invalid_request_error"),
        (
            "no max_tokens: the upstream's to judge",
            lab.message(body(false).replace("\"max_tokens\":64,", "")),
            400,
            "invalid_request_error",
        ),
        ("a model that nobody knows", lab.message(body(false).replace("sonnet", "nonesuch")), 404, "not_found_error"),
        ("a wrong token", Request::message(body(false)).header("x-api-key", "tg-no"), 401, "authentication_error"),
        (
            "a foreign origin",
            lab.message(body(false)).header("origin", "https://evil.example"),
            403,
            "permission_error",
        ),
        ("a body above the cap", lab.message(huge), 413, "request_too_large"),
    ];
    for (what, request, status, kind) in cases {
        let answer = lab.call(&request).await;
        assert_eq!(answer.status(), status, "{what}: {}", answer.text());
        let envelope = answer.json();
        assert_eq!(envelope["type"], "error", "{what}: {envelope}");
        assert_eq!(envelope["error"]["type"], kind, "{what}: {envelope}");
        assert!(envelope["error"]["message"].as_str().is_some_and(|m| m.len() > 5), "{what}: {envelope}");
        assert_eq!(answer.header("content-type").map(|t| t.starts_with("application/json")), Some(true), "{what}");
    }
    let no_token = lab.call(&Request::message(body(false))).await;
    assert_eq!((no_token.status(), no_token.header("x-should-retry")), (401, Some("false")));
    assert_eq!(lab.call(&lab.message(body(false))).await.status(), 200, "and the next call goes");
    lab.home.books().verify();
}

#[tokio::test]
async fn without_an_upstream_it_runs_and_says_so() {
    let home = Home::new("[gateway]\n", "");
    let token = home.client("test", &[]);
    let gateway = home.serve(&[]).expect("it starts");
    let answer = http::call(gateway.address(), &Request::message(body(false)).header("x-api-key", &token))
        .await
        .expect("an answer");
    assert_eq!((answer.status(), code_of(&answer.json()).as_str()), (503, "tidegate_no_upstream"), "{}", answer.text());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let home = Home::new(SETTINGS, &format!("http://{free}"));
    let token = home.client("test", &[]);
    let gateway = home.serve(&[]).expect("it starts");
    let answer = http::call(gateway.address(), &Request::message(body(false)).header("x-api-key", &token))
        .await
        .expect("an answer");
    assert!((500..600).contains(&answer.status()), "{}", answer.text());
    assert_eq!(answer.json()["type"], "error", "{}", answer.text());
    home.books().verify();
}

#[tokio::test]
async fn a_missing_key_stops_calls_and_nothing_else() {
    let home = Home::new(&SETTINGS.replace("file:KEYFILE", "env:TIDEGATE_TEST_NO_SUCH_KEY"), "http://127.0.0.1:9");
    key_is_missing(&home).await;
}

#[tokio::test]
async fn without_a_keychain_calls_get_the_sentence() {
    let home = Home::new(&SETTINGS.replace("file:KEYFILE", "keychain:anthropic"), "http://127.0.0.1:9");
    key_is_missing(&home).await;
}

async fn key_is_missing(home: &Home) {
    let token = home.client("test", &[]);
    let mut command = home.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus").env_remove("DISPLAY");
    let gateway = support::process::Server::start(command, &home.path("serve")).expect("it starts");
    let answer = http::call(gateway.address(), &Request::message(body(false)).header("x-api-key", &token))
        .await
        .expect("an answer");
    assert_eq!((answer.status(), code_of(&answer.json()).as_str()), (503, "tidegate_keychain"), "{}", answer.text());
    assert_eq!(home.tidegate(&["usage"]).code, Some(0));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    let said = home.tidegate(&["serve", "--listen", &address]);
    refuses(&said, &[&address]);
}

#[test]
fn a_second_instance_is_refused_and_the_first_is_named() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    let first = home.serve(&[]).expect("the first starts");
    refuses(&home.tidegate(&["serve", "--listen", "127.0.0.1:0"]), &[&first.pid().to_string()]);
}

#[test]
fn a_corrupt_database_is_kept_and_named() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    home.client("test", &[]);
    // Ended in order, so that all pages are in the one file.
    home.serve(&[]).expect("it starts").terminate(Duration::from_secs(35));
    let ledger = fs::read_dir(home.data())
        .expect("the folder")
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "db" || e == "sqlite"));
    let ledger = ledger.expect("a database");
    let rubbish = vec![b'x'; 8192];
    fs::write(&ledger, &rubbish).expect("it can be overwritten");
    refuses(
        &home.tidegate(&["serve", "--listen", "127.0.0.1:0"]),
        &[ledger.file_name().and_then(|n| n.to_str()).expect("a name")],
    );
    assert_eq!(fs::read(&ledger).expect("still there"), rubbish, "the file stays as it was");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    fs::write(home.data(), "a file where the folder should be").expect("it can be written");
    refuses(&home.tidegate(&["serve", "--listen", "127.0.0.1:0"]), &["data"]);
}

#[test]
fn wrong_settings_are_refused_with_their_line() {
    let cases = [
        ("[gateway]\nlisten = \"127.0.0.1:0\"\nmax_wiat = \"5s\"\n", "line 3"),
        ("[gateway]\nmax_wait = \"soon\"\n", "line 2"),
        ("[gateway\n", "line 1"),
        ("[gateway]\nlisten = \"0.0.0.0:0\"\n", "allow_remote"),
        (
            "[[upstream]]\nname = \"a\"\nkind = \"anthropic\"\nbase_url = \"http://api.example.com\"\nkey = \"env:X\"\n",
            "https",
        ),
        ("[[upstream]]\nname = \"a\"\nkind = \"antropic\"\n", "line 3"),
        ("[ledger]\ndurability = \"perhaps\"\n", "line 2"),
    ];
    for (settings, names) in cases {
        let home = Home::new(settings, "");
        refuses(&home.tidegate(&["serve", "--listen", "127.0.0.1:0"]), &[names]);
    }
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    fs::set_permissions(home.path("settings.toml"), fs::Permissions::from_mode(0o666)).expect("modes can be set");
    refuses(&home.tidegate(&["serve", "--listen", "127.0.0.1:0"]), &["settings.toml"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    for args in [
        &["sevre"][..],
        &["client", "add"],
        &["usage", "--by", "moon"],
        &["export", "nothing"],
        &["usage", "--from", "yesteryear"],
    ] {
        let said = home.tidegate(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{args:?}: {said:?}");
    }
}

#[test]
fn an_empty_key_is_not_kept() {
    let home = Home::new(SETTINGS, "http://127.0.0.1:9");
    let mut command = home.command(&["key", "set", "anthropic"]);
    command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let said = run(command, "\n");
    assert_eq!(said.code, Some(1), "{said:?}");
}

/// Exit code 1, nothing on stdout, one sentence that names all of `names`.
fn refuses(said: &Said, names: &[&str]) {
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.is_empty(), "{said:?}");
    for name in names {
        assert!(said.err.contains(name), "{name:?} is not named: {said:?}");
    }
    assert!(said.err.trim().lines().count() <= 3 && !said.err.contains("panicked"), "{said:?}");
}

fn code_of(envelope: &serde_json::Value) -> String {
    envelope["error"]["details"]["error_code"].as_str().unwrap_or("").to_owned()
}
