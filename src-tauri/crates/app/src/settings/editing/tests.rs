//! A file that people write by hand, and what is left of their words when something else changes it.

use std::fs;

use super::*;

/// As a person writes it: sections out of order, comments everywhere, one table inline, one list over lines.
const BY_HAND: &str = r#"# Tidegate of the shop, kept in git

[alerts]            # ask Ada before changing these
# we had 0.75 until March
token_warning = 0.70 # calmer
token_critical  =  0.90

# -- money --

[[budget]] # nightly jobs
scope = "client:ci"
daily_usd = 20     # agreed on 3 March

[gateway]
listen = "127.0.0.1:8432"
allowed_origins = [
  "https://a.example", # the editor
  "https://b.example",
]

# the whole machine
[[budget]]
scope = "machine"
monthly_usd = 400.50
hard = true

[breaker]
open = "3m"

[[upstream]]
name = "anthropic"
kind = "anthropic"
key = "keychain:anthropic"
  [[upstream.windows]]   # the week
  name = "week"
  limit_usd = 250
  resets = "Mon 00:00 UTC"

[cache]
enabled = true
# the last word
"#;

fn schemes() -> Vec<Arc<Scheme>> {
    crate::data::schemes().expect("the tier table")
}

fn set(path: &str, value: &str) -> SettingChange {
    SettingChange { path: path.to_owned(), value: Some(value.to_owned()) }
}

fn unset(path: &str) -> SettingChange {
    SettingChange { path: path.to_owned(), value: None }
}

fn after(before: &str, changes: &[SettingChange]) -> (String, Settings) {
    edited(before, changes, &schemes()).expect("paths").unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once('#').map(|(_, comment)| comment.trim())).collect()
}

#[test]
fn one_value_changes_and_nothing_else_does() {
    let (text, settings) = after(BY_HAND, &[set("alerts.token_warning", "0.65")]);
    assert_eq!(text, BY_HAND.replace("token_warning = 0.70 # calmer", "token_warning = 0.65 # calmer"));
    assert!(settings.alerts.rules.iter().any(|rule| rule.thresholds.iter().any(|mark| mark.at.to_string() == "0.65")));
    let (text, _) = after(BY_HAND, &[set("budget[scope=client:ci].daily_usd", "12.30")]);
    assert_eq!(text, BY_HAND.replace("daily_usd = 20     #", "daily_usd = 12.30     #"));
    let (text, _) = after(BY_HAND, &[set("upstream[name=anthropic].windows[#1].limit_usd", "300")]);
    assert_eq!(text, BY_HAND.replace("limit_usd = 250", "limit_usd = 300"));
}

#[test]
fn what_is_new_stands_in_its_section_or_at_the_end() {
    let (text, settings) =
        after(BY_HAND, &[set("budget[scope=client:ci].weekly_usd", "90"), set("emergency.enter_spend_usd", "80")]);
    assert!(text.contains("daily_usd = 20     # agreed on 3 March\nweekly_usd = 90\n"), "{text}");
    assert!(text.ends_with("# the last word\n\n[emergency]\nenter_spend_usd = 80\n"), "{text}");
    assert_eq!((settings.budgets.len(), comments(&text)), (3, comments(BY_HAND)));
    let (text, settings) = after(
        BY_HAND,
        &[set("budget[scope=project:web].daily_usd", "5"), set("budget[scope=project:web].hard", "true")],
    );
    let fresh = "hard = true\n\n[[budget]]\nscope = \"project:web\"\ndaily_usd = 5\nhard = true\n\n[breaker]";
    assert!(text.contains(fresh), "{text}");
    assert_eq!((settings.budgets.len(), comments(&text)), (3, comments(BY_HAND)));
    let (text, _) = after("", &[set("alerts.quiet_hours", "22:00-07:00")]);
    assert_eq!(text, "[alerts]\nquiet_hours = \"22:00-07:00\"\n");
    let (text, _) = after("# mine\n", &[set("budget[scope=machine].daily_usd", "9")]);
    assert_eq!(text, "# mine\n\n[[budget]]\nscope = \"machine\"\ndaily_usd = 9\n");
    let (text, _) = after("[gateway]\nqueue_max = 5 # few", &[set("gateway.max_wait", "5m")]);
    assert_eq!(text, "[gateway]\nqueue_max = 5 # few\nmax_wait = \"5m\"\n");
}

