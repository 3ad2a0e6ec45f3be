//! The embedded engine of the event store: one process, one folder, durable after every acknowledged append.
//!
//! The folder holds
//! - `lock`: held by the one process that uses the folder;
//! - `manifest`: the log's identity, layout and format version (see [`OpenError`] for what is refused);
//! - `log.redb`: the commits and what makes opening fast, in one redb database.
//!
//! How it works, and why it is this way:
//! - **Group commit.** One writer thread drains a bounded queue into one redb transaction with one sync, and answers
//!   after the sync. While a sync runs the next batch gathers.
//! - **Append-only tables.** Commits are keyed by position, so inserts go to the right edge of 16 ranges. There is
//!   no random-order index: a commit's row names its bucket's previous one, tails are an array in memory, and both
//!   array and dedup window come back at opening from rows written one a batch. So a commit costs one insert.
//! - **Snapshots.** Readers see the log as of the last acknowledged batch, never a batch that is under way.
//! - **A failed write or sync is final.** Nothing more is written to the file by this process, which was told
//!   nothing certain about what the disk kept: appends are answered `Unavailable` (those whose batch was being
//!   committed: `Unknown`), reads go on from the last snapshot. The next start recovers what was durable.

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
