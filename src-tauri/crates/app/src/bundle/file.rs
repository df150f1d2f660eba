//! A bundle as a file: JSON around a text that is signed byte by byte, so that nothing in it can be read two ways.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::NaiveDate;
use domain::money::Usd;
use domain::time::{Calendar, Timestamp};
use domain::usage::Tokens;
use ledger::{BundleMonth, BundleRow, Member, Totals};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::device::{Device, NoDevice, is_signed};
use super::{AHEAD_MS, DAY_MS, MONTHS_MAX, Month, is_dangerous};

const SCHEMA: u32 = 1;
/// Signed together with the text: a signature for something else is none for a bundle.
const DOMAIN: &[u8] = b"tidegate bundle 1\n";

pub(super) const BYTES_MAX: u64 = 64 << 20;
pub(super) const ROWS_MAX: usize = 500_000;
pub(super) const NAME_CHARS_MAX: usize = 200;
const COUNT_MAX: u64 = 1_000_000_000_000_000;
/// Of one row: a million dollars a day.
const COST_MAX: Usd = Usd::from_nanos(1_000_000_000_000_000);

/// What is wrong with a file.
#[derive(Debug, Error)]
pub(crate) enum BadBundle {
    #[error("is larger than any bundle ({} MiB)", BYTES_MAX >> 20)]
    TooLarge,
    #[error("is no bundle of Tidegate, or was cut off: {0}")]
    NoBundle(String),
    #[error("was made by a newer Tidegate (bundle schema {0}, this one knows {SCHEMA}): install the newer version")]
    Newer(u32),
    #[error("was changed after it was signed: ask for it again")]
    BadSignature,
    #[error("is signed and makes no sense ({0}): ask for it again")]
    Senseless(String),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    /// `tidegate`
    bundle: String,
    schema: u32,
    public_key: String,
    signature: String,
    body: String,
}

#[derive(Serialize, Deserialize)]
struct Body {
    device: String,
    name: String,
    made_at: String,
    timezone: String,
    months: Vec<MonthFile>,
}

#[derive(Serialize, Deserialize)]
struct MonthFile {
    month: String,
    revision: i64,
    rows: Vec<RowFile>,
}

#[derive(Serialize, Deserialize)]
struct RowFile {
    day: String,
    client: String,
    person: String,
    project: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
    upstream: String,
    model: String,
    source: String,
    calls: u64,
    input_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    cache_read_tokens: u64,
    output_tokens: u64,
    web_searches: u64,
    cost_usd: String,
    unpriced_calls: u64,
}

/// What a file holds, once it makes sense.
pub(super) struct Bundle {
    pub(super) member: Member,
    pub(super) months: Vec<BundleMonth>,
}

/// Never more than the largest bundle.
pub(super) fn read(path: &Path) -> io::Result<Result<Vec<u8>, BadBundle>> {
    let mut text = vec![];
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    let is_larger = u64::try_from(text.len()).is_ok_and(|bytes| bytes > BYTES_MAX);
    Ok(if is_larger { Err(BadBundle::TooLarge) } else { Ok(text) })
}

pub(super) fn written(
    device: &Device,
    months: &[BundleMonth],
    timezone: &str,
    now: Timestamp,
) -> Result<Vec<u8>, NoDevice> {
    let months = months.iter().map(|month| MonthFile {
        month: month.month.clone(),
        revision: month.revision,
        rows: month.rows.iter().map(RowFile::of).collect(),
    });
    let body = Body {
        device: device.id.clone(),
        name: device.name.clone(),
        made_at: now.to_string(),
        timezone: timezone.to_owned(),
        months: months.collect(),
    };
    // Strings and numbers always become JSON.
    let body = serde_json::to_string(&body).unwrap_or_default();
    let envelope = Envelope {
        bundle: "tidegate".to_owned(),
        schema: SCHEMA,
        public_key: BASE64.encode(device.member()?.public_key),
        signature: BASE64.encode(device.sign(&signed(&body))?),
        body,
    };
    let mut text = serde_json::to_vec_pretty(&envelope).unwrap_or_default();
    text.push(b'\n');
    Ok(text)
}

fn signed(body: &str) -> Vec<u8> {
    [DOMAIN, body.as_bytes()].concat()
}

impl Bundle {
    pub(super) fn parse(text: &[u8], now: Timestamp) -> Result<Bundle, BadBundle> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let no_bundle = |error: serde_json::Error| BadBundle::NoBundle(error.to_string());
        let Head { schema } = serde_json::from_slice(text).map_err(no_bundle)?;
        if schema > SCHEMA {
            return Err(BadBundle::Newer(schema));
        }
        let envelope: Envelope = serde_json::from_slice(text).map_err(no_bundle)?;
        if envelope.bundle != "tidegate" {
            return Err(BadBundle::NoBundle("it names another program".to_owned()));
        }
        let decoded = |text: &str| BASE64.decode(text).map_err(|_| BadBundle::BadSignature);
        let public_key = decoded(&envelope.public_key)?;
        if !is_signed(&public_key, &signed(&envelope.body), &decoded(&envelope.signature)?) {
            return Err(BadBundle::BadSignature);
        }
        let body: Body = serde_json::from_str(&envelope.body).map_err(|error| senseless(error.to_string()))?;
        body.bundle(public_key, now)
    }
}

fn senseless(reason: impl Into<String>) -> BadBundle {
    BadBundle::Senseless(reason.into())
}

