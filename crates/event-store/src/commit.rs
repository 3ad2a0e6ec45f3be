//! The commit to append ([`NewCommit`]), the commit as recorded ([`RecordedCommit`]), and their parts.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::{BucketId, BucketTail, CommitHash, ForeignMessage, Position, Revision, StreamName};

/// Most events of one commit: an import writes one commit for each holder, and a holder has a handful of codes.
pub const MAX_EVENTS_PER_COMMIT: usize = 256;
/// Longest encoded commit in bytes: below the 1 MiB that a message bus takes by default, with room for its headers.
pub const MAX_COMMIT_BYTES: usize = 512 * 1024;
/// Longest event type in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 64;
/// Longest actor in bytes.
pub const MAX_ACTOR_BYTES: usize = 128;
/// Longest W3C trace context in bytes (a `traceparent` of version 00 has 55).
pub const MAX_TRACE_CONTEXT_BYTES: usize = 128;

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

bytes_newtype!(
    /// The id that a caller gives its command (a UUID); also the type of causation and correlation ids.
    CommandId,
    16
);
bytes_newtype!(
    /// The id of a commit: a hash of caller, stream and command id; see [`message_id`].
    MessageId,
    32
);
bytes_newtype!(
    /// A digest of the request that led to a commit; the same message id with another digest is refused.
    RequestDigest,
    32
);
/// The message id of a command: BLAKE3 in key-derivation mode (context below) over
/// `caller length u64 ‖ caller ‖ stream length u64 ‖ stream ‖ command id`, big-endian.
/// Because the caller is included, a caller never gets the result of another caller's command.
pub fn message_id(caller: &str, stream: &StreamName, command_id: &CommandId) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("citycode event-store message id v1");
    for part in [caller.as_bytes(), stream.as_bytes()] {
        hasher.update(&u64::try_from(part.len()).expect("lengths fit 64 bits").to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&command_id.0);
    MessageId(*hasher.finalize().as_bytes())
}

/// One event: its type, the version of its payload, and the payload, which this crate does not interpret.
#[derive(Clone, PartialEq, Eq)]
pub struct EventData {
    /// The type, for example `CodeIssued`: 1 to [`MAX_EVENT_TYPE_BYTES`] bytes of printable ASCII.
    pub event_type: Cow<'static, str>,
    /// The version of that type's payload; the crate that defines the events upcasts old versions on read.
    pub version: u16,
    /// The payload, which contains everything that replay needs.
    pub payload: Bytes,
}

impl fmt::Debug for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} v{} ({} bytes)",
            self.event_type,
            self.version,
            self.payload.len()
        )
    }
}

/// A commit to append: 1 to [`MAX_EVENTS_PER_COMMIT`] events of one stream, appended atomically.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// The events, in order.
    pub events: Vec<EventData>,
    /// See [`message_id`].
    pub message_id: MessageId,
    /// The digest of the request.
    pub request_digest: RequestDigest,
    /// The caller's id of the command.
    pub command_id: CommandId,
    /// The role or service that made the decision; contains no personal data. At most [`MAX_ACTOR_BYTES`] of UTF-8.
    pub actor: String,
    /// The command that caused this one, if another did.
    pub causation_id: Option<CommandId>,
    /// The larger operation that this command belongs to, if any.
    pub correlation_id: Option<CommandId>,
    /// When it was decided, in Unix seconds. The writer ensures that within a holder's stream this time never
    /// decreases. Several writers with clocks of their own append to system streams, and no rule depends on the times
    /// there.
    pub decided_at: i64,
    /// The W3C `traceparent` of the request, if there was one.
    pub trace_context: Option<String>,
}

impl NewCommit {
    /// The events for projections to fold: all of them, or none if this is a [heartbeat](crate::heartbeat).
    #[must_use]
    pub fn facts(&self) -> &[EventData] {
        if crate::heartbeat::is_heartbeat(&self.stream) {
            &[]
        } else {
            &self.events
        }
    }
}

impl fmt::Debug for NewCommit {
    /// Leaves out the actor and the trace, which could identify a caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCommit")
            .field("stream", &self.stream)
            .field("events", &self.events)
            .field("message_id", &self.message_id)
            .field("decided_at", &self.decided_at)
            .finish_non_exhaustive()
    }
}

/// Why a commit cannot be appended, whatever the state of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitInvalid {
    /// No events, or more than [`MAX_EVENTS_PER_COMMIT`].
    #[error("a commit has 1 to {MAX_EVENTS_PER_COMMIT} events, not {0}")]
    Events(usize),
    /// An event type that is empty, too long, or not printable ASCII.
    #[error("an event type is 1 to {MAX_EVENT_TYPE_BYTES} bytes of printable ASCII")]
    EventType,
    /// More than [`MAX_ACTOR_BYTES`].
    #[error("an actor has at most {MAX_ACTOR_BYTES} bytes, not {0}")]
    Actor(usize),
    /// More than [`MAX_TRACE_CONTEXT_BYTES`], or not printable ASCII.
    #[error("a trace context is at most {MAX_TRACE_CONTEXT_BYTES} bytes of printable ASCII")]
    TraceContext,
    /// More than [`MAX_COMMIT_BYTES`].
    #[error("a commit has at most {MAX_COMMIT_BYTES} bytes, not {0}")]
    TooLarge(usize),
}

impl NewCommit {
    /// Checks every limit except the total size, which encoding checks.
    pub fn check(&self) -> Result<(), CommitInvalid> {
        if self.events.is_empty() || self.events.len() > MAX_EVENTS_PER_COMMIT {
            return Err(CommitInvalid::Events(self.events.len()));
        }
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let valid_type = |kind: &str| !kind.is_empty() && kind.len() <= MAX_EVENT_TYPE_BYTES && printable(kind);
        if !self.events.iter().all(|event| valid_type(&event.event_type)) {
            return Err(CommitInvalid::EventType);
        }
        if self.actor.len() > MAX_ACTOR_BYTES {
            return Err(CommitInvalid::Actor(self.actor.len()));
        }
        match &self.trace_context {
            Some(trace) if trace.len() > MAX_TRACE_CONTEXT_BYTES || !printable(trace) => {
                Err(CommitInvalid::TraceContext)
            }
            _ => Ok(()),
        }
    }
}

/// A commit, or a foreign message, as recorded in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCommit {
    /// Its position.
    pub position: Position,
    /// Its bucket.
    pub bucket: BucketId,
    /// The bucket's revision with this commit as its last.
    pub revision: Revision,
    /// The hash of the bucket's previous commit; [`CommitHash::NONE`] in the first.
    pub previous_hash: CommitHash,
    /// The hash of this commit, computed from its bytes on read.
    pub hash: CommitHash,
    /// The appended commit; without events if this is a foreign message.
    pub commit: NewCommit,
    /// The foreign message, if the message at this position is no commit.
    pub foreign: Option<Box<ForeignMessage>>,
}

impl RecordedCommit {
    /// The tail of the bucket with this commit as its last. Do not use it for a foreign message, whose digest is not
    /// part of the chain.
    pub fn tail(&self) -> BucketTail {
        BucketTail {
            revision: self.revision,
            hash: self.hash,
        }
    }
}
