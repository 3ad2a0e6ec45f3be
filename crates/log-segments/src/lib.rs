//! Segments of the log's history in the object store of the log's servers, so that a reader of the whole log need not
//! request it one commit at a time.
//!
//! ```text
//! bucket     CC_LOG_SEGMENTS, object `PP/N`: segment N of partition PP
//! segment    4,096 consecutive messages of a partition: see [`segment`]
//! statement  signed by revocation, in the object's metadata: see [`Statement`]
//! ```
//! A revocation service writes the segments from its own view of the log and signs each with the key that signs shared
//! snapshots ([`Publisher`]). A reader ([`LogSegments`]) checks the statement before it requests a byte of the object,
//! and uses a segment only if every byte is what was signed. Wherever a segment is missing or refused, the log itself
//! is read, which always yields the correct state. The end of the log that does not fill a segment yet is read from the
//! log as well.
//!
//! A segment has the confidentiality of the log: only users that may read the log may read the bucket.

mod publisher;
mod read;
pub mod segment;
mod statement;

pub use citycode_jetstream::object_store::ProvisionError;
pub use publisher::Publisher;
pub use read::{LogSegments, ReadSegmentError};
pub use statement::{Refusal, Statement};

use citycode_event_store::Partition;
use citycode_jetstream::Connection;
use citycode_jetstream::object_store;

/// The bucket of the segments.
pub const BUCKET: &str = "CC_LOG_SEGMENTS";
/// The key of the signed statement, in base64, in an object's metadata.
const STATEMENT: &str = "citycode-statement";

/// The object of a segment.
fn object(partition: Partition, number: u64) -> String {
    format!("{partition}/{number}")
}

/// Creates the bucket, or checks an existing one.
///
/// # Errors
/// [`ProvisionError`].
pub async fn provision(connection: &Connection, replicas: u8) -> Result<(), ProvisionError> {
    object_store::provision(connection, BUCKET, replicas).await
}
