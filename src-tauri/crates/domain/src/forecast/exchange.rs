//! What one percent of a quota comes to in dollars or tokens, learned from both growing together.

/// What an upstream says is used, and what was spent by then, both since any start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reading {
    pub percent: f64,
    pub spent: f64,
}

/// Spent per percent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exchange {
    pub per_percent: f64,
    /// A quarter of the percent moved for less, and a quarter for more than these.
    pub quarter: f64,
    pub three_quarters: f64,
    /// Percent that moved in all.
    pub percent_seen: f64,
}

/// Less than this says little: readings come in whole percent.
const PERCENT_SEEN_MIN: f64 = 5.0;

impl Exchange {
    /// From readings in the order of time. Where the percentage falls the window was reset, and what lies between is left out.
    /// The median over percent: what others spend from the same quota makes some percent cheap, and moves it little.
    pub fn learn(readings: &[Reading]) -> Option<Exchange> {
        let mut rates: Vec<(f64, f64)> = vec![];
        let mut readings = readings.iter().filter(|reading| reading.percent.is_finite() && reading.spent.is_finite());
        let mut last = *readings.next()?;
        for reading in readings {
            let (percent, spent) = (reading.percent - last.percent, reading.spent - last.spent);
            if percent > 0.0 && spent >= 0.0 {
                rates.push((spent / percent, percent));
            }
            // While the percentage stands still, spending goes on to the next one that is told.
            if percent != 0.0 || spent < 0.0 {
                last = *reading;
            }
        }
        let percent_seen = rates.iter().map(|(_, percent)| percent).sum();
        if percent_seen < PERCENT_SEEN_MIN {
            return None;
        }
        let spread = super::Spread::weighted(rates)?;
        let [quarter, per_percent, three_quarters] = [0.25, 0.5, 0.75].map(|share| spread.quantile(share));
        (per_percent > 0.0).then_some(Exchange { per_percent, quarter, three_quarters, percent_seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(steps: &[(f64, f64)]) -> Vec<Reading> {
        steps.iter().map(|&(percent, spent)| Reading { percent, spent }).collect()
    }

    #[test]
    fn one_percent_is_learned_though_others_spend_and_the_window_resets() {
        let seen = readings(&[
            (10.0, 0.0),
            (12.0, 12.8),
            // Elsewhere somebody spent: the quota moved for nothing.
            (13.0, 12.8),
            // Not told until the next reading.
            (13.0, 16.0),
            (15.0, 25.6),
            // A reset.
            (1.0, 26.0),
            (4.0, 45.2),
            (5.0, 51.6),
        ]);
        let learned = Exchange::learn(&seen).expect("enough percent");
        assert!((learned.per_percent - 6.4).abs() < 1e-9, "{learned:?}");
        assert!(learned.quarter <= 6.4 && learned.three_quarters >= 6.4);
    }

    #[test]
    fn little_or_nonsense_teaches_nothing() {
        assert_eq!(Exchange::learn(&[]), None);
        assert_eq!(Exchange::learn(&readings(&[(1.0, 0.0), (3.0, 10.0)])), None);
        assert_eq!(Exchange::learn(&readings(&[(1.0, 0.0), (f64::NAN, 3.0), (50.0, 0.0)])), None);
    }
}
