//! Connecting and disconnecting, in a home of the test's own.

use super::*;
use crate::settings;

/// As Claude Code 2.1 writes it.
const REAL: &str = r#"{
  "$schema": "https://json.schemastore.org/claude-code-settings.json",
  "permissions": {
    "allow": [
      "Bash(npm run test:*)",
      "Read(~/.zshrc)"
    ],
    "defaultMode": "acceptEdits"
  },
  "env": {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "ANTHROPIC_BASE_URL": "https://gateway.example.com"
  },
  "statusLine": {
    "type": "command",
    "command": "~/.claude/statusline.sh \"$1\" {}"
  },
  "model": "opus"
}
"#;

/// A data folder, and a home with Claude Code's folder in it.
struct Place {
    data: tempfile::TempDir,
    home: tempfile::TempDir,
    app: App,
}

async fn place() -> Place {
    let (data, home) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let text = "[[upstream]]\nname = \"s\"\nkind = \"simulator\"\n";
    let settings = settings::parse(text, &[]).expect("legal settings");
    let app = App::open(data.path(), &settings).await.expect("an app");
    Place { data, home, app }
}

impl Place {
    fn file(&self) -> PathBuf {
        self.home.path().join("settings.json")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("written");
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("a file")
    }

    fn look(&self) -> ClaudeCodeView {
        self.app.claude_code(Some(self.home.path())).expect("a view")
    }

    fn connect(&self) -> Result<ClaudeCodeDoneView, String> {
        self.app.connect_claude_code(Some(self.home.path()), None).map_err(|error| error.reason)
    }

    fn disconnect(&self) -> Result<ClaudeCodeDoneView, String> {
        self.app.disconnect_claude_code().map_err(|error| error.reason)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn clients(&self) -> Vec<String> {
        self.app.clients().into_iter().map(|client| client.name).collect()
    }
}

#[tokio::test]
async fn connecting_sets_two_lines_and_disconnecting_gives_every_byte_back() {
    for text in [
        REAL.to_owned(),
        REAL.replace('\n', "\r\n"),
        "{}".to_owned(),
        " { } \n".to_owned(),
        r#"{"env":{}}"#.to_owned(),
        r#"{"a":[{"env":{"x":"}"}}],"env":{"A":"1"},"z":null}"#.to_owned(),
        "{\n\t\"env\": {\n\t\t\"ANTHROPIC_AUTH_TOKEN\": \"mine\",\n\t\t\"ANTHROPIC_BASE_URL\": 7\n\t}\n}".to_owned(),
    ] {
        let place = place().await;
        place.write(&text);
        let done = place.connect().expect("connected");
        let value: Value = serde_json::from_str(&place.text()).expect("JSON");
        assert_eq!(value["env"][BASE_URL], "http://127.0.0.1:8432");
        let token = value["env"][TOKEN].as_str().expect("a token");
        assert!(token.starts_with("tg-"), "{text}");
        assert_eq!(
            (done.client.as_deref(), &place.clients()[..]),
            (Some("claude-code"), &["claude-code".to_owned()][..])
        );
        let backup = done.backup.expect("a backup");
        assert_eq!(std::fs::read_to_string(backup).expect("a backup"), text);
        assert!(place.look().connected);
        assert_eq!(
            place.connect().expect_err("twice"),
            "Claude Code is connected already: disconnect it first to do so anew"
        );

        let done = place.disconnect().expect("disconnected");
        assert_eq!((place.text(), done.left), (text, vec![]));
        assert_eq!(place.files(), ["settings.json"], "the backup stands again");
        assert!(place.clients().is_empty(), "the token ends");
        assert!(!place.look().connected);
        assert_eq!(place.disconnect().expect_err("twice"), "Claude Code was not connected by Tidegate");
    }
}

#[tokio::test]
async fn all_else_keeps_its_place_and_its_layout() {
    let place = place().await;
    place.write(REAL);
    place.connect().expect("connected");
    let token = Page::of(&place.text()).expect("a page").text_of(TOKEN).expect("a token");
    let expected = REAL.replace(
        "\"https://gateway.example.com\"\n",
        &format!("\"http://127.0.0.1:8432\",\n    \"ANTHROPIC_AUTH_TOKEN\": \"{token}\"\n"),
    );
    assert_eq!(place.text(), expected);
    place.disconnect().expect("disconnected");

    place.write("{\n  \"model\": \"opus\"\n}\n");
    place.connect().expect("connected");
    let lines: Vec<String> = place.text().lines().map(str::to_owned).collect();
    assert_eq!(
        lines[..4],
        ["{", "  \"model\": \"opus\",", "  \"env\": {", "    \"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:8432\","]
    );
    assert_eq!(lines[5..], ["  }", "}"]);
}

#[tokio::test]
async fn a_file_that_was_not_there_is_its_owners_alone_and_gone_again() {
    let place = place().await;
    assert_eq!(place.look().lines[0], ChangedLineView { sign: "+".into(), text: "\"env\": {".into() });
    assert_eq!(place.connect().expect("connected").backup, None);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&place.file().metadata().expect("a file")) & 0o777, 0o600);
    assert!(place.look().connected);
    place.disconnect().expect("disconnected");
    assert!(place.files().is_empty());
    let nowhere = place.app.claude_code(Some(&place.home.path().join("no"))).expect("a view");
    assert!(nowhere.refused.expect("no folder").starts_with("there is no folder "));
}

