//! Changes the settings file as a person would: what isn't changed stays as it was written, comments and order too.
//!
//! What comes of a change goes through the same door as at a start, and is written only where that lets it in.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::tier::Scheme;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml_edit::{Array, ArrayOfTables, Document, DocumentMut, InlineTable, Item, Table, TableLike, Value};
use ts_rs::TS;

use super::fields::{self, Form, Section};
use super::path::{Pick, SettingPath, Step};
use super::{KeyRef, Settings, Wrong, parse, refuse_writable_by_others};
use crate::api::ApiError;
use crate::folder;

/// One setting and what it shall be, in words: without TOML's quotes. `None` takes it out of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct SettingChange {
    /// `alerts.token_warning`, `budget[scope=client:ci].daily_usd`
    pub path: String,
    pub value: Option<String>,
}

/// What became of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingsSetView {
    pub file: String,
    /// Of the file as it is now.
    pub hash: String,
    /// Where there are any, nothing was written.
    pub refused: Vec<RefusedView>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RefusedView {
    /// Of the change whose line it is; null where the whole is wrong.
    pub path: Option<String>,
    /// In the file as it would have been.
    pub line: Option<u32>,
    /// What is wrong, and an example of what is right.
    pub reason: String,
}

const CHANGES_MAX: usize = 200;
const VALUE_MAX: usize = 4_096;

/// The text of a file; empty where there is none.
///
/// # Errors
/// It can't be read.
pub(crate) fn text_of(file: &Path) -> Result<String, ApiError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(ApiError::machine(format!("{} can't be read: {error}", file.display()))),
    }
}

/// By which somebody who was shown a text says which one that was.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes the file, or says why not and leaves it as it is. With `shown`, only where it is still the one that was shown.
///
/// # Errors
/// A path that is none, a file that another has changed or that can't be written.
pub fn change(
    file: &Path,
    changes: &[SettingChange],
    shown: Option<&str>,
    schemes: &[Arc<Scheme>],
) -> Result<SettingsSetView, ApiError> {
    let before = text_of(file)?;
    let view = |hash, refused| SettingsSetView { file: file.display().to_string(), hash, refused };
    if shown.is_some_and(|shown| shown != hash(&before)) {
        return Err(ApiError::machine(
            "the settings file was changed by someone else: look at it again, then change it",
        ));
    }
    refuse_writable_by_others(file).map_err(ApiError::machine)?;
    match edited(&before, changes, schemes)? {
        Ok((text, _)) if text == before => Ok(view(hash(&before), vec![])),
        Ok((text, _)) => {
            write(file, &before, &text)?;
            Ok(view(hash(&text), vec![]))
        }
        Err(refused) => Ok(view(hash(&before), refused)),
    }
}

type Outcome = Result<(String, Settings), Vec<RefusedView>>;

/// The text with its changes and what it means, or what is wrong with that.
///
/// # Errors
/// A path that is none.
pub(crate) fn edited(before: &str, changes: &[SettingChange], schemes: &[Arc<Scheme>]) -> Result<Outcome, ApiError> {
    if changes.len() > CHANGES_MAX {
        return Err(ApiError::asker(format!("at most {CHANGES_MAX} settings are changed at once")));
    }
    let parsed: Result<Vec<Change<'_>>, ApiError> = changes.iter().map(Change::parse).collect();
    let parsed = parsed?;
    let text = match Draft::of(before) {
        Ok(draft) => draft.with(&parsed)?,
        // The door says where it is no TOML.
        Err(()) => before.to_owned(),
    };
    match parse(&text, schemes) {
        Ok(settings) => Ok(Ok((text, settings))),
        Err(wrongs) => {
            let lines = lines(&text, &parsed);
            Ok(Err(wrongs.into_iter().map(|wrong| refused(wrong, &lines)).collect()))
        }
    }
}

