//! The models we know: their prices by date, and which of them share limits.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::money::Usd;
use crate::price::{Platform, Price, Reach};
use crate::time::Timestamp;
use crate::usage::Usage;

mod ids;
mod own;

pub use own::{Class, OwnPrice, Term, WHOLE};

use ids::model_id;
use own::{Agreed, OWN};

/// What a usage came to. Unknown stays unknown; it is never zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Charge {
    pub cost: Option<Usd>,
    pub price_id: Option<Arc<str>>,
    /// The price is that of its family.
    pub estimated: bool,
}

impl Charge {
    /// Together with what another model did in the same call.
    #[must_use]
    pub fn and(self, beside: Charge) -> Charge {
        let ids = self.price_id.zip(beside.price_id).map(|(own, other)| format!("{own}{AND}{other}").into());
        Charge {
            cost: self.cost.zip(beside.cost).map(|(cost, beside)| cost + beside),
            price_id: ids,
            estimated: self.estimated || beside.estimated,
        }
    }

    /// Together with what an earlier attempt of the same call came to.
    #[must_use]
    pub fn and_again(self, before: Charge) -> Charge {
        if self.price_id != before.price_id {
            return self.and(before);
        }
        let price_id = self.price_id.clone();
        Charge { price_id, ..self.and(before) }
    }

    /// Of a call that Priority Tier served: the commitment is paid for, so this is only what it would have cost without.
    #[must_use]
    pub fn of_priority(self) -> Charge {
        let price_id = self.price_id.map(|id| format!("{PRIORITY}{id}").into());
        Charge { price_id, estimated: true, ..self }
    }

    /// Of a call that is not billed, by whatever price.
    #[must_use]
    pub fn for_nothing(self) -> Charge {
        let id = self.price_id.unwrap_or_default();
        Charge { cost: Some(Usd::ZERO), price_id: Some(format!("{FREE}{id}").into()), estimated: false }
    }

    /// Where nobody knows the price, the id says of which model: a price may come.
    #[must_use]
    pub fn of_model(self, model: &str) -> Charge {
        Charge { price_id: self.price_id.or_else(|| Some(format!("{UNPRICED}{model}").into())), ..self }
    }
}

/// How well a price is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    Exact,
    /// Nobody has named it: the latest model of the family has this one.
    Family,
}

/// The price that a call gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quote {
    pub price: Arc<Price>,
    pub certainty: Certainty,
}

/// A figure that was published elsewhere: shown beside ours, never computed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misprint {
    pub price: Price,
    /// Who said so, and what is right.
    pub label: Arc<str>,
}

/// Where an upstream's models are bought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Market {
    pub platform: Platform,
    pub reach: Reach,
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By model; the rows of a model from the latest to the earliest.
    prices: BTreeMap<Arc<str>, Vec<Arc<Price>>>,
    aliases: BTreeMap<Arc<str>, Arc<str>>,
    misprints: Vec<Misprint>,
    own: Vec<OwnPrice>,
    /// By the upstream's name; Anthropic itself where there is none.
    markets: BTreeMap<Arc<str>, Market>,
}

/// How the id of a price begins that is its family's: `family:claude-sonnet-9-9=claude-sonnet-5-5`.
pub const FAMILY: &str = "family:";

/// How the id of a call of Priority Tier begins: the commitment is what is paid, this is what it would have cost without.
pub const PRIORITY: &str = "priority:";

/// How the id of a call begins that is not billed, though it used something: the model declined before the first word.
pub const FREE: &str = "free:";

/// What stands in place of a price's id where another model answered and has no price.
pub const UNPRICED: &str = "unpriced:";

/// Joins the ids of several prices, where several models worked on one call.
pub const AND: char = '+';

impl Catalog {
    pub fn new(prices: Vec<Price>, aliases: Vec<(Arc<str>, Arc<str>)>, misprints: Vec<Misprint>) -> Catalog {
        let mut by_model: BTreeMap<Arc<str>, Vec<Arc<Price>>> = BTreeMap::new();
        for price in prices {
            by_model.entry(price.model.clone()).or_default().push(Arc::new(price));
        }
        for rows in by_model.values_mut() {
            rows.sort_by_key(|row| std::cmp::Reverse(row.valid_from));
        }
        Catalog { prices: by_model, aliases: aliases.into_iter().collect(), misprints, ..Catalog::default() }
    }

