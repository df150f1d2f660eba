//! How a record stands on a page, and how it is found again, whatever is broken around it.

use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;

use super::{Kind, Record, SEQ_GAP, SEQ_MAX};
use crate::Error;
use crate::disk::Disk;

const CRC_CHARS: usize = 8;

pub(super) fn write(line: &mut String, record: &Record) {
    line.clear();
    line.push_str("00000000 ");
    // Writing to a string can't fail.
    let _ = write!(line, "{} {} {} {}", record.seq, record.kind.name(), record.call, record.json);
    let crc = crc32fast::hash(&line.as_bytes()[CRC_CHARS + 1..]);
    line.replace_range(..CRC_CHARS, &format!("{crc:08x}"));
    line.push('\n');
}

/// What a start finds.
pub(crate) struct Found {
    /// Younger than what SQLite has, in their order.
    pub(crate) records: Vec<Record>,
    /// So many are missing between them or can't be read.
    pub(crate) lost: u64,
}

/// Both pages together: what is missing between two records of one is on the other.
pub(super) fn find(disks: &[Arc<dyn Disk>; 2], folded_seq: u64) -> Result<Found, Error> {
    let mut found = Found { records: Vec::new(), lost: 0 };
    let mut has_holes = false;
    for disk in disks {
        let reading = read(&disk.read()?, folded_seq);
        if reading.has_holes || reading.is_torn {
            disk.keep_aside();
        }
        has_holes |= reading.has_holes;
        found.lost += u64::from(reading.is_torn);
        found.records.extend(reading.records);
    }
    found.records.sort_by_key(|record| record.seq);
    found.records.dedup_by_key(|record| record.seq);
    if has_holes {
        found.lost += missing(folded_seq, &found.records).max(1);
    }
    Ok(found)
}

/// Has anything ever been written to them?
pub(crate) fn has_records(disks: &[Arc<dyn Disk>; 2]) -> Result<bool, Error> {
    for disk in disks {
        if !read(&disk.read()?, 0).records.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn missing(folded_seq: u64, records: &[Record]) -> u64 {
    let mut before = folded_seq;
    let holes = records.iter().map(|record| record.seq - mem::replace(&mut before, record.seq) - 1);
    holes.filter(|hole| *hole < SEQ_GAP / 2).sum()
}

/// What a page holds that is younger than what SQLite has.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) records: Vec<Record>,
    /// Something between them can't be read.
    pub(super) has_holes: bool,
    /// Behind the last of them one begins that isn't whole: it was being written at the end, or is damaged.
    pub(super) is_torn: bool,
}

/// Every record that is whole counts, whatever is broken before it. Those of an older turn lie behind the younger ones,
/// and none of them is younger than `folded_seq`: a page is overwritten only when everything in it is safe.
pub(super) fn read(page: &[u8], folded_seq: u64) -> Reading {
    let mut reading = Reading::default();
    let mut is_broken = false;
    for line in page.split_inclusive(|byte| *byte == b'\n') {
        let Some((record, is_clean)) = line.strip_suffix(b"\n").and_then(read_anywhere) else {
            is_broken = true;
            reading.is_torn |= seq_of(line).is_some_and(|seq| seq > folded_seq && seq - folded_seq < SEQ_GAP);
            continue;
        };
        if record.seq > folded_seq {
            reading.has_holes |= is_broken || !is_clean;
            reading.is_torn = false;
            reading.records.push(record);
        }
        is_broken = false;
    }
    reading
}

/// How many records from `first_seq` on a page holds.
pub(super) fn count(page: &[u8], first_seq: u64) -> u64 {
    read(page, first_seq.saturating_sub(1)).records.len() as u64
}

fn read_line(line: &[u8]) -> Option<Record> {
    let (crc, rest) = line.split_at_checked(CRC_CHARS)?;
    let rest = rest.strip_prefix(b" ")?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    if crc32fast::hash(rest) != crc {
        return None;
    }
    let mut parts = std::str::from_utf8(rest).ok()?.splitn(4, ' ');
    Some(Record {
        seq: parts.next()?.parse().ok().filter(|seq| *seq < SEQ_MAX)?,
        kind: Kind::named(parts.next()?)?,
        call: parts.next()?.parse().ok()?,
        json: parts.next()?.into(),
    })
}

/// At the start of a line, or behind one that has lost its end.
fn read_anywhere(line: &[u8]) -> Option<(Record, bool)> {
    if let Some(record) = read_line(line) {
        return Some((record, true));
    }
    let spaces = memchr::memchr_iter(b' ', line).filter(|at| *at > CRC_CHARS);
    let behind = spaces.map(|at| &line[at - CRC_CHARS..]).find_map(read_line);
    behind.map(|record| (record, false))
}

fn seq_of(line: &[u8]) -> Option<u64> {
    let mut parts = line.split(|byte| *byte == b' ').skip(1);
    std::str::from_utf8(parts.next()?).ok()?.parse().ok()
}
