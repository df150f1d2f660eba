//! Does what a person asked for on a notification, or beside the alert in the window.

use std::sync::{Arc, Weak};

use domain::alert::Figure;
use domain::config::{Budget, Scope};
use domain::money::Usd;
use tokio::sync::{Notify, mpsc};

use crate::api::{ApiError, Command};
use crate::clients::ClientChange;
use crate::desktop::{self, Action, Click};
use crate::settings::SettingChange;
use crate::view::{AlertView, ClientView};
use crate::{App, Host};

/// As long as the app is there, and whoever holds its settings. `window` is told when it is to be opened.
pub(crate) async fn obey(app: Weak<App>, host: Weak<Host>, mut clicks: mpsc::Receiver<Click>, window: Arc<Notify>) {
    while let Some(Click { alert, action }) = clicks.recv().await {
        let (Some(app), Some(host)) = (app.upgrade(), host.upgrade()) else { return };
        tracing::info!("{action:?} was asked for on the notification of alert {}", alert.alert_id);
        let done = match action {
            Action::Open => {
                window.notify_one();
                Ok(())
            }
            Action::Snooze => app.snooze(&alert).await,
            Action::RaiseCap => host.raise_cap(&app, &alert).await,
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

    /// Of a client's own budget. One of the settings stays as it is: what to change there is the answer.
    async fn raise_cap(&self, alert: &AlertView) -> Result<Option<SettingChange>, ApiError> {
        let (name, period) = client(&alert.scope)?;
        let clients = self.clients();
        let known = clients.iter().find(|client| client.name == name);
        if let Some(change) = known.and_then(|client| raised(client, period)) {
            self.set_client(name, &change)?;
            self.recount().await;
            return Ok(None);
        }
        let change = raised_in_settings(&self.settings().budgets, name, period);
        change.map(Some).ok_or_else(|| ApiError::asker(format!("{name} has no budget of a {period} any more")))
    }

    pub(crate) fn alert(&self, id: &str) -> Result<AlertView, ApiError> {
        let found = self.crisis.alerts.latest(usize::MAX).into_iter().find(|alert| alert.alert_id == id);
        found.ok_or_else(|| {
            ApiError::absent(format!("there is no alert {}: `tidegate alert list` shows them", id.escape_default()))
        })
    }

    async fn pause_client(&self, alert: &AlertView) -> Result<(), ApiError> {
        let (name, _) = client(&alert.scope)?;
        self.answer(Command::Pause { class: format!("client:{name}") }).await.map(drop)
    }
}

impl Host {
    /// Of a client's budget, wherever it is written. The demo has none of the settings'.
    pub(crate) async fn raise_cap(&self, app: &App, alert: &AlertView) -> Result<(), ApiError> {
        let Some(change) = app.raise_cap(alert).await? else { return Ok(()) };
        let changed = self.change_settings(&[change], None).await?;
        changed.refused.into_iter().next().map_or(Ok(()), |refused| Err(ApiError::asker(refused.reason)))
    }
}

/// `client:ci day` is of `ci`, and of its day.
fn client(scope: &str) -> Result<(&str, &str), ApiError> {
    let client = scope.strip_prefix("client:").map(|rest| rest.rsplit_once(' ').unwrap_or((rest, "")));
    client.ok_or_else(|| ApiError::asker(format!("{scope} is no client")))
}

fn half_more(usd: Usd) -> Usd {
    Usd::from_nanos(usd.as_nanos().saturating_add(usd.as_nanos() / 2))
}

fn raised(client: &ClientView, period: &str) -> Option<ClientChange> {
    let more = |usd: &Option<String>| Some(half_more(usd.as_ref()?.parse().ok()?).to_string());
    let nothing = ClientChange::default();
    Some(match period {
        "day" => ClientChange { daily_usd: Some(more(&client.daily_usd)?), ..nothing },
        "week" => ClientChange { weekly_usd: Some(more(&client.weekly_usd)?), ..nothing },
        "month" => ClientChange { monthly_usd: Some(more(&client.monthly_usd)?), ..nothing },
        _ => return None,
    })
}

fn raised_in_settings(budgets: &[Budget], name: &str, period: &str) -> Option<SettingChange> {
    let key = match period {
        "day" => "daily_usd",
        "week" => "weekly_usd",
        "month" => "monthly_usd",
        _ => return None,
    };
    let is_it = |budget: &&Budget| {
        budget.period.name() == period && matches!(&budget.scope, Scope::Client(client) if **client == *name)
    };
    let budget = budgets.iter().find(is_it)?;
    // As a person writes it: without zeros at its end.
    let value = Figure::usd(half_more(budget.limit)).to_string();
    Some(SettingChange { path: format!("budget[scope=client:{name}].{key}"), value: Some(value) })
}

#[cfg(test)]
mod tests {
    use domain::config::Period;

    use super::*;

    #[test]
    fn a_cap_is_raised_by_half_in_its_own_period() {
        let client = ClientView { daily_usd: Some("20".into()), ..ClientView::default() };
        let change = raised(&client, "day").expect("it has one");
        assert_eq!(change, ClientChange { daily_usd: Some("30.000000000".into()), ..ClientChange::default() });
        assert_eq!((raised(&client, "week"), raised(&client, "year")), (None, None));
    }

    #[test]
    fn a_cap_of_the_settings_is_raised_there() {
        let limit = "1.50".parse().expect("money");
        let budget = Budget { scope: Scope::Client("two".into()), period: Period::Week, limit, hard: false };
        let raised = |name, period| raised_in_settings(std::slice::from_ref(&budget), name, period);
        let change = raised("two", "week").expect("it has one");
        assert_eq!(change.path, "budget[scope=client:two].weekly_usd");
        assert_eq!(change.value.as_deref(), Some("2.25"));
        assert_eq!((raised("two", "day"), raised("one", "week")), (None, None));
    }

    #[test]
    fn a_scope_names_its_client() {
        assert_eq!(client("client:ci day").ok(), Some(("ci", "day")));
        assert_eq!(client("client:ci").ok(), Some(("ci", "")));
        assert!(client("machine day").is_err());
    }
}
