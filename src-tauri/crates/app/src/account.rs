//! What only an administrator may ask of an account: its limits, by the Rate Limits API.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::TaughtLimits;
use domain::tier::MinuteLimits;
use gateway::ProxyUse;
use serde::Deserialize;
use thiserror::Error;

use crate::keychain::{KeyError, Keychain};
use crate::outbound::{client, root_cause};
use crate::settings::{BaseUrl, KeyRef};

/// Why the limits stay unknown.
#[derive(Debug, Error)]
pub(crate) enum NotTold {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the Rate Limits API of {host} can't be asked ({reason}): limits are learned from headers instead")]
    Unreachable { host: String, reason: String },
    #[error(
        "the Rate Limits API of {host} answered {status}: it wants the admin key of an organisation; limits are learned from headers instead"
    )]
    Refused { host: String, status: u16 },
    #[error(
        "the Rate Limits API of {host} answered what nobody can read ({reason}): limits are learned from headers instead"
    )]
    Unreadable { host: String, reason: String },
}

const PATIENCE: Duration = Duration::from_secs(20);
const PAGES_MAX: usize = 50;
const PAGE_BYTES_MAX: usize = 4 << 20;
/// No limit of a minute is higher.
const LIMIT_MAX: u64 = 1_000_000_000_000;

/// The limits of each group of models, as the upstream has them now.
pub(crate) async fn limits(
    base: &BaseUrl,
    admin_key: &KeyRef,
    keychain: &Keychain,
    proxy: &ProxyUse,
) -> Result<Vec<TaughtLimits>, NotTold> {
    let host = base.authority();
    let key = keychain.key(admin_key, base.origin()).await?;
    let unreachable = |error: &reqwest::Error| NotTold::Unreachable { host: host.clone(), reason: root_cause(error) };
    let client = client(proxy, base).map_err(|error| unreachable(&error))?;
    let (mut limits, mut next) = (vec![], None);
    for _ in 0..PAGES_MAX {
        let request = client
            .get(address(base, next.as_deref()))
            .header("x-api-key", key.expose())
            .header("anthropic-version", "2023-06-01")
            .timeout(PATIENCE);
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(NotTold::Refused { host: host.clone(), status: answer.status().as_u16() });
        }
        let unreadable = |reason: String| NotTold::Unreadable { host: host.clone(), reason };
        let body = whole(answer).await.map_err(|error| unreachable(&error))?;
        let body = body.ok_or_else(|| unreadable("more than 4 MiB".to_owned()))?;
        let page: Page = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
        limits.extend(page.data.into_iter().filter_map(Row::taught));
        next = page.next_page.filter(|page| !page.is_empty());
        if next.is_none() {
            return Ok(limits);
        }
    }
    Ok(limits)
}

fn address(base: &BaseUrl, page: Option<&str>) -> String {
    let page = page.map(|page| percent_encoding::utf8_percent_encode(page, percent_encoding::NON_ALPHANUMERIC));
    let page = page.map_or_else(String::new, |page| format!("?page={page}"));
    format!("{}/v1/organizations/rate_limits{page}", base.as_str())
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

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
    next_page: Option<String>,
}

/// In the shape of 2023-06-01 (`group_type`) or of 2026-10-21 (`group.type`).
#[derive(Deserialize)]
struct Row {
    group_type: Option<String>,
    group: Option<GroupRow>,
    models: Option<Vec<String>>,
    #[serde(default)]
    limits: Vec<LimitRow>,
}

#[derive(Deserialize)]
struct GroupRow {
    r#type: String,
}

#[derive(Deserialize)]
struct LimitRow {
    r#type: String,
    /// Whatever else may stand here one day tells no limit.
    value: Option<serde_json::Value>,
}

