//! Limits on what clients may hold on a server, and for how long: the defaults with their reasons, and the
//! configuration's section `[limits]`.
//!
//! A connection is anonymous until a call on it presents a valid access token; then it is authenticated. A peer is a
//! connection with a service certificate, or from an address that the configuration names: an ingress, a proxy, or a
//! portal if the services have no certificates. Anonymous clients may hold little, and the oldest of them is evicted
//! when that is exhausted, so that they cannot lock out the others.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// Flow-control window of one HTTP/2 stream: the protocol's default (RFC 9113 §6.9.2). Requests are far smaller.
pub(super) const STREAM_WINDOW: u32 = (64 << 10) - 1;
/// Flow-control window of one connection. It bounds the unread bytes that the server holds for its client.
pub(super) const CONNECTION_WINDOW: u32 = 256 << 10;
/// The same for peers, which multiplex many callers on one connection.
pub(super) const PEER_CONNECTION_WINDOW: u32 = 1 << 20;
/// Header bytes: a token and the trace context fit; more is an attack.
pub(super) const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Largest read buffer of an HTTP/1 connection: a request head fits twice.
pub(super) const HTTP1_BUFFER_BYTES: usize = 32 << 10;
/// Bytes of an answer that are passed to the connection at once: one HTTP/2 frame. The rest of an unread answer stays
/// in its body, where it is counted.
pub(super) const PIECE_BYTES: usize = 16 << 10;
/// Descriptors that are reserved for files, the log and other servers.
const RESERVED_DESCRIPTORS: u64 = 256;

/// The configuration's section `[limits]`. Every key has a default. All limits are per process: N instances of a
/// service allow N times as much, in total and from one address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections in total. At startup it is lowered to what the limit on descriptors allows.
    pub connections: usize,
    /// Open anonymous connections. A further one closes the oldest, idle ones first.
    pub anonymous_connections: usize,
    /// Anonymous connections from one address (IPv6: one /64 network), likewise.
    pub anonymous_connections_per_address: usize,
    /// How long a new connection is not closed although its address has more than that: a burst of gates that reconnect
    /// at once presents its tokens within it. `anonymous_connections` bounds all such connections together.
    #[serde(rename = "grace_seconds", deserialize_with = "seconds")]
    pub grace: Duration,
    /// Authenticated connections from one address: the gates of a station share one. Further ones stay anonymous.
    pub authenticated_connections_per_address: usize,
    /// Calls at once on one HTTP/2 connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub streams_per_connection: u32,
    /// The same on a peer's connection: a portal multiplexes all its callers over one.
    pub peer_streams_per_connection: u32,
    /// Calls at once in total.
    pub calls: usize,
    /// Calls at once without a valid token in total, including health watches. A further one ends the oldest.
    pub anonymous_calls: usize,
    /// Bytes of request bodies and unread answers that all connections hold.
    pub bytes: usize,
    /// The same for anonymous calls.
    pub anonymous_bytes: usize,
    /// The same for one authenticated connection: two pictures.
    pub bytes_per_connection: usize,
    /// The same for one peer's connection.
    pub peer_bytes_per_connection: usize,
    /// The same for one anonymous connection: public requests have almost no body, and the largest answers are status
    /// lists and metrics.
    pub anonymous_bytes_per_connection: usize,
    /// How long a new connection may take until its first request has arrived (including TLS handshake, HTTP/2 preface
    /// and HTTP/1 head), and an HTTP/1 client for each further head.
    #[serde(rename = "request_head_seconds", deserialize_with = "seconds")]
    pub request_head: Duration,
    /// How long a request body may pause. Bodies of streams are not bound by it.
    #[serde(rename = "body_stall_seconds", deserialize_with = "seconds")]
    pub body_stall: Duration,
    /// How long the whole body of a request may take. Bodies of streams are not bound by it.
    #[serde(rename = "body_seconds", deserialize_with = "seconds")]
    pub body: Duration,
    /// How long a client may leave an answer unread.
    #[serde(rename = "unread_seconds", deserialize_with = "seconds")]
    pub unread: Duration,
    /// How long an anonymous connection may be without a call.
    #[serde(rename = "anonymous_idle_seconds", deserialize_with = "seconds")]
    pub anonymous_idle: Duration,
    /// The same for an authenticated one: gates pause between trains. Peers have no such limit but keep-alive pings.
    #[serde(rename = "idle_seconds", deserialize_with = "seconds")]
    pub idle: Duration,
    /// Addresses and networks (`10.1.0.0/16`) of proxies, and of portals if there are no certificates.
    pub peers: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A station has hundreds of gates, kiosks and counters; a city's callers use portals. At some 40 kB per
            // connection this is a third of a gigabyte, if all of them are used.
            connections: 8_192,
            // As many reconnect at once after a restart; each is anonymous until its first call.
            anonymous_connections: 1_024,
            // More than any browser or monitoring system opens.
            anonymous_connections_per_address: 128,
            grace: Duration::from_secs(2),
            authenticated_connections_per_address: 1_024,
            // A gate has one call in flight, an import one stream.
            streams_per_connection: 256,
            peer_streams_per_connection: 1_024,
            // Several times what a server with two cores answers within a second.
            calls: 8_192,
            anonymous_calls: 1_024,
            bytes: 256 << 20,
            anonymous_bytes: 32 << 20,
            bytes_per_connection: 32 << 20,
            peer_bytes_per_connection: 128 << 20,
            anonymous_bytes_per_connection: 4 << 20,
            request_head: Duration::from_secs(10),
            body_stall: Duration::from_secs(10),
            // The longest time that a portal's answer may take.
            body: Duration::from_secs(15),
            unread: Duration::from_secs(30),
            anonymous_idle: Duration::from_secs(60),
            idle: Duration::from_secs(600),
            peers: Vec::new(),
        }
    }
}

