//! Corrections of names: the log records that one happened, only the vault contains the name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::event::Event;
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::name::PersonName;
use citycode_event_store::ReaderVersion;
use citycode_event_store::memory::AppendFault;
use citycode_issuer::ErasureQueue;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_testkit::{IdNumbers, eventually};
use citycode_vault::{Found, NameApplied, Person, PersonFile, Vault, VaultError};
use citycode_wire::proto::issuer::v1::{
    EraseRequest, IssueRequest, RegisterRequest, RenameRequest, RenameResponse, ReprintRequest,
};

use crate::fixture::{City, TODAY};

const PATIENCE: Duration = Duration::from_secs(30);

fn rename(id_number: &str, name: &str) -> RenameRequest {
    RenameRequest {
        id_number: id_number.into(),
        name: name.into(),
        reason: "登记笔误".into(),
        ..RenameRequest::default()
    }
}

/// The same with a command id.
fn command(id: u8, id_number: &str, name: &str) -> RenameRequest {
    RenameRequest {
        command_id: vec![id; 16],
        ..rename(id_number, name)
    }
}

fn refused<T>(answer: Result<T, Problem>) -> Code {
    answer.err().expect("a refusal").code()
}

impl City {
    async fn rename(&self, request: &RenameRequest) -> Result<RenameResponse, Problem> {
        self.issuer.rename(&self.admin, request).await
    }

    async fn holder(&self, id_number: &str) -> Option<HolderId> {
        let number = IdNumber::parse(id_number, TODAY).expect("a number");
        self.issuer.authorizer.vault.find(&number).await.expect("an answer")
    }

    /// The name that the vault has.
    async fn name(&self, id_number: &str) -> String {
        let holder = self.holder(id_number).await.expect("known");
        let file = self.issuer.authorizer.vault.open(holder).await.expect("an answer");
        file.expect("a person").name.to_string()
    }

    async fn renames(&self) -> usize {
        let events = self.logged().await;
        events
            .iter()
            .filter(|event| matches!(event, Event::HolderRenamed(_)))
            .count()
    }

    fn caller(role: Role) -> Caller {
        Caller::new(CallerId::new("test", "somebody").expect("an id"), vec![role])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_unchanged_and_new_prints_show_the_new_name() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(31).aged(70, TODAY)).await;
    let issue = IssueRequest {
        kind: "offline".into(),
        channel: "pc".into(),
        id_number: person.clone(),
        print: true,
        ..IssueRequest::default()
    };
    let issued = city.issuer.issue(&city.admin, &issue).await.expect("issued");
    let issued = issued.code.expect("a code");
    assert_eq!(issued.masked_name.as_deref(), Some("张*三"));

    // As people type it: a look-alike of the dot and surrounding white space are accepted as at registration.
    city.rename(&rename(&person, "\u{3000}艾力・买买提 "))
        .await
        .expect("corrected");

