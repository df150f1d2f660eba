//! Rules and the state machine: one sentence each.

use super::*;
use crate::time::{Instant, Now, Tz};

const START: i64 = 1_790_000_000_000;

fn figure(text: &str) -> Figure {
    text.parse().expect("a figure")
}

fn at(seconds: i64) -> Now {
    let instant = u64::try_from(seconds + 1_000_000).expect("after the start") * 1_000_000_000;
    Now { instant: Instant::from_nanos(instant), timestamp: stamp(seconds) }
}

fn stamp(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

fn rule(metric: &str, thresholds: &[&str], cooldown: Cooldown) -> Rule {
    let severities = [Severity::Warning, Severity::Critical, Severity::Emergency];
    let threshold = |(at, severity): (&&str, Severity)| Threshold { at: figure(at), severity };
    let thresholds = thresholds.iter().zip(severities).map(threshold).collect();
    Rule { cooldown, ..Rule::new("r", metric.parse().expect("a metric"), thresholds) }
}

struct Lab {
    rule: Rule,
    alerts: Alerts,
}

/// A window of a thousand seconds, by its number.
fn turn(number: i64) -> Option<Turn> {
    Some(Turn { since: stamp(number * 1_000), resets_at: stamp((number + 1) * 1_000) })
}

impl Lab {
    fn new(rule: Rule) -> Lab {
        Lab { alerts: Alerts::recall(vec![rule.clone()], &Memory::default(), at(0)), rule }
    }

    /// With a reading of nothing before, so that what follows is no first sight.
    fn known(rule: Rule) -> Lab {
        let mut lab = Lab::new(rule);
        lab.judge("0", turn(0), at(0));
        lab
    }

    fn restart(&mut self, now: Now) {
        let memory = self.alerts.remember();
        self.alerts = Alerts::recall(vec![self.rule.clone()], &memory, now);
        assert_eq!(self.alerts.remember(), memory);
    }

    fn judge(&mut self, value: &str, turn: Option<Turn>, now: Now) -> String {
        let reading = Reading { turn, ..Reading::of("upstream:a", "week", figure(value)) };
        self.read(&[reading], now)
    }

    fn read(&mut self, readings: &[Reading], now: Now) -> String {
        shown(&self.alerts.judge(self.rule.metric.sign, readings, now))
    }
}

fn shown(events: &[Event]) -> String {
    let word = |event: &Event| match event {
        Event::Crossed(crossed) => {
            let quiet = if crossed.quiet { " quietly" } else { "" };
            format!("{} {}{quiet}", crossed.threshold.severity.name(), crossed.threshold.at)
        }
        Event::Resolved { at, .. } => format!("over {at}"),
    };
    events.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// `SECONDS VALUE EVENTS` for each line, in a window of a thousand seconds.
fn check(lab: &mut Lab, lines: &[(i64, &str, &str)]) {
    for (seconds, value, expected) in lines {
        let found = lab.judge(value, turn(seconds.div_euclid(1_000)), at(*seconds));
        assert_eq!(found, *expected, "{value} at {seconds} s");
    }
}

#[test]
fn a_threshold_fires_once_in_a_window_and_again_in_the_next() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8", "0.9"], Cooldown::Window));
    check(
        &mut lab,
        &[
            (10, "0.799999", ""),
            (20, "0.8", "warning 0.8"),
            (30, "0.85", ""),
            (40, "0.77", ""),
            (50, "0.81", ""),
            (60, "0.5", "over 0.8"),
            (70, "0.85", ""),
            (80, "0.95", "critical 0.9"),
            (1_000, "0.1", "over 0.9"),
            (1_010, "0.85", "warning 0.8"),
            (2_000, "0.95", "over 0.8, critical 0.9"),
        ],
    );
}

#[test]
fn what_passes_several_thresholds_at_once_is_told_once() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8", "0.9"], Cooldown::Window));
    check(&mut lab, &[(10, "1.2", "critical 0.9"), (20, "0.86", ""), (30, "0.84", "over 0.9"), (40, "0.82", "")]);
}

