//! Half an hour of an upstream that fails in every way it can, with an outage in the middle: the gateway and the
//! simulator as they are, over real sockets, on a clock that the test turns. Clients retry nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use domain::call::{Attempt, Call, CallId, Checkpoint, Class, Entry, Opening, Outcome};
use domain::catalog::InForce;
use domain::config::{Client, Pacing, Rules};
use domain::success::{Success, Successes};
use domain::time::{Calendar, Instant, Now, Timestamp};
use gateway::secret::Secret;
use gateway::{
    AnswerStore, Books, BooksClosed, BoxFuture, Clock, Config, Fallback, Gateway, KeyUnavailable, Ports, ProxyUse,
    RetryRules, Secrets, Timeouts, Upstream, Watch, Whose,
};
use sha2::{Digest, Sha256};
use simulator::{Faults, Record, Simulator};
use support::http::{self, Answer, Request};

/// 5 % busy, 3 % broken, 2 % cut and 1 % silent before their first word; nobody there for three minutes.
const FAULTS: &str = r#"
seed = SEED
[[rule]]
fault = "outage"
from = 600
to = 780
[[rule]]
fault = "overloaded"
probability = 0.05
[[rule]]
fault = "internal"
probability = 0.03
[[rule]]
fault = "cut"
after_events = 1
probability = 0.02
[[rule]]
fault = "stall"
after_events = 1
probability = 0.01
"#;

const OUTAGE: std::ops::Range<f64> = 600.0..780.0;
const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);
const WORKERS: u64 = 10;
/// Between two calls of a worker.
const PAUSE: Duration = Duration::from_millis(700);
/// After the upstream is back.
const RECOVERY: f64 = 30.0;
/// So long a breaker stays open where nobody finds out earlier.
const OPEN: f64 = 300.0;
const TOKEN: &str = "tg-chaos";

/// Goes as the runtime's clock goes.
struct Turned(tokio::time::Instant);

impl Clock for Turned {
    fn now(&self) -> Now {
        let gone = self.0.elapsed();
        Now {
            instant: Instant::default().after(gone),
            timestamp: Timestamp::from_millis(1_767_225_600_000).after(gone),
        }
    }
}

#[derive(Default)]
struct Written(Mutex<Vec<Entry>>);

impl Books for Written {
    fn open(&self, _: &Call, _: &Opening) -> Result<(), BooksClosed> {
        Ok(())
    }

    fn checkpoint(&self, _: CallId, _: &Checkpoint) {}

    fn enter_once(&self, entries: Vec<Entry>) -> BoxFuture<Result<(), BooksClosed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
        Box::pin(async { Ok(()) })
    }

    fn settle(&self, entry: &Entry) -> BoxFuture<Result<(), BooksClosed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
        Box::pin(async { Ok(()) })
    }
}

struct OneKey;

impl Secrets for OneKey {
    fn key(&self, _: &str, _: &str) -> BoxFuture<Result<Arc<Secret>, KeyUnavailable>> {
        Box::pin(async { Ok(Arc::new(Secret::new("sk-ant-chaos".to_owned()))) })
    }
}

struct NoAnswers;

impl AnswerStore for NoAnswers {}

struct Nobody;
impl Watch for Nobody {}

fn upstream(name: &str, simulator: &Simulator) -> Upstream {
    let pacing = Pacing {
        presumed: None,
        written: vec![],
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::ZERO,
        windows: vec![],
    };
    let (base_url, key) = (simulator.base_url().to_owned(), Some("env:KEY".to_owned()));
    Upstream {
        name: name.to_owned(),
        base_url,
        key,
        models: vec![],
        lacks: domain::routing::Capabilities::NONE,
        pacing,
    }
}

fn config(upstreams: Vec<Upstream>) -> Config {
    let fallbacks = match upstreams.len() {
        1 => vec![],
        count => vec![Fallback { whose: Whose::Class(Class::Normal), upstreams: (0..count).collect(), text: None }],
    };
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        allow_remote: false,
        max_wait: Duration::from_secs(60),
        rules: Rules::default(),
        host_names: vec![],
        allowed_origins: vec![],
        body_budget: 512 << 20,
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(10),
            idle: Duration::from_secs(3),
        },
        proxy: ProxyUse::None,
        upstreams,
        retry: RetryRules::default(),
        fallbacks,
        budgets: vec![],
        catalog: InForce::default(),
        attributes: Default::default(),
        cache: None,
    }
}