    pub fn with_own(self, own: Vec<OwnPrice>) -> Catalog {
        Catalog { own, ..self }
    }

    pub fn with_markets(self, markets: impl IntoIterator<Item = (Arc<str>, Market)>) -> Catalog {
        Catalog { markets: markets.into_iter().collect(), ..self }
    }

    /// The list's price of a model at Anthropic itself, by id or alias, at a moment.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<&Arc<Price>> {
        self.listed(&model_id(model).name, Platform::Anthropic, at)
    }

    /// What a call of a model through an upstream costs.
    pub fn quote(&self, upstream: &str, model: &str, at: Timestamp) -> Option<Quote> {
        let id = model_id(model);
        let name = self.known_name(&id.name).unwrap_or(&id.name);
        let market = self.market(upstream, &id);
        let agreed = Agreed::of(&self.own, [model, name], at);
        if let Some(listed) = self.listed(name, market.platform, at) {
            return Some(Quote { price: priced(listed, market.reach, &agreed, name), certainty: Certainty::Exact });
        }
        if let Some(own) = agreed.alone(name) {
            return Some(Quote { price: Arc::new(own), certainty: Certainty::Exact });
        }
        let latest = self.family(name, market.platform, at).max_by_key(|price| version(price))?;
        let price = priced(latest, market.reach, &agreed, name);
        let id = format!("{FAMILY}{name}={}", price.id).into();
        Some(Quote { price: Arc::new(Price { id, ..Price::clone(&price) }), certainty: Certainty::Family })
    }

    pub fn charge(&self, upstream: &str, model: &str, usage: &Usage, at: Timestamp) -> Charge {
        self.quote(upstream, model, at).map_or_else(Charge::default, |quote| Charge {
            cost: Some(quote.price.cost(usage)),
            price_id: Some(quote.price.id.clone()),
            estimated: quote.certainty == Certainty::Family,
        })
    }

    /// The least and the most that the family's other prices make of a usage.
    pub fn band(&self, upstream: &str, model: &str, usage: &Usage, at: Timestamp) -> Option<(Usd, Usd)> {
        let id = model_id(model);
        let market = self.market(upstream, &id);
        let agreed = Agreed::of(&self.own, [model, &id.name], at);
        let costs = self.family(&id.name, market.platform, at);
        let costs: Vec<Usd> = costs.map(|price| priced(price, market.reach, &agreed, &id.name).cost(usage)).collect();
        costs.iter().min().copied().zip(costs.iter().max().copied())
    }

    /// What stands in for a price that nobody knows: the highest of a Claude model at that moment.
    pub fn dearest(&self, at: Timestamp) -> Option<&Arc<Price>> {
        let claude = self.prices.keys().filter(|model| model.starts_with("claude-"));
        let prices = claude.filter_map(|model| self.price(model, at));
        prices.max_by_key(|price| (price.rates.output, price.rates.input))
    }

    /// The row that a price's id names, as it is today; `None` for a price of several models.
    pub fn row(&self, price_id: &str, at: Timestamp) -> Option<Arc<Price>> {
        let id = price_id.strip_prefix(PRIORITY).or_else(|| price_id.strip_prefix(FREE)).unwrap_or(price_id);
        let id = id.strip_prefix(FAMILY).and_then(|rest| rest.split_once('=')).map_or(id, |(_, id)| id);
        if let Some((model, _)) = id.strip_prefix(OWN).and_then(|rest| rest.rsplit_once('@')) {
            let quoted = self.quote("", model, at).map(|quote| quote.price);
            return quoted.filter(|price| price.id.ends_with(id));
        }
        let regional = id.strip_suffix(":regional").map(|id| (id, Reach::Regional));
        let government = id.strip_suffix(":government").map(|id| (id, Reach::Government));
        let (id, reach) = regional.or(government).unwrap_or((id, Reach::Global));
        let listed = self.prices().find(|price| *price.id == *id)?;
        Some(if reach == Reach::Global { listed.clone() } else { Arc::new(listed.reaching(reach)) })
    }

    /// Which model a price's id says was priced; `None` where it says so of no one model.
    pub fn model_of(&self, price_id: &str) -> Option<Arc<str>> {
        let id = price_id.strip_prefix(PRIORITY).or_else(|| price_id.strip_prefix(FREE)).unwrap_or(price_id);
        if id.contains(AND) {
            return None;
        }
        if let Some(model) = id.strip_prefix(UNPRICED) {
            return Some(model.into());
        }
        if let Some((model, _)) = id.strip_prefix(FAMILY).and_then(|rest| rest.split_once('=')) {
            return Some(model.into());
        }
        if let Some((model, _)) = id.strip_prefix(OWN).and_then(|rest| rest.rsplit_once('@')) {
            return Some(model.into());
        }
        let id = id.strip_suffix(":regional").or_else(|| id.strip_suffix(":government")).unwrap_or(id);
        self.prices().find(|price| *price.id == *id).map(|price| price.model.clone())
    }

    /// Do two ids name one model, wherever each of them says that it runs?
    pub fn is_same_model(&self, one: &str, other: &str) -> bool {
        let (one, other) = (model_id(one).name, model_id(other).name);
        self.known_name(&one).unwrap_or(&one) == self.known_name(&other).unwrap_or(&other)
    }

    /// Every row, by model and from the latest.
    pub fn prices(&self) -> impl Iterator<Item = &Arc<Price>> {
        self.prices.values().flatten()
    }

    pub fn misprints(&self) -> &[Misprint] {
        &self.misprints
    }

    /// What is set by hand.
    pub fn own(&self) -> &[OwnPrice] {
        &self.own
    }

    /// The name under which a model has its prices.
    pub fn known_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let named = |name: &'a str| match self.prices.get_key_value(name) {
            Some((name, _)) => Some(&**name),
            None => self.aliases.get(name).map(|model| &**model),
        };
        named(name).or_else(|| named(ids::without_date(name)?))
    }

    fn market(&self, upstream: &str, id: &ids::ModelId<'_>) -> Market {
        let market = self.markets.get(upstream).copied().unwrap_or_default();
        Market { platform: id.platform.unwrap_or(market.platform), reach: id.reach.max(market.reach) }
    }

    /// A platform's own row before the one that holds everywhere.
    fn listed(&self, name: &str, platform: Platform, at: Timestamp) -> Option<&Arc<Price>> {
        let rows = self.prices.get(self.known_name(name)?)?;
        let at_that_time = |row: &&Arc<Price>| row.valid_from.is_none_or(|from| from <= at);
        let of = |wanted: Option<Platform>| rows.iter().filter(at_that_time).find(move |row| row.platform == wanted);
        of(Some(platform)).or_else(|| of(None))
    }

    fn family(&self, name: &str, platform: Platform, at: Timestamp) -> impl Iterator<Item = &Arc<Price>> {
        let wanted = ids::family(name).map(|(family, _)| family.to_owned());
        let models = self
            .prices
            .keys()
            .filter(move |model| wanted.is_some() && ids::family(model).map(|(family, _)| family) == wanted.as_deref());
        models.filter_map(move |model| self.listed(model, platform, at))
    }
}

