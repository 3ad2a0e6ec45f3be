//! The origin of a call, as the transport reports it.

use std::net::IpAddr;

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use std::net::SocketAddr;
use tonic::transport::server::TcpConnectInfo;

/// The origin of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// This machine, over the loopback interface or the local socket.
    Loopback,
    /// This process, without a socket.
    InProcess,
    /// Any other origin, or an unknown one.
    Remote,
}

impl PeerKind {
    /// Whether the call came from this machine.
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

    /// The origin of a request by its connection's address; without one, the `PeerKind` among its extensions; without
    /// either, `Remote`. A request that a proxy on this machine forwarded counts as remote.
    #[must_use]
    pub fn of_request(headers: &HeaderMap, extensions: &Extensions) -> Self {
        const FORWARDING_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
        if FORWARDING_HEADERS.iter().any(|name| headers.contains_key(*name)) {
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
