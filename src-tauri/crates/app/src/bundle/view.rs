//! Bundles and their devices as shells show them.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A file that was written or taken in: `tidegate export bundle --json`, `tidegate import bundle --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BundleView {
    pub file: String,
    /// '' where the file was refused.
    pub device: String,
    pub name: String,
    /// Of the device's public key.
    pub fingerprint: String,
    pub months: Vec<BundleMonthView>,
    /// Why nothing of it was taken in.
    pub refused: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BundleMonthView {
    /// `2026-11`
    pub month: String,
    pub revision: u64,
    /// `exported`; `new`, `replaced`, `same`, `older`; `kept`.
    pub outcome: String,
    pub calls: u64,
    pub cost_usd: Option<String>,
    pub unpriced_calls: u64,
}

/// `tidegate bundle list --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct DeviceView {
    pub device: String,
    pub name: String,
    pub fingerprint: String,
    pub last_seen: String,
    pub months: Vec<BundleMonthView>,
}
