//! The way to an upstream: our own small type around the HTTP client, and what never crosses it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::AccountId;
use domain::routing::Capabilities;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, Uri};
use reqwest::{Body, Url};
use thiserror::Error as ThisError;

use crate::Timeouts;
use crate::client::{Client, Failure};
use crate::error::Error;
use crate::secret::Secret;

/// How to get out of the house. Loopback is never behind a proxy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ProxyUse {
    #[default]
    Env,
    None,
    Url(String),
}

pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) account: AccountId,
    /// How the settings name its key; `None` needs none.
    pub(crate) key: Option<String>,
    /// Scheme, host and port: whom the key may be shown to.
    pub(crate) origin: String,
    /// Which models it serves, with `*` for any run of characters. Empty: all.
    pub(crate) models: Vec<Arc<str>>,
    /// A call that uses any of it never goes there.
    pub(crate) lacks: Capabilities,
    base: String,
    client: Client,
    first_byte: Duration,
}

/// Why an upstream can't be used as the settings name it.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
pub enum BadUpstream {
    #[error(
        "base_url \"{0}\" of an upstream is no http or https address; write one such as \"https://api.anthropic.com\""
    )]
    Address(String),
    #[error("base_url \"{0}\" of an upstream is plain http; that is fine on loopback only, use https")]
    Plain(String),
    #[error("the proxy \"{0}\" can't be used; write \"env\", \"none\" or an address such as \"http://10.0.0.1:3128\"")]
    Proxy(String),
    #[error("the HTTP client can't be set up: {0}")]
    Client(String),
}

/// Why a request got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// It never left.
    Unreachable(String),
    /// It left, and the connection ended without a byte of an answer.
    Lost,
    /// It left, and nothing came for so long.
    Silent(Duration),
}

impl NoAnswer {
    pub(crate) fn error(self, upstream: &Upstream) -> Error {
        let upstream = upstream.name.to_string();
        match self {
            NoAnswer::Unreachable(reason) => Error::Unreachable { upstream, reason },
            NoAnswer::Lost => Error::Lost { upstream },
            NoAnswer::Silent(after) => Error::Silent { upstream, after },
        }
    }
}

impl Upstream {
    pub(crate) fn new(
        settings: &crate::Upstream,
        account: AccountId,
        timeouts: &Timeouts,
        proxy: &ProxyUse,
    ) -> Result<Upstream, BadUpstream> {
        let address = || BadUpstream::Address(settings.base_url.clone());
        let url = Url::parse(&settings.base_url).map_err(|_| address())?;
        let is_plain = url.query().is_none() && url.fragment().is_none();
        let is_open = url.username().is_empty() && url.password().is_none();
        let host = url.host_str().filter(|_| is_plain && is_open).ok_or_else(address)?;
        let loopback = is_loopback(host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BadUpstream::Plain(settings.base_url.clone())),
            _ => return Err(address()),
        }
        let base = url.as_str().trim_end_matches('/').to_owned();
        let at: Uri = base.parse().map_err(|_| address())?;
        Ok(Upstream {
            name: settings.name.as_str().into(),
            account,
            key: settings.key.clone(),
            origin: url.origin().ascii_serialization(),
            models: settings.models.clone(),
            lacks: settings.lacks,
            base,
            client: Client::new(&at, timeouts.connect, if loopback { &ProxyUse::None } else { proxy })?,
            first_byte: timeouts.first_byte,
        })
    }

    /// Sends one request and waits for the head of the answer. `target` is a path with its query.
    /// Its address, without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: impl Into<Body>,
    ) -> Result<Response<Body>, NoAnswer> {
        let uri: Uri = format!("{}{target}", self.base)
            .parse()
            .map_err(|error: http::uri::InvalidUri| NoAnswer::Unreachable(error.to_string()))?;
        match tokio::time::timeout(self.first_byte, self.client.send(method, uri, headers, body.into())).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(Failure::Connect(reason))) => Err(NoAnswer::Unreachable(reason)),
            Ok(Err(Failure::Lost)) => Err(NoAnswer::Lost),
            Err(_) => Err(NoAnswer::Silent(self.first_byte)),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Headers that speak of one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a client says to us and not to the upstream.
const FOR_US: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::AUTHORIZATION,
    header::COOKIE,
    header::ORIGIN,
    HeaderName::from_static("x-api-key"),
];

