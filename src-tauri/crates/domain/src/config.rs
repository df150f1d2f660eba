//! Settings after they were checked: every value here is legal.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Class;
use crate::money::Usd;
use crate::routing::BreakerRules;
use crate::tier::{MinuteLimits, Scheme};
use crate::time::{BusinessHours, Calendar, Cycle, Every};

/// A program that calls us, as its token names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    pub name: Arc<str>,
    pub class: Class,
    /// Share of capacity against other clients of its class; at least 1.
    pub weight: u32,
    pub person: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub daily: Option<Usd>,
    pub weekly: Option<Usd>,
    pub monthly: Option<Usd>,
    /// Percent of the capacity, while others wait.
    pub max_share: Option<u8>,
}

impl Client {
    /// None of them is hard.
    pub fn budgets(&self) -> impl Iterator<Item = Budget> {
        let periods = [(Period::Day, self.daily), (Period::Week, self.weekly), (Period::Month, self.monthly)];
        periods.into_iter().filter_map(|(period, limit)| {
            Some(Budget { scope: Scope::Client(self.name.clone()), period, limit: limit?, hard: false })
        })
    }
}

/// Limits written in the settings: a ceiling, shared by the models that match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenLimits {
    pub models: Vec<Arc<str>>,
    pub per_minute: MinuteLimits,
    /// Calls at once; `None` is unlimited.
    pub concurrency: Option<u32>,
}

/// What paces the calls of one account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pacing {
    /// A scheme and the index of a tier in it: presumed until headers speak.
    pub presumed: Option<(Arc<Scheme>, usize)>,
    pub written: Vec<WrittenLimits>,
    /// In thousandths of the limit. The field guide's 48 of 50 requests is 960.
    pub guard_requests_permille: u32,
    /// The field guide's 28,000 of 30,000 tokens, rounded down: 930.
    pub guard_tokens_permille: u32,
    /// Waited beside a `retry-after` where the 429's headers don't say when the bucket refills.
    pub retry_after_buffer: Duration,
    pub windows: Vec<Window>,
}

/// A quota over hours, a week or a month that the owner of an account sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    pub name: Arc<str>,
    pub limit: Amount,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    Usd(Usd),
    /// Input, both cache writes and output; what is read from the cache costs no quota.
    Tokens(u64),
    /// Of what the upstream says is used.
    Percent(u8),
}

/// How long a window lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// From one reset to the next.
    Until(Cycle),
    /// From the first call after the last one ended.
    Rolling(Duration),
}

impl Span {
    /// Whether it is about as long as that.
    pub fn lasts(self, length: Duration) -> bool {
        const DAY: Duration = Duration::from_secs(86_400);
        match self {
            Span::Rolling(own) => own == length,
            Span::Until(Cycle { every: Every::Day, .. }) => length == DAY,
            Span::Until(Cycle { every: Every::Week(_), .. }) => length == 7 * DAY,
            Span::Until(Cycle { every: Every::Month(_), .. }) => (28 * DAY..=31 * DAY).contains(&length),
        }
    }
}

/// What a person, a project, … may spend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    pub scope: Scope,
    pub period: Period,
    pub limit: Usd,
    /// A running stream is cut at the cap, instead of finishing.
    pub hard: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    Machine,
    Client(Arc<str>),
    Person(Arc<str>),
    Project(Arc<str>),
    Tenant(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    pub const fn name(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }
}

/// What background work leaves to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackgroundGuard {
    pub hours: BusinessHours,
    /// Of a day's or week's window, which background work may not take before the hours begin. In thousandths.
    pub share_permille: u32,
}

/// Who takes alerts to people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChannelKind {
    Desktop,
    Slack,
    Discord,
    PagerDuty,
    Opsgenie,
    Jira,
    IncidentIo,
    Webhook,
}

impl ChannelKind {
    pub const ALL: [ChannelKind; 8] = [
        ChannelKind::Desktop,
        ChannelKind::Slack,
        ChannelKind::Discord,
        ChannelKind::PagerDuty,
        ChannelKind::Opsgenie,
        ChannelKind::Jira,
        ChannelKind::IncidentIo,
        ChannelKind::Webhook,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ChannelKind::Desktop => "desktop",
            ChannelKind::Slack => "slack",
            ChannelKind::Discord => "discord",
            ChannelKind::PagerDuty => "pagerduty",
            ChannelKind::Opsgenie => "opsgenie",
            ChannelKind::Jira => "jira",
            ChannelKind::IncidentIo => "incident_io",
            ChannelKind::Webhook => "webhook",
        }
    }

    pub fn named(name: &str) -> Option<ChannelKind> {
        ChannelKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// It has an address of its own, unlike those whose key says where to.
    pub const fn needs_url(self) -> bool {
        matches!(
            self,
            ChannelKind::Slack
                | ChannelKind::Discord
                | ChannelKind::Jira
                | ChannelKind::IncidentIo
                | ChannelKind::Webhook
        )
    }

    pub const fn needs_secret(self) -> bool {
        matches!(self, ChannelKind::PagerDuty | ChannelKind::Opsgenie | ChannelKind::Jira | ChannelKind::IncidentIo)
    }
}

/// What admission goes by, whatever the account.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// At most so many calls wait.
    pub queue_max: usize,
    /// Whose days, weeks and months budgets count by.
    pub calendar: Calendar,
    pub background: Option<BackgroundGuard>,
    /// From here on only critical calls spend a week's window. In thousandths of it.
    pub week_reserve_permille: u32,
    pub breaker: BreakerRules,
}

/// As the settings have it where they say nothing; days are those of UTC.
impl Default for Rules {
    fn default() -> Rules {
        Rules {
            queue_max: 10_000,
            calendar: Calendar::UTC,
            background: None,
            week_reserve_permille: 950,
            breaker: BreakerRules::default(),
        }
    }
}
