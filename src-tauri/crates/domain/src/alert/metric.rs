//! What a rule may measure, and how it is written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A kind of thing that is measured. Whoever makes readings makes all of a sign at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sign {
    /// Dollars spent in a day, a week, a month.
    Spend,
    /// Used part of an upstream's window.
    Window,
    /// Used part of an upstream's window that lasts a week.
    Week,
    /// Used part of a budget.
    Budget,
    /// Used part of a per-minute limit, with the time that calls wait for it.
    Minute,
    /// Spent part of what the tier allows in a month.
    Tier,
    /// Probability that a window runs out before its reset, with the time until it probably does.
    Forecast,
    /// How many times faster a window is used than it would last.
    Burn,
    /// A client's median cost of a call against what it used to be.
    CostPerCall,
    /// A client's output tokens for each input token that no cache held.
    Efficiency,
    /// Turns of a session that nobody interrupted.
    Runaway,
    /// Windows in a row that were used up early.
    ChronicBurn,
    /// 1 while calls of an upstream are turned away because it fails them.
    Breaker,
    /// 1 while calls of an upstream get their answers elsewhere.
    Fallback,
    /// 1 while an upstream refuses the key that calls bring it.
    KeyRefused,
    /// 1 while an upstream refuses calls because money or a subscription's window is used up there.
    Capped,
    /// Part of an upstream's attempts that fail.
    UpstreamErrors,
    /// Calls of a model today whose price is unknown.
    Unpriced,
    /// Seconds by which the wall clock has jumped.
    ClockJump,
    /// 1 while something is wrong with the ledger.
    Ledger,
    /// How many times less than 1 GB is free where the ledger lies.
    Disk,
    /// Parts of Tidegate itself that have failed, while the last one did in this hour.
    Failure,
    /// Calls that a window turned away before it began anew.
    QuotaBack,
    /// 1 from when on an increase of a limit may be asked for.
    Increase,
    /// 1 while there is an emergency.
    Emergency,
}

/// How a sign is written.
enum Form {
    /// `breaker`, `breaker.upstream:NAME`
    Plain,
    /// `spend.day`, `spend.day.client:ci`
    Period,
    /// `tokens.input`, `tokens.input.sonnet-4`
    Measure,
    /// `window.week.used`, `window.*.used`
    Named(&'static str),
}

impl Sign {
    pub const ALL: [Sign; 25] = [
        Sign::Spend,
        Sign::Window,
        Sign::Week,
        Sign::Budget,
        Sign::Minute,
        Sign::Tier,
        Sign::Forecast,
        Sign::Burn,
        Sign::CostPerCall,
        Sign::Efficiency,
        Sign::Runaway,
        Sign::ChronicBurn,
        Sign::Breaker,
        Sign::Fallback,
        Sign::KeyRefused,
        Sign::Capped,
        Sign::UpstreamErrors,
        Sign::Unpriced,
        Sign::ClockJump,
        Sign::Ledger,
        Sign::Disk,
        Sign::Failure,
        Sign::QuotaBack,
        Sign::Increase,
        Sign::Emergency,
    ];

    /// The first word of a metric.
    pub const fn name(self) -> &'static str {
        match self {
            Sign::Spend => "spend",
            Sign::Window => "window",
            Sign::Week => "week_used",
            Sign::Budget => "budget",
            Sign::Minute => "tokens",
            Sign::Tier => "tier_month",
            Sign::Forecast => "forecast",
            Sign::Burn => "burn",
            Sign::CostPerCall => "cost_per_call",
            Sign::Efficiency => "efficiency",
            Sign::Runaway => "runaway",
            Sign::ChronicBurn => "chronic_burn",
            Sign::Breaker => "breaker",
            Sign::Fallback => "fallback",
            Sign::KeyRefused => "key_refused",
            Sign::Capped => "capped",
            Sign::UpstreamErrors => "upstream_errors",
            Sign::Unpriced => "unpriced",
            Sign::ClockJump => "clock_jump",
            Sign::Ledger => "ledger",
            Sign::Disk => "disk",
            Sign::Failure => "failure",
            Sign::QuotaBack => "quota_back",
            Sign::Increase => "increase",
            Sign::Emergency => "emergency",
        }
    }

