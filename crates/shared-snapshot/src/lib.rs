//! Snapshots of projections that the instances of a city share through the object store of their NATS servers, so that
//! a new one need not read the whole log.
//!
//! ```text
//! bucket     CC_STATUS_SNAPSHOTS, object `status`          for verifiers and revocation services
//!            CC_REGISTER_SNAPSHOTS, object `register`      for issuers and revocation services
//! object     a snapshot file (see `citycode_projection::snapshot`), sealed in segments: see [`seal`]
//! statement  signed by revocation, in the object's metadata: see [`Statement`]
//! ```
//! A reader takes nothing on trust: the statement's signature is checked before a byte of the object is asked for; the
//! object is streamed into a private file, and only a file whose every byte is what was signed gets the name under
//! which a projection is loaded. What is refused is said, and the log is read instead, which is always right.
//!
//! Left out: who publishes when, and whether a snapshot spares more than it costs.

mod fetch;
mod publish;
pub mod seal;
mod statement;

pub use fetch::{FetchError, Found, Published};
pub use publish::{NewSnapshot, PublishError};
pub use statement::{Refusal, Statement};

use citycode_jetstream::object_store::{BucketError, ObjectStore};
use citycode_jetstream::{ConnectError, Connection};
use citycode_projection::snapshot::ProjectionKind;
use seal::SealKey;

/// Whoever may have snapshots of a kind knows these.
#[derive(Clone)]
pub struct SnapshotKeys {
    /// Seals and opens.
    pub seal: SealKey,
    /// Public keys that snapshots may be signed with: one, or two while a key is being changed.
    pub signers: Vec<[u8; 32]>,
}

/// The place of one kind of snapshots. Cheap to clone.
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

/// Makes the bucket of a kind, or checks the one that stands.
///
/// # Errors
/// No connection, or [`BucketError`].
pub async fn provision(connection: &Connection, kind: ProjectionKind, replicas: u8) -> Result<(), ProvisionError> {
    let store = ObjectStore::connect(connection, bucket(kind)).await?;
    Ok(store.provision(replicas).await?)
}

/// Why a bucket was not made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No server took the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl ProvisionError {
    /// Whether trying again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::Bucket(error) => error.may_pass(),
        }
    }
}

impl SharedSnapshots {
    /// Over a connection of its own, so that a snapshot's bulk stands before no commit.
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

    /// Which snapshots.
    #[must_use]
    pub fn kind(&self) -> ProjectionKind {
        self.kind
    }
}
