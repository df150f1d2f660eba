//! What the ledger has of each line.

use domain::call::Source;
use domain::catalog::Catalog;
use domain::money::Usd;
use domain::reconcile::{Item, Lines, Ours, costs, counts};
use domain::time::Timestamp;
use ledger::LikeCalls;

use super::reported::model_name;
use super::{Account, Days, REPORTS_LATE_BY, start_of};
use crate::App;

impl App {
    pub(super) async fn add_ours(
        &self,
        lines: &mut Lines,
        account: &Account,
        days: Days,
        with_told: bool,
        now: Timestamp,
    ) -> Result<(), ledger::Error> {
        let catalog = self.prices.in_force().get();
        let bands = bands(&catalog);
        let (_, to) = days.moments();
        // Calls of the day before may have ended on the first.
        let calls = self.ledger.like_calls(start_of(days.from - 1), to, &bands, now.before(REPORTS_LATE_BY)).await?;
        for calls in &calls {
            let has_passed = calls.source == Source::Gateway;
            let is_its = account.upstreams.iter().any(|upstream| **upstream == *calls.upstream);
            let is_compared = if has_passed { is_its } else { with_told };
            if is_compared {
                add(lines, calls, days, &bands, &catalog);
            }
        }
        Ok(())
    }
}

/// The lengths of prompts above which some price changes.
fn bands(catalog: &Catalog) -> Vec<u64> {
    let mut bands: Vec<u64> = catalog.prices().filter_map(|price| Some(price.long_prompt?.above)).collect();
    bands.sort_unstable();
    bands.dedup();
    bands
}

fn add(lines: &mut Lines, calls: &LikeCalls, days: Days, bands: &[u64], catalog: &Catalog) {
    let model = model_name(catalog, &calls.model, calls.day);
    let has_passed = calls.source == Source::Gateway;
    let ended_later = calls.ended_day > calls.day;
    let costs = costs_of(calls, bands, catalog);
    for ((item, count), cost) in Item::COUNTED.into_iter().zip(counts(&calls.usage)).zip(costs) {
        if count == 0 && cost == Usd::ZERO {
            continue;
        }
        if ended_later && has_passed && days.has(calls.ended_day) {
            add_to(&mut lines.line(calls.ended_day, &model, item).1.began_earlier, count);
        }
        if !days.has(calls.day) {
            continue;
        }
        let more = if item == Item::Output { calls.more_output.max(count) } else { count };
        let ours = &mut lines.line(calls.day, &model, item).1;
        ours.cost += cost;
        add_to(if has_passed { &mut ours.passed } else { &mut ours.told }, count);
        let Ours { unpriced, estimated, estimated_more, recent, ended_later: later, .. } = ours;
        for (sum, holds, count) in [
            (unpriced, !calls.has_price, count),
            (estimated, has_passed && calls.estimated, count),
            (estimated_more, has_passed && calls.estimated, more),
            (recent, has_passed && calls.recent, count),
            (later, has_passed && ended_later, count),
        ] {
            if holds {
                add_to(sum, count);
            }
        }
    }
}

fn add_to(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// What the calls cost as the ledger has it, class by class: as their price splits it, else as their tokens do.
fn costs_of(calls: &LikeCalls, bands: &[u64], catalog: &Catalog) -> [Usd; 6] {
    if !calls.has_price {
        return [Usd::ZERO; 6];
    }
    let quote = catalog.quote(&calls.upstream, &calls.model, start_of(calls.day + 1));
    let split = quote.map(|quote| {
        let price = quote.price;
        let exceeded = bands.get(..calls.band).unwrap_or(bands);
        let is_long = price.long_prompt.is_some_and(|band| exceeded.contains(&band.above));
        costs(&price, &calls.usage, is_long)
    });
    let split = split.filter(|split| split.iter().any(|picos| *picos > 0));
    divided(calls.cost, split.unwrap_or_else(|| counts(&calls.usage).map(u128::from)))
}

/// Whole nano-dollars that add up to `cost`; the heaviest takes what rounding leaves.
fn divided(cost: Usd, weights: [u128; 6]) -> [Usd; 6] {
    let all = weights.iter().fold(0_u128, |sum, weight| sum.saturating_add(*weight)).max(1);
    let nanos = u128::try_from(cost.as_nanos()).unwrap_or(0);
    // Far beyond any ledger a division comes first, so that nothing overflows.
    let part = |weight: u128| weight.checked_mul(nanos).map_or_else(|| weight / all * nanos, |product| product / all);
    let mut parts = weights.map(|weight| Usd::from_nanos(i64::try_from(part(weight)).unwrap_or(i64::MAX)));
    let heaviest = weights.iter().enumerate().max_by_key(|(_, weight)| **weight).map_or(0, |(place, _)| place);
    let rest = cost - parts.iter().copied().sum();
    if let Some(heaviest) = parts.get_mut(heaviest) {
        *heaviest += rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_divided_without_a_rest() {
        for (cost, weights, parts) in [
            (100, [1, 0, 0, 0, 3, 0], [25, 0, 0, 0, 75, 0]),
            (100, [1, 1, 1, 0, 0, 0], [33, 33, 34, 0, 0, 0]),
            (7, [0; 6], [0, 0, 0, 0, 0, 7]),
            (0, [5; 6], [0; 6]),
        ] {
            let divided = divided(Usd::from_nanos(cost), weights);
            assert_eq!(divided.map(Usd::as_nanos), parts, "{cost} {weights:?}");
        }
        let vast = divided(Usd::from_nanos(i64::MAX), [u128::MAX / 4; 6]);
        assert_eq!(vast.iter().copied().sum::<Usd>(), Usd::from_nanos(i64::MAX));
    }
}
