//! Whether an upstream takes a key: asked with a call that costs nothing, before anybody relies on it.

use std::time::Duration;

use gateway::ProxyUse;
use gateway::secret::Secret;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::keychain::usable;
use crate::outbound::{client, root_cause};
use crate::settings::{self, BaseUrl, KeyRef, Settings, Upstream, UpstreamKind};

/// A key that the settings name, never the key itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UpstreamKeyView {
    pub upstream: String,
    /// Where it is kept: `keychain:anthropic`, `env:VAR`, `file:PATH`.
    pub kept_in: String,
    /// Null where the key is too short to show any of it, or can't be read.
    pub last_four: Option<String>,
    /// Why it can't be read.
    pub trouble: Option<String>,
    /// Whether there is a free call to try it with.
    pub can_be_tested: bool,
}

/// What an upstream said of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct KeyTestView {
    /// Whose key it is in the settings.
    pub upstream: String,
    pub verdict: KeyVerdict,
    /// One sentence.
    pub said: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum KeyVerdict {
    Taken,
    Refused,
    /// The upstream can't be reached from here, now.
    Unreachable,
    /// It answered neither yes nor no.
    Unclear,
}

/// What became of a key that was pasted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ConnectedKeyView {
    /// In the keychain.
    pub kept: bool,
    pub test: KeyTestView,
}

/// Long enough for a slow line, short enough for somebody who waits for it.
const PATIENCE: Duration = Duration::from_secs(15);

impl App {
    /// The keys of the settings with the last four characters of each.
    pub(crate) async fn upstream_keys(&self) -> Vec<UpstreamKeyView> {
        let mut views = vec![];
        for upstream in &self.settings().upstreams {
            let Some(key) = &upstream.key else { continue };
            let (last_four, trouble) = match self.keychain().last_four(key).await {
                Ok(last_four) => (last_four, None),
                Err(error) => (None, Some(error.to_string())),
            };
            views.push(UpstreamKeyView {
                upstream: upstream.name.to_string(),
                kept_in: key.to_string(),
                last_four,
                trouble,
                can_be_tested: testable(upstream).is_some(),
            });
        }
        views
    }

    /// Tries a key with each upstream that has it: `anthropic`, or as the settings write it, `keychain:anthropic`.
    pub(crate) async fn test_key(&self, name: &str) -> Result<Vec<KeyTestView>, ApiError> {
        let named = |key: &KeyRef| {
            let key = key.to_string();
            key == name || key.strip_prefix("keychain:") == Some(name)
        };
        let settings = self.settings();
        let users: Vec<&Upstream> =
            settings.upstreams.iter().filter(|upstream| upstream.key.as_ref().is_some_and(named)).collect();
        if users.is_empty() {
            let name = name.escape_default();
            return Err(ApiError::absent(format!(
                "no upstream of the settings has the key {name}: write key = \"keychain:{name}\" in its [[upstream]]"
            )));
        }
        let mut tests = vec![];
        for (upstream, key) in users.into_iter().filter_map(|upstream| upstream.key.as_ref().map(|key| (upstream, key)))
        {
            let base = testable(upstream).ok_or_else(|| {
                let name = &upstream.name;
                ApiError::asker(format!("upstream {name} has no free call that a key could be tried with"))
            })?;
            let secret = self.keychain().key(key, base.origin()).await.map_err(ApiError::machine)?;
            tests.push(test(&upstream.name, base, &secret, &settings.gateway.proxy).await);
        }
        Ok(tests)
    }
}

/// Tries a key that somebody has just pasted where the user's own upstream is.
pub(crate) async fn test_pasted(settings: &Settings, secret: &Secret) -> Result<KeyTestView, ApiError> {
    let reference = KeyRef::Keychain(settings::OWN_UPSTREAM.to_owned());
    let secret = usable(secret.expose().to_owned(), &reference)
        .map_err(|_| ApiError::asker("this is no key: copy it whole, as one line of letters, digits and dashes"))?;
    let fresh = fresh_upstream()?;
    let own = settings.upstreams.iter().find(|upstream| upstream.kind == UpstreamKind::Anthropic);
    let own = own.or(fresh.upstreams.first()).ok_or_else(|| ApiError::machine("there is no upstream to ask"))?;
    let base = testable(own).ok_or_else(|| ApiError::machine("this upstream has no address"))?;
    Ok(test(&own.name, base, &secret, &settings.gateway.proxy).await)
}

/// As it is where the settings say no more of it than `connect_key` writes.
fn fresh_upstream() -> Result<Settings, ApiError> {
    let own = settings::OWN_UPSTREAM;
    let text = format!("[[upstream]]\nname = {own:?}\nkind = \"anthropic\"\nkey = \"keychain:{own}\"\n");
    settings::parse(&text, &[]).map_err(|_| ApiError::machine("there is no upstream to ask"))
}

fn testable(upstream: &Upstream) -> Option<&BaseUrl> {
    match upstream.kind {
        UpstreamKind::Anthropic | UpstreamKind::Compatible => upstream.base_url.as_ref(),
        UpstreamKind::Simulator
        | UpstreamKind::OpenAi
        | UpstreamKind::Gemini
        | UpstreamKind::Bedrock
        | UpstreamKind::Vertex => None,
    }
}