/// What an upstream says of itself that would be untrue of us.
const OF_THEM: [HeaderName; 7] = [
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// The client's headers without what must not cross.
pub(crate) fn outgoing(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for name in &FOR_US {
        headers.remove(name);
    }
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-tidegate-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    headers
}

/// The upstream's headers without what must not cross.
pub(crate) fn incoming(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in &OF_THEM {
        headers.remove(name);
    }
}

/// Nothing that prints headers prints the key.
pub(crate) fn show_key(headers: &mut HeaderMap, key: &Secret) -> Result<(), header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(key.expose())?;
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static("x-api-key"), value);
    Ok(())
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn neither_our_secrets_nor_what_speaks_of_one_connection_goes_out() {
        let kept = [
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
            ("accept-encoding", "br"),
        ];
        let dropped = [
            ("host", "localhost"),
            ("x-api-key", "tg-x"),
            ("authorization", "Bearer tg-x"),
            ("cookie", "a=b"),
            ("x-tidegate-tag", "a=b"),
            ("x-tidegate-anything", "1"),
            ("connection", "keep-alive, x-mine"),
            ("connection", "X-Yours"),
            ("x-mine", "1"),
            ("x-yours", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("content-length", "5"),
            ("expect", "100-continue"),
        ];
        let all: Vec<_> = kept.iter().chain(&dropped).copied().collect();
        assert_eq!(outgoing(headers(&all)), headers(&kept));
    }

    #[test]
    fn what_an_upstream_says_of_itself_does_not_come_in() {
        let mut answer = headers(&[
            ("request-id", "req_1"),
            ("anthropic-ratelimit-requests-limit", "5"),
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
            ("alt-svc", "h3=\":443\""),
            ("access-control-allow-origin", "*"),
        ]);
        incoming(&mut answer);
        assert_eq!(answer, headers(&[("request-id", "req_1"), ("anthropic-ratelimit-requests-limit", "5")]));
    }

    #[test]
    fn the_key_is_shown_and_never_printed() {
        let mut map = HeaderMap::new();
        show_key(&mut map, &Secret::new("sk-secret".to_owned())).expect("a header");
        assert_eq!(map.get("x-api-key").map(HeaderValue::as_bytes), Some(&b"sk-secret"[..]));
        assert!(!format!("{map:?}").contains("sk-secret"));
    }

    #[test]
    fn only_addresses_that_keep_the_key_safe_are_used() {
        let check = |base_url: &str| {
            let mut door = domain::admission::Admission::new(&domain::config::Rules::default());
            let pacing = domain::config::Pacing {
                presumed: None,
                written: Vec::new(),
                guard_requests_permille: 960,
                guard_tokens_permille: 930,
                retry_after_buffer: Duration::ZERO,
                windows: vec![],
            };
            let account = door.add_account("upstream".into(), pacing.clone());
            let settings = crate::Upstream {
                name: "a".into(),
                base_url: base_url.into(),
                key: None,
                models: vec![],
                lacks: Capabilities::NONE,
                pacing,
            };
            Upstream::new(&settings, account, &Timeouts::default(), &ProxyUse::None)
        };
        for (good, base, origin) in [
            ("https://api.anthropic.com", "https://api.anthropic.com", "https://api.anthropic.com"),
            ("https://a.b:8443/deep/er/", "https://a.b:8443/deep/er", "https://a.b:8443"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://localhost:9/x", "http://localhost:9/x", "http://localhost:9"),
            ("http://[::1]:9", "http://[::1]:9", "http://[::1]:9"),
        ] {
            let upstream = check(good).expect("a good address");
            assert_eq!((upstream.base.as_str(), upstream.origin.as_str()), (base, origin));
        }
        for plain in ["http://api.anthropic.com", "http://10.0.0.1", "http://localhost.evil.com"] {
            assert!(matches!(check(plain).err(), Some(BadUpstream::Plain(_))), "{plain}");
        }
        for wrong in [
            "",
            "api.anthropic.com",
            "ftp://a",
            "https://",
            "https://a?b=c",
            "https://a#b",
            "https://user:pw@a",
            "https://:pw@a",
        ] {
            assert!(matches!(check(wrong).err(), Some(BadUpstream::Address(_))), "{wrong}");
        }
    }
}
