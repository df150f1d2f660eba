//! HTTP that the app itself sends, through the proxy that the settings name.

use gateway::ProxyUse;

use crate::settings::BaseUrl;

/// For one host. Redirects are answers like others: a key follows none.
pub(crate) fn client(proxy: &ProxyUse, base: &BaseUrl) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).referer(false);
    match proxy {
        _ if base.is_loopback() => builder.no_proxy(),
        ProxyUse::Env => builder,
        ProxyUse::None => builder.no_proxy(),
        ProxyUse::Url(url) => builder.no_proxy().proxy(reqwest::Proxy::all(url)?),
    }
    .build()
}

/// The innermost sentence: it names the cause and holds no address with a query.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
