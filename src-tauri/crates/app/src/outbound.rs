//! HTTP that the app itself sends, through the proxy that the settings name.

use gateway::ProxyUse;

use crate::settings::BaseUrl;

/// For one host. Redirects are answers like others: a key follows none.
pub(crate) fn client(proxy: &ProxyUse, base: &BaseUrl) -> reqwest::Result<reqwest::Client> {
    builder(proxy, base.is_loopback())?.build()
}

/// `is_here`: it is for this machine, which no proxy leads to.
pub(crate) fn builder(proxy: &ProxyUse, is_here: bool) -> reqwest::Result<reqwest::ClientBuilder> {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).referer(false);
    Ok(match proxy {
        _ if is_here => builder.no_proxy(),
        ProxyUse::Env => builder,
        ProxyUse::None => builder.no_proxy(),
        ProxyUse::Url(url) => builder.no_proxy().proxy(reqwest::Proxy::all(url)?),
    })
}

/// Elsewhere than on Linux the system may name a proxy too.
pub(crate) fn may_be_proxied(proxy: &ProxyUse) -> bool {
    const VARIABLES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    match proxy {
        ProxyUse::None => false,
        ProxyUse::Url(_) => true,
        ProxyUse::Env => {
            cfg!(not(target_os = "linux")) || VARIABLES.iter().any(|name| std::env::var_os(name).is_some())
        }
    }
}

/// The innermost sentence: it names the cause and holds no address with a query.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
