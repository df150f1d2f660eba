//! A desktop of its own for one test: a display, a session bus and a home, all gone when it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::lab::let_midnight_pass;
use tempfile::TempDir;

/// Longest wait for something that a person would call instant.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A bus that starts no services by itself, so that what the desktop has is what the test gave it.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#;

pub(crate) struct Desk {
    home: TempDir,
    display: String,
    bus: String,
    /// Ended in this order: what uses the bus and the display before these.
    running: Vec<Running>,
}

/// A program of this test's; killed on drop.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let_midnight_pass();
        let home = tempfile::Builder::new().prefix("tidegate-desk-").tempdir().expect("a temporary folder");
        for folder in ["data", "config", "run", "cache"] {
            std::fs::create_dir(home.path().join(folder)).expect("a folder");
        }
        let mut desk = Desk { home, display: String::new(), bus: String::new(), running: Vec::new() };
        let display = ["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"];
        desk.display = format!(":{}", desk.start_telling("Xvfb", &display));
        let config = desk.path("bus.conf");
        std::fs::write(&config, BUS).expect("the bus's configuration");
        let config = format!("--config-file={}", config.display());
        desk.bus = desk.start_telling("dbus-daemon", &[&config, "--nofork", "--print-address=1"]);
        desk
    }

    /// Starts what says in its first line where it is.
    fn start_telling(&mut self, program: &str, arguments: &[&str]) -> String {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        self.running.insert(0, Running(child));
        BufReader::new(out).read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program on this desktop. The language stays the machine's own, `C` too.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("NO_AT_BRIDGE", "1")
            .env("TEST_KEY", "sk-ant-test")
            .env_remove("WAYLAND_DISPLAY")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn settings(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.path("config/tidegate/settings.toml");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, text).expect("the settings");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    pub(crate) fn app(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(program());
        command.args(arguments);
        command
    }

    pub(crate) fn start(&self, mut command: Command) -> Running {
        Running(command.spawn().expect("it starts"))
    }

    /// What a command prints.
    pub(crate) fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output =
            self.command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The window's id, while it can be seen.
    pub(crate) fn window(&self) -> Option<String> {
        let found = self.ask("xdotool", &["search", "--onlyvisible", "--name", "^Tidegate$"]);
        found.lines().next().map(str::to_owned)
    }

    /// Presses the × of the window's frame.
    pub(crate) fn close_window(&self) {
        let window = self.window().expect("a window to close");
        let script = source("close.py");
        assert!(self.command("/usr/bin/python3").arg(script).arg(window).status().expect("it runs").success());
    }

    pub(crate) fn tray(&self) -> Tray {
        Tray(self.helper("tray.py"))
    }

    /// A script that says in its first line that it is ready.
    fn helper(&self, script: &str) -> Helper {
        let mut command = self.command("/usr/bin/python3");
        let mut child = command
            .arg(source(script))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3");
        let asks = child.stdin.take().expect("stdin is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut ready = String::new();
        answers.read_line(&mut ready).expect("it is ready");
        Helper { asks, answers, _running: Running(child) }
    }

    /// Whoever keeps notifications and presses their buttons.
    pub(crate) fn notices(&self) -> Notices {
        Notices(self.helper("notices.py"))
    }

    /// Whoever shows notifications; its history is asked for with `notifications`.
    pub(crate) fn notifier(&self) -> Running {
        let config = self.path("dunstrc");
        std::fs::write(&config, "[global]\nhistory_length = 50\n").expect("its configuration");
        let mut command = self.command("dunst");
        command.arg("-conf").arg(config);
        let running = self.start(command);
        self.ask("gdbus", &["wait", "--session", "--timeout", "10", "org.freedesktop.Notifications"]);
        running
    }

    /// An unlocked keychain.
    pub(crate) fn keychain(&self) -> Running {
        let mut command = self.command("gnome-keyring-daemon");
        command.args(["--unlock", "--foreground", "--components=secrets"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut running = self.start(command);
        running.0.stdin.take().expect("stdin is piped").write_all(b"test\n").expect("it takes its password");
        self.ask("gdbus", &["wait", "--session", "--timeout", "10", "org.freedesktop.secrets"]);
        running
    }

    /// To the app that has the data folder.
    pub(crate) fn signal_app(&self, signal: &str) {
        let instance = std::fs::read(self.path("data/tidegate/instance.json")).expect("it runs");
        let pid = serde_json::from_slice::<Value>(&instance).expect("an instance")["pid"].to_string();
        assert!(self.command("kill").args([signal, &pid]).status().expect("it runs").success());
    }

    /// What was copied last.
    pub(crate) fn clipboard(&self) -> String {
        const ASK: &str = "import gi; gi.require_version('Gdk', '3.0'); gi.require_version('Gtk', '3.0'); from gi.repository import Gdk, Gtk; \
                           print(Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).wait_for_text() or '', end='')";
        self.ask("/usr/bin/python3", &["-c", ASK])
    }

    /// As after a while without its user.
    pub(crate) fn lock_keychain(&self) {
        let method = "org.freedesktop.Secret.Service.Lock";
        let place =
            ["--dest", "org.freedesktop.secrets", "--object-path", "/org/freedesktop/secrets", "--method", method];
        let what = "['/org/freedesktop/secrets/collection/login']";
        let said = self.ask("gdbus", &[&["call", "--session"], &place[..], &[what]].concat());
        assert!(said.contains("collection/login"), "{said}");
    }

    /// Its X server ends.
    pub(crate) fn lose_display(&mut self) {
        // It was started first.
        drop(self.running.pop());
    }

    /// Every file of the home that holds the text as it stands.
    pub(crate) fn files_with(&self, text: &str) -> Vec<String> {
        let found = self.ask("grep", &["-rlaF", text, &self.home.path().display().to_string()]);
        found.lines().map(str::to_owned).collect()
    }

    pub(crate) fn notifications(&self) -> Vec<String> {
        self.ask("dunstctl", &["close-all"]);
        let history: Value = serde_json::from_str(&self.ask("dunstctl", &["history"])).unwrap_or_default();
        let shown = history["data"][0].as_array().cloned().unwrap_or_default();
        shown.iter().filter_map(|one| one["summary"]["data"].as_str().map(str::to_owned)).collect()
    }
}

/// A part of the desktop that answers each line with one of JSON.
struct Helper {
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    _running: Running,
}

impl Helper {
    fn say(&mut self, line: &str) -> Value {
        writeln!(self.asks, "{line}").expect("it runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("to {line:?} it said {answer:?}: {error}"))
    }
}

/// The notifications of the desktop.
pub(crate) struct Notices(Helper);

impl Notices {
    pub(crate) fn all(&mut self) -> Vec<Value> {
        self.0.say("list").as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn press(&mut self, notice: &Value, button: &str) {
        self.0.say(&format!("press {} {button}", notice["id"]));
    }
}

/// The tray of the desktop, as far as one icon and its menu go.
pub(crate) struct Tray(Helper);

impl Tray {
    pub(crate) fn look(&mut self) -> Value {
        self.0.say("look")
    }

    pub(crate) fn click(&mut self, label: &str) {
        self.0.say(&format!("click {label}"));
    }

    pub(crate) fn labels(&mut self) -> Vec<String> {
        let entries = self.look()["menu"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| entry["label"].as_str().map(str::to_owned))
            .filter(|label| !label.is_empty())
            .collect()
    }

    pub(crate) fn entry(&mut self, label: &str) -> Value {
        let entries = self.look()["menu"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|entry| entry["label"] == label).unwrap_or_default()
    }
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `tidegate-desktop` beside the running test, or the one that `TIDEGATE_DESKTOP_BIN` names.
pub(crate) fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("TIDEGATE_DESKTOP_BIN") {
        return PathBuf::from(named);
    }
    let here = std::env::current_exe().expect("the test has a path");
    let found =
        here.ancestors().skip(1).take(2).map(|folder| folder.join("tidegate-desktop")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no tidegate-desktop beside {}: `cargo build --workspace` makes it", here.display()))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("desktop").join(name)
}
