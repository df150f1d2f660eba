//! A price file: read row by row, so that what is wrong is named with its line, and nothing half-right is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use domain::catalog::{Catalog, Misprint};
use domain::money::Usd;
use domain::price::{Factors, LongPrompt, Platform, Price, Rate, Rates};
use domain::time::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

/// Larger ones are no price files.
const BYTES_MAX: usize = 8 << 20;
const SCHEMA: u32 = 1;
const ID_BYTES_MAX: usize = 200;
/// Dollars per million tokens: a hundred times the dearest price ever published.
const RATE_MAX: &str = "10000";
const SEARCH_MAX: Usd = Usd::from_nanos(1_000_000_000);
const PERMILLE_MIN: u32 = 100;
const PERMILLE_MAX: u32 = 10_000;

/// What a price file holds, checked.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// The day on which its figures were read: 2026-11-24.
    pub(crate) read: String,
    pub(crate) source: String,
    pub(crate) prices: Vec<Price>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) misprints: Vec<Misprint>,
    /// What stands in the file and means nothing to this program.
    pub(crate) skipped: Vec<String>,
    /// The file as it stands.
    pub(super) text: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("line {line}: {reason}")]
pub struct BadFile {
    pub line: usize,
    pub reason: String,
}

/// Never more than one byte beyond the largest price file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = vec![];
    File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

impl Table {
    pub(crate) fn parse(text: &[u8]) -> Result<Table, BadFile> {
        if text.len() > BYTES_MAX {
            return Err(BadFile { line: 1, reason: format!("a price file is smaller than {} MB", BYTES_MAX >> 20) });
        }
        let text = std::str::from_utf8(text).map_err(|error| {
            let line = line_at(text, error.valid_up_to());
            BadFile { line, reason: "this is no UTF-8 text".to_owned() }
        })?;
        an_object(text, PRICE_FILE).map_err(|reason| BadFile { line: 1, reason })?;
        let file: FileRow<'_> = serde_json::from_str(text).map_err(|error| json(&error, 0))?;
        Reader { text, skipped: vec![] }.table(&file)
    }

    pub(crate) fn catalog(&self) -> Catalog {
        Catalog::new(self.prices.clone(), self.aliases.clone(), self.misprints.clone())
    }
}

#[derive(Deserialize)]
struct FileRow<'a> {
    schema: u32,
    read: String,
    source: Option<String>,
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
    aliases: Option<BTreeMap<String, String>>,
    misprints: Option<Vec<&'a RawValue>>,
}

const FILE_FIELDS: &[&str] = &["schema", "read", "source", "unit", "valid_from", "rows", "aliases", "misprints"];

#[derive(Deserialize)]
struct PriceRow {
    id: String,
    model: String,
    platform: Option<String>,
    valid_from: String,
    per_mtok: RatesRow,
    batch_per_mtok: Option<RatesRow>,
    long_prompt: Option<LongPromptRow>,
    us_only_multiplier: Option<String>,
    fast_multiplier: Option<String>,
    batch_multiplier: Option<String>,
    regional_multiplier: Option<String>,
    government_multiplier: Option<String>,
    web_search_usd: Option<String>,
    source: String,
}

const ROW_FIELDS: &[&str] = &[
    "id",
    "model",
    "platform",
    "valid_from",
    "per_mtok",
    "batch_per_mtok",
    "long_prompt",
    "us_only_multiplier",
    "fast_multiplier",
    "batch_multiplier",
    "regional_multiplier",
    "government_multiplier",
    "web_search_usd",
    "source",
    "note",
    "retired",
];

