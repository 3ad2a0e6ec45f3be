//! The event store: an append-only log of commits, with the vocabulary of EventStoreDB.
//!
//! This crate contains the contract ([`EventStore`]) and its types, the canonical bytes of a commit ([`codec`]), the
//! in-memory engine ([`memory`]) and the suite that every engine passes ([`conformance`]).
//!
//! It does not interpret events (payloads are bytes), and each durable engine is a crate of its own. The crate reads no
//! clock and draws no random numbers; times and ids are arguments.
//!
//! A log has an identity ([`LogId`]) and a [`Layout`] of partitions and buckets. A stream hashes to one bucket of one
//! partition. A [`NewCommit`] carries 1 to n events of one stream. It is appended atomically, and only if the tail of
//! its bucket is still the one on which the writer's decision was based ([`BucketTail`]). Each commit gets a
//! [`Position`], whose sequences have no gaps within a partition, and carries the hash of its bucket's previous commit,
//! so that anyone can verify a bucket as a hash chain.

pub mod codec;
mod commit;
pub mod conformance;
pub mod copy;
pub mod follow;
pub mod foreign;
pub mod heartbeat;
pub mod history;
mod layout;
pub mod live;
pub mod measured;
pub mod memory;
mod position;
mod reader_version;
mod store;
mod stream;
mod subscription;

pub use citycode_log_position::{BucketTail, CommitHash, Partition, Position, Revision, Sequence};
pub use commit::{
    CommandId, CommitInvalid, EventData, MAX_ACTOR_BYTES, MAX_COMMIT_BYTES, MAX_EVENT_TYPE_BYTES,
    MAX_EVENTS_PER_COMMIT, MAX_TRACE_CONTEXT_BYTES, MessageId, NewCommit, RecordedCommit, RequestDigest, message_id,
};
pub use foreign::ForeignMessage;
pub use layout::{BucketId, Layout, LayoutInvalid, RESERVED_BUCKETS};
pub use position::{LogId, LogPosition, LogPositionInvalid};
pub use reader_version::{RaiseError, ReaderVersion};
pub use store::{AppendError, AppendOutcome, EventStore, ReadError, StreamState};
pub use stream::{MAX_STREAM_NAME_BYTES, StreamName, StreamNameInvalid};
pub use subscription::{
    Subscription, SubscriptionBatch, SubscriptionError, SubscriptionMessage, SubscriptionSource, Undelivered,
};
