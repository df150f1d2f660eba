//! What is measured: the simulator itself, nginx before it, and Tidegate before it with each durability.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use domain::tier::{GroupLimits, MinuteLimits, OutputCounting, Scheme, Tier};
use domain::time::Timestamp;
use support::books::count;
use support::lab::{Home, KEY};
use support::process::Server;
use tempfile::TempDir;

/// Limits, prices and the ledger on, and no limit that binds.
pub(crate) const SETTINGS: &str = r#"
[gateway]
timezone = "UTC"

[ledger]
durability = "DURABILITY"

[[upstream]]
name = "simulator"
kind = "anthropic"
base_url = "UPSTREAM"
key = "file:KEYFILE"

[[upstream.limits]]
models = ["claude-*"]
requests_per_minute = 1_000_000_000
input_tokens_per_minute = 1_000_000_000_000
output_tokens_per_minute = 1_000_000_000_000
"#;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Direct,
    Nginx,
    Process,
    Power,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Direct, Kind::Nginx, Kind::Process, Kind::Power];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Nginx => "nginx",
            Kind::Process => "process",
            Kind::Power => "power",
        }
    }
}

/// How fast the upstream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    AtOnce,
    /// Of five tokens, a second.
    TwentyEvents,
    /// At once, and no more than `CALLS_A_MINUTE`.
    Limited,
}

pub(crate) const CALLS_A_MINUTE: u64 = 600;

impl Pace {
    const FLAG: &str = "--simulate";

    fn name(self) -> &'static str {
        match self {
            Pace::AtOnce => "at-once",
            Pace::TwentyEvents => "twenty-events",
            Pace::Limited => "limited",
        }
    }

    fn tokens_per_second(self) -> u64 {
        match self {
            Pace::AtOnce | Pace::Limited => 0,
            Pace::TwentyEvents => 100,
        }
    }

    fn scheme(self) -> Option<(Arc<Scheme>, Arc<str>)> {
        let requests = (self == Pace::Limited).then_some(CALLS_A_MINUTE);
        let limits = MinuteLimits { requests: Some(requests?), input_tokens: None, output_tokens: None };
        let group = domain::catalog::group("claude-sonnet-4-5");
        let row = GroupLimits { groups: vec![group.into()], limits, cache_reads_count: false };
        let tier = Tier { name: "bench".into(), deposit: None, monthly_cap: None, rows: vec![row] };
        let (valid_from, output) = (Timestamp::default(), OutputCounting::AsProduced);
        let scheme = Scheme { name: "bench".into(), valid_from, output, tiers: vec![tier], source: "made up".into() };
        Some((Arc::new(scheme), "bench".into()))
    }
}

/// This program as the upstream.
pub(crate) fn upstream(pace: Pace, folder: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([Pace::FLAG, pace.name()]);
    Server::start(command, &folder.join("upstream")).context("the upstream")
}

/// This program is its own upstream, in a process of its own.
pub(crate) fn asked_to_simulate() -> Option<Pace> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.strip_prefix(&[Pace::FLAG.to_owned()])?.first()?;
    [Pace::AtOnce, Pace::TwentyEvents, Pace::Limited].into_iter().find(|pace| pace.name() == name)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn simulate(pace: Pace) -> anyhow::Result<()> {
    let speed = pace.tokens_per_second();
    let latency = simulator::Latency { first_byte_ms: (0, 0), tokens_per_second: (speed, speed) };
    let options = simulator::Options { latency, scheme: pace.scheme(), ..simulator::Options::default() };
    let running = simulator::Simulator::start(options).await?;
    say(&format!("listening on http://{}", running.address()));
    std::future::pending().await
}

#[expect(clippy::print_stdout, reason = "this program's answer")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// One thing that calls can be sent to.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    /// What goes out as `x-api-key`.
    pub(crate) token: String,
    /// From the start of its process until it listens.
    pub(crate) start: Duration,
    pid: u32,
    sent: AtomicU64,
}