/// The mode stays, a link stays a link, and the text of before is kept beside it.
pub(super) fn write(file: &Path, before: &str, text: &str) -> Result<(), ApiError> {
    let target = target(file);
    if let Some(dir) = target.parent() {
        let failed = |error| ApiError::machine(format!("{} can't be made: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    if target.exists() {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".bak");
        folder::replace_like(&file.with_file_name(name), &target, before.as_bytes()).map_err(ApiError::machine)?;
    }
    folder::replace_like(&target, &target, text.as_bytes()).map_err(ApiError::machine)
}

/// Where a link leads, though nothing may be there yet.
fn target(file: &Path) -> PathBuf {
    match (std::fs::canonicalize(file), std::fs::read_link(file)) {
        (Ok(target), _) => target,
        (Err(_), Ok(link)) => file.parent().unwrap_or(Path::new("")).join(link),
        (Err(_), Err(_)) => file.to_owned(),
    }
}

struct Change<'c> {
    written: &'c SettingChange,
    path: SettingPath,
    section: Option<&'static Section>,
}

impl<'c> Change<'c> {
    fn parse(written: &'c SettingChange) -> Result<Change<'c>, ApiError> {
        let wrong = |reason: &str| ApiError::asker(format!("{} {reason}", short(&written.path)));
        let path = SettingPath::parse(&written.path).map_err(wrong)?;
        let section = fields::section(&path.section_names());
        if let Some(value) = &written.value {
            if path.sections.is_empty() || path.last.pick.is_some() {
                return Err(wrong("names a section: name a key of it, such as alerts.token_warning"));
            }
            if value.len() > VALUE_MAX {
                return Err(wrong("is too long: a value has at most 4,096 bytes"));
            }
            let is_reference = section.and_then(|section| section.field(&path.last.key)).map(|field| field.form);
            if is_reference == Some(Form::Reference) && KeyRef::parse(value).is_err() {
                // The value may be the secret itself: it is not repeated.
                return Err(wrong(
                    "must say where the secret is kept (keychain:NAME, env:VAR or file:PATH), never the secret itself",
                ));
            }
        }
        Ok(Change { written, path, section })
    }

    fn form(&self) -> Form {
        self.section.and_then(|section| section.field(&self.path.last.key)).map_or(Form::Text, |field| field.form)
    }
}

/// As much of what somebody sent as a sentence may repeat.
fn short(text: &str) -> String {
    let text: String = text.chars().take(80).collect();
    text.escape_debug().to_string()
}

/// A text that is being changed.
struct Draft {
    page: DocumentMut,
}

impl Draft {
    fn of(text: &str) -> Result<Draft, ()> {
        text.parse().map(|page| Draft { page }).map_err(|_| ())
    }

    /// What is taken out goes last: places are those of the text that was shown.
    fn with(mut self, changes: &[Change<'_>]) -> Result<String, ApiError> {
        for change in changes {
            if let Some(value) = &change.written.value {
                self.set(change, value)?;
            }
        }
        let mut text = self.page.to_string();
        let mut gone: Vec<&SettingPath> =
            changes.iter().filter(|change| change.written.value.is_none()).map(|change| &change.path).collect();
        gone.sort_by_key(|path| std::cmp::Reverse(place(path)));
        for path in gone {
            text = without(text, path)?;
        }
        Ok(text)
    }

    fn set(&mut self, change: &Change<'_>, value: &str) -> Result<(), ApiError> {
        let path = &change.path;
        let last_position = positions(self.page.as_table());
        let trailing = self.page.trailing().as_str().unwrap_or_default().to_owned();
        let knew = self.page.as_table().contains_key(&path.sections[0].key);
        let mut table: &mut dyn TableLike = self.page.as_table_mut();
        let mut names = vec![];
        for step in &path.sections {
            names.push(&*step.key);
            table = entered(table, step, &names, path)?;
        }
        put(table, &path.last.key, written(change.form(), value), path)?;
        if !knew {
            self.append(&path.sections[0].key, last_position, &trailing);
        }
        Ok(())
    }

    /// A new section stands at the end of the file, below the comments there.
    fn append(&mut self, key: &str, after: isize, trailing: &str) {
        let table = match self.page.as_table_mut().get_mut(key) {
            Some(Item::Table(table)) => table,
            Some(Item::ArrayOfTables(tables)) => match tables.get_mut(0) {
                Some(table) => table,
                None => return,
            },
            Some(_) | None => return,
        };
        table.set_position(Some(after + 1));
        let blank = if after == 0 && trailing.is_empty() { "" } else { "\n" };
        table.decor_mut().set_prefix(format!("{trailing}{blank}"));
        self.page.set_trailing("");
    }
}

/// From the last of several on: what is before it keeps its place.
fn place(path: &SettingPath) -> usize {
    let at = |step: &Step| if let Some(Pick::At(place)) = step.pick { Some(place) } else { None };
    path.sections.iter().chain([&path.last]).filter_map(at).next_back().unwrap_or(0)
}

/// The last place of a section in the file.
fn positions(table: &Table) -> isize {
    let own = table.position().unwrap_or_default();
    let of = |item: &Item| match item {
        Item::Table(table) => positions(table),
        Item::ArrayOfTables(tables) => tables.iter().map(positions).max().unwrap_or_default(),
        Item::None | Item::Value(_) => 0,
    };
    table.iter().map(|(_, item)| of(item)).max().unwrap_or_default().max(own)
}

/// The section that a step leads to; one that isn't there is made.
fn entered<'t>(
    table: &'t mut dyn TableLike,
    step: &Step,
    names: &[&str],
    path: &SettingPath,
) -> Result<&'t mut dyn TableLike, ApiError> {
    let no = |reason: String| ApiError::asker(format!("{path}: {reason}"));
    let section = fields::section(names);
    let id = section.and_then(|section| section.id);
    let Some(pick) = &step.pick else {
        if let Some(id) = id {
            return Err(no(format!("there may be several {}: name one, such as {}[{id}=…]", step.key, step.key)));
        }
        let item = table.entry(&step.key).or_insert(Item::Table(Table::new()));
        return item.as_table_like_mut().ok_or_else(|| no(format!("{} is no section in the file", step.key)));
    };
    if section.is_some() && id.is_none() {
        return Err(no(format!("there is one {}: write {}.KEY", step.key, step.key)));
    }
    let item = table.entry(&step.key).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let found = found(item, pick).map_err(no)?;
    let place = match (found, pick) {
        (Some(place), _) => place,
        (None, Pick::At(place)) => return Err(no(format!("there are fewer than {place} {}", step.key))),
        (None, Pick::Where { key, is }) => {
            let form = section.and_then(|section| section.field(key)).map_or(Form::Text, |field| field.form);
            pushed(item, key, written(form, is))
        }
    };
    nth_mut(item, place).ok_or_else(|| no(format!("{} is no section in the file", step.key)))
}

/// The place of the one that is meant, from 0.
fn found(item: &Item, pick: &Pick) -> Result<Option<usize>, String> {
    let count = count(item);
    match pick {
        Pick::At(place) => Ok((*place <= count).then(|| place - 1)),
        Pick::Where { key, is } => {
            let fits = |place: &usize| {
                let value = nth(item, *place).and_then(|table| table.get(key)).and_then(Item::as_value);
                value.is_some_and(|value| shown(value) == *is)
            };
            let found: Vec<usize> = (0..count).filter(fits).collect();
            match found[..] {
                [] => Ok(None),
                [place] => Ok(Some(place)),
                [first, ..] => {
                    Err(format!("several have {key} = {is}: name one by its place, the first as [#{}]", first + 1))
                }
            }
        }
    }
}

pub(super) fn count(item: &Item) -> usize {
    match item {
        Item::ArrayOfTables(tables) => tables.len(),
        Item::Value(Value::Array(array)) => array.len(),
        Item::None | Item::Value(_) | Item::Table(_) => 0,
    }
}

pub(super) fn nth(item: &Item, place: usize) -> Option<&dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.get(place).map(|table| table as &dyn TableLike),
        Item::Value(Value::Array(array)) => array.get(place)?.as_inline_table().map(|table| table as &dyn TableLike),
        Item::None | Item::Value(_) | Item::Table(_) => None,
    }
}

