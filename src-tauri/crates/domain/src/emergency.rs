//! Emergency: a state with an entry, an exit and a cost, in which what is scarce goes to critical calls.
//!
//! A rule enters it when its sign passes a mark, and is done with it once the sign has stayed below a lower mark for a
//! minute: a sign that wavers about a mark changes nothing.

use std::time::Duration;

use crate::money::Usd;
use crate::time::{Instant, Now, Timestamp};

/// From where on there is an emergency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EmergencyRules {
    /// So much of the fullest week window is used. In thousandths.
    pub week_permille: u32,
    /// A breaker has been open for so long.
    pub breaker_open: Duration,
    /// So much was spent today; `None` is no rule.
    pub spend: Option<Usd>,
}

/// As the settings have it where they say nothing.
impl Default for EmergencyRules {
    fn default() -> EmergencyRules {
        EmergencyRules { week_permille: 950, breaker_open: Duration::from_secs(120), spend: None }
    }
}

/// What the rules go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signs {
    /// How much of the fullest week window is used. In thousandths.
    pub week_permille: u32,
    /// How long the breaker has been open that is so for the longest; `None` where none is. One that waits for a call to find
    /// out is not open.
    pub breaker_open: Option<Duration>,
    pub spent_today: Usd,
}

/// What a rule goes by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    Week,
    Breaker,
    Spend,
}

impl Cause {
    pub const ALL: [Cause; 3] = [Cause::Week, Cause::Breaker, Cause::Spend];

    pub const fn name(self) -> &'static str {
        match self {
            Cause::Week => "week",
            Cause::Breaker => "breaker",
            Cause::Spend => "spend",
        }
    }

    pub fn named(name: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// Whether there is an emergency, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emergency {
    rules: EmergencyRules,
    state: State,
    triggers: [Trigger; 3],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Calm,
    /// One entered by hand lasts until it is left by hand.
    Active {
        since: Timestamp,
        by_hand: bool,
    },
}

/// Where a rule stands. `dismissed`: the emergency was left by hand, and stays left until the cause has gone once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trigger {
    Quiet,
    Raised {
        dismissed: bool,
    },
    /// Below the lower mark, and not yet for long enough.
    Easing {
        dismissed: bool,
        until: Instant,
    },
}

/// Where a sign stands against a rule's two marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    Below,
    Between,
    Past,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Entered,
    Left { since: Timestamp },
}

/// What outlives a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EmergencyMemory {
    pub since: Option<Timestamp>,
    pub by_hand: bool,
    /// Causes that have not gone, and whether the emergency was left by hand nevertheless.
    pub causes: Vec<(Cause, bool)>,
}

/// For so long a cause must have gone.
const GONE_FOR: Duration = Duration::from_secs(60);
/// The lower mark of a week is so much below the upper. In thousandths of the window.
const WEEK_BAND: u32 = 20;
/// The lower mark of what is spent, in hundredths of the upper.
const SPEND_BAND: i64 = 95;

impl Emergency {
    pub fn new(rules: EmergencyRules) -> Emergency {
        Emergency { rules, state: State::Calm, triggers: [Trigger::Quiet; 3] }
    }

    /// From now on; what goes on stays until these let it go.
    pub fn set_rules(&mut self, rules: EmergencyRules) {
        self.rules = rules;
    }

    pub fn recall(rules: EmergencyRules, memory: &EmergencyMemory) -> Emergency {
        let mut emergency = Emergency::new(rules);
        for (cause, dismissed) in &memory.causes {
            emergency.triggers[*cause as usize] = Trigger::Raised { dismissed: *dismissed };
        }
        if let Some(since) = memory.since {
            emergency.state = State::Active { since, by_hand: memory.by_hand };
        }
        emergency
    }

    pub fn remember(&self) -> EmergencyMemory {
        let known = |cause: Cause| Some((cause, self.triggers[cause as usize].dismissed()?));
        let causes = Cause::ALL.into_iter().filter_map(known).collect();
        EmergencyMemory { since: self.since(), by_hand: self.is_by_hand(), causes }
    }

    /// Since when there is one.
    pub const fn since(&self) -> Option<Timestamp> {
        match self.state {
            State::Calm => None,
            State::Active { since, .. } => Some(since),
        }
    }

    pub const fn is_by_hand(&self) -> bool {
        matches!(self.state, State::Active { by_hand: true, .. })
    }

    /// What keeps it up beside a hand.
    pub fn causes(&self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(|cause| self.triggers[*cause as usize].dismissed() == Some(false))
    }

    /// Looks at the signs: often enough is each second, and whenever one may have passed its mark.
    pub fn judge(&mut self, signs: &Signs, now: Now) -> Option<Change> {
        for cause in Cause::ALL {
            let sign = self.rules.sign(cause, signs);
            let trigger = &mut self.triggers[cause as usize];
            *trigger = trigger.seen(sign, now.instant);
        }
        let is_caused = self.causes().next().is_some();
        match self.state {
            State::Calm if is_caused => {
                self.state = State::Active { since: now.timestamp, by_hand: false };
                Some(Change::Entered)
            }
            State::Active { since, by_hand: false } if !is_caused => {
                self.state = State::Calm;
                Some(Change::Left { since })
            }
            State::Calm | State::Active { .. } => None,
        }
    }

