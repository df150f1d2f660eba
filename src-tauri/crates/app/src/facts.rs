//! What the settings make of this machine, for whoever reads them in a window: no secret is among it.

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use domain::alert::{Cooldown, Rule, Threshold};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::desktop;
use crate::settings::{Address, BaseUrl, Channel, Currency, Durability, Settings, Upstream};

/// Rules and channels, as they are in force.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RulesView {
    pub rules: Vec<RuleView>,
    pub channels: Vec<ChannelView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RuleView {
    pub name: String,
    /// As the settings write it: `window.*.used`, `spend.day.client:ci`.
    pub metric: String,
    /// From the mildest to the worst.
    pub thresholds: Vec<ThresholdView>,
    /// Beside the inbox.
    pub channels: Vec<String>,
    /// Null: not before the next window.
    pub cooldown_s: Option<u64>,
    /// `22:00-07:00`; null where there are none.
    pub quiet_hours: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ThresholdView {
    /// A plain decimal number: a part of one, dollars, calls or times, as the metric is measured.
    pub at: String,
    pub severity: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ChannelView {
    pub name: String,
    /// `desktop`, `slack`, …
    pub kind: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct FactsView {
    pub data_dir: String,
    pub timezone: String,
    /// How long single calls are kept; their sums stay.
    pub retention_days: u64,
    /// `power` or `process`: what a call that was written down survives.
    pub durability: String,
    pub cache: bool,
    pub metrics: bool,
    /// Where telemetry of Claude Code is taken in; null where it is not.
    pub otlp: Option<String>,
    /// In which amounts are shown beside dollars; null where there is none, or no rate of today or before.
    pub currency: Option<CurrencyView>,
    pub upstreams: Vec<UpstreamFactsView>,
    pub leaves: Vec<LeavesView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UpstreamFactsView {
    pub name: String,
    pub kind: String,
    /// Null for a simulator.
    pub base_url: Option<String>,
    /// Where its key is kept, never the key: `keychain:anthropic`.
    pub key: Option<String>,
    pub admin_key: Option<String>,
    /// Null where the settings give it none.
    pub tier: Option<String>,
}

/// Another currency at the rate of a day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CurrencyView {
    /// `EUR`
    pub code: String,
    /// What a dollar is worth in it.
    pub rate: String,
    pub day: String,
}

/// Something that leaves this machine.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LeavesView {
    pub what: String,
    pub to: String,
    pub when: String,
}

const DAY_S: u64 = 86_400;

impl App {
    pub(crate) fn rules(&self) -> RulesView {
        let desktop = ChannelView { name: desktop::CHANNEL.to_owned(), kind: desktop::CHANNEL.to_owned() };
        let named =
            |channel: &Channel| ChannelView { name: channel.name.to_string(), kind: channel.kind.name().to_owned() };
        let settings = self.settings();
        RulesView {
            rules: settings.alerts.rules.iter().map(rule).collect(),
            channels: [desktop].into_iter().chain(settings.channels.iter().map(named)).collect(),
        }
    }

    pub(crate) fn facts(&self) -> FactsView {
        let settings = self.settings();
        FactsView {
            data_dir: self.dir().display().to_string(),
            timezone: self.calendar.zone_name().to_owned(),
            retention_days: settings.retention.as_secs() / DAY_S,
            durability: durability(settings.durability).to_owned(),
            cache: settings.cache.is_some(),
            metrics: settings.metrics,
            otlp: settings.otlp.map(|address| address.to_string()),
            currency: settings.currency.as_ref().and_then(|currency| rate_of(currency, self.calendar.day(self.now()))),
            upstreams: settings.upstreams.iter().map(upstream).collect(),
            leaves: leaves(&settings),
        }
    }
}

const CALLS: &str = "calls of your programs, as they made them, and free test calls after an outage or when you test a key, with your key";
const ADMIN: &str = "questions for limits, usage and cost, with your admin key";
const ADMIN_WHEN: &str = "at the start, every hour, and when you reconcile";

/// All that goes anywhere else by these settings.
fn leaves(settings: &Settings) -> Vec<LeavesView> {
    let line = |what: &str, to: String, when: &str| LeavesView { what: what.to_owned(), to, when: when.to_owned() };
    let mut leaves = vec![];
    for upstream in &settings.upstreams {
        let Some(base) = upstream.base_url.as_ref().filter(|base| !base.is_loopback()) else { continue };
        leaves.push(line(CALLS, base.origin().to_owned(), "when they call"));
        if upstream.admin_key.is_some() {
            leaves.push(line(ADMIN, base.origin().to_owned(), ADMIN_WHEN));
        }
    }
    for channel in &settings.channels {
        let when = "when they cross or end, and when you test";
        leaves.push(line("alerts, one sentence each", destination(channel), when));
    }
    if let Some(page) = &settings.status_page {
        let to = page.url.origin().to_owned();
        leaves.push(line("a question for the status page", to, &every(page.every)));
    }
    leaves
}

fn rule(rule: &Rule) -> RuleView {
    let threshold = |threshold: &Threshold| ThresholdView {
        at: threshold.at.to_string(),
        severity: threshold.severity.name().to_owned(),
    };
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    RuleView {
        name: rule.name.to_string(),
        metric: rule.metric.to_string(),
        thresholds: rule.thresholds.iter().map(threshold).collect(),
        channels: rule.channels.iter().map(ToString::to_string).collect(),
        cooldown_s: match rule.cooldown {
            Cooldown::Window => None,
            Cooldown::For(time) => Some(time.as_secs()),
        },
        quiet_hours: rule.quiet.map(|quiet| format!("{}-{}", clock(quiet.from), clock(quiet.to))),
    }
}

const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Power => "power",
        Durability::Process => "process",
    }
}

