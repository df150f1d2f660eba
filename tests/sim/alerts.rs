//! Months by seed: each shipped rule fires exactly when a naive look over the whole month says, once; a healthy month is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::alert::{
    Alerts, Burn, Cooldown, ErrorRatio, Event, Figure, Habits, Made, Marks, Memory, Reading, Rule, Runaways, Severity,
    Sign, Streaks, Turn, Turned, shipped,
};
use domain::money::Usd;
use domain::time::{Calendar, Cycle, Every, Instant, Now, QuietHours, Timestamp, Tz, Weekday};
use domain::usage::Tokens;

/// Minutes of a month with the night in which Berlin's clocks go forward.
const MONTH: usize = 30 * 1_440;
/// Mon 2 Mar 2026, 00:00 UTC.
const START_MS: i64 = 1_772_409_600_000;
const YEAR: i64 = 365 * 86_400_000;
const MILLION: f64 = 1_000_000.0;

/// What is wrong in a month, beside the weather.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Healthy,
    Troubled,
}

struct Month {
    chance: fastrand::Rng,
    kind: Kind,
    /// From when to when each kind of trouble lasts.
    trouble: BTreeMap<&'static str, Vec<(usize, usize)>>,
    /// Minutes at which the wall clock jumps, and where it is then against the true time.
    jumps: Vec<(usize, i64)>,
    restarts: BTreeSet<usize>,
    /// Minutes in which nobody looks.
    down: Vec<(usize, usize)>,
    used: BTreeMap<(&'static str, Timestamp), f64>,
    burn: Burn,
    streaks: Streaks,
    habits: Habits,
    errors: ErrorRatio,
    runaways: Runaways,
    raw: Raw,
    session: u64,
}

/// Everything that was seen, for the naive look.
#[derive(Default)]
struct Raw {
    /// By sign and name.
    series: BTreeMap<(Sign, Arc<str>), Vec<Sample>>,
    /// By sign: the minutes in which somebody looked, and in which run of the program.
    looks: BTreeMap<Sign, Vec<(usize, usize)>>,
    week: Vec<(usize, Turn, Figure)>,
    five_hours: Vec<(usize, Turn, Figure)>,
    costs: Vec<Usd>,
    uses: Vec<(u64, u64)>,
    attempts: Vec<(usize, u64, u64)>,
    turns: Vec<(usize, u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    minute: usize,
    run: usize,
    value: Figure,
    delay: Duration,
    turn: Option<Turn>,
}

/// `minute rule scope threshold`
type Told = BTreeSet<(usize, String, String, Figure)>;

impl Month {
    fn new(seed: u64, kind: Kind) -> Month {
        let mut chance = fastrand::Rng::with_seed(seed);
        let names = [
            "week",
            "five",
            "spend",
            "budget",
            "tier",
            "bucket",
            "forecast",
            "dear",
            "waste",
            "runaway",
            "breaker",
            "fallback",
            "errors",
            "unpriced",
            "increase",
            "ledger",
            "emergency",
            "burst",
            "key",
            "disk",
        ];
        let mut episodes = |name: &'static str| {
            let episode = |_| {
                let begins = chance.usize(0..MONTH);
                (begins, begins + chance.usize(3..4_000))
            };
            (name, (0..6).map(episode).collect())
        };
        let trouble = match kind {
            Kind::Healthy => BTreeMap::new(),
            Kind::Troubled => names.map(&mut episodes).into(),
        };
        Month {
            restarts: (0..20).map(|_| chance.usize(1..MONTH)).collect(),
            down: (0..6).map(|_| chance.usize(1..MONTH)).map(|from| (from, from + 200)).collect(),
            chance,
            kind,
            trouble,
            jumps: vec![],
            used: BTreeMap::new(),
            burn: Burn::default(),
            streaks: Streaks::default(),
            habits: Habits::default(),
            errors: ErrorRatio::default(),
            runaways: Runaways::default(),
            raw: Raw::default(),
            session: 0,
        }
    }

