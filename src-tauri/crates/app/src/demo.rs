//! A simulated API, a ledger of its own, and programs that call steadily: through the whole real path, for people who look.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::call::Class;
use serde_json::json;
use tokio::task::JoinSet;

use crate::clients::ClientChange;
use crate::settings::{self, Durability, Settings};
use crate::{App, HostError, data};

pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Small enough that a few programs fill it and the queue moves.
const UPSTREAM: &str = "
[[upstream]]
name = \"simulator\"
kind = \"simulator\"
scheme = \"2025-09\"
tier = \"1\"
";

/// The user's own settings on a simulated upstream; what nobody pays for is budgeted by nobody.
pub(crate) fn settings(own: &Settings) -> Result<Settings, HostError> {
    let demo = settings::parse(UPSTREAM, &data::schemes()?).map(|demo| demo.upstreams);
    Ok(Settings {
        upstreams: demo.unwrap_or_default(),
        budgets: vec![],
        background: None,
        otlp: None,
        durability: Durability::Process,
        ..own.clone()
    })
}

/// A program that calls.
struct Program {
    name: &'static str,
    class: Class,
    model: &'static str,
    asks: &'static [&'static str],
    /// What goes with each question, in thousands of characters.
    context: u64,
    max_tokens: u64,
    stream: bool,
    /// Seconds between its rounds.
    every: (u64, u64),
    /// Calls at once in a round, from and to.
    at_once: (u64, u64),
}

#[rustfmt::skip]
const PROGRAMS: [Program; 5] = [
    Program { name: "support-bot", class: Class::Critical, model: "claude-haiku-4-5", stream: true, context: 2, max_tokens: 160, every: (4, 9), at_once: (1, 2),
        asks: &["A customer's parcel is late. Write two kind sentences.", "How does a customer change the address of an order?"] },
    Program { name: "web", class: Class::Normal, model: "claude-sonnet-4-5", stream: true, context: 1, max_tokens: 200, every: (3, 8), at_once: (1, 2),
        asks: &["Summarise the reviews of this lamp in three points.", "Suggest five titles for an article about tides."] },
    Program { name: "editor", class: Class::Normal, model: "claude-sonnet-4-5", stream: true, context: 10, max_tokens: 320, every: (5, 14), at_once: (1, 1),
        asks: &["Why does this test fail? Name the line.", "Rename the variable and explain the change in one sentence."] },
    Program { name: "search", class: Class::Normal, model: "claude-haiku-4-5", stream: false, context: 1, max_tokens: 60, every: (2, 6), at_once: (1, 3),
        asks: &["Which of these documents answers the question? Give its number.", "Turn the question into five search words."] },
    Program { name: "nightly-batch", class: Class::Background, model: "claude-sonnet-4-5", stream: false, context: 16, max_tokens: 160, every: (18, 30), at_once: (5, 12),
        asks: &["Sort this message into one of the nine folders.", "Extract the invoice's number, date and sum as JSON."] },
];

/// Traffic on an app, until it is stopped.
pub(crate) struct Demo {
    app: Arc<App>,
    programs: std::sync::Mutex<JoinSet<()>>,
}

impl Demo {
    /// Each program gets a client and a token of its own; tokens of an earlier demo end.
    pub(crate) fn traffic(app: Arc<App>, address: &str) -> Result<Demo, HostError> {
        let caller = reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other);
        let caller = caller.map_err(HostError::Simulator)?;
        let mut programs = JoinSet::new();
        for program in &PROGRAMS {
            let token = token(&app, program)?;
            programs
                .spawn(run(program, Caller { client: caller.clone(), url: format!("{address}/v1/messages"), token }));
        }
        Ok(Demo { app, programs: std::sync::Mutex::new(programs) })
    }

    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(crate) async fn stop(&self) {
        let mut programs =
            std::mem::take(&mut *self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        programs.shutdown().await;
    }
}

fn token(app: &App, program: &Program) -> Result<String, HostError> {
    let change = ClientChange { priority: Some(program.class.name().to_owned()), ..ClientChange::default() };
    app.renew_client(program.name, &change)
}

#[derive(Clone)]
struct Caller {
    client: reqwest::Client,
    url: String,
    token: String,
}

async fn run(program: &'static Program, caller: Caller) {
    let mut chance = fastrand::Rng::new();
    let mut calls = JoinSet::new();
    loop {
        for _ in 0..between(&mut chance, program.at_once) {
            calls.spawn(call(caller.clone(), body(program, &mut chance)));
        }
        let pause = Duration::from_millis(between(&mut chance, (program.every.0 * 1_000, program.every.1 * 1_000)));
        tokio::time::sleep(pause).await;
        while calls.try_join_next().is_some() {}
    }
}

fn between(chance: &mut fastrand::Rng, (low, high): (u64, u64)) -> u64 {
    chance.u64(low..=high)
}

fn body(program: &Program, chance: &mut fastrand::Rng) -> String {
    let asked = program.asks[chance.usize(0..program.asks.len())];
    let context = "The tide rises and falls twice a day. ".repeat(usize::try_from(program.context).unwrap_or(0) * 27);
    let length = chance.usize(context.len() / 3..=context.len());
    let text = format!("{asked}\n\n{}", context.get(..length).unwrap_or_default());
    let message = json!({
        "model": program.model,
        "max_tokens": program.max_tokens,
        "stream": program.stream,
        "messages": [{ "role": "user", "content": text }],
    });
    message.to_string()
}

/// Whatever comes back is read to its end and forgotten.
async fn call(caller: Caller, body: String) {
    let request = caller
        .client
        .post(&caller.url)
        .header("x-api-key", &caller.token)
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .body(body);
    if let Ok(mut response) = request.send().await {
        while let Ok(Some(_)) = response.chunk().await {}
    }
}
