//! How much each part of a prompt weighs for one client, learned call by call: a linear regression that
//! knows how sure it is, and slowly forgets.

use super::prior::{DOUBT, PARTS, Parts};

/// A part weighs a tenth of what was presumed at least, and ten times at most, whatever answers say.
const WEIGHT_RANGE: (f64, f64) = (0.1, 10.0);
/// How the variance of all that is known grows with each call; fifty calls are remembered well.
pub(super) const AGEING: f64 = 1.02;
/// How many times the first doubt there is after weights were found to be wrong.
const FORGOTTEN: f64 = 3.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Regression {
    weights: Parts,
    /// Covariance of the weights.
    doubt: [Parts; PARTS],
}

impl Regression {
    pub(super) fn presumed() -> Regression {
        Regression::resumed([1.0; PARTS])
    }

    /// Weights to begin with, held as lightly as presumed ones.
    pub(super) fn resumed(weights: Parts) -> Regression {
        Regression::doubted(weights, 1.0)
    }

    /// Weights that were wrong too often to be believed.
    pub(super) fn forgotten(weights: Parts) -> Regression {
        Regression::doubted(weights, FORGOTTEN)
    }

    fn doubted(weights: Parts, by: f64) -> Regression {
        let mut doubt = [[0.0; PARTS]; PARTS];
        for (i, row) in doubt.iter_mut().enumerate() {
            row[i] = (DOUBT[i] * by).powi(2);
        }
        Regression { weights: weights.map(sane), doubt }
    }

    pub(super) fn weights(&self) -> Parts {
        self.weights
    }

    pub(super) fn mean(&self, parts: &Parts) -> f64 {
        dot(&self.weights, parts)
    }

    pub(super) fn variance(&self, parts: &Parts) -> f64 {
        dot(&self.doubtful(parts), parts).max(0.0)
    }

    /// Variance of a sum of parts and an offset.
    pub(super) fn variance_beside(&self, parts: &Parts, offset: &Offset) -> f64 {
        (dot(&self.doubtful(parts), parts) + 2.0 * dot(&offset.shared, parts) + offset.variance).max(0.0)
    }

    /// `parts` came to `error` tokens more than their mean, by chance of that variance.
    pub(super) fn learn(&mut self, parts: &Parts, error: f64, chance: f64) {
        self.learn_beside(parts, &mut Offset::default(), error, chance);
    }

    /// `parts` and an offset came to `error` tokens more than their mean, by chance of that variance.
    pub(super) fn learn_beside(&mut self, parts: &Parts, offset: &mut Offset, error: f64, chance: f64) {
        let mut of_weights = self.doubtful(parts);
        of_weights.iter_mut().zip(offset.shared).for_each(|(of_weight, shared)| *of_weight += shared);
        let of_offset = dot(&offset.shared, parts) + offset.variance;
        let variance = (dot(&of_weights, parts) + of_offset).max(0.0) + chance;
        if variance <= 0.0 || !error.is_finite() {
            return;
        }
        for i in 0..PARTS {
            self.weights[i] = sane(self.weights[i] + of_weights[i] * error / variance);
            offset.shared[i] -= of_weights[i] * of_offset / variance;
            for j in 0..PARTS {
                self.doubt[i][j] -= of_weights[i] * of_weights[j] / variance;
            }
        }
        offset.value += of_offset * error / variance;
        offset.variance = (offset.variance - of_offset * of_offset / variance).max(0.0) * AGEING;
        self.age();
    }

    /// Older calls count less and less: what they made sure becomes doubtful again, up to the first doubt.
    fn age(&mut self) {
        let grows: [f64; PARTS] =
            std::array::from_fn(|i| if self.doubt[i][i] < DOUBT[i] * DOUBT[i] { AGEING.sqrt() } else { 1.0 });
        for (row, by) in self.doubt.iter_mut().zip(grows) {
            row.iter_mut().zip(grows).for_each(|(doubt, also)| *doubt *= by * also);
        }
    }

    fn doubtful(&self, parts: &Parts) -> Parts {
        self.doubt.map(|row| dot(&row, parts))
    }
}

/// Tokens that no part shows, known together with the weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    pub(super) value: f64,
    pub(super) variance: f64,
    /// Covariance with each weight: what one explains, the other need not.
    shared: Parts,
}

impl Offset {
    pub(super) fn unsure(value: f64, variance: f64) -> Offset {
        Offset { value, variance, shared: [0.0; PARTS] }
    }

    /// Another offset is known with the weights from now on.
    pub(super) fn part(&mut self) {
        self.shared = [0.0; PARTS];
    }
}

fn dot(a: &Parts, b: &Parts) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sane(weight: f64) -> f64 {
    if weight.is_finite() { weight.clamp(WEIGHT_RANGE.0, WEIGHT_RANGE.1) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_that_come_in_different_mixtures_are_told_apart() {
        let mut learned = Regression::presumed();
        for i in 0..60 {
            let mut parts = [0.0; PARTS];
            parts[0] = f64::from(100 + i * 37 % 300);
            parts[3] = f64::from(50 + i * 53 % 400);
            let truth = parts[0] * 1.2 + parts[3] * 0.7;
            learned.learn(&parts, truth - learned.mean(&parts), 4.0);
        }
        let [text, _, _, foreign, ..] = learned.weights();
        assert!((text - 1.2).abs() < 0.01 && (foreign - 0.7).abs() < 0.01, "{text} {foreign}");
    }

    #[test]
    fn whatever_is_learned_weights_and_doubt_stay_finite() {
        let mut learned = Regression::presumed();
        for error in [1e300, -1e300, f64::NAN, f64::INFINITY, 5.0] {
            learned.learn(&[1e9; PARTS], error, 1.0);
            assert!(learned.mean(&[1.0; PARTS]).is_finite());
            assert!(learned.variance(&[1.0; PARTS]).is_finite());
        }
    }
}
