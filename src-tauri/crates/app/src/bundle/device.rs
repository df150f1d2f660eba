//! Who this device is to others: an id and a key, made once, and what it has handed over.
//!
//! Ed25519 comes from aws-lc-rs, which is in the program for TLS already.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::time::Timestamp;
use ledger::{BundleMonth, BundleRow, Member};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::is_dangerous;
use crate::clients::hex;
use crate::folder::{self, FolderError};

/// Its owner's alone, as every file of the folder is.
const FILE: &str = "device.json";

#[derive(Debug, Error)]
pub(super) enum NoDevice {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the system gives no random numbers, so no key for this device can be made")]
    NoChance,
    #[error(
        "the key in {FILE} of the data folder is none: move that file away, and others will know this device as a new one"
    )]
    BadKey,
}

/// Not to be printed: it holds the key.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) name: String,
    seed: String,
    months: BTreeMap<String, Sent>,
}

/// The latest of a month that was handed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Sent {
    revision: i64,
    digest: String,
}

impl Device {
    pub(super) fn open(dir: &Path) -> Result<Device, NoDevice> {
        let device: Device = folder::read_json(&dir.join(FILE))?;
        if !device.id.is_empty() {
            return Ok(device);
        }
        let (mut id, mut seed) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut seed)).map_err(|_| NoDevice::NoChance)?;
        Ok(Device { id: hex(&id), name: name_of_machine(), seed: BASE64.encode(seed), months: BTreeMap::new() })
    }

    pub(super) fn keep(&self, dir: &Path) -> Result<(), FolderError> {
        folder::write_json(&dir.join(FILE), self)
    }

    /// What this device hands over is no other's.
    pub(super) fn is_own(dir: &Path, member: &Member) -> bool {
        let own: Device = folder::read_json(&dir.join(FILE)).unwrap_or_default();
        own.id == member.device || own.key().is_ok_and(|key| key.public_key().as_ref() == member.public_key)
    }

    fn key(&self) -> Result<Ed25519KeyPair, NoDevice> {
        let seed = BASE64.decode(&self.seed).map_err(|_| NoDevice::BadKey)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoDevice::BadKey)
    }

    pub(super) fn member(&self) -> Result<Member, NoDevice> {
        let public_key = self.key()?.public_key().as_ref().to_vec();
        Ok(Member { device: self.id.clone(), name: self.name.clone(), public_key })
    }

    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, NoDevice> {
        Ok(self.key()?.sign(text).as_ref().to_vec())
    }

    /// A month without calls is handed over only where others may have calls of it.
    pub(super) fn handed_over(&mut self, month: &str, rows: Vec<BundleRow>, now: Timestamp) -> Option<BundleMonth> {
        if rows.is_empty() && !self.months.contains_key(month) {
            return None;
        }
        let revision = self.revision(month, &rows, now);
        Some(BundleMonth { month: month.to_owned(), revision, rows })
    }

    /// The same rows have the same revision, others a higher one: also where this folder is a copy that was put back.
    pub(super) fn revision(&mut self, month: &str, rows: &[BundleRow], now: Timestamp) -> i64 {
        let digest = hex(&Sha256::digest(format!("{rows:?}")));
        let before = self.months.get(month).cloned();
        if let Some(before) = before.as_ref().filter(|before| before.digest == digest) {
            return before.revision;
        }
        let next = before.map_or(1, |before| before.revision.saturating_add(1));
        let revision = next.max(now.as_millis() / 1_000);
        self.months.insert(month.to_owned(), Sent { revision, digest });
        revision
    }
}

pub(super) fn is_signed(public_key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(text, signature).is_ok()
}

/// `1f9c 02ab …`: what two people can compare.
pub(super) fn fingerprint(public_key: &[u8]) -> String {
    let hash = hex(&Sha256::digest(public_key));
    let groups: Vec<String> =
        (0..8).filter_map(|group| hash.get(group * 4..group * 4 + 4)).map(str::to_owned).collect();
    groups.join(" ")
}

fn name_of_machine() -> String {
    let told = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|variable| std::env::var(variable).ok());
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or(told).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !is_dangerous(*c)).take(super::NAME_CHARS_MAX).collect();
    if name.is_empty() { "a device".to_owned() } else { name }
}
