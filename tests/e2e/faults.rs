//! A disk that is full or broken, a database that another program holds: what clients were told is kept,
//! new calls are refused with a sentence before anything is lost, and all goes on without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, SqliteConnection};
use support::http::{self, Answer, Request};
use support::lab::{Home, Lab, SETTINGS, simulate};
use support::process::Server;

const STREAMS: usize = 16;

const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries of a client that is refused.
const PAUSE: Duration = Duration::from_millis(20);

const POWER: &str = "durability = \"power\"";

fn settings() -> String {
    SETTINGS.replace("durability = \"process\"", POWER)
}

/// Clients that call again and again, and what they were told.
struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    stopped: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(lab: &Lab) -> Load {
        let (answers, stopped) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::<AtomicBool>::default());
        let client = |i| {
            let request = request(lab, i);
            let (address, answers, stopped) = (lab.gateway.address().to_owned(), answers.clone(), stopped.clone());
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let answer = http::call(&address, &request).await.unwrap_or_default();
                    let was_refused = answer.status() != 200;
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    if was_refused {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            })
        };
        Load { clients: (0..STREAMS).map(client).collect(), answers, stopped }
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, wanted: impl Fn(&Answer) -> bool) -> usize {
        self.answers().iter().filter(|answer| wanted(answer)).count()
    }

    /// Until so many more such answers have come.
    async fn until(&self, more: usize, wanted: impl Fn(&Answer) -> bool) {
        let before = self.count(&wanted);
        let came = Lab::until(PATIENCE, async || self.count(&wanted) >= before + more).await;
        came.unwrap_or_else(|error| panic!("{error}; the last answer: {:?}", self.answers().last().map(Answer::text)));
    }

    async fn stop(self) -> Vec<Answer> {
        self.stopped.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client panics");
        }
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// With as many tags as a call may have: a few hundred of them fill the journal.
fn request(lab: &Lab, i: usize) -> Request {
    let prompt = format!("Name tide {i}. [[output {}]]", [5, 40, 150][i % 3]);
    let body = format!(
        r#"{{"model":"claude-sonnet-4-5","max_tokens":512,"stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    );
    let tag = |request: Request, n| request.header("x-tidegate-tag", &format!("tag-{n}={}", "x".repeat(250)));
    (0..16).fold(lab.message(body), tag)
}

fn has_ended(answer: &Answer) -> bool {
    answer.status() == 200 && answer.whole && answer.text().contains("event: message_stop")
}

fn is_refused(answer: &Answer) -> bool {
    answer.status() == 503
}

fn is_cut(answer: &Answer) -> bool {
    answer.status() == 200 && !has_ended(answer)
}

/// Each call whose end a client saw is settled once, and so is each that it saw begin.
fn are_settled_once(lab: &Lab, answers: &[Answer]) {
    lab.home.books().verify();
    let calls = lab.home.books().calls();
    for answer in answers.iter().filter(|answer| answer.status() == 200) {
        let id = answer.header("x-tidegate-call").expect("a call id");
        let found: Vec<_> = calls.iter().filter(|call| call["call_id"] == id).collect();
        assert_eq!(found.len(), 1, "call {id} is {} times in the ledger", found.len());
        assert_eq!(found[0]["outcome"], "completed", "{:?}", found[0]);
        assert_eq!(found[0]["estimated"], "false", "{:?}", found[0]);
    }
}

fn says(home: &Home, sentence: &str) {
    let log = fs::read_to_string(home.path("serve.err")).expect("a log");
    assert!(log.contains(sentence), "no {sentence:?} in the log:\n{log}");
}

/// A data folder whose disk can be full: a small file system where it may be mounted, else a limit on the size of files.
struct SmallDisk {
    lab: Lab,
    mounted: Option<PathBuf>,
}

impl SmallDisk {
    fn start() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let simulator = simulate(&["--scheme", "none"], folder.path()).expect("the simulator starts");
        let home = Home::new(&settings(), &simulator.url);
        fs::create_dir(home.data()).expect("made");
        let mounted = mount(&home.data()).then(|| home.data());
        eprintln!("{}", if mounted.is_some() { "a small file system" } else { "a limit on the size of files" });
        let token = home.client("test", &[]);
        let gateway = home.serve(&["--api"]).expect("the gateway starts");
        SmallDisk { lab: Lab { gateway, simulator, home, token }, mounted }
    }

    fn fill(&self) {
        match &self.mounted {
            Some(folder) => fill(&folder.join("ballast")),
            None => limit_files(&self.lab.gateway, Some(4 << 20)),
        }
    }

    fn empty(&self) {
        match &self.mounted {
            Some(folder) => fs::remove_file(folder.join("ballast")).expect("removed"),
            None => limit_files(&self.lab.gateway, None),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.lab.gateway.kill();
        if let Some(folder) = &self.mounted {
            let _ = Command::new("umount").arg(folder).status();
        }
    }
}

fn mount(folder: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", "size=32m,mode=700", "tidegate-test"]).arg(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn fill(ballast: &Path) {
    let mut file = File::create(ballast).expect("made");
    for piece in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
}

fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw).expect("it runs");
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("it is ours to limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_calls_before_one_is_lost_and_they_come_again_when_there_is_space() {
    let mut disk = SmallDisk::start();
    let load = Load::start(&disk.lab);
    load.until(20, has_ended).await;
    disk.fill();
    load.until(STREAMS * 3, is_refused).await;
    {
        let answers = load.answers();
        let refused = answers.iter().find(|answer| is_refused(answer)).expect("one");
        let error = &refused.json()["error"];
        assert!(refused.text().contains("tidegate_ledger"), "{}", refused.text());
        assert!(error["message"].as_str().is_some_and(|text| text.contains("free some space")), "{error}");
    }
    assert_eq!(load.count(is_cut), 0, "what ran when the disk was full has ended as ever");
    disk.empty();
    load.until(STREAMS * 3, has_ended).await;
    let answers = load.stop().await;
    eprintln!(
        "{} calls ended, {} were refused",
        answers.iter().filter(|a| has_ended(a)).count(),
        answers.iter().filter(|a| is_refused(a)).count()
    );
    are_settled_once(&disk.lab, &answers);
    says(&disk.lab.home, "the journal can't be folded into the ledger now");
    says(&disk.lab.home, "the journal is folded into the ledger again");
    tokio::task::block_in_place(|| disk.lab.crash_and_restart()).expect("it starts");
    are_settled_once(&disk.lab, &answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_write_at_all_cuts_what_it_can_t_settle_and_is_used_again_when_it_does() {
    let mut lab = Lab::with(&settings(), &["--scheme", "none"]);
    // The log lies on that disk too: it takes no more lines either.
    let mut log = File::options().append(true).open(lab.home.path("serve.err")).expect("a log");
    log.write_all(&[b'\n'; 1 << 10]).expect("written");
    let load = Load::start(&lab);
    load.until(50, has_ended).await;
    limit_files(&lab.gateway, Some(1 << 10));
    load.until(STREAMS * 3, is_refused).await;
    limit_files(&lab.gateway, None);
    load.until(STREAMS * 3, has_ended).await;
    let answers = load.stop().await;
    assert!(lab.gateway.is_running(), "a limit on the size of files ends no process");
    eprintln!(
        "{} calls ended, {} were cut",
        answers.iter().filter(|a| has_ended(a)).count(),
        answers.iter().filter(|a| is_cut(a)).count()
    );
    are_settled_once(&lab, &answers);
    says(&lab.home, "the journal is written again");
    tokio::task::block_in_place(|| lab.crash_and_restart()).expect("it starts");
    are_settled_once(&lab, &answers);
}

async fn hold(lab: &Lab) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(lab.home.data().join("ledger.db")).busy_timeout(PATIENCE);
    let mut conn = options.connect().await.expect("it opens");
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut conn).await.expect("held");
    conn
}

