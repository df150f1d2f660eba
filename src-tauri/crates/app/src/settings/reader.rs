//! Reads a TOML page section by section and keeps, for each thing that is wrong, its line and one sentence.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong, where, and what would be right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Wrong {
    pub line: usize,
    pub reason: String,
}

/// The text of a page and what was found wrong on it.
pub(super) struct Page<'t> {
    text: &'t str,
    wrongs: RefCell<Vec<Wrong>>,
}

impl<'t> Page<'t> {
    pub(super) fn new(text: &'t str) -> Page<'t> {
        Page { text, wrongs: RefCell::default() }
    }

    pub(super) fn note(&self, at: &Range<usize>, reason: String) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        self.wrongs.borrow_mut().push(Wrong { line, reason });
    }

    pub(super) fn into_wrongs(self) -> Vec<Wrong> {
        let mut wrongs = self.wrongs.into_inner();
        wrongs.sort();
        wrongs
    }
}

/// What a value must be: how it is read, and how it looks when it is right.
pub(super) struct Kind<T> {
    pub(super) example: &'static str,
    pub(super) read: fn(&DeValue<'_>) -> Result<T, String>,
}

/// A table of the page. It remembers which keys were asked for, so that `end` finds those that nobody knows.
pub(super) struct Section<'p, 't> {
    page: &'p Page<'t>,
    /// As written: `[gateway]`, `[[upstream]]`; empty at the top.
    title: String,
    at: Range<usize>,
    table: Option<&'p DeTable<'t>>,
    known: RefCell<Vec<&'static str>>,
}

impl<'p, 't> Section<'p, 't> {
    pub(super) fn top(page: &'p Page<'t>, table: &'p Spanned<DeTable<'t>>) -> Section<'p, 't> {
        Section::new(page, String::new(), table.span(), Some(table.get_ref()))
    }

    fn new(page: &'p Page<'t>, title: String, at: Range<usize>, table: Option<&'p DeTable<'t>>) -> Section<'p, 't> {
        Section { page, title, at, table, known: RefCell::default() }
    }

    fn value(&self, key: &'static str) -> Option<&'p Spanned<DeValue<'t>>> {
        self.known.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// The value of a key; `None` where it is absent, or wrong and noted.
    pub(super) fn get<T>(&self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        let value = self.value(key)?;
        let wrong = |reason: String| self.page.note(&value.span(), self.sentence(key, &reason, kind.example));
        (kind.read)(value.get_ref()).map_err(wrong).ok()
    }

    /// As `get`, but absence is wrong too.
    pub(super) fn need<T>(&self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        if self.value(key).is_none() {
            self.wrong_here(&format!("{} needs {key}, for example {key} = {}", self.title, kind.example));
        }
        self.get(key, kind)
    }

    fn sentence(&self, key: &str, reason: &str, example: &str) -> String {
        format!("{key} in {} {reason}, for example {key} = {example}", self.title)
    }

    /// Notes what is wrong with a key that was read, beyond its own form.
    pub(super) fn wrong(&self, key: &'static str, reason: &str) {
        let at = self.value(key).map_or(self.at.clone(), Spanned::span);
        self.page.note(&at, format!("{key} in {} {reason}", self.title));
    }

    /// Notes what is wrong with the section as a whole.
    pub(super) fn wrong_here(&self, reason: &str) {
        self.page.note(&self.at, reason.to_owned());
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A `[table]`; empty where it is absent.
    pub(super) fn table(&self, key: &'static str) -> Section<'p, 't> {
        let title = format!("[{key}]");
        match self.value(key).map(|value| (value.span(), value.get_ref())) {
            None => Section::new(self.page, title, self.at.clone(), None),
            Some((at, DeValue::Table(table))) => Section::new(self.page, title, at, Some(table)),
            Some((at, DeValue::Array(_))) => {
                self.misshapen(key, at, &format!("write [{key}], not [[{key}]]: there is one"))
            }
            Some((at, _)) => {
                self.misshapen(key, at, &format!("{key} is a section: write [{key}] on a line of its own"))
            }
        }
    }

    fn misshapen(&self, key: &str, at: Range<usize>, reason: &str) -> Section<'p, 't> {
        self.page.note(&at, reason.to_owned());
        Section::new(self.page, format!("[{key}]"), at, None)
    }

    /// All `[[tables]]` of a name; `title` is how they are written.
    pub(super) fn tables(&self, key: &'static str, title: &str) -> Vec<Section<'p, 't>> {
        let Some(value) = self.value(key) else { return vec![] };
        let expected =
            |at: &Range<usize>| self.page.note(at, format!("write {title} with double brackets: there may be several"));
        let DeValue::Array(items) = value.get_ref() else {
            expected(&value.span());
            return vec![];
        };
        let item = |item: &'p Spanned<DeValue<'t>>| match item.get_ref().as_table() {
            Some(table) => Some(Section::new(self.page, title.to_owned(), item.span(), Some(table))),
            None => {
                expected(&item.span());
                None
            }
        };
        items.iter().filter_map(item).collect()
    }

    /// Each key and value of a table whose keys are the user's own.
    pub(super) fn free(&self, key: &'static str) -> Vec<(Range<usize>, &'p str, &'p DeValue<'t>)> {
        let table = self.value(key).and_then(|value| value.get_ref().as_table());
        let entries = table.into_iter().flat_map(DeTable::iter);
        entries.map(|(key, value)| (key.span(), key.get_ref().as_ref(), value.get_ref())).collect()
    }

    pub(super) fn note(&self, at: &Range<usize>, reason: String) {
        self.page.note(at, reason);
    }

    /// Every key was asked for: what is left over, nobody knows.
    pub(super) fn end(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                self.page.note(&key.span(), unknown(&self.title, name, &known));
            }
        }
    }
}

fn unknown(title: &str, name: &str, known: &[&'static str]) -> String {
    let what = if title.is_empty() { format!("there is no [{name}]") } else { format!("{title} has no key {name}") };
    match nearest(name, known) {
        Some(near) if title.is_empty() => format!("{what}; did you mean [{near}]?"),
        Some(near) => format!("{what}; did you mean {near}?"),
        None => format!("{what}; it knows {}", listed(known)),
    }
}

/// The known name that a slip of the fingers would turn into `name`.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let close = |candidate: &&&str| strsim::jaro_winkler(name, candidate) > 0.8;
    let score = |candidate: &&&str| (strsim::jaro_winkler(name, candidate) * 1e6) as u32;
    known.iter().filter(close).max_by_key(score).copied()
}

fn listed(known: &[&'static str]) -> String {
    let mut names = known.to_vec();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
