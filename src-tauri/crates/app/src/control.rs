//! How a command reaches the books: through the app that runs on the folder, or on the folder itself.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use ledger::Ledger;
use tokio::net::TcpStream;

use crate::api::{Answer, ApiError, Command};
use crate::folder::{self, Entered, Folder, Instance};
use crate::settings::Settings;
use crate::view::VerifyView;
use crate::{App, HostError};

pub const CONTROL_PATH: &str = "/tidegate/control";

/// Where a command is answered.
pub enum Desk {
    Here { app: Box<App>, folder: Folder },
    There(Instance),
}

impl Desk {
    pub async fn open(dir: &Path, settings: impl FnOnce() -> Result<Settings, HostError>) -> Result<Desk, HostError> {
        match folder::enter(dir)? {
            Entered::Running(instance) => Ok(Desk::There(instance)),
            Entered::Alone(folder) => {
                let app = Box::new(App::open(folder.path(), &settings()?).await?);
                Ok(Desk::Here { app, folder })
            }
        }
    }

    pub async fn ask(&self, command: Command) -> Result<Answer, ApiError> {
        match self {
            Desk::Here { app, .. } => app.answer(command).await,
            Desk::There(instance) => ask(instance, &command).await,
        }
    }

    /// What was written is in the ledger's file when this returns.
    pub async fn close(self) -> Result<(), HostError> {
        match self {
            Desk::Here { app, folder: _held } => Ok(app.ledger.close().await?),
            Desk::There(_) => Ok(()),
        }
    }
}

/// What is wrong with a ledger that doesn't open. Nothing is written.
pub async fn inspect(dir: &Path) -> Result<VerifyView, HostError> {
    let findings = Ledger::inspect(dir).await?;
    Ok(VerifyView { clean: false, findings: findings.iter().map(ToString::to_string).collect() })
}

/// `verify` of a large ledger takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

async fn ask(instance: &Instance, command: &Command) -> Result<Answer, ApiError> {
    match tokio::time::timeout(PATIENCE, exchange(instance, command)).await {
        Ok(answer) => answer,
        Err(_) => Err(unreachable(instance, "it did not answer within 10 min")),
    }
}

fn unreachable(instance: &Instance, reason: impl std::fmt::Display) -> ApiError {
    let Instance { program, pid, address, .. } = instance;
    ApiError::machine(format!("{program} (pid {pid}) at {address} can't be asked: {reason}; end it or try again"))
}

async fn exchange(instance: &Instance, command: &Command) -> Result<Answer, ApiError> {
    let failed = |error: &dyn std::error::Error| unreachable(instance, error);
    let authority = instance.address.trim_start_matches("http://");
    let body = serde_json::to_vec(command).map_err(|error| failed(&error))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONTROL_PATH)
        .header(header::HOST, authority)
        .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    let stream = TcpStream::connect(authority).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    connection.abort();
    if status == StatusCode::OK {
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    } else {
        Err(ApiError::from_json(&body).unwrap_or_else(|| unreachable(instance, format!("it answered {status}"))))
    }
}
