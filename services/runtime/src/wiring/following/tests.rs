//! An erasure that the vault could not apply, and a start from a snapshot that is past it.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use citycode_domain::event::{Event, HolderErased, HolderRegistered};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{Layout, LogId, StreamState};
use citycode_issuer::ErasureQueue;
use citycode_log_folds::holder_stream;
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::health::HealthRegistry;
use citycode_testkit::commit_of;
use citycode_vault::{Found, NameApplied, Person, PersonFile, Vault, VaultError};
use parking_lot::Mutex;

use super::*;
use citycode_log_folds::identity_of;

use crate::wiring::snapshots::Snapshot as _;

const WANG: HolderId = HolderId([1; 16]);
const LI: HolderId = HolderId([2; 16]);
const START: i64 = 1_661_904_000;

/// A vault that can only erase, or reports a full disk.
#[derive(Default)]
struct ErasingVault {
    disk_full: AtomicBool,
    erased_holders: Mutex<Vec<HolderId>>,
}

#[async_trait]
impl Vault for ErasingVault {
    async fn find(&self, _id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        Ok(None)
    }

    async fn find_evenly(&self, _id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        Ok(None)
    }

    async fn find_or_create(&self, _: &IdNumber, holder: HolderId, _: Person) -> Result<Found, VaultError> {
        Ok(Found { holder, created: true })
    }

    async fn open(&self, _holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        Ok(None)
    }

    async fn stage_name(&self, _: HolderId, _: NameChangeId, _: &PersonName) -> Result<bool, VaultError> {
        Ok(false)
    }

    async fn apply_name(&self, _: HolderId, _: NameChangeId) -> Result<NameApplied, VaultError> {
        Ok(NameApplied::NoPerson)
    }

    async fn discard_name(&self, _: HolderId, _: NameChangeId) -> Result<(), VaultError> {
        Ok(())
    }

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        if self.disk_full.load(Ordering::Relaxed) {
            return Err(VaultError::Unavailable("no space left on device".into()));
        }
        self.erased_holders.lock().push(holder);
        Ok(())
    }
}

#[tokio::test]
async fn r28_an_erasure_that_waits_while_the_register_is_saved_is_applied_at_the_next_start() {
    let memory = MemoryEventStore::new(LogId([1; 16]), Layout::new(2, 64).expect("a layout"));
    let store: Arc<dyn EventStore> = Arc::new(memory);
    let erased = Event::HolderErased(HolderErased {
        codes: Vec::new(),
        by_officer: true,
    });
    let registered = |holder| Event::HolderRegistered(HolderRegistered { holder });
    let events = [(WANG, registered(WANG)), (LI, registered(LI)), (WANG, erased)];
    for (number, (holder, event)) in (1..).zip(&events) {
        let commit = commit_of(holder_stream(*holder), event, number, START);
        let appended = store.append_to_stream(commit, StreamState::Any).await;
        appended.expect("appended");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("register");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let vault = Arc::new(ErasingVault::default());

    for disk_full in [true, false] {
        vault.disk_full.store(disk_full, Ordering::Relaxed);
        let health = HealthRegistry::new();
        let snapshot = RegisterSnapshot::open(file.clone(), identity_of(&*store));
        assert_eq!(snapshot.register().holder_count(), if disk_full { 0 } else { 2 });
        let (queue, other_end) = ErasureQueue::of_erased(snapshot.register());
        let kept = Some(queue.clone() as Arc<dyn SystemFold>);
        let component = health.component("register");
        let followed = follow_register(&store, &snapshot, Vec::new(), kept, component, &clock).await;
        let followed = followed.expect("it follows");
        let known: Arc<dyn Vault> = vault.clone();
        let erasing = ErasureQueue::spawn_finishing(known, other_end, health.component("vault"));
        followed.progress.wait_until_live().await.expect("the head is reached");
        assert!(!disk_full || !queue.is_done(), "the vault has not erased anybody");
        if disk_full {
            snapshot.save().await;
        } else {
            queue.wait_until_done().await;
        }
        erasing.abort();
        followed.follower.abort();
    }
    assert_eq!(*vault.erased_holders.lock(), [WANG]);
}
