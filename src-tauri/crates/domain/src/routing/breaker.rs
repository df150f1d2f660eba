//! Whether an upstream is down for a group of models: after too many failures no call starts for a while, then one.
//!
//! Calls start while it is closed. It opens at so many failures in a row, or so many of the last 20 calls. When its
//! time is over, or a free probe (one that is no call) says that the upstream is there again, it is half-open: one call
//! goes ahead, and all others see how it fares.

use std::time::Duration;

use crate::time::Instant;

/// When it opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerRules {
    /// In a row.
    pub failures: u32,
    pub open: Duration,
    /// Failures among the last 20 calls, in thousandths; 0: only those in a row count.
    pub error_ratio_permille: u32,
}

/// The field guide's.
impl Default for BreakerRules {
    fn default() -> BreakerRules {
        BreakerRules { failures: 5, open: Duration::from_secs(300), error_ratio_permille: 0 }
    }
}

/// How a call fared, as far as it tells whether the upstream works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fared {
    /// It was answered, be it with a refusal.
    Well,
    Badly,
    /// Nobody knows; its caller has gone, say. Another call may find out.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub const ALL: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];

    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// May a call start?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    Free,
    From(Instant),
    /// As soon as the one that went ahead has fared.
    AfterProbe,
}

/// Names the call that goes ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProbeId(u32);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// Calls that have gone ahead so far.
    probes: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        since: Instant,
        /// In a row.
        failures: u32,
        recent: Recent,
        /// Whose first words closed it, and what begins again should its answer break off.
        on_trust: Option<(ProbeId, Outage)>,
    },
    Open {
        outage: Outage,
        until: Instant,
        /// When the next free probe is due.
        asks: Option<Instant>,
    },
    HalfOpen {
        outage: Outage,
        /// Because a free probe said so.
        is_early: bool,
        probe: Option<ProbeId>,
    },
}

impl Default for State {
    fn default() -> State {
        State::Closed { since: Instant::default(), failures: 0, recent: Recent::default(), on_trust: None }
    }
}

/// From when it opens until it closes, however many probes fail.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    /// One came good, and the call that believed it failed: none is asked any more.
    free_probes_lie: bool,
}

impl Outage {
    /// A call has failed that went ahead; `is_early`: because a free probe came good.
    fn again(self, is_early: bool) -> Outage {
        Outage { free_probes_lie: self.free_probes_lie || is_early, ..self }
    }
}

