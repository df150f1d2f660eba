//! Reads logs line by line from where the last import ended, in pages that the database takes one by one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use domain::time::Timestamp;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::line::{self, Place};
use super::observing::Observation;
use super::told::AllTold;
use super::tree::{self, Log};
use super::{ImportReport, PAGE_TOLD, Progress};

/// A longer line is passed over.
const LINE_BYTES_MAX: usize = 16 << 20;

const BUFFER_BYTES: usize = 256 << 10;

/// Bytes of logs that a page stands for, where they tell of few calls.
const PAGE_BYTES: u64 = 64 << 20;

/// Clocks differ; what is further ahead has not happened.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// By so much of what was read a log is known again.
const TAIL_BYTES: u64 = 256;

/// What was read and where it ended, for one transaction.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) told: AllTold,
    pub(super) seen: Vec<Observation>,
    pub(super) files: Vec<FileRead>,
    pub(super) progress: Progress,
}

/// How far a log was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileRead {
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) modified: i64,
    pub(crate) tail: [u8; 16],
}

/// Nobody takes the pages any more.
struct Stopped;

struct Reader<'a> {
    pages: &'a mpsc::Sender<Page>,
    page: Page,
    /// What was read before this page.
    page_from: u64,
    bytes_total: u64,
    latest: Timestamp,
    report: ImportReport,
}

/// Reads all of it, unless nobody takes the pages any more.
pub(super) fn read(
    paths: &[PathBuf],
    known: HashMap<String, FileRead>,
    now: Timestamp,
    pages: &mpsc::Sender<Page>,
) -> ImportReport {
    let found = tree::logs(paths);
    let mut report = ImportReport { files: found.logs.len() as u64, ..ImportReport::default() };
    report.skipped.links = found.links.len() as u64;
    report.skipped.files = found.closed.len() as u64;
    found.links.iter().for_each(|link| report.name(|| format!("{}: a link, not followed", link.display())));
    found.closed.into_iter().for_each(|closed| report.name(|| closed));
    let new: Vec<(&Log, Option<&FileRead>)> = found
        .logs
        .iter()
        .map(|log| (log, known.get(&log.name)))
        .filter(|(log, known)| known.is_none_or(|known| known.offset != log.size || known.modified != log.modified))
        .collect();
    let left =
        |(log, known): &(&Log, Option<&FileRead>)| log.size.saturating_sub(known.map_or(0, |known| known.offset));
    let bytes_total = new.iter().map(left).sum();
    let latest = now.after(AHEAD_MAX);
    let mut reader = Reader { pages, page: Page::default(), page_from: 0, bytes_total, latest, report };
    for (log, known) in new {
        if reader.log(log, known).is_err() {
            return reader.report;
        }
    }
    // One who has gone wants no more pages.
    let _ = reader.turn();
    reader.report
}

