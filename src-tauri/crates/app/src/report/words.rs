//! A report in sentences, for the inbox, for channels and for terminals.

use domain::money::Usd;
use domain::time::{Calendar, Timestamp};

use super::{PartView, ReportView, amount, name_of};
use crate::explain::{dollars, times};
use crate::view::ForecastView;

/// More than any report has to say; what a service takes of it is the channel's business.
const MESSAGE_CHARS_MAX: usize = 12_000;
const PARTS_MAX: usize = 3;
/// Of a name that others chose.
const NAME_CHARS_MAX: usize = 64;

/// `Week of Mon 2026-11-16 (Europe/Berlin): $61.20 used in 1,204 calls, $55.00 expected, $6.20 more`
pub fn headline(report: &ReportView) -> String {
    let (day, zone) = (first_day(report), &report.timezone);
    let so_far = if report.until < report.to { " so far" } else { "" };
    let name = match &*report.period {
        "month" => format!("Month of {}", &day[..7.min(day.len())]),
        _ => format!("Week of Mon {day}"),
    };
    let used = format!("{} used in {}", usd(report.used_usd.as_deref()), times(report.calls, "call", "calls"));
    let unpriced = match report.unpriced_calls {
        0 => String::new(),
        calls => format!(" ({} of unknown price)", times(calls, "call", "calls")),
    };
    format!(
        "{name}{so_far} ({zone}): {used}{unpriced}{}",
        expected(report.expected_usd.as_deref(), report.gap_usd.as_deref())
    )
}

/// In the report's own zone.
fn first_day(report: &ReportView) -> String {
    let from = Timestamp::parse(&report.from).unwrap_or_default();
    let zone = report.timezone.parse().unwrap_or(domain::time::Tz::UTC);
    Calendar::in_zone(zone).day(from).to_string()
}

/// `, $55.00 expected, $6.20 more`
fn expected(expected: Option<&str>, gap: Option<&str>) -> String {
    let (Some(expected), Some(gap)) = (expected, gap.and_then(|gap| gap.parse::<Usd>().ok())) else {
        return String::new();
    };
    let gap = match gap {
        Usd::ZERO => "as much".to_owned(),
        gap if gap < Usd::ZERO => format!("{} less", dollars(Usd::ZERO - gap)),
        gap => format!("{} more", dollars(gap)),
    };
    format!(", {} expected, {gap}", usd(Some(expected)))
}

/// What else there is to say, one sentence each.
pub fn remarks(report: &ReportView) -> Vec<String> {
    let said = [against_the_one_before(report), cache(report), prompt_caches(report), Some(success(report))];
    let more = [alerts(report), scores(report)];
    let forecasts = report.forecasts.iter().filter_map(forecast);
    said.into_iter()
        .flatten()
        .chain(more.into_iter().flatten())
        .chain(forecasts)
        .chain(report.reasons.clone())
        .collect()
}

fn against_the_one_before(report: &ReportView) -> Option<String> {
    let by_then = if report.until < report.to { " by then" } else { "" };
    let before = format!("{} in the {} before{by_then}", usd(Some(report.before_usd.as_deref()?)), report.period);
    Some(report.change.map_or_else(|| before.clone(), |change| format!("{before}: {}", changed(change))))
}

/// `22 % more`
fn changed(change: f64) -> String {
    match change * 100.0 {
        percent if percent.abs() < 0.5 => "as much".to_owned(),
        percent if percent < 0.0 => format!("{:.0} % less", -percent),
        percent => format!("{percent:.0} % more"),
    }
}

fn cache(report: &ReportView) -> Option<String> {
    let rate = report.cache.hit_rate?;
    let hits = times(report.cache.hits, "kept answer", "kept answers");
    Some(format!("{hits} saved {} ({:.0} % of the calls that asked)", usd(Some(&report.cache.saved_usd)), rate * 100.0))
}

fn prompt_caches(report: &ReportView) -> Option<String> {
    match report.prompt_caches_saved_usd.parse::<Usd>().ok()? {
        Usd::ZERO => None,
        saved if saved < Usd::ZERO => {
            Some(format!("prompt caches cost {} more than they saved", dollars(Usd::ZERO - saved)))
        }
        saved => Some(format!("prompt caches saved {}", dollars(saved))),
    }
}

fn success(report: &ReportView) -> String {
    let success = &report.success;
    format!(
        "{} reached a client, {}, the longest recovery took {} s, {} before a change of the tier",
        times(success.rate_limit_errors_seen, "rate limit error", "rate limit errors"),
        times(success.fallbacks_served, "fallback was served", "fallbacks were served"),
        success.longest_recovery_s,
        times(success.alerts_before_tier_change, "warning came", "warnings came"),
    )
}