fn nth_mut(item: &mut Item, place: usize) -> Option<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.get_mut(place).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(array)) => {
            array.get_mut(place)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
        }
        Item::None | Item::Value(_) | Item::Table(_) => None,
    }
}

/// A new one after the others, known by one of its keys. Its place.
fn pushed(item: &mut Item, key: &str, value: Value) -> usize {
    match item {
        Item::ArrayOfTables(tables) => {
            let after = tables.iter().map(positions).max();
            let mut table = Table::new();
            table.insert(key, Item::Value(value));
            table.set_position(after);
            tables.push(table);
        }
        Item::Value(Value::Array(array)) => {
            let mut table = InlineTable::new();
            table.insert(key, value);
            array.push(table);
        }
        Item::None | Item::Value(_) | Item::Table(_) => {}
    }
    count(item).saturating_sub(1)
}

/// In place of what was there, beside the same comment.
fn put(table: &mut dyn TableLike, key: &str, mut value: Value, path: &SettingPath) -> Result<(), ApiError> {
    match table.get_mut(key) {
        Some(Item::Value(before)) => {
            *value.decor_mut() = before.decor().clone();
            *before = value;
        }
        Some(Item::Table(_) | Item::ArrayOfTables(_)) => {
            return Err(ApiError::asker(format!("{path} is a section in the file: change it there")));
        }
        Some(Item::None) | None => {
            table.insert(key, Item::Value(value));
        }
    }
    Ok(())
}

