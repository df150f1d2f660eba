//! Requests on the wire: straight to the upstream over hyper's own client, through a proxy over reqwest.
//!
//! The straight way is the hot one; reqwest adds some 40 µs and as much CPU to each call there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::{Body, Proxy};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use crate::upstream::{BadUpstream, ProxyUse};

#[expect(clippy::large_enum_variant, reason = "a gateway has one or two of them")]
pub(crate) enum Client {
    Straight(legacy::Client<Prompt<HttpsConnector<HttpConnector>>, Body>),
    Proxied(reqwest::Client),
}

/// Why a request got no answer.
pub(crate) enum Failure {
    /// No connection: it never left.
    Connect(String),
    /// It left, and the connection ended.
    Lost,
}

/// Idle connections are closed before upstreams do it themselves under a request.
const POOL_IDLE: Duration = Duration::from_secs(45);
const POOL_MAX: usize = 1_024;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Of an answer. Gateways before an upstream add their own; one with more is lost.
const HEADERS_MAX: usize = 1_000;

impl Client {
    /// For one upstream at `base`.
    pub(crate) fn new(base: &Uri, connect: Duration, proxy: &ProxyUse) -> Result<Client, BadUpstream> {
        match proxy {
            ProxyUse::None => straight(base, connect).map(Client::Straight),
            ProxyUse::Env if Matcher::from_env().intercept(base).is_none() => {
                straight(base, connect).map(Client::Straight)
            }
            ProxyUse::Env => proxied(connect, None).map(Client::Proxied),
            ProxyUse::Url(url) => {
                let proxy = Proxy::all(url).map_err(|_| BadUpstream::Proxy(url.clone()))?;
                proxied(connect, Some(proxy)).map(Client::Proxied)
            }
        }
    }

    /// Ends with the head of the answer. Redirects are answers like others.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        match self {
            Client::Straight(client) => {
                let mut request = Request::new(body);
                *request.method_mut() = method;
                *request.uri_mut() = uri;
                *request.headers_mut() = headers;
                let answer = client.request(request).await;
                answer.map(|answer| answer.map(Body::wrap)).map_err(|error| failure(error.is_connect(), &error))
            }
            Client::Proxied(client) => {
                let answer = client.request(method, uri.to_string()).headers(headers).body(body).send().await;
                answer.map(Response::from).map_err(|error| failure(error.is_connect(), &error))
            }
        }
    }
}

fn failure(in_connect: bool, error: &dyn std::error::Error) -> Failure {
    if in_connect { Failure::Connect(root_cause(error)) } else { Failure::Lost }
}

fn straight(
    base: &Uri,
    connect: Duration,
) -> Result<legacy::Client<Prompt<HttpsConnector<HttpConnector>>, Body>, BadUpstream> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(base)?).https_or_http();
    let connector = Prompt { inner: tls.enable_all_versions().wrap_connector(tcp), within: connect };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_MAX)
        .http1_max_headers(HEADERS_MAX)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .build(connector))
}

/// The system's verifier and nothing to turn it off; plain http on loopback needs no certificates read.
fn tls(base: &Uri) -> Result<ClientConfig, BadUpstream> {
    let builder =
        ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| BadUpstream::Client(e.to_string()))?;
    if base.scheme_str() == Some("https") {
        let verified = builder.try_with_platform_verifier().map_err(|e| BadUpstream::Client(e.to_string()))?;
        return Ok(verified.with_no_client_auth());
    }
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn proxied(connect: Duration, proxy: Option<Proxy>) -> Result<reqwest::Client, BadUpstream> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_MAX)
        .http1_max_headers(HEADERS_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE);
    let builder = match proxy {
        Some(proxy) => builder.no_proxy().proxy(proxy),
        None => builder,
    };
    builder.build().map_err(|error| BadUpstream::Client(root_cause(&error)))
}

/// The innermost sentence: it names the cause and holds no address with a query.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A connector whose name look-up, TCP and TLS together must be done within a time.
#[derive(Clone)]
pub(crate) struct Prompt<C> {
    inner: C,
    within: Duration,
}

impl<C> Service<Uri> for Prompt<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = C::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, within) = (self.inner.call(uri), self.within);
        Box::pin(async move {
            match tokio::time::timeout(within, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(format!("no connection within {} s", within.as_secs_f64()).into()),
            }
        })
    }
}
