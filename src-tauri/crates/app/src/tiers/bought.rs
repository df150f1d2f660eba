//! `DIR/purchases.json`: credit that was bought, and what upstreams buy by themselves.

use std::collections::BTreeMap;
use std::path::Path;

use domain::money::Usd;
use domain::tier::course::{Purchase, Reload};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::PurchaseView;
use crate::api::ApiError;
use crate::folder::FolderError;
use crate::{App, folder, range};

/// By upstream.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    upstreams: BTreeMap<String, Bought>,
    /// No number is given twice, so that what is removed twice takes nothing else away.
    last_id: u64,
}

/// Amounts in nano-dollars.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Bought {
    purchases: Vec<Row>,
    /// Below, and how much.
    reload: Option<(i64, i64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written")]
struct Row {
    /// In milliseconds since 1970.
    at: i64,
    nanos: i64,
    id: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Row {
        at: i64,
        nanos: i64,
        id: u64,
    },
    /// As the first versions wrote it.
    Bare(i64, i64),
}

const FILE: &str = "purchases.json";
const PURCHASES_MAX: usize = 10_000;
/// More is a slip of the keyboard, or a matter for a contract.
const PURCHASE_MAX: Usd = Usd::from_nanos(1_000_000_000_000_000);

impl From<Written> for Row {
    fn from(written: Written) -> Row {
        match written {
            Written::Row { at, nanos, id } => Row { at, nanos, id },
            Written::Bare(at, nanos) => Row { at, nanos, id: 0 },
        }
    }
}

impl Kept {
    pub(super) fn read(dir: &Path) -> Result<Kept, FolderError> {
        let mut kept: Kept = folder::read_json(&dir.join(FILE))?;
        let Kept { upstreams, last_id } = &mut kept;
        for row in upstreams.values_mut().flat_map(|bought| &mut bought.purchases).filter(|row| row.id == 0) {
            *last_id += 1;
            row.id = *last_id;
        }
        Ok(kept)
    }

    pub(super) fn of(&self, upstream: &str) -> Bought {
        self.upstreams.get(upstream).cloned().unwrap_or_default()
    }

    fn add(&mut self, upstream: &str, at: Timestamp, amount: Usd) -> Result<PurchaseView, ApiError> {
        let bought = self.upstreams.entry(upstream.to_owned()).or_default();
        if bought.purchases.len() >= PURCHASES_MAX {
            return Err(ApiError::machine(format!("{PURCHASES_MAX} purchases are written down: no more are kept")));
        }
        self.last_id += 1;
        let row = Row { at: at.as_millis(), nanos: amount.as_nanos(), id: self.last_id };
        bought.purchases.push(row);
        bought.purchases.sort_unstable();
        Ok(row.view(upstream))
    }

    fn remove(&mut self, id: &str) -> Result<PurchaseView, ApiError> {
        let unknown = || {
            ApiError::absent(format!(
                "there is no purchase {id:?}: `tidegate tier purchase list` shows those there are"
            ))
        };
        let number: u64 = id.parse().map_err(|_| unknown())?;
        for (upstream, bought) in &mut self.upstreams {
            if let Some(place) = bought.purchases.iter().position(|row| row.id == number) {
                return Ok(bought.purchases.remove(place).view(upstream));
            }
        }
        Err(unknown())
    }

    fn views(&self) -> Vec<PurchaseView> {
        self.upstreams.iter().flat_map(|(upstream, bought)| bought.views(upstream)).collect()
    }
}

impl Bought {
    pub(super) fn sum(&self) -> Usd {
        self.purchases.iter().map(|row| Usd::from_nanos(row.nanos)).sum()
    }

    /// The oldest first.
    pub(super) fn purchases(&self) -> Vec<Purchase> {
        let purchase = |row: &Row| Purchase { at: Timestamp::from_millis(row.at), amount: Usd::from_nanos(row.nanos) };
        self.purchases.iter().map(purchase).collect()
    }

    pub(super) fn views(&self, upstream: &str) -> Vec<PurchaseView> {
        self.purchases.iter().map(|row| row.view(upstream)).collect()
    }

    pub(super) fn reload(&self) -> Option<Reload> {
        self.reload.map(|(below, each)| Reload { below: Usd::from_nanos(below), amount: Usd::from_nanos(each) })
    }
}

impl Row {
    fn view(&self, upstream: &str) -> PurchaseView {
        PurchaseView {
            id: self.id.to_string(),
            upstream: upstream.to_owned(),
            at: Timestamp::from_millis(self.at).to_string(),
            usd: Usd::from_nanos(self.nanos).to_string(),
        }
    }
}

impl App {
    /// Writes down credit that was bought: on `date`, a day or a moment, or now. Where several upstreams have a scheme, of which.
    ///
    /// # Errors
    /// No amount, a moment that has not come, no such upstream, a file that can't be written.
    pub(crate) fn add_purchase(
        &self,
        usd: &str,
        date: Option<&str>,
        upstream: Option<&str>,
    ) -> Result<PurchaseView, ApiError> {
        let amount = amount(usd)?;
        if amount <= Usd::ZERO {
            return Err(ApiError::asker("a purchase is more than $0: say what was paid without tax, such as 40"));
        }
        at_most(amount, "a purchase")?;
        let now = self.now();
        let at = date.map_or(Ok(now), |date| range::start(date, self.calendar).map_err(ApiError::asker))?;
        if at > now {
            return Err(ApiError::asker(format!("{at} has not come yet: add the purchase when it was made")));
        }
        let upstream = self.account_named(upstream)?;
        self.change_purchases(|kept| kept.add(&upstream, at, amount))
    }

    /// Takes one back that was written down, by its id; says which it was.
    ///
    /// # Errors
    /// No such purchase, a file that can't be written.
    pub(crate) fn remove_purchase(&self, id: &str) -> Result<PurchaseView, ApiError> {
        self.change_purchases(|kept| kept.remove(id))
    }

    /// Of all upstreams, each one's oldest first.
    pub(crate) fn purchases(&self) -> Result<Vec<PurchaseView>, ApiError> {
        Ok(self.bought()?.views())
    }

    /// What the upstream buys by itself; `None`: nothing.
    ///
    /// # Errors
    /// As for a purchase.
    pub(crate) fn set_reload(&self, reload: Option<(&str, &str)>, upstream: Option<&str>) -> Result<(), ApiError> {
        let reload = match reload {
            None => None,
            Some((below, each)) => {
                let (below, each) = (amount(below)?, amount(each)?);
                if each <= Usd::ZERO || below < Usd::ZERO {
                    return Err(ApiError::asker("a reload is more than $0, at a balance of $0 or more"));
                }
                at_most(below, "the balance of a reload").and_then(|()| at_most(each, "a reload"))?;
                Some((below.as_nanos(), each.as_nanos()))
            }
        };
        let upstream = self.account_named(upstream)?;
        self.change_purchases(|kept| {
            kept.upstreams.entry(upstream).or_default().reload = reload;
            Ok(())
        })
    }

    fn change_purchases<T>(&self, change: impl FnOnce(&mut Kept) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let _alone = self.purchases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut kept = self.bought()?;
        let changed = change(&mut kept)?;
        folder::write_json(&self.dir().join(FILE), &kept).map_err(ApiError::machine)?;
        Ok(changed)
    }

    pub(super) fn bought(&self) -> Result<Kept, ApiError> {
        Kept::read(self.dir()).map_err(ApiError::machine)
    }

    fn account_named(&self, name: Option<&str>) -> Result<String, ApiError> {
        let settings = self.settings();
        let with_scheme = settings.upstreams.iter().filter(|upstream| upstream.pacing.presumed.is_some());
        let names: Vec<&str> = with_scheme.map(|upstream| &*upstream.name).collect();
        match (name, &names[..]) {
            (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
            (None, [only]) => Ok((*only).to_owned()),
            (_, []) => Err(ApiError::asker("no upstream has a tier: set its scheme and tier in the settings first")),
            (Some(name), names) => Err(ApiError::asker(format!(
                "no upstream with a tier is named {name:?}; there are {}",
                names.join(", ")
            ))),
            (None, names) => {
                Err(ApiError::asker(format!("say for which upstream with --upstream: {}", names.join(", "))))
            }
        }
    }
}

fn amount(text: &str) -> Result<Usd, ApiError> {
    let digits = text.strip_prefix('$').unwrap_or(text);
    digits.parse().map_err(|error| ApiError::asker(format!("{text:?} is {error}")))
}

fn at_most(amount: Usd, what: &str) -> Result<(), ApiError> {
    let too_much = || ApiError::asker(format!("{what} is $1,000,000 at most: look at the amount again"));
    (amount <= PURCHASE_MAX).then_some(()).ok_or_else(too_much)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + day * 86_400_000)
    }

    fn usd(dollars: i64) -> Usd {
        Usd::from_nanos(dollars * 1_000_000_000)
    }

    fn ids(kept: &Kept) -> Vec<String> {
        kept.views().into_iter().map(|view| view.id).collect()
    }

    #[test]
    fn a_purchase_that_is_removed_twice_takes_no_other_away() {
        let mut kept = Kept::default();
        for _ in 0..3 {
            kept.add("one", at(1), usd(40)).expect("added");
        }
        assert_eq!(kept.remove("2").expect("removed").usd, "40.000000000");
        assert!(kept.remove("2").is_err_and(|told| told.reason.starts_with("there is no purchase \"2\"")));
        assert_eq!(ids(&kept), ["1", "3"]);
        assert_eq!(kept.add("other", at(0), usd(5)).expect("added").id, "4", "no number comes again");
        assert!(kept.remove("").is_err() && kept.remove("-1").is_err());
    }

    #[test]
    fn purchases_of_the_first_versions_get_numbers_that_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let old = r#"{"upstreams":{"one":{"purchases":[[5,7000000000],[6,8000000000]],"reload":[1,2]}}}"#;
        std::fs::write(dir.path().join(FILE), old).expect("written");
        let mut kept = Kept::read(dir.path()).expect("read");
        assert_eq!((ids(&kept), kept.of("one").sum()), (vec!["1".to_owned(), "2".to_owned()], usd(15)));
        kept.remove("1").expect("removed");
        folder::write_json(&dir.path().join(FILE), &kept).expect("written");
        let kept = Kept::read(dir.path()).expect("read");
        assert_eq!((ids(&kept), kept.of("one").reload), (vec!["2".to_owned()], Some((1, 2))));
    }
}