impl Limits {
    /// The limits of a management port: health probes and Prometheus call from few places and have no token.
    #[must_use]
    pub fn of_management(&self) -> Self {
        Self {
            connections: 256,
            anonymous_connections: 256,
            streams_per_connection: 32,
            calls: 256,
            anonymous_calls: 256,
            ..self.clone()
        }
    }

    /// One sentence for each invalid value.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let zero = [
            ("connections", self.connections == 0),
            ("anonymous_connections", self.anonymous_connections == 0),
            (
                "anonymous_connections_per_address",
                self.anonymous_connections_per_address == 0,
            ),
            (
                "authenticated_connections_per_address",
                self.authenticated_connections_per_address == 0,
            ),
            ("streams_per_connection", self.streams_per_connection == 0),
            ("peer_streams_per_connection", self.peer_streams_per_connection == 0),
            ("calls", self.calls == 0),
            ("anonymous_calls", self.anonymous_calls == 0),
            ("request_head_seconds", self.request_head.is_zero()),
            ("body_stall_seconds", self.body_stall.is_zero()),
            ("body_seconds", self.body.is_zero()),
            ("unread_seconds", self.unread.is_zero()),
            ("anonymous_idle_seconds", self.anonymous_idle.is_zero()),
            ("idle_seconds", self.idle.is_zero()),
        ];
        let zero = zero.into_iter().filter(|(_, is_zero)| *is_zero);
        zero.map(|(key, _)| format!("limits.{key} must be at least 1"))
            .collect()
    }

    /// Whether connections from this address belong to a peer.
    pub(super) fn is_peer(&self, address: IpAddr) -> bool {
        self.peers.iter().any(|network| network.contains(address))
    }

    /// Lowers the limits to what this many descriptors allow.
    pub(super) fn fitting(mut self, descriptors: u64) -> Self {
        let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(descriptors / 2);
        let most = usize::try_from(free).unwrap_or(usize::MAX).max(1);
        if self.connections > most {
            tracing::warn!(
                wanted = self.connections,
                most,
                descriptors,
                "fewer connections are accepted than configured: raise the limit on open files (LimitNOFILE, ulimit -n)"
            );
            self.connections = most;
            // Most of the rest is for callers with a token.
            self.anonymous_connections = self.anonymous_connections.min((most / 4).max(1));
        }
        self
    }

    /// Interval at which time limits are checked: short enough that a limit is exceeded by a quarter at most.
    pub(super) fn check_interval(&self) -> Duration {
        let shortest = [
            self.request_head,
            self.body_stall,
            self.body,
            self.unread,
            self.anonymous_idle,
            self.idle,
        ];
        let shortest = shortest.into_iter().min().unwrap_or(Duration::from_secs(1));
        (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

/// One address, or a network in CIDR notation (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = text
            .parse::<IpAddr>()
            .map(|address| IpNet::from(address.to_canonical()));
        one.or_else(|_| text.parse::<IpNet>())
            .map(Self)
            .map_err(|_| "a peer is an IP address or a network such as 10.1.0.0/16".to_owned())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Whole milliseconds of a time limit.
pub(super) fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_lower_the_limits_and_many_do_not() {
        let few = Limits::default().fitting(1_024);
        assert_eq!((few.connections, few.anonymous_connections), (768, 192));
        let many = Limits::default().fitting(1 << 20);
        assert_eq!((many.connections, many.anonymous_connections), (8_192, 1_024));
        assert_eq!(Limits::default().fitting(64).connections, 32);
    }

    #[test]
    fn peers_are_addresses_or_networks_and_ipv4_is_found_in_ipv6() {
        let limits: Limits =
            toml::from_str("peers = [\"10.1.0.0/16\", \"::1\", \"192.0.2.7\"]\nidle_seconds = 5").unwrap();
        assert_eq!(limits.idle, Duration::from_secs(5));
        for (address, is_peer) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("::1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(limits.is_peer(address.parse().unwrap()), is_peer, "{address}");
        }
        let wrong = toml::from_str::<Limits>("peers = [\"gate-7\"]").unwrap_err();
        assert!(wrong.to_string().contains("10.1.0.0/16"), "{wrong}");
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_its_name() {
        let limits = Limits {
            calls: 0,
            ..Limits::default()
        };
        assert_eq!(limits.validate(), ["limits.calls must be at least 1"]);
        assert!(Limits::default().validate().is_empty());
    }
}
