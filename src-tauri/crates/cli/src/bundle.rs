//! `export bundle`, `import bundle`, `bundle list`, `bundle forget`: a team's months without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use app::api::{Answer, ApiError, Command};
use app::bundle::{BundleMonthView, BundleView, DeviceView};

use crate::args::{Bundle, Export, ImportBundle};
use crate::table::{Cell, clean, count, dollars, lines, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn export(place: &Place, question: Export) -> anyhow::Result<ExitCode> {
    if question.client.is_some() || question.columns.is_some() {
        return Err(ApiError::asker("a bundle has the sums of all clients: leave --client and --columns out").into());
    }
    let out = question.out.ok_or_else(|| ApiError::asker("a bundle needs --out FILE"))?;
    let file = std::path::absolute(&out).context("the place of --out is unknown")?;
    let has_folder = file.parent().is_some_and(std::path::Path::is_dir);
    anyhow::ensure!(has_folder, "{} can't be written: there is no such folder; make it first", out.display());
    let (from, to, name, tenants) = (question.days.from, question.days.to, question.name, question.tenants);
    let asked = Command::ExportBundle { from, to, name, tenants, file };
    let Answer::Bundle(bundle) = place.ask(asked).await? else { return Err(unexpected()) };
    tell(&format!("{}, device {}, fingerprint {}\n", clean(&bundle.name), bundle.device, bundle.fingerprint));
    if bundle.months.is_empty() {
        tell("No call was made in these months: the bundle is empty.\n");
    }
    tell(&months(&bundle.months));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn import(place: &Place, question: ImportBundle) -> anyhow::Result<ExitCode> {
    let files: Vec<PathBuf> =
        question.files.iter().map(std::path::absolute).collect::<Result<_, _>>().context("this is no path")?;
    let Answer::Bundles(bundles) = place.ask(Command::ImportBundles { files }).await? else {
        return Err(unexpected());
    };
    if question.shape.json {
        print_json(&bundles)?;
    }
    for bundle in &bundles {
        match &bundle.refused {
            Some(reason) => tell(&(lines(reason) + "\n")),
            None if question.shape.json => {}
            None => print(&taken(bundle))?,
        }
    }
    for bundle in bundles.iter().filter(|bundle| is_outdated(bundle)) {
        tell(&format!(
            "Nothing of {} was taken in: what {} handed over later is here already.\n",
            clean(&bundle.file),
            clean(&bundle.name)
        ));
    }
    let refused = bundles.iter().filter(|bundle| bundle.refused.is_some()).count();
    if refused > 0 {
        tell(&format!("{refused} of {} files were refused, and nothing of them was taken in.\n", bundles.len()));
    }
    Ok(if refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Nothing has to be done about it: that is no failure.
fn is_outdated(bundle: &BundleView) -> bool {
    !bundle.months.is_empty() && bundle.months.iter().all(|month| month.outcome == "older")
}

fn taken(bundle: &BundleView) -> String {
    format!(
        "{} (device {}, fingerprint {})\n{}",
        clean(&bundle.name),
        bundle.device,
        bundle.fingerprint,
        months(&bundle.months)
    )
}

fn months(all: &[BundleMonthView]) -> String {
    let row = |month: &BundleMonthView| {
        vec![
            words(&month.month),
            number(count(month.calls)),
            number(dollars(month.cost_usd.as_deref())),
            number(month.revision),
            words(&month.outcome),
        ]
    };
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { table(&["month", "calls", "cost", "revision", ""], &rows) }
}

pub(crate) async fn run(place: &Place, bundle: Bundle) -> anyhow::Result<ExitCode> {
    match bundle {
        Bundle::List(shape) => {
            let Answer::Devices(devices) = place.ask(Command::BundleList).await? else { return Err(unexpected()) };
            if shape.json {
                print_json(&devices)?;
            } else if devices.is_empty() {
                tell("No other device has handed anything over: `tidegate import bundle FILE` takes a bundle in.\n");
            } else {
                print(&devices.iter().map(shown).collect::<Vec<_>>().join("\n"))?;
            }
        }
        Bundle::Forget { device } => {
            place.ask(Command::BundleForget { device }).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(device: &DeviceView) -> String {
    format!(
        "{} (device {}, fingerprint {}), last seen {}\n{}",
        clean(&device.name),
        device.device,
        device.fingerprint,
        device.last_seen,
        months(&device.months)
    )
}