    assert_eq!(city.name(&person).await, "艾力·买买提");
    let reprint = ReprintRequest {
        kind: "offline".into(),
        channel: "pc".into(),
        id_number: person.clone(),
        print: true,
        ..ReprintRequest::default()
    };
    let again = city.issuer.reprint(&city.admin, &reprint).await.expect("the same code");
    let again = again.code.expect("a code");
    assert_eq!(again.token, issued.token);
    assert_eq!(again.masked_name.as_deref(), Some("艾*·买**"));
    // Registering again with the old name changes nothing.
    city.resident(person.clone()).await;
    assert_eq!(city.name(&person).await, "艾力·买买提");
    assert_eq!(city.renames().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_a_reason_and_a_registered_person_are_required() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(32);
    let person = city.resident(numbers.aged(40, TODAY)).await;
    assert_eq!(refused(city.rename(&rename(&person, "张3")).await), Code::InvalidName);
    let without_reason = RenameRequest {
        reason: "  ".into(),
        ..rename(&person, "张三")
    };
    assert_eq!(refused(city.rename(&without_reason).await), Code::InvalidRequest);
    let stranger = numbers.aged(40, TODAY);
    assert_eq!(
        refused(city.rename(&rename(&stranger, "张三")).await),
        Code::NotRegistered
    );
    assert_eq!(city.name(&person).await, "张小三");
    assert_eq!(city.renames().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_officer_may_and_a_channel_only_with_an_assertion() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(33).aged(40, TODAY)).await;
    let request = rename(&person, "张晓三");
    let officer = City::caller(Role::Officer);
    city.issuer.rename(&officer, &request).await.expect("an officer's act");
    let others = [
        Role::HealthAuthority,
        Role::Auditor,
        // The shipped policy requires no assertion of this channel; a correction does.
        Role::Channel("app".into()),
    ];
    for role in others {
        let caller = City::caller(role.clone());
        let answer = city.issuer.rename(&caller, &rename(&person, "李四")).await;
        assert_eq!(refused(answer), Code::NotAllowed, "{role:?}");
    }
    // An officer cannot avoid that by naming a channel.
    let through = RenameRequest {
        channel: "app".into(),
        ..rename(&person, "李四")
    };
    assert_eq!(refused(city.issuer.rename(&officer, &through).await), Code::NotAllowed);
    assert_eq!(refused(city.rename(&through).await), Code::NotAllowed);
    assert_eq!(city.name(&person).await, "张晓三");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_the_previous_release_accepts_no_correction() {
    let city = City::on_log_of(ReaderVersion(1)).await;
    let person = city.resident(IdNumbers::new(34).aged(40, TODAY)).await;
    let problem = city.rename(&rename(&person, "张三")).await.expect_err("refused");
    assert_eq!(problem.code(), Code::Unavailable);
    assert_eq!(problem.outcome(), Some(Outcome::NotDone));
    let told = format!("{problem:?}");
    assert!(told.contains("--raise-minimum-reader"), "{told}");
    assert_eq!((city.renames().await, city.name(&person).await.as_str()), (0, "张小三"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_the_command_changes_nothing_and_another_request_under_its_id_is_refused() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(35).aged(40, TODAY)).await;
    for _ in 0..3 {
        city.rename(&command(1, &person, "张晓三")).await.expect("corrected");
    }
    assert_eq!(city.renames().await, 1);
    let other_name = city.rename(&command(1, &person, "李四")).await;
    assert_eq!(refused(other_name), Code::IdempotencyKeyReused);
    let other_reason = RenameRequest {
        reason: "改名".into(),
        ..command(1, &person, "张晓三")
    };
    assert_eq!(refused(city.rename(&other_reason).await), Code::IdempotencyKeyReused);
    assert_eq!(city.name(&person).await, "张晓三");
    // After a later correction, a repeat of the earlier command does not change the name.
    city.rename(&command(2, &person, "张小山")).await.expect("corrected");
    city.rename(&command(1, &person, "张晓三")).await.expect("done before");
    assert_eq!((city.renames().await, city.name(&person).await.as_str()), (2, "张小山"));
}

/// A vault that stops answering right after the append, which simulates a crash at that point.
struct Stopping {
    vault: Arc<dyn Vault>,
    stopped: AtomicBool,
}

#[async_trait]
impl Vault for Stopping {
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
        self.vault.open(holder).await
    }

    async fn stage_name(&self, holder: HolderId, change: NameChangeId, name: &PersonName) -> Result<bool, VaultError> {
        self.vault.stage_name(holder, change, name).await
    }

    async fn apply_name(&self, holder: HolderId, change: NameChangeId) -> Result<NameApplied, VaultError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(VaultError::Unavailable("the test stopped it".into()));
        }
        self.vault.apply_name(holder, change).await
    }

    async fn discard_name(&self, holder: HolderId, change: NameChangeId) -> Result<(), VaultError> {
        self.vault.discard_name(holder, change).await
    }

    async fn erase(&self, holder: HolderId) -> Result<(), VaultError> {
        self.vault.erase(holder).await
    }
}

