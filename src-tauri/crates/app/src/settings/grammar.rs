//! The sections of the settings file and what each may hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::alert::{Cooldown, Figure, Marks, Rule, Severity, Threshold, shipped};
use domain::attribution::{AttributeRule, Labels};
use domain::cache::Terms;
use domain::config::{
    Amount, BackgroundGuard, Budget, ChannelKind, Pacing, Period, Rules, Span, Window, WrittenLimits,
};
use domain::money::Usd;
use domain::routing::{BreakerRules, Capabilities, Capability};
use domain::tier::{MinuteLimits, Scheme};
use domain::time::{BusinessHours, Calendar, QuietHours, Tz};
use gateway::{ProxyUse, RetryRules, Timeouts};
use toml::de::{DeTable, DeValue};

use super::kinds::*;
use super::reader::{Page, Section, Wrong, nearest};
use super::{
    AlertSettings, BaseUrl, Channel, Currency, DigestSettings, Durability, EmergencySettings, Fallback,
    GatewaySettings, KeyRef, Settings, StatusPage, Upstream, UpstreamKind,
};
use crate::alerts::DIGEST;

pub(super) fn parse(text: &str, schemes: &[Arc<Scheme>]) -> Result<Settings, Vec<Wrong>> {
    let page = Page::new(text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            page.note(
                &error.span().unwrap_or(0..0),
                format!("this is no TOML: {}", error.message().replace('\n', ", ")),
            );
            return Err(page.into_wrongs());
        }
    };
    let settings = settings(&Section::top(&page, &table), schemes);
    match page.into_wrongs() {
        wrongs if wrongs.is_empty() => Ok(settings),
        wrongs => Err(wrongs),
    }
}

fn settings(top: &Section<'_, '_>, schemes: &[Arc<Scheme>]) -> Settings {
    let gateway = gateway(top.table("gateway"));
    let upstreams = upstreams(top.tables("upstream", "[[upstream]]"), schemes);
    let (durability, retention) = books(top.table("ledger"));
    let emergency = emergency(top.table("emergency"));
    let channels = channels(top.tables("channel", "[[channel]]"));
    let settings = Settings {
        background: background(top, gateway.calendar),
        budgets: top.tables("budget", "[[budget]]").into_iter().flat_map(budgets).collect(),
        timeouts: timeouts(top.table("timeouts")),
        retry: retry(top.table("retry")),
        breaker: breaker(top.table("breaker")),
        fallbacks: fallbacks(top.tables("fallback", "[[fallback]]"), &upstreams),
        alerts: alerts(top, &channels, &emergency, gateway.calendar),
        channels,
        emergency,
        status_page: status_page(top.table("status_page")),
        gateway,
        upstreams,
        durability,
        retention,
        attributes: top.tables("attribute", "[[attribute]]").into_iter().filter_map(attribute).collect(),
        otlp: otlp(top.table("otlp")),
        cache: cache(top.table("cache")),
        metrics: metrics(top.table("metrics")),
        currency: currency(top.table("currency")),
    };
    top.end();
    settings
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8432);

fn gateway(section: Section<'_, '_>) -> GatewaySettings {
    let gateway = GatewaySettings {
        listen: section.get("listen", &LISTEN).unwrap_or(DEFAULT_LISTEN),
        max_wait: section.get("max_wait", &DURATION).unwrap_or(seconds(600)),
        calendar: section.get("timezone", &ZONE).unwrap_or_else(system_calendar),
        proxy: section.get("proxy", &PROXY).unwrap_or(ProxyUse::Env),
        allow_remote: section.get("allow_remote", &YES_OR_NO).unwrap_or(false),
        allowed_origins: section.get("allowed_origins", &ORIGINS).unwrap_or_default(),
        queue_max: section.get("queue_max", &QUEUE_MAX).unwrap_or(10_000),
        host_names: section.get("host_names", &HOST_NAMES).unwrap_or_default(),
        body_budget: section.get("body_budget", &BODY_BUDGET).unwrap_or(512_000_000),
    };
    if !gateway.listen.ip().is_loopback() && !gateway.allow_remote {
        section
            .wrong("listen", "is not this machine's own address: add allow_remote = true if other machines shall call");
    }
    section.end();
    gateway
}

fn timeouts(section: Section<'_, '_>) -> Timeouts {
    let timeouts = Timeouts {
        connect: section.get("connect", &TIMEOUT).unwrap_or(seconds(10)),
        first_byte: section.get("first_byte", &TIMEOUT).unwrap_or(seconds(600)),
        idle: section.get("idle", &TIMEOUT).unwrap_or(seconds(300)),
    };
    section.end();
    timeouts
}

