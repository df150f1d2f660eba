//! A threshold is crossed: the tray, the inbox and the notification tell of it, and a press on the notification is obeyed.

use serde_json::{Value, json};
use support::http::{self, Request};
use support::process::{Said, binary, run};

use crate::desk::{Desk, Notices, Tray, until};
use crate::driver::{Page, free_port};

/// A desktop on which calls cost money.
struct Office {
    desk: Desk,
    address: String,
}

impl Office {
    fn new() -> Office {
        let desk = Desk::new();
        let address = format!("127.0.0.1:{}", free_port());
        desk.settings(&format!(
            "[gateway]\nlisten = \"{address}\"\n[[upstream]]\nname = \"anthropic\"\nkind = \"simulator\"\n"
        ));
        Office { desk, address }
    }

    fn tidegate(&self, args: &[&str]) -> Said {
        let mut command = self.desk.command(binary());
        command.args(args);
        run(command, "")
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.tidegate(&[args, &["--json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {} {}", said.out, said.err))
    }

    fn alerts_of(&self, client: &str) -> Vec<Value> {
        let scope = format!("client:{client} day");
        let all = self.json(&["alert", "list"]).as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|alert| alert["scope"] == *scope).collect()
    }

    async fn call(&self, token: &str) {
        let body =
            json!({"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]});
        let call = Request::message(body.to_string()).header("x-api-key", token);
        let answer = http::call(&self.address, &call).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    fn cost_of(&self, client: &str) -> f64 {
        let usage = self.json(&["usage", "--by", "client"]);
        let rows = usage["rows"].as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["key"] == *client).unwrap_or_else(|| panic!("{client} in {usage}"));
        row["cost_usd"].as_str().and_then(|usd| usd.parse().ok()).expect("a cost")
    }

    /// Calls until nine tenths of a budget are used that is seen half used first.
    async fn cross(&self, client: &str) {
        let token = self.tidegate(&["client", "add", client]).out.trim().to_owned();
        self.call(&token).await;
        let budget = format!("{:.9}", self.cost_of(client) * 2.3);
        assert_eq!(self.tidegate(&["client", "set", client, "--daily-usd", &budget]).code, Some(0));
        let rules = self.desk.path("data/tidegate/alert-rules.json");
        until("the budget is seen", || {
            std::fs::read_to_string(&rules).is_ok_and(|text| text.contains(&format!("client:{client} day")))
        });
        self.call(&token).await;
    }
}

/// The one for which a client's budget was crossed, once it is there.
fn notice(notices: &mut Notices, client: &str) -> Value {
    let mut found = None;
    until("a notification", || {
        found = notices.all().into_iter().find(|one| one["body"].as_str().is_some_and(|body| body.contains(client)));
        found.is_some()
    });
    found.expect("it was there")
}

fn icon(tray: &mut Tray) -> Vec<u8> {
    let shown = tray.look();
    std::fs::read(shown["icon"].as_str().unwrap_or_default()).unwrap_or_default()
}

#[tokio::test]
async fn one_crossing_changes_the_tray_the_inbox_and_the_notification_and_its_buttons_are_obeyed() {
    let office = Office::new();
    let mut notices = office.desk.notices();
    let mut tray = office.desk.tray();
    let _app = office.desk.start(office.desk.app(&[]));
    until("the tray is there", || tray.labels().iter().any(|label| label == "No alerts"));
    until("the gate is open", || std::net::TcpStream::connect(&office.address).is_ok());
    let calm = icon(&mut tray);

    office.cross("ci").await;
    let told = notice(&mut notices, "ci");
    let buttons = json!({
        "default": "Open", "snooze": "Snooze until reset", "raise-cap": "Raise cap by half", "pause-client": "Pause client"
    });
    assert_eq!((&told["app"], &told["buttons"]), (&"Tidegate".into(), &buttons));
    until("the tray says so", || {
        let labels = tray.labels();
        let has = |start: &str, part: &str| labels.iter().any(|label| label.starts_with(start) && label.contains(part));
        has("client ci, day ", " %") && has("△ ", "\"ci\"")
    });
    assert_ne!(icon(&mut tray), calm, "its picture changes too");
    let number = tray.look()["number"].as_str().unwrap_or_default().to_owned();
    assert!(tray.labels()[0].contains(&number) && number.ends_with(" %") && number != "0 %", "{number:?} beside it");
    let alerts = office.alerts_of("ci");
    assert_eq!((alerts.len(), &alerts[0]["rule"], &alerts[0]["snoozed_until"]), (1, &"budget".into(), &Value::Null));

    notices.press(&told, "snooze");
    until("it is snoozed", || office.alerts_of("ci")[0]["snoozed_until"].is_string());

    office.cross("web").await;
    let told = notice(&mut notices, "web");
    let cap = |office: &Office| -> f64 {
        let clients = office.json(&["client", "list"]);
        let web = clients.as_array().and_then(|all| all.iter().find(|one| one["name"] == "web")).cloned();
        web.and_then(|web| web["daily_usd"].as_str()?.parse().ok()).unwrap_or(0.0)
    };
    let before = cap(&office);
    notices.press(&told, "raise-cap");
    until("the cap is raised", || (cap(&office) - before * 1.5).abs() < 1e-6);
    until("that ends the alert", || office.alerts_of("web")[0]["resolved_at"].is_string());

    office.cross("night").await;
    notice(&mut notices, "night");
    tray.click("For an hour");
    until("the tray snoozes what is open", || office.alerts_of("night")[0]["snoozed_until"].is_string());
}

#[tokio::test]
async fn an_alert_that_comes_is_read_and_snoozed_in_the_window() {
    let office = Office::new();
    let page = Page::open(&office.desk, &[]).await;
    until("the gate is open", || std::net::TcpStream::connect(&office.address).is_ok());
    office.cross("ci").await;
    page.click("//nav//button[contains(., 'Alerts')]").await;
    let inbox = "//section[@aria-labelledby='inbox']";
    page.text_that(inbox, |text| text.contains("\"ci\"") && text.contains("open")).await;
    page.click("//button[starts-with(@aria-label, 'Snooze')]").await;
    page.text_that(inbox, |text| text.contains("snoozed until")).await;
    assert!(office.alerts_of("ci")[0]["snoozed_until"].is_string());
    page.close().await;
}

#[test]
fn a_press_on_a_notification_opens_the_window() {
    let office = Office::new();
    let _notifier = office.desk.notifier();
    let _app = office.desk.start(office.desk.app(&[]));
    until("the window is there", || office.desk.window().is_some());
    office.desk.close_window();
    until("the window is gone", || office.desk.window().is_none());
    office.desk.ask("dunstctl", &["close-all"]);
    let said = office.tidegate(&["alert", "test", "desktop"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    until("it is shown", || office.desk.ask("dunstctl", &["count", "displayed"]).trim() == "1");
    office.desk.ask("dunstctl", &["action", "0"]);
    until("the window is back", || office.desk.window().is_some());
}
