//! Forecasts kept until their window ends, and what came of them.

use super::{Forecast, History, Spread};
use crate::time::Timestamp;

/// Enough of a spread to score it later.
pub const QUANTILES: usize = 20;

/// A forecast as it is kept until the reset. All hours count from `made_at`.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    pub made_at: Timestamp,
    pub resets_at: Timestamp,
    pub p_runs_out: f64,
    /// Equally likely values of how long it lasts, in ascending order.
    pub lasts: [f64; QUANTILES],
    /// The 80 % band.
    pub band: (f64, f64),
    /// What the straight line said at that moment.
    pub straight_line: f64,
    /// What the same hours a week before said.
    pub seasonal_naive: f64,
}

/// What came of one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scored {
    pub error_hours: f64,
    pub crps_hours: f64,
    pub brier: f64,
    pub hit: bool,
    pub width_hours: f64,
    pub straight_line_error_hours: f64,
    pub seasonal_naive_error_hours: f64,
}

impl Kept {
    /// `None` where there is nothing to score: without a limit, or once it has run out.
    pub fn of(forecast: &Forecast, history: &History, question: &super::Question<'_>) -> Option<Kept> {
        let window = question.window;
        let left = window.limit? - window.used;
        if left <= 0.0 || question.now >= window.resets_at {
            return None;
        }
        let quantile = |at: usize| forecast.lasts.quantile((at as f64 + 0.5) / QUANTILES as f64);
        Some(Kept {
            made_at: question.now,
            resets_at: window.resets_at,
            p_runs_out: forecast.p_runs_out?,
            lasts: std::array::from_fn(quantile),
            band: forecast.band,
            straight_line: straight_line(window.since, question.now, window.resets_at, window.used, left),
            seasonal_naive: seasonal_naive(history, question.now, window.resets_at, left),
        })
    }

    /// At the reset, or when it ran out before.
    pub fn score(&self, ran_out_at: Option<Timestamp>) -> Scored {
        let ran_out_at = ran_out_at.filter(|at| *at < self.resets_at);
        let lasted = hours(self.made_at, ran_out_at.unwrap_or(self.resets_at)).max(0.0);
        let spread = Spread::weighted(self.lasts.iter().map(|hours| (*hours, 1.0)).collect());
        let spread = spread.unwrap_or_else(|| Spread::certain(lasted));
        let ran_out = if ran_out_at.is_some() { 1.0 } else { 0.0 };
        Scored {
            error_hours: (spread.quantile(0.5) - lasted).abs(),
            crps_hours: spread.crps(lasted),
            brier: (self.p_runs_out - ran_out).powi(2),
            hit: is_in(self.band, lasted),
            width_hours: self.band.1 - self.band.0,
            straight_line_error_hours: (self.straight_line - lasted).abs(),
            seasonal_naive_error_hours: (self.seasonal_naive - lasted).abs(),
        }
    }
}

/// Whether a band holds what happened; a second of rounding is no miss.
pub(super) fn is_in(band: (f64, f64), hours: f64) -> bool {
    const SECOND: f64 = 1.0 / 3_600.0;
    (band.0 - SECOND..=band.1 + SECOND).contains(&hours)
}

/// Means over forecasts that were scored, the latest windows of one quota.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Card {
    pub scored: usize,
    pub hits: usize,
    pub mae_hours: f64,
    pub crps_hours: f64,
    pub brier: f64,
    pub width_hours: f64,
    /// 1 is perfect, 0 as good as the straight line, below 0 worse; `None` where the line made no error.
    pub skill_straight_line: Option<f64>,
    pub skill_seasonal_naive: Option<f64>,
}

impl Card {
    pub fn of(scored: &[Scored]) -> Option<Card> {
        let count = scored.len();
        if count == 0 {
            return None;
        }
        let mean = |of: fn(&Scored) -> f64| scored.iter().map(of).sum::<f64>() / count as f64;
        let crps_hours = mean(|scored| scored.crps_hours);
        let skill = |other: f64| (other > 0.0).then(|| 1.0 - crps_hours / other);
        Some(Card {
            scored: count,
            hits: scored.iter().filter(|scored| scored.hit).count(),
            mae_hours: mean(|scored| scored.error_hours),
            crps_hours,
            brier: mean(|scored| scored.brier),
            width_hours: mean(|scored| scored.width_hours),
            skill_straight_line: skill(mean(|scored| scored.straight_line_error_hours)),
            skill_seasonal_naive: skill(mean(|scored| scored.seasonal_naive_error_hours)),
        })
    }

