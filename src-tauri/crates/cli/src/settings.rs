//! `tidegate settings`: the settings file, shown and changed as a person would, through the app that runs on the folder or here.

use std::process::ExitCode;

use app::api::{Answer, ApiError, Command};
use app::control::Desk;
use app::data;
use app::folder::{self, Entered};
use app::settings::{self, SettingChange, SettingsSetView, SettingsView};

use crate::args::Settings;
use crate::table::{clean, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, act: Settings) -> anyhow::Result<ExitCode> {
    let change = |path: String, value| vec![SettingChange { path, value }];
    match act {
        Settings::Show(shape) => {
            let Answer::Settings(view) = ask(place, Command::SettingsShow).await? else { return Err(unexpected()) };
            if shape.json {
                print_json(&view)?
            } else {
                print(&shown(&view))?
            }
            Ok(ExitCode::SUCCESS)
        }
        Settings::Set { path, value } => set(place, change(path, Some(value))).await,
        Settings::Preset { name, dry_run } => preset(place, &name, dry_run).await,
        Settings::Unset { path } => set(place, change(path, None)).await,
    }
}

async fn preset(place: &Place, name: &str, dry_run: bool) -> anyhow::Result<ExitCode> {
    let presets = settings::presets();
    let Some(preset) = presets.iter().find(|preset| preset.name == name) else {
        let names: Vec<&str> = presets.iter().map(|preset| &*preset.name).collect();
        return Err(ApiError::asker(format!("no preset is named {name:?}: there are {}", names.join(", "))).into());
    };
    let line = |change: &SettingChange| {
        format!("tidegate settings set {} {:?}\n", change.path, change.value.as_deref().unwrap_or_default())
    };
    if dry_run {
        let lines: String = preset.changes.iter().map(line).collect();
        print(&format!("# {}: {}\n{lines}", preset.title, preset.help))?;
        return Ok(ExitCode::SUCCESS);
    }
    set(place, preset.changes.clone()).await
}

async fn set(place: &Place, changes: Vec<SettingChange>) -> anyhow::Result<ExitCode> {
    let command = Command::SettingsSet { changes, hash: None };
    let Answer::SettingsSet(view) = ask(place, command).await? else { return Err(unexpected()) };
    match refusal(&view) {
        Some(reason) => Err(ApiError::asker(reason).into()),
        None => {
            tell(&format!("{} is as you want it\n", view.file));
            tell(&waits(place).await);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn refusal(view: &SettingsSetView) -> Option<String> {
    let line = |line: Option<u32>| line.map(|line| format!(" line {line}")).unwrap_or_default();
    let refused = view.refused.iter().map(|one| format!("{}{}: {}", view.file, line(one.line), one.reason));
    let reasons: Vec<String> = refused.collect();
    (!reasons.is_empty()).then(|| format!("nothing was changed: {}", reasons.join("; ")))
}

/// The settings need not be right to be shown and mended.
async fn ask(place: &Place, command: Command) -> anyhow::Result<Answer> {
    let schemes = data::schemes()?;
    let file = &place.settings;
    let _held = match folder::enter(&place.data_dir)? {
        Entered::Running(instance) => return Ok(Desk::There(instance).ask(command).await?),
        Entered::Alone(folder) => folder,
    };
    if let Command::SettingsSet { changes, hash } = &command {
        return Ok(Answer::SettingsSet(settings::change(file, changes, hash.as_deref(), &schemes)?));
    }
    Ok(Answer::Settings(Box::new(settings::show(file, &schemes)?)))
}

/// What a running gateway has not taken.
async fn waits(place: &Place) -> String {
    let Ok(Entered::Running(instance)) = folder::enter(&place.data_dir) else { return String::new() };
    let Ok(Answer::Status(status)) = Desk::There(instance).ask(Command::Status).await else { return String::new() };
    match &status.settings.waits_for_restart[..] {
        [] => "the running gateway goes by it\n".to_owned(),
        waits => format!("these sections wait until the gateway starts again: {}\n", waits.join(", ")),
    }
}

fn shown(view: &SettingsView) -> String {
    let mut text = format!("{}\n", clean(&view.file));
    for wrong in &view.wrong {
        text += &format!("! line {}: {}\n", wrong.line, clean(&wrong.reason));
    }
    for section in &view.sections {
        let rows = section.fields.iter().filter(|field| section.id.is_none() || field.value.is_some()).map(|field| {
            let value = field.value.as_deref().unwrap_or(&field.default);
            let note = if field.value.is_some() { "" } else { "default" };
            vec![words(&field.path), words(value), words(note), words(&field.help)]
        });
        text +=
            &format!("\n{}\n{}", clean(&section.help), table(&["setting", "value", "", ""], &rows.collect::<Vec<_>>()));
    }
    text
}

/// What is wrong with the settings, or waits, as `tidegate status` says it.
pub(crate) fn state(status: &app::view::StatusView) -> String {
    let settings = &status.settings;
    match (&settings.problem, &settings.waits_for_restart[..]) {
        (Some(problem), _) => {
            format!(
                "! the settings file is wrong, the old settings stay in force: line {}: {}\n",
                problem.line,
                clean(&problem.reason)
            )
        }
        (None, []) => String::new(),
        (None, waits) => format!("! settings wait until the gateway starts again: {}\n", waits.join(", ")),
    }
}
