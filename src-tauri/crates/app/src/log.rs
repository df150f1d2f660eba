//! What the program says of itself, on stderr. Never a body, a key or a token; a net takes what slips through.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::time::Instant;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock;

/// How much is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loudness {
    /// Errors.
    Quiet,
    /// Warnings too.
    Normal,
    /// What it does.
    Verbose,
    /// Each step.
    Chatty,
}

/// Once per process; a second time does nothing.
pub fn start(loudness: Loudness) {
    let level = match loudness {
        Loudness::Quiet => Level::ERROR,
        Loudness::Normal => Level::WARN,
        Loudness::Verbose => Level::INFO,
        Loudness::Chatty => Level::DEBUG,
    };
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false).with_writer(Net);
    // A second start finds the first one's subscriber in place.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
    // What panics say goes through the net too.
    std::panic::set_hook(Box::new(|panic| {
        note_failure();
        tracing::error!("a part of Tidegate failed, report it: {panic}");
    }));
}

/// Panics of this process: each has ended the call or the task in which it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failures {
    pub count: u64,
    /// Of those the last ones, with less than `LATELY` from one to the next.
    pub lately: u64,
    pub last: Instant,
}

/// One that is longer ago is old news.
pub const LATELY: Duration = Duration::from_secs(3_600);

static FAILURES: Mutex<Option<Failures>> = Mutex::new(None);

/// `None` where all is well, and before `start`.
pub fn failures() -> Option<Failures> {
    *FAILURES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note_failure() {
    let last = clock::now().instant;
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = failures.filter(|failures| last.since(failures.last) < LATELY);
    let count = failures.map_or(0, |failures| failures.count) + 1;
    *failures = Some(Failures { count, lately: fresh.map_or(0, |failures| failures.lately) + 1, last });
}

/// Whether only what fails is to be said.
pub fn is_quiet() -> bool {
    !tracing::enabled!(Level::WARN)
}

/// Writes lines to stderr with everything that looks like a secret taken out. A line that stderr doesn't take, because
/// it is a file on a full disk or a pipe that was closed, is lost: a failure told of would end the task that has logged.
struct Net;

impl<'a> MakeWriter<'a> for Net {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line
    }
}

struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let _ = io::stderr().write_all(redacted(&line).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

const MARKS: [&str; 3] = ["sk-ant-", "tg-", "Bearer "];
/// Shorter texts after a mark are words, not secrets.
const SECRET_LEN_MIN: usize = 16;

/// The line without what looks like a key or a token, and without control characters that move a terminal.
pub fn redacted(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((at, mark)) = first_mark(rest) {
        let after = &rest[at + mark.len()..];
        let secret_len =
            after.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.~+/=".contains(c))).unwrap_or(after.len());
        clean.push_str(&rest[..at + mark.len()]);
        if secret_len < SECRET_LEN_MIN {
            clean.push_str(&after[..secret_len]);
        } else {
            clean.push('…');
        }
        rest = &after[secret_len..];
    }
    clean.push_str(rest);
    clean.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn first_mark(text: &str) -> Option<(usize, &'static str)> {
    MARKS.iter().filter_map(|mark| text.find(mark).map(|at| (at, *mark))).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_never_gets_through() {
        for (line, expected) in [
            ("key sk-ant-api03-0123456789abcdef!", "key sk-ant-…!"),
            ("Bearer tg-0123456789abcdef0123 and tg-0123456789abcdef0123", "Bearer … and tg-…"),
            ("tg-1 is no token", "tg-1 is no token"),
            ("a\u{1b}[31mred\n", "a\u{fffd}[31mred\n"),
        ] {
            assert_eq!(redacted(line), expected);
        }
    }
}
