//! What admission refuses, in sentences: the limit, its value, where that comes from and when it recovers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::admission::{
    AccountId, Binding, Kept, KeptBy, Left, LimitSource, Measure, NotReserved, QuotaKey, QuotaSpent, Refusal, TTL_MAX,
    Unit,
};
use domain::config::{Budget, Period, Rules, Scope};
use domain::money::Usd;
use domain::routing::BreakerRules;
use domain::time::{Calendar, Now, Timestamp};

use crate::Upstream;
use crate::error::{Error, whole_seconds};

/// How the settings name what a refusal speaks of.
pub(crate) struct Words {
    calendar: Calendar,
    /// Of a window, what background work leaves to people. In thousandths.
    left_to_people: u32,
    /// In a row, until calls of a group are held back.
    breaker: BreakerRules,
    /// By account: its upstream's name and the windows that the settings give it.
    upstreams: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Those of the settings: others are a client's own.
    budgets: RwLock<Vec<Budget>>,
}

/// When a running call ends nobody knows; by then it is worth asking again.
const ONE_ENDS: Duration = Duration::from_secs(5);
/// Where nobody knows how long a full queue takes.
const QUEUE_MOVES: Duration = Duration::from_secs(10);

impl Words {
    pub(crate) fn of(rules: &Rules, upstreams: &[Upstream]) -> Words {
        let windows = |upstream: &Upstream| upstream.pacing.windows.iter().map(|window| window.name.clone()).collect();
        Words {
            calendar: rules.calendar,
            left_to_people: rules.background.map_or(0, |guard| guard.share_permille),
            breaker: rules.breaker,
            upstreams: upstreams.iter().map(|upstream| (upstream.name.as_str().into(), windows(upstream))).collect(),
            budgets: RwLock::default(),
        }
    }

    pub(crate) fn set_budgets(&self, budgets: Vec<Budget>) {
        *self.budgets.write().unwrap_or_else(PoisonError::into_inner) = budgets;
    }