fn upstream(upstream: &Upstream) -> UpstreamFactsView {
    let tier = |presumed: &(Arc<domain::tier::Scheme>, usize)| {
        presumed.0.tiers.get(presumed.1).map(|tier| tier.name.to_string())
    };
    UpstreamFactsView {
        name: upstream.name.to_string(),
        kind: upstream.kind.name().to_owned(),
        base_url: upstream.base_url.as_ref().map(|base| base.as_str().to_owned()),
        key: upstream.key.as_ref().map(ToString::to_string),
        admin_key: upstream.admin_key.as_ref().map(ToString::to_string),
        tier: upstream.pacing.presumed.as_ref().and_then(tier),
    }
}

/// The latest one by a day.
fn rate_of(currency: &Currency, today: NaiveDate) -> Option<CurrencyView> {
    let (day, rate) = currency.rates.range(..=today).next_back()?;
    Some(CurrencyView { code: currency.code.to_string(), rate: rate.to_string(), day: day.to_string() })
}

/// A webhook's address may be a secret: its host is none.
fn destination(channel: &Channel) -> String {
    let host = match &channel.url {
        Some(Address::Plain(url)) => BaseUrl::parse(url.split(['?', '#']).next().unwrap_or(url)).ok(),
        Some(Address::Kept(_)) | None => None,
    };
    host.map_or_else(|| format!("channel {} ({})", channel.name, channel.kind.name()), |base| base.origin().to_owned())
}

fn every(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 60 == 0 => format!("every {} min", seconds / 60),
        seconds => format!("every {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    const SETTINGS: &str = r#"
        [[upstream]]
        name = "anthropic"
        kind = "anthropic"
        key = "keychain:anthropic"

        [[upstream]]
        name = "here"
        kind = "simulator"

        [[channel]]
        name = "ops"
        kind = "slack"
        url = "https://hooks.slack.com/services/T0/B0/canary"

        [[channel]]
        name = "desk"
        kind = "webhook"
        url = "keychain:desk"
    "#;

    #[test]
    fn what_leaves_names_hosts_and_no_path_of_a_webhook() {
        let settings = settings::parse(SETTINGS, &[]).expect("legal settings");
        let leaves = leaves(&settings);
        let to: Vec<&str> = leaves.iter().map(|line| &*line.to).collect();
        assert_eq!(to, ["https://api.anthropic.com", "https://hooks.slack.com", "channel desk (webhook)"]);
        assert!(!format!("{leaves:?}").contains("canary"));
    }

    #[test]
    fn amounts_are_converted_at_the_latest_rate_that_is_not_of_a_day_to_come() {
        let text =
            "[currency]\ncode = \"EUR\"\nrates = { \"2026-10-01\" = 0.9, \"2026-11-01\" = 0.86, \"2026-12-01\" = 1 }\n";
        let currency = settings::parse(text, &[]).expect("legal settings").currency.expect("a currency");
        let of = |day: &str| rate_of(&currency, day.parse().expect("a day"));
        let rate = |day: &str| of(day).map(|view| (view.day, view.rate));
        assert_eq!(rate("2026-09-30"), None);
        assert_eq!(rate("2026-11-01"), Some(("2026-11-01".to_owned(), "0.86".to_owned())));
        assert_eq!(rate("2026-11-30"), rate("2026-11-01"));
        assert_eq!(of("2027-01-01").map(|view| view.code), Some("EUR".to_owned()));
    }

    #[test]
    fn a_rule_is_shown_as_the_settings_write_it() {
        let text = "[[alert]]\nmetric = \"spend.day.project:shop\"\nthresholds = [20, 40]\ncooldown = \"6h\"\nquiet_hours = \"22:00-07:00\"\n";
        let settings = settings::parse(text, &[]).expect("legal settings");
        let rules: Vec<RuleView> = settings.alerts.rules.iter().map(rule).collect();
        let own = rules.last().expect("a rule");
        let marks: Vec<&str> = own.thresholds.iter().map(|mark| &*mark.at).collect();
        assert_eq!((&*own.metric, &marks[..]), ("spend.day.project:shop", &["20", "40"][..]));
        assert_eq!((own.cooldown_s, own.quiet_hours.as_deref()), (Some(21_600), Some("22:00-07:00")));
    }
}
