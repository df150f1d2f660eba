//! The reports as they come, and what is wrong with them.

use domain::money::Usd;
use domain::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::asking::Page;
use super::day_of;

/// A page of a report by days.
#[derive(Deserialize)]
pub(super) struct Buckets<Row> {
    pub(super) data: Vec<Bucket<Row>>,
    #[serde(default)]
    next_page: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Bucket<Row> {
    starting_at: String,
    pub(super) results: Vec<Row>,
}

impl<Row: for<'de> Deserialize<'de>> Page for Buckets<Row> {
    fn next(&self) -> Option<String> {
        self.next_page.clone()
    }
}

impl<Row> Bucket<Row> {
    /// Days since 1970, UTC.
    pub(super) fn day(&self) -> Result<i64, String> {
        let start = Timestamp::parse(&self.starting_at);
        let start = start.ok_or_else(|| format!("{} is no moment", self.starting_at.escape_default()))?;
        Ok(day_of(start))
    }
}

#[derive(Deserialize)]
pub(super) struct UsageRow {
    pub(super) api_key_id: Option<String>,
    pub(super) workspace_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) context_window: Option<String>,
    pub(super) inference_geo: Option<String>,
    #[serde(default)]
    uncached_input_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    cache_creation: CacheCreation,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    server_tool_use: ServerToolUse,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: u64,
}

/// No day of an organisation has more.
const COUNT_MAX: u64 = 1_000_000_000_000_000;
const NANOS_MAX: i128 = 1_000_000_000_000_000_000;

impl UsageRow {
    /// In the order of the items of a comparison.
    pub(super) fn counts(&self) -> Result<[u64; 6], String> {
        let counts = [
            self.uncached_input_tokens,
            self.cache_creation.ephemeral_5m_input_tokens,
            self.cache_creation.ephemeral_1h_input_tokens,
            self.cache_read_input_tokens,
            self.output_tokens,
            self.server_tool_use.web_search_requests,
        ];
        match counts.iter().find(|count| **count > COUNT_MAX) {
            Some(count) => Err(format!("a day of {count} tokens")),
            None => Ok(counts),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct CostRow {
    amount: Value,
    currency: Option<String>,
    pub(super) cost_type: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) model: Option<String>,
}

impl CostRow {
    pub(super) fn usd(&self) -> Result<Usd, String> {
        match self.currency.as_deref() {
            None | Some("USD") => {}
            Some(other) => return Err(format!("its amounts are in {}, not in USD", other.escape_default())),
        }
        cents(&self.amount)
    }
}

/// Cents as a decimal string or a number, to the nano-dollar, halves up.
pub(super) fn cents(amount: &Value) -> Result<Usd, String> {
    let text = match amount {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let wrong = || format!("{} is no amount in cents", text.escape_default());
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) || whole.len() > 18 {
        return Err(wrong());
    }
    // A cent is ten million nano-dollars: seven decimals, and one to round by.
    let part: String = part.chars().chain(std::iter::repeat('0')).take(8).collect();
    let (whole, part): (i128, i128) = (whole.parse().map_err(|_| wrong())?, part.parse().map_err(|_| wrong())?);
    let nanos = whole * 10_000_000 + (part + 5) / 10;
    if nanos > NANOS_MAX {
        return Err(wrong());
    }
    i64::try_from(nanos * sign).map(Usd::from_nanos).map_err(|_| wrong())
}

/// A page of a list of things with ids.
#[derive(Deserialize)]
pub(super) struct KeyPage {
    pub(super) data: Vec<KeyRow>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) partial_key_hint: Option<String>,
}

impl Page for KeyPage {
    fn next(&self) -> Option<String> {
        self.last_id.clone().filter(|_| self.has_more)
    }
}

impl KeyRow {
    /// `sk-ant-api03-R2D...igAA` shows both ends of a key.
    pub(super) fn hints_at(&self, key: &str) -> bool {
        let ends = self.partial_key_hint.as_deref().and_then(|hint| hint.split_once("...").or(hint.split_once('…')));
        ends.is_some_and(|(start, end)| end.len() >= 4 && key.starts_with(start) && key.ends_with(end))
    }
}

/// A page of Claude Code's people.
#[derive(Deserialize)]
pub(super) struct PeoplePage {
    pub(super) data: Vec<PersonRow>,
    #[serde(default)]
    next_page: Option<String>,
}

impl Page for PeoplePage {
    fn next(&self) -> Option<String> {
        self.next_page.clone()
    }
}

#[derive(Deserialize)]
pub(super) struct PersonRow {
    pub(super) actor: Actor,
    pub(super) customer_type: Option<String>,
    #[serde(default)]
    pub(super) model_breakdown: Vec<PersonModel>,
}

#[derive(Deserialize)]
pub(super) struct Actor {
    pub(super) email_address: Option<String>,
    pub(super) api_key_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PersonModel {
    #[serde(default)]
    tokens: PersonTokens,
    estimated_cost: Option<EstimatedCost>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct PersonTokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_creation: u64,
}

#[derive(Deserialize)]
struct EstimatedCost {
    currency: Option<String>,
    amount: Value,
}

impl PersonModel {
    pub(super) fn tokens(&self) -> Result<u64, String> {
        let PersonTokens { input, output, cache_read, cache_creation } = self.tokens;
        let tokens =
            [input, output, cache_read, cache_creation].iter().try_fold(0_u64, |sum, more| sum.checked_add(*more));
        tokens.filter(|tokens| *tokens <= COUNT_MAX).ok_or_else(|| "a day of absurdly many tokens".to_owned())
    }

    pub(super) fn usd(&self) -> Result<Usd, String> {
        let Some(cost) = &self.estimated_cost else { return Ok(Usd::ZERO) };
        match cost.currency.as_deref() {
            None | Some("USD") => cents(&cost.amount),
            Some(other) => Err(format!("its amounts are in {}, not in USD", other.escape_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cents_are_read_to_the_nano_dollar() {
        for (amount, nanos) in [
            (json!("123.78912"), 1_237_891_200),
            (json!("0.00000005"), 1),
            (json!("0.000000049"), 0),
            (json!(300), 3_000_000_000),
            (json!("-1"), -10_000_000),
        ] {
            assert_eq!(cents(&amount), Ok(Usd::from_nanos(nanos)), "{amount}");
        }
        for wrong in [json!("1e3"), json!(""), json!("."), json!(null), json!("999999999999999999"), json!("1,5")] {
            assert!(cents(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hint_shows_both_ends_of_a_key() {
        let hinted = |hint: Option<&str>| KeyRow {
            id: "apikey_1".to_owned(),
            name: None,
            partial_key_hint: hint.map(str::to_owned),
        };
        assert!(hinted(Some("sk-ant-api03-R2D...igAA")).hints_at("sk-ant-api03-R2Dxyz-igAA"));
        for no in [Some("sk-ant-api03-R2D...igAB"), Some("sk-ant..."), Some("igAA"), None] {
            assert!(!hinted(no).hints_at("sk-ant-api03-R2Dxyz-igAA"), "{no:?}");
        }
    }
}
