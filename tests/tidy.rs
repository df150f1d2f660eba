//! The repository tests itself: its walls, its signs, and that what is generated is current.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{Column, Connection, Executor, SqlSafeStr, SqliteConnection, Statement};
use ts_rs::TS;

/// What each crate may know of the others.
const WALLS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("gateway", &["domain"]),
    ("ledger", &["domain"]),
    ("simulator", &["domain"]),
    ("app", &["domain", "gateway", "ledger", "simulator"]),
    ("cli", &["app"]),
    ("desktop", &["app"]),
];

/// Dependencies that have one home.
const HOMES: &[(&str, &[&str])] = &[
    ("tauri", &["desktop"]),
    ("tauri-plugin-single-instance", &["desktop"]),
    ("notify-rust", &["app", "desktop"]),
    ("arboard", &["desktop"]),
    ("sqlx", &["ledger", "tests"]),
    ("keyring", &["app"]),
    ("clap", &["cli", "desktop"]),
];

const IN_REAL_USE: &[&str] = &["tauri", "tokio", "reqwest", "serde", "sqlx", "chrono", "notify-rust", "keyring"];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "rust-toolchain.toml",
    "docs",
    "fuzz",
    "icons",
    "src-tauri",
    "tests",
    "ui",
];

#[test]
fn crates_know_only_whom_they_may() {
    let metadata = metadata();
    let ours: BTreeSet<_> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    for (name, allowed) in WALLS {
        let known = dependencies(&metadata, name).into_iter().filter(|d| ours.contains(d));
        for dependency in known {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
    let named: BTreeSet<_> = WALLS.iter().map(|(name, _)| (*name).to_owned()).chain(["tests".to_owned()]).collect();
    assert_eq!(ours, named, "a crate is missing in WALLS, or gone");
}

#[test]
fn the_rules_depend_on_calendars_and_seeded_chance_alone() {
    for dependency in dependencies(&metadata(), "domain") {
        assert!(
            ["chrono", "chrono-tz", "fastrand"].contains(&dependency.as_str()),
            "domain must not know {dependency}"
        );
    }
}

#[test]
fn what_has_one_home_stays_there() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        for dependency in dependencies(&metadata, &package.name) {
            let home = HOMES.iter().find(|(name, _)| *name == dependency);
            let at_home = home.is_none_or(|(_, homes)| homes.contains(&package.name.as_str()));
            assert!(at_home, "{dependency} does not belong in {}", package.name);
        }
    }
}

#[test]
fn the_named_dependencies_are_in_real_use() {
    let metadata = metadata();
    for wanted in IN_REAL_USE {
        let used = metadata.workspace_packages().iter().any(|package| {
            package.name != "tests"
                && dependencies(&metadata, &package.name).contains(*wanted)
                && mentions(package.manifest_path.parent().expect("a folder").as_std_path(), wanted)
        });
        assert!(used, "no crate depends on {wanted} and uses it");
    }
}

#[test]
fn every_room_has_a_sign() {
    let files = sources(&["src-tauri", "tests"], &["rs"]);
    let unsigned: Vec<_> = files.iter().filter(|file| !read(file).starts_with("//! ")).collect();
    assert!(unsigned.is_empty(), "these files don't start with a line `//! …` that says what they are: {unsigned:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    for file in sources(
        &["src-tauri", "tests", "ui/src", ".ci"],
        &["rs", "ts", "svelte", "py", "mjs", "sh", "toml", "css", "sql"],
    ) {
        let text = read(&file);
        for mark in &marks {
            assert!(!text.contains(mark), "{} says {mark}", file.display());
        }
    }
}

#[test]
fn the_top_level_holds_what_the_readme_promises() {
    for entry in fs::read_dir(root()).expect("the root") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        let allowed = name.starts_with('.') || name == "target" || TOP_LEVEL.contains(&name.as_str());
        assert!(allowed, "{name} does not belong at the top level");
    }
}

#[test]
fn the_readme_names_targets_that_exist() {
    let makefile = read(&root().join("Makefile"));
    let readme = read(&root().join("README.md"));
    let named: BTreeSet<_> =
        readme.split("make ").skip(1).map(first_word).filter(|w| readme.contains(&format!("make {w}`"))).collect();
    for target in ["run", "test"].into_iter().chain(named) {
        assert!(readme.contains(&format!("make {target}")), "README.md does not name `make {target}`");
        assert!(makefile.lines().any(|l| l.starts_with(&format!("{target}:"))), "the Makefile has no {target}");
    }
}

