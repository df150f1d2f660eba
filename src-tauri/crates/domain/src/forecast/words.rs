//! A forecast as one says it to a person: no more exact than it is.

use std::time::Duration;

use super::Forecast;
use crate::time::{Calendar, Timestamp};

/// A moment is named where the band is no wider.
const MOMENT_HOURS_MAX: f64 = 12.0;

/// `runs out Thursday 14:00 (Europe/Berlin)`, `runs out Thu afternoon to Fri morning (…)`, `probably lasts (78 %)`.
pub fn words(forecast: &Forecast, now: Timestamp, calendar: Calendar) -> String {
    if !forecast.informative {
        return "too early to tell".to_owned();
    }
    let Some(p) = forecast.p_runs_out else { return "has no limit".to_owned() };
    if p >= 1.0 {
        return "has run out".to_owned();
    }
    let (Some(first), true) = (forecast.runs_out.p10, p >= 0.5) else {
        return format!("probably lasts ({:.0} %)", (1.0 - p) * 100.0);
    };
    let zone = calendar.zone_name();
    match (forecast.runs_out.p50, forecast.runs_out.p90) {
        (Some(middle), Some(last)) if hours(first, last) <= MOMENT_HOURS_MAX => {
            format!("runs out {} ({zone})", calendar.moment_words(now, rounded(middle)))
        }
        (_, Some(last)) => {
            let (first, last) = (calendar.part_words(now, first), calendar.part_words(now, last));
            if first == last {
                format!("runs out {first} ({zone})")
            } else {
                format!("runs out {first} to {last} ({zone})")
            }
        }
        (_, None) => {
            let first = calendar.part_words(now, first);
            format!("probably runs out ({:.0} %), {first} or later ({zone})", p * 100.0)
        }
    }
}

fn hours(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64() / 3_600.0
}

/// To the nearest hour: a minute would say more than is known.
fn rounded(at: Timestamp) -> Timestamp {
    let half_past = at.after(Duration::from_secs(1_800)).as_millis();
    Timestamp::from_millis(half_past - half_past.rem_euclid(3_600_000))
}
