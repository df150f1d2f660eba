//! Where the platform keeps programs' data and settings.

use std::path::PathBuf;

const NAME: &str = "tidegate";

/// The data folder of a user; `None` where the environment names no home.
pub fn data_dir() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support").join(NAME))
    } else if cfg!(windows) {
        variable("LOCALAPPDATA").map(|base| base.join(NAME))
    } else {
        let base = variable("XDG_DATA_HOME").or_else(|| home().map(|home| home.join(".local/share")));
        base.map(|base| base.join(NAME))
    }
}

/// The settings file of a user.
pub fn settings_file() -> Option<PathBuf> {
    let base = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        variable("APPDATA")
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| home().map(|home| home.join(".config")))
    };
    base.map(|base| base.join(NAME).join("settings.toml"))
}

fn home() -> Option<PathBuf> {
    variable("HOME")
}

/// Relative paths are no places: they would follow the working directory.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