#[derive(Deserialize)]
struct RatesRow {
    input: String,
    cache_write_5m: Option<String>,
    cache_write_1h: Option<String>,
    cache_read: Option<String>,
    output: String,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct LongPromptRow {
    above_prompt_tokens: u64,
    per_mtok: RatesRow,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct MisprintRow {
    id: String,
    model: String,
    per_mtok: RatesRow,
    label: String,
    source: String,
}

const MISPRINT_FIELDS: &[&str] = &["id", "model", "per_mtok", "label", "source", "note"];

struct Reader<'a> {
    text: &'a str,
    skipped: Vec<String>,
}

/// What is wrong with a row, in words.
type Wrong = String;

impl Reader<'_> {
    fn table(mut self, file: &FileRow<'_>) -> Result<Table, BadFile> {
        let at_top = |reason: String| BadFile { line: 1, reason };
        if file.schema != SCHEMA {
            return Err(at_top(format!(
                "the file is of schema {}, this program knows schema {SCHEMA}: a newer program may read it",
                file.schema
            )));
        }
        if first_moment(&file.read).flatten().is_none() {
            return Err(at_top(format!("`read` is a day such as 2026-11-24, not {:?}", short(&file.read))));
        }
        self.note_unknown(self.text, FILE_FIELDS, "the file");
        let mut prices = vec![];
        let (mut ids, mut days) = (BTreeSet::new(), BTreeSet::new());
        for raw in &file.rows {
            let price = self.row(raw)?;
            let twice = |what: String| BadFile { line: self.line(raw), reason: what };
            if !ids.insert(price.id.clone()) {
                return Err(twice(format!("row {} stands here a second time: an id names one row", price.id)));
            }
            if !days.insert((price.model.clone(), price.platform, price.valid_from)) {
                return Err(twice(format!(
                    "row {} is a second price of {} from the same day: which one holds can't be known",
                    price.id, price.model
                )));
            }
            prices.push(price);
        }
        if !prices.iter().any(|price| price.model.starts_with("claude-")) {
            return Err(at_top("the file has no price of a Claude model".to_owned()));
        }
        let misprints = file.misprints.iter().flatten().map(|raw| self.misprint(raw)).collect::<Result<_, _>>()?;
        let aliases = aliases(file.aliases.iter().flatten(), &prices).map_err(at_top)?;
        let source = file.source.clone().unwrap_or_else(|| "no source is named".to_owned());
        let (read, source, text) = (file.read.clone(), short(&source), self.text.into());
        Ok(Table { read, source, prices, aliases, misprints, skipped: self.skipped, text })
    }

    fn row(&mut self, raw: &RawValue) -> Result<Price, BadFile> {
        an_object(raw.get(), ROW).map_err(|reason| BadFile { line: self.line(raw), reason })?;
        let row: PriceRow = serde_json::from_str(raw.get()).map_err(|error| json(&error, self.line(raw) - 1))?;
        let wrong = |reason| BadFile { line: self.line(raw), reason: format!("row {}: {reason}", short(&row.id)) };
        let price = row.price().map_err(wrong)?;
        let of_row = format!("row {}", row.id);
        self.note_unknown(raw.get(), ROW_FIELDS, &of_row);
        let rates =
            [Some(&row.per_mtok), row.batch_per_mtok.as_ref(), row.long_prompt.as_ref().map(|band| &band.per_mtok)];
        for unknown in rates.into_iter().flatten().flat_map(|rates| rates.rest.keys()) {
            self.skipped.push(format!("the class {} of {of_row}", short(unknown)));
        }
        for unknown in row.long_prompt.iter().flat_map(|band| band.rest.keys()) {
            self.skipped.push(format!("{} of {of_row}", short(unknown)));
        }
        Ok(price)
    }

    fn misprint(&mut self, raw: &RawValue) -> Result<Misprint, BadFile> {
        an_object(raw.get(), "a misprint is an object").map_err(|reason| BadFile { line: self.line(raw), reason })?;
        let row: MisprintRow = serde_json::from_str(raw.get()).map_err(|error| json(&error, self.line(raw) - 1))?;
        let wrong = |reason| BadFile { line: self.line(raw), reason: format!("misprint {}: {reason}", short(&row.id)) };
        let figure = |text: &str, class| rate(text, class).map_err(wrong);
        let rates = Rates {
            input: figure(&row.per_mtok.input, "input")?,
            output: figure(&row.per_mtok.output, "output")?,
            ..Rates::default()
        };
        self.note_unknown(raw.get(), MISPRINT_FIELDS, &format!("misprint {}", row.id));
        let price = Price {
            id: row.id.as_str().into(),
            model: row.model.as_str().into(),
            platform: None,
            valid_from: None,
            rates,
            long_prompt: None,
            batch: None,
            factors: Factors::default(),
            web_search: Usd::ZERO,
            source: row.source.as_str().into(),
        };
        Ok(Misprint { price, label: row.label.as_str().into() })
    }

