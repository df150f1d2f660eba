//! Where to begin: settings for three ways of working, each a change like any other.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::SettingChange;

/// A named set of changes; whoever takes it may change each of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PresetView {
    /// `solo`, `saas`, `batch`
    pub name: String,
    pub title: String,
    /// For whom, and which protection it brings.
    pub help: String,
    pub changes: Vec<SettingChange>,
}

struct Preset {
    name: &'static str,
    title: &'static str,
    help: &'static str,
    changes: &'static [(&'static str, &'static str)],
}

const PRESETS: &[Preset] = &[
    Preset {
        name: "solo",
        title: "Solo",
        help: "One person with Claude Code and scripts: a day can't cost more than $50, warnings wait for the morning.",
        changes: &[
            ("budget[scope=machine].daily_usd", "50"),
            ("alerts.daily_spend_usd", "25"),
            ("alerts.quiet_hours", "22:00-07:00"),
        ],
    },
    Preset {
        name: "saas",
        title: "SaaS backend",
        help: "Customers wait for answers: nobody waits longer than 30 s, background calls leave the day to customers, an emergency begins sooner.",
        changes: &[
            ("gateway.max_wait", "30s"),
            ("background.business_hours", "Mon-Fri 08:00-18:00"),
            ("background.share_before_hours", "0.30"),
            ("emergency.enter_week", "0.90"),
            ("emergency.enter_breaker_open", "1m"),
            ("budget[scope=machine].daily_usd", "200"),
            ("alerts.daily_spend_usd", "100"),
        ],
    },
    Preset {
        name: "batch",
        title: "Batch",
        help: "Jobs that nobody waits for: calls wait up to an hour, the same call is answered once, a week can't cost more than $250.",
        changes: &[
            ("gateway.max_wait", "3600s"),
            ("cache.enabled", "true"),
            ("breaker.error_ratio", "0.5"),
            ("budget[scope=machine].weekly_usd", "250"),
        ],
    },
];

pub fn presets() -> Vec<PresetView> {
    PRESETS.iter().map(Preset::view).collect()
}

impl Preset {
    fn view(&self) -> PresetView {
        let change =
            |(path, value): &(&str, &str)| SettingChange { path: (*path).into(), value: Some((*value).into()) };
        PresetView {
            name: self.name.into(),
            title: self.title.into(),
            help: self.help.into(),
            changes: self.changes.iter().map(change).collect(),
        }
    }
}