/// `TIDEGATE_HOLD_SECONDS=60` in a soak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_while_another_program_holds_the_database() {
    let longest = std::env::var("TIDEGATE_HOLD_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"));
    let mut lab = Lab::with(&settings(), &["--scheme", "none"]);
    let load = Load::start(&lab);
    for seconds in [1, longest] {
        load.until(20, has_ended).await;
        let mut holder = hold(&lab).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        load.until(STREAMS, has_ended).await;
        sqlx::query("COMMIT").execute(&mut holder).await.expect("released");
        holder.close().await.expect("closed");
    }
    load.until(20, has_ended).await;
    let answers = load.stop().await;
    eprintln!("{} calls ended", answers.len());
    assert!(answers.iter().all(has_ended), "no call noticed");
    are_settled_once(&lab, &answers);
    says(&lab.home, "is in use by another program");
    tokio::task::block_in_place(|| lab.crash_and_restart()).expect("it starts");
    are_settled_once(&lab, &answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_ledger_is_refused_kept_and_named() {
    let mut lab = Lab::with(&settings(), &["--scheme", "none"]);
    for i in 0..3 {
        assert_eq!(lab.call(&request(&lab, i)).await.status(), 200);
    }
    lab.gateway.terminate(PATIENCE);
    let path = lab.home.data().join("ledger.db");
    // All of it in one file: what lies in a WAL too would stand before the damaged pages, and nothing would be damaged.
    let copy = lab.home.data().join("whole.db");
    assert_eq!(lab.home.tidegate(&["backup", &copy.to_string_lossy()]).code, Some(0));
    let whole = fs::read(&copy).expect("bytes");
    for beside in ["ledger.db-wal", "ledger.db-shm"] {
        // Gone already where the last connection was closed in time.
        let _ = fs::remove_file(lab.home.data().join(beside));
    }
    for (place, what) in [(0, "its first bytes"), (100, "the head of its first page"), (16, "the size of its pages")] {
        let mut bytes = whole.clone();
        bytes[place..place + 4].iter_mut().for_each(|byte| *byte ^= 0xFF);
        fs::write(&path, &bytes).expect("written");
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["usage"], &["verify"]] {
            let said = lab.home.tidegate(command);
            assert_eq!(said.code, Some(1), "{what}, {command:?}: {said:?}");
            let named =
                [&said.err, &said.out].iter().any(|text| text.contains("damaged") || text.contains("malformed"));
            assert!(named && !said.err.contains("panicked"), "{what}, {command:?}: {said:?}");
        }
        assert!(fs::read(&path).expect("bytes") == bytes, "{what}: the file was changed");
    }
    fs::write(&path, &whole).expect("written");
    lab.restart().expect("it starts");
    lab.home.books().verify();
    assert_eq!(lab.home.books().calls().len(), 3);
}
