//! The stream of queries: who looked at a person, a code or a scan, when, and why.
//!
//! A query is recorded durably before it is answered, and a record is never changed or removed. Who asked, when, the kind
//! of the question and the number of rows are readable for ever. The purpose, and a number for the person who was looked
//! at, are sealed under a key of the day, which is destroyed when the retention ends.
//!
//! The number of a person is random. A secret of its own leads from the person's holder id to the number; erasing the
//! person destroys this secret. From then on nothing leads from the person to a query, nor from a query to the person.
//!
//! [`Queries`] records and reads; [`QueryStore`] is the port of its storage. [`embedded::EmbeddedQueryStore`] is the engine
//! of one process, [`jetstream::JetStreamQueryStore`] that of a city on NATS servers.

mod digests;
pub mod embedded;
pub mod jetstream;
mod queries;
mod record;
mod secret_name;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use digests::{Compared, MOST_SEALED};
pub use queries::Queries;
pub use record::{PersonNumber, Query, QueryKind, RecordedQuery};
pub use secret_name::SecretName;

/// Seconds of a UTC day.
const DAY_SECONDS: i64 = 86_400;

/// Most bytes of a record: the longest caller, roles and purpose fit several times.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;

/// Why a query could not be recorded or read. It names no person. After a failed recording the query may be in the stream,
/// and it must not be answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the stream of queries cannot be used: {0}")]
pub struct QueriesError(String);

impl QueriesError {
    pub(crate) fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A secret: the key of a day, or the number of a person.
pub type Secret = Zeroizing<[u8; 32]>;

/// One record in the order of the stream, and its sequence.
pub type Stored = (u64, Vec<u8>);

/// The storage of the stream and of its secrets. Calls may be concurrent, also from other processes.
#[async_trait]
pub trait QueryStore: Send + Sync + 'static {
    /// Appends a record of at most [`MAX_RECORD_BYTES`]. It is durable when this returns its sequence, from 1.
    ///
    /// # Errors
    /// [`QueriesError`]; the record may have been appended.
    async fn append(&self, record: Vec<u8>) -> Result<u64, QueriesError>;

    /// At most `limit` records with the sequence `from` or a later one, in the order of the stream.
    ///
    /// # Errors
    /// [`QueriesError`], also if a record is missing.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError>;

    /// The same, but where records are missing, which only an administrator of the storage can cause, the following ones
    /// are returned; the caller compares the sequences.
    ///
    /// # Errors
    /// [`QueriesError`].
    async fn read_present(&self, from: u64, limit: usize) -> Result<Vec<Stored>, QueriesError>;

    /// A secret, unless it was never created or is destroyed.
    ///
    /// # Errors
    /// [`QueriesError`].
    async fn secret(&self, name: SecretName) -> Result<Option<Secret>, QueriesError>;

    /// Creates a secret durably, unless there is one, and returns the one that exists: of two concurrent calls, both get
    /// the same.
    ///
    /// # Errors
    /// [`QueriesError`]; it may have been created.
    async fn create_secret(&self, name: SecretName, fresh: Secret) -> Result<Secret, QueriesError>;

    /// Destroys a secret, if it exists, so that the storage no longer has its bytes. It is idempotent.
    ///
    /// # Errors
    /// [`QueriesError`]; repeating it completes it.
    async fn destroy_secret(&self, name: SecretName) -> Result<(), QueriesError>;

    /// All secrets.
    ///
    /// # Errors
    /// [`QueriesError`].
    async fn secrets(&self) -> Result<Vec<(SecretName, Secret)>, QueriesError>;
}
