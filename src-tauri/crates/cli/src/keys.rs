//! `tidegate key …`: the keychain is asked here, and a running app is told to read again.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use app::api::{Answer, Command};
use app::folder::{self, Entered};
use app::keychain::{KeyView, Keychain, Secret};
use app::keys::{KeyTestView, KeyVerdict};

use crate::args::{Key, Shape};
use crate::table::{lines, maybe, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, key: Key) -> anyhow::Result<ExitCode> {
    let keychain = Keychain::of_system(&place.data_dir);
    match key {
        Key::Set { name } => {
            let secret = from_stdin()?;
            change(place, async { keychain.set(&named(&name)?, secret).await.map_err(Into::into) }).await?;
            tell(&format!("The key {name} is in the keychain.\n"));
        }
        Key::Remove { name } => {
            change(place, async { keychain.remove(&named(&name)?).await.map_err(Into::into) }).await?;
        }
        Key::Allow { name, host } => change(place, async { Ok(keychain.allow(&named(&name)?, &host)?) }).await?,
        Key::Test { name, shape } => return test(place, name, &shape).await,
        Key::List(shape) if shape.json => print_json(&keychain.list().await?)?,
        Key::List(_) => list(&keychain.list().await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn named(name: &str) -> anyhow::Result<String> {
    if !app::settings::is_name(name) {
        bail!("{name:?} is no name for a key: 1 to 64 letters, digits, dots, dashes or underscores");
    }
    Ok(name.to_owned())
}

fn from_stdin() -> anyhow::Result<Secret> {
    const KEY_LEN_MAX: u64 = 64 * 1024;
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        tell("Paste the key, then press Enter and Ctrl-D:\n");
    }
    let mut text = String::new();
    std::io::stdin().take(KEY_LEN_MAX).read_to_string(&mut text).context("the key can't be read from stdin")?;
    Ok(Secret::new(text))
}

async fn test(place: &Place, name: String, shape: &Shape) -> anyhow::Result<ExitCode> {
    let Answer::KeyTests(tests) = place.ask(Command::KeyTest { name }).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&tests)?;
    } else {
        let line = |test: &KeyTestView| format!("{}: {}\n", lines(&test.upstream), lines(&test.said));
        print(&tests.iter().map(line).collect::<String>())?;
    }
    let taken = tests.iter().all(|test| test.verdict == KeyVerdict::Taken);
    Ok(if taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder is ours while we change what belongs to it, or the app that has it is told.
async fn change(place: &Place, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    match folder::enter(&place.data_dir)? {
        Entered::Alone(_held) => work.await,
        Entered::Running(instance) => {
            work.await?;
            app::control::Desk::There(instance).ask(Command::ForgetKeys).await?;
            Ok(())
        }
    }
}

fn list(keys: &[KeyView]) -> anyhow::Result<()> {
    if keys.is_empty() {
        tell("No keys were set here: `tidegate key set NAME` reads one from stdin.\n");
        return Ok(());
    }
    let row = |key: &KeyView| {
        let last = key.last_four.as_ref().map(|last| format!("…{last}"));
        let shown = last.or_else(|| key.trouble.clone());
        vec![words(&key.name), maybe(shown.as_deref()), words(key.hosts.join(", "))]
    };
    Ok(print(&table(&["name", "key", "may go to"], &keys.iter().map(row).collect::<Vec<_>>()))?)
}