    /// A year ahead and back, an hour back and forth.
    fn with_jumps(mut self) -> Month {
        for away in [YEAR, -3_600_000, 3_600_000, -90 * 86_400_000] {
            let minute = self.chance.usize(100..MONTH - 500);
            self.jumps.extend([(minute, away), (minute + self.chance.usize(1..300), 0)]);
        }
        self.jumps.sort_unstable();
        self
    }

    fn is(&self, name: &str, minute: usize) -> bool {
        self.trouble.get(name).is_some_and(|all| all.iter().any(|(from, to)| (*from..*to).contains(&minute)))
    }

    fn away(&self, minute: usize) -> i64 {
        self.jumps.iter().rev().find(|(at, _)| *at <= minute).map_or(0, |(_, away)| *away)
    }

    fn now(&self, minute: usize) -> Now {
        let seconds = minute as u64 * 60;
        let timestamp = Timestamp::from_millis(START_MS + minute as i64 * 60_000 + self.away(minute));
        Now { instant: Instant::from_nanos((seconds + 1) * 1_000_000_000), timestamp }
    }

    /// What was told, in a run of the program after the other.
    fn run(&mut self, rules: &[Rule]) -> Told {
        let mut alerts = Alerts::recall(rules.to_vec(), &Memory::default(), self.now(0));
        let (mut told, mut run) = (Told::new(), 0);
        for minute in 0..MONTH {
            let now = self.now(minute);
            let readings = self.see(minute, now);
            if self.down.iter().any(|(from, to)| (*from..*to).contains(&minute)) {
                continue;
            }
            if self.restarts.contains(&minute) {
                run += 1;
                alerts = Alerts::recall(rules.to_vec(), &alerts.remember(), now);
            }
            for (sign, readings) in readings {
                self.raw.note(sign, &readings, minute, run);
                for event in alerts.judge(sign, &readings, now) {
                    let Event::Crossed(crossed) = event else { continue };
                    let line = (minute, crossed.rule.name.to_string(), crossed.scope.to_string(), crossed.threshold.at);
                    assert!(told.insert(line), "{minute} {} is told twice", crossed.rule.name);
                }
            }
        }
        told
    }

