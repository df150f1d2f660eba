//! Why a bill is as high as it is, in figures and in plain sentences.

use domain::catalog::Catalog;
use domain::money::Usd;
use ledger::{Bill, Explanation, Reason, SessionBill, Share};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::range::Range;

/// `tidegate explain --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ExplainView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    pub total: BillView,
    /// The dearest first.
    pub sessions: Vec<SessionBillView>,
    /// Calls from before were deleted: the bill is of what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub kept_from: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BillView {
    pub calls: u64,
    /// Of unknown price: not in `cost_usd`.
    pub unpriced_calls: u64,
    /// Null where no call had a known price.
    pub cost_usd: Option<String>,
    /// They add up to `cost_usd`.
    pub reasons: Vec<ShareView>,
    /// They add up to `cost_usd`.
    pub models: Vec<ShareView>,
    /// What agents of sessions took of it.
    pub subagents: ShareView,
    /// Written into a cache that held them already.
    pub rewritten_tokens: u64,
    /// The same for people, the weightiest first.
    pub sentences: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ShareView {
    pub name: String,
    pub calls: u64,
    pub cost_usd: String,
    /// Of the whole bill, from 0 to 1; below 0 for a discount.
    pub share: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SessionBillView {
    /// Null for the calls of a client that belong to no session.
    pub session: Option<String>,
    pub client: String,
    pub project: Option<String>,
    /// The starts of its first and last call.
    pub from: String,
    pub to: String,
    #[serde(flatten)]
    pub bill: BillView,
}

pub(crate) fn explained(explanation: &Explanation, range: Range, zone: &str, catalog: &Catalog) -> ExplainView {
    ExplainView {
        from: range.from.to_string(),
        to: range.to.to_string(),
        timezone: zone.to_owned(),
        total: bill(&explanation.bill, catalog),
        sessions: explanation.sessions.iter().map(|told| session(told, catalog)).collect(),
        kept_from: None,
    }
}

fn session(told: &SessionBill, catalog: &Catalog) -> SessionBillView {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SessionBillView {
        session: some(&told.name.session),
        client: told.name.client.clone(),
        project: some(&told.project),
        from: told.from.to_string(),
        to: told.to.to_string(),
        bill: bill(&told.bill, catalog),
    }
}

fn bill(bill: &Bill, catalog: &Catalog) -> BillView {
    let part = |name: &str, part: &Share| ShareView {
        name: name.to_owned(),
        calls: part.calls,
        cost_usd: part.cost.to_string(),
        share: share(part.cost, bill.cost),
    };
    BillView {
        calls: bill.calls,
        unpriced_calls: bill.unpriced_calls,
        cost_usd: (bill.calls == 0 || bill.unpriced_calls < bill.calls).then(|| bill.cost.to_string()),
        reasons: bill.reasons.iter().map(|(reason, share)| part(reason.name(), share)).collect(),
        models: bill.models.iter().map(|(model, share)| part(model, share)).collect(),
        subagents: part("subagents", &bill.subagents),
        rewritten_tokens: bill.rewritten_tokens,
        sentences: sentences(bill, catalog),
    }
}

fn share(part: Usd, whole: Usd) -> f64 {
    if whole == Usd::ZERO { 0.0 } else { part.as_nanos() as f64 / whole.as_nanos() as f64 }
}

/// What makes up less of a bill is not worth a sentence.
const WORTH_SAYING: f64 = 0.01;

fn sentences(bill: &Bill, catalog: &Catalog) -> Vec<String> {
    let reasons = bill.reasons.iter().map(|(reason, part)| (part.cost, sentence(*reason, part, bill)));
    let subagents = (bill.subagents.cost, subagents(bill));
    let mut said: Vec<(Usd, String)> = reasons.chain([subagents]).collect();
    said.retain(|(cost, _)| share(*cost, bill.cost).abs() >= WORTH_SAYING);
    said.sort_by_key(|(cost, _)| std::cmp::Reverse(cost.as_nanos().unsigned_abs()));
    let mut said: Vec<String> =
        dear_model(bill, catalog).into_iter().chain(said.into_iter().map(|(_, text)| text)).collect();
    if bill.unpriced_calls > 0 {
        said.push(format!("{} of unknown price: not in the sum", times(bill.unpriced_calls, "call is", "calls are")));
    }
    said
}

fn sentence(reason: Reason, part: &Share, bill: &Bill) -> String {
    let money = dollars(part.cost);
    let percent = percent(part.cost, bill.cost);
    match reason {
        Reason::Input => format!("{money} ({percent}) for prompts that no cache held"),
        Reason::Output => format!("{money} ({percent}) for answers"),
        Reason::CacheReads => format!("{money} ({percent}) for reading caches"),
        Reason::CacheWrites5m => format!("{money} ({percent}) for cache writes that last 5 minutes"),
        Reason::CacheWrites1h => format!("{money} ({percent}) for cache writes that last an hour"),
        Reason::BrokenPrefixes => {
            let broke = times(part.calls, "time", "times");
            format!(
                "cache broke {broke}: {money} ({percent}) of re-written prefix, {} tokens",
                grouped(bill.rewritten_tokens)
            )
        }
        Reason::WebSearches => {
            format!("{money} ({percent}) for web searches in {}", times(part.calls, "call", "calls"))
        }
        Reason::FastMode => format!("fast mode added {money} ({percent}) to {}", times(part.calls, "call", "calls")),
        Reason::LongPrompts => {
            format!("the rates of long prompts added {money} ({percent}) to {}", times(part.calls, "call", "calls"))
        }
        Reason::UsInference => format!("inference in the US only added {money} ({percent})"),
        Reason::BatchDiscount => format!("batches took {} off", dollars(Usd::ZERO - part.cost)),
        Reason::Other => {
            format!("{money} ({percent}) that no price row of today explains: `tidegate why` shows each call")
        }
    }
}

fn subagents(bill: &Bill) -> String {
    let Share { calls, cost } = bill.subagents;
    format!("subagents made {}: {} ({})", times(calls, "call", "calls"), dollars(cost), percent(cost, bill.cost))
}

/// The model that took most of it, where others answer for much less.
fn dear_model(bill: &Bill, catalog: &Catalog) -> Option<String> {
    let (model, part) = bill.models.iter().find(|(model, _)| !model.is_empty())?;
    let now = domain::time::Timestamp::from_millis(i64::MAX);
    let output = catalog.price(model, now)?.rates.output;
    let cheapest = catalog
        .prices()
        .filter(|price| price.model.starts_with("claude-sonnet-"))
        .map(|price| price.rates.output)
        .min()?;
    let is_dear = output.picos_per_token() >= cheapest.picos_per_token().saturating_mul(2);
    let took = format!("{model} took {} ({})", dollars(part.cost), percent(part.cost, bill.cost));
    if is_dear {
        let ratio = output.picos_per_token() as f64 / cheapest.picos_per_token().max(1) as f64;
        return Some(format!("{took}; its answers cost {ratio:.1} times those of the cheapest Sonnet"));
    }
    (bill.models.len() > 1).then_some(took)
}

pub(crate) fn times(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

pub(crate) fn percent(part: Usd, whole: Usd) -> String {
    format!("{:.0} %", share(part, whole) * 100.0)
}

/// `$1,234.56`, in cents; small money in as many places as show it.
pub(crate) fn dollars(usd: Usd) -> String {
    let nanos = usd.as_nanos().unsigned_abs();
    let sign = if usd < Usd::ZERO { "-" } else { "" };
    if nanos >= 10_000_000 {
        let cents = nanos.saturating_add(5_000_000) / 10_000_000;
        return format!("{sign}${}.{:02}", grouped(cents / 100), cents % 100);
    }
    let micros = format!("{:06}", nanos.saturating_add(500) / 1_000);
    format!("{sign}$0.{:0<2}", micros.trim_end_matches('0'))
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of(calls: u64, nanos: i64) -> Share {
        Share { calls, cost: Usd::from_nanos(nanos) }
    }

    #[test]
    fn a_bill_is_told_in_sentences_from_the_weightiest_on() {
        let told = Bill {
            calls: 214,
            unpriced_calls: 1,
            cost: Usd::from_nanos(10_000_000_000),
            reasons: vec![
                (Reason::Output, share_of(210, 5_000_000_000)),
                (Reason::BrokenPrefixes, share_of(14, 3_200_000_000)),
                (Reason::CacheReads, share_of(200, 1_790_000_000)),
                (Reason::Input, share_of(200, 10_000_000)),
            ],
            subagents: share_of(80, 4_100_000_000),
            models: vec![],
            rewritten_tokens: 1_234_567,
        };
        let expected = [
            "$5.00 (50 %) for answers",
            "subagents made 80 calls: $4.10 (41 %)",
            "cache broke 14 times: $3.20 (32 %) of re-written prefix, 1,234,567 tokens",
            "$1.79 (18 %) for reading caches",
            "1 call is of unknown price: not in the sum",
        ];
        assert_eq!(sentences(&told, &Catalog::default()), expected);
    }

    #[test]
    fn a_model_whose_answers_cost_twice_a_sonnets_is_named() {
        let catalog = crate::data::catalog().expect("prices");
        let told = |model: &str| {
            let models = vec![(model.to_owned(), share_of(1, 1_000_000_000))];
            dear_model(&Bill { cost: Usd::from_nanos(1_000_000_000), models, ..Bill::default() }, &catalog)
        };
        let said = told("claude-opus-4-1").expect("it is dear");
        assert!(said.starts_with("claude-opus-4-1 took $1.00 (100 %); its answers cost "), "{said}");
        assert_eq!(told("claude-haiku-4-5"), None);
    }

    #[test]
    fn money_and_counts_are_short() {
        let said =
            [1_234_567_890_000, 12_345_000, 2_100_000, -500_000_000].map(|nanos| dollars(Usd::from_nanos(nanos)));
        assert_eq!(said, ["$1,234.57", "$0.01", "$0.0021", "-$0.50"]);
        assert_eq!([7, 1_000, 12_345_678].map(grouped), ["7", "1,000", "12,345,678"]);
    }
}
