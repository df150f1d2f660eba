//! Forty days by seed: the figures of success against what the upstreams and the clients themselves wrote down.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::{AccountId, Admission, Caching, Demand, Shape, Spent, Verdict};
use domain::call::{CallId, Class, Outcome};
use domain::config::{Pacing, Rules};
use domain::routing::Fared;
use domain::success::{Fate, Successes, Try};
use domain::time::{Instant, Now, Timestamp};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const DAYS: u64 = 40;
const NAMES: [&str; 2] = ["first", "second"];
const START: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;

/// What an upstream or a client wrote down; times in milliseconds from the start.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The call of the attempt.
    call: u64,
    began: u64,
    ended: u64,
    upstream: usize,
    status: u16,
}

struct World {
    admission: Admission,
    accounts: [AccountId; 2],
    chance: fastrand::Rng,
    /// Of each upstream: from when to when every call fails, and with what.
    outages: [Vec<(u64, u64, u16)>; 2],
    successes: Successes,
    /// What each upstream answered, in order.
    upstreams: [Vec<Line>; 2],
    /// What each client got.
    clients: Vec<Line>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut admission = Admission::new(&Rules::default());
        let accounts = NAMES.map(|name| admission.add_account(name.into(), unlimited()));
        let outages = [outages(&mut chance, 25), outages(&mut chance, 6)];
        let (upstreams, clients) = (Default::default(), vec![]);
        World { admission, accounts, chance, outages, successes: Successes::default(), upstreams, clients }
    }

    fn run(&mut self) {
        let mut clock = 0;
        while clock < DAYS * DAY_MS {
            clock += self.chance.u64(1_000..400_000);
            clock = self.call(clock);
        }
    }

    /// One call, by one upstream or the other. Tells when it ended.
    fn call(&mut self, began: u64) -> u64 {
        let (mut tries, mut last, mut clock) = (vec![], None, began);
        for (place, name) in NAMES.into_iter().enumerate() {
            let Some(line) = self.ask(place, began, clock) else { continue };
            clock = line.ended;
            let number = u32::try_from(place).expect("few") + 1;
            let status = Some(line.status).filter(|status| *status > 0);
            tries.push(Try { number, upstream: name.into(), at: at(line.began), status, is_broken: status.is_none() });
            last = Some(line);
            self.upstreams[place].push(line);
            if line.status == 200 || line.status == 429 {
                break;
            }
        }
        let line = last.unwrap_or(Line { call: began, began, ended: began, upstream: 0, status: 529 });
        let outcome = match (tries.is_empty(), line.status) {
            (true, _) => Outcome::Refused,
            (false, 200) => Outcome::Completed,
            (false, _) => Outcome::Failed,
        };
        let (started_at, ended_at) = (at(began), at(line.ended));
        self.successes.count(&Fate { started_at, ended_at, outcome, status: line.status, error: None, tries });
        self.clients.extend(last);
        line.ended
    }

    /// `None` where its breaker is open.
    fn ask(&mut self, place: usize, call: u64, clock: u64) -> Option<Line> {
        let demand = demand(self.accounts[place], clock);
        let Ok(Verdict::Go(ticket)) = self.admission.offer(demand, now(clock)) else { return None };
        let ended = clock + self.chance.u64(200..9_000);
        let is_out = |outage: &&(u64, u64, u16)| (outage.0..outage.1).contains(&clock);
        let status = match self.outages[place].iter().find(is_out) {
            Some((_, _, status)) => *status,
            None => [200, 200, 200, 200, 200, 200, 200, 429, 529, 0][self.chance.usize(0..10)],
        };
        let fared = if status == 200 || status == 429 { Fared::Well } else { Fared::Badly };
        self.admission.fared(&ticket, fared, now(ended));
        self.admission.settle(ticket, Spent::Nothing, now(ended));
        Some(Line { call, began: clock, ended, upstream: place, status })
    }

    /// The longest that one upstream took from a failure to its next good answer in the last thirty days.
    fn longest_recovery(&self, upstream: usize, from: u64) -> u64 {
        let log = &self.upstreams[upstream];
        let recovery = |(place, good): (usize, &Line)| {
            let failed = log[..place].iter().rev().take_while(|line| line.status != 200).last()?;
            Some(good.ended - failed.began)
        };
        let good = log.iter().enumerate().filter(|(_, line)| line.status == 200 && line.call >= from);
        good.filter_map(recovery).max().unwrap_or(0)
    }
}

/// Each ends before the next begins.
fn outages(chance: &mut fastrand::Rng, count: u64) -> Vec<(u64, u64, u16)> {
    let every = DAYS * DAY_MS / count;
    let outage = |number| {
        let begins = number * every + chance.u64(0..every / 2);
        (begins, begins + chance.u64(60_000..2 * HOUR_MS), [500, 503, 529, 0, 429][chance.usize(0..5)])
    };
    (0..count).map(outage).collect()
}

fn unlimited() -> Pacing {
    Pacing {
        presumed: None,
        written: vec![],
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::ZERO,
        windows: vec![],
    }
}

fn now(clock: u64) -> Now {
    Now { instant: Instant::from_nanos((clock + 1) * 1_000_000), timestamp: at(clock) }
}

fn at(clock: u64) -> Timestamp {
    Timestamp::from_millis(START).after(Duration::from_millis(clock))
}

fn demand(account: AccountId, clock: u64) -> Demand {
    Demand {
        call: CallId::new(at(clock), 0),
        account,
        model: "claude-sonnet-4-5".into(),
        fast: false,
        class: Class::Normal,
        client: Arc::from("c"),
        weight: 1,
        max_share: None,
        tenant: None,
        person: None,
        project: None,
        session: None,
        shape: Shape::default(),
        max_tokens: Some(100),
        caching: Caching::None,
        price: None,
        reservation: None,
        has_fallback: true,
        since: now(clock).instant,
        deadline: now(clock).instant,
    }
}

#[test]
fn the_figures_are_those_that_upstreams_and_clients_wrote_down() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        world.run();
        let end = world.clients.last().expect("a call").ended;
        let figures = world.successes.figures(at(end));
        let from = (end / HOUR_MS + 1).saturating_sub(30 * 24) * HOUR_MS;
        let of_month = || world.clients.iter().filter(|line| line.call >= from);
        let limited = of_month().filter(|line| line.status == 429).count() as u64;
        let elsewhere = of_month().filter(|line| line.status == 200 && line.upstream == 1).count() as u64;
        let longest = [0, 1].map(|upstream| world.longest_recovery(upstream, from)).into_iter().max();
        assert_eq!(figures.days, 30, "seed {seed}");
        assert_eq!((figures.rate_limit_errors_seen, figures.fallbacks_served), (limited, elsewhere), "seed {seed}");
        assert_eq!(figures.longest_recovery.as_millis() as u64, longest.expect("two"), "seed {seed}");
        assert!(limited > 100 && elsewhere > 100 && figures.longest_recovery > Duration::from_secs(600), "{figures:?}");
        let mut forgotten = world.successes.clone();
        forgotten.forget(at(end));
        assert_eq!(forgotten.figures(at(end)), figures);
    }
}
