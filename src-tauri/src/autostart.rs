//! Starting with the system, where its user said so: a file in the desktop's autostart folder, and nothing else.

use std::path::{Path, PathBuf};

use app::folder;
use serde::Serialize;

use crate::Options;

/// What the window may know of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct AutostartView {
    pub(crate) on: bool,
    pub(crate) file: String,
}

/// The file that the desktop reads when its user logs in.
#[derive(Debug)]
pub(crate) struct Autostart {
    file: PathBuf,
    entry: String,
}

const NAME: &str = "tidegate-desktop.desktop";

impl Autostart {
    /// `None` where the system has no such folder.
    pub(crate) fn of(options: &Options) -> Option<Autostart> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        let program = std::env::current_exe().ok()?;
        Some(Autostart { file: config.join("autostart").join(NAME), entry: entry(&program, options)? })
    }

    pub(crate) fn view(&self) -> AutostartView {
        AutostartView { on: self.is_on(), file: self.file.display().to_string() }
    }

    /// A desktop turns an entry off by a line in it, where its user said so there.
    fn is_on(&self) -> bool {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let off = |line: &str| matches!(line.trim(), "Hidden=true" | "X-GNOME-Autostart-enabled=false");
        text.contains("Exec=") && !text.lines().any(off)
    }

    pub(crate) fn set(&self, on: bool) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{} can't be changed: {error}", self.file.display());
        if on {
            let dir = self.file.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
            return folder::replace(&self.file, self.entry.as_bytes()).map_err(|error| failed(&error));
        }
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// `None` where a path holds what no such file can name. `TryExec`: a program that was removed is not missed.
fn entry(program: &Path, options: &Options) -> Option<String> {
    let mut words = vec![quoted(program.to_str()?)?, "--hidden".to_owned()];
    for (name, path) in [("--data-dir", &options.data_dir), ("--settings", &options.settings)] {
        let Some(path) = path else { continue };
        words.push(name.to_owned());
        words.push(quoted(std::path::absolute(path).ok()?.to_str()?)?);
    }
    let try_exec = program.to_str()?.replace('\\', "\\\\");
    Some(format!(
        "[Desktop Entry]\nType=Application\nName=Tidegate\nComment=The gate between your programs and the Claude API\nIcon=tidegate-desktop\nTryExec={try_exec}\nExec={}\nTerminal=false\n",
        words.join(" ")
    ))
}

/// As the desktop entry specification wants an argument: in quotes, and each backslash once more for the file itself.
fn quoted(word: &str) -> Option<String> {
    if word.chars().any(char::is_control) {
        return None;
    }
    let mut quoted = String::from("\"");
    for one in word.chars() {
        match one {
            '"' | '`' | '$' => quoted.extend(["\\\\", &one.to_string()]),
            '\\' => quoted.push_str("\\\\\\\\"),
            '%' => quoted.push_str("%%"),
            one => quoted.push(one),
        }
    }
    quoted.push('"');
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(data_dir: Option<&str>) -> Options {
        Options { data_dir: data_dir.map(PathBuf::from), settings: None, demo: false, hidden: false, keep_hidden: 300 }
    }

    #[test]
    fn it_is_a_file_that_is_there_or_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("autostart").join(NAME);
        let entry = entry(Path::new("/usr/bin/tidegate-desktop"), &options(None)).expect("an entry");
        let autostart = Autostart { file: file.clone(), entry };
        assert!(!autostart.view().on);
        autostart.set(false).expect("it is off already");
        autostart.set(true).expect("written");
        assert!(autostart.view().on);
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(
            text.contains("\nTryExec=/usr/bin/tidegate-desktop\nExec=\"/usr/bin/tidegate-desktop\" --hidden\n"),
            "{text}"
        );
        for off in ["Hidden=true", "X-GNOME-Autostart-enabled=false"] {
            std::fs::write(&file, format!("{text}{off}\n")).expect("written");
            assert!(!autostart.view().on, "{off}");
        }
        autostart.set(false).expect("removed");
        assert!(!file.exists());
    }

    #[test]
    fn paths_are_quoted_as_desktops_read_them() {
        let text = entry(Path::new("/opt/a b/100%/t"), &options(Some("/data/$x\"\\y"))).expect("an entry");
        let expected = r#"Exec="/opt/a b/100%%/t" --hidden --data-dir "/data/\\$x\\"\\\\y""#;
        assert!(text.contains(expected), "{text}");
        assert_eq!(entry(Path::new("/a\nb"), &options(None)), None);
    }
}
