//! How far apart the ends of the 80 % band must be drawn for it to hold 80 %, learned from what came of earlier forecasts.

/// Share of outcomes that the band shall hold.
pub const COVERAGE: f64 = 0.8;

/// The shares between which the band is drawn follow hits and misses (adaptive conformal inference, Gibbs and Candès 2021).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Calibration {
    nominal: f64,
    /// Forecasts it has learned from.
    pub scored: u32,
}

/// Most windows end at the reset or soon after a forecast, where a band of 80 % holds far more: it begins narrower.
const NOMINAL_FIRST: f64 = 0.6;
const NOMINAL_MIN: f64 = 0.3;
const NOMINAL_MAX: f64 = 0.96;
/// How far one forecast moves it: a month of weekly windows, five forecasts each, by about the width of its error.
const STEP: f64 = 0.03;

impl Default for Calibration {
    fn default() -> Calibration {
        Calibration { nominal: NOMINAL_FIRST, scored: 0 }
    }
}

impl Calibration {
    /// In the order in which the forecasts were made.
    pub fn of(hits: impl IntoIterator<Item = bool>) -> Calibration {
        let mut calibration = Calibration::default();
        hits.into_iter().for_each(|hit| calibration.learn(hit));
        calibration
    }

    pub fn learn(&mut self, hit: bool) {
        let moved = if hit { COVERAGE - 1.0 } else { COVERAGE };
        self.nominal = (self.nominal + STEP * moved).clamp(NOMINAL_MIN, NOMINAL_MAX);
        self.scored = self.scored.saturating_add(1);
    }

    /// The shares of a spread at which the band begins and ends.
    pub fn shares(self) -> (f64, f64) {
        ((1.0 - self.nominal) / 2.0, (1.0 + self.nominal) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_widen_the_band_and_hits_narrow_it_until_four_of_five_hit() {
        let width = |hits: &[bool]| {
            let (from, to) = Calibration::of(hits.iter().copied()).shares();
            to - from
        };
        assert!(width(&[false; 5]) > width(&[]));
        assert!(width(&[true; 5]) < width(&[]));
        let steady = [true, true, false, true, true].repeat(50);
        assert!((width(&steady) - width(&[])).abs() < 0.01);
        assert!(width(&[true; 1_000]) >= 0.29 && width(&[false; 1_000]) < 0.97, "no wrong certainty");
    }
}