/// The value that words mean. What is none of its form stays text, and the door says so.
fn written(form: Form, words: &str) -> Value {
    match form {
        Form::Usd | Form::Part | Form::Count(..) => number(words).unwrap_or_else(|| words.into()),
        Form::Switch => words.parse::<bool>().map_or_else(|_| words.into(), Value::from),
        Form::Texts => array(words, |words| words.into()),
        Form::Figures => array(words, |words| number(words).unwrap_or_else(|| words.into())),
        Form::Pairs => literal(words).filter(Value::is_inline_table).unwrap_or_else(|| words.into()),
        Form::Text | Form::Duration | Form::Reference | Form::Choice(_) => words.into(),
    }
}

/// As written: `0.80` stays `0.80`.
fn number(words: &str) -> Option<Value> {
    let words = words.trim();
    let plain = words.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    literal(words).filter(|value| plain && (value.is_integer() || value.is_float()))
}

/// A list as TOML writes it, or words with commas between them.
fn array(words: &str, item: impl Fn(&str) -> Value) -> Value {
    if let Some(list) = literal(words).filter(Value::is_array) {
        return list;
    }
    let items = words.split(',').map(str::trim).filter(|words| !words.is_empty());
    Value::Array(items.map(item).collect::<Array>())
}

fn literal(words: &str) -> Option<Value> {
    let mut value: Value = words.trim().parse().ok()?;
    value.decor_mut().clear();
    Some(value)
}

/// A value in words, as `written` takes them.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.value().clone(),
        Value::Array(items) => {
            let words: Vec<String> = items.iter().map(shown).collect();
            let is_plain = |words: &String| !words.is_empty() && !words.contains(',') && words.trim() == words;
            match words.iter().all(is_plain) && !words.first().is_some_and(|first| first.starts_with('[')) {
                true => words.join(", "),
                false => bare(value),
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::InlineTable(_) => {
            bare(value)
        }
    }
}

