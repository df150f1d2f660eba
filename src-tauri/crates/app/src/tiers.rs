//! Tiers: credit that was bought, where each account is heading, and what the published tables say, old beside new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::admission::Unit;
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::tier::course::{Account, Course, near, place};
use domain::tier::{Scheme, Tier};
use domain::time::{Calendar, Timestamp};
use ledger::{HourUsed, Spender, Way};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::api::ApiError;
use crate::counting::{self, Counted};
use crate::peaks::HalfView;
use crate::settings::{Settings, Upstream};
use crate::shadow::Ground;
use crate::{App, data};

mod bought;

use bought::{Bought, Kept};

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
    /// When 80 % of a month's cap, and all of it, is spent; of this month's the hour in which it was, where it has been.
    pub cap_near_at: Option<String>,
    pub cap_hit_at: Option<String>,
    pub purchase_at: Option<String>,
    /// Null where there is none, or no rule is published.
    pub next_tier: Option<String>,
    pub next_missing_usd: Option<String>,
    pub next_at: Option<String>,
    /// In the queue in the last seven days, of all calls together, replayed; null where there is no higher tier.
    pub waited_week_ms: Option<u64>,
    /// The same as it would have been at the next tier.
    pub waited_week_next_ms: Option<u64>,
    /// The limits of a minute, the one whose half is used first in front; nothing without a running gateway.
    pub halves: Vec<HalfView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PurchaseView {
    /// As `tidegate tier purchase remove` takes it.
    pub id: String,
    pub upstream: String,
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

/// By upstream, the latest.
pub(crate) type Saved = BTreeMap<String, (SavedBy, Waits)>;

/// All that those waits depend on.
#[derive(Clone)]
pub(crate) struct SavedBy {
    /// Since 1970; with it the week moves on.
    hour: i64,
    /// Of the tier, in its scheme.
    place: usize,
    ground: Ground,
    prices: Arc<Catalog>,
    /// How much had been written down.
    written: u64,
}

impl SavedBy {
    fn still_holds(&self, now: &SavedBy) -> bool {
        (self.hour, self.place, self.written) == (now.hour, now.place, now.written)
            && self.ground == now.ground
            && Arc::ptr_eq(&self.prices, &now.prices)
    }
}

/// In milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waits {
    now: u64,
    next: u64,
}

/// What the tier of each upstream lets a month cost.
#[derive(Default)]
pub(crate) struct Caps {
    dir: PathBuf,
    /// As the settings have it.
    told: Vec<(String, Arc<Scheme>, usize)>,
}

impl Caps {
    pub(crate) fn of(dir: &Path, settings: &Settings) -> Caps {
        let told = |upstream: &Upstream| {
            let (scheme, place) = upstream.pacing.presumed.clone()?;
            Some((upstream.name.to_string(), scheme, place))
        };
        Caps { dir: dir.to_owned(), told: settings.upstreams.iter().filter_map(told).collect() }
    }

    /// By upstream, as the purchases show it by now.
    pub(crate) fn now(&self) -> Vec<(String, Usd)> {
        // Who can't read what was bought goes by the settings; `tier list` says what is wrong with the file.
        let kept = Kept::read(&self.dir).unwrap_or_default();
        let cap = |(name, scheme, told): &(String, Arc<Scheme>, usize)| {
            let place = place(scheme, Some(*told), kept.of(name).sum())?;
            Some((name.clone(), scheme.tiers.get(place)?.monthly_cap?))
        };
        self.told.iter().filter_map(cap).collect()
    }
}

const HOUR_MS: i64 = 3_600_000;
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
/// Which row of a table is shown.
const SHOWN_MODEL: &str = "claude-sonnet-4-5";

impl App {
    pub(crate) async fn tiers(&self) -> Result<TiersView, ApiError> {
        let kept = self.bought()?;
        let now = self.now();
        self.count_today(now).await;
        let mut accounts = vec![];
        for upstream in &self.settings().upstreams {
            let Some((scheme, tier)) = &upstream.pacing.presumed else { continue };
            let bought = kept.of(&upstream.name);
            let tier = scheme.tiers.get(*tier).map(|tier| &*tier.name);
            let mut account = self.account(upstream, scheme, tier, &bought, now).await.map_err(ApiError::machine)?;
            account.halves = self.halves(&upstream.name);
            if let Some(waits) = self.waits(upstream, &bought).await? {
                (account.waited_week_ms, account.waited_week_next_ms) = (Some(waits.now), Some(waits.next));
            }
            accounts.push(account);
        }
        let schemes = data::schemes().map_err(ApiError::machine)?;
        Ok(TiersView { accounts, schemes: schemes.iter().map(|scheme| scheme_view(scheme)).collect() })
    }