#[test]
fn there_is_one_version() {
    let cargo: toml::Table = read(&root().join("Cargo.toml")).parse().expect("Cargo.toml");
    let version = cargo["workspace"]["package"]["version"].as_str().expect("a version").to_owned();
    for file in ["ui/package.json", "src-tauri/tauri.conf.json"] {
        let json: Value = serde_json::from_str(&read(&root().join(file))).expect(file);
        let found = json.get("version").and_then(Value::as_str).unwrap_or(&version);
        assert_eq!(found, version, "{file}");
    }
    let changelog = read(&root().join("CHANGELOG.md"));
    assert!(changelog.contains(&format!("## {version}")), "CHANGELOG.md has no section {version}");
}

#[test]
fn model_text_never_becomes_markup() {
    let raw = ["{@", "html"].concat();
    for file in sources(&["ui/src"], &["svelte", "ts"]) {
        let text = read(&file);
        for banned in [raw.as_str(), "innerHTML", "insertAdjacentHTML"] {
            assert!(!text.contains(banned), "{} holds {banned}", file.display());
        }
    }
}

#[test]
fn sql_is_never_put_together_from_text() {
    for file in sources(&["src-tauri"], &["rs"]) {
        let text = read(&file);
        assert!(!text.contains("AssertSqlSafe"), "{} asserts what sqlx should check", file.display());
        for call in ["query(", "query_as(", "query_scalar(", "raw_sql("] {
            let built =
                text.split(call).skip(1).any(|rest| rest.trim_start().trim_start_matches('&').starts_with("format!"));
            assert!(!built, "{} formats a query", file.display());
        }
    }
}

#[test]
fn lock_files_name_no_registry_host() {
    for file in ["ui/package-lock.json", "tests/clients/package-lock.json"] {
        assert!(
            !read(&root().join(file)).contains("\"resolved\""),
            "{file}: renew it with npm's omit-lockfile-registry-resolved"
        );
    }
}

/// A migration that people have run must stay as it is; a new one gets a line of its own.
#[test]
fn no_released_migration_was_edited() {
    let mut listed = BTreeSet::new();
    for line in read(&root().join("tests/data/migrations.sha256")).lines() {
        let (hash, name) = line.split_once("  ").expect("a hash, two blanks, a name");
        let found = hex(&Sha256::digest(read(&migrations().join(name))));
        assert_eq!(found, hash, "{name} was released and must stay as it was: add a new migration");
        listed.insert(migrations().join(name));
    }
    let mut there = Vec::new();
    collect(&migrations(), &["sql"], &mut there);
    assert_eq!(
        there.into_iter().collect::<BTreeSet<_>>(),
        listed,
        "`sha256sum *.sql` there renews tests/data/migrations.sha256"
    );
}

#[test]
fn bindings_are_current() {
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let config = ts_rs::Config::new().with_large_int("number").with_out_dir(fresh.path());
    export_views(&config);
    let committed = root().join("ui/src/bindings");
    let made = texts_in(fresh.path());
    let kept = texts_in(&committed);
    for (name, text) in &made {
        assert_eq!(kept.get(name), Some(text), "{name} is not current: `cargo test -p app export_bindings` renews it");
    }
    let stale: Vec<_> = kept.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(stale.is_empty(), "no view makes these bindings any more: {stale:?}");
}

/// `.sqlx` describes each query as the migrations make it today.
#[tokio::test]
async fn query_descriptions_are_current() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
    sqlx::migrate::Migrator::new(migrations()).await.expect("migrations").run(&mut database).await.expect("they run");
    let sources: String =
        sources(&["src-tauri/crates/ledger"], &["rs", "sql"]).iter().map(|f| squeeze(&read(f))).collect();
    for (name, text) in texts_in(&root().join(".sqlx")) {
        let kept: Value = serde_json::from_str(&text).expect("JSON");
        let query = kept["query"].as_str().expect("a query");
        assert!(sources.contains(&squeeze(query)), "{name}: no source holds this query any more");
        let statement = database.prepare(sqlx::AssertSqlSafe(query).into_sql_str()).await.expect("a statement");
        let now: Vec<_> = statement.columns().iter().map(|c| c.name().to_owned()).collect();
        let then: Vec<_> =
            list(&kept["describe"]["columns"]).iter().map(|c| c["name"].as_str().unwrap_or("").to_owned()).collect();
        assert_eq!(now, then, "{name} describes other columns");
    }
}