fn bare(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

/// The text without what a path names. Comments above it stay; the one at the end of its line goes with it.
fn without(text: String, path: &SettingPath) -> Result<String, ApiError> {
    let Ok(mut page) = text.parse::<DocumentMut>() else { return Ok(text) };
    if !take(page.as_table_mut(), path).map_err(|reason| ApiError::asker(format!("{path}: {reason}")))? {
        return Ok(text);
    }
    let whole = page.to_string();
    let cut = lines_of(&text, path).map(|lines| cut(&text, lines));
    // Where it is a part of a line, or in pieces, the lines don't say it.
    Ok(cut.filter(|cut| means(cut) == means(&whole)).unwrap_or(whole))
}

fn means(text: &str) -> Option<toml::Table> {
    text.parse().ok()
}

/// `false` where there is no such thing.
fn take(table: &mut Table, path: &SettingPath) -> Result<bool, String> {
    let mut table: &mut dyn TableLike = table;
    for step in &path.sections {
        let Some(item) = table.get_mut(&step.key) else { return Ok(false) };
        let inner = match &step.pick {
            None => item.as_table_like_mut(),
            Some(pick) => match found(item, pick)? {
                Some(place) => nth_mut(item, place),
                None => None,
            },
        };
        match inner {
            Some(inner) => table = inner,
            None => return Ok(false),
        }
    }
    let Some(pick) = &path.last.pick else { return Ok(table.remove(&path.last.key).is_some()) };
    let Some(item) = table.get_mut(&path.last.key) else { return Ok(false) };
    let Some(place) = found(item, pick)? else { return Ok(false) };
    match item {
        Item::ArrayOfTables(tables) => drop(tables.remove(place)),
        Item::Value(Value::Array(array)) => drop(array.remove(place)),
        Item::None | Item::Value(_) | Item::Table(_) => return Ok(false),
    }
    if count(item) == 0 {
        table.remove(&path.last.key);
    }
    Ok(true)
}

/// Of a text: where that is written which a path names.
fn lines_of(text: &str, path: &SettingPath) -> Option<Range<usize>> {
    let page = Document::parse(text).ok()?;
    let mut table: &dyn TableLike = page.as_table();
    for step in &path.sections {
        let item = table.get(&step.key)?;
        table = match &step.pick {
            None => item.as_table_like()?,
            Some(pick) => nth(item, found(item, pick).ok()??)?,
        };
    }
    let (key, item) = table.get_key_value(&path.last.key)?;
    match (&path.last.pick, item) {
        (None, Item::Value(value)) => Some(key.span()?.start..value.span()?.end),
        (None, Item::Table(table)) => extent(table),
        (Some(pick), Item::ArrayOfTables(tables)) => extent(tables.get(found(item, pick).ok()??)?),
        (None | Some(_), _) => None,
    }
}

/// From its header to the end of the last thing in it.
fn extent(table: &Table) -> Option<Range<usize>> {
    let own = table.span()?;
    let end = |item: &Item| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(table) => extent(table).map(|span| span.end),
        Item::ArrayOfTables(tables) => tables.iter().filter_map(extent).map(|span| span.end).max(),
        Item::None => None,
    };
    let end = table.iter().filter_map(|(_, item)| end(item)).max().unwrap_or(own.end).max(own.end);
    Some(own.start..end)
}

/// Without these lines; of two blank ones that come together one stays.
fn cut(text: &str, span: Range<usize>) -> String {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
    let (before, after) = (&text[..start], &text[end..]);
    let is_blank_before = before.is_empty() || before.ends_with("\n\n") || before.ends_with("\n\r\n");
    let after = match (is_blank_before, after.strip_prefix('\n'), after.strip_prefix("\r\n")) {
        (true, Some(rest), _) | (true, None, Some(rest)) => rest,
        (_, _, _) => after,
    };
    let before = if after.is_empty() {
        before.strip_suffix("\n\n").map_or(before, |_| &before[..before.len() - 1])
    } else {
        before
    };
    format!("{before}{after}")
}

/// On which line each change stands.
fn lines(text: &str, changes: &[Change<'_>]) -> Vec<(usize, String)> {
    let line = |change: &Change<'_>| {
        let at = lines_of(text, &change.path)?.start;
        Some((text[..at].matches('\n').count() + 1, change.written.path.clone()))
    };
    changes.iter().filter_map(line).collect()
}

fn refused(wrong: Wrong, lines: &[(usize, String)]) -> RefusedView {
    let path = lines.iter().find(|(line, _)| *line == wrong.line).map(|(_, path)| path.clone());
    RefusedView { path, line: u32::try_from(wrong.line).ok().filter(|line| *line > 0), reason: wrong.reason }
}

#[cfg(test)]
mod tests;
