//! Why a question has no answer.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The server's error codes that mean something here.
pub mod code {
    /// Too few servers to place a stream on: some are still coming up, or their disks are full.
    pub const CLUSTER_NO_PEERS: u64 = 10_005;
    /// No meta leader yet.
    pub const CLUSTER_NOT_AVAILABLE: u64 = 10_008;
    /// Asked of a server that lost its lead.
    pub const CLUSTER_NOT_LEADER: u64 = 10_009;
    /// The cluster has too little of something.
    pub const INSUFFICIENT_RESOURCES: u64 = 10_023;
    /// The account's or server's memory is full.
    pub const MEMORY_RESOURCES_EXCEEDED: u64 = 10_028;
    /// No message there.
    pub const NO_MESSAGE_FOUND: u64 = 10_037;
    /// The account's or server's disk is full.
    pub const STORAGE_RESOURCES_EXCEEDED: u64 = 10_047;
    /// Larger than the stream takes.
    pub const MESSAGE_TOO_LARGE: u64 = 10_054;
    /// A message could not be deleted: it is gone, or the disk is ill.
    pub const MESSAGE_DELETE_FAILED: u64 = 10_057;
    /// Made by somebody else, with other settings.
    pub const STREAM_NAME_IN_USE: u64 = 10_058;
    /// There is no such stream.
    pub const STREAM_NOT_FOUND: u64 = 10_059;
    /// No message has that sequence.
    pub const SEQUENCE_NOT_FOUND: u64 = 10_043;
    /// The expectation does not hold.
    pub const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// The server, or the account, keeps no streams.
    pub const JETSTREAM_NOT_ENABLED: u64 = 10_076;
    /// The stream takes nothing any more.
    pub const STREAM_SEALED: u64 = 10_109;
    /// Too few of its servers are up.
    pub const STREAM_OFFLINE: u64 = 10_118;
    /// The same message id is in flight.
    pub const DUPLICATE_IN_FLIGHT: u64 = 10_158;
    /// The bucket's last sequence cannot be told yet.
    pub const LAST_SEQUENCE_NOT_READY: u64 = 10_163;
    /// Another message to the bucket is in flight.
    pub const WRITE_IN_FLIGHT: u64 = 10_164;
    /// An atomic batch lacks a message, or took too long.
    pub const BATCH_INCOMPLETE: u64 = 10_176;
    /// A message of an atomic batch stands in the stream already.
    pub const BATCH_HAS_DUPLICATE: u64 = 10_201;
    /// The server holds as many atomic batches as it takes.
    pub const TOO_MANY_BATCHES: u64 = 10_210;
    /// The server has more to do than it takes.
    pub const TOO_MANY_REQUESTS: u64 = 10_167;
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The server refused.
    #[error("the server refused: {description} ({code})")]
    Refused {
        /// The server's error code.
        code: u64,
        /// Its words.
        description: String,
    },
    /// Nobody listens: no leader, no such stream, or no permission.
    #[error("no server answers for it")]
    NoResponders,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection, or the client itself.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// An answer that cannot be read.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn has_code(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    /// Whether the server that answered knew of no leader, as amid an election.
    #[must_use]
    pub fn awaits_leader(&self) -> bool {
        self.has_code(code::CLUSTER_NOT_AVAILABLE) || self.has_code(code::CLUSTER_NOT_LEADER)
    }

    /// Whether an election, or a server that comes up, may explain it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                self.awaits_leader() || [code::CLUSTER_NO_PEERS, code::STREAM_OFFLINE].contains(code)
            }
            Self::NoResponders | Self::TimedOut | Self::Connection(_) => true,
            Self::Malformed(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads an answer of the API: its body, or the error that stands in it.
///
/// # Errors
/// The error in the answer, or that it cannot be read.
pub fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let malformed = |error: serde_json::Error| ApiError::Malformed(error.to_string());
    let value: Value = serde_json::from_slice(payload).map_err(malformed)?;
    if let Some(error) = value.get("error") {
        let ErrorBody { err_code, description } = ErrorBody::deserialize(error).map_err(malformed)?;
        return Err(ApiError::Refused {
            code: err_code,
            description,
        });
    }
    T::deserialize(value).map_err(malformed)
}
