//! A client's cap is raised wherever it is written.

use app::api::{Answer, Command};
use app::{Host, HostOptions};
use serde_json::json;

const SETTINGS: &str =
    "[gateway]\nlisten = \"127.0.0.1:0\"\n\n# Agreed on 3 March.\n[[budget]]\nscope = \"client:two\"\ndaily_usd = 2\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_that_the_settings_have_is_raised_in_their_file_and_in_force_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data_dir, settings) = (dir.path().join("data"), dir.path().join("settings.toml"));
    std::fs::write(&settings, SETTINGS).expect("written");
    std::fs::create_dir(&data_dir).expect("made");
    let alert = json!([{
        "alert_id": "a1", "rule": "budget", "scope": "client:two day", "threshold": "0.8", "value": "0.85",
        "severity": "warning", "message": "m", "crossed_at": "2026-11-27T12:00:00.000Z", "resolved_at": null,
        "channels": [], "resets_at": null, "snoozed_until": null, "held": false, "action": null, "waiting": []
    }]);
    std::fs::write(data_dir.join("alerts.json"), alert.to_string()).expect("written");
    let options = HostOptions { data_dir, settings: settings.clone(), api: false, demo: false, window: false };
    let host = Host::open(options).await.expect("it opens");
    for cap in ["3", "4.5"] {
        let answer = host.answer(Command::AlertRaiseCap { id: "a1".to_owned() }).await.expect("raised");
        assert!(matches!(answer, Answer::Done));
        let text = std::fs::read_to_string(&settings).expect("the file");
        assert!(text.contains("# Agreed on 3 March.") && text.contains(&format!("daily_usd = {cap}\n")), "{text}");
    }
    host.drain().await;
}