/// One call as its client saw it, in seconds since the simulator started.
struct Seen {
    began: f64,
    ended: f64,
    good: bool,
    what: String,
    /// As the upstream named it whose answer it got.
    request_id: Option<String>,
}

struct Half {
    seen: Vec<Seen>,
    entries: Vec<Entry>,
    /// When it began.
    epoch: Timestamp,
    /// What each simulator wrote down, and when they began by their own clock.
    records: [Vec<Record>; 2],
    their_epoch: Timestamp,
}

/// All of it, with or without a second upstream.
fn half_an_hour(seed: u64, has_second: bool) -> Half {
    half_an_hour_of(FAULTS, seed, has_second)
}

fn half_an_hour_of(faults: &str, seed: u64, has_second: bool) -> Half {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async move {
        let faults = Faults::from_toml(&faults.replace("SEED", &seed.to_string())).expect("a script");
        let their_epoch = Timestamp::from_millis(0).after(UNIX_EPOCH.elapsed().expect("after 1970"));
        let first =
            Simulator::start(simulator::Options { faults, seed, ..Default::default() }).await.expect("it starts");
        let second = Simulator::start(simulator::Options::default()).await.expect("it starts");
        let clock = Arc::new(Turned(tokio::time::Instant::now()));
        let books = Arc::new(Written::default());
        let ports = Ports {
            books: books.clone(),
            secrets: Arc::new(OneKey),
            clock: clock.clone(),
            answers: Arc::new(NoAnswers),
            watch: Arc::new(Nobody),
        };
        let mut upstreams = vec![upstream("first", &first)];
        upstreams.extend(has_second.then(|| upstream("second", &second)));
        let epoch = clock.now().timestamp;
        let gateway = Gateway::start(config(upstreams), ports, vec![]).await.expect("it starts");
        gateway.set_clients(vec![(Sha256::digest(TOKEN).into(), Arc::new(client()))]);
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(work(gateway.address().to_string(), worker, clock.clone())))
            .collect();
        let mut seen = vec![];
        let all = async {
            for worker in workers {
                seen.extend(worker.await.expect("no worker panics"));
            }
        };
        tokio::select! {
            () = all => {}
            () = turn() => {}
        }
        let entries = std::mem::take(&mut *books.0.lock().unwrap_or_else(PoisonError::into_inner));
        Half { seen, entries, epoch, records: [first.calls(), second.calls()], their_epoch }
    })
}

/// Time goes by in small steps, and after each step what is on the sockets gets the time it takes.
async fn turn() {
    const STEP: Duration = Duration::from_millis(50);
    const BREATH: Duration = Duration::from_micros(300);
    loop {
        // While a thread is busy the runtime's own clock stands still.
        let _ = tokio::task::spawn_blocking(|| std::thread::sleep(BREATH)).await;
        tokio::time::advance(STEP).await;
    }
}

fn client() -> Client {
    Client {
        name: "chaos".into(),
        class: Class::Normal,
        weight: 1,
        person: None,
        project: None,
        daily: None,
        weekly: None,
        monthly: None,
        max_share: None,
    }
}

