//! What the engine is told.

use citycode_event_store::{Layout, LogId, LogPosition, ReaderVersion};
use citycode_jetstream::Connection;

/// What the servers must do before they acknowledge.
#[derive(Debug, Clone)]
pub enum Durability {
    /// Every server that holds a copy says `sync_always` on its monitoring. A client cannot learn this over its own
    /// connection: `/varz` alone has it, or the system account, which no service of ours has.
    SyncAlways {
        /// The monitoring of every server, e.g. `http://10.0.0.1:8222`. Plain HTTP: it belongs on an inner network.
        monitors: Vec<String>,
    },
    /// Whatever they do. Acknowledged commits may then be lost with the power: for development, or where somebody
    /// decided so by name.
    Unproven,
}

/// A log to make where there is none yet.
#[derive(Debug, Clone, Copy)]
pub struct NewLog {
    /// Its identity: 16 random bytes.
    pub log_id: LogId,
    /// Its numbers, fixed for ever.
    pub layout: Layout,
    /// The reader version that it demands: [`ReaderVersion::CURRENT`] unless it is the copy of an earlier release's.
    pub minimum_reader: ReaderVersion,
}

impl NewLog {
    /// A log of this release: it demands [`ReaderVersion::CURRENT`].
    #[must_use]
    pub fn new(log_id: LogId, layout: Layout) -> Self {
        Self {
            log_id,
            layout,
            minimum_reader: ReaderVersion::CURRENT,
        }
    }
}

/// Where the log is and what it must be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the servers are, and who this client is to them.
    pub connection: Connection,
    /// How many servers keep a copy of each partition: 3, or 1 for a server that stands alone.
    pub replicas: u8,
    /// What the servers must do before they acknowledge.
    pub durability: Durability,
    /// The identity that the log must have, for a caller that has seen it before.
    pub expected_log_id: Option<LogId>,
    /// How far the caller has seen the log: a log that ends before it went back and is refused.
    pub seen: Option<LogPosition>,
    /// Whose work this client does, as writers know it who answer proofs of freshness and as its credential may ask:
    /// `verifier`, `revocation`, `issuer`, `audit`, `archive`; `reader` for any other.
    pub role: &'static str,
    /// 32 random bytes that this client's nonces come from. Without them they come from the NATS client's own generator of
    /// names.
    pub nonce_key: Option<[u8; 32]>,
}

impl Config {
    /// A log on three servers whose durability their monitoring proves.
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
