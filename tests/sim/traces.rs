//! Arrivals of real services, as one more source of load.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::upstream::SECOND;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) at: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// Rows by client of a trace, or `None` where the folder of traces is not there.
pub(crate) fn read(name: &str) -> Option<Vec<Arc<Vec<Row>>>> {
    let file = std::fs::File::open(folder().join(name)).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    let mut clients: std::collections::BTreeMap<&str, Vec<Row>> = std::collections::BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let mut next = || fields.next().unwrap_or_default();
        let at = (next().parse::<f64>().expect("t_s is a number") * SECOND as f64) as u64;
        let (input, output) = (next().parse().expect("tokens"), next().parse().expect("tokens"));
        clients.entry(next()).or_default().push(Row { at, input, output });
    }
    Some(clients.into_values().map(Arc::new).collect())
}

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("TIDEGATE_TRACES").map_or_else(|| root.join("../../shared/traces/arrivals"), PathBuf::from)
}