    pub(crate) fn budgets(&self) -> Vec<Budget> {
        self.budgets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `eta`: how long a call of this kind would wait that came now, where anybody knows.
    pub(crate) fn refused(&self, refusal: &Refusal, model: &str, eta: Option<Duration>, now: Now) -> Error {
        match refusal {
            Refusal::QueueFull { waiting } => Error::Paced {
                code: "tidegate_queue_full",
                sentence: format!(
                    "the queue is full: {waiting} calls wait; send the call again later or raise queue_max"
                ),
                wait: Some(eta.unwrap_or(QUEUE_MOVES)),
            },
            Refusal::Deadline { binding, not_before } => {
                let wait = not_before.map(|end| end.since(now.instant));
                Error::Paced {
                    code: "tidegate_deadline",
                    sentence: deadline(binding.as_ref(), model, wait),
                    wait: wait.or(Some(ONE_ENDS)),
                }
            }
            Refusal::Paused { class } => Error::Paced {
                code: "tidegate_held",
                sentence: format!("{class} calls are paused; resume them with `tidegate resume {class}`"),
                wait: None,
            },
            Refusal::ScopePaused { scope } => Error::ScopePaused { scope: scope.clone() },
            Refusal::Emergency { class, since } => Error::Emergency {
                sentence: format!(
                    "there is an emergency since {}: {class} calls wait until it is over; it ends when its cause has \
                     gone, or with `tidegate emergency off`",
                    self.moment(*since)
                ),
            },
            Refusal::Quota(spent) => self.spent(spent, now),
            Refusal::Held { window, opens } => Error::Paced {
                code: "tidegate_held",
                sentence: format!(
                    "background calls leave {} of the {window} to business hours ([background] in your settings): \
                     they go on from {}",
                    percent(i64::from(self.left_to_people) * 10),
                    self.moment(*opens)
                ),
                wait: Some(opens.since(now.timestamp)),
            },
            Refusal::BreakerOpen { account, group, until } => {
                let wait = until.since(now.instant);
                let sentence = self.broken(*account, group, wait);
                Error::BreakerOpen { upstream: self.upstream_name(*account).into(), sentence, wait }
            }
            Refusal::Dropped => Error::Dropped,
        }
    }

    /// Why a call had to wait.
    pub(crate) fn kept(&self, Kept { by, ahead }: &Kept) -> String {
        let why = match by {
            KeptBy::Limit(binding) => format!("{} was used up", limit(binding)),
            KeptBy::Quota(key, left) => {
                let name = self.quota_name(key);
                match left {
                    Left::Held => format!("running calls held what was left of {name}"),
                    Left::Nothing => format!("{name} was spent"),
                    Left::ForCritical => format!("what was left of {name} was kept for critical calls"),
                    Left::ForBusinessHours => format!("what was left of {name} was kept for business hours"),
                }
            }
            KeptBy::Pause => "somebody had paused it".to_owned(),
            KeptBy::Emergency => "there was an emergency".to_owned(),
            KeptBy::Upstream => "the upstream had failed, or had said when to come again".to_owned(),
        };
        match ahead {
            0 => why,
            1 => format!("{why}; 1 call was before it"),
            calls => format!("{why}; {calls} calls were before it"),
        }
    }

    /// A window or a budget that is spent, or that running calls hold the rest of.
    pub(crate) fn spent(&self, spent: &QuotaSpent, now: Now) -> Error {
        let QuotaSpent { unit, limit, used, critical_only, resets_at, .. } = spent;
        // The upstream's own percent is never held by our calls.
        let held = *unit != Unit::Percent && used < limit && !critical_only;
        let (state, wait) = match (held, critical_only) {
            (true, _) => ("can't pay for more calls before some of those that run have ended", ONE_ENDS),
            (false, true) => {
                ("leaves what is left to critical calls ([emergency] enter_week)", resets_at.since(now.timestamp))
            }
            (false, false) => ("is spent", resets_at.since(now.timestamp)),
        };
        self.quota(spent, state, wait)
    }

    fn quota(&self, spent: &QuotaSpent, state: &str, wait: Duration) -> Error {
        let QuotaSpent { key, unit, limit, used, resets_at, .. } = spent;
        let amounts = format!("{} of {} used", amount(*unit, *used, false), amount(*unit, *limit, true));
        let (what, source) = (self.quota_name(key), self.quota_source(key, *unit, *limit));
        let sentence = format!("{what} {state}: {amounts} ({source}); it starts anew at {}", self.moment(*resets_at));
        match key {
            QuotaKey::Window { .. } => Error::Paced { code: "tidegate_window_exhausted", sentence, wait: Some(wait) },
            QuotaKey::Budget { .. } => Error::Budget { sentence, wait: Some(wait) },
        }
    }

    /// Why nothing was set aside.
    pub(crate) fn not_reserved(&self, why: &NotReserved, now: Now) -> Error {
        match why {
            NotReserved::NoCalls => Error::BadRequest { what: "calls must be a whole number of at least 1" },
            NotReserved::Ttl => Error::BadRequest { what: "ttl must be between 1 s and 24 h, such as \"10m\"" },
            NotReserved::TooFast { binding, shortest } => {
                let end = match shortest.map(whole_seconds) {
                    Some(seconds) => format!("over a ttl of {seconds} s it would fit"),
                    None => format!("not even over {} h would it fit; ask for less", TTL_MAX.as_secs() / 3_600),
                };
                let sentence = format!("the reservation asks for more than is free of {}: {end}", limit(binding));
                Error::TooMuchToReserve { sentence, shortest: *shortest }
            }
            NotReserved::Quota(spent) => {
                self.quota(spent, "can't pay for the reservation", spent.resets_at.since(now.timestamp))
            }
            NotReserved::TooMany => Error::Paced {
                code: "tidegate_reservations_full",
                sentence: "too many reservations are held; release one or wait until one ends".to_owned(),
                wait: Some(Duration::from_secs(60)),
            },
            NotReserved::Unknown => Error::NoReservation,
        }
    }

    fn broken(&self, account: AccountId, group: &str, wait: Duration) -> String {
        let (upstream, rule, seconds) = (self.upstream_name(account), self.breaker_rule(), whole_seconds(wait));
        format!("upstream \"{upstream}\" fails calls of {group} ({rule}): the next one may try in {seconds} s")
    }

    /// What opens a breaker, and who says so.
    fn breaker_rule(&self) -> String {
        let BreakerRules { failures, error_ratio_permille, .. } = self.breaker;
        let whose = if failures == BreakerRules::default().failures { "the default" } else { "in your settings" };
        match error_ratio_permille {
            0 => format!("[breaker] failures = {failures}, {whose}"),
            ratio => {
                let ratio = f64::from(ratio) / 1_000.0;
                format!("[breaker] failures = {failures}, {whose}, or error_ratio = {ratio} in your settings")
            }
        }
    }

    fn upstream_name(&self, account: AccountId) -> &str {
        self.upstreams.get(account.index()).map_or("?", |(upstream, _)| upstream)
    }

    fn quota_name(&self, key: &QuotaKey) -> String {
        match key {
            QuotaKey::Window { account, name } => {
                format!("the window \"{name}\" of upstream \"{}\"", self.upstream_name(*account))
            }
            QuotaKey::Budget { scope, period } => {
                let period = match period {
                    Period::Day => "daily",
                    Period::Week => "weekly",
                    Period::Month => "monthly",
                };
                format!("the {period} budget of {}", owner(scope))
            }
        }
    }

    fn quota_source(&self, key: &QuotaKey, unit: Unit, limit: i64) -> &'static str {
        match key {
            QuotaKey::Window { account, name } => {
                let written = self.upstreams.get(account.index()).is_some_and(|(_, windows)| windows.contains(name));
                match (written, unit) {
                    (true, Unit::Percent) => "limit from your settings, use from the upstream's headers",
                    (true, Unit::Usd | Unit::Tokens) => "limit from your settings",
                    (false, _) => "from the upstream's headers",
                }
            }
            QuotaKey::Budget { scope, period } => {
                let is_it = |budget: &Budget| {
                    (&budget.scope, &budget.period, budget.limit.as_nanos()) == (scope, period, limit)
                };
                let written = self.budgets.read().unwrap_or_else(PoisonError::into_inner).iter().any(is_it);
                if written { "limit from your settings" } else { "limit from the client's own budget" }
            }
        }
    }