impl Target {
    pub(crate) fn new(kind: Kind, address: &str, token: &str, pid: u32, start: Duration) -> Target {
        Target { kind, address: address.to_owned(), token: token.to_owned(), start, pid, sent: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self, calls: usize) {
        self.sent.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// Of its process and the workers of it.
    pub(crate) fn cpu(&self) -> Duration {
        family(self.pid).into_iter().map(cpu_of).sum()
    }

    /// What it holds by itself, shared pages in parts.
    pub(crate) fn memory_mib(&self) -> f64 {
        family(self.pid).into_iter().map(pss_kib).sum::<f64>() / 1024.0
    }

    pub(crate) fn peak_memory(&self) -> Peak {
        let (pid, done) = (self.pid, Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let watch = std::thread::spawn(move || {
            let mut peak: f64 = 0.0;
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(family(pid).into_iter().map(pss_kib).sum::<f64>() / 1024.0);
                std::thread::sleep(Duration::from_millis(250));
            }
            peak
        });
        Peak { done, watch }
    }
}

/// The most memory from its start to its finish, in MiB.
pub(crate) struct Peak {
    done: Arc<AtomicBool>,
    watch: std::thread::JoinHandle<f64>,
}

impl Peak {
    pub(crate) fn finish(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.watch.join().unwrap_or(0.0)
    }
}

/// All targets over one upstream. Everything ends with it.
pub(crate) struct Bed {
    pub(crate) targets: Vec<Target>,
    gateways: Vec<(Kind, Home, Server)>,
    _nginx: Option<Nginx>,
    _upstream: Server,
    _folder: TempDir,
}

impl Bed {
    /// nginx is left out where it is not installed.
    pub(crate) fn start(pace: Pace, kinds: &[Kind]) -> anyhow::Result<Bed> {
        let folder = tempfile::tempdir()?;
        let upstream = upstream(pace, folder.path())?;
        let mut bed =
            Bed { targets: Vec::new(), gateways: Vec::new(), _nginx: None, _upstream: upstream, _folder: folder };
        for kind in kinds {
            bed.add(*kind).with_context(|| format!("starting {}", kind.name()))?;
        }
        Ok(bed)
    }

    fn add(&mut self, kind: Kind) -> anyhow::Result<()> {
        let upstream = &self._upstream;
        match kind {
            Kind::Direct => {
                self.targets.push(Target::new(kind, upstream.address(), KEY, upstream.pid(), upstream.start))
            }
            Kind::Nginx => {
                let Some(nginx) = Nginx::start(upstream.address(), self._folder.path())? else { return Ok(()) };
                self.targets.push(Target::new(kind, &nginx.address, KEY, nginx.child.id(), nginx.start));
                self._nginx = Some(nginx);
            }
            Kind::Process | Kind::Power => {
                let home = Home::new(&SETTINGS.replace("DURABILITY", kind.name()), &upstream.url);
                let token = home.client("bench", &[]);
                let server = home.serve(&[])?;
                self.targets.push(Target::new(kind, server.address(), &token, server.pid(), server.start));
                self.gateways.push((kind, home, server));
            }
        }
        Ok(())
    }

    /// Every call that was sent to a gateway is in its ledger, once.
    pub(crate) fn check_counts(&mut self) -> anyhow::Result<()> {
        for (kind, home, _server) in &self.gateways {
            let sent = self.targets.iter().find(|t| t.kind == *kind).map_or(0, |t| t.sent.load(Ordering::Relaxed));
            let kept = count(&home.books().usage()["total"]["calls"]);
            ensure!(sent == kept, "{}: {sent} calls were sent, {kept} are in the ledger", kind.name());
            home.books().verify();
        }
        Ok(())
    }
}

/// Debian's nginx with a configuration of our own.
struct Nginx {
    child: Child,
    address: String,
    start: Duration,
}

impl Nginx {
    fn start(upstream: &str, folder: &Path) -> anyhow::Result<Option<Nginx>> {
        let Some(program) = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists())
        else {
            return Ok(None);
        };
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (config, here) = (folder.join("nginx.conf"), folder.display());
        fs::write(&config, nginx_conf(upstream, &address, folder))?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(["-p", &here.to_string(), "-c", &config.display().to_string(), "-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("nginx.err"))?)
            .spawn()?;
        let mut nginx = Nginx { child, address, start: Duration::ZERO };
        while std::net::TcpStream::connect(&nginx.address).is_err() {
            let ended = nginx.child.try_wait()?;
            ensure!(
                ended.is_none() && started.elapsed() < Duration::from_secs(10),
                "nginx: {}",
                fs::read_to_string(folder.join("nginx.err"))?
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        nginx.start = started.elapsed();
        Ok(Some(nginx))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn nginx_conf(upstream: &str, address: &str, folder: &Path) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 64m;
  keepalive_requests 1000000000;
  upstream simulator {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://simulator;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"
    )
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    [pid].into_iter().chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// Of all its threads, to the nanosecond.
fn cpu_of(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn pss_kib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0.0)
}