async fn work(address: String, worker: u64, clock: Arc<Turned>) -> Vec<Seen> {
    let mut seen = vec![];
    let now = || clock.now().instant.since(Instant::default());
    tokio::time::sleep(PAUSE * u32::try_from(worker).expect("a few") / u32::try_from(WORKERS).expect("a few")).await;
    while now() < HALF_AN_HOUR {
        let began = now().as_secs_f64();
        let stream = worker.is_multiple_of(2);
        let body = format!(
            r#"{{"model":"claude-sonnet-4-5","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":"Name tide {began} of {worker}. [[output 5]]"}}]}}"#
        );
        let request = Request::message(body).header("x-api-key", TOKEN).header("x-stainless-timeout", "60");
        let answer = http::call(&address, &request).await;
        let ended = now().as_secs_f64();
        let good = answer.as_ref().is_ok_and(|answer| is_whole(answer, stream));
        let request_id = answer.as_ref().ok().and_then(|answer| answer.header("request-id")).map(str::to_owned);
        let what =
            answer.map_or_else(|error| error.to_string(), |answer| format!("{} {}", answer.status(), answer.text()));
        seen.push(Seen { began, ended, good, what, request_id });
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

fn is_whole(answer: &Answer, stream: bool) -> bool {
    answer.status() == 200 && answer.whole && (!stream || answer.text().contains("event: message_stop"))
}

impl Half {
    fn failures(&self) -> Vec<&Seen> {
        self.seen.iter().filter(|call| !call.good).collect()
    }

    fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.epoch).as_secs_f64()
    }

    /// Every call has one entry, which says of it what its client saw, and what each upstream counted that began to answer it.
    fn agrees(&self) {
        assert_eq!(self.entries.len(), self.seen.len());
        let completed = self.entries.iter().filter(|entry| entry.outcome == Outcome::Completed).count();
        assert_eq!(completed, self.seen.len() - self.failures().len());
        let mut counted: HashMap<(&str, &str), u64> = HashMap::new();
        for (upstream, records) in ["first", "second"].into_iter().zip(&self.records) {
            counted.extend(records.iter().map(|call| ((upstream, &*call.request_id), call.tokens.input_tokens)));
        }
        for entry in self.entries.iter().filter(|entry| entry.outcome == Outcome::Completed) {
            // Of an answer that is no stream nothing was heard before it broke off.
            let told = entry.attempts.iter().filter(|attempt| !attempt.maybe_billed || entry.call.stream);
            let ids = told.filter_map(|attempt| Some((&*attempt.upstream, attempt.request_id.as_deref()?)));
            let input: u64 = ids.filter_map(|id| counted.get(&id)).sum();
            assert_eq!(entry.usage.tokens.input, input, "{entry:?}");
            let broke_off = |attempt: &Attempt| attempt.maybe_billed && attempt.request_id.is_some();
            assert_eq!(entry.estimated, entry.call.stream && entry.attempts.iter().any(broke_off), "{entry:?}");
        }
    }

    /// When the first good call began after the outage, in seconds since its end.
    fn recovered(&self) -> f64 {
        let good = self.seen.iter().filter(|call| call.good && call.began >= OUTAGE.end);
        good.map(|call| call.began - OUTAGE.end).fold(f64::INFINITY, f64::min)
    }

    /// As a ledger tells them that was given these entries.
    fn figures(&self) -> Success {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let fates = runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let options = ledger::Options {
                durability: ledger::Durability::Process,
                catalog: Arc::default(),
                calendar: Calendar::UTC,
            };
            let (ledger, _) = ledger::Ledger::open(dir.path(), options).await.expect("a ledger");
            for entry in &self.entries {
                ledger.settle(entry).await.expect("written");
                if let Some(room) = ledger.room() {
                    room.await;
                }
            }
            let (mut fates, mut through, mut is_all) = (vec![], 0, false);
            while !is_all {
                let part = ledger.fates(self.epoch, through).await.expect("readable");
                fates.extend(part.fates);
                (through, is_all) = (part.through, part.is_all);
            }
            fates
        });
        let mut successes = Successes::default();
        fates.iter().for_each(|fate| successes.count(fate));
        successes.figures(self.epoch.after(HALF_AN_HOUR))
    }

    /// When attempts left for the first upstream.
    fn attempts(&self) -> impl Iterator<Item = f64> {
        let attempts = self.entries.iter().flat_map(|entry| &entry.attempts);
        attempts.filter(|attempt| &*attempt.upstream == "first").map(|attempt| self.seconds(attempt.opened_at))
    }
}

/// One; `TIDEGATE_CHAOS_SEEDS=20` makes it twenty.
fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("TIDEGATE_CHAOS_SEEDS").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    7..7 + count
}

#[test]
fn with_a_second_upstream_clients_see_nothing_of_it() {
    for seed in seeds() {
        let half = half_an_hour(seed, true);
        half.agrees();
        let (failed, all) = (half.failures().len(), half.seen.len());
        eprintln!("seed {seed}: {failed} of {all} calls failed");
        assert!(all > 10_000 && failed * 1_000 <= all, "{:?}", half.failures().first().map(|call| &call.what));
    }
}