fn version(price: &Price) -> Vec<u32> {
    ids::family(&price.model).map(|(_, version)| version).unwrap_or_default()
}

fn priced(listed: &Arc<Price>, reach: Reach, agreed: &Agreed<'_>, model: &str) -> Arc<Price> {
    match (reach, agreed.is_empty()) {
        (Reach::Global, true) => listed.clone(),
        (_, true) => Arc::new(listed.reaching(reach)),
        (_, false) => Arc::new(agreed.applied(&listed.reaching(reach), model)),
    }
}

/// The catalogue in force: who holds this sees a change at once.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<RwLock<Arc<Catalog>>>);

impl InForce {
    pub fn get(&self) -> Arc<Catalog> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, catalog: Catalog) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }
}

impl From<Arc<Catalog>> for InForce {
    fn from(catalog: Arc<Catalog>) -> InForce {
        InForce(Arc::new(RwLock::new(catalog)))
    }
}

/// The rate-limit group of a Claude model: models of one family and major version share limits from 4 on
/// (`claude-sonnet-4-5-20250929` → `sonnet-4`), `.5` generations from 5 on stand alone, and what is no Claude model is its own group.
///
/// Source: platform.claude.com, API, rate limits, 2026-08-22; third-party reading of 2026-10-17 for 5.5.
pub fn group(model: &str) -> String {
    let Some(rest) = model.strip_prefix("claude-") else { return model.to_owned() };
    let parts: Vec<&str> = rest.split('-').collect();
    let small = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let word = |part: &&&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic());
    let Some(family) = parts.iter().find(word) else { return model.to_owned() };
    let version: Vec<&str> = parts.iter().copied().filter(|part| small(part)).collect();
    match (*family, version.as_slice()) {
        (family, []) => family.to_owned(),
        ("opus" | "sonnet", ["4", ..]) => format!("{family}-4"),
        ("fable" | "mythos", [major, ..]) => format!("{family}-{major}"),
        (family, [major, minor, ..]) if *minor != "0" => format!("{family}-{major}.{minor}"),
        (family, [major, ..]) => format!("{family}-{major}"),
    }
}

