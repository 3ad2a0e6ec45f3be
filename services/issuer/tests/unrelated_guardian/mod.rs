//! The work that a guardian, authenticated by an assertion, causes for a person to whom it is not related (R31).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{Layout, LogId};
use citycode_service_kit::problem::Code;
use citycode_testkit::IdNumbers;
use citycode_vault::{Found, NameApplied, Person, PersonFile, Vault, VaultError};
use citycode_wire::proto::issuer::v1::{IssueRequest, RelateRequest, UnrelateRequest};
use citycode_wire::proto::model::v1::Authentication;

use crate::fixture::{City, TODAY};
use crate::issue;
use crate::overload::{assertion_named, with_assertions};

/// A vault that counts how often a person's record was opened.
struct Counting {
    vault: Arc<dyn Vault>,
    opened: AtomicUsize,
}

#[async_trait]
impl Vault for Counting {
    async fn find(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.vault.find(id_number).await
    }

    async fn find_evenly(&self, id_number: &IdNumber) -> Result<Option<HolderId>, VaultError> {
        self.vault.find_evenly(id_number).await
    }

    async fn find_or_create(&self, number: &IdNumber, holder: HolderId, person: Person) -> Result<Found, VaultError> {
        self.vault.find_or_create(number, holder, person).await
    }

    async fn open(&self, holder: HolderId) -> Result<Option<PersonFile>, VaultError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_unrelated_and_unregistered_persons_are_refused_alike_before_the_record_is_opened() {
    let store = Arc::new(MemoryEventStore::new(
        LogId([1; 16]),
        Layout::new(4, 256).expect("a layout"),
    ));
    let mut counting = None;
    let city = City::with_vault(store, |vault| {
        let vault = Arc::new(Counting {
            vault,
            opened: AtomicUsize::new(0),
        });
        counting = Some(Arc::clone(&vault));
        vault
    })
    .await;
    let opened = || counting.as_ref().expect("a vault").opened.load(Ordering::SeqCst);
    let mut numbers = IdNumbers::new(51);
    let guardian = city.resident(numbers.aged(40, TODAY)).await;
    let (child, stranger) = (
        city.resident(numbers.aged(8, TODAY)).await,
        city.resident(numbers.aged(9, TODAY)).await,
    );
    let unknown = numbers.aged(9, TODAY);
    let relate = RelateRequest {
        guardian_id_number: guardian.clone(),
        dependent_id_number: child.clone(),
        ..RelateRequest::default()
    };
    city.issuer.relate(&city.admin, &relate).await.expect("related");
    let folder = tempfile::tempdir().expect("a folder");
    let issuer = with_assertions(&city.issuer, folder.path(), 16);
    let now = city.issuer.authorizer.clock.now().0;
    let family = |name: &str, holder: &str, command: u8| IssueRequest {
        guardian_id_number: guardian.clone(),
        device_key: city.phone_key(1),
        command_id: vec![command; 16],
        authentication: Some(Authentication {
            assertion: assertion_named(name, &guardian, now),
            ..Authentication::default()
        }),
        ..issue("family", "app", holder)
    };
    let before = opened();
    let mut refusals = Vec::new();
    for (name, holder, command) in [("j1", &stranger, 1), ("j2", &unknown, 2)] {
        let refused = issuer.issue(&city.admin, &family(name, holder, command)).await;
        refusals.push(refused.expect_err("a refusal"));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].code(), Code::RelationshipUnknown);
    assert_eq!(opened(), before, "neither record is opened");

    // A repeat is answered as the command was, even if the right to it has ended since.
    let first = issuer
        .issue(&city.admin, &family("j3", &child, 3))
        .await
        .expect("issued");
    let unrelate = UnrelateRequest {
        guardian_id_number: guardian.clone(),
        dependent_id_number: child.clone(),
        ..UnrelateRequest::default()
    };
    city.issuer.unrelate(&city.admin, &unrelate).await.expect("ended");
    let again = issuer
        .issue(&city.admin, &family("j4", &child, 3))
        .await
        .expect("as before");
    let token = |answer: Option<citycode_wire::proto::issuer::v1::IssuedCode>| answer.expect("a code").token;
    assert_eq!(token(again.code), token(first.code));
}
