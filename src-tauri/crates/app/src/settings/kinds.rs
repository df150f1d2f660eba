//! What a value in the settings may be: one reader and one example for each kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use domain::alert::{Cooldown, Figure, Metric, NotAMetric, Severity, Sign};
use domain::call::Class;
use domain::config::{ChannelKind, Scope};
use domain::money::Usd;
use domain::time::{BusinessHours, Calendar, Cycle, Every, QuietHours, Tz, Weekday};
use toml::de::DeValue;

use super::reader::{Kind, nearest};
use super::{Address, BaseUrl, KeyRef, UpstreamKind};
use gateway::{ProxyUse, Whose};

use domain::attribution::When;

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| "must be text in quotes".to_owned())
}

fn decimal<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
        DeValue::Float(number) => Some(number.as_str()),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::Float(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

pub(super) const YES_OR_NO: Kind<bool> =
    Kind { example: "true", read: |value| value.as_bool().ok_or_else(|| "must be true or false".to_owned()) };

pub(super) const TEXT: Kind<String> = Kind { example: "\"…\"", read: |value| text(value).map(str::to_owned) };

pub(super) const NAME: Kind<String> = Kind {
    example: "\"anthropic\"",
    read: |value| {
        let name = text(value)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(NAME_RULE.to_owned()) }
    },
};

const NAME_RULE: &str = "must be 1 to 64 letters, digits, dots, dashes or underscores";

/// A name that fits a header, a file and a screen.
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

pub(super) const TEXTS: Kind<Vec<String>> = Kind { example: "[\"…\"]", read: texts };

pub(super) const MODELS: Kind<Vec<String>> = Kind {
    example: "[\"claude-sonnet-*\"]",
    read: |value| match texts(value)? {
        models if models.is_empty() => Err("must name at least one model".to_owned()),
        models => Ok(models),
    },
};

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wrong = || "must be a list of texts in quotes".to_owned();
    let items = value.as_array().ok_or_else(wrong)?;
    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

pub(super) const HOST_NAMES: Kind<Vec<String>> = Kind {
    example: "[\"tidegate.local\"]",
    read: |value| {
        let names = texts(value)?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
        match names.iter().find(|name| name.is_empty() || !name.bytes().all(fits)) {
            Some(wrong) => Err(format!("has {wrong:?}, which is no host name")),
            None => Ok(names),
        }
    },
};

pub(super) const ORIGINS: Kind<Vec<String>> = Kind {
    example: "[\"https://app.example.com\"]",
    read: |value| {
        let origins = texts(value)?;
        let exact = |origin: &&String| !origin.contains("://") || origin.contains('*') || origin.ends_with('/');
        match origins.iter().find(exact) {
            Some(wrong) => Err(format!("has {wrong:?}, which is no exact origin (scheme://host, no path, no *)")),
            None => Ok(origins),
        }
    },
};

pub(super) const FIGURES: Kind<Vec<Figure>> = Kind {
    example: "[20, 40]",
    read: |value| {
        let wrong = || "must be a list of numbers above 0, with at most six decimals".to_owned();
        let items = value.as_array().filter(|items| !items.is_empty()).ok_or_else(wrong)?;
        let figure = |text: &str| text.parse().ok().filter(|figure| *figure > Figure::ZERO);
        items.iter().map(|item| decimal(item.get_ref()).and_then(figure).ok_or_else(wrong)).collect()
    },
};

pub(super) const COUNT: Kind<u64> =
    Kind { example: "10", read: |value| whole(value).ok_or_else(|| "must be a whole number, 0 or more".to_owned()) };

/// No limit is larger; what is was mistyped, and might break sums.
const LIMIT_MAX: u64 = 1_000_000_000_000;

pub(super) const SOME: Kind<u64> = Kind {
    example: "50",
    read: |value| match whole(value) {
        Some(0) => Err("must not be 0: leave the line out for no limit".to_owned()),
        Some(count) if count <= LIMIT_MAX => Ok(count),
        Some(_) => Err("must be at most 1,000,000,000,000".to_owned()),
        None => Err("must be a whole number above 0".to_owned()),
    },
};

