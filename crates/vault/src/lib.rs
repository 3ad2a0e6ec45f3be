//! The vault: the only store that maps holder numbers to persons (R28).
//!
//! It maps an ID number to a random holder, stores the personal data, and contains one key per holder under
//! which tokens and reasons in the log are sealed. It is separate from the log. Erasing a person destroys the
//! keys of the mapping, the data and the holder key, so that the person can no longer be identified in the log,
//! not even with all remaining keys, the ID number, and the contents of freed parts of the files.
//!
//! [`Vault`] is the port; [`embedded::EmbeddedVault`] is the engine for one process,
//! [`jetstream::JetStreamVault`] the engine of a city on NATS servers.

pub mod embedded;
pub mod jetstream;
pub mod log_binding;
mod names;
mod page_keys;
mod person;
mod seal;

pub use names::NameApplied;
pub use person::{Person, PersonFile};
pub use seal::{HolderKey, OpenError};

use async_trait::async_trait;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;

/// Fills a buffer with unpredictable bytes; the program that builds the service provides it.
pub type FillRandom = std::sync::Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Why the vault could not answer. It never names a person.
#[derive(Debug, thiserror::Error, Clone)]
pub enum VaultError {
    /// The files cannot be read or written; after a failed write, writing stays disabled until a restart.
    #[error("the vault is unavailable: {0}")]
    Unavailable(String),
    /// The stored data cannot be decrypted: another master key, or damage.
    #[error("the vault cannot be decrypted: {0}")]
    Damaged(String),
    /// This service has only a derived key that does not permit the operation.
    #[error("this service was not given the key of {0}")]
    NotGiven(&'static str),
    /// A page is sealed under a key that this service does not have, for example a new master key during a
    /// rotation.
    #[error(
        "a page of the vault is sealed under a key that this service was not given: is the master key being rotated?"
    )]
    OtherKey,
    /// The servers contain another vault than the one that was opened, because it was created again.
    #[error(
        "the servers contain another vault than the one that was opened, because it was created again: restart this service"
    )]
    OtherVault,
}

/// The result of looking up a person by ID number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The holder of this ID number.
    pub holder: HolderId,
    /// Whether this call created the holder.
    pub created: bool,
}

/// The vault's port. Acknowledged means durable; every call is idempotent.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The holder of an ID number, if known.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError>;

    /// Like [`Vault::find`], for callers that must not learn whether the person is registered (R31): in both
    /// cases it does the same work, sends the same requests to servers and takes the same time.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError>;

    /// Returns the holder of an ID number, or creates one with `candidate` and `person`. Two concurrent calls
    /// return the same holder (R3). An existing person is not changed.
    ///
    /// # Errors
    /// [`VaultError`]; after an error the person may or may not exist, and the call may be repeated.
    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError>;

    /// What the vault stores about a holder; `None` if the holder is unknown or erased.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError>;

    /// The key under which officers' reasons about a person are sealed, if the person is known. It is destroyed
    /// with the person.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn reason_key(&self, id_number: &IdNumber) -> Result<Option<HolderKey>, VaultError> {
        let Some(holder) = self.find(id_number).await? else {
            return Ok(None);
        };
        Ok(self.open(holder).await?.map(|person| person.key))
    }

    /// Stages another name of a holder after all names that are already staged. It has no effect until
    /// [`Vault::apply_name`] is called with the same change; staging it again moves it behind the others.
    /// Returns false if the vault stores nothing about the holder.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError>;

    /// Makes a staged name the person's name, and destroys the previous name and the names that were staged
    /// before it. It is called after the log contains the change. It is complete when it returns, and
    /// idempotent.
    ///
    /// # Errors
    /// [`VaultError`]; repeating the call completes it.
    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError>;

    /// Destroys a staged name whose change is surely not in the log. It is idempotent.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError>;

    /// Destroys everything that identifies a holder. It is complete when it returns, and idempotent.
    ///
    /// # Errors
    /// [`VaultError`]; repeating the call completes the erasure.
    async fn erase(&self, holder: HolderId) -> Result<(), VaultError>;

    /// The sequence in each partition of the log up to which erasures were applied; `None` if it was never
    /// recorded, or if the engine does not record it. A vault restored from a backup returns the value at the
    /// time of the backup.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        Ok(None)
    }

    /// Records that every erasure up to `reached` was applied, if the recorded value is still `from`; otherwise
    /// returns false, and the caller reads the value again.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn note_erased_up_to(&self, _from: Option<&[u64]>, _reached: &[u64]) -> Result<bool, VaultError> {
        Ok(true)
    }
}
