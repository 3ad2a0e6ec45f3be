//! The event store on NATS JetStream, for a city on several machines.
//!
//! Storage:
//! - Each partition is a JetStream stream, `CC_EV_00` and so on; each bucket is a subject, `cc.ev.v1.<pp>.<bbbb>`; each
//!   commit is a message. A commit's sequence in its partition is the stream's sequence, which is also its revision in
//!   the bucket. The payload is the canonical bytes of [`citycode_event_store::codec`], so positions and hashes stay
//!   the same in a copy on another engine.
//! - Every stream's metadata contains the manifest (identity, layout, versions), so each request for a partition's
//!   state also returns the identity of its log.
//!
//! Design:
//! - **Every append carries its expectation**, even 0: without the header the server checks nothing. The server
//!   compares revisions only; this crate compares the hash, with a tail that it has seen or by reading the commit once.
//! - **Three kinds of failure.** The server's error code determines what is known (see `publish`): refused permanently,
//!   refused for now, or unknown. A publish without an answer after 15 s is unknown, because it may still be written.
//! - **After a refusal** the bucket's leader is asked whether the commit is already there: a single server checks the
//!   expectation before it looks for duplicates, so a retry of a committed command looks like a conflict.
//! - **Readers create no consumers.** They request history in batches and subscribe to the tail, which the streams
//!   republish. So a credential that only reads cannot make the servers write anything. See `partition_reader`.
//! - **This crate implements the JetStream API** over the client's plain requests. So it compares settings as the
//!   server reports them, even settings that it does not know, and it sees every error code.
//!
//! One type has each responsibility: `LogConnection` the identity and state of the log, `CommitReader` reads,
//! `Appender` appends, `Subscriptions` the live log, `Freshness` probes. [`JetStreamEventStore`] combines them.
//!
//! The crate does not interpret events, and does not manage credentials or the servers' configuration (deployment).

mod accounts;
mod appender;
mod commit_reader;
mod config;
mod conflict;
mod connection;
mod durability;
mod freshness;
mod group;
mod locks;
mod manifest;
mod minimum_reader;
mod names;
mod open;
mod partition_reader;
mod probes;
mod provision;
mod publish;
mod settings;
mod store;
pub mod subjects;
mod subscription;
mod tails;

pub use accounts::{existing_layout, partitions_of_accounts};
pub use citycode_jetstream::{Connection, Credentials, SettingMismatch};
pub use config::{Config, Durability, NewLog};
pub use durability::DurabilityError;
pub use open::OpenError;
pub use probes::ProbeAnswers;
pub use provision::{ProvisionError, Remains, provision, remains};
pub use settings::Settings;
pub use store::JetStreamEventStore;