#[test]
fn what_is_past_at_first_sight_is_noted_and_not_told() {
    let mut lab = Lab::new(rule("window.week.used", &["0.8", "0.9"], Cooldown::Window));
    check(
        &mut lab,
        &[(0, "0.85", ""), (10, "0.86", ""), (20, "0.91", "critical 0.9"), (1_000, "0.85", "over 0.9, warning 0.8")],
    );
}

#[test]
fn what_was_passed_while_nobody_looked_is_told_at_the_next_look() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8", "0.9"], Cooldown::Window));
    check(&mut lab, &[(10, "0.5", "")]);
    lab.restart(at(500));
    check(&mut lab, &[(500, "0.85", "warning 0.8")]);
    lab.restart(at(600));
    check(&mut lab, &[(600, "0.85", "")]);
    lab.restart(at(2_600));
    check(&mut lab, &[(2_600, "0.85", "over 0.8, warning 0.8")]);
}

#[test]
fn a_wall_clock_that_jumps_and_comes_back_neither_fires_again_nor_hides_what_comes() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8", "0.9"], Cooldown::Window));
    check(
        &mut lab,
        &[(10, "0.85", "warning 0.8"), (365_000, "0", "over 0.8"), (20, "0.85", ""), (30, "0.9", "critical 0.9")],
    );
    check(&mut lab, &[(365_000, "0.95", "over 0.9, critical 0.9"), (40, "0.95", "over 0.9"), (50, "0.96", "")]);
}

#[test]
fn a_reset_that_moves_is_the_same_window_unless_less_is_used() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8"], Cooldown::Window));
    let moved = |by: i64| Some(Turn { since: stamp(by), resets_at: stamp(1_000 + by) });
    assert_eq!(lab.judge("0.85", turn(0), at(710)), "warning 0.8");
    assert_eq!(lab.judge("0.85", moved(59), at(720)), "", "jitter");
    assert_eq!(lab.judge("0.86", moved(500), at(730)), "", "it comes later");
    assert_eq!(lab.judge("0.1", moved(700), at(740)), "over 0.8", "it came early");
    assert_eq!(lab.judge("0.85", moved(700), at(750)), "warning 0.8");
}

#[test]
fn a_cooldown_lets_it_fire_again_in_the_same_window_and_a_crossing_within_it_is_told_late() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8"], Cooldown::For(Duration::from_secs(100))));
    let lines = [
        (10, "0.8", "warning 0.8"),
        (20, "0.1", "over 0.8"),
        (30, "0.9", ""),
        (109, "0.9", ""),
        (110, "0.9", "warning 0.8"),
    ];
    check(&mut lab, &lines);
    check(&mut lab, &[(120, "0.1", "over 0.8")]);
    lab.restart(at(130));
    check(&mut lab, &[(140, "0.9", ""), (209, "0.9", ""), (211, "0.9", "warning 0.8")]);
}

#[test]
fn a_cooldown_survives_a_wall_clock_that_goes_back_and_is_no_longer_for_it() {
    let mut lab = Lab::known(rule("breaker", &["1"], Cooldown::For(Duration::from_secs(100))));
    let see = |lab: &mut Lab, value: &str, now: Now| lab.read(&[Reading::of("upstream:a", "", figure(value))], now);
    assert_eq!(see(&mut lab, "1", at(1_000)), "warning 1");
    assert_eq!(lab.read(&[], at(1_001)), "over 1");
    lab.restart(at(0));
    assert_eq!(see(&mut lab, "1", at(99)), "");
    assert_eq!(see(&mut lab, "1", at(100)), "warning 1");
}

