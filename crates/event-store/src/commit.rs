//! What is appended and what is read back.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::{BucketId, BucketTail, ForeignMessage, Position, Revision, StreamName};

/// Most events of one commit: an import writes one holder a commit, and a holder has a handful of codes.
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
    /// The id that a caller gives its command (a UUID); also used for what caused a commit and what it belongs to.
    CommandId,
    16
);
bytes_newtype!(
    /// The id of a commit: a hash of caller, stream and command id; see [`message_id`].
    MessageId,
    32
);
bytes_newtype!(
    /// A digest of the request that led to a commit: the same message id with another digest is refused.
    RequestDigest,
    32
);
bytes_newtype!(
    /// BLAKE3 of the canonical bytes of a commit, the hash of its bucket's previous commit among them.
    CommitHash,
    32
);

impl CommitHash {
    /// What stands in the first commit of a bucket where others carry the hash of the previous one.
    pub const NONE: Self = Self([0; 32]);
}

/// The message id of a command: BLAKE3 in key-derivation mode (context below) over
/// `caller length u64 ‖ caller ‖ stream length u64 ‖ stream ‖ command id`, big-endian.
/// With the caller inside no caller meets another's result.
pub fn message_id(caller: &str, stream: &StreamName, command_id: &CommandId) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("citycode event-store message id v1");
    for part in [caller.as_bytes(), stream.as_bytes()] {
        hasher.update(&u64::try_from(part.len()).expect("lengths fit 64 bits").to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&command_id.0);
    MessageId(*hasher.finalize().as_bytes())
}

/// One event: what it is, in which version, and its bytes, which mean nothing here.
#[derive(Clone, PartialEq, Eq)]
pub struct EventData {
    /// What happened, for example `CodeIssued`: 1 to [`MAX_EVENT_TYPE_BYTES`] bytes of printable ASCII.
    pub event_type: Cow<'static, str>,
    /// The version of that type's payload; old ones are upcast on read, by whoever knows what they mean.
    pub version: u16,
    /// The payload. What replay needs stands here.
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

/// A commit to append: 1 to [`MAX_EVENTS_PER_COMMIT`] events of one stream, all or nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// What happened, in order.
    pub events: Vec<EventData>,
    /// See [`message_id`].
    pub message_id: MessageId,
    /// The digest of the request.
    pub request_digest: RequestDigest,
    /// The caller's id of the command.
    pub command_id: CommandId,
    /// Who did it, as a role or service name; nothing personal. At most [`MAX_ACTOR_BYTES`] of UTF-8.
    pub actor: String,
    /// The command that caused this one, if another did.
    pub causation_id: Option<CommandId>,
    /// What this command belongs to, if it belongs to something larger.
    pub correlation_id: Option<CommandId>,
    /// When it was decided, in Unix seconds; in a holder's stream never before the stream's last (the writer sees to
    /// that). System streams are written by whoever has the turn, on a clock of its own, and no rule looks at their
    /// times.
    pub decided_at: i64,
    /// The W3C `traceparent` of the request, if there was one.
    pub trace_context: Option<String>,
}

impl NewCommit {
    /// The events that mean something: all of them, and none of a [heartbeat](crate::heartbeat).
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
    /// Leaves out the actor and the trace, which lead to a caller.
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
    /// Checks every limit but that of the whole, which encoding checks.
    pub fn check(&self) -> Result<(), CommitInvalid> {
        if self.events.is_empty() || self.events.len() > MAX_EVENTS_PER_COMMIT {
            return Err(CommitInvalid::Events(self.events.len()));
        }
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let good_type = |kind: &str| !kind.is_empty() && kind.len() <= MAX_EVENT_TYPE_BYTES && printable(kind);
        if !self.events.iter().all(|event| good_type(&event.event_type)) {
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

/// A commit as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCommit {
    /// Where it stands.
    pub position: Position,
    /// Its bucket.
    pub bucket: BucketId,
    /// The bucket's revision with this commit as its last.
    pub revision: Revision,
    /// The hash of the bucket's commit before this one; [`CommitHash::NONE`] in the first.
    pub previous_hash: CommitHash,
    /// The hash of this commit, computed from its bytes when they are read.
    pub hash: CommitHash,
    /// What was appended; without an event where a foreign message stands.
    pub commit: NewCommit,
    /// The message, where no commit stands at the position.
    pub foreign: Option<Box<ForeignMessage>>,
}

impl RecordedCommit {
    /// The tail of the bucket with this commit as its last. A foreign message moves no tail.
    pub fn tail(&self) -> BucketTail {
        BucketTail {
            revision: self.revision,
            hash: self.hash,
        }
    }
}