    /// For a person, and for a program.
    fn moment(&self, at: Timestamp) -> String {
        format!("{} ({at})", self.calendar.words(at))
    }
}

fn owner(scope: &Scope) -> String {
    match scope {
        Scope::Machine => "this machine".to_owned(),
        Scope::Client(name) => format!("client \"{name}\""),
        Scope::Person(name) => format!("person \"{name}\""),
        Scope::Project(name) => format!("project \"{name}\""),
        Scope::Tenant(name) => format!("tenant \"{name}\""),
    }
}

/// `used` and `limit` of one sentence share the unit's word, which the last of them carries.
fn amount(unit: Unit, count: i64, with_unit: bool) -> String {
    match unit {
        Unit::Usd => format!("{}{}", dollars(Usd::from_nanos(count)), if with_unit { " dollars" } else { "" }),
        Unit::Tokens => format!("{count}{}", if with_unit { " tokens" } else { "" }),
        Unit::Percent => percent(count),
    }
}

/// With two to four decimals, rounded half up.
fn dollars(amount: Usd) -> String {
    let rounded = Usd::from_nanos(amount.as_nanos().saturating_add(50_000)).to_string();
    let four = &rounded[..rounded.len() - 5];
    four.strip_suffix("00").unwrap_or_else(|| four.strip_suffix('0').unwrap_or(four)).to_owned()
}

/// From hundredths of a percent.
fn percent(hundredths: i64) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn deadline(binding: Option<&Binding>, model: &str, wait: Option<Duration>) -> String {
    let end = match wait.map(whole_seconds) {
        Some(seconds) => format!("it could go in {seconds} s, which is longer than this call may wait"),
        None => "it could not go within the time this call may wait".to_owned(),
    };
    match (binding, wait) {
        (Some(binding), _) => format!("{} is used up: {end}", limit(binding)),
        (None, Some(_)) => {
            format!("the upstream refused calls of {model}'s limit and said when to come again: {end}")
        }
        (None, None) => format!("no room for {model} yet: {end}"),
    }
}

