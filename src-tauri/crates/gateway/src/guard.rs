//! Who may come in: one function for each rule, in the order in which they are asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::config::Client;
use domain::time::Instant;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::seldom::Seldom;

pub(crate) mod framing;

pub(crate) type Clients = HashMap<[u8; 32], Arc<Client>>;

pub(crate) struct Guard {
    /// Every spelling of our own address that `Host` may hold.
    hosts: Vec<String>,
    allowed_origins: Vec<String>,
    wrong_tokens: AtomicU64,
    warned: Seldom,
}

/// What a browser has to do with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Browser {
    Absent,
    /// A page whose origin the settings allow.
    Page(HeaderValue),
    Preflight(HeaderValue),
}

/// Rule 1: other machines only where the settings say so twice.
pub(crate) fn may_listen(listen: SocketAddr, allow_remote: bool) -> bool {
    listen.ip().is_loopback() || allow_remote
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, host_names: &[String], allowed_origins: &[String]) -> Guard {
        let own = (!address.ip().is_unspecified()).then(|| match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        });
        let always = ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned);
        let names = always.into_iter().chain(own).chain(host_names.iter().map(|name| name.to_ascii_lowercase()));
        Guard {
            hosts: names.flat_map(|name| [format!("{name}:{}", address.port()), name]).collect(),
            allowed_origins: allowed_origins.to_vec(),
            wrong_tokens: AtomicU64::new(0),
            warned: Seldom::new(),
        }
    }

    /// Rule 5: one `Host`, and it is ours, compared whole.
    pub(crate) fn host<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, Error> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Error::Host) };
        let host = host.to_str().map_err(|_| Error::Host)?;
        if self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)) { Ok(host) } else { Err(Error::Host) }
    }

    /// Rule 6: no web page but those of allowed origins. A missing `Origin` proves nothing: the token still decides.
    pub(crate) fn browser(&self, method: &Method, headers: &HeaderMap, host: &str) -> Result<Browser, Error> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = origins.next();
        if origins.next().is_some() {
            return Err(Error::Origin);
        }
        if let Some(origin) = origin {
            if self.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
                let preflight = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
                return Ok(if preflight { Browser::Preflight(origin.clone()) } else { Browser::Page(origin.clone()) });
            }
            if origin.as_bytes() != format!("http://{host}").as_bytes() {
                return Err(Error::Origin);
            }
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let same = matches!(site, None | Some(b"none" | b"same-origin"));
        if same && method != Method::OPTIONS { Ok(Browser::Absent) } else { Err(Error::Origin) }
    }

    /// Rule 7: a client's token, in either header; in both only where they agree.
    pub(crate) fn token(&self, headers: &HeaderMap, clients: &Clients, now: Instant) -> Result<Arc<Client>, Error> {
        let token = told(headers)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = clients.get_key_value(&hash).filter(|(known, _)| bool::from(known.ct_eq(&hash)));
        match known {
            Some((_, client)) => Ok(client.clone()),
            None => {
                self.count_wrong_token(now);
                Err(Error::Token { what: "the token is not one of this gateway's" })
            }
        }
    }

    /// Said once a minute, however many come.
    fn count_wrong_token(&self, now: Instant) {
        let count = self.wrong_tokens.fetch_add(1, Ordering::Relaxed) + 1;
        if self.warned.is_due(now) {
            tracing::warn!(count, "calls came with a wrong token");
        }
    }
}