    fn see(&mut self, minute: usize, now: Now) -> Vec<(Sign, Vec<Reading>)> {
        let berlin = Calendar::in_zone(Tz::Europe__Berlin);
        let week = turn(Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC), now);
        let day = turn(berlin.cycle(domain::config::Period::Day), now);
        let month = turn(berlin.cycle(domain::config::Period::Month), now);
        let five = five_hours(now);
        let bad = self.kind == Kind::Troubled;
        // People work by day; a week comes to about 0.7, and to more in trouble.
        let hour = minute / 60 % 24;
        let work = if (8..18).contains(&hour) { 1.8 } else { 0.43 };
        let burst = if self.is("burst", minute) && minute % 3_000 < 45 { 40.0 } else { 1.0 };
        let factor = if self.is("week", minute) { 2.2 } else { 1.0 };
        let of_week = 0.7 / 10_080.0 * work * factor * burst * self.chance.f64() * 2.0;
        let at_first = if bad { self.chance.f64() } else { 0.0 };
        let week_used = self.use_of("week", week, of_week, at_first * 0.95);
        let of_five = 0.45 / 300.0 * self.chance.f64() * 2.0 * if self.is("five", minute) { 3.2 } else { 1.0 };
        let five_used = self.use_of("five", five, of_five, 0.0);
        let of_day = 28.0 / 1_440.0 * work * self.chance.f64() * 2.0 * if self.is("spend", minute) { 2.5 } else { 1.0 };
        let spent = self.use_of("spend", day, of_day, at_first * 60.0);
        let of_budget = 0.5 / 1_440.0 * self.chance.f64() * 2.0 * if self.is("budget", minute) { 2.5 } else { 1.0 };
        let budget = self.use_of("budget", day, of_budget, 0.0);
        let of_tier = 0.6 / 43_200.0 * self.chance.f64() * 2.0 * if self.is("tier", minute) { 3.0 } else { 1.0 };
        let tier = self.use_of("tier", month, of_tier, 0.0);
        if self.away(minute) == 0 {
            self.raw.week.push((minute, week, week_used));
            self.raw.five_hours.push((minute, five, five_used));
        }
        let rate = self.burn.observe(week_used, week, now.timestamp);
        let in_a_row = self.streaks.observe(&"five".into(), five_used, five, now.timestamp);
        let windows = vec![
            Reading { turn: Some(week), ..Reading::of("upstream:a", "week", week_used) },
            Reading { turn: Some(five), ..Reading::of("upstream:a", "five", five_used) },
        ];
        let mut seen = vec![
            (Sign::Week, vec![windows[0].clone()]),
            (Sign::Burn, vec![Reading { value: rate, ..windows[0].clone() }]),
            (Sign::ChronicBurn, vec![Reading { value: in_a_row, ..windows[1].clone() }]),
            (Sign::Window, windows),
            (Sign::Spend, vec![Reading { turn: Some(day), ..Reading::of("machine", "day", spent) }]),
            (Sign::Budget, vec![Reading { turn: Some(day), ..Reading::of("client:ci", "day", budget) }]),
            (Sign::Tier, vec![Reading { turn: Some(month), ..Reading::of("upstream:a", "", tier) }]),
            (Sign::Minute, vec![self.bucket(minute)]),
            (Sign::Forecast, vec![self.forecast(minute, week)]),
        ];
        let on_off = [
            (Sign::Breaker, "breaker", "upstream:a"),
            (Sign::Fallback, "fallback", "upstream:a"),
            (Sign::KeyRefused, "key", "upstream:a"),
            (Sign::Ledger, "ledger", "ledger"),
            (Sign::Emergency, "emergency", "week"),
        ];
        for (sign, name, scope) in on_off {
            let on = self.is(name, minute).then(|| Reading::of(scope, "", Figure::ONE));
            seen.push((sign, on.into_iter().collect()));
        }
        // What fills and empties a disk takes hours.
        let lack = if self.is("disk", minute) { 0.5 + (minute / 1_000 % 7) as f64 } else { 0.01 };
        seen.push((Sign::Disk, vec![Reading::of("disk", "", Figure::from_millionths((lack * MILLION) as i64))]));
        let unpriced = self.is("unpriced", minute).then(|| Reading::of("model:new", "", Figure::count(3)));
        seen.push((Sign::Unpriced, unpriced.into_iter().collect()));
        let half = self.is("increase", minute).then(|| Reading::of("upstream:a", "requests sonnet-4", Figure::ONE));
        seen.push((Sign::Increase, half.into_iter().collect()));
        seen.append(&mut self.calls(minute, now));
        seen
    }

    /// Used so far of the window that the wall clock is in, as a ledger sums it up.
    fn use_of(&mut self, name: &'static str, turn: Turn, more: f64, at_first: f64) -> Figure {
        let is_first = !self.used.keys().any(|(known, _)| *known == name);
        let used = self.used.entry((name, turn.since)).or_insert(if is_first { at_first } else { 0.0 });
        *used += more;
        Figure::from_millionths((*used * MILLION) as i64)
    }

    /// A healthy queue keeps the bucket full, and its calls wait for seconds.
    fn bucket(&mut self, minute: usize) -> Reading {
        let full = if self.chance.u32(0..30) == 0 { 0.5 } else { 0.97 + 0.03 * self.chance.f64() };
        let waits = match self.is("bucket", minute) {
            true => self.chance.u64(20..200),
            false => self.chance.u64(0..40),
        };
        let reading = Reading::of("upstream:a", "input sonnet-4", Figure::from_millionths((full * MILLION) as i64));
        Reading { delay: Duration::from_secs(waits), ..reading }
    }

    fn forecast(&mut self, minute: usize, week: Turn) -> Reading {
        let p = if self.is("forecast", minute) { 0.3 + 0.6 * self.chance.f64() } else { 0.4 * self.chance.f64() };
        let lead = Duration::from_secs(self.chance.u64(0..40_000));
        let value = Figure::from_millionths((p * MILLION) as i64);
        Reading { delay: lead, turn: Some(week), ..Reading::of("upstream:a", "week", value) }
    }

