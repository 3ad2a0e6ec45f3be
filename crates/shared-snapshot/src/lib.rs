//! Snapshots of projections that the instances of a city share through the object store of their NATS servers, so that
//! a new instance need not read the whole log.
//!
//! ```text
//! bucket     CC_STATUS_SNAPSHOTS, object `status`          for verifiers and revocation services
//!            CC_REGISTER_SNAPSHOTS, object `register`      for issuers and revocation services
//! object     a snapshot file (see `citycode_projection::snapshot`), sealed in segments: see [`seal`]
//! statement  signed by revocation, in the object's metadata: see [`Statement`]
//! ```
//! A reader checks everything: the statement's signature before it requests a byte of the object; then it streams the
//! object into a private file, and only if every byte is what was signed the file gets the name from which a projection
//! is loaded. A refused snapshot is reported and the log is read instead, which always yields the correct state.
//!
//! [`Publisher`] replaces the shared snapshot periodically; [`Starting`] fetches it if loading it is faster than reading
//! the log, and reports a start.

mod fetch;
pub mod key_files;
mod publish;
mod publisher;
pub mod seal;
mod start;
mod statement;

pub use fetch::{FetchError, Found, Published};
pub use publish::{NewSnapshot, PublishError};
pub use publisher::{Publisher, SnapshotFile};
pub use start::Starting;
pub use statement::{Refusal, Statement};

pub use citycode_jetstream::object_store::ProvisionError;

use citycode_jetstream::object_store::{self, ObjectStore};
use citycode_jetstream::{ConnectError, Connection};
use citycode_projection::snapshot::ProjectionKind;
use seal::SealKey;

/// The keys that a service with access to a kind of snapshots has.
#[derive(Clone)]
pub struct SnapshotKeys {
    /// The key that seals and opens snapshots.
    pub seal: SealKey,
    /// The public keys of accepted signatures: one, or two while the signing key is being replaced.
    pub signers: Vec<[u8; 32]>,
}

/// Access to the shared snapshots of one kind. Cheap to clone.
#[derive(Clone)]
pub struct SharedSnapshots {
    store: ObjectStore,
    kind: ProjectionKind,
    keys: SnapshotKeys,
}

/// The bucket of a kind.
#[must_use]
pub const fn bucket(kind: ProjectionKind) -> &'static str {
    match kind {
        ProjectionKind::Status => "CC_STATUS_SNAPSHOTS",
        ProjectionKind::Register => "CC_REGISTER_SNAPSHOTS",
    }
}

/// The one object of a kind's bucket.
#[must_use]
pub const fn object(kind: ProjectionKind) -> &'static str {
    match kind {
        ProjectionKind::Status => "status",
        ProjectionKind::Register => "register",
    }
}

/// Creates the bucket of a kind, or checks an existing one.
///
/// # Errors
/// [`ProvisionError`].
pub async fn provision(connection: &Connection, kind: ProjectionKind, replicas: u8) -> Result<(), ProvisionError> {
    object_store::provision(connection, bucket(kind), replicas).await
}

impl SharedSnapshots {
    /// Opens a separate connection, so that snapshots do not delay commits.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        connection: &Connection,
        kind: ProjectionKind,
        keys: SnapshotKeys,
    ) -> Result<Self, ConnectError> {
        let store = ObjectStore::connect(connection, bucket(kind)).await?;
        Ok(Self { store, kind, keys })
    }

    /// The kind of these snapshots.
    #[must_use]
    pub fn kind(&self) -> ProjectionKind {
        self.kind
    }
}