fn upstreams(sections: Vec<Section<'_, '_>>, schemes: &[Arc<Scheme>]) -> Vec<Upstream> {
    let mut upstreams: Vec<Upstream> = vec![];
    for section in sections {
        let upstream = upstream(&section, schemes);
        if &*upstream.name == "static" {
            section.wrong("name", "is what a [[fallback]]'s text goes by: choose another");
        }
        if upstreams.iter().any(|other| other.name == upstream.name) {
            section.wrong("name", "is taken by an upstream above");
        }
        section.end();
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(section: &Section<'_, '_>, schemes: &[Arc<Scheme>]) -> Upstream {
    let kind = section.get("kind", &UPSTREAM_KIND).unwrap_or(UpstreamKind::Anthropic);
    Upstream {
        name: section.need("name", &NAME).unwrap_or_default().into(),
        kind,
        base_url: base_url(section, kind),
        key: key(section, kind),
        models: section.get("models", &MODELS).unwrap_or_default().into_iter().map(Arc::from).collect(),
        lacks: lacks(section, kind),
        admin_key: section.get("admin_key", &KEY),
        pacing: pacing(section, schemes),
    }
}

/// Only of servers that take the API's form and not all that it means.
fn lacks(section: &Section<'_, '_>, kind: UpstreamKind) -> Capabilities {
    let named = section.get("lacks", &TEXTS).unwrap_or_default();
    if !named.is_empty() && kind != UpstreamKind::Compatible {
        section.wrong("lacks", "is for kind = \"compatible\" alone");
    }
    let known = Capability::ALL.map(Capability::name);
    for name in named.iter().filter(|name| !known.contains(&name.as_str())) {
        let near = nearest(name, &known).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        section.wrong("lacks", &format!("names {name:?}, which is none of {}{near}", known.join(", ")));
    }
    named.iter().filter_map(|name| Capability::named(name)).collect()
}

const ANTHROPIC: &str = "https://api.anthropic.com";

fn base_url(section: &Section<'_, '_>, kind: UpstreamKind) -> Option<BaseUrl> {
    match kind {
        UpstreamKind::Anthropic => {
            let written = section.get("base_url", &BASE_URL);
            written.or_else(|| BaseUrl::parse(ANTHROPIC).ok())
        }
        UpstreamKind::Simulator => {
            section.get("base_url", &BASE_URL);
            None
        }
        UpstreamKind::Compatible => section.need("base_url", &BASE_URL),
        UpstreamKind::OpenAi | UpstreamKind::Gemini | UpstreamKind::Bedrock | UpstreamKind::Vertex => {
            section.get("base_url", &BASE_URL)
        }
    }
}

fn key(section: &Section<'_, '_>, kind: UpstreamKind) -> Option<KeyRef> {
    match kind {
        UpstreamKind::Anthropic => section.need("key", &KEY),
        UpstreamKind::OpenAi
        | UpstreamKind::Gemini
        | UpstreamKind::Compatible
        | UpstreamKind::Bedrock
        | UpstreamKind::Vertex
        | UpstreamKind::Simulator => section.get("key", &KEY),
    }
}

fn pacing(section: &Section<'_, '_>, schemes: &[Arc<Scheme>]) -> Pacing {
    Pacing {
        presumed: presumed(section, schemes),
        written: section.tables("limits", "[[upstream.limits]]").into_iter().filter_map(limits).collect(),
        guard_requests_permille: section.get("guard", &GUARD).unwrap_or(960),
        guard_tokens_permille: section.get("guard_input_tokens", &GUARD).unwrap_or(930),
        retry_after_buffer: section.get("retry_after_buffer", &DURATION).unwrap_or(seconds(30)),
        windows: windows(section.tables("windows", "[[upstream.windows]]")),
    }
}

fn presumed(section: &Section<'_, '_>, schemes: &[Arc<Scheme>]) -> Option<(Arc<Scheme>, usize)> {
    let (scheme, tier) = (section.get("scheme", &TEXT), section.get("tier", &TEXT));
    let Some(name) = scheme else {
        if tier.is_some() {
            section.wrong("tier", "needs a scheme beside it, for example scheme = \"2025-09\"");
        }
        return None;
    };
    let Some(scheme) = schemes.iter().find(|scheme| *scheme.name == *name) else {
        section.wrong("scheme", &one_of(&schemes.iter().map(|scheme| &*scheme.name).collect::<Vec<_>>()));
        return None;
    };
    let names: Vec<&str> = scheme.tiers.iter().map(|tier| &*tier.name).collect();
    let index = tier.and_then(|tier| names.iter().position(|name| *name == tier));
    if index.is_none() {
        section.wrong("tier", &format!("{} in scheme {name}", one_of(&names)));
    }
    Some((scheme.clone(), index?))
}

fn limits(section: Section<'_, '_>) -> Option<WrittenLimits> {
    let models = section.need("models", &MODELS);
    let per_minute = MinuteLimits {
        requests: section.get("requests_per_minute", &SOME),
        input_tokens: section.get("input_tokens_per_minute", &SOME),
        output_tokens: section.get("output_tokens_per_minute", &SOME),
    };
    let concurrency = section.get("concurrency", &CONCURRENCY).filter(|count| *count > 0);
    let limiting = ["requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrency"];
    if !limiting.into_iter().any(|key| section.has(key)) {
        section.wrong_here("[[upstream.limits]] limits nothing, for example requests_per_minute = 50");
    }
    section.end();
    let models = models?.into_iter().map(Arc::from).collect();
    Some(WrittenLimits { models, per_minute, concurrency })
}

const DEFAULT_RETENTION: Duration = seconds(400 * 86_400);

fn books(section: Section<'_, '_>) -> (Durability, Duration) {
    let durability = match section.get("durability", &TEXT).as_deref() {
        None | Some("power") => Durability::Power,
        Some("process") => Durability::Process,
        Some(_) => {
            section.wrong("durability", &one_of(&["power", "process"]));
            Durability::Power
        }
    };
    let retention = section.get("retention", &TIMEOUT).unwrap_or(DEFAULT_RETENTION);
    if retention < seconds(31 * 86_400) {
        section.wrong("retention", "must be at least \"31d\": the budgets of a month may ask for its first hour");
    }
    section.end();
    (durability, retention)
}

fn windows(sections: Vec<Section<'_, '_>>) -> Vec<Window> {
    let mut windows: Vec<Window> = vec![];
    for section in sections {
        let found = window(&section);
        section.end();
        let Some(window) = found else { continue };
        if windows.iter().any(|other| other.name == window.name) {
            section.wrong("name", "is taken by a window above");
        }
        windows.push(window);
    }
    windows
}

fn window(section: &Section<'_, '_>) -> Option<Window> {
    let name = section.need("name", &NAME);
    let limits = [
        section.get("limit_usd", &SOME_USD).map(Amount::Usd),
        section.get("limit_tokens", &SOME).map(Amount::Tokens),
        section.get("limit_percent", &PERCENT).map(Amount::Percent),
    ];
    let spans = [section.get("length", &LENGTH).map(Span::Rolling), section.get("resets", &RESETS).map(Span::Until)];
    if ["limit_usd", "limit_tokens", "limit_percent"].into_iter().filter(|key| section.has(key)).count() != 1 {
        section.wrong_here(
            "[[upstream.windows]] needs one of limit_usd, limit_tokens, limit_percent, for example limit_usd = 250",
        );
    }
    if section.has("length") == section.has("resets") {
        section
            .wrong_here("[[upstream.windows]] needs either resets or length, for example resets = \"Mon 00:00 UTC\"");
    }
    let limit = limits.into_iter().flatten().next()?;
    let span = spans.into_iter().flatten().next()?;
    Some(Window { name: name?.into(), limit, span })
}

/// One for each period that is named.
fn budgets(section: Section<'_, '_>) -> Vec<Budget> {
    const PERIODS: [(&str, Period); 3] =
        [("daily_usd", Period::Day), ("weekly_usd", Period::Week), ("monthly_usd", Period::Month)];
    let scope = section.need("scope", &SCOPE);
    let hard = section.get("hard", &YES_OR_NO).unwrap_or(false);
    let amounts = PERIODS.map(|(key, period)| (period, section.get(key, &SOME_USD)));
    if !PERIODS.into_iter().any(|(key, _)| section.has(key)) {
        section.wrong_here("[[budget]] sets no amount, for example daily_usd = 20");
    }
    section.end();
    let Some(scope) = scope else { return vec![] };
    let budget = |(period, limit): (Period, Option<domain::money::Usd>)| {
        Some(Budget { scope: scope.clone(), period, limit: limit?, hard })
    };
    amounts.into_iter().filter_map(budget).collect()
}

/// None where nobody wrote the section.
fn background(top: &Section<'_, '_>, calendar: Calendar) -> Option<BackgroundGuard> {
    let section = top.table("background");
    let hours = section.get("business_hours", &BUSINESS_HOURS).unwrap_or(OFFICE_HOURS);
    let share_permille = section.get("share_before_hours", &FRACTION).unwrap_or(300);
    section.end();
    let zone = calendar.zone_name().parse().unwrap_or(Tz::UTC);
    top.has("background").then_some(BackgroundGuard { hours: BusinessHours { zone, ..hours }, share_permille })
}

fn emergency(section: Section<'_, '_>) -> EmergencySettings {
    let emergency = EmergencySettings {
        enter_week_permille: section.get("enter_week", &FRACTION).unwrap_or(Rules::default().week_reserve_permille),
        enter_breaker_open: section.get("enter_breaker_open", &TIMEOUT).unwrap_or(seconds(120)),
        enter_spend: section.get("enter_spend_usd", &USD).filter(|usd| *usd > Usd::ZERO),
        contacts: section.get("contacts", &TEXTS).unwrap_or_default(),
    };
    section.end();
    emergency
}

fn retry(section: Section<'_, '_>) -> RetryRules {
    let usual = RetryRules::default();
    let overloaded = section.get("overloaded", &COUNT).unwrap_or(usual.overloaded.into());
    if overloaded > 10 {
        section.wrong("overloaded", "must be at most 10");
    }
    let rules = RetryRules {
        budget_permille: section.get("budget", &FRACTION).unwrap_or(usual.budget_permille),
        overloaded: overloaded.try_into().unwrap_or(usual.overloaded),
        ..usual
    };
    section.end();
    rules
}

fn breaker(section: Section<'_, '_>) -> BreakerRules {
    let usual = BreakerRules::default();
    let rules = BreakerRules {
        failures: section.get("failures", &FAILURES).unwrap_or(usual.failures),
        open: section.get("open", &TIMEOUT).unwrap_or(usual.open),
        error_ratio_permille: section.get("error_ratio", &FRACTION).unwrap_or(usual.error_ratio_permille),
    };
    section.end();
    rules
}

fn fallbacks(sections: Vec<Section<'_, '_>>, upstreams: &[Upstream]) -> Vec<Fallback> {
    let mut fallbacks: Vec<Fallback> = vec![];
    for section in sections {
        let fallback = fallback(&section, upstreams);
        if let Some(fallback) = fallback {
            if fallbacks.iter().any(|other| other.whose == fallback.whose) {
                section.wrong("for", "has a [[fallback]] above");
            }
            fallbacks.push(fallback);
        }
        section.end();
    }
    fallbacks
}

fn fallback(section: &Section<'_, '_>, upstreams: &[Upstream]) -> Option<Fallback> {
    let whose = section.need("for", &WHOSE);
    let named = section.get("upstreams", &TEXTS).unwrap_or_default();
    let known: Vec<&str> = upstreams.iter().map(|upstream| &*upstream.name).collect();
    for name in named.iter().filter(|name| !known.contains(&name.as_str())) {
        // One that isn't there yet is left out, and the app says so; a slip of the pen would be found out in an outage.
        if let Some(near) = nearest(name, &known) {
            section.wrong("upstreams", &format!("names {name:?}, which no [[upstream]] has; did you mean {near:?}?"));
        }
    }
    if named.iter().enumerate().any(|(at, name)| named[..at].contains(name)) {
        section.wrong("upstreams", "names one twice");
    }
    let text = section.get("static", &TEXT);
    if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
        section.wrong("static", "is empty: leave the line out for no text");
    }
    if named.is_empty() && text.is_none() {
        section.wrong_here("[[fallback]] leads nowhere: name upstreams, or a static text");
    }
    Some(Fallback { whose: whose?, upstreams: named.into_iter().map(Arc::from).collect(), text: text.map(Arc::from) })
}

fn status_page(section: Section<'_, '_>) -> Option<StatusPage> {
    let enabled = section.get("enabled", &YES_OR_NO).unwrap_or(false);
    let url = section.get("url", &HTTP_URL);
    let every = section.get("every", &TIMEOUT).unwrap_or(seconds(60));
    if every < seconds(10) {
        section.wrong("every", "must be at least 10s: the page is other people's");
    }
    section.end();
    let url = url.or_else(|| BaseUrl::parse(STATUS_PAGE).ok())?;
    enabled.then_some(StatusPage { url, every })
}

const STATUS_PAGE: &str = "https://status.claude.com";

/// `None` unless it is written that it is on.
fn cache(section: Section<'_, '_>) -> Option<Terms> {
    let usual = Terms::default();
    let is = |key| section.get(key, &YES_OR_NO).unwrap_or(false);
    let (enabled, shared, tools) = (is("enabled"), is("shared"), is("tools"));
    let ttl = section.get("ttl", &TIMEOUT).unwrap_or(usual.ttl);
    let emergency_ttl = section.get("emergency_ttl", &TIMEOUT).unwrap_or(usual.emergency_ttl);
    section.end();
    enabled.then_some(Terms { ttl, emergency_ttl, shared, tools })
}

fn metrics(section: Section<'_, '_>) -> bool {
    let enabled = section.get("enabled", &YES_OR_NO).unwrap_or(false);
    section.end();
    enabled
}

fn currency(section: Section<'_, '_>) -> Option<Currency> {
    let code = section.get("code", &CURRENCY);
    let mut rates = BTreeMap::new();
    for (at, day, value) in section.free("rates") {
        match rate(day, value) {
            Some((day, rate)) => drop(rates.insert(day, rate)),
            None => section.note(
                &at,
                format!("rates in [currency] must be days and rates, for example \"2026-11-01\" = 0.86, not {day}"),
            ),
        }
    }
    section.end();
    Some(Currency { code: code?, rates })
}

fn otlp(section: Section<'_, '_>) -> Option<SocketAddr> {
    let listen = section.get("listen", &OTLP_LISTEN).flatten();
    section.end();
    listen
}

fn attribute(section: Section<'_, '_>) -> Option<AttributeRule> {
    let when = section.need("when", &WHEN);
    let label = |key| section.get(key, &LABEL).map(Arc::from);
    let labels = Labels {
        client: label("client"),
        person: label("person"),
        project: label("project"),
        tenant: label("tenant"),
        agent: label("agent"),
        tags: tags(&section),
    };
    section.end();
    if LABELS.into_iter().all(|key| !section.has(key)) {
        section.wrong_here(&format!("[[attribute]] says nothing of a call: give it one of {}", LABELS.join(", ")));
    }
    let (when, pattern) = when?;
    Some(AttributeRule { when, pattern: pattern.into(), labels })
}

const LABELS: [&str; 6] = ["client", "person", "project", "tenant", "agent", "tags"];

fn tags(section: &Section<'_, '_>) -> Vec<(Arc<str>, Arc<str>)> {
    let written = section.free("tags");
    if section.has("tags") && written.is_empty() {
        section.wrong("tags", "must be keys and values, for example tags = { team = \"gate\" }");
    }
    let tag = |(at, key, value): (_, &str, &DeValue<'_>)| match (LABEL.read)(value) {
        Ok(value) => Some((key.into(), value.into())),
        Err(rule) => {
            section.note(&at, format!("tag {key} in [[attribute]] {rule}, for example {key} = {}", LABEL.example));
            None
        }
    };
    written.into_iter().filter_map(tag).collect()
}

/// The channel that every machine with a desktop has.
const DESKTOP: &str = "desktop";

fn channels(sections: Vec<Section<'_, '_>>) -> Vec<Channel> {
    let mut channels: Vec<Channel> = vec![];
    for section in sections {
        let found = channel(&section);
        section.end();
        let Some(channel) = found else { continue };
        if channels.iter().any(|other| other.name == channel.name) {
            section.wrong("name", "is taken by a [[channel]] above");
        }
        if *channel.name == *DESKTOP && channel.kind != ChannelKind::Desktop {
            section.wrong("name", "is that of the desktop's own notifications: take another one");
        }
        channels.push(channel);
    }
    channels
}

fn channel(section: &Section<'_, '_>) -> Option<Channel> {
    let name = section.need("name", &NAME);
    let kind = section.need("kind", &CHANNEL_KIND);
    let url = match kind.is_some_and(ChannelKind::needs_url) {
        true => section.need("url", &URL_OR_KEY),
        false => section.get("url", &URL_OR_KEY),
    };
    let secret = match kind.is_some_and(ChannelKind::needs_secret) {
        true => section.need("secret", &KEY),
        false => section.get("secret", &KEY),
    };
    let allow_private = section.get("allow_private", &YES_OR_NO).unwrap_or(false);
    Some(Channel { name: name?.into(), kind: kind?, url, secret, allow_private })
}

fn alerts(
    top: &Section<'_, '_>,
    channels: &[Channel],
    emergency: &EmergencySettings,
    calendar: Calendar,
) -> AlertSettings {
    let section = top.table("alerts");
    let part = |key, usual| Figure::permille(section.get(key, &FRACTION).unwrap_or(usual));
    let (token_warning, token_critical) = (part("token_warning", 800), part("token_critical", 900));
    if token_warning >= token_critical {
        section.wrong("token_critical", "must be above token_warning");
    }
    let weekly = part("weekly_emergency", 950);
    let daily_spend = section.get("daily_spend_usd", &USD).map_or(Figure::count(50), Figure::usd);
    let zone = calendar.zone_name().parse().unwrap_or(Tz::UTC);
    let quiet = |section: &Section<'_, '_>| {
        let quiet = section.get("quiet_hours", &QUIET_HOURS)?;
        Some(quiet.map(|quiet| QuietHours { zone, ..quiet }))
    };
    let desktop = channels.iter().all(|channel| channel.kind != ChannelKind::Desktop).then(|| DESKTOP.into());
    let marks = Marks {
        token_warning,
        token_critical,
        // The emergency itself tells of it where both begin together.
        weekly_emergency: (weekly != Figure::permille(emergency.enter_week_permille)).then_some(weekly),
        daily_spend: (daily_spend > Figure::ZERO).then_some(daily_spend),
        tier_warning: part("tier_warning", 800),
        quiet: quiet(&section).flatten(),
        channels: channels.iter().map(|channel| channel.name.clone()).chain(desktop).collect(),
    };
    let digest =
        DigestSettings { channels: named_channels(&section, "digest", &marks).unwrap_or_default(), quiet: marks.quiet };
    let pauses_runaways = match section.get("runaway", &TEXT).as_deref() {
        None | Some("tell") => false,
        Some("pause") => true,
        Some(_) => {
            section.wrong("runaway", &one_of(&["tell", "pause"]));
            false
        }
    };
    section.end();
    let mut rules = shipped(&marks);
    for section in top.tables("alert", "[[alert]]") {
        let found = own_rule(&section, &marks);
        let quiet = quiet(&section);
        section.end();
        let Some(rule) = found else { continue };
        if rules.iter().any(|other| other.name == rule.name) || *rule.name == *DIGEST {
            let key = if section.has("name") { "name" } else { "metric" };
            section.wrong(key, "is that of another rule: give this one a name of its own, for example name = \"shop\"");
        }
        rules.push(Rule { quiet: quiet.unwrap_or(marks.quiet), ..rule });
    }
    AlertSettings { rules, digest, pauses_runaways }
}

/// Each of them is there, once, or noted as wrong.
fn named_channels(section: &Section<'_, '_>, key: &'static str, marks: &Marks) -> Option<Vec<Arc<str>>> {
    let names = section.get(key, &TEXTS)?;
    let known: Vec<&str> = marks.channels.iter().map(|name| &**name).chain([DESKTOP]).collect();
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        let near = nearest(name, &known).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        section.wrong(key, &format!("names {name:?}, which no [[channel]] has{near}"));
    }
    let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
    if let Some((_, name)) = twice {
        section.wrong(key, &format!("names {name:?} twice: once is enough"));
    }
    Some(names.into_iter().map(Arc::from).collect())
}

fn own_rule(section: &Section<'_, '_>, marks: &Marks) -> Option<Rule> {
    let name = section.get("name", &NAME);
    let metric = section.need("metric", &METRIC);
    let mut figures = section.need("thresholds", &FIGURES).unwrap_or_default();
    let severity = section.get("severity", &SEVERITY).unwrap_or(Severity::Warning);
    let cooldown = section.get("cooldown", &COOLDOWN).unwrap_or(Cooldown::Window);
    let channels = named_channels(section, "channels", marks);
    let metric = metric?;
    if metric.sign.is_part() && figures.iter().any(|figure| *figure > Figure::count(5)) {
        section.wrong("thresholds", "are parts of one for this metric: 80 % is 0.8");
    }
    figures.sort_unstable();
    figures.dedup();
    if metric.sign.is_low() {
        figures.reverse();
    }
    let thresholds = figures.into_iter().map(|at| Threshold { at, severity }).collect();
    let channels = channels.unwrap_or_else(|| marks.channels.clone());
    let name = name.unwrap_or_else(|| metric.to_string());
    Some(Rule { channels, cooldown, ..Rule::new(name, metric, thresholds) })
}
