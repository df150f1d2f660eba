//! Amounts hidden on request, where no page can hide them: in the tray and on the desktop.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Kept in the data folder, so that it holds after a restart and for every process.
#[derive(Clone, Debug)]
pub struct Veil {
    /// Its presence hides.
    file: PathBuf,
}

const FILE: &str = "amounts-hidden";
/// In place of digits, however many there are.
const VEILED: &str = "•••";

impl Veil {
    pub fn of(data_dir: &Path) -> Veil {
        Veil { file: data_dir.join(FILE) }
    }

    pub fn is_drawn(&self) -> bool {
        self.file.exists()
    }

    pub fn draw(&self, on: bool) -> io::Result<()> {
        let done = if on {
            OpenOptions::new().write(true).create(true).truncate(true).open(&self.file).map(drop)
        } else {
            fs::remove_file(&self.file)
        };
        done.or_else(|error| if error.kind() == io::ErrorKind::NotFound && !on { Ok(()) } else { Err(error) })
    }

    /// The text as it may be seen now.
    pub fn over(&self, text: &str) -> String {
        let [text] = self.over_all([text.to_owned()]);
        text
    }

    pub fn over_all<const N: usize>(&self, texts: [String; N]) -> [String; N] {
        if self.is_drawn() { texts.map(|text| veiled(&text)) } else { texts }
    }
}

/// No digit of a dollar amount is left.
fn veiled(text: &str) -> String {
    let mut parts = text.split('$');
    let mut veiled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        veiled.push('$');
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-'));
        let amount = &part[..part.len() - rest.len()];
        if amount.contains(|c: char| c.is_ascii_digit()) {
            veiled += VEILED;
            // A full stop or comma after it belongs to the sentence.
            veiled += &amount[amount.trim_end_matches(['.', ',', '-']).len()..];
        } else {
            veiled += amount;
        }
        veiled += rest;
    }
    veiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_of_an_amount_is_left_and_every_other_word_is() {
        for (text, expected) in [
            ("Today $18.42", "Today $•••"),
            ("$1,234.56 of $2,000, until Monday 00:00", "$••• of $•••, until Monday 00:00"),
            ("You have spent $0.0021. A call waits 3.2 s.", "You have spent $•••. A call waits 3.2 s."),
            ("about -$4 and US$5 in 2026", "about -$••• and US$••• in 2026"),
            ("$ and $HOME cost nothing, 76 %", "$ and $HOME cost nothing, 76 %"),
        ] {
            assert_eq!(veiled(text), expected);
        }
    }

    #[test]
    fn it_is_drawn_until_it_is_taken_away_and_again_does_no_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let veil = Veil::of(folder.path());
        for on in [false, true, true, false, false] {
            veil.draw(on).expect("kept");
            assert_eq!(Veil::of(folder.path()).is_drawn(), on);
            assert_eq!(veil.over("$5"), if on { "$•••" } else { "$5" });
        }
    }
}
