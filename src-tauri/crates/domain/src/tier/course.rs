//! Where an account is heading: when its credit, its month and its tier change, if it goes on as today.
//!
//! Deposit schemes (`2025-09`, `2026-03`) advance at once when enough credit has been bought in all. For `2026-06` no rule is
//! published, and none is made up: there it is the month's cap, and when half of a limit is first used, from where on an
//! increase may be asked for (support.claude.com, read 2026-11-24).

use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate, Weekday};

use super::{Scheme, Tier};
use crate::money::Usd;
use crate::time::{Calendar, Timestamp};

/// Credit that was bought, tax left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Purchase {
    pub at: Timestamp,
    pub amount: Usd,
}

/// The upstream buys `amount` by itself when the balance falls below `below`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reload {
    pub below: Usd,
    pub amount: Usd,
}

/// What is known of an account.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub scheme: &'a Scheme,
    /// As the settings or the upstream say it. Where purchases show a higher one, that counts.
    pub tier: Option<&'a str>,
    pub purchases: &'a [Purchase],
    pub reload: Option<Reload>,
    /// Since the first purchase, and since the month began in UTC.
    pub spent: Usd,
    pub spent_this_month: Usd,
    /// What a day costs at today's pace.
    pub a_day: Usd,
}

/// What comes, at today's pace. A moment is `None` where it comes not within a year, or cannot be known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Course {
    /// Its place in the scheme.
    pub tier: Option<usize>,
    pub bought: Usd,
    /// `None` where no purchase is known.
    pub balance: Option<Usd>,
    pub monthly_cap: Option<Usd>,
    /// When 80 % of a month's cap, and all of it, is spent before the account advances; now, where that has been before.
    pub cap_near_at: Option<Timestamp>,
    pub cap_hit_at: Option<Timestamp>,
    /// When credit is bought again, or has to be.
    pub purchase_at: Option<Timestamp>,
    pub next: Option<NextTier>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextTier {
    /// Its place in the scheme.
    pub tier: usize,
    /// Credit still to be bought.
    pub missing: Usd,
    /// When automatic reloads have bought it.
    pub at: Option<Timestamp>,
}

const DAY: Duration = Duration::from_secs(86_400);
const HORIZON: Duration = Duration::from_secs(366 * 86_400);
/// Of the field guide: "alert at 80% of tier limits to optimize usage before advancement".
const NEAR_PERCENT: i64 = 80;
/// Reloads of a cent a year long are more than anybody wants to know.
const STEPS_MAX: usize = 10_000;

/// What of a month's cap is near to all of it.
pub fn near(cap: Usd) -> Usd {
    Usd::from_nanos(cap.as_nanos() / 100 * NEAR_PERCENT)
}

/// Where an account stands in its scheme: where it is told to, or higher where what was bought shows it.
pub fn place(scheme: &Scheme, told: Option<usize>, bought: Usd) -> Option<usize> {
    let reached = |tier: &Tier| tier.deposit.is_some_and(|deposit| bought >= deposit);
    let shown = if bought > Usd::ZERO { scheme.tiers.iter().rposition(reached) } else { None };
    told.max(shown)
}

