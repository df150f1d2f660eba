//! What the ledger and the simulator each say happened.

use std::collections::BTreeMap;

use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry, Outcome, Source};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::{Tokens, Usage};
use serde_json::Value;

use crate::http::{self, Request};
use crate::lab::Home;
use crate::process::Server;

/// Sums that two books must agree on, to the token and the nano-dollar.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    pub calls: u64,
    /// In the order of `CLASSES`.
    pub tokens: [u64; 5],
    /// Nano-dollars.
    pub cost: i128,
}

const CLASSES: [&str; 5] =
    ["input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens", "output_tokens"];

impl Sums {
    fn of(book: &Value) -> Sums {
        Sums {
            calls: count(&book["calls"]),
            tokens: CLASSES.map(|class| count(&book[class])),
            cost: nano_dollars(&book["cost_usd"]),
        }
    }

    /// All classes but the last.
    pub fn input_tokens(&self) -> u64 {
        self.tokens[..4].iter().sum()
    }

    pub fn output_tokens(&self) -> u64 {
        self.tokens[4]
    }
}

/// The ledger, asked through the command line.
pub struct Books<'a> {
    pub(crate) home: &'a Home,
}

impl Books<'_> {
    pub fn json(&self, args: &[&str]) -> Value {
        let said = self.home.tidegate(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{args:?}: no JSON ({error}): {}", said.out))
    }

    /// Of today and the day before, so that a midnight does no harm.
    pub fn usage(&self) -> Value {
        let day = self.json(&["usage", "--json"]);
        let yesterday = &day["from"].as_str().expect("from")[..10];
        let from = before(yesterday);
        self.json(&["usage", "--json", "--from", &from])
    }

    pub fn sums(&self) -> Sums {
        Sums::of(&self.usage()["total"])
    }

    /// The rows of `export calls`, each as column → cell.
    pub fn calls(&self) -> Vec<BTreeMap<String, String>> {
        self.calls_from("2020-01-01")
    }

    /// Those that began then or later.
    pub fn calls_from(&self, from: &str) -> Vec<BTreeMap<String, String>> {
        let said = self.home.tidegate(&["export", "calls", "--from", from]);
        assert_eq!(said.code, Some(0), "export: {said:?}");
        let mut rows = parse_csv(&said.out).into_iter();
        let names = rows.next().unwrap_or_default();
        rows.map(|row| names.iter().cloned().zip(row).collect()).collect()
    }

    pub fn verify(&self) {
        let said = self.home.tidegate(&["verify"]);
        assert_eq!(said.code, Some(0), "verify: {said:?}");
    }
}

/// `GET /simulator/…` as JSON.
pub async fn simulator(server: &Server, path: &str) -> Value {
    http::call(server.address(), &Request::new("GET", path)).await.expect("the simulator answers").json()
}

pub async fn simulator_sums(server: &Server) -> Sums {
    Sums::of(&simulator(server, "/simulator/stats").await)
}

pub fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

/// From a decimal string of dollars, exactly.
pub fn nano_dollars(value: &Value) -> i128 {
    let text = value.as_str().unwrap_or_else(|| panic!("money as a string, not {value}"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    assert!(part.len() <= 9, "money finer than a nano-dollar: {text}");
    let padded = format!("{whole}{part:0<9}");
    padded.parse().unwrap_or_else(|_| panic!("money, not {text}"))
}

/// RFC 4180.
pub fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\n', false) => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            ('\r', false) => {}
            (c, _) => cell.push(c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// The day before `2026-11-24`.
fn before(day: &str) -> String {
    let noon = domain::time::Timestamp::parse(&format!("{day}T12:00:00Z")).expect("a day");
    let earlier = domain::time::Timestamp::from_millis(noon.as_millis() - 86_400_000);
    earlier.to_string()[..10].to_owned()
}

/// A call as the ledger takes it, at $0.00375: 1,000 tokens of Sonnet 4.5 in, and 50 out.
pub fn completed(at: Timestamp, number: u128, client: &str, class: Class) -> Entry {
    let who = Attribution { client: client.into(), ..Attribution::default() };
    let call = Call {
        id: CallId::new(at, number),
        started_at: at,
        class,
        who,
        model: "claude-sonnet-4-5".into(),
        max_tokens: Some(60),
        stream: false,
        body_bytes: 4_000,
    };
    let attempt = Attempt {
        number: 1,
        upstream: "simulator".into(),
        opened_at: at,
        status: Some(200),
        request_id: None,
        error: None,
        maybe_billed: false,
    };
    Entry {
        call,
        ended_at: at,
        attempts: vec![attempt],
        status: 200,
        outcome: Outcome::Completed,
        usage: Usage { tokens: Tokens { input: 1_000, output: 50, ..Tokens::default() }, ..Usage::default() },
        cost: Some(Usd::from_nanos(3_750_000)),
        price_id: Some("claude-sonnet-4-5".into()),
        estimated: false,
        source: Source::Gateway,
        waited_ms: 0,
        waited_for: None,
        first_byte_ms: None,
        total_ms: 1_000,
        cache: CacheUse::Off,
        saved: None,
        error: None,
        account: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_keep_commas_quotes_and_lines() {
        let rows = parse_csv("a,b\r\n\"x,\"\"y\"\"\nz\",\r\n");
        assert_eq!(rows, [vec!["a".to_owned(), "b".into()], vec!["x,\"y\"\nz".into(), String::new()]]);
    }

    #[test]
    fn money_is_read_exactly() {
        assert_eq!(nano_dollars(&Value::from("1.000000001")), 1_000_000_001);
        assert_eq!(nano_dollars(&Value::from("0.5")), 500_000_000);
    }
}