    fn note_unknown(&mut self, object: &str, known: &[&str], of: &str) {
        let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(object).unwrap_or_default();
        let unknown = fields.keys().filter(|field| !known.contains(&field.as_str()));
        self.skipped.extend(unknown.map(|field| format!("{} of {}", short(field), short(of))));
    }

    /// Where a row begins; its text is a piece of ours.
    fn line(&self, raw: &RawValue) -> usize {
        let start = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        line_at(self.text.as_bytes(), start)
    }
}

impl PriceRow {
    fn price(&self) -> Result<Price, Wrong> {
        name(&self.id, "id")?;
        name(&self.model, "model")?;
        let platform = self.platform.as_deref().map(|name| Platform::named(name).ok_or_else(|| unknown_platform(name)));
        let rates = self.per_mtok.rates(&self.model)?;
        if rates.input == Rate::default() || rates.output == Rate::default() {
            return Err("a model that costs nothing is no price: input and output are more than 0".to_owned());
        }
        let band = |band: &LongPromptRow| {
            let rates = band.per_mtok.rates(&self.model)?;
            Ok::<_, Wrong>(LongPrompt { above: band.above_prompt_tokens, rates })
        };
        let standard = Factors::default();
        Ok(Price {
            id: self.id.as_str().into(),
            model: self.model.as_str().into(),
            platform: platform.transpose()?,
            valid_from: first_moment(&self.valid_from).ok_or_else(|| not_a_day(&self.valid_from))?,
            rates,
            long_prompt: self.long_prompt.as_ref().map(band).transpose()?,
            batch: self.batch_per_mtok.as_ref().map(|rates| rates.rates(&self.model)).transpose()?,
            factors: Factors {
                us_only: permille(&self.us_only_multiplier, "us_only_multiplier", standard.us_only)?,
                fast: permille(&self.fast_multiplier, "fast_multiplier", standard.fast)?,
                batch: permille(&self.batch_multiplier, "batch_multiplier", standard.batch)?,
                regional: permille(&self.regional_multiplier, "regional_multiplier", standard.regional)?,
                government: permille(&self.government_multiplier, "government_multiplier", standard.government)?,
            },
            web_search: search(self.web_search_usd.as_deref())?,
            source: short(&self.source).into(),
        })
    }
}

impl RatesRow {
    /// A Claude model has all five; where others have no cache price, a cached token costs what any other does.
    fn rates(&self, model: &str) -> Result<Rates, Wrong> {
        let input = rate(&self.input, "input")?;
        let cached = |text: &Option<String>, class| match text {
            Some(text) => rate(text, class),
            None if model.starts_with("claude-") => Err(format!("{class} is missing")),
            None => Ok(input),
        };
        Ok(Rates {
            input,
            cache_write_5m: cached(&self.cache_write_5m, "cache_write_5m")?,
            cache_write_1h: cached(&self.cache_write_1h, "cache_write_1h")?,
            cache_read: cached(&self.cache_read, "cache_read")?,
            output: rate(&self.output, "output")?,
        })
    }
}

/// Dollars per million tokens, as a file or a person writes them.
pub(crate) fn rate(text: &str, class: &str) -> Result<Rate, Wrong> {
    let wrong = || {
        format!(
            "{class} is {:?}: write dollars per million tokens, not negative, with at most six decimals, such as \"2.50\"",
            short(text)
        )
    };
    let rate = Rate::per_mtok(text).map_err(|_| wrong())?;
    let most = Rate::per_mtok(RATE_MAX).unwrap_or_default();
    if rate > most {
        Err(format!("{class} is {}: no token costs more than ${RATE_MAX} a million", short(text)))
    } else {
        Ok(rate)
    }
}