fn alerts(report: &ReportView) -> Option<String> {
    let count: u64 = report.alerts.iter().map(|fired| fired.count).sum();
    let by_rule: Vec<String> = report.alerts.iter().map(|fired| format!("{} {}", fired.rule, fired.count)).collect();
    (count > 0).then(|| format!("{}: {}", times(count, "alert", "alerts"), by_rule.join(", ")))
}

fn scores(report: &ReportView) -> Option<String> {
    let score = |score: &super::BandScoreView| format!("{} of {} ({})", score.hits, score.forecasts, score.name);
    let scores: Vec<String> = report.scores.iter().map(score).collect();
    (!scores.is_empty()).then(|| format!("80 % band hit {}", scores.join(", ")))
}

/// Nothing where it is too early to tell.
fn forecast(forecast: &ForecastView) -> Option<String> {
    let name = name_of(forecast);
    match &forecast.limit {
        _ if !forecast.informative => None,
        Some(_) => Some(format!("{name}: {}", forecast.text)),
        None => {
            let total = &forecast.total;
            let [least, middle, most] = [&total.p10, &total.p50, &total.p90].map(|part| part.as_ref().map(amount));
            Some(format!("{name} comes to {} ({} to {})", middle?, least?, most?))
        }
    }
}

/// `by model: claude-opus-4-1 $40.00 (65 %, 12 % more), claude-haiku-4-5 $21.20 (35 %)`
fn by(what: &str, parts: &[PartView]) -> Option<String> {
    let named = parts.iter().filter(|part| part.calls > 0);
    let told: Vec<String> = named.clone().take(PARTS_MAX).map(part).collect();
    let others = match named.count().saturating_sub(PARTS_MAX) {
        0 => String::new(),
        others => format!(" and {}", times(others as u64, "other", "others")),
    };
    (!told.is_empty()).then(|| format!("by {what}: {}{others}", told.join(", ")))
}

/// The parts of a report as sentences.
fn by_part(report: &ReportView) -> Vec<String> {
    let is_named = |parts: &[PartView]| parts.iter().any(|part| !part.name.is_empty());
    let projects = if is_named(&report.projects) { by("project", &report.projects) } else { None };
    [by("model", &report.models), by("client", &report.clients), projects].into_iter().flatten().collect()
}

fn part(part: &PartView) -> String {
    let name = match part.name.char_indices().nth(NAME_CHARS_MAX) {
        None if part.name.is_empty() => "none".to_owned(),
        None => part.name.clone(),
        Some(_) => part.name.chars().take(NAME_CHARS_MAX - 1).chain(['…']).collect(),
    };
    let change = part.change.map_or_else(String::new, |change| format!(", {}", changed(change)));
    format!("{name} {} ({:.0} %{change})", usd(part.cost_usd.as_deref()), part.share * 100.0)
}

/// All of it as one message, as far as it fits.
pub(crate) fn digest(report: &ReportView) -> String {
    let mut message = headline(report);
    for sentence in by_part(report).into_iter().chain(remarks(report)) {
        if message.chars().count() + sentence.chars().count() + 2 > MESSAGE_CHARS_MAX {
            continue;
        }
        message = format!("{message}. {}", with_capital(&sentence));
    }
    message
}

fn with_capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How a week goes that has not ended: `This week so far: $12.00 used, $10.00 expected, $2.00 more`, and its windows.
pub(crate) fn line_of_week(used: Usd, typical: Option<Usd>, windows: &[ForecastView]) -> String {
    let gap = typical.map(|typical| (used - typical).to_string());
    let typical = typical.map(|typical| typical.to_string());
    let start = format!("This week so far: {} used{}", dollars(used), expected(typical.as_deref(), gap.as_deref()));
    let window = |forecast: &ForecastView| {
        let limit = forecast.limit.as_ref()?;
        let text = if forecast.informative { format!(", {}", forecast.text) } else { String::new() };
        Some(format!("{}: {} of {} used{text}", name_of(forecast), amount(&forecast.used), amount(limit)))
    };
    [start].into_iter().chain(windows.iter().filter_map(window)).collect::<Vec<_>>().join("; ")
}

fn usd(usd: Option<&str>) -> String {
    usd.and_then(|usd| usd.parse().ok()).map_or_else(|| "an unknown sum".to_owned(), dollars)
}