    /// Lasts until `leave_by_hand`, whatever the signs say.
    pub fn enter_by_hand(&mut self, now: Timestamp) -> Option<Change> {
        let change = self.since().is_none().then_some(Change::Entered);
        self.state = State::Active { since: self.since().unwrap_or(now), by_hand: true };
        change
    }

    /// A rule whose cause goes on does not enter it again.
    pub fn leave_by_hand(&mut self) -> Option<Change> {
        let since = self.since()?;
        self.state = State::Calm;
        for trigger in &mut self.triggers {
            *trigger = trigger.dismiss();
        }
        Some(Change::Left { since })
    }
}

impl EmergencyRules {
    fn sign(&self, cause: Cause, signs: &Signs) -> Sign {
        match cause {
            Cause::Week => self.week(signs.week_permille),
            Cause::Breaker => match signs.breaker_open {
                None => Sign::Below,
                Some(open) if open < self.breaker_open => Sign::Between,
                Some(_) => Sign::Past,
            },
            Cause::Spend => self.spent(signs.spent_today),
        }
    }

    fn week(&self, used: u32) -> Sign {
        // An unused window is none, however low the mark.
        let upper = self.week_permille.max(1);
        let lower = upper.saturating_sub(WEEK_BAND).max(1);
        Sign::of(used >= upper, used >= lower)
    }

    fn spent(&self, spent: Usd) -> Sign {
        let Some(upper) = self.spend else { return Sign::Below };
        let lower = upper.as_nanos() / 100 * SPEND_BAND;
        Sign::of(spent >= upper, spent.as_nanos() >= lower)
    }
}

impl Sign {
    const fn of(is_past: bool, is_above_lower: bool) -> Sign {
        match (is_past, is_above_lower) {
            (true, _) => Sign::Past,
            (false, true) => Sign::Between,
            (false, false) => Sign::Below,
        }
    }
}

impl Trigger {
    fn seen(self, sign: Sign, now: Instant) -> Trigger {
        match (self, sign) {
            (Trigger::Quiet, Sign::Past) => Trigger::Raised { dismissed: false },
            (Trigger::Quiet, Sign::Between | Sign::Below) => Trigger::Quiet,
            (Trigger::Raised { dismissed } | Trigger::Easing { dismissed, .. }, Sign::Past | Sign::Between) => {
                Trigger::Raised { dismissed }
            }
            (Trigger::Raised { dismissed }, Sign::Below) => Trigger::Easing { dismissed, until: now.after(GONE_FOR) },
            (Trigger::Easing { until, .. }, Sign::Below) if now >= until => Trigger::Quiet,
            (Trigger::Easing { .. }, Sign::Below) => self,
        }
    }

    const fn dismiss(self) -> Trigger {
        match self {
            Trigger::Quiet => Trigger::Quiet,
            Trigger::Raised { .. } => Trigger::Raised { dismissed: true },
            Trigger::Easing { until, .. } => Trigger::Easing { dismissed: true, until },
        }
    }

