//! How one setting is named: `alerts.token_warning`, `budget[scope=client:ci].daily_usd`, `upstream[#1].windows[name=week].limit_usd`.

use std::fmt;

/// From the top of the file down to a key, or to one of several sections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SettingPath {
    pub(crate) sections: Vec<Step>,
    pub(crate) last: Step,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) key: String,
    pub(crate) pick: Option<Pick>,
}

/// Which of several sections of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    /// The one of which a key has this value.
    Where { key: String, is: String },
    /// By its place, from 1.
    At(usize),
}

const FORM: &str = "is no path: write section.key, or section[name=VALUE].key where there are several";
const LENGTH_MAX: usize = 1_000;
const DEPTH_MAX: usize = 3;

impl SettingPath {
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn parse(text: &str) -> Result<SettingPath, &'static str> {
        if text.len() > LENGTH_MAX {
            return Err("is too long for a path");
        }
        let (mut sections, mut rest) = (vec![], text);
        loop {
            let (last, after) = Step::parse(rest)?;
            rest = match after.strip_prefix('.') {
                Some(after) if sections.len() + 1 < DEPTH_MAX => after,
                None if after.is_empty() => return Ok(SettingPath { sections, last }),
                Some(_) | None => return Err(FORM),
            };
            sections.push(last);
        }
    }

    /// Of the sections it leads through.
    pub(crate) fn section_names(&self) -> Vec<&str> {
        self.sections.iter().map(|step| &*step.key).collect()
    }
}

impl Step {
    fn parse(text: &str) -> Result<(Step, &str), &'static str> {
        let end = text.find(|c: char| !is_bare(c)).unwrap_or(text.len());
        let (key, rest) = text.split_at(end);
        if key.is_empty() {
            return Err(FORM);
        }
        let key = key.to_owned();
        match rest.strip_prefix('[') {
            Some(inside) => {
                let (pick, rest) = Pick::parse(inside)?;
                Ok((Step { key, pick: Some(pick) }, rest))
            }
            None => Ok((Step { key, pick: None }, rest)),
        }
    }
}

impl Pick {
    fn parse(text: &str) -> Result<(Pick, &str), &'static str> {
        if let Some(place) = text.strip_prefix('#') {
            let (place, rest) = place.split_once(']').ok_or(FORM)?;
            let place = place.parse().ok().filter(|place| *place > 0);
            return Ok((Pick::At(place.ok_or("names no place: the first is [#1]")?), rest));
        }
        let (key, rest) = text.split_once('=').ok_or(FORM)?;
        if key.is_empty() || !key.chars().all(is_bare) {
            return Err(FORM);
        }
        let (is, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => rest.split_once(']').map(|(is, rest)| (is.to_owned(), rest)).ok_or(FORM)?,
        };
        Ok((Pick::Where { key: key.to_owned(), is }, rest))
    }
}

/// Up to the quote that ends it, and what comes after the bracket.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut is = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => is.push(letters.next().ok_or(FORM)?.1),
            '"' => return text[at + 1..].strip_prefix(']').map(|rest| (is, rest)).ok_or(FORM),
            letter => is.push(letter),
        }
    }
    Err(FORM)
}

const fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

impl fmt::Display for SettingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.sections.iter().chain([&self.last]).enumerate() {
            let dot = if place == 0 { "" } else { "." };
            write!(f, "{dot}{}", step.key)?;
            match &step.pick {
                None => {}
                Some(Pick::At(place)) => write!(f, "[#{place}]")?,
                Some(Pick::Where { key, is }) if is.contains([']', '"', '\\']) => {
                    write!(f, "[{key}=\"{}\"]", is.replace('\\', "\\\\").replace('"', "\\\""))?;
                }
                Some(Pick::Where { key, is }) => write!(f, "[{key}={is}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for text in [
            "alerts.token_warning",
            "budget[scope=client:ci].daily_usd",
            "budget[#2]",
            "upstream[name=anthropic].windows[name=week].limit_usd",
            "budget[scope=\"project:a]b\\\"\\\\\"].hard",
            "budget[scope=tenant:\u{5d0} \u{1f30a}\n=].hard",
        ] {
            let path = SettingPath::parse(text).expect("a path");
            assert_eq!(path.to_string(), text);
        }
        let path = SettingPath::parse("budget[scope=\"a]\\\"b\"].hard").expect("a path");
        assert_eq!(path.sections[0].pick, Some(Pick::Where { key: "scope".into(), is: "a]\"b".into() }));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "", ".", "a.", "a..b", "a b", "a[", "a[]", "a[#0]", "a[#x]", "a[#1", "a[k=v", "a[k=\"v]", "a[=v]",
            "a[k=v]b", "a.b.c.d", "a\n",
        ] {
            assert!(SettingPath::parse(text).is_err(), "{text:?}");
        }
        assert!(SettingPath::parse(&"a".repeat(1_001)).is_err());
    }
}
