//! Steers the page in the window by WebDriver.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{self, Request};

use crate::desk::{Desk, Running, SOON, program};

const DRIVER: &str = "/usr/bin/WebKitWebDriver";
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Page {
    address: String,
    session: String,
    _driver: Running,
}

impl Page {
    /// Opens the app under the driver.
    pub(crate) async fn open(desk: &Desk, arguments: &[&str]) -> Page {
        let port = free_port();
        let mut command = desk.command(DRIVER);
        command.arg(format!("--port={port}")).env("TAURI_WEBVIEW_AUTOMATION", "true").stdout(Stdio::null());
        let mut page =
            Page { address: format!("127.0.0.1:{port}"), session: String::new(), _driver: desk.start(command) };
        page.wait("the driver", async |page| page.ask("GET", "/status", &Value::Null).await.ok()).await;
        let options = json!({"binary": program(), "args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}});
        let opened = page.ask("POST", "/session", &wanted).await.expect("the window opens");
        page.session = format!("/session/{}", opened["sessionId"].as_str().expect("a session"));
        page
    }

    pub(crate) async fn click(&self, xpath: &str) {
        let element = self.find(xpath).await;
        self.ask("POST", &format!("{}/element/{element}/click", self.session), &json!({}))
            .await
            .expect("it can be clicked");
    }

    pub(crate) async fn fill(&self, xpath: &str, text: &str) {
        let element = self.find(xpath).await;
        let value = json!({"text": text});
        self.ask("POST", &format!("{}/element/{element}/value", self.session), &value).await.expect("it can be filled");
    }

    /// The driver's own notion of a visible text leaves out cells of tables, so the page is asked.
    pub(crate) async fn text(&self, xpath: &str) -> String {
        let element = self.find(xpath).await;
        let text =
            self.ask("GET", &format!("{}/element/{element}/property/textContent", self.session), &Value::Null).await;
        text.ok().and_then(|text| text.as_str().map(|text| text.trim().to_owned())).unwrap_or_default()
    }

    pub(crate) async fn source(&self) -> String {
        let source = self.ask("GET", &format!("{}/source", self.session), &Value::Null).await.expect("a page");
        source.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of an element is as wanted, and gives it.
    pub(crate) async fn text_that(&self, xpath: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        loop {
            let text = self.text(xpath).await;
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < end, "not within {SOON:?}: {xpath} says {text:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) async fn find(&self, xpath: &str) -> String {
        let wanted = json!({"using": "xpath", "value": xpath});
        let path = format!("{}/element", self.session);
        self.wait(xpath, async |page| {
            let found = page.ask("POST", &path, &wanted).await.ok()?;
            found[ELEMENT].as_str().map(str::to_owned)
        })
        .await
    }

    /// Ends the app and the driver with it.
    pub(crate) async fn close(self) {
        let _ = self.ask("DELETE", &self.session, &Value::Null).await;
    }

    async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut(&Page) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            if let Some(seen) = look(self).await {
                return seen;
            }
            assert!(Instant::now() < end, "not within {SOON:?}: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut request = Request::new(method, path);
        if method == "POST" {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = http::call(&self.address, &request).await?;
        let value = answer.json()["value"].take();
        anyhow::ensure!(answer.status() == 200, "{method} {path}: {value}");
        Ok(value)
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
