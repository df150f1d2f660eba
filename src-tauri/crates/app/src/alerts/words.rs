//! What an alert says: what has happened, what comes of it, and the way out.

use domain::alert::{Crossed, Figure, Sign};
use domain::time::Calendar;

/// One sentence, or two.
pub(super) fn sentence(crossed: &Crossed, calendar: Calendar, pauses_runaways: bool) -> String {
    let Crossed { scope, owner, part, value, threshold, .. } = crossed;
    let what = thing(owner, part);
    let moment = crossed.turn.map(|turn| calendar.words(turn.resets_at));
    let reset = moment.as_ref().map(|moment| format!("; it begins anew {moment}")).unwrap_or_default();
    match crossed.rule.metric.sign {
        Sign::Spend => format!("{} were spent {}; the mark is {}", usd(*value), spent(owner, part), usd(threshold.at)),
        Sign::Window | Sign::Week => format!("{} of {what} is used{reset}", percent(*value)),
        Sign::Budget => format!("{} of {} is spent{reset}", percent(*value), budget(owner, part)),
        Sign::Minute => format!(
            "{what} is {} full, and calls have waited {} s for it; background can wait: `tidegate pause background`",
            percent(*value),
            crossed.delay.as_secs()
        ),
        Sign::Tier => format!("{} of what the tier of {what} allows in a month is spent{reset}", percent(*value)),
        Sign::Forecast => format!(
            "{what} runs out before its reset with a probability of {}, probably in {} h",
            percent(*value),
            crossed.delay.as_secs() / 3_600
        ),
        Sign::Burn => {
            let until = moment.map(|moment| format!(" until {moment}")).unwrap_or_default();
            format!("{what} is being used {} times as fast as it would last{until}", tenths(*value))
        }
        Sign::CostPerCall => format!("a call of {what} costs {} times what it used to", tenths(*value)),
        Sign::Efficiency => format!("{what} gets {} output tokens for each input token", hundredths(*value)),
        Sign::Runaway => {
            let way_out = match pauses_runaways {
                true => format!("it is paused: `tidegate resume {scope}` lets it go on"),
                false => format!("let it go on, or stop it with `tidegate pause {scope}`"),
            };
            format!(
                "{what} has made {value} calls in a row, each longer than the last, with nobody in between; {way_out}"
            )
        }
        Sign::ChronicBurn => {
            format!("{what} was used up early {value} times in a row: the limit does not fit the work")
        }
        Sign::Breaker => format!("{what} fails calls, and its breaker is open"),
        Sign::Fallback => format!("calls of {what} get their answers elsewhere"),
        Sign::KeyRefused => format!("{what} refuses the key: `tidegate key set` puts another one in"),
        Sign::Capped => format!("{what} refuses calls: what may be spent there is used up"),
        Sign::UpstreamErrors => format!("{} of the calls to {what} failed in the last ten minutes", percent(*value)),
        Sign::Unpriced => {
            format!(
                "the price of {what} is unknown: its calls count at the dearest known price; `tidegate price set` gives it one"
            )
        }
        Sign::ClockJump => {
            format!("the clock of this machine jumped by {value} s; windows and budgets were counted anew")
        }
        Sign::Ledger => format!("something is wrong with {what}: `tidegate doctor` says more"),
        Sign::Disk => format!(
            "{} MB are free for the ledger; new calls are refused once it can't be written: make room on the disk",
            megabytes(*value)
        ),
        Sign::Failure => {
            let times = if *value == Figure::ONE { "once".to_owned() } else { format!("{value} times") };
            format!(
                "a part of Tidegate failed {times}: calls go on; start it anew when you can, and report the line of the log that says so"
            )
        }
        Sign::QuotaBack => format!("{what} has begun anew: calls that were turned away can go"),
        Sign::Increase => {
            format!(
                "half of {what} is used or soon will be: an increase may be asked for; `tidegate tier list` says more"
            )
        }
        Sign::Emergency => "there is an emergency".to_owned(),
    }
}

/// What a person may let be done about it.
pub(super) fn action(crossed: &Crossed, pauses_runaways: bool) -> Option<String> {
    let session = crossed.scope.strip_prefix("session:")?;
    let act = if pauses_runaways { "resume" } else { "pause" };
    (crossed.rule.metric.sign == Sign::Runaway).then(|| format!("{act}_session:{session}"))
}

/// `upstream:anthropic` and `week` as a person says them.
fn thing(owner: &str, part: &str) -> String {
    let owner = match owner.split_once(':') {
        Some((kind, name)) => format!("{kind} \"{name}\""),
        None => format!("the {owner}"),
    };
    if part.is_empty() { owner } else { format!("the {part} of {owner}") }
}

/// `client:ci` and `day` as a person says them.
fn budget(owner: &str, period: &str) -> String {
    format!("the {period}'s budget of {}", thing(owner, ""))
}

fn spent(owner: &str, period: &str) -> String {
    let when = match period {
        "day" => "today",
        "week" => "this week",
        _ => "this month",
    };
    match owner.split_once(':') {
        Some((kind, name)) => format!("{when} by {kind} \"{name}\""),
        None => when.to_owned(),
    }
}

/// To the nearest cent, as everywhere; a small sum with all that it is.
fn usd(value: Figure) -> String {
    const SMALL: i64 = 100_000;
    const HALF_A_CENT: i64 = 5_000;
    match value.as_millionths() {
        millionths @ 1..SMALL => format!("$0.{:04}", millionths / 100),
        millionths => format!("${}", hundredths(Figure::from_millionths(millionths.saturating_add(HALF_A_CENT)))),
    }
}

fn percent(value: Figure) -> String {
    let permille = value.as_millionths() / 1_000;
    format!("{}.{} %", permille / 10, permille % 10)
}

/// Of how many times less than 1 GB.
fn megabytes(value: Figure) -> i64 {
    1_000_000_000 / value.as_millionths().max(1)
}

fn tenths(value: Figure) -> String {
    let tenths = value.as_millionths() / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn hundredths(value: Figure) -> String {
    let hundredths = value.as_millionths() / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