    const fn dismissed(self) -> Option<bool> {
        match self {
            Trigger::Quiet => None,
            Trigger::Raised { dismissed } | Trigger::Easing { dismissed, .. } => Some(dismissed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Now {
        let timestamp = Timestamp::from_millis(1_790_000_000_000 + i64::try_from(seconds).expect("small") * 1_000);
        Now { instant: Instant::from_nanos(seconds * 1_000_000_000), timestamp }
    }

    fn week(permille: u32) -> Signs {
        Signs { week_permille: permille, ..Signs::default() }
    }

    fn usd(text: &str) -> Usd {
        text.parse().expect("an amount")
    }

    /// `seconds sign` after `seconds sign`; tells when it was entered and left.
    fn run(emergency: &mut Emergency, signs: &[(u64, Signs)]) -> String {
        let change = |(seconds, signs): &(u64, Signs)| match emergency.judge(signs, at(*seconds))? {
            Change::Entered => Some(format!("in {seconds}")),
            Change::Left { since } => {
                Some(format!("out {seconds} of {}", (since.as_millis() - 1_790_000_000_000) / 1_000))
            }
        };
        signs.iter().filter_map(change).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_rule_enters_at_its_mark_and_leaves_a_minute_below_the_lower_one() {
        let open = |seconds| Signs { breaker_open: Some(Duration::from_secs(seconds)), ..Signs::default() };
        let spent = |amount| Signs { spent_today: usd(amount), ..Signs::default() };
        let rules = EmergencyRules { spend: Some(usd("20")), ..EmergencyRules::default() };
        for (signs, expected) in [
            (
                vec![(0, week(949)), (1, week(950)), (2, week(931)), (3, week(929)), (62, week(0)), (63, week(0))],
                "in 1, out 63 of 1",
            ),
            (
                vec![
                    (0, open(119)),
                    (1, open(120)),
                    (2, Signs::default()),
                    (61, open(0)),
                    (62, Signs::default()),
                    (121, Signs::default()),
                    (122, Signs::default()),
                ],
                "in 1, out 122 of 1",
            ),
            (
                vec![
                    (0, spent("19.99")),
                    (1, spent("20")),
                    (2, spent("19")),
                    (70, spent("18.99")),
                    (129, spent("0")),
                    (130, spent("0")),
                ],
                "in 1, out 130 of 1",
            ),
        ] {
            assert_eq!(run(&mut Emergency::new(rules), &signs), expected, "{signs:?}");
        }
    }

    #[test]
    fn without_a_rule_no_spending_is_an_emergency_and_an_unused_week_is_none_either() {
        let spent = Signs { spent_today: usd("1000000"), ..Signs::default() };
        assert_eq!(run(&mut Emergency::new(EmergencyRules::default()), &[(0, spent)]), "");
        let rules = EmergencyRules { week_permille: 0, ..EmergencyRules::default() };
        assert_eq!(run(&mut Emergency::new(rules), &[(0, week(0)), (1, week(1))]), "in 1");
    }

    #[test]
    fn it_is_left_when_the_last_of_its_causes_has_gone() {
        let mut emergency = Emergency::new(EmergencyRules::default());
        let both = Signs { week_permille: 960, breaker_open: Some(Duration::from_secs(300)), ..Signs::default() };
        assert_eq!(run(&mut emergency, &[(0, both), (10, week(960)), (100, week(960))]), "in 0");
        assert_eq!(emergency.causes().collect::<Vec<_>>(), [Cause::Week]);
        assert_eq!(run(&mut emergency, &[(101, week(0)), (161, week(0))]), "out 161 of 0");
    }

    #[test]
    fn one_left_by_hand_stays_left_until_its_cause_has_gone_once() {
        let mut emergency = Emergency::new(EmergencyRules::default());
        assert_eq!(run(&mut emergency, &[(0, week(950))]), "in 0");
        assert_eq!(emergency.leave_by_hand(), Some(Change::Left { since: at(0).timestamp }));
        assert_eq!(run(&mut emergency, &[(1, week(999)), (5_000, week(1_000))]), "");
        assert_eq!(emergency.leave_by_hand(), None);
        let breaker = Signs { breaker_open: Some(Duration::from_secs(121)), ..week(1_000) };
        assert_eq!(run(&mut emergency, &[(5_001, breaker)]), "in 5001", "another cause is another emergency");
        assert_eq!(
            run(&mut emergency, &[(5_002, week(0)), (5_062, week(0)), (5_063, week(950))]),
            "out 5062 of 5001, in 5063"
        );
    }

    #[test]
    fn one_entered_by_hand_stays_until_a_hand_leaves_it() {
        let mut emergency = Emergency::new(EmergencyRules::default());
        assert_eq!(emergency.enter_by_hand(at(0).timestamp), Some(Change::Entered));
        assert_eq!(emergency.enter_by_hand(at(1).timestamp), None);
        assert_eq!(run(&mut emergency, &[(1, week(0)), (9_999, week(0))]), "");
        assert_eq!(emergency.leave_by_hand(), Some(Change::Left { since: at(0).timestamp }));
        assert_eq!(run(&mut emergency, &[(10_000, week(950))]), "in 10000");
        assert_eq!(emergency.enter_by_hand(at(10_001).timestamp), None, "it is one already, and stays now");
        assert_eq!(run(&mut emergency, &[(10_002, week(0)), (20_000, week(0))]), "");
    }

    #[test]
    fn a_restart_changes_nothing() {
        let mut emergency = Emergency::new(EmergencyRules::default());
        assert_eq!(run(&mut emergency, &[(0, week(950)), (1, week(0))]), "in 0");
        let mut again = Emergency::recall(EmergencyRules::default(), &emergency.remember());
        assert_eq!(again.since(), Some(at(0).timestamp));
        assert_eq!(run(&mut again, &[(2, week(0)), (61, week(0)), (62, week(0))]), "out 62 of 0");
        assert_eq!(run(&mut emergency, &[(3, week(950))]), "");
        emergency.leave_by_hand();
        let mut again = Emergency::recall(EmergencyRules::default(), &emergency.remember());
        assert_eq!(run(&mut again, &[(4, week(950)), (900, week(990))]), "", "and what was left by hand stays left");
    }

    proptest! {
        /// Each entry needs a sign past its mark, each exit a whole minute without one above the lower mark: noise about
        /// a mark can't make it flap.
        #[test]
        fn noise_does_not_make_it_flap(signs in proptest::collection::vec((1u64..40, 900u32..1_000), 1..400)) {
            let mut emergency = Emergency::new(EmergencyRules::default());
            let (mut clock, mut last_above) = (0, None);
            for (passed, permille) in signs {
                clock += passed;
                if permille >= 930 {
                    last_above = Some(clock);
                }
                match emergency.judge(&week(permille), at(clock)) {
                    Some(Change::Entered) => prop_assert!(permille >= 950),
                    Some(Change::Left { .. }) => prop_assert!(last_above.is_none_or(|above| clock - above > 60)),
                    None => {}
                }
                prop_assert!(permille < 950 || emergency.since().is_some());
            }
        }
    }
}
