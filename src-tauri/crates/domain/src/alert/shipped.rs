//! The rules that everyone has. `docs/alerts.md` explains each of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Cooldown, Figure, Metric, Rule, Severity, Sign, Threshold};
use crate::time::QuietHours;

/// What `[alerts]` says of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marks {
    pub token_warning: Figure,
    pub token_critical: Figure,
    /// `None` where the emergency's own rule tells of it.
    pub weekly_emergency: Option<Figure>,
    /// `None`: off.
    pub daily_spend: Option<Figure>,
    pub tier_warning: Figure,
    pub quiet: Option<QuietHours>,
    /// All there are.
    pub channels: Vec<Arc<str>>,
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const RUNS_OUT: Figure = Figure::from_millionths(500_000);
/// Whoever was told that it may run out hears once more when it nearly must.
const SURELY_RUNS_OUT: Figure = Figure::from_millionths(900_000);
/// At this pace a week's window lasts 11 h 40 min. It is the pace that site reliability engineers page for.
const BURN: Figure = Figure::from_millionths(14_400_000);
const TIMES_DEARER: Figure = Figure::from_millionths(2_000_000);
const EFFICIENT: Figure = Figure::from_millionths(300_000);
const TURNS: Figure = Figure::from_millionths(100_000_000);
const WINDOWS_IN_A_ROW: Figure = Figure::from_millionths(3_000_000);
const ERRORS_WARNING: Figure = Figure::from_millionths(250_000);
const ERRORS_CRITICAL: Figure = Figure::from_millionths(500_000);
/// Less than 1 GB, and less than 200 MB.
const DISK_LOW: Figure = Figure::ONE;
const DISK_NEARLY_FULL: Figure = Figure::from_millionths(5_000_000);
const JUMP: Figure = Figure::from_millionths(5_000_000);

pub fn shipped(marks: &Marks) -> Vec<Rule> {
    use Severity::{Critical, Emergency, Info, Warning};
    let tokens = [(marks.token_warning, Warning), (marks.token_critical, Critical)];
    let one = Figure::ONE;
    let again_in = Cooldown::For;
    let rule = |sign: Sign, thresholds: &[(Figure, Severity)], cooldown| {
        let metric = Metric { part: (sign == Sign::Spend).then(|| "day".into()), ..Metric::all(sign) };
        let threshold = |(at, severity): &(Figure, Severity)| Threshold { at: *at, severity: *severity };
        let thresholds = thresholds.iter().map(threshold).collect();
        let (channels, quiet) = (marks.channels.clone(), marks.quiet);
        Rule { channels, quiet, cooldown, ..Rule::new(name(sign), metric, thresholds) }
    };
    let rules = [
        Some(rule(Sign::Window, &tokens, Cooldown::Window)),
        marks.weekly_emergency.map(|at| rule(Sign::Week, &[(at, Emergency)], Cooldown::Window)),
        Some(rule(Sign::Budget, &tokens, Cooldown::Window)),
        Some(rule(Sign::Minute, &tokens, again_in(6 * HOUR))),
        marks.daily_spend.map(|at| rule(Sign::Spend, &[(at, Warning)], Cooldown::Window)),
        Some(rule(Sign::Tier, &[(marks.tier_warning, Warning)], Cooldown::Window)),
        Some(rule(Sign::Forecast, &[(RUNS_OUT, Warning), (SURELY_RUNS_OUT, Warning)], Cooldown::Window)),
        Some(rule(Sign::Burn, &[(BURN, Warning)], again_in(6 * HOUR))),
        Some(rule(Sign::CostPerCall, &[(TIMES_DEARER, Warning)], again_in(DAY))),
        Some(rule(Sign::Efficiency, &[(EFFICIENT, Warning)], again_in(DAY))),
        Some(rule(Sign::Runaway, &[(TURNS, Critical)], again_in(HOUR))),
        Some(rule(Sign::ChronicBurn, &[(WINDOWS_IN_A_ROW, Warning)], Cooldown::Window)),
        Some(rule(Sign::Breaker, &[(one, Critical)], Cooldown::Window)),
        Some(rule(Sign::Fallback, &[(one, Critical)], Cooldown::Window)),
        Some(rule(Sign::KeyRefused, &[(one, Critical)], again_in(HOUR))),
        Some(rule(Sign::Capped, &[(one, Critical)], again_in(HOUR))),
        Some(rule(Sign::UpstreamErrors, &[(ERRORS_WARNING, Warning), (ERRORS_CRITICAL, Critical)], again_in(6 * HOUR))),
        Some(rule(Sign::Unpriced, &[(one, Warning)], again_in(7 * DAY))),
        Some(rule(Sign::ClockJump, &[(JUMP, Warning)], again_in(HOUR))),
        Some(rule(Sign::Ledger, &[(one, Critical)], Cooldown::Window)),
        Some(rule(Sign::Disk, &[(DISK_LOW, Warning), (DISK_NEARLY_FULL, Critical)], again_in(HOUR))),
        Some(rule(Sign::Failure, &[(one, Critical)], again_in(HOUR))),
        Some(rule(Sign::QuotaBack, &[(one, Info)], Cooldown::Window)),
        Some(rule(Sign::Increase, &[(one, Info)], again_in(30 * DAY))),
        Some(rule(Sign::Emergency, &[(one, Emergency)], Cooldown::Window)),
    ];
    rules.into_iter().flatten().collect()
}

/// As alerts and exports call it.
const fn name(sign: Sign) -> &'static str {
    match sign {
        Sign::Spend => "daily_spend",
        Sign::Week => "week",
        Sign::Tier => "tier",
        Sign::Window
        | Sign::Budget
        | Sign::Minute
        | Sign::Forecast
        | Sign::Burn
        | Sign::CostPerCall
        | Sign::Efficiency
        | Sign::Runaway
        | Sign::ChronicBurn
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
        | Sign::Emergency => sign.name(),
    }
}
