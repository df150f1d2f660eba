//! Up to which day the books of an account are reconciled: kept from one reconciliation to the next.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::folder::{self, FolderError};

const FILE: &str = "reconciled.json";

/// By the names of the upstreams.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    accounts: BTreeMap<String, Span>,
}

/// Days since 1970, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Span {
    from: i64,
    to: i64,
}

impl Kept {
    pub(super) fn read(dir: &Path) -> Result<Kept, FolderError> {
        folder::read_json(&dir.join(FILE))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), FolderError> {
        folder::write_json(&dir.join(FILE), self)
    }

    /// The days `from` to `to` were looked at and are in order up to `good`. Days that join are one span;
    /// what was in order and is no more ends it.
    pub(super) fn learn(&mut self, account: &str, from: i64, to: i64, good: Option<i64>) {
        let before = self.accounts.get(account).copied();
        let (joined, later) = match before {
            Some(before) if before.from <= from && from <= before.to.saturating_add(1) => (Some(before), None),
            Some(before) if before.from > from => (None, Some(before)),
            Some(_) | None => (None, None),
        };
        let begins = joined.map_or(from, |joined| joined.from);
        let span = match good {
            None => later
                .or((begins < from).then_some(Span { from: begins, to: from - 1 }))
                .or(before.filter(|_| joined.is_none())),
            // A stretch long ago says nothing of the one that is kept.
            Some(good) if later.is_some_and(|later| later.from > good.saturating_add(1)) => later,
            Some(good) if good < to => Some(Span { from: begins, to: good }),
            Some(good) => {
                let reaches = joined.or(later).map_or(good, |known| known.to);
                Some(Span { from: begins, to: good.max(reaches) })
            }
        };
        match span {
            Some(span) => self.accounts.insert(account.to_owned(), span),
            None => self.accounts.remove(account),
        };
    }

    /// The earliest of these accounts; `None` where one of them has no day in order.
    pub(super) fn to(&self, accounts: &[String]) -> Option<i64> {
        let days: Option<Vec<i64>> = accounts.iter().map(|name| Some(self.accounts.get(name)?.to)).collect();
        days?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_join_are_one_and_what_is_no_more_in_order_ends_it() {
        let mut kept = Kept::default();
        let mut learn = |from, to, good, expected: Option<i64>| {
            kept.learn("a", from, to, good);
            assert_eq!(kept.to(&["a".to_owned()]), expected, "{from} {to} {good:?}");
        };
        learn(10, 16, Some(16), Some(16));
        learn(17, 23, Some(20), Some(20));
        learn(15, 18, Some(18), Some(20));
        learn(15, 20, Some(18), Some(18));
        learn(30, 35, None, Some(18));
        learn(14, 20, None, Some(13));
        learn(30, 33, Some(33), Some(33));
        learn(1, 5, Some(5), Some(33));
        learn(28, 31, Some(31), Some(33));
        learn(27, 33, Some(30), Some(30));
        learn(27, 33, None, None);
    }

    #[test]
    fn all_accounts_are_in_order_or_nobody_says_so() {
        let mut kept = Kept::default();
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        kept.learn("a", 10, 16, Some(16));
        kept.learn("gone", 1, 2, Some(2));
        assert_eq!(kept.to(&named(&["a"])), Some(16));
        assert_eq!(kept.to(&named(&["a", "b"])), None);
        kept.learn("b", 10, 16, Some(12));
        assert_eq!(kept.to(&named(&["a", "b"])), Some(12));
        assert_eq!(kept.to(&[]), None);
    }
}