/// Of one web search.
pub(crate) fn search(text: Option<&str>) -> Result<Usd, Wrong> {
    let Some(text) = text else { return Ok(Usd::ZERO) };
    let usd = text.parse::<Usd>().ok().filter(|usd| (Usd::ZERO..=SEARCH_MAX).contains(usd));
    usd.ok_or_else(|| format!("web_search_usd is {:?}: write dollars a search, from 0 to 1", short(text)))
}

/// A multiplier is read like money, in thousandths: "1.1" is 1,100.
fn permille(text: &Option<String>, field: &str, standard: u32) -> Result<u32, Wrong> {
    let Some(text) = text else { return Ok(standard) };
    let nanos = text.parse::<Usd>().ok().map(Usd::as_nanos).filter(|nanos| nanos % 1_000_000 == 0);
    let permille = nanos.and_then(|nanos| u32::try_from(nanos / 1_000_000).ok());
    permille.filter(|permille| (PERMILLE_MIN..=PERMILLE_MAX).contains(permille)).ok_or_else(|| {
        format!("{field} is {:?}: write a number from 0.1 to 10 with at most three decimals", short(text))
    })
}

/// Ids stand in the ledger, and what Tidegate makes of them must be told apart from them.
fn name(text: &str, field: &str) -> Result<(), Wrong> {
    let made = ["own:", "family:", "priority:", "unpriced:"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '/');
    let is_fine = !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.chars().all(is_plain)
        && !made.iter().any(|made| text.starts_with(made))
        && !text.ends_with(":regional")
        && !text.ends_with(":government");
    if is_fine {
        Ok(())
    } else {
        Err(format!("{field} {:?} is no name for one: use letters, digits and - _ . : @ /", short(text)))
    }
}

fn unknown_platform(name: &str) -> Wrong {
    let known = Platform::ALL.map(Platform::name).join(", ");
    format!("platform is {:?}: there are {known}", short(name))
}

fn not_a_day(text: &str) -> Wrong {
    format!("valid_from is {:?}: write a day such as 2026-10-07, or \"first day\"", short(text))
}

/// A name, and the model that it stands for.
type Alias = (Arc<str>, Arc<str>);

fn aliases<'a>(all: impl Iterator<Item = (&'a String, &'a String)>, prices: &[Price]) -> Result<Vec<Alias>, Wrong> {
    let models: BTreeSet<&str> = prices.iter().map(|price| &*price.model).collect();
    all.map(|(alias, model)| {
        if !models.contains(model.as_str()) {
            return Err(format!("alias {} stands for {}, which has no row", short(alias), short(model)));
        }
        if models.contains(alias.as_str()) {
            return Err(format!("alias {} has a row of its own", short(alias)));
        }
        Ok((alias.as_str().into(), model.as_str().into()))
    })
    .collect()
}

/// A date is its first moment in UTC; `first day` is the model's own.
pub(crate) fn first_moment(day: &str) -> Option<Option<Timestamp>> {
    if day == "first day" {
        return Some(None);
    }
    let year: u16 = day.get(..4)?.parse().ok()?;
    let is_day = day.len() == 10 && (2020..2100).contains(&year);
    Timestamp::parse(&format!("{day}T00:00:00Z")).filter(|_| is_day).map(Some)
}

const PRICE_FILE: &str = "a price file is an object with \"schema\", \"read\" and \"rows\"";
const ROW: &str = "a row is an object with \"id\", \"model\", \"valid_from\", \"per_mtok\" and \"source\"";

/// Lists would be taken for objects whose fields stand in their order.
fn an_object(text: &str, what: &str) -> Result<(), Wrong> {
    match text.trim_start().chars().next() {
        None | Some('{') => Ok(()),
        Some(_) => Err(format!("{what}, and this is none")),
    }
}

fn json(error: &serde_json::Error, lines_before: usize) -> BadFile {
    let text = error.to_string();
    // The place is said in our own words.
    let reason = text.split(" at line ").next().unwrap_or_default();
    let reason = match error.is_eof() {
        true => "the file ends in the middle: it was cut off".to_owned(),
        false => reason.to_owned(),
    };
    BadFile { line: error.line().max(1) + lines_before, reason }
}

fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// For a sentence.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ID_BYTES_MAX).collect()
}
