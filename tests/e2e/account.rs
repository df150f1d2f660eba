//! With an administrator's key the limits are known before the first call.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use support::lab::{Home, Lab, SETTINGS, simulate};
use support::process::Server;

/// Over a simulator whose Rate Limits API knows this key.
fn start(admin_key: &str) -> (Home, Server) {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let simulator = simulate(&["--scheme", "2025-09", "--tier", "1"], &folder).expect("the simulator starts");
    let _ = fs::remove_dir_all(&folder);
    let home = Home::new(&format!("{SETTINGS}admin_key = \"file:KEYFILE-admin\"\n"), &simulator.url);
    fs::write(home.path("key-admin"), admin_key).expect("written");
    fs::set_permissions(home.path("key-admin"), fs::Permissions::from_mode(0o600)).expect("made private");
    (home, simulator)
}

fn doctor(home: &Home) -> Value {
    let said = home.tidegate(&["doctor", "--json"]);
    let checks: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let found = checks.as_array().expect("checks").iter().find(|check| check["what"] == "simulator: limits by API");
    found.unwrap_or_else(|| panic!("no such check: {checks}")).clone()
}

#[tokio::test]
async fn the_limits_are_asked_for_at_the_start() {
    let (home, _simulator) = start("sk-ant-admin01-canary");
    let _gateway = home.serve(&[]).expect("it starts");
    let of_sonnet = |status: Value| {
        let limits = status["limits"].as_array().expect("limits").clone();
        limits.into_iter().filter(|limit| limit["group"] == "sonnet-4" && limit["source"] == "api").collect::<Vec<_>>()
    };
    let told = || of_sonnet(home.books().json(&["status", "--json"]));
    Lab::until(Duration::from_secs(10), async || told().len() == 3).await.expect("the limits are told");
    let of =
        |resource: &str| told().iter().find(|limit| limit["resource"] == resource).map(|limit| limit["limit"].clone());
    assert_eq!(of("requests"), Some(50.into()));
    assert_eq!((of("input_tokens"), of("output_tokens")), (Some(30_000.into()), Some(8_000.into())));
    assert_eq!(doctor(&home)["verdict"], "PASS");
}

#[tokio::test]
async fn a_key_that_is_no_administrators_costs_a_warning_and_nothing_else() {
    let (home, _simulator) = start("sk-ant-api03-canary");
    let token = home.client("test", &[]);
    let gateway = home.serve(&[]).expect("it starts");
    let warned = || fs::read_to_string(home.path("serve.err")).expect("a log").contains("Rate Limits API");
    Lab::until(Duration::from_secs(10), async || warned()).await.expect("it warns");
    let request = support::http::Request::message(support::lab::body(false)).header("x-api-key", &token);
    assert_eq!(support::http::call(gateway.address(), &request).await.expect("an answer").status(), 200);
    let check = doctor(&home);
    assert!(
        check["verdict"] == "WARN" && check["says"].as_str().is_some_and(|says| says.contains("admin key")),
        "{check}"
    );
}