#[tokio::test]
async fn what_is_no_json_object_or_would_not_work_is_refused_and_left_alone() {
    for (text, says) in [
        ("", "is not JSON"),
        ("{\"a\": 1,}", "is not JSON"),
        ("{ // mine\n}", "is not JSON"),
        ("\u{feff}{}", "is not JSON"),
        ("{\"a\": \"\u{0}\"}", "is not JSON"),
        ("[]", "holds JSON, but no object"),
        ("\"env\"", "holds JSON, but no object"),
        ("{\"env\": null}", "has an env that is no object"),
        ("{\"env\": [\"ANTHROPIC_BASE_URL\"]}", "has an env that is no object"),
        ("{\"env\": {}, \"\\u0065nv\": {}}", "has env twice"),
        ("{\"env\": {\"ANTHROPIC_BASE_URL\": 1, \"ANTHROPIC_BASE_URL\": 2}}", "has ANTHROPIC_BASE_URL twice"),
        ("{\"env\": {\"ANTHROPIC_API_KEY\": \"sk-ant-canary\"}}", "sets ANTHROPIC_API_KEY"),
        ("{\"apiKeyHelper\": \"~/key.sh\"}", "has an apiKeyHelper"),
        ("{\"env\": {\"CLAUDE_CODE_USE_BEDROCK\": \"1\"}}", "sets CLAUDE_CODE_USE_BEDROCK"),
    ] {
        let place = place().await;
        place.write(text);
        let reason = place.look().refused.expect("a reason");
        assert!(reason.contains(says) && !reason.contains("canary"), "{reason}");
        assert_eq!(place.connect().expect_err("refused"), reason);
        assert_eq!((place.text(), place.files().len()), (text.to_owned(), 1), "nothing was touched");
        assert!(place.clients().is_empty(), "no token was made for nothing");
    }
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let place = place().await;
    place.write(&deep);
    assert!(place.look().refused.expect("a reason").contains("is not JSON"));
}

#[tokio::test]
async fn the_difference_shows_what_changes_and_no_credential() {
    let place = place().await;
    place.write(&REAL.replace("\"1\"", "\"1\", \"ANTHROPIC_AUTH_TOKEN\": \"canary\", \"OTHER\": \"canary\""));
    let lines: Vec<String> = place.look().lines.iter().map(|line| format!("{} {}", line.sign, line.text)).collect();
    assert_eq!(
        lines,
        [
            "  \"env\": {",
            "-   \"ANTHROPIC_BASE_URL\": \"https://gateway.example.com\"",
            "+   \"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:8432\"",
            "-   \"ANTHROPIC_AUTH_TOKEN\": \"•••\"",
            "+   \"ANTHROPIC_AUTH_TOKEN\": \"tg-•••\"",
            "  }",
        ]
    );
    place.write("{\"env\": {\"ANTHROPIC_BASE_URL\": \"https://me:canary@example.com\"}}");
    assert!(!format!("{:?}", place.look()).contains("canary"));
    place.connect().expect("connected");
    let record = std::fs::read_to_string(place.data.path().join(RECORD)).expect("a record");
    let token = Page::of(&place.text()).expect("a page").text_of(TOKEN).expect("a token");
    assert!(!record.contains("canary") && !record.contains(&token), "{record}");
}

#[tokio::test]
async fn what_was_changed_since_is_named_and_stays() {
    let place = place().await;
    place.write(REAL);
    place.connect().expect("connected");
    let changed = place.text().replace("http://127.0.0.1:8432", "http://other").replace("\"opus\"", "\"haiku\"");
    place.write(&changed);
    assert!(!place.look().connected);
    let done = place.disconnect().expect("disconnected");
    assert_eq!(done.left, ["ANTHROPIC_BASE_URL was changed since and stays as it is."]);
    let expected = REAL.replace("https://gateway.example.com", "http://other").replace("\"opus\"", "\"haiku\"");
    assert_eq!(place.text(), expected, "the token is gone, the rest is theirs");
    assert!(
        done.backup.is_some_and(|backup| Path::new(&backup).exists()),
        "the backup is kept where it does not stand again"
    );
}

