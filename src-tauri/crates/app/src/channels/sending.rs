//! One attempt at a channel: to where the settings say and nowhere else, within a time, and what is to come of its answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::ProxyUse;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response};

use super::post::Post;
use crate::outbound;

/// How an attempt went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Taken,
    /// It may work later; not before, where the service says so.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// The same would be refused again.
    Refused(String),
}

const PATIENCE: Duration = Duration::from_secs(15);
/// Of an answer, to say why.
const REASON_CHARS_MAX: usize = 200;
const READ_BYTES_MAX: usize = 4_096;
/// No service is asked to wait longer for us.
const AFTER_MAX: Duration = Duration::from_secs(900);

/// Sends a channel's posts. Follows no redirect, and reaches no private address unless it may.
pub(super) struct Sender {
    proxy: ProxyUse,
    allow_private: bool,
}

impl Sender {
    pub(super) fn new(proxy: ProxyUse, allow_private: bool) -> Sender {
        Sender { proxy, allow_private }
    }

    pub(super) async fn send(&self, post: Post) -> Outcome {
        let refused = |reason: &str| Outcome::Refused(reason.to_owned());
        let Ok(url) = reqwest::Url::parse(&post.url) else { return refused("its address is no URL") };
        let Some(host) = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()) else {
            return refused("its address names no host");
        };
        if !self.allow_private && leads_inside(&host).await {
            return refused(PRIVATE);
        }
        if !self.allow_private && url.scheme() != "https" {
            return refused("its address must begin with https://");
        }
        match self.client(&host) {
            Ok(client) => sent(client, url, post).await,
            Err(error) => refused(&outbound::root_cause(&error)),
        }
    }

    /// Alerts are few: each makes its own connection.
    fn client(&self, host: &str) -> reqwest::Result<Client> {
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        let builder = outbound::builder(&self.proxy, is_here)?.timeout(PATIENCE);
        // Through a proxy the names are the proxy's to look up, and its own address may well be private.
        match self.allow_private || outbound::may_be_proxied(&self.proxy) {
            true => builder,
            false => builder.dns_resolver(Arc::new(PublicOnly)),
        }
        .build()
    }
}

/// An address that is written out meets no resolver, and a proxy would ask none of ours.
async fn leads_inside(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => is_private(ip),
        Err(_) => match tokio::net::lookup_host((host, 0)).await {
            Ok(mut found) => found.any(|address| is_private(address.ip())),
            Err(_) => false,
        },
    }
}

async fn sent(client: Client, url: reqwest::Url, post: Post) -> Outcome {
    let refused = |reason: &str| Outcome::Refused(reason.to_owned());
    let mut request = client.post(url).header("content-type", "application/json").body(post.body);
    for (name, value) in post.headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) => judged(answer).await,
        Err(error) if outbound::root_cause(&error) == PRIVATE => refused(PRIVATE),
        Err(error) if error.is_builder() => refused("its key can't stand in a header"),
        Err(error) if error.is_timeout() => {
            Outcome::Later { reason: format!("no answer within {} s", PATIENCE.as_secs()), after: None }
        }
        Err(error) => Outcome::Later { reason: outbound::root_cause(&error), after: None },
    }
}

async fn judged(answer: Response) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Taken;
    }
    if status.is_redirection() {
        return Outcome::Refused(format!("it answered {} and redirects are not followed", status.as_u16()));
    }
    let after = retry_after(&answer);
    let reason = format!("it answered {}{}", status.as_u16(), said(answer).await);
    match status.as_u16() {
        408 | 429 | 500..=599 => Outcome::Later { reason, after },
        _ => Outcome::Refused(reason),
    }
}

/// In seconds, as all of them tell it.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: f64 = answer.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(AFTER_MAX).min(AFTER_MAX))
}