/// Failures in a row.
pub(super) const FAILURES: Kind<u32> = Kind {
    example: "5",
    read: |value| match whole(value).and_then(|count| u32::try_from(count).ok()) {
        Some(count) if count > 0 => Ok(count),
        Some(_) | None => Err("must be a whole number above 0; leave the line out for 5".to_owned()),
    },
};

pub(super) const CONCURRENCY: Kind<u32> = Kind {
    example: "10",
    read: |value| match whole(value).and_then(|count| u32::try_from(count).ok()) {
        Some(count) if count <= 1_000_000 => Ok(count),
        Some(_) | None => Err("must be a whole number from 0 (unlimited) to 1,000,000".to_owned()),
    },
};

pub(super) const PERCENT: Kind<u8> = Kind {
    example: "80",
    read: |value| match whole(value).and_then(|percent| u8::try_from(percent).ok()) {
        Some(percent) if (1..=100).contains(&percent) => Ok(percent),
        Some(_) | None => Err("must be a whole number from 1 to 100".to_owned()),
    },
};

pub(super) const QUEUE_MAX: Kind<usize> = Kind {
    example: "10_000",
    read: |value| match whole(value).and_then(|count| usize::try_from(count).ok()) {
        Some(count) if (1..=1_000_000).contains(&count) => Ok(count),
        Some(_) | None => Err("must be a whole number from 1 to 1,000,000".to_owned()),
    },
};

/// A part of one, in thousandths.
pub(super) const FRACTION: Kind<u32> = Kind { example: "0.80", read: fraction };

/// A part of one that is not nothing.
pub(super) const GUARD: Kind<u32> = Kind {
    example: "0.96",
    read: |value| match fraction(value)? {
        0 => Err("must be above 0, or no call would ever leave".to_owned()),
        permille => Ok(permille),
    },
};

fn fraction(value: &DeValue<'_>) -> Result<u32, String> {
    let number = decimal(value).and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(part) if (0.0..=1.0).contains(&part) => Ok((part * 1_000.0).round() as u32),
        Some(_) | None => Err("must be a number from 0 to 1".to_owned()),
    }
}

pub(super) const USD: Kind<Usd> = Kind {
    example: "20",
    read: |value| match decimal(value).and_then(|text| text.parse::<Usd>().ok()) {
        Some(usd) if usd >= Usd::ZERO => Ok(usd),
        Some(_) | None => Err("must be an amount in dollars, 0 or more".to_owned()),
    },
};

/// An amount that something can be spent of.
pub(super) const SOME_USD: Kind<Usd> = Kind {
    example: "20",
    read: |value| match (USD.read)(value)? {
        Usd::ZERO => Err("must be above 0: leave the line out for no limit".to_owned()),
        usd => Ok(usd),
    },
};

pub(super) const DURATION: Kind<Duration> = Kind {
    example: "\"600s\"",
    read: |value| {
        duration(text(value)?).ok_or_else(|| "must be a duration: a whole number with ms, s, m, h or d".to_owned())
    },
};

/// A duration during which something can happen.
pub(super) const TIMEOUT: Kind<Duration> = Kind {
    example: "\"10s\"",
    read: |value| match duration(text(value)?) {
        Some(Duration::ZERO) => Err("must be longer than 0s".to_owned()),
        Some(time) => Ok(time),
        None => Err("must be a duration: a whole number with ms, s, m, h or d".to_owned()),
    },
};

/// `600s`, `10m`, `1h`, `400d`.
pub fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let seconds_each = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds_each).filter(|seconds| *seconds < 1 << 32).map(Duration::from_secs)
}

/// The largest body of a message: a budget below it could hold none.
const BODY_MAX: u64 = 33_554_432;

pub(super) const BODY_BUDGET: Kind<u64> = Kind {
    example: "\"512MB\"",
    read: |value| match size(text(value)?) {
        Some(bytes) if bytes >= BODY_MAX => Ok(bytes),
        Some(_) => Err("must hold at least one message, 34MB".to_owned()),
        None => Err("must be a size: a whole number with kB, MB or GB".to_owned()),
    },
};

fn size(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let bytes_each: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(bytes_each)
}

pub(super) const LISTEN: Kind<SocketAddr> =
    Kind { example: "\"127.0.0.1:8432\"", read: |value| listen(text(value)?).map_err(str::to_owned) };