#[test]
fn a_bucket_fires_when_it_stays_full_while_calls_wait() {
    let mut lab = Lab::new(rule("tokens.input", &["0.8"], Cooldown::Window));
    let mut see = |value: &str, waits: u64, seconds: i64| {
        let reading = Reading::of("upstream:a", "input", figure(value));
        lab.read(&[Reading { delay: Duration::from_secs(waits), ..reading }], at(seconds))
    };
    assert_eq!(see("0.1", 0, 0), "");
    for seconds in (10..600).step_by(10) {
        assert_eq!(see("0.97", 3, seconds), "", "full, and nobody waits long");
    }
    assert_eq!(see("0.97", 60, 600), "warning 0.8");
    assert_eq!(see("0.5", 60, 610), "over 0.8");
    assert_eq!(see("0.97", 60, 620), "");
    assert_eq!(see("0.79", 60, 800), "", "it must stay");
    assert_eq!(see("0.97", 60, 810), "");
    assert_eq!(see("0.97", 60, 1_109), "");
    assert_eq!(see("0.97", 60, 1_110), "warning 0.8");
}

#[test]
fn what_happens_is_told_at_first_sight_and_over_when_it_is_gone() {
    let mut lab = Lab::new(rule("breaker", &["1"], Cooldown::Window));
    let open = [Reading::of("upstream:a", "", Figure::ONE)];
    assert_eq!(lab.read(&open, at(0)), "warning 1");
    assert_eq!(lab.read(&open, at(1)), "");
    assert_eq!(lab.read(&[], at(2)), "over 1");
    assert_eq!(lab.read(&[], at(3)), "");
    assert_eq!(lab.read(&open, at(4)), "warning 1");
}

#[test]
fn what_a_new_project_spends_is_told_once_somebody_has_looked() {
    let mut lab = Lab::new(rule("spend.day.project:shop", &["20"], Cooldown::Window));
    let spent = |scope: &str, value: &str| Reading { turn: turn(0), ..Reading::of(scope, "day", figure(value)) };
    assert_eq!(lab.read(&[spent("project:other", "30")], at(0)), "");
    assert_eq!(lab.read(&[spent("project:other", "30"), spent("project:shop", "25")], at(10)), "warning 20");
    let mut first = Lab::new(rule("spend.day.project:shop", &["20"], Cooldown::Window));
    assert_eq!(first.read(&[spent("project:shop", "25")], at(0)), "", "it was so before anybody looked");
}

#[test]
fn a_limit_that_changes_begins_the_crossing_anew() {
    let mut lab = Lab::known(rule("budget.day.client:ci", &["0.8", "0.9"], Cooldown::Window));
    let see = |lab: &mut Lab, used: i64, limit: i64, seconds| {
        let reading = Reading { turn: turn(0), ..Reading::of("client:ci", "day", Figure::ratio(used, limit)) };
        lab.read(&[Reading { limit: Some(limit), ..reading }], at(seconds))
    };
    assert_eq!(see(&mut lab, 0, 1_000, 1), "");
    assert_eq!(see(&mut lab, 825, 1_000, 2), "warning 0.8");
    assert_eq!(see(&mut lab, 825, 1_020, 3), "", "it is still past");
    assert_eq!(see(&mut lab, 825, 3_000, 4), "over 0.8");
    lab.restart(at(5));
    assert_eq!(see(&mut lab, 2_550, 3_000, 6), "warning 0.8");
    assert_eq!(see(&mut lab, 2_560, 3_000, 7), "");
    lab.restart(at(8));
    assert_eq!(see(&mut lab, 2_560, 9_000, 9), "over 0.8", "it was raised while nobody looked");
    assert_eq!(see(&mut lab, 2_560, 3_000, 10), "warning 0.8", "and lowered again");
}

#[test]
fn a_probability_that_becomes_a_near_certainty_is_told_again_in_the_same_window() {
    let rules = shipped(&marks());
    let forecast = rules.into_iter().find(|rule| rule.metric.sign == Sign::Forecast).expect("it is shipped");
    let mut lab = Lab::new(forecast);
    let mut see = |value: &str, seconds: i64| {
        let delay = Duration::from_secs(3 * 3_600);
        lab.read(&[Reading { turn: turn(0), delay, ..Reading::of("upstream:a", "week", figure(value)) }], at(seconds))
    };
    assert_eq!(see("0.1", 0), "");
    assert_eq!(see("0.51", 100), "warning 0.5");
    assert_eq!(see("0.4", 200), "over 0.5");
    assert_eq!(see("0.52", 300), "", "it only comes and goes");
    assert_eq!(see("0.93", 400), "warning 0.9");
}