#[tokio::test]
async fn what_was_added_since_stays_beside_what_is_put_back() {
    let place = place().await;
    place.write(REAL);
    place.connect().expect("connected");
    place.write(&place.text().replace("\"model\": \"opus\"", "\"model\": \"opus\",\n  \"cleanupPeriodDays\": 99999"));
    assert_eq!(place.disconnect().expect("disconnected").left, Vec::<String>::new());
    assert_eq!(place.text(), REAL.replace("\"opus\"", "\"opus\",\n  \"cleanupPeriodDays\": 99999"));

    place.write("{\n  \"model\": \"opus\"\n}\n");
    place.connect().expect("connected");
    place.write(&place.text().replace("opus", "haiku"));
    place.disconnect().expect("disconnected");
    assert_eq!(place.text(), "{\n  \"model\": \"haiku\"\n}\n", "an env that was ours alone goes too");

    place.write(REAL);
    place.connect().expect("connected");
    std::fs::remove_file(place.file()).expect("removed");
    assert!(place.disconnect().expect("disconnected").left[0].contains("is gone"));
    assert!(place.clients().is_empty());
}

#[tokio::test]
async fn a_change_between_the_look_and_the_press_is_not_overwritten() {
    let place = place().await;
    place.write(REAL);
    let seen = place.look().seen;
    place.write("{\"model\": \"haiku\"}");
    let refused = place.app.connect_claude_code(Some(place.home.path()), Some(&seen)).expect_err("changed").reason;
    assert!(refused.contains("was changed meanwhile"), "{refused}");
    assert_eq!((place.text(), place.clients().len()), ("{\"model\": \"haiku\"}".to_owned(), 0));

    let found = SettingsFile::read(&place.file()).expect("read");
    place.write("{\"model\": \"opus\"}");
    let refused = found.replace("{}").expect_err("changed");
    assert!(refused.contains("another program changed it meanwhile"), "{refused}");
    assert_eq!((place.text(), place.files().len()), ("{\"model\": \"opus\"}".to_owned(), 1), "no draft is left");
}

#[tokio::test]
async fn without_an_upstream_it_is_not_connected() {
    let place = place().await;
    let bare = settings::parse("", &[]).expect("legal settings");
    let data = tempfile::tempdir().expect("a folder");
    let app = App::open(data.path(), &bare).await.expect("an app");
    let refused = app.connect_claude_code(Some(place.home.path()), None).expect_err("nobody would answer").reason;
    assert_eq!(refused, NO_UPSTREAM);
}

#[tokio::test]
async fn a_client_of_that_name_keeps_its_token() {
    let place = place().await;
    place.app.add_client("claude-code", &ClientChange::default()).expect("made");
    assert_eq!(place.connect().expect("connected").client.as_deref(), Some("claude-code-2"));
    place.disconnect().expect("disconnected");
    assert_eq!(place.clients(), ["claude-code"]);
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("changed");
    }

    #[tokio::test]
    async fn the_mode_is_kept_and_one_that_lets_others_read_is_said() {
        let place = place().await;
        place.write(REAL);
        for mode in [0o640, 0o600] {
            set_mode(&place.file(), mode);
            let notes = place.look().notes;
            assert_eq!(notes.iter().any(|note| note.contains("(mode 0640)")), mode == 0o640, "{notes:?}");
            let backup = place.connect().expect("connected").backup.expect("a backup");
            for file in [place.file(), PathBuf::from(backup)] {
                assert_eq!(file.metadata().expect("a file").mode() & 0o777, mode, "{}", file.display());
            }
            place.disconnect().expect("disconnected");
            assert_eq!(place.file().metadata().expect("a file").mode() & 0o777, mode);
        }
    }

    #[tokio::test]
    async fn a_link_stays_one_and_one_that_leads_nowhere_is_said() {
        let (place, dotfiles) = (place().await, tempfile::tempdir().expect("a folder"));
        let real = dotfiles.path().join("claude.json");
        symlink(&real, place.file()).expect("a link");
        assert!(place.look().refused.expect("a reason").contains("is a link that leads nowhere"));
        std::fs::write(&real, REAL).expect("written");
        place.connect().expect("connected");
        assert!(place.file().symlink_metadata().expect("a link").is_symlink());
        assert!(place.look().connected);
        place.disconnect().expect("disconnected");
        assert_eq!(std::fs::read_to_string(&real).expect("read"), REAL);
        assert!(place.file().symlink_metadata().expect("a link").is_symlink());
    }

    #[tokio::test]
    async fn where_nothing_can_be_written_nothing_is_changed_and_no_token_is_left() {
        let place = place().await;
        place.write(REAL);
        // What may not be written by anybody, root too: the backup's and the draft's folder is a file's.
        let mut found = SettingsFile::read(&place.file()).expect("read");
        found.path = place.file().join("settings.json");
        assert!(found.back_up().expect_err("no folder").contains("nothing was changed"));
        let refused = place.app.write_connection(&found, "claude-code", "tg-x").expect_err("no folder");
        assert!(refused.contains("can't be backed up"), "{refused}");
        assert_eq!((place.text(), place.files().len()), (REAL.to_owned(), 1));
        assert!(!place.data.path().join(RECORD).exists());

        set_mode(place.home.path(), 0o500);
        let is_root = std::fs::write(place.home.path().join("x"), "").is_ok();
        if !is_root {
            assert!(place.connect().expect_err("read-only").contains("can't be backed up"));
            assert_eq!((place.text(), place.clients().len()), (REAL.to_owned(), 0));
        }
        set_mode(place.home.path(), 0o700);
    }
}