    /// What the last week's calls waited, and what they would have at the next tier.
    async fn waits(&self, upstream: &Upstream, bought: &Bought) -> Result<Option<Waits>, ApiError> {
        let Some((scheme, told)) = upstream.pacing.presumed.clone() else { return Ok(None) };
        let place = place(&scheme, Some(told), bought.sum()).unwrap_or(told);
        if scheme.tiers.get(place + 1).is_none_or(|next| next.rows.is_empty()) {
            return Ok(None);
        }
        let mut saved = self.saved.lock().await;
        let ground = self.ground(upstream);
        // Before the calls are read, and before their end: what comes in between is asked for again.
        let written = self.ledger.written();
        let now = self.now();
        let by = SavedBy {
            hour: now.as_millis() / HOUR_MS,
            place,
            ground: ground.clone(),
            prices: self.prices.in_force().get(),
            written,
        };
        if let Some((_, waits)) = saved.get(&*upstream.name).filter(|(before, _)| before.still_holds(&by)) {
            return Ok(Some(*waits));
        }
        let calls = self.past_calls(&upstream.name, now.before(WEEK), now).await.map_err(ApiError::machine)?;
        let waits = tokio::task::spawn_blocking(move || {
            let mut next = ground.clone();
            next.set_place(scheme, place + 1);
            Waits { now: millis(ground.replay(&calls).waited), next: millis(next.replay(&calls).waited) }
        });
        let waits = waits.await.map_err(ApiError::machine)?;
        saved.insert(upstream.name.to_string(), (by, waits));
        Ok(Some(waits))
    }

    async fn account(
        &self,
        upstream: &Upstream,
        scheme: &Scheme,
        tier: Option<&str>,
        bought: &Bought,
        now: Timestamp,
    ) -> Result<AccountTierView, ledger::Error> {
        let purchases = bought.purchases();
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
        let account = Account {
            scheme,
            tier,
            purchases: &purchases,
            reload: bought.reload(),
            spent,
            spent_this_month: month,
            a_day: Usd::from_nanos(i64::try_from(a_day).unwrap_or(i64::MAX)),
        };
        let mut course = account.course(now);
        if let Some(cap) = course.monthly_cap.filter(|cap| month >= near(*cap)) {
            let [near, all] = self.reached(&upstream.name, [near(cap), cap], now).await?;
            course.cap_near_at = near.or(course.cap_near_at);
            course.cap_hit_at = all.or(course.cap_hit_at);
        }
        let view = account_view(&upstream.name, &account, &course);
        Ok(AccountTierView { purchases: bought.views(&upstream.name), ..view })
    }

    /// The hours of this month in which the upstream's calls came to these sums, of those that they have come to.
    async fn reached(
        &self,
        upstream: &str,
        sums: [Usd; 2],
        now: Timestamp,
    ) -> Result<[Option<Timestamp>; 2], ledger::Error> {
        let counted = Counted { ledger: self.ledger.clone(), catalog: self.prices.in_force(), upstreams: vec![] };
        let dearest = counted.dearest(now);
        let hour_of = |at: Timestamp| at.as_millis().div_euclid(HOUR_MS);
        let (first, last) = (hour_of(Calendar::UTC.start_of_month(now)), hour_of(now) + 1);
        let hours = self.ledger.hours((Spender::Upstream, Some(upstream)), Way::Gateway, first, last).await?;
        let amount =
            |HourUsed { hour, used, .. }: &HourUsed| (*hour, counting::amount(used, Unit::Usd, dearest.as_ref()));
        let spent: Vec<(i64, i64)> = hours.iter().map(amount).collect();
        Ok(sums.map(|sum| hour_of_sum(&spent, sum)))
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

/// Of what was spent in which hour.
fn hour_of_sum(spent: &[(i64, i64)], sum: Usd) -> Option<Timestamp> {
    let mut all = 0_i64;
    let reaches = |(_, nanos): &&(i64, i64)| {
        all = all.saturating_add(*nanos);
        all >= sum.as_nanos()
    };
    let (hour, _) = spent.iter().find(reaches)?;
    Some(Timestamp::from_millis(hour * HOUR_MS))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn account_view(upstream: &str, account: &Account<'_>, course: &Course) -> AccountTierView {
    let tier_name = |place: usize| account.scheme.tiers.get(place).map(|tier| tier.name.to_string());
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
    AccountTierView {
        upstream: upstream.to_owned(),
        scheme: account.scheme.name.to_string(),
        tier: course.tier.and_then(tier_name).unwrap_or_default(),
        purchases: vec![],
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
        waited_week_ms: None,
        waited_week_next_ms: None,
        halves: vec![],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_was_reached_in_the_hour_that_brought_it() {
        let hour = Timestamp::parse("2027-03-23T14:00:00Z").expect("a time").as_millis() / HOUR_MS;
        let dollar = 1_000_000_000;
        let spent = [(hour - 300, 70 * dollar), (hour, 9 * dollar), (hour, dollar), (hour + 160, 11 * dollar)];
        let reached = |usd: &str| hour_of_sum(&spent, usd.parse().expect("money")).map(|at| at.to_string());
        assert_eq!(reached("80").as_deref(), Some("2027-03-23T14:00:00.000Z"));
        assert_eq!(reached("100"), None);
    }
}
