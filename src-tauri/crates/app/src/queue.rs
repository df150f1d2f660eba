//! The queue by hand: who waits, what would become of a call, and capacity that is set aside.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::ReservationId;
use domain::call::CallId;
use domain::config::Client;
use gateway::{Gateway, Wanted};
use serde::Deserialize;

use crate::App;
use crate::api::{ApiError, ReserveQuestion};
use crate::clients::{self, ClientError};
use crate::show;
use crate::view::{OutlookView, ReservationView, WaitingView};

/// The largest body that may be a message.
const BODY_MAX: u64 = 33_554_432;

impl App {
    /// What a body in a file of the asker's will come to.
    pub async fn estimate(&self, file: &Path, client: Option<&str>) -> Result<OutlookView, ApiError> {
        let body = body(file)?;
        let asking = match client {
            Some(name) => self.client_named(name)?,
            None => Arc::new(clients::unchanged("")),
        };
        let running = self.running().ok();
        let gateway = match &running {
            Some((gateway, _)) => gateway.clone(),
            None => self.closed_gateway().await.map_err(ApiError::machine)?,
        };
        let outlook = gateway.outlook(&body, &asking).map_err(ApiError::asker)?;
        let mut view = show::outlook(&outlook, &model(&body), client);
        if running.is_none() {
            (view.wait_ms, view.waits_for) = (None, None);
        }
        Ok(view)
    }

    fn client_named(&self, name: &str) -> Result<Arc<Client>, ApiError> {
        let known = self.known_clients();
        let named = known.iter().find(|known| *known.client.name == *name).map(|known| known.client.clone());
        let unknown = || ClientError::Unknown { name: name.escape_default().to_string() }.into();
        named.ok_or_else(unknown)
    }

    pub fn queue(&self) -> Result<Vec<WaitingView>, ApiError> {
        let (gateway, upstreams) = self.running()?;
        Ok(gateway.waiting().iter().map(|call| show::waiting(call, &upstreams)).collect())
    }

    /// The call gets a refusal at once. Gives its id.
    pub fn drop_call(&self, beginning: &str) -> Result<String, ApiError> {
        let (gateway, _) = self.running()?;
        let call = waiting_call(&gateway, beginning)?;
        if gateway.drop_call(call) { Ok(call.to_string()) } else { Err(no_longer(call)) }
    }

    /// The call goes before all others. Gives its id.
    pub fn raise_call(&self, beginning: &str) -> Result<String, ApiError> {
        let (gateway, _) = self.running()?;
        let call = waiting_call(&gateway, beginning)?;
        if gateway.raise_call(call) { Ok(call.to_string()) } else { Err(no_longer(call)) }
    }

    pub async fn reserve(&self, question: &ReserveQuestion) -> Result<ReservationView, ApiError> {
        let (gateway, upstreams) = self.running()?;
        let client = self.whose(question)?;
        let wanted = Wanted {
            model: question.model.clone(),
            calls: question.calls,
            input_tokens: question.input_tokens,
            output_tokens: question.output_tokens,
            ttl: Duration::from_millis(question.ttl_ms),
        };
        let held = gateway.reserve(&client, &wanted);
        let held = held.map_err(ApiError::machine)?;
        self.keep_now().await;
        Ok(show::reservation(&held, &upstreams))
    }

    pub async fn release(&self, id: &str, client: &str) -> Result<(), ApiError> {
        let (gateway, _) = self.running()?;
        let id = id.parse().map_err(|_| ApiError::asker("a reservation's id is 26 letters and digits"))?;
        if !gateway.release(ReservationId(id), client) {
            return Err(ApiError::absent(format!("{client} holds no reservation {id}: it has ended")));
        }
        self.keep_now().await;
        Ok(())
    }

    fn whose(&self, question: &ReserveQuestion) -> Result<Arc<Client>, ApiError> {
        let known = self.known_clients();
        let shown = |hash: &String| known.iter().find(|known| crate::clients::hex(&known.token_sha256) == *hash);
        let found = match (&question.client, &question.token_sha256, known.as_slice()) {
            (Some(name), ..) => return self.client_named(name),
            (None, Some(hash), _) => shown(hash).ok_or_else(|| {
                ApiError::asker("the token in the environment is no client's: name the client with --client")
            })?,
            (None, None, [only]) => only,
            (None, None, _) => return Err(ApiError::asker("say whose calls these will be with --client NAME")),
        };
        Ok(found.client.clone())
    }
}

/// The one that waits and whose id begins so.
fn waiting_call(gateway: &Gateway, beginning: &str) -> Result<CallId, ApiError> {
    let beginning = beginning.to_ascii_uppercase();
    let waiting = gateway.waiting();
    let begins = |call: &&domain::admission::WaitingCall| call.call.to_string().starts_with(&beginning);
    let mut found = waiting.iter().filter(begins).filter(|_| !beginning.is_empty());
    match (found.next(), found.next()) {
        (Some(call), None) => Ok(call.call),
        (Some(_), Some(_)) => {
            Err(ApiError::asker(format!("several calls that wait begin with {beginning}: write more of the id")))
        }
        (None, _) => Err(ApiError::absent(format!(
            "no call that waits begins with {}: `tidegate queue` shows those there are",
            beginning.escape_default()
        ))),
    }
}

fn no_longer(call: CallId) -> ApiError {
    ApiError::absent(format!("call {call} no longer waits"))
}

/// As the body names it.
fn model(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        model: String,
    }
    serde_json::from_slice::<Named>(body).map(|named| named.model).unwrap_or_default()
}

/// A request body from a file of the asker's.
fn body(file: &Path) -> Result<Vec<u8>, ApiError> {
    let unreadable = |reason: std::io::Error| ApiError::machine(format!("{} can't be read: {reason}", file.display()));
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > BODY_MAX {
        return Err(ApiError::asker(format!("{} is larger than any message may be (32 MiB)", file.display())));
    }
    std::fs::read(file).map_err(unreadable)
}