impl Account<'_> {
    pub fn course(&self, now: Timestamp) -> Course {
        let bought: Usd = self.purchases.iter().map(|purchase| purchase.amount).sum();
        let tier = self.place(bought);
        let cap = tier.and_then(|tier| self.scheme.tiers[tier].monthly_cap);
        let balance = (!self.purchases.is_empty()).then(|| bought - self.spent);
        let next = tier.and_then(|tier| self.next(tier, bought));
        let mut course = Course { tier, bought, balance, monthly_cap: cap, next, ..Course::default() };
        if self.a_day > Usd::ZERO {
            self.follow(&mut course, now);
        }
        course
    }

    fn place(&self, bought: Usd) -> Option<usize> {
        let told = self.tier.and_then(|name| self.scheme.tiers.iter().position(|tier| *tier.name == *name));
        place(self.scheme, told, bought)
    }

    fn next(&self, tier: usize, bought: Usd) -> Option<NextTier> {
        let deposit = self.scheme.tiers.get(tier + 1)?.deposit?;
        let missing = if deposit > bought { deposit - bought } else { Usd::ZERO };
        Some(NextTier { tier: tier + 1, missing, at: None })
    }

    /// From one change to the next, spending evenly in between.
    fn follow(&self, course: &mut Course, now: Timestamp) {
        let end = now.after(HORIZON);
        let near = course.monthly_cap.map(near);
        let (mut at, mut month, mut balance) = (now, self.spent_this_month, course.balance);
        let mut missing = course.next.map(|next| next.missing);
        let floor = self.reload.map_or(Usd::ZERO, |reload| reload.below);
        for _ in 0..STEPS_MAX {
            if at >= end || course.next.is_some_and(|next| next.at.is_some()) {
                return;
            }
            mark(&mut course.cap_near_at, at, near.is_some_and(|near| month >= near));
            let is_full = course.monthly_cap.is_some_and(|cap| month >= cap);
            mark(&mut course.cap_hit_at, at, is_full);
            let must_buy = balance.is_some_and(|balance| balance <= floor);
            mark(&mut course.purchase_at, at, must_buy);
            if must_buy {
                let Some(Reload { amount, .. }) = self.reload.filter(|reload| reload.amount > Usd::ZERO) else {
                    // Nobody knows what a person buys: until then nothing more is spent.
                    return;
                };
                balance = balance.map(|balance| balance + amount);
                missing = missing.map(|missing| missing - amount);
                if let (Some(next), Some(missing)) = (&mut course.next, missing)
                    && missing <= Usd::ZERO
                {
                    next.at = Some(at);
                }
                continue;
            }
            let month_ends = Calendar::UTC.end_of_month(at);
            let marks = [near, course.monthly_cap].into_iter().flatten().filter(|mark| *mark > month);
            let to_marks = marks.map(|mark| mark - month).min();
            let to_floor = balance.map(|balance| balance - floor);
            let changes = [to_marks, to_floor].into_iter().flatten().map(|sum| at.after(self.time_of(sum)));
            let change = if is_full { month_ends } else { changes.min().unwrap_or(month_ends).min(month_ends) };
            let spent = if is_full { Usd::ZERO } else { self.sum_in(change.since(at)) };
            balance = balance.map(|balance| balance - spent);
            month = if change == month_ends { Usd::ZERO } else { month + spent };
            at = change;
        }
    }

    /// At least a millisecond: it comes to an end.
    fn time_of(&self, sum: Usd) -> Duration {
        let day = i128::from(self.a_day.as_nanos());
        let millis = (i128::from(sum.as_nanos()) * DAY.as_millis() as i128 + day - 1) / day;
        Duration::from_millis(u64::try_from(millis.max(1)).unwrap_or(u64::MAX))
    }

    fn sum_in(&self, time: Duration) -> Usd {
        let nanos = i128::from(self.a_day.as_nanos()) * time.as_millis() as i128 / DAY.as_millis() as i128;
        Usd::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

fn mark(moment: &mut Option<Timestamp>, at: Timestamp, has_come: bool) {
    if has_come {
        moment.get_or_insert(at);
    }
}

/// The most of a limit that a day's busiest minute took, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peak {
    pub day: NaiveDate,
    pub permille: u32,
}

/// From where on an increase may be asked for, in thousandths.
pub const HALF: u32 = 500;
const TREND_DAYS: u64 = 28;
const DAYS_MIN: usize = 7;