#[test]
fn a_budget_that_is_new_is_told_of_unless_all_are() {
    let budget = |scope: &str, value: &str| Reading { turn: turn(0), ..Reading::of(scope, "day", figure(value)) };
    let mut lab = Lab::new(rule("budget.*", &["0.8", "0.9"], Cooldown::Window));
    assert_eq!(lab.read(&[budget("client:old", "0.95")], at(0)), "", "it was so before anybody looked");
    let both = [budget("client:old", "0.95"), budget("client:new", "0.94")];
    assert_eq!(lab.read(&both, at(1)), "critical 0.9");
    lab.restart(at(2));
    assert_eq!(lab.read(&both, at(2)), "");
    let many: Vec<Reading> = (0..2_100).map(|number| budget(&format!("client:{number}"), "0.1")).collect();
    lab.read(&many, at(3));
    assert_eq!(lab.read(&[budget("client:another", "0.95")], at(4)), "", "nobody knows whether it is new");
}

#[test]
fn efficiency_fires_where_it_is_low() {
    let mut lab = Lab::new(rule("efficiency", &["0.3"], Cooldown::Window));
    let mut see = |value: &str, seconds| lab.read(&[Reading::of("client:a", "", figure(value))], at(seconds));
    assert_eq!(see("0.5", 0), "");
    assert_eq!(see("0.3", 1), "");
    assert_eq!(see("0.299999", 2), "warning 0.3");
    assert_eq!(see("0.31", 3), "");
    assert_eq!(see("0.315", 4), "over 0.3");
}

#[test]
fn quiet_hours_keep_all_but_what_is_critical_from_the_channels() {
    // It begins at 14:13:20.
    let quiet = QuietHours { from: 14 * 60, to: 14 * 60 + 30, zone: Tz::UTC };
    let mut lab =
        Lab::known(Rule { quiet: Some(quiet), ..rule("window.week.used", &["0.8", "0.9"], Cooldown::Window) });
    check(
        &mut lab,
        &[
            (10, "0.8", "warning 0.8 quietly"),
            (20, "0.9", "critical 0.9"),
            (2_000, "0.8", "over 0.8, over 0.9, warning 0.8"),
        ],
    );
}

#[test]
fn thresholds_that_are_new_are_seen_for_the_first_time() {
    let mut lab = Lab::known(rule("window.week.used", &["0.8"], Cooldown::Window));
    check(&mut lab, &[(10, "0.75", "")]);
    lab.rule = rule("window.week.used", &["0.5", "0.8"], Cooldown::Window);
    let memory = lab.alerts.remember();
    lab.alerts = Alerts::recall(vec![lab.rule.clone()], &memory, at(20));
    check(&mut lab, &[(20, "0.75", ""), (30, "0.8", "critical 0.8"), (1_000, "0.5", "over 0.8, warning 0.5")]);
}

#[test]
fn things_do_not_grow_without_bound_and_those_that_tell_stay_longest() {
    let mut lab = Lab::new(rule("window.*.used", &["0.8"], Cooldown::Window));
    let window = |name: &str, value: &str| Reading { turn: turn(0), ..Reading::of(name, "", figure(value)) };
    lab.read(&[window("first", "0")], at(0));
    lab.read(&[window("first", "0.9")], at(1));
    for number in 0..2_100 {
        lab.read(&[window(&number.to_string(), "0.5")], at(86_400 * 2));
    }
    assert_eq!(lab.alerts.remember().tracks.len(), 2_000);
    assert!(lab.alerts.is_told("r", "first", figure("0.8")));
    let mut breaker = Lab::new(rule("breaker", &["1"], Cooldown::Window));
    let open = |number: i32| [Reading::of(number.to_string(), "", Figure::ONE)];
    for number in 0..10 {
        breaker.read(&open(number), at(number.into()));
    }
    breaker.read(&[], at(11));
    assert!(breaker.alerts.remember().tracks.is_empty(), "what is gone and told of says nothing");
}

