//! Compact in-memory state folded from domain events, and the snapshot files that save a replay.
//!
//! - [`status`]: what a verifier asks on every scan — life and standing of a code, with the log position that the
//!   answer rests on. One writer, any number of lock-free readers, 3.6 bytes a code.
//! - [`register`]: what a writer decides on — the state of every holder, packed, and the tail of every bucket.
//! - [`snapshot`]: the file format of both, checksummed and bound to one log.
//!
//! Both move only by [`Commit`]s, whole and without gaps, and say so when one does not fit ([`ApplyError`]).
//! What is left out: where commits come from, files, clocks, threads. Everything here can be thrown away and comes
//! back by replay.

pub mod foreign;
pub mod register;
pub mod snapshot;
pub mod status;

#[cfg(feature = "bench_support")]
pub mod bench_support;

mod commit;

pub use commit::{ApplyError, BucketTail, Commit};
pub use snapshot::{LoadError, LogIdentity, SaveError};
