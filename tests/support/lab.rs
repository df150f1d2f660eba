//! A gateway, its upstream and its data in a temporary folder, as a user would set them up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use tempfile::TempDir;

use crate::books::Books;
use crate::http::{self, Answer, Request};
use crate::process::{Said, Server, binary, run};

/// The real key, as tests know it: no file, log or message may ever hold it.
pub const KEY: &str = "sk-ant-canary-4f9c2b7d1e6a8350";

/// Settings and data in a folder; nothing runs yet.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// `settings` in TOML; `UPSTREAM` in it stands for `upstream`, `KEYFILE` for a file with the key.
    pub fn new(settings: &str, upstream: &str) -> Home {
        let dir = tempfile::Builder::new().prefix("tidegate-test-").tempdir().expect("a temporary folder");
        let home = Home { dir };
        write_private(&home.path("key"), KEY);
        let settings =
            settings.replace("UPSTREAM", upstream).replace("KEYFILE", &home.path("key").display().to_string());
        write_private(&home.path("settings.toml"), &settings);
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// `tidegate --data-dir … --settings … ARGS`, away from the user's own folders, keychain and proxies.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data-dir").arg(self.data()).arg("--settings").arg(self.path("settings.toml")).args(args);
        command.current_dir(self.dir.path()).env("HOME", self.path("user")).env("RUST_BACKTRACE", "1");
        for name in [
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub fn tidegate(&self, args: &[&str]) -> Said {
        run(self.command(args), "")
    }

    /// The token of a new client.
    pub fn client(&self, name: &str, options: &[&str]) -> String {
        let said = self.tidegate(&[&["client", "add", name], options].concat());
        assert_eq!(said.code, Some(0), "client add: {said:?}");
        said.out.trim().to_owned()
    }

    pub fn serve(&self, args: &[&str]) -> anyhow::Result<Server> {
        let fixed = ["serve", "--listen", "127.0.0.1:0"];
        Server::start(self.command(&[&fixed[..], args].concat()), &self.path("serve"))
    }

    pub fn books(&self) -> Books<'_> {
        Books { home: self }
    }
}

/// `tidegate simulate` with its options, in a process of its own so that it outlives the gateway.
pub fn simulate(args: &[&str], folder: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(folder.join("simulator")).args(["simulate", "--listen", "127.0.0.1:0"]).args(args);
    command.current_dir(folder).env("HOME", folder);
    Server::start(command, &folder.join("simulate"))
}

/// Limits that never bind, the key from a file, quick timeouts.
pub const SETTINGS: &str = r#"
[gateway]
max_wait = "600s"
timezone = "UTC"

[ledger]
durability = "process"

[[upstream]]
name = "simulator"
kind = "anthropic"
base_url = "UPSTREAM"
key = "file:KEYFILE"
"#;

/// A running gateway over a running simulator, with one client.
pub struct Lab {
    pub gateway: Server,
    pub simulator: Server,
    pub home: Home,
    pub token: String,
}

/// A day that ended in mid-test would give a spent budget back: shortly before, its end is waited for.
pub fn let_midnight_pass() {
    const SHORTLY: u64 = 65;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let left = 86_400 - since_1970 % 86_400;
    if left <= SHORTLY {
        std::thread::sleep(Duration::from_secs(left));
    }
}

impl Lab {
    /// Over a simulator whose limits never bind.
    pub fn start() -> Lab {
        Lab::with(SETTINGS, &["--scheme", "none"])
    }

    pub fn with(settings: &str, simulator: &[&str]) -> Lab {
        let_midnight_pass();
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let simulator = simulate(simulator, &folder).expect("the simulator starts");
        let _ = fs::remove_dir_all(&folder);
        let home = Home::new(settings, &simulator.url);
        let token = home.client("test", &[]);
        let gateway = home.serve(&["--api"]).expect("the gateway starts");
        Lab { gateway, simulator, home, token }
    }

    pub fn message(&self, body: impl Into<Vec<u8>>) -> Request {
        Request::message(body).header("x-api-key", &self.token)
    }

    pub fn get(&self, target: &str) -> Request {
        Request::new("GET", target).header("x-api-key", &self.token)
    }

    pub async fn call(&self, request: &Request) -> Answer {
        http::call(self.gateway.address(), request).await.expect("an answer")
    }

    pub async fn direct(&self, request: &Request) -> Answer {
        http::call(self.simulator.address(), request).await.expect("an answer")
    }

    /// SIGKILL, then a new process on the same folder and port.
    pub fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.gateway.kill();
        self.restart()
    }

    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.gateway = self.home.serve(&["--api"])?;
        Ok(())
    }

    /// Until `holds`, asked every few milliseconds; an error after `patience`.
    pub async fn until(patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let end = std::time::Instant::now() + patience;
        while std::time::Instant::now() < end {
            if holds().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(holds().await, "it did not come true within {patience:?}");
        Ok(())
    }
}

/// A message of a few words; `stream` as told.
pub fn body(stream: bool) -> String {
    format!(
        r#"{{"model":"claude-sonnet-4-5","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":"Name three tides."}}]}}"#
    )
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).expect("it can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it can be made private");
}
