//! Folds commits of the event log into projections: the names of streams, decoding, and the folds that services share.
//!
//! Writers fold the register of holders; verifiers and revocation services fold the status of every code. Both decode
//! commits, handle foreign messages, and load and save snapshots in the same way, so that code is in this crate.
//!
//! | module | does |
//! |---|---|
//! | `streams` | the names of event streams, and what each name identifies |
//! | `commit` | a recorded commit → its events, and the commit type of projections |
//! | `register` | the fold into the register of holders; it passes system events to other projections |
//! | `status` | the fold into the status of codes, its confined buckets, its snapshot |
//! | `confined` | what a foreign message makes uncertain |
//! | `snapshot` | the identity of a log in snapshots, and loading the register |
//!
//! It does not append (`holder-log` does), interpret events (`domain`) or follow the log (`event-store`).

mod commit;
mod confined;
mod register;
mod snapshot;
mod status;
mod streams;

pub use commit::{events_of, folded_events, message_prefix, projected};
pub use confined::Confined;
pub use register::{RegisterFold, SystemFold};
pub use snapshot::{identity_of, load_register};
pub use status::FoldedStatus;
pub use streams::{
    holder_of, holder_stream, keys_stream, lease_stream, policies_stream, query_digests_stream, scan_batches_stream,
};
