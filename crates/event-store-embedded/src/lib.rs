//! The embedded engine of the event store: one process, one folder, and every acknowledged append is durable.
//!
//! The folder contains
//! - `lock`: locked by the process that uses the folder;
//! - `manifest`: the log's identity, layout and format version (see [`OpenError`] for what is refused);
//! - `log.redb`: the commits, and tables that make opening fast, in one redb database.
//!
//! Design:
//! - **Group commit.** One writer thread drains a bounded queue into one redb transaction with one sync, and answers
//!   after the sync. The next batch accumulates while a sync runs.
//! - **Append-only tables.** Commits are keyed by position, so inserts go to the end of 16 key ranges. There is no
//!   random-order index: a commit's row contains the revision of its bucket's previous commit, tails are an array in
//!   memory, and opening restores the array and the dedup window from rows that are written once for each batch. So a
//!   commit costs one insert.
//! - **Snapshots.** Readers see the log as of the last acknowledged batch, never an incomplete batch.
//! - **A failed write or sync is final.** Afterwards the state of the disk is unknown to this process, so it writes
//!   nothing more to the file: appends are answered `Unavailable` (those in the failed batch: `Unknown`), and reads
//!   continue on the last snapshot. The next start recovers the durable state.

mod guarded_file;
mod manifest;
mod open;
mod recent;
mod rows;
mod snapshot;
mod store;
mod tails;
mod writer;

pub use open::{Config, NewLog, OpenError};
pub use store::EmbeddedEventStore;
