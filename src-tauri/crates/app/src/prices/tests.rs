//! Golden figures of the published price list, files that are wrong, and prices set by hand.

use domain::money::Usd;
use domain::usage::{Tokens, Usage};

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn now() -> Timestamp {
    at("2026-11-26T12:00:00Z")
}

fn list() -> Catalog {
    crate::data::catalog().expect("the shipped table")
}

/// Nano-dollars of a thousand tokens of each class: input, output, 5m write, 1h write, read.
fn each_class(catalog: &Catalog, model: &str, at: Timestamp) -> Vec<i64> {
    let tokens: [fn(&mut Tokens); 5] = [
        |tokens| tokens.input = 1_000,
        |tokens| tokens.output = 1_000,
        |tokens| tokens.cache_write_5m = 1_000,
        |tokens| tokens.cache_write_1h = 1_000,
        |tokens| tokens.cache_read = 1_000,
    ];
    let cost = |set: fn(&mut Tokens)| {
        let mut usage = Usage::default();
        set(&mut usage.tokens);
        let charge = catalog.charge("", model, &usage, at);
        assert!(!charge.estimated, "{model}");
        charge.cost.expect("a price").as_nanos()
    };
    tokens.map(cost).to_vec()
}

#[test]
fn every_row_of_the_price_list_is_exact_to_the_nano_dollar() {
    let catalog = list();
    for (models, expected) in [
        (&["claude-fable-5-2", "claude-mythos-5-2"][..], [8_000_000, 40_000_000, 10_000_000, 16_000_000, 200_000]),
        (&["claude-fable-5-1", "claude-mythos-5-1"], [10_000_000, 50_000_000, 12_500_000, 20_000_000, 250_000]),
        (&["claude-fable-5", "claude-mythos-5"], [10_000_000, 50_000_000, 12_500_000, 20_000_000, 1_000_000]),
        (&["claude-opus-5-5"], [4_000_000, 20_000_000, 5_000_000, 8_000_000, 200_000]),
        (
            &["claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5"],
            [5_000_000, 25_000_000, 6_250_000, 10_000_000, 500_000],
        ),
        (
            &["claude-opus-4-1", "claude-opus-4-0", "claude-3-opus"],
            [15_000_000, 75_000_000, 18_750_000, 30_000_000, 1_500_000],
        ),
        (&["claude-sonnet-5-5"], [2_000_000, 10_000_000, 2_500_000, 4_000_000, 100_000]),
        (&["claude-sonnet-5"], [2_000_000, 10_000_000, 2_500_000, 4_000_000, 200_000]),
        (
            &["claude-sonnet-4-6", "claude-sonnet-4-5", "claude-sonnet-4-0", "claude-3-7-sonnet", "claude-3-5-sonnet"],
            [3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000],
        ),
        (&["claude-haiku-5-5"], [100_000, 500_000, 125_000, 200_000, 10_000]),
        (&["claude-haiku-4-5"], [1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000]),
        (&["claude-3-5-haiku"], [800_000, 4_000_000, 1_000_000, 1_600_000, 80_000]),
        (&["claude-3-haiku"], [250_000, 1_250_000, 300_000, 500_000, 30_000]),
    ] {
        for model in models {
            assert_eq!(each_class(&catalog, model, now()), expected, "{model}");
        }
    }
    let before = at("2026-10-06T23:59:59.999Z");
    assert_eq!(each_class(&catalog, "claude-sonnet-5-5", before)[4], 200_000, "its cache reads were cut on 2026-10-07");
}

fn cost(model: &str, usage: &Usage) -> i64 {
    list().charge("", model, usage, now()).cost.expect("a price").as_nanos()
}

fn used(input: u64, cache_write_5m: u64, cache_read: u64, output: u64) -> Usage {
    Usage { tokens: Tokens { input, cache_write_5m, cache_write_1h: 0, cache_read, output }, ..Usage::default() }
}

#[test]
fn the_long_band_of_haiku_5_5_begins_strictly_above_100_000_tokens_of_prompt() {
    assert_eq!(cost("claude-haiku-5-5", &used(50_000, 20_000, 30_000, 1_000)), 8_300_000);
    // One token more, and the whole call costs five times as much.
    assert_eq!(cost("claude-haiku-5-5", &used(50_001, 20_000, 30_000, 1_000)), 41_500_500);
}