/// Whatever these name comes with them.
fn export_views(config: &ts_rs::Config) {
    app::view::StatusView::export_all(config).expect("StatusView");
    app::view::UsageView::export_all(config).expect("UsageView");
    app::view::CallView::export_all(config).expect("CallView");
    app::view::WhyView::export_all(config).expect("WhyView");
    app::view::ClientView::export_all(config).expect("ClientView");
    app::view::VerifyView::export_all(config).expect("VerifyView");
    app::ExportProgressView::export_all(config).expect("ExportProgressView");
    app::view::KeptView::export_all(config).expect("KeptView");
    app::view::OutlookView::export_all(config).expect("OutlookView");
    app::view::WaitingView::export_all(config).expect("WaitingView");
    app::bundle::BundleView::export_all(config).expect("BundleView");
    app::bundle::DeviceView::export_all(config).expect("DeviceView");
    app::reconcile::ReconcileView::export_all(config).expect("ReconcileView");
    app::tiers::TiersView::export_all(config).expect("TiersView");
    app::view::WhatIfView::export_all(config).expect("WhatIfView");
    app::shadow::ShadowView::export_all(config).expect("ShadowView");
    app::savings::SavingsView::export_all(config).expect("SavingsView");
    app::changes::ChangeView::export_all(config).expect("ChangeView");
    app::explain::ExplainView::export_all(config).expect("ExplainView");
    app::course::CourseView::export_all(config).expect("CourseView");
    app::course::CourseQuestion::export_all(config).expect("CourseQuestion");
    app::days::DaysView::export_all(config).expect("DaysView");
    app::keys::UpstreamKeyView::export_all(config).expect("UpstreamKeyView");
    app::keys::ConnectedKeyView::export_all(config).expect("ConnectedKeyView");
    app::SourcesView::export_all(config).expect("SourcesView");
    app::ImportView::export_all(config).expect("ImportView");
    app::ProgressView::export_all(config).expect("ProgressView");
    app::claude_code::ClaudeCodeView::export_all(config).expect("ClaudeCodeView");
    app::claude_code::ClaudeCodeDoneView::export_all(config).expect("ClaudeCodeDoneView");
    app::minutes::MinutesQuestion::export_all(config).expect("MinutesQuestion");
    app::minutes::MinutesView::export_all(config).expect("MinutesView");
    app::facts::RulesView::export_all(config).expect("RulesView");
    app::facts::FactsView::export_all(config).expect("FactsView");
    app::settings::SettingsView::export_all(config).expect("SettingsView");
    app::protections::ProtectionView::export_all(config).expect("ProtectionView");
    app::settings::SettingChange::export_all(config).expect("SettingChange");
    app::settings::SettingsSetView::export_all(config).expect("SettingsSetView");
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata")
}

/// What a crate depends on by its manifest, its tests aside.
fn dependencies(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let package = metadata.workspace_packages().into_iter().find(|p| p.name == name);
    let package = package.unwrap_or_else(|| panic!("no crate {name}"));
    let normal = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
    normal.map(|d| d.name.clone()).collect()
}

fn mentions(folder: &Path, dependency: &str) -> bool {
    let path = format!("{}::", dependency.replace('-', "_"));
    let mut files = Vec::new();
    collect(&folder.join("src"), &["rs"], &mut files);
    files.iter().any(|file| read(file).contains(&path))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root").to_owned()
}

fn migrations() -> PathBuf {
    root().join("src-tauri/crates/ledger/migrations")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn sources(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&root().join(folder), endings, &mut files);
    }
    files
}

fn collect(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    const NOT_OURS: &[&str] = &["node_modules", "target", "dist", "gen"];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !NOT_OURS.contains(&name.to_str().unwrap_or("")) {
            collect(&path, endings, files);
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)) {
            files.push(path);
        }
    }
}

fn texts_in(folder: &Path) -> BTreeMap<String, String> {
    let mut files = Vec::new();
    collect(folder, &["ts", "json"], &mut files);
    let name = |file: &PathBuf| file.strip_prefix(folder).expect("inside").display().to_string();
    files.iter().map(|file| (name(file), read(file))).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or("")
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