#[test]
fn what_is_taken_out_takes_its_line_and_no_other() {
    let (text, _) = after(BY_HAND, &[unset("alerts.token_critical")]);
    assert_eq!(text, BY_HAND.replace("token_critical  =  0.90\n", ""));
    let (text, settings) = after(BY_HAND, &[unset("budget[scope=client:ci]")]);
    let gone = "[[budget]] # nightly jobs\nscope = \"client:ci\"\ndaily_usd = 20     # agreed on 3 March\n\n";
    assert_eq!((text, settings.budgets.len()), (BY_HAND.replace(gone, ""), 1));
    let (text, _) = after(BY_HAND, &[unset("gateway.allowed_origins")]);
    let origins = "allowed_origins = [\n  \"https://a.example\", # the editor\n  \"https://b.example\",\n]\n";
    assert_eq!(text, BY_HAND.replace(origins, ""));
    let (text, settings) = after(
        BY_HAND,
        &[unset("budget[#1]"), unset("budget[#2]"), unset("cache"), unset("cache.ttl"), unset("otlp.listen")],
    );
    assert!(settings.budgets.is_empty() && settings.cache.is_none());
    assert!(
        text.contains("# -- money --") && text.contains("# the whole machine") && text.ends_with("# the last word\n")
    );
    let (text, _) = after(BY_HAND, &[unset("upstream[name=anthropic].windows[name=week]")]);
    assert!(!text.contains("windows") && text.contains("key = \"keychain:anthropic\"\n"), "{text}");
}

#[test]
fn tables_written_inline_are_changed_inline() {
    let inline = "budget = [{ scope = \"machine\", daily_usd = 5 }] # both\ngateway = { queue_max = 7 }\nalerts.daily_spend_usd = 9 # dotted\n";
    let changes = [
        set("budget[scope=machine].daily_usd", "6"),
        set("budget[scope=client:ci].daily_usd", "1"),
        set("gateway.queue_max", "8"),
        set("alerts.daily_spend_usd", "10"),
    ];
    let (text, settings) = after(inline, &changes);
    assert_eq!((settings.budgets.len(), settings.gateway.queue_max), (2, 8));
    assert!(text.contains("# both") && text.contains("alerts.daily_spend_usd = 10 # dotted"), "{text}");
    let (text, settings) = after(&text, &[unset("budget[#1]"), unset("gateway.queue_max")]);
    assert_eq!((settings.budgets.len(), settings.gateway.queue_max), (1, 10_000), "{text}");
}

#[test]
fn hostile_words_stay_one_value() {
    let long = "x".repeat(200);
    for words in [
        "a\"b",
        "a\n[[upstream]]\nname = \"evil\"",
        "\"\"\"",
        "'''",
        "]",
        "# no comment",
        "\\u0000 \\",
        "true",
        "12",
        "[\"a\"]",
        "{ a = 1 }",
        "\u{202e}olleh",
        "\u{1f30a}\u{fe0f}",
        "= 5",
        "a\r\nb",
        long.as_str(),
    ] {
        let (text, settings) = after(BY_HAND, &[set("fallback[for=critical].static", words)]);
        assert_eq!(settings.fallbacks[0].text.as_deref(), Some(words));
        assert_eq!((settings.upstreams.len(), settings.budgets.len()), (1, 2), "{text}");
        assert!(text.contains("# the last word"));
        let list = [
            set("emergency.contacts", &format!("[{}]", serde_json::to_string(words).expect("JSON"))),
            unset("fallback[for=critical]"),
        ];
        let (text, settings) = after(&text, &list);
        assert_eq!((settings.emergency.contacts, settings.fallbacks.len()), (vec![words.to_owned()], 0), "{text}");
    }
    for words in ["5 # more", "5\nhard = true", "5]", "0x10", "nan", "\"5\"", "5, 6", "1e9999", "true"] {
        let outcome = edited(BY_HAND, &[set("budget[scope=machine].daily_usd", words)], &schemes()).expect("a path");
        let refused = outcome.expect_err(words);
        assert!(refused[0].reason.starts_with("daily_usd in [[budget]] must be an amount in dollars"), "{refused:?}");
    }
}