#[test]
fn without_one_errors_come_in_the_outage_alone_and_it_is_over_soon_after() {
    for seed in seeds() {
        let half = half_an_hour(seed, false);
        half.agrees();
        let all = half.seen.len();
        let window = OUTAGE.start..OUTAGE.end + RECOVERY;
        let outside: Vec<&Seen> =
            half.failures().into_iter().filter(|call| call.ended < window.start || call.began > window.end).collect();
        let in_it = half.failures().len() - outside.len();
        // Of so many failures five come in a row now and then: the breaker opens as it should, for one opening at most.
        let (held, outside): (Vec<&Seen>, Vec<&Seen>) =
            outside.into_iter().partition(|call| call.what.contains("tidegate_breaker_open"));
        assert!(held.len() * 5 <= all, "{} calls met an open breaker", held.len());
        // Busy twice in a row, or the budget of retries was spent.
        let is_told = |call: &&Seen| ["529", "500", "502", "504"].iter().any(|status| call.what.starts_with(status));
        assert!(outside.iter().all(is_told));
        let first = outside.first().map(|call| &call.what);
        assert!(outside.len() * 100 <= all * 3, "{} of {all}: {first:?}", outside.len());
        let attempts = half.attempts().count();
        assert!(attempts <= all * 11 / 10 + 10, "{attempts} attempts of {all} calls");
        let recovered = half.recovered();
        // A dead upstream: whoever left within the first second did so before the breaker opened.
        let into_the_dark = half.attempts().filter(|at| (OUTAGE.start + 2.0..OUTAGE.end).contains(at)).count();
        eprintln!(
            "seed {seed}: {all} calls, {in_it} failed in the outage, {} outside, {} met the breaker there, \
             {attempts} attempts, {into_the_dark} of them into the outage once the breaker was open, \
             recovered after {recovered:.1} s",
            outside.len(),
            held.len()
        );
        // Where the one call that finds out fails, with all its retries, the next may try when `open` has passed.
        let tried = half.attempts().filter(|at| (OUTAGE.end..OUTAGE.end + RECOVERY).contains(at)).count();
        assert!(recovered <= RECOVERY || tried > 1, "{recovered} s and one attempt");
        assert!(recovered <= OPEN + RECOVERY, "{recovered} s");
        assert!(into_the_dark <= 1, "{into_the_dark} calls were sent to a dead upstream");
    }
}

/// For five minutes everyone is told to come back later.
const LIMITED: &str = r#"
[[rule]]
fault = "transient"
from = 1200
to = 1500
"#;

#[test]
fn the_figures_of_success_are_those_that_the_simulators_wrote_down() {
    for has_second in [true, false] {
        let half = half_an_hour_of(&format!("{FAULTS}{LIMITED}"), 7, has_second);
        half.agrees();
        let figures = half.figures();
        let [first, second] = &half.records;
        let refused: HashSet<&str> =
            first.iter().filter(|call| call.status == 429).map(|call| &*call.request_id).collect();
        let ids = half.seen.iter().filter_map(|call| call.request_id.as_deref());
        let seen = ids.filter(|id| refused.contains(id)).count() as u64;
        let served = second.iter().filter(|call| call.outcome == simulator::Outcome::Completed).count() as u64;
        eprintln!("{figures:?}, {} refused of which {seen} reached a client", refused.len());
        assert_eq!((figures.rate_limit_errors_seen, figures.fallbacks_served), (seen, served));
        // With a second one only whoever waited for the first until its patience was too short for the second's own limits.
        let told_no = half.entries.iter().filter(|entry| entry.status == 429);
        let is_rare = told_no.clone().all(|entry| entry.waited_ms >= 45_000) && seen * 10 <= refused.len() as u64;
        assert!(if has_second { is_rare } else { seen > 0 }, "{:?}", told_no.collect::<Vec<_>>());
        assert!(!refused.is_empty() && (served > 100) == has_second);
        // Nobody hears of an outage who is not there: it began when the script says. What was refused they have heard.
        let at =
            |call: &Record| Timestamp::parse(&call.ended_at).expect("a time").since(half.their_epoch).as_secs_f64();
        let good = first.iter().filter(|call| call.outcome == simulator::Outcome::Completed).map(at);
        let good: Vec<f64> = good.collect();
        let next_good = |from: f64| good.iter().copied().find(|at| *at >= from).expect("it came back");
        let limited = first.iter().find(|call| call.status == 429).map(at).expect("one");
        let longest = (next_good(OUTAGE.end) - OUTAGE.start).max(next_good(limited) - limited);
        let told = figures.longest_recovery.as_secs_f64();
        // Five failures in a row by chance open the breaker too; the first may have begun a while before it was a failure.
        let gaps = || good.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > longest);
        let is_by_chance = gaps().any(|gap| (told - gap).abs() <= 5.0);
        assert!((told - longest).abs() <= 2.0 || is_by_chance, "{told} s, but {longest} s by its own books");
        assert!(gaps().all(|gap| told >= gap - 5.0), "{told} s, but longer by its own books");
    }
}