/// An address with a port; `localhost` is 127.0.0.1.
pub fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "must be an IP address with a port")
}

pub(super) const OTLP_LISTEN: Kind<Option<SocketAddr>> = Kind {
    example: "\"127.0.0.1:4318\"",
    read: |value| match text(value)? {
        "" => Ok(None),
        address => match listen(address)? {
            address if address.ip().is_loopback() => Ok(Some(address)),
            _ => Err("must be a loopback address".to_owned()),
        },
    },
};

pub(super) const ZONE: Kind<Calendar> = Kind {
    example: "\"Europe/Berlin\"",
    read: |value| match text(value)? {
        "system" => Ok(system_calendar()),
        name => name.parse::<Tz>().map(Calendar::in_zone).map_err(|_| format!("names no time zone: {name:?}")),
    },
};

/// The environment's zone, else the system's; UTC where neither has one that we know.
pub(super) fn system_calendar() -> Calendar {
    let of_environment = std::env::var("TZ").ok();
    let zone = of_environment.and_then(|name| zone(&name));
    let zone = zone.or_else(zone_of_system);
    zone.map_or(Calendar::UTC, Calendar::in_zone)
}

fn zone_of_system() -> Option<Tz> {
    iana_time_zone::get_timezone().ok()?.parse().ok()
}

/// As `TZ` names it, with or without a colon.
fn zone(name: &str) -> Option<Tz> {
    name.strip_prefix(':').unwrap_or(name).parse().ok()
}

pub(super) const PROXY: Kind<ProxyUse> = Kind {
    example: "\"http://proxy.example.com:3128\"",
    read: |value| match text(value)? {
        "env" => Ok(ProxyUse::Env),
        "none" => Ok(ProxyUse::None),
        url if url.parse::<http::Uri>().is_ok_and(|url| url.host().is_some() && url.scheme().is_some()) => {
            Ok(ProxyUse::Url(url.to_owned()))
        }
        _ => Err("must be env, none or a URL".to_owned()),
    },
};

pub(super) const UPSTREAM_KIND: Kind<UpstreamKind> = Kind {
    example: "\"anthropic\"",
    read: |value| {
        let name = text(value)?;
        let known: Vec<&str> = UpstreamKind::ALL.iter().map(|kind| kind.name()).collect();
        UpstreamKind::named(name).ok_or_else(|| one_of(&known))
    },
};

pub(super) fn one_of(known: &[&str]) -> String {
    format!("must be one of {}", known.join(", "))
}

pub(super) const BASE_URL: Kind<BaseUrl> = Kind {
    example: "\"https://api.anthropic.com\"",
    read: |value| BaseUrl::parse(text(value)?).map_err(str::to_owned),
};

pub(super) const KEY: Kind<KeyRef> =
    Kind { example: "\"keychain:anthropic\"", read: |value| KeyRef::parse(text(value)?).map_err(str::to_owned) };

/// A secret text such as a webhook's address: by reference, or as it is.
pub(super) const URL_OR_KEY: Kind<Address> = Kind {
    example: "\"keychain:slack-ops\"",
    read: |value| {
        let text = text(value)?;
        let is_url = |url: http::Uri| url.host().is_some() && matches!(url.scheme_str(), Some("https" | "http"));
        match KeyRef::parse(text) {
            Ok(kept) => Ok(Address::Kept(kept)),
            Err(_) if text.parse().is_ok_and(is_url) => Ok(Address::Plain(text.to_owned())),
            Err(_) => Err("must be keychain:NAME, env:VAR, file:PATH or a URL".to_owned()),
        }
    },
};

pub(super) const HTTP_URL: Kind<BaseUrl> = Kind {
    example: "\"https://status.claude.com\"",
    read: |value| BaseUrl::parse(text(value)?).map_err(str::to_owned),
};

pub(super) const WHOSE: Kind<Whose> = Kind {
    example: "\"critical\"",
    read: |value| {
        let text = text(value)?;
        match text.strip_prefix("client:") {
            Some(name) if is_name(name) => Ok(Whose::Client(name.into())),
            Some(_) => Err(format!("names a client, whose name {NAME_RULE}")),
            None => Class::named(text)
                .map(Whose::Class)
                .ok_or_else(|| one_of(&["critical", "normal", "background"]) + ", or client:NAME"),
        }
    },
};

