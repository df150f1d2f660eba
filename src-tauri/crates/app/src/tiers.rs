//! Tiers: credit that was bought, where each account is heading, and what the published tables say, old beside new.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::admission::Unit;
use domain::money::Usd;
use domain::tier::course::{Account, Course, Purchase, Reload};
use domain::tier::{Scheme, Tier};
use domain::time::{Calendar, Timestamp};
use ledger::Spender;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::api::ApiError;
use crate::counting::{self, Counted};
use crate::settings::Upstream;
use crate::{App, data, folder, range};

/// `tidegate tier list --json`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TiersView {
    pub accounts: Vec<AccountTierView>,
    /// As published, the oldest first.
    pub schemes: Vec<SchemeView>,
}

/// An upstream that the settings give a scheme. Moments are RFC 3339, at the pace of the last seven days; null where they
/// come not within a year or cannot be known.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AccountTierView {
    pub upstream: String,
    pub scheme: String,
    pub tier: String,
    pub purchases: Vec<PurchaseView>,
    pub bought_usd: String,
    /// Null where no purchase is known.
    pub balance_usd: Option<String>,
    /// Below which balance the upstream buys how much by itself.
    pub reload_below_usd: Option<String>,
    pub reload_usd: Option<String>,
    pub a_day_usd: String,
    pub month_usd: String,
    pub monthly_cap_usd: Option<String>,
    /// When 80 % of a month's cap, and all of it, is spent.
    pub cap_near_at: Option<String>,
    pub cap_hit_at: Option<String>,
    pub purchase_at: Option<String>,
    /// Null where there is none, or no rule is published.
    pub next_tier: Option<String>,
    pub next_missing_usd: Option<String>,
    pub next_at: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PurchaseView {
    pub at: String,
    pub usd: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SchemeView {
    pub name: String,
    pub valid_from: String,
    pub source: String,
    pub tiers: Vec<TierView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TierView {
    pub name: String,
    pub deposit_usd: Option<String>,
    pub monthly_cap_usd: Option<String>,
    /// In a minute, of Sonnet models.
    pub requests: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

/// `DIR/purchases.json`: by upstream.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    upstreams: BTreeMap<String, Bought>,
}

/// Moments in milliseconds since 1970, amounts in nano-dollars.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Bought {
    purchases: Vec<(i64, i64)>,
    /// Below, and how much.
    reload: Option<(i64, i64)>,
}

const FILE: &str = "purchases.json";
const PURCHASES_MAX: usize = 10_000;
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
/// Which row of a table is shown.
const SHOWN_MODEL: &str = "claude-sonnet-4-5";

impl App {
    /// Writes down credit that was bought: on `date`, a day or a moment, or now. Where several upstreams have a scheme, of which.
    ///
    /// # Errors
    /// No amount, a moment that has not come, no such upstream, a file that can't be written.
    pub(crate) fn add_purchase(&self, usd: &str, date: Option<&str>, upstream: Option<&str>) -> Result<(), ApiError> {
        let amount = amount(usd)?;
        if amount <= Usd::ZERO {
            return Err(ApiError::asker("a purchase is more than $0: say what was paid without tax, such as 40"));
        }
        let now = self.now();
        let at = date.map_or(Ok(now), |date| range::start(date, self.calendar).map_err(ApiError::asker))?;
        if at > now {
            return Err(ApiError::asker(format!("{at} has not come yet: add the purchase when it was made")));
        }
        self.change_purchases(upstream, |bought| {
            if bought.purchases.len() >= PURCHASES_MAX {
                return Err(ApiError::machine(format!("{PURCHASES_MAX} purchases are written down: no more are kept")));
            }
            bought.purchases.push((at.as_millis(), amount.as_nanos()));
            bought.purchases.sort_unstable();
            Ok(())
        })
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
                Some((below.as_nanos(), each.as_nanos()))
            }
        };
        self.change_purchases(upstream, |bought| {
            bought.reload = reload;
            Ok(())
        })
    }

    fn change_purchases(
        &self,
        upstream: Option<&str>,
        change: impl FnOnce(&mut Bought) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let name = self.account_named(upstream)?;
        let _alone = self.purchases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut kept = self.bought()?;
        change(kept.upstreams.entry(name).or_default())?;
        folder::write_json(&self.dir().join(FILE), &kept).map_err(ApiError::machine)
    }

    fn bought(&self) -> Result<Kept, ApiError> {
        folder::read_json(&self.dir().join(FILE)).map_err(ApiError::machine)
    }

    fn account_named(&self, name: Option<&str>) -> Result<String, ApiError> {
        let with_scheme = self.settings().upstreams.iter().filter(|upstream| upstream.pacing.presumed.is_some());
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

    pub(crate) async fn tiers(&self) -> Result<TiersView, ApiError> {
        let kept = self.bought()?;
        let now = self.now();
        let mut accounts = vec![];
        for upstream in &self.settings().upstreams {
            let Some((scheme, tier)) = &upstream.pacing.presumed else { continue };
            let bought = kept.upstreams.get(&*upstream.name).cloned().unwrap_or_default();
            let tier = scheme.tiers.get(*tier).map(|tier| &*tier.name);
            accounts.push(self.account(upstream, scheme, tier, &bought, now).await.map_err(ApiError::machine)?);
        }
        let schemes = data::schemes().map_err(ApiError::machine)?;
        Ok(TiersView { accounts, schemes: schemes.iter().map(|scheme| scheme_view(scheme)).collect() })
    }

    async fn account(
        &self,
        upstream: &Upstream,
        scheme: &Scheme,
        tier: Option<&str>,
        bought: &Bought,
        now: Timestamp,
    ) -> Result<AccountTierView, ledger::Error> {
        let purchase =
            |(at, nanos): &(i64, i64)| Purchase { at: Timestamp::from_millis(*at), amount: Usd::from_nanos(*nanos) };
        let purchases: Vec<Purchase> = bought.purchases.iter().map(purchase).collect();
        let spent_since = |from: Timestamp| self.spent_of(&upstream.name, from, now);
        let spent = match purchases.first() {
            Some(first) => spent_since(first.at).await?,
            None => Usd::ZERO,
        };
        // The upstream's month is UTC's.
        let month = spent_since(Calendar::UTC.start_of_month(now)).await?;
        let begin = self.ledger.first_call(&upstream.name, now.before(WEEK)).await?.unwrap_or(now);
        let days = now.since(begin).max(DAY).as_millis();
        let week = spent_since(now.before(WEEK)).await?;
        let a_day = i128::from(week.as_nanos()) * i128::try_from(DAY.as_millis()).unwrap_or(1)
            / i128::try_from(days).unwrap_or(i128::MAX).max(1);
        let reload =
            bought.reload.map(|(below, each)| Reload { below: Usd::from_nanos(below), amount: Usd::from_nanos(each) });
        let account = Account {
            scheme,
            tier,
            purchases: &purchases,
            reload,
            spent,
            spent_this_month: month,
            a_day: Usd::from_nanos(i64::try_from(a_day).unwrap_or(i64::MAX)),
        };
        Ok(account_view(&upstream.name, &account, &account.course(now)))
    }

    async fn spent_of(&self, upstream: &str, from: Timestamp, to: Timestamp) -> Result<Usd, ledger::Error> {
        let counted = Counted { ledger: self.ledger.clone(), catalog: self.prices.in_force(), upstreams: vec![] };
        let dearest = counted.dearest(to);
        let used = self.ledger.used(Spender::Upstream, from, to).await?;
        let of_it = used.iter().filter(|used| *used.name == *upstream);
        let nanos = of_it.map(|used| counting::amount(used, Unit::Usd, dearest.as_ref())).fold(0, i64::saturating_add);
        Ok(Usd::from_nanos(nanos))
    }
}

