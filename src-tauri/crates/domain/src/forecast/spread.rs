//! A number that isn't known, as the values it may take and how likely each is.

/// Weighted values in ascending order; at least one.
#[derive(Clone, PartialEq, Debug)]
pub struct Spread {
    values: Vec<f64>,
    /// The weight of the value and of all before it; the last is 1.
    shares: Vec<f64>,
}

impl Spread {
    /// All weight on one value.
    pub fn certain(value: f64) -> Spread {
        Spread { values: vec![value], shares: vec![1.0] }
    }

    /// Of finite values with weights; `None` where no weight is above 0.
    pub fn weighted(mut points: Vec<(f64, f64)>) -> Option<Spread> {
        points.retain(|(value, weight)| value.is_finite() && *weight > 0.0 && weight.is_finite());
        points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = points.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let shares = points.iter().map(|(_, weight)| {
            sum += weight;
            sum / total
        });
        let mut shares: Vec<f64> = shares.collect();
        *shares.last_mut()? = 1.0;
        Some(Spread { values: points.into_iter().map(|(value, _)| value).collect(), shares })
    }

    /// All values so much greater.
    #[must_use]
    pub fn later(mut self, by: f64) -> Spread {
        self.values.iter_mut().for_each(|value| *value += by);
        self
    }

    /// The smallest value that is not exceeded with so much probability, from 0 to 1.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = self.shares.partition_point(|sum| *sum < share - 1e-12);
        self.values[at.min(self.values.len() - 1)]
    }

    /// How likely it is less than `value`.
    pub fn share_below(&self, value: f64) -> f64 {
        match self.values.partition_point(|known| *known < value) {
            0 => 0.0,
            at => self.shares[at - 1],
        }
    }

    /// How likely it is `value` or less.
    pub fn share_up_to(&self, value: f64) -> f64 {
        match self.values.partition_point(|known| *known <= value) {
            0 => 0.0,
            at => self.shares[at - 1],
        }
    }

    /// The continuous ranked probability score against what happened, in the unit of the values. For a certain value it is the distance.
    pub fn crps(&self, happened: f64) -> f64 {
        // The integral of (F - 1{x >= happened})², step by step.
        let mut score = 0.0;
        let (first, last) = (self.values[0], self.values[self.values.len() - 1]);
        score += (first - happened).max(0.0) + (happened - last).max(0.0);
        for (at, pair) in self.values.windows(2).enumerate() {
            let (from, to, share) = (pair[0], pair[1], self.shares[at]);
            let split = happened.clamp(from, to);
            score += (split - from) * share * share + (to - split) * (1.0 - share) * (1.0 - share);
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_shares_count_weight_not_values() {
        let spread = Spread::weighted(vec![(30.0, 1.0), (10.0, 2.0), (20.0, 1.0)]).expect("weights");
        assert_eq!(
            [0.1, 0.5, 0.51, 0.75, 0.76, 1.0].map(|share| spread.quantile(share)),
            [10.0, 10.0, 20.0, 20.0, 30.0, 30.0]
        );
        assert_eq!([10.0, 10.1, 30.0, 31.0].map(|value| spread.share_below(value)), [0.0, 0.5, 0.75, 1.0]);
        assert_eq!(spread.share_up_to(10.0), 0.5);
        assert_eq!(Spread::weighted(vec![(1.0, 0.0), (f64::NAN, 1.0)]), None);
    }

    #[test]
    fn crps_is_the_distance_for_a_point_and_rewards_a_band_that_is_right() {
        assert_eq!(Spread::certain(5.0).crps(8.0), 3.0);
        // Two equal chances at 0 and 2: E|X - y| is 1, half of E|X - X'| is 0.5.
        let spread = Spread::weighted(vec![(0.0, 1.0), (2.0, 1.0)]).expect("weights");
        assert_eq!([0.0, 1.0, 2.0].map(|y| spread.crps(y)), [0.5, 0.5, 0.5]);
        assert_eq!(spread.crps(4.0), 2.5);
    }
}