impl Body {
    fn bundle(self, public_key: Vec<u8>, now: Timestamp) -> Result<Bundle, BadBundle> {
        let is_id =
            self.device.len() == 32 && self.device.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err(senseless("the device's id is none"));
        }
        check_name("its name", &self.name).map_err(senseless)?;
        let rows: usize = self.months.iter().map(|month| month.rows.len()).sum();
        if self.months.len() > MONTHS_MAX || rows > ROWS_MAX {
            return Err(senseless(format!("{} months and {rows} rows are too many", self.months.len())));
        }
        let names: BTreeSet<&str> = self.months.iter().map(|month| month.month.as_str()).collect();
        if names.len() < self.months.len() {
            return Err(senseless("a month is in it twice"));
        }
        let months = self.months.into_iter().map(|month| month.month(now)).collect::<Result<_, _>>()?;
        Ok(Bundle { member: Member { device: self.device, name: self.name, public_key }, months })
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.chars().any(is_dangerous) {
        return Err(format!("{what} has control characters: {}", name.escape_default()));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("{what} is longer than {NAME_CHARS_MAX} characters"));
    }
    Ok(())
}

/// Revisions go by the seconds of the clock that made them; one from the far future would stand before all that follow.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2 * 86_400);

impl MonthFile {
    fn month(self, now: Timestamp) -> Result<BundleMonth, BadBundle> {
        let month = Month::parse(&self.month);
        let month = month.ok_or_else(|| senseless(format!("{} is no month", self.month.escape_default())))?;
        if self.revision < 1 || self.revision > now.after(CLOCKS_DIFFER).as_millis() / 1_000 {
            return Err(senseless(format!("revision {} of {month} is none", self.revision)));
        }
        let days = month.first_day()..month.next().first_day();
        let mut rows = vec![];
        for (place, row) in self.rows.into_iter().enumerate() {
            let number = place + 1;
            let row = row.row().map_err(|reason| senseless(format!("{month}, row {number}: {reason}")))?;
            if !days.contains(&row.day) || row.day.saturating_mul(DAY_MS) > now.as_millis().saturating_add(AHEAD_MS) {
                return Err(senseless(format!(
                    "{month}, row {number}: its day is not in that month, or still to come"
                )));
            }
            rows.push(row);
        }
        let names: BTreeSet<_> = rows.iter().map(BundleRow::names).collect();
        if names.len() < rows.len() {
            return Err(senseless(format!("{month} has two rows of the same names")));
        }
        Ok(BundleMonth { month: self.month, revision: self.revision, rows })
    }
}

impl RowFile {
    fn of(row: &BundleRow) -> RowFile {
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = row.totals.tokens;
        RowFile {
            day: Calendar::UTC.day(Timestamp::from_millis(row.day.saturating_mul(DAY_MS))).to_string(),
            client: row.client.clone(),
            person: row.person.clone(),
            project: row.project.clone(),
            tenant: row.tenant.clone(),
            upstream: row.upstream.clone(),
            model: row.model.clone(),
            source: row.source.clone(),
            calls: row.totals.calls,
            input_tokens: input,
            cache_write_5m_tokens: cache_write_5m,
            cache_write_1h_tokens: cache_write_1h,
            cache_read_tokens: cache_read,
            output_tokens: output,
            web_searches: row.web_searches,
            cost_usd: row.totals.known_cost.to_string(),
            unpriced_calls: row.totals.unpriced_calls,
        }
    }

    fn row(self) -> Result<BundleRow, String> {
        let wrong = |text: &str, what: &str| format!("{} is no {what}", text.escape_default());
        let day = NaiveDate::parse_from_str(&self.day, "%Y-%m-%d").map_err(|_| wrong(&self.day, "day"))?;
        let cost: Usd = self.cost_usd.parse().map_err(|_| wrong(&self.cost_usd, "cost"))?;
        if cost < Usd::ZERO || cost > COST_MAX {
            return Err(wrong(&self.cost_usd, "cost of a day"));
        }
        let tokens = Tokens {
            input: self.input_tokens,
            cache_write_5m: self.cache_write_5m_tokens,
            cache_write_1h: self.cache_write_1h_tokens,
            cache_read: self.cache_read_tokens,
            output: self.output_tokens,
        };
        let Tokens { input, cache_write_5m, cache_write_1h, cache_read, output } = tokens;
        let counts = [input, cache_write_5m, cache_write_1h, cache_read, output, self.calls, self.web_searches];
        if let Some(count) = counts.iter().find(|count| **count > COUNT_MAX) {
            return Err(format!("{count} is no count of a day"));
        }
        if self.unpriced_calls > self.calls {
            return Err(format!("{} of {} calls are unpriced", self.unpriced_calls, self.calls));
        }
        for name in [&self.client, &self.person, &self.project, &self.tenant, &self.upstream, &self.model, &self.source]
        {
            check_name("a name", name)?;
        }
        let totals = Totals {
            calls: self.calls,
            tokens,
            known_cost: cost,
            unpriced_calls: self.unpriced_calls,
            ..Totals::default()
        };
        Ok(BundleRow {
            day: Calendar::UTC.start_of(day).as_millis().div_euclid(DAY_MS),
            client: self.client,
            person: self.person,
            project: self.project,
            tenant: self.tenant,
            upstream: self.upstream,
            model: self.model,
            source: self.source,
            web_searches: self.web_searches,
            totals,
        })
    }
}