    fn calls(&mut self, minute: usize, now: Now) -> Vec<(Sign, Vec<Reading>)> {
        if minute.is_multiple_of(5) {
            let times = if self.is("dear", minute) { 2.4 } else { 1.0 };
            let cost = 0.02 * times * (0.6 + 0.8 * self.chance.f64());
            let cost = Usd::from_nanos((cost * 1e9) as i64);
            let output = if self.is("waste", minute) { self.chance.u64(50..350) } else { self.chance.u64(400..1_200) };
            self.raw.costs.push(cost);
            self.raw.uses.push((1_000, output));
            let tokens = Tokens { input: 1_000, output, ..Tokens::default() };
            self.habits.count(&Made { client: "ci".into(), cost: Some(cost), tokens, by_agent: false });
        }
        let attempts = self.chance.u64(0..20);
        let rate = if self.is("errors", minute) { 0.45 } else { 0.02 };
        let failed = (0..attempts).filter(|_| self.chance.f64() < rate).count() as u64;
        (0..attempts).for_each(|number| self.errors.count(now.timestamp, number < failed));
        self.raw.attempts.push((minute, attempts, failed));
        if !self.is("runaway", minute) || minute % 500 > 130 {
            self.session = minute as u64;
        }
        let turns = minute as u64 - self.session + 1;
        self.raw.turns.push((minute, self.session, turns));
        self.runaways.count(&Turned {
            session: self.session.to_string().into(),
            prefix: 1,
            turns,
            started_at: now.timestamp,
            ended_at: now.timestamp,
        });
        let (mut dearer, mut efficient) = (vec![], vec![]);
        for (client, habit) in self.habits.each() {
            let reading = |value| Reading::of(format!("client:{client}"), "", value);
            dearer.extend(habit.times_dearer().map(reading));
            efficient.extend(habit.efficiency().map(reading));
        }
        let errors = self.errors.ratio(now.timestamp).map(|ratio| Reading::of("upstream:a", "", ratio));
        let running = self.runaways.running(now.timestamp);
        let running = running.map(|(session, calls)| Reading::of(format!("session:{session}"), "", calls));
        vec![
            (Sign::Runaway, running.collect()),
            (Sign::CostPerCall, dearer),
            (Sign::Efficiency, efficient),
            (Sign::UpstreamErrors, errors.into_iter().collect()),
        ]
    }
}

fn turn(cycle: Cycle, now: Now) -> Turn {
    Turn { since: cycle.start(now.timestamp), resets_at: cycle.end(now.timestamp) }
}

fn five_hours(now: Now) -> Turn {
    const LENGTH: i64 = 5 * 3_600_000;
    let since = now.timestamp.as_millis().div_euclid(LENGTH) * LENGTH;
    Turn { since: Timestamp::from_millis(since), resets_at: Timestamp::from_millis(since + LENGTH) }
}

impl Raw {
    fn note(&mut self, sign: Sign, readings: &[Reading], minute: usize, run: usize) {
        self.looks.entry(sign).or_default().push((minute, run));
        for reading in readings {
            let Reading { value, delay, turn, .. } = *reading;
            let series = self.series.entry((sign, reading.name())).or_default();
            series.push(Sample { minute, run, value, delay, turn });
        }
    }

    /// What the rules should have told, by looking at the whole month for each threshold anew.
    fn expected(&self, rules: &[Rule]) -> Told {
        let mut told = Told::new();
        for rule in rules {
            let sign = rule.metric.sign;
            for ((_, name), samples) in
                self.series.range((sign, Arc::from(""))..).take_while(|((of, _), _)| *of == sign)
            {
                let samples = self.filled(sign, samples);
                let by_threshold: Vec<Vec<usize>> =
                    rule.thresholds.iter().map(|threshold| self.fires(rule, threshold.at, &samples)).collect();
                for (place, fires) in by_threshold.iter().enumerate() {
                    let worse = |minute: &usize| by_threshold[place + 1..].iter().any(|fires| fires.contains(minute));
                    let line =
                        |minute: usize| (minute, rule.name.to_string(), name.to_string(), rule.thresholds[place].at);
                    told.extend(fires.iter().filter(|minute| !worse(minute)).map(|minute| line(*minute)));
                }
            }
        }
        told
    }

