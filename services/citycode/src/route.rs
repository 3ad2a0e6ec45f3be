//! The route of calls to a server: directly, or through a proxy that the environment names.
//!
//! A server on this machine is always called directly: a proxy could read the local admin's token and ID numbers, and
//! could not reach that server anyway. `localhost` is pinned to the loopback addresses, independent of the resolver.
//! For other servers `HTTP_PROXY`, `http_proxy`, `ALL_PROXY`, `all_proxy` and `NO_PROXY` have their usual meaning.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use citycode_runtime::local_token::{LOCALHOST, LOCALHOST_ROOTED, loopback_addresses};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Url};

/// Variables that name a proxy for `http://`.
const PROXY_VARIABLES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The route of calls to one server. Its display text follows the server's name in a sentence: it is empty, or
/// ` through the proxy …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The server is on this machine and is called directly.
    Loopback,
    /// The server is this user's own and is called over its socket.
    LocalSocket,
    /// The environment names no proxy for the server.
    Direct,
    /// Through a proxy.
    Proxy {
        /// The proxy, without a password that its variable may contain.
        proxy: String,
        /// The server's host, for `NO_PROXY`.
        host: String,
    },
}

impl Route {
    /// The route to this server. Reads the environment.
    #[must_use]
    pub fn to(server: &Url) -> Self {
        Self::with_proxies(server, &Matcher::from_env())
    }

    fn with_proxies(server: &Url, proxies: &Matcher) -> Self {
        if !loopback_addresses(server).is_empty() {
            return Self::Loopback;
        }
        let found = server
            .as_str()
            .parse()
            .ok()
            .and_then(|uri: http::Uri| proxies.intercept(&uri));
        match found {
            None => Self::Direct,
            Some(found) => {
                let uri = found.uri();
                let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
                let address = authority.rsplit('@').next().unwrap_or_default();
                Self::Proxy {
                    proxy: format!("{}://{address}", uri.scheme_str().unwrap_or("http")),
                    host: server.host_str().unwrap_or_default().to_owned(),
                }
            }
        }
    }

    /// Configures a client for this route.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        match self {
            Self::Loopback => {
                let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let addresses = addresses.map(|ip: IpAddr| SocketAddr::new(ip, 0));
                let builder = builder.no_proxy().resolve_to_addrs(LOCALHOST, &addresses);
                builder.resolve_to_addrs(LOCALHOST_ROOTED, &addresses)
            }
            Self::Direct | Self::LocalSocket | Self::Proxy { .. } => builder,
        }
    }

    /// What to do if a call through a proxy failed.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Loopback | Self::LocalSocket | Self::Direct => None,
            Self::Proxy { proxy, host } => Some(format!(
                "check that the proxy {proxy} is correct and forwards calls, or call the server directly with NO_PROXY={host}"
            )),
        }
    }

    /// Whether the route is acceptable, and its description, for `doctor`.
    pub(crate) fn finding(&self, server: &str) -> (bool, String) {
        match self {
            Self::Loopback if proxy_is_named() => (
                true,
                format!("{server} is on this machine and is called directly, despite the proxy variables"),
            ),
            Self::LocalSocket => (true, format!("{server} is called over its socket in the data folder")),
            Self::Loopback | Self::Direct => (true, format!("{server} is called directly")),
            Self::Proxy { proxy, host } => (
                false,
                format!(
                    "calls to {server} go through the proxy {proxy}, which can read access tokens and ID numbers: set \
                     NO_PROXY={host}, unless this is intended"
                ),
            ),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback | Self::LocalSocket | Self::Direct => Ok(()),
            Self::Proxy { proxy, .. } => write!(f, " through the proxy {proxy}"),
        }
    }
}

fn proxy_is_named() -> bool {
    PROXY_VARIABLES
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(server: &str, proxy: &str, no_proxy: &str) -> Route {
        let proxies = Matcher::builder().all(proxy.to_owned()).no(no_proxy.to_owned()).build();
        Route::with_proxies(&server.parse().unwrap(), &proxies)
    }

    #[test]
    fn a_server_on_this_machine_is_called_directly_despite_a_proxy() {
        for server in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://localhost:8080",
            "http://LOCALHOST.:8080",
            "http://[::1]:8080",
            "http://[::ffff:127.0.0.1]:8080",
            "http://0.0.0.0:8080",
        ] {
            assert_eq!(route(server, "http://proxy:3128", ""), Route::Loopback, "{server}");
        }
        for server in [
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
        ] {
            assert_ne!(route(server, "http://proxy:3128", ""), Route::Loopback, "{server}");
        }
    }

    #[test]
    fn a_proxy_is_shown_without_its_password_and_no_proxy_is_honoured() {
        let through = route("http://city.example:8080/x", "http://user:secret@proxy:3128", "");
        assert_eq!(through.to_string(), " through the proxy http://proxy:3128");
        assert!(through.advice().unwrap().contains("NO_PROXY=city.example"));
        let (acceptable, finding) = through.finding("http://city.example:8080");
        assert!(!acceptable && !finding.contains("secret"), "{finding}");
        assert_eq!(
            route("http://city.example", "http://proxy:3128", "city.example"),
            Route::Direct
        );
    }
}