impl Reader<'_> {
    /// A log that can't be read is named, and the others go on.
    fn log(&mut self, log: &Log, known: Option<&FileRead>) -> Result<(), Stopped> {
        self.report.files_read += 1;
        match File::open(&log.path).and_then(|mut file| Ok((start(&mut file, known)?, file))) {
            Ok((from, file)) => self.lines(log, file, from),
            Err(error) => {
                self.failed(log, &error);
                Ok(())
            }
        }
    }

    fn failed(&mut self, log: &Log, error: &io::Error) {
        self.report.skipped.files += 1;
        self.report.name(|| format!("{}: {error}", log.name));
    }

    fn lines(&mut self, log: &Log, file: File, from: u64) -> Result<(), Stopped> {
        let place = Place { file: &log.name, subagent: log.subagent.as_deref() };
        let mut lines = Lines::new(file, from);
        // What was read before was a log.
        let (mut is_log, before_it) = (!log.is_named || from > 0, self.report.lines);
        loop {
            let before = lines.offset;
            let is_last = match lines.next() {
                Ok(Some(line)) => {
                    is_log = is_log || line.is_of_log();
                    self.line(&line, &place)
                }
                Ok(None) => true,
                Err(error) => {
                    self.failed(log, &error);
                    true
                }
            };
            self.report.bytes += lines.offset - before;
            if is_last {
                break;
            }
            if self.page.told.len() >= PAGE_TOLD || self.report.bytes - self.page_from >= PAGE_BYTES {
                self.note(log, &mut lines);
                self.turn()?;
            }
        }
        if !is_log {
            self.report.skipped.files += u64::from(self.report.lines > before_it);
            self.report.name(|| format!("{}: none of its lines is one of a Claude Code log", log.name));
        }
        self.note(log, &mut lines);
        Ok(())
    }

    /// Is it the last one? A torn line may be whole all the same: it is taken in, and read again when it has its end.
    fn line(&mut self, line: &Line<'_>, place: &Place<'_>) -> bool {
        self.report.lines += 1;
        let (at, bytes, is_torn) = match line {
            Line::Whole(at, bytes) => (at, bytes, false),
            Line::Torn(at, bytes) => (at, bytes, true),
            Line::TooLong(at) => {
                self.report.skipped.too_long += 1;
                self.pass_over(place, *at, "it is longer than 16 MiB");
                return false;
            }
        };
        match line::read(bytes, place, self.latest) {
            line::Read::Call(told) => self.page.told.add(*told),
            line::Read::NoCall => {}
            line::Read::LimitReached(seen) => {
                self.report.limits_reached += 1;
                self.page.seen.push(seen);
            }
            line::Read::Unreadable(_) if is_torn => self.report.skipped.torn += 1,
            line::Read::FromTheFuture => {
                self.report.skipped.from_the_future += 1;
                self.pass_over(place, *at, "it comes from the future");
            }
            line::Read::Unreadable(reason) => {
                self.report.skipped.unreadable += 1;
                self.pass_over(place, *at, &reason);
            }
        }
        is_torn
    }

    fn pass_over(&mut self, place: &Place<'_>, at: u64, reason: &str) {
        self.report.name(|| format!("{}: the line at byte {at} is passed over: {reason}", place.file));
    }

    /// Where this log is, for the page that is made.
    fn note(&mut self, log: &Log, lines: &mut Lines<File>) {
        let offset = lines.offset;
        match tail(&mut lines.from, offset) {
            Ok(tail) => {
                self.page.files.push(FileRead { path: log.name.clone(), offset, modified: log.modified, tail });
            }
            // It will be read anew, and nothing counts twice.
            Err(error) => self.failed(log, &error),
        }
    }

    fn turn(&mut self) -> Result<(), Stopped> {
        self.page_from = self.report.bytes;
        let mut page = std::mem::take(&mut self.page);
        page.progress = Progress { bytes: self.report.bytes, bytes_total: self.bytes_total, calls: 0 };
        self.pages.blocking_send(page).map_err(|_| Stopped)
    }
}

/// Where to go on: behind what was read, if that is still what stands there.
fn start(file: &mut File, known: Option<&FileRead>) -> io::Result<u64> {
    let Some(known) = known else { return Ok(0) };
    let is_same = file.metadata()?.len() >= known.offset && tail(file, known.offset)? == known.tail;
    let from = if is_same { known.offset } else { 0 };
    file.seek(SeekFrom::Start(from))?;
    Ok(from)
}

/// The hash of what stands before `offset`. Leaves the file where it was.
fn tail(file: &mut File, offset: u64) -> io::Result<[u8; 16]> {
    let back = file.stream_position()?;
    file.seek(SeekFrom::Start(offset.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(offset.min(TAIL_BYTES)).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(back))?;
    let hash = Sha256::digest(&bytes);
    Ok(std::array::from_fn(|i| hash[i]))
}

enum Line<'a> {
    Whole(u64, &'a [u8]),
    /// The last one, without its end.
    Torn(u64, &'a [u8]),
    TooLong(u64),
}

impl Line<'_> {
    fn is_of_log(&self) -> bool {
        match self {
            Line::Whole(_, bytes) | Line::Torn(_, bytes) => {
                bytes.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
            }
            Line::TooLong(_) => false,
        }
    }
}

/// The lines of a file, never more than one of them in memory.
struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// What is in the buffer and not yet told.
    start: usize,
    end: usize,
    /// Where the next line starts in the file.
    offset: u64,
}

impl<R: Read> Lines<R> {
    fn new(from: R, offset: u64) -> Lines<R> {
        Lines { from, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, offset }
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let at = self.offset;
        let mut searched = self.start;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let line = self.start..searched + found;
                self.start = line.end + 1;
                self.offset += (line.len() + 1) as u64;
                let is_too_long = line.len() > LINE_BYTES_MAX;
                return Ok(Some(if is_too_long { Line::TooLong(at) } else { Line::Whole(at, &self.buffer[line]) }));
            }
            let length = self.end - self.start;
            if length > LINE_BYTES_MAX {
                self.pass_over()?;
                return Ok(Some(Line::TooLong(at)));
            }
            let got = self.fill()?;
            if got == 0 {
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((!line.is_empty()).then(|| Line::Torn(at, &self.buffer[line])));
            }
            searched = self.start + length;
        }
    }

    /// Makes room behind what is held, and reads into it.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let got = loop {
            match self.from.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got?,
            }
        };
        self.end += got;
        Ok(got)
    }

    /// Up to the end of a line that is too long to be held.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                self.start += found + 1;
                self.offset += (found + 1) as u64;
                return Ok(());
            }
            self.offset += (self.end - self.start) as u64;
            (self.start, self.end) = (0, 0);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }
}
