//! The Admin API of one account: its pages, read with the administrator's key, which goes to no other host.

use std::sync::Arc;
use std::time::Duration;

use gateway::ProxyUse;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::keychain::{KeyError, Keychain, Secret};
use crate::outbound::{client, root_cause};
use crate::settings::{BaseUrl, KeyRef};

/// Why there is no report.
#[derive(Debug, Error)]
pub(crate) enum NoReport {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the {what} of {host} can't be asked for ({reason}): try again later")]
    Unreachable { what: &'static str, host: String, reason: String },
    #[error("the {what} of {host} did not come within {} s: try again later", PATIENCE.as_secs())]
    Late { what: &'static str, host: String },
    #[error("{host} answered {status} to the question for its {what}: {}", advice(*status))]
    Refused { what: &'static str, host: String, status: u16 },
    #[error("the {what} of {host} is not one that can be read ({reason}); nothing was compared")]
    Unreadable { what: &'static str, host: String, reason: String },
    #[error(
        "the {what} of {host} has more than {PAGES_MAX} pages or repeats itself; ask for fewer days with --from and --to"
    )]
    Endless { what: &'static str, host: String },
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAGES_MAX: usize = 200;
const PAGE_BYTES_MAX: usize = 16 << 20;

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "it wants the admin key of an organisation; see that admin_key in the settings names one that is active"
        }
        404 => "this organisation has none",
        429 => "it was asked too often; try again in a minute",
        _ => "try again later",
    }
}

/// One page of a list, and where the next begins.
pub(crate) trait Page: DeserializeOwned {
    fn next(&self) -> Option<String>;
}

pub(crate) struct Admin {
    base: BaseUrl,
    key: Arc<Secret>,
    client: reqwest::Client,
}

/// What is asked, by its name and its path, and by which parameter its next page is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) what: &'static str,
    pub(crate) path: &'a str,
    pub(crate) parameters: &'a [(&'a str, String)],
    pub(crate) next: &'static str,
}

impl Admin {
    pub(crate) async fn of(
        base: &BaseUrl,
        admin_key: &KeyRef,
        keychain: &Keychain,
        proxy: &ProxyUse,
    ) -> Result<Admin, NoReport> {
        let key = keychain.key(admin_key, base.origin()).await?;
        let unreachable = |error: reqwest::Error| NoReport::Unreachable {
            what: "reports",
            host: base.authority(),
            reason: root_cause(&error),
        };
        Ok(Admin { base: base.clone(), key, client: client(proxy, base).map_err(unreachable)? })
    }

    pub(crate) fn host(&self) -> String {
        self.base.authority()
    }

    /// All pages, in their order.
    pub(crate) async fn pages<T: Page>(&self, question: Question<'_>) -> Result<Vec<T>, NoReport> {
        let (mut pages, mut next) = (vec![], None::<String>);
        while pages.len() < PAGES_MAX {
            let body = self.page(question, next.as_deref()).await?;
            let page: T =
                serde_json::from_slice(&body).map_err(|error| self.unreadable(question.what, error.to_string()))?;
            let after = page.next().filter(|after| !after.is_empty());
            pages.push(page);
            match after {
                None => return Ok(pages),
                after if after == next => break,
                after => next = after,
            }
        }
        Err(NoReport::Endless { what: question.what, host: self.host() })
    }

    async fn page(&self, question: Question<'_>, next: Option<&str>) -> Result<Vec<u8>, NoReport> {
        let failed = |error: &reqwest::Error| match error.is_timeout() {
            true => NoReport::Late { what: question.what, host: self.host() },
            false => NoReport::Unreachable { what: question.what, host: self.host(), reason: root_cause(error) },
        };
        let request = self
            .client
            .get(self.address(question, next))
            .header("x-api-key", self.key.expose())
            .header("anthropic-version", "2023-06-01")
            .timeout(PATIENCE);
        let answer = request.send().await.map_err(|error| failed(&error))?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(NoReport::Refused { what: question.what, host: self.host(), status });
        }
        let body = whole(answer).await.map_err(|error| failed(&error))?;
        body.ok_or_else(|| self.unreadable(question.what, "a page of more than 16 MiB".to_owned()))
    }

    fn address(&self, question: Question<'_>, next: Option<&str>) -> String {
        let encoded =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let page = next.map(|next| (question.next, next.to_owned()));
        let pairs = question.parameters.iter().cloned().chain(page);
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(&value))).collect();
        format!("{}/v1/organizations/{}?{}", self.base.as_str(), question.path, pairs.join("&"))
    }

    pub(crate) fn unreadable(&self, what: &'static str, reason: String) -> NoReport {
        NoReport::Unreadable { what, host: self.host(), reason }
    }
}

/// `None` where it is larger than any such page.
async fn whole(mut answer: reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = vec![];
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > PAGE_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