    const fn form(self) -> Form {
        match self {
            Sign::Spend | Sign::Budget => Form::Period,
            Sign::Minute => Form::Measure,
            Sign::Window => Form::Named(".used"),
            Sign::Forecast => Form::Named(".p_runs_out"),
            Sign::Burn | Sign::ChronicBurn => Form::Named(""),
            Sign::Week
            | Sign::Tier
            | Sign::CostPerCall
            | Sign::Efficiency
            | Sign::Runaway
            | Sign::Breaker
            | Sign::Fallback
            | Sign::KeyRefused
            | Sign::Capped
            | Sign::UpstreamErrors
            | Sign::Unpriced
            | Sign::ClockJump
            | Sign::Ledger
            | Sign::Disk
            | Sign::Failure
            | Sign::QuotaBack
            | Sign::Increase
            | Sign::Emergency => Form::Plain,
        }
    }

    /// An example for each way it may be written.
    pub const fn example(self) -> &'static str {
        match self {
            Sign::Spend => "spend.day.project:shop",
            Sign::Window => "window.week.used",
            Sign::Week => "week_used",
            Sign::Budget => "budget.day.client:ci",
            Sign::Minute => "tokens.input.sonnet-4",
            Sign::Tier => "tier_month",
            Sign::Forecast => "forecast.week.p_runs_out",
            Sign::Burn => "burn.week",
            Sign::CostPerCall => "cost_per_call.client:ci",
            Sign::Efficiency => "efficiency.client:ci",
            Sign::Runaway => "runaway",
            Sign::ChronicBurn => "chronic_burn.week",
            Sign::Breaker => "breaker",
            Sign::Fallback => "fallback",
            Sign::KeyRefused => "key_refused.upstream:anthropic",
            Sign::Capped => "capped.upstream:anthropic",
            Sign::UpstreamErrors => "upstream_errors.upstream:anthropic",
            Sign::Unpriced => "unpriced",
            Sign::ClockJump => "clock_jump",
            Sign::Ledger => "ledger",
            Sign::Disk => "disk",
            Sign::Failure => "failure",
            Sign::QuotaBack => "quota_back",
            Sign::Increase => "increase.upstream:anthropic",
            Sign::Emergency => "emergency",
        }
    }

    /// It fires where the value is too small, not too large.
    pub const fn is_low(self) -> bool {
        matches!(self, Sign::Efficiency)
    }

    /// Its values are parts of one: 0.8 is 80 %.
    pub const fn is_part(self) -> bool {
        matches!(
            self,
            Sign::Window
                | Sign::Week
                | Sign::Budget
                | Sign::Minute
                | Sign::Tier
                | Sign::Forecast
                | Sign::UpstreamErrors
        )
    }

    /// It happens, and is seen from the beginning: there is no state of before in which to find it.
    pub const fn happens(self) -> bool {
        matches!(
            self,
            Sign::Runaway
                | Sign::Breaker
                | Sign::Fallback
                | Sign::KeyRefused
                | Sign::Capped
                | Sign::ClockJump
                | Sign::Ledger
                | Sign::Disk
                | Sign::Failure
                | Sign::QuotaBack
                | Sign::Increase
                | Sign::Emergency
        )
    }

    /// What is new of it has just been made by somebody here, and was nowhere full before.
    pub(super) const fn is_our_own(self) -> bool {
        matches!(self, Sign::Budget)
    }

    /// What isn't there is zero, and what is new was zero before.
    pub const fn begins_at_zero(self) -> bool {
        self.happens() || matches!(self, Sign::Spend | Sign::UpstreamErrors | Sign::Unpriced)
    }
}

/// A sign, and which of its readings count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Metric {
    pub sign: Sign,
    /// `None`: all.
    pub part: Option<Arc<str>>,
    /// `None`: all; but for spending, of which the whole machine's counts then.
    pub scope: Option<Arc<str>>,
}

impl Metric {
    pub const fn all(sign: Sign) -> Metric {
        Metric { sign, part: None, scope: None }
    }

    pub(super) fn covers(&self, scope: &str, part: &str) -> bool {
        let of_scope = match (&self.scope, self.sign) {
            (Some(own), _) => **own == *scope,
            (None, Sign::Spend) => scope == "machine",
            (None, _) => true,
        };
        // `input` covers the `input sonnet-4` of every group.
        let covers = |own: &str| part.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        of_scope && self.part.as_deref().is_none_or(covers)
    }
}