/// Rule 13: what the app mounts is for this machine only, wherever we listen.
pub(crate) fn may_reach_mounts(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// The one token that the headers hold.
fn told(headers: &HeaderMap) -> Result<&[u8], Error> {
    let keys = headers.get_all("x-api-key").iter().map(|value| Some(value.as_bytes()));
    let bearers = headers.get_all(AUTHORIZATION).iter().map(bearer);
    let mut tokens = keys.chain(bearers);
    let missing = Error::Token { what: "the call carries no token" };
    let Some(first) = tokens.next() else { return Err(missing) };
    let Some(first) = first.filter(|token| !token.is_empty()) else { return Err(missing) };
    if tokens.all(|other| other == Some(first)) {
        Ok(first)
    } else {
        Err(Error::Token { what: "x-api-key and Authorization hold different tokens" })
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let address = "127.0.0.1:8432".parse().expect("an address");
        Guard::new(address, &["Gate.lan".to_owned()], &["app://obsidian.md".to_owned()])
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn other_machines_need_two_settings() {
        for (listen, allow_remote, expected) in [
            ("127.0.0.1:1", false, true),
            ("127.8.8.8:1", false, true),
            ("[::1]:1", false, true),
            ("0.0.0.0:1", false, false),
            ("[::]:1", false, false),
            ("192.168.0.2:1", false, false),
            ("0.0.0.0:1", true, true),
        ] {
            assert_eq!(may_listen(listen.parse().expect("an address"), allow_remote), expected, "{listen}");
        }
    }

    #[test]
    fn host_is_ours_compared_whole() {
        let guard = guard();
        for ours in
            ["127.0.0.1", "127.0.0.1:8432", "localhost", "LOCALHOST:8432", "[::1]:8432", "gate.lan", "gate.lan:8432"]
        {
            assert_eq!(guard.host(&headers(&[("host", ours)])), Ok(ours));
        }
        for foreign in [
            "",
            "127.0.0.1:80",
            "127.0.0.1:84321",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com",
            "0.0.0.0:8432",
            "localhost:8432:1",
            "user@localhost",
            "localhost.",
            "127.1",
            "[::1",
            "::1",
            "2130706433",
            "gate.lan.evil.com",
        ] {
            assert_eq!(guard.host(&headers(&[("host", foreign)])), Err(Error::Host), "{foreign}");
        }
        assert_eq!(guard.host(&headers(&[])), Err(Error::Host));
        assert_eq!(guard.host(&headers(&[("host", "localhost"), ("host", "localhost")])), Err(Error::Host));
    }

    #[test]
    fn a_page_comes_in_only_where_its_origin_is_allowed() {
        let guard = guard();
        let of =
            |method: Method, pairs: &[(&'static str, &str)]| guard.browser(&method, &headers(pairs), "localhost:8432");
        let allowed = || HeaderValue::from_static("app://obsidian.md");
        let asks = ("access-control-request-method", "POST");
        assert_eq!(of(Method::POST, &[]), Ok(Browser::Absent));
        assert_eq!(of(Method::POST, &[("sec-fetch-mode", "cors")]), Ok(Browser::Absent));
        assert_eq!(
            of(Method::POST, &[("origin", "http://localhost:8432"), ("sec-fetch-site", "same-origin")]),
            Ok(Browser::Absent)
        );
        assert_eq!(
            of(Method::POST, &[("origin", "app://obsidian.md"), ("sec-fetch-site", "cross-site")]),
            Ok(Browser::Page(allowed()))
        );
        assert_eq!(of(Method::OPTIONS, &[("origin", "app://obsidian.md"), asks]), Ok(Browser::Preflight(allowed())));
        for refused in [
            &[("origin", "http://evil.com")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://localhost:8432.evil.com")],
            &[("origin", "https://localhost:8432")],
            &[("origin", "app://obsidian.md.evil")],
            &[("origin", "app://obsidian.md"), ("origin", "http://evil.com")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(of(Method::POST, refused), Err(Error::Origin), "{refused:?}");
        }
        assert_eq!(of(Method::OPTIONS, &[]), Err(Error::Origin));
        assert_eq!(of(Method::OPTIONS, &[("origin", "http://evil.com"), asks]), Err(Error::Origin));
    }

    #[test]
    fn a_token_opens_in_either_header_and_in_both_only_if_they_agree() {
        let guard = guard();
        let client = Client {
            name: "ci".into(),
            class: domain::call::Class::Normal,
            weight: 1,
            person: None,
            project: None,
            daily: None,
            weekly: None,
            monthly: None,
            max_share: None,
        };
        let clients = HashMap::from([(Sha256::digest(b"tg-right").into(), Arc::new(client))]);
        let of = |pairs: &[(&'static str, &str)]| {
            guard.token(&headers(pairs), &clients, Instant::from_nanos(0)).map(|client| client.name.to_string())
        };
        for open in [
            &[("x-api-key", "tg-right")][..],
            &[("authorization", "Bearer tg-right")],
            &[("authorization", "bearer  tg-right")],
            &[("authorization", "Bearer tg-right"), ("x-api-key", "tg-right")],
        ] {
            assert_eq!(of(open).as_deref(), Ok("ci"), "{open:?}");
        }
        for shut in [
            &[][..],
            &[("x-api-key", "")],
            &[("x-api-key", "tg-wrong")],
            &[("x-api-key", "tg-righ")],
            &[("authorization", "tg-right")],
            &[("authorization", "Basic tg-right")],
            &[("authorization", "Bearer tg-wrong"), ("x-api-key", "tg-right")],
            &[("authorization", "Basic x"), ("x-api-key", "tg-right")],
            &[("x-api-key", "tg-right"), ("x-api-key", "tg-other")],
        ] {
            assert!(matches!(of(shut), Err(Error::Token { .. })), "{shut:?}");
        }
    }

    #[test]
    fn mounts_are_for_this_machine() {
        for (peer, expected) in
            [("127.0.0.1:9", true), ("[::1]:9", true), ("[::ffff:127.0.0.1]:9", true), ("10.0.0.1:9", false)]
        {
            assert_eq!(may_reach_mounts(peer.parse().expect("an address")), expected, "{peer}");
        }
    }
}