/// The first day on which half of a limit was used, or will be if the last four weeks go on as they went.
/// `None` where there are fewer than seven days, nothing rises, or it takes longer than half a year.
pub fn half_used_on(peaks: &[Peak]) -> Option<NaiveDate> {
    if let Some(peak) = peaks.iter().find(|peak| peak.permille >= HALF) {
        return Some(peak.day);
    }
    let last = peaks.last()?.day;
    let late = peaks.iter().filter(|peak| last.signed_duration_since(peak.day).num_days() < TREND_DAYS as i64);
    let late: Vec<(i64, i64)> =
        late.map(|peak| (i64::from(peak.day.num_days_from_ce()), i64::from(peak.permille) * 1_000)).collect();
    if late.len() < DAYS_MIN {
        return None;
    }
    let pairs = late.iter().enumerate().flat_map(|(n, a)| late[n + 1..].iter().map(move |b| (a, b)));
    // Of all pairs of days the median slope: one wild day changes little.
    let slope = median(pairs.filter(|(a, b)| a.0 < b.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect())?;
    let today = i64::from(last.num_days_from_ce());
    let level = median(late.iter().map(|(day, peak)| peak + slope * (today - day)).collect())?;
    let missing = i64::from(HALF) * 1_000 - level;
    let days = if missing <= 0 { 1 } else { (slope > 0).then(|| (missing + slope - 1) / slope)? };
    (days <= 183).then(|| last.checked_add_days(Days::new(u64::try_from(days).ok()?))).flatten()
}

fn median(mut all: Vec<i64>) -> Option<i64> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// So many working days before a day: when to ask for what takes so long.
pub fn working_days_before(day: NaiveDate, count: u32) -> NaiveDate {
    let mut day = day;
    for _ in 0..count {
        day = day.pred_opt().unwrap_or(day);
        while matches!(day.weekday(), Weekday::Sat | Weekday::Sun) {
            day = day.pred_opt().unwrap_or(day);
        }
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::OutputCounting;

    fn usd(text: &str) -> Usd {
        text.parse().expect("money")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("{text}:00Z")).expect("a time")
    }

    /// `"1 5 100, 2 40 500"`: name, deposit and monthly cap of each tier.
    fn scheme(tiers: &str) -> Scheme {
        let tier = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let sum = |word: &str| (word != "-").then(|| usd(word));
            Tier { name: words[0].into(), deposit: sum(words[1]), monthly_cap: sum(words[2]), rows: vec![] }
        };
        Scheme {
            name: "s".into(),
            valid_from: Timestamp::default(),
            output: OutputCounting::Reserved,
            tiers: tiers.split(',').map(tier).collect(),
            source: "by hand".into(),
        }
    }

    const DEPOSITS_2025: &str = "1 5 100, 2 40 500, 3 200 1000, 4 400 5000";
    const DEPOSITS_2026: &str = "1 5 100, 2 40 500, 3 200 1000, 4 400 200000";
    const NAMED: &str = "evaluation - -, start - 500, build - 1000, scale - 200000, custom - -";

    struct Told<'a> {
        scheme: &'a str,
        tier: Option<&'a str>,
        bought: &'a str,
        reload: Option<(&'a str, &'a str)>,
        spent: &'a str,
        month: &'a str,
        a_day: &'a str,
    }

    fn course(told: &Told<'_>, now: &str) -> (Course, Scheme) {
        let scheme = scheme(told.scheme);
        let purchases: Vec<Purchase> =
            told.bought.split_whitespace().map(|sum| Purchase { at: Timestamp::default(), amount: usd(sum) }).collect();
        let reload = told.reload.map(|(below, amount)| Reload { below: usd(below), amount: usd(amount) });
        let account = Account {
            scheme: &scheme,
            tier: told.tier,
            purchases: &purchases,
            reload,
            spent: usd(told.spent),
            spent_this_month: usd(told.month),
            a_day: usd(told.a_day),
        };
        (account.course(at(now)), scheme)
    }

    #[test]
    fn a_deposit_scheme_advances_when_reloads_have_bought_enough() {
        let told = Told {
            scheme: DEPOSITS_2025,
            tier: None,
            bought: "5",
            reload: Some(("2", "10")),
            spent: "1",
            month: "1",
            a_day: "2",
        };
        let (course, _) = course(&told, "2026-11-01T00:00");
        assert_eq!((course.tier, course.bought, course.balance), (Some(0), usd("5"), Some(usd("4"))));
        // $2 are left above the threshold: a day. Then $10 every five days: 15, 25, 35, 45 on the 2nd, 7th, 12th and 17th.
        assert_eq!(course.purchase_at, Some(at("2026-11-02T00:00")));
        let next = course.next.expect("tier 2");
        assert_eq!((next.tier, next.missing, next.at), (1, usd("35"), Some(at("2026-11-17T00:00"))));
        assert_eq!((course.cap_near_at, course.cap_hit_at), (None, None), "it advances before $80 are spent");
    }

    #[test]
    fn the_months_cap_comes_before_the_next_tier_and_holds_spending_up() {
        let told = Told {
            scheme: DEPOSITS_2025,
            tier: None,
            bought: "5",
            reload: Some(("0", "5")),
            spent: "5",
            month: "70",
            a_day: "10",
        };
        let (course, _) = course(&told, "2026-11-10T00:00");
        assert_eq!(course.purchase_at, Some(at("2026-11-10T00:00")), "the balance is spent");
        // $80 are passed on the 11th; $5 every half day: 10 on the 10th, … 40 after seven purchases, on the 13th.
        assert_eq!(course.cap_near_at, Some(at("2026-11-11T00:00")));
        assert_eq!(
            (course.cap_hit_at, course.next.and_then(|next| next.at)),
            (Some(at("2026-11-13T00:00")), Some(at("2026-11-13T00:00")))
        );
    }

    #[test]
    fn where_the_month_is_full_nothing_is_bought_before_the_first() {
        let told = Told {
            scheme: DEPOSITS_2025,
            tier: Some("1"),
            bought: "20",
            reload: Some(("1", "20")),
            spent: "14",
            month: "100",
            a_day: "5",
        };
        let (course, _) = course(&told, "2026-11-10T12:00");
        assert_eq!(
            (course.cap_hit_at, course.purchase_at),
            (Some(at("2026-11-10T12:00")), Some(at("2026-12-02T00:00")))
        );
        assert_eq!(course.next.and_then(|next| next.at), Some(at("2026-12-02T00:00")));
    }

    #[test]
    fn without_reloads_a_person_has_to_buy_and_no_date_of_advancing_is_made_up() {
        let told = Told {
            scheme: DEPOSITS_2026,
            tier: None,
            bought: "20 25",
            reload: None,
            spent: "30",
            month: "30",
            a_day: "3",
        };
        let (course, _) = course(&told, "2026-11-10T00:00");
        assert_eq!((course.tier, course.balance), (Some(1), Some(usd("15"))));
        assert_eq!(course.purchase_at, Some(at("2026-11-15T00:00")));
        assert_eq!(course.next, Some(NextTier { tier: 2, missing: usd("155"), at: None }));
    }

    #[test]
    fn tier_4_differs_between_the_two_deposit_schemes_and_has_no_next() {
        for (scheme, cap, hit) in [(DEPOSITS_2025, "5000", Some("2026-11-26T00:00")), (DEPOSITS_2026, "200000", None)] {
            let told = Told {
                scheme,
                tier: None,
                bought: "5000",
                reload: Some(("100", "1000")),
                spent: "0",
                month: "0",
                a_day: "200",
            };
            let (course, _) = course(&told, "2026-11-01T00:00");
            assert_eq!((course.tier, course.next, course.monthly_cap), (Some(3), None, Some(usd(cap))));
            assert_eq!(course.cap_hit_at, hit.map(at));
        }
    }

    #[test]
    fn a_named_scheme_has_a_cap_and_no_rule_of_advancing() {
        let told = Told {
            scheme: NAMED,
            tier: Some("start"),
            bought: "",
            reload: None,
            spent: "0",
            month: "380",
            a_day: "20",
        };
        let (course, scheme) = course(&told, "2026-11-24T00:00");
        assert_eq!(&*scheme.tiers[course.tier.expect("start")].name, "start");
        assert_eq!((course.next, course.balance), (None, None));
        assert_eq!(
            (course.cap_near_at, course.cap_hit_at),
            (Some(at("2026-11-25T00:00")), Some(at("2026-11-30T00:00")))
        );
    }

    #[test]
    fn a_cap_that_this_month_does_not_reach_may_be_next_months() {
        let told =
            Told { scheme: NAMED, tier: Some("start"), bought: "", reload: None, spent: "0", month: "10", a_day: "20" };
        let (course, _) = course(&told, "2026-11-24T00:00");
        assert_eq!(
            (course.cap_near_at, course.cap_hit_at),
            (Some(at("2026-12-21T00:00")), Some(at("2026-12-26T00:00")))
        );
    }

    #[test]
    fn nothing_spent_and_absurd_sums_have_no_dates_and_end() {
        for (a_day, month) in [("0", "0"), ("0.000000001", "0"), ("9000000000", "9000000000")] {
            let told = Told {
                scheme: DEPOSITS_2025,
                tier: None,
                bought: "5",
                reload: Some(("4", "0.000000001")),
                spent: "0",
                month,
                a_day,
            };
            course(&told, "2026-11-24T00:00");
        }
        let told = Told {
            scheme: NAMED,
            tier: Some("unheard-of"),
            bought: "",
            reload: None,
            spent: "0",
            month: "1",
            a_day: "1",
        };
        assert_eq!(course(&told, "2026-11-24T00:00").0, Course::default());
    }

    fn peaks(all: &[u32]) -> Vec<Peak> {
        let first = NaiveDate::from_ymd_opt(2026, 11, 2).expect("a day");
        (0..).zip(all).map(|(n, permille)| Peak { day: first + Days::new(n), permille: *permille }).collect()
    }

    #[test]
    fn half_of_a_limit_is_passed_on_a_day_or_by_the_trend() {
        let day = |text: &str| Some(text.parse::<NaiveDate>().expect("a day"));
        assert_eq!(half_used_on(&peaks(&[100, 510, 90])), day("2026-11-03"));
        assert_eq!(
            half_used_on(&peaks(&[300, 310, 320, 330, 340, 350, 360])),
            day("2026-11-22"),
            "14 days of 10 after the 8th"
        );
        assert_eq!(
            half_used_on(&peaks(&[300, 310, 320, 330, 5, 350, 360, 370])),
            day("2026-11-22"),
            "one odd day changes little"
        );
        for none in [&[300, 310][..], &[300; 20], &[300, 290, 280, 270, 260, 250, 240], &[]] {
            assert_eq!(half_used_on(&peaks(none)), None, "{none:?}");
        }
    }

    #[test]
    fn a_lead_is_counted_in_working_days() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        assert_eq!(working_days_before(day("2026-11-24"), 3), day("2026-11-19"));
        assert_eq!(working_days_before(day("2026-11-24"), 0), day("2026-11-24"));
    }
}