    pub fn coverage(&self) -> f64 {
        self.hits as f64 / self.scored.max(1) as f64
    }

    /// `80 % band hit 7 of 8 weeks`; what was scored is named in the plural.
    pub fn words(&self, what: &str) -> String {
        format!("80 % band hit {} of {} {what}", self.hits, self.scored)
    }
}

fn straight_line(since: Timestamp, now: Timestamp, reset: Timestamp, used: f64, left: f64) -> f64 {
    let ahead = hours(now, reset);
    if used > 0.0 { (hours(since, now) * left / used).min(ahead) } else { ahead }
}

/// By whole hours, as those of a week before; further on that week comes again.
fn seasonal_naive(history: &History, now: Timestamp, reset: Timestamp, left: f64) -> f64 {
    const WEEK: i64 = 168;
    let ahead = hours(now, reset);
    let first = now.as_millis().div_euclid(super::civil::HOUR_MS);
    let into = hours(Timestamp::from_millis(first * super::civil::HOUR_MS), now);
    let mut used = 0.0;
    for offset in 0..ahead.ceil() as i64 + 1 {
        let weeks = offset / WEEK + 1;
        let index = usize::try_from((first + offset - weeks * WEEK).saturating_sub(history.first_hour)).ok();
        let value: f64 =
            history.series.iter().filter_map(|hours| hours.get(index?)).filter(|value| value.is_finite()).sum();
        let share = if offset == 0 { 1.0 - into } else { 1.0 };
        let starts = if offset == 0 { 0.0 } else { offset as f64 - into };
        let value = value.max(0.0) * share;
        if value > 0.0 && used + value >= left {
            return (starts + share * (left - used) / value).min(ahead);
        }
        used += value;
    }
    ahead
}

fn hours(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_millis() - from.as_millis()) as f64 / super::civil::HOUR_MS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            made_at: Timestamp::from_millis(0),
            resets_at: Timestamp::from_millis(100 * 3_600_000),
            p_runs_out: 0.8,
            lasts: std::array::from_fn(|at| 40.0 + at as f64),
            band: (42.0, 57.0),
            straight_line: 30.0,
            seasonal_naive: 100.0,
        }
    }

    #[test]
    fn a_kept_forecast_is_scored_by_when_it_ran_out_or_that_it_lasted() {
        let out = kept().score(Some(Timestamp::from_millis(50 * 3_600_000)));
        assert_eq!((out.error_hours, out.hit, out.width_hours), (1.0, true, 15.0));
        assert_eq!((out.straight_line_error_hours, out.seasonal_naive_error_hours), (20.0, 50.0));
        assert!((out.brier - 0.04).abs() < 1e-9 && out.crps_hours < 4.0, "{out:?}");
        let lasted = kept().score(None);
        assert_eq!((lasted.error_hours, lasted.hit), (51.0, false));
        assert!((lasted.brier - 0.64).abs() < 1e-9);
    }

    #[test]
    fn the_card_counts_hits_and_compares_with_simple_methods() {
        let scored = [kept().score(Some(Timestamp::from_millis(50 * 3_600_000))), kept().score(None)];
        let card = Card::of(&scored).expect("two");
        assert_eq!(card.words("weeks"), "80 % band hit 1 of 2 weeks");
        assert_eq!(card.coverage(), 0.5);
        assert_eq!(card.mae_hours, 26.0);
        // The line erred by 45 in the mean, the week before by 25, and this by a little less.
        let (line, naive) = (card.skill_straight_line.expect("it erred"), card.skill_seasonal_naive.expect("it erred"));
        assert!((line - (1.0 - card.crps_hours / 45.0)).abs() < 1e-9 && line > 0.4, "{line}");
        assert!((naive - (1.0 - card.crps_hours / 25.0)).abs() < 1e-9 && naive < 0.1, "{naive}");
        assert_eq!(Card::of(&[]), None);
    }

    #[test]
    fn the_week_before_is_played_again() {
        let first_hour = 0;
        let mut hours = vec![0.0; 168];
        hours[10] = 8.0;
        let history = History { first_hour, series: vec![hours], known: vec![true; 168] };
        let at = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        assert_eq!(seasonal_naive(&history, at(168), at(336), 4.0), 10.5);
        assert_eq!(seasonal_naive(&history, at(168), at(504), 12.0), 168.0 + 10.5);
        assert_eq!(seasonal_naive(&history, at(168), at(336), 9.0), 168.0);
    }
}
