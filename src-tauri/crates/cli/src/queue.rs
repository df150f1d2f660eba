//! The queue by hand: `estimate`, `pause`, `resume`, `queue`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use app::api::{Answer, Command};
use app::view::{OutlookView, WaitingView};

use crate::args::{ClassName, Estimate, Held, OneCall, Queue, QueueAct};
use crate::table::{clean, count, dollars, maybe, number, table, time, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn pause(place: &Place, Held { what }: Held) -> anyhow::Result<ExitCode> {
    place.ask(Command::Pause { class: what.clone() }).await?;
    let whose = match what.split_once(':') {
        Some((kind, name)) => format!("calls of {kind} {}", clean(name)),
        None => format!("{what} calls"),
    };
    tell(&format!("{whose} are held back until `tidegate resume {}`.\n", clean(&what)));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn resume(place: &Place, Held { what }: Held) -> anyhow::Result<ExitCode> {
    place.ask(Command::Resume { class: what.clone() }).await?;
    if what == ClassName::Background.name()
        && let Answer::Emergency(emergency) = place.ask(Command::EmergencyStatus).await?
        && emergency.active
    {
        tell("Background calls still wait: an emergency holds them until it is over, or `tidegate emergency off`.\n");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run(place: &Place, queue: Queue) -> anyhow::Result<ExitCode> {
    match queue.act {
        None => list(place, queue.shape.json).await,
        Some(QueueAct::List(shape)) => list(place, shape.json).await,
        Some(QueueAct::Drop(OneCall { call, shape })) => {
            act(place, Command::QueueDrop { call }, "is refused", shape.json).await
        }
        Some(QueueAct::Raise(OneCall { call, shape })) => {
            act(place, Command::QueueRaise { call }, "goes next", shape.json).await
        }
    }
}

async fn act(place: &Place, command: Command, done: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Call(call) = place.ask(command).await? else { return Err(unexpected()) };
    if json {
        print_json(&serde_json::json!({ "call_id": call }))?;
    } else {
        tell(&format!("Call {call} {done}.\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Queue(waiting) = place.ask(Command::Queue).await? else { return Err(unexpected()) };
    if json {
        print_json(&waiting)?;
    } else if waiting.is_empty() {
        tell("No call waits.\n");
    } else {
        print(&shown_queue(&waiting))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_queue(waiting: &[WaitingView]) -> String {
    let row = |call: &WaitingView| {
        vec![
            words(&call.call_id),
            words(&call.class),
            words(&call.client),
            maybe(call.tenant.as_deref()),
            words(&call.model),
            number(time(call.waited_ms)),
            number(call.eta_ms.map_or_else(|| "unknown".to_owned(), time)),
        ]
    };
    let heads = ["call", "class", "client", "tenant", "model", "waited", "leaves in"];
    table(&heads, &waiting.iter().map(row).collect::<Vec<_>>())
}

pub(crate) async fn estimate(place: &Place, question: Estimate) -> anyhow::Result<ExitCode> {
    let (file, is_draft) = file(place, &question.file)?;
    let answer = place.ask(Command::Estimate { file: file.clone(), client: question.client }).await;
    if is_draft {
        // Nobody wants it any more.
        let _ = std::fs::remove_file(&file);
    }
    let Answer::Estimate(outlook) = answer? else { return Err(unexpected()) };
    if question.shape.json {
        print_json(&outlook)?;
    } else {
        print(&shown_outlook(&outlook))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever answers reads the body from a file. What comes from stdin becomes one.
fn file(place: &Place, named: &Path) -> anyhow::Result<(PathBuf, bool)> {
    if named != Path::new("-") {
        return Ok((std::path::absolute(named).context("the place of the file is unknown")?, false));
    }
    let mut body = vec![];
    std::io::stdin().take(BODY_MAX + 1).read_to_end(&mut body).context("stdin can't be read")?;
    let name = format!("estimate-{}.json.new", std::process::id());
    let draft = std::path::absolute(&place.data_dir).context("the data folder's place is unknown")?.join(name);
    std::fs::create_dir_all(&place.data_dir)
        .and_then(|()| std::fs::write(&draft, body))
        .with_context(|| format!("{} can't be written", draft.display()))?;
    Ok((draft, true))
}

/// The largest body that may be a message.
const BODY_MAX: u64 = 33_554_432;

fn shown_outlook(outlook: &OutlookView) -> String {
    let side = |tokens: u64, error: u64| format!("{} ± {}", count(tokens), count(error));
    let wait = match (outlook.wait_ms, &outlook.waits_for) {
        (Some(0), _) => "none".to_owned(),
        (Some(wait), Some(limit)) => format!("{}, for {}", time(wait), clean(limit)),
        (Some(wait), None) => time(wait),
        (None, _) => "unknown".to_owned(),
    };
    format!(
        "{}\ninput   {} tokens\noutput  {} tokens\ncost    {}, at worst {}\nwait    {wait}\n",
        clean(&outlook.model),
        side(outlook.input_tokens, outlook.input_error),
        side(outlook.output_tokens, outlook.output_error),
        dollars(outlook.cost_usd.as_deref()),
        dollars(outlook.worst_cost_usd.as_deref()),
    )
}
