//! Every difference has a name, and the names add up.

use proptest::prelude::*;

use super::*;
use crate::price::{Factors, LongPrompt, Rate, Rates};

const DOLLAR: i64 = 1_000_000_000;

fn usd(nanos: i64) -> Usd {
    Usd::from_nanos(nanos)
}

fn share(key: &str, is_ours: bool, count: u64) -> Share {
    let origin = Origin { key: Some(key.into()), workspace: None };
    Share { origin, is_ours, count, cost: Some(usd(signed(count) * 3_000)), more_if_long: Usd::ZERO }
}

/// At 3 dollars a million.
fn reported(shares: &[(&str, bool, u64)]) -> Reported {
    let shares: Vec<Share> = shares.iter().map(|(key, ours, count)| share(key, *ours, *count)).collect();
    let cost = shares.iter().filter_map(|share| share.cost).sum();
    Reported { shares, priority: 0, cost: Some(cost) }
}

fn ours(passed: u64, told: u64) -> Ours {
    Ours { passed, told, cost: usd(signed(passed + told) * 3_000), ..Ours::default() }
}

fn named(reported: &Reported, ours: &Ours) -> String {
    let parts = compare(Item::Input, reported, ours);
    let said = parts.iter().map(|part| {
        let key = if let Cause::OtherKey(origin) = &part.cause {
            format!(" {}", origin.key.as_deref().unwrap_or("-"))
        } else {
            String::new()
        };
        let cost = part.cost.map_or_else(|| "unknown".to_owned(), |cost| cost.as_nanos().to_string());
        format!("{}{key} {} {cost}", part.cause.name(), part.count)
    });
    said.collect::<Vec<_>>().join(", ")
}

#[test]
fn what_agrees_differs_in_nothing() {
    assert_eq!(named(&reported(&[("a", true, 500)]), &ours(500, 0)), "");
    assert_eq!(named(&Reported::default(), &Ours::default()), "");
}

#[test]
fn usage_of_another_key_is_named_with_it_and_that_of_ours_elsewhere_as_such() {
    let both = reported(&[("a", true, 700), ("b", false, 40)]);
    assert_eq!(named(&both, &ours(500, 0)), "other_key b 40 120000, other_machine 200 600000");
}

#[test]
fn logs_tell_of_what_came_by_another_key_and_of_subscriptions_that_no_report_has() {
    let both = reported(&[("a", true, 500), ("b", false, 40)]);
    assert_eq!(named(&both, &ours(500, 40)), "");
    assert_eq!(named(&both, &ours(500, 30)), "other_key b 10 30000");
    assert_eq!(named(&both, &ours(500, 100)), "logs -60 -180000");
}

#[test]
fn what_is_missing_in_the_report_is_recent_over_midnight_estimated_or_unreported_in_this_order() {
    let mine = Ours { recent: 10, ended_later: 20, estimated: 30, ..ours(500, 0) };
    assert_eq!(named(&reported(&[("a", true, 495)]), &mine), "delay -5 -15000");
    assert_eq!(
        named(&reported(&[("a", true, 400)]), &mine),
        "delay -10 -30000, midnight -20 -60000, estimate -30 -90000, unreported -40 -120000"
    );
}

#[test]
fn an_estimate_explains_as_much_more_as_its_calls_may_have_used() {
    let mine = Ours { estimated: 30, estimated_more: 100, began_earlier: 5, ..ours(500, 0) };
    assert_eq!(
        named(&reported(&[("a", true, 650)]), &mine),
        "midnight 5 15000, estimate 100 300000, other_machine 45 135000"
    );
}

#[test]
fn money_alone_is_a_price_a_rounding_or_has_no_price_at_all() {
    let with_cost = |cost: Option<Usd>| Reported { cost, ..reported(&[("a", true, 1_000_000)]) };
    let mine = ours(1_000_000, 0);
    assert_eq!(named(&with_cost(Some(usd(3 * DOLLAR + 9_999_999))), &mine), "rounding 0 9999999");
    assert_eq!(named(&with_cost(Some(usd(2 * DOLLAR))), &mine), "price 0 -1000000000");
    assert_eq!(named(&with_cost(None), &mine), "no_cost 0 -3000000000");
    let unpriced = Ours { cost: Usd::ZERO, unpriced: 1_000_000, ..mine };
    assert_eq!(named(&with_cost(Some(usd(3 * DOLLAR))), &unpriced), "unpriced 0 3000000000");
    let nowhere = Reported { cost: None, shares: vec![], ..Reported::default() };
    assert_eq!(
        named(&nowhere, &unpriced),
        "unreported -1000000 unknown",
        "what nobody has a price of costs nobody knows what"
    );
}

/// At 3 dollars a million, and at 15 where the prompt is long.
fn with_long_prompts(shares: &[(&str, bool, u64)], cost: i64) -> Reported {
    let mut reported = Reported { cost: Some(usd(cost)), ..reported(shares) };
    for share in &mut reported.shares {
        share.more_if_long = usd(signed(share.count) * 12_000);
    }
    reported
}