/// A rolling window: shorter is a rate, longer than a month is nobody's.
pub(super) const LENGTH: Kind<Duration> = Kind {
    example: "\"5h\"",
    read: |value| match (TIMEOUT.read)(value)? {
        length if (Duration::from_secs(1)..=Duration::from_secs(31 * 86_400)).contains(&length) => Ok(length),
        _ => Err("must be from 1s to 31d".to_owned()),
    },
};

pub(super) const SCOPE: Kind<Scope> = Kind {
    example: "\"client:ci\"",
    read: |value| {
        scope(text(value)?)
            .ok_or_else(|| "must be client:, person:, project: or tenant: with a name, or machine".to_owned())
    },
};

fn scope(text: &str) -> Option<Scope> {
    let Some((kind, name)) = text.split_once(':') else { return (text == "machine").then_some(Scope::Machine) };
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return None;
    }
    match kind {
        "client" => Some(Scope::Client(name.into())),
        "person" => Some(Scope::Person(name.into())),
        "project" => Some(Scope::Project(name.into())),
        "tenant" => Some(Scope::Tenant(name.into())),
        _ => None,
    }
}

pub(super) const WHEN: Kind<(When, String)> = Kind {
    example: "\"cwd:/home/*/shop\"",
    read: |value| {
        let rule = text(value)?.split_once(':').filter(|(_, pattern)| !pattern.is_empty());
        let rule = rule.and_then(|(when, pattern)| Some((When::named(when)?, pattern.to_owned())));
        rule.ok_or_else(|| "must be cwd:, branch:, user_agent: or session: with a pattern".to_owned())
    },
};

/// A name that stands in reports: short, and nothing in it that moves a terminal.
pub(super) const LABEL: Kind<String> = Kind {
    example: "\"shop\"",
    read: |value| {
        let label = text(value)?.trim();
        let is_label = (1..=256).contains(&label.chars().count()) && !label.chars().any(char::is_control);
        if is_label { Ok(label.to_owned()) } else { Err("must be a name of 1 to 256 characters".to_owned()) }
    },
};

pub(super) const CHANNEL_KIND: Kind<ChannelKind> = Kind {
    example: "\"slack\"",
    read: |value| {
        let known = ChannelKind::ALL.map(ChannelKind::name);
        ChannelKind::named(text(value)?).ok_or_else(|| one_of(&known))
    },
};

pub(super) const METRIC: Kind<Metric> = Kind {
    example: "\"spend.day.project:shop\"",
    read: |value| {
        let text = text(value)?;
        text.parse().map_err(|wrong: NotAMetric| {
            let word = text.split('.').next().unwrap_or_default();
            let near = nearest(word, &Sign::ALL.map(Sign::name)).filter(|near| *near != word);
            match (near, wrong.example) {
                (Some(near), _) => format!("is {text:?}, and nothing is measured as {word}; did you mean {near}?"),
                (None, Some(example)) => format!("{} (it is written as in {example})", wrong.rule),
                (None, None) => wrong.rule,
            }
        })
    },
};

pub(super) const SEVERITY: Kind<Severity> = Kind {
    example: "\"warning\"",
    read: |value| Severity::named(text(value)?).ok_or_else(|| one_of(&Severity::ALL.map(Severity::name))),
};

pub(super) const COOLDOWN: Kind<Cooldown> = Kind {
    example: "\"window\"",
    read: |value| match text(value)? {
        "window" => Ok(Cooldown::Window),
        other => duration(other).map(Cooldown::For).ok_or_else(|| "must be window or a duration".to_owned()),
    },
};

pub(super) const CURRENCY: Kind<Arc<str>> = Kind {
    example: "\"EUR\"",
    read: |value| {
        let code = text(value)?;
        let fits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
        if fits { Ok(code.into()) } else { Err("must be three capital letters".to_owned()) }
    },
};

/// A day, and the rate of that day.
pub(super) fn rate(day: &str, rate: &DeValue<'_>) -> Option<(NaiveDate, Arc<str>)> {
    let rate = decimal(rate)?;
    let is_positive = rate.parse::<f64>().is_ok_and(|rate| rate.is_finite() && rate > 0.0);
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    is_positive.then(|| (day, rate.into()))
}

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Mon),
    ("Tue", Weekday::Tue),
    ("Wed", Weekday::Wed),
    ("Thu", Weekday::Thu),
    ("Fri", Weekday::Fri),
    ("Sat", Weekday::Sat),
    ("Sun", Weekday::Sun),
];