fn amount(text: &str) -> Result<Usd, ApiError> {
    let text = text.strip_prefix('$').unwrap_or(text);
    text.parse().map_err(|error| ApiError::asker(format!("{text} is {error}")))
}

fn account_view(upstream: &str, account: &Account<'_>, course: &Course) -> AccountTierView {
    let tier_name = |place: usize| account.scheme.tiers.get(place).map(|tier| tier.name.to_string());
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let bought = |purchase: &Purchase| PurchaseView { at: purchase.at.to_string(), usd: purchase.amount.to_string() };
    AccountTierView {
        upstream: upstream.to_owned(),
        scheme: account.scheme.name.to_string(),
        tier: course.tier.and_then(tier_name).unwrap_or_default(),
        purchases: account.purchases.iter().map(bought).collect(),
        bought_usd: course.bought.to_string(),
        balance_usd: course.balance.map(|usd| usd.to_string()),
        reload_below_usd: account.reload.map(|reload| reload.below.to_string()),
        reload_usd: account.reload.map(|reload| reload.amount.to_string()),
        a_day_usd: account.a_day.to_string(),
        month_usd: account.spent_this_month.to_string(),
        monthly_cap_usd: course.monthly_cap.map(|usd| usd.to_string()),
        cap_near_at: moment(course.cap_near_at),
        cap_hit_at: moment(course.cap_hit_at),
        purchase_at: moment(course.purchase_at),
        next_tier: course.next.and_then(|next| tier_name(next.tier)),
        next_missing_usd: course.next.map(|next| next.missing.to_string()),
        next_at: moment(course.next.and_then(|next| next.at)),
    }
}

fn scheme_view(scheme: &Scheme) -> SchemeView {
    let tier = |tier: &Tier| {
        let limits = tier.limits(SHOWN_MODEL).map(|row| row.limits).unwrap_or_default();
        TierView {
            name: tier.name.to_string(),
            deposit_usd: tier.deposit.map(|usd| usd.to_string()),
            monthly_cap_usd: tier.monthly_cap.map(|usd| usd.to_string()),
            requests: limits.requests,
            input_tokens: limits.input_tokens,
            output_tokens: limits.output_tokens,
        }
    };
    SchemeView {
        name: scheme.name.to_string(),
        valid_from: scheme.valid_from.to_string(),
        source: scheme.source.to_string(),
        tiers: scheme.tiers.iter().map(tier).collect(),
    }
}
