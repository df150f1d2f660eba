//! What was in force before, and until when: a call keeps the figures that it was entered by, and ids are used again for others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::catalog::{Catalog, Market};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::Table;
use super::own::OwnRow;
use crate::clients::hex;
use crate::folder::{self, FolderError};

const FILE: &str = "former-prices.json";

/// Beyond it the oldest are forgotten.
const FORMER_MAX: usize = 200;
const TABLE_BYTES_MAX: usize = 32 << 20;

/// A catalogue that is in force no more.
pub(crate) struct Former {
    pub(crate) catalog: Catalog,
    pub(crate) until: Timestamp,
}

/// A table, by its digest, and what was set by hand over it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Prices {
    table: String,
    own: Vec<OwnRow>,
}

#[derive(Serialize, Deserialize)]
struct Held {
    #[serde(flatten)]
    prices: Prices,
    /// A moment.
    until: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct FormerFile {
    /// Price files as they stood, by their digests.
    tables: BTreeMap<String, String>,
    /// Another release, or a hand, may have replaced it by the next start.
    present: Option<Prices>,
    /// From the earliest on.
    former: Vec<Held>,
}

/// Keeps what held until `now`, where it differs from what holds from now on.
pub(super) fn keep(dir: &Path, table: &Table, own: &[OwnRow], now: Timestamp) -> Result<(), FolderError> {
    let path = path(dir);
    let mut file = read(&path)?;
    let present = Prices { table: hex(&Sha256::digest(table.text.as_bytes())), own: own.to_vec() };
    if file.present.as_ref() == Some(&present) {
        return Ok(());
    }
    file.former.extend(file.present.take().map(|prices| Held { prices, until: now.to_string() }));
    file.tables.insert(present.table.clone(), table.text.to_string());
    file.present = Some(present);
    file.forget();
    folder::write_json(&path, &file)
}

/// From the latest on, at the upstreams of today.
pub(super) fn catalogs(dir: &Path, markets: &[(Arc<str>, Market)]) -> Result<Vec<Former>, FolderError> {
    let file: FormerFile = folder::read_json(&path(dir))?;
    let read = |text: &String| Table::parse(text.as_bytes()).ok().map(|table| table.catalog());
    let tables: BTreeMap<&str, Catalog> =
        file.tables.iter().filter_map(|(digest, text)| Some((digest.as_str(), read(text)?))).collect();
    let former = file.former.iter().rev().filter_map(|held| {
        let own = held.prices.own.iter().filter_map(|row| row.own().ok()).collect();
        let table = tables.get(held.prices.table.as_str())?.clone();
        let until = Timestamp::parse(&held.until)?;
        Some(Former { catalog: table.with_own(own).with_markets(markets.iter().cloned()), until })
    });
    Ok(former.collect())
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn read(path: &Path) -> Result<FormerFile, FolderError> {
    match folder::read_json(path) {
        Err(FolderError::Damaged { reason, .. }) => {
            tracing::warn!(
                "{} is damaged ({reason}): it is set aside, and former prices are forgotten",
                path.display()
            );
            folder::set_aside(path);
            Ok(FormerFile::default())
        }
        read => read,
    }
}

impl FormerFile {
    fn forget(&mut self) {
        let surplus = self.former.len().saturating_sub(FORMER_MAX);
        self.former.drain(..surplus);
        self.leave_unused_tables();
        while self.tables.values().map(String::len).sum::<usize>() > TABLE_BYTES_MAX && !self.former.is_empty() {
            self.former.remove(0);
            self.leave_unused_tables();
        }
    }

    fn leave_unused_tables(&mut self) {
        let FormerFile { tables, present, former } = self;
        let used = former.iter().map(|held| &held.prices).chain(present.iter());
        tables.retain(|digest, _| used.clone().any(|prices| prices.table == *digest));
    }
}