/// Changes by chance, of a seed: what was a comment stays one, and what nobody named means the same.
#[test]
fn comments_and_order_survive_whatever_is_changed() {
    for seed in 0..300 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut text = BY_HAND.to_owned();
        for _ in 0..8 {
            let usd = chance.u32(1..500).to_string();
            let change = match chance.u8(0..8) {
                0 => set("alerts.token_warning", ["0.5", "0.61", "0.7"][chance.usize(0..3)]),
                1 => set("budget[scope=machine].monthly_usd", &usd),
                2 => set(&format!("budget[scope=person:{}].weekly_usd", chance.alphabetic()), &usd),
                3 => set("timeouts.idle", "20s"),
                4 => set("upstream[name=anthropic].windows[name=day].resets", "00:00 UTC"),
                5 => unset("timeouts.idle"),
                6 => set("gateway.host_names", "a.local, b.local"),
                _ => set("alert[name=own].metric", "spend.day"),
            };
            let mut changes = vec![change];
            if changes[0].path.contains("name=day") {
                changes.push(set("upstream[name=anthropic].windows[name=day].limit_usd", &usd));
            }
            if changes[0].path.contains("name=own") {
                changes.push(set("alert[name=own].thresholds", &usd));
            }
            let before: toml::Table = text.parse().expect("TOML");
            let (next, _) = after(&text, &changes);
            let now: toml::Table = next.parse().expect("TOML");
            let touched = changes[0].path.split(['.', '[']).next().unwrap_or_default();
            for (name, section) in before.iter().filter(|(name, _)| *name != touched) {
                assert_eq!(now.get(name), Some(section), "seed {seed}, {changes:?}");
            }
            text = next;
        }
        let told: Vec<&str> = comments(&text);
        assert_eq!(told, comments(BY_HAND), "seed {seed}: {text}");
        let order = |text: &str| -> Vec<usize> {
            ["[alerts]", "\"client:ci\"", "[gateway]", "\"machine\"", "[breaker]", "[[upstream]]", "[cache]"]
                .map(|part| text.find(part).expect(part))
                .into()
        };
        assert!(order(&text).is_sorted(), "seed {seed}: {text}");
    }
}

#[test]
fn a_refusal_names_the_change_its_line_and_an_example() {
    let changes = [set("alerts.token_warning", "80 %"), set("gateway.max_wiat", "5m"), set("gateway.queue_max", "9")];
    let refused = edited(BY_HAND, &changes, &schemes()).expect("paths").expect_err("two are wrong");
    let of = |path: &str| refused.iter().find(|one| one.path.as_deref() == Some(path)).expect(path);
    let warning = of("alerts.token_warning");
    assert_eq!(
        (warning.line, &*warning.reason),
        (Some(5), "token_warning in [alerts] must be a number from 0 to 1, for example token_warning = 0.80")
    );
    assert_eq!(of("gateway.max_wiat").reason, "[gateway] has no key max_wiat; did you mean max_wait?");
    assert_eq!(refused.len(), 2);
    let refused = edited("[gateway\n", &[set("alerts.token_warning", "0.7")], &schemes()).expect("a path");
    assert!(refused.expect_err("no TOML")[0].reason.starts_with("this is no TOML"));
    for (path, says) in [
        ("budget", "names a section"),
        ("budget.daily_usd", "there may be several budget: name one, such as budget[scope=…]"),
        ("gateway[#1].listen", "there is one gateway: write gateway.KEY"),
        ("budget[#9].daily_usd", "there are fewer than 9 budget"),
        ("a b", "is no path"),
    ] {
        let error = edited(BY_HAND, &[set(path, "1")], &schemes()).expect_err(path);
        assert!(error.reason.contains(says), "{path}: {error}");
    }
}

#[test]
fn a_secret_never_gets_into_the_file_nor_into_an_answer() {
    for path in [
        "upstream[name=anthropic].key",
        "upstream[name=anthropic].admin_key",
        "channel[name=ops].url",
        "channel[name=ops].secret",
    ] {
        let error = edited(BY_HAND, &[set(path, "https://hooks.example/sk-ant-canary")], &schemes()).expect_err(path);
        assert!(error.reason.contains("never the secret itself") && !error.reason.contains("canary"), "{error}");
    }
    let (text, _) = after(BY_HAND, &[set("upstream[name=anthropic].admin_key", "keychain:admin")]);
    assert!(text.contains("admin_key = \"keychain:admin\"\n"));
}

