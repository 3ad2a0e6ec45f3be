//! Audit: the life of a code as the log has it. Reads the whole log, appends nothing, holds no key.
//!
//! [`AuditIndex`] follows the log and keeps, on disk, which commits are a code's holder's, so that a history is found
//! without scanning; it can be thrown away and comes back by replay. [`Audit`] answers from the log itself.

pub mod grpc;
mod history;
mod index;

pub use history::Audit;
pub use index::{AuditIndex, IndexError, IndexReader};
