//! The event store: an append-only log of commits, in EventStoreDB's words.
//!
//! This crate holds the contract ([`EventStore`]), the words it is written in, the canonical bytes of a commit
//! ([`codec`]), the in-memory engine ([`memory`]) and the suite that every engine passes ([`conformance`]).
//!
//! What it leaves out: what any event means (payloads are bytes), and every durable engine (each is a crate of its
//! own). Nothing here reads a clock or draws randomness; times and ids are handed in.
//!
//! The shape in one paragraph: a log has an identity ([`LogId`]) and a [`Layout`] of partitions and buckets. A
//! stream hashes to one bucket of one partition. A [`NewCommit`] carries 1..n events of one stream and is appended
//! whole or not at all, and only if its bucket still stands where the writer's decision saw it ([`BucketTail`]).
//! Each commit gets a [`Position`] that is gap-free within its partition, and carries the hash of its bucket's
//! previous commit, so that a bucket is a chain that anyone can check.

pub mod codec;
mod commit;
pub mod conformance;
pub mod copy;
pub mod follow;
pub mod foreign;
pub mod heartbeat;
mod layout;
pub mod live;
pub mod memory;
mod position;
mod reader_version;
mod store;
mod stream;
mod subscription;

pub use commit::{
    CommandId, CommitHash, CommitInvalid, EventData, MAX_ACTOR_BYTES, MAX_COMMIT_BYTES, MAX_EVENT_TYPE_BYTES,
    MAX_EVENTS_PER_COMMIT, MAX_TRACE_CONTEXT_BYTES, MessageId, NewCommit, RecordedCommit, RequestDigest, message_id,
};
pub use foreign::ForeignMessage;
pub use layout::{BucketId, Layout, LayoutInvalid, RESERVED_BUCKETS};
pub use position::{BucketTail, LogId, LogPosition, LogPositionInvalid, Partition, Position, Revision, Sequence};
pub use reader_version::{RaiseError, ReaderVersion};
pub use store::{AppendError, AppendOutcome, EventStore, ReadError, StreamState};
pub use stream::{MAX_STREAM_NAME_BYTES, StreamName, StreamNameInvalid};
pub use subscription::{Subscription, SubscriptionBatch, SubscriptionError, SubscriptionMessage, SubscriptionSource};