#[test]
fn the_file_is_replaced_whole_and_the_one_before_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("deep/settings.toml");
    let changed = |changes: &[SettingChange], shown: Option<&str>| change(&file, changes, shown, &schemes());
    let made = changed(&[set("alerts.token_warning", "0.7")], None).expect("made");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "[alerts]\ntoken_warning = 0.7\n");
    assert!(made.refused.is_empty() && !file.with_file_name("settings.toml.bak").exists());
    let second = changed(&[set("alerts.token_warning", "0.6")], Some(&made.hash)).expect("changed");
    assert_eq!(
        fs::read_to_string(file.with_file_name("settings.toml.bak")).expect("kept"),
        "[alerts]\ntoken_warning = 0.7\n"
    );
    assert_eq!(second.hash, hash(&fs::read_to_string(&file).expect("a file")));
    let late = changed(&[set("alerts.token_warning", "0.5")], Some(&made.hash)).expect_err("another was faster");
    assert!(late.reason.contains("was changed by someone else"), "{late}");
    let refused = changed(&[set("alerts.token_warning", "2")], Some(&second.hash)).expect("an answer");
    assert_eq!((refused.refused.len(), refused.hash), (1, second.hash));
    assert_eq!(fs::read_to_string(&file).expect("a file"), "[alerts]\ntoken_warning = 0.6\n");
    assert_eq!(fs::read_dir(file.parent().expect("a folder")).expect("a folder").count(), 2, "no draft is left");
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_the_mode_stays() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().expect("a folder");
    let (real, link) = (dir.path().join("dotfiles.toml"), dir.path().join("settings.toml"));
    fs::write(&real, "# mine\n").expect("written");
    symlink("dotfiles.toml", &link).expect("a link");
    let mode = |file: &Path| fs::metadata(file).expect("a file").permissions().mode() & 0o777;
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("a mode");
    change(&link, &[set("alerts.token_warning", "0.7")], None, &schemes()).expect("changed");
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(fs::read_to_string(&real).expect("a file"), "# mine\n\n[alerts]\ntoken_warning = 0.7\n");
    assert_eq!((mode(&real), mode(&dir.path().join("settings.toml.bak"))), (0o640, 0o640));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o666)).expect("a mode");
    let refused =
        change(&link, &[set("alerts.token_warning", "0.6")], None, &schemes()).expect_err("others may write it");
    assert!(refused.reason.contains("run chmod 644"), "{refused}");
    fs::remove_file(&real).expect("removed");
    change(&link, &[set("alerts.token_warning", "0.6")], None, &schemes()).expect("made where the link leads");
    assert_eq!(fs::read_to_string(&real).expect("a file"), "[alerts]\ntoken_warning = 0.6\n");
}

#[test]
fn each_preset_is_legal_on_any_file_and_keeps_what_it_does_not_name() {
    let empty = parse("", &schemes()).expect("empty");
    for preset in super::super::presets() {
        let (text, settings) = after("", &preset.changes);
        assert_ne!(settings, empty, "{}: {text}", preset.name);
        let (text, by_hand) = after(BY_HAND, &preset.changes);
        assert_eq!(by_hand.upstreams, parse(BY_HAND, &schemes()).expect("legal").upstreams);
        assert!(BY_HAND.lines().filter(|line| line.starts_with('#')).all(|line| text.contains(line)), "{text}");
        let (again, _) = after(&text, &preset.changes);
        assert_eq!(again, text, "twice is once");
    }
}

/// Written out, the table of fields says what an empty file means; and it knows every key of the documented file.
#[test]
fn the_table_of_fields_is_true() {
    let empty = parse("", &schemes()).expect("empty");
    for section in fields::SECTIONS.iter().filter(|section| section.id.is_none() && section.name != "background") {
        for field in section.fields.iter().filter(|field| !field.default.is_empty()) {
            let path = format!("{}.{}", section.name, field.key);
            let (text, settings) = after("", &[set(&path, field.default)]);
            assert_eq!(settings, empty, "{text}");
        }
    }
    fn known(names: &mut Vec<String>, table: &toml::Table) {
        for (key, value) in table {
            let one = value.as_table().into_iter();
            let several = value.as_array().into_iter().flatten().filter_map(toml::Value::as_table);
            let inner: Vec<&toml::Table> = one.chain(several).collect();
            let path: Vec<&str> = names.iter().map(String::as_str).collect();
            let is_field = fields::section(&path).is_some_and(|section| section.field(key).is_some());
            if is_field {
                continue;
            }
            assert!(!inner.is_empty(), "{names:?} {key}");
            for table in inner {
                names.push(key.clone());
                known(names, table);
                names.pop();
            }
        }
    }
    known(&mut vec![], &include_str!("../example.toml").parse().expect("TOML"));
    for kind in domain::config::ChannelKind::ALL.map(domain::config::ChannelKind::name) {
        let field = fields::section(&["channel"]).and_then(|section| section.field("kind")).expect("a field");
        assert!(matches!(field.form, Form::Choice(kinds) if kinds.contains(&kind)), "{kind}");
    }
}
