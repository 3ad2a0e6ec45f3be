//! The vault: the only place that knows which person a holder number stands for (R28).
//!
//! It maps an ID number to a random holder, keeps the personal data, and holds one key per holder under which
//! tokens and reasons in the log are sealed. It stands outside the log. Erasing a person destroys the keys that
//! lead to the mapping, the data and the holder key, so that nobody finds the person in the log again, not even
//! with every remaining key, the ID number, and what is left in freed parts of the files.
//!
//! [`Vault`] is the port; [`embedded::EmbeddedVault`] is the engine for one process, [`jetstream::JetStreamVault`]
//! that of a city on NATS servers.

pub mod embedded;
pub mod jetstream;
mod page_keys;
mod person;
mod seal;

pub use person::{Person, PersonFile};
pub use seal::{HolderKey, OpenError};

use async_trait::async_trait;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;

/// Fills a buffer with unpredictable bytes; handed in by whoever composes the service.
pub type FillRandom = std::sync::Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Why the vault could not answer. Names no person.
#[derive(Debug, thiserror::Error, Clone)]
pub enum VaultError {
    /// The files cannot be read or written; writing stays off until restart once a write has failed.
    #[error("the vault is unavailable: {0}")]
    Unavailable(String),
    /// What stands in the files does not open under the keys: another master key, or damage.
    #[error("the vault does not open: {0}")]
    Damaged(String),
}

/// What came of asking for a person by ID number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The one holder of this ID number.
    pub holder: HolderId,
    /// Whether this call made the holder.
    pub created: bool,
}

/// The vault's port. Acknowledged means durable; every call may be repeated with no further effect.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// The holder of an ID number, if known.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError>;

    /// The holder of an ID number; made with `candidate` and `person` where there is none yet. Two calls at the
    /// same instant give the same holder (R3). An existing person is left as it is.
    ///
    /// # Errors
    /// [`VaultError`]; after an error the person may or may not exist, and the call may be repeated.
    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError>;

    /// What is kept of a holder; none where unknown or erased.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError>;

    /// Destroys everything that leads to a holder. Done once it returns; repeating it changes nothing.
    ///
    /// # Errors
    /// [`VaultError`]; the erasure is finished by repeating the call.
    async fn erase(&self, holder: HolderId) -> Result<(), VaultError>;
}
