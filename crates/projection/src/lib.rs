//! Compact in-memory state folded from domain events, and snapshot files that shorten a replay.
//!
//! - [`status`]: what verifiers query on every scan: state and standing of a code, with the log position of the
//!   answer. One writer, any number of lock-free readers, 3.6 bytes per code.
//! - [`register`]: what writers decide on: the packed state of every holder, and the tail of every bucket.
//! - [`snapshot`]: the file format of both, with a checksum and bound to one log.
//!
//! Both change only by [`Commit`]s, complete and without gaps, and report a commit that does not fit
//! ([`ApplyError`]). This crate does not contain the source of commits, files, clocks or threads. Its state can
//! be deleted and is rebuilt by replay.

pub mod foreign;
pub mod register;
pub mod snapshot;
pub mod status;

#[cfg(feature = "bench_support")]
pub mod bench_support;

mod commit;
mod point;

pub use commit::{ApplyError, Commit};
pub use snapshot::{LoadError, LogIdentity, SaveError};
