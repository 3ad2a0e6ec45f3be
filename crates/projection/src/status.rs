//! What a verifier asks on every scan: is the code at (list, index), with exactly these claims, alive?
//!
//! Per code 28 bits: a nibble for life and standing, and a 24-bit fingerprint of the signed claims under a key of
//! this verifier's own, so that whoever steals a signing key cannot search offline for claims that pass. Eighteen
//! codes share a cache line; places come in blocks of [`BLOCK_LEN`], allocated at their first code, because issuers
//! lease whole blocks and fill them up.
//!
//! One [`StatusWriter`] folds whole commits; any number of [`StatusReader`]s look up without lock or allocation.
//! What a commit changes becomes visible as one, with its position, under a sequence lock per partition: no reader
//! sees the killed and the newborn code both valid, nor a status that is not of the position reported with it.

mod alarm;
mod block;
mod entry;
mod fingerprint;
mod lists;
mod partition;
mod published;
mod reader;
mod saved;
mod standings;
mod writer;

pub use alarm::Alarm;
pub use block::{BLOCK_LEN, MAX_LIST_LEN};
pub use fingerprint::FingerprintKey;
pub use reader::{PartitionPoint, StatusAnswer, StatusReader};
pub use saved::load;
pub use writer::{KEPT_AFTER_EXPIRY_SECONDS, StatusWriter, new};

pub(crate) use lists::ListHasher;
pub(crate) use standings::ByHolder;

#[cfg(test)]
mod tests;
