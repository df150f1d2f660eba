//! `tidegate client …`

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::view::ClientView;

use crate::args::{Client, ClientTerms};
use crate::table::{dollars, maybe, number, table, words};
use crate::{Place, print, print_json, tell, unexpected};

pub(crate) async fn run(place: &Place, client: Client) -> anyhow::Result<ExitCode> {
    match client {
        Client::Add(terms) => add(place, terms).await?,
        Client::List(shape) => list(place, shape.json).await?,
        Client::Set(terms) => {
            place.ask(Command::ClientSet { name: terms.name.clone(), change: terms.change() }).await?;
        }
        Client::Revoke { name } => {
            place.ask(Command::ClientRevoke { name }).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(place: &Place, terms: ClientTerms) -> anyhow::Result<()> {
    let desk = place.desk().await?;
    let address = match &desk {
        app::control::Desk::There(instance) => instance.address.clone(),
        app::control::Desk::Here { .. } => format!("http://{}", place.load_settings()?.gateway.listen),
    };
    let answer = desk.ask(Command::ClientAdd { name: terms.name.clone(), change: terms.change() }).await;
    desk.close().await?;
    let Answer::Token(token) = answer? else { return Err(unexpected()) };
    print(&format!("{token}\n"))?;
    tell(&how_to_use(&terms.name, &address));
    Ok(())
}

fn how_to_use(name: &str, address: &str) -> String {
    format!(
        "This is the token of {name}; it is shown this once.\n\
         Claude Code:         ANTHROPIC_BASE_URL={address} ANTHROPIC_AUTH_TOKEN=<token> claude\n\
         Python, TypeScript:  ANTHROPIC_BASE_URL={address} ANTHROPIC_API_KEY=<token>\n\
         curl:                curl {address}/v1/messages -H 'x-api-key: <token>' -H 'anthropic-version: 2023-06-01' …\n"
    )
}

async fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let Answer::Clients(clients) = place.ask(Command::ClientList).await? else { return Err(unexpected()) };
    if json {
        return print_json(&clients);
    }
    if clients.is_empty() {
        tell("There are no clients yet: `tidegate client add NAME` makes one.\n");
        return Ok(());
    }
    Ok(print(&shown(&clients))?)
}

fn shown(clients: &[ClientView]) -> String {
    let amount = |usd: &Option<String>| number(usd.as_deref().map_or_else(|| "–".to_owned(), |usd| dollars(Some(usd))));
    let row = |client: &ClientView| {
        vec![
            words(&client.name),
            words(&client.priority),
            number(client.weight),
            maybe(client.person.as_deref()),
            maybe(client.project.as_deref()),
            amount(&client.daily_usd),
            amount(&client.weekly_usd),
            amount(&client.monthly_usd),
            number(client.max_share.map_or_else(|| "–".to_owned(), |share| format!("{share} %"))),
        ]
    };
    let heads = ["name", "priority", "weight", "person", "project", "a day", "a week", "a month", "max share"];
    table(&heads, &clients.iter().map(row).collect::<Vec<_>>())
}
