//! The audit service: the history of a code, read from the log. It reads the whole log, appends nothing, and has no
//! keys.
//!
//! [`AuditIndex`] follows the log and stores on disk which commits belong to the holder of a code, so that a history is
//! found without scanning the log; it can be deleted and is then rebuilt by replay. [`Audit`] answers from the log
//! itself.

pub mod grpc;
mod history;
mod index;

pub use history::Audit;
pub use index::{AuditIndex, IndexError, IndexReader};