    /// With zeros where somebody looked and found nothing, if nothing is zero.
    fn filled(&self, sign: Sign, samples: &[Sample]) -> Vec<Sample> {
        if !sign.begins_at_zero() {
            return samples.to_vec();
        }
        let by_minute: BTreeMap<usize, Sample> = samples.iter().map(|sample| (sample.minute, *sample)).collect();
        let nothing = |minute, run| Sample { minute, run, value: Figure::ZERO, delay: Duration::ZERO, turn: None };
        let (Some(looks), Some(first), Some(last)) = (self.looks.get(&sign), samples.first(), samples.last()) else {
            return vec![];
        };
        let from = looks.partition_point(|(minute, _)| *minute < first.minute).saturating_sub(1);
        let around = looks[from..].iter().take_while(|(minute, _)| *minute <= last.minute);
        around.map(|(minute, run)| by_minute.get(minute).copied().unwrap_or_else(|| nothing(*minute, *run))).collect()
    }

    /// The minutes in which a threshold fires, whatever others do.
    fn fires(&self, rule: &Rule, at: Figure, samples: &[Sample]) -> Vec<usize> {
        let sign = rule.metric.sign;
        let millionths = at.as_millionths();
        let is_past = |sample: &Sample| if sign.is_low() { sample.value < at } else { sample.value >= at };
        let is_back = |sample: &Sample| {
            let value = sample.value.as_millionths();
            if sign.is_low() { value * 100 >= millionths * 105 } else { value * 100 < millionths * 95 }
        };
        let found_so = samples.first().is_some_and(|first| is_past(first) && !sign.happens());
        let armed_from = match found_so {
            true => samples.iter().position(|sample| is_back(sample) || sample.turn != samples[0].turn),
            false => Some(0),
        };
        let Some(armed_from) = armed_from else { return vec![] };
        if rule.cooldown == Cooldown::Window && samples.iter().any(|sample| sample.turn.is_some()) {
            let mut turns = BTreeSet::new();
            let first = |sample: &&Sample| {
                is_past(sample) && sample.delay >= rule.delay && turns.insert(sample.turn.map(|turn| turn.since))
            };
            return samples[armed_from..].iter().filter(first).map(|sample| sample.minute).collect();
        }
        let cooldown = match rule.cooldown {
            Cooldown::Window => 0,
            Cooldown::For(length) => length.as_secs() as usize / 60,
        };
        let mut fires: Vec<usize> = vec![];
        for (place, sample) in samples.iter().enumerate().skip(armed_from) {
            if !is_past(sample) || sample.delay < rule.delay {
                continue;
            }
            let last = fires.last().map(|place: &usize| samples[*place]);
            let may_fire = last.is_none_or(|last| {
                let has_been_back = samples[*fires.last().expect("one")..place]
                    .iter()
                    .chain([sample])
                    .any(|since| is_back(since) || (since.turn != last.turn && since.turn.is_some()));
                has_been_back && sample.minute - last.minute >= cooldown
            });
            // It has stayed past in this run of the program, since it was back or anybody looked.
            let held_from = sample.minute.saturating_sub(rule.hold.as_secs() as usize / 60);
            let begins =
                samples[..=place].iter().rposition(|before| before.minute <= held_from || before.run != sample.run);
            let held = begins.is_some_and(|begins| {
                samples[begins].run == sample.run && samples[begins.max(armed_from)..=place].iter().all(is_past)
            });
            if held && may_fire {
                fires.push(place);
            }
        }
        fires.into_iter().map(|place| samples[place].minute).collect()
    }

