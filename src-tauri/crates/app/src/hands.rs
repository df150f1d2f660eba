//! Does what a person asked for on a notification, or beside the alert in the window.

use std::sync::{Arc, Weak};

use domain::money::Usd;
use tokio::sync::{Notify, mpsc};

use crate::App;
use crate::api::{ApiError, Command};
use crate::clients::ClientChange;
use crate::desktop::{self, Action, Click};
use crate::view::{AlertView, ClientView};

/// As long as the app is there. `window` is told when it is to be opened.
pub(crate) async fn obey(app: Weak<App>, mut clicks: mpsc::Receiver<Click>, window: Arc<Notify>) {
    while let Some(Click { alert, action }) = clicks.recv().await {
        let Some(app) = app.upgrade() else { return };
        tracing::info!("{action:?} was asked for on the notification of alert {}", alert.alert_id);
        let done = match action {
            Action::Open => {
                window.notify_one();
                Ok(())
            }
            Action::Snooze => app.snooze(&alert).await,
            Action::RaiseCap => app.raise_cap(&alert).await,
            Action::PauseClient => app.pause_client(&alert).await,
        };
        if let Err(error) = done {
            desktop::say("That did not work", &error.to_string());
        }
    }
}

impl App {
    async fn snooze(&self, alert: &AlertView) -> Result<(), ApiError> {
        let id = alert.alert_id.clone();
        self.answer(Command::AlertSnooze { id, until: None }).await.map(drop)
    }

    /// Of a client's own budget: one of the settings is changed there.
    pub(crate) async fn raise_cap(&self, alert: &AlertView) -> Result<(), ApiError> {
        let name = client(&alert.scope)?;
        let period = alert.scope.split_once(' ').map_or("", |(_, period)| period);
        let clients = self.clients();
        let known = clients.iter().find(|client| client.name == name);
        let change = known.and_then(|client| raised(client, period));
        let change = change.ok_or_else(|| {
            ApiError::asker(format!("the budget of {name} is in the settings' [[budget]]: raise it there"))
        })?;
        self.set_client(name, &change)?;
        self.recount().await;
        Ok(())
    }

    pub(crate) fn alert(&self, id: &str) -> Result<AlertView, ApiError> {
        let found = self.crisis.alerts.latest(usize::MAX).into_iter().find(|alert| alert.alert_id == id);
        found.ok_or_else(|| {
            ApiError::absent(format!("there is no alert {}: `tidegate alert list` shows them", id.escape_default()))
        })
    }

    async fn pause_client(&self, alert: &AlertView) -> Result<(), ApiError> {
        let name = client(&alert.scope)?.to_owned();
        self.answer(Command::Pause { class: format!("client:{name}") }).await.map(drop)
    }
}

/// `client:ci day` is of `ci`.
fn client(scope: &str) -> Result<&str, ApiError> {
    let name = scope.strip_prefix("client:").map(|rest| rest.split_once(' ').map_or(rest, |(name, _)| name));
    name.ok_or_else(|| ApiError::asker(format!("{scope} is no client")))
}

fn raised(client: &ClientView, period: &str) -> Option<ClientChange> {
    let half_more = |usd: &Option<String>| {
        let usd: Usd = usd.as_ref()?.parse().ok()?;
        Some(Usd::from_nanos(usd.as_nanos().saturating_add(usd.as_nanos() / 2)).to_string())
    };
    let nothing = ClientChange::default();
    Some(match period {
        "day" => ClientChange { daily_usd: Some(half_more(&client.daily_usd)?), ..nothing },
        "week" => ClientChange { weekly_usd: Some(half_more(&client.weekly_usd)?), ..nothing },
        "month" => ClientChange { monthly_usd: Some(half_more(&client.monthly_usd)?), ..nothing },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_raised_by_half_in_its_own_period() {
        let client = ClientView { daily_usd: Some("20".into()), ..ClientView::default() };
        let change = raised(&client, "day").expect("it has one");
        assert_eq!(change, ClientChange { daily_usd: Some("30.000000000".into()), ..ClientChange::default() });
        assert_eq!((raised(&client, "week"), raised(&client, "year")), (None, None));
    }

    #[test]
    fn a_scope_names_its_client() {
        assert_eq!(client("client:ci day").ok(), Some("ci"));
        assert_eq!(client("client:ci").ok(), Some("ci"));
        assert!(client("machine day").is_err());
    }
}