/// Does a model id match a pattern with `*` for any run of characters?
pub fn matches(pattern: &str, model: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == model,
        Some((head, rest)) => model
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|i| tail.get(i..).is_some_and(|tail| matches(rest, tail)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Factors, Rate, Rates};
    use crate::usage::Tokens;

    #[test]
    fn models_of_one_group_share_limits() {
        for (model, expected) in [
            ("claude-sonnet-4-5-20250929", "sonnet-4"),
            ("claude-sonnet-4-20250514", "sonnet-4"),
            ("claude-opus-4-8", "opus-4"),
            ("claude-opus-5", "opus-5"),
            ("claude-opus-5-5", "opus-5.5"),
            ("claude-haiku-4-5", "haiku-4.5"),
            ("claude-fable-5-2", "fable-5"),
            ("claude-3-5-haiku-20241022", "haiku-3.5"),
            ("claude-3-7-sonnet-20250219", "sonnet-3.7"),
            ("claude-3-opus-20240229", "opus-3"),
            ("gpt-5", "gpt-5"),
            ("claude-", "claude-"),
        ] {
            assert_eq!(group(model), expected, "{model}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, model, expected) in [
            ("claude-sonnet-*", "claude-sonnet-4-5", true),
            ("*", "", true),
            ("claude-*-4*", "claude-opus-4", true),
            ("claude-*-4*", "claude-opus-5", false),
            ("claude-opus-4", "claude-opus-4-1", false),
        ] {
            assert_eq!(matches(pattern, model), expected, "{pattern} {model}");
        }
    }

    fn row(id: &str, model: &str, from: Option<i64>, input: &str, output: &str) -> Price {
        let rate = |text| Rate::per_mtok(text).expect("a rate");
        Price {
            id: id.into(),
            model: model.into(),
            platform: None,
            valid_from: from.map(Timestamp::from_millis),
            rates: Rates { input: rate(input), output: rate(output), ..Rates::default() },
            long_prompt: None,
            batch: None,
            factors: Factors { regional: 1_100, ..Factors::default() },
            web_search: Usd::from_nanos(10_000_000),
            source: "test".into(),
        }
    }

    fn catalog() -> Catalog {
        let rows = vec![
            row("claude-x-4", "claude-x-4", None, "3", "15"),
            row("claude-x-5", "claude-x-5", None, "2", "10"),
            row("claude-x-5@1", "claude-x-5", Some(1_000), "1", "5"),
            row("claude-y-1", "claude-y-1", None, "5", "25"),
        ];
        Catalog::new(rows, vec![("claude-x-latest".into(), "claude-x-5".into())], vec![])
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage { tokens: Tokens { input, output, ..Tokens::default() }, ..Usage::default() }
    }

    /// `cost in nano-dollars, id, estimated` of a thousand tokens in.
    fn charged(catalog: &Catalog, model: &str, at: i64) -> String {
        let charge = catalog.charge("", model, &tokens(1_000, 0), Timestamp::from_millis(at));
        let cost = charge.cost.map_or_else(|| "unknown".to_owned(), |cost| cost.as_nanos().to_string());
        let estimated = if charge.estimated { " estimated" } else { "" };
        format!("{cost} {}{estimated}", charge.price_id.unwrap_or_default())
    }

    #[test]
    fn a_call_is_charged_at_the_row_of_its_day_and_a_stranger_at_none() {
        for (model, at, expected) in [
            ("claude-x-5", 999, "2000000 claude-x-5"),
            ("claude-x-5", 1_000, "1000000 claude-x-5@1"),
            ("claude-x-latest", 1_000, "1000000 claude-x-5@1"),
            ("claude-x-5-20261001", 0, "2000000 claude-x-5"),
            ("us.anthropic.claude-x-5-v1:0", 0, "2200000 claude-x-5:regional"),
            ("claude-z-1", 0, "unknown "),
            ("gpt-x", 0, "unknown "),
            ("", 0, "unknown "),
        ] {
            assert_eq!(charged(&catalog(), model, at), expected, "{model}");
        }
    }

    #[test]
    fn an_unknown_model_of_a_known_family_is_estimated_at_its_latest_price_and_shows_a_band() {
        let catalog = catalog();
        assert_eq!(charged(&catalog, "claude-x-9-9", 1_000), "1000000 family:claude-x-9-9=claude-x-5@1 estimated");
        let band = catalog.band("", "claude-x-9-9", &tokens(1_000, 0), Timestamp::from_millis(1_000));
        assert_eq!(band, Some((Usd::from_nanos(1_000_000), Usd::from_nanos(3_000_000))));
        assert_eq!(catalog.model_of("family:claude-x-9-9=claude-x-5@1").as_deref(), Some("claude-x-9-9"));
    }

    #[test]
    fn an_upstream_says_where_its_models_are_bought() {
        let vertex =
            Price { platform: Some(Platform::Vertex), ..row("vertex:claude-y-1", "claude-y-1", None, "7", "35") };
        let rows = vec![row("claude-y-1", "claude-y-1", None, "5", "25"), vertex];
        let markets = [("far".into(), Market { platform: Platform::Vertex, reach: Reach::Regional })];
        let catalog = Catalog::new(rows, vec![], vec![]).with_markets(markets);
        let id = |upstream: &str, model: &str| {
            catalog.quote(upstream, model, Timestamp::default()).map(|quote| quote.price.id.to_string())
        };
        assert_eq!(id("near", "claude-y-1").as_deref(), Some("claude-y-1"));
        assert_eq!(id("far", "claude-y-1").as_deref(), Some("vertex:claude-y-1:regional"));
        assert_eq!(id("", "claude-y-1@default").as_deref(), Some("vertex:claude-y-1"));
        assert_eq!(catalog.model_of("vertex:claude-y-1:regional").as_deref(), Some("claude-y-1"));
    }

    fn own(pattern: &str, class: Class, term: Term, from: i64) -> OwnPrice {
        let day = format!("d{from}").into();
        OwnPrice { pattern: pattern.into(), class, term, from: Timestamp::from_millis(from), day }
    }

    fn rate(text: &str) -> Term {
        Term::Rate(Rate::per_mtok(text).expect("a rate"))
    }

    #[test]
    fn ones_own_prices_hold_from_their_day_and_the_narrower_pattern_before_the_wider() {
        let catalog = catalog().with_own(vec![
            own("claude-*", Class::Discount, Term::Off(1_500), 100),
            own("claude-x-*", Class::Input, rate("9"), 200),
            own("claude-x-4", Class::Input, rate("8"), 150),
            own("claude-x-4", Class::Input, Term::List, 300),
        ]);
        for (model, at, expected) in [
            ("claude-y-1", 99, "5000000 claude-y-1"),
            ("claude-y-1", 100, "4250000 own:claude-y-1@d100"),
            ("claude-x-4", 149, "2550000 own:claude-x-4@d100"),
            ("claude-x-4", 250, "8000000 own:claude-x-4@d150"),
            ("claude-x-4", 300, "2550000 own:claude-x-4@d100"),
            ("claude-x-5", 250, "9000000 own:claude-x-5@d200"),
            // The list changed after the price was set: another row.
            ("claude-x-5", 1_000, "9000000 own:claude-x-5@1970-01-01T00:00:01.000Z"),
            ("claude-x-7", 250, "9000000 family:claude-x-7=own:claude-x-7@d200 estimated"),
        ] {
            assert_eq!(charged(&catalog, model, at), expected, "{model} {at}");
        }
        assert_eq!(catalog.model_of("own:claude-x-4@d150").as_deref(), Some("claude-x-4"));
    }

    #[test]
    fn a_model_of_no_list_has_a_price_when_input_and_output_are_set() {
        let half = vec![own("mine", Class::Input, rate("4"), 0)];
        assert_eq!(charged(&catalog().with_own(half.clone()), "mine", 0), "unknown ");
        let whole = [half, vec![own("mine", Class::Output, rate("20"), 0)]].concat();
        let catalog = catalog().with_own(whole);
        assert_eq!(charged(&catalog, "mine", 0), "4000000 own:mine@d0");
        let reads = Usage { tokens: Tokens { cache_read: 1_000, ..Tokens::default() }, ..Usage::default() };
        assert_eq!(catalog.charge("", "mine", &reads, Timestamp::default()).cost, Some(Usd::from_nanos(400_000)));
    }

    #[test]
    fn every_id_of_a_charge_names_its_row() {
        let catalog = catalog().with_own(vec![own("claude-y-1", Class::Input, rate("9"), 0)]);
        let at = Timestamp::from_millis(1_000);
        for model in ["claude-x-5", "claude-x-9", "claude-y-1", "claude-y-2", "eu.anthropic.claude-x-4-v1:0"] {
            let charge = catalog.charge("", model, &tokens(1_000, 7), at);
            for id in
                [charge.price_id.clone(), charge.clone().of_priority().price_id, charge.clone().for_nothing().price_id]
            {
                let row = catalog.row(&id.expect("an id"), at).expect("a row");
                assert_eq!(Some(row.cost(&tokens(1_000, 7))), charge.cost, "{model}");
            }
        }
        assert_eq!(catalog.row("claude-x-5+claude-y-1", at), None);
    }

    #[test]
    fn a_price_of_several_models_is_of_no_one_model() {
        let catalog = catalog();
        assert_eq!(catalog.model_of("claude-x-5+claude-y-1"), None);
        assert_eq!(catalog.model_of("unpriced:claude-z").as_deref(), Some("claude-z"));
        assert_eq!(catalog.model_of("priority:claude-x-5@1").as_deref(), Some("claude-x-5"));
        assert_eq!(catalog.model_of("gone"), None);
    }

    #[test]
    fn several_models_in_one_call_are_charged_together_and_an_unknown_one_makes_the_call_unknown() {
        let (catalog, at) = (catalog(), Timestamp::default());
        let charge = |model| catalog.charge("", model, &tokens(1_000, 0), at).of_model(model);
        let both = charge("claude-y-1").and(charge("claude-x-9"));
        assert_eq!(both.cost, Some(Usd::from_nanos(7_000_000)));
        assert_eq!((both.price_id.as_deref(), both.estimated), (Some("claude-y-1+family:claude-x-9=claude-x-5"), true));
        let half = charge("claude-y-1").and(charge("gpt"));
        assert_eq!((half.cost, half.price_id.as_deref()), (None, Some("claude-y-1+unpriced:gpt")));
        assert_eq!(charge("claude-y-1").of_priority().price_id.as_deref(), Some("priority:claude-y-1"));
    }

    #[test]
    fn who_holds_the_catalogue_in_force_sees_a_change() {
        let in_force = InForce::from(Arc::new(Catalog::default()));
        let held = in_force.clone();
        in_force.set(catalog());
        assert!(held.get().price("claude-x-5", Timestamp::default()).is_some());
    }

    #[test]
    fn the_dearest_price_is_that_of_a_claude_model_on_the_day() {
        let prices = [("gpt-5", None, "900"), ("claude-a", None, "75"), ("claude-b", Some(1_000), "90")];
        let rows = prices.map(|(model, from, output)| row(model, model, from, "1", output));
        let catalog = Catalog::new(rows.into(), vec![], vec![]);
        let dearest = |at| catalog.dearest(Timestamp::from_millis(at)).map(|price| price.id.to_string());
        assert_eq!((dearest(999), dearest(1_000)), (Some("claude-a".into()), Some("claude-b".into())));
        assert_eq!(Catalog::default().dearest(Timestamp::default()), None);
    }
}