    /// The values of signs that are computed over time, each from all that happened before.
    fn check_values(&self) {
        let of = |sign: Sign| self.series.iter().filter(move |((of, _), _)| *of == sign);
        for (_, samples) in of(Sign::Burn) {
            samples.iter().for_each(|sample| assert_eq!(sample.value, self.naive_burn(sample.minute), "{sample:?}"));
        }
        // Each asks the whole month.
        for sample in of(Sign::ChronicBurn).flat_map(|(_, samples)| samples.iter().step_by(97)) {
            assert_eq!(sample.value, self.naive_streak(sample.minute), "{sample:?}");
        }
        for (_, samples) in of(Sign::UpstreamErrors) {
            let lately = |minute: usize| &self.attempts[(minute + 1).saturating_sub(10)..=minute];
            for sample in samples {
                let (all, bad) =
                    lately(sample.minute).iter().fold((0, 0), |(all, bad), line| (all + line.1, bad + line.2));
                assert!(all >= 40 && sample.value == Figure::ratio(bad as i64, all as i64), "{sample:?}");
            }
        }
        for (_, samples) in of(Sign::Runaway) {
            for sample in samples {
                let session = self.turns[sample.minute].1;
                let calls = self.turns[..=sample.minute].iter().rev().take_while(|line| line.1 == session).count();
                let is_this = sample.value == Figure::count(calls as u64);
                assert!(is_this || sample.value <= Figure::count(200), "{sample:?} {calls}");
            }
        }
        for (_, samples) in of(Sign::CostPerCall) {
            for sample in samples {
                let made = &self.costs[..=sample.minute / 5];
                let (before, now) = made.split_at(made.len() - 20);
                let usual = middle(&before[before.len().saturating_sub(200)..]);
                assert_eq!(sample.value, Figure::ratio(middle(now), usual), "{sample:?}");
            }
        }
        for (_, samples) in of(Sign::Efficiency) {
            for sample in samples {
                let made = &self.uses[..=sample.minute / 5];
                let lately = &made[made.len().saturating_sub(100)..];
                let sum = lately.iter().fold((0, 0), |(input, output), line| (input + line.0, output + line.1));
                assert_eq!(sample.value, Figure::ratio(sum.1 as i64, sum.0 as i64), "{sample:?}");
            }
        }
    }

    fn naive_burn(&self, minute: usize) -> Figure {
        let (_, turn, used) = self.week[minute];
        let rate = |look: usize| {
            let before = minute.checked_sub(look).map(|before| self.week[before]).filter(|before| before.1 == turn);
            before.map_or(0, |before| (used.as_millionths() - before.2.as_millionths()) * 10_080 / look as i64)
        };
        Figure::from_millionths(rate(60).min(rate(5)))
    }

    fn naive_streak(&self, minute: usize) -> Figure {
        let mut early: BTreeMap<Timestamp, bool> = BTreeMap::new();
        for (at, turn, used) in &self.five_hours[..=minute] {
            let passed = START_MS + *at as i64 * 60_000 - turn.since.as_millis();
            *early.entry(turn.since).or_default() |= *used >= Figure::ONE && passed < 4 * 3_600_000;
        }
        let (_, this) = early.pop_last().expect("a window");
        Figure::count(early.values().rev().take_while(|early| **early).count() as u64 + u64::from(this))
    }
}

/// Of an even number the lower of the two in the middle, in nano-dollars.
fn middle(costs: &[Usd]) -> i64 {
    let mut costs: Vec<i64> = costs.iter().map(|cost| cost.as_nanos()).collect();
    costs.sort_unstable();
    costs[(costs.len() - 1) / 2]
}

fn rules() -> Vec<Rule> {
    shipped(&Marks {
        token_warning: Figure::permille(800),
        token_critical: Figure::permille(900),
        weekly_emergency: Some(Figure::permille(950)),
        daily_spend: Some(Figure::count(50)),
        tier_warning: Figure::permille(800),
        quiet: None,
        channels: vec!["desktop".into()],
    })
}

fn by_rule(told: &Told) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    told.iter().for_each(|(_, rule, _, _)| *counts.entry(rule.clone()).or_default() += 1);
    counts
}

