//! The gateway begins anew with other settings: where it listened, and with all that was counted.

use std::path::Path;

use app::api::{Answer, Command};
use app::settings::SettingChange;
use app::{Host, HostOptions};

const SETTINGS: &str = "[gateway]\nlisten = \"127.0.0.1:0\"\n[[upstream]]\nname = \"sim\"\nkind = \"simulator\"\n";

fn options(dir: &Path) -> HostOptions {
    let settings = dir.join("settings.toml");
    std::fs::write(&settings, SETTINGS).expect("written");
    HostOptions { data_dir: dir.join("data"), settings, api: false, demo: false, window: false }
}

async fn set(host: &Host, path: &str, value: &str) {
    let changes = vec![SettingChange { path: path.to_owned(), value: Some(value.to_owned()) }];
    let answer = host.answer(Command::SettingsSet { changes, hash: None }).await.expect("changed");
    assert!(matches!(answer, Answer::SettingsSet(view) if view.refused.is_empty()), "{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_takes_what_waited_and_keeps_the_address_and_the_clients() {
    let dir = tempfile::tempdir().expect("a folder");
    let host = Host::open(options(dir.path())).await.expect("it opens");
    let address = host.listen(None).await.expect("it listens");
    let token = host.app().add_client("ci", &Default::default()).expect("a client");
    set(&host, "cache.enabled", "true").await;
    set(&host, "alerts.daily_spend_usd", "12").await;
    let Answer::Rules(rules) = host.answer(Command::AlertRules).await.expect("rules") else { panic!("no rules") };
    assert!(rules.rules.iter().any(|rule| rule.name == "daily_spend" && rule.thresholds[0].at == "12"), "at once");
    let before = host.status().await.expect("a status");
    assert_eq!(
        (before.settings.state.as_str(), &before.settings.waits_for_restart[..]),
        ("changed", &["cache".to_owned()][..])
    );
    let Answer::Facts(facts) = host.answer(Command::Facts).await.expect("facts") else { panic!("no facts") };
    assert!(!facts.cache, "not before a restart");
    assert_eq!(host.restart().await.expect("it begins anew"), address);
    let after = host.status().await.expect("a status");
    assert_eq!((after.settings.state.as_str(), after.gateway.state.as_str()), ("in_force", "open"));
    let Answer::Facts(facts) = host.answer(Command::Facts).await.expect("facts") else { panic!("no facts") };
    assert!(facts.cache && !token.is_empty() && host.app().clients().len() == 1);
    std::fs::write(dir.path().join("settings.toml"), "[gateway]\nlisten = 5\n").expect("written");
    assert!(host.restart().await.is_err(), "wrong settings restart nothing");
    assert_eq!(host.status().await.expect("a status").gateway.address.as_deref(), Some(address.as_str()));
    host.drain().await;
}