#[test]
fn a_metric_reads_back_what_it_prints() {
    for text in [
        "spend.day",
        "spend.week.project:shop",
        "spend.month.client:a.b",
        "window.week.used",
        "window.*.used",
        "window.five.hours.used.upstream:anthropic",
        "budget.day.client:ci",
        "budget.*",
        "tokens.input",
        "tokens.input.sonnet-4.5",
        "tokens.requests",
        "tokens.*",
        "forecast.week.p_runs_out",
        "burn.week",
        "chronic_burn.*",
        "cost_per_call.client:ci",
        "efficiency",
        "breaker.upstream:anthropic",
        "tier_month",
        "quota_back",
    ] {
        let metric: Metric = text.parse().expect(text);
        assert_eq!(metric.to_string(), text);
    }
    for sign in Sign::ALL {
        let metric: Metric = sign.example().parse().expect("its own example");
        assert_eq!(metric.sign, sign);
    }
}

#[test]
fn what_is_no_metric_is_told_with_an_example() {
    for (text, expected) in [
        ("spent.day", "measures none of spend, window"),
        ("spend", "must say day, week or month (or *), for example spend.day.project:shop"),
        ("spend.year", "must say day, week or month"),
        ("spend.day.shop", "must end in a scope, client:, person:"),
        ("window.week", "must name a window (or *), for example window.week.used"),
        ("tokens.in", "must say input, output, all or requests"),
        ("breaker.anthropic", "must end in a scope"),
    ] {
        let error = text.parse::<Metric>().expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn figures_are_exact() {
    for (text, millionths) in [("0.8", 800_000), ("50", 50_000_000), ("0.000001", 1), ("14.4", 14_400_000)] {
        assert_eq!((figure(text).as_millionths(), figure(text).to_string().as_str()), (millionths, text));
    }
    assert_eq!("0.0000001".parse::<Figure>(), Err(NotAFigure));
    assert_eq!(Figure::usd("49.9999999".parse().expect("money")).to_string(), "49.999999");
    assert_eq!(Figure::from_millionths(i64::MAX).hundredths(105), Figure::from_millionths(i64::MAX));
}

#[test]
fn a_burst_is_told_from_a_steady_use_of_the_same_window() {
    let week = Turn { since: stamp(0), resets_at: stamp(7 * 86_400) };
    let mut burn = Burn::default();
    let mut used = 0;
    let mut rate = Figure::ZERO;
    for minute in 0..600 {
        used += 99;
        rate = burn.observe(Figure::from_millionths(used), week, stamp(minute * 60));
    }
    assert!((figure("0.99")..figure("1.01")).contains(&rate), "{rate}: as fast as the window lasts");
    for minute in 600..660 {
        used += 2_000;
        rate = burn.observe(Figure::from_millionths(used), week, stamp(minute * 60));
    }
    assert!((figure("19")..figure("21")).contains(&rate), "{rate}: twenty times as fast");
    for minute in 660..666 {
        rate = burn.observe(Figure::from_millionths(used), week, stamp(minute * 60));
    }
    assert_eq!(rate, Figure::ZERO, "five minutes of calm end it");
}

#[test]
fn costs_are_compared_with_the_client_s_own_and_one_dear_call_changes_nothing() {
    let mut habits = Habits::default();
    let made = |cost: &str| Made {
        client: "a".into(),
        cost: Some(cost.parse().expect("money")),
        tokens: Default::default(),
        by_agent: false,
    };
    let ratio = |habits: &Habits| habits.each().next().and_then(|(_, habit)| habit.times_dearer());
    (0..69).for_each(|_| habits.count(&made("0.01")));
    assert_eq!(ratio(&habits), None, "too few to be a habit");
    (0..31).for_each(|_| habits.count(&made("0.01")));
    habits.count(&made("5"));
    assert_eq!(ratio(&habits), Some(Figure::ONE));
    (0..19).for_each(|_| habits.count(&made("0.025")));
    assert_eq!(ratio(&habits), Some(figure("2.5")));
}

#[test]
fn efficiency_is_of_clients_without_caches_and_agents() {
    let made = |cache_read: u64, by_agent| {
        let tokens = crate::usage::Tokens { input: 1_000, output: 200, cache_read, ..Default::default() };
        Made { client: "a".into(), cost: None, tokens, by_agent }
    };
    let efficiency = |calls: &[Made]| {
        let mut habits = Habits::default();
        calls.iter().for_each(|call| habits.count(call));
        habits.each().next().and_then(|(_, habit)| habit.efficiency())
    };
    let plain = vec![made(0, false); 50];
    assert_eq!(efficiency(&plain), Some(figure("0.2")));
    assert_eq!(efficiency(&plain[..49]), None);
    assert_eq!(efficiency(&[plain.clone(), vec![made(9, false); 6]].concat()), None);
    assert_eq!(efficiency(&[plain, vec![made(0, true); 6]].concat()), None);
}

#[test]
fn a_session_that_goes_on_by_itself_is_counted_and_a_pause_ends_it() {
    let mut runs = Runaways::default();
    let turned = |turns: u64, seconds: i64| Turned {
        session: "s".into(),
        prefix: 7,
        turns,
        started_at: stamp(seconds),
        ended_at: stamp(seconds + 5),
    };
    let calls = |runs: &Runaways, seconds| runs.running(stamp(seconds)).map(|(_, calls)| calls).next();
    (0..120).for_each(|number: i64| runs.count(&turned(2 * number.unsigned_abs() + 1, number * 10)));
    assert_eq!(calls(&runs, 1_200), Some(Figure::count(120)));
    assert_eq!(calls(&runs, 1_300), None, "it stands still");
    runs.count(&turned(241, 1_300));
    assert_eq!(calls(&runs, 1_300), Some(Figure::ONE), "somebody was there");
    runs.count(&turned(241, 1_310));
    assert_eq!(calls(&runs, 1_310), Some(Figure::ONE), "the same again is no turn");
    runs.count(&Turned { prefix: 8, ..turned(243, 1_320) });
    assert_eq!(calls(&runs, 1_320), Some(Figure::ONE), "another conversation");
}

#[test]
fn windows_that_are_used_up_early_in_a_row_are_counted() {
    let mut streaks = Streaks::default();
    let mut see = |number: i64, used: &str, after: i64| {
        let turn = turn(number).expect("a window");
        streaks.observe(&"week".into(), figure(used), turn, stamp(number * 1_000 + after)).to_string()
    };
    assert_eq!(see(0, "1", 799), "1");
    assert_eq!(see(1, "0", 0), "1");
    assert_eq!(see(1, "1.01", 500), "2");
    assert_eq!(see(2, "1", 100), "3");
    assert_eq!(see(3, "0.99", 799), "3");
    assert_eq!(see(3, "1", 800), "3", "that is late enough");
    assert_eq!(see(4, "0", 0), "0");
    assert_eq!(see(5, "1", 10), "1");
    assert_eq!(see(9, "0", 0), "0", "windows lie between that nobody saw");
}

#[test]
fn failures_are_a_part_of_enough_attempts() {
    let mut errors = ErrorRatio::default();
    (0..39).for_each(|number| errors.count(stamp(number), number % 2 == 0));
    assert_eq!(errors.ratio(stamp(40)), None);
    errors.count(stamp(40), false);
    assert_eq!(errors.ratio(stamp(40)), Some(figure("0.5")));
    assert_eq!(errors.ratio(stamp(700)), None, "long ago");
}

fn marks() -> Marks {
    Marks {
        token_warning: figure("0.8"),
        token_critical: figure("0.9"),
        weekly_emergency: Some(figure("0.95")),
        daily_spend: Some(figure("50")),
        tier_warning: figure("0.8"),
        quiet: None,
        channels: vec!["desktop".into()],
    }
}

#[test]
fn every_shipped_rule_has_a_name_of_its_own() {
    let marks = marks();
    let rules = shipped(&marks);
    let mut names: Vec<_> = rules.iter().map(|rule| rule.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!((rules.len(), names.len()), (Sign::ALL.len(), Sign::ALL.len()));
    let off = shipped(&Marks { weekly_emergency: None, daily_spend: None, ..marks });
    assert_eq!(off.len(), rules.len() - 2);
}
