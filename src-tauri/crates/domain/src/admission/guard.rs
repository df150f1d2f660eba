//! How much of a limit we allow ourselves: nearly all while the upstream's headers confirm our count, less after a surprise.

/// Thousandths of thousandths, so that small steps add up.
const FINE: u32 = 1_000;
const LEAST: u32 = 800 * FINE;
/// A confirmation closes this part of the distance to the most.
const CONFIRMED: u32 = 64;
/// And lets a refusal fade by this part.
const FORGOTTEN: u32 = 2_048;
/// A refusal that our count did not foresee.
const REFUSED: u32 = 20 * FINE;
/// Usage of others that came as a surprise.
const SURPRISED: u32 = 2 * FINE;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Guard {
    fine: u32,
    /// Towards this it narrows: the most there is, or where it was refused last.
    ceiling: u32,
    most: u32,
}

impl Guard {
    /// Learns between 800 and `most`; a start outside of them is kept until the first lesson.
    pub(super) const fn new(start_permille: u32, most_permille: u32) -> Guard {
        Guard { fine: start_permille * FINE, ceiling: most_permille * FINE, most: most_permille * FINE }
    }

    pub(super) const fn permille(self) -> u32 {
        self.fine / FINE
    }

    /// Of `limit`, in thousandths.
    pub(super) fn of(self, limit: u64) -> i128 {
        i128::from(limit) * i128::from(self.fine) / i128::from(FINE)
    }

    pub(super) fn confirmed(&mut self) {
        self.fine += self.ceiling.saturating_sub(self.fine) / CONFIRMED;
        self.ceiling += (self.most - self.ceiling) / FORGOTTEN;
    }

    /// What was refused once is approached again, and only slowly passed.
    pub(super) fn refused(&mut self) {
        self.ceiling = self.fine.saturating_sub(REFUSED / 2).clamp(LEAST, self.most);
        self.widen(REFUSED);
    }

    pub(super) fn surprised(&mut self) {
        self.widen(SURPRISED);
    }

    fn widen(&mut self, by: u32) {
        self.fine = self.fine.saturating_sub(by).max(LEAST.min(self.fine));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_narrows_while_confirmed_and_widens_on_a_surprise() {
        let mut guard = Guard::new(930, 1_000);
        for _ in 0..200 {
            guard.confirmed();
        }
        assert_eq!(guard.permille(), 996);
        guard.surprised();
        assert_eq!(guard.permille(), 994);
        for _ in 0..100 {
            guard.refused();
        }
        assert_eq!(guard.permille(), 800);
    }

    #[test]
    fn where_it_was_refused_it_stays_below_for_a_long_time() {
        let mut guard = Guard::new(960, 1_000);
        for _ in 0..400 {
            guard.confirmed();
        }
        guard.refused();
        for _ in 0..200 {
            guard.confirmed();
        }
        assert!((985..=992).contains(&guard.permille()), "{guard:?}");
        for _ in 0..9_000 {
            guard.confirmed();
        }
        assert!(guard.permille() > 995, "{guard:?}");
    }
}