/// A list of models costs nothing, and nobody gets it without a key.
async fn test(upstream: &str, base: &BaseUrl, secret: &Secret, proxy: &ProxyUse) -> KeyTestView {
    let (verdict, said) = match answered(base, secret, proxy).await {
        Ok(status) => judged(status, host(base)),
        Err(error) => {
            let (host, cause) = (host(base), root_cause(&error));
            let cause = if error.is_timeout() { "no answer within 15 s".to_owned() } else { cause };
            (
                KeyVerdict::Unreachable,
                format!("there is no way to {host} from here ({cause}): the key is not tried yet"),
            )
        }
    };
    KeyTestView { upstream: upstream.to_owned(), verdict, said }
}

fn host(base: &BaseUrl) -> &str {
    base.origin().trim_start_matches("https://").trim_start_matches("http://")
}

async fn answered(base: &BaseUrl, secret: &Secret, proxy: &ProxyUse) -> reqwest::Result<u16> {
    let request = client(proxy, base)?
        .get(format!("{}/v1/models?limit=1", base.as_str()))
        .header("x-api-key", secret.expose())
        .header("anthropic-version", "2023-06-01")
        .timeout(PATIENCE);
    Ok(request.send().await?.status().as_u16())
}

fn judged(status: u16, host: &str) -> (KeyVerdict, String) {
    match status {
        200 => (KeyVerdict::Taken, format!("the key works at {host}")),
        401 => (KeyVerdict::Refused, format!("the key is not known at {host} (401): copy it again, or make a new one")),
        403 => (KeyVerdict::Refused, format!("the key may do nothing at {host} (403): look at its workspace")),
        status => (KeyVerdict::Unclear, format!("the answer of {host} says nothing about the key: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const KEY: &str = "sk-ant-canary-0123456789";

    /// An upstream that gives one answer, and the request it saw.
    async fn upstream(status: u16) -> (Settings, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.expect("a request");
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (at(&address.to_string()), served)
    }

    fn at(address: &str) -> Settings {
        let text = format!(
            "[[upstream]]\nname = \"mine\"\nkind = \"anthropic\"\nkey = \"keychain:a\"\nbase_url = \"http://{address}\"\n"
        );
        settings::parse(&text, &[]).expect("legal settings")
    }

    async fn pasted(settings: &Settings, key: &str) -> Result<KeyTestView, ApiError> {
        test_pasted(settings, &Secret::new(key.to_owned())).await
    }

    #[tokio::test]
    async fn a_key_is_tried_with_a_free_call_and_the_answer_is_one_sentence_without_it() {
        for (status, verdict, says) in [
            (200, KeyVerdict::Taken, "the key works at"),
            (401, KeyVerdict::Refused, "is not known at"),
            (403, KeyVerdict::Refused, "may do nothing at"),
            (302, KeyVerdict::Unclear, "about the key: 302"),
            (529, KeyVerdict::Unclear, "about the key: 529"),
        ] {
            let (settings, served) = upstream(status).await;
            let test = pasted(&settings, &format!(" {KEY}\n")).await.expect("a verdict");
            assert_eq!((test.verdict, &*test.upstream), (verdict, "mine"), "{}", test.said);
            assert!(test.said.contains(says) && !test.said.contains("canary"), "{}", test.said);
            let seen = served.await.expect("served");
            assert!(seen.starts_with("GET /v1/models?limit=1 HTTP/1.1\r\n"), "{seen}");
            assert!(seen.contains(&format!("x-api-key: {KEY}\r\n")), "{seen}");
        }
    }

    #[tokio::test]
    async fn being_offline_is_no_word_about_the_key() {
        let test = pasted(&at("127.0.0.1:9"), KEY).await.expect("a verdict");
        assert_eq!(test.verdict, KeyVerdict::Unreachable);
        assert!(test.said.starts_with("there is no way to 127.0.0.1:9 from here ("), "{}", test.said);
    }

    #[tokio::test]
    async fn what_is_no_key_is_sent_to_nobody() {
        for wrong in ["", " \n", "sk-ant two words", "sk-ant-ä"] {
            let said = pasted(&at("127.0.0.1:9"), wrong).await.expect_err("no key").reason;
            assert!(said.starts_with("this is no key"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_key_of_the_settings_is_named_as_the_command_line_or_the_settings_do() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("key");
        std::fs::write(&file, KEY).expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("changed");
        let (settings, served) = upstream(200).await;
        let mut settings = settings;
        let mut upstreams = settings.upstreams.to_vec();
        upstreams[0].key = Some(KeyRef::File(file.clone()));
        settings.upstreams = upstreams;
        let app = App::open(dir.path(), &settings).await.expect("an app");
        let views = app.upstream_keys().await;
        assert_eq!((views[0].last_four.as_deref(), views[0].trouble.as_deref()), (Some("6789"), None));
        let tests = app.test_key(&format!("file:{}", file.display())).await.expect("tried");
        assert_eq!(tests[0].verdict, KeyVerdict::Taken);
        assert!(served.await.expect("served").contains(KEY));
        let said = app.test_key("nobody").await.expect_err("no such key").reason;
        assert!(said.starts_with("no upstream of the settings has the key nobody"), "{said}");
        std::fs::write(&file, "short").expect("written");
        app.keychain().forget();
        assert_eq!(app.upstream_keys().await[0].last_four, None);
    }
}
