//! A vault whose erasures also destroy what leads from a person to the stream of queries, so that every way to an erasure
//! (a call, the queue of erasures, a repair after a restore) reaches both.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_query_stream::Queries;
use citycode_vault::{Found, NameApplied, Person, PersonFile, Vault, VaultError};

/// The vault and the stream of queries.
pub(crate) struct ErasingVault {
    vault: Arc<dyn Vault>,
    queries: Arc<Queries>,
}

impl ErasingVault {
    /// Couples both.
    pub(crate) fn new(vault: Arc<dyn Vault>, queries: Arc<Queries>) -> Self {
        Self { vault, queries }
    }
}

#[async_trait]
impl Vault for ErasingVault {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.vault.find(id_number).await
    }

    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.vault.find_evenly(id_number).await
    }

    async fn find_or_create(
        &self,
        id_number: &IdNumber,
        candidate: HolderId,
        person: Person,
    ) -> Result<Found, VaultError> {
        self.vault.find_or_create(id_number, candidate, person).await
    }

    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        self.vault.open(holder).await
    }

    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError> {
        self.vault.stage_name(holder, change, name).await
    }

    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError> {
        self.vault.apply_name(holder, change).await
    }

    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError> {
        self.vault.discard_name(holder, change).await
    }

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        // The queries come first: a crash in between leaves a holder in the vault, and the erasure is repeated.
        let erased = self.queries.erase(holder).await;
        erased.map_err(|error| VaultError::Unavailable(error.to_string()))?;
        self.vault.erase(holder).await
    }

    async fn erased_up_to(&self) -> Result<Option<Vec<u64>>, VaultError> {
        self.vault.erased_up_to().await
    }

    async fn note_erased_up_to(&self, from: Option<&[u64]>, reached: &[u64]) -> Result<bool, VaultError> {
        self.vault.note_erased_up_to(from, reached).await
    }
}