fn limit(Binding { group, measure, limit, source }: &Binding) -> String {
    let measure = match measure {
        Measure::Requests => "requests per minute",
        Measure::InputTokens => "input tokens per minute",
        Measure::OutputTokens => "output tokens per minute",
        Measure::Tokens => "tokens per minute",
        Measure::PriorityInputTokens => "priority input tokens per minute",
        Measure::PriorityOutputTokens => "priority output tokens per minute",
        Measure::Concurrency => "calls at once",
    };
    let source = match source {
        LimitSource::Settings => "from your settings",
        LimitSource::Tier => "presumed from the tier",
        LimitSource::Headers => "from the upstream's headers",
        LimitSource::Api => "from the Rate Limits API",
    };
    format!("the limit of {limit} {measure} for {group} ({source})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::admission::Admission;
    use domain::config::{Amount, Pacing, Span, Window};
    use domain::time::{Instant, Tz};

    /// Berlin, one upstream with a written window, one budget in the settings.
    fn words() -> (Words, QuotaKey, QuotaKey) {
        let rules = Rules { calendar: Calendar::in_zone(Tz::Europe__Berlin), ..Rules::default() };
        let span = Span::Rolling(Duration::from_secs(3_600));
        let window = Window { name: "week".into(), limit: Amount::Tokens(1), span };
        let pacing = Pacing {
            presumed: None,
            written: vec![],
            guard_requests_permille: 960,
            guard_tokens_permille: 930,
            retry_after_buffer: Duration::ZERO,
            windows: vec![window],
        };
        let account = Admission::new(&rules).add_account("first".into(), pacing.clone());
        let upstream = Upstream {
            name: "first".into(),
            base_url: String::new(),
            key: None,
            models: vec![],
            lacks: domain::routing::Capabilities::NONE,
            pacing,
        };
        let words = Words::of(&rules, &[upstream]);
        words.set_budgets(vec![Budget {
            scope: Scope::Client("ci".into()),
            period: Period::Day,
            limit: Usd::from_nanos(20_000_000_000),
            hard: false,
        }]);
        let named = |name: &str| QuotaKey::Window { account, name: name.into() };
        (words, named("week"), named("5h"))
    }

    fn spent(key: QuotaKey, unit: Unit, used: i64, limit: i64, critical_only: bool) -> Refusal {
        let resets_at = Timestamp::parse("2026-11-29T23:00:00Z").expect("a time");
        Refusal::Quota(QuotaSpent { key, unit, limit, used, critical_only, resets_at })
    }

    fn at(text: &str) -> Now {
        Now { instant: Instant::default(), timestamp: Timestamp::parse(text).expect("a time") }
    }

    #[test]
    fn what_kept_a_call_is_said_with_those_before_it() {
        let (words, week, _) = words();
        let binding = Binding {
            group: "sonnet-4".into(),
            measure: Measure::InputTokens,
            limit: 30_000,
            source: LimitSource::Headers,
        };
        let said = |by, ahead| words.kept(&Kept { by, ahead });
        assert_eq!(
            said(KeptBy::Limit(binding), 4),
            "the limit of 30000 input tokens per minute for sonnet-4 (from the upstream's headers) was used up; 4 calls were before it"
        );
        assert_eq!(said(KeptBy::Pause, 1), "somebody had paused it; 1 call was before it");
        let name = "the window \"week\" of upstream \"first\"";
        for (left, expected) in [
            (Left::Nothing, format!("{name} was spent")),
            (Left::ForCritical, format!("what was left of {name} was kept for critical calls")),
            (Left::Held, format!("running calls held what was left of {name}")),
            (Left::ForBusinessHours, format!("what was left of {name} was kept for business hours")),
        ] {
            assert_eq!(said(KeptBy::Quota(week.clone(), left), 0), expected);
        }
    }

    #[test]
    fn what_is_spent_names_itself_its_value_its_source_and_its_end() {
        let (words, week, of_5h) = words();
        let budget = |scope| QuotaKey::Budget { scope, period: Period::Day };
        let ci = || budget(Scope::Client("ci".into()));
        let now = at("2026-11-29T22:59:00Z");
        let end = "; it starts anew at Mon 2026-11-30 00:00 Europe/Berlin (2026-11-29T23:00:00.000Z)";
        for (refusal, expected) in [
            (
                spent(week.clone(), Unit::Usd, 250_031_234_567, 250_000_000_000, false),
                "the window \"week\" of upstream \"first\" is spent: 250.0312 of 250.00 dollars used (limit from your settings)",
            ),
            (
                spent(week.clone(), Unit::Tokens, 960, 1_000, true),
                "the window \"week\" of upstream \"first\" leaves what is left to critical calls ([emergency] enter_week): 960 of 1000 tokens used (limit from your settings)",
            ),
            (
                spent(of_5h, Unit::Percent, 9_720, 10_000, false),
                "the window \"5h\" of upstream \"first\" is spent: 97.2 % of 100 % used (from the upstream's headers)",
            ),
            (
                spent(week, Unit::Percent, 9_000, 9_000, false),
                "the window \"week\" of upstream \"first\" is spent: 90 % of 90 % used (limit from your settings, use from the upstream's headers)",
            ),
            (
                spent(ci(), Unit::Usd, 20_000_000_000, 20_000_000_000, false),
                "the daily budget of client \"ci\" is spent: 20.00 of 20.00 dollars used (limit from your settings)",
            ),
            (
                spent(ci(), Unit::Usd, 5_000_000_000, 5_000_000_000, false),
                "the daily budget of client \"ci\" is spent: 5.00 of 5.00 dollars used (limit from the client's own budget)",
            ),
        ] {
            let error = words.refused(&refusal, "m", None, now);
            assert_eq!(error.to_string(), format!("{expected}{end}"));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
        }
    }

    #[test]
    fn what_running_calls_hold_is_worth_asking_for_soon() {
        let (words, week, _) = words();
        let refusal = spent(week, Unit::Usd, 1, 2_000_000_000, false);
        let error = words.refused(&refusal, "m", None, at("2026-11-27T00:00:00Z"));
        assert!(
            error.to_string().contains("before some of those that run have ended: 0.00 of 2.00 dollars"),
            "{error}"
        );
        assert_eq!(error.retry_after(), Some(ONE_ENDS));
    }

    #[test]
    fn what_cannot_pay_for_a_reservation_says_so() {
        let (words, week, _) = words();
        let Refusal::Quota(spent) = spent(week, Unit::Usd, 1_000_000_000, 2_000_000_000, false) else { return };
        let error = words.not_reserved(&NotReserved::Quota(spent), at("2026-11-29T22:59:00Z"));
        let expected =
            "the window \"week\" of upstream \"first\" can't pay for the reservation: 1.00 of 2.00 dollars used";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn amounts_have_two_to_four_decimals() {
        for (nanos, expected) in [
            (0, "0.00"),
            (12_500_000_000, "12.50"),
            (12_345_000_000, "12.345"),
            (12_300, "0.00"),
            (50_000, "0.0001"),
            (999_999_999, "1.00"),
            (i64::MAX, "9223372036.8547"),
        ] {
            assert_eq!(dollars(Usd::from_nanos(nanos)), expected, "{nanos}");
        }
    }

    #[test]
    fn a_call_behind_an_open_breaker_learns_whose_it_is_and_when_the_next_may_try() {
        let (mut words, ..) = words();
        let until = Instant::from_nanos(41_500_000_000);
        let refusal = Refusal::BreakerOpen { account: AccountId::default(), group: "sonnet-4".into(), until };
        let error = words.refused(&refusal, "m", None, Now::default());
        assert_eq!(
            error.to_string(),
            "upstream \"first\" fails calls of sonnet-4 ([breaker] failures = 5, the default): the next one may try in 42 s"
        );
        for (failures, error_ratio_permille, rule) in [
            (3, 0, "([breaker] failures = 3, in your settings)"),
            (5, 500, "([breaker] failures = 5, the default, or error_ratio = 0.5 in your settings)"),
        ] {
            words.breaker = BreakerRules { failures, error_ratio_permille, ..BreakerRules::default() };
            let error = words.refused(&refusal, "m", None, Now::default()).to_string();
            assert!(error.contains(rule), "{error}");
        }
        assert_eq!(error.retry_after(), Some(Duration::from_millis(41_500)));
    }

    #[test]
    fn a_held_call_learns_when_business_begins() {
        let (mut words, ..) = words();
        words.left_to_people = 300;
        let opens = Timestamp::parse("2026-11-30T07:00:00Z").expect("a time");
        let error =
            words.refused(&Refusal::Held { window: "day".into(), opens }, "m", None, at("2026-11-30T01:00:00Z"));
        assert_eq!(
            error.to_string(),
            "background calls leave 30 % of the day to business hours ([background] in your settings): \
             they go on from Mon 2026-11-30 08:00 Europe/Berlin (2026-11-30T07:00:00.000Z)"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(6 * 3_600)));
    }
}
