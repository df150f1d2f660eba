//! How long answers have been of late.

/// As many as give a ninety-fifth percentile; older ones are forgotten.
const KEPT: usize = 40;

/// The last answers of one kind of call, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    last: Vec<u32>,
    next: usize,
    median: u32,
    high: u32,
}

impl Outputs {
    pub(super) fn of(last: impl IntoIterator<Item = u32>) -> Outputs {
        let mut outputs = Outputs::default();
        last.into_iter().for_each(|output| outputs.learn(output));
        outputs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    pub(super) fn median(&self) -> u64 {
        self.median.into()
    }

    /// One answer in twenty is longer.
    pub(super) fn high(&self) -> u64 {
        self.high.into()
    }

    /// In the order in which they came.
    pub(super) fn last(&self) -> impl Iterator<Item = u32> {
        let (newer, older) = self.last.split_at(self.next.min(self.last.len()));
        older.iter().chain(newer).copied()
    }

    pub(super) fn learn(&mut self, output: u32) {
        if self.last.len() < KEPT {
            self.last.push(output);
        } else if let Some(oldest) = self.last.get_mut(self.next) {
            *oldest = output;
            self.next = (self.next + 1) % KEPT;
        }
        self.rank();
    }

    fn rank(&mut self) {
        let mut sorted = [0; KEPT];
        let sorted = &mut sorted[..self.last.len()];
        sorted.copy_from_slice(&self.last);
        sorted.sort_unstable();
        let count = sorted.len();
        self.median = sorted.get(count / 2).copied().unwrap_or_default();
        let most = sorted.last().copied().unwrap_or_default();
        // Too few to have shown their longest: that one and a margin.
        self.high = match sorted.get(((count + 1) * 19).div_ceil(20) - 1) {
            Some(rank) => *rank,
            None => most.saturating_add(most / u32::try_from(count.max(1)).unwrap_or(1)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_in_twenty_is_longer_than_the_high_one() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut outputs = Outputs::default();
        let longer = (0..4_000).filter(|_| {
            let output = rng.u32(100..1_000);
            let longer = u64::from(output) > outputs.high();
            outputs.learn(output);
            longer
        });
        let share = longer.count() * 1_000 / 4_000;
        assert!((30..=70).contains(&share), "{share} of 1000");
    }

    #[test]
    fn after_forty_calls_nothing_of_the_past_is_left() {
        let mut outputs = Outputs::of([u32::MAX; 100]);
        (0..40).for_each(|_| outputs.learn(10));
        assert_eq!((outputs.median(), outputs.high()), (10, 10));
    }

    #[test]
    fn it_resumes_in_the_order_in_which_they_came() {
        let outputs = Outputs::of(0..100);
        assert!(outputs.last().eq(60..100));
        assert_eq!(Outputs::of(outputs.last()).high(), outputs.high());
    }
}