#[test]
fn batch_fast_mode_and_the_us_multiply_and_searches_do_not() {
    let usage = Usage { web_searches: 3, ..used(1_000, 0, 0, 1_000) };
    for (batch, fast, us_only, expected) in [
        (false, false, false, 24_000_000),
        (true, false, false, 12_000_000),
        (false, true, false, 48_000_000),
        (false, true, true, 52_800_000),
        (true, false, true, 13_200_000),
    ] {
        let usage = Usage { batch, fast, us_only, ..usage };
        assert_eq!(cost("claude-opus-5-5", &usage), expected + 30_000_000);
    }
    // A model without a fast mode has one price; one from before 4.6 costs the same in the US.
    assert_eq!(cost("claude-sonnet-4-5", &Usage { fast: true, us_only: true, ..used(1_000, 0, 0, 0) }), 3_000_000);
}

#[test]
fn platforms_have_their_own_prices_where_they_differ() {
    for (model, usage, expected) in [
        ("us.anthropic.claude-opus-5", used(1_000, 0, 0, 1_000), 33_000_000),
        ("global.anthropic.claude-opus-5", used(1_000, 0, 0, 1_000), 30_000_000),
        ("us-gov.anthropic.claude-opus-5", used(1_000, 0, 0, 0), 6_000_000),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", used(1_000, 0, 0, 0), 3_000_000),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", used(200_001, 0, 0, 1_000), 1_344_756_600),
        ("claude-sonnet-4-5@20250929", used(200_001, 0, 0, 1_000), 1_222_506_000),
        ("claude-sonnet-4-5", used(200_001, 0, 0, 1_000), 615_003_000),
        ("claude-opus-5-5@default", Usage { batch: true, ..used(1_000, 0, 0, 0) }, 2_500_000),
        ("anthropic.claude-mythos-preview", used(1_000, 0, 0, 0), 27_500_000),
        ("claude-3-5-haiku@20241022", used(1_000, 0, 0, 0), 1_000_000),
    ] {
        assert_eq!(cost(model, &usage), expected, "{model}");
    }
}

#[test]
fn the_field_guides_three_models_are_charged_by_the_list_and_its_figures_are_shown() {
    let catalog = list();
    for (model, ours, guides) in [
        ("claude-3-5-sonnet", 3_000_000, "3 15"),
        ("claude-3-5-haiku", 800_000, "0.25 1.25"),
        ("claude-3-opus", 15_000_000, "15 75"),
    ] {
        assert_eq!(each_class(&catalog, model, at("2025-09-01T00:00:00Z"))[0], ours, "{model}");
        let known = catalog.known_name(model).expect("a model");
        let said = catalog.misprints().iter().find(|misprint| *misprint.price.model == *known).expect("a figure");
        assert_eq!(format!("{} {}", said.price.rates.input, said.price.rates.output), guides, "{model}");
    }
}

#[test]
fn the_shipped_table_holds_nothing_that_this_program_does_not_know() {
    let table = built_in().expect("the shipped table");
    assert_eq!(table.skipped, Vec::<String>::new());
}

const GOOD: &str = r#"{
 "schema": 1, "read": "2026-12-01",
 "rows": [
  { "id": "claude-x", "model": "claude-x", "valid_from": "first day",
    "per_mtok": { "input": "1", "cache_write_5m": "1.25", "cache_write_1h": "2", "cache_read": "0.1", "output": "5" },
    "source": "test" },
  { "id": "claude-x@2026-10-07", "model": "claude-x", "valid_from": "2026-10-07",
    "per_mtok": { "input": "2", "cache_write_5m": "2.5", "cache_write_1h": "4", "cache_read": "0.2", "output": "9" },
    "source": "test" }
 ],
 "aliases": { "claude-latest": "claude-x" }
}"#;

