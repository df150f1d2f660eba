//! The demo beside a user's own app: live at once, never in the user's books, gone without a trace in them.

use std::path::Path;
use std::time::Duration;

use app::view::StatusView;
use app::{Host, HostOptions};

fn options(dir: &Path) -> HostOptions {
    std::fs::write(dir.join("settings.toml"), "[gateway]\nlisten = \"127.0.0.1:0\"\n").expect("written");
    HostOptions {
        data_dir: dir.join("data"),
        settings: dir.join("settings.toml"),
        api: false,
        demo: false,
        window: false,
    }
}

/// The status once it holds what is waited for.
async fn until(host: &Host, holds: impl Fn(&StatusView) -> bool) -> StatusView {
    let asked = async {
        loop {
            let status = host.status().await.expect("a status");
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it comes to pass")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_moves_by_itself_and_leaves_the_users_books_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let host = Host::open(options(dir.path())).await.expect("it opens");
    host.listen(None).await.expect("it listens");
    for _ in 0..2 {
        host.start_demo().await.expect("it starts");
        let shown = until(&host, |status| status.live.iter().any(|call| call.state == "completed")).await;
        assert_eq!((shown.gateway.state.as_str(), shown.gateway.trouble), ("demo", None));
        assert!(shown.limits.iter().any(|limit| limit.resource == "requests"), "{:?}", shown.limits);
        assert!(host.app().clients().len() >= 4);
        host.stop_demo().await;
        let own = host.status().await.expect("a status");
        assert_eq!(own.cache.saved_usd, "0.000000000", "money is a decimal string, also where there is none");
        assert_eq!((own.gateway.state.as_str(), own.live.len()), ("open", 0));
        assert!(own.gateway.trouble.is_some_and(|trouble| trouble.contains("[[upstream]]")));
        assert_eq!(own.spend.month_usd, "0.000000000");
    }
    let verdict = host.app().verify().await.expect("a verdict");
    assert!(verdict.clean, "{verdict:?}");
    host.drain().await;
    assert!(!dir.path().join("data/instance.json").exists());
}
