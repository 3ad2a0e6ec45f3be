//! Errors of the JetStream API.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The server's error codes that this crate distinguishes.
pub mod code {
    /// Too few servers to place a stream on: some are still starting, or their disks are full.
    pub const CLUSTER_NO_PEERS: u64 = 10_005;
    /// There is no meta leader.
    pub const CLUSTER_NOT_AVAILABLE: u64 = 10_008;
    /// The server is no longer the leader.
    pub const CLUSTER_NOT_LEADER: u64 = 10_009;
    /// The cluster has insufficient resources.
    pub const INSUFFICIENT_RESOURCES: u64 = 10_023;
    /// The account's or server's memory is full.
    pub const MEMORY_RESOURCES_EXCEEDED: u64 = 10_028;
    /// There is no such message.
    pub const NO_MESSAGE_FOUND: u64 = 10_037;
    /// The account's or server's disk is full.
    pub const STORAGE_RESOURCES_EXCEEDED: u64 = 10_047;
    /// The message exceeds the stream's limit.
    pub const MESSAGE_TOO_LARGE: u64 = 10_054;
    /// A message could not be deleted: it no longer exists, or the disk failed.
    pub const MESSAGE_DELETE_FAILED: u64 = 10_057;
    /// The stream exists with other settings.
    pub const STREAM_NAME_IN_USE: u64 = 10_058;
    /// There is no such stream.
    pub const STREAM_NOT_FOUND: u64 = 10_059;
    /// No message has that sequence.
    pub const SEQUENCE_NOT_FOUND: u64 = 10_043;
    /// The message's expectation does not hold.
    pub const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// JetStream is not enabled on the server or for the account.
    pub const JETSTREAM_NOT_ENABLED: u64 = 10_076;
    /// The stream is sealed.
    pub const STREAM_SEALED: u64 = 10_109;
    /// Too few of the stream's servers are running.
    pub const STREAM_OFFLINE: u64 = 10_118;
    /// A message with the same id is in flight.
    pub const DUPLICATE_IN_FLIGHT: u64 = 10_158;
    /// The subject's last sequence is not known yet.
    pub const LAST_SEQUENCE_NOT_READY: u64 = 10_163;
    /// Another message to the same subject is in flight.
    pub const WRITE_IN_FLIGHT: u64 = 10_164;
    /// An atomic batch lacks a message, or timed out.
    pub const BATCH_INCOMPLETE: u64 = 10_176;
    /// A message of an atomic batch is already in the stream.
    pub const BATCH_HAS_DUPLICATE: u64 = 10_201;
    /// The server has its maximum number of atomic batches.
    pub const TOO_MANY_BATCHES: u64 = 10_210;
    /// The server has too many queued requests.
    pub const TOO_MANY_REQUESTS: u64 = 10_167;
}

/// Why a request has no valid answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The server refused.
    #[error("the server refused: {description} ({code})")]
    Refused {
        /// The server's error code.
        code: u64,
        /// The server's description.
        description: String,
    },
    /// The subject has no subscriber: there is no leader, no such stream, or no permission.
    #[error("no server answers requests on this subject")]
    NoResponders,
    /// There was no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection or the client failed.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The answer is invalid.
    #[error("the server's answer is invalid: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn has_code(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    /// Whether the server that answered had no leader, as during an election.
    #[must_use]
    pub fn awaits_leader(&self) -> bool {
        self.has_code(code::CLUSTER_NOT_AVAILABLE) || self.has_code(code::CLUSTER_NOT_LEADER)
    }

    /// Whether the error may be temporary, caused by an election or a starting server.
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

/// Parses an answer of the API.
///
/// # Errors
/// The error that the answer contains, or [`ApiError::Malformed`].
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