fn weekday(text: &str) -> Option<Weekday> {
    DAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| *day)
}

/// In UTC: whoever knows the zone sets it.
pub(super) const BUSINESS_HOURS: Kind<BusinessHours> = Kind {
    example: "\"Mon-Fri 08:00-18:00\"",
    read: |value| match business_hours(text(value)?) {
        Some(hours) if hours.from < hours.to => Ok(hours),
        Some(_) => Err("must be days and hours that begin before they end".to_owned()),
        None => Err("must be days and hours".to_owned()),
    },
};

/// The example's.
pub(super) const OFFICE_HOURS: BusinessHours =
    BusinessHours { days: [true, true, true, true, true, false, false], from: 8 * 60, to: 18 * 60, zone: Tz::UTC };

fn business_hours(text: &str) -> Option<BusinessHours> {
    let (days, hours) = text.split_once(' ')?;
    let (from, to) = hours.split_once('-')?;
    let to = if to == "24:00" { 24 * 60 } else { minute(to)? };
    Some(BusinessHours { days: days_from_to(days)?, from: minute(from)?, to, zone: Tz::UTC })
}

/// `Mon-Fri`, or one day; `Sun-Thu` goes over the end of the week.
fn days_from_to(text: &str) -> Option<[bool; 7]> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |day| Some(weekday(day)?.num_days_from_monday());
    let (first, last) = (number(first)?, number(last)?);
    let length = (last + 7 - first) % 7;
    Some(std::array::from_fn(|day| (day as u32 + 7 - first) % 7 <= length))
}

/// In UTC: whoever knows the zone sets it.
pub(super) const QUIET_HOURS: Kind<Option<QuietHours>> = Kind {
    example: "\"22:00-07:00\"",
    read: |value| match text(value)? {
        "" => Ok(None),
        span => quiet_hours(span).map(Some).ok_or_else(|| "must be two times of day, or empty".to_owned()),
    },
};

fn quiet_hours(text: &str) -> Option<QuietHours> {
    let (from, to) = text.split_once('-')?;
    let quiet = QuietHours { from: minute(from)?, to: minute(to)?, zone: Tz::UTC };
    (quiet.from != quiet.to).then_some(quiet)
}

/// Of a day, from `HH:MM`.
fn minute(text: &str) -> Option<u16> {
    use chrono::Timelike;
    let time = chrono::NaiveTime::parse_from_str(text, "%H:%M").ok().filter(|_| text.len() == 5)?;
    u16::try_from(time.hour() * 60 + time.minute()).ok()
}

pub(super) const RESETS: Kind<Cycle> = Kind { example: "\"Mon 00:00 UTC\"", read: |value| resets(text(value)?) };

/// When a window begins anew: `Mon 00:00 UTC`, `1st 00:00 UTC` or, every day, `00:00 Europe/Berlin`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn resets(text: &str) -> Result<Cycle, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let (every, time, zone) = match words.as_slice() {
        [time, zone] => (Some(Every::Day), time, zone),
        [day, time, zone] => (every(day), time, zone),
        _ => return Err(RESETS_RULE.to_owned()),
    };
    let (Some(every), Some(minute)) = (every, minute(time)) else { return Err(RESETS_RULE.to_owned()) };
    let zone = zone.parse::<Tz>().map_err(|_| format!("names no time zone: {zone:?}"))?;
    Ok(Cycle::new(every, minute, zone))
}

const RESETS_RULE: &str = "must be a weekday or a day of the month (or neither, for every day), a time and a zone";

fn every(day: &str) -> Option<Every> {
    weekday(day).map(Every::Week).or_else(|| day_of_month(day).map(Every::Month))
}

/// `1st` to `31st`.
fn day_of_month(text: &str) -> Option<u8> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &text[digits.len()..];
    let day = digits.parse().ok().filter(|day| (1..=31).contains(day))?;
    ["st", "nd", "rd", "th"].contains(&suffix).then_some(day)
}

/// Whether the address is that of this machine, or a name for it.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
