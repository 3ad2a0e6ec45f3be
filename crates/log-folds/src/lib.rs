//! From commits of the event log to projections: the names of streams, decoding, and the folds that every service uses.
//!
//! Writers fold the register of holders, verifiers and revocation the status of every code. Both decode commits, answer
//! for foreign messages, and load and save snapshots in the same way; that way is here.
//!
//! | module | does |
//! |---|---|
//! | `streams` | stream names and what they stand for |
//! | `commit` | a recorded commit → events and a commit as projections take it |
//! | `register` | the fold into the register of holders; system events go to other keepers |
//! | `status` | the fold into the status of codes, its confined buckets, its snapshot |
//! | `confined` | what a foreign message makes uncertain |
//! | `snapshot` | the identity of a log in snapshots, and loading the register |
//!
//! It leaves out appends (`holder-log`), what an event means (`domain`), and following the log (`event-store`).

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
pub use streams::{holder_of, holder_stream, keys_stream, lease_stream, policies_stream, scan_batches_stream};
