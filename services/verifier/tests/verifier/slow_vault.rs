//! A vault that answers slowly, on the clock of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_service_kit::clock::ManualClock;
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::{Found, NameApplied, Person, PersonFile, Vault, VaultError};

/// The embedded vault with look-ups that advance the clock.
pub(crate) struct SlowVault {
    vault: EmbeddedVault,
    clock: Arc<ManualClock>,
    takes_seconds: AtomicU64,
}

impl SlowVault {
    /// A vault that answers at once.
    pub(crate) fn new(vault: EmbeddedVault, clock: Arc<ManualClock>) -> Self {
        Self {
            vault,
            clock,
            takes_seconds: AtomicU64::new(0),
        }
    }

    /// Each look-up takes this long from now on.
    pub(crate) fn take(&self, seconds: u64) {
        self.takes_seconds.store(seconds, Ordering::Relaxed);
    }

    fn pass(&self) {
        self.clock
            .advance(Duration::from_secs(self.takes_seconds.load(Ordering::Relaxed)));
    }
}

#[tonic::async_trait]
impl Vault for SlowVault {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.pass();
        self.vault.find(id_number).await
    }

    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.pass();
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
        self.vault.erase(holder).await
    }
}
