//! What an upstream's status page says, beside our own measurement: a word, and never more than that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateway::ProxyUse;
use reqwest::Client;
use serde::Deserialize;

use crate::settings::StatusPage;
use crate::view::{IncidentView, UpstreamPageView};
use crate::{clock, outbound};

pub(crate) struct Page {
    settings: StatusPage,
    proxy: ProxyUse,
    seen: Mutex<UpstreamPageView>,
}

/// `summary.json` of a Statuspage, as far as it is shown. Others have fewer fields.
#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    status: Status,
    #[serde(default)]
    incidents: Vec<Incident>,
}

#[derive(Default, Deserialize)]
struct Status {
    indicator: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Incident {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    shortlink: Option<String>,
}

const PATH: &str = "/api/v2/summary.json";
const BODY_BYTES_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// A page that fails is asked half as often each time, and no less often than this.
const EVERY_MAX: Duration = Duration::from_secs(900);
const INCIDENTS_MAX: usize = 20;
const TEXT_CHARS_MAX: usize = 500;

impl Page {
    pub(crate) fn of(settings: StatusPage, proxy: ProxyUse) -> Page {
        let seen = UpstreamPageView { url: settings.url.as_str().to_owned(), ..UpstreamPageView::default() };
        Page { settings, proxy, seen: Mutex::new(seen) }
    }

    pub(crate) fn seen(&self) -> UpstreamPageView {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs as long as a gateway does.
    pub(crate) async fn run(self: Arc<Page>) {
        let client = match outbound::client(&self.proxy, &self.settings.url) {
            Ok(client) => client,
            Err(error) => return self.note(Err(outbound::root_cause(&error))),
        };
        let mut failures = 0;
        loop {
            let read = read(&client, self.settings.url.as_str()).await;
            failures = if read.is_ok() { 0 } else { failures + 1 };
            self.note(read);
            tokio::time::sleep(wait(self.settings.every, failures)).await;
        }
    }

    /// What was read before stays where reading fails: with its age, and with why.
    fn note(&self, read: Result<Summary, String>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(summary) => *seen = summary.view(&seen.url),
            Err(error) => seen.error = Some(error),
        }
    }
}

/// Until the next question, after so many that failed in a row.
fn wait(every: Duration, failures: u32) -> Duration {
    every.saturating_mul(1 << failures.min(10)).min(EVERY_MAX.max(every))
}

async fn read(client: &Client, base: &str) -> Result<Summary, String> {
    let asked = tokio::time::timeout(PATIENCE, fetch(client, format!("{base}{PATH}"))).await;
    let body = asked.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
    serde_json::from_slice(&body).map_err(|_| "the answer is no summary of a status page".to_owned())
}

async fn fetch(client: &Client, url: String) -> Result<Vec<u8>, String> {
    let unread = |error: reqwest::Error| outbound::root_cause(&error);
    let mut answer = client.get(url).header("accept", "application/json").send().await.map_err(unread)?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status().as_u16()));
    }
    let mut body = vec![];
    while let Some(piece) = answer.chunk().await.map_err(unread)? {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(format!("the answer is larger than {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

impl Summary {
    fn view(self, url: &str) -> UpstreamPageView {
        let incident = |incident: Incident| IncidentView {
            name: short(incident.name),
            status: short(incident.status),
            shortlink: incident.shortlink.filter(|link| link.starts_with("https://")).map(short),
        };
        UpstreamPageView {
            url: url.to_owned(),
            indicator: self.status.indicator.map(short),
            description: self.status.description.map(short),
            incidents: self.incidents.into_iter().take(INCIDENTS_MAX).map(incident).collect(),
            checked_at: Some(clock::now().timestamp.to_string()),
            error: None,
        }
    }
}

/// Other people's text: no longer than a person reads, and without what would move a terminal.
fn short(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::settings::BaseUrl;

    /// Answers one question with each of the texts, and tells what was asked.
    async fn page(answers: Vec<String>) -> (Page, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/status", listener.local_addr().expect("an address"));
        let served = tokio::spawn(async move {
            let mut asked = vec![];
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a question");
                let mut head = vec![0; 4_096];
                let read = socket.read(&mut head).await.expect("a head");
                asked.push(String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned());
                let _ = socket.write_all(answer.as_bytes()).await;
            }
            asked
        });
        let settings = StatusPage { url: BaseUrl::parse(&url).expect("a URL"), every: Duration::from_secs(60) };
        (Page::of(settings, ProxyUse::Env), served)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    async fn ask(page: &Page) -> UpstreamPageView {
        let client = outbound::client(&page.proxy, &page.settings.url).expect("a client");
        page.note(read(&client, page.settings.url.as_str()).await);
        page.seen()
    }

    #[tokio::test]
    async fn a_summary_is_shown_and_a_failure_keeps_what_was_read() {
        let body = r#"{"page":{"id":"x"},"status":{"indicator":"major","description":"Partial <b>outage</b>\u001b[2J"},
            "incidents":[{"id":"1","name":"Elevated errors","status":"investigating","impact":"major","shortlink":"https://stspg.io/1"},
                {"name":"No link","shortlink":"javascript:alert(1)"}],"scheduled_maintenances":[]}"#;
        let (page, served) = page(vec![answer("200 OK", body), answer("503 Service Unavailable", "no")]).await;
        assert_eq!(page.seen().checked_at, None);
        let seen = ask(&page).await;
        assert_eq!((seen.indicator.as_deref(), seen.error.as_deref()), (Some("major"), None));
        assert_eq!(
            seen.description.as_deref(),
            Some("Partial <b>outage</b>[2J"),
            "text, and nothing that moves a terminal"
        );
        assert_eq!(seen.incidents[0].shortlink.as_deref(), Some("https://stspg.io/1"));
        assert_eq!((&*seen.incidents[1].status, &seen.incidents[1].shortlink), ("", &None));
        let failed = ask(&page).await;
        assert_eq!(failed, UpstreamPageView { error: Some("it answered 503".to_owned()), ..seen });
        assert_eq!(served.await.expect("served"), ["GET /status/api/v2/summary.json HTTP/1.1"; 2]);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_summary_or_never_ends_is_an_error_and_no_more() {
        let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(BODY_BYTES_MAX + 1));
        let (page, _served) = page(vec![answer("200 OK", "<html>"), answer("200 OK", "{}"), endless]).await;
        assert_eq!(ask(&page).await.error.as_deref(), Some("the answer is no summary of a status page"));
        let empty = ask(&page).await;
        assert_eq!((empty.indicator, empty.error), (None, None), "fewer fields are fine");
        assert!(empty.checked_at.is_some());
        assert_eq!(ask(&page).await.error.as_deref(), Some("the answer is larger than 1048576 bytes"));
    }

    #[test]
    fn a_page_that_fails_is_asked_less_and_less_often_up_to_a_quarter_of_an_hour() {
        let waits = [0, 1, 2, 3, 4, 99].map(|failures| wait(Duration::from_secs(60), failures).as_secs());
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        assert_eq!(wait(Duration::from_secs(3_600), 5).as_secs(), 3_600, "and never more often than it was to be");
    }
}