/// The beginning of an answer, for a person; the rest is not read.
async fn said(mut answer: Response) -> String {
    let mut read = vec![];
    while read.len() < READ_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(piece)) => read.extend_from_slice(&piece[..piece.len().min(READ_BYTES_MAX - read.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&read);
    let text: String = text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

const PRIVATE: &str =
    "its address is on this machine or a private network: set allow_private = true in its [[channel]] if that is meant";

/// Looks names up, and keeps to addresses that anybody may reach.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_private(address.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, PRIVATE).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved =
                a == 0 || a >= 240 || (a, b) == (198, 18) || (a, b) == (198, 19) || ip.octets()[..3] == [192, 0, 0];
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || shared || reserved
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            let (unique_local, link_local) = (first & 0xfe00 == 0xfc00, first & 0xffc0 == 0xfe80);
            // A private IPv4 address may be written inside.
            let translated = first == 0x64 && ip.segments()[1] == 0xff9b || first == 0x2002;
            ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || unique_local || link_local || translated
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the text, and gives how much of it was taken.
    async fn receiver(answer: String) -> (String, tokio::task::JoinHandle<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a post");
            let mut head = vec![0; 65_536];
            let _ = socket.read(&mut head).await.expect("a head");
            socket.write_all(answer.as_bytes()).await.is_ok()
        });
        (url, served)
    }

    fn to(url: &str) -> Post {
        Post { url: url.to_owned(), headers: vec![("authorization", "Bearer x".to_owned())], body: b"{}".to_vec() }
    }

    async fn outcome(answer: &str) -> Outcome {
        let (url, _served) = receiver(answer.to_owned()).await;
        Sender::new(ProxyUse::None, true).send(to(&url)).await
    }

    #[tokio::test]
    async fn an_answer_is_taken_tried_again_or_refused_for_good() {
        let later = |reason: &str, after: Option<u64>| Outcome::Later {
            reason: reason.to_owned(),
            after: after.map(Duration::from_secs),
        };
        let refused = |reason: &str| Outcome::Refused(reason.to_owned());
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Outcome::Taken),
            ("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok", Outcome::Taken),
            ("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", later("it answered 429", Some(7))),
            (
                "HTTP/1.1 429 Slow\r\nretry-after: 1e30\r\ncontent-length: 0\r\n\r\n",
                later("it answered 429", Some(900)),
            ),
            ("HTTP/1.1 503 Down\r\ncontent-length: 4\r\n\r\ndo\x1bn", later("it answered 503: don", None)),
            ("HTTP/1.1 404 No\r\ncontent-length: 10\r\n\r\nno_service", refused("it answered 404: no_service")),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                refused("it answered 302 and redirects are not followed"),
            ),
        ] {
            assert_eq!(outcome(answer).await, expected, "{answer}");
        }
        assert!(matches!(outcome("nonsense\r\n\r\n").await, Outcome::Later { after: None, .. }));
    }

    #[tokio::test]
    async fn of_a_long_answer_only_the_beginning_is_read() {
        let ten_megabytes = "x".repeat(10 << 20);
        let (url, served) =
            receiver(format!("HTTP/1.1 500 Oh\r\ncontent-length: 10485760\r\n\r\n{ten_megabytes}")).await;
        let outcome = Sender::new(ProxyUse::None, true).send(to(&url)).await;
        let Outcome::Later { reason, .. } = outcome else { panic!("it may work later: {outcome:?}") };
        assert_eq!(reason.chars().count(), "it answered 500: ".len() + REASON_CHARS_MAX);
        assert!(!served.await.expect("it ends"), "the connection ended before all was sent");
    }

    #[tokio::test]
    async fn a_private_address_is_refused_by_number_and_by_name() {
        let sender = Sender::new(ProxyUse::None, false);
        for url in [
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://10.0.0.8/x",
            "https://169.254.169.254/latest",
            "https://0.0.0.0/x",
            "https://[::ffff:192.168.1.1]/x",
            "https://[fd00::1]/x",
            "https://100.64.0.1/x",
            "https://localhost/x",
            "https://2130706433/x",
        ] {
            assert_eq!(sender.send(to(url)).await, Outcome::Refused(PRIVATE.to_owned()), "{url}");
        }
        let plain = Outcome::Refused("its address must begin with https://".to_owned());
        assert_eq!(sender.send(to("http://93.184.215.14/x")).await, plain);
        for public in ["8.8.8.8", "2606:4700::1111", "192.0.2.1", "172.32.0.1"] {
            assert!(!is_private(public.parse().expect("an address")), "{public}");
        }
    }
}
