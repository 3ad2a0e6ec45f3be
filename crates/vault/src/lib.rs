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
    /// This service holds a key of less than that.
    #[error("this service was not given the key of {0}")]
    NotGiven(&'static str),
    /// What stands there stands under a key that this service does not have: while the master key is replaced, one
    /// that was not handed to it yet.
    #[error(
        "a page of the vault stands under a key that this service was not given: is the master key being replaced?"
    )]
    OtherKey,
    /// Another vault stands on the servers than the one that was opened: it was made anew meanwhile.
    #[error(
        "another vault stands on the servers than the one that was opened: it was made anew; start this service again"
    )]
    OtherVault,
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

    /// As [`Vault::find`], for callers who must not learn whether the person is known (R31): the same work, the same
    /// questions to servers and the same time either way.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError>;

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

    /// The key under which officers' reasons about a person are sealed, if the person is known. It goes with the person.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn reason_key(&self, id_number: &IdNumber) -> Result<Option<HolderKey>, VaultError> {
        let Some(holder) = self.find(id_number).await? else {
            return Ok(None);
        };
        Ok(self.open(holder).await?.map(|person| person.key))
    }

    /// Stages another name of a holder beside the present one, behind what is staged already. It shows nowhere until
    /// [`Vault::apply_name`] is called with the same change; staging it again puts it behind the others. False where
    /// nothing is kept of the holder.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError>;

    /// Makes a staged name the person's, and destroys the name before, with those that were staged before it. To be
    /// called once the log has the change. Done once it returns; repeating it changes nothing.
    ///
    /// # Errors
    /// [`VaultError`]; it is finished by repeating the call.
    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError>;

    /// Destroys a staged name whose change surely does not stand in the log. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError>;

    /// Destroys everything that leads to a holder. Done once it returns; repeating it changes nothing.
    ///
    /// # Errors
    /// [`VaultError`]; the erasure is finished by repeating the call.
    async fn erase(&self, holder: HolderId) -> Result<(), VaultError>;

    /// Up to where in each partition of the log erasures were applied to what stands here; none where that was never
    /// noted, or where the engine does not keep it. A vault that was restored from a backup says what it was then.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        Ok(None)
    }

    /// Notes that every erasure up to there was applied, if what stands there still is what the caller read: false where
    /// it is not, and the caller looks again.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn note_erased_up_to(&self, _from: Option<&[u64]>, _reached: &[u64]) -> Result<bool, VaultError> {
        Ok(true)
    }
}
