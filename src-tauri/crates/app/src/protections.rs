//! Which protection is off, and what the last thirty days were like without it.

use std::time::Duration;

use domain::config::{Amount, Scope};
use domain::money::Usd;
use domain::time::Timestamp;
use ledger::By;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::explain::dollars;
use crate::settings::{Settings, Upstream};

/// One thing that keeps money, limits or answers safe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ProtectionView {
    pub name: String,
    pub on: bool,
    /// It would have made a difference in the last thirty days.
    pub missed: bool,
    /// What it does or, while it is off, what the last thirty days were like.
    pub says: String,
    /// What turns it on; empty where it is on.
    pub how: String,
}

/// What the last thirty days were like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Month {
    dearest_day: Option<(String, Usd)>,
    outages: usize,
    alerts: usize,
    rate_limit_errors: u64,
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);

impl App {
    pub(crate) async fn protections(&self) -> Result<Vec<ProtectionView>, ApiError> {
        let now = self.now();
        let from = now.before(MONTH);
        let days = self.ledger.usage(&By::Day, from, now, self.calendar).await.map_err(ApiError::machine)?;
        let costs = days.rows.into_iter().map(|row| (row.key, row.totals.known_cost));
        let alerts = self.crisis.alerts.latest(usize::MAX);
        let lately = |at: &str| Timestamp::parse(at).is_some_and(|at| at >= from);
        let told = alerts.iter().filter(|alert| alert.severity != "info" && lately(&alert.crossed_at));
        let month = Month {
            dearest_day: costs.filter(|(_, cost)| *cost > Usd::ZERO).max_by_key(|(_, cost)| *cost),
            outages: told.clone().filter(|alert| alert.rule == "breaker").count(),
            alerts: told.count(),
            rate_limit_errors: self.scores.figures(now).0.rate_limit_errors_seen,
        };
        Ok(protections(&self.settings(), &month))
    }
}

fn protections(settings: &Settings, month: &Month) -> Vec<ProtectionView> {
    vec![budget(settings, month), fallback(settings, month), reach(settings, month), limits(settings, month)]
}

fn protection(name: &str, on: bool, missed: bool, says: String, how: &str) -> ProtectionView {
    let how = if on { String::new() } else { how.to_owned() };
    ProtectionView { name: name.to_owned(), on, missed: missed && !on, says, how }
}

fn budget(settings: &Settings, month: &Month) -> ProtectionView {
    let has_window = settings
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.pacing.windows)
        .any(|window| matches!(window.limit, Amount::Usd(_)));
    let on = has_window || settings.budgets.iter().any(|budget| budget.scope == Scope::Machine);
    let says = match (&month.dearest_day, on) {
        (_, true) => "a cap holds for all calls together".to_owned(),
        (None, false) => {
            "no call is refused for what all calls cost together; the last 30 days cost nothing".to_owned()
        }
        (Some((day, cost)), false) => {
            format!(
                "no call is refused for what all calls cost together: your dearest of the last 30 days was {day}, at {}",
                dollars(*cost)
            )
        }
    };
    protection(
        "budget",
        on,
        month.dearest_day.is_some(),
        says,
        "tidegate settings set 'budget[scope=machine].daily_usd' 50",
    )
}

fn fallback(settings: &Settings, month: &Month) -> ProtectionView {
    let on = !settings.fallbacks.is_empty();
    let says = match (month.outages, on) {
        (_, true) => "where an upstream fails, calls go elsewhere".to_owned(),
        (0, false) => "where the upstream fails, so do calls; no outage was told of in the last 30 days".to_owned(),
        (outages, false) => {
            format!("where the upstream fails, so do calls: the last 30 days had {outages} such outages")
        }
    };
    protection("fallback", on, month.outages > 0, says, "add a second [[upstream]] and a [[fallback]] to the settings")
}

fn reach(settings: &Settings, month: &Month) -> ProtectionView {
    let on = !settings.channels.is_empty();
    let says = match (month.alerts, on) {
        (_, true) => "alerts reach you away from this machine too".to_owned(),
        (0, false) => "alerts are told on this machine alone; the last 30 days had none".to_owned(),
        (alerts, false) => format!("alerts are told on this machine alone: so were {alerts} in the last 30 days"),
    };
    protection("channel", on, month.alerts > 0, says, "add a [[channel]] to the settings")
}

fn limits(settings: &Settings, month: &Month) -> ProtectionView {
    let is_known = |upstream: &Upstream| {
        upstream.pacing.presumed.is_some() || !upstream.pacing.written.is_empty() || upstream.admin_key.is_some()
    };
    let on = settings.upstreams.iter().all(is_known);
    let says = match (month.rate_limit_errors, on) {
        (_, true) => "limits are known before the first call".to_owned(),
        (0, false) => {
            "limits are learned from the first answers on; no rate limit error reached a program in the last 30 days"
                .to_owned()
        }
        (errors, false) => format!(
            "limits are learned from the first answers on: {errors} rate limit errors reached programs in the last 30 days"
        ),
    };
    protection(
        "limits",
        on,
        month.rate_limit_errors > 0,
        says,
        "set scheme and tier, or admin_key, of the [[upstream]] in the settings",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    const BARE: &str = "[[upstream]]\nname = \"a\"\nkind = \"simulator\"\n";

    fn said(text: &str, month: &Month) -> Vec<(String, bool, bool)> {
        let schemes = crate::data::schemes().expect("schemes");
        let settings = parse(text, &schemes).expect("legal settings");
        protections(&settings, month).into_iter().map(|one| (one.name, one.on, one.missed)).collect()
    }

    #[test]
    fn what_is_off_is_missed_only_where_it_would_have_made_a_difference() {
        let names = ["budget", "fallback", "channel", "limits"];
        let all = |on, missed| names.map(|name| (name.to_owned(), on, missed)).to_vec();
        assert_eq!(said(BARE, &Month::default()), all(false, false));
        let month = Month {
            dearest_day: Some(("2026-11-12".into(), Usd::from_nanos(61_200_000_000))),
            outages: 2,
            alerts: 3,
            rate_limit_errors: 4,
        };
        assert_eq!(said(BARE, &month), all(false, true));
        let guarded = "[[budget]]\nscope = \"machine\"\ndaily_usd = 50\n[[upstream]]\nname = \"a\"\nkind = \"simulator\"\nscheme = \"2025-09\"\ntier = \"1\"\n[[upstream]]\nname = \"b\"\nkind = \"simulator\"\nscheme = \"2025-09\"\ntier = \"1\"\n[[fallback]]\nfor = \"normal\"\nupstreams = [\"a\", \"b\"]\n[[channel]]\nname = \"ops\"\nkind = \"slack\"\nurl = \"keychain:ops\"\n";
        assert_eq!(said(guarded, &month), all(true, false));
    }

    #[test]
    fn the_dearest_day_is_named_with_its_cost() {
        let settings = parse(BARE, &[]).expect("legal settings");
        let month =
            Month { dearest_day: Some(("2026-11-12".into(), Usd::from_nanos(61_200_000_000))), ..Month::default() };
        let says = &protections(&settings, &month)[0].says;
        assert!(says.ends_with("your dearest of the last 30 days was 2026-11-12, at $61.20"), "{says}");
    }
}
