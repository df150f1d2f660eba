//! How wrong estimates have been, in classes a quarter wider each.

/// From one in a thousand to a hundred times the truth.
pub(super) const CLASSES: usize = 52;
/// What one more call leaves of the weight of those before it.
const KEPT: f32 = 0.995;

#[derive(Clone, Copy, Debug)]
pub(super) struct Errors {
    seen: u64,
    weights: [f32; CLASSES],
}

impl Default for Errors {
    fn default() -> Errors {
        Errors { seen: 0, weights: [0.0; CLASSES] }
    }
}

impl Errors {
    pub(super) fn resumed(seen: u64, weights: &[f32]) -> Errors {
        let mut errors = Errors { seen, ..Errors::default() };
        for (known, weight) in errors.weights.iter_mut().zip(weights) {
            *known = if weight.is_finite() { weight.clamp(0.0, 1.0 / (1.0 - KEPT)) } else { 0.0 };
        }
        errors
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn weights(&self) -> &[f32; CLASSES] {
        &self.weights
    }

    pub(super) fn learn(&mut self, guessed: u64, truth: u64) {
        let permille = (u128::from(guessed.abs_diff(truth)) * 1_000).checked_div(truth.into());
        let permille = permille.and_then(|permille| u64::try_from(permille).ok()).unwrap_or(u64::MAX);
        self.seen = self.seen.saturating_add(1);
        self.weights.iter_mut().for_each(|weight| *weight *= KEPT);
        if let Some(weight) = self.weights.get_mut(class(permille)) {
            *weight += 1.0;
        }
    }

    /// The error that this share of the calls stays under, in thousandths of the truth.
    pub(super) fn permille(&self, share: f32) -> u32 {
        let wanted = self.weights.iter().sum::<f32>() * share;
        let mut below = 0.0;
        let reached = |weight: &f32| {
            below += weight;
            below > 0.0 && below >= wanted
        };
        let upper = self.weights.iter().position(reached).and_then(|class| uppers().nth(class)).unwrap_or(0);
        u32::try_from(upper).unwrap_or(u32::MAX)
    }
}

fn class(permille: u64) -> usize {
    uppers().take(CLASSES - 1).take_while(|upper| *upper < permille).count()
}

/// The largest error of each class, in thousandths: 0, 1, 2, 3, 4, 6, 8, 11 …
fn uppers() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0), |upper: &u64| Some(upper + 1 + upper / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_of_the_errors_stay_under_what_it_says() {
        let mut errors = Errors::default();
        for error in (0..100).map(|i| i * 37 % 100) {
            errors.learn(1_000 + error, 1_000);
        }
        let (median, p95) = (errors.permille(0.5), errors.permille(0.95));
        assert!((47..=59).contains(&median) && (93..=117).contains(&p95), "{median} {p95}");
    }

    #[test]
    fn absurd_figures_are_one_error_like_another() {
        let mut errors = Errors::default();
        for (guessed, truth) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, 1), (7, 7)] {
            errors.learn(guessed, truth);
        }
        assert_eq!(errors.seen(), 4);
        assert!(errors.permille(1.0) >= 100_000);
        assert_eq!(Errors::resumed(4, &[f32::NAN, f32::INFINITY, -1.0]).permille(0.5), 0);
    }
}
