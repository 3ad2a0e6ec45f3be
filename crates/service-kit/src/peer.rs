//! Where a call comes from, as far as the transport can tell.

use std::net::IpAddr;

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use std::net::SocketAddr;
use tonic::transport::server::TcpConnectInfo;

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// This machine, over the loopback interface.
    Loopback,
    /// This process, over no socket.
    InProcess,
    /// Anywhere else, or not known.
    Remote,
}

impl PeerKind {
    /// Whether the call cannot have left this machine.
    #[must_use]
    pub fn is_local(self) -> bool {
        self != Self::Remote
    }

    /// The kind of this address. IPv4-mapped IPv6 loopback counts as loopback.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Remote
        }
    }

    /// What a request's connection says; without any, what an explicit `PeerKind` among the extensions says;
    /// without that, `Remote`. A request that a proxy on this machine passed on counts as remote.
    #[must_use]
    pub fn of_request(headers: &HeaderMap, extensions: &Extensions) -> Self {
        const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
        if PASSED_ON.iter().any(|name| headers.contains_key(*name)) {
            return Self::Remote;
        }
        let address = extensions
            .get::<TcpConnectInfo>()
            .and_then(TcpConnectInfo::remote_addr)
            .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
        match address {
            Some(address) => Self::of(address.ip()),
            None => extensions.get::<Self>().copied().unwrap_or(Self::Remote),
        }
    }
}