/// As the settings write it.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.as_deref();
        match self.sign.form() {
            Form::Plain => f.write_str(self.sign.name())?,
            Form::Period => write!(f, "{}.{}", self.sign.name(), part.unwrap_or("*"))?,
            Form::Measure => {
                let (measure, group) = part.and_then(|part| part.split_once(' ')).unwrap_or((part.unwrap_or("*"), ""));
                write!(f, "{}.{measure}", self.sign.name())?;
                if !group.is_empty() {
                    write!(f, ".{group}")?;
                }
            }
            Form::Named(end) => write!(f, "{}.{}{end}", self.sign.name(), part.unwrap_or("*"))?,
        }
        self.scope.as_deref().map_or(Ok(()), |scope| write!(f, ".{scope}"))
    }
}

/// Why a text is no metric, and what is near to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAMetric {
    /// The rule that it breaks: `measures nothing that is known`.
    pub rule: String,
    /// How the sign is written that was probably meant.
    pub example: Option<&'static str>,
}

impl fmt::Display for NotAMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        self.example.map_or(Ok(()), |example| write!(f, ", for example {example}"))
    }
}

impl std::error::Error for NotAMetric {}

const PERIODS: [&str; 3] = ["day", "week", "month"];
const MEASURES: [&str; 4] = ["input", "output", "all", "requests"];
const SCOPES: [&str; 7] = ["client", "person", "project", "tenant", "upstream", "model", "session"];

impl FromStr for Metric {
    type Err = NotAMetric;

    fn from_str(text: &str) -> Result<Metric, NotAMetric> {
        let (name, rest) = text.split_once('.').unwrap_or((text, ""));
        let Some(sign) = Sign::ALL.into_iter().find(|sign| sign.name() == name) else {
            let names = Sign::ALL.map(Sign::name).join(", ");
            return Err(NotAMetric { rule: format!("measures none of {names}"), example: None });
        };
        let wrong = |rule: &str| NotAMetric { rule: rule.to_owned(), example: Some(sign.example()) };
        let (part, scope) = match sign.form() {
            Form::Plain => (None, rest),
            Form::Period => {
                let (period, scope) = rest.split_once('.').unwrap_or((rest, ""));
                (one_of(period, &PERIODS).map_err(|_| wrong("must say day, week or month (or *)"))?, scope)
            }
            Form::Measure => {
                let (measure, group) = rest.split_once('.').unwrap_or((rest, ""));
                let known = one_of(measure, &MEASURES);
                let measure = known.map_err(|_| wrong("must say input, output, all or requests"))?;
                match (measure, group) {
                    (measure, "") => (measure, ""),
                    (Some(measure), group) => (Some(format!("{measure} {group}").into()), ""),
                    (None, _) => return Err(wrong("must say input, output, all or requests before a group")),
                }
            }
            Form::Named(end) => {
                let (name, scope) = with_scope(rest);
                let name = name.strip_suffix(end).filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| wrong("must name a window (or *)"))?;
                ((name != "*").then(|| name.into()), scope)
            }
        };
        if !scope.is_empty() && !is_scope(scope) {
            let kinds = SCOPES.map(|kind| format!("{kind}:")).join(", ");
            return Err(wrong(&format!("must end in a scope, {kinds} with a name, or machine")));
        }
        Ok(Metric { sign, part, scope: (!scope.is_empty()).then(|| scope.into()) })
    }
}

/// `None` for `*`.
fn one_of(word: &str, known: &[&str]) -> Result<Option<Arc<str>>, ()> {
    if word == "*" {
        return Ok(None);
    }
    known.contains(&word).then(|| Some(word.into())).ok_or(())
}

/// A window's name may hold dots; a scope behind it has a colon.
fn with_scope(text: &str) -> (&str, &str) {
    let kind = |kind: &&str| text.contains(&format!(".{kind}:"));
    match SCOPES.iter().find(|name| kind(name)).and_then(|kind| text.split_once(&format!(".{kind}:"))) {
        Some((name, _)) => (name, &text[name.len() + 1..]),
        None => (text, ""),
    }
}

fn is_scope(text: &str) -> bool {
    match text.split_once(':') {
        Some((kind, name)) => SCOPES.contains(&kind) && !name.is_empty() && !name.chars().any(char::is_control),
        None => text == "machine",
    }
}
