//! The real binary: as a server that says where it listens, and as a command that ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(30);
/// A burst at a slow limit takes minutes.
const END_MAX: Duration = Duration::from_secs(600);

/// `tidegate` beside the running test, or the one that `TIDEGATE_BIN` names.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("TIDEGATE_BIN") {
        return PathBuf::from(named);
    }
    let here = std::env::current_exe().expect("the test has a path");
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join("tidegate")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no tidegate beside {}: `cargo build --workspace` makes it", here.display()))
}

/// A server of ours. Killed on drop.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// From the start of the process to its first line.
    pub start: Duration,
}

impl Server {
    /// Starts the command and waits for `listening on …`; what it prints goes to `STEM.out` and `STEM.err`.
    pub fn start(mut command: Command, log_stem: &Path) -> anyhow::Result<Server> {
        let errors = File::options().append(true).create(true).open(log_stem.with_extension("err"))?;
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let first = first_line(&mut child, &log_stem.with_extension("out"))?;
        let start = started.elapsed();
        let mut server = Server { child, url: String::new(), start };
        let Some(url) = first.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
            let said = std::fs::read_to_string(log_stem.with_extension("err")).unwrap_or_default();
            server.kill();
            anyhow::bail!("it did not start; its first line: {first:?}, its errors: {said}");
        };
        server.url = url.to_owned();
        Ok(server)
    }

    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or(&self.url)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; the exit code, or `None` where it had to be killed after `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        None
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Everything after the first line is copied to `log` for as long as the process lives.
fn first_line(child: &mut Child, log: &Path) -> anyhow::Result<Option<String>> {
    let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut log = File::options().append(true).create(true).open(log)?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = out.read_line(&mut line);
        let _ = log.write_all(line.as_bytes());
        let _ = send.send(line.trim_end().to_owned());
        let _ = std::io::copy(&mut out, &mut log);
    });
    Ok(receive.recv_timeout(START_MAX).ok())
}

/// What a command said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs a command to its end with `input` on stdin. One that does not end in time is killed and has no exit code.
pub fn run(mut command: Command, input: &str) -> Said {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, wait) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if wait.recv_timeout(END_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let said = child.wait_with_output().expect("it ends").into();
    drop(ended);
    said
}