const FREE_PROBE_EVERY: Duration = Duration::from_secs(15);

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn passage(&self, now: Instant) -> Passage {
        match self.state {
            State::Open { until, .. } if until > now => Passage::From(until),
            State::HalfOpen { probe: Some(_), .. } => Passage::AfterProbe,
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => Passage::Free,
        }
    }

    /// A call goes whose passage is free. `Some`: it goes ahead of all others.
    pub(crate) fn passed(&mut self) -> Option<ProbeId> {
        let (outage, is_early) = match self.state {
            State::Closed { .. } => return None,
            State::Open { outage, .. } => (outage, false),
            State::HalfOpen { outage, is_early, .. } => (outage, is_early),
        };
        self.probes = self.probes.wrapping_add(1);
        let probe = ProbeId(self.probes);
        self.state = State::HalfOpen { outage, is_early, probe: Some(probe) };
        Some(probe)
    }

    /// What became of a call that left at `sent`. Where it opens, or opens again: until when.
    pub(crate) fn fared(
        &mut self,
        sent: Instant,
        own: Option<ProbeId>,
        fared: Fared,
        rules: &BreakerRules,
        now: Instant,
    ) -> Option<Instant> {
        match &mut self.state {
            State::Closed { on_trust, .. } if on_trust.is_some_and(|(probe, _)| own == Some(probe)) => {
                let (_, outage) = on_trust.take().filter(|_| fared == Fared::Badly)?;
                Some(self.open(outage, rules, now))
            }
            // One that left before it closed tells of the time before.
            State::Closed { since, failures, recent, on_trust } if sent >= *since => {
                let failed = match fared {
                    Fared::Well => false,
                    Fared::Badly => true,
                    Fared::Unknown => return None,
                };
                *failures = if failed { failures.saturating_add(1) } else { 0 };
                if !failed {
                    *on_trust = None;
                }
                recent.add(failed);
                let too_many = *failures >= rules.failures.max(1) || recent.reach(rules.error_ratio_permille);
                (failed && too_many).then(|| self.open(Outage { since: now, free_probes_lie: false }, rules, now))
            }
            State::HalfOpen { outage, is_early, probe } if own.is_some() && *probe == own => match fared {
                Fared::Well => {
                    let on_trust = own.map(|probe| (probe, outage.again(*is_early)));
                    self.state = State::Closed { since: now, failures: 0, recent: Recent::default(), on_trust };
                    None
                }
                Fared::Badly => {
                    let outage = outage.again(*is_early);
                    Some(self.open(outage, rules, now))
                }
                Fared::Unknown => {
                    *probe = None;
                    None
                }
            },
            // Only the one that went ahead counts.
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// The call that went ahead is over, whatever was told of it.
    pub(crate) fn ended(&mut self, own: ProbeId) {
        if let State::HalfOpen { probe, .. } = &mut self.state
            && *probe == Some(own)
        {
            *probe = None;
        }
    }

    pub(crate) fn next_free_probe(&self) -> Option<Instant> {
        match self.state {
            State::Open { asks, .. } => asks,
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Whether one is to be asked now; it then counts as asked.
    pub(crate) fn asks_free_probe(&mut self, now: Instant) -> bool {
        let State::Open { until, asks, .. } = &mut self.state else { return false };
        let is_due = asks.is_some_and(|at| at <= now);
        if is_due {
            *asks = before(now.after(FREE_PROBE_EVERY), *until);
        }
        is_due && now < *until
    }

    /// What a free probe found.
    pub(crate) fn probed(&mut self, well: bool, now: Instant) {
        if let State::Open { outage, until, .. } = self.state
            && well
            && now < until
            && !outage.free_probes_lie
        {
            self.state = State::HalfOpen { outage, is_early: true, probe: None };
        }
    }

    /// Its state, until when, and since when it has not been closed. `None`: there is nothing to tell.
    pub(crate) fn told(&self, now: Instant) -> Option<(BreakerState, Option<Instant>, Option<Instant>)> {
        match self.state {
            State::Closed { failures: 0, .. } => None,
            State::Closed { .. } => Some((BreakerState::Closed, None, None)),
            State::Open { outage, until, .. } if until > now => {
                Some((BreakerState::Open, Some(until), Some(outage.since)))
            }
            State::Open { outage, .. } | State::HalfOpen { outage, .. } => {
                Some((BreakerState::HalfOpen, None, Some(outage.since)))
            }
        }
    }

    fn open(&mut self, outage: Outage, rules: &BreakerRules, now: Instant) -> Instant {
        let until = now.after(rules.open);
        let asks = before(now.after(FREE_PROBE_EVERY), until).filter(|_| !outage.free_probes_lie);
        self.state = State::Open { outage, until, asks };
        until
    }
}

fn before(at: Instant, end: Instant) -> Option<Instant> {
    (at < end).then_some(at)
}

/// How the last calls fared.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    /// A bit for each, the latest lowest.
    failed: u32,
    known: u32,
}

const RECENT: u32 = 20;

impl Recent {
    fn add(&mut self, failed: bool) {
        self.failed = (self.failed << 1 | u32::from(failed)) & ((1 << RECENT) - 1);
        self.known = (self.known + 1).min(RECENT);
    }

    /// A few calls are no ratio.
    fn reach(self, permille: u32) -> bool {
        let failed = u64::from(self.failed.count_ones()) * 1_000;
        permille > 0 && self.known == RECENT && failed >= u64::from(permille) * u64::from(RECENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// A breaker and the calls that run.
    struct Script {
        breaker: Breaker,
        rules: BreakerRules,
        running: BTreeMap<String, (Instant, Option<ProbeId>)>,
    }

    impl Script {
        /// `fail` is a call that fails at once; `go a`, `a fail` one that takes a while; `probe well` a free probe.
        fn event(&mut self, words: &[&str], now: Instant) -> String {
            match words {
                ["ask"] => match self.breaker.passage(now) {
                    Passage::Free => "free".to_owned(),
                    Passage::From(until) => format!("kept until {}", until.since(at(0)).as_secs()),
                    Passage::AfterProbe => "kept".to_owned(),
                },
                ["go", name] => {
                    if self.breaker.passage(now) != Passage::Free {
                        return self.event(&["ask"], now);
                    }
                    let probe = self.breaker.passed();
                    self.running.insert((*name).to_owned(), (now, probe));
                    if probe.is_some() { "ahead" } else { "goes" }.to_owned()
                }
                ["probe", fared] => {
                    let is_due = self.breaker.asks_free_probe(now);
                    if is_due {
                        self.breaker.probed(*fared == "well", now);
                    }
                    if is_due { self.state(now) } else { "not asked".to_owned() }
                }
                [name, "ends"] => {
                    let (_, probe) = self.running.remove(*name).expect("a call that runs");
                    probe.into_iter().for_each(|probe| self.breaker.ended(probe));
                    self.state(now)
                }
                [name, "begins"] => {
                    let (sent, probe) = self.running[*name];
                    self.breaker.fared(sent, probe, Fared::Well, &self.rules, now);
                    self.state(now)
                }
                [name, fared] => {
                    let (sent, probe) = self.running.remove(*name).expect("a call that runs");
                    let fared = match *fared {
                        "well" => Fared::Well,
                        "fail" => Fared::Badly,
                        "gone" => Fared::Unknown,
                        other => panic!("{other}"),
                    };
                    self.breaker.fared(sent, probe, fared, &self.rules, now);
                    self.state(now)
                }
                [fared] => {
                    let went = self.event(&["go", "it"], now);
                    if went.starts_with("kept") { went } else { self.event(&["it", fared], now) }
                }
                other => panic!("{other:?}"),
            }
        }

        fn state(&self, now: Instant) -> String {
            match self.breaker.told(now) {
                None => "closed".to_owned(),
                Some((BreakerState::Open, Some(until), _)) => format!("open until {}", until.since(at(0)).as_secs()),
                Some((state, ..)) => state.name().replace('_', "-"),
            }
        }
    }

    fn check_by(rules: BreakerRules, script: &str, expected: &str) {
        let mut run = Script { breaker: Breaker::default(), rules, running: BTreeMap::new() };
        let told = script.split(", ").map(|event| {
            let (seconds, words) = event.split_once(' ').expect("seconds and an event");
            let words: Vec<&str> = words.split(' ').collect();
            run.event(&words, at(seconds.parse().expect("seconds")))
        });
        assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "{script}");
    }

    fn check(script: &str, expected: &str) {
        check_by(BreakerRules::default(), script, expected);
    }

    /// Opens at 4 until 304.
    const OPENS: &str = "0 fail, 1 fail, 2 fail, 3 fail, 4 fail";
    const OPENED: &str = "closed, closed, closed, closed, open until 304";

    fn check_open(script: &str, expected: &str) {
        check(&format!("{OPENS}, {script}"), &format!("{OPENED}, {expected}"));
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_for_five_minutes() {
        check_open("4 ask, 5 fail, 303 ask, 304 ask", "kept until 304, kept until 304, kept until 304, free");
    }

    #[test]
    fn it_closes_at_a_first_word_and_opens_again_where_that_answer_breaks_off() {
        check_open(
            "304 go a, 305 a begins, 306 go b, 307 a fail, 308 b fail, 607 go c",
            "ahead, closed, goes, open until 607, open until 607, ahead",
        );
        check_open("304 go a, 305 a begins, 306 a well, 307 fail, 308 fail", "ahead, closed, closed, closed, closed");
        check_open("304 go a, 305 a begins, 306 well, 307 a fail, 308 go b", "ahead, closed, closed, closed, goes");
        check_open(
            "19 probe well, 19 go a, 20 a begins, 21 a fail, 36 probe well, 321 go b",
            "half-open, ahead, closed, open until 321, not asked, ahead",
        );
    }

    #[test]
    fn a_good_answer_between_failures_begins_the_count_anew() {
        check(
            "0 fail, 1 fail, 2 fail, 3 fail, 4 well, 5 fail, 6 fail, 7 fail, 8 gone, 9 fail, 10 fail",
            "closed, closed, closed, closed, closed, closed, closed, closed, closed, closed, open until 310",
        );
    }

    #[test]
    fn then_one_call_goes_ahead_and_closes_it_or_opens_it_for_as_long_again() {
        check_open(
            "400 go a, 401 ask, 402 a well, 403 fail, 404 fail, 405 fail, 406 fail, 407 fail",
            "ahead, kept, closed, closed, closed, closed, closed, open until 707",
        );
        check_open("400 go a, 430 a fail, 729 ask, 730 fail", "ahead, open until 730, kept until 730, open until 1030");
    }

    #[test]
    fn a_call_that_went_ahead_and_vanished_leaves_its_place_to_the_next() {
        check_open("304 go a, 305 a gone, 305 go b, 306 ask", "ahead, half-open, ahead, kept");
        check_open("304 go a, 305 a ends, 305 go b, 306 b well", "ahead, half-open, ahead, closed");
    }

    #[test]
    fn calls_from_before_neither_close_nor_reopen_it() {
        let goes = "0 go a, 0 go b, 0 go c, 0 go d";
        let fail = "1 fail, 1 fail, 1 fail, 1 fail, 1 fail";
        check(
            &format!("{goes}, {fail}, 2 a well, 3 b fail, 301 go e, 302 c well, 303 d fail, 304 ask"),
            "goes, goes, goes, goes, closed, closed, closed, closed, open until 301, \
             open until 301, open until 301, ahead, half-open, half-open, kept",
        );
        check(
            &format!("{goes}, {fail}, 301 well, 302 a fail, 302 b fail, 302 c fail, 302 d fail, 303 fail, 303 ask"),
            "goes, goes, goes, goes, closed, closed, closed, closed, open until 301, \
             closed, closed, closed, closed, closed, closed, free",
        );
    }

    #[test]
    fn a_place_that_was_given_up_is_not_given_up_twice() {
        check_open("304 go a, 305 go b", "ahead, kept");
        let mut breaker = Breaker::default();
        let rules = BreakerRules { failures: 1, ..BreakerRules::default() };
        breaker.fared(at(0), None, Fared::Badly, &rules, at(0));
        let first = breaker.passed().expect("it goes ahead");
        breaker.ended(first);
        let second = breaker.passed().expect("it goes ahead");
        breaker.ended(first);
        breaker.fared(at(0), Some(first), Fared::Well, &rules, at(301));
        assert_eq!(breaker.passage(at(301)), Passage::AfterProbe);
        breaker.ended(second);
        assert_eq!(breaker.passage(at(301)), Passage::Free);
    }

    #[test]
    fn free_probes_are_asked_every_fifteen_seconds_and_a_good_one_lets_a_call_go_ahead() {
        check_open(
            "18 probe fail, 19 probe fail, 33 probe fail, 34 probe well, 35 go a, 35 ask, 36 a well",
            "not asked, open until 304, not asked, half-open, ahead, kept, closed",
        );
    }

    #[test]
    fn a_good_free_probe_that_a_call_belies_is_the_last_until_it_closes() {
        check_open(
            "19 probe well, 20 fail, 35 probe well, 319 probe well, 320 fail, 335 probe well, 620 well, 620 probe well",
            "half-open, open until 320, not asked, not asked, open until 620, not asked, closed, not asked",
        );
        let again = "621 fail, 621 fail, 621 fail, 621 fail, 621 fail, 636 probe well";
        check_open(
            &format!("19 probe well, 20 fail, 320 well, {again}"),
            "half-open, open until 320, closed, closed, closed, closed, closed, open until 921, half-open",
        );
    }

    #[test]
    fn free_probes_go_on_after_a_call_that_failed_when_the_time_was_over() {
        check_open("304 fail, 319 probe well, 320 well", "open until 604, half-open, closed");
    }

    #[test]
    fn no_free_probe_is_asked_when_a_call_may_go() {
        let mut breaker = Breaker::default();
        let rules = BreakerRules { failures: 1, open: Duration::from_secs(40), ..BreakerRules::default() };
        let mut asked = vec![];
        breaker.fared(at(0), None, Fared::Badly, &rules, at(0));
        while let Some(due) = breaker.next_free_probe() {
            asked.push((due, breaker.asks_free_probe(due)));
        }
        assert_eq!(asked, [(at(15), true), (at(30), true)]);
        breaker.fared(at(0), None, Fared::Badly, &rules, at(0));
        breaker.open(Outage { since: at(0), free_probes_lie: false }, &rules, at(100));
        assert!(!breaker.asks_free_probe(at(200)), "it comes too late");
        assert_eq!(breaker.next_free_probe(), None, "and is not due for good");
    }

    #[test]
    fn a_late_word_of_a_free_probe_changes_nothing() {
        let mut breaker = Breaker::default();
        breaker.probed(true, at(0));
        assert!(breaker.is_closed());
        let rules = BreakerRules { failures: 1, ..BreakerRules::default() };
        breaker.fared(at(0), None, Fared::Badly, &rules, at(0));
        let probe = breaker.passed();
        breaker.probed(true, at(301));
        assert_eq!((breaker.passage(at(301)), probe.is_some()), (Passage::AfterProbe, true));
    }

    #[test]
    fn a_ratio_opens_at_half_of_the_last_twenty() {
        let half = BreakerRules { error_ratio_permille: 500, ..BreakerRules::default() };
        let nineteen = ["0 well, 0 fail"; 9].join(", ") + ", 0 well";
        let closed = ["closed"; 19].join(", ");
        check_by(half, &format!("{nineteen}, 1 fail"), &format!("{closed}, open until 301"));
        check(&format!("{nineteen}, 1 fail"), &format!("{closed}, closed"));
        // A tenth failure comes when the first call is no longer among the last twenty.
        let fewer = ["0 fail, 0 well", &["0 well, 0 fail"; 8].join(", "), "0 well, 0 well"].join(", ");
        check_by(half, &format!("{fewer}, 1 fail, 2 fail"), &format!("{closed}, closed, closed, open until 302"));
    }

    #[test]
    fn fewer_than_twenty_calls_are_no_ratio_and_a_good_answer_never_opens_it() {
        let half = BreakerRules { error_ratio_permille: 500, ..BreakerRules::default() };
        let ten_of_nineteen = ["0 fail, 0 well"; 9].join(", ") + ", 0 fail";
        let closed = ["closed"; 20].join(", ");
        check_by(half, &format!("{ten_of_nineteen}, 1 well, 2 fail"), &format!("{closed}, open until 302"));
    }

    #[test]
    fn after_it_closes_old_failures_are_forgotten() {
        let half = BreakerRules { error_ratio_permille: 500, ..BreakerRules::default() };
        let ten = ["0 well, 0 fail"; 10].join(", ");
        let told = [["closed"; 19].join(", "), "open until 300, closed, closed, closed".to_owned()].join(", ");
        check_by(half, &format!("{ten}, 300 well, 301 fail, 302 fail"), &told);
    }

    #[test]
    fn it_tells_since_when_however_many_probes_fail() {
        let mut breaker = Breaker::default();
        let rules = BreakerRules { failures: 2, ..BreakerRules::default() };
        let mut told = vec![breaker.told(at(0))];
        for seconds in [10, 20, 400, 800] {
            let probe = breaker.passed();
            breaker.fared(at(seconds), probe, Fared::Badly, &rules, at(seconds));
            told.push(breaker.told(at(seconds)));
        }
        told.push(breaker.told(at(1_100)));
        let open = |until| Some((BreakerState::Open, Some(at(until)), Some(at(20))));
        assert_eq!(
            told,
            [
                None,
                Some((BreakerState::Closed, None, None)),
                open(320),
                open(700),
                open(1_100),
                Some((BreakerState::HalfOpen, None, Some(at(20)))),
            ]
        );
    }
}
