//! `tidegate doctor`

use std::process::ExitCode;

use app::doctor::{Check, Verdict, examine};

use crate::args::Shape;
use crate::table::lines;
use crate::{Place, print, print_json};

pub(crate) async fn doctor(place: &Place, shape: &Shape) -> anyhow::Result<ExitCode> {
    let checks = examine(&place.data_dir, &place.settings).await;
    if shape.json {
        print_json(&checks)?;
    } else {
        print(&checks.iter().map(line).collect::<String>())?;
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(check: &Check) -> String {
    let verdict = match check.verdict {
        Verdict::Pass => "PASS",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    };
    format!("{verdict}  {}: {}\n", lines(&check.what), lines(&check.says))
}
