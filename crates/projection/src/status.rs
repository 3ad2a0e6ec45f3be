//! The projection that verifiers query on every scan: is the code at (list, index), with exactly these claims,
//! valid?
//!
//! Each code takes 28 bits: four bits for state and standing, and a 24-bit fingerprint of the signed claims
//! under a key of this verifier, so that somebody who steals a signing key cannot search offline for claims
//! that are accepted. Eighteen codes share a cache line. Indices come in blocks of [`BLOCK_LEN`], which are
//! allocated at their first code, because issuers lease whole blocks and fill them.
//!
//! One [`StatusWriter`] folds whole commits; any number of [`StatusReader`]s look up without lock or
//! allocation. The changes of a commit become visible atomically with its position, under a sequence lock per
//! partition: no reader sees both the old and the new code as valid, nor a status from another position than
//! the one reported with it.

mod alarm;
mod block;
mod effects;
mod entry;
mod fingerprint;
mod lists;
mod partition;
mod published;
mod reader;
mod saved;
mod standings;
mod writer;

pub use crate::point::PartitionPoint;
pub use alarm::Alarm;
pub use block::{BLOCK_LEN, MAX_LIST_LEN};
pub use effects::{CodeState, Effect, StatusChange, effects_of, standing_set_by};
pub use fingerprint::FingerprintKey;
pub use reader::{StatusAnswer, StatusReader};
pub use saved::{SavedTrees, load, load_with_trees};
pub use writer::{RETENTION_AFTER_EXPIRY_SECONDS, StatusWriter, new};

pub(crate) use lists::ListHasher;
pub(crate) use standings::ByHolder;

#[cfg(test)]
mod tests;
