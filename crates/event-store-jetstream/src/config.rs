//! Configuration of the engine.

use citycode_event_store::{Layout, LogId, LogPosition, ReaderVersion};
use citycode_jetstream::Connection;

/// The durability that the servers must provide before they acknowledge.
#[derive(Debug, Clone)]
pub enum Durability {
    /// Every server with a replica reports `sync_always` on its monitoring endpoint. A client's own connection does not
    /// show this: only `/varz` does, or the system account, to which services have no access.
    SyncAlways {
        /// The monitoring URL of every server, e.g. `http://10.0.0.1:8222`. Plain HTTP: keep it on an internal network.
        monitors: Vec<String>,
    },
    /// No requirement. A power failure may then lose acknowledged commits: for development, or by an operator's
    /// explicit decision.
    Unproven,
}

/// The log to create if there is none.
#[derive(Debug, Clone, Copy)]
pub struct NewLog {
    /// Its identity: 16 random bytes.
    pub log_id: LogId,
    /// Its layout, which never changes.
    pub layout: Layout,
    /// Its minimum reader version: [`ReaderVersion::CURRENT`] unless it is a copy of an earlier release's log.
    pub minimum_reader: ReaderVersion,
    /// The lost log in whose place it is created: the log that vault, scan records and other parts name as theirs.
    pub replaces: Option<LogId>,
}

impl NewLog {
    /// A log of this release, with the minimum [`ReaderVersion::CURRENT`].
    #[must_use]
    pub fn new(log_id: LogId, layout: Layout) -> Self {
        Self {
            log_id,
            layout,
            minimum_reader: ReaderVersion::CURRENT,
            replaces: None,
        }
    }
}

/// Where the log is, and the requirements on it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The servers' addresses and this client's credentials.
    pub connection: Connection,
    /// Replicas of each partition: 3, or 1 for a single server.
    pub replicas: u8,
    /// The durability that the servers must provide.
    pub durability: Durability,
    /// The identity that the log must have, for a caller that has seen it before.
    pub expected_log_id: Option<LogId>,
    /// The position up to which the caller has seen the log. A log that ends before it was rolled back and is refused.
    pub seen: Option<LogPosition>,
    /// This client's role, which determines the subject of its freshness probes (its credential must permit that) and
    /// the quota for their answers: `verifier`, `revocation`, `issuer`, `audit`, `archive`; `reader` for any other.
    pub role: &'static str,
    /// 32 random bytes from which this client's nonces are derived. Without them, nonces are derived from the NATS
    /// client's generator of names.
    pub nonce_key: Option<[u8; 32]>,
}

impl Config {
    /// A log on three servers, without expectations of its identity and position, for the role `reader`.
    #[must_use]
    pub fn new(servers: Vec<String>, client_name: &str, durability: Durability) -> Self {
        Self {
            connection: Connection::new(servers, client_name),
            replicas: 3,
            durability,
            expected_log_id: None,
            seen: None,
            role: "reader",
            nonce_key: None,
        }
    }
}