impl Row {
    /// Of models, not of batches, files or token counts.
    fn taught(self) -> Option<TaughtLimits> {
        let group_type = self.group_type.as_deref().or(self.group.as_ref().map(|group| group.r#type.as_str()));
        let models = self.models.filter(|models| group_type == Some("model_group") && !models.is_empty())?;
        let value = |name: &str| {
            let named = self.limits.iter().filter(|limit| limit.r#type == name);
            let values = named.filter_map(|limit| limit.value.as_ref()?.as_u64());
            values.filter(|value| (1..=LIMIT_MAX).contains(value)).min()
        };
        // Where both kinds hold, the smaller binds.
        let input = [value("input_tokens_per_minute"), value("input_tokens_per_minute_cache_aware")];
        let limits = MinuteLimits {
            requests: value("requests_per_minute"),
            input_tokens: input.into_iter().flatten().min(),
            output_tokens: value("output_tokens_per_minute"),
        };
        (limits != MinuteLimits::default())
            .then(|| TaughtLimits { models: models.into_iter().map(Arc::from).collect(), limits })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An upstream that gives these answers one after the other, and the requests it saw.
    async fn upstream(answers: Vec<(u16, String)>) -> (BaseUrl, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = BaseUrl::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
        let served = tokio::spawn(async move {
            let mut seen = vec![];
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 4_096];
                let read = stream.read(&mut request).await.expect("a request");
                seen.push(String::from_utf8_lossy(&request[..read]).into_owned());
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
            seen
        });
        (base, served)
    }

    async fn ask(dir: &Path, base: &BaseUrl) -> Result<Vec<TaughtLimits>, String> {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.join("key");
        std::fs::write(&file, "sk-ant-admin01-test").expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("changed");
        let keychain = Keychain::of_system(dir);
        limits(base, &KeyRef::File(file), &keychain, &ProxyUse::None).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn limits_of_model_groups_are_read_in_both_shapes_over_all_pages() {
        let first = r#"{"data":[
            {"type":"rate_limit","group_type":"model_group","models":["claude-opus-4-1","claude-opus-4"],"limits":[
              {"type":"requests_per_minute","value":4000},{"type":"input_tokens_per_minute","value":2000000},
              {"type":"output_tokens_per_minute","value":400000},{"type":"tool_uses_per_second","value":null}]},
            {"type":"rate_limit","group_type":"batch","models":null,"limits":[{"type":"requests_per_minute","value":5}]}
          ],"next_page":"page 2"}"#;
        let second = r#"{"data":[
            {"id":"rl_1","type":"rate_limit","group":{"type":"model_group","id":"rlg_1","display_name":"Haiku"},
             "models":["claude-haiku-4-5"],"limits":[{"type":"input_tokens_per_minute_cache_aware","value":50000},
              {"type":"input_tokens_per_minute","value":60000},{"type":"requests_per_minute","value":-3}]}
          ],"next_page":null}"#;
        let (base, served) = upstream(vec![(200, first.to_owned()), (200, second.to_owned())]).await;
        let dir = tempfile::tempdir().expect("a folder");
        let told = ask(dir.path(), &base).await.expect("limits");
        let opus = MinuteLimits { requests: Some(4_000), input_tokens: Some(2_000_000), output_tokens: Some(400_000) };
        let haiku = MinuteLimits { input_tokens: Some(50_000), ..MinuteLimits::default() };
        assert_eq!(
            told,
            [
                TaughtLimits { models: vec!["claude-opus-4-1".into(), "claude-opus-4".into()], limits: opus },
                TaughtLimits { models: vec!["claude-haiku-4-5".into()], limits: haiku },
            ]
        );
        let seen = served.await.expect("served");
        assert!(seen[0].starts_with("GET /v1/organizations/rate_limits HTTP/1.1"), "{}", seen[0]);
        assert!(seen[0].contains("x-api-key: sk-ant-admin01-test"), "{}", seen[0]);
        assert!(seen[1].starts_with("GET /v1/organizations/rate_limits?page=page%202 "), "{}", seen[1]);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_one_sentence_and_never_the_key() {
        let dir = tempfile::tempdir().expect("a folder");
        for (status, body, says) in [
            (403, "no", "answered 403: it wants the admin key"),
            (302, "", "answered 302"),
            (200, "<html>", "answered what nobody can read"),
        ] {
            let (base, _served) = upstream(vec![(status, body.to_owned())]).await;
            let said = ask(dir.path(), &base).await.expect_err("no limits");
            assert!(said.contains(says) && !said.contains("sk-ant"), "{said}");
        }
        let nobody = BaseUrl::parse("http://127.0.0.1:9").expect("a URL");
        let said = ask(dir.path(), &nobody).await.expect_err("no limits");
        assert!(said.contains("can't be asked"), "{said}");
    }
}