fn assert_same(told: &Told, expected: &Told, seed: u64) {
    let missed: Vec<_> = expected.difference(told).take(5).collect();
    let surplus: Vec<_> = told.difference(expected).take(5).collect();
    assert!(missed.is_empty() && surplus.is_empty(), "seed {seed}: missed {missed:?}, told without reason {surplus:?}");
}

#[test]
fn in_a_month_of_trouble_each_shipped_rule_fires_exactly_when_the_reference_says() {
    let rules = rules();
    let mut fired: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..3 {
        let mut month = Month::new(seed, Kind::Troubled);
        let told = month.run(&rules);
        month.raw.check_values();
        assert_same(&told, &month.raw.expected(&rules), seed);
        by_rule(&told).into_iter().for_each(|(rule, count)| *fired.entry(rule).or_default() += count);
    }
    let apart = [Sign::Capped, Sign::ClockJump, Sign::Failure, Sign::QuotaBack];
    for rule in rules.iter().filter(|rule| !apart.contains(&rule.metric.sign)) {
        assert!(fired.contains_key(&*rule.name), "{} never fired: {fired:?}", rule.name);
    }
    // With half of each month in trouble of every kind, and flapping.
    assert!(fired.values().sum::<usize>() < 3 * 250, "a storm: {fired:?}");
}

#[test]
fn a_healthy_month_tells_nothing_at_a_start_at_a_jump_of_the_clock_and_when_clocks_are_changed() {
    for seed in 0..4 {
        let month = Month::new(seed, Kind::Healthy);
        let mut month = if seed % 2 == 0 { month } else { month.with_jumps() };
        let told = month.run(&rules());
        assert!(told.is_empty(), "seed {seed}: {told:?}");
    }
}

#[test]
fn a_wall_clock_that_jumps_makes_no_window_fire_twice_and_none_in_vain() {
    let windowed = [Sign::Window, Sign::Week, Sign::Spend, Sign::Budget, Sign::Tier, Sign::Forecast];
    let rules: Vec<Rule> = rules().into_iter().filter(|rule| windowed.contains(&rule.metric.sign)).collect();
    for seed in 0..3 {
        let mut month = Month::new(seed, Kind::Troubled).with_jumps();
        let told = month.run(&rules);
        assert!(told.len() > 20, "seed {seed}: {told:?}");
        assert_same(&told, &month.raw.expected(&rules), seed);
    }
}

#[test]
fn quiet_hours_hold_back_what_can_wait_on_the_night_in_which_clocks_are_changed() {
    let quiet = QuietHours { from: 22 * 60, to: 7 * 60, zone: Tz::Europe__Berlin };
    let rules: Vec<Rule> = rules().into_iter().map(|rule| Rule { quiet: Some(quiet), ..rule }).collect();
    let (night, morning) = (27 * 1_440 - 180, 27 * 1_440 + 5 * 60);
    for minute in (night..=morning + 60).step_by(20) {
        let now = Month::new(0, Kind::Healthy).now(minute);
        let mut alerts = Alerts::recall(rules.clone(), &Memory::default(), now);
        let of = |used: u32| [Reading::of("upstream:a", "week", Figure::permille(used))];
        alerts.judge(Sign::Window, &of(100), now);
        let quiet = |events: Vec<Event>| {
            let crossed = events.into_iter().find_map(|event| match event {
                Event::Crossed(crossed) => Some((crossed.threshold.severity, crossed.quiet)),
                Event::Resolved { .. } => None,
            });
            crossed.expect("it fires")
        };
        // Summer time begins at 01:00 UTC: 07:00 is 05:00 UTC that morning.
        let is_night = minute >= 27 * 1_440 - 180 && minute < morning;
        assert_eq!(quiet(alerts.judge(Sign::Window, &of(850), now)), (Severity::Warning, is_night), "{minute}");
        assert_eq!(quiet(alerts.judge(Sign::Window, &of(950), now)), (Severity::Critical, false), "{minute}");
    }
}
