//! The event store on NATS JetStream: the engine of a city that outgrew one machine.
//!
//! How the log lies there:
//! - one stream a partition, `CC_EV_00` and on; one subject a bucket, `cc.ev.v1.<pp>.<bbbb>`; one message a commit.
//!   A commit's sequence in its partition is the stream's sequence, its revision in the bucket the same number, and
//!   the message's payload the canonical bytes of [`citycode_event_store::codec`], so that positions and hashes
//!   outlive a move between engines;
//! - the manifest (identity, layout, versions) stands in every stream's metadata: what is asked of a partition is
//!   answered together with whose partition it is.
//!
//! How it works, and why it is this way:
//! - **Every append carries its expectation**, 0 included: without the header the server checks nothing. The server
//!   knows revisions only; the hash is compared here, with a tail that was seen or with the commit read once.
//! - **Three answers.** The server's error code decides what is known (see `publish`): refused for good, not taken
//!   now, or unknown. A publish that was not answered in 15 s is unknown, because it may still be written.
//! - **After a refusal the bucket's leader is asked** whether the commit is there already: a single server checks
//!   the expectation before it looks for duplicates, so that a retry of a committed command looks like a conflict.
//! - **An own reader** that makes no consumer: it asks for history in batches and listens to the tail, which the streams
//!   republish. So a credential that only reads can have the servers write nothing anywhere. See `reader`.
//! - **The JetStream API is spoken here**, over the client's plain requests: settings are compared as the server
//!   reports them, those that this program has no word for too, and every error code is seen.
//!
//! What it leaves out: what an event means; credentials' permissions and the servers' configuration (deployment).

mod append;
mod batch;
mod config;
mod conflict;
mod durability;
mod freshness;
mod group;
mod locks;
mod log_client;
mod manifest;
mod minimum_reader;
mod names;
mod open;
mod provision;
mod publish;
mod read;
mod reader;
mod settings;
mod store;
pub mod subjects;
mod subscription;
mod tails;

pub use citycode_jetstream::{Connection, Credentials, SettingMismatch};
pub use config::{Config, Durability, NewLog};
pub use durability::DurabilityError;
pub use freshness::ProbeAnswers;
pub use open::OpenError;
pub use provision::{ProvisionError, provision};
pub use settings::Settings;
pub use store::JetStreamEventStore;
