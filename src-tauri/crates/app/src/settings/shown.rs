//! The settings file as forms: each section with its fields, as the file writes them. No secret is among it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml_edit::{Document, Item, TableLike};
use ts_rs::TS;

use super::editing::{self, count, nth};
use super::fields::{self, Form, Section};
use super::{KeyRef, PresetView, Wrong, presets};
use crate::log::redacted;

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingsView {
    pub file: String,
    /// Of the file as it is shown: goes with what is changed of it.
    pub hash: String,
    /// Of several, each that is written.
    pub sections: Vec<SettingsSectionView>,
    /// What is wrong with the file as it is.
    pub wrong: Vec<SettingWrongView>,
    /// Where to begin.
    pub presets: Vec<PresetView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingsSectionView {
    /// `gateway`, `upstream.windows`
    pub name: String,
    /// As a change names it: `gateway`, `budget[#1]`
    pub path: String,
    /// The key by which one of several is known; null where there is one.
    pub id: Option<String>,
    pub is_written: bool,
    /// A running gateway takes a change of it at once.
    pub is_live: bool,
    pub help: String,
    pub fields: Vec<SettingFieldView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingFieldView {
    pub path: String,
    pub key: String,
    /// `text`, `duration`, `reference`, `switch`, `choice`, `money`, `part`, `number`, `texts`, `numbers`, `pairs`
    pub form: String,
    pub choices: Vec<String>,
    /// As the file writes it, without quotes; null where it doesn't.
    pub value: Option<String>,
    /// What holds where it is not written; empty: nothing.
    pub default: String,
    pub unit: String,
    pub range: String,
    pub help: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SettingWrongView {
    /// 0: the whole file.
    pub line: u32,
    pub reason: String,
}

impl From<&Wrong> for SettingWrongView {
    fn from(wrong: &Wrong) -> SettingWrongView {
        SettingWrongView { line: u32::try_from(wrong.line).unwrap_or_default(), reason: wrong.reason.clone() }
    }
}

/// `wrong` is what the door says of the text.
pub(crate) fn shown(file: &Path, text: &str, wrong: &[Wrong]) -> SettingsView {
    let page = Document::parse(text).ok();
    let mut sections = vec![];
    for section in fields::SECTIONS {
        let item = page.as_ref().and_then(|page| page.as_table().get(section.name));
        show(section, "", section.name, item, &mut sections);
    }
    SettingsView {
        file: file.display().to_string(),
        hash: editing::hash(text),
        sections,
        wrong: wrong.iter().map(SettingWrongView::from).collect(),
        presets: presets(),
    }
}

fn show(section: &Section, above: &str, name: &str, item: Option<&Item>, into: &mut Vec<SettingsSectionView>) {
    if section.id.is_none() {
        let path = format!("{above}{}", section.name);
        into.push(view(section, name, &path, item.and_then(Item::as_table_like)));
        return;
    }
    let Some(item) = item else { return };
    for place in 0..count(item) {
        let path = format!("{above}{}[#{}]", section.name, place + 1);
        let table = nth(item, place);
        into.push(view(section, name, &path, table));
        for inner in section.inner {
            let item = table.and_then(|table| table.get(inner.name));
            show(inner, &format!("{path}."), &format!("{name}.{}", inner.name), item, into);
        }
    }
}

fn view(section: &Section, name: &str, path: &str, table: Option<&dyn TableLike>) -> SettingsSectionView {
    let field = |field: &fields::Field| SettingFieldView {
        path: format!("{path}.{}", field.key),
        key: field.key.to_owned(),
        form: field.form.name().to_owned(),
        choices: match field.form {
            Form::Choice(choices) => choices.iter().map(|choice| (*choice).to_owned()).collect(),
            Form::Text
            | Form::Duration
            | Form::Reference
            | Form::Switch
            | Form::Usd
            | Form::Part
            | Form::Count(..)
            | Form::Texts
            | Form::Figures
            | Form::Pairs => vec![],
        },
        value: table.and_then(|table| table.get(field.key)).map(|item| words(field.form, item)),
        default: field.default.to_owned(),
        unit: field.form.unit().to_owned(),
        range: field.form.range().to_owned(),
        help: field.help.to_owned(),
    };
    SettingsSectionView {
        name: name.to_owned(),
        path: path.to_owned(),
        id: section.id.map(str::to_owned),
        is_written: table.is_some(),
        is_live: section.is_live,
        help: section.help.to_owned(),
        fields: section.fields.iter().map(field).collect(),
    }
}

/// A secret that stands in the file in spite of all is not repeated.
fn words(form: Form, item: &Item) -> String {
    let Some(value) = item.as_value() else { return ELSEWHERE.to_owned() };
    let words = editing::shown(value);
    // The address of a proxy may hold a password.
    let is_secret = (form == Form::Reference && KeyRef::parse(&words).is_err())
        || (form == Form::Text && words.contains("://") && words.contains('@'));
    if is_secret { HIDDEN.to_owned() } else { redacted(&words) }
}

const HIDDEN: &str = "(hidden)";
const ELSEWHERE: &str = "(a section of its own)";