#[test]
fn what_others_used_in_long_prompts_is_no_price_that_differs() {
    let other = |cost| named(&with_long_prompts(&[("b", false, 150_000)], cost), &ours(0, 0));
    assert_eq!(other(2_250_000_000), "other_key b 150000 450000000, long_prompts 0 1800000000");
    assert_eq!(other(1_000_000_000), "other_key b 150000 450000000, long_prompts 0 550000000", "a mix of both");
    assert_eq!(other(2_400_000_000), "other_key b 150000 450000000, price 0 1950000000", "beyond the band");
    assert_eq!(other(300_000_000), "other_key b 150000 450000000, price 0 -150000000");
    let elsewhere = with_long_prompts(&[("a", true, 250_000)], 300_000_000 + 2_250_000_000);
    assert_eq!(named(&elsewhere, &ours(100_000, 0)), "other_machine 150000 450000000, long_prompts 0 1800000000");
    let mine = with_long_prompts(&[("a", true, 150_000)], 2_250_000_000);
    assert_eq!(named(&mine, &ours(150_000, 0)), "price 0 1800000000", "of its own calls the ledger knows the length");
    let all_long = Ours { cost: usd(1_500_000_000), ..ours(100_000, 0) };
    let short = with_long_prompts(&[("a", true, 250_000)], 1_500_000_000 + 450_000_000);
    assert_eq!(named(&short, &all_long), "other_machine 150000 2250000000, long_prompts 0 -1800000000");
}

#[test]
fn committed_capacity_has_no_cost_in_the_report() {
    let paid = Reported { priority: 400_000, cost: Some(usd(1_800_000_000)), ..reported(&[("a", true, 1_000_000)]) };
    assert_eq!(named(&paid, &ours(1_000_000, 0)), "priority_tier 0 -1200000000");
}

#[test]
fn a_range_is_reconciled_up_to_the_day_before_the_first_open_one() {
    let line = |day, passed| {
        let (reported, ours) = (reported(&[("a", true, 10_000)]), ours(passed, 0));
        let differences = compare(Item::Input, &reported, &ours);
        Line { day, model: "m".into(), item: Item::Input, reported, ours, differences }
    };
    let lines = [line(1, 10_000), line(2, 9_999), line(4, 0)];
    assert_eq!(reconciled_to(&lines, 1, 3), Some(3), "a difference below a cent is none");
    assert_eq!(reconciled_to(&lines, 1, 9), Some(3));
    assert_eq!(reconciled_to(&lines, 4, 9), None);
}

#[test]
fn like_calls_are_priced_class_by_class_as_each_of_them_is() {
    let rates = |text: &str| {
        let rate = Rate::per_mtok(text).expect("a rate");
        Rates { input: rate, cache_write_5m: rate, cache_write_1h: rate, cache_read: rate, output: rate }
    };
    let price = Price {
        id: "m".into(),
        model: "m".into(),
        platform: None,
        valid_from: None,
        rates: rates("3"),
        long_prompt: Some(LongPrompt { above: 100, rates: rates("6") }),
        batch: None,
        factors: Factors { us_only: 1_100, fast: 2_000, ..Factors::default() },
        web_search: usd(10_000_000),
        source: "test".into(),
    };
    let tokens = Tokens { input: 50, cache_write_5m: 1, cache_write_1h: 2, cache_read: 3, output: 4 };
    for (tokens, long) in [(tokens, false), (Tokens { input: 500, ..tokens }, true)] {
        for flags in 0..8 {
            let (batch, fast, us_only) = (flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
            let usage = Usage { tokens, web_searches: 2, batch, fast, us_only };
            let whole = usd_of_picos(costs(&price, &usage, long).iter().sum());
            assert_eq!(whole, price.cost(&usage), "{usage:?}");
        }
    }
}

fn any_share() -> impl Strategy<Value = Share> {
    let (cost, more) = (prop::option::of(0..DOLLAR * 1_000), 0..DOLLAR * 1_000);
    (0..4_u8, any::<bool>(), 0..1_000_000_000_000_u64, cost, more).prop_map(|(key, is_ours, count, cost, more)| Share {
        origin: Origin { key: (key > 0).then(|| key.to_string().into()), workspace: None },
        is_ours,
        count,
        cost: cost.map(usd),
        more_if_long: usd(more),
    })
}

fn any_ours() -> impl Strategy<Value = Ours> {
    let n = || 0..1_000_000_000_000_u64;
    ((n(), n(), 0..DOLLAR * 1_000_000, n()), (n(), n(), n(), n(), n())).prop_map(
        |((passed, told, cost, unpriced), (estimated, more, recent, later, earlier))| Ours {
            passed,
            told,
            cost: usd(cost),
            unpriced,
            estimated,
            estimated_more: more,
            recent,
            ended_later: later,
            began_earlier: earlier,
        },
    )
}

proptest! {
    #[test]
    fn what_is_named_adds_up_to_the_whole_difference(
        shares in prop::collection::vec(any_share(), 0..5),
        priority in 0..1_000_000_000_u64,
        cost in prop::option::of(-DOLLAR..DOLLAR * 1_000_000),
        ours in any_ours(),
        item in prop::sample::select(Item::COUNTED.to_vec()),
    ) {
        let reported = Reported { shares, priority, cost: cost.map(usd) };
        let parts = compare(item, &reported, &ours);
        let count: i64 = parts.iter().map(|part| part.count).sum();
        let money: Usd = parts.iter().filter_map(|part| part.cost).sum();
        prop_assert_eq!(count, signed(reported.count()) - signed(ours.count()));
        prop_assert_eq!(money, reported.cost.unwrap_or_default() - ours.cost);
        prop_assert!(parts.iter().all(|part| part.count != 0 || part.cost != Some(Usd::ZERO)));
    }
}