/// A city whose vault stops between the append and the activation of the name, and the vault.
async fn stopping() -> (City, Arc<Stopping>) {
    let before = City::new().await;
    let mut stopping = None;
    let city = City::with_vault(Arc::clone(&before.store), |vault| {
        let vault = Arc::new(Stopping {
            vault,
            stopped: AtomicBool::new(true),
        });
        stopping = Some(Arc::clone(&vault));
        vault
    })
    .await;
    (city, stopping.expect("a vault"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_between_log_and_vault_is_completed_by_the_repeat_of_the_command() {
    let (city, vault) = stopping().await;
    let person = city.resident(IdNumbers::new(36).aged(40, TODAY)).await;
    let request = command(1, &person, "张晓三");
    assert_eq!(refused(city.rename(&request).await), Code::Unavailable);
    assert_eq!((city.renames().await, city.name(&person).await.as_str()), (1, "张小三"));
    vault.stopped.store(false, Ordering::Release);
    city.rename(&request).await.expect("completed");
    assert_eq!((city.renames().await, city.name(&person).await.as_str()), (1, "张晓三"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_between_log_and_vault_is_completed_by_a_follower_of_the_log() {
    let (mut city, vault) = stopping().await;
    let person = city.resident(IdNumbers::new(37).aged(40, TODAY)).await;
    assert_eq!(
        refused(city.rename(&rename(&person, "张晓三")).await),
        Code::Unavailable
    );
    let erased = city.erased.take().expect("the queue's other end");
    vault.stopped.store(false, Ordering::Release);
    let following = tokio::spawn(ErasureQueue::finish(vault, erased, |_| ()));
    city.issuer.erasures.wait_until_done().await;
    assert_eq!(city.name(&person).await, "张晓三");
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_append_leaves_no_staged_name_and_a_lost_answer_is_recovered() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(38).aged(40, TODAY)).await;
    city.store.fail_next_append(AppendFault::Unavailable);
    assert_eq!(
        refused(city.rename(&command(1, &person, "张晓三")).await),
        Code::Unavailable
    );
    let holder = city.holder(&person).await.expect("known");
    let file = city
        .issuer
        .authorizer
        .vault
        .open(holder)
        .await
        .expect("an answer")
        .expect("a person");
    assert!(!file.has_staged_name() && *file.name == "张小三");
    for fault in [AppendFault::CommittedButUnknown, AppendFault::LostAndUnknown] {
        city.store.fail_next_append(fault);
        let name = if city.renames().await == 0 {
            "张晓三"
        } else {
            "张小山"
        };
        city.rename(&rename(&person, name)).await.expect("corrected");
        assert_eq!(city.name(&person).await, name);
    }
    assert_eq!(city.renames().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_corrections_at_two_issuers_leave_the_name_of_the_last_commit() {
    let first = City::new().await;
    let vault = Arc::clone(&first.issuer.authorizer.vault);
    let second = City::with_vault(Arc::clone(&first.store), |_| vault).await;
    let person = first.resident(IdNumbers::new(39).aged(40, TODAY)).await;
    let holder = first.holder(&person).await.expect("known");
    let names = ["张一", "张二", "张丁", "张七", "张八", "张九"];
    for round in 0..10 {
        let mut corrections = tokio::task::JoinSet::new();
        for (number, name) in names.iter().enumerate() {
            let city = if number % 2 == 0 { &first } else { &second };
            let (issuer, admin) = (city.issuer.clone(), Arc::clone(&city.admin));
            let request = rename(&person, name);
            corrections.spawn(async move { issuer.rename(&admin, &request).await });
        }
        while let Some(corrected) = corrections.join_next().await {
            corrected.expect("no panic").expect("corrected");
        }
        let events = first.logged().await;
        let changes: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::HolderRenamed(renamed) => Some(renamed.change),
                _ => None,
            })
            .collect();
        assert_eq!(changes.len(), (round + 1) * names.len());
        let file = vault_of(&first)
            .open(holder)
            .await
            .expect("an answer")
            .expect("a person");
        assert_eq!(file.named_by(), changes.last().copied());
        assert!(!file.has_staged_name());
    }
}

fn vault_of(city: &City) -> &Arc<dyn Vault> {
    &city.issuer.authorizer.vault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_corrections_during_an_erasure_restore_no_personal_data() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(40);
    for _ in 0..10 {
        let person = city.resident(numbers.aged(40, TODAY)).await;
        let holder = city.holder(&person).await.expect("known");
        let mut acts = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (issuer, admin, person) = (city.issuer.clone(), Arc::clone(&city.admin), person.clone());
            acts.spawn(async move {
                if number == 3 {
                    let erase = EraseRequest {
                        id_number: person,
                        ..EraseRequest::default()
                    };
                    issuer.erase(&admin, &erase).await.map(drop)
                } else {
                    issuer.rename(&admin, &rename(&person, "李四")).await.map(drop)
                }
            });
        }
        while let Some(done) = acts.join_next().await {
            if let Err(problem) = done.expect("no panic") {
                assert_eq!(problem.code(), Code::NotRegistered, "{problem:?}");
            }
        }
        assert_eq!(city.holder(&person).await, None);
        assert!(vault_of(&city).open(holder).await.expect("an answer").is_none());
        // In the log, the erasure is the last event of the holder's stream.
        let state = city.issuer.authorizer.log.state(holder);
        assert!(state.erased);
        let register = RegisterRequest {
            id_number: person.clone(),
            name: "张小三".into(),
            ..RegisterRequest::default()
        };
        city.issuer
            .register(&city.admin, &register)
            .await
            .expect("somebody new");
        assert_ne!(city.holder(&person).await, Some(holder));
        assert_eq!(city.name(&person).await, "张小三");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_after_a_correction_the_current_keys_do_not_open_the_old_name_in_older_copies_of_the_file() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(41).aged(40, TODAY)).await;
    let (vault, copy) = (city.folder.path().join("vault"), tempfile::tempdir().expect("a folder"));
    // Freed parts of the database still contain the previous row.
    std::fs::copy(vault.join("vault.redb"), copy.path().join("vault.redb")).expect("copied");
    city.rename(&rename(&person, "李四")).await.expect("corrected");
    std::fs::copy(vault.join("vault.keys"), copy.path().join("vault.keys")).expect("copied");
    let master = zeroize::Zeroizing::new([5; 32]);
    let random: citycode_vault::FillRandom = Arc::new(|buffer| buffer.fill(9));
    let number = IdNumber::parse(&person, TODAY).expect("a number");
    let old = citycode_vault::embedded::EmbeddedVault::open(copy.path(), &master, random);
    let opened = match old {
        Ok(old) => match old.find(&number).await {
            Ok(Some(holder)) => old.open(holder).await,
            other => panic!("the index stays: {:?}", other.map(|found| found.is_some())),
        },
        Err(error) => Err(error),
    };
    assert!(
        matches!(opened, Err(VaultError::Damaged(_))),
        "the old name can still be read"
    );
    eventually("nothing is in the clear either", PATIENCE, || async {
        let bytes = std::fs::read(vault.join("vault.redb")).expect("the file");
        ["张小三", "李四"]
            .iter()
            .all(|name| !bytes.windows(name.len()).any(|window| window == name.as_bytes()))
    })
    .await;
}