#[test]
fn what_is_wrong_with_a_price_file_is_said_in_one_sentence_with_its_line() {
    Table::parse(GOOD.as_bytes()).expect("a table");
    for (from, to, expected) in [
        (r#""output": "5""#, r#""output": "-5""#, "line 4: row claude-x: output is \"-5\": write dollars"),
        (r#""output": "9""#, r#""output": "NaN""#, "line 7: row claude-x@2026-10-07: output is \"NaN\""),
        (r#""output": "9""#, r#""output": "1e9""#, "line 7: row claude-x@2026-10-07: output is \"1e9\""),
        (r#""output": "9""#, r#""output": "90000""#, "no token costs more than $10000 a million"),
        (r#""output": "9""#, r#""output": 9"#, "line 8: invalid type: integer `9`, expected a string"),
        (r#""output": "9""#, r#""output": "0""#, "a model that costs nothing is no price"),
        (r#", "cache_read": "0.2""#, "", "line 7: row claude-x@2026-10-07: cache_read is missing"),
        (r#""input": "2", "#, "", "line 8: missing field `input`"),
        (r#""2026-10-07","#, r#""7 October","#, "valid_from is \"7 October\": write a day"),
        (
            r#""valid_from": "2026-10-07""#,
            r#""valid_from": "first day""#,
            "is a second price of claude-x from the same day",
        ),
        (r#""id": "claude-x@2026-10-07""#, r#""id": "claude-x""#, "row claude-x stands here a second time"),
        (r#""id": "claude-x@2026-10-07""#, r#""id": "own:claude-x@now""#, "is no name for one"),
        (
            r#""model": "claude-x", "valid_from": "2026"#,
            r#""model": "gpt\u0000", "valid_from": "2026"#,
            "is no name for one",
        ),
        (r#""claude-latest": "claude-x""#, r#""claude-latest": "claude-y""#, "stands for claude-y, which has no row"),
        (r#""schema": 1"#, r#""schema": 2"#, "the file is of schema 2, this program knows schema 1"),
        (r#""2026-12-01""#, r#""yesterday""#, "`read` is a day"),
        ("claude-x", "gpt-x", "the file has no price of a Claude model"),
    ] {
        let text = if from == "claude-x" { GOOD.replace(from, to) } else { GOOD.replacen(from, to, 1) };
        assert_ne!(text, GOOD, "{from}");
        let said = Table::parse(text.as_bytes()).expect_err(to).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_price_file_cut_anywhere_is_refused_and_never_half_taken() {
    for cut in 0..GOOD.len() {
        let error = Table::parse(&GOOD.as_bytes()[..cut]).expect_err("it is cut");
        assert!(error.to_string().ends_with("the file ends in the middle: it was cut off"), "{cut}: {error}");
    }
    for (text, says) in [
        ("[]", "line 1: a price file is an object with \"schema\", \"read\" and \"rows\", and this is none"),
        ("7", "line 1: a price file is an object"),
        (
            "{\"schema\": 1, \"read\": \"2026-12-01\", \"rows\": [\n[]]}",
            "line 2: a row is an object with \"id\", \"model\"",
        ),
    ] {
        let said = Table::parse(text.as_bytes()).expect_err("no prices").to_string();
        assert!(said.starts_with(says), "{said}");
    }
    assert!(Table::parse(b"{\n\xff").expect_err("no text").to_string().starts_with("line 2: this is no UTF-8"));
}

#[test]
fn what_a_file_says_and_nobody_knows_is_named_and_left_aside() {
    let text = GOOD.replacen(r#""source": "test""#, r#""source": "test", "surcharge": "2""#, 1);
    let text = text.replacen(r#""input": "1","#, r#""input": "1", "video": "7","#, 1);
    let table = Table::parse(text.as_bytes()).expect("a table");
    assert_eq!(table.skipped, ["surcharge of row claude-x", "the class video of row claude-x"]);
}

fn prices(dir: &Path) -> Prices {
    let settings = crate::settings::parse("", &crate::data::schemes().expect("schemes")).expect("settings");
    Prices::open(dir, &settings, now()).expect("prices")
}

fn set(prices: &Prices, model: &str, class: &str, value: &str, from: &str) -> Result<PriceSetView, String> {
    let row = OwnRow::of((model, class, value), Some(from), domain::time::Calendar::UTC, now());
    row.and_then(|row| prices.set(row, now())).map_err(|error| error.to_string())
}

fn id(prices: &Prices, model: &str) -> String {
    prices.in_force().get().quote("", model, now()).map(|quote| quote.price.id.to_string()).unwrap_or_default()
}

#[test]
fn a_price_set_by_hand_holds_at_once_for_those_who_charge_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = prices(dir.path());
    let charging = first.in_force();
    set(&first, "claude-*", "discount", "15%", "2026-11-01").expect("set");
    let usage = used(1_000, 0, 0, 0);
    assert_eq!(charging.get().charge("", "claude-opus-5", &usage, now()).cost, Some(Usd::from_nanos(4_250_000)));
    let again = set(&first, "claude-*", "discount", "20%", "2026-11-01").expect("set");
    assert_eq!(again.removed.iter().map(|own| own.value.as_str()).collect::<Vec<_>>(), ["15%"]);
    drop(first);
    let second = prices(dir.path());
    assert_eq!(id(&second, "claude-opus-5"), "own:claude-opus-5@2026-11-01");
    let removed = second.unset("claude-*", "discount", None, now()).expect("taken away").removed.len();
    assert_eq!((removed, id(&second, "claude-opus-5")), (1, "claude-opus-5".to_owned()));
    assert!(second.unset("claude-*", "discount", None, now()).is_err());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = std::fs::metadata(dir.path().join(own::FILE)).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn web_searches_are_set_as_they_are_published_for_a_thousand() {
    let dir = tempfile::tempdir().expect("a folder");
    let prices = prices(dir.path());
    set(&prices, "claude-*", "web_search", "8", "2026-11-01").expect("set");
    let searches = Usage { web_searches: 1, ..Usage::default() };
    let cost = prices.in_force().get().charge("", "claude-opus-5", &searches, now()).cost;
    assert_eq!(cost, Some(Usd::from_nanos(8_000_000)));
}

#[test]
fn what_is_no_price_is_said_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let prices = prices(dir.path());
    for (model, class, value, from, expected) in [
        ("claude-x", "input", "-1", "2026-11-01", "write dollars per million tokens, not negative"),
        ("claude-x", "input", "inf", "2026-11-01", "write dollars per million tokens"),
        ("claude-x", "input", "10001", "2026-11-01", "no token costs more than"),
        ("claude-x", "web_search", "-1", "2026-11-01", "write dollars per 1,000 searches"),
        ("claude-x", "discount", "100.001%", "2026-11-01", "from 0% to 100%"),
        ("claude-x", "cached", "1", "2026-11-01", "there is no class \"cached\": input, cache_write_5m"),
        ("claude x", "input", "1", "2026-11-01", "is no model"),
        ("claude-x", "input", "1", "2026-02-30", "is neither a day"),
        ("claude-x", "input", "1", "1969-12-31", "lies before 1970"),
    ] {
        let said = set(&prices, model, class, value, from).expect_err(value);
        assert!(said.contains(expected), "{said}");
    }
    assert!(!dir.path().join(own::FILE).exists());
}

#[test]
fn a_damaged_file_of_own_prices_is_named_never_overwritten_and_the_list_goes_on() {
    for text in [
        "{",
        r#"{"schema":2,"prices":[]}"#,
        r#"{"schema":1,"prices":[{"model":"m","class":"input","value":"-1","from":"2026-11-01T00:00:00Z","day":"x"}]}"#,
        r#"{"schema":1,"prices":[{"model":"m","class":"input","value":"1","from":"2026-11-01T00:00:00Z","day":"x"},
            {"model":"m","class":"input","value":"2","from":"2026-11-01T00:00:00Z","day":"x"}]}"#,
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(own::FILE), text).expect("written");
        let prices = prices(dir.path());
        assert_eq!((prices.faults().len(), id(&prices, "claude-opus-5").as_str()), (1, "claude-opus-5"), "{text}");
        assert!(set(&prices, "m", "input", "1", "2026-11-01").is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(own::FILE)).expect("a file"), text);
    }
}

#[test]
fn a_newer_file_is_shown_then_installed_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("new.json");
    let newer = PRICES.replace(r#""read": "2026-11-24""#, r#""read": "2026-12-01""#);
    let newer =
        newer.replacen(r#""input": "1", "cache_write_5m": "1.25""#, r#""input": "0.9", "cache_write_5m": "1.25""#, 1);
    std::fs::write(&file, &newer).expect("written");
    let prices = prices(dir.path());
    let shown = prices.update(&file, None, now()).expect("shown");
    let changes: Vec<String> = shown
        .changes
        .iter()
        .flat_map(|change| {
            change.figures.iter().map(move |figure| format!("{} {} {figure:?}", change.kind, change.price_id))
        })
        .collect();
    let figure = FigureView { name: "input".into(), old: Some("1".into()), new: Some("0.9".into()) };
    assert_eq!(changes, [format!("changed claude-haiku-4-5 {figure:?}")]);
    assert_eq!((shown.installed, prices.kept().origin.as_str()), (false, BUILT_IN));
    // What was shown is what is installed.
    std::fs::write(&file, format!("{newer}\n")).expect("written");
    assert!(prices.update(&file, Some(&shown.digest), now()).is_err());
    let shown = prices.update(&file, None, now()).expect("shown");
    assert!(prices.update(&file, Some(&shown.digest), now()).expect("installed").installed);
    let usage = used(1_000, 0, 0, 0);
    let cost = |prices: &Prices| prices.in_force().get().charge("", "claude-haiku-4-5", &usage, now()).cost;
    assert_eq!(cost(&prices), Some(Usd::from_nanos(900_000)));
    let again = self::prices(dir.path());
    assert_eq!((cost(&again), again.faults()), (Some(Usd::from_nanos(900_000)), vec![]));
    again.reset(now()).expect("reset");
    assert_eq!(cost(&again), Some(Usd::from_nanos(1_000_000)));
    assert_eq!(cost(&self::prices(dir.path())), Some(Usd::from_nanos(1_000_000)));
}

#[test]
fn an_installed_file_that_is_bad_or_older_falls_back_to_the_shipped_one_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let older = PRICES.replace(r#""read": "2026-11-24""#, r#""read": "2026-01-01""#);
    for (text, expected) in [
        (&PRICES[..PRICES.len() / 2], "the file ends in the middle"),
        (older.as_str(), "before the table that comes with this program"),
    ] {
        std::fs::write(dir.path().join(FILE), text).expect("written");
        let prices = prices(dir.path());
        assert!(prices.faults().concat().contains(expected), "{:?}", prices.faults());
        assert_eq!(prices.kept().origin, BUILT_IN);
        assert!(prices.update(&dir.path().join(FILE), None, now()).is_err(), "nor is it installed");
    }
}

/// As `prices` charge it now.
fn charged(prices: &Prices, model: &str, usage: Usage) -> domain::call::Entry {
    let charge = prices.in_force().get().charge("", model, &usage, now());
    let mut entry = crate::testing::entry(model, domain::call::Outcome::Completed);
    entry.call.started_at = now();
    entry.attempts.clear();
    (entry.usage, entry.cost, entry.price_id) = (usage, charge.cost, charge.price_id);
    entry
}

fn explained_by(prices: &Prices, entry: &domain::call::Entry, changes: &[ledger::PriceChange]) -> Explained {
    explained(entry, changes, &prices.in_force().get(), &prices.former())
}

/// Rates and costs of the terms, and until when the row had them.
fn told(prices: &Prices, entry: &domain::call::Entry) -> (Vec<String>, Option<String>) {
    let said = explained_by(prices, entry, &[]);
    let term = |term: &crate::view::TermView| format!("{} ${} ${}", term.class, term.usd_per_mtok, term.cost_usd);
    (said.terms.iter().map(term).collect(), said.price.and_then(|price| price.held_until))
}

#[test]
fn a_call_keeps_the_figures_that_it_was_entered_by_when_its_row_gets_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = prices(dir.path());
    let entry = charged(&first, "claude-haiku-4-5", used(8_000, 0, 0, 1_000));
    let as_entered = vec!["input $1 $0.008".to_owned(), "output $5 $0.005".to_owned()];
    assert_eq!(told(&first, &entry), (as_entered.clone(), None));
    let newer = PRICES.replace(r#""read": "2026-11-24""#, r#""read": "2026-12-01""#);
    let newer =
        newer.replacen(r#""input": "1", "cache_write_5m": "1.25""#, r#""input": "2", "cache_write_5m": "1.25""#, 1);
    let file = dir.path().join("new.json");
    std::fs::write(&file, &newer).expect("written");
    let shown = first.update(&file, None, now()).expect("shown");
    first.update(&file, Some(&shown.digest), now()).expect("installed");
    let then = (as_entered, Some(now().to_string()));
    assert_eq!(told(&first, &entry), then);
    let says = explained_by(&first, &entry, &[]).pricing.says;
    assert!(says.contains("had these figures until 2026-11-26") && says.contains("$0.021000000"), "{says}");
    drop(first);
    let second = prices(dir.path());
    assert_eq!(told(&second, &entry), then, "it is remembered");
    let after = second.in_force().get().charge("", "claude-haiku-4-5", &entry.usage, now()).cost.expect("a price");
    let change = ledger::PriceChange {
        at: now(),
        old_price_id: "claude-haiku-4-5".into(),
        old_cost: entry.cost,
        price_id: "claude-haiku-4-5".into(),
        cost: after,
        estimated: false,
        reason: "new prices".into(),
    };
    let repriced = domain::call::Entry { cost: Some(after), ..entry };
    let trace = explained_by(&second, &repriced, &[change]).pricing.changes;
    assert_eq!(trace[0].old_figures.as_deref(), Some("input $1, output $5"));
    assert_eq!(trace[0].figures.as_deref(), Some("input $2, output $5"));
}

#[test]
fn a_call_keeps_ones_own_price_that_was_set_anew_for_the_same_day_or_taken_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let prices = prices(dir.path());
    set(&prices, "claude-opus-5", "input", "7", "2026-11-01").expect("set");
    let entry = charged(&prices, "claude-opus-5", used(1_000, 0, 0, 0));
    assert_eq!(entry.price_id.as_deref(), Some("own:claude-opus-5@2026-11-01"));
    for change in ["set", "unset"] {
        match change {
            "set" => drop(set(&prices, "claude-opus-5", "input", "9", "2026-11-01").expect("set")),
            _ => drop(prices.unset("claude-opus-5", "input", None, now()).expect("taken away")),
        }
        assert_eq!(told(&prices, &entry), (vec!["input $7 $0.007".to_owned()], Some(now().to_string())), "{change}");
    }
}

#[test]
fn a_table_that_was_replaced_between_two_starts_is_remembered() {
    let dir = tempfile::tempdir().expect("a folder");
    let entry = charged(&prices(dir.path()), "claude-haiku-4-5", used(1_000, 0, 0, 0));
    let newer = PRICES.replace(r#""read": "2026-11-24""#, r#""read": "2026-12-01""#);
    let newer =
        newer.replacen(r#""input": "1", "cache_write_5m": "1.25""#, r#""input": "2", "cache_write_5m": "1.25""#, 1);
    std::fs::write(dir.path().join(FILE), newer).expect("written");
    assert_eq!(told(&prices(dir.path()), &entry), (vec!["input $1 $0.001".to_owned()], Some(now().to_string())));
}

#[test]
fn terms_that_are_not_those_of_the_cost_are_not_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let prices = prices(dir.path());
    let entry = charged(&prices, "claude-haiku-4-5", used(1_000, 0, 0, 0));
    let other = domain::call::Entry { cost: Some(Usd::from_nanos(77)), ..entry };
    let said = explained_by(&prices, &other, &[]);
    assert!(said.terms.is_empty() && said.price.is_some());
    assert!(said.pricing.says.contains("are not known any more"), "{}", said.pricing.says);
}

#[test]
fn damaged_former_prices_are_set_aside_and_calls_have_their_price() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("former-prices.json"), "{").expect("written");
    let prices = prices(dir.path());
    assert!(prices.former().is_empty() && dir.path().join("former-prices.json.damaged").exists());
    assert_eq!(id(&prices, "claude-opus-5"), "claude-opus-5");
}
